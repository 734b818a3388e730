/*
 * Numbers, values, maps and sets in memory, items on disk: known answers, round trips, and damage
 * that must be found out without a crash.
 */
#include "base/digest.h"
#include "base/err.h"
#include "metadata/number.h"
#include "tests/metadata/values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena *arena;

static int
setup(void **state)
{
    (void)state;
    arena = arena_new(64u << 20);
    return arena == NULL;
}

static int
teardown(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static const char *
canonical(const char *text)
{
    struct slice out;
    return number_canonical(arena, slice_str(text), &out) == ERR_NONE ? out.p : NULL;
}

static void
numbers_have_one_text(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"0", "0"},
        {"-0", "0"},
        {"0.000", "0"},
        {"0e999999999999", "0"},
        {"1.50e3", "1500"},
        {"+7", "7"},
        {"007", "7"},
        {"-12.500", "-12.5"},
        {".5", "0.5"},
        {"5.", "5"},
        {"1E-3", "0.001"},
        {"123456e-3", "123.456"},
        {"100e-2", "1"},
        {"-0.00100", "-0.001"},
        {"10", "10"},
        {"1e2", "100"},
        {"99999999999999999999999999999999999999", "99999999999999999999999999999999999999"},
        {"0.000000000000000000000000000000000000000000001e45", "1"},
        {"100000000000000000000000000000000000000000e-41", "1"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_string_equal(canonical(table[i][0]), table[i][1]);
    assert_int_equal(strlen(canonical("9.99e125")), 126);
    assert_int_equal(strlen(canonical("-1e-130")), 133);
    struct number v;
    assert_int_equal(number_parse(SLICE_LIT("1e126"), &v), ERR_RANGE);
    assert_true(v.exp > 0);
    assert_int_equal(number_parse(SLICE_LIT("9.9e-131"), &v), ERR_RANGE);
    assert_true(v.exp < 0);
    assert_int_equal(number_parse(SLICE_LIT("1e99999999999999999999"), &v), ERR_RANGE);
    assert_int_equal(number_parse(SLICE_LIT("123456789012345678901234567890123456789"), &v),
                     ERR_TOOBIG);
    static const char *const bad[] = {"",   "-",   ".",     "e5",  "1e",  "1e+",   "--1", "1 ",
                                      " 1", "0x1", "1.2.3", "NaN", "1,5", "1e5.5", "١"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(number_parse(slice_str(bad[i]), &v), ERR_INVALID);
}

/* The number as 130 digits before and 170 behind the point: compared as text. */
static void
expand(const char *text, char out[302])
{
    const char *digits = text + (*text == '-');
    const char *point = strchr(digits, '.');
    size_t whole = point == NULL ? strlen(digits) : (size_t)(point - digits);
    memset(out, '0', 300);
    out[300] = '\0';
    memcpy(out + 130 - whole, digits, whole);
    if (point != NULL)
        memcpy(out + 130, point + 1, strlen(point + 1));
}

static int
slow_compare(const char *a, const char *b)
{
    char x[302], y[302];
    bool na = *a == '-', nb = *b == '-';
    if (na != nb)
        return na ? -1 : 1;
    expand(a, x);
    expand(b, y);
    int c = strcmp(x, y);
    return na ? -c : c;
}

static int
sign(int c)
{
    return (c > 0) - (c < 0);
}

static void
numbers_compare_by_value(void **state)
{
    (void)state;
    char a[256], b[256];
    for (int i = 0; i < 20000; i++) {
        struct arena *scratch = arena_new(1 << 20);
        struct slice x, y;
        assert_int_equal(number_canonical(scratch, slice_str(pick_number(a)), &x), ERR_NONE);
        assert_int_equal(number_canonical(scratch, slice_str(pick_number(b)), &y), ERR_NONE);
        assert_int_equal(sign(number_compare(x, y)), sign(slow_compare(x.p, y.p)));
        arena_free(&scratch);
    }
}

/* Digit by digit on paper: 300 places, signs apart. */
static void
slow_add(const char *a, const char *b, char out[320])
{
    char x[302], y[302];
    expand(a, x);
    expand(b, y);
    bool na = *a == '-', nb = *b == '-';
    if (na == nb) {
        int carry = 0;
        for (int i = 299; i >= 0; i--) {
            int d = x[i] - '0' + y[i] - '0' + carry;
            out[2 + i] = (char)('0' + d % 10);
            carry = d / 10;
        }
        out[1] = (char)('0' + carry);
    } else {
        const char *big = strcmp(x, y) >= 0 ? x : y, *small = big == x ? y : x;
        na = big == x ? na : nb;
        int borrow = 0;
        for (int i = 299; i >= 0; i--) {
            int d = big[i] - small[i] - borrow;
            borrow = d < 0;
            out[2 + i] = (char)('0' + d + (borrow ? 10 : 0));
        }
        out[1] = '0';
    }
    memmove(out + 133, out + 132, 170);
    out[132] = '.';
    out[303] = '\0';
    out[0] = na ? '-' : '+';
}

static void
numbers_add_exactly(void **state)
{
    (void)state;
    int exact = 0;
    char a[256], b[256], want[320], text[NUMBER_TEXT_MAX];
    for (int i = 0; i < 20000; i++) {
        struct number x, y, sum, expected;
        assert_int_equal(number_parse(slice_str(pick_number(a)), &x), ERR_NONE);
        assert_int_equal(number_parse(slice_str(pick_number(b)), &y), ERR_NONE);
        number_text(&x, a);
        number_text(&y, b);
        slow_add(a, b, want);
        int err = number_add(&x, &y, &sum);
        assert_int_equal(err, number_parse(slice_str(want), &expected));
        if (err != ERR_NONE)
            continue;
        exact++;
        assert_int_equal(number_order(&sum, &expected), 0);
        number_text(&sum, text);
        number_text(&expected, want);
        assert_string_equal(text, want);
    }
    assert_true(exact > 5000);
}

static void
numbers_from_c(void **state)
{
    (void)state;
    assert_string_equal(attr_int(arena, INT64_MIN).bytes.p, "-9223372036854775808");
    assert_string_equal(attr_int(arena, 1200).bytes.p, "1200");
    assert_string_equal(attr_f64(arena, 0.1).bytes.p, "0.1");
    assert_string_equal(attr_f64(arena, -2.5e-7).bytes.p, "-0.00000025");
    assert_string_equal(attr_f64(arena, 1.0 / 3).bytes.p, "0.3333333333333333");
    assert_string_equal(attr_f64(arena, 1e-200).bytes.p, "0");
    assert_int_equal(attr_f64(arena, 1e200).type, ATTR_NULL);
    assert_int_equal(attr_f64(arena, 0.0 / 0.0 * -1).type, ATTR_NULL);
}

static void
maps_stay_sorted(void **state)
{
    (void)state;
    struct attr_value map = attr_map_new();
    char name[16];
    for (int i = 0; i < 300; i++) {
        int n = i * 7919 % 300;
        snprintf(name, sizeof name, "n%03d", n);
        struct attr_value v = attr_int(arena, n);
        assert_int_equal(attr_set(arena, &map, arena_dup(arena, slice_str(name)), &v), ERR_NONE);
    }
    assert_int_equal(map.count, 300);
    for (size_t i = 1; i < map.count; i++)
        assert_true(slice_cmp(map.names[i - 1], map.names[i]) < 0);
    assert_string_equal(attr_get(&map, SLICE_LIT("n123"))->bytes.p, "123");
    assert_null(attr_get(&map, SLICE_LIT("n1234")));
    struct attr_value again = attr_bool(true);
    assert_int_equal(attr_set(arena, &map, SLICE_LIT("n123"), &again), ERR_NONE);
    assert_int_equal(map.count, 300);
    assert_int_equal(attr_get(&map, SLICE_LIT("n123"))->type, ATTR_BOOL);
    assert_true(attr_remove(&map, SLICE_LIT("n000")));
    assert_false(attr_remove(&map, SLICE_LIT("n000")));
    assert_true(slice_eqs(map.names[0], "n001"));
    struct attr_value nothing = {0};
    assert_int_equal(attr_set(arena, &map, SLICE_LIT("x"), &nothing), ERR_NOMEM);
}

static void
arena_ceiling_is_an_error(void **state)
{
    (void)state;
    struct arena *small = arena_new(600);
    struct attr_value map = attr_map_new(), v = attr_bool(true);
    char names[64][12];
    int err = ERR_NONE;
    for (int i = 0; i < 64 && err == ERR_NONE; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        err = attr_set(small, &map, slice_str(names[i]), &v);
    }
    assert_int_equal(err, ERR_NOMEM);
    arena_free(&small);
}

static void
sizes_are_dynamodbs(void **state)
{
    (void)state;
    struct attr_value item = attr_map_new(), inner = attr_map_new(), v;
    v = attr_s(SLICE_LIT("hello"));
    attr_set(arena, &item, SLICE_LIT("name"), &v); /* 4 + 5 */
    v = attr_int(arena, -123);
    attr_set(arena, &item, SLICE_LIT("n"), &v); /* 1 + (3 + 1) / 2 + 1 + 1 */
    v = attr_bool(true);
    attr_set(arena, &inner, SLICE_LIT("b"), &v);    /* 1 + 1, and 1 for the member */
    attr_set(arena, &item, SLICE_LIT("m"), &inner); /* 1 + 3 + the above */
    assert_int_equal(item_bytes(&item), 9 + 5 + 4 + 3);
    assert_int_equal(attr_depth(&item), 2);
}

static void
items_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct arena *scratch = arena_new(ITEM_MEMORY_MAX);
        struct attr_value item = pick_item(scratch), back;
        struct buf bytes;
        buf_init(&bytes, 1 << 20);
        item_encode(&bytes, &item);
        assert_int_equal(bytes.err, ERR_NONE);
        assert_int_equal(item_decode(scratch, buf_slice(&bytes), &back), ERR_NONE);
        assert_true(attr_equal(&item, &back));
        assert_int_equal(item_bytes(&item), item_bytes(&back));
        /* What was read can be changed again. */
        struct attr_value v = attr_bool(true);
        assert_int_equal(attr_set(scratch, &back, SLICE_LIT("~"), &v), ERR_NONE);
        assert_false(attr_equal(&item, &back));
        buf_fini(&bytes);
        arena_free(&scratch);
    }
}

