/*
 * Does everything hang together: sources, what was derived of them, provenance, items, events,
 * bytes? One page at a time, each within VERIFY_PAGE_MS or so, from a cursor that the caller gives
 * back; nothing of a run is kept in the server.
 *
 *   OBJECTS      every object of the scope: what derived_state.h says of it, its item against it,
 *                a by-function object against its provenance, quarantine; deep: its bytes
 *   PROVENANCE   rows whose source, or whose object, is gone
 *   ITEMS        items of ours whose source is gone
 *   EVENTS       events that nothing will ever end
 *   COUNTS       the queue's counts against its rows (of the whole store only)
 *
 * Each judgement is made in one snapshot, and what belongs together commits together, so uploads,
 * results and deletions meanwhile make no false finding. What may change belongs to somebody else
 * than us is reported, never touched.
 */
#ifndef DARKROOM_PIPELINE_VERIFY_H
#define DARKROOM_PIPELINE_VERIFY_H

#include "pipeline/registry.h"

#define VERIFY_PAGE_MS 300
#define VERIFY_PAGE_FINDINGS 200 /* after which a page ends */

#define VERIFY_KIND_LIST(X)                                                            \
    X(MISSING, "missing")   /* what a rule asks for is not there, and nothing comes */ \
    X(STALE, "stale")       /* of another version, preset or code */                   \
    X(ORPHANED, "orphaned") /* its source is gone, or it has no provenance */          \
    X(MISMATCH, "mismatch") /* the item says other things than the objects */          \
    X(DAMAGED, "damaged")   /* bytes; see objectstore/quarantine.h */                  \
    X(STUCK, "stuck")       /* an event, or a pending item, without end */

enum verify_kind {
#define X(id, name) VERIFY_##id,
    VERIFY_KIND_LIST(X)
#undef X
        VERIFY_KIND_COUNT
};
const char *verify_kind_name(enum verify_kind k);

enum verify_fix {
    VERIFY_FIX_NONE,
    VERIFY_FIX_REQUEUE,    /* events of the source again, at batch priority */
    VERIFY_FIX_PROVENANCE, /* the row goes, and the object if it still is what we wrote */
    VERIFY_FIX_OBJECT,     /* the by-function object goes */
    VERIFY_FIX_ITEM,
    VERIFY_FIX_EVENT,
    VERIFY_FIX_COUNTS,
};

struct verify_finding { /* texts in the page's arena */
    enum verify_kind kind;
    enum verify_fix fix;
    struct slice bucket, key; /* of the object that it is about; n = 0: of none */
    struct slice what;        /* one line for people */
    struct slice todo;        /* what to do; after a fix: what was done */
    bool fixed;
    int64_t bucket_id;
    int64_t id; /* the generation it was judged at, or the event's id */
    struct verify_finding *next;
};

enum verify_phase {
    VERIFY_OBJECTS,
    VERIFY_PROVENANCE,
    VERIFY_ITEMS,
    VERIFY_EVENTS,
    VERIFY_COUNTS,
    VERIFY_END
};

struct verify_cursor { /* where the next page begins; all zero: at the start */
    enum verify_phase phase;
    struct slice bucket;
    struct slice key;  /* done */
    struct slice more; /* OBJECTS: under way; PROVENANCE: derived key */
    int64_t id;        /* PROVENANCE: source's bucket; EVENTS: event */
    int64_t id2;       /* PROVENANCE: derived bucket */
    int64_t at;        /* OBJECTS: bytes of `more` that were read */
};

struct verify_spec {
    struct registry *registry;
    struct db *db;
    struct slice bucket; /* n = 0: all */
    struct slice prefix;
    bool deep;
    bool fix;
    struct slice request_id; /* of the events that a repair queues */
};

struct verify_page {
    struct arena *a; /* the caller's */
    struct verify_finding *findings, **last;
    int count;
    int64_t objects;           /* looked at */
    int64_t rows;              /* provenance, items, events */
    int64_t bytes;             /* read */
    struct verify_cursor next; /* phase VERIFY_END: that was all */
};

/* One page from `from`. Any thread but the writer's and HTTP threads; not inside a read. What it
 * says is durable. ERR_NOPARENT: no such bucket; storage errors. */
int verify_page(const struct verify_spec *spec, const struct verify_cursor *from, struct arena *a,
                struct verify_page *page);

#endif
