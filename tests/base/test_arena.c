/* Alignment, zeroes, the ceiling, pieces that do not overlap. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
test_pieces(void **state)
{
    enum { N = 3000 };
    static unsigned char *pieces[N];
    static size_t sizes[N];
    struct arena *a = arena_new(16u << 20);
    (void)state;
    /* Small ones and, now and then, one larger than a block. */
    for (size_t i = 0; i < N; i++) {
        sizes[i] = i % 97 == 0 ? 3000 + i * 3 : i * 7 % 200;
        pieces[i] = arena_alloc(a, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], (int)(i % 251) + 1, sizes[i]);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(pieces[i][k], i % 251 + 1);
    }
    arena_free(&a);
    assert_null(a);
    arena_free(&a);
}

static void
test_ceiling(void **state)
{
    struct arena *a = arena_new(100);
    (void)state;
    assert_null(arena_alloc(a, 101));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_alloc(a, SIZE_MAX - 8));
    assert_int_equal(arena_used(a), 0);
    assert_non_null(arena_alloc(a, 90)); /* 96 with its padding */
    assert_int_equal(arena_used(a), 96);
    assert_null(arena_alloc(a, 1));
    assert_null(arena_alloc(a, 0)); /* even nothing has an address of its own */
    assert_null(arena_dup(a, SLICE_LIT("x")).p);
    assert_null(arena_printf(a, "x"));
    arena_free(&a);
    a = arena_new(0);
    assert_non_null(a);
    assert_null(arena_alloc(a, 1));
    arena_free(&a);
    a = arena_new(1u << 20);
    size_t n = 0;
    while (arena_alloc(a, 1000) != NULL)
        n++;
    assert_int_equal(n, (1u << 20) / 1008);
    arena_free(&a);
}

static void
test_copies(void **state)
{
    struct arena *a = arena_new(100000);
    char text[] = "a\0b";
    char wide[5001];
    (void)state;
    struct slice s = arena_dup(a, slice_of(text, 3));
    text[0] = 'x';
    assert_true(slice_eq(s, slice_of("a\0b", 3)));
    assert_int_equal(s.p[3], '\0');
    /* The NUL has room of its own when the text fills its piece. */
    s = arena_dup(a, SLICE_LIT("0123456789abcdef"));
    memset(arena_alloc(a, 16), 0xff, 16);
    assert_int_equal(s.p[16], '\0');
    s = arena_dup(a, SLICE_NONE);
    assert_non_null(s.p);
    assert_int_equal(s.n, 0);
    assert_int_equal(s.p[0], '\0');
    assert_string_equal(arena_printf(a, "%s-%d", "q", 7), "q-7");
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    assert_string_equal(arena_printf(a, "%s", wide), wide);
    arena_free(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
