/*
 * Versions of a key, and what a deletion means.
 *
 *              PUT                                 DELETE                    DELETE ?versionId
 *   off        replaces the object                 removes it                "null" is the object
 *   enabled    current -> noncurrent, new version  current -> noncurrent,    removes that one;
 *                                                  new marker on top         when it was the newest
 *   suspended  current -> noncurrent unless null,  the same, with a null     the next older object
 *              old null version goes, new null one marker                    becomes current again
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html
 *
 * Invariants, kept by each function as a whole:
 *   1. the newest version of a key is either the row in `object`, or the one row of the key in
 *      `object_version` with noncurrent_ms = 0, and then it is a marker;
 *   2. a key has at most one null version in both tables together;
 *   3. whoever removes a version's last row drops its bytes and its part list.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/store_priv.h"

#include <stdio.h>

/* ---- rows ---- */

int
version_bytes_drop(struct store *s, struct db_conn *conn, int64_t seq, int part_count,
                   struct slice extents)
{
    int err = blob_unref_all(s, conn, extents);
    if (err != ERR_NONE || part_count == 0)
        return err;
    struct db_stmt *q = db_prepare(conn, "DELETE FROM version_parts WHERE seq = ?1");
    db_bind_int(q, 1, seq);
    return db_run(q);
}

int
version_row_find(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t seq,
                 struct store_object *o, struct slice *extents, struct db_stmt **row)
{
    struct db_stmt *q;
    if (seq == 0)
        q = db_prepare(conn, "SELECT " VERSION_COLUMNS ", noncurrent_ms FROM object_version"
                             " WHERE bucket_id = ?1 AND key = ?2 AND flags & 4 <> 0");
    else if (seq < 0)
        q = db_prepare(conn, "SELECT " VERSION_COLUMNS ", noncurrent_ms FROM object_version"
                             " WHERE bucket_id = ?1 AND key = ?2 ORDER BY rank LIMIT 1");
    else
        q = db_prepare(conn, "SELECT " VERSION_COLUMNS ", noncurrent_ms FROM object_version"
                             " WHERE bucket_id = ?1 AND key = ?2 AND rank = ?3");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    if (seq > 0)
        db_bind_int(q, 3, -seq);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    *o = (struct store_object){.bucket_id = bucket_id, .key = key};
    object_from_row(o, extents, q);
    o->is_latest = db_column_int(q, OBJECT_COLUMN_COUNT) == 0;
    *row = q;
    return DB_ROW;
}

int
version_newer_count(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t seq, int max,
                    int *count)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT count(*) FROM (SELECT 1 FROM object_version WHERE bucket_id = ?1"
                         " AND key = ?2 AND rank < ?3 AND noncurrent_ms <> 0 LIMIT ?4)");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_int(q, 3, -seq);
    db_bind_int(q, 4, max);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    *count = (int)db_column_int(q, 0);
    db_reset(q);
    return ERR_NONE;
}

static int
version_row_delete(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t seq)
{
    struct db_stmt *q = db_prepare(conn, "DELETE FROM object_version WHERE bucket_id = ?1"
                                         " AND key = ?2 AND rank = ?3");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_int(q, 3, -seq);
    return db_run(q);
}

/* The current version's row becomes a noncurrent one; the row in `object` stays for the caller to
 * overwrite or delete. */
