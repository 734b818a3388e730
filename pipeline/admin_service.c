/*
 * One table of routes; who may call what is a column of it. Reads are answered on the HTTP thread,
 * writes suspend the request and are answered by the writer after their commit.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/log.h"
#include "pipeline/admin_priv.h"
#include "pipeline/backup.h"
#include "pipeline/problem.h"

#include <stdlib.h>

#define ADMIN_MAGIC 0xad3145e7u
#define ADMIN_PATH "/_/" /* how all begin */

static const struct admin_route routes[] = {
    {HTTP_GET, "/_/health", ADMIN_ANYONE, admin_health},
    {HTTP_GET, "/_/formats", ADMIN_ANYONE, admin_formats},
    {HTTP_GET, "/_/metrics", ADMIN_METRICS, admin_metrics},
    {HTTP_GET, "/_/status", ADMIN_ROOT, admin_status},
    {HTTP_GET, "/_/cost", ADMIN_ROOT, admin_cost},
    {HTTP_GET, "/_/explain", ADMIN_ROOT, admin_explain},
    {HTTP_GET, "/_/reprocess", ADMIN_ROOT, admin_reprocess_get},
    {HTTP_POST, "/_/reprocess", ADMIN_ROOT, admin_reprocess_post},
    {HTTP_GET, "/_/reprocess/plan", ADMIN_ROOT, admin_reprocess_plan},
    {HTTP_GET, "/_/reprocess/failures", ADMIN_ROOT, admin_reprocess_failures},
    {HTTP_GET, "/_/dlq", ADMIN_ROOT, admin_dlq_get},
    {HTTP_POST, "/_/dlq", ADMIN_ROOT, admin_dlq_post},
    {HTTP_DELETE, "/_/dlq", ADMIN_ROOT, admin_dlq_delete},
    {HTTP_GET, "/_/event-log", ADMIN_ROOT, admin_event_log_get},
    {HTTP_GET, "/_/replay/plan", ADMIN_ROOT, admin_replay_plan},
    {HTTP_POST, "/_/replay", ADMIN_ROOT, admin_replay_post},
    {HTTP_GET, "/_/replay", ADMIN_ROOT, admin_replay_get},
    {HTTP_GET, "/_/functions", ADMIN_ROOT, admin_functions_get},
    {HTTP_PUT, "/_/functions", ADMIN_ROOT, admin_functions_put},
    {HTTP_GET, "/_/buckets", ADMIN_ROOT, admin_buckets_get},
    {HTTP_POST, "/_/buckets", ADMIN_ROOT, admin_buckets_post},
    {HTTP_POST, "/_/invoke", ADMIN_ROOT, admin_invoke},
    {HTTP_POST, "/_/verify", ADMIN_ROOT, admin_verify_post},
    {HTTP_POST, "/_/sign-url", ADMIN_ROOT, admin_sign_url},
    {HTTP_GET, "/_/backup", ADMIN_ROOT, admin_backup_get},
    {HTTP_POST, "/_/backup", ADMIN_ROOT, admin_backup_post},
    {HTTP_DELETE, "/_/backup", ADMIN_ROOT, admin_backup_delete},
    {HTTP_GET, "/_/webhooks", ADMIN_ROOT, admin_webhooks_get},
    {HTTP_POST, "/_/webhooks", ADMIN_ROOT, admin_webhooks_post},
    {HTTP_DELETE, "/_/webhooks", ADMIN_ROOT, admin_webhooks_delete},
};

/* ---- answers ---- */

json_t *
admin_text(struct slice s)
{
    if (slice_is_utf8(s))
        return json_stringn(s.p == NULL ? "" : s.p, s.n);
    char *copy = chk_malloc(s.n);
    for (size_t i = 0; i < s.n; i++)
        copy[i] = (unsigned char)s.p[i] < 0x80 ? s.p[i] : '?';
    json_t *text = json_stringn(copy, s.n);
    free(copy);
    return text;
}

void
admin_reply_text(struct http_request *r, int status, const char *type, struct slice text)
{
    http_header(r, "Content-Type", slice_str(type));
    http_header(r, "Cache-Control", SLICE_LIT("no-store"));
    http_header(r, "x-amz-request-id", slice_str(r->id));
    http_reply(r, status, text);
}

