/*
 * The second half of group commit: a thread that makes commits durable and answers their ops,
 * while the writer already applies and commits the next ones.
 *
 *   writer   BEGIN apply... COMMIT (frames into the log, no sync) --> hooks --> db_sync_hand()
 *   syncer   takes all that was handed over --> fdatasync(log) --> durable := N --> done() of each
 *
 * SQLite runs with synchronous=NORMAL: COMMIT appends its frames to the write-ahead log and does
 * not sync; checkpoints do, by themselves. The log is synced through a descriptor of our own, which
 * is harmless: SQLite's locks are on the database file and on the -shm file, never on the log
 * (closing a descriptor drops the process's POSIX locks on that file), and SQLite neither deletes
 * nor replaces the log while the writer's connection is open.
 *
 * Why an answered op survives a power cut:
 *  1. The log file, its name in the directory and all that recovery found in it are durable before
 *     db_open() returns.
 *  2. Commits enter the log in their order, and are handed over and answered in that order.
 *  3. Commit N's frames were given to the kernel before N was handed over; an fdatasync() that
 *     began after that and returned 0 made them durable, and all before them.
 *  4. Each frame's checksum continues the one before it, and carries the salt of this run of the
 *     log: what recovery accepts is a prefix of the commits. By 3 it holds every answered one; more
 *     may be there, in order and whole.
 *  5. The log starts over only when a checkpoint has copied all of it. SQLite then syncs the log
 *     before it copies and the database file after, so every commit of the old run is durable in
 *     the database file without us. It also syncs the new header, with its new salt, before the
 *     first frame is written behind it: old frames cannot be taken for new ones, nor new ones for
 *     old. Until the header is durable recovery replays the old run over its own copy.
 *     (sqlite3WalFrames(), walCheckpoint(); "syncHeader" there is on unless synchronous=OFF.)
 *  6. A sync that failed is final: the kernel may have dropped the pages and would report success
 *     the next time (https://danluu.com/fsyncgate/). Nothing is acknowledged from then on, and the
 *     log is left as it is for the next start to recover.
 *
 * What readers see. A commit is visible before it is durable, for as long as a sync takes; a power
 * cut may take it back. Whoever tells the outside what he read, or deletes a file because of it,
 * waits until it is durable: db_await() and db_settle(). Other commits need not wait: they are
 * behind it in the log (2, 4).
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/db_priv.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plant.h"
#include "base/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void
db_sync_broken(struct db *db, const char *what)
{
    if (!atomic_exchange(&db->sync_failed, true)) {
        STAT_SET(db_sync_failed, 1);
        log_line(LOG_ERROR, "sync_failed",
                 "what=%s effect=\"no further write is acknowledged until restart\"", what);
    }
}

/* ---- the syncer ---- */

static void
answer_all(struct db_op *ops, int err)
{
    while (ops != NULL) {
        struct db_op *op = ops;
        ops = op->next; /* done() may free it */
        op->done(op, op->err != ERR_NONE ? op->err : err);
    }
}

static int
log_sync(struct db *db)
{
    int64_t began_us = clock_mono_us();
    bool synced = plant_no_sync || fdatasync(db->log_fd) == 0 || plant_ignore_sync_error;
    stat_observe_us(HISTOGRAM_db_sync, clock_mono_us() - began_us);
    if (synced)
        return ERR_NONE;
    log_line(LOG_ERROR, "database_error", "errno=%d doing=\"sync of the log\"", errno);
    return ERR_SYNC;
}

/* Takes out those that wait for `durable` or less; all of them after a failed sync. */
static struct db_wait *
waits_take(struct db *db, bool all)
{
    struct db_wait *out = NULL;
    lock_take(&db->lock);
    for (struct db_wait **link = &db->waits; *link != NULL;) {
        struct db_wait *w = *link;
        if (all || w->number <= atomic_load(&db->durable)) {
            *link = w->next;
            w->next = out;
            out = w;
        } else {
            link = &w->next;
        }
    }
    pthread_cond_broadcast(&db->settled);
    lock_release(&db->lock);
    return out;
}

