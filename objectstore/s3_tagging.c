/*
 * Tags of buckets and objects, and the refusals every road shares that brings tags along. The model
 * is objectstore/tags.h.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/tags.h"

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
