/* The facts of an item: bounded whatever a worker says, and as many as fit beside a user's own. */
#include "tests/pipeline/rig.h"

#define KEY "k"

static int
setup(void **state)
{
    struct rig *r = chk_calloc(1, sizeof *r);
    *state = r;
    rig_open(r, "/nonexistent/darkroom-worker"); /* never started */
    rig_full_bucket(r, "photos");
    rig_put(r, "photos", KEY, SLICE_LIT("a source"), "image/jpeg");
    return 0;
}

/* ---- what users and functions do ---- */

struct facts {
    struct fn_attr attrs[FN_ATTRS_MAX];
    size_t count;
};

static int
facts_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    const struct facts *f = arg;
    struct function_set *set = NULL;
    struct slice owner;
    int64_t bucket_id;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    int err = registry_get(pipeline_registry(r->pipeline), conn, &set);
    if (err == ERR_NONE)
        err = store_apply_bucket_get(r->store, conn, SLICE_LIT("photos"), &bucket_id, a, &owner);
    if (err == ERR_NONE)
        err = native_item_facts(conn, a, set, bucket_id, SLICE_LIT("photos"), SLICE_LIT(KEY), 1,
                                SLICE_LIT("metadata"), f->attrs, f->count, SLICE_LIT("ready"));
    registry_unref(&set);
    arena_free(&a);
    return err;
}

/* A user's own attribute of so many bytes. */
static int
fill_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct slice bytes = *(struct slice *)arg;
    struct function_set *set = NULL;
    struct item_place place;
    struct attr_value mine = attr_map_new(), text = attr_s(bytes);
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    int err = registry_get(pipeline_registry(r->pipeline), conn, &set);
    if (err == ERR_NONE)
        err = native_item_place(conn, a, set, SLICE_LIT("photos"), SLICE_LIT(KEY), &place);
    if (err == ERR_NONE)
        err = attr_set(a, &mine, SLICE_LIT("mine"), &text);
    if (err == ERR_NONE)
        err = table_apply_update(conn, a, &place.table, &place.key, &mine, NULL, 0, true);
    registry_unref(&set);
    arena_free(&a);
    return err;
}

static size_t
item_size(struct rig *r)
{
    struct attr_value item;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    assert_true(rig_item(r, a, "photos", KEY, &item));
    size_t n = item_bytes(&item);
    arena_free(&a);
    return n;
}

/* ---- tests ---- */

/* As much as the protocol lets a worker say. */
static void
hostile_facts_are_cut(void **state)
{
    struct rig *r = *state;
    struct facts f = {0};
    char names[FN_ATTRS_MAX][FN_NAME_MAX];
    char *text = chk_calloc(1, FN_TEXT_MAX);
    for (size_t i = 0; i + 1 < FN_TEXT_MAX; i += 2) /* two bytes a character, one before them */
        memcpy(text + 1 + i, "\xc3\xa9", i + 3 > FN_TEXT_MAX ? 1 : 2);
    text[0] = 'x';
    text[FN_TEXT_MAX - 1] = 'x';
    for (; f.count < FN_ATTRS_MAX; f.count++) {
        snprintf(names[f.count], FN_NAME_MAX, "exif.%056zu", f.count);
        f.attrs[f.count] =
            (struct fn_attr){slice_str(names[f.count]), 'S', slice_of(text, FN_TEXT_MAX)};
    }
    f.attrs[0].name = SLICE_LIT("text");
    f.attrs[1] = (struct fn_attr){SLICE_LIT("bytes"), 'B', slice_of(text, FN_TEXT_MAX)};
    f.attrs[2] = (struct fn_attr){SLICE_LIT("width"), 'N', SLICE_LIT("640")};
    assert_int_equal(rig_call(r, facts_fn, &f), ERR_NONE);
    assert_true(item_size(r) < ITEM_BYTES_MAX / 2);
    assert_int_equal(strlen(rig_attr(r, "photos", KEY, "text")), 1023); /* no half character */
    assert_string_equal(rig_attr(r, "photos", KEY, "bytes"), "");
    assert_string_equal(rig_attr(r, "photos", KEY, "width"), "640");
    assert_string_equal(rig_attr(r, "photos", KEY, "exif"), "map 125");
    assert_string_equal(rig_attr(r, "photos", KEY, "metadata_state"), "ready");
    free(text);
}

static void
full_items_take_what_fits(void **state)
{
    struct rig *r = *state;
    struct facts f = {.attrs = {{SLICE_LIT("format"), 'S', SLICE_LIT("jpeg")},
                                {SLICE_LIT("width"), 'N', SLICE_LIT("640")},
                                {SLICE_LIT("icc"), 'S', SLICE_LIT("a profile")},
                                {SLICE_LIT("palette"), 'S', SLICE_LIT("many colours")}},
                      .count = 4};
    assert_int_equal(rig_call(r, facts_fn, &f), ERR_NONE);
    size_t with = item_size(r);
    char *text = chk_calloc(1, ITEM_BYTES_MAX);
    memset(text, 'm', ITEM_BYTES_MAX);
    struct slice mine = slice_of(text, ITEM_BYTES_MAX - with - strlen("mine"));
    assert_int_equal(rig_call(r, fill_fn, &mine), ERR_NONE);
    assert_int_equal(item_size(r), ITEM_BYTES_MAX);

    /* Said again, and one of them longer than it was. */
    assert_int_equal(rig_call(r, facts_fn, &f), ERR_NONE);
    assert_string_equal(rig_attr(r, "photos", KEY, "metadata_state"), "ready");
    f.attrs[3].value = SLICE_LIT("many colours, and a few more than there is room for");
    assert_int_equal(rig_call(r, facts_fn, &f), ERR_NONE);
    assert_string_equal(rig_attr(r, "photos", KEY, "metadata_state"), "failed: item too large");
    assert_string_equal(rig_attr(r, "photos", KEY, "format"), "jpeg");
    assert_string_equal(rig_attr(r, "photos", KEY, "width"), "640");
    assert_string_equal(rig_attr(r, "photos", KEY, "palette"), "");
    assert_true(item_size(r) <= ITEM_BYTES_MAX);

    /* With room again, everything is there again. */
    mine.n = 10;
    assert_int_equal(rig_call(r, fill_fn, &mine), ERR_NONE);
    assert_int_equal(rig_call(r, facts_fn, &f), ERR_NONE);
    assert_string_equal(rig_attr(r, "photos", KEY, "metadata_state"), "ready");
    assert_string_equal(rig_attr(r, "photos", KEY, "icc"), "a profile");
    free(text);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
    const struct CMUnitTest tests[] = {T(hostile_facts_are_cut), T(full_items_take_what_fits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
