/*
 * The adapter to libmicrohttpd 0.9.75: the server, and the life of a request.
 *
 * One request, one arena, one struct http_conn in it. The library calls us on the connection's own
 * thread: once for the request line, then the handler - once for the head, once for each piece of
 * the body, once at the end, and again after each resume - and once when the request is completed.
 *
 *     HEAD_READ --refused------------------------------+
 *         |                                            v
 *       BEGUN --reply, body unwanted and not small--> SENT --> completed: gone(), arena freed
 *       |   \                                          ^
 *       |    reply, body small or none --> DRAIN ------+
 *       v                                    ^         |
 *     BODY --reply in the middle ------------+         |
 *       |                                              |
 *       +--> END --reply, at once or after a resume ---+
 *
 * In BEGUN and END the request may be suspended and resumed any number of times; without a reply
 * each resume runs resumed().
 *
 * The library takes a reply at two moments only: in the call for the head, after which it always
 * closes the connection, and in the last call. A reply given earlier is therefore kept until the
 * last call, and the body that comes meanwhile is dropped (DRAIN), as long as it is small. Upon a
 * larger one, or one of unknown length, the connection is closed with bytes unread; the guard then
 * lingers on the socket, so that the client sees the answer and not a reset.
 *
 * After http_suspend() the handler looks at nothing but its own flag and returns; everything else
 * in the struct is the holder's until the library, having taken the resume under its own lock,
 * calls the handler again. Resuming before the handler has returned is fine with the library.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http_mhd_priv.h"
#include "base/http_tls.h"
#include "base/log.h"
#include "base/stat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define SERVER_MAGIC 0x5e77e401u
/* Twice the largest head. libmicrohttpd clears all of it for every request, so it costs. */
#define CONNECTION_MEMORY (32u << 10)
#define THREADS_MAX 64
#define ACCEPT_PAUSE_MS 50 /* after the last descriptor was used */
#define LISTEN_BACKLOG 4096
/* Bytes that the kernel takes of an answer before it can send them. Without, it takes megabytes of
 * it for a client that does not read: time of a thread, and memory, for nothing. */
#define UNSENT_MAX (64 << 10)
#define BODIES_MEMORY_MAX ((int64_t)256 << 20) /* unless http_options say otherwise */

static _Atomic uint64_t next_id;

/* ---- states ---- */

#define FROM(state) (1u << (state))

static void
set_state(struct http_conn *c, enum http_state to)
{
    static const unsigned allowed[] = {
        [HTTP_HEAD_READ] = 0,
        [HTTP_BEGUN] = FROM(HTTP_HEAD_READ),
        [HTTP_BODY] = FROM(HTTP_BEGUN),
        [HTTP_DRAIN] = FROM(HTTP_BEGUN) | FROM(HTTP_BODY),
        [HTTP_END] = FROM(HTTP_BODY),
        [HTTP_SENT] = FROM(HTTP_HEAD_READ) | FROM(HTTP_BEGUN) | FROM(HTTP_DRAIN) | FROM(HTTP_END),
    };
    CHK(allowed[to] & FROM(c->state));
    c->state = to;
}

static enum MHD_Result
send_reply(struct http_conn *c)
{
    CHK(c->replied || c->cut);
    set_state(c, HTTP_SENT);
    http_guard_enter(c->guard, GUARD_SEND);
    return http_reply_queue(c);
}

/* ---- collecting a body ---- */

int
http_body_reserve(struct http_request *r, size_t n)
{
    struct http_conn *c = r->conn;
    CHK_MAGIC(c, HTTP_CONN_MAGIC);
    struct http_server *s = c->server;
    if (atomic_fetch_add(&s->bodies_memory, (int64_t)n) + (int64_t)n > s->bodies_memory_max) {
        atomic_fetch_sub(&s->bodies_memory, (int64_t)n);
        return ERR_BUSY;
    }
    c->body_reserved += (int64_t)n;
    STAT_ADD(http_bodies_bytes, (int64_t)n);
    return ERR_NONE;
}

