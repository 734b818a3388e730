/*
 * Rows of damaged blobs, and the suspicions that lead to them.
 *
 *   reader or scrubber meets a bad block
 *        |                     \ reader: suspicion (memory, bounded) --> scrubber reads it again
 *        v                                                                 |
 *   quarantine row, traced = 0  <--------------------- bad again ----------/
 *        | the scrubber goes through the object rows once for all that wait
 *        v
 *   quarantine_ref rows, traced = 1, hooks.damaged() for each current version
 *        | last reference to the blob goes, or its bytes are whole again
 *        v
 *      (gone)
 *
 * A row is only written while its blob has one, judged in the same transaction: what was
 * overwritten or deleted while it was read is no finding. References are those of the moment of the
 * tracing; a copy made later has the same blob and is found through it by quarantine_of().
 */
#include "objectstore/quarantine.h"
#include "base/err.h"
#include "objectstore/quarantine_priv.h"

#include <string.h>

const char *
damage_text(enum damage d)
{
    static const char *const texts[] = {
#define X(id, text) [DAMAGE_##id] = text,
        DAMAGE_LIST(X)
#undef X
    };
    return d < DAMAGE_COUNT ? texts[d] : "unknown";
}

/* ---- suspicions ---- */

void
suspicions_init(struct suspicions *s)
{
    *s = (struct suspicions){.count = 0};
    lock_init(&s->lock, LOCK_RANK_SUSPICION);
    lock_cond_init(&s->wake);
}

void
suspicions_fini(struct suspicions *s)
{
    pthread_cond_destroy(&s->wake);
    lock_fini(&s->lock);
}

static bool
told_lately(const struct suspicions *s, int64_t blob)
{
    for (size_t i = 0; i < SUSPICIONS_MAX; i++) {
        if (s->recent[i] == blob)
            return true;
    }
    return false;
}

void
suspicion_add(struct suspicions *s, int64_t blob, int64_t block)
{
    lock_take(&s->lock);
    if (s->count < SUSPICIONS_MAX && !told_lately(s, blob)) {
        s->recent[s->recent_at++ % SUSPICIONS_MAX] = blob;
        s->list[s->count++] = (struct suspicion){blob, block};
        pthread_cond_signal(&s->wake);
    }
    lock_release(&s->lock);
}

bool
suspicion_waits(struct suspicions *s)
{
    lock_take(&s->lock);
    bool any = s->count > 0;
    lock_release(&s->lock);
    return any;
}

bool
suspicion_take(struct suspicions *s, struct suspicion *out)
{
    lock_take(&s->lock);
    bool any = s->count > 0;
    if (any)
        *out = s->list[--s->count];
    lock_release(&s->lock);
    return any;
}

void
suspicion_clear(struct suspicions *s, int64_t blob)
{
    lock_take(&s->lock);
    for (size_t i = 0; i < SUSPICIONS_MAX; i++) {
        if (s->recent[i] == blob)
            s->recent[i] = 0; /* no blob has that id */
    }
    lock_release(&s->lock);
}

/* ---- rows ---- */

int
quarantine_apply_add(struct suspicions *s, struct db_conn *conn, const struct quarantined *q,
                     bool *fresh)
{
    struct db_stmt *st = db_prepare(
        conn, "INSERT INTO quarantine (blob, offset, reason, found_ms, traced) "
              "SELECT ?1, ?2, ?3, ?4, 0 FROM blob WHERE id = ?1 ON CONFLICT (blob) DO NOTHING");
    db_bind_int(st, 1, q->blob);
    db_bind_int(st, 2, q->offset);
    db_bind_int(st, 3, q->reason);
    db_bind_int(st, 4, q->found_ms);
    int err = db_run(st);
    *fresh = err == ERR_NONE && db_changes(conn) == 1;
    if (*fresh)
        atomic_store(&s->quarantined, true);
    return err;
}

int
quarantine_apply_forget(struct db_conn *conn, int64_t blob)
{
    struct db_stmt *q = db_prepare(conn, "DELETE FROM quarantine WHERE blob = ?1");
    db_bind_int(q, 1, blob);
    int err = db_run(q);
    if (err != ERR_NONE || db_changes(conn) == 0)
        return err;
    q = db_prepare(conn, "DELETE FROM quarantine_ref WHERE blob = ?1");
    db_bind_int(q, 1, blob);
    return db_run(q);
}

