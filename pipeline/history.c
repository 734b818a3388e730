/*
 * Rows number themselves upward and are removed only at the old end, so the newest number minus the
 * maximum is the oldest row worth keeping, and no count is needed. Each new row removes at most
 * HISTORY_TRIM_ROWS old ones: the work stays small and even.
 */
#include "pipeline/history.h"
#include "base/clock.h"
#include "base/err.h"

#define HISTORY_SAMPLE_ROWS 400

static int
trim(struct db_conn *conn)
{
    struct db_stmt *s =
        db_prepare(conn, "DELETE FROM attempt WHERE id IN (SELECT id FROM "
                         "(SELECT id, started_ms FROM attempt ORDER BY id LIMIT ?1) AS oldest "
                         "WHERE started_ms < ?2 OR id <= (SELECT MAX(id) FROM attempt) - ?3)");
    db_bind_int(s, 1, HISTORY_TRIM_ROWS);
    db_bind_int(s, 2, clock_wall_ms() - HISTORY_AGE_MS_MAX);
    db_bind_int(s, 3, HISTORY_ROWS_MAX);
    return db_run(s);
}

/* A worker's words, cut where its buffer was: what is not UTF-8 becomes '?'. */
static struct slice
as_text(struct arena *a, struct slice bytes)
{
    if (bytes.n == 0 || slice_is_utf8(bytes))
        return bytes;
    char *copy = arena_alloc(a, bytes.n);
    for (size_t i = 0; copy != NULL && i < bytes.n; i++)
        copy[i] = (unsigned char)bytes.p[i] < 0x80 ? bytes.p[i] : '?';
    return copy == NULL ? SLICE_NONE : slice_of(copy, bytes.n);
}

int
history_apply_add(struct db_conn *conn, struct arena *a, const struct history_attempt *t)
{
    struct db_stmt *s = db_prepare(
        conn, "INSERT INTO attempt (event_id, bucket_id, key, generation, function, revision, pid, "
              "started_ms, run_us, cpu_us, rss_bytes, outcome, reason, queued_ms, stderr) "
              "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)");
    db_bind_int(s, 1, t->event_id);
    db_bind_int(s, 2, t->bucket_id);
    db_bind_blob(s, 3, t->key);
    db_bind_int(s, 4, t->generation);
    db_bind_text(s, 5, t->function);
    db_bind_int(s, 6, t->revision);
    db_bind_int(s, 7, t->pid);
    db_bind_int(s, 8, t->started_ms);
    db_bind_int(s, 9, t->run_us);
    db_bind_int(s, 10, t->cpu_us);
    db_bind_int(s, 11, t->rss_bytes);
    db_bind_text(s, 12, t->outcome);
    db_bind_text(s, 13, t->reason);
    db_bind_int(s, 14, t->queued_ms);
    db_bind_text(s, 15, as_text(a, t->stderr_tail));
    int err = db_run(s);
    return err == ERR_NONE ? trim(conn) : err;
}

int
history_of_key(struct db_conn *conn, int64_t bucket_id, struct slice key, int max, history_fn fn,
               void *arg)
{
    int rc;
    struct db_stmt *s = db_prepare(
        conn, "SELECT event_id, generation, function, revision, pid, started_ms, run_us, cpu_us, "
              "rss_bytes, outcome, reason, queued_ms, stderr FROM attempt WHERE bucket_id = ?1 AND "
              "key = ?2 "
              "ORDER BY id DESC LIMIT ?3");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    db_bind_int(s, 3, max);
    while ((rc = db_step(s)) == DB_ROW) {
        struct history_attempt t = {.event_id = db_column_int(s, 0),
                                    .bucket_id = bucket_id,
                                    .key = key,
                                    .generation = db_column_int(s, 1),
                                    .function = db_column_blob(s, 2),
                                    .revision = db_column_int(s, 3),
                                    .pid = db_column_int(s, 4),
                                    .started_ms = db_column_int(s, 5),
                                    .run_us = db_column_int(s, 6),
                                    .cpu_us = db_column_int(s, 7),
                                    .rss_bytes = db_column_int(s, 8),
                                    .outcome = db_column_blob(s, 9),
                                    .reason = db_column_blob(s, 10),
                                    .queued_ms = db_column_int(s, 11),
                                    .stderr_tail = db_column_blob(s, 12)};
        if (fn(arg, &t) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}

/* The functions of one invocation have a row each with the time of the whole. */
int
history_object_us(struct db_conn *conn, int64_t *mean_us, int64_t *samples)
{
    struct db_stmt *s = db_prepare(
        conn,
        "SELECT COUNT(DISTINCT key), SUM(run_us) FROM "
        "(SELECT key, MAX(run_us) AS run_us FROM "
        "(SELECT pid, started_ms, key, run_us FROM attempt ORDER BY id DESC LIMIT ?1) AS newest "
        "WHERE pid > 0 GROUP BY pid, started_ms, key) AS invocations");
    db_bind_int(s, 1, HISTORY_SAMPLE_ROWS);
    *mean_us = *samples = 0;
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc;
    *samples = db_column_int(s, 0);
    if (*samples > 0)
        *mean_us = db_column_int(s, 1) / *samples;
    db_reset(s);
    return ERR_NONE;
}
