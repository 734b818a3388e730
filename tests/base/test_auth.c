/*
 * The server's judgement: published requests pass, and every way to change a signed request after
 * it was signed, to lie about time, key or payload, or to mix mechanisms gets its own refusal.
 */
#include "base/digest.h"
#include "base/sigv4.h"
#include "tests/base/auth_rig.h"

#include <stdio.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MAY_2013 INT64_C(1369353600000) /* 20130524T000000Z */
#define MINUTE INT64_C(60000)

/* ---- helpers ---- */

static enum auth_result
check(struct http_request *r)
{
    return check_at(r, MAY_2013);
}

struct tampering {
    struct fakereq_change how;
    enum auth_result expected;
};

static void
assert_tamperings(struct http_request *(*make)(void), const struct tampering *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct http_request *r = make();
        fakereq_tamper(r, &list[i].how);
        enum auth_result result = check(r);
        if (result != list[i].expected)
            print_error("case %zu: %s\n", i, list[i].how.what);
        assert_int_equal(result, list[i].expected);
        fakereq_free(&r);
    }
}

/* ---- version 4 in the header ---- */

#define HASH "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
#define HASH2 "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b073"

static struct http_request *
signed_put(void)
{
    struct http_request *r = fakereq_new("PUT /photos/2013/cat.jpg?partNumber=1&uploadId=x%2By "
                                         "HTTP/1.1\n"
                                         "Host: examplebucket.s3.amazonaws.com\n"
                                         "Content-Type: image/jpeg\n"
                                         "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==\n"
                                         "Content-Length: 21\n"
                                         "If-None-Match: *\n"
                                         "Cache-Control: no-cache\n"
                                         "x-amz-meta-empty:\n"
                                         "x-amz-meta-owner: Alice  B\n"
                                         "x-amz-meta-owner: Carol\n"
                                         "x-amz-acl: private\n"
                                         "x-amz-storage-class: STANDARD\n"
                                         "x-amz-tagging: a=b\n");
    fakereq_sign(r, &fakereq_root, HASH);
    return r;
}

static void
test_header_good(void **state)
{
    (void)state;
    struct http_request *r = signed_put();
    assert_int_equal(check(r), AUTH_OK);
    const struct auth *a = r->auth;
    assert_string_equal(a->account->id, "000000000001");
    assert_true(slice_eqs(a->service, "s3"));
    assert_true(slice_eqs(a->region, "us-east-1"));
    assert_true(slice_eqs(a->scope, "20130524/us-east-1/s3/aws4_request"));
    assert_true(slice_eqs(a->access_key_id, "AKIAIOSFODNN7EXAMPLE"));
    assert_string_equal(a->timestamp, "20130524T000000Z");
    assert_int_equal(strlen(a->seed_signature), SIGV4_HEX);
    assert_int_equal(a->payload, AUTH_PAYLOAD_SHA256);
    assert_int_equal(a->payload_sha256[0], 0x44);
    assert_int_equal(a->payload_sha256[31], 0x72);
    assert_false(a->presigned);
    fakereq_free(&r);
}

/* The header as the S3 API reference prints it: no spaces behind the commas. */
static void
test_header_published(void **state)
{
    (void)state;
    struct http_request *r =
        fakereq_new("GET /test.txt HTTP/1.1\n"
                    "Host: examplebucket.s3.amazonaws.com\n"
                    "Authorization: AWS4-HMAC-SHA256 "
                    "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                    "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                    "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\n"
                    "Range: bytes=0-9\n"
                    "x-amz-content-sha256: " SIGV4_EMPTY_SHA256 "\n"
                    "x-amz-date: 20130524T000000Z\n");
    assert_int_equal(check(r), AUTH_OK);
    fakereq_free(&r);
}

