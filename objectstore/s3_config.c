/*
 * Documents kept with a bucket, for all that keep one (CORS, lifecycle, policy, tags...): the
 * change and the answer. Its notification configuration, which belongs to nobody else, is here as
 * well.
 */
#include "objectstore/s3_priv.h"
#include "base/err.h"

#define WHY_MAX 1024
#define EMPTY_NOTIFICATION "<NotificationConfiguration" S3_XMLNS "></NotificationConfiguration>"

struct config_change {
    const char *name;
    struct slice body; /* to be kept; n = 0 takes the document away */
    int (*check)(struct s3_request *q, struct db_conn *conn, struct config_change *c);
    char why[WHY_MAX]; /* from check(), for the answer */
    int status;        /* of success */
};

static int
apply_config(struct s3_request *q, struct db_conn *conn)
{
    struct config_change *c = q->state;
    c->why[0] = '\0';
    int err = c->check == NULL ? ERR_NONE : c->check(q, conn, c);
    if (err == ERR_NONE)
        err = store_apply_bucket_config_set(q->s->store, conn, q->bucket->name, c->name, c->body);
    return err;
}

static void
answer_config(struct s3_request *q, int err)
{
    const struct config_change *c = q->state;
    if (err == ERR_NONE)
        s3_reply_empty(q, c->status, c->status == 204 ? -1 : 0);
    else if ((err == ERR_INVALID || err == ERR_LOOP) && c->why[0] != '\0')
        s3_fail_why(q, s3_fault_of(err), c->why);
    else
        s3_fail_err(q, err == ERR_NOTFOUND ? ERR_NOPARENT : err);
}

/* NULL: answered. */
static struct config_change *
config_change(struct s3_request *q, const char *name, struct slice body, int status)
{
    struct config_change *c = arena_alloc(q->r->arena, sizeof *c);
    if (c == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    if (!s3_write_begin(q))
        return NULL;
    c->name = name;
    c->body = body;
    c->status = status;
    q->state = c;
    return c;
}

/* ERR_NOTFOUND when there is none. */
static int
config_read(struct s3_request *q, const char *name, struct slice *body)
{
    return store_bucket_config_get(q->s->store, q->bucket->name, name, q->r->arena, body);
}

bool
s3_keep(struct s3_request *q, struct buf *b, struct slice *out)
{
    int err = b->err;
    *out = SLICE_NONE;
    if (err == ERR_NONE && b->n > 0) {
        *out = arena_dup(q->r->arena, buf_slice(b));
        err = out->p == NULL ? ERR_NOMEM : ERR_NONE;
    }
    buf_fini(b);
    if (err != ERR_NONE)
        s3_fail_err(q, err);
    return err == ERR_NONE;
}

void
s3_config_put(struct s3_request *q, const char *name, struct slice body, int status)
{
    if (config_change(q, name, body, status) != NULL)
        s3_commit(q, apply_config, answer_config);
}

void
s3_config_put_checked(struct s3_request *q, const char *name, s3_rewrite_fn rewrite,
                      s3_refuse_fn refuse)
{
    struct buf why, text;
    if (q->doc.n == 0) {
        s3_fail(q, S3_MISSING_BODY);
        return;
    }
    buf_init(&why, WHY_MAX);
    buf_init(&text, STORE_CONFIG_BYTES_MAX);
    int err = rewrite(buf_slice(&q->doc), &text, &why);
    if (err == ERR_NONE)
        err = text.err;
    if (err == ERR_NONE) {
        buf_fini(&q->doc);
        q->doc = text; /* in the body's place from here on */
        s3_config_put(q, name, buf_slice(&q->doc), 200);
    } else {
        refuse(q, err, &why);
        buf_fini(&text);
    }
    buf_fini(&why);
}

void
s3_config_reply(struct s3_request *q, const char *name, enum s3_fault absent)
{
    struct slice body;
    struct buf b;
    int err = config_read(q, name, &body);
    if (err == ERR_NOTFOUND) {
        s3_fail(q, absent);
        return;
    }
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    buf_put_slice(&b, body);
    s3_reply_xml(q, 200, &b);
}

/* ---- settings that can only be what they are ---- */

static bool
says_nothing_new(const char *sub, const struct xml_node *root)
{
    if (strcmp(sub, "logging") == 0)
        return xml_child(root, "LoggingEnabled") == NULL;
    if (strcmp(sub, "requestPayment") == 0)
        return slice_eqs(slice_trim(xml_text(root, "Payer")), "BucketOwner");
    return slice_eqs(slice_trim(xml_text(root, "Status")), "Suspended");
}

/* Tools that describe a whole bucket set these to what they are already; another wish is refused.
 */
void
s3_run_put_fixed(struct s3_request *q)
{
    const char *sub = q->op->sub;
    const struct xml_node *root =
        s3_doc_parse(q, strcmp(sub, "logging") == 0          ? "BucketLoggingStatus"
                        : strcmp(sub, "requestPayment") == 0 ? "RequestPaymentConfiguration"
                                                             : "AccelerateConfiguration");
    if (root == NULL)
        return;
    if (says_nothing_new(sub, root))
        s3_reply_empty(q, 200, 0);
    else
        s3_fail(q, S3_NOT_IMPLEMENTED);
}

/* ---- notifications ---- */

static int
notification_check(struct s3_request *q, struct db_conn *conn, struct config_change *c)
{
    struct buf why;
    const struct s3_hooks *hooks = &q->s->hooks;
    buf_init(&why, WHY_MAX - 1);
    int err = hooks->notification_set(hooks->arg, conn, q->bucket, buf_slice(&q->doc), &why);
    if (why.n > 0)
        memcpy(c->why, why.p, why.n + 1);
    buf_fini(&why);
    return err;
}

void
s3_run_put_notification(struct s3_request *q)
{
    const struct xml_node *root = s3_doc_parse(q, "NotificationConfiguration");
    if (root == NULL)
        return;
    if (q->s->hooks.notification_set == NULL) {
        s3_fail(q, S3_NOT_IMPLEMENTED);
        return;
    }
    /* A document without rules takes the configuration away. */
    struct slice body = root->child == NULL ? SLICE_NONE : buf_slice(&q->doc);
    struct config_change *c = config_change(q, "notification", body, 200);
    if (c == NULL)
        return;
    c->check = notification_check;
    s3_commit(q, apply_config, answer_config);
}

void
s3_run_get_notification(struct s3_request *q)
{
    struct slice body;
    struct buf b;
    int err = config_read(q, "notification", &body);
    if (err != ERR_NONE && err != ERR_NOTFOUND) {
        s3_fail_err(q, err);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    if (err == ERR_NOTFOUND) {
        xml_head(&b);
        body = SLICE_LIT(EMPTY_NOTIFICATION);
    }
    buf_put_slice(&b, body);
    s3_reply_xml(q, 200, &b);
}
