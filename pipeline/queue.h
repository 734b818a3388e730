/*
 * The durable event queue. An event is added in the transaction of the change that caused it and
 * leaves in the transaction of its results; between the two it may be tried any number of times.
 *
 *              add                    fail (attempts left)
 *   (nothing) -----> READY <------------------------------ DELAYED
 *                     | |  \______________________________^  |
 *                 ack | |            fail                    | fail (no attempt left, too old)
 *                     v v                                    v
 *                  (gone: results committed, superseded)   DEAD --redrive--> READY
 *
 * Leases are the dispatcher's and in memory: after a crash everything not acknowledged is READY.
 */
#ifndef DARKROOM_PIPELINE_QUEUE_H
#define DARKROOM_PIPELINE_QUEUE_H

#include "base/arena.h"
#include "base/db.h"
#include "pipeline/event.h"

enum queue_lane { LANE_LIVE, LANE_FOLLOWUP, LANE_BATCH, LANE_COUNT }; /* strict priority */

#define QUEUE_REASON_MAX 512
#define QUEUE_RETRY_DELAY_MS_MAX (15 * 60 * 1000)

struct queue_event {
    int64_t id;
    enum queue_lane lane;
    struct slice function;
    int64_t bucket_id;
    struct slice bucket;
    struct slice key;
    int64_t generation;
    enum event_type type;
    bool followup;       /* secondary formats */
    int64_t followup_of; /* a follow-up's: mark of the first pass's configuration, not 0 */
    int64_t batch_id;    /* 0: none */
    int batch_worst;     /* enum batch_outcome of siblings that ended before */
    int attempts;
    int64_t not_before_ms; /* 0: ready */
    int64_t created_ms;
    struct slice request_id;
    struct slice reason; /* of the last failure */
};

/* Strings copied. ERR_NOMEM. */
int queue_event_copy(struct arena *a, const struct queue_event *from, struct queue_event *to);
const char *queue_lane_name(enum queue_lane lane); /* "live" "followup" "batch" */

/* ---- inside apply() ---- */

/* Fills e->id and e->created_ms (when 0). */
int queue_apply_add(struct db_conn *conn, struct queue_event *e);
/* The event as it is now. ERR_NOTFOUND: acknowledged or superseded meanwhile. Strings in `a`. Also
 * on a read connection. */
int queue_get(struct db_conn *conn, int64_t id, struct arena *a, struct queue_event *out);
enum queue_end { QUEUE_ACKED, QUEUE_SUPERSEDED };
/* Removes it. ERR_NOTFOUND: gone already. Batch counters are the caller's. */
int queue_apply_ack(struct db_conn *conn, const struct queue_event *e, enum queue_end how);
struct queue_retry {
    int retries_max;
    int event_age_max_s;
    int64_t base_ms; /* doubles per attempt, full jitter */
};
/* What an event died of. */
#define DEAD_CLASS_LIST(X)      \
    X(ERROR, "error")           \
    X(TIMEOUT, "timeout")       \
    X(MEMORY, "memory")         \
    X(CRASHED, "crashed")       \
    X(BAD_ANSWER, "bad answer") \
    X(TOO_OLD, "too old") /* attempts were left, but not the time for them */

enum dead_class {
#define X(id, name) DEAD_##id,
    DEAD_CLASS_LIST(X)
#undef X
        DEAD_CLASS_COUNT
};
const char *dead_class_name(enum dead_class c);
/* ERR_NOTFOUND. A dash counts as a space. */
int dead_class_parse(struct slice name, enum dead_class *out);
/* Counts a failed attempt, of which `outcome` names the class: delayed, or dead (*dead) with the
 * reason. */
int queue_apply_fail(struct db_conn *conn, const struct queue_event *e, struct slice outcome,
                     struct slice reason, const struct queue_retry *retry, bool *dead);
/* Removes the waiting events of a key older than `generation` (0: all). fn (may be NULL) gets each
 * one first. */
int queue_apply_supersede(struct db_conn *conn, int64_t bucket_id, struct slice key,
                          int64_t generation, struct arena *a,
                          int (*fn)(void *arg, struct db_conn *conn, const struct queue_event *e),
                          void *arg);
/* Removes up to `max` waiting events of a batch (cancel). */
int queue_apply_drop_batch(struct db_conn *conn, int64_t batch_id, int max, int *dropped);
/* Makes events whose time has come ready, at most `max`. */
int queue_apply_wake(struct db_conn *conn, int64_t now_ms, int max, int *woken);

