/*
 * Upload bodies in signed chunks: AWS's published examples, and bodies that were changed, cut,
 * rearranged or are wrong in themselves.
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

#define NINE "123456789"
#define CRC "x-amz-checksum-crc32:y/Q5Jg=="
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

/* A body under construction. */
struct maker {
    struct http_request *r;
    struct sigv4_chain chain;
    struct buf wire;
    struct buf plain;
};

static void
maker_init(struct maker *m, const char *fields, const char *hash)
{
    m->r = upload_new(fields, hash);
    const struct auth *a = m->r->auth;
    m->chain =
        (struct sigv4_chain){.key = a->signing_key, .timestamp = a->timestamp, .scope = a->scope};
    memcpy(m->chain.previous, a->seed_signature, sizeof m->chain.previous);
    buf_init(&m->wire, 1u << 20);
    buf_init(&m->plain, 1u << 20);
}

static void
maker_fini(struct maker *m)
{
    buf_fini(&m->wire);
    buf_fini(&m->plain);
    fakereq_free(&m->r);
}

static void
make_chunk(struct maker *m, char fill, size_t n)
{
    uint8_t sha256[SHA256_BYTES];
    size_t at = m->plain.n;
    if (n > 0)
        memset(buf_extend(&m->plain, n), fill, n);
    const char *bytes = m->plain.p == NULL ? "" : m->plain.p + at;
    digest_sha256(bytes, n, sha256);
    assert_int_equal(sigv4_chain_chunk(&m->chain, sha256), ERR_NONE);
    buf_printf(&m->wire, "%zx;chunk-signature=%s\r\n", n, m->chain.previous);
    if (n > 0) {
        buf_put(&m->wire, bytes, n);
        buf_puts(&m->wire, "\r\n");
    }
}

static void
make_trailer_signature(struct maker *m, const char *signed_text)
{
    uint8_t sha256[SHA256_BYTES];
    digest_sha256(signed_text, strlen(signed_text), sha256);
    assert_int_equal(sigv4_chain_trailer(&m->chain, sha256), ERR_NONE);
    buf_printf(&m->wire, "x-amz-trailer-signature:%s\r\n", m->chain.previous);
}

static void
replace_in(struct buf *b, const char *from, const char *to)
{
    ptrdiff_t at = slice_find(buf_slice(b), slice_str(from));
    assert_true(at >= 0);
    assert_int_equal(strlen(from), strlen(to));
    memcpy(b->p + at, to, strlen(to));
}

#define CHUNK_HEAD                                                             \
    "PUT /examplebucket/chunkObject.txt HTTP/1.1\nHost: s3.amazonaws.com\n"    \
    "x-amz-storage-class: REDUCED_REDUNDANCY\nContent-Encoding: aws-chunked\n" \
    "x-amz-decoded-content-length: 66560\n"

