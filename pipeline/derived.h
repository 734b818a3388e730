/*
 * One derived object: where the thumbnail function puts what it makes of a source, and the write of
 * object and provenance together.
 */
#ifndef DARKROOM_PIPELINE_DERIVED_H
#define DARKROOM_PIPELINE_DERIVED_H

#include "pipeline/registry.h"
#include "pipeline/result.h"

struct derived_place {
    char bucket[NATIVE_BUCKET_MAX + 1];
    int64_t bucket_id;   /* 0: nothing can be put there */
    const char *trouble; /* why bucket_id is 0 */
    struct slice owner;
};

/* Where objects made of those in bucket `source` go: a bucket that exists and has the same owner as
 * the source's. Only an error of the database is an error. `owner` lives in the arena. Any
 * connection. */
int derived_place_find(struct store *s, struct db_conn *conn, struct arena *a,
                       const struct function *f, struct slice source, struct derived_place *out);

struct derived_spec {
    const struct derived_place *place; /* bucket_id is not 0 */
    const struct function *function;
    const struct preset *preset;
    const struct result_output *output; /* sealed */
    struct slice key;                   /* derived */
    struct slice source_key;
    const struct store_object *source;
    struct slice request_id;
};

/* Inside apply(), after the caller's fence. */
int derived_apply_put(struct store *s, struct db_conn *conn, const struct derived_spec *spec);

#endif
