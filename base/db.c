/*
 * One database, three kinds of user:
 *
 *   writer thread   owns the read-write connection from db_open() to db_close(): transactions,
 *                   checkpoints, the schema. Nobody else writes; db_conn_check() asserts it.
 *   readers         one read-only connection per thread, opened at first use, listed in db->readers
 *                   so that db_close() finds them.
 *   submitters      any thread; they touch only the queue, under db->lock;
 *
 * and two threads of ours behind the queue: db_writer.c applies and commits, db_sync.c makes
 * durable and answers.
 *
 * Invariant: a statement is idle in its cache or on its connection's in-use list, which is cleared
 * after each op and each read: a forgotten db_reset() cannot hold a snapshot open.
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
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CONN_MAGIC 0xdbc022ecu
#define STMT_NEST_MAX 8 /* the same SQL text in use at once, by recursion */
#define RESERVE_DEFAULT ((int64_t)64 << 20)
#define RESERVE_CHECK_MS 50
#define CHECKPOINT_DEFAULT ((int64_t)8 << 20)
#define PROGRESS_OPCODES 20000 /* a few milliseconds between two looks at the clock */
#define WRITER_CACHE_KIB 16384
#define READER_CACHE_KIB 1024

static _Atomic uint64_t next_serial = 1;

/* This thread's reader of the database it used last; others are found in db->readers. */
static _Thread_local struct {
    uint64_t serial;
    struct db_conn *conn;
} my_reader;

/* ---- errors ---- */

int
db_translate(struct db_conn *conn, int rc, const char *doing)
{
    int extended = sqlite3_extended_errcode(conn->handle);
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
        return ERR_NONE;
    case SQLITE_CONSTRAINT:
        return ERR_EXISTS;
    case SQLITE_INTERRUPT:
        STAT_INC(slow_reads_total);
        log_line(LOG_WARN, "read_too_long", "limit_ms=%d sql=\"%.200s\"", DB_READ_MS_MAX, doing);
        return ERR_TIMEOUT;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_TOOBIG:
        return ERR_TOOBIG;
    case SQLITE_BUSY:
        return ERR_BUSY;
    default:
        break;
    }
    log_line(LOG_ERROR, "database_error", "code=%d errno=%d text=\"%s\" doing=\"%.200s\"", extended,
             sqlite3_system_errno(conn->handle), sqlite3_errmsg(conn->handle), doing);
    if (extended == SQLITE_IOERR_FSYNC || extended == SQLITE_IOERR_DIR_FSYNC) {
        db_sync_broken(conn->db, "database");
        return ERR_SYNC;
    }
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ERR_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    default:
        return ERR_IO;
    }
}

/* ---- connections ---- */

void
db_conn_check(const struct db_conn *conn)
{
    CHK_MAGIC(conn, CONN_MAGIC);
    CHK(pthread_equal(conn->thread, pthread_self()));
}

