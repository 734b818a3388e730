/*
 * Objects: reading the current version, and the transactions that change which one it is.
 *
 * Every change goes through the same steps, all in the caller's operation:
 *
 *   object_begin()    bucket, current version, condition            | may refuse
 *   references        the new bytes' blobs: inserted or counted up
 *   object_replace()  generation, row, old references down, hook    | or the row goes: delete
 *
 * References go up before they go down, so copying an object onto itself never drops its bytes.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "objectstore/store_priv.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>

#define DEFAULT_CONTENT_TYPE "binary/octet-stream"

/* ---- reading ---- */

/* The current version's record fields and encoded extents, lent by *row until db_reset(). */
static int
object_row_find(struct db_conn *conn, int64_t bucket_id, struct slice key, struct store_object *o,
                struct slice *extents, struct db_stmt **row)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT " OBJECT_COLUMNS " FROM object WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    *o = (struct store_object){.bucket_id = bucket_id, .key = key};
    object_from_row(o, extents, q);
    *row = q;
    return ERR_NONE;
}

/* The inline bytes of an object that is one whole inline blob, lent by *row; p stays NULL for all
 * other objects. */
static int
inline_find(struct db_conn *conn, struct store_object *o, struct slice extents,
            struct db_stmt **row)
{
    struct store_extent e;
    uint32_t crc;
    if (o->size == 0)
        o->inline_bytes = SLICE_LIT("");
    if (o->size == 0 || o->size > STORE_INLINE_MAX || extent_next(&extents, &e) != 1 ||
        extents.n > 0 || e.offset != 0)
        return ERR_NONE;
    struct db_stmt *q = db_prepare(conn, "SELECT crcs, data FROM blob WHERE id = ?1");
    db_bind_int(q, 1, e.blob);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_CORRUPT : rc;
    *row = q;
    if (db_column_is_null(q, 1))
        return ERR_NONE; /* a small piece of a file */
    struct slice crcs = db_column_blob(q, 0), data = db_column_blob(q, 1);
    if ((int64_t)data.n < o->size || crcs.n != sizeof crc)
        return ERR_CORRUPT;
    memcpy(&crc, crcs.p, sizeof crc);
    if (digest_crc32c(0, data.p, data.n) != le32toh(crc)) {
        STAT_INC(blocks_corrupt_total);
        log_line(LOG_ERROR, "block_corrupt", "blob=%" PRId64 " block=0", e.blob);
        return ERR_CORRUPT;
    }
    o->inline_bytes = slice_of(data.p, (size_t)o->size);
    return ERR_NONE;
}

static int
object_read(struct db_conn *conn, int64_t bucket_id, struct slice key, bool with_bytes,
            const struct store_object **out)
{
    struct store_object o;
    struct slice extents;
    struct db_stmt *row = NULL, *bytes = NULL;
    int err = object_row_find(conn, bucket_id, key, &o, &extents, &row);
    if (err != ERR_NONE)
        return err;
    if (with_bytes)
        err = inline_find(conn, &o, extents, &bytes);
    if (err == ERR_NONE) {
        *out = object_dup(&o, extents);
        if (*out == NULL)
            err = extent_count(extents) < 0 ? ERR_CORRUPT : ERR_NOMEM;
    }
    if (bytes != NULL)
        db_reset(bytes);
    db_reset(row);
    return err;
}

int
store_get(struct store *s, struct slice bucket, struct slice key, const struct store_object **out)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct cache *cache = cache_mine(s->caches);
    struct db_conn *conn = NULL;
    int64_t bucket_id = 0;
    *out = NULL;
    int err = bucket_id_get(s, bucket, &bucket_id);
    if (err != ERR_NONE)
        return err;
    uint64_t hash = caches_hash(s->caches, bucket_id, key);
    uint64_t stamp = caches_stamp(s->caches, hash); /* before the snapshot */
    *out = cache_find(cache, bucket_id, key, hash, stamp);
    if (*out != NULL) {
        STAT_INC(cache_hits_total);
        return ERR_NONE;
    }
    STAT_INC(cache_misses_total);
    err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = object_read(conn, bucket_id, key, true, out);
    db_read_end(s->db, &conn);
    if (err == ERR_NONE)
        cache_put(cache, hash, stamp, *out);
    return err;
}

int
store_apply_get(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
                const struct store_object **out)
{
    CHK_MAGIC(s, STORE_MAGIC);
    *out = NULL;
    return object_read(conn, bucket_id, key, false, out);
}

/* ---- changing ---- */

