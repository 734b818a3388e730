/*
 * Deadlines and limits: through a real server over plain sockets, and of the guard by itself where
 * a server would make the test wait for its long times.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http.h"
#include "base/http_guard.h"
#include "base/log.h"
#include "base/stat.h"
#include "tests/lib/rawhttp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void
on_begin(struct http_request *r)
{
    http_collect(r, 1000, NULL);
}

static void
on_end(struct http_request *r)
{
    http_reply(r, 200, r->has_body ? r->body : SLICE_LIT("hello"));
}

static const struct http_service service = {.name = "test", .begin = on_begin, .end = on_end};

static void
route(void *arg, struct http_request *r)
{
    (void)arg;
    r->service = &service;
}

static struct http_server *
start(void (*change)(struct http_options *o))
{
    struct http_server *s = NULL;
    struct http_options o = {.host = "127.0.0.1",
                             .threads = 2,
                             .connections_max = 64,
                             .connections_per_address_max = 64,
                             .header_deadline_ms = 20000,
                             .idle_timeout_ms = 30000,
                             .body_rate_min = 1,
                             .router = route};
    change(&o);
    assert_int_equal(http_start(&s, &o), ERR_NONE);
    return s;
}

static void
short_header(struct http_options *o)
{
    o->header_deadline_ms = 200;
    o->idle_timeout_ms = 30000;
}

/* A byte now and then never lets the idle timeout strike; the absolute deadline does. */
static void
trickle_until_cut(int fd)
{
    int64_t begun = clock_mono_ms();
    for (const char *p = "GET /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";; p++) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, 50) == 1 || *p == '\0')
            break;
        (void)raw_put(fd, p, 1);
    }
    struct buf b = raw_drain(fd);
    assert_int_equal(b.n, 0);
    buf_fini(&b);
    assert_true(clock_mono_ms() - begun >= 150 && clock_mono_ms() - begun < RAW_WAIT_MS);
}

static void
test_header_deadline(void **state)
{
    (void)state;
    struct http_server *s = start(short_header);
    int64_t before = stat_get(STAT_http_timeouts_total);
    trickle_until_cut(raw_dial(http_address(s)));
    raw_expect_closed(raw_dial(http_address(s))); /* not a single byte */
    /* Behind a reply: idle is allowed, a header that has begun is not. */
    int fd = raw_dial(http_address(s));
    raw_say(fd, GET("/hello"));
    raw_expect(fd, 200, "hello");
    struct pollfd idle = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&idle, 1, 700), 0);
    raw_say(fd, GET("/hello"));
    raw_expect(fd, 200, "hello");
    trickle_until_cut(fd);
    /* Neither a slow body nor a suspended request is a slow header. */
    fd = raw_dial(http_address(s));
    raw_say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na");
    idle.fd = fd;
    assert_int_equal(poll(&idle, 1, 700), 0);
    raw_say(fd, "b");
    raw_expect(fd, 200, "ab");
    close(fd);
    assert_int_equal(stat_get(STAT_http_timeouts_total), before + 3);
    http_stop(&s);
}

static void
three_connections(struct http_options *o)
{
    o->connections_max = 3;
}

static void
two_per_address(struct http_options *o)
{
    o->connections_per_address_max = 2;
}

static void
check_limit(struct http_server *s, int limit)
{
    int fds[8];
    int64_t before = stat_get(STAT_http_limited_total);
    for (int i = 0; i < limit; i++) {
        fds[i] = raw_dial(http_address(s));
        raw_say(fds[i], GET("/hello"));
        raw_expect(fds[i], 200, "hello");
    }
    raw_expect_closed(raw_dial(http_address(s)));
    assert_true(stat_get(STAT_http_limited_total) > before);
    assert_int_equal(stat_get(STAT_http_connections), limit);
    close(fds[0]);
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (stat_get(STAT_http_connections) != limit - 1) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
    fds[0] = raw_dial(http_address(s));
    raw_say(fds[0], GET("/hello"));
    raw_expect(fds[0], 200, "hello");
    for (int i = 0; i < limit; i++)
        close(fds[i]);
}

static void
test_limits(void **state)
{
    (void)state;
    struct http_server *s = start(three_connections);
    check_limit(s, 3);
    http_stop(&s);
    s = start(two_per_address);
    check_limit(s, 2);
    http_stop(&s);
    assert_int_equal(stat_get(STAT_http_connections), 0);
}

