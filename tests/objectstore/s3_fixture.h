/*
 * The S3 face in full: a store, the service and an HTTP server on a port the kernel chose, with two
 * accounts, and a client that signs. Each call has its own connection unless it asks otherwise.
 */
#ifndef DARKROOM_TESTS_OBJECTSTORE_S3_FIXTURE_H
#define DARKROOM_TESTS_OBJECTSTORE_S3_FIXTURE_H

#include "base/auth.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sign.h"
#include "objectstore/s3_service.h"
#include "tests/lib/rawhttp.h"
#include "tests/objectstore/fixture.h"

#include <stdatomic.h>

#define ROOT "ROOTKEY"
#define ANN "ANNKEY"
#define NOBODY NULL

struct s3_fix {
    struct fix f;
    struct accounts *accounts;
    struct s3_service *s3;
    struct http_server *http;
    /* Set by the test, looked at by the server's threads. */
    atomic_bool full;                         /* hooks.accepting() says no */
    atomic_bool sigv2;                        /* Version 2 is allowed */
    atomic_int notifications;                 /* calls of the hook */
    atomic_int notification_err;              /* what it says */
    atomic_bool stale;                        /* hooks.is_fresh() says no */
    const struct http_service *_Atomic other; /* of paths below "/_/"; NULL: the S3 face */
};

struct s3_call {
    const char *who; /* access key id; NULL: unsigned */
    const char *method;
    const char *target;  /* as sent */
    const char *headers; /* more lines "name: value\r\n", all signed; NULL: none */
    struct slice body;
    const char *host;    /* NULL: the server's address */
    const char *hash;    /* instead of the body's SHA-256 */
    const char *secret;  /* instead of the account's */
    const char *service; /* of the signature's scope, instead of "s3" */
    bool no_length;      /* leave Content-Length out */
};

static inline const char *
s3_secret(const char *who)
{
    return strcmp(who, ROOT) == 0 ? "rootsecret" : "annsecret";
}

/* ---- the server ---- */

static inline void
s3_fix_router(void *arg, struct http_request *r)
{
    struct s3_fix *t = arg;
    struct auth_options o = {.accounts = t->accounts,
                             .v2_allowed = t->sigv2,
                             .now_ms = clock_wall_ms(),
                             .domain = "localhost"};
    if (auth_check(r, &o) != ERR_NONE) {
        http_reply(r, 503, SLICE_NONE);
        return;
    }
    bool other = t->other != NULL && slice_starts(r->path, SLICE_LIT("/_/"));
    r->service = other ? t->other : &s3_http_service;
    r->service_arg = other ? (void *)t : t->s3;
}

#define S3_FIX_BODIES (4 << 20)

static inline void
s3_fix_thread_end(void *arg)
{
    struct s3_fix *t = arg;
    store_thread_end(t->f.store);
    db_thread_end(t->f.db);
}

static inline bool
s3_fix_accepting(void *arg)
{
    return !((struct s3_fix *)arg)->full;
}

static inline int
s3_fix_notification(void *arg, struct db_conn *conn, const struct store_bucket *bucket,
                    struct slice xml, struct buf *why)
{
    struct s3_fix *t = arg;
    CHK(conn != NULL && bucket != NULL && xml.n > 0);
    t->notifications++;
    if (t->notification_err != ERR_NONE)
        buf_puts(why, "because of the test");
    return t->notification_err;
}

static inline bool
s3_fix_fresh(void *arg, const struct store_object *object)
{
    CHK(object->by_function);
    return !((struct s3_fix *)arg)->stale;
}

static inline int
s3_setup(void **state)
{
    struct s3_fix *t = chk_calloc(1, sizeof *t);
    log_set_level(LOG_ERROR);
    t->f.dir = testdir_make();
    fix_open(&t->f);
    t->accounts = accounts_new();
    struct account root = {"000000000000", NULL,         "root", "root@example.org",
                           ROOT,           "rootsecret", true};
    struct account ann = {"111111111111", NULL, "Ann & Co", "ann@example.org", ANN,
                          "annsecret",    false};
    CHK(accounts_add(t->accounts, &root) == ERR_NONE);
    CHK(accounts_add(t->accounts, &ann) == ERR_NONE);
    struct s3_options options = {
        .store = t->f.store,
        .db = t->f.db,
        .accounts = t->accounts,
        .domain = "localhost",
        .region = "us-east-1",
        .hooks = {.arg = t,
                  .notification_set = s3_fix_notification,
                  .accepting = s3_fix_accepting,
                  .is_fresh = s3_fix_fresh},
    };
    t->s3 = s3_service_new(&options);
    struct http_options http = {.host = "127.0.0.1",
                                .threads = 2,
                                .connections_max = 200,
                                .connections_per_address_max = 200,
                                .header_deadline_ms = 10000,
                                .idle_timeout_ms = 20000,
                                .bodies_memory_max = S3_FIX_BODIES,
                                .router = s3_fix_router,
                                .router_arg = t,
                                .thread_end = s3_fix_thread_end};
    CHK(http_start(&t->http, &http) == ERR_NONE);
    *state = t;
    return 0;
}

static inline int
s3_teardown(void **state)
{
    struct s3_fix *t = *state;
    http_quiesce(t->http);
    while (http_active(t->http) > 0)
        sched_yield();
    http_stop(&t->http);
    s3_service_free(&t->s3);
    fix_close(&t->f);
    accounts_free(&t->accounts);
    testdir_remove(&t->f.dir);
    free(t);
    return 0;
}

