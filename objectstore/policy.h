/*
 * Bucket policies: who may do what to which resource, under which conditions.
 *
 * The language is IAM's, the vocabulary S3's:
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
 * https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
 * A policy only says Allow, Deny or nothing; what follows from that is access.h's.
 *
 * A parsed policy is immutable: any thread may judge with it, without a lock and without memory.
 */
#ifndef DARKROOM_OBJECTSTORE_POLICY_H
#define DARKROOM_OBJECTSTORE_POLICY_H

#include "base/account.h"
#include "base/buf.h"
#include "base/slice.h"

#define POLICY_BYTES_MAX (20u << 10) /* as on S3 */
#define POLICY_STATEMENTS_MAX 100

struct policy;

enum policy_verdict { POLICY_NONE, POLICY_ALLOW, POLICY_DENY };

/* Every condition key we know; a policy that names another is refused. Names ending in '/' go on
 * with a name of the writer's choice, the tail. Keys of services we have no part in (VPCs,
 * organizations, roles, MFA...) are known and never have a value, which is what S3 does with
 * requests that come from elsewhere. */
#define POLICY_KEY_LIST(X)                                                       \
    X(CURRENT_TIME, "aws:CurrentTime")                                           \
    X(EPOCH_TIME, "aws:EpochTime")                                               \
    X(SECURE_TRANSPORT, "aws:SecureTransport")                                   \
    X(SOURCE_IP, "aws:SourceIp")                                                 \
    X(REFERER, "aws:Referer")                                                    \
    X(USER_AGENT, "aws:UserAgent")                                               \
    X(USERNAME, "aws:username")                                                  \
    X(USERID, "aws:userid")                                                      \
    X(PRINCIPAL_ARN, "aws:PrincipalArn")                                         \
    X(PRINCIPAL_ACCOUNT, "aws:PrincipalAccount")                                 \
    X(PRINCIPAL_TYPE, "aws:PrincipalType")                                       \
    X(PRINCIPAL_IS_SERVICE, "aws:PrincipalIsAWSService")                         \
    X(VIA_SERVICE, "aws:ViaAWSService")                                          \
    X(RESOURCE_ACCOUNT, "aws:ResourceAccount")                                   \
    X(SOURCE_ARN, "aws:SourceArn")                                               \
    X(SOURCE_ACCOUNT, "aws:SourceAccount")                                       \
    X(SOURCE_OWNER, "aws:SourceOwner")                                           \
    X(SOURCE_VPC, "aws:SourceVpc")                                               \
    X(SOURCE_VPCE, "aws:SourceVpce")                                             \
    X(VPC_SOURCE_IP, "aws:VpcSourceIp")                                          \
    X(SOURCE_ORG_ID, "aws:SourceOrgID")                                          \
    X(SOURCE_ORG_PATHS, "aws:SourceOrgPaths")                                    \
    X(PRINCIPAL_ORG_ID, "aws:PrincipalOrgID")                                    \
    X(PRINCIPAL_ORG_PATHS, "aws:PrincipalOrgPaths")                              \
    X(PRINCIPAL_SERVICE, "aws:PrincipalServiceName")                             \
    X(PRINCIPAL_TAG, "aws:PrincipalTag/")                                        \
    X(RESOURCE_ORG_ID, "aws:ResourceOrgID")                                      \
    X(RESOURCE_ORG_PATHS, "aws:ResourceOrgPaths")                                \
    X(RESOURCE_TAG, "aws:ResourceTag/")                                          \
    X(REQUEST_TAG, "aws:RequestTag/")                                            \
    X(TAG_KEYS, "aws:TagKeys")                                                   \
    X(REQUESTED_REGION, "aws:RequestedRegion")                                   \
    X(CALLED_VIA, "aws:CalledVia")                                               \
    X(FEDERATED_PROVIDER, "aws:FederatedProvider")                               \
    X(MFA_AGE, "aws:MultiFactorAuthAge")                                         \
    X(MFA_PRESENT, "aws:MultiFactorAuthPresent")                                 \
    X(TOKEN_ISSUE_TIME, "aws:TokenIssueTime")                                    \
    X(PREFIX, "s3:prefix")                                                       \
    X(DELIMITER, "s3:delimiter")                                                 \
    X(MAX_KEYS, "s3:max-keys")                                                   \
    X(VERSION_ID, "s3:VersionId")                                                \
    X(LOCATION_CONSTRAINT, "s3:LocationConstraint")                              \
    X(AUTH_TYPE, "s3:authType")                                                  \
    X(SIGNATURE_VERSION, "s3:signatureversion")                                  \
    X(SIGNATURE_AGE, "s3:signatureAge")                                          \
    X(TLS_VERSION, "s3:TlsVersion")                                              \
    X(S3_RESOURCE_ACCOUNT, "s3:ResourceAccount")                                 \
    X(EXISTING_TAG, "s3:ExistingObjectTag/")                                     \
    X(REQUEST_OBJECT_TAG, "s3:RequestObjectTag/")                                \
    X(REQUEST_OBJECT_TAG_KEYS, "s3:RequestObjectTagKeys")                        \
    X(ACL, "s3:x-amz-acl")                                                       \
    X(GRANT_READ, "s3:x-amz-grant-read")                                         \
    X(GRANT_WRITE, "s3:x-amz-grant-write")                                       \
    X(GRANT_READ_ACP, "s3:x-amz-grant-read-acp")                                 \
    X(GRANT_WRITE_ACP, "s3:x-amz-grant-write-acp")                               \
    X(GRANT_FULL_CONTROL, "s3:x-amz-grant-full-control")                         \
    X(COPY_SOURCE, "s3:x-amz-copy-source")                                       \
    X(METADATA_DIRECTIVE, "s3:x-amz-metadata-directive")                         \
    X(STORAGE_CLASS, "s3:x-amz-storage-class")                                   \
    X(CONTENT_SHA256, "s3:x-amz-content-sha256")                                 \
    X(OBJECT_OWNERSHIP, "s3:x-amz-object-ownership")                             \
    X(WEBSITE_REDIRECT, "s3:x-amz-website-redirect-location")                    \
    X(ENCRYPTION, "s3:x-amz-server-side-encryption")                             \
    X(ENCRYPTION_KEY, "s3:x-amz-server-side-encryption-aws-kms-key-id")          \
    X(ENCRYPTION_CUSTOMER, "s3:x-amz-server-side-encryption-customer-algorithm") \
    X(LOCK_MODE, "s3:object-lock-mode")                                          \
    X(LOCK_UNTIL, "s3:object-lock-retain-until-date")                            \
    X(LOCK_DAYS, "s3:object-lock-remaining-retention-days")                      \
    X(LOCK_HOLD, "s3:object-lock-legal-hold")                                    \
    X(IF_MATCH, "s3:if-match")                                                   \
    X(IF_NONE_MATCH, "s3:if-none-match")                                         \
    X(ACCESS_POINT_ARN, "s3:DataAccessPointArn")                                 \
    X(ACCESS_POINT_ACCOUNT, "s3:DataAccessPointAccount")                         \
    X(ACCESS_POINT_ORIGIN, "s3:AccessPointNetworkOrigin")

