/*
 * Versioning of a bucket, and what every operation on an object says about versions: which one a
 * request means, what is answered when that is a delete marker or nothing, and how what may change
 * of a version (tags, ACL, lock) changes.
 *
 *   ?versionId    names              answer to a read
 *   absent        an object          the object, x-amz-version-id
 *                 a delete marker    404 NoSuchKey, x-amz-delete-marker, the marker's id
 *                 nothing            404 NoSuchKey
 *   given         an object          the object
 *                 a delete marker    405 MethodNotAllowed, x-amz-delete-marker, Allow: DELETE
 *                 nothing            404 NoSuchVersion
 *                 no id of ours      400 InvalidArgument
 *
 * Both 404 are 403 AccessDenied for who may not list the bucket.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
 */
#include "objectstore/s3_priv.h"
#include "base/clock.h"
#include "base/err.h"

/* ---- the bucket's setting ---- */

void
s3_run_get_versioning(struct s3_request *q)
{
    struct buf b;
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "VersioningConfiguration" S3_XMLNS);
    if (q->bucket->versioning != STORE_VERSIONING_OFF)
        xml_puts(&b, "Status",
                 q->bucket->versioning == STORE_VERSIONING_ENABLED ? "Enabled" : "Suspended");
    xml_close(&b, "VersioningConfiguration");
    s3_reply_xml(q, 200, &b);
}

static int
apply_versioning(struct s3_request *q, struct db_conn *conn)
{
    const enum store_versioning *want = q->state;
    return store_apply_bucket_versioning(q->s->store, conn, q->bucket->name, *want);
}

static void
answer_versioning(struct s3_request *q, int err)
{
    if (err == ERR_NONE)
        s3_reply_empty(q, 200, 0);
    else if (err == ERR_CONFLICT)
        s3_fail_why(q, S3_INVALID_BUCKET_STATE,
                    "An Object Lock configuration is present on this bucket, so the versioning "
                    "state cannot be changed.");
    else
        s3_fail_err(q, err == ERR_NOTFOUND ? ERR_NOPARENT : err);
}

/* S3_FAULT_COUNT: good. MFA delete needs devices we do not know; that it is off may be said. */
static enum s3_fault
versioning_read(const struct xml_node *root, enum store_versioning *out)
{
    struct slice status = slice_trim(xml_text(root, "Status"));
    struct slice mfa = slice_trim(xml_text(root, "MfaDelete"));
    if (slice_eqs(mfa, "Enabled"))
        return S3_NOT_IMPLEMENTED;
    if (mfa.n > 0 && !slice_eqs(mfa, "Disabled"))
        return S3_MALFORMED_XML;
    if (status.n == 0)
        return S3_ILLEGAL_VERSIONING;
    *out = slice_eqs(status, "Enabled") ? STORE_VERSIONING_ENABLED : STORE_VERSIONING_SUSPENDED;
    return *out == STORE_VERSIONING_ENABLED || slice_eqs(status, "Suspended") ? S3_FAULT_COUNT
                                                                              : S3_MALFORMED_XML;
}

void
s3_run_put_versioning(struct s3_request *q)
{
    enum store_versioning *want = arena_alloc(q->r->arena, sizeof *want);
    const struct xml_node *root = s3_doc_parse(q, "VersioningConfiguration");
    if (root == NULL)
        return;
    if (want == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return;
    }
    enum s3_fault fault = versioning_read(root, want);
    if (fault != S3_FAULT_COUNT) {
        s3_fail(q, fault);
        return;
    }
    q->state = want;
    if (s3_write_begin(q))
        s3_commit(q, apply_versioning, answer_versioning);
}

/* ---- which version ---- */

void
s3_fail_version_id(struct s3_request *q, const char *argument, struct slice id)
{
    s3_extra(q, "ArgumentName", slice_str(argument));
    s3_extra(q, "ArgumentValue", id);
    s3_fail_why(q, S3_INVALID_ARGUMENT,
                id.n == 0 ? "Version id cannot be the empty string"
                          : "Invalid version id specified");
}

bool
s3_version_param(struct s3_request *q, struct slice *id)
{
    *id = q->r->param_count == 0 ? SLICE_NONE : http_param(q->r, "versionId");
    if (id->p == NULL || id->n > 0)
        return true;
    s3_fail_version_id(q, "versionId", *id);
    return false;
}

bool
s3_version_absent(struct s3_request *q)
{
    if (q->r->param_count == 0 || !http_has_param(q->r, "versionId"))
        return true;
    s3_extra(q, "ArgumentName", SLICE_LIT("versionId"));
    s3_extra(q, "ArgumentValue", http_param(q->r, "versionId"));
    s3_fail_why(q, S3_INVALID_ARGUMENT, "This operation does not accept a version-id.");
    return false;
}

