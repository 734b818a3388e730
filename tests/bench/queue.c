/*
 * What an event costs while the queue grows, and a plan over many objects: queue EVENTS OBJECTS
 *
 *   add, lease, ack   microseconds per event, at a hundredth, a tenth and all of EVENTS waiting.
 * Add and ack: the writer's time without the sync. Lease: what the dispatcher reads to find one
 * (the next ready ones of a lane, the siblings of each) plan              seconds for OBJECTS
 * objects below one prefix, first when nothing was ever made of them, then when every one has its
 * verdict; and how the memory grew
 *
 * All are the thread's own time, page reads included, so that other work on the machine does not
 * count. A ratio beside each figure compares with the smallest queue, or the first tenth of the
 * plan.
 */
#include "tests/pipeline/rig.h"

#include "pipeline/survey.h"
#include "pipeline/unmade.h"

#include <sys/resource.h>
#include <time.h>

#define STEP 250    /* per transaction */
#define LOOKS 20000 /* events added, leased and ended at each level */
#define LEASE 16    /* candidates a lease looks at */
#define FUNCTION SLICE_LIT("thumbnail")

/* The time of this thread alone: what else runs on the machine does not count. */
static int64_t
cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- events ---- */

struct span {
    int64_t first, count;
    int64_t us;
};

static struct slice
key_of(int64_t n, char out[32])
{
    snprintf(out, 32, "p/%010lld", (long long)n);
    return slice_str(out);
}

static int
add_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct span *s = arg;
    char key[32];
    int err = ERR_NONE;
    int64_t began = cpu_us();
    (void)r;
    for (int64_t i = s->first; i < s->first + s->count && err == ERR_NONE; i++) {
        struct queue_event e = {.lane = LANE_BATCH,
                                .function = FUNCTION,
                                .bucket_id = 1,
                                .bucket = SLICE_LIT("old"),
                                .key = key_of(i, key),
                                .generation = 1,
                                .batch_id = 1};
        err = queue_apply_add(conn, &e);
    }
    s->us += cpu_us() - began;
    return err;
}

static int64_t
add(struct rig *r, int64_t *next, int64_t count)
{
    struct span s = {.first = *next};
    for (int64_t left = count; left > 0; left -= s.count) {
        s.first = *next;
        s.count = left < STEP ? left : STEP;
        CHK(rig_call(r, add_fn, &s) == ERR_NONE);
        *next += s.count;
    }
    return s.us;
}

struct leased {
    struct arena *a;
    struct queue_event events[STEP];
    size_t count;
    int64_t us;
};

static int
note(void *arg, const struct queue_event *e)
{
    struct leased *l = arg;
    CHK(queue_event_copy(l->a, e, &l->events[l->count]) == ERR_NONE);
    return ++l->count == STEP;
}

static int
sibling(void *arg, const struct queue_event *e)
{
    (void)e;
    ++*(int *)arg;
    return 0;
}

static int
ack_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct leased *l = arg;
    int err = ERR_NONE;
    int64_t began = cpu_us();
    (void)r;
    for (size_t i = 0; i < l->count && err == ERR_NONE; i++)
        err = queue_apply_ack(conn, &l->events[i], QUEUE_ACKED);
    l->us += cpu_us() - began;
    return err;
}

/* Leases as the dispatcher does, a few at a time, then ends what was leased in one transaction. */
static void
lease_and_ack(struct rig *r, int64_t count, int64_t *lease_us, int64_t *ack_us)
{
    struct leased *l = chk_calloc(1, sizeof *l);
    struct db_conn *conn = NULL;
    *lease_us = 0;
    for (int64_t done = 0; done < count; done += STEP) {
        l->count = 0;
        l->a = arena_new(1 << 20);
        while (l->count < STEP) {
            size_t from = l->count;
            int siblings = 0;
            int64_t began = cpu_us();
            int64_t after = from > 0 ? l->events[from - 1].id : 0;
            CHK(db_read_begin(r->db, &conn) == ERR_NONE);
            CHK(queue_next(conn, LANE_BATCH, FUNCTION, after, LEASE, note, l) == ERR_NONE);
            for (size_t i = from; i < l->count; i++)
                CHK(queue_of_key(conn, 1, l->events[i].key, sibling, &siblings) == ERR_NONE);
            db_read_end(r->db, &conn);
            *lease_us += cpu_us() - began;
            CHK(l->count > from && siblings == (int)(l->count - from));
        }
        CHK(rig_call(r, ack_fn, l) == ERR_NONE);
        arena_free(&l->a);
    }
    *ack_us = l->us;
    free(l);
}