static int
old_read(struct db_conn *conn, int64_t bucket_id, struct slice key, struct object_old *old)
{
    struct db_stmt *q = db_prepare(
        conn, "SELECT generation, etag, extents FROM object WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    old->exists = true;
    old->generation = db_column_int(q, 0);
    snprintf(old->etag, sizeof old->etag, "%.*s", SLICE_FMT(db_column_blob(q, 1)));
    buf_put_slice(&old->extents, db_column_blob(q, 2));
    db_reset(q);
    return old->extents.err;
}

int
object_begin(struct db_conn *conn, const struct store_put_spec *spec, int64_t *bucket_id,
             struct object_old *old)
{
    *old = (struct object_old){.exists = false};
    buf_init(&old->extents, STORE_EXTENTS_BYTES_MAX);
    if (spec->key.n == 0)
        return ERR_INVALID;
    if (spec->key.n > STORE_KEY_MAX || spec->meta.n > STORE_META_BYTES_MAX)
        return ERR_TOOBIG;
    int err = bucket_id_apply(conn, spec->bucket, bucket_id);
    if (err == ERR_NONE)
        err = old_read(conn, *bucket_id, spec->key, old);
    if (err == ERR_NONE)
        err = condition_judge(&spec->condition, old->exists ? old->etag : NULL);
    return err;
}

void
object_old_fini(struct object_old *old)
{
    buf_fini(&old->extents);
}

static int
row_write(struct db_conn *conn, const struct store_object *o, struct slice extents)
{
    struct db_stmt *q = db_prepare(
        conn, "INSERT INTO object (bucket_id, key, " OBJECT_COLUMNS ") VALUES"
              " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NULL, ?12, ?13, ?14)"
              " ON CONFLICT (bucket_id, key) DO UPDATE SET generation = excluded.generation,"
              " size = excluded.size, mtime_ms = excluded.mtime_ms, etag = excluded.etag,"
              " checksum = excluded.checksum, checksum_value = excluded.checksum_value,"
              " part_count = excluded.part_count, flags = excluded.flags, owner = excluded.owner,"
              " version_id = excluded.version_id, content_type = excluded.content_type,"
              " meta = excluded.meta, extents = excluded.extents");
    db_bind_int(q, 1, o->bucket_id);
    db_bind_blob(q, 2, o->key);
    db_bind_int(q, 3, o->generation);
    db_bind_int(q, 4, o->size);
    db_bind_int(q, 5, o->mtime_ms);
    db_bind_text(q, 6, slice_str(o->etag));
    db_bind_int(q, 7, o->checksum);
    db_bind_text(q, 8, slice_str(o->checksum_base64));
    db_bind_int(q, 9, o->part_count);
    db_bind_int(q, 10,
                (o->checksum_composite ? OBJECT_COMPOSITE : 0) |
                    (o->by_function ? OBJECT_BY_FUNCTION : 0));
    db_bind_blob(q, 11, o->owner);
    db_bind_blob(q, 12, o->content_type);
    db_bind_blob(q, 13, o->meta);
    db_bind_blob(q, 14, extents);
    return db_run(q);
}

static int
tell_created(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
             const struct store_object *o, struct slice extents, int64_t old_generation)
{
    if (s->hooks.changed == NULL)
        return ERR_NONE;
    const struct store_object *record = object_dup(o, extents);
    if (record == NULL)
        return ERR_NOMEM;
    struct store_change change = {.kind = spec->kind,
                                  .bucket_id = o->bucket_id,
                                  .bucket = spec->bucket,
                                  .key = o->key,
                                  .generation = o->generation,
                                  .object = record,
                                  .old_generation = old_generation,
                                  .account_id = spec->account_id,
                                  .request_id = spec->request_id,
                                  .source_ip = spec->source_ip,
                                  .by_function = spec->by_function};
    int err = s->hooks.changed(s->hooks.arg, conn, &change);
    store_object_unref(&record);
    return err;
}

int
object_replace(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
               struct store_object *o, struct slice extents, const struct object_old *old,
               struct store_put_result *result)
{
    o->generation = db_next(conn);
    o->mtime_ms = clock_wall_ms();
    o->version_id = SLICE_LIT("null");
    o->by_function = spec->by_function;
    if (o->content_type.n == 0)
        o->content_type = SLICE_LIT(DEFAULT_CONTENT_TYPE);
    store_changed(s, o->bucket_id, o->key);
    int err = row_write(conn, o, extents);
    if (err == ERR_NONE)
        err = blob_unref_all(s, conn, buf_slice(&old->extents));
    if (err == ERR_NONE)
        err = tell_created(s, conn, spec, o, extents, old->generation);
    if (err == ERR_NONE) {
        *result = (struct store_put_result){
            .generation = o->generation, .mtime_ms = o->mtime_ms, .replaced = old->exists};
        memcpy(result->etag, o->etag, sizeof result->etag);
    }
    return err;
}

int
store_apply_put(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                struct store_put *put, struct store_put_result *result)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct object_old old;
    struct buf extents;
    struct store_object o = {.key = spec->key,
                             .owner = spec->owner,
                             .content_type = spec->content_type,
                             .meta = spec->meta,
                             .size = store_put_bytes(put),
                             .checksum = spec->checksum};
    buf_init(&extents, STORE_EXTENT_ENCODED_MAX);
    snprintf(o.etag, sizeof o.etag, "%s", spec->etag);
    snprintf(o.checksum_base64, sizeof o.checksum_base64, "%.*s", SLICE_FMT(spec->checksum_base64));
    int err = object_begin(conn, spec, &o.bucket_id, &old);
    if (err == ERR_NONE)
        err = put_apply(put, conn, &extents);
    if (err == ERR_NONE)
        err = object_replace(s, conn, spec, &o, buf_slice(&extents), &old, result);
    buf_fini(&extents);
    object_old_fini(&old);
    return err;
}

