/*
 * A store in a fresh directory, with the operations a test needs as plain blocking calls.
 */
#ifndef DARKROOM_TESTS_OBJECTSTORE_FIXTURE_H
#define DARKROOM_TESTS_OBJECTSTORE_FIXTURE_H

#include "base/chk.h"
#include "base/err.h"
#include "objectstore/store_priv.h"
#include "tests/lib/testdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stdio.h>
#include <sched.h>
#include <unistd.h>

#include <cmocka.h>

#define CACHE_BYTES (4 << 20)
#define FIX_STEPS_MAX 8

struct fix {
    char *dir;
    struct db *db;
    struct store *store;
    struct store_hooks hooks;
};

static inline void
fix_open(struct fix *f)
{
    static const char *steps[FIX_STEPS_MAX];
    int count = 0;
    while (store_schema(count + 1) != NULL) {
        assert_true(count < FIX_STEPS_MAX);
        steps[count] = store_schema(count + 1);
        count++;
    }
    struct db_options db = {.path = testdir_path(f->dir, "db"), .schema = {steps, count}};
    assert_int_equal(db_open(&f->db, &db), ERR_NONE);
    struct store_options options = {
        .db = f->db, .dir = f->dir, .cache_bytes = CACHE_BYTES, .hooks = f->hooks};
    assert_int_equal(store_open(&f->store, &options), ERR_NONE);
}

static inline void
fix_close(struct fix *f)
{
    store_thread_end(f->store);
    store_close(&f->store);
    db_close(&f->db);
}

static inline void
fix_reopen(struct fix *f)
{
    fix_close(f);
    fix_open(f);
}

/* ---- operations ---- */

typedef int (*fix_fn)(struct fix *f, struct db_conn *conn, void *arg);

struct fix_op {
    struct db_op op;
    struct fix *f;
    fix_fn fn;
    void *arg;
};

static inline int
fix_apply(struct db_op *op, struct db_conn *conn)
{
    struct fix_op *o = CONTAINER_OF(op, struct fix_op, op);
    return o->fn(o->f, conn, o->arg);
}

static inline int
fix_run(struct fix *f, fix_fn fn, void *arg)
{
    struct fix_op o = {.op = {.apply = fix_apply, .bytes = 4096}, .f = f, .fn = fn, .arg = arg};
    return db_call(f->db, &o.op);
}

static inline int
fix_bucket_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    bool same;
    return store_apply_bucket_create(f->store, conn, slice_str(arg), SLICE_LIT("owner"),
                                     SLICE_LIT("us-east-1"), &same);
}

static inline int
fix_bucket(struct fix *f, const char *name)
{
    return fix_run(f, fix_bucket_apply, (void *)(uintptr_t)name);
}

static inline int
fix_bucket_drop_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    return store_apply_bucket_delete(f->store, conn, slice_str(arg));
}

static inline int
fix_bucket_drop(struct fix *f, const char *name)
{
    return fix_run(f, fix_bucket_drop_apply, (void *)(uintptr_t)name);
}

/* ---- puts ---- */

struct fix_seal {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool has_ended;
    int err;
};

static inline void
fix_sealed(void *arg, int err)
{
    struct fix_seal *w = arg;
    pthread_mutex_lock(&w->mutex);
    w->err = err;
    w->has_ended = true;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->mutex);
}

static inline int
fix_seal(struct store_put *put)
{
    struct fix_seal w = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    store_put_seal(put, fix_sealed, &w);
    pthread_mutex_lock(&w.mutex);
    while (!w.has_ended)
        pthread_cond_wait(&w.ended, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    return w.err;
}

/* A sealed put with these bytes, written in pieces of an odd size. */
static inline struct store_put *
fix_sealed_put(struct fix *f, struct slice bytes, int64_t expected)
{
    struct store_put *put = NULL;
    if (store_put_begin(f->store, &put, expected) != ERR_NONE)
        return NULL;
    for (size_t at = 0; at < bytes.n; at += 9973) {
        size_t n = bytes.n - at < 9973 ? bytes.n - at : 9973;
        CHK(store_put_write(put, bytes.p + at, n) == ERR_NONE);
    }
    CHK(fix_seal(put) == ERR_NONE);
    return put;
}

struct fix_put {
    struct store_put_spec spec;
    struct store_put *put;
    struct store_put_result result;
    char etag[33];
};

static inline int
fix_put_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct fix_put *p = arg;
    return store_apply_put(f->store, conn, &p->spec, p->put, &p->result);
}

static inline void
fix_put_spec(struct fix_put *p, const char *bucket, struct slice key, struct slice bytes)
{
    uint8_t md5[MD5_BYTES];
    *p = (struct fix_put){.spec = {.kind = STORE_CREATED_PUT,
                                   .bucket = slice_str(bucket),
                                   .key = key,
                                   .owner = SLICE_LIT("owner"),
                                   .content_type = SLICE_LIT("text/plain")}};
    digest_md5(bytes.p == NULL ? "" : bytes.p, bytes.n, md5);
    hex_encode(md5, sizeof md5, p->etag);
    p->spec.etag = p->etag;
}