void
http_body_release(struct http_request *r)
{
    struct http_conn *c = r->conn;
    CHK_MAGIC(c, HTTP_CONN_MAGIC);
    if (c->body_reserved == 0)
        return; /* most requests: the counters are all threads' */
    atomic_fetch_sub(&c->server->bodies_memory, c->body_reserved);
    STAT_ADD(http_bodies_bytes, -c->body_reserved);
    c->body_reserved = 0;
}

bool
http_body_room(const struct http_request *r, size_t n)
{
    const struct http_conn *c = r->conn;
    CHK_MAGIC(c, HTTP_CONN_MAGIC);
    return atomic_load(&c->server->bodies_memory) + (int64_t)n <= c->server->bodies_memory_max;
}

static void
refuse_body(struct http_conn *c, int err)
{
    if (c->refuse != NULL)
        c->refuse(&c->request, err);
    else if (err == ERR_TOOBIG)
        http_reply_text(&c->request, 413, "request body too large", false);
    else
        http_reply_text(&c->request, 503, "too many request bodies in memory", false);
    CHK(http_replied(&c->request));
}

void
http_collect(struct http_request *r, size_t max_bytes,
             void (*refuse)(struct http_request *r, int err))
{
    struct http_conn *c = r->conn;
    CHK_MAGIC(c, HTTP_CONN_MAGIC);
    CHK(c->state == HTTP_BEGUN && !c->collecting);
    c->collecting = true;
    c->refuse = refuse;
    buf_init(&c->collected, max_bytes);
    if (r->content_length > 0 && (uint64_t)r->content_length > max_bytes)
        refuse_body(c, ERR_TOOBIG);
}

static void
collect(struct http_conn *c, const void *p, size_t n)
{
    int err = http_body_reserve(&c->request, n);
    if (err == ERR_NONE) {
        buf_put(&c->collected, p, n);
        err = c->collected.err;
    }
    if (err == ERR_NONE)
        return;
    refuse_body(c, err);
    buf_fini(&c->collected); /* the answer comes behind the body, which may be long in coming */
    http_body_release(&c->request);
}

/* ---- the owner's count of what a request has read ---- */

static void
enter(struct http_conn *c)
{
    if (c->server->enter != NULL)
        c->server->enter(c->server->router_arg, &c->request);
}

static void
leave(struct http_conn *c)
{
    if (c->server->leave != NULL)
        c->server->leave(c->server->router_arg, &c->request);
}

/* ---- suspending ---- */

void
http_suspend(struct http_request *r)
{
    struct http_conn *c = r->conn;
    CHK_MAGIC(c, HTTP_CONN_MAGIC);
    CHK((c->state == HTTP_BEGUN || c->state == HTTP_END) && !c->suspended);
    CHK(!c->replied || c->holding);
    leave(c);
    c->suspended = true;
    CHK(!atomic_exchange(&c->lent, true));
    atomic_fetch_add(&c->server->lent, 1);
    http_guard_enter(c->guard, GUARD_BUSY);
    MHD_suspend_connection(c->mhd);
}

void
http_resume(struct http_request *r)
{
    struct http_conn *c = r->conn;
    CHK_MAGIC(c, HTTP_CONN_MAGIC);
    struct http_server *s = c->server;
    CHK(atomic_exchange(&c->lent, false));
    atomic_fetch_add(&s->resuming, 1);
    atomic_fetch_sub(&s->lent, 1);
    MHD_resume_connection(c->mhd);
    /* From here on the request may be gone; http_stop() waits for this last touch. */
    atomic_fetch_sub(&s->resuming, 1);
}

/* ---- the head ---- */

static enum MHD_Result
add_field(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_n, const char *value,
          size_t value_n)
{
    struct http_head *h = arg;
    (void)kind;
    if (h->field_count == h->fields_seen)
        return MHD_NO;
    h->fields[h->field_count++] =
        (struct http_field){slice_of(name, name_n), slice_of(value == NULL ? "" : value, value_n)};
    return MHD_YES;
}

