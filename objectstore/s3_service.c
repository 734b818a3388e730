/*
 * The life of one S3 request.
 *
 *   begin()  address -> cross-origin headers (OPTIONS ends here) -> signature -> operation ->
 *              bucket -> permission -> admission -> prepare()
 *              each step answers by itself when it says no; nothing was read from the body yet, so
 *              a client that waits for 100 Continue sends none of it
 *   body()   payload (base/payload.h) takes the wire's form off; plain bytes go to the put or to
 *              the document; the first fault is answered, the adapter drops what still comes.
 *              A browser's form goes to s3_post.c first: it names its signer in the body
 *   end()    the payload's last checks, then run(): reads answer, writes go on:
 *
 *            HTTP thread        pool thread          writer thread       syncer thread
 *            suspend, seal ---> sealed(): submit --> apply(), COMMIT --> done(): answer, resume
 *   gone()   on the HTTP thread again: log line, then everything is given back. A put that no
 *            committed row refers to loses its bytes here, whatever road led to it.
 *
 * Invariants: after s3_commit() and s3_seal_and_commit() the request belongs to other threads until
 * http_resume(), so handlers return at once. answer() runs exactly once. q->w->put is touched
 * by one thread at a time. Nobody waits.
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "objectstore/lifecycle.h"
#include "objectstore/post_form.h"

#include <stdlib.h>
#include <strings.h>

#define SERVICE_MAGIC 0x53335e41u
#define REQUEST_MAGIC 0x53335e42u
#define HOST_ID_BYTES 24

struct s3_service *
s3_service_new(const struct s3_options *o)
{
    struct s3_service *s = chk_calloc(1, sizeof *s);
    uint8_t id[HOST_ID_BYTES];
    struct buf text;
    *s = (struct s3_service){.magic = SERVICE_MAGIC,
                             .store = o->store,
                             .db = o->db,
                             .accounts = o->accounts,
                             .domain = strdup(o->domain),
                             .region = strdup(o->region),
                             .day_ms = o->day_ms > 0 ? o->day_ms : LIFECYCLE_DAY_MS,
                             .hooks = o->hooks};
    CHK(s->domain != NULL && s->region != NULL);
    random_bytes(id, sizeof id);
    buf_init(&text, sizeof s->host_id - 1);
    base64_encode(&text, id, sizeof id);
    CHK(text.err == ERR_NONE);
    memcpy(s->host_id, text.p, text.n);
    buf_fini(&text);
    return s;
}

void
s3_service_free(struct s3_service **sp)
{
    struct s3_service *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, SERVICE_MAGIC);
    free(s->domain);
    free(s->region);
    s->magic = 0;
    free(s);
}

/* ---- address ---- */

/* "photos.localhost" with the domain "localhost" gives "photos"; else n = 0. */
static struct slice
host_bucket(const struct s3_service *s, struct slice host)
{
    size_t n = strlen(s->domain);
    if (n == 0 || host.n < n + 2 || host.p[host.n - n - 1] != '.' ||
        strncasecmp(host.p + host.n - n, s->domain, n) != 0)
        return SLICE_NONE;
    struct slice bucket = slice_of(host.p, host.n - n - 1);
    return store_bucket_name_ok(bucket) ? bucket : SLICE_NONE;
}

bool
s3_host_is_bucket(const struct s3_service *s, struct slice host)
{
    CHK_MAGIC(s, SERVICE_MAGIC);
    return host_bucket(s, host).n > 0;
}

