/*
 * In front of libmicrohttpd: two functions that the library calls by name and finds here first. The
 * dynamic linker binds a name to the program before any library, so the definitions below stand
 * where the C library's recv() and the library's own MHD_queue_response() would. They are not in
 * libbase.a, or whoever takes another part of it and calls recv() would get this one.
 *
 * recv(). A client may end its sending side right behind its request (RFC 9112 section 9.6 lets it
 * wait for the answer so). The library takes that end for the end of the connection, also while we
 * are still at work on the request, and the answer is lost though the object is stored. So the end
 * is not told as long as a whole request is being answered (GUARD_BUSY): the library hears that
 * nothing is there yet. It listens to edges only and the socket has had its last one; when the
 * request is over http_guard_enter() makes another, and then the end is the end.
 *
 * MHD_queue_response(). What the library refuses by itself - a Content-Length that is no number, a
 * malformed chunk, a head that does not fit - it answers through its public function, and often
 * with the head sent twice. The call that arrives here is always one of those, for our own replies
 * go to the real function. All earlier replies of the connection have left by then, so one complete
 * answer is written to the socket, and the library told that it cannot answer: it closes.
 *
 * Threads: recv() and MHD_queue_response() run on the connection's own HTTP thread. An entry of
 * `watched` is set before that thread first reads the socket and cleared before the descriptor is
 * closed, so a descriptor used again never finds a stale one.
 */
#undef _FORTIFY_SOURCE /* its inline recv() would be another definition */
#include "base/chk.h"
#include "base/clock.h"
#include "base/http_mhd_priv.h"
#include "base/stat.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>

#define WATCHED_MAX (1 << 20) /* descriptors; above it the end of a client may come early */

typedef enum MHD_Result (*queue_fn)(struct MHD_Connection *, unsigned, struct MHD_Response *);

static struct http_guard_conn *_Atomic watched[WATCHED_MAX];
static queue_fn library_queue;

void
http_front_init(void)
{
    void *found = dlsym(RTLD_NEXT, "MHD_queue_response");
    CHK(found != NULL);
    memcpy(&library_queue, &found, sizeof library_queue);
}

void
http_front_watch(int fd, struct http_guard_conn *c)
{
    if (fd < WATCHED_MAX)
        atomic_store_explicit(&watched[fd], c, memory_order_release);
}

ssize_t
recv(int fd, void *p, size_t n, int flags)
{
    ssize_t got = recvfrom(fd, p, n, flags, NULL, NULL);
    if (got != 0 || n == 0 || fd < 0 || fd >= WATCHED_MAX)
        return got;
    struct http_guard_conn *c = atomic_load_explicit(&watched[fd], memory_order_acquire);
    if (c == NULL || !http_guard_hold_end(c))
        return 0;
    errno = EAGAIN;
    return -1;
}

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
    if (MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION) != NULL)
        return library_queue(mhd, status, response); /* only the library can write there */
    clock_http(clock_wall_ms(), date);
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %u %s\r\nDate: %s\r\nServer: Darkroom\r\nConnection: close\r\n"
                     "Content-Length: 0\r\n\r\n",
                     status, reason_of(status), date);
    CHK(n > 0 && (size_t)n < sizeof head);
    /* A client that does not read what it was sent before gets a close instead. */
    if (send(c->fd, head, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n)
        http_guard_linger(c);
    return MHD_NO;
}
