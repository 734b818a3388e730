/*
 * The copy of the database: it is one moment of it while writers go on, it keeps no operation
 * waiting for more than a step, what goes wrong at its target is its own trouble; reading a copy.
 * The target's writes come by here, so that a test can count them, act in the middle, or fail them.
 */
#include "base/chk.h"
#include "base/db.h"
#include "base/err.h"
#include "base/stat.h"
#include "tests/lib/testdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define COPY_NAME "a copy?of%20it#1"
#define ROW_BYTES 4000
#define ROWS 3000
#define STEP_PAGES_MAX 128 /* db_backup.c's */

static atomic_int target_writes, fail_errno, sync_errno;
static void (*_Atomic at_first_write)(void);

static bool
is_target(int fd)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    return n > 0 && strstr(path, COPY_NAME) != NULL;
}

/* In place of the C library's. */
ssize_t
pwrite64(int fd, const void *p, size_t n, off_t at)
{
    if (is_target(fd)) {
        void (*act)(void) = atomic_exchange(&at_first_write, NULL);
        if (act != NULL)
            act();
        atomic_fetch_add(&target_writes, 1);
        if (atomic_load(&fail_errno) != 0) {
            errno = atomic_load(&fail_errno);
            return -1;
        }
    }
    return syscall(SYS_pwrite64, fd, p, n, at);
}

int
fdatasync(int fd)
{
    if (atomic_load(&sync_errno) != 0) {
        errno = atomic_load(&sync_errno);
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static const char *const steps[] = {
    "CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB);"
    "CREATE TABLE total (id INTEGER PRIMARY KEY, rows INTEGER);"
    "INSERT INTO total VALUES (1, 0)",
};

static const struct db_schema schema = {steps, 1};

struct fixture {
    char *dir;
    char copy[4096];
    struct db *db;
    struct db_backup_progress progress;
    atomic_bool stop;
    atomic_int written;
};

static struct fixture *now; /* for what acts in the middle */

/* A row, and the total of rows, in one transaction. */
static int
row_apply(struct db_op *op, struct db_conn *conn)
{
    char v[ROW_BYTES];
    (void)op;
    memset(v, 'v', sizeof v);
    struct db_stmt *s = db_prepare(conn, "INSERT INTO t (v) VALUES (?1)");
    db_bind_blob(s, 1, slice_of(v, sizeof v));
    int err = db_run(s);
    return err != ERR_NONE ? err
                           : db_run(db_prepare(conn, "UPDATE total SET rows = rows + 1"
                                                     " WHERE id = 1"));
}

static int
fill_apply(struct db_op *op, struct db_conn *conn)
{
    int err = ERR_NONE;
    for (int i = 0; i < ROWS && err == ERR_NONE; i++)
        err = row_apply(op, conn);
    return err;
}

static int
setup(void **state)
{
    struct fixture *f = chk_calloc(1, sizeof *f);
    char path[4096];
    f->dir = testdir_make();
    snprintf(path, sizeof path, "%s/db", f->dir);
    snprintf(f->copy, sizeof f->copy, "%s/%s", f->dir, COPY_NAME);
    struct db_options options = {.path = path, .schema = schema};
    assert_int_equal(db_open(&f->db, &options), ERR_NONE);
    db_set_reserve(f->db, 0);
    struct db_op fill = {.apply = fill_apply};
    assert_int_equal(db_call(f->db, &fill), ERR_NONE);
    atomic_store(&target_writes, 0);
    *state = now = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    atomic_store(&fail_errno, 0);
    atomic_store(&sync_errno, 0);
    atomic_store(&at_first_write, NULL);
    db_close(&f->db);
    STAT_SET(db_sync_failed, 0);
    testdir_remove(&f->dir);
    free(f);
    return 0;
}

static int
row_add(struct fixture *f)
{
    struct db_op op = {.apply = row_apply};
    return db_call(f->db, &op);
}

static void *
writer_main(void *arg)
{
    struct fixture *f = arg;
    while (!atomic_load(&f->stop)) {
        assert_int_equal(row_add(f), ERR_NONE);
        atomic_fetch_add(&f->written, 1);
    }
    return NULL;
}

static int64_t
number(struct db_stmt *s)
{
    assert_int_equal(db_step(s), DB_ROW);
    int64_t n = db_column_int(s, 0);
    db_reset(s);
    return n;
}

static void
copy_is_one_moment(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[4];
    struct db *copy = NULL;
    struct db_conn *conn = NULL;
    char why_text[512] = "";
    struct buf why;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, f), 0);
    while (atomic_load(&f->written) == 0)
        sched_yield();
    int before = atomic_load(&f->written);
    assert_int_equal(db_backup(f->db, f->copy, &f->progress), ERR_NONE);
    int after = atomic_load(&f->written) + (int)ARRAY_LEN(threads);
    atomic_store(&f->stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&f->progress.pages_left), 0);
    assert_true(atomic_load(&f->progress.pages) > ROWS / 4);

    buf_init(&why, sizeof why_text);
    assert_int_equal(db_open_copy(&copy, f->copy), ERR_NONE);
    assert_int_equal(db_check(copy, &schema, &why), ERR_NONE);
    assert_int_equal(db_read_begin(copy, &conn), ERR_NONE);
    int64_t rows = number(db_prepare(conn, "SELECT count(*) FROM t"));
    assert_int_equal(number(db_prepare(conn, "SELECT rows FROM total")), rows);
    assert_int_equal(number(db_prepare(conn, "SELECT max(k) FROM t")), rows);
    assert_in_range(rows - ROWS, before, after);
    db_read_end(copy, &conn);
    db_close(&copy);
    buf_fini(&why);
}

