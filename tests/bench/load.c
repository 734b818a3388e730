/*
 * A load of PUTs over keep-alive connections: what many clients of an S3 store do at once. One
 * thread, one epoll, no think time: each connection sends its next request when the last answer is
 * complete.
 *
 *   prepare   every request's head is made and signed before the clock starts, so that what is
 *             measured is the server and not the signer
 *   run       until the time is up or the prepared requests are used
 *   drain     no new requests; answers still out are waited for, at most DRAIN_MS
 *   report    one line of JSON: requests, errors, seconds, rate, p50_us, p99_us, max_us
 */
#include "base/buf.h"
#include "base/chk.h"
#include "base/clock.h"
#include "tests/lib/put_head.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define REQUESTS_MAX 2000000
#define HEADS_BYTES_MAX ((size_t)1 << 30)
#define ANSWER_HEAD_MAX 8192
#define DRAIN_MS 5000
#define EXIT_USAGE 2

struct options {
    int port;
    int connections;
    int seconds;
    long requests;
    size_t body_bytes;
    const char *prefix; /* "/bucket/begin-of-key" */
    const char *key_id;
    const char *secret;
};

struct connection {
    int fd;
    long request; /* the one in flight, -1 for none */
    size_t sent;  /* of head + body */
    int64_t started_us;
    char head[ANSWER_HEAD_MAX + 1];
    size_t head_n;
    size_t body_left; /* of the answer, once its head is complete */
    bool in_body;
};

struct load {
    struct options o;
    struct buf heads;
    size_t *head_at; /* requests + 1 offsets */
    char *body;
    struct connection connections[CONNECTIONS_MAX];
    int epoll;
    long next;
    long in_flight;
    long errors;
    uint32_t *latency_us;
    long answered;
    bool draining;
};

/* ---- prepare ---- */

static void
prepare_one(struct load *l, long i, const char *host, int64_t now_ms)
{
    char path[512];
    snprintf(path, sizeof path, "%s%08ld", l->o.prefix, i);
    struct put_head head = {.host = host,
                            .path = path,
                            .key_id = l->o.key_id,
                            .secret = l->o.secret,
                            .body_bytes = l->o.body_bytes,
                            .now_ms = now_ms};
    l->head_at[i] = l->heads.n;
    put_head_write(&head, &l->heads);
}

static void
prepare(struct load *l)
{
    char host[64];
    int64_t now_ms = clock_wall_ms();
    snprintf(host, sizeof host, "127.0.0.1:%d", l->o.port);
    buf_init(&l->heads, HEADS_BYTES_MAX);
    l->head_at = chk_malloc((size_t)(l->o.requests + 1) * sizeof *l->head_at);
    l->latency_us = chk_malloc((size_t)l->o.requests * sizeof *l->latency_us);
    l->body = chk_malloc(l->o.body_bytes + 1);
    for (size_t i = 0; i < l->o.body_bytes; i++)
        l->body[i] = (char)(i * 2654435761u >> 13);
    for (long i = 0; i < l->o.requests; i++)
        prepare_one(l, i, host, now_ms);
    l->head_at[l->o.requests] = l->heads.n;
    CHK(l->heads.err == 0);
}

/* ---- connections ---- */

static void
die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void
connection_open(struct load *l, struct connection *c)
{
    int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)l->o.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->request = -1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        die("epoll_ctl");
}

static void
connection_lost(struct load *l, struct connection *c)
{
    close(c->fd);
    if (c->request >= 0)
        l->in_flight--;
    l->errors++;
    connection_open(l, c);
}

