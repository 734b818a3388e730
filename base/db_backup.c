/*
 * The copy of the whole database, made while it is in use, and the reading of such a copy.
 *
 *   caller   db_backup(): opens the target, sets db->backup ------------------ waits --> sync,
 * settle writer   batch | step | batch | batch | step | ... | last step: db->backup := NULL -^
 *
 * SQLite's online backup starts over whenever another connection writes; what its own source
 * connection writes goes into the copy as well, page by page, at COMMIT. So the writer's connection
 * is the source and the writer thread takes the steps, between its batches: a step needs no
 * transaction of its own kind, and a checkpoint finds none open. Only a rollback of more than the
 * page cache holds would make it start over.
 *
 * What a step costs is bounded twice. Its pages are halved when it took longer than STEP_US and
 * doubled when it was much faster; and while operations wait, steps take at most one part in
 * STEP_SHARE of the writer's time, so that a slow target (a network, a stick) cannot hold writers.
 *
 * The copy is written without journal and without sync: before db_backup() has returned ERR_NONE
 * it is nothing. An error of the target is the backup's alone; it must not look like one of ours,
 * so it does not go through db_translate(), which may stop the server.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/db_priv.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STEP_PAGES_MIN 4
#define STEP_PAGES_MAX 128
#define STEP_US 4000
#define STEP_SHARE 4
#define TARGET_CACHE_PRAGMA "PRAGMA cache_size=-1024"

struct db_backup {
    struct db_backup_progress *progress;
    sqlite3 *target;
    sqlite3_backup *handle; /* NULL until the first step */
    int step_pages;
    int64_t next_us; /* not before, while operations wait */
    int err;
};

/* ---- the writer's side ---- */

static int
target_error(struct db_backup *b, int rc, const char *doing)
{
    log_line(LOG_WARN, "backup_error", "code=%d errno=%d text=\"%s\" doing=\"%s\"", rc,
             sqlite3_system_errno(b->target), sqlite3_errstr(rc), doing);
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ERR_FULL;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_CORRUPT:
        return ERR_CORRUPT;
    default:
        return err_from_errno(sqlite3_system_errno(b->target)) == ERR_FULL ? ERR_FULL : ERR_IO;
    }
}

/* More to do: true. */
static bool
copy_pages(struct db *db, struct db_backup *b)
{
    if (b->handle == NULL)
        b->handle = sqlite3_backup_init(b->target, "main", db->writer->handle, "main");
    if (b->handle == NULL) {
        b->err = target_error(b, sqlite3_extended_errcode(b->target), "begin");
        return false;
    }
    int rc = sqlite3_backup_step(b->handle, b->step_pages);
    atomic_store(&b->progress->pages, sqlite3_backup_pagecount(b->handle));
    atomic_store(&b->progress->pages_left, sqlite3_backup_remaining(b->handle));
    if (rc == SQLITE_OK)
        return true;
    b->err = rc == SQLITE_DONE ? ERR_NONE : target_error(b, rc, "step");
    return false;
}

static void
pace(struct db_backup *b, int64_t began_us)
{
    int64_t now_us = clock_mono_us();
    int64_t took_us = now_us - began_us;
    b->next_us = now_us + (STEP_SHARE - 1) * took_us;
    if (took_us > STEP_US && b->step_pages > STEP_PAGES_MIN)
        b->step_pages /= 2;
    else if (took_us < STEP_US / 4 && b->step_pages < STEP_PAGES_MAX)
        b->step_pages *= 2;
    if (took_us > atomic_load(&b->progress->step_us_max))
        atomic_store(&b->progress->step_us_max, took_us);
}

/* Why it is to end early. Lock held. */
static int
end_early(struct db *db, const struct db_backup *b)
{
    if (db->closing || atomic_load(&b->progress->cancel))
        return ERR_CANCELED;
    if (b->progress->deadline_ms != 0 && clock_mono_ms() > b->progress->deadline_ms)
        return ERR_TIMEOUT;
    return db_health(db);
}

/* The backup if a step of it is due; then what it is to end with, if it is. */
static struct db_backup *
backup_turn(struct db *db, int *err)
{
    lock_take(&db->lock);
    struct db_backup *b = db->backup;
    *err = b == NULL ? ERR_NONE : end_early(db, b);
    if (b != NULL && *err == ERR_NONE && db->head != NULL && clock_mono_us() < b->next_us)
        b = NULL;
    lock_release(&db->lock);
    return b;
}

void
db_backup_step(struct db *db)
{
    int err;
    int64_t began_us = clock_mono_us();
    struct db_backup *b = backup_turn(db, &err);
    if (b == NULL)
        return;
    b->err = err;
    if (err == ERR_NONE && copy_pages(db, b)) {
        pace(b, began_us);
        return;
    }
    if (b->handle != NULL)
        (void)sqlite3_backup_finish(b->handle); /* its error was that of the last step */
    b->handle = NULL;
    pace(b, began_us);
    lock_take(&db->lock);
    db->backup = NULL;
    pthread_cond_broadcast(&db->backup_ended);
    lock_release(&db->lock);
}

