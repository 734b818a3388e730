#include "pipeline/restore.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/db.h"
#include "base/err.h"
#include "base/fsdir.h"
#include "base/fsio.h"
#include "pipeline/backup_set.h"
#include "pipeline/datadir.h"
#include "pipeline/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

/* Generations of a restored store begin at a number of the clock: milliseconds since 2020 times
 * 1024. No server gives out a million numbers a second, so none that was restored before has come
 * so far, be it of the same backup: each of them began at an earlier moment. (Below 2^53 until the
 * year 2298, for clients whose numbers are doubles.) */
#define EPOCH_MS INT64_C(1577836800000)
#define NUMBERS_PER_MS 1024
#define WHAT_MAX 512                    /* bytes that tell what is wrong with a database */
#define COUNTER_LEAP ((int64_t)1 << 32) /* where the clock says less than the backup */

static const char *const small_files[] = {"credentials", "url-keys", "initialized"};

struct restore {
    const char *from_path;
    int from; /* the snapshot's folder */
    struct backup_manifest manifest;
    struct db *copy;
    struct datadir dir;
    int to;
    bool begun; /* the target is ours to clear */
    struct store_copy files;
    struct buf *why;
};

/* ---- the backup ---- */

/* The snapshot itself, or the newest in a folder of them. */
static int
source_open(struct restore *r)
{
    struct backup_set set = {.lock_fd = -1};
    int fd = fsdir_open_path(r->from_path);
    if (fd < 0) {
        buf_printf(r->why, "%s cannot be opened: %s", r->from_path, err_text(fd));
        return fd;
    }
    int err = backup_manifest_read(fd, &r->manifest);
    if (err == ERR_NOTFOUND) {
        set.dirfd = fd;
        err = backup_set_latest(&set, 0, &r->manifest);
        int newest = err == ERR_NONE ? fsdir_open(fd, r->manifest.name, false) : err;
        close(fd);
        fd = newest;
    }
    r->from = fd;
    if (err == ERR_NOTFOUND)
        buf_printf(r->why, "%s: no whole backup (without " BACKUP_MANIFEST " it is a half)",
                   r->from_path);
    else if (err == ERR_CONFLICT)
        buf_printf(r->why, "%s has backups of more than one store: name one snapshot's folder",
                   r->from_path);
    else if (err == ERR_UNSUPPORTED)
        buf_printf(r->why, "%s was made by a newer darkroomd", r->from_path);
    else if (err != ERR_NONE)
        buf_printf(r->why, "%s/%s cannot be used: %s", r->from_path, BACKUP_MANIFEST,
                   err_text(err));
    return err;
}

/* By its name in /proc: the folder may be one in the folder that was named. */
static int
copy_open(struct restore *r)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d/darkroom.db", r->from);
    return db_open_copy(&r->copy, path);
}

/* It may be somebody else's: what is in it besides rows is ours to the letter, or refused. */
static int
check_copy(struct restore *r)
{
    struct buf what;
    buf_init(&what, WHAT_MAX);
    int err = copy_open(r);
    if (err == ERR_NONE)
        err = db_check(r->copy, pipeline_schema(), &what);
    if (err != ERR_NONE)
        buf_printf(r->why, "%s: the database: %.*s", r->from_path,
                   SLICE_FMT(what.n > 0 ? buf_slice(&what) : slice_str(err_text(err))));
    buf_fini(&what);
    return err;
}

static int
source_check(struct restore *r)
{
    char hex[2 * SHA256_BYTES + 1];
    int64_t bytes = 0;
    if (r->manifest.schema > pipeline_schema()->count) {
        buf_printf(r->why,
                   "%s has schema %" PRId64 ", this darkroomd knows %d: a newer one is "
                   "needed",
                   r->from_path, r->manifest.schema, pipeline_schema()->count);
        return ERR_UNSUPPORTED;
    }
    int err = backup_hash_file(r->from, "darkroom.db", hex, &bytes);
    if (err == ERR_NONE &&
        (bytes != r->manifest.db_bytes || strcmp(hex, r->manifest.db_sha256) != 0))
        err = ERR_CORRUPT;
    if (err != ERR_NONE)
        buf_printf(r->why, "%s: the database: %s", r->from_path, err_text(err));
    return err == ERR_NONE ? check_copy(r) : err;
}

/* ---- the target ---- */

struct contents {
    bool lock, marker, other;
};

static int
content_see(void *arg, int dirfd, const char *name)
{
    struct contents *c = arg;
    (void)dirfd;
    if (strcmp(name, "lock") == 0)
        c->lock = true;
    else if (strcmp(name, "restoring") == 0)
        c->marker = true;
    else if (strcmp(name, "restoring.new") != 0) /* the marker, not yet written */
        c->other = true;
    return ERR_NONE;
}

static int
content_remove(void *arg, int dirfd, const char *name)
{
    (void)arg;
    if (strcmp(name, "lock") == 0 || strcmp(name, "restoring") == 0)
        return ERR_NONE;
    return fsdir_remove(dirfd, name);
}

/* Before anything is made in it: it may be somebody's home. */
static int
target_look(struct restore *r, const char *target)
{
    struct contents c = {0};
    int fd = fsdir_open_path(target);
    if (fd == ERR_NOTFOUND)
        return ERR_NONE;
    int err = fd < 0 ? fd : fsdir_each(fd, content_see, &c);
    if (fd >= 0)
        close(fd);
    if (err != ERR_NONE) {
        buf_printf(r->why, "%s cannot be read: %s", target, err_text(err));
        return err;
    }
    if (!c.other || (c.marker && c.lock))
        return ERR_NONE;
    buf_printf(r->why, "%s is not empty%s", target,
               c.lock ? ": it is a data directory" : "; name a new directory");
    return ERR_NOTEMPTY;
}