static void
make_durable(struct db *db, struct db_op *ops, uint64_t number, bool log)
{
    if (plant_early_ack) {
        answer_all(ops, ERR_NONE);
        plant_hold();
        ops = NULL;
    }
    if (plant_early_read)
        plant_hold();
    if (log && !atomic_load(&db->sync_failed) && log_sync(db) != ERR_NONE)
        db_sync_broken(db, "log");
    bool failed = atomic_load(&db->sync_failed);
    if (!failed)
        atomic_store(&db->durable, number);
    answer_all(ops, failed ? ERR_SYNC : ERR_NONE);
    for (struct db_wait *w = waits_take(db, failed), *next; w != NULL; w = next) {
        next = w->next; /* fn() may free it */
        w->fn(w);
    }
}

static void *
syncer_main(void *arg)
{
    struct db *db = arg;
    pthread_setname_np(pthread_self(), "syncer");
    lock_take(&db->lock);
    for (;;) {
        while (db->unsynced == NULL && !db->writer_ended)
            lock_wait(&db->lock, &db->sync_wake, -1);
        struct db_op *ops = db->unsynced;
        uint64_t number = db->handed;
        bool log = db->unsynced_log;
        if (ops == NULL)
            break;
        db->unsynced = NULL;
        db->unsynced_log = false;
        db->syncing = true;
        pthread_cond_signal(&db->wake); /* the next batch may be handed over */
        lock_release(&db->lock);
        make_durable(db, ops, number, log);
        lock_take(&db->lock);
        db->syncing = false;
        pthread_cond_signal(&db->wake);
    }
    lock_release(&db->lock);
    return NULL;
}

/* ---- the writer's side ---- */

bool
db_sync_busy(const struct db *db)
{
    lock_assert_held(&db->lock);
    return db->syncing || db->unsynced != NULL;
}

void
db_sync_hand(struct db *db, struct db_op *ops, bool committed)
{
    lock_take(&db->lock);
    while (db->unsynced != NULL)
        lock_wait(&db->lock, &db->wake, -1);
    db->unsynced = ops;
    db->handed = atomic_load(&db->committing);
    db->unsynced_log = committed;
    pthread_cond_signal(&db->sync_wake);
    lock_release(&db->lock);
}

void
db_hint_write(struct db *db)
{
    if (db->file_fd >= 0)
        (void)sync_file_range(db->file_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* ---- waiting ---- */

bool
db_await(struct db *db, struct db_wait *w)
{
    CHK_MAGIC(db, DB_MAGIC);
    w->number = db_seen(db);
    lock_take(&db->lock);
    bool waits = w->number > atomic_load(&db->durable) && !atomic_load(&db->sync_failed);
    if (waits) {
        w->next = db->waits;
        db->waits = w;
    }
    lock_release(&db->lock);
    return waits;
}

bool
db_is_settled(struct db *db)
{
    return plant_early_read || db_seen(db) <= atomic_load(&db->durable) ||
           atomic_load(&db->sync_failed);
}

int
db_settle(struct db *db)
{
    CHK_MAGIC(db, DB_MAGIC);
    uint64_t number = atomic_load(&db->committing);
    lock_take(&db->lock);
    while (number > atomic_load(&db->durable) && !atomic_load(&db->sync_failed))
        lock_wait(&db->lock, &db->settled, -1);
    lock_release(&db->lock);
    return atomic_load(&db->sync_failed) ? ERR_SYNC : ERR_NONE;
}

/* ---- life ---- */

static int
log_open(struct db *db)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s-wal", db->path);
    int dir = open(db->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    db->log_fd = open(path, O_RDONLY | O_CLOEXEC);
    int err = dir < 0 || db->log_fd < 0 ? err_from_errno(errno) : log_sync(db);
    if (err == ERR_NONE && !plant_no_sync && fsync(dir) != 0)
        err = ERR_SYNC;
    if (err != ERR_NONE)
        log_line(LOG_ERROR, "database_open_failed", "path=%s error=%s", path, err_name(err));
    if (dir >= 0)
        close(dir);
    return err;
}

int
db_sync_start(struct db *db)
{
    int err = log_open(db);
    if (err == ERR_NONE && pthread_create(&db->syncer_thread, NULL, syncer_main, db) != 0)
        err = ERR_NOMEM;
    if (err != ERR_NONE && db->log_fd >= 0) {
        close(db->log_fd);
        db->log_fd = -1;
    }
    return err;
}

void
db_sync_stop(struct db *db)
{
    lock_take(&db->lock);
    db->writer_ended = true;
    pthread_cond_signal(&db->sync_wake);
    lock_release(&db->lock);
    CHK(pthread_join(db->syncer_thread, NULL) == 0);
    CHK(db->waits == NULL && db->unsynced == NULL);
    close(db->log_fd);
    db->log_fd = -1;
}
