/*
 * Bucket policies on the S3 face. What they mean is objectstore/policy.h's.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicyStatus.html
 */
#include "objectstore/policy.h"
#include "base/err.h"
#include "objectstore/access.h"
#include "objectstore/s3_priv.h"

#define WHY_MAX 1024

/* The reason as S3 gives it: the sentence as message, what it is about as detail. */
static void
malformed(struct s3_request *q, const struct buf *why)
{
    struct slice detail;
    struct slice sentence = slice_cut(buf_slice(why), '\n', &detail);
    const char *message = arena_dup(q->r->arena, sentence).p;
    if (detail.n > 0)
        s3_extra(q, "Detail", detail);
    s3_fail_why(q, S3_MALFORMED_POLICY,
                message != NULL && sentence.n > 0 ? message
                                                  : s3_refusal(S3_MALFORMED_POLICY)->message);
}

/* May this policy be set? false: answered. */
static bool
acceptable(struct s3_request *q, const struct policy *p)
{
    if (!policy_names_known(p, q->s->accounts))
        s3_fail_why(q, S3_MALFORMED_POLICY, "Invalid principal in policy");
    else if (access_blocks(q->bucket, ACCESS_BLOCK_PUBLIC_POLICY) && policy_is_public(p))
        s3_fail(q, S3_ACCESS_DENIED);
    else
        return true;
    return false;
}

void
s3_run_put_policy(struct s3_request *q)
{
    struct policy *policy = NULL;
    struct buf why;
    bool ok = false;
    if (q->doc.n == 0) {
        s3_fail(q, S3_MISSING_BODY);
        return;
    }
    buf_init(&why, WHY_MAX);
    int err = policy_parse(buf_slice(&q->doc), q->bucket->name, &policy, &why);
    if (err == ERR_INVALID)
        malformed(q, &why);
    else if (err != ERR_NONE)
        s3_fail_err(q, err);
    else
        ok = acceptable(q, policy);
    policy_free(&policy);
    buf_fini(&why);
    if (ok)
        s3_config_put(q, "policy", buf_slice(&q->doc), 204);
}

void
s3_run_get_policy(struct s3_request *q)
{
    struct slice body;
    int err = store_bucket_config_get(q->s->store, q->bucket->name, "policy", q->r->arena, &body);
    if (err == ERR_NOTFOUND) {
        s3_fail(q, S3_NO_BUCKET_POLICY);
        return;
    }
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
        return;
    }
    q->status = 200;
    http_header(q->r, "Content-Type", SLICE_LIT("application/json"));
    http_reply(q->r, 200, body);
}

void
s3_run_delete_policy(struct s3_request *q)
{
    s3_config_put(q, "policy", SLICE_NONE, 204);
}

/* Public by its policy or by its ACL. S3 does not say what a bucket without either answers; other
 * stores and the conformance suites agree on "not public". */
void
s3_run_policy_status(struct s3_request *q)
{
    const struct store_bucket *b = q->bucket;
    struct buf out;
    bool acl_counts = access_ownership(b) != ACCESS_OWNER_ENFORCED &&
                      !access_blocks(b, ACCESS_IGNORE_PUBLIC_ACLS);
    bool is_public = policy_is_public(b->policy) || (acl_counts && acl_is_public(b->acl));
    buf_init(&out, S3_REPLY_BYTES_MAX);
    xml_head(&out);
    xml_open(&out, "PolicyStatus" S3_XMLNS);
    xml_puts(&out, "IsPublic", is_public ? "true" : "false");
    xml_close(&out, "PolicyStatus");
    s3_reply_xml(q, 200, &out);
}
