/*
 * Verdicts without workers: results are made here and given to the writer, pass by pass, so that
 * every state between the first formats and the follow-ups can be looked at.
 */
#include "tests/pipeline/rig.h"

#include "pipeline/provenance.h"
#include "pipeline/result.h"

#define KEY "k"
#define VARIANT "_0123456789abcdef"
#define PRESET(name, format) \
    "{\\\"name\\\":\\\"" name "\\\",\\\"width\\\":64,\\\"height\\\":64,\\\"format\\\":" format "}"
#define FORMATS "[\\\"webp\\\",\\\"avif\\\",\\\"jpeg\\\"]"
#define WITH_FORMATS "{\"PRESETS\":\"[" PRESET("s", FORMATS) "," PRESET("t", "\\\"png\\\"") "]\"}"

static int
setup(void **state)
{
    struct rig *r = chk_calloc(1, sizeof *r);
    *state = r;
    rig_open(r, "/nonexistent/darkroom-worker"); /* never started */
    rig_full_bucket(r, "photos");
    CHK(rig_environment(r, "thumbnail", WITH_FORMATS) == ERR_NONE);
    return 0;
}

/* ---- the event that waits for a pass of `thumbnail` ---- */

struct wanted {
    struct arena *a;
    bool followup;
    bool found;
    struct queue_event event;
};

static int
pick_event(void *arg, const struct queue_event *e)
{
    struct wanted *w = arg;
    if (!slice_eqs(e->function, "thumbnail") || e->followup != w->followup)
        return 0;
    w->found = true;
    CHK(queue_event_copy(w->a, e, &w->event) == ERR_NONE);
    return 1;
}

static bool
find_event(struct rig *r, struct arena *a, bool followup, struct queue_event *out)
{
    struct wanted w = {.a = a, .followup = followup};
    struct db_conn *conn = NULL;
    const struct store_object *o = NULL;
    CHK(store_get(r->store, SLICE_LIT("photos"), SLICE_LIT(KEY), &o) == ERR_NONE);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(queue_of_key(conn, o->bucket_id, SLICE_LIT(KEY), pick_event, &w) == ERR_NONE);
    db_read_end(r->db, &conn);
    store_object_unref(&o);
    *out = w.event;
    return w.found;
}

static bool
waits(struct rig *r, bool followup)
{
    struct arena *a = arena_new(1 << 16);
    struct queue_event e;
    bool found = find_event(r, a, followup, &e);
    arena_free(&a);
    return found;
}

/* ---- a result for it ---- */

static int
apply_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return result_apply(arg, conn);
}

/* The bytes of a made up thumbnail. */
static struct slice
bytes_of(const char *version, const char *identity)
{
    static char text[128];
    snprintf(text, sizeof text, "version %s of %s", version, identity);
    return slice_str(text);
}

static void
make_output(struct rig *r, const char *version, const struct preset *p, struct fn_output *o,
            struct result_output *load)
{
    struct rig_seal seal = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct slice bytes = bytes_of(version, p->name);
    *o = (struct fn_output){.name = slice_str(p->name),
                            .status = FN_OK,
                            .bytes = (int64_t)bytes.n,
                            .width = 64,
                            .height = 48,
                            .fd = fsio_memfd("thumbnail", bytes)};
    CHK(o->fd >= 0 && result_output_load(r->store, o, load) == ERR_NONE);
    store_put_seal(load->put, rig_sealed, &seal);
    pthread_mutex_lock(&seal.mutex);
    while (!seal.done)
        pthread_cond_wait(&seal.cond, &seal.mutex);
    pthread_mutex_unlock(&seal.mutex);
    CHK(seal.err == ERR_NONE);
}

static struct function_set *
functions(struct rig *r)
{
    struct db_conn *conn = NULL;
    struct function_set *set = NULL;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    db_read_end(r->db, &conn);
    return set;
}

static int64_t revisions_behind; /* of the attempts made now */

/* One attempt of a pass: every picture of it (FN_OK), "not a picture" (FN_SKIPPED), or a time-out
 * (FN_ERROR). */
