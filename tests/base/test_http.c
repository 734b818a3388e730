/*
 * A real server on a port the kernel chose, driven by plain sockets. The service below does what
 * its path says. cmocka's asserts belong to the test's own thread; on HTTP threads CHK() stands in.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http_priv.h"
#include "base/log.h"
#include "base/stat.h"
#include "tests/lib/rawhttp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- sends counted: this definition comes before the C library's ---- */

static atomic_int sends;

ssize_t
sendmsg(int fd, const struct msghdr *m, int flags)
{
    atomic_fetch_add(&sends, 1);
    return syscall(SYS_sendmsg, fd, m, flags);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
    atomic_fetch_add(&sends, 1);
    return syscall(SYS_writev, fd, iov, n);
}

ssize_t
send(int fd, const void *p, size_t n, int flags)
{
    atomic_fetch_add(&sends, 1);
    return syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

/* ---- the service ---- */

static struct {
    atomic_int begun, ended, gone, freed, bodies, threads_ended;
    atomic_bool hold; /* resume only when this is false */
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct http_request *waiting[64];
    int waiting_count;
    bool stopping;
    pthread_t resumer;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static char big[256 << 10];

static void
count_free(void *arg)
{
    atomic_fetch_add(&seen.freed, 1);
    if (arg != NULL)
        free(arg);
}

static void
hand_over(struct http_request *r)
{
    http_suspend(r);
    pthread_mutex_lock(&seen.lock);
    CHK(seen.waiting_count < 64);
    seen.waiting[seen.waiting_count++] = r;
    pthread_cond_broadcast(&seen.change);
    pthread_mutex_unlock(&seen.lock);
}

/* Answers suspended requests, as the writer or the dispatcher would. */
static void *
resumer_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&seen.lock);
    for (;;) {
        while (!seen.stopping && (seen.waiting_count == 0 || atomic_load(&seen.hold)))
            pthread_cond_wait(&seen.change, &seen.lock);
        if (seen.waiting_count == 0)
            break;
        struct http_request *r = seen.waiting[--seen.waiting_count];
        pthread_mutex_unlock(&seen.lock);
        if (slice_eqs(r->path, "/later-cut"))
            http_cut(r);
        else if (!http_replied(r)) /* held_back() */
            http_reply(r, 200, SLICE_LIT("late"));
        http_resume(r);
        pthread_mutex_lock(&seen.lock);
    }
    pthread_mutex_unlock(&seen.lock);
    return NULL;
}

static ptrdiff_t
read_pattern(void *arg, int64_t offset, char *p, size_t n)
{
    int64_t total = *(int64_t *)arg;
    if (total < 0)
        return offset < 100000 ? (memset(p, 'e', n < 1000 ? n : 1000), n < 1000 ? (int)n : 1000)
                               : ERR_IO;
    if (offset >= total)
        return HTTP_READ_END;
    size_t left = (size_t)(total - offset);
    n = n < left ? n : left;
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + (offset + (int64_t)i) % 26);
    return (ptrdiff_t)n;
}

static uint64_t
number(struct http_request *r, const char *name)
{
    uint64_t v = 0;
    (void)slice_to_u64(http_param(r, name), &v);
    return v;
}

static void
reply_stream(struct http_request *r)
{
    int64_t *total = malloc(sizeof *total);
    CHK(total != NULL);
    bool fail = http_has_param(r, "fail");
    *total = fail ? -1 : (int64_t)number(r, "n");
    int64_t said = http_has_param(r, "chunked") ? -1 : fail ? 1 << 20 : *total;
    http_reply_stream(r, 200, said, read_pattern, count_free, total);
}

static void
reply_fd(struct http_request *r)
{
    int fd = memfd_create("reply", MFD_CLOEXEC);
    CHK(fd >= 0);
    for (int i = 0; i < 64; i++)
        CHK(write(fd, big, sizeof big) == (ssize_t)sizeof big);
    http_reply_fd(r, 200, fd, 3, (int64_t)number(r, "n"));
}

static void
refuse_body(struct http_request *r, int err)
{
    CHK(err == ERR_TOOBIG);
    http_reply(r, 400, SLICE_LIT("EntityTooLarge"));
}