static bool
would_block(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* Sends what the socket takes; false when the connection is gone. */
static bool
push(struct load *l, struct connection *c)
{
    const char *head = l->heads.p + l->head_at[c->request];
    size_t head_n = l->head_at[c->request + 1] - l->head_at[c->request];
    size_t whole = head_n + l->o.body_bytes;
    while (c->sent < whole) {
        struct iovec parts[2];
        size_t skip = c->sent > head_n ? c->sent - head_n : 0;
        struct msghdr m = {.msg_iov = parts, .msg_iovlen = 0};
        if (c->sent < head_n)
            parts[m.msg_iovlen++] = (struct iovec){(char *)head + c->sent, head_n - c->sent};
        parts[m.msg_iovlen++] = (struct iovec){l->body + skip, l->o.body_bytes - skip};
        ssize_t n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return would_block(n);
        c->sent += (size_t)n;
    }
    return true;
}

/* The next request, if there is one. */
static bool
begin(struct load *l, struct connection *c)
{
    c->request = -1;
    if (l->draining || l->next == l->o.requests)
        return true;
    c->request = l->next++;
    c->sent = c->head_n = c->body_left = 0;
    c->in_body = false;
    c->started_us = clock_mono_us();
    l->in_flight++;
    return push(l, c);
}

/* ---- answers ---- */

static size_t
content_length(const char *head)
{
    const char *line = strcasestr(head, "\r\ncontent-length:");
    return line == NULL ? 0 : strtoul(line + strlen("\r\ncontent-length:"), NULL, 10);
}

static bool
finish(struct load *l, struct connection *c)
{
    l->in_flight--;
    if (strncmp(c->head, "HTTP/1.1 200", strlen("HTTP/1.1 200")) == 0)
        l->latency_us[l->answered++] = (uint32_t)(clock_mono_us() - c->started_us);
    else if (l->errors++ == 0)
        fprintf(stderr, "load: first refusal: %.*s\n", (int)strcspn(c->head, "\r\n"), c->head);
    return begin(l, c);
}

/* Takes bytes of an answer; false when it makes no sense. */
static bool
take(struct load *l, struct connection *c, const char *p, size_t n)
{
    if (!c->in_body) {
        size_t room = ANSWER_HEAD_MAX - c->head_n;
        size_t part = n < room ? n : room;
        memcpy(c->head + c->head_n, p, part);
        c->head[c->head_n + part] = '\0';
        char *end = strstr(c->head, "\r\n\r\n");
        if (end == NULL) {
            c->head_n += part;
            return part == n;
        }
        size_t used = (size_t)(end + 4 - c->head) - c->head_n;
        end[2] = '\0';
        c->in_body = true;
        c->body_left = content_length(c->head);
        n -= used;
    }
    if (n > c->body_left) /* one request at a time, so nothing can follow */
        return false;
    c->body_left -= n;
    return c->body_left > 0 || finish(l, c);
}

static void
on_ready(struct load *l, struct connection *c)
{
    char step[16 << 10];
    bool good = c->request < 0 || push(l, c);
    while (good) {
        ssize_t n = recv(c->fd, step, sizeof step, MSG_DONTWAIT);
        if (would_block(n))
            return;
        good = n > 0 && c->request >= 0 && take(l, c, step, (size_t)n);
    }
    connection_lost(l, c);
    if (!begin(l, c))
        die("send");
}

/* ---- the run ---- */

/* Seconds it took until the last answer. */
static double
run(struct load *l)
{
    struct epoll_event ready[256];
    int64_t started_us = clock_mono_us(), last_us = started_us;
    int64_t end_us = started_us + l->o.seconds * (int64_t)1000000;
    for (int i = 0; i < l->o.connections; i++)
        if (!begin(l, &l->connections[i]))
            die("send");
    while (l->in_flight > 0) {
        int64_t now_us = clock_mono_us();
        l->draining = now_us >= end_us;
        if (now_us >= end_us + DRAIN_MS * 1000)
            break;
        int n = epoll_wait(l->epoll, ready, ARRAY_LEN(ready), 100);
        for (int i = 0; i < n; i++)
            on_ready(l, ready[i].data.ptr);
        if (n > 0)
            last_us = clock_mono_us();
    }
    l->errors += l->in_flight;
    return (double)(last_us - started_us) / 1e6;
}

static int
by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void
report(struct load *l, double seconds)
{
    long n = l->answered;
    if (n == 0) {
        fprintf(stderr, "load: no request was answered with 200\n");
        exit(EXIT_FAILURE);
    }
    qsort(l->latency_us, (size_t)n, sizeof *l->latency_us, by_value);
    printf("{\"requests\": %ld, \"errors\": %ld, \"seconds\": %.3f, \"rate\": %.1f, "
           "\"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n",
           n, l->errors, seconds, (double)n / seconds, l->latency_us[n / 2],
           l->latency_us[n - 1 - n / 100], l->latency_us[n - 1]);
}

/* ---- command line ---- */

static long
number(const char *text, long max)
{
    char *end;
    long v = strtol(text, &end, 10);
    return *end == '\0' && v > 0 && v <= max ? v : -1;
}

static bool
read_options(int argc, char **argv, struct options *o)
{
    long v = 0;
    int c;
    *o = (struct options){.connections = 1, .seconds = 1, .requests = 1000, .body_bytes = 10240};
    while (v >= 0 && (c = getopt(argc, argv, "p:c:d:n:s:")) != -1) {
        switch (c) {
        case 'p':
            o->port = (int)(v = number(optarg, UINT16_MAX));
            break;
        case 'c':
            o->connections = (int)(v = number(optarg, CONNECTIONS_MAX));
            break;
        case 'd':
            o->seconds = (int)(v = number(optarg, 600));
            break;
        case 'n':
            o->requests = v = number(optarg, REQUESTS_MAX);
            break;
        case 's':
            o->body_bytes = (size_t)(v = number(optarg, 64 << 20));
            break;
        default:
            v = -1;
        }
    }
    o->key_id = getenv("AWS_ACCESS_KEY_ID");
    o->secret = getenv("AWS_SECRET_ACCESS_KEY");
    o->prefix = argv[optind];
    return v >= 0 && optind == argc - 1 && o->port > 0 && o->key_id != NULL && o->secret != NULL;
}

int
main(int argc, char **argv)
{
    static struct load l;
    if (!read_options(argc, argv, &l.o)) {
        fprintf(stderr, "usage: load -p PORT [-c CONNECTIONS] [-d SECONDS] [-n REQUESTS] "
                        "[-s BODY_BYTES] /BUCKET/PREFIX\n"
                        "signs with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY\n");
        return EXIT_USAGE;
    }
    prepare(&l);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l.epoll < 0)
        die("epoll_create1");
    for (int i = 0; i < l.o.connections; i++)
        connection_open(&l, &l.connections[i]);
    report(&l, run(&l));
    return EXIT_SUCCESS;
}
