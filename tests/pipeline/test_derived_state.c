/* What is wrong with what was derived of an object, at every turn of its life. */
#include "tests/pipeline/answer.h"

#include "pipeline/derived_state.h"
#include "pipeline/survey.h"

#define SMALL_IS_7                                                                  \
    "{\"PRESETS\":\"[{\\\"name\\\":\\\"small\\\",\\\"width\\\":7,\\\"height\\\":7," \
    "\\\"fit\\\":\\\"cover\\\",\\\"format\\\":\\\"webp\\\"}]\"}"
#define SMALL_AND_AVIF                                                                        \
    "{\"PRESETS\":\"["                                                                        \
    "{\\\"name\\\":\\\"small\\\",\\\"width\\\":7,\\\"height\\\":7,\\\"fit\\\":\\\"cover\\\"," \
    "\\\"format\\\":\\\"webp\\\"},"                                                           \
    "{\\\"name\\\":\\\"later\\\",\\\"width\\\":7,\\\"height\\\":7,\\\"fit\\\":\\\"cover\\\"," \
    "\\\"format\\\":\\\"avif\\\"}]\"}"

static int
setup(void **state)
{
    (void)rig_setup_photos(state);
    struct rig *r = *state;
    CHK(rig_environment(r, "thumbnail", SMALL_IS_7) == ERR_NONE);
    return 0;
}

/* ---- looking ---- */

/* What the survey of a whole bucket must say of an object with these states. */
static enum survey_class
class_of(const struct derived_states *s)
{
    static const struct {
        enum derived_state state;
        enum survey_class class;
    } order[] = {{DERIVED_STALE, SURVEY_STALE},
                 {DERIVED_MISSING, SURVEY_MISSING},
                 {DERIVED_FAILED, SURVEY_FAILED},
                 {DERIVED_PENDING, SURVEY_WAITING},
                 {DERIVED_SKIPPED, SURVEY_SKIPPED}};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        if (derived_states_any(s, order[i].state))
            return order[i].class;
    }
    return s->count == 0 ? SURVEY_OTHER : SURVEY_CURRENT;
}

/* The two judgements are one. */
static void
check_survey(struct rig *r, const char *bucket, const char *key, const struct derived_states *s)
{
    struct survey *page = chk_malloc(sizeof *page);
    struct arena *a = arena_new(SURVEY_ARENA_BYTES);
    struct survey_spec spec = {.bucket = slice_str(bucket),
                               .prefix = slice_str(key),
                               .select = SELECT_STALE | SELECT_MISSING | SELECT_FAILED,
                               .objects_max = 1,
                               .tasks_max = 1};
    assert_int_equal(survey_page(pipeline_registry(r->pipeline), r->db, a, &spec, page), ERR_NONE);
    assert_int_equal(page->seen, 1);
    assert_true(slice_eqs(page->last, key));
    for (int i = 0; i < SURVEY_CLASS_COUNT; i++)
        assert_int_equal(page->classes[i], i == (int)class_of(s));
    survey_fini(page);
    arena_free(&a);
    free(page);
}

/* "small=ok metadata=pending" of bucket/{key} */
static const char *
states_in(struct rig *r, const char *bucket, const char *key)
{
    static char out[1024];
    size_t at = 0;
    struct db_conn *conn = NULL;
    const struct store_object *o = NULL;
    struct derived_states s;
    struct rule_list rules;
    struct arena *a = arena_new(4 << 20);
    CHK(store_get(r->store, slice_str(bucket), slice_str(key), &o) == ERR_NONE);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(rule_load(conn, o->bucket_id, a, &rules) == ERR_NONE);
    CHK(derived_states_read(pipeline_registry(r->pipeline), conn, a, o, slice_str(bucket), &rules,
                            &s) == ERR_NONE);
    db_read_end(r->db, &conn);
    out[0] = '\0';
    for (size_t i = 0; i < s.count; i++) {
        const struct derived_part *p = &s.parts[i];
        assert_true(p->reason.n > 0 || p->state == DERIVED_OK || p->state == DERIVED_PENDING);
        assert_true(derived_states_any(&s, p->state));
        at += (size_t)snprintf(out + at, sizeof out - at, "%s%s=%s", i > 0 ? " " : "",
                               p->preset == NULL ? p->function->name.p : p->preset->name,
                               derived_state_name(p->state));
    }
    check_survey(r, bucket, key, &s);
    derived_states_fini(&s);
    store_object_unref(&o);
    arena_free(&a);
    return out;
}

static const char *
states(struct rig *r, const char *key)
{
    return states_in(r, "photos", key);
}

