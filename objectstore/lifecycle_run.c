/*
 * How rules are carried out. A pass goes through the buckets that have rules; in each through the
 * versions, then the uploads, that the rules are about, in listing order:
 *
 *   page (a short read) -> judge each entry -> batch of what is due -> transactions -> rest
 *
 * Nothing of a pass is kept: whatever it did is gone from the next listing, so it may be cut short
 * anywhere and starts anew.
 *
 * What was judged in a read is removed in a later transaction, so that transaction judges again:
 *   1. the bucket and its rules are those that were read (no bucket changed since), else the page
 *      is read again: who was told that the rules are gone loses nothing to them any more;
 *   2. the version is still what it was: current with that generation, noncurrent, or the newest
 *      and a marker;
 *   3. a rule still says so of its tags and of how many newer ones there are now;
 *   4. no object lock protects it (the store's own check).
 * A victim that fails 2 to 4 is passed over, alone.
 */
#include "objectstore/lifecycle_run.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "objectstore/lifecycle.h"
#include "objectstore/store_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNNER_MAGIC 0x11fec7c2u
#define BATCH_MAX 100      /* removals of one page */
#define ROWS_MAX 10000     /* rows changed after which a transaction takes no further one: 25 ms */
#define AGAIN_MAX 100      /* times a bucket's pages are read again in one pass */
#define QUEUE_OPS_QUIET 16 /* more operations waiting for the writer: the pass rests */
#define REST_MS 5          /* after each page: reading on without a pause would take a core */
#define REST_TICK_MS 20
#define REST_MS_MAX 2000
#define FIRST_PASS_MS 60000
#define SWEEP_EVERY_MS ((int64_t)24 * 3600 * 1000)

struct victim {
    enum lifecycle_kind kind;
    bool is_marker;
    char key[STORE_KEY_MAX];
    size_t key_n;
    char version_id[STORE_VERSION_ID_MAX];
    char upload_id[STORE_UPLOAD_ID_MAX];
    int64_t seq; /* the version's: "null" may name another one by now */
    int64_t generation;
    int64_t since_ms;
};

/* Where a listing stands: behind this entry. */
struct place {
    bool started;
    char key[STORE_KEY_MAX];
    size_t key_n;
    char version_id[STORE_VERSION_ID_MAX];
    char after_version[STORE_VERSION_ID_MAX]; /* its place, even when the pass deleted it */
    char upload_id[STORE_UPLOAD_ID_MAX];
    int newer;         /* noncurrent versions of the key that came so far */
    bool marker_waits; /* it is the newest of its key and a marker: alone, if nothing follows */
    int64_t marker_ms, marker_seq;
};

struct pass {
    struct store *s;
    int64_t day_ms;
    int64_t now_ms;
    lifecycle_rest_fn rest;
    void *rest_arg;
    struct lifecycle_tally *tally;
    const struct store_bucket *bucket; /* a reference */
    struct lifecycle_scope scope;
    uint64_t stamp; /* of all buckets, before this one was read */
    struct place at;
    size_t count;
    struct victim batch[BATCH_MAX + 2]; /* an entry can bring a marker's end and its own */
};

static struct slice
victim_key(const struct victim *v)
{
    return slice_of(v->key, v->key_n);
}

static struct slice
place_key(const struct place *at)
{
    return slice_of(at->key, at->key_n);
}

static void
place_set(struct place *at, struct slice key)
{
    CHK(key.n <= sizeof at->key);
    memcpy(at->key, key.p, key.n);
    at->key_n = key.n;
    at->started = true;
}

/* ---- judging what a listing gives ---- */

/* A victim, to be named by the caller; NULL: not due. */
static struct victim *
add(struct pass *p, const struct lifecycle_subject *subject)
{
    struct slice rule;
    if (lifecycle_due(p->bucket->lifecycle, subject, p->day_ms, &rule) > p->now_ms)
        return NULL;
    CHK(p->count < ARRAY_LEN(p->batch) && subject->key.n <= STORE_KEY_MAX);
    struct victim *v = &p->batch[p->count++];
    *v = (struct victim){.kind = subject->kind,
                         .is_marker = subject->is_marker,
                         .key_n = subject->key.n,
                         .since_ms = subject->since_ms};
    memcpy(v->key, subject->key.p, subject->key.n);
    return v;
}

