/*
 * Pictures on the fly: derived objects that no event asked for but a request that waits for them.
 * Equal demands join: a thousand first requests are one decode. The desk sits between the HTTP
 * threads and the dispatcher, which runs a demand as a task without an event: same workers, same
 * sandbox, same fence (the source's generation), and the result is stored with its provenance.
 * Nothing of a demand survives a restart; who still wants it asks again.
 *
 * One thing has three words, as it goes along: a free size is what a URL asks for (image_url.h), a
 * demand is the making of it, a variant is what is stored then.
 *
 *    demand_join --new--> WAITING --worker--> RUNNING --stored, or why not--> ended:
 *          \---equal one under way: joins it ---------------------------> every wait's fn
 */
#ifndef DARKROOM_PIPELINE_DEMAND_H
#define DARKROOM_PIPELINE_DEMAND_H

#include "functions/preset.h"
#include "pipeline/registry.h"

#define DEMAND_REASON_MAX 512
#define DEMAND_JOINED_MAX 16384 /* requests that wait for one, of all demands */
#define DEMAND_VARIANTS_MAX 64  /* kept per source; one more takes the place of the oldest */

struct dispatch;
struct demand_desk;

enum demand_end {
    DEMAND_STORED,  /* derived object and provenance are durable */
    DEMAND_STALE,   /* the source has changed or is gone: look again */
    DEMAND_SKIPPED, /* reason: no picture, ... */
    DEMAND_FAILED,  /* reason: the source is bad; trying again would not help */
    DEMAND_ERROR,   /* reason: this attempt went wrong (time-out, crash, storage, shutdown) */
    DEMAND_TRIED    /* a trial has ended; nothing is stored */
};

struct demand_spec {
    int64_t bucket_id;   /* of the source */
    struct slice bucket; /* copied, as is the key */
    struct slice key;
    struct slice request_id; /* of the first request; copied; for the log alone */
    int64_t generation;
    /* What to make. Its name is "_" and preset_hash(): no configured preset has such a name, and
     * the derived key is "{key}/_{hash}.{ext}". */
    struct preset preset;
};

/* Embedded in who waits. */
struct demand_wait {
    void (*fn)(struct demand_wait *w); /* once, on the dispatcher's or the syncer's thread; must not
                                          block; the struct is the caller's again */
    enum demand_end end;
    char reason[DEMAND_REASON_MAX];
    struct demand_wait *next; /* the desk's */
};

/* `waiting_max`: demands (not requests) that may wait for a worker, the setting image.demands_max;
 * they do so for image.demand_wait_ms at most. */
struct demand_desk *demand_desk_new(struct dispatch *d, int waiting_max);
/* After the dispatcher has stopped: every wait has ended. */
void demand_desk_free(struct demand_desk **desk);
/* Any thread. ERR_BUSY: too many wait, nothing begun; ERR_CANCELED: shutting down. w->fn may be
 * called before this returns. */
int demand_join(struct demand_desk *desk, const struct demand_spec *spec, struct demand_wait *w);

#endif