/* ---- reading: on any connection ---- */

typedef int (*queue_event_fn)(void *arg, const struct queue_event *e); /* lent; non-zero stops */
/* Ready events of one lane and function with id > `after`, in id order. */
int queue_next(struct db_conn *conn, enum queue_lane lane, struct slice function, int64_t after,
               int max, queue_event_fn fn, void *arg);
/* All events, waiting or delayed, with id > `after`, in id order. */
int queue_page(struct db_conn *conn, int64_t after, int max, queue_event_fn fn, void *arg);
/* All waiting events of a key. */
int queue_of_key(struct db_conn *conn, int64_t bucket_id, struct slice key, queue_event_fn fn,
                 void *arg);
/* Of the earliest delayed event; 0 when there is none. */
int queue_next_delayed(struct db_conn *conn, int64_t *not_before_ms);

/* ---- dead letters ---- */

#define DEAD_SCAN_MAX 5000 /* letters that one call with a filter looks at */
#define DEAD_STEP_MAX 500  /* letters that one operation changes */

struct dead_letter {
    int64_t id; /* the event's */
    int64_t dead_ms;
    enum dead_class class;
    struct queue_event event; /* event.reason: why */
};
struct dead_filter {
    int64_t after;         /* only larger ids */
    int64_t until;         /* only ids up to this; 0: any */
    struct slice function; /* n = 0: any; so are the next */
    struct slice bucket;
    struct slice prefix;
    bool has_class;
    enum dead_class class;
    int64_t dead_before_ms; /* 0: any */
};
typedef int (*dead_letter_fn)(void *arg, const struct dead_letter *d);
/* Those that match, at most `max`, oldest first. *next: go on with after = *next; 0: that was all.
 */
int queue_dead_list(struct db_conn *conn, const struct dead_filter *filter, int max,
                    dead_letter_fn fn, void *arg, int64_t *next);
int queue_dead_get(struct db_conn *conn, int64_t id, dead_letter_fn fn,
                   void *arg); /* ERR_NOTFOUND */
int queue_dead_of_key(struct db_conn *conn, int64_t bucket_id, struct slice key, dead_letter_fn fn,
                      void *arg);
/* Back into the live lane with fresh attempts, or gone. Inside apply(). ERR_NOTFOUND: no such
 * letter. */
enum dead_action { DEAD_REDRIVE, DEAD_PURGE };
int queue_apply_dead(struct db_conn *conn, int64_t id, enum dead_action action);
/* The same with those that match, at most DEAD_STEP_MAX; *next as above. Redriven ones that die
 * again have new ids: with filter.until the end comes. */
int queue_apply_dead_each(struct db_conn *conn, const struct dead_filter *filter,
                          enum dead_action action, int *count, int64_t *next);
/* The newest letter's id; 0: none. */
int queue_dead_last(struct db_conn *conn, int64_t *id);

/* ---- counts: exact, kept in the database, mirrored in memory after commits ---- */

struct queue_counts {
    int64_t waiting[LANE_COUNT]; /* ready, delayed or running */
    int64_t dead;
    int64_t added, acked, superseded, retried, died, dropped; /* ever */
};
/* Do the counts agree with the rows? Reads an index of all events: milliseconds for each 100,000 of
 * them; past QUEUE_RECOUNT_MAX it says yes unseen. On any connection. */
#define QUEUE_RECOUNT_MAX 1000000
int queue_counts_agree(struct db_conn *conn, bool *agree);
/* Sets the counts by the rows. Inside apply(). */
int queue_apply_recount(struct db_conn *conn);
struct queue;
/* Checks the counts against the rows, repairs and logs a difference. `events_max`:
 * queue.events_max. */
int queue_open(struct queue **out, struct db *db, int64_t events_max);
void queue_close(struct queue **q);
/* Reads the counts and sets the statistics. Called by the dispatcher after commits. */
int queue_refresh(struct queue *q, struct db_conn *conn);
/* Sets the statistics of the oldest ready event per lane: one seek per lane and function. */
int queue_refresh_ages(struct db_conn *conn, const struct slice *functions, size_t count);
void queue_counts_get(struct queue *q, struct queue_counts *out); /* any thread */
/* struct s3_hooks.accepting; `arg` is the struct queue. Any thread. */
bool queue_accepting(void *arg);

#endif
