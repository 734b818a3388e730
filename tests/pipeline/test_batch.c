/* Batches without workers: the feeder is stepped by hand, events are ended by hand. */
#include "tests/pipeline/answer.h"

#define SECOND_MS 1000
#define ONE_PRESET(side, format)                                                       \
    "{\"PRESETS\":\"[{\\\"name\\\":\\\"s\\\",\\\"width\\\":" side ",\\\"height\\\":7," \
    "\\\"fit\\\":\\\"cover\\\",\\\"format\\\":" format "}]\"}"
#define WEBP ONE_PRESET("7", "\\\"webp\\\"")
#define WIDER ONE_PRESET("8", "\\\"webp\\\"")
#define WITH_AVIF ONE_PRESET("7", "[\\\"webp\\\",\\\"avif\\\"]")

static int
setup(void **state)
{
    (void)rig_setup(state);
    struct rig *r = *state;
    CHK(rig_bucket(r, "old") == ERR_NONE);
    return 0;
}

static void
fill(struct rig *r, const char *prefix, int count)
{
    for (int i = 0; i < count; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s%05d", prefix, i);
        rig_put(r, "old", key, SLICE_LIT("x"), "image/png");
    }
}

static int
create(struct rig *r, struct db_conn *conn, void *arg)
{
    struct batch *b = arg;
    b->select = b->select == 0 ? SELECT_ALL : b->select;
    return batch_apply_create(pipeline_registry(r->pipeline), conn, b, &r->why);
}

static int
copy_numbers(void *arg, const struct batch *b)
{
    struct batch *out = arg;
    *out = *b;
    out->bucket = out->prefix = out->function = out->preset = out->cursor = SLICE_NONE;
    return 0;
}

static struct batch
look(struct rig *r, int64_t id)
{
    struct batch b;
    struct db_conn *conn = NULL;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(batch_get(conn, id, copy_numbers, &b) == ERR_NONE);
    db_read_end(r->db, &conn);
    return b;
}

static int
feed(struct rig *r)
{
    int fed = 0;
    bool later = false;
    CHK(batch_feed(pipeline_registry(r->pipeline), r->db, &fed, &later) == ERR_NONE);
    return fed;
}

struct ender {
    struct arena *a;
    struct queue_event events[4096];
    size_t count;
    enum batch_outcome outcome;
};

static int
note_event(void *arg, const struct queue_event *e)
{
    struct ender *x = arg;
    return queue_event_copy(x->a, e, &x->events[x->count++]) == ERR_NONE ? 0 : 1;
}

static int
end_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct ender *x = arg;
    int err = ERR_NONE;
    (void)r;
    for (size_t i = 0; i < x->count && err == ERR_NONE; i++) {
        struct queue_event now; /* siblings may have left their outcome in it */
        err = queue_get(conn, x->events[i].id, x->a, &now);
        if (err == ERR_NONE)
            err = queue_apply_ack(conn, &now, QUEUE_ACKED);
        if (err == ERR_NONE)
            err = batch_apply_ended(conn, &now, x->outcome, SLICE_LIT("why"));
    }
    return err;
}

/* Ends all waiting batch events of a function. */
static size_t
end_all(struct rig *r, const char *function, enum batch_outcome outcome)
{
    struct ender *x = chk_calloc(1, sizeof *x);
    struct db_conn *conn = NULL;
    x->a = arena_new(16u << 20);
    x->outcome = outcome;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(queue_next(conn, LANE_BATCH, slice_str(function), 0, 4096, note_event, x) == ERR_NONE);
    db_read_end(r->db, &conn);
    size_t count = x->count;
    CHK(rig_call(r, end_fn, x) == ERR_NONE);
    arena_free(&x->a);
    free(x);
    return count;
}

static void
needs_a_bucket_and_a_rule(void **state)
{
    struct rig *r = *state;
    struct batch nowhere = {.bucket = SLICE_LIT("nowhere")}, old = {.bucket = SLICE_LIT("old")};
    assert_int_equal(rig_call(r, create, &nowhere), ERR_NOPARENT);
    assert_int_equal(rig_call(r, create, &old), ERR_NOTFOUND);
    rig_full_bucket(r, "old");
    assert_int_equal(rig_call(r, create, &old), ERR_NONE);
    struct batch other = {.bucket = SLICE_LIT("old"), .function = SLICE_LIT("nobody")};
    assert_int_equal(rig_call(r, create, &other), ERR_NOTFOUND);
}