/* ---- the caller's side ---- */

/* A new file of our mode; SQLite takes an empty one for a new database. */
static int
target_open(struct db_backup *b, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    close(fd);
    int rc = sqlite3_open_v2(path, &b->target, SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(b->target,
                          "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" TARGET_CACHE_PRAGMA,
                          NULL, NULL, NULL);
    return rc == SQLITE_OK ? ERR_NONE : target_error(b, rc, "open");
}

/* The writer thread has it until db->backup is NULL again. */
static int
hand_to_writer(struct db *db, struct db_backup *b)
{
    int err = ERR_NONE;
    lock_take(&db->lock);
    if (db->closing)
        err = ERR_CANCELED;
    else if (db->backup != NULL)
        err = ERR_BUSY;
    if (err == ERR_NONE) {
        db->backup = b;
        pthread_cond_signal(&db->wake);
        while (db->backup == b)
            lock_wait(&db->lock, &db->backup_ended, -1);
        err = b->err;
    }
    lock_release(&db->lock);
    return err;
}

static int
target_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    int err = fsync(fd) == 0 ? ERR_NONE : ERR_IO; /* ERR_SYNC would be said of the database */
    close(fd);
    return err;
}

int
db_backup(struct db *db, const char *path, struct db_backup_progress *progress)
{
    struct db_backup b = {.progress = progress, .step_pages = STEP_PAGES_MIN};
    CHK_MAGIC(db, DB_MAGIC);
    CHK(!db->is_copy);
    int err = target_open(&b, path);
    if (err == ERR_EXISTS)
        return err;
    if (err == ERR_NONE)
        err = hand_to_writer(db, &b);
    sqlite3_close(b.target);
    if (err == ERR_NONE)
        err = target_sync(path);
    if (err == ERR_NONE)
        err = db_settle(db);
    if (err != ERR_NONE)
        unlink(path);
    return err;
}

/* ---- reading a copy ---- */

/* As a URI: a copy says "WAL" in its header, and only as `immutable` SQLite reads such a file
 * without making others beside it (https://sqlite.org/uri.html). */
static int
uri_of(const char *path, char out[PATH_MAX])
{
    static const char hex[] = "0123456789abcdef";
    static const char tail[] = "?immutable=1";
    size_t n = (size_t)snprintf(out, PATH_MAX, "file:");
    for (; *path != '\0'; path++) {
        unsigned char c = (unsigned char)*path;
        if (n + 4 + sizeof tail > PATH_MAX)
            return ERR_TOOBIG;
        if (c == '%' || c == '?' || c == '#' || c < 0x20) {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        } else {
            out[n++] = (char)c;
        }
    }
    memcpy(out + n, tail, sizeof tail);
    return ERR_NONE;
}

int
db_open_copy(struct db **out, const char *path)
{
    char uri[PATH_MAX];
    struct db_conn *conn = NULL;
    int64_t version;
    int err = access(path, R_OK) == 0 ? uri_of(path, uri) : err_from_errno(errno);
    if (err != ERR_NONE)
        return err;
    struct db *db = db_new(uri);
    db->is_copy = true;
    err = db_read_begin(db, &conn);
    if (err == ERR_NONE) {
        err = db_schema_version(conn, &version);
        db_read_end(db, &conn);
    }
    if (err != ERR_NONE)
        db_close(&db);
    *out = db;
    return err;
}

/* Several findings come as the lines of one row. A tree that meets itself is told of first; to go
 * through its rows as well might never end, so the first row that is not "ok" is the last. */
static int
check_pages(struct db_conn *conn, struct buf *why)
{
    struct slice rest = SLICE_NONE;
    struct db_stmt *q = db_prepare(conn, "PRAGMA integrity_check(10)");
    int rc = db_step(q);
    if (rc == DB_ROW)
        rest = db_column_blob(q, 0);
    bool sound = rc == DB_ROW && slice_eqs(rest, "ok");
    while (rest.n > 0 && !sound) {
        struct slice line = slice_cut(rest, '\n', &rest);
        buf_printf(why, "%s%.*s", why->n == 0 ? "" : "; ", SLICE_FMT(line));
    }
    db_reset(q);
    return sound ? ERR_NONE : rc < 0 ? rc : ERR_CORRUPT;
}

int
db_check(struct db *copy, const struct db_schema *schema, struct buf *why)
{
    struct db_conn *conn = NULL;
    CHK(copy->is_copy);
    int err = db_read_begin(copy, &conn);
    if (err != ERR_NONE)
        return err;
    err = db_schema_judge(conn, schema, why);
    if (err == ERR_NONE)
        err = check_pages(conn, why);
    db_read_end(copy, &conn);
    return err;
}

int
db_schema_version(struct db_conn *conn, int64_t *version)
{
    return db_exec_int(conn, "PRAGMA user_version", version);
}

int
db_counter_read(struct db_conn *conn, int64_t *value)
{
    return db_exec_int(conn, "SELECT value FROM darkroom_counter WHERE id = 1", value);
}