static bool
read_fields(struct http_conn *c, struct http_head *h)
{
    int count = MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, NULL, NULL);
    h->fields_seen = count < 0 ? 0 : (size_t)count;
    if (h->fields_seen == 0 || h->fields_seen > HTTP_HEADERS_MAX)
        return true;
    h->fields = arena_alloc(c->request.arena, h->fields_seen * sizeof *h->fields);
    if (h->fields == NULL)
        return false;
    MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, add_field, h);
    return true;
}

static struct http_verdict
judge_head(struct http_conn *c, const char *method, const char *version)
{
    const union MHD_ConnectionInfo *bytes =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct http_head head = {.method = method,
                             .version = version,
                             .target = c->target,
                             .target_at = c->target_at,
                             .bytes = bytes == NULL ? 0 : bytes->header_size,
                             .in_place = c->server->in_place && bytes != NULL};
    if (!read_fields(c, &head))
        return (struct http_verdict){503, "out of memory"};
    return http_strict(&head, &c->request, &c->expects_continue);
}

static enum MHD_Result
refuse(struct http_conn *c, struct http_verdict v)
{
    STAT_INC(http_refused_total);
    log_line(LOG_DEBUG, "http_refused", "request_id=%s status=%d reason=\"%s\"", c->request.id,
             v.status, v.reason);
    http_reply_text(&c->request, v.status, v.reason, true);
    http_guard_linger(c->guard);
    return send_reply(c);
}

/* The library would say "100 Continue" also when there is no body to wait for, and then, with
 * another request behind this one, asks for the reply where it does not take it. So the field is
 * ours alone from here on. */
static bool
hide_expect(struct http_conn *c)
{
    struct http_request *r = &c->request;
    for (size_t i = 0; i < r->field_count; i++) {
        struct slice *value = &r->fields[i].value;
        if (!slice_ieqs(r->fields[i].name, "Expect") || value->n == 0)
            continue;
        struct slice copy = arena_dup(r->arena, *value);
        if (copy.p == NULL)
            return false;
        memset((char *)(uintptr_t)value->p, '-', value->n);
        *value = copy;
    }
    return true;
}

/* Whoever announces a body of no bytes is told to go on with it. RFC 9110 section 10.1.1 lets us
 * leave that out, but botocore then takes the status of this answer for the next one's. */
static void
say_continue(struct http_conn *c)
{
    struct slice text = SLICE_LIT("HTTP/1.1 100 Continue\r\n\r\n");
    if (c->expects_continue && !c->request.has_body &&
        !http_front_tell(c->mhd, c->guard, text.p, text.n))
        c->cut = true; /* it does not read what it was sent before */
}

/* ---- the steps of a request ---- */

static void
hold_reply(struct http_conn *c)
{
    if (!c->replied || c->cut || c->server->before_reply == NULL)
        return;
    c->holding = true; /* for good: after a suspend it is no longer ours to clear */
    c->server->before_reply(c->server->router_arg, &c->request);
}

/* The library calls again after a resume: who resumed may have replied, or leaves it to us. */
static void
go_on(struct http_conn *c)
{
    struct http_request *r = &c->request;
    c->suspended = false;
    if (http_replied(r) || r->service->resumed == NULL)
        return;
    r->service->resumed(r);
    if (!c->suspended)
        hold_reply(c);
}

/* What begin() left us with. */
static enum MHD_Result
after_begin(struct http_conn *c)
{
    struct http_request *r = &c->request;
    if (c->suspended)
        return MHD_YES;
    if (c->cut)
        return MHD_NO;
    if (r->has_body)
        http_guard_enter(c->guard, GUARD_BODY);
    if (!c->replied) {
        set_state(c, HTTP_BODY);
        return MHD_YES;
    }
    bool small = !c->expects_continue && !r->chunked && r->content_length <= HTTP_DRAIN_MAX;
    if (r->has_body && !small) {
        http_guard_linger(c->guard);
        return send_reply(c);
    }
    set_state(c, HTTP_DRAIN);
    return MHD_YES;
}