static void
feeds_and_counts_objects(void **state)
{
    struct rig *r = *state;
    fill(r, "in/", 3);
    fill(r, "out/", 2);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old"), .prefix = SLICE_LIT("in/")};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    assert_int_equal(feed(r), 3);
    assert_int_equal(feed(r), 0);
    assert_int_equal(rig_waiting(r), 6); /* two functions */
    assert_string_equal(rig_attr(r, "old", "in/00001", "state.small"), "pending");
    struct batch now = look(r, b.id);
    assert_int_equal(now.state, BATCH_DRAINING);
    assert_int_equal(now.planned, 3);
    /* An object counts once, with its worst outcome. */
    assert_int_equal(end_all(r, "thumbnail", BATCH_OUTCOME_SKIPPED), 3);
    now = look(r, b.id);
    assert_int_equal(now.done + now.skipped + now.failed, 0);
    assert_int_equal(end_all(r, "metadata", BATCH_OUTCOME_DONE), 3);
    now = look(r, b.id);
    assert_int_equal(now.skipped, 3);
    assert_int_equal(now.state, BATCH_DONE);
    assert_true(now.finished_ms > 0);
}

static void
keeps_the_backlog_small_and_survives_a_restart(void **state)
{
    struct rig *r = *state;
    fill(r, "k", 1300);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old"), .function = SLICE_LIT("thumbnail")};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    while (feed(r) > 0)
        ;
    assert_true(rig_waiting(r) <= BATCH_WAITING_MAX + BATCH_STEP_OBJECTS);
    assert_int_equal(look(r, b.id).state, BATCH_FEEDING);
    rig_shut(r);
    rig_reopen(r, "none");
    size_t ended = 0;
    for (int i = 0; i < 10 && look(r, b.id).state != BATCH_DONE; i++) {
        ended += end_all(r, "thumbnail", BATCH_OUTCOME_DONE);
        while (feed(r) > 0)
            ;
    }
    struct batch now = look(r, b.id);
    assert_int_equal(now.state, BATCH_DONE);
    assert_int_equal(now.planned, 1300); /* each once: none skipped, none twice */
    assert_int_equal(now.done, 1300);
    assert_int_equal(ended, 1300);
}

static int
pause_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return batch_apply_pause(conn, *(int64_t *)arg);
}

static int
resume_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return batch_apply_resume(conn, *(int64_t *)arg);
}

static int
cancel_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return batch_apply_cancel(conn, *(int64_t *)arg);
}

static void
pause_resume_cancel(void **state)
{
    struct rig *r = *state;
    fill(r, "k", 3);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old")};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    assert_int_equal(rig_call(r, pause_fn, &b.id), ERR_NONE);
    assert_int_equal(rig_call(r, pause_fn, &b.id), ERR_CONFLICT);
    assert_int_equal(feed(r), 0);
    assert_int_equal(rig_call(r, resume_fn, &b.id), ERR_NONE);
    assert_int_equal(feed(r), 3);
    assert_int_equal(rig_call(r, cancel_fn, &b.id), ERR_NONE);
    assert_int_equal(rig_waiting(r), 0);
    assert_int_equal(rig_counts(r).dropped, 6);
    assert_int_equal(look(r, b.id).state, BATCH_CANCELED);
    assert_int_equal(rig_call(r, resume_fn, &b.id), ERR_CONFLICT);
    int64_t unknown = 424242;
    assert_int_equal(rig_call(r, cancel_fn, &unknown), ERR_NOTFOUND);
}

