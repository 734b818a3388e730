/*
 * A thread's cache is a hash table with a least-recently-used list over its entries; bucket records
 * sit in a small direct-mapped table, negative answers too, so a flood of made-up bucket names
 * displaces entries but never grows anything.
 *
 * The room of all caches together is shared equally among the threads that have one; a cache that
 * is above its share gives way at its next insertion.
 *
 * `mine` names this thread's cache and the serial number of the store it belongs to: after a store
 * is closed its caches are gone, and the serial tells without touching them.
 */
#include "objectstore/cache.h"
#include "base/chk.h"
#include "base/lock.h"
#include "objectstore/object_row.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CACHE_MAGIC 0xcac4e001u
#define CACHE_ROWS_MIN 256
#define CACHE_ROWS_MAX (1u << 20)
#define CACHE_ENTRY_SHARE 4 /* no single record above 1/4 of a cache */
#define BUCKET_SLOTS 1024
#define BUCKET_NAME_MAX 63

struct entry {
    struct entry *chain;
    struct entry *newer, *older;
    uint64_t hash;
    uint64_t stamp;
    uint64_t seen;
    const struct store_object *object;
};

struct bucket_slot {
    uint64_t stamp; /* 0: empty */
    uint64_t seen;
    uint8_t name_n;
    char name[BUCKET_NAME_MAX];
    const struct store_bucket *bucket;
};

struct cache {
    uint32_t magic;
    struct caches *shared;
    pthread_t owner;
    struct cache *next;
    struct entry **rows;
    size_t row_count; /* a power of two */
    size_t count;
    size_t bytes;
    struct entry *newest, *oldest;
    struct bucket_slot buckets[BUCKET_SLOTS];
};

struct caches {
    uint64_t serial;
    uint64_t seed;
    int64_t bytes;
    struct lock lock; /* guards the list */
    struct cache *list;
    _Atomic int threads;
    _Atomic uint64_t bucket_stamp;
    _Atomic uint64_t stamps[CACHE_STAMPS];
};

static _Thread_local struct {
    uint64_t serial;
    struct cache *cache;
} mine;

/* ---- shared ---- */

struct caches *
caches_new(int64_t bytes)
{
    static _Atomic uint64_t serials;
    struct caches *cs = chk_calloc(1, sizeof *cs);
    cs->serial = atomic_fetch_add(&serials, 1) + 1;
    cs->bytes = bytes;
    random_bytes(&cs->seed, sizeof cs->seed);
    lock_init(&cs->lock, LOCK_RANK_STORE);
    atomic_store(&cs->bucket_stamp, 1);
    return cs;
}

static void cache_free(struct cache *c);

void
caches_free(struct caches **csp)
{
    struct caches *cs = *csp;
    *csp = NULL;
    if (cs == NULL)
        return;
    while (cs->list != NULL) {
        struct cache *c = cs->list;
        cs->list = c->next;
        cache_free(c);
    }
    lock_fini(&cs->lock);
    free(cs);
}

static uint64_t
mix(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd6e8feb86659fd93u);
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Seeded, so that nobody outside can aim keys at one row. */
static uint64_t
hash_bytes(uint64_t seed, struct slice s)
{
    uint64_t h = mix(seed, s.n), w;
    while (s.n >= sizeof w) {
        memcpy(&w, s.p, sizeof w);
        h = mix(h ^ seed, w);
        s = slice_skip(s, sizeof w);
    }
    w = 0;
    if (s.n > 0)
        memcpy(&w, s.p, s.n);
    return mix(h ^ seed, w);
}

uint64_t
caches_hash(const struct caches *cs, int64_t bucket_id, struct slice key)
{
    return hash_bytes(mix(cs->seed, (uint64_t)bucket_id), key);
}

uint64_t
caches_stamp(const struct caches *cs, uint64_t hash)
{
    return atomic_load_explicit(&cs->stamps[hash % CACHE_STAMPS], memory_order_acquire);
}

uint64_t
caches_bucket_stamp(const struct caches *cs)
{
    return atomic_load_explicit(&cs->bucket_stamp, memory_order_acquire);
}

void
caches_raise(struct caches *cs, uint64_t hash)
{
    atomic_fetch_add_explicit(&cs->stamps[hash % CACHE_STAMPS], 1, memory_order_release);
}

void
caches_raise_all(struct caches *cs)
{
    for (size_t i = 0; i < CACHE_STAMPS; i++)
        caches_raise(cs, i);
}

void
caches_raise_buckets(struct caches *cs)
{
    atomic_fetch_add_explicit(&cs->bucket_stamp, 1, memory_order_release);
}

/* ---- one thread's cache ---- */

static struct cache *
cache_new(struct caches *cs)
{
    struct cache *c = chk_calloc(1, sizeof *c);
    c->magic = CACHE_MAGIC;
    c->shared = cs;
    c->owner = pthread_self();
    c->row_count = CACHE_ROWS_MIN;
    c->rows = chk_calloc(c->row_count, sizeof c->rows[0]);
    return c;
}

/* A store that was opened meanwhile may have displaced `mine`: then the list still knows. */
struct cache *
cache_mine(struct caches *cs)
{
    if (mine.serial == cs->serial)
        return mine.cache;
    struct cache *c = NULL;
    lock_take(&cs->lock);
    for (c = cs->list; c != NULL && !pthread_equal(c->owner, pthread_self());)
        c = c->next;
    if (c == NULL) {
        c = cache_new(cs);
        c->next = cs->list;
        cs->list = c;
        atomic_fetch_add(&cs->threads, 1);
    }
    lock_release(&cs->lock);
    mine.serial = cs->serial;
    mine.cache = c;
    return c;
}

