/*
 * Key bytes: their order is the order of the values, and equal values have equal bytes.
 */
#include "base/err.h"
#include "metadata/key.h"
#include "tests/metadata/values.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int
sign(int c)
{
    return (c > 0) - (c < 0);
}

static struct slice
encode(struct buf *b, struct attr_value v)
{
    buf_reset(b);
    assert_int_equal(key_encode(b, &v), ERR_NONE);
    return buf_slice(b);
}

static struct attr_value
number(struct arena *a, const char *text)
{
    struct attr_value v = {.type = ATTR_N};
    assert_int_equal(number_canonical(a, slice_str(text), &v.bytes), ERR_NONE);
    return v;
}

static void
numbers_keep_their_order(void **state)
{
    (void)state;
    char text[256];
    struct buf x, y;
    buf_init(&x, KEY_SORT_MAX);
    buf_init(&y, KEY_SORT_MAX);
    for (int i = 0; i < 50000; i++) {
        struct arena *a = arena_new(1 << 20);
        struct attr_value m = number(a, pick_number(text));
        struct attr_value n = number(a, pick_number(text));
        int c = slice_cmp(encode(&x, m), encode(&y, n));
        assert_int_equal(sign(c), sign(number_compare(m.bytes, n.bytes)));
        assert_true(x.n <= 24);
        arena_free(&a);
    }
    buf_fini(&x);
    buf_fini(&y);
}

static void
a_ladder_of_numbers_rises(void **state)
{
    (void)state;
    static const char *const ladder[] = {"-9.9999999999999999999999999999999999999e125",
                                         "-1e125",
                                         "-10000.1",
                                         "-10000",
                                         "-9999",
                                         "-101",
                                         "-100.5",
                                         "-100",
                                         "-99",
                                         "-12.5",
                                         "-12",
                                         "-11.5",
                                         "-10",
                                         "-1.5",
                                         "-1.23",
                                         "-1.2",
                                         "-1",
                                         "-0.1",
                                         "-1e-129",
                                         "-1e-130",
                                         "0",
                                         "1e-130",
                                         "1e-129",
                                         "0.001",
                                         "0.09",
                                         "0.1",
                                         "0.11",
                                         "1",
                                         "1.01",
                                         "1.1",
                                         "1.2",
                                         "1.23",
                                         "1.234",
                                         "2",
                                         "9",
                                         "9.9",
                                         "10",
                                         "11",
                                         "99",
                                         "100",
                                         "101",
                                         "1e38",
                                         "1e125",
                                         "9.9999999999999999999999999999999999999e125"};
    struct arena *a = arena_new(1 << 20);
    struct buf x, y;
    buf_init(&x, KEY_SORT_MAX);
    buf_init(&y, KEY_SORT_MAX);
    for (size_t i = 0; i < sizeof ladder / sizeof ladder[0]; i++)
        for (size_t j = 0; j < sizeof ladder / sizeof ladder[0]; j++)
            assert_int_equal(
                sign(slice_cmp(encode(&x, number(a, ladder[i])), encode(&y, number(a, ladder[j])))),
                sign((int)i - (int)j));
    buf_fini(&x);
    buf_fini(&y);
    arena_free(&a);
}

static void
strings_and_binary_are_themselves(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, KEY_PARTITION_MAX);
    assert_true(slice_eqs(encode(&b, attr_s(SLICE_LIT("photos"))), "photos"));
    assert_true(slice_eq(encode(&b, attr_b(slice_of("\0\xff", 2))), slice_of("\0\xff", 2)));
    struct attr_value bad[] = {attr_s(SLICE_LIT("")),
                               attr_b(SLICE_NONE),
                               attr_bool(true),
                               attr_map_new(),
                               {.type = ATTR_N, .bytes = SLICE_LIT("x")}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(key_encode(&b, &bad[i]), ERR_INVALID);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_keep_their_order),
        cmocka_unit_test(a_ladder_of_numbers_rises),
        cmocka_unit_test(strings_and_binary_are_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