static void
attempt(struct rig *r, bool followup, enum fn_status status, const char *version)
{
    struct fn_output outputs[PRESETS_MAX];
    struct result_output loads[PRESETS_MAX];
    struct arena *a = arena_new(1 << 16);
    struct function_set *set = functions(r);
    const struct function *f = registry_find(set, SLICE_LIT("thumbnail"));
    const struct preset_list *presets = &f->native.presets;
    struct fn_answer answer = {.name = f->name, .status = status, .outputs = outputs};
    struct result_call call = {
        .revision = f->revision - revisions_behind, .answer = &answer, .outputs = loads};
    struct result result = {.registry = pipeline_registry(r->pipeline),
                            .retry_base_ms = 1,
                            .calls = &call,
                            .call_count = 1,
                            .pid = 1,
                            .usage = {.bucket = SLICE_LIT("photos"),
                                      .key = SLICE_LIT(KEY),
                                      .calls = {{.function = f->name}},
                                      .call_count = 1}};
    assert_true(find_event(r, a, followup, &call.event));
    for (size_t i = 0; i < presets->count && status == FN_OK; i++) {
        if (!native_in_pass(&f->native, &presets->presets[i], followup))
            continue;
        make_output(r, version, &presets->presets[i], &outputs[answer.output_count],
                    &loads[answer.output_count]);
        answer.output_count++;
    }
    if (status == FN_SKIPPED)
        answer.reason = SLICE_LIT("not a picture");
    if (status == FN_ERROR) {
        call.answer = NULL;
        call.outcome = "timeout";
        call.reason = SLICE_LIT("timeout after 1 s");
    }
    assert_int_equal(rig_call(r, apply_fn, &result), ERR_NONE);
    for (size_t i = 0; i < answer.output_count; i++) {
        store_put_end(&loads[i].put);
        close(outputs[i].fd);
    }
    registry_unref(&set);
    arena_free(&a);
}

static int64_t
put_source(struct rig *r)
{
    return rig_put(r, "photos", KEY, SLICE_LIT("a source"), "image/jpeg");
}

/* ---- looking ---- */

static void
expect(struct rig *r, const char *name, const char *want)
{
    const char *got = rig_attr(r, "photos", KEY, name);
    if (strcmp(got, want) != 0)
        fail_msg("%s is \"%s\" and not \"%s\"", name, got, want);
}

/* The derived object holds that version, and its ETag is that of its own bytes. */
static void
expect_object(struct rig *r, const char *key, const char *version, const char *identity)
{
    const struct store_object *o = NULL;
    struct slice bytes = bytes_of(version, identity);
    uint8_t md5[MD5_BYTES];
    char etag[2 * MD5_BYTES + 1];
    digest_md5(bytes.p, bytes.n, md5);
    hex_encode(md5, sizeof md5, etag);
    assert_int_equal(store_get(r->store, SLICE_LIT("photos-derived"), slice_str(key), &o),
                     ERR_NONE);
    assert_string_equal(o->etag, etag);
    store_object_unref(&o);
}

/* ---- tests ---- */

static const enum fn_status each_status[] = {FN_OK, FN_SKIPPED, FN_ERROR};

static int
add_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return queue_apply_add(conn, arg);
}

/* The transaction that brings a newer version takes the older one's events along. Should one be
 * left, what comes of it is nothing all the same, a failure included. */
static void
other_generations_change_nothing(void **state)
{
    struct rig *r = *state;
    struct arena *a = arena_new(1 << 16);
    struct queue_event old;
    put_source(r);
    assert_true(find_event(r, a, false, &old));
    old.created_ms = old.not_before_ms = 0;
    int64_t current = put_source(r);
    const int64_t others[] = {old.generation, current - 1, current + 1};
    attempt(r, false, FN_OK, "2");
    attempt(r, true, FN_OK, "2");
    for (size_t i = 0; i < ARRAY_LEN(each_status) * ARRAY_LEN(others); i++) {
        old.generation = others[i / ARRAY_LEN(each_status)];
        assert_int_equal(rig_call(r, add_fn, &old), ERR_NONE);
        attempt(r, false, each_status[i % ARRAY_LEN(each_status)], "1");
        assert_false(waits(r, false));
        assert_false(waits(r, true));
        expect(r, "state.s", "ready");
        expect_object(r, KEY "/s.webp", "2", "s");
        assert_int_equal(rig_count(r, "photos-derived", ""), 4);
    }
    assert_int_equal(rig_counts(r).dead, 0);
    arena_free(&a);
}

