/*
 * Objects: reading the current version, and the transactions that change which one it is.
 *
 * Every change goes through the same steps, all in the caller's operation:
 *
 *   object_begin()    bucket, current version, condition            | may refuse
 *   references        the new bytes' blobs: inserted or counted up
 *   object_replace()  generation, row, old references down, hook
 *
 * With versioning the old row moves to object_version and keeps its references (version.c);
 * what a deletion means is told there as well.
 *
 * References go up before they go down, so copying an object onto itself never drops its bytes.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plant.h"
#include "base/stat.h"
#include "objectstore/store_priv.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>

#define DEFAULT_CONTENT_TYPE "binary/octet-stream"

/* ---- reading ---- */

/* The current version's record fields and encoded extents, lent by *row until db_reset(). */
static int
current_row_find(struct db_conn *conn, int64_t bucket_id, struct slice key, struct store_object *o,
                 struct slice *extents, struct db_stmt **row)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT " OBJECT_COLUMNS " FROM object WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    *o = (struct store_object){.bucket_id = bucket_id, .key = key, .is_latest = true};
    object_from_row(o, extents, q);
    *row = q;
    return DB_ROW;
}

/* The inline bytes of an object that is one whole inline blob, lent by *row; p stays NULL for all
 * other objects. */
static int
inline_find(struct store *s, struct db_conn *conn, struct store_object *o, struct slice extents,
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
    if (digest_crc32c(0, data.p, data.n) != le32toh(crc) && !plant_no_check) {
        STAT_INC(blocks_corrupt_total);
        suspicion_add(&s->suspicions, e.blob, 0);
        log_line(LOG_ERROR, "block_corrupt", "blob=%" PRId64 " block=0", e.blob);
        return ERR_CORRUPT;
    }
    o->inline_bytes = slice_of(data.p, (size_t)o->size);
    return ERR_NONE;
}

static int
object_read(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
            bool with_bytes, const struct store_object **out)
{
    struct store_object o;
    struct slice extents;
    struct db_stmt *row = NULL, *bytes = NULL;
    int rc = current_row_find(conn, bucket_id, key, &o, &extents, &row);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    int err = with_bytes ? inline_find(s, conn, &o, extents, &bytes) : ERR_NONE;
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
    uint64_t seen;
    *out = NULL;
    int err = bucket_id_get(s, bucket, &bucket_id);
    if (err != ERR_NONE)
        return err;
    uint64_t hash = caches_hash(s->caches, bucket_id, key);
    uint64_t stamp = caches_stamp(s->caches, hash); /* before the snapshot */
    *out = cache_find(cache, bucket_id, key, hash, stamp, &seen);
    if (*out != NULL) {
        db_seen_raise(s->db, seen);
        STAT_INC(cache_hits_total);
        return ERR_NONE;
    }
    STAT_INC(cache_misses_total);
    err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = object_read(s, conn, bucket_id, key, true, out);
    db_read_end(s->db, &conn);
    if (err == ERR_NONE)
        cache_put(cache, hash, stamp, db_seen(s->db), *out);
    return err;
}

int
store_apply_get(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
                const struct store_object **out)
{
    CHK_MAGIC(s, STORE_MAGIC);
    *out = NULL;
    return object_read(s, conn, bucket_id, key, false, out);
}

int
store_apply_generation(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
                       int64_t *generation)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct db_stmt *row =
        db_prepare(conn, "SELECT generation FROM object WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(row, 1, bucket_id);
    db_bind_blob(row, 2, key);
    int rc = db_step(row);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    *generation = db_column_int(row, 0);
    db_reset(row);
    return ERR_NONE;
}

int
version_read(struct db_conn *conn, int64_t bucket_id, struct slice key, struct slice version_id,
             const struct store_object **out)
{
    struct store_object o;
    struct slice extents;
    struct db_stmt *row = NULL;
    int64_t seq = -1;
    if (version_id.n > 0 && version_id_parse(version_id, &seq) != ERR_NONE)
        return ERR_INVALID;
    int rc = current_row_find(conn, bucket_id, key, &o, &extents, &row);
    if (rc == DB_ROW && version_id.n > 0 && !slice_eqs(version_id, o.version_id)) {
        db_reset(row);
        rc = DB_DONE;
    }
    if (rc == DB_DONE)
        rc = version_row_find(conn, bucket_id, key, seq, &o, &extents, &row);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    *out = object_dup(&o, extents);
    db_reset(row);
    return *out == NULL ? ERR_NOMEM : ERR_NONE;
}

