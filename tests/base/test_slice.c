/* Borrowed bytes: comparing, cutting, numbers, UTF-8. */
#include "base/err.h"
#include "base/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
test_compare(void **state)
{
    (void)state;
    assert_true(slice_eq(SLICE_NONE, slice_str("")));
    assert_true(slice_eq(SLICE_NONE, slice_str(NULL)));
    assert_true(slice_eqs(SLICE_LIT("abc"), "abc"));
    assert_false(slice_eqs(SLICE_LIT("abc"), "ab"));
    assert_false(slice_eq(slice_of("a\0b", 3), slice_of("a\0c", 3)));
    assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("b")) < 0);
    assert_true(slice_cmp(SLICE_LIT("b"), SLICE_LIT("a")) > 0);
    assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("ab")) < 0);
    assert_true(slice_cmp(SLICE_LIT("ab"), SLICE_LIT("a")) > 0);
    assert_true(slice_cmp(SLICE_LIT("\x7f"), SLICE_LIT("\x80")) < 0); /* bytes are unsigned */
    assert_int_equal(slice_cmp(SLICE_NONE, SLICE_NONE), 0);
    assert_true(slice_cmp(SLICE_NONE, SLICE_LIT("a")) < 0);
    assert_true(slice_ieqs(SLICE_LIT("HoSt"), "host"));
    assert_false(slice_ieqs(SLICE_LIT("hos"), "host"));
    assert_false(slice_ieqs(SLICE_LIT("hosts"), "host"));
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_LIT("ab")));
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_NONE));
    assert_false(slice_starts(SLICE_LIT("ab"), SLICE_LIT("abc")));
    assert_false(slice_starts(SLICE_LIT("abc"), SLICE_LIT("b")));
}

static void
test_cut(void **state)
{
    struct slice rest;
    (void)state;
    assert_true(slice_eqs(slice_cut(SLICE_LIT("a=b=c"), '=', &rest), "a"));
    assert_true(slice_eqs(rest, "b=c"));
    assert_true(slice_eqs(slice_cut(SLICE_LIT("a="), '=', &rest), "a"));
    assert_int_equal(rest.n, 0);
    assert_non_null(rest.p); /* there was a separator */
    assert_true(slice_eqs(slice_cut(SLICE_LIT("a"), '=', &rest), "a"));
    assert_null(rest.p);
    assert_int_equal(slice_cut(SLICE_NONE, '=', &rest).n, 0);
    assert_null(rest.p);
    assert_true(slice_eqs(slice_skip(SLICE_LIT("abc"), 2), "c"));
    assert_int_equal(slice_skip(SLICE_LIT("abc"), 9).n, 0);
    assert_null(slice_skip(SLICE_NONE, 1).p);
    assert_true(slice_eqs(slice_trim(SLICE_LIT(" \t a b\t ")), "a b"));
    assert_int_equal(slice_trim(SLICE_LIT(" \t ")).n, 0);
    assert_true(slice_eqs(slice_trim(SLICE_LIT("\na ")), "\na"));
    assert_int_equal(slice_find(SLICE_LIT("aabab"), SLICE_LIT("bab")), 2);
    assert_int_equal(slice_find(SLICE_LIT("aabab"), SLICE_LIT("bb")), -1);
    assert_int_equal(slice_find(SLICE_LIT("a"), SLICE_LIT("aa")), -1);
    assert_int_equal(slice_find(SLICE_LIT("a"), SLICE_NONE), 0);
}

static void
test_numbers(void **state)
{
    static const char *const bad[] = {"",
                                      "+1",
                                      "-1",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1.0",
                                      "1e3",
                                      "a",
                                      "18446744073709551616",
                                      "99999999999999999999"};
    uint64_t v = 7;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(slice_to_u64(slice_str(bad[i]), &v), ERR_INVALID);
    assert_int_equal(slice_to_u64(slice_of("1\0", 2), &v), ERR_INVALID);
    assert_int_equal(v, 7);
    assert_int_equal(slice_to_u64(SLICE_LIT("18446744073709551615"), &v), ERR_NONE);
    assert_true(v == UINT64_MAX);
    assert_int_equal(slice_to_u64(SLICE_LIT("0007"), &v), ERR_NONE);
    assert_int_equal(v, 7);
}

/* The encoding of one code point, well-formed or not: 1 to 4 bytes as `len` says. */
static struct slice
encode(uint32_t c, size_t len, char out[4])
{
    static const unsigned char first[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(first[len] | c);
    return slice_of(out, len);
}

static void
test_utf8(void **state)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint32_t above[] = {0, 0x80, 0x800, 0x10000, 0x200000};
    char room[4];
    (void)state;
    /* Every code point in every length that can hold it: only the shortest one is good, and no
     * surrogate, and nothing above U+10FFFF. */
    for (size_t len = 1; len <= 4; len++) {
        for (uint32_t c = 0; c < above[len]; c++) {
            bool good = c >= least[len] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
            if (slice_is_utf8(encode(c, len, room)) != good)
                fail_msg("U+%04X in %zu bytes", (unsigned)c, len);
        }
    }
    assert_true(slice_is_utf8(SLICE_NONE));
    assert_true(slice_is_utf8(SLICE_LIT("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z")));
    assert_false(slice_is_utf8(SLICE_LIT("a\xc3")));
    assert_false(slice_is_utf8(SLICE_LIT("\xe2\x82")));
    assert_false(slice_is_utf8(SLICE_LIT("\xe2\x82z")));
    assert_false(slice_is_utf8(SLICE_LIT("\x80")));
    assert_false(slice_is_utf8(SLICE_LIT("\xf8\x88\x80\x80\x80")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
