/*
 * Object lock: a bucket's configuration, retention and legal hold of a version, and what the
 * x-amz-object-lock-* headers of an upload ask for.
 *
 * Whether a lock may be weakened, or a version removed, is judged by the store, in the transaction
 * that would do it; here the question is only whether the request makes sense and who asks.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLockConfiguration.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLegalHold.html
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/lock_config.h"

#include <strings.h>

#define MODE "x-amz-object-lock-mode"
#define UNTIL "x-amz-object-lock-retain-until-date"
#define HOLD "x-amz-object-lock-legal-hold"
#define NOT_LOCKING "Bucket is missing Object Lock Configuration"
#define NOT_FUTURE "The retain until date must be in the future!"

/* ---- what every request here must bring ---- */

/* Is the body's digest stated, in a header or as a trailer? */
static bool
digest_stated(const struct http_request *r)
{
    static const char prefix[] = "x-amz-checksum-";
    const size_t n = sizeof prefix - 1;
    if (http_field(r, "Content-MD5").n > 0 || http_field(r, "x-amz-trailer").n > 0)
        return true;
    for (size_t i = 0; i < r->field_count; i++) {
        struct slice name = r->fields[i].name;
        if (name.n > n && strncasecmp(name.p, prefix, n) == 0 &&
            checksum_by_name(slice_skip(name, n)) != CHECKSUM_NONE)
            return true;
    }
    return false;
}

/* false: answered. */
static bool
document_safe(struct s3_request *q)
{
    if (digest_stated(q->r))
        return true;
    s3_fail_why(q, S3_INVALID_REQUEST, "Missing required header for this request: Content-MD5");
    return false;
}

/* false: answered. */
static bool
bucket_locks(struct s3_request *q)
{
    if (!q->bucket->object_lock)
        s3_fail_why(q, S3_INVALID_REQUEST, NOT_LOCKING);
    return q->bucket->object_lock;
}

bool
s3_bypasses_governance(struct s3_request *q, struct slice key)
{
    return slice_ieqs(http_field(q->r, "x-amz-bypass-governance-retention"), "true") &&
           s3_may(q, q->bucket, "s3:BypassGovernanceRetention", key);
}

/* ---- the bucket's configuration ---- */

static int
apply_config(struct s3_request *q, struct db_conn *conn)
{
    const struct slice *body = q->state;
    struct store *s = q->s->store;
    int err = store_apply_bucket_object_lock(s, conn, q->bucket->name);
    return err != ERR_NONE
               ? err
               : store_apply_bucket_config_set(s, conn, q->bucket->name, "object-lock", *body);
}

static void
answer_done(struct s3_request *q, int err)
{
    if (err == ERR_NONE)
        s3_reply_empty(q, 200, 0);
    else
        s3_fail_err(q, err == ERR_NOTFOUND && q->key.p == NULL ? ERR_NOPARENT : err);
}

/* The document to keep: none when all it says is "Enabled". */
static struct slice *
config_body(struct s3_request *q, const struct store_lock_default *d)
{
    struct slice *body = arena_alloc(q->r->arena, sizeof *body);
    struct buf b;
    buf_init(&b, S3_DOC_SMALL);
    if (body != NULL && d->retention != STORE_RETENTION_NONE) {
        lock_config_write(d, &b);
        *body = arena_dup(q->r->arena, buf_slice(&b));
        if (b.err != ERR_NONE || body->p == NULL)
            body = NULL;
    }
    buf_fini(&b);
    return body;
}

void
s3_run_put_lock_config(struct s3_request *q)
{
    struct store_lock_default d;
    if (!document_safe(q))
        return;
    const struct xml_node *root = s3_doc_parse(q, "ObjectLockConfiguration");
    if (root == NULL)
        return;
    int err = lock_config_read(root, &d);
    if (err != ERR_NONE) {
        s3_fail(q, err == ERR_RANGE ? S3_INVALID_RETENTION : S3_MALFORMED_XML);
        return;
    }
    /* Versioning can be suspended but never disabled: a change meanwhile leaves nothing odd. */
    if (q->bucket->versioning != STORE_VERSIONING_ENABLED) {
        s3_fail_why(q, S3_INVALID_BUCKET_STATE,
                    "Versioning must be 'Enabled' on the bucket to apply a Object Lock "
                    "configuration");
        return;
    }
    q->state = config_body(q, &d);
    if (q->state == NULL)
        s3_fail_err(q, ERR_NOMEM);
    else if (s3_write_begin(q))
        s3_commit(q, apply_config, answer_done);
}

