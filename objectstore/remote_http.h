/*
 * A client for one HTTP endpoint that takes SigV4: libcurl with our own signer. For the CLI; one
 * thread.
 */
#ifndef DARKROOM_OBJECTSTORE_REMOTE_HTTP_H
#define DARKROOM_OBJECTSTORE_REMOTE_HTTP_H

#include "base/buf.h"
#include "base/sign.h"
#include "base/slice.h"

#include <stdatomic.h>

#define REMOTE_REPLY_MAX (64u << 20) /* bytes of an answer that is kept in memory */
#define REMOTE_HEAD_MAX (64u << 10)  /* of an answer's header */
#define REMOTE_CONNECT_MS_MAX 5000
#define REMOTE_STALL_S_MAX 60 /* no byte for so long: give up, unless stall_s says otherwise */

struct remote_http;

struct remote_options {
    const char *endpoint; /* "http://127.0.0.1:9000" */
    const char *ca_file;  /* https: trust these CAs (PEM) instead of the system's; NULL */
    const char *region;
    int64_t timeout_ms;         /* of a whole request; 0: none but that for stalls */
    struct slice access_key_id; /* copied; n = 0: unsigned requests */
    struct slice secret_access_key;
    int stall_s;               /* 0: REMOTE_STALL_S_MAX */
    const atomic_bool *cancel; /* NULL, or set by another thread: what is under way ends soon */
};

/* ERR_INVALID: no http(s)://HOST[:PORT]. */
int remote_http_open(struct remote_http **out, const struct remote_options *options,
                     struct buf *why);
void remote_http_close(struct remote_http **h);

typedef int (*remote_sink_fn)(void *arg, const void *p, size_t n); /* an error stops the transfer */

struct remote_request {
    const char *method;
    struct slice path;                 /* not encoded; begins with '/' */
    struct slice query;                /* encoded, without '?' */
    const char *content_type;          /* NULL: none */
    const struct sign_header *headers; /* others; all are sent and signed. ERR_INVALID when a */
    size_t header_count;               /* name is no token or a value has a control byte */
    struct slice body;
    int body_fd; /* >= 0: the body is body_bytes of this file, from body_offset */
    int64_t body_offset;
    int64_t body_bytes;
    const char *body_sha256; /* hex; NULL: the body is read once more to know it */
    size_t reply_max;        /* 0: REMOTE_REPLY_MAX */
    remote_sink_fn sink;     /* takes the body of a 2xx answer; NULL: it is kept */
    void *sink_arg;
};

struct remote_response {
    int status;
    struct buf head; /* "name: value" lines, each ended by CRLF */
    struct buf body; /* of errors, and of all without a sink; remote_response_fini() */
};

/* ERR_CLOSED: the server cannot be reached or went away; ERR_SHORT: it sent fewer bytes than it
 * announced; ERR_TIMEOUT: it sent none for too long; ERR_CANCELED (`why` says what happened).
 * ERR_TOOBIG: its answer is over a ceiling. An HTTP error status is no error here. */
int remote_http_send(struct remote_http *h, const struct remote_request *request,
                     struct remote_response *response, struct buf *why);
void remote_response_fini(struct remote_response *response);
/* The value of the first header of that name (case ignored); p = NULL when absent. */
struct slice remote_header(const struct remote_response *response, const char *name);

/* Appends "name=value" with '&' between, percent-encoded. */
void remote_query_add(struct buf *query, const char *name, struct slice value);

#endif
