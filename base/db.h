/*
 * THE database: SQLite in WAL mode, one read-write connection in one writer thread, group commit.
 *
 * SQLite up to 3.51.2 can corrupt a database when two connections write or checkpoint at once
 * (https://sqlite.org/wal.html); one writing connection in one thread rules it out, and db.c
 * asserts it. base/db*.c alone include sqlite3.h. Domain modules own their SQL and pass it here as
 * static strings with ?1 parameters; a statement is prepared once per connection and kept.
 *
 * Writing: fill a struct db_op, db_submit() it, return. The writer takes what waits (at most
 * DB_BATCH_OPS or DB_BATCH_BYTES) into one transaction, runs each op's apply(), commits once; then
 * the syncer makes the commit durable (one sync for all) and calls each done(), while the writer
 * works on the next batch. An op whose apply() fails is undone alone; a failed COMMIT fails the
 * whole batch. A failed sync is final: every op that was not answered and every later one ends with
 * ERR_SYNC, and db_health() says so (fsyncgate: https://danluu.com/fsyncgate/).
 *
 * Reading: db_read_begin() lends this thread's read-only connection with a snapshot; keep it short,
 * a watchdog interrupts a read after DB_READ_MS_MAX. A snapshot may show a commit that is not yet
 * durable, nor yet answered: a power cut could take it back. Nothing that leaves the process may be
 * based on it, nor may a file be unlinked because of it: see "what was read". After a failed sync
 * reads go on; they may show writes that were answered with an error and that a restart takes back.
 */
#ifndef DARKROOM_BASE_DB_H
#define DARKROOM_BASE_DB_H

#include "base/buf.h"
#include "base/slice.h"

#include <stdatomic.h>

#define DB_BATCH_OPS 256
#define DB_BATCH_BYTES (8u << 20)
#define DB_QUEUE_OPS_MAX 8192 /* unless db_options say otherwise */
#define DB_READ_MS_MAX 1000

struct db;
struct db_conn; /* one connection: the writer's inside apply(), else this thread's reader */
struct db_stmt;

/* ---- opening ---- */

/* One step of the schema: brings user_version from its index to index + 1. */
struct db_schema {
    const char *const *steps; /* SQL scripts */
    int count;
};

struct db_options {
    const char *path;         /* of the database file; made if missing, mode 0600 */
    struct db_schema schema;  /* newer database than `count`: ERR_UNSUPPORTED */
    int64_t checkpoint_bytes; /* WAL size at which the writer checkpoints; 0 = 8 MiB */
    int queue_ops_max;        /* ops waiting for the writer; 0 = DB_QUEUE_OPS_MAX */
    struct buf *why; /* NULL, or gets one line where there is more to tell than the error */
};

/* Opens, recovers, upgrades the schema in one transaction, makes durable what it found, starts the
 * two threads. Logs the reason of a failure. ERR_CORRUPT, and nothing is changed: the file's
 * tables, indexes, triggers and views are not exactly those that the steps up to its version make.
 */
int db_open(struct db **out, const struct db_options *options);
/* Finishes and answers what is queued, stops both threads, checkpoints, closes. No other thread may
 * be inside. */
void db_close(struct db **db);

/* ---- statements: on any struct db_conn, in the thread that owns it ---- */

/* `sql` must be a string literal (the pointer is the cache key). Never NULL: a statement that does
 * not compile is a programming error. The statement is reset and its bindings are cleared. */
struct db_stmt *db_prepare(struct db_conn *conn, const char *sql);
void db_bind_int(struct db_stmt *s, int index, int64_t value);
void db_bind_text(struct db_stmt *s, int index, struct slice value); /* borrowed until reset */
void db_bind_blob(struct db_stmt *s, int index, struct slice value); /* borrowed; p NULL -> empty */
void db_bind_null(struct db_stmt *s, int index);

#define DB_ROW 1
#define DB_DONE 0
/* DB_ROW, DB_DONE, or an error: ERR_EXISTS (constraint), ERR_FULL, ERR_IO, ERR_CORRUPT,
 * ERR_TIMEOUT (watchdog). After DB_DONE or an error the statement is reset. */
int db_step(struct db_stmt *s);
/* For a statement without rows: step to the end. ERR_NONE or an error. */
int db_run(struct db_stmt *s);
/* Ends a statement before its last row. Columns borrowed from it are gone. */
void db_reset(struct db_stmt *s);

int64_t db_column_int(struct db_stmt *s, int column);
struct slice db_column_blob(struct db_stmt *s, int column); /* text too; until the next step */
bool db_column_is_null(struct db_stmt *s, int column);
/* Rows changed by the last INSERT, UPDATE or DELETE on this connection. */
int64_t db_changes(struct db_conn *conn);
/* Rows changed on this connection since it was opened: how long an op has kept the writer. */
int64_t db_changes_total(struct db_conn *conn);

/* Tests only: rows that the statements of this connection have met in scans of whole tables, since
 * it was opened. */
int64_t db_scan_steps(struct db_conn *conn);

/* ---- reading ---- */

/* Lends this thread's read connection, opened at first use, and begins a snapshot. Calls do not
 * nest. ERR_IO / ERR_BUSY. */
int db_read_begin(struct db *db, struct db_conn **conn);
void db_read_end(struct db *db, struct db_conn **conn);
/* Closes this thread's read connection, if any; a thread calls it before it ends. */
void db_thread_end(struct db *db);

/* ---- writing ---- */

struct db_op;
/* On the writer thread. When it returns an error nothing of it stays, and done() gets the error.
 * May be called again, after a rollback of the whole batch, so it must not keep state between:
 * every call finds the op as it was submitted, or sets all that it leaves in it. */
