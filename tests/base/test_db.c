/*
 * The database: transactions, group commit, isolation of failing ops, the order of answers and
 * syncs, readers, schema versions. The syncer's fdatasync() can be held and made to fail.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/db.h"
#include "base/err.h"
#include "base/stat.h"
#include "tests/lib/testdir.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static atomic_bool sync_held;
static atomic_int sync_calls, sync_errno;

/* In place of the C library's; SQLite's own calls, on other threads, go through. */
int
fdatasync(int fd)
{
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (strcmp(name, "syncer") == 0) {
        atomic_fetch_add(&sync_calls, 1);
        while (atomic_load(&sync_held))
            sched_yield();
        if (atomic_load(&sync_errno) != 0) {
            errno = atomic_load(&sync_errno);
            return -1;
        }
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static const char *const steps[] = {
    "CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)",
    "ALTER TABLE t ADD COLUMN extra INTEGER DEFAULT 7",
};

struct fixture {
    char *dir;
    struct db *db;
};

static int
open_with(struct fixture *f, int version)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/db", f->dir);
    struct db_options options = {.path = path, .schema = {steps, version}};
    int err = db_open(&f->db, &options);
    if (err == ERR_NONE)
        db_set_reserve(f->db, 0);
    return err;
}

static int
setup(void **state)
{
    struct fixture *f = chk_calloc(1, sizeof *f);
    f->dir = testdir_make();
    *state = f;
    return open_with(f, 1);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    atomic_store(&sync_held, false);
    db_close(&f->db);
    atomic_store(&sync_errno, 0);
    STAT_SET(db_sync_failed, 0);
    testdir_remove(&f->dir);
    free(f);
    return 0;
}

/* Inserts key `k`; fails with `fail` after the insert when set. */
struct insert {
    struct db_op op;
    int64_t k;
    int fail;
    int64_t number;
    atomic_int applied; /* calls */
    int done_err;
    int order; /* among all done() */
    atomic_int *left;
};

static atomic_int dones;

static int
insert_apply(struct db_op *op, struct db_conn *conn)
{
    struct insert *in = CONTAINER_OF(op, struct insert, op);
    struct db_stmt *s = db_prepare(conn, "INSERT INTO t (k, v) VALUES (?1, ?2)");
    db_bind_int(s, 1, in->k);
    db_bind_blob(s, 2, SLICE_LIT("value"));
    int err = db_run(s);
    in->number = db_next(conn);
    atomic_fetch_add(&in->applied, 1);
    return err != ERR_NONE ? err : in->fail;
}

static void
insert_done(struct db_op *op, int err)
{
    struct insert *in = CONTAINER_OF(op, struct insert, op);
    in->done_err = err;
    in->order = atomic_fetch_add(&dones, 1);
    if (in->left != NULL)
        atomic_fetch_sub(in->left, 1);
}

static int
insert_key(struct db *db, int64_t k, int fail)
{
    struct insert in = {.op = {.apply = insert_apply}, .k = k, .fail = fail};
    return db_call(db, &in.op);
}

static int64_t
count_rows(struct db *db)
{
    struct db_conn *conn = NULL;
    assert_int_equal(db_read_begin(db, &conn), ERR_NONE);
    struct db_stmt *s = db_prepare(conn, "SELECT count(*) FROM t");
    assert_int_equal(db_step(s), DB_ROW);
    int64_t n = db_column_int(s, 0);
    db_read_end(db, &conn); /* also ends the statement that was left open */
    return n;
}

static void
a_failing_op_is_rolled_back_alone(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(insert_key(f->db, 1, 0), ERR_NONE);
    assert_int_equal(insert_key(f->db, 2, ERR_DENIED), ERR_DENIED);
    assert_int_equal(insert_key(f->db, 1, 0), ERR_EXISTS);
    assert_int_equal(count_rows(f->db), 1);
}

struct gate {
    struct db_op op;
    pthread_mutex_t mutex;
    atomic_bool reached;
};

/* Holds the writer until the test has queued what is to become one batch. */
static int
gate_apply(struct db_op *op, struct db_conn *conn)
{
    struct gate *g = CONTAINER_OF(op, struct gate, op);
    (void)conn;
    atomic_store(&g->reached, true);
    pthread_mutex_lock(&g->mutex);
    pthread_mutex_unlock(&g->mutex);
    return ERR_NONE;
}

static void
gate_done(struct db_op *op, int err)
{
    (void)op;
    assert_int_equal(err, ERR_NONE);
}

/* Returns when the writer stands in it: what is queued now is of the next batch. */
static void
gate_shut(struct db *db, struct gate *g)
{
    *g = (struct gate){.op = {.apply = gate_apply, .done = gate_done},
                       .mutex = PTHREAD_MUTEX_INITIALIZER};
    pthread_mutex_lock(&g->mutex);
    assert_int_equal(db_submit(db, &g->op), ERR_NONE);
    while (!atomic_load(&g->reached))
        sched_yield();
}

#define MANY 300

static void
waiting_ops_share_a_commit(void **state)
{
    struct fixture *f = *state;
    static struct insert ins[MANY];
    atomic_int left = MANY;
    struct gate gate;
    gate_shut(f->db, &gate);
    int64_t commits = stat_get(STAT_db_commits_total);
    for (int i = 0; i < MANY; i++) {
        ins[i] = (struct insert){.op = {.apply = insert_apply, .done = insert_done},
                                 .k = i + 1,
                                 .fail = i % 10 == 3 ? ERR_DENIED : 0,
                                 .left = &left};
        assert_int_equal(db_submit(f->db, &ins[i].op), ERR_NONE);
    }
    pthread_mutex_unlock(&gate.mutex);
    while (atomic_load(&left) > 0)
        sched_yield();
    for (int i = 0; i < MANY; i++)
        assert_int_equal(ins[i].done_err, i % 10 == 3 ? ERR_DENIED : ERR_NONE);
    assert_int_equal(count_rows(f->db), MANY - MANY / 10);
    commits = stat_get(STAT_db_commits_total) - commits;
    assert_int_equal(commits, 3); /* the gate alone, DB_BATCH_OPS, the rest */
}

static void
the_queue_has_a_limit(void **state)
{
    struct fixture *f = *state;
    struct gate gate;
    atomic_int left = 0;
    int accepted = 0;
    struct insert *ins = chk_calloc(DB_QUEUE_OPS_MAX + 10, sizeof *ins);
    gate_shut(f->db, &gate);
    int err = ERR_NONE;
    for (int i = 0; i < DB_QUEUE_OPS_MAX + 10 && err == ERR_NONE; i++) {
        ins[i] = (struct insert){
            .op = {.apply = insert_apply, .done = insert_done}, .k = i + 1, .left = &left};
        atomic_fetch_add(&left, 1);
        err = db_submit(f->db, &ins[i].op);
        accepted += err == ERR_NONE;
    }
    assert_int_equal(err, ERR_BUSY);
    assert_int_equal(accepted, DB_QUEUE_OPS_MAX);
    assert_true(db_is_full(f->db));
    atomic_fetch_sub(&left, 1);
    struct insert urgent = {.op = {.apply = insert_apply, .done = insert_done, .urgent = true},
                            .k = 1000000,
                            .left = &left};
    atomic_fetch_add(&left, 1);
    assert_int_equal(db_submit(f->db, &urgent.op), ERR_NONE);
    pthread_mutex_unlock(&gate.mutex);
    while (atomic_load(&left) > 0)
        sched_yield();
    assert_int_equal(count_rows(f->db), accepted + 1);
    assert_false(db_is_full(f->db));
    free(ins);
}

static void
below_the_reserve_only_urgent_ops(void **state)
{
    struct fixture *f = *state;
    db_set_reserve(f->db, INT64_MAX);
    assert_int_equal(db_health(f->db), ERR_FULL);
    assert_int_equal(insert_key(f->db, 1, 0), ERR_FULL);
    struct insert urgent = {.op = {.apply = insert_apply, .urgent = true}, .k = 2};
    assert_int_equal(db_call(f->db, &urgent.op), ERR_NONE);
    db_set_reserve(f->db, 0);
    assert_int_equal(insert_key(f->db, 1, 0), ERR_NONE);
}

static void
after_a_failed_sync_nothing_is_acknowledged(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(insert_key(f->db, 1, 0), ERR_NONE);
    db_fail_sync(f->db, "test");
    assert_int_equal(db_health(f->db), ERR_SYNC);
    assert_int_equal(insert_key(f->db, 2, 0), ERR_SYNC);
    assert_int_equal(count_rows(f->db), 1);
    STAT_SET(db_sync_failed, 0);
}

static void
numbers_rise_over_restarts(void **state)
{
    struct fixture *f = *state;
    int64_t last = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 3; i++) {
            struct insert in = {.op = {.apply = insert_apply}, .k = round * 10 + i + 1};
            assert_int_equal(db_call(f->db, &in.op), ERR_NONE);
            assert_true(in.number > last);
            last = in.number;
        }
        db_close(&f->db);
        assert_int_equal(open_with(f, 1), ERR_NONE);
    }
    assert_int_equal(count_rows(f->db), 12);
}

