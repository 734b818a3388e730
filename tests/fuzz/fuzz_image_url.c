/* The query of /_/img: what is accepted is in bounds, and signed as it is understood: the same
 * request in another spelling gives the same text and the same picture. */
#include "base/http_priv.h"
#include "pipeline/image_url.h"
#include "tests/fuzz/fuzz.h"

static void
check_bounds(const struct image_query *q)
{
    const struct preset *p = &q->free;
    CHK(q->bucket.n > 0 && q->key.n > 0);
    CHK(q->wait_ms >= 0 && q->wait_ms <= IMAGE_URL_WAIT_MS_MAX);
    CHK(q->expires_s >= 0 && q->expires_s <= IMAGE_URL_EXPIRES_S_MAX);
    CHK(!(q->any_format && q->has_format));
    if (q->preset.n > 0)
        return;
    CHK(p->width >= 1 && p->width <= IMAGE_URL_SIDE_MAX);
    CHK(p->height >= 1 && p->height <= IMAGE_URL_SIDE_MAX);
    CHK(p->quality >= 1 && p->quality <= 100 && p->format != PRESET_AVIF);
    CHK((p->name[0] == '_') == !q->any_format);
}

/* What is signed, read again as a request. */
static void
check_again(struct arena *a, const struct http_request *r, const struct image_query *q)
{
    struct buf text, again, why;
    struct slice raw_query;
    struct image_query other;
    buf_init(&text, 1u << 20);
    buf_init(&again, 1u << 20);
    buf_init(&why, 1024);
    image_url_canonical(r->path, r->params, r->param_count, &text);
    CHK(text.err == 0);
    struct slice raw_path = slice_cut(buf_slice(&text), '?', &raw_query);
    struct http_request s = {.arena = a, .raw_query = raw_query};
    s.path = http_unescape(a, raw_path, false);
    CHK(slice_eq(s.path, r->path) && http_parse_query(&s) == ERR_NONE);
    CHK(image_query_parse(&s, &other, &why) == ERR_NONE);
    CHK(slice_eq(other.key, q->key) && slice_eq(other.preset, q->preset));
    CHK(memcmp(other.free.name, q->free.name, sizeof q->free.name) == 0);
    image_url_canonical(s.path, s.params, s.param_count, &again);
    CHK(slice_eq(buf_slice(&again), buf_slice(&text)));
    buf_fini(&text);
    buf_fini(&again);
    buf_fini(&why);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = fuzz_exact(slice_of(data, size)), raw_query;
    struct arena *a = fuzz_arena();
    struct image_query q;
    struct buf why;
    buf_init(&why, 1024);
    struct slice raw_path = slice_cut(text, '?', &raw_query);
    struct http_request r = {.arena = a, .raw_query = raw_query};
    r.path = http_unescape(a, raw_path, false);
    if (r.path.p != NULL && http_parse_query(&r) == ERR_NONE) {
        int err = image_query_parse(&r, &q, &why);
        CHK(why.err == 0 && (err == ERR_NONE) == (why.n == 0));
        if (err == ERR_NONE) {
            check_bounds(&q);
            check_again(a, &r, &q);
        }
    }
    buf_fini(&why);
    arena_free(&a);
    free((void *)(uintptr_t)text.p);
    return 0;
}
