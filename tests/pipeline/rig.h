/*
 * A pipeline over a real database, store and tables, for the tests of this folder. Everything
 * aborts on failures that no test is about. Waiting is for commits, never for time.
 */
#ifndef DARKROOM_TESTS_PIPELINE_RIG_H
#define DARKROOM_TESTS_PIPELINE_RIG_H

#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "base/lock.h"
#include "pipeline/batch.h"
#include "pipeline/native_item.h"
#include "pipeline/pipeline.h"
#include "pipeline/rule.h"
#include "pipeline/schema.h"
#include "tests/lib/testdir.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define RIG_OWNER SLICE_LIT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
#define RIG_WAIT_MS 300000
#define RIG_UNUSED __attribute__((unused))

struct rig {
    char *dir;
    char db_path[512];
    struct conf *conf;
    struct db *db;
    struct pipeline *pipeline;
    struct store *store;
    struct buf why;
    pthread_mutex_t mutex;
    pthread_cond_t commit;
    int64_t commits;
    bool started;
};

static RIG_UNUSED void
rig_on_commit(void *arg)
{
    struct rig *r = arg;
    pthread_mutex_lock(&r->mutex);
    r->commits++;
    pthread_cond_broadcast(&r->commit);
    pthread_mutex_unlock(&r->mutex);
}

/* Opens (again) what is in r->dir. */
static RIG_UNUSED void
rig_reopen(struct rig *r, const char *worker)
{
    struct db_options options = {.path = r->db_path, .schema = *pipeline_schema()};
    CHK(db_open(&r->db, &options) == ERR_NONE);
    db_set_reserve(r->db, 0);
    db_on_commit(r->db, rig_on_commit, r);
    struct pipeline_options p = {.db = r->db, .conf = r->conf, .worker_program = worker};
    CHK(pipeline_open(&r->pipeline, &p) == ERR_NONE);
    struct store_options s = {
        .db = r->db, .dir = r->dir, .cache_bytes = 1 << 20, .hooks = pipeline_hooks(r->pipeline)};
    CHK(store_open(&r->store, &s) == ERR_NONE);
    pipeline_bind(r->pipeline, r->store);
}

static RIG_UNUSED void
rig_open(struct rig *r, const char *worker)
{
    *r = (struct rig){.dir = testdir_make()};
    pthread_mutex_init(&r->mutex, NULL);
    lock_cond_init(&r->commit);
    buf_init(&r->why, 4096);
    snprintf(r->db_path, sizeof r->db_path, "%s/meta.db", r->dir);
    r->conf = conf_new();
    CHK(conf_set(r->conf, CONF_WORKERS, "2", &r->why) == ERR_NONE);
    CHK(conf_set(r->conf, CONF_RETRY_BASE, "1", &r->why) == ERR_NONE);
    rig_reopen(r, worker);
}

static RIG_UNUSED void
rig_start(struct rig *r)
{
    CHK(pipeline_start(r->pipeline) == ERR_NONE);
    r->started = true;
}

static RIG_UNUSED void
rig_shut(struct rig *r)
{
    if (r->started)
        pipeline_stop(r->pipeline, 10000);
    r->started = false;
    store_thread_end(r->store);
    store_close(&r->store);
    db_close(&r->db);
    pipeline_close(&r->pipeline);
}

static RIG_UNUSED void
rig_close(struct rig *r)
{
    rig_shut(r);
    conf_free(&r->conf);
    buf_fini(&r->why);
    pthread_cond_destroy(&r->commit);
    pthread_mutex_destroy(&r->mutex);
    testdir_remove(&r->dir);
}

/* ---- operations ---- */

typedef int (*rig_fn)(struct rig *r, struct db_conn *conn, void *arg);
struct rig_op {
    struct db_op op;
    struct rig *r;
    rig_fn fn;
    void *arg;
};

static RIG_UNUSED int
rig_apply(struct db_op *op, struct db_conn *conn)
{
    struct rig_op *o = CONTAINER_OF(op, struct rig_op, op);
    return o->fn(o->r, conn, o->arg);
}

/* fn on the writer thread, in a transaction of its own. */
static RIG_UNUSED int
rig_call(struct rig *r, rig_fn fn, void *arg)
{
    struct rig_op o = {.op = {.apply = rig_apply}, .r = r, .fn = fn, .arg = arg};
    return db_call(r->db, &o.op);
}

static RIG_UNUSED int
rig_bucket_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    bool same;
    return store_apply_bucket_create(r->store, conn, slice_str(arg), RIG_OWNER,
                                     SLICE_LIT("us-east-1"), &same);
}

static RIG_UNUSED int
rig_bucket(struct rig *r, const char *name)
{
    return rig_call(r, rig_bucket_fn, (void *)(uintptr_t)name);
}

static RIG_UNUSED int
rig_full_bucket_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    return pipeline_apply_bucket(r->pipeline, conn, slice_str(arg), RIG_OWNER,
                                 SLICE_LIT("us-east-1"), true, &r->why);
}