static void
schema_goes_up_and_not_down(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(insert_key(f->db, 1, 0), ERR_NONE);
    db_close(&f->db);
    assert_int_equal(open_with(f, 2), ERR_NONE);
    struct db_conn *conn = NULL;
    assert_int_equal(db_read_begin(f->db, &conn), ERR_NONE);
    struct db_stmt *s = db_prepare(conn, "SELECT extra FROM t WHERE k = 1");
    assert_int_equal(db_step(s), DB_ROW);
    assert_int_equal(db_column_int(s, 0), 7);
    db_read_end(f->db, &conn);
    db_close(&f->db);
    assert_int_equal(open_with(f, 1), ERR_UNSUPPORTED);
    assert_int_equal(open_with(f, 2), ERR_NONE);
}

static int
below_zero_apply(struct db_op *op, struct db_conn *conn)
{
    (void)op;
    return db_run(db_prepare(conn, "PRAGMA user_version = -3"));
}

/* A file that somebody else has made: there is no step -3. */
static void
schema_below_zero_is_refused(void **state)
{
    struct fixture *f = *state;
    struct db_op op = {.apply = below_zero_apply};
    assert_int_equal(db_call(f->db, &op), ERR_NONE);
    db_close(&f->db);
    assert_int_equal(open_with(f, 1), ERR_CORRUPT);
}

