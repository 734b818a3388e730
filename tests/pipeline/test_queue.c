#include "base/stat.h"
#include "tests/pipeline/rig.h"

static struct queue_event
event(enum queue_lane lane, const char *key)
{
    return (struct queue_event){.lane = lane,
                                .function = SLICE_LIT("f"),
                                .bucket_id = 1,
                                .bucket = SLICE_LIT("b"),
                                .key = slice_str(key),
                                .generation = 5};
}

static int
add(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return queue_apply_add(conn, arg);
}

static int
ack(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return queue_apply_ack(conn, arg, QUEUE_ACKED);
}

struct fail {
    struct queue_event *event;
    struct queue_retry retry;
    bool dead;
    const char *outcome; /* NULL: crashed */
};

static int
fail_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct fail *f = arg;
    (void)r;
    struct slice outcome = slice_str(f->outcome == NULL ? "crashed" : f->outcome);
    int err = queue_apply_fail(conn, f->event, outcome, SLICE_LIT("broken"), &f->retry, &f->dead);
    struct arena *a = arena_new(1 << 16);
    struct queue_event now;
    if (err == ERR_NONE && !f->dead && queue_get(conn, f->event->id, a, &now) == ERR_NONE) {
        f->event->attempts = now.attempts;
        f->event->not_before_ms = now.not_before_ms;
    }
    arena_free(&a);
    return err;
}

static int
wake(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return queue_apply_wake(conn, clock_wall_ms() + QUEUE_RETRY_DELAY_MS_MAX, 100, arg);
}

struct keys {
    char text[256];
};

static int
collect(void *arg, const struct queue_event *e)
{
    struct keys *k = arg;
    size_t n = strlen(k->text);
    snprintf(k->text + n, sizeof k->text - n, "%.*s ", SLICE_FMT(e->key));
    return 0;
}

static const char *
ready(struct rig *r, enum queue_lane lane)
{
    static struct keys k;
    struct db_conn *conn = NULL;
    k.text[0] = '\0';
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(queue_next(conn, lane, SLICE_LIT("f"), 0, 100, collect, &k) == ERR_NONE);
    db_read_end(r->db, &conn);
    return k.text;
}

static void
order_and_lanes(void **state)
{
    struct rig *r = *state;
    struct queue_event a = event(LANE_LIVE, "a"), b = event(LANE_BATCH, "b"),
                       c = event(LANE_LIVE, "c");
    assert_int_equal(rig_call(r, add, &a), ERR_NONE);
    assert_int_equal(rig_call(r, add, &b), ERR_NONE);
    assert_int_equal(rig_call(r, add, &c), ERR_NONE);
    assert_string_equal(ready(r, LANE_LIVE), "a c ");
    assert_string_equal(ready(r, LANE_BATCH), "b ");
    assert_string_equal(ready(r, LANE_FOLLOWUP), "");
    struct queue_counts n = rig_counts(r);
    assert_int_equal(n.waiting[LANE_LIVE], 2);
    assert_int_equal(n.waiting[LANE_BATCH], 1);
    assert_int_equal(rig_call(r, ack, &a), ERR_NONE);
    assert_int_equal(rig_call(r, ack, &a), ERR_NOTFOUND); /* once only, and counted once */
    n = rig_counts(r);
    assert_int_equal(n.waiting[LANE_LIVE], 1);
    assert_int_equal(n.acked, 1);
}

static void
retries_then_dead(void **state)
{
    struct rig *r = *state;
    struct queue_event e = event(LANE_LIVE, "a");
    struct fail f = {
        &e, {.retries_max = 2, .event_age_max_s = 21600, .base_ms = 1000}, false, NULL};
    int woken = 0;
    assert_int_equal(rig_call(r, add, &e), ERR_NONE);
    for (int attempt = 1; attempt <= 2; attempt++) {
        int64_t now = clock_wall_ms();
        assert_int_equal(rig_call(r, fail_fn, &f), ERR_NONE);
        assert_false(f.dead);
        assert_int_equal(e.attempts, attempt);
        assert_true(e.not_before_ms >= now);
        assert_true(e.not_before_ms <= clock_wall_ms() + 1000 * attempt); /* 1 s, then 2 s */
        assert_string_equal(ready(r, LANE_LIVE), "");
        assert_int_equal(rig_call(r, wake, &woken), ERR_NONE);
        assert_int_equal(woken, 1);
        assert_string_equal(ready(r, LANE_LIVE), "a ");
    }
    assert_int_equal(rig_call(r, fail_fn, &f), ERR_NONE);
    assert_true(f.dead);
    struct queue_counts n = rig_counts(r);
    assert_int_equal(n.waiting[LANE_LIVE], 0);
    assert_int_equal(n.dead, 1);
    assert_int_equal(n.retried, 2);
}