int
store_get_version(struct store *s, struct slice bucket, struct slice key, struct slice version_id,
                  const struct store_object **out)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct db_conn *conn = NULL;
    int64_t bucket_id = 0;
    *out = NULL;
    int err = bucket_id_get(s, bucket, &bucket_id);
    if (err == ERR_NONE)
        err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = version_read(conn, bucket_id, key, version_id, out);
    db_read_end(s->db, &conn);
    return err;
}

int
store_apply_get_version(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
                        struct slice version_id, const struct store_object **out)
{
    CHK_MAGIC(s, STORE_MAGIC);
    *out = NULL;
    return version_read(conn, bucket_id, key, version_id, out);
}

/* ---- changing ---- */

int
object_old_read(struct db_conn *conn, int64_t bucket_id, struct slice key, struct object_old *old)
{
    struct db_stmt *q = db_prepare(
        conn, "SELECT generation, seq, size, mtime_ms, etag, part_count, flags, retain_until_ms,"
              " extents FROM object WHERE bucket_id = ?1 AND key = ?2");
    *old = (struct object_old){.exists = false};
    buf_init(&old->extents, STORE_EXTENTS_BYTES_MAX);
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    int64_t flags = db_column_int(q, 6);
    old->exists = true;
    old->is_null = (flags & OBJECT_NULL_VERSION) != 0;
    old->generation = db_column_int(q, 0);
    old->seq = db_column_int(q, 1);
    old->size = db_column_int(q, 2);
    old->mtime_ms = db_column_int(q, 3);
    snprintf(old->etag, sizeof old->etag, "%.*s", SLICE_FMT(db_column_blob(q, 4)));
    old->part_count = (int)db_column_int(q, 5);
    old->lock = object_lock_of(flags, db_column_int(q, 7));
    buf_put_slice(&old->extents, db_column_blob(q, 8));
    db_reset(q);
    return old->extents.err;
}

int
object_begin(struct db_conn *conn, const struct store_put_spec *spec, struct bucket_row *bucket,
             struct object_old *old)
{
    *old = (struct object_old){.exists = false};
    buf_init(&old->extents, STORE_EXTENTS_BYTES_MAX);
    if (spec->key.n == 0)
        return ERR_INVALID;
    if (spec->key.n > STORE_KEY_MAX || spec->meta.n > STORE_META_BYTES_MAX ||
        spec->tags.n > STORE_TAGS_BYTES_MAX || spec->acl.n > STORE_ACL_BYTES_MAX)
        return ERR_TOOBIG;
    int err = bucket_row_find(conn, spec->bucket, bucket);
    if (err == ERR_NONE)
        err = object_old_read(conn, bucket->id, spec->key, old);
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
                                  .version_id = record->version_id,
                                  .old_generation = old_generation,
                                  .account_id = spec->account_id,
                                  .access_key_id = spec->access_key_id,
                                  .request_id = spec->request_id,
                                  .source_ip = spec->source_ip,
                                  .by_function = spec->by_function};
    int err = s->hooks.changed(s->hooks.arg, conn, &change);
    store_object_unref(&record);
    return err;
}

/* What the row says that neither the bytes nor the client do. */
static void
object_complete(struct db_conn *conn, const struct store_put_spec *spec,
                const struct bucket_row *bucket, struct store_object *o)
{
    o->generation = o->seq = db_next(conn);
    o->mtime_ms = clock_wall_ms();
    version_id_write(o->seq, bucket->versioning != STORE_VERSIONING_ENABLED, o->version_id);
    o->is_latest = true;
    o->is_marker = false;
    o->by_function = spec->by_function;
    if (o->content_type.n == 0)
        o->content_type = SLICE_LIT(DEFAULT_CONTENT_TYPE);
}

