#include "base/clock.h"
#include "base/err.h"
#include "pipeline/notice.h"
#include "pipeline/webhook.h"

#include <inttypes.h>
#include <stdio.h>

#define COLUMNS                                                        \
    "id, bucket, prefix, url, secret, created_ms, told_id, attempts, " \
    "not_before_ms, failing_since_ms, told, given_up, last_error"

static void
row_read(struct db_stmt *s, struct webhook *h)
{
    *h = (struct webhook){.bucket = db_column_blob(s, 1),
                          .prefix = db_column_blob(s, 2),
                          .url = db_column_blob(s, 3),
                          .secret = db_column_blob(s, 4),
                          .created_ms = db_column_int(s, 5),
                          .given_up = db_column_int(s, 11),
                          .progress = {.id = db_column_int(s, 0),
                                       .told_id = db_column_int(s, 6),
                                       .attempts = db_column_int(s, 7),
                                       .not_before_ms = db_column_int(s, 8),
                                       .failing_since_ms = db_column_int(s, 9),
                                       .told = db_column_int(s, 10)}};
    snprintf(h->progress.last_error, sizeof h->progress.last_error, "%.*s",
             SLICE_FMT(db_column_blob(s, 12)));
}

int
webhook_list(struct db_conn *conn, webhook_fn fn, void *arg)
{
    struct webhook h;
    int rc;
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM webhook ORDER BY id LIMIT ?1");
    db_bind_int(s, 1, WEBHOOKS_MAX);
    while ((rc = db_step(s)) == DB_ROW) {
        row_read(s, &h);
        if (fn(arg, &h) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}

struct room {
    const struct webhook *wanted;
    int count;
    int64_t same_id; /* 0: none */
};

static int
look_for_room(void *arg, const struct webhook *h)
{
    struct room *r = arg;
    r->count++;
    if (slice_eq(h->bucket, r->wanted->bucket) && slice_eq(h->prefix, r->wanted->prefix) &&
        slice_eq(h->url, r->wanted->url))
        r->same_id = h->progress.id;
    return 0;
}

/* Two hooks of the same would be an answer that got lost, and every notice told twice. */
static int
room_for(struct db_conn *conn, const struct webhook *h, struct buf *why)
{
    struct room room = {.wanted = h};
    int err = webhook_list(conn, look_for_room, &room);
    if (err != ERR_NONE)
        return err;
    if (room.same_id != 0) {
        buf_printf(why, "that webhook is there already, as number %" PRId64, room.same_id);
        return ERR_EXISTS;
    }
    if (room.count >= WEBHOOKS_MAX) {
        buf_printf(why, "there are %d webhooks already, and no more can be", WEBHOOKS_MAX);
        return ERR_CONFLICT;
    }
    return ERR_NONE;
}

int
webhook_apply_add(struct db_conn *conn, struct webhook *h, struct buf *why)
{
    int err = room_for(conn, h, why);
    h->progress = (struct webhook_progress){0};
    if (err == ERR_NONE)
        err = notice_last(conn, &h->progress.told_id);
    if (err != ERR_NONE)
        return err;
    /* Never reused: progress that was on its way for a removed hook finds no row. */
    h->progress.id = db_next(conn);
    h->created_ms = clock_wall_ms();
    struct db_stmt *s = db_prepare(conn, "INSERT INTO webhook (" COLUMNS ") VALUES "
                                         "(?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, 0, 0, '')");
    db_bind_int(s, 1, h->progress.id);
    db_bind_text(s, 2, h->bucket);
    db_bind_blob(s, 3, h->prefix);
    db_bind_text(s, 4, h->url);
    db_bind_text(s, 5, h->secret);
    db_bind_int(s, 6, h->created_ms);
    db_bind_int(s, 7, h->progress.told_id);
    return db_run(s);
}

int
webhook_apply_remove(struct db_conn *conn, int64_t id)
{
    struct db_stmt *s = db_prepare(conn, "DELETE FROM webhook WHERE id = ?1");
    db_bind_int(s, 1, id);
    int err = db_run(s);
    return err == ERR_NONE && db_changes(conn) == 0 ? ERR_NOTFOUND : err;
}

int
webhook_apply_progress(struct db_conn *conn, const struct webhook_progress *p,
                       int64_t given_up_more, int64_t *given_up)
{
    struct db_stmt *s =
        db_prepare(conn, "UPDATE webhook SET told_id = ?2, attempts = ?3, not_before_ms = ?4, "
                         "failing_since_ms = ?5, told = ?6, given_up = given_up + ?7, "
                         "last_error = ?8 WHERE id = ?1 AND told_id <= ?2 RETURNING given_up");
    db_bind_int(s, 1, p->id);
    db_bind_int(s, 2, p->told_id);
    db_bind_int(s, 3, p->attempts);
    db_bind_int(s, 4, p->not_before_ms);
    db_bind_int(s, 5, p->failing_since_ms);
    db_bind_int(s, 6, p->told);
    db_bind_int(s, 7, given_up_more);
    db_bind_text(s, 8, slice_str(p->last_error));
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    *given_up = db_column_int(s, 0);
    return db_run(s);
}

int
webhook_apply_trim(struct db_conn *conn, int64_t upto_id)
{
    /* As a rule no hook is that far behind, and nothing is counted. */
    struct db_stmt *s = db_prepare(
        conn, "UPDATE webhook SET given_up = given_up + (SELECT count(*) FROM notice AS n "
              "WHERE n.id > webhook.told_id AND n.id <= ?1 AND n.bucket = webhook.bucket "
              "AND substr(n.key, 1, length(webhook.prefix)) = webhook.prefix) "
              "WHERE told_id < ?1");
    db_bind_int(s, 1, upto_id);
    return db_run(s);
}