static void
bench_queue(struct rig *r, int64_t events)
{
    double first[3] = {0};
    int64_t next = 0, waiting = 0;
    printf("%12s %22s %22s %22s\n", "waiting", "add us (ratio)", "lease us (ratio)",
           "ack us (ratio)");
    for (int64_t level = events / 100; level <= events; level *= 10) {
        int64_t us[3];
        add(r, &next, level - waiting);
        us[0] = add(r, &next, LOOKS);
        lease_and_ack(r, LOOKS, &us[1], &us[2]);
        waiting = level;
        printf("%12lld", (long long)level);
        for (int i = 0; i < 3; i++) {
            double each = (double)us[i] / LOOKS;
            if (first[i] == 0)
                first[i] = each;
            printf(" %13.1f (%5.2f)", each, each / first[i]);
        }
        putchar('\n');
        fflush(stdout);
    }
}

/* ---- a plan ---- */

static int
put_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct rig_object *o = arg;
    int err = ERR_NONE;
    for (int i = 0; i < STEP && err == ERR_NONE; i++)
        err = rig_put_fn(r, conn, &o[i]);
    return err;
}

static void
sealed(void *arg, int err)
{
    (void)arg;
    CHK(err == ERR_NONE);
}

static void
put_objects(struct rig *r, int64_t count)
{
    struct rig_object *o = chk_calloc(STEP, sizeof *o);
    char(*keys)[32] = chk_calloc(STEP, sizeof *keys);
    for (int64_t n = 0; n < count; n += STEP) {
        for (int i = 0; i < STEP; i++) {
            o[i] = (struct rig_object){.bucket = SLICE_LIT("old"),
                                       .key = key_of(n + i, keys[i]),
                                       .type = "text/plain",
                                       .etag = "0cc175b9c0f1b6a831c399e269772661"};
            CHK(store_put_begin(r->store, &o[i].put, 1) == ERR_NONE);
            CHK(store_put_write(o[i].put, "a", 1) == ERR_NONE);
            store_put_seal(o[i].put, sealed, NULL); /* small: done at once */
        }
        CHK(rig_call(r, put_fn, o) == ERR_NONE);
        for (int i = 0; i < STEP; i++)
            store_put_end(&o[i].put);
    }
    free(keys);
    free(o);
}

struct verdicts {
    const struct survey *page;
    int64_t bucket_id;
    const struct function *thumbnail;
};

/* "Not an image", as both functions say it. */
static int
verdicts_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    const struct verdicts *v = arg;
    const struct preset_list *presets = &v->thumbnail->native.presets;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    int err = ERR_NONE;
    (void)r;
    for (size_t i = 0; i < v->page->task_count && err == ERR_NONE; i++) {
        const struct survey_task *t = &v->page->tasks[i];
        struct unmade u = {.source_bucket_id = v->bucket_id,
                           .source_key = t->key,
                           .function = v->thumbnail->name,
                           .source_generation = t->generation,
                           .reason = SLICE_LIT("not an image")};
        for (size_t p = 0; p < presets->count && err == ERR_NONE; p++) {
            char hash[PRESET_HASH_TEXT];
            preset_hash(&presets->presets[p], hash);
            u.preset = slice_str(presets->presets[p].name);
            u.config_hash = slice_str(hash);
            err = unmade_apply_put(conn, &u);
        }
        u.function = SLICE_LIT("metadata");
        u.preset = u.config_hash = SLICE_NONE;
        if (err == ERR_NONE)
            err = unmade_apply_put(conn, &u);
        if (err == ERR_NONE)
            err = native_item_facts(conn, a, v->page->set, v->bucket_id, SLICE_LIT("old"), t->key,
                                    t->generation, u.function, NULL, 0, SLICE_LIT("skipped"));
    }
    arena_free(&a);
    return err;
}

