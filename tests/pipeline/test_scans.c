/* No statement of queue, batches and survey walks a whole table: what an operation costs does not
 * grow with what waits. SQLite counts the steps of such walks; they must stay few however many rows
 * there are. */
#include "tests/pipeline/answer.h"

#define ROWS 2000
#define STEPS_MAX 50 /* of all operations together: tables of few rows may be walked */
#define FUNCTION SLICE_LIT("thumbnail")

static void
event_of(struct queue_event *e, int n, char key[32])
{
    snprintf(key, 32, "k%05d", n);
    *e = (struct queue_event){.lane = LANE_BATCH,
                              .function = FUNCTION,
                              .bucket_id = 1,
                              .bucket = SLICE_LIT("photos"),
                              .key = slice_str(key),
                              .generation = n + 1,
                              .batch_id = n % 2 == 0 ? 7 : 8};
}

/* Ready, delayed and dead ones. */
static int
fill_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    const struct queue_retry later = {2, 3600, 1000000}, never = {0, 3600, 1};
    int err = ERR_NONE;
    (void)r;
    (void)arg;
    for (int i = 0; i < ROWS * 3 && err == ERR_NONE; i++) {
        struct queue_event e;
        char key[32];
        bool dead;
        event_of(&e, i, key);
        err = queue_apply_add(conn, &e);
        if (err == ERR_NONE && i >= ROWS)
            err = queue_apply_fail(conn, &e, SLICE_LIT("error"), SLICE_LIT("why"),
                                   i < 2 * ROWS ? &later : &never, &dead);
    }
    return err;
}

static int
first_event(void *arg, const struct queue_event *e)
{
    *(int64_t *)arg = e->id;
    return 1;
}

static int
count_dead(void *arg, const struct dead_letter *d)
{
    (void)d;
    ++*(int *)arg;
    return 0;
}

/* What the dispatcher and the writer do with one event each. */
static int
use_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    int64_t *steps = arg, id = 0, at = 0;
    struct arena *a = arena_new(1 << 20);
    struct queue_event e;
    int count = 0;
    (void)r;
    int64_t before = db_scan_steps(conn);
    CHK(queue_next(conn, LANE_BATCH, FUNCTION, 0, 10, first_event, &id) == ERR_NONE && id != 0);
    CHK(queue_get(conn, id, a, &e) == ERR_NONE);
    CHK(queue_of_key(conn, 1, SLICE_LIT("k01999"), first_event, &id) == ERR_NONE);
    CHK(queue_next_delayed(conn, &at) == ERR_NONE && at != 0);
    CHK(queue_apply_ack(conn, &e, QUEUE_ACKED) == ERR_NONE);
    CHK(queue_apply_wake(conn, at, 1, &count) == ERR_NONE);
    CHK(queue_apply_supersede(conn, 1, SLICE_LIT("k00002"), 0, a, NULL, NULL) == ERR_NONE);
    CHK(queue_apply_drop_batch(conn, 8, 10, &count) == ERR_NONE && count == 10);
    CHK(queue_apply_drop_batch(conn, 9, 10, &count) == ERR_NONE && count == 0);
    e.key = SLICE_LIT("k00004");
    e.batch_id = 7;
    CHK(batch_apply_ended(conn, &e, BATCH_OUTCOME_FAILED, SLICE_LIT("why")) == ERR_NONE);
    CHK(queue_dead_of_key(conn, 1, SLICE_LIT("k05000"), count_dead, &count) == ERR_NONE);
    CHK(queue_apply_add(conn, &e) == ERR_NONE);
    *steps = db_scan_steps(conn) - before;
    arena_free(&a);
    return ERR_NONE;
}

static void
an_event_costs_the_same_in_any_queue(void **state)
{
    struct rig *r = *state;
    int64_t steps = -1;
    assert_int_equal(rig_call(r, fill_fn, NULL), ERR_NONE);
    assert_int_equal(rig_call(r, use_fn, &steps), ERR_NONE);
    assert_in_range(steps, 0, STEPS_MAX);
}

static int
create_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    return batch_apply_create(pipeline_registry(r->pipeline), conn, arg, &r->why);
}

static void
a_page_of_a_plan_and_a_feed_look_at_their_page(void **state)
{
    struct rig *r = *state;
    struct db_conn *conn = NULL;
    struct survey *page = chk_malloc(sizeof *page);
    struct batch b = {.bucket = SLICE_LIT("photos"), .select = SELECT_ALL};
    bool later;
    int fed;
    for (int i = 0; i < 300; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%05d", i);
        rig_put(r, "photos", key, SLICE_LIT("x"), "image/png");
        answer_done(r, key, i % 2 == 0 ? FN_OK : FN_SKIPPED);
    }
    assert_int_equal(rig_call(r, fill_fn, NULL), ERR_NONE);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    int64_t before = db_scan_steps(conn);
    db_read_end(r->db, &conn);
    struct survey_spec spec = {.bucket = SLICE_LIT("photos"),
                               .after = SLICE_LIT("k00100"),
                               .select = SELECT_STALE | SELECT_MISSING,
                               .objects_max = 10,
                               .tasks_max = 10};
    struct arena *a = arena_new(SURVEY_ARENA_BYTES);
    CHK(survey_page(pipeline_registry(r->pipeline), r->db, a, &spec, page) == ERR_NONE);
    assert_int_equal(page->seen, 10);
    assert_int_equal(rig_call(r, create_fn, &b), ERR_NONE);
    assert_int_equal(batch_feed(pipeline_registry(r->pipeline), r->db, &fed, &later), ERR_NONE);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    assert_in_range(db_scan_steps(conn) - before, 0, STEPS_MAX);
    db_read_end(r->db, &conn);
    survey_fini(page);
    arena_free(&a);
    free(page);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup_photos, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(an_event_costs_the_same_in_any_queue),
        T(a_page_of_a_plan_and_a_feed_look_at_their_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
