/*
 * Process-wide counters. Relaxed atomics: any thread, no lock, no order between counters.
 */
#ifndef DARKROOM_BASE_STAT_H
#define DARKROOM_BASE_STAT_H

#include "base/buf.h"

enum stat_id {
#define STAT(name, kind, help) STAT_##name,
#include "base/stat_list.h"
#undef STAT
    STAT_COUNT
};

void stat_add(enum stat_id id, int64_t delta);
void stat_set(enum stat_id id, int64_t value);
int64_t stat_get(enum stat_id id);

#define STAT_INC(name) stat_add(STAT_##name, 1)
#define STAT_DEC(name) stat_add(STAT_##name, -1)
#define STAT_ADD(name, delta) stat_add(STAT_##name, (int64_t)(delta))
#define STAT_SET(name, value) stat_set(STAT_##name, (int64_t)(value))

/* Prometheus text exposition format 0.0.4. */
void stat_render(struct buf *out);

#endif
