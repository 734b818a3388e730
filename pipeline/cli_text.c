#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* U+0080 to U+009F are control characters too, and some terminals obey them. */
void
cli_put_text(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool c1 = c == 0xc2 && i + 1 < text.n && ((unsigned char)text.p[i + 1] & 0xe0) == 0x80;
        if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else if (c1)
            buf_printf(out, "\\u%04x", (unsigned char)text.p[++i]);
        else
            buf_putc(out, (char)c);
    }
}

void
cli_write_text(FILE *to, struct slice text)
{
    struct buf out;
    buf_init(&out, 6 * text.n + 1);
    cli_put_text(&out, text);
    if (out.n > 0) /* a buffer that holds nothing is NULL, which fwrite() never takes */
        fwrite(out.p, 1, out.n, to);
    buf_fini(&out);
}

void
cli_print_text(struct slice text)
{
    cli_write_text(stdout, text);
}

static void complain(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static void
complain(const char *fmt, va_list ap)
{
    char *text = NULL;
    int n = vasprintf(&text, fmt, ap);
    CHK(n >= 0);
    cli_write_text(stderr, slice_of(text, (size_t)n));
    free(text);
}

void
cli_complain(const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    fputs("darkroom: ", stderr);
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

enum cli_exit
cli_usage(const struct cli *c, const char *fmt, ...)
{
    char name[64] = "darkroom";
    va_list ap;
    if (c->command != NULL && c->verb != NULL && c->verb->name != NULL)
        snprintf(name, sizeof name, "darkroom %s %s", c->command->name, c->verb->name);
    else if (c->command != NULL)
        snprintf(name, sizeof name, "darkroom %s", c->command->name);
    fflush(stdout);
    fprintf(stderr, "%s: ", name);
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    fprintf(stderr, " (see %s --help)\n", name);
    return CLI_USAGE;
}

void
cli_print_json(const json_t *value)
{
    struct buf text;
    buf_init(&text, REMOTE_REPLY_MAX);
    json_write(&text, value, false);
    if (text.err == ERR_NONE)
        printf("%s\n", text.p);
    buf_fini(&text);
}

const char *
cli_str(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

void
cli_print_time(int64_t wall_ms)
{
    char text[CLOCK_TEXT_MAX];
    clock_iso8601(wall_ms, text);
    fputs(text, stdout);
}

void
cli_print_bytes(int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        value /= 1024;
    if (unit == 0)
        printf("%" PRId64 " B", bytes);
    else
        printf("%.1f %s", value, units[unit]);
}

void
cli_write_span(FILE *to, int64_t seconds)
{
    if (seconds < 120)
        fprintf(to, "%" PRId64 " s", seconds);
    else if (seconds < 120 * 60)
        fprintf(to, "%" PRId64 " min", seconds / 60);
    else
        fprintf(to, "%.1f h", (double)seconds / 3600);
}
