/*
 * A hash table under one lock, taken only when a file is opened; the bits are atomic and need none.
 * A blob in use is out of the reach of eviction; one no longer in the table is freed with its last
 * reference.
 */
#include "objectstore/verified.h"
#include "base/chk.h"
#include "base/lock.h"
#include "objectstore/store.h"

#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>

#define ROWS 4096

struct verified_blob {
    int64_t id;
    int64_t bytes;
    int refs; /* the table's own included */
    struct verified_blob *chain;
    struct verified_blob *newer, *older;
    size_t blocks;
    _Atomic uint32_t *bits;
    uint32_t crcs[];
};

struct verified {
    struct lock lock;
    struct verified_blob *rows[ROWS];
    struct verified_blob *newest, *oldest;
    size_t bytes;
};

struct verified *
verified_new(void)
{
    struct verified *v = chk_calloc(1, sizeof *v);
    lock_init(&v->lock, LOCK_RANK_STORE);
    return v;
}

static size_t
blob_size(size_t blocks)
{
    size_t words = (blocks + 31) / 32;
    return sizeof(struct verified_blob) + (blocks + words) * sizeof(uint32_t);
}

static struct verified_blob **
row_of(struct verified *v, int64_t id)
{
    return &v->rows[(uint64_t)id * 0x9e3779b97f4a7c15u >> 52];
}

static void
lru_unlink(struct verified *v, struct verified_blob *b)
{
    *(b->newer == NULL ? &v->newest : &b->newer->older) = b->older;
    *(b->older == NULL ? &v->oldest : &b->older->newer) = b->newer;
}

static void
lru_first(struct verified *v, struct verified_blob *b)
{
    b->newer = NULL;
    b->older = v->newest;
    *(v->newest == NULL ? &v->oldest : &v->newest->newer) = b;
    v->newest = b;
}

static void
unref_locked(struct verified_blob *b)
{
    CHK(b->refs > 0);
    if (--b->refs == 0)
        free(b);
}

static void
drop_locked(struct verified *v, struct verified_blob *b)
{
    struct verified_blob **at = row_of(v, b->id);
    while (*at != b)
        at = &(*at)->chain;
    *at = b->chain;
    lru_unlink(v, b);
    v->bytes -= blob_size(b->blocks);
    unref_locked(b);
}

void
verified_free(struct verified **vp)
{
    struct verified *v = *vp;
    *vp = NULL;
    if (v == NULL)
        return;
    while (v->oldest != NULL)
        drop_locked(v, v->oldest);
    lock_fini(&v->lock);
    free(v);
}

static struct verified_blob *
find_locked(struct verified *v, int64_t id)
{
    struct verified_blob *b = *row_of(v, id);
    while (b != NULL && b->id != id)
        b = b->chain;
    if (b != NULL) {
        lru_unlink(v, b);
        lru_first(v, b);
        b->refs++;
    }
    return b;
}

struct verified_blob *
verified_find(struct verified *v, int64_t blob)
{
    lock_take(&v->lock);
    struct verified_blob *b = find_locked(v, blob);
    lock_release(&v->lock);
    return b;
}

static struct verified_blob *
blob_new(int64_t id, int64_t bytes, struct slice crcs)
{
    size_t blocks = (size_t)((bytes + STORE_BLOCK_BYTES - 1) / STORE_BLOCK_BYTES);
    if (crcs.n != blocks * sizeof(uint32_t))
        return NULL;
    struct verified_blob *b = calloc(1, blob_size(blocks));
    if (b == NULL)
        return NULL;
    b->id = id;
    b->bytes = bytes;
    b->refs = 1;
    b->blocks = blocks;
    b->bits = (_Atomic uint32_t *)(b->crcs + blocks);
    for (size_t i = 0; i < blocks; i++) {
        uint32_t crc;
        memcpy(&crc, crcs.p + i * sizeof crc, sizeof crc);
        b->crcs[i] = le32toh(crc);
    }
    return b;
}

struct verified_blob *
verified_add(struct verified *v, int64_t blob, int64_t bytes, struct slice crcs)
{
    struct verified_blob *b = blob_new(blob, bytes, crcs);
    if (b == NULL)
        return NULL;
    lock_take(&v->lock);
    struct verified_blob *known = find_locked(v, blob);
    if (known != NULL) {
        free(b);
        b = known;
    } else {
        b->refs++;
        b->chain = *row_of(v, blob);
        *row_of(v, blob) = b;
        lru_first(v, b);
        v->bytes += blob_size(b->blocks);
        while (v->bytes > VERIFIED_BYTES_MAX && v->oldest != b) /* each drop makes another oldest */
            drop_locked(v, v->oldest); // NOLINT(clang-analyzer-unix.Malloc)
    }
    lock_release(&v->lock);
    return b;
}

void
verified_unref(struct verified *v, struct verified_blob **bp)
{
    struct verified_blob *b = *bp;
    *bp = NULL;
    if (b == NULL)
        return;
    lock_take(&v->lock);
    unref_locked(b);
    lock_release(&v->lock);
}

int64_t
verified_bytes(const struct verified_blob *b)
{
    return b->bytes;
}

uint32_t
verified_crc(const struct verified_blob *b, int64_t block)
{
    CHK(block >= 0 && (size_t)block < b->blocks);
    return b->crcs[block];
}

bool
verified_is(const struct verified_blob *b, int64_t block)
{
    CHK(block >= 0 && (size_t)block < b->blocks);
    return (atomic_load_explicit(&b->bits[block / 32], memory_order_relaxed) >> (block % 32)) & 1;
}

void
verified_set(struct verified_blob *b, int64_t block)
{
    CHK(block >= 0 && (size_t)block < b->blocks);
    atomic_fetch_or_explicit(&b->bits[block / 32], 1u << (block % 32), memory_order_relaxed);
}

void
verified_forget(struct verified *v, int64_t blob)
{
    struct verified_blob *b = verified_find(v, blob);
    for (size_t i = 0; b != NULL && i < (b->blocks + 31) / 32; i++)
        atomic_store_explicit(&b->bits[i], 0, memory_order_relaxed);
    verified_unref(v, &b);
}
