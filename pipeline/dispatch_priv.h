/*
 * Inside the dispatcher: choosing what to do (dispatch.c) and one task's way (dispatch_task.c).
 *
 *            load job            worker free            answer            sealed
 *   LOADING ----------> LOADED -------------> RUNNING ---------> STORING -------> COMMITTING -->
 * freed |                  |                      |                   |                ^ |
 * superseded,     |  shutdown: freed     |  failed           |  failed        |
 *      +--unreadable------|----------------------+-------------------+----------------+
 *
 * A task is the events of one (bucket, key, generation) for different functions. Its events are
 * leased from LOADING until it is freed; if its operation fails they are simply leased again later.
 * LOADING and STORING run on the pool; everything else on the loop's thread. COMMITTING waits for
 * the writer.
 */
#ifndef DARKROOM_PIPELINE_DISPATCH_PRIV_H
#define DARKROOM_PIPELINE_DISPATCH_PRIV_H

#include "base/lock.h"
#include "objectstore/pool.h"
#include "pipeline/dispatch.h"
#include "pipeline/result.h"

#include <stdatomic.h>

enum task_state { TASK_LOADING, TASK_LOADED, TASK_RUNNING, TASK_STORING, TASK_COMMITTING };

struct task {
    struct dispatch *d;
    enum task_state state;
    struct task *prev, *next; /* d->tasks */
    struct task *inbox_next;
    bool sent;            /* COMMITTING: the operation is with the writer */
    bool by_pool;         /* in the inbox: a step on another thread has ended */
    enum queue_lane lane; /* the most urgent of its events */
    int err;              /* of the step that ended */
    struct arena *arena;
    struct function_set *set;
    const struct function *functions[FN_PER_REQUEST_MAX];
    struct result_call calls[FN_PER_REQUEST_MAX];
    size_t call_count;
    const struct store_object *object;
    bool superseded;
    bool unfit; /* the result could not be committed for what it is */
    struct invocation inv;
    struct result result;
    struct pool_job job;
    struct db_op op;
    atomic_int seals_left;
    atomic_int seal_err;
};

struct dispatch {
    uint32_t magic;
    struct dispatch_options options;
    struct registry *registry;
    struct queue *queue;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t tick;    /* 100 ms, armed by activity: counts, snapshot, batches, resubmission */
    uv_timer_t delayed; /* the earliest delayed event */
    uv_timer_t grace;   /* shutdown */
    struct runtime *runtime;
    struct pool *pool;

    struct task *tasks;
    int task_count;
    int load_max; /* tasks LOADING or LOADED, per lane and those above it */
    bool dirty;   /* events may be ready that no task has */
    bool stopping;
    bool runtime_stopping;
    int64_t paused_until_ms; /* after a failed commit */
    struct db_op wake_op;    /* makes delayed events ready */
    bool wake_sent;
    struct pool_job feed_job;
    bool feed_sent;

    struct lock lock; /* guards from here on */
    bool open;        /* `wake` may be signalled */
    bool stop_asked;
    int64_t grace_ms;
    bool committed; /* since the loop last looked */
    bool wake_done, feed_done;
    bool again; /* waking or feeding failed; the tick tries again */
    int fed;
    struct task *inbox;
    struct dispatch_state *published;
};

/* ---- dispatch_task.c: on the loop's thread ---- */

/* Starts loading. Takes the task, which is already listed. */
void task_load(struct task *t);
/* A LOADED task to an idle worker. */
void task_run(struct task *t);
/* A step on another thread has ended: the next one. */
void task_step(struct task *t);
/* Submits (again) the operation of a COMMITTING task. */
void task_submit(struct task *t);
struct task *task_new(struct dispatch *d);
/* How long an attempt at this event may take: a follow-up, which nobody waits for, must not hold a
 * worker as long as its function may. */
int task_timeout_s(const struct dispatch *d, const struct function *f, const struct queue_event *e);
void task_free(struct task *t);

/* ---- dispatch.c ---- */

/* Hands a task back to the loop. Any thread. */
void dispatch_post(struct task *t);
/* Commits fail: do not lease for a while. */
void dispatch_pause(struct dispatch *d);

#endif
