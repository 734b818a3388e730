/*
 * Signature Version 2: the examples AWS published, and requests that were changed after they were
 * signed.
 */
#include "base/digest.h"
#include "tests/base/auth_rig.h"

#include <stdio.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MARCH_2007 INT64_C(1175024202000) /* Tue, 27 Mar 2007 19:36:42 GMT */

struct tampering {
    struct fakereq_change how;
    enum auth_result expected;
};

struct v2_case {
    const char *head; /* without Authorization */
    const char *signature;
    int64_t at_s;
};

/* The examples of "Signing and authenticating REST requests". */
static const struct v2_case v2_published[] = {
    {"GET /photos/puppy.jpg HTTP/1.1\nHost: awsexamplebucket1.us-west-1.s3.amazonaws.com\n"
     "Date: Tue, 27 Mar 2007 19:36:42 +0000\n",
     "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", 1175024202},
    {"GET /johnsmith/photos/puppy.jpg HTTP/1.1\nHost: s3.amazonaws.com\n"
     "Date: Tue, 27 Mar 2007 19:36:42 +0000\n",
     "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", 1175024202},
    {"PUT /photos/puppy.jpg HTTP/1.1\nHost: johnsmith.s3.amazonaws.com\n"
     "Content-Type: image/jpeg\nContent-Length: 94328\nDate: Tue, 27 Mar 2007 21:15:45 +0000\n",
     "MyyxeRY7whkBe+bq8fHCL/2kKUg=", 1175030145},
    {"GET /?prefix=photos&max-keys=50&marker=puppy HTTP/1.1\nHost: johnsmith.s3.amazonaws.com\n"
     "Date: Tue, 27 Mar 2007 19:42:41 +0000\n",
     "htDYFYduRNen8P9ZfE/s9SuKy0U=", 1175024561},
    {"GET /?acl HTTP/1.1\nHost: johnsmith.s3.amazonaws.com\n"
     "Date: Tue, 27 Mar 2007 19:44:46 +0000\n",
     "c2WLPFtWHVgbEmeEG93a4cG37dM=", 1175024686},
    {"GET / HTTP/1.1\nHost: s3.amazonaws.com\nDate: Wed, 28 Mar 2007 01:29:59 +0000\n",
     "qGdzdERIC03wnaRNKh6OqZehG9s=", 1175045399},
    {"GET /dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re HTTP/1.1\nHost: s3.amazonaws.com\n"
     "Date: Wed, 28 Mar 2007 01:49:49 +0000\n",
     "DNEZGsoieTZ92F3bUfSPQcbGmlM=", 1175046589},
    {"PUT /db-backup.dat.gz HTTP/1.1\nHost: static.johnsmith.net:8080\n"
     "Date: Tue, 27 Mar 2007 21:06:08 +0000\nx-amz-acl: public-read\n"
     "content-type: application/x-download\nContent-MD5: 4gJE4saaMU4BqNR0kLY+lw==\n"
     "X-Amz-Meta-ReviewedBy: joe@johnsmith.net\nX-Amz-Meta-ReviewedBy: jane@johnsmith.net\n"
     "X-Amz-Meta-FileChecksum: 0x02661779\nX-Amz-Meta-ChecksumAlgorithm: crc32\n"
     "Content-Disposition: attachment; filename=database.dat\nContent-Encoding: gzip\n"
     "Content-Length: 5913339\n",
     "ilyl83RwaSoYIEdixDQcA4OnAnc=", 1175029568},
};

static struct http_request *
v2_request(const struct v2_case *c)
{
    char text[100];
    struct http_request *r = fakereq_new(c->head);
    snprintf(text, sizeof text, "AWS AKIAIOSFODNN7EXAMPLE:%s", c->signature);
    fakereq_field(r, "Authorization", text);
    return r;
}

static void
test_v2_published(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(v2_published); i++) {
        struct http_request *r = v2_request(&v2_published[i]);
        enum auth_result result = check_at(r, v2_published[i].at_s * 1000);
        if (result != AUTH_OK)
            print_error("case %zu: %.*s\n", i, SLICE_FMT(r->auth->string_to_sign));
        assert_int_equal(result, AUTH_OK);
        assert_true(slice_eqs(r->auth->service, "s3"));
        assert_int_equal(r->auth->payload, AUTH_PAYLOAD_NONE);
        fakereq_free(&r);
    }
}