/* Splits host and path into bucket and key; false: answered. */
static bool
address(struct s3_request *q)
{
    struct slice path = q->r->path;
    if (path.n == 0 || path.p[0] != '/') {
        s3_fail(q, S3_INVALID_URI);
        return false;
    }
    struct slice rest = slice_skip(path, 1);
    struct slice bucket = host_bucket(q->s, q->r->host);
    if (bucket.n == 0 && rest.n > 0)
        bucket = slice_cut(rest, '/', &rest);
    if (bucket.p == NULL)
        return true;
    q->bucket_name = bucket;
    if (!store_bucket_name_ok(bucket)) {
        s3_fail(q, S3_INVALID_BUCKET_NAME);
        return false;
    }
    if (rest.n == 0)
        return true;
    q->key = rest;
    if (rest.n > STORE_KEY_MAX) {
        s3_fail(q, S3_KEY_TOO_LONG);
        return false;
    }
    if (!slice_is_utf8(rest)) {
        s3_fail(q, S3_INVALID_URI);
        return false;
    }
    return true;
}

/* ---- who ---- */

/* Signed for another service, well or badly: the scope is judged before the signature. */
static bool
is_foreign(const struct auth *a)
{
    return a->service.n > 0 && !slice_eqs(a->service, "s3");
}

void
s3_fail_auth(struct s3_request *q)
{
    const struct auth *a = q->r->auth;
    if (is_foreign(a)) {
        auth_count_refusal(a);
        struct refusal as = *auth_refusal(a->presigned ? AUTH_QUERY_MALFORMED : AUTH_MALFORMED);
        as.message = "The credential is scoped to another service; this endpoint belongs to s3.";
        s3_refuse(q, &as);
        return;
    }
    if (a->result == AUTH_MISMATCH) {
        s3_extra(q, "AWSAccessKeyId", a->access_key_id);
        s3_extra(q, "StringToSign", a->string_to_sign);
        s3_extra(q, "SignatureProvided", a->signature);
        if (a->canonical_request.n > 0)
            s3_extra(q, "CanonicalRequest", a->canonical_request);
    } else if (a->result == AUTH_UNKNOWN_KEY) {
        s3_extra(q, "AWSAccessKeyId", a->access_key_id);
    }
    s3_refuse(q, auth_refusal(a->result));
}

/* Sets q->account; false: answered. */
static bool
authentic(struct s3_request *q)
{
    const struct auth *a = q->r->auth;
    CHK(a != NULL);
    if ((a->result == AUTH_OK || a->result == AUTH_ANONYMOUS) && !is_foreign(a)) {
        q->account = a->account;
        return true;
    }
    s3_fail_auth(q);
    return false;
}

/* Is there room for the events this will cause? */
static bool
admitted(struct s3_request *q)
{
    const struct s3_hooks *hooks = &q->s->hooks;
    if (!(q->op->flags & S3_ADMITTED) || hooks->accepting == NULL || hooks->accepting(hooks->arg))
        return true;
    s3_fail(q, S3_SLOW_DOWN);
    return false;
}

/* ---- the body ---- */

int
s3_put_begin(struct s3_request *q, int64_t bytes_expected)
{
    size_t kept = STORE_INLINE_MAX;
    if (bytes_expected >= 0 && bytes_expected < STORE_INLINE_MAX)
        kept = (size_t)bytes_expected;
    if (!http_body_room(q->r, kept))
        return ERR_BUSY;
    return store_put_begin(q->s->store, &q->w->put, bytes_expected);
}

/* What comes slowly is counted slowly: an announcement alone takes no memory from others. */
int
s3_put_sink(void *arg, const void *p, size_t n)
{
    struct s3_request *q = arg;
    int64_t room = STORE_INLINE_MAX - store_put_bytes(q->w->put);
    size_t kept = room <= 0 ? 0 : n < (size_t)room ? n : (size_t)room;
    int err = kept > 0 ? http_body_reserve(q->r, kept) : ERR_NONE;
    return err == ERR_NONE ? store_put_write(q->w->put, p, n) : err;
}

static int
doc_sink(void *arg, const void *p, size_t n)
{
    struct s3_request *q = arg;
    int err = http_body_reserve(q->r, n);
    if (err != ERR_NONE)
        return err;
    buf_put(&q->doc, p, n);
    return q->doc.err;
}

