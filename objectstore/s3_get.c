/*
 * GET and HEAD of an object.
 *
 *   look up -> conditions (304, 412) -> range (206, 416) -> the bytes' road -> headers -> reply
 *
 * Small objects are answered out of the record itself: the reply borrows its bytes and holds the
 * reference until they are sent; no copy, no lock, no descriptor. Large ones go by sendfile when
 * every block was verified before, else through a reader that verifies as it goes; damage in the
 * first block is a 500. When the bytes were overtaken by a newer version (ERR_STALE) everything
 * starts again: each time that another version is found there, for writers may be faster than we.
 * One that is found twice and lacks its bytes both times has lost them.
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "objectstore/encoded_word.h"

#include <stdio.h>
#include <unistd.h>

#define GET_ATTEMPTS_MAX 16 /* as often overtaken: 503, the client comes again */

struct getting {
    const struct store_object *o; /* a reference */
    int64_t offset;
    int64_t bytes;
    int status;
    bool by_part; /* ?partNumber */
    struct s3_part part;
    /* How the bytes go: */
    int fd; /* -1: not by descriptor */
    int64_t fd_offset;
    struct store_reader *reader;
};

/* ---- headers that depend on the query ---- */

static const struct {
    const char *param;
    const char *header;
} overrides[] = {
    {"response-content-type", "Content-Type"},
    {"response-cache-control", "Cache-Control"},
    {"response-content-disposition", "Content-Disposition"},
    {"response-content-encoding", "Content-Encoding"},
    {"response-content-language", "Content-Language"},
    {"response-expires", "Expires"},
};

static struct slice
override_of(const struct http_request *r, struct slice header)
{
    for (size_t i = 0; r->param_count > 0 && i < ARRAY_LEN(overrides); i++) {
        if (slice_ieqs(header, overrides[i].header))
            return http_param(r, overrides[i].param);
    }
    return SLICE_NONE;
}

/* What caches may do with it; n = 0: nothing is said. A function's results change under their name,
 * unless the name is given together with a version - and until they have changed, the version in
 * the name may be newer than what is here. What was given to somebody who signed is for no cache
 * that others share (RFC 9111 section 3.5). */
static struct slice
cache_control(const struct s3_request *q, const struct store_object *o)
{
    const struct s3_hooks *hooks = &q->s->hooks;
    if (q->serve != NULL && q->serve->cache_control.n > 0)
        return q->serve->cache_control;
    struct slice text = override_of(q->r, SLICE_LIT("Cache-Control"));
    if (text.n == 0)
        text = store_meta_find(o->meta, "Cache-Control");
    if (text.n > 0 || !o->by_function)
        return text;
    if (!http_has_param(q->r, "v") || (hooks->is_fresh != NULL && !hooks->is_fresh(hooks->arg, o)))
        return SLICE_LIT("no-cache");
    return q->account == NULL ? SLICE_LIT("public, max-age=31536000, immutable")
                              : SLICE_LIT("private, max-age=31536000, immutable");
}

/* ---- what is to be sent ---- */

/* A request to S3 got these before it was looked at. */
static void
served_headers(struct s3_request *q)
{
    if (q->serve == NULL)
        return;
    if (http_field(q->r, "Origin").n > 0)
        s3_cors_headers(q);
    if (q->serve->header != NULL)
        http_header(q->r, q->serve->header, q->serve->header_value);
}

/* false: answered. */
static bool
conditions_hold(struct s3_request *q, const struct store_object *o)
{
    struct s3_conditions c;
    char date[CLOCK_TEXT_MAX];
    s3_conditions_read(q->r, false, &c);
    enum s3_verdict verdict = s3_conditions_judge(&c, o->etag, o->mtime_ms);
    if (verdict == S3_GO)
        return true;
    if (verdict == S3_FAILED) {
        s3_fail(q, S3_PRECONDITION_FAILED);
        return false;
    }
    struct slice cache = cache_control(q, o);
    clock_http(o->mtime_ms, date);
    served_headers(q);
    s3_etag_header(q, o->etag);
    s3_version_header(q, q->bucket, o);
    http_header(q->r, "Last-Modified", slice_str(date));
    if (cache.n > 0)
        http_header(q->r, "Cache-Control", cache);
    if (q->r->method != HTTP_HEAD)
        store_served(q->s->store, o->bucket_id, o->key);
    s3_reply_empty(q, 304, o->size);
    return false;
}

