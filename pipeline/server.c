/*
 * Wiring. What is opened first is closed last; the commit hooks of a room must be set before the
 * first transaction that could call them, so rooms are opened before anything is written.
 *
 *   start:  data directory, database, pipeline, webhooks, store, services | defaults, workers,
 *           webhooks, listener, upkeep
 *   stop:   backup, upkeep, webhooks -> listener stops accepting -> waits and event streams end
 *           -> requests end -> running invocations end -> HTTP threads -> services -> store
 *           -> database (commits what is queued) -> pipeline -> lock
 *
 * Requests suspended for the database are resumed by it, so it must outlive the listener.
 */
#include "pipeline/server.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "objectstore/upkeep.h"
#include "pipeline/datadir.h"
#include "pipeline/listener.h"
#include "pipeline/pipeline.h"
#include "pipeline/router.h"
#include "pipeline/webhook.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVER_MAGIC 0x5e27e201u
#define DEFAULT_BUCKET "photos"
#define STOP_TICK_MS 10

struct server {
    uint32_t magic;
    const struct conf *conf;
    struct accounts *accounts;
    struct datadir dir;
    struct image_url_keys url_keys;
    struct db *db;
    struct pipeline *pipeline;
    struct webhooks *webhooks;
    struct store *store;
    struct upkeep *upkeep;
    struct router router; /* has the services */
    struct listener listener;
    struct http_server *http;
};

/* ---- requests ---- */

static void
route(void *arg, struct http_request *r)
{
    struct server *s = arg;
    router_route(&s->router, r);
}

struct held {
    struct db_wait wait;
    struct http_request *r;
};

static void
held_done(struct db_wait *w)
{
    http_resume(CONTAINER_OF(w, struct held, wait)->r);
}

/* How far a request has read is its own, not its thread's: one that was answered from the cache
 * does not wait for commits that another request has seen. */
static void
enter_request(void *arg, const struct http_request *r)
{
    struct server *s = arg;
    db_seen_set(s->db, r->seen);
}

static void
leave_request(void *arg, struct http_request *r)
{
    struct server *s = arg;
    r->seen = db_seen(s->db);
}

/* An answer made of what the request has read waits until a power cut cannot take that back.
 * (A suspended request is answered by a commit's done(), behind whatever the commit saw.) */
static void
hold_unsettled(void *arg, struct http_request *r)
{
    struct server *s = arg;
    if (db_is_settled(s->db))
        return;
    struct held *h = arena_alloc(r->arena, sizeof *h);
    if (h == NULL) {
        http_cut(r);
        return;
    }
    *h = (struct held){.wait.fn = held_done, .r = r};
    http_suspend(r);
    if (!db_await(s->db, &h->wait))
        http_resume(r);
}

static void
http_thread_end(void *arg)
{
    struct server *s = arg;
    store_thread_end(s->store);
    db_thread_end(s->db);
}

/* ---- opening ---- */

static int
open_storage(struct server *s, struct buf *why)
{
    char path[PATH_MAX];
    char program[PATH_MAX];
    struct buf worker, what;
    datadir_path(&s->dir, "darkroom.db", path);
    struct db_options db = {.path = path,
                            .schema = *pipeline_schema(),
                            .why = &what,
                            .checkpoint_bytes = conf_int(s->conf, CONF_CHECKPOINT),
                            .queue_ops_max = (int)conf_int(s->conf, CONF_WRITER_QUEUE)};
    buf_init(&what, LOG_LINE_MAX);
    int err = db_open(&s->db, &db);
    if (err != ERR_NONE)
        buf_printf(why, "%s: %s%s%.*s", path, err_text(err), what.n > 0 ? ": " : "",
                   SLICE_FMT(buf_slice(&what)));
    buf_fini(&what);
    if (err != ERR_NONE)
        return err;
    db_set_reserve(s->db, conf_int(s->conf, CONF_RESERVE));
    buf_init(&worker, sizeof program);
    if (pipeline_find_worker(s->conf, &worker) != ERR_NONE)
        log_line(LOG_ERROR, "worker_program_missing",
                 "hint=\"set workers.program or put darkroom-worker beside darkroomd\"");
    snprintf(program, sizeof program, "%.*s", SLICE_FMT(buf_slice(&worker)));
    buf_fini(&worker);
    struct pipeline_options pipeline = {.db = s->db, .conf = s->conf, .worker_program = program};
    err = pipeline_open(&s->pipeline, &pipeline);
    if (err != ERR_NONE) {
        buf_printf(why, "the event pipeline cannot be opened: %s", err_text(err));
        return err;
    }
    struct webhooks_options webhooks = {
        .db = s->db, .conf = s->conf, .notifier = pipeline_notifier(s->pipeline)};
    err = webhooks_new(&s->webhooks, &webhooks, why);
    if (err != ERR_NONE)
        return err;
    struct store_options store = {.db = s->db,
                                  .dir = s->dir.path,
                                  .cache_bytes = conf_int(s->conf, CONF_CACHE),
                                  .hooks = pipeline_hooks(s->pipeline)};
    err = store_open(&s->store, &store);
    if (err != ERR_NONE) {
        buf_printf(why, "%s/blobs: %s", s->dir.path, err_text(err));
        return err;
    }
    pipeline_bind(s->pipeline, s->store);
    return ERR_NONE;
}

