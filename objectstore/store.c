/*
 * Opening, closing, and what happens at each commit.
 *
 * Life: store_open() -> any thread puts, gets, lists; the writer applies -> store_close(). Opening
 * takes a new epoch for blob ids (so that none is ever used twice), then finishes what the last
 * process left: unlinks of committed transactions, files that no row refers to.
 *
 * At each commit the writer calls commit_hook() before any answer goes out: it raises the stamps of
 * what changed and wakes the pool for files to unlink.
 *
 * The tables are told in store_schema.c.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "objectstore/served.h"
#include "objectstore/store_backup.h"
#include "objectstore/store_priv.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- changes ---- */

void
store_changed(struct store *s, int64_t bucket_id, struct slice key)
{
    struct store_changes *c = &s->changes;
    if (c->count == STORE_CHANGES_MAX)
        c->all = true;
    else
        c->hashes[c->count++] = caches_hash(s->caches, bucket_id, key);
}

static void
commit_hook(void *arg)
{
    struct store *s = arg;
    struct store_changes *c = &s->changes;
    if (c->all)
        caches_raise_all(s->caches);
    for (size_t i = 0; i < c->count && !c->all; i++)
        caches_raise(s->caches, c->hashes[i]);
    if (c->buckets)
        caches_raise_buckets(s->caches);
    bool doomed = c->doomed;
    c->count = 0;
    c->all = c->buckets = c->doomed = false;
    if (doomed)
        blob_drain_soon(s);
}

int64_t
store_new_id(struct store *s)
{
    int64_t id = atomic_fetch_add(&s->next_id, 1);
    CHK(id > 0);
    return id;
}

/* ---- opening ---- */

struct epoch_op {
    struct db_op op;
    int64_t epoch;
    int64_t quarantined; /* blobs */
    int64_t identity;    /* for a store that has none yet */
};

static int
epoch_apply(struct db_op *op, struct db_conn *conn)
{
    struct epoch_op *e = CONTAINER_OF(op, struct epoch_op, op);
    int err = store_apply_identity(conn, e->identity, false);
    if (err != ERR_NONE)
        return err;
    struct db_stmt *q = db_prepare(conn, "INSERT INTO store_state (name, value) VALUES ('epoch', 1)"
                                         " ON CONFLICT (name) DO UPDATE SET value = value + 1"
                                         " RETURNING value");
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_CORRUPT : rc;
    e->epoch = db_column_int(q, 0);
    err = db_run(q);
    return err == ERR_NONE ? quarantine_count(conn, &e->quarantined) : err;
}

static void
pool_leave(void *arg)
{
    struct store *s = arg;
    db_thread_end(s->db);
}

int
store_open(struct store **out, const struct store_options *options)
{
    struct store *s = chk_calloc(1, sizeof *s);
    struct epoch_op epoch = {.op = {.apply = epoch_apply, .urgent = true},
                             .identity = store_new_identity()};
    int64_t removed = 0;
    s->magic = STORE_MAGIC;
    s->db = options->db;
    s->hooks = options->hooks;
    lock_init(&s->lock, LOCK_RANK_STORE);
    lock_init(&s->sync_lock, LOCK_RANK_SYNC);
    suspicions_init(&s->suspicions);
    s->caches = caches_new(options->cache_bytes);
    s->verified = verified_new();
    s->served = served_new();
    s->pool = pool_new(STORE_POOL_THREADS, pool_leave, s);
    s->sum_pool = pool_new(1, pool_leave, s);
    int err = bytes_open(&s->bytes, options->dir);
    if (err == ERR_NONE) {
        db_on_commit(s->db, commit_hook, s);
        err = db_call(s->db, &epoch.op);
    }
    if (err == ERR_NONE && epoch.epoch >= (int64_t)1 << (63 - STORE_EPOCH_SHIFT))
        err = ERR_UNSUPPORTED;
    if (err == ERR_NONE) {
        atomic_store(&s->next_id, epoch.epoch << STORE_EPOCH_SHIFT);
        atomic_store(&s->suspicions.quarantined, epoch.quarantined > 0);
        err = blob_drain(s);
    }
    int swept = err == ERR_NONE ? store_sweep(s, &removed) : ERR_NONE;
    if (swept != ERR_NONE) /* leftovers take room and harm nobody */
        log_line(LOG_WARN, "sweep_put_off", "error=%s", err_name(swept));
    if (err != ERR_NONE) {
        log_line(LOG_ERROR, "store_open_failed", "dir=%s error=%s", options->dir, err_name(err));
        store_close(&s);
        return err;
    }
    if (removed > 0)
        log_line(LOG_INFO, "store_swept", "files=%" PRId64, removed);
    *out = s;
    return ERR_NONE;
}

static int
barrier_apply(struct db_op *op, struct db_conn *conn)
{
    (void)op;
    (void)conn;
    return ERR_NONE;
}

void
store_close(struct store **sp)
{
    struct store *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, STORE_MAGIC);
    /* What was submitted before has been answered when this returns. */
    struct db_op barrier = {.apply = barrier_apply, .urgent = true};
    (void)db_call(s->db, &barrier);
    pool_free(&s->sum_pool);
    pool_free(&s->pool);
    CHK(s->puts_first == NULL && s->pins == NULL);
    caches_free(&s->caches);
    verified_free(&s->verified);
    served_free(&s->served);
    bytes_close(&s->bytes);
    suspicions_fini(&s->suspicions);
    lock_fini(&s->sync_lock);
    lock_fini(&s->lock);
    s->magic = 0;
    free(s);
}

void
store_thread_end(struct store *s)
{
    CHK_MAGIC(s, STORE_MAGIC);
    cache_drop_mine(s->caches);
    db_thread_end(s->db);
}

/* ---- when objects were last sent ---- */

void
store_served(struct store *s, int64_t bucket_id, struct slice key)
{
    served_note(s->served, caches_hash(s->caches, bucket_id, key), clock_wall_ms() / 1000);
}

int64_t
store_served_at(struct store *s, int64_t bucket_id, struct slice key, int64_t *since_ms)
{
    *since_ms = served_since_ms(s->served);
    return served_at(s->served, caches_hash(s->caches, bucket_id, key));
}