static void
put_published_chunks(struct buf *wire, struct buf *plain, const char *const signatures[3])
{
    static const size_t sizes[] = {65536, 1024, 0};
    for (size_t i = 0; i < 3; i++) {
        buf_printf(wire, "%zx;chunk-signature=%s\r\n", sizes[i], signatures[i]);
        if (sizes[i] > 0) {
            memset(buf_extend(wire, sizes[i]), 'a', sizes[i]);
            memset(buf_extend(plain, sizes[i]), 'a', sizes[i]);
            buf_puts(wire, "\r\n");
        }
    }
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, the example */
static void
test_signed_published(void **state)
{
    (void)state;
    static const char *const signatures[] = {
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"};
    struct buf wire, plain;
    buf_init(&wire, 1u << 20);
    buf_init(&plain, 1u << 20);
    struct http_request *r = upload_head(CHUNK_HEAD "Content-Length: 66824\n", UPLOAD_SIGNED);
    assert_string_equal(r->auth->seed_signature,
                        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
    put_published_chunks(&wire, &plain, signatures);
    buf_puts(&wire, "\r\n");
    assert_int_equal(wire.n, 66824);
    assert_upload_good(r, buf_slice(&wire), buf_slice(&plain));
    fakereq_free(&r);
    buf_fini(&wire);
    buf_fini(&plain);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html */
static void
test_signed_trailer_published(void **state)
{
    (void)state;
    static const char *const signatures[] = {
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"};
    struct buf wire, plain;
    buf_init(&wire, 1u << 20);
    buf_init(&plain, 1u << 20);
    struct http_request *r =
        upload_head(CHUNK_HEAD "x-amz-trailer: x-amz-checksum-crc32c\n", UPLOAD_SIGNED_TRAILER);
    assert_string_equal(r->auth->seed_signature,
                        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
    fakereq_field(r, "transfer-encoding", "chunked");
    put_published_chunks(&wire, &plain, signatures);
    buf_puts(&wire, "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"
                    "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n");
    assert_upload_good(r, buf_slice(&wire), buf_slice(&plain));
    replace_in(&wire, "d81f82fc", "d81f82fd");
    assert_upload_fault(r, buf_slice(&wire), PAYLOAD_CHUNK_SIGNATURE);
    fakereq_free(&r);
    buf_fini(&wire);
    buf_fini(&plain);
}

static void
make_two_chunks(struct maker *m)
{
    maker_init(m, "Content-Length: 99\nx-amz-decoded-content-length: 8292\n", UPLOAD_SIGNED);
    make_chunk(m, 'x', 8192);
    make_chunk(m, 'y', 100);
    make_chunk(m, 0, 0);
    buf_puts(&m->wire, "\r\n");
}

static void
test_signed_good(void **state)
{
    (void)state;
    struct maker m;
    make_two_chunks(&m);
    assert_upload_good(m.r, buf_slice(&m.wire), buf_slice(&m.plain));
    maker_fini(&m);

    maker_init(&m, "Content-Length: 99\nx-amz-decoded-content-length: 0\n", UPLOAD_SIGNED);
    make_chunk(&m, 0, 0);
    buf_puts(&m.wire, "\r\n");
    assert_upload_good(m.r, buf_slice(&m.wire), SLICE_LIT(""));
    maker_fini(&m);
}

/* No single changed byte, nor any early end, gets through. */
static void
test_signed_every_byte(void **state)
{
    (void)state;
    struct maker m;
    make_two_chunks(&m);
    for (size_t i = 0; i < m.wire.n; i++) {
        bool filling = i > 200 && i < 8192;
        if (filling && i % 251 != 0)
            continue;
        struct slice cut = slice_of(m.wire.p, i);
        assert_int_not_equal(upload_fault(m.r, cut, SIZE_MAX / 2), PAYLOAD_NONE);
        m.wire.p[i] ^= 1;
        enum payload_fault fault = upload_fault(m.r, buf_slice(&m.wire), SIZE_MAX / 2);
        m.wire.p[i] ^= 1;
        if (fault == PAYLOAD_NONE)
            print_error("byte %zu\n", i);
        assert_int_not_equal(fault, PAYLOAD_NONE);
    }
    assert_int_equal(upload_fault(m.r, buf_slice(&m.wire), 1), PAYLOAD_NONE);
    maker_fini(&m);
}

/* Whole chunks moved, repeated, dropped or taken from another upload. */
static void
test_signed_chunks_rearranged(void **state)
{
    (void)state;
    struct maker m;
    struct buf wire;
    size_t ends[4] = {0};
    maker_init(&m, "Content-Length: 99\nx-amz-decoded-content-length: 24576\n", UPLOAD_SIGNED);
    for (size_t i = 0; i < 3; i++) {
        make_chunk(&m, i == 2 ? 'z' : 'x', 8192);
        ends[i + 1] = m.wire.n;
    }
    make_chunk(&m, 0, 0);
    buf_puts(&m.wire, "\r\n");
    assert_int_equal(upload_fault(m.r, buf_slice(&m.wire), 100), PAYLOAD_NONE);

    static const int orders[][4] = {{1, 0, 2, -1}, {0, 2, 1, -1}, {2, 1, 0, -1}, {0, 0, 1, 2},
                                    {0, 0, 2, -1}, {0, 1, 1, -1}, {1, 1, 1, -1}};
    buf_init(&wire, 1u << 20);
    for (size_t i = 0; i < LEN(orders); i++) {
        buf_reset(&wire);
        for (size_t k = 0; k < 4 && orders[i][k] >= 0; k++) {
            size_t c = (size_t)orders[i][k];
            buf_put(&wire, m.wire.p + ends[c], ends[c + 1] - ends[c]);
        }
        buf_put(&wire, m.wire.p + ends[3], m.wire.n - ends[3]);
        assert_upload_fault(m.r, buf_slice(&wire), PAYLOAD_CHUNK_SIGNATURE);
    }
    /* The end comes early: its signature belongs behind the third chunk. */
    buf_reset(&wire);
    buf_put(&wire, m.wire.p, ends[1]);
    buf_put(&wire, m.wire.p + ends[3], m.wire.n - ends[3]);
    assert_upload_fault(m.r, buf_slice(&wire), PAYLOAD_CHUNK_SIGNATURE);
    buf_fini(&wire);

    /* Another request with the same bytes has another seed. */
    struct http_request *other =
        upload_new("Content-Length: 98\nx-amz-decoded-content-length: 24576\n", UPLOAD_SIGNED);
    assert_upload_fault(other, buf_slice(&m.wire), PAYLOAD_CHUNK_SIGNATURE);
    fakereq_free(&other);
    maker_fini(&m);
}

static void
test_signed_sizes(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m, "Transfer-Encoding: chunked\n", UPLOAD_SIGNED);
    make_chunk(&m, 'x', 8191);
    make_chunk(&m, 'x', 8192);
    make_chunk(&m, 'x', 0);
    buf_puts(&m.wire, "\r\n");
    assert_upload_fault(m.r, buf_slice(&m.wire), PAYLOAD_CHUNK_TOO_SMALL);
    maker_fini(&m);

    maker_init(&m, "Transfer-Encoding: chunked\n", UPLOAD_SIGNED);
    make_chunk(&m, 'x', 8192);
    make_chunk(&m, 'x', 9000);
    make_chunk(&m, 'x', 1);
    make_chunk(&m, 'x', 0);
    buf_puts(&m.wire, "\r\n");
    assert_upload_good(m.r, buf_slice(&m.wire), buf_slice(&m.plain));
    buf_puts(&m.wire, "x");
    assert_upload_fault(m.r, buf_slice(&m.wire), PAYLOAD_BAD_TRAILER);
    maker_fini(&m);

    /* The decoded length is signed, and still it may lie. */
    maker_init(&m, "Content-Length: 99\nx-amz-decoded-content-length: 11\n", UPLOAD_SIGNED);
    make_chunk(&m, 'x', 10);
    make_chunk(&m, 'x', 0);
    buf_puts(&m.wire, "\r\n");
    assert_upload_fault(m.r, buf_slice(&m.wire), PAYLOAD_LENGTH);
    maker_fini(&m);
}

static void
test_signed_header_syntax(void **state)
{
    (void)state;
    static const struct upload_wire cases[] = {
        {"9\r\n" NINE "\r\n", PAYLOAD_BAD_CHUNK},
        {"9;chunk-signature=\r\n" NINE "\r\n", PAYLOAD_BAD_CHUNK},
        {"9;chunk-signature=" UPLOAD_HASH_ZERO "0\r\n" NINE "\r\n", PAYLOAD_BAD_CHUNK},
        {"9;Chunk-Signature=" UPLOAD_HASH_ZERO "\r\n" NINE "\r\n", PAYLOAD_BAD_CHUNK},
        {"9; chunk-signature=" UPLOAD_HASH_ZERO "\r\n" NINE "\r\n", PAYLOAD_BAD_CHUNK},
        {"9;chunk-signature=" UPLOAD_HASH_ZERO ";a=b\r\n" NINE "\r\n", PAYLOAD_BAD_CHUNK},
        {"9;a=b;chunk-signature=" UPLOAD_HASH_ZERO "\r\n" NINE "\r\n", PAYLOAD_BAD_CHUNK},
        {"9;chunk-signature=" UPLOAD_HASH_ZERO "\r\n" NINE "\r\n", PAYLOAD_CHUNK_SIGNATURE},
        {"0;chunk-signature=" UPLOAD_HASH_ZERO "\r\n\r\n", PAYLOAD_CHUNK_SIGNATURE},
    };
    assert_upload_wires("Transfer-Encoding: chunked\n", UPLOAD_SIGNED, NINE, cases, LEN(cases));
}

/* What the trailer says, what its signature covers, and what follows it. */
static void
test_signed_trailer(void **state)
{
    (void)state;
    static const struct {
        const char *line, *signed_text, *after;
        enum payload_fault expected;
    } cases[] = {
        {CRC "\r\n", CRC "\n", "\r\n", PAYLOAD_NONE},
        {CRC "\n", CRC "\n", "\r\n", PAYLOAD_NONE},
        {CRC "\n\r\n", CRC "\n", "\r\n", PAYLOAD_NONE},
        {"X-Amz-Checksum-Crc32: y/Q5Jg==\r\n", CRC "\n", "\r\n", PAYLOAD_NONE},
        {CRC "\r\n", CRC "\n", "", PAYLOAD_NONE},
        {CRC "\r\n", CRC "\r\n", "\r\n", PAYLOAD_CHUNK_SIGNATURE},
        {CRC "\r\n", CRC, "\r\n", PAYLOAD_CHUNK_SIGNATURE},
        {CRC "\r\n", "", "\r\n", PAYLOAD_CHUNK_SIGNATURE},
        {CRC "\r\n", "x-amz-checksum-crc32:y/Q5Jw==\n", "\r\n", PAYLOAD_CHUNK_SIGNATURE},
        {"x-amz-checksum-crc32:y/Q5Jw==\r\n", CRC "\n", "\r\n", PAYLOAD_CHUNK_SIGNATURE},
        {"x-amz-checksum-crc32:y/Q5Jw==\r\n", "x-amz-checksum-crc32:y/Q5Jw==\n", "\r\n",
         PAYLOAD_NOT_CRC32},
        {"", CRC "\n", "\r\n", PAYLOAD_BAD_TRAILER},
        {"", "", "\r\n", PAYLOAD_BAD_TRAILER},
        {CRC "\r\n" CRC "\r\n", CRC "\n" CRC "\n", "\r\n", PAYLOAD_BAD_TRAILER},
        {CRC "\r\n", CRC "\n", "\r\n" CRC "\r\n", PAYLOAD_BAD_TRAILER},
        {CRC "\r\n", CRC "\n", "\r\n0", PAYLOAD_BAD_TRAILER},
        {CRC "\r\n", NULL, "\r\n", PAYLOAD_BAD_TRAILER},
        {CRC "\r\n", NULL, "x-amz-trailer-signature:00\r\n\r\n", PAYLOAD_BAD_TRAILER},
        {CRC "\r\n", NULL, "x-amz-trailer-signature:" UPLOAD_HASH_ZERO "\r\n\r\n",
         PAYLOAD_CHUNK_SIGNATURE},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct maker m;
        maker_init(&m,
                   "Content-Length: 99\nx-amz-decoded-content-length: 9\n"
                   "x-amz-trailer: x-amz-checksum-crc32\n",
                   UPLOAD_SIGNED_TRAILER);
        uint8_t sha256[SHA256_BYTES];
        digest_sha256(NINE, 9, sha256);
        assert_int_equal(sigv4_chain_chunk(&m.chain, sha256), ERR_NONE);
        buf_printf(&m.wire, "9;chunk-signature=%s\r\n" NINE "\r\n", m.chain.previous);
        make_chunk(&m, 0, 0);
        buf_puts(&m.wire, cases[i].line);
        if (cases[i].signed_text != NULL)
            make_trailer_signature(&m, cases[i].signed_text);
        buf_puts(&m.wire, cases[i].after);
        if (cases[i].expected == PAYLOAD_NONE)
            assert_upload_good(m.r, buf_slice(&m.wire), SLICE_LIT(NINE));
        else
            assert_upload_fault(m.r, buf_slice(&m.wire), cases[i].expected);
        maker_fini(&m);
    }
}

/* ---- pieces ---- */

/* However a body is cut in two, the outcome is that of the whole. */
static void
test_every_cut(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m, "Transfer-Encoding: chunked\nx-amz-trailer: x-amz-checksum-crc64nvme\n",
               UPLOAD_SIGNED_TRAILER);
    uint8_t sha256[SHA256_BYTES];
    digest_sha256(NINE, 9, sha256);
    assert_int_equal(sigv4_chain_chunk(&m.chain, sha256), ERR_NONE);
    buf_printf(&m.wire, "9;chunk-signature=%s\r\n" NINE "\r\n", m.chain.previous);
    make_chunk(&m, 0, 0);
    buf_puts(&m.wire, "x-amz-checksum-crc64nvme:rosUhgp5mIg=\r\n");
    make_trailer_signature(&m, "x-amz-checksum-crc64nvme:rosUhgp5mIg=\n");
    buf_puts(&m.wire, "\r\n");
    for (size_t i = 0; i <= m.wire.n; i++) {
        struct upload_outcome o = {.fault = PAYLOAD_NONE};
        struct payload *p = NULL;
        buf_init(&o.plain, 1000);
        assert_int_equal(payload_begin(&p, m.r, UPLOAD_BYTES_MAX, upload_sink, &o), PAYLOAD_NONE);
        assert_int_equal(payload_feed(p, m.wire.p, i), PAYLOAD_NONE);
        assert_int_equal(payload_feed(p, m.wire.p + i, m.wire.n - i), PAYLOAD_NONE);
        assert_int_equal(payload_end(p), PAYLOAD_NONE);
        assert_true(slice_eqs(buf_slice(&o.plain), NINE));
        payload_fini(&p);
        buf_fini(&o.plain);
    }
    maker_fini(&m);
}

static void
test_abandoned(void **state)
{
    (void)state;
    struct maker m;
    struct upload_outcome o = {.fault = PAYLOAD_NONE};
    struct payload *p = NULL;
    make_two_chunks(&m);
    buf_init(&o.plain, 1u << 20);
    assert_int_equal(payload_begin(&p, m.r, UPLOAD_BYTES_MAX, upload_sink, &o), PAYLOAD_NONE);
    assert_int_equal(payload_length(p), 8292);
    assert_int_equal(payload_feed(p, m.wire.p, 500), PAYLOAD_NONE);
    payload_fini(&p); /* the client is gone; the sanitizer sees leaks */
    buf_fini(&o.plain);
    maker_fini(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed_published),
        cmocka_unit_test(test_signed_trailer_published),
        cmocka_unit_test(test_signed_good),
        cmocka_unit_test(test_signed_every_byte),
        cmocka_unit_test(test_signed_chunks_rearranged),
        cmocka_unit_test(test_signed_sizes),
        cmocka_unit_test(test_signed_header_syntax),
        cmocka_unit_test(test_signed_trailer),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_abandoned),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