static enum MHD_Result
on_head(struct http_conn *c, const char *method, const char *version)
{
    struct http_request *r = &c->request;
    STAT_INC(http_requests_total);
    http_guard_enter(c->guard, GUARD_BUSY);
    struct http_verdict v = judge_head(c, method, version);
    /* The library takes a bare LF between chunks. A proxy in front may see other borders, so
     * nothing may follow a chunked body on its connection. */
    c->close = c->close || r->chunked;
    if (v.status == 0 && !r->has_body && !hide_expect(c))
        v = (struct http_verdict){503, "out of memory"};
    if (v.status != 0)
        return refuse(c, v);
    say_continue(c);
    set_state(c, HTTP_BEGUN);
    c->server->router(c->server->router_arg, r);
    if (!http_replied(r) && r->service == NULL)
        http_reply_text(r, 404, "no such service", false);
    if (!http_replied(r)) {
        c->active = true;
        atomic_fetch_add_explicit(&c->server->active, 1, memory_order_relaxed);
        r->service->begin(r);
        if (!c->suspended)
            hold_reply(c);
    }
    return after_begin(c);
}

static enum MHD_Result
on_body(struct http_conn *c, const char *p, size_t n)
{
    struct http_request *r = &c->request;
    http_guard_body(c->guard, (int64_t)n);
    if (c->state == HTTP_BODY) {
        if (c->collecting)
            collect(c, p, n);
        else if (r->service->body != NULL)
            r->service->body(r, p, n);
        if (c->replied)
            set_state(c, HTTP_DRAIN);
    } else {
        CHK(c->state == HTTP_DRAIN);
        c->drained += (int64_t)n;
        if (c->drained > HTTP_DRAIN_MAX)
            c->cut = true;
    }
    return c->cut ? MHD_NO : MHD_YES;
}

static enum MHD_Result
on_last(struct http_conn *c)
{
    struct http_request *r = &c->request;
    if (c->state == HTTP_BODY) {
        set_state(c, HTTP_END);
        http_guard_enter(c->guard, GUARD_BUSY);
        if (c->collecting)
            r->body = buf_slice(&c->collected);
        if (r->service->end != NULL)
            r->service->end(r);
        if (!c->suspended)
            hold_reply(c);
    } else if (c->state == HTTP_END) {
        go_on(c);
    }
    return c->suspended ? MHD_YES : send_reply(c);
}

static enum MHD_Result
step(struct http_conn *c, const char *method, const char *version, const char *p, size_t *n)
{
    if (c->state == HTTP_HEAD_READ)
        return on_head(c, method, version);
    if (c->state == HTTP_BEGUN) {
        go_on(c);
        return after_begin(c);
    }
    if (*n > 0) {
        size_t taken = *n;
        *n = 0;
        return on_body(c, p, taken);
    }
    return on_last(c);
}

static enum MHD_Result
on_handler(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
           const char *version, const char *p, size_t *n, void **slot)
{
    struct http_conn *c = *slot;
    (void)arg;
    (void)mhd;
    (void)url;
    if (c == NULL)
        return MHD_NO;
    CHK_MAGIC(c, HTTP_CONN_MAGIC);
    if (c->state == HTTP_SENT)
        return MHD_NO; /* a library that is being stopped drops replies and asks again */
    enter(c);
    enum MHD_Result result = step(c, method, version, p, n);
    if (!c->suspended)
        leave(c);
    return result;
}

/* ---- what the library reports besides ---- */

/* The library would cut the query into records of its own, of which a long query has too many for
 * its memory, and it does not survive that. Let it see none; ours is a copy. */
static void
hide_arguments(const char *uri)
{
    char *mark = strchr((char *)(uintptr_t)uri, '?');
    if (mark != NULL)
        mark[1] = '\0';
}

/* Text is left alone: we decode the raw target ourselves. */
static size_t
on_unescape(void *arg, struct MHD_Connection *mhd, char *text)
{
    (void)arg;
    (void)mhd;
    return strlen(text);
}