void
admin_reply_json(struct http_request *r, int status, json_t *value)
{
    struct buf text;
    buf_init(&text, ADMIN_REPLY_MAX);
    json_write(&text, value, false);
    buf_putc(&text, '\n');
    json_decref(value);
    if (value == NULL || text.err != ERR_NONE)
        admin_reply_text(r, 500, "application/json", SLICE_LIT("{\"error\":\"NOMEM\"}\n"));
    else
        admin_reply_text(r, status, "application/json", buf_slice(&text));
    buf_fini(&text);
}

static int
status_of(int err)
{
    switch (err) {
    case ERR_INVALID:
    case ERR_RANGE:
    case ERR_LOOP:
    case ERR_TOOBIG:
        return 400;
    case ERR_DENIED:
        return 403;
    case ERR_NOTFOUND:
    case ERR_NOPARENT:
        return 404;
    case ERR_EXISTS:
    case ERR_CONFLICT:
        return 409;
    case ERR_BUSY:
    case ERR_FULL:
    case ERR_SYNC:
    case ERR_CANCELED:
    case ERR_TIMEOUT:
        return 503;
    default:
        return 500;
    }
}

void
admin_reply_error(struct http_request *r, int err, struct slice why)
{
    int status = status_of(err);
    if (status == 503)
        http_header(r, "Retry-After", SLICE_LIT("1"));
    http_header(r, "x-amz-request-id", slice_str(r->id));
    problem_reply(r, status, "error", slice_str(err_name(err)),
                  why.n > 0 ? why : slice_str(err_text(err)));
}

int
admin_param_u64(struct http_request *r, const char *name, uint64_t fallback, uint64_t *out)
{
    struct slice text = http_param(r, name);
    *out = fallback;
    if (text.p == NULL)
        return ERR_NONE;
    if (slice_to_u64(text, out) == ERR_NONE && *out <= INT64_MAX)
        return ERR_NONE;
    char *why = arena_printf(r->arena, "%s must be a whole number", name);
    admin_reply_error(r, ERR_INVALID, slice_str(why));
    return ERR_INVALID;
}

json_t *
admin_body(struct http_request *r)
{
    struct buf why;
    buf_init(&why, ADMIN_WHY_MAX);
    json_t *body = json_read(r->body, &why);
    if (body != NULL && !json_is_object(body)) {
        json_decref(body);
        body = NULL;
        buf_puts(&why, "the body must be a JSON object");
    }
    if (body == NULL)
        admin_reply_error(r, ERR_INVALID, buf_slice(&why));
    buf_fini(&why);
    return body;
}

/* ---- who may ---- */

static bool
metrics_allowed(const struct admin_service *s, const struct http_request *r)
{
    if (s->options.open_metrics)
        return true;
    struct slice token = slice_str(conf_str(s->options.conf, CONF_METRICS_TOKEN));
    struct slice sent = http_field(r, "Authorization");
    struct slice bearer = SLICE_LIT("Bearer ");
    if (token.n == 0 || !slice_starts(sent, bearer))
        return false;
    sent = slice_skip(sent, bearer.n);
    return sent.n == token.n && digest_equal(sent.p, token.p, token.n);
}

/* With RFC 9110's hint (11.6.1) that other credentials might do: what root itself may not is told
 * without. */
static void
reply_refused(struct http_request *r, const char *why)
{
    http_header(r, "WWW-Authenticate", SLICE_LIT("AWS4-HMAC-SHA256"));
    admin_reply_error(r, ERR_DENIED, slice_str(why));
}