static void
add_version(struct pass *p, const struct lifecycle_subject *subject, const char *version_id,
            int64_t seq, int64_t generation)
{
    struct victim *v = add(p, subject);
    if (v == NULL)
        return;
    snprintf(v->version_id, sizeof v->version_id, "%s", version_id);
    v->seq = seq;
    v->generation = generation;
}

/* The marker the listing stands behind has nothing below it. */
static void
lone_marker(struct pass *p)
{
    const struct lifecycle_subject subject = {.kind = LIFECYCLE_LONE_MARKER,
                                              .is_marker = true,
                                              .key = place_key(&p->at),
                                              .since_ms = p->at.marker_ms};
    if (p->at.marker_waits)
        add_version(p, &subject, p->at.version_id, p->at.marker_seq, 0);
}

/* Covering a locked version by a marker is allowed; removing it is not. The store would refuse it
 * at every pass. */
static bool
is_locked(const struct pass *p, const struct store_list_entry *e)
{
    const struct store_lock *l = &e->lock;
    return !e->is_latest && (l->legal_hold || (l->retention != STORE_RETENTION_NONE &&
                                               l->retain_until_ms > p->now_ms));
}

static int
each_version(void *arg, const struct store_list_entry *e)
{
    struct pass *p = arg;
    struct place *at = &p->at;
    if (!at->started || !slice_eq(place_key(at), e->name)) {
        lone_marker(p);
        at->newer = 0;
    }
    const struct lifecycle_subject subject = {
        .kind = e->is_latest ? LIFECYCLE_CURRENT : LIFECYCLE_NONCURRENT,
        .is_marker = e->is_marker,
        .key = e->name,
        .size = e->size,
        .tags = e->tags,
        .since_ms = e->is_latest ? e->mtime_ms : e->noncurrent_ms,
        .newer = at->newer};
    at->marker_waits = e->is_latest && e->is_marker;
    at->marker_ms = e->mtime_ms;
    at->marker_seq = e->seq;
    at->newer += !e->is_latest;
    if (!at->marker_waits && !is_locked(p, e))
        add_version(p, &subject, e->version_id, e->seq, e->generation);
    place_set(at, e->name);
    snprintf(at->version_id, sizeof at->version_id, "%s", e->version_id);
    snprintf(at->after_version, sizeof at->after_version, "%s", e->place);
    return p->count >= BATCH_MAX;
}

static int
page_versions(struct pass *p, bool *more)
{
    struct place from = p->at; /* the callback moves p->at */
    const struct store_list_spec spec = {.bucket = p->bucket->name,
                                         .prefix = p->scope.prefix,
                                         .after = place_key(&from),
                                         .after_version = slice_str(from.after_version),
                                         .max = STORE_LIST_MAX};
    int err = store_list_versions(p->s, &spec, each_version, p, more);
    if (err == ERR_NONE && !*more)
        lone_marker(p);
    return err;
}

static int
each_upload(void *arg, const struct store_upload *u)
{
    struct pass *p = arg;
    const struct lifecycle_subject subject = {
        .kind = LIFECYCLE_UPLOAD, .key = u->key, .since_ms = u->created_ms};
    struct victim *v = add(p, &subject);
    place_set(&p->at, u->key);
    snprintf(p->at.upload_id, sizeof p->at.upload_id, "%.*s", SLICE_FMT(u->upload_id));
    if (v != NULL)
        memcpy(v->upload_id, p->at.upload_id, sizeof v->upload_id);
    return p->count >= BATCH_MAX;
}

static int
page_uploads(struct pass *p, bool *more)
{
    struct place from = p->at;
    const struct store_upload_list_spec spec = {.bucket = p->bucket->name,
                                                .prefix = p->scope.prefix,
                                                .after = place_key(&from),
                                                .after_upload = slice_str(from.upload_id),
                                                .max = STORE_LIST_MAX};
    return store_upload_list(p->s, &spec, each_upload, p, more);
}

