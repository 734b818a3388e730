/*
 * The S3 face over a real connection: buckets, objects, refusals. Listings, copies, multipart
 * uploads and documents kept with a bucket are in test_s3_more.c.
 */
#include "base/clock.h"
#include "base/stat.h"
#include "tests/objectstore/s3_fixture.h"

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

/* ---- buckets ---- */

static void
bucket_life(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, NOBODY, "PUT", "/album", 403, "<Code>AccessDenied</Code>");
    s3_do(t, ROOT, "GET", "/album", 404, "<Code>NoSuchBucket</Code>");
    s3_do(t, ROOT, "PUT", "/album", 200, "Location: /album\r\n");
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ANN, "PUT", "/album", 409, "<Code>BucketAlreadyExists</Code>");
    s3_do(t, ROOT, "HEAD", "/album", 200, "x-amz-bucket-region: us-east-1");
    s3_do(t, ANN, "HEAD", "/album", 403, NULL);
    s3_do(t, ROOT, "GET", "/album?location", 200, "/\"></LocationConstraint>");
    s3_send(t, ANN, "PUT", "/ann-box", NULL,
            "<CreateBucketConfiguration><LocationConstraint>eu-west-3</LocationConstraint>"
            "</CreateBucketConfiguration>",
            200, NULL);
    s3_send(t, ANN, "PUT", "/ann-box", NULL,
            "<CreateBucketConfiguration><LocationConstraint>eu-west-3</LocationConstraint>"
            "</CreateBucketConfiguration>",
            409, "<Code>BucketAlreadyOwnedByYou</Code>");
    s3_do(t, ANN, "GET", "/ann-box?location", 200, ">eu-west-3<");
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "x", 200, NULL);
    s3_do(t, ROOT, "DELETE", "/album", 409, "<Code>BucketNotEmpty</Code>");
    s3_do(t, ROOT, "DELETE", "/album/a", 204, NULL);
    s3_do(t, ANN, "DELETE", "/album", 403, NULL);
    s3_do(t, ROOT, "DELETE", "/album", 204, NULL);
    s3_do(t, ROOT, "DELETE", "/album", 404, "<BucketName>album</BucketName>");
}

static void
bucket_refusals(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/Album", 400, "<Code>InvalidBucketName</Code>");
    s3_do(t, ROOT, "PUT", "/ab", 400, "<Code>InvalidBucketName</Code>");
    s3_send(t, ROOT, "PUT", "/album", NULL, "<CreateBucketConfiguration", 400,
            "<Code>MalformedXML</Code>");
    s3_send(t, ROOT, "PUT", "/album", NULL, "<Other/>", 400, "<Code>MalformedXML</Code>");
    s3_send(t, ROOT, "PUT", "/album", NULL,
            "<!DOCTYPE a [<!ENTITY b \"c\">]><CreateBucketConfiguration/>", 400,
            "<Code>MalformedXML</Code>");
    s3_send(t, ROOT, "PUT", "/album", NULL,
            "<CreateBucketConfiguration><LocationConstraint>../x</LocationConstraint>"
            "</CreateBucketConfiguration>",
            400, "<Code>InvalidLocationConstraint</Code>");
    s3_send(t, ROOT, "PUT", "/album", "x-amz-acl: public\r\n", "", 400,
            "<Code>InvalidArgument</Code>");
    s3_do(t, ROOT, "HEAD", "/album", 404, NULL);
}

static void
bucket_list(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct s3_call list = {.who = ANN, .method = "GET", .target = "/"};
    s3_do(t, NOBODY, "GET", "/", 403, NULL);
    s3_do(t, ROOT, "PUT", "/root-box", 200, NULL);
    s3_do(t, ANN, "PUT", "/ann-a", 200, NULL);
    s3_do(t, ANN, "PUT", "/ann-b", 200, NULL);
    s3_do(t, ANN, "PUT", "/other", 200, NULL);
    s3_call(t, &list, &a);
    assert_int_equal(a.status, 200);
    assert_true(s3_says(&a, "<DisplayName>Ann &amp; Co</DisplayName>"));
    assert_true(s3_says(&a, "<Name>ann-a</Name>") && s3_says(&a, "<Name>other</Name>"));
    assert_false(s3_says(&a, "root-box"));
    buf_fini(&a.all);

    list.target = "/?prefix=ann-&max-buckets=1";
    s3_call(t, &list, &a);
    assert_true(s3_says(&a, "<ContinuationToken>ann-a</ContinuationToken>"));
    assert_false(s3_says(&a, "ann-b"));
    buf_fini(&a.all);
    list.target = "/?prefix=ann-&max-buckets=1&continuation-token=ann-a";
    s3_call(t, &list, &a);
    assert_true(s3_says(&a, "<Name>ann-b</Name>"));
    assert_false(s3_says(&a, "ContinuationToken"));
    buf_fini(&a.all);
}

