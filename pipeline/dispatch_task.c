/*
 * The steps of one task; the drawing is in dispatch_priv.h. Each step ends by handing the task to
 * the next thread; task_set() rejects moves that the drawing does not have.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "pipeline/dispatch_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TASK_ARENA_BYTES (4u << 20)
#define HINTS_MAX (4u << 10)
#define OP_BYTES 4096 /* rows that come with one operation, about */

/* What was begun for a lower lane runs on beside a live upload, but gets what that leaves. */
static const int lane_nice[LANE_COUNT] = {
    [LANE_LIVE] = 10, [LANE_FOLLOWUP] = 15, [LANE_BATCH] = 19};

void
task_set(struct task *t, enum task_state to)
{
    static const unsigned allowed[] = {
        [TASK_LOADING] = 1u << TASK_LOADED | 1u << TASK_COMMITTING,
        [TASK_LOADED] = 1u << TASK_RUNNING,
        [TASK_RUNNING] = 1u << TASK_STORING | 1u << TASK_COMMITTING,
        [TASK_STORING] = 1u << TASK_COMMITTING,
        [TASK_COMMITTING] = 0,
    };
    CHK(allowed[t->state] & 1u << to);
    t->state = to;
}

struct task *
task_new(struct dispatch *d)
{
    struct task *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->d = d;
    t->inv.source_fd = -1;
    t->arena = arena_new(TASK_ARENA_BYTES);
    if (t->arena == NULL) {
        free(t);
        return NULL;
    }
    t->next = d->tasks;
    if (t->next != NULL)
        t->next->prev = t;
    d->tasks = t;
    d->task_count++;
    return t;
}

static void
drop_outputs(struct task *t)
{
    for (size_t i = 0; i < t->call_count; i++) {
        struct result_call *call = &t->calls[i];
        bool any = call->answer != NULL && call->outputs != NULL;
        for (size_t k = 0; any && k < call->answer->output_count; k++)
            store_put_end(&call->outputs[k].put);
    }
}

void
task_free(struct task *t)
{
    struct dispatch *d = t->d;
    CHK(t->demand == NULL); /* it has ended */
    *(t->prev == NULL ? &d->tasks : &t->prev->next) = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    d->task_count--;
    drop_outputs(t);
    if (t->inv.source_fd >= 0)
        close(t->inv.source_fd);
    fn_result_close(&t->inv.result);
    store_object_unref(&t->object);
    registry_unref(&t->set);
    arena_free(&t->arena);
    free(t);
    uv_async_send(&d->wake); /* the last one may be what a shutdown waits for */
}

/* The whole task failed, each of its events alike. */
static void
task_fail(struct task *t, const char *outcome, const char *reason)
{
    struct slice kept = arena_dup(t->arena, slice_str(reason));
    for (size_t i = 0; i < t->call_count; i++) {
        t->calls[i].outcome = outcome;
        t->calls[i].reason = kept;
    }
}

/* No attempt is counted: superseded, or not the fault of anybody here. */
static void
task_uncount(struct task *t)
{
    for (size_t i = 0; i < t->call_count; i++)
        t->calls[i].uncounted = true;
}

/* ---- COMMITTING ---- */

static int
commit_apply(struct db_op *op, struct db_conn *conn)
{
    struct task *t = CONTAINER_OF(op, struct task, op);
    return result_apply(&t->result, conn);
}

static void
commit_done(struct db_op *op, int err)
{
    struct task *t = CONTAINER_OF(op, struct task, op);
    t->err = err;
    dispatch_post(t);
}

void
task_submit(struct task *t)
{
    CHK(t->state == TASK_COMMITTING && !t->sent);
    int err = db_submit(t->d->options.db, &t->op);
    t->sent = err == ERR_NONE;
    if (err == ERR_NONE || err == ERR_BUSY) /* a full queue: the tick tries again */
        return;
    struct dispatch *d = t->d;
    if (t->demand != NULL) {
        demand_not_committed(t, err);
        return;
    }
    log_line(LOG_WARN, "result_not_committed", "error=%s", err_name(err));
    dispatch_pause(d);
    task_free(t);
    d->dirty = true; /* its events are free again */
}