/* false: answered. */
static bool
part_chosen(struct s3_request *q, struct getting *g)
{
    g->by_part = true;
    if (!s3_part_chosen(q, g->o, &g->part))
        return false;
    g->offset = g->part.offset;
    g->bytes = g->part.bytes;
    g->status = g->bytes > 0 ? 206 : 200;
    return true;
}

/* false: answered. */
static bool
range_chosen(struct s3_request *q, struct getting *g)
{
    const struct store_object *o = g->o;
    struct slice range = http_field(q->r, "Range");
    g->offset = 0;
    g->bytes = o->size;
    g->status = 200;
    if (q->r->param_count > 0 && http_has_param(q->r, "partNumber"))
        return part_chosen(q, g);
    if (range.p == NULL)
        return true;
    if (!s3_if_range_holds(http_field(q->r, "If-Range"), o->etag, o->mtime_ms))
        return true;
    int err = s3_range(range, o->size, &g->offset, &g->bytes);
    if (err == ERR_NONE)
        g->status = 206;
    if (err != ERR_RANGE)
        return true;
    char size[32];
    snprintf(size, sizeof size, "%lld", (long long)o->size);
    http_headerf(q->r, "Content-Range", "bytes */%lld", (long long)o->size);
    s3_extra(q, "RangeRequested", range);
    s3_extra(q, "ActualObjectSize", slice_str(size));
    s3_fail(q, S3_INVALID_RANGE);
    return false;
}

/* ERR_STALE: the version is gone by now. */
static int
bytes_open(struct s3_request *q, struct getting *g)
{
    struct store *s = q->s->store;
    if (q->r->method == HTTP_HEAD || g->bytes == 0 || g->o->inline_bytes.p != NULL)
        return ERR_NONE;
    int err = store_verify_first(s, g->o, g->offset);
    if (err != ERR_NONE)
        return err;
    err = store_sendfile(s, g->o, g->offset, g->bytes, &g->fd, &g->fd_offset);
    if (err != ERR_UNSUPPORTED)
        return err;
    g->fd = -1;
    return store_reader_open(s, g->o, g->offset, g->bytes, &g->reader);
}

/* ---- headers ---- */

/* Only a signed request may choose headers. false: answered. */
static bool
overrides_ok(struct s3_request *q)
{
    for (size_t i = 0; q->r->param_count > 0 && i < ARRAY_LEN(overrides); i++) {
        if (q->account == NULL && http_has_param(q->r, overrides[i].param)) {
            s3_fail_why(q, S3_INVALID_REQUEST,
                        "Request specific response headers cannot be used "
                        "for anonymous GET requests.");
            return false;
        }
    }
    return true;
}

/* User metadata is UTF-8 text; in a header it is ASCII. */
static void
kept_header(struct http_request *r, const char *name, struct slice value)
{
    struct buf word;
    if (!encoded_word_needed(value) || strncmp(name, "x-amz-meta-", 11) != 0) {
        http_header(r, name, value);
        return;
    }
    buf_init(&word, 4 * STORE_USER_META_MAX);
    encoded_word_encode(value, &word);
    if (word.err == ERR_NONE)
        http_header(r, name, buf_slice(&word));
    buf_fini(&word);
}

/* Headers kept with the object, those of the query instead where given. */
static void
described(struct s3_request *q, const struct store_object *o)
{
    struct http_request *r = q->r;
    struct slice name, value, type = SLICE_NONE;
    char text[64];
    size_t at = 0;
    while (store_meta_next(o->meta, &at, &name, &value)) {
        if (override_of(r, name).n > 0 || slice_ieqs(name, "Cache-Control"))
            continue;
        char *z = name.n < sizeof text ? text : arena_alloc(r->arena, name.n + 1);
        if (z == NULL)
            continue;
        memcpy(z, name.p, name.n);
        z[name.n] = '\0';
        kept_header(r, z, value);
    }
    for (size_t i = 0; r->param_count > 0 && i < ARRAY_LEN(overrides); i++) {
        struct slice chosen = http_param(r, overrides[i].param);
        if (strcmp(overrides[i].header, "Content-Type") == 0)
            type = chosen;
        else if (chosen.n > 0 && strcmp(overrides[i].header, "Cache-Control") != 0)
            http_header(r, overrides[i].header, chosen);
    }
    if (type.n == 0)
        type = o->content_type.n > 0 ? o->content_type : SLICE_LIT("binary/octet-stream");
    http_header(r, "Content-Type", type);
    struct slice cache = cache_control(q, o);
    if (cache.n > 0)
        http_header(r, "Cache-Control", cache);
}

