/*
 * Deadlines and limits: through a real server over plain sockets, and of the guard by itself where
 * a server would make the test wait for its long times.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http.h"
#include "base/http_guard.h"
#include "base/http_mhd_priv.h"
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
refuse_body(struct http_request *r, int err)
{
    CHK(err == ERR_BUSY);
    http_reply(r, 503, SLICE_LIT("own words"));
}

static void
on_begin(struct http_request *r)
{
    http_collect(r, 1000, slice_eqs(r->path, "/own") ? refuse_body : NULL);
}

static _Atomic bool standing, go_on; /* the HTTP thread, in /stand */

#define LARGE (8u << 20)
static char large[LARGE];

static void
reply_with_headers(struct http_request *r, int count)
{
    for (int i = 0; i < count; i++)
        http_header(r, "X-Many", SLICE_LIT("1"));
    http_reply(r, 200, SLICE_LIT("without all of its headers it is another answer"));
}

static void
stand(struct http_request *r)
{
    standing = true;
    while (!go_on)
        sched_yield();
    http_reply(r, 200, SLICE_NONE);
}

static void
on_end(struct http_request *r)
{
    if (slice_eqs(r->path, "/large"))
        http_reply_borrowed(r, 200, slice_of(large, LARGE), NULL, NULL);
    else if (slice_eqs(r->path, "/busy"))
        http_reply(r, 503, SLICE_NONE);
    else if (slice_eqs(r->path, "/headers"))
        reply_with_headers(r, HTTP_REPLY_HEADERS_MAX + 1);
    else if (slice_eqs(r->path, "/stand"))
        stand(r);
    else
        http_reply(r, 200, r->has_body ? r->body : SLICE_LIT("hello"));
}

static const struct http_service service = {.name = "test", .begin = on_begin, .end = on_end};

static void
route(void *arg, struct http_request *r)
{
    (void)arg;
    r->service = &service;
}

#define IDLE_MS 30000

static struct http_server *
start(void (*change)(struct http_options *o))
{
    struct http_server *s = NULL;
    struct http_options o = {.host = "127.0.0.1",
                             .threads = 2,
                             .connections_max = 64,
                             .connections_per_address_max = 64,
                             .header_deadline_ms = 20000,
                             .idle_timeout_ms = IDLE_MS,
                             .body_rate_min = 1,
                             .rate_window_ms = 20000,
                             .router = route};
    change(&o);
    assert_int_equal(http_start(&s, &o), ERR_NONE);
    return s;
}

#define HEADER_MS 1000

static void
short_header(struct http_options *o)
{
    o->header_deadline_ms = HEADER_MS;
}

/* A byte now and then never lets the idle timeout strike; the absolute deadline does. */
static void
trickle_until_cut(int fd)
{
    int64_t begun = clock_mono_ms();
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    raw_say(fd, "GET /");
    while (poll(&wait, 1, 50) == 0) {
        assert_true(clock_mono_ms() - begun < IDLE_MS);
        (void)raw_put(fd, "x", 1);
    }
    struct buf b = raw_drain(fd);
    assert_int_equal(b.n, 0);
    buf_fini(&b);
    assert_true(clock_mono_ms() - begun >= HEADER_MS / 2 && clock_mono_ms() - begun < IDLE_MS);
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
    assert_int_equal(poll(&idle, 1, 2 * HEADER_MS), 0);
    raw_say(fd, GET("/hello"));
    raw_expect(fd, 200, "hello");
    trickle_until_cut(fd);
    /* Neither a slow body nor a suspended request is a slow header. */
    fd = raw_dial(http_address(s));
    raw_say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na");
    idle.fd = fd;
    assert_int_equal(poll(&idle, 1, 2 * HEADER_MS), 0);
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
    check_limit(s, 2); /* the third is for somebody else */
    http_stop(&s);
    s = start(two_per_address);
    check_limit(s, 2);
    http_stop(&s);
    assert_int_equal(stat_get(STAT_http_connections), 0);
}

static void
little_memory(struct http_options *o)
{
    o->bodies_memory_max = 1500;
}

