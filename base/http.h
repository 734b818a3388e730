/*
 * HTTP/1.1 requests and responses as the services see them. libmicrohttpd stays behind
 * base/http_mhd.c, with the strictness it lacks (RFC 9112 sections 2.2, 3.2, 5, 6.1, 6.3).
 *
 * The life of a request:
 *
 *   headers --> router(): picks a struct http_service
 *                 |
 *                 v
 *              begin() -- may reply at once (before 100 Continue; the body is then refused)
 *                 |
 *              body()*  -- each piece of the body as it arrives (or http_collect()ed)
 *                 |
 *              end()    -- the whole body is here; reply now, or http_suspend() and reply later
 *                 |                                from any thread with http_resume()
 *              resumed()* -- after http_resume() without a reply: reply, or suspend again
 *                 v
 *              gone()   -- always last, exactly once: release r->ctx
 *
 * Threads: router, begin, body, end, resumed and gone run on the connection's own HTTP thread.
 * Between http_suspend() and http_resume() the request belongs to whoever will resume it; after
 * http_resume() that thread must not touch it again. gone() never comes while suspended.
 * An HTTP thread never waits for the disk's sync, the writer or a worker: it suspends.
 */
#ifndef DARKROOM_BASE_HTTP_H
#define DARKROOM_BASE_HTTP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#include <sys/socket.h>

#define HTTP_HEADERS_MAX 100
#define HTTP_HEADER_BYTES_MAX (16u << 10)  /* request line and fields together */
#define HTTP_QUERY_MAX 64                  /* query parameters */
#define HTTP_REQUEST_MEMORY_MAX (1u << 20) /* the arena; collected bodies are counted apart */
#define HTTP_DRAIN_MAX (1u << 20)          /* body bytes read and dropped before an early reply */
#define HTTP_INLINE_REPLY_MAX (64u << 10)  /* replies up to here go out in one send */

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_PUT,
    HTTP_POST,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER
};

struct http_field {
    struct slice name; /* as sent; compare without case */
    struct slice value;
};

struct http_param {
    struct slice name;  /* decoded */
    struct slice value; /* decoded; n = 0 both for "?acl" and "?acl=" */
};

struct http_service;
struct http_conn; /* the adapter's */

struct http_request {
    uint32_t magic;
    struct arena *arena; /* everything below lives here, as may the service's own memory */
    char id[20];         /* request id, upper-case hex; in the log and in every error body */
    enum http_method method;
    struct slice method_name;
    struct slice raw_target; /* as sent, for signatures */
    struct slice raw_path;   /* as sent, without query */
    struct slice raw_query;  /* as sent, without '?'; p = NULL when there is no '?' */
    struct slice path;       /* raw_path decoded once; '+' stays '+'; may hold any byte */
    struct http_param *params;
    size_t param_count;
    struct http_field *fields; /* a service may put others in their place, and from body() on */
    size_t field_count;        /* change content_length and chunked as well */
    struct slice host;         /* of the Host header, without port */
    struct sockaddr_storage peer;
    bool peer_is_loopback;
    bool secure;            /* came by TLS to us; what a proxy says of itself does not count */
    int64_t content_length; /* -1: chunked or none */
    bool chunked;
    bool has_body;      /* content_length > 0 or chunked */
    int64_t started_us; /* clock_mono_us() at the request line */

    uint64_t seen; /* how far it has read, for enter() and leave() of struct http_options */

    struct slice body; /* in end(), after http_collect() */
    struct auth *auth; /* base/auth.h; set by the router */

    const struct http_service *service;
    void *service_arg;
    const char *operation;  /* set by the service, for statistics: a word of the program, or NULL */
    void *ctx;              /* the service's own */
    struct http_conn *conn; /* the adapter's own */
};

struct http_service {
    const char *name; /* for the log and metrics */
    void (*begin)(struct http_request *r);
    void (*body)(struct http_request *r, const void *p, size_t n); /* NULL: collects only */
    void (*end)(struct http_request *r);
    void (*gone)(struct http_request *r); /* may be NULL */
    /* After each http_resume() without a reply: goes on where it was suspended. In end(), it
     * replies or suspends again; in begin(), it may also do neither, and the body is taken. NULL:
     * whoever resumes end() must have replied. */
    void (*resumed)(struct http_request *r);
};

/* Sets r->service and r->service_arg; may also reply at once. */
typedef void (*http_router_fn)(void *arg, struct http_request *r);

/* ---- reading a request ---- */

/* First field of that name (case ignored); p = NULL when absent. */
struct slice http_field(const struct http_request *r, const char *name);
/* First query parameter of that name (case kept); p = NULL when absent. */
struct slice http_param(const struct http_request *r, const char *name);
bool http_has_param(const struct http_request *r, const char *name);

/* In begin(): keep the body instead of handing it to body(). One that is longer (ERR_TOOBIG), or
 * that finds no room in memory now (ERR_BUSY, ERR_NOMEM), is answered by `refuse(r, err)`, or with
 * 413 and 503 when NULL. */
void http_collect(struct http_request *r, size_t max_bytes,
                  void (*refuse)(struct http_request *r, int err));

/* Counts `n` bytes of a body that a service keeps in memory by itself until the request is gone;
 * http_collect() does so too. ERR_BUSY above bodies_memory_max of all requests. HTTP thread. */
