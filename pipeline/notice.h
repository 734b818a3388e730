/*
 * What became of an object, for whoever wants to be told: waiting requests, the event stream,
 * webhooks. A notice is a row written in the transaction of what it tells, so none is lost, doubled
 * or ahead of the truth; those who tell it further keep the id of the last one they told.
 */
#ifndef DARKROOM_PIPELINE_NOTICE_H
#define DARKROOM_PIPELINE_NOTICE_H

#include "base/buf.h"
#include "base/db.h"

#define NOTICE_ROWS_MAX 100000
#define NOTICE_AGE_MS_MAX ((int64_t)24 * 3600 * 1000)
#define NOTICE_TRIM_ROWS 8 /* removed at most per notice added */
#define NOTICE_DETAIL_MAX (64u << 10)

/* name. Kept as numbers: add at the end only. Of one generation of a source comes exactly one of
 * READY, SKIPPED and FAILED, then perhaps an ADDED; again after a reprocess, a redrive, or a change
 * of presets before the ADDED. */
#define NOTICE_KIND_LIST(X)                                                     \
    X(READY, "ready")     /* every preset's primary format is stored */         \
    X(SKIPPED, "skipped") /* nothing to do, for some preset at least */         \
    X(FAILED, "failed")   /* for good, for some preset at least */              \
    X(ADDED, "added")     /* the secondary formats have come, or have failed */ \
    X(DELETED, "deleted") /* the source is gone, and what was made of it */

enum notice_kind {
#define X(id, name) NOTICE_##id,
    NOTICE_KIND_LIST(X)
#undef X
        NOTICE_KIND_COUNT
};
const char *notice_kind_name(enum notice_kind kind);

struct notice {
    int64_t id; /* rises by one; set by notice_apply_add() */
    enum notice_kind kind;
    int64_t bucket_id;
    struct slice bucket;
    struct slice key;
    int64_t generation;      /* of the source; DELETED: the key's next one */
    struct slice version_id; /* "null" without versioning; DELETED: of what went, or the marker */
    int64_t time_ms;
    struct slice request_id; /* of the S3 request it comes from; empty: of none, or an older row */
    struct slice detail; /* JSON object: preset -> {"state", and of what is stored "bucket", "key",
                            "content_type", "size", "etag", "width", "height"}. READY, SKIPPED,
                            FAILED: every preset; ADDED: the secondary ones; DELETED: {} */
};

/* One preset of a notice's detail. */
struct notice_preset {
    struct slice name;  /* identity */
    struct slice state; /* "pending", "ready", "skipped: reason", "failed: reason" */
    /* of what is stored; bucket.n = 0: nothing, and the rest is not told */
    struct slice bucket, key, content_type, etag;
    int64_t size;
    int width, height;
};
/* Writes the detail into an empty buffer; past NOTICE_DETAIL_MAX without reasons and places. */
void notice_detail(const struct notice_preset *presets, size_t count, struct buf *out);

/* Inside apply(). Sets id and time, trims old rows. */
int notice_apply_add(struct db_conn *conn, struct notice *n);
/* How many were added in this process, rolled back ones included: while it does not move, there is
 * nothing new to read. Any thread. */
uint64_t notice_added(void);
/* In order of ids, those in (after, until]; strings lent for the call. At most `limit`; stops when
 * fn returns non-zero, and returns it when it is negative. */
typedef int (*notice_fn)(void *arg, const struct notice *n);
int notice_list(struct db_conn *conn, int64_t after, int64_t until, int limit, notice_fn fn,
                void *arg);
/* The newest id, 0 when there was never one. */
int notice_last(struct db_conn *conn, int64_t *id);
/* {"id":"17","type":"ready","time":"2026-...Z","bucket":...,"key":...,"version_id":...,
 *  "sequencer":...,"request_id":...,"presets":{...}}, without what is empty. The sequencer is that
 * of the source's S3 events: of two notices about a key the one with the larger text is about the
 * later state. */
void notice_json(const struct notice *n, struct buf *out);

#endif
