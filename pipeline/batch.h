/*
 * Reprocessing as a durable batch: the ObjectCreated rules of a bucket fire again for the objects
 * below a prefix. A feeder keeps at most BATCH_WAITING_MAX events waiting; its cursor is a row, so
 * a restart goes on where it was. Counts are source objects.
 *
 *    create --> FEEDING --(listing ends)--> DRAINING --(last event ends)--> DONE
 *                 |  ^                        |  ^
 *           pause |  | resume           pause |  | resume
 *                 v  |                        v  |
 *                PAUSED_FEEDING            PAUSED_DRAINING
 *          any of the four --cancel--> CANCELED (waiting events are removed)
 */
#ifndef DARKROOM_PIPELINE_BATCH_H
#define DARKROOM_PIPELINE_BATCH_H

#include "pipeline/queue.h"
#include "pipeline/registry.h"

#define BATCH_WAITING_MAX 1000
#define BATCH_STEP_OBJECTS 250
#define BATCHES_KEPT_MAX 1000

#define BATCH_STATE_LIST(X)      \
    X(FEEDING, "feeding")        \
    X(DRAINING, "draining")      \
    X(PAUSED_FEEDING, "paused")  \
    X(PAUSED_DRAINING, "paused") \
    X(DONE, "done")              \
    X(CANCELED, "canceled")

enum batch_state {
#define X(id, name) BATCH_##id,
    BATCH_STATE_LIST(X)
#undef X
        BATCH_STATE_COUNT
};
const char *batch_state_name(enum batch_state s);

enum batch_outcome { BATCH_OUTCOME_DONE, BATCH_OUTCOME_SKIPPED, BATCH_OUTCOME_FAILED };

struct batch {
    int64_t id;
    int64_t bucket_id;
    struct slice bucket;
    struct slice prefix;
    struct slice function; /* n = 0: every function with a matching rule */
    struct slice cursor;   /* last key planned */
    enum batch_state state;
    int64_t seen;    /* objects looked at, matching a rule or not */
    int64_t planned; /* source objects queued; final once the state has left feeding */
    int64_t done, skipped, failed;
    int64_t created_ms;
    int64_t finished_ms; /* 0: not yet */
};

/* ---- inside apply() ---- */

/* Sets spec->id. spec: bucket, prefix, function. ERR_NOPARENT bucket; ERR_NOTFOUND: no rule of this
 * bucket goes to that function (or to any). ERR_BUSY: too many unfinished. */
int batch_apply_create(struct registry *r, struct db_conn *conn, struct batch *spec);
int batch_apply_pause(struct db_conn *conn, int64_t id); /* ERR_NOTFOUND, ERR_CONFLICT state */
int batch_apply_resume(struct db_conn *conn, int64_t id);
int batch_apply_cancel(struct db_conn *conn, int64_t id); /* removes what waits, in full */
/* An event of a batch ended: counts the object when it was its last one. e->batch_id != 0. Call it
 * after the event's row is gone. */
int batch_apply_ended(struct db_conn *conn, const struct queue_event *e,
                      enum batch_outcome outcome);

/* The feeder has seen the last object. */
int batch_apply_listed(struct db_conn *conn, int64_t id);

/* ---- reading ---- */

typedef int (*batch_fn)(void *arg, const struct batch *b);               /* lent; non-zero stops */
int batch_get(struct db_conn *conn, int64_t id, batch_fn fn, void *arg); /* ERR_NOTFOUND */
/* Newest first; before_id = 0: from the newest. */
int batch_list(struct db_conn *conn, int64_t before_id, int max, batch_fn fn, void *arg);

/* ---- feeding (the dispatcher, on a pool thread) ---- */

/* One step of the oldest FEEDING batch: lists, then submits its op and waits. *fed = objects looked
 * at; 0 when there was nothing to do. Not on the writer's thread nor a loop. */
int batch_feed(struct registry *r, struct db *db, int *fed);

#endif
