/*
 * jansson recurses once per level when it parses, dumps and frees, so the depth is checked on the
 * raw text before jansson sees it: brackets outside strings are counted, the way its own lexer
 * would read them up to its first error.
 *
 * A string may hold NUL (a key may, on S3 and in a table): use its length, never strlen().
 */
#include "base/json.h"
#include "base/err.h"
#include "base/utf8.h"

/* Line of the first bracket that opens a level too many; 0 when there is none. */
static size_t
too_deep_at(struct slice text)
{
    size_t depth = 0;
    size_t line = 1;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '\n')
            line++;
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '[' || c == '{') && ++depth > JSON_DEPTH_MAX)
            return line;
        else if (!in_string && (c == ']' || c == '}') && depth > 0)
            depth--;
    }
    return 0;
}

/* jansson quotes what it stumbled over: that must stay one readable line. */
static void
put_line(struct buf *why, const char *text)
{
    struct slice s = slice_str(text);
    while (s.n > 0) {
        size_t len = utf8_first(s);
        if (len == 0 || (unsigned char)s.p[0] < 0x20 || s.p[0] == 0x7f)
            buf_putc(why, '?');
        else
            buf_put(why, s.p, len);
        s = slice_skip(s, len == 0 ? 1 : len);
    }
}

json_t *
json_read(struct slice text, struct buf *why)
{
    json_error_t error = {.line = 1};
    size_t line = too_deep_at(text);
    if (line != 0) {
        if (why != NULL)
            buf_printf(why, "line %zu: nested deeper than %d levels", line, JSON_DEPTH_MAX);
        return NULL;
    }
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_t *value = json_loadb(text.n == 0 ? "" : text.p, text.n, flags, &error);
    if (value == NULL && why != NULL) {
        buf_printf(why, "line %d: ", error.line < 1 ? 1 : error.line);
        put_line(why, error.text);
    }
    return value;
}

static int
put_piece(const char *piece, size_t n, void *arg)
{
    struct buf *out = arg;
    buf_put(out, piece, n);
    return out->err == ERR_NONE ? 0 : -1;
}

void
json_write(struct buf *out, const json_t *value, bool pretty)
{
    size_t flags =
        JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) | (pretty ? JSON_INDENT(2) : JSON_COMPACT);
    if (out->err != ERR_NONE)
        return;
    /* It fails without our callback's doing only for want of memory. */
    if (json_dump_callback(value, put_piece, out, flags) != 0 && out->err == ERR_NONE)
        out->err = ERR_NOMEM;
}

struct slice
json_get_str(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : SLICE_NONE;
}

int64_t
json_get_int(const json_t *object, const char *name, int64_t fallback)
{
    const json_t *v = json_object_get(object, name);
    return json_is_integer(v) ? json_integer_value(v) : fallback;
}

bool
json_get_bool(const json_t *object, const char *name, bool fallback)
{
    const json_t *v = json_object_get(object, name);
    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

static void
put_control(struct buf *out, unsigned char c)
{
    static const char names[] = "btn\0fr"; /* from 8 on; 11 has none */
    if (c >= 8 && c <= 13 && names[c - 8] != '\0')
        buf_printf(out, "\\%c", names[c - 8]);
    else
        buf_printf(out, "\\u%04x", c);
}

void
json_quote(struct buf *out, struct slice text)
{
    buf_putc(out, '"');
    while (text.n > 0) {
        size_t len = utf8_first(text);
        unsigned char c = (unsigned char)text.p[0];
        if (len == 0)
            buf_puts(out, UTF8_REPLACEMENT);
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20)
            put_control(out, c);
        else
            buf_put(out, text.p, len);
        text = slice_skip(text, len == 0 ? 1 : len);
    }
    buf_putc(out, '"');
}
