/*
 * Blobs whose bytes are not what was stored. A row says so from the moment of the finding until the
 * last object that refers to the blob is overwritten or deleted (the row goes in that transaction),
 * or until the scrubber finds the bytes whole again (somebody has put the file back).
 *
 * The damaged file stays where it is: it has its row in `blob`, so neither the sweep nor anybody
 * else removes it, and its sound blocks are served. What is served is checked block by block as
 * ever; quarantine adds the memory, the alarm and the repair of what can be made again.
 */
#ifndef DARKROOM_OBJECTSTORE_QUARANTINE_H
#define DARKROOM_OBJECTSTORE_QUARANTINE_H

#include "objectstore/store.h"

/* Kept as numbers: add at the end only. */
#define DAMAGE_LIST(X)                  \
    X(NONE, "none")                     \
    X(SUM, "a checksum does not match") \
    X(SHORT, "the file is cut short")   \
    X(GONE, "the file is missing")      \
    X(UNREADABLE, "the file cannot be read")

enum damage {
#define X(id, text) DAMAGE_##id,
    DAMAGE_LIST(X)
#undef X
        DAMAGE_COUNT
};
const char *damage_text(enum damage d);

struct quarantined {
    int64_t blob;
    int64_t offset; /* of the first bad block in the blob; quarantine_of(): in the object */
    enum damage reason;
    int64_t found_ms;
};

/* ---- reading: on any connection ---- */

/* The first damage of an object; ERR_NOTFOUND: none is known. */
int quarantine_of(struct db_conn *conn, const struct store_object *o, struct quarantined *out);
typedef int (*quarantine_fn)(void *arg, const struct quarantined *q); /* non-zero stops */
/* In the order of ids, those above `after`. */
int quarantine_list(struct db_conn *conn, int64_t after, int max, quarantine_fn fn, void *arg);
/* The versions that referred to the blob when it was traced, a short while after it was found. */
typedef int (*quarantine_ref_fn)(void *arg, int64_t bucket_id, struct slice key, int64_t seq);
int quarantine_refs(struct db_conn *conn, int64_t blob, quarantine_ref_fn fn, void *arg);
int quarantine_count(struct db_conn *conn, int64_t *count);

#endif
