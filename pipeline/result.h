/*
 * A worker's answer becomes visible, or does not: checking and committing results in one
 * transaction, behind the fence of generation and revision.
 */
#ifndef DARKROOM_PIPELINE_RESULT_H
#define DARKROOM_PIPELINE_RESULT_H

#include "functions/fn.h"
#include "pipeline/history.h"
#include "pipeline/queue.h"
#include "pipeline/registry.h"
#include "pipeline/usage.h"

struct result_output { /* one output's bytes on their way into the store */
    const struct fn_output *output;
    struct store_put *put; /* sealed; NULL unless the output is FN_OK */
    char etag[STORE_ETAG_MAX];
};

struct result_call { /* one event and what came of it */
    struct queue_event event;
    int64_t revision;               /* of the function, as invoked */
    const struct fn_answer *answer; /* NULL: the invocation failed as a whole */
    struct result_output *outputs;  /* one per answer->outputs */
    const char *outcome;            /* of a failed invocation: "timeout" ... */
    struct slice reason;
    bool uncounted; /* canceled: no attempt is counted */
    /* Set by every result_apply(): the word in the history, or NULL without a line there; and the
     * class of its reason. */
    const char *ended;
    const char *reason_class;
};

struct result {
    struct registry *registry;
    int64_t retry_base_ms;
    struct result_call *calls;
    size_t call_count;
    int64_t pid, started_ms, run_us, cpu_us, rss_bytes;
    struct slice stderr_tail;      /* any bytes */
    struct usage_invocation usage; /* unless pid is 0: it never ran */
};

/* Reads an output's memfd into a sealed-ready put (write only; sealing is the caller's). On a pool
 * thread. */
int result_output_load(struct store *s, const struct fn_output *o, struct result_output *out);
/* Inside apply(). What it does with each call: superseded, fenced, retried, dead, or committed with
 * its verdict. May be called again after a rollback. */
int result_apply(const struct result *r, struct db_conn *conn);

#endif
