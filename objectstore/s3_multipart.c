/*
 * Multipart uploads: create, part, part by copy, abort. The end is in s3_complete.c, the listings
 * in s3_uploads.c.
 *
 * A part is a put like any other whose bytes wait under the upload. When the upload has a checksum
 * algorithm every part has that checksum: the client's, compared; or for type FULL_OBJECT and for
 * copies one that is computed here, of a copy off the writer's thread (objectstore/sum.c).
 */
#include "objectstore/s3_multipart.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stat.h"

#include <stdio.h>

struct part_upload {
    const struct store_upload *upload;
    struct store_part part;
    struct s3_copy *copy; /* UploadPartCopy: */
    bool ranged;          /* first..last of the source */
    int64_t first, last;
    int64_t summed_seq; /* the version whose bytes were summed; 0: none was */
};

void
s3_fail_upload(struct s3_request *q, int err)
{
    if (err == ERR_NOTFOUND) {
        s3_extra(q, "UploadId", http_param(q->r, "uploadId"));
        s3_fail(q, S3_NO_SUCH_UPLOAD);
    } else {
        s3_fail_err(q, err);
    }
}

const struct store_upload *
s3_upload_find(struct s3_request *q)
{
    struct store_upload *u = arena_alloc(q->r->arena, sizeof *u);
    if (u == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    int err = store_upload_get(q->s->store, q->bucket->name, q->key, http_param(q->r, "uploadId"),
                               q->r->arena, u);
    if (err == ERR_NONE)
        return u;
    s3_fail_upload(q, err);
    return NULL;
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
    struct buf b;
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
        return;
    }
    s3_algorithm_headers(q, q->w->spec.checksum, q->w->spec.checksum_composite);
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
    if (!s3_write_begin(q) || !s3_spec_fill(q, STORE_CREATED_MULTIPART, true))
        return;
    /* Conditions belong to the completion. */
    q->w->spec.condition = (struct store_condition){.if_match = SLICE_NONE};
    (void)s3_sum_asked(q, &q->w->spec.checksum, &q->w->spec.checksum_composite);
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

/* false: answered. */
static bool
part_number(struct s3_request *q, int *out)
{
    struct slice text = http_param(q->r, "partNumber");
    uint64_t number = 0;
    if (slice_to_u64(text, &number) == ERR_NONE && number >= 1 && number <= STORE_PART_MAX) {
        *out = (int)number;
        return true;
    }
    s3_extra(q, "ArgumentName", SLICE_LIT("partNumber"));
    s3_extra(q, "ArgumentValue", text);
    s3_fail_why(q, S3_INVALID_ARGUMENT,
                "Part number must be an integer between 1 and 10000, inclusive");
    return false;
}

/* Upload and part number from the query; NULL: answered. */
static struct part_upload *
part_begin(struct s3_request *q)
{
    struct part_upload *u = arena_alloc(q->r->arena, sizeof *u);
    if (u == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    if (!part_number(q, &u->part.number))
        return NULL;
    u->upload = s3_upload_find(q);
    if (u->upload == NULL || !s3_write_begin(q) || !s3_spec_fill(q, STORE_CREATED_MULTIPART, false))
        return NULL;
    return u;
}

static int
apply_part(struct s3_request *q, struct db_conn *conn)
{
    const struct part_upload *u = q->state;
    return store_apply_part(q->s->store, conn, q->bucket->name, q->key, u->upload->upload_id,
                            &u->part, q->w->put);
}

static void
answer_part(struct s3_request *q, int err)
{
    const struct part_upload *u = q->state;
    if (err != ERR_NONE) {
        s3_fail_upload(q, err);
        return;
    }
    STAT_ADD(object_bytes_in_total, u->part.size);
    s3_etag_header(q, u->part.etag);
    s3_checksum_header(q, u->part.checksum, u->part.checksum_base64);
    s3_reply_empty(q, 200, 0);
}

void
s3_prepare_upload_part(struct s3_request *q)
{
    struct part_upload *u = part_begin(q);
    q->state = u;
    if (u == NULL)
        return;
    q->w->sum = u->upload->checksum;
    q->w->sum_must_be_stated = u->upload->checksum_composite;
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

/* x-amz-copy-source-range has one form only; false: answered. */
static bool
copy_range_read(struct s3_request *q, struct part_upload *u)
{
    struct slice text = http_field(q->r, "x-amz-copy-source-range"), last;
    uint64_t a = 0, b = 0;
    u->ranged = text.p != NULL;
    if (!u->ranged)
        return true;
    bool ok = slice_starts(text, SLICE_LIT("bytes="));
    struct slice first = slice_cut(slice_skip(text, ok ? strlen("bytes=") : 0), '-', &last);
    if (ok && slice_to_u64(first, &a) == ERR_NONE && slice_to_u64(last, &b) == ERR_NONE && a <= b &&
        b < INT64_MAX) {
        u->first = (int64_t)a;
        u->last = (int64_t)b;
        return true;
    }
    s3_extra(q, "ArgumentName", SLICE_LIT("x-amz-copy-source-range"));
    s3_extra(q, "ArgumentValue", text);
    s3_fail_why(q, S3_INVALID_ARGUMENT,
                "The x-amz-copy-source-range value must be of the form bytes=first-last where "
                "first and last are the zero-based offsets of the first and last bytes to copy");
    return false;
}

/* What is copied of a source of that size; ERR_RANGE. */
static int
copy_stretch(const struct part_upload *u, int64_t size, int64_t *offset, int64_t *bytes)
{
    *offset = u->ranged ? u->first : 0;
    *bytes = u->ranged ? u->last - u->first + 1 : size;
    return u->ranged && u->last >= size ? ERR_RANGE : ERR_NONE;
}

static int
apply_part_copy(struct s3_request *q, struct db_conn *conn)
{
    struct part_upload *u = q->state;
    int64_t offset, bytes;
    int err = s3_copy_source(q, u->copy, conn);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_STALE : err; /* it was there a moment ago */
    if (u->summed_seq != 0 && u->summed_seq != q->w->source->seq)
        return ERR_STALE;
    err = copy_stretch(u, q->w->source->size, &offset, &bytes);
    if (err != ERR_NONE)
        return err;
    if (u->summed_seq != 0) {
        u->part.checksum = u->upload->checksum;
        memcpy(u->part.checksum_base64, q->w->sum_base64, sizeof u->part.checksum_base64);
    }
    u->part.etag[0] = '\0'; /* not that of an earlier run */
    return store_apply_part_copy(q->s->store, conn, q->bucket->name, q->key, u->upload->upload_id,
                                 &u->part, q->w->source, offset, bytes);
}

static void
fail_copy(struct s3_request *q, const struct part_upload *u, int64_t source_size)
{
    char why[120];
    struct slice range = http_field(q->r, "x-amz-copy-source-range");
    if (u->last - u->first >= STORE_PUT_BYTES_MAX) {
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "The specified copy source is larger than the maximum allowable size for a "
                    "copy source: 5368709120");
        return;
    }
    snprintf(why, sizeof why, "Range specified is not valid for source object of size: %lld",
             (long long)source_size);
    s3_extra(q, "ArgumentName", SLICE_LIT("x-amz-copy-source-range"));
    s3_extra(q, "ArgumentValue", range);
    s3_fail_why(q, S3_INVALID_ARGUMENT, why);
}

static void
answer_part_copy(struct s3_request *q, int err)
{
    const struct part_upload *u = q->state;
    struct buf b;
    if (err != ERR_NONE) {
        if (err == ERR_RANGE && q->w->source != NULL)
            fail_copy(q, u, q->w->source->size);
        else
            s3_fail_upload(q, err);
        return;
    }
    s3_copy_source_header(q, u->copy);
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "CopyPartResult" S3_XMLNS);
    s3_time_xml(&b, "LastModified", u->part.mtime_ms);
    s3_etag_xml(&b, u->part.etag);
    s3_checksum_xml(&b, u->part.checksum, u->part.checksum_base64);
    xml_close(&b, "CopyPartResult");
    s3_reply_xml(q, 200, &b);
}

/* Must the bytes be read for the part's checksum? */
static bool
copy_needs_sum(const struct part_upload *u, const struct store_object *o, int64_t bytes)
{
    enum checksum wanted = u->upload->checksum;
    return wanted != CHECKSUM_NONE &&
           (o->checksum != wanted || o->checksum_composite || bytes != o->size);
}

/* Looks at the source as it is now, so that what must be read is known; in the transaction it has
 * to be the same version. */
static void
copy_go(struct s3_request *q, struct part_upload *u, const struct store_object *o)
{
    int64_t offset, bytes;
    if (copy_stretch(u, o->size, &offset, &bytes) != ERR_NONE || bytes > STORE_PUT_BYTES_MAX) {
        fail_copy(q, u, o->size);
    } else if (copy_needs_sum(u, o, bytes)) {
        u->summed_seq = o->seq;
        q->w->sum = u->upload->checksum;
        s3_sum_and_commit(q, o, offset, bytes, apply_part_copy, answer_part_copy);
    } else {
        s3_commit(q, apply_part_copy, answer_part_copy);
    }
}

void
s3_run_upload_part_copy(struct s3_request *q)
{
    struct part_upload *u = part_begin(q);
    const struct store_object *o = NULL;
    if (u == NULL || !copy_range_read(q, u))
        return;
    u->copy = s3_copy_begin(q);
    if (u->copy == NULL)
        return;
    q->state = u;
    int err = s3_copy_found(q, u->copy, &o);
    if (err != ERR_NONE)
        s3_fail_err(q, err);
    else
        copy_go(q, u, o);
    store_object_unref(&o);
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
        s3_fail_upload(q, err);
    else
        s3_reply_empty(q, 204, -1);
}

void
s3_run_abort_upload(struct s3_request *q)
{
    if (s3_write_begin(q))
        s3_commit(q, apply_abort, answer_abort);
}
