/*
 * The desk: a table of the demands under way, by source and preset hash, each with the requests
 * that wait for it.
 *
 *   WAITING   handed to the dispatcher; at most `waiting_max` of these
 *   RUNNING   a worker has it; the dispatcher bounds these
 *
 * A demand leaves the table in the moment it ends, and its result was durable before, so whoever
 * comes later finds the stored picture or begins a new demand; nobody can join one that has ended.
 *
 * The lock is taken before the dispatcher's and never while a request's fn is called.
 */
#include "pipeline/demand.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/stat.h"
#include "pipeline/dispatch.h"

#include <stdio.h>
#include <stdlib.h>

#define DESK_MAGIC 0xde5c0de5u
#define DESK_SLOTS 256 /* a power of two */

struct demand {
    struct dispatch_demand job; /* its spec holds copies that lie behind the struct */
    struct demand_desk *desk;
    bool running;
    struct demand_wait *waits;
    struct demand *next; /* in its slot */
    char texts[];
};

struct demand_desk {
    uint32_t magic;
    struct dispatch *dispatch;
    int waiting_max;
    struct lock lock; /* guards from here on */
    struct demand *slots[DESK_SLOTS];
    int waiting; /* demands no worker has yet */
    int joined;  /* requests, of all demands */
};

struct demand_desk *
demand_desk_new(struct dispatch *d, int waiting_max)
{
    struct demand_desk *desk = chk_calloc(1, sizeof *desk);
    *desk = (struct demand_desk){.magic = DESK_MAGIC, .dispatch = d, .waiting_max = waiting_max};
    lock_init(&desk->lock, LOCK_RANK_DEMAND);
    return desk;
}

void
demand_desk_free(struct demand_desk **deskp)
{
    struct demand_desk *desk = *deskp;
    *deskp = NULL;
    if (desk == NULL)
        return;
    CHK_MAGIC(desk, DESK_MAGIC);
    CHK(desk->waiting == 0 && desk->joined == 0);
    lock_fini(&desk->lock);
    desk->magic = 0;
    free(desk);
}

/* ---- the table ---- */

/* The preset's name is a hash already: of SHA-256, so nobody chooses where the demands of one
 * source go. */
static struct demand **
slot_of(struct demand_desk *desk, const struct demand_spec *spec)
{
    uint64_t sum = (uint64_t)spec->generation * 0x9e3779b97f4a7c15u;
    for (const char *p = spec->preset.name; *p != '\0'; p++)
        sum = (sum ^ (unsigned char)*p) * 0x100000001b3u;
    return &desk->slots[sum >> 32 & (DESK_SLOTS - 1)];
}

static bool
same_demand(const struct demand_spec *a, const struct demand_spec *b)
{
    return a->generation == b->generation && a->bucket_id == b->bucket_id &&
           slice_eq(a->key, b->key) && strcmp(a->preset.name, b->preset.name) == 0;
}

static struct demand *
find(struct demand_desk *desk, const struct demand_spec *spec)
{
    struct demand *m = *slot_of(desk, spec);
    while (m != NULL && !same_demand(&m->job.spec, spec))
        m = m->next;
    return m;
}

static void
unlink_demand(struct demand_desk *desk, struct demand *m)
{
    struct demand **link = slot_of(desk, &m->job.spec);
    while (*link != m)
        link = &(*link)->next;
    *link = m->next;
}

/* ---- called by the dispatcher ---- */

static void
waits_no_more(struct demand *m)
{
    if (m->running)
        return;
    m->running = true;
    m->desk->waiting--;
    STAT_DEC(demands_waiting);
}

static void
on_begun(struct dispatch_demand *job)
{
    struct demand *m = CONTAINER_OF(job, struct demand, job);
    lock_take(&m->desk->lock);
    waits_no_more(m);
    lock_release(&m->desk->lock);
}

static void
on_done(struct dispatch_demand *job)
{
    struct demand *m = CONTAINER_OF(job, struct demand, job);
    struct demand_desk *desk = m->desk;
    lock_take(&desk->lock);
    unlink_demand(desk, m);
    waits_no_more(m);
    for (const struct demand_wait *w = m->waits; w != NULL; w = w->next)
        desk->joined--;
    lock_release(&desk->lock);
    if (job->end == DEMAND_STORED)
        STAT_INC(demands_stored_total);
    else if (job->end == DEMAND_ERROR)
        STAT_INC(demands_failed_total);
    for (struct demand_wait *w = m->waits, *next; w != NULL; w = next) {
        next = w->next;
        w->end = job->end;
        memcpy(w->reason, job->reason, sizeof w->reason);
        w->fn(w);
    }
    free(m);
}

/* ---- called by requests ---- */

static struct demand *
demand_new(struct demand_desk *desk, const struct demand_spec *spec)
{
    struct slice id = spec->request_id;
    struct demand *m = calloc(1, sizeof *m + spec->bucket.n + spec->key.n + id.n);
    if (m == NULL)
        return NULL;
    m->desk = desk;
    m->job.spec = *spec;
    memcpy(m->texts, spec->bucket.p, spec->bucket.n);
    memcpy(m->texts + spec->bucket.n, spec->key.p, spec->key.n);
    m->job.spec.bucket = slice_of(m->texts, spec->bucket.n);
    m->job.spec.key = slice_of(m->texts + spec->bucket.n, spec->key.n);
    m->job.spec.request_id = slice_of(m->texts + spec->bucket.n + spec->key.n, id.n);
    if (id.n > 0)
        memcpy(m->texts + spec->bucket.n + spec->key.n, id.p, id.n);
    m->job.begun = on_begun;
    m->job.done = on_done;
    return m;
}

/* A new demand with `w` as its first request. */
static int
begin(struct demand_desk *desk, const struct demand_spec *spec, struct demand_wait *w)
{
    if (desk->waiting >= desk->waiting_max)
        return ERR_BUSY;
    struct demand *m = demand_new(desk, spec);
    if (m == NULL)
        return ERR_BUSY;
    m->waits = w;
    int err = dispatch_demand(desk->dispatch, &m->job);
    if (err != ERR_NONE) {
        free(m);
        return err;
    }
    struct demand **slot = slot_of(desk, &m->job.spec);
    m->next = *slot;
    *slot = m;
    desk->waiting++;
    STAT_INC(demands_waiting);
    STAT_INC(demands_total);
    return ERR_NONE;
}

int
demand_join(struct demand_desk *desk, const struct demand_spec *spec, struct demand_wait *w)
{
    char hash[PRESET_HASH_TEXT];
    int err = ERR_NONE;
    CHK_MAGIC(desk, DESK_MAGIC);
    preset_hash(&spec->preset, hash);
    CHK(preset_name_is_variant(slice_str(spec->preset.name)) &&
        slice_eqs(slice_skip(slice_str(spec->preset.name), 1), hash));
    w->next = NULL;
    lock_take(&desk->lock);
    struct demand *m = find(desk, spec);
    if (desk->joined >= DEMAND_JOINED_MAX) {
        err = ERR_BUSY;
    } else if (m == NULL) {
        err = begin(desk, spec, w);
    } else {
        w->next = m->waits;
        m->waits = w;
        STAT_INC(demands_joined_total);
    }
    desk->joined += err == ERR_NONE;
    lock_release(&desk->lock);
    if (err == ERR_BUSY)
        STAT_INC(demands_refused_total);
    return err;
}
