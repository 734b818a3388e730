/*
 * Permission on the S3 face: asks objectstore/access.h in the name of one request. Part of
 * s3_priv.h. HTTP thread.
 */
#ifndef DARKROOM_OBJECTSTORE_S3_ACCESS_H
#define DARKROOM_OBJECTSTORE_S3_ACCESS_H

#include "objectstore/acl.h"
#include "objectstore/store.h"

struct s3_request;

/* ---- s3_access.c ---- */

/* The bucket, x-amz-expected-bucket-owner, the object of rows with S3_OF_OBJECT, and whether the
 * operation is allowed; false: answered. */
bool s3_permitted(struct s3_request *q);
/* May the caller do this? Without key (p = NULL) it is about the bucket itself. `object`: the
 * version it is about, when there is one and the action is about objects that exist. */
bool s3_may(struct s3_request *q, const struct store_bucket *bucket, const char *action,
            struct slice key);
bool s3_may_object(struct s3_request *q, const struct store_bucket *bucket, const char *action,
                   struct slice key, const struct store_object *object);
/* The action's own name when one version was asked for: "s3:GetObjectVersion". */
const char *s3_version_action(const char *action);
/* The version the request is about, a reference: the one permission was judged by (S3_OF_OBJECT);
 * without one, and from the second call on, looked up and judged. ERR_NOTFOUND, ERR_DENIED and
 * those of store_get_version(). */
int s3_object_find(struct s3_request *q, const struct store_object **out);
/* A header with the account id of the bucket's owner; false: answered. */
bool s3_expected_owner(struct s3_request *q, const char *header, const struct store_bucket *bucket);
/* Who did it, for events: the account's id and its key (p = NULL: nobody signed), the peer's
 * address. */
struct slice s3_account_id(const struct s3_request *q);
struct slice s3_access_key_id(const struct s3_request *q);
struct slice s3_source_ip(struct s3_request *q);

/* ---- s3_acl.c ---- */

/* x-amz-acl and x-amz-grant-*. */
void s3_acl_headers(const struct s3_request *q, struct acl_headers *out);
/* Owner and ACL of an object that this request makes in q->bucket, kept form in the arena, into
 * q->w->spec; false: answered. */
bool s3_acl_fill(struct s3_request *q, const struct acl_headers *h);
/* The same of a bucket that is to be made, with its object ownership (n = 0: none was asked for).
 */
bool s3_acl_fill_bucket(struct s3_request *q, struct slice *acl, struct slice *ownership);

#endif
