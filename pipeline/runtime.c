/*
 * The pool: which workers there are, who may use how much memory, when a process is replaced.
 *
 * Memory: a worker reads its source's header and announces what the work will take. Announcements
 * are granted in the order they came while their sum stays within the budget, so none starves. What
 * could never fit does not get here: fn_request.memory_bytes_max is at most the budget.
 *
 * Replacement: at once after an invocation or a planned end; after WORKER_BACKOFF_MS, doubling,
 * when a worker ends again and again without having done any work.
 */
#include "pipeline/runtime_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/stat.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define RUNTIME_MAGIC 0x20071e7eu
#define ADMIT_BYTES_MAX (INT64_MAX / (RUNTIME_WORKERS_MAX + 1))

static const char *const state_names[] = {
#define X(id, name) name,
    WORKER_STATE_LIST(X)
#undef X
};

static const char *const outcome_names[] = {
#define X(id, name) name,
    INVOKE_OUTCOME_LIST(X)
#undef X
};

const char *
worker_state_name(enum worker_state s)
{
    CHK(s < WORKER_STATE_COUNT);
    return state_names[s];
}

const char *
invoke_outcome_name(enum invoke_outcome o)
{
    CHK(o < ARRAY_LEN(outcome_names));
    return outcome_names[o];
}

/* ---- memory ---- */

static void
grant_waiting(struct runtime *rt)
{
    while (rt->waiting != NULL) {
        struct worker *w = rt->waiting;
        int64_t room = rt->options.memory_budget_bytes - rt->granted;
        if (w->wanted > room && rt->granted > 0) /* alone, anything that was let ask may run */
            return;
        rt->waiting = w->next_waiting;
        if (rt->waiting == NULL)
            rt->waiting_tail = &rt->waiting;
        w->next_waiting = NULL;
        w->granted = w->wanted;
        w->wanted = 0;
        rt->granted += w->granted;
        STAT_SET(memory_granted_bytes, rt->granted);
        worker_grant(w);
    }
}

void
runtime_admit(struct runtime *rt, struct worker *w, int64_t bytes)
{
    /* More than any machine has is as good as the whole budget, and sums stay sane. */
    w->wanted = bytes < 1 ? 1 : bytes > ADMIT_BYTES_MAX ? ADMIT_BYTES_MAX : bytes;
    *rt->waiting_tail = w;
    rt->waiting_tail = &w->next_waiting;
    grant_waiting(rt);
}

void
runtime_release(struct runtime *rt, struct worker *w)
{
    struct worker **link = &rt->waiting;
    while (w->wanted != 0 && *link != NULL) {
        if (*link == w) {
            *link = w->next_waiting;
            if (*link == NULL)
                rt->waiting_tail = link;
            w->next_waiting = NULL;
            break;
        }
        link = &(*link)->next_waiting;
    }
    w->wanted = 0;
    rt->granted -= w->granted;
    w->granted = 0;
    STAT_SET(memory_granted_bytes, rt->granted);
    CHK(rt->granted >= 0);
    grant_waiting(rt);
}

/* ---- processor time ---- */

int64_t
runtime_children_cpu_us(void)
{
    struct rusage u;
    CHK(getrusage(RUSAGE_CHILDREN, &u) == 0);
    return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
}

int64_t
runtime_take_idle_cpu_us(struct runtime *rt)
{
    CHK_MAGIC(rt, RUNTIME_MAGIC);
    int64_t us = rt->idle_cpu_us;
    rt->idle_cpu_us = 0;
    return us;
}

/* ---- watching ---- */