/* Whoever says it twice, or of one that runs, must not end its feeding. */
static void
only_what_is_paused_resumes(void **state)
{
    struct rig *r = *state;
    fill(r, "k", 2 * BATCH_STEP_OBJECTS);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old"), .function = SLICE_LIT("thumbnail")};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    assert_int_equal(feed(r), BATCH_STEP_OBJECTS);
    assert_int_equal(rig_call(r, resume_fn, &b.id), ERR_CONFLICT);
    assert_int_equal(look(r, b.id).state, BATCH_FEEDING);
    assert_int_equal(feed(r), BATCH_STEP_OBJECTS);
    while (feed(r) > 0)
        ;
    assert_int_equal(look(r, b.id).state, BATCH_DRAINING);
    assert_int_equal(look(r, b.id).planned, 2 * BATCH_STEP_OBJECTS);
    assert_int_equal(rig_call(r, resume_fn, &b.id), ERR_CONFLICT);
    assert_int_equal(rig_call(r, pause_fn, &b.id), ERR_NONE);
    assert_int_equal(rig_call(r, resume_fn, &b.id), ERR_NONE);
}

/* One that the feeder could not hold would stop it, and with it every other batch. */
static void
a_prefix_is_no_longer_than_a_key(void **state)
{
    struct rig *r = *state;
    char *text = chk_malloc(200000);
    memset(text, 'x', 200000);
    fill(r, "k", 1);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old"), .prefix = slice_of(text, STORE_KEY_MAX + 1)};
    assert_int_equal(rig_call(r, create, &b), ERR_INVALID);
    b.prefix.n = 200000;
    assert_int_equal(rig_call(r, create, &b), ERR_INVALID);
    b.source = BATCH_SOURCE_EVENTS;
    assert_int_equal(rig_call(r, create, &b), ERR_INVALID);
    b = (struct batch){.bucket = SLICE_LIT("old"), .prefix = slice_of(text, STORE_KEY_MAX)};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    b = (struct batch){.bucket = SLICE_LIT("old")};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    while (feed(r) > 0)
        ;
    assert_int_equal(look(r, b.id).planned, 1);
    free(text);
}

static void
changed_objects_end_their_part(void **state)
{
    struct rig *r = *state;
    fill(r, "k", 2);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old")};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    assert_int_equal(feed(r), 2);
    rig_delete(r, "old", "k00000");
    rig_put(r, "old", "k00001", SLICE_LIT("new"), "image/png");
    struct batch now = look(r, b.id);
    assert_int_equal(now.state, BATCH_DONE);
    assert_int_equal(now.done, 2);
    assert_int_equal(rig_waiting(r), 2); /* the live events of the new version */
}

static void
an_empty_prefix_is_done_at_once(void **state)
{
    struct rig *r = *state;
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old"), .prefix = SLICE_LIT("none/")};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    feed(r);
    assert_int_equal(look(r, b.id).state, BATCH_DONE);
}

/* ---- what is selected ---- */

static struct batch
run(struct rig *r, struct batch b)
{
    b.bucket = SLICE_LIT("photos");
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    while (feed(r) > 0)
        ;
    return look(r, b.id);
}

/* One of photos/a (made), photos/b (skipped), photos/c (given up); facts are not asked for. */
static void
three_verdicts(struct rig *r)
{
    static const char *const keys[] = {"a", "b", "c"};
    static const enum fn_status how[] = {FN_OK, FN_SKIPPED, FN_FAILED};
    rig_full_bucket(r, "photos");
    assert_int_equal(rig_environment(r, "thumbnail", WEBP), ERR_NONE);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        rig_put(r, "photos", keys[i], SLICE_LIT("x"), "image/png");
        answer_done(r, keys[i], how[i]);
    }
}

static int64_t
planned(struct rig *r, unsigned select, const char *preset)
{
    struct batch b = run(r, (struct batch){.function = SLICE_LIT("thumbnail"),
                                           .preset = slice_str(preset),
                                           .select = select});
    assert_int_equal(rig_call(r, cancel_fn, &b.id), b.planned == 0 ? ERR_CONFLICT : ERR_NONE);
    return b.planned;
}

static void
selects_by_state(void **state)
{
    struct rig *r = *state;
    three_verdicts(r);
    assert_int_equal(planned(r, SELECT_STALE | SELECT_MISSING, ""), 0);
    assert_int_equal(planned(r, SELECT_FAILED, ""), 1);
    assert_int_equal(planned(r, SELECT_ALL, ""), 3);
    rig_delete(r, "photos-derived", "a/s.webp");
    assert_int_equal(planned(r, SELECT_STALE, ""), 0);
    assert_int_equal(planned(r, SELECT_MISSING, ""), 1);
    /* Another configuration: every verdict is about something else. */
    assert_int_equal(rig_environment(r, "thumbnail", WIDER), ERR_NONE);
    assert_int_equal(planned(r, SELECT_STALE, ""), 3);
    assert_int_equal(planned(r, SELECT_FAILED, ""), 0);
}

