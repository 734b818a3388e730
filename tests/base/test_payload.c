/*
 * Upload bodies that are plain, or in chunks that are not signed: every checksum, and lies at every
 * place where a body can lie. Each body is fed at once and in small pieces; the outcome must be the
 * same. Signed chunks: test_aws_chunked.c.
 */
#include "base/err.h"
#include "base/payload.h"
#include "base/sigv4.h"
#include "tests/lib/fakereq.h"
#include "tests/lib/uploads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static int
setup(void **state)
{
    (void)state;
    uploads_begin();
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    uploads_end();
    return 0;
}

/* ---- plain bodies ---- */

#define NINE "123456789"
#define NINE_MD5 "JfnnlDI7RTiF9RgfG2JNCw=="
#define NINE_SHA256 "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"

static const struct {
    const char *name, *base64;
    enum checksum id;
} nine_checksums[] = {
    {"crc32", "y/Q5Jg==", CHECKSUM_CRC32},
    {"crc32c", "4waSgw==", CHECKSUM_CRC32C},
    {"crc64nvme", "rosUhgp5mIg=", CHECKSUM_CRC64NVME},
    {"sha1", "98O8HYCOBHMq32eZZczDTKeuNEE=", CHECKSUM_SHA1},
    {"sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=", CHECKSUM_SHA256},
};

