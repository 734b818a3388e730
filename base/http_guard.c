/*
 * Phases of a connection, as its own thread reports them:
 *
 *     accept -> HEADER -> BODY -> BUSY -> SEND -> IDLE -+
 *                 ^          \____^                     |   the timer thread sees a byte arrive
 *                 +-------------------------------------+   (or the next request line is read)
 *
 * The library reads a connection long before it tells us of a request, so a header that trickles in
 * after a reply is invisible from above: the timer asks the kernel when the last byte came.
 *
 * The rate of an answer is what the client's kernel acknowledges, and counts only while the socket
 * holds bytes that it has not: a client must read, we may take our time. An average since the begin
 * would let whoever was fast at first, or has much room for what it does not read, stall for hours;
 * so each window stands for itself.
 *
 * Invariants: the list and the address table belong to `lock`. A connection leaves both before its
 * descriptor is closed, and the timer cuts only under the lock, so it never hits a descriptor that
 * already means another socket. A cut goes through compare-and-swap on the phase it was judged in.
 */
#include "base/http_guard.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http_priv.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/plant.h"
#include "base/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* more of struct tcp_info than <netinet/tcp.h> */
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define GUARD_MAGIC 0x6a4dc0deu
#define ADDRESS_BUCKETS 1024
#define TICK_MS_MIN 10
#define TICK_MS_MAX 1000
#define IDLE_SLACK_MS 20 /* the kernel's own stamps are a few ms coarse */
#define PEER_LEFT_MS 500
#define STATE_CLOSE_WAIT 8 /* TCP_CLOSE_WAIT of <netinet/tcp.h> */
#define JUDGED_AT_ONCE 512 /* connections, under the lock */
#define LINGER_MAX 64      /* sockets at once; one more is just closed */
#define LINGER_MS 2000
#define LINGER_TICK_MS 20
#define LINGER_BYTES_MAX (16 << 20)

struct http_guard_address {
    struct http_guard_address *next;
    uint8_t bytes[16]; /* IPv4 mapped into IPv6 */
    int connections;
};

struct lingerer {
    int fd; /* a duplicate: the library closes its own */
    int64_t until_ms;
    int64_t bytes;
};

struct http_guard {
    uint32_t magic;
    struct http_guard_options options;
    struct lock lock;
    pthread_cond_t wake;
    pthread_t timer;
    bool stopping;
    int connections;
    struct http_guard_conn *head;
    struct http_guard_conn *cursor; /* to be judged next */
    struct http_guard_address *addresses[ADDRESS_BUCKETS];
    struct lingerer lingering[LINGER_MAX];
    int lingering_count;
};

/* ---- addresses ---- */

static void
address_key(const struct sockaddr *peer, uint8_t key[16])
{
    memset(key, 0, 16);
    if (peer->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)peer;
        key[10] = key[11] = 0xff;
        memcpy(key + 12, &in->sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        memcpy(key, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
    }
}

static struct http_guard_address **
address_slot(struct http_guard *g, const uint8_t key[16])
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < 16; i++)
        h = (h ^ key[i]) * 16777619u;
    struct http_guard_address **slot = &g->addresses[h % ADDRESS_BUCKETS];
    while (*slot != NULL && memcmp((*slot)->bytes, key, 16) != 0)
        slot = &(*slot)->next;
    return slot;
}

static struct http_guard_address *
address_ref(struct http_guard *g, const uint8_t key[16])
{
    struct http_guard_address **slot = address_slot(g, key);
    if (*slot == NULL) {
        *slot = calloc(1, sizeof **slot);
        if (*slot == NULL)
            return NULL;
        memcpy((*slot)->bytes, key, 16);
    }
    (*slot)->connections++;
    return *slot;
}

static void
address_unref(struct http_guard *g, struct http_guard_address *a)
{
    CHK(a->connections > 0);
    if (--a->connections > 0)
        return;
    struct http_guard_address **slot = address_slot(g, a->bytes);
    CHK(*slot == a);
    *slot = a->next;
    free(a);
}

/* ---- connections ---- */

/* Is there one for whoever has `has` already? */
static bool
has_room(const struct http_guard *g, int has)
{
    int left = g->options.connections_max - g->connections;
    if (plant_no_connection_limit)
        return true;
    return left > has && has < g->options.connections_per_address_max;
}

