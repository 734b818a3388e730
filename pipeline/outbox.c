/*
 * One call per change of which version of a key is current, in the change's transaction:
 *
 *   any change      waiting events of older generations of the key are superseded; what no
 *                   function did has its row in the event log
 *   created         one event per function with a matching rule; the item becomes pending. Old
 *                   derived objects stay until the new verdict, or go when none will come.
 *   removed         derived objects that provenance proves ours, the item and all bookkeeping go.
 *                   ObjectRemoved rules of native functions need no event: this is their work.
 *                   Whoever was told of the object is told that it is gone.
 *   by a function   the same, but derived objects have no items
 *
 * Removing a derived object calls the store, which calls back here for the derived bucket; the
 * graph of buckets has no cycle (rule_graph.c), so that ends.
 */
#include "pipeline/outbox.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/plant.h"
#include "pipeline/batch.h"
#include "pipeline/native_item.h"
#include "pipeline/notice.h"
#include "pipeline/provenance.h"
#include "pipeline/requeue.h"
#include "pipeline/rule.h"
#include "pipeline/unmade.h"

#include <stdio.h>
#include <stdlib.h>

#define OUTBOX_MAGIC 0x00b0b0e5u

struct outbox {
    uint32_t magic;
    struct registry *registry;
    struct event_log *log;
};

struct outbox *
outbox_new(struct registry *registry, struct event_log *log)
{
    struct outbox *o = chk_calloc(1, sizeof *o);
    *o = (struct outbox){.magic = OUTBOX_MAGIC, .registry = registry, .log = log};
    return o;
}

void
outbox_free(struct outbox **op)
{
    struct outbox *o = *op;
    *op = NULL;
    if (o == NULL)
        return;
    CHK_MAGIC(o, OUTBOX_MAGIC);
    o->magic = 0;
    free(o);
}

/* A batch has nothing more to do for an object that has changed: its own event does the work. */
static int
superseded(void *arg, struct db_conn *conn, const struct queue_event *e)
{
    (void)arg;
    return e->batch_id == 0 ? ERR_NONE : batch_apply_ended(conn, e, BATCH_OUTCOME_DONE, SLICE_NONE);
}

static int
tell_deleted(struct db_conn *conn, const struct store_change *c)
{
    struct notice n = {.kind = NOTICE_DELETED,
                       .bucket_id = c->bucket_id,
                       .bucket = c->bucket,
                       .key = c->key,
                       .generation = c->generation,
                       .version_id = slice_str(c->version_id),
                       .request_id = c->request_id,
                       .detail = SLICE_LIT("{}")};
    return notice_apply_add(conn, &n);
}

/* Told in `any`: was there one? */
static int
remove_derived(struct outbox *o, struct db_conn *conn, struct arena *a,
               const struct store_change *c, bool *any)
{
    struct provenance *list = NULL;
    int err = provenance_list(conn, a, c->bucket_id, c->key, &list);
    *any = list != NULL;
    if (err == ERR_NONE)
        err = unmade_apply_forget(conn, c->bucket_id, c->key);
    for (; err == ERR_NONE && list != NULL; list = list->next)
        err = provenance_apply_remove(registry_store(o->registry), conn, list);
    return err;
}

static int
removed(struct outbox *o, struct db_conn *conn, struct arena *a, const struct store_change *c)
{
    struct function_set *set = NULL;
    bool tell = false; /* also when the rule is gone since */
    int err = remove_derived(o, conn, a, c, &tell);
    if (err != ERR_NONE || c->by_function)
        return err;
    err = registry_get(o->registry, conn, &set);
    if (err == ERR_NONE)
        err = native_item_delete(conn, a, set, c->bucket_id, c->bucket, c->key);
    if (err == ERR_NONE && !tell)
        err = rule_gives(conn, a, set, c->bucket_id, c->key, NATIVE_NONE, &tell);
    registry_unref(&set);
    return err == ERR_NONE && tell && c->old_generation != 0 ? tell_deleted(conn, c) : err;
}

static int
add_event(struct db_conn *conn, const struct store_change *c, enum event_type type,
          const struct function *f)
{
    struct queue_event e = {.lane = plant_no_lanes ? LANE_BATCH : LANE_LIVE,
                            .function = f->name,
                            .bucket_id = c->bucket_id,
                            .bucket = c->bucket,
                            .key = c->key,
                            .generation = c->generation,
                            .type = type,
                            .request_id = c->request_id};
    return queue_apply_add(conn, &e);
}