/* ---- removing (writer thread) ---- */

struct removal {
    struct db_op op;
    struct pass *p;
    size_t from;                  /* of the batch */
    size_t next;                  /* the first that this run of apply() has left for another */
    struct lifecycle_tally tally; /* of this run of apply() */
};

/* Is it still what was judged, and due? ERR_NONE, ERR_STALE. */
static int
judge_again(const struct pass *p, struct db_conn *conn, const struct victim *v)
{
    const struct store_object *o = NULL;
    struct slice rule;
    bool newest = v->kind != LIFECYCLE_NONCURRENT;
    int err = store_apply_get_version(p->s, conn, p->bucket->id, victim_key(v),
                                      newest ? SLICE_NONE : slice_str(v->version_id), &o);
    int newer = 0;
    if (err == ERR_NONE && !newest)
        err = version_newer_count(conn, p->bucket->id, victim_key(v), o->seq, LIFECYCLE_KEEP_MAX,
                                  &newer);
    if (err != ERR_NONE) {
        store_object_unref(&o);
        return err == ERR_NOTFOUND ? ERR_STALE : err;
    }
    const struct lifecycle_subject subject = {.kind = v->kind,
                                              .is_marker = o->is_marker,
                                              .key = o->key,
                                              .size = o->size,
                                              .tags = o->tags,
                                              .since_ms = v->since_ms,
                                              .newer = newer};
    bool same = o->is_latest == newest && o->is_marker == v->is_marker && o->seq == v->seq &&
                (v->kind != LIFECYCLE_CURRENT || o->generation == v->generation);
    bool due = lifecycle_due(p->bucket->lifecycle, &subject, p->day_ms, &rule) <= p->now_ms;
    store_object_unref(&o);
    return same && due ? ERR_NONE : ERR_STALE;
}

static int
remove_version(struct removal *rm, struct db_conn *conn, const struct victim *v)
{
    const struct pass *p = rm->p;
    struct store_delete_result result;
    struct store_delete_spec spec = {
        .bucket = p->bucket->name, .key = victim_key(v), .by_lifecycle = true};
    if (v->kind == LIFECYCLE_CURRENT)
        spec.only_generation = v->generation;
    else
        spec.version_id = slice_str(v->version_id);
    int err = judge_again(p, conn, v);
    if (err == ERR_NONE)
        err = store_apply_delete(p->s, conn, &spec, &result);
    if (err != ERR_NONE)
        return err;
    bool made = v->kind == LIFECYCLE_CURRENT && result.marker;
    rm->tally.markers += made;
    rm->tally.removed += !made && result.existed;
    return ERR_NONE;
}

static int
abort_upload(struct removal *rm, struct db_conn *conn, const struct victim *v)
{
    int err = store_apply_upload_abort(rm->p->s, conn, rm->p->bucket->name, victim_key(v),
                                       slice_str(v->upload_id));
    rm->tally.aborted += err == ERR_NONE;
    return err == ERR_NOTFOUND ? ERR_STALE : err;
}

static int
removal_apply(struct db_op *op, struct db_conn *conn)
{
    struct removal *rm = CONTAINER_OF(op, struct removal, op);
    const struct pass *p = rm->p;
    int64_t rows = db_changes_total(conn);
    rm->tally = (struct lifecycle_tally){.removed = 0};
    rm->next = rm->from;
    if (p->s->changes.buckets || caches_bucket_stamp(p->s->caches) != p->stamp)
        return ERR_STALE;
    while (rm->next < p->count && db_changes_total(conn) - rows < ROWS_MAX) {
        const struct victim *v = &p->batch[rm->next++];
        int err = db_part_begin(conn);
        if (err != ERR_NONE)
            return err;
        err = v->kind == LIFECYCLE_UPLOAD ? abort_upload(rm, conn, v) : remove_version(rm, conn, v);
        int ended = db_part_end(conn, err == ERR_NONE);
        if (ended != ERR_NONE)
            return ended;
        if (err != ERR_NONE && err != ERR_STALE && err != ERR_DENIED)
            return err;
    }
    return ERR_NONE;
}

