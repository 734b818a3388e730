/*
 * The object row and the record made of it: extent lists, conditions, one allocation per record.
 */
#ifndef DARKROOM_OBJECTSTORE_OBJECT_ROW_H
#define DARKROOM_OBJECTSTORE_OBJECT_ROW_H

#include "base/buf.h"
#include "objectstore/store.h"

/* Of one object: every part may be copied from a range of several others. */
#define STORE_EXTENTS_MAX 40000
#define STORE_EXTENT_ENCODED_MAX 30
#define STORE_EXTENTS_BYTES_MAX (STORE_EXTENTS_MAX * STORE_EXTENT_ENCODED_MAX)

/* ---- extents, encoded: three LEB128 numbers each, nothing between, so lists concatenate ---- */

void extent_put(struct buf *out, const struct store_extent *e);
/* 1 and the next extent, 0 at the end, ERR_CORRUPT. */
int extent_next(struct slice *encoded, struct store_extent *e);
/* Number of extents, ERR_CORRUPT for damage or more than STORE_EXTENTS_MAX. */
int extent_count(struct slice encoded);
/* Appends the extents of [offset, offset + bytes) of `encoded`. ERR_RANGE, ERR_CORRUPT. */
int extent_cut(struct buf *out, struct slice encoded, int64_t offset, int64_t bytes);

/* ---- records ---- */

#define OBJECT_COMPOSITE 1 /* column flags */
#define OBJECT_BY_FUNCTION 2

/* Everything OBJECT_COLUMNS names, in this order. */
#define OBJECT_COLUMNS                                                                       \
    "generation, size, mtime_ms, etag, checksum, checksum_value, part_count, flags, owner, " \
    "version_id, content_type, meta, extents"

/* A counted copy of `o` in one allocation, with its extents from `extents` and the inline bytes, if
 * any, from `o->inline_bytes`. NULL: memory, or damaged extents. */
struct store_object *object_dup(const struct store_object *o, struct slice extents);
/* Fills `o` with what the statement lends from its present row of OBJECT_COLUMNS; no extents. */
void object_from_row(struct store_object *o, struct slice *extents, struct db_stmt *row);
/* Bytes it takes in a cache. */
size_t object_bytes(const struct store_object *o);

/* ERR_NONE, ERR_PRECONDITION, or ERR_NOTFOUND for If-Match on a missing key (etag NULL). */
int condition_judge(const struct store_condition *c, const char *etag);

#endif
