#include "tests/lib/rawhttp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

int
raw_dial(const char *address)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    in.sin_port = htons((uint16_t)strtol(strrchr(address, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

bool
raw_put(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t w = sendto(fd, at, n, MSG_NOSIGNAL, NULL, 0);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        at += w;
        n -= (size_t)w;
    }
    return true;
}

void
raw_say(int fd, const char *text)
{
    assert_true(raw_put(fd, text, strlen(text)));
}

/* One more piece; 0 at the end of the stream, however it ended. */
static size_t
more(int fd, struct buf *b)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, RAW_WAIT_MS), 1);
    char piece[65536];
    ssize_t n = recv(fd, piece, sizeof piece, 0);
    if (n <= 0)
        return 0;
    buf_put(b, piece, (size_t)n);
    assert_int_equal(b->err, 0);
    return (size_t)n;
}

bool
raw_has(const struct raw_answer *a, const char *text)
{
    return slice_find(slice_of(a->all.p, a->head), slice_str(text)) >= 0;
}

struct slice
raw_body(const struct raw_answer *a)
{
    return slice_skip(buf_slice(&a->all), a->head);
}

/* Byte for byte, so that nothing of the next answer is taken. */
void
raw_hear(int fd, struct raw_answer *a, bool head_only)
{
    *a = (struct raw_answer){.length = -1};
    buf_init(&a->all, 32 << 20);
    while (a->all.n < 4 || memcmp(a->all.p + a->all.n - 4, "\r\n\r\n", 4) != 0) {
        char c;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, RAW_WAIT_MS), 1);
        if (recv(fd, &c, 1, 0) != 1)
            return;
        buf_putc(&a->all, c);
    }
    a->head = a->all.n;
    a->status = (int)strtol(a->all.p + 9, NULL, 10);
    if (a->status == 304 || a->status == 204) /* a length may be said; no body follows */
        head_only = true;
    const char *length = strstr(a->all.p, "Content-Length: ");
    if (length != NULL)
        a->length = strtoll(length + 16, NULL, 10);
    a->close = raw_has(a, "Connection: close");
    a->chunked = raw_has(a, "Transfer-Encoding: chunked");
    while (!head_only && a->length >= 0 && a->all.n < a->head + (size_t)a->length) {
        char piece[65536];
        size_t want = a->head + (size_t)a->length - a->all.n;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, RAW_WAIT_MS), 1);
        ssize_t n = recv(fd, piece, want < sizeof piece ? want : sizeof piece, 0);
        if (n <= 0)
            return;
        buf_put(&a->all, piece, (size_t)n);
    }
}

void
raw_expect(int fd, int status, const char *body)
{
    struct raw_answer a;
    raw_hear(fd, &a, false);
    assert_int_equal(a.status, status);
    if (body != NULL)
        assert_true(slice_eqs(raw_body(&a), body));
    buf_fini(&a.all);
}

struct buf
raw_drain(int fd)
{
    struct buf b;
    buf_init(&b, 32 << 20);
    while (more(fd, &b) > 0)
        continue;
    close(fd);
    return b;
}

void
raw_expect_closed(int fd)
{
    struct buf b = raw_drain(fd);
    assert_int_equal(b.n, 0);
    buf_fini(&b);
}
