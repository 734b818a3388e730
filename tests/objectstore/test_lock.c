/*
 * Object lock: the bucket's document by itself, then configuration, retention, legal hold and the
 * headers of uploads over a connection. What the store lets pass is test_version.c's.
 */
#include "objectstore/lock_config.h"
#include "base/err.h"
#include "tests/objectstore/s3_fixture.h"

#define CONFIG(inner) "<ObjectLockConfiguration>" inner "</ObjectLockConfiguration>"
#define ENABLED "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"
#define DEFAULT(inner) "<Rule><DefaultRetention>" inner "</DefaultRetention></Rule>"
#define MODE(text) "<Mode>" text "</Mode>"
#define DAYS(text) "<Days>" text "</Days>"
#define YEARS(text) "<Years>" text "</Years>"
#define RETENTION(mode, date) \
    "<Retention><Mode>" mode "</Mode><RetainUntilDate>" date "</RetainUntilDate></Retention>"
#define HOLD(status) "<LegalHold><Status>" status "</Status></LegalHold>"
#define LOCK_MODE(text) "x-amz-object-lock-mode: " text "\r\n"
#define LOCK_UNTIL(text) "x-amz-object-lock-retain-until-date: " text "\r\n"
#define LOCK_HOLD(text) "x-amz-object-lock-legal-hold: " text "\r\n"
#define FAR "2099-01-01T00:00:00Z"
#define FARTHER "2099-06-01T00:00:00Z"

/* ---- the document ---- */

static void
documents(void **state)
{
    static const struct {
        const char *xml;
        int err;
        struct store_lock_default want;
    } cases[] = {
        {CONFIG(ENABLED), ERR_NONE, {STORE_RETENTION_NONE, 0, 0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") DAYS(" 3 "))),
         ERR_NONE,
         {STORE_RETENTION_GOVERNANCE, 3, 0}},
        {CONFIG(ENABLED DEFAULT(MODE("COMPLIANCE") YEARS("100"))),
         ERR_NONE,
         {STORE_RETENTION_COMPLIANCE, 0, 100}},
        {CONFIG(ENABLED DEFAULT(MODE("COMPLIANCE") DAYS("36500"))),
         ERR_NONE,
         {STORE_RETENTION_COMPLIANCE, 36500, 0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") DAYS("0"))), ERR_RANGE, {0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") DAYS("36501"))), ERR_RANGE, {0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") YEARS("-1"))), ERR_RANGE, {0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") YEARS("101"))), ERR_RANGE, {0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") YEARS("--1"))), ERR_INVALID, {0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") DAYS("99999999999999999999"))),
         ERR_INVALID,
         {0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE"))), ERR_INVALID, {0}},
        {CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") DAYS("1") YEARS("1"))), ERR_INVALID, {0}},
        {CONFIG(ENABLED DEFAULT(MODE("governance") DAYS("1"))), ERR_INVALID, {0}},
        {CONFIG(ENABLED DEFAULT(DAYS("1"))), ERR_INVALID, {0}},
        {CONFIG(ENABLED "<Rule/>"), ERR_INVALID, {0}},
        {CONFIG(DEFAULT(MODE("GOVERNANCE") DAYS("1"))), ERR_INVALID, {0}},
        {CONFIG("<ObjectLockEnabled>Disabled</ObjectLockEnabled>"), ERR_INVALID, {0}},
        {"<Other>" ENABLED "</Other>", ERR_INVALID, {0}},
        {"", ERR_INVALID, {0}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct store_lock_default got, again;
        struct buf text;
        int err = lock_config_parse(slice_str(cases[i].xml), &got);
        if (err != cases[i].err || memcmp(&got, &cases[i].want, sizeof got) != 0)
            fail_msg("%s: %s, %d %d %d", cases[i].xml, err_name(err), got.retention, got.days,
                     got.years);
        buf_init(&text, 4096);
        lock_config_write(&got, &text);
        assert_int_equal(lock_config_parse(buf_slice(&text), &again), ERR_NONE);
        assert_memory_equal(&got, &again, sizeof got);
        buf_fini(&text);
    }
}

static void
defaults(void **state)
{
    struct store_lock_default none = {STORE_RETENTION_NONE, 0, 0};
    struct store_lock_default days = {STORE_RETENTION_GOVERNANCE, 2, 0};
    struct store_lock_default years = {STORE_RETENTION_COMPLIANCE, 0, 2};
    struct store_lock lock = {.legal_hold = true};
    (void)state;
    lock_config_apply(&none, 1000, &lock);
    assert_int_equal(lock.retention, STORE_RETENTION_NONE);
    lock_config_apply(&days, 1000, &lock);
    assert_int_equal(lock.retention, STORE_RETENTION_GOVERNANCE);
    assert_true(lock.retain_until_ms == 1000 + 2 * LOCK_DAY_MS && lock.legal_hold);
    lock_config_apply(&years, 1000, &lock); /* what was asked for stays */
    assert_true(lock.retain_until_ms == 1000 + 2 * LOCK_DAY_MS);
    lock = (struct store_lock){.retention = STORE_RETENTION_NONE};
    lock_config_apply(&years, 1000, &lock);
    assert_true(lock.retain_until_ms == 1000 + 730 * LOCK_DAY_MS);
}

/* ---- over a connection ---- */

static int
lock_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    return store_apply_bucket_object_lock(f->store, conn, slice_str(arg));
}

