/*
 * An open loop of requests: one every 1/RATE seconds whatever the server does, so that a server
 * that falls behind is not spared (a closed loop slows down with it). The time of a request counts
 * from the moment it was due, not from when a connection was free for it.
 *
 *   due ---> a connection that idles, or a new one ---> answered ---> the connection idles
 *    |                                                     |
 *    +-- all CONNECTIONS are busy: waits, still due        +-- closed by the server: forgotten
 *
 * With -b each request is a signed PUT of the next body, at PATH and eight digits; without, a GET
 * of PATH, at real-time priority. One thread, one epoll. At the end it waits DRAIN_MS for what is
 * out and prints one line of JSON: what was sent and how it was answered, times in microseconds.
 * With -o, a line for every PUT: its number and status, 0 when no answer came.
 */
#include "base/buf.h"
#include "base/chk.h"
#include "base/clock.h"
#include "tests/lib/put_head.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define CONNECTIONS_MAX 8192
#define BODIES_MAX 64
#define REQUESTS_MAX 4000000
#define HEAD_MAX 2048
#define ANSWER_MAX 4096 /* bytes of an answer that are looked at */
#define DRAIN_MS 120000
#define EXIT_USAGE 2

struct options {
    int port;
    const char *source; /* address to come from, NULL: any */
    double rate;
    int seconds;
    int connections;
    bool expect; /* say Expect: 100-continue, and wait for it */
    bool fresh;  /* a connection for each request */
    const char *out;
    const char *path;
    const char *key_id;
    const char *secret;
};

struct connection {
    struct connection *next; /* of those that idle */
    int fd;
    long request; /* -1: none */
    int64_t due_us;
    char head[HEAD_MAX];
    size_t head_n, sent;
    bool told; /* 100 Continue came, or was not asked for */
    char answer[ANSWER_MAX + 1];
    size_t answer_n;
    long body_left; /* of the answer; -1: its head is not complete */
};

struct load {
    struct options o;
    struct slice bodies[BODIES_MAX];
    long body_count;
    int epoll;
    struct connection *idle;
    int open;
    long due;  /* requests that should have begun */
    long next; /* requests that have */
    long in_flight;
    long ok, slowdown, bare_503, other, lost;
    int first_other;
    uint32_t *ok_us, *slow_us;
    long slow_n;
    short *status; /* of each PUT */
    int64_t start_us;
};

static void
die(const char *what)
{
    fprintf(stderr, "openload: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* ---- requests ---- */

static void
head_put(struct load *l, struct connection *c, const char *host, const char *path)
{
    struct put_head head = {.host = host,
                            .path = path,
                            .key_id = l->o.key_id,
                            .secret = l->o.secret,
                            .body_bytes = l->bodies[c->request % l->body_count].n,
                            .now_ms = clock_wall_ms(),
                            .expect = l->o.expect};
    struct buf text;
    buf_init(&text, sizeof c->head);
    put_head_write(&head, &text);
    CHK(text.err == 0);
    memcpy(c->head, text.p, text.n);
    c->head_n = text.n;
    buf_fini(&text);
}

static void
head_make(struct load *l, struct connection *c)
{
    char host[64], path[512];
    snprintf(host, sizeof host, "127.0.0.1:%d", l->o.port);
    if (l->body_count == 0) {
        c->head_n = (size_t)snprintf(c->head, sizeof c->head, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n",
                                     l->o.path, host);
        CHK(c->head_n < sizeof c->head);
        return;
    }
    snprintf(path, sizeof path, "%s%08ld", l->o.path, c->request);
    head_put(l, c, host, path);
}

/* ---- connections ---- */

static struct connection *
connection_open(struct load *l)
{
    int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)l->o.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct connection *c = chk_calloc(1, sizeof *c);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket");
    if (l->o.source != NULL) {
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        CHK(inet_pton(AF_INET, l->o.source, &from.sin_addr) == 1);
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0)
            die("bind");
    }
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        die("epoll_ctl");
    l->open++;
    return c;
}

