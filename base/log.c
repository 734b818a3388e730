#include "base/log.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static atomic_int log_min = LOG_INFO;
static atomic_bool as_json;

/* Room for every byte of the pairs as a word of its own, escaped, and the head. */
#define JSON_LINE_MAX ((size_t)8 * LOG_LINE_MAX + 1024)
#define ID_NAME "request_id" /* a string, also when it happens to have digits alone */
#define ID_NAME_LENGTH (sizeof ID_NAME - 1)

static int log_fd = STDERR_FILENO; /* never another number once threads run */
static char log_path[PATH_MAX];

void
log_set_level(enum log_level level)
{
    atomic_store(&log_min, (int)level);
}

int
log_level_parse(const char *text, enum log_level *level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return ERR_NONE;
        }
    }
    return ERR_INVALID;
}

static int
file_open(void)
{
    return open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

int
log_to_file(const char *path)
{
    int n = snprintf(log_path, sizeof log_path, "%s", path);
    int fd = n < 0 || (size_t)n >= sizeof log_path ? -1 : file_open();
    if (fd < 0) {
        log_path[0] = '\0';
        return errno != 0 ? errno : ENAMETOOLONG;
    }
    log_fd = fd;
    return 0;
}

/* The number stays: dup2() puts the new file in its place at once, also for a thread that is about
 * to write. */
void
log_reopen(void)
{
    if (log_path[0] == '\0')
        return;
    int fd = file_open();
    if (fd < 0 || dup3(fd, log_fd, O_CLOEXEC) < 0)
        log_line(LOG_ERROR, "log_reopen_failed", "errno=%d", errno);
    else
        log_line(LOG_INFO, "log_reopened", "path=%s", log_path);
    if (fd >= 0)
        close(fd);
}

bool
log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_min, memory_order_relaxed);
}

void
log_set_json(bool json)
{
    atomic_store(&as_json, json);
}

/* ---- JSON: the pairs of a line, read again ---- */

struct json_line {
    char p[JSON_LINE_MAX];
    size_t n;
};

static void
put(struct json_line *j, const char *p, size_t n)
{
    n = n < JSON_LINE_MAX - j->n ? n : JSON_LINE_MAX - j->n;
    memcpy(j->p + j->n, p, n);
    j->n += n;
}

