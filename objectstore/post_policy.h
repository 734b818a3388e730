/*
 * The signed policy document of a form upload: until when, and what the form's fields may say.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
 */
#ifndef DARKROOM_OBJECTSTORE_POST_POLICY_H
#define DARKROOM_OBJECTSTORE_POST_POLICY_H

#include "base/http.h"

#define POST_POLICY_CONDITIONS_MAX 200

struct post_policy_form {
    const struct http_field *fields; /* variables expanded */
    size_t field_count;
    struct slice bucket; /* the one the request is for; stands for a field "bucket" */
    int64_t now_ms;
};

/* What content-length-range allows of the file, bounds included. */
struct post_policy_range {
    int64_t min;
    int64_t max; /* INT64_MAX: not said */
};

/* Judges the form. ERR_INVALID: the document itself (S3: InvalidPolicyDocument); ERR_DENIED: what
 * it demands of the form (S3: AccessDenied); `why` has S3's sentence for both. ERR_NOMEM. */
int post_policy_check(struct slice base64, const struct post_policy_form *form,
                      struct post_policy_range *range, struct buf *why);

#endif