static int
version_push(struct db_conn *conn, int64_t bucket_id, struct slice key)
{
    struct db_stmt *q =
        db_prepare(conn, "INSERT INTO object_version (bucket_id, key, rank, generation,"
                         " " OBJECT_COLUMNS_COMMON ", noncurrent_ms)"
                         " SELECT bucket_id, key, -seq, generation, " OBJECT_COLUMNS_COMMON ", ?3"
                         " FROM object WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_int(q, 3, clock_wall_ms());
    return db_run(q);
}

/* The way back, under a new generation. */
static int
version_pop(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t seq,
            int64_t generation)
{
    struct db_stmt *q =
        db_prepare(conn, "INSERT INTO object (bucket_id, key, generation, seq,"
                         " " OBJECT_COLUMNS_COMMON ")"
                         " SELECT bucket_id, key, ?4, -rank, " OBJECT_COLUMNS_COMMON
                         " FROM object_version WHERE bucket_id = ?1 AND key = ?2 AND rank = ?3");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_int(q, 3, -seq);
    db_bind_int(q, 4, generation);
    int err = db_run(q);
    return err == ERR_NONE ? version_row_delete(conn, bucket_id, key, seq) : err;
}

/* The newest row of the key in object_version: since when it is not the newest version; 0: it is.
 */
static int
newest_since(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t since_ms)
{
    struct db_stmt *q = db_prepare(
        conn, "UPDATE object_version SET noncurrent_ms = ?3 WHERE bucket_id = ?1 AND key = ?2"
              " AND rank = (SELECT min(rank) FROM object_version"
              "             WHERE bucket_id = ?1 AND key = ?2)");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_int(q, 3, since_ms);
    return db_run(q);
}

/* The noncurrent null version, if there is one, goes for good. */
static int
null_version_drop(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key)
{
    struct store_object o;
    struct slice lent;
    struct buf extents;
    struct db_stmt *row = NULL;
    int rc = version_row_find(conn, bucket_id, key, 0, &o, &lent, &row);
    if (rc != DB_ROW)
        return rc;
    buf_init(&extents, STORE_EXTENTS_BYTES_MAX);
    buf_put_slice(&extents, lent);
    db_reset(row);
    int err = extents.err;
    if (err == ERR_NONE)
        err = version_row_delete(conn, bucket_id, key, o.seq);
    if (err == ERR_NONE)
        err = version_bytes_drop(s, conn, o.seq, o.part_count, buf_slice(&extents));
    buf_fini(&extents);
    return err;
}

int
version_make_room(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
                  const struct object_old *old, bool null_version, bool *replaced)
{
    int err = ERR_NONE;
    *replaced = old->exists && old->is_null && null_version;
    if (!old->exists)
        err = newest_since(conn, bucket_id, key, clock_wall_ms());
    else if (!*replaced)
        err = version_push(conn, bucket_id, key);
    /* After the push: a null version that was pushed is not one that a null version replaces. */
    if (err == ERR_NONE && null_version && !*replaced)
        err = null_version_drop(s, conn, bucket_id, key);
    return err;
}

/* Against removal, now. */
static bool
version_locked(const struct store_lock *lock, bool bypass_governance)
{
    if (lock->legal_hold)
        return true;
    if (lock->retention == STORE_RETENTION_NONE || lock->retain_until_ms <= clock_wall_ms())
        return false;
    return lock->retention == STORE_RETENTION_COMPLIANCE || !bypass_governance;
}

/* ---- deleting ---- */

struct deletion {
    struct store *s;
    struct db_conn *conn;
    const struct store_delete_spec *spec;
    struct store_delete_result *result;
    struct bucket_row bucket;
    struct object_old old; /* the current version */
};

static int
tell(const struct deletion *d, enum store_change_kind kind, int64_t generation,
     const struct store_object *object, const char *version_id)
{
    const struct store_delete_spec *spec = d->spec;
    const struct store_hooks *hooks = &d->s->hooks;
    struct store_change change = {.kind = kind,
                                  .bucket_id = d->bucket.id,
                                  .bucket = spec->bucket,
                                  .key = spec->key,
                                  .generation = generation,
                                  .object = object,
                                  .version_id = version_id,
                                  .old_generation = d->old.generation,
                                  .account_id = spec->account_id,
                                  .access_key_id = spec->access_key_id,
                                  .request_id = spec->request_id,
                                  .source_ip = spec->source_ip,
                                  .by_function = spec->by_function,
                                  .by_lifecycle = spec->by_lifecycle};
    return hooks->changed == NULL ? ERR_NONE : hooks->changed(hooks->arg, d->conn, &change);
}

/* The condition, judged against the version that would go. */
static int
judge(const struct store_condition *c, const char *etag, int64_t size, int64_t mtime_ms)
{
    struct store_condition match = {.if_match = c->if_match};
    bool ok = condition_judge(&match, etag) == ERR_NONE;
    if (etag != NULL) {
        ok &= !c->has_size || c->size == size;
        ok &= !c->has_mtime || c->mtime_ms / 1000 == mtime_ms / 1000;
    }
    return ok ? ERR_NONE : ERR_PRECONDITION;
}

static int
delete_current(struct deletion *d)
{
    int err = object_row_delete(d->conn, d->bucket.id, d->spec->key);
    return err != ERR_NONE ? err
                           : version_bytes_drop(d->s, d->conn, d->old.seq, d->old.part_count,
                                                buf_slice(&d->old.extents));
}

static int
marker_insert(const struct deletion *d, int64_t seq)
{
    int64_t flags = OBJECT_MARKER;
    if (d->bucket.versioning == STORE_VERSIONING_SUSPENDED)
        flags |= OBJECT_NULL_VERSION;
    struct db_stmt *q = db_prepare(
        d->conn, "INSERT INTO object_version (bucket_id, key, rank, generation,"
                 " " OBJECT_COLUMNS_COMMON ", noncurrent_ms)"
                 " SELECT id, ?2, ?3, ?4, 0, ?5, '', 0, '', 0, ?6, owner, 0, x'', x'', x'', x'',"
                 " x'', 0 FROM bucket WHERE id = ?1");
    db_bind_int(q, 1, d->bucket.id);
    db_bind_blob(q, 2, d->spec->key);
    db_bind_int(q, 3, -seq);
    db_bind_int(q, 4, seq);
    db_bind_int(q, 5, clock_wall_ms());
    db_bind_int(q, 6, flags);
    return db_run(q);
}

/* A delete marker covers whatever is there. */
static int
delete_by_marker(struct deletion *d)
{
    bool null_marker = d->bucket.versioning == STORE_VERSIONING_SUSPENDED;
    bool replaced = false;
    int64_t seq = db_next(d->conn);
    int err = version_make_room(d->s, d->conn, d->bucket.id, d->spec->key, &d->old, null_marker,
                                &replaced);
    if (err == ERR_NONE && replaced)
        err = delete_current(d);
    else if (err == ERR_NONE && d->old.exists)
        err = object_row_delete(d->conn, d->bucket.id, d->spec->key);
    if (err == ERR_NONE)
        err = marker_insert(d, seq);
    d->result->marker = true;
    version_id_write(seq, null_marker, d->result->version_id);
    return err == ERR_NONE ? tell(d, STORE_REMOVED_MARKER, seq, NULL, d->result->version_id) : err;
}

/* The newest version is gone: the next older one takes its place. `removed` is what to say when
 * that leaves the key as it was for readers, or without an object. */
static int
promote(struct deletion *d, enum store_change_kind removed)
{
    struct store_object o;
    struct slice extents;
    struct db_stmt *row = NULL;
    const struct store_object *record = NULL;
    int rc = version_row_find(d->conn, d->bucket.id, d->spec->key, -1, &o, &extents, &row);
    if (rc < 0)
        return rc;
    if (rc != DB_ROW || o.is_marker) {
        if (rc == DB_ROW)
            db_reset(row);
        int err = newest_since(d->conn, d->bucket.id, d->spec->key, 0);
        int64_t generation = removed == STORE_REMOVED ? db_next(d->conn) : 0;
        return err != ERR_NONE ? err : tell(d, removed, generation, NULL, d->result->version_id);
    }
    o.generation = db_next(d->conn);
    o.is_latest = true;
    record = object_dup(&o, extents);
    db_reset(row);
    if (record == NULL)
        return ERR_NOMEM;
    int err = version_pop(d->conn, d->bucket.id, d->spec->key, o.seq, o.generation);
    if (err == ERR_NONE)
        err = tell(d, STORE_REMOVED_VERSION, 0, NULL, d->result->version_id);
    if (err == ERR_NONE)
        err = tell(d, STORE_RESTORED, o.generation, record, record->version_id);
    store_object_unref(&record);
    return err;
}

static int
delete_noncurrent(struct deletion *d, int64_t seq)
{
    struct store_object o;
    struct slice lent;
    struct buf extents;
    struct db_stmt *row = NULL;
    int rc = version_row_find(d->conn, d->bucket.id, d->spec->key, seq, &o, &lent, &row);
    if (rc != DB_ROW)
        return rc; /* not there: nothing to do */
    buf_init(&extents, STORE_EXTENTS_BYTES_MAX);
    buf_put_slice(&extents, lent);
    int err = extents.err;
    db_reset(row);
    if (err == ERR_NONE && version_locked(&o.lock, d->spec->bypass_governance))
        err = ERR_DENIED;
    if (err == ERR_NONE)
        err = judge(&d->spec->condition, o.etag, o.size, o.mtime_ms);
    if (err == ERR_NONE)
        err = version_row_delete(d->conn, d->bucket.id, d->spec->key, o.seq);
    if (err == ERR_NONE)
        err = version_bytes_drop(d->s, d->conn, o.seq, o.part_count, buf_slice(&extents));
    buf_fini(&extents);
    if (err != ERR_NONE)
        return err;
    d->result->existed = true;
    d->result->marker = o.is_marker;
    return o.is_latest ? promote(d, STORE_REMOVED_VERSION)
                       : tell(d, STORE_REMOVED_VERSION, 0, NULL, d->result->version_id);
}

static int
delete_version(struct deletion *d)
{
    const struct store_delete_spec *spec = d->spec;
    int64_t seq = 0;
    int err = version_id_parse(spec->version_id, &seq);
    if (err != ERR_NONE)
        return err;
    snprintf(d->result->version_id, sizeof d->result->version_id, "%.*s",
             SLICE_FMT(spec->version_id));
    bool current =
        d->old.exists && (seq == 0 ? d->old.is_null : !d->old.is_null && d->old.seq == seq);
    if (!current)
        return delete_noncurrent(d, seq);
    if (version_locked(&d->old.lock, spec->bypass_governance))
        return ERR_DENIED;
    err = judge(&spec->condition, d->old.etag, d->old.size, d->old.mtime_ms);
    if (err == ERR_NONE)
        err = delete_current(d);
    d->result->existed = true;
    return err == ERR_NONE ? promote(d, STORE_REMOVED) : err;
}

/* Without a version id. */
static int
delete_key(struct deletion *d)
{
    const struct store_delete_spec *spec = d->spec;
    const char *etag = d->old.exists ? d->old.etag : NULL;
    int err = judge(&spec->condition, etag, d->old.size, d->old.mtime_ms);
    if (err != ERR_NONE)
        return err;
    if (d->old.exists && spec->only_generation != 0 && spec->only_generation != d->old.generation)
        return ERR_STALE;
    d->result->existed = d->old.exists;
    if (d->bucket.versioning != STORE_VERSIONING_OFF)
        return delete_by_marker(d);
    if (!d->old.exists)
        return ERR_NONE;
    err = delete_current(d);
    return err == ERR_NONE ? tell(d, STORE_REMOVED, db_next(d->conn), NULL, "null") : err;
}

int
store_apply_delete(struct store *s, struct db_conn *conn, const struct store_delete_spec *spec,
                   struct store_delete_result *result)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct deletion d = {.s = s, .conn = conn, .spec = spec, .result = result};
    *result = (struct store_delete_result){.existed = false};
    buf_init(&d.old.extents, STORE_EXTENTS_BYTES_MAX);
    int err = bucket_row_find(conn, spec->bucket, &d.bucket);
    if (err == ERR_NONE)
        err = object_old_read(conn, d.bucket.id, spec->key, &d.old);
    if (err == ERR_NONE) {
        store_changed(s, d.bucket.id, spec->key);
        err = spec->version_id.n > 0 ? delete_version(&d) : delete_key(&d);
    }
    object_old_fini(&d.old);
    return err;
}
