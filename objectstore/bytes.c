/*
 * A blob's file becomes durable in three steps: its content (fdatasync), its name in the folder
 * (directory sync), and, once per folder and process, the folder's name in blobs/. The last two are
 * bytes_sync_names(), which the seal pool calls from one thread at a time for all names that wait,
 * so `synced` needs no lock: it remembers folders whose own name is known to be durable. Forgetting
 * one costs a sync, nothing else.
 */
#include "objectstore/bytes.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define BYTES_MAGIC 0xb7e50001u
#define FOLDERS_REMEMBERED 64
#define NAME_BYTES 48
#define FDS_LEFT_SHARE 8 /* one in so many is left to others */

struct bytes {
    uint32_t magic;
    int dirfd; /* blobs/ */
    int fd_max;
    char path[PATH_MAX - NAME_BYTES];
    int64_t synced[FOLDERS_REMEMBERED];
    size_t synced_at;
};

/* The kernel gives the lowest free number, so a high one tells that few are left. */
static int
highest_fd(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX)
        return INT_MAX;
    return (int)(limit.rlim_cur - limit.rlim_cur / FDS_LEFT_SHARE);
}

/* A client that does not read its large object must not cost others their connection. */
static int
spare(const struct bytes *b, int fd)
{
    if (fd < b->fd_max)
        return fd;
    close(fd);
    return ERR_BUSY;
}

int
bytes_open(struct bytes **out, const char *dir)
{
    struct bytes *b = chk_calloc(1, sizeof *b);
    int err = ERR_NONE;
    b->magic = BYTES_MAGIC;
    b->fd_max = highest_fd();
    b->dirfd = -1;
    for (size_t i = 0; i < FOLDERS_REMEMBERED; i++)
        b->synced[i] = -1;
    int n = snprintf(b->path, sizeof b->path, "%s/blobs", dir);
    if (n < 0 || (size_t)n >= sizeof b->path)
        err = ERR_TOOBIG;
    if (err == ERR_NONE)
        err = fsio_mkdir(b->path);
    if (err == ERR_NONE) {
        b->dirfd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (b->dirfd < 0)
            err = err_from_errno(errno);
    }
    if (err == ERR_NONE) {
        /* The name blobs/ itself. */
        int parent = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = parent < 0 ? err_from_errno(errno) : fsio_sync_dir(parent);
        if (parent >= 0)
            close(parent);
    }
    if (err != ERR_NONE) {
        bytes_close(&b);
        return err;
    }
    *out = b;
    return ERR_NONE;
}

void
bytes_close(struct bytes **bp)
{
    struct bytes *b = *bp;
    *bp = NULL;
    if (b == NULL)
        return;
    CHK_MAGIC(b, BYTES_MAGIC);
    if (b->dirfd >= 0)
        close(b->dirfd);
    b->magic = 0;
    free(b);
}

static void
blob_name(char out[NAME_BYTES], int64_t id)
{
    snprintf(out, NAME_BYTES, "%" PRId64 "/%" PRId64, id / BYTES_FOLDER_IDS, id);
}

int
bytes_make(struct bytes *b)
{
    return spare(b, fsio_tmpfile(b->dirfd));
}

/* Descriptor of a folder, or an error < 0. */
static int
folder_open(struct bytes *b, int64_t folder)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%" PRId64, folder);
    int fd = openat(b->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_from_errno(errno) : fd;
}

static int
folder_make(struct bytes *b, int64_t folder)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%" PRId64, b->path, folder);
    return fsio_mkdir(path);
}

int
bytes_publish(struct bytes *b, int fd, int64_t id)
{
    int64_t folder = id / BYTES_FOLDER_IDS;
    char name[NAME_BYTES];
    int err = fsio_sync(fd);
    if (err != ERR_NONE)
        return err;
    int dir = folder_open(b, folder);
    if (dir == ERR_NOTFOUND) {
        err = folder_make(b, folder);
        if (err != ERR_NONE)
            return err;
        dir = folder_open(b, folder);
    }
    if (dir < 0)
        return dir;
    snprintf(name, sizeof name, "%" PRId64, id);
    err = fsio_link(fd, dir, name);
    close(dir);
    return err;
}

