/*
 * Rows `function` plus one row `function_version` that every change raises. A snapshot is cached
 * under its version: numbers are never used twice, so a snapshot loaded inside a transaction that
 * is rolled back later can never be taken for a committed one.
 *
 * `cached` is guarded by `lock`; the database is never read under it. Snapshots are immutable.
 */
#include "pipeline/registry.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "functions/fn.h"
#include "pipeline/rule.h"

#include <stdio.h>
#include <stdlib.h>

#define REGISTRY_MAGIC 0xf00c0de1u
#define SET_ARENA_BYTES (4u << 20)
#define SET_REASON_MAX 512

struct registry {
    uint32_t magic;
    struct db *db;
    struct store *store;
    struct lock lock;
    struct function_set *cached;
};

/* ---- snapshots ---- */

void
registry_unref(struct function_set **setp)
{
    struct function_set *set = *setp;
    *setp = NULL;
    if (set == NULL || __atomic_sub_fetch(&set->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    struct arena *a = set->arena; /* the set lives in it */
    arena_free(&a);
}

const struct function *
registry_find(const struct function_set *set, struct slice name)
{
    for (size_t i = 0; i < set->count; i++) {
        if (slice_eq(set->functions[i].name, name))
            return &set->functions[i];
    }
    return NULL;
}

struct slice
registry_table(const struct function_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->functions[i].native.kind == NATIVE_METADATA)
            return slice_str(set->functions[i].native.table);
    }
    return SLICE_NONE;
}

/* What is stored was checked when it came in. If a later version of the checks disagrees, the
 * function runs with its defaults and says so, rather than stopping every PUT. */
static void
load_native(struct function *f)
{
    struct buf why;
    enum native_kind kind = native_kind_of(f->name);
    buf_init(&why, SET_REASON_MAX);
    if (native_config_parse(kind, f->environment, &f->native, &why) != ERR_NONE) {
        log_line(LOG_ERROR, "function_environment_invalid", "function=%.*s reason=\"%s\"",
                 SLICE_FMT(f->name), why.p == NULL ? "" : why.p);
        buf_reset(&why);
        CHK(native_config_parse(kind, SLICE_LIT("{}"), &f->native, &why) == ERR_NONE);
    }
    buf_fini(&why);
}

static void
load_row(struct db_stmt *s, struct arena *a, struct function *f)
{
    f->name = arena_dup(a, db_column_blob(s, 0));
    f->handler = arena_dup(a, db_column_blob(s, 1));
    f->memory_mb = (int)db_column_int(s, 2);
    f->timeout_s = (int)db_column_int(s, 3);
    f->environment = arena_dup(a, db_column_blob(s, 4));
    f->reserved_concurrency = (int)db_column_int(s, 5);
    f->retries_max = (int)db_column_int(s, 6);
    f->event_age_max_s = (int)db_column_int(s, 7);
    f->on_failure = arena_dup(a, db_column_blob(s, 8));
    f->revision = db_column_int(s, 9);
    f->changed_ms = db_column_int(s, 10);
}

