/*
 * CompleteMultipartUpload, one operation of the writer:
 *
 *   list     numbers rise                                                     | may refuse
 *   parts    read in number order beside the list: there, the same, big       | may refuse
 *            enough; their extents, MD5s and checksums are gathered
 *   object   size and checksum as stated, the condition                       | may refuse
 *   change   parts not listed let go, upload's rows gone, object's row, part
 *            list, what was answered (for a day)
 *
 * Nothing is read but rows: the ETag is made of the parts' ETags, a checksum of theirs.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/multipart_priv.h"

#include <stdio.h>

/* What the listed parts add up to. */
struct assembly {
    const struct store_completion *c;
    struct store_completed *done;
    size_t matched;
    struct buf extents; /* of the object */
    struct buf parts;   /* for version_parts */
    struct buf md5s;
    struct buf raws; /* checksums */
    uint8_t joined[DIGEST_BYTES_MAX];
    enum checksum checksum; /* of all parts alike, and of the upload if it has one; else NONE */
    bool composite;
    struct store_part small; /* below the minimum: it must stay the last; number 0: none */
    bool more_stored;        /* parts that were not listed */
};

static void
assembly_init(struct assembly *a, const struct store_completion *c, struct store_completed *done)
{
    *a = (struct assembly){.c = c, .done = done};
    buf_init(&a->extents, STORE_EXTENTS_BYTES_MAX);
    buf_init(&a->parts, VERSION_PARTS_BYTES_MAX);
    buf_init(&a->md5s, (size_t)STORE_PART_MAX * MD5_BYTES);
    buf_init(&a->raws, (size_t)STORE_PART_MAX * DIGEST_BYTES_MAX);
}

static void
assembly_fini(struct assembly *a)
{
    buf_fini(&a->extents);
    buf_fini(&a->parts);
    buf_fini(&a->md5s);
    buf_fini(&a->raws);
}

static int
refuse(struct assembly *a, enum store_complete_fault fault, const struct store_part *part)
{
    a->done->fault = fault;
    if (part != NULL)
        a->done->part = *part;
    return ERR_INVALID;
}

/* ---- the list ---- */

/* Rising numbers, ETags that are MD5s. */
static int
list_check(struct assembly *a)
{
    const struct store_completion *c = a->c;
    if (c->count == 0 || c->count > STORE_PART_MAX)
        return refuse(a, STORE_COMPLETE_PART, NULL);
    for (size_t i = 1; i < c->count; i++) {
        if (c->parts[i].number <= c->parts[i - 1].number)
            return refuse(a, STORE_COMPLETE_ORDER, &c->parts[i]);
    }
    for (size_t i = 0; i < c->count; i++) {
        uint8_t md5[MD5_BYTES];
        if (hex_decode(slice_str(c->parts[i].etag), md5, sizeof md5) != ERR_NONE)
            return refuse(a, STORE_COMPLETE_PART, &c->parts[i]);
        buf_put(&a->md5s, md5, sizeof md5);
    }
    return a->md5s.err;
}

static void
assembly_etag(const struct assembly *a, char etag[STORE_ETAG_MAX])
{
    uint8_t md5[MD5_BYTES];
    char hex[2 * MD5_BYTES + 1];
    digest_md5(a->md5s.p, a->md5s.n, md5);
    hex_encode(md5, sizeof md5, hex);
    snprintf(etag, STORE_ETAG_MAX, "%s-%zu", hex, a->c->count);
}

/* ---- the parts ---- */

/* Without an algorithm of the upload's own the parts' is taken, when all have the same. */
static void
sum_begin(struct assembly *a, const struct store_part *first)
{
    const struct store_completed *done = a->done;
    a->checksum = done->algorithm != CHECKSUM_NONE ? done->algorithm : first->checksum;
    a->composite =
        done->algorithm != CHECKSUM_NONE ? done->composite : !checksum_joins(a->checksum);
}

