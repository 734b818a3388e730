/*
 * One thread, one loop. It sleeps until a commit, a worker, the pool or a timer wakes it, then
 * pumps:
 *
 *   1. LOADED tasks go to idle workers, most urgent lane first, then oldest; retries never to all
 *      workers while a live event waits for its first attempt
 *   2. while there is room to load ahead, new tasks are made: of ready events, lane by lane
 *      (dispatch_lease.c), and of demands, pictures on the fly that requests wait for
 *      (dispatch_demand.c). Demands have room of their own. Their lane is the live one; they and
 *      live events take turns, at the workers and at the places of a function.
 *
 * Threads: the loop's thread owns everything but what `lock` guards. The writer calls on_commit()
 * and done()s, the pool runs jobs; they hand back through the inbox and uv_async_send().
 *
 * Shutdown: no new leases, LOADED tasks are dropped (their events stay), running ones may finish
 * until the grace ends, then workers are killed; the loop ends when no task, job or process is
 * left.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "pipeline/batch.h"
#include "pipeline/dispatch_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DISPATCH_MAGIC 0xd15a7c40u
#define TICK_MS 100
#define PAUSE_MS 1000
#define POOL_THREADS_MAX 4
#define WAKE_EVENTS 1000

/* ---- the inbox ---- */

void
dispatch_post(struct task *t)
{
    struct dispatch *d = t->d;
    lock_take(&d->lock);
    t->inbox_next = d->inbox;
    d->inbox = t;
    uv_async_send(&d->wake);
    lock_release(&d->lock);
}

static void
on_commit(void *arg)
{
    struct dispatch *d = arg;
    lock_take(&d->lock);
    d->committed = true;
    if (d->open)
        uv_async_send(&d->wake);
    lock_release(&d->lock);
}

void
dispatch_pause(struct dispatch *d)
{
    d->paused_until_ms = clock_mono_ms() + PAUSE_MS;
}

/* ---- 1. tasks to workers ---- */

/* Of one kind: tasks of events, or demands. */
static bool
before(const struct task *a, const struct task *b)
{
    if (a->lane != b->lane)
        return a->lane < b->lane;
    if (a->demand != NULL)
        return a->demand->number < b->demand->number;
    return a->calls[0].event.id < b->calls[0].event.id;
}

/* Demands have the live lane. In it they and events take turns, and while a live event waits one
 * worker stays out of their reach, if there are more: so neither starves the other, nor does a rush
 * of slow ones hold up every upload. Likewise demands and retries together, while a live event
 * waits for its first attempt: pictures that time out again and again delay others once. */
static struct task *
next_to_run(const struct dispatch *d)
{
    struct task *first = NULL, *retry = NULL, *demand = NULL;
    int workers = d->load_max - 1;
    int demands_running = 0, retries_running = 0;
    bool live_waits = false, first_waits = false;
    for (struct task *t = d->tasks; t != NULL; t = t->next) {
        struct task **best = t->demand != NULL ? &demand : lease_is_retry(t) ? &retry : &first;
        bool waits = t->demand == NULL && t->lane == LANE_LIVE && t->state <= TASK_LOADED;
        demands_running += best == &demand && t->state == TASK_RUNNING;
        retries_running += best == &retry && t->state == TASK_RUNNING;
        live_waits = live_waits || waits;
        first_waits = first_waits || (waits && best == &first);
        if (t->state == TASK_LOADED && (*best == NULL || before(t, *best)))
            *best = t;
    }
    bool spare_first =
        workers > 1 && first_waits && demands_running + retries_running >= workers - 1;
    if (spare_first || (workers > 1 && live_waits && demands_running >= workers - 1))
        demand = NULL;
    if (spare_first)
        retry = NULL;
    struct task *event = first == NULL || (retry != NULL && before(retry, first)) ? retry : first;
    if (event == NULL || demand == NULL)
        return event == NULL ? demand : event;
    return event->lane == LANE_LIVE && d->demand_ran ? event : demand;
}

static void
run_loaded(struct dispatch *d)
{
    struct task *t;
    while (runtime_idle_count(d->runtime) > 0 && (t = next_to_run(d)) != NULL)
        task_run(t);
}

/* ---- delayed events ---- */

