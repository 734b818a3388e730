/*
 * Inside the dispatcher: what to do next (dispatch.c), which events share a task
 * (dispatch_lease.c), one task's way (dispatch_task.c), and what is different for a task that makes
 * a picture on the fly (dispatch_demand.c).
 *
 *            load job          worker free          answer           sealed
 *    LOADING ---------> LOADED ------------> RUNNING --------> STORING ------> COMMITTING --> end
 *     |   |                |                    |                 |                ^
 *     |   |                +-- shutdown: end    +-- it failed ----+-- could not ---+
 *     |   +-- superseded, or the source cannot be read ----------------------------+
 *     +-- no memory, no descriptors: end
 *
 * A task is the events of one (bucket, key, generation) for different functions. Its events are
 * leased from LOADING until its end; if its operation fails they are simply leased again later.
 * LOADING and STORING run on the pool; everything else on the loop's thread. COMMITTING waits for
 * the writer.
 *
 * A task with a `demand` has one call of `thumbnail` with no event behind it (its id is 0). It
 * takes the same steps, but what goes wrong before there is anything to commit ends it at once.
 */
#ifndef DARKROOM_PIPELINE_DISPATCH_PRIV_H
#define DARKROOM_PIPELINE_DISPATCH_PRIV_H

#include "base/lock.h"
#include "objectstore/pool.h"
#include "pipeline/demand_result.h"
#include "pipeline/dispatch.h"
#include "pipeline/result.h"

#include <stdatomic.h>

/* Of each kind, in all states: results may wait for the disk, but not pile up. */
#define TASKS_PER_WORKER_MAX 6

enum task_state { TASK_LOADING, TASK_LOADED, TASK_RUNNING, TASK_STORING, TASK_COMMITTING };

struct task;

/* What is done with a task that another thread has finished its part of, by the state it is in. */
struct task_road {
    void (*loaded)(struct task *t);
    void (*stored)(struct task *t);
    void (*committed)(struct task *t);
};

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
    struct dispatch_demand *demand; /* NULL: a task of events */
    bool at_hand;                   /* what the demand is about is stored already */
    struct demand_result demand_result;
    struct pool_job job;
    struct db_op op;
    atomic_int seals_left;
    atomic_int seal_err;
    int64_t answered_us; /* monotonic: the invocation ended */
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
    struct dispatch_demand *demands, **demands_tail; /* in no task yet, oldest first */
    int demand_count;                                /* tasks */
    int64_t demand_number;
    bool demand_ran;    /* the last task given to a worker was a demand's */
    bool demand_leased; /* the last task made for `thumbnail` was a demand's */
    int load_max;       /* tasks LOADING or LOADED, per lane and those above it */
    bool dirty;         /* events may be ready that no task has */
    bool stopping;
    bool runtime_stopping;
    int64_t paused_until_ms; /* after a failed commit */
    struct db_op wake_op;    /* makes delayed events ready */
    bool wake_sent;
    struct pool_job feed_job;
    bool feed_sent;
    int64_t idle_cpu_us; /* of workers, not yet in the account */
    int64_t idle_written_ms;

    struct lock lock; /* guards from here on */
    bool open;        /* `wake` may be signalled */
    bool stop_asked;
    bool grace_asked; /* stop_asked or a new grace_ms, that the loop has not seen yet */
    int64_t grace_ms;
    bool committed; /* since the loop last looked */
    bool wake_done, feed_done;
    bool feed_later; /* a batch feeds, but its rate makes it wait */
    bool again;      /* waking or feeding failed; the tick tries again */
    int fed;
    struct task *inbox;
    struct dispatch_demand *asked, **asked_tail; /* that the loop has not seen yet */
    struct dispatch_state *published;
};

/* ---- dispatch_task.c: on the loop's thread ---- */

/* Rejects moves that the drawing does not have. */
void task_set(struct task *t, enum task_state to);
/* Starts loading. Takes the task, which is already listed. */
void task_load(struct task *t);
/* A LOADED task to an idle worker. */
void task_run(struct task *t);
/* A step on another thread has ended: the next one. */
void task_step(struct task *t);
/* An answered task to the pool, which copies its outputs into the store. */
void task_store(struct task *t);
/* To the writer, with `apply`, which adds about `bytes`. */
void task_commit(struct task *t, db_apply_fn apply, size_t bytes);
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

/* ---- dispatch_lease.c: on the loop's thread ---- */

/* May there be events that could become tasks now, and is there room for one? */
bool lease_room(const struct dispatch *d);
/* Makes tasks of them. `d->dirty` says whether there may be more. */
int lease_events(struct dispatch *d, struct db_conn *conn, struct function_set *set);
/* Has one of its events failed before? Then it may hold its worker until the deadline once more. */
bool lease_is_retry(const struct task *t);
/* Has the function its reserved concurrency in tasks that have no result yet? */
bool dispatch_at_limit(const struct dispatch *d, const struct function *f);

/* ---- dispatch_report.c: on the loop's thread ---- */

/* The invocation begins; has ended, whatever its outcome; what came of it is durable. */
void report_begun(const struct task *t);
void report_ended(struct task *t);
void report_committed(const struct task *t);
/* What the invocation used, for the account; its result stays the task's. */
void report_usage(const struct task *t, struct usage_invocation *out);
/* Writes what workers used outside invocations to the account; not more than once a second unless
 * `now`. True while something is left to be written. */
bool report_idle(struct dispatch *d, bool now);

/* ---- dispatch_demand.c: on the loop's thread ---- */

/* New ones, as they came. */
void demand_take(struct dispatch *d, struct dispatch_demand *list);
/* Is there one that could become a task now, its function's limit apart? */
bool demand_room(const struct dispatch *d);
/* Makes tasks of them. */
void demand_lease(struct dispatch *d, struct function_set *set);
/* Ends those that no worker has taken in time. */
void demand_expire(struct dispatch *d);
/* Shutdown: those that no worker has end now. */
void demand_drop(struct dispatch *d);
/* Paused: likewise. */
void demand_refuse(struct dispatch *d);
/* The config of a demand's call. */
void demand_config(const struct task *t, struct buf *out);
/* The invocation has begun, or could not be. */
void demand_begun(struct task *t, int err);
/* What event_road and the runtime's answer are for tasks of events. */
extern const struct task_road demand_road;
void demand_answered(struct invocation *inv);
/* The operation was refused. */
void demand_not_committed(struct task *t, int err);
/* On a pool thread, after the source was opened: is the picture there already? */
bool demand_at_hand(struct task *t);

#endif
