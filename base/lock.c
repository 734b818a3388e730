#include "base/lock.h"
#include "base/chk.h"

#include <errno.h>
#include <time.h>

/* Highest rank this thread holds now. */
static _Thread_local enum lock_rank rank_held;

void
lock_init(struct lock *l, enum lock_rank rank)
{
    *l = (struct lock){.rank = rank};
    CHK(pthread_mutex_init(&l->mutex, NULL) == 0);
}

void
lock_fini(struct lock *l)
{
    CHK(!l->held);
    CHK(pthread_mutex_destroy(&l->mutex) == 0);
}

static void
acquired(struct lock *l)
{
    l->owner = pthread_self();
    l->held = true;
    l->below = rank_held;
    rank_held = l->rank;
}

static void
giving_up(struct lock *l)
{
    lock_assert_held(l);
    CHK(rank_held == l->rank);
    rank_held = l->below;
    l->held = false;
}

void
lock_take(struct lock *l)
{
    CHK(rank_held < l->rank);
    CHK(pthread_mutex_lock(&l->mutex) == 0);
    acquired(l);
}

void
lock_release(struct lock *l)
{
    giving_up(l);
    CHK(pthread_mutex_unlock(&l->mutex) == 0);
}

bool
lock_wait(struct lock *l, pthread_cond_t *cond, int64_t deadline_mono_ms)
{
    int rc;
    giving_up(l);
    if (deadline_mono_ms < 0) {
        rc = pthread_cond_wait(cond, &l->mutex);
    } else {
        struct timespec ts = {deadline_mono_ms / 1000, deadline_mono_ms % 1000 * 1000000};
        rc = pthread_cond_timedwait(cond, &l->mutex, &ts);
    }
    CHK(rc == 0 || rc == ETIMEDOUT);
    acquired(l);
    return rc == 0;
}

void
lock_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    CHK(pthread_condattr_init(&attr) == 0);
    CHK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    CHK(pthread_cond_init(cond, &attr) == 0);
    pthread_condattr_destroy(&attr);
}

void
lock_assert_held(const struct lock *l)
{
    CHK(l->held && pthread_equal(l->owner, pthread_self()));
}
