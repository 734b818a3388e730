#include "pipeline/pipeline.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "objectstore/policy.h"
#include "pipeline/outbox.h"
#include "pipeline/readiness.h"
#include "pipeline/rule.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define PIPELINE_MAGIC 0x919e11e5u
#define WORKER_NAME "darkroom-worker"
#define DAY_MS ((int64_t)24 * 3600 * 1000)

struct pipeline {
    uint32_t magic;
    struct db *db;
    char *worker_program;
    struct registry *registry;
    struct queue *queue;
    struct event_log *log;
    struct outbox *outbox;
    struct dispatch *dispatch;
    struct demand_desk *desk;
    struct notifier *notifier;
};

int
pipeline_open(struct pipeline **out, const struct pipeline_options *options)
{
    struct pipeline *p = chk_calloc(1, sizeof *p);
    p->magic = PIPELINE_MAGIC;
    p->db = options->db;
    p->worker_program = strdup(options->worker_program);
    CHK(p->worker_program != NULL);
    /* Commit hooks must be set before the first operation, so these come first. */
    p->notifier = notifier_new(options->db);
    struct dispatch_options dispatch = {
        .db = options->db, .conf = options->conf, .worker_program = p->worker_program};
    int err = dispatch_new(&p->dispatch, &dispatch);
    if (err == ERR_NONE)
        err = registry_open(&p->registry, options->db);
    if (err == ERR_NONE)
        err = queue_open(&p->queue, options->db, conf_int(options->conf, CONF_EVENTS_MAX));
    if (err == ERR_NONE)
        err = event_log_open(&p->log, options->db,
                             conf_int(options->conf, CONF_EVENTS_RETENTION) * DAY_MS,
                             conf_int(options->conf, CONF_EVENTS_LOG_ROWS));
    if (err == ERR_NONE) {
        p->outbox = outbox_new(p->registry, p->log);
        dispatch_bind(p->dispatch, p->registry, p->queue);
        p->desk = demand_desk_new(p->dispatch, (int)conf_int(options->conf, CONF_DEMANDS_MAX));
    }
    if (err != ERR_NONE) {
        /* The hooks are set: what they point to stays until the process, which cannot go on, ends.
         */
        queue_close(&p->queue);
        registry_close(&p->registry);
        return err;
    }
    *out = p;
    return ERR_NONE;
}

struct store_hooks
pipeline_hooks(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return (struct store_hooks){
        .arg = p->outbox, .changed = outbox_changed, .damaged = outbox_damaged};
}

void
pipeline_bind(struct pipeline *p, struct store *store)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    registry_bind(p->registry, store);
}

int
pipeline_start(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    CHK(registry_store(p->registry) != NULL);
    int err = notifier_start(p->notifier);
    return err == ERR_NONE ? dispatch_start(p->dispatch) : err;
}

void
pipeline_end_waits(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    notifier_stop(p->notifier);
}

void
pipeline_stop_begin(struct pipeline *p, int64_t grace_ms)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    dispatch_stop_begin(p->dispatch, grace_ms);
}

bool
pipeline_is_quiet(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return dispatch_is_quiet(p->dispatch);
}

void
pipeline_stop(struct pipeline *p, int64_t grace_ms)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    notifier_stop(p->notifier);
    dispatch_stop(p->dispatch, grace_ms);
}

void
pipeline_close(struct pipeline **pp)
{
    struct pipeline *p = *pp;
    *pp = NULL;
    if (p == NULL)
        return;
    CHK_MAGIC(p, PIPELINE_MAGIC);
    notifier_free(&p->notifier);
    demand_desk_free(&p->desk);
    dispatch_free(&p->dispatch);
    outbox_free(&p->outbox);
    event_log_close(&p->log);
    queue_close(&p->queue);
    registry_close(&p->registry);
    free(p->worker_program);
    p->magic = 0;
    free(p);
}