/* ---- the pass ---- */

static void
tally_add(struct lifecycle_tally *sum, const struct lifecycle_tally *t)
{
    sum->removed += t->removed;
    sum->markers += t->markers;
    sum->aborted += t->aborted;
    STAT_ADD(lifecycle_removed_total, t->removed);
    STAT_ADD(lifecycle_markers_total, t->markers);
    STAT_ADD(lifecycle_aborted_total, t->aborted);
}

/* Removes what the page found; what has many parts in transactions of its own, so that others have
 * their turn between. ERR_STALE: a bucket changed. */
static int
batch_commit(struct pass *p)
{
    int err = ERR_NONE;
    for (size_t from = 0; from < p->count && err == ERR_NONE;) {
        struct removal rm = {
            .op = {.apply = removal_apply, .bytes = sizeof p->batch, .urgent = true},
            .p = p,
            .from = from};
        err = db_call(p->s->db, &rm.op);
        from = rm.next;
        if (err == ERR_NONE)
            tally_add(p->tally, &rm.tally);
    }
    p->count = 0;
    return err;
}

/* ERR_NOTFOUND: the bucket or its rules are gone. */
static int
bucket_load(struct pass *p, struct slice name)
{
    store_bucket_unref(&p->bucket);
    p->stamp = caches_bucket_stamp(p->s->caches); /* before the record */
    int err = store_bucket_get(p->s, name, &p->bucket);
    if (err != ERR_NONE)
        return err;
    if (p->bucket->lifecycle == NULL)
        return ERR_NOTFOUND;
    p->scope = lifecycle_scope(p->bucket->lifecycle);
    return ERR_NONE;
}

static int
pages_run(struct pass *p, struct slice name, int (*page)(struct pass *p, bool *more))
{
    bool more = true;
    int err = ERR_NONE;
    p->at = (struct place){.started = false};
    for (int again = 0; more && err == ERR_NONE;) {
        struct place from = p->at;
        err = page(p, &more);
        if (err == ERR_NONE)
            err = batch_commit(p);
        if ((err == ERR_STALE || err == ERR_BUSY) && again++ < AGAIN_MAX) {
            p->at = from;
            more = true;
            err = bucket_load(p, name);
        }
        if (err == ERR_NONE && p->rest != NULL && !p->rest(p->rest_arg))
            err = ERR_CANCELED;
    }
    p->count = 0;
    return err;
}

static int
bucket_run(struct pass *p, struct slice name)
{
    int err = bucket_load(p, name);
    if (err == ERR_NONE && p->scope.versions)
        err = pages_run(p, name, page_versions);
    if (err == ERR_NONE && p->scope.uploads)
        err = pages_run(p, name, page_uploads);
    store_bucket_unref(&p->bucket);
    return err == ERR_NOTFOUND || err == ERR_NOPARENT ? ERR_NONE : err;
}

int
lifecycle_run_pass(struct store *s, int64_t day_ms, lifecycle_rest_fn rest, void *arg,
                   struct lifecycle_tally *tally)
{
    struct buf name;
    struct pass *p = calloc(1, sizeof *p);
    *tally = (struct lifecycle_tally){.removed = 0};
    if (p == NULL)
        return ERR_NOMEM;
    p->s = s;
    p->day_ms = day_ms;
    p->now_ms = clock_wall_ms();
    p->rest = rest;
    p->rest_arg = arg;
    p->tally = tally;
    buf_init(&name, STORE_KEY_MAX);
    int err = bucket_next_with(s, "lifecycle", SLICE_NONE, &name);
    while (err == ERR_NONE) {
        err = bucket_run(p, buf_slice(&name));
        if (err == ERR_NONE)
            err = bucket_next_with(s, "lifecycle", buf_slice(&name), &name);
    }
    buf_fini(&name);
    free(p);
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}

/* ---- the thread ---- */

