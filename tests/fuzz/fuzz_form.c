/*
 * Form uploads: one byte that says how the body is cut, then the body (boundary "b"). Whatever the
 * cut, the outcome is the same; the file's content is the body's own bytes and holds no delimiter.
 */
#include "objectstore/post_form.h"
#include "tests/fuzz/fuzz.h"

#define DELIMITER SLICE_LIT("\r\n--b")
#define BODY_MAX (64u << 10)

struct outcome {
    enum post_form_fault fault;
    int begun;
    bool stop;
    struct buf file, fields;
    struct slice filename;
};

static bool
begin(void *arg)
{
    struct outcome *o = arg;
    CHK(o->begun++ == 0);
    return !o->stop;
}

static bool
bytes(void *arg, const void *p, size_t n)
{
    struct outcome *o = arg;
    CHK(o->begun == 1 && n > 0 && !o->stop);
    buf_put(&o->file, p, n);
    return true;
}

static void
parse(struct arena *a, struct slice body, unsigned step, struct outcome *o)
{
    const struct post_form_sink sink = {o, begin, bytes};
    struct post_form *f = post_form_new(a, SLICE_LIT("b"), &sink);
    CHK(f != NULL);
    buf_init(&o->file, BODY_MAX);
    buf_init(&o->fields, 4 * BODY_MAX);
    while (body.n > 0) {
        size_t n = step == 0 || step > body.n ? body.n : step;
        struct slice piece = fuzz_exact(slice_of(body.p, n));
        post_form_feed(f, piece.p, n);
        free((void *)(uintptr_t)piece.p);
        body = slice_skip(body, n);
    }
    o->fault = post_form_end(f);
    size_t count;
    const struct http_field *fields = post_form_fields(f, &count);
    CHK(count <= POST_FORM_FIELDS_MAX);
    for (size_t i = 0; i < count; i++) {
        CHK(fields[i].name.n > 0 && fields[i].value.p != NULL);
        buf_put_slice(&o->fields, fields[i].name);
        buf_putc(&o->fields, '=');
        buf_put_slice(&o->fields, fields[i].value);
        buf_putc(&o->fields, '\n');
    }
    CHK(o->fields.err == ERR_NONE && o->file.err == ERR_NONE);
    CHK(post_form_has_file(f) == (o->begun == 1));
    o->filename = post_form_filename(f);
    post_form_fini(&f);
}

static void
check_boundary(struct arena *a, struct slice text)
{
    bool is_form;
    struct slice boundary = post_form_boundary(a, text, &is_form);
    CHK(boundary.n <= POST_FORM_BOUNDARY_MAX && (boundary.n == 0 || is_form));
    CHK(boundary.n == 0 || memchr(boundary.p, '\r', boundary.n) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    unsigned step = fuzz_byte(&in);
    struct arena *a = fuzz_arena();
    struct outcome whole = {.stop = step == 255}, cut = {.stop = step == 255};
    if (in.n > BODY_MAX)
        in.n = BODY_MAX;
    parse(a, in, 0, &whole);
    parse(a, in, step, &cut);
    CHK(whole.fault == cut.fault && whole.begun == cut.begun);
    CHK(slice_eq(buf_slice(&whole.file), buf_slice(&cut.file)));
    CHK(slice_eq(buf_slice(&whole.fields), buf_slice(&cut.fields)));
    CHK(slice_eq(whole.filename, cut.filename));
    CHK(slice_find(buf_slice(&whole.file), DELIMITER) < 0);
    CHK(whole.file.n == 0 || slice_find(in, buf_slice(&whole.file)) >= 0);
    CHK(!whole.stop || whole.begun == 0 || whole.fault == POST_FORM_STOPPED);
    check_boundary(a, in);
    buf_fini(&whole.file);
    buf_fini(&whole.fields);
    buf_fini(&cut.file);
    buf_fini(&cut.fields);
    arena_free(&a);
    return 0;
}
