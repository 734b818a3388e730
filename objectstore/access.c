/*
 * One judgement, in this order; the first rule that speaks has the last word:
 *
 *   1  an explicit Deny of the bucket policy      no; but owner and root may always get, put and
 *                                                 delete the policy, or nobody could mend it
 *   2  the server's root in a bucket of others    yes
 *   3  RestrictPublicBuckets and a public policy  no, for all but the owner
 *   4  an object that somebody else than the      as its own ACL says, for actions on the object;
 *      bucket's owner owns                        the policy cannot give away what is not its own
 *   5  an Allow of the bucket policy              yes
 *   6  an action no ACL is about                  the owner alone
 *   7  ACLs switched off (BucketOwnerEnforced)    the owner alone
 *   8  the ACL of the object or of the bucket     as it says; nothing kept: the owner alone
 *
 * An owner gets in by rule 8 as everybody does: a list without a grant for him shuts him out of the
 * data, as on S3, but never from reading and writing the list itself.
 */
#include "objectstore/access.h"
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/acl.h"

enum grant_of { OF_BUCKET, OF_OBJECT };

/* userguide/acl-overview.html, "Mapping of ACL permissions and access policy permissions". */
static const struct grant {
    const char *action;
    enum grant_of of;
    int permission;    /* enum acl_permission; 0: the owner of the object alone */
    bool owner_always; /* the bucket's owner needs no grant: he can always empty his bucket */
} grants[] = {
    {"s3:GetObject", OF_OBJECT, ACL_READ, false},
    {"s3:PutObject", OF_BUCKET, ACL_WRITE, false},
    {"s3:ListBucket", OF_BUCKET, ACL_READ, false},
    {"s3:DeleteObject", OF_BUCKET, ACL_WRITE, true},
    {"s3:GetObjectVersion", OF_OBJECT, ACL_READ, false},
    {"s3:GetObjectAttributes", OF_OBJECT, ACL_READ, false},
    {"s3:GetObjectVersionAttributes", OF_OBJECT, ACL_READ, false},
    {"s3:GetObjectAcl", OF_OBJECT, ACL_READ_ACP, false},
    {"s3:GetObjectVersionAcl", OF_OBJECT, ACL_READ_ACP, false},
    {"s3:PutObjectAcl", OF_OBJECT, ACL_WRITE_ACP, false},
    {"s3:PutObjectVersionAcl", OF_OBJECT, ACL_WRITE_ACP, false},
    {"s3:GetObjectTagging", OF_OBJECT, 0, false},
    {"s3:GetObjectVersionTagging", OF_OBJECT, 0, false},
    {"s3:PutObjectTagging", OF_OBJECT, 0, false},
    {"s3:PutObjectVersionTagging", OF_OBJECT, 0, false},
    {"s3:DeleteObjectTagging", OF_OBJECT, 0, false},
    {"s3:DeleteObjectVersionTagging", OF_OBJECT, 0, false},
    {"s3:ListBucketVersions", OF_BUCKET, ACL_READ, false},
    {"s3:ListBucketMultipartUploads", OF_BUCKET, ACL_READ, false},
    {"s3:AbortMultipartUpload", OF_BUCKET, ACL_WRITE, true},
    {"s3:ListMultipartUploadParts", OF_BUCKET, ACL_WRITE, true},
    {"s3:GetBucketAcl", OF_BUCKET, ACL_READ_ACP, false},
    {"s3:PutBucketAcl", OF_BUCKET, ACL_WRITE_ACP, false},
};

static const struct grant *
grant_for(const char *action)
{
    for (size_t i = 0; i < ARRAY_LEN(grants); i++) {
        if (strcmp(grants[i].action, action) == 0)
            return &grants[i];
    }
    return NULL;
}

static bool
manages_policy(const char *action)
{
    return strcmp(action, "s3:GetBucketPolicy") == 0 || strcmp(action, "s3:PutBucketPolicy") == 0 ||
           strcmp(action, "s3:DeleteBucketPolicy") == 0;
}

static enum policy_verdict
policy_says(const struct access_request *r)
{
    if (r->bucket->policy == NULL)
        return POLICY_NONE;
    struct policy_request rq = {.account = r->account,
                                .action = r->action,
                                .bucket = r->bucket->name,
                                .key = r->key,
                                .values = r->values,
                                .arg = r->arg,
                                .memo = r->memo};
    return policy_judge(r->bucket->policy, &rq);
}

