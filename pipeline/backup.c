/*
 * One job at a time, a backup or a pruning, in a thread that ends with it:
 *
 *   backups_start --> DATABASE --> FILES --> CLOSING --> DONE
 *   backups_prune --> PRUNING -----------------------^      any --> FAILED, what was made is
 * removed
 *
 * Files are held from before DATABASE to the end of FILES. The hold is bounded by backup.time_s_max
 * and by the space reserve: a server that runs out of space needs the room of removed objects more
 * than the backup.
 */
#include "pipeline/backup.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fsdir.h"
#include "base/lock.h"
#include "base/log.h"
#include "objectstore/store_backup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKUPS_MAGIC 0xbac2095eu

static const char *const small_files[] = {"credentials", "url-keys", "initialized"};

struct backups {
    uint32_t magic;
    struct backups_options o;
    char root[PATH_MAX];

    struct lock lock; /* guards from here to the blank line */
    struct backup_state state;
    bool has_thread; /* to be joined */
    bool running;
    bool stopping;

    /* The job's: set before its thread starts. */
    pthread_t thread;
    struct backup_set set;
    size_t keep;
    int64_t began_ms;
    int64_t deadline_ms;
    struct db_backup_progress pages;
    struct store_copy copy;
};

/* ---- state ---- */

static void
phase_set(struct backups *b, enum backup_phase phase)
{
    lock_take(&b->lock);
    b->state.phase = phase;
    lock_release(&b->lock);
}

void
backups_state(struct backups *b, struct backup_state *out)
{
    CHK_MAGIC(b, BACKUPS_MAGIC);
    lock_take(&b->lock);
    *out = b->state;
    out->pages = atomic_load(&b->pages.pages);
    out->pages_left = atomic_load(&b->pages.pages_left);
    out->step_us_max = atomic_load(&b->pages.step_us_max);
    out->files = atomic_load(&b->copy.files);
    out->bytes = atomic_load(&b->copy.bytes);
    lock_release(&b->lock);
}

const char *
backups_root(const struct backups *b)
{
    return b->root;
}

/* ---- the parts of a snapshot ---- */

static int
copy_small_files(struct backups *b, int snapshot)
{
    int data = fsdir_open_path(b->o.data_dir);
    int err = data < 0 ? data : ERR_NONE;
    for (size_t i = 0; i < ARRAY_LEN(small_files) && err == ERR_NONE; i++) {
        int from = fsdir_file(data, small_files[i]);
        if (from == ERR_NOTFOUND)
            continue; /* keys may come from the environment */
        err = from < 0 ? from : fsdir_copy(from, snapshot, small_files[i], 0600);
        if (from >= 0)
            close(from);
    }
    if (data >= 0)
        close(data);
    return err;
}

/* The older snapshot's blobs/, or -1. */
static int
previous_open(struct backups *b, int64_t identity)
{
    struct backup_manifest last;
    if (identity == 0 || backup_set_latest(&b->set, identity, &last) != ERR_NONE)
        return -1;
    int snapshot = fsdir_open(b->set.dirfd, last.name, false);
    int fd = snapshot < 0 ? -1 : fsdir_open(snapshot, "blobs", false);
    if (snapshot >= 0)
        close(snapshot);
    return fd < 0 ? -1 : fd;
}

static bool
copy_must_stop(void *arg)
{
    struct backups *b = arg;
    return atomic_load(&b->pages.cancel) || clock_mono_ms() > b->deadline_ms ||
           db_health(b->o.db) == ERR_FULL;
}

static int
copy_files(struct backups *b, int snapshot, struct db *copy, int64_t identity)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/blobs", b->o.data_dir);
    CHK(n > 0 && (size_t)n < sizeof path);
    struct store_copy *c = &b->copy;
    c->copy = copy;
    c->from = fsdir_open_path(path);
    c->previous = previous_open(b, identity);
    c->to = fsdir_open(snapshot, "blobs", true);
    c->stop = copy_must_stop;
    c->arg = b;
    int err = c->from < 0 ? c->from : c->to < 0 ? c->to : store_copy_files(c);
    if (err == ERR_CANCELED && !atomic_load(&b->pages.cancel))
        err = db_health(b->o.db) == ERR_FULL ? ERR_FULL : ERR_TIMEOUT;
    if (c->from >= 0)
        close(c->from);
    if (c->previous >= 0)
        close(c->previous);
    if (c->to >= 0)
        close(c->to);
    return err;
}