void
cache_drop_mine(struct caches *cs)
{
    struct cache *gone = NULL;
    lock_take(&cs->lock);
    for (struct cache **at = &cs->list; *at != NULL; at = &(*at)->next) {
        if (pthread_equal((*at)->owner, pthread_self())) {
            gone = *at;
            *at = gone->next;
            atomic_fetch_sub(&cs->threads, 1);
            break;
        }
    }
    lock_release(&cs->lock);
    if (gone != NULL)
        cache_free(gone);
    if (mine.serial == cs->serial)
        mine.serial = 0;
}

static void
lru_unlink(struct cache *c, struct entry *e)
{
    *(e->newer == NULL ? &c->newest : &e->newer->older) = e->older;
    *(e->older == NULL ? &c->oldest : &e->older->newer) = e->newer;
    e->newer = e->older = NULL;
}

static void
lru_first(struct cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest == NULL ? &c->oldest : &c->newest->newer) = e;
    c->newest = e;
}

static size_t
entry_bytes(const struct entry *e)
{
    return sizeof *e + object_bytes(e->object);
}

static void
entry_drop(struct cache *c, struct entry *e)
{
    struct entry **at = &c->rows[e->hash & (c->row_count - 1)];
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    lru_unlink(c, e);
    c->count--;
    c->bytes -= entry_bytes(e);
    store_object_unref(&e->object);
    free(e);
}

static void
cache_free(struct cache *c)
{
    CHK_MAGIC(c, CACHE_MAGIC);
    while (c->oldest != NULL)
        entry_drop(c, c->oldest);
    for (size_t i = 0; i < BUCKET_SLOTS; i++)
        store_bucket_unref(&c->buckets[i].bucket);
    free(c->rows);
    c->magic = 0;
    free(c);
}

static struct entry *
entry_find(struct cache *c, int64_t bucket_id, struct slice key, uint64_t hash)
{
    for (struct entry *e = c->rows[hash & (c->row_count - 1)]; e != NULL; e = e->chain) {
        if (e->hash == hash && e->object->bucket_id == bucket_id && slice_eq(e->object->key, key))
            return e;
    }
    return NULL;
}

const struct store_object *
cache_find(struct cache *c, int64_t bucket_id, struct slice key, uint64_t hash, uint64_t stamp,
           uint64_t *seen)
{
    struct entry *e = entry_find(c, bucket_id, key, hash);
    if (e == NULL)
        return NULL;
    if (e->stamp != stamp) {
        entry_drop(c, e);
        return NULL;
    }
    if (c->newest != e) {
        lru_unlink(c, e);
        lru_first(c, e);
    }
    *seen = e->seen;
    return store_object_ref(e->object);
}

/* Twice the rows; without memory for them the chains just grow longer. */
static void
rows_double(struct cache *c)
{
    size_t count = c->row_count * 2;
    struct entry **rows = calloc(count, sizeof rows[0]);
    if (rows == NULL)
        return;
    for (struct entry *e = c->newest; e != NULL; e = e->older) {
        e->chain = rows[e->hash & (count - 1)];
        rows[e->hash & (count - 1)] = e;
    }
    free(c->rows);
    c->rows = rows;
    c->row_count = count;
}

void
cache_put(struct cache *c, uint64_t hash, uint64_t stamp, uint64_t seen,
          const struct store_object *o)
{
    size_t share = (size_t)(c->shared->bytes / atomic_load(&c->shared->threads));
    struct entry *old = entry_find(c, o->bucket_id, o->key, hash);
    if (old != NULL)
        entry_drop(c, old);
    if (sizeof *old + object_bytes(o) > share / CACHE_ENTRY_SHARE)
        return;
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return;
    *e = (struct entry){.hash = hash, .stamp = stamp, .seen = seen, .object = store_object_ref(o)};
    c->bytes += entry_bytes(e);
    c->count++;
    if (c->count > c->row_count && c->row_count < CACHE_ROWS_MAX)
        rows_double(c);
    e->chain = c->rows[hash & (c->row_count - 1)];
    c->rows[hash & (c->row_count - 1)] = e;
    lru_first(c, e);
    while (c->bytes > share && c->oldest != e) /* each drop gives the list another oldest */
        entry_drop(c, c->oldest);              // NOLINT(clang-analyzer-unix.Malloc)
}

static struct bucket_slot *
bucket_slot(struct cache *c, struct slice name)
{
    return &c->buckets[hash_bytes(c->shared->seed, name) % BUCKET_SLOTS];
}

bool
cache_bucket_find(struct cache *c, struct slice name, uint64_t stamp,
                  const struct store_bucket **out, uint64_t *seen)
{
    struct bucket_slot *slot = bucket_slot(c, name);
    *out = NULL;
    if (slot->stamp != stamp || !slice_eq(slice_of(slot->name, slot->name_n), name))
        return false;
    *out = slot->bucket;
    *seen = slot->seen;
    return true;
}

void
cache_bucket_put(struct cache *c, struct slice name, uint64_t stamp, uint64_t seen,
                 const struct store_bucket *b)
{
    struct bucket_slot *slot = bucket_slot(c, name);
    if (name.n == 0 || name.n > BUCKET_NAME_MAX)
        return;
    store_bucket_unref(&slot->bucket);
    slot->stamp = stamp;
    slot->seen = seen;
    slot->name_n = (uint8_t)name.n;
    memcpy(slot->name, name.p, name.n);
    if (b != NULL) {
        __atomic_fetch_add(&((struct store_bucket *)(uintptr_t)b)->refs, 1, __ATOMIC_RELAXED);
        slot->bucket = b;
    }
}

size_t
cache_used(const struct cache *c)
{
    return c->bytes;
}
