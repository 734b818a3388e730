/*
 * What happened to objects, kept for a while: one row for every change of a key's current version
 * that a client or a lifecycle rule made, in any bucket, written in the change's own transaction.
 * So the log and the objects agree at every commit, whatever rules there are. What functions write
 * is not logged: it follows from this.
 *
 * A row's number is the generation that the change gave its key: it rises, is never reused, and is
 * the sequencer of the change's S3 event.
 */
#ifndef DARKROOM_PIPELINE_EVENT_LOG_H
#define DARKROOM_PIPELINE_EVENT_LOG_H

#include "base/db.h"
#include "pipeline/event.h"

#define EVENT_LOG_SCAN_MAX 5000 /* rows that one call of event_log_list() looks at */
#define EVENT_LOG_TRIM_EVERY 16 /* each that many changes ... */
#define EVENT_LOG_TRIM_ROWS 64  /* ... that many old rows go at most */

struct event_log_row {
    int64_t seq;
    int64_t old_seq; /* generation of the version that was current before; 0: none was */
    int64_t time_ms;
    enum event_type type;
    int64_t bucket_id;
    struct slice bucket;
    struct slice key;
    struct slice version_id; /* "null" without versioning */
    int64_t size;            /* this and the ETag: of what is current now; 0, "" when removed */
    struct slice etag;
    struct slice request_id;
    struct slice access_key_id; /* n = 0: not signed, or no client; event_log_who() */
    struct slice account_id;
    struct slice source_ip;
};
/* Access key id, "lifecycle", "anonymous", or "server" when no request was behind it. */
struct slice event_log_who(const struct event_log_row *row);

struct event_log;

/* Rows older than `age_ms_max`, or more than `rows_max`, go a few with each new one. */
int event_log_open(struct event_log **out, struct db *db, int64_t age_ms_max, int64_t rows_max);
void event_log_close(struct event_log **log);

/* Inside apply(). For changes with store_change_is_current() that no function made. */
int event_log_apply_add(struct event_log *log, struct db_conn *conn, const struct store_change *c);

/* ---- reading: on any connection; strings lent for the call of fn ---- */

typedef int (*event_log_fn)(void *arg, const struct event_log_row *row); /* non-zero stops */

struct event_log_filter {
    int64_t after; /* only later numbers */
    int64_t until; /* only numbers up to this */
    int64_t since_ms, until_ms;
    struct slice bucket; /* n = 0: all */
    struct slice prefix;
};
/* In order, at most `max` of those that match among the next EVENT_LOG_SCAN_MAX rows. *next: go on
 * with after = *next; 0: that was all. */
int event_log_list(struct db_conn *conn, const struct event_log_filter *filter, int max,
                   event_log_fn fn, void *arg, int64_t *next);
/* The newest and the oldest number; 0 when the log is empty. */
int event_log_ends(struct db_conn *conn, int64_t *oldest, int64_t *newest);
/* The story of a key, newest change first, as far back as the log goes. `generation`: of its
 * current version; 0: it has none. */
int event_log_of_key(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t generation,
                     int max, event_log_fn fn, void *arg);

/* {"seq":17,"event":"ObjectCreated:Put",["restored":true,]"time":...,"bucket":...,"key":...,
 *  "version_id":...,"size":...,"etag":...,"who":...,"account":...,"source_ip":...,
 *  "request_id":...}; of removals without size and ETag. */
void event_log_json(const struct event_log_row *row, struct buf *out);

#endif
