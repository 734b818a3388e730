/*
 * One step of the feeder, in three parts so that the writer is never held up: choose and list on a
 * read connection, then one operation that checks that nothing has moved, adds the events and sets
 * the cursor. Steps are repeated by the dispatcher while few batch events wait. Dying between the
 * parts loses nothing: the cursor moves only with its events.
 */
#include "base/chk.h"
#include "base/err.h"
#include "pipeline/batch.h"
#include "pipeline/native_item.h"
#include "pipeline/rule.h"

#include <stdlib.h>

#define FEED_ARENA_BYTES (8u << 20)

struct feed {
    struct db_op op;
    struct registry *registry;
    struct arena *a;
    struct batch batch;
    struct slice keys[BATCH_STEP_OBJECTS];
    size_t key_count;
    bool truncated;
    int err; /* of the copying callbacks */
};

static int
copy_batch(void *arg, const struct batch *b)
{
    struct feed *f = arg;
    f->batch = *b;
    f->batch.bucket = arena_dup(f->a, b->bucket);
    f->batch.prefix = arena_dup(f->a, b->prefix);
    f->batch.function = arena_dup(f->a, b->function);
    f->batch.cursor = arena_dup(f->a, b->cursor);
    if (f->batch.bucket.p == NULL || f->batch.prefix.p == NULL || f->batch.function.p == NULL ||
        f->batch.cursor.p == NULL)
        f->err = ERR_NOMEM;
    return 0;
}

/* The oldest batch that is feeding, unless enough of its kind waits. batch.id = 0: nothing to do.
 */
static int
choose(struct feed *f, struct db_conn *conn)
{
    int64_t id = 0;
    struct db_stmt *s =
        db_prepare(conn, "SELECT MIN(b.id) FROM batch b, queue_count c WHERE b.state = ?1 AND "
                         "c.id = 1 AND c.batch < ?2");
    db_bind_int(s, 1, BATCH_FEEDING);
    db_bind_int(s, 2, BATCH_WAITING_MAX);
    int rc = db_step(s);
    if (rc == DB_ROW && !db_column_is_null(s, 0))
        id = db_column_int(s, 0);
    db_reset(s);
    if (rc < 0 || id == 0)
        return rc < 0 ? rc : ERR_NONE;
    rc = batch_get(conn, id, copy_batch, f);
    return rc == ERR_NONE ? f->err : rc;
}

static int
copy_key(void *arg, const struct store_list_entry *e)
{
    struct feed *f = arg;
    CHK(f->key_count < BATCH_STEP_OBJECTS);
    f->keys[f->key_count] = arena_dup(f->a, e->name);
    if (f->keys[f->key_count].p == NULL) {
        f->err = ERR_NOMEM;
        return 1;
    }
    f->key_count++;
    return 0;
}

/* ---- the operation ---- */

static int
add_object(struct feed *f, struct db_conn *conn, const struct function_set *set,
           const struct rule_list *rules, const struct store_object *o, bool *planned)
{
    const struct function *thumbnail = NULL;
    bool metadata = false;
    uint64_t done = 0;
    int err = ERR_NONE;
    *planned = false;
    for (size_t i = 0; i < rules->count && err == ERR_NONE; i++) {
        const struct notification_rule *rule = &rules->rules[i];
        const struct function *fn = registry_find(set, rule->function);
        if (fn == NULL || !rule_matches(rule, EVENT_RESTORED, o->key) ||
            (f->batch.function.n > 0 && !slice_eq(fn->name, f->batch.function)))
            continue;
        uint64_t bit = (uint64_t)1 << (fn - set->functions);
        if (done & bit)
            continue;
        done |= bit;
        struct queue_event e = {.lane = LANE_BATCH,
                                .function = fn->name,
                                .bucket_id = f->batch.bucket_id,
                                .bucket = f->batch.bucket,
                                .key = o->key,
                                .generation = o->generation,
                                .type = EVENT_CREATED_PUT,
                                .batch_id = f->batch.id};
        err = queue_apply_add(conn, &e);
        thumbnail = fn->native.kind == NATIVE_THUMBNAIL ? fn : thumbnail;
        metadata = metadata || fn->native.kind == NATIVE_METADATA;
        *planned = true;
    }
    if (err != ERR_NONE || o->by_function || (thumbnail == NULL && !metadata))
        return err;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    err = native_item_pending(conn, a, set, f->batch.bucket, o, thumbnail, metadata);
    arena_free(&a);
    return err;
}

