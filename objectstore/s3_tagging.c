/*
 * Tags of buckets and objects, and of objects on their way in: a header of PUT, copy and multipart
 * uploads, a field of a form. The model is objectstore/tags.h.
 *
 * Who brings tags along needs s3:PutObjectTagging beside s3:PutObject where a policy speaks of
 * such; an ACL knows no tags, so by it who may write may bring them.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/tags.h"

_Static_assert(TAGS_TEXT_MAX <= STORE_TAGS_BYTES_MAX, "an object's tags fit into its record");

#define BAD_HEADER                                                                               \
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters " \
    "without tag name duplicates."

/* ---- refusals ---- */

static const struct {
    enum s3_fault fault;
    const char *of_object;
    const char *of_bucket; /* NULL: the same */
} refusals[] = {
    [TAGS_MALFORMED] = {S3_MALFORMED_XML, NULL, NULL},
    [TAGS_TOO_MANY] = {S3_BAD_REQUEST, "Object tags cannot be greater than 10",
                       "Bucket tag count cannot be greater than 50"},
    [TAGS_DUPLICATE] = {S3_INVALID_TAG, "Cannot provide multiple Tags with the same key", NULL},
    [TAGS_SYSTEM] = {S3_INVALID_TAG, "Your TagKey cannot be prefixed with aws:",
                     "System tags cannot be added/updated by requester"},
    [TAGS_KEY] = {S3_INVALID_TAG, "The TagKey you have provided is invalid", NULL},
    [TAGS_VALUE] = {S3_INVALID_TAG, "The TagValue you have provided is invalid", NULL},
};

static void
refuse(struct s3_request *q, enum tags_of of, const struct tags_error *e)
{
    CHK((size_t)e->fault < ARRAY_LEN(refusals) && e->fault != TAGS_OK);
    const char *message = refusals[e->fault].of_object;
    if (of == TAGS_OF_BUCKET && refusals[e->fault].of_bucket != NULL)
        message = refusals[e->fault].of_bucket;
    if (e->key.n > 0)
        s3_extra(q, "TagKey", e->key);
    if (e->value.n > 0)
        s3_extra(q, "TagValue", e->value);
    s3_fail_why(q, refusals[e->fault].fault,
                message != NULL ? message : s3_fault_message(refusals[e->fault].fault));
}

/* ---- the document ---- */

/* The tags of the body; false: answered. */
static bool
document(struct s3_request *q, enum tags_of of, struct tags *t)
{
    struct tags_error e;
    const struct xml_node *root = s3_doc_parse(q, "Tagging");
    if (root == NULL)
        return false;
    if (tags_read_xml(root, of, t, &e) == TAGS_OK)
        return true;
    refuse(q, of, &e);
    return false;
}

/* In the request's arena; false: answered. */
static bool
keep(struct s3_request *q, struct buf *b, struct slice *out)
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

/* ---- of a bucket ---- */

void
s3_run_put_bucket_tagging(struct s3_request *q)
{
    struct tags t;
    struct slice body;
    struct buf b;
    if (!document(q, TAGS_OF_BUCKET, &t))
        return;
    buf_init(&b, STORE_CONFIG_BYTES_MAX);
    if (t.count > 0)
        tags_write(&t, &b);
    if (keep(q, &b, &body))
        s3_config_put(q, "tagging", body, 204);
}

void
s3_run_get_bucket_tagging(struct s3_request *q)
{
    s3_config_reply(q, "tagging", S3_NO_TAG_SET);
}

void
s3_run_delete_bucket_tagging(struct s3_request *q)
{
    s3_config_put(q, "tagging", SLICE_NONE, 204);
}

/* ---- of an object ---- */

struct tag_change {
    struct store_attribute_spec spec;
    char version_id[STORE_VERSION_ID_MAX]; /* whose tags changed */
    int status;
};

/* A version that is not there, or is a marker. */
static void
fail_version(struct s3_request *q, int err)
{
    struct slice id = http_param(q->r, "versionId");
    if (err == ERR_INVALID) {
        s3_fail_version_id(q, "versionId", id);
    } else if (err == ERR_NOTFOUND && id.n > 0) {
        s3_extra(q, "VersionId", id);
        s3_fail(q, S3_NO_SUCH_VERSION);
    } else if (err == ERR_UNSUPPORTED && id.n > 0) {
        http_header(q->r, "x-amz-delete-marker", SLICE_LIT("true"));
        s3_fail(q, S3_METHOD_NOT_ALLOWED);
    } else if (err == ERR_UNSUPPORTED) {
        s3_fail(q, S3_NO_SUCH_KEY);
    } else {
        s3_fail_err(q, err);
    }
}

static void
version_header(struct s3_request *q, const char *version_id)
{
    if (q->bucket->versioning != STORE_VERSIONING_OFF && version_id[0] != '\0')
        http_header(q->r, "x-amz-version-id", slice_str(version_id));
}

static int
apply_tags(struct s3_request *q, struct db_conn *conn)
{
    struct tag_change *c = q->state;
    return store_apply_attribute(q->s->store, conn, &c->spec, c->version_id);
}

