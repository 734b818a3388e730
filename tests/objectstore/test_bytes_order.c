/*
 * In which order bytes, names and the log go to the disk. A power cut on ext4 or xfs seldom tells:
 * their journals bring a name that was forgotten along with the next sync of anything. So the calls
 * themselves are looked at. The functions below stand where the C library's would: the linker binds
 * a name to the program first.
 *
 *   content synced -> name given -> its folder synced, a new folder's own name too -> answer
 *   commit -> log synced -> file unlinked
 */
#include "tests/objectstore/fixture.h"
#include "objectstore/bytes.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define CALLS_MAX 4096
#define HOLD_MS 200 /* a sync of the log at most, for an unlink that should not come */
#define PUTS 6

enum call { SYNC_CONTENT, SYNC_FOLDER, NAME_FILE, NAME_FOLDER };

struct seen {
    enum call call;
    ino_t ino;    /* of what was synced or named */
    ino_t folder; /* where a name was given */
    off_t bytes;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of these two */
static struct seen calls[CALLS_MAX];
static int call_count;

static atomic_int unlinks, early_unlinks;
static atomic_bool log_unsynced, log_held; /* armed; the sync of the log has come and waits */
static atomic_bool names_held;             /* a sync of files' names waits: */
static atomic_int links, links_awaited;    /* until there are so many */

static struct stat
stat_of(int fd)
{
    struct stat st;
    CHK(fstat(fd, &st) == 0);
    return st;
}

static void
note(enum call call, ino_t ino, ino_t folder, off_t bytes)
{
    pthread_mutex_lock(&mutex);
    CHK(call_count < CALLS_MAX);
    calls[call_count++] = (struct seen){call, ino, folder, bytes};
    pthread_mutex_unlock(&mutex);
}

/* Has it files that were named? */
static bool
has_files(ino_t folder)
{
    bool has = false;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < call_count && !has; i++)
        has = calls[i].call == NAME_FILE && calls[i].folder == folder;
    pthread_mutex_unlock(&mutex);
    return has;
}

static bool
is_log(int fd)
{
    char self[64], path[PATH_MAX];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(self, path, sizeof path);
    return n > 4 && memcmp(path + n - 4, "-wal", 4) == 0;
}

/* ---- in front of the C library ---- */

int
fdatasync(int fd)
{
    bool hold = atomic_load(&log_unsynced) && is_log(fd);
    if (hold) {
        int before = atomic_load(&early_unlinks);
        atomic_store(&log_held, true);
        for (int i = 0; i < HOLD_MS && atomic_load(&early_unlinks) == before; i++)
            poll(NULL, 0, 1);
    }
    int rc = (int)syscall(SYS_fdatasync, fd);
    struct stat st = stat_of(fd);
    note(SYNC_CONTENT, st.st_ino, 0, st.st_size);
    if (hold)
        atomic_store(&log_unsynced, false);
    return rc;
}

int
fsync(int fd)
{
    struct stat st = stat_of(fd);
    int rc = (int)syscall(SYS_fsync, fd);
    note(SYNC_FOLDER, st.st_ino, 0, 0);
    while (atomic_load(&links) < atomic_load(&links_awaited) && has_files(st.st_ino)) {
        atomic_store(&names_held, true); /* what is named meanwhile needs a sync of its own */
        sched_yield();
    }
    return rc;
}

int
linkat(int from, const char *old, int to, const char *name, int flags)
{
    struct stat st;
    int rc = (int)syscall(SYS_linkat, from, old, to, name, flags);
    CHK(fstatat(to, name, &st, 0) == 0);
    note(NAME_FILE, st.st_ino, stat_of(to).st_ino, st.st_size);
    atomic_fetch_add(&links, 1);
    return rc;
}

int
mkdir(const char *path, mode_t mode)
{
    struct stat st, folder;
    char parent[PATH_MAX];
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (rc != 0)
        return rc;
    snprintf(parent, sizeof parent, "%s/..", path);
    CHK(stat(path, &st) == 0 && stat(parent, &folder) == 0);
    note(NAME_FOLDER, st.st_ino, folder.st_ino, 0);
    return rc;
}

int
unlinkat(int dirfd, const char *name, int flags)
{
    if (dirfd != AT_FDCWD && flags == 0) {
        atomic_fetch_add(&unlinks, 1);
        if (atomic_load(&log_unsynced))
            atomic_fetch_add(&early_unlinks, 1);
    }
    return (int)syscall(SYS_unlinkat, dirfd, name, flags);
}

/* ---- what must have come before what ---- */

static bool
is_among(int from, int to, enum call call, ino_t ino, off_t bytes)
{
    for (int i = from; i < to; i++) {
        if (calls[i].call == call && calls[i].ino == ino && calls[i].bytes == bytes)
            return true;
    }
    return false;
}

/* Of all names given up to now; how many were files'. */
static int
check_names(void)
{
    int files = 0;
    pthread_mutex_lock(&mutex);
    int end = call_count;
    pthread_mutex_unlock(&mutex); /* whoever had a put under way has answered it */
    for (int i = 0; i < end; i++) {
        if (calls[i].call != NAME_FILE && calls[i].call != NAME_FOLDER)
            continue;
        assert_true(is_among(i + 1, end, SYNC_FOLDER, calls[i].folder, 0));
        if (calls[i].call == NAME_FOLDER)
            continue;
        assert_true(is_among(0, i, SYNC_CONTENT, calls[i].ino, calls[i].bytes));
        files++;
    }
    return files;
}

