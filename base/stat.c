/*
 * Series of a family are nodes of a fixed array, in lists that hang from a small hash table and
 * only grow: a reader walks them without a lock, who adds one pushes it with a compare-and-swap,
 * and looks again when somebody else was faster. A node that lost such a race stays unused; there
 * are few of them ever, since each combination of words is new once.
 */
#include "base/stat.h"
#include "base/chk.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdatomic.h>

#define COUNTER "counter"
#define SECONDS "counter "
#define GAUGE "gauge"
#define AGE "gauge "
/* The blank tells a kind that is shown otherwise than it is kept. */

struct stat_desc {
    const char *name;
    const char *labels;
    const char *kind;
    const char *help;
};

static const struct stat_desc descs[] = {
#define STAT(name, kind, help) {#name, "", kind, help},
#define STAT_AS(id, name, labels, kind, help) {name, labels, kind, help},
#include "base/stat_list.h"
};

static const struct stat_desc histograms[] = {
#define HISTOGRAM(id, name, labels, help) {name, labels, "histogram", help},
#include "base/stat_list.h"
};

static const struct {
    const char *name;
    const char *labels[3];
    const char *help;
} families[] = {
#define FAMILY(id, name, label1, label2, label3, help) {name, {label1, label2, label3}, help},
#include "base/stat_list.h"
};

static _Atomic int64_t values[STAT_COUNT];

void
stat_add(enum stat_id id, int64_t delta)
{
    atomic_fetch_add_explicit(&values[id], delta, memory_order_relaxed);
}

void
stat_set(enum stat_id id, int64_t value)
{
    atomic_store_explicit(&values[id], value, memory_order_relaxed);
}

int64_t
stat_get(enum stat_id id)
{
    return atomic_load_explicit(&values[id], memory_order_relaxed);
}

/* ---- histograms ---- */

static const struct {
    int64_t us;
    const char *seconds;
} bounds[] = {{100, "0.0001"},  {250, "0.00025"}, {500, "0.0005"},    {1000, "0.001"},
              {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},    {25000, "0.025"},
              {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"},   {500000, "0.5"},
              {1000000, "1"},   {2500000, "2.5"}, {5000000, "5"},     {10000000, "10"},
              {30000000, "30"}, {60000000, "60"}, {300000000, "300"}, {3600000000, "3600"}};
#define BUCKETS (ARRAY_LEN(bounds) + 1) /* the last: larger than all */

static struct {
    _Atomic int64_t count[BUCKETS];
    _Atomic int64_t sum_us;
} observed[HISTOGRAM_COUNT];

void
stat_observe_us(enum stat_histogram_id id, int64_t us)
{
    size_t i = 0;
    us = us < 0 ? 0 : us;
    while (i < ARRAY_LEN(bounds) && us > bounds[i].us)
        i++;
    atomic_fetch_add_explicit(&observed[id].count[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&observed[id].sum_us, us, memory_order_relaxed);
}

/* ---- families ---- */

#define LISTS 64

struct series {
    enum stat_family_id family;
    const char *words[3];
    _Atomic int64_t count;
    struct series *next;
};

static struct series nodes[STAT_SERIES_MAX + FAMILY_COUNT]; /* one more per family: "other" */
static atomic_uint nodes_used = FAMILY_COUNT;
static _Atomic(struct series *) lists[LISTS];

static uint32_t
hash(enum stat_family_id id, const char *const words[3])
{
    uint32_t h = 2166136261u ^ (uint32_t)id; /* FNV-1a */
    for (int i = 0; i < 3; i++) {
        for (const char *p = words[i]; *p != '\0'; p++)
            h = (h ^ (unsigned char)*p) * 16777619u;
        h = (h ^ 0xff) * 16777619u;
    }
    return h;
}

static bool
is_of(const struct series *s, enum stat_family_id id, const char *const words[3])
{
    return s->family == id && strcmp(s->words[0], words[0]) == 0 &&
           strcmp(s->words[1], words[1]) == 0 && strcmp(s->words[2], words[2]) == 0;
}

/* From `s` up to, not including, `end`. */
static struct series *
find(struct series *s, const struct series *end, enum stat_family_id id, const char *const words[3])
{
    while (s != end && !is_of(s, id, words))
        s = s->next;
    return s == end ? NULL : s;
}

static struct series *
series_add(_Atomic(struct series *) *list, struct series *head, enum stat_family_id id,
           const char *const words[3])
{
    unsigned n = atomic_fetch_add(&nodes_used, 1);
    if (n >= ARRAY_LEN(nodes)) {
        atomic_store(&nodes_used, ARRAY_LEN(nodes));
        return &nodes[id];
    }
    struct series *s = &nodes[n];
    s->family = id;
    memcpy(s->words, words, sizeof s->words);
    s->next = head;
    while (!atomic_compare_exchange_weak_explicit(list, &s->next, s, memory_order_release,
                                                  memory_order_acquire)) {
        struct series *other = find(s->next, head, id, words);
        if (other != NULL)
            return other;
        head = s->next;
    }
    return s;
}

void
stat_count(enum stat_family_id id, const char *a, const char *b, const char *c)
{
    const char *const words[3] = {a, b, c};
    _Atomic(struct series *) *list = &lists[hash(id, words) % LISTS];
    struct series *head = atomic_load_explicit(list, memory_order_acquire);
    struct series *s = find(head, NULL, id, words);
    if (s == NULL)
        s = series_add(list, head, id, words);
    atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed);
}

/* ---- as text ---- */

static void
render_head(struct buf *out, const char *name, const char *kind, const char *help)
{
    int n = (int)strcspn(kind, " ");
    buf_printf(out, "# HELP darkroom_%s %s\n# TYPE darkroom_%s %.*s\n", name, help, name, n, kind);
}

static void
render_seconds(struct buf *out, int64_t us)
{
    buf_printf(out, "%" PRId64 ".%06d", us / 1000000, (int)(us % 1000000));
}

static void
render_value(struct buf *out, const char *kind, int64_t value)
{
    if (strcmp(kind, SECONDS) == 0) {
        render_seconds(out, value);
    } else if (strcmp(kind, AGE) == 0) {
        int64_t age_ms = value == 0 ? 0 : clock_wall_ms() - value;
        render_seconds(out, age_ms < 0 ? 0 : age_ms * 1000);
    } else {
        buf_printf(out, "%" PRId64, value);
    }
    buf_putc(out, '\n');
}

static void
render_stats(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(descs); i++) {
        const struct stat_desc *d = &descs[i];
        bool labels = d->labels[0] != '\0';
        if (i == 0 || strcmp(d->name, descs[i - 1].name) != 0)
            render_head(out, d->name, d->kind, d->help);
        buf_printf(out, "darkroom_%s%s%s%s ", d->name, labels ? "{" : "", d->labels,
                   labels ? "}" : "");
        render_value(out, d->kind, stat_get((enum stat_id)i));
    }
}

