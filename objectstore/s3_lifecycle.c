/*
 * A bucket's lifecycle configuration, and what it says in the answers about its objects. The rules
 * are carried out by objectstore/lifecycle_run.c.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
 */
#include "objectstore/s3_priv.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/lifecycle.h"

#define EXPIRATION_MAX 1024

static void
refuse(struct s3_request *q, int err, const struct buf *why)
{
    enum s3_fault fault = err == ERR_RANGE      ? S3_INVALID_ARGUMENT
                          : err == ERR_CONFLICT ? S3_INVALID_REQUEST
                          : err == ERR_INVALID  ? S3_MALFORMED_XML
                                                : s3_fault_of(err);
    s3_fail_why(q, fault, why->n > 0 ? why->p : s3_refusal(fault)->message);
}

/* As it is kept. */
static int
rewritten(struct slice xml, struct buf *out, struct buf *why)
{
    struct lifecycle *l = NULL;
    int err = lifecycle_parse(xml, &l, why);
    if (err == ERR_NONE)
        lifecycle_write(l, out);
    lifecycle_free(&l);
    return err;
}

void
s3_run_put_lifecycle(struct s3_request *q)
{
    s3_config_put_checked(q, "lifecycle", rewritten, refuse);
}

void
s3_run_get_lifecycle(struct s3_request *q)
{
    struct buf b;
    if (q->bucket->lifecycle == NULL) {
        s3_fail(q, S3_NO_LIFECYCLE);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    lifecycle_write(q->bucket->lifecycle, &b);
    s3_reply_xml(q, 200, &b);
}

void
s3_run_delete_lifecycle(struct s3_request *q)
{
    s3_config_put(q, "lifecycle", SLICE_NONE, 204);
}

void
s3_expiration_header(struct s3_request *q, int64_t size, struct slice tags, int64_t mtime_ms)
{
    struct slice id;
    struct buf value;
    char date[CLOCK_TEXT_MAX];
    if (q->bucket->lifecycle == NULL)
        return;
    const struct lifecycle_subject subject = {
        .kind = LIFECYCLE_CURRENT, .key = q->key, .size = size, .tags = tags, .since_ms = mtime_ms};
    int64_t due = lifecycle_due(q->bucket->lifecycle, &subject, q->s->day_ms, &id);
    if (due == LIFECYCLE_NEVER)
        return;
    clock_http(due, date);
    buf_init(&value, EXPIRATION_MAX);
    buf_printf(&value, "expiry-date=\"%s\", rule-id=\"", date);
    http_escape(&value, id, true);
    buf_putc(&value, '"');
    if (value.err == ERR_NONE)
        http_header(q->r, "x-amz-expiration", buf_slice(&value));
    buf_fini(&value);
}
