/* Escapes, query parameters and fields: the request helpers by themselves. */
#include "base/chk.h"
#include "base/err.h"
#include "base/http_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
test_unescape(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 << 16);
    struct slice s = http_unescape(a, SLICE_LIT("/a%20b%2Fc+d%00e%2561"), false);
    assert_true(slice_eq(s, SLICE_LIT("/a b/c+d\0e%61")));
    s = http_unescape(a, SLICE_LIT("a+b%2b"), true);
    assert_true(slice_eqs(s, "a b+"));
    s = http_unescape(a, SLICE_NONE, true);
    assert_true(s.p != NULL && s.n == 0);
    const char *malformed[] = {"%", "%4", "a%", "%4g", "%g4", "%%41", "% 41", "%-1"};
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
        assert_null(http_unescape(a, slice_str(malformed[i]), false).p);
    arena_free(&a);

    struct buf b;
    buf_init(&b, 1000);
    http_escape(&b, SLICE_LIT("a/b c~-._+\xc3\xa9%\0"), true);
    assert_string_equal(b.p, "a/b%20c~-._%2B%C3%A9%25%00");
    buf_reset(&b);
    http_escape(&b, SLICE_LIT("a/b"), false);
    assert_string_equal(b.p, "a%2Fb");
    buf_fini(&b);
}

static void
test_query(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 << 16);
    struct http_request r = {
        .arena = a, .raw_query = SLICE_LIT("acl&&prefix=a%26b+c&empty=&eq=a=b&%61b=1&acl=2")};
    assert_int_equal(http_parse_query(&r), ERR_NONE);
    assert_int_equal(r.param_count, 6);
    assert_true(http_has_param(&r, "acl") && http_param(&r, "acl").n == 0);
    assert_true(slice_eqs(http_param(&r, "prefix"), "a&b c"));
    assert_true(http_param(&r, "empty").p != NULL && http_param(&r, "empty").n == 0);
    assert_true(slice_eqs(http_param(&r, "eq"), "a=b"));
    assert_true(slice_eqs(http_param(&r, "ab"), "1"));
    assert_false(http_has_param(&r, "ACL"));
    assert_null(http_param(&r, "nothing").p);

    struct http_request broken = {.arena = a, .raw_query = SLICE_LIT("a=%zz")};
    assert_int_equal(http_parse_query(&broken), ERR_INVALID);
    char many[HTTP_QUERY_MAX * 2 + 2];
    for (size_t i = 0; i < sizeof many; i += 2)
        memcpy(many + i, "a&", 2);
    struct http_request full = {.arena = a, .raw_query = slice_of(many, HTTP_QUERY_MAX * 2)};
    assert_int_equal(http_parse_query(&full), ERR_NONE);
    struct http_request over = {.arena = a, .raw_query = slice_of(many, sizeof many)};
    assert_int_equal(http_parse_query(&over), ERR_INVALID);
    arena_free(&a);

    struct http_field fields[] = {{SLICE_LIT("Content-Type"), SLICE_LIT("a/b")},
                                  {SLICE_LIT("X"), SLICE_LIT("1")},
                                  {SLICE_LIT("x"), SLICE_LIT("2")}};
    struct http_request f = {.fields = fields, .field_count = 3};
    assert_true(slice_eqs(http_field(&f, "content-TYPE"), "a/b"));
    assert_true(slice_eqs(http_field(&f, "x"), "1"));
    assert_null(http_field(&f, "y").p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
