/*
 * Every system call of the publishing functions is made to fail, one after the other. The module
 * is compiled in here with its fault points, so that the walk runs in every build.
 *
 * What must hold at each point: an error is reported (never for an interrupted call), the old
 * content or the new one is there and nothing between, no temporary file and no descriptor stays,
 * and a failed sync is ERR_SYNC whatever its errno was.
 */
#ifndef FSIO_FAULTS
#define FSIO_FAULTS
#endif
#include "base/fsio.c"

#include "tests/lib/testdir.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WALK_MAX 100

static size_t
count_entries(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static size_t
count_fds(void)
{
    return count_entries("/proc/self/fd");
}

static void
assert_old_or_new(const char *path, int rc)
{
    struct buf b;
    fsio_fault_set(0, 0);
    buf_init(&b, 100);
    assert_int_equal(fsio_read_file(path, &b), ERR_NONE);
    bool is_old = slice_eqs(buf_slice(&b), "old");
    bool is_new = slice_eqs(buf_slice(&b), "new");
    /* Only the last step, the directory's sync, fails with the new content in place. */
    assert_true(is_old || (is_new && (rc == ERR_NONE || rc == ERR_SYNC)));
    assert_true(rc != ERR_NONE || is_new);
    buf_fini(&b);
}

static void
walk_write_file(int errnum, int want)
{
    char *dir = testdir_make();
    const char *path = testdir_path(dir, "f");
    size_t fds = count_fds();
    int rc = ERR_INVALID;
    int nth = 0;
    bool sync_seen = false;
    while (rc != ERR_NONE) {
        assert_true(++nth < WALK_MAX);
        fsio_fault_set(0, 0);
        assert_int_equal(fsio_write_file(path, 0600, SLICE_LIT("old")), ERR_NONE);
        fsio_fault_set(nth, errnum);
        rc = fsio_write_file(path, 0600, SLICE_LIT("new"));
        if (rc != ERR_NONE && rc != want)
            assert_int_equal(rc, ERR_SYNC);
        sync_seen = sync_seen || rc == ERR_SYNC;
        assert_old_or_new(path, rc);
        assert_int_equal(count_entries(dir), 1);
        assert_int_equal(count_fds(), fds);
    }
    /* open directory, make, write, chmod, sync, rename, sync directory: seven, then success. */
    assert_int_equal(nth, 8);
    assert_true(sync_seen);
    testdir_remove(&dir);
}

static void
test_write_file_walk(void **state)
{
    (void)state;
    walk_write_file(ENOSPC, ERR_FULL);
    walk_write_file(EIO, ERR_IO);
}

static void
test_interrupted(void **state)
{
    char *dir = testdir_make();
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = fsio_tmpfile(dirfd);
    char out[4] = {0};
    struct buf b;
    (void)state;
    fsio_fault_set(1, EINTR);
    assert_int_equal(fsio_write_all(fd, "abc", 3), ERR_NONE);
    assert_int_equal(fsio_fault_calls(), 2);
    fsio_fault_set(1, EINTR);
    assert_int_equal(fsio_pwrite_all(fd, "X", 1, 1), ERR_NONE);
    fsio_fault_set(1, EINTR);
    assert_int_equal(fsio_pread_all(fd, out, 3, 0), ERR_NONE);
    assert_string_equal(out, "aXc");
    assert_int_equal(fsio_link(fd, dirfd, "f"), ERR_NONE);
    buf_init(&b, 10);
    fsio_fault_set(2, EINTR);
    assert_int_equal(fsio_read_file(testdir_path(dir, "f"), &b), ERR_NONE);
    assert_string_equal(b.p, "aXc");
    /* The second read fails: what the first one brought is taken back. */
    buf_reset(&b);
    fsio_fault_set(3, EIO);
    assert_int_equal(fsio_read_file(testdir_path(dir, "f"), &b), ERR_IO);
    assert_int_equal(b.n, 0);
    buf_fini(&b);
    close(fd);
    close(dirfd);
    testdir_remove(&dir);
}

static void
test_single_calls(void **state)
{
    char *dir = testdir_make();
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = fsio_tmpfile(dirfd);
    size_t fds = count_fds();
    char out[1];
    (void)state;
    fsio_fault_set(1, ENOSPC);
    assert_int_equal(fsio_write_all(fd, "a", 1), ERR_FULL);
    assert_int_equal(fsio_write_all(fd, "a", 1), ERR_NONE);
    fsio_fault_set(1, EIO);
    assert_int_equal(fsio_pread_all(fd, out, 1, 0), ERR_IO);
    fsio_fault_set(1, ENOSPC);
    assert_int_equal(fsio_sync(fd), ERR_SYNC);
    fsio_fault_set(1, EINTR);
    assert_int_equal(fsio_sync(fd), ERR_SYNC);
    fsio_fault_set(1, ENOSPC);
    assert_int_equal(fsio_sync_dir(dirfd), ERR_SYNC);
    fsio_fault_set(1, ENOSPC);
    assert_int_equal(fsio_link(fd, dirfd, "a"), ERR_FULL);
    fsio_fault_set(1, EMFILE);
    assert_int_equal(fsio_tmpfile(dirfd), ERR_BUSY);
    fsio_fault_set(1, EIO);
    assert_int_equal(fsio_free_bytes(dir), -1);
    /* mkdir, open the parent, sync the parent */
    fsio_fault_set(1, ENOSPC);
    assert_int_equal(fsio_mkdir(testdir_path(dir, "d")), ERR_FULL);
    assert_int_equal(access(testdir_path(dir, "d"), F_OK), -1);
    fsio_fault_set(3, EIO);
    assert_int_equal(fsio_mkdir(testdir_path(dir, "d")), ERR_SYNC);
    /* make, write, seal */
    for (int nth = 1; nth <= 3; nth++) {
        fsio_fault_set(nth, ENOMEM);
        assert_int_equal(fsio_memfd("m", SLICE_LIT("x")), ERR_NOMEM);
    }
    assert_int_equal(count_fds(), fds);
    close(fd);
    close(dirfd);
    testdir_remove(&dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_file_walk),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_single_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
