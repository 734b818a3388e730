/* Growth, the ceiling, the sticky error. */
#include "base/buf.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
test_put(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    assert_null(b.p);
    buf_put(&b, NULL, 0);
    buf_puts(&b, "");
    assert_int_equal(b.n, 0);
    buf_puts(&b, "ab");
    buf_putc(&b, '\0');
    buf_put_slice(&b, SLICE_LIT("cd"));
    buf_put_slice(&b, SLICE_NONE);
    buf_printf(&b, "%d-%s", 7, "x");
    assert_true(slice_eq(buf_slice(&b), slice_of("ab\0cd7-x", 8)));
    assert_int_equal(b.p[b.n], '\0');
    buf_fini(&b);
    assert_null(b.p);
    assert_int_equal(b.max, 1000);
}

static void
test_growth(void **state)
{
    enum { N = 100000 };
    struct buf b;
    (void)state;
    buf_init(&b, N);
    for (int i = 0; i < N; i++)
        buf_putc(&b, (char)i);
    assert_int_equal(b.err, ERR_NONE);
    assert_int_equal(b.n, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(b.p[i], (char)i);
    assert_int_equal(b.p[N], '\0');
    buf_fini(&b);
}

static void
test_ceiling(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 5);
    buf_puts(&b, "12345");
    assert_int_equal(b.err, ERR_NONE);
    buf_puts(&b, "");
    assert_int_equal(b.err, ERR_NONE);
    buf_puts(&b, "6");
    assert_int_equal(b.err, ERR_TOOBIG);
    assert_string_equal(b.p, "12345"); /* all or nothing */
    buf_reset(&b);
    assert_int_equal(b.err, ERR_NONE);
    buf_puts(&b, "123");
    buf_puts(&b, "456");
    assert_int_equal(b.err, ERR_TOOBIG);
    buf_putc(&b, '4'); /* would fit, but the error sticks */
    buf_printf(&b, "4");
    assert_null(buf_extend(&b, 1));
    assert_true(slice_eqs(buf_slice(&b), "123"));
    buf_reset(&b);
    buf_printf(&b, "%d", 123456);
    assert_int_equal(b.err, ERR_TOOBIG);
    assert_int_equal(b.n, 0);
    buf_reset(&b);
    assert_null(buf_extend(&b, SIZE_MAX));
    assert_int_equal(b.err, ERR_TOOBIG);
    buf_reset(&b);
    buf_puts(&b, "123");
    assert_null(buf_extend(&b, SIZE_MAX)); /* with the three it would be two */
    assert_int_equal(b.err, ERR_TOOBIG);
    buf_fini(&b);
}

static void
test_extend_and_take(void **state)
{
    struct buf b;
    size_t n = 9;
    (void)state;
    buf_init(&b, 100);
    assert_null(buf_take(&b, &n));
    assert_int_equal(n, 0);
    buf_puts(&b, "a");
    memcpy(buf_extend(&b, 3), "bcd", 3);
    assert_string_equal(b.p, "abcd");
    char *p = buf_take(&b, &n);
    assert_string_equal(p, "abcd");
    assert_int_equal(n, 4);
    assert_null(b.p);
    assert_int_equal(b.n, 0);
    free(p);
    buf_puts(&b, "again");
    p = buf_take(&b, NULL);
    assert_string_equal(p, "again");
    free(p);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_extend_and_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