int
pipeline_notification_set(void *arg, struct db_conn *conn, const struct store_bucket *bucket,
                          struct slice xml, struct buf *why)
{
    struct pipeline *p = arg;
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return rule_notification_set(p->registry, conn, bucket, xml, why);
}

bool
pipeline_accepting(void *arg)
{
    struct pipeline *p = arg;
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return queue_accepting(p->queue);
}

bool
pipeline_is_fresh(void *arg, const struct store_object *object)
{
    struct pipeline *p = arg;
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return readiness_is_fresh(p->registry, p->db, object);
}

void
pipeline_describe(void *arg, struct http_request *r, const struct store_bucket *bucket,
                  const struct store_object *object)
{
    struct pipeline *p = arg;
    CHK_MAGIC(p, PIPELINE_MAGIC);
    readiness_describe(p->registry, p->db, r, bucket, object);
}

struct registry *
pipeline_registry(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return p->registry;
}

struct queue *
pipeline_queue(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return p->queue;
}

struct dispatch *
pipeline_dispatch(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return p->dispatch;
}

struct demand_desk *
pipeline_desk(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return p->desk;
}

struct notifier *
pipeline_notifier(struct pipeline *p)
{
    CHK_MAGIC(p, PIPELINE_MAGIC);
    return p->notifier;
}

/* ---- a bucket with everything ---- */

#define CONFIG_POLICY "policy"
#define CONFIG_WITHDRAWN "withdrawn-policy"

static void
public_policy(struct slice bucket, struct buf *text)
{
    buf_printf(text,
               "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"PublicThumbnails\","
               "\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\","
               "\"Resource\":\"arn:aws:s3:::%.*s/*\"}]}",
               SLICE_FMT(bucket));
}

static int
open_to_all(struct pipeline *p, struct db_conn *conn, struct slice bucket, struct buf *why)
{
    struct buf text;
    struct policy *parsed = NULL;
    buf_init(&text, POLICY_BYTES_MAX);
    public_policy(bucket, &text);
    int err = text.err;
    if (err == ERR_NONE)
        err = policy_parse(buf_slice(&text), bucket, &parsed, why);
    if (err == ERR_NONE)
        err = store_apply_bucket_config_set(registry_store(p->registry), conn, bucket,
                                            CONFIG_POLICY, buf_slice(&text));
    policy_free(&parsed);
    buf_fini(&text);
    return err;
}

/* Moves our policy out of force, remembering that it was there. */
static int
withdraw(struct pipeline *p, struct db_conn *conn, struct slice bucket)
{
    struct store *s = registry_store(p->registry);
    int err = store_apply_bucket_config_set(s, conn, bucket, CONFIG_POLICY, SLICE_NONE);
    if (err == ERR_NONE)
        err = store_apply_bucket_config_set(s, conn, bucket, CONFIG_WITHDRAWN, SLICE_LIT("1"));
    if (err == ERR_NONE)
        log_line(LOG_WARN, "thumbnails_private",
                 "bucket=%.*s why=\"the listener is no loopback address; --public-thumbnails keeps "
                 "them public\"",
                 SLICE_FMT(bucket));
    return err;
}

