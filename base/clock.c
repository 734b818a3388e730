#include "base/clock.h"
#include "base/chk.h"
#include "base/err.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static _Atomic int64_t wall_shift_ms;

int64_t
clock_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + wall_shift_ms;
}

int64_t
clock_mono_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

static int64_t
cpu_us(clockid_t id)
{
    struct timespec ts;
    if (clock_gettime(id, &ts) != 0)
        return -1;
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
clock_cpu_us(void)
{
    return cpu_us(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t
clock_cpu_us_of(int64_t pid)
{
    clockid_t id;
    return clock_getcpuclockid((pid_t)pid, &id) == 0 ? cpu_us(id) : -1;
}

void
clock_shift_wall(int64_t ms)
{
    wall_shift_ms += ms;
}

/* Returns the milliseconds left, never negative: clients also name times before 1970. */
static int
split(int64_t wall_ms, struct tm *tm)
{
    int ms = (int)(wall_ms % 1000);
    time_t t = (time_t)(wall_ms / 1000);
    if (ms < 0) {
        ms += 1000;
        t--;
    }
    CHK(gmtime_r(&t, tm) != NULL);
    return ms;
}

void
clock_iso8601(int64_t wall_ms, char out[CLOCK_TEXT_MAX])
{
    struct tm tm;
    int ms = split(wall_ms, &tm);
    snprintf(out, CLOCK_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ms);
}

void
clock_basic(int64_t wall_ms, char out[CLOCK_TEXT_MAX])
{
    struct tm tm;
    split(wall_ms, &tm);
    snprintf(out, CLOCK_TEXT_MAX, "%04d%02d%02dT%02d%02d%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Not strftime: its names follow the locale. */
void
clock_http(int64_t wall_ms, char out[CLOCK_TEXT_MAX])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;
    split(wall_ms, &tm);
    snprintf(out, CLOCK_TEXT_MAX, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday,
             tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
             tm.tm_sec);
}

/* ".123" behind the seconds; more digits are dropped. */
static const char *
fraction(const char *s, int64_t *ms)
{
    int64_t unit = 100;
    *ms = 0;
    if (*s != '.')
        return s;
    for (s++; isdigit((unsigned char)*s); s++, unit /= 10)
        *ms += (*s - '0') * unit;
    return s;
}

int
clock_parse(const char *text, int64_t *wall_ms)
{
    enum { ISO_FORMS = 2 };
    static const char *const forms[] = {
        "%Y%m%dT%H%M%S", /* first: every signed request has one */
        "%Y-%m-%dT%H:%M:%S",
        "%a, %d %b %Y %H:%M:%S GMT", /* IMF-fixdate */
        "%a, %d %b %Y %H:%M:%S +0000",
        "%A, %d-%b-%y %H:%M:%S GMT", /* RFC 850 */
        "%a %b %e %H:%M:%S %Y",      /* asctime */
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct tm tm = {0};
        int64_t ms = 0;
        const char *rest = strptime(text, forms[i], &tm);
        if (rest == NULL)
            continue;
        if (i < ISO_FORMS) {
            rest = fraction(rest, &ms);
            if (*rest != 'Z')
                continue;
            rest++;
        }
        struct tm said = tm;
        int64_t seconds = (int64_t)timegm(&tm);
        if (*rest != '\0' || said.tm_mday != tm.tm_mday) /* timegm() bends 31 February */
            continue;
        *wall_ms = seconds * 1000 + ms;
        return ERR_NONE;
    }
    return ERR_INVALID;
}

int
clock_parse_iso(const char *p, size_t n, int64_t *wall_ms)
{
    enum { DAY = sizeof "2026-01-31" - 1 };
    char text[CLOCK_TEXT_MAX];
    if (n < DAY || n >= sizeof text - sizeof "T00:00:00Z" || p[4] != '-')
        return ERR_INVALID;
    snprintf(text, sizeof text, "%.*s%s", (int)n, p, n == DAY ? "T00:00:00Z" : "");
    return clock_parse(text, wall_ms);
}