/* No verdict will come that replaces what was made of the version before. */
static int
left_alone(struct outbox *o, struct db_conn *conn, struct arena *a, const struct store_change *c)
{
    bool any;
    return c->old_generation == 0 ? ERR_NONE : remove_derived(o, conn, a, c, &any);
}

static int
created(struct outbox *o, struct db_conn *conn, struct arena *a, const struct store_change *c)
{
    enum event_type type = event_type_of(c->kind);
    struct function_set *set = NULL;
    struct rule_list rules;
    const struct function *thumbnail = NULL;
    bool metadata = false;
    uint64_t done = 0; /* functions that have their event */
    int err = rule_load(conn, c->bucket_id, a, &rules);
    if (err != ERR_NONE || rules.count == 0)
        return err == ERR_NONE ? left_alone(o, conn, a, c) : err;
    err = registry_get(o->registry, conn, &set);
    for (size_t i = 0; err == ERR_NONE && i < rules.count; i++) {
        const struct function *f = registry_find(set, rules.rules[i].function);
        if (f == NULL || !rule_matches(&rules.rules[i], type, c->key))
            continue;
        uint64_t bit = (uint64_t)1 << (f - set->functions);
        if (done & bit)
            continue;
        done |= bit;
        err = add_event(conn, c, type, f);
        thumbnail = f->native.kind == NATIVE_THUMBNAIL ? f : thumbnail;
        metadata = metadata || f->native.kind == NATIVE_METADATA;
    }
    if (err == ERR_NONE && !c->by_function && (thumbnail != NULL || metadata))
        err = native_item_pending(conn, a, set, c->bucket, c->object, thumbnail, metadata);
    if (err == ERR_NONE && thumbnail == NULL)
        err = left_alone(o, conn, a, c);
    registry_unref(&set);
    return err;
}

int
outbox_changed(void *arg, struct db_conn *conn, const struct store_change *c)
{
    struct outbox *o = arg;
    int err = ERR_NONE;
    CHK_MAGIC(o, OUTBOX_MAGIC);
    _Static_assert(FUNCTIONS_MAX <= 64, "functions are bits of a word");
    if (!store_change_is_current(c->kind))
        return ERR_NONE;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    if (!c->by_function)
        err = event_log_apply_add(o->log, conn, c);
    if (err == ERR_NONE && c->old_generation != 0)
        err = queue_apply_supersede(conn, c->bucket_id, c->key, c->generation, a, superseded, NULL);
    if (err == ERR_NONE)
        err = c->object == NULL ? removed(o, conn, a, c) : created(o, conn, a, c);
    arena_free(&a);
    return err;
}

/* ---- damage ---- */

static int
make_again(struct outbox *o, struct db_conn *conn, struct arena *a, const struct provenance *row)
{
    char id[FN_REQUEST_ID_MAX];
    const struct store_object *source = NULL;
    struct slice bucket;
    int queued = 0;
    snprintf(id, sizeof id, "damaged-%lld", (long long)row->derived_generation);
    int err = store_apply_get(registry_store(o->registry), conn, row->source_bucket_id,
                              row->source_key, &source);
    if (err == ERR_NONE && source->generation == row->source_generation) {
        err = store_bucket_name(conn, row->source_bucket_id, a, &bucket);
        if (err == ERR_NONE)
            err = requeue_apply(o->registry, conn, bucket, source, row->function, slice_str(id),
                                &queued);
    }
    store_object_unref(&source);
    return err == ERR_NOTFOUND || err == ERR_NOPARENT ? ERR_NONE : err;
}

int
outbox_damaged(void *arg, struct db_conn *conn, const struct store_object *object)
{
    struct outbox *o = arg;
    struct provenance row;
    CHK_MAGIC(o, OUTBOX_MAGIC);
    if (!object->by_function)
        return ERR_NONE;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err = provenance_of_derived(conn, a, object->bucket_id, object->key, &row);
    if (err == ERR_NONE && row.derived_generation == object->generation)
        err = preset_name_is_variant(row.preset)
                  ? provenance_apply_remove(registry_store(o->registry), conn, &row)
                  : make_again(o, conn, a, &row);
    arena_free(&a);
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}
