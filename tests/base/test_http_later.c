/*
 * Answers that come later: requests that are suspended again and again before they reply, and
 * streams that wait for more. Threads of the test resume and wake as a notifier would.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http.h"
#include "base/log.h"
#include "tests/lib/rawhttp.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- the service ---- */

/* One stream; what its producer has, it reads one byte at a time. */
static struct {
    pthread_mutex_t lock;
    struct http_request *r; /* NULL: none, or gone */
    int items;
    int ambushes; /* so often an item comes after feed_read() looked and before it returned */
    bool ended;
    bool endless; /* always more */
    atomic_int reads;
} feed = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct http_request *waiting[16];
    int count;
    bool stopping;
    pthread_t thread;
    atomic_int resumed, held, gone;
} suspended = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static void
suspend(struct http_request *r)
{
    http_suspend(r);
    pthread_mutex_lock(&suspended.lock);
    CHK(suspended.count < 16);
    suspended.waiting[suspended.count++] = r;
    pthread_cond_signal(&suspended.change);
    pthread_mutex_unlock(&suspended.lock);
}

/* Resumes whatever is suspended; replies only where the path asks for it. */
static void *
resumer_main(void *arg)
{
    pthread_mutex_lock(&suspended.lock);
    for (;;) {
        while (!suspended.stopping && suspended.count == 0)
            pthread_cond_wait(&suspended.change, &suspended.lock);
        if (suspended.count == 0)
            break;
        struct http_request *r = suspended.waiting[--suspended.count];
        pthread_mutex_unlock(&suspended.lock);
        int *left = r->ctx;
        if (slice_eqs(r->path, "/replied") && *left == 1 && !http_replied(r))
            http_reply(r, 200, SLICE_LIT("by the resumer"));
        http_resume(r);
        pthread_mutex_lock(&suspended.lock);
    }
    pthread_mutex_unlock(&suspended.lock);
    return arg;
}

static ptrdiff_t
feed_read(void *arg, int64_t offset, char *p, size_t n)
{
    ptrdiff_t got = HTTP_READ_LATER;
    (void)arg;
    (void)offset;
    CHK(n > 0);
    pthread_mutex_lock(&feed.lock);
    atomic_fetch_add(&feed.reads, 1);
    if (feed.endless) {
        memset(p, 'x', n);
        got = (ptrdiff_t)n;
    } else if (feed.items > 0) {
        feed.items--;
        *p = 'x';
        got = 1;
    } else if (feed.ended) {
        got = HTTP_READ_END;
    } else if (feed.ambushes > 0) {
        feed.ambushes--;
        feed.items++;
        http_stream_wake(feed.r);
    }
    pthread_mutex_unlock(&feed.lock);
    return got;
}

static void
feed_start(struct http_request *r)
{
    pthread_mutex_lock(&feed.lock);
    feed.r = r;
    pthread_mutex_unlock(&feed.lock);
    http_reply_stream(r, 200, -1, feed_read, NULL, NULL);
}

/* False: nobody reads any more. */
static bool
feed_add(int items, bool end)
{
    pthread_mutex_lock(&feed.lock);
    bool there = feed.r != NULL;
    feed.items += items;
    feed.ended = feed.ended || end;
    if (there)
        http_stream_wake(feed.r);
    pthread_mutex_unlock(&feed.lock);
    return there;
}

static void
feed_reset(void)
{
    feed.items = 0;
    feed.ended = false;
    feed.endless = false;
    feed.ambushes = 0;
    atomic_store(&feed.reads, 0);
}

/* "/again", "/replied": suspended as often as the parameter `begin`, in begin(), and `end`, in
 * end(), say. */
static bool
again(struct http_request *r, const char *step)
{
    uint64_t times = 0;
    if (slice_to_u64(http_param(r, step), &times) != ERR_NONE || times == 0)
        return false;
    int *left = arena_alloc(r->arena, sizeof *left);
    CHK(left != NULL);
    *left = (int)times;
    r->ctx = left;
    suspend(r);
    return true;
}