static void
connection_close(struct load *l, struct connection *c)
{
    close(c->fd);
    l->open--;
    free(c);
}

/* Gone with a request on it: nobody knows what became of that. */
static void
connection_lost(struct load *l, struct connection *c)
{
    if (c->request >= 0) {
        l->in_flight--;
        l->lost++;
    } else {
        struct connection **at = &l->idle;
        while (*at != NULL && *at != c)
            at = &(*at)->next;
        if (*at != NULL)
            *at = c->next;
    }
    connection_close(l, c);
}

static bool
would_block(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN);
}

/* Sends what the socket takes; false when the connection is gone. After a refusal in the middle of
 * the body its rest is sent all the same, as it was announced. */
static bool
push(struct load *l, struct connection *c)
{
    struct slice body = l->body_count == 0 ? SLICE_NONE : l->bodies[c->request % l->body_count];
    size_t whole = c->head_n + (c->told ? body.n : 0);
    while (c->sent < whole) {
        struct iovec parts[2];
        size_t skip = c->sent > c->head_n ? c->sent - c->head_n : 0;
        struct msghdr m = {.msg_iov = parts, .msg_iovlen = 0};
        if (c->sent < c->head_n)
            parts[m.msg_iovlen++] = (struct iovec){c->head + c->sent, c->head_n - c->sent};
        if (c->told)
            parts[m.msg_iovlen++] = (struct iovec){(char *)(uintptr_t)body.p + skip, body.n - skip};
        ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (n < 0)
            return would_block(n);
        c->sent += (size_t)n;
    }
    return true;
}

static int64_t
due_us(const struct load *l, long request)
{
    return l->start_us + (int64_t)((double)request * 1e6 / l->o.rate);
}

/* The next request; false when no connection is free. */
static bool
begin(struct load *l)
{
    struct connection *c = l->idle;
    if (c == NULL && l->open >= l->o.connections)
        return false;
    if (c != NULL)
        l->idle = c->next;
    else
        c = connection_open(l);
    c->request = l->next++;
    c->due_us = due_us(l, c->request);
    c->sent = c->answer_n = 0;
    c->body_left = -1;
    c->told = !l->o.expect;
    head_make(l, c);
    l->in_flight++;
    if (!push(l, c))
        connection_lost(l, c);
    return true;
}

/* ---- answers ---- */

static bool
has_field(const char *head, const char *field)
{
    return strcasestr(head, field) != NULL;
}

/* True: the connection can be used again. */
static bool
finish(struct load *l, struct connection *c)
{
    int status = (int)strtol(c->answer + strlen("HTTP/1.1 "), NULL, 10);
    uint32_t us = (uint32_t)(clock_mono_us() - c->due_us);
    l->in_flight--;
    if (status == 200) {
        l->ok_us[l->ok++] = us;
    } else if (status == 503) {
        l->slow_us[l->slow_n++] = us;
        bool said = has_field(c->answer, "\r\nRetry-After:") && has_field(c->answer, "SlowDown");
        *(said ? &l->slowdown : &l->bare_503) += 1;
    } else {
        l->first_other = l->other++ == 0 ? status : l->first_other;
    }
    if (l->body_count > 0)
        l->status[c->request] = (short)status;
    bool whole =
        c->sent == c->head_n + (l->body_count == 0 ? 0 : l->bodies[c->request % l->body_count].n);
    bool again = whole && !l->o.fresh && !has_field(c->answer, "\r\nConnection: close");
    c->request = -1;
    if (again) {
        c->next = l->idle;
        l->idle = c;
    }
    return again;
}