void
s3_fail_payload(struct s3_request *q)
{
    if (q->fault == PAYLOAD_SINK && q->payload != NULL) {
        s3_fail_err(q, payload_sink_error(q->payload));
        return;
    }
    if (q->fault == PAYLOAD_CHUNK_SIGNATURE)
        STAT_INC(auth_failures_total);
    s3_refuse(q, payload_refusal(q->fault));
}

/* A form begins its put when the file begins; a length that no form can have is refused now. False:
 * answered. */
static bool
form_length_ok(struct s3_request *q)
{
    const struct http_request *r = q->r;
    bool too_large = r->content_length > STORE_PUT_BYTES_MAX + (int64_t)POST_FORM_BYTES_MAX;
    if (too_large || (r->content_length < 0 && !r->chunked))
        s3_fail(q, too_large ? S3_ENTITY_TOO_LARGE : S3_MISSING_LENGTH);
    return !http_replied(r);
}

static enum payload_fault
payload_of(struct s3_request *q)
{
    bool object = q->op->body == S3_BODY_OBJECT;
    int64_t max = object ? STORE_PUT_BYTES_MAX : (int64_t)q->op->doc_max;
    payload_sink_fn sink = object ? s3_put_sink : doc_sink;
    if (q->op->flags & S3_SUMS_OTHER)
        return payload_begin_unsummed(&q->payload, q->r, max, sink, q);
    return payload_begin(&q->payload, q->r, max, sink, q);
}

/* The checksum the operation wants of the object's bytes; false: answered. */
static bool
sum_begin(struct s3_request *q)
{
    enum checksum stated = payload_stated(q->payload);
    if (q->w->sum == CHECKSUM_NONE)
        return true;
    if (stated != q->w->sum && (stated != CHECKSUM_NONE || q->w->sum_must_be_stated)) {
        s3_fail_sum_type(q, q->w->sum, stated);
        return false;
    }
    int err = payload_want(q->payload, q->w->sum);
    if (err != ERR_NONE)
        s3_fail_err(q, err);
    return err == ERR_NONE;
}

/* Gets ready for the body the operation wants; false: answered. */
static bool
body_begin(struct s3_request *q)
{
    struct http_request *r = q->r;
    if (q->op->body == S3_BODY_NONE) {
        if (r->content_length <= (int64_t)HTTP_DRAIN_MAX)
            return true;
        s3_fail(q, S3_ENTITY_TOO_LARGE);
        return false;
    }
    if (q->op->body == S3_BODY_FORM)
        return form_length_ok(q);
    bool object = q->op->body == S3_BODY_OBJECT;
    if (r->content_length < 0 && !r->chunked) {
        if (!object)
            return true; /* no document at all; run() says whether that will do */
        s3_fail(q, S3_MISSING_LENGTH);
        return false;
    }
    if (!object)
        buf_init(&q->doc, q->op->doc_max);
    q->fault = payload_of(q);
    if (q->fault != PAYLOAD_NONE) {
        s3_fail_payload(q);
        return false;
    }
    if (object && !sum_begin(q))
        return false;
    int err = object ? s3_put_begin(q, payload_length(q->payload)) : ERR_NONE;
    if (err != ERR_NONE)
        s3_fail_err(q, err);
    return err == ERR_NONE;
}

const struct xml_node *
s3_doc_parse_as(struct s3_request *q, const char *root, enum s3_fault malformed)
{
    const struct xml_node *node = NULL;
    if (q->doc.n == 0) {
        s3_fail(q, S3_MISSING_BODY);
        return NULL;
    }
    q->tree = arena_new(S3_PARSE_MEMORY_MAX);
    int err = q->tree == NULL ? ERR_NOMEM : xml_parse(q->tree, buf_slice(&q->doc), &node);
    if (err == ERR_NOMEM && arena_used(q->tree) == 0)
        s3_fail_err(q, err);
    else if (err != ERR_NONE || !slice_eqs(node->name, root))
        s3_fail(q, malformed);
    else
        return node;
    return NULL;
}