/* ---- objects ---- */

static void
round_trip(struct s3_fix *t, const char *target, struct slice bytes)
{
    struct s3_call c = {.who = ROOT, .method = "PUT", .target = target, .body = bytes};
    struct raw_answer put, got;
    s3_call(t, &c, &put);
    assert_int_equal(put.status, 200);
    c.method = "GET";
    c.body = SLICE_NONE;
    for (int i = 0; i < 2; i++) { /* the second time from verified blocks or the cache */
        s3_call(t, &c, &got);
        assert_int_equal(got.status, 200);
        assert_int_equal(got.length, bytes.n);
        assert_true(slice_eq(raw_body(&got), bytes));
        assert_true(raw_has(&got, "X-Content-Type-Options: nosniff\r\n"));
        assert_true(raw_has(&got, "Accept-Ranges: bytes\r\n"));
        assert_true(raw_has(&got, "Last-Modified: "));
        assert_true(raw_has(&got, "x-amz-request-id: ") && raw_has(&got, "x-amz-id-2: "));
        buf_fini(&got.all);
    }
    c.method = "HEAD";
    s3_call(t, &c, &got);
    assert_int_equal(got.status, 200);
    assert_int_equal(got.length, bytes.n);
    assert_int_equal(got.all.n, got.head);
    buf_fini(&put.all);
    buf_fini(&got.all);
}

static void
object_sizes(void **state)
{
    struct s3_fix *t = *state;
    static const size_t sizes[] = {0, 1, 10 * KIB, 64 * KIB, 64 * KIB + 1, MIB, 3 * MIB + 77};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct slice bytes = fix_bytes(i, sizes[i]);
        round_trip(t, "/album/some/key", bytes);
        fix_free(&bytes);
    }
}