/* Rules 4 to 8, for those that rules 1 to 3 let through. */
static bool
granted(const struct access_request *r, bool policy_allows, bool is_owner)
{
    const struct store_bucket *b = r->bucket;
    const struct store_object *o = r->object;
    const struct grant *g = grant_for(r->action);
    struct slice who = slice_str(r->account == NULL ? NULL : r->account->canonical_id);
    bool off = access_ownership(b) == ACCESS_OWNER_ENFORCED;
    bool ignore_public = access_blocks(b, ACCESS_IGNORE_PUBLIC_ACLS);
    if (g != NULL && g->of == OF_OBJECT && o != NULL && !off && !slice_eq(o->owner, b->owner)) {
        if (g->permission == 0)
            return who.n > 0 && slice_eq(o->owner, who);
        return acl_allows(o->acl, o->owner, who, (enum acl_permission)g->permission, ignore_public);
    }
    if (policy_allows)
        return true;
    if (g == NULL || g->permission == 0 || off || (g->of == OF_OBJECT && o == NULL))
        return is_owner;
    return (is_owner && g->owner_always) ||
           acl_allows(g->of == OF_OBJECT ? o->acl : b->acl, b->owner, who,
                      (enum acl_permission)g->permission, ignore_public);
}

bool
access_allowed(const struct access_request *r)
{
    const struct store_bucket *b = r->bucket;
    const struct account *a = r->account;
    bool is_owner = a != NULL && slice_eqs(b->owner, a->canonical_id);
    bool is_root = a != NULL && a->is_root;
    enum policy_verdict verdict = policy_says(r);
    if (verdict == POLICY_DENY)
        return (is_owner || is_root) && manages_policy(r->action);
    if (is_root && !is_owner)
        return true;
    if (!is_owner && access_blocks(b, ACCESS_RESTRICT_PUBLIC_BUCKETS) &&
        policy_is_public(b->policy))
        return false;
    return granted(r, verdict == POLICY_ALLOW, is_owner);
}

/* ---- ownership ---- */

static const char *const ownership_words[] = {
    [ACCESS_OBJECT_WRITER] = "ObjectWriter",
    [ACCESS_OWNER_PREFERRED] = "BucketOwnerPreferred",
    [ACCESS_OWNER_ENFORCED] = "BucketOwnerEnforced",
};

int
access_ownership_parse(struct slice word, enum access_ownership *out)
{
    for (size_t i = 0; i < ARRAY_LEN(ownership_words); i++) {
        if (slice_eqs(word, ownership_words[i])) {
            *out = (enum access_ownership)i;
            return ERR_NONE;
        }
    }
    return ERR_INVALID;
}

enum access_ownership
access_ownership(const struct store_bucket *b)
{
    enum access_ownership o = ACCESS_OBJECT_WRITER;
    if (b->ownership.n > 0)
        (void)access_ownership_parse(b->ownership, &o);
    return o;
}

struct slice
access_new_owner(const struct store_bucket *b, const struct account *account, bool gives_all)
{
    enum access_ownership o = access_ownership(b);
    /* S3 speaks of the account that uploads; who has none, or works for the owner, owns nothing. */
    if (account == NULL || account->is_root || o == ACCESS_OWNER_ENFORCED ||
        (o == ACCESS_OWNER_PREFERRED && gives_all))
        return b->owner;
    return slice_str(account->canonical_id);
}

/* ---- public access block ---- */

const char *
access_block_name(enum access_block which)
{
    static const char *const names[ACCESS_BLOCK_COUNT] = {
        [ACCESS_BLOCK_PUBLIC_ACLS] = "BlockPublicAcls",
        [ACCESS_IGNORE_PUBLIC_ACLS] = "IgnorePublicAcls",
        [ACCESS_BLOCK_PUBLIC_POLICY] = "BlockPublicPolicy",
        [ACCESS_RESTRICT_PUBLIC_BUCKETS] = "RestrictPublicBuckets",
    };
    CHK(which < ACCESS_BLOCK_COUNT);
    return names[which];
}

bool
access_blocks(const struct store_bucket *b, enum access_block which)
{
    return b->access_block.n == ACCESS_BLOCK_COUNT && b->access_block.p[which] == '1';
}
