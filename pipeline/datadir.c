#include "pipeline/datadir.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "base/log.h"
#include "pipeline/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_WAIT_MS 500
#define LOCK_TICK_MS 10
#define KEY_ID_RANDOM 8
#define SECRET_RANDOM 30
#define ROOT_ID "000000000000"

void
datadir_path(const struct datadir *d, const char *name, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/%s", d->path, name);
    CHK(n > 0 && n < PATH_MAX);
}

/* A killed server may leave a worker between fork and exec, which still shares its lock for some
 * milliseconds: a start right after must not fail for that. */
static bool
lock_taken(int fd)
{
    int64_t deadline_ms = clock_mono_ms() + LOCK_WAIT_MS;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || clock_mono_ms() >= deadline_ms)
            return false;
        poll(NULL, 0, LOCK_TICK_MS);
    }
    return true;
}

/* What others may reach becomes ours alone, and the log tells it: an owner who wanted it so must
 * hear of it, and a secret that was readable may have been read. */
static int
make_private(const char *path, mode_t mode, struct buf *why)
{
    struct stat st;
    char quoted[LOG_QUOTE_MAX];
    if (stat(path, &st) != 0)
        return errno == ENOENT ? ERR_NONE : err_from_errno(errno);
    unsigned was = st.st_mode & 07777;
    if ((was & 077) == 0)
        return ERR_NONE;
    if (chmod(path, mode) != 0) {
        buf_printf(why, "%s is open to others (mode %04o) and cannot be made %04o: %s", path, was,
                   (unsigned)mode, strerror(errno));
        return err_from_errno(errno);
    }
    log_line(LOG_WARN, "made_private", "path=%s mode=%04o was=%04o",
             log_quote(slice_str(path), quoted), (unsigned)mode, was);
    return ERR_NONE;
}

static int
make_all_private(const struct datadir *d, struct buf *why)
{
    static const char *const secrets[] = {"credentials", "url-keys"};
    char path[PATH_MAX];
    int err = make_private(d->path, 0700, why);
    for (size_t i = 0; i < ARRAY_LEN(secrets) && err == ERR_NONE; i++) {
        datadir_path(d, secrets[i], path);
        err = make_private(path, 0600, why);
    }
    return err;
}

int
datadir_open(struct datadir *d, const char *path, struct buf *why)
{
    char lock_path[PATH_MAX];
    d->lock_fd = -1;
    int err = fsio_mkdir(path);
    /* Room for the longest name in it. */
    if (err == ERR_NONE && (realpath(path, d->path) == NULL || strlen(d->path) > PATH_MAX - 64))
        err = err_from_errno(errno);
    if (err != ERR_NONE) {
        buf_printf(why, "data directory %s cannot be made: %s", path, err_text(err));
        return err;
    }
    err = make_all_private(d, why);
    if (err != ERR_NONE)
        return err;
    datadir_path(d, "lock", lock_path);
    d->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0) {
        buf_printf(why, "%s cannot be opened: %s", lock_path, strerror(errno));
        return err_from_errno(errno);
    }
    if (!lock_taken(d->lock_fd)) {
        buf_printf(why, "data directory %s is in use by another darkroomd", d->path);
        datadir_close(d);
        return ERR_BUSY;
    }
    return ERR_NONE;
}

int
datadir_check_whole(const struct datadir *d, struct buf *why)
{
    char path[PATH_MAX];
    datadir_path(d, "restoring", path);
    if (access(path, F_OK) != 0)
        return ERR_NONE;
    buf_printf(why, "a restore into %s did not come to its end: run it again", d->path);
    return ERR_CONFLICT;
}

void
datadir_close(struct datadir *d)
{
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    d->lock_fd = -1;
}

/* ---- root keys ---- */

/* Upper-case hex for the id, base64 with its two odd characters replaced for the secret: any tool
 * takes them. */
