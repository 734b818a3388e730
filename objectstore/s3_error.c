/*
 * Answers of the S3 face: from our error codes to S3's words (one table), the error document, and
 * the shapes of every answer.
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/utf8.h"
#include "base/log.h"
#include "base/stat.h"

#include <stdlib.h>

static const struct refusal faults[S3_FAULT_COUNT] = {S3_FAULT_LIST(REFUSAL_ROW)};

const struct refusal *
s3_refusal(enum s3_fault fault)
{
    CHK(fault < S3_FAULT_COUNT);
    return &faults[fault];
}

static const struct {
    int err;
    enum s3_fault fault;
} of_err[] = {
    {ERR_NOMEM, S3_SLOW_DOWN},
    {ERR_INVALID, S3_INVALID_ARGUMENT},
    {ERR_TOOBIG, S3_ENTITY_TOO_LARGE},
    {ERR_NOTFOUND, S3_NO_SUCH_KEY},
    {ERR_NOPARENT, S3_NO_SUCH_BUCKET},
    {ERR_EXISTS, S3_BUCKET_EXISTS},
    {ERR_NOTEMPTY, S3_BUCKET_NOT_EMPTY},
    {ERR_CONFLICT, S3_OPERATION_ABORTED},
    {ERR_PRECONDITION, S3_PRECONDITION_FAILED},
    {ERR_DENIED, S3_ACCESS_DENIED},
    {ERR_BUSY, S3_SLOW_DOWN},
    {ERR_FULL, S3_SLOW_DOWN},
    {ERR_IO, S3_INTERNAL},
    {ERR_SYNC, S3_SERVICE_UNAVAILABLE},
    {ERR_CORRUPT, S3_INTERNAL},
    {ERR_TIMEOUT, S3_SLOW_DOWN},
    {ERR_CANCELED, S3_SERVICE_UNAVAILABLE},
    {ERR_RANGE, S3_INVALID_RANGE},
    {ERR_UNSUPPORTED, S3_NOT_IMPLEMENTED},
    {ERR_DIGEST, S3_BAD_DIGEST},
    {ERR_SHORT, S3_INCOMPLETE_BODY},
    {ERR_STALE, S3_OPERATION_ABORTED},
    {ERR_CLOSED, S3_INTERNAL},
    {ERR_LOOP, S3_INVALID_REQUEST},
    {ERR_INUSE, S3_INTERNAL},
};

enum s3_fault
s3_fault_of(int err)
{
    for (size_t i = 0; i < ARRAY_LEN(of_err); i++) {
        if (of_err[i].err == err)
            return of_err[i].fault;
    }
    return S3_INTERNAL;
}

/* ---- the error document ---- */

void
s3_extra(struct s3_request *q, const char *name, struct slice value)
{
    if (q->extra_count < S3_EXTRAS_MAX)
        q->extra[q->extra_count++] = (struct s3_pair){name, value};
}

/* XML has no place for most control bytes, nor for broken UTF-8: then the path as it was sent. */
static struct slice
resource_text(const struct http_request *r)
{
    bool plain = slice_is_utf8(r->path);
    for (size_t i = 0; plain && i < r->path.n; i++)
        plain = (unsigned char)r->path.p[i] >= ' ';
    if (plain)
        return r->path;
    return slice_is_utf8(r->raw_path) ? r->raw_path : SLICE_NONE;
}

/* XML 1.0 has no place for most control bytes, not even as &#x1;: a stand-in is shown for them. */
static void
put_shown(struct buf *b, const char *name, struct slice value)
{
    size_t run = 0;
    xml_open(b, name);
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c >= ' ' || c == '\t' || c == '\n' || c == '\r')
            continue;
        xml_escape(b, slice_of(value.p + run, i - run));
        buf_puts(b, UTF8_REPLACEMENT);
        run = i + 1;
    }
    xml_escape(b, slice_skip(value, run));
    xml_close(b, name);
}