int
object_replace(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
               const struct bucket_row *bucket, struct store_object *o, struct slice extents,
               const struct object_old *old, struct store_put_result *result)
{
    bool replaced = old->exists;
    int err = ERR_NONE;
    object_complete(conn, spec, bucket, o);
    store_changed(s, o->bucket_id, o->key);
    if (bucket->versioning != STORE_VERSIONING_OFF)
        err = version_make_room(s, conn, o->bucket_id, o->key, old,
                                bucket->versioning == STORE_VERSIONING_SUSPENDED, &replaced);
    if (err == ERR_NONE)
        err = object_row_write(conn, o, extents);
    if (err == ERR_NONE && replaced)
        err = version_bytes_drop(s, conn, old->seq, old->part_count, buf_slice(&old->extents));
    if (err == ERR_NONE)
        err = tell_created(s, conn, spec, o, extents, old->generation);
    if (err != ERR_NONE)
        return err;
    *result = (struct store_put_result){
        .generation = o->generation, .mtime_ms = o->mtime_ms, .replaced = old->exists};
    memcpy(result->etag, o->etag, sizeof result->etag);
    if (bucket->versioning != STORE_VERSIONING_OFF)
        memcpy(result->version_id, o->version_id, sizeof result->version_id);
    return ERR_NONE;
}

/* What a request says of the object it makes. */
static void
object_describe(struct store_object *o, const struct store_put_spec *spec)
{
    o->key = spec->key;
    o->owner = spec->owner;
    o->content_type = spec->content_type;
    o->meta = spec->meta;
    o->tags = spec->tags;
    o->acl = spec->acl;
    o->storage_class = spec->storage_class;
    o->lock = spec->lock;
}

int
store_apply_put(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                struct store_put *put, struct store_put_result *result)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct bucket_row bucket = {.id = 0};
    struct object_old old;
    struct buf extents;
    struct store_object o = {.size = store_put_bytes(put), .checksum = spec->checksum};
    object_describe(&o, spec);
    buf_init(&extents, STORE_EXTENT_ENCODED_MAX);
    snprintf(o.etag, sizeof o.etag, "%s", spec->etag);
    snprintf(o.checksum_base64, sizeof o.checksum_base64, "%.*s", SLICE_FMT(spec->checksum_base64));
    int err = object_begin(conn, spec, &bucket, &old);
    o.bucket_id = bucket.id;
    if (err == ERR_NONE)
        err = put_apply(put, conn, &extents);
    if (err == ERR_NONE)
        err = object_replace(s, conn, spec, &bucket, &o, buf_slice(&extents), &old, result);
    buf_fini(&extents);
    object_old_fini(&old);
    return err;
}

int
object_source(struct db_conn *conn, const struct store_object *source, struct buf *extents)
{
    struct store_object o;
    struct slice lent;
    struct db_stmt *row = NULL;
    int rc = current_row_find(conn, source->bucket_id, source->key, &o, &lent, &row);
    if (rc == DB_ROW && o.seq != source->seq) {
        db_reset(row);
        rc = DB_DONE;
    }
    if (rc == DB_DONE)
        rc = version_row_find(conn, source->bucket_id, source->key, source->seq, &o, &lent, &row);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_STALE : rc;
    buf_put_slice(extents, lent);
    db_reset(row);
    return extents->err;
}

int
store_apply_copy(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                 const struct store_object *source, struct store_put_result *result)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct bucket_row bucket = {.id = 0};
    struct object_old old;
    struct buf extents;
    struct store_object o = {.size = source->size,
                             .checksum = source->checksum,
                             .checksum_composite = source->checksum_composite};
    object_describe(&o, spec);
    memcpy(o.etag, source->etag, sizeof o.etag);
    memcpy(o.checksum_base64, source->checksum_base64, sizeof o.checksum_base64);
    if (spec->checksum != CHECKSUM_NONE) {
        o.checksum = spec->checksum;
        o.checksum_composite = false;
        snprintf(o.checksum_base64, sizeof o.checksum_base64, "%.*s",
                 SLICE_FMT(spec->checksum_base64));
    }
    buf_init(&extents, STORE_EXTENTS_BYTES_MAX);
    int err = object_begin(conn, spec, &bucket, &old);
    o.bucket_id = bucket.id;
    if (err == ERR_NONE)
        err = object_source(conn, source, &extents);
    if (err == ERR_NONE)
        err = blob_ref_all(conn, buf_slice(&extents));
    if (err == ERR_NONE)
        err = object_replace(s, conn, spec, &bucket, &o, buf_slice(&extents), &old, result);
    buf_fini(&extents);
    object_old_fini(&old);
    return err;
}

int
object_row_delete(struct db_conn *conn, int64_t bucket_id, struct slice key)
{
    struct db_stmt *q = db_prepare(conn, "DELETE FROM object WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    return db_run(q);
}
