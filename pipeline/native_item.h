/*
 * The table item of an object: what the native functions owe it. Functions set the attributes they
 * own and never replace the item.
 *
 *   always        bucket, key, size, content_type, etag, version, generation, uploaded_at
 *   thumbnail     state {preset: pending | ready | skipped: reason | failed: reason},
 *                 thumbnails {preset: {bucket, key, content_type, size, etag, width, height}},
 *                 ready, ready_at (when it last became so)
 *   metadata      metadata_state, and whatever facts it states
 *
 * A preset stands here by its identity (functions/preset.h): "small", "small.avif".
 */
#ifndef DARKROOM_PIPELINE_NATIVE_ITEM_H
#define DARKROOM_PIPELINE_NATIVE_ITEM_H

#include "functions/fn.h"
#include "metadata/table.h"
#include "objectstore/store.h"
#include "pipeline/registry.h"

/* A ceiling: the largest item in memory (32 MiB for 400 KB of tiny elements), its copy, our rows.
 */
#define ITEM_ARENA_BYTES (80u << 20)

/* Finds the table and makes the item's key. ERR_NOPARENT: there is no such table (or none is
 * configured), or it has other keys: then there are no items. */
struct item_place {
    struct table table;
    struct attr_value key;
};
int native_item_place(struct db_conn *conn, struct arena *a, const struct function_set *set,
                      struct slice bucket, struct slice key, struct item_place *out);

/* Inside apply(). Without a table: ERR_NONE and nothing done. */
int native_item_pending(struct db_conn *conn, struct arena *a, const struct function_set *set,
                        struct slice bucket, const struct store_object *object,
                        const struct function *thumbnail, bool metadata);
int native_item_delete(struct db_conn *conn, struct arena *a, const struct function_set *set,
                       int64_t bucket_id, struct slice bucket, struct slice key);
/* Facts of `metadata`: sets what it states, takes back what it stated before and does not any more.
 * An item that is gone stays gone. `state`: "ready", "skipped: ...", "failed: ...". Facts are
 * bounded; when a user has filled the item to DynamoDB's 400 KB, as many as fit are set, and the
 * state says so. `generation`: of the object they are about. */
int native_item_facts(struct db_conn *conn, struct arena *a, const struct function_set *set,
                      int64_t bucket_id, struct slice bucket, struct slice key, int64_t generation,
                      struct slice function, const struct fn_attr *attrs, size_t attr_count,
                      struct slice state);

/* What facts a source has: of which generation, by which NATIVE_FACTS_REVISION (0: of before
 * schema version 4). Sources first..last of a bucket, in key order. Any connection. */
struct native_facts {
    struct slice key;
    struct slice function;
    int64_t generation;
    int64_t revision;
};
typedef int (*native_facts_fn)(void *arg, const struct native_facts *f); /* lent; non-zero stops */
int native_facts_range(struct db_conn *conn, int64_t bucket_id, struct slice first,
                       struct slice last, native_facts_fn fn, void *arg);

#endif