static void *
on_request_line(void *arg, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *s = arg;
    const union MHD_ConnectionInfo *context =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (context == NULL || context->socket_context == NULL)
        return NULL;
    struct arena *arena = arena_new(HTTP_REQUEST_MEMORY_MAX);
    struct http_conn *c = arena == NULL ? NULL : arena_alloc(arena, sizeof *c);
    struct slice target = c == NULL ? SLICE_NONE : arena_dup(arena, slice_str(uri));
    if (target.p == NULL) {
        arena_free(&arena);
        return NULL;
    }
    c->magic = HTTP_CONN_MAGIC;
    c->server = s;
    c->mhd = mhd;
    c->guard = context->socket_context;
    c->target = target;
    c->target_at = uri;
    c->headers_tail = &c->headers;
    struct http_request *r = &c->request;
    r->arena = arena;
    r->conn = c;
    r->content_length = -1;
    r->started_us = clock_mono_us();
    r->peer = c->guard->peer;
    r->peer_is_loopback = c->guard->peer_is_loopback;
    r->secure = s->tls != NULL;
    snprintf(r->id, sizeof r->id, "%016" PRIX64, atomic_fetch_add(&next_id, 1));
    if (atomic_load(&c->guard->phase) == GUARD_IDLE)
        http_guard_enter(c->guard, GUARD_HEADER);
    hide_arguments(uri);
    return c;
}

static void
count_response(const struct http_conn *c)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    const struct http_request *r = &c->request;
    stat_count(FAMILY_http_responses, r->service == NULL ? "none" : r->service->name,
               r->operation == NULL ? "none" : r->operation,
               classes[c->replied && !c->cut ? c->status / 100 : 0]);
}

static void
on_completed(void *arg, struct MHD_Connection *mhd, void **slot,
             enum MHD_RequestTerminationCode how)
{
    struct http_conn *c = *slot;
    (void)arg;
    (void)mhd;
    *slot = NULL;
    if (c == NULL)
        return;
    CHK_MAGIC(c, HTTP_CONN_MAGIC);
    struct http_request *r = &c->request;
    http_guard_enter(c->guard, GUARD_IDLE);
    if (how == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED)
        STAT_INC(http_timeouts_total);
    http_reply_release(c);
    count_response(c);
    if (c->active) {
        if (r->service->gone != NULL)
            r->service->gone(r);
        atomic_fetch_sub_explicit(&c->server->active, 1, memory_order_relaxed);
    }
    if (c->collecting)
        buf_fini(&c->collected);
    http_body_release(r);
    c->magic = 0;
    arena_free(&(struct arena *){r->arena});
}

static void
connection_closed(struct http_server *s, struct http_guard_conn *c)
{
    if (c == NULL)
        return;
    http_front_watch(c->fd, NULL);
    http_tls_unref(c->tls);
    http_guard_closed(s->guard, c);
}

static void
on_connection(void *arg, struct MHD_Connection *mhd, void **context,
              enum MHD_ConnectionNotificationCode what)
{
    struct http_server *s = arg;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        connection_closed(s, *context);
        *context = NULL;
        return;
    }
    int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    const struct sockaddr *peer =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    struct http_guard_conn *c = http_guard_opened(s->guard, fd, peer);
    *context = c;
    if (c == NULL)
        shutdown(fd, SHUT_RDWR);
    else if (s->tls != NULL)
        c->tls = http_tls_ref(s->tls);
    http_front_watch(fd, c);
    if (s->thread_end != NULL && pthread_getspecific(s->thread_key) == NULL)
        pthread_setspecific(s->thread_key, s);
}

static enum MHD_Result
on_accept(void *arg, const struct sockaddr *peer, socklen_t n)
{
    struct http_server *s = arg;
    (void)n;
    return http_guard_admits(s->guard, peer) ? MHD_YES : MHD_NO;
}

static void
on_thread_end(void *arg)
{
    struct http_server *s = arg;
    s->thread_end(s->router_arg);
}

__attribute__((format(printf, 2, 0))) static void
on_message(void *arg, const char *fmt, va_list ap)
{
    (void)arg;
    if (!log_enabled(LOG_DEBUG))
        return;
    char text[LOG_QUOTE_MAX];
    char quoted[LOG_QUOTE_MAX];
    vsnprintf(text, sizeof text, fmt, ap);
    log_line(LOG_DEBUG, "http_library", "text=%s", log_quote(slice_str(text), quoted));
}

