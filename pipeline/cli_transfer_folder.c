/*
 * A folder as a side. Nothing outside of it is read or written: every component is opened from the
 * one above it with O_NOFOLLOW, and names were checked before (transfer_path.h).
 *
 * Reading, files come in the order of their names as keys: a folder "a" stands where "a/" would.
 * Writing, bytes go to a file TRANSFER_PART_PREFIX... beside the last one's place and are renamed
 * over it; a run that was killed leaves at most that, and the next one removes it. The bytes are
 * durable before they have the name, all names before the run is said to be done: one sync of the
 * file system at the end, in place of one per folder and file.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/cli_transfer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MTIME_HEADER "x-amz-meta-mtime" /* seconds since 1970, as rclone writes it */
#define READ_CHUNK (256u << 10)

/* ---- walking ---- */

struct walk_level {
    int dirfd;
    char **names; /* sorted; a folder's ends with '/' */
    size_t count, next;
    size_t path_n; /* of the walk's path in front of the names */
};

struct transfer_walk {
    struct walk_level levels[TRANSFER_DEPTH_MAX];
    int depth;
};

static int
name_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
say(struct buf *why, const char *what, int errnum)
{
    if (why->n == 0)
        buf_printf(why, "%s: %s", what, strerror(errnum));
}

/* "name", "name/" of a folder; NULL: to be passed by. */
static char *
entry_text(int dirfd, const struct dirent *d)
{
    struct stat st;
    char *text = NULL;
    if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
        strncmp(d->d_name, TRANSFER_PART_PREFIX, strlen(TRANSFER_PART_PREFIX)) == 0)
        return NULL;
    bool folder = d->d_type == DT_DIR;
    if (d->d_type == DT_UNKNOWN && fstatat(dirfd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        folder = S_ISDIR(st.st_mode);
    CHK(asprintf(&text, "%s%s", d->d_name, folder ? "/" : "") >= 0);
    return text;
}

/* Takes the descriptor, also when it fails. */
static int
push_level(struct transfer_walk *walk, int fd, size_t path_n)
{
    struct walk_level *level = &walk->levels[walk->depth];
    struct dirent *d;
    size_t cap = 0;
    int again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (dir == NULL) {
        int errnum = errno;
        if (again >= 0)
            close(again);
        close(fd);
        errno = errnum;
        return ERR_IO;
    }
    *level = (struct walk_level){.dirfd = fd, .path_n = path_n};
    while ((d = readdir(dir)) != NULL) {
        char *text = entry_text(fd, d);
        if (text == NULL)
            continue;
        if (level->count == cap) {
            cap = cap == 0 ? 64 : 2 * cap;
            level->names = realloc(level->names, cap * sizeof level->names[0]);
            CHK(level->names != NULL);
        }
        level->names[level->count++] = text;
    }
    closedir(dir);
    if (level->count > 0)
        qsort(level->names, level->count, sizeof level->names[0], name_cmp);
    walk->depth++;
    return ERR_NONE;
}

static void
pop_level(struct transfer_walk *walk)
{
    struct walk_level *level = &walk->levels[--walk->depth];
    for (size_t i = 0; i < level->count; i++)
        free(level->names[i]);
    free(level->names);
    close(level->dirfd);
}

void
transfer_folder_start(struct transfer_side *s)
{
    buf_init(&s->entry_name, TRANSFER_NAME_MAX);
    s->walk = chk_calloc(1, sizeof *s->walk);
    int fd = fcntl(s->dirfd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        push_level(s->walk, fd, 0);
}

void
transfer_side_stop(struct transfer_side *s)
{
    remote_cursor_close(&s->cursor);
    remote_close(&s->lister);
    buf_fini(&s->prefix);
    buf_fini(&s->entry_name);
    while (s->walk != NULL && s->walk->depth > 0)
        pop_level(s->walk);
    free(s->walk);
    s->walk = NULL;
    if (!s->ops->is_store && s->dirfd >= 0)
        close(s->dirfd);
}

/* Counts and names what cannot be read or is no file. */
static void
pass_by(struct transfer *t, struct slice name, enum transfer_fate fate, const char *why)
{
    lock_take(&t->lock);
    t->counts.planned++;
    lock_release(&t->lock);
    transfer_tell(t, fate, name, 0, why);
}

static void
enter_folder(struct transfer *t, struct transfer_side *s, const struct walk_level *level,
             const char *name)
{
    char plain[TRANSFER_COMPONENT_MAX + 1];
    struct slice path = buf_slice(&s->entry_name);
    snprintf(plain, sizeof plain, "%.*s", (int)(strlen(name) - 1), name);
    if (s->walk->depth == TRANSFER_DEPTH_MAX) {
        pass_by(t, path, TRANSFER_FAILED, "too many folders in each other");
        return;
    }
    int fd = openat(level->dirfd, plain, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || push_level(s->walk, fd, path.n) != ERR_NONE)
        pass_by(t, path, TRANSFER_FAILED, strerror(errno));
}

/* 1: it is a file; 0: go on. */
static int
look_at(struct transfer *t, struct transfer_side *s, const struct walk_level *level,
        const char *name, struct transfer_entry *e)
{
    struct stat st;
    struct slice path = buf_slice(&s->entry_name);
    if (fstatat(level->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        pass_by(t, path, TRANSFER_FAILED, strerror(errno));
    } else if (S_ISLNK(st.st_mode)) {
        pass_by(t, path, TRANSFER_SKIPPED, "a symbolic link, not followed");
    } else if (!S_ISREG(st.st_mode)) {
        pass_by(t, path, TRANSFER_SKIPPED, "no regular file");
    } else if (!slice_is_utf8(path)) {
        pass_by(t, path, TRANSFER_FAILED, "its name is not UTF-8, so it cannot be a key");
    } else {
        *e = (struct transfer_entry){.name = path,
                                     .bytes = st.st_size,
                                     .mtime_ms = (int64_t)st.st_mtim.tv_sec * 1000 +
                                                 st.st_mtim.tv_nsec / 1000000};
        return 1;
    }
    return 0;
}

static int
folder_next(struct transfer *t, struct transfer_side *s, struct transfer_entry *e, struct buf *why)
{
    (void)why;
    while (s->walk->depth > 0 && !atomic_load(&t->cancel)) {
        struct walk_level *level = &s->walk->levels[s->walk->depth - 1];
        if (level->next == level->count) {
            pop_level(s->walk);
            continue;
        }
        const char *name = level->names[level->next++];
        s->entry_name.n = level->path_n;
        buf_puts(&s->entry_name, name);
        if (s->entry_name.err != ERR_NONE) {
            s->entry_name.err = ERR_NONE; /* nothing of it was put */
            pass_by(t, slice_str(name), TRANSFER_FAILED, "its path is too long for a key");
            continue;
        }
        if (name[strlen(name) - 1] == '/')
            enter_folder(t, s, level, name);
        else if (look_at(t, s, level, name, e) == 1)
            return 1;
    }
    return 0;
}

/* ---- one file, from the folder down ---- */

/* The folder that holds the name's last component, which `last` becomes; < 0: errno. `make` makes
 * missing ones. */
static int
open_parent(int dirfd, const char *name, bool make, const char **last)
{
    int fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    const char *slash;
    while (fd >= 0 && (slash = strchr(name, '/')) != NULL) {
        char part[TRANSFER_COMPONENT_MAX + 1];
        if (slash - name > TRANSFER_COMPONENT_MAX) {
            close(fd);
            errno = ENAMETOOLONG;
            return -1;
        }
        snprintf(part, sizeof part, "%.*s", (int)(slash - name), name);
        int next = make && mkdirat(fd, part, 0777) != 0 && errno != EEXIST
                       ? -1
                       : openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int errnum = errno;
        close(fd);
        errno = errnum;
        fd = next;
        name = slash + 1;
    }
    *last = name;
    return fd;
}

/* The file itself, for reading; < 0 with errno. */
static int
open_file(int dirfd, const char *name, struct stat *st)
{
    const char *last = NULL;
    int parent = open_parent(dirfd, name, false, &last);
    int fd = parent < 0 ? -1 : openat(parent, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int errnum = errno;
    if (parent >= 0)
        close(parent);
    errno = errnum;
    if (fd >= 0 && (fstat(fd, st) != 0 || !S_ISREG(st->st_mode))) {
        close(fd);
        errno = S_ISDIR(st->st_mode) ? EISDIR : EINVAL;
        return -1;
    }
    return fd;
}

/* ---- as a source ---- */

static int
folder_open(struct transfer_worker *w)
{
    struct stat st = {0};
    char mtime[64];
    if (w->source_fd >= 0)
        close(w->source_fd);
    w->source_fd = open_file(w->t->source.dirfd, w->item->name, &st);
    if (w->source_fd < 0) {
        say(&w->why, "it cannot be opened", errno);
        return ERR_IO;
    }
    remote_object_fini(&w->object);
    snprintf(mtime, sizeof mtime, "%" PRId64 ".%09ld", (int64_t)st.st_mtim.tv_sec,
             st.st_mtim.tv_nsec);
    int err = remote_object_add(&w->object, SLICE_LIT("content-type"),
                                slice_str(cli_content_type(w->item->name)));
    if (err == ERR_NONE)
        err = remote_object_add(&w->object, SLICE_LIT(MTIME_HEADER), slice_str(mtime));
    w->object.bytes = st.st_size;
    return err;
}

static int
folder_read(struct transfer_worker *w, int64_t offset, int64_t bytes)
{
    w->piece = (struct remote_body){.fd = w->source_fd, .offset = offset, .bytes = bytes};
    return ERR_NONE;
}

/* ---- as a target ---- */

static int
folder_same(struct transfer_worker *w, bool *same)
{
    enum transfer_verdict verdict = TRANSFER_DIFFERS;
    struct stat st = {0};
    int fd = open_file(w->t->target.dirfd, w->item->name, &st);
    int err = ERR_NONE;
    *same = false;
    if (fd < 0)
        return ERR_NONE; /* begin() meets and names what is in the way */
    if (st.st_size == w->item->bytes)
        err = transfer_file_check(fd, st.st_size, slice_str(w->item->etag), &verdict);
    int64_t mtime_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    *same =
        verdict == TRANSFER_SAME || (verdict == TRANSFER_SILENT && mtime_ms == w->item->mtime_ms);
    close(fd);
    return err;
}

static void
part_name(struct transfer_worker *w, const char *last)
{
    uint8_t md5[MD5_BYTES];
    char hex[2 * MD5_BYTES + 1];
    digest_md5(last, strlen(last), md5);
    hex_encode(md5, MD5_BYTES, hex);
    snprintf(w->part_name, sizeof w->part_name, TRANSFER_PART_PREFIX "%s", hex);
}

/* Whoever writes a part holds its lock: what another run writes must neither be put in its place
 * half done, nor be taken away from it. Where files cannot be locked, nobody is kept out. */
static bool
lock_part(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

static bool
is_named(const struct transfer_worker *w, int fd)
{
    struct stat file, name;
    return fstat(fd, &file) == 0 &&
           fstatat(w->target_dir, w->part_name, &name, AT_SYMLINK_NOFOLLOW) == 0 &&
           file.st_dev == name.st_dev && file.st_ino == name.st_ino;
}

/* Removes the part of a run that was killed. False: a run that lives writes it. */
static bool
part_clear(const struct transfer_worker *w)
{
    int fd = openat(w->target_dir, w->part_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno != ELOOP || unlinkat(w->target_dir, w->part_name, 0) == 0; /* never ours */
    bool left = lock_part(fd) && is_named(w, fd);
    if (left)
        unlinkat(w->target_dir, w->part_name, 0);
    close(fd);
    return left;
}

static int
part_make(struct transfer_worker *w)
{
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    bool clear = part_clear(w);
    w->target_fd = clear ? openat(w->target_dir, w->part_name, flags, 0666) : -1;
    if (clear && w->target_fd < 0 && errno != EEXIST) {
        say(&w->why, "it cannot be written", errno);
        return ERR_IO;
    }
    if (w->target_fd >= 0 && lock_part(w->target_fd) && is_named(w, w->target_fd))
        return ERR_NONE;
    if (w->target_fd >= 0)
        close(w->target_fd);
    w->target_fd = -1;
    buf_puts(&w->why, "another export is writing it");
    return ERR_CONFLICT;
}

static int
folder_begin(struct transfer_worker *w)
{
    struct stat st;
    const char *last = NULL;
    w->target_dir = open_parent(w->t->target.dirfd, w->item->name, true, &last);
    if (w->target_dir < 0) {
        say(&w->why,
            errno == ENOTDIR || errno == ELOOP ? "a file or link is where its folder goes"
                                               : "its folder cannot be made",
            errno);
        return ERR_CONFLICT;
    }
    int err = ERR_NONE;
    if (fstatat(w->target_dir, last, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
        buf_puts(&w->why, "a folder is where the file goes");
        err = ERR_CONFLICT;
    }
    part_name(w, last);
    if (err == ERR_NONE)
        err = part_make(w);
    if (err != ERR_NONE) {
        close(w->target_dir);
        w->target_dir = -1;
    }
    return err;
}

static int
folder_write(struct transfer_worker *w)
{
    const struct remote_body *piece = &w->piece;
    char *chunk = chk_malloc(READ_CHUNK);
    int err = ERR_NONE;
    for (int64_t at = 0; at < piece->bytes && err == ERR_NONE;) {
        int64_t left = piece->bytes - at;
        size_t n = left < (int64_t)READ_CHUNK ? (size_t)left : READ_CHUNK;
        err = fsio_pread_all(piece->fd, chunk, n, piece->offset + at);
        if (err == ERR_NONE)
            err = fsio_write_all(w->target_fd, chunk, n);
        at += (int64_t)n;
    }
    free(chunk);
    if (err != ERR_NONE)
        buf_printf(&w->why, "it cannot be written: %s", err_text(err));
    return err;
}

/* x-amz-meta-mtime of an object that was a file once; else when the store got it. */
static struct timespec
mtime_of(const struct remote_object *o)
{
    struct slice fraction = SLICE_NONE;
    uint64_t seconds = 0, ns = 0;
    struct slice text = remote_object_header(o, MTIME_HEADER);
    if (slice_to_u64(slice_cut(text, '.', &fraction), &seconds) != ERR_NONE ||
        seconds > INT32_MAX * (uint64_t)64)
        return (struct timespec){o->mtime_ms / 1000, o->mtime_ms % 1000 * 1000000};
    if (fraction.n != 9 || slice_to_u64(fraction, &ns) != ERR_NONE)
        ns = 0;
    return (struct timespec){(time_t)seconds, (long)ns};
}

static void
close_target(struct transfer_worker *w)
{
    close(w->target_fd);
    close(w->target_dir);
    w->target_fd = w->target_dir = -1;
}

static int
folder_commit(struct transfer_worker *w)
{
    const char *slash = strrchr(w->item->name, '/');
    const char *last = slash != NULL ? slash + 1 : w->item->name;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime_of(&w->object)};
    /* A time that the file system cannot keep is no reason to lose the bytes. */
    (void)!futimens(w->target_fd, times);
    if (fsync(w->target_fd) != 0) {
        say(&w->why, "it cannot be made durable", errno);
        return ERR_IO;
    }
    if (renameat(w->target_dir, w->part_name, w->target_dir, last) != 0) {
        say(&w->why, "it cannot be put in its place", errno);
        return ERR_CONFLICT; /* abort() removes what was written */
    }
    close_target(w);
    return ERR_NONE;
}

static int
folder_end(struct transfer_side *s, struct buf *why)
{
    if (syncfs(s->dirfd) == 0)
        return ERR_NONE;
    say(why, "what is there may be taken back by a power cut: it cannot be made durable", errno);
    return ERR_IO;
}

static void
folder_abort(struct transfer_worker *w)
{
    unlinkat(w->target_dir, w->part_name, 0);
    close_target(w);
}

const struct transfer_side_ops transfer_folder_ops = {
    .is_store = false,
    .next = folder_next,
    .open = folder_open,
    .read = folder_read,
    .same = folder_same,
    .begin = folder_begin,
    .write = folder_write,
    .commit = folder_commit,
    .abort = folder_abort,
    .end = folder_end,
};
