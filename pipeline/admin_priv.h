/*
 * Shared by admin_*.c: the operation table's types, answers, and the write that is answered later.
 */
#ifndef DARKROOM_PIPELINE_ADMIN_PRIV_H
#define DARKROOM_PIPELINE_ADMIN_PRIV_H

#include "base/json.h"
#include "pipeline/admin_service.h"
#include "pipeline/pipeline.h"

#define ADMIN_BODY_MAX (256u << 10)
#define ADMIN_REPLY_MAX (8u << 20)
#define ADMIN_PAGE_MAX 1000
#define ADMIN_WHY_MAX 1024

struct backups;

struct admin_service {
    uint32_t magic;
    struct admin_options options;
    struct backups *backups;
    struct verify_desk *verify; /* admin_verify.c */
};

/* A handler replies, or hands the request to admin_submit(). HTTP thread. */
typedef void (*admin_handler_fn)(struct admin_service *s, struct http_request *r);

enum admin_access { ADMIN_ANYONE, ADMIN_METRICS, ADMIN_ROOT };

struct admin_route {
    enum http_method method;
    const char *path;
    enum admin_access access;
    admin_handler_fn handler;
};

/* ---- answers ---- */

void admin_reply_json(struct http_request *r, int status, json_t *value); /* takes it; NULL: 500 */
void admin_reply_text(struct http_request *r, int status, const char *type, struct slice text);
/* The status and name for an error code; `why` n = 0 takes err_text(). */
void admin_reply_error(struct http_request *r, int err, struct slice why);
/* Decimal parameter; ERR_INVALID after having replied 400 when it is there and no number. */
int admin_param_u64(struct http_request *r, const char *name, uint64_t fallback, uint64_t *out);

/* ---- writes ---- */

struct admin_write;
/* Inside apply(): may be called again. Sets *reply (a new reference, released when called again).
 */
typedef int (*admin_apply_fn)(struct admin_write *w, struct db_conn *conn);

struct admin_write {
    struct db_op op;
    struct admin_service *service;
    struct http_request *request;
    admin_apply_fn apply;
    void (*committed)(struct admin_write *w); /* set by apply: called when that is durable, before
                                                 the answer; must not block; or NULL */
    json_t *body; /* parsed request, or NULL; released after the answer */
    json_t *reply;
    struct buf why;
    uint64_t id; /* of ?id=, 0 without */
};

/* Suspends the request, runs `apply` on the writer thread, answers. Takes `body`. */
void admin_submit(struct admin_service *s, struct http_request *r, admin_apply_fn apply,
                  json_t *body, uint64_t id);
/* The collected body as a JSON object; replies 400 and returns NULL when it is none. */
json_t *admin_body(struct http_request *r);

/* ---- lists: one shape for all, {"NAME": [...]} or the one asked for ---- */

struct admin_page {
    json_t *list;
    json_t *(*make)(const void *row);
};
int admin_page_add(struct admin_page *page, const void *row); /* 0 */
/* Replies with the only element (`single`: one was asked for; `what` it is) or the list under
 * `name`. Takes page->list. */
void admin_page_reply(struct http_request *r, struct admin_page *page, int err, const char *name,
                      const char *what, bool single);

/* ---- handlers, by file ---- */

/* admin_read.c */
void admin_health(struct admin_service *s, struct http_request *r);
void admin_formats(struct admin_service *s, struct http_request *r);
void admin_status(struct admin_service *s, struct http_request *r);
void admin_explain(struct admin_service *s, struct http_request *r);
void admin_functions_get(struct admin_service *s, struct http_request *r);
/* admin_metrics.c */
void admin_metrics(struct admin_service *s, struct http_request *r);
/* admin_cost.c */
void admin_cost(struct admin_service *s, struct http_request *r);
/* admin_batch.c */
void admin_reprocess_get(struct admin_service *s, struct http_request *r);
void admin_reprocess_post(struct admin_service *s, struct http_request *r);
void admin_reprocess_plan(struct admin_service *s, struct http_request *r);
void admin_reprocess_failures(struct admin_service *s, struct http_request *r);
/* admin_write.committed of what makes a batch: says which request that was. */
void admin_batch_begun(struct admin_write *w);
/* admin_write.c */
void admin_functions_put(struct admin_service *s, struct http_request *r);
void admin_buckets_post(struct admin_service *s, struct http_request *r);
/* admin_dlq.c */
void admin_dlq_get(struct admin_service *s, struct http_request *r);
void admin_dlq_post(struct admin_service *s, struct http_request *r);
void admin_dlq_delete(struct admin_service *s, struct http_request *r);
/* admin_events.c */
void admin_event_log_get(struct admin_service *s, struct http_request *r);
void admin_replay_plan(struct admin_service *s, struct http_request *r);
void admin_replay_post(struct admin_service *s, struct http_request *r);
void admin_replay_get(struct admin_service *s, struct http_request *r);
/* admin_buckets.c */
void admin_buckets_get(struct admin_service *s, struct http_request *r);
/* admin_scrub.c: an object, or null */
json_t *admin_scrub_json(struct db *db);
/* admin_invoke.c */
void admin_invoke(struct admin_service *s, struct http_request *r);
/* admin_verify.c */
void admin_verify_post(struct admin_service *s, struct http_request *r);
struct registry;
struct verify_desk *admin_verify_new(struct db *db, struct registry *registry);
/* Answers what waits and ends the thread; later requests are refused. */
void admin_verify_stop(struct verify_desk *d);
void admin_verify_free(struct verify_desk **d);
/* admin_sign.c */
void admin_sign_url(struct admin_service *s, struct http_request *r);
/* admin_backup.c */
void admin_backup_get(struct admin_service *s, struct http_request *r);
void admin_backup_post(struct admin_service *s, struct http_request *r);
void admin_backup_delete(struct admin_service *s, struct http_request *r);
/* admin_webhooks.c */
void admin_webhooks_get(struct admin_service *s, struct http_request *r);
void admin_webhooks_post(struct admin_service *s, struct http_request *r);
void admin_webhooks_delete(struct admin_service *s, struct http_request *r);

/* One function as JSON, shared by GET and PUT. */
struct function;
json_t *admin_function_json(const struct function *f);
/* A JSON string; bytes that are not UTF-8 (a worker's last words) become '?'. */
json_t *admin_text(struct slice s);

#endif
