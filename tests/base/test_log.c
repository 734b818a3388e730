/* Lines as they reach standard error. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int kept_stderr, caught;

/* From here on standard error is a file in memory ... */
static void
catch_begin(void)
{
    kept_stderr = dup(STDERR_FILENO);
    caught = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(kept_stderr >= 0 && caught >= 0);
    assert_int_equal(dup2(caught, STDERR_FILENO), STDERR_FILENO);
}

/* ... and here it is what it was, and what was written is in `out`. */
static size_t
catch_end(char *out, size_t max)
{
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    ssize_t n = pread(caught, out, max - 1, 0);
    close(caught);
    assert_true(n >= 0);
    out[n] = '\0';
    return (size_t)n;
}

static void
test_line(void **state)
{
    char out[8192];
    int64_t ms;
    (void)state;
    catch_begin();
    log_line(LOG_INFO, "object_committed", "req=%s bytes=%d", "01F3", 12);
    log_line(LOG_ERROR, "alone", "%s", "");
    catch_end(out, sizeof out);
    char *end = strchr(out, '\n');
    assert_non_null(end);
    assert_string_equal(end + 1 + 24, " error alone \n");
    *end = '\0';
    assert_string_equal(out + 24, " info object_committed req=01F3 bytes=12");
    out[24] = '\0';
    assert_int_equal(clock_parse(out, &ms), ERR_NONE);
}

static void
test_levels(void **state)
{
    char out[8192];
    enum log_level level = LOG_WARN;
    (void)state;
    assert_int_equal(log_level_parse("loud", &level), ERR_INVALID);
    assert_int_equal(log_level_parse("", &level), ERR_INVALID);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_level_parse("debug", &level), ERR_NONE);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_parse("error", &level), ERR_NONE);
    assert_int_equal(level, LOG_ERROR);
    assert_false(log_enabled(LOG_DEBUG)); /* the default is info */
    assert_true(log_enabled(LOG_INFO));
    log_set_level(LOG_WARN);
    catch_begin();
    log_line(LOG_INFO, "no", "%s", "");
    log_line(LOG_WARN, "yes", "%s", "");
    size_t n = catch_end(out, sizeof out);
    log_set_level(LOG_INFO);
    assert_true(n > 24);
    assert_string_equal(out + 24, " warn yes \n");
}