static int
versioning_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    return store_apply_bucket_versioning(f->store, conn, slice_str(arg), STORE_VERSIONING_ENABLED);
}

/* A PUT with the digest that such documents need. */
static void
put_document(const struct s3_fix *t, const char *who, const char *target, const char *more,
             const char *body, int status, const char *part)
{
    uint8_t md5[MD5_BYTES];
    struct buf headers;
    buf_init(&headers, 1024);
    digest_md5(body, strlen(body), md5);
    buf_puts(&headers, "content-md5: ");
    base64_encode(&headers, md5, sizeof md5);
    buf_printf(&headers, "\r\n%s", more == NULL ? "" : more);
    s3_send(t, who, "PUT", target, headers.p, body, status, part);
    buf_fini(&headers);
}

static void
configuration(void **state)
{
    struct s3_fix *t = *state;
    const char *plain = CONFIG(ENABLED), *target = "/album?object-lock";
    const char *rule = CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") DAYS("1")));
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ROOT, "GET", target, 404, "<Code>ObjectLockConfigurationNotFoundError</Code>");
    s3_send(t, ROOT, "PUT", target, NULL, plain, 400, "Missing required header");
    put_document(t, ROOT, target, NULL, plain, 409, "<Code>InvalidBucketState</Code>");
    assert_int_equal(fix_run(&t->f, versioning_apply, (void *)(uintptr_t) "album"), ERR_NONE);
    put_document(t, ROOT, target, NULL, CONFIG(ENABLED "<Rule/>"), 400,
                 "<Code>MalformedXML</Code>");
    put_document(t, ROOT, target, NULL, CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") DAYS("0"))), 400,
                 "<Code>InvalidRetentionPeriod</Code>");
    s3_do(t, ROOT, "GET", target, 404, NULL);
    put_document(t, ANN, target, NULL, plain, 403, "<Code>AccessDenied</Code>");
    put_document(t, ROOT, target, NULL, plain, 200, NULL);
    s3_do(t, ROOT, "GET", target, 200, "\">" ENABLED "</ObjectLockConfiguration>");
    put_document(t, ROOT, target, NULL, rule, 200, NULL);
    s3_do(t, ROOT, "GET", target, 200, DEFAULT(MODE("GOVERNANCE") DAYS("1")));
    put_document(t, ROOT, target, NULL, plain, 200, NULL);
    s3_do(t, ROOT, "GET", target, 200, "\">" ENABLED "</ObjectLockConfiguration>");
}

static void
locked_bucket(struct s3_fix *t)
{
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    assert_int_equal(fix_run(&t->f, lock_apply, (void *)(uintptr_t) "album"), ERR_NONE);
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "x", 200, NULL);
}

