/*
 * The writer thread: owns the read-write connection from db_open() to db_close(); transactions,
 * checkpoints. Nobody else writes; db_conn_check() asserts it.
 *
 *   WAITING --ops--> BATCH: BEGIN, apply of each op, and of those that come while the syncer works
 *      ^                |
 *      |             COMMIT (no sync) --failed--> every op gets the error
 *      |                |
 *      |             hooks, db_sync_hand()
 *      +--checkpoint, backup: a step at a time--+
 *
 * A batch stays open while the syncer works on the one before: its sync could not begin earlier
 * anyway, and the fewer commits, the fewer pages of the log. So at most one batch is being synced,
 * one waits and one is being applied.
 *
 * An op that fails must leave nothing behind. Most that do have changed nothing yet, and need no
 * undoing; so there is no savepoint per op at first. When one fails after a change, the whole batch
 * is rolled back and applied again, each op in a savepoint of its own (batch.careful).
 *
 * Invariants: (1) done() is called exactly once for each accepted op, when the fate of its COMMIT
 * is certain, in the order of submission. (2) The counter's durable value is never below a number
 * that db_next() gave out and that was committed.
 */
#include "base/chk.h"
#include "base/db_priv.h"
#include "base/err.h"
#include "base/stat.h"

#define QUEUE_URGENT_EXTRA 1024 /* places that only urgent ops may take */
#define COUNTER_BLOCK 1024      /* numbers made durable at a time */
#define LOG_LIMITS_MAX 4        /* times checkpoint_bytes */
#define COPY_STEPS 4            /* parts in which the log is copied */

struct batch {
    struct db_op *first, **end;
    int count;
    int applied;
    size_t bytes;
    bool careful; /* each op in a savepoint */
    int err;      /* of the whole batch */
};

/* ---- the counter ---- */

int64_t
db_next(struct db_conn *conn)
{
    db_conn_check(conn);
    CHK(conn->is_writer && conn->inside);
    return atomic_fetch_add(&conn->db->counter, 1) + 1;
}

void
db_counter_skip(struct db_conn *conn, int64_t count)
{
    db_conn_check(conn);
    CHK(conn->is_writer && conn->inside && count >= 0);
    atomic_fetch_add(&conn->db->counter, count);
}

/* Part of the transaction that gave the numbers out. */
static int
counter_save(struct db_conn *conn, int64_t *ceiling)
{
    struct db *db = conn->db;
    int64_t now = atomic_load(&db->counter);
    *ceiling = db->counter_durable;
    if (now <= *ceiling)
        return ERR_NONE;
    *ceiling = now + COUNTER_BLOCK;
    struct db_stmt *s = db_prepare(conn, "UPDATE darkroom_counter SET value = ?1 WHERE id = 1");
    db_bind_int(s, 1, *ceiling);
    return db_run(s);
}

/* ---- inside a batch ---- */

int
db_part_begin(struct db_conn *conn)
{
    return db_run(db_prepare(conn, "SAVEPOINT part"));
}

int
db_part_end(struct db_conn *conn, bool keep)
{
    int err = keep ? ERR_NONE : db_run(db_prepare(conn, "ROLLBACK TO part"));
    return err != ERR_NONE ? err : db_run(db_prepare(conn, "RELEASE part"));
}

static int
apply_one(struct db_conn *conn, struct db_op *op, bool careful)
{
    int err = careful ? db_run(db_prepare(conn, "SAVEPOINT op")) : ERR_NONE;
    if (err != ERR_NONE)
        return err;
    err = op->apply(op, conn);
    CHK(err <= 0);
    db_reset_all(conn);
    if (!careful || sqlite3_get_autocommit(conn->handle))
        return err;
    if (err != ERR_NONE) {
        int undo = db_run(db_prepare(conn, "ROLLBACK TO op"));
        if (undo != ERR_NONE)
            return undo;
    }
    int release = db_run(db_prepare(conn, "RELEASE op"));
    return err != ERR_NONE ? err : release;
}

/* Applies the ops from `op` on, at the end of the batch. False when one of them has failed after a
 * change that must be undone. A full disk or an I/O error can make SQLite drop the whole
 * transaction: then nobody in it has succeeded. */