void
task_commit(struct task *t, db_apply_fn apply, size_t bytes)
{
    task_set(t, TASK_COMMITTING);
    t->op = (struct db_op){.apply = apply,
                           .done = commit_done,
                           .bytes = bytes,
                           .urgent = t->demand == NULL && bytes == OP_BYTES}; /* an ack alone */
    task_submit(t);
}

static void
commit(struct task *t)
{
    size_t bytes = OP_BYTES;
    for (size_t i = 0; i < t->call_count; i++) {
        const struct fn_answer *answer = t->calls[i].answer;
        for (size_t k = 0; answer != NULL && k < answer->output_count; k++)
            bytes += answer->outputs[k].bytes <= STORE_INLINE_MAX ? (size_t)answer->outputs[k].bytes
                                                                  : OP_BYTES;
    }
    t->result.registry = t->d->registry;
    t->result.retry_base_ms = conf_int(t->d->options.conf, CONF_RETRY_BASE);
    t->result.calls = t->calls;
    t->result.call_count = t->call_count;
    t->result.pid = t->inv.pid;
    t->result.started_ms = t->inv.started_ms != 0 ? t->inv.started_ms : clock_wall_ms();
    t->result.run_us = t->inv.run_us;
    t->result.cpu_us = t->inv.cpu_us;
    t->result.rss_bytes = t->inv.rss_peak_bytes;
    t->result.stderr_tail = t->inv.stderr_tail;
    report_usage(t, &t->result.usage);
    task_commit(t, commit_apply, bytes);
}

/* The storage is well and yet this result cannot be committed: that is an attempt, so that it ends
 * as a dead letter and not in an endless round. */
static void
commit_failure(struct task *t)
{
    char reason[128];
    snprintf(reason, sizeof reason, "the result cannot be committed: %s", err_text(t->err));
    drop_outputs(t);
    for (size_t i = 0; i < t->call_count; i++)
        t->calls[i].answer = NULL;
    task_fail(t, "error", reason);
    t->unfit = true;
    t->sent = false;
    task_submit(t);
}

static void
committed(struct task *t)
{
    struct dispatch *d = t->d;
    if (t->err != ERR_NONE && !err_is_storage(t->err) && !t->unfit) {
        commit_failure(t);
        return;
    }
    if (t->err != ERR_NONE) {
        log_line(LOG_WARN, "result_not_committed", "request_id=%.*s error=%s",
                 SLICE_FMT(t->calls[0].event.request_id), err_name(t->err));
        dispatch_pause(d);
    } else {
        report_committed(t);
    }
    task_free(t);
    d->dirty = true; /* its key is free, and so is its place */
}

/* ---- LOADING ---- */

static int
load_once(struct task *t)
{
    struct store *s = registry_store(t->d->registry);
    const struct queue_event *e = &t->calls[0].event;
    store_object_unref(&t->object);
    int err = store_get(s, e->bucket, e->key, &t->object);
    t->superseded = err == ERR_NOTFOUND || err == ERR_NOPARENT ||
                    (err == ERR_NONE && (t->object->generation != e->generation ||
                                         t->object->bucket_id != e->bucket_id));
    if (t->superseded)
        return ERR_NONE;
    return err == ERR_NONE ? store_source_fd(s, t->object, &t->inv.source_fd) : err;
}

/* Bytes that are gone may have been overtaken: look again. Still current and still not there means
 * that they are lost. */
static int
load_source(struct task *t)
{
    int err = load_once(t);
    if (err == ERR_STALE)
        err = load_once(t);
    return err == ERR_STALE ? ERR_CORRUPT : err;
}

static void
load_run(struct pool_job *job)
{
    struct task *t = CONTAINER_OF(job, struct task, job);
    t->err = load_source(t);
    if (t->demand != NULL && t->err == ERR_NONE && !t->superseded)
        t->at_hand = demand_at_hand(t);
    dispatch_post(t);
}

void
task_load(struct task *t)
{
    CHK(t->state == TASK_LOADING && t->call_count > 0);
    t->job.run = load_run;
    pool_submit(t->d->pool, &t->job);
}

