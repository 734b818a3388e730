/*
 * The event log and its replaying. What is answered in pages says with `next` where to go on, 0 at
 * the end.
 *
 *    GET  /_/event-log      events:  bucket=  prefix=  since_ms=  until_ms=  after=SEQ  until=SEQ
 *    GET  /_/replay/plan    the same and force=1: what a replay would do with them, counted
 *    POST /_/replay         a replay, from a JSON object with these names; it is a batch:
 *                           /_/reprocess?id= tells how far it is, and pauses or cancels it
 *    GET  /_/replay?id=     what became of the events that it did not queue
 */
#include "base/chk.h"
#include "base/err.h"
#include "pipeline/admin_priv.h"
#include "pipeline/replay.h"

#include <stdlib.h>

struct events_page {
    struct buf *json;
    bool first;
};

/* False: answered. */
static bool
filter_read(struct http_request *r, struct event_log_filter *f)
{
    uint64_t after = 0, until = 0, since_ms = 0, until_ms = 0;
    if (admin_param_u64(r, "after", 0, &after) != ERR_NONE ||
        admin_param_u64(r, "until", INT64_MAX, &until) != ERR_NONE ||
        admin_param_u64(r, "since_ms", 0, &since_ms) != ERR_NONE ||
        admin_param_u64(r, "until_ms", INT64_MAX, &until_ms) != ERR_NONE)
        return false;
    *f = (struct event_log_filter){.after = (int64_t)after,
                                   .until = (int64_t)until,
                                   .since_ms = (int64_t)since_ms,
                                   .until_ms = (int64_t)until_ms,
                                   .bucket = http_param(r, "bucket"),
                                   .prefix = http_param(r, "prefix")};
    return true;
}

static int
add_event(void *arg, const struct event_log_row *row)
{
    struct events_page *page = arg;
    buf_puts(page->json, page->first ? "" : ",");
    page->first = false;
    event_log_json(row, page->json);
    return 0;
}

void
admin_event_log_get(struct admin_service *s, struct http_request *r)
{
    struct event_log_filter filter;
    struct db_conn *conn = NULL;
    struct buf json;
    int64_t next = 0, oldest = 0, newest = 0;
    struct events_page page = {&json, true};
    if (!filter_read(r, &filter))
        return;
    buf_init(&json, ADMIN_REPLY_MAX);
    buf_puts(&json, "{\"events\":[");
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = event_log_list(conn, &filter, ADMIN_PAGE_MAX, add_event, &page, &next);
        if (err == ERR_NONE)
            err = event_log_ends(conn, &oldest, &newest);
        db_read_end(s->options.db, &conn);
    }
    buf_printf(&json, "],\"next\":%lld,\"oldest\":%lld,\"newest\":%lld}\n", (long long)next,
               (long long)oldest, (long long)newest);
    if (err == ERR_NONE)
        err = json.err;
    if (err == ERR_NONE)
        admin_reply_text(r, 200, "application/json", buf_slice(&json));
    else
        admin_reply_error(r, err, SLICE_NONE);
    buf_fini(&json);
}

/* ---- replay ---- */

static void
counts_put(json_t *out, const int64_t counts[REPLAY_CLASS_COUNT], bool planned)
{
    for (int i = planned ? 0 : REPLAY_PLANNED + 1; i < REPLAY_CLASS_COUNT; i++)
        json_object_set_new(out, replay_class_name((enum replay_class)i),
                            json_integer((json_int_t)counts[i]));
}

static json_t *
plan_json(const struct replay_page *page)
{
    json_t *out =
        json_pack("{sI sI}", "seen", (json_int_t)page->seen, "next", (json_int_t)page->next);
    counts_put(out, page->counts, true);
    return out;
}

void
admin_replay_plan(struct admin_service *s, struct http_request *r)
{
    struct replay replay = {.force = slice_eqs(http_param(r, "force"), "1")};
    struct db_conn *conn = NULL;
    if (!filter_read(r, &replay.filter))
        return;
    struct arena *a = arena_new(REPLAY_ARENA_BYTES);
    struct replay_page *page = chk_calloc(1, sizeof *page);
    int err = a == NULL ? ERR_NOMEM : db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = replay_page_read(pipeline_registry(s->options.pipeline), conn, a, &replay, page);
        db_read_end(s->options.db, &conn);
    }
    if (err == ERR_NONE)
        admin_reply_json(r, 200, plan_json(page));
    else
        admin_reply_error(r, err, SLICE_NONE);
    replay_page_fini(page);
    free(page);
    arena_free(&a);
}

static int
apply_replay(struct admin_write *w, struct db_conn *conn)
{
    int64_t id = 0;
    struct replay spec = {.filter = {.after = json_get_int(w->body, "after", 0),
                                     .until = json_get_int(w->body, "until", INT64_MAX),
                                     .since_ms = json_get_int(w->body, "since_ms", 0),
                                     .until_ms = json_get_int(w->body, "until_ms", INT64_MAX),
                                     .bucket = json_get_str(w->body, "bucket"),
                                     .prefix = json_get_str(w->body, "prefix")},
                          .force = json_get_bool(w->body, "force", false)};
    int err = replay_apply_create(pipeline_registry(w->service->options.pipeline), conn, &spec,
                                  &w->why, &id);
    if (err == ERR_NONE)
        w->reply = json_pack("{sI}", "id", (json_int_t)id);
    w->committed = admin_batch_begun;
    return err;
}

void
admin_replay_post(struct admin_service *s, struct http_request *r)
{
    json_t *body = admin_body(r);
    if (body != NULL)
        admin_submit(s, r, apply_replay, body, 0);
}

void
admin_replay_get(struct admin_service *s, struct http_request *r)
{
    struct replay replay;
    struct db_conn *conn = NULL;
    uint64_t id = 0;
    if (admin_param_u64(r, "id", 0, &id) != ERR_NONE)
        return;
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = replay_get(conn, (int64_t)id, r->arena, &replay);
        db_read_end(s->options.db, &conn);
    }
    if (err != ERR_NONE) {
        admin_reply_error(r, err, err == ERR_NOTFOUND ? SLICE_LIT("no such replay") : SLICE_NONE);
        return;
    }
    json_t *out = json_pack("{sI}", "id", (json_int_t)id);
    counts_put(out, replay.counts, false);
    admin_reply_json(r, 200, out);
}
