/*
 * A new data directory out of a backup, without a server.
 *
 *   check the backup: manifest, SHA-256 and integrity of the database
 *   target: must be empty, or the remains of a restore that did not end
 *   restoring (a marker) --> files, linked or copied --> database --> a life of its own --> marker
 * off
 *
 * A life of its own: the restored store may live on beside the one it comes from. What either gives
 * out from now on must not be taken for the other's: generations leap ahead of whatever the old
 * server, or another one restored from the same backup, may have given out since (event sequencers,
 * Last-Event-ID), and the store has a new identity (objectstore/store_backup.h).
 */
#ifndef DARKROOM_PIPELINE_RESTORE_H
#define DARKROOM_PIPELINE_RESTORE_H

#include "base/buf.h"

/* `backup` is a snapshot's folder, or a folder of them, all of one store: then the newest.
 * Everything is durable at ERR_NONE, and `report` has one line about it; else one line in `why`,
 * and darkroomd does not take the target: ERR_NOTFOUND, ERR_CORRUPT, ERR_NOTEMPTY, ERR_BUSY... */
int restore_run(const char *backup, const char *target, struct buf *report, struct buf *why);

#endif
