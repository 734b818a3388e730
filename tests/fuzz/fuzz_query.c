/* Percent decoding and the query: against a second decoder, and there and back again. */
#include "base/http_priv.h"
#include "tests/fuzz/fuzz.h"

static void
check_unescape(struct arena *a, struct slice text, bool plus)
{
    struct buf expected, escaped;
    buf_init(&expected, 1u << 20);
    buf_init(&escaped, 4u << 20);
    bool good = fuzz_decode(text, plus, &expected);
    struct slice got = http_unescape(a, text, plus);
    CHK(good == (got.p != NULL));
    if (good) {
        CHK(slice_eq(got, buf_slice(&expected)));
        http_escape(&escaped, got, plus);
        struct slice again = http_unescape(a, buf_slice(&escaped), !plus);
        CHK(again.p != NULL && slice_eq(again, got));
    }
    buf_fini(&escaped);
    buf_fini(&expected);
}

static void
put_params(const struct http_request *r, struct buf *out)
{
    for (size_t i = 0; i < r->param_count; i++) {
        buf_putc(out, '&');
        http_escape(out, r->params[i].name, false);
        buf_putc(out, '=');
        http_escape(out, r->params[i].value, true);
    }
}

static void
check_query(struct arena *a, struct slice text)
{
    struct buf written;
    buf_init(&written, 4u << 20);
    struct http_request r = {.arena = a, .raw_query = text}, again = {.arena = a};
    if (http_parse_query(&r) == ERR_NONE) {
        CHK(r.param_count <= HTTP_QUERY_MAX);
        put_params(&r, &written);
        again.raw_query = slice_skip(buf_slice(&written), 1);
        CHK(http_parse_query(&again) == ERR_NONE);
        CHK(again.param_count == r.param_count);
        for (size_t i = 0; i < r.param_count; i++) {
            CHK(slice_eq(again.params[i].name, r.params[i].name));
            CHK(slice_eq(again.params[i].value, r.params[i].value));
        }
    }
    buf_fini(&written);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = fuzz_exact(slice_of(data, size));
    struct arena *a = fuzz_arena();
    check_unescape(a, text, false);
    check_unescape(a, text, true);
    check_query(a, text);
    arena_free(&a);
    free((void *)(uintptr_t)text.p);
    return 0;
}
