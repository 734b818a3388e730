/*
 * Planted bugs, for the power cut test alone: a harness that has never seen a loss proves nothing,
 * so tests/crash/powercut.py builds the server once with each of these and must catch it. Nothing
 * else defines a PLANT_ macro; without one the constants are 0 and the compiler drops the branches.
 */
#ifndef DARKROOM_BASE_PLANT_H
#define DARKROOM_BASE_PLANT_H

#include <poll.h>
#include <stddef.h>

enum {
#ifdef PLANT_NO_SYNC /* the database never syncs */
    plant_no_sync = 1,
#else
    plant_no_sync = 0,
#endif
#ifdef PLANT_NO_FSYNC /* files and folders are never synced */
    plant_no_fsync = 1,
#else
    plant_no_fsync = 0,
#endif
#ifdef PLANT_EARLY_ACK /* a batch is answered after its COMMIT, before the sync, which waits */
    plant_early_ack = 1,
#else
    plant_early_ack = 0,
#endif
#ifdef PLANT_EARLY_READ /* a reader is told what is not yet durable; the sync waits */
    plant_early_read = 1,
#else
    plant_early_read = 0,
#endif
};

/* So that a cut falls in between as a rule, however fast the disk syncs. */
static inline void
plant_hold(void)
{
    poll(NULL, 0, 40);
}

#endif
