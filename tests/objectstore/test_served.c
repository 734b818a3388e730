/* When objects were last sent: known or not known, never another key's. */
#include "base/clock.h"
#include "objectstore/served.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#define HASH(high, slot) ((uint64_t)(high) << 32 | (slot))

static void
the_last_one_counts(void **state)
{
    struct served *s = served_new();
    (void)state;
    assert_int_equal(served_at(s, HASH(7, 3)), 0);
    served_note(s, HASH(7, 3), 1000);
    assert_int_equal(served_at(s, HASH(7, 3)), 1000);
    served_note(s, HASH(7, 3), 1001);
    assert_int_equal(served_at(s, HASH(7, 3)), 1001);
    served_note(s, HASH(7, 3), 4102444800); /* 2100: seconds take all 32 bits */
    assert_int_equal(served_at(s, HASH(7, 3)), 4102444800);
    served_free(&s);
    assert_null(s);
}

static void
keys_that_share_a_slot(void **state)
{
    struct served *s = served_new();
    (void)state;
    served_note(s, HASH(7, 3), 1000);
    assert_int_equal(served_at(s, HASH(8, 3)), 0);
    served_note(s, HASH(8, 3 + SERVED_SLOTS), 2000);
    assert_int_equal(served_at(s, HASH(8, 3 + SERVED_SLOTS)), 2000);
    assert_int_equal(served_at(s, HASH(7, 3)), 0); /* pushed out: not known, and not 2000 */
    assert_int_equal(served_at(s, HASH(8, 4)), 0);
    served_free(&s);
}

static void
since_when(void **state)
{
    (void)state;
    int64_t before = clock_wall_ms();
    struct served *s = served_new();
    assert_true(served_since_ms(s) >= before && served_since_ms(s) <= clock_wall_ms());
    served_free(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_one_counts),
        cmocka_unit_test(keys_that_share_a_slot),
        cmocka_unit_test(since_when),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