static void
marker_headers(struct s3_request *q, const struct store_object *marker)
{
    http_header(q->r, "x-amz-delete-marker", SLICE_LIT("true"));
    http_header(q->r, "x-amz-version-id", slice_str(marker->version_id));
}

/* A marker has nothing to read; it can be deleted. */
static void
fail_marker(struct s3_request *q, const struct store_object *marker)
{
    char date[CLOCK_TEXT_MAX];
    clock_http(marker->mtime_ms, date);
    marker_headers(q, marker);
    http_header(q->r, "Last-Modified", slice_str(date));
    http_header(q->r, "Allow", SLICE_LIT("DELETE"));
    s3_extra(q, "ResourceType", SLICE_LIT("DeleteMarker"));
    s3_fail(q, S3_METHOD_NOT_ALLOWED);
}

void
s3_fail_absent(struct s3_request *q, const struct store_bucket *bucket, struct slice key,
               struct slice id)
{
    const struct store_object *newest = NULL;
    if (!s3_may(q, bucket, "s3:ListBucket", SLICE_NONE)) {
        s3_fail(q, S3_ACCESS_DENIED);
        return;
    }
    s3_extra(q, "Key", key);
    if (id.n > 0) {
        s3_extra(q, "VersionId", id);
        s3_fail(q, S3_NO_SUCH_VERSION);
        return;
    }
    if (bucket->versioning != STORE_VERSIONING_OFF &&
        store_get_version(q->s->store, bucket->name, key, SLICE_NONE, &newest) == ERR_NONE &&
        newest->is_marker)
        marker_headers(q, newest);
    store_object_unref(&newest);
    s3_fail(q, S3_NO_SUCH_KEY);
}

const struct store_object *
s3_version_find(struct s3_request *q)
{
    const struct store_object *o = NULL;
    struct slice id;
    if (!s3_version_param(q, &id))
        return NULL;
    int err = s3_object_find(q, &o);
    if (err == ERR_NONE && !o->is_marker)
        return o;
    if (err == ERR_NONE)
        fail_marker(q, o);
    else if (err == ERR_NOTFOUND)
        s3_fail_absent(q, q->bucket, q->key, id);
    else if (err == ERR_INVALID)
        s3_fail_version_id(q, "versionId", id);
    else
        s3_fail_err(q, err);
    store_object_unref(&o);
    return NULL;
}

/* ---- what answers say ---- */

void
s3_version_header(struct s3_request *q, const struct store_bucket *bucket,
                  const struct store_object *o)
{
    if (bucket->versioning != STORE_VERSIONING_OFF)
        http_header(q->r, "x-amz-version-id", slice_str(o->version_id));
}

/* A null version, made while versioning is suspended, is not named: S3 answers "version id of the
 * object" for versioned ones alone. */
void
s3_version_made(struct s3_request *q, const char *version_id)
{
    if (version_id[0] != '\0' && strcmp(version_id, "null") != 0)
        http_header(q->r, "x-amz-version-id", slice_str(version_id));
}

/* ---- a change of one version ---- */

static int
apply_attribute(struct s3_request *q, struct db_conn *conn)
{
    struct s3_attribute_change *c = q->state;
    return store_apply_attribute(q->s->store, conn, &c->spec, c->version_id);
}

/* The version was there a moment ago. */
static void
answer_attribute(struct s3_request *q, int err)
{
    const struct s3_attribute_change *c = q->state;
    if (err == ERR_NOTFOUND && c->spec.version_id.n > 0) {
        s3_extra(q, "VersionId", c->spec.version_id);
        s3_fail(q, S3_NO_SUCH_VERSION);
    } else if (err != ERR_NONE) {
        s3_fail_err(q, err);
    } else {
        bool taken_away = q->r->method == HTTP_DELETE;
        if (c->names_version && c->version_id[0] != '\0')
            http_header(q->r, "x-amz-version-id", slice_str(c->version_id));
        s3_reply_empty(q, taken_away ? 204 : 200, taken_away ? -1 : 0);
    }
}

struct s3_attribute_change *
s3_attribute_begin(struct s3_request *q, const struct store_object *o,
                   enum store_attribute attribute)
{
    struct s3_attribute_change *c = arena_alloc(q->r->arena, sizeof *c);
    if (c == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    if (!s3_write_begin(q))
        return NULL;
    c->names_version = attribute == STORE_ATTR_TAGS || attribute == STORE_ATTR_ACL;
    c->spec = (struct store_attribute_spec){
        .attribute = attribute,
        .bucket = q->bucket->name,
        .key = q->key,
        .version_id = http_param(q->r, "versionId"),
        .only_seq = o->seq,
        .account_id = s3_account_id(q),
        .request_id = slice_str(q->r->id),
        .source_ip = s3_source_ip(q),
    };
    q->state = c;
    return c;
}

void
s3_attribute_commit(struct s3_request *q)
{
    s3_commit(q, apply_attribute, answer_attribute);
}