struct each {
    struct dead_filter filter;
    enum dead_action action;
    int count;
    int64_t next;
};

static int
each_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct each *e = arg;
    (void)r;
    return queue_apply_dead_each(conn, &e->filter, e->action, &e->count, &e->next);
}

static int
add_class(void *arg, const struct dead_letter *d)
{
    buf_printf(arg, "%s ", dead_class_name(d->class));
    return 0;
}

/* The classes of those that match, `page` at a time. */
static const char *
dead_of(struct rig *r, struct dead_filter filter, int page)
{
    static char text[512];
    struct buf out;
    buf_init(&out, sizeof text);
    do {
        struct db_conn *conn = NULL;
        CHK(db_read_begin(r->db, &conn) == ERR_NONE);
        CHK(queue_dead_list(conn, &filter, page, add_class, &out, &filter.after) == ERR_NONE);
        db_read_end(r->db, &conn);
    } while (filter.after != 0);
    snprintf(text, sizeof text, "%.*s", (int)out.n, out.n == 0 ? "" : out.p);
    buf_fini(&out);
    return text;
}

static int
redrive_unknown(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    (void)arg;
    return queue_apply_dead(conn, 999999, DEAD_REDRIVE);
}

static void
too_old_is_dead(void **state)
{
    struct rig *r = *state;
    struct queue_event e = event(LANE_LIVE, "a");
    struct fail f = {&e, {.retries_max = 2, .event_age_max_s = 60, .base_ms = 1}, false, NULL};
    e.created_ms = clock_wall_ms() - 61000;
    assert_int_equal(rig_call(r, add, &e), ERR_NONE);
    assert_int_equal(rig_call(r, fail_fn, &f), ERR_NONE);
    assert_true(f.dead);
    assert_string_equal(dead_of(r, (struct dead_filter){.until = 0}, 10), "too old ");
}

static void
dead_letters_come_back(void **state)
{
    struct rig *r = *state;
    struct queue_event e[3];
    struct each each = {.action = DEAD_REDRIVE};
    for (int i = 0; i < 3; i++) {
        e[i] = event(LANE_BATCH, i == 0 ? "a" : i == 1 ? "b" : "c");
        struct fail f = {
            &e[i], {.retries_max = 0, .event_age_max_s = 60, .base_ms = 1}, false, NULL};
        assert_int_equal(rig_call(r, add, &e[i]), ERR_NONE);
        assert_int_equal(rig_call(r, fail_fn, &f), ERR_NONE);
        assert_true(f.dead);
    }
    assert_int_equal(rig_call(r, redrive_unknown, NULL), ERR_NOTFOUND);
    assert_int_equal(rig_call(r, each_fn, &each), ERR_NONE);
    assert_int_equal(each.count, 3);
    assert_int_equal(each.next, 0);
    assert_string_equal(ready(r, LANE_LIVE), "a b c ");
    assert_int_equal(rig_counts(r).dead, 0);
    each.action = DEAD_PURGE;
    assert_int_equal(rig_call(r, each_fn, &each), ERR_NONE);
    assert_int_equal(each.count, 0);
}

/* Letter i dies of outcomes[i] in bucket "b<i % 2>", the function's name is "f<i>". */
static void
dead_letters_by_filter(void **state)
{
    struct rig *r = *state;
    static const char *const outcomes[] = {"timeout", "bad answer", "crashed", "unheard-of"};
    static const char *const functions[] = {"f0", "f1", "f2", "f3"};
    int64_t ids[4];
    for (int i = 0; i < 4; i++) {
        struct queue_event e = event(LANE_LIVE, i < 2 ? "a/1" : "z");
        e.function = slice_str(functions[i]);
        e.bucket = i % 2 == 0 ? SLICE_LIT("b0") : SLICE_LIT("b1");
        struct fail f = {.event = &e,
                         .retry = {.retries_max = 0, .event_age_max_s = 60, .base_ms = 1},
                         .outcome = outcomes[i]};
        assert_int_equal(rig_call(r, add, &e), ERR_NONE);
        assert_int_equal(rig_call(r, fail_fn, &f), ERR_NONE);
        ids[i] = e.id;
    }
    assert_string_equal(dead_of(r, (struct dead_filter){.until = 0}, 10),
                        "timeout bad answer crashed error ");
    assert_string_equal(dead_of(r, (struct dead_filter){.until = 0}, 1),
                        "timeout bad answer crashed error "); /* page by page */
    assert_string_equal(dead_of(r, (struct dead_filter){.bucket = SLICE_LIT("b1")}, 10),
                        "bad answer error ");
    assert_string_equal(
        dead_of(r, (struct dead_filter){.prefix = SLICE_LIT("a/"), .bucket = SLICE_LIT("b1")}, 10),
        "bad answer ");
    assert_string_equal(dead_of(r, (struct dead_filter){.function = SLICE_LIT("f2")}, 10),
                        "crashed ");
    assert_string_equal(dead_of(r, (struct dead_filter){.after = ids[0], .until = ids[2]}, 10),
                        "bad answer crashed ");
    int64_t now = clock_wall_ms();
    assert_string_equal(dead_of(r, (struct dead_filter){.dead_before_ms = now - 60000}, 10), "");
    assert_string_equal(dead_of(r, (struct dead_filter){.dead_before_ms = now + 60000}, 10),
                        "timeout bad answer crashed error ");
    struct each each = {.action = DEAD_PURGE, .filter = {.has_class = true}};
    assert_int_equal(dead_class_parse(SLICE_LIT("bad-answer"), &each.filter.class), ERR_NONE);
    assert_int_equal(rig_call(r, each_fn, &each), ERR_NONE);
    assert_int_equal(each.count, 1);
    assert_string_equal(dead_of(r, (struct dead_filter){.until = 0}, 10), "timeout crashed error ");
    assert_int_equal(rig_counts(r).dead, 3);
    assert_int_equal(dead_class_parse(SLICE_LIT("bad"), &each.filter.class), ERR_NOTFOUND);
}