static void
object_headers(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct s3_call c = {.who = ROOT,
                        .method = "PUT",
                        .target = "/album/a",
                        .body = SLICE_LIT("hello"),
                        .headers = "content-type: text/plain\r\ncache-control: max-age=7\r\n"
                                   "content-encoding: aws-chunked,gzip\r\ncontent-language: de\r\n"
                                   "content-disposition: inline\r\nx-amz-meta-colour: blue\r\n"
                                   "x-amz-storage-class: STANDARD_IA\r\nexpires: never\r\n"};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_expect(t, &c, 200, "ETag: \"5d41402abc4b2a76b9719d911017c592\"\r\n");
    c = (struct s3_call){.who = ROOT, .method = "GET", .target = "/album/a"};
    s3_call(t, &c, &a);
    static const char *const lines[] = {"ETag: \"5d41402abc4b2a76b9719d911017c592\"\r\n",
                                        "Content-Type: text/plain\r\n",
                                        "Cache-Control: max-age=7\r\n",
                                        "Content-Encoding: gzip\r\n",
                                        "Content-Language: de\r\n",
                                        "Content-Disposition: inline\r\n",
                                        "x-amz-meta-colour: blue\r\n",
                                        "Expires: never\r\n",
                                        "x-amz-storage-class: STANDARD_IA\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_true(raw_has(&a, lines[i]));
    buf_fini(&a.all);
    s3_send(t, ROOT, "PUT", "/album/b", NULL, "x", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/b", 200, "Content-Type: binary/octet-stream\r\n");
    s3_do(t, ROOT, "GET", "/album/a?response-content-type=a%2Fb&response-cache-control=no-store",
          200, "Content-Type: a/b\r\n");
    s3_do(t, ROOT, "GET", "/album/a?response-content-type=a%2Fb&response-cache-control=no-store",
          200, "Cache-Control: no-store\r\n");
}

static void
object_header_refusals(void **state)
{
    struct s3_fix *t = *state;
    static const struct {
        const char *line;
        int status;
        const char *code;
    } rows[] = {
        {"x-amz-acl: public\r\n", 400, "InvalidArgument"},
        {"x-amz-grant-read: id=1\r\n", 400, "InvalidArgument"},
        {"x-amz-tagging: a=b=c\r\n", 400, "InvalidArgument"},
        {"x-amz-server-side-encryption: AES256\r\n", 501, "NotImplemented"},
        {"x-amz-server-side-encryption-customer-key: k\r\n", 501, "NotImplemented"},
        {"x-amz-object-lock-mode: GOVERNANCE\r\n", 400, "InvalidRequest"},
        {"x-amz-storage-class: PAPER\r\n", 400, "InvalidStorageClass"},
        {"x-amz-website-redirect-location: x\r\n", 400, "InvalidRedirectLocation"},
    };
    char code[64], big[3000];
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(code, sizeof code, "<Code>%s</Code>", rows[i].code);
        s3_send(t, ROOT, "PUT", "/album/a", rows[i].line, "x", rows[i].status, code);
    }
    s3_send(t, ROOT, "PUT", "/album/a", "x-amz-acl: private\r\n", "x", 200, NULL);
    s3_do(t, ROOT, "DELETE", "/album/a", 204, NULL);
    int n = snprintf(big, sizeof big, "x-amz-meta-a: ");
    memset(big + n, 'v', 2048);
    snprintf(big + n + 2048, sizeof big - (size_t)n - 2048, "\r\n");
    s3_send(t, ROOT, "PUT", "/album/a", big, "x", 400, "<Code>MetadataTooLarge</Code>");
    big[n + 2047] = '\r';
    big[n + 2048] = '\n';
    big[n + 2049] = '\0';
    s3_send(t, ROOT, "PUT", "/album/b", big, "x", 200, NULL);
    s3_do(t, ROOT, "HEAD", "/album/a", 404, NULL);
    assert_int_equal(fix_count(&t->f, FIX_BLOBS), 1);
}

static void
keys_of_any_bytes(void **state)
{
    struct s3_fix *t = *state;
    static const char *const targets[] = {
        "/album/a+b",    "/album/a%2Bb%20c", "/album/a%00b", "/album//x",  "/album/./../x",
        "/album/%C3%A9", "/album/a%2F%2Fb",  "/album/%25",   "/album/_/x", "/album/a%0Ab%01",
    };
    char body[32];
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        snprintf(body, sizeof body, "body %zu", i);
        s3_send(t, ROOT, "PUT", targets[i], NULL, body, 200, NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        snprintf(body, sizeof body, "body %zu", i);
        s3_do(t, ROOT, "GET", targets[i], 200, body);
    }
    /* '+' is a plus in a path, and the NUL is part of the key. */
    s3_do(t, ROOT, "GET", "/album/a%2Bb", 200, "body 0");
    s3_do(t, ROOT, "GET", "/album/a", 404, NULL);
    s3_do(t, ROOT, "GET", "/album/a%00c", 404, "<Resource>/album/a%00c</Resource>");
    s3_do(t, ROOT, "GET", "/album?list-type=2&encoding-type=url", 200, "<Key>a%00b</Key>");
}

static void
keys_refused(void **state)
{
    struct s3_fix *t = *state;
    char target[1200] = "/album/";
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    memset(target + 7, 'k', 1024);
    s3_send(t, ROOT, "PUT", target, NULL, "x", 200, NULL);
    s3_do(t, ROOT, "GET", target, 200, NULL);
    memset(target + 7, 'k', 1025);
    s3_send(t, ROOT, "PUT", target, NULL, "x", 400, "<Code>KeyTooLongError</Code>");
    s3_do(t, ROOT, "PUT", "/album/a%FFb", 400, "<Code>InvalidURI</Code>");
    s3_do(t, ROOT, "PUT", "/album/%ED%A0%80", 400, "<Code>InvalidURI</Code>");
}

static void
conditions_and_ranges(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct s3_call c = {.who = ROOT, .method = "GET", .target = "/album/a"};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", "cache-control: max-age=3\r\n", "0123456789", 200, NULL);
    c.headers = "if-none-match: \"781e5e245d69b566979b86e28d23f2c7\"\r\n";
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 304);
    assert_true(raw_has(&a, "ETag: \"781e5e245d69b566979b86e28d23f2c7\"\r\n"));
    assert_true(raw_has(&a, "Cache-Control: max-age=3\r\n"));
    assert_int_equal(a.all.n, a.head);
    buf_fini(&a.all);
    c.headers = "if-match: \"0\"\r\n";
    s3_expect(t, &c, 412, "<Code>PreconditionFailed</Code>");
    c.headers = "if-modified-since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
    s3_expect(t, &c, 304, NULL);
    c.headers = "if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    s3_expect(t, &c, 412, NULL);
    c.headers = "range: bytes=2-4\r\n";
    s3_expect(t, &c, 206, "Content-Range: bytes 2-4/10\r\n");
    s3_expect(t, &c, 206, "\r\n\r\n234");
    c.headers = "range: bytes=-3\r\n";
    s3_expect(t, &c, 206, "\r\n\r\n789");
    c.headers = "range: bytes=10-\r\n";
    s3_expect(t, &c, 416, "Content-Range: bytes */10\r\n");
    c.headers = "range: bytes=0-1,3-4\r\n";
    s3_expect(t, &c, 200, "0123456789");
    c.headers = "range: bytes=2-4\r\nif-range: \"other\"\r\n";
    s3_expect(t, &c, 200, "0123456789");
    c.method = "HEAD";
    c.headers = "range: bytes=2-4\r\n";
    s3_expect(t, &c, 206, "Content-Length: 3\r\n");
    c = (struct s3_call){.who = ROOT, .method = "GET", .target = "/album/a?partNumber=1"};
    s3_expect(t, &c, 206, "Content-Range: bytes 0-9/10\r\n");
    c.target = "/album/a?partNumber=2";
    s3_expect(t, &c, 416, "<Code>InvalidPartNumber</Code>");
    c.target = "/album/a?versionId=null";
    s3_expect(t, &c, 200, NULL);
    c.target = "/album/a?versionId=abc";
    s3_expect(t, &c, 400, "Invalid version id specified");
    c.target = "/album/a?versionId=0000000000000001";
    s3_expect(t, &c, 404, "<Code>NoSuchVersion</Code>");
    c.target = "/album/a?versionId=";
    s3_expect(t, &c, 400, "Version id cannot be the empty string");
}

