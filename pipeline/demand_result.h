/*
 * A picture made on the fly becomes visible, or does not: behind the fence of the source's
 * generation, its derived object, provenance and line of history in one transaction.
 */
#ifndef DARKROOM_PIPELINE_DEMAND_RESULT_H
#define DARKROOM_PIPELINE_DEMAND_RESULT_H

#include "pipeline/demand.h"
#include "pipeline/result.h"

struct demand_result {
    struct registry *registry;
    const struct demand_spec *spec;
    int64_t revision; /* of the function, as invoked */
    /* What the invocation came to; DEMAND_STORED: there is a picture to be stored. */
    enum demand_end end;
    const char *outcome; /* for the history, unless DEMAND_STORED: "skipped", "timeout" ... */
    struct slice reason; /* likewise */
    struct result_output output; /* sealed; DEMAND_STORED alone */
    int64_t pid, started_ms, run_us, cpu_us, rss_bytes;
    struct usage_invocation usage;
    /* What became of it, set by every demand_result_apply(). */
    enum demand_end ended;
    char why[DEMAND_REASON_MAX]; /* unless DEMAND_STORED */
};

/* Is the worker's answer what was asked for, and what did it come to? Sets end, outcome, reason;
 * `*output`: the picture when DEMAND_STORED. */
void demand_result_judge(struct demand_result *r, const struct fn_answer *answer,
                         const struct fn_output **output);
/* Inside apply(). */
int demand_result_apply(struct demand_result *r, struct db_conn *conn);
/* The word for the history. */
const char *demand_result_outcome(const struct demand_result *r);
/* A reason as a C string: valid UTF-8, cut at a character's end. */
void demand_reason_copy(char out[DEMAND_REASON_MAX], struct slice reason);

#endif
