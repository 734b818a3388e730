/*
 * The tables of all rooms as one list of steps for db_open(): step v is what the store, the tables
 * and the pipeline add in schema version v.
 */
#ifndef DARKROOM_PIPELINE_SCHEMA_H
#define DARKROOM_PIPELINE_SCHEMA_H

#include "base/db.h"

/* Joined once, kept for the life of the process. Any thread. */
const struct db_schema *pipeline_schema(void);
/* SQL of the pipeline's own tables for schema version `version` (1...), NULL past the last. */
const char *queue_schema(int version);

#endif