/* A change ends at the filter's last id and moment, as the list does. */
static void
dead_letters_up_to(void **state)
{
    struct rig *r = *state;
    struct each each = {.action = DEAD_REDRIVE};
    int64_t ids[3];
    for (int i = 0; i < 3; i++) {
        struct queue_event e = event(LANE_LIVE, i == 0 ? "a" : i == 1 ? "b" : "c");
        struct fail f = {&e, {.retries_max = 0, .event_age_max_s = 60, .base_ms = 1}, false, NULL};
        assert_int_equal(rig_call(r, add, &e), ERR_NONE);
        assert_int_equal(rig_call(r, fail_fn, &f), ERR_NONE);
        ids[i] = e.id;
    }
    for (int action = 0; action < 2; action++) {
        each.action = action == 0 ? DEAD_REDRIVE : DEAD_PURGE;
        each.filter = (struct dead_filter){.dead_before_ms = clock_wall_ms() - 60000};
        assert_int_equal(rig_call(r, each_fn, &each), ERR_NONE);
        assert_int_equal(each.count, 0);
        each.filter = (struct dead_filter){.until = ids[action]};
        assert_int_equal(rig_call(r, each_fn, &each), ERR_NONE);
        assert_int_equal(each.count, 1); /* "a" comes back, "b" goes */
        assert_int_equal(rig_counts(r).dead, 2 - action);
    }
    assert_string_equal(ready(r, LANE_LIVE), "a ");
}

static int
supersede(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    (void)arg;
    struct arena *a = arena_new(1 << 20);
    int err = queue_apply_supersede(conn, 1, SLICE_LIT("a"), 5, a, NULL, NULL);
    arena_free(&a);
    return err;
}

static void
only_older_ones_are_superseded(void **state)
{
    struct rig *r = *state;
    struct queue_event old = event(LANE_LIVE, "a"), same = event(LANE_LIVE, "a"),
                       other = event(LANE_LIVE, "b");
    old.generation = other.generation = 4;
    assert_int_equal(rig_call(r, add, &old), ERR_NONE);
    assert_int_equal(rig_call(r, add, &same), ERR_NONE);
    assert_int_equal(rig_call(r, add, &other), ERR_NONE);
    assert_int_equal(rig_call(r, supersede, NULL), ERR_NONE);
    assert_string_equal(ready(r, LANE_LIVE), "a b ");
    assert_int_equal(rig_counts(r).superseded, 1);
}

static int
add_and_fail(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    CHK(queue_apply_add(conn, arg) == ERR_NONE);
    return ERR_CONFLICT;
}

static void
counts_follow_the_transaction(void **state)
{
    struct rig *r = *state;
    struct queue_event e = event(LANE_LIVE, "a");
    assert_int_equal(rig_call(r, add_and_fail, &e), ERR_CONFLICT);
    assert_int_equal(rig_waiting(r), 0);
    e.id = 0;
    assert_int_equal(rig_call(r, add, &e), ERR_NONE);
    rig_shut(r);
    rig_reopen(r, "none");
    assert_int_equal(rig_waiting(r), 1);
    struct queue_counts n = rig_counts(r);
    assert_int_equal(n.added, n.waiting[LANE_LIVE] + n.acked + n.superseded + n.died + n.dropped);
}

