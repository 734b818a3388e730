/*
 * Planted bugs, for the tests alone: a harness that has never seen a loss proves nothing, so
 * tests/crash/{powercut,faults,fulldisk,bitflips,model}.py, tests/load/{overload,slow,backlog}.py,
 * tests/e2e/backup.py, `tests/run threads` and `tests/run addresses` build the server (the last one
 * the worker too) once with each of theirs and must catch it. Nothing else defines a PLANT_ macro;
 * without one the constants are 0 and the compiler drops the branches.
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
#ifdef PLANT_IGNORE_SYNC_ERROR /* of the log: answered as if it were durable */
    plant_ignore_sync_error = 1,
#else
    plant_ignore_sync_error = 0,
#endif
#ifdef PLANT_IGNORE_LINK_ERROR /* a blob without a name is taken for published */
    plant_ignore_link_error = 1,
#else
    plant_ignore_link_error = 0,
#endif
#ifdef PLANT_IGNORE_WRITE_ERROR /* a blob's file lacks what did not go in */
    plant_ignore_write_error = 1,
#else
    plant_ignore_write_error = 0,
#endif
#ifdef PLANT_NO_CHECK /* bytes are served whatever their checksum says */
    plant_no_check = 1,
#else
    plant_no_check = 0,
#endif
#ifdef PLANT_NO_FENCE /* results of an older generation are committed */
    plant_no_fence = 1,
#else
    plant_no_fence = 0,
#endif
#ifdef PLANT_UNHELD /* files of removed objects go although a backup is to link them */
    plant_unheld = 1,
#else
    plant_unheld = 0,
#endif
#ifdef PLANT_DROP_EVENT /* a full queue takes uploads, and forgets their events */
    plant_drop_event = 1,
#else
    plant_drop_event = 0,
#endif
#ifdef PLANT_NO_QUEUE_LIMIT /* queue.events_max is not looked at */
    plant_no_queue_limit = 1,
#else
    plant_no_queue_limit = 0,
#endif
#ifdef PLANT_NO_HEADER_DEADLINE /* a byte now and then keeps a connection for ever */
    plant_no_header_deadline = 1,
#else
    plant_no_header_deadline = 0,
#endif
#ifdef PLANT_NO_CONNECTION_LIMIT /* neither in all nor of one address */
    plant_no_connection_limit = 1,
#else
    plant_no_connection_limit = 0,
#endif
#ifdef PLANT_NO_LANES /* live uploads wait behind batches */
    plant_no_lanes = 1,
#else
    plant_no_lanes = 0,
#endif
#ifdef PLANT_NO_LOCK /* connections are counted by one thread while another opens one */
    plant_no_lock = 1,
#else
    plant_no_lock = 0,
#endif
#ifdef PLANT_SHORT_COPY /* a copy of bytes gets a block of the heap that is one too small */
    plant_short_copy = 1,
#else
    plant_short_copy = 0,
#endif
#ifdef PLANT_NARROW /* width times height is not widened first, and overflows */
    plant_narrow = 1,
#else
    plant_narrow = 0,
#endif
};

enum { plant_full_events = 100 }; /* plant_drop_event: the queue counts as full from here on */

/* So that a cut falls in between as a rule, however fast the disk syncs. */
static inline void
plant_hold(void)
{
    poll(NULL, 0, 40);
}

#endif