static bool
apply_from(struct db_conn *conn, struct batch *b, struct db_op *op)
{
    for (; op != NULL && b->err == ERR_NONE; op = op->next) {
        int64_t before = sqlite3_total_changes64(conn->handle);
        op->err = apply_one(conn, op, b->careful);
        b->applied += op->err == ERR_NONE;
        if (sqlite3_get_autocommit(conn->handle))
            b->err = op->err != ERR_NONE ? op->err : ERR_IO;
        else if (op->err != ERR_NONE && !b->careful &&
                 sqlite3_total_changes64(conn->handle) != before)
            return false;
    }
    return true;
}

static void
batch_apply(struct db_conn *conn, struct batch *b, struct db_op *ops)
{
    if (apply_from(conn, b, ops))
        return;
    STAT_INC(db_batches_again_total);
    b->careful = true;
    b->applied = 0;
    b->err = db_exec(conn, "ROLLBACK; BEGIN IMMEDIATE");
    (void)apply_from(conn, b, b->first);
}

/* ---- batches ---- */

/* Moves what waits to the end of the batch, as far as the limits allow. Lock held. */
static struct db_op *
batch_take(struct db *db, struct batch *b)
{
    struct db_op *first = db->head;
    struct db_op **end = &db->head;
    int count = b->count;
    while (*end != NULL && count < DB_BATCH_OPS &&
           (count == 0 || b->bytes + (*end)->bytes <= DB_BATCH_BYTES)) {
        b->bytes += (*end)->bytes;
        end = &(*end)->next;
        count++;
    }
    if (count == b->count)
        return NULL;
    db->head = *end;
    *end = NULL;
    if (db->head == NULL)
        db->tail = &db->head;
    *b->end = first;
    b->end = end;
    db->queued -= count - b->count;
    b->count = count;
    STAT_SET(db_queue_ops, db->queued);
    return first;
}

/* What is to be applied next; NULL when it is time to commit, or, when there is no batch, to end or
 * to go on with a backup. */
static struct db_op *
batch_more(struct db *db, struct batch *b)
{
    struct db_op *ops = NULL;
    lock_take(&db->lock);
    if (b->count == 0) {
        while (db->head == NULL && !db->closing && db->backup == NULL)
            lock_wait(&db->lock, &db->wake, -1);
        ops = batch_take(db, b);
    } else {
        while (db->head == NULL && !db->closing && db_sync_busy(db))
            lock_wait(&db->lock, &db->wake, -1);
        if (db_sync_busy(db))
            ops = batch_take(db, b);
    }
    lock_release(&db->lock);
    return ops;
}

static bool
batch_commit(struct db *db, struct batch *b)
{
    struct db_conn *conn = db->writer;
    int64_t ceiling = 0;
    bool committed = false;
    if (b->err == ERR_NONE)
        b->err = counter_save(conn, &ceiling);
    atomic_fetch_add(&db->committing, 1);
    if (b->err == ERR_NONE && b->applied > 0) {
        b->err = db_run(db_prepare(conn, "COMMIT"));
        committed = b->err == ERR_NONE;
    }
    if (committed) {
        db->counter_durable = ceiling;
        STAT_INC(db_commits_total);
        STAT_ADD(db_ops_total, b->applied);
    }
    if (!sqlite3_get_autocommit(conn->handle))
        db_exec(conn, "ROLLBACK");
    for (struct db_op *op = b->first; op != NULL && b->err != ERR_NONE; op = op->next) {
        if (op->err == ERR_NONE)
            op->err = b->err;
    }
    return committed;
}

static bool
has_ended(struct db *db)
{
    lock_take(&db->lock);
    bool ended = db->closing && db->backup == NULL && db->head == NULL;
    lock_release(&db->lock);
    return ended;
}

/* False when closing and nothing is left. */
static bool
batch_run(struct db *db)
{
    struct batch b = {.first = NULL, .end = &b.first};
    struct db_conn *conn = db->writer;
    struct db_op *ops = batch_more(db, &b);
    if (ops == NULL)
        return !has_ended(db);
    conn->inside = true;
    b.err = atomic_load(&db->sync_failed) ? ERR_SYNC : db_run(db_prepare(conn, "BEGIN IMMEDIATE"));
    do {
        batch_apply(conn, &b, ops);
    } while (b.err == ERR_NONE && (ops = batch_more(db, &b)) != NULL);
    bool committed = batch_commit(db, &b);
    conn->inside = false;
    for (int i = 0; committed && i < db->hook_count; i++)
        db->hooks[i].fn(db->hooks[i].arg);
    db_sync_hand(db, b.first, committed);
    return true;
}

/* ---- the log ---- */

int
db_log_grew(void *arg, sqlite3 *handle, const char *name, int pages)
{
    struct db *db = arg;
    (void)handle;
    (void)name;
    db->log_bytes = (int64_t)pages * DB_PAGE_BYTES;
    return SQLITE_OK;
}