/* ---- the guard alone ---- */

struct watched {
    struct http_guard *guard;
    struct http_guard_conn *conn;
    int ours, theirs;
};

static void
watch(struct watched *w, const struct http_guard_options *o, const char *peer)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    int pair[2];
    assert_int_equal(inet_pton(AF_INET, peer, &in.sin_addr), 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    if (w->guard == NULL)
        assert_int_equal(http_guard_start(&w->guard, o), ERR_NONE);
    w->ours = pair[0];
    w->theirs = pair[1];
    w->conn = http_guard_opened(w->guard, w->ours, (struct sockaddr *)&in);
    assert_non_null(w->conn);
}

static bool
is_cut(const struct watched *w, int wait_ms)
{
    struct pollfd p = {.fd = w->theirs, .events = POLLIN};
    return poll(&p, 1, wait_ms) == 1;
}

static void
forget(struct watched *w)
{
    http_guard_closed(w->guard, w->conn);
    close(w->ours);
    close(w->theirs);
}

static void
test_body_rate(void **state)
{
    (void)state;
    struct http_guard_options o = {.connections_max = 9,
                                   .connections_per_address_max = 9,
                                   .header_deadline_ms = 80,
                                   .body_rate_min = 1000,
                                   .body_grace_ms = 200};
    struct watched w = {NULL, NULL, -1, -1};
    watch(&w, &o, "192.0.2.1");
    assert_false(w.conn->peer_is_loopback);
    http_guard_enter(w.conn, GUARD_BODY);
    http_guard_body(w.conn, 1000000); /* enough for 1000 s */
    assert_false(is_cut(&w, 500));
    int64_t begun = clock_mono_ms();
    http_guard_enter(w.conn, GUARD_BODY);
    http_guard_body(w.conn, 10);
    assert_true(is_cut(&w, RAW_WAIT_MS));
    assert_true(clock_mono_ms() - begun >= 200); /* not within the grace */
    /* Nothing brings a cut connection back. */
    http_guard_enter(w.conn, GUARD_BUSY);
    assert_int_equal(atomic_load(&w.conn->phase), GUARD_CUT);
    forget(&w);

    watch(&w, &o, "127.8.9.1");
    assert_true(w.conn->peer_is_loopback);
    http_guard_enter(w.conn, GUARD_BUSY);
    assert_false(is_cut(&w, 300)); /* ours to do something */
    http_guard_enter(w.conn, GUARD_HEADER);
    assert_true(is_cut(&w, RAW_WAIT_MS));
    forget(&w);
    http_guard_stop(&w.guard);
}

static void
test_addresses(void **state)
{
    (void)state;
    struct http_guard_options o = {
        .connections_max = 5, .connections_per_address_max = 2, .header_deadline_ms = 60000};
    struct watched w[6] = {{NULL, NULL, -1, -1}};
    static const char *peers[] = {"192.0.2.1", "192.0.2.2", "192.0.2.1",
                                  "192.0.2.3", "192.0.2.3", "192.0.2.4"};
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        struct sockaddr_in in = {.sin_family = AF_INET};
        assert_int_equal(inet_pton(AF_INET, peers[i], &in.sin_addr), 1);
        w[i].guard = w[0].guard;
        if (i > 0)
            assert_int_equal(http_guard_admits(w[0].guard, (struct sockaddr *)&in), i < 5);
        watch(&w[i], &o, peers[i]);
        assert_int_equal(is_cut(&w[i], 0), i == 5);
    }
    struct sockaddr_in six = {.sin_family = AF_INET};
    forget(&w[5]);
    forget(&w[0]);
    assert_int_equal(inet_pton(AF_INET, "192.0.2.3", &six.sin_addr), 1);
    assert_false(http_guard_admits(w[1].guard, (struct sockaddr *)&six));
    assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &six.sin_addr), 1);
    assert_true(http_guard_admits(w[1].guard, (struct sockaddr *)&six));
    struct http_guard *g = w[0].guard;
    for (size_t i = 1; i < 5; i++)
        forget(&w[i]);
    http_guard_stop(&g);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_deadline),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_body_rate),
        cmocka_unit_test(test_addresses),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
