/*
 * Rows of blobs and their reference counts. One reference for each extent of an object or part that
 * names the blob, counted in the transaction that writes the extent.
 *
 * When the last reference goes, the row goes; a file's id moves to `doomed` in the same
 * transaction, so a rollback takes it back. Only when that is durable does the pool unlink what
 * `doomed` lists and then clear the list: a crash in between repeats harmlessly at the next start.
 *
 *   row, refs > 0 --last unref--> doomed row --durable, no pin--> unlinked --> no row at all
 *
 * A reader over several files does not hold all of them open: it pins its object instead. It pins
 * first and then checks that the object is still current, so a blob that was doomed before the pin
 * makes it give up, and one doomed later is met by blob_remove_file() with the pin in place.
 *
 * A backup holds all files (store_backup.h) from before its snapshot until it has links of them:
 * whatever is removed after the hold began for lack of a row, or was decided on before, had no row
 * before the snapshot either.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plant.h"
#include "objectstore/reader_priv.h"
#include "objectstore/store_backup.h"
#include "objectstore/store_priv.h"

#include <inttypes.h>

int
blob_insert(struct db_conn *conn, int64_t id, int64_t bytes, struct slice data, struct slice crcs)
{
    struct db_stmt *q = db_prepare(
        conn, "INSERT INTO blob (id, refs, bytes, crcs, data) VALUES (?1, 1, ?2, ?3, ?4)");
    db_bind_int(q, 1, id);
    db_bind_int(q, 2, bytes);
    db_bind_blob(q, 3, crcs);
    if (data.p == NULL)
        db_bind_null(q, 4);
    else
        db_bind_blob(q, 4, data);
    return db_run(q);
}

int
blob_ref_all(struct db_conn *conn, struct slice extents)
{
    struct store_extent e;
    int rc;
    while ((rc = extent_next(&extents, &e)) == 1) {
        struct db_stmt *q = db_prepare(conn, "UPDATE blob SET refs = refs + 1 WHERE id = ?1");
        db_bind_int(q, 1, e.blob);
        rc = db_run(q);
        if (rc == ERR_NONE && db_changes(conn) != 1)
            rc = ERR_CORRUPT;
        if (rc != ERR_NONE)
            return rc;
    }
    return rc;
}

static int
blob_doom(struct store *s, struct db_conn *conn, int64_t id)
{
    struct db_stmt *q = db_prepare(conn, "INSERT INTO doomed (blob, bytes, crcs)"
                                         " SELECT id, bytes, crcs FROM blob WHERE id = ?1");
    db_bind_int(q, 1, id);
    s->changes.doomed = true;
    return db_run(q);
}

static int
blob_refs(struct db_conn *conn, int64_t id, int64_t *refs)
{
    struct db_stmt *q = db_prepare(conn, "SELECT refs FROM blob WHERE id = ?1");
    db_bind_int(q, 1, id);
    int rc = db_step(q);
    if (rc == DB_ROW) {
        *refs = db_column_int(q, 0);
        db_reset(q);
        return ERR_NONE;
    }
    if (rc != DB_DONE)
        return rc;
    log_line(LOG_ERROR, "blob_missing", "blob=%" PRId64, id);
    return ERR_CORRUPT;
}

/* The row is gone. Nearly always no blob at all is in quarantine. */
static int
blob_forget(struct store *s, struct db_conn *conn, int64_t id)
{
    return atomic_load(&s->suspicions.quarantined) ? quarantine_apply_forget(conn, id) : ERR_NONE;
}

static int
blob_unref(struct store *s, struct db_conn *conn, int64_t id)
{
    int64_t refs = 0;
    /* Nearly always it is small and this the only reference, so that is tried first. */
    struct db_stmt *q =
        db_prepare(conn, "DELETE FROM blob WHERE id = ?1 AND refs = 1 AND data IS NOT NULL");
    db_bind_int(q, 1, id);
    int err = db_run(q);
    if (err == ERR_NONE && db_changes(conn) == 1)
        return blob_forget(s, conn, id);
    if (err == ERR_NONE)
        err = blob_refs(conn, id, &refs);
    if (err == ERR_NONE && refs == 1)
        err = blob_doom(s, conn, id);
    if (err != ERR_NONE)
        return err;
    q = refs == 1 ? db_prepare(conn, "DELETE FROM blob WHERE id = ?1")
                  : db_prepare(conn, "UPDATE blob SET refs = refs - 1 WHERE id = ?1");
    db_bind_int(q, 1, id);
    err = db_run(q);
    return err == ERR_NONE && refs == 1 ? blob_forget(s, conn, id) : err;
}

int
blob_unref_all(struct store *s, struct db_conn *conn, struct slice extents)
{
    struct store_extent e;
    int rc;
    while ((rc = extent_next(&extents, &e)) == 1) {
        rc = blob_unref(s, conn, e.blob);
        if (rc != ERR_NONE)
            return rc;
    }
    return rc;
}