static int
trigger_apply(struct db_op *op, struct db_conn *conn)
{
    (void)op;
    return db_run(db_prepare(conn, "CREATE TRIGGER more AFTER INSERT ON t"
                                   " BEGIN INSERT INTO t (v) VALUES (x'00'); END"));
}

/* What a file has, and what its step would make now: blanks that mean nothing and quotes around the
 * table's name are all that may differ. In these texts blanks are of any kind that SQL knows. */
static const struct written {
    const char *then, *now;
    bool same;
} written[] = {
    {"TABLE u (a INTEGER, b TEXT)", "TABLE u(a INTEGER,b TEXT )", true},
    {"TABLE u (a INTEGER, b TEXT)", "TABLE u\t(\na\r\f INTEGER ,\n b TEXT)", true},
    {"TABLE \"u\" (a INTEGER)", "TABLE u (a INTEGER)", true},
    {"TABLE u (a INTEGER)", "TABLE \"u\"(a INTEGER)", true},
    {"TABLE u (a TEXT DEFAULT '(, x')", "TABLE u(a TEXT DEFAULT '(, x')", true},
    {"TABLE u (a INTEGER)", "TABLE u (\"a\" INTEGER)", false},
    {"TABLE u (a INTEGER)", "TABLE u (a \"INTEGER\")", false},
    {"TABLE u (a INTEGER)", "TABLE [u] (a INTEGER)", false},
    {"TABLE u (a INTEGER)", "TABLE u (a INT)", false},
    {"TABLE u (a INTEGER)", "TABLE u (a INTEGER) STRICT", false},
    {"TABLE u (a INTEGER)", "TABLE u (a INTEGER /**/)", false},
    {"TABLE u (ab INTEGER)", "TABLE u (a bINTEGER)", false},
    {"TABLE u (ab INTEGER)", "TABLE u (abINTEGER)", false},
    {"TABLE u (a TEXT DEFAULT '(, x')", "TABLE u (a TEXT DEFAULT '(,x')", false},
    {"TABLE u (a TEXT DEFAULT '(  x')", "TABLE u (a TEXT DEFAULT '( x')", false},
    {"TABLE u (a TEXT DEFAULT 'x''y')", "TABLE u (a TEXT DEFAULT 'x'' y')", false},
    {"TABLE u (a TEXT, \"b, c\" TEXT)", "TABLE u (a TEXT, \"b,c\" TEXT)", false},
    {"TABLE u (a TEXT, [b, c] TEXT)", "TABLE u (a TEXT, [b,c] TEXT)", false},
    {"TABLE u (a TEXT, `b, c` TEXT)", "TABLE u (a TEXT, `b,c` TEXT)", false},
    {"TABLE u (a DEFAULT x'')", "TABLE u (a DEFAULT 'x')", false},
};