static void
sum_add(struct assembly *a, const struct store_part *part)
{
    uint8_t raw[DIGEST_BYTES_MAX];
    size_t n = checksum_bytes(a->checksum);
    if (a->checksum == CHECKSUM_NONE)
        return;
    if (part->checksum != a->checksum ||
        base64_decode_exact(slice_str(part->checksum_base64), raw, n) != ERR_NONE) {
        a->checksum = CHECKSUM_NONE;
        return;
    }
    if (a->composite)
        buf_put(&a->raws, raw, n);
    else if (a->matched == 0)
        memcpy(a->joined, raw, n);
    else
        checksum_join(a->checksum, a->joined, raw, part->size);
}

/* Is the stored part what the client listed? */
static int
part_check(struct assembly *a, const struct store_part *want, const struct store_part *have)
{
    bool same = have->number == want->number && strcmp(have->etag, want->etag) == 0;
    if (same && want->checksum != CHECKSUM_NONE)
        same = have->checksum == want->checksum &&
               strcmp(have->checksum_base64, want->checksum_base64) == 0;
    if (!same)
        return refuse(a, STORE_COMPLETE_PART, want);
    if (a->done->algorithm != CHECKSUM_NONE && a->done->composite &&
        want->checksum == CHECKSUM_NONE)
        return refuse(a, STORE_COMPLETE_UNSUMMED, want);
    if (a->small.number != 0)
        return refuse(a, STORE_COMPLETE_SMALL, &a->small);
    return ERR_NONE;
}

/* One stored part, in number order: the next listed one, or one to let go. */
static int
part_take(struct assembly *a, const struct store_part *have, struct slice extents)
{
    const struct store_part *want = a->matched < a->c->count ? &a->c->parts[a->matched] : NULL;
    if (want == NULL || have->number < want->number) {
        a->more_stored = true;
        return ERR_NONE;
    }
    int err = part_check(a, want, have);
    if (err != ERR_NONE)
        return err;
    if (have->size > STORE_OBJECT_BYTES_MAX - a->done->size)
        return ERR_TOOBIG;
    if (a->matched == 0)
        sum_begin(a, have);
    sum_add(a, have);
    a->matched++;
    a->done->size += have->size;
    if (have->size < STORE_PART_BYTES_MIN)
        a->small = *have;
    version_parts_add(&a->parts, have);
    buf_put_slice(&a->extents, extents);
    return a->extents.err != ERR_NONE ? a->extents.err : a->parts.err;
}

static int
parts_read(struct assembly *a, struct db_conn *conn)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT number, size, etag, checksum, checksum_value, extents FROM part"
                         " WHERE upload_id = ?1 ORDER BY number");
    db_bind_blob(q, 1, a->c->upload_id);
    int rc = DB_DONE, err = ERR_NONE;
    while (err == ERR_NONE && (rc = db_step(q)) == DB_ROW) {
        struct store_part have = {.number = (int)db_column_int(q, 0),
                                  .size = db_column_int(q, 1),
                                  .checksum = (enum checksum)db_column_int(q, 3)};
        snprintf(have.etag, sizeof have.etag, "%.*s", SLICE_FMT(db_column_blob(q, 2)));
        snprintf(have.checksum_base64, sizeof have.checksum_base64, "%.*s",
                 SLICE_FMT(db_column_blob(q, 4)));
        err = part_take(a, &have, db_column_blob(q, 5));
    }
    if (err != ERR_NONE) {
        db_reset(q);
        return err;
    }
    if (rc < 0)
        return rc;
    return a->matched == a->c->count ? ERR_NONE
                                     : refuse(a, STORE_COMPLETE_PART, &a->c->parts[a->matched]);
}

/* ---- the object ---- */

/* The object's checksum into `done`. */
static int
object_sum(struct assembly *a)
{
    const uint8_t *raw = a->joined;
    struct store_completed *done = a->done;
    struct digester *d = NULL;
    struct buf text;
    if (a->checksum == CHECKSUM_NONE)
        return ERR_NONE;
    if (a->composite) {
        d = digester_new(0, a->checksum);
        if (d == NULL || a->raws.err != ERR_NONE) {
            digester_free(&d);
            return ERR_NOMEM;
        }
        digester_update(d, a->raws.p, a->raws.n);
        digester_end(d);
        raw = digester_checksum(d);
    }
    buf_init(&text, STORE_CHECKSUM_MAX - 1);
    base64_encode(&text, raw, checksum_bytes(a->checksum));
    if (a->composite)
        buf_printf(&text, "-%zu", a->c->count);
    int err = text.err;
    if (err == ERR_NONE) {
        done->checksum = a->checksum;
        snprintf(done->checksum_base64, sizeof done->checksum_base64, "%s", text.p);
    }
    buf_fini(&text);
    digester_free(&d);
    done->composite = a->composite;
    return err;
}

