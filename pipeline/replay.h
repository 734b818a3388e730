/*
 * Events of the log, queued again for the rules and functions of today: a batch (batch.h has its
 * states, counts and failures) whose source is not a listing but a range of the event log.
 *
 * Only what a key is now is ever made, so replaying is idempotent and an event cannot overtake a
 * later one: of the events of a key at most the last one is queued. Each event that is looked at
 * counts as one thing:
 *
 *   planned      queued
 *   superseded   its generation is no longer the key's current one
 *   unmatched    nothing to make: a removal, or no rule of today takes it
 *   waiting      it is queued already, by whomever
 *   made         what it would make is there, or has its verdict, by today's configuration (unless
 *                `force`)
 */
#ifndef DARKROOM_PIPELINE_REPLAY_H
#define DARKROOM_PIPELINE_REPLAY_H

#include "pipeline/batch.h"
#include "pipeline/event_log.h"

#define REPLAY_STEP_EVENTS 500 /* looked at in one step */
#define REPLAY_STEP_TASKS 100  /* queued by one operation */
#define REPLAY_ARENA_BYTES (1u << 20)

#define REPLAY_CLASS_LIST(X)    \
    X(PLANNED, "planned")       \
    X(SUPERSEDED, "superseded") \
    X(UNMATCHED, "unmatched")   \
    X(WAITING, "waiting")       \
    X(MADE, "made")

enum replay_class {
#define X(id, name) REPLAY_##id,
    REPLAY_CLASS_LIST(X)
#undef X
        REPLAY_CLASS_COUNT
};
const char *replay_class_name(enum replay_class c);

struct replay {
    struct event_log_filter filter; /* after, until: the whole range */
    bool force;
    int64_t counts[REPLAY_CLASS_COUNT];
};

/* Inside apply(). The batch's id in *batch_id. filter.until is cut to the newest event there is.
 * With one sentence in `why`: ERR_NOPARENT bucket, ERR_BUSY. */
int replay_apply_create(struct registry *r, struct db_conn *conn, struct replay *spec,
                        struct buf *why, int64_t *batch_id);
/* Texts in the arena. Any connection. ERR_NOTFOUND: that batch is no replay. */
int replay_get(struct db_conn *conn, int64_t batch_id, struct arena *a, struct replay *out);

/* ---- a step: read first, then one operation ---- */

struct replay_task { /* an event to queue */
    struct event_log_row row;
    uint64_t functions; /* bits in the order of the set */
};

struct replay_page {
    struct function_set *set; /* a reference */
    struct replay_task tasks[REPLAY_STEP_TASKS];
    size_t task_count;
    int64_t seen;
    int64_t counts[REPLAY_CLASS_COUNT];
    int64_t next; /* go on behind this number; 0: that was all */
};

/* Judges the next events of the range. Inside a read; texts in the arena. End with
 * replay_page_fini(), also after an error. */
int replay_page_read(struct registry *r, struct db_conn *conn, struct arena *a,
                     const struct replay *replay, struct replay_page *out);
void replay_page_fini(struct replay_page *page);
/* Inside apply(): queues the page's tasks, those that still hold, and counts. The batch's own row
 * is the caller's. */
int replay_apply_page(struct registry *r, struct db_conn *conn, int64_t batch_id,
                      const struct replay_page *page, int64_t *planned);

#endif