static void
ranges_of_large_objects(void **state)
{
    struct s3_fix *t = *state;
    struct slice bytes = fix_bytes(5, 3 * MIB + 1000);
    struct s3_call put = {.who = ROOT, .method = "PUT", .target = "/album/a", .body = bytes};
    static const size_t ranges[][2] = {
        {0, 0}, {MIB - 1, MIB}, {2 * MIB + 5, 3 * MIB + 999}, {70000, 140000}, {1, 3 * MIB + 998}};
    char line[64];
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_expect(t, &put, 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        struct raw_answer a;
        size_t n = ranges[i][1] - ranges[i][0] + 1;
        snprintf(line, sizeof line, "range: bytes=%zu-%zu\r\n", ranges[i][0], ranges[i][1]);
        struct s3_call get = {.who = ROOT, .method = "GET", .target = "/album/a", .headers = line};
        s3_call(t, &get, &a);
        assert_int_equal(a.status, 206);
        assert_true(slice_eq(raw_body(&a), slice_of(bytes.p + ranges[i][0], n)));
        buf_fini(&a.all);
    }
    fix_free(&bytes);
}

static void
write_conditions(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", "if-match: \"x\"\r\n", "1", 404, "<Code>NoSuchKey</Code>");
    s3_send(t, ROOT, "PUT", "/album/a", "if-none-match: *\r\n", "1", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", "if-none-match: *\r\n", "2", 412,
            "<Code>PreconditionFailed</Code>");
    s3_send(t, ROOT, "PUT", "/album/a", "if-none-match: \"x\"\r\n", "2", 501,
            "<Header>If-None-Match</Header>");
    s3_send(t, ROOT, "PUT", "/album/a", "if-match: \"x\"\r\n", "2", 412, NULL);
    s3_do(t, ROOT, "GET", "/album/a", 200, "\r\n\r\n1");
    s3_send(t, ROOT, "PUT", "/album/a", "if-match: \"c4ca4238a0b923820dcc509a6f75849b\"\r\n", "3",
            200, NULL);
    s3_do(t, ROOT, "GET", "/album/a", 200, "\r\n\r\n3");
    s3_send(t, ROOT, "DELETE", "/album/a", "if-match: \"x\"\r\n", "", 412, NULL);
    s3_do(t, ROOT, "DELETE", "/album/a", 204, NULL);
    s3_do(t, ROOT, "DELETE", "/album/a", 204, NULL);
    s3_do(t, ROOT, "GET", "/album/a", 404, "<Key>a</Key>");
}

/* ---- who ---- */

static void
signatures(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct s3_call c = {.who = ROOT, .method = "GET", .target = "/", .secret = "wrong"};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 403);
    assert_true(slice_eqs(s3_element(&a, "Code"), "SignatureDoesNotMatch"));
    assert_true(slice_eqs(s3_element(&a, "AWSAccessKeyId"), ROOT));
    assert_true(slice_starts(s3_element(&a, "StringToSign"), SLICE_LIT("AWS4-HMAC-SHA256")));
    assert_true(slice_starts(s3_element(&a, "CanonicalRequest"), SLICE_LIT("GET")));
    assert_int_equal(s3_element(&a, "SignatureProvided").n, 64);
    assert_int_equal(s3_element(&a, "RequestId").n, 16);
    assert_true(raw_has(&a, "Cache-Control: no-store\r\n"));
    buf_fini(&a.all);
    c.secret = "x";
    c.who = "STRANGER";
    s3_expect(t, &c, 403, "<Code>InvalidAccessKeyId</Code>");
    /* A good signature for another service is none for this one. */
    c = (struct s3_call){.who = ROOT, .method = "GET", .target = "/", .service = "dynamodb"};
    s3_expect(t, &c, 400, "<Code>AuthorizationHeaderMalformed</Code>");
    clock_shift_wall(3600 * 1000);
    struct buf head;
    buf_init(&head, 1 << 20);
    c = (struct s3_call){.who = ROOT, .method = "GET", .target = "/"};
    s3_call_head(t, &c, &head);
    clock_shift_wall(-3600 * 1000);
    int fd = raw_dial(http_address(t->http));
    assert_true(raw_put(fd, head.p, head.n));
    raw_hear(fd, &a, false);
    assert_true(slice_eqs(s3_element(&a, "Code"), "RequestTimeTooSkewed"));
    close(fd);
    buf_fini(&a.all);
    buf_fini(&head);
}