bool
http_guard_admits(struct http_guard *g, const struct sockaddr *peer)
{
    uint8_t key[16];
    address_key(peer, key);
    if (plant_no_lock)
        return g->connections < g->options.connections_max;
    lock_take(&g->lock);
    struct http_guard_address *a = *address_slot(g, key);
    bool room = has_room(g, a == NULL ? 0 : a->connections);
    lock_release(&g->lock);
    if (!room) {
        STAT_INC(http_limited_total);
        log_line(LOG_DEBUG, "http_limited", "connections_max=%d", g->options.connections_max);
    }
    return room;
}

struct http_guard_conn *
http_guard_opened(struct http_guard *g, int fd, const struct sockaddr *peer)
{
    uint8_t key[16];
    struct http_guard_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->fd = fd;
    c->peer_is_loopback = http_addr_is_loopback(peer);
    memcpy(&c->peer, peer,
           peer->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    atomic_init(&c->phase, GUARD_HEADER);
    atomic_init(&c->since_ms, clock_mono_ms());
    address_key(peer, key);

    lock_take(&g->lock);
    c->address = address_ref(g, key);
    if (c->address == NULL) {
        lock_release(&g->lock);
        free(c);
        return NULL;
    }
    c->next = g->head;
    if (c->next != NULL)
        c->next->previous = c;
    g->head = c;
    g->connections++;
    bool over = g->connections > g->options.connections_max ||
                c->address->connections > g->options.connections_per_address_max;
    lock_release(&g->lock);

    STAT_INC(http_connections);
    if (over && !plant_no_connection_limit) {
        STAT_INC(http_limited_total);
        atomic_store(&c->phase, GUARD_CUT);
        shutdown(fd, SHUT_RDWR);
    }
    return c;
}

/* ---- lingering ---- */

void
http_guard_linger(struct http_guard_conn *c)
{
    c->linger = true;
}

static void
linger_begin(struct http_guard *g, int fd)
{
    lock_assert_held(&g->lock);
    if (g->lingering_count == LINGER_MAX)
        return;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return;
    shutdown(copy, SHUT_WR);
    g->lingering[g->lingering_count++] =
        (struct lingerer){.fd = copy, .until_ms = clock_mono_ms() + LINGER_MS};
    pthread_cond_signal(&g->wake);
}

/* Reads what is there; true when the socket may be closed. */
static bool
linger_drain(struct lingerer *l, int64_t now_ms)
{
    ssize_t n;
    do {
        n = recv(l->fd, NULL, LINGER_BYTES_MAX, MSG_TRUNC | MSG_DONTWAIT);
        l->bytes += n > 0 ? n : 0;
    } while (n > 0 && l->bytes < LINGER_BYTES_MAX);
    bool waiting = n < 0 && (errno == EAGAIN || errno == EINTR);
    return !waiting || now_ms > l->until_ms;
}

static void
linger_all(struct http_guard *g, int64_t now_ms)
{
    for (int i = g->lingering_count - 1; i >= 0; i--) {
        if (!linger_drain(&g->lingering[i], now_ms))
            continue;
        close(g->lingering[i].fd);
        g->lingering[i] = g->lingering[--g->lingering_count];
    }
}

void
http_guard_closed(struct http_guard *g, struct http_guard_conn *c)
{
    lock_take(&g->lock);
    if (c->next != NULL)
        c->next->previous = c->previous;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        g->head = c->next;
    if (g->cursor == c)
        g->cursor = c->next;
    g->connections--;
    if (c->linger && !g->stopping && atomic_load(&c->phase) != GUARD_CUT)
        linger_begin(g, c->fd);
    address_unref(g, c->address);
    lock_release(&g->lock);
    STAT_DEC(http_connections);
    free(c);
}

void
http_guard_enter(struct http_guard_conn *c, enum http_guard_phase phase)
{
    int now = atomic_load_explicit(&c->phase, memory_order_relaxed);
    atomic_store_explicit(&c->since_ms, clock_mono_ms(), memory_order_relaxed);
    atomic_store_explicit(&c->bytes, 0, memory_order_relaxed);
    /* Fails only when the timer moved it meanwhile: to HEADER, or for good to CUT. */
    while (now != GUARD_CUT && !atomic_compare_exchange_weak(&c->phase, &now, (int)phase))
        continue;
    /* There is nothing more to receive: this only wakes whoever polls the socket. */
    if (c->ended && phase != GUARD_BUSY && phase != GUARD_SEND)
        shutdown(c->fd, SHUT_RD);
}

bool
http_guard_hold_end(struct http_guard_conn *c)
{
    int phase = atomic_load_explicit(&c->phase, memory_order_relaxed);
    if (phase != GUARD_BUSY && phase != GUARD_SEND)
        return false;
    c->ended = true;
    return true;
}

void
http_guard_body(struct http_guard_conn *c, int64_t bytes)
{
    atomic_fetch_add_explicit(&c->bytes, bytes, memory_order_relaxed);
}

/* ---- the timer thread ---- */

/* `why` is NULL when no deadline was missed. */
static void
cut(struct http_guard_conn *c, int phase, const char *why)
{
    if (!atomic_compare_exchange_strong(&c->phase, &phase, (int)GUARD_CUT))
        return;
    shutdown(c->fd, SHUT_RDWR);
    if (why == NULL)
        return;
    STAT_INC(http_timeouts_total);
    log_line(LOG_DEBUG, "http_deadline", "why=%s", why);
}

static bool
all_is_read(const struct http_guard_conn *c)
{
    int unread = 0;
    return ioctl(c->fd, FIONREAD, &unread) == 0 && unread == 0;
}

/* The peer has sent its last byte, we have read it, and nothing came of it for a while. The library
 * misses a FIN that it could have read together with data: it would wait for the idle timeout. */
static bool
peer_left(const struct http_guard_conn *c, const struct tcp_info *info)
{
    return info->tcpi_state == STATE_CLOSE_WAIT && info->tcpi_last_data_recv > PEER_LEFT_MS &&
           all_is_read(c);
}

/* Of the window that ends now; the next one begins. */
static void
judge_rate(struct http_guard *g, struct http_guard_conn *c, int phase, int64_t moved,
           int64_t age_ms)
{
    bool body = phase == GUARD_BODY;
    int64_t least = body ? g->options.body_rate_min : g->options.reply_rate_min;
    if (moved * 1000 / age_ms >= least)
        return;
    if (!body) {
        /* What it did not read must not stay in the kernel when the socket is closed. */
        struct linger reset = {.l_onoff = 1};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    cut(c, phase, body ? "body_rate" : "reply_rate");
}

static void
judge_body(struct http_guard *g, struct http_guard_conn *c, int64_t now_ms, int64_t age_ms)
{
    if (age_ms <= g->options.rate_window_ms)
        return;
    atomic_store(&c->since_ms, now_ms);
    judge_rate(g, c, GUARD_BODY, atomic_exchange(&c->bytes, 0), age_ms);
}

/* c->bytes: what was acknowledged on the connection before the window, 0 when not looked yet. */
static void
judge_reply(struct http_guard *g, struct http_guard_conn *c, int64_t now_ms, int64_t age_ms)
{
    struct tcp_info info = {.tcpi_bytes_acked = 0};
    socklen_t n = sizeof info;
    int waiting = 0;
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0 ||
        ioctl(c->fd, SIOCOUTQ, &waiting) != 0)
        return;
    int64_t acked = (int64_t)info.tcpi_bytes_acked;
    int64_t before = atomic_load(&c->bytes);
    if (waiting > 0 && before > 0 && age_ms <= g->options.rate_window_ms)
        return;
    if (waiting == 0 || age_ms > g->options.rate_window_ms)
        atomic_store(&c->since_ms, now_ms);
    atomic_store(&c->bytes, acked);
    if (waiting > 0 && age_ms > g->options.rate_window_ms)
        judge_rate(g, c, GUARD_SEND, acked - before, age_ms);
}

static void
judge_reading(struct http_guard_conn *c, int phase, int64_t now_ms, int64_t since_ms)
{
    struct tcp_info info;
    socklen_t n = sizeof info;
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
        return;
    if (peer_left(c, &info)) {
        cut(c, phase, NULL);
    } else if (phase == GUARD_IDLE &&
               now_ms - (int64_t)info.tcpi_last_data_recv > since_ms + IDLE_SLACK_MS) {
        /* A byte of the next header has arrived. */
        if (atomic_compare_exchange_strong(&c->phase, &phase, (int)GUARD_HEADER))
            atomic_store(&c->since_ms, now_ms);
    }
}

static void
judge(struct http_guard *g, struct http_guard_conn *c, int64_t now_ms)
{
    int phase = atomic_load(&c->phase);
    int64_t since_ms = atomic_load(&c->since_ms);
    int64_t age_ms = now_ms - since_ms;

    if (phase == GUARD_BUSY || phase == GUARD_CUT ||
        (plant_no_header_deadline && phase == GUARD_HEADER))
        return;
    /* While bytes wait to be read, the delay is ours and not the client's; nor can it make them
     * wait: the connection's thread reads on until it has the longest head, and then answers. */
    if (phase == GUARD_HEADER && age_ms > g->options.header_deadline_ms && all_is_read(c))
        cut(c, phase, "header");
    else if (phase == GUARD_SEND)
        judge_reply(g, c, now_ms, age_ms);
    else
        judge_reading(c, phase, now_ms, since_ms);
    if (phase == GUARD_BODY)
        judge_body(g, c, now_ms, age_ms);
}

/* With many connections whoever opens or closes one need not wait for the whole round. */
static void
judge_all(struct http_guard *g, int64_t now_ms)
{
    int judged = 0;
    g->cursor = g->head;
    while (g->cursor != NULL) {
        struct http_guard_conn *c = g->cursor;
        g->cursor = c->next;
        judge(g, c, now_ms);
        if (++judged % JUDGED_AT_ONCE == 0) {
            lock_release(&g->lock);
            sched_yield();
            lock_take(&g->lock);
        }
    }
}

static int64_t
tick_ms(const struct http_guard_options *o)
{
    int64_t ms = o->header_deadline_ms / 8;
    return ms < TICK_MS_MIN ? TICK_MS_MIN : ms > TICK_MS_MAX ? TICK_MS_MAX : ms;
}

static void *
timer_main(void *arg)
{
    struct http_guard *g = arg;
    int64_t judge_ms = 0;
    lock_take(&g->lock);
    while (!g->stopping) {
        int64_t now_ms = clock_mono_ms();
        if (now_ms >= judge_ms) {
            judge_all(g, now_ms);
            judge_ms = now_ms + tick_ms(&g->options);
        }
        linger_all(g, now_ms);
        int64_t linger_ms = now_ms + LINGER_TICK_MS;
        bool sooner = g->lingering_count > 0 && linger_ms < judge_ms;
        lock_wait(&g->lock, &g->wake, sooner ? linger_ms : judge_ms);
    }
    lock_release(&g->lock);
    return NULL;
}

int
http_guard_start(struct http_guard **out, const struct http_guard_options *options)
{
    struct http_guard *g = chk_calloc(1, sizeof *g);
    *out = NULL;
    g->magic = GUARD_MAGIC;
    g->options = *options;
    lock_init(&g->lock, LOCK_RANK_HTTP);
    lock_cond_init(&g->wake);
    int rc = pthread_create(&g->timer, NULL, timer_main, g);
    if (rc != 0) {
        pthread_cond_destroy(&g->wake);
        lock_fini(&g->lock);
        free(g);
        return err_from_errno(rc);
    }
    *out = g;
    return ERR_NONE;
}

void
http_guard_stop(struct http_guard **gp)
{
    struct http_guard *g = *gp;
    *gp = NULL;
    if (g == NULL)
        return;
    CHK_MAGIC(g, GUARD_MAGIC);
    CHK(g->head == NULL && g->connections == 0);
    lock_take(&g->lock);
    g->stopping = true;
    pthread_cond_signal(&g->wake);
    lock_release(&g->lock);
    CHK(pthread_join(g->timer, NULL) == 0);
    while (g->lingering_count > 0)
        close(g->lingering[--g->lingering_count].fd);
    pthread_cond_destroy(&g->wake);
    lock_fini(&g->lock);
    g->magic = 0;
    free(g);
}