/* Bucket, derived bucket, table, rules of both functions. */
static RIG_UNUSED void
rig_full_bucket(struct rig *r, const char *name)
{
    CHK(rig_call(r, rig_full_bucket_fn, (void *)(uintptr_t)name) == ERR_NONE);
}

struct rig_notification {
    const char *bucket;
    const char *xml;
};

static RIG_UNUSED int
rig_notify_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct rig_notification *n = arg;
    struct store_bucket b = {.name = slice_str(n->bucket)};
    struct arena *a = arena_new(1 << 16);
    int err = store_apply_bucket_get(r->store, conn, b.name, &b.id, a, &b.owner);
    if (err == ERR_NONE)
        err = rule_notification_set(pipeline_registry(r->pipeline), conn, &b, slice_str(n->xml),
                                    &r->why);
    arena_free(&a);
    return err;
}

static RIG_UNUSED int
rig_notify(struct rig *r, const char *bucket, const char *xml)
{
    struct rig_notification n = {bucket, xml};
    return rig_call(r, rig_notify_fn, &n);
}

struct rig_patch {
    const char *function;
    struct function_patch patch;
};

static RIG_UNUSED int
rig_patch_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct rig_patch *p = arg;
    return registry_apply_set(pipeline_registry(r->pipeline), conn, slice_str(p->function),
                              &p->patch, &r->why);
}

static RIG_UNUSED int
rig_environment(struct rig *r, const char *function, const char *json)
{
    struct rig_patch p = {function, {.has_environment = true, .environment = slice_str(json)}};
    return rig_call(r, rig_patch_fn, &p);
}

struct rig_object {
    struct slice bucket, key, bytes;
    const char *type;
    struct store_put *put;
    struct store_put_result result;
    char etag[33];
};

static RIG_UNUSED int
rig_put_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct rig_object *o = arg;
    struct store_put_spec spec = {.kind = STORE_CREATED_PUT,
                                  .bucket = o->bucket,
                                  .key = o->key,
                                  .owner = RIG_OWNER,
                                  .request_id = SLICE_LIT("REQ1"),
                                  .content_type = slice_str(o->type),
                                  .etag = o->etag};
    return store_apply_put(r->store, conn, &spec, o->put, &o->result);
}

struct rig_seal {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    int err;
};

static RIG_UNUSED void
rig_sealed(void *arg, int err)
{
    struct rig_seal *s = arg;
    pthread_mutex_lock(&s->mutex);
    s->done = true;
    s->err = err;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mutex);
}

/* Returns the generation. */
static RIG_UNUSED int64_t
rig_put(struct rig *r, const char *bucket, const char *key, struct slice bytes, const char *type)
{
    struct rig_object o = {
        .bucket = slice_str(bucket), .key = slice_str(key), .bytes = bytes, .type = type};
    struct rig_seal seal = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    uint8_t md5[MD5_BYTES];
    digest_md5(bytes.p, bytes.n, md5);
    hex_encode(md5, sizeof md5, o.etag);
    CHK(store_put_begin(r->store, &o.put, (int64_t)bytes.n) == ERR_NONE);
    CHK(store_put_write(o.put, bytes.p, bytes.n) == ERR_NONE);
    store_put_seal(o.put, rig_sealed, &seal);
    pthread_mutex_lock(&seal.mutex);
    while (!seal.done)
        pthread_cond_wait(&seal.cond, &seal.mutex);
    pthread_mutex_unlock(&seal.mutex);
    CHK(seal.err == ERR_NONE);
    CHK(rig_call(r, rig_put_fn, &o) == ERR_NONE);
    store_put_end(&o.put);
    return o.result.generation;
}

static RIG_UNUSED int64_t
rig_put_file(struct rig *r, const char *bucket, const char *key, const char *path)
{
    struct buf bytes;
    buf_init(&bytes, 64u << 20);
    char full[4096];
    const char *top = getenv("DARKROOM_TOP"); /* tests/run runs each test in a folder of its own */
    snprintf(full, sizeof full, "%s/%s", top == NULL ? "." : top, path);
    CHK(fsio_read_file(full, &bytes) == ERR_NONE);
    int64_t generation = rig_put(r, bucket, key, buf_slice(&bytes), "image/jpeg");
    buf_fini(&bytes);
    return generation;
}

static RIG_UNUSED int
rig_delete_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct rig_object *o = arg;
    struct store_delete_result result;
    struct store_delete_spec spec = {.bucket = o->bucket, .key = o->key};
    return store_apply_delete(r->store, conn, &spec, &result);
}

static RIG_UNUSED void
rig_delete(struct rig *r, const char *bucket, const char *key)
{
    struct rig_object o = {.bucket = slice_str(bucket), .key = slice_str(key)};
    CHK(rig_call(r, rig_delete_fn, &o) == ERR_NONE);
}

/* ---- looking ---- */