#define POLICY_BODY                                                                           \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\","   \
    "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::album/pub/*\"},"                 \
    "{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::111111111111:root\"},"       \
    "\"Action\":[\"s3:PutObject\",\"s3:GetObject\",\"s3:DeleteObject\"],"                     \
    "\"Resource\":\"arn:aws:s3:::album/ann/*\"},"                                             \
    "{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:ListBucket\","                 \
    "\"Resource\":\"arn:aws:s3:::album\",\"Condition\":{\"StringLike\":{\"s3:prefix\":\"pub/" \
    "*\"}}},"                                                                                 \
    "{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\","                           \
    "\"Resource\":\"arn:aws:s3:::album/pub/not/*\"}]}"

static void
policies(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/pub/a", NULL, "open", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/pub/not/a", NULL, "shut", 200, NULL);
    s3_do(t, NOBODY, "GET", "/album/pub/a", 403, "<Code>AccessDenied</Code>");
    s3_do(t, ROOT, "GET", "/album?policy", 404, "<Code>NoSuchBucketPolicy</Code>");
    s3_send(t, ANN, "PUT", "/album?policy", NULL, POLICY_BODY, 403, NULL);
    s3_send(t, ROOT, "PUT", "/album?policy", NULL, POLICY_BODY, 204, NULL);
    s3_do(t, ROOT, "GET", "/album?policy", 200, "arn:aws:s3:::album/pub/not/*");
    s3_do(t, ROOT, "GET", "/album?policyStatus", 200, "<IsPublic>true</IsPublic>");
    s3_do(t, ANN, "GET", "/album?policy", 403, NULL);

    s3_do(t, NOBODY, "GET", "/album/pub/a", 200, "open");
    s3_do(t, NOBODY, "HEAD", "/album/pub/a", 200, NULL);
    s3_do(t, NOBODY, "GET", "/album/pub/not/a", 403, NULL);
    s3_do(t, ROOT, "GET", "/album/pub/not/a", 403, NULL); /* a Deny binds owners too */
    /* Without the right to list, a missing key is not told. */
    s3_do(t, NOBODY, "GET", "/album/pub/none", 403, "Cache-Control: no-store\r\n");
    s3_do(t, ROOT, "GET", "/album/pub/none", 404, "<Code>NoSuchKey</Code>");
    s3_do(t, NOBODY, "PUT", "/album/pub/a", 403, NULL);
    s3_do(t, NOBODY, "DELETE", "/album/pub/a", 403, NULL);
    s3_do(t, NOBODY, "GET", "/album/pub/a?response-content-type=text%2Fhtml", 400,
          "<Code>InvalidRequest</Code>");
    s3_do(t, NOBODY, "GET", "/album?prefix=pub/", 200, "<Key>pub/a</Key>");
    s3_do(t, NOBODY, "GET", "/album?prefix=", 403, NULL);
    s3_do(t, NOBODY, "GET", "/album", 403, NULL);

    s3_send(t, ANN, "PUT", "/album/ann/x", NULL, "hers", 200, NULL);
    s3_do(t, ANN, "GET", "/album/ann/x", 200, "hers");
    s3_do(t, ANN, "GET", "/album/ann/x?acl", 200, "<DisplayName>Ann &amp; Co</DisplayName>");
    s3_do(t, ROOT, "GET", "/album/ann/x", 403, NULL); /* who writes an object owns it */
    s3_send(t, ANN, "PUT", "/album/other", NULL, "x", 403, NULL);
    s3_do(t, ANN, "DELETE", "/album/ann/x", 204, NULL);
    s3_send(t, ROOT, "PUT", "/album?policy", NULL, "{\"Statement\":[]}", 400,
            "<Code>MalformedPolicy</Code>");
    s3_do(t, NOBODY, "GET", "/album/pub/a", 200, "open");
    s3_do(t, ROOT, "DELETE", "/album?policy", 204, NULL);
    s3_do(t, NOBODY, "GET", "/album/pub/a", 403, NULL);
}

