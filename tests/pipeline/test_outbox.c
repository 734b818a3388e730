/* What a change of an object leaves behind, without any worker: results are committed by hand. */
#include "tests/pipeline/answer.h"

#include "pipeline/provenance.h"

/* ---- tests ---- */

static void
one_event_per_function_and_a_pending_item(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    assert_int_equal(rig_waiting(r), 2);
    assert_string_equal(rig_attr(r, "photos", "k", "state.small"), "pending");
    assert_string_equal(rig_attr(r, "photos", "k", "metadata_state"), "pending");
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "false");
    assert_string_equal(rig_attr(r, "photos", "k", "size"), "1");
    assert_string_equal(rig_attr(r, "photos", "k", "content_type"), "image/png");
    /* Without rules: no event, no item. */
    assert_int_equal(rig_bucket(r, "plain"), ERR_NONE);
    rig_put(r, "plain", "k", SLICE_LIT("x"), "image/png");
    assert_int_equal(rig_waiting(r), 2);
    assert_string_equal(rig_attr(r, "plain", "k", "key"), "");
}

static void
overwriting_supersedes(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    assert_int_equal(rig_waiting(r), 2);
    assert_int_equal(rig_counts(r).superseded, 2);
}

static void
old_thumbnails_stay_until_the_verdict(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_int_equal(rig_count(r, "photos-derived", "k/"), 3);
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "true");
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    assert_int_equal(rig_count(r, "photos-derived", "k/"), 3);
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "false");
    assert_string_equal(rig_attr(r, "photos", "k", "thumbnails"), "map 3");
    answer_done(r, "k", FN_SKIPPED);
    assert_int_equal(rig_count(r, "photos-derived", "k/"), 0);
    assert_string_equal(rig_attr(r, "photos", "k", "state.large"), "skipped: a reason");
    assert_string_equal(rig_attr(r, "photos", "k", "thumbnails"), "map 0");
}

static void
removal_takes_everything(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_int_equal(rig_waiting(r), 1); /* metadata's */
    rig_delete(r, "photos", "k");
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_string_equal(rig_attr(r, "photos", "k", "key"), "");
    assert_int_equal(rig_waiting(r), 0);
}

/* ---- versions: whatever is current has its thumbnails ---- */

static int
versioning_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)arg;
    return store_apply_bucket_versioning(r->store, conn, SLICE_LIT("photos"),
                                         STORE_VERSIONING_ENABLED);
}

static int
delete_version_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct store_delete_result result;
    struct store_delete_spec spec = {
        .bucket = SLICE_LIT("photos"), .key = SLICE_LIT("k"), .version_id = slice_str(arg)};
    int err = store_apply_delete(r->store, conn, &spec, &result);
    return err == ERR_NONE && !result.existed ? ERR_NOTFOUND : err;
}

/* Deletes the newest version, object or marker, and says how. */
static void
delete_newest(struct rig *r)
{
    const struct store_object *o = NULL;
    char id[STORE_VERSION_ID_MAX];
    CHK(store_get_version(r->store, SLICE_LIT("photos"), SLICE_LIT("k"), SLICE_NONE, &o) ==
        ERR_NONE);
    memcpy(id, o->version_id, sizeof id);
    store_object_unref(&o);
    assert_int_equal(rig_call(r, delete_version_fn, id), ERR_NONE);
}

static void
an_older_version_comes_back_with_its_thumbnails(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_call(r, versioning_fn, NULL), ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("first"), "image/png");
    rig_put(r, "photos", "k", SLICE_LIT("second version"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_string_equal(rig_attr(r, "photos", "k", "size"), "14");
    delete_newest(r);
    assert_int_equal(rig_waiting(r), 2); /* both functions, for the first version */
    assert_string_equal(rig_attr(r, "photos", "k", "size"), "5");
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "false");
    answer_done(r, "k", FN_OK);
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "true");
    assert_int_equal(rig_count(r, "photos-derived", "k/"), 3);
}

static void
a_marker_hides_and_its_removal_restores(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_call(r, versioning_fn, NULL), ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("first"), "image/png");
    answer_done(r, "k", FN_OK);
    rig_delete(r, "photos", "k"); /* a marker */
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_string_equal(rig_attr(r, "photos", "k", "key"), "");
    assert_int_equal(rig_waiting(r), 0);
    delete_newest(r);
    assert_int_equal(rig_waiting(r), 2);
    answer_done(r, "k", FN_OK);
    assert_int_equal(rig_count(r, "photos-derived", "k/"), 3);
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "true");
}

