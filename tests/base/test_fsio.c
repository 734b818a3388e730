/* Whole reads and writes, publishing, seals. Failures made to order: test_fsio_fault.c. */
#include "base/err.h"
#include "base/fsio.h"
#include "tests/lib/testdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char *dir;

static int
setup(void **state)
{
    (void)state;
    dir = testdir_make();
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    testdir_remove(&dir);
    return 0;
}

static int
open_dir(void)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static bool
is_cloexec(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

static size_t
count_entries(void)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static void
test_write_file(void **state)
{
    const char *path = testdir_path(dir, "a");
    struct stat st;
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    assert_int_equal(fsio_read_file(path, &b), ERR_NOTFOUND);
    mode_t mask = umask(0077);
    assert_int_equal(fsio_write_file(path, 0640, SLICE_LIT("one")), ERR_NONE);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(fsio_read_file(path, &b), ERR_NONE);
    assert_string_equal(b.p, "one");
    /* Replaced as a whole: another inode, a shorter content, nothing left beside it. */
    ino_t before = st.st_ino;
    assert_int_equal(fsio_write_file(path, 0600, SLICE_LIT("2")), ERR_NONE);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_not_equal(st.st_ino, before);
    buf_reset(&b);
    assert_int_equal(fsio_read_file(path, &b), ERR_NONE);
    assert_string_equal(b.p, "2");
    assert_int_equal(count_entries(), 1);
    assert_int_equal(fsio_write_file(testdir_path(dir, "none/a"), 0600, SLICE_LIT("x")),
                     ERR_NOTFOUND);
    /* A directory stands in the way: the temporary file goes again. */
    assert_int_equal(mkdir(testdir_path(dir, "d"), 0700), 0);
    assert_int_not_equal(fsio_write_file(testdir_path(dir, "d"), 0600, SLICE_LIT("x")), ERR_NONE);
    assert_int_equal(count_entries(), 2);
    buf_fini(&b);
}

static void
test_write_file_here(void **state)
{
    /* A path without a directory part. */
    char here[4096];
    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(fsio_write_file("plain", 0600, SLICE_NONE), ERR_NONE);
    assert_int_equal(fsio_mkdir("sub/"), ERR_NONE);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(count_entries(), 2);
}

static void
test_read_file_ceiling(void **state)
{
    enum { N = 30000 };
    char *big = malloc(N);
    const char *path = testdir_path(dir, "big");
    struct buf b;
    (void)state;
    memset(big, 'x', N);
    assert_int_equal(fsio_write_file(path, 0600, slice_of(big, N)), ERR_NONE);
    buf_init(&b, N);
    assert_int_equal(fsio_read_file(path, &b), ERR_NONE);
    assert_int_equal(b.n, N);
    buf_fini(&b);
    buf_init(&b, N + 2);
    buf_puts(&b, "pre");
    assert_int_equal(fsio_read_file(path, &b), ERR_TOOBIG);
    assert_string_equal(b.p, "pre");
    buf_fini(&b);
    free(big);
}

static void
test_at_offsets(void **state)
{
    int dirfd = open_dir();
    int fd = fsio_tmpfile(dirfd);
    char out[8] = {0};
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fsio_write_all(fd, "abcdef", 6), ERR_NONE);
    assert_int_equal(fsio_pwrite_all(fd, "XY", 2, 2), ERR_NONE);
    assert_int_equal(fsio_pread_all(fd, out, 6, 0), ERR_NONE);
    assert_string_equal(out, "abXYef");
    assert_int_equal(fsio_pread_all(fd, out, 2, 4), ERR_NONE);
    assert_memory_equal(out, "ef", 2);
    assert_int_equal(fsio_pread_all(fd, out, 3, 4), ERR_SHORT);
    assert_int_equal(fsio_pread_all(fd, out, 1, 100), ERR_SHORT);
    assert_int_equal(fsio_pread_all(fd, out, 0, 100), ERR_NONE);
    assert_int_equal(fsio_pwrite_all(fd, "x", 1, -1), ERR_INVALID);
    assert_int_equal(fsio_pread_all(fd, out, 1, -1), ERR_INVALID);
    close(fd);
    close(dirfd);
}

