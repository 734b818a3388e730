/*
 * Who is connected, how many from each address, and how long each connection has been at what it
 * does. One timer thread cuts (shutdown(2)) a connection whose header is overdue, whose body comes
 * too slowly or whose client does not read its answer; the thread that serves it then sees its end
 * like any other. Knows sockets, not HTTP.
 *
 * No address may hold more connections than are still free for all others, so the last places never
 * go to those who have most: with n greedy addresses each gets 1/(n + 1) of them.
 */
#ifndef DARKROOM_BASE_HTTP_GUARD_H
#define DARKROOM_BASE_HTTP_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct http_guard;
struct http_guard_address;
struct http_tls_pair;

enum http_guard_phase {
    GUARD_HEADER, /* absolute deadline since the phase began */
    GUARD_BODY,   /* least rate, judged over each window of rate_window_ms */
    GUARD_BUSY,   /* ours to do something; never cut */
    GUARD_SEND,   /* an answer: least rate likewise, while sent bytes wait for the client */
    GUARD_IDLE,   /* between two requests; becomes HEADER when a byte arrives */
    GUARD_CUT
};

struct http_guard_conn {
    struct http_guard_conn *next;
    struct http_guard_conn *previous;
    struct http_guard_address *address;
    int fd;
    struct sockaddr_storage peer;
    bool peer_is_loopback;
    bool linger;
    bool ended;                /* the client will send no more; serving thread */
    struct http_tls_pair *tls; /* NULL: plain; the adapter's, set and given back by it */
    _Atomic int phase;         /* enum http_guard_phase; serving thread and timer thread */
    _Atomic int64_t since_ms;  /* the phase's begin, or the window's */
    _Atomic int64_t bytes;     /* BODY: received in this window; SEND: see http_guard.c */
};

struct http_guard_options {
    int connections_max;
    int connections_per_address_max;
    int header_deadline_ms;
    int64_t body_rate_min;  /* bytes per second */
    int64_t reply_rate_min; /* likewise */
    int rate_window_ms;
};

int http_guard_start(struct http_guard **out, const struct http_guard_options *options);
/* Every connection must have been closed. */
void http_guard_stop(struct http_guard **g);

/* Is there room for one more from this address? Any thread. */
bool http_guard_admits(struct http_guard *g, const struct sockaddr *peer);
/* Takes a new connection in, at GUARD_HEADER. Above a limit it is cut at once (two threads may
 * have been admitted to the last place). NULL: out of memory. */
struct http_guard_conn *http_guard_opened(struct http_guard *g, int fd,
                                          const struct sockaddr *peer);
/* When `c` is closed, what its client is still sending is read and dropped for a short while: a
 * socket closed with bytes unread resets the connection, and the client may lose our answer. */
void http_guard_linger(struct http_guard_conn *c);
/* Before the descriptor is closed; frees `c`. */
void http_guard_closed(struct http_guard *g, struct http_guard_conn *c);

/* The client has ended its sending side. True when that must not be told yet, because its last
 * request is being answered: the socket is then readable once more when that is over. */
bool http_guard_hold_end(struct http_guard_conn *c);

/* By the thread that serves the connection. A cut connection stays cut. */
void http_guard_enter(struct http_guard_conn *c, enum http_guard_phase phase);
void http_guard_body(struct http_guard_conn *c, int64_t bytes);

#endif