static struct db_op watched;
static atomic_int writes_when_applied;

static int
watched_apply(struct db_op *op, struct db_conn *conn)
{
    (void)op;
    (void)conn;
    atomic_store(&writes_when_applied, atomic_load(&target_writes));
    return ERR_NONE;
}

static void
watched_done(struct db_op *op, int err)
{
    (void)op;
    (void)err;
}

static void
submit_watched(void)
{
    watched = (struct db_op){.apply = watched_apply, .done = watched_done};
    assert_int_equal(db_submit(now->db, &watched), ERR_NONE);
}

static void
operation_waits_for_one_step_at_most(void **state)
{
    struct fixture *f = *state;
    atomic_store(&writes_when_applied, 0);
    atomic_store(&at_first_write, submit_watched);
    assert_int_equal(db_backup(f->db, f->copy, &f->progress), ERR_NONE);
    assert_in_range(atomic_load(&writes_when_applied), 1, 2 * STEP_PAGES_MAX);
    assert_true(atomic_load(&target_writes) > 4 * STEP_PAGES_MAX);
    assert_true(atomic_load(&f->progress.step_us_max) > 0);
}

static void
cancel_now(void)
{
    atomic_store(&now->progress.cancel, true);
}

static void
canceled_leaves_no_file(void **state)
{
    struct fixture *f = *state;
    atomic_store(&at_first_write, cancel_now);
    assert_int_equal(db_backup(f->db, f->copy, &f->progress), ERR_CANCELED);
    assert_int_equal(access(f->copy, F_OK), -1);
    f->progress = (struct db_backup_progress){0};
    assert_int_equal(db_backup(f->db, f->copy, &f->progress), ERR_NONE);
}

static void
full_target_harms_nobody(void **state)
{
    struct fixture *f = *state;
    const int errors[] = {ENOSPC, EIO};
    const int wanted[] = {ERR_FULL, ERR_IO};
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        atomic_store(&fail_errno, errors[i]);
        assert_int_equal(db_backup(f->db, f->copy, &f->progress), wanted[i]);
        assert_int_equal(access(f->copy, F_OK), -1);
        atomic_store(&fail_errno, 0);
        assert_int_equal(db_health(f->db), ERR_NONE);
        assert_int_equal(row_add(f), ERR_NONE);
    }
}

