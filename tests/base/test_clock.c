/* Dates in every form the protocols use, there and back. */
#include "base/clock.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define MS_2013 INT64_C(1369353600000) /* 2013-05-24T00:00:00Z, of Amazon's SigV4 examples */
#define MS_1994 INT64_C(784111777000)  /* Sun, 06 Nov 1994 08:49:37 GMT, of RFC 9110 */

static void
test_format(void **state)
{
    char text[CLOCK_TEXT_MAX];
    (void)state;
    clock_iso8601(MS_2013 + 7, text);
    assert_string_equal(text, "2013-05-24T00:00:00.007Z");
    clock_basic(MS_2013 + 999, text);
    assert_string_equal(text, "20130524T000000Z");
    clock_http(MS_1994, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    clock_iso8601(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_iso8601(INT64_C(951782400000), text);
    assert_string_equal(text, "2000-02-29T00:00:00.000Z");
}

static void
assert_parsed(const char *text, int64_t want)
{
    int64_t ms = -1;
    if (clock_parse(text, &ms) != ERR_NONE || ms != want)
        fail_msg("%s gave %lld", text, (long long)ms);
}

static void
test_parse(void **state)
{
    (void)state;
    assert_parsed("Sun, 06 Nov 1994 08:49:37 GMT", MS_1994);
    assert_parsed("Sunday, 06-Nov-94 08:49:37 GMT", MS_1994);
    assert_parsed("Sun Nov  6 08:49:37 1994", MS_1994);
    assert_parsed("Sun, 06 Nov 1994 08:49:37 +0000", MS_1994);
    assert_parsed("2013-05-24T00:00:00Z", MS_2013);
    assert_parsed("2013-05-24T00:00:00.000Z", MS_2013);
    assert_parsed("2013-05-24T00:00:00.5Z", MS_2013 + 500);
    assert_parsed("2013-05-24T00:00:00.0079Z", MS_2013 + 7);
    assert_parsed("20130524T000000Z", MS_2013);
    assert_parsed("1970-01-01T00:00:00Z", 0);
}

static void
test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "0",
        "2013-05-24",
        "2013-05-24T00:00:00",
        "2013-05-24T00:00:00+02:00",
        "2013-13-24T00:00:00Z",
        "2013-05-24T25:00:00Z",
        "2013-05-24T00:00:00Zx",
        "20130524T000000",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Foo 1994 08:49:37 GMT",
    };
    int64_t ms = 5;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (clock_parse(bad[i], &ms) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
    }
    assert_int_equal(ms, 5);
}

static void
test_before_1970(void **state)
{
    static const char *const texts[] = {"1969-12-31T23:59:59.500Z", "0013-05-24T00:00:00.220Z",
                                        "1969-12-31T23:59:59.000Z"};
    char text[CLOCK_TEXT_MAX];
    int64_t ms;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(clock_parse(texts[i], &ms), ERR_NONE);
        clock_iso8601(ms, text);
        assert_string_equal(text, texts[i]);
    }
    clock_http(-500, text);
    assert_string_equal(text, "Wed, 31 Dec 1969 23:59:59 GMT");
    assert_int_equal(clock_parse("0013-05-24T00:00:00Z", &ms), ERR_NONE);
    clock_basic(ms, text);
    assert_string_equal(text, "00130524T000000Z");
}

static void
test_there_and_back(void **state)
{
    char text[CLOCK_TEXT_MAX];
    (void)state;
    /* Steps of 11 days and some odd time, from 1970 past 2100; whatever the zone. */
    for (int zone = 0; zone < 2; zone++) {
        setenv("TZ", zone == 0 ? "America/New_York" : "Asia/Kathmandu", 1);
        tzset();
        for (int64_t ms = 0; ms < INT64_C(4200000000000); ms += INT64_C(987654321)) {
            int64_t whole = ms - ms % 1000;
            clock_iso8601(ms, text);
            assert_parsed(text, ms);
            clock_basic(ms, text);
            assert_parsed(text, whole);
            clock_http(ms, text);
            assert_parsed(text, whole);
        }
    }
    unsetenv("TZ");
    tzset();
}

static void
test_now(void **state)
{
    (void)state;
    int64_t mono = clock_mono_us();
    int64_t wall = clock_wall_ms();
    assert_true(wall > MS_2013);
    assert_true(clock_mono_us() >= mono);
    assert_true(clock_mono_ms() >= mono / 1000);
    clock_shift_wall(3600000);
    int64_t shifted = clock_wall_ms();
    assert_true(shifted >= wall + 3600000 && shifted < wall + 3600000 + 60000);
    clock_shift_wall(-3600000);
    assert_true(clock_wall_ms() < wall + 60000);
    assert_true(clock_mono_us() - mono < 60 * 1000000LL); /* deadlines do not move */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),         cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_before_1970),
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