static int
wake_apply(struct db_op *op, struct db_conn *conn)
{
    int woken;
    (void)op;
    return queue_apply_wake(conn, clock_wall_ms(), WAKE_EVENTS, &woken);
}

static void
wake_done(struct db_op *op, int err)
{
    struct dispatch *d = CONTAINER_OF(op, struct dispatch, wake_op);
    lock_take(&d->lock);
    d->wake_done = true;
    d->again = d->again || err != ERR_NONE;
    uv_async_send(&d->wake);
    lock_release(&d->lock);
}

static void
on_delayed(uv_timer_t *timer)
{
    struct dispatch *d = timer->data;
    if (d->wake_sent || d->stopping)
        return;
    d->wake_op = (struct db_op){.apply = wake_apply, .done = wake_done, .urgent = true};
    d->wake_sent = db_submit(d->options.db, &d->wake_op) == ERR_NONE;
    if (!d->wake_sent)
        uv_timer_start(&d->delayed, on_delayed, PAUSE_MS, 0);
}

/* Sets the timer to the earliest delayed event. */
static int
arm_delayed(struct dispatch *d, struct db_conn *conn)
{
    int64_t at = 0;
    int err = queue_next_delayed(conn, &at);
    if (err != ERR_NONE || at == 0 || d->wake_sent)
        return err;
    int64_t wait = at - clock_wall_ms();
    uv_timer_start(&d->delayed, on_delayed, wait > 0 ? (uint64_t)wait : 0, 0);
    return ERR_NONE;
}

/* ---- 2. events and demands to tasks ---- */

static int
memory_max(const struct function_set *set)
{
    int memory_mb = FUNCTION_MEMORY_MB_MIN;
    for (size_t i = 0; i < set->count; i++) {
        if (set->functions[i].memory_mb > memory_mb)
            memory_mb = set->functions[i].memory_mb;
    }
    return memory_mb;
}

/* The places of a function with reserved concurrency go to events and demands in turn. */
static int
lease_all(struct dispatch *d, struct db_conn *conn)
{
    struct function_set *set = NULL;
    bool demands_first = !d->demand_leased;
    int err = registry_get(d->registry, conn, &set);
    if (err != ERR_NONE)
        return err;
    runtime_set_memory(d->runtime, memory_max(set));
    if (demands_first)
        demand_lease(d, set);
    if (lease_room(d))
        err = lease_events(d, conn, set);
    if (!demands_first)
        demand_lease(d, set);
    registry_unref(&set);
    return err;
}

static void
pump(struct dispatch *d)
{
    struct db_conn *conn = NULL;
    if (d->stopping)
        return;
    bool paused = clock_mono_ms() < d->paused_until_ms;
    if (paused)
        demand_refuse(d);
    run_loaded(d);
    if (paused || (!lease_room(d) && !demand_room(d)))
        return;
    int err = db_read_begin(d->options.db, &conn);
    if (err == ERR_NONE) {
        err = lease_all(d, conn);
        if (err == ERR_NONE)
            err = arm_delayed(d, conn);
        db_read_end(d->options.db, &conn);
    }
    if (err != ERR_NONE) {
        d->dirty = true;
        log_line(LOG_WARN, "dispatch_read_failed", "error=%s", err_name(err));
        dispatch_pause(d);
    }
}

/* ---- batches ---- */

static void
feed_run(struct pool_job *job)
{
    struct dispatch *d = CONTAINER_OF(job, struct dispatch, feed_job);
    int fed = 0;
    bool later = false;
    int err = batch_feed(d->registry, d->options.db, &fed, &later);
    if (err != ERR_NONE)
        log_line(LOG_WARN, "batch_feed_failed", "error=%s", err_name(err));
    lock_take(&d->lock);
    d->feed_done = true;
    d->again = d->again || err != ERR_NONE;
    d->fed = err == ERR_NONE ? fed : 0;
    d->feed_later = later;
    uv_async_send(&d->wake);
    lock_release(&d->lock);
}

static void
feed(struct dispatch *d)
{
    struct queue_counts counts;
    if (d->feed_sent || d->stopping)
        return;
    queue_counts_get(d->queue, &counts);
    if (counts.waiting[LANE_BATCH] >= BATCH_WAITING_MAX / 2)
        return;
    d->feed_sent = true;
    d->feed_job.run = feed_run;
    pool_submit(d->pool, &d->feed_job);
}

