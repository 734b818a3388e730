#include "pipeline/backup_set.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fsdir.h"
#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define PREFIX "snapshot-"
#define MANIFEST_BYTES_MAX (64u << 10)
#define HASH_PIECE (64u << 10)

/* ---- the folder ---- */

/* Its name must be durable before a backup in it is said to be; once in its life. */
static int
open_durable(int dirfd, const char *name)
{
    int fd = fsdir_open(dirfd, name, false);
    if (fd != ERR_NOTFOUND)
        return fd;
    fd = fsdir_open(dirfd, name, true);
    if (fd >= 0 && fsdir_sync(dirfd) != ERR_NONE) {
        close(fd);
        return ERR_IO;
    }
    return fd;
}

/* Each name of the path below the root: no "..", no link. */
static int
walk_down(int fd, struct slice rest, bool make)
{
    while (rest.n > 0 && fd >= 0) {
        char name[NAME_MAX + 1];
        struct slice part = slice_cut(rest, '/', &rest);
        if (part.n == 0)
            continue;
        int next = ERR_DENIED;
        if (part.n <= NAME_MAX && memchr(part.p, '\0', part.n) == NULL && part.p[0] != '.') {
            snprintf(name, sizeof name, "%.*s", SLICE_FMT(part));
            next = make ? open_durable(fd, name) : fsdir_open(fd, name, false);
        }
        close(fd);
        fd = next;
    }
    return fd;
}

int
backup_set_open(struct backup_set *set, const char *root, struct slice path, bool make,
                struct buf *why)
{
    struct slice below = path;
    size_t n = strlen(root);
    *set = (struct backup_set){.dirfd = -1, .lock_fd = -1};
    while (n > 1 && root[n - 1] == '/')
        n--;
    if (path.n >= sizeof set->path || !slice_starts(path, slice_of(root, n)) ||
        (path.n > n && path.p[n] != '/')) {
        buf_printf(why, "the server writes backups below %s only (setting backup.dir)", root);
        return ERR_DENIED;
    }
    below = slice_skip(below, n);
    snprintf(set->path, sizeof set->path, "%.*s", SLICE_FMT(path));
    int fd = fsdir_open_path(root);
    if (fd == ERR_NOTFOUND && fsio_mkdir(root) == ERR_NONE)
        fd = fsdir_open_path(root);
    set->dirfd = fd < 0 ? fd : walk_down(fd, below, make);
    if (set->dirfd >= 0)
        return ERR_NONE;
    int err = set->dirfd;
    set->dirfd = -1;
    if (err == ERR_DENIED)
        buf_printf(why, "%s: not allowed, or not a plain path below %s", set->path, root);
    else
        buf_printf(why, "%s cannot be opened: %s", set->path, err_text(err));
    return err;
}

