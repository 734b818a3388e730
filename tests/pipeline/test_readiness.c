/* How far presets are, at every moment of an object's life; results are committed by hand. */
#include "tests/pipeline/answer.h"

#include "pipeline/readiness.h"

#define SMALL_IS_7                                                                  \
    "{\"PRESETS\":\"[{\\\"name\\\":\\\"small\\\",\\\"width\\\":7,\\\"height\\\":7," \
    "\\\"fit\\\":\\\"cover\\\",\\\"format\\\":\\\"webp\\\"}]\"}"
#define WITH_AVIF                                                                             \
    "{\"PRESETS\":\"["                                                                        \
    "{\\\"name\\\":\\\"small\\\",\\\"width\\\":9,\\\"height\\\":9,\\\"fit\\\":\\\"cover\\\"," \
    "\\\"format\\\":\\\"jpeg\\\"},"                                                           \
    "{\\\"name\\\":\\\"later\\\",\\\"width\\\":9,\\\"height\\\":9,\\\"fit\\\":\\\"cover\\\"," \
    "\\\"format\\\":\\\"avif\\\"}]\"}"

/* ---- looking ---- */

struct seen {
    struct arena *a;
    struct readiness is;
};

static void
look_in(struct rig *r, struct seen *s, const char *bucket, const char *key)
{
    struct db_conn *conn = NULL;
    const struct store_object *o = NULL;
    *s = (struct seen){.a = arena_new(1 << 20)};
    CHK(store_get(r->store, slice_str(bucket), slice_str(key), &o) == ERR_NONE);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(readiness_read(pipeline_registry(r->pipeline), conn, s->a, o, slice_str(bucket), &s->is) ==
        ERR_NONE);
    db_read_end(r->db, &conn);
    store_object_unref(&o);
}

static void
look_end(struct seen *s)
{
    readiness_fini(&s->is);
    arena_free(&s->a);
}

/* "small=ready medium=skipped: why ..., ready" of photos/{key} */
static const char *
states(struct rig *r, const char *key)
{
    static char out[1024];
    struct seen s;
    size_t at = 0;
    look_in(r, &s, "photos", key);
    for (size_t i = 0; i < s.is.count; i++) {
        const struct preset_readiness *p = &s.is.presets[i];
        at += (size_t)snprintf(out + at, sizeof out - at, "%s=%s%s%.*s ", p->preset->name,
                               preset_state_name(p->state), p->reason.n > 0 ? ": " : "",
                               SLICE_FMT(p->reason));
    }
    snprintf(out + at, sizeof out - at, "%s", s.is.ready ? "ready" : "not ready");
    look_end(&s);
    return out;
}

static bool
fresh(struct rig *r, const char *key)
{
    const struct store_object *o = NULL;
    CHK(store_get(r->store, SLICE_LIT("photos-derived"), slice_str(key), &o) == ERR_NONE);
    bool is = readiness_is_fresh(pipeline_registry(r->pipeline), r->db, o);
    store_object_unref(&o);
    return is;
}

/* Writes photos/k's item: state of `small`, as a user may; NULL: the item goes. */
static int
tamper_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct function_set *set = NULL;
    struct item_place place;
    struct arena *a = arena_new(1 << 20);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    CHK(native_item_place(conn, a, set, SLICE_LIT("photos"), SLICE_LIT("k"), &place) == ERR_NONE);
    if (arg == NULL) {
        CHK(table_apply_delete_item(conn, a, &place.table, &place.key, NULL) == ERR_NONE);
    } else {
        struct attr_value map = attr_map_new(), state = attr_map_new(),
                          text = attr_s(slice_str(arg));
        CHK(attr_set(a, &state, SLICE_LIT("small"), &text) == ERR_NONE);
        CHK(attr_set(a, &map, SLICE_LIT("state"), &state) == ERR_NONE);
        CHK(table_apply_update(conn, a, &place.table, &place.key, &map, NULL, 0, true) == ERR_NONE);
    }
    registry_unref(&set);
    arena_free(&a);
    return ERR_NONE;
}

static void
tamper(struct rig *r, const char *state)
{
    CHK(rig_call(r, tamper_fn, (void *)(uintptr_t)state) == ERR_NONE);
}

/* ---- the tests ---- */

static void
from_put_to_ready(void **state)
{
    struct rig *r = *state;
    struct seen s;
    int64_t first = rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    assert_string_equal(states(r, "k"), "small=pending medium=pending large=pending not ready");
    look_in(r, &s, "photos", "k");
    assert_string_equal(s.is.derived_bucket, "photos-derived");
    assert_int_equal(s.is.derived_bucket_id, rig_bucket_id(r, "photos-derived"));
    assert_int_equal(s.is.presets[0].stored_generation, 0);
    assert_true(slice_eqs(s.is.presets[2].derived_key, "k/large.webp"));
    look_end(&s);

    answer_done(r, "k", FN_OK);
    assert_string_equal(states(r, "k"), "small=ready medium=ready large=ready ready");
    const struct store_object *o = NULL;
    CHK(store_get(r->store, SLICE_LIT("photos-derived"), SLICE_LIT("k/small.webp"), &o) ==
        ERR_NONE);
    look_in(r, &s, "photos", "k");
    assert_int_equal(s.is.presets[0].stored_generation, o->generation);
    assert_int_equal(s.is.presets[0].stored_source_generation, first);
    look_end(&s);
    store_object_unref(&o);

    /* Overwritten: what is stored is the older version's. */
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    assert_string_equal(states(r, "k"), "small=pending medium=pending large=pending not ready");
    look_in(r, &s, "photos", "k");
    assert_int_equal(s.is.presets[0].stored_source_generation, first);
    assert_int_not_equal(s.is.presets[0].stored_generation, 0);
    look_end(&s);
    answer_done(r, "k", FN_SKIPPED);
    assert_string_equal(
        states(r, "k"),
        "small=skipped: a reason medium=skipped: a reason large=skipped: a reason not ready");
}

