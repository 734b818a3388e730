/* Hints out of an object's metadata: foreign text. */
#include "functions/hint.h"
#include "base/chk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* The hint list with this value of the focal point, between two others. */
static bool
focal(const char *value, double *x, double *y)
{
    char list[256];
    int n = snprintf(list, sizeof(list), "x-amz-meta-a%cb%cx-amz-meta-focal%c%s%cx-amz-meta-z%cq%c",
                     0, 0, 0, value, 0, 0, 0);
    assert_true(n > 0 && (size_t)n < sizeof(list));
    return hint_focal(slice_of(list, (size_t)n), x, y);
}

static void
test_good(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        double x, y;
    } good[] = {
        {"0,0", 0, 0},
        {"1,1", 1, 1},
        {"0.25,0.75", 0.25, 0.75},
        {"1.000,0.0", 1, 0},
        {" 0.5 , 0.125 ", 0.5, 0.125},
        {"0.999999999999999999999,0", 1, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        double x = -1, y = -1;
        if (!focal(good[i].value, &x, &y))
            fail_msg("refused: %s", good[i].value);
        assert_true(x <= 1 && x > good[i].x - 1e-9 && x < good[i].x + 1e-9);
        assert_true(y <= 1 && y > good[i].y - 1e-9 && y < good[i].y + 1e-9);
    }
}

static void
test_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       ",",     "0.5",     "0.5,",    ",0.5",     "0.5,0.5,0.5", "1.1,0",    "0,1.0001",
        "-0.1,0", "+0,0",  "0.5;0.5", "0,5,0,5", "nan,nan",  "inf,0",       "1e0,0",    "0x1,0",
        ".5,.5",  "0.,0.", "00,0",    "2,0",     "0.5 .5,0", "0..5,0",      "left,top", "0 0,0",
    };
    double x, y;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (focal(bad[i], &x, &y))
            fail_msg("accepted: %s", bad[i]);
}

/* Lists that end anywhere, and the name as a value. */
static void
test_lists(void **state)
{
    (void)state;
    static const char list[] = "x-amz-meta-a\0x-amz-meta-focal\0x-amz-meta-focal\0000.5,0.5";
    double x, y;
    for (size_t n = 0; n < sizeof(list) - 4; n++)
        if (hint_focal(slice_of(list, n), &x, &y))
            fail_msg("found in %zu bytes", n);
    assert_true(hint_focal(slice_of(list, sizeof(list)), &x, &y));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
