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
                message != NULL ? message : s3_refusal(refusals[e->fault].fault)->message);
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
    if (s3_keep(q, &b, &body))
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

/* `kept` (n = 0: none) becomes the tags of the version asked for. */
static void
change_tags(struct s3_request *q, struct slice kept)
{
    const struct store_object *o = s3_version_find(q);
    q->tags = NULL; /* the caller's own */
    struct s3_attribute_change *c = o == NULL ? NULL : s3_attribute_begin(q, o, STORE_ATTR_TAGS);
    store_object_unref(&o);
    if (c == NULL)
        return;
    c->spec.value = kept;
    s3_attribute_commit(q);
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
    if (s3_keep(q, &b, &kept))
        change_tags(q, kept); /* which takes them back */
    else
        q->tags = NULL;
}

void
s3_run_delete_object_tagging(struct s3_request *q)
{
    change_tags(q, SLICE_NONE);
}

void
s3_run_get_object_tagging(struct s3_request *q)
{
    struct tags t;
    struct buf b;
    const struct store_object *o = s3_version_find(q);
    if (o == NULL)
        return;
    s3_version_header(q, q->bucket, o);
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
    return s3_keep(q, &b, &q->w->spec.tags);
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
    return s3_keep(q, &b, header);
}