/* The first version's result, after the second came and went: its generation is another now. */
static void
a_result_does_not_outlive_two_changes(void **state)
{
    struct rig *r = *state;
    struct answer m;
    assert_int_equal(rig_call(r, versioning_fn, NULL), ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("first"), "image/png");
    answer_make(r, &m, "k", FN_OK);
    rig_put(r, "photos", "k", SLICE_LIT("second"), "image/png");
    delete_newest(r);
    answer_commit(r, &m);
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_int_equal(rig_waiting(r), 2);
}

static void
what_clients_put_is_not_ours(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    rig_put(r, "photos-derived", "k/small.webp", SLICE_LIT("mine"), "image/webp");
    rig_put(r, "photos-derived", "k/other", SLICE_LIT("mine"), "image/webp");
    rig_delete(r, "photos", "k");
    assert_true(rig_exists(r, "photos-derived", "k/small.webp"));
    assert_true(rig_exists(r, "photos-derived", "k/other"));
    assert_false(rig_exists(r, "photos-derived", "k/medium.webp"));
}

static void
results_of_old_generations_are_dropped(void **state)
{
    struct rig *r = *state;
    struct answer m;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_make(r, &m, "k", FN_OK);
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    answer_commit(r, &m);
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "false");
    assert_int_equal(rig_waiting(r), 2);
}

static int
redrive_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    int64_t next;
    struct dead_filter all = {.until = 0};
    return queue_apply_dead_each(conn, &all, DEAD_REDRIVE, arg, &next);
}

/* A dead letter may come back long after its object has changed. */
static void
redriven_events_of_old_generations_are_dropped(void **state)
{
    struct rig *r = *state;
    struct rig_patch p = {"thumbnail", {.has_retries = true, .retries_max = 0}};
    struct answer m;
    int count = 0;
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_ERROR);
    assert_int_equal(rig_counts(r).dead, 1);
    assert_string_equal(rig_attr(r, "photos", "k", "state.small"), "failed: a reason");
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "true");
    assert_int_equal(rig_call(r, redrive_fn, &count), ERR_NONE);
    assert_int_equal(count, 1);
    answer_make(r, &m, "k", FN_SKIPPED); /* as if a worker had been given it */
    answer_commit(r, &m);
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "true");
    assert_int_equal(rig_count(r, "photos-derived", "k/"), 3);
    assert_int_equal(rig_waiting(r), 1); /* metadata's; the stale one is gone */
}

static void
results_for_deleted_objects_are_dropped(void **state)
{
    struct rig *r = *state;
    struct answer m;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_make(r, &m, "k", FN_OK);
    rig_delete(r, "photos", "k");
    answer_commit(r, &m);
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_string_equal(rig_attr(r, "photos", "k", "key"), "");
}

static void
results_of_old_revisions_are_dropped(void **state)
{
    struct rig *r = *state;
    struct answer m;
    struct rig_patch p = {"thumbnail", {.has_timeout = true, .timeout_s = 9}};
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_make(r, &m, "k", FN_OK);
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    answer_commit(r, &m);
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_int_equal(rig_waiting(r), 2); /* still there, and no attempt was counted */
    assert_int_equal(rig_counts(r).retried, 0);
    answer_done(r, "k", FN_OK);
    assert_int_equal(rig_count(r, "photos-derived", ""), 3);
}

static void
a_lacking_answer_is_an_attempt(void **state)
{
    struct rig *r = *state;
    struct answer m;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_make(r, &m, "k", FN_OK);
    m.answer.output_count = 2;
    CHK(rig_call(r, answer_commit_fn, &m) == ERR_NONE);
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_int_equal(rig_counts(r).retried, 1);
    m.answer.output_count = 3;
    answer_commit(r, &m); /* the event still waits: now it is complete */
    assert_int_equal(rig_count(r, "photos-derived", ""), 3);
}

