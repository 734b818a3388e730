/*
 * A client for one HTTP endpoint that takes SigV4: libcurl with our own signer. For the CLI; one
 * thread.
 */
#ifndef DARKROOM_OBJECTSTORE_REMOTE_HTTP_H
#define DARKROOM_OBJECTSTORE_REMOTE_HTTP_H

#include "base/buf.h"
#include "base/slice.h"

#define REMOTE_REPLY_MAX (64u << 20) /* bytes of an answer that is kept in memory */
#define REMOTE_CONNECT_MS_MAX 5000
#define REMOTE_STALL_S_MAX 60 /* no byte for so long: give up */

struct remote_http;

struct remote_options {
    const char *endpoint; /* "http://127.0.0.1:9000" */
    const char *ca_file;  /* https: trust these CAs (PEM) instead of the system's; NULL */
    const char *region;
    struct slice access_key_id; /* copied; n = 0: unsigned requests */
    struct slice secret_access_key;
};

/* ERR_INVALID: no http(s)://HOST[:PORT]. */
int remote_http_open(struct remote_http **out, const struct remote_options *options,
                     struct buf *why);
void remote_http_close(struct remote_http **h);

typedef int (*remote_sink_fn)(void *arg, const void *p, size_t n); /* an error stops the transfer */

struct remote_request {
    const char *method;
    struct slice path;        /* not encoded; begins with '/' */
    struct slice query;       /* encoded, without '?' */
    const char *content_type; /* NULL: none */
    struct slice body;
    int body_fd; /* >= 0: the body is this file, body_bytes from its start */
    int64_t body_bytes;
    remote_sink_fn sink; /* takes the body of a 2xx answer; NULL: it is kept */
    void *sink_arg;
};

struct remote_response {
    int status;
    struct buf body; /* of errors, and of all without a sink; remote_response_fini() */
};

/* ERR_CLOSED: the server cannot be reached or went away (`why` says what happened). An HTTP error
 * status is no error here. */
int remote_http_send(struct remote_http *h, const struct remote_request *request,
                     struct remote_response *response, struct buf *why);
void remote_response_fini(struct remote_response *response);

/* Appends "name=value" with '&' between, percent-encoded. */
void remote_query_add(struct buf *query, const char *name, struct slice value);

#endif
