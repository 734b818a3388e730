/*
 * From HTTP to an operation and back.
 *
 *     begin()  target known? signature good as far as the headers say? -> collect the body
 *     end()    signature over the body; root account; JSON; operation's read()
 *                reading operation: run() on a snapshot, reply
 *                writing operation: suspend, db_submit()
 *                                        writer thread: apply() -> run()
 *                                        syncer thread: done() -> reply, resume
 *     gone()   frees the request
 *
 * Until done() has been called the request belongs to the database; gone() cannot come before.
 *
 * Items of deleted tables are removed by sweeps, one bounded op after the other, each submitted by
 * the one before; the first at start, in case the last run did not finish.
 */
#include "base/auth.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/log.h"
#include "metadata/ddb_priv.h"
#include "metadata/table_priv.h"

#include <stdlib.h>

#define SERVICE_MAGIC 0xdd850001u
#define MESSAGE_MAX (16u << 10)
#define SWEEP_ROWS 500
#define TARGET_PREFIX "DynamoDB_20120810."

struct ddb_service {
    uint32_t magic;
    struct ddb_options options;
};

const struct ddb_options *
ddb_options_of(const struct ddb_request *q)
{
    return &q->service->options;
}

/* ---- sweeping ---- */

struct sweep {
    struct db_op op;
    struct db *db;
    bool more;
};

static int
sweep_apply(struct db_op *op, struct db_conn *conn)
{
    struct sweep *s = CONTAINER_OF(op, struct sweep, op);
    return table_apply_sweep(conn, SWEEP_ROWS, &s->more);
}

static void
sweep_done(struct db_op *op, int err)
{
    struct sweep *s = CONTAINER_OF(op, struct sweep, op);
    /* What stays behind after an error is invisible and goes at the next start. */
    if (err != ERR_NONE || !s->more || db_submit(s->db, op) != ERR_NONE)
        free(s);
}

static void
sweep_start(struct db *db)
{
    struct sweep *s = calloc(1, sizeof *s);
    if (s == NULL)
        return;
    *s = (struct sweep){.op = {.apply = sweep_apply, .done = sweep_done, .urgent = true}, .db = db};
    if (db_submit(db, &s->op) != ERR_NONE)
        free(s);
}

/* ---- replies ---- */

static void
reply_headers(struct http_request *r, struct slice body)
{
    http_header(r, "Content-Type", SLICE_LIT("application/x-amz-json-1.0"));
    http_header(r, "x-amzn-RequestId", slice_str(r->id));
    http_headerf(r, "x-amz-crc32", "%u", digest_crc32(0, body.p, body.n));
}

static void
reply_error(struct http_request *r, enum ddb_error error, struct slice message, struct slice extra)
{
    struct buf body;
    buf_init(&body, DDB_REPLY_MAX);
    ddb_error_body(&body, error, message, extra);
    if (body.err != ERR_NONE) {
        buf_reset(&body);
        ddb_error_body(&body, DDB_INTERNAL, SLICE_NONE, SLICE_NONE);
    }
    if (error == DDB_UNAVAILABLE)
        http_header(r, "Retry-After", SLICE_LIT("1"));
    reply_headers(r, buf_slice(&body));
    http_reply(r, ddb_error_status(error), buf_slice(&body));
    buf_fini(&body);
}

static void
refuse(struct http_request *r, enum ddb_error error, const char *message)
{
    reply_error(r, error, slice_str(message), SLICE_NONE);
}

static void
reply(struct ddb_request *q, int err)
{
    struct http_request *r = q->http;
    if (err == ERR_NONE)
        err = q->reply.err == ERR_TOOBIG ? ERR_NOMEM : q->reply.err;
    if (err != ERR_NONE) {
        ddb_fail_err(q, err);
        if (ddb_error_status(q->error) >= 500)
            log_line(LOG_WARN, "table_request_failed", "request=%s operation=%s error=%s", r->id,
                     q->operation->name, err_name(err));
        reply_error(r, q->error, buf_slice(&q->message), buf_slice(&q->extra));
        return;
    }
    reply_headers(r, buf_slice(&q->reply));
    if (q->reply.n <= HTTP_INLINE_REPLY_MAX) {
        http_reply(r, 200, buf_slice(&q->reply));
    } else {
        size_t n;
        char *p = buf_take(&q->reply, &n);
        http_reply_borrowed(r, 200, slice_of(p, n), free, p);
    }
}

