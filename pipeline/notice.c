/*
 * The rows of notices. The newest is never removed, so ids are one more than the last, for ever;
 * and as the oldest go first, the span of the ids is the number of the rows.
 */
#include "pipeline/notice.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "pipeline/event.h"
#include "pipeline/webhook.h"

#include <inttypes.h>
#include <stdatomic.h>

static _Atomic uint64_t added;

const char *
notice_kind_name(enum notice_kind kind)
{
    static const char *const names[] = {
#define X(id, name) [NOTICE_##id] = name,
        NOTICE_KIND_LIST(X)
#undef X
    };
    CHK(kind < NOTICE_KIND_COUNT);
    return names[kind];
}

/* ---- detail ---- */

static void
put_str(struct buf *out, const char *name, struct slice value)
{
    buf_printf(out, ",\"%s\":", name);
    json_quote(out, value);
}

static void
put_preset(const struct notice_preset *p, bool whole, struct buf *out)
{
    struct slice reason;
    json_quote(out, p->name);
    buf_puts(out, ":{\"state\":");
    json_quote(out, whole ? p->state : slice_cut(p->state, ':', &reason));
    if (whole && p->bucket.n > 0) {
        put_str(out, "bucket", p->bucket);
        put_str(out, "key", p->key);
        put_str(out, "content_type", p->content_type);
        put_str(out, "etag", p->etag);
        buf_printf(out, ",\"size\":%" PRId64 ",\"width\":%d,\"height\":%d", p->size, p->width,
                   p->height);
    }
    buf_putc(out, '}');
}

static void
put_detail(const struct notice_preset *presets, size_t count, bool whole, struct buf *out)
{
    buf_reset(out);
    buf_putc(out, '{');
    for (size_t i = 0; i < count; i++) {
        buf_puts(out, i == 0 ? "" : ",");
        put_preset(&presets[i], whole, out);
    }
    buf_putc(out, '}');
}

void
notice_detail(const struct notice_preset *presets, size_t count, struct buf *out)
{
    put_detail(presets, count, true, out);
    if (out->err == ERR_TOOBIG || out->n > NOTICE_DETAIL_MAX)
        put_detail(presets, count, false, out);
}

/* ---- rows ---- */

int
notice_last(struct db_conn *conn, int64_t *id)
{
    struct db_stmt *s = db_prepare(conn, "SELECT max(id) FROM notice");
    int rc = db_step(s);
    *id = 0;
    if (rc != DB_ROW)
        return rc;
    *id = db_column_is_null(s, 0) ? 0 : db_column_int(s, 0);
    db_reset(s);
    return ERR_NONE;
}

/* Removes the oldest rows that are too many or too old; `last` stays. */
static int
trim(struct db_conn *conn, int64_t last, int64_t now_ms)
{
    int rc;
    int64_t until = 0;
    struct db_stmt *s =
        db_prepare(conn, "SELECT id, time_ms FROM notice WHERE id < ?1 ORDER BY id LIMIT ?2");
    db_bind_int(s, 1, last);
    db_bind_int(s, 2, NOTICE_TRIM_ROWS);
    while ((rc = db_step(s)) == DB_ROW) {
        int64_t id = db_column_int(s, 0);
        if (id > last - NOTICE_ROWS_MAX && db_column_int(s, 1) >= now_ms - NOTICE_AGE_MS_MAX) {
            db_reset(s);
            rc = DB_DONE;
            break;
        }
        until = id;
    }
    if (rc != DB_DONE || until == 0)
        return rc;
    rc = webhook_apply_trim(conn, until);
    if (rc != ERR_NONE)
        return rc;
    s = db_prepare(conn, "DELETE FROM notice WHERE id <= ?1");
    db_bind_int(s, 1, until);
    return db_run(s);
}

int
notice_apply_add(struct db_conn *conn, struct notice *n)
{
    int err = notice_last(conn, &n->id);
    if (err != ERR_NONE)
        return err;
    n->id++;
    n->time_ms = clock_wall_ms();
    atomic_fetch_add(&added, 1);
    struct db_stmt *s =
        db_prepare(conn, "INSERT INTO notice (id, kind, bucket_id, bucket, key, generation, "
                         "version_id, time_ms, detail, request_id) "
                         "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
    db_bind_int(s, 1, n->id);
    db_bind_int(s, 2, n->kind);
    db_bind_int(s, 3, n->bucket_id);
    db_bind_text(s, 4, n->bucket);
    db_bind_blob(s, 5, n->key);
    db_bind_int(s, 6, n->generation);
    db_bind_text(s, 7, n->version_id);
    db_bind_int(s, 8, n->time_ms);
    db_bind_text(s, 9, n->detail);
    db_bind_text(s, 10, n->request_id);
    err = db_run(s);
    return err == ERR_NONE ? trim(conn, n->id, n->time_ms) : err;
}

uint64_t
notice_added(void)
{
    return atomic_load(&added);
}

int
notice_list(struct db_conn *conn, int64_t after, int64_t until, int limit, notice_fn fn, void *arg)
{
    int rc;
    struct db_stmt *s = db_prepare(
        conn, "SELECT id, kind, bucket_id, bucket, key, generation, version_id, time_ms, detail, "
              "request_id FROM notice WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3");
    db_bind_int(s, 1, after);
    db_bind_int(s, 2, until);
    db_bind_int(s, 3, limit);
    while ((rc = db_step(s)) == DB_ROW) {
        int64_t kind = db_column_int(s, 1);
        struct notice n = {.id = db_column_int(s, 0),
                           .kind = (enum notice_kind)kind,
                           .bucket_id = db_column_int(s, 2),
                           .bucket = db_column_blob(s, 3),
                           .key = db_column_blob(s, 4),
                           .generation = db_column_int(s, 5),
                           .version_id = db_column_blob(s, 6),
                           .time_ms = db_column_int(s, 7),
                           .detail = db_column_blob(s, 8),
                           .request_id = db_column_blob(s, 9)};
        if (kind < 0 || kind >= NOTICE_KIND_COUNT)
            rc = ERR_CORRUPT;
        else
            rc = fn(arg, &n);
        if (rc != 0) {
            db_reset(s);
            return rc < 0 ? rc : ERR_NONE;
        }
    }
    return rc;
}

/* ---- as others see it ---- */

void
notice_json(const struct notice *n, struct buf *out)
{
    char when[CLOCK_TEXT_MAX];
    char sequencer[EVENT_SEQUENCER_TEXT];
    clock_iso8601(n->time_ms, when);
    event_sequencer(n->generation, sequencer);
    buf_printf(out, "{\"id\":\"%" PRId64 "\",\"type\":\"%s\"", n->id, notice_kind_name(n->kind));
    put_str(out, "time", slice_str(when));
    put_str(out, "bucket", n->bucket);
    put_str(out, "key", n->key);
    put_str(out, "version_id", n->version_id);
    put_str(out, "sequencer", slice_str(sequencer));
    if (n->request_id.n > 0)
        put_str(out, "request_id", n->request_id);
    buf_puts(out, ",\"presets\":");
    buf_put_slice(out, n->detail);
    buf_putc(out, '}');
}
