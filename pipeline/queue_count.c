/*
 * The counts of the queue, from their row to memory. The row is exact at every commit; memory
 * follows within a dispatcher's wake-up, which is all that a limit and a gauge need.
 */
#include "pipeline/queue.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plant.h"
#include "base/stat.h"

#include <stdatomic.h>
#include <stdlib.h>

#define QUEUE_MAGIC 0x09e0e0e5u

/* Counters as one list: they are read, stored and shown in this order. */
enum {
    C_LIVE,
    C_FOLLOWUP,
    C_BATCH,
    C_DEAD,
    C_ADDED,
    C_ACKED,
    C_SUPERSEDED,
    C_RETRIED,
    C_DIED,
    C_DROPPED,
    C_COUNT
};

struct queue {
    uint32_t magic;
    struct db *db;
    int64_t events_max;
    _Atomic int64_t values[C_COUNT];
    int64_t base[C_COUNT]; /* at open: statistics count from the start of the process */
};

static int
read_row(struct db_conn *conn, int64_t out[C_COUNT])
{
    struct db_stmt *s =
        db_prepare(conn, "SELECT live, followup, batch, dead, added, acked, superseded, retried, "
                         "died, dropped FROM queue_count WHERE id = 1");
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_CORRUPT : rc;
    for (int i = 0; i < C_COUNT; i++)
        out[i] = db_column_int(s, i);
    db_reset(s);
    return ERR_NONE;
}

static void
publish(struct queue *q, const int64_t v[C_COUNT])
{
    for (int i = 0; i < C_COUNT; i++)
        atomic_store(&q->values[i], v[i]);
    STAT_SET(queue_live, v[C_LIVE]);
    STAT_SET(queue_followup, v[C_FOLLOWUP]);
    STAT_SET(queue_batch, v[C_BATCH]);
    STAT_SET(queue_dead, v[C_DEAD]);
    STAT_SET(events_total, v[C_ADDED] - q->base[C_ADDED]);
    STAT_SET(events_acked_total, v[C_ACKED] - q->base[C_ACKED]);
    STAT_SET(events_superseded_total, v[C_SUPERSEDED] - q->base[C_SUPERSEDED]);
    STAT_SET(events_retried_total, v[C_RETRIED] - q->base[C_RETRIED]);
    STAT_SET(events_dead_total, v[C_DIED] - q->base[C_DIED]);
    STAT_SET(lost_events_total, v[C_ADDED] - v[C_LIVE] - v[C_FOLLOWUP] - v[C_BATCH] - v[C_ACKED] -
                                    v[C_SUPERSEDED] - v[C_DIED] - v[C_DROPPED]);
}

/* ---- opening ---- */

struct open_op {
    struct db_op op;
    int64_t values[C_COUNT];
    int64_t rows[C_COUNT];
};

static int
count_rows(struct db_conn *conn, int64_t rows[C_COUNT])
{
    int rc;
    memset(rows, 0, C_COUNT * sizeof rows[0]);
    struct db_stmt *s =
        db_prepare(conn, "SELECT lane, COUNT(*) FROM event WHERE not_before_ms = 0 GROUP BY lane "
                         "UNION ALL "
                         "SELECT lane, COUNT(*) FROM event WHERE not_before_ms > 0 GROUP BY lane");
    while ((rc = db_step(s)) == DB_ROW) {
        int64_t lane = db_column_int(s, 0);
        if (lane >= 0 && lane < LANE_COUNT)
            rows[C_LIVE + lane] += db_column_int(s, 1);
    }
    if (rc < 0)
        return rc;
    s = db_prepare(conn, "SELECT COUNT(*) FROM dead_letter");
    rc = db_step(s);
    if (rc == DB_ROW)
        rows[C_DEAD] = db_column_int(s, 0);
    db_reset(s);
    return rc < 0 ? rc : ERR_NONE;
}

static bool
agree(const int64_t values[C_COUNT], const int64_t rows[C_COUNT])
{
    return memcmp(values, rows, (C_DEAD + 1) * sizeof rows[0]) == 0;
}

static int
write_row(struct db_conn *conn, const int64_t rows[C_COUNT])
{
    struct db_stmt *s = db_prepare(conn, "UPDATE queue_count SET live = ?1, followup = ?2, "
                                         "batch = ?3, dead = ?4 WHERE id = 1");
    for (int i = C_LIVE; i <= C_DEAD; i++)
        db_bind_int(s, i + 1, rows[i]);
    return db_run(s);
}