static void
wait_for_bodies(int64_t bytes)
{
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (stat_get(STAT_http_bodies_bytes) != bytes) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

static void
test_bodies_memory(void **state)
{
    (void)state;
    struct raw_answer a;
    char text[1001] = {0};
    struct http_server *s = start(little_memory);
    memset(text, 'x', 1000);
    int first = raw_dial(http_address(s)), second = raw_dial(http_address(s));
    raw_say(first, "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    raw_say(first, text + 100);
    wait_for_bodies(900);
    raw_say(second, "PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    raw_say(second, text);
    raw_hear(second, &a, false);
    assert_int_equal(a.status, 503);
    assert_true(raw_has(&a, "\r\nRetry-After: 1\r\n"));
    buf_fini(&a.all);
    close(second);
    second = raw_dial(http_address(s));
    raw_say(second, "PUT /own HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    raw_say(second, text);
    raw_expect(second, 503, "own words");
    close(second);
    /* Refused in its middle, it gives back what it has before its end has come. */
    second = raw_dial(http_address(s));
    raw_say(second, "PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    raw_say(second, text + 500);
    wait_for_bodies(1400);
    raw_say(second, text + 800);
    wait_for_bodies(900);
    raw_say(second, text + 700);
    raw_expect(second, 503, NULL);
    close(second);
    second = raw_dial(http_address(s));
    raw_say(first, text + 900);
    raw_expect(first, 200, text);
    wait_for_bodies(0);
    /* Who leaves in the middle gives back what was kept of him. */
    raw_say(first, "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    raw_say(first, text + 100);
    wait_for_bodies(900);
    close(first);
    wait_for_bodies(0);
    raw_say(second, "PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    raw_say(second, text);
    raw_expect(second, 200, text);
    close(second);
    http_stop(&s);
}

static void
one_thread(struct http_options *o)
{
    o->header_deadline_ms = 3 * HEADER_MS; /* for what comes before the thread stands */
    o->threads = 1;
}

/* A whole header that we do not come to read is nobody's delay but ours. */
static void
test_late_reader(void **state)
{
    (void)state;
    struct http_server *s = start(one_thread);
    int busy = raw_dial(http_address(s)), waiting = raw_dial(http_address(s));
    raw_say(waiting, "GET /hello HTTP/1.1\r\n");
    for (int i = 0; i < 2; i++) { /* meanwhile that line is read: there is but one thread */
        raw_say(busy, GET("/hello"));
        raw_expect(busy, 200, "hello");
    }
    raw_say(busy, GET("/stand"));
    while (!standing)
        sched_yield();
    raw_say(waiting, "Host: x\r\n\r\n");
    struct pollfd closed = {.fd = waiting, .events = POLLIN};
    assert_int_equal(poll(&closed, 1, 5 * HEADER_MS), 0);
    go_on = true;
    raw_expect(busy, 200, NULL);
    raw_expect(waiting, 200, "hello");
    close(busy);
    close(waiting);
    http_stop(&s);
}

/* Whoever answers 503 may forget to say when to come again; and who has no room for his headers
 * does not know that it becomes one. */
static void
test_retry_after(void **state)
{
    (void)state;
    struct raw_answer a;
    struct http_server *s = start(little_memory);
    int fd = raw_dial(http_address(s));
    raw_say(fd, GET("/busy"));
    raw_hear(fd, &a, false);
    assert_int_equal(a.status, 503);
    assert_true(raw_has(&a, "\r\nRetry-After: 1\r\n"));
    buf_fini(&a.all);
    raw_say(fd, GET("/hello"));
    raw_hear(fd, &a, false);
    assert_false(raw_has(&a, "Retry-After"));
    buf_fini(&a.all);
    raw_say(fd, GET("/headers"));
    raw_hear(fd, &a, false);
    assert_int_equal(a.status, 503);
    assert_true(raw_has(&a, "\r\nRetry-After: 1\r\n") && raw_has(&a, "\r\nConnection: close\r\n"));
    assert_false(raw_has(&a, "X-Many") || raw_has(&a, "another answer"));
    buf_fini(&a.all);
    close(fd);
    http_stop(&s);
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

#define WINDOW_MS 200

/* A body that is fast enough for three windows. False: we were not fast enough ourselves, this
 * process stood still for as long as a window. */
static bool
body_goes_on(struct watched *w)
{
    int64_t last_ms = clock_mono_ms(), gap_ms = 0;
    for (int i = 0; i < 12; i++) {
        http_guard_body(w->conn, 1000);
        bool cut = is_cut(w, 50);
        int64_t now_ms = clock_mono_ms();
        gap_ms = now_ms - last_ms > gap_ms ? now_ms - last_ms : gap_ms;
        last_ms = now_ms;
        if (cut) {
            assert_true(gap_ms >= WINDOW_MS / 2);
            return false;
        }
    }
    return true;
}

static void
test_body_rate(void **state)
{
    (void)state;
    struct http_guard_options o = {.connections_max = 9,
                                   .connections_per_address_max = 9,
                                   .header_deadline_ms = 1000,
                                   .body_rate_min = 1000,
                                   .rate_window_ms = WINDOW_MS};
    struct watched w = {NULL, NULL, -1, -1};
    bool went_on = false;
    for (int i = 0; i < 50 && !went_on; i++) {
        if (i > 0)
            forget(&w);
        watch(&w, &o, "192.0.2.1");
        assert_false(w.conn->peer_is_loopback);
        http_guard_enter(w.conn, GUARD_BODY);
        went_on = body_goes_on(&w);
    }
    assert_true(went_on);
    int64_t begun = clock_mono_ms();
    http_guard_body(w.conn, 1000000); /* enough for 1000 s, had it come in time */
    assert_true(is_cut(&w, RAW_WAIT_MS));
    assert_true(clock_mono_ms() - begun >= WINDOW_MS); /* not within one */
    forget(&w);

    watch(&w, &o, "192.0.2.1");
    http_guard_enter(w.conn, GUARD_BODY);
    for (begun = clock_mono_ms(); !is_cut(&w, 20);) { /* a byte now and then is no rate */
        assert_true(clock_mono_ms() - begun < RAW_WAIT_MS);
        http_guard_body(w.conn, 1);
    }
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

/* ---- a client that does not read ---- */

static void
short_window(struct http_options *o)
{
    o->reply_rate_min = 1000;
    o->rate_window_ms = WINDOW_MS;
}

static int
ask_large(struct http_server *s)
{
    int fd = raw_dial(http_address(s));
    int small = 16 << 10;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    raw_say(fd, GET("/large"));
    return fd;
}

static void
wait_for_connections(int count)
{
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (stat_get(STAT_http_connections) != count) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

static void
until_timeouts(int64_t count)
{
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (stat_get(STAT_http_timeouts_total) < count) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

/* Takes some of an answer now and then, for ten windows. False: we stood still ourselves. */
static bool
answer_goes_on(int fd, int idle)
{
    char some[4096];
    int64_t begun_ms = clock_mono_ms(), last_ms = begun_ms, gap_ms = 0;
    while (last_ms - begun_ms < 10 * WINDOW_MS) {
        ssize_t n = recv(fd, some, sizeof some, 0);
        struct pollfd pause = {.fd = idle, .events = POLLIN};
        assert_int_equal(poll(&pause, 1, 20), 0);
        int64_t now_ms = clock_mono_ms();
        gap_ms = now_ms - last_ms > gap_ms ? now_ms - last_ms : gap_ms;
        last_ms = now_ms;
        if (n <= 0) {
            assert_true(gap_ms >= WINDOW_MS / 2);
            return false;
        }
    }
    return true;
}

static void
test_reply_rate(void **state)
{
    (void)state;
    struct http_server *s = start(short_window);
    int64_t before = stat_get(STAT_http_timeouts_total);
    int64_t begun = clock_mono_ms();
    int idle = raw_dial(http_address(s)); /* takes its answer, and then waits */
    raw_say(idle, GET("/hello"));
    raw_expect(idle, 200, "hello");
    int fd = ask_large(s);
    until_timeouts(before + 1);
    wait_for_connections(1);
    assert_true(clock_mono_ms() - begun >= WINDOW_MS);
    assert_int_equal(stat_get(STAT_http_timeouts_total), before + 1);
    close(fd);

    bool went_on = false; /* slow, but not that slow */
    for (int i = 0; i < 50 && !went_on; i++) {
        before = stat_get(STAT_http_timeouts_total);
        fd = ask_large(s);
        went_on = answer_goes_on(fd, idle);
        close(fd);
    }
    assert_true(went_on);
    assert_int_equal(stat_get(STAT_http_timeouts_total), before);
    close(idle);
    http_stop(&s);
}

/* ---- a body that does not come ---- */

static void
quick_bodies(struct http_options *o)
{
    o->body_rate_min = 1000;
    o->rate_window_ms = WINDOW_MS;
    o->idle_timeout_ms = 2 * RAW_WAIT_MS; /* not that one */
}

/* Whether the client asked for leave to send it or not. */
static void
test_body_that_stops(void **state)
{
    (void)state;
    static const char *const expect[] = {"", "Expect: 100-continue\r\n"};
    struct http_server *s = start(quick_bodies);
    for (size_t i = 0; i < ARRAY_LEN(expect); i++) {
        struct raw_answer a;
        int64_t before = stat_get(STAT_http_timeouts_total);
        int fd = raw_dial(http_address(s));
        raw_say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n");
        raw_say(fd, expect[i]);
        raw_say(fd, "\r\n");
        if (i == 1) {
            raw_hear(fd, &a, false);
            assert_int_equal(a.status, 100);
            buf_fini(&a.all);
        }
        raw_expect_closed(fd);
        until_timeouts(before + 1);
    }
    http_stop(&s);
}

/* ---- addresses ---- */

static bool
admits(const struct watched *w, const char *peer)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, peer, &in.sin_addr), 1);
    return http_guard_admits(w->guard, (struct sockaddr *)&in);
}

/* `count` connections of these addresses, each admitted. */
static void
watch_all(struct watched *w, size_t count, const struct http_guard_options *o, const char **peers)
{
    for (size_t i = 0; i < count; i++) {
        w[i].guard = w[0].guard;
        if (i > 0)
            assert_true(admits(&w[0], peers[i]));
        watch(&w[i], o, peers[i]);
        assert_false(is_cut(&w[i], 0));
    }
}

static void
forget_all(struct watched *w, size_t count)
{
    struct http_guard *g = w[0].guard;
    for (size_t i = 0; i < count; i++)
        forget(&w[i]);
    http_guard_stop(&g);
}

static void
test_addresses(void **state)
{
    (void)state;
    struct http_guard_options o = {
        .connections_max = 90, .connections_per_address_max = 2, .header_deadline_ms = 60000};
    struct watched w[5] = {{NULL, NULL, -1, -1}};
    static const char *peers[] = {"192.0.2.1", "192.0.2.2", "192.0.2.1"};
    watch_all(w, 3, &o, peers);
    assert_false(admits(&w[0], "192.0.2.1"));
    assert_true(admits(&w[0], "192.0.2.2"));
    w[3].guard = w[0].guard; /* admitted to the last place together with another */
    watch(&w[3], &o, "192.0.2.1");
    assert_true(is_cut(&w[3], 0));
    forget(&w[3]);
    forget(&w[2]);
    assert_true(admits(&w[0], "192.0.2.1"));
    forget_all(w, 2);
}

static void
test_connections(void **state)
{
    (void)state;
    struct http_guard_options o = {
        .connections_max = 3, .connections_per_address_max = 9, .header_deadline_ms = 60000};
    struct watched w[4] = {{NULL, NULL, -1, -1}};
    static const char *peers[] = {"192.0.2.1", "192.0.2.2", "192.0.2.3"};
    watch_all(w, 3, &o, peers);
    assert_false(admits(&w[0], "192.0.2.4"));
    w[3].guard = w[0].guard;
    watch(&w[3], &o, "192.0.2.4");
    assert_true(is_cut(&w[3], 0));
    forget(&w[3]);
    forget(&w[2]);
    assert_true(admits(&w[0], "192.0.2.4"));
    forget_all(w, 2);
}

/* Two addresses take all they can of 12 places: 6 + 3 are left 3, and 6 is too much by then. */
static void
test_last_places(void **state)
{
    (void)state;
    struct http_guard_options o = {
        .connections_max = 12, .connections_per_address_max = 12, .header_deadline_ms = 60000};
    struct watched w[9] = {{NULL, NULL, -1, -1}};
    static const char *peers[] = {"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1",
                                  "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"};
    watch_all(w, 6, &o, peers);
    assert_false(admits(&w[0], "192.0.2.1"));
    for (size_t i = 6; i < 9; i++) {
        w[i].guard = w[0].guard;
        assert_true(admits(&w[0], peers[i]));
        watch(&w[i], &o, peers[i]);
    }
    assert_false(admits(&w[0], "192.0.2.2"));
    assert_true(admits(&w[0], "192.0.2.3"));
    for (size_t i = 0; i < 4; i++)
        forget(&w[i]);
    assert_true(admits(&w[8], "192.0.2.2")); /* 2 + 3 are left 7 */
    struct http_guard *g = w[8].guard;
    for (size_t i = 4; i < 9; i++)
        forget(&w[i]);
    http_guard_stop(&g);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_deadline), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_body_rate),       cmocka_unit_test(test_reply_rate),
        cmocka_unit_test(test_addresses),       cmocka_unit_test(test_connections),
        cmocka_unit_test(test_last_places),     cmocka_unit_test(test_bodies_memory),
        cmocka_unit_test(test_late_reader),     cmocka_unit_test(test_body_that_stops),
        cmocka_unit_test(test_retry_after),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