static int
open_written(struct fixture *f, size_t pair, const char *text, struct buf *why)
{
    char path[4096], step[256];
    const char *const one[] = {step};
    snprintf(path, sizeof path, "%s/written%zu", f->dir, pair);
    snprintf(step, sizeof step, "CREATE %s", text);
    struct db_options options = {.path = path, .schema = {one, 1}, .why = why};
    struct db *db = NULL;
    int err = db_open(&db, &options);
    if (err == ERR_NONE)
        db_close(&db);
    return err;
}

static void
a_schema_may_be_written_otherwise(void **state)
{
    struct buf why;
    buf_init(&why, 4096);
    for (size_t i = 0; i < ARRAY_LEN(written); i++) {
        const struct written *w = &written[i];
        assert_int_equal(open_written(*state, i, w->then, NULL), ERR_NONE);
        int err = open_written(*state, i, w->now, &why);
        if (err != (w->same ? ERR_NONE : ERR_CORRUPT))
            fail_msg("%s and %s: %s", w->then, w->now, err_name(err));
        if (!w->same)
            assert_non_null(strstr(why.p, "table \"u\" is not that of schema 1"));
        buf_reset(&why);
    }
    buf_fini(&why);
}

/* Ours has no triggers: one that got into the file does nothing, and the next start refuses it. */
static void
a_trigger_of_the_file_is_not_run(void **state)
{
    struct fixture *f = *state;
    struct db_op op = {.apply = trigger_apply};
    assert_int_equal(db_call(f->db, &op), ERR_NONE);
    assert_int_equal(insert_key(f->db, 1, 0), ERR_NONE);
    assert_int_equal(count_rows(f->db), 1);
    db_close(&f->db);
    assert_int_equal(open_with(f, 1), ERR_CORRUPT);
}