static void
answer_tags(struct s3_request *q, int err)
{
    const struct tag_change *c = q->state;
    if (err != ERR_NONE) {
        fail_version(q, err);
        return;
    }
    version_header(q, c->version_id);
    s3_reply_empty(q, c->status, c->status == 204 ? -1 : 0);
}

/* `kept` (n = 0: none) becomes the tags of the version asked for. */
static void
change_tags(struct s3_request *q, struct slice kept, int status)
{
    const struct store_object *o = s3_version_find(q);
    q->tags = NULL; /* the caller's own */
    if (o == NULL)
        return;
    store_object_unref(&o);
    struct tag_change *c = arena_alloc(q->r->arena, sizeof *c);
    if (c == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return;
    }
    if (!s3_write_begin(q))
        return;
    c->status = status;
    c->spec = (struct store_attribute_spec){
        .attribute = STORE_ATTR_TAGS,
        .bucket = q->bucket->name,
        .key = q->key,
        .version_id = http_param(q->r, "versionId"),
        .value = kept,
        .account_id = slice_str(q->account == NULL ? NULL : q->account->id),
        .request_id = slice_str(q->r->id),
        .source_ip = s3_source_ip(q),
    };
    q->state = c;
    s3_commit(q, apply_tags, answer_tags);
}

void
s3_run_put_object_tagging(struct s3_request *q)
{
    struct tags t;
    struct slice kept;
    struct buf b;
    if (!document(q, TAGS_OF_OBJECT, &t))
        return;
    buf_init(&b, STORE_TAGS_BYTES_MAX);
    tags_encode(&t, &b);
    q->tags = &t; /* conditions may ask for them */
    if (keep(q, &b, &kept))
        change_tags(q, kept, 200);
}

void
s3_run_delete_object_tagging(struct s3_request *q)
{
    change_tags(q, SLICE_NONE, 204);
}

void
s3_run_get_object_tagging(struct s3_request *q)
{
    struct tags t;
    struct buf b;
    const struct store_object *o = s3_version_find(q);
    if (o == NULL)
        return;
    version_header(q, o->version_id);
    int err = tags_decode(o->tags, &t);
    if (err == ERR_NONE) {
        buf_init(&b, S3_REPLY_BYTES_MAX);
        tags_write(&t, &b);
        s3_reply_xml(q, 200, &b);
    } else {
        s3_fail_err(q, err);
    }
    store_object_unref(&o);
}

void
s3_tags_count_header(struct s3_request *q, const struct store_object *o)
{
    bool versioned = http_has_param(q->r, "versionId");
    const char *action = versioned ? "s3:GetObjectVersionTagging" : "s3:GetObjectTagging";
    if (o->tags.n > 0 && s3_may_object(q, q->bucket, action, q->key, o))
        http_headerf(q->r, "x-amz-tagging-count", "%zu", tags_count(o->tags));
}

/* ---- on their way in ---- */

bool
s3_tags_allowed(struct s3_request *q)
{
    const struct store_bucket *b = q->bucket;
    return s3_may(q, b, "s3:PutObjectTagging", q->key) ||
           (b->policy == NULL && s3_may(q, b, "s3:PutObject", q->key));
}

bool
s3_tags_fill(struct s3_request *q)
{
    struct tags t;
    struct tags_error e;
    struct buf b;
    struct slice text = http_field(q->r, "x-amz-tagging");
    if (text.n == 0)
        return true;
    if (tags_read_header(q->r->arena, text, &t, &e) != TAGS_OK) {
        if (e.fault == TAGS_MALFORMED) {
            s3_extra(q, "ArgumentName", SLICE_LIT("x-amz-tagging"));
            s3_extra(q, "ArgumentValue", text);
            s3_fail_why(q, S3_INVALID_ARGUMENT, BAD_HEADER);
        } else {
            refuse(q, TAGS_OF_OBJECT, &e);
        }
        return false;
    }
    if (t.count > 0 && !s3_tags_allowed(q)) {
        s3_fail(q, S3_ACCESS_DENIED);
        return false;
    }
    buf_init(&b, STORE_TAGS_BYTES_MAX);
    tags_encode(&t, &b);
    return keep(q, &b, &q->w->spec.tags);
}

bool
s3_tags_of_form(struct s3_request *q, struct slice xml, struct slice *header)
{
    struct tags t;
    struct tags_error e;
    struct buf b;
    const struct xml_node *root = NULL;
    int err = xml_parse(q->r->arena, xml, &root);
    if (err != ERR_NONE || !slice_eqs(root->name, "Tagging")) {
        s3_fail(q, S3_MALFORMED_XML);
        return false;
    }
    if (tags_read_xml(root, TAGS_OF_OBJECT, &t, &e) != TAGS_OK) {
        refuse(q, TAGS_OF_OBJECT, &e);
        return false;
    }
    buf_init(&b, 4 * STORE_TAGS_BYTES_MAX);
    for (size_t i = 0; i < t.count; i++) {
        if (i > 0)
            buf_putc(&b, '&');
        http_escape(&b, t.list[i].key, false);
        buf_putc(&b, '=');
        http_escape(&b, t.list[i].value, false);
    }
    return keep(q, &b, header);
}