/* A result of an older configuration is dropped; its event waits for the next, no attempt counted.
 */
static void
older_revisions_change_nothing(void **state)
{
    struct rig *r = *state;
    struct arena *a = arena_new(1 << 16);
    struct queue_event e;
    put_source(r);
    revisions_behind = 1;
    for (size_t i = 0; i < ARRAY_LEN(each_status); i++) {
        attempt(r, false, each_status[i], "1");
        assert_true(find_event(r, a, false, &e));
        assert_int_equal(e.attempts, 0);
        expect(r, "state.s", "pending");
        assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    }
    revisions_behind = 0;
    attempt(r, false, FN_OK, "2");
    expect_object(r, KEY "/s.webp", "2", "s");
    arena_free(&a);
}

static void
ready_comes_before_the_other_formats(void **state)
{
    struct rig *r = *state;
    char ready_at[64];
    put_source(r);
    expect(r, "state.s.avif", "pending");
    expect(r, "ready", "false");
    assert_false(waits(r, true));
    attempt(r, false, FN_OK, "1");
    expect(r, "ready", "true");
    expect(r, "state.s", "ready");
    expect(r, "state.t", "ready");
    expect(r, "state.s.avif", "pending");
    expect(r, "state.s.jpg", "pending");
    expect(r, "thumbnails", "map 2");
    expect_object(r, KEY "/s.webp", "1", "s");
    expect_object(r, KEY "/t.png", "1", "t");
    assert_int_equal(rig_count(r, "photos-derived", ""), 2);
    assert_true(waits(r, true));
    assert_int_equal(rig_counts(r).waiting[LANE_FOLLOWUP], 1);
    snprintf(ready_at, sizeof ready_at, "%s", rig_attr(r, "photos", KEY, "ready_at"));
    assert_string_not_equal(ready_at, "");

    attempt(r, true, FN_OK, "1");
    expect(r, "state.s.avif", "ready");
    expect(r, "state.s.jpg", "ready");
    expect(r, "ready", "true");
    expect(r, "ready_at", ready_at);
    expect(r, "thumbnails", "map 4");
    expect_object(r, KEY "/s.avif", "1", "s.avif");
    expect_object(r, KEY "/s.jpg", "1", "s.jpg");
    assert_false(waits(r, true));
}

/* A follow-up without luck ends: its formats say so, what was ready stays ready. */
static void
followup_fails_for_good(void **state)
{
    struct rig *r = *state;
    struct rig_patch p = {"thumbnail", {.has_retries = true, .retries_max = 1}};
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    put_source(r);
    attempt(r, false, FN_OK, "1");
    attempt(r, true, FN_OK, "1");
    put_source(r);
    attempt(r, false, FN_OK, "2");
    expect_object(r, KEY "/s.avif", "1", "s.avif"); /* the old one, until there is a verdict */
    attempt(r, true, FN_ERROR, NULL);
    expect(r, "state.s.avif", "pending");
    attempt(r, true, FN_ERROR, NULL);
    expect(r, "state.s.avif", "failed: timeout after 1 s");
    expect(r, "state.s.jpg", "failed: timeout after 1 s");
    expect(r, "state.s", "ready");
    expect(r, "ready", "true");
    assert_false(waits(r, true));
    assert_int_equal(rig_counts(r).dead, 1);
    expect_object(r, KEY "/s.webp", "2", "s");
    assert_false(rig_exists(r, "photos-derived", KEY "/s.avif"));
    expect(r, "thumbnails", "map 2");
}

/* A follow-up that waits while the presets change must not take away what it cannot replace. */
static void
presets_change_between_the_passes(void **state)
{
    struct rig *r = *state;
    put_source(r);
    attempt(r, false, FN_OK, "1");
    assert_int_equal(
        rig_environment(r, "thumbnail", "{\"PRESETS\":\"[" PRESET("other", "\\\"webp\\\"") "]\"}"),
        ERR_NONE);
    attempt(r, true, FN_OK, "1");
    expect(r, "ready", "true");
    expect_object(r, KEY "/s.webp", "1", "s"); /* until there is a new verdict */
    assert_true(waits(r, false));
    attempt(r, false, FN_OK, "2");
    expect(r, "ready", "true");
    expect(r, "state.other", "ready");
    assert_int_equal(rig_count(r, "photos-derived", ""), 1);
    assert_false(waits(r, true));
}

