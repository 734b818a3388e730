#include "base/err.h"
#include "objectstore/access.h"
#include "objectstore/acl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* Ann owns the bucket; root administrates. */
static struct accounts *accounts;
static const struct account *who_is[128]; /* by letter: a(nn), b(ob), r(oot), '-' nobody */

static int
setup(void **state)
{
    struct account all[] = {{"1", NULL, "ann", "ann@example.org", "A", "S", false},
                            {"2", NULL, "bob", "bob@example.org", "B", "S", false},
                            {"0", NULL, "root", "root@example.org", "R", "S", true}};
    (void)state;
    accounts = accounts_new();
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(accounts_add(accounts, &all[i]), ERR_NONE);
    who_is['a'] = accounts_by_id(accounts, SLICE_LIT("1"));
    who_is['b'] = accounts_by_id(accounts, SLICE_LIT("2"));
    who_is['r'] = accounts_root(accounts);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    accounts_free(&accounts);
    return 0;
}

/* The kept form of a canned list, or of grants to bob ("b" and permissions' header). */
static struct slice
kept(const char *canned, char owner, char bucket_owner, struct buf *b)
{
    struct acl_subject s = {.is_bucket = false,
                            .owner = slice_str(who_is[(int)owner]->canonical_id),
                            .bucket_owner = slice_str(who_is[(int)bucket_owner]->canonical_id),
                            .accounts = accounts};
    struct acl_headers h = {.canned = slice_str(canned)};
    struct acl a;
    struct acl_error e;
    buf_init(b, ACL_KEPT_MAX);
    if (canned == NULL)
        return SLICE_NONE;
    if (strcmp(canned, "none") == 0) {
        buf_putc(b, 1);
        return buf_slice(b);
    }
    assert_int_equal(acl_from_headers(&s, &h, &a, &e), ACL_OK);
    acl_encode(&a, s.owner, b);
    return buf_slice(b);
}

#define ALLOW(who, action) \
    "{\"Effect\":\"Allow\",\"Principal\":" who ",\"Action\":\"" action "\"," WHERE "}"
#define DENY(who, action) \
    "{\"Effect\":\"Deny\",\"Principal\":" who ",\"Action\":\"" action "\"," WHERE "}"
#define WHERE "\"Resource\":[\"arn:aws:s3:::album\",\"arn:aws:s3:::album/*\"]"
#define ANY "\"*\""
#define BOB "{\"AWS\":\"2\"}"

struct row {
    const char *action;
    char object;            /* whose: '-' there is none */
    const char *object_acl; /* canned; NULL: private; "none": no grant at all */
    const char *bucket_acl;
    const char *policy; /* statements */
    const char *ownership;
    const char *block;
    const char *allowed; /* letters of those who may */
};

static void
judge(const struct row *row)
{
    char json[2048], got[8] = "";
    struct policy *policy = NULL;
    struct buf why, object_acl, bucket_acl;
    buf_init(&why, 1024);
    if (row->policy != NULL) {
        snprintf(json, sizeof json, "{\"Statement\":[%s]}", row->policy);
        if (policy_parse(slice_str(json), SLICE_LIT("album"), &policy, &why) != ERR_NONE)
            fail_msg("%s: %s", json, why.p);
    }
    struct store_bucket bucket = {.name = SLICE_LIT("album"),
                                  .owner = slice_str(who_is['a']->canonical_id),
                                  .policy = policy,
                                  .acl = kept(row->bucket_acl, 'a', 'a', &bucket_acl),
                                  .ownership = slice_str(row->ownership),
                                  .access_block = slice_str(row->block)};
    char owner = row->object == '-' ? 'a' : row->object;
    struct store_object object = {.key = SLICE_LIT("k"),
                                  .owner = slice_str(who_is[(int)owner]->canonical_id),
                                  .acl = kept(row->object_acl, owner, 'a', &object_acl)};
    for (const char *p = "abr-"; *p != '\0'; p++) {
        struct access_request r = {.account = who_is[(int)*p],
                                   .action = row->action,
                                   .bucket = &bucket,
                                   .object = row->object == '-' ? NULL : &object,
                                   .key = SLICE_LIT("k")};
        if (access_allowed(&r))
            got[strlen(got)] = *p;
    }
    if (strcmp(got, row->allowed) != 0)
        fail_msg("%s of %c's, object %s bucket %s policy %s ownership %s block %s: %s, not %s",
                 row->action, row->object, row->object_acl == NULL ? "-" : row->object_acl,
                 row->bucket_acl == NULL ? "-" : row->bucket_acl,
                 row->policy == NULL ? "-" : row->policy,
                 row->ownership == NULL ? "-" : row->ownership,
                 row->block == NULL ? "-" : row->block, got, row->allowed);
    policy_free(&policy);
    buf_fini(&why);
    buf_fini(&object_acl);
    buf_fini(&bucket_acl);
}

