/*
 * A bounded pool of worker processes. Knows nothing of events or images: it carries one request to
 * an idle worker and brings back a checked result, or says why there is none. Everything here runs
 * on the thread of its loop; callbacks too.
 *
 *    start            HELLO             invoke              GRANT
 *   -------> STARTING -----> IDLE -----------------> ADMITTING ----> RUNNING
 *               |            |  ^                      |    |          |  |
 *               |            |  +------- RESULT -------+----|----------+  |
 *     time-out, |    recycle |                              |             |
 *  exit, closed |            v   kill, exit, closed socket, recycle       |
 *               +--------> DYING <--------------------------+-------------+
 *                            |  exit collected, handles closed
 *                            v
 *                          DOWN --(backoff)--> STARTING
 */
#ifndef DARKROOM_PIPELINE_RUNTIME_H
#define DARKROOM_PIPELINE_RUNTIME_H

#include "functions/fn.h"

#include <uv.h>

#define RUNTIME_WORKERS_MAX 256
#define RUNTIME_HELLO_MS_MAX 30000
#define RUNTIME_REASON_MAX 512
#define RUNTIME_STDERR_TAIL 2048

#define WORKER_STATE_LIST(X)  \
    X(DOWN, "down")           \
    X(STARTING, "starting")   \
    X(IDLE, "idle")           \
    X(ADMITTING, "admitting") \
    X(RUNNING, "running")     \
    X(DYING, "dying")

enum worker_state {
#define X(id, name) WORKER_##id,
    WORKER_STATE_LIST(X)
#undef X
        WORKER_STATE_COUNT
};
const char *worker_state_name(enum worker_state s);

#define INVOKE_OUTCOME_LIST(X)  \
    X(ANSWERED, "answered")     \
    X(TIMEOUT, "timeout")       \
    X(MEMORY, "memory")         \
    X(CRASHED, "crashed")       \
    X(BAD_ANSWER, "bad answer") \
    X(CANCELED, "canceled")

enum invoke_outcome {
#define X(id, name) INVOKE_##id,
    INVOKE_OUTCOME_LIST(X)
#undef X
};
const char *invoke_outcome_name(enum invoke_outcome o);

struct invocation;
/* The invocation is the caller's again. */
typedef void (*invocation_done_fn)(struct invocation *inv);

struct invocation {
    /* the caller's: */
    struct fn_request request; /* id is set by runtime_invoke() */
    int source_fd;             /* closed by runtime_invoke() */
    int64_t timeout_ms;
    int64_t memory_bytes; /* RSS limit */
    int nice;             /* of the worker meanwhile, as setpriority(2) has it, 10 to 19 */
    struct arena *arena;  /* the result's texts */
    invocation_done_fn done;
    /* the runtime's: */
    enum invoke_outcome outcome;
    char reason[RUNTIME_REASON_MAX]; /* unless ANSWERED */
    struct fn_result result;         /* ANSWERED; fn_result_close() is the caller's */
    int64_t pid;
    int64_t started_ms; /* wall clock */
    int64_t run_us;
    int64_t cpu_us; /* of the process meanwhile, measured from outside; to its end when it died */
    int64_t rss_peak_bytes;
    struct slice stderr_tail; /* what the worker wrote to it meanwhile, its end; any bytes */
};

struct runtime_options {
    uv_loop_t *loop;
    const char *program;
    const char *sandbox; /* "require" | "auto" */
    const char *formats; /* opted in, for the worker's command line; so is the next; "": none */
    const char *cmyk_profile;
    int count;
    int memory_mb; /* the largest of the functions': the process's own limit */
    int recycle_invocations;
    int64_t recycle_rss_bytes;
    int64_t hello_ms_max;        /* a worker that has not said hello by then is killed */
    int64_t memory_budget_bytes; /* of all running invocations, as they announce it */
    void (*on_idle)(void *arg);  /* a worker became free */
    void (*on_down)(void *arg);  /* a worker's process is gone */
    void *arg;
};

struct runtime;
int runtime_start(struct runtime **out, const struct runtime_options *options);
int runtime_idle_count(const struct runtime *rt);
/* Processor time of workers outside invocations (start, warm-up, tidying up, exit) since the last
 * call. With invocation.cpu_us this is all that the processes have used; what live ones use from
 * now on comes later. */
int64_t runtime_take_idle_cpu_us(struct runtime *rt);
/* ERR_BUSY when no worker is idle (nothing taken). done() is always called later, never from here.
 */
int runtime_invoke(struct runtime *rt, struct invocation *inv);
/* A larger limit replaces workers as they become free. */
void runtime_set_memory(struct runtime *rt, int memory_mb);
/* Kills what is running: done() says CANCELED. */
void runtime_cancel(struct runtime *rt);
/* Ends everything: running invocations are killed and done() says CANCELED; stopped() after the
 * last process is gone and every handle closed, then runtime_free(). */
void runtime_stop(struct runtime *rt, void (*stopped)(void *arg), void *arg);
void runtime_free(struct runtime **rt);

struct runtime_worker_view {
    int64_t pid;
    enum worker_state state;
    int64_t invocations;
    int64_t rss_bytes;
    int restarts;
};
struct runtime_view {
    int configured;
    int ready;     /* idle, admitting or running */
    int replacing; /* not ready, but nothing is wrong: one was recycled, the next has not begun */
    size_t worker_count;
    struct runtime_worker_view workers[RUNTIME_WORKERS_MAX];
    char problem[RUNTIME_REASON_MAX]; /* last reason a worker could not work; "" while all can */
    char formats[256];                /* what a worker said in its hello; "" before the first */
    char optional[256];
    char refused[1024];
    char written[256];
    char missing[256]; /* parts of the sandbox the kernel lacks */
};
void runtime_view(const struct runtime *rt, struct runtime_view *out);

#endif
