/*
 * What a change of an object owes the rest of the house, written in the change's own transaction:
 * its row in the event log, events for the matching rules, the table item as pending, removal of
 * what was derived from a source that is gone.
 */
#ifndef DARKROOM_PIPELINE_OUTBOX_H
#define DARKROOM_PIPELINE_OUTBOX_H

#include "pipeline/event_log.h"
#include "pipeline/queue.h"
#include "pipeline/registry.h"

struct outbox;

struct outbox *outbox_new(struct registry *registry, struct event_log *log);
void outbox_free(struct outbox **o);
/* struct store_hooks.changed; `arg` is the struct outbox. Writer thread. */
int outbox_changed(void *arg, struct db_conn *conn, const struct store_change *change);
/* struct store_hooks.damaged. A damaged derived object of a source that has not changed is made
 * again: its source is queued. A picture on the fly goes, and is made when somebody asks for it.
 * Other objects nobody can make again. Writer thread. */
int outbox_damaged(void *arg, struct db_conn *conn, const struct store_object *object);

#endif