/* With the domain known there is one reading of the Host, and a signature for one bucket cannot be
 * used for another. */
static void
test_v2_domain(void **state)
{
    (void)state;
    struct auth_options o = options_at(MARCH_2007);
    o.domain = "s3.amazonaws.com";
    static const struct {
        const char *target, *host;
        enum auth_result expected;
    } cases[] = {
        {"/photos/puppy.jpg", "johnsmith.s3.amazonaws.com", AUTH_OK},
        {"/photos/puppy.jpg", "johnsmith.S3.amazonaws.com:80", AUTH_OK},
        {"/photos/puppy.jpg", "JohnSmith.s3.amazonaws.com", AUTH_MISMATCH},
        {"/johnsmith/photos/puppy.jpg", "s3.amazonaws.com", AUTH_OK},
        {"/johnsmith/photos/puppy.jpg", "127.0.0.1", AUTH_OK},
        {"/johnsmith/photos/puppy.jpg", "other.s3.amazonaws.com", AUTH_MISMATCH},
        {"/photos/puppy.jpg", "johnsmith.other.s3.amazonaws.com", AUTH_MISMATCH},
        {"/photos/puppy.jpg", "johnsmith.example.com", AUTH_MISMATCH},
        {"/photos/puppy.jpg", "johnsmiths3.amazonaws.com", AUTH_MISMATCH},
        {"/photos/puppy.jpg", ".s3.amazonaws.com", AUTH_MISMATCH},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = v2_request(&v2_published[1]);
        fakereq_target(r, cases[i].target);
        fakereq_field(r, "host", cases[i].host);
        assert_int_equal(auth_check(r, &o), ERR_NONE);
        if (r->auth->result != cases[i].expected)
            print_error("case %zu: %s\n", i, cases[i].host);
        assert_int_equal(r->auth->result, cases[i].expected);
        fakereq_free(&r);
    }
}

static struct http_request *
v2_upload(void)
{
    return v2_request(&v2_published[7]);
}

static void
test_v2_tampered(void **state)
{
    (void)state;
    static const struct tampering list[] = {
        {{FAKEREQ_METHOD, "POST", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET, "/db-backup.dat.g", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET, "/db%2Dbackup.dat.gz", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET, "/db-backup.dat.gz?acl", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET, "/db-backup.dat.gz?uploadId=1", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET, "/db-backup.dat.gz?unrelated=1", NULL}, AUTH_OK},
        {{FAKEREQ_SET, "content-md5", "4gJE4saaMU4BqNR0kLY+lA=="}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "content-type", "text/html"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "x-amz-acl", "private"}, AUTH_MISMATCH},
        {{FAKEREQ_ADD, "x-amz-meta-more", "1"}, AUTH_MISMATCH},
        {{FAKEREQ_DROP, "x-amz-meta-filechecksum", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_ADD, "x-amz-meta-reviewedby", "eve@example.com"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "host", "static.johnsmith.com"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "date", "Tue, 27 Mar 2007 21:06:09 +0000"}, AUTH_MISMATCH},
        {{FAKEREQ_SET, "date", "Tue, 27 Mar 2007 23:06:08 +0000"}, AUTH_SKEWED},
        {{FAKEREQ_DROP, "date", NULL}, AUTH_NO_DATE},
        {{FAKEREQ_AUTHORIZATION, "EXAMPLE", "EXAMPLF"}, AUTH_UNKNOWN_KEY},
        {{FAKEREQ_AUTHORIZATION, "ilyl", "ilyk"}, AUTH_MISMATCH},
    };
    for (size_t i = 0; i < LEN(list); i++) {
        struct http_request *r = v2_upload();
        fakereq_tamper(r, &list[i].how);
        enum auth_result result = check_at(r, v2_published[7].at_s * 1000);
        if (result != list[i].expected)
            print_error("case %zu: %s\n", i, list[i].how.what);
        assert_int_equal(result, list[i].expected);
        fakereq_free(&r);
    }
}

static void
v2_sign(const char *text, char base64[32])
{
    uint8_t mac[SHA1_BYTES];
    struct buf out;
    buf_init(&out, 31);
    digest_hmac_sha1(slice_str(fakereq_root.secret_access_key), slice_str(text), mac);
    base64_encode(&out, mac, sizeof mac);
    snprintf(base64, 32, "%s", out.p);
    buf_fini(&out);
}