static void
loaded(struct task *t)
{
    char reason[128];
    if (t->superseded) {
        task_uncount(t);
        commit(t);
    } else if (t->err == ERR_NOMEM || t->err == ERR_BUSY) {
        struct dispatch *d = t->d;
        log_line(LOG_WARN, "source_not_opened", "error=%s", err_name(t->err));
        dispatch_pause(d);
        task_free(t);
        d->dirty = true;
    } else if (t->err != ERR_NONE) {
        snprintf(reason, sizeof reason, "the source cannot be read: %s", err_text(t->err));
        task_fail(t, "error", reason);
        commit(t);
    } else {
        task_set(t, TASK_LOADED);
    }
}

/* ---- RUNNING ---- */

/* What users may say about a picture travels with it: "x-amz-meta-...". */
static struct slice
hints_of(struct task *t)
{
    struct buf hints;
    struct slice name, value;
    size_t at = 0;
    buf_init(&hints, HINTS_MAX);
    while (store_meta_next(t->object->meta, &at, &name, &value)) {
        if (!slice_starts(name, SLICE_LIT("x-amz-meta-")) ||
            hints.n + name.n + value.n + 2 > HINTS_MAX)
            continue;
        buf_put_slice(&hints, name);
        buf_putc(&hints, '\0');
        buf_put_slice(&hints, value);
        buf_putc(&hints, '\0');
    }
    struct slice kept = hints.n == 0 ? SLICE_NONE : arena_dup(t->arena, buf_slice(&hints));
    buf_fini(&hints);
    return kept;
}

int
task_timeout_s(const struct dispatch *d, const struct function *f, const struct queue_event *e)
{
    int most = (int)conf_int(d->options.conf, CONF_FOLLOWUP_TIMEOUT);
    return e->followup && most < f->timeout_s ? most : f->timeout_s;
}

static int
request_fill(struct task *t)
{
    struct fn_request *q = &t->inv.request;
    const struct function *limits = t->functions[0]; /* all have the same */
    for (size_t i = 0; i < t->call_count; i++) {
        const struct function *f = t->functions[i];
        struct buf config;
        buf_init(&config, FN_CONFIG_MAX);
        if (t->demand != NULL)
            demand_config(t, &config);
        else
            native_call_config(&f->native, t->calls[i].event.followup, &config);
        q->calls[i] = (struct fn_call){f->name, arena_dup(t->arena, buf_slice(&config))};
        int err = config.err != 0 ? config.err : q->calls[i].config.p == NULL ? ERR_NOMEM : 0;
        buf_fini(&config);
        if (err != ERR_NONE)
            return err;
    }
    q->call_count = t->call_count;
    q->request_id = t->calls[0].event.request_id;
    if (q->request_id.n > FN_REQUEST_ID_MAX)
        q->request_id = SLICE_NONE;
    q->source_bytes = t->object->size;
    q->source_type = t->object->content_type; /* a hint only */
    if (q->source_type.n > STORE_CONTENT_TYPE_MAX)
        q->source_type = SLICE_NONE;
    q->source_hints = hints_of(t);
    /* What could never be admitted is refused by the worker, with its reason. */
    int64_t memory = (int64_t)limits->memory_mb << 20;
    int64_t budget = conf_int(t->d->options.conf, CONF_PIXEL_MEMORY);
    q->memory_bytes_max = memory < budget ? memory : budget;
    q->deadline_ms = (int64_t)task_timeout_s(t->d, limits, &t->calls[0].event) * 1000;
    native_request_limits(t->d->options.conf, q);
    t->inv.timeout_ms = q->deadline_ms;
    t->inv.memory_bytes = memory;
    t->inv.nice = lane_nice[t->lane];
    return ERR_NONE;
}

static void
not_begun(struct task *t, int err)
{
    if (err == ERR_BUSY || err == ERR_NOMEM)
        task_uncount(t);
    else
        task_fail(t, "error", "the request could not be made");
    commit(t);
}

static void answered(struct invocation *inv);

