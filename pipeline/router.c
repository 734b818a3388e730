#include "pipeline/router.h"
#include "base/clock.h"
#include "base/err.h"

/* The setting auth.sigv2. */
static bool
sigv2_allowed(const struct router *router, const struct http_request *r)
{
    const char *mode = conf_str(router->conf, CONF_AUTH_SIGV2);
    if (strcmp(mode, "loopback") != 0)
        return strcmp(mode, "on") == 0;
    /* A proxy on this machine would make the whole world look local. */
    return router->loopback && http_field(r, "Forwarded").p == NULL &&
           http_field(r, "X-Forwarded-For").p == NULL;
}

struct auth_options
router_auth(const struct router *router)
{
    return (struct auth_options){.accounts = router->accounts,
                                 .domain = conf_str(router->conf, CONF_DOMAIN),
                                 .limit = router->auth_limit};
}

static void
to(struct http_request *r, const struct http_service *service, void *arg)
{
    r->service = service;
    r->service_arg = arg;
}

/* The signature's scope says which protocol, else X-Amz-Target, else the path. */
void
router_route(const struct router *router, struct http_request *r)
{
    struct auth_options options = router_auth(router);
    options.v2_allowed = sigv2_allowed(router, r);
    options.now_ms = clock_wall_ms();
    if (auth_check(r, &options) != ERR_NONE) {
        http_reply(r, 503, SLICE_NONE);
        return;
    }
    struct slice scope = r->auth->service;
    bool ours = slice_starts(r->path, SLICE_LIT("/_/")) && !s3_host_is_bucket(router->s3, r->host);
    if (slice_eqs(scope, "dynamodb") ||
        (scope.n == 0 && http_field(r, "X-Amz-Target").p != NULL && !ours))
        to(r, &ddb_http_service, router->ddb);
    else if (!ours)
        to(r, &s3_http_service, router->s3);
    else if (slice_starts(r->path, SLICE_LIT(IMAGE_URL_PATH)))
        to(r, &image_http_service, router->images);
    else if (slice_eqs(r->path, EVENT_STREAM_PATH))
        to(r, &event_stream_http_service, router->events);
    else
        to(r, &admin_http_service, router->admin);
}