static void
test_header_tampered(void **state)
{
    (void)state;
    static const struct tampering list[] = {
        {{FAKEREQ_METHOD, "GET", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_METHOD, "POST", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_METHOD, "put", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "cat.jpg", "cat.jpG"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "cat.jpg", "cat.jpg/"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "/photos/", "/photos//"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "/2013/", "/./2013/"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "/2013/", "/a/../2013/"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "/2013/", "%2F2013%2f"},
         AUTH_OK}, /* the same key, spelled otherwise */
        {{FAKEREQ_TARGET_PART, "/2013/", "/%32013/"}, AUTH_OK},
        {{FAKEREQ_TARGET_PART, "/2013/", "/%252013/"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "partNumber=1", "partNumber=2"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "partNumber=1&", ""}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "partNumber", "partnumber"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "uploadId", "versionId"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "x%2By", "x+y"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "x%2By", "x%2by"}, AUTH_OK},
        {{FAKEREQ_TARGET_PART, "x%2By", "x%2By&acl"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "x%2By", "x%2By&partNumber=1"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET, "/photos/2013/cat.jpg", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET, "/photos/2013/cat.jpg?uploadId=x%2By&partNumber=1", NULL}, AUTH_OK},
        {{FAKEREQ_SET, "host", "otherbucket.s3.amazonaws.com"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "host", "examplebucket.s3.amazonaws.com:80"}, AUTH_MISMATCH},
        {{FAKEREQ_DROP, "host", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_ADD, "host", "second"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "content-type", "image/png"}, AUTH_MISMATCH},
        {{FAKEREQ_DROP, "content-type", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "content-md5", "1B2M2Y8AsgTpgAmY7PhCfQ=="}, AUTH_MISMATCH},
        {{FAKEREQ_DROP, "content-md5", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "content-length", "22"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "if-none-match", "\"etag\""}, AUTH_MISMATCH},
        {{FAKEREQ_DROP, "if-none-match", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "cache-control", "no-store"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-acl", "public-read"}, AUTH_MISMATCH},
        {{FAKEREQ_DROP, "x-amz-acl", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_ADD, "x-amz-acl", "public-read"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-storage-class", "standard"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-tagging", "a=b&c=d"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-meta-owner", "Alice C"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-meta-owner", "AliceB"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-meta-owner", "Alice B"}, AUTH_OK}, /* runs of blanks count as one */
        {{FAKEREQ_ADD, "x-amz-meta-owner", "Dave"}, AUTH_MISMATCH},
        {{FAKEREQ_DROP, "x-amz-meta-empty", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-meta-empty", "x"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-content-sha256", HASH2}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-content-sha256", "UNSIGNED-PAYLOAD"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"},
         AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-content-sha256", "unsigned-payload"}, AUTH_BAD_PAYLOAD_HASH},
        {{FAKEREQ_SET, "x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"},
         AUTH_BAD_PAYLOAD_HASH},
        {{FAKEREQ_SET, "x-amz-content-sha256", ""}, AUTH_BAD_PAYLOAD_HASH},
        {{FAKEREQ_DROP, "x-amz-content-sha256", NULL}, AUTH_NO_PAYLOAD_HASH},
        {{FAKEREQ_SET, "x-amz-date", "20130524T000001Z"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-date", "20130525T000000Z"}, AUTH_MALFORMED}, /* not the scope's day */
        {{FAKEREQ_SET, "x-amz-date", "2013-05-24T00:00:00Z"}, AUTH_NO_DATE},
        {{FAKEREQ_SET, "x-amz-date", "20130524T000000"}, AUTH_NO_DATE},
        {{FAKEREQ_SET, "x-amz-date", "20130524T000000ZZ"}, AUTH_NO_DATE},
        {{FAKEREQ_SET, "x-amz-date", "20131324T000000Z"}, AUTH_NO_DATE},
        {{FAKEREQ_DROP, "x-amz-date", NULL}, AUTH_NO_DATE},
        {{FAKEREQ_ADD, "x-amz-meta-new", "v"}, AUTH_UNSIGNED_HEADER},
        {{FAKEREQ_ADD, "X-AMZ-Copy-Source", "/secret/key"}, AUTH_UNSIGNED_HEADER},
        {{FAKEREQ_ADD, "x-amz-grant-full-control", "id=1"}, AUTH_UNSIGNED_HEADER},
        {{FAKEREQ_ADD, "x-unrelated", "v"}, AUTH_OK},
        {{FAKEREQ_AUTHORIZATION, "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLF"}, AUTH_UNKNOWN_KEY},
        {{FAKEREQ_AUTHORIZATION, "AKIAIOSFODNN7EXAMPLE", "AK/with/slashes"}, AUTH_MISMATCH},
        {{FAKEREQ_AUTHORIZATION, "us-east-1", "us-east-2"}, AUTH_MISMATCH},
        {{FAKEREQ_AUTHORIZATION, "20130524/", "20130523/"}, AUTH_MALFORMED},
        {{FAKEREQ_AUTHORIZATION, "/s3/", "/s4/"}, AUTH_MISMATCH},
        {{FAKEREQ_AUTHORIZATION, "host;", ""}, AUTH_UNSIGNED_HEADER},
        {{FAKEREQ_AUTHORIZATION, ";x-amz-acl", ""}, AUTH_UNSIGNED_HEADER},
        {{FAKEREQ_AUTHORIZATION, "content-type;", ""}, AUTH_MISMATCH},
        {{FAKEREQ_AUTHORIZATION, "content-type;host", "host;content-type"}, AUTH_MISMATCH},
        {{FAKEREQ_AUTHORIZATION, "host;", "host;nothing;"}, AUTH_MISMATCH},
        {{FAKEREQ_AUTHORIZATION, ", Signature", ",Signature"}, AUTH_OK},
        {{FAKEREQ_AUTHORIZATION, ", Signature", ",   Signature"}, AUTH_OK},
    };
    assert_tamperings(signed_put, list, LEN(list));
}

/* Each digit of the signature counts. */
static void
test_header_signature_digits(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIGV4_HEX; i++) {
        struct http_request *r = signed_put();
        struct slice text = arena_dup(r->arena, http_field(r, "authorization"));
        char *digit = (char *)text.p + text.n - SIGV4_HEX + i;
        *digit = *digit == '0' ? '1' : '0';
        fakereq_field(r, "authorization", text.p);
        assert_int_equal(check(r), AUTH_MISMATCH);
        assert_true(r->auth->canonical_request.n > 0);
        assert_true(slice_starts(r->auth->canonical_request, SLICE_LIT("PUT\n/photos/2013/")));
        assert_true(slice_starts(r->auth->string_to_sign, SLICE_LIT("AWS4-HMAC-SHA256\n2013")));
        fakereq_free(&r);
    }
}

#define CREDENTIAL "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
#define SIGNATURE "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
#define HEADERS "SignedHeaders=host;x-amz-content-sha256;x-amz-date"
#define V4 "AWS4-HMAC-SHA256 "

static void
test_header_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum auth_result expected;
    } cases[] = {
        {V4 CREDENTIAL ", " HEADERS ", " SIGNATURE, AUTH_MISMATCH},
        {V4 SIGNATURE "," HEADERS "," CREDENTIAL, AUTH_MISMATCH},
        {V4, AUTH_MALFORMED},
        {"AWS4-HMAC-SHA256", AUTH_MALFORMED},
        {V4 CREDENTIAL ", " HEADERS, AUTH_MALFORMED},
        {V4 CREDENTIAL ", " SIGNATURE, AUTH_MALFORMED},
        {V4 HEADERS ", " SIGNATURE, AUTH_MALFORMED},
        {V4 CREDENTIAL " " HEADERS " " SIGNATURE, AUTH_MALFORMED},
        {V4 CREDENTIAL ", " HEADERS ", " SIGNATURE ",", AUTH_MALFORMED},
        {V4 CREDENTIAL ", " HEADERS ", " SIGNATURE ", " SIGNATURE, AUTH_MALFORMED},
        {V4 CREDENTIAL ", " HEADERS ", " SIGNATURE ", X=y", AUTH_MALFORMED},
        {V4 CREDENTIAL ", " HEADERS ", " SIGNATURE "0", AUTH_MALFORMED},
        {V4 CREDENTIAL ", " HEADERS ", Signature=F0E8", AUTH_MALFORMED},
        {V4 CREDENTIAL ", SignedHeaders=, " SIGNATURE, AUTH_MALFORMED},
        {V4 CREDENTIAL ", SignedHeaders=host;, " SIGNATURE, AUTH_MALFORMED},
        {V4 CREDENTIAL ", SignedHeaders=;host, " SIGNATURE, AUTH_MALFORMED},
        {V4 CREDENTIAL ", SignedHeaders=Host, " SIGNATURE, AUTH_MALFORMED},
        {V4 CREDENTIAL ", SignedHeaders=ho st, " SIGNATURE, AUTH_MALFORMED},
        {V4 "Credential=AK/20130524/us-east-1/s3/aws5_request, " HEADERS ", " SIGNATURE,
         AUTH_MALFORMED},
        {V4 "Credential=AK/2013052/us-east-1/s3/aws4_request, " HEADERS ", " SIGNATURE,
         AUTH_MALFORMED},
        {V4 "Credential=AK/2013052x/us-east-1/s3/aws4_request, " HEADERS ", " SIGNATURE,
         AUTH_MALFORMED},
        {V4 "Credential=AK/20130524//s3/aws4_request, " HEADERS ", " SIGNATURE, AUTH_MALFORMED},
        {V4 "Credential=AK/20130524/us east/s3/aws4_request, " HEADERS ", " SIGNATURE,
         AUTH_MALFORMED},
        {V4 "Credential=AK/20130524/us-east-1//aws4_request, " HEADERS ", " SIGNATURE,
         AUTH_MALFORMED},
        {V4 "Credential=/20130524/us-east-1/s3/aws4_request, " HEADERS ", " SIGNATURE,
         AUTH_MALFORMED},
        {V4 "Credential=aws4_request, " HEADERS ", " SIGNATURE, AUTH_MALFORMED},
        {V4 "Credential=, " HEADERS ", " SIGNATURE, AUTH_MALFORMED},
        {V4 "Credential, " HEADERS ", " SIGNATURE, AUTH_MALFORMED},
        {"aws4-hmac-sha256 " CREDENTIAL ", " HEADERS ", " SIGNATURE, AUTH_UNSUPPORTED},
        {"AWS4-ECDSA-P256-SHA256 " CREDENTIAL ", " HEADERS ", " SIGNATURE, AUTH_UNSUPPORTED},
        {"Basic dXNlcjpwYXNz", AUTH_UNSUPPORTED},
        {"Bearer token", AUTH_UNSUPPORTED},
        {"", AUTH_ANONYMOUS},
        {"AWS", AUTH_V2_MALFORMED},
        {"AWS AKIAIOSFODNN7EXAMPLE", AUTH_V2_MALFORMED},
        {"AWS :bWq2s1WEIj+Ydj0vQ697zp+IXMU=", AUTH_V2_MALFORMED},
        {"AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj", AUTH_MISMATCH},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = signed_put();
        fakereq_field_drop(r, "authorization");
        fakereq_field_drop(r, "x-amz-acl");
        fakereq_field_drop(r, "x-amz-meta-owner");
        fakereq_field_drop(r, "x-amz-meta-empty");
        fakereq_field_drop(r, "x-amz-storage-class");
        fakereq_field_drop(r, "x-amz-tagging");
        fakereq_field(r, "authorization", cases[i].text);
        enum auth_result result = check(r);
        if (result != cases[i].expected)
            print_error("case %zu: %s\n", i, cases[i].text);
        assert_int_equal(result, cases[i].expected);
        fakereq_free(&r);
    }
}

static void
test_header_round_trips(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "GET / HTTP/1.1\nHost: h\n",
        "GET /?list-type=2&prefix=a/b&delimiter=%2F&max-keys=1000 HTTP/1.1\nHost: h\n",
        "GET /?acl HTTP/1.1\nHost: h\n",
        "GET /?acl= HTTP/1.1\nHost: h\n",
        "GET /?= HTTP/1.1\nHost: h\n",
        "GET /?b=2&a=2&a=1&a&&A=3 HTTP/1.1\nHost: h\n",
        "GET /?marker=a+b%20c%2Bd HTTP/1.1\nHost: h\n",
        "GET /b/k%20with%20spaces+plus%C3%A9%25 HTTP/1.1\nHost: h:9000\n",
        "PUT /b//double//slash/../dots HTTP/1.1\nHost: h\nContent-Length: 3\n",
        "DELETE /b/it's(1)!*.jpg HTTP/1.1\nHost: h\n",
        "HEAD /b/%00%ff HTTP/1.1\nHost: h\nX-Amz-Meta-A:  x \t y  \n",
        "OPTIONS /b/k HTTP/1.1\nHOST: h\n",
    };
    static const char *const regions[] = {"us-east-1", "eu-west-3", "auto", "any_region.x"};
    for (size_t i = 0; i < LEN(heads); i++) {
        struct fakereq_signer who = fakereq_root;
        who.region = regions[i % LEN(regions)];
        struct http_request *r = fakereq_new(heads[i]);
        fakereq_sign(r, &who, "UNSIGNED-PAYLOAD");
        assert_int_equal(check(r), AUTH_OK);
        assert_int_equal(r->auth->payload, AUTH_PAYLOAD_UNSIGNED);
        assert_true(slice_eqs(r->auth->region, who.region));
        fakereq_free(&r);
    }
}

/* An access key may hold slashes: the scope is read from its end. */
static void
test_header_slashes_in_key(void **state)
{
    (void)state;
    struct fakereq_signer who = fakereq_root;
    who.access_key_id = "AK/with/slashes";
    who.secret_access_key = "second secret";
    struct http_request *r = fakereq_new("GET /b HTTP/1.1\nHost: h\n");
    fakereq_sign(r, &who, NULL);
    assert_int_equal(check(r), AUTH_OK);
    assert_string_equal(r->auth->account->id, "000000000002");
    fakereq_free(&r);
}

/* A client may sign the path encoded otherwise than it sends it; the key it means is the same. */
static void
test_header_path_spellings(void **state)
{
    (void)state;
    static const struct {
        const char *signed_path, *sent_path;
        enum auth_result expected;
    } cases[] = {
        {"/b/it%27s%20%28x%29", "/b/it's%20(x)", AUTH_OK},
        {"/b/it's", "/b/it's", AUTH_OK},
        {"/b/a%2Fb", "/b/a%2Fb", AUTH_OK},
        {"/b/%E2%82%AC", "/b/%e2%82%ac", AUTH_OK},
        {"/b/it%27s", "/b/its", AUTH_MISMATCH},
        {"/b/a%20b", "/b/a+b", AUTH_MISMATCH},
        {"/b/a%2520b", "/b/a%20b", AUTH_MISMATCH},
        /* Signed raw in a third way: what was sent is neither that nor its canonical form. */
        {"/b/it's", "/b/it%27s", AUTH_MISMATCH},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = fakereq_new("GET / HTTP/1.1\nHost: h\n");
        fakereq_target(r, cases[i].signed_path);
        fakereq_sign(r, &fakereq_root, NULL);
        fakereq_target(r, cases[i].sent_path);
        assert_int_equal(check(r), cases[i].expected);
        fakereq_free(&r);
    }
}

static void
test_header_clock(void **state)
{
    (void)state;
    static const struct {
        int64_t off_ms;
        enum auth_result expected;
    } cases[] = {
        {0, AUTH_OK},
        {15 * MINUTE, AUTH_OK},
        {-15 * MINUTE, AUTH_OK},
        {15 * MINUTE + 1, AUTH_SKEWED},
        {-15 * MINUTE - 1, AUTH_SKEWED},
        {24 * 60 * MINUTE, AUTH_SKEWED},
        {-MAY_2013, AUTH_SKEWED},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = signed_put();
        assert_int_equal(check_at(r, MAY_2013 + cases[i].off_ms), cases[i].expected);
        fakereq_free(&r);
    }
}

/* curl and some embedded clients sign with Date only. */
static void
test_header_date_field(void **state)
{
    (void)state;
    static const char canonical[] = "GET\n/b\n\ndate:Fri, 24 May 2013 00:00:00 GMT\nhost:h\n"
                                    "x-amz-content-sha256:UNSIGNED-PAYLOAD\n\n"
                                    "date;host;x-amz-content-sha256\nUNSIGNED-PAYLOAD";
    uint8_t key[SHA256_BYTES];
    char hex[SIGV4_HEX + 1], text[512];
    struct buf to_sign;
    buf_init(&to_sign, 4096);
    sigv4_string_to_sign(SLICE_LIT("20130524T000000Z"),
                         SLICE_LIT("20130524/us-east-1/s3/aws4_request"), slice_str(canonical),
                         &to_sign);
    assert_int_equal(sigv4_signing_key(slice_str(fakereq_root.secret_access_key),
                                       SLICE_LIT("20130524"), SLICE_LIT("us-east-1"),
                                       SLICE_LIT("s3"), key),
                     ERR_NONE);
    sigv4_sign(key, buf_slice(&to_sign), hex);
    buf_fini(&to_sign);
    snprintf(text, sizeof text,
             V4 CREDENTIAL ", SignedHeaders=date;host;x-amz-content-sha256, Signature=%s", hex);
    struct http_request *r = fakereq_new("GET /b HTTP/1.1\nHost: h\n"
                                         "Date: Fri, 24 May 2013 00:00:00 GMT\n"
                                         "x-amz-content-sha256: UNSIGNED-PAYLOAD\n");
    fakereq_field(r, "authorization", text);
    assert_int_equal(check(r), AUTH_OK);
    fakereq_field(r, "date", "Fri, 24 May 2013 00:00:01 GMT");
    assert_int_equal(check(r), AUTH_MISMATCH);
    fakereq_field(r, "date", "yesterday");
    assert_int_equal(check(r), AUTH_NO_DATE);
    fakereq_free(&r);
}

static void
test_header_payload_words(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum auth_payload payload;
    } cases[] = {
        {HASH, AUTH_PAYLOAD_SHA256},
        {"UNSIGNED-PAYLOAD", AUTH_PAYLOAD_UNSIGNED},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", AUTH_PAYLOAD_CHUNKED},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", AUTH_PAYLOAD_CHUNKED_TRAILER},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", AUTH_PAYLOAD_UNSIGNED_TRAILER},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = fakereq_new("PUT /b/k HTTP/1.1\nHost: h\nContent-Length: 9\n");
        fakereq_sign(r, &fakereq_root, cases[i].word);
        assert_int_equal(check(r), AUTH_OK);
        assert_int_equal(r->auth->payload, cases[i].payload);
        fakereq_free(&r);
    }
}