/* The head of an answer; 100 Continue is none. */
static void
take_head(struct load *l, struct connection *c)
{
    char *end = strstr(c->answer, "\r\n\r\n");
    if (end == NULL)
        return;
    size_t head_n = (size_t)(end + 4 - c->answer);
    if (strncmp(c->answer, "HTTP/1.1 100", strlen("HTTP/1.1 100")) == 0) {
        memmove(c->answer, c->answer + head_n, c->answer_n - head_n + 1);
        c->answer_n -= head_n;
        c->told = true;
        (void)push(l, c);
        take_head(l, c);
        return;
    }
    const char *line = strcasestr(c->answer, "\r\nContent-Length:");
    long length = line == NULL || line > end ? 0 : strtol(line + 17, NULL, 10);
    c->body_left = length - (long)(c->answer_n - head_n);
}

/* Reads what is there. False: the connection is at its end. */
static bool
pull(struct load *l, struct connection *c)
{
    char rest[64 << 10];
    for (;;) {
        bool kept = c->answer_n < ANSWER_MAX;
        ssize_t n = kept ? recv(c->fd, c->answer + c->answer_n, ANSWER_MAX - c->answer_n, 0)
                         : recv(c->fd, rest, sizeof rest, 0);
        if (would_block(n))
            return true;
        if (n <= 0 || c->request < 0)
            return false;
        if (kept) {
            c->answer_n += (size_t)n;
            c->answer[c->answer_n] = '\0';
        }
        if (c->body_left >= 0)
            c->body_left -= n;
        else if (kept)
            take_head(l, c);
        else
            return false;
        if (c->body_left == 0 && !finish(l, c))
            return false;
    }
}

static void
on_ready(struct load *l, struct connection *c)
{
    bool alive = c->request < 0 || push(l, c);
    /* What was refused in the middle of a body is read although sending has failed. */
    if (!pull(l, c) || !alive)
        connection_lost(l, c);
}

/* ---- the run ---- */

static void
turn(struct load *l, int wait_ms)
{
    struct epoll_event ready[256];
    int n = epoll_wait(l->epoll, ready, ARRAY_LEN(ready), wait_ms);
    for (int i = 0; i < n; i++) {
        if (ready[i].data.ptr != NULL) /* the timer only wakes */
            on_ready(l, ready[i].data.ptr);
    }
}

/* To wake at a due time more finely than epoll's milliseconds. */
static int
timer_make(struct load *l)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (fd < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
        die("timerfd");
    return fd;
}

static void
timer_set(int fd, int64_t at_us)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000}};
    if (timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL) != 0)
        die("timerfd_settime");
}

static void
run(struct load *l)
{
    int timer = timer_make(l);
    long all = (long)(l->o.rate * l->o.seconds);
    l->start_us = clock_mono_us();
    int64_t end_us = l->start_us + l->o.seconds * (int64_t)1000000;
    int64_t now_us;
    while ((now_us = clock_mono_us()) < end_us) {
        while (l->next < all && due_us(l, l->next) <= now_us && begin(l))
            continue;
        int64_t wake_us = l->next < all ? due_us(l, l->next) : end_us;
        timer_set(timer, wake_us > now_us ? wake_us : now_us + 1000);
        turn(l, -1);
    }
    for (l->due = l->next; l->due < all && due_us(l, l->due) <= now_us;)
        l->due++;
    int64_t drained_us = end_us + DRAIN_MS * 1000;
    while (l->in_flight > 0 && clock_mono_us() < drained_us)
        turn(l, 10);
    l->lost += l->in_flight;
    close(timer);
}

static int
by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void
times(const char *name, uint32_t *us, long n)
{
    qsort(us, (size_t)n, sizeof *us, by_value);
    printf(", \"%s_p50_us\": %u, \"%s_p99_us\": %u, \"%s_max_us\": %u", name,
           n == 0 ? 0 : us[n / 2], name, n == 0 ? 0 : us[n - 1 - n / 100], name,
           n == 0 ? 0 : us[n - 1]);
}

