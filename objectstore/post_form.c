/*
 *                 delimiter               CRLF               empty line
 *   PREAMBLE ----------------> DELIMITER ------> HEADERS ------------------> FIELD | FILE | IGNORED
 *                                 |   ^                                              |
 *                                 |   +-------------- delimiter ---------------------+
 *                                 +---- "--" ----> EPILOGUE
 *
 * The delimiter is CRLF "--" boundary. Its first byte is its only CR (a boundary holds none), so a
 * match that fails can begin again at the failing byte alone: what had matched is content, and no
 * byte is looked at twice. `matched` survives from one feed to the next; nothing of the file is
 * ever copied. A body begins as if a CRLF stood before it.
 */
#include "objectstore/post_form.h"
#include "base/chk.h"
#include "base/err.h"

#include <ctype.h>
#include <strings.h>

#define POST_FORM_MAGIC 0x90f02a11u
#define LINE_MAX_BYTES 4096 /* a part's header line */

enum state {
    PREAMBLE,
    DELIMITER, /* behind "--boundary": the end of its line */
    HEADERS,
    FIELD,
    FILE_CONTENT,
    IGNORED, /* content of a part behind the file */
    EPILOGUE
};

struct post_form {
    uint32_t magic;
    enum post_form_fault fault;
    enum state state;
    struct arena *arena;
    struct post_form_sink sink;
    char delimiter[4 + POST_FORM_BOUNDARY_MAX];
    size_t delimiter_n;
    size_t matched;
    size_t bytes_outside; /* of everything but the file's content */

    struct buf text;   /* the header line, or the field's value */
    bool disposed;     /* this part has a Content-Disposition */
    struct slice name; /* of this part */
    bool has_file;
    struct slice filename; /* of this part, then of the file */
    struct slice file_name;

    struct http_field fields[POST_FORM_FIELDS_MAX];
    size_t field_count;
};

/* ---- parameters of a header ---- */

/* The value at the head of *text, cut off: a token, or a quoted string in which only \" is an
 * escape, for browsers send a path's backslashes as they are. */
static struct slice
value_cut(struct arena *a, struct slice *text)
{
    size_t n = 0, at = 1;
    if (text->n == 0 || text->p[0] != '"') {
        struct slice rest, value = slice_cut(*text, ';', &rest);
        *text = rest.p == NULL ? SLICE_NONE : slice_of(rest.p - 1, rest.n + 1);
        return slice_trim(value);
    }
    char *out = arena_alloc(a, text->n);
    if (out == NULL)
        return SLICE_NONE;
    for (; at < text->n && text->p[at] != '"'; at++) {
        if (text->p[at] == '\\' && at + 1 < text->n && text->p[at + 1] == '"')
            at++;
        out[n++] = text->p[at];
    }
    bool closed = at < text->n;
    *text = slice_skip(*text, at + 1);
    return closed ? slice_of(out, n) : SLICE_NONE;
}

/* One "; name=value"; false at the end, or when it is none (*bad). */
static bool
param_next(struct arena *a, struct slice *text, struct slice *name, struct slice *value, bool *bad)
{
    *text = slice_trim(*text);
    while (text->n > 0 && text->p[0] == ';')
        *text = slice_trim(slice_skip(*text, 1));
    if (text->n == 0)
        return false;
    struct slice rest;
    *name = slice_trim(slice_cut(*text, '=', &rest));
    *value = rest.p == NULL ? SLICE_NONE : value_cut(a, &rest);
    *text = slice_trim(rest);
    *bad = name->n == 0 || value->p == NULL || (text->n > 0 && text->p[0] != ';');
    return !*bad;
}

