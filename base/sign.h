/*
 * The client's half of Signature Version 4: used by the CLI and by tests. Any thread.
 */
#ifndef DARKROOM_BASE_SIGN_H
#define DARKROOM_BASE_SIGN_H

#include "base/buf.h"
#include "base/slice.h"

#define SIGN_HEADERS_MAX 160 /* an object's metadata is headers */

struct sign_header {
    const char *name; /* lower case */
    struct slice value;
};

struct sign_request {
    const char *method;
    struct slice raw_path;             /* percent-encoded as it will be sent */
    struct slice raw_query;            /* percent-encoded, without '?' */
    const struct sign_header *headers; /* all that are to be signed, "host" included; any order */
    size_t header_count;
    const char *payload_hash; /* hex SHA-256, or "UNSIGNED-PAYLOAD" */
    const char *region;
    const char *service;
    struct slice access_key_id;
    struct slice secret_access_key;
    int64_t now_ms;
};

/* Appends the value of the Authorization header. x-amz-date (clock_basic(now_ms)) and
 * x-amz-content-sha256 must be among `headers`. */
int sign_v4_header(const struct sign_request *req, struct buf *authorization);
/* Appends the whole presigned query string (without '?'); req->raw_query is kept in it. */
int sign_v4_query(const struct sign_request *req, int64_t expires_seconds, struct buf *query);

#endif