static void
open_services(struct server *s)
{
    int64_t failures_max = conf_int(s->conf, CONF_AUTH_FAILURES);
    s->router =
        (struct router){.conf = s->conf, .accounts = s->accounts, .loopback = s->listener.loopback};
    s->router.auth_limit = failures_max > 0 ? auth_limit_new(failures_max) : NULL;
    struct s3_options s3 = {.store = s->store,
                            .db = s->db,
                            .accounts = s->accounts,
                            .domain = conf_str(s->conf, CONF_DOMAIN),
                            .region = conf_str(s->conf, CONF_REGION),
                            .day_ms = conf_int(s->conf, CONF_LIFECYCLE_DAY) * 1000,
                            .hooks = {.arg = s->pipeline,
                                      .notification_set = pipeline_notification_set,
                                      .accepting = pipeline_accepting,
                                      .describe = pipeline_describe,
                                      .is_fresh = pipeline_is_fresh}};
    struct ddb_options ddb = {
        .db = s->db, .region = conf_str(s->conf, CONF_REGION), .accounts = s->accounts};
    struct admin_options admin = {.db = s->db,
                                  .pipeline = s->pipeline,
                                  .webhooks = s->webhooks,
                                  .store = s->store,
                                  .data_dir = s->dir.path,
                                  .conf = s->conf,
                                  .auth = router_auth(&s->router),
                                  .open_metrics = s->listener.loopback,
                                  .url_keys = &s->url_keys};
    s->router.s3 = s3_service_new(&s3);
    s->router.ddb = ddb_service_new(&ddb);
    s->router.admin = admin_service_new(&admin);
    struct image_options images = {.db = s->db,
                                   .store = s->store,
                                   .registry = pipeline_registry(s->pipeline),
                                   .s3 = s->router.s3,
                                   .desk = pipeline_desk(s->pipeline),
                                   .notifier = pipeline_notifier(s->pipeline),
                                   .keys = &s->url_keys};
    s->router.images = image_service_new(&images);
    struct event_streams_options events = {
        .db = s->db, .store = s->store, .notifier = pipeline_notifier(s->pipeline)};
    s->router.events = event_streams_new(&events);
}

int
server_open(struct server **out, const struct conf *conf, struct accounts *accounts, int passed_fd,
            struct buf *why)
{
    struct server *s = chk_calloc(1, sizeof *s);
    *s = (struct server){
        .magic = SERVER_MAGIC, .conf = conf, .accounts = accounts, .dir = {.lock_fd = -1}};
    int err = listener_open(&s->listener, conf, passed_fd, why);
    if (err == ERR_NONE)
        err = datadir_open(&s->dir, conf_str(conf, CONF_DATA), why);
    if (err == ERR_NONE)
        err = datadir_check_whole(&s->dir, why);
    if (err == ERR_NONE)
        err = datadir_root_account(&s->dir, accounts, why);
    if (err == ERR_NONE)
        err = image_url_keys_load(s->dir.path, &s->url_keys, why);
    if (err == ERR_NONE)
        err = open_storage(s, why);
    if (err != ERR_NONE) {
        server_free(&s);
        return err;
    }
    open_services(s);
    *out = s;
    return ERR_NONE;
}

/* ---- what every start owes, and the first one more ---- */

struct defaults {
    struct db_op op;
    struct server *server;
    bool first;
    enum pipeline_public how;
    struct buf *why;
};

static int
defaults_apply(struct db_op *op, struct db_conn *conn)
{
    struct defaults *d = CONTAINER_OF(op, struct defaults, op);
    struct server *s = d->server;
    buf_reset(d->why);
    if (!d->first)
        return pipeline_apply_public(s->pipeline, conn, SLICE_LIT(DEFAULT_BUCKET), d->how);
    return pipeline_apply_bucket(s->pipeline, conn, SLICE_LIT(DEFAULT_BUCKET),
                                 slice_str(accounts_root(s->accounts)->canonical_id),
                                 slice_str(conf_str(s->conf, CONF_REGION)), d->how != PUBLIC_NO,
                                 d->why);
}

static int
make_defaults(struct server *s, struct buf *why)
{
    struct defaults d = {.op = {.apply = defaults_apply, .urgent = true},
                         .server = s,
                         .first = !datadir_is_initialized(&s->dir),
                         .how = conf_bool(s->conf, CONF_PUBLIC_THUMBNAILS) ? PUBLIC_ASKED
                                : s->listener.loopback                     ? PUBLIC_LOOPBACK
                                                                           : PUBLIC_NO,
                         .why = why};
    bool bare = conf_bool(s->conf, CONF_BARE);
    int err = bare ? ERR_NONE : db_call(s->db, &d.op);
    if (err == ERR_NONE && d.first)
        err = datadir_set_initialized(&s->dir);
    if (err == ERR_NONE && d.first && !bare)
        log_line(LOG_INFO, "first_start", "bucket=%s derived=%s-derived thumbnails=%s",
                 DEFAULT_BUCKET, DEFAULT_BUCKET, d.how == PUBLIC_NO ? "private" : "public");
    if (err != ERR_NONE && why->n == 0)
        buf_printf(why, "the default buckets cannot be made: %s", err_text(err));
    return err;
}

