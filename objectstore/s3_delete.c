/*
 * DeleteObject, and DeleteObjects: up to 1,000 keys in one document, one transaction for all.
 *
 * Each deletion has its own outcome. Permission and the shape of each entry are judged on the HTTP
 * thread; the writer deletes those that are still good. A condition that does not hold, a lock or
 * an id that is none of ours fails that key alone; a failure of the storage fails the request.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html and API_DeleteObjects.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
 */
#include "objectstore/s3_priv.h"
#include "base/err.h"
#include "base/stat.h"
#include "objectstore/policy.h"

#define NO_FAULT S3_FAULT_COUNT

struct removal {
    struct store_delete_spec spec;
    enum s3_fault refused; /* judged before the transaction; NO_FAULT: go */
    enum s3_fault failed;  /* by the transaction */
    struct store_delete_result result;
};

struct removals {
    struct removal *v;
    size_t count;
    bool quiet;
};

/* ---- one deletion ---- */

static void
removal_init(struct s3_request *q, struct slice key, struct slice version_id, struct removal *rm)
{
    *rm = (struct removal){
        .refused = NO_FAULT,
        .failed = NO_FAULT,
        .spec = {.bucket = q->bucket->name,
                 .key = key,
                 .version_id = version_id,
                 .account_id = s3_account_id(q),
                 .access_key_id = s3_access_key_id(q),
                 .request_id = slice_str(q->r->id),
                 .source_ip = s3_source_ip(q),
                 .bypass_governance = s3_bypasses_governance(q, key)},
    };
}

/* ETag, time and size that the object must have, each n = 0 when it may have any. false: malformed.
 */
static bool
condition_read(struct slice etag, struct slice mtime, struct slice size, struct store_condition *c)
{
    uint64_t bytes = 0;
    int64_t seconds = 0;
    c->if_match = etag;
    c->has_mtime = mtime.n > 0;
    c->has_size = size.n > 0;
    if (c->has_mtime && s3_date_seconds(mtime, &seconds) != ERR_NONE)
        return false;
    if (c->has_size && (slice_to_u64(size, &bytes) != ERR_NONE || bytes > INT64_MAX))
        return false;
    c->mtime_ms = seconds * 1000;
    c->size = (int64_t)bytes;
    return true;
}

/* A condition on nothing at all is 404; on a delete marker or another object it is 412. */
static enum s3_fault
unmet(struct s3_request *q, struct db_conn *conn, const struct store_delete_spec *spec)
{
    const struct store_object *o = NULL;
    int err = store_apply_get_version(q->s->store, conn, q->bucket->id, spec->key, SLICE_NONE, &o);
    store_object_unref(&o);
    return err == ERR_NOTFOUND ? S3_NO_SUCH_KEY : S3_PRECONDITION_FAILED;
}

/* In apply(): an outcome of the key's own is kept, anything else is the transaction's failure. */
static int
remove_one(struct s3_request *q, struct db_conn *conn, struct removal *rm)
{
    rm->failed = NO_FAULT;
    rm->result = (struct store_delete_result){.existed = false};
    int err = store_apply_delete(q->s->store, conn, &rm->spec, &rm->result);
    if (err == ERR_PRECONDITION)
        rm->failed = unmet(q, conn, &rm->spec);
    else if (err == ERR_DENIED)
        rm->failed = S3_ACCESS_DENIED;
    else if (err == ERR_INVALID)
        rm->failed = S3_NO_SUCH_VERSION;
    else
        return err;
    return ERR_NONE;
}

static const char *
why(const struct removal *rm)
{
    if (rm->failed == S3_ACCESS_DENIED)
        return "Access Denied because object protected by object lock.";
    return s3_refusal(rm->refused != NO_FAULT ? rm->refused : rm->failed)->message;
}

/* ---- DeleteObject ---- */

static int
apply_removal(struct s3_request *q, struct db_conn *conn)
{
    return remove_one(q, conn, q->state);
}

static void
answer_removal(struct s3_request *q, int err)
{
    const struct removal *rm = q->state;
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
    } else if (rm->failed == S3_NO_SUCH_VERSION) {
        s3_fail_version_id(q, "versionId", rm->spec.version_id);
    } else if (rm->failed != NO_FAULT) {
        s3_fail_why(q, rm->failed, why(rm));
    } else {
        if (rm->result.existed)
            STAT_INC(objects_deleted_total);
        if (rm->result.marker)
            http_header(q->r, "x-amz-delete-marker", SLICE_LIT("true"));
        if (rm->result.version_id[0] != '\0')
            http_header(q->r, "x-amz-version-id", slice_str(rm->result.version_id));
        s3_reply_empty(q, 204, -1);
    }
}

