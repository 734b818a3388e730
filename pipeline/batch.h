/*
 * Reprocessing as a durable batch: the ObjectCreated rules of a bucket fire again for objects below
 * a prefix, those that survey.h selects. A feeder keeps at most BATCH_WAITING_MAX events waiting;
 * its cursor is a row that moves in the transaction of its events, so a restart goes on where it
 * was. Counts are source objects. Its events have "batch-ID" for a request id; those of a replay
 * that of the request which they are about.
 *
 *    create --> FEEDING --(listing ends)--> DRAINING --(last event ends)--> DONE
 *                 |  ^                        |  ^
 *           pause |  | resume           pause |  | resume
 *                 v  |                        v  |
 *                PAUSED_FEEDING            PAUSED_DRAINING
 *          any of the four --cancel--> CANCELED (waiting events are removed)
 *
 * A rate limits what is fed: not more than so many objects per second, nor more than one second's
 * worth (BATCH_RATE_WAITING at least) on its way at a time. When it is due again is in the row,
 * too.
 */
#ifndef DARKROOM_PIPELINE_BATCH_H
#define DARKROOM_PIPELINE_BATCH_H

#include "pipeline/queue.h"
#include "pipeline/survey.h"

#define BATCH_WAITING_MAX 1000
#define BATCH_STEP_OBJECTS 250 /* fed at once */
#define BATCH_RATE_MAX 100000  /* objects per second */
#define BATCH_RATE_WAITING 10
#define BATCHES_KEPT_MAX 1000
#define BATCH_FAILURES_MAX 1000 /* kept by name, per batch */

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

/* Where a batch takes what it feeds from; a number in the row, so new ones go behind. */
enum batch_source {
    BATCH_SOURCE_OBJECTS, /* current objects of a bucket, in key order */
    BATCH_SOURCE_EVENTS,  /* events of the log, in their order: replay.h has what is selected */
};

enum batch_outcome { BATCH_OUTCOME_DONE, BATCH_OUTCOME_SKIPPED, BATCH_OUTCOME_FAILED };

struct batch {
    int64_t id;
    int64_t bucket_id;
    struct slice bucket;
    struct slice prefix;
    struct slice function; /* n = 0: every function with a matching rule */
    struct slice preset;   /* n = 0: all; as in survey_spec */
    unsigned select;
    int64_t since_ms;
    int64_t rate;        /* objects per second; 0: as fast as it goes */
    int64_t due_us;      /* wall clock: not fed before; with a rate */
    int64_t expected;    /* what a plan counted beforehand; 0: nobody planned */
    struct slice cursor; /* last key, or number in the log, looked at */
    enum batch_source source;
    enum batch_state state;
    int64_t seen;    /* objects looked at, selected or not */
    int64_t planned; /* source objects queued; final once the state has left feeding */
    int64_t done, skipped, failed;
    int64_t created_ms;
    int64_t finished_ms; /* 0: not yet */
};

/* ---- inside apply() ---- */

/* May such a batch be made? Sets spec->bucket_id, and spec->function when the preset tells it. On
 * any connection. With one sentence in `why` (reset first): ERR_NOPARENT bucket; ERR_NOTFOUND: no
 * rule of this bucket goes to that function (or to any), no such preset; ERR_INVALID. */
int batch_check(struct registry *r, struct db_conn *conn, struct batch *spec, struct buf *why);
/* Sets spec->id. spec: source, bucket to since_ms, rate, expected; of EVENTS bucket (n = 0: all)
 * and prefix alone. As batch_check(), but events need no rule; ERR_BUSY: too many unfinished. */
int batch_apply_create(struct registry *r, struct db_conn *conn, struct batch *spec,
                       struct buf *why);
int batch_apply_pause(struct db_conn *conn, int64_t id); /* ERR_NOTFOUND, ERR_CONFLICT state */
int batch_apply_resume(struct db_conn *conn, int64_t id);
int batch_apply_cancel(struct db_conn *conn, int64_t id); /* removes what waits, in full */
/* An event of a batch ended: counts the object when it was its last one, and keeps the name and the
 * reason of one that failed. e->batch_id != 0. Call it after the event's row is gone. */
int batch_apply_ended(struct db_conn *conn, const struct queue_event *e, enum batch_outcome outcome,
                      struct slice reason);

/* The feeder has seen the last object. */
int batch_apply_listed(struct db_conn *conn, int64_t id);

/* ---- reading ---- */

typedef int (*batch_fn)(void *arg, const struct batch *b);               /* lent; non-zero stops */
int batch_get(struct db_conn *conn, int64_t id, batch_fn fn, void *arg); /* ERR_NOTFOUND */
/* Newest first; before_id = 0: from the newest. */
int batch_list(struct db_conn *conn, int64_t before_id, int max, batch_fn fn, void *arg);

struct batch_failure {
    struct slice name; /* the key; of a batch of all buckets BUCKET/KEY */
    struct slice bucket;
    struct slice key;
    struct slice function;
    struct slice reason;
};
typedef int (*batch_failure_fn)(void *arg,
                                const struct batch_failure *f); /* lent; non-zero stops */
/* Of the first BATCH_FAILURES_MAX objects that failed, in the order of names behind `after`. */
int batch_failures(struct db_conn *conn, int64_t id, struct slice after, int max,
                   batch_failure_fn fn, void *arg);

/* ---- feeding (the dispatcher, on a pool thread) ---- */

/* One step of the oldest FEEDING batch that is due: surveys, then submits its op and waits. *fed =
 * objects looked at; 0 when there was nothing to do. *later: ask again soon, for a batch feeds, but
 * its rate does not let it now, or what it goes by has changed under the step. Not on the writer's
 * thread nor a loop. */
int batch_feed(struct registry *r, struct db *db, int *fed, bool *later);

#endif
