#include "pipeline/requeue.h"
#include "base/err.h"
#include "pipeline/native_item.h"
#include "pipeline/queue.h"
#include "pipeline/rule.h"

struct requeue {
    struct db_conn *conn;
    struct arena *a;
    struct slice bucket;
    const struct store_object *o;
    struct slice function;
    struct slice request_id;
    const struct function_set *set;
    const struct function *thumbnail; /* its events were added; NULL: not */
    bool metadata;
    int queued;
};

struct waiting {
    const struct requeue *q;
    struct slice function;
    bool found;
};

static int
see_event(void *arg, const struct queue_event *e)
{
    struct waiting *w = arg;
    w->found =
        e->generation == w->q->o->generation && !e->followup && slice_eq(e->function, w->function);
    return w->found;
}

static int
add_event(struct requeue *q, const struct function *f)
{
    struct waiting w = {.q = q, .function = f->name};
    int err = queue_of_key(q->conn, q->o->bucket_id, q->o->key, see_event, &w);
    q->queued++;
    if (err != ERR_NONE || w.found)
        return err;
    struct queue_event e = {.lane = LANE_BATCH,
                            .function = f->name,
                            .bucket_id = q->o->bucket_id,
                            .bucket = q->bucket,
                            .key = q->o->key,
                            .generation = q->o->generation,
                            .type = EVENT_CREATED_PUT,
                            .request_id = q->request_id};
    q->thumbnail = f->native.kind == NATIVE_THUMBNAIL ? f : q->thumbnail;
    q->metadata = q->metadata || f->native.kind == NATIVE_METADATA;
    return queue_apply_add(q->conn, &e);
}

static int
add_events(struct requeue *q, const struct rule_list *rules)
{
    uint64_t done = 0; /* functions that have their event */
    int err = ERR_NONE;
    for (size_t i = 0; i < rules->count && err == ERR_NONE; i++) {
        const struct function *f = registry_find(q->set, rules->rules[i].function);
        if (f == NULL || !rule_matches(&rules->rules[i], EVENT_RESTORED, q->o->key) ||
            (q->function.n > 0 && !slice_eq(f->name, q->function)))
            continue;
        uint64_t bit = (uint64_t)1 << (f - q->set->functions);
        if ((done & bit) == 0)
            err = add_event(q, f);
        done |= bit;
    }
    return err;
}

int
requeue_apply(struct registry *r, struct db_conn *conn, struct slice bucket,
              const struct store_object *o, struct slice function, struct slice request_id,
              int *queued)
{
    struct rule_list rules;
    struct function_set *set = NULL;
    struct requeue q = {
        .conn = conn, .bucket = bucket, .o = o, .function = function, .request_id = request_id};
    *queued = 0;
    q.a = arena_new(ITEM_ARENA_BYTES);
    int err = q.a == NULL ? ERR_NOMEM : registry_get(r, conn, &set);
    q.set = set;
    if (err == ERR_NONE)
        err = rule_load(conn, o->bucket_id, q.a, &rules);
    if (err == ERR_NONE)
        err = add_events(&q, &rules);
    if (err == ERR_NONE && !o->by_function && (q.thumbnail != NULL || q.metadata))
        err = native_item_pending(conn, q.a, set, bucket, o, q.thumbnail, q.metadata);
    *queued = q.queued;
    registry_unref(&set);
    arena_free(&q.a);
    return err;
}