/* ---- the tick ---- */

static void
describe(const struct task *t, struct dispatch_running *out)
{
    size_t n = 0;
    *out = (struct dispatch_running){.generation = t->calls[0].event.generation,
                                     .lane = t->lane,
                                     .pid = t->inv.pid,
                                     .started_ms = t->inv.started_ms};
    for (size_t i = 0; i < t->call_count && n < sizeof out->functions; i++)
        n += (size_t)snprintf(out->functions + n, sizeof out->functions - n, "%s%.*s",
                              i == 0 ? "" : "+", SLICE_FMT(t->calls[i].event.function));
    snprintf(out->bucket, sizeof out->bucket, "%.*s", SLICE_FMT(t->calls[0].event.bucket));
    snprintf(out->key, sizeof out->key, "%.*s", SLICE_FMT(t->calls[0].event.key));
}

static void
publish(struct dispatch *d)
{
    lock_take(&d->lock);
    struct dispatch_state *s = d->published;
    if (!d->runtime_stopping)
        runtime_view(d->runtime, &s->workers);
    s->running_count = 0;
    for (const struct task *t = d->tasks; t != NULL; t = t->next) {
        if (t->state == TASK_RUNNING && s->running_count < DISPATCH_RUNNING_MAX)
            describe(t, &s->running[s->running_count++]);
    }
    lock_release(&d->lock);
}

static int
refresh_ages(struct dispatch *d, struct db_conn *conn)
{
    struct function_set *set = NULL;
    struct slice names[FUNCTIONS_MAX];
    size_t count = 0;
    int err = registry_get(d->registry, conn, &set);
    for (; err == ERR_NONE && count < set->count && count < ARRAY_LEN(names); count++)
        names[count] = set->functions[count].name;
    if (err == ERR_NONE)
        err = queue_refresh_ages(conn, names, count);
    registry_unref(&set);
    return err;
}

static void
refresh(struct dispatch *d)
{
    struct db_conn *conn = NULL;
    if (db_read_begin(d->options.db, &conn) != ERR_NONE)
        return;
    queue_refresh(d->queue, conn);
    refresh_ages(d, conn);
    if (!d->stopping)
        arm_delayed(d, conn);
    db_read_end(d->options.db, &conn);
}

/* Only this thread writes what is published, so it may read it without the lock. */
static bool
workers_missing(const struct dispatch *d)
{
    return d->published->workers.ready < d->published->workers.configured;
}

static void
on_tick(uv_timer_t *timer)
{
    struct dispatch *d = timer->data;
    for (struct task *t = d->tasks, *next; t != NULL; t = next) {
        next = t->next;
        if (t->state == TASK_COMMITTING && !t->sent)
            task_submit(t);
    }
    lock_take(&d->lock);
    /* An operation failed, or a rate makes a batch wait: keep looking. */
    bool again = d->again || d->feed_later;
    d->again = false;
    lock_release(&d->lock);
    refresh(d);
    publish(d);
    feed(d);
    pump(d);
    demand_expire(d);
    bool waiting = report_idle(d, false) || d->dirty || d->demands != NULL || workers_missing(d);
    if (again || d->task_count > 0 || (!d->stopping && waiting))
        uv_timer_start(timer, on_tick, TICK_MS, 0);
}

static void
arm_tick(struct dispatch *d)
{
    if (!uv_is_active((uv_handle_t *)&d->tick) && !d->runtime_stopping)
        uv_timer_start(&d->tick, on_tick, TICK_MS, 0);
}

/* ---- waking ---- */

static void
on_closed_runtime(void *arg)
{
    struct dispatch *d = arg;
    report_idle(d, true);
    runtime_free(&d->runtime);
    uv_close((uv_handle_t *)&d->wake, NULL);
    uv_close((uv_handle_t *)&d->tick, NULL);
    uv_close((uv_handle_t *)&d->delayed, NULL);
    uv_close((uv_handle_t *)&d->grace, NULL);
}

/* When nothing is on its way any more, the workers go, then the loop ends. */
static void
end_if_quiet(struct dispatch *d)
{
    if (!d->stopping || d->runtime_stopping || d->task_count > 0 || d->wake_sent || d->feed_sent)
        return;
    lock_take(&d->lock);
    d->open = false;
    d->runtime_stopping = true;
    lock_release(&d->lock);
    uv_timer_stop(&d->grace);
    uv_timer_stop(&d->tick);
    runtime_stop(d->runtime, on_closed_runtime, d);
}