static int
lose(struct rig *r, struct db_conn *conn, void *arg)
{
    struct db_stmt *s = db_prepare(conn, "DELETE FROM event WHERE id = ?1");
    const struct queue_event *e = arg;
    (void)r;
    db_bind_int(s, 1, e->id);
    return db_run(s);
}

/* A row that nobody accounts for is seen at the next start, and stays to be seen. */
static void
a_lost_event_is_told(void **state)
{
    struct rig *r = *state;
    struct queue_event a = event(LANE_LIVE, "a"), b = event(LANE_BATCH, "b");
    assert_int_equal(rig_call(r, add, &a), ERR_NONE);
    assert_int_equal(rig_call(r, add, &b), ERR_NONE);
    assert_int_equal(rig_call(r, ack, &a), ERR_NONE);
    rig_counts(r);
    assert_int_equal(stat_get(STAT_lost_events_total), 0);
    assert_int_equal(rig_call(r, lose, &b), ERR_NONE);
    for (int start = 0; start < 2; start++) {
        rig_shut(r);
        rig_reopen(r, "none");
        assert_int_equal(stat_get(STAT_lost_events_total), 1);
        assert_int_equal(rig_waiting(r), 0);
        assert_int_equal(stat_get(STAT_lost_events_total), 1);
    }
}

static void
refuses_above_the_maximum(void **state)
{
    struct rig *r = *state;
    struct queue *q = NULL;
    struct db_conn *conn = NULL;
    struct queue_event e = event(LANE_LIVE, "a");
    assert_int_equal(queue_open(&q, r->db, 1), ERR_NONE);
    assert_true(queue_accepting(q));
    assert_int_equal(rig_call(r, add, &e), ERR_NONE);
    assert_int_equal(db_read_begin(r->db, &conn), ERR_NONE);
    assert_int_equal(queue_refresh(q, conn), ERR_NONE);
    db_read_end(r->db, &conn);
    assert_false(queue_accepting(q));
    queue_close(&q);
}

/* ---- what version 3 has left ---- */

static int
fill_3(struct db_op *op, struct db_conn *conn)
{
    (void)op;
    /* Letter 1: timed out twice. 2: its last attempt was another event's. 3: no attempt is known.
     */
    static const char *const texts[] = {
        "INSERT INTO dead_letter VALUES (1, 0, 'f', 7, 'b', x'61', 1, 0, 0, 0, 0, 2, 0, 1, '', "
        "'r', 9)",
        "INSERT INTO dead_letter VALUES (2, 0, 'f', 7, 'b', x'61', 1, 0, 0, 0, 0, 2, 0, 1, '', "
        "'r', 9)",
        "INSERT INTO dead_letter VALUES (3, 0, 'f', 7, 'b', x'62', 1, 0, 0, 0, 0, 2, 0, 1, '', "
        "'r', 9)",
        "INSERT INTO attempt VALUES (1, 1, 7, x'61', 1, 'f', 1, 1, 1, 1, 1, 1, 'crashed', '')",
        "INSERT INTO attempt VALUES (2, 1, 7, x'61', 1, 'f', 1, 1, 1, 1, 1, 1, 'timeout', '')",
        "INSERT INTO attempt VALUES (3, 2, 7, x'61', 1, 'f', 1, 1, 1, 1, 1, 1, 'error', '')",
        "INSERT INTO attempt VALUES (4, 9, 7, x'61', 1, 'f', 1, 1, 1, 1, 1, 1, 'memory', '')",
        "UPDATE queue_count SET dead = 3, added = 3, died = 3",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        CHK(db_run(db_prepare(conn, texts[i])) == ERR_NONE);
    return ERR_NONE;
}

static void
letters_of_version_3_get_their_class(void **state)
{
    struct rig *r = *state;
    struct db_op op = {.apply = fill_3};
    rig_shut(r);
    CHK(unlink(r->db_path) == 0);
    struct db_options old = {.path = r->db_path, .schema = *pipeline_schema()};
    old.schema.count = 3;
    CHK(db_open(&r->db, &old) == ERR_NONE);
    db_set_reserve(r->db, 0);
    CHK(db_call(r->db, &op) == ERR_NONE);
    db_close(&r->db);
    rig_reopen(r, "none");
    assert_string_equal(dead_of(r, (struct dead_filter){.until = 0}, 10), "timeout error error ");
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(order_and_lanes),
        T(retries_then_dead),
        T(too_old_is_dead),
        T(dead_letters_come_back),
        T(dead_letters_by_filter),
        T(dead_letters_up_to),
        T(letters_of_version_3_get_their_class),
        T(only_older_ones_are_superseded),
        T(counts_follow_the_transaction),
        T(a_lost_event_is_told),
        T(refuses_above_the_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