static void
retention(void **state)
{
    static const char bypass[] = "x-amz-bypass-governance-retention: true\r\n";
    struct s3_fix *t = *state;
    const char *target = "/album/a?retention";
    locked_bucket(t);
    s3_do(t, ROOT, "GET", target, 404, "<Code>NoSuchObjectLockConfiguration</Code>");
    s3_do(t, ROOT, "HEAD", "/album/a", 200, NULL);
    s3_send(t, ROOT, "PUT", target, NULL, RETENTION("GOVERNANCE", FAR), 400,
            "Missing required header");
    put_document(t, ROOT, target, NULL, RETENTION("abc", FAR), 400, "<Code>MalformedXML</Code>");
    put_document(t, ROOT, target, NULL, RETENTION("GOVERNANCE", "soon"), 400,
                 "<Code>MalformedXML</Code>");
    put_document(t, ROOT, target, NULL, "<Retention><Mode>GOVERNANCE</Mode></Retention>", 400,
                 "<Code>MalformedXML</Code>");
    put_document(t, ROOT, target, NULL, RETENTION("GOVERNANCE", "2001-01-01T00:00:00Z"), 400,
                 "The retain until date must be in the future!");
    put_document(t, ROOT, "/album/b?retention", NULL, RETENTION("GOVERNANCE", FAR), 404,
                 "<Code>NoSuchKey</Code>");
    put_document(t, ROOT, "/album/a?retention&versionId=zz", NULL, RETENTION("GOVERNANCE", FAR),
                 400, "<Code>InvalidArgument</Code>");
    put_document(t, ROOT, target, NULL, RETENTION("GOVERNANCE", FAR), 200, NULL);
    s3_do(t, ROOT, "GET", target, 200,
          RETENTION("GOVERNANCE", "2099-01-01T00:00:00.000Z") + sizeof "<Retention>" - 1);
    s3_do(t, ROOT, "HEAD", "/album/a", 200,
          "x-amz-object-lock-retain-until-date: 2099-01-01T00:00:00.000Z\r\n");
    put_document(t, ROOT, target, NULL, RETENTION("GOVERNANCE", FARTHER), 200, NULL);
    put_document(t, ROOT, target, NULL, RETENTION("GOVERNANCE", FAR), 403,
                 "<Code>AccessDenied</Code>");
    put_document(t, ROOT, target, bypass, RETENTION("GOVERNANCE", FAR), 200, NULL);
    put_document(t, ROOT, target, NULL, "<Retention/>", 403, NULL);
    put_document(t, ROOT, target, bypass, "<Retention/>", 200, NULL);
    s3_do(t, ROOT, "GET", target, 404, "<Code>NoSuchObjectLockConfiguration</Code>");
}

/* Bypassing takes a permission of its own. */
static void
bypass_needs_permission(void **state)
{
    static const char bypass[] = "x-amz-bypass-governance-retention: true\r\n";
    static const char policy[] =
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\","
        "\"Principal\":{\"AWS\":\"*\"},\"Action\":%s,\"Resource\":\"arn:aws:s3:::album/*\"}]}";
    struct s3_fix *t = *state;
    const char *target = "/album/a?retention";
    char text[512];
    locked_bucket(t);
    put_document(t, ROOT, target, NULL, RETENTION("GOVERNANCE", FARTHER), 200, NULL);
    snprintf(text, sizeof text, policy, "[\"s3:PutObjectRetention\",\"s3:GetObject\"]");
    s3_send(t, ROOT, "PUT", "/album?policy", NULL, text, 204, NULL);
    put_document(t, ANN, target, bypass, RETENTION("GOVERNANCE", FAR), 403, NULL);
    s3_do(t, ANN, "GET", target, 403, NULL);
    struct raw_answer a;
    struct s3_call head = {.who = ANN, .method = "HEAD", .target = "/album/a"};
    s3_call(t, &head, &a);
    assert_true(a.status == 200 && !s3_says(&a, "x-amz-object-lock"));
    buf_fini(&a.all);
    snprintf(text, sizeof text, policy,
             "[\"s3:PutObjectRetention\",\"s3:BypassGovernanceRetention\"]");
    s3_send(t, ROOT, "PUT", "/album?policy", NULL, text, 204, NULL);
    put_document(t, ANN, target, bypass, RETENTION("GOVERNANCE", FAR), 200, NULL);
}

static void
legal_hold(void **state)
{
    struct s3_fix *t = *state;
    const char *target = "/album/a?legal-hold";
    locked_bucket(t);
    s3_do(t, ROOT, "GET", target, 404, "<Code>NoSuchObjectLockConfiguration</Code>");
    put_document(t, ROOT, target, NULL, HOLD("on"), 400, "<Code>MalformedXML</Code>");
    put_document(t, ROOT, target, NULL, HOLD("ON"), 200, NULL);
    s3_do(t, ROOT, "GET", target, 200, "<Status>ON</Status>");
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-object-lock-legal-hold: ON\r\n");
    put_document(t, ROOT, target, NULL, HOLD("OFF"), 200, NULL);
    s3_do(t, ROOT, "GET", target, 200, "<Status>OFF</Status>");
    s3_do(t, ROOT, "GET", "/album/a", 200, "x-amz-object-lock-legal-hold: OFF\r\n");
}