static void
on_grace(uv_timer_t *timer)
{
    struct dispatch *d = timer->data;
    log_line(LOG_WARN, "shutdown_kills_workers", "tasks=%d", d->task_count);
    runtime_cancel(d->runtime);
}

/* Loaded, and never to be run: the events stay. */
static void
drop_loaded(struct dispatch *d)
{
    for (struct task *t = d->tasks, *next; t != NULL; t = next) {
        next = t->next;
        if (t->state == TASK_LOADED && t->demand == NULL)
            task_free(t);
    }
    demand_drop(d);
}

/* Also once more, with another grace. */
static void
stop_begin(struct dispatch *d, int64_t grace_ms)
{
    d->stopping = true;
    uv_timer_stop(&d->delayed);
    uv_timer_start(&d->grace, on_grace, (uint64_t)(grace_ms > 0 ? grace_ms : 0), 0);
}

static void
on_wake(uv_async_t *async)
{
    struct dispatch *d = async->data;
    lock_take(&d->lock);
    struct task *inbox = d->inbox;
    struct dispatch_demand *asked = d->asked;
    bool stop = d->grace_asked;
    bool fed = d->feed_done && d->fed > 0;
    int64_t grace_ms = d->grace_ms;
    bool news = d->committed || inbox != NULL || asked != NULL || fed || stop || d->again ||
                d->feed_later; /* told after the tick that asked, perhaps the last one */
    d->dirty = d->dirty || d->committed;
    d->inbox = NULL;
    d->asked = NULL;
    d->asked_tail = &d->asked;
    d->feed_sent = d->feed_sent && !d->feed_done;
    d->wake_sent = d->wake_sent && !d->wake_done;
    d->committed = d->feed_done = d->wake_done = d->grace_asked = false;
    lock_release(&d->lock);

    while (inbox != NULL) {
        struct task *t = inbox;
        inbox = t->inbox_next;
        task_step(t);
    }
    demand_take(d, asked);
    if (stop)
        stop_begin(d, grace_ms);
    if (d->stopping)
        drop_loaded(d);
    if (fed)
        feed(d);
    pump(d);
    if (news)
        arm_tick(d);
    end_if_quiet(d);
}

static void
on_idle(void *arg)
{
    struct dispatch *d = arg;
    pump(d);
    arm_tick(d);
}

/* Health must tell it, also when nothing else happens. */
static void
on_down(void *arg)
{
    arm_tick(arg);
}

/* ---- life ---- */

int
dispatch_new(struct dispatch **out, const struct dispatch_options *options)
{
    struct dispatch *d = chk_calloc(1, sizeof *d);
    *d = (struct dispatch){.magic = DISPATCH_MAGIC, .options = *options};
    d->published = chk_calloc(1, sizeof *d->published);
    d->demands_tail = &d->demands;
    d->asked_tail = &d->asked;
    lock_init(&d->lock, LOCK_RANK_DISPATCH);
    db_on_commit(options->db, on_commit, d);
    *out = d;
    return ERR_NONE;
}

void
dispatch_bind(struct dispatch *d, struct registry *registry, struct queue *queue)
{
    CHK_MAGIC(d, DISPATCH_MAGIC);
    d->registry = registry;
    d->queue = queue;
}

static void
pool_leave(void *arg)
{
    store_thread_end(arg);
}

static int
memory_of_functions(struct dispatch *d)
{
    struct db_conn *conn = NULL;
    struct function_set *set = NULL;
    int memory_mb = FUNCTION_MEMORY_MB_MIN;
    if (db_read_begin(d->options.db, &conn) != ERR_NONE)
        return memory_mb;
    if (registry_get(d->registry, conn, &set) == ERR_NONE)
        memory_mb = memory_max(set);
    registry_unref(&set);
    db_read_end(d->options.db, &conn);
    return memory_mb;
}

