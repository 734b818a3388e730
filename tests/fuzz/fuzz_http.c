/* Request heads: what http_strict() lets pass has one reading, and it is the one that was sent. */
#include "tests/fuzz/head.h"

/* The head written anew from what was read must be the bytes that came. */
static void
check_reading(const struct http_request *r, const struct fuzz_head *h, struct slice sent)
{
    struct buf again;
    buf_init(&again, 1u << 20);
    buf_printf(&again, "%s %.*s %s\r\n", h->head.method, SLICE_FMT(r->raw_target), h->head.version);
    for (size_t i = 0; i < r->field_count; i++) {
        buf_put_slice(&again, r->fields[i].name);
        /* Blanks around a value do not belong to it. */
        const char *colon = r->fields[i].name.p + r->fields[i].name.n;
        const char *end =
            i + 1 < r->field_count ? r->fields[i + 1].name.p - 2 : h->bytes + h->head.bytes - 4;
        buf_putc(&again, ':');
        buf_put(&again, colon + 1, (size_t)(end - colon - 1));
        buf_puts(&again, "\r\n");
        CHK(slice_eq(slice_trim(slice_of(colon + 1, (size_t)(end - colon - 1))),
                     r->fields[i].value));
    }
    buf_puts(&again, "\r\n");
    CHK(again.err == ERR_NONE && again.n == h->head.bytes);
    /* What cannot be told apart, as base/http_strict.c says. */
    const char *end = sent.p + again.n - 4;
    if (end[0] == '\0' && (end[1] == '\0' || end[1] == '\r') && end[2] == '\n' && end[3] == '\n')
        again.n -= 4;
    for (size_t i = 0; i < again.n; i++) {
        bool line_end = again.p[i] == '\r' && sent.p[i] == '\0' && sent.p[i + 1] == '\n';
        CHK(again.p[i] == sent.p[i] || line_end);
    }
    buf_fini(&again);
}

static void
check_request(const struct http_request *r)
{
    CHK(r->method_name.n > 0 && r->raw_target.n > 0);
    CHK(r->field_count <= HTTP_HEADERS_MAX && r->param_count <= HTTP_QUERY_MAX);
    CHK(r->has_body == (r->chunked || r->content_length > 0));
    CHK(!(r->chunked && r->content_length >= 0));
    CHK(r->path.p != NULL && r->path.n <= r->raw_path.n);
    for (size_t i = 0; i < r->field_count; i++) {
        CHK(memchr(r->fields[i].value.p, '\0', r->fields[i].value.n) == NULL);
        CHK(memchr(r->fields[i].value.p, '\n', r->fields[i].value.n) == NULL);
        CHK(memchr(r->fields[i].value.p, '\r', r->fields[i].value.n) == NULL);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice sent = slice_of(data, size);
    struct fuzz_head h;
    struct http_request r = {.arena = fuzz_arena()};
    bool expects = false;
    if (fuzz_head_cut(&h, sent)) {
        struct http_verdict v = http_strict(&h.head, &r, &expects);
        CHK((v.status == 0) == (v.reason == NULL));
        if (v.status == 0) {
            check_request(&r);
            check_reading(&r, &h, sent);
        }
    }
    fuzz_head_release(&h);
    arena_free(&r.arena);
    return 0;
}
