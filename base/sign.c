/*
 * The client signs with the same canonical request the server checks with (base/sigv4.h): only the
 * names of the headers are sorted here. The query is split by the server's own reader, so both
 * sides see the same parameters.
 */
#include "base/sign.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http_priv.h"
#include "base/sigv4.h"

#include <stdlib.h>

#define SIGN_MEMORY_MAX (256u << 10)

/* One signature under way. */
struct signing {
    const struct sign_request *req;
    struct arena *arena;
    struct http_field fields[SIGN_HEADERS_MAX];
    struct slice signed_headers;
    struct slice scope;
    char timestamp[CLOCK_TEXT_MAX];
    struct slice date;
    char signature[SIGV4_HEX + 1];
};

static int
name_cmp(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    return slice_cmp(*x, *y);
}

/* The fields keep their order: several of one name are joined as they are sent. */
static int
sort_headers(struct signing *s)
{
    struct slice names[SIGN_HEADERS_MAX];
    struct buf list;
    size_t n = s->req->header_count;
    for (size_t i = 0; i < n; i++) {
        names[i] = slice_str(s->req->headers[i].name);
        s->fields[i] = (struct http_field){names[i], s->req->headers[i].value};
    }
    qsort(names, n, sizeof names[0], name_cmp);
    buf_init(&list, SIGN_MEMORY_MAX);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && slice_eq(names[i], names[i - 1]))
            continue;
        if (i > 0)
            buf_putc(&list, ';');
        buf_put_slice(&list, names[i]);
    }
    s->signed_headers = arena_dup(s->arena, buf_slice(&list));
    int err = list.err;
    buf_fini(&list);
    return err == ERR_NONE && s->signed_headers.p == NULL ? ERR_NOMEM : err;
}

static int
signing_init(struct signing *s, const struct sign_request *req)
{
    *s = (struct signing){.req = req};
    if (req->header_count == 0 || req->header_count > SIGN_HEADERS_MAX)
        return ERR_INVALID;
    s->arena = arena_new(SIGN_MEMORY_MAX);
    if (s->arena == NULL)
        return ERR_NOMEM;
    clock_basic(req->now_ms, s->timestamp);
    s->date = slice_of(s->timestamp, 8);
    char *scope = arena_printf(s->arena, "%.*s/%s/%s/" SIGV4_TERMINATOR, SLICE_FMT(s->date),
                               req->region, req->service);
    s->scope = slice_str(scope);
    return scope == NULL ? ERR_NOMEM : sort_headers(s);
}

static void
signing_fini(struct signing *s)
{
    arena_free(&s->arena);
}

static void
put_uri(const struct sign_request *req, struct buf *uri)
{
    if (strcmp(req->service, "s3") != 0)
        sigv4_uri_normalized(req->raw_path, uri);
    else if (req->raw_path.n == 0)
        buf_putc(uri, '/');
    else
        buf_put_slice(uri, req->raw_path);
}

static int
compute(struct signing *s, struct slice raw_query)
{
    const struct sign_request *req = s->req;
    uint8_t key[SHA256_BYTES];
    struct http_request query = {.arena = s->arena, .raw_query = raw_query};
    struct buf uri, text, to_sign;
    buf_init(&uri, SIGV4_TEXT_MAX);
    buf_init(&text, SIGV4_TEXT_MAX);
    buf_init(&to_sign, SIGV4_TEXT_MAX);
    put_uri(req, &uri);
    int err = uri.err;
    if (err == ERR_NONE)
        err = http_parse_query(&query);
    if (err != ERR_NONE)
        goto out;
    const struct sigv4_canonical canonical = {
        .method = slice_str(req->method),
        .uri = buf_slice(&uri),
        .params = query.params,
        .param_count = query.param_count,
        .fields = s->fields,
        .field_count = req->header_count,
        .signed_headers = s->signed_headers,
        .payload_hash = slice_str(req->payload_hash),
    };
    err = sigv4_canonical_request(&canonical, &text);
    if (err != ERR_NONE)
        goto out;
    sigv4_string_to_sign(slice_str(s->timestamp), s->scope, buf_slice(&text), &to_sign);
    err = to_sign.err;
    if (err == ERR_NONE)
        err = sigv4_signing_key(req->secret_access_key, s->date, slice_str(req->region),
                                slice_str(req->service), key);
    if (err == ERR_NONE)
        sigv4_sign(key, buf_slice(&to_sign), s->signature);
out:
    buf_fini(&to_sign);
    buf_fini(&text);
    buf_fini(&uri);
    return err;
}

int
sign_v4_header(const struct sign_request *req, struct buf *authorization)
{
    struct signing s;
    int err = signing_init(&s, req);
    if (err == ERR_NONE)
        err = compute(&s, req->raw_query);
    if (err == ERR_NONE) {
        buf_printf(authorization,
                   SIGV4_ALGORITHM " Credential=%.*s/%.*s, SignedHeaders=%.*s, Signature=%s",
                   SLICE_FMT(req->access_key_id), SLICE_FMT(s.scope), SLICE_FMT(s.signed_headers),
                   s.signature);
        err = authorization->err;
    }
    signing_fini(&s);
    return err;
}

int
sign_v4_query(const struct sign_request *req, int64_t expires_seconds, struct buf *query)
{
    struct signing s;
    size_t start = query->n;
    int err = signing_init(&s, req);
    if (err != ERR_NONE)
        goto out;
    buf_put_slice(query, req->raw_query);
    if (req->raw_query.n > 0)
        buf_putc(query, '&');
    buf_puts(query, "X-Amz-Algorithm=" SIGV4_ALGORITHM "&X-Amz-Credential=");
    http_escape(query, req->access_key_id, false);
    buf_puts(query, "%2F");
    http_escape(query, s.scope, false);
    buf_printf(query, "&X-Amz-Date=%s&X-Amz-Expires=%lld&X-Amz-SignedHeaders=", s.timestamp,
               (long long)expires_seconds);
    http_escape(query, s.signed_headers, false);
    err = query->err;
    if (err == ERR_NONE)
        err = compute(&s, slice_of(query->p + start, query->n - start));
    if (err == ERR_NONE) {
        buf_puts(query, "&X-Amz-Signature=");
        buf_puts(query, s.signature);
        err = query->err;
    }
out:
    signing_fini(&s);
    return err;
}