enum policy_key {
#define X(id, name) POLICY_KEY_##id,
    POLICY_KEY_LIST(X)
#undef X
        POLICY_KEY_COUNT
};

/* "s3:prefix". */
const char *policy_key_name(enum policy_key key);

#define POLICY_VALUES_MAX 16
#define POLICY_SCRATCH 128

/* The values a key has in this request, asked for only when a statement's outcome hangs on it:
 * fills out[], returns how many, 0: the key is absent. A value may lie in the scratch. */
typedef size_t (*policy_values_fn)(const void *arg, enum policy_key key, struct slice tail,
                                   struct slice out[POLICY_VALUES_MAX],
                                   char scratch[POLICY_SCRATCH]);

struct policy_request {
    const struct account *account; /* NULL: anonymous */
    const char *action;            /* "s3:GetObject" */
    struct slice bucket;
    struct slice key;        /* p = NULL: the bucket itself */
    policy_values_fn values; /* NULL: no key has any */
    const void *arg;
    uint8_t *memo; /* NULL, or policy_memo_bytes() bytes, zero at first, for judgements that differ
                      in action, key, object and version alone */
};

/* Parses and checks a document for that bucket. ERR_INVALID (S3: MalformedPolicy) with S3's
 * sentence in `why`, for some followed by a newline and the piece of the document it is about. */
int policy_parse(struct slice json, struct slice bucket, struct policy **out, struct buf *why);
void policy_free(struct policy **p);
/* S3 refuses a policy that names an account nobody has. True: every account id that is not twelve
 * digits is one of ours (twelve digits may be anybody's at the other end of a copied policy). */
bool policy_names_known(const struct policy *p, const struct accounts *accounts);
/* NULL: POLICY_NONE. An explicit Deny wins, whatever the order. */
enum policy_verdict policy_judge(const struct policy *p, const struct policy_request *request);
/* What a request that is judged many times (DeleteObjects) remembers of its conditions, so that a
 * long header is held against a long list once and not for each of a thousand keys. */
size_t policy_memo_bytes(const struct policy *p);
/* Grants something to more than a fixed set of principals, addresses or sources:
 * userguide/access-control-block-public-access.html, "The meaning of public". */
bool policy_is_public(const struct policy *p);

#endif