void
s3_run_get_lock_config(struct s3_request *q)
{
    struct buf b;
    if (!q->bucket->object_lock) {
        s3_fail(q, S3_NO_OBJECT_LOCK);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    lock_config_write(&q->bucket->lock_default, &b);
    s3_reply_xml(q, 200, &b);
}

/* ---- retention and legal hold of a version ---- */

/* The lock of the version asked for; false: answered. */
static bool
lock_find(struct s3_request *q, struct store_lock *lock)
{
    const struct store_object *o = bucket_locks(q) ? s3_version_find(q) : NULL;
    if (o == NULL)
        return false;
    *lock = o->lock;
    store_object_unref(&o);
    return true;
}

/* Permission first: a stranger does not learn how the bucket is set. */
static void
change_lock(struct s3_request *q, enum store_attribute attribute, const struct store_lock *lock)
{
    struct s3_attribute_change *c = NULL;
    q->lock = lock; /* conditions may ask for it; the caller's own */
    const struct store_object *o = s3_version_find(q);
    if (o != NULL && bucket_locks(q))
        c = s3_attribute_begin(q, o, attribute);
    store_object_unref(&o);
    if (c != NULL) {
        c->spec.lock = *lock;
        c->spec.bypass_governance = s3_bypasses_governance(q, q->key);
    }
    q->lock = NULL;
    if (c != NULL)
        s3_attribute_commit(q);
}

/* An empty <Retention> takes it away. false: answered. */
static bool
retention_read(struct s3_request *q, const struct xml_node *root, struct store_lock *lock)
{
    struct slice mode = xml_text(root, "Mode"), until = xml_text(root, "RetainUntilDate");
    *lock = (struct store_lock){.retention = STORE_RETENTION_NONE};
    if (root->child == NULL)
        return true;
    if (lock_mode_parse(mode, &lock->retention) != ERR_NONE ||
        clock_parse_iso(until.p, until.n, &lock->retain_until_ms) != ERR_NONE) {
        s3_fail(q, S3_MALFORMED_XML);
        return false;
    }
    if (lock->retain_until_ms > clock_wall_ms())
        return true;
    s3_extra(q, "ArgumentName", SLICE_LIT("RetainUntilDate"));
    s3_extra(q, "ArgumentValue", until);
    s3_fail_why(q, S3_INVALID_ARGUMENT, NOT_FUTURE);
    return false;
}

void
s3_run_put_retention(struct s3_request *q)
{
    struct store_lock lock;
    if (!document_safe(q))
        return;
    const struct xml_node *root = s3_doc_parse(q, "Retention");
    if (root != NULL && retention_read(q, root, &lock))
        change_lock(q, STORE_ATTR_RETENTION, &lock);
}

void
s3_run_put_legal_hold(struct s3_request *q)
{
    if (!document_safe(q))
        return;
    const struct xml_node *root = s3_doc_parse(q, "LegalHold");
    if (root == NULL)
        return;
    struct slice status = xml_text(root, "Status");
    struct store_lock lock = {.legal_hold = slice_eqs(status, "ON"), .hold_stated = true};
    if (!lock.legal_hold && !slice_eqs(status, "OFF"))
        s3_fail(q, S3_MALFORMED_XML);
    else
        change_lock(q, STORE_ATTR_HOLD, &lock);
}

void
s3_run_get_retention(struct s3_request *q)
{
    struct store_lock lock;
    struct buf b;
    if (!lock_find(q, &lock))
        return;
    if (lock.retention == STORE_RETENTION_NONE) {
        s3_fail(q, S3_NO_RETENTION);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "Retention" S3_XMLNS);
    xml_puts(&b, "Mode", lock_mode_name(lock.retention));
    s3_time_xml(&b, "RetainUntilDate", lock.retain_until_ms);
    xml_close(&b, "Retention");
    s3_reply_xml(q, 200, &b);
}

void
s3_run_get_legal_hold(struct s3_request *q)
{
    struct store_lock lock;
    struct buf b;
    if (!lock_find(q, &lock))
        return;
    if (!lock.hold_stated) {
        s3_fail(q, S3_NO_RETENTION);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "LegalHold" S3_XMLNS);
    xml_puts(&b, "Status", lock.legal_hold ? "ON" : "OFF");
    xml_close(&b, "LegalHold");
    s3_reply_xml(q, 200, &b);
}

/* ---- uploads that bring their lock ---- */

struct lock_text { /* as sent; n = 0: not at all */
    struct slice mode;
    struct slice until;
    struct slice hold;
};

/* false: answered. */
static bool
argument_ok(struct s3_request *q, bool ok, const char *name, struct slice value, const char *why)
{
    if (ok)
        return true;
    s3_extra(q, "ArgumentName", slice_str(name));
    s3_extra(q, "ArgumentValue", value);
    s3_fail_why(q, S3_INVALID_ARGUMENT, why);
    return false;
}

static bool
retention_ok(struct s3_request *q, const struct lock_text *text, struct store_lock *lock)
{
    if (text->mode.n == 0 && text->until.n == 0)
        return true;
    int dated = clock_parse_iso(text->until.p, text->until.n, &lock->retain_until_ms);
    return argument_ok(q, text->mode.n > 0, UNTIL, text->until,
                       UNTIL " and " MODE " must both be supplied") &&
           argument_ok(q, text->until.n > 0, MODE, text->mode,
                       UNTIL " and " MODE " must both be supplied") &&
           argument_ok(q, lock_mode_parse(text->mode, &lock->retention) == ERR_NONE, MODE,
                       text->mode, "Unknown wormMode directive.") &&
           argument_ok(q, dated == ERR_NONE, UNTIL, text->until,
                       "The retain until date must be provided in ISO 8601 format") &&
           argument_ok(q, lock->retain_until_ms > clock_wall_ms(), UNTIL, text->until, NOT_FUTURE);
}

/* The permissions that retention and hold need beside the upload's own. */
static bool
lock_permitted(struct s3_request *q, const struct lock_text *text)
{
    bool ok = (text->mode.n == 0 || s3_may(q, q->bucket, "s3:PutObjectRetention", q->key)) &&
              (text->hold.n == 0 || s3_may(q, q->bucket, "s3:PutObjectLegalHold", q->key));
    if (!ok)
        s3_fail(q, S3_ACCESS_DENIED);
    return ok;
}

/* false: answered. */
static bool
lock_read(struct s3_request *q, const struct lock_text *text, struct store_lock *lock)
{
    bool asked = text->mode.n > 0 || text->until.n > 0 || text->hold.n > 0;
    *lock = (struct store_lock){.retention = STORE_RETENTION_NONE};
    if (asked && !bucket_locks(q))
        return false;
    lock->legal_hold = slice_eqs(text->hold, "ON");
    lock->hold_stated = text->hold.n > 0;
    if (!retention_ok(q, text, lock) ||
        !argument_ok(q, text->hold.n == 0 || lock->legal_hold || slice_eqs(text->hold, "OFF"), HOLD,
                     text->hold, "Legal Hold must be either of 'ON' or 'OFF'") ||
        !lock_permitted(q, text))
        return false;
    lock_config_apply(&q->bucket->lock_default, clock_wall_ms(), lock);
    return true;
}

bool
s3_lock_of_headers(struct s3_request *q, struct store_lock *lock)
{
    const struct lock_text text = {.mode = http_field(q->r, MODE),
                                   .until = http_field(q->r, UNTIL),
                                   .hold = http_field(q->r, HOLD)};
    *lock = (struct store_lock){.retention = STORE_RETENTION_NONE};
    if (!q->bucket->object_lock && text.mode.n + text.until.n + text.hold.n == 0)
        return true;
    if (!lock_read(q, &text, lock))
        return false;
    bool locks = lock->retention != STORE_RETENTION_NONE || lock->hold_stated;
    if (!locks || q->op->body != S3_BODY_OBJECT || digest_stated(q->r))
        return true;
    s3_fail_why(q, S3_INVALID_REQUEST,
                "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests "
                "with Object Lock parameters");
    return false;
}

/* ---- answers ---- */

void
s3_lock_headers(struct s3_request *q, const struct store_object *o)
{
    char date[CLOCK_TEXT_MAX];
    if (!q->bucket->object_lock)
        return;
    if (o->lock.retention != STORE_RETENTION_NONE &&
        s3_may(q, q->bucket, "s3:GetObjectRetention", q->key)) {
        clock_iso8601(o->lock.retain_until_ms, date);
        http_header(q->r, MODE, slice_str(lock_mode_name(o->lock.retention)));
        http_header(q->r, UNTIL, slice_str(date));
    }
    if (o->lock.hold_stated && s3_may(q, q->bucket, "s3:GetObjectLegalHold", q->key))
        http_header(q->r, HOLD, o->lock.legal_hold ? SLICE_LIT("ON") : SLICE_LIT("OFF"));
}