int
db_exec(struct db_conn *conn, const char *sql)
{
    int rc = sqlite3_exec(conn->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? ERR_NONE : db_translate(conn, rc, sql);
}

int
db_exec_int(struct db_conn *conn, const char *sql, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(conn->handle, sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        *out = sqlite3_column_int64(s, 0);
        rc = SQLITE_OK;
    }
    int err = db_translate(conn, rc, sql);
    sqlite3_finalize(s);
    return err;
}

void
db_conn_close(struct db_conn *conn)
{
    CHK_MAGIC(conn, CONN_MAGIC);
    for (size_t i = 0; i < DB_STMT_SLOTS; i++) {
        while (conn->slots[i] != NULL) {
            struct db_stmt *s = conn->slots[i];
            conn->slots[i] = s->same;
            sqlite3_finalize(s->handle);
            free(s);
        }
    }
    CHK(sqlite3_close(conn->handle) == SQLITE_OK);
    conn->magic = 0;
    free(conn);
}

/* Ends a read that has gone on for too long and keeps the write-ahead log from starting over. */
static int
read_watchdog(void *arg)
{
    struct db_conn *conn = arg;
    return clock_mono_ms() - conn->read_began_ms > DB_READ_MS_MAX;
}

/* Nothing of ours is a trigger or a view: what the file has of them is not run. Before the first
 * statement, for that one reads the schema. */
static void
distrust_file(sqlite3 *handle)
{
    static const struct {
        int setting, value;
    } all[] = {{SQLITE_DBCONFIG_DEFENSIVE, 1},
               {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
               {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
               {SQLITE_DBCONFIG_ENABLE_VIEW, 0}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        CHK(sqlite3_db_config(handle, all[i].setting, all[i].value, NULL) == SQLITE_OK);
}

static int
conn_open(struct db *db, bool writer, struct db_conn **out)
{
    struct db_conn *conn = chk_calloc(1, sizeof *conn);
    char pragma[128];
    *conn = (struct db_conn){
        .magic = CONN_MAGIC, .db = db, .thread = pthread_self(), .is_writer = writer};
    conn->in_use.next = conn->in_use.prev = &conn->in_use;
    int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) |
                (db->is_copy ? SQLITE_OPEN_URI : 0);
    int rc = sqlite3_open_v2(db->path, &conn->handle, flags, NULL);
    if (rc != SQLITE_OK) {
        log_line(LOG_ERROR, "database_open_failed", "path=%s text=\"%s\"", db->path,
                 sqlite3_errstr(rc));
        sqlite3_close(conn->handle);
        free(conn);
        return ERR_IO;
    }
    distrust_file(conn->handle);
    sqlite3_extended_result_codes(conn->handle, 1);
    sqlite3_busy_timeout(conn->handle, DB_READ_MS_MAX);
    snprintf(pragma, sizeof pragma, "PRAGMA cache_size=-%d; PRAGMA temp_store=MEMORY",
             writer ? WRITER_CACHE_KIB : READER_CACHE_KIB);
    int err = db_exec(conn, pragma);
    if (err != ERR_NONE) {
        db_conn_close(conn);
        return err;
    }
    if (!writer && !db->is_copy)
        sqlite3_progress_handler(conn->handle, PROGRESS_OPCODES, read_watchdog, conn);
    *out = conn;
    return ERR_NONE;
}

/* ---- statements ---- */

static struct db_stmt *
stmt_compile(struct db_conn *conn, const char *sql)
{
    struct db_stmt *s = chk_calloc(1, sizeof *s);
    int rc = sqlite3_prepare_v3(conn->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->handle, NULL);
    if (rc != SQLITE_OK) {
        log_line(LOG_ERROR, "bad_sql", "text=\"%s\" sql=\"%.500s\"", sqlite3_errmsg(conn->handle),
                 sql);
        CHK(rc == SQLITE_OK);
    }
    s->sql = sql;
    s->conn = conn;
    return s;
}

struct db_stmt *
db_prepare(struct db_conn *conn, const char *sql)
{
    db_conn_check(conn);
    CHK(conn->inside);
    size_t at = ((uintptr_t)sql >> 3) * 0x9e3779b1u % DB_STMT_SLOTS;
    for (size_t probe = 0; conn->slots[at] != NULL && conn->slots[at]->sql != sql; probe++) {
        CHK(probe < DB_STMT_SLOTS);
        at = (at + 1) % DB_STMT_SLOTS;
    }
    struct db_stmt **link = &conn->slots[at];
    int depth = 0;
    while (*link != NULL && (*link)->in_use) {
        link = &(*link)->same;
        CHK(++depth < STMT_NEST_MAX);
    }
    if (*link == NULL)
        *link = stmt_compile(conn, sql);
    struct db_stmt *s = *link;
    s->in_use = true;
    s->next = &conn->in_use;
    s->prev = conn->in_use.prev;
    s->prev->next = s->next->prev = s;
    return s;
}

int64_t
db_scan_steps(struct db_conn *conn)
{
    int64_t steps = 0;
    db_conn_check(conn);
    for (size_t i = 0; i < DB_STMT_SLOTS; i++) {
        for (struct db_stmt *s = conn->slots[i]; s != NULL; s = s->same) {
            steps += sqlite3_stmt_status(s->handle, SQLITE_STMTSTATUS_FULLSCAN_STEP, 0);
            steps += sqlite3_stmt_status(s->handle, SQLITE_STMTSTATUS_AUTOINDEX, 0);
        }
    }
    return steps;
}

void
db_reset(struct db_stmt *s)
{
    if (!s->in_use)
        return;
    db_conn_check(s->conn);
    sqlite3_reset(s->handle);
    sqlite3_clear_bindings(s->handle);
    s->prev->next = s->next;
    s->next->prev = s->prev;
    s->in_use = false;
}

void
db_reset_all(struct db_conn *conn)
{
    while (conn->in_use.next != &conn->in_use)
        db_reset(conn->in_use.next);
}

void
db_bind_int(struct db_stmt *s, int index, int64_t value)
{
    CHK(sqlite3_bind_int64(s->handle, index, value) == SQLITE_OK);
}

void
db_bind_text(struct db_stmt *s, int index, struct slice value)
{
    CHK(value.n <= INT_MAX);
    CHK(sqlite3_bind_text(s->handle, index, value.p == NULL ? "" : value.p, (int)value.n,
                          SQLITE_STATIC) == SQLITE_OK);
}

void
db_bind_blob(struct db_stmt *s, int index, struct slice value)
{
    CHK(value.n <= INT_MAX);
    CHK(sqlite3_bind_blob(s->handle, index, value.p == NULL ? "" : value.p, (int)value.n,
                          SQLITE_STATIC) == SQLITE_OK);
}

void
db_bind_null(struct db_stmt *s, int index)
{
    CHK(sqlite3_bind_null(s->handle, index) == SQLITE_OK);
}

int
db_step(struct db_stmt *s)
{
    CHK(s->in_use);
    db_conn_check(s->conn);
    int rc = sqlite3_step(s->handle);
    if (rc == SQLITE_ROW)
        return DB_ROW;
    int err = rc == SQLITE_DONE ? DB_DONE : db_translate(s->conn, rc, s->sql);
    db_reset(s);
    return err;
}

int
db_run(struct db_stmt *s)
{
    int rc;
    do {
        rc = db_step(s);
    } while (rc == DB_ROW);
    return rc;
}

int64_t
db_column_int(struct db_stmt *s, int column)
{
    return sqlite3_column_int64(s->handle, column);
}

struct slice
db_column_blob(struct db_stmt *s, int column)
{
    const void *p = sqlite3_column_blob(s->handle, column);
    return slice_of(p, (size_t)sqlite3_column_bytes(s->handle, column));
}

bool
db_column_is_null(struct db_stmt *s, int column)
{
    return sqlite3_column_type(s->handle, column) == SQLITE_NULL;
}

int64_t
db_changes(struct db_conn *conn)
{
    return sqlite3_changes64(conn->handle);
}

int64_t
db_changes_total(struct db_conn *conn)
{
    return sqlite3_total_changes64(conn->handle);
}

/* ---- reading ---- */

static int
reader_find(struct db *db, struct db_conn **out)
{
    struct db_conn *conn = NULL;
    if (my_reader.serial == db->serial) {
        *out = my_reader.conn;
        return ERR_NONE;
    }
    lock_take(&db->lock);
    for (conn = db->readers; conn != NULL; conn = conn->next) {
        if (pthread_equal(conn->thread, pthread_self()))
            break;
    }
    lock_release(&db->lock);
    if (conn == NULL) {
        int err = conn_open(db, false, &conn);
        if (err != ERR_NONE)
            return err;
        lock_take(&db->lock);
        conn->next = db->readers;
        db->readers = conn;
        lock_release(&db->lock);
    }
    my_reader.serial = db->serial;
    my_reader.conn = conn;
    *out = conn;
    return ERR_NONE;
}

int
db_read_begin(struct db *db, struct db_conn **out)
{
    CHK_MAGIC(db, DB_MAGIC);
    struct db_conn *conn = NULL;
    int err = reader_find(db, &conn);
    if (err != ERR_NONE)
        return err;
    CHK(!conn->inside);
    conn->read_began_ms = clock_mono_ms();
    conn->inside = true;
    err = db_run(db_prepare(conn, "BEGIN"));
    if (err != ERR_NONE) {
        conn->inside = false;
        return err;
    }
    *out = conn;
    return ERR_NONE;
}

void
db_read_end(struct db *db, struct db_conn **connp)
{
    struct db_conn *conn = *connp;
    *connp = NULL;
    db_conn_check(conn);
    CHK(conn->db == db && conn->inside && !conn->is_writer);
    db_reset_all(conn);
    conn->read_began_ms = clock_mono_ms();     /* ending must not be interrupted */
    if (!sqlite3_get_autocommit(conn->handle)) /* an error may have ended it already */
        db_run(db_prepare(conn, "COMMIT"));
    conn->inside = false;
    conn->seen = atomic_load(&db->committing);
}

/* A thread that used another database in between is taken to have seen everything. */
uint64_t
db_seen(struct db *db)
{
    if (my_reader.serial == db->serial)
        return my_reader.conn->seen;
    return my_reader.serial == 0 ? 0 : atomic_load(&db->committing);
}

void
db_seen_set(struct db *db, uint64_t seen)
{
    if (my_reader.serial == db->serial)
        my_reader.conn->seen = seen;
}

void
db_seen_raise(struct db *db, uint64_t seen)
{
    if (my_reader.serial == db->serial && my_reader.conn->seen < seen)
        my_reader.conn->seen = seen;
}

void
db_thread_end(struct db *db)
{
    struct db_conn *mine = NULL;
    lock_take(&db->lock);
    for (struct db_conn **link = &db->readers; *link != NULL; link = &(*link)->next) {
        if (pthread_equal((*link)->thread, pthread_self())) {
            mine = *link;
            *link = mine->next;
            break;
        }
    }
    lock_release(&db->lock);
    if (mine != NULL) {
        CHK(!mine->inside);
        db_conn_close(mine);
    }
    if (my_reader.serial == db->serial)
        my_reader.serial = 0;
}

/* ---- state ---- */

/* Whoever comes first after RESERVE_CHECK_MS asks the file system; the others use its answer. */
static bool
below_reserve(struct db *db)
{
    int64_t now = clock_mono_ms();
    int64_t last = atomic_load(&db->reserve_checked_ms);
    if (now - last >= RESERVE_CHECK_MS &&
        atomic_compare_exchange_strong(&db->reserve_checked_ms, &last, now)) {
        struct statvfs vfs;
        if (statvfs(db->dir, &vfs) == 0) {
            bool low = (int64_t)(vfs.f_bavail * vfs.f_frsize) < atomic_load(&db->reserve);
            if (low != atomic_exchange(&db->below_reserve, low))
                log_line(low ? LOG_WARN : LOG_INFO, low ? "space_low" : "space_back",
                         "reserve_bytes=%lld", (long long)atomic_load(&db->reserve));
        }
    }
    return atomic_load(&db->below_reserve);
}

int
db_health(struct db *db)
{
    if (atomic_load(&db->sync_failed))
        return ERR_SYNC;
    return below_reserve(db) ? ERR_FULL : ERR_NONE;
}

void
db_set_reserve(struct db *db, int64_t reserve_bytes)
{
    atomic_store(&db->reserve, reserve_bytes);
    atomic_store(&db->reserve_checked_ms, INT64_MIN / 2);
}

void
db_fail_sync(struct db *db, const char *what)
{
    CHK_MAGIC(db, DB_MAGIC);
    db_sync_broken(db, what);
}

/* ---- opening ---- */

/* An empty file with the right mode, its name durable; SQLite fills it. The descriptor stays open:
 * closing it would drop the locks that SQLite holds on the file. */
static int
file_make(struct db *db)
{
    db->file_fd = open(db->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (db->file_fd < 0) {
        log_line(LOG_ERROR, "database_open_failed", "path=%s errno=%d", db->path, errno);
        return err_from_errno(errno);
    }
    int dir = open(db->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = dir < 0 || fsync(dir) != 0 ? ERR_SYNC : ERR_NONE;
    if (dir >= 0)
        close(dir);
    return err;
}

static int
writer_prepare(struct db *db, const struct db_options *options)
{
    int64_t counter = 0;
    int err = conn_open(db, true, &db->writer);
    if (err != ERR_NONE)
        return err;
    sqlite3_wal_hook(db->writer->handle, db_log_grew, db); /* replaces the automatic checkpoint */
    err = db_schema_judge(db->writer, &options->schema, options->why);
    if (err == ERR_NONE)
        err = db_exec(db->writer, "PRAGMA page_size=8192; PRAGMA journal_mode=WAL");
    if (err == ERR_NONE)
        err = db_exec(db->writer, plant_no_sync ? "PRAGMA synchronous=OFF"
                                                : "PRAGMA synchronous=NORMAL"); /* db_sync.c */
    if (err == ERR_NONE)
        err = db_schema_upgrade(db->writer, &options->schema);
    if (err == ERR_NONE)
        err = db_exec_int(db->writer, "SELECT value FROM darkroom_counter WHERE id = 1", &counter);
    if (err == ERR_NONE && (counter < 0 || counter > INT64_MAX / 2)) { /* nobody counts so far */
        log_line(LOG_ERROR, "counter_unsound", "value=%lld", (long long)counter);
        err = ERR_CORRUPT;
    }
    atomic_store(&db->counter, counter);
    db->counter_durable = counter;
    return err;
}

struct db *
db_new(const char *path)
{
    char copy[PATH_MAX];
    struct db *db = chk_calloc(1, sizeof *db);
    *db = (struct db){.magic = DB_MAGIC,
                      .serial = atomic_fetch_add(&next_serial, 1),
                      .log_fd = -1,
                      .file_fd = -1,
                      .queue_ops_max = DB_QUEUE_OPS_MAX,
                      .checkpoint_bytes = CHECKPOINT_DEFAULT};
    snprintf(db->path, sizeof db->path, "%s", path);
    snprintf(copy, sizeof copy, "%s", path);
    snprintf(db->dir, sizeof db->dir, "%s", dirname(copy));
    db->tail = &db->head;
    atomic_store(&db->reserve, RESERVE_DEFAULT);
    atomic_store(&db->reserve_checked_ms, INT64_MIN / 2);
    lock_init(&db->lock, LOCK_RANK_WRITER);
    lock_cond_init(&db->wake);
    lock_cond_init(&db->sync_wake);
    lock_cond_init(&db->settled);
    lock_cond_init(&db->backup_ended);
    return db;
}

/* After the last connection was closed. */
static void
db_free(struct db *db)
{
    if (db->file_fd >= 0)
        close(db->file_fd);
    pthread_cond_destroy(&db->wake);
    pthread_cond_destroy(&db->sync_wake);
    pthread_cond_destroy(&db->settled);
    pthread_cond_destroy(&db->backup_ended);
    lock_fini(&db->lock);
    db->magic = 0;
    free(db);
}

static int
threads_start(struct db *db)
{
    int err = db_sync_start(db);
    if (err != ERR_NONE)
        return err;
    if (pthread_create(&db->writer_thread, NULL, db_writer_main, db) == 0)
        return ERR_NONE;
    db_sync_stop(db);
    return ERR_NOMEM;
}

int
db_open(struct db **out, const struct db_options *options)
{
    struct db *db = db_new(options->path);
    CHK(sqlite3_threadsafe() != 0);
    if (options->checkpoint_bytes != 0)
        db->checkpoint_bytes = options->checkpoint_bytes;
    if (options->queue_ops_max > 0)
        db->queue_ops_max = options->queue_ops_max;
    int err = file_make(db);
    if (err == ERR_NONE)
        err = writer_prepare(db, options);
    if (err == ERR_NONE)
        err = conn_open(db, false, &db->pin);
    if (err == ERR_NONE)
        err = threads_start(db);
    if (err != ERR_NONE) {
        if (db->pin != NULL)
            db_conn_close(db->pin);
        if (db->writer != NULL)
            db_conn_close(db->writer);
        db_free(db);
        return err;
    }
    *out = db;
    return ERR_NONE;
}

void
db_close(struct db **dbp)
{
    struct db *db = *dbp;
    *dbp = NULL;
    if (db == NULL)
        return;
    CHK_MAGIC(db, DB_MAGIC);
    while (db->readers != NULL) {
        struct db_conn *conn = db->readers;
        db->readers = conn->next;
        db_conn_close(conn);
    }
    lock_take(&db->lock);
    db->closing = true;
    pthread_cond_signal(&db->wake);
    lock_release(&db->lock);
    if (!db->is_copy)
        CHK(pthread_join(db->writer_thread, NULL) == 0);
    db_free(db);
}
