/*
 * A request head as libmicrohttpd hands it over: cut in place, with NULs over the separators. Like
 * the library's, this cutting accepts bare line feeds and stops a string at a NUL; http_strict()
 * is there to notice.
 */
#ifndef DARKROOM_TESTS_FUZZ_HEAD_H
#define DARKROOM_TESTS_FUZZ_HEAD_H

#include "base/http_priv.h"
#include "tests/fuzz/fuzz.h"

struct fuzz_head {
    struct http_head head;
    struct http_field fields[HTTP_HEADERS_MAX];
    char *bytes; /* overwritten copy */
};

/* The end of the line at `p`, its CR taken off; NULL when there is no line feed. */
static inline char *
fuzz_head_line(char *p, char *end, char **next)
{
    char *lf = memchr(p, '\n', (size_t)(end - p));
    if (lf == NULL)
        return NULL;
    *next = lf + 1;
    return lf > p && lf[-1] == '\r' ? lf - 1 : lf;
}

static inline bool
fuzz_head_fields(struct fuzz_head *h, char *p, char *end)
{
    for (;;) {
        char *next, *line_end = fuzz_head_line(p, end, &next);
        if (line_end == NULL)
            return false;
        memset(line_end, '\0', (size_t)(next - line_end));
        if (line_end == p) {
            h->head.bytes = (size_t)(next - h->bytes);
            return true;
        }
        char *colon = strchr(p, ':');
        if (colon == NULL)
            return false;
        *colon = '\0';
        char *value = colon + 1;
        while (*value == ' ' || *value == '\t')
            value++;
        if (h->head.field_count < HTTP_HEADERS_MAX)
            h->fields[h->head.field_count++] = (struct http_field){slice_str(p), slice_str(value)};
        h->head.fields_seen++;
        p = next;
    }
}

/* Method before the first space, version behind the last one. */
static inline bool
fuzz_head_request_line(struct fuzz_head *h, char *end, const char *next)
{
    char *method_end = memchr(h->bytes, ' ', (size_t)(end - h->bytes));
    if (method_end == NULL)
        return false;
    char *target = method_end + 1, *version = end;
    while (target < end && *target == ' ')
        target++;
    while (version > target && version[-1] != ' ')
        version--;
    if (version == target)
        return false;
    *method_end = version[-1] = '\0';
    memset(end, '\0', (size_t)(next - end));
    h->head.method = h->bytes;
    h->head.target_at = target;
    h->head.target = slice_str(target);
    h->head.version = version;
    return true;
}

/* False: not even the library would report it. `h` must be released in any case. */
static inline bool
fuzz_head_cut(struct fuzz_head *h, struct slice text)
{
    memset(h, 0, sizeof *h);
    h->bytes = chk_malloc(text.n + 1);
    if (text.n > 0)
        memcpy(h->bytes, text.p, text.n);
    h->bytes[text.n] = '\0';
    h->head.in_place = true;
    h->head.fields = h->fields;
    char *next, *end = fuzz_head_line(h->bytes, h->bytes + text.n, &next);
    return end != NULL && fuzz_head_request_line(h, end, next) &&
           fuzz_head_fields(h, next, h->bytes + text.n);
}

static inline void
fuzz_head_release(struct fuzz_head *h)
{
    free(h->bytes);
    h->bytes = NULL;
}

#endif
