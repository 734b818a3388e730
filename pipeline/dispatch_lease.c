/*
 * Events to tasks: which ready events of the queue are leased, and which share a task.
 *
 * Candidates are read per (lane, function), so a function at its reserved concurrency hides nobody.
 * Leases are the tasks themselves: an event is leased while a task holds it. One task of events per
 * key at a time, so no event of a key overtakes another; a demand takes no key.
 *
 * For a lane, the tasks of that lane and those above count against the room to load ahead; so
 * waiting batch tasks never keep a live event from being loaded, and it is run before them.
 */
#include "base/err.h"
#include "pipeline/dispatch_priv.h"

#include <stdlib.h>

#define CANDIDATES_MAX 1024
#define RETRIES_BEFORE_MAX 64 /* looked past, to find what waits for its first attempt */
#define CANDIDATE_ARENA_BYTES (8u << 20)

/* ---- room ---- */

static int
load_room(const struct dispatch *d, enum queue_lane lane)
{
    int used = 0;
    for (const struct task *t = d->tasks; t != NULL; t = t->next)
        used += t->demand == NULL && t->state <= TASK_LOADED && t->lane <= lane;
    return d->load_max - used;
}

bool
lease_room(const struct dispatch *d)
{
    return d->dirty && load_room(d, LANE_LIVE) > 0 &&
           d->task_count - d->demand_count < TASKS_PER_WORKER_MAX * d->load_max;
}

bool
lease_is_retry(const struct task *t)
{
    for (size_t i = 0; i < t->call_count; i++) {
        if (t->calls[i].event.attempts > 0)
            return true;
    }
    return false;
}

static bool
retry_loaded(const struct dispatch *d)
{
    for (const struct task *t = d->tasks; t != NULL; t = t->next) {
        if (t->state <= TASK_LOADED && lease_is_retry(t))
            return true;
    }
    return false;
}

static int
events_leased(const struct dispatch *d)
{
    int count = 0;
    for (const struct task *t = d->tasks; t != NULL; t = t->next)
        count += t->demand == NULL ? (int)t->call_count : 0;
    return count;
}

static bool
key_taken(const struct dispatch *d, const struct queue_event *e)
{
    for (const struct task *t = d->tasks; t != NULL; t = t->next) {
        const struct queue_event *mine = &t->calls[0].event;
        if (t->demand == NULL && t->call_count > 0 && mine->bucket_id == e->bucket_id &&
            slice_eq(mine->key, e->key))
            return true;
    }
    return false;
}

/* Invocations of a function that are on their way, before their results. */
bool
dispatch_at_limit(const struct dispatch *d, const struct function *f)
{
    int count = 0;
    if (f->reserved_concurrency < 0)
        return false;
    for (const struct task *t = d->tasks; t != NULL; t = t->next) {
        for (size_t i = 0; i < t->call_count && t->state <= TASK_RUNNING; i++)
            count += slice_eq(t->calls[i].event.function, f->name);
    }
    return count >= f->reserved_concurrency;
}

/* ---- which events share a task ---- */

struct pick {
    struct dispatch *d;
    struct function_set *set;
    struct task *task;
    struct queue_event *found; /* candidates, in id order per function */
    size_t count, room;
    struct arena *a;
    int seen;
    int err;
};

static int
copy_candidate(void *arg, const struct queue_event *e)
{
    struct pick *p = arg;
    p->seen++;
    if (key_taken(p->d, e))
        return 0;
    p->err = queue_event_copy(p->a, e, &p->found[p->count]);
    if (p->err != ERR_NONE)
        return 1;
    return ++p->count == p->room;
}

/* The deadline and the memory limit are the process's, so only equals share one. */
static bool
same_limits(const struct task *t, const struct function *f, const struct queue_event *e)
{
    const struct function *first = t->functions[0];
    return task_timeout_s(t->d, f, e) == task_timeout_s(t->d, first, &t->calls[0].event) &&
           f->memory_mb == first->memory_mb;
}