/* ---- who may ---- */

/* True when the request is answered: it is not who it says. */
static bool
refuse_signature(struct http_request *r)
{
    switch (r->auth->result) {
    case AUTH_OK:
    case AUTH_NEEDS_BODY:
        return false;
    case AUTH_ANONYMOUS:
        refuse(r, DDB_MISSING_TOKEN, "Request is missing Authentication Token");
        return true;
    case AUTH_UNKNOWN_KEY:
        refuse(r, DDB_UNRECOGNIZED_CLIENT,
               "The security token included in the request is invalid.");
        return true;
    case AUTH_MISMATCH:
    case AUTH_BODY_HASH:
        refuse(r, DDB_INVALID_SIGNATURE,
               "The request signature we calculated does not match the signature you provided."
               " Check your AWS Secret Access Key and signing method. Consult the service"
               " documentation for details.");
        return true;
    case AUTH_LIMITED:
    case AUTH_SKEWED:
    case AUTH_EXPIRED:
    case AUTH_NOT_YET:
        refuse(r, DDB_INVALID_SIGNATURE, auth_refusal(r->auth->result)->message);
        return true;
    default:
        refuse(r, DDB_INCOMPLETE_SIGNATURE, auth_refusal(r->auth->result)->message);
        return true;
    }
}

/* ---- the request ---- */

static const struct ddb_operation *
find_operation(struct http_request *r)
{
    static const struct ddb_operation *const families[] = {
        ddb_item_operations, ddb_query_operations, ddb_table_operations, ddb_batch_operations};
    struct slice target = http_field(r, "x-amz-target");
    if (r->method != HTTP_POST || !slice_starts(target, SLICE_LIT(TARGET_PREFIX)))
        return NULL;
    target = slice_skip(target, sizeof TARGET_PREFIX - 1);
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        for (const struct ddb_operation *o = families[i]; o->name != NULL; o++)
            if (slice_eqs(target, o->name))
                return o;
    return NULL;
}

static void
refuse_body(struct http_request *r, int err)
{
    if (err == ERR_TOOBIG)
        refuse(r, DDB_TOO_LARGE, "The request body is larger than this operation may have");
    else
        refuse(r, DDB_UNAVAILABLE, "There is no memory for the request body now");
}

/* Only root may use tables, and only who claims to be root makes us keep a body: the signature over
 * it is judged in end(). true: answered. */
static bool
refuse_stranger(struct http_request *r)
{
    const struct ddb_service *service = r->service_arg;
    const struct account *account = r->auth->account;
    if (account == NULL)
        account = accounts_by_access_key(service->options.accounts, r->auth->access_key_id);
    if (account != NULL && account->is_root)
        return false;
    refuse(r, DDB_ACCESS_DENIED, "This account is not authorized to use tables");
    return true;
}

static void
begin(struct http_request *r)
{
    const struct ddb_operation *operation = find_operation(r);
    r->operation = operation == NULL ? NULL : operation->name;
    if (operation == NULL)
        refuse(r, DDB_UNKNOWN_OPERATION, "");
    else if (!refuse_signature(r) && !refuse_stranger(r))
        http_collect(r, operation->body_max, refuse_body);
}

static void
request_free(struct ddb_request **qp)
{
    struct ddb_request *q = *qp;
    *qp = NULL;
    if (q == NULL)
        return;
    json_decref(q->body);
    arena_free(&q->arena);
    arena_free(&q->scratch);
    buf_fini(&q->reply);
    buf_fini(&q->message);
    buf_fini(&q->extra);
    free(q);
}

static struct ddb_request *
request_new(struct http_request *r)
{
    struct ddb_request *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->service = r->service_arg;
    q->http = r;
    q->operation = find_operation(r);
    CHK(q->operation != NULL); /* begin() found it */
    q->arena = arena_new(DDB_REQUEST_MEMORY_MAX);
    buf_init(&q->reply, DDB_REPLY_MAX);
    buf_init(&q->message, MESSAGE_MAX);
    buf_init(&q->extra, DDB_REPLY_MAX);
    if (q->arena == NULL)
        request_free(&q);
    return q;
}

