/*
 * The command line of import and export as two sides.
 *
 * --endpoint-url: with --remote-url given too, or where the other side is a folder, it is our
 * server, as everywhere; alone it is the remote store, and ours is found by --data,
 * AWS_ENDPOINT_URL or ./darkroom-data.
 */
#include "base/chk.h"
#include "base/err.h"
#include "pipeline/cli_transfer.h"
#include "pipeline/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define REGION_DEFAULT "us-east-1"

static bool
is_store(const char *text)
{
    return strncmp(text, "s3://", 5) == 0;
}

static char *
copy_text(struct slice s)
{
    char *text = strndup(s.n > 0 ? s.p : "", s.n);
    CHK(text != NULL);
    return text;
}

/* ---- keys of the remote store ---- */

static bool
keys_from_profile(struct transfer_side *s, const char *profile)
{
    const char *file = getenv("AWS_SHARED_CREDENTIALS_FILE");
    const char *home = getenv("HOME");
    struct credentials keys;
    char path[PATH_MAX];
    if (file != NULL)
        snprintf(path, sizeof path, "%s", file);
    else
        snprintf(path, sizeof path, "%s/.aws/credentials", home == NULL ? "" : home);
    int err = credentials_read(&keys, path, profile);
    if (err == ERR_NONE) {
        s->options.access_key_id = slice_str(copy_text(keys.access_key_id));
        s->options.secret_access_key = slice_str(copy_text(keys.secret_access_key));
        s->keys_from = "--profile";
    } else {
        cli_complain("%s: there is no profile %s with both keys", path, profile);
    }
    credentials_fini(&keys);
    return err == ERR_NONE;
}

static enum cli_exit
find_remote_keys(struct cli *c, struct transfer_side *s)
{
    const char *profile = cli_flag_str(c, "profile");
    const char *id = getenv("DARKROOM_REMOTE_ACCESS_KEY_ID");
    const char *secret = getenv("DARKROOM_REMOTE_SECRET_ACCESS_KEY");
    if (cli_flag_on(c, "anonymous"))
        return CLI_DONE;
    if (profile != NULL)
        return keys_from_profile(s, profile) ? CLI_DONE : CLI_USAGE;
    if (id == NULL || secret == NULL || id[0] == '\0')
        return cli_usage(c, "there are no keys for the remote store: set "
                            "DARKROOM_REMOTE_ACCESS_KEY_ID and DARKROOM_REMOTE_SECRET_ACCESS_KEY, "
                            "or give --profile NAME, or --anonymous for a public bucket");
    s->options.access_key_id = slice_str(copy_text(slice_str(id)));
    s->options.secret_access_key = slice_str(copy_text(slice_str(secret)));
    s->keys_from = "DARKROOM_REMOTE_ACCESS_KEY_ID";
    return CLI_DONE;
}

/* ---- the sides ---- */

static enum cli_exit
set_remote(struct transfer *t, struct cli *c, struct transfer_side *s)
{
    const char *url = cli_flag_str(c, "remote-url");
    const char *region = cli_flag_str(c, "region");
    if (url == NULL) {
        url = cli_flag_str(c, "endpoint-url");
        c->endpoint_is_remote = true;
    }
    if (url == NULL)
        return cli_usage(c, "where is the other store? give --endpoint-url URL (or --remote-url)");
    s->options = (struct remote_options){
        .endpoint = url,
        .ca_file = cli_flag_str(c, "remote-ca-file"),
        .region = region != NULL ? region : REGION_DEFAULT,
        .stall_s = (int)(cli_flag_duration(c, "stall", 0) / 1000),
        .cancel = &t->cancel,
    };
    return find_remote_keys(c, s);
}

static enum cli_exit
set_ours(struct transfer *t, struct cli *c, struct transfer_side *s)
{
    enum cli_exit code = cli_connect(c);
    s->ours = true;
    s->driver = REMOTE_CURL;
    s->keys_from = c->keys_from;
    s->options = (struct remote_options){.endpoint = c->endpoint,
                                         .ca_file = c->ca_file,
                                         .region = REGION_DEFAULT,
                                         .access_key_id = slice_str(c->access_key_id),
                                         .secret_access_key = slice_str(c->secret_access_key),
                                         .stall_s = (int)(cli_flag_duration(c, "stall", 0) / 1000),
                                         .cancel = &t->cancel};
    return code;
}

