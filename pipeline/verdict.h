/*
 * A function's final word on one generation of an object, made visible: derived objects and their
 * provenance, item attributes, a notice. All inside apply(), after the fence has been passed.
 */
#ifndef DARKROOM_PIPELINE_VERDICT_H
#define DARKROOM_PIPELINE_VERDICT_H

#include "pipeline/result.h"

struct verdict {
    struct registry *registry;
    const struct function_set *set;
    const struct function *function;
    const struct queue_event *event;
    const struct store_object *object; /* the source, as current */
    enum fn_status status;             /* FN_OK, FN_SKIPPED, FN_FAILED */
    struct slice reason;
    const struct fn_answer *answer; /* NULL when the queue gave up */
    const struct result_output *outputs;
};

/* Does an answer hold what was asked for? ERR_INVALID with `why`: the attempt has failed. */
int verdict_check(const struct function *f, bool followup, const struct fn_answer *answer,
                  struct buf *why);
/* What it came to: FN_OK, or the worst of its parts and why, lent by `v`. */
struct verdict_outcome {
    enum fn_status status;
    struct slice reason;
};
int verdict_apply(const struct verdict *v, struct db_conn *conn, struct verdict_outcome *out);
/* The notice alone, of a verdict that is not FN_OK and could not be written. */
int verdict_apply_notice(const struct verdict *v, struct db_conn *conn);

#endif