static void
report(struct load *l)
{
    printf("{\"sent\": %ld, \"late\": %ld, \"ok\": %ld, \"slowdown\": %ld, \"bare_503\": %ld, "
           "\"other\": %ld, \"first_other\": %d, \"lost\": %ld",
           l->next, l->due - l->next, l->ok, l->slowdown, l->bare_503, l->other, l->first_other,
           l->lost);
    times("ok", l->ok_us, l->ok);
    times("slow", l->slow_us, l->slow_n);
    printf("}\n");
    if (l->o.out == NULL)
        return;
    FILE *f = fopen(l->o.out, "we");
    if (f == NULL)
        die(l->o.out);
    for (long i = 0; i < l->next; i++)
        fprintf(f, "%ld %d\n", i, l->status[i]);
    if (fclose(f) != 0)
        die(l->o.out);
}

/* ---- command line ---- */

static void
body_read(struct load *l, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || l->body_count == BODIES_MAX)
        die(path);
    char *p = chk_malloc((size_t)st.st_size + 1);
    if (read(fd, p, (size_t)st.st_size) != st.st_size)
        die(path);
    close(fd);
    l->bodies[l->body_count++] = slice_of(p, (size_t)st.st_size);
}

static long
number(const char *text, long max)
{
    char *end;
    long v = strtol(text, &end, 10);
    return *end == '\0' && v > 0 && v <= max ? v : -1;
}

static bool
read_options(int argc, char **argv, struct load *l)
{
    struct options *o = &l->o;
    long v = 0;
    int c;
    *o = (struct options){.rate = 100, .seconds = 1, .connections = 256};
    while (v >= 0 && (c = getopt(argc, argv, "p:a:r:d:c:b:o:ef")) != -1) {
        switch (c) {
        case 'p':
            o->port = (int)(v = number(optarg, UINT16_MAX));
            break;
        case 'a':
            o->source = optarg;
            break;
        case 'r':
            o->rate = (double)(v = number(optarg, 1000000));
            break;
        case 'd':
            o->seconds = (int)(v = number(optarg, 3600));
            break;
        case 'c':
            o->connections = (int)(v = number(optarg, CONNECTIONS_MAX));
            break;
        case 'b':
            body_read(l, optarg);
            break;
        case 'o':
            o->out = optarg;
            break;
        case 'e':
            o->expect = true;
            break;
        case 'f':
            o->fresh = true;
            break;
        default:
            v = -1;
        }
    }
    o->key_id = getenv("AWS_ACCESS_KEY_ID");
    o->secret = getenv("AWS_SECRET_ACCESS_KEY");
    o->path = argv[optind];
    return v >= 0 && optind == argc - 1 && o->port > 0 && o->rate * o->seconds < REQUESTS_MAX &&
           (l->body_count == 0 || (o->key_id != NULL && o->secret != NULL));
}

/* A reader is there to measure the server. Waiting for a processor of its own is no time of the
 * server's, so it goes before all others, where that is allowed. */
static void
hurry(void)
{
    struct sched_param first = {.sched_priority = 1};
    (void)sched_setscheduler(0, SCHED_FIFO, &first);
}

int
main(int argc, char **argv)
{
    static struct load l;
    if (!read_options(argc, argv, &l)) {
        fprintf(stderr, "usage: openload -p PORT [-a SOURCE] [-r RATE] [-d SECONDS] "
                        "[-c CONNECTIONS] [-b BODY]... [-e] [-f] [-o FILE] /PATH\n");
        return EXIT_USAGE;
    }
    size_t most = (size_t)(l.o.rate * l.o.seconds) + 1;
    l.ok_us = chk_calloc(most, sizeof *l.ok_us);
    l.slow_us = chk_calloc(most, sizeof *l.slow_us);
    l.status = chk_calloc(most, sizeof *l.status);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l.epoll < 0)
        die("epoll_create1");
    if (l.body_count == 0)
        hurry();
    run(&l);
    report(&l);
    return EXIT_SUCCESS;
}