int http_body_reserve(struct http_request *r, size_t n);
/* Gives all of it back before the request is gone: the service, having refused, keeps no more. */
void http_body_release(struct http_request *r);
/* Would they find room now? For refusing a body before it is sent. */
bool http_body_room(const struct http_request *r, size_t n);

/* Percent-decodes once into the arena; '+' becomes a space only with `plus_is_space`.
 * p = NULL: malformed escape or out of memory. */
struct slice http_unescape(struct arena *a, struct slice s, bool plus_is_space);
/* Percent-encodes all but unreserved characters (and '/' when `keep_slash`); RFC 3986. */
void http_escape(struct buf *out, struct slice s, bool keep_slash);

/* ---- answering: exactly one reply per request; headers first, then one http_reply_*() ---- */

/* Adds a response header; copied. A name or value with control bytes is dropped and logged. */
void http_header(struct http_request *r, const char *name, struct slice value);
void http_headerf(struct http_request *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Body copied. HEAD sends only its length. A 503 says Retry-After: 1 unless it was told a time. */
void http_reply(struct http_request *r, int status, struct slice body);
/* Body borrowed until `free_fn(free_arg)` is called (any thread, exactly once). */
void http_reply_borrowed(struct http_request *r, int status, struct slice body,
                         void (*free_fn)(void *), void *free_arg);
/* Takes the descriptor; sends `bytes` from `offset` with sendfile. */
void http_reply_fd(struct http_request *r, int status, int fd, int64_t offset, int64_t bytes);
/* Pulls the body: `read_fn` fills at most `n` bytes at `offset`, returns how many (> 0), or a
 * negative error, which cuts the connection. bytes < 0: unknown length (chunked); then it may
 * return HTTP_READ_END, and HTTP_READ_LATER to be asked again after http_stream_wake(). */
#define HTTP_READ_LATER 0
#define HTTP_READ_END (-100000)
typedef ptrdiff_t (*http_read_fn)(void *arg, int64_t offset, char *p, size_t n);
void http_reply_stream(struct http_request *r, int status, int64_t bytes, http_read_fn read_fn,
                       void (*free_fn)(void *), void *arg);
/* Any thread, between http_reply_stream() and gone(), which the caller must keep apart by a lock of
 * its own: there is more to read (or there will never be: read_fn says so). Waking one that does
 * not wait makes the next HTTP_READ_LATER be asked again at once. */
void http_stream_wake(struct http_request *r);
/* Likewise: cuts the connection of one whose client does not read what it was sent. */
void http_stream_sever(struct http_request *r);
/* No body, but Content-Length: `bytes` (the answer to HEAD); -1 for none (204, 304). */
void http_reply_empty(struct http_request *r, int status, int64_t bytes);
/* Closes the connection without an answer (a body that broke off after bytes were sent...). */
void http_cut(struct http_request *r);
bool http_replied(const struct http_request *r);

/* In begin(), end() or resumed(): the reply will come later. Call before handing the request on. */
void http_suspend(struct http_request *r);
/* Any thread, once per http_suspend(): after the reply was set, or to have resumed() go on. */
void http_resume(struct http_request *r);

/* ---- the server ---- */

struct http_server;
struct http_tls; /* base/http_tls.h */

struct http_options {
    const char *host;     /* "127.0.0.1", "0.0.0.0", "::1"... */
    int port;             /* 0: the kernel chooses */
    int threads;          /* 0: one per core */
    int passed_fd;        /* 0: none; a listening socket, taken in any case, instead of the two */
    struct http_tls *tls; /* NULL: plain HTTP; borrowed until http_stop() */
    int connections_max;
    int connections_per_address_max;
    int header_deadline_ms; /* absolute, from accept (TLS handshake included) or the last reply */
    int idle_timeout_ms;    /* keep-alive and stalled bodies */
    int64_t body_rate_min;  /* bytes per second, in each window of rate_window_ms */
    int64_t reply_rate_min; /* likewise, while the client has not taken what was sent */
    int rate_window_ms;
    int64_t bodies_memory_max; /* bytes of request bodies kept in memory; 0 = 256 MiB */
    http_router_fn router;
    void *router_arg;
    void (*thread_end)(void *arg); /* NULL, or called by each HTTP thread when it ends */
    /* Both NULL, or called around each step of a request, on its HTTP thread, which serves others
     * between the steps: what the owner counts per thread is kept in r->seen meanwhile. leave()
     * also comes just before a suspended request is lent, instead of behind that step. */
    void (*enter)(void *arg, const struct http_request *r);
    void (*leave)(void *arg, struct http_request *r);
    /* NULL, or called before a reply that begin(), end() or resumed() set by itself goes out,
     * without http_suspend(). It may suspend the request, reply and all, until the reply may go. */
    void (*before_reply)(void *arg, struct http_request *r);
};

int http_start(struct http_server **out, const struct http_options *options);
/* The bound address: "127.0.0.1:9000". */
const char *http_address(const struct http_server *s);
bool http_is_loopback(const struct http_server *s);
bool http_addr_is_loopback(const struct sockaddr *addr);
/* No new connections; requests under way go on. */
void http_quiesce(struct http_server *s);
/* Requests between begin() and gone(). */
int http_active(struct http_server *s);
/* Every suspended request must have been resumed before, and every stream that waits been woken,
 * with a read_fn that never says HTTP_READ_LATER again. Closes all connections. */
void http_stop(struct http_server **s);

#endif
