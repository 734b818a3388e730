/*
 * Ids rise, and a folder has BYTES_FOLDER_IDS of them: so the copy goes through one folder after
 * another and has three of them open, the source's, the older backup's and the target's, which is
 * synced when it is left.
 */
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsdir.h"
#include "base/log.h"
#include "objectstore/bytes.h"
#include "objectstore/store_backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_ROWS 512
#define NAME_BYTES 24

struct row {
    int64_t id, bytes;
};

struct folder {
    int64_t number; /* -1: none is open */
    int from, previous, to;
};

/* ---- rows ---- */

static int
files_page(struct db *copy, int64_t after, struct row *rows, size_t *count)
{
    struct db_conn *conn = NULL;
    int rc = db_read_begin(copy, &conn);
    if (rc != ERR_NONE)
        return rc;
    struct db_stmt *q = db_prepare(conn, "SELECT id, bytes FROM blob WHERE id > ?1 AND data IS NULL"
                                         " ORDER BY id LIMIT ?2");
    db_bind_int(q, 1, after);
    db_bind_int(q, 2, PAGE_ROWS);
    *count = 0;
    while ((rc = db_step(q)) == DB_ROW)
        rows[(*count)++] = (struct row){db_column_int(q, 0), db_column_int(q, 1)};
    db_read_end(copy, &conn);
    return rc;
}

/* One row of at most two numbers; without a row they stay. */
static int
numbers(struct db_stmt *q, int64_t *a, int64_t *b)
{
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    *a = db_column_int(q, 0);
    if (b != NULL)
        *b = db_column_int(q, 1);
    db_reset(q);
    return ERR_NONE;
}

#define IDENTITY_SQL "SELECT value FROM store_state WHERE name = 'identity'"

int
store_identity_read(struct db *db, int64_t *identity)
{
    struct db_conn *conn = NULL;
    *identity = 0;
    int err = db_read_begin(db, &conn);
    if (err != ERR_NONE)
        return err;
    err = numbers(db_prepare(conn, IDENTITY_SQL), identity, NULL);
    db_read_end(db, &conn);
    return err;
}

int
store_counts_read(struct db *copy, struct store_counts *out)
{
    struct db_conn *conn = NULL;
    *out = (struct store_counts){0};
    int err = db_read_begin(copy, &conn);
    if (err != ERR_NONE)
        return err;
    err = numbers(db_prepare(conn, IDENTITY_SQL), &out->identity, NULL);
    if (err == ERR_NONE)
        err = numbers(db_prepare(conn, "SELECT count(*) FROM object"), &out->objects, NULL);
    if (err == ERR_NONE)
        err =
            numbers(db_prepare(conn, "SELECT count(*) FROM object_version"), &out->versions, NULL);
    if (err == ERR_NONE)
        err = numbers(db_prepare(conn, "SELECT count(*), coalesce(sum(bytes), 0) FROM blob"
                                       " WHERE data IS NULL"),
                      &out->files, &out->file_bytes);
    db_read_end(copy, &conn);
    return err;
}

/* ---- files ---- */

static void
close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int
folder_leave(struct folder *f)
{
    int err = f->to >= 0 ? fsdir_sync(f->to) : ERR_NONE;
    close_one(&f->from);
    close_one(&f->previous);
    close_one(&f->to);
    f->number = -1;
    return err;
}

static int
folder_enter(struct store_copy *c, struct folder *f, int64_t number)
{
    char name[NAME_BYTES];
    if (f->number == number)
        return ERR_NONE;
    int err = folder_leave(f);
    if (err != ERR_NONE)
        return err;
    snprintf(name, sizeof name, "%" PRId64, number);
    f->number = number;
    f->from = fsdir_open(c->from, name, false);
    f->previous = c->previous < 0 ? -1 : fsdir_open(c->previous, name, false);
    f->to = fsdir_open(c->to, name, true);
    if (f->from < 0 && f->from != ERR_NOTFOUND)
        return f->from;
    return f->to < 0 ? f->to : ERR_NONE;
}

static void
missing(struct store_copy *c, int64_t id)
{
    if (c->missing < STORE_MISSING_MAX)
        c->missing_ids[c->missing] = id;
    c->missing++;
    log_line(LOG_ERROR, "backup_file_missing", "blob=%" PRId64, id);
}

/* Who could write a file that is linked could change an object's bytes behind its checksums. */
static bool
is_ours_alone(const struct stat *st)
{
    return st->st_uid == geteuid() && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int
share(struct store_copy *c, struct folder *f, int from, const struct stat *st, const char *name,
      enum fsdir_how *how)
{
    if (!c->foreign || is_ours_alone(st))
        return fsdir_share(from, f->previous, f->to, name, how);
    *how = FSDIR_COPIED;
    return fsdir_copy(from, f->to, name, 0600);
}

static int
copy_one(struct store_copy *c, struct folder *f, const struct row *row)
{
    char name[NAME_BYTES];
    enum fsdir_how how;
    struct stat st;
    int err = folder_enter(c, f, row->id / BYTES_FOLDER_IDS);
    if (err != ERR_NONE)
        return err;
    snprintf(name, sizeof name, "%" PRId64, row->id);
    int from = f->from < 0 ? ERR_NOTFOUND : fsdir_file(f->from, name);
    if (from == ERR_NOTFOUND) {
        missing(c, row->id);
        return ERR_NONE;
    }
    if (from < 0)
        return from;
    err = fstat(from, &st) == 0 ? share(c, f, from, &st, name, &how) : ERR_IO;
    close(from);
    if (err != ERR_NONE)
        return err;
    if (st.st_size != row->bytes) { /* what is left of it may be of use to somebody */
        missing(c, row->id);
        return ERR_NONE;
    }
    c->linked += how == FSDIR_LINKED;
    c->reused += how == FSDIR_REUSED;
    c->copied += how == FSDIR_COPIED;
    c->copied_bytes += how == FSDIR_COPIED ? row->bytes : 0;
    c->files++;
    c->bytes += row->bytes;
    return ERR_NONE;
}

int
store_copy_files(struct store_copy *c)
{
    struct row rows[PAGE_ROWS];
    struct folder folder = {-1, -1, -1, -1};
    int64_t after = -1;
    size_t count = 0;
    int err;
    do {
        err = files_page(c->copy, after, rows, &count);
        for (size_t i = 0; i < count && err == ERR_NONE; i++) {
            err = c->stop(c->arg) ? ERR_CANCELED : copy_one(c, &folder, &rows[i]);
            after = rows[i].id;
        }
    } while (err == ERR_NONE && count == PAGE_ROWS);
    int left = folder_leave(&folder);
    if (err == ERR_NONE)
        err = left;
    return err == ERR_NONE ? fsdir_sync(c->to) : err;
}

/* ---- identity ---- */

int64_t
store_new_identity(void)
{
    int64_t identity;
    random_bytes(&identity, sizeof identity);
    return (identity & INT64_MAX) | 1;
}

int
store_apply_identity(struct db_conn *conn, int64_t identity, bool replace)
{
    struct db_stmt *q =
        replace ? db_prepare(conn, "INSERT INTO store_state (name, value) VALUES ('identity', ?1)"
                                   " ON CONFLICT (name) DO UPDATE SET value = ?1")
                : db_prepare(conn, "INSERT INTO store_state (name, value) VALUES ('identity', ?1)"
                                   " ON CONFLICT (name) DO NOTHING");
    db_bind_int(q, 1, identity);
    return db_run(q);
}
