/*
 * Each thread's own cache of object and bucket records, and the stamps that keep it honest.
 * With a record goes the db_seen() of the read it came from: whoever is given it has seen that
 * much.
 *
 * A reader loads the stamp of a key, THEN begins its snapshot, and keeps the record together with
 * that stamp. The writer raises the stamps of everything a transaction changed after its COMMIT and
 * before it answers. A record whose stamp has not moved is therefore no older than the last
 * answered change. Stamps are shared by hash: a collision costs a miss, never a stale hit.
 */
#ifndef DARKROOM_OBJECTSTORE_CACHE_H
#define DARKROOM_OBJECTSTORE_CACHE_H

#include "objectstore/store.h"

#define CACHE_STAMPS 65536

struct caches; /* shared: stamps, list of the threads' caches */
struct cache;  /* one thread's; no lock */

struct caches *caches_new(int64_t bytes);
/* With all threads' caches; nobody may be inside. */
void caches_free(struct caches **cs);

/* ---- stamps ---- */

uint64_t caches_hash(const struct caches *cs, int64_t bucket_id, struct slice key);
uint64_t caches_stamp(const struct caches *cs, uint64_t hash);
uint64_t caches_bucket_stamp(const struct caches *cs);
/* Writer thread. */
void caches_raise(struct caches *cs, uint64_t hash);
void caches_raise_all(struct caches *cs);
void caches_raise_buckets(struct caches *cs);

/* ---- this thread ---- */

struct cache *cache_mine(struct caches *cs);
void cache_drop_mine(struct caches *cs);

/* A new reference, or NULL; `*seen` is set with it. */
const struct store_object *cache_find(struct cache *c, int64_t bucket_id, struct slice key,
                                      uint64_t hash, uint64_t stamp, uint64_t *seen);
/* Takes a reference of its own. */
void cache_put(struct cache *c, uint64_t hash, uint64_t stamp, uint64_t seen,
               const struct store_object *o);

/* True when it is known; `*out` is lent until the next call on this cache, NULL: no such bucket. */
bool cache_bucket_find(struct cache *c, struct slice name, uint64_t stamp,
                       const struct store_bucket **out, uint64_t *seen);
/* `b` NULL: there is none of that name. Takes a reference of its own. */
void cache_bucket_put(struct cache *c, struct slice name, uint64_t stamp, uint64_t seen,
                      const struct store_bucket *b);
/* Bytes held now; for tests. */
size_t cache_used(const struct cache *c);

#endif
