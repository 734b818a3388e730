/* What a replay makes of the events of the log, and of what has moved before it could. */
#include "tests/pipeline/answer.h"

#include "pipeline/replay.h"

#define STEPS_MAX 8 /* more than any replay here takes */

static int
setup(void **state)
{
    (void)rig_setup_photos(state);
    struct rig *r = *state;
    CHK(rig_bucket(r, "late") == ERR_NONE);
    return 0;
}

static struct replay
of_bucket(const char *bucket)
{
    return (struct replay){
        .filter = {.until = INT64_MAX, .until_ms = INT64_MAX, .bucket = slice_str(bucket)}};
}

/* The first page; give it back with replay_page_fini(). */
static void
read_page(struct rig *r, const char *bucket, struct arena *a, struct replay_page *page)
{
    struct db_conn *conn = NULL;
    struct replay replay = of_bucket(bucket);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    assert_int_equal(replay_page_read(pipeline_registry(r->pipeline), conn, a, &replay, page),
                     ERR_NONE);
    db_read_end(r->db, &conn);
}

/* "planned superseded unmatched waiting made" */
static const char *
judged(struct rig *r, const char *bucket)
{
    static char text[64];
    struct arena *a = arena_new(REPLAY_ARENA_BYTES);
    struct replay_page *page = chk_calloc(1, sizeof *page);
    read_page(r, bucket, a, page);
    snprintf(text, sizeof text, "%d %d %d %d %d", (int)page->counts[REPLAY_PLANNED],
             (int)page->counts[REPLAY_SUPERSEDED], (int)page->counts[REPLAY_UNMATCHED],
             (int)page->counts[REPLAY_WAITING], (int)page->counts[REPLAY_MADE]);
    replay_page_fini(page);
    free(page);
    arena_free(&a);
    return text;
}

static void
each_event_is_one_thing(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "waits", SLICE_LIT("x"), "image/png");
    assert_string_equal(judged(r, "photos"), "0 0 0 1 0");
    rig_put(r, "photos", "waits", SLICE_LIT("y"), "image/png");
    assert_string_equal(judged(r, "photos"), "0 1 0 1 0");
    rig_delete(r, "photos", "waits");
    assert_string_equal(judged(r, "photos"), "0 2 1 0 0");
    rig_put(r, "late", "k", SLICE_LIT("x"), "image/png");
    assert_string_equal(judged(r, "late"), "0 0 1 0 0"); /* no rule */
    rig_full_bucket(r, "late");
    assert_string_equal(judged(r, "late"), "1 0 0 0 0");
    assert_string_equal(judged(r, "none"), "0 0 0 0 0");
}

struct creation {
    struct replay spec;
    int64_t id;
};

static int
create_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct creation *c = arg;
    return replay_apply_create(pipeline_registry(r->pipeline), conn, &c->spec, &r->why, &c->id);
}

static int
copy_batch(void *arg, const struct batch *b)
{
    *(struct batch *)arg = *b;
    return 0;
}

static void
batch_now(struct rig *r, int64_t id, struct batch *b, struct replay *replay)
{
    struct db_conn *conn = NULL;
    struct arena *a = arena_new(1 << 16);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(batch_get(conn, id, copy_batch, b) == ERR_NONE);
    CHK(replay_get(conn, id, a, replay) == ERR_NONE);
    db_read_end(r->db, &conn);
    arena_free(&a);
}

/* Feeds until there is nothing to feed; the batch afterwards, without its texts. */
static struct batch
run(struct rig *r, const char *bucket, struct replay *after)
{
    struct creation c = {.spec = of_bucket(bucket)};
    struct batch b = {.id = 0};
    int fed = 1;
    bool later;
    assert_int_equal(rig_call(r, create_fn, &c), ERR_NONE);
    for (int steps = 0; fed != 0; steps++) {
        assert_true(steps < STEPS_MAX);
        assert_int_equal(batch_feed(pipeline_registry(r->pipeline), r->db, &fed, &later), ERR_NONE);
    }
    batch_now(r, c.id, &b, after);
    return b;
}

