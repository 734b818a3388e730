/*
 * ACLs, object ownership and public access block on the S3 face, and the owner and ACL of every
 * object and bucket that is made.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAcl.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketOwnershipControls.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutPublicAccessBlock.html
 *
 * In a bucket without ACLs (BucketOwnerEnforced) a list that says nothing but what holds anyway is
 * accepted and dropped; every other is refused.
 */
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/access.h"
#include "objectstore/s3_priv.h"

#include <stdio.h>

#define OWNERSHIP_MAX 64

/* ---- refusals ---- */

static const struct {
    enum s3_fault fault;
    const char *message; /* NULL: the code's own */
} refusals[] = {
    [ACL_NO_CANNED] = {S3_INVALID_ARGUMENT, NULL},
    [ACL_TWO_FORMS] = {S3_INVALID_REQUEST,
                       "Specifying both Canned ACLs and Header Grants is not allowed"},
    [ACL_NO_GRANTEE_FORM] = {S3_INVALID_ARGUMENT, "Argument format not recognized"},
    [ACL_NO_USER] = {S3_INVALID_ARGUMENT, "Invalid id"},
    [ACL_NO_GROUP] = {S3_INVALID_ARGUMENT, "Invalid group uri"},
    [ACL_NO_EMAIL] = {S3_UNKNOWN_EMAIL, NULL},
    [ACL_OWNER_CHANGED] = {S3_ACCESS_DENIED, NULL},
    [ACL_MALFORMED] = {S3_MALFORMED_ACL, NULL},
};

/* True when there is nothing to refuse. */
static bool
accepted(struct s3_request *q, enum acl_fault fault, const struct acl_error *e)
{
    if (fault == ACL_OK)
        return true;
    CHK((size_t)fault < ARRAY_LEN(refusals));
    if (refusals[fault].fault == S3_INVALID_ARGUMENT) {
        s3_extra(q, "ArgumentName", slice_str(e->name));
        s3_extra(q, "ArgumentValue", e->value);
    }
    const char *message = refusals[fault].message;
    s3_fail_why(q, refusals[fault].fault,
                message != NULL ? message : s3_refusal(refusals[fault].fault)->message);
    return false;
}

/* ---- reading lists ---- */

void
s3_acl_headers(const struct s3_request *q, struct acl_headers *out)
{
    out->canned = http_field(q->r, "x-amz-acl");
    for (size_t i = 0; i < ACL_HEADERS; i++)
        out->grants[i] = http_field(q->r, acl_header_names[i]);
}

/* The kept form in the request's arena; false: answered. */
static bool
keep(struct s3_request *q, const struct acl *a, struct slice owner, struct slice *kept)
{
    struct buf b;
    buf_init(&b, ACL_KEPT_MAX);
    acl_encode(a, owner, &b);
    return s3_keep(q, &b, kept);
}

static bool
gives_bucket_owner_all(const struct acl_headers *h)
{
    return slice_eqs(h->canned, "bucket-owner-full-control");
}

/* The list the headers ask for; without any the owner's alone. false: answered. */
static bool
from_headers(struct s3_request *q, const struct acl_subject *s, const struct acl_headers *h,
             struct slice *kept)
{
    struct acl a;
    struct acl_error e;
    return accepted(q, acl_from_headers(s, h, &a, &e), &e) && keep(q, &a, s->owner, kept);
}

/* The list of the headers or of the document; false: answered. */
static bool
from_request(struct s3_request *q, const struct acl_subject *s, struct slice *kept)
{
    struct acl_headers h;
    struct acl a;
    struct acl_error e;
    s3_acl_headers(q, &h);
    bool given = acl_headers_given(&h);
    if (given && q->doc.n > 0) {
        s3_fail(q, S3_UNEXPECTED_CONTENT);
        return false;
    }
    if (given)
        return from_headers(q, s, &h, kept);
    if (q->doc.n == 0) {
        s3_extra(q, "MissingHeaderName", SLICE_LIT("x-amz-acl"));
        s3_fail(q, S3_MISSING_HEADER);
        return false;
    }
    const struct xml_node *root = s3_doc_parse_as(q, "AccessControlPolicy", S3_MALFORMED_ACL);
    return root != NULL && accepted(q, acl_from_xml(s, root, &a, &e), &e) &&
           keep(q, &a, s->owner, kept);
}

/* May this list be set in q->bucket? false: answered. */
static bool
public_ok(struct s3_request *q, struct slice kept)
{
    if (!acl_is_public(kept) || !access_blocks(q->bucket, ACCESS_BLOCK_PUBLIC_ACLS))
        return true;
    s3_fail(q, S3_ACCESS_DENIED);
    return false;
}

/* ---- of what is being made ---- */