static void
on_watch(uv_timer_t *timer)
{
    struct runtime *rt = timer->data;
    bool any = false;
    for (int i = 0; i < rt->options.count; i++) {
        struct worker *w = &rt->workers[i];
        char reason[128];
        if (w->inv == NULL || w->state == WORKER_DYING)
            continue;
        any = true;
        w->rss_bytes = worker_rss(w);
        if (w->rss_bytes > w->inv->rss_peak_bytes)
            w->inv->rss_peak_bytes = w->rss_bytes;
        if (w->rss_bytes <= w->inv->memory_bytes)
            continue;
        snprintf(reason, sizeof reason, "memory limit: %lld MB used of %lld MB",
                 (long long)(w->rss_bytes >> 20), (long long)(w->inv->memory_bytes >> 20));
        worker_kill(w, INVOKE_MEMORY, reason);
    }
    if (!any) {
        uv_timer_stop(timer);
        rt->watching = false;
    }
}

void
runtime_watch_on(struct runtime *rt)
{
    if (rt->watching)
        return;
    rt->watching = true;
    uv_timer_start(&rt->watch, on_watch, WORKER_WATCH_MS, WORKER_WATCH_MS);
}

/* ---- life ---- */

void
runtime_problem(struct runtime *rt, const char *text)
{
    snprintf(rt->problem, sizeof rt->problem, "%s", text);
}

void
runtime_became_idle(struct runtime *rt)
{
    if (!rt->stopping)
        rt->options.on_idle(rt->options.arg);
}

static void
on_restart(uv_timer_t *timer)
{
    struct worker *w = timer->data;
    w->restarts++;
    worker_start(w);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct runtime *rt = handle->data;
    if (--rt->timers_open == 0)
        rt->stopped(rt->stopped_arg);
}

static void
close_if_all_down(struct runtime *rt)
{
    for (int i = 0; i < rt->options.count; i++) {
        if (rt->workers[i].state != WORKER_DOWN)
            return;
    }
    if (rt->timers_open > 0)
        return; /* closing already */
    rt->timers_open = rt->options.count + 1;
    for (int i = 0; i < rt->options.count; i++) {
        rt->workers[i].timer.data = rt;
        uv_close((uv_handle_t *)&rt->workers[i].timer, on_timer_closed);
    }
    uv_close((uv_handle_t *)&rt->watch, on_timer_closed);
}

void
runtime_worker_down(struct runtime *rt, struct worker *w)
{
    int64_t delay = 0;
    if (rt->stopping) {
        close_if_all_down(rt);
        return;
    }
    rt->options.on_down(rt->options.arg);
    if (w->failures > 0) {
        delay = WORKER_BACKOFF_MS;
        for (int i = 1; i < w->failures && delay < WORKER_BACKOFF_MS_MAX; i++)
            delay *= 2;
        delay = delay > WORKER_BACKOFF_MS_MAX ? WORKER_BACKOFF_MS_MAX : delay;
    }
    uv_timer_start(&w->timer, on_restart, (uint64_t)delay, 0);
}

int
runtime_start(struct runtime **out, const struct runtime_options *options)
{
    CHK(options->count >= 1 && options->count <= RUNTIME_WORKERS_MAX);
    struct runtime *rt = chk_calloc(1, sizeof *rt);
    *rt = (struct runtime){.magic = RUNTIME_MAGIC, .options = *options};
    rt->waiting_tail = &rt->waiting;
    rt->dead_cpu_seen_us = runtime_children_cpu_us();
    STAT_SET(workers_configured, options->count);
    STAT_SET(memory_budget_bytes, options->memory_budget_bytes);
    int err = wire_reader_init(&rt->reader);
    if (err != ERR_NONE) {
        free(rt);
        return err;
    }
    rt->workers = chk_calloc((size_t)options->count, sizeof *rt->workers);
    CHK(uv_timer_init(options->loop, &rt->watch) == 0);
    rt->watch.data = rt;
    for (int i = 0; i < options->count; i++) {
        struct worker *w = &rt->workers[i];
        w->rt = rt;
        w->sock = -1;
        CHK(uv_timer_init(options->loop, &w->timer) == 0);
        w->timer.data = w;
        worker_start(w);
    }
    *out = rt;
    return ERR_NONE;
}