static void
test_plain(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *hash, *body;
        enum payload_fault expected;
    } cases[] = {
        {"Content-Length: 9\n", NULL, NINE, PAYLOAD_NONE},
        {"Content-Length: 9\n", "UNSIGNED-PAYLOAD", NINE, PAYLOAD_NONE},
        {"Content-Length: 9\n", NINE_SHA256, NINE, PAYLOAD_NONE},
        {"Content-Length: 9\n", NINE_SHA256, "123456788", PAYLOAD_SHA256},
        {"Content-Length: 0\n", SIGV4_EMPTY_SHA256, "", PAYLOAD_NONE},
        {"Content-Length: 0\n", NINE_SHA256, "", PAYLOAD_SHA256},
        {"Content-Length: 9\n", NULL, "12345678", PAYLOAD_LENGTH},
        {"Content-Length: 9\n", NULL, "1234567890", PAYLOAD_LENGTH},
        {"Transfer-Encoding: chunked\n", NULL, NINE, PAYLOAD_NONE},
        {"Transfer-Encoding: chunked\n", NULL, "", PAYLOAD_NONE},
        {"Transfer-Encoding: chunked\n", NINE_SHA256, NINE, PAYLOAD_NONE},
        {"", NULL, "", PAYLOAD_NO_LENGTH},
        {"Content-Length: 9\nContent-MD5: " NINE_MD5 "\n", NULL, NINE, PAYLOAD_NONE},
        {"Content-Length: 9\nContent-MD5: " NINE_MD5 "\n", NULL, "987654321", PAYLOAD_MD5},
        {"Content-Length: 9\nContent-MD5: JfnnlDI7RTiF9RgfG2JNCw\n", NULL, NINE,
         PAYLOAD_BAD_MD5_HEADER},
        {"Content-Length: 9\nContent-MD5: JfnnlDI7RTiF9RgfG2JN\n", NULL, NINE,
         PAYLOAD_BAD_MD5_HEADER},
        {"Content-Length: 9\nContent-MD5: 25f9e794323b453885f5181f1b624d0b\n", NULL, NINE,
         PAYLOAD_BAD_MD5_HEADER},
        {"Content-Length: 9\nContent-MD5:\n", NULL, NINE, PAYLOAD_BAD_MD5_HEADER},
        {"Content-Length: 9\nx-amz-checksum-crc32: y/Q5Jg=\n", NULL, NINE, PAYLOAD_BAD_CRC32},
        {"Content-Length: 9\nx-amz-checksum-crc32: 4waSgw==AA==\n", NULL, NINE, PAYLOAD_BAD_CRC32},
        /* The last digit has bits that no byte needs. */
        {"Content-Length: 9\nx-amz-checksum-crc32: y/Q5Jh==\n", NULL, NINE, PAYLOAD_BAD_CRC32},
        {"Content-Length: 9\nx-amz-checksum-sha256: y/Q5Jg==\n", NULL, NINE, PAYLOAD_BAD_SHA256},
        {"Content-Length: 9\nx-amz-checksum-crc33: y/Q5Jg==\n", NULL, NINE,
         PAYLOAD_BAD_CHECKSUM_HEADER},
        {"Content-Length: 9\nx-amz-checksum-crc32: y/Q5Jg==\nx-amz-checksum-crc32c: 4waSgw==\n",
         NULL, NINE, PAYLOAD_TWO_CHECKSUMS},
        {"Content-Length: 9\nx-amz-checksum-crc32: y/Q5Jg==\nx-amz-checksum-crc32: y/Q5Jg==\n",
         NULL, NINE, PAYLOAD_TWO_CHECKSUMS},
        {"Content-Length: 9\nx-amz-sdk-checksum-algorithm: CRC32\n", NULL, NINE,
         PAYLOAD_SDK_NO_VALUE},
        {"Content-Length: 9\nx-amz-sdk-checksum-algorithm: SHA1\nx-amz-checksum-crc32: y/Q5Jg==\n",
         NULL, NINE, PAYLOAD_SDK_ALGORITHM},
        {"Content-Length: 9\nx-amz-sdk-checksum-algorithm: CRC33\n", NULL, NINE,
         PAYLOAD_SDK_ALGORITHM},
        {"Content-Length: 9\nx-amz-sdk-checksum-algorithm: CRC32\nx-amz-checksum-crc32: y/Q5Jg==\n",
         NULL, NINE, PAYLOAD_NONE},
        {"Content-Length: 9\nx-amz-checksum-algorithm: CRC32\nx-amz-checksum-type: FULL_OBJECT\n"
         "x-amz-checksum-mode: ENABLED\n",
         NULL, NINE, PAYLOAD_NONE},
        /* A trailer cannot come behind a plain body. */
        {"Content-Length: 9\nx-amz-trailer: x-amz-checksum-crc32\n", NULL, NINE,
         PAYLOAD_BAD_TRAILER},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = upload_new(cases[i].fields, cases[i].hash);
        if (cases[i].expected == PAYLOAD_NONE)
            assert_upload_good(r, slice_str(cases[i].body), slice_str(cases[i].body));
        else
            assert_upload_fault(r, slice_str(cases[i].body), cases[i].expected);
        fakereq_free(&r);
    }
}

static void
test_plain_checksums(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(nine_checksums); i++) {
        char fields[200];
        struct upload_outcome o;
        snprintf(fields, sizeof fields, "Content-Length: 9\nX-Amz-Checksum-%s: %s\n",
                 nine_checksums[i].name, nine_checksums[i].base64);
        struct http_request *r = upload_new(fields, NULL);
        upload_run(r, SLICE_LIT(NINE), 4, UPLOAD_BYTES_MAX, &o);
        assert_int_equal(o.fault, PAYLOAD_NONE);
        assert_int_equal(o.checksum, nine_checksums[i].id);
        assert_string_equal(o.base64, nine_checksums[i].base64);
        buf_fini(&o.plain);
        upload_run(r, SLICE_LIT("123456780"), 4, UPLOAD_BYTES_MAX, &o);
        assert_int_equal(o.fault, payload_fault_of(PAYLOAD_NOT_CRC32, nine_checksums[i].id));
        assert_non_null(strcasestr(payload_refusal(o.fault)->message, nine_checksums[i].name));
        assert_int_equal(o.checksum, CHECKSUM_NONE);
        buf_fini(&o.plain);
        fakereq_free(&r);
    }
}

