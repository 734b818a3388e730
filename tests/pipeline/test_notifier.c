/*
 * The notifier over a real database. Its promises are about moments: not before it is durable, not
 * after it was looked for; so fdatasync(2) is ours, and can be held or fail.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "pipeline/notifier.h"
#include "pipeline/schema.h"
#include "tests/lib/testdir.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 120000
#define FAR (clock_mono_ms() + 10 * WAIT_MS)

/* ---- fdatasync(2), before the C library's ---- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t change;
    bool held, fails;
} sync_gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

int
fdatasync(int fd)
{
    pthread_mutex_lock(&sync_gate.mutex);
    while (sync_gate.held)
        pthread_cond_wait(&sync_gate.change, &sync_gate.mutex);
    bool fails = sync_gate.fails;
    pthread_mutex_unlock(&sync_gate.mutex);
    if (fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void
gate(bool held, bool fails)
{
    pthread_mutex_lock(&sync_gate.mutex);
    sync_gate.held = held;
    sync_gate.fails = fails;
    pthread_cond_broadcast(&sync_gate.change);
    pthread_mutex_unlock(&sync_gate.mutex);
}

/* ---- fixture ---- */

struct fixture {
    char *dir;
    char path[512];
    struct db *db;
    struct notifier *notifier;
    atomic_int commits, listened;
};

static void
on_commit(void *arg)
{
    atomic_fetch_add(&((struct fixture *)arg)->commits, 1);
}

static void
on_listen(void *arg)
{
    atomic_fetch_add(&((struct fixture *)arg)->listened, 1);
}

static void
open_db(struct fixture *f)
{
    struct db_options options = {.path = f->path, .schema = *pipeline_schema()};
    CHK(db_open(&f->db, &options) == ERR_NONE);
    db_set_reserve(f->db, 0);
    f->notifier = notifier_new(f->db);
    db_on_commit(f->db, on_commit, f);
    notifier_listen(f->notifier, on_listen, f);
}

static void
close_db(struct fixture *f)
{
    notifier_stop(f->notifier);
    db_thread_end(f->db);
    db_close(&f->db);
    notifier_free(&f->notifier);
}

static int
setup(void **state)
{
    struct fixture *f = chk_calloc(1, sizeof *f);
    f->dir = testdir_make();
    snprintf(f->path, sizeof f->path, "%s/meta.db", f->dir);
    open_db(f);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    gate(false, false);
    close_db(f);
    testdir_remove(&f->dir);
    free(f);
    return 0;
}

struct add {
    struct db_op op;
    const char *key;
    int64_t id;
    bool fail;
    atomic_bool done;
};

static int
add_apply(struct db_op *op, struct db_conn *conn)
{
    struct add *a = CONTAINER_OF(op, struct add, op);
    struct notice n = {.kind = NOTICE_READY,
                       .bucket_id = 1,
                       .bucket = SLICE_LIT("b"),
                       .key = slice_str(a->key),
                       .version_id = SLICE_LIT("null"),
                       .detail = SLICE_LIT("{}")};
    int err = notice_apply_add(conn, &n);
    a->id = n.id;
    return err == ERR_NONE && a->fail ? ERR_TOOBIG : err;
}

static int64_t
add(struct fixture *f, const char *key)
{
    struct add a = {.op = {.apply = add_apply}, .key = key};
    CHK(db_call(f->db, &a.op) == ERR_NONE);
    return a.id;
}

static void
add_done(struct db_op *op, int err)
{
    (void)err;
    atomic_store(&CONTAINER_OF(op, struct add, op)->done, true);
}

/* Returns when it is committed, not when it is durable. */
static void
add_unsynced(struct fixture *f, struct add *a, const char *key)
{
    int before = atomic_load(&f->commits);
    *a = (struct add){.op = {.apply = add_apply, .done = add_done}, .key = key};
    CHK(db_submit(f->db, &a->op) == ERR_NONE);
    while (atomic_load(&f->commits) == before)
        sched_yield();
}

static int64_t
last(struct fixture *f)
{
    struct db_conn *conn = NULL;
    int64_t id = 0;
    CHK(db_read_begin(f->db, &conn) == ERR_NONE);
    CHK(notice_last(conn, &id) == ERR_NONE);
    db_read_end(f->db, &conn);
    return id;
}