int
quarantine_apply_ref(struct db_conn *conn, int64_t blob, int64_t bucket_id, struct slice key,
                     int64_t seq)
{
    struct db_stmt *q = db_prepare(conn, "INSERT INTO quarantine_ref (blob, bucket_id, key, seq) "
                                         "SELECT ?1, ?2, ?3, ?4 FROM quarantine WHERE blob = ?1 "
                                         "ON CONFLICT (blob, bucket_id, key, seq) DO NOTHING");
    db_bind_int(q, 1, blob);
    db_bind_int(q, 2, bucket_id);
    db_bind_blob(q, 3, key);
    db_bind_int(q, 4, seq);
    return db_run(q);
}

int
quarantine_apply_traced(struct db_conn *conn, int64_t blob)
{
    struct db_stmt *q = db_prepare(conn, "UPDATE quarantine SET traced = 1 WHERE blob = ?1");
    db_bind_int(q, 1, blob);
    return db_run(q);
}

/* ---- reading ---- */

int
quarantine_untraced(struct db_conn *conn, int64_t *blobs, int max, int *count)
{
    int rc;
    struct db_stmt *q =
        db_prepare(conn, "SELECT blob FROM quarantine WHERE traced = 0 ORDER BY blob LIMIT ?1");
    db_bind_int(q, 1, max);
    *count = 0;
    while ((rc = db_step(q)) == DB_ROW)
        blobs[(*count)++] = db_column_int(q, 0);
    return rc;
}

static void
row_read(struct db_stmt *q, struct quarantined *out)
{
    int64_t reason = db_column_int(q, 2);
    *out = (struct quarantined){.blob = db_column_int(q, 0),
                                .offset = db_column_int(q, 1),
                                .reason = reason > 0 && reason < DAMAGE_COUNT ? (enum damage)reason
                                                                              : DAMAGE_SUM,
                                .found_ms = db_column_int(q, 3)};
}

static int
row_get(struct db_conn *conn, int64_t blob, struct quarantined *out)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT blob, offset, reason, found_ms FROM quarantine WHERE blob = ?1");
    db_bind_int(q, 1, blob);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    row_read(q, out);
    db_reset(q);
    return ERR_NONE;
}

int
quarantine_has(struct db_conn *conn, int64_t blob, bool *has)
{
    struct quarantined q;
    int err = row_get(conn, blob, &q);
    *has = err == ERR_NONE;
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}

int
quarantine_of(struct db_conn *conn, const struct store_object *o, struct quarantined *out)
{
    int64_t count = 0, start = 0;
    int err = quarantine_count(conn, &count);
    if (err != ERR_NONE || count == 0)
        return err == ERR_NONE ? ERR_NOTFOUND : err;
    for (size_t i = 0; i < o->extent_count; i++) {
        const struct store_extent *e = &o->extents[i];
        err = row_get(conn, e->blob, out);
        if (err == ERR_NONE) {
            /* Bad before this extent begins, or behind it: of the bytes here nothing is known. */
            int64_t skip = out->offset > e->offset ? out->offset - e->offset : 0;
            out->offset = start + (skip < e->bytes ? skip : 0);
        }
        if (err != ERR_NOTFOUND)
            return err;
        start += e->bytes;
    }
    return ERR_NOTFOUND;
}

int
quarantine_list(struct db_conn *conn, int64_t after, int max, quarantine_fn fn, void *arg)
{
    int rc;
    struct quarantined row;
    struct db_stmt *q = db_prepare(conn, "SELECT blob, offset, reason, found_ms FROM quarantine "
                                         "WHERE blob > ?1 ORDER BY blob LIMIT ?2");
    db_bind_int(q, 1, after);
    db_bind_int(q, 2, max);
    while ((rc = db_step(q)) == DB_ROW) {
        row_read(q, &row);
        if (fn(arg, &row) != 0) {
            db_reset(q);
            return ERR_NONE;
        }
    }
    return rc;
}

int
quarantine_refs(struct db_conn *conn, int64_t blob, quarantine_ref_fn fn, void *arg)
{
    int rc;
    struct db_stmt *q = db_prepare(conn, "SELECT bucket_id, key, seq FROM quarantine_ref "
                                         "WHERE blob = ?1 ORDER BY bucket_id, key, seq");
    db_bind_int(q, 1, blob);
    while ((rc = db_step(q)) == DB_ROW) {
        if (fn(arg, db_column_int(q, 0), db_column_blob(q, 1), db_column_int(q, 2)) != 0) {
            db_reset(q);
            return ERR_NONE;
        }
    }
    return rc;
}

int
quarantine_count(struct db_conn *conn, int64_t *count)
{
    struct db_stmt *q = db_prepare(conn, "SELECT COUNT(*) FROM quarantine");
    int rc = db_step(q);
    *count = rc == DB_ROW ? db_column_int(q, 0) : 0;
    db_reset(q);
    return rc < 0 ? rc : ERR_NONE;
}