static void
a_second_run_plans_nothing(void **state)
{
    struct rig *r = *state;
    three_verdicts(r);
    assert_int_equal(rig_environment(r, "thumbnail", WIDER), ERR_NONE);
    struct batch b = run(r, (struct batch){.function = SLICE_LIT("thumbnail"),
                                           .select = SELECT_STALE | SELECT_MISSING});
    assert_int_equal(b.planned, 3);
    /* What is queued is not queued again. */
    assert_int_equal(planned(r, SELECT_STALE | SELECT_MISSING, ""), 0);
    answer_done(r, "a", FN_OK);
    answer_done(r, "b", FN_SKIPPED);
    answer_done(r, "c", FN_FAILED);
    b = look(r, b.id);
    assert_int_equal(b.state, BATCH_DONE);
    assert_int_equal(b.done, 1);
    assert_int_equal(b.skipped, 1);
    assert_int_equal(b.failed, 1);
    assert_int_equal(planned(r, SELECT_STALE | SELECT_MISSING, ""), 0);
}

/* A follow-up that is gone is made alone: the first pass need not run, the item stays ready. */
static void
a_missing_follow_up_comes_alone(void **state)
{
    struct rig *r = *state;
    rig_full_bucket(r, "photos");
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    rig_put(r, "photos", "a", SLICE_LIT("x"), "image/png");
    answer_done(r, "a", FN_OK);
    answer_done(r, "a", FN_OK);
    assert_true(rig_exists(r, "photos-derived", "a/s.avif"));
    assert_int_equal(planned(r, SELECT_MISSING, ""), 0);
    rig_delete(r, "photos-derived", "a/s.avif");
    struct batch b =
        run(r, (struct batch){.preset = SLICE_LIT("s.avif"), .select = SELECT_MISSING});
    assert_int_equal(b.planned, 1);
    assert_int_equal(rig_counts(r).waiting[LANE_BATCH], 1);
    assert_string_equal(rig_attr(r, "photos", "a", "ready"), "true");
    answer_done(r, "a", FN_OK);
    assert_true(rig_exists(r, "photos-derived", "a/s.avif"));
    assert_string_equal(rig_attr(r, "photos", "a", "state.s"), "ready");
    assert_int_equal(look(r, b.id).state, BATCH_DONE);
    assert_int_equal(rig_counts(r).waiting[LANE_BATCH], 0);
}

static void
old_objects_are_left_out(void **state)
{
    struct rig *r = *state;
    three_verdicts(r);
    clock_shift_wall(10 * SECOND_MS);
    int64_t now = clock_wall_ms();
    rig_put(r, "photos", "d", SLICE_LIT("x"), "image/png");
    struct batch b = run(
        r,
        (struct batch){.function = SLICE_LIT("thumbnail"), .select = SELECT_ALL, .since_ms = now});
    assert_int_equal(b.planned, 1);
    assert_int_equal(b.seen, 4);
    clock_shift_wall(-10 * SECOND_MS);
}

/* ---- what failed ---- */

static int
count_failure(void *arg, const struct batch_failure *f)
{
    assert_true(slice_eqs(f->reason, "why"));
    ++*(int *)arg;
    return 0;
}

static void
keeps_the_names_of_what_failed(void **state)
{
    struct rig *r = *state;
    struct db_conn *conn = NULL;
    int names = 0;
    fill(r, "k", BATCH_FAILURES_MAX + 20);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old")};
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    do {
        while (feed(r) > 0)
            ;
        end_all(r, "metadata", BATCH_OUTCOME_FAILED);
        end_all(r, "thumbnail", BATCH_OUTCOME_DONE);
    } while (look(r, b.id).state != BATCH_DONE);
    assert_int_equal(look(r, b.id).failed, BATCH_FAILURES_MAX + 20);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(batch_failures(conn, b.id, SLICE_NONE, 10000, count_failure, &names) == ERR_NONE);
    db_read_end(r->db, &conn);
    assert_in_range(names, BATCH_FAILURES_MAX, BATCH_FAILURES_MAX + 20);
}