/* API_PutObject: who gives an object another list than its owner's alone needs s3:PutObjectAcl as
 * well. Its owner-to-be has that unless a policy denies it; without a policy, where ACLs alone
 * speak, who may write may bring a list along. false: answered. */
static bool
list_permitted(struct s3_request *q, struct slice owner)
{
    const struct store_object future = {.owner = owner};
    const struct store_bucket *b = q->bucket;
    if (b->policy == NULL || s3_may_object(q, b, "s3:PutObjectAcl", q->key, &future))
        return true;
    s3_fail(q, S3_ACCESS_DENIED);
    return false;
}

bool
s3_acl_fill(struct s3_request *q, const struct acl_headers *h)
{
    struct store_put_spec *spec = &q->w->spec;
    bool off = access_ownership(q->bucket) == ACCESS_OWNER_ENFORCED;
    bool gives_all = gives_bucket_owner_all(h);
    spec->owner = access_new_owner(q->bucket, q->account, gives_all);
    spec->acl = SLICE_NONE;
    if (!acl_headers_given(h))
        return true;
    struct acl_subject s = {
        .owner = spec->owner, .bucket_owner = q->bucket->owner, .accounts = q->s->accounts};
    if (!from_headers(q, &s, h, &spec->acl) || !public_ok(q, spec->acl))
        return false;
    if (spec->acl.n == 0)
        return true;
    if (off)
        s3_fail(q, S3_ACL_NOT_SUPPORTED);
    return !off && list_permitted(q, spec->owner);
}

/* A bucket that is made again keeps its settings: they may forbid this list, or make it moot.
 * false: answered. */
static bool
recreation_ok(struct s3_request *q, struct slice *acl)
{
    if (q->bucket == NULL && store_bucket_get(q->s->store, q->bucket_name, &q->bucket) != ERR_NONE)
        return true;
    if (!slice_eqs(q->bucket->owner, q->account->canonical_id))
        return true; /* refused as taken; its settings are not the stranger's to learn */
    if (access_ownership(q->bucket) == ACCESS_OWNER_ENFORCED)
        *acl = q->bucket->acl;
    return public_ok(q, *acl);
}

bool
s3_acl_fill_bucket(struct s3_request *q, struct slice *acl, struct slice *ownership)
{
    struct acl_headers h;
    enum access_ownership how = ACCESS_OBJECT_WRITER;
    struct slice owner = slice_str(q->account->canonical_id);
    *ownership = http_field(q->r, "x-amz-object-ownership");
    if (ownership->n > 0 && access_ownership_parse(*ownership, &how) != ERR_NONE) {
        char message[OWNERSHIP_MAX + 64];
        snprintf(message, sizeof message, "Invalid x-amz-object-ownership header: %.*s",
                 ownership->n < OWNERSHIP_MAX ? (int)ownership->n : OWNERSHIP_MAX, ownership->p);
        s3_extra(q, "ArgumentName", SLICE_LIT("x-amz-object-ownership"));
        s3_extra(q, "ArgumentValue", *ownership);
        s3_fail_why(q, S3_INVALID_ARGUMENT, message);
        return false;
    }
    s3_acl_headers(q, &h);
    struct acl_subject s = {
        .is_bucket = true, .owner = owner, .bucket_owner = owner, .accounts = q->s->accounts};
    if (!from_headers(q, &s, &h, acl))
        return false;
    if (how == ACCESS_OWNER_ENFORCED && acl->n > 0) {
        s3_fail(q, S3_ACL_WITH_OWNERSHIP);
        return false;
    }
    return recreation_ok(q, acl);
}

/* ---- ACL of a bucket ---- */

static void
reply_acl(struct s3_request *q, struct slice kept, struct slice owner)
{
    struct acl a;
    struct buf b;
    bool off = access_ownership(q->bucket) == ACCESS_OWNER_ENFORCED;
    if (off)
        owner = q->bucket->owner;
    acl_decode(off ? SLICE_NONE : kept, owner, &a);
    buf_init(&b, S3_REPLY_BYTES_MAX);
    acl_write(&a, owner, q->s->accounts, &b);
    s3_reply_xml(q, 200, &b);
}

void
s3_run_get_bucket_acl(struct s3_request *q)
{
    reply_acl(q, q->bucket->acl, q->bucket->owner);
}

void
s3_run_put_bucket_acl(struct s3_request *q)
{
    struct slice kept;
    struct acl_subject s = {.is_bucket = true,
                            .owner = q->bucket->owner,
                            .bucket_owner = q->bucket->owner,
                            .accounts = q->s->accounts};
    if (!from_request(q, &s, &kept) || !public_ok(q, kept))
        return;
    if (access_ownership(q->bucket) != ACCESS_OWNER_ENFORCED)
        s3_config_put(q, "acl", kept, 200);
    else if (kept.n > 0)
        s3_fail(q, S3_ACL_NOT_SUPPORTED);
    else
        s3_reply_empty(q, 200, 0);
}