/* No follow-up comes of what is no picture, and nothing of an older one remains. */
static void
no_picture_any_more(void **state)
{
    struct rig *r = *state;
    put_source(r);
    attempt(r, false, FN_OK, "1");
    attempt(r, true, FN_OK, "1");
    assert_int_equal(rig_count(r, "photos-derived", ""), 4);
    put_source(r);
    attempt(r, false, FN_SKIPPED, NULL);
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    expect(r, "state.s.avif", "skipped: not a picture");
    expect(r, "ready", "false");
    assert_false(waits(r, true));
}

static void
formats_no_longer_configured_go(void **state)
{
    struct rig *r = *state;
    put_source(r);
    attempt(r, false, FN_OK, "1");
    attempt(r, true, FN_OK, "1");
    assert_int_equal(
        rig_environment(r, "thumbnail",
                        "{\"PRESETS\":\"[" PRESET("s", "[\\\"webp\\\",\\\"jpeg\\\"]") "]\"}"),
        ERR_NONE);
    put_source(r);
    attempt(r, false, FN_OK, "2");
    expect_object(r, KEY "/s.webp", "2", "s");
    expect_object(r, KEY "/s.jpg", "1", "s.jpg");
    assert_int_equal(rig_count(r, "photos-derived", ""), 2);
    expect(r, "state", "map 2");
}

/* Primary and secondary change places: the same keys, other identities. Nothing is lost and nothing
 * stays that no row knows. */
static void
formats_change_places(void **state)
{
    struct rig *r = *state;
    put_source(r);
    attempt(r, false, FN_OK, "1");
    attempt(r, true, FN_OK, "1");
    assert_int_equal(
        rig_environment(r, "thumbnail",
                        "{\"PRESETS\":\"[" PRESET("s", "[\\\"jpeg\\\",\\\"webp\\\"]") "]\"}"),
        ERR_NONE);
    put_source(r);
    attempt(r, false, FN_OK, "2");
    expect_object(r, KEY "/s.jpg", "2", "s");
    attempt(r, true, FN_OK, "2");
    expect_object(r, KEY "/s.jpg", "2", "s");
    expect_object(r, KEY "/s.webp", "2", "s.webp");
    assert_int_equal(rig_count(r, "photos-derived", ""), 2);
    expect(r, "state", "map 2");
    expect(r, "thumbnails", "map 2");
    rig_delete(r, "photos", KEY);
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
}

/* Where there is nothing but AVIF it is what the first pass makes, and what "ready" waits for. */
static void
nothing_but_avif(void **state)
{
    struct rig *r = *state;
    struct rig_patch p = {"thumbnail", {.has_retries = true, .retries_max = 0}};
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    assert_int_equal(
        rig_environment(r, "thumbnail", "{\"PRESETS\":\"[" PRESET("a", "[\\\"avif\\\"]") "]\"}"),
        ERR_NONE);
    put_source(r);
    expect(r, "ready", "false");
    attempt(r, false, FN_OK, "1");
    expect(r, "ready", "true");
    expect_object(r, KEY "/a.avif", "1", "a");
    assert_false(waits(r, true));
    put_source(r);
    attempt(r, false, FN_ERROR, NULL);
    expect(r, "state.a", "failed: timeout after 1 s");
    expect(r, "ready", "false");
}

/* A user's attributes leave no room for states and thumbnails: `ready` is true to the facts. */
static int
fill_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct function_set *set = NULL;
    struct item_place place;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    struct attr_value mine = attr_map_new(), item, text;
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &set) == ERR_NONE);
    CHK(native_item_place(conn, a, set, SLICE_LIT("photos"), SLICE_LIT(KEY), &place) == ERR_NONE);
    CHK(table_get(conn, a, &place.table, &place.key, &item) == ERR_NONE);
    text = attr_s(slice_of(arg, ITEM_BYTES_MAX - item_bytes(&item) - strlen("mine")));
    CHK(attr_set(a, &mine, SLICE_LIT("mine"), &text) == ERR_NONE);
    int err = table_apply_update(conn, a, &place.table, &place.key, &mine, NULL, 0, true);
    registry_unref(&set);
    arena_free(&a);
    return err;
}