#define S3_TEST(name) cmocka_unit_test_setup_teardown(name, s3_setup, s3_teardown)

/* ---- the client ---- */

/* Lines "name: value\r\n" as signed headers; names must be lower case. */
static inline size_t
s3_call_lines(struct slice lines, struct sign_header *out, size_t count, struct arena *a)
{
    while (lines.n > 0) {
        struct slice rest, value, line = slice_cut(lines, '\r', &rest);
        lines = slice_skip(rest, 1);
        struct slice name = slice_cut(line, ':', &value);
        CHK(count < SIGN_HEADERS_MAX);
        out[count++] = (struct sign_header){arena_dup(a, name).p, slice_trim(value)};
    }
    return count;
}

/* Head of the request, signed, empty line included. */
static inline void
s3_call_head(const struct s3_fix *t, const struct s3_call *c, struct buf *out)
{
    char hash[2 * SHA256_BYTES + 1], date[CLOCK_TEXT_MAX];
    uint8_t digest[SHA256_BYTES];
    struct sign_header headers[SIGN_HEADERS_MAX];
    struct arena *a = arena_new(1 << 20);
    struct slice query, path = slice_cut(slice_str(c->target), '?', &query);
    const char *host = c->host != NULL ? c->host : http_address(t->http);
    digest_sha256(c->body.p == NULL ? "" : c->body.p, c->body.n, digest);
    hex_encode(digest, sizeof digest, hash);
    buf_printf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n", c->method, c->target, host);
    if (!c->no_length && (c->body.n > 0 || c->method[0] == 'P'))
        buf_printf(out, "Content-Length: %zu\r\n", c->body.n);
    if (c->headers != NULL)
        buf_puts(out, c->headers);
    if (c->who != NULL) {
        struct sign_request req = {
            .method = c->method,
            .raw_path = path,
            .raw_query = query,
            .headers = headers,
            .payload_hash = c->hash != NULL ? c->hash : hash,
            .region = "eu-somewhere-9",
            .service = c->service != NULL ? c->service : "s3",
            .access_key_id = slice_str(c->who),
            .secret_access_key = slice_str(c->secret != NULL ? c->secret : s3_secret(c->who)),
            .now_ms = clock_wall_ms(),
        };
        clock_basic(req.now_ms, date);
        headers[0] = (struct sign_header){"host", slice_str(host)};
        headers[1] = (struct sign_header){"x-amz-date", slice_str(date)};
        headers[2] = (struct sign_header){"x-amz-content-sha256", slice_str(req.payload_hash)};
        req.header_count = s3_call_lines(slice_str(c->headers), headers, 3, a);
        buf_printf(out, "x-amz-date: %s\r\nx-amz-content-sha256: %s\r\nAuthorization: ", date,
                   req.payload_hash);
        assert_int_equal(sign_v4_header(&req, out), ERR_NONE);
        buf_puts(out, "\r\n");
    }
    buf_puts(out, "\r\n");
    assert_int_equal(out->err, ERR_NONE);
    arena_free(&a);
}

static inline void
s3_call_on(const struct s3_fix *t, int fd, const struct s3_call *c, struct raw_answer *answer)
{
    struct buf head;
    buf_init(&head, 1 << 20);
    s3_call_head(t, c, &head);
    assert_true(raw_put(fd, head.p, head.n));
    if (c->body.n > 0)
        raw_put(fd, c->body.p, c->body.n); /* the server may have said no by now */
    buf_fini(&head);
    raw_hear(fd, answer, strcmp(c->method, "HEAD") == 0);
}

/* buf_fini(&answer->all) afterwards. */
static inline void
s3_call(const struct s3_fix *t, const struct s3_call *c, struct raw_answer *answer)
{
    int fd = raw_dial(http_address(t->http));
    s3_call_on(t, fd, c, answer);
    close(fd);
}

static inline bool
s3_says(const struct raw_answer *a, const char *text)
{
    return slice_find(buf_slice(&a->all), slice_str(text)) >= 0;
}

/* Calls, checks the status and that head or body has `part` (NULL: anything). */
static inline void
s3_expect(const struct s3_fix *t, const struct s3_call *c, int status, const char *part)
{
    struct raw_answer a;
    s3_call(t, c, &a);
    if (a.status != status || (part != NULL && !s3_says(&a, part)))
        fail_msg("%s %s: wanted %d %s, got\n%s", c->method, c->target, status,
                 part == NULL ? "" : part, a.all.p == NULL ? "nothing" : a.all.p);
    buf_fini(&a.all);
}

static inline void
s3_do(const struct s3_fix *t, const char *who, const char *method, const char *target, int status,
      const char *part)
{
    struct s3_call c = {.who = who, .method = method, .target = target};
    s3_expect(t, &c, status, part);
}

static inline void
s3_send(const struct s3_fix *t, const char *who, const char *method, const char *target,
        const char *headers, const char *body, int status, const char *part)
{
    struct s3_call c = {.who = who,
                        .method = method,
                        .target = target,
                        .headers = headers,
                        .body = slice_str(body)};
    s3_expect(t, &c, status, part);
}

/* Value of an XML element, the first so named; n = 0 when there is none. */
static inline struct slice
s3_element(const struct raw_answer *a, const char *name)
{
    char open[64];
    int n = snprintf(open, sizeof open, "<%s>", name);
    struct slice body = raw_body(a);
    ptrdiff_t at = slice_find(body, slice_str(open));
    if (at < 0)
        return SLICE_NONE;
    struct slice rest;
    return slice_cut(slice_skip(body, (size_t)at + (size_t)n), '<', &rest);
}

#endif