typedef int (*db_apply_fn)(struct db_op *op, struct db_conn *conn);
/* On the syncer thread, when it is durable (err = 0), or with why it is not; in the order of
 * submission. Must not block: hand the answer on. The op may be freed here. */
typedef void (*db_done_fn)(struct db_op *op, int err);

/* Embedded in the caller's struct; lives until done() has been called. */
struct db_op {
    db_apply_fn apply;
    db_done_fn done;
    size_t bytes;       /* what it adds to the batch, for the DB_BATCH_BYTES limit */
    bool urgent;        /* may use the space reserve and the last queue places: DELETE, acks */
    struct db_op *next; /* the queue's, from here on */
    int err;
};

/* Any thread. ERR_BUSY when the queue is full, ERR_SYNC after a failed sync, ERR_FULL below the
 * space reserve (urgent ops excepted), ERR_CANCELED when closing; done() is then never called. */
int db_submit(struct db *db, struct db_op *op);
/* Is the queue full but for urgent ops? For refusing before there is work to lose. Any thread. */
bool db_is_full(struct db *db);
/* db_submit() and wait for the end: start-up, CLI-like paths and tests; never an HTTP thread and
 * never the dispatcher. op->done may be NULL. */
int db_call(struct db *db, struct db_op *op);

/* The next number of the one global counter (object generations, event ids, revisions): rises with
 * every call, is durable with the transaction, is never reused. Inside apply() only. */
int64_t db_next(struct db_conn *conn);

/* Inside apply(): a part that may fail alone. What was done since db_part_begin() stays when
 * `keep`, else it is undone. Parts do not nest. */
int db_part_begin(struct db_conn *conn);
int db_part_end(struct db_conn *conn, bool keep);

/* Called on the writer thread after each COMMIT, before it is durable and before any done() of that
 * batch: cache invalidation, then waking others. At most DB_HOOKS_MAX hooks, set before the first
 * db_submit(). */
#define DB_HOOKS_MAX 8
typedef void (*db_commit_fn)(void *arg);
void db_on_commit(struct db *db, db_commit_fn fn, void *arg);

/* ---- what was read ---- */

/* How far this thread has read: it has seen no commit above this number, be it by db_read_end() or
 * told by db_seen_raise(). 0: nothing yet. Numbers are good within one run of the process. */
uint64_t db_seen(struct db *db);
/* A thread that serves several tasks in turns sets the number of the one it goes on with. */
void db_seen_set(struct db *db, uint64_t seen);
/* It has used what it kept from a read that ended at `seen`. */
void db_seen_raise(struct db *db, uint64_t seen);

/* Is all that this thread has seen durable? */
bool db_is_settled(struct db *db);

/* Embedded in the waiting struct; `fn` runs on the syncer thread, once, and must not block. */
struct db_wait {
    void (*fn)(struct db_wait *w);
    struct db_wait *next; /* the syncer's, from here on */
    uint64_t number;
};
/* Calls w->fn when all that this thread has seen is durable, or a sync has failed.
 * False, and no call, when there is nothing to wait for. */
bool db_await(struct db *db, struct db_wait *w);

/* Waits until every commit that any thread may have seen is durable: before a file is unlinked
 * because of what was read. ERR_SYNC. Never on an HTTP thread, in apply() or in done(). */
int db_settle(struct db *db);

/* ---- backup ---- */

/* What another thread may look at, and cancel, while it runs. Zero it before. */
struct db_backup_progress {
    _Atomic int64_t pages, pages_left;
    _Atomic int64_t step_us_max; /* longest time that one step has kept the writer */
    atomic_bool cancel;
    int64_t deadline_ms; /* by clock_mono_ms(): ERR_TIMEOUT; 0: none */
};
/* Copies the database into a new file `path` (0600), which holds one moment between begin and end:
 * all commits before it and none after. By SQLite's online backup, a few pages at a time between
 * the writer's batches (https://sqlite.org/backup.html). When it returns ERR_NONE the file is
 * durable and a power cut cannot take back what is in it. Else there is no such file: ERR_BUSY
 * another one runs, ERR_CANCELED, ERR_TIMEOUT, ERR_SYNC, ERR_EXISTS, ERR_FULL (there, or the
 * database's own space reserve is reached), ERR_IO; the database itself goes on. Waits; never on an
 * HTTP thread, in apply() or in done(). */
int db_backup(struct db *db, const char *path, struct db_backup_progress *progress);

/* Opens such a file to read it: of this header only reading, db_check() and db_close() go with it.
 * Nothing is written, also not beside it, and reads have no time limit. Nobody may write the file
 * meanwhile. */
int db_open_copy(struct db **out, const char *path);
/* A copy from anywhere: what is in it must be what the steps up to its version make, and nothing
 * else (ERR_CORRUPT; ERR_UNSUPPORTED: a newer version); then walks the whole of it. One line in
 * `why`. */
int db_check(struct db *copy, const struct db_schema *schema, struct buf *why);
int db_schema_version(struct db_conn *conn, int64_t *version);
/* The counter's value: no number above it was ever given out. */
int db_counter_read(struct db_conn *conn, int64_t *value);
/* Inside apply(): leaves out `count` numbers. */
void db_counter_skip(struct db_conn *conn, int64_t count);

/* ---- state ---- */

/* ERR_NONE, ERR_SYNC (fail-stop until restart), ERR_FULL (below the reserve). Any thread. */
int db_health(struct db *db);
/* Free bytes (statvfs) that must stay on the data file system; 64 MiB unless set. Looked at every
 * 50 ms at most. Any thread. */
void db_set_reserve(struct db *db, int64_t reserve_bytes);

/* Another file failed to sync (an object's): stop acknowledging writes, as after a failed COMMIT.
 */
void db_fail_sync(struct db *db, const char *what);

#endif