/* ---- version 4 in the query ---- */

static struct http_request *
presigned_get(void)
{
    struct http_request *r =
        fakereq_new("GET /photos/cat.jpg?versionId=1 HTTP/1.1\nHost: h.example\n"
                    "x-amz-meta-a: b\n");
    fakereq_presign(r, &fakereq_root, 600);
    return r;
}

static void
test_query_published(void **state)
{
    (void)state;
    struct http_request *r = fakereq_new(
        "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F"
        "20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
        "X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1\n"
        "Host: examplebucket.s3.amazonaws.com\n");
    assert_int_equal(check(r), AUTH_OK);
    assert_true(r->auth->presigned);
    assert_int_equal(r->auth->payload, AUTH_PAYLOAD_UNSIGNED);
    fakereq_free(&r);
}

static void
test_query_tampered(void **state)
{
    (void)state;
    static const struct tampering list[] = {
        {{FAKEREQ_METHOD, "GET", NULL}, AUTH_OK},
        {{FAKEREQ_METHOD, "PUT", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_METHOD, "DELETE", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "cat", "dog"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "versionId=1", "versionId=2"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "versionId=1&", ""}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "versionId=1&", "versionId=1&acl&"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "versionId=1&", "versionId=1&response-content-type=text/html&"},
         AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "X-Amz-Expires=600", "X-Amz-Expires=601"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "X-Amz-Expires=600", "X-Amz-Expires=0"}, AUTH_QUERY_EXPIRES},
        {{FAKEREQ_TARGET_PART, "X-Amz-Expires=600", "X-Amz-Expires=604801"}, AUTH_QUERY_EXPIRES},
        {{FAKEREQ_TARGET_PART, "X-Amz-Expires=600", "X-Amz-Expires=-1"}, AUTH_QUERY_EXPIRES},
        {{FAKEREQ_TARGET_PART, "X-Amz-Expires=600", "X-Amz-Expires=6e2"}, AUTH_QUERY_EXPIRES},
        {{FAKEREQ_TARGET_PART, "X-Amz-Expires=600", "X-Amz-Expires=99999999999999999999"},
         AUTH_QUERY_EXPIRES},
        {{FAKEREQ_TARGET_PART, "X-Amz-Expires=600&", ""}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "X-Amz-Expires=600", "X-Amz-Expires=600&X-Amz-Expires=9"},
         AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130524T000001Z"},
         AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130523T235959Z"},
         AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "X-Amz-Date=20130524T000000Z&", ""}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLX"}, AUTH_UNKNOWN_KEY},
        {{FAKEREQ_TARGET_PART, "us-east-1", "us-east-2"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "us-east-1", "us%0Aeast"}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "%2Fs3%2F", "%2F%2F"}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "SignedHeaders=host%3B", "SignedHeaders="}, AUTH_UNSIGNED_HEADER},
        {{FAKEREQ_TARGET_PART, "%3Bx-amz-meta-a", ""}, AUTH_UNSIGNED_HEADER},
        {{FAKEREQ_TARGET_PART, "X-Amz-Signature=", "X-Amz-Signature=0"}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "X-Amz-Signature=", "X-Signature="}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=Host"},
         AUTH_QUERY_MALFORMED},
        {{FAKEREQ_SET, "host", "evil.example"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-meta-a", "c"}, AUTH_MISMATCH},
        {{FAKEREQ_DROP, "x-amz-meta-a", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_ADD, "x-amz-acl", "public-read"}, AUTH_UNSIGNED_HEADER},
        {{FAKEREQ_ADD, "range", "bytes=0-1"}, AUTH_OK},
        {{FAKEREQ_ADD, "authorization", V4 CREDENTIAL ", " HEADERS ", " SIGNATURE},
         AUTH_TWO_MECHANISMS},
        {{FAKEREQ_ADD, "authorization", "Bearer x"}, AUTH_TWO_MECHANISMS},
        {{FAKEREQ_TARGET_PART, "versionId=1&", "versionId=1&Signature=x&"}, AUTH_TWO_MECHANISMS},
    };
    assert_tamperings(presigned_get, list, LEN(list));
}