/* ---- ACL of an object ---- */

void
s3_run_get_object_acl(struct s3_request *q)
{
    const struct store_object *o = s3_version_find(q);
    if (o == NULL)
        return;
    s3_version_header(q, q->bucket, o);
    reply_acl(q, o->acl, o->owner);
    store_object_unref(&o);
}

/* Where ACLs are switched off the owner's alone may still be asked for; it changes nothing. */
static void
object_acl_change(struct s3_request *q, const struct store_object *o)
{
    struct slice kept;
    bool off = access_ownership(q->bucket) == ACCESS_OWNER_ENFORCED;
    struct acl_subject s = {.owner = off ? q->bucket->owner : o->owner,
                            .bucket_owner = q->bucket->owner,
                            .accounts = q->s->accounts};
    if (!from_request(q, &s, &kept) || !public_ok(q, kept))
        return;
    if (off) {
        if (kept.n > 0)
            s3_fail(q, S3_ACL_NOT_SUPPORTED);
        else
            s3_reply_empty(q, 200, 0);
        return;
    }
    struct s3_attribute_change *c = s3_attribute_begin(q, o, STORE_ATTR_ACL);
    if (c == NULL)
        return;
    c->spec.value = kept;
    s3_attribute_commit(q);
}

void
s3_run_put_object_acl(struct s3_request *q)
{
    const struct store_object *o = s3_version_find(q);
    if (o != NULL)
        object_acl_change(q, o);
    store_object_unref(&o);
}

/* ---- object ownership ---- */

void
s3_run_get_ownership(struct s3_request *q)
{
    struct buf b;
    if (q->bucket->ownership.n == 0) {
        s3_fail(q, S3_NO_OWNERSHIP);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "OwnershipControls" S3_XMLNS);
    xml_open(&b, "Rule");
    xml_put(&b, "ObjectOwnership", q->bucket->ownership);
    xml_close(&b, "Rule");
    xml_close(&b, "OwnershipControls");
    s3_reply_xml(q, 200, &b);
}

void
s3_run_put_ownership(struct s3_request *q)
{
    enum access_ownership how;
    const struct xml_node *root = s3_doc_parse(q, "OwnershipControls");
    if (root == NULL)
        return;
    const struct xml_node *rule = xml_child(root, "Rule");
    struct slice word = rule == NULL ? SLICE_NONE : slice_trim(xml_text(rule, "ObjectOwnership"));
    if (rule == NULL || xml_next(rule, "Rule") != NULL ||
        access_ownership_parse(word, &how) != ERR_NONE) {
        s3_fail(q, S3_MALFORMED_XML);
        return;
    }
    word = arena_dup(q->r->arena, word);
    if (word.p == NULL)
        s3_fail_err(q, ERR_NOMEM);
    else if (how == ACCESS_OWNER_ENFORCED && q->bucket->acl.n > 0)
        s3_fail(q, S3_ACL_WITH_OWNERSHIP);
    else
        s3_config_put(q, "ownershipControls", word, 200);
}

void
s3_run_delete_ownership(struct s3_request *q)
{
    s3_config_put(q, "ownershipControls", SLICE_NONE, 204);
}

/* ---- public access block ---- */

void
s3_run_get_access_block(struct s3_request *q)
{
    struct buf b;
    if (q->bucket->access_block.n == 0) {
        s3_fail(q, S3_NO_ACCESS_BLOCK);
        return;
    }
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "PublicAccessBlockConfiguration" S3_XMLNS);
    for (enum access_block i = 0; i < ACCESS_BLOCK_COUNT; i++)
        xml_puts(&b, access_block_name(i), access_blocks(q->bucket, i) ? "true" : "false");
    xml_close(&b, "PublicAccessBlockConfiguration");
    s3_reply_xml(q, 200, &b);
}

void
s3_run_put_access_block(struct s3_request *q)
{
    const struct xml_node *root = s3_doc_parse(q, "PublicAccessBlockConfiguration");
    if (root == NULL)
        return;
    char *kept = arena_alloc(q->r->arena, ACCESS_BLOCK_COUNT);
    if (kept == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return;
    }
    for (enum access_block i = 0; i < ACCESS_BLOCK_COUNT; i++) {
        struct slice text = slice_trim(xml_text(root, access_block_name(i)));
        bool yes = slice_ieqs(text, "true");
        if (!yes && text.p != NULL && !slice_ieqs(text, "false")) {
            s3_fail(q, S3_MALFORMED_XML);
            return;
        }
        kept[i] = yes ? '1' : '0';
    }
    s3_config_put(q, "publicAccessBlock", slice_of(kept, ACCESS_BLOCK_COUNT), 200);
}

void
s3_run_delete_access_block(struct s3_request *q)
{
    s3_config_put(q, "publicAccessBlock", SLICE_NONE, 204);
}
