/*
 * Thin, complete wrappers: a call that was interrupted or did only a part is continued, errno
 * becomes one of our codes, and every system call whose failure matters is a fault point.
 *
 * Publishing: bytes are synced before a name points at them, and the directory is synced before
 * success is reported. A sync that failed is never tried again, because the kernel may have
 * dropped the dirty pages and would report success for bytes that are lost (ERR_SYNC: fail-stop).
 */
#include "base/fsio.h"
#include "base/err.h"
#include "base/fsio_fault.h"
#include "base/plant.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifdef FSIO_FAULTS
#include <stdatomic.h>

static atomic_int fault_nth, fault_errno, fault_calls;

void
fsio_fault_set(int nth, int errnum)
{
    fault_nth = nth;
    fault_errno = errnum;
    fault_calls = 0;
}

int
fsio_fault_calls(void)
{
    return fault_calls;
}

static bool
fault(void)
{
    if (atomic_fetch_add(&fault_calls, 1) + 1 != fault_nth)
        return false;
    errno = fault_errno;
    return true;
}

#define FAULT_OR(call) (fault() ? -1 : (call))
#else
#define FAULT_OR(call) (call)
#endif

/* ---- whole reads and writes ---- */

/* `offset` < 0 writes where the descriptor stands. */
static int
write_all(int fd, const char *p, size_t n, int64_t offset)
{
    while (n > 0) {
        ssize_t done = FAULT_OR(offset < 0 ? write(fd, p, n) : pwrite(fd, p, n, offset));
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return plant_ignore_write_error ? ERR_NONE : err_from_errno(errno);
        if (done == 0)
            return ERR_IO;
        p += done;
        n -= (size_t)done;
        offset += offset < 0 ? 0 : done;
    }
    return ERR_NONE;
}

int
fsio_write_all(int fd, const void *p, size_t n)
{
    return write_all(fd, p, n, -1);
}

int
fsio_pwrite_all(int fd, const void *p, size_t n, int64_t offset)
{
    return offset < 0 ? ERR_INVALID : write_all(fd, p, n, offset);
}

int
fsio_pread_all(int fd, void *out, size_t n, int64_t offset)
{
    char *p = out;
    while (n > 0) {
        ssize_t got = FAULT_OR(pread(fd, p, n, offset));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_from_errno(errno);
        if (got == 0)
            return ERR_SHORT;
        p += got;
        n -= (size_t)got;
        offset += got;
    }
    return ERR_NONE;
}

int
fsio_read_file(const char *path, struct buf *out)
{
    char piece[8192];
    size_t before = out->n;
    int fd = FAULT_OR(open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0)
        return err_from_errno(errno);
    int rc = ERR_NONE;
    for (;;) {
        ssize_t got = FAULT_OR(read(fd, piece, sizeof piece));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = err_from_errno(errno);
        if (got <= 0)
            break;
        buf_put(out, piece, (size_t)got);
        rc = out->err;
        if (rc != ERR_NONE)
            break;
    }
    if (rc != ERR_NONE && out->p != NULL) {
        out->n = before;
        out->p[before] = '\0';
    }
    close(fd);
    return rc;
}

/* ---- syncs ---- */

int
fsio_sync(int fd)
{
    if (plant_no_fsync)
        return ERR_NONE;
    return FAULT_OR(fdatasync(fd)) == 0 ? ERR_NONE : ERR_SYNC;
}

int
fsio_sync_dir(int dirfd)
{
    if (plant_no_fsync)
        return ERR_NONE;
    return FAULT_OR(fsync(dirfd)) == 0 ? ERR_NONE : ERR_SYNC;
}

/* The directory in which `path` is an entry. */
static int
open_parent(const char *path)
{
    char dir[PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n >= sizeof dir)
        return ERR_TOOBIG;
    memcpy(dir, n == 0 ? "." : path, n == 0 ? 1 : n);
    dir[n == 0 ? 1 : n] = '\0';
    int fd = FAULT_OR(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fd < 0 ? err_from_errno(errno) : fd;
}

/* ---- publishing ---- */

int
fsio_write_file(const char *path, mode_t mode, struct slice content)
{
    char tmp[PATH_MAX];
    bool named = false;
    int fd = -1;
    int rc = ERR_NONE;
    int dirfd = open_parent(path);
    if (dirfd < 0)
        return dirfd;
    int n = snprintf(tmp, sizeof tmp, "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof tmp) {
        rc = ERR_TOOBIG;
        goto out;
    }
    unlink(tmp); /* of a process that was killed here */
    fd = FAULT_OR(open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (fd < 0) {
        rc = err_from_errno(errno);
        goto out;
    }
    named = true;
    rc = fsio_write_all(fd, content.p, content.n);
    /* Made 0600, so a secret is never readable by more than `mode` allows. */
    if (rc == ERR_NONE && FAULT_OR(fchmod(fd, mode)) != 0)
        rc = err_from_errno(errno);
    if (rc == ERR_NONE)
        rc = fsio_sync(fd);
    if (rc != ERR_NONE)
        goto out;
    if (FAULT_OR(rename(tmp, path)) != 0) {
        rc = err_from_errno(errno);
        goto out;
    }
    named = false;
    rc = fsio_sync_dir(dirfd);
out:
    if (named)
        unlink(tmp);
    if (fd >= 0)
        close(fd);
    close(dirfd);
    return rc;
}

int
fsio_mkdir(const char *path)
{
    struct stat st;
    if (FAULT_OR(mkdir(path, 0700)) != 0) {
        int rc = err_from_errno(errno);
        if (rc == ERR_EXISTS && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return ERR_NONE;
        return rc;
    }
    /* Files in it will be reported durable: so must its own name be. */
    int dirfd = open_parent(path);
    if (dirfd < 0)
        return dirfd;
    int rc = fsio_sync_dir(dirfd);
    close(dirfd);
    return rc;
}

int
fsio_tmpfile(int dirfd)
{
    int fd = FAULT_OR(openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    return fd < 0 ? err_from_errno(errno) : fd;
}

int
fsio_link(int fd, int dirfd, const char *name)
{
    char self[64];
    /* By /proc, because linking by the descriptor itself (AT_EMPTY_PATH) needs a privilege. */
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int rc = FAULT_OR(linkat(AT_FDCWD, self, dirfd, name, AT_SYMLINK_FOLLOW));
    if (rc != 0 && !plant_ignore_link_error)
        return err_from_errno(errno);
    return ERR_NONE;
}

int64_t
fsio_free_bytes(const char *path)
{
    struct statvfs st;
    uint64_t bytes;
    if (FAULT_OR(statvfs(path, &st)) != 0)
        return -1;
    if (__builtin_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, &bytes) ||
        bytes > INT64_MAX)
        return INT64_MAX;
    return (int64_t)bytes;
}

int
fsio_memfd(const char *name, struct slice content)
{
    int fd = FAULT_OR(memfd_create(name, MFD_ALLOW_SEALING | MFD_CLOEXEC));
    if (fd < 0)
        return err_from_errno(errno);
    /* Not write(): the reader gets the descriptor standing at the start. */
    int rc = fsio_pwrite_all(fd, content.p, content.n, 0);
    int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    if (rc == ERR_NONE && FAULT_OR(fcntl(fd, F_ADD_SEALS, seals)) != 0)
        rc = err_from_errno(errno);
    if (rc == ERR_NONE)
        return fd;
    close(fd);
    return rc;
}