int
blob_exists(struct store *s, int64_t id)
{
    struct db_conn *conn = NULL;
    int rc = db_read_begin(s->db, &conn);
    if (rc != ERR_NONE)
        return rc;
    struct db_stmt *q = db_prepare(conn, "SELECT 1 FROM blob WHERE id = ?1");
    db_bind_int(q, 1, id);
    rc = db_step(q);
    if (rc == DB_ROW)
        db_reset(q);
    db_read_end(s->db, &conn);
    return rc;
}

bool
blob_remove_file(struct store *s, int64_t id)
{
    lock_take(&s->lock);
    bool pinned = s->holds > 0 && !plant_unheld;
    for (struct store_reader *r = s->pins; r != NULL && !pinned; r = r->pin_next) {
        for (size_t i = 0; i < r->object->extent_count && !pinned; i++)
            pinned = r->object->extents[i].blob == id;
    }
    s->pin_met = s->pin_met || pinned;
    lock_release(&s->lock);
    if (pinned)
        return false;
    int err = bytes_remove(s->bytes, id);
    if (err != ERR_NONE)
        log_line(LOG_WARN, "unlink_failed", "blob=%" PRId64 " error=%s", id, err_name(err));
    return err == ERR_NONE;
}

/* ---- draining ---- */

struct drain_op {
    struct db_op op;
    int64_t ids[STORE_DRAIN_ROWS];
    size_t count;
};

static int
drain_apply(struct db_op *op, struct db_conn *conn)
{
    struct drain_op *d = CONTAINER_OF(op, struct drain_op, op);
    int err = ERR_NONE;
    for (size_t i = 0; i < d->count && err == ERR_NONE; i++) {
        struct db_stmt *q = db_prepare(conn, "DELETE FROM doomed WHERE blob = ?1");
        db_bind_int(q, 1, d->ids[i]);
        err = db_run(q);
    }
    return err;
}

static int
doomed_read(struct store *s, int64_t after, struct drain_op *d)
{
    struct db_conn *conn = NULL;
    int rc = db_read_begin(s->db, &conn);
    if (rc != ERR_NONE)
        return rc;
    struct db_stmt *q =
        db_prepare(conn, "SELECT blob FROM doomed WHERE blob > ?1 ORDER BY blob LIMIT ?2");
    db_bind_int(q, 1, after);
    db_bind_int(q, 2, STORE_DRAIN_ROWS);
    d->count = 0;
    while ((rc = db_step(q)) == DB_ROW)
        d->ids[d->count++] = db_column_int(q, 0);
    db_read_end(s->db, &conn);
    return rc;
}

static bool
files_held(struct store *s)
{
    lock_take(&s->lock);
    bool held = s->holds > 0 && !plant_unheld;
    lock_release(&s->lock);
    return held;
}

void
store_hold_files(struct store *s)
{
    CHK_MAGIC(s, STORE_MAGIC);
    lock_take(&s->lock);
    s->holds++;
    lock_release(&s->lock);
}

void
store_release_files(struct store *s)
{
    CHK_MAGIC(s, STORE_MAGIC);
    lock_take(&s->lock);
    CHK(s->holds > 0);
    s->holds--;
    lock_release(&s->lock);
    blob_drain_soon(s);
}

int
blob_drain(struct store *s)
{
    struct drain_op d = {.op = {.apply = drain_apply, .urgent = true}};
    int64_t after = -1;
    while (!files_held(s)) {
        /* After a failed sync what we see committed may not be so on the disk. */
        int err = db_health(s->db) == ERR_SYNC ? ERR_SYNC : doomed_read(s, after, &d);
        if (err == ERR_NONE && d.count > 0)
            err = db_settle(s->db); /* else a power cut would bring the rows back, not the files */
        if (err != ERR_NONE || d.count == 0)
            return err;
        after = d.ids[d.count - 1];
        size_t gone = 0;
        for (size_t i = 0; i < d.count; i++) {
            if (blob_remove_file(s, d.ids[i]))
                d.ids[gone++] = d.ids[i];
        }
        d.count = gone;
        err = gone == 0 ? ERR_NONE : db_call(s->db, &d.op);
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE; /* store_release_files() calls again */
}

static void
drain_run(struct pool_job *job)
{
    struct store *s = CONTAINER_OF(job, struct store, drain_job);
    lock_take(&s->sync_lock);
    while (s->drain_wanted) {
        s->drain_wanted = false;
        lock_release(&s->sync_lock);
        int err = blob_drain(s);
        if (err != ERR_NONE)
            log_line(LOG_WARN, "unlinks_delayed", "error=%s", err_name(err));
        lock_take(&s->sync_lock);
    }
    s->drain_running = false;
    lock_release(&s->sync_lock);
}

void
blob_drain_soon(struct store *s)
{
    lock_take(&s->sync_lock);
    bool start = !s->drain_running;
    s->drain_wanted = true;
    s->drain_running = true;
    lock_release(&s->sync_lock);
    if (start) {
        s->drain_job.run = drain_run;
        pool_submit(s->pool, &s->drain_job);
    }
}
