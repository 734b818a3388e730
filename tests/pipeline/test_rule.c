/* Notification documents, their rows, and the graph of buckets. */
#include "tests/pipeline/rig.h"

#define ARN "arn:aws:lambda:us-east-1:000000000000:function:"
#define DOC(body) "<NotificationConfiguration>" body "</NotificationConfiguration>"
#define CONFIG(function, event, filter)                                                        \
    "<CloudFunctionConfiguration><CloudFunction>" ARN function "</CloudFunction><Event>" event \
    "</Event>" filter "</CloudFunctionConfiguration>"
#define FILTER(name, value)                                         \
    "<Filter><S3Key><FilterRule><Name>" name "</Name><Value>" value \
    "</Value></FilterRule></S3Key></Filter>"
#define ALL "s3:ObjectCreated:*"

static int
parse(const char *xml, struct rule_list *list, struct arena **a, struct buf *why)
{
    *a = arena_new(RULE_ARENA_BYTES);
    return rule_parse(*a, slice_str(xml), list, why);
}

static int
verdict(const char *xml)
{
    struct rule_list list;
    struct arena *a = NULL;
    struct buf why;
    buf_init(&why, 1000);
    int err = parse(xml, &list, &a, &why);
    if (err != ERR_NONE)
        assert_true(why.n > 0); /* every refusal says why */
    buf_fini(&why);
    arena_free(&a);
    return err;
}

static void
reads_and_prints(void **state)
{
    (void)state;
    struct rule_list list;
    struct arena *a = NULL;
    struct buf why, xml;
    buf_init(&why, 1000);
    buf_init(&xml, 10000);
    assert_int_equal(
        parse(DOC("<LambdaFunctionConfiguration><Id>one</Id><LambdaFunctionArn>" ARN
                  "thumbnail</LambdaFunctionArn><Event>s3:ObjectCreated:Put</Event>"
                  "<Event>s3:ObjectCreated:Copy</Event><Filter><S3Key><FilterRule>"
                  "<Name>Prefix</Name><Value>a&amp;b/</Value></FilterRule><FilterRule>"
                  "<Name>suffix</Name><Value>.jpg</Value></FilterRule></S3Key></Filter>"
                  "</LambdaFunctionConfiguration>" CONFIG("metadata", ALL, "")),
              &list, &a, &why),
        ERR_NONE);
    assert_int_equal(list.count, 2);
    assert_true(slice_eqs(list.rules[0].id, "one"));
    assert_true(slice_eqs(list.rules[0].prefix, "a&b/"));
    assert_true(slice_eqs(list.rules[0].suffix, ".jpg"));
    assert_true(list.rules[1].id.n > 0);
    assert_true(rule_matches(&list.rules[0], EVENT_CREATED_PUT, SLICE_LIT("a&b/x.jpg")));
    assert_true(rule_matches(&list.rules[0], EVENT_RESTORED, SLICE_LIT("a&b/x.jpg")));
    assert_false(rule_matches(&list.rules[0], EVENT_CREATED_MULTIPART, SLICE_LIT("a&b/x.jpg")));
    assert_false(rule_matches(&list.rules[0], EVENT_CREATED_PUT, SLICE_LIT("a&b/x.png")));
    assert_false(rule_matches(&list.rules[0], EVENT_CREATED_PUT, SLICE_LIT("x.jpg")));
    assert_false(rule_matches(&list.rules[1], EVENT_REMOVED, SLICE_LIT("x")));

    /* What is printed reads back the same. */
    rule_print(&list, &xml);
    struct rule_list again;
    struct arena *b = NULL;
    assert_int_equal(parse(xml.p, &again, &b, &why), ERR_NONE);
    assert_int_equal(again.count, 2);
    assert_int_equal(again.rules[0].events, list.rules[0].events);
    assert_true(slice_eq(again.rules[0].prefix, list.rules[0].prefix));
    assert_true(slice_eq(again.rules[1].id, list.rules[1].id));
    arena_free(&b);
    arena_free(&a);
    buf_fini(&xml);
    buf_fini(&why);
}

