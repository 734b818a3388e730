/*
 * The scrubber's thread: one pass every interval, what readers suspect at once. It has the lowest
 * priority that needs no privilege, for the processor and for the disk.
 *
 * The rate is kept by a clock that runs ahead: each piece read moves the moment before which the
 * next one may not begin. A pause or a stop is noticed within that one rest.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "objectstore/scrub.h"
#include "objectstore/scrub_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SCRUBBER_MAGIC 0x5c20bbe2u
#define NICE_LAST 19
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_BEST_EFFORT_LAST (2 << 13 | 7) /* ioprio_set(2): class best effort, level 7 */
#define LOOK_MS 10000                         /* between two looks at the clock and the gauge */
#define AGAIN_MS 60000                        /* after an error */
#define AHEAD_MS_MAX 1000                     /* what was not read lately may be made up for */

struct scrubber {
    uint32_t magic;
    struct scrub_options o;
    pthread_t thread;
    int64_t next_us; /* the rate: the next piece may begin */
};

/* Until then, a suspicion, or the end (false). */
static bool
wait_until(struct scrubber *r, int64_t mono_ms, bool for_suspicions)
{
    struct suspicions *s = &r->o.store->suspicions;
    lock_take(&s->lock);
    while (!s->stop && !(for_suspicions && s->count > 0) && lock_wait(&s->lock, &s->wake, mono_ms))
        continue;
    bool goes_on = !s->stop;
    lock_release(&s->lock);
    return goes_on;
}

static bool
rest(void *arg, int64_t bytes)
{
    struct scrubber *r = arg;
    int64_t now_us = clock_mono_ms() * 1000;
    if (r->next_us < now_us - AHEAD_MS_MAX * 1000)
        r->next_us = now_us - AHEAD_MS_MAX * 1000;
    r->next_us += bytes * 1000000 / r->o.rate_bytes_s;
    return wait_until(r, r->next_us / 1000, false);
}

static void
gauge(struct scrubber *r)
{
    struct db_conn *conn = NULL;
    int64_t count = 0;
    if (db_read_begin(r->o.store->db, &conn) != ERR_NONE)
        return;
    if (quarantine_count(conn, &count) == ERR_NONE)
        STAT_SET(quarantined_blobs, count);
    db_read_end(r->o.store->db, &conn);
}

static bool
is_due(struct scrubber *r)
{
    struct db_conn *conn = NULL;
    struct scrub_state st;
    if (r->o.interval_ms == 0 || db_read_begin(r->o.store->db, &conn) != ERR_NONE)
        return false;
    int err = scrub_state_read(conn, &st);
    db_read_end(r->o.store->db, &conn);
    bool under_way = st.blob != 0 || st.block != 0;
    int64_t now_ms = clock_wall_ms();
    /* A clock that was set back must not put it off for ever. */
    return err == ERR_NONE &&
           (under_way || st.ended_ms > now_ms || now_ms - st.ended_ms >= r->o.interval_ms);
}

static int
pass(struct scrubber *r)
{
    int64_t found = 0, began_ms = clock_mono_ms();
    int64_t bytes = stat_get(STAT_scrub_bytes_total);
    int err = scrub_pass(r->o.store, rest, r, &found);
    if (err == ERR_NONE)
        log_line(found > 0 ? LOG_ERROR : LOG_INFO, "scrub_pass",
                 "bytes=%" PRId64 " found=%" PRId64 " ms=%" PRId64,
                 stat_get(STAT_scrub_bytes_total) - bytes, found, clock_mono_ms() - began_ms);
    db_thread_end(r->o.store->db); /* and the pages it has kept */
    return err;
}

static void
lower_priority(void)
{
    pid_t thread = (pid_t)syscall(SYS_gettid);
    (void)setpriority(PRIO_PROCESS, (id_t)thread, NICE_LAST);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, thread, IOPRIO_BEST_EFFORT_LAST);
}

static void *
scrubber_main(void *arg)
{
    struct scrubber *r = arg;
    int64_t next_ms = clock_mono_ms();
    lower_priority();
    while (wait_until(r, next_ms, true)) {
        int err = scrub_suspicions(r->o.store);
        if (err == ERR_NONE && is_due(r))
            err = pass(r);
        if (err != ERR_NONE && err != ERR_CANCELED)
            log_line(LOG_WARN, "scrub_put_off", "error=%s", err_name(err));
        gauge(r);
        int64_t look_ms =
            r->o.interval_ms > 0 && r->o.interval_ms < LOOK_MS ? r->o.interval_ms : LOOK_MS;
        next_ms = clock_mono_ms() + (err == ERR_NONE ? look_ms : AGAIN_MS);
    }
    store_thread_end(r->o.store);
    return NULL;
}

struct scrubber *
scrub_start(const struct scrub_options *options)
{
    struct scrubber *r = chk_calloc(1, sizeof *r);
    CHK(options->rate_bytes_s > 0);
    *r = (struct scrubber){.magic = SCRUBBER_MAGIC, .o = *options};
    options->store->suspicions.stop = false;
    CHK(pthread_create(&r->thread, NULL, scrubber_main, r) == 0);
    return r;
}

void
scrub_stop(struct scrubber **rp)
{
    struct scrubber *r = *rp;
    *rp = NULL;
    if (r == NULL)
        return;
    CHK_MAGIC(r, SCRUBBER_MAGIC);
    struct suspicions *s = &r->o.store->suspicions;
    lock_take(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    lock_release(&s->lock);
    CHK(pthread_join(r->thread, NULL) == 0);
    r->magic = 0;
    free(r);
}
