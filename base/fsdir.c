#include "base/fsdir.h"
#include "base/err.h"
#include "base/fsio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_PIECE ((size_t)8 << 20)
#define COPY_BUFFER (64u << 10)
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

/* ---- opening ---- */

int
fsdir_open(int dirfd, const char *name, bool make)
{
    if (make && mkdirat(dirfd, name, 0700) != 0 && errno != EEXIST)
        return err_from_errno(errno);
    int fd = openat(dirfd, name, DIR_FLAGS | O_NOFOLLOW);
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        return ERR_DENIED;
    return fd < 0 ? err_from_errno(errno) : fd;
}

int
fsdir_open_path(const char *path)
{
    int fd = open(path, DIR_FLAGS);
    return fd < 0 ? err_from_errno(errno) : fd;
}

int
fsdir_file(int dirfd, const char *name)
{
    struct stat st;
    /* Not blocking: a pipe of that name must not hold us before it is looked at. */
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return ERR_INVALID;
}

/* ---- copying ---- */

static int
copy_by_buffer(int from, int to)
{
    char buffer[COPY_BUFFER];
    for (;;) {
        ssize_t got = read(from, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? ERR_NONE : err_from_errno(errno);
        int err = fsio_write_all(to, buffer, (size_t)got);
        if (err != ERR_NONE)
            return err;
    }
}

/* By reference, else inside the kernel, else through our own memory. */
static int
copy_bytes(int from, int to)
{
    if (ioctl(to, FICLONE, from) == 0)
        return ERR_NONE;
    if (lseek(from, 0, SEEK_SET) != 0)
        return ERR_IO;
    for (bool any = false;; any = true) {
        ssize_t got = copy_file_range(from, NULL, to, NULL, COPY_PIECE, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && !any && errno != ENOSPC && errno != EDQUOT && errno != EIO)
            return copy_by_buffer(from, to);
        if (got <= 0)
            return got == 0 ? ERR_NONE : err_from_errno(errno);
    }
}

static int
copy_file(int from, int dirfd, const char *name, const struct stat *st, unsigned mode)
{
    struct timespec times[2] = {st->st_atim, st->st_mtim};
    int to = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return err_from_errno(errno);
    int err = copy_bytes(from, to);
    if (err == ERR_NONE && (fchmod(to, mode) != 0 || futimens(to, times) != 0))
        err = err_from_errno(errno);
    if (err == ERR_NONE && fsync(to) != 0)
        err = errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
    close(to);
    if (err != ERR_NONE)
        unlinkat(dirfd, name, 0);
    return err;
}

int
fsdir_copy(int from, int dirfd, const char *name, unsigned mode)
{
    struct stat st;
    if (fstat(from, &st) != 0)
        return err_from_errno(errno);
    return copy_file(from, dirfd, name, &st, mode);
}

static bool
is_same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int
reuse(const struct stat *wanted, int previous, int dirfd, const char *name)
{
    struct stat st;
    int fd = previous < 0 ? ERR_NOTFOUND : fsdir_file(previous, name);
    if (fd < 0)
        return fd;
    int err = ERR_STALE;
    if (fstat(fd, &st) == 0 && is_same(&st, wanted))
        err = fsio_link(fd, dirfd, name);
    close(fd);
    return err;
}

int
fsdir_share(int from, int previous, int dirfd, const char *name, enum fsdir_how *how)
{
    struct stat st;
    *how = FSDIR_LINKED;
    int err = fsio_link(from, dirfd, name);
    if (err == ERR_NONE || err == ERR_EXISTS || err == ERR_FULL)
        return err;
    if (fstat(from, &st) != 0)
        return err_from_errno(errno);
    *how = FSDIR_REUSED;
    if (reuse(&st, previous, dirfd, name) == ERR_NONE)
        return ERR_NONE;
    *how = FSDIR_COPIED;
    return copy_file(from, dirfd, name, &st, st.st_mode & 0777);
}

int
fsdir_sync(int dirfd)
{
    return fsync(dirfd) == 0 ? ERR_NONE : ERR_IO;
}

/* ---- walking ---- */

int
fsdir_each(int dirfd, fsdir_fn fn, void *arg)
{
    int own = openat(dirfd, ".", DIR_FLAGS); /* with a place of its own in the folder */
    DIR *d = own < 0 ? NULL : fdopendir(own);
    int err = ERR_NONE;
    if (d == NULL) {
        err = err_from_errno(errno);
        if (own >= 0)
            close(own);
        return err;
    }
    for (struct dirent *e; err == ERR_NONE && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            err = fn(arg, dirfd, e->d_name);
    }
    closedir(d);
    return err;
}

static int
remove_entry(void *arg, int dirfd, const char *name)
{
    int depth = *(int *)arg + 1;
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return ERR_NONE;
    if (errno != EISDIR && errno != EPERM)
        return err_from_errno(errno);
    if (depth > FSDIR_DEPTH_MAX)
        return ERR_TOOBIG;
    int dir = fsdir_open(dirfd, name, false);
    if (dir < 0)
        return dir;
    int err = fsdir_each(dir, remove_entry, &depth);
    close(dir);
    if (err == ERR_NONE && unlinkat(dirfd, name, AT_REMOVEDIR) != 0)
        err = err_from_errno(errno);
    return err;
}

int
fsdir_remove(int dirfd, const char *name)
{
    int depth = 0;
    return remove_entry(&depth, dirfd, name);
}