/* Each value costs the JSON reader far more memory than its few bytes here: count them first. */
static bool
too_many_nodes(struct slice body)
{
    size_t n = 0;
    for (size_t i = 0; i < body.n; i++)
        n += body.p[i] == '{' || body.p[i] == '[' || body.p[i] == ',';
    return n > DDB_JSON_NODES_MAX;
}

static int
parse_body(struct ddb_request *q)
{
    if (too_many_nodes(q->http->body))
        return ddb_fail(q, DDB_SERIALIZATION, "The request holds too many values");
    q->body = json_read(q->http->body, &q->message);
    if (q->body == NULL)
        return ddb_fail_said(q, ERR_UNSUPPORTED);
    if (!json_is_object(q->body))
        return ddb_fail(q, DDB_SERIALIZATION, "Start of structure or map expected");
    return ERR_NONE;
}

/* A clean slate: run() may be called more than once for a write. */
static int
run(struct ddb_request *q, struct db_conn *conn)
{
    arena_free(&q->scratch);
    buf_reset(&q->reply);
    buf_reset(&q->message);
    buf_reset(&q->extra);
    q->error = DDB_NO_ERROR;
    q->sweep = false;
    q->scratch = arena_new(DDB_REQUEST_MEMORY_MAX);
    return q->scratch == NULL ? ERR_NOMEM : q->operation->run(q, conn);
}

static int
write_apply(struct db_op *op, struct db_conn *conn)
{
    return run(CONTAINER_OF(op, struct ddb_request, op), conn);
}

static void
write_done(struct db_op *op, int err)
{
    struct ddb_request *q = CONTAINER_OF(op, struct ddb_request, op);
    if (err == ERR_NONE && q->sweep)
        sweep_start(q->service->options.db);
    reply(q, err);
    http_resume(q->http);
}

static void
submit(struct ddb_request *q)
{
    q->op = (struct db_op){.apply = write_apply,
                           .done = write_done,
                           .bytes = q->http->body.n,
                           .urgent = q->operation->urgent};
    http_suspend(q->http);
    int err = db_submit(q->service->options.db, &q->op);
    if (err != ERR_NONE) {
        reply(q, err);
        http_resume(q->http);
    }
}

static void
read_now(struct ddb_request *q)
{
    struct db_conn *conn = NULL;
    int err = db_read_begin(q->service->options.db, &conn);
    if (err == ERR_NONE) {
        err = run(q, conn);
        db_read_end(q->service->options.db, &conn);
    }
    reply(q, err);
}

static void
end(struct http_request *r)
{
    const struct ddb_service *service = r->service_arg;
    CHK_MAGIC(service, SERVICE_MAGIC);
    struct auth_options options = {.accounts = service->options.accounts,
                                   .now_ms = clock_wall_ms()};
    if (http_replied(r))
        return;
    if (auth_check_body(r, &options, r->body) != ERR_NONE) {
        refuse(r, DDB_INTERNAL, "out of memory");
        return;
    }
    if (refuse_signature(r) || refuse_stranger(r))
        return;
    struct ddb_request *q = request_new(r);
    if (q == NULL) {
        refuse(r, DDB_INTERNAL, "out of memory");
        return;
    }
    r->ctx = q;
    int err = parse_body(q);
    if (err == ERR_NONE)
        err = q->operation->read(q);
    if (err != ERR_NONE)
        reply(q, err);
    else if (q->operation->writes)
        submit(q);
    else
        read_now(q);
}

static void
gone(struct http_request *r)
{
    struct ddb_request *q = r->ctx;
    r->ctx = NULL;
    request_free(&q);
}

const struct http_service ddb_http_service = {
    .name = "dynamodb", .begin = begin, .body = NULL, .end = end, .gone = gone};

/* ---- the service ---- */

struct ddb_service *
ddb_service_new(const struct ddb_options *options)
{
    struct ddb_service *s = chk_calloc(1, sizeof *s);
    s->magic = SERVICE_MAGIC;
    s->options = *options;
    sweep_start(options->db);
    return s;
}

void
ddb_service_free(struct ddb_service **sp)
{
    struct ddb_service *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, SERVICE_MAGIC);
    s->magic = 0;
    free(s);
}