/* ---- the server ---- */

/* What the connections of a listening socket take over from it. */
static void
inherited(int fd)
{
    int on = 1;
    int unsent = UNSENT_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

static int
listen_on(const char *host, int port, int *out)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char service[16];
    int on = 1;
    int off = 0;
    int err = ERR_NONE;
    int fd = -1;

    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &found) != 0)
        return ERR_INVALID;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        err = err_from_errno(errno);
        goto out;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    inherited(fd);
    if (found->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        err = err_from_errno(errno);
        close(fd);
        fd = -1;
    }
out:
    freeaddrinfo(found);
    *out = fd;
    return err;
}

/* Whoever made it chose its options, but for what we owe our clients. */
static int
listen_passed(int fd)
{
    inherited(fd);
    return fd;
}

static void
learn_address(struct http_server *s)
{
    struct sockaddr_storage addr = {0};
    socklen_t n = sizeof addr;
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    CHK(getsockname(s->listen_fd, (struct sockaddr *)&addr, &n) == 0);
    CHK(getnameinfo((struct sockaddr *)&addr, n, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0);
    s->loopback = http_addr_is_loopback((struct sockaddr *)&addr);
    if (addr.ss_family == AF_INET6)
        snprintf(s->address, sizeof s->address, "[%.60s]:%.8s", host, port);
    else
        snprintf(s->address, sizeof s->address, "%.60s:%.8s", host, port);
}

/* ---- accepting ---- */

/* The library's threads would share the listen socket, and whoever wakes first takes a whole burst
 * of connections: one thread works, the others look on. So one thread accepts, and the library
 * deals the connections out by descriptor. */
static void
accept_all(struct http_server *s)
{
    for (;;) {
        struct sockaddr_storage addr;
        socklen_t n = sizeof addr;
        int fd = accept4(s->listen_fd, (struct sockaddr *)&addr, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            MHD_add_connection(s->daemon, fd, (struct sockaddr *)&addr,
                               n); /* closes it if refused */
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            struct pollfd stop = {.fd = s->stop_fd, .events = POLLIN};
            poll(&stop, 1, ACCEPT_PAUSE_MS); /* the queue stays full: do not spin on it */
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void *
accept_main(void *arg)
{
    struct http_server *s = arg;
    struct pollfd fds[] = {{.fd = s->listen_fd, .events = POLLIN},
                           {.fd = s->stop_fd, .events = POLLIN}};
    pthread_setname_np(pthread_self(), "accept");
    while (fds[1].revents == 0) {
        if (poll(fds, ARRAY_LEN(fds), -1) > 0 && fds[0].revents != 0 && fds[1].revents == 0)
            accept_all(s);
    }
    return NULL;
}

static int
start_accepting(struct http_server *s)
{
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->stop_fd < 0)
        return err_from_errno(errno);
    s->accepting = pthread_create(&s->acceptor, NULL, accept_main, s) == 0;
    return s->accepting ? ERR_NONE : ERR_NOMEM;
}

static void
stop_accepting(struct http_server *s)
{
    uint64_t one = 1;
    if (s->accepting) {
        CHK(write(s->stop_fd, &one, sizeof one) == (ssize_t)sizeof one);
        CHK(pthread_join(s->acceptor, NULL) == 0);
    }
    s->accepting = false;
    if (s->stop_fd >= 0)
        close(s->stop_fd);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    s->stop_fd = s->listen_fd = -1;
}

static int
start_library(struct http_server *s, const struct http_options *o)
{
    http_front_init();
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long threads = o->threads > 0 ? o->threads : cores < 1 ? 1 : cores;
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    /* The library divides its own limit among its threads: ours (on_accept) counts first. */
    long library_max = (o->connections_max + threads + 1) * threads;
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_message, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, library_max, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (o->idle_timeout_ms + 999) / 1000, NULL},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_request_line, s},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)on_unescape, s},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, s},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s},
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, threads, NULL},
        {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem tls_items[] = {
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (char *)(uintptr_t)HTTP_TLS_PRIORITIES},
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, http_tls_retrieve()},
        {MHD_OPTION_END, 0, NULL}};
    /* MHD_OPTION_STRICT_FOR_CLIENT stays off: at 1 it only demands Host and no blank in the
     * target, and answers with two heads or none; http_strict() answers both in order. */
    s->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME |
            MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
            (s->tls != NULL ? MHD_USE_TLS : 0),
        0, on_accept, s, on_handler, s, MHD_OPTION_ARRAY, items, MHD_OPTION_ARRAY,
        s->tls != NULL ? tls_items : &items[ARRAY_LEN(items) - 1], MHD_OPTION_END);
    return s->daemon == NULL ? ERR_IO : ERR_NONE;
}