static void
bucket_in_the_host(void **state)
{
    struct s3_fix *t = *state;
    struct s3_call c = {
        .who = ROOT, .method = "PUT", .target = "/", .host = "album.localhost:9000"};
    s3_expect(t, &c, 200, NULL);
    c = (struct s3_call){.who = ROOT,
                         .method = "PUT",
                         .target = "/_/x",
                         .host = "Album.LOCALHOST",
                         .body = SLICE_LIT("under")};
    c.host = "album.LOCALHOST";
    s3_expect(t, &c, 200, NULL);
    s3_do(t, ROOT, "GET", "/album/_/x", 200, "under");
    c = (struct s3_call){.who = ROOT, .method = "GET", .target = "/album/_/x", .host = "localhost"};
    s3_expect(t, &c, 200, "under");
    c.host = "album.example.org";
    s3_expect(t, &c, 200, "under");
    assert_true(s3_host_is_bucket(t->s3, SLICE_LIT("photos.localhost")));
    assert_true(s3_host_is_bucket(t->s3, SLICE_LIT("my.photos.localhost")));
    assert_false(s3_host_is_bucket(t->s3, SLICE_LIT("localhost")));
    assert_false(s3_host_is_bucket(t->s3, SLICE_LIT(".localhost")));
    assert_false(s3_host_is_bucket(t->s3, SLICE_LIT("photos.example.org")));
    assert_false(s3_host_is_bucket(t->s3, SLICE_LIT("photoslocalhost")));
    assert_false(s3_host_is_bucket(t->s3, SLICE_LIT("127.0.0.1")));
}

static void
expected_owner(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", "x-amz-expected-bucket-owner: 000000000000\r\n", "x", 200,
            NULL);
    s3_send(t, ROOT, "PUT", "/album/a", "x-amz-expected-bucket-owner: 111111111111\r\n", "x", 403,
            NULL);
}

/* ---- bad bodies: refused, and nothing stored ---- */

static void
bad_bodies(void **state)
{
    struct s3_fix *t = *state;
    static const struct {
        const char *headers;
        const char *hash;
        int status;
        const char *code;
    } rows[] = {
        {NULL, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 400,
         "XAmzContentSHA256Mismatch"},
        {"content-md5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", NULL, 400, "BadDigest"},
        {"content-md5: AAAA\r\n", NULL, 400, "InvalidDigest"},
        {"x-amz-checksum-crc32: AAAAAA==\r\n", NULL, 400, "BadDigest"},
        {"x-amz-checksum-crc32: AAAA\r\n", NULL, 400, "InvalidRequest"},
        {NULL, "not-a-hash", 400, "InvalidArgument"},
    };
    char code[64];
    struct slice small = SLICE_LIT("small body"), large = fix_bytes(1, 300 * KIB);
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
        struct s3_call c = {.who = ROOT,
                            .method = "PUT",
                            .target = "/album/a",
                            .headers = rows[i / 2].headers,
                            .hash = rows[i / 2].hash,
                            .body = i % 2 == 0 ? small : large};
        snprintf(code, sizeof code, "<Code>%s</Code>", rows[i / 2].code);
        s3_expect(t, &c, rows[i / 2].status, code);
    }
    struct s3_call c = {.who = ROOT, .method = "PUT", .target = "/album/a", .no_length = true};
    s3_expect(t, &c, 411, "<Code>MissingContentLength</Code>");
    c = (struct s3_call){.who = ROOT,
                         .method = "PUT",
                         .target = "/album/a",
                         .no_length = true,
                         .headers = "content-length: 5368709121\r\n"};
    s3_expect(t, &c, 400, "<Code>EntityTooLarge</Code>");
    s3_do(t, ROOT, "GET", "/album/a", 404, NULL);
    fix_settle(&t->f);
    assert_int_equal(fix_files(&t->f), 0);
    assert_int_equal(fix_count(&t->f, FIX_BLOBS), 0);
    fix_free(&large);
}

/* The client goes away in the middle of its body. */
static void
broken_off(void **state)
{
    struct s3_fix *t = *state;
    struct slice bytes = fix_bytes(9, 400 * KIB);
    struct s3_call c = {.who = ROOT, .method = "PUT", .target = "/album/a", .body = bytes};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t cut = 0; cut < bytes.n; cut += 133 * KIB) {
        struct buf head;
        buf_init(&head, 1 << 20);
        s3_call_head(t, &c, &head);
        int fd = raw_dial(http_address(t->http));
        assert_true(raw_put(fd, head.p, head.n));
        assert_true(raw_put(fd, bytes.p, cut));
        close(fd);
        buf_fini(&head);
    }
    while (http_active(t->http) > 0)
        sched_yield();
    fix_settle(&t->f);
    s3_do(t, ROOT, "GET", "/album/a", 404, NULL);
    assert_int_equal(fix_files(&t->f), 0);
    assert_int_equal(fix_count(&t->f, FIX_BLOBS), 0);
    fix_free(&bytes);
}

