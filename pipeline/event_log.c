/*
 * The log lies on the road of every PUT, so a PUT costs it one row at the end of one tree, and no
 * index. The story of a key is found without one: the number of a row is the generation of the
 * object that it made, and each row names the one before it. Only where the chain has a gap, behind
 * a removal, a look-up is needed: removals, which are rarer, are in a partial index.
 *
 *     object.generation = 70                         event_log_removed (bucket_id, key, seq)
 *            |                                            |
 *            v                                            v
 *     70 PUT old 61 --> 61 PUT old 0 ... gap ...  --> 40 DELETE old 12 --> 12 PUT old 0 ...
 *
 * Rows also count themselves, `n`, so that the span from the oldest to the newest bounds their
 * number without counting. A change that is rolled back takes its row with it but not its n, which
 * is kept in memory: a gap makes the log a little shorter than it may be, never longer.
 */
#include "pipeline/event_log.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>

#define EVENT_LOG_MAGIC 0x0e7e1063u
#define COLUMNS                                                                                 \
    "seq, old_seq, time_ms, type, bucket_id, bucket, key, version_id, size, etag, request_id, " \
    "access_key_id, account_id, source_ip"

struct event_log {
    uint32_t magic;
    int64_t age_ms_max;
    int64_t rows_max;
    int64_t n; /* of the newest row; the writer's thread */
};

struct slice
event_log_who(const struct event_log_row *row)
{
    if (row->access_key_id.n > 0)
        return row->access_key_id;
    if ((EVENT_MASK(row->type) & EVENT_MASK_EXPIRED) != 0)
        return SLICE_LIT("lifecycle");
    return row->request_id.n > 0 ? SLICE_LIT("anonymous") : SLICE_LIT("server");
}

static int
newest_n(struct db_conn *conn, int64_t *n)
{
    struct db_stmt *s = db_prepare(conn, "SELECT n FROM event_log ORDER BY seq DESC LIMIT 1");
    int rc = db_step(s);
    *n = 0;
    if (rc != DB_ROW)
        return rc;
    *n = db_column_int(s, 0);
    db_reset(s);
    return ERR_NONE;
}

int
event_log_open(struct event_log **out, struct db *db, int64_t age_ms_max, int64_t rows_max)
{
    struct db_conn *conn = NULL;
    struct event_log *log = chk_calloc(1, sizeof *log);
    *log = (struct event_log){
        .magic = EVENT_LOG_MAGIC, .age_ms_max = age_ms_max, .rows_max = rows_max};
    int err = db_read_begin(db, &conn);
    if (err == ERR_NONE) {
        err = newest_n(conn, &log->n);
        db_read_end(db, &conn);
    }
    if (err != ERR_NONE)
        event_log_close(&log);
    *out = log;
    return err;
}

void
event_log_close(struct event_log **lp)
{
    struct event_log *log = *lp;
    *lp = NULL;
    if (log == NULL)
        return;
    CHK_MAGIC(log, EVENT_LOG_MAGIC);
    log->magic = 0;
    free(log);
}

/* ---- writing ---- */

static enum event_type
type_of(const struct store_change *c)
{
    if (c->by_lifecycle && c->kind == STORE_REMOVED)
        return EVENT_EXPIRED;
    if (c->by_lifecycle && c->kind == STORE_REMOVED_MARKER)
        return EVENT_EXPIRED_MARKER;
    return event_type_of(c->kind);
}

