/*
 * What base/auth.c and the two signature versions owe each other.
 */
#ifndef DARKROOM_BASE_AUTH_PRIV_H
#define DARKROOM_BASE_AUTH_PRIV_H

#include "base/auth.h"
#include "base/sigv4.h"

struct auth_context {
    struct http_request *r;
    struct auth *a;
    const struct auth_options *o;
    int err; /* ERR_NOMEM: the result does not count */
};

/* What a V4 request says about itself; slices of the request or its arena. */
struct sigv4_claim {
    struct slice access_key_id;
    struct slice scope; /* date/region/service/aws4_request */
    struct slice date, region, service;
    struct slice signed_headers;
    struct slice signature; /* SIGV4_HEX lower-case digits */
    char timestamp[SIGV4_TIMESTAMP + 1];
    int64_t time_ms;
    bool presigned;
    int64_t expires_s;
    struct slice payload_hash; /* n = 0: that of the body, yet to come */
    const struct account *account;
};

/* Each returns the verdict and fills c->a; c->err when memory ran out. */
enum auth_result sigv4_check_header(struct auth_context *c, struct slice authorization);
enum auth_result sigv4_check_query(struct auth_context *c);
enum auth_result sigv4_check_body(struct auth_context *c, struct slice body);
enum auth_result sigv2_check_header(struct auth_context *c, struct slice authorization);
enum auth_result sigv2_check_query(struct auth_context *c);
enum auth_result sigv4_check_form(struct auth_context *c, const struct auth_form *form);
enum auth_result sigv2_check_form(struct auth_context *c, const struct auth_form *form);

/* x-amz-content-sha256's word into a->payload (and a->payload_sha256); AUTH_OK or
 * AUTH_BAD_PAYLOAD_HASH. `may_chunk`: there is a signature that chunks can continue. */
enum auth_result auth_payload_word(struct auth *a, struct slice word, bool may_chunk);
/* Any form clock_parse() knows, as a header carries it. */
int auth_parse_date(struct slice text, int64_t *wall_ms);
/* A query parameter that must come once; p = NULL when absent or repeated. */
struct slice auth_single_param(const struct http_request *r, const char *name);
bool auth_within_skew(const struct auth_context *c, int64_t time_ms);

#endif
