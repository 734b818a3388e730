/*
 * Bucket policies: who may do what to which resource.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html :
 * an explicit Deny wins, else an Allow, else nothing is allowed (the owner may all the same).
 */
#ifndef DARKROOM_OBJECTSTORE_POLICY_H
#define DARKROOM_OBJECTSTORE_POLICY_H

#include "base/buf.h"
#include "base/slice.h"

#define POLICY_BYTES_MAX (20u << 10) /* as on S3 */
#define POLICY_STATEMENTS_MAX 100

struct policy;

enum policy_verdict { POLICY_NONE, POLICY_ALLOW, POLICY_DENY };

struct policy_request {
    struct slice account_id; /* n = 0: anonymous */
    const char *action;      /* "s3:GetObject" */
    struct slice bucket;
    struct slice key;    /* p = NULL: the bucket itself */
    struct slice prefix; /* of a listing, for the condition s3:prefix */
    struct slice delimiter;
    struct slice source_ip;
    bool secure_transport;
};

/* Parses and checks a document for that bucket: every Resource must lie in it, every condition must
 * be one we evaluate; else ERR_INVALID and one sentence in `why` (S3: MalformedPolicy). */
int policy_parse(struct slice json, struct slice bucket, struct policy **out, struct buf *why);
void policy_free(struct policy **p);
/* Any thread; the policy is immutable. NULL: POLICY_NONE. */
enum policy_verdict policy_judge(const struct policy *p, const struct policy_request *request);
/* Grants something to everybody (S3: GetBucketPolicyStatus). */
bool policy_is_public(const struct policy *p);

#endif
