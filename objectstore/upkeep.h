/*
 * The threads that look after a store while it is served: lifecycle rules and the orphan sweep
 * (lifecycle_run.h), the scrubber (scrub.h).
 */
#ifndef DARKROOM_OBJECTSTORE_UPKEEP_H
#define DARKROOM_OBJECTSTORE_UPKEEP_H

#include "base/conf.h"
#include "objectstore/store.h"

struct upkeep;

/* By the settings lifecycle.* and scrub.*. */
struct upkeep *upkeep_start(struct store *store, const struct conf *conf);
/* Each ends after its present piece of work. NULL is allowed. */
void upkeep_stop(struct upkeep **u);

#endif
