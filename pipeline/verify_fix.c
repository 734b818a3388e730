/*
 * Repair by the ordinary roads, each finding in a transaction of its own that looks again: what has
 * been put right, replaced or deleted since the finding is left alone.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "pipeline/batch.h"
#include "pipeline/native_item.h"
#include "pipeline/requeue.h"
#include "pipeline/verify_priv.h"

#define FIX_ARENA_BYTES ITEM_ARENA_BYTES

struct fix_op {
    struct db_op op;
    struct registry *registry;
    struct slice request_id;
    const struct verify_finding *f;
    const char *done; /* what was done; NULL: nothing */
};

struct fix {
    struct fix_op *op;
    struct store *store;
    struct db_conn *conn;
    struct arena *a;
};

static int
requeue(struct fix *x, int64_t bucket_id, struct slice key, int64_t generation)
{
    const struct store_object *o = NULL;
    struct slice bucket = SLICE_NONE;
    int queued = 0;
    int err = store_apply_get(x->store, x->conn, bucket_id, key, &o);
    if (err == ERR_NONE)
        err = store_bucket_name(x->conn, bucket_id, x->a, &bucket);
    if (err == ERR_NONE && o->generation == generation)
        err = requeue_apply(x->op->registry, x->conn, bucket, o, SLICE_NONE, x->op->request_id,
                            &queued);
    if (queued > 0)
        x->op->done = "its events are queued again";
    store_object_unref(&o);
    return err;
}

/* A damaged derived object is made again by its source's events. */
static int
fix_requeue(struct fix *x)
{
    const struct verify_finding *f = x->op->f;
    struct provenance row;
    if (f->kind != VERIFY_DAMAGED)
        return requeue(x, f->bucket_id, f->key, f->id);
    int err = provenance_of_derived(x->conn, x->a, f->bucket_id, f->key, &row);
    if (err != ERR_NONE || row.derived_generation != f->id)
        return err;
    return requeue(x, row.source_bucket_id, row.source_key, row.source_generation);
}

static int
fix_provenance(struct fix *x)
{
    struct provenance row;
    const char *trouble = NULL;
    int err = provenance_of_derived(x->conn, x->a, x->op->f->bucket_id, x->op->f->key, &row);
    if (err == ERR_NONE)
        err = verify_row_trouble(x->op->registry, x->conn, x->a, &row, &trouble);
    if (err != ERR_NONE || trouble == NULL)
        return err;
    x->op->done = "what was derived is removed, and its row";
    return provenance_apply_remove(x->store, x->conn, &row);
}

static int
fix_object(struct fix *x)
{
    const struct verify_finding *f = x->op->f;
    struct provenance row;
    struct store_delete_result result;
    struct store_delete_spec spec = {
        .bucket = f->bucket, .key = f->key, .by_function = true, .only_generation = f->id};
    int err = provenance_of_derived(x->conn, x->a, f->bucket_id, f->key, &row);
    if (err != ERR_NOTFOUND)
        return err;
    err = store_apply_delete(x->store, x->conn, &spec, &result);
    if (err == ERR_NONE)
        x->op->done = "it is deleted";
    return err;
}

static int
fix_item(struct fix *x)
{
    const struct verify_finding *f = x->op->f;
    struct function_set *set = NULL;
    const struct store_object *o = NULL;
    struct slice owner;
    int64_t bucket_id = 0;
    /* By its name, as the item is: the bucket may be another one by now. */
    int err = store_apply_bucket_get(x->store, x->conn, f->bucket, &bucket_id, x->a, &owner);
    if (err == ERR_NONE)
        err = store_apply_get(x->store, x->conn, bucket_id, f->key, &o);
    store_object_unref(&o);
    if (err != ERR_NOTFOUND && err != ERR_NOPARENT)
        return err;
    err = registry_get(x->op->registry, x->conn, &set);
    if (err == ERR_NONE)
        err = native_item_delete(x->conn, x->a, set, f->bucket_id, f->bucket, f->key);
    registry_unref(&set);
    if (err == ERR_NONE)
        x->op->done = "the item is removed";
    return err;
}

/* What it was judged by does not come back: a generation is never current twice, and a function
 * that exists has its events run. */
static int
fix_event(struct fix *x)
{
    struct queue_event e;
    struct function_set *set = NULL;
    const struct store_object *o = NULL;
    int err = queue_get(x->conn, x->op->f->id, x->a, &e);
    if (err == ERR_NONE)
        err = registry_get(x->op->registry, x->conn, &set);
    if (err != ERR_NONE)
        return err;
    err = store_apply_get(x->store, x->conn, e.bucket_id, e.key, &o);
    bool current = err == ERR_NONE && o->generation == e.generation;
    bool runs = registry_find(set, e.function) != NULL;
    store_object_unref(&o);
    registry_unref(&set);
    if (err != ERR_NONE && err != ERR_NOTFOUND && err != ERR_NOPARENT)
        return err;
    if (current && runs)
        return ERR_NONE;
    err = queue_apply_ack(x->conn, &e, QUEUE_SUPERSEDED);
    if (err == ERR_NONE && e.batch_id != 0)
        err = batch_apply_ended(x->conn, &e, BATCH_OUTCOME_DONE, SLICE_NONE);
    x->op->done = "the event is removed";
    return err;
}

static int
fix_counts(struct fix *x)
{
    x->op->done = "counted again";
    return queue_apply_recount(x->conn);
}

static int
fix_one(struct fix *x)
{
    switch (x->op->f->fix) {
    case VERIFY_FIX_REQUEUE:
        return fix_requeue(x);
    case VERIFY_FIX_PROVENANCE:
        return fix_provenance(x);
    case VERIFY_FIX_OBJECT:
        return fix_object(x);
    case VERIFY_FIX_ITEM:
        return fix_item(x);
    case VERIFY_FIX_EVENT:
        return fix_event(x);
    case VERIFY_FIX_COUNTS:
        return fix_counts(x);
    case VERIFY_FIX_NONE:
        break;
    }
    return ERR_NONE;
}

static int
fix_apply(struct db_op *op, struct db_conn *conn)
{
    struct fix_op *o = CONTAINER_OF(op, struct fix_op, op);
    struct fix x = {.op = o, .store = registry_store(o->registry), .conn = conn};
    o->done = NULL;
    x.a = arena_new(FIX_ARENA_BYTES);
    if (x.a == NULL)
        return ERR_NOMEM;
    int err = fix_one(&x);
    arena_free(&x.a);
    return err;
}

int
verify_fix(struct verify *v)
{
    int err = ERR_NONE;
    for (struct verify_finding *f = v->page->findings; f != NULL && err == ERR_NONE; f = f->next) {
        struct fix_op o = {.op = {.apply = fix_apply, .urgent = true},
                           .registry = v->spec->registry,
                           .request_id = v->spec->request_id,
                           .f = f};
        if (f->fix == VERIFY_FIX_NONE)
            continue;
        err = db_call(v->spec->db, &o.op);
        if (err == ERR_NOTFOUND || err == ERR_NOPARENT || err == ERR_STALE)
            err = ERR_NONE; /* gone meanwhile */
        if (err != ERR_NONE || o.done == NULL)
            continue;
        f->fixed = true;
        f->todo = slice_str(o.done);
        log_line(LOG_INFO, "verify_fixed", "request_id=%.*s kind=%s bucket=%.*s did=\"%s\"",
                 SLICE_FMT(v->spec->request_id), verify_kind_name(f->kind), SLICE_FMT(f->bucket),
                 o.done);
    }
    return err;
}