static void
on_begin(struct http_request *r)
{
    struct slice p = r->path;
    atomic_fetch_add(&seen.begun, 1);
    r->ctx = &seen;
    if (slice_eqs(p, "/hello")) {
        http_header(r, "X-Id", slice_str(r->id));
        http_headerf(r, "X-Host", "%.*s", SLICE_FMT(r->host));
        http_header(r, "X-Empty", SLICE_NONE);
        http_header(r, "X-Evil", SLICE_LIT("a\r\nX-Split: 1"));
        http_reply(r, 200, SLICE_LIT("hello"));
    } else if (slice_eqs(p, "/early")) {
        http_reply(r, 403, SLICE_LIT("denied"));
    } else if (slice_eqs(p, "/later-begin")) {
        hand_over(r);
    } else if (slice_eqs(p, "/echo")) {
        http_collect(r, 1 << 20, refuse_body);
    } else if (slice_eqs(p, "/default-limit")) {
        http_collect(r, 10, NULL);
    } else if (slice_eqs(p, "/no-reply")) {
        http_cut(r);
    }
}

static void
on_body(struct http_request *r, const void *bytes, size_t n)
{
    (void)bytes;
    CHK(n > 0 && !http_replied(r));
    atomic_fetch_add(&seen.bodies, 1);
    if (slice_eqs(r->path, "/mid"))
        http_reply(r, 409, SLICE_LIT("enough"));
}

static void
on_end(struct http_request *r)
{
    struct slice p = r->path;
    atomic_fetch_add(&seen.ended, 1);
    CHK(!http_replied(r) && r->ctx == &seen);
    if (slice_starts(p, SLICE_LIT("/later")))
        hand_over(r);
    else if (slice_eqs(p, "/echo") || slice_eqs(p, "/default-limit"))
        http_reply(r, 200, r->body);
    else if (slice_eqs(p, "/big"))
        http_reply(r, 200, slice_of(big, number(r, "n")));
    else if (slice_eqs(p, "/borrowed"))
        http_reply_borrowed(r, 200, slice_of(big, number(r, "n")), count_free, NULL);
    else if (slice_eqs(p, "/fd"))
        reply_fd(r);
    else if (slice_eqs(p, "/stream"))
        reply_stream(r);
    else if (slice_eqs(p, "/empty"))
        http_reply_empty(r, (int)number(r, "status"),
                         http_has_param(r, "n") ? (int64_t)number(r, "n") : -1);
    else
        http_reply(r, 200, p);
}

static void
on_gone(struct http_request *r)
{
    CHK(r->ctx == &seen);
    atomic_fetch_add(&seen.gone, 1);
}

static const struct http_service service = {
    .name = "test", .begin = on_begin, .body = on_body, .end = on_end, .gone = on_gone};

static void
route(void *arg, struct http_request *r)
{
    (void)arg;
    if (slice_eqs(r->path, "/unrouted"))
        return;
    r->service = &service;
}

static void
on_thread_end(void *arg)
{
    (void)arg;
    atomic_fetch_add(&seen.threads_ended, 1);
}

/* ---- server and client ---- */

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
                             .rate_window_ms = 20000,
                             .router = route,
                             .thread_end = on_thread_end};
    if (change != NULL)
        change(&o);
    assert_int_equal(http_start(&s, &o), ERR_NONE);
    return s;
}

/* Gives the processor away until the other thread got there. */
static void
wait_for(atomic_int *counter, int value)
{
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (atomic_load(counter) < value) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
    assert_int_equal(atomic_load(counter), value);
}