/* Looks at the oldest row first: mostly nothing is to do, and a PUT waits for it. */
static int
trim(const struct event_log *log, struct db_conn *conn, int64_t now_ms)
{
    struct db_stmt *s = db_prepare(conn, "SELECT n, time_ms FROM event_log ORDER BY seq LIMIT 1");
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc;
    bool due = db_column_int(s, 0) <= log->n - log->rows_max ||
               db_column_int(s, 1) < now_ms - log->age_ms_max;
    db_reset(s);
    if (!due)
        return ERR_NONE;
    s = db_prepare(conn, "DELETE FROM event_log WHERE seq IN (SELECT seq FROM "
                         "(SELECT seq, n, time_ms FROM event_log ORDER BY seq LIMIT ?1) AS oldest "
                         "WHERE time_ms < ?2 OR n <= ?3)");
    db_bind_int(s, 1, EVENT_LOG_TRIM_ROWS);
    db_bind_int(s, 2, now_ms - log->age_ms_max);
    db_bind_int(s, 3, log->n - log->rows_max);
    return db_run(s);
}

int
event_log_apply_add(struct event_log *log, struct db_conn *conn, const struct store_change *c)
{
    CHK_MAGIC(log, EVENT_LOG_MAGIC);
    CHK(store_change_is_current(c->kind) && c->generation > 0 && !c->by_function);
    int64_t now_ms = clock_wall_ms();
    struct db_stmt *s =
        db_prepare(conn, "INSERT INTO event_log (" COLUMNS ", removed, n) VALUES (?1, ?2, ?3, ?4, "
                         "?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)");
    db_bind_int(s, 1, c->generation);
    db_bind_int(s, 2, c->old_generation);
    db_bind_int(s, 3, now_ms);
    db_bind_int(s, 4, type_of(c));
    db_bind_int(s, 5, c->bucket_id);
    db_bind_text(s, 6, c->bucket);
    db_bind_blob(s, 7, c->key);
    db_bind_text(s, 8, slice_str(c->version_id));
    db_bind_int(s, 9, c->object == NULL ? 0 : c->object->size);
    db_bind_text(s, 10, c->object == NULL ? SLICE_LIT("") : slice_str(c->object->etag));
    db_bind_text(s, 11, c->request_id);
    db_bind_text(s, 12, c->access_key_id);
    db_bind_text(s, 13, c->account_id);
    db_bind_text(s, 14, c->source_ip);
    db_bind_int(s, 15, c->object == NULL);
    db_bind_int(s, 16, ++log->n);
    int err = db_run(s);
    return err == ERR_NONE && log->n % EVENT_LOG_TRIM_EVERY == 0 ? trim(log, conn, now_ms) : err;
}

/* ---- reading ---- */

static void
row_read(struct db_stmt *s, struct event_log_row *row)
{
    int64_t type = db_column_int(s, 3);
    *row = (struct event_log_row){
        .seq = db_column_int(s, 0),
        .old_seq = db_column_int(s, 1),
        .time_ms = db_column_int(s, 2),
        .type = type >= 0 && type < EVENT_TYPE_COUNT ? (enum event_type)type : EVENT_CREATED_PUT,
        .bucket_id = db_column_int(s, 4),
        .bucket = db_column_blob(s, 5),
        .key = db_column_blob(s, 6),
        .version_id = db_column_blob(s, 7),
        .size = db_column_int(s, 8),
        .etag = db_column_blob(s, 9),
        .request_id = db_column_blob(s, 10),
        .access_key_id = db_column_blob(s, 11),
        .account_id = db_column_blob(s, 12),
        .source_ip = db_column_blob(s, 13),
    };
}

static bool
matches(const struct event_log_filter *f, const struct event_log_row *row)
{
    return row->time_ms >= f->since_ms && row->time_ms <= f->until_ms &&
           (f->bucket.n == 0 || slice_eq(f->bucket, row->bucket)) &&
           slice_starts(row->key, f->prefix);
}

int
event_log_list(struct db_conn *conn, const struct event_log_filter *filter, int max,
               event_log_fn fn, void *arg, int64_t *next)
{
    struct event_log_row row;
    int rc, seen = 0, given = 0;
    bool stop = false;
    int64_t last = 0;
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM event_log WHERE seq > ?1 AND "
                                         "seq <= ?2 ORDER BY seq LIMIT ?3");
    db_bind_int(s, 1, filter->after);
    db_bind_int(s, 2, filter->until);
    db_bind_int(s, 3, EVENT_LOG_SCAN_MAX);
    while ((rc = db_step(s)) == DB_ROW) {
        row_read(s, &row);
        seen++;
        last = row.seq;
        if (!matches(filter, &row))
            continue;
        given++;
        stop = fn(arg, &row) != 0 || given == max;
        if (!stop)
            continue;
        db_reset(s);
        rc = DB_DONE;
        break;
    }
    *next = stop || seen == EVENT_LOG_SCAN_MAX ? last : 0;
    return rc;
}