int
runtime_idle_count(const struct runtime *rt)
{
    int count = 0;
    CHK_MAGIC(rt, RUNTIME_MAGIC);
    for (int i = 0; i < rt->options.count; i++)
        count += rt->workers[i].state == WORKER_IDLE;
    return count;
}

int
runtime_invoke(struct runtime *rt, struct invocation *inv)
{
    CHK_MAGIC(rt, RUNTIME_MAGIC);
    if (rt->stopping)
        return ERR_BUSY;
    for (int i = 0; i < rt->options.count; i++) {
        if (rt->workers[i].state == WORKER_IDLE) {
            inv->request.id = ++rt->next_id;
            worker_invoke(&rt->workers[i], inv);
            return ERR_NONE;
        }
    }
    return ERR_BUSY;
}

void
runtime_set_memory(struct runtime *rt, int memory_mb)
{
    CHK_MAGIC(rt, RUNTIME_MAGIC);
    if (memory_mb <= rt->options.memory_mb || rt->stopping)
        return;
    rt->options.memory_mb = memory_mb;
    for (int i = 0; i < rt->options.count; i++) {
        if (rt->workers[i].state == WORKER_IDLE)
            worker_recycle(&rt->workers[i]);
    }
}

void
runtime_cancel(struct runtime *rt)
{
    CHK_MAGIC(rt, RUNTIME_MAGIC);
    for (int i = 0; i < rt->options.count; i++) {
        if (rt->workers[i].inv == NULL)
            continue;
        rt->workers[i].planned_end = true;
        worker_kill(&rt->workers[i], INVOKE_CANCELED, "the server stops");
    }
}

void
runtime_stop(struct runtime *rt, void (*stopped)(void *arg), void *arg)
{
    CHK_MAGIC(rt, RUNTIME_MAGIC);
    CHK(!rt->stopping);
    rt->stopping = true;
    rt->stopped = stopped;
    rt->stopped_arg = arg;
    uv_timer_stop(&rt->watch);
    for (int i = 0; i < rt->options.count; i++) {
        struct worker *w = &rt->workers[i];
        w->planned_end = true;
        uv_timer_stop(&w->timer);
        worker_kill(w, INVOKE_CANCELED, "the server stops");
    }
    close_if_all_down(rt);
}

void
runtime_free(struct runtime **rtp)
{
    struct runtime *rt = *rtp;
    *rtp = NULL;
    if (rt == NULL)
        return;
    CHK_MAGIC(rt, RUNTIME_MAGIC);
    wire_reader_fini(&rt->reader);
    free(rt->workers);
    rt->magic = 0;
    free(rt);
}

void
runtime_view(const struct runtime *rt, struct runtime_view *out)
{
    CHK_MAGIC(rt, RUNTIME_MAGIC);
    *out = (struct runtime_view){.configured = rt->options.count};
    for (int i = 0; i < rt->options.count; i++) {
        const struct worker *w = &rt->workers[i];
        bool ready =
            w->state == WORKER_IDLE || w->state == WORKER_ADMITTING || w->state == WORKER_RUNNING;
        out->ready += ready;
        out->replacing += !ready && w->replaces;
        out->workers[out->worker_count++] =
            (struct runtime_worker_view){.pid = w->has_process ? w->process.pid : 0,
                                         .state = w->state,
                                         .invocations = w->invocations,
                                         .rss_bytes = w->rss_bytes,
                                         .restarts = w->restarts};
    }
    if (out->ready + out->replacing < out->configured)
        snprintf(out->problem, sizeof out->problem, "%s", rt->problem);
    snprintf(out->formats, sizeof out->formats, "%s", rt->formats);
    snprintf(out->optional, sizeof out->optional, "%s", rt->optional);
    snprintf(out->refused, sizeof out->refused, "%s", rt->refused);
    snprintf(out->written, sizeof out->written, "%s", rt->written);
    snprintf(out->missing, sizeof out->missing, "%s", rt->missing);
}