static void
on_begin(struct http_request *r)
{
    if (slice_eqs(r->path, "/feed"))
        feed_start(r);
    else if (r->has_body)
        http_collect(r, 100 << 20, NULL);
    if (!http_replied(r))
        again(r, "begin");
}

static void
on_end(struct http_request *r)
{
    if (!again(r, "end"))
        http_reply(r, 200, r->has_body ? r->body : r->path);
}

static void
on_resumed(struct http_request *r)
{
    int *left = r->ctx;
    CHK(!http_replied(r));
    atomic_fetch_add(&suspended.resumed, 1);
    if (--*left > 0)
        suspend(r);
    else if (http_has_param(r, "end") || http_has_param(r, "early"))
        http_reply(r, 200, SLICE_LIT("resumed"));
}

static void
on_gone(struct http_request *r)
{
    pthread_mutex_lock(&feed.lock);
    if (feed.r == r)
        feed.r = NULL;
    pthread_mutex_unlock(&feed.lock);
    atomic_fetch_add(&suspended.gone, 1);
}

static const struct http_service service = {
    .name = "later", .begin = on_begin, .end = on_end, .gone = on_gone, .resumed = on_resumed};

static void
route(void *arg, struct http_request *r)
{
    (void)arg;
    r->service = &service;
}

static void
hold(void *arg, struct http_request *r)
{
    static int none;
    (void)arg;
    CHK(http_replied(r));
    atomic_fetch_add(&suspended.held, 1);
    if (!slice_eqs(r->path, "/feed")) {
        r->ctx = &none;
        suspend(r);
    }
}

/* ---- the tests ---- */

static struct http_server *
start(bool hold_replies)
{
    struct http_server *s = NULL;
    struct http_options o = {.host = "127.0.0.1",
                             .threads = 1, /* what one request does to the thread, others see */
                             .connections_max = 64,
                             .connections_per_address_max = 64,
                             .header_deadline_ms = 20000,
                             .idle_timeout_ms = 30000,
                             .body_rate_min = 1,
                             .rate_window_ms = 20000,
                             .router = route,
                             .before_reply = hold_replies ? hold : NULL};
    assert_int_equal(http_start(&s, &o), ERR_NONE);
    atomic_store(&suspended.resumed, 0);
    atomic_store(&suspended.held, 0);
    atomic_store(&suspended.gone, 0);
    return s;
}