static void
server_free(struct http_server *s)
{
    http_guard_stop(&s->guard);
    if (s->key_made)
        pthread_key_delete(s->thread_key);
    s->magic = 0;
    free(s);
}

int
http_start(struct http_server **out, const struct http_options *o)
{
    struct http_server *s = chk_calloc(1, sizeof *s);
    struct http_guard_options guard = {.connections_max = o->connections_max,
                                       .connections_per_address_max =
                                           o->connections_per_address_max,
                                       .header_deadline_ms = o->header_deadline_ms,
                                       .body_rate_min = o->body_rate_min,
                                       .reply_rate_min = o->reply_rate_min,
                                       .rate_window_ms = o->rate_window_ms};
    uint64_t seed = 0;
    *out = NULL;
    s->magic = SERVER_MAGIC;
    s->router = o->router;
    s->router_arg = o->router_arg;
    s->thread_end = o->thread_end;
    s->enter = o->enter;
    s->leave = o->leave;
    s->before_reply = o->before_reply;
    s->tls = o->tls;
    s->bodies_memory_max = o->bodies_memory_max > 0 ? o->bodies_memory_max : BODIES_MEMORY_MAX;
    s->listen_fd = s->stop_fd = -1;
    s->in_place = strcmp(MHD_get_version(), "0.9.75") == 0;
    if (!s->in_place)
        log_line(LOG_WARN, "http_library_unknown", "version=%s", MHD_get_version());
    if (getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed)
        atomic_store(&next_id, seed);

    int err = ERR_NONE;
    if (o->passed_fd > 0)
        s->listen_fd = listen_passed(o->passed_fd);
    else
        err = listen_on(o->host, o->port, &s->listen_fd);
    if (err == 0) {
        learn_address(s);
        s->key_made = pthread_key_create(&s->thread_key, on_thread_end) == 0;
        err = s->key_made ? http_guard_start(&s->guard, &guard) : ERR_NOMEM;
    }
    if (err == 0)
        err = start_library(s, o);
    if (err == 0)
        err = start_accepting(s);
    if (err != 0) {
        stop_accepting(s);
        if (s->daemon != NULL)
            MHD_stop_daemon(s->daemon);
        server_free(s);
        return err;
    }
    *out = s;
    return ERR_NONE;
}

const char *
http_address(const struct http_server *s)
{
    return s->address;
}

bool
http_is_loopback(const struct http_server *s)
{
    return s->loopback;
}

void
http_quiesce(struct http_server *s)
{
    CHK_MAGIC(s, SERVER_MAGIC);
    if (!atomic_exchange(&s->quiesced, true))
        stop_accepting(s);
}

int
http_active(struct http_server *s)
{
    CHK_MAGIC(s, SERVER_MAGIC);
    return atomic_load(&s->active);
}

void
http_stop(struct http_server **sp)
{
    struct http_server *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, SERVER_MAGIC);
    http_quiesce(s);
    while (atomic_load(&s->resuming) > 0)
        sched_yield();
    CHK(atomic_load(&s->lent) == 0);
    MHD_stop_daemon(s->daemon);
    CHK(atomic_load(&s->active) == 0);
    server_free(s);
}
