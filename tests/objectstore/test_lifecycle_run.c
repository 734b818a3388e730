/*
 * Lifecycle passes and those they share the store with: how long a pass keeps the writer, and what
 * changes between one page and the next.
 */
#include "base/clock.h"
#include "base/stat.h"
#include "objectstore/lifecycle.h"
#include "objectstore/lifecycle_run.h"
#include "tests/objectstore/fixture.h"

#define DAY LIFECYCLE_DAY_MS
#define RULES(action)                                                                \
    "<LifecycleConfiguration><Rule><Status>Enabled</Status><Filter></Filter>" action \
    "</Rule></LifecycleConfiguration>"
#define ABORT                                                \
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1" \
    "</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
#define KEEP_50                                                       \
    "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>" \
    "<NewerNoncurrentVersions>50</NewerNoncurrentVersions>"           \
    "</NoncurrentVersionExpiration>"

static int64_t shifted_ms;

static void
days_pass(int days)
{
    clock_shift_wall(days * DAY);
    shifted_ms += days * DAY;
}

static int
teardown(void **state)
{
    clock_shift_wall(-shifted_ms);
    shifted_ms = 0;
    return fix_teardown(state);
}

static int
config_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    return store_apply_bucket_config_set(f->store, conn, SLICE_LIT("photos"), "lifecycle",
                                         slice_str(arg));
}

static void
configure(struct fix *f, const char *xml)
{
    assert_int_equal(fix_run(f, config_apply, (void *)(uintptr_t)xml), ERR_NONE);
}

/* ---- uploads ---- */

struct creation {
    struct fix_put p;
    char id[STORE_UPLOAD_ID_MAX];
};

static int
upload_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct creation *c = arg;
    return store_apply_upload_create(f->store, conn, &c->p.spec, c->id);
}

#define PARTS 4000 /* two rows each */

struct copies {
    struct creation *upload;
    const struct store_object *source;
};

static int
copies_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    const struct copies *c = arg;
    int err = ERR_NONE;
    for (int i = 1; i <= PARTS && err == ERR_NONE; i++) {
        struct store_part part = {.number = i};
        err = store_apply_part_copy(f->store, conn, SLICE_LIT("photos"), c->upload->p.spec.key,
                                    slice_str(c->upload->id), &part, c->source, 0, 1);
    }
    return err;
}

/* What takes long is not one transaction: others have their turn. */
static void
uploads_of_many_parts(void **state)
{
    struct fix *f = *state;
    struct creation calls[5];
    struct copies c;
    struct lifecycle_tally t;
    configure(f, RULES(ABORT));
    assert_int_equal(fix_put(f, "photos", "source", SLICE_LIT("x")), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("source"), &c.source),
                     ERR_NONE);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        c.upload = &calls[i];
        fix_put_spec(&calls[i].p, "photos", SLICE_LIT("many"), SLICE_NONE);
        assert_int_equal(fix_run(f, upload_apply, &calls[i]), ERR_NONE);
        assert_int_equal(fix_run(f, copies_apply, &c), ERR_NONE);
    }
    store_object_unref(&c.source);
    days_pass(3);
    int64_t before = stat_get(STAT_db_commits_total);
    assert_int_equal(lifecycle_run_pass(f->store, DAY, NULL, NULL, &t), ERR_NONE);
    assert_int_equal(t.aborted, 5);
    assert_true(stat_get(STAT_db_commits_total) - before >= 3);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM part"), 0);
    assert_int_equal(fix_count(f, "SELECT refs FROM blob"), 1);
}

/* ---- versions ---- */

#define NONCURRENT 300

static int
versioning_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)arg;
    return store_apply_bucket_versioning(f->store, conn, SLICE_LIT("photos"),
                                         STORE_VERSIONING_ENABLED);
}

struct history {
    struct fix *f;
    char ids[NONCURRENT + 1][STORE_VERSION_ID_MAX]; /* oldest first */
    bool thinned;
};

/* After the first page: a client deletes 40 of the 50 that the rule keeps. */
static bool
thin_out(void *arg)
{
    struct history *h = arg;
    for (int i = 1; i <= 40 && !h->thinned; i++) {
        struct fix_delete d = {.spec = {.bucket = SLICE_LIT("photos"),
                                        .key = SLICE_LIT("k"),
                                        .version_id = slice_str(h->ids[NONCURRENT - i])}};
        assert_int_equal(fix_run(h->f, fix_delete_apply, &d), ERR_NONE);
    }
    h->thinned = true;
    return true;
}

/* Those that are newer are counted when a version goes, not when it was listed. */
static void
fifty_stay(void **state)
{
    struct history h = {.f = *state};
    struct lifecycle_tally t;
    assert_int_equal(fix_run(h.f, versioning_apply, NULL), ERR_NONE);
    for (int i = 0; i <= NONCURRENT; i++) {
        struct fix_put p;
        fix_put_spec(&p, "photos", SLICE_LIT("k"), SLICE_LIT("x"));
        assert_int_equal(fix_put_run(h.f, &p, SLICE_LIT("x")), ERR_NONE);
        memcpy(h.ids[i], p.result.version_id, sizeof h.ids[i]);
    }
    configure(h.f, RULES(KEEP_50));
    days_pass(3);
    assert_int_equal(lifecycle_run_pass(h.f->store, DAY, thin_out, &h, &t), ERR_NONE);
    assert_true(h.thinned);
    assert_int_equal(fix_count(h.f, "SELECT count(*) FROM object_version"), 50);
}

#define PASS_TEST(name) cmocka_unit_test_setup_teardown(name, fix_setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        PASS_TEST(uploads_of_many_parts),
        PASS_TEST(fifty_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
