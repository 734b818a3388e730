/*
 * Multipart uploads. A part is bytes with references of its own; the completion hands these over to
 * the object, so no byte and no count moves, and what the client did not list is let go.
 *
 *   none --create--> open --part*--> open --complete--> done (a day, for a client that asks again)
 *                      |                                 '--sweep--> none
 *                      +--abort--> none
 *
 * An upload id starts with the time, so that the uploads of a key list in the order they began; 128
 * random bits behind it make it unguessable.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/store_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define UPLOAD_RANDOM_BYTES 16

/* ---- uploads ---- */

static int
upload_exists(struct db_conn *conn, int64_t bucket_id, struct slice key, struct slice upload_id)
{
    struct db_stmt *q = db_prepare(
        conn, "SELECT 1 FROM upload WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?3");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_blob(q, 3, upload_id);
    int rc = db_step(q);
    if (rc == DB_ROW)
        db_reset(q);
    return rc == DB_ROW ? ERR_NONE : rc == DB_DONE ? ERR_NOTFOUND : rc;
}

/* Inside apply() or a read: ERR_NOPARENT bucket, ERR_NOTFOUND upload. */
static int
upload_find(struct db_conn *conn, struct slice bucket, struct slice key, struct slice upload_id,
            struct bucket_row *row)
{
    int err = bucket_row_find(conn, bucket, row);
    return err == ERR_NONE ? upload_exists(conn, row->id, key, upload_id) : err;
}

int
store_apply_upload_create(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                          char upload_id[STORE_UPLOAD_ID_MAX])
{
    CHK_MAGIC(s, STORE_MAGIC);
    uint8_t random[UPLOAD_RANDOM_BYTES];
    char hex[2 * UPLOAD_RANDOM_BYTES + 1];
    struct bucket_row bucket_row = {.id = 0};
    if (spec->key.n == 0)
        return ERR_INVALID;
    if (spec->key.n > STORE_KEY_MAX || spec->meta.n > STORE_META_BYTES_MAX)
        return ERR_TOOBIG;
    int err = bucket_row_find(conn, spec->bucket, &bucket_row);
    if (err != ERR_NONE)
        return err;
    int64_t now = clock_wall_ms();
    random_bytes(random, sizeof random);
    hex_encode(random, sizeof random, hex);
    snprintf(upload_id, STORE_UPLOAD_ID_MAX, "%012" PRIx64 "%s", (uint64_t)now, hex);
    struct db_stmt *q =
        db_prepare(conn, "INSERT INTO upload (bucket_id, key, upload_id, created_ms,"
                         " owner, content_type, meta)"
                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    db_bind_int(q, 1, bucket_row.id);
    db_bind_blob(q, 2, spec->key);
    db_bind_blob(q, 3, slice_str(upload_id));
    db_bind_int(q, 4, now);
    db_bind_blob(q, 5, spec->owner);
    db_bind_blob(q, 6, spec->content_type);
    db_bind_blob(q, 7, spec->meta);
    return db_run(q);
}

static int
upload_delete(struct db_conn *conn, int64_t bucket_id, struct slice key, struct slice upload_id)
{
    struct db_stmt *q = db_prepare(conn, "DELETE FROM part WHERE upload_id = ?1");
    db_bind_blob(q, 1, upload_id);
    int err = db_run(q);
    if (err != ERR_NONE)
        return err;
    q = db_prepare(conn, "DELETE FROM upload WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?3");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_blob(q, 3, upload_id);
    return db_run(q);
}

/* ---- parts ---- */

/* The extents of the part of that number, none when there is no such part. */
static int
part_extents(struct db_conn *conn, struct slice upload_id, int number, struct buf *extents)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT extents FROM part WHERE upload_id = ?1 AND number = ?2");
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, number);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    buf_put_slice(extents, db_column_blob(q, 0));
    db_reset(q);
    return extents->err;
}