/* Makes the checksum right again, so that the damage reaches the decoder. */
static void
reseal(char *p, size_t n)
{
    uint32_t crc = digest_crc32c(0, p + 5, n - 5);
    for (int i = 0; i < 4; i++)
        p[1 + i] = (char)(crc >> (8 * i));
}

static void
damage_is_found(void **state)
{
    (void)state;
    int sealed_corrupt = 0;
    for (int i = 0; i < 6000; i++) {
        struct arena *scratch = arena_new(ITEM_MEMORY_MAX);
        struct attr_value item = pick_item(scratch), back;
        struct buf bytes;
        buf_init(&bytes, 1 << 20);
        item_encode(&bytes, &item);
        size_t at = pick((uint32_t)bytes.n), n = bytes.n;
        char was = bytes.p[at];
        bytes.p[at] = (char)(was ^ (1 << pick(8)));
        /* An allocation of exactly its size: the sanitizer sees a read behind the end. */
        char *exact = malloc(n);
        memcpy(exact, bytes.p, n);
        assert_int_equal(item_decode(scratch, slice_of(exact, n), &back), ERR_CORRUPT);
        if (n > 6 && pick(3) == 0)
            n -= 1 + pick((uint32_t)n - 6);
        char *cut = malloc(n);
        memcpy(cut, exact, n);
        if (n > 5)
            reseal(cut, n);
        int err = item_decode(scratch, slice_of(cut, n), &back);
        assert_true(err == ERR_NONE || err == ERR_CORRUPT || err == ERR_NOMEM);
        sealed_corrupt += err == ERR_CORRUPT;
        free(cut);
        free(exact);
        buf_fini(&bytes);
        arena_free(&scratch);
    }
    assert_true(sealed_corrupt > 500);
}