static void
give_verdicts(struct rig *r, const struct survey *page)
{
    const struct store_bucket *b = NULL;
    CHK(store_bucket_get(r->store, SLICE_LIT("old"), &b) == ERR_NONE);
    struct verdicts v = {page, b->id, registry_find(page->set, FUNCTION)};
    CHK(rig_call(r, verdicts_fn, &v) == ERR_NONE);
    store_bucket_unref(&b);
}

static long
rss_kb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

/* `verdicts`: leaves each object with one, which takes much longer than the plan. */
static int64_t
plan(struct rig *r, int64_t objects, bool verdicts, int64_t *tenth_us)
{
    struct survey *page = chk_malloc(sizeof *page);
    struct survey_spec spec = {.bucket = SLICE_LIT("old"),
                               .select = SELECT_STALE | SELECT_MISSING,
                               .objects_max = SURVEY_PAGE_MAX,
                               .tasks_max = SURVEY_PAGE_MAX};
    char after[32] = "";
    int64_t us = 0, seen = 0, planned = 0;
    *tenth_us = 0;
    do {
        struct arena *a = arena_new(SURVEY_ARENA_BYTES);
        int64_t began = cpu_us();
        CHK(survey_page(pipeline_registry(r->pipeline), r->db, a, &spec, page) == ERR_NONE);
        us += cpu_us() - began;
        seen += page->seen;
        planned += (int64_t)page->task_count;
        if (seen <= objects / 10)
            *tenth_us = us;
        if (verdicts)
            give_verdicts(r, page);
        snprintf(after, sizeof after, "%.*s", SLICE_FMT(page->last));
        spec.after = slice_str(after);
        survey_fini(page);
        arena_free(&a);
    } while (page->more);
    CHK(seen == objects);
    free(page);
    return verdicts ? planned : us;
}

static void
print_plan(struct rig *r, const char *what, int64_t objects)
{
    int64_t tenth = 0;
    long before = rss_kb();
    int64_t us = plan(r, objects, false, &tenth);
    printf("  %-28s %8.2f s, %.2f us each (%.2f of the first tenth), +%.1f MB\n", what,
           (double)us / 1e6, (double)us / (double)objects,
           (double)us / (double)(tenth > 0 ? tenth * 10 : 1), (double)(rss_kb() - before) / 1024);
    fflush(stdout);
}

static void
bench_plan(struct rig *r, int64_t objects)
{
    int64_t tenth;
    CHK(rig_bucket(r, "old") == ERR_NONE);
    put_objects(r, objects);
    rig_full_bucket(r, "old");
    printf("a plan over %lld objects\n", (long long)objects);
    print_plan(r, "nothing was ever made", objects);
    CHK(plan(r, objects, true, &tenth) == objects);
    print_plan(r, "every one has its verdict", objects);
}

int
main(int argc, char **argv)
{
    struct rig *r = chk_calloc(1, sizeof *r);
    uint64_t events = 1000000, objects = 1000000;
    if (argc > 1)
        CHK(slice_to_u64(slice_str(argv[1]), &events) == ERR_NONE);
    if (argc > 2)
        CHK(slice_to_u64(slice_str(argv[2]), &objects) == ERR_NONE);
    rig_open(r, "none");
    if (objects > 0)
        bench_plan(r, (int64_t)(objects / STEP * STEP));
    if (events > 0)
        bench_queue(r, (int64_t)events);
    rig_close(r);
    free(r);
    return 0;
}
