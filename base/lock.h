/*
 * A mutex that knows its owner and its rank. A thread takes locks only in rising rank, so no two
 * threads can wait for each other; lock_assert_held() stands where the guarded data is touched.
 */
#ifndef DARKROOM_BASE_LOCK_H
#define DARKROOM_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The one documented order, lowest first. */
enum lock_rank {
    LOCK_RANK_HTTP = 10,      /* connection table */
    LOCK_RANK_STREAM = 12,    /* event streams */
    LOCK_RANK_TLS = 13,       /* the current certificate */
    LOCK_RANK_UPKEEP = 15,    /* the upkeep's sleep */
    LOCK_RANK_BACKUP = 16,    /* the state of the backup that runs */
    LOCK_RANK_STORE = 20,     /* puts in flight, verified blocks */
    LOCK_RANK_SYNC = 30,      /* the directory-sync pool */
    LOCK_RANK_SUSPICION = 35, /* blocks that readers found bad */
    LOCK_RANK_WRITER = 40,    /* the writer's queue */
    LOCK_RANK_DEMAND = 45,    /* the desk of pictures on the fly */
    LOCK_RANK_DISPATCH = 50,  /* the dispatcher's inbox */
    LOCK_RANK_NOTIFIER = 60,  /* who waits for an object */
    LOCK_RANK_TRANSFER = 70   /* the CLI: import and export */
};

struct lock {
    pthread_mutex_t mutex;
    enum lock_rank rank;
    pthread_t owner;
    bool held;
    enum lock_rank below; /* highest rank the owner held before this one */
};

void lock_init(struct lock *l, enum lock_rank rank);
void lock_fini(struct lock *l);
void lock_take(struct lock *l);
void lock_release(struct lock *l);
/* Waits on `cond`, giving the lock up meanwhile. `deadline_mono_ms` < 0 waits for ever; false when
 * the deadline passed. The condition must have been made by lock_cond_init(). */
bool lock_wait(struct lock *l, pthread_cond_t *cond, int64_t deadline_mono_ms);
void lock_cond_init(pthread_cond_t *cond);
void lock_assert_held(const struct lock *l);

#endif