static void
reset_seen(void)
{
    atomic_store(&seen.begun, 0);
    atomic_store(&seen.ended, 0);
    atomic_store(&seen.gone, 0);
    atomic_store(&seen.freed, 0);
    atomic_store(&seen.bodies, 0);
    atomic_store(&seen.threads_ended, 0);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- one after another on one connection ---- */

static void
test_keep_alive(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    assert_true(http_is_loopback(s));
    int fd = raw_dial(http_address(s));
    char first_id[32] = "";
    for (int i = 0; i < 3; i++) {
        struct raw_answer a;
        raw_say(fd, "GET /hello HTTP/1.1\r\nHost: photos.localhost:9000\r\n\r\n");
        raw_hear(fd, &a, false);
        assert_int_equal(a.status, 200);
        assert_false(a.close);
        assert_true(slice_eqs(raw_body(&a), "hello"));
        assert_true(raw_has(&a, "\r\nDate: ") && raw_has(&a, "\r\nServer: Darkroom\r\n"));
        assert_true(raw_has(&a, "\r\nX-Host: photos.localhost\r\n") &&
                    raw_has(&a, "\r\nX-Empty: "));
        assert_false(raw_has(&a, "X-Split") || raw_has(&a, "X-Evil"));
        const char *id = strstr(a.all.p, "X-Id: ") + 6;
        assert_int_equal(strspn(id, "0123456789ABCDEF"), 16);
        assert_true(strncmp(id, first_id, 16) != 0);
        memcpy(first_id, id, 16);
        buf_fini(&a.all);
    }
    raw_say(fd, "GET /unrouted HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    raw_expect(fd, 404, NULL);
    raw_say(fd, "GET /hello HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n");
    struct raw_answer a;
    raw_hear(fd, &a, false);
    assert_true(a.close && raw_has(&a, "\r\nX-Host: [::1]\r\n"));
    buf_fini(&a.all);
    raw_expect_closed(fd);
    fd = raw_dial(http_address(s));
    raw_say(fd, "GET http://h:1/a%20b?x HTTP/1.0\r\nHost: H:1\r\n\r\n");
    raw_expect(fd, 200, "/a b");
    raw_expect_closed(fd);
    wait_for(&seen.gone, 5);
    assert_int_equal(http_active(s), 0);
    http_stop(&s);
    assert_null(s);
    assert_in_range(atomic_load(&seen.threads_ended), 1, 2);
}

static void
test_pipelined(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fd = raw_dial(http_address(s));
    raw_say(fd,
            GET("/1") "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" GET("/later")
                GET("/hello") "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
                              "5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n" GET("/2"));
    /* Nothing may follow a chunked body: what the library takes for its end a proxy may not. */
    raw_expect(fd, 200, "/1");
    raw_expect(fd, 200, "abc");
    raw_expect(fd, 200, "late");
    raw_expect(fd, 200, "hello");
    raw_expect(fd, 200, "hello!");
    raw_expect_closed(fd);
    wait_for(&seen.gone, 5);
    http_stop(&s);
}

static void
held_back(void *arg, struct http_request *r)
{
    (void)arg;
    CHK(http_replied(r) && !slice_starts(r->path, SLICE_LIT("/later")));
    hand_over(r);
}

static void
hold_replies(struct http_options *o)
{
    o->before_reply = held_back;
}

/* Replies of begin() and end() wait; those that come after a suspend do not. */
static void
test_before_reply(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(hold_replies);
    int fd = raw_dial(http_address(s));
    raw_say(fd, GET("/later") GET("/later-begin"));
    raw_expect(fd, 200, "late");
    raw_expect(fd, 200, "late");
    atomic_store(&seen.hold, true);
    raw_say(fd, GET("/hello") GET("/1"));
    wait_for(&seen.begun, 3);
    char c;
    assert_true(recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0);
    pthread_mutex_lock(&seen.lock);
    atomic_store(&seen.hold, false);
    pthread_cond_broadcast(&seen.change);
    pthread_mutex_unlock(&seen.lock);
    raw_expect(fd, 200, "hello");
    raw_expect(fd, 200, "/1");
    raw_say(fd, "PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    raw_expect(fd, 403, "denied");
    raw_say(fd, "PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\nbody");
    raw_expect(fd, 403, "denied");
    close(fd);
    wait_for(&seen.gone, 6);
    http_stop(&s);
}

static void
test_suspend(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fds[8];
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
            if (round == 0)
                fds[i] = raw_dial(http_address(s));
            raw_say(fds[i], round % 2 == 0 ? GET("/later") : GET("/later-begin"));
        }
        for (size_t i = 0; i < ARRAY_LEN(fds); i++)
            raw_expect(fds[i], 200, "late");
    }
    /* A body behind a reply that came while begin() was suspended, small and then large. */
    raw_say(fds[0], "PUT /later-begin HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345");
    raw_expect(fds[0], 200, "late");
    raw_say(fds[0],
            "PUT /later-begin HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n12345");
    raw_expect(fds[0], 200, "late");
    raw_say(fds[1], GET("/later-cut"));
    raw_expect_closed(fds[1]);
    close(fds[0]);

    /* A client that leaves while its request is suspended: gone() only after the resume. */
    int before = atomic_load(&seen.gone);
    atomic_store(&seen.hold, true);
    int ended = atomic_load(&seen.ended);
    raw_say(fds[2], GET("/later"));
    wait_for(&seen.ended, ended + 1);
    close(fds[2]);
    assert_int_equal(http_active(s), 1);
    assert_int_equal(atomic_load(&seen.gone), before);
    pthread_mutex_lock(&seen.lock);
    atomic_store(&seen.hold, false);
    pthread_cond_broadcast(&seen.change);
    pthread_mutex_unlock(&seen.lock);
    wait_for(&seen.gone, before + 1);
    for (size_t i = 3; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    http_stop(&s);
    assert_int_equal(atomic_load(&seen.begun), atomic_load(&seen.gone));
}

/* Clients that end their side behind the request, and are told nevertheless; then the end. */
static void
test_half_close(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fds[16];
    for (int round = 0; round < 10; round++) {
        int ended = atomic_load(&seen.ended);
        atomic_store(&seen.hold, true);
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
            fds[i] = raw_dial(http_address(s));
            raw_say(fds[i], "PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
            raw_say(fds[i], i % 2 == 0 ? "" : GET("/hello"));
            shutdown(fds[i], SHUT_WR);
        }
        wait_for(&seen.ended, ended + (int)ARRAY_LEN(fds));
        pthread_mutex_lock(&seen.lock);
        atomic_store(&seen.hold, false);
        pthread_cond_broadcast(&seen.change);
        pthread_mutex_unlock(&seen.lock);
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
            raw_expect(fds[i], 200, "late");
            if (i % 2 != 0)
                raw_expect(fds[i], 200, "hello");
            raw_expect_closed(fds[i]);
        }
    }
    http_stop(&s);
    assert_int_equal(atomic_load(&seen.begun), atomic_load(&seen.gone));
}

/* ---- bodies ---- */

/* There is nothing to continue with, and another request behind. */
static void
test_expect_without_body(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fd = raw_dial(http_address(s));
    raw_say(fd, "GET /1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n" GET("/2"));
    raw_expect(fd, 200, "/1");
    raw_expect(fd, 200, "/2");
    raw_say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nExpect: 100-continue\r\n"
                "Expect: 100-continue\r\n\r\n" GET("/later"));
    struct raw_answer a;
    raw_hear(fd, &a, true);
    assert_int_equal(a.status, 100);
    buf_fini(&a.all);
    raw_expect(fd, 200, "");
    raw_expect(fd, 200, "late");
    close(fd);
    http_stop(&s);
}

