/*
 * A slot is one word, so a reader sees one note or another and never halves of two: the upper half
 * is the upper half of the key's hash, the lower one the seconds. The slot is chosen by the lowest
 * bits of the hash, so a wrong answer needs 48 equal bits; hashes are seeded.
 */
#include "objectstore/served.h"
#include "base/chk.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SERVED_MAGIC 0x5e12ed00u

struct served {
    uint32_t magic;
    int64_t since_ms;
    _Atomic uint64_t slots[SERVED_SLOTS];
};

struct served *
served_new(void)
{
    struct served *s = chk_calloc(1, sizeof *s);
    s->magic = SERVED_MAGIC;
    s->since_ms = clock_wall_ms();
    return s;
}

void
served_free(struct served **sp)
{
    struct served *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, SERVED_MAGIC);
    s->magic = 0;
    free(s);
}

void
served_note(struct served *s, uint64_t hash, int64_t now_s)
{
    _Atomic uint64_t *slot = &s->slots[hash % SERVED_SLOTS];
    uint64_t note = (hash >> 32) << 32 | (uint32_t)now_s;
    /* What is sent again and again within a second costs the other threads' caches nothing. */
    if (atomic_load_explicit(slot, memory_order_relaxed) != note)
        atomic_store_explicit(slot, note, memory_order_relaxed);
}

int64_t
served_at(const struct served *s, uint64_t hash)
{
    uint64_t note = atomic_load_explicit(&s->slots[hash % SERVED_SLOTS], memory_order_relaxed);
    return note >> 32 == hash >> 32 ? (int64_t)(uint32_t)note : 0;
}

int64_t
served_since_ms(const struct served *s)
{
    return s->since_ms;
}
