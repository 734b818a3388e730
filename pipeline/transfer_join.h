/*
 * What import and export compare: both sides' lists of names, walked together in bytewise order
 * (as S3 lists them), so that a second run is two listings and no memory grows with the store.
 *
 * Stores exist that list in another order. A source name that is not above all before it cannot be
 * found by walking: it is `unsure`, and the caller asks the target about it. So are all names the
 * target seems to lack once its list was seen out of order.
 *
 * Nothing here does I/O. One thread.
 */
#ifndef DARKROOM_PIPELINE_TRANSFER_JOIN_H
#define DARKROOM_PIPELINE_TRANSFER_JOIN_H

#include "base/buf.h"

#define TRANSFER_NAME_MAX 4096 /* bytes of a name on either side */

struct transfer_entry {
    struct slice name; /* relative to what is transferred */
    int64_t bytes;
    int64_t mtime_ms;
    struct slice etag; /* without quotes; n = 0: a file has none */
};

/* 1: an entry, lent until the next call of the same function; 0: no more; an error < 0. */
typedef int (*transfer_next_fn)(void *arg, struct transfer_entry *entry);

struct transfer_pair {
    struct transfer_entry source;
    const struct transfer_entry *target; /* of the same name; NULL: not seen */
    bool unsure;
};

struct transfer_join {
    transfer_next_fn source;
    void *source_arg;
    transfer_next_fn target; /* NULL: nothing is there */
    void *target_arg;
    struct transfer_entry at; /* the target's current one */
    bool at_valid;
    bool target_ended;
    bool target_unsorted; /* the target's function may set it as soon as it knows */
    struct buf source_highest;
    struct buf target_highest;
};

void transfer_join_init(struct transfer_join *j, transfer_next_fn source, void *source_arg,
                        transfer_next_fn target, void *target_arg);
void transfer_join_fini(struct transfer_join *j);
/* 1: a pair for the next source entry, lent until the next call; 0: no more; what a side failed
 * with. */
int transfer_join_next(struct transfer_join *j, struct transfer_pair *pair);

#endif
