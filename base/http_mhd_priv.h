/*
 * The adapter's own structs, shared by base/http_mhd.c (server, life of a request) and
 * base/http_mhd_reply.c (replies). Nobody else sees libmicrohttpd.
 */
#ifndef DARKROOM_BASE_HTTP_MHD_PRIV_H
#define DARKROOM_BASE_HTTP_MHD_PRIV_H

#include "base/http_guard.h"
#include "base/http_priv.h"

#include <microhttpd.h>
#include <pthread.h>

#define HTTP_CONN_MAGIC 0xc0117ec7u
#define HTTP_REPLY_HEADERS_MAX 160 /* user metadata may come as many small fields */

/* See the drawing in base/http_mhd.c. */
enum http_state { HTTP_HEAD_READ, HTTP_BEGUN, HTTP_BODY, HTTP_DRAIN, HTTP_END, HTTP_SENT };

/* Of a stream: may only be asked by the library while it RUNS. */
enum http_stream_state {
    HTTP_STREAM_RUNS,  /* the library asks when the socket has room */
    HTTP_STREAM_WOKEN, /* the same, and the next HTTP_READ_LATER does not count */
    HTTP_STREAM_WAITS  /* suspended until http_stream_wake() */
};

struct http_reply_header {
    struct http_reply_header *next;
    const char *name;
    const char *value;
};

/* One request, in its own arena. */
struct http_conn {
    uint32_t magic;
    enum http_state state;
    struct http_server *server;
    struct MHD_Connection *mhd;
    struct http_guard_conn *guard;
    struct http_request request;

    struct slice target;   /* copy */
    const char *target_at; /* in the library's buffer */
    bool expects_continue; /* also of a body of no bytes */
    bool active;           /* begin() was called: gone() is due */
    bool suspended;        /* only the HTTP thread reads or writes it */
    bool holding;          /* before_reply() was called */
    atomic_bool lent;      /* between http_suspend() and http_resume() */

    /* http_collect() */
    int64_t body_reserved;
    bool collecting;
    struct buf collected;
    void (*refuse)(struct http_request *r, int err);
    int64_t drained;

    /* The reply: set by the HTTP thread, or by the holder while suspended. */
    bool replied;
    bool cut;
    bool header_lost; /* memory ran out for a header: the reply would be incomplete */
    bool close;       /* say Connection: close */
    int status;
    struct MHD_Response *response;
    struct http_reply_header *headers;
    struct http_reply_header **headers_tail;
    size_t header_count;
    http_read_fn read_fn;
    bool length_known;
    _Atomic int stream_state; /* enum http_stream_state; HTTP thread and wakers */
    void (*free_fn)(void *);
    void *free_arg;
};

struct http_server {
    uint32_t magic;
    http_router_fn router;
    void *router_arg;
    void (*thread_end)(void *);
    void (*enter)(void *, const struct http_request *);
    void (*leave)(void *, struct http_request *);
    void (*before_reply)(void *, struct http_request *);
    struct MHD_Daemon *daemon;
    struct http_guard *guard;
    struct http_tls *tls; /* NULL: plain HTTP; borrowed */
    int listen_fd;
    int stop_fd; /* readable: no more connections */
    pthread_t acceptor;
    bool accepting; /* the thread runs */
    bool loopback;
    bool in_place; /* struct http_head.in_place */
    bool key_made;
    pthread_key_t thread_key;
    int64_t bodies_memory_max;
    _Atomic int64_t bodies_memory; /* http_body_reserve() */
    atomic_int active;
    atomic_int lent;     /* suspended requests and streams */
    atomic_int resuming; /* threads about to touch `lent` or the library because of one */
    atomic_bool quiesced;
    char address[80];
};

/* What the library is made to call first; see base/http_mhd_front.c. Before the library starts. */
void http_front_init(void);
/* Whose socket `fd` is; NULL before it is closed. */
void http_front_watch(int fd, struct http_guard_conn *c);
/* By the thread that serves it; NULL when nobody's, or too high a number. */
struct http_guard_conn *http_front_watched(int fd);
/* The library's own MHD_queue_response(). */
enum MHD_Result http_front_queue(struct MHD_Connection *mhd, int status,
                                 struct MHD_Response *response);
/* Writes to the connection past the library, which must have nothing left to send. False: not all
 * of it could be sent at once. */
bool http_front_tell(struct MHD_Connection *mhd, const struct http_guard_conn *c, const char *p,
                     size_t n);

/* Hands the reply to the library. MHD_NO: cut the connection. */
enum MHD_Result http_reply_queue(struct http_conn *c);
/* Gives back what the reply borrowed, at the latest moment at which it may still be read. */
void http_reply_release(struct http_conn *c);
/* One line of plain text; `close` ends the connection after it. */
void http_reply_text(struct http_request *r, int status, const char *text, bool close);

#endif