static int
read_copy(struct db *copy, struct backup_manifest *m)
{
    struct db_conn *conn = NULL;
    int err = store_counts_read(copy, &m->counts);
    if (err == ERR_NONE)
        err = db_read_begin(copy, &conn);
    if (err != ERR_NONE)
        return err;
    err = db_schema_version(conn, &m->schema);
    if (err == ERR_NONE)
        err = db_counter_read(conn, &m->counter);
    db_read_end(copy, &conn);
    return err;
}

/* The moment, and the files of that moment. */
static int
copy_all(struct backups *b, int snapshot, struct backup_manifest *m)
{
    char path[PATH_MAX];
    struct db *copy = NULL;
    int n = snprintf(path, sizeof path, "%s/%s/darkroom.db", b->set.path, m->name);
    if (n < 0 || (size_t)n >= sizeof path)
        return ERR_TOOBIG;
    store_hold_files(b->o.store);
    int err = db_backup(b->o.db, path, &b->pages);
    m->time_ms = clock_wall_ms();
    if (err == ERR_NONE)
        err = db_open_copy(&copy, path);
    if (err == ERR_NONE)
        err = read_copy(copy, m);
    if (err == ERR_NONE) {
        lock_take(&b->lock);
        b->state.files_all = m->counts.files;
        b->state.phase = BACKUP_FILES;
        lock_release(&b->lock);
        err = copy_files(b, snapshot, copy, m->counts.identity);
    }
    store_release_files(b->o.store);
    db_close(&copy);
    return err;
}

static int
finish(struct backups *b, int snapshot, struct backup_manifest *m)
{
    phase_set(b, BACKUP_CLOSING);
    m->linked = b->copy.linked;
    m->reused = b->copy.reused;
    m->copied = b->copy.copied;
    m->copied_bytes = b->copy.copied_bytes;
    m->missing = b->copy.missing;
    int err = backup_hash_file(snapshot, "darkroom.db", m->db_sha256, &m->db_bytes);
    if (err == ERR_NONE)
        err = fsdir_sync(snapshot);
    if (err == ERR_NONE)
        err = fsdir_sync(b->set.dirfd);
    m->took_ms = clock_mono_ms() - b->began_ms;
    return err == ERR_NONE ? backup_manifest_write(&b->set, m, b->copy.missing_ids) : err;
}

static int
snapshot_make(struct backups *b, struct backup_manifest *m)
{
    int err = backup_set_remove_halves(&b->set);
    backup_name(clock_wall_ms(), m->name);
    if (err == ERR_NONE && mkdirat(b->set.dirfd, m->name, 0700) != 0)
        err = err_from_errno(errno);
    int snapshot = err == ERR_NONE ? fsdir_open(b->set.dirfd, m->name, false) : err;
    if (snapshot < 0)
        return snapshot;
    err = copy_small_files(b, snapshot);
    if (err == ERR_NONE)
        err = copy_all(b, snapshot, m);
    if (err == ERR_NONE)
        err = finish(b, snapshot, m);
    close(snapshot);
    if (err != ERR_NONE) {
        int left = fsdir_remove(b->set.dirfd, m->name);
        if (left != ERR_NONE)
            log_line(LOG_WARN, "backup_half_left", "snapshot=%s error=%s", m->name, err_name(left));
    }
    return err;
}

/* ---- jobs ---- */

static void
job_end(struct backups *b, int err, const struct backup_manifest *made, int64_t removed,
        int64_t others)
{
    char quoted[LOG_QUOTE_MAX];
    log_line(
        err == ERR_NONE ? LOG_INFO : LOG_ERROR, err == ERR_NONE ? "backup_done" : "backup_failed",
        "dir=%s snapshot=%s error=%s files=%" PRId64 " missing=%" PRId64 " removed=%" PRId64
        " step_us_max=%" PRId64 " ms=%" PRId64,
        log_quote(slice_str(b->set.path), quoted), made->name, err_name(err), made->counts.files,
        made->missing, removed, atomic_load(&b->pages.step_us_max), clock_mono_ms() - b->began_ms);
    lock_take(&b->lock);
    b->state.phase = err == ERR_NONE ? BACKUP_DONE : BACKUP_FAILED;
    b->state.made = *made;
    b->state.removed = removed;
    b->state.others = others;
    if (err != ERR_NONE)
        snprintf(b->state.error, sizeof b->state.error, "%s",
                 err == ERR_TIMEOUT ? "took longer than backup.time_s_max" : err_text(err));
    b->running = false;
    lock_release(&b->lock);
}