static int
follow_listener(struct pipeline *p, struct db_conn *conn, struct slice bucket,
                enum pipeline_public how)
{
    struct store *s = registry_store(p->registry);
    struct slice now = SLICE_NONE, mark = SLICE_NONE;
    struct buf ours, why;
    struct arena *a = arena_new(STORE_CONFIG_BYTES_MAX * 2);
    if (a == NULL)
        return ERR_NOMEM;
    buf_init(&ours, POLICY_BYTES_MAX);
    buf_init(&why, POLICY_BYTES_MAX);
    public_policy(bucket, &ours);
    int err = store_bucket_config_get(s, bucket, CONFIG_POLICY, a, &now);
    int marked = store_bucket_config_get(s, bucket, CONFIG_WITHDRAWN, a, &mark);
    bool wanted = how == PUBLIC_ASKED || (how == PUBLIC_LOOPBACK && marked == ERR_NONE);
    if (err == ERR_NOTFOUND && wanted) {
        err = open_to_all(p, conn, bucket, &why);
        if (err == ERR_NONE && marked == ERR_NONE)
            err = store_apply_bucket_config_set(s, conn, bucket, CONFIG_WITHDRAWN, SLICE_NONE);
    } else if (err == ERR_NONE && how == PUBLIC_NO && slice_eq(now, buf_slice(&ours))) {
        err = withdraw(p, conn, bucket);
    }
    buf_fini(&ours);
    buf_fini(&why);
    arena_free(&a);
    return err == ERR_NOTFOUND || err == ERR_NOPARENT ? ERR_NONE : err;
}

int
pipeline_apply_public(struct pipeline *p, struct db_conn *conn, struct slice bucket,
                      enum pipeline_public how)
{
    struct function_set *set = NULL;
    char derived[NATIVE_BUCKET_MAX + 1];
    CHK_MAGIC(p, PIPELINE_MAGIC);
    int err = registry_get(p->registry, conn, &set);
    for (size_t i = 0; err == ERR_NONE && i < set->count; i++) {
        if (native_derived_bucket(&set->functions[i].native, bucket, derived) == ERR_NONE &&
            derived[0] != '\0')
            err = follow_listener(p, conn, slice_str(derived), how);
    }
    registry_unref(&set);
    return err;
}

static int
open_derived(struct pipeline *p, struct db_conn *conn, struct slice bucket, struct buf *why)
{
    struct function_set *set = NULL;
    char derived[NATIVE_BUCKET_MAX + 1];
    int err = registry_get(p->registry, conn, &set);
    for (size_t i = 0; err == ERR_NONE && i < set->count; i++) {
        err = native_derived_bucket(&set->functions[i].native, bucket, derived);
        if (err == ERR_NONE && derived[0] != '\0')
            err = open_to_all(p, conn, slice_str(derived), why);
    }
    registry_unref(&set);
    return err;
}

int
pipeline_apply_bucket(struct pipeline *p, struct db_conn *conn, struct slice bucket,
                      struct slice owner, struct slice region, bool public_thumbnails,
                      struct buf *why)
{
    bool same = false;
    CHK_MAGIC(p, PIPELINE_MAGIC);
    buf_reset(why);
    int err =
        store_apply_bucket_create(registry_store(p->registry), conn, bucket, owner, region, &same);
    if (err == ERR_EXISTS && same)
        err = ERR_NONE;
    else if (err == ERR_EXISTS)
        buf_puts(why, "The bucket belongs to another account.");
    if (err == ERR_NONE)
        err = rule_apply_natives(p->registry, conn, bucket, why);
    if (err == ERR_NONE && public_thumbnails)
        err = open_derived(p, conn, bucket, why);
    return err;
}

/* ---- the worker program ---- */

int
pipeline_find_worker(const struct conf *conf, struct buf *path)
{
    static const char *const places[] = {"/" WORKER_NAME, "/../libexec/darkroom/" WORKER_NAME};
    const char *set = conf_str(conf, CONF_WORKER_PROGRAM);
    char here[PATH_MAX];
    if (set[0] != '\0') {
        buf_puts(path, set);
        return access(set, X_OK) == 0 ? path->err : ERR_NOTFOUND;
    }
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n <= 0)
        return ERR_NOTFOUND;
    here[n] = '\0';
    char *slash = strrchr(here, '/');
    if (slash == NULL)
        return ERR_NOTFOUND;
    *slash = '\0';
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        buf_reset(path);
        buf_puts(path, here);
        buf_puts(path, places[i]);
        if (path->err == ERR_NONE && access(path->p, X_OK) == 0)
            return ERR_NONE;
    }
    return ERR_NOTFOUND;
}
