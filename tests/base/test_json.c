/* The limits given to jansson, and the texts we make ourselves. */
#include "base/err.h"
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
test_read(void **state)
{
    (void)state;
    json_t *o = json_read(SLICE_LIT("{\"s\":\"a\\u0000b\",\"i\":-7,\"big\":9223372036854775807,"
                                    "\"t\":true,\"f\":false,\"r\":1.5,\"n\":null,\"e\":\"\"}"),
                          NULL);
    assert_non_null(o);
    assert_true(slice_eq(json_get_str(o, "s"), slice_of("a\0b", 3)));
    assert_non_null(json_get_str(o, "e").p);
    assert_int_equal(json_get_str(o, "e").n, 0);
    assert_null(json_get_str(o, "i").p);
    assert_null(json_get_str(o, "none").p);
    assert_int_equal(json_get_int(o, "i", 3), -7);
    assert_true(json_get_int(o, "big", 3) == INT64_MAX);
    assert_int_equal(json_get_int(o, "r", 3), 3);
    assert_int_equal(json_get_int(o, "s", 3), 3);
    assert_int_equal(json_get_int(o, "none", 3), 3);
    assert_true(json_get_bool(o, "t", false));
    assert_false(json_get_bool(o, "f", true));
    assert_true(json_get_bool(o, "i", true));
    assert_false(json_get_bool(o, "n", false));
    assert_int_equal(json_get_int(NULL, "i", 3), 3);
    json_decref(o);
}

static void
test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1}x",
        "[\"\xff\"]",
        "[\"\xed\xa0\x80\"]",
        "[01]",
        "[NaN]",
        "[99999999999999999999]",
        "[1e999]",
        "{'a':1}",
        "[\"a\nb\"]",
        "7",
        "\"x\"",
        "[\"\\ud800\"]",
        "]",
        "{\"a\\u0000\":1}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *v = json_read(slice_str(bad[i]), NULL);
        if (v != NULL)
            fail_msg("accepted: %s", bad[i]);
    }
    assert_null(json_read(SLICE_NONE, NULL));
    assert_null(json_read(slice_of("[1]\0", 4), NULL));
}

static void
test_why(void **state)
{
    struct buf why;
    (void)state;
    buf_init(&why, 1000);
    assert_null(json_read(SLICE_LIT("{\n\"a\": 1,\n}"), &why));
    assert_true(slice_starts(buf_slice(&why), SLICE_LIT("line 3: ")));
    buf_reset(&why);
    assert_null(json_read(SLICE_LIT("{\n\x01\x7f\xff}"), &why));
    assert_true(slice_starts(buf_slice(&why), SLICE_LIT("line 2: ")));
    assert_true(why.n > 10);
    for (size_t i = 0; i < why.n; i++)
        assert_true((unsigned char)why.p[i] >= 0x20 && why.p[i] != 0x7f);
    assert_true(slice_is_utf8(buf_slice(&why)));
    buf_reset(&why);
    assert_null(json_read(SLICE_NONE, &why));
    assert_true(slice_starts(buf_slice(&why), SLICE_LIT("line 1: ")));
    buf_fini(&why);
}

static void
nest(struct buf *b, size_t depth, char open, const char *member, char close)
{
    buf_reset(b);
    for (size_t i = 0; i < depth; i++) {
        buf_putc(b, open);
        if (i + 1 < depth)
            buf_puts(b, member);
    }
    for (size_t i = 0; i < depth; i++)
        buf_putc(b, close);
}

static void
test_depth(void **state)
{
    struct buf b, why, want;
    json_t *v;
    (void)state;
    buf_init(&b, 1 << 20);
    buf_init(&why, 1000);
    nest(&b, JSON_DEPTH_MAX, '[', "\n", ']');
    v = json_read(buf_slice(&b), NULL);
    assert_non_null(v);
    json_decref(v);
    nest(&b, JSON_DEPTH_MAX + 1, '[', "\n", ']');
    assert_null(json_read(buf_slice(&b), &why));
    /* One bracket a line. */
    buf_init(&want, 1000);
    buf_printf(&want, "line %d: nested deeper than %d levels", JSON_DEPTH_MAX + 1, JSON_DEPTH_MAX);
    assert_string_equal(why.p, want.p);
    nest(&b, JSON_DEPTH_MAX + 1, '{', "\"a\":", '}');
    assert_null(json_read(buf_slice(&b), NULL));
    nest(&b, 100000, '[', "", ']');
    assert_null(json_read(buf_slice(&b), NULL));
    /* Brackets in strings do not count, neither behind an escaped quote; siblings do not add. */
    buf_reset(&b);
    buf_puts(&b, "[\"\\\"");
    for (int i = 0; i < 1000; i++)
        buf_puts(&b, "[{");
    buf_puts(&b, "\\\\\"");
    for (int i = 0; i < 1000; i++)
        buf_puts(&b, ",[]");
    buf_puts(&b, "]");
    v = json_read(buf_slice(&b), NULL);
    assert_non_null(v);
    json_decref(v);
    buf_fini(&b);
    buf_fini(&why);
    buf_fini(&want);
}

static void
test_write(void **state)
{
    struct buf b;
    const char *text = "{\"z\":[1,-2.5,true,null,\"a\\u0000\\n\\\"\xc3\xa9\"],\"a\":{}}";
    (void)state;
    json_t *v = json_read(slice_str(text), NULL);
    assert_non_null(v);
    buf_init(&b, 1000);
    json_write(&b, v, false);
    assert_string_equal(b.p, text); /* members keep their order */
    buf_reset(&b);
    json_write(&b, json_object_get(v, "a"), true);
    json_write(&b, json_array_get(json_object_get(v, "z"), 0), false);
    assert_string_equal(b.p, "{}1");
    buf_reset(&b);
    json_write(&b, v, true);
    assert_true(slice_starts(buf_slice(&b), SLICE_LIT("{\n  \"z\": [\n    1,")));
    buf_fini(&b);
    buf_init(&b, 10);
    json_write(&b, v, false);
    assert_int_equal(b.err, ERR_TOOBIG);
    json_write(&b, v, false);
    assert_int_equal(b.err, ERR_TOOBIG);
    buf_fini(&b);
    json_decref(v);
}

static void
test_quote(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    json_quote(&b, slice_of("\"\\/\b\f\n\r\t\0\x0b\x1f\x7f\xc3\xa9\xff", 15));
    assert_string_equal(b.p, "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u000b\\u001f\x7f\xc3\xa9"
                             "\xef\xbf\xbd\"");
    buf_reset(&b);
    json_quote(&b, SLICE_NONE);
    assert_string_equal(b.p, "\"\"");
    /* Every byte and every pair of bytes gives a text that is read back. */
    for (int i = 0; i < 65536; i++) {
        char two[2] = {(char)(i >> 8), (char)i};
        buf_reset(&b);
        buf_putc(&b, '[');
        json_quote(&b, slice_of(two, 2));
        buf_putc(&b, ']');
        json_t *v = json_read(buf_slice(&b), NULL);
        if (v == NULL)
            fail_msg("not JSON: %s", b.p);
        const json_t *s = json_array_get(v, 0);
        if (slice_is_utf8(slice_of(two, 2)))
            assert_true(
                slice_eq(slice_of(json_string_value(s), json_string_length(s)), slice_of(two, 2)));
        json_decref(v);
    }
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),  cmocka_unit_test(test_refused), cmocka_unit_test(test_why),
        cmocka_unit_test(test_depth), cmocka_unit_test(test_write),   cmocka_unit_test(test_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
