/*
 * What base/http*.c share with each other and with nobody else: the checks a request head passes
 * before any service sees it. None of it knows libmicrohttpd.
 */
#ifndef DARKROOM_BASE_HTTP_PRIV_H
#define DARKROOM_BASE_HTTP_PRIV_H

#include "base/http.h"

/* A request head where the library left it: pointers into one receive buffer, in which it has
 * written NULs over the two spaces of the request line, each colon, and each line end. */
struct http_head {
    const char *method;
    struct slice target;   /* our copy */
    const char *target_at; /* where it lies in the buffer */
    const char *version;
    size_t bytes;              /* request line to empty line, both with their ends */
    bool in_place;             /* the library is known to work as said above */
    struct http_field *fields; /* as the library cut them: values not trimmed */
    size_t field_count;
    size_t fields_seen; /* may be more than field_count */
};

struct http_verdict {
    int status;         /* 0: the request is sound */
    const char *reason; /* for the log and the refused client; static */
};

/* Judges the head and fills in all that `r` owes to it: method, target, path, parameters, fields,
 * host, framing. `expects_continue` tells whether the client waits for "100 Continue". */
struct http_verdict http_strict(const struct http_head *head, struct http_request *r,
                                bool *expects_continue);

/* Splits r->raw_query into r->params. ERR_INVALID: malformed escape, or more than HTTP_QUERY_MAX;
 * ERR_NOMEM. */
int http_parse_query(struct http_request *r);

/* Loopback addresses of both families, IPv4 mapped into IPv6 included. */

#endif
