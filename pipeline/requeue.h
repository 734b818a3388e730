/*
 * One object's events once more: the ordinary road by which what is missing, stale or damaged is
 * made again.
 */
#ifndef DARKROOM_PIPELINE_REQUEUE_H
#define DARKROOM_PIPELINE_REQUEUE_H

#include "objectstore/store.h"
#include "pipeline/registry.h"

/* Inside apply(). The ObjectCreated rules of the bucket fire again for `o`, its current version, at
 * batch priority; those of `function` alone unless n = 0. A function whose event for this version
 * waits already gets no second one. The item becomes pending, as after a PUT. `request_id` says in
 * logs and explain who wanted it. *queued counts events, waiting ones included; 0: no rule gives it
 * to a function. */
int requeue_apply(struct registry *r, struct db_conn *conn, struct slice bucket,
                  const struct store_object *o, struct slice function, struct slice request_id,
                  int *queued);

#endif
