/*
 * Request memory: everything a request allocates comes from one arena and goes with it. The arena
 * has a ceiling; running out returns NULL, which the edge answers with an ordinary 4xx/503.
 * One owner at a time, no lock.
 */
#ifndef DARKROOM_BASE_ARENA_H
#define DARKROOM_BASE_ARENA_H

#include "base/slice.h"

struct arena;

/* NULL when memory is out. `max_bytes` counts everything handed out and its padding. */
struct arena *arena_new(size_t max_bytes);
void arena_free(struct arena **a);

/* Zeroed, aligned for any type; NULL at the ceiling. */
void *arena_alloc(struct arena *a, size_t n);
/* A NUL-terminated copy (the NUL is not counted); p = NULL at the ceiling. */
struct slice arena_dup(struct arena *a, struct slice s);
/* NUL-terminated; NULL at the ceiling. */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

size_t arena_used(const struct arena *a);

#endif