/* Writes the row; the bytes of an earlier part of that number lose their references. */
static int
part_replace(struct store *s, struct db_conn *conn, struct slice upload_id,
             const struct store_part *part, struct slice extents)
{
    struct buf old;
    buf_init(&old, STORE_EXTENTS_BYTES_MAX);
    int err = part_extents(conn, upload_id, part->number, &old);
    if (err == ERR_NONE) {
        struct db_stmt *q = db_prepare(
            conn,
            "INSERT INTO part (upload_id, number, size, mtime_ms, etag, checksum, checksum_value,"
            " extents) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
            " ON CONFLICT (upload_id, number) DO UPDATE SET size = excluded.size,"
            " mtime_ms = excluded.mtime_ms, etag = excluded.etag, checksum = excluded.checksum,"
            " checksum_value = excluded.checksum_value, extents = excluded.extents");
        db_bind_blob(q, 1, upload_id);
        db_bind_int(q, 2, part->number);
        db_bind_int(q, 3, part->size);
        db_bind_int(q, 4, part->mtime_ms);
        db_bind_text(q, 5, slice_str(part->etag));
        db_bind_int(q, 6, part->checksum);
        db_bind_text(q, 7, slice_str(part->checksum_base64));
        db_bind_blob(q, 8, extents);
        err = db_run(q);
    }
    if (err == ERR_NONE)
        err = blob_unref_all(s, conn, buf_slice(&old));
    buf_fini(&old);
    return err;
}

int
store_apply_part(struct store *s, struct db_conn *conn, struct slice bucket, struct slice key,
                 struct slice upload_id, const struct store_part *part, struct store_put *put)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct store_part row = *part;
    struct buf extents;
    struct bucket_row bucket_row = {.id = 0};
    if (part->number < 1 || part->number > STORE_PART_MAX)
        return ERR_RANGE;
    int err = upload_find(conn, bucket, key, upload_id, &bucket_row);
    if (err != ERR_NONE)
        return err;
    buf_init(&extents, STORE_EXTENT_ENCODED_MAX);
    row.size = store_put_bytes(put);
    row.mtime_ms = clock_wall_ms();
    err = put_apply(put, conn, &extents);
    if (err == ERR_NONE)
        err = part_replace(s, conn, upload_id, &row, buf_slice(&extents));
    buf_fini(&extents);
    return err;
}

/* Nobody read the bytes, so their MD5 is only known when they are a whole plain object. Else: a
 * text that differs for different bytes, which is all an ETag promises. */
static void
part_copy_etag(struct store_part *part, const struct store_object *source, int64_t offset,
               int64_t bytes)
{
    uint8_t md5[MD5_BYTES];
    char text[128];
    if (offset == 0 && bytes == source->size && strlen(source->etag) == 2 * MD5_BYTES) {
        memcpy(part->etag, source->etag, sizeof part->etag);
        return;
    }
    int n =
        snprintf(text, sizeof text, "%" PRId64 " %" PRId64 " %" PRId64, source->seq, offset, bytes);
    digest_md5(text, (size_t)n, md5);
    hex_encode(md5, sizeof md5, part->etag);
}

int
store_apply_part_copy(struct store *s, struct db_conn *conn, struct slice bucket, struct slice key,
                      struct slice upload_id, struct store_part *part,
                      const struct store_object *source, int64_t offset, int64_t bytes)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct buf all, extents;
    struct bucket_row bucket_row = {.id = 0};
    if (part->number < 1 || part->number > STORE_PART_MAX || offset < 0 || bytes < 0)
        return ERR_RANGE;
    buf_init(&all, STORE_EXTENTS_BYTES_MAX);
    buf_init(&extents, STORE_EXTENTS_BYTES_MAX);
    int err = upload_find(conn, bucket, key, upload_id, &bucket_row);
    if (err == ERR_NONE)
        err = object_source(conn, source, &all);
    if (err == ERR_NONE)
        err = extent_cut(&extents, buf_slice(&all), offset, bytes);
    if (err == ERR_NONE)
        err = blob_ref_all(conn, buf_slice(&extents));
    if (err == ERR_NONE) {
        part->size = bytes;
        part->mtime_ms = clock_wall_ms();
        if (part->etag[0] == '\0')
            part_copy_etag(part, source, offset, bytes);
        err = part_replace(s, conn, upload_id, part, buf_slice(&extents));
    }
    buf_fini(&extents);
    buf_fini(&all);
    return err;
}

/* The first part of a number above `after`: DB_ROW and its extents. */
static int
part_after(struct db_conn *conn, struct slice upload_id, int64_t after, int64_t *number,
           struct buf *extents)
{
    struct db_stmt *q = db_prepare(conn, "SELECT number, extents FROM part WHERE upload_id = ?1"
                                         " AND number > ?2 ORDER BY number LIMIT 1");
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, after);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    *number = db_column_int(q, 0);
    buf_put_slice(extents, db_column_blob(q, 1));
    db_reset(q);
    return extents->err == ERR_NONE ? DB_ROW : extents->err;
}

