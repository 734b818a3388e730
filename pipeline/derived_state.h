/*
 * What is wrong, if anything, with what was derived of one source object: the judgement that
 * `verify` reports and `reprocess --stale | --missing | --failed` selects by. One answer per
 * function that a rule gives the object to, and per preset of the thumbnail function.
 *
 * Stale means by hash: preset_hash() covers everything that changes the bytes, PRESET_REVISION of
 * the code included. Facts of `metadata` carry no hash: they are stale when the item is of another
 * version of the source.
 */
#ifndef DARKROOM_PIPELINE_DERIVED_STATE_H
#define DARKROOM_PIPELINE_DERIVED_STATE_H

#include "pipeline/readiness.h"
#include "pipeline/rule.h"

#define DERIVED_STATE_LIST(X)                                                                 \
    X(OK, "ok")           /* there, of this version of the source and this configuration */   \
    X(PENDING, "pending") /* its event waits or runs */                                       \
    X(SKIPPED, "skipped") /* a verdict: there is nothing to make */                           \
    X(FAILED, "failed")   /* a verdict, or a dead letter */                                   \
    X(MISSING, "missing") /* not there, and nothing under way brings it */                    \
    X(STALE, "stale")     /* of another version of the source, or of another configuration */ \
    X(FOREIGN, "foreign") /* a client has put an object of its own there: not ours to replace */

enum derived_state {
#define X(id, name) DERIVED_##id,
    DERIVED_STATE_LIST(X)
#undef X
        DERIVED_STATE_COUNT
};
const char *derived_state_name(enum derived_state s);

struct derived_part {
    const struct function *function; /* lent by `set` */
    const struct preset *preset;     /* of thumbnail; NULL: the facts of metadata */
    enum derived_state state;
    struct slice reason;      /* never empty unless OK or PENDING; one line for people */
    struct slice derived_key; /* of a preset; n = 0: its key would be too long */
};

struct derived_states {
    struct readiness readiness; /* of `thumbnail`; .set is a reference, .count 0 without a rule */
    struct derived_part parts[PRESETS_MAX + 1];
    size_t count; /* 0: no rule of the bucket gives it to a native function */
};

/* Inside a read or apply(). `rules`: of the source's bucket, by rule_load() on this connection.
 * Texts in the arena; a few look-ups by key, whatever the size of the store. ERR_NOMEM, storage
 * errors. End with derived_states_fini(), also after an error. */
int derived_states_read(struct registry *r, struct db_conn *conn, struct arena *a,
                        const struct store_object *source, struct slice bucket,
                        const struct rule_list *rules, struct derived_states *out);
void derived_states_fini(struct derived_states *out);
/* Is any part in that state? */
bool derived_states_any(const struct derived_states *s, enum derived_state state);

#endif
