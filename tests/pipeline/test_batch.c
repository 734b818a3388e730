/* Batches without workers: the feeder is stepped by hand, events are ended by hand. */
#include "tests/pipeline/rig.h"

static int
setup(void **state)
{
    struct rig *r = chk_calloc(1, sizeof *r);
    rig_open(r, "none");
    CHK(rig_bucket(r, "old") == ERR_NONE);
    *state = r;
    return 0;
}

static int
teardown(void **state)
{
    rig_close(*state);
    free(*state);
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
    return batch_apply_create(pipeline_registry(r->pipeline), conn, arg);
}

static int
copy_numbers(void *arg, const struct batch *b)
{
    struct batch *out = arg;
    *out = *b;
    out->bucket = out->prefix = out->function = out->cursor = SLICE_NONE;
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
    CHK(batch_feed(pipeline_registry(r->pipeline), r->db, &fed) == ERR_NONE);
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
            err = batch_apply_ended(conn, &now, x->outcome);
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

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(needs_a_bucket_and_a_rule),
        T(feeds_and_counts_objects),
        T(keeps_the_backlog_small_and_survives_a_restart),
        T(pause_resume_cancel),
        T(changed_objects_end_their_part),
        T(an_empty_prefix_is_done_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