#define OFF "BucketOwnerEnforced"

static void
test_acls(void **state)
{
    static const struct row rows[] = {
        /* Nothing was said: the owner, and root. */
        {"s3:GetObject", 'a', NULL, NULL, NULL, NULL, NULL, "ar"},
        {"s3:GetObject", '-', NULL, NULL, NULL, NULL, NULL, "ar"},
        {"s3:PutObject", '-', NULL, NULL, NULL, NULL, NULL, "ar"},
        {"s3:ListBucket", '-', NULL, NULL, NULL, NULL, NULL, "ar"},
        {"s3:GetBucketVersioning", '-', NULL, NULL, NULL, NULL, NULL, "ar"},
        /* Permissions of an object. */
        {"s3:GetObject", 'a', "public-read", NULL, NULL, NULL, NULL, "abr-"},
        {"s3:GetObjectVersion", 'a', "public-read", NULL, NULL, NULL, NULL, "abr-"},
        {"s3:GetObject", 'a', "authenticated-read", NULL, NULL, NULL, NULL, "abr"},
        {"s3:GetObjectAcl", 'a', "public-read", NULL, NULL, NULL, NULL, "ar"},
        {"s3:GetObjectTagging", 'a', "public-read", NULL, NULL, NULL, NULL, "ar"},
        {"s3:GetObject", 'a', NULL, "public-read-write", NULL, NULL, NULL, "ar"},
        {"s3:GetObject", '-', NULL, "public-read", NULL, NULL, NULL, "ar"},
        /* Permissions of a bucket. */
        {"s3:ListBucket", '-', NULL, "public-read", NULL, NULL, NULL, "abr-"},
        {"s3:ListBucketVersions", '-', NULL, "public-read", NULL, NULL, NULL, "abr-"},
        {"s3:PutObject", '-', NULL, "public-read", NULL, NULL, NULL, "ar"},
        {"s3:PutObject", '-', NULL, "public-read-write", NULL, NULL, NULL, "abr-"},
        {"s3:DeleteObject", '-', NULL, "public-read-write", NULL, NULL, NULL, "abr-"},
        {"s3:DeleteObjectVersion", '-', NULL, "public-read-write", NULL, NULL, NULL, "ar"},
        {"s3:GetBucketAcl", '-', NULL, "public-read-write", NULL, NULL, NULL, "ar"},
        {"s3:DeleteBucket", '-', NULL, "public-read-write", NULL, NULL, NULL, "ar"},
        {"s3:PutBucketPolicy", '-', NULL, "public-read-write", NULL, NULL, NULL, "ar"},
        /* The owner's own grant taken away: the list is still his, and he can empty the bucket. */
        {"s3:PutObject", '-', NULL, "none", NULL, NULL, NULL, "r"},
        {"s3:ListBucket", '-', NULL, "none", NULL, NULL, NULL, "r"},
        {"s3:GetObject", 'a', NULL, "none", NULL, NULL, NULL, "ar"},
        {"s3:GetObject", 'a', "none", NULL, NULL, NULL, NULL, "r"},
        {"s3:PutBucketAcl", '-', NULL, "none", NULL, NULL, NULL, "ar"},
        {"s3:PutObjectAcl", 'a', "none", NULL, NULL, NULL, NULL, "ar"},
        {"s3:DeleteObject", '-', NULL, "none", NULL, NULL, NULL, "ar"},
        {"s3:DeleteBucket", '-', NULL, "none", NULL, NULL, NULL, "ar"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        judge(&rows[i]);
}

static void
test_objects_of_others(void **state)
{
    static const struct row rows[] = {
        {"s3:GetObject", 'b', NULL, NULL, NULL, NULL, NULL, "br"},
        {"s3:GetObjectAcl", 'b', NULL, NULL, NULL, NULL, NULL, "br"},
        {"s3:GetObjectTagging", 'b', NULL, NULL, NULL, NULL, NULL, "br"},
        {"s3:GetObject", 'b', "bucket-owner-read", NULL, NULL, NULL, NULL, "abr"},
        {"s3:GetObjectAcl", 'b', "bucket-owner-read", NULL, NULL, NULL, NULL, "br"},
        {"s3:PutObjectAcl", 'b', "bucket-owner-full-control", NULL, NULL, NULL, NULL, "abr"},
        {"s3:GetObject", 'b', "public-read", NULL, NULL, NULL, NULL, "abr-"},
        /* The bucket's owner can always throw it out. */
        {"s3:DeleteObject", 'b', NULL, NULL, NULL, NULL, NULL, "ar"},
        {"s3:PutObject", 'b', NULL, NULL, NULL, NULL, NULL, "ar"},
        /* A policy cannot give away what is not its bucket's owner's, but it can deny. */
        {"s3:GetObject", 'b', NULL, NULL, ALLOW(ANY, "s3:GetObject"), NULL, NULL, "br"},
        {"s3:GetObject", 'b', NULL, NULL, DENY(BOB, "s3:GetObject"), NULL, NULL, "r"},
        /* Without ACLs it is the bucket owner's. */
        {"s3:GetObject", 'b', NULL, NULL, NULL, OFF, NULL, "ar"},
        {"s3:GetObject", 'b', "public-read", NULL, NULL, OFF, NULL, "ar"},
        {"s3:GetObject", 'b', NULL, NULL, ALLOW(ANY, "s3:GetObject"), OFF, NULL, "abr-"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        judge(&rows[i]);
}

static void
test_policies(void **state)
{
    static const struct row rows[] = {
        {"s3:GetObject", 'a', NULL, NULL, ALLOW(BOB, "s3:GetObject"), NULL, NULL, "abr"},
        {"s3:GetObject", '-', NULL, NULL, ALLOW(BOB, "s3:GetObject"), NULL, NULL, "abr"},
        {"s3:GetObject", 'a', NULL, NULL, ALLOW(ANY, "s3:*"), NULL, NULL, "abr-"},
        {"s3:PutObject", '-', NULL, NULL, ALLOW(BOB, "s3:GetObject"), NULL, NULL, "ar"},
        {"s3:PutBucketVersioning", '-', NULL, NULL, ALLOW(BOB, "s3:PutBucket*"), NULL, NULL, "abr"},
        /* Deny wins against Allow, ACL, ownership and root. */
        {"s3:GetObject", 'a', "public-read", NULL, DENY(ANY, "s3:GetObject") "," ALLOW(ANY, "s3:*"),
         NULL, NULL, ""},
        {"s3:GetObject", 'a', "public-read", NULL, DENY(BOB, "s3:*"), NULL, NULL, "ar-"},
        {"s3:PutBucketVersioning", '-', NULL, NULL, DENY(ANY, "s3:*"), NULL, NULL, ""},
        /* But the policy can always be mended by its owner. */
        {"s3:GetBucketPolicy", '-', NULL, NULL, DENY(ANY, "s3:*"), NULL, NULL, "ar"},
        {"s3:PutBucketPolicy", '-', NULL, NULL, DENY(ANY, "*"), NULL, NULL, "ar"},
        {"s3:DeleteBucketPolicy", '-', NULL, NULL, DENY(ANY, "*"), NULL, NULL, "ar"},
        {"s3:GetBucketPolicyStatus", '-', NULL, NULL, DENY(ANY, "*"), NULL, NULL, ""},
        /* An Allow helps the owner past a list without him. */
        {"s3:PutObject", '-', NULL, "none", ALLOW(ANY, "s3:PutObject"), NULL, NULL, "abr-"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        judge(&rows[i]);
}

static void
test_settings(void **state)
{
    static const struct row rows[] = {
        /* ACLs off. */
        {"s3:GetObject", 'a', "public-read", NULL, NULL, OFF, NULL, "ar"},
        {"s3:PutObject", '-', NULL, "public-read-write", NULL, OFF, NULL, "ar"},
        {"s3:PutObject", '-', NULL, "none", NULL, OFF, NULL, "ar"},
        {"s3:GetObject", 'a', "public-read", NULL, NULL, "BucketOwnerPreferred", NULL, "abr-"},
        /* IgnorePublicAcls: groups count for nothing, grants to users stay. */
        {"s3:GetObject", 'a', "public-read", NULL, NULL, NULL, "0100", "ar"},
        {"s3:GetObject", 'a', "authenticated-read", NULL, NULL, NULL, "0100", "ar"},
        {"s3:ListBucket", '-', NULL, "public-read", NULL, NULL, "0100", "ar"},
        {"s3:GetObject", 'b', "bucket-owner-read", NULL, NULL, NULL, "0100", "abr"},
        {"s3:GetObject", 'b', "public-read", NULL, NULL, NULL, "0100", "br"},
        {"s3:GetObject", 'a', "public-read", NULL, NULL, NULL, "1011", "abr-"},
        /* RestrictPublicBuckets: a public policy lets in the owner's account alone. */
        {"s3:GetObject", 'a', NULL, NULL, ALLOW(ANY, "s3:GetObject"), NULL, "0001", "ar"},
        {"s3:GetObject", 'a', NULL, NULL,
         ALLOW(ANY, "s3:ListBucket") "," ALLOW(BOB, "s3:GetObject"), NULL, "0001", "ar"},
        {"s3:GetObject", 'a', NULL, NULL, ALLOW(BOB, "s3:GetObject"), NULL, "0001", "abr"},
        {"s3:GetObject", 'a', NULL, NULL, ALLOW(ANY, "s3:GetObject"), NULL, "1110", "abr-"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        judge(&rows[i]);
}

/* Root's own bucket: an owner like any other. */
static void
test_root_as_owner(void **state)
{
    static const struct {
        const char *action;
        char object;
        const char *bucket_acl;
        bool allowed;
    } rows[] = {
        {"s3:PutObject", 'r', NULL, true},     {"s3:PutObject", 'r', "none", false},
        {"s3:GetObject", 'r', NULL, true},     {"s3:GetObject", 'b', NULL, false},
        {"s3:GetObjectAcl", 'b', NULL, false}, {"s3:DeleteObject", 'b', NULL, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf acl;
        struct slice root = slice_str(who_is['r']->canonical_id);
        struct store_bucket b = {.name = SLICE_LIT("album"),
                                 .owner = root,
                                 .acl = kept(rows[i].bucket_acl, 'r', 'r', &acl)};
        struct store_object o = {.owner = slice_str(who_is[(int)rows[i].object]->canonical_id)};
        struct access_request r = {.account = who_is['r'],
                                   .action = rows[i].action,
                                   .bucket = &b,
                                   .object = &o,
                                   .key = SLICE_LIT("k")};
        if (access_allowed(&r) != rows[i].allowed)
            fail_msg("%s of %c's", rows[i].action, rows[i].object);
        buf_fini(&acl);
    }
}

static void
test_new_owner(void **state)
{
    static const struct {
        const char *ownership;
        char writer;
        bool gives_all;
        char owner;
    } rows[] = {
        {NULL, 'b', false, 'b'},
        {NULL, 'b', true, 'b'},
        {NULL, '-', false, 'a'},
        {NULL, 'r', false, 'a'},
        {NULL, 'a', false, 'a'},
        {"ObjectWriter", 'b', true, 'b'},
        {"BucketOwnerPreferred", 'b', false, 'b'},
        {"BucketOwnerPreferred", 'b', true, 'a'},
        {OFF, 'b', false, 'a'},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct store_bucket b = {.owner = slice_str(who_is['a']->canonical_id),
                                 .ownership = slice_str(rows[i].ownership)};
        struct slice owner = access_new_owner(&b, who_is[(int)rows[i].writer], rows[i].gives_all);
        if (!slice_eqs(owner, who_is[(int)rows[i].owner]->canonical_id))
            fail_msg("row %zu", i);
    }
}

static void
test_words(void **state)
{
    enum access_ownership how;
    (void)state;
    assert_int_equal(access_ownership_parse(SLICE_LIT("ObjectWriter"), &how), ERR_NONE);
    assert_int_equal(how, ACCESS_OBJECT_WRITER);
    assert_int_equal(access_ownership_parse(SLICE_LIT("objectwriter"), &how), ERR_INVALID);
    assert_int_equal(access_ownership_parse(SLICE_NONE, &how), ERR_INVALID);
    assert_string_equal(access_block_name(ACCESS_RESTRICT_PUBLIC_BUCKETS), "RestrictPublicBuckets");
    struct store_bucket b = {.access_block = SLICE_LIT("11")}; /* damage blocks nothing it says */
    assert_false(access_blocks(&b, ACCESS_BLOCK_PUBLIC_ACLS));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acls),          cmocka_unit_test(test_objects_of_others),
        cmocka_unit_test(test_policies),      cmocka_unit_test(test_settings),
        cmocka_unit_test(test_root_as_owner), cmocka_unit_test(test_new_owner),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