static void
bucket_without_lock(void **state)
{
    struct s3_fix *t = *state;
    static const char why[] = "Bucket is missing Object Lock Configuration";
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "x", 200, NULL);
    put_document(t, ROOT, "/album/a?retention", NULL, RETENTION("GOVERNANCE", FAR), 400, why);
    put_document(t, ROOT, "/album/a?legal-hold", NULL, HOLD("ON"), 400, why);
    s3_do(t, ROOT, "GET", "/album/a?retention", 400, why);
    s3_do(t, ROOT, "GET", "/album/a?legal-hold", 400, why);
    put_document(t, ROOT, "/album/a", LOCK_HOLD("ON"), "x", 400, why);
    put_document(t, ROOT, "/album/a", LOCK_MODE("GOVERNANCE") LOCK_UNTIL(FAR), "x", 400, why);
}

static void
uploads(void **state)
{
    struct s3_fix *t = *state;
    static const struct {
        const char *headers;
        const char *part;
    } refused[] = {
        {LOCK_MODE("GOVERNANCE"), "must both be supplied"},
        {LOCK_UNTIL(FAR), "must both be supplied"},
        {LOCK_MODE("governance") LOCK_UNTIL(FAR), "Unknown wormMode directive."},
        {LOCK_MODE("GOVERNANCE") LOCK_UNTIL("tomorrow"), "ISO 8601"},
        {LOCK_MODE("GOVERNANCE") LOCK_UNTIL("2001-01-01T00:00:00Z"),
         "<ArgumentValue>2001-01-01T00:00:00Z</ArgumentValue>"},
        {LOCK_HOLD("yes"), "Legal Hold must be either of"},
    };
    const char *lock = LOCK_MODE("COMPLIANCE") LOCK_UNTIL(FAR) LOCK_HOLD("ON");
    locked_bucket(t);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        put_document(t, ROOT, "/album/b", refused[i].headers, "x", 400, refused[i].part);
    s3_send(t, ROOT, "PUT", "/album/b", lock, "x", 400, "Content-MD5 OR x-amz-checksum-");
    s3_do(t, ROOT, "HEAD", "/album/b", 404, NULL);
    put_document(t, ROOT, "/album/b", lock, "x", 200, NULL);
    s3_do(t, ROOT, "HEAD", "/album/b", 200, "x-amz-object-lock-mode: COMPLIANCE\r\n");
    s3_do(t, ROOT, "HEAD", "/album/b", 200, "x-amz-object-lock-legal-hold: ON\r\n");
    s3_send(t, ROOT, "PUT", "/album/c",
            "x-amz-copy-source: /album/a\r\n" LOCK_MODE("GOVERNANCE") LOCK_UNTIL(FAR), "", 200,
            NULL);
    s3_do(t, ROOT, "HEAD", "/album/c", 200, "x-amz-object-lock-mode: GOVERNANCE\r\n");
    put_document(t, ROOT, "/album?object-lock", NULL,
                 CONFIG(ENABLED DEFAULT(MODE("GOVERNANCE") DAYS("1"))), 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/d", NULL, "x", 400, "Content-MD5 OR x-amz-checksum-");
    put_document(t, ROOT, "/album/d", NULL, "x", 200, NULL);
    s3_do(t, ROOT, "HEAD", "/album/d", 200, "x-amz-object-lock-mode: GOVERNANCE\r\n");
    put_document(t, ROOT, "/album/d", LOCK_MODE("COMPLIANCE") LOCK_UNTIL(FAR), "x", 200, NULL);
    s3_do(t, ROOT, "HEAD", "/album/d", 200,
          "x-amz-object-lock-retain-until-date: 2099-01-01T00:00:00.000Z\r\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents),      cmocka_unit_test(defaults),
        S3_TEST(configuration),           S3_TEST(retention),
        S3_TEST(bypass_needs_permission), S3_TEST(legal_hold),
        S3_TEST(bucket_without_lock),     S3_TEST(uploads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
