/*
 * What this process knows about blobs that are files: their block checksums, and which blocks it
 * has already found sound. Bounded; forgetting a blob costs one look-up and one more check.
 */
#ifndef DARKROOM_OBJECTSTORE_VERIFIED_H
#define DARKROOM_OBJECTSTORE_VERIFIED_H

#include "base/slice.h"

struct verified;
struct verified_blob; /* counted */

#define VERIFIED_BYTES_MAX (8u << 20)

struct verified *verified_new(void);
void verified_free(struct verified **v);

/* A new reference, or NULL when it is not known. Any thread. */
struct verified_blob *verified_find(struct verified *v, int64_t blob);
/* Remembers it (checksums little-endian, one for each block) and gives a reference; NULL: memory,
 * or a number of checksums that does not fit `bytes`. Any thread. */
struct verified_blob *verified_add(struct verified *v, int64_t blob, int64_t bytes,
                                   struct slice crcs);
void verified_unref(struct verified *v, struct verified_blob **b);

int64_t verified_bytes(const struct verified_blob *b); /* of the whole blob */
uint32_t verified_crc(const struct verified_blob *b, int64_t block);
bool verified_is(const struct verified_blob *b, int64_t block);
void verified_set(struct verified_blob *b, int64_t block);
/* Nothing of it is verified any more. Any thread. */
void verified_forget(struct verified *v, int64_t blob);

#endif