static RIG_UNUSED bool
rig_exists(struct rig *r, const char *bucket, const char *key)
{
    const struct store_object *o = NULL;
    int err = store_get(r->store, slice_str(bucket), slice_str(key), &o);
    CHK(err == ERR_NONE || err == ERR_NOTFOUND || err == ERR_NOPARENT);
    store_object_unref(&o);
    return err == ERR_NONE;
}

static RIG_UNUSED int
rig_count_entry(void *arg, const struct store_list_entry *e)
{
    (void)e;
    ++*(int *)arg;
    return 0;
}

/* Objects below a prefix. */
static RIG_UNUSED int
rig_count(struct rig *r, const char *bucket, const char *prefix)
{
    int count = 0;
    bool truncated;
    struct store_list_spec spec = {
        .bucket = slice_str(bucket), .prefix = slice_str(prefix), .max = STORE_LIST_MAX};
    CHK(store_list(r->store, &spec, rig_count_entry, &count, &truncated) == ERR_NONE);
    return count;
}

/* The item, in the arena; false when there is none. */
static RIG_UNUSED bool
rig_item(struct rig *r, struct arena *a, const char *bucket, const char *key,
         struct attr_value *item)
{
    struct db_conn *conn = NULL;
    struct function_set *set = NULL;
    struct item_place place;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    int err = native_item_place(conn, a, set, slice_str(bucket), slice_str(key), &place);
    if (err == ERR_NONE)
        err = table_get(conn, a, &place.table, &place.key, item);
    registry_unref(&set);
    db_read_end(r->db, &conn);
    CHK(err == ERR_NONE || err == ERR_NOTFOUND || err == ERR_NOPARENT);
    return err == ERR_NONE;
}

/* Text of "name" or of "name.member" as seen in the item; "" when there is none. */
static RIG_UNUSED const char *
rig_attr(struct rig *r, const char *bucket, const char *key, const char *name)
{
    static char out[1024];
    struct attr_value item;
    struct slice member;
    struct arena *a = arena_new(1 << 20);
    out[0] = '\0';
    if (rig_item(r, a, bucket, key, &item)) {
        struct slice top = slice_cut(slice_str(name), '.', &member);
        const struct attr_value *v = attr_get(&item, top);
        if (v != NULL && member.p != NULL)
            v = attr_get(v, member);
        if (v != NULL && v->type == ATTR_BOOL)
            snprintf(out, sizeof out, "%s", v->boolean ? "true" : "false");
        else if (v != NULL && v->type == ATTR_M)
            snprintf(out, sizeof out, "map %zu", v->count);
        else if (v != NULL)
            snprintf(out, sizeof out, "%.*s", SLICE_FMT(v->bytes));
    }
    arena_free(&a);
    return out;
}

static RIG_UNUSED struct queue_counts
rig_counts(struct rig *r)
{
    struct db_conn *conn = NULL;
    struct queue_counts counts;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(queue_refresh(pipeline_queue(r->pipeline), conn) == ERR_NONE);
    db_read_end(r->db, &conn);
    queue_counts_get(pipeline_queue(r->pipeline), &counts);
    return counts;
}

static RIG_UNUSED int64_t
rig_waiting(struct rig *r)
{
    struct queue_counts c = rig_counts(r);
    return c.waiting[LANE_LIVE] + c.waiting[LANE_FOLLOWUP] + c.waiting[LANE_BATCH];
}

/* ---- waiting ---- */

typedef bool (*rig_cond)(struct rig *r, void *arg);

/* Looks after every commit, and now and then for what has no commit. False after RIG_WAIT_MS. */
static RIG_UNUSED bool
rig_wait(struct rig *r, rig_cond cond, void *arg)
{
    int64_t deadline = clock_mono_ms() + RIG_WAIT_MS;
    while (clock_mono_ms() < deadline) {
        pthread_mutex_lock(&r->mutex);
        int64_t seen = r->commits;
        pthread_mutex_unlock(&r->mutex);
        if (cond(r, arg))
            return true;
        int64_t until = clock_mono_ms() + 20;
        struct timespec at = {until / 1000, until % 1000 * 1000000};
        pthread_mutex_lock(&r->mutex);
        while (r->commits == seen && pthread_cond_timedwait(&r->commit, &r->mutex, &at) == 0)
            ;
        pthread_mutex_unlock(&r->mutex);
    }
    return false;
}

static RIG_UNUSED bool
rig_queue_empty(struct rig *r, void *arg)
{
    (void)arg;
    return rig_waiting(r) == 0;
}

/* ---- for cmocka: no worker can start ---- */

static RIG_UNUSED int
rig_setup(void **state)
{
    struct rig *r = chk_calloc(1, sizeof *r);
    rig_open(r, "none");
    *state = r;
    return 0;
}

static RIG_UNUSED int
rig_setup_photos(void **state)
{
    (void)rig_setup(state);
    rig_full_bucket(*state, "photos");
    return 0;
}

static RIG_UNUSED int
rig_teardown(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

#endif