static void
test_limits(void **state)
{
    (void)state;
    struct upload_outcome o;
    struct http_request *r = upload_new("Content-Length: 9\n", NULL);
    upload_run(r, SLICE_LIT(NINE), 1, 9, &o);
    assert_int_equal(o.fault, PAYLOAD_NONE);
    buf_fini(&o.plain);
    upload_run(r, SLICE_LIT(NINE), 1, 8, &o);
    assert_int_equal(o.fault, PAYLOAD_TOO_LARGE);
    fakereq_free(&r);

    r = upload_new("Transfer-Encoding: chunked\n", NULL);
    upload_run(r, SLICE_LIT(NINE), 1, 8, &o);
    assert_int_equal(o.fault, PAYLOAD_TOO_LARGE);
    assert_int_equal(o.plain.n, 8);
    buf_fini(&o.plain);
    fakereq_free(&r);

    r = upload_new("Transfer-Encoding: chunked\n", UPLOAD_UNSIGNED_TRAILER);
    upload_run(r, SLICE_LIT("9\r\n" NINE "\r\n0\r\n\r\n"), 1, 8, &o);
    assert_int_equal(o.fault, PAYLOAD_TOO_LARGE);
    assert_int_equal(o.plain.n, 0);
    buf_fini(&o.plain);
    fakereq_free(&r);
}

/* What the server wants when the client states nothing; what is stated wins. */
static void
test_wanted(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        enum checksum stated, computed;
        const char *base64;
    } cases[] = {
        {"Content-Length: 9\n", CHECKSUM_NONE, CHECKSUM_CRC32C, "4waSgw=="},
        {"Content-Length: 9\nx-amz-checksum-crc32: y/Q5Jg==\n", CHECKSUM_CRC32, CHECKSUM_CRC32,
         "y/Q5Jg=="},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct upload_outcome o = {.plain = {.n = 0}};
        struct payload *p = NULL;
        const char *base64 = NULL;
        struct http_request *r = upload_new(cases[i].fields, NULL);
        buf_init(&o.plain, UPLOAD_BYTES_MAX);
        assert_int_equal(payload_begin(&p, r, UPLOAD_BYTES_MAX, upload_sink, &o), PAYLOAD_NONE);
        assert_int_equal(payload_want(p, CHECKSUM_CRC32C), ERR_NONE);
        assert_int_equal(payload_stated(p), cases[i].stated);
        assert_int_equal(payload_feed(p, NINE, 9), PAYLOAD_NONE);
        assert_int_equal(payload_end(p), PAYLOAD_NONE);
        assert_int_equal(payload_checksum(p, &base64), cases[i].computed);
        assert_string_equal(base64, cases[i].base64);
        payload_fini(&p);
        buf_fini(&o.plain);
        fakereq_free(&r);
    }
}

/* Headers that speak of something else than this body. */
static void
test_unsummed(void **state)
{
    (void)state;
    struct upload_outcome o = {.plain = {.n = 0}};
    struct payload *p = NULL;
    struct http_request *r = upload_new("Content-Length: 9\nx-amz-checksum-sha1: of another\n"
                                        "x-amz-checksum-crc32: AAAAAA==\n",
                                        NULL);
    buf_init(&o.plain, UPLOAD_BYTES_MAX);
    assert_int_equal(payload_begin_unsummed(&p, r, UPLOAD_BYTES_MAX, upload_sink, &o),
                     PAYLOAD_NONE);
    assert_int_equal(payload_feed(p, NINE, 9), PAYLOAD_NONE);
    assert_int_equal(payload_end(p), PAYLOAD_NONE);
    assert_int_equal(payload_checksum(p, NULL), CHECKSUM_NONE);
    payload_fini(&p);
    buf_fini(&o.plain);
    fakereq_free(&r);
}

static int
full_sink(void *arg, const void *p, size_t n)
{
    (void)p;
    size_t *calls = arg;
    (*calls)++;
    return n > 1 ? ERR_FULL : ERR_NONE;
}