/* "s3://BUCKET[/PREFIX]". A target's prefix is a folder: it ends with '/'. Of a source's prefix
 * the part up to its last '/' is left away from the names. */
static enum cli_exit
set_place(struct cli *c, struct transfer_side *s, const char *text, bool target)
{
    struct slice prefix = SLICE_NONE;
    s->said = text;
    s->dirfd = -1;
    s->bucket = slice_cut(slice_skip(slice_str(text), 5), '/', &prefix);
    if (s->bucket.n == 0 || !slice_is_utf8(slice_str(text)))
        return cli_usage(c, "\"%s\" is no s3://BUCKET[/PREFIX]", text);
    s->ops = &transfer_store_ops;
    buf_init(&s->prefix, TRANSFER_NAME_MAX);
    buf_put_slice(&s->prefix, prefix);
    if (target && prefix.n > 0 && prefix.p[prefix.n - 1] != '/')
        buf_putc(&s->prefix, '/');
    size_t n = s->prefix.n;
    while (n > 0 && s->prefix.p[n - 1] != '/')
        n--;
    s->base = slice_str(copy_text(slice_of(s->prefix.p, n)));
    return s->prefix.err == ERR_NONE ? CLI_DONE : cli_usage(c, "the prefix is too long");
}

static enum cli_exit
set_folder(struct cli *c, struct transfer_side *s, const char *path, bool make)
{
    s->said = path;
    s->ops = &transfer_folder_ops;
    if (make && mkdir(path, 0777) != 0 && errno != EEXIST) {
        cli_complain("%s: %s", path, strerror(errno));
        return CLI_SOME_FAILED;
    }
    s->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dirfd >= 0)
        return CLI_DONE;
    return cli_usage(c, "%s: %s (a bucket is s3://BUCKET)", path, strerror(errno));
}

/* ---- the first contact ---- */

static int
stop_at_once(void *arg, const struct remote_entry *e)
{
    (void)arg, (void)e;
    return 1;
}

/* A store that is busy is asked again; one that cannot be reached is told at once. */
static int
contact(struct transfer *t, struct transfer_side *s, enum remote_driver driver, int *status,
        struct buf *why)
{
    struct remote *r = NULL;
    struct buf token;
    int tries = 0;
    buf_init(&token, REMOTE_TOKEN_MAX);
    buf_reset(why);
    *status = 0;
    int err = remote_open(&r, driver, &s->options, why);
    if (err == ERR_NONE) {
        do
            err = remote_page(r, s->bucket, buf_slice(&s->prefix), SLICE_NONE, &token, stop_at_once,
                              NULL, why);
        while (err == ERR_BUSY && transfer_again(t, r, err, &tries, why));
        *status = remote_status(r);
    }
    if (err == ERR_NONE)
        s->driver = driver;
    remote_close(&r);
    buf_fini(&token);
    return err;
}

/* V4 first; a store that does not want it is asked by V2. What V4 was told is what is told. */
static int
contact_remote(struct transfer *t, struct transfer_side *s, struct buf *why)
{
    const struct cli *c = t->c;
    const char *signature = cli_flag_str(c, "signature");
    bool v2 = signature != NULL && strcmp(signature, "v2") == 0;
    bool v4 = signature != NULL && strcmp(signature, "v4") == 0;
    int status = 0, ignored = 0;
    struct buf other;
    int err = contact(t, s, v2 ? REMOTE_LIBS3 : REMOTE_CURL, &status, why);
    if (v2 || v4)
        return err;
    if (s->options.access_key_id.n > 0 &&
        (status == 400 || status == 401 || status == 403 || status == 501)) {
        buf_init(&other, CLI_WHY_MAX);
        if (contact(t, s, REMOTE_LIBS3, &ignored, &other) == ERR_NONE)
            err = ERR_NONE;
        buf_fini(&other);
    }
    if (err == ERR_NONE && !c->json)
        fprintf(stderr, "darkroom: %s takes Signature Version %s\n", s->options.endpoint,
                s->driver == REMOTE_CURL ? "4" : "2 (through libs3)");
    return err;
}

