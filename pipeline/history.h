/*
 * Attempts, kept for a while, and the whole story of one object for `darkroom explain`.
 */
#ifndef DARKROOM_PIPELINE_HISTORY_H
#define DARKROOM_PIPELINE_HISTORY_H

#include "pipeline/queue.h"
#include "pipeline/registry.h"

#define HISTORY_AGE_MS_MAX ((int64_t)7 * 24 * 3600 * 1000)
#define HISTORY_ROWS_MAX 1000000
#define HISTORY_TRIM_ROWS 8 /* removed at most per attempt added */

struct history_attempt {
    int64_t event_id;
    int64_t bucket_id;
    struct slice key;
    int64_t generation;
    struct slice function;
    int64_t revision;
    int64_t pid;
    int64_t queued_ms; /* when its event was; 0: there was none, or not known */
    int64_t started_ms;
    int64_t run_us;
    int64_t cpu_us;
    int64_t rss_bytes;
    struct slice outcome; /* ready, skipped, failed, error, timeout, memory, crashed, fenced ... */
    struct slice reason;
    struct slice stderr_tail; /* of the worker; UTF-8 when read */
};

/* The bytes of stderr_tail may be any; `a` is for making text of them, and may be NULL when there
 * are none. */
int history_apply_add(struct db_conn *conn, struct arena *a, const struct history_attempt *attempt);
typedef int (*history_fn)(void *arg, const struct history_attempt *attempt);
/* Newest first. */
int history_of_key(struct db_conn *conn, int64_t bucket_id, struct slice key, int max,
                   history_fn fn, void *arg);

/* What an object took of a worker's time, all passes together: the mean of those among the newest
 * attempts, and how many objects these were (0: nothing was measured). */
int history_object_us(struct db_conn *conn, int64_t *mean_us, int64_t *samples);

/* One JSON object: bucket, key, object (or null), source (of a derived object), last_served,
 * changes, rules, events waiting, attempts, dead letters, derived objects, item. ERR_NOPARENT
 * bucket. Reads by itself: not inside a read or apply(). Any thread but the writer's and HTTP-safe:
 * short reads only. */
int history_explain(struct registry *r, struct db *db, struct slice bucket, struct slice key,
                    struct buf *json);

#endif
