/*
 * A list of blocks, newest first. Small requests are cut from the newest block; one larger than a
 * quarter block gets a block of its own, so that little is wasted. The first block is part of the
 * arena's own allocation: most requests never allocate a second time.
 */
#include "base/arena.h"
#include "base/chk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_MAGIC 0xa5e7a001u
#define ARENA_BLOCK 4000
#define ARENA_ALIGN 16

struct block {
    struct block *next;
    size_t cap;
    size_t used;
    _Alignas(ARENA_ALIGN) char bytes[];
};

struct arena {
    uint32_t magic;
    size_t max;
    size_t used;
    struct block *head;
    struct block *first;
};

struct arena *
arena_new(size_t max_bytes)
{
    size_t head = (sizeof(struct arena) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    struct arena *a = malloc(head + sizeof(struct block) + ARENA_BLOCK);
    if (a == NULL)
        return NULL;
    struct block *b = (struct block *)(void *)((char *)a + head);
    *b = (struct block){.cap = ARENA_BLOCK};
    *a = (struct arena){.magic = ARENA_MAGIC, .max = max_bytes, .head = b, .first = b};
    return a;
}

void
arena_free(struct arena **ap)
{
    struct arena *a = *ap;
    *ap = NULL;
    if (a == NULL)
        return;
    CHK_MAGIC(a, ARENA_MAGIC);
    while (a->head != a->first) {
        struct block *b = a->head;
        a->head = b->next;
        free(b);
    }
    a->magic = 0;
    free(a);
}

static struct block *
block_add(struct arena *a, size_t need)
{
    size_t cap = need > ARENA_BLOCK / 4 ? need : ARENA_BLOCK;
    struct block *b = malloc(sizeof *b + cap);
    if (b == NULL)
        return NULL;
    b->cap = cap;
    b->used = 0;
    if (need > ARENA_BLOCK / 4 && a->head != a->first) {
        /* Keep cutting small pieces from the present block: hang the big one behind it. */
        b->next = a->head->next;
        a->head->next = b;
    } else {
        b->next = a->head;
        a->head = b;
    }
    return b;
}

void *
arena_alloc(struct arena *a, size_t n)
{
    CHK_MAGIC(a, ARENA_MAGIC);
    if (n > a->max)
        return NULL;
    size_t need = n == 0 ? ARENA_ALIGN : (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (need > a->max - a->used)
        return NULL;
    struct block *b = a->head;
    if (b->cap - b->used < need) {
        b = block_add(a, need);
        if (b == NULL)
            return NULL;
    }
    char *p = b->bytes + b->used;
    b->used += need;
    a->used += need;
    memset(p, 0, need);
    return p;
}

struct slice
arena_dup(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (p == NULL)
        return SLICE_NONE;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return slice_of(p, s.n);
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p != NULL) {
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return p;
}

size_t
arena_used(const struct arena *a)
{
    return a->used;
}