static int
keys_make(const char *path)
{
    uint8_t bytes[SECRET_RANDOM];
    char id[2 * KEY_ID_RANDOM + 1];
    struct buf text;
    buf_init(&text, CREDENTIALS_BYTES_MAX);
    random_bytes(bytes, KEY_ID_RANDOM);
    hex_encode(bytes, KEY_ID_RANDOM, id);
    for (char *c = id; *c != '\0'; c++)
        *c = (char)(*c >= 'a' ? *c - 'a' + 'A' : *c);
    random_bytes(bytes, sizeof bytes);
    buf_printf(&text, "[default]\naws_access_key_id = DARK%s\naws_secret_access_key = ", id);
    size_t secret_at = text.n;
    base64_encode(&text, bytes, sizeof bytes);
    for (size_t i = secret_at; i < text.n; i++) {
        if (text.p[i] == '+' || text.p[i] == '/')
            text.p[i] = 'x';
    }
    buf_putc(&text, '\n');
    int err = text.err == ERR_NONE ? fsio_write_file(path, 0600, buf_slice(&text)) : text.err;
    explicit_bzero(text.p, text.n);
    buf_fini(&text);
    return err;
}

static int
root_add(struct accounts *accounts, struct slice id, struct slice secret, struct buf *why)
{
    char *id_text = strndup(id.p, id.n);
    char *secret_text = strndup(secret.p, secret.n);
    CHK(id_text != NULL && secret_text != NULL);
    struct account root = {.id = ROOT_ID,
                           .display_name = "root",
                           .email = "root@localhost",
                           .access_key_id = id_text,
                           .secret_access_key = secret_text,
                           .is_root = true};
    int err = accounts_add(accounts, &root);
    if (err != ERR_NONE)
        buf_printf(why, "the root keys cannot be used: %s", err_text(err));
    explicit_bzero(secret_text, secret.n);
    free(secret_text);
    free(id_text);
    return err;
}

int
datadir_root_account(const struct datadir *d, struct accounts *accounts, struct buf *why)
{
    struct slice env_id = slice_str(getenv("DARKROOM_ACCESS_KEY_ID"));
    struct slice env_secret = slice_str(getenv("DARKROOM_SECRET_ACCESS_KEY"));
    if (env_id.n > 0 && env_secret.n > 0)
        return root_add(accounts, env_id, env_secret, why);
    if (env_id.n > 0 || env_secret.n > 0) {
        buf_puts(why, "set both DARKROOM_ACCESS_KEY_ID and DARKROOM_SECRET_ACCESS_KEY, or neither");
        return ERR_INVALID;
    }
    char path[PATH_MAX];
    struct credentials keys;
    datadir_path(d, "credentials", path);
    int err = access(path, F_OK) == 0 ? ERR_NONE : keys_make(path);
    if (err != ERR_NONE) {
        buf_printf(why, "%s cannot be written: %s", path, err_text(err));
        return err;
    }
    err = credentials_read(&keys, path, "default");
    if (err == ERR_NONE)
        err = root_add(accounts, keys.access_key_id, keys.secret_access_key, why);
    else
        buf_printf(why, "%s: needs [default] with aws_access_key_id and aws_secret_access_key",
                   path);
    credentials_fini(&keys);
    return err;
}

/* ---- small files ---- */

bool
datadir_is_initialized(const struct datadir *d)
{
    char path[PATH_MAX];
    datadir_path(d, "initialized", path);
    return access(path, F_OK) == 0;
}

int
datadir_set_initialized(const struct datadir *d)
{
    char path[PATH_MAX];
    datadir_path(d, "initialized", path);
    return fsio_write_file(path, 0600, SLICE_LIT("1\n"));
}

int
datadir_set_endpoint(const struct datadir *d, const char *url)
{
    char path[PATH_MAX];
    char line[PATH_MAX];
    datadir_path(d, "endpoint", path);
    snprintf(line, sizeof line, "%s\n", url);
    return fsio_write_file(path, 0644, slice_str(line));
}

void
datadir_remove_endpoint(const struct datadir *d)
{
    char path[PATH_MAX];
    datadir_path(d, "endpoint", path);
    unlink(path);
}
