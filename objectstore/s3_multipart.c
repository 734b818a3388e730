/*
 * Multipart uploads: create, part, part by copy, complete, abort, and their listings.
 *
 * A part is a put like any other whose bytes wait under the upload. Completion judges the list the
 * client gives, and joins the parts' extents, in one transaction.
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stat.h"

#include <stdio.h>

#define CHECKSUM_TEXT_MAX 32

struct part_upload {
    struct slice upload_id;
    struct store_part part;
    struct s3_copy *copy; /* UploadPartCopy */
};

static void
fail_upload(struct s3_request *q, int err)
{
    if (err == ERR_NOTFOUND) {
        s3_extra(q, "UploadId", http_param(q->r, "uploadId"));
        s3_fail(q, S3_NO_SUCH_UPLOAD);
    } else {
        s3_fail_err(q, err);
    }
}

static int
no_part(void *arg, const struct store_part *part)
{
    (void)arg;
    (void)part;
    return ERR_NONE;
}

/* false: answered. */
static bool
upload_exists(struct s3_request *q, struct slice upload_id)
{
    bool truncated;
    int err = store_part_list(q->s->store, q->bucket->name, q->key, upload_id, 0, 1, no_part, NULL,
                              &truncated);
    if (err != ERR_NONE)
        fail_upload(q, err);
    return err == ERR_NONE;
}

/* ---- create ---- */

struct upload_creation {
    char id[STORE_UPLOAD_ID_MAX];
};

static int
apply_create(struct s3_request *q, struct db_conn *conn)
{
    struct upload_creation *c = q->state;
    return store_apply_upload_create(q->s->store, conn, &q->w->spec, c->id);
}

static void
answer_create(struct s3_request *q, int err)
{
    const struct upload_creation *c = q->state;
    struct slice type = http_field(q->r, "x-amz-checksum-type");
    struct buf b;
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
        return;
    }
    if (q->w->spec.checksum != CHECKSUM_NONE) {
        http_header(q->r, "x-amz-checksum-algorithm", http_field(q->r, "x-amz-checksum-algorithm"));
        if (type.n > 0)
            http_header(q->r, "x-amz-checksum-type", type);
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "InitiateMultipartUploadResult" S3_XMLNS);
    xml_put(&b, "Bucket", q->bucket->name);
    xml_put(&b, "Key", q->key);
    xml_puts(&b, "UploadId", c->id);
    xml_close(&b, "InitiateMultipartUploadResult");
    s3_reply_xml(q, 200, &b);
}

void
s3_prepare_create_upload(struct s3_request *q)
{
    struct slice algorithm = http_field(q->r, "x-amz-checksum-algorithm");
    if (!s3_write_begin(q) || !s3_spec_fill(q, STORE_CREATED_MULTIPART, true))
        return;
    /* Conditions belong to the completion. */
    q->w->spec.condition = (struct store_condition){.if_match = SLICE_NONE};
    q->w->spec.checksum = checksum_by_name(algorithm);
    if (algorithm.n > 0 && q->w->spec.checksum == CHECKSUM_NONE)
        s3_fail_why(q, S3_INVALID_REQUEST, "Checksum algorithm provided is unsupported.");
}

void
s3_run_create_upload(struct s3_request *q)
{
    q->state = arena_alloc(q->r->arena, sizeof(struct upload_creation));
    if (q->state == NULL)
        s3_fail_err(q, ERR_NOMEM);
    else
        s3_commit(q, apply_create, answer_create);
}

/* ---- parts ---- */

