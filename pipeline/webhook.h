/*
 * Webhooks: what became of an object, told by POST to whoever the operator named. A hook takes the
 * notices (notice.h) of a bucket and prefix that come after it was added, in order, one at a time.
 *
 *   POST URL
 *   Content-Type: application/json         the body: notice_json()
 *   X-Darkroom-Id: 17                      the notice's; rises
 *   X-Darkroom-Timestamp: 1767225600       of this attempt, seconds since 1970 UTC
 *   X-Darkroom-Signature: v1=hex(HMAC-SHA256(secret, timestamp "." body))
 *
 * The promise is at least once, in order: a notice is told when a 2xx has come back, and that is
 * written down a moment later; after a crash in between it comes again, with the same id. A
 * receiver drops ids it knows, and timestamps that are minutes old. Anything but 2xx (a redirect,
 * too: none is followed) is tried again, after webhook.retry_base_ms, then ever longer up to
 * WEBHOOK_RETRY_MS_MAX. What has failed for WEBHOOK_GIVE_UP_MS, or is trimmed from the notices
 * meanwhile, is given up, counted and logged, and the next one's turn comes.
 *
 * A POST is a request that the server makes for somebody: only to http and https URLs whose host is
 * in webhook.hosts, looked at when the hook is added and again before each POST, whatever the
 * environment says of proxies.
 */
#ifndef DARKROOM_PIPELINE_WEBHOOK_H
#define DARKROOM_PIPELINE_WEBHOOK_H

#include "base/conf.h"
#include "base/db.h"

#define WEBHOOKS_MAX 16
#define WEBHOOK_URL_MAX 2048
#define WEBHOOK_SECRET_MIN 16
#define WEBHOOK_SECRET_MAX 128
#define WEBHOOK_ERROR_MAX 256
#define WEBHOOK_RETRY_MS_MAX ((int64_t)5 * 60 * 1000)
#define WEBHOOK_GIVE_UP_MS ((int64_t)24 * 3600 * 1000)

/* ---- rows: webhook_row.c ---- */

/* The part of a row that delivery changes. */
struct webhook_progress {
    int64_t id;
    int64_t told_id;          /* the newest notice that it has taken, or that was given up */
    int64_t attempts;         /* failed ones, of the notice behind told_id */
    int64_t not_before_ms;    /* of the next attempt, wall clock; 0: now */
    int64_t failing_since_ms; /* 0: not failing */
    int64_t told;             /* notices, ever */
    char last_error[WEBHOOK_ERROR_MAX];
};

struct webhook {
    struct slice bucket;
    struct slice prefix; /* of keys; n = 0: all */
    struct slice url;
    struct slice secret;
    int64_t created_ms;
    int64_t given_up; /* notices that it will never get, ever */
    struct webhook_progress progress;
};

/* Inside apply(). Sets id, time and told_id: it is told what comes from now on. ERR_CONFLICT at
 * WEBHOOKS_MAX, ERR_EXISTS for the same bucket, prefix and URL; `why` says so. */
int webhook_apply_add(struct db_conn *conn, struct webhook *h, struct buf *why);
/* Inside apply(). ERR_NOTFOUND. */
int webhook_apply_remove(struct db_conn *conn, int64_t id);
/* Inside apply(). Writes `p`, adds to what was given up; `*given_up` becomes the sum. ERR_NOTFOUND:
 * the hook is gone. */
int webhook_apply_progress(struct db_conn *conn, const struct webhook_progress *p,
                           int64_t given_up_more, int64_t *given_up);
/* Inside apply(): notices up to this id are about to be removed. Hooks that have not been told them
 * have to give them up. (One that is on its way just then is counted, too, though it arrives.) */
int webhook_apply_trim(struct db_conn *conn, int64_t upto_id);
/* All, in order of ids, on any connection; strings lent for the call; non-zero stops. */
typedef int (*webhook_fn)(void *arg, const struct webhook *h);
int webhook_list(struct db_conn *conn, webhook_fn fn, void *arg);

/* ---- delivery: webhook.c, one thread ---- */

struct notifier;
struct webhooks;

struct webhooks_options {
    struct db *db;
    const struct conf *conf;
    struct notifier *notifier; /* not started yet */
};

/* At start-up, before any other use of libcurl. ERR_INVALID: an entry of webhook.hosts is no
 * HOST[:PORT]; `why` names it. */
int webhooks_new(struct webhooks **out, const struct webhooks_options *options, struct buf *why);
int webhooks_start(struct webhooks *w);
/* Cuts what is being sent, writes down what was told, ends the thread. NULL is allowed. */
void webhooks_stop(struct webhooks *w);
/* After the notifier and db_close(): both may call it until then. */
void webhooks_free(struct webhooks **w);

/* Rows were added or removed, and that is durable. Any thread; does not block. */
void webhooks_changed(struct webhooks *w);
/* May a hook have this URL? ERR_INVALID: what it should look like, ERR_DENIED: its host is not in
 * webhook.hosts; `why` is a sentence for people. Any thread. */
int webhooks_check_url(const struct webhooks *w, struct slice url, struct buf *why);

#endif
