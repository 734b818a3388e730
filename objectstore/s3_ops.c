/*
 * The operation table: which request is which operation.
 *
 * A request is found by method, level (service, bucket, object) and sub-resource: the first query
 * parameter that names one at that level; other parameters (x-id, list-type, v...) do not choose.
 * A sub-resource S3 has for the method but no row here is 501, anything else without a row is 405.
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"

#include <stdio.h>

/* What the row itself says: a document, or a refusal. */
static void
run_canned(struct s3_request *q)
{
    const struct s3_op *op = q->op;
    if (op->canned == NULL) {
        s3_fail(q, op->fault);
        return;
    }
    struct buf b;
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    buf_puts(&b, op->canned);
    s3_reply_xml(q, 200, &b);
}

#define DOC(max) S3_BODY_DOC, max
#define NO_BODY S3_BODY_NONE, 0
#define OBJECT S3_BODY_OBJECT, 0
#define FORM S3_BODY_FORM, 0
#define XML(name, inner) "<" name S3_XMLNS ">" inner "</" name ">"
/* A document we give without keeping one, and a refusal of that kind. */
#define CANNED(name, sub, action, text)                                               \
    {                                                                                 \
        name, HTTP_GET, S3_BUCKET, sub, action, NO_BODY, 0, NULL, run_canned, text, 0 \
    }
#define ABSENT(name, sub, action, fault)                                                  \
    {                                                                                     \
        name, HTTP_GET, S3_BUCKET, sub, action, NO_BODY, 0, NULL, run_canned, NULL, fault \
    }

