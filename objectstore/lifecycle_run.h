/*
 * The server's upkeep: a thread that carries out the buckets' lifecycle rules and removes what
 * nobody refers to any more. The rules themselves: objectstore/lifecycle.h.
 */
#ifndef DARKROOM_OBJECTSTORE_LIFECYCLE_RUN_H
#define DARKROOM_OBJECTSTORE_LIFECYCLE_RUN_H

#include "objectstore/store.h"

struct lifecycle_tally {
    int64_t removed; /* objects, versions and delete markers */
    int64_t markers; /* delete markers made */
    int64_t aborted; /* uploads */
};

/* One pass over all buckets that have rules, by the calling thread (any but the writer's; readers
 * needed). `day_ms`: the length of a day. `rest` is called between two batches of the pass; false
 * ends it with ERR_CANCELED; NULL: never rests. What was done before an error stays done. */
typedef bool (*lifecycle_rest_fn)(void *arg);
int lifecycle_run_pass(struct store *s, int64_t day_ms, lifecycle_rest_fn rest, void *arg,
                       struct lifecycle_tally *tally);

struct lifecycle_runner;

struct lifecycle_run_options {
    struct store *store;
    int64_t interval_ms; /* between the end of a pass and the next; the first comes sooner */
    int64_t day_ms;
};

struct lifecycle_runner *lifecycle_run_start(const struct lifecycle_run_options *options);
/* Ends the pass under way after its present batch. NULL is allowed. */
void lifecycle_run_stop(struct lifecycle_runner **r);

#endif