static int
open_apply(struct db_op *op, struct db_conn *conn)
{
    struct open_op *o = CONTAINER_OF(op, struct open_op, op);
    int err = read_row(conn, o->values);
    if (err == ERR_NONE)
        err = count_rows(conn, o->rows);
    return err != ERR_NONE || agree(o->values, o->rows) ? err : write_row(conn, o->rows);
}

int
queue_counts_agree(struct db_conn *conn, bool *same)
{
    int64_t values[C_COUNT], rows[C_COUNT];
    int64_t all = 0;
    *same = true;
    int err = read_row(conn, values);
    for (int i = C_LIVE; i <= C_DEAD; i++)
        all += err == ERR_NONE ? values[i] : 0;
    if (err != ERR_NONE || all > QUEUE_RECOUNT_MAX)
        return err;
    err = count_rows(conn, rows);
    *same = err != ERR_NONE || agree(values, rows);
    return err;
}

int
queue_apply_recount(struct db_conn *conn)
{
    int64_t rows[C_COUNT];
    int err = count_rows(conn, rows);
    return err == ERR_NONE ? write_row(conn, rows) : err;
}

int
queue_open(struct queue **out, struct db *db, int64_t events_max)
{
    struct open_op open = {.op = {.apply = open_apply, .urgent = true}};
    int err = db_call(db, &open.op);
    if (err != ERR_NONE)
        return err;
    struct queue *q = chk_calloc(1, sizeof *q);
    *q = (struct queue){.magic = QUEUE_MAGIC, .db = db, .events_max = events_max};
    for (int i = C_LIVE; i <= C_DEAD; i++) {
        if (open.values[i] != open.rows[i])
            log_line(LOG_ERROR, "queue_count_wrong", "count=%d stored=%lld found=%lld", i,
                     (long long)open.values[i], (long long)open.rows[i]);
        open.values[i] = open.rows[i];
    }
    memcpy(q->base, open.values, sizeof q->base);
    publish(q, open.values);
    *out = q;
    return ERR_NONE;
}

void
queue_close(struct queue **qp)
{
    struct queue *q = *qp;
    *qp = NULL;
    if (q == NULL)
        return;
    CHK_MAGIC(q, QUEUE_MAGIC);
    q->magic = 0;
    free(q);
}

/* ---- use ---- */

static int
keep_oldest(void *arg, const struct queue_event *e)
{
    int64_t *oldest_ms = arg;
    if (*oldest_ms == 0 || e->created_ms < *oldest_ms)
        *oldest_ms = e->created_ms;
    return 1;
}

int
queue_refresh(struct queue *q, struct db_conn *conn)
{
    int64_t values[C_COUNT];
    CHK_MAGIC(q, QUEUE_MAGIC);
    int err = read_row(conn, values);
    if (err == ERR_NONE)
        publish(q, values);
    return err;
}

int
queue_refresh_ages(struct db_conn *conn, const struct slice *functions, size_t count)
{
    static const enum stat_id ids[LANE_COUNT] = {[LANE_LIVE] = STAT_queue_oldest_live,
                                                 [LANE_FOLLOWUP] = STAT_queue_oldest_followup,
                                                 [LANE_BATCH] = STAT_queue_oldest_batch};
    int err = ERR_NONE;
    for (int lane = 0; lane < LANE_COUNT && err == ERR_NONE; lane++) {
        int64_t oldest_ms = 0;
        for (size_t i = 0; i < count && err == ERR_NONE; i++)
            err = queue_next(conn, (enum queue_lane)lane, functions[i], 0, 1, keep_oldest,
                             &oldest_ms);
        stat_set(ids[lane], oldest_ms);
    }
    return err;
}

void
queue_counts_get(struct queue *q, struct queue_counts *out)
{
    CHK_MAGIC(q, QUEUE_MAGIC);
    for (int i = 0; i < LANE_COUNT; i++)
        out->waiting[i] = atomic_load(&q->values[C_LIVE + i]);
    out->dead = atomic_load(&q->values[C_DEAD]);
    out->added = atomic_load(&q->values[C_ADDED]);
    out->acked = atomic_load(&q->values[C_ACKED]);
    out->superseded = atomic_load(&q->values[C_SUPERSEDED]);
    out->retried = atomic_load(&q->values[C_RETRIED]);
    out->died = atomic_load(&q->values[C_DIED]);
    out->dropped = atomic_load(&q->values[C_DROPPED]);
}

bool
queue_accepting(void *arg)
{
    struct queue *q = arg;
    CHK_MAGIC(q, QUEUE_MAGIC);
    if (plant_drop_event || plant_no_queue_limit)
        return true;
    return atomic_load(&q->values[C_LIVE]) + atomic_load(&q->values[C_FOLLOWUP]) +
               atomic_load(&q->values[C_BATCH]) <
           q->events_max;
}