void
task_run(struct task *t)
{
    task_set(t, TASK_RUNNING);
    t->inv.arena = t->arena;
    t->inv.done = t->demand != NULL ? demand_answered : answered;
    t->d->demand_ran = t->demand != NULL;
    int err = request_fill(t);
    if (err == ERR_NONE)
        err = runtime_invoke(t->d->runtime, &t->inv);
    if (err == ERR_NONE)
        report_begun(t);
    if (t->demand != NULL)
        demand_begun(t, err);
    else if (err != ERR_NONE)
        not_begun(t, err);
}
/* ---- STORING ---- */

static const struct fn_answer *
answer_of(const struct fn_result *result, struct slice function)
{
    for (size_t i = 0; i < result->answer_count; i++) {
        if (slice_eq(result->answers[i].name, function))
            return &result->answers[i];
    }
    return NULL;
}

static void
sealed(void *arg, int err)
{
    struct task *t = arg;
    if (err != ERR_NONE)
        atomic_store(&t->seal_err, err);
    if (atomic_fetch_sub(&t->seals_left, 1) > 1)
        return;
    t->err = atomic_load(&t->seal_err);
    dispatch_post(t);
}

/* Copies the outputs into puts. One seal is held back until all are on their way, so that the last
 * one to end is the last. */
static void
store_run(struct pool_job *job)
{
    struct task *t = CONTAINER_OF(job, struct task, job);
    struct store *s = registry_store(t->d->registry);
    int err = ERR_NONE;
    atomic_store(&t->seals_left, 1);
    atomic_store(&t->seal_err, ERR_NONE);
    for (size_t i = 0; i < t->call_count && err == ERR_NONE; i++) {
        struct result_call *call = &t->calls[i];
        size_t count = call->answer->output_count;
        if (count == 0)
            continue;
        call->outputs = arena_alloc(t->arena, count * sizeof *call->outputs);
        if (call->outputs == NULL)
            err = ERR_NOMEM;
        for (size_t k = 0; k < count && err == ERR_NONE; k++)
            err = result_output_load(s, &call->answer->outputs[k], &call->outputs[k]);
    }
    for (size_t i = 0; i < t->call_count && err == ERR_NONE; i++) {
        struct result_call *call = &t->calls[i];
        for (size_t k = 0; k < call->answer->output_count; k++) {
            if (call->outputs[k].put == NULL)
                continue;
            atomic_fetch_add(&t->seals_left, 1);
            store_put_seal(call->outputs[k].put, sealed, t);
        }
    }
    sealed(t, err);
}

void
task_store(struct task *t)
{
    task_set(t, TASK_STORING);
    t->job.run = store_run;
    pool_submit(t->d->pool, &t->job);
}

static void
answered(struct invocation *inv)
{
    struct task *t = CONTAINER_OF(inv, struct task, inv);
    struct dispatch *d = t->d;
    report_ended(t);
    if (inv->outcome == INVOKE_CANCELED) {
        task_uncount(t);
        commit(t);
    } else if (inv->outcome != INVOKE_ANSWERED) {
        task_fail(t, invoke_outcome_name(inv->outcome), inv->reason);
        commit(t);
    } else {
        for (size_t i = 0; i < t->call_count; i++) {
            t->calls[i].answer = answer_of(&inv->result, t->calls[i].event.function);
            CHK(t->calls[i].answer != NULL); /* fn_result_read() has seen to it */
        }
        task_store(t);
    }
    d->dirty = true; /* a place to load ahead, perhaps a concurrency slot */
}

/* The bytes could not be kept: not the worker's fault. */
static void
stored(struct task *t)
{
    if (t->err != ERR_NONE) {
        log_line(LOG_WARN, "result_not_stored", "error=%s", err_name(t->err));
        dispatch_pause(t->d);
        task_uncount(t);
    }
    commit(t);
}

static const struct task_road event_road = {loaded, stored, committed};

void
task_step(struct task *t)
{
    const struct task_road *road = t->demand != NULL ? &demand_road : &event_road;
    switch (t->state) {
    case TASK_LOADING:
        road->loaded(t);
        return;
    case TASK_STORING:
        road->stored(t);
        return;
    case TASK_COMMITTING:
        road->committed(t);
        return;
    case TASK_LOADED:
    case TASK_RUNNING:
        CHK(!"no other thread has a task in this state");
    }
}