static void
test_tmpfile_and_link(void **state)
{
    int dirfd = open_dir();
    int fd = fsio_tmpfile(dirfd);
    struct buf b;
    (void)state;
    assert_true(fd >= 0);
    assert_true(is_cloexec(fd));
    assert_int_equal(fsio_write_all(fd, "bytes", 5), ERR_NONE);
    assert_int_equal(fsio_sync(fd), ERR_NONE);
    assert_int_equal(count_entries(), 0);
    assert_int_equal(fsio_link(fd, dirfd, "id1"), ERR_NONE);
    assert_int_equal(fsio_sync_dir(dirfd), ERR_NONE);
    assert_int_equal(fsio_link(fd, dirfd, "id1"), ERR_EXISTS);
    buf_init(&b, 100);
    assert_int_equal(fsio_read_file(testdir_path(dir, "id1"), &b), ERR_NONE);
    assert_string_equal(b.p, "bytes");
    buf_fini(&b);
    close(fd);
    close(dirfd);
    assert_int_equal(fsio_tmpfile(-1), ERR_IO);
}

static void
test_sync_failures(void **state)
{
    int p[2];
    (void)state;
    /* A pipe cannot be synced; any failure is the same one. */
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    assert_int_equal(fsio_sync(p[1]), ERR_SYNC);
    assert_int_equal(fsio_sync_dir(p[1]), ERR_SYNC);
    assert_int_equal(fsio_sync(-1), ERR_SYNC);
    close(p[0]);
    close(p[1]);
}

static void
test_full_device(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        print_message("no /dev/full here\n");
        skip();
    }
    assert_int_equal(fsio_write_all(fd, "x", 1), ERR_FULL);
    close(fd);
}

static void
test_mkdir(void **state)
{
    struct stat st;
    const char *path = testdir_path(dir, "sub");
    (void)state;
    assert_int_equal(fsio_mkdir(path), ERR_NONE);
    assert_int_equal(fsio_mkdir(path), ERR_NONE);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fsio_mkdir(testdir_path(dir, "x/y")), ERR_NOTFOUND);
    assert_int_equal(fsio_write_file(testdir_path(dir, "file"), 0600, SLICE_LIT("")), ERR_NONE);
    assert_int_equal(fsio_mkdir(testdir_path(dir, "file")), ERR_EXISTS);
}

static void
test_free_bytes(void **state)
{
    (void)state;
    assert_true(fsio_free_bytes(dir) > 0);
    assert_int_equal(fsio_free_bytes(testdir_path(dir, "missing")), -1);
}

static void
test_memfd_is_sealed(void **state)
{
    char out[6] = {0};
    (void)state;
    int fd = fsio_memfd("test", SLICE_LIT("bytes"));
    assert_true(fd >= 0);
    assert_true(is_cloexec(fd));
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    assert_int_equal(fsio_pread_all(fd, out, 5, 0), ERR_NONE);
    assert_string_equal(out, "bytes");
    assert_int_equal(fcntl(fd, F_GET_SEALS),
                     F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    assert_int_equal(fsio_pwrite_all(fd, "B", 1, 0), ERR_DENIED);
    assert_int_equal(ftruncate(fd, 1), -1);
    assert_int_equal(ftruncate(fd, 100), -1);
    assert_ptr_equal(mmap(NULL, 5, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    close(fd);
    fd = fsio_memfd("empty", SLICE_NONE);
    assert_true(fd >= 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0);
    close(fd);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(test_write_file),
        IN_DIR(test_write_file_here),
        IN_DIR(test_read_file_ceiling),
        IN_DIR(test_at_offsets),
        IN_DIR(test_tmpfile_and_link),
        IN_DIR(test_mkdir),
        IN_DIR(test_free_bytes),
        cmocka_unit_test(test_sync_failures),
        cmocka_unit_test(test_full_device),
        cmocka_unit_test(test_memfd_is_sealed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