/* "-N" may be left out of a stated composite checksum. */
static bool
sum_is(const struct store_completed *done, struct slice stated)
{
    if (slice_eqs(stated, done->checksum_base64))
        return true;
    struct slice rest;
    struct slice plain = slice_cut(slice_str(done->checksum_base64), '-', &rest);
    return done->composite && slice_eq(stated, plain);
}

static int
stated_check(struct assembly *a)
{
    const struct store_completion *c = a->c;
    const struct store_completed *done = a->done;
    if (c->size >= 0 && c->size != done->size)
        return refuse(a, STORE_COMPLETE_SIZE, NULL);
    if (c->type_stated && done->algorithm != CHECKSUM_NONE &&
        c->checksum_composite != done->composite)
        return refuse(a, STORE_COMPLETE_TYPE, NULL);
    if (c->checksum == CHECKSUM_NONE)
        return ERR_NONE;
    /* S3 ignores what nobody asked for at the creation; we do so where we cannot tell. */
    if (done->algorithm == CHECKSUM_NONE && (c->checksum != done->checksum || !c->type_stated ||
                                             c->checksum_composite != done->composite))
        return ERR_NONE;
    if (c->checksum != done->checksum)
        return refuse(a, STORE_COMPLETE_ALGORITHM, NULL);
    return sum_is(done, c->checksum_base64) ? ERR_NONE : refuse(a, STORE_COMPLETE_SUM, NULL);
}

/* ---- again ---- */

static int
done_write(struct db_conn *conn, const struct store_object *o, struct slice upload_id,
           const struct store_put_result *result)
{
    struct db_stmt *q =
        db_prepare(conn, "INSERT INTO upload_done (upload_id, bucket_id, key, generation, etag,"
                         " done_ms, version_id, checksum, checksum_value)"
                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, o->bucket_id);
    db_bind_blob(q, 3, o->key);
    db_bind_int(q, 4, o->generation);
    db_bind_text(q, 5, slice_str(o->etag));
    db_bind_int(q, 6, o->mtime_ms);
    db_bind_text(q, 7, slice_str(result->version_id));
    db_bind_int(q, 8, o->checksum);
    db_bind_text(q, 9, slice_str(o->checksum_base64));
    return db_run(q);
}

static void
done_from_row(struct store_completed *done, struct store_put_result *result, struct db_stmt *q)
{
    int64_t checksum = db_column_int(q, 4);
    *result = (struct store_put_result){.generation = db_column_int(q, 0),
                                        .mtime_ms = db_column_int(q, 1)};
    snprintf(result->etag, sizeof result->etag, "%.*s", SLICE_FMT(db_column_blob(q, 2)));
    snprintf(result->version_id, sizeof result->version_id, "%.*s",
             SLICE_FMT(db_column_blob(q, 3)));
    if (checksum > 0 && checksum < CHECKSUM_COUNT)
        done->checksum = (enum checksum)checksum;
    snprintf(done->checksum_base64, sizeof done->checksum_base64, "%.*s",
             SLICE_FMT(db_column_blob(q, 5)));
    done->composite = strchr(done->checksum_base64, '-') != NULL;
}