static void
existing_file_stays(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    int fd = open(f->copy, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0 && write(fd, "mine", 4) == 4);
    close(fd);
    assert_int_equal(db_backup(f->db, f->copy, &f->progress), ERR_EXISTS);
    assert_true(stat(f->copy, &st) == 0 && st.st_size == 4);
}

static void
nothing_rests_on_what_is_not_durable(void **state)
{
    struct fixture *f = *state;
    atomic_store(&sync_errno, EIO);
    assert_int_equal(row_add(f), ERR_SYNC);
    assert_int_equal(db_backup(f->db, f->copy, &f->progress), ERR_SYNC);
    assert_int_equal(access(f->copy, F_OK), -1);
}

/* How many files begin with the copy's name. */
static int
files_of_copy(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strncmp(e->d_name, COPY_NAME, strlen(COPY_NAME)) == 0;
    closedir(d);
    return n;
}

static void
reading_a_copy_makes_no_files(void **state)
{
    struct fixture *f = *state;
    struct db *copy = NULL;
    struct db_conn *conn = NULL;
    int64_t version = 0, counter = -1;
    struct stat st;
    assert_int_equal(db_backup(f->db, f->copy, &f->progress), ERR_NONE);
    assert_true(stat(f->copy, &st) == 0 && (st.st_mode & 07777) == 0600);
    assert_int_equal(db_open_copy(&copy, f->copy), ERR_NONE);
    assert_int_equal(db_read_begin(copy, &conn), ERR_NONE);
    assert_int_equal(db_schema_version(conn, &version), ERR_NONE);
    assert_int_equal(db_counter_read(conn, &counter), ERR_NONE);
    assert_int_equal(version, 1);
    assert_int_equal(counter, 0);
    assert_int_equal(files_of_copy(f->dir), 1);
    db_read_end(copy, &conn);
    db_close(&copy);
    assert_int_equal(files_of_copy(f->dir), 1);
    assert_int_equal(db_open_copy(&copy, "/nowhere/at/all"), ERR_NOTFOUND);
    assert_null(copy);
}

static void
damage_is_found(void **state)
{
    struct fixture *f = *state;
    struct db *copy = NULL;
    struct buf why;
    buf_init(&why, 4096);
    assert_int_equal(db_backup(f->db, f->copy, &f->progress), ERR_NONE);
    int fd = open(f->copy, O_WRONLY);
    for (int page = 2; page < 40; page++) /* the heads of b-tree pages */
        assert_int_equal(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 8192L * page), 8);
    close(fd);
    assert_int_equal(db_open_copy(&copy, f->copy), ERR_NONE);
    assert_int_equal(db_check(copy, &schema, &why), ERR_CORRUPT);
    db_close(&copy);
    buf_fini(&why);
    fd = open(f->copy, O_WRONLY);
    assert_int_equal(pwrite(fd, "nothing of SQLite", 17, 0), 17);
    close(fd);
    assert_int_equal(db_open_copy(&copy, f->copy), ERR_CORRUPT);
}

/* ---- numbers ---- */

struct skip {
    struct db_op op;
    int64_t got;
};

static int
skip_apply(struct db_op *op, struct db_conn *conn)
{
    struct skip *s = CONTAINER_OF(op, struct skip, op);
    db_counter_skip(conn, 1000000);
    s->got = db_next(conn);
    return ERR_NONE;
}

static void
skipped_numbers_never_come(void **state)
{
    struct fixture *f = *state;
    struct skip s = {.op = {.apply = skip_apply}};
    assert_int_equal(db_call(f->db, &s.op), ERR_NONE);
    assert_true(s.got > 1000000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(copy_is_one_moment),
        CASE(operation_waits_for_one_step_at_most),
        CASE(canceled_leaves_no_file),
        CASE(full_target_harms_nobody),
        CASE(existing_file_stays),
        CASE(nothing_rests_on_what_is_not_durable),
        CASE(reading_a_copy_makes_no_files),
        CASE(damage_is_found),
        CASE(skipped_numbers_never_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
