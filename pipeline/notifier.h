/*
 * Tells notices on, once they are durable. One thread: woken by commits and by the earliest
 * deadline, it reads what is new, waits until that is settled, then wakes who waits for an object
 * and tells the listeners.
 */
#ifndef DARKROOM_PIPELINE_NOTIFIER_H
#define DARKROOM_PIPELINE_NOTIFIER_H

#include "base/slice.h"
#include "pipeline/notice.h"

#define NOTIFIER_WAITS_MAX 16384 /* requests that wait, of all objects */
#define NOTIFIER_LISTENERS_MAX 4

struct notifier;

/* Before the first db_submit(): the commit hook. */
struct notifier *notifier_new(struct db *db);
/* Called on the notifier's thread after new notices are settled; must not block. Before
 * notifier_start(). */
typedef void (*notifier_fn)(void *arg);
void notifier_listen(struct notifier *n, notifier_fn fn, void *arg);
int notifier_start(struct notifier *n);
/* Ends every wait (NOTIFIER_STOPPED) and the thread. New waits are refused. */
void notifier_stop(struct notifier *n);
/* After db_close(). */
void notifier_free(struct notifier **n);

/* Notices up to this id are durable: none above it may leave the process. Any thread. */
int64_t notifier_settled(const struct notifier *n);

/* ---- waiting for an object ---- */

enum notifier_end { NOTIFIER_NEWS, NOTIFIER_TIMEOUT, NOTIFIER_STOPPED };

/* Embedded in the waiting struct. `fn` is called once, on the notifier's thread or before
 * notifier_wait() returns; must not block; the struct is the caller's again. */
struct notifier_wait {
    /* the caller's: */
    int64_t bucket_id;
    struct slice key;    /* lent */
    int64_t since;       /* notice_last() of the snapshot that said "not yet" */
    int64_t deadline_ms; /* clock_mono_ms() */
    void (*fn)(struct notifier_wait *w, enum notifier_end end);
    /* the notifier's: */
    struct notifier_wait *prev, *next;
};

/* News is any notice about the key newer than `since`; when some notice newer than `since` was told
 * already, it may be called although it was about another key: look again, and wait again. ERR_BUSY
 * at NOTIFIER_WAITS_MAX, ERR_CANCELED after notifier_stop(): fn is not called. Any thread. */
int notifier_wait(struct notifier *n, struct notifier_wait *w);

#endif
