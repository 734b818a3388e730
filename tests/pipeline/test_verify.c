/*
 * Verify's pages over a store that results are committed to by hand: what a life of an object shows
 * at each turn, counts that are off, repairs, and that a repair judges again. The planted set of
 * every kind is tests/e2e/verify.py.
 */
#include "tests/pipeline/answer.h"

#include "pipeline/verify_priv.h"

/* ---- running ---- */

struct run {
    const char *bucket, *prefix;
    bool deep, fix;
    int pages, fixed;
    int64_t objects, rows;
};

/* "missing photos/k; stuck /" of a whole run. */
static const char *
verify(struct rig *r, struct run *run)
{
    static char out[4096];
    size_t at = 0;
    struct verify_spec spec = {.registry = pipeline_registry(r->pipeline),
                               .db = r->db,
                               .bucket = slice_str(run->bucket == NULL ? "" : run->bucket),
                               .prefix = slice_str(run->prefix == NULL ? "" : run->prefix),
                               .deep = run->deep,
                               .fix = run->fix,
                               .request_id = SLICE_LIT("verify-0123")};
    struct arena *all = arena_new(64 << 20);
    struct verify_cursor cursor = {.phase = VERIFY_OBJECTS};
    out[0] = '\0';
    while (cursor.phase != VERIFY_END) {
        struct verify_page page;
        assert_int_equal(verify_page(&spec, &cursor, all, &page), ERR_NONE);
        for (const struct verify_finding *f = page.findings; f != NULL; f = f->next) {
            at += (size_t)snprintf(out + at, sizeof out - at, "%s%s %.*s/%.*s", at > 0 ? "; " : "",
                                   verify_kind_name(f->kind), SLICE_FMT(f->bucket),
                                   SLICE_FMT(f->key));
            run->fixed += f->fixed;
            assert_true(f->what.n > 0 && f->todo.n > 0);
        }
        run->objects += page.objects;
        run->rows += page.rows;
        run->pages++;
        cursor = page.next;
    }
    arena_free(&all);
    return out;
}

static const char *
found(struct rig *r)
{
    struct run run = {.deep = true};
    return verify(r, &run);
}

static int
fix(struct rig *r)
{
    struct run run = {.fix = true};
    verify(r, &run);
    return run.fixed;
}

/* ---- what happens ---- */

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
both_done(struct rig *r, const char *key, enum fn_status status)
{
    struct queue_event e;
    struct arena *a = arena_new(1 << 20);
    answer_done(r, key, status);
    CHK(answer_event(r, a, key, "metadata", &e));
    CHK(rig_call(r, facts_fn, &e) == ERR_NONE);
    arena_free(&a);
}

static void
put_done(struct rig *r, const char *key)
{
    rig_put(r, "photos", key, SLICE_LIT("x"), "image/png");
    both_done(r, key, FN_OK);
}

static int
sql_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return db_run(db_prepare(conn, arg));
}

#define SQL(r, text) CHK(rig_call(r, sql_fn, (void *)(uintptr_t)(text)) == ERR_NONE)

/* ---- the tests ---- */

static void
a_sound_life(void **state)
{
    struct rig *r = *state;
    struct run run = {.deep = true};
    assert_string_equal(found(r), "");
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    assert_string_equal(found(r), "");
    both_done(r, "k", FN_OK);
    assert_string_equal(found(r), "");
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    assert_string_equal(found(r), "");
    both_done(r, "k", FN_SKIPPED);
    assert_string_equal(found(r), "");
    rig_put(r, "photos", "k", SLICE_LIT("z"), "image/png");
    answer_done(r, "k", FN_ERROR);
    answer_done(r, "k", FN_ERROR);
    both_done(r, "k", FN_ERROR); /* to the dead letters */
    assert_string_equal(verify(r, &run), "");
    assert_int_equal(run.objects, 1);
    rig_delete(r, "photos", "k");
    assert_string_equal(found(r), "");
}

static char damage_id[32];
static int strange_ids;

static int
see_request_id(void *arg, const struct queue_event *e)
{
    strange_ids += !slice_eqs(e->request_id, arg);
    return 0;
}

/* Of the events that wait for photos/k. */
static int
expect_request_id_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    int64_t id;
    struct slice owner;
    struct arena *a = arena_new(1 << 16);
    int err = store_apply_bucket_get(r->store, conn, SLICE_LIT("photos"), &id, a, &owner);
    if (err == ERR_NONE)
        err = queue_of_key(conn, id, SLICE_LIT("k"), see_request_id, arg);
    arena_free(&a);
    return err;
}

static void
expect_request_id(struct rig *r, char *id)
{
    strange_ids = 0;
    assert_int_equal(rig_call(r, expect_request_id_fn, id), ERR_NONE);
    assert_int_equal(strange_ids, 0);
}

/* What the scrubber and readers say of a derived object's bytes. */
static int
damage_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    const struct store_object *o = NULL;
    struct store_hooks hooks = pipeline_hooks(r->pipeline);
    int64_t id;
    struct slice owner;
    struct arena *a = arena_new(1 << 16);
    int err = store_apply_bucket_get(r->store, conn, SLICE_LIT("photos-derived"), &id, a, &owner);
    if (err == ERR_NONE)
        err = store_apply_get(r->store, conn, id, slice_str(arg), &o);
    if (err == ERR_NONE)
        err = hooks.damaged(hooks.arg, conn, o);
    if (err == ERR_NONE)
        snprintf(damage_id, sizeof damage_id, "damaged-%lld", (long long)o->generation);
    store_object_unref(&o);
    arena_free(&a);
    return err;
}

