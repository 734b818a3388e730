#include "objectstore/upkeep.h"
#include "base/chk.h"
#include "objectstore/lifecycle_run.h"
#include "objectstore/scrub.h"

#include <stdlib.h>

struct upkeep {
    struct lifecycle_runner *lifecycle;
    struct scrubber *scrubber;
};

struct upkeep *
upkeep_start(struct store *store, const struct conf *conf)
{
    struct upkeep *u = chk_calloc(1, sizeof *u);
    struct lifecycle_run_options lifecycle = {.store = store,
                                              .interval_ms =
                                                  conf_int(conf, CONF_LIFECYCLE_INTERVAL) * 1000,
                                              .day_ms = conf_int(conf, CONF_LIFECYCLE_DAY) * 1000};
    struct scrub_options scrub = {.store = store,
                                  .interval_ms = conf_int(conf, CONF_SCRUB_INTERVAL) * 1000,
                                  .rate_bytes_s = conf_int(conf, CONF_SCRUB_RATE) * 1000000};
    u->lifecycle = lifecycle_run_start(&lifecycle);
    u->scrubber = scrub_start(&scrub);
    return u;
}

void
upkeep_stop(struct upkeep **up)
{
    struct upkeep *u = *up;
    *up = NULL;
    if (u == NULL)
        return;
    scrub_stop(&u->scrubber);
    lifecycle_run_stop(&u->lifecycle);
    free(u);
}
