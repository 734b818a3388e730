/*
 * What the handlers of multipart uploads share among themselves.
 */
#ifndef DARKROOM_OBJECTSTORE_S3_MULTIPART_H
#define DARKROOM_OBJECTSTORE_S3_MULTIPART_H

#include "objectstore/s3_priv.h"

/* ---- s3_multipart.c ---- */

/* ERR_NOTFOUND is NoSuchUpload. */
void s3_fail_upload(struct s3_request *q, int err);
/* The upload that ?uploadId names, in the request's arena; NULL: answered. HTTP thread. */
const struct store_upload *s3_upload_find(struct s3_request *q);

/* ---- s3_sums.c: x-amz-checksum-* headers that are not about a body ---- */

/* CreateMultipartUpload's algorithm and type; false: answered. */
bool s3_sum_asked(struct s3_request *q, enum checksum *checksum, bool *composite);
/* CompleteMultipartUpload's checksum of the object, its type, and x-amz-mp-object-size; false:
 * answered. */
bool s3_sum_completion(struct s3_request *q, struct store_completion *c);
/* BadDigest of a whole object. */
void s3_fail_sum(struct s3_request *q, enum checksum checksum);

#endif