static void
a_read_is_a_snapshot_and_is_ended_when_too_long(void **state)
{
    struct fixture *f = *state;
    struct db_conn *conn = NULL;
    assert_int_equal(insert_key(f->db, 1, 0), ERR_NONE);
    assert_int_equal(db_read_begin(f->db, &conn), ERR_NONE);
    struct db_stmt *s = db_prepare(conn, "SELECT count(*) FROM t");
    assert_int_equal(db_step(s), DB_ROW);
    db_reset(s);
    assert_int_equal(insert_key(f->db, 2, 0), ERR_NONE);
    s = db_prepare(conn, "SELECT count(*) FROM t");
    assert_int_equal(db_step(s), DB_ROW);
    assert_int_equal(db_column_int(s, 0), 1);
    db_reset(s);
    s = db_prepare(conn, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
                         " SELECT count(*) FROM c");
    assert_int_equal(db_step(s), ERR_TIMEOUT);
    db_read_end(f->db, &conn);
    assert_int_equal(count_rows(f->db), 2);
}

static void
the_same_statement_nests(void **state)
{
    struct fixture *f = *state;
    struct db_conn *conn = NULL;
    int pairs = 0;
    insert_key(f->db, 1, 0);
    insert_key(f->db, 2, 0);
    assert_int_equal(db_read_begin(f->db, &conn), ERR_NONE);
    static const char sql[] = "SELECT k FROM t";
    struct db_stmt *outer = db_prepare(conn, sql);
    while (db_step(outer) == DB_ROW) {
        struct db_stmt *inner = db_prepare(conn, sql);
        while (db_step(inner) == DB_ROW)
            pairs++;
    }
    db_read_end(f->db, &conn);
    assert_int_equal(pairs, 4);
}

#define HAMMER_OPS 400

static void *
hammer(void *arg)
{
    struct fixture *f = arg;
    static atomic_int next_key = 1;
    for (int i = 0; i < HAMMER_OPS; i++) {
        int64_t before = count_rows(f->db);
        assert_int_equal(insert_key(f->db, atomic_fetch_add(&next_key, 1), 0), ERR_NONE);
        assert_true(count_rows(f->db) > before); /* read your own write */
    }
    db_thread_end(f->db);
    return NULL;
}

static void
threads_write_and_read(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, f), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(count_rows(f->db), (int64_t)ARRAY_LEN(threads) * HAMMER_OPS);
}

static void
queued_ops_end_before_close(void **state)
{
    struct fixture *f = *state;
    static struct insert ins[MANY];
    atomic_int left = MANY;
    for (int i = 0; i < MANY; i++) {
        ins[i] = (struct insert){
            .op = {.apply = insert_apply, .done = insert_done}, .k = i + 1, .left = &left};
        assert_int_equal(db_submit(f->db, &ins[i].op), ERR_NONE);
    }
    db_close(&f->db);
    assert_int_equal(atomic_load(&left), 0);
    assert_int_equal(open_with(f, 1), ERR_NONE);
    assert_int_equal(count_rows(f->db), MANY);
}

static void
submit_many(struct fixture *f, struct insert *ins, int count, int64_t first_key, atomic_int *left)
{
    atomic_fetch_add(left, count);
    for (int i = 0; i < count; i++) {
        ins[i] = (struct insert){.op = {.apply = insert_apply, .done = insert_done},
                                 .k = first_key + i,
                                 .done_err = 1,
                                 .left = left};
        assert_int_equal(db_submit(f->db, &ins[i].op), ERR_NONE);
    }
}

/* Returns when the syncer stands in the sync of `first`. */
static void
hold_sync(struct fixture *f, struct insert *first, atomic_int *left)
{
    int calls = atomic_load(&sync_calls);
    atomic_store(&sync_held, true);
    submit_many(f, first, 1, 1, left);
    while (atomic_load(&sync_calls) == calls)
        sched_yield();
}

static void
wait_done(const atomic_int *left)
{
    while (atomic_load(left) > 0)
        sched_yield();
}

