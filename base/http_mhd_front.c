/*
 * In front of libmicrohttpd: functions that the library calls by name and finds here first. The
 * dynamic linker binds a name to the program before any library, so the definitions below stand
 * where the C library's recv(), GnuTLS's functions and the library's own MHD_queue_response()
 * would. They are not in libbase.a, or whoever takes another part of it and calls recv() would get
 * this one.
 *
 * recv(). A client may end its sending side right behind its request (RFC 9112 section 9.6 lets it
 * wait for the answer so). The library takes that end for the end of the connection, also while we
 * are still at work on the request, and the answer is lost though the object is stored. So the end
 * is not told as long as a whole request is being answered (GUARD_BUSY, GUARD_SEND): the
 * library hears that nothing is there yet. It listens to edges only and the socket has had its last
 * one; when the request is over http_guard_enter() makes another, and then the end is the end.
 *
 * gnutls_record_recv(). Under TLS an end may be said twice: by close_notify (RFC 8446 section 6.1:
 * it ends one direction only), which is seen here, and by the socket, whose recv() GnuTLS calls.
 * GnuTLS remembers a close_notify and says it again to each later call.
 *
 * gnutls_handshake(). The library closes a connection whose handshake failed without a word. Here
 * the client is told why by an alert, unless it does not speak TLS at all, and what it is still
 * sending is read for a while, so that it sees an end and not a reset.
 *
 * MHD_queue_response(). What the library refuses by itself - a Content-Length that is no number, a
 * malformed chunk, a head that does not fit - it answers through its public function, and often
 * with the head sent twice. The call that arrives here is always one of those, for our own replies
 * go to the real function. All earlier replies of the connection have left by then, so one complete
 * answer is written to the socket or the TLS session, and the library told that it cannot answer:
 * it closes.
 *
 * Threads: all of them run on the connection's own HTTP thread. An entry of
 * `watched` is set before that thread first reads the socket and cleared before the descriptor is
 * closed, so a descriptor used again never finds a stale one.
 */
#undef _FORTIFY_SOURCE /* its inline recv() would be another definition */
#include "base/chk.h"
#include "base/clock.h"
#include "base/http_mhd_priv.h"
#include "base/log.h"
#include "base/stat.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdio.h>

#define WATCHED_MAX (1 << 20) /* descriptors; above it the end of a client may come early */

typedef enum MHD_Result (*queue_fn)(struct MHD_Connection *, unsigned, struct MHD_Response *);
typedef ssize_t (*record_recv_fn)(gnutls_session_t, void *, size_t);
typedef int (*handshake_fn)(gnutls_session_t);

static struct http_guard_conn *_Atomic watched[WATCHED_MAX];
static queue_fn library_queue;
static record_recv_fn library_record_recv;
static handshake_fn library_handshake;

static void
find(const char *name, void *function, size_t n)
{
    void *found = dlsym(RTLD_NEXT, name);
    CHK(found != NULL && n == sizeof found);
    memcpy(function, &found, n);
}

void
http_front_init(void)
{
    find("MHD_queue_response", &library_queue, sizeof library_queue);
    find("gnutls_record_recv", &library_record_recv, sizeof library_record_recv);
    find("gnutls_handshake", &library_handshake, sizeof library_handshake);
}

void
http_front_watch(int fd, struct http_guard_conn *c)
{
    if (fd < WATCHED_MAX)
        atomic_store_explicit(&watched[fd], c, memory_order_release);
}

struct http_guard_conn *
http_front_watched(int fd)
{
    if (fd < 0 || fd >= WATCHED_MAX)
        return NULL;
    return atomic_load_explicit(&watched[fd], memory_order_acquire);
}

/* ---- the end of a client ---- */

ssize_t
recv(int fd, void *p, size_t n, int flags)
{
    ssize_t got = recvfrom(fd, p, n, flags, NULL, NULL);
    if (got != 0 || n == 0)
        return got;
    struct http_guard_conn *c = http_front_watched(fd);
    if (c == NULL || !http_guard_hold_end(c))
        return 0;
    errno = EAGAIN;
    return -1;
}

ssize_t
gnutls_record_recv(gnutls_session_t session, void *p, size_t n)
{
    ssize_t got = library_record_recv(session, p, n);
    if (got != 0 || n == 0)
        return got;
    struct http_guard_conn *c = http_front_watched(gnutls_transport_get_int(session));
    return c == NULL || !http_guard_hold_end(c) ? 0 : GNUTLS_E_AGAIN;
}

/* ---- a handshake that fails ---- */

int
gnutls_handshake(gnutls_session_t session)
{
    int rc = library_handshake(session);
    if (rc == 0 || gnutls_error_is_fatal(rc) == 0)
        return rc;
    struct http_guard_conn *c = http_front_watched(gnutls_transport_get_int(session));
    if (c == NULL)
        return rc;
    STAT_INC(tls_handshakes_failed_total);
    log_line(LOG_DEBUG, "tls_handshake_failed", "why=\"%s\"", gnutls_strerror(rc));
    if (rc != GNUTLS_E_UNEXPECTED_PACKET) /* no TLS at all */
        gnutls_alert_send_appropriate(session, rc);
    http_guard_linger(c);
    return rc;
}

/* ---- answers ---- */

enum MHD_Result
http_front_queue(struct MHD_Connection *mhd, int status, struct MHD_Response *response)
{
    return library_queue(mhd, (unsigned)status, response);
}

static const char *
reason_of(unsigned status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 431:
        return "Request Header Fields Too Large";
    default:
        return "Error";
    }
}

bool
http_front_tell(struct MHD_Connection *mhd, const struct http_guard_conn *c, const char *p,
                size_t n)
{
    const union MHD_ConnectionInfo *tls =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    ssize_t sent = tls != NULL && tls->tls_session != NULL
                       ? gnutls_record_send(tls->tls_session, p, n)
                       : send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent == (ssize_t)n;
}

/* By the library alone. No body: the request may be a HEAD, and the method may be unreadable. */
enum MHD_Result
MHD_queue_response(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response)
{
    const union MHD_ConnectionInfo *context =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_guard_conn *c = context == NULL ? NULL : context->socket_context;
    if (status == 500)
        status = 400; /* its buffer is full of one chunk's first line: we take all there is */
    char date[CLOCK_TEXT_MAX];
    char head[256];
    STAT_INC(http_refused_total);
    if (c == NULL)
        return MHD_NO;
    (void)response;
    clock_http(clock_wall_ms(), date);
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %u %s\r\nDate: %s\r\nServer: Darkroom\r\nConnection: close\r\n"
                     "Content-Length: 0\r\n\r\n",
                     status, reason_of(status), date);
    CHK(n > 0 && (size_t)n < sizeof head);
    /* A client that does not read what it was sent before gets a close alone. */
    if (http_front_tell(mhd, c, head, (size_t)n))
        http_guard_linger(c);
    return MHD_NO;
}