/* An upload that is gone may have been completed: the same list gets the same answer. */
static int
complete_again(struct assembly *a, struct db_conn *conn, int64_t bucket_id, struct slice key,
               struct store_put_result *result)
{
    char etag[STORE_ETAG_MAX];
    struct db_stmt *q =
        db_prepare(conn, "SELECT generation, done_ms, etag, version_id, checksum, checksum_value"
                         " FROM upload_done WHERE upload_id = ?1 AND bucket_id = ?2 AND key = ?3");
    db_bind_blob(q, 1, a->c->upload_id);
    db_bind_int(q, 2, bucket_id);
    db_bind_blob(q, 3, key);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    done_from_row(a->done, result, q);
    db_reset(q);
    if (list_check(a) != ERR_NONE) {
        a->done->fault = STORE_COMPLETE_OK;
        return ERR_NOTFOUND;
    }
    assembly_etag(a, etag);
    /* Set from the row. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
    return strcmp(etag, result->etag) == 0 ? ERR_NONE : ERR_NOTFOUND;
}

/* ---- the change ---- */

static void
object_from_parts(struct assembly *a, struct store_object *o)
{
    const struct store_completed *done = a->done;
    assembly_etag(a, o->etag);
    o->size = done->size;
    o->part_count = (int)a->c->count;
    o->checksum = done->checksum;
    o->checksum_composite = done->checksum != CHECKSUM_NONE && done->composite;
    memcpy(o->checksum_base64, done->checksum_base64, sizeof o->checksum_base64);
}

/* The parts are gathered: they become the object. */
static int
complete_commit(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                struct assembly *a, struct store_object *o, struct store_put_result *result)
{
    const struct store_completion *c = a->c;
    struct store_put_spec as = *spec;
    struct object_old old;
    struct bucket_row bucket = {.id = 0};
    as.kind = STORE_CREATED_MULTIPART;
    int err = object_begin(conn, &as, &bucket, &old);
    if (err == ERR_NOTFOUND)
        a->done->fault = STORE_COMPLETE_NO_KEY;
    if (err == ERR_NONE)
        err = extent_count(buf_slice(&a->extents)) < 0 ? ERR_TOOBIG : ERR_NONE;
    if (err == ERR_NONE && a->more_stored)
        err = upload_parts_let_go(s, conn, c->upload_id, c->parts, c->count);
    if (err == ERR_NONE)
        err = upload_rows_delete(conn, bucket.id, spec->key, c->upload_id);
    if (err == ERR_NONE)
        err = object_replace(s, conn, &as, &bucket, o, buf_slice(&a->extents), &old, result);
    if (err == ERR_NONE)
        err = version_parts_write(conn, o->seq, buf_slice(&a->parts));
    if (err == ERR_NONE)
        err = done_write(conn, o, c->upload_id, result);
    object_old_fini(&old);
    return err;
}

static int
complete(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
         struct assembly *a, int64_t bucket_id, struct store_put_result *result)
{
    struct store_object o = {.bucket_id = bucket_id, .key = spec->key};
    struct store_upload u;
    struct buf texts;
    buf_init(&texts, UPLOAD_TEXTS_MAX);
    int err = upload_describe(conn, a->c->upload_id, &o, &u, &texts);
    if (err == ERR_NONE) {
        a->done->algorithm = u.checksum;
        a->done->composite = u.checksum_composite;
        err = list_check(a);
    }
    if (err == ERR_NONE)
        err = parts_read(a, conn);
    if (err == ERR_NONE)
        err = object_sum(a);
    if (err == ERR_NONE)
        err = stated_check(a);
    if (err == ERR_NONE) {
        object_from_parts(a, &o);
        err = complete_commit(s, conn, spec, a, &o, result);
    }
    buf_fini(&texts);
    return err;
}

int
store_apply_complete(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                     const struct store_completion *c, struct store_completed *done,
                     struct store_put_result *result)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct assembly a;
    struct bucket_row bucket = {.id = 0};
    *done = (struct store_completed){.fault = STORE_COMPLETE_OK};
    int err = bucket_row_find(conn, spec->bucket, &bucket);
    if (err != ERR_NONE)
        return err;
    assembly_init(&a, c, done);
    err = complete(s, conn, spec, &a, bucket.id, result);
    if (err == ERR_NOTFOUND && done->fault == STORE_COMPLETE_OK)
        err = complete_again(&a, conn, bucket.id, spec->key, result);
    assembly_fini(&a);
    return err;
}