static void
document(struct s3_request *q, const struct refusal *refusal, struct buf *b)
{
    xml_head(b);
    xml_open(b, "Error");
    xml_puts(b, "Code", refusal->code);
    xml_puts(b, "Message", refusal->message);
    for (size_t i = 0; i < q->extra_count; i++) {
        if (slice_is_utf8(q->extra[i].value))
            put_shown(b, q->extra[i].name, q->extra[i].value);
    }
    xml_put(b, "Resource", resource_text(q->r));
    xml_puts(b, "RequestId", q->r->id);
    xml_puts(b, "HostId", q->s->host_id);
    xml_close(b, "Error");
}

/* The elements S3 adds to these codes by itself; a Key that is there is of a copy's source. */
static void
usual_extras(struct s3_request *q, enum s3_fault fault)
{
    bool has_key = q->extra_count > 0 && strcmp(q->extra[0].name, "Key") == 0;
    if ((fault == S3_NO_SUCH_KEY || fault == S3_NO_SUCH_VERSION) && !has_key)
        s3_extra(q, "Key", q->key);
    if (s3_refusal(fault)->status == 404 || fault == S3_BUCKET_EXISTS || fault == S3_BUCKET_OWNED ||
        fault == S3_BUCKET_NOT_EMPTY || fault == S3_INVALID_BUCKET_NAME)
        s3_extra(q, "BucketName", q->bucket_name);
    if (fault == S3_METHOD_NOT_ALLOWED)
        s3_extra(q, "Method", q->r->method_name);
}

void
s3_refuse(struct s3_request *q, const struct refusal *refusal)
{
    struct buf b;
    q->status = refusal->status;
    if (q->status == 503) {
        http_headerf(q->r, "Retry-After", "%d", S3_RETRY_AFTER_S);
        if (strcmp(refusal->code, s3_refusal(S3_SLOW_DOWN)->code) == 0)
            STAT_INC(slowdown_total);
    }
    if (q->serve != NULL && q->serve->refuse != NULL && q->r->method != HTTP_HEAD) {
        q->serve->refuse(q->r, refusal);
        return;
    }
    http_header(q->r, "Cache-Control", SLICE_LIT("no-store"));
    http_header(q->r, "Content-Type", SLICE_LIT("application/xml"));
    if (q->r->method == HTTP_HEAD) {
        http_reply_empty(q->r, q->status, -1);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    document(q, refusal, &b);
    http_reply(q->r, q->status, b.err == ERR_NONE ? buf_slice(&b) : SLICE_NONE);
    buf_fini(&b);
}

void
s3_fail_why(struct s3_request *q, enum s3_fault fault, const char *message)
{
    struct refusal refusal = *s3_refusal(fault);
    refusal.message = message;
    usual_extras(q, fault);
    s3_refuse(q, &refusal);
}

void
s3_fail(struct s3_request *q, enum s3_fault fault)
{
    s3_fail_why(q, fault, s3_refusal(fault)->message);
}

void
s3_fail_err(struct s3_request *q, int err)
{
    /* Under load there are thousands of the busy kind, and slowdown_total counts them. */
    if (s3_refusal(s3_fault_of(err))->status >= 500)
        log_line(err == ERR_BUSY ? LOG_DEBUG : LOG_WARN, "s3_failed",
                 "request_id=%s op=%s error=%s", q->r->id, q->op == NULL ? "-" : q->op->name,
                 err_name(err));
    s3_fail(q, s3_fault_of(err));
}

/* ---- other answers ---- */

void
s3_reply_xml(struct s3_request *q, int status, struct buf *b)
{
    if (b->err != ERR_NONE || b->n == 0) {
        int err = b->err != ERR_NONE ? b->err : ERR_IO;
        buf_fini(b);
        s3_fail_err(q, err == ERR_TOOBIG ? ERR_IO : err);
        return;
    }
    size_t n;
    char *p = buf_take(b, &n);
    q->status = status;
    http_header(q->r, "Content-Type", SLICE_LIT("application/xml"));
    http_reply_borrowed(q->r, status, slice_of(p, n), free, p);
}

void
s3_reply_empty(struct s3_request *q, int status, int64_t bytes)
{
    q->status = status;
    http_reply_empty(q->r, status, bytes);
}