const struct xml_node *
s3_doc_parse(struct s3_request *q, const char *root)
{
    return s3_doc_parse_as(q, root, S3_MALFORMED_XML);
}

/* ---- writing ---- */

bool
s3_write_begin(struct s3_request *q)
{
    q->w = arena_alloc(q->r->arena, sizeof *q->w);
    if (q->w == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return false;
    }
    q->w->q = q;
    buf_init(&q->w->meta, STORE_META_BYTES_MAX);
    return true;
}

static int
op_apply(struct db_op *op, struct db_conn *conn)
{
    struct s3_write *w = CONTAINER_OF(op, struct s3_write, op);
    return w->apply(w->q, conn);
}

/* The one place where a write ends; afterwards the request is the HTTP thread's. */
static void
finish(struct s3_write *w, int err)
{
    struct http_request *r = w->q->r;
    w->answer(w->q, err);
    CHK(http_replied(r));
    http_resume(r);
}

static void
op_done(struct db_op *op, int err)
{
    finish(CONTAINER_OF(op, struct s3_write, op), err);
}

static void
submit(struct s3_write *w)
{
    const struct s3_request *q = w->q;
    w->op = (struct db_op){.apply = op_apply,
                           .done = op_done,
                           .bytes = sizeof *w + w->spec.meta.n + q->key.n +
                                    (w->bytes > STORE_INLINE_MAX ? 0 : (size_t)w->bytes),
                           .urgent = (q->op->flags & S3_FREES) != 0};
    int err = db_submit(q->s->db, &w->op);
    if (err != ERR_NONE)
        finish(w, err);
}

static void
sealed(void *arg, int err)
{
    struct s3_write *w = arg;
    if (err != ERR_NONE)
        finish(w, err);
    else
        submit(w);
}

static void
write_goes(struct s3_request *q, s3_apply_fn apply, s3_answer_fn answer)
{
    q->w->apply = apply;
    q->w->answer = answer;
    s3_source_ip(q); /* now, while the arena is this thread's */
    http_suspend(q->r);
}

void
s3_commit(struct s3_request *q, s3_apply_fn apply, s3_answer_fn answer)
{
    write_goes(q, apply, answer);
    submit(q->w);
}

void
s3_seal_and_commit(struct s3_request *q, s3_apply_fn apply, s3_answer_fn answer)
{
    write_goes(q, apply, answer);
    q->w->bytes = store_put_bytes(q->w->put);
    store_put_seal(q->w->put, sealed, q->w);
}

static void
summed(void *arg, int err, const char *base64)
{
    struct s3_write *w = arg;
    size_t n = strlen(base64);
    CHK(n < sizeof w->sum_base64);
    memcpy(w->sum_base64, base64, n + 1);
    sealed(w, err);
}

void
s3_sum_and_commit(struct s3_request *q, const struct store_object *o, int64_t offset, int64_t bytes,
                  s3_apply_fn apply, s3_answer_fn answer)
{
    write_goes(q, apply, answer);
    int err = store_sum(q->s->store, o, offset, bytes, q->w->sum, summed, q->w);
    if (err != ERR_NONE)
        finish(q->w, err);
}

/* ---- the service ---- */

static void
s3_begin(struct http_request *r)
{
    struct s3_service *s = r->service_arg;
    CHK_MAGIC(s, SERVICE_MAGIC);
    struct s3_request *q = arena_alloc(r->arena, sizeof *q);
    if (q == NULL) {
        http_reply(r, 503, SLICE_NONE);
        return;
    }
    q->magic = REQUEST_MAGIC;
    q->r = r;
    q->s = s;
    r->ctx = q;
    http_header(r, "x-amz-request-id", slice_str(r->id));
    http_header(r, "x-amz-id-2", slice_str(s->host_id));
    if (!address(q))
        return;
    if (r->method == HTTP_OPTIONS) {
        s3_preflight(q);
        return;
    }
    if (http_field(r, "Origin").n > 0)
        s3_cors_headers(q);
    if (!authentic(q) || (r->auth->presigned && !s3_hoisted_headers(q)))
        return;
    q->op = s3_op_find(q);
    r->operation = q->op == NULL ? NULL : q->op->name;
    if (q->op == NULL || !s3_permitted(q) || !admitted(q))
        return;
    if (q->op->prepare != NULL)
        q->op->prepare(q);
    if (!http_replied(r))
        body_begin(q);
}