static void
test_sink_error(void **state)
{
    (void)state;
    size_t calls = 0;
    struct payload *p = NULL;
    struct http_request *r = upload_new("Content-Length: 9\n", NULL);
    assert_int_equal(payload_begin(&p, r, UPLOAD_BYTES_MAX, full_sink, &calls), PAYLOAD_NONE);
    assert_int_equal(payload_feed(p, "1", 1), PAYLOAD_NONE);
    assert_int_equal(payload_feed(p, "23", 2), PAYLOAD_SINK);
    assert_int_equal(payload_feed(p, "4", 1), PAYLOAD_SINK);
    assert_int_equal(calls, 2);
    assert_int_equal(payload_sink_error(p), ERR_FULL);
    assert_int_equal(payload_end(p), PAYLOAD_SINK);
    payload_fini(&p);
    payload_fini(&p);
    fakereq_free(&r);
}

/* ---- chunks that are not signed ---- */

#define CRC "x-amz-checksum-crc32:y/Q5Jg=="
#define BODY "9\r\n" NINE "\r\n0\r\n"

static void
test_unsigned_trailer(void **state)
{
    (void)state;
    static const struct upload_wire cases[] = {
        {BODY CRC "\r\n\r\n", PAYLOAD_NONE},
        {BODY CRC "\n\r\n", PAYLOAD_NONE},
        {BODY CRC "\n\r\n\r\n\r\n", PAYLOAD_NONE}, /* as in the API reference */
        {BODY CRC "\r\n", PAYLOAD_NONE},
        {BODY "X-Amz-Checksum-CRC32: y/Q5Jg== \r\n\r\n", PAYLOAD_NONE},
        {"09\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_NONE},
        {"4\r\n1234\r\n5\r\n56789\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_NONE},
        {"1\r\n1\r\n1\r\n2\r\n7\r\n3456789\r\n000\r\n" CRC "\r\n\r\n", PAYLOAD_NONE},
        /* lies */
        {BODY "x-amz-checksum-crc32:y/Q5Jw==\r\n\r\n", PAYLOAD_NOT_CRC32},
        {"9\r\n123456780\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_NOT_CRC32},
        {BODY "x-amz-checksum-crc32c:4waSgw==\r\n\r\n", PAYLOAD_BAD_TRAILER},
        {BODY "x-amz-checksum-crc32:y/Q5Jg=\r\n\r\n", PAYLOAD_BAD_CRC32},
        {BODY "x-amz-checksum-crc32:\r\n\r\n", PAYLOAD_BAD_CRC32},
        {BODY "x-amz-checksum-crc32\r\n\r\n", PAYLOAD_BAD_CRC32},
        {BODY "\r\n", PAYLOAD_BAD_TRAILER},
        {BODY, PAYLOAD_BAD_TRAILER},
        {BODY CRC, PAYLOAD_BAD_TRAILER},
        {BODY CRC "\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_TRAILER},
        {BODY CRC "\r\nx-amz-meta-a:b\r\n\r\n", PAYLOAD_BAD_TRAILER},
        {BODY "x-amz-meta-a:b\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_TRAILER},
        {BODY CRC "\r\nx-amz-trailer-signature:" UPLOAD_HASH_ZERO "\r\n\r\n", PAYLOAD_BAD_TRAILER},
        {BODY CRC "\r\n\r\n9\r\n" NINE "\r\n", PAYLOAD_BAD_TRAILER},
        {BODY CRC "\r\n\r\nx", PAYLOAD_BAD_TRAILER},
        {BODY CRC "\r\n\r\n\r\n\r\n\r\n\r\n", PAYLOAD_BAD_TRAILER},
        /* framing */
        {"", PAYLOAD_BAD_CHUNK},
        {"9", PAYLOAD_BAD_CHUNK},
        {"9\r\n12345", PAYLOAD_BAD_CHUNK},
        {"9\r\n" NINE, PAYLOAD_BAD_CHUNK},
        {"9\r\n" NINE "\r\n", PAYLOAD_BAD_CHUNK},
        {"9\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"9\r\n" NINE "\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"9\r\n" NINE "\rx0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"9\r\n" NINE "00\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"8\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"a\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_LENGTH},
        {"9;x=y\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"9;\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"9;chunk-signature=" UPLOAD_HASH_ZERO "\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n",
         PAYLOAD_BAD_CHUNK},
        {" 9\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"+9\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"-9\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"0x9\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"00000000000000009\r\n" NINE "\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_CHUNK},
        {"140000001\r\n" NINE, PAYLOAD_BAD_CHUNK}, /* 5 GiB + 1 */
        {"140000000\r\n" NINE, PAYLOAD_LENGTH},
        {"ffffffffffffffff\r\n" NINE, PAYLOAD_BAD_CHUNK},
        /* the decoded length */
        {"8\r\n12345678\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_LENGTH},
        {"9\r\n" NINE "\r\n1\r\n0\r\n0\r\n" CRC "\r\n\r\n", PAYLOAD_LENGTH},
    };
    assert_upload_wires("Content-Length: 99\nx-amz-decoded-content-length: 9\n"
                        "x-amz-trailer: x-amz-checksum-crc32\nContent-Encoding: aws-chunked\n"
                        "x-amz-sdk-checksum-algorithm: CRC32\n",
                        UPLOAD_UNSIGNED_TRAILER, NINE, cases, LEN(cases));
}

static void
test_unsigned_without_trailer(void **state)
{
    (void)state;
    static const struct upload_wire cases[] = {
        {BODY "\r\n", PAYLOAD_NONE},
        {BODY, PAYLOAD_BAD_TRAILER},
        {BODY CRC "\r\n\r\n", PAYLOAD_BAD_TRAILER},
        {BODY "\r\n" CRC "\r\n\r\n", PAYLOAD_BAD_TRAILER},
        {"9\r\n" NINE "\r\n0\r\n\r\n\r\n", PAYLOAD_NONE},
    };
    assert_upload_wires("Transfer-Encoding: chunked\n", UPLOAD_UNSIGNED_TRAILER, NINE, cases,
                        LEN(cases));
}

static void
test_long_lines(void **state)
{
    (void)state;
    char wire[2000];
    struct http_request *r = upload_new("Transfer-Encoding: chunked\n", UPLOAD_UNSIGNED_TRAILER);
    snprintf(wire, sizeof wire, "%01000d\r\n", 0);
    assert_upload_fault(r, slice_str(wire), PAYLOAD_BAD_CHUNK);
    snprintf(wire, sizeof wire, "0\r\n%01000d:x\r\n", 0);
    assert_upload_fault(r, slice_str(wire), PAYLOAD_BAD_TRAILER);
    fakereq_free(&r);
}

static void
test_trailer_checksums(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(nine_checksums); i++) {
        char fields[200], wire[300];
        struct upload_outcome o;
        snprintf(fields, sizeof fields,
                 "Transfer-Encoding: chunked\nx-amz-trailer: x-amz-checksum-%s\n",
                 nine_checksums[i].name);
        snprintf(wire, sizeof wire, BODY "x-amz-checksum-%s:%s\r\n\r\n", nine_checksums[i].name,
                 nine_checksums[i].base64);
        struct http_request *r = upload_new(fields, UPLOAD_UNSIGNED_TRAILER);
        upload_run(r, slice_str(wire), 1, UPLOAD_BYTES_MAX, &o);
        assert_int_equal(o.fault, PAYLOAD_NONE);
        assert_int_equal(o.checksum, nine_checksums[i].id);
        assert_string_equal(o.base64, nine_checksums[i].base64);
        buf_fini(&o.plain);
        fakereq_free(&r);
    }
}

static void
test_chunked_headers(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        enum payload_fault expected;
    } cases[] = {
        {"Content-Length: 99\n", PAYLOAD_NO_DECODED_LENGTH},
        {"Content-Length: 99\nx-amz-decoded-content-length: nine\n", PAYLOAD_NO_DECODED_LENGTH},
        {"Content-Length: 99\nx-amz-decoded-content-length: -9\n", PAYLOAD_NO_DECODED_LENGTH},
        {"Content-Length: 99\nx-amz-decoded-content-length: 18446744073709551615\n",
         PAYLOAD_TOO_LARGE},
        {"Content-Length: 99\nx-amz-decoded-content-length: 1099511627777\n", PAYLOAD_TOO_LARGE},
        {"Transfer-Encoding: chunked\nx-amz-trailer: x-amz-meta-a\n", PAYLOAD_BAD_TRAILER},
        {"Transfer-Encoding: chunked\nx-amz-trailer: x-amz-checksum-md5\n", PAYLOAD_BAD_TRAILER},
        {"Transfer-Encoding: chunked\nx-amz-trailer: x-amz-checksum-type\n", PAYLOAD_BAD_TRAILER},
        {"Transfer-Encoding: chunked\nx-amz-trailer:\n", PAYLOAD_BAD_TRAILER},
        {"Transfer-Encoding: chunked\n"
         "x-amz-trailer: x-amz-checksum-crc32, x-amz-checksum-crc32c\n",
         PAYLOAD_TWO_CHECKSUMS},
        {"Transfer-Encoding: chunked\nx-amz-trailer: x-amz-checksum-crc32\n"
         "x-amz-checksum-crc32c: 4waSgw==\n",
         PAYLOAD_TWO_CHECKSUMS},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct http_request *r = upload_new(cases[i].fields, UPLOAD_UNSIGNED_TRAILER);
        assert_upload_fault(r, SLICE_LIT(BODY CRC "\r\n\r\n"), cases[i].expected);
        fakereq_free(&r);
    }
    /* Only a trailer form has a trailer. */
    struct http_request *r = upload_new(
        "Transfer-Encoding: chunked\nx-amz-trailer: x-amz-checksum-crc32\n", UPLOAD_SIGNED);
    assert_upload_fault(r, SLICE_LIT(BODY), PAYLOAD_BAD_TRAILER);
    fakereq_free(&r);
}

/* Nobody signed, but the SDK still frames the body; MD5 and SHA-256 cover the plain bytes. */
static void
test_anonymous_chunks(void **state)
{
    (void)state;
    struct http_request *r = upload_new("Transfer-Encoding: chunked\nContent-MD5: " NINE_MD5 "\n"
                                        "x-amz-content-sha256: " UPLOAD_UNSIGNED_TRAILER "\n",
                                        NULL);
    assert_upload_good(r, SLICE_LIT(BODY "\r\n"), SLICE_LIT(NINE));
    assert_upload_fault(r, SLICE_LIT("1\r\n1\r\n0\r\n\r\n"), PAYLOAD_MD5);
    fakereq_free(&r);
}

static void
test_texts(void **state)
{
    (void)state;
    assert_string_equal(payload_refusal(PAYLOAD_MD5)->code, "BadDigest");
    assert_int_equal(payload_refusal(PAYLOAD_NO_LENGTH)->status, 411);
    assert_string_equal(payload_refusal(PAYLOAD_SHA256)->code, "XAmzContentSHA256Mismatch");
    assert_true(strlen(payload_refusal(PAYLOAD_BAD_TRAILER)->message) > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_plain_checksums),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_unsummed),
        cmocka_unit_test(test_sink_error),
        cmocka_unit_test(test_unsigned_trailer),
        cmocka_unit_test(test_unsigned_without_trailer),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_trailer_checksums),
        cmocka_unit_test(test_chunked_headers),
        cmocka_unit_test(test_anonymous_chunks),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
