/*
 * POST /_/sign-url: the URL of a picture, signed, for who cannot or need not sign by himself. What
 * it signs is parsed first as the request it will be, so it gives no URL that would be refused.
 */
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/admin_priv.h"
#include "pipeline/image_url.h"

#include <inttypes.h>

#define EXPIRES_S_DEFAULT 3600
#define EXPIRES_S_MAX ((int64_t)10 * 366 * 24 * 3600)

struct signing {
    struct http_request url; /* what the URL says; in the arena of the request that asks for it */
    struct buf *why;
};

/* A string, or a number as it is written. p = NULL: neither. */
static struct slice
value_text(struct arena *a, const json_t *v)
{
    if (json_is_string(v))
        return slice_of(json_string_value(v), json_string_length(v));
    if (json_is_integer(v))
        return slice_str(arena_printf(a, "%lld", (long long)json_integer_value(v)));
    if (json_is_real(v))
        return slice_str(arena_printf(a, "%.15g", json_real_value(v)));
    return SLICE_NONE;
}

static int
add_param(struct signing *s, struct slice name, struct slice value)
{
    struct http_request *u = &s->url;
    if (value.p == NULL || u->param_count == HTTP_QUERY_MAX) {
        buf_puts(s->why, "params must be a few strings and numbers");
        return ERR_INVALID;
    }
    u->params[u->param_count++] = (struct http_param){name, value};
    return ERR_NONE;
}

static int
add_expiry(struct signing *s, const json_t *body)
{
    int64_t seconds = json_get_int(body, "expires_s", EXPIRES_S_DEFAULT);
    if (seconds < 1 || seconds > EXPIRES_S_MAX) {
        buf_printf(s->why, "expires_s must be 1 to %lld", (long long)EXPIRES_S_MAX);
        return ERR_INVALID;
    }
    const char *text = arena_printf(s->url.arena, "%" PRId64, clock_wall_ms() / 1000 + seconds);
    return add_param(s, SLICE_LIT("exp"), slice_str(text));
}

/* The request that `body` describes. */
static int
describe(struct signing *s, const json_t *body)
{
    struct slice bucket = json_get_str(body, "bucket"), key = json_get_str(body, "key");
    json_t *params = json_object_get(body, "params");
    const char *name;
    json_t *value;
    struct buf path;
    buf_init(&path, HTTP_HEADER_BYTES_MAX);
    buf_puts(&path, IMAGE_URL_PATH);
    buf_put_slice(&path, bucket);
    buf_putc(&path, '/');
    buf_put_slice(&path, key);
    s->url.path = path.err == ERR_NONE ? arena_dup(s->url.arena, buf_slice(&path)) : SLICE_NONE;
    s->url.params = arena_alloc(s->url.arena, HTTP_QUERY_MAX * sizeof *s->url.params);
    buf_fini(&path);
    if (s->url.path.p == NULL || s->url.params == NULL)
        return ERR_NOMEM;
    int err = add_expiry(s, body);
    json_object_foreach(params, name, value)
    {
        if (err == ERR_NONE)
            err = add_param(s, slice_str(name), value_text(s->url.arena, value));
    }
    return err;
}

static int
check_bucket(const struct admin_service *service, struct slice name, struct buf *why)
{
    const struct store_bucket *b = NULL;
    struct store *store = registry_store(pipeline_registry(service->options.pipeline));
    int err = store_bucket_get(store, name, &b);
    if (err == ERR_NOTFOUND)
        buf_printf(why, "no such bucket: %.*s", SLICE_FMT(name));
    store_bucket_unref(&b);
    return err;
}

static bool
is_named(const struct image_query *q, const struct preset *p)
{
    if (slice_eqs(q->preset, p->name) && !q->has_format)
        return true;
    return slice_eq(q->preset, preset_base_name(p)) &&
           (q->any_format || (q->has_format && q->format == p->format));
}

/* A preset that nobody has made would be signed for nothing: ERR_NOTFOUND and what there is. */
static int
check_preset(const struct admin_service *service, const struct image_query *q, struct buf *why)
{
    struct function_set *set = NULL;
    struct db_conn *conn = NULL;
    bool found = q->preset.n == 0;
    int err = db_read_begin(service->options.db, &conn);
    if (err != ERR_NONE)
        return err;
    err = registry_get(pipeline_registry(service->options.pipeline), conn, &set);
    db_read_end(service->options.db, &conn);
    if (err != ERR_NONE)
        return err;
    const struct function *f = registry_find(set, NATIVE_THUMBNAIL_NAME);
    for (size_t i = 0; f != NULL && !found && i < f->native.presets.count; i++)
        found = is_named(q, &f->native.presets.presets[i]);
    if (!found) {
        buf_printf(why, "no preset \"%.*s\"%s; there are:", SLICE_FMT(q->preset),
                   q->has_format ? " of this format" : "");
        for (size_t i = 0; f != NULL && i < f->native.presets.count; i++)
            buf_printf(why, "%s %s", i == 0 ? "" : ",", f->native.presets.presets[i].name);
    }
    registry_unref(&set);
    return found ? ERR_NONE : ERR_NOTFOUND;
}

static int
sign(const struct admin_service *service, struct signing *s, struct buf *out)
{
    struct image_query q;
    char sig[IMAGE_URL_SIG_TEXT];
    int err = image_query_parse(&s->url, &q, s->why);
    if (err == ERR_NONE && q.sig.p != NULL) {
        buf_puts(s->why, "sig is what is to be made");
        err = ERR_INVALID;
    }
    if (err == ERR_NONE)
        err = check_bucket(service, q.bucket, s->why);
    if (err == ERR_NONE)
        err = check_preset(service, &q, s->why);
    if (err != ERR_NONE)
        return err;
    image_url_canonical(s->url.path, s->url.params, s->url.param_count, out);
    image_url_sign(service->options.url_keys, buf_slice(out), sig);
    buf_printf(out, "&sig=%s", sig);
    return out->err;
}

void
admin_sign_url(struct admin_service *service, struct http_request *r)
{
    struct buf why, url;
    json_t *body = admin_body(r);
    if (body == NULL)
        return;
    buf_init(&why, ADMIN_WHY_MAX);
    buf_init(&url, IMAGE_URL_TEXT_MAX);
    struct signing s = {.url = {.arena = r->arena}, .why = &why};
    int err = describe(&s, body);
    if (err == ERR_NONE)
        err = sign(service, &s, &url);
    if (err == ERR_NONE)
        admin_reply_json(r, 200, json_pack("{so}", "url", admin_text(buf_slice(&url))));
    else
        admin_reply_error(r, err, buf_slice(&why));
    buf_fini(&url);
    buf_fini(&why);
    json_decref(body);
}