static void
full_items_say_ready(void **state)
{
    struct rig *r = *state;
    char *text = chk_calloc(1, ITEM_BYTES_MAX);
    memset(text, 'm', ITEM_BYTES_MAX);
    put_source(r);
    assert_int_equal(rig_call(r, fill_fn, text), ERR_NONE);
    expect(r, "ready", "false");
    attempt(r, false, FN_OK, "1");
    expect(r, "ready", "true");
    expect_object(r, KEY "/s.webp", "1", "s");
    free(text);
}

/* ---- pictures on the fly: stored as the desk does it, a row for each ---- */

static int
variant_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct provenance *row = arg;
    (void)r;
    return provenance_apply_put(conn, row);
}

static void
put_variant(struct rig *r, int64_t source_generation)
{
    const struct store_object *source = NULL, *derived = NULL;
    rig_put(r, "photos-derived", KEY "/" VARIANT ".webp", SLICE_LIT("bytes"), "image/webp");
    CHK(store_get(r->store, SLICE_LIT("photos"), SLICE_LIT(KEY), &source) == ERR_NONE);
    CHK(store_get(r->store, SLICE_LIT("photos-derived"), SLICE_LIT(KEY "/" VARIANT ".webp"),
                  &derived) == ERR_NONE);
    struct provenance row = {.source_bucket_id = source->bucket_id,
                             .source_key = SLICE_LIT(KEY),
                             .derived_bucket_id = derived->bucket_id,
                             .derived_bucket = SLICE_LIT("photos-derived"),
                             .derived_key = derived->key,
                             .preset = SLICE_LIT(VARIANT),
                             .config_hash = SLICE_LIT("0123456789abcdef"),
                             .source_generation = source_generation,
                             .derived_generation = derived->generation,
                             .function = SLICE_LIT("thumbnail")};
    CHK(rig_call(r, variant_fn, &row) == ERR_NONE);
    store_object_unref(&source);
    store_object_unref(&derived);
}

static bool
has_variant(struct rig *r)
{
    return rig_exists(r, "photos-derived", KEY "/" VARIANT ".webp");
}

static void
variants_live_as_long_as_their_generation(void **state)
{
    struct rig *r = *state;
    put_variant(r, put_source(r));
    attempt(r, false, FN_OK, "1");
    assert_true(has_variant(r));
    attempt(r, true, FN_OK, "1");
    assert_true(has_variant(r));
    put_source(r);
    assert_true(has_variant(r));
    attempt(r, false, FN_OK, "2");
    assert_false(has_variant(r));
}

/* Only the first pass judges them. */
static void
followups_leave_variants_alone(void **state)
{
    struct rig *r = *state;
    int64_t old = put_source(r);
    attempt(r, false, FN_OK, "1");
    put_variant(r, old - 1);
    attempt(r, true, FN_OK, "1");
    assert_true(has_variant(r));
}

static void
variants_go_with_the_picture(void **state)
{
    struct rig *r = *state;
    put_variant(r, put_source(r));
    attempt(r, false, FN_SKIPPED, NULL);
    assert_true(has_variant(r)); /* of this very generation: not this verdict's to judge */
    put_source(r);
    attempt(r, false, FN_SKIPPED, NULL);
    assert_false(has_variant(r));
    put_variant(r, put_source(r));
    rig_delete(r, "photos", KEY);
    assert_false(has_variant(r));
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(other_generations_change_nothing),
        T(older_revisions_change_nothing),
        T(ready_comes_before_the_other_formats),
        T(followup_fails_for_good),
        T(presets_change_between_the_passes),
        T(no_picture_any_more),
        T(formats_no_longer_configured_go),
        T(formats_change_places),
        T(nothing_but_avif),
        T(full_items_say_ready),
        T(variants_live_as_long_as_their_generation),
        T(followups_leave_variants_alone),
        T(variants_go_with_the_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