static void
refuses(void **state)
{
    (void)state;
    assert_int_equal(verdict("<NotificationConfiguration/>"), ERR_NONE);
    assert_int_equal(verdict("<Other/>"), ERR_INVALID);
    assert_int_equal(verdict("<NotificationConfiguration>"), ERR_INVALID);
    assert_int_equal(verdict(DOC("<QueueConfiguration><Queue>arn:aws:sqs:a:b:c</Queue>"
                                 "<Event>" ALL "</Event></QueueConfiguration>")),
                     ERR_INVALID);
    assert_int_equal(verdict(DOC("<TopicConfiguration/>")), ERR_INVALID);
    assert_int_equal(verdict(DOC("<EventBridgeConfiguration/>")), ERR_INVALID);
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", "s3:Nonsense", ""))), ERR_INVALID);
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", "s3:Replication:*", ""))), ERR_INVALID);
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", ALL, FILTER("middle", "x")))), ERR_INVALID);
    assert_int_equal(
        verdict(DOC("<CloudFunctionConfiguration><CloudFunction>thumbnail"
                    "</CloudFunction><Event>" ALL "</Event></CloudFunctionConfiguration>")),
        ERR_INVALID);
    assert_int_equal(verdict(DOC("<CloudFunctionConfiguration><CloudFunction>" ARN "thumbnail"
                                 "</CloudFunction></CloudFunctionConfiguration>")),
                     ERR_INVALID);
}

static void
overlaps(void **state)
{
    (void)state;
    assert_int_equal(
        verdict(DOC(CONFIG("thumbnail", ALL, "") CONFIG("thumbnail", "s3:ObjectCreated:Put", ""))),
        ERR_INVALID);
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", ALL, "") CONFIG("metadata", ALL, ""))),
                     ERR_NONE);
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", ALL, FILTER("prefix", "a/"))
                                     CONFIG("thumbnail", ALL, FILTER("prefix", "b/")))),
                     ERR_NONE);
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", ALL, FILTER("prefix", "a/"))
                                     CONFIG("thumbnail", ALL, FILTER("prefix", "a/b")))),
                     ERR_INVALID);
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", ALL, FILTER("suffix", ".jpg"))
                                     CONFIG("thumbnail", ALL, FILTER("suffix", ".png")))),
                     ERR_NONE);
    /* A prefix rule and a suffix rule meet at some key. */
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", ALL, FILTER("prefix", "a/"))
                                     CONFIG("thumbnail", ALL, FILTER("suffix", ".png")))),
                     ERR_INVALID);
    assert_int_equal(verdict(DOC(CONFIG("thumbnail", "s3:ObjectCreated:Put", "")
                                     CONFIG("thumbnail", "s3:ObjectCreated:Copy", ""))),
                     ERR_NONE);
}

/* ---- with a database ---- */

static int
setup(void **state)
{
    (void)rig_setup(state);
    struct rig *r = *state;
    CHK(rig_bucket(r, "photos") == ERR_NONE);
    return 0;
}

static bool
bucket_exists(struct rig *r, const char *name)
{
    const struct store_bucket *b = NULL;
    int err = store_bucket_get(r->store, slice_str(name), &b);
    store_bucket_unref(&b);
    return err == ERR_NONE;
}

static size_t
rules_of(struct rig *r, const char *bucket)
{
    struct db_conn *conn = NULL;
    const struct store_bucket *b = NULL;
    struct rule_list list;
    struct arena *a = arena_new(RULE_ARENA_BYTES);
    CHK(store_bucket_get(r->store, slice_str(bucket), &b) == ERR_NONE);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(rule_load(conn, b->id, a, &list) == ERR_NONE);
    db_read_end(r->db, &conn);
    store_bucket_unref(&b);
    arena_free(&a);
    return list.count;
}

static void
makes_the_derived_bucket(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_notify(r, "photos", DOC(CONFIG("thumbnail", ALL, ""))), ERR_NONE);
    assert_true(bucket_exists(r, "photos-derived"));
    assert_int_equal(rules_of(r, "photos"), 1);
    assert_int_equal(rig_notify(r, "photos", DOC("")), ERR_NONE);
    assert_int_equal(rules_of(r, "photos"), 0);
}

static void
unknown_function(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_notify(r, "photos", DOC(CONFIG("nobody", ALL, ""))), ERR_INVALID);
    assert_non_null(strstr(r->why.p, "nobody"));
    assert_int_equal(rules_of(r, "photos"), 0);
}

static void
refuses_cycles_by_name(void **state)
{
    struct rig *r = *state;
    /* The function writes into its own source. */
    assert_int_equal(rig_environment(r, "thumbnail", "{\"DERIVED_BUCKET\":\"photos\"}"), ERR_NONE);
    assert_int_equal(rig_notify(r, "photos", DOC(CONFIG("thumbnail", ALL, ""))), ERR_LOOP);
    assert_non_null(strstr(r->why.p, "photos -> thumbnail -> photos"));
    assert_false(bucket_exists(r, "photos-derived"));
    assert_int_equal(rules_of(r, "photos"), 0); /* nothing of it stays */

    /* Prefixes do not save it. */
    assert_int_equal(
        rig_notify(r, "photos", DOC(CONFIG("thumbnail", ALL, FILTER("prefix", "in/")))), ERR_LOOP);
    /* The other way round: the rule first, then the environment. */
    assert_int_equal(rig_environment(r, "thumbnail", "{}"), ERR_NONE);
    assert_int_equal(rig_notify(r, "photos", DOC(CONFIG("thumbnail", ALL, ""))), ERR_NONE);
    assert_int_equal(rig_environment(r, "thumbnail", "{\"DERIVED_BUCKET\":\"photos\"}"), ERR_LOOP);
    assert_non_null(strstr(r->why.p, "photos -> thumbnail -> photos"));
}

