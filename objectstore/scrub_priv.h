/*
 * Shared by scrub*.c.
 */
#ifndef DARKROOM_OBJECTSTORE_SCRUB_PRIV_H
#define DARKROOM_OBJECTSTORE_SCRUB_PRIV_H

#include "objectstore/quarantine_priv.h"
#include "objectstore/store_priv.h"

/* Finds the versions that refer to blobs quarantined since, notes them and tells the hook of the
 * current ones. Reads all object rows, in pages, when there is such a blob, else nothing. Any
 * thread but the writer's and HTTP threads; not inside a read. */
int scrub_trace(struct store *s);

#endif