static void
sync_comes_before_the_answer(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(1, 100001);
    for (int i = 0; i < 3; i++) {
        struct store_put *put = fix_sealed_put(f, bytes, -1);
        assert_int_equal(check_names(), i + 1); /* sealed: the row may refer to it from now on */
        store_put_end(&put);
    }
    fix_settle(f);
    fix_free(&bytes);
}

/* Whoever was killed between making a folder and syncing its name leaves one that is there now, and
 * perhaps not after a power cut. */
static void
folder_of_another_process(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(6, 100001);
    char name[64];
    int64_t folder = atomic_load(&f->store->next_id) / BYTES_FOLDER_IDS;
    snprintf(name, sizeof name, "blobs/%lld", (long long)folder);
    assert_int_equal(mkdir(testdir_path(f->dir, name), 0700), 0);
    struct store_put *put = fix_sealed_put(f, bytes, -1);
    assert_int_equal(check_names(), 1);
    store_put_end(&put);
    fix_settle(f);
    fix_free(&bytes);
}

/* Many at once share their syncs: of names in two folders, of which the second is new. */
static void
each_of_many_is_synced(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(2, 100001);
    struct store_put *puts[PUTS];
    struct fix_seal waits[PUTS];
    int64_t folder = atomic_load(&f->store->next_id) / BYTES_FOLDER_IDS + 1;
    atomic_store(&f->store->next_id, folder * BYTES_FOLDER_IDS - PUTS / 2);
    for (int i = 0; i < PUTS; i++) {
        assert_int_equal(store_put_begin(f->store, &puts[i], (int64_t)bytes.n), ERR_NONE);
        assert_int_equal(store_put_write(puts[i], bytes.p, bytes.n), ERR_NONE);
        waits[i] = (struct fix_seal){.mutex = PTHREAD_MUTEX_INITIALIZER,
                                     .ended = PTHREAD_COND_INITIALIZER};
    }
    atomic_store(&links, 0);
    atomic_store(&names_held, false);
    atomic_store(&links_awaited, PUTS);
    store_put_seal(puts[0], fix_sealed, &waits[0]);
    while (!atomic_load(&names_held))
        sched_yield();
    for (int i = 1; i < PUTS; i++)
        store_put_seal(puts[i], fix_sealed, &waits[i]);
    for (int i = 0; i < PUTS; i++) {
        pthread_mutex_lock(&waits[i].mutex);
        while (!waits[i].has_ended)
            pthread_cond_wait(&waits[i].ended, &waits[i].mutex);
        pthread_mutex_unlock(&waits[i].mutex);
        assert_int_equal(waits[i].err, ERR_NONE);
    }
    atomic_store(&links_awaited, 0);
    assert_int_equal(check_names(), PUTS);
    for (int i = 0; i < PUTS; i++)
        store_put_end(&puts[i]);
    fix_settle(f);
    fix_free(&bytes);
}

/* ---- unlinking ---- */

static void *
delete_it(void *arg)
{
    struct fix *f = arg;
    CHK(fix_delete(f, "photos", "k") == ERR_NONE);
    store_thread_end(f->store);
    return NULL;
}

/* The log's next sync is slow: whoever removes a file before it is caught. */
static void
arm(void)
{
    atomic_store(&unlinks, 0);
    atomic_store(&early_unlinks, 0);
    atomic_store(&log_held, false);
    atomic_store(&log_unsynced, true);
}

static void
until_unlinked(struct fix *f)
{
    fix_settle(f);
    assert_false(atomic_load(&log_unsynced));
    assert_true(atomic_load(&unlinks) > 0);
    assert_int_equal(atomic_load(&early_unlinks), 0);
    assert_int_equal(fix_files(f), 0);
}

static void
unlink_waits_for_the_log(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(3, 100001), other = fix_bytes(4, 10);
    assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
    arm();
    assert_int_equal(fix_delete(f, "photos", "k"), ERR_NONE);
    until_unlinked(f);
    assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
    arm();
    assert_int_equal(fix_put(f, "photos", "k", other), ERR_NONE);
    until_unlinked(f);
    fix_free(&bytes);
    fix_free(&other);
}

/* An upload that has been answered ends while its object is being deleted. */
static void
end_of_a_put_waits_for_the_log(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(5, 100001);
    struct fix_put p;
    pthread_t thread;
    fix_put_spec(&p, "photos", SLICE_LIT("k"), bytes);
    p.put = fix_sealed_put(f, bytes, -1);
    assert_int_equal(fix_run(f, fix_put_apply, &p), ERR_NONE);
    arm();
    assert_int_equal(pthread_create(&thread, NULL, delete_it, f), 0);
    while (!atomic_load(&log_held)) /* committed, not durable */
        sched_yield();
    store_put_end(&p.put);
    assert_int_equal(pthread_join(thread, NULL), 0);
    until_unlinked(f);
    fix_free(&bytes);
}

static int
setup(void **state)
{
    call_count = 0;
    return fix_setup(state);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fix_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(sync_comes_before_the_answer), T(folder_of_another_process), T(each_of_many_is_synced),
        T(unlink_waits_for_the_log), T(end_of_a_put_waits_for_the_log)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
