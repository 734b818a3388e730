/*
 * What a function's last verdict did not make of a source, and why: the half of a verdict that
 * leaves no derived object and so no provenance. Together the two tell, without asking an item that
 * a user may have changed, whether a function would make anything else now.
 *
 * A good picture has no row here.
 */
#ifndef DARKROOM_PIPELINE_UNMADE_H
#define DARKROOM_PIPELINE_UNMADE_H

#include "base/db.h"

struct unmade {
    int64_t source_bucket_id;
    struct slice source_key;
    struct slice function;
    struct slice preset;       /* its identity; n = 0: the function has no presets */
    struct slice config_hash;  /* of the preset, as it was */
    int64_t source_generation; /* what the verdict was about */
    bool failed;               /* else skipped */
    struct slice reason;
};

/* ---- inside apply() ---- */

int unmade_apply_put(struct db_conn *conn, const struct unmade *u);
/* Takes back what was said of one preset, or (n = 0) of everything of that function. */
int unmade_apply_remove(struct db_conn *conn, int64_t bucket_id, struct slice key,
                        struct slice function, struct slice preset);
/* The source is gone, or no function will look at it any more. */
int unmade_apply_forget(struct db_conn *conn, int64_t bucket_id, struct slice key);

/* ---- reading: on any connection ---- */

typedef int (*unmade_fn)(void *arg, const struct unmade *u); /* lent; non-zero stops */
/* Rows of the sources first..last of a bucket, both included, in key order. */
int unmade_range(struct db_conn *conn, int64_t bucket_id, struct slice first, struct slice last,
                 unmade_fn fn, void *arg);

#endif