static void
a_batch_from_the_log(void **state)
{
    struct rig *r = *state;
    struct replay after;
    char key[16];
    for (int i = 0; i < REPLAY_STEP_TASKS + 20; i++) {
        snprintf(key, sizeof key, "%03d", i);
        rig_put(r, "late", key, SLICE_LIT("x"), "image/png");
    }
    rig_put(r, "late", "000", SLICE_LIT("again"), "image/png");
    rig_full_bucket(r, "late");
    struct batch b = run(r, "late", &after);
    assert_int_equal(b.planned, REPLAY_STEP_TASKS + 20);
    assert_int_equal(b.seen, REPLAY_STEP_TASKS + 21);
    assert_int_equal(b.state, BATCH_DRAINING);
    assert_int_equal(after.counts[REPLAY_SUPERSEDED], 1);
    assert_int_equal(rig_counts(r).waiting[LANE_BATCH], 2 * (REPLAY_STEP_TASKS + 20));
    /* The same once more: all of it waits, so it ends at once. */
    b = run(r, "late", &after);
    assert_int_equal(b.planned, 0);
    assert_int_equal(b.state, BATCH_DONE);
    assert_int_equal(after.counts[REPLAY_WAITING], REPLAY_STEP_TASKS + 20);
    assert_int_equal(rig_counts(r).waiting[LANE_BATCH], 2 * (REPLAY_STEP_TASKS + 20));
}

/* Each step goes on behind the one before, in a new process as well. */
static void
each_step_once_over_restarts(void **state)
{
    struct rig *r = *state;
    struct creation c = {.spec = of_bucket("late")};
    struct batch b = {.id = 0};
    struct replay replay;
    int fed, total = 2 * REPLAY_STEP_TASKS + 5;
    bool later;
    char key[16];
    for (int i = 0; i < total; i++) {
        snprintf(key, sizeof key, "%03d", i);
        rig_put(r, "late", key, SLICE_LIT("x"), "image/png");
    }
    rig_full_bucket(r, "late");
    assert_int_equal(rig_call(r, create_fn, &c), ERR_NONE);
    for (int step = 1; step <= 3; step++) {
        int most = step * REPLAY_STEP_TASKS;
        int seen = most < total ? most : total;
        assert_int_equal(batch_feed(pipeline_registry(r->pipeline), r->db, &fed, &later), ERR_NONE);
        batch_now(r, c.id, &b, &replay);
        assert_int_equal(b.seen, seen);
        assert_int_equal(b.planned, seen);
        assert_int_equal(replay.counts[REPLAY_WAITING], 0); /* what waits was not met again */
        rig_shut(r);
        rig_reopen(r, "none");
    }
    assert_int_equal(b.state, BATCH_DRAINING);
    assert_int_equal(batch_feed(pipeline_registry(r->pipeline), r->db, &fed, &later), ERR_NONE);
    assert_int_equal(fed, 0);
    assert_int_equal(rig_counts(r).waiting[LANE_BATCH], 2 * total);
}

struct applying {
    struct replay_page *page;
    int64_t planned;
};

static int
apply_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct applying *p = arg;
    return replay_apply_page(pipeline_registry(r->pipeline), conn, 1, p->page, &p->planned);
}

static void
what_moves_between_reading_and_queueing(void **state)
{
    struct rig *r = *state;
    struct applying p = {.page = chk_calloc(1, sizeof *p.page)};
    struct arena *a = arena_new(REPLAY_ARENA_BYTES);
    rig_put(r, "late", "stays", SLICE_LIT("x"), "image/png");
    rig_put(r, "late", "moves", SLICE_LIT("x"), "image/png");
    rig_put(r, "late", "goes", SLICE_LIT("x"), "image/png");
    rig_full_bucket(r, "late");
    read_page(r, "late", a, p.page);
    assert_int_equal(p.page->task_count, 3);
    rig_put(r, "late", "moves", SLICE_LIT("y"), "image/png"); /* with events of its own */
    rig_delete(r, "late", "goes");
    assert_int_equal(rig_call(r, apply_fn, &p), ERR_NONE);
    assert_int_equal(p.planned, 1);
    assert_int_equal(rig_counts(r).waiting[LANE_BATCH], 2);
    assert_int_equal(rig_call(r, apply_fn, &p), ERR_NONE); /* as after a rollback: not doubled */
    assert_int_equal(p.planned, 0);
    assert_int_equal(rig_counts(r).waiting[LANE_BATCH], 2);
    replay_page_fini(p.page);
    free(p.page);
    arena_free(&a);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(each_event_is_one_thing),
        T(a_batch_from_the_log),
        T(each_step_once_over_restarts),
        T(what_moves_between_reading_and_queueing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