static void
test_query_clock(void **state)
{
    (void)state;
    static const struct {
        int64_t off_ms;
        enum auth_result expected;
    } cases[] = {
        {0, AUTH_OK},
        {600 * 1000, AUTH_OK},
        {600 * 1000 + 1, AUTH_EXPIRED},
        {-15 * MINUTE, AUTH_OK},
        {-15 * MINUTE - 1, AUTH_NOT_YET},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = presigned_get();
        assert_int_equal(check_at(r, MAY_2013 + cases[i].off_ms), cases[i].expected);
        fakereq_free(&r);
    }
}

/* ---- other services: the body is part of the signature ---- */

#define ITEM "{\"TableName\":\"images\"}"

static struct http_request *
signed_dynamodb(const char *content_sha256, const char *signed_hash)
{
    struct fakereq_signer who = fakereq_root;
    who.service = "dynamodb";
    struct http_request *r = fakereq_new("POST / HTTP/1.1\nHost: localhost:9000\n"
                                         "X-Amz-Target: DynamoDB_20120810.DescribeTable\n"
                                         "Content-Type: application/x-amz-json-1.0\n"
                                         "Content-Length: 22\n");
    if (content_sha256 != NULL)
        fakereq_field(r, "x-amz-content-sha256", content_sha256);
    fakereq_sign(r, &who, signed_hash);
    return r;
}