/* One character of a string: `p` is at most `n` bytes. Returns how many it takes. */
static size_t
put_char(struct json_line *j, const char *p, size_t n)
{
    unsigned char c = (unsigned char)p[0];
    char escape[8];
    size_t take = 1;
    if (c == '"' || c == '\\') {
        put(j, (const char[]){'\\', p[0]}, 2);
    } else if (c < 0x20 || c == 0x7f) {
        put(j, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
    } else if (c < 0x80) {
        put(j, p, 1);
    } else {
        while (take < n && take < 4 && ((unsigned char)p[take] & 0xc0) == 0x80)
            take++;
        bool good = slice_is_utf8(slice_of(p, take)); /* a name cut in a character is not */
        put(j, good ? p : "\xef\xbf\xbd", good ? take : 3);
    }
    return take;
}

/* What log_quote() made, from behind its first quote; returns what it takes, the last quote too. */
static size_t
put_quoted(struct json_line *j, const char *p, size_t n)
{
    size_t at = 0;
    while (at < n && p[at] != '"') {
        if (p[at] == '\\' && at + 3 < n && p[at + 1] == 'x') {
            char hex[] = {p[at + 2], p[at + 3], '\0'};
            char c = (char)strtol(hex, NULL, 16);
            put_char(j, &c, 1);
            at += 4;
        } else {
            at += p[at] == '\\' && at + 1 < n;
            at += put_char(j, p + at, n - at);
        }
    }
    return at < n ? at + 1 : at;
}

static bool
is_number(const char *p, size_t n)
{
    size_t at = n > 0 && p[0] == '-', digits = 0, points = 0;
    bool zero = at + 1 < n && p[at] == '0' && p[at + 1] != '.';
    for (; at < n; at++) {
        digits += p[at] >= '0' && p[at] <= '9';
        points += p[at] == '.';
        if ((p[at] < '0' || p[at] > '9') && p[at] != '.')
            return false;
    }
    return digits > 0 && digits < 18 && points <= 1 && !zero && p[n - 1] != '.' && p[0] != '.';
}

static void
put_string(struct json_line *j, const char *p, size_t n)
{
    put(j, "\"", 1);
    for (size_t at = 0; at < n;)
        at += put_char(j, p + at, n - at);
    put(j, "\"", 1);
}

/* NAME=VALUE, at most `n` bytes; returns what it takes. A word without '=' becomes a string named
 * "text". */
static size_t
put_pair(struct json_line *j, const char *p, size_t n)
{
    size_t name = 0, end = 0;
    while (name < n && p[name] != '=' && p[name] != ' ')
        name++;
    bool named = name > 0 && name < n && p[name] == '=';
    size_t at = named ? name + 1 : 0;
    put(j, ",", 1);
    put_string(j, named ? p : "text", named ? name : 4);
    put(j, ":", 1);
    if (named && at < n && p[at] == '"') {
        put(j, "\"", 1);
        at += 1 + put_quoted(j, p + at + 1, n - at - 1);
        put(j, "\"", 1);
        return at;
    }
    for (end = at; end < n && p[end] != ' ';)
        end++;
    if (is_number(p + at, end - at) && !(name == ID_NAME_LENGTH && memcmp(p, ID_NAME, name) == 0))
        put(j, p + at, end - at);
    else
        put_string(j, p + at, end - at);
    return end;
}

static void
write_json(enum log_level level, const char *now, const char *event, const char *pairs, size_t n)
{
    struct json_line j;
    char head[LOG_QUOTE_MAX];
    int head_n = snprintf(head, sizeof head, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"",
                          now, level_names[level], event);
    CHK(head_n > 0 && (size_t)head_n < sizeof head); /* the words are ours */
    j.n = 0;
    put(&j, head, (size_t)head_n);
    for (size_t at = 0; at < n;)
        at += pairs[at] == ' ' ? 1 : put_pair(&j, pairs + at, n - at);
    put(&j, "}\n", 2);
    ssize_t ignored = write(log_fd, j.p, j.n);
    (void)ignored;
}

/* A log that cannot be written must not stop the server. */
static void
write_text(enum log_level level, const char *now, const char *event, const char *pairs, size_t n)
{
    char line[LOG_LINE_MAX];
    int m = snprintf(line, sizeof line - 1, "%s %s %s %.*s", now, level_names[level], event, (int)n,
                     pairs);
    m = m > LOG_LINE_MAX - 2 ? LOG_LINE_MAX - 2 : m;
    line[m++] = '\n';
    ssize_t ignored = write(log_fd, line, (size_t)m);
    (void)ignored;
}

void
log_line(enum log_level level, const char *event, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char now[CLOCK_TEXT_MAX];
    char pairs[LOG_LINE_MAX];
    clock_iso8601(clock_wall_ms(), now);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(pairs, sizeof pairs, fmt, ap);
    va_end(ap);
    n = n < 0 ? 0 : n >= (int)sizeof pairs ? (int)sizeof pairs - 1 : n;
    if (atomic_load_explicit(&as_json, memory_order_relaxed))
        write_json(level, now, event, pairs, (size_t)n);
    else
        write_text(level, now, event, pairs, (size_t)n);
}

const char *
log_quote(struct slice text, char out[LOG_QUOTE_MAX])
{
    size_t n = 0;
    out[n++] = '"';
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (n + 4 + 3 + 2 > LOG_QUOTE_MAX) { /* an escape, the dots, the end */
            memcpy(out + n, "...", 3);
            n += 3;
            break;
        }
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            n += (size_t)snprintf(out + n, 5, "\\x%02x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}
