/*
 * Process-wide statistics, shown as Prometheus text. Relaxed atomics: any thread, no lock, no
 * allocation, no order between them. What there is stands in stat_list.h.
 *
 *   counters, gauges   stat_add(), stat_set()          one atomic
 *   histograms         stat_observe_us()               two
 *   families           stat_count()                    counters with words in labels, made when
 *                                                      first counted; a hash of the words and one
 */
#ifndef DARKROOM_BASE_STAT_H
#define DARKROOM_BASE_STAT_H

#include "base/buf.h"

enum stat_id {
#define STAT(name, kind, help) STAT_##name,
#define STAT_AS(id, name, labels, kind, help) STAT_##id,
#include "base/stat_list.h"
    STAT_COUNT
};

enum stat_histogram_id {
#define HISTOGRAM(id, name, labels, help) HISTOGRAM_##id,
#include "base/stat_list.h"
    HISTOGRAM_COUNT
};

enum stat_family_id {
#define FAMILY(id, name, label1, label2, label3, help) FAMILY_##id,
#include "base/stat_list.h"
    FAMILY_COUNT
};

void stat_add(enum stat_id id, int64_t delta);
void stat_set(enum stat_id id, int64_t value);
int64_t stat_get(enum stat_id id);

#define STAT_INC(name) stat_add(STAT_##name, 1)
#define STAT_DEC(name) stat_add(STAT_##name, -1)
#define STAT_ADD(name, delta) stat_add(STAT_##name, (int64_t)(delta))
#define STAT_SET(name, value) stat_set(STAT_##name, (int64_t)(value))

/* A duration in microseconds; less than 0 counts as 0. */
void stat_observe_us(enum stat_histogram_id id, int64_t us);

/* Different words of all families together; more count as the words "other". */
#define STAT_SERIES_MAX 512
/* One more of these words, "" where the family has fewer labels. The strings must live for ever and
 * need no escaping: words of the program, never of a client. */
void stat_count(enum stat_family_id id, const char *a, const char *b, const char *c);

/* Prometheus text exposition format 0.0.4. */
void stat_render(struct buf *out);

#endif
