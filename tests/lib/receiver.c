#include "tests/lib/receiver.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/lock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (1u << 20)
#define CONNECTIONS_MAX 64

struct connection {
    int fd;
    struct buf in;
    bool heard; /* a whole request; stays open without an answer */
};

struct receiver {
    int listen_fd, stop_fd;
    char address[32];
    char url[256];
    pthread_t thread;
    size_t count;
    struct connection connections[CONNECTIONS_MAX];
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t came;
    char *answer, *more;
    size_t request_count;
    struct buf requests[RECEIVER_REQUESTS_MAX];
};

static size_t
head_bytes(struct slice request)
{
    ptrdiff_t at = slice_find(request, SLICE_LIT("\r\n\r\n"));
    return at < 0 ? 0 : (size_t)at + 4;
}

static struct slice
header_of(struct slice request, const char *name)
{
    struct slice rest = slice_of(request.p, head_bytes(request));
    while (rest.n > 0) {
        struct slice line = slice_trim(slice_cut(rest, '\n', &rest));
        struct slice value;
        struct slice field = slice_cut(line, ':', &value);
        if (value.p == NULL || !slice_ieqs(field, name))
            continue;
        value = slice_trim(value);
        if (value.n > 0 && value.p[value.n - 1] == '\r')
            value.n--;
        return value;
    }
    return SLICE_NONE;
}

static bool
is_whole(struct slice request)
{
    uint64_t length = 0;
    size_t head = head_bytes(request);
    struct slice said = header_of(request, "Content-Length");
    if (head == 0)
        return false;
    if (said.p != NULL)
        CHK(slice_to_u64(said, &length) == 0);
    return request.n >= head + length;
}

static char *
copy(const char *text)
{
    return text == NULL ? NULL : strdup(text);
}

/* False when the other side has heard enough. */
static bool
send_all(int fd, const char *p)
{
    for (size_t n = strlen(p); n > 0;) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* False when the connection is to be closed. */
static bool
request_end(struct receiver *r, struct connection *c)
{
    pthread_mutex_lock(&r->mutex);
    CHK(r->request_count < RECEIVER_REQUESTS_MAX);
    struct buf *kept = &r->requests[r->request_count++];
    *kept = c->in;
    buf_init(&c->in, REQUEST_MAX);
    char *answer = copy(r->answer), *more = copy(r->more);
    pthread_cond_broadcast(&r->came);
    pthread_mutex_unlock(&r->mutex);
    c->heard = true;
    if (answer == NULL)
        return true;
    bool listens = send_all(c->fd, answer);
    while (listens && more != NULL)
        listens = send_all(c->fd, more);
    free(answer);
    free(more);
    return false;
}

static bool
connection_read(struct receiver *r, struct connection *c)
{
    char part[16384];
    ssize_t n = recv(c->fd, part, sizeof part, 0);
    if (n <= 0)
        return false;
    buf_put(&c->in, part, (size_t)n);
    CHK(c->in.err == 0);
    return c->heard || !is_whole(buf_slice(&c->in)) || request_end(r, c);
}

static void
connection_close(struct receiver *r, size_t i)
{
    close(r->connections[i].fd);
    buf_fini(&r->connections[i].in);
    r->connections[i] = r->connections[--r->count];
}

static void *
receiver_main(void *arg)
{
    struct receiver *r = arg;
    for (;;) {
        struct pollfd p[CONNECTIONS_MAX + 2] = {{.fd = r->stop_fd, .events = POLLIN},
                                                {.fd = r->listen_fd, .events = POLLIN}};
        for (size_t i = 0; i < r->count; i++)
            p[i + 2] = (struct pollfd){.fd = r->connections[i].fd, .events = POLLIN};
        CHK(poll(p, r->count + 2, -1) > 0 || errno == EINTR);
        if (p[0].revents != 0)
            break;
        for (size_t i = r->count; i-- > 0;) {
            if (p[i + 2].revents != 0 && !connection_read(r, &r->connections[i]))
                connection_close(r, i);
        }
        if (p[1].revents == 0)
            continue;
        CHK(r->count < CONNECTIONS_MAX);
        struct connection *c = &r->connections[r->count++];
        *c = (struct connection){.fd = accept(r->listen_fd, NULL, NULL)};
        CHK(c->fd >= 0);
        buf_init(&c->in, REQUEST_MAX);
    }
    while (r->count > 0)
        connection_close(r, r->count - 1);
    return NULL;
}

struct receiver *
receiver_start(void)
{
    struct receiver *r = chk_calloc(1, sizeof *r);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    r->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    r->stop_fd = eventfd(0, EFD_CLOEXEC);
    CHK(r->listen_fd >= 0 && r->stop_fd >= 0);
    CHK(bind(r->listen_fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(r->listen_fd, 64) == 0);
    CHK(getsockname(r->listen_fd, (struct sockaddr *)&a, &n) == 0);
    snprintf(r->address, sizeof r->address, "127.0.0.1:%d", ntohs(a.sin_port));
    pthread_mutex_init(&r->mutex, NULL);
    lock_cond_init(&r->came);
    receiver_answer(r, RECEIVER_TAKES);
    CHK(pthread_create(&r->thread, NULL, receiver_main, r) == 0);
    return r;
}

void
receiver_stop(struct receiver **rp)
{
    struct receiver *r = *rp;
    uint64_t one = 1;
    *rp = NULL;
    CHK(write(r->stop_fd, &one, sizeof one) == sizeof one);
    pthread_join(r->thread, NULL);
    close(r->listen_fd);
    close(r->stop_fd);
    for (size_t i = 0; i < r->request_count; i++)
        buf_fini(&r->requests[i]);
    free(r->answer);
    free(r->more);
    pthread_cond_destroy(&r->came);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

const char *
receiver_url(struct receiver *r, const char *path)
{
    snprintf(r->url, sizeof r->url, "http://%s%s", r->address, path);
    return r->url;
}

const char *
receiver_address(const struct receiver *r)
{
    return r->address;
}

void
receiver_flood(struct receiver *r, const char *bytes, const char *more)
{
    pthread_mutex_lock(&r->mutex);
    free(r->answer);
    free(r->more);
    r->answer = copy(bytes);
    r->more = copy(more);
    pthread_mutex_unlock(&r->mutex);
}

void
receiver_answer(struct receiver *r, const char *bytes)
{
    receiver_flood(r, bytes, NULL);
}

bool
receiver_wait(struct receiver *r, size_t count)
{
    int64_t until = clock_mono_ms() + RECEIVER_WAIT_MS;
    struct timespec at = {until / 1000, until % 1000 * 1000000};
    pthread_mutex_lock(&r->mutex);
    while (r->request_count < count && pthread_cond_timedwait(&r->came, &r->mutex, &at) == 0)
        ;
    bool came = r->request_count >= count;
    pthread_mutex_unlock(&r->mutex);
    return came;
}

size_t
receiver_count(struct receiver *r)
{
    pthread_mutex_lock(&r->mutex);
    size_t count = r->request_count;
    pthread_mutex_unlock(&r->mutex);
    return count;
}

struct slice
receiver_request(struct receiver *r, size_t i)
{
    pthread_mutex_lock(&r->mutex);
    CHK(i < r->request_count);
    struct slice request = buf_slice(&r->requests[i]);
    pthread_mutex_unlock(&r->mutex);
    return request;
}

struct slice
receiver_body(struct receiver *r, size_t i)
{
    struct slice request = receiver_request(r, i);
    return slice_skip(request, head_bytes(request));
}

struct slice
receiver_header(struct receiver *r, size_t i, const char *name)
{
    return header_of(receiver_request(r, i), name);
}