static void
hash_of(const char *body, char hex[SIGV4_HEX + 1])
{
    uint8_t sha256[SHA256_BYTES];
    digest_sha256(body, strlen(body), sha256);
    hex_encode(sha256, sizeof sha256, hex);
}

static enum auth_result
finish(struct http_request *r, const char *body)
{
    struct auth_options o = options_at(MAY_2013);
    assert_int_equal(auth_check_body(r, &o, slice_str(body)), ERR_NONE);
    assert_int_equal(r->auth->result == AUTH_OK, r->auth->account != NULL);
    return r->auth->result;
}

static void
test_body_signed_without_header(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum auth_result expected;
    } cases[] = {
        {ITEM, AUTH_OK},
        {"{\"TableName\":\"imagez\"}", AUTH_MISMATCH},
        {"", AUTH_MISMATCH},
    };
    char hex[SIGV4_HEX + 1];
    hash_of(ITEM, hex);
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = signed_dynamodb(NULL, hex);
        assert_int_equal(check(r), AUTH_NEEDS_BODY);
        assert_true(slice_eqs(r->auth->service, "dynamodb"));
        assert_int_equal(finish(r, cases[i].body), cases[i].expected);
        fakereq_free(&r);
    }
}

static void
test_body_signed_with_header(void **state)
{
    (void)state;
    char hex[SIGV4_HEX + 1];
    hash_of(ITEM, hex);
    struct http_request *r = signed_dynamodb(hex, hex);
    assert_int_equal(check(r), AUTH_NEEDS_BODY);
    assert_int_equal(finish(r, ITEM), AUTH_OK);
    fakereq_free(&r);

    r = signed_dynamodb(hex, hex);
    assert_int_equal(check(r), AUTH_NEEDS_BODY);
    assert_int_equal(finish(r, ITEM " "), AUTH_BODY_HASH);
    assert_int_equal(finish(r, ITEM), AUTH_BODY_HASH);
    fakereq_free(&r);

    /* With the header a bad signature is known before the body is read. */
    r = signed_dynamodb(hex, hex);
    fakereq_field(r, "x-amz-target", "DynamoDB_20120810.DeleteTable");
    assert_int_equal(check(r), AUTH_MISMATCH);
    fakereq_free(&r);

    r = signed_dynamodb("UNSIGNED-PAYLOAD", "UNSIGNED-PAYLOAD");
    assert_int_equal(check(r), AUTH_BAD_PAYLOAD_HASH);
    fakereq_free(&r);
}