/* ---- a wait ---- */

struct waiter {
    struct notifier_wait wait;
    atomic_int ended; /* -1: not yet */
    atomic_int calls;
    int64_t ended_ms;
    struct notifier *again; /* enters itself once more when it ends */
};

static void
waiter_fn(struct notifier_wait *w, enum notifier_end end)
{
    struct waiter *t = CONTAINER_OF(w, struct waiter, wait);
    struct notifier *again = t->again;
    t->again = NULL;
    t->ended_ms = clock_mono_ms();
    atomic_fetch_add(&t->calls, 1);
    if (again != NULL && end == NOTIFIER_NEWS)
        CHK(notifier_wait(again, w) == ERR_NONE);
    else
        atomic_store(&t->ended, (int)end);
}

static int
wait_for(struct fixture *f, struct waiter *t, const char *key, int64_t since, int64_t deadline_ms)
{
    t->wait = (struct notifier_wait){.bucket_id = 1,
                                     .key = slice_str(key),
                                     .since = since,
                                     .deadline_ms = deadline_ms,
                                     .fn = waiter_fn};
    atomic_store(&t->ended, -1);
    return notifier_wait(f->notifier, &t->wait);
}

static void
until_ended(struct waiter *t)
{
    int64_t until = clock_mono_ms() + WAIT_MS;
    while (atomic_load(&t->ended) < 0) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

static void
expect(struct waiter *t, enum notifier_end end)
{
    until_ended(t);
    assert_int_equal(atomic_load(&t->ended), end);
}

static void
until_told(struct fixture *f, int64_t id)
{
    int64_t until = clock_mono_ms() + WAIT_MS;
    while (notifier_settled(f->notifier) < id) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

/* Starts, and waits for the first look: from then on, notices are told one by one. */
static void
begin(struct fixture *f)
{
    int64_t until = clock_mono_ms() + WAIT_MS;
    int before = atomic_load(&f->listened);
    assert_int_equal(notifier_start(f->notifier), ERR_NONE);
    while (atomic_load(&f->listened) == before) {
        assert_true(clock_mono_ms() < until);
        sched_yield();
    }
}

/* ---- the tests ---- */

static void
news(void **state)
{
    struct fixture *f = *state;
    struct waiter a = {.again = NULL}, b = {.again = NULL}, c = {.again = NULL};
    begin(f);
    assert_int_equal(wait_for(f, &a, "a", 0, FAR), ERR_NONE);
    assert_int_equal(wait_for(f, &b, "b", 0, FAR), ERR_NONE);
    assert_int_equal(wait_for(f, &c, "a", 0, FAR), ERR_NONE);
    int64_t id = add(f, "a");
    expect(&a, NOTIFIER_NEWS);
    expect(&c, NOTIFIER_NEWS);
    assert_int_equal(atomic_load(&b.ended), -1);
    assert_int_equal(notifier_settled(f->notifier), id);
    /* Told already: look again. */
    assert_int_equal(wait_for(f, &a, "other", 0, FAR), ERR_NONE);
    assert_int_equal(atomic_load(&a.ended), NOTIFIER_NEWS);
    /* Newer than all that was told. */
    assert_int_equal(wait_for(f, &a, "a", id, FAR), ERR_NONE);
    add(f, "b");
    expect(&b, NOTIFIER_NEWS);
    assert_int_equal(atomic_load(&a.ended), -1);
    add(f, "a");
    expect(&a, NOTIFIER_NEWS);
    assert_int_equal(atomic_load(&a.calls), 3);
    assert_int_equal(atomic_load(&b.calls), 1);
}

static void
waits_again_from_within(void **state)
{
    struct fixture *f = *state;
    struct waiter a = {.again = f->notifier};
    begin(f);
    assert_int_equal(wait_for(f, &a, "a", 0, FAR), ERR_NONE);
    add(f, "a"); /* since is still 0: at once again */
    expect(&a, NOTIFIER_NEWS);
    assert_int_equal(atomic_load(&a.calls), 2);
}

static void *
adder_main(void *arg)
{
    add(arg, "a");
    return NULL;
}

/* Look, then wait: whatever comes in between, the wait hears of it. */
static void
no_notice_is_missed(void **state)
{
    struct fixture *f = *state;
    begin(f);
    for (int i = 1; i <= 300; i++) {
        pthread_t adder;
        struct waiter t = {.again = NULL};
        int64_t seen;
        CHK(pthread_create(&adder, NULL, adder_main, f) == 0);
        while ((seen = last(f)) < i) {
            assert_int_equal(wait_for(f, &t, "a", seen, FAR), ERR_NONE);
            expect(&t, NOTIFIER_NEWS);
        }
        CHK(pthread_join(adder, NULL) == 0);
    }
}

/* The same moment, chosen: the notice is told while the waiter is between look and wait. */
static void
told_between_look_and_wait(void **state)
{
    struct fixture *f = *state;
    struct waiter t = {.again = NULL};
    begin(f);
    int64_t seen = last(f);
    until_told(f, add(f, "a"));
    assert_int_equal(wait_for(f, &t, "a", seen, FAR), ERR_NONE);
    expect(&t, NOTIFIER_NEWS);
}

static void
not_before_it_is_durable(void **state)
{
    struct fixture *f = *state;
    struct waiter t = {.again = NULL}, clock = {.again = NULL};
    struct add a;
    begin(f);
    assert_int_equal(wait_for(f, &t, "a", 0, FAR), ERR_NONE);
    gate(true, false);
    add_unsynced(f, &a, "a");
    assert_int_equal(last(f), 1); /* everybody could see it */
    /* Deadlines are kept meanwhile; three of them, one after the other, on the same thread. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(wait_for(f, &clock, "clock", 1, clock_mono_ms() + 20), ERR_NONE);
        expect(&clock, NOTIFIER_TIMEOUT);
    }
    assert_int_equal(atomic_load(&t.ended), -1);
    assert_int_equal(notifier_settled(f->notifier), 0);
    assert_int_equal(atomic_load(&f->listened), 1); /* of the start */
    gate(false, false);
    expect(&t, NOTIFIER_NEWS);
    assert_int_equal(notifier_settled(f->notifier), 1);
    while (!atomic_load(&a.done))
        sched_yield();
}

static void
never_after_a_failed_sync(void **state)
{
    struct fixture *f = *state;
    struct waiter t = {.again = NULL};
    struct add a;
    begin(f);
    gate(false, true);
    log_set_level(LOG_ERROR + 1);
    add_unsynced(f, &a, "a");
    while (!atomic_load(&a.done))
        sched_yield();
    assert_int_equal(wait_for(f, &t, "a", 0, clock_mono_ms() + 50), ERR_NONE);
    expect(&t, NOTIFIER_TIMEOUT);
    assert_int_equal(notifier_settled(f->notifier), 0);
}

static void
rolled_back(void **state)
{
    struct fixture *f = *state;
    struct waiter t = {.again = NULL};
    struct add a = {.op = {.apply = add_apply}, .key = "a", .fail = true};
    begin(f);
    assert_int_equal(wait_for(f, &t, "a", 0, FAR), ERR_NONE);
    assert_int_equal(db_call(f->db, &a.op), ERR_TOOBIG);
    until_told(f, add(f, "b"));
    assert_int_equal(atomic_load(&t.ended), -1);
    add(f, "a");
    expect(&t, NOTIFIER_NEWS);
}

static void
deadlines(void **state)
{
    struct fixture *f = *state;
    struct waiter t[50];
    memset(t, 0, sizeof t);
    begin(f);
    for (int i = 0; i < 50; i++)
        assert_int_equal(wait_for(f, &t[i], "k", 0, clock_mono_ms() + 50 - i), ERR_NONE);
    for (int i = 0; i < 50; i++) {
        expect(&t[i], NOTIFIER_TIMEOUT);
        assert_true(t[i].ended_ms >= t[i].wait.deadline_ms);
        assert_int_equal(atomic_load(&t[i].calls), 1);
    }
}

static void
stopping(void **state)
{
    struct fixture *f = *state;
    struct waiter t = {.again = NULL}, late = {.again = NULL};
    begin(f);
    assert_int_equal(wait_for(f, &t, "a", 0, FAR), ERR_NONE);
    notifier_stop(f->notifier);
    assert_int_equal(atomic_load(&t.ended), NOTIFIER_STOPPED);
    assert_int_equal(wait_for(f, &late, "a", 0, FAR), ERR_CANCELED);
    assert_int_equal(atomic_load(&late.calls), 0);
    add(f, "a"); /* commits go on */
}

/* While a notice waits to be durable, whose db_wait is inside the notifier. */
static void
stopping_unsettled(void **state)
{
    struct fixture *f = *state;
    struct waiter t = {.again = NULL};
    struct add a;
    begin(f);
    assert_int_equal(wait_for(f, &t, "a", 0, FAR), ERR_NONE);
    gate(true, false);
    add_unsynced(f, &a, "a");
    notifier_stop(f->notifier);
    assert_int_equal(atomic_load(&t.ended), NOTIFIER_STOPPED);
    gate(false, false);
    while (!atomic_load(&a.done))
        sched_yield();
}

static void
full(void **state)
{
    struct fixture *f = *state;
    struct waiter *t = calloc(NOTIFIER_WAITS_MAX + 1, sizeof *t);
    begin(f);
    for (int i = 0; i < NOTIFIER_WAITS_MAX; i++)
        assert_int_equal(wait_for(f, &t[i], i % 2 ? "a" : "b", 0, FAR), ERR_NONE);
    assert_int_equal(wait_for(f, &t[NOTIFIER_WAITS_MAX], "c", 0, FAR), ERR_BUSY);
    add(f, "a");
    for (int i = 1; i < NOTIFIER_WAITS_MAX; i += 2)
        expect(&t[i], NOTIFIER_NEWS);
    assert_int_equal(atomic_load(&t[0].ended), -1);
    assert_int_equal(wait_for(f, &t[NOTIFIER_WAITS_MAX], "c", 1, FAR), ERR_NONE);
    notifier_stop(f->notifier);
    for (int i = 0; i < NOTIFIER_WAITS_MAX; i += 2)
        expect(&t[i], NOTIFIER_STOPPED);
    free(t);
}

/* More than one read takes; waits that entered before the thread began. */
static void
after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct waiter old = {.again = NULL}, now = {.again = NULL};
    for (int i = 0; i < 600; i++)
        add(f, i == 599 ? "last" : "k");
    close_db(f);
    open_db(f);
    assert_int_equal(wait_for(f, &old, "k", 500, FAR), ERR_NONE);
    assert_int_equal(wait_for(f, &now, "k", 600, FAR), ERR_NONE);
    begin(f);
    expect(&old, NOTIFIER_NEWS);
    assert_int_equal(notifier_settled(f->notifier), 600);
    assert_int_equal(atomic_load(&now.ended), -1);
    add(f, "k");
    expect(&now, NOTIFIER_NEWS);
}

struct burst {
    struct db_op op;
    int count;
};

static int
burst_apply(struct db_op *op, struct db_conn *conn)
{
    struct add a = {.key = "k"};
    for (int i = 0; i < CONTAINER_OF(op, struct burst, op)->count; i++)
        CHK(add_apply(&a.op, conn) == ERR_NONE);
    a.key = "last";
    return add_apply(&a.op, conn);
}

static void
more_than_one_read(void **state)
{
    struct fixture *f = *state;
    struct waiter t = {.again = NULL};
    struct burst b = {.op = {.apply = burst_apply}, .count = 1000};
    begin(f);
    assert_int_equal(wait_for(f, &t, "last", 0, FAR), ERR_NONE);
    CHK(db_call(f->db, &b.op) == ERR_NONE);
    expect(&t, NOTIFIER_NEWS);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(news),
        T(waits_again_from_within),
        T(no_notice_is_missed),
        T(told_between_look_and_wait),
        T(not_before_it_is_durable),
        T(never_after_a_failed_sync),
        T(rolled_back),
        T(deadlines),
        T(stopping),
        T(stopping_unsettled),
        T(full),
        T(after_a_restart),
        T(more_than_one_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
