/*
 * The store's side of quarantine: rows change here, suspicions wait here for the scrubber.
 */
#ifndef DARKROOM_OBJECTSTORE_QUARANTINE_PRIV_H
#define DARKROOM_OBJECTSTORE_QUARANTINE_PRIV_H

#include "base/lock.h"
#include "objectstore/quarantine.h"

#include <stdatomic.h>

#define SUSPICIONS_MAX 64 /* one more is dropped: the scrubber comes by anyway */

/* A block that a reader found bad: the scrubber reads it again before anything is said of it. */
struct suspicion {
    int64_t blob;
    int64_t block;
};

struct suspicions {
    struct lock lock; /* guards all but `any` */
    pthread_cond_t wake;
    struct suspicion list[SUSPICIONS_MAX];
    size_t count;
    int64_t recent[SUSPICIONS_MAX]; /* blobs told of lately, so that a loop of GETs is one */
    size_t recent_at;
    bool stop;
    _Atomic bool quarantined; /* there may be rows: else nobody need look */
};

void suspicions_init(struct suspicions *s);
void suspicions_fini(struct suspicions *s);
/* Any thread, in a read as well; never waits. */
void suspicion_add(struct suspicions *s, int64_t blob, int64_t block);
bool suspicion_waits(struct suspicions *s);
bool suspicion_take(struct suspicions *s, struct suspicion *out);
/* Forgets that the blob was told of. */
void suspicion_clear(struct suspicions *s, int64_t blob);

/* ---- rows, inside apply() ---- */

/* *fresh: it was not known. A blob that is gone meanwhile is passed over: ERR_NONE, not fresh. */
int quarantine_apply_add(struct suspicions *s, struct db_conn *conn, const struct quarantined *q,
                         bool *fresh);
/* Its bytes are whole again, or its row is gone. */
int quarantine_apply_forget(struct db_conn *conn, int64_t blob);
int quarantine_apply_ref(struct db_conn *conn, int64_t blob, int64_t bucket_id, struct slice key,
                         int64_t seq);
int quarantine_apply_traced(struct db_conn *conn, int64_t blob);
/* On any connection: blobs that wait for their references to be traced. */
int quarantine_untraced(struct db_conn *conn, int64_t *blobs, int max, int *count);
int quarantine_has(struct db_conn *conn, int64_t blob, bool *has);

#endif