static void
test_body_early_refusals(void **state)
{
    (void)state;
    char hex[SIGV4_HEX + 1];
    hash_of(ITEM, hex);
    struct http_request *r = signed_dynamodb(NULL, hex);
    assert_int_equal(check_at(r, MAY_2013 + 16 * MINUTE), AUTH_SKEWED);
    fakereq_field_add(r, "x-amz-extra", "1");
    assert_int_equal(check(r), AUTH_UNSIGNED_HEADER);
    assert_true(slice_eqs(r->auth->service, "dynamodb"));
    assert_int_equal(finish(r, ITEM), AUTH_UNSIGNED_HEADER);
    fakereq_free(&r);

    r = signed_dynamodb(NULL, hex);
    fakereq_field(r, "x-amz-target", "DynamoDB_20120810.DeleteTable");
    assert_int_equal(check(r), AUTH_NEEDS_BODY);
    assert_int_equal(finish(r, ITEM), AUTH_MISMATCH);
    fakereq_free(&r);
}

static void
test_body_absent(void **state)
{
    (void)state;
    struct fakereq_signer who = fakereq_root;
    who.service = "lambda";
    struct http_request *r = fakereq_new("GET /2015-03-31/functions/a%3Ab/ HTTP/1.1\nHost: h\n");
    fakereq_sign(r, &who, NULL);
    assert_int_equal(check(r), AUTH_OK);
    fakereq_target(r, "/2015-03-31/functions/a:b/");
    assert_int_equal(check(r), AUTH_MISMATCH); /* not S3: no second spelling */
    fakereq_sign(r, &who, NULL);
    assert_int_equal(check(r), AUTH_OK);
    fakereq_target(r, "/2015-03-31/functions/a%3Ab/"); /* nor the raw path */
    assert_int_equal(check(r), AUTH_MISMATCH);
    fakereq_free(&r);
}