/* The verdict of `metadata` by hand. */
static int
facts_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct queue_event *e = arg;
    struct function_set *set = NULL;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    CHK(native_item_facts(conn, a, set, e->bucket_id, e->bucket, e->key, e->generation, e->function,
                          NULL, 0, SLICE_LIT("ready")) == ERR_NONE);
    CHK(queue_apply_ack(conn, e, QUEUE_ACKED) == ERR_NONE);
    registry_unref(&set);
    arena_free(&a);
    return ERR_NONE;
}

static void
facts_done(struct rig *r, const char *key)
{
    struct queue_event e;
    struct arena *a = arena_new(1 << 20);
    CHK(answer_event(r, a, key, "metadata", &e));
    CHK(rig_call(r, facts_fn, &e) == ERR_NONE);
    arena_free(&a);
}

static void
put_done(struct rig *r, const char *key)
{
    rig_put(r, "photos", key, SLICE_LIT("x"), "image/png");
    answer_done(r, key, FN_OK);
    facts_done(r, key);
}

/* All waiting events of photos/k go, as if they had never been. */
static int
forget_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct arena *a = arena_new(1 << 20);
    (void)arg;
    CHK(queue_apply_supersede(conn, *(int64_t *)arg, SLICE_LIT("k"), 0, a, NULL, NULL) == ERR_NONE);
    (void)r;
    arena_free(&a);
    return ERR_NONE;
}

static void
forget(struct rig *r)
{
    int64_t bucket_id = rig_bucket_id(r, "photos");
    CHK(rig_call(r, forget_fn, &bucket_id) == ERR_NONE);
}

static int
item_gone_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct function_set *set = NULL;
    struct arena *a = arena_new(1 << 20);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    CHK(native_item_delete(conn, a, set, *(int64_t *)arg, SLICE_LIT("photos"), SLICE_LIT("k")) ==
        ERR_NONE);
    registry_unref(&set);
    arena_free(&a);
    return ERR_NONE;
}

/* ---- the tests ---- */

static void
a_life(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    assert_string_equal(states(r, "k"), "small=pending metadata=pending");
    answer_done(r, "k", FN_OK);
    assert_string_equal(states(r, "k"), "small=ok metadata=pending");
    facts_done(r, "k");
    assert_string_equal(states(r, "k"), "small=ok metadata=ok");
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    assert_string_equal(states(r, "k"), "small=pending metadata=pending");
    answer_done(r, "k", FN_SKIPPED);
    assert_string_equal(states(r, "k"), "small=skipped metadata=pending");
}

static void
no_rule(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_bucket(r, "plain"), ERR_NONE);
    rig_put(r, "plain", "k", SLICE_LIT("x"), "image/png");
    assert_string_equal(states_in(r, "plain", "k"), "");
    put_done(r, "k");
    assert_string_equal(states_in(r, "photos-derived", "k/small.webp"), "");
}

static void
missing(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    forget(r);
    assert_string_equal(states(r, "k"), "small=missing metadata=missing");
    put_done(r, "k");
    assert_string_equal(states(r, "k"), "small=ok metadata=ok");
    rig_delete(r, "photos-derived", "k/small.webp");
    assert_string_equal(states(r, "k"), "small=missing metadata=ok");
    int64_t bucket_id = rig_bucket_id(r, "photos");
    CHK(rig_call(r, item_gone_fn, &bucket_id) == ERR_NONE);
    assert_string_equal(states(r, "k"), "small=missing metadata=missing");
}

static void
stale(void **state)
{
    struct rig *r = *state;
    put_done(r, "k");
    assert_int_equal(rig_environment(r, "thumbnail", "{}"), ERR_NONE);
    assert_string_equal(states(r, "k"), "small=stale medium=missing large=missing metadata=ok");
    assert_int_equal(rig_environment(r, "thumbnail", SMALL_IS_7), ERR_NONE);
    assert_string_equal(states(r, "k"), "small=ok metadata=ok");
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    forget(r);
    assert_string_equal(states(r, "k"), "small=stale metadata=missing");
}

static void
foreign(void **state)
{
    struct rig *r = *state;
    put_done(r, "k");
    rig_put(r, "photos-derived", "k/small.webp", SLICE_LIT("mine"), "image/webp");
    assert_string_equal(states(r, "k"), "small=foreign metadata=ok");
}

static void
given_up(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    facts_done(r, "k");
    for (int i = 0; i < 3; i++)
        answer_done(r, "k", FN_ERROR);
    assert_string_equal(states(r, "k"), "small=failed metadata=ok");
}

static void
follow_up(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_environment(r, "thumbnail", SMALL_AND_AVIF), ERR_NONE);
    put_done(r, "k");
    assert_string_equal(states(r, "k"), "small=ok later=pending metadata=ok");
    forget(r);
    assert_string_equal(states(r, "k"), "small=ok later=missing metadata=ok");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_life), T(no_rule), T(missing), T(stale), T(foreign), T(given_up), T(follow_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