/* Upload and part number from the query; NULL: answered. */
static struct part_upload *
part_begin(struct s3_request *q)
{
    struct part_upload *u = arena_alloc(q->r->arena, sizeof *u);
    int number;
    if (u == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    if (!s3_param_int(q, "partNumber", 0, STORE_PART_MAX + 1, true, 0, &number))
        return NULL;
    if (number < 1 || number > STORE_PART_MAX) {
        s3_fail_why(q, S3_INVALID_ARGUMENT,
                    "Part number must be an integer between 1 and 10000, inclusive");
        return NULL;
    }
    u->upload_id = http_param(q->r, "uploadId");
    u->part.number = number;
    if (!upload_exists(q, u->upload_id) || !s3_write_begin(q) ||
        !s3_spec_fill(q, STORE_CREATED_MULTIPART, false))
        return NULL;
    return u;
}

static int
apply_part(struct s3_request *q, struct db_conn *conn)
{
    struct part_upload *u = q->state;
    return store_apply_part(q->s->store, conn, q->bucket->name, q->key, u->upload_id, &u->part,
                            q->w->put);
}

static void
answer_part(struct s3_request *q, int err)
{
    const struct part_upload *u = q->state;
    if (err != ERR_NONE) {
        fail_upload(q, err);
        return;
    }
    STAT_ADD(object_bytes_in_total, u->part.size);
    s3_etag_header(q, u->part.etag);
    s3_checksum_headers(q, u->part.checksum, u->part.checksum_base64, false);
    s3_reply_empty(q, 200, 0);
}

void
s3_prepare_upload_part(struct s3_request *q)
{
    q->state = part_begin(q);
}

void
s3_run_upload_part(struct s3_request *q)
{
    struct part_upload *u = q->state;
    s3_spec_seal(q);
    u->part.size = store_put_bytes(q->w->put);
    u->part.mtime_ms = clock_wall_ms();
    memcpy(u->part.etag, q->w->etag, sizeof q->w->etag);
    u->part.checksum = q->w->spec.checksum;
    struct slice base64 = q->w->spec.checksum_base64;
    CHK(base64.n < sizeof u->part.checksum_base64);
    if (base64.n > 0)
        memcpy(u->part.checksum_base64, base64.p, base64.n);
    s3_seal_and_commit(q, apply_part, answer_part);
}

/* ---- parts by copy ---- */

static int
apply_part_copy(struct s3_request *q, struct db_conn *conn)
{
    struct part_upload *u = q->state;
    struct s3_copy *c = u->copy;
    struct slice range = http_field(q->r, "x-amz-copy-source-range");
    int64_t offset = 0;
    int err = s3_copy_source(q, c, conn);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_STALE : err; /* it was there a moment ago */
    int64_t bytes = q->w->source->size;
    if (c->ranged) {
        err = s3_range(range, q->w->source->size, &offset, &bytes);
        if (err != ERR_NONE)
            return ERR_RANGE;
    }
    u->part.size = bytes;
    u->part.mtime_ms = clock_wall_ms();
    return store_apply_part_copy(q->s->store, conn, q->bucket->name, q->key, u->upload_id, &u->part,
                                 q->w->source, offset, bytes);
}

static void
answer_part_copy(struct s3_request *q, int err)
{
    const struct part_upload *u = q->state;
    struct buf b;
    if (err != ERR_NONE) {
        fail_upload(q, err);
        return;
    }
    s3_copy_source_header(q, u->copy);
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "CopyPartResult" S3_XMLNS);
    s3_time_xml(&b, "LastModified", u->part.mtime_ms);
    s3_etag_xml(&b, u->part.etag);
    xml_close(&b, "CopyPartResult");
    s3_reply_xml(q, 200, &b);
}

void
s3_run_upload_part_copy(struct s3_request *q)
{
    struct part_upload *u = part_begin(q);
    struct slice range = http_field(q->r, "x-amz-copy-source-range");
    int64_t offset, bytes;
    if (u == NULL)
        return;
    if (range.p != NULL && s3_range(range, INT64_MAX, &offset, &bytes) != ERR_NONE) {
        s3_fail_why(
            q, S3_INVALID_ARGUMENT,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where "
            "first and last are the zero-based offsets of the first and last bytes to copy");
        return;
    }
    u->copy = s3_copy_begin(q);
    if (u->copy == NULL)
        return;
    q->state = u;
    s3_commit(q, apply_part_copy, answer_part_copy);
}

/* ---- complete ---- */

struct completion {
    struct slice upload_id;
    struct store_part *parts;
    size_t count;
    enum store_complete_fault fault;
};

/* Any Checksum* element of a part. */
static void
part_checksum(const struct xml_node *node, struct store_part *part)
{
    for (const struct xml_node *n = node->child; n != NULL; n = n->next) {
        if (!slice_starts(n->name, SLICE_LIT("Checksum")))
            continue;
        enum checksum c = checksum_by_name(slice_skip(n->name, strlen("Checksum")));
        struct slice text = slice_trim(n->text);
        if (c == CHECKSUM_NONE || text.n >= sizeof part->checksum_base64)
            continue;
        part->checksum = c;
        memcpy(part->checksum_base64, text.p, text.n);
        return;
    }
}