static enum cli_exit
greet(struct transfer *t, struct transfer_side *s)
{
    const struct cli *c = t->c;
    int status = 0;
    struct buf why;
    if (!s->ops->is_store)
        return CLI_DONE;
    buf_init(&why, CLI_WHY_MAX);
    int err = s->ours ? contact(t, s, REMOTE_CURL, &status, &why) : contact_remote(t, s, &why);
    enum cli_exit code = CLI_DONE;
    if (err != ERR_NONE) {
        const char *text = why.n > 0 ? why.p : err_text(err);
        if (err == ERR_CLOSED)
            cli_complain("cannot reach %s: %s", s->ours ? "the server" : "the other store", text);
        else
            cli_complain("%s at %s: %s", s->said, s->options.endpoint, text);
        if (err == ERR_DENIED && s->keys_from != NULL)
            cli_complain("the keys came from %s", s->keys_from);
        if (err == ERR_NOPARENT && s->ours)
            cli_complain("darkroom buckets add %.*s makes it, with thumbnails",
                         SLICE_FMT(s->bucket));
        code = err == ERR_CLOSED        ? CLI_UNREACHABLE
               : err == ERR_UNSUPPORTED ? CLI_USAGE
                                        : CLI_SOME_FAILED;
    } else if (s->driver == REMOTE_LIBS3 && !c->json) {
        fputs("darkroom: through libs3 an object keeps its Content-Type and x-amz-meta-*, no tags "
              "and no other metadata\n",
              stderr);
    }
    buf_fini(&why);
    return code;
}

/* The target's list covers what the source's names can be. */
static void
narrow(struct transfer *t)
{
    if (t->source.ops->is_store && t->target.ops->is_store)
        buf_put_slice(&t->target.prefix,
                      slice_skip(buf_slice(&t->source.prefix), t->source.base.n));
}

static enum cli_exit
set_sides(struct transfer *t, struct cli *c, const char *from, const char *to, bool import)
{
    struct transfer_side *remote = import ? &t->source : &t->target;
    enum cli_exit code = is_store(from) ? set_place(c, &t->source, from, false)
                                        : set_folder(c, &t->source, from, false);
    if (code == CLI_DONE)
        code = is_store(to) ? set_place(c, &t->target, to, true)
                            : set_folder(c, &t->target, to, !t->dry_run);
    if (code == CLI_DONE && remote->ops->is_store)
        code = set_remote(t, c, remote);
    if (code == CLI_DONE)
        code = set_ours(t, c, import ? &t->target : &t->source);
    return code;
}

enum cli_exit
transfer_open(struct transfer *t, struct cli *c, const char *from, const char *to, bool import)
{
    struct buf why;
    t->c = c;
    lock_init(&t->lock, LOCK_RANK_TRANSFER);
    lock_cond_init(&t->changed);
    t->retries = (int)cli_flag_int(c, "retries", TRANSFER_RETRIES_DEFAULT);
    t->jobs = (int)cli_flag_int(c, "jobs", TRANSFER_JOBS_DEFAULT);
    t->dry_run = cli_flag_on(c, "dry-run");
    enum cli_exit code = set_sides(t, c, from, to, import);
    if (code == CLI_DONE)
        code = greet(t, &t->source);
    if (code == CLI_DONE)
        code = greet(t, &t->target);
    if (code != CLI_DONE)
        return code;
    narrow(t);
    buf_init(&why, CLI_WHY_MAX);
    int err = ERR_NONE;
    if (t->source.ops->is_store)
        err = transfer_store_start(&t->source, &why);
    else
        transfer_folder_start(&t->source);
    if (err == ERR_NONE && t->target.ops->is_store)
        err = transfer_store_start(&t->target, &why);
    if (err != ERR_NONE)
        cli_complain("%s", why.n > 0 ? why.p : err_text(err));
    buf_fini(&why);
    return err == ERR_NONE ? CLI_DONE : CLI_USAGE;
}

static void
side_close(struct transfer_side *s)
{
    if (s->ops == NULL)
        return;
    transfer_side_stop(s);
    free((void *)(uintptr_t)s->base.p);
    if (s->ours)
        return;
    if (s->options.secret_access_key.n > 0)
        explicit_bzero((void *)(uintptr_t)s->options.secret_access_key.p,
                       s->options.secret_access_key.n);
    free((void *)(uintptr_t)s->options.access_key_id.p);
    free((void *)(uintptr_t)s->options.secret_access_key.p);
}

void
transfer_close(struct transfer *t)
{
    side_close(&t->source);
    side_close(&t->target);
    pthread_cond_destroy(&t->changed);
    lock_fini(&t->lock);
}