int
object_source(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t generation,
              struct store_object *o, struct buf *extents)
{
    struct slice lent;
    struct db_stmt *row = NULL;
    int err = object_row_find(conn, bucket_id, key, o, &lent, &row);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_STALE : err;
    buf_put_slice(extents, lent);
    err = o->generation == generation ? extents->err : ERR_STALE;
    db_reset(row);
    o->owner = o->version_id = o->content_type = o->meta = SLICE_NONE;
    return err;
}

int
store_apply_copy(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                 int64_t source_bucket_id, struct slice source_key, int64_t source_generation,
                 struct store_put_result *result)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct object_old old;
    struct store_object o;
    struct buf extents;
    int64_t bucket_id = 0;
    buf_init(&extents, STORE_EXTENTS_BYTES_MAX);
    int err = object_begin(conn, spec, &bucket_id, &old);
    if (err == ERR_NONE)
        err = object_source(conn, source_bucket_id, source_key, source_generation, &o, &extents);
    if (err == ERR_NONE)
        err = blob_ref_all(conn, buf_slice(&extents));
    if (err == ERR_NONE) {
        o.bucket_id = bucket_id;
        o.key = spec->key;
        o.owner = spec->owner;
        o.content_type = spec->content_type;
        o.meta = spec->meta;
        err = object_replace(s, conn, spec, &o, buf_slice(&extents), &old, result);
    }
    buf_fini(&extents);
    object_old_fini(&old);
    return err;
}

/* ---- deleting ---- */

static int
row_delete(struct db_conn *conn, int64_t bucket_id, struct slice key)
{
    struct db_stmt *q = db_prepare(conn, "DELETE FROM object WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    return db_run(q);
}

static int
tell_removed(struct store *s, struct db_conn *conn, const struct store_delete_spec *spec,
             int64_t bucket_id, int64_t old_generation)
{
    struct store_change change = {.kind = STORE_REMOVED,
                                  .bucket_id = bucket_id,
                                  .bucket = spec->bucket,
                                  .key = spec->key,
                                  .generation = db_next(conn),
                                  .old_generation = old_generation,
                                  .account_id = spec->account_id,
                                  .request_id = spec->request_id,
                                  .source_ip = spec->source_ip,
                                  .by_function = spec->by_function};
    return s->hooks.changed == NULL ? ERR_NONE : s->hooks.changed(s->hooks.arg, conn, &change);
}

static int
delete_judge(const struct store_delete_spec *spec, const struct object_old *old)
{
    struct store_condition condition = {.if_match = spec->condition.if_match};
    int err = condition_judge(&condition, old->exists ? old->etag : NULL);
    if (err != ERR_NONE)
        return ERR_PRECONDITION;
    bool other = spec->only_generation != 0 && spec->only_generation != old->generation;
    return old->exists && other ? ERR_STALE : ERR_NONE;
}

int
store_apply_delete(struct store *s, struct db_conn *conn, const struct store_delete_spec *spec,
                   bool *existed)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct object_old old = {.exists = false};
    int64_t bucket_id = 0;
    *existed = false;
    buf_init(&old.extents, STORE_EXTENTS_BYTES_MAX);
    int err = bucket_id_apply(conn, spec->bucket, &bucket_id);
    if (err == ERR_NONE)
        err = old_read(conn, bucket_id, spec->key, &old);
    if (err == ERR_NONE)
        err = delete_judge(spec, &old);
    if (err == ERR_NONE && old.exists) {
        *existed = true;
        store_changed(s, bucket_id, spec->key);
        err = row_delete(conn, bucket_id, spec->key);
        if (err == ERR_NONE)
            err = blob_unref_all(s, conn, buf_slice(&old.extents));
        if (err == ERR_NONE)
            err = tell_removed(s, conn, spec, bucket_id, old.generation);
    }
    object_old_fini(&old);
    return err;
}
