/*
 * Batches, as the operator plans, starts, watches and steers them.
 *
 *    GET  /_/reprocess/plan?bucket=...&after=KEY   counts of some objects behind KEY, and where to
 *                                                  go on; the client adds up, nothing is kept here
 *    POST /_/reprocess                             a batch
 *    GET  /_/reprocess[?id=]                       how far it is
 *    GET  /_/reprocess/failures?id=&after=KEY      what failed in it, by name (a replay of all
 *                                                  buckets: after=BUCKET/KEY)
 *    POST /_/reprocess?id=&action=                 pause, resume, cancel
 *
 * A plan is asked for in pieces, each a few milliseconds of an HTTP thread, so that a million
 * objects hold nobody else up.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "pipeline/admin_priv.h"
#include "pipeline/batch.h"
#include "pipeline/history.h"

#include <stdlib.h>

#define PLAN_MS_MAX 20 /* of one answer; a page is the least */

/* ---- what is asked for ---- */

static const struct {
    const char *name;
    unsigned bit;
} selections[] = {{"stale", SELECT_STALE},
                  {"missing", SELECT_MISSING},
                  {"failed", SELECT_FAILED},
                  {"all", SELECT_ALL}};

/* "stale,missing"; n = 0: these two. 0: a word is unknown. */
static unsigned
select_parse(struct slice text)
{
    unsigned select = 0;
    if (text.n == 0)
        return SELECT_STALE | SELECT_MISSING;
    while (text.n > 0) {
        struct slice word = slice_cut(text, ',', &text);
        unsigned bit = 0;
        for (size_t i = 0; i < ARRAY_LEN(selections); i++)
            bit |= slice_eqs(word, selections[i].name) ? selections[i].bit : 0;
        if (bit == 0)
            return 0;
        select |= bit;
    }
    return select;
}

static json_t *
select_json(unsigned select)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(selections); i++)
        if ((select & selections[i].bit) != 0)
            json_array_append_new(list, json_string(selections[i].name));
    return list;
}

static const struct slice select_help =
    SLICE_LIT("select is a list of stale, missing, failed, or all");

/* ---- the plan ---- */

struct plan {
    struct batch batch; /* as it would be */
    int64_t seen, planned;
    int64_t classes[SURVEY_CLASS_COUNT];
    struct slice after;
    bool more;
    int64_t object_us, samples;
};

static int
plan_read(struct http_request *r, struct plan *p)
{
    uint64_t since_ms = 0;
    p->batch = (struct batch){.bucket = http_param(r, "bucket"),
                              .prefix = http_param(r, "prefix"),
                              .function = http_param(r, "function"),
                              .preset = http_param(r, "preset"),
                              .select = select_parse(http_param(r, "select"))};
    p->after = http_param(r, "after");
    if (admin_param_u64(r, "since_ms", 0, &since_ms) != ERR_NONE)
        return ERR_INVALID;
    p->batch.since_ms = (int64_t)since_ms;
    if (p->batch.select != 0)
        return ERR_NONE;
    admin_reply_error(r, ERR_INVALID, select_help);
    return ERR_INVALID;
}

static int
plan_check(struct admin_service *s, struct plan *p, struct buf *why)
{
    struct db_conn *conn = NULL;
    int err = db_read_begin(s->options.db, &conn);
    if (err != ERR_NONE)
        return err;
    err = batch_check(pipeline_registry(s->options.pipeline), conn, &p->batch, why);
    if (err == ERR_NONE)
        err = history_object_us(conn, &p->object_us, &p->samples);
    db_read_end(s->options.db, &conn);
    return err;
}