static void
test_expect_continue(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fd = raw_dial(http_address(s));
    struct raw_answer a;
    raw_say(fd,
            "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    raw_hear(fd, &a, true);
    assert_int_equal(a.status, 100);
    buf_fini(&a.all);
    raw_say(fd, "body");
    raw_expect(fd, 200, "body");

    raw_say(fd,
            "PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    raw_hear(fd, &a, false);
    assert_int_equal(a.status, 403);
    assert_true(a.close && slice_eqs(raw_body(&a), "denied"));
    buf_fini(&a.all);
    raw_expect_closed(fd);

    fd = raw_dial(http_address(s));
    raw_say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n"
                "Expect: 100-continue\r\n\r\n");
    raw_expect(fd, 400, "EntityTooLarge");
    raw_expect_closed(fd);
    wait_for(&seen.gone, 3);
    assert_int_equal(atomic_load(&seen.bodies), 0);
    http_stop(&s);
}

/* Sends `n` bytes of body; stops when the server closes. */
static void
pour(int fd, size_t n)
{
    while (n > 0) {
        size_t piece = n < sizeof big ? n : sizeof big;
        if (!raw_put(fd, big, piece))
            return;
        n -= piece;
    }
}

static void
test_early_reply(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fd = raw_dial(http_address(s));
    /* Small bodies: dropped, answered, and the connection lives on. */
    raw_say(fd, "PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n");
    pour(fd, 1 << 20);
    raw_expect(fd, 403, "denied");
    raw_say(fd, "PUT /mid HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n");
    pour(fd, 900000);
    raw_expect(fd, 409, "enough");
    assert_int_equal(atomic_load(&seen.bodies), 1);
    raw_say(fd, "PUT /default-limit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                "b\r\n12345678901\r\n0\r\n\r\n");
    raw_expect(fd, 413, NULL);
    raw_expect_closed(fd);
    fd = raw_dial(http_address(s));

    /* A large one: the answer comes at once, and a client that goes on sending is not reset. */
    static const char *const large[] = {"Content-Length: 9000000\r\n\r\n",
                                        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        char c;
        raw_say(fd, "PUT /early HTTP/1.1\r\nHost: x\r\n");
        raw_say(fd, large[i]);
        raw_expect(fd, 403, "denied");
        assert_int_equal(recv(fd, &c, 1, 0), 0);
        for (int k = 0; k < 16; k++)
            assert_true(raw_put(fd, big, sizeof big));
        close(fd);
        fd = raw_dial(http_address(s));
    }
    /* In the middle of a large one no answer is possible. */
    raw_say(fd, "PUT /mid HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n");
    pour(fd, 9000000);
    raw_expect_closed(fd);
    fd = raw_dial(http_address(s));
    raw_say(fd, "PUT /no-reply HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
    raw_expect_closed(fd);
    wait_for(&seen.gone, 7);
    assert_int_equal(atomic_load(&seen.ended), 0);
    http_stop(&s);
}

static void
frequent_checks(struct http_options *o)
{
    o->header_deadline_ms = 2000;
}

static void
test_truncated_upload(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(frequent_checks);
    const char *uploads[] = {
        "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
        "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(uploads); i++) {
        int fd = raw_dial(http_address(s));
        raw_say(fd, uploads[i]);
        shutdown(fd, SHUT_WR);
        struct buf b = raw_drain(fd);
        assert_true(b.n == 0 || strncmp(b.p, "HTTP/1.1 400", 12) == 0);
        buf_fini(&b);
        wait_for(&seen.gone, (int)i + 1);
    }
    assert_int_equal(atomic_load(&seen.ended), 0);
    http_stop(&s);
}

/* ---- replies ---- */

static void
test_replies(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fd = raw_dial(http_address(s));
    struct raw_answer a;
    const char *paths[] = {"/big?n=65536", "/big?n=1", "/big?n=0", "/borrowed?n=65536"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char text[100];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
        atomic_store(&sends, 0);
        raw_say(fd, text);
        raw_hear(fd, &a, false);
        assert_true(a.length == (int64_t)raw_body(&a).n);
        assert_int_equal(memcmp(raw_body(&a).p, big, raw_body(&a).n), 0);
        wait_for(&seen.gone, (int)i + 1);
        assert_int_equal(atomic_load(&sends), 1);
        buf_fini(&a.all);
    }
    wait_for(&seen.freed, 1);

    raw_say(fd, GET("/fd?n=16000000"));
    raw_hear(fd, &a, false);
    assert_int_equal(raw_body(&a).n, 16000000);
    for (size_t i = 0; i < 16000000; i += 4099)
        assert_int_equal(raw_body(&a).p[i], big[(i + 3) % sizeof big]);
    buf_fini(&a.all);

    raw_say(fd, GET("/stream?n=1000000"));
    raw_hear(fd, &a, false);
    assert_int_equal(a.length, 1000000);
    for (size_t i = 0; i < 1000000; i += 1009)
        assert_int_equal(raw_body(&a).p[i], 'a' + (int)(i % 26));
    buf_fini(&a.all);
    raw_say(fd, "GET /stream?n=300000&chunked HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    struct buf all = raw_drain(fd);
    assert_non_null(strstr(all.p, "Transfer-Encoding: chunked"));
    assert_in_range(all.n, 300000, 302000);
    assert_string_equal(all.p + all.n - 7, "\r\n0\r\n\r\n");
    buf_fini(&all);
    wait_for(&seen.freed, 3);
    wait_for(&seen.gone, 7);
    http_stop(&s);
}

static void
test_stream_error(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fd = raw_dial(http_address(s));
    raw_say(fd, GET("/stream?fail"));
    struct raw_answer a;
    raw_hear(fd, &a, false); /* ends with the connection */
    assert_int_equal(a.length, 1 << 20);
    assert_true(raw_body(&a).n < 1 << 20);
    buf_fini(&a.all);
    raw_expect_closed(fd);
    fd = raw_dial(http_address(s));
    raw_say(fd, GET("/stream?fail&chunked"));
    struct buf b = raw_drain(fd);
    assert_true(b.n > 100000 && memcmp(b.p + b.n - 5, "0\r\n\r\n", 5) != 0);
    buf_fini(&b);
    /* A borrowed body and a stream the client never fetches are given back, too. */
    fd = raw_dial(http_address(s));
    raw_say(fd, GET("/stream?n=1000000000"));
    raw_hear(fd, &a, true);
    buf_fini(&a.all);
    close(fd);
    wait_for(&seen.freed, 3);
    wait_for(&seen.gone, 3);
    http_stop(&s);
}

static void
test_head(void **state)
{
    (void)state;
    reset_seen();
    struct http_server *s = start(NULL);
    int fd = raw_dial(http_address(s));
    static const struct {
        const char *request;
        int status;
        int64_t length;
    } cases[] = {{"HEAD /big?n=70000", 200, 70000},
                 {"HEAD /hello", 200, 5},
                 {"HEAD /empty?status=200&n=123456789012", 200, 123456789012},
                 {"HEAD /empty?status=200&n=0", 200, 0},
                 {"HEAD /empty?status=404", 404, 0},
                 {"HEAD /fd?n=100000", 200, 100000},
                 {"HEAD /stream?n=100000", 200, 100000},
                 {"GET /empty?status=304&n=77", 304, 77},
                 {"GET /empty?status=204", 204, -1},
                 {"GET /empty?status=200&n=0", 200, 0},
                 {"DELETE /empty?status=204", 204, -1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[200];
        struct raw_answer a;
        snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].request);
        raw_say(fd, text);
        raw_hear(fd, &a, true);
        assert_int_equal(a.status, cases[i].status);
        assert_int_equal(a.length, cases[i].length);
        assert_false(a.chunked || a.close);
        buf_fini(&a.all);
    }
    raw_say(fd, GET("/hello"));
    raw_expect(fd, 200, "hello");
    close(fd);
    wait_for(&seen.gone, (int)ARRAY_LEN(cases) + 1);
    assert_int_equal(atomic_load(&seen.freed), 1);
    http_stop(&s);
}

/* ---- the end ---- */

static void
test_stop(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        reset_seen();
        struct http_server *s = start(NULL);
        int idle = raw_dial(http_address(s));
        raw_say(idle, GET("/hello"));
        raw_expect(idle, 200, "hello");
        int upload = raw_dial(http_address(s));
        raw_say(upload, "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
        wait_for(&seen.bodies, 1);
        int fresh = raw_dial(http_address(s));
        http_quiesce(s);
        /* What is open is still served, and told to go. */
        struct raw_answer a;
        raw_say(idle, GET("/hello"));
        raw_hear(idle, &a, false);
        assert_true(a.status == 200 && a.close);
        buf_fini(&a.all);
        raw_expect_closed(idle);
        const char *port = strrchr(http_address(s), ':') + 1;
        struct sockaddr_in in = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons((uint16_t)strtol(port, NULL, 10))};
        int late = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(late, (struct sockaddr *)&in, sizeof in), -1);
        close(late);
        http_stop(&s);
        raw_expect_closed(upload);
        raw_expect_closed(fresh);
        assert_int_equal(atomic_load(&seen.gone), 3);
        assert_int_equal(atomic_load(&seen.ended), 0);
    }
}

static void
test_start_errors(void **state)
{
    (void)state;
    struct http_server *s = start(NULL);
    struct http_server *second = NULL;
    const char *port = strrchr(http_address(s), ':') + 1;
    struct http_options o = {.host = "127.0.0.1",
                             .port = (int)strtol(port, NULL, 10),
                             .connections_max = 1,
                             .connections_per_address_max = 1,
                             .header_deadline_ms = 1000,
                             .router = route};
    assert_int_not_equal(http_start(&second, &o), ERR_NONE);
    assert_null(second);
    http_stop(&s);
    o.host = "::1";
    o.port = 0;
    if (http_start(&second, &o) == ERR_NONE) {
        assert_true(strncmp(http_address(second), "[::1]:", 6) == 0 && http_is_loopback(second));
        http_stop(&second);
    }
    o.host = "0.0.0.0";
    o.threads = 1;
    assert_int_equal(http_start(&second, &o), ERR_NONE);
    assert_false(http_is_loopback(second));
    http_stop(&second);
}

static int
set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7 + i / 251);
    log_set_level(LOG_ERROR);
    return pthread_create(&seen.resumer, NULL, resumer_main, NULL);
}

static int
tear_down(void **state)
{
    (void)state;
    pthread_mutex_lock(&seen.lock);
    seen.stopping = true;
    pthread_cond_broadcast(&seen.change);
    pthread_mutex_unlock(&seen.lock);
    return pthread_join(seen.resumer, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_before_reply),
        cmocka_unit_test(test_suspend),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_expect_without_body),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_early_reply),
        cmocka_unit_test(test_truncated_upload),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_stream_error),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_start_errors),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
