/*
 * Who may do what: bucket policy, ACLs, object ownership and public access block together. Knows
 * nothing of HTTP; s3_access.c asks for each request.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-s3-evaluates-access-control.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
 *
 * Each account is the root user of its own: there are no users below it and no identity policies.
 * The server's root account administrates: in buckets of others it may do everything that the
 * policy does not deny, on their owners' behalf. In its own buckets it is an owner like any other.
 */
#ifndef DARKROOM_OBJECTSTORE_ACCESS_H
#define DARKROOM_OBJECTSTORE_ACCESS_H

#include "objectstore/policy.h"
#include "objectstore/store.h"

struct access_request {
    const struct account *account; /* NULL: anonymous */
    const char *action;            /* "s3:GetObject" */
    const struct store_bucket *bucket;
    const struct store_object *object; /* the version it is about; NULL: none in particular, or
                                          there is none */
    struct slice key;                  /* p = NULL: the bucket itself */
    policy_values_fn values;           /* of condition keys, see policy.h */
    const void *arg;
    uint8_t *memo; /* of the bucket's policy, see policy.h; NULL: none */
};

/* Any thread; no memory, no lock. */
bool access_allowed(const struct access_request *r);

/* ---- object ownership: the bucket's document "ownershipControls" ---- */

enum access_ownership {
    ACCESS_OBJECT_WRITER, /* whoever writes an object owns it; also without a document */
    ACCESS_OWNER_PREFERRED,
    ACCESS_OWNER_ENFORCED /* the bucket's owner owns everything, ACLs do not count */
};

/* Kept as S3's word for it: "BucketOwnerEnforced". ERR_INVALID: no such word. */
int access_ownership_parse(struct slice word, enum access_ownership *out);
enum access_ownership access_ownership(const struct store_bucket *b);
/* Who owns what the account (NULL: nobody) writes there: a canonical id. `gives_all`: the request
 * has the canned ACL bucket-owner-full-control. */
struct slice access_new_owner(const struct store_bucket *b, const struct account *account,
                              bool gives_all);

/* ---- public access block: the bucket's document "publicAccessBlock" ---- */

enum access_block {
    ACCESS_BLOCK_PUBLIC_ACLS,
    ACCESS_IGNORE_PUBLIC_ACLS,
    ACCESS_BLOCK_PUBLIC_POLICY,
    ACCESS_RESTRICT_PUBLIC_BUCKETS,
    ACCESS_BLOCK_COUNT
};

/* "BlockPublicAcls". Kept as one '0' or '1' for each, in this order. */
const char *access_block_name(enum access_block which);
bool access_blocks(const struct store_bucket *b, enum access_block which);

#endif
