#include "tests/pipeline/rig.h"

static struct function_set *
current(struct rig *r)
{
    struct db_conn *conn = NULL;
    struct function_set *set = NULL;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    db_read_end(r->db, &conn);
    return set;
}

static int
patch(struct rig *r, struct function_patch p)
{
    struct rig_patch arg = {"thumbnail", p};
    return rig_call(r, rig_patch_fn, &arg);
}

static void
natives_with_defaults(void **state)
{
    struct rig *r = *state;
    struct function_set *set = current(r);
    const struct function *t = registry_find(set, SLICE_LIT("thumbnail"));
    const struct function *m = registry_find(set, SLICE_LIT("metadata"));
    assert_non_null(t);
    assert_non_null(m);
    assert_null(registry_find(set, SLICE_LIT("nobody")));
    assert_int_equal(t->memory_mb, 1024);
    assert_int_equal(t->timeout_s, 30);
    assert_int_equal(t->retries_max, 2);
    assert_int_equal(t->event_age_max_s, 21600);
    assert_int_equal(t->reserved_concurrency, -1);
    assert_int_equal(t->native.presets.count, 3);
    assert_true(slice_eqs(registry_table(set), "images"));
    registry_unref(&set);
}

static void
changes_raise_the_revision(void **state)
{
    struct rig *r = *state;
    struct function_set *before = current(r);
    assert_int_equal(patch(r, (struct function_patch){.has_timeout = true, .timeout_s = 5}),
                     ERR_NONE);
    struct function_set *after = current(r);
    const struct function *old = registry_find(before, SLICE_LIT("thumbnail"));
    const struct function *new = registry_find(after, SLICE_LIT("thumbnail"));
    assert_true(new->revision > old->revision);
    assert_int_equal(new->timeout_s, 5);
    assert_int_equal(new->memory_mb, 1024);
    assert_int_equal(old->timeout_s, 30); /* a snapshot never changes */
    assert_int_equal(registry_find(after, SLICE_LIT("metadata"))->revision,
                     registry_find(before, SLICE_LIT("metadata"))->revision);
    registry_unref(&before);
    registry_unref(&after);

    rig_shut(r);
    rig_reopen(r, "none");
    struct function_set *again = current(r);
    assert_int_equal(registry_find(again, SLICE_LIT("thumbnail"))->timeout_s, 5);
    registry_unref(&again);
}

static void
limits(void **state)
{
    struct rig *r = *state;
    const struct function_patch bad[] = {
        {.has_memory = true, .memory_mb = 127},
        {.has_memory = true, .memory_mb = 10241},
        {.has_timeout = true, .timeout_s = 0},
        {.has_timeout = true, .timeout_s = 901},
        {.has_retries = true, .retries_max = 3},
        {.has_concurrency = true, .reserved_concurrency = -2},
        {.has_age = true, .event_age_max_s = 59},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(patch(r, bad[i]), ERR_RANGE);
        assert_true(r->why.n > 0);
    }
    assert_int_equal(patch(r, (struct function_patch){.has_memory = true, .memory_mb = 128}),
                     ERR_NONE);
    struct rig_patch nobody = {"nobody", {.has_memory = true, .memory_mb = 128}};
    assert_int_equal(rig_call(r, rig_patch_fn, &nobody), ERR_NOTFOUND);
}

static void
environments(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_environment(r, "thumbnail", "[]"), ERR_INVALID);
    assert_int_equal(rig_environment(r, "thumbnail", "{\"PRESETS\":7}"), ERR_INVALID);
    assert_int_equal(rig_environment(r, "thumbnail", "{\"PRESETS\":\"nonsense\"}"), ERR_INVALID);
    assert_int_equal(rig_environment(r, "thumbnail", "{\"DAMAGED\":\"ignore\"}"), ERR_INVALID);
    assert_non_null(strstr(r->why.p, "DAMAGED is \"ignore\"; it may be accept or fail."));
    assert_int_equal(rig_environment(r, "thumbnail", "{\"DAMAGED\":\"fail\"}"), ERR_NONE);
    assert_int_equal(rig_environment(r, "thumbnail", "{\"DERIVED_BUCKET\":\"A{bucket}\"}"),
                     ERR_INVALID);
    assert_int_equal(rig_environment(r, "metadata", "{\"TABLE\":\"x\"}"), ERR_INVALID);
    assert_int_equal(rig_environment(r, "metadata", "{\"TABLE\":\"pictures\"}"), ERR_NONE);
    struct function_set *set = current(r);
    assert_true(slice_eqs(registry_table(set), "pictures"));
    registry_unref(&set);
}

/* An operation that fails after the change leaves neither the row nor a cached snapshot. */
static int
change_and_fail(struct rig *r, struct db_conn *conn, void *arg)
{
    struct function_set *set = NULL;
    struct function_patch p = {.has_timeout = true, .timeout_s = 7};
    (void)arg;
    CHK(registry_apply_set(pipeline_registry(r->pipeline), conn, SLICE_LIT("thumbnail"), &p,
                           &r->why) == ERR_NONE);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    CHK(registry_find(set, SLICE_LIT("thumbnail"))->timeout_s == 7);
    registry_unref(&set);
    return ERR_CONFLICT;
}

static void
rolled_back_changes_vanish(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_call(r, change_and_fail, NULL), ERR_CONFLICT);
    struct function_set *set = current(r);
    assert_int_equal(registry_find(set, SLICE_LIT("thumbnail"))->timeout_s, 30);
    registry_unref(&set);
}

static void
arns(void **state)
{
    (void)state;
    char text[FUNCTION_ARN_MAX];
    struct slice name;
    function_arn(SLICE_LIT("thumbnail"), text);
    assert_string_equal(text, "arn:aws:lambda:us-east-1:000000000000:function:thumbnail");
    assert_int_equal(function_arn_parse(slice_str(text), &name), ERR_NONE);
    assert_true(slice_eqs(name, "thumbnail"));
    assert_int_equal(
        function_arn_parse(SLICE_LIT("arn:aws:lambda:eu-west-1:123456789012:function:a:$LATEST"),
                           &name),
        ERR_NONE);
    assert_true(slice_eqs(name, "a"));
    assert_int_equal(function_arn_parse(SLICE_LIT("arn:aws:sqs:r:a:function:x"), &name),
                     ERR_INVALID);
    assert_int_equal(function_arn_parse(SLICE_LIT("arn:aws:lambda:r:a:function:"), &name),
                     ERR_INVALID);
    assert_int_equal(function_arn_parse(SLICE_NONE, &name), ERR_INVALID);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(natives_with_defaults), T(changes_raise_the_revision), T(limits),
        T(environments),          T(rolled_back_changes_vanish), cmocka_unit_test(arns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