/* Drops the references of all parts but those in `keep` (rising numbers). The rows stay. */
static int
parts_let_go(struct store *s, struct db_conn *conn, struct slice upload_id,
             const struct store_part *keep, size_t count)
{
    struct buf extents;
    int64_t number = 0;
    size_t kept = 0;
    int rc;
    buf_init(&extents, STORE_EXTENTS_BYTES_MAX);
    while ((rc = part_after(conn, upload_id, number, &number, &extents)) == DB_ROW) {
        while (kept < count && keep[kept].number < number)
            kept++;
        if (kept == count || keep[kept].number != number)
            rc = blob_unref_all(s, conn, buf_slice(&extents));
        if (rc < 0)
            break;
        buf_reset(&extents);
    }
    buf_fini(&extents);
    return rc < 0 ? rc : ERR_NONE;
}

/* ---- completion ---- */

/* What the listed parts add up to. */
struct assembly {
    const struct store_part *listed;
    size_t count;
    size_t matched;
    int64_t size;
    struct buf extents; /* of the object */
    struct buf md5s;
    struct buf checksums;
    enum checksum checksum; /* of all parts alike, else NONE */
    bool small_seen;        /* a part below the minimum: it must stay the last */
    bool more_stored;       /* parts that were not listed */
    enum store_complete_fault fault;
};

static void
assembly_init(struct assembly *a, const struct store_part *listed, size_t count)
{
    *a = (struct assembly){.listed = listed, .count = count};
    buf_init(&a->extents, STORE_EXTENTS_BYTES_MAX);
    buf_init(&a->md5s, (size_t)STORE_PART_MAX * MD5_BYTES);
    buf_init(&a->checksums, (size_t)STORE_PART_MAX * DIGEST_BYTES_MAX);
}

static void
assembly_fini(struct assembly *a)
{
    buf_fini(&a->extents);
    buf_fini(&a->md5s);
    buf_fini(&a->checksums);
}

/* The MD5s of the listed ETags; false when one is not an MD5. */
static bool
assembly_md5s(struct assembly *a)
{
    for (size_t i = 0; i < a->count; i++) {
        uint8_t md5[MD5_BYTES];
        if (hex_decode(slice_str(a->listed[i].etag), md5, sizeof md5) != ERR_NONE)
            return false;
        buf_put(&a->md5s, md5, sizeof md5);
    }
    return a->md5s.err == ERR_NONE;
}

static void
assembly_etag(const struct assembly *a, char etag[STORE_ETAG_MAX])
{
    uint8_t md5[MD5_BYTES];
    char hex[2 * MD5_BYTES + 1];
    digest_md5(a->md5s.p, a->md5s.n, md5);
    hex_encode(md5, sizeof md5, hex);
    snprintf(etag, STORE_ETAG_MAX, "%s-%zu", hex, a->count);
}

static void
assembly_checksum_add(struct assembly *a, enum checksum checksum, struct slice base64)
{
    uint8_t raw[DIGEST_BYTES_MAX];
    if (a->matched == 1)
        a->checksum = checksum;
    if (a->checksum == CHECKSUM_NONE)
        return;
    if (checksum != a->checksum ||
        base64_decode_exact(base64, raw, checksum_bytes(checksum)) != ERR_NONE) {
        a->checksum = CHECKSUM_NONE;
        return;
    }
    buf_put(&a->checksums, raw, checksum_bytes(checksum));
}

/* The checksum of the parts' checksums, with their number: S3's COMPOSITE type. */
static void
assembly_checksum(const struct assembly *a, struct store_object *o)
{
    struct buf text;
    o->checksum = CHECKSUM_NONE;
    if (a->checksum == CHECKSUM_NONE || a->checksum == CHECKSUM_CRC64NVME)
        return; /* S3 knows no composite CRC64NVME */
    struct digester *d = digester_new(0, a->checksum);
    if (d == NULL)
        return;
    digester_update(d, a->checksums.p, a->checksums.n);
    digester_end(d);
    buf_init(&text, STORE_CHECKSUM_MAX - 1);
    base64_encode(&text, digester_checksum(d), checksum_bytes(a->checksum));
    buf_printf(&text, "-%zu", a->count);
    if (text.err == ERR_NONE) {
        o->checksum = a->checksum;
        o->checksum_composite = true;
        snprintf(o->checksum_base64, sizeof o->checksum_base64, "%s", text.p);
    }
    buf_fini(&text);
    digester_free(&d);
}

