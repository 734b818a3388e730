/*
 * A bucket's cross-origin rules: which page of another origin may use which method.
 *
 * The document: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html
 * How a request is judged: https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html ("uses
 * the first CORSRule rule that matches"); the headers are those of https://fetch.spec.whatwg.org/.
 */
#ifndef DARKROOM_OBJECTSTORE_CORS_H
#define DARKROOM_OBJECTSTORE_CORS_H

#include "base/buf.h"
#include "base/slice.h"

#define CORS_RULES_MAX 100
#define CORS_ID_MAX 255
#define CORS_MAX_AGE_MAX 2147483647

struct cors;

/* ERR_INVALID: not a document of that kind (S3: MalformedXML), or, with one sentence in `why`, one
 * that asks for what there is not (S3: InvalidRequest). ERR_NOMEM. */
int cors_parse(struct slice xml, struct cors **out, struct buf *why);
void cors_free(struct cors **c);
/* The document again, with nothing in it but what was understood. */
void cors_write(const struct cors *c, struct buf *out);

struct cors_request {
    struct slice origin;
    struct slice method;
    struct slice headers; /* a comma-separated list of names; n = 0: none are asked for */
};

struct cors_answer {      /* lent by the struct cors */
    bool any_origin;      /* allowed by "*" alone */
    struct slice methods; /* "GET, PUT" */
    struct slice exposed; /* "ETag, x-amz-id-2"; n = 0: none */
    int64_t max_age_s;    /* -1: nothing is said */
};

/* What the first matching rule says; false: none matches. Any thread: a struct cors is immutable.
 * Origins compare byte by byte, header names without case; "*" stands for any run of bytes, none
 * too. */
bool cors_match(const struct cors *c, const struct cors_request *rq, struct cors_answer *out);

#endif
