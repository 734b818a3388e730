/*
 * Thumbnails for browsers: GET and HEAD /_/img/{bucket}/{key}
 *
 *   ?preset=NAME     the stored one, for who may GetObject the derived object, or has a signed URL
 *   ?w=&h=&fit=&fm=&q=&dpr=&focus=&exp=&sig=
 *                    a free size, made on the fly and then stored. The signature alone decides
 *                    (image_url.h); without a good one: 403, and nothing is looked up or decoded
 *   &fm=auto         the best of what there is that Accept allows; Vary: Accept
 *   &fm=FORMAT       of a preset: this one of its stored formats
 *   &v=ANY           immutable, unless it is of an older version of the source
 *   &wait=MS         join the running job, 30 s at most; starts nothing
 *   &placeholder=1   while pending: the ThumbHash as a small PNG, no-store
 *
 * Answers: 200 (304, 206 ... as S3's GET of the derived object, whose headers they are); 202 and
 * Retry-After while pending; 403; 404 for what is not there, was skipped or has failed (with
 * x-darkroom-state); 406; 503 and Retry-After when too much waits. Errors are {"error", "message"}.
 *
 *   begin --> parse --> permit --> look --+--> serve
 *               |          |        ^     +--> 202, placeholder, 404, 406, 503
 *               v          v        |     +--> wait or demand: suspended
 *              400        403       +--------------- resumed ---+
 */
#ifndef DARKROOM_PIPELINE_IMAGE_SERVICE_H
#define DARKROOM_PIPELINE_IMAGE_SERVICE_H

#include "base/conf.h"
#include "base/http.h"
#include "objectstore/s3_service.h"
#include "pipeline/demand.h"
#include "pipeline/image_url.h"
#include "pipeline/notifier.h"

struct image_options {
    struct db *db;
    struct store *store;
    struct registry *registry;
    struct s3_service *s3;
    struct demand_desk *desk;
    struct notifier *notifier;
    const struct image_url_keys *keys;
};

struct image_service;

struct image_service *image_service_new(const struct image_options *options);
void image_service_free(struct image_service **s);

/* The router sets r->service to this and r->service_arg to the struct image_service. */
extern const struct http_service image_http_service;

#endif