/* One stored part, in number order: the next listed one, or one to let go. */
static int
assembly_part(struct assembly *a, struct db_stmt *row)
{
    const struct store_part *want = a->matched < a->count ? &a->listed[a->matched] : NULL;
    int64_t number = db_column_int(row, 0);
    struct slice checksum = db_column_blob(row, 4);
    if (want == NULL || number < want->number) {
        a->more_stored = true;
        return ERR_NONE;
    }
    bool same = number == want->number && slice_eqs(db_column_blob(row, 2), want->etag) &&
                (want->checksum == CHECKSUM_NONE || want->checksum_base64[0] == '\0' ||
                 (want->checksum == (enum checksum)db_column_int(row, 3) &&
                  slice_eqs(checksum, want->checksum_base64)));
    if (!same || a->small_seen) {
        a->fault = same ? STORE_COMPLETE_SMALL : STORE_COMPLETE_PART;
        return ERR_INVALID;
    }
    a->matched++;
    a->size += db_column_int(row, 1);
    a->small_seen = db_column_int(row, 1) < STORE_PART_BYTES_MIN;
    assembly_checksum_add(a, (enum checksum)db_column_int(row, 3), checksum);
    buf_put_slice(&a->extents, db_column_blob(row, 5));
    return a->size > STORE_OBJECT_BYTES_MAX ? ERR_TOOBIG : a->extents.err;
}

static int
assembly_read(struct assembly *a, struct db_conn *conn, struct slice upload_id)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT number, size, etag, checksum, checksum_value, extents FROM part"
                         " WHERE upload_id = ?1 ORDER BY number");
    db_bind_blob(q, 1, upload_id);
    int rc, err = ERR_NONE;
    while (err == ERR_NONE && (rc = db_step(q)) == DB_ROW)
        err = assembly_part(a, q);
    if (err == ERR_NONE)
        return rc < 0 ? rc : a->matched == a->count ? ERR_NONE : ERR_NOTFOUND;
    db_reset(q);
    return err;
}

/* The list itself: rising numbers, MD5s. */
static int
assembly_check(struct assembly *a)
{
    if (a->count == 0 || a->count > STORE_PART_MAX) {
        a->fault = STORE_COMPLETE_PART;
        return ERR_INVALID;
    }
    for (size_t i = 1; i < a->count; i++) {
        if (a->listed[i].number <= a->listed[i - 1].number) {
            a->fault = STORE_COMPLETE_ORDER;
            return ERR_INVALID;
        }
    }
    if (!assembly_md5s(a)) {
        a->fault = STORE_COMPLETE_PART;
        return ERR_INVALID;
    }
    return ERR_NONE;
}

/* An upload that is gone may have been completed: the same list gets the same answer. */
static int
complete_again(struct db_conn *conn, int64_t bucket_id, struct slice key, struct slice upload_id,
               const char *etag, struct store_put_result *result)
{
    struct db_stmt *q = db_prepare(conn, "SELECT generation, done_ms, etag FROM upload_done"
                                         " WHERE upload_id = ?1 AND bucket_id = ?2 AND key = ?3");
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, bucket_id);
    db_bind_blob(q, 3, key);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    bool same = slice_eqs(db_column_blob(q, 2), etag);
    *result = (struct store_put_result){.generation = db_column_int(q, 0),
                                        .mtime_ms = db_column_int(q, 1)};
    snprintf(result->etag, sizeof result->etag, "%s", etag);
    db_reset(q);
    return same ? ERR_NONE : ERR_NOTFOUND;
}

static int
done_write(struct db_conn *conn, const struct store_object *o, struct slice upload_id)
{
    struct db_stmt *q = db_prepare(conn, "INSERT INTO upload_done (upload_id, bucket_id, key,"
                                         " generation, etag, done_ms)"
                                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, o->bucket_id);
    db_bind_blob(q, 3, o->key);
    db_bind_int(q, 4, o->generation);
    db_bind_text(q, 5, slice_str(o->etag));
    db_bind_int(q, 6, o->mtime_ms);
    return db_run(q);
}