/* Locked, marked, and clear of what a restore before this one left. */
static int
target_begin(struct restore *r, const char *target)
{
    char path[PATH_MAX];
    int err = target_look(r, target);
    if (err == ERR_NONE)
        err = datadir_open(&r->dir, target, r->why);
    if (err == ERR_NONE) /* another restore may have come to its end before we had the lock */
        err = target_look(r, target);
    if (err != ERR_NONE)
        return err;
    datadir_path(&r->dir, "restoring", path);
    err = fsio_write_file(path, 0600, SLICE_LIT("by darkroomd --restore\n"));
    r->begun = err == ERR_NONE;
    r->to = err == ERR_NONE ? fsdir_open_path(r->dir.path) : err;
    if (r->to >= 0)
        err = fsdir_each(r->to, content_remove, NULL);
    if (err != ERR_NONE)
        buf_printf(r->why, "%s cannot be written: %s", target, err_text(err));
    return err;
}

/* ---- filling it ---- */

static bool
never_stop(void *arg)
{
    (void)arg;
    return false;
}

static int
fill_files(struct restore *r)
{
    struct store_copy *c = &r->files;
    *c = (struct store_copy){.copy = r->copy,
                             .from = fsdir_open(r->from, "blobs", false),
                             .previous = -1,
                             .to = fsdir_open(r->to, "blobs", true),
                             .foreign = true,
                             .stop = never_stop};
    int err = c->from < 0 ? c->from : c->to < 0 ? c->to : store_copy_files(c);
    if (c->from >= 0)
        close(c->from);
    if (c->to >= 0)
        close(c->to);
    if (err == ERR_NONE && c->missing > r->manifest.missing) {
        buf_printf(r->why, "%" PRId64 " files of the backup are gone or cut", c->missing);
        return ERR_CORRUPT;
    }
    return err;
}

static int
fill_small(struct restore *r, const char *name)
{
    int from = fsdir_file(r->from, name);
    if (from < 0)
        return from;
    int err = fsdir_copy(from, r->to, name, 0600);
    close(from);
    return err;
}

struct life_op {
    struct db_op op;
    int64_t identity;
    int64_t now; /* the clock's number */
};

static int
life_apply(struct db_op *op, struct db_conn *conn)
{
    struct life_op *l = CONTAINER_OF(op, struct life_op, op);
    int64_t last = db_next(conn);
    if (last < 0 || last > INT64_MAX / 2)
        return ERR_CORRUPT; /* nobody counts so far */
    db_counter_skip(conn, l->now > last ? l->now - last : COUNTER_LEAP);
    (void)db_next(conn); /* so that it is saved */
    return store_apply_identity(conn, l->identity, true);
}

/* Upgrades it as well, if it is older. */
static int
live(struct restore *r)
{
    char path[PATH_MAX];
    struct db *db = NULL;
    struct life_op l = {.op = {.apply = life_apply, .urgent = true},
                        .identity = store_new_identity(),
                        .now = (clock_wall_ms() - EPOCH_MS) * NUMBERS_PER_MS};
    datadir_path(&r->dir, "darkroom.db", path);
    struct db_options options = {.path = path, .schema = *pipeline_schema(), .why = r->why};
    int err = db_open(&db, &options);
    if (err == ERR_NONE)
        err = db_call(db, &l.op);
    db_close(&db);
    return err;
}

static int
fill(struct restore *r)
{
    int err = fill_files(r);
    for (size_t i = 0; i < ARRAY_LEN(small_files) && err == ERR_NONE; i++) {
        err = fill_small(r, small_files[i]);
        if (err == ERR_NOTFOUND)
            err = ERR_NONE;
    }
    if (err == ERR_NONE)
        err = fill_small(r, "darkroom.db");
    if (err == ERR_NONE)
        err = live(r);
    if (err == ERR_NONE)
        err = fsdir_sync(r->to);
    if (err == ERR_NONE)
        err = fsdir_remove(r->to, "restoring");
    if (err == ERR_NONE)
        err = fsdir_sync(r->to);
    if (err != ERR_NONE && r->why->n == 0)
        buf_printf(r->why, "%s: %s", r->dir.path, err_text(err));
    return err;
}

int
restore_run(const char *backup, const char *target, struct buf *report, struct buf *why)
{
    struct restore r = {
        .from_path = backup, .from = -1, .to = -1, .dir = {.lock_fd = -1}, .why = why};
    int err = source_open(&r);
    if (err == ERR_NONE)
        err = source_check(&r);
    if (err == ERR_NONE)
        err = target_begin(&r, target);
    if (err == ERR_NONE)
        err = fill(&r);
    if (err != ERR_NONE && r.begun) /* the marker stays: nobody takes it for a data directory */
        (void)fsdir_each(r.to, content_remove, NULL);
    if (err == ERR_NONE)
        buf_printf(report,
                   "restored %" PRId64 " objects into %s: %" PRId64 " files (%" PRId64
                   " linked, %" PRId64 " copied), %" PRId64 " missing",
                   r.manifest.counts.objects, r.dir.path, r.files.files, r.files.linked,
                   r.files.copied, r.files.missing);
    db_close(&r.copy);
    if (r.from >= 0)
        close(r.from);
    if (r.to >= 0)
        close(r.to);
    datadir_close(&r.dir);
    return err;
}
