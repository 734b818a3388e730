/*
 * The operator's face: the first three for whom it says, all else for the root account. Answers are
 * JSON (metrics: Prometheus text). An error is {"error": NAME, "message": one sentence}.
 *
 *   GET    /_/health                          anyone; state only
 *   GET    /_/formats                         anyone; read, optional, written, refused
 *   GET    /_/metrics                         loopback listeners, else metrics.token as bearer
 *   GET    /_/status                          lanes, workers, running invocations, counts
 *   GET    /_/cost[?by=preset|prefix|day|function|bucket][&since=YYYY-MM-DD]   what was used, and
 *                                             its price; {"rows": [...], "total": {...}, ...}
 *   GET    /_/explain?bucket=B&key=K          the whole story of one object
 *   POST   /_/reprocess {bucket,prefix,function}   starts a batch: {"id": N}
 *   GET    /_/reprocess[?id=N]                one batch, or the newest ones
 *   POST   /_/reprocess?id=N&action=pause|resume|cancel
 *   GET    /_/dlq[?id=N | after=N]            one dead letter, or a page of them
 *   POST   /_/dlq?action=redrive[&id=N]       back into the queue; all: at most 1,000 per call
 *   DELETE /_/dlq[?id=N]                      purge; all: at most 1,000 per call
 *   GET    /_/functions[?name=F]
 *   PUT    /_/functions?name=F {memory_mb,timeout_s,environment,...}
 *   GET    /_/buckets[?name=B | after=B]      one bucket with its rules, or a page of them
 *   POST   /_/buckets {bucket,public}         bucket, derived bucket, table and rules in one step
 *   POST   /_/invoke {function,bucket,key,commit}   runs it on that object now and tells what came
 *                                             of it, nothing is stored; commit: queues its event
 *   POST   /_/verify {bucket,prefix,deep,fix,cursor}   a page of the check (verify.h): findings,
 *                                             and the next page's cursor, null at the end
 *   POST   /_/sign-url {bucket,key,params{w,h,...},expires_s}   {"url": "/_/img/..."}
 *   GET    /_/backup[?dir=D]                  what runs or ran last; whole snapshots, newest first
 *   POST   /_/backup {dir}                    starts one: {"id": N}; D is absolute, in backup.dir
 *   DELETE /_/backup?keep=N[&dir=D]           removes all but the newest N: {"id": N}
 *   GET    /_/webhooks                        all of them; secrets only as they begin
 *   POST   /_/webhooks {bucket,prefix,url,secret}   {"id": N, "secret": it}; one is made if none is
 *                                             given; the host must be in webhook.hosts
 *   DELETE /_/webhooks?id=N
 */
#ifndef DARKROOM_PIPELINE_ADMIN_SERVICE_H
#define DARKROOM_PIPELINE_ADMIN_SERVICE_H

#include "base/auth.h"
#include "base/conf.h"
#include "base/db.h"
#include "base/http.h"

struct image_url_keys;
struct pipeline;
struct store;
struct webhooks;

struct admin_options {
    struct db *db;
    struct pipeline *pipeline;
    struct webhooks *webhooks;
    struct store *store;
    const char *data_dir; /* absolute */
    const struct conf *conf;
    struct auth_options auth; /* now_ms is set per request */
    bool open_metrics;        /* every listener is loopback */
    const struct image_url_keys *url_keys;
};

struct admin_service;

struct admin_service *admin_service_new(const struct admin_options *options);
/* Cancels a backup that runs and waits for its end; answers the requests that wait for a check.
 * Before the listener is stopped. May be called again. */
void admin_service_stop(struct admin_service *s);
void admin_service_free(struct admin_service **s);

/* The router sets r->service to this and r->service_arg to the struct admin_service. */
extern const struct http_service admin_http_service;

#endif