static const struct s3_op ops[] = {
    /* The roads that must be short come first. */
    {"GetObject", HTTP_GET, S3_OBJECT, NULL, "s3:GetObject", NO_BODY, S3_OF_OBJECT, NULL,
     s3_run_get_object, NULL, 0},
    {"HeadObject", HTTP_HEAD, S3_OBJECT, NULL, "s3:GetObject", NO_BODY, S3_OF_OBJECT, NULL,
     s3_run_get_object, NULL, 0},
    {"CopyObject", HTTP_PUT, S3_OBJECT, NULL, "s3:PutObject", NO_BODY,
     S3_MUTATES | S3_ADMITTED | S3_COPIES, NULL, s3_run_copy_object, NULL, 0},
    {"PutObject", HTTP_PUT, S3_OBJECT, NULL, "s3:PutObject", OBJECT, S3_MUTATES | S3_ADMITTED,
     s3_prepare_put_object, s3_run_put_object, NULL, 0},
    {"DeleteObject", HTTP_DELETE, S3_OBJECT, NULL, "s3:DeleteObject", NO_BODY,
     S3_MUTATES | S3_FREES, NULL, s3_run_delete_object, NULL, 0},
    {"CreateMultipartUpload", HTTP_POST, S3_OBJECT, "uploads", "s3:PutObject", NO_BODY,
     S3_MUTATES | S3_ADMITTED, s3_prepare_create_upload, s3_run_create_upload, NULL, 0},
    {"UploadPartCopy", HTTP_PUT, S3_OBJECT, "uploadId", "s3:PutObject", NO_BODY,
     S3_MUTATES | S3_COPIES, NULL, s3_run_upload_part_copy, NULL, 0},
    {"UploadPart", HTTP_PUT, S3_OBJECT, "uploadId", "s3:PutObject", OBJECT, S3_MUTATES,
     s3_prepare_upload_part, s3_run_upload_part, NULL, 0},
    {"CompleteMultipartUpload", HTTP_POST, S3_OBJECT, "uploadId", "s3:PutObject",
     DOC(S3_DOC_COMPLETE), S3_MUTATES | S3_ADMITTED | S3_SUMS_OTHER, NULL, s3_run_complete_upload,
     NULL, 0},
    {"AbortMultipartUpload", HTTP_DELETE, S3_OBJECT, "uploadId", "s3:AbortMultipartUpload", NO_BODY,
     S3_MUTATES | S3_FREES, NULL, s3_run_abort_upload, NULL, 0},
    {"ListParts", HTTP_GET, S3_OBJECT, "uploadId", "s3:ListMultipartUploadParts", NO_BODY, 0, NULL,
     s3_run_list_parts, NULL, 0},
    {"GetObjectAttributes", HTTP_GET, S3_OBJECT, "attributes", "s3:GetObjectAttributes", NO_BODY,
     S3_OF_OBJECT, NULL, s3_run_object_attributes, NULL, 0},
    {"GetObjectAcl", HTTP_GET, S3_OBJECT, "acl", "s3:GetObjectAcl", NO_BODY, S3_OF_OBJECT, NULL,
     s3_run_get_object_acl, NULL, 0},
    {"PutObjectAcl", HTTP_PUT, S3_OBJECT, "acl", "s3:PutObjectAcl", DOC(S3_DOC_SMALL),
     S3_MUTATES | S3_OF_OBJECT, NULL, s3_run_put_object_acl, NULL, 0},
    {"GetObjectTagging", HTTP_GET, S3_OBJECT, "tagging", "s3:GetObjectTagging", NO_BODY,
     S3_OF_OBJECT, NULL, s3_run_get_object_tagging, NULL, 0},
    {"PutObjectTagging", HTTP_PUT, S3_OBJECT, "tagging", "s3:PutObjectTagging", DOC(S3_DOC_SMALL),
     S3_MUTATES | S3_JUDGES, NULL, s3_run_put_object_tagging, NULL, 0},
    {"DeleteObjectTagging", HTTP_DELETE, S3_OBJECT, "tagging", "s3:DeleteObjectTagging", NO_BODY,
     S3_MUTATES | S3_FREES | S3_OF_OBJECT, NULL, s3_run_delete_object_tagging, NULL, 0},
    {"GetObjectLegalHold", HTTP_GET, S3_OBJECT, "legal-hold", "s3:GetObjectLegalHold", NO_BODY,
     S3_OF_OBJECT, NULL, s3_run_get_legal_hold, NULL, 0},
    {"PutObjectLegalHold", HTTP_PUT, S3_OBJECT, "legal-hold", "s3:PutObjectLegalHold",
     DOC(S3_DOC_SMALL), S3_MUTATES | S3_JUDGES, NULL, s3_run_put_legal_hold, NULL, 0},
    {"GetObjectRetention", HTTP_GET, S3_OBJECT, "retention", "s3:GetObjectRetention", NO_BODY,
     S3_OF_OBJECT, NULL, s3_run_get_retention, NULL, 0},
    {"PutObjectRetention", HTTP_PUT, S3_OBJECT, "retention", "s3:PutObjectRetention",
     DOC(S3_DOC_SMALL), S3_MUTATES | S3_JUDGES, NULL, s3_run_put_retention, NULL, 0},

    {"ListObjects", HTTP_GET, S3_BUCKET, NULL, "s3:ListBucket", NO_BODY, S3_LISTS, NULL,
     s3_run_list_objects, NULL, 0},
    {"ListObjectVersions", HTTP_GET, S3_BUCKET, "versions", "s3:ListBucketVersions", NO_BODY,
     S3_LISTS, NULL, s3_run_list_versions, NULL, 0},
    {"ListMultipartUploads", HTTP_GET, S3_BUCKET, "uploads", "s3:ListBucketMultipartUploads",
     NO_BODY, S3_LISTS, NULL, s3_run_list_uploads, NULL, 0},
    {"DeleteObjects", HTTP_POST, S3_BUCKET, "delete", "s3:DeleteObject", DOC(S3_DOC_DELETE),
     S3_MUTATES | S3_FREES | S3_JUDGES, s3_prepare_delete_objects, s3_run_delete_objects, NULL, 0},
    {"PostObject", HTTP_POST, S3_BUCKET, NULL, "s3:PutObject", FORM,
     S3_MUTATES | S3_ADMITTED | S3_JUDGES, s3_prepare_post_object, s3_run_post_object, NULL, 0},
    {"CreateBucket", HTTP_PUT, S3_BUCKET, NULL, "s3:CreateBucket", DOC(S3_DOC_SMALL),
     S3_MUTATES | S3_NEW_BUCKET | S3_JUDGES, s3_prepare_create_bucket, s3_run_create_bucket, NULL,
     0},
    {"HeadBucket", HTTP_HEAD, S3_BUCKET, NULL, "s3:ListBucket", NO_BODY, 0, NULL,
     s3_run_head_bucket, NULL, 0},
    {"DeleteBucket", HTTP_DELETE, S3_BUCKET, NULL, "s3:DeleteBucket", NO_BODY,
     S3_MUTATES | S3_FREES, NULL, s3_run_delete_bucket, NULL, 0},
    {"GetBucketLocation", HTTP_GET, S3_BUCKET, "location", "s3:GetBucketLocation", NO_BODY, 0, NULL,
     s3_run_get_location, NULL, 0},
    {"GetBucketVersioning", HTTP_GET, S3_BUCKET, "versioning", "s3:GetBucketVersioning", NO_BODY, 0,
     NULL, s3_run_get_versioning, NULL, 0},
    {"PutBucketVersioning", HTTP_PUT, S3_BUCKET, "versioning", "s3:PutBucketVersioning",
     DOC(S3_DOC_SMALL), S3_MUTATES, NULL, s3_run_put_versioning, NULL, 0},
    {"GetBucketNotification", HTTP_GET, S3_BUCKET, "notification", "s3:GetBucketNotification",
     NO_BODY, 0, NULL, s3_run_get_notification, NULL, 0},
    {"PutBucketNotification", HTTP_PUT, S3_BUCKET, "notification", "s3:PutBucketNotification",
     DOC(S3_DOC_SMALL), S3_MUTATES, NULL, s3_run_put_notification, NULL, 0},
    {"GetBucketPolicy", HTTP_GET, S3_BUCKET, "policy", "s3:GetBucketPolicy", NO_BODY, S3_OWNER,
     NULL, s3_run_get_policy, NULL, 0},
    {"PutBucketPolicy", HTTP_PUT, S3_BUCKET, "policy", "s3:PutBucketPolicy", DOC(S3_DOC_SMALL),
     S3_MUTATES | S3_OWNER, NULL, s3_run_put_policy, NULL, 0},
    {"DeleteBucketPolicy", HTTP_DELETE, S3_BUCKET, "policy", "s3:DeleteBucketPolicy", NO_BODY,
     S3_MUTATES | S3_FREES | S3_OWNER, NULL, s3_run_delete_policy, NULL, 0},
    {"GetBucketPolicyStatus", HTTP_GET, S3_BUCKET, "policyStatus", "s3:GetBucketPolicyStatus",
     NO_BODY, 0, NULL, s3_run_policy_status, NULL, 0},
    {"GetBucketAcl", HTTP_GET, S3_BUCKET, "acl", "s3:GetBucketAcl", NO_BODY, 0, NULL,
     s3_run_get_bucket_acl, NULL, 0},
    {"PutBucketAcl", HTTP_PUT, S3_BUCKET, "acl", "s3:PutBucketAcl", DOC(S3_DOC_SMALL), S3_MUTATES,
     NULL, s3_run_put_bucket_acl, NULL, 0},
    {"GetBucketOwnershipControls", HTTP_GET, S3_BUCKET, "ownershipControls",
     "s3:GetBucketOwnershipControls", NO_BODY, 0, NULL, s3_run_get_ownership, NULL, 0},
    {"PutBucketOwnershipControls", HTTP_PUT, S3_BUCKET, "ownershipControls",
     "s3:PutBucketOwnershipControls", DOC(S3_DOC_SMALL), S3_MUTATES, NULL, s3_run_put_ownership,
     NULL, 0},
    {"DeleteBucketOwnershipControls", HTTP_DELETE, S3_BUCKET, "ownershipControls",
     "s3:PutBucketOwnershipControls", NO_BODY, S3_MUTATES | S3_FREES, NULL, s3_run_delete_ownership,
     NULL, 0},
    {"GetPublicAccessBlock", HTTP_GET, S3_BUCKET, "publicAccessBlock",
     "s3:GetBucketPublicAccessBlock", NO_BODY, 0, NULL, s3_run_get_access_block, NULL, 0},
    {"PutPublicAccessBlock", HTTP_PUT, S3_BUCKET, "publicAccessBlock",
     "s3:PutBucketPublicAccessBlock", DOC(S3_DOC_SMALL), S3_MUTATES, NULL, s3_run_put_access_block,
     NULL, 0},
    {"DeletePublicAccessBlock", HTTP_DELETE, S3_BUCKET, "publicAccessBlock",
     "s3:PutBucketPublicAccessBlock", NO_BODY, S3_MUTATES | S3_FREES, NULL,
     s3_run_delete_access_block, NULL, 0},
    {"GetBucketTagging", HTTP_GET, S3_BUCKET, "tagging", "s3:GetBucketTagging", NO_BODY, 0, NULL,
     s3_run_get_bucket_tagging, NULL, 0},
    {"PutBucketTagging", HTTP_PUT, S3_BUCKET, "tagging", "s3:PutBucketTagging", DOC(S3_DOC_SMALL),
     S3_MUTATES, NULL, s3_run_put_bucket_tagging, NULL, 0},
    {"DeleteBucketTagging", HTTP_DELETE, S3_BUCKET, "tagging", "s3:PutBucketTagging", NO_BODY,
     S3_MUTATES | S3_FREES, NULL, s3_run_delete_bucket_tagging, NULL, 0},
    {"GetBucketCors", HTTP_GET, S3_BUCKET, "cors", "s3:GetBucketCORS", NO_BODY, 0, NULL,
     s3_run_get_cors, NULL, 0},
    {"PutBucketCors", HTTP_PUT, S3_BUCKET, "cors", "s3:PutBucketCORS", DOC(S3_DOC_SMALL),
     S3_MUTATES, NULL, s3_run_put_cors, NULL, 0},
    {"DeleteBucketCors", HTTP_DELETE, S3_BUCKET, "cors", "s3:PutBucketCORS", NO_BODY,
     S3_MUTATES | S3_FREES, NULL, s3_run_delete_cors, NULL, 0},
    {"GetObjectLockConfiguration", HTTP_GET, S3_BUCKET, "object-lock",
     "s3:GetBucketObjectLockConfiguration", NO_BODY, 0, NULL, s3_run_get_lock_config, NULL, 0},
    {"PutObjectLockConfiguration", HTTP_PUT, S3_BUCKET, "object-lock",
     "s3:PutBucketObjectLockConfiguration", DOC(S3_DOC_SMALL), S3_MUTATES, NULL,
     s3_run_put_lock_config, NULL, 0},
    {"GetBucketLifecycle", HTTP_GET, S3_BUCKET, "lifecycle", "s3:GetLifecycleConfiguration",
     NO_BODY, 0, NULL, s3_run_get_lifecycle, NULL, 0},
    {"PutBucketLifecycle", HTTP_PUT, S3_BUCKET, "lifecycle", "s3:PutLifecycleConfiguration",
     DOC(S3_DOC_LIFECYCLE), S3_MUTATES, NULL, s3_run_put_lifecycle, NULL, 0},
    {"DeleteBucketLifecycle", HTTP_DELETE, S3_BUCKET, "lifecycle", "s3:PutLifecycleConfiguration",
     NO_BODY, S3_MUTATES | S3_FREES, NULL, s3_run_delete_lifecycle, NULL, 0},

    /* Settings that can only be what they are: saying so is no error. */
    {"PutBucketLogging", HTTP_PUT, S3_BUCKET, "logging", "s3:PutBucketLogging", DOC(S3_DOC_SMALL),
     0, NULL, s3_run_put_fixed, NULL, 0},
    {"PutBucketRequestPayment", HTTP_PUT, S3_BUCKET, "requestPayment", "s3:PutBucketRequestPayment",
     DOC(S3_DOC_SMALL), 0, NULL, s3_run_put_fixed, NULL, 0},
    {"PutBucketAccelerateConfiguration", HTTP_PUT, S3_BUCKET, "accelerate",
     "s3:PutAccelerateConfiguration", DOC(S3_DOC_SMALL), 0, NULL, s3_run_put_fixed, NULL, 0},

    /* Reads that clients make by themselves: what an unconfigured bucket says. */
    CANNED("GetBucketAccelerateConfiguration", "accelerate", "s3:GetAccelerateConfiguration",
           XML("AccelerateConfiguration", "")),
    CANNED("GetBucketLogging", "logging", "s3:GetBucketLogging", XML("BucketLoggingStatus", "")),
    CANNED("GetBucketRequestPayment", "requestPayment", "s3:GetBucketRequestPayment",
           XML("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")),
    ABSENT("GetBucketWebsite", "website", "s3:GetBucketWebsite", S3_NO_WEBSITE),
    ABSENT("GetBucketEncryption", "encryption", "s3:GetEncryptionConfiguration", S3_NO_ENCRYPTION),
    ABSENT("GetBucketReplication", "replication", "s3:GetReplicationConfiguration",
           S3_NO_REPLICATION),

    {"ListBuckets", HTTP_GET, S3_SERVICE, NULL, "s3:ListAllMyBuckets", NO_BODY,
     S3_NEW_BUCKET | S3_JUDGES, NULL, s3_run_list_buckets, NULL, 0},
};