static int
plan_page(struct admin_service *s, struct http_request *r, struct plan *p, struct survey *page)
{
    struct survey_spec spec = {.bucket = p->batch.bucket,
                               .prefix = p->batch.prefix,
                               .after = p->after,
                               .function = p->batch.function,
                               .preset = p->batch.preset,
                               .select = p->batch.select,
                               .since_ms = p->batch.since_ms,
                               .objects_max = SURVEY_PAGE_MAX,
                               .tasks_max = SURVEY_PAGE_MAX};
    struct arena *a = arena_new(SURVEY_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err = survey_page(pipeline_registry(s->options.pipeline), s->options.db, a, &spec, page);
    if (err == ERR_NONE) {
        p->seen += page->seen;
        p->planned += (int64_t)page->task_count;
        for (int i = 0; i < SURVEY_CLASS_COUNT; i++)
            p->classes[i] += page->classes[i];
        p->more = page->more;
    }
    if (err == ERR_NONE && page->last.n > 0) {
        p->after = arena_dup(r->arena, page->last);
        err = p->after.p == NULL ? ERR_NOMEM : ERR_NONE;
    }
    survey_fini(page);
    arena_free(&a);
    return err;
}

static json_t *
plan_json(struct admin_service *s, const struct plan *p)
{
    struct dispatch_state *state = chk_malloc(sizeof *state);
    dispatch_snapshot(pipeline_dispatch(s->options.pipeline), state);
    json_t *body = json_pack("{sI sI sI sI si}", "seen", (json_int_t)p->seen, "planned",
                             (json_int_t)p->planned, "object_us", (json_int_t)p->object_us,
                             "samples", (json_int_t)p->samples, "workers", state->workers.ready);
    for (int i = 0; i < SURVEY_CLASS_COUNT; i++)
        json_object_set_new(body, survey_class_name((enum survey_class)i),
                            json_integer(p->classes[i]));
    if (p->more)
        json_object_set_new(body, "after", admin_text(p->after));
    free(state);
    return body;
}

void
admin_reprocess_plan(struct admin_service *s, struct http_request *r)
{
    struct plan p = {.more = true};
    struct buf why;
    if (plan_read(r, &p) != ERR_NONE)
        return;
    int64_t until_ms = clock_mono_ms() + PLAN_MS_MAX;
    buf_init(&why, ADMIN_WHY_MAX);
    struct survey *page = chk_malloc(sizeof *page);
    int err = plan_check(s, &p, &why);
    while (err == ERR_NONE && p.more) {
        err = plan_page(s, r, &p, page);
        if (clock_mono_ms() >= until_ms)
            break;
    }
    if (err == ERR_NONE)
        admin_reply_json(r, 200, plan_json(s, &p));
    else
        admin_reply_error(r, err, buf_slice(&why));
    free(page);
    buf_fini(&why);
}

/* ---- batches ---- */

static json_t *
batch_row(const void *row)
{
    const struct batch *b = row;
    json_t *out = json_pack("{sI so so so so so sI sI sI}", "id", (json_int_t)b->id, "bucket",
                            admin_text(b->bucket), "prefix", admin_text(b->prefix), "function",
                            admin_text(b->function), "preset", admin_text(b->preset), "select",
                            select_json(b->select), "since_ms", (json_int_t)b->since_ms, "rate",
                            (json_int_t)b->rate, "expected", (json_int_t)b->expected);
    json_t *state = json_pack("{ss sI sI sI sI sI sI sI}", "state", batch_state_name(b->state),
                              "seen", (json_int_t)b->seen, "planned", (json_int_t)b->planned,
                              "done", (json_int_t)b->done, "skipped", (json_int_t)b->skipped,
                              "failed", (json_int_t)b->failed, "created_ms",
                              (json_int_t)b->created_ms, "finished_ms", (json_int_t)b->finished_ms);
    if (out != NULL && state != NULL) {
        json_object_set_new(
            out, "feeding",
            json_boolean(b->state == BATCH_FEEDING || b->state == BATCH_PAUSED_FEEDING));
        json_object_set_new(out, "source",
                            json_string(b->source == BATCH_SOURCE_EVENTS ? "events" : "objects"));
        json_object_update(out, state);
    }
    json_decref(state);
    return out;
}

static int
batch_each(void *arg, const struct batch *b)
{
    return admin_page_add(arg, b);
}

void
admin_reprocess_get(struct admin_service *s, struct http_request *r)
{
    struct admin_page page = {json_array(), batch_row};
    struct db_conn *conn = NULL;
    uint64_t id = 0, before = 0;
    if (admin_param_u64(r, "id", 0, &id) != ERR_NONE ||
        admin_param_u64(r, "before", 0, &before) != ERR_NONE) {
        json_decref(page.list);
        return;
    }
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = id != 0 ? batch_get(conn, (int64_t)id, batch_each, &page)
                      : batch_list(conn, (int64_t)before, ADMIN_PAGE_MAX, batch_each, &page);
        db_read_end(s->options.db, &conn);
    }
    admin_page_reply(r, &page, err, "batches", "batch", id != 0);
}