/* An S3 document that was collected instead of streamed. */
static void
test_body_of_s3(void **state)
{
    (void)state;
    char hex[SIGV4_HEX + 1];
    hash_of("<Delete/>", hex);
    struct http_request *r = fakereq_new("POST /b?delete HTTP/1.1\nHost: h\nContent-Length: 9\n");
    fakereq_sign(r, &fakereq_root, hex);
    assert_int_equal(check(r), AUTH_OK);
    assert_int_equal(finish(r, "<Delete/>"), AUTH_OK);
    assert_int_equal(finish(r, "<Delete />"), AUTH_BODY_HASH);
    fakereq_free(&r);
}

/* ---- nobody, or too many ---- */

static void
test_anonymous(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum auth_result expected;
        enum auth_payload payload;
    } cases[] = {
        {NULL, AUTH_ANONYMOUS, AUTH_PAYLOAD_NONE},
        {HASH, AUTH_ANONYMOUS, AUTH_PAYLOAD_SHA256},
        {"UNSIGNED-PAYLOAD", AUTH_ANONYMOUS, AUTH_PAYLOAD_UNSIGNED},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", AUTH_ANONYMOUS, AUTH_PAYLOAD_UNSIGNED_TRAILER},
        /* Chunk signatures need a seed. */
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", AUTH_BAD_PAYLOAD_HASH, AUTH_PAYLOAD_NONE},
        {"nonsense", AUTH_BAD_PAYLOAD_HASH, AUTH_PAYLOAD_NONE},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = fakereq_new("PUT /b/k?x-amz-date=1 HTTP/1.1\nHost: h\n");
        if (cases[i].word != NULL)
            fakereq_field(r, "x-amz-content-sha256", cases[i].word);
        assert_int_equal(check(r), cases[i].expected);
        assert_int_equal(r->auth->payload, cases[i].payload);
        assert_null(r->auth->account);
        assert_int_equal(r->auth->service.n, 0);
        fakereq_free(&r);
    }
}