/* Of what is sent, if that is known: all of the object, or one part. */
static void
checksum_headers(struct s3_request *q, const struct getting *g)
{
    const struct store_object *o = g->o;
    if (g->by_part)
        s3_checksum_headers(q, g->part.checksum, g->part.checksum_base64, o->checksum_composite);
    else if (g->bytes == o->size)
        s3_checksum_headers(q, o->checksum, o->checksum_base64, o->checksum_composite);
}

static void
told_by_hook(struct s3_request *q, const struct store_object *o)
{
    const struct s3_hooks *hooks = &q->s->hooks;
    if (hooks->describe != NULL && q->r->method == HTTP_HEAD && q->serve == NULL && o->is_latest)
        hooks->describe(hooks->arg, q->r, q->bucket, o);
}

/* Objects of an archive class are answered like all others, where S3 wants them restored first
 * (InvalidObjectState): there is no archive here that their bytes would have to come from, and a
 * client that waits for a restore to end would wait for ever. */
static void
headers(struct s3_request *q, const struct getting *g)
{
    const struct store_object *o = g->o;
    char date[CLOCK_TEXT_MAX];
    clock_http(o->mtime_ms, date);
    served_headers(q);
    s3_etag_header(q, o->etag);
    http_header(q->r, "Last-Modified", slice_str(date));
    s3_version_header(q, q->bucket, o);
    if (o->storage_class != STORE_CLASS_STANDARD)
        http_header(q->r, "x-amz-storage-class", slice_str(store_class_name(o->storage_class)));
    http_header(q->r, "Accept-Ranges", SLICE_LIT("bytes"));
    http_header(q->r, "X-Content-Type-Options", SLICE_LIT("nosniff"));
    described(q, o);
    told_by_hook(q, o);
    s3_tags_count_header(q, o);
    s3_lock_headers(q, o);
    if (o->is_latest)
        s3_expiration_header(q, o->size, o->tags, o->mtime_ms);
    if (g->status == 206)
        http_headerf(q->r, "Content-Range", "bytes %lld-%lld/%lld", (long long)g->offset,
                     (long long)(g->offset + g->bytes - 1), (long long)o->size);
    if (g->by_part && o->part_count > 0)
        http_headerf(q->r, "x-amz-mp-parts-count", "%d", o->part_count);
    if (slice_ieqs(http_field(q->r, "x-amz-checksum-mode"), "ENABLED"))
        checksum_headers(q, g);
}

/* ---- the reply ---- */

static void
release_object(void *arg)
{
    const struct store_object *o = arg;
    store_object_unref(&o);
}

static void
release_reader(void *arg)
{
    struct store_reader *reader = arg;
    store_reader_close(&reader);
}

static ptrdiff_t
pull(void *arg, int64_t offset, char *p, size_t n)
{
    (void)offset; /* asked for in order */
    ptrdiff_t got = store_reader_read(arg, p, n);
    return got == 0 ? ERR_SHORT : got;
}

static void
reply(struct s3_request *q, struct getting *g)
{
    struct http_request *r = q->r;
    q->status = g->status;
    if (r->method == HTTP_HEAD) {
        http_reply_empty(r, g->status, g->bytes);
        return;
    }
    STAT_ADD(object_bytes_out_total, g->bytes);
    store_served(q->s->store, g->o->bucket_id, g->o->key);
    if (g->bytes == 0) {
        http_reply(r, g->status, SLICE_NONE);
    } else if (g->reader != NULL) {
        http_reply_stream(r, g->status, g->bytes, pull, release_reader, g->reader);
    } else if (g->fd >= 0) {
        http_reply_fd(r, g->status, g->fd, g->fd_offset, g->bytes);
    } else {
        struct slice bytes = slice_of(g->o->inline_bytes.p + g->offset, (size_t)g->bytes);
        http_reply_borrowed(r, g->status, bytes, release_object, (void *)(uintptr_t)g->o);
        g->o = NULL; /* the reply's now */
    }
}

