/*
 * CompleteMultipartUpload: the list of parts from the body, what the headers say of the whole
 * object, and the words for whatever the store has against them. Everything is judged and done in
 * one transaction (multipart_complete.c).
 */
#include "objectstore/s3_multipart.h"
#include "base/err.h"
#include "base/stat.h"

#include <stdio.h>

#define WHY_MAX 200

struct completing {
    struct store_completion c;
    struct store_completed done;
};

/* ---- the list ---- */

/* The Checksum* element of a part. ERR_INVALID: more than one, or no checksum. */
static int
part_checksum(const struct xml_node *node, struct store_part *part)
{
    uint8_t raw[DIGEST_BYTES_MAX];
    for (const struct xml_node *n = node->child; n != NULL; n = n->next) {
        if (!slice_starts(n->name, SLICE_LIT("Checksum")))
            continue;
        enum checksum c = checksum_by_name(slice_skip(n->name, strlen("Checksum")));
        struct slice text = xml_trim(n->text);
        if (c == CHECKSUM_NONE)
            continue;
        if (part->checksum != CHECKSUM_NONE ||
            base64_decode_exact(text, raw, checksum_bytes(c)) != ERR_NONE)
            return ERR_INVALID;
        part->checksum = c;
        memcpy(part->checksum_base64, text.p, text.n);
    }
    return ERR_NONE;
}