static void
damaged_is_made_again_in_its_name(void **state)
{
    struct rig *r = *state;
    put_done(r, "k");
    assert_int_equal(rig_call(r, damage_fn, "k/small.webp"), ERR_NONE);
    assert_int_equal(rig_waiting(r), 1);
    expect_request_id(r, damage_id);
}

static void
missing_and_made_again(void **state)
{
    struct rig *r = *state;
    put_done(r, "k");
    rig_delete(r, "photos-derived", "k/small.webp");
    assert_string_equal(found(r), "missing photos/k");
    assert_int_equal(fix(r), 1);
    assert_int_equal(rig_waiting(r), 2);
    expect_request_id(r, "verify-0123");
    assert_string_equal(found(r), ""); /* it is pending */
    assert_int_equal(fix(r), 0);
    assert_int_equal(rig_waiting(r), 2);
    both_done(r, "k", FN_OK);
    assert_string_equal(found(r), "");
    assert_true(rig_exists(r, "photos-derived", "k/small.webp"));
}

static void
orphans_go(void **state)
{
    struct rig *r = *state;
    put_done(r, "k");
    put_done(r, "stays");
    SQL(r, "DELETE FROM object WHERE key = x'6b'"); /* k */
    assert_string_equal(found(r), "orphaned photos-derived/k/large.webp; "
                                  "orphaned photos-derived/k/medium.webp; "
                                  "orphaned photos-derived/k/small.webp; orphaned photos/k");
    assert_int_equal(fix(r), 4);
    assert_string_equal(found(r), "");
    assert_int_equal(rig_count(r, "photos-derived", ""), 3);
    assert_true(rig_exists(r, "photos-derived", "stays/small.webp"));
    SQL(r, "DELETE FROM provenance WHERE preset = 'small'");
    assert_string_equal(found(r), "missing photos/stays; orphaned photos-derived/stays/small.webp");
}

/* Restarting would put them right, and tell of it. */
static void
counts(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    SQL(r, "UPDATE queue_count SET live = live + 7, added = added + 7");
    struct run scoped = {.bucket = "photos"};
    assert_string_equal(verify(r, &scoped), "");
    assert_string_equal(found(r), "stuck /");
    assert_int_equal(fix(r), 1);
    assert_string_equal(found(r), "");
    assert_int_equal(rig_waiting(r), 2);
}

static void
what_a_client_put_stays(void **state)
{
    struct rig *r = *state;
    put_done(r, "k");
    rig_put(r, "photos-derived", "k/small.webp", SLICE_LIT("mine"), "image/webp");
    assert_string_equal(found(r), "mismatch photos/k");
    assert_int_equal(fix(r), 0);
    assert_int_equal(rig_waiting(r), 0);
    assert_string_equal(found(r), "mismatch photos/k");
}

/* The finding was that bucket and object are gone; before its repair both came again. */
static void
an_item_whose_object_came_again_stays(void **state)
{
    struct rig *r = *state;
    struct verify_spec spec = {.registry = pipeline_registry(r->pipeline), .db = r->db};
    struct verify_finding f = {.kind = VERIFY_ORPHANED,
                               .fix = VERIFY_FIX_ITEM,
                               .bucket = SLICE_LIT("photos"),
                               .key = SLICE_LIT("k")};
    struct verify_page page = {.findings = &f};
    struct verify v = {.spec = &spec, .page = &page};
    put_done(r, "k");
    assert_int_equal(verify_fix(&v), ERR_NONE);
    assert_false(f.fixed);
    assert_string_equal(found(r), "");
    SQL(r, "DELETE FROM object WHERE key = x'6b'");
    assert_int_equal(verify_fix(&v), ERR_NONE);
    assert_true(f.fixed);
}

static void
scopes(void **state)
{
    struct rig *r = *state;
    struct run all = {.bucket = "photos"}, some = {.bucket = "photos", .prefix = "b"};
    struct run none = {.bucket = "photos", .prefix = "c"};
    char key[32];
    for (int i = 0; i < 450; i++) { /* more than a page of keys */
        snprintf(key, sizeof key, "%c%03d", i % 2 == 0 ? 'a' : 'b', i);
        rig_put(r, "photos", key, SLICE_LIT("x"), "image/png");
    }
    SQL(r, "DELETE FROM event WHERE key IN (x'61303030', x'62303031')"); /* a000 b001 */
    assert_string_equal(verify(r, &all), "stuck photos/a000; stuck photos/b001");
    assert_int_equal(all.objects, 450);
    assert_true(all.pages >= 3);
    assert_string_equal(verify(r, &some), "stuck photos/b001");
    assert_int_equal(some.objects, 225);
    assert_string_equal(verify(r, &none), "");
    assert_int_equal(none.objects, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup_photos, rig_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_sound_life),
        T(missing_and_made_again),
        T(damaged_is_made_again_in_its_name),
        T(orphans_go),
        T(counts),
        T(what_a_client_put_stays),
        T(scopes),
        T(an_item_whose_object_came_again_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