/* The reason of a refusal, or NULL. */
static const char *
refusal(const struct admin_service *s, const struct http_request *r, enum admin_access access)
{
    const struct auth *auth = r->auth;
    switch (access) {
    case ADMIN_ANYONE:
        return NULL;
    case ADMIN_METRICS:
        return metrics_allowed(s, r) ? NULL : "metrics need the bearer token of metrics.token";
    case ADMIN_ROOT:
        break;
    }
    if (auth->result == AUTH_ANONYMOUS)
        return "this needs a request signed with the root keys";
    if (auth->result != AUTH_OK)
        return auth_refusal(auth->result)->message;
    if (!slice_eqs(auth->service, "s3") || auth->scope.n == 0 || auth->presigned)
        return "this needs a Version 4 signature (service s3) in the Authorization header";
    if (r->has_body && auth->payload != AUTH_PAYLOAD_SHA256)
        return "the body must be signed: x-amz-content-sha256 must be its SHA-256";
    return auth->account->is_root ? NULL : "only the root account may do this";
}

static const struct admin_route *
route_find(const struct http_request *r, bool *path_known)
{
    enum http_method method = r->method == HTTP_HEAD ? HTTP_GET : r->method;
    *path_known = false;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (!slice_eqs(r->path, routes[i].path))
            continue;
        *path_known = true;
        if (routes[i].method == method)
            return &routes[i];
    }
    return NULL;
}

/* ---- the service ---- */

/* Nobody but root makes us keep a body: with AUTH_NEEDS_BODY at least the key must be root's. */
static bool
body_welcome(const struct admin_service *s, const struct http_request *r)
{
    const struct auth *auth = r->auth;
    if (auth->result == AUTH_OK)
        return auth->account->is_root;
    const struct account *claimed =
        auth->result == AUTH_NEEDS_BODY
            ? accounts_by_access_key(s->options.auth.accounts, auth->access_key_id)
            : NULL;
    return claimed != NULL && claimed->is_root;
}

static void
refuse_body(struct http_request *r, int err)
{
    if (err == ERR_TOOBIG)
        admin_reply_error(r, err, SLICE_LIT("the body is larger than any page here takes"));
    else
        admin_reply_error(r, ERR_BUSY, SLICE_LIT("there is no memory for the body now"));
}

static void
begin(struct http_request *r)
{
    if (!r->has_body)
        return;
    if (body_welcome(r->service_arg, r))
        http_collect(r, ADMIN_BODY_MAX, refuse_body);
    else
        reply_refused(r, "a body here must be signed with the root keys");
}

static void
end(struct http_request *r)
{
    struct admin_service *s = r->service_arg;
    CHK_MAGIC(s, ADMIN_MAGIC);
    struct auth_options options = s->options.auth;
    options.now_ms = clock_wall_ms();
    bool path_known = false;
    const struct admin_route *route = route_find(r, &path_known);
    if (route == NULL) {
        admin_reply_error(r, ERR_NOTFOUND,
                          path_known ? SLICE_LIT("this page does not take this method")
                                     : SLICE_LIT("no such page (man darkroomd lists them)"));
        return;
    }
    r->operation = route->path + sizeof ADMIN_PATH - 1;
    if (auth_check_body(r, &options, r->body) != ERR_NONE) {
        admin_reply_error(r, ERR_NOMEM, SLICE_NONE);
        return;
    }
    const char *refused = refusal(s, r, route->access);
    if (refused != NULL) {
        auth_count_refusal(r->auth);
        reply_refused(r, refused);
        return;
    }
    route->handler(s, r);
}

const struct http_service admin_http_service = {.name = "admin", .begin = begin, .end = end};

struct admin_service *
admin_service_new(const struct admin_options *options)
{
    struct admin_service *s = chk_calloc(1, sizeof *s);
    s->magic = ADMIN_MAGIC;
    s->options = *options;
    struct backups_options backups = {.db = options->db,
                                      .store = options->store,
                                      .data_dir = options->data_dir,
                                      .conf = options->conf};
    s->backups = backups_new(&backups);
    s->verify = admin_verify_new(options->db, pipeline_registry(options->pipeline));
    return s;
}

void
admin_service_stop(struct admin_service *s)
{
    CHK_MAGIC(s, ADMIN_MAGIC);
    backups_stop(s->backups);
    admin_verify_stop(s->verify);
}

void
admin_service_free(struct admin_service **sp)
{
    struct admin_service *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, ADMIN_MAGIC);
    backups_free(&s->backups);
    admin_verify_free(&s->verify);
    s->magic = 0;
    free(s);
}
