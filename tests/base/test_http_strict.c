/*
 * Requests with two readings, and those at the very edge of what is allowed, against a real server
 * over plain sockets. Whatever is refused gets one answer and the end of its connection, reaches no
 * service, and what follows it is never taken for another request.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http.h"
#include "base/log.h"
#include "base/stat.h"
#include "tests/lib/rawhttp.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static atomic_int begun;

static void
on_begin(struct http_request *r)
{
    (void)r;
    atomic_fetch_add(&begun, 1);
}

/* Tells what it took for the path. */
static void
on_end(struct http_request *r)
{
    http_reply(r, 200, r->path);
}

static const struct http_service service = {.name = "test", .begin = on_begin, .end = on_end};

static void
route(void *arg, struct http_request *r)
{
    (void)arg;
    r->service = &service;
}

static struct http_server *
start(void)
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
                             .router = route};
    assert_int_equal(http_start(&s, &o), ERR_NONE);
    return s;
}

#define P "POST /x HTTP/1.1\r\nHost: x\r\n"
static const struct {
    const char *name;
    struct slice bytes;
    int status;
} refused[] = {
    {"CL and TE", SLICE_LIT(P "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
     400},
    {"TE and CL", SLICE_LIT(P "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
     400},
    {"two equal CL", SLICE_LIT(P "Content-Length: 1\r\nContent-Length: 1\r\n\r\na"), 400},
    {"two CL", SLICE_LIT(P "Content-Length: 0\r\nContent-Length: 9\r\n\r\n"), 400},
    {"CL list", SLICE_LIT(P "Content-Length: 1, 1\r\n\r\na"), 400},
    {"CL signed", SLICE_LIT(P "Content-Length: +1\r\n\r\na"), 400},
    {"CL negative", SLICE_LIT(P "Content-Length: -1\r\n\r\na"), 400},
    {"CL hex", SLICE_LIT(P "Content-Length: 0x1\r\n\r\na"), 400},
    {"CL empty", SLICE_LIT(P "Content-Length:\r\n\r\na"), 400},
    {"CL blank behind", SLICE_LIT(P "Content-Length: 1 \r\n\r\na"), 400},
    {"CL over 63 bits", SLICE_LIT(P "Content-Length: 9223372036854775808\r\n\r\na"), 400},
    {"CL over 64 bits", SLICE_LIT(P "Content-Length: 99999999999999999999\r\n\r\na"), 413},
    {"CL underscore", SLICE_LIT(P "Content_Length: 1\r\n\r\na"), 400},
    {"CL blank before colon", SLICE_LIT(P "Content-Length : 1\r\n\r\na"), 400},
    {"TE identity", SLICE_LIT(P "Transfer-Encoding: identity\r\n\r\n"), 400},
    {"TE gzip, chunked", SLICE_LIT(P "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE xchunked", SLICE_LIT(P "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE chunked blank", SLICE_LIT(P "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"), 400},
    {"TE vertical tab", SLICE_LIT(P "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE twice", SLICE_LIT(P "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
     400},
    {"TE blank before colon", SLICE_LIT(P "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE underscore", SLICE_LIT(P "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE folded", SLICE_LIT(P "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE behind a fold", SLICE_LIT(P "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE behind CR", SLICE_LIT(P "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE behind bare LF", SLICE_LIT(P "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE behind NUL", SLICE_LIT(P "X: y\0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"TE with NUL", SLICE_LIT(P "Transfer-Encoding: chunked\0x\r\n\r\n0\r\n\r\n"), 400},
    {"TE in 1.0",
     SLICE_LIT("POST /x HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"NUL in the last value", SLICE_LIT(P "X: y\0z\r\n\r\n"), 400},
    {"NUL in a name", SLICE_LIT(P "X\0Y: z\r\n\r\n"), 400},
    {"NUL in the target", SLICE_LIT("GET /x\0y HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"version behind NUL", SLICE_LIT("GET /x\0HTTP/1.1\0 HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"NUL ends the head", SLICE_LIT(P "\0\r\n\r\n"), 400},
    {"bare LF", SLICE_LIT("GET /x HTTP/1.1\nHost: x\n\n"), 400},
    {"bare LF last", SLICE_LIT("GET /x HTTP/1.1\r\nHost: x\r\n\n"), 400},
    {"folded first field", SLICE_LIT("GET /x HTTP/1.1\r\n Host: x\r\n\r\n"), 400},
    {"empty name", SLICE_LIT(P ": x\r\n\r\n"), 400},
    {"no colon", SLICE_LIT(P "Xyz\r\n\r\n"), 400},
    {"name not a token", SLICE_LIT(P "X(y): z\r\n\r\n"), 400},
    {"DEL in a value", SLICE_LIT(P "X: a\177\r\n\r\n"), 400},
    {"no Host", SLICE_LIT("GET /x HTTP/1.1\r\n\r\n"), 400},
    {"two Hosts", SLICE_LIT(P "Host: x\r\n\r\n"), 400},
    {"Host with path", SLICE_LIT("GET /x HTTP/1.1\r\nHost: x/y\r\n\r\n"), 400},
    {"Host with user", SLICE_LIT("GET /x HTTP/1.1\r\nHost: a@x\r\n\r\n"), 400},
    {"Host with bad port", SLICE_LIT("GET /x HTTP/1.1\r\nHost: x:99999\r\n\r\n"), 400},
    {"Host half bracket", SLICE_LIT("GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n"), 400},
    {"other host in target", SLICE_LIT("GET http://y/x HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"other scheme", SLICE_LIT("GET ftp://x/x HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"target without slash", SLICE_LIT("GET x HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"asterisk with GET", SLICE_LIT("GET * HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"authority form", SLICE_LIT("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"blank in target", SLICE_LIT("GET /x y HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"two blanks", SLICE_LIT("GET  /x HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"blank behind version", SLICE_LIT("GET /x HTTP/1.1 \r\nHost: x\r\n\r\n"), 400},
    {"tab in target", SLICE_LIT("GET /\tx HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"bad escape", SLICE_LIT("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"bad escape in query", SLICE_LIT("GET /?a=%2 HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"method not a token", SLICE_LIT("G{T /x HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
    {"no version", SLICE_LIT("GET /x\r\nHost: x\r\n\r\n"), 400},
    {"version 2", SLICE_LIT("GET /x HTTP/2.0\r\nHost: x\r\n\r\n"), 505},
};

/* One answer, then the end: nothing behind the refused request is taken for another one. */
static void
check_refused(struct http_server *s, const char *name, struct slice bytes, int status)
{
    int fd = raw_dial(http_address(s));
    int64_t before = stat_get(STAT_http_refused_total);
    raw_put(fd, bytes.p, bytes.n);
    raw_put(fd, GET("/hello"), strlen(GET("/hello")));
    struct buf b = raw_drain(fd);
    int lines = 0;
    for (size_t i = 0; i + 9 < b.n; i++)
        lines += memcmp(b.p + i, "HTTP/1.1 ", 9) == 0;
    int got = b.n > 12 ? (int)strtol(b.p + 9, NULL, 10) : 0;
    const char *close_at = strstr(b.p, "\r\nConnection: close\r\n");
    bool closing = close_at != NULL && close_at < strstr(b.p, "\r\n\r\n");
    if (lines != 1 || got != status || !closing)
        print_error("%s: %d answers, %d\n%s\n", name, lines, got, b.p);
    assert_int_equal(lines, 1);
    assert_int_equal(got, status);
    assert_true(closing);
    buf_fini(&b);
    int64_t until = clock_mono_ms() + RAW_WAIT_MS;
    while (stat_get(STAT_http_refused_total) != before + 1) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

static void
test_refused(void **state)
{
    (void)state;
    atomic_store(&begun, 0);
    struct http_server *s = start();
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        check_refused(s, refused[i].name, refused[i].bytes, refused[i].status);
    assert_int_equal(atomic_load(&begun), 0);

    struct buf b;
    buf_init(&b, 1 << 20);
    buf_puts(&b, P);
    for (int i = 0; i < HTTP_HEADERS_MAX; i++)
        buf_printf(&b, "X-%d: y\r\n", i);
    buf_puts(&b, "\r\n");
    check_refused(s, "too many fields", buf_slice(&b), 431);
    buf_reset(&b);
    buf_puts(&b, P "X: ");
    for (size_t i = 0; i < HTTP_HEADER_BYTES_MAX; i++)
        buf_putc(&b, 'x');
    buf_puts(&b, "\r\n\r\n");
    check_refused(s, "large head", buf_slice(&b), 431);
    buf_reset(&b);
    buf_puts(&b, "GET /?");
    for (size_t i = 0; i < 1000; i++)
        buf_puts(&b, "a&");
    buf_puts(&b, " HTTP/1.1\r\nHost: x\r\n\r\n");
    check_refused(s, "many parameters", buf_slice(&b), 400);
    buf_fini(&b);
    assert_int_equal(atomic_load(&begun), 0);
    http_stop(&s);
}

static void
test_accepted(void **state)
{
    (void)state;
    struct http_server *s = start();
    int fd = raw_dial(http_address(s));
    static const struct {
        const char *request;
        const char *body;
    } cases[] = {
        {"\r\nGET /a%2Fb?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", "/a/b"},
        {"GET //a/../b HTTP/1.1\r\nHOST:x\r\nX:\t y \t\r\nY:\r\n\r\n", "//a/../b"},
        {"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", "/"},
        {"GET http://x?a HTTP/1.1\r\nHost: x\r\n\r\n", "/"},
        {"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", "*"},
        {"BREW /\xc3\xa9+ HTTP/1.1\r\nHost: x\r\nX: \xc3\xa9\r\n\r\n", "/\xc3\xa9+"},
        {"GET /c HTTP/1.1\r\nHost: x\r\nCookie: a=b; c\r\n\r\n", "/c"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        raw_say(fd, cases[i].request);
        raw_expect(fd, 200, cases[i].body);
    }
    /* As many fields, and as many bytes, as are allowed. */
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_puts(&b, P);
    for (int i = 0; i < HTTP_HEADERS_MAX - 1; i++)
        buf_printf(&b, "X-%d: y\r\n", i);
    size_t room = HTTP_HEADER_BYTES_MAX - b.n - 2;
    b.n -= 2;
    for (size_t i = 0; i < room; i++)
        buf_putc(&b, 'x');
    buf_puts(&b, "\r\n\r\n");
    assert_int_equal(b.n, HTTP_HEADER_BYTES_MAX);
    assert_true(raw_put(fd, b.p, b.n));
    raw_expect(fd, 200, "/x");
    buf_fini(&b);
    /* Byte by byte. */
    for (const char *p = GET("/slow"); *p != '\0'; p++)
        assert_true(raw_put(fd, p, 1));
    raw_expect(fd, 200, "/slow");
    close(fd);
    http_stop(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_accepted),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
