/*
 * The signer against signatures AWS has published, which the server's check shares the arithmetic
 * with: the examples of the S3 API reference, and cases of the Signature Version 4 test suite for
 * services that are not S3.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/sign.h"
#include "base/sigv4.h"
#include "tests/lib/fakereq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MAY_2013 INT64_C(1369353600000) /* 20130524T000000Z */
#define AUG_2015 INT64_C(1440938160000) /* 20150830T123600Z */

static const struct fakereq_signer suite = {
    .access_key_id = "AKIDEXAMPLE",
    .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    .region = "us-east-1",
    .service = "service",
    .now_ms = AUG_2015,
};

static void
assert_ends(struct slice text, const char *signature)
{
    assert_int_equal(strlen(signature), SIGV4_HEX);
    assert_true(text.n > SIGV4_HEX);
    assert_memory_equal(text.p + text.n - SIGV4_HEX, signature, SIGV4_HEX);
}

struct known {
    const char *head;
    const char *payload_hash;
    const char *signature;
};

static void
test_fakereq_roots(void **state)
{
    (void)state;
    static const struct known cases[] = {
        {"GET /test.txt HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\nRange: bytes=0-9\n", NULL,
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
        {"PUT /test%24file.text HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n"
         "Date: Fri, 24 May 2013 00:00:00 GMT\nx-amz-storage-class: REDUCED_REDUNDANCY\n",
         "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
        {"GET /?lifecycle HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n", NULL,
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
        {"GET /?max-keys=2&prefix=J HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n", NULL,
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
        {"PUT /examplebucket/chunkObject.txt HTTP/1.1\nHost: s3.amazonaws.com\n"
         "x-amz-storage-class: REDUCED_REDUNDANCY\nContent-Encoding: aws-chunked\n"
         "x-amz-decoded-content-length: 66560\nContent-Length: 66824\n",
         "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
         "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"},
        {"PUT /examplebucket/chunkObject.txt HTTP/1.1\nHost: s3.amazonaws.com\n"
         "x-amz-storage-class: REDUCED_REDUNDANCY\nContent-Encoding: aws-chunked\n"
         "x-amz-decoded-content-length: 66560\nx-amz-trailer: x-amz-checksum-crc32c\n",
         "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
         "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request *r = fakereq_new(cases[i].head);
        fakereq_sign(r, &fakereq_root, cases[i].payload_hash);
        assert_ends(http_field(r, "authorization"), cases[i].signature);
        fakereq_free(&r);
    }
}

static void
test_s3_authorization_text(void **state)
{
    (void)state;
    struct http_request *r = fakereq_new("GET /test.txt HTTP/1.1\n"
                                         "Host: examplebucket.s3.amazonaws.com\n"
                                         "Range: bytes=0-9\n");
    fakereq_sign(r, &fakereq_root, NULL);
    struct slice text = http_field(r, "authorization");
    assert_true(slice_starts(
        text, SLICE_LIT("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"
                        "aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
                        "Signature=")));
    fakereq_free(&r);
}

static void
test_s3_presigned_example(void **state)
{
    (void)state;
    struct http_request *r =
        fakereq_new("GET /test.txt HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n");
    fakereq_presign(r, &fakereq_root, 86400);
    assert_ends(r->raw_query, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    assert_true(slice_starts(
        r->raw_query,
        SLICE_LIT("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F"
                  "20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&"
                  "X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=")));
    fakereq_free(&r);
}

static void
test_suite_of_other_services(void **state)
{
    (void)state;
    static const char vanilla[] =
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    static const struct known cases[] = {
        {"GET / HTTP/1.1\nHost:example.amazonaws.com\n", NULL, vanilla},
        {"GET /example/.. HTTP/1.1\nHost:example.amazonaws.com\n", NULL, vanilla},
        {"GET /example1/example2/../.. HTTP/1.1\nHost:example.amazonaws.com\n", NULL, vanilla},
        {"GET // HTTP/1.1\nHost:example.amazonaws.com\n", NULL, vanilla},
        {"GET /./ HTTP/1.1\nHost:example.amazonaws.com\n", NULL, vanilla},
        /* The raw path is encoded once more, so bytes that came bare are encoded once. */
        {"GET /\341\210\264 HTTP/1.1\nHost:example.amazonaws.com\n", NULL,
         "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
        {"GET /?Param2=value2&Param1=value1 HTTP/1.1\nHost:example.amazonaws.com\n", NULL,
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
        {"POST / HTTP/1.1\nHost:example.amazonaws.com\n", NULL,
         "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
        {"GET / HTTP/1.1\nHost:example.amazonaws.com\nMy-Header1:value2\nMy-Header1:value2\n"
         "My-Header1:value1\n",
         NULL, "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
        {"GET / HTTP/1.1\nHost:example.amazonaws.com\nMy-Header1: value1\n"
         "My-Header2: \"a   b   c\"\n",
         NULL, "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request *r = fakereq_new(cases[i].head);
        fakereq_sign(r, &suite, cases[i].payload_hash);
        assert_ends(http_field(r, "authorization"), cases[i].signature);
        fakereq_free(&r);
    }
}

static void
test_normalized_uri(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "/"},
        {"/", "/"},
        {"/a%20b", "/a%2520b"},
        {"/a//b/", "/a/b/"},
        {"/a/./b", "/a/b"},
        {"/../../a", "/a"},
        {"/a/b/..", "/a/"},
        {"/a/b/../c", "/a/c"},
        {"/a/.", "/a/"},
        {"/..a/b.", "/..a/b."},
        {"/a/..", "/"},
    };
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_reset(&out);
        sigv4_uri_normalized(slice_str(cases[i][0]), &out);
        assert_string_equal(out.p, cases[i][1]);
    }
    buf_fini(&out);
}

static struct sign_request
small_request(const struct sign_header *headers, size_t n)
{
    return (struct sign_request){
        .method = "GET",
        .raw_path = SLICE_LIT("/"),
        .headers = headers,
        .header_count = n,
        .payload_hash = SIGV4_UNSIGNED_PAYLOAD,
        .region = "r",
        .service = "s3",
        .access_key_id = SLICE_LIT("AK"),
        .secret_access_key = SLICE_LIT("SK"),
        .now_ms = MAY_2013,
    };
}

static void
test_refuses_what_it_cannot_sign(void **state)
{
    (void)state;
    struct sign_header headers[SIGN_HEADERS_MAX + 1];
    struct buf out, small;
    for (size_t i = 0; i < SIGN_HEADERS_MAX + 1; i++)
        headers[i] = (struct sign_header){"host", SLICE_LIT("h")};
    buf_init(&out, 4096);
    struct sign_request req = small_request(headers, SIGN_HEADERS_MAX + 1);
    assert_int_equal(sign_v4_header(&req, &out), ERR_INVALID);
    assert_int_equal(sign_v4_query(&req, 60, &out), ERR_INVALID);
    req = small_request(headers, 0);
    assert_int_equal(sign_v4_header(&req, &out), ERR_INVALID);
    req = small_request(headers, 1);
    req.raw_query = SLICE_LIT("a=%zz");
    assert_int_equal(sign_v4_header(&req, &out), ERR_INVALID);
    req = small_request(headers, 1);
    assert_int_equal(sign_v4_header(&req, &out), ERR_NONE);
    buf_init(&small, 100);
    assert_int_equal(sign_v4_header(&req, &small), ERR_TOOBIG);
    buf_reset(&small);
    assert_int_equal(sign_v4_query(&req, 60, &small), ERR_TOOBIG);
    buf_fini(&small);
    buf_fini(&out);
}

/* The cache must never answer for another secret, day, region or service. */
static void
test_signing_key_cache(void **state)
{
    (void)state;
    static const char *const words[][4] = {
        {"secret", "20130524", "us-east-1", "s3"}, {"Secret", "20130524", "us-east-1", "s3"},
        {"secret", "20130525", "us-east-1", "s3"}, {"secret", "20130524", "us-east-2", "s3"},
        {"secret", "20130524", "us-east-1", "s4"}, {"t", "20130524", "us-east-1", "s3\nsecre"},
    };
    enum { N = sizeof words / sizeof words[0] };
    uint8_t first[N][SHA256_BYTES], again[SHA256_BYTES];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(sigv4_signing_key(slice_str(words[i][0]), slice_str(words[i][1]),
                                               slice_str(words[i][2]), slice_str(words[i][3]),
                                               round == 0 ? first[i] : again),
                             ERR_NONE);
            if (round > 0)
                assert_memory_equal(first[i], again, SHA256_BYTES);
            for (size_t k = 0; k < i; k++)
                assert_memory_not_equal(first[i], first[k], SHA256_BYTES);
        }
    }
    /* The published key of the documentation's example. */
    static const uint8_t published[] = {0xdb, 0xb8, 0x93, 0xac, 0xc0, 0x10, 0x96, 0x49};
    assert_int_equal(sigv4_signing_key(slice_str(fakereq_root.secret_access_key),
                                       SLICE_LIT("20130524"), SLICE_LIT("us-east-1"),
                                       SLICE_LIT("s3"), again),
                     ERR_NONE);
    assert_memory_equal(again, published, sizeof published);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fakereq_roots),
        cmocka_unit_test(test_s3_authorization_text),
        cmocka_unit_test(test_s3_presigned_example),
        cmocka_unit_test(test_suite_of_other_services),
        cmocka_unit_test(test_normalized_uri),
        cmocka_unit_test(test_refuses_what_it_cannot_sign),
        cmocka_unit_test(test_signing_key_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
