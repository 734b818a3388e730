/*
 * Queue -> runtime -> results: one thread with a loop. Leases events in memory, joins the events of
 * one object, keeps the concurrency limits, retries; makes pictures on the fly between them.
 * dispatch.c has the model.
 */
#ifndef DARKROOM_PIPELINE_DISPATCH_H
#define DARKROOM_PIPELINE_DISPATCH_H

#include "base/conf.h"
#include "pipeline/demand.h"
#include "pipeline/queue.h"
#include "pipeline/registry.h"
#include "pipeline/runtime.h"

struct dispatch;

struct dispatch_options {
    struct db *db;
    const struct conf *conf;
    const char *worker_program; /* absolute path */
};

/* Before the first dispatch_start() and before the first db_submit(): the commit hook. */
int dispatch_new(struct dispatch **out, const struct dispatch_options *options);
/* Before dispatch_start(); the registry is bound to its store by then. */
void dispatch_bind(struct dispatch *d, struct registry *registry, struct queue *queue);
int dispatch_start(struct dispatch *d);
/* The first half of dispatch_stop(): asks for it and returns. Asked again, the new grace counts
 * from then on. */
void dispatch_stop_begin(struct dispatch *d, int64_t grace_ms);
/* Nothing runs any more: dispatch_stop() has only processes to collect. */
bool dispatch_is_quiet(struct dispatch *d);
/* No new leases; waits for running invocations at most `grace_ms`, kills the rest; the queue stays.
 * Every demand has ended before it returns. */
void dispatch_stop(struct dispatch *d, int64_t grace_ms);
void dispatch_free(struct dispatch **d);

/* A picture on the fly, to be made as a task without an event: the function `thumbnail` with one
 * preset of its own. Nothing joins here and nothing bounds how many wait: the desk (demand.c) does.
 *
 * Or a trial: a function as it is configured, on one object, whose result is shown and not stored.
 */
struct dispatch_demand {
    /* the caller's, until done(): */
    struct demand_spec spec;
    void (*begun)(struct dispatch_demand *dd); /* a worker has it; on the dispatcher's thread */
    void (*done)(struct dispatch_demand *dd);  /* once, likewise; whatever begun() said */
    struct slice trial; /* n > 0: a trial of this function, of `spec` the preset does not count */
    /* Of a trial: what came of it, before done(), unless it ended with DEMAND_STALE or _ERROR
     * before a worker said anything. */
    void (*tried)(struct dispatch_demand *dd, const struct invocation *inv);
    /* the dispatcher's: */
    enum demand_end end;
    char reason[DEMAND_REASON_MAX];
    int64_t number;
    int64_t asked_ms; /* monotonic */
    struct dispatch_demand *next;
};
/* Any thread. ERR_CANCELED: not started, or stopping; then done() is never called. */
int dispatch_demand(struct dispatch *d, struct dispatch_demand *dd);

#define DISPATCH_RUNNING_MAX 256
#define DISPATCH_TEXT_MAX 128
struct dispatch_running {
    char functions[DISPATCH_TEXT_MAX]; /* "metadata+thumbnail" */
    char bucket[64];
    char key[DISPATCH_TEXT_MAX]; /* cut */
    int64_t generation;
    enum queue_lane lane;
    int64_t pid; /* of its worker */
    int64_t started_ms;
};
struct dispatch_state {
    struct queue_counts counts;
    struct runtime_view workers;
    size_t running_count;
    struct dispatch_running running[DISPATCH_RUNNING_MAX];
};
/* Any thread; a copy at most 100 ms old while running. Large: keep it off the stack. */
void dispatch_snapshot(struct dispatch *d, struct dispatch_state *out);

#endif
