/*
 * Inside the runtime: the pool (runtime.c) and one worker's process (worker.c).
 */
#ifndef DARKROOM_PIPELINE_RUNTIME_PRIV_H
#define DARKROOM_PIPELINE_RUNTIME_PRIV_H

#include "pipeline/runtime.h"

#include <stdbool.h>

#define WORKER_BACKOFF_MS 100
#define WORKER_BACKOFF_MS_MAX 30000
#define WORKER_WATCH_MS 100

struct worker {
    struct runtime *rt;
    enum worker_state state;
    uv_process_t process;
    uv_poll_t poll;
    uv_pipe_t errors; /* its standard error */
    uv_timer_t timer; /* HELLO limit, deadline or backoff, by state; lives as long as the pool */
    int open_handles; /* of this process: process, poll, errors */
    bool has_process; /* spawned and not yet reaped */
    int memory_mb;    /* what it was started with */
    bool planned_end; /* recycled or stopping: no failure */
    bool replaces;    /* one that was recycled; until its own hello or failure */
    int sock;
    int nice; /* 0: as it set itself */
    struct invocation *inv;
    int64_t granted; /* bytes of the memory budget */
    int64_t wanted;  /* asked for and waiting */
    struct worker *next_waiting;
    enum invoke_outcome fate; /* of the invocation, once DYING */
    char fate_reason[RUNTIME_REASON_MAX];
    int64_t started_us;
    int64_t cpu_seen_us; /* of its processor time, what has been put to an account */
    int64_t invocations;
    int64_t rss_bytes;
    int failures; /* in a row, without doing any work */
    int restarts;
    char tail[RUNTIME_STDERR_TAIL];
    size_t tail_n;
};

struct runtime {
    uint32_t magic;
    struct runtime_options options;
    struct worker *workers;
    uv_timer_t watch;
    bool watching;
    struct wire_reader reader;
    int64_t idle_cpu_us; /* not yet taken */
    /* Processor time of all children collected so far, and how much of it is accounted for. Also
     * counts what was there before the first worker. */
    int64_t dead_cpu_seen_us;
    int64_t granted;
    struct worker *waiting, **waiting_tail;
    int64_t next_id;
    char problem[RUNTIME_REASON_MAX];
    char formats[256], optional[256], refused[1024], written[256];
    char missing[256];
    bool stopping;
    int timers_open; /* to be closed before stopped() */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* ---- worker.c ---- */

void worker_start(struct worker *w);
/* Ends the process; the invocation, if any, ends with it. */
void worker_kill(struct worker *w, enum invoke_outcome fate, const char *reason);
/* Replaces an idle worker, or one whose result has just been taken. */
void worker_recycle(struct worker *w);
/* Sends the request; a failure ends the worker. */
void worker_invoke(struct worker *w, struct invocation *inv);
void worker_grant(struct worker *w);
/* Resident bytes as the kernel counts them now; 0 when unknown. */
int64_t worker_rss(const struct worker *w);

/* ---- runtime.c, called by worker.c ---- */

/* Of all children that were collected, ever. */
int64_t runtime_children_cpu_us(void);

void runtime_admit(struct runtime *rt, struct worker *w, int64_t bytes);
/* Gives back what it held or waited for. */
void runtime_release(struct runtime *rt, struct worker *w);
void runtime_watch_on(struct runtime *rt);
void runtime_became_idle(struct runtime *rt);
/* A process and its handles are gone. */
void runtime_worker_down(struct runtime *rt, struct worker *w);
void runtime_problem(struct runtime *rt, const char *text);

#endif