/* ---- rate ---- */

/* Feeds and ends what it fed until nothing is due. */
static void
feed_due(struct rig *r)
{
    while (feed(r) > 0)
        end_all(r, "thumbnail", BATCH_OUTCOME_DONE);
}

static void
keeps_its_rate(void **state)
{
    struct rig *r = *state;
    fill(r, "k", 300);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old"), .function = SLICE_LIT("thumbnail"), .rate = 20};
    int64_t began = clock_wall_ms(), shifted = 0;
    assert_int_equal(rig_call(r, create, &b), ERR_NONE);
    for (int i = 1; i <= 20; i++) {
        clock_shift_wall(SECOND_MS / 4);
        shifted += SECOND_MS / 4;
        feed_due(r);
        if (i == 10) {
            rig_shut(r);
            rig_reopen(r, "none");
        }
        int64_t most = 1 + (clock_wall_ms() - began) * b.rate / SECOND_MS;
        assert_true(look(r, b.id).planned <= most);
        assert_true(look(r, b.id).planned >= shifted * b.rate / SECOND_MS - 1);
    }
    /* What was not used is lost: no rush after an hour of rest. */
    int64_t before = look(r, b.id).planned;
    clock_shift_wall(3600 * SECOND_MS);
    began = clock_wall_ms();
    feed_due(r);
    int64_t rush = b.rate + 2 + (clock_wall_ms() - began) * b.rate / SECOND_MS;
    assert_in_range(look(r, b.id).planned - before, b.rate, rush);
    /* A clock that is put back delays nothing for long. */
    clock_shift_wall(-3600 * SECOND_MS - shifted);
    began = clock_wall_ms();
    before = look(r, b.id).planned;
    feed_due(r);
    rush = b.rate + 2 + (clock_wall_ms() - began) * b.rate / SECOND_MS;
    assert_in_range(look(r, b.id).planned - before, 1, rush);
}

static void
a_slow_batch_holds_no_other_up(void **state)
{
    struct rig *r = *state;
    fill(r, "k", 30);
    rig_full_bucket(r, "old");
    struct batch slow = {.bucket = SLICE_LIT("old"), .rate = 1},
                 quick = {.bucket = SLICE_LIT("old")};
    assert_int_equal(rig_call(r, create, &slow), ERR_NONE);
    assert_int_equal(rig_call(r, create, &quick), ERR_NONE);
    while (feed(r) > 0)
        ;
    assert_int_equal(look(r, quick.id).planned, 30);
    assert_in_range(look(r, slow.id).planned, 1, 3);
}

static void
unknown_presets_are_refused(void **state)
{
    struct rig *r = *state;
    three_verdicts(r);
    struct batch b = {.bucket = SLICE_LIT("photos"), .preset = SLICE_LIT("t")};
    assert_int_equal(rig_call(r, create, &b), ERR_NOTFOUND);
    assert_true(slice_find(buf_slice(&r->why), SLICE_LIT("no preset t")) >= 0);
    b = (struct batch){.bucket = SLICE_LIT("photos"), .rate = BATCH_RATE_MAX + 1};
    assert_int_equal(rig_call(r, create, &b), ERR_INVALID);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(needs_a_bucket_and_a_rule),
        T(feeds_and_counts_objects),
        T(keeps_the_backlog_small_and_survives_a_restart),
        T(pause_resume_cancel),
        T(only_what_is_paused_resumes),
        T(a_prefix_is_no_longer_than_a_key),
        T(changed_objects_end_their_part),
        T(an_empty_prefix_is_done_at_once),
        T(selects_by_state),
        T(a_second_run_plans_nothing),
        T(a_missing_follow_up_comes_alone),
        T(unknown_presets_are_refused),
        T(old_objects_are_left_out),
        T(keeps_the_names_of_what_failed),
        T(keeps_its_rate),
        T(a_slow_batch_holds_no_other_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