static int
folder_sync(struct bytes *b, int64_t folder)
{
    int dir = folder_open(b, folder);
    if (dir < 0)
        return dir;
    int err = fsio_sync_dir(dir);
    close(dir);
    for (size_t i = 0; err == ERR_NONE && i < FOLDERS_REMEMBERED; i++) {
        if (b->synced[i] == folder)
            return ERR_NONE;
    }
    if (err == ERR_NONE)
        err = fsio_sync_dir(b->dirfd);
    if (err == ERR_NONE)
        b->synced[b->synced_at++ % FOLDERS_REMEMBERED] = folder;
    return err;
}

int
bytes_sync_names(struct bytes *b, const int64_t *ids, size_t count)
{
    /* Ids rise, so ids of one folder are neighbours but for a few that overtook each other. */
    int64_t done[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t folder = ids[i] / BYTES_FOLDER_IDS;
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(done); k++)
            known = known || done[k] == folder;
        if (known)
            continue;
        int err = folder_sync(b, folder);
        if (err != ERR_NONE)
            return err;
        done[at++ % ARRAY_LEN(done)] = folder;
    }
    return ERR_NONE;
}

int
bytes_fd(struct bytes *b, int64_t id)
{
    char name[NAME_BYTES];
    blob_name(name, id);
    int fd = openat(b->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? err_from_errno(errno) : spare(b, fd);
}

int
bytes_remove(struct bytes *b, int64_t id)
{
    char name[NAME_BYTES];
    blob_name(name, id);
    if (unlinkat(b->dirfd, name, 0) == 0 || errno == ENOENT)
        return ERR_NONE;
    return err_from_errno(errno);
}

void
bytes_remove_folder(struct bytes *b, int64_t folder)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%" PRId64, folder);
    /* Not empty is the usual answer. */
    (void)unlinkat(b->dirfd, name, AT_REMOVEDIR);
}

/* The number a directory entry spells, -1 for anything that is not ours. */
static int64_t
entry_number(const char *name)
{
    uint64_t v;
    char again[NAME_BYTES];
    if (slice_to_u64(slice_str(name), &v) != ERR_NONE || v > INT64_MAX)
        return -1;
    snprintf(again, sizeof again, "%" PRIu64, v);
    return strcmp(again, name) == 0 ? (int64_t)v : -1;
}

static int
id_cmp(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static DIR *
dir_of(int fd)
{
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL && fd >= 0)
        close(fd);
    return d;
}

static int
folder_list(struct bytes *b, int64_t folder, int64_t below, bytes_list_fn fn, void *arg)
{
    int64_t ids[BYTES_FOLDER_IDS];
    size_t count = 0;
    DIR *d = dir_of(folder_open(b, folder));
    if (d == NULL)
        return ERR_IO;
    for (struct dirent *e; count < BYTES_FOLDER_IDS && (e = readdir(d)) != NULL;) {
        int64_t id = entry_number(e->d_name);
        if (id >= 0 && id < below && id / BYTES_FOLDER_IDS == folder)
            ids[count++] = id;
    }
    closedir(d);
    qsort(ids, count, sizeof ids[0], id_cmp);
    return fn(arg, folder, ids, count);
}

int
bytes_list(struct bytes *b, int64_t below, bytes_list_fn fn, void *arg)
{
    int err = ERR_NONE;
    DIR *d = dir_of(openat(b->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (d == NULL)
        return ERR_IO;
    for (struct dirent *e; err == ERR_NONE && (e = readdir(d)) != NULL;) {
        int64_t folder = entry_number(e->d_name);
        if (folder >= 0 && folder <= below / BYTES_FOLDER_IDS)
            err = folder_list(b, folder, below, fn, arg);
    }
    closedir(d);
    return err;
}