static void
copy_log(struct db *db, int mode)
{
    int rc = sqlite3_wal_checkpoint_v2(db->writer->handle, NULL, mode, NULL, NULL);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY)
        db_translate(db->writer, rc, "checkpoint");
}

/* A read transaction of our own: SQLite copies no further than its place in the log. */
static void
pin_set(struct db_conn *pin)
{
    int64_t version;
    if (db_exec(pin, "BEGIN") == ERR_NONE)
        (void)db_exec_int(pin, "PRAGMA schema_version", &version);
}

static void
pin_clear(struct db_conn *pin)
{
    if (!sqlite3_get_autocommit(pin->handle))
        db_exec(pin, "COMMIT");
}

/* The log grows until a checkpoint has copied it into the database file; then the next writer
 * starts it over, which works only when no reader looks at it. SQLite syncs the database file when
 * it has copied all: megabytes at once, and meanwhile nobody commits. So the log is copied in
 * steps. SQLite does not sync after a copy that ends before the end of the log, at the pin; the
 * kernel is told to begin writing those pages, and the last step finds most of them on the disk.
 *
 * PASSIVE never waits for a reader; short reads that overlap all the time would let the log grow
 * for ever, so when it is long RESTART waits for those inside (nobody writes meanwhile, so new ones
 * do not prolong it; the watchdog bounds them). */
static void
checkpoint(struct db *db)
{
    bool pinned = !sqlite3_get_autocommit(db->pin->handle);
    if (atomic_load(&db->sync_failed))
        return;
    if (db->log_bytes >= db->checkpoint_bytes) {
        pin_clear(db->pin);
        copy_log(db, db->log_bytes < LOG_LIMITS_MAX * db->checkpoint_bytes
                         ? SQLITE_CHECKPOINT_PASSIVE
                         : SQLITE_CHECKPOINT_RESTART);
        db->log_bytes = db->copied_bytes = 0; /* the next commit tells the true length */
    } else if (pinned) {
        copy_log(db, SQLITE_CHECKPOINT_PASSIVE);
        pin_clear(db->pin);
        db_hint_write(db);
    } else if (db->log_bytes - db->copied_bytes >= db->checkpoint_bytes / COPY_STEPS) {
        pin_set(db->pin);
        db->copied_bytes = db->log_bytes;
    }
}

void *
db_writer_main(void *arg)
{
    struct db *db = arg;
    pthread_setname_np(pthread_self(), "writer");
    db->writer->thread = db->pin->thread = pthread_self();
    while (batch_run(db)) {
        checkpoint(db);
        db_backup_step(db);
    }
    db_sync_stop(db);
    db_conn_close(db->pin);
    if (atomic_load(&db->sync_failed)) /* its pages may be lost: recovery must judge them */
        sqlite3_db_config(db->writer->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    else
        copy_log(db, SQLITE_CHECKPOINT_TRUNCATE);
    db_conn_close(db->writer);
    return NULL;
}

/* ---- submitting ---- */

int
db_submit(struct db *db, struct db_op *op)
{
    CHK_MAGIC(db, DB_MAGIC);
    CHK(op->apply != NULL && op->done != NULL);
    int err = db_health(db);
    if (err == ERR_SYNC || (err == ERR_FULL && !op->urgent))
        return err;
    op->next = NULL;
    op->err = ERR_NONE;
    lock_take(&db->lock);
    int limit = db->queue_ops_max + (op->urgent ? QUEUE_URGENT_EXTRA : 0);
    if (db->closing) {
        err = ERR_CANCELED;
    } else if (db->queued >= limit) {
        err = ERR_BUSY;
    } else {
        err = ERR_NONE;
        if (db->head == NULL)
            pthread_cond_signal(&db->wake);
        *db->tail = op;
        db->tail = &op->next;
        db->queued++;
    }
    lock_release(&db->lock);
    return err;
}

bool
db_is_full(struct db *db)
{
    CHK_MAGIC(db, DB_MAGIC);
    lock_take(&db->lock);
    bool full = db->queued >= db->queue_ops_max;
    lock_release(&db->lock);
    return full;
}

void
db_on_commit(struct db *db, db_commit_fn fn, void *arg)
{
    CHK_MAGIC(db, DB_MAGIC);
    CHK(db->hook_count < DB_HOOKS_MAX);
    db->hooks[db->hook_count++] = (struct db_hook){fn, arg};
}