/* Workers die with the thread that started them, so they are started here. */
static void *
thread_main(void *arg)
{
    struct dispatch *d = arg;
    const struct conf *c = d->options.conf;
    pthread_setname_np(pthread_self(), "dispatch");
    struct runtime_options options = {
        .loop = &d->loop,
        .program = d->options.worker_program,
        .sandbox = conf_str(c, CONF_SANDBOX),
        .formats = conf_str(c, CONF_FORMATS),
        .cmyk_profile = conf_str(c, CONF_CMYK_PROFILE),
        .count = d->load_max - 1,
        .memory_mb = memory_of_functions(d),
        .recycle_invocations = (int)conf_int(c, CONF_WORKER_INVOCATIONS),
        .recycle_rss_bytes = conf_int(c, CONF_WORKER_RSS),
        .hello_ms_max = RUNTIME_HELLO_MS_MAX,
        .memory_budget_bytes = conf_int(c, CONF_PIXEL_MEMORY),
        .on_idle = on_idle,
        .on_down = on_down,
        .arg = d,
    };
    CHK(runtime_start(&d->runtime, &options) == ERR_NONE);
    publish(d);
    arm_tick(d);
    uv_async_send(&d->wake);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    db_thread_end(d->options.db);
    return NULL;
}

int
dispatch_start(struct dispatch *d)
{
    CHK_MAGIC(d, DISPATCH_MAGIC);
    int count = (int)conf_int(d->options.conf, CONF_WORKERS);
    if (count == 0)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    count = count < 1 ? 1 : count > RUNTIME_WORKERS_MAX ? RUNTIME_WORKERS_MAX : count;
    d->load_max = count + 1; /* one ahead, so that a free worker never waits for the disk */
    d->dirty = true;
    d->stopping = d->runtime_stopping = false;
    d->published->workers.configured = count;
    d->pool = pool_new(count < POOL_THREADS_MAX ? count + 1 : POOL_THREADS_MAX, pool_leave,
                       registry_store(d->registry));
    CHK(uv_loop_init(&d->loop) == 0);
    CHK(uv_async_init(&d->loop, &d->wake, on_wake) == 0);
    CHK(uv_timer_init(&d->loop, &d->tick) == 0);
    CHK(uv_timer_init(&d->loop, &d->delayed) == 0);
    CHK(uv_timer_init(&d->loop, &d->grace) == 0);
    d->wake.data = d->tick.data = d->delayed.data = d->grace.data = d;
    lock_take(&d->lock); /* others look already */
    d->open = true;
    d->stop_asked = d->grace_asked = false;
    lock_release(&d->lock);
    CHK(pthread_create(&d->thread, NULL, thread_main, d) == 0);
    return ERR_NONE;
}

void
dispatch_stop_begin(struct dispatch *d, int64_t grace_ms)
{
    CHK_MAGIC(d, DISPATCH_MAGIC);
    lock_take(&d->lock);
    d->stop_asked = true;
    d->grace_asked = true;
    d->grace_ms = grace_ms;
    if (d->open)
        uv_async_send(&d->wake);
    lock_release(&d->lock);
}

bool
dispatch_is_quiet(struct dispatch *d)
{
    CHK_MAGIC(d, DISPATCH_MAGIC);
    lock_take(&d->lock);
    bool quiet = !d->open;
    lock_release(&d->lock);
    return quiet;
}

void
dispatch_stop(struct dispatch *d, int64_t grace_ms)
{
    CHK_MAGIC(d, DISPATCH_MAGIC);
    if (d->pool == NULL)
        return;
    dispatch_stop_begin(d, grace_ms);
    CHK(pthread_join(d->thread, NULL) == 0);
    CHK(uv_loop_close(&d->loop) == 0);
    pool_free(&d->pool);
}

void
dispatch_free(struct dispatch **dp)
{
    struct dispatch *d = *dp;
    *dp = NULL;
    if (d == NULL)
        return;
    CHK_MAGIC(d, DISPATCH_MAGIC);
    CHK(d->pool == NULL && d->task_count == 0 && d->demands == NULL && d->asked == NULL);
    lock_fini(&d->lock);
    free(d->published);
    d->magic = 0;
    free(d);
}

void
dispatch_snapshot(struct dispatch *d, struct dispatch_state *out)
{
    CHK_MAGIC(d, DISPATCH_MAGIC);
    lock_take(&d->lock);
    *out = *d->published;
    lock_release(&d->lock);
    queue_counts_get(d->queue, &out->counts);
}