/* What the headers decide is said before 100 Continue. */
static void
expect_continue(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct s3_call c = {.method = "PUT",
                        .target = "/album/a",
                        .body = SLICE_LIT("hello"),
                        .headers = "expect: 100-continue\r\n"};
    struct buf head;
    buf_init(&head, 1 << 20);
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (int i = 0; i < 3; i++) {
        c.who = i == 0 ? NOBODY : ROOT;
        t->full = i == 1;
        buf_reset(&head);
        s3_call_head(t, &c, &head);
        int fd = raw_dial(http_address(t->http));
        assert_true(raw_put(fd, head.p, head.n));
        raw_hear(fd, &a, false);
        assert_int_equal(a.status, i == 0 ? 403 : i == 1 ? 503 : 100);
        if (i == 1)
            assert_true(raw_has(&a, "Retry-After: ") && s3_says(&a, "<Code>SlowDown</Code>"));
        buf_fini(&a.all);
        if (i == 2) {
            raw_say(fd, "hello");
            raw_expect(fd, 200, NULL);
        }
        close(fd);
    }
    s3_do(t, ROOT, "GET", "/album/a", 200, "hello");
    buf_fini(&head);
}

/* Writes that would make events wait; everything else goes on. */
static void
slow_down(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "x", 200, NULL);
    t->full = true;
    s3_send(t, ROOT, "PUT", "/album/b", NULL, "x", 503, "Retry-After: ");
    s3_send(t, ROOT, "PUT", "/album/b", "x-amz-copy-source: /album/a\r\n", "", 503, "SlowDown");
    s3_do(t, ROOT, "POST", "/album/b?uploads", 503, "SlowDown");
    s3_do(t, ROOT, "GET", "/album/a", 200, NULL);
    s3_do(t, ROOT, "DELETE", "/album/a", 204, NULL);
    t->full = false;
    s3_send(t, ROOT, "PUT", "/album/b", NULL, "x", 200, NULL);
}

#define HELD (S3_FIX_BODIES / STORE_INLINE_MAX)

/* Bodies that lack a byte each fill what there is for bodies: the next one is refused before it is
 * sent, whatever is small or has no body goes on. */
static void
bodies_have_a_limit(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    static char text[STORE_INLINE_MAX];
    struct s3_call c = {
        .who = ROOT, .method = "PUT", .target = "/album/a", .body = slice_of(text, sizeof text)};
    struct buf head;
    int fds[HELD];
    buf_init(&head, 1 << 20);
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_call_head(t, &c, &head);
    for (size_t i = 0; i < HELD; i++) {
        fds[i] = raw_dial(http_address(t->http));
        assert_true(raw_put(fds[i], head.p, head.n));
        assert_true(raw_put(fds[i], text, sizeof text - 1));
    }
    while (stat_get(STAT_http_bodies_bytes) < (int64_t)(HELD * (sizeof text - 1)))
        sched_yield();
    c.headers = "expect: 100-continue\r\n";
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 503);
    assert_true(raw_has(&a, "Retry-After: ") && s3_says(&a, "<Code>SlowDown</Code>"));
    buf_fini(&a.all);
    s3_send(t, ROOT, "PUT", "/album/b", NULL, "x", 200, NULL);
    for (size_t i = 0; i < HELD; i++) {
        assert_true(raw_put(fds[i], text, 1));
        raw_expect(fds[i], 200, NULL);
        close(fds[i]);
    }
    while (stat_get(STAT_http_bodies_bytes) > 0)
        sched_yield();
    c.headers = NULL;
    s3_expect(t, &c, 200, NULL);
    buf_fini(&head);
}

#define CROWD (3 * HELD / 2)
#define PART (S3_FIX_BODIES / CROWD) /* of each body; all the parts together fit */

static void
put_to_all(const int *fds, const char *text, size_t n)
{
    for (size_t i = 0; i < CROWD; i++)
        assert_true(raw_put(fds[i], text, n));
}

