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

/* LEB128 of a number that is not negative. */
void number_put(struct buf *out, int64_t value);
/* Takes one off the front; ERR_CORRUPT. */
int number_get(struct slice *in, int64_t *value);

/* ---- extents, encoded: three LEB128 numbers each, nothing between, so lists concatenate ---- */

void extent_put(struct buf *out, const struct store_extent *e);
/* 1 and the next extent, 0 at the end, ERR_CORRUPT. */
int extent_next(struct slice *encoded, struct store_extent *e);
/* Number of extents, ERR_CORRUPT for damage or more than STORE_EXTENTS_MAX. */
int extent_count(struct slice encoded);
/* Appends the extents of [offset, offset + bytes) of `encoded`. ERR_RANGE, ERR_CORRUPT. */
int extent_cut(struct buf *out, struct slice encoded, int64_t offset, int64_t bytes);

/* ---- records ---- */

/* Column flags; what is above OBJECT_CLASS_SHIFT is the storage class. */
#define OBJECT_COMPOSITE 1
#define OBJECT_BY_FUNCTION 2
#define OBJECT_NULL_VERSION 4 /* store_schema.c has the number in an index */
#define OBJECT_MARKER 8
#define OBJECT_LEGAL_HOLD 16
#define OBJECT_GOVERNANCE 32
#define OBJECT_COMPLIANCE 64
#define OBJECT_HOLD_OFF 128 /* a legal hold was stated, and it is off */
#define OBJECT_CLASS_SHIFT 8

/* Both tables' columns, in the order of object_from_row(). */
#define OBJECT_COLUMNS "generation, seq, " OBJECT_COLUMNS_COMMON
#define VERSION_COLUMNS "generation, -rank, " OBJECT_COLUMNS_COMMON
#define OBJECT_COLUMNS_COMMON                                                    \
    "size, mtime_ms, etag, checksum, checksum_value, part_count, flags, owner, " \
    "retain_until_ms, content_type, meta, extents, tags, acl"
#define OBJECT_COLUMN_COUNT 16

/* A counted copy of `o` in one allocation, with its extents from `extents` and the inline bytes, if
 * any, from `o->inline_bytes`. NULL: memory, or damaged extents. */
struct store_object *object_dup(const struct store_object *o, struct slice extents);
/* Fills `o` with what the statement lends from its present row of OBJECT_COLUMNS or
 * VERSION_COLUMNS; no extents. */
void object_from_row(struct store_object *o, struct slice *extents, struct db_stmt *row);
/* Makes `o` the current version's row, over the one before. */
int object_row_write(struct db_conn *conn, const struct store_object *o, struct slice extents);

/* ---- version ids ---- */

void version_id_write(int64_t seq, bool is_null, char out[STORE_VERSION_ID_MAX]);
/* "null" gives *seq = 0. ERR_INVALID: no id of ours. */
int version_id_parse(struct slice text, int64_t *seq);
/* Bytes it takes in a cache. */
size_t object_bytes(const struct store_object *o);

/* The flags column of a record. */
int64_t object_flags(const struct store_object *o);
/* What the column says of the class and of the lock. */
enum store_class object_class_of(int64_t flags);
struct store_lock object_lock_of(int64_t flags, int64_t retain_until_ms);

/* ERR_NONE, ERR_PRECONDITION, or ERR_NOTFOUND for If-Match on a missing key (etag NULL). */
int condition_judge(const struct store_condition *c, const char *etag);

#endif