static void
render_histogram(struct buf *out, size_t id)
{
    const struct stat_desc *d = &histograms[id];
    const char *comma = d->labels[0] != '\0' ? "," : "";
    const char *open = d->labels[0] != '\0' ? "{" : "", *shut = d->labels[0] != '\0' ? "}" : "";
    int64_t count = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        count += atomic_load_explicit(&observed[id].count[i], memory_order_relaxed);
        buf_printf(out, "darkroom_%s_bucket{%s%sle=\"%s\"} %" PRId64 "\n", d->name, d->labels,
                   comma, i < ARRAY_LEN(bounds) ? bounds[i].seconds : "+Inf", count);
    }
    buf_printf(out, "darkroom_%s_sum%s%s%s ", d->name, open, d->labels, shut);
    render_seconds(out, atomic_load_explicit(&observed[id].sum_us, memory_order_relaxed));
    buf_printf(out, "\ndarkroom_%s_count%s%s%s %" PRId64 "\n", d->name, open, d->labels, shut,
               count);
}

static void
render_series(struct buf *out, enum stat_family_id id, const char *const words[3], int64_t count)
{
    buf_printf(out, "darkroom_%s{", families[id].name);
    for (int i = 0; i < 3 && families[id].labels[i][0] != '\0'; i++)
        buf_printf(out, "%s%s=\"%s\"", i == 0 ? "" : ",", families[id].labels[i], words[i]);
    buf_printf(out, "} %" PRId64 "\n", count);
}

static void
render_family(struct buf *out, enum stat_family_id id)
{
    static const char *const other[3] = {"other", "other", "other"};
    int64_t left_over = atomic_load_explicit(&nodes[id].count, memory_order_relaxed);
    render_head(out, families[id].name, COUNTER, families[id].help);
    for (size_t i = 0; i < LISTS; i++) {
        struct series *s = atomic_load_explicit(&lists[i], memory_order_acquire);
        for (; s != NULL; s = s->next) {
            if (s->family == id)
                render_series(out, id, s->words,
                              atomic_load_explicit(&s->count, memory_order_relaxed));
        }
    }
    if (left_over > 0)
        render_series(out, id, other, left_over);
}

void
stat_render(struct buf *out)
{
    render_stats(out);
    for (size_t i = 0; i < HISTOGRAM_COUNT; i++) {
        if (i == 0 || strcmp(histograms[i].name, histograms[i - 1].name) != 0)
            render_head(out, histograms[i].name, "histogram", histograms[i].help);
        render_histogram(out, i);
    }
    for (size_t i = 0; i < FAMILY_COUNT; i++)
        render_family(out, (enum stat_family_id)i);
}
