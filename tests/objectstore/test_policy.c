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

/* What the request says of condition keys: rows of key, value. */
struct fact {
    const char *key; /* with its tail */
    const char *value;
};
static const struct fact *facts;
static size_t fact_count;
static size_t asked; /* times a value was wanted */

static size_t
fact_values(const void *arg, enum policy_key key, struct slice tail,
            struct slice out[POLICY_VALUES_MAX], char scratch[POLICY_SCRATCH])
{
    char name[256];
    size_t n = 0;
    (void)arg, (void)scratch;
    asked++;
    snprintf(name, sizeof name, "%s%.*s", policy_key_name(key), SLICE_FMT(tail));
    for (size_t i = 0; i < fact_count; i++) {
        if (strcmp(facts[i].key, name) == 0)
            out[n++] = slice_str(facts[i].value);
    }
    return n;
}

static const struct account ann = {
    .id = "111111111111",
    .canonical_id = "a111111111111111111111111111111111111111111111111111111111111111",
    .display_name = "ann"};
static const struct account bob = {.id = "222222222222", .canonical_id = "b2", .display_name = "b"};

static struct policy_request
get_of(const char *key)
{
    return (struct policy_request){
        .action = "s3:GetObject", .bucket = BUCKET, .key = slice_str(key), .values = fact_values};
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

/* Allowed by that principal: ann, bob, nobody in particular (as letters). */
static void
principal_row(const char *principal, const char *allowed)
{
    char json[1024];
    for (int negated = 0; negated < 2; negated++) {
        snprintf(json, sizeof json,
                 STATEMENT("\"Effect\":\"Allow\",\"%sPrincipal\":%s,\"Action\":\"s3:GetObject\","
                           "\"Resource\":\"arn:aws:s3:::photos/*\""),
                 negated ? "Not" : "", principal);
        struct policy *p = good(json);
        struct policy_request rq = get_of("a");
        const struct account *const who[] = {&ann, &bob, NULL};
        for (size_t i = 0; i < 3; i++) {
            rq.account = who[i];
            bool hit = policy_judge(p, &rq) == POLICY_ALLOW;
            if (hit != ((strchr(allowed, "ab-"[i]) != NULL) != negated))
                fail_msg("%s for %c", json, "ab-"[i]);
        }
        policy_free(&p);
    }
}

static void
test_principals(void **state)
{
    char text[200];
    (void)state;
    principal_row("\"*\"", "ab-");
    principal_row("{\"AWS\":\"*\"}", "ab-");
    principal_row("{\"AWS\":[\"222222222222\",\"*\"]}", "ab-");
    principal_row("{\"AWS\":\"111111111111\"}", "a");
    principal_row("{\"AWS\":\"arn:aws:iam::111111111111:root\"}", "a");
    principal_row("{\"AWS\":\"arn:aws:iam::111111111111:user/team/ann\"}", "a");
    principal_row("{\"AWS\":\"arn:aws:iam::111111111111:user/eve\"}", "");
    principal_row("{\"AWS\":\"arn:aws:iam::111111111111:role/ann\"}", "");
    principal_row("{\"AWS\":\"arn:aws:sts::111111111111:assumed-role/ann/ann\"}", "");
    principal_row("{\"AWS\":[\"333333333333\",\"arn:aws:iam::222222222222:root\"]}", "b");
    principal_row("{\"Service\":\"s3.amazonaws.com\"}", "");
    principal_row("{\"Service\":\"s3.amazonaws.com\",\"AWS\":\"222222222222\"}", "b");
    principal_row("{\"Federated\":\"accounts.google.com\"}", "");
    principal_row("{\"CanonicalUser\":\"b2\"}", "b");
    principal_row("{\"CanonicalUser\":\"111111111111\"}", "");
    snprintf(text, sizeof text, "{\"CanonicalUser\":[\"%s\",\"b2\"]}", ann.canonical_id);
    principal_row(text, "ab");
}

/* ---- conditions ---- */

#define GET_IF(condition)                                                                     \
    STATEMENT(ALLOW_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::photos/*\"," \
                        "\"Condition\":{" condition "}")

static bool
holds(const char *condition, const struct fact *list, size_t count)
{
    char json[2048];
    snprintf(json, sizeof json,
             STATEMENT(ALLOW_ALL "\"Action\":\"s3:*\",\"Resource\":[\"arn:aws:s3:::photos\","
                                 "\"arn:aws:s3:::photos/*\"],\"Condition\":{%s}"),
             condition);
    struct policy *p = good(json);
    struct policy_request rq = get_of("a");
    rq.account = &ann;
    facts = list;
    fact_count = count;
    bool hit = policy_judge(p, &rq) == POLICY_ALLOW;
    policy_free(&p);
    fact_count = 0;
    return hit;
}

/* The condition on one key against one value of it, NULL: absent. */
static void
condition_row(const char *operator, const char * key, const char *wanted, const char *value,
              bool expect)
{
    char text[1024];
    struct fact fact = {key, value};
    snprintf(text, sizeof text, "\"%s\":{\"%s\":%s}", operator, key, wanted);
    if (holds(text, &fact, value != NULL) != expect)
        fail_msg("%s against %s is not %d", text, value == NULL ? "nothing" : value, expect);
}

static void
test_string_conditions(void **state)
{
    static const struct {
        const char *operator, * wanted, *value;
        bool expect;
    } rows[] = {
        {"StringEquals", "\"pub/\"", "pub/", true},
        {"StringEquals", "\"pub/\"", "PUB/", false},
        {"StringEquals", "\"pub/*\"", "pub/a", false},
        {"StringEquals", "\"pub/*\"", "pub/*", true},
        {"StringEquals", "[\"a\",\"\"]", "", true},
        {"StringEquals", "[\"a\",\"b\"]", "b", true},
        {"StringEquals", "\"a\"", NULL, false},
        {"StringEqualsIfExists", "\"a\"", NULL, true},
        {"StringEqualsIfExists", "\"a\"", "b", false},
        {"StringNotEquals", "\"a\"", "a", false},
        {"StringNotEquals", "\"a\"", "b", true},
        {"StringNotEquals", "\"a\"", NULL, true},
        {"StringNotEquals", "[\"a\",\"b\"]", "b", false},
        {"StringEqualsIgnoreCase", "\"Pub\"", "pUB", true},
        {"StringNotEqualsIgnoreCase", "\"Pub\"", "pUB", false},
        {"StringLike", "\"pub/*\"", "pub/a/b", true},
        {"StringLike", "\"pub/*\"", "pub", false},
        {"StringLike", "\"p?b\"", "pub", true},
        {"StringNotLike", "\"s*t/\"", "secret/", false},
        {"StringNotLike", "\"s*t/\"", "open/", true},
        {"StringNotLike", "\"s*t/\"", NULL, true},
        {"BinaryEquals", "\"YQ==\"", "YQ==", true},
        {"Null", "\"true\"", NULL, true},
        {"Null", "\"true\"", "x", false},
        {"Null", "\"false\"", "x", true},
        {"Null", "false", NULL, false},
        {"Bool", "\"true\"", "TRUE", true},
        {"Bool", "true", "false", false},
        {"Bool", "[true,false]", "false", true},
        {"Bool", "true", NULL, false},
        {"Bool", "true", "perhaps", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        condition_row(rows[i].operator, "s3:prefix", rows[i].wanted, rows[i].value, rows[i].expect);
    condition_row("StringEquals", "s3:ExistingObjectTag/a", "\"1\"", "1", true);
    condition_row("StringEquals", "s3:ExistingObjectTag/a", "\"1\"", "2", false);
}

static void
test_ordered_conditions(void **state)
{
    static const struct {
        const char *operator, * wanted, *value;
        bool expect;
    } rows[] = {
        {"NumericEquals", "10", "10", true},
        {"NumericEquals", "\"10.0\"", "10", true},
        {"NumericNotEquals", "10", "10", false},
        {"NumericNotEquals", "10", "ten", true},
        {"NumericLessThan", "10", "9", true},
        {"NumericLessThan", "10", "10", false},
        {"NumericLessThanEquals", "10", "10", true},
        {"NumericLessThanEquals", "10", "11", false},
        {"NumericLessThanEquals", "10", "", false},
        {"NumericLessThanEquals", "10", NULL, false},
        {"NumericLessThanEqualsIfExists", "10", NULL, true},
        {"NumericGreaterThan", "-1", "0", true},
        {"NumericGreaterThanEquals", "[100,5]", "7", true},
        {"DateEquals", "\"2026-01-31T12:00:00Z\"", "1769860800", true},
        {"DateLessThan", "\"2026-01-31T12:00:00Z\"", "2026-01-31T11:59:59.999Z", true},
        {"DateLessThan", "\"2026-01-31T12:00:00Z\"", "2026-01-31T12:00:00.000Z", false},
        {"DateLessThanEquals", "1769860800", "2026-01-31T12:00:00.000Z", true},
        {"DateGreaterThan", "\"2026-01-31\"", "2026-01-31T00:00:00.001Z", true},
        {"DateGreaterThan", "\"2026-01-31\"", "2026-01-30T23:59:59Z", false},
        {"DateGreaterThanEquals", "\"2026-01-31\"", "2026-01-31T00:00:00Z", true},
        {"DateNotEquals", "\"2026-01-31\"", "2026-01-31T00:00:00Z", false},
        {"DateGreaterThan", "\"2026-01-31\"", "soon", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        condition_row(rows[i].operator, "aws:CurrentTime", rows[i].wanted, rows[i].value,
                      rows[i].expect);
}

static void
test_address_conditions(void **state)
{
    static const char in[] = "[\"203.0.113.0/25\",\"2001:db8:a::/47\",\"198.51.100.9\"]";
    static const struct {
        const char *value;
        bool inside;
    } rows[] = {
        {"203.0.113.0", true},        {"203.0.113.127", true},  {"203.0.113.128", false},
        {"::ffff:203.0.113.1", true}, {"198.51.100.9", true},   {"198.51.100.8", false},
        {"2001:db8:b:ffff::1", true}, {"2001:db8:c::1", false}, {"", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        condition_row("IpAddress", "aws:SourceIp", in, rows[i].value, rows[i].inside);
        condition_row("NotIpAddress", "aws:SourceIp", in, rows[i].value, !rows[i].inside);
    }
    condition_row("IpAddress", "aws:SourceIp", "\"0.0.0.0/0\"", "9.9.9.9", true);
}

static void
test_arn_conditions(void **state)
{
    static const struct {
        const char *wanted, *value;
        bool expect;
    } rows[] = {
        {"\"arn:aws:iam::*:root\"", "arn:aws:iam::111111111111:root", true},
        {"\"arn:aws:iam::1?1111111111:root\"", "arn:aws:iam::111111111111:root", true},
        {"\"arn:aws:iam::*\"", "arn:aws:iam::111111111111:root", false},
        {"\"arn:*:root\"", "arn:aws:iam::111111111111:root", false},
        {"\"arn:aws:s3:::a*\"", "arn:aws:s3:::ab:c", true},
        {"\"arn:aws:s3:::a\"", "no arn", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        condition_row("ArnEquals", "aws:PrincipalArn", rows[i].wanted, rows[i].value,
                      rows[i].expect);
        condition_row("ArnLike", "aws:PrincipalArn", rows[i].wanted, rows[i].value, rows[i].expect);
        condition_row("ArnNotLike", "aws:PrincipalArn", rows[i].wanted, rows[i].value,
                      !rows[i].expect);
    }
}

static void
test_sets(void **state)
{
#define KEYS "s3:RequestObjectTagKeys"
    static const struct fact both[] = {{KEYS, "owner"}, {KEYS, "team"}};
    static const struct fact odd[] = {{KEYS, "owner"}, {KEYS, "spy"}};
    (void)state;
    static const char all[] = "\"ForAllValues:StringEquals\":{\"" KEYS "\":[\"owner\",\"team\"]}";
    static const char any[] = "\"ForAnyValue:StringLike\":{\"" KEYS "\":[\"sp*\"]}";
    static const char none[] = "\"ForAllValues:StringNotEquals\":{\"" KEYS "\":[\"spy\"]}";
    assert_true(holds(all, both, 2));
    assert_false(holds(all, odd, 2));
    assert_true(holds(all, NULL, 0));
    assert_false(holds(any, both, 2));
    assert_true(holds(any, odd, 2));
    assert_false(holds(any, NULL, 0));
    assert_true(holds(none, both, 2));
    assert_false(holds(none, odd, 2));
    /* All conditions of a statement must hold. */
    assert_false(holds("\"ForAnyValue:StringEquals\":{\"" KEYS "\":\"owner\"},"
                       "\"StringEquals\":{\"s3:prefix\":\"a\"}",
                       both, 2));
#undef KEYS
}

/* A policy without conditions asks for nothing, nor does a statement that is not about this. */
static void
test_values_are_asked_for_late(void **state)
{
    (void)state;
    asked = 0;
    assert_int_equal(judge_get(READ_TREE, "pub/a.jpg"), POLICY_ALLOW);
    assert_int_equal(judge_get(GET_IF("\"Bool\":{\"aws:SecureTransport\":true}"), NULL),
                     POLICY_NONE);
    assert_int_equal(asked, 0);
    assert_int_equal(judge_get(GET_IF("\"Bool\":{\"aws:SecureTransport\":true}"), "a"),
                     POLICY_NONE);
    assert_int_equal(asked, 1);
}

/* One request that asks for many keys: what cannot differ between them is asked for once. */
static void
test_values_are_asked_for_once(void **state)
{
    static const struct {
        const char *condition;
        size_t times;
    } rows[] = {
        {"\"StringEquals\":{\"aws:Referer\":\"http://me/\"}", 1},
        {"\"StringLike\":{\"aws:Referer\":\"http://${aws:username}/\"}", 2}, /* both values */
        {"\"StringEquals\":{\"s3:ExistingObjectTag/a\":\"b\"}", 3},
        {"\"StringEquals\":{\"s3:VersionId\":\"v\"}", 3},
        {"\"StringLike\":{\"aws:Referer\":\"${s3:VersionId}\"}", 6},
    };
    static const struct fact met[] = {{"aws:Referer", "http://me/"},
                                      {"aws:username", "me"},
                                      {"s3:ExistingObjectTag/a", "b"},
                                      {"s3:VersionId", "http://me/"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[512];
        snprintf(json, sizeof json,
                 STATEMENT(ALLOW_ALL "\"Action\":\"s3:GetObject\",\"Resource\":"
                                     "\"arn:aws:s3:::photos/*\",\"Condition\":{%s}"),
                 rows[i].condition);
        struct policy *p = good(json);
        uint8_t *memo = calloc(1, policy_memo_bytes(p));
        facts = met;
        fact_count = sizeof met / sizeof met[0];
        asked = 0;
        enum policy_verdict first = POLICY_NONE;
        for (int k = 0; k < 3; k++) {
            struct policy_request rq = get_of("k");
            rq.memo = memo;
            enum policy_verdict v = policy_judge(p, &rq);
            first = k == 0 ? v : first;
            assert_int_equal(v, first);
        }
        if (asked != rows[i].times)
            fail_msg("%s: asked %zu times", rows[i].condition, asked);
        assert_int_equal(first, i == 3 ? POLICY_NONE : POLICY_ALLOW);
        fact_count = 0;
        free(memo);
        policy_free(&p);
    }
}

static enum policy_verdict
judge_home(const char *resource, const char *key, const char *user)
{
    char json[512];
    struct fact fact = {"aws:username", user};
    snprintf(
        json, sizeof json,
        STATEMENT(ALLOW_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::photos/%s\""),
        resource);
    facts = &fact;
    fact_count = user != NULL;
    enum policy_verdict v = judge_get(json, key);
    fact_count = 0;
    return v;
}

static void
test_variables(void **state)
{
    static const char home[] = "home/${aws:username}/*";
    (void)state;
    assert_int_equal(judge_home(home, "home/ann/a", "ann"), POLICY_ALLOW);
    assert_int_equal(judge_home(home, "home/bob/a", "ann"), POLICY_NONE);
    assert_int_equal(judge_home(home, "home//a", NULL), POLICY_NONE);
    assert_int_equal(judge_home("home/${aws:username, 'guest'}/*", "home/guest/a", NULL),
                     POLICY_ALLOW);
    assert_int_equal(judge_home("home/${aws:username, 'guest'}/*", "home/guest/a", "ann"),
                     POLICY_NONE);
    /* What a request brings along is no wildcard, nor is what is written so. */
    assert_int_equal(judge_home(home, "home/bob/a", "*"), POLICY_NONE);
    assert_int_equal(judge_home(home, "home/bob/a", "\xff"), POLICY_NONE);
    assert_int_equal(judge_home(home, "home/*/a", "*"), POLICY_ALLOW);
    assert_int_equal(judge_home("a${*}${?}${$}", "a*?$", NULL), POLICY_ALLOW);
    assert_int_equal(judge_home("a${*}", "ab", NULL), POLICY_NONE);
    condition_row("StringEquals", "s3:prefix", "\"${s3:prefix}\"", "any", true);
    condition_row("StringLike", "s3:prefix", "\"${s3:prefix}*\"", "any", true);

    /* Older versions of the language have no variables. */
    assert_int_equal(judge_get("{\"Statement\":{" ALLOW_ALL "\"Action\":\"s3:GetObject\","
                               "\"Resource\":\"arn:aws:s3:::photos/${aws:username}\"}}",
                               "${aws:username}"),
                     POLICY_ALLOW);
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
        {"/*y?z*", "xyy\303\251z", true},
        {"/*y?z*", "xy\303\251", false},
        {"/*?\303\251*e", "\303\251\303\251e", true},
        {"/*?\303\251*e", "\303\251e", false},
        {"/*a?*?b*c", "a\303\251\303\251bc", true},
        {"/*a?*?b*c", "a\303\251bc", false},
        {"/*aa?aab*", "aaaaaaab", true},
        {"/*aa?aab*", "aaaaaaa", false},
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
#define NO_JSON "Policies must be valid JSON and the first byte must be '{'"
#define TWICE "Statement/policy already has instance of "
    bad("", NO_JSON);
    bad("{", NO_JSON);
    bad("[]", NO_JSON);
    bad("\"\"", NO_JSON);
    bad("{\"Statement\":[],\"Statement\":[]}", NO_JSON);
    bad("{}", "Missing required field Statement");
    bad("{\"Statement\":[]}", "Could not parse the policy: Statement is empty!");
    bad("{\"Version\":\"2020-01-01\",\"Statement\":{" ALLOW_ALL TAIL "}}",
        "The policy must contain a valid version string");
    bad("{\"Version\":7,\"Statement\":{" ALLOW_ALL TAIL "}}",
        "The policy must contain a valid version string");
    bad("{\"Statement\":[7]}", "Invalid policy syntax.");
    bad("{\"Id\":7,\"Statement\":[7]}", "Invalid policy syntax.");
    bad("{\"Statement\":{},\"Other\":1}", "Unknown field Other");
    bad(STATEMENT("\"Principal\":\"*\"," TAIL), "Missing required field Effect");
    bad(STATEMENT("\"Effect\":\"allow\",\"Principal\":\"*\"," TAIL), "Invalid effect: allow");
    bad(STATEMENT("\"Effect\":\"Allow\"," TAIL), "Missing required field Principal");
    bad(STATEMENT(ALLOW_ALL "\"NotPrincipal\":\"*\"," TAIL), TWICE "Principal");
    bad(STATEMENT(ALLOW_ALL "\"Resource\":\"arn:aws:s3:::photos/*\""),
        "Missing required field Action");
    bad(STATEMENT(ALLOW_ALL "\"Action\":[],\"Resource\":\"arn:aws:s3:::photos/*\""),
        "Missing required field Action cannot be empty!");
    bad(STATEMENT(ALLOW_ALL TAIL ",\"NotAction\":\"s3:*\""), TWICE "Action");
    bad(STATEMENT(ALLOW_ALL TAIL ",\"NotResource\":\"arn:aws:s3:::photos\""), TWICE "Resource");
    bad(STATEMENT(ALLOW_ALL "\"Action\":\"s3:*\""), "Missing required field Resource");
    bad(STATEMENT(ALLOW_ALL "\"Action\":\"s3:*\",\"Resource\":[]"),
        "Missing required field Resource cannot be empty!");
    bad(STATEMENT(ALLOW_ALL TAIL ",\"Extra\":1"), "Unknown field Extra");
    bad(STATEMENT(ALLOW_ALL TAIL ",\"Sid\":1"), "Invalid policy syntax.");
    static const char *const principals[] = {"\"me\"",
                                             "[\"*\"]",
                                             "{}",
                                             "{\"AWS\":[]}",
                                             "{\"aws\":\"*\"}",
                                             "{\"AWS\":7}",
                                             "{\"AWS\":\"\"}",
                                             "{\"AWS\":\"arn:aws:iam::*:root\"}",
                                             "{\"AWS\":\"arn:aws:s3:::x\"}",
                                             "{\"AWS\":\"arn:aws:iam:eu:1:root\"}",
                                             "{\"AWS\":\"*1\"}",
                                             "{\"Other\":\"x\"}",
                                             "{\"AWS\":\"arn:aws:iam::1:user/*\"}",
                                             "{\"AWS\":\"arn:aws:iam::1:\"}"};
    char json[512];
    for (size_t i = 0; i < sizeof principals / sizeof principals[0]; i++) {
        snprintf(json, sizeof json, STATEMENT("\"Effect\":\"Allow\",\"Principal\":%s," TAIL),
                 principals[i]);
        bad(json, "Invalid principal in policy");
    }
    static const char *const actions[] = {
        "",         "s3:",          "GetObject", "ec2:*", "**", "s3:Get-Object", "s3:GetObjekt",
        "s3:Take*", "s3:GetObject "};
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        snprintf(json, sizeof json,
                 STATEMENT(ALLOW_ALL "\"Action\":\"%s\",\"Resource\":\"arn:aws:s3:::photos/*\""),
                 actions[i]);
        bad(json, "Policy has invalid action");
    }
#undef TAIL
}

static void
test_refused_resources(void **state)
{
    static const char *const names[] = {"*",
                                        "",
                                        "photos/*",
                                        "arn:aws:s3:::",
                                        "arn:aws:s3:::other/*",
                                        "arn:aws:s3:::photos2/*",
                                        "arn:aws:s3:::photos?",
                                        "arn:aws:s3:::photo",
                                        "arn:aws:s3:::PHOTOS/*",
                                        "arn:aws:s3:eu::photos/*",
                                        "arn:aws:s3:::photos/${aws:nothing}",
                                        "arn:aws:s3:::photos/${aws:username"};
    char json[512];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(json, sizeof json,
                 STATEMENT(ALLOW_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"%s\""), names[i]);
        bad(json, "Policy has invalid resource");
    }
}

/* An action that applies to none of the resources is a mistake of the writer. */
static void
test_actions_fit_resources(void **state)
{
#define ON_BUCKET "\"arn:aws:s3:::photos\""
#define ON_OBJECTS "\"arn:aws:s3:::photos/*\""
    static const struct {
        const char *action, *resource;
        bool fits;
    } rows[] = {
        {"\"s3:GetObject\"", ON_OBJECTS, true},
        {"\"s3:GetObject\"", ON_BUCKET, false},
        {"\"s3:getobject?cl\"", ON_BUCKET, false},
        {"\"s3:ListBucket\"", ON_BUCKET, true},
        {"\"s3:ListBucket\"", ON_OBJECTS, false},
        {"[\"s3:GetObject\",\"s3:ListBucket\"]", ON_OBJECTS, false},
        {"[\"s3:GetObject\",\"s3:ListBucket\"]", "[" ON_BUCKET "," ON_OBJECTS "]", true},
        {"\"s3:ListBucket\"", "[\"arn:aws:s3:::*\",\"arn:aws:s3:::*/*\"]", true},
        {"\"s3:GetObject\"", "\"arn:aws:s3:::photos*\"", true},
        {"\"s3:*\"", ON_BUCKET, true},
        {"\"*\"", ON_OBJECTS, true},
        {"\"s3:Get*\"", ON_BUCKET, true},
        {"\"s3:ListAllMyBuckets\"", ON_OBJECTS, true},
    };
    char json[512];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(json, sizeof json, STATEMENT(ALLOW_ALL "\"Action\":%s,\"Resource\":%s"),
                 rows[i].action, rows[i].resource);
        if (!rows[i].fits) {
            bad(json, "Action does not apply to any resource(s) in statement");
            continue;
        }
        struct policy *p = good(json);
        policy_free(&p);
    }
    bad(GET_IF("\"StringEquals\":{\"s3:prefix\":\"a\"}"),
        "Conditions do not apply to combination of actions and resources in statement");
}

static void
test_refused_conditions(void **state)
{
    (void)state;
    bad(GET_IF("\"StringEqualz\":{\"aws:Referer\":\"a\"}"),
        "Invalid Condition type : StringEqualz");
    bad(GET_IF("\"ForEachValue:StringEquals\":{\"aws:Referer\":\"a\"}"),
        "Invalid Condition type : ForEachValue:StringEquals");
    bad(GET_IF("\"NullIfExists\":{\"aws:Referer\":\"true\"}"), "Invalid Condition type : ");
    bad(GET_IF("\"StringEquals\":{\"aws:Nothing\":\"a\"}"), "Policy has an invalid condition key");
    bad(GET_IF("\"StringEquals\":{\"s3:ExistingObjectTag/\":\"a\"}"),
        "Policy has an invalid condition key");
    bad(GET_IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/33\"}"),
        "Invalid IP address in Conditions\n10.0.0.0/33");
    bad(GET_IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0\"}"), "Invalid IP address in Conditions");
    bad(GET_IF("\"Bool\":{\"aws:SecureTransport\":\"maybe\"}"), "Invalid policy syntax.");
    bad(GET_IF("\"NumericEquals\":{\"s3:signatureAge\":\"x\"}"), "Invalid policy syntax.");
    bad(GET_IF("\"DateEquals\":{\"aws:CurrentTime\":\"soon\"}"), "Invalid policy syntax.");
    bad(GET_IF("\"StringEquals\":{\"aws:Referer\":null}"), "Invalid policy syntax.");
    bad(GET_IF("\"StringEquals\":7"), "Invalid policy syntax.");
}

static void
test_limits(void **state)
{
    (void)state;
    char *big = malloc(POLICY_BYTES_MAX + 2);
    memset(big, ' ', POLICY_BYTES_MAX + 1);
    big[POLICY_BYTES_MAX + 1] = '\0';
    bad(big, "Policy exceeds the maximum allowed document size.");
    free(big);

    struct buf b;
    buf_init(&b, 1 << 20);
    buf_puts(&b, "{\"Statement\":[");
    for (int i = 0; i <= POLICY_STATEMENTS_MAX; i++)
        buf_printf(&b, "%s{}", i == 0 ? "" : ",");
    buf_puts(&b, "]}");
    bad(b.p, "too many");
    buf_fini(&b);
}

static void
test_public(void **state)
{
    static const struct {
        const char *statement;
        bool is_public;
    } rows[] = {
        {"\"Effect\":\"Allow\",\"Principal\":\"*\"", true},
        {"\"Effect\":\"Deny\",\"Principal\":\"*\"", false},
        {"\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"111111111111\"}", false},
        {"\"Effect\":\"Allow\",\"Principal\":{\"AWS\":[\"111111111111\",\"*\"]}", true},
        {"\"Effect\":\"Allow\",\"NotPrincipal\":{\"AWS\":\"111111111111\"}", true},
#define OPEN_IF "\"Effect\":\"Allow\",\"Principal\":\"*\",\"Condition\":"
        {OPEN_IF "{\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/32\"}}", false},
        {OPEN_IF "{\"IpAddress\":{\"aws:SourceIp\":[\"11.0.0.0/8\",\"2001:db8::/32\"]}}", false},
        {OPEN_IF "{\"IpAddress\":{\"aws:SourceIp\":\"0.0.0.0/1\"}}", true},
        {OPEN_IF "{\"IpAddress\":{\"aws:SourceIp\":[\"11.1.1.1\",\"2001::/31\"]}}", true},
        {OPEN_IF "{\"NotIpAddress\":{\"aws:SourceIp\":\"11.0.0.0/8\"}}", true},
        {OPEN_IF "{\"IpAddressIfExists\":{\"aws:SourceIp\":\"11.0.0.0/8\"}}", true},
        {OPEN_IF "{\"StringEquals\":{\"aws:SourceVpc\":\"vpc-1\"}}", false},
        {OPEN_IF "{\"StringLike\":{\"aws:SourceVpc\":\"vpc-*\"}}", true},
        {OPEN_IF "{\"StringEquals\":{\"aws:SourceVpc\":\"${aws:username}\"}}", true},
        {OPEN_IF "{\"StringEquals\":{\"aws:Referer\":\"me\"}}", true},
        {OPEN_IF "{\"StringNotEquals\":{\"aws:SourceVpc\":\"vpc-1\"}}", true},
        {OPEN_IF "{\"ArnLike\":{\"aws:PrincipalArn\":\"arn:aws:iam::1:root\"}}", false},
    };
    char json[512];
    struct policy *p = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(json, sizeof json,
                 STATEMENT("%s,\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::photos/*\""),
                 rows[i].statement);
        p = good(json);
        if (policy_is_public(p) != rows[i].is_public)
            fail_msg("%s", json);
        policy_free(&p);
        assert_null(p);
    }
    policy_free(&p);
}

static void
test_known_names(void **state)
{
    struct accounts *accounts = accounts_new();
    struct account a = {"ann-7", NULL, "ann", "ann@example.org", "K", "S", false};
    (void)state;
    assert_int_equal(accounts_add(accounts, &a), ERR_NONE);
    static const struct {
        const char *principal;
        bool known;
    } rows[] = {
        {"\"*\"", true},
        {"{\"AWS\":\"ann-7\"}", true},
        {"{\"AWS\":\"arn:aws:iam::ann-7:root\"}", true},
        {"{\"AWS\":\"123456789012\"}", true},
        {"{\"AWS\":[\"ann-7\",\"eve\"]}", false},
        {"{\"CanonicalUser\":\"eve\"}", false},
    };
    char json[512];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(json, sizeof json,
                 STATEMENT("\"Effect\":\"Allow\",\"Principal\":%s,\"Action\":\"s3:GetObject\","
                           "\"Resource\":\"arn:aws:s3:::photos/*\""),
                 rows[i].principal);
        struct policy *p = good(json);
        if (policy_names_known(p, accounts) != rows[i].known)
            fail_msg("%s", json);
        policy_free(&p);
    }
    accounts_free(&accounts);
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
        cmocka_unit_test(test_string_conditions),
        cmocka_unit_test(test_ordered_conditions),
        cmocka_unit_test(test_address_conditions),
        cmocka_unit_test(test_arn_conditions),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_values_are_asked_for_late),
        cmocka_unit_test(test_values_are_asked_for_once),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_patterns_take_linear_time),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_refused_resources),
        cmocka_unit_test(test_actions_fit_resources),
        cmocka_unit_test(test_refused_conditions),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_public),
        cmocka_unit_test(test_known_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