static void
presets_no_longer_configured_go(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_int_equal(rig_environment(r, "thumbnail",
                                     "{\"PRESETS\":\"[{\\\"name\\\":\\\"small\\\",\\\"width\\\":9,"
                                     "\\\"height\\\":9,\\\"fit\\\":\\\"cover\\\","
                                     "\\\"format\\\":\\\"jpeg\\\"}]\"}"),
                     ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_int_equal(rig_count(r, "photos-derived", ""), 1);
    assert_true(rig_exists(r, "photos-derived", "k/small.jpg"));
}

static void
key_too_long_is_skipped(void **state)
{
    struct rig *r = *state;
    char key[STORE_KEY_MAX - 8 + 1];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    rig_put(r, "photos", key, SLICE_LIT("x"), "image/png");
    answer_done(r, key, FN_OK);
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_string_equal(rig_attr(r, "photos", key, "state.small"), "skipped: derived key too long");
    assert_string_equal(rig_attr(r, "photos", key, "ready"), "false");
}

static int
set_user_attr(struct rig *r, struct db_conn *conn, void *arg)
{
    struct arena *a = arg;
    struct function_set *set = NULL;
    struct item_place place;
    struct attr_value mine = attr_s(SLICE_LIT("keep")), map = attr_map_new();
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    int err = native_item_place(conn, a, set, SLICE_LIT("photos"), SLICE_LIT("k"), &place);
    if (err == ERR_NONE)
        err = attr_set(a, &map, SLICE_LIT("note"), &mine);
    if (err == ERR_NONE)
        err = table_apply_update(conn, a, &place.table, &place.key, &map, NULL, 0, true);
    registry_unref(&set);
    return err;
}

static int
facts(struct rig *r, struct db_conn *conn, void *arg)
{
    const struct fn_attr *attrs = arg;
    struct function_set *set = NULL;
    struct arena *a = arena_new(1 << 20);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    int err = native_item_facts(conn, a, set, 1, SLICE_LIT("photos"), SLICE_LIT("k"), 1,
                                SLICE_LIT("metadata"), attrs, 3, SLICE_LIT("ready"));
    registry_unref(&set);
    arena_free(&a);
    return err;
}

static void
facts_are_owned(void **state)
{
    struct rig *r = *state;
    struct fn_attr first[3] = {{SLICE_LIT("width"), 'N', SLICE_LIT("7")},
                               {SLICE_LIT("gps.lat"), 'N', SLICE_LIT("1.50")},
                               {SLICE_LIT("state"), 'S', SLICE_LIT("forged")}};
    struct fn_attr second[3] = {{SLICE_LIT("width"), 'N', SLICE_LIT("8")},
                                {SLICE_LIT("height"), 'N', SLICE_LIT("not a number")},
                                {SLICE_LIT("alpha"), 'F', SLICE_NONE}};
    struct arena *a = arena_new(1 << 20);
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    assert_int_equal(rig_call(r, set_user_attr, a), ERR_NONE);
    assert_int_equal(rig_call(r, facts, first), ERR_NONE);
    assert_string_equal(rig_attr(r, "photos", "k", "gps.lat"), "1.5");
    assert_string_equal(rig_attr(r, "photos", "k", "state.small"), "pending");
    assert_int_equal(rig_call(r, facts, second), ERR_NONE);
    assert_string_equal(rig_attr(r, "photos", "k", "width"), "8");
    assert_string_equal(rig_attr(r, "photos", "k", "gps"), ""); /* the old picture's place */
    assert_string_equal(rig_attr(r, "photos", "k", "height"), "");
    assert_string_equal(rig_attr(r, "photos", "k", "alpha"), "false");
    assert_string_equal(rig_attr(r, "photos", "k", "note"), "keep");
    arena_free(&a);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup_photos, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(one_event_per_function_and_a_pending_item),
        T(overwriting_supersedes),
        T(old_thumbnails_stay_until_the_verdict),
        T(removal_takes_everything),
        T(an_older_version_comes_back_with_its_thumbnails),
        T(a_marker_hides_and_its_removal_restores),
        T(a_result_does_not_outlive_two_changes),
        T(what_clients_put_is_not_ours),
        T(results_of_old_generations_are_dropped),
        T(redriven_events_of_old_generations_are_dropped),
        T(results_for_deleted_objects_are_dropped),
        T(results_of_old_revisions_are_dropped),
        T(a_lacking_answer_is_an_attempt),
        T(presets_no_longer_configured_go),
        T(key_too_long_is_skipped),
        T(facts_are_owned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