/* x-amz-date stands for Date; subresources are sorted and decoded. */
static void
test_v2_amz_date_and_subresources(void **state)
{
    (void)state;
    char base64[32], text[100];
    v2_sign("GET\n\n\n\nx-amz-date:Tue, 27 Mar 2007 19:36:42 GMT\n"
            "/b/k?partNumber=3&response-content-type=text/plain&uploadId=a b",
            base64);
    snprintf(text, sizeof text, "AWS AKIAIOSFODNN7EXAMPLE:%s", base64);
    struct http_request *r = fakereq_new(
        "GET /b/k?uploadId=a%20b&part=1&response-content-type=text%2Fplain&partNumber=3 HTTP/1.1\n"
        "Host: h\nDate: Mon, 01 Jan 2001 00:00:00 GMT\n"
        "x-amz-date: Tue, 27 Mar 2007 19:36:42 GMT\n");
    fakereq_field(r, "authorization", text);
    assert_int_equal(check_at(r, MARCH_2007), AUTH_OK);
    fakereq_free(&r);
}

static struct http_request *
v2_query_get(void)
{
    return fakereq_new("GET /photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&"
                       "Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620 HTTP/1.1\n"
                       "Host: johnsmith.s3.amazonaws.com\n");
}

static void
test_v2_query(void **state)
{
    (void)state;
    static const struct tampering list[] = {
        {{FAKEREQ_METHOD, "GET", NULL}, AUTH_OK},
        {{FAKEREQ_METHOD, "PUT", NULL}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "puppy", "kitty"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "1175139620", "1999999999"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "1175139620", "117513962x"}, AUTH_V2_EXPIRES},
        {{FAKEREQ_TARGET_PART, "1175139620", "99999999999999999"}, AUTH_V2_EXPIRES},
        {{FAKEREQ_TARGET_PART, "&Expires=1175139620", ""}, AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "Npg", "Nph"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D", ""},
         AUTH_QUERY_MALFORMED},
        {{FAKEREQ_TARGET_PART, "7EXAMPLE", "8EXAMPLE"}, AUTH_UNKNOWN_KEY},
        {{FAKEREQ_TARGET_PART, "Expires=1175139620", "Expires=1175139620&acl"}, AUTH_MISMATCH},
        {{FAKEREQ_TARGET_PART, "Expires=1175139620", "Expires=1175139620&Expires=1"},
         AUTH_QUERY_MALFORMED},
        {{FAKEREQ_ADD, "x-amz-acl", "public-read"}, AUTH_MISMATCH},
        {{FAKEREQ_ADD, "authorization", "AWS a:b"}, AUTH_TWO_MECHANISMS},
    };
    for (size_t i = 0; i < LEN(list); i++) {
        struct http_request *r = v2_query_get();
        fakereq_tamper(r, &list[i].how);
        assert_int_equal(check_at(r, INT64_C(1175139620000)), list[i].expected);
        fakereq_free(&r);
    }
    struct http_request *r = v2_query_get();
    assert_int_equal(check_at(r, INT64_C(1175139620001)), AUTH_EXPIRED);
    assert_true(r->auth->presigned);
    fakereq_free(&r);
}

static void
test_v2_refused(void **state)
{
    (void)state;
    struct auth_options o = options_at(MARCH_2007);
    o.v2_allowed = false;
    struct http_request *r = v2_request(&v2_published[0]);
    assert_int_equal(auth_check(r, &o), ERR_NONE);
    assert_int_equal(r->auth->result, AUTH_V2_REFUSED);
    fakereq_free(&r);
    r = v2_query_get();
    assert_int_equal(auth_check(r, &o), ERR_NONE);
    assert_int_equal(r->auth->result, AUTH_V2_REFUSED);
    fakereq_free(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v2_published), cmocka_unit_test(test_v2_domain),
        cmocka_unit_test(test_v2_tampered),  cmocka_unit_test(test_v2_amz_date_and_subresources),
        cmocka_unit_test(test_v2_query),     cmocka_unit_test(test_v2_refused),
    };
    return cmocka_run_group_tests(tests, auth_rig_setup, auth_rig_teardown);
}