static void
body_take(struct s3_request *q, const void *p, size_t n)
{
    if (q->post != NULL) {
        s3_post_body(q, p, n);
    } else if (q->payload != NULL) {
        q->fault = payload_feed(q->payload, p, n);
        if (q->fault != PAYLOAD_NONE)
            s3_fail_payload(q);
    } else {
        q->dropped += (int64_t)n;
        if (q->dropped > (int64_t)HTTP_DRAIN_MAX)
            http_cut(q->r);
    }
}

/* What came of a body that was refused on its way is no use, and the rest may be long in coming:
 * kept until then, uploads that have the memory together would all be refused, none being able to
 * go on with what the others have. */
static void
body_forget(struct s3_request *q)
{
    if (q->w != NULL)
        store_put_end(&q->w->put);
    buf_fini(&q->doc);
    http_body_release(q->r);
}

static void
s3_body(struct http_request *r, const void *p, size_t n)
{
    struct s3_request *q = r->ctx;
    if (http_replied(r))
        return;
    CHK_MAGIC(q, REQUEST_MAGIC);
    body_take(q, p, n);
    if (http_replied(r))
        body_forget(q);
}

static void
s3_end(struct http_request *r)
{
    struct s3_request *q = r->ctx;
    if (http_replied(r))
        return;
    CHK_MAGIC(q, REQUEST_MAGIC);
    if (q->post != NULL && !s3_post_end(q))
        return;
    if (q->payload != NULL)
        q->fault = payload_end(q->payload);
    if (q->fault != PAYLOAD_NONE)
        s3_fail_payload(q);
    else
        q->op->run(q);
}

/* One line: info for changes of buckets and their settings, debug for the rest. A line per object
 * costs 3 us of a 10 KB PUT's 90, and explain tells an object's story better. */
static void
log_request(const struct s3_request *q)
{
    bool changed = (q->op->flags & S3_MUTATES) && q->status >= 200 && q->status < 300;
    enum log_level level = changed && q->key.n == 0 ? LOG_INFO : LOG_DEBUG;
    char key[LOG_QUOTE_MAX];
    if (!log_enabled(level))
        return;
    log_line(level, changed ? "s3_committed" : "s3_answered",
             "request_id=%s op=%s bucket=%.*s key=%s status=%d bytes=%lld generation=%lld",
             q->r->id, q->op->name, SLICE_FMT(q->bucket_name), log_quote(q->key, key), q->status,
             (long long)(q->w == NULL ? 0 : q->w->bytes),
             (long long)(q->w == NULL ? 0 : q->w->generation));
}

static void
s3_gone(struct http_request *r)
{
    struct s3_request *q = r->ctx;
    if (q == NULL)
        return;
    CHK_MAGIC(q, REQUEST_MAGIC);
    r->ctx = NULL;
    if (q->op != NULL)
        log_request(q);
    if (q->w != NULL) {
        store_put_end(&q->w->put);
        store_object_unref(&q->w->source);
        buf_fini(&q->w->meta);
    }
    s3_post_fini(q);
    payload_fini(&q->payload);
    buf_fini(&q->doc);
    arena_free(&q->tree);
    store_object_unref(&q->object);
    store_bucket_unref(&q->bucket);
    q->magic = 0;
}

const struct http_service s3_http_service = {
    .name = "s3",
    .begin = s3_begin,
    .body = s3_body,
    .end = s3_end,
    .gone = s3_gone,
};