static int
prune(struct backups *b, int64_t *removed, int64_t *others)
{
    int64_t identity;
    int err = store_identity_read(b->o.db, &identity);
    if (err == ERR_NONE && identity == 0)
        err = ERR_CORRUPT; /* store_open() gives one to each */
    if (err == ERR_NONE)
        err = backup_set_remove_halves(&b->set);
    return err == ERR_NONE ? backup_set_prune(&b->set, identity, b->keep, removed, others) : err;
}

static void *
job_main(void *arg)
{
    struct backups *b = arg;
    struct backup_manifest made = {0};
    int64_t removed = 0, others = 0;
    pthread_setname_np(pthread_self(), "backup");
    int err = b->keep == SIZE_MAX ? snapshot_make(b, &made) : prune(b, &removed, &others);
    backup_set_close(&b->set);
    job_end(b, err, &made, removed, others);
    db_thread_end(b->o.db);
    return NULL;
}

/* Lock held. */
static int
job_run(struct backups *b, struct backup_set *set, size_t keep)
{
    lock_assert_held(&b->lock);
    if (b->has_thread)
        CHK(pthread_join(b->thread, NULL) == 0); /* it ended when `running` became false */
    b->has_thread = false;
    b->set = *set;
    b->keep = keep;
    b->began_ms = clock_mono_ms();
    b->deadline_ms = b->began_ms + conf_int(b->o.conf, CONF_BACKUP_TIME) * 1000;
    b->pages = (struct db_backup_progress){.deadline_ms = b->deadline_ms};
    b->copy = (struct store_copy){0};
    b->state = (struct backup_state){.id = b->state.id + 1,
                                     .phase = keep == SIZE_MAX ? BACKUP_DATABASE : BACKUP_PRUNING};
    if (pthread_create(&b->thread, NULL, job_main, b) != 0)
        return ERR_NOMEM;
    b->has_thread = b->running = true;
    set->dirfd = set->lock_fd = -1; /* the job's now */
    return ERR_NONE;
}

static int
job_start(struct backups *b, struct slice dir, size_t keep, int64_t *id, struct buf *why)
{
    struct backup_set set;
    CHK_MAGIC(b, BACKUPS_MAGIC);
    int err = backup_set_open(&set, b->root, dir.n == 0 ? slice_str(b->root) : dir,
                              keep == SIZE_MAX, why);
    if (err != ERR_NONE)
        return err;
    lock_take(&b->lock);
    err = b->stopping ? ERR_CANCELED : b->running ? ERR_BUSY : backup_set_lock(&set);
    if (err == ERR_NONE)
        err = job_run(b, &set, keep);
    *id = b->state.id;
    lock_release(&b->lock);
    backup_set_close(&set);
    if (err == ERR_BUSY)
        buf_puts(why, "a backup is being made or removed there; darkroom backup list shows it");
    return err;
}

int
backups_start(struct backups *b, struct slice dir, int64_t *id, struct buf *why)
{
    return job_start(b, dir, SIZE_MAX, id, why);
}

int
backups_prune(struct backups *b, struct slice dir, size_t keep, int64_t *id, struct buf *why)
{
    CHK(keep < SIZE_MAX);
    return job_start(b, dir, keep, id, why);
}

/* ---- life ---- */

struct backups *
backups_new(const struct backups_options *options)
{
    struct backups *b = chk_calloc(1, sizeof *b);
    const char *root = conf_str(options->conf, CONF_BACKUP_DIR);
    b->magic = BACKUPS_MAGIC;
    b->o = *options;
    b->set = (struct backup_set){.dirfd = -1, .lock_fd = -1};
    if (root[0] != '\0')
        snprintf(b->root, sizeof b->root, "%s", root);
    else
        snprintf(b->root, sizeof b->root, "%s/backups", options->data_dir);
    lock_init(&b->lock, LOCK_RANK_BACKUP);
    return b;
}

void
backups_stop(struct backups *b)
{
    CHK_MAGIC(b, BACKUPS_MAGIC);
    lock_take(&b->lock);
    b->stopping = true;
    atomic_store(&b->pages.cancel, true);
    bool join = b->has_thread;
    b->has_thread = false;
    lock_release(&b->lock);
    if (join)
        CHK(pthread_join(b->thread, NULL) == 0);
}

void
backups_free(struct backups **bp)
{
    struct backups *b = *bp;
    *bp = NULL;
    if (b == NULL)
        return;
    CHK_MAGIC(b, BACKUPS_MAGIC);
    CHK(!b->has_thread);
    lock_fini(&b->lock);
    b->magic = 0;
    free(b);
}