/* Until each is refused, and keeps nothing, or lacks its last byte alone. */
static void
wait_for_verdicts(int64_t refused_before)
{
    int64_t whole = STORE_INLINE_MAX - 1, until = clock_mono_ms() + RAW_WAIT_MS;
    while (stat_get(STAT_http_bodies_bytes) +
               (stat_get(STAT_slowdown_total) - refused_before) * whole !=
           CROWD * whole) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

/* More than there is room for, most of each there before the rest of one: who is refused makes room
 * for the others, or all would be. */
static void
a_crowd_is_not_refused_as_one(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    static char text[STORE_INLINE_MAX];
    struct s3_call c = {
        .who = ROOT, .method = "PUT", .target = "/album/a", .body = slice_of(text, sizeof text)};
    struct buf head;
    int fds[CROWD], taken = 0;
    int64_t refused = stat_get(STAT_slowdown_total);
    buf_init(&head, 1 << 20);
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_call_head(t, &c, &head);
    for (size_t i = 0; i < CROWD; i++) {
        fds[i] = raw_dial(http_address(t->http));
        assert_true(raw_put(fds[i], head.p, head.n));
    }
    while (http_active(t->http) < (int)CROWD)
        sched_yield();
    put_to_all(fds, text, PART);
    while (stat_get(STAT_http_bodies_bytes) < (int64_t)(CROWD * PART))
        sched_yield();
    put_to_all(fds, text, sizeof text - PART - 1);
    wait_for_verdicts(refused);
    for (size_t i = 0; i < CROWD; i++) {
        assert_true(raw_put(fds[i], text, 1));
        raw_hear(fds[i], &a, false);
        assert_true(a.status == 200 || (a.status == 503 && s3_says(&a, "<Code>SlowDown</Code>")));
        taken += a.status == 200;
        buf_fini(&a.all);
        close(fds[i]);
    }
    assert_true(taken > 0 && taken < (int)CROWD);
    buf_fini(&head);
}

/* ---- many at once ---- */

#define WAVE 40

/* All requests are sent before the first answer is read: they share commits. */
static void
many_at_once(void **state)
{
    struct s3_fix *t = *state;
    int fds[WAVE];
    char target[64], body[64];
    struct buf head;
    buf_init(&head, 1 << 20);
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < WAVE; i++) {
            if (round == 0)
                fds[i] = raw_dial(http_address(t->http));
            snprintf(target, sizeof target, "/album/key%d", i % 10);
            snprintf(body, sizeof body, "round %d of %d", round, i % 10);
            struct s3_call c = {
                .who = ROOT, .method = "PUT", .target = target, .body = slice_str(body)};
            buf_reset(&head);
            s3_call_head(t, &c, &head);
            assert_true(raw_put(fds[i], head.p, head.n));
            raw_say(fds[i], body);
        }
        for (int i = 0; i < WAVE; i++)
            raw_expect(fds[i], 200, "");
    }
    for (int i = 0; i < WAVE; i++)
        close(fds[i]);
    for (int i = 0; i < 10; i++) {
        snprintf(target, sizeof target, "/album/key%d", i);
        snprintf(body, sizeof body, "round 2 of %d", i);
        s3_do(t, ROOT, "GET", target, 200, body);
    }
    buf_fini(&head);
}

/* Results of functions: what caches may do with them. */
static void
function_results(void **state)
{
    struct s3_fix *t = *state;
    struct fix_put p;
    struct slice bytes = SLICE_LIT("thumbnail");
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?policy", NULL, POLICY_BODY, 204, NULL);
    fix_put_spec(&p, "album", SLICE_LIT("pub/a.jpg/small.webp"), bytes);
    p.spec.owner = slice_str(accounts_root(t->accounts)->canonical_id);
    p.spec.by_function = true;
    p.spec.content_type = SLICE_LIT("image/webp");
    assert_int_equal(fix_put_run(&t->f, &p, bytes), ERR_NONE);
    s3_do(t, NOBODY, "GET", "/album/pub/a.jpg/small.webp", 200, "Cache-Control: no-cache\r\n");
    s3_do(t, NOBODY, "GET", "/album/pub/a.jpg/small.webp?v=12", 200,
          "Cache-Control: public, max-age=31536000, immutable\r\n");
    /* Somebody's own: for no shared cache. */
    s3_do(t, ROOT, "GET", "/album/pub/a.jpg/small.webp?v=12", 200,
          "Cache-Control: private, max-age=31536000, immutable\r\n");
    /* The source has a newer version: what is here may go any moment. */
    t->stale = true;
    s3_do(t, NOBODY, "GET", "/album/pub/a.jpg/small.webp?v=12", 200, "Cache-Control: no-cache\r\n");
    s3_do(t, NOBODY, "GET", "/album/pub/a.jpg/small.webp", 200, "Content-Type: image/webp\r\n");
    s3_send(t, ROOT, "PUT", "/album/pub/mine", NULL, "x", 200, NULL);
    struct raw_answer a;
    struct s3_call c = {.method = "GET", .target = "/album/pub/mine?v=1"};
    s3_call(t, &c, &a);
    assert_false(raw_has(&a, "Cache-Control"));
    buf_fini(&a.all);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(bucket_life),
        S3_TEST(bucket_refusals),
        S3_TEST(bucket_list),
        S3_TEST(object_sizes),
        S3_TEST(object_headers),
        S3_TEST(object_header_refusals),
        S3_TEST(keys_of_any_bytes),
        S3_TEST(keys_refused),
        S3_TEST(conditions_and_ranges),
        S3_TEST(ranges_of_large_objects),
        S3_TEST(write_conditions),
        S3_TEST(signatures),
        S3_TEST(policies),
        S3_TEST(bucket_in_the_host),
        S3_TEST(expected_owner),
        S3_TEST(bad_bodies),
        S3_TEST(broken_off),
        S3_TEST(expect_continue),
        S3_TEST(slow_down),
        S3_TEST(bodies_have_a_limit),
        S3_TEST(a_crowd_is_not_refused_as_one),
        S3_TEST(many_at_once),
        S3_TEST(function_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
