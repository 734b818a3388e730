/*
 * The event pipeline as one thing. What stands in brackets is durable, and written in one
 * transaction with what it comes from:
 *
 *   PUT, DELETE --> [object] --outbox.c--> [queue event]                          GET /_/img
 *                      |                        |                                     |
 *                      |                        v                                     v
 *                      |                   dispatch.c <-- demand.c, the desk <-- image_look.c
 *                      |                        |                                     |
 *                      |             runtime.c === darkroom-worker              readiness.c
 *                      |                        |                                     |
 *                      |                        v                                     v reads
 *                      | DELETE   result.c, or demand_result.c --> [derived objects, item]
 *                      |                        |
 *                      +----> [notice] <--------+ verdict.c
 *                                 |
 *                                 v notifier.c, once it cannot be lost any more
 *                  requests that wait, event_stream.c, webhook.c
 *
 * In the order a server needs it:
 *
 *    db_open(pipeline_schema()) -> pipeline_open -> store_open(pipeline_hooks) -> pipeline_bind
 *       -> services (registry, queue for their hooks) -> pipeline_start ... pipeline_stop
 *       -> store_close -> db_close -> pipeline_close
 */
#ifndef DARKROOM_PIPELINE_PIPELINE_H
#define DARKROOM_PIPELINE_PIPELINE_H

#include "base/conf.h"
#include "base/db.h"
#include "base/http.h"
#include "objectstore/store.h"
#include "pipeline/dispatch.h"
#include "pipeline/notifier.h"
#include "pipeline/schema.h"

struct pipeline;

struct pipeline_options {
    struct db *db;
    const struct conf *conf;
    const char *worker_program; /* absolute path; see pipeline_find_worker() */
};

/* Before any other db_submit(). Makes missing native functions. */
int pipeline_open(struct pipeline **out, const struct pipeline_options *options);
struct store_hooks pipeline_hooks(struct pipeline *p);
void pipeline_bind(struct pipeline *p, struct store *store);
int pipeline_start(struct pipeline *p);
/* Ends whatever waits for an object (NOTIFIER_STOPPED); nobody is told of anything any more. Before
 * pipeline_stop(), so that requests that wait for results can end first; also part of it. */
void pipeline_end_waits(struct pipeline *p);
/* The first half of pipeline_stop(): asks running invocations to finish within `grace_ms`. */
void pipeline_stop_begin(struct pipeline *p, int64_t grace_ms);
bool pipeline_is_quiet(struct pipeline *p);
/* Waits at most `grace_ms` for running invocations. */
void pipeline_stop(struct pipeline *p, int64_t grace_ms);
/* The commit hooks live here: after db_close(). */
void pipeline_close(struct pipeline **p);

/* struct s3_hooks; `arg` is the struct pipeline. */
int pipeline_notification_set(void *arg, struct db_conn *conn, const struct store_bucket *bucket,
                              struct slice xml, struct buf *why);
bool pipeline_accepting(void *arg);
bool pipeline_is_fresh(void *arg, const struct store_object *object);
void pipeline_describe(void *arg, struct http_request *r, const struct store_bucket *bucket,
                       const struct store_object *object);

struct registry *pipeline_registry(struct pipeline *p);
struct queue *pipeline_queue(struct pipeline *p);
struct dispatch *pipeline_dispatch(struct pipeline *p);
struct notifier *pipeline_notifier(struct pipeline *p);
struct demand_desk *pipeline_desk(struct pipeline *p);

/* Inside apply(), at the first start or for `darkroom buckets add`: the bucket (made when missing,
 * for that owner), the derived bucket, the table, the rules of both native functions;
 * `public_thumbnails` adds a policy that lets anyone GET from the derived bucket. ERR_EXISTS:
 * another owner's. */
int pipeline_apply_bucket(struct pipeline *p, struct db_conn *conn, struct slice bucket,
                          struct slice owner, struct slice region, bool public_thumbnails,
                          struct buf *why);

/* Inside apply(), at every start: the policy that opens the thumbnails of a bucket follows what the
 * listener is. An own policy of the operator is never touched.
 *   PUBLIC_ASKED     --public-thumbnails: set when the derived bucket has no policy
 *   PUBLIC_LOOPBACK  set again if a start on an open listener withdrew it
 *   PUBLIC_NO        withdrawn if it is ours */
enum pipeline_public { PUBLIC_ASKED, PUBLIC_LOOPBACK, PUBLIC_NO };
int pipeline_apply_public(struct pipeline *p, struct db_conn *conn, struct slice bucket,
                          enum pipeline_public how);

/* The setting when it is not empty, else "darkroom-worker" beside this program, else in
 * ../libexec/darkroom/. ERR_NOTFOUND. */
int pipeline_find_worker(const struct conf *conf, struct buf *path);

#endif