/* What the creation said: owner, type and headers, copied to `texts` because the row goes. */
static int
upload_texts(struct db_conn *conn, struct store_object *o, struct slice upload_id,
             struct buf *texts)
{
    struct db_stmt *q = db_prepare(conn, "SELECT owner, content_type, meta FROM upload"
                                         " WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?3");
    db_bind_int(q, 1, o->bucket_id);
    db_bind_blob(q, 2, o->key);
    db_bind_blob(q, 3, upload_id);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    size_t n[3];
    for (int i = 0; i < 3; i++) {
        n[i] = db_column_blob(q, i).n;
        buf_put_slice(texts, db_column_blob(q, i));
    }
    db_reset(q);
    if (texts->err == ERR_NONE && texts->p != NULL) {
        o->owner = slice_of(texts->p, n[0]);
        o->content_type = slice_of(texts->p + n[0], n[1]);
        o->meta = slice_of(texts->p + n[0] + n[1], n[2]);
    }
    return texts->err;
}

/* The parts are gathered: they become the object. */
static int
complete_commit(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                struct assembly *a, struct store_object *o, struct slice upload_id,
                struct store_put_result *result)
{
    struct store_put_spec as = *spec;
    struct object_old old;
    struct buf texts;
    struct bucket_row bucket_row = {.id = 0};
    as.kind = STORE_CREATED_MULTIPART;
    buf_init(&texts, STORE_META_BYTES_MAX + (64u << 10));
    int err = object_begin(conn, &as, &bucket_row, &old);
    if (err == ERR_NONE)
        err = upload_texts(conn, o, upload_id, &texts);
    if (err == ERR_NONE) {
        assembly_etag(a, o->etag);
        assembly_checksum(a, o);
        o->size = a->size;
        o->part_count = (int)a->count;
        err = extent_count(buf_slice(&a->extents)) < 0 ? ERR_TOOBIG : ERR_NONE;
    }
    if (err == ERR_NONE && a->more_stored)
        err = parts_let_go(s, conn, upload_id, a->listed, a->count);
    if (err == ERR_NONE)
        err = upload_delete(conn, bucket_row.id, spec->key, upload_id);
    if (err == ERR_NONE)
        err = object_replace(s, conn, &as, &bucket_row, o, buf_slice(&a->extents), &old, result);
    if (err == ERR_NONE)
        err = done_write(conn, o, upload_id);
    buf_fini(&texts);
    object_old_fini(&old);
    return err;
}

int
store_apply_complete(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                     struct slice upload_id, const struct store_part *parts, size_t count,
                     enum store_complete_fault *fault, struct store_put_result *result)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct assembly a;
    struct store_object o = {.key = spec->key};
    char etag[STORE_ETAG_MAX];
    assembly_init(&a, parts, count);
    struct bucket_row bucket = {.id = 0};
    int err = upload_find(conn, spec->bucket, spec->key, upload_id, &bucket);
    o.bucket_id = bucket.id;
    bool gone = err == ERR_NOTFOUND;
    if (err == ERR_NONE || gone) {
        err = assembly_check(&a);
        if (err == ERR_NONE && gone) {
            assembly_etag(&a, etag);
            err = complete_again(conn, o.bucket_id, spec->key, upload_id, etag, result);
        } else if (gone) {
            err = ERR_NOTFOUND;
        } else if (err == ERR_NONE) {
            err = assembly_read(&a, conn, upload_id);
            if (err == ERR_NOTFOUND) {
                a.fault = STORE_COMPLETE_PART;
                err = ERR_INVALID;
            }
            if (err == ERR_NONE)
                err = complete_commit(s, conn, spec, &a, &o, upload_id, result);
        }
    }
    *fault = err == ERR_INVALID ? a.fault : STORE_COMPLETE_OK;
    assembly_fini(&a);
    return err;
}

int
store_apply_upload_abort(struct store *s, struct db_conn *conn, struct slice bucket,
                         struct slice key, struct slice upload_id)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct bucket_row bucket_row = {.id = 0};
    int err = upload_find(conn, bucket, key, upload_id, &bucket_row);
    if (err == ERR_NONE)
        err = parts_let_go(s, conn, upload_id, NULL, 0);
    if (err == ERR_NONE)
        err = upload_delete(conn, bucket_row.id, key, upload_id);
    return err;
}

/* ---- lists ---- */

static void
part_from_row(struct store_part *part, struct db_stmt *q)
{
    *part = (struct store_part){.number = (int)db_column_int(q, 0),
                                .size = db_column_int(q, 1),
                                .mtime_ms = db_column_int(q, 2),
                                .checksum = (enum checksum)db_column_int(q, 4)};
    snprintf(part->etag, sizeof part->etag, "%.*s", SLICE_FMT(db_column_blob(q, 3)));
    snprintf(part->checksum_base64, sizeof part->checksum_base64, "%.*s",
             SLICE_FMT(db_column_blob(q, 5)));
}