/* One line as JSON, from behind its time on. */
static void
check_json(const char *want, const char *fmt, ...)
{
    char out[8 * LOG_LINE_MAX], text[LOG_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_set_json(true);
    catch_begin();
    log_line(LOG_INFO, "e", "%s", text);
    size_t n = catch_end(out, sizeof out);
    log_set_json(false);
    assert_true(n > 34);
    assert_memory_equal(out, "{\"time\":\"", 9);
    assert_string_equal(out + 34, want);
    json_t *read =
        json_loadb(out, n, JSON_REJECT_DUPLICATES * (strstr(want, "text") == NULL), NULL);
    assert_non_null(read);
    json_decref(read);
}

#define JSON_HEAD ",\"level\":\"info\",\"event\":\"e\""

static void
test_json(void **state)
{
    char quoted[LOG_QUOTE_MAX];
    (void)state;
    check_json(JSON_HEAD "}\n", "");
    check_json(JSON_HEAD ",\"request_id\":\"0123\",\"n\":12,\"f\":-1.50,\"z\":\"007\"}\n",
               "request_id=0123 n=12 f=-1.50 z=007");
    check_json(JSON_HEAD ",\"key\":\"a \\\"b\\\\ \\u0001\\u007f\u00e9\",\"x\":\"\"}\n",
               "key=%s x=\"\"", log_quote(SLICE_LIT("a \"b\\ \x01\x7f\xc3\xa9"), quoted));
    check_json(JSON_HEAD ",\"key\":\"\xef\xbf\xbd(\"}\n", "key=\"\xc3(\"");
    check_json(JSON_HEAD ",\"key\":\"open\"}\n", "key=\"open");
    check_json(JSON_HEAD ",\"a\":\"\",\"b\":\"1.\",\"c\":\"1.2.3\",\"d\":\"-\"}\n",
               "a= b=1. c=1.2.3 d=-");
    check_json(JSON_HEAD ",\"text\":\"two\",\"text\":\"words\"}\n", "two words");
}

static void
test_json_longest(void **state)
{
    char out[16 * LOG_LINE_MAX], wide[LOG_LINE_MAX * 2];
    const char *const fillings[] = {"\x01 ", "\"", "\\", "= ", "a=\" ", "\xff", "\xff "};
    (void)state;
    log_set_json(true);
    for (size_t i = 0; i < sizeof fillings / sizeof fillings[0]; i++) {
        for (size_t k = 0; k < sizeof wide - 1; k++)
            wide[k] = fillings[i][k % strlen(fillings[i])];
        wide[sizeof wide - 1] = '\0';
        catch_begin();
        log_line(LOG_INFO, "w", "%s", wide);
        size_t n = catch_end(out, sizeof out);
        json_t *read = json_loadb(out, n, 0, NULL);
        assert_non_null(read);
        json_decref(read);
    }
    log_set_json(false);
}

static void
test_long_line(void **state)
{
    char out[8192], wide[5000];
    (void)state;
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    catch_begin();
    log_line(LOG_INFO, "wide", "%s", wide);
    size_t n = catch_end(out, sizeof out);
    assert_true(n > LOG_LINE_MAX - 8 && n <= LOG_LINE_MAX);
    assert_int_equal(out[n - 1], '\n');
    assert_ptr_equal(strchr(out, '\n'), out + n - 1);
    assert_null(memchr(out, '\0', n));
    /* One byte around the cut, each way. */
    for (size_t len = LOG_LINE_MAX - 50; len < LOG_LINE_MAX + 5; len++) {
        wide[len] = '\0';
        catch_begin();
        log_line(LOG_INFO, "w", "%s", wide);
        n = catch_end(out, sizeof out);
        wide[len] = 'w';
        assert_true(n <= LOG_LINE_MAX);
        assert_int_equal(out[n - 1], '\n');
        assert_int_equal(out[n - 2], 'w');
        assert_int_equal(strlen(out), n);
    }
}

static void
test_quote(void **state)
{
    char out[LOG_QUOTE_MAX], wide[1000];
    (void)state;
    assert_string_equal(log_quote(SLICE_LIT("a b"), out), "\"a b\"");
    assert_string_equal(log_quote(SLICE_NONE, out), "\"\"");
    assert_string_equal(log_quote(slice_of("\"\\\n\0\x7f", 5), out), "\"\\\"\\\\\\x0a\\x00\\x7f\"");
    /* No length of any kind of byte leaves the room it has. */
    for (size_t n = 0; n < sizeof wide; n++) {
        memset(wide, n % 3 == 0 ? '\n' : n % 3 == 1 ? '"' : 'w', n);
        log_quote(slice_of(wide, n), out);
        size_t len = strnlen(out, sizeof out);
        assert_true(len >= 2 && len < sizeof out);
        assert_int_equal(out[0], '"');
        assert_int_equal(out[len - 1], '"');
        if (n > LOG_QUOTE_MAX)
            assert_memory_equal(out + len - 4, "...", 3);
    }
}

/* Escapes at every place before the end: nothing is written behind it. */
static void
test_quote_to_the_end(void **state)
{
    (void)state;
    char text[2 * LOG_QUOTE_MAX];
    for (size_t plain = 0; plain < LOG_QUOTE_MAX; plain++) {
        struct {
            char out[LOG_QUOTE_MAX];
            char behind;
        } room = {.behind = 'b'};
        memset(text, 1, sizeof text);
        memset(text, 'x', plain);
        log_quote(slice_of(text, sizeof text), room.out);
        assert_int_equal(room.behind, 'b');
        assert_true(strlen(room.out) < LOG_QUOTE_MAX);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_longest),
        cmocka_unit_test(test_quote_to_the_end),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
