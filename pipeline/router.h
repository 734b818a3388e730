/*
 * One port serves all: which service a request is for, and who sent it. What a router points to
 * outlives it; it does not change while the server runs, so any thread may read.
 */
#ifndef DARKROOM_PIPELINE_ROUTER_H
#define DARKROOM_PIPELINE_ROUTER_H

#include "base/auth.h"
#include "metadata/ddb_service.h"
#include "objectstore/s3_service.h"
#include "pipeline/admin_service.h"
#include "pipeline/event_stream.h"
#include "pipeline/image_service.h"

struct router {
    const struct conf *conf;
    const struct accounts *accounts;
    struct auth_limit *auth_limit; /* NULL: no limit */
    bool loopback;                 /* the listener */
    struct s3_service *s3;
    struct ddb_service *ddb;
    struct admin_service *admin;
    struct image_service *images;
    struct event_streams *events;
};

/* Authenticates (r->auth) and sets the service. HTTP thread. */
void router_route(const struct router *router, struct http_request *r);
/* For a service that looks at a signature again: now_ms is its own to set. */
struct auth_options router_auth(const struct router *router);

#endif