/* ---- serving ---- */

int
server_start(struct server *s, struct buf *why)
{
    CHK_MAGIC(s, SERVER_MAGIC);
    int err = make_defaults(s, why);
    if (err != ERR_NONE)
        return err;
    err = pipeline_start(s->pipeline);
    if (err != ERR_NONE) {
        buf_printf(why, "the dispatcher cannot be started: %s", err_text(err));
        return err;
    }
    err = webhooks_start(s->webhooks);
    if (err != ERR_NONE) {
        buf_printf(why, "the webhooks' thread cannot be started: %s", err_text(err));
        return err;
    }
    struct http_options http = {.router = route,
                                .router_arg = s,
                                .thread_end = http_thread_end,
                                .enter = enter_request,
                                .leave = leave_request,
                                .before_reply = hold_unsettled};
    err = listener_start(&s->listener, &http, &s->http, why);
    if (err != ERR_NONE)
        return err;
    s->upkeep = upkeep_start(s->store, s->conf);
    err = datadir_set_endpoint(&s->dir, s->listener.url);
    if (err != ERR_NONE)
        buf_printf(why, "%s/endpoint: %s", s->dir.path, err_text(err));
    return err;
}

const char *
server_url(const struct server *s)
{
    return s->listener.bound;
}

void
server_reload(struct server *s)
{
    CHK_MAGIC(s, SERVER_MAGIC);
    log_reopen();
    listener_reload(&s->listener);
    log_line(LOG_INFO, "reload", "what=log");
}

static int
pulse_apply(struct db_op *op, struct db_conn *conn)
{
    (void)op;
    (void)conn;
    return ERR_NONE;
}

void
server_pulse(struct server *s)
{
    struct db_op op = {.apply = pulse_apply, .urgent = true};
    CHK_MAGIC(s, SERVER_MAGIC);
    (void)db_call(s->db, &op);
}

/* ---- stopping ---- */

/* The time for a graceful end. A second signal, which is told once, ends it for good. */
struct patience {
    int64_t deadline_ms;
    bool (*hurry)(void *arg);
    void *arg;
    bool over;
};

static bool
patience_over(struct patience *p)
{
    p->over = p->over || clock_mono_ms() >= p->deadline_ms || p->hurry(p->arg);
    return p->over;
}

static int64_t
patience_left_ms(struct patience *p)
{
    int64_t left_ms = p->deadline_ms - clock_mono_ms();
    return patience_over(p) || left_ms < 0 ? 0 : left_ms;
}

static void
stop_serving(struct server *s, struct patience *p)
{
    http_quiesce(s->http);
    pipeline_end_waits(s->pipeline);
    event_streams_stop(s->router.events);
    while (http_active(s->http) > 0 && !patience_over(p))
        poll(NULL, 0, STOP_TICK_MS);
    if (http_active(s->http) > 0)
        log_line(LOG_WARN, "requests_cut", "active=%d", http_active(s->http));
    pipeline_stop_begin(s->pipeline, patience_left_ms(p));
    while (!pipeline_is_quiet(s->pipeline) && !patience_over(p))
        poll(NULL, 0, STOP_TICK_MS);
    pipeline_stop(s->pipeline, patience_left_ms(p));
    http_stop(&s->http);
    datadir_remove_endpoint(&s->dir);
}

void
server_stop(struct server *s, bool (*hurry)(void *arg), void *arg)
{
    CHK_MAGIC(s, SERVER_MAGIC);
    struct patience p = {.deadline_ms = clock_mono_ms() + conf_int(s->conf, CONF_SHUTDOWN),
                         .hurry = hurry,
                         .arg = arg};
    if (s->router.admin != NULL)
        admin_service_stop(s->router.admin);
    upkeep_stop(&s->upkeep);
    webhooks_stop(s->webhooks);
    if (s->http != NULL)
        stop_serving(s, &p);
    else
        pipeline_stop(s->pipeline, 0);
}

void
server_free(struct server **sp)
{
    struct server *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, SERVER_MAGIC);
    CHK(s->http == NULL && s->upkeep == NULL);
    event_streams_free(&s->router.events);
    image_service_free(&s->router.images);
    admin_service_free(&s->router.admin);
    ddb_service_free(&s->router.ddb);
    s3_service_free(&s->router.s3);
    auth_limit_free(&s->router.auth_limit);
    store_close(&s->store);
    db_close(&s->db);
    pipeline_close(&s->pipeline);
    webhooks_free(&s->webhooks);
    datadir_close(&s->dir);
    listener_close(&s->listener);
    explicit_bzero(&s->url_keys, sizeof s->url_keys);
    s->magic = 0;
    free(s);
}