int
event_log_ends(struct db_conn *conn, int64_t *oldest, int64_t *newest)
{
    /* Two seeks: min and max in one SELECT would be a scan. */
    struct db_stmt *s = db_prepare(conn, "SELECT (SELECT min(seq) FROM event_log), "
                                         "(SELECT max(seq) FROM event_log)");
    int rc = db_step(s);
    *oldest = *newest = 0;
    if (rc != DB_ROW)
        return rc;
    *oldest = db_column_is_null(s, 0) ? 0 : db_column_int(s, 0);
    *newest = db_column_is_null(s, 1) ? 0 : db_column_int(s, 1);
    db_reset(s);
    return ERR_NONE;
}

/* The row that made this generation of the key, or its newest removal before that. */
static struct db_stmt *
prepare_before(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t seq, bool removal)
{
    struct db_stmt *s =
        removal
            ? db_prepare(conn, "SELECT " COLUMNS " FROM event_log WHERE bucket_id = ?1 AND "
                               "key = ?2 AND removed = 1 AND seq < ?3 ORDER BY seq DESC LIMIT 1")
            : db_prepare(conn, "SELECT " COLUMNS " FROM event_log WHERE seq = ?3 AND "
                               "+bucket_id = ?1 AND +key = ?2");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    db_bind_int(s, 3, seq);
    return s;
}

int
event_log_of_key(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t generation,
                 int max, event_log_fn fn, void *arg)
{
    struct event_log_row row;
    int64_t before = INT64_MAX; /* the story goes on with earlier ones */
    for (int count = 0; count < max; count++) {
        int rc = DB_DONE;
        struct db_stmt *s = NULL;
        if (generation != 0) {
            s = prepare_before(conn, bucket_id, key, generation, false);
            rc = db_step(s);
        }
        if (rc == DB_DONE) {
            s = prepare_before(conn, bucket_id, key, before, true);
            rc = db_step(s);
        }
        if (rc != DB_ROW)
            return rc;
        row_read(s, &row);
        before = row.seq;
        generation = row.old_seq;
        bool stop = fn(arg, &row) != 0;
        db_reset(s);
        if (stop)
            return ERR_NONE;
    }
    return ERR_NONE;
}

static void
member(struct buf *out, const char *name, struct slice value)
{
    buf_printf(out, ",\"%s\":", name);
    json_quote(out, value);
}

void
event_log_json(const struct event_log_row *row, struct buf *out)
{
    char when[CLOCK_TEXT_MAX];
    clock_iso8601(row->time_ms, when);
    buf_printf(out, "{\"seq\":%" PRId64, row->seq);
    member(out, "event", slice_str(event_type_name(row->type)));
    if (row->type == EVENT_RESTORED) /* that the removal of a newer version made current again */
        buf_puts(out, ",\"restored\":true");
    member(out, "time", slice_str(when));
    member(out, "bucket", row->bucket);
    member(out, "key", row->key);
    member(out, "version_id", row->version_id);
    if ((EVENT_MASK(row->type) & (EVENT_MASK_REMOVED | EVENT_MASK_EXPIRED)) == 0) {
        buf_printf(out, ",\"size\":%" PRId64, row->size);
        member(out, "etag", row->etag);
    }
    member(out, "who", event_log_who(row));
    member(out, "account", row->account_id);
    member(out, "source_ip", row->source_ip);
    member(out, "request_id", row->request_id);
    buf_putc(out, '}');
}