/* All sub-resources of S3, with the methods it has for them: G(et) P(ut) D(elete) pO(st). NULL: the
 * parameter means nothing at that level. */
static const struct {
    const char *name;
    const char *bucket;
    const char *object;
} subs[] = {
    {"accelerate", "GP", NULL},
    {"acl", "GP", "GP"},
    {"analytics", "GPD", NULL},
    {"attributes", NULL, "G"},
    {"cors", "GPD", NULL},
    {"delete", "O", NULL},
    {"encryption", "GPD", NULL},
    {"intelligent-tiering", "GPD", NULL},
    {"inventory", "GPD", NULL},
    {"legal-hold", NULL, "GP"},
    {"lifecycle", "GPD", NULL},
    {"location", "G", NULL},
    {"logging", "GP", NULL},
    {"metadataConfiguration", "GOPD", NULL},
    {"metadataTable", "GOD", NULL},
    {"metrics", "GPD", NULL},
    {"notification", "GP", NULL},
    {"object-lock", "GP", NULL},
    {"ownershipControls", "GPD", NULL},
    {"policy", "GPD", NULL},
    {"policyStatus", "G", NULL},
    {"publicAccessBlock", "GPD", NULL},
    {"renameObject", NULL, "P"},
    {"replication", "GPD", NULL},
    {"requestPayment", "GP", NULL},
    {"restore", NULL, "O"},
    {"retention", NULL, "GP"},
    {"select", NULL, "O"},
    {"session", "G", NULL},
    {"tagging", "GPD", "GPD"},
    {"torrent", NULL, "G"},
    {"uploadId", NULL, "GPOD"},
    {"uploads", "G", "O"},
    {"versioning", "GP", NULL},
    {"versions", "G", NULL},
    {"website", "GPD", NULL},
};

