/*
 * What the operator and the monitoring see. Short reads, answered on the HTTP thread.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stat.h"
#include "pipeline/admin_priv.h"
#include "pipeline/history.h"

#include <stdlib.h>

/* ---- health, status ---- */

static const char *
storage_state(struct db *db)
{
    switch (db_health(db)) {
    case ERR_NONE:
        return "ok";
    case ERR_FULL:
        return "space_low";
    default:
        return "sync_failed";
    }
}

static json_t *
workers_json(const struct runtime_view *v)
{
    return json_pack("{si si so so so}", "configured", v->configured, "ready", v->ready, "problem",
                     admin_text(slice_str(v->problem)), "formats",
                     admin_text(slice_str(v->formats)), "sandbox_missing",
                     admin_text(slice_str(v->missing)));
}

static json_t *
queue_json(const struct queue_counts *c)
{
    return json_pack("{sI sI sI sI}", "live", (json_int_t)c->waiting[LANE_LIVE], "followup",
                     (json_int_t)c->waiting[LANE_FOLLOWUP], "batch",
                     (json_int_t)c->waiting[LANE_BATCH], "dead", (json_int_t)c->dead);
}

void
admin_health(struct admin_service *s, struct http_request *r)
{
    struct dispatch_state *state = chk_malloc(sizeof *state);
    dispatch_snapshot(pipeline_dispatch(s->options.pipeline), state);
    const char *storage = storage_state(s->options.db);
    bool failed = strcmp(storage, "sync_failed") == 0;
    int64_t quarantined = stat_get(STAT_quarantined_blobs);
    const struct runtime_view *v = &state->workers;
    bool degraded =
        strcmp(storage, "ok") != 0 || quarantined > 0 || v->ready + v->replacing < v->configured;
    json_t *body = json_pack("{ss ss so so sI}", "status",
                             failed     ? "failed"
                             : degraded ? "degraded"
                                        : "ok",
                             "storage", storage, "workers", workers_json(v), "queue",
                             queue_json(&state->counts), "quarantined", (json_int_t)quarantined);
    free(state);
    admin_reply_json(r, failed ? 503 : 200, body);
}

/* "a b c" as an array. */
static json_t *
words_json(const char *words)
{
    json_t *list = json_array();
    struct slice rest = slice_str(words);
    while (rest.n > 0)
        json_array_append_new(list, admin_text(slice_cut(rest, ' ', &rest)));
    return list;
}

/* What the workers said that they can do: nothing here knows a format by itself. */
void
admin_formats(struct admin_service *s, struct http_request *r)
{
    struct dispatch_state *state = chk_malloc(sizeof *state);
    dispatch_snapshot(pipeline_dispatch(s->options.pipeline), state);
    const struct runtime_view *v = &state->workers;
    if (v->formats[0] == '\0')
        admin_reply_error(r, ERR_BUSY, SLICE_LIT("no worker has told yet what it can do"));
    else
        admin_reply_json(r, 200,
                         json_pack("{so so so so so}", "read", words_json(v->formats), "optional",
                                   words_json(v->optional), "written", words_json(v->written),
                                   "refused", words_json(v->refused), "opted_in",
                                   admin_text(slice_str(conf_str(s->options.conf, CONF_FORMATS)))));
    free(state);
}

static json_t *
running_json(const struct dispatch_running *run)
{
    return json_pack("{ss ss so sI ss sI sI}", "functions", run->functions, "bucket", run->bucket,
                     "key", /* cut, perhaps within a character */ admin_text(slice_str(run->key)),
                     "generation", (json_int_t)run->generation, "lane", queue_lane_name(run->lane),
                     "pid", (json_int_t)run->pid, "started_ms", (json_int_t)run->started_ms);
}

/* Counters since the start, for whoever asks twice and wants rates. */
static json_t *
totals_json(void)
{
    static const struct {
        const char *name;
        enum stat_id id;
    } totals[] = {{"requests", STAT_http_requests_total},
                  {"puts", STAT_objects_put_total},
                  {"bytes_in", STAT_object_bytes_in_total},
                  {"bytes_out", STAT_object_bytes_out_total},
                  {"cache_hits", STAT_cache_hits_total},
                  {"cache_misses", STAT_cache_misses_total},
                  {"slowdowns", STAT_slowdown_total},
                  {"invocations", STAT_invocations_total},
                  {"invocations_failed", STAT_invocations_failed_total},
                  {"worker_cpu_us", STAT_worker_cpu_us},
                  {"connections", STAT_http_connections},
                  {"memory_granted_bytes", STAT_memory_granted_bytes},
                  {"memory_budget_bytes", STAT_memory_budget_bytes}};
    json_t *all = json_object();
    for (size_t i = 0; i < ARRAY_LEN(totals); i++)
        json_object_set_new(all, totals[i].name, json_integer(stat_get(totals[i].id)));
    return all;
}

static json_t *
age_json(enum stat_id oldest)
{
    int64_t then_ms = stat_get(oldest), age_ms = clock_wall_ms() - then_ms;
    return json_integer(then_ms == 0 || age_ms < 0 ? 0 : age_ms);
}

