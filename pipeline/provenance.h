/*
 * Which derived object came from which source. A row is the only proof that an object in a derived
 * bucket is ours to replace or remove; its generation says which version of it was ours.
 */
#ifndef DARKROOM_PIPELINE_PROVENANCE_H
#define DARKROOM_PIPELINE_PROVENANCE_H

#include "base/arena.h"
#include "base/db.h"
#include "objectstore/store.h"

struct provenance {
    int64_t source_bucket_id;
    struct slice source_key;
    int64_t derived_bucket_id;
    struct slice derived_bucket;
    struct slice derived_key;
    struct slice preset;
    struct slice config_hash;
    int64_t source_generation;
    int64_t derived_generation;
    struct slice function;
    bool gone; /* scratch for the caller */
    struct provenance *next;
};

/* All rows of a source, in the arena. Any connection. */
int provenance_list(struct db_conn *conn, struct arena *a, int64_t bucket_id, struct slice key,
                    struct provenance **out);
/* The row that made what is at a derived key. ERR_NOTFOUND. Strings in the arena. Any
 * connection. */
int provenance_of_derived(struct db_conn *conn, struct arena *a, int64_t derived_bucket_id,
                          struct slice derived_key, struct provenance *out);
/* Rows of the sources first..last of a bucket, both included, in key order; lent, non-zero stops.
 * Any connection. */
typedef int (*provenance_fn)(void *arg, const struct provenance *p);
int provenance_range(struct db_conn *conn, int64_t bucket_id, struct slice first, struct slice last,
                     provenance_fn fn, void *arg);
/* Rows behind `after` (NULL: from the first) in the order of source and derived object, at most
 * `max`; strings in the arena. Any connection. */
int provenance_page(struct db_conn *conn, struct arena *a, const struct provenance *after, int max,
                    struct provenance **out);
/* Inserts or replaces; a derived object has one row, so that of another source goes. Inside
 * apply(). */
int provenance_apply_put(struct db_conn *conn, const struct provenance *p);
/* Removes the row, and the derived object if it still is the version we wrote. Inside apply(). */
int provenance_apply_remove(struct store *s, struct db_conn *conn, const struct provenance *p);

#endif
