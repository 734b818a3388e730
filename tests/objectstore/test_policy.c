#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "objectstore/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define BUCKET SLICE_LIT("photos")
#define ALLOW_ALL "\"Effect\":\"Allow\",\"Principal\":\"*\","
#define STATEMENT(inner) "{\"Version\":\"2012-10-17\",\"Statement\":[{" inner "}]}"
#define READ_TREE \
    STATEMENT(ALLOW_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::photos/pub/*\"")

/* Parses what must be good. */
static struct policy *
good(const char *json)
{
    struct policy *p = NULL;
    struct buf why;
    buf_init(&why, 1024);
    int err = policy_parse(slice_str(json), BUCKET, &p, &why);
    if (err != ERR_NONE)
        print_error("%s\n%s\n", json, why.p);
    buf_fini(&why);
    assert_int_equal(err, ERR_NONE);
    assert_non_null(p);
    return p;
}

/* Parses what must be refused with a sentence that has `part` in it. */
static void
bad(const char *json, const char *part)
{
    struct policy *p = NULL;
    struct buf why;
    buf_init(&why, 1024);
    int err = policy_parse(slice_str(json), BUCKET, &p, &why);
    assert_int_equal(err, ERR_INVALID);
    assert_null(p);
    assert_true(why.n > 0);
    if (strstr(why.p, part) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", why.p, part);
    buf_fini(&why);
}

static struct policy_request
get_of(const char *key)
{
    return (struct policy_request){.action = "s3:GetObject",
                                   .bucket = BUCKET,
                                   .key = slice_str(key),
                                   .source_ip = SLICE_LIT("192.0.2.7")};
}

static enum policy_verdict
judge_get(const char *json, const char *key)
{
    struct policy *p = good(json);
    struct policy_request rq = get_of(key);
    enum policy_verdict v = policy_judge(p, &rq);
    policy_free(&p);
    return v;
}

static void
test_none_without_policy(void **state)
{
    struct policy_request rq = get_of("a");
    (void)state;
    assert_int_equal(policy_judge(NULL, &rq), POLICY_NONE);
    assert_false(policy_is_public(NULL));
}

static void
test_allow_on_prefix(void **state)
{
    (void)state;
    assert_int_equal(judge_get(READ_TREE, "pub/a.jpg"), POLICY_ALLOW);
    assert_int_equal(judge_get(READ_TREE, "pub/"), POLICY_ALLOW);
    assert_int_equal(judge_get(READ_TREE, "pub"), POLICY_NONE);
    assert_int_equal(judge_get(READ_TREE, "private/pub/a"), POLICY_NONE);
    /* Keys are compared with their case, and a bucket is no object. */
    assert_int_equal(judge_get(READ_TREE, "PUB/a"), POLICY_NONE);
    assert_int_equal(judge_get(READ_TREE, NULL), POLICY_NONE);
}

static void
test_action_ignores_case(void **state)
{
    (void)state;
    const char *json =
        STATEMENT(ALLOW_ALL "\"Action\":\"S3:gEt*\",\"Resource\":\"arn:aws:s3:::photos/*\"");
    struct policy *p = good(json);
    struct policy_request rq = get_of("x");
    assert_int_equal(policy_judge(p, &rq), POLICY_ALLOW);
    rq.action = "s3:PutObject";
    assert_int_equal(policy_judge(p, &rq), POLICY_NONE);
    policy_free(&p);
}

static void
test_deny_wins_in_any_order(void **state)
{
    (void)state;
    static const char allow[] =
        "{" ALLOW_ALL "\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::photos/*\"}";
    static const char deny[] = "{\"Effect\":\"Deny\",\"Principal\":{\"AWS\":\"*\"},"
                               "\"Action\":\"s3:GetObject\","
                               "\"Resource\":[\"arn:aws:s3:::photos/secret/*\"]}";
    char json[1024];
    for (int i = 0; i < 2; i++) {
        snprintf(json, sizeof json, "{\"Statement\":[%s,%s]}", i == 0 ? allow : deny,
                 i == 0 ? deny : allow);
        assert_int_equal(judge_get(json, "secret/a"), POLICY_DENY);
        assert_int_equal(judge_get(json, "open/a"), POLICY_ALLOW);
    }
}

static void
test_not_action_and_not_resource(void **state)
{
    (void)state;
    const char *json =
        STATEMENT("\"Effect\":\"Deny\",\"Principal\":\"*\",\"NotAction\":[\"s3:Put*\","
                  "\"s3:List*\"],\"NotResource\":\"arn:aws:s3:::photos/open/*\"");
    struct policy *p = good(json);
    struct policy_request rq = get_of("shut/a");
    assert_int_equal(policy_judge(p, &rq), POLICY_DENY);
    rq.action = "s3:PutObject";
    assert_int_equal(policy_judge(p, &rq), POLICY_NONE);
    rq = get_of("open/a");
    assert_int_equal(policy_judge(p, &rq), POLICY_NONE);
    policy_free(&p);
}

static void
test_principals(void **state)
{
    (void)state;
    uint8_t digest[SHA256_BYTES];
    char canonical[2 * SHA256_BYTES + 1], json[1024];
    digest_sha256("222222222222", 12, digest);
    hex_encode(digest, sizeof digest, canonical);
    snprintf(json, sizeof json,
             "{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":["
             "\"arn:aws:iam::111111111111:root\",\"333333333333\"]},\"Action\":\"s3:GetObject\","
             "\"Resource\":\"arn:aws:s3:::photos/*\"},{\"Effect\":\"Allow\",\"Principal\":"
             "{\"CanonicalUser\":\"%s\"},\"Action\":\"s3:GetObject\","
             "\"Resource\":\"arn:aws:s3:::photos/*\"}]}",
             canonical);
    struct policy *p = good(json);
    struct policy_request rq = get_of("a");
    assert_int_equal(policy_judge(p, &rq), POLICY_NONE);
    static const char *const allowed[] = {"111111111111", "222222222222", "333333333333"};
    for (size_t i = 0; i < 3; i++) {
        rq.account_id = slice_str(allowed[i]);
        assert_int_equal(policy_judge(p, &rq), POLICY_ALLOW);
    }
    rq.account_id = SLICE_LIT("444444444444");
    assert_int_equal(policy_judge(p, &rq), POLICY_NONE);
    assert_false(policy_is_public(p));
    policy_free(&p);
}

static enum policy_verdict
judge_list(const char *json, struct slice prefix, struct slice delimiter)
{
    struct policy *p = good(json);
    struct policy_request rq = {
        .action = "s3:ListBucket", .bucket = BUCKET, .prefix = prefix, .delimiter = delimiter};
    enum policy_verdict v = policy_judge(p, &rq);
    policy_free(&p);
    return v;
}

#define LIST_IF(condition)                                                                   \
    STATEMENT(ALLOW_ALL "\"Action\":\"s3:ListBucket\",\"Resource\":\"arn:aws:s3:::photos\"," \
                        "\"Condition\":{" condition "}")

static void
test_condition_on_prefix(void **state)
{
    (void)state;
    static const char equals[] =
        LIST_IF("\"StringEquals\":{\"s3:prefix\":[\"pub/\",\"\"],\"s3:delimiter\":\"/\"}");
    struct slice slash = SLICE_LIT("/");
    assert_int_equal(judge_list(equals, SLICE_LIT("pub/"), slash), POLICY_ALLOW);
    assert_int_equal(judge_list(equals, SLICE_LIT(""), slash), POLICY_ALLOW);
    assert_int_equal(judge_list(equals, SLICE_NONE, slash), POLICY_NONE);
    assert_int_equal(judge_list(equals, SLICE_LIT("pub/a"), slash), POLICY_NONE);
    assert_int_equal(judge_list(equals, SLICE_LIT("pub/"), SLICE_NONE), POLICY_NONE);

    static const char like[] = LIST_IF("\"StringLike\":{\"S3:Prefix\":\"pub/*\"}");
    assert_int_equal(judge_list(like, SLICE_LIT("pub/a/b"), SLICE_NONE), POLICY_ALLOW);
    assert_int_equal(judge_list(like, SLICE_LIT("pub"), SLICE_NONE), POLICY_NONE);

    static const char not_equals[] = LIST_IF("\"StringNotEquals\":{\"s3:prefix\":\"secret/\"}");
    assert_int_equal(judge_list(not_equals, SLICE_LIT("secret/"), SLICE_NONE), POLICY_NONE);
    assert_int_equal(judge_list(not_equals, SLICE_LIT("pub/"), SLICE_NONE), POLICY_ALLOW);
    assert_int_equal(judge_list(not_equals, SLICE_NONE, SLICE_NONE), POLICY_ALLOW);

    static const char not_like[] = LIST_IF("\"StringNotLike\":{\"s3:prefix\":\"s*t/\"}");
    assert_int_equal(judge_list(not_like, SLICE_LIT("secret/"), SLICE_NONE), POLICY_NONE);
    assert_int_equal(judge_list(not_like, SLICE_LIT("open/"), SLICE_NONE), POLICY_ALLOW);
}

#define GET_IF(condition)                                                                     \
    STATEMENT(ALLOW_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::photos/*\"," \
                        "\"Condition\":{" condition "}")

static enum policy_verdict
judge_from(const char *json, const char *ip)
{
    struct policy *p = good(json);
    struct policy_request rq = get_of("a");
    rq.source_ip = slice_str(ip);
    enum policy_verdict v = policy_judge(p, &rq);
    policy_free(&p);
    return v;
}

static void
test_condition_on_address(void **state)
{
    (void)state;
    static const char in[] = GET_IF("\"IpAddress\":{\"aws:SourceIp\":[\"203.0.113.0/"
                                    "25\",\"2001:db8:a::/47\",\"198.51.100.9\"]}");
    assert_int_equal(judge_from(in, "203.0.113.0"), POLICY_ALLOW);
    assert_int_equal(judge_from(in, "203.0.113.127"), POLICY_ALLOW);
    assert_int_equal(judge_from(in, "203.0.113.128"), POLICY_NONE);
    assert_int_equal(judge_from(in, "::ffff:203.0.113.1"), POLICY_ALLOW);
    assert_int_equal(judge_from(in, "198.51.100.9"), POLICY_ALLOW);
    assert_int_equal(judge_from(in, "198.51.100.8"), POLICY_NONE);
    assert_int_equal(judge_from(in, "2001:db8:b:ffff::1"), POLICY_ALLOW);
    assert_int_equal(judge_from(in, "2001:db8:c::1"), POLICY_NONE);
    assert_int_equal(judge_from(in, ""), POLICY_NONE);

    static const char out[] = GET_IF("\"NotIpAddress\":{\"aws:SourceIp\":\"10.0.0.0/8\"}");
    assert_int_equal(judge_from(out, "10.200.3.4"), POLICY_NONE);
    assert_int_equal(judge_from(out, "11.0.0.1"), POLICY_ALLOW);
    assert_int_equal(
        judge_from(GET_IF("\"IpAddress\":{\"aws:SourceIp\":\"0.0.0.0/0\"}"), "9.9.9.9"),
        POLICY_ALLOW);
}

static void
test_condition_on_transport(void **state)
{
    (void)state;
    static const char json[] =
        STATEMENT("\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":"
                  "\"arn:aws:s3:::photos/*\",\"Condition\":{\"Bool\":{\"aws:SecureTransport\":"
                  "\"false\"}}");
    struct policy *p = good(json);
    struct policy_request rq = get_of("a");
    assert_int_equal(policy_judge(p, &rq), POLICY_DENY);
    rq.secure_transport = true;
    assert_int_equal(policy_judge(p, &rq), POLICY_NONE);
    policy_free(&p);
}

static enum policy_verdict
judge_pattern(const char *pattern, struct slice key)
{
    char json[3000];
    snprintf(json, sizeof json,
             STATEMENT(ALLOW_ALL "\"Action\":\"*\",\"Resource\":\"arn:aws:s3:::photos%s\""),
             pattern);
    struct policy *p = good(json);
    struct policy_request rq = get_of("");
    rq.key = key;
    enum policy_verdict v = policy_judge(p, &rq);
    policy_free(&p);
    return v;
}

static void
test_patterns(void **state)
{
    static const struct {
        const char *pattern, *key;
        bool match;
    } rows[] = {
        {"/*", "a", true},
        {"/a", "a", true},
        {"/a", "ab", false},
        {"/a?c", "abc", true},
        {"/a?c", "ac", false},
        {"/a?c", "abbc", false},
        {"/*.jpg", "x.jpg", true},
        {"/*.jpg", "x.jpgx", false},
        {"/*.jpg", ".jpg", true},
        {"/a*b*c", "aXbYc", true},
        {"/a*b*c", "aXcYb", false},
        {"/a*b*c", "abc", true},
        {"/a*bb*b", "abb", false},
        {"/a*bb*b", "abbb", true},
        {"/**", "a", true},
        {"/a*?b?*c", "a1b2c", true},
        {"/a*?b?*c", "ab2c", false},
        {"/??", "\303\251e", true},
        {"/*?", "\303\251", true},
        {"/?", "\303\251", true},
        {"/??", "\303\251", false},
        {"/x*y?", "xy\303\251", true},
        {"*", "a", true},
        {"*/b", "a/b", true},
        {"/[a]", "[a]", true},
        {"/[a]", "a", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum policy_verdict v = judge_pattern(rows[i].pattern, slice_str(rows[i].key));
        if ((v == POLICY_ALLOW) != rows[i].match)
            fail_msg("%s against %s", rows[i].pattern, rows[i].key);
    }
    assert_int_equal(judge_pattern("/a*", slice_of("a\0b", 3)), POLICY_ALLOW);
    assert_int_equal(judge_pattern("/a", slice_of("a\0b", 3)), POLICY_NONE);
    assert_int_equal(judge_pattern("*", SLICE_NONE), POLICY_ALLOW);
}

/* Many stars against a text that almost matches: exponential matchers never end here. */
static void
test_patterns_take_linear_time(void **state)
{
    char pattern[2100] = "/", key[1025];
    (void)state;
    for (int i = 0; i < 500; i++)
        memcpy(pattern + 1 + 2 * i, "a*", 3);
    strncat(pattern, "b", 2);
    memset(key, 'a', 1024);
    int64_t before = clock_mono_ms();
    for (int i = 0; i < 100; i++)
        assert_int_equal(judge_pattern(pattern, slice_of(key, 1024)), POLICY_NONE);
    assert_true(clock_mono_ms() - before < 20000); /* milliseconds in fact */
}

static void
test_refused(void **state)
{
    (void)state;
#define TAIL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::photos/*\""
    bad("", "invalid Json");
    bad("{", "invalid Json");
    bad("[]", "object");
    bad("{}", "Statement");
    bad("{\"Statement\":[]}", "Statement");
    bad("{\"Version\":\"2020-01-01\",\"Statement\":{" ALLOW_ALL TAIL "}}", "version");
    bad("{\"Statement\":[7]}", "object");
    bad("{\"Statement\":{},\"Other\":1}", "Other");
    bad(STATEMENT("\"Principal\":\"*\"," TAIL), "Effect");
    bad(STATEMENT("\"Effect\":\"allow\",\"Principal\":\"*\"," TAIL), "effect");
    bad(STATEMENT("\"Effect\":\"Allow\"," TAIL), "Principal");
    bad(STATEMENT("\"Effect\":\"Allow\",\"NotPrincipal\":\"*\"," TAIL), "NotPrincipal");
    bad(STATEMENT("\"Effect\":\"Allow\",\"Principal\":\"me\"," TAIL), "principal");
    bad(STATEMENT("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::1:user/x\"}," TAIL),
        "principal");
    bad(STATEMENT("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::*:root\"}," TAIL),
        "principal");
    bad(STATEMENT("\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"x\"}," TAIL), "Service");
    bad(STATEMENT(ALLOW_ALL "\"Resource\":\"arn:aws:s3:::photos/*\""), "Action");
    bad(STATEMENT(ALLOW_ALL "\"Action\":[],\"Resource\":\"arn:aws:s3:::photos/*\""), "Action");
    bad(STATEMENT(ALLOW_ALL "\"Action\":\"ec2:*\",\"Resource\":\"arn:aws:s3:::photos/*\""),
        "invalid action");
    bad(STATEMENT(ALLOW_ALL TAIL ",\"NotAction\":\"s3:*\""), "Action");
    bad(STATEMENT(ALLOW_ALL "\"Action\":\"s3:*\""), "Resource");
    bad(STATEMENT(ALLOW_ALL TAIL ",\"Extra\":1"), "Extra");
    bad(STATEMENT(ALLOW_ALL TAIL ",\"Sid\":1"), "Sid");
#undef TAIL
}

static void
test_refused_resources(void **state)
{
    static const char *const names[] = {"*",
                                        "arn:aws:s3:::*",
                                        "arn:aws:s3:::other/*",
                                        "arn:aws:s3:::photos2/*",
                                        "arn:aws:s3:::photo",
                                        "photos/*",
                                        "arn:aws:s3:::photos/${aws:username}"};
    char json[512];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(json, sizeof json,
                 STATEMENT(ALLOW_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"%s\""), names[i]);
        bad(json, names[i]);
    }
}

static void
test_refused_conditions(void **state)
{
    (void)state;
    bad(GET_IF("\"StringEqualsIfExists\":{\"s3:prefix\":\"a\"}"), "StringEqualsIfExists");
    bad(GET_IF("\"DateLessThan\":{\"aws:CurrentTime\":\"2030-01-01\"}"), "DateLessThan");
    bad(GET_IF("\"StringEquals\":{\"aws:Referer\":\"a\"}"), "aws:Referer");
    bad(GET_IF("\"StringEquals\":{\"aws:SourceIp\":\"10.0.0.0/8\"}"), "aws:SourceIp");
    bad(GET_IF("\"IpAddress\":{\"s3:prefix\":\"a\"}"), "s3:prefix");
    bad(GET_IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/33\"}"), "10.0.0.0/33");
    bad(GET_IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0\"}"), "10.0.0");
    bad(GET_IF("\"Bool\":{\"aws:SecureTransport\":\"maybe\"}"), "maybe");
    bad(GET_IF("\"StringEquals\":7"), "object");
}

