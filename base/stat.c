#include "base/stat.h"
#include "base/chk.h"

#include <inttypes.h>
#include <stdatomic.h>

struct stat_desc {
    const char *name;
    const char *kind;
    const char *help;
};

#define COUNTER "counter"
#define GAUGE "gauge"
static const struct stat_desc descs[] = {
#define STAT(name, kind, help) {#name, kind, help},
#include "base/stat_list.h"
#undef STAT
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

void
stat_render(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(descs); i++) {
        buf_printf(out, "# HELP darkroom_%s %s\n# TYPE darkroom_%s %s\ndarkroom_%s %" PRId64 "\n",
                   descs[i].name, descs[i].help, descs[i].name, descs[i].kind, descs[i].name,
                   stat_get((enum stat_id)i));
    }
}
