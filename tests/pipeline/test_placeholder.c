/* ThumbHash to pixels to PNG: known answers of the published reference decoder, and hostile bytes.
 */
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "pipeline/placeholder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int
decode_hex(const char *hex, struct placeholder *out)
{
    uint8_t bytes[64];
    size_t n = strlen(hex) / 2;
    assert_int_equal(hex_decode(slice_str(hex), bytes, n), ERR_NONE);
    return placeholder_decode(slice_of(bytes, n), out);
}

static uint32_t
pixel(const struct placeholder *p, int x, int y)
{
    const uint8_t *at = p->rgba + 4 * (y * p->width + x);
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int
apart(uint32_t a, uint32_t b)
{
    int most = 0;
    for (int shift = 0; shift < 32; shift += 8) {
        int d = abs((int)(a >> shift & 255) - (int)(b >> shift & 255));
        most = d > most ? d : most;
    }
    return most;
}

/* Corners and middle; these hashes are those of tests/functions/test_image_facts.c. */
static void
test_known(void **state)
{
    static const struct {
        const char *hash;
        int w, h;
        uint32_t at[5];
    } known[] = {
        {"1cf8092598256987608787777868877729806bf187",
         32,
         23,
         {0x081332ff, 0x430f63ff, 0x0bf95bff, 0x29f774ff, 0xb65979ff}},
        {"1c280a1d146076737707777887784888c1a60077f8",
         23,
         32,
         {0x00000bff, 0xb80051ff, 0x473a67ff, 0xff3181ff, 0x76c08bff}},
        {"6058860d0837744c735ba0a826646540f6e280878787788888",
         32,
         32,
         {0x7b3b6532, 0xb41460f0, 0x80576b17, 0x554145ff, 0x95847482}},
        {"93d70a298a51707a72885888ba8f0da787",
         32,
         5,
         {0x3b0000ff, 0xc41226ff, 0x310414ff, 0xb92d87ff, 0x7e0e8fff}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct placeholder p;
        assert_int_equal(decode_hex(known[i].hash, &p), ERR_NONE);
        assert_int_equal(p.width, known[i].w);
        assert_int_equal(p.height, known[i].h);
        int right = p.width - 1, bottom = p.height - 1;
        const uint32_t got[5] = {pixel(&p, 0, 0), pixel(&p, right, 0), pixel(&p, 0, bottom),
                                 pixel(&p, right, bottom), pixel(&p, p.width / 2, p.height / 2)};
        for (size_t k = 0; k < ARRAY_LEN(got); k++)
            assert_true(apart(got[k], known[i].at[k]) <= 1);
    }
}

/* Any bytes do, or are refused; never anything behind them. */
static void
test_hostile(void **state)
{
    uint64_t x = 88172645463325252u;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct placeholder p;
        size_t n = (size_t)round % 40;
        char *bytes = chk_malloc(n + 1);
        for (size_t i = 0; i < n; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bytes[i] = (char)(x >> 32);
        }
        bytes = realloc(bytes, n == 0 ? 1 : n);
        assert_non_null(bytes);
        int err = placeholder_decode(slice_of(bytes, n), &p);
        if (n < 5)
            assert_int_equal(err, ERR_INVALID);
        if (n >= 32) /* as long as the longest there can be */
            assert_int_equal(err, ERR_NONE);
        if (err == ERR_NONE)
            assert_true(p.width >= 1 && p.width <= 32 && p.height >= 1 && p.height <= 32);
        free(bytes);
    }
}

/* ---- PNG, read by its specification ---- */

static uint32_t
take_u32(struct slice *s)
{
    assert_true(s->n >= 4);
    const unsigned char *p = (const void *)s->p;
    *s = slice_skip(*s, 4);
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The bitwise form, not the table under test. */
static uint32_t
crc_by_definition(struct slice s)
{
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < s.n; i++) {
        c ^= (unsigned char)s.p[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
    }
    return ~c;
}

static struct slice
take_chunk(struct slice *s, const char *type)
{
    uint32_t n = take_u32(s);
    assert_true(s->n >= n + 8);
    struct slice whole = slice_of(s->p, n + 4);
    *s = slice_skip(*s, n + 4);
    assert_int_equal(take_u32(s), crc_by_definition(whole));
    assert_true(slice_starts(whole, slice_of(type, 4)));
    return slice_skip(whole, 4);
}

static void
test_png(void **state)
{
    struct placeholder p;
    struct buf b;
    (void)state;
    buf_init(&b, PLACEHOLDER_PNG_MAX);
    assert_int_equal(decode_hex("6058860d0837744c735ba0a826646540f6e280878787788888", &p),
                     ERR_NONE);
    placeholder_png(&p, &b);
    assert_int_equal(b.err, 0);
    struct slice s = buf_slice(&b);
    assert_memory_equal(s.p, "\x89PNG\r\n\x1a\n", 8);
    s = slice_skip(s, 8);
    struct slice head = take_chunk(&s, "IHDR");
    assert_int_equal(head.n, 13);
    assert_int_equal(take_u32(&head), 32);
    assert_int_equal(take_u32(&head), 32);
    assert_memory_equal(head.p, "\10\6\0\0\0", 5);
    struct slice z = take_chunk(&s, "IDAT");
    assert_int_equal(take_chunk(&s, "IEND").n, 0);
    assert_int_equal(s.n, 0);
    const unsigned char *d = (const void *)z.p;
    size_t n = 32 * (1 + 32 * 4);
    assert_int_equal((d[0] << 8 | d[1]) % 31, 0);
    assert_int_equal(d[2], 1); /* the last block, stored */
    assert_int_equal(d[3] | d[4] << 8, n);
    assert_int_equal((d[3] | d[4] << 8) ^ (d[5] | d[6] << 8), 0xffff);
    assert_int_equal(z.n, 7 + n + 4);
    for (size_t y = 0; y < 32; y++) {
        assert_int_equal(d[7 + y * 129], 0);
        assert_memory_equal(d + 7 + y * 129 + 1, p.rgba + y * 128, 128);
    }
    uint32_t low = 1, high = 0;
    for (size_t i = 0; i < n; i++) {
        low = (low + d[7 + i]) % 65521;
        high = (high + low) % 65521;
    }
    z = slice_skip(z, 7 + n);
    assert_int_equal(take_u32(&z), high << 16 | low);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_png),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
