/*
 * DeleteObjects: up to 1,000 keys in one document, one transaction for all of them.
 *
 * Each key has its own outcome. Permission and the shape of each entry are judged on the HTTP
 * thread; the writer deletes those that are still good. A condition that does not hold fails that
 * key alone; a failure of the storage fails the request.
 */
#include "objectstore/s3_priv.h"
#include "base/err.h"
#include "base/stat.h"

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

static void
judge(struct s3_request *q, const struct xml_node *object, struct removal *rm)
{
    struct slice key = xml_text(object, "Key");
    struct slice version = xml_text(object, "VersionId");
    rm->refused = rm->failed = NO_FAULT;
    rm->spec = (struct store_delete_spec){
        .bucket = q->bucket->name,
        .key = key,
        .account_id = slice_str(q->account == NULL ? NULL : q->account->id),
        .request_id = slice_str(q->r->id),
        .source_ip = s3_source_ip(q),
        .condition = {.if_match = xml_text(object, "ETag")},
    };
    if (key.n > STORE_KEY_MAX)
        rm->refused = S3_KEY_TOO_LONG;
    else if (!s3_may(q, q->bucket, "s3:DeleteObject", key))
        rm->refused = S3_ACCESS_DENIED;
    else if (version.n > 0 && !slice_eqs(version, "null"))
        rm->refused = S3_NO_SUCH_VERSION;
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
    list->quiet = slice_ieqs(slice_trim(xml_text(root, "Quiet")), "true");
    for (const struct xml_node *n = first; n != NULL; n = xml_next(n, "Object"))
        judge(q, n, &list->v[list->count++]);
    return list;
}

static int
apply_removals(struct s3_request *q, struct db_conn *conn)
{
    struct removals *list = q->state;
    for (size_t i = 0; i < list->count; i++) {
        struct removal *rm = &list->v[i];
        rm->failed = NO_FAULT;
        rm->result = (struct store_delete_result){.existed = false};
        if (rm->refused != NO_FAULT)
            continue;
        int err = store_apply_delete(q->s->store, conn, &rm->spec, &rm->result);
        if (err == ERR_PRECONDITION)
            rm->failed = S3_PRECONDITION_FAILED;
        else if (err != ERR_NONE)
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
    if (fault != NO_FAULT) {
        xml_puts(b, "Code", s3_fault_code(fault));
        xml_puts(b, "Message", s3_fault_message(fault));
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
