/*
 * The orphan sweep. First the mark: the oldest put in flight. Then, folder by folder, a snapshot
 * taken after the mark: a put below the mark is over, so a file below it without a row in that
 * snapshot will never get one. Inline bytes need no sweep: their row goes with its last reference
 * in one transaction.
 */
#include "base/err.h"
#include "objectstore/store_priv.h"

struct sweep {
    struct store *store;
    int64_t mark;
    int64_t removed;
};

/* Those of `ids` that have no row. */
enum { SWEEP_STEP = 128 }; /* look-ups per read */

static int
orphans_among(struct store *s, const int64_t *ids, size_t count, int64_t *orphans, size_t *found)
{
    struct db_conn *conn = NULL;
    int rc = db_read_begin(s->db, &conn);
    if (rc != ERR_NONE)
        return rc;
    for (size_t i = 0; i < count && rc >= 0; i++) {
        struct db_stmt *q = db_prepare(conn, "SELECT 1 FROM blob WHERE id = ?1");
        db_bind_int(q, 1, ids[i]);
        rc = db_step(q);
        if (rc == DB_ROW)
            db_reset(q);
        else if (rc == DB_DONE)
            orphans[(*found)++] = ids[i];
    }
    db_read_end(s->db, &conn);
    return rc < 0 ? rc : ERR_NONE;
}

/* A few at a time: each read is short, also where every page comes from a slow disk. Each snapshot
 * is later than the mark, which is all that is asked of it. */
static int
orphans_find(struct store *s, const int64_t *ids, size_t count, int64_t *orphans, size_t *found)
{
    int err = ERR_NONE;
    *found = 0;
    for (size_t i = 0; i < count && err == ERR_NONE; i += SWEEP_STEP)
        err = orphans_among(s, ids + i, count - i < SWEEP_STEP ? count - i : SWEEP_STEP, orphans,
                            found);
    return err;
}

static int
sweep_folder(void *arg, int64_t folder, const int64_t *ids, size_t count)
{
    struct sweep *w = arg;
    int64_t orphans[BYTES_FOLDER_IDS];
    size_t found = 0;
    int err = orphans_find(w->store, ids, count, orphans, &found);
    if (err == ERR_NONE && found > 0)
        err = db_settle(w->store->db);
    for (size_t i = 0; i < found && err == ERR_NONE; i++)
        w->removed += blob_remove_file(w->store, orphans[i]);
    /* Ids from the mark on may be publishing in the mark's folder, never in an earlier one. */
    if (err == ERR_NONE && folder < w->mark / BYTES_FOLDER_IDS && found == count)
        bytes_remove_folder(w->store->bytes, folder);
    return err;
}

int
store_sweep(struct store *s, int64_t *removed)
{
    struct sweep w = {.store = s, .mark = put_oldest(s)};
    *removed = 0;
    if (db_health(s->db) == ERR_SYNC)
        return ERR_SYNC;
    int err = bytes_list(s->bytes, w.mark, sweep_folder, &w);
    *removed = w.removed;
    return err == ERR_NONE ? upload_sweep(s) : err;
}