int
backup_set_lock(struct backup_set *set)
{
    set->lock_fd = openat(set->dirfd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (set->lock_fd < 0)
        return err_from_errno(errno);
    if (flock(set->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return ERR_NONE;
    close(set->lock_fd);
    set->lock_fd = -1;
    return ERR_BUSY;
}

void
backup_set_close(struct backup_set *set)
{
    if (set->lock_fd >= 0)
        close(set->lock_fd);
    if (set->dirfd >= 0)
        close(set->dirfd);
    set->lock_fd = set->dirfd = -1;
}

/* ---- names ---- */

/* The ISO form without what is awkward in a name; names rise with time. */
void
backup_name(int64_t time_ms, char out[BACKUP_NAME_MAX])
{
    char text[CLOCK_TEXT_MAX];
    size_t n = strlen(PREFIX);
    memcpy(out, PREFIX, n);
    clock_iso8601(time_ms, text);
    for (const char *c = text; *c != '\0' && n + 1 < BACKUP_NAME_MAX; c++) {
        if (*c != '-' && *c != ':')
            out[n++] = *c;
    }
    out[n] = '\0';
}

static bool
is_snapshot(const char *name)
{
    size_t n = strlen(PREFIX);
    return strncmp(name, PREFIX, n) == 0 && strlen(name) < BACKUP_NAME_MAX &&
           strspn(name + n, "0123456789TZ.") == strlen(name + n);
}

/* ---- manifests ---- */

int
backup_hash_file(int dirfd, const char *name, char hex[2 * SHA256_BYTES + 1], int64_t *bytes)
{
    char piece[HASH_PIECE];
    int err = ERR_NONE;
    int fd = fsdir_file(dirfd, name);
    if (fd < 0)
        return fd;
    struct digester *d = digester_new(DIGEST_SHA256, CHECKSUM_NONE);
    CHK(d != NULL);
    *bytes = 0;
    for (;;) {
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            err = err_from_errno(errno);
        if (got <= 0)
            break;
        digester_update(d, piece, (size_t)got);
        *bytes += got;
    }
    digester_end(d);
    hex_encode(digester_sha256(d), SHA256_BYTES, hex);
    digester_free(&d);
    close(fd);
    return err;
}

static int
manifest_parse(struct slice text, struct backup_manifest *out)
{
    json_t *m = json_read(text, NULL);
    char time[CLOCK_TEXT_MAX];
    int64_t format = json_get_int(m, "format", 0);
    struct slice hash = json_get_str(m, "db_sha256");
    snprintf(time, sizeof time, "%.*s", SLICE_FMT(json_get_str(m, "time")));
    int err = format > BACKUP_MANIFEST_FORMAT ? ERR_UNSUPPORTED : ERR_NONE;
    if (format < 1 || hash.n != 2 * SHA256_BYTES || clock_parse(time, &out->time_ms) != ERR_NONE)
        err = ERR_INVALID;
    out->schema = json_get_int(m, "schema", 0);
    out->counter = json_get_int(m, "generation", 0);
    out->counts = (struct store_counts){.identity = json_get_int(m, "store", 0),
                                        .objects = json_get_int(m, "objects", 0),
                                        .versions = json_get_int(m, "versions", 0),
                                        .files = json_get_int(m, "files", 0),
                                        .file_bytes = json_get_int(m, "file_bytes", 0)};
    out->db_bytes = json_get_int(m, "db_bytes", 0);
    snprintf(out->db_sha256, sizeof out->db_sha256, "%.*s", SLICE_FMT(hash));
    out->linked = json_get_int(m, "linked", 0);
    out->reused = json_get_int(m, "reused", 0);
    out->copied = json_get_int(m, "copied", 0);
    out->copied_bytes = json_get_int(m, "copied_bytes", 0);
    out->missing = json_get_int(m, "missing", 0);
    out->took_ms = json_get_int(m, "took_ms", 0);
    json_decref(m);
    return err;
}

int
backup_manifest_read(int dirfd, struct backup_manifest *out)
{
    char text[MANIFEST_BYTES_MAX];
    *out = (struct backup_manifest){0};
    int fd = fsdir_file(dirfd, BACKUP_MANIFEST);
    if (fd < 0)
        return fd;
    ssize_t got = read(fd, text, sizeof text);
    close(fd);
    if (got < 0)
        return ERR_IO;
    return manifest_parse(slice_of(text, (size_t)got), out);
}

static json_t *
manifest_json(const struct backup_manifest *m, const int64_t *missing_ids)
{
    char time[CLOCK_TEXT_MAX];
    clock_iso8601(m->time_ms, time);
    json_t *ids = json_array();
    for (int64_t i = 0; i < m->missing && i < STORE_MISSING_MAX; i++)
        json_array_append_new(ids, json_integer(missing_ids[i]));
    return json_pack(
        "{si ss ss sI sI sI sI sI sI sI sI ss sI sI sI sI sI so sI}", "format",
        BACKUP_MANIFEST_FORMAT, "time", time, "darkroom", DARKROOM_VERSION, "schema",
        (json_int_t)m->schema, "store", (json_int_t)m->counts.identity, "generation",
        (json_int_t)m->counter, "objects", (json_int_t)m->counts.objects, "versions",
        (json_int_t)m->counts.versions, "files", (json_int_t)m->counts.files, "file_bytes",
        (json_int_t)m->counts.file_bytes, "db_bytes", (json_int_t)m->db_bytes, "db_sha256",
        m->db_sha256, "linked", (json_int_t)m->linked, "reused", (json_int_t)m->reused, "copied",
        (json_int_t)m->copied, "copied_bytes", (json_int_t)m->copied_bytes, "missing",
        (json_int_t)m->missing, "missing_files", ids, "took_ms", (json_int_t)m->took_ms);
}

int
backup_manifest_write(const struct backup_set *set, const struct backup_manifest *m,
                      const int64_t *missing_ids)
{
    char path[PATH_MAX];
    struct buf text;
    int n = snprintf(path, sizeof path, "%s/%s/%s", set->path, m->name, BACKUP_MANIFEST);
    if (n < 0 || (size_t)n >= sizeof path)
        return ERR_TOOBIG;
    json_t *value = manifest_json(m, missing_ids);
    buf_init(&text, MANIFEST_BYTES_MAX);
    json_write(&text, value, true);
    buf_putc(&text, '\n');
    json_decref(value);
    int err = text.err;
    if (err == ERR_NONE)
        err = fsio_write_file(path, 0600, buf_slice(&text));
    buf_fini(&text);
    return err == ERR_SYNC ? ERR_IO : err;
}

/* ---- all of them ---- */

struct listing {
    char (*names)[BACKUP_NAME_MAX];
    size_t count;
    bool halves;      /* these instead of whole ones */
    int64_t identity; /* whole ones of this store only; 0: of any */
    int64_t others;   /* left out for that */
};

static int
list_entry(void *arg, int dirfd, const char *name)
{
    struct listing *l = arg;
    struct backup_manifest m;
    int fd = is_snapshot(name) ? fsdir_open(dirfd, name, false) : -1;
    if (fd < 0)
        return ERR_NONE;
    int err = backup_manifest_read(fd, &m);
    close(fd);
    if ((err == ERR_NOTFOUND) != l->halves)
        return ERR_NONE;
    if (l->identity != 0 && (err != ERR_NONE || m.counts.identity != l->identity)) {
        l->others++;
        return ERR_NONE;
    }
    if (l->count == BACKUP_SNAPSHOTS_MAX)
        return ERR_TOOBIG;
    snprintf(l->names[l->count++], BACKUP_NAME_MAX, "%s", name);
    return ERR_NONE;
}

static int
name_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* l: what to list, and nothing else set. */
static int
list(struct backup_set *set, struct listing *l)
{
    l->names = chk_calloc(BACKUP_SNAPSHOTS_MAX, sizeof l->names[0]);
    int err = fsdir_each(set->dirfd, list_entry, l);
    qsort(l->names, l->count, sizeof l->names[0], name_cmp);
    return err;
}

int
backup_set_list(struct backup_set *set, char (**names)[BACKUP_NAME_MAX], size_t *count)
{
    struct listing l = {0};
    int err = list(set, &l);
    *names = l.names;
    *count = l.count;
    return err;
}

static int
read_one(struct backup_set *set, const char *name, struct backup_manifest *out)
{
    int fd = fsdir_open(set->dirfd, name, false);
    int err = fd < 0 ? fd : backup_manifest_read(fd, out);
    snprintf(out->name, sizeof out->name, "%s", name);
    if (fd >= 0)
        close(fd);
    return err;
}

int
backup_set_latest(struct backup_set *set, int64_t identity, struct backup_manifest *out)
{
    struct backup_manifest m;
    struct listing l = {.identity = identity};
    bool found = false, several = false;
    int err = list(set, &l);
    for (size_t i = l.count; i > 0 && err == ERR_NONE && !(found && identity != 0); i--) {
        if (read_one(set, l.names[i - 1], &m) != ERR_NONE)
            continue;
        several = several || (found && m.counts.identity != out->counts.identity);
        if (!found)
            *out = m;
        found = true;
    }
    free(l.names);
    return err != ERR_NONE ? err : several ? ERR_CONFLICT : found ? ERR_NONE : ERR_NOTFOUND;
}

/* Its manifest first, so that what a power cut leaves is a half. */
static int
remove_snapshot(struct backup_set *set, const char *name)
{
    int fd = fsdir_open(set->dirfd, name, false);
    if (fd < 0)
        return fd;
    int err = fsdir_remove(fd, BACKUP_MANIFEST);
    if (err == ERR_NONE)
        err = fsdir_sync(fd);
    close(fd);
    return err == ERR_NONE ? fsdir_remove(set->dirfd, name) : err;
}

static int
remove_oldest(struct backup_set *set, struct listing *l, size_t keep, int64_t *removed)
{
    CHK(set->lock_fd >= 0);
    *removed = 0;
    int err = list(set, l);
    for (size_t i = 0; i < l->count && l->count - i > keep && err == ERR_NONE; i++) {
        err = remove_snapshot(set, l->names[i]);
        log_line(LOG_INFO, l->halves ? "backup_half_removed" : "backup_removed",
                 "snapshot=%s error=%s", l->names[i], err_name(err));
        *removed += err == ERR_NONE;
    }
    free(l->names);
    return err == ERR_NONE ? fsdir_sync(set->dirfd) : err;
}

int
backup_set_remove_halves(struct backup_set *set)
{
    int64_t removed;
    struct listing l = {.halves = true};
    return remove_oldest(set, &l, 0, &removed);
}

int
backup_set_prune(struct backup_set *set, int64_t identity, size_t keep, int64_t *removed,
                 int64_t *others)
{
    struct listing l = {.identity = identity};
    CHK(identity != 0);
    int err = remove_oldest(set, &l, keep, removed);
    *others = l.others;
    return err;
}