static void
without_rules(void **state)
{
    struct rig *r = *state;
    struct seen s;
    assert_int_equal(rig_bucket(r, "plain"), ERR_NONE);
    rig_put(r, "plain", "k", SLICE_LIT("x"), "image/png");
    look_in(r, &s, "plain", "k");
    assert_int_equal(s.is.count, 3);
    assert_int_equal(s.is.presets[1].state, PRESET_STATE_NONE);
    assert_false(s.is.ready);
    assert_int_equal(s.is.derived_bucket_id, 0);
    look_end(&s);
}

static void
given_up(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(states(r, "k"), "small=pending medium=pending large=pending not ready");
        answer_done(r, "k", FN_ERROR);
    }
    const char *failed =
        "small=failed: a reason medium=failed: a reason large=failed: a reason not ready";
    assert_string_equal(states(r, "k"), failed);
    tamper(r, NULL); /* no item: the dead letter says it */
    assert_string_equal(states(r, "k"), failed);
}

static void
follow_ups(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    assert_string_equal(states(r, "k"), "small=pending later=pending not ready");
    answer_done(r, "k", FN_OK);
    assert_string_equal(states(r, "k"), "small=ready later=pending ready");
    answer_done(r, "k", FN_OK);
    assert_string_equal(states(r, "k"), "small=ready later=ready ready");

    rig_put(r, "photos", "dead", SLICE_LIT("x"), "image/png");
    answer_done(r, "dead", FN_OK);
    for (int i = 0; i < 3; i++)
        answer_done(r, "dead", FN_ERROR);
    assert_string_equal(states(r, "dead"), "small=ready later=failed: a reason ready");
    rig_put(r, "photos", "no", SLICE_LIT("x"), "image/png");
    answer_done(r, "no", FN_FAILED);
    assert_string_equal(states(r, "no"), "small=failed: a reason later=failed: a reason not ready");
}

/* Each pass answers for its own presets. */
static void
passes_apart(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    for (int i = 0; i < 3; i++)
        answer_done(r, "k", FN_ERROR);
    tamper(r, NULL); /* no item: the dead letter of the second pass says it */
    assert_string_equal(states(r, "k"), "small=ready later=failed: a reason ready");

    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_int_equal(rig_environment(r, "thumbnail", SMALL_IS_7), ERR_NONE);
    assert_string_equal(states(r, "k"), "small=none not ready"); /* what waits is the other pass */
}

static void
the_item_is_of_an_older_version(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_SKIPPED);
    assert_int_equal(rig_notify(r, "photos", "<NotificationConfiguration/>"), ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    assert_string_equal(states(r, "k"), "small=none medium=none large=none not ready");
}

static void
another_configuration(void **state)
{
    struct rig *r = *state;
    struct seen s;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    assert_string_equal(states(r, "k"), "small=none later=none not ready");
    /* The same place, but not the same picture. */
    assert_int_equal(rig_environment(r, "thumbnail", SMALL_IS_7), ERR_NONE);
    assert_string_equal(states(r, "k"), "small=none not ready");
    look_in(r, &s, "photos", "k");
    assert_int_not_equal(s.is.presets[0].stored_generation, 0);
    look_end(&s);
}

static void
a_user_writes_the_item(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    tamper(r, "ready");
    assert_string_equal(states(r, "k"), "small=pending medium=pending large=pending not ready");
    answer_done(r, "k", FN_OK);
    tamper(r, "failed: so there");
    assert_string_equal(states(r, "k"), "small=ready medium=ready large=ready ready");
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    answer_done(r, "k", FN_SKIPPED);
    tamper(r, "ready");
    assert_string_equal(states(r, "k"), "small=none medium=none large=none not ready");
    tamper(r, "skipped");
    assert_string_equal(states(r, "k"), "small=skipped medium=none large=none not ready");
}

static void
no_room_for_the_key(void **state)
{
    struct rig *r = *state;
    struct seen s;
    char key[STORE_KEY_MAX - 8 + 1];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    rig_put(r, "photos", key, SLICE_LIT("x"), "image/png");
    look_in(r, &s, "photos", key);
    assert_int_equal(s.is.presets[0].derived_key.n, 0);
    look_end(&s);
    answer_done(r, key, FN_OK);
    assert_non_null(strstr(states(r, key), "small=skipped: derived key too long"));
}

static void
freshness(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    assert_true(fresh(r, "k/small.webp"));
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    assert_false(fresh(r, "k/small.webp"));
    rig_put(r, "photos-derived", "k/medium.webp", SLICE_LIT("mine"), "image/webp");
    assert_true(fresh(r, "k/medium.webp"));
    answer_done(r, "k", FN_OK);
    assert_true(fresh(r, "k/small.webp"));
    assert_true(fresh(r, "k/medium.webp"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup_photos, rig_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(from_put_to_ready),
        T(without_rules),
        T(given_up),
        T(follow_ups),
        T(passes_apart),
        T(the_item_is_of_an_older_version),
        T(another_configuration),
        T(a_user_writes_the_item),
        T(no_room_for_the_key),
        T(freshness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