static void
the_next_batch_is_applied_while_one_syncs(void **state)
{
    struct fixture *f = *state;
    struct insert first, next[3];
    atomic_int left = 0;
    hold_sync(f, &first, &left);
    int64_t commits = stat_get(STAT_db_commits_total);
    submit_many(f, next, 3, 2, &left);
    for (int i = 0; i < 3; i++) {
        while (atomic_load(&next[i].applied) == 0)
            sched_yield();
    }
    assert_int_equal(atomic_load(&left), 4); /* nobody is answered before the sync */
    assert_int_equal(stat_get(STAT_db_commits_total), commits);
    atomic_store(&sync_held, false);
    wait_done(&left);
    assert_int_equal(stat_get(STAT_db_commits_total), commits + 1); /* the three shared one */
    assert_int_equal(count_rows(f->db), 4);
}

static void
answers_come_in_the_order_of_submission(void **state)
{
    struct fixture *f = *state;
    static struct insert first, ins[MANY];
    atomic_int left = 0;
    hold_sync(f, &first, &left);
    submit_many(f, ins, MANY, 2, &left);
    atomic_store(&sync_held, false);
    wait_done(&left);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(ins[i].done_err, ERR_NONE);
        assert_int_equal(ins[i].order, first.order + 1 + i);
    }
}

static void
a_failed_sync_fails_every_batch_in_flight(void **state)
{
    struct fixture *f = *state;
    static struct insert first, ins[MANY];
    atomic_int left = 0;
    int64_t commits = stat_get(STAT_db_commits_total) + 2;
    hold_sync(f, &first, &left);
    submit_many(f, ins, MANY, 2, &left);
    while (stat_get(STAT_db_commits_total) < commits) /* a full batch does not wait */
        sched_yield();
    assert_int_equal(atomic_load(&left), MANY + 1);
    atomic_store(&sync_errno, EIO);
    atomic_store(&sync_held, false);
    wait_done(&left);
    assert_int_equal(first.done_err, ERR_SYNC);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(ins[i].done_err, ERR_SYNC);
    atomic_store(&sync_errno, 0); /* the kernel says so the next time */
    assert_int_equal(db_health(f->db), ERR_SYNC);
    assert_int_equal(insert_key(f->db, 1000, 0), ERR_SYNC);
    assert_int_equal(db_settle(f->db), ERR_SYNC);
}

static void *
closer(void *arg)
{
    struct fixture *f = arg;
    db_close(&f->db);
    return NULL;
}

static void
close_answers_what_is_in_flight(void **state)
{
    struct fixture *f = *state;
    static struct insert first, ins[MANY];
    atomic_int left = 0;
    pthread_t thread;
    hold_sync(f, &first, &left);
    submit_many(f, ins, MANY, 2, &left);
    assert_int_equal(pthread_create(&thread, NULL, closer, f), 0);
    while (atomic_load(&ins[MANY - 1].applied) == 0)
        sched_yield();
    atomic_store(&sync_held, false);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&left), 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(ins[i].done_err, ERR_NONE);
    assert_int_equal(open_with(f, 1), ERR_NONE);
    assert_int_equal(count_rows(f->db), MANY + 1);
}

/* One batch: the second op's key is taken, so it fails having changed nothing. */
static void
a_failure_without_changes_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct insert ins[3];
    struct gate gate;
    atomic_int left = 0;
    int64_t again = stat_get(STAT_db_batches_again_total);
    gate_shut(f->db, &gate);
    submit_many(f, ins, 3, 1, &left);
    ins[1].k = 1;
    pthread_mutex_unlock(&gate.mutex);
    wait_done(&left);
    assert_int_equal(ins[0].done_err, ERR_NONE);
    assert_int_equal(ins[1].done_err, ERR_EXISTS);
    assert_int_equal(ins[2].done_err, ERR_NONE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&ins[i].applied), 1);
    assert_int_equal(stat_get(STAT_db_batches_again_total), again);
    assert_int_equal(count_rows(f->db), 2);
}