/* An event of the same object and generation joins the task of its first one. */
static int
join_event(void *arg, const struct queue_event *e)
{
    struct pick *p = arg;
    struct task *t = p->task;
    const struct function *f = registry_find(p->set, e->function);
    if (f == NULL || e->not_before_ms != 0 || e->generation != p->found->generation ||
        t->call_count == FN_PER_REQUEST_MAX || dispatch_at_limit(p->d, f) ||
        (t->call_count > 0 && !same_limits(t, f, e)))
        return 0;
    for (size_t i = 0; i < t->call_count; i++) {
        if (t->functions[i] == f)
            return 0;
    }
    struct result_call *call = &t->calls[t->call_count];
    p->err = queue_event_copy(t->arena, e, &call->event);
    if (p->err != ERR_NONE)
        return 1;
    call->revision = f->revision;
    t->functions[t->call_count++] = f;
    t->lane = e->lane < t->lane ? e->lane : t->lane;
    return 0;
}

/* One task for a candidate, its siblings joined. The candidate goes first: a follow-up and the
 * first pass of one function never share a task. */
static int
lease(struct pick *p, struct db_conn *conn, const struct queue_event *e)
{
    struct task *t = task_new(p->d);
    if (t == NULL)
        return ERR_NOMEM;
    struct pick join = {.d = p->d, .set = p->set, .task = t, .found = (struct queue_event *)e};
    t->lane = e->lane;
    t->set = p->set;
    __atomic_add_fetch(&p->set->refs, 1, __ATOMIC_RELAXED);
    join_event(&join, e);
    if (join.err == ERR_NONE && t->call_count > 0)
        join.err = queue_of_key(conn, e->bucket_id, e->key, join_event, &join);
    if (join.err != ERR_NONE || t->call_count == 0) {
        task_free(t);
        return join.err;
    }
    for (size_t i = 0; i < t->call_count; i++) {
        if (t->functions[i]->native.kind == NATIVE_THUMBNAIL)
            p->d->demand_leased = false;
    }
    task_load(t);
    return ERR_NONE;
}

/* ---- candidates ---- */

static int
by_id(const void *a, const void *b)
{
    const struct queue_event *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Leases candidates, oldest first. Retries may not fill the room before what waits for its first
 * attempt: one is enough, the others come in a second round. */
static int
lease_found(struct pick *p, struct db_conn *conn, enum queue_lane lane, bool *more)
{
    int err = ERR_NONE;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < p->count && err == ERR_NONE; i++) {
            const struct queue_event *e = &p->found[i];
            if (key_taken(p->d, e) || (round == 0 && e->attempts > 0 && retry_loaded(p->d)))
                continue;
            if (load_room(p->d, lane) <= 0)
                *more = true;
            else
                err = lease(p, conn, e);
        }
    }
    return err;
}

/* Fills the room of one lane. *more: there may be ready events that found no place. */
static int
fill_lane(struct dispatch *d, struct db_conn *conn, struct function_set *set, enum queue_lane lane,
          bool *more)
{
    struct pick p = {.d = d, .set = set};
    int room = load_room(d, lane);
    int err = ERR_NONE;
    if (room <= 0) {
        *more = true;
        return ERR_NONE;
    }
    p.a = arena_new(CANDIDATE_ARENA_BYTES);
    p.found = calloc(CANDIDATES_MAX, sizeof *p.found);
    if (p.a == NULL || p.found == NULL)
        err = ERR_NOMEM;
    for (size_t i = 0; i < set->count && err == ERR_NONE && p.count < CANDIDATES_MAX; i++) {
        if (dispatch_at_limit(d, &set->functions[i])) {
            *more = true;
            continue;
        }
        size_t most = p.count + (size_t)room + RETRIES_BEFORE_MAX;
        p.room = most < CANDIDATES_MAX ? most : CANDIDATES_MAX;
        p.seen = 0;
        int limit = room + RETRIES_BEFORE_MAX + events_leased(d);
        err = queue_next(conn, lane, set->functions[i].name, 0, limit, copy_candidate, &p);
        if (err == ERR_NONE)
            err = p.err;
        *more = *more || p.seen >= limit || p.count == p.room;
    }
    if (p.count > 1)
        qsort(p.found, p.count, sizeof *p.found, by_id);
    if (err == ERR_NONE)
        err = lease_found(&p, conn, lane, more);
    free(p.found);
    arena_free(&p.a);
    return err;
}

int
lease_events(struct dispatch *d, struct db_conn *conn, struct function_set *set)
{
    bool more = false;
    int err = ERR_NONE;
    for (int lane = 0; lane < LANE_COUNT && err == ERR_NONE; lane++)
        err = fill_lane(d, conn, set, (enum queue_lane)lane, &more);
    d->dirty = more || err != ERR_NONE;
    return err;
}
