#include "base/clock.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void
cli_complain(const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    fputs("darkroom: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

enum cli_exit
cli_usage(const char *command, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "darkroom %s: ", command);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, " (see darkroom %s --help)\n", command);
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

void
cli_print_text(struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c < 0x20 || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
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

int
cli_parse_s3(const char *text, struct slice *bucket, struct slice *key)
{
    struct slice rest = slice_str(text);
    if (!slice_starts(rest, SLICE_LIT("s3://")))
        return ERR_INVALID;
    *bucket = slice_cut(slice_skip(rest, 5), '/', key);
    return bucket->n > 0 ? ERR_NONE : ERR_INVALID;
}

const char *
cli_option(int argc, char **argv, int *at, const char *name, bool *bad)
{
    size_t n = strlen(name);
    const char *arg = argv[*at];
    if (strncmp(arg, name, n) != 0)
        return NULL;
    if (arg[n] == '=')
        return arg + n + 1;
    if (arg[n] != '\0')
        return NULL;
    if (*at + 1 < argc)
        return argv[++*at];
    cli_complain("%s needs a value", name);
    *bad = true;
    return "";
}