struct lifecycle_runner {
    uint32_t magic;
    struct lifecycle_run_options o;
    pthread_t thread;
    struct lock lock; /* guards from here to the end */
    pthread_cond_t wake;
    bool stopping;
};

/* Waits, at most until then; false: the end. */
static bool
runner_wait(struct lifecycle_runner *r, int64_t until_mono_ms)
{
    lock_take(&r->lock);
    while (!r->stopping && lock_wait(&r->lock, &r->wake, until_mono_ms))
        continue;
    bool goes_on = !r->stopping;
    lock_release(&r->lock);
    return goes_on;
}

/* Lets live traffic go first, but does not wait for its end. */
static bool
runner_rest(void *arg)
{
    struct lifecycle_runner *r = arg;
    int64_t end_ms = clock_mono_ms() + REST_MS_MAX;
    while (stat_get(STAT_db_queue_ops) > QUEUE_OPS_QUIET && clock_mono_ms() < end_ms) {
        if (!runner_wait(r, clock_mono_ms() + REST_TICK_MS))
            return false;
    }
    return runner_wait(r, clock_mono_ms() + REST_MS);
}

static void
runner_pass(struct lifecycle_runner *r)
{
    struct lifecycle_tally t;
    int64_t began_ms = clock_mono_ms();
    int err = lifecycle_run_pass(r->o.store, r->o.day_ms, runner_rest, r, &t);
    if (err != ERR_NONE && err != ERR_CANCELED)
        log_line(LOG_WARN, "lifecycle_put_off", "error=%s", err_name(err));
    if (t.removed + t.markers + t.aborted > 0)
        log_line(LOG_INFO, "lifecycle_pass",
                 "removed=%" PRId64 " markers=%" PRId64 " aborted=%" PRId64 " ms=%" PRId64,
                 t.removed, t.markers, t.aborted, clock_mono_ms() - began_ms);
}

static void
runner_sweep(struct lifecycle_runner *r)
{
    int64_t removed = 0;
    int err = store_sweep(r->o.store, &removed);
    if (err != ERR_NONE)
        log_line(LOG_WARN, "sweep_put_off", "error=%s", err_name(err));
    if (removed > 0)
        log_line(LOG_INFO, "store_swept", "files=%" PRId64, removed);
}

static void *
runner_main(void *arg)
{
    struct lifecycle_runner *r = arg;
    int64_t first_ms = r->o.interval_ms < FIRST_PASS_MS ? r->o.interval_ms : FIRST_PASS_MS;
    int64_t next_ms = clock_mono_ms() + first_ms;
    int64_t sweep_ms = clock_mono_ms() + SWEEP_EVERY_MS; /* opening the store swept */
    while (runner_wait(r, next_ms)) {
        runner_pass(r);
        if (clock_mono_ms() >= sweep_ms) {
            runner_sweep(r);
            sweep_ms = clock_mono_ms() + SWEEP_EVERY_MS;
        }
        next_ms = clock_mono_ms() + r->o.interval_ms;
    }
    store_thread_end(r->o.store);
    return NULL;
}

struct lifecycle_runner *
lifecycle_run_start(const struct lifecycle_run_options *options)
{
    struct lifecycle_runner *r = chk_calloc(1, sizeof *r);
    CHK(options->interval_ms > 0 && options->day_ms > 0);
    r->magic = RUNNER_MAGIC;
    r->o = *options;
    lock_init(&r->lock, LOCK_RANK_UPKEEP);
    lock_cond_init(&r->wake);
    CHK(pthread_create(&r->thread, NULL, runner_main, r) == 0);
    return r;
}

void
lifecycle_run_stop(struct lifecycle_runner **rp)
{
    struct lifecycle_runner *r = *rp;
    *rp = NULL;
    if (r == NULL)
        return;
    CHK_MAGIC(r, RUNNER_MAGIC);
    lock_take(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->wake);
    lock_release(&r->lock);
    CHK(pthread_join(r->thread, NULL) == 0);
    pthread_cond_destroy(&r->wake);
    lock_fini(&r->lock);
    r->magic = 0;
    free(r);
}
