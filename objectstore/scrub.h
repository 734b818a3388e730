/*
 * The scrubber: reads every stored byte again, at a bounded rate, and compares it with the
 * checksums taken when it was written (CRC32C per 1 MiB block), so that damage is known before a
 * client asks for the object and while a good copy may still exist elsewhere. What it finds goes
 * into quarantine (objectstore/quarantine.h).
 *
 * It really reads: page cache of a file is given back before and after each block, and what is
 * known as verified does not count. Pages of the database are dropped with the thread's connection
 * at the end of each pass.
 */
#ifndef DARKROOM_OBJECTSTORE_SCRUB_H
#define DARKROOM_OBJECTSTORE_SCRUB_H

#include "objectstore/quarantine.h"

/* How far it is; durable, so that a restart goes on. Of the pass under way or, between passes, of
 * the last one. */
struct scrub_state {
    int64_t blob;     /* all ids up to this one are done; 0: no pass is under way */
    int64_t block;    /* of the next blob: blocks done */
    int64_t began_ms; /* 0: never */
    int64_t ended_ms; /* of the last whole pass; 0: none yet */
    int64_t blobs;
    int64_t bytes;
};
/* On any connection. */
int scrub_state_read(struct db_conn *conn, struct scrub_state *out);

/* After each piece of `bytes`, between reads; false ends the pass with ERR_CANCELED. */
typedef bool (*scrub_rest_fn)(void *arg, int64_t bytes);

/* Goes on with a pass, or begins one, and carries it to its end, by the calling thread (any but the
 * writer's; readers needed). `found` counts blobs that were not in quarantine before. */
int scrub_pass(struct store *s, scrub_rest_fn rest, void *arg, int64_t *found);
/* What readers have met: read again, quarantined, traced. The same threads. */
int scrub_suspicions(struct store *s);

/* Reads the object's bytes from *at on, at most about `bytes_max`, whether they were verified
 * before or not; *at moves, to o->size at the end. Damage is quarantined and told: *damage is
 * NULL's value (DAMAGE_NONE) while all is well, and the piece ends with the block that is bad (*at
 * behind it). ERR_STALE: the version is gone meanwhile. Not on HTTP threads nor inside a read. */
int scrub_object(struct store *s, const struct store_object *o, int64_t *at, int64_t bytes_max,
                 enum damage *damage);

struct scrubber;

struct scrub_options {
    struct store *store;
    int64_t interval_ms; /* from the end of a pass to the next; 0: no passes, suspicions only */
    int64_t rate_bytes_s;
};

struct scrubber *scrub_start(const struct scrub_options *options);
/* Ends after the present block; the cursor is kept. NULL is allowed. */
void scrub_stop(struct scrubber **s);

#endif