static int
cursor_set(struct feed *f, struct db_conn *conn, int64_t planned)
{
    struct db_stmt *s = db_prepare(conn, "UPDATE batch SET cursor = ?2, seen = seen + ?3, "
                                         "planned = planned + ?4 WHERE id = ?1");
    db_bind_int(s, 1, f->batch.id);
    db_bind_blob(s, 2, f->key_count == 0 ? f->batch.cursor : f->keys[f->key_count - 1]);
    db_bind_int(s, 3, (int64_t)f->key_count);
    db_bind_int(s, 4, planned);
    int err = db_run(s);
    return err == ERR_NONE && !f->truncated ? batch_apply_listed(conn, f->batch.id) : err;
}

struct now {
    enum batch_state state;
    bool same_cursor;
    struct slice cursor;
};

static int
look(void *arg, const struct batch *b)
{
    struct now *n = arg;
    n->state = b->state;
    n->same_cursor = slice_eq(b->cursor, n->cursor);
    return 0;
}

static int
feed_apply(struct db_op *op, struct db_conn *conn)
{
    struct feed *f = CONTAINER_OF(op, struct feed, op);
    struct function_set *set = NULL;
    struct rule_list rules;
    struct now now = {.cursor = f->batch.cursor};
    int64_t planned = 0;
    int err = batch_get(conn, f->batch.id, look, &now);
    if (err == ERR_NONE && (now.state != BATCH_FEEDING || !now.same_cursor))
        err = ERR_CONFLICT; /* paused or canceled meanwhile */
    if (err != ERR_NONE)
        return err;
    struct arena *a = arena_new(RULE_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    err = rule_load(conn, f->batch.bucket_id, a, &rules);
    if (err == ERR_NONE)
        err = registry_get(f->registry, conn, &set);
    for (size_t i = 0; i < f->key_count && err == ERR_NONE; i++) {
        const struct store_object *o = NULL;
        bool one = false;
        err =
            store_apply_get(registry_store(f->registry), conn, f->batch.bucket_id, f->keys[i], &o);
        if (err == ERR_NONE)
            err = add_object(f, conn, set, &rules, o, &one);
        else if (err == ERR_NOTFOUND || err == ERR_NOPARENT)
            err = ERR_NONE; /* deleted since it was listed */
        planned += one;
        store_object_unref(&o);
    }
    if (err == ERR_NONE)
        err = cursor_set(f, conn, planned);
    registry_unref(&set);
    arena_free(&a);
    return err;
}

int
batch_feed(struct registry *r, struct db *db, int *fed)
{
    struct db_conn *conn = NULL;
    struct feed *f = calloc(1, sizeof *f);
    *fed = 0;
    if (f == NULL)
        return ERR_NOMEM;
    f->registry = r;
    f->op.apply = feed_apply;
    f->a = arena_new(FEED_ARENA_BYTES);
    int err = f->a == NULL ? ERR_NOMEM : db_read_begin(db, &conn);
    if (err == ERR_NONE) {
        err = choose(f, conn);
        db_read_end(db, &conn);
    }
    if (err == ERR_NONE && f->batch.id != 0) {
        struct store_list_spec spec = {.bucket = f->batch.bucket,
                                       .prefix = f->batch.prefix,
                                       .after = f->batch.cursor,
                                       .max = BATCH_STEP_OBJECTS};
        err = store_list(registry_store(r), &spec, copy_key, f, &f->truncated);
        if (err == ERR_NOPARENT || err == ERR_NOTFOUND)
            err = ERR_NONE; /* the bucket is gone: nothing is left to list */
        if (err == ERR_NONE)
            err = f->err;
        if (err == ERR_NONE)
            err = db_call(db, &f->op);
        if (err == ERR_NONE)
            *fed = f->key_count > 0 ? (int)f->key_count : 1;
        if (err == ERR_CONFLICT)
            err = ERR_NONE;
    }
    arena_free(&f->a);
    free(f);
    return err;
}