static void
counts_and_depth_are_not_believed(void **state)
{
    (void)state;
    struct attr_value back;
    /* A list that claims 2^28 elements, in a map of one. */
    char big[] = "\x01\0\0\0\0\x07\x01\x01"
                 "a"
                 "\x06\x80\x80\x80\x80\x01";
    reseal(big, sizeof big - 1);
    assert_int_equal(item_decode(arena, slice_of(big, sizeof big - 1), &back), ERR_CORRUPT);
    char deep[5 + 4 + 2 * 400 + 1] = "\x01\0\0\0\0\x07\x01\x01"
                                     "a";
    for (size_t i = 9; i + 2 < sizeof deep; i += 2) {
        deep[i] = ATTR_L;
        deep[i + 1] = 1;
    }
    deep[sizeof deep - 1] = ATTR_NULL;
    reseal(deep, sizeof deep);
    assert_int_equal(item_decode(arena, slice_of(deep, sizeof deep), &back), ERR_CORRUPT);
    /* Names out of order, or twice. */
    char names[] = "\x01\0\0\0\0\x07\x02\x01"
                   "b\x05\x01"
                   "a\x05";
    reseal(names, sizeof names - 1);
    assert_int_equal(item_decode(arena, slice_of(names, sizeof names - 1), &back), ERR_CORRUPT);
    names[8] = 'A';
    reseal(names, sizeof names - 1);
    assert_int_equal(item_decode(arena, slice_of(names, sizeof names - 1), &back), ERR_NONE);
    assert_int_equal(item_decode(arena, SLICE_NONE, &back), ERR_CORRUPT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_have_one_text, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_compare_by_value, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_add_exactly, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_from_c, setup, teardown),
        cmocka_unit_test_setup_teardown(maps_stay_sorted, setup, teardown),
        cmocka_unit_test_setup_teardown(arena_ceiling_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_are_dynamodbs, setup, teardown),
        cmocka_unit_test_setup_teardown(items_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(counts_and_depth_are_not_believed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