static char
method_letter(enum http_method m)
{
    static const char letters[] = {
        [HTTP_GET] = 'G',    [HTTP_HEAD] = 'H',    [HTTP_PUT] = 'P',  [HTTP_POST] = 'O',
        [HTTP_DELETE] = 'D', [HTTP_OPTIONS] = '-', [HTTP_OTHER] = '-'};
    return letters[m];
}

/* The sub-resource asked for, and the methods S3 has for it; NULL: none. */
static const char *
sub_find(const struct http_request *r, enum s3_level level, const char **methods)
{
    for (size_t i = 0; level != S3_SERVICE && i < r->param_count; i++) {
        for (size_t k = 0; k < ARRAY_LEN(subs); k++) {
            *methods = level == S3_BUCKET ? subs[k].bucket : subs[k].object;
            if (*methods != NULL && slice_eqs(r->params[i].name, subs[k].name))
                return subs[k].name;
        }
    }
    return NULL;
}

static bool
same_sub(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* RFC 9110 section 15.5.6: a 405 names what would be allowed. */
static void
allow_header(struct s3_request *q, enum s3_level level, const char *sub)
{
    static const char *const names[] = {[HTTP_GET] = "GET",
                                        [HTTP_HEAD] = "HEAD",
                                        [HTTP_PUT] = "PUT",
                                        [HTTP_POST] = "POST",
                                        [HTTP_DELETE] = "DELETE"};
    char list[64] = "";
    for (size_t m = 0; m < ARRAY_LEN(names); m++) {
        bool has = false;
        for (size_t i = 0; i < ARRAY_LEN(ops); i++)
            has |= ops[i].method == m && ops[i].level == level && same_sub(ops[i].sub, sub);
        size_t n = strlen(list);
        if (has)
            snprintf(list + n, sizeof list - n, "%s%s", n == 0 ? "" : ", ", names[m]);
    }
    http_header(q->r, "Allow", slice_str(list));
}

const struct s3_op *
s3_op_find(struct s3_request *q)
{
    const struct http_request *r = q->r;
    enum s3_level level = q->key.p != NULL           ? S3_OBJECT
                          : q->bucket_name.p != NULL ? S3_BUCKET
                                                     : S3_SERVICE;
    const char *methods = NULL;
    const char *sub = r->param_count == 0 ? NULL : sub_find(r, level, &methods);
    bool copies = r->method == HTTP_PUT && http_field(r, "x-amz-copy-source").p != NULL;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        const struct s3_op *op = &ops[i];
        if (op->method != r->method || op->level != level || !same_sub(op->sub, sub))
            continue;
        if (level == S3_OBJECT && copies != ((op->flags & S3_COPIES) != 0))
            continue;
        return op;
    }
    if (sub != NULL && strchr(methods, method_letter(r->method)) != NULL) {
        s3_fail(q, S3_NOT_IMPLEMENTED);
    } else {
        allow_header(q, level, sub);
        s3_fail(q, S3_METHOD_NOT_ALLOWED);
    }
    return NULL;
}

const struct s3_op *
s3_op_at(size_t index)
{
    return index < ARRAY_LEN(ops) ? &ops[index] : NULL;
}
