/*
 * How far the presets of one source are, as one snapshot shows it. Provenance and queue are the
 * authority for what is stored and what is under way; the table item only for the reason why there
 * is nothing (a user may write to it).
 */
#ifndef DARKROOM_PIPELINE_READINESS_H
#define DARKROOM_PIPELINE_READINESS_H

#include "base/arena.h"
#include "base/http.h"
#include "objectstore/store.h"
#include "pipeline/registry.h"

#define PRESET_STATE_LIST(X)                                               \
    X(NONE, "none")       /* no rule asks for it, or nothing is known */   \
    X(PENDING, "pending") /* its event waits or runs */                    \
    X(READY, "ready")     /* stored, of this generation and this preset */ \
    X(SKIPPED, "skipped")                                                  \
    X(FAILED, "failed")

enum preset_state {
#define X(id, name) PRESET_STATE_##id,
    PRESET_STATE_LIST(X)
#undef X
        PRESET_STATE_COUNT
};
const char *preset_state_name(enum preset_state s);

struct preset_readiness {
    const struct preset *preset; /* lent by `set` */
    enum preset_state state;
    struct slice reason;              /* SKIPPED, FAILED: may be empty */
    struct slice derived_key;         /* where it is, or will be; n = 0: it cannot be (too long) */
    int64_t stored_source_generation; /* of what is stored there by us; 0: nothing. Less than the
                                         source's: the picture of an older version */
    int64_t stored_generation;        /* the derived object's own: what a GET must find */
};

struct readiness {
    struct function_set *set;                   /* a reference */
    const struct function *thumbnail;           /* NULL: there is no such function */
    char derived_bucket[NATIVE_BUCKET_MAX + 1]; /* "": none */
    int64_t derived_bucket_id;                  /* 0: it does not exist, or is another account's */
    int64_t notice_id;                          /* notice_last() of the same snapshot */
    bool ready;                                 /* every preset's primary format is */
    struct preset_readiness presets[PRESETS_MAX];
    size_t count;
};

/* Inside a read. ERR_NOMEM, storage errors. */
int readiness_read(struct registry *r, struct db_conn *conn, struct arena *a,
                   const struct store_object *source, struct slice bucket, struct readiness *out);
void readiness_fini(struct readiness *out);

/* Is an object that we derived made of its source's current version? Also true for what is not
 * ours. Reads by itself. HTTP threads. */
bool readiness_is_fresh(struct registry *r, struct db *db, const struct store_object *derived);

/* Headers of the answer to HEAD for what a rule of its bucket gives to `thumbnail`:
 *
 *   x-darkroom-generation: 4711
 *   x-darkroom-ready: true | false
 *   x-darkroom-preset-{identity}: ready | pending | none | skipped: reason | failed: reason
 *
 * Nothing, and no read, for other buckets and for derived objects. Reads by itself. HTTP threads.
 */
void readiness_describe(struct registry *r, struct db *db, struct http_request *request,
                        const struct store_bucket *bucket, const struct store_object *object);

#endif