struct slice
post_form_boundary(struct arena *a, struct slice content_type, bool *is_form)
{
    struct slice name, value, boundary = SLICE_NONE, rest;
    bool bad = false;
    *is_form = slice_ieqs(slice_trim(slice_cut(content_type, ';', &rest)), "multipart/form-data");
    while (*is_form && param_next(a, &rest, &name, &value, &bad)) {
        if (boundary.p == NULL && slice_ieqs(name, "boundary"))
            boundary = value;
    }
    if (bad || boundary.n == 0 || boundary.n > POST_FORM_BOUNDARY_MAX ||
        /* It has bytes here. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
        memchr(boundary.p, '\r', boundary.n) != NULL)
        return SLICE_NONE;
    return boundary;
}

/* ---- one part ---- */

static void
fail(struct post_form *f, enum post_form_fault fault)
{
    if (f->fault == POST_FORM_OK)
        f->fault = fault;
}

/* The part behind the last slash or backslash. */
static struct slice
without_directories(struct slice path)
{
    size_t at = path.n;
    while (at > 0 && path.p[at - 1] != '/' && path.p[at - 1] != '\\')
        at--;
    return slice_skip(path, at);
}

static void
disposition_read(struct post_form *f, struct slice text)
{
    struct slice name, value, rest;
    bool bad = false;
    if (f->disposed || !slice_ieqs(slice_trim(slice_cut(text, ';', &rest)), "form-data")) {
        fail(f, POST_FORM_MALFORMED);
        return;
    }
    f->disposed = true;
    while (param_next(f->arena, &rest, &name, &value, &bad)) {
        bool named = slice_ieqs(name, "name");
        if (!named && !slice_ieqs(name, "filename"))
            continue;
        struct slice *kept = named ? &f->name : &f->filename;
        if (kept->p != NULL)
            fail(f, POST_FORM_MALFORMED);
        *kept = arena_dup(f->arena, value);
        if (kept->p == NULL)
            fail(f, POST_FORM_NOMEM);
    }
    if (bad || f->name.n == 0)
        fail(f, POST_FORM_MALFORMED);
}

static void
header_line(struct post_form *f, struct slice line)
{
    struct slice value, name = slice_cut(line, ':', &value);
    if (value.p == NULL)
        fail(f, POST_FORM_MALFORMED);
    else if (slice_ieqs(slice_trim(name), "content-disposition"))
        disposition_read(f, slice_trim(value));
}

static struct http_field *
field_named(struct post_form *f, struct slice name)
{
    for (size_t i = 0; i < f->field_count; i++) {
        struct slice other = f->fields[i].name;
        if (other.n == name.n && strncasecmp(other.p, name.p, name.n) == 0)
            return &f->fields[i];
    }
    return NULL;
}

static void
field_end(struct post_form *f)
{
    struct http_field *field = field_named(f, f->name);
    struct slice value = buf_slice(&f->text);
    if (field == NULL && f->field_count == POST_FORM_FIELDS_MAX) {
        fail(f, POST_FORM_TOO_LARGE);
        return;
    }
    size_t before = field == NULL ? 0 : field->value.n + 1;
    char *out = arena_alloc(f->arena, before + value.n + 1);
    if (out == NULL) {
        fail(f, POST_FORM_NOMEM);
        return;
    }
    if (field == NULL) {
        field = &f->fields[f->field_count++];
        field->name = f->name;
    } else {
        memcpy(out, field->value.p, before - 1);
        out[before - 1] = ',';
    }
    if (value.n > 0)
        memcpy(out + before, value.p, value.n);
    field->value = slice_of(out, before + value.n);
}

/* The empty line behind a part's headers. */
static void
part_begin(struct post_form *f)
{
    bool is_file = slice_ieqs(f->name, "file");
    if (!f->disposed) {
        fail(f, POST_FORM_MALFORMED);
    } else if (is_file && f->has_file) {
        fail(f, POST_FORM_TWO_FILES);
    } else if (is_file) {
        f->has_file = true;
        f->file_name = f->filename.p == NULL ? SLICE_NONE : without_directories(f->filename);
        f->state = FILE_CONTENT;
        if (!f->sink.begin(f->sink.arg))
            fail(f, POST_FORM_STOPPED);
    } else {
        f->state = f->has_file ? IGNORED : FIELD;
    }
    buf_reset(&f->text);
}

/* ---- content up to the delimiter ---- */

static void
content(struct post_form *f, const char *p, size_t n)
{
    if (f->state == FILE_CONTENT) {
        if (n > 0 && !f->sink.bytes(f->sink.arg, p, n))
            fail(f, POST_FORM_STOPPED);
        return;
    }
    f->bytes_outside += n;
    if (f->state == FIELD) {
        buf_put(&f->text, p, n);
        if (f->text.err != ERR_NONE)
            fail(f, f->text.err == ERR_NOMEM ? POST_FORM_NOMEM : POST_FORM_TOO_LARGE);
    }
}

static void
delimiter_met(struct post_form *f)
{
    f->bytes_outside += f->delimiter_n;
    f->matched = 0;
    if (f->state == FIELD)
        field_end(f);
    f->state = DELIMITER;
    buf_reset(&f->text);
}

/* Content up to the delimiter, or all there is. Returns the bytes consumed. */
static size_t
content_feed(struct post_form *f, const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && f->fault == POST_FORM_OK) {
        if (f->matched == 0) {
            const char *cr = memchr(p + i, '\r', n - i);
            size_t run = cr == NULL ? n - i : (size_t)(cr - (p + i));
            content(f, p + i, run);
            i += run;
            if (cr == NULL)
                break;
            f->matched = 1;
            i++;
            continue;
        }
        if (p[i] == f->delimiter[f->matched]) {
            i++;
            if (++f->matched == f->delimiter_n) {
                delimiter_met(f);
                break;
            }
            continue;
        }
        size_t was = f->matched;
        f->matched = 0;
        content(f, f->delimiter, was); /* and look at this byte again, as a first one */
    }
    return i;
}

/* ---- lines ---- */

/* Ends at LF; true when *line is complete (without its CRLF). */
static bool
line_feed(struct post_form *f, const char *p, size_t n, size_t *used, struct slice *line)
{
    const char *lf = memchr(p, '\n', n);
    *used = lf == NULL ? n : (size_t)(lf - p) + 1;
    f->bytes_outside += *used;
    buf_put(&f->text, p, *used);
    if (f->text.err != ERR_NONE || f->text.n > LINE_MAX_BYTES) {
        fail(f, f->text.err == ERR_NOMEM ? POST_FORM_NOMEM : POST_FORM_MALFORMED);
        return false;
    }
    if (lf == NULL)
        return false;
    if (f->text.n < 2 || f->text.p[f->text.n - 2] != '\r') {
        fail(f, POST_FORM_MALFORMED);
        return false;
    }
    *line = slice_of(f->text.p, f->text.n - 2);
    return true;
}

/* What may stand behind "--boundary": white space and the end of the line. */
static size_t
delimiter_feed(struct post_form *f, const char *p, size_t n)
{
    struct slice line;
    size_t used = 1;
    bool dashes = f->text.n == 0 || (f->text.n == 1 && f->text.p[0] == '-');
    if (dashes && p[0] == '-') {
        f->bytes_outside++;
        buf_putc(&f->text, '-');
        if (f->text.n == 2)
            f->state = EPILOGUE;
        return used;
    }
    if (!line_feed(f, p, n, &used, &line))
        return used;
    if (slice_trim(line).n > 0)
        fail(f, POST_FORM_MALFORMED);
    f->state = HEADERS;
    f->disposed = false;
    f->name = f->filename = SLICE_NONE;
    buf_reset(&f->text);
    return used;
}

static size_t
headers_feed(struct post_form *f, const char *p, size_t n)
{
    struct slice line;
    size_t used;
    if (!line_feed(f, p, n, &used, &line))
        return used;
    if (line.n == 0) {
        part_begin(f);
    } else {
        header_line(f, line);
        buf_reset(&f->text);
    }
    return used;
}

/* ---- the form ---- */

struct post_form *
post_form_new(struct arena *a, struct slice boundary, const struct post_form_sink *sink)
{
    CHK(boundary.n > 0 && boundary.n <= POST_FORM_BOUNDARY_MAX);
    struct post_form *f = arena_alloc(a, sizeof *f);
    if (f == NULL)
        return NULL;
    f->magic = POST_FORM_MAGIC;
    f->arena = a;
    f->sink = *sink;
    memcpy(f->delimiter, "\r\n--", 4);
    memcpy(f->delimiter + 4, boundary.p, boundary.n);
    f->delimiter_n = boundary.n + 4;
    f->matched = 2;
    buf_init(&f->text, POST_FORM_BYTES_MAX);
    return f;
}

void
post_form_fini(struct post_form **fp)
{
    struct post_form *f = *fp;
    *fp = NULL;
    if (f == NULL)
        return;
    CHK_MAGIC(f, POST_FORM_MAGIC);
    buf_fini(&f->text);
    f->magic = 0;
}

enum post_form_fault
post_form_feed(struct post_form *f, const void *bytes, size_t n)
{
    CHK_MAGIC(f, POST_FORM_MAGIC);
    const char *p = bytes;
    while (n > 0 && f->fault == POST_FORM_OK) {
        size_t used = n;
        if (f->state == EPILOGUE)
            f->bytes_outside += n;
        else if (f->state == DELIMITER)
            used = delimiter_feed(f, p, n);
        else if (f->state == HEADERS)
            used = headers_feed(f, p, n);
        else
            used = content_feed(f, p, n);
        if (f->bytes_outside > POST_FORM_BYTES_MAX)
            fail(f, POST_FORM_TOO_LARGE);
        p += used;
        n -= used;
    }
    return f->fault;
}

enum post_form_fault
post_form_end(struct post_form *f)
{
    CHK_MAGIC(f, POST_FORM_MAGIC);
    if (f->state != EPILOGUE)
        fail(f, POST_FORM_MALFORMED);
    return f->fault;
}

struct http_field *
post_form_fields(struct post_form *f, size_t *count)
{
    CHK_MAGIC(f, POST_FORM_MAGIC);
    *count = f->field_count;
    return f->fields;
}

bool
post_form_has_file(const struct post_form *f)
{
    CHK_MAGIC(f, POST_FORM_MAGIC);
    return f->has_file;
}

struct slice
post_form_filename(const struct post_form *f)
{
    CHK_MAGIC(f, POST_FORM_MAGIC);
    return f->file_name;
}
