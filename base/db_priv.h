/*
 * What the files of the database share; nobody else includes it, and with it sqlite3.h.
 *
 *   db.c         opening, connections, statements, reading, state
 *   db_writer.c  the writer thread: group commit, checkpoints; submitting
 *   db_sync.c    the syncer thread: makes commits durable, in order, and answers
 *   db_schema.c  what the file's schema must be; upgrading it
 *   db_backup.c  the copy of the whole database, a step at a time; reading such a copy
 */
#ifndef DARKROOM_BASE_DB_PRIV_H
#define DARKROOM_BASE_DB_PRIV_H

#include "base/db.h"
#include "base/lock.h"

#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#define DB_MAGIC 0xdb00da7au
#define DB_STMT_SLOTS 512u /* distinct SQL texts per connection; a power of two */
#define DB_PAGE_BYTES 8192

struct db_stmt {
    sqlite3_stmt *handle;
    const char *sql;
    struct db_conn *conn;
    struct db_stmt *same; /* further instances of this SQL text */
    struct db_stmt *prev, *next;
    bool in_use;
};

struct db_conn {
    uint32_t magic;
    struct db *db;
    sqlite3 *handle;
    pthread_t thread;
    bool is_writer;
    bool inside; /* between read_begin and read_end, or in apply() */
    int64_t read_began_ms;
    uint64_t seen; /* db_seen() of its thread */
    struct db_stmt *slots[DB_STMT_SLOTS];
    struct db_stmt in_use; /* ring */
    struct db_conn *next;
};

struct db_hook {
    db_commit_fn fn;
    void *arg;
};

/* Commits are numbered from 1 in each process: `committing` is the last one that was begun, so a
 * reader saw none above it; `durable` the last one that a power cut cannot take back. */
struct db {
    uint32_t magic;
    uint64_t serial; /* tells databases apart in thread-local slots */
    bool is_copy;    /* db_open_copy(): no threads, nobody writes */
    char path[PATH_MAX];
    char dir[PATH_MAX];
    int64_t checkpoint_bytes;

    /* The writer thread's. */
    struct db_conn *writer;
    struct db_conn *pin; /* reader that marks a place in the log; see checkpoint() */
    pthread_t writer_thread;
    struct db_hook hooks[DB_HOOKS_MAX];
    int hook_count;
    int64_t log_bytes;
    int64_t copied_bytes; /* of the log, when it was last copied */
    int64_t counter_durable;

    /* The syncer thread's. */
    pthread_t syncer_thread;
    int log_fd;
    int file_fd; /* hints only; see db_hint_write() */

    _Atomic int64_t counter;
    _Atomic uint64_t committing;
    _Atomic uint64_t durable;

    struct lock lock; /* guards from here to the blank line */
    pthread_cond_t wake;
    struct db_op *head, **tail;
    int queued;
    int queue_ops_max;
    bool closing;
    struct db_conn *readers;
    pthread_cond_t sync_wake; /* the syncer waits here */
    pthread_cond_t settled;   /* db_settle() does */
    struct db_op *unsynced;
    uint64_t handed; /* number of the last commit in `unsynced` */
    bool unsynced_log;
    bool syncing;
    bool writer_ended;
    struct db_wait *waits;
    struct db_backup *backup; /* one at a time */
    pthread_cond_t backup_ended;

    atomic_bool sync_failed;
    atomic_bool below_reserve;
    _Atomic int64_t reserve;
    _Atomic int64_t reserve_checked_ms;
};

/* db.c */
/* A struct of this path without files and threads. */
struct db *db_new(const char *path);
void db_conn_close(struct db_conn *conn);
void db_conn_check(const struct db_conn *conn);
void db_reset_all(struct db_conn *conn);
int db_exec(struct db_conn *conn, const char *sql);
int db_exec_int(struct db_conn *conn, const char *sql, int64_t *out);
/* An error of ours for SQLite's; one that is not an everyday outcome is logged with `doing`. */
int db_translate(struct db_conn *conn, int rc, const char *doing);

/* db_schema.c */
/* ERR_CORRUPT, ERR_UNSUPPORTED: the file's schema is not that of its version, or a newer one; one
 * line in `why` (may be NULL). Reads only. */
int db_schema_judge(struct db_conn *conn, const struct db_schema *schema, struct buf *why);
/* Behind a judgement that was ERR_NONE: from its version to the last one, in one transaction. */
int db_schema_upgrade(struct db_conn *conn, const struct db_schema *schema);

/* db_writer.c */
void *db_writer_main(void *arg);
/* Size of the log after a commit; in place of SQLite's automatic checkpoint. */
int db_log_grew(void *arg, sqlite3 *handle, const char *name, int pages);

/* db_sync.c */
/* Opens the log beside SQLite, makes what is in it durable, starts the thread. */
int db_sync_start(struct db *db);
/* After the last db_sync_hand(): returns when all is answered and the thread has ended. */
void db_sync_stop(struct db *db);
/* Commit number `db->committing`, ops in order with their errors; the log has new frames when
 * `committed`. Waits while another batch waits. Writer thread. */
void db_sync_hand(struct db *db, struct db_op *ops, bool committed);
/* Is there something that is not yet durable? Lock held. */
bool db_sync_busy(const struct db *db);
void db_hint_write(struct db *db);
void db_sync_broken(struct db *db, const char *what);

/* db_backup.c */
/* Writer thread, outside of a transaction: copies some pages if a backup runs and its turn has
 * come. */
void db_backup_step(struct db *db);

#endif