static int
parts_give(struct db_conn *conn, struct slice upload_id, int after, int max, store_part_fn fn,
           void *arg, bool *truncated)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT number, size, mtime_ms, etag, checksum, checksum_value FROM part"
                         " WHERE upload_id = ?1 AND number > ?2 ORDER BY number LIMIT ?3");
    int rc;
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, (int64_t)max + 1);
    for (int given = 0; (rc = db_step(q)) == DB_ROW; given++) {
        struct store_part part;
        part_from_row(&part, q);
        *truncated = given == max;
        if (*truncated || fn(arg, &part) != 0)
            break;
    }
    return rc < 0 ? rc : ERR_NONE;
}

int
store_part_list(struct store *s, struct slice bucket, struct slice key, struct slice upload_id,
                int after, int max, store_part_fn fn, void *arg, bool *truncated)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct db_conn *conn = NULL;
    struct bucket_row bucket_row = {.id = 0};
    *truncated = false;
    int err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = upload_find(conn, bucket, key, upload_id, &bucket_row);
    if (err == ERR_NONE && max > 0)
        err = parts_give(conn, upload_id, after, max < STORE_LIST_MAX ? max : STORE_LIST_MAX, fn,
                         arg, truncated);
    db_read_end(s->db, &conn);
    return err;
}

/* From (key, upload) on, exclusively, as long as the key has the prefix. */
static int
uploads_give(struct db_conn *conn, int64_t bucket_id, struct slice prefix, struct slice from_key,
             struct slice from_upload, int max, store_upload_fn fn, void *arg, bool *truncated)
{
    struct db_stmt *q = db_prepare(conn, "SELECT key, upload_id, owner, created_ms FROM upload"
                                         " WHERE bucket_id = ?1 AND (key, upload_id) > (?2, ?3)"
                                         " ORDER BY key, upload_id");
    int rc;
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, from_key);
    db_bind_blob(q, 3, from_upload);
    for (int given = 0; (rc = db_step(q)) == DB_ROW; given++) {
        struct store_upload upload = {.key = db_column_blob(q, 0),
                                      .upload_id = db_column_blob(q, 1),
                                      .owner = db_column_blob(q, 2),
                                      .created_ms = db_column_int(q, 3)};
        if (!slice_starts(upload.key, prefix))
            break;
        *truncated = given == max;
        if (*truncated || fn(arg, &upload) != 0)
            break;
    }
    return rc < 0 ? rc : ERR_NONE;
}

int
store_upload_list(struct store *s, struct slice bucket, struct slice prefix, struct slice after_key,
                  struct slice after_upload, int max, store_upload_fn fn, void *arg,
                  bool *truncated)
{
    CHK_MAGIC(s, STORE_MAGIC);
    char behind[STORE_KEY_MAX + 1];
    struct db_conn *conn = NULL;
    struct bucket_row bucket_row = {.id = 0};
    *truncated = false;
    if (after_key.n > STORE_KEY_MAX)
        return ERR_TOOBIG;
    struct slice from = after_key, from_upload = after_upload;
    if (after_key.n == 0 || slice_cmp(after_key, prefix) < 0) {
        from = prefix;
        from_upload = SLICE_NONE;
    } else if (after_upload.n == 0) {
        /* All uploads of that key are behind us. */
        memcpy(behind, after_key.p, after_key.n);
        behind[after_key.n] = '\0';
        from = slice_of(behind, after_key.n + 1);
    }
    int err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = bucket_row_find(conn, bucket, &bucket_row);
    if (err == ERR_NONE && max > 0)
        err = uploads_give(conn, bucket_row.id, prefix, from, from_upload,
                           max < STORE_LIST_MAX ? max : STORE_LIST_MAX, fn, arg, truncated);
    db_read_end(s->db, &conn);
    return err;
}

/* ---- upkeep ---- */

static int
upload_sweep_apply(struct db_op *op, struct db_conn *conn)
{
    (void)op;
    struct db_stmt *q = db_prepare(conn, "DELETE FROM upload_done WHERE done_ms < ?1");
    db_bind_int(q, 1, clock_wall_ms() - STORE_UPLOAD_DONE_MS);
    return db_run(q);
}

int
upload_sweep(struct store *s)
{
    struct db_op op = {.apply = upload_sweep_apply, .urgent = true};
    return db_call(s->db, &op);
}