static bool
part_parse(const struct xml_node *node, struct store_part *part)
{
    uint64_t number = 0;
    struct slice etag = slice_trim(xml_text(node, "ETag"));
    if (slice_to_u64(slice_trim(xml_text(node, "PartNumber")), &number) != ERR_NONE || number < 1 ||
        number > STORE_PART_MAX)
        return false;
    if (etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"')
        etag = slice_of(etag.p + 1, etag.n - 2);
    if (etag.p == NULL || etag.n >= sizeof part->etag)
        return false;
    part->number = (int)number;
    memcpy(part->etag, etag.p, etag.n);
    part_checksum(node, part);
    return true;
}

/* NULL: answered. */
static struct completion *
completion_parse(struct s3_request *q)
{
    const struct xml_node *root = s3_doc_parse(q, "CompleteMultipartUpload");
    if (root == NULL)
        return NULL;
    size_t count = 0;
    for (const struct xml_node *n = xml_child(root, "Part"); n != NULL; n = xml_next(n, "Part"))
        count++;
    if (count == 0 || count > STORE_PART_MAX) {
        s3_fail(q, S3_MALFORMED_XML);
        return NULL;
    }
    struct completion *c = arena_alloc(q->tree, sizeof *c);
    if (c != NULL)
        c->parts = arena_alloc(q->tree, count * sizeof *c->parts);
    if (c == NULL || c->parts == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    for (const struct xml_node *n = xml_child(root, "Part"); n != NULL; n = xml_next(n, "Part")) {
        if (!part_parse(n, &c->parts[c->count++])) {
            s3_fail(q, S3_MALFORMED_XML);
            return NULL;
        }
    }
    c->upload_id = http_param(q->r, "uploadId");
    return c;
}

static int
apply_complete(struct s3_request *q, struct db_conn *conn)
{
    struct completion *c = q->state;
    c->fault = STORE_COMPLETE_OK;
    return store_apply_complete(q->s->store, conn, &q->w->spec, c->upload_id, c->parts, c->count,
                                &c->fault, &q->w->result);
}

static void
reply_completed(struct s3_request *q)
{
    struct buf b;
    s3_version_made(q, q->w->result.version_id);
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "CompleteMultipartUploadResult" S3_XMLNS);
    xml_open(&b, "Location");
    buf_puts(&b, "http://");
    xml_escape(&b, http_field(q->r, "Host"));
    http_escape(&b, q->r->path, true);
    xml_close(&b, "Location");
    xml_put(&b, "Bucket", q->bucket->name);
    xml_put(&b, "Key", q->key);
    s3_etag_xml(&b, q->w->result.etag);
    xml_close(&b, "CompleteMultipartUploadResult");
    s3_reply_xml(q, 200, &b);
}

static void
answer_complete(struct s3_request *q, int err)
{
    const struct completion *c = q->state;
    if (err == ERR_NONE) {
        q->w->generation = q->w->result.generation;
        STAT_INC(objects_put_total);
        reply_completed(q);
        return;
    }
    if (err == ERR_INVALID && c->fault == STORE_COMPLETE_ORDER)
        s3_fail(q, S3_INVALID_PART_ORDER);
    else if (err == ERR_INVALID && c->fault == STORE_COMPLETE_PART)
        s3_fail(q, S3_INVALID_PART);
    else if (err == ERR_INVALID && c->fault == STORE_COMPLETE_SMALL)
        s3_fail(q, S3_ENTITY_TOO_SMALL);
    else
        fail_upload(q, err);
}

/* Here an x-amz-checksum header is about the whole object, which nobody reads: not to be taken on
 * trust. */
void
s3_prepare_complete_upload(struct s3_request *q)
{
    char name[CHECKSUM_TEXT_MAX];
    for (int c = CHECKSUM_NONE + 1; c < CHECKSUM_COUNT && !http_replied(q->r); c++) {
        snprintf(name, sizeof name, "x-amz-checksum-%s", checksum_name((enum checksum)c));
        if (http_field(q->r, name).n > 0)
            s3_fail_why(q, S3_NOT_IMPLEMENTED,
                        "A checksum of the whole object cannot be checked at the completion; "
                        "state one for each part");
    }
}

void
s3_run_complete_upload(struct s3_request *q)
{
    struct completion *c = completion_parse(q);
    if (c == NULL || !s3_write_begin(q) || !s3_spec_fill(q, STORE_CREATED_MULTIPART, false))
        return;
    q->state = c;
    s3_commit(q, apply_complete, answer_complete);
}

/* ---- abort ---- */

static int
apply_abort(struct s3_request *q, struct db_conn *conn)
{
    return store_apply_upload_abort(q->s->store, conn, q->bucket->name, q->key,
                                    http_param(q->r, "uploadId"));
}

static void
answer_abort(struct s3_request *q, int err)
{
    if (err != ERR_NONE)
        fail_upload(q, err);
    else
        s3_reply_empty(q, 204, -1);
}

void
s3_run_abort_upload(struct s3_request *q)
{
    if (s3_write_begin(q))
        s3_commit(q, apply_abort, answer_abort);
}