/* p->spec may have been changed since fix_put_spec(). */
static inline int
fix_put_run(struct fix *f, struct fix_put *p, struct slice bytes)
{
    p->put = fix_sealed_put(f, bytes, -1);
    CHK(p->put != NULL);
    int err = fix_run(f, fix_put_apply, p);
    store_put_end(&p->put);
    return err;
}

static inline int
fix_put(struct fix *f, const char *bucket, const char *key, struct slice bytes)
{
    struct fix_put p;
    fix_put_spec(&p, bucket, slice_str(key), bytes);
    return fix_put_run(f, &p, bytes);
}

struct fix_delete {
    struct store_delete_spec spec;
    struct store_delete_result result;
};

static inline int
fix_delete_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct fix_delete *d = arg;
    return store_apply_delete(f->store, conn, &d->spec, &d->result);
}

static inline int
fix_delete(struct fix *f, const char *bucket, const char *key)
{
    struct fix_delete d = {.spec = {.bucket = slice_str(bucket), .key = slice_str(key)}};
    return fix_run(f, fix_delete_apply, &d);
}

/* ---- reading ---- */

/* The whole range in a malloc'd buffer, or the first error. */
static inline int
fix_read(struct fix *f, const struct store_object *o, int64_t offset, int64_t bytes, char **out)
{
    struct store_reader *r = NULL;
    char *p = malloc((size_t)bytes + 1);
    int64_t at = 0;
    ptrdiff_t n = 0;
    *out = NULL;
    int err = store_reader_open(f->store, o, offset, bytes, &r);
    while (err == ERR_NONE && (n = store_reader_read(r, p + at, 70001)) > 0)
        at += n;
    if (err == ERR_NONE && n < 0)
        err = (int)n;
    store_reader_close(&r);
    if (err != ERR_NONE) {
        free(p);
        return err;
    }
    CHK(at == bytes);
    *out = p;
    return ERR_NONE;
}

/* Is this key's content these bytes? ERR_NONE, what store_get() or the reader said, ERR_DIGEST. */
static inline int
fix_same(struct fix *f, const char *bucket, const char *key, struct slice bytes)
{
    const struct store_object *o = NULL;
    char *got = NULL;
    int err = store_get(f->store, slice_str(bucket), slice_str(key), &o);
    if (err == ERR_NONE && o->size != (int64_t)bytes.n)
        err = ERR_SHORT;
    if (err == ERR_NONE)
        err = fix_read(f, o, 0, o->size, &got);
    if (err == ERR_NONE && bytes.n > 0 && memcmp(got, bytes.p, bytes.n) != 0)
        err = ERR_DIGEST;
    free(got);
    store_object_unref(&o);
    return err;
}

/* ---- looking underneath ---- */

struct fix_count {
    const char *sql;
    int64_t n;
};

static inline int
fix_count_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct fix_count *c = arg;
    (void)f;
    struct db_stmt *q = db_prepare(conn, c->sql);
    CHK(db_step(q) == DB_ROW);
    c->n = db_column_int(q, 0);
    return db_run(q);
}

static inline int64_t
fix_count(struct fix *f, const char *sql)
{
    struct fix_count c = {.sql = sql};
    CHK(fix_run(f, fix_count_apply, &c) == ERR_NONE);
    return c.n;
}

#define FIX_BLOBS "SELECT count(*) FROM blob"
#define FIX_DOOMED "SELECT count(*) FROM doomed"

static inline int
fix_files_add(void *arg, int64_t folder, const int64_t *ids, size_t count)
{
    (void)folder;
    (void)ids;
    *(int64_t *)arg += (int64_t)count;
    return ERR_NONE;
}

static inline int64_t
fix_files(struct fix *f)
{
    int64_t n = 0;
    CHK(bytes_list(f->store->bytes, INT64_MAX, fix_files_add, &n) == ERR_NONE);
    return n;
}

/* The pool has settled the fate of every put that ended, and unlinks are done. */
static inline void
fix_settle(struct fix *f)
{
    for (int left = 1; left > 0; sched_yield()) {
        lock_take(&f->store->lock);
        left = f->store->put_files;
        lock_release(&f->store->lock);
    }
    assert_int_equal(blob_drain(f->store), ERR_NONE);
}

static inline uint64_t
fix_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* malloc'd bytes that no two seeds share. */
static inline struct slice
fix_bytes(uint64_t seed, size_t n)
{
    char *p = chk_malloc(n + 8);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = fix_random(&seed);
        memcpy(p + i, &v, 8);
    }
    return slice_of(p, n);
}

static inline void
fix_free(struct slice *s)
{
    free((void *)(uintptr_t)s->p);
    *s = SLICE_NONE;
}

static inline int
fix_setup(void **state)
{
    struct fix *f = chk_calloc(1, sizeof *f);
    f->dir = testdir_make();
    fix_open(f);
    assert_int_equal(fix_bucket(f, "photos"), ERR_NONE);
    *state = f;
    return 0;
}

static inline int
fix_teardown(void **state)
{
    struct fix *f = *state;
    fix_close(f);
    testdir_remove(&f->dir);
    free(f);
    return 0;
}

#define FIX_TEST(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

#endif