/* NULL: answered, unless *err says why not. */
static const struct store_object *
found(struct s3_request *q, int *err)
{
    const struct store_object *o = NULL;
    *err = ERR_NONE;
    if (q->serve == NULL)
        return s3_version_find(q);
    *err = store_get(q->s->store, q->bucket_name, q->key, &o);
    if (*err == ERR_NONE && q->serve->generation != 0 && o->generation != q->serve->generation) {
        store_object_unref(&o);
        *err = ERR_STALE;
    }
    return o;
}

/* ERR_NONE: answered. *seq: the version that was found. */
static int
get_once(struct s3_request *q, int64_t *seq)
{
    int err;
    struct getting g = {.fd = -1, .o = found(q, &err)};
    if (g.o != NULL)
        *seq = g.o->seq;
    if (g.o == NULL || !conditions_hold(q, g.o) || !range_chosen(q, &g))
        goto out;
    err = bytes_open(q, &g);
    if (err != ERR_NONE)
        goto out;
    headers(q, &g);
    reply(q, &g);
out:
    store_object_unref(&g.o);
    return err;
}

/* ERR_NONE: answered. ERR_STALE: the bytes are missing, or not of the generation that was asked. */
static int
get(struct s3_request *q)
{
    int64_t seq = 0;
    for (int i = 0; i < GET_ATTEMPTS_MAX; i++) {
        int64_t before = seq;
        int err = get_once(q, &seq);
        if (err != ERR_STALE || seq == before)
            return err;
    }
    return ERR_BUSY;
}

/* false: answered. */
static bool
checksum_mode_ok(struct s3_request *q)
{
    struct slice mode = http_field(q->r, "x-amz-checksum-mode");
    if (mode.n == 0 || slice_ieqs(mode, "ENABLED") || slice_ieqs(mode, "DISABLED"))
        return true;
    s3_fail_why(q, S3_INVALID_REQUEST, "Value for x-amz-checksum-mode header is invalid.");
    return false;
}

static void
fail_missing(struct s3_request *q)
{
    char key[LOG_QUOTE_MAX];
    log_line(LOG_ERROR, "bytes_missing", "request_id=%s bucket=%.*s key=%s", q->r->id,
             SLICE_FMT(q->bucket_name), log_quote(q->key, key));
    STAT_INC(blocks_corrupt_total);
    s3_fail_err(q, ERR_CORRUPT);
}

void
s3_run_get_object(struct s3_request *q)
{
    if (!checksum_mode_ok(q))
        return;
    if (q->r->param_count > 0 && !overrides_ok(q))
        return;
    int err = get(q);
    if (err == ERR_STALE)
        fail_missing(q);
    else if (err != ERR_NONE)
        s3_fail_err(q, err);
}

/* ---- for other services ---- */

const struct s3_op s3_op_serve = {.name = "Serve",
                                  .method = HTTP_GET,
                                  .level = S3_OBJECT,
                                  .action = "s3:GetObject",
                                  .flags = S3_OF_OBJECT};

int
s3_serve_object(struct s3_service *s, struct http_request *r, const struct s3_serve *what)
{
    bool known = r->auth != NULL && r->auth->result == AUTH_OK;
    struct s3_request q = {.r = r,
                           .s = s,
                           .op = &s3_op_serve,
                           .bucket_name = what->bucket,
                           .key = what->key,
                           .account = known ? r->auth->account : NULL,
                           .serve = what};
    int err = store_bucket_get(s->store, what->bucket, &q.bucket);
    if (err == ERR_NONE)
        err = get(&q);
    store_bucket_unref(&q.bucket);
    if (err == ERR_NONE || err == ERR_STALE || err == ERR_NOTFOUND || err == ERR_NOPARENT)
        return err == ERR_NOPARENT ? ERR_NOTFOUND : err;
    s3_fail_err(&q, err);
    return ERR_NONE;
}