/* Number and ETag, which is cut when it is too long for any. */
static bool
part_parse(const struct xml_node *node, struct store_part *part)
{
    uint64_t number = 0;
    struct slice etag = xml_trim(xml_text(node, "ETag"));
    if (slice_to_u64(xml_trim(xml_text(node, "PartNumber")), &number) != ERR_NONE || number < 1 ||
        number > STORE_PART_MAX || etag.p == NULL)
        return false;
    if (etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"')
        etag = xml_trim(slice_of(etag.p + 1, etag.n - 2));
    part->number = (int)number;
    memcpy(part->etag, etag.p, etag.n < sizeof part->etag ? etag.n : sizeof part->etag - 1);
    return true;
}

/* false: answered. */
static bool
parts_parse(struct s3_request *q, const struct xml_node *root, struct store_part *parts)
{
    size_t i = 0;
    for (const struct xml_node *n = xml_child(root, "Part"); n != NULL; n = xml_next(n, "Part")) {
        if (!part_parse(n, &parts[i])) {
            s3_fail(q, S3_MALFORMED_XML);
            return false;
        }
        if (part_checksum(n, &parts[i]) != ERR_NONE) {
            s3_extra(q, "ArgumentName", SLICE_LIT("Checksum"));
            s3_fail_why(q, S3_INVALID_ARGUMENT,
                        "Invalid Base64 or multiple checksums present in request");
            return false;
        }
        i++;
    }
    return true;
}

/* NULL: answered. */
static struct completing *
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
    struct completing *k = arena_alloc(q->tree, sizeof *k);
    struct store_part *parts = arena_alloc(q->tree, count * sizeof *parts);
    if (k == NULL || parts == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    if (!parts_parse(q, root, parts) || !s3_sum_completion(q, &k->c))
        return NULL;
    k->c.parts = parts;
    k->c.count = count;
    k->c.upload_id = http_param(q->r, "uploadId");
    return k;
}

/* ---- refusals ---- */

static void
fail_part(struct s3_request *q, const struct completing *k, enum s3_fault fault)
{
    char number[16], size[24];
    const struct store_part *part = &k->done.part;
    snprintf(number, sizeof number, "%d", part->number);
    snprintf(size, sizeof size, "%lld", (long long)part->size);
    if (fault == S3_ENTITY_TOO_SMALL) {
        s3_extra(q, "ProposedSize", slice_str(size));
        s3_extra(q, "MinSizeAllowed", SLICE_LIT("5242880"));
    } else {
        s3_extra(q, "UploadId", k->c.upload_id);
    }
    s3_extra(q, "PartNumber", slice_str(number));
    s3_extra(q, "ETag", slice_str(part->etag));
    s3_fail(q, fault);
}

static void
fail_unsummed(struct s3_request *q, const struct completing *k)
{
    char why[WHY_MAX];
    snprintf(why, sizeof why,
             "The upload was created using a %s checksum. The complete request must include the "
             "checksum for each part. It was missing for part %d in the request.",
             checksum_name(k->done.algorithm), k->done.part.number);
    s3_fail_why(q, S3_INVALID_REQUEST, why);
}

static void
fail_type(struct s3_request *q, const struct completing *k)
{
    char why[WHY_MAX];
    snprintf(why, sizeof why,
             "The upload was created using the %s checksum mode. The complete request must use the "
             "same checksum mode.",
             k->done.composite ? "COMPOSITE" : "FULL_OBJECT");
    s3_fail_why(q, S3_INVALID_REQUEST, why);
}

static void
fail_size(struct s3_request *q, const struct completing *k)
{
    char why[WHY_MAX];
    snprintf(why, sizeof why,
             "The provided 'x-amz-mp-object-size' header value %lld does not match what was "
             "computed: %lld",
             (long long)k->c.size, (long long)k->done.size);
    s3_fail_why(q, S3_INVALID_REQUEST, why);
}

static void
fail_complete(struct s3_request *q, const struct completing *k, int err)
{
    switch (k->done.fault) {
    case STORE_COMPLETE_OK:
        s3_fail_upload(q, err);
        break;
    case STORE_COMPLETE_ORDER:
        s3_fail(q, S3_INVALID_PART_ORDER);
        break;
    case STORE_COMPLETE_PART:
        fail_part(q, k, S3_INVALID_PART);
        break;
    case STORE_COMPLETE_SMALL:
        fail_part(q, k, S3_ENTITY_TOO_SMALL);
        break;
    case STORE_COMPLETE_UNSUMMED:
        fail_unsummed(q, k);
        break;
    case STORE_COMPLETE_ALGORITHM:
        s3_fail_sum_type(q, k->done.algorithm, k->c.checksum);
        break;
    case STORE_COMPLETE_TYPE:
        fail_type(q, k);
        break;
    case STORE_COMPLETE_SUM:
        s3_fail_sum(q, k->c.checksum);
        break;
    case STORE_COMPLETE_SIZE:
        fail_size(q, k);
        break;
    case STORE_COMPLETE_NO_KEY:
        s3_fail(q, S3_NO_SUCH_KEY);
        break;
    }
}

/* ---- the change ---- */

static int
apply_complete(struct s3_request *q, struct db_conn *conn)
{
    struct completing *k = q->state;
    struct s3_write *w = q->w;
    int err = store_apply_complete(q->s->store, conn, &w->spec, &k->c, &k->done, &w->result);
    store_object_unref(&w->source);
    if (err != ERR_NONE || q->bucket->lifecycle == NULL)
        return err;
    /* What it became, for x-amz-expiration: its size and tags come from the upload. Gone, when a
     * completion is told again. */
    int found = store_apply_get(q->s->store, conn, q->bucket->id, q->key, &w->source);
    return found == ERR_NOTFOUND ? ERR_NONE : found;
}

static void
reply_completed(struct s3_request *q)
{
    const struct completing *k = q->state;
    struct buf b;
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "CompleteMultipartUploadResult" S3_XMLNS);
    xml_open(&b, "Location");
    buf_puts(&b, q->r->secure ? "https://" : "http://");
    xml_escape(&b, http_field(q->r, "Host"));
    http_escape(&b, q->r->path, true);
    xml_close(&b, "Location");
    xml_put(&b, "Bucket", q->bucket->name);
    xml_put(&b, "Key", q->key);
    s3_etag_xml(&b, q->w->result.etag);
    s3_checksum_xml(&b, k->done.checksum, k->done.checksum_base64);
    s3_checksum_type_xml(&b, k->done.checksum, k->done.composite);
    xml_close(&b, "CompleteMultipartUploadResult");
    s3_reply_xml(q, 200, &b);
}

static void
answer_complete(struct s3_request *q, int err)
{
    const struct completing *k = q->state;
    if (err != ERR_NONE) {
        fail_complete(q, k, err);
        return;
    }
    q->w->generation = q->w->result.generation;
    STAT_INC(objects_put_total);
    s3_version_made(q, q->w->result.version_id);
    const struct store_object *o = q->w->source;
    if (o != NULL && strcmp(o->etag, q->w->result.etag) == 0)
        s3_expiration_header(q, o->size, o->tags, o->mtime_ms);
    reply_completed(q);
}

void
s3_run_complete_upload(struct s3_request *q)
{
    struct completing *k = completion_parse(q);
    if (k == NULL || !s3_write_begin(q) || !s3_spec_fill(q, STORE_CREATED_MULTIPART, false))
        return;
    q->state = k;
    s3_commit(q, apply_complete, answer_complete);
}