void
admin_status(struct admin_service *s, struct http_request *r)
{
    struct dispatch_state *state = chk_malloc(sizeof *state);
    dispatch_snapshot(pipeline_dispatch(s->options.pipeline), state);
    json_t *running = json_array();
    json_t *workers = json_array();
    for (size_t i = 0; i < state->running_count; i++)
        json_array_append_new(running, running_json(&state->running[i]));
    for (size_t i = 0; i < state->workers.worker_count; i++) {
        const struct runtime_worker_view *w = &state->workers.workers[i];
        json_array_append_new(workers,
                              json_pack("{sI ss sI sI si}", "pid", (json_int_t)w->pid, "state",
                                        worker_state_name(w->state), "invocations",
                                        (json_int_t)w->invocations, "rss_bytes",
                                        (json_int_t)w->rss_bytes, "restarts", w->restarts));
    }
    const struct queue_counts *c = &state->counts;
    json_t *body = json_pack("{ss so so so so so s{sI sI sI sI sI sI}}", "storage",
                             storage_state(s->options.db), "scrub", admin_scrub_json(s->options.db),
                             "pool", workers_json(&state->workers), "queue", queue_json(c),
                             "running", running, "workers", workers, "events", "added",
                             (json_int_t)c->added, "acked", (json_int_t)c->acked, "superseded",
                             (json_int_t)c->superseded, "retried", (json_int_t)c->retried, "dead",
                             (json_int_t)c->died, "dropped", (json_int_t)c->dropped);
    json_object_set_new(body, "time_ms", json_integer(clock_wall_ms()));
    json_object_set_new(body, "totals", totals_json());
    json_object_set_new(body, "oldest_age_ms",
                        json_pack("{so so so}", "live", age_json(STAT_queue_oldest_live),
                                  "followup", age_json(STAT_queue_oldest_followup), "batch",
                                  age_json(STAT_queue_oldest_batch)));
    free(state);
    admin_reply_json(r, 200, body);
}

/* ---- explain ---- */

void
admin_explain(struct admin_service *s, struct http_request *r)
{
    struct slice bucket = http_param(r, "bucket");
    struct slice key = http_param(r, "key");
    if (bucket.n == 0 || key.n == 0) {
        admin_reply_error(r, ERR_INVALID, SLICE_LIT("explain needs bucket and key"));
        return;
    }
    struct buf json;
    buf_init(&json, ADMIN_REPLY_MAX);
    int err =
        history_explain(pipeline_registry(s->options.pipeline), s->options.db, bucket, key, &json);
    if (err == ERR_NONE)
        err = json.err;
    if (err == ERR_NONE)
        admin_reply_text(r, 200, "application/json", buf_slice(&json));
    else
        admin_reply_error(r, err, err == ERR_NOPARENT ? SLICE_LIT("no such bucket") : SLICE_NONE);
    buf_fini(&json);
}

/* ---- lists ---- */

int
admin_page_add(struct admin_page *page, const void *row)
{
    json_array_append_new(page->list, page->make(row));
    return 0;
}

void
admin_page_reply(struct http_request *r, struct admin_page *page, int err, const char *name,
                 const char *what, bool single)
{
    char *missing = NULL;
    if (err == ERR_NONE && single && json_array_size(page->list) == 0)
        err = ERR_NOTFOUND;
    if (err == ERR_NOTFOUND)
        missing = arena_printf(r->arena, "no such %s", what);
    if (err != ERR_NONE)
        admin_reply_error(r, err, missing != NULL ? slice_str(missing) : SLICE_NONE);
    else if (single)
        admin_reply_json(r, 200, json_incref(json_array_get(page->list, 0)));
    else
        admin_reply_json(r, 200, json_pack("{sO}", name, page->list));
    json_decref(page->list);
}

json_t *
admin_function_json(const struct function *f)
{
    json_t *environment = json_read(f->environment, NULL);
    char arn[FUNCTION_ARN_MAX];
    function_arn(f->name, arn);
    return json_pack("{so ss so si si so? si si si so sI sI}", "name", admin_text(f->name), "arn",
                     arn, "handler", admin_text(f->handler), "memory_mb", f->memory_mb, "timeout_s",
                     f->timeout_s, "environment", environment, "reserved_concurrency",
                     f->reserved_concurrency, "maximum_retry_attempts", f->retries_max,
                     "maximum_event_age_s", f->event_age_max_s, "on_failure",
                     admin_text(f->on_failure), "revision", (json_int_t)f->revision, "changed_ms",
                     (json_int_t)f->changed_ms);
}

static json_t *
function_row(const void *row)
{
    return admin_function_json(row);
}

void
admin_functions_get(struct admin_service *s, struct http_request *r)
{
    struct admin_page page = {json_array(), function_row};
    struct db_conn *conn = NULL;
    struct function_set *set = NULL;
    struct slice name = http_param(r, "name");
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = registry_get(pipeline_registry(s->options.pipeline), conn, &set);
        db_read_end(s->options.db, &conn);
    }
    for (size_t i = 0; err == ERR_NONE && i < set->count; i++) {
        if (name.p == NULL || slice_eq(set->functions[i].name, name))
            admin_page_add(&page, &set->functions[i]);
    }
    registry_unref(&set);
    admin_page_reply(r, &page, err, "functions", "function", name.p != NULL);
}
