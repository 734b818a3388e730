/*
 * What only metadata/ needs of the tables: cleaning up behind a deleted one.
 */
#ifndef DARKROOM_METADATA_TABLE_PRIV_H
#define DARKROOM_METADATA_TABLE_PRIV_H

#include "metadata/table.h"

#define ITEM_ENCODED_MAX (4u << 20) /* bytes of one row on disk */

/* Removes at most about `rows_max` items of deleted tables; *more is false when nothing is left. */
int table_apply_sweep(struct db_conn *conn, int64_t rows_max, bool *more);

#endif