static void
test_limits(void **state)
{
    (void)state;
    char *big = malloc(POLICY_BYTES_MAX + 2);
    memset(big, ' ', POLICY_BYTES_MAX + 1);
    big[POLICY_BYTES_MAX + 1] = '\0';
    bad(big, "20 KB");
    free(big);

    struct buf b;
    buf_init(&b, 1 << 20);
    buf_puts(&b, "{\"Statement\":[");
    for (int i = 0; i <= POLICY_STATEMENTS_MAX; i++)
        buf_printf(&b, "%s{}", i == 0 ? "" : ",");
    buf_puts(&b, "]}");
    bad(b.p, "Too many");
    buf_fini(&b);
}

static void
test_public(void **state)
{
    (void)state;
    struct policy *p = good(READ_TREE);
    assert_true(policy_is_public(p));
    policy_free(&p);
    assert_null(p);
    p = good(GET_IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/8\"}"));
    assert_false(policy_is_public(p));
    policy_free(&p);
    p = good(STATEMENT("\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":"
                       "\"arn:aws:s3:::photos\""));
    assert_false(policy_is_public(p));
    policy_free(&p);
    policy_free(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_without_policy),
        cmocka_unit_test(test_allow_on_prefix),
        cmocka_unit_test(test_action_ignores_case),
        cmocka_unit_test(test_deny_wins_in_any_order),
        cmocka_unit_test(test_not_action_and_not_resource),
        cmocka_unit_test(test_principals),
        cmocka_unit_test(test_condition_on_prefix),
        cmocka_unit_test(test_condition_on_address),
        cmocka_unit_test(test_condition_on_transport),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_patterns_take_linear_time),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_refused_resources),
        cmocka_unit_test(test_refused_conditions),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_public),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