void
s3_run_delete_object(struct s3_request *q)
{
    struct slice id;
    struct slice mtime = http_field(q->r, "x-amz-if-match-last-modified-time");
    struct slice size = http_field(q->r, "x-amz-if-match-size");
    struct removal *rm = arena_alloc(q->r->arena, sizeof *rm);
    if (rm == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return;
    }
    if (!s3_version_param(q, &id))
        return;
    removal_init(q, q->key, id, rm);
    if (!condition_read(http_field(q->r, "If-Match"), mtime, size, &rm->spec.condition)) {
        s3_fail_why(q, S3_INVALID_ARGUMENT, "A condition is neither a date nor a size.");
        return;
    }
    q->state = rm;
    if (s3_write_begin(q))
        s3_commit(q, apply_removal, answer_removal);
}

/* ---- DeleteObjects ---- */

/* false: the document is malformed. */
static bool
judge(struct s3_request *q, const struct xml_node *object, struct removal *rm)
{
    struct slice key = xml_text(object, "Key");
    struct slice version = slice_trim(xml_text(object, "VersionId"));
    const char *action = version.n > 0 ? s3_version_action(q->op->action) : q->op->action;
    q->version_id = version.n > 0 ? version : SLICE_NONE; /* not what the query says */
    removal_init(q, key, version, rm);
    if (key.n > STORE_KEY_MAX)
        rm->refused = S3_KEY_TOO_LONG;
    else if (!s3_may(q, q->bucket, action, key))
        rm->refused = S3_ACCESS_DENIED;
    return condition_read(slice_trim(xml_text(object, "ETag")),
                          slice_trim(xml_text(object, "LastModifiedTime")),
                          slice_trim(xml_text(object, "Size")), &rm->spec.condition);
}

/* The document as a list; NULL: answered. */
static struct removals *
parse(struct s3_request *q)
{
    const struct xml_node *root = s3_doc_parse(q, "Delete");
    if (root == NULL)
        return NULL;
    size_t count = 0;
    bool good = true;
    const struct xml_node *first = xml_child(root, "Object");
    for (const struct xml_node *n = first; n != NULL; n = xml_next(n, "Object")) {
        good &= xml_text(n, "Key").n > 0;
        count++;
    }
    if (!good || count == 0 || count > S3_DELETE_KEYS_MAX) {
        s3_fail(q, S3_MALFORMED_XML);
        return NULL;
    }
    struct removals *list = arena_alloc(q->tree, sizeof *list);
    if (list != NULL)
        list->v = arena_alloc(q->tree, count * sizeof *list->v);
    if (list == NULL || list->v == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    q->policy_memo = arena_alloc(q->tree, policy_memo_bytes(q->bucket->policy));
    list->quiet = slice_ieqs(slice_trim(xml_text(root, "Quiet")), "true");
    for (const struct xml_node *n = first; n != NULL; n = xml_next(n, "Object"))
        good &= judge(q, n, &list->v[list->count++]);
    if (!good)
        s3_fail(q, S3_MALFORMED_XML);
    return good ? list : NULL;
}

static int
apply_removals(struct s3_request *q, struct db_conn *conn)
{
    struct removals *list = q->state;
    for (size_t i = 0; i < list->count; i++) {
        struct removal *rm = &list->v[i];
        int err = rm->refused == NO_FAULT ? remove_one(q, conn, rm) : ERR_NONE;
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE;
}

static void
outcome(const struct removals *list, const struct removal *rm, struct buf *b)
{
    enum s3_fault fault = rm->refused != NO_FAULT ? rm->refused : rm->failed;
    if (fault == NO_FAULT && list->quiet)
        return;
    const char *element = fault == NO_FAULT ? "Deleted" : "Error";
    xml_open(b, element);
    xml_put(b, "Key", rm->spec.key);
    if (rm->spec.version_id.n > 0)
        xml_put(b, "VersionId", rm->spec.version_id);
    if (fault != NO_FAULT) {
        xml_puts(b, "Code", s3_refusal(fault)->code);
        xml_puts(b, "Message", why(rm));
    } else if (rm->result.marker) {
        xml_puts(b, "DeleteMarker", "true");
        xml_puts(b, "DeleteMarkerVersionId", rm->result.version_id);
    }
    xml_close(b, element);
}

static void
answer_removals(struct s3_request *q, int err)
{
    const struct removals *list = q->state;
    struct buf b;
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "DeleteResult" S3_XMLNS);
    for (size_t i = 0; i < list->count; i++) {
        outcome(list, &list->v[i], &b);
        if (list->v[i].result.existed)
            STAT_INC(objects_deleted_total);
    }
    xml_close(&b, "DeleteResult");
    s3_reply_xml(q, 200, &b);
}

/* Each key is judged by itself; strangers who can have none are told before their document. */
void
s3_prepare_delete_objects(struct s3_request *q)
{
    if (q->account == NULL && q->bucket->policy == NULL &&
        !s3_may(q, q->bucket, "s3:DeleteObject", SLICE_NONE))
        s3_fail(q, S3_ACCESS_DENIED);
}

void
s3_run_delete_objects(struct s3_request *q)
{
    struct removals *list = parse(q);
    if (list == NULL || !s3_write_begin(q))
        return;
    q->state = list;
    s3_commit(q, apply_removals, answer_removals);
}