static void
test_two_mechanisms(void **state)
{
    (void)state;
    struct http_request *r = signed_put();
    fakereq_field_add(r, "authorization", "AWS a:b");
    assert_int_equal(check(r), AUTH_TWO_MECHANISMS);
    fakereq_free(&r);
    r = signed_put();
    fakereq_target(r, "/photos/2013/cat.jpg?partNumber=1&uploadId=x%2By&X-Amz-Signature=0");
    assert_int_equal(check(r), AUTH_TWO_MECHANISMS);
    fakereq_free(&r);
}

/* Memory that runs out is an error, and never an answer that lets the request through. */
static void
test_memory_runs_out(void **state)
{
    (void)state;
    struct auth_options o = options_at(MAY_2013);
    char hex[SIGV4_HEX + 1];
    hash_of(ITEM, hex);
    bool failed = false;
    for (size_t room = 0; room < 4096; room += 64) {
        struct http_request *r = signed_dynamodb(NULL, hex);
        struct arena *roomy = r->arena, *tight = arena_new(room);
        r->arena = tight;
        int err = auth_check(r, &o);
        if (err != ERR_NONE) {
            assert_int_equal(err, ERR_NOMEM);
            assert_true(r->auth == NULL || r->auth->account == NULL);
            failed = true;
        } else {
            assert_int_equal(r->auth->result, AUTH_NEEDS_BODY);
        }
        r->arena = roomy;
        fakereq_free(&r);
        arena_free(&tight);
    }
    assert_true(failed);
}

static void
test_texts(void **state)
{
    (void)state;
    assert_string_equal(auth_refusal(AUTH_MISMATCH)->code, "SignatureDoesNotMatch");
    assert_int_equal(auth_refusal(AUTH_MISMATCH)->status, 403);
    assert_string_equal(auth_refusal(AUTH_SKEWED)->code, "RequestTimeTooSkewed");
    assert_string_equal(auth_refusal(AUTH_EXPIRED)->message, "Request has expired");
    assert_int_equal(auth_refusal(AUTH_MALFORMED)->status, 400);
    assert_string_equal(auth_refusal(AUTH_OK)->code, "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_good),
        cmocka_unit_test(test_header_published),
        cmocka_unit_test(test_header_tampered),
        cmocka_unit_test(test_header_signature_digits),
        cmocka_unit_test(test_header_malformed),
        cmocka_unit_test(test_header_round_trips),
        cmocka_unit_test(test_header_slashes_in_key),
        cmocka_unit_test(test_header_path_spellings),
        cmocka_unit_test(test_header_clock),
        cmocka_unit_test(test_header_date_field),
        cmocka_unit_test(test_header_payload_words),
        cmocka_unit_test(test_query_published),
        cmocka_unit_test(test_query_tampered),
        cmocka_unit_test(test_query_clock),
        cmocka_unit_test(test_body_signed_without_header),
        cmocka_unit_test(test_body_signed_with_header),
        cmocka_unit_test(test_body_early_refusals),
        cmocka_unit_test(test_body_absent),
        cmocka_unit_test(test_body_of_s3),
        cmocka_unit_test(test_anonymous),
        cmocka_unit_test(test_two_mechanisms),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, auth_rig_setup, auth_rig_teardown);
}