/* One batch: the second op fails after its insert, so all is undone and applied again. */
static void
a_failure_after_a_change_runs_the_batch_again(void **state)
{
    struct fixture *f = *state;
    struct insert ins[3];
    struct gate gate;
    atomic_int left = 0;
    int64_t again = stat_get(STAT_db_batches_again_total);
    gate_shut(f->db, &gate);
    submit_many(f, ins, 3, 1, &left);
    ins[1].fail = ERR_DENIED;
    pthread_mutex_unlock(&gate.mutex);
    wait_done(&left);
    assert_int_equal(ins[0].done_err, ERR_NONE);
    assert_int_equal(ins[1].done_err, ERR_DENIED);
    assert_int_equal(ins[2].done_err, ERR_NONE);
    assert_int_equal(atomic_load(&ins[0].applied), 2);
    assert_int_equal(atomic_load(&ins[1].applied), 2);
    assert_int_equal(atomic_load(&ins[2].applied), 1);
    assert_true(ins[0].number < ins[2].number);
    assert_int_equal(stat_get(STAT_db_batches_again_total), again + 1);
    assert_int_equal(count_rows(f->db), 2);
}

struct waiting {
    struct db_wait wait;
    atomic_bool called;
};

static void
wait_called(struct db_wait *w)
{
    atomic_store(&CONTAINER_OF(w, struct waiting, wait)->called, true);
}

static void
what_was_read_may_have_to_wait(void **state)
{
    struct fixture *f = *state;
    struct insert first;
    struct waiting w = {.wait.fn = wait_called};
    atomic_int left = 0;
    assert_int_equal(count_rows(f->db), 0);
    assert_true(db_is_settled(f->db));
    assert_false(db_await(f->db, &w.wait));
    hold_sync(f, &first, &left);
    assert_true(db_is_settled(f->db)); /* this thread has not looked since */
    uint64_t before = db_seen(f->db);
    assert_int_equal(count_rows(f->db), 1);
    assert_false(db_is_settled(f->db));
    uint64_t after = db_seen(f->db);
    assert_true(after > before);
    db_seen_set(f->db, before); /* another task of this thread, which has not looked */
    assert_true(db_is_settled(f->db));
    db_seen_raise(f->db, after); /* but what it is given came from there */
    assert_false(db_is_settled(f->db));
    db_seen_raise(f->db, before);
    assert_false(db_is_settled(f->db));
    assert_true(db_await(f->db, &w.wait));
    assert_false(atomic_load(&w.called));
    assert_int_equal(atomic_load(&left), 1);
    atomic_store(&sync_held, false);
    while (!atomic_load(&w.called))
        sched_yield();
    assert_true(db_is_settled(f->db));
    assert_int_equal(db_settle(f->db), ERR_NONE);
    wait_done(&left);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_failing_op_is_rolled_back_alone),
        TEST(waiting_ops_share_a_commit),
        TEST(the_queue_has_a_limit),
        TEST(below_the_reserve_only_urgent_ops),
        TEST(after_a_failed_sync_nothing_is_acknowledged),
        TEST(numbers_rise_over_restarts),
        TEST(schema_goes_up_and_not_down),
        TEST(schema_below_zero_is_refused),
        TEST(a_schema_may_be_written_otherwise),
        TEST(a_trigger_of_the_file_is_not_run),
        TEST(a_read_is_a_snapshot_and_is_ended_when_too_long),
        TEST(the_same_statement_nests),
        TEST(threads_write_and_read),
        TEST(queued_ops_end_before_close),
        TEST(the_next_batch_is_applied_while_one_syncs),
        TEST(answers_come_in_the_order_of_submission),
        TEST(a_failed_sync_fails_every_batch_in_flight),
        TEST(close_answers_what_is_in_flight),
        TEST(a_failure_without_changes_costs_nothing),
        TEST(a_failure_after_a_change_runs_the_batch_again),
        TEST(what_was_read_may_have_to_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