static void
wait_for(atomic_int *counter, int value)
{
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (atomic_load(counter) < value) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

static void
expect_resumed(int times)
{
    assert_int_equal(atomic_exchange(&suspended.resumed, 0), times);
}

static void
in_end(void **state)
{
    (void)state;
    struct http_server *s = start(false);
    int fd = raw_dial(http_address(s));
    raw_say(fd, GET("/again?end=1"));
    raw_expect(fd, 200, "resumed");
    expect_resumed(1);
    raw_say(fd, GET("/again?end=50") GET("/plain"));
    raw_expect(fd, 200, "resumed");
    raw_expect(fd, 200, "/plain");
    expect_resumed(50);
    raw_say(fd, "PUT /again?end=3 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    raw_expect(fd, 200, "resumed");
    expect_resumed(3);
    /* Who resumes may reply at last; then nobody else is asked. */
    raw_say(fd, GET("/replied?end=5"));
    raw_expect(fd, 200, "by the resumer");
    expect_resumed(4);
    close(fd);
    http_stop(&s);
}

static void
in_begin(void **state)
{
    (void)state;
    struct http_server *s = start(false);
    int fd = raw_dial(http_address(s));
    /* Without a reply the body is taken, and end() follows. */
    raw_say(fd, "PUT /again?begin=3 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    raw_expect(fd, 200, "abc");
    expect_resumed(3);
    raw_say(fd, "PUT /again?begin=2&early HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    raw_expect(fd, 200, "resumed");
    expect_resumed(2);
    raw_say(fd, GET("/again?begin=2"));
    raw_expect(fd, 200, "/again");
    expect_resumed(2);
    raw_say(fd, GET("/replied?begin=2"));
    raw_expect(fd, 200, "by the resumer");
    expect_resumed(1);
    /* The reply comes before an unwanted large body. */
    raw_say(fd,
            "PUT /again?begin=2&early HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\na");
    raw_expect(fd, 200, "resumed");
    raw_expect_closed(fd);
    http_stop(&s);
}

static void
replies_are_held(void **state)
{
    (void)state;
    struct http_server *s = start(true);
    int fd = raw_dial(http_address(s));
    raw_say(fd, GET("/again?end=3"));
    raw_expect(fd, 200, "resumed");
    expect_resumed(3);
    assert_int_equal(atomic_exchange(&suspended.held, 0), 1);
    raw_say(fd, GET("/again?begin=2&early"));
    raw_expect(fd, 200, "resumed");
    assert_int_equal(atomic_exchange(&suspended.held, 0), 1);
    raw_say(fd, GET("/replied?end=2"));
    raw_expect(fd, 200, "by the resumer");
    assert_int_equal(atomic_exchange(&suspended.held, 0), 0);
    close(fd);
    http_stop(&s);
}

/* ---- streams ---- */

static void
turn_the_thread(int fd)
{
    for (int i = 0; i < 100; i++) {
        raw_say(fd, GET("/plain"));
        raw_expect(fd, 200, "/plain");
    }
}

static void
waiting_stream_is_not_asked(void **state)
{
    (void)state;
    struct http_server *s = start(false);
    struct raw_answer a;
    feed_reset();
    int fd = raw_dial(http_address(s));
    int other = raw_dial(http_address(s));
    raw_say(fd, "GET /feed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    raw_hear(fd, &a, true); /* the head does not wait for the first byte */
    assert_true(a.status == 200 && a.chunked);
    buf_fini(&a.all);
    wait_for(&feed.reads, 1);
    turn_the_thread(other);
    assert_int_equal(atomic_load(&feed.reads), 1);
    for (int i = 1; i <= 20; i++) {
        assert_true(feed_add(0, false)); /* woken for nothing */
        wait_for(&feed.reads, 1 + i);
    }
    turn_the_thread(other);
    assert_int_equal(atomic_load(&feed.reads), 21);
    assert_true(feed_add(2, false)); /* x, x, nothing */
    wait_for(&feed.reads, 24);
    turn_the_thread(other);
    assert_int_equal(atomic_load(&feed.reads), 24);
    assert_true(feed_add(0, true));
    struct buf all = raw_drain(fd);
    assert_non_null(strstr(all.p, "0\r\n\r\n"));
    buf_fini(&all);
    close(other);
    http_stop(&s);
}

#define HAMMER_ITEMS 20000

static void *
producer_main(void *arg)
{
    for (int i = 0; i < HAMMER_ITEMS; i++)
        CHK(feed_add(1, false));
    CHK(feed_add(0, true));
    return arg;
}

static int
count_x(struct slice s)
{
    int count = 0;
    for (size_t i = 0; i < s.n; i++)
        count += s.p[i] == 'x';
    return count;
}

/* Each wake falls somewhere between "nothing yet" and the suspended connection. */
static void
no_wake_is_lost(void **state)
{
    (void)state;
    struct http_server *s = start(false);
    for (int http = 0; http < 2; http++) {
        pthread_t producer;
        feed_reset();
        int fd = raw_dial(http_address(s));
        raw_say(fd, http == 0 ? "GET /feed HTTP/1.0\r\nHost: x\r\n\r\n"
                              : "GET /feed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        wait_for(&feed.reads, 1);
        assert_int_equal(pthread_create(&producer, NULL, producer_main, NULL), 0);
        struct buf all = raw_drain(fd);
        assert_int_equal(pthread_join(producer, NULL), 0);
        const char *body = strstr(all.p, "\r\n\r\n") + 4;
        size_t head = (size_t)(body - all.p);
        assert_int_equal(count_x(slice_of(body, all.n - head)), HAMMER_ITEMS);
        buf_fini(&all);
        wait_for(&suspended.gone, http + 1);
    }
    http_stop(&s);
}

static void
wake_before_the_wait(void **state)
{
    (void)state;
    struct http_server *s = start(false);
    struct raw_answer a;
    char x = 0;
    feed_reset();
    feed.ambushes = 1;
    int fd = raw_dial(http_address(s));
    raw_say(fd, GET("/feed"));
    raw_hear(fd, &a, true);
    buf_fini(&a.all);
    while (x != 'x') {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, RAW_WAIT_MS), 1);
        assert_int_equal(recv(fd, &x, 1, 0), 1);
    }
    wait_for(&feed.reads, 3);
    assert_true(feed_add(0, true));
    close(fd);
    http_stop(&s);
}

static void
client_leaves(void **state)
{
    (void)state;
    struct http_server *s = start(false);
    feed_reset();
    int fd = raw_dial(http_address(s));
    raw_say(fd, GET("/feed"));
    wait_for(&feed.reads, 1);
    close(fd);
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (feed_add(1, false)) { /* the first write may still succeed */
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
    wait_for(&suspended.gone, 1);
    http_stop(&s);
}

/* A client that does not read: the thread serves others, and the stream can be cut from outside. */
static void
full_socket(void **state)
{
    (void)state;
    struct http_server *s = start(false);
    feed_reset();
    feed.endless = true;
    int fd = raw_dial(http_address(s));
    int other = raw_dial(http_address(s));
    raw_say(fd, GET("/feed"));
    int before;
    do { /* until nothing more is asked for */
        before = atomic_load(&feed.reads);
        turn_the_thread(other);
    } while (atomic_load(&feed.reads) != before || before == 0);
    assert_true(feed_add(0, false)); /* a wake changes nothing */
    turn_the_thread(other);
    assert_int_equal(atomic_load(&feed.reads), before);
    pthread_mutex_lock(&feed.lock);
    http_stream_sever(feed.r);
    pthread_mutex_unlock(&feed.lock);
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (feed_add(0, false)) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
    close(fd);
    close(other);
    http_stop(&s);
}

static void
stop_ends_streams(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct http_server *s = start(true);
        feed_reset();
        int fd = raw_dial(http_address(s));
        raw_say(fd, GET("/feed"));
        if (i % 2 == 0)
            wait_for(&feed.reads, 1);
        else
            wait_for(&suspended.held, 1); /* replied, perhaps not asked yet */
        assert_true(feed_add(0, true));
        http_stop(&s);
        struct buf all = raw_drain(fd);
        assert_int_equal(atomic_load(&suspended.gone), 1);
        buf_fini(&all);
    }
}

static int
set_up(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    return pthread_create(&suspended.thread, NULL, resumer_main, NULL);
}

static int
tear_down(void **state)
{
    (void)state;
    pthread_mutex_lock(&suspended.lock);
    suspended.stopping = true;
    pthread_cond_signal(&suspended.change);
    pthread_mutex_unlock(&suspended.lock);
    return pthread_join(suspended.thread, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_end),
        cmocka_unit_test(in_begin),
        cmocka_unit_test(replies_are_held),
        cmocka_unit_test(waiting_stream_is_not_asked),
        cmocka_unit_test(no_wake_is_lost),
        cmocka_unit_test(wake_before_the_wait),
        cmocka_unit_test(client_leaves),
        cmocka_unit_test(full_socket),
        cmocka_unit_test(stop_ends_streams),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