static json_t *
failure_row(const void *row)
{
    const struct batch_failure *f = row;
    return json_pack("{so so so so}", "bucket", admin_text(f->bucket), "key", admin_text(f->key),
                     "function", admin_text(f->function), "reason", admin_text(f->reason));
}

static int
failure_each(void *arg, const struct batch_failure *f)
{
    return admin_page_add(arg, f);
}

void
admin_reprocess_failures(struct admin_service *s, struct http_request *r)
{
    struct admin_page page = {json_array(), failure_row};
    struct db_conn *conn = NULL;
    uint64_t id = 0;
    if (admin_param_u64(r, "id", 0, &id) != ERR_NONE) {
        json_decref(page.list);
        return;
    }
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = batch_failures(conn, (int64_t)id, http_param(r, "after"), ADMIN_PAGE_MAX,
                             failure_each, &page);
        db_read_end(s->options.db, &conn);
    }
    admin_page_reply(r, &page, err, "failures", "batch", false);
}

/* ---- changes ---- */

void
admin_batch_begun(struct admin_write *w)
{
    log_line(LOG_INFO, "batch_begun", "request_id=%s batch_id=%lld", w->request->id,
             (long long)json_get_int(w->reply, "id", 0));
}

static int
apply_reprocess(struct admin_write *w, struct db_conn *conn)
{
    struct batch spec = {.source = BATCH_SOURCE_OBJECTS,
                         .bucket = json_get_str(w->body, "bucket"),
                         .prefix = json_get_str(w->body, "prefix"),
                         .function = json_get_str(w->body, "function"),
                         .preset = json_get_str(w->body, "preset"),
                         .select = select_parse(json_get_str(w->body, "select")),
                         .since_ms = json_get_int(w->body, "since_ms", 0),
                         .rate = json_get_int(w->body, "rate", 0),
                         .expected = json_get_int(w->body, "expected", 0)};
    struct registry *registry = pipeline_registry(w->service->options.pipeline);
    if (spec.select == 0) {
        buf_put_slice(&w->why, select_help);
        return ERR_INVALID;
    }
    int err = batch_apply_create(registry, conn, &spec, &w->why);
    if (err == ERR_NONE)
        w->reply = json_pack("{sI}", "id", (json_int_t)spec.id);
    w->committed = admin_batch_begun;
    return err;
}

static int
apply_batch_state(struct admin_write *w, struct db_conn *conn,
                  int (*change)(struct db_conn *conn, int64_t id))
{
    int err = change(conn, (int64_t)w->id);
    if (err == ERR_NOTFOUND)
        buf_puts(&w->why, "no such batch");
    else if (err == ERR_CONFLICT)
        buf_puts(&w->why, "the batch is not in a state that allows this");
    if (err == ERR_NONE)
        w->reply = json_pack("{sI}", "id", (json_int_t)w->id);
    return err;
}

static int
apply_pause(struct admin_write *w, struct db_conn *conn)
{
    return apply_batch_state(w, conn, batch_apply_pause);
}

static int
apply_resume(struct admin_write *w, struct db_conn *conn)
{
    return apply_batch_state(w, conn, batch_apply_resume);
}

static int
apply_cancel(struct admin_write *w, struct db_conn *conn)
{
    return apply_batch_state(w, conn, batch_apply_cancel);
}

void
admin_reprocess_post(struct admin_service *s, struct http_request *r)
{
    static const struct {
        const char *name;
        admin_apply_fn apply;
    } actions[] = {{"pause", apply_pause}, {"resume", apply_resume}, {"cancel", apply_cancel}};
    struct slice action = http_param(r, "action");
    uint64_t id = 0;
    if (admin_param_u64(r, "id", 0, &id) != ERR_NONE)
        return;
    if (action.p == NULL) {
        json_t *body = admin_body(r);
        if (body != NULL)
            admin_submit(s, r, apply_reprocess, body, 0);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (slice_eqs(action, actions[i].name)) {
            admin_submit(s, r, actions[i].apply, NULL, id);
            return;
        }
    }
    admin_reply_error(r, ERR_INVALID, SLICE_LIT("action must be pause, resume or cancel"));
}