static int
set_load(struct db_conn *conn, int64_t version, struct function_set **out)
{
    struct arena *a = arena_new(SET_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    struct function_set *set = arena_alloc(a, sizeof *set);
    struct function *functions = arena_alloc(a, FUNCTIONS_MAX * sizeof *functions);
    int rc = set == NULL || functions == NULL ? ERR_NOMEM : ERR_NONE;
    struct db_stmt *s = NULL;
    if (rc == ERR_NONE) {
        *set = (struct function_set){
            .version = version, .functions = functions, .refs = 1, .arena = a};
        s = db_prepare(conn, "SELECT name, handler, memory_mb, timeout_s, environment, "
                             "reserved_concurrency, retries_max, event_age_max_s, on_failure, "
                             "revision, changed_ms FROM function ORDER BY name");
        while ((rc = db_step(s)) == DB_ROW && set->count < FUNCTIONS_MAX) {
            struct function *f = &functions[set->count];
            load_row(s, a, f);
            if (f->name.p == NULL || f->environment.p == NULL) {
                rc = ERR_NOMEM;
                break;
            }
            load_native(f);
            set->count++;
        }
        db_reset(s);
    }
    if (rc < 0) {
        arena_free(&a);
        return rc;
    }
    *out = set;
    return ERR_NONE;
}

int
registry_get(struct registry *r, struct db_conn *conn, struct function_set **out)
{
    CHK_MAGIC(r, REGISTRY_MAGIC);
    struct function_set *set = NULL;
    struct db_stmt *s = db_prepare(conn, "SELECT version FROM function_version WHERE id = 1");
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc < 0 ? rc : ERR_CORRUPT;
    int64_t version = db_column_int(s, 0);
    db_reset(s);

    lock_take(&r->lock);
    if (r->cached != NULL && r->cached->version == version) {
        set = r->cached;
        __atomic_add_fetch(&set->refs, 1, __ATOMIC_RELAXED);
    }
    lock_release(&r->lock);
    if (set != NULL) {
        *out = set;
        return ERR_NONE;
    }

    int err = set_load(conn, version, &set);
    if (err != ERR_NONE)
        return err;
    struct function_set *old = NULL;
    lock_take(&r->lock);
    if (r->cached == NULL || r->cached->version < version) {
        old = r->cached;
        r->cached = set;
        __atomic_add_fetch(&set->refs, 1, __ATOMIC_RELAXED);
    }
    lock_release(&r->lock);
    registry_unref(&old);
    *out = set;
    return ERR_NONE;
}

/* ---- opening ---- */

static int
version_raise(struct db_conn *conn)
{
    struct db_stmt *s = db_prepare(conn, "INSERT INTO function_version VALUES (1, ?1) "
                                         "ON CONFLICT (id) DO UPDATE SET version = ?1");
    db_bind_int(s, 1, db_next(conn));
    return db_run(s);
}

static int
native_insert(struct db_conn *conn, const struct fn_native *native, bool *inserted)
{
    struct buf environment;
    buf_init(&environment, FUNCTION_ENVIRONMENT_MAX);
    native_environment_default(native_kind_of(slice_str(native->name)), &environment);
    struct db_stmt *s =
        db_prepare(conn, "INSERT INTO function VALUES (?1, ?2, ?3, ?4, ?5, -1, ?6, ?7, '', ?8, ?9) "
                         "ON CONFLICT (name) DO NOTHING");
    db_bind_text(s, 1, slice_str(native->name));
    db_bind_text(s, 2, slice_str(native->name));
    db_bind_int(s, 3, native->memory_mb);
    db_bind_int(s, 4, native->timeout_s);
    db_bind_text(s, 5, buf_slice(&environment));
    db_bind_int(s, 6, FUNCTION_RETRIES_MAX);
    db_bind_int(s, 7, FUNCTION_EVENT_AGE_MAX_S);
    db_bind_int(s, 8, db_next(conn));
    db_bind_int(s, 9, clock_wall_ms());
    int err = db_run(s);
    *inserted = err == ERR_NONE && db_changes(conn) > 0;
    buf_fini(&environment);
    return err;
}

static int
open_apply(struct db_op *op, struct db_conn *conn)
{
    bool any = false;
    (void)op;
    struct db_stmt *s = db_prepare(conn, "SELECT 1 FROM function_version");
    int rc = db_step(s);
    db_reset(s);
    if (rc < 0)
        return rc;
    any = rc == DB_DONE;
    for (size_t i = 0; i < fn_native_count; i++) {
        bool inserted;
        int err = native_insert(conn, &fn_natives[i], &inserted);
        if (err != ERR_NONE)
            return err;
        any = any || inserted;
    }
    return any ? version_raise(conn) : ERR_NONE;
}

int
registry_open(struct registry **out, struct db *db)
{
    struct db_op open = {.apply = open_apply, .urgent = true};
    int err = db_call(db, &open);
    if (err != ERR_NONE)
        return err;
    struct registry *r = chk_calloc(1, sizeof *r);
    *r = (struct registry){.magic = REGISTRY_MAGIC, .db = db};
    lock_init(&r->lock, LOCK_RANK_DISPATCH);
    *out = r;
    return ERR_NONE;
}

void
registry_bind(struct registry *r, struct store *store)
{
    CHK_MAGIC(r, REGISTRY_MAGIC);
    r->store = store;
}

struct store *
registry_store(struct registry *r)
{
    CHK_MAGIC(r, REGISTRY_MAGIC);
    return r->store;
}

void
registry_close(struct registry **rp)
{
    struct registry *r = *rp;
    *rp = NULL;
    if (r == NULL)
        return;
    CHK_MAGIC(r, REGISTRY_MAGIC);
    registry_unref(&r->cached);
    lock_fini(&r->lock);
    r->magic = 0;
    free(r);
}

/* ---- changing ---- */

static int
range_check(bool given, const char *name, int64_t value, int64_t min, int64_t max, struct buf *why)
{
    if (!given || (value >= min && value <= max))
        return ERR_NONE;
    buf_printf(why, "%s is %lld; allowed are %lld to %lld.", name, (long long)value, (long long)min,
               (long long)max);
    return ERR_RANGE;
}

static int
patch_check(const struct function_patch *p, const struct function *f, struct buf *why)
{
    struct native_config config;
    int err = range_check(p->has_memory, "memory", p->memory_mb, FUNCTION_MEMORY_MB_MIN,
                          FUNCTION_MEMORY_MB_MAX, why);
    if (err == ERR_NONE)
        err = range_check(p->has_timeout, "timeout", p->timeout_s, 1, FUNCTION_TIMEOUT_S_MAX, why);
    if (err == ERR_NONE)
        err = range_check(p->has_concurrency, "reserved concurrency", p->reserved_concurrency, -1,
                          FUNCTION_CONCURRENCY_MAX, why);
    if (err == ERR_NONE)
        err = range_check(p->has_retries, "maximum retry attempts", p->retries_max, 0,
                          FUNCTION_RETRIES_MAX, why);
    if (err == ERR_NONE)
        err = range_check(p->has_age, "maximum event age", p->event_age_max_s,
                          FUNCTION_EVENT_AGE_MIN_S, FUNCTION_EVENT_AGE_MAX_S, why);
    if (err == ERR_NONE && p->has_environment)
        err = range_check(true, "environment bytes", (int64_t)p->environment.n, 0,
                          FUNCTION_ENVIRONMENT_MAX, why);
    if (err == ERR_NONE && p->has_environment)
        err = native_config_parse(f->native.kind, p->environment, &config, why);
    if (err == ERR_NONE && p->has_on_failure && p->on_failure.n > 0) {
        buf_puts(why, "Failed events go to the dead-letter queue; no other destination exists.");
        err = ERR_INVALID;
    }
    return err;
}

static int
patch_store(struct db_conn *conn, const struct function_patch *p, const struct function *f)
{
    struct db_stmt *s =
        db_prepare(conn, "UPDATE function SET memory_mb = ?2, timeout_s = ?3, environment = ?4, "
                         "reserved_concurrency = ?5, retries_max = ?6, event_age_max_s = ?7, "
                         "on_failure = ?8, revision = ?9, changed_ms = ?10 WHERE name = ?1");
    db_bind_text(s, 1, f->name);
    db_bind_int(s, 2, p->has_memory ? p->memory_mb : f->memory_mb);
    db_bind_int(s, 3, p->has_timeout ? p->timeout_s : f->timeout_s);
    db_bind_text(s, 4, p->has_environment ? p->environment : f->environment);
    db_bind_int(s, 5, p->has_concurrency ? p->reserved_concurrency : f->reserved_concurrency);
    db_bind_int(s, 6, p->has_retries ? p->retries_max : f->retries_max);
    db_bind_int(s, 7, p->has_age ? p->event_age_max_s : f->event_age_max_s);
    db_bind_text(s, 8, p->has_on_failure ? p->on_failure : f->on_failure);
    db_bind_int(s, 9, db_next(conn));
    db_bind_int(s, 10, clock_wall_ms());
    return db_run(s);
}

int
registry_apply_set(struct registry *r, struct db_conn *conn, struct slice name,
                   const struct function_patch *patch, struct buf *why)
{
    CHK_MAGIC(r, REGISTRY_MAGIC);
    struct function_set *before = NULL;
    struct function_set *after = NULL;
    const struct function *f = NULL;
    buf_reset(why);
    int err = registry_get(r, conn, &before);
    if (err != ERR_NONE)
        return err;
    f = registry_find(before, name);
    if (f == NULL) {
        buf_printf(why, "There is no function %.*s.", (int)(name.n < 64 ? name.n : 64), name.p);
        err = ERR_NOTFOUND;
    }
    if (err == ERR_NONE)
        err = patch_check(patch, f, why);
    if (err == ERR_NONE)
        err = patch_store(conn, patch, f);
    if (err == ERR_NONE)
        err = version_raise(conn);
    if (err == ERR_NONE && patch->has_environment) {
        err = set_load(conn, 0, &after); /* not cached: it may be rolled back */
        if (err == ERR_NONE)
            err = rule_graph_check(r, conn, after, why);
        if (err == ERR_NONE)
            err = rule_apply_targets(r, conn, after, why);
    }
    registry_unref(&after);
    registry_unref(&before);
    return err;
}

/* ---- names ---- */

void
function_arn(struct slice name, char out[FUNCTION_ARN_MAX])
{
    snprintf(out, FUNCTION_ARN_MAX, "arn:aws:lambda:us-east-1:000000000000:function:%.*s",
             (int)(name.n < FN_NAME_MAX ? name.n : FN_NAME_MAX), name.p);
}

int
function_arn_parse(struct slice arn, struct slice *name)
{
    static const char *const fixed[] = {"arn", "aws", "lambda", NULL, NULL, "function"};
    struct slice rest = arn;
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        struct slice part = slice_cut(rest, ':', &rest);
        if (fixed[i] != NULL && !slice_eqs(part, fixed[i]))
            return ERR_INVALID;
    }
    *name = slice_cut(rest, ':', &rest); /* a qualifier may follow: "$LATEST" */
    if (name->n == 0 || name->n > FN_NAME_MAX || (rest.p != NULL && !slice_eqs(rest, "$LATEST")))
        return ERR_INVALID;
    return ERR_NONE;
}