/* A longer cycle needs two functions; the graph is asked directly. */
static int
two_functions(struct rig *r, struct db_conn *conn, void *arg)
{
    struct function_set *real = NULL;
    struct function fns[2];
    struct function_set set = {.count = 2, .functions = fns, .refs = 1};
    (void)arg;
    struct db_stmt *s = db_prepare(conn, "INSERT INTO rule VALUES (1001, 0, 'photos', 'a', "
                                         "'thumbnail', 1, x'', x''), "
                                         "(1002, 0, 'photos-derived', 'b', 'shrink', 1, x'', x'')");
    CHK(db_run(s) == ERR_NONE);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &real) == ERR_NONE);
    fns[0] = fns[1] = *registry_find(real, SLICE_LIT("thumbnail"));
    fns[1].name = SLICE_LIT("shrink");
    snprintf(fns[1].native.derived_pattern, sizeof fns[1].native.derived_pattern, "photos");
    buf_reset(&r->why);
    /* The bucket ids are made up, so judge without the repair that removes stale rows. */
    int err = rule_graph_judge(conn, &set, &r->why);
    registry_unref(&real);
    return err;
}

static void
names_long_cycles(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_call(r, two_functions, NULL), ERR_LOOP);
    const char *one = strstr(r->why.p, "photos -> thumbnail -> photos-derived -> shrink -> photos");
    const char *two =
        strstr(r->why.p, "photos-derived -> shrink -> photos -> thumbnail -> photos-derived");
    assert_true(one != NULL || two != NULL);
}

static void
chains_are_no_cycles(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_notify(r, "photos", DOC(CONFIG("thumbnail", ALL, ""))), ERR_NONE);
    assert_int_equal(rig_notify(r, "photos-derived", DOC(CONFIG("thumbnail", ALL, ""))), ERR_NONE);
    assert_true(bucket_exists(r, "photos-derived-derived"));
}

static void
one_source_per_derived_bucket(void **state)
{
    struct rig *r = *state;
    CHK(rig_bucket(r, "other") == ERR_NONE);
    assert_int_equal(rig_environment(r, "thumbnail", "{\"DERIVED_BUCKET\":\"thumbs\"}"), ERR_NONE);
    assert_int_equal(rig_notify(r, "photos", DOC(CONFIG("thumbnail", ALL, ""))), ERR_NONE);
    assert_int_equal(rig_notify(r, "other", DOC(CONFIG("thumbnail", ALL, ""))), ERR_INVALID);
    assert_non_null(strstr(r->why.p, "thumbs"));
}

static int
delete_bucket(struct rig *r, struct db_conn *conn, void *arg)
{
    return store_apply_bucket_delete(r->store, conn, slice_str(arg));
}

static void
deleted_buckets_do_not_count(void **state)
{
    struct rig *r = *state;
    CHK(rig_bucket(r, "other") == ERR_NONE);
    assert_int_equal(rig_environment(r, "thumbnail", "{\"DERIVED_BUCKET\":\"thumbs\"}"), ERR_NONE);
    assert_int_equal(rig_notify(r, "photos", DOC(CONFIG("thumbnail", ALL, ""))), ERR_NONE);
    char name[] = "photos";
    assert_int_equal(rig_call(r, delete_bucket, name), ERR_NONE);
    assert_int_equal(rig_notify(r, "other", DOC(CONFIG("thumbnail", ALL, ""))), ERR_NONE);
}

static void
derived_name_too_long(void **state)
{
    struct rig *r = *state;
    char name[64];
    memset(name, 'a', 60);
    name[60] = '\0';
    CHK(rig_bucket(r, name) == ERR_NONE);
    assert_int_equal(rig_notify(r, name, DOC(CONFIG("thumbnail", ALL, ""))), ERR_INVALID);
    assert_non_null(strstr(r->why.p, "63"));
    assert_int_equal(rig_notify(r, name, DOC(CONFIG("metadata", ALL, ""))), ERR_NONE);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_prints),
        cmocka_unit_test(refuses),
        cmocka_unit_test(overlaps),
        T(makes_the_derived_bucket),
        T(unknown_function),
        T(refuses_cycles_by_name),
        T(names_long_cycles),
        T(chains_are_no_cycles),
        T(one_source_per_derived_bucket),
        T(deleted_buckets_do_not_count),
        T(derived_name_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
