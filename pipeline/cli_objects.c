/*
 * ls, get and put.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/cli.h"
#include "pipeline/transfer_path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- ls ---- */

static int
print_entry(void *arg, const struct remote_entry *e)
{
    const struct cli *c = arg;
    if (c->json) {
        json_t *line = e->is_prefix
                           ? json_pack("{ss#}", "prefix", e->name.p, (int)e->name.n)
                           : json_pack("{ss# sI sI ss#}", "key", e->name.p, (int)e->name.n, "size",
                                       (json_int_t)e->size, "mtime_ms", (json_int_t)e->mtime_ms,
                                       "etag", e->etag.p, (int)e->etag.n);
        cli_print_json(line);
        json_decref(line);
        return 0;
    }
    if (e->is_prefix) {
        printf("%24s %12s  ", "", "PRE");
    } else {
        cli_print_time(e->mtime_ms);
        printf(" %12" PRId64 "  ", e->size);
    }
    cli_print_text(e->name);
    putchar('\n');
    return 0;
}

static enum cli_exit
ls(struct cli *c, int argc, char **argv)
{
    struct slice bucket, prefix;
    struct remote *r = NULL;
    struct buf why;
    (void)argc;
    cli_s3(argv[0], &bucket, &prefix);
    enum cli_exit code = cli_open_remote(c, prefix, &r);
    if (code != CLI_DONE)
        return code;
    buf_init(&why, CLI_WHY_MAX);
    int err =
        remote_list(r, bucket, prefix, cli_flag_on(c, "recursive") ? SLICE_NONE : SLICE_LIT("/"),
                    print_entry, c, &why);
    code = cli_ended(c, argv[0], err, &why);
    buf_fini(&why);
    remote_close(&r);
    return code;
}

static const struct cli_flag ls_flags[] = {
    {"recursive", NULL, "do not stop at '/'", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb ls_verbs[] = {
    {.arguments = "s3://BUCKET[/PREFIX]",
     .summary = "list objects",
     .flags = ls_flags,
     .example = "ls --recursive s3://photos/2024/",
     .run = ls},
    {0},
};

const struct cli_command cli_command_ls = {
    .name = "ls", .summary = "list objects", .verbs = ls_verbs};

/* ---- get ---- */

/* Where the bytes go. A file appears in its place when it is whole and durable: a key that is not
 * there, a server that goes away, a Ctrl-C, a full disk must not cost the one that was there
 * before.
 */
struct get_file {
    int fd;
    int err;              /* of a write */
    bool in_place;        /* standard output, a device, a pipe: nothing to put in a place */
    char place[PATH_MAX]; /* behind symbolic links */
    char part[PATH_MAX];
};

static int
write_out(void *arg, const void *p, size_t n)
{
    struct get_file *g = arg;
    g->err = fsio_write_all(g->fd, p, n);
    return g->err;
}

/* -1 with errno. */
static int
file_begin(struct get_file *g, const char *name)
{
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    *g = (struct get_file){.fd = STDOUT_FILENO, .in_place = true};
    if (name == NULL)
        return 0;
    bool there = realpath(name, g->place) != NULL && stat(g->place, &st) == 0;
    if (there && !S_ISREG(st.st_mode)) {
        g->fd = open(name, O_WRONLY | O_CLOEXEC);
        return g->fd < 0 ? -1 : 0;
    }
    if (!there)
        snprintf(g->place, sizeof g->place, "%s", name);
    const char *slash = strrchr(g->place, '/');
    int n = snprintf(g->part, sizeof g->part, "%.*s" TRANSFER_PART_PREFIX "XXXXXX",
                     slash == NULL ? 0 : (int)(slash + 1 - g->place), g->place);
    if (n < 0 || (size_t)n >= sizeof g->part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    g->in_place = false;
    g->fd = mkostemp(g->part, O_CLOEXEC);
    if (g->fd >= 0)
        (void)!fchmod(g->fd, there ? st.st_mode & 0777 : 0666 & ~mask);
    return g->fd < 0 ? -1 : 0;
}

/* The name; false with errno. */
static bool
sync_folder(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    errno = errnum;
    return synced;
}

static enum cli_exit
file_end(const struct get_file *g, enum cli_exit code)
{
    const char *name = g->in_place ? "the output" : g->place;
    bool good = code == CLI_DONE;
    if (good && !g->in_place && fsync(g->fd) != 0) {
        cli_complain("%s: cannot be made durable: %s", name, strerror(errno));
        good = false;
    }
    if (g->fd > STDERR_FILENO && close(g->fd) != 0 && good) {
        cli_complain("%s: cannot be closed: %s", name, strerror(errno));
        good = false;
    }
    if (good && !g->in_place && rename(g->part, g->place) != 0) {
        cli_complain("%s: %s", name, strerror(errno));
        good = false;
    }
    if (!good && !g->in_place)
        unlink(g->part);
    if (good && !g->in_place && !sync_folder(g->place)) {
        cli_complain("%s: is there, but a power cut may take it back: its folder: %s", name,
                     strerror(errno));
        good = false;
    }
    return good ? CLI_DONE : code != CLI_DONE ? code : CLI_SOME_FAILED;
}

static enum cli_exit
get(struct cli *c, int argc, char **argv)
{
    struct slice bucket, key;
    struct remote *r = NULL;
    struct get_file g;
    struct buf why;
    cli_s3(argv[0], &bucket, &key);
    if (argc == 2 && strcmp(argv[1], "-") == 0) /* as for other tools: standard output */
        argc = 1;
    enum cli_exit code = cli_open_remote(c, key, &r);
    if (code != CLI_DONE)
        return code;
    buf_init(&why, CLI_WHY_MAX);
    if (file_begin(&g, argc == 2 ? argv[1] : NULL) != 0) {
        cli_complain("%s: %s", argv[1], strerror(errno));
        code = CLI_SOME_FAILED;
    } else {
        int err = remote_get(r, bucket, key, write_out, &g, &why);
        if (g.err != ERR_NONE) {
            cli_complain("%s: cannot be written: %s", argc == 2 ? argv[1] : "the output",
                         err_text(g.err));
            code = CLI_SOME_FAILED;
        } else {
            code = cli_ended(c, argv[0], err, &why);
        }
        code = file_end(&g, code);
    }
    buf_fini(&why);
    remote_close(&r);
    return code;
}

static const struct cli_verb get_verbs[] = {
    {.arguments = "s3://BUCKET/KEY [FILE]",
     .summary = "fetch an object, to standard output without FILE or with -",
     .example = "get s3://photos/cat.jpg cat.jpg",
     .run = get},
    {0},
};

const struct cli_command cli_command_get = {
    .name = "get", .summary = "fetch an object", .verbs = get_verbs};

/* ---- put ---- */

const char *
cli_content_type(const char *path)
{
    static const char *const types[][2] = {
        {".jpg", "image/jpeg"},        {".jpeg", "image/jpeg"},     {".png", "image/png"},
        {".webp", "image/webp"},       {".gif", "image/gif"},       {".tif", "image/tiff"},
        {".tiff", "image/tiff"},       {".avif", "image/avif"},     {".heic", "image/heic"},
        {".jxl", "image/jxl"},         {".svg", "image/svg+xml"},   {".txt", "text/plain"},
        {".json", "application/json"}, {".html", "text/html"},      {".css", "text/css"},
        {".pdf", "application/pdf"},   {".xml", "text/xml"},        {".csv", "text/csv"},
        {".mp4", "video/mp4"},         {".zip", "application/zip"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < ARRAY_LEN(types); i++) {
        if (strcasecmp(dot, types[i][0]) == 0)
            return types[i][1];
    }
    return "application/octet-stream";
}

/* What one command line of `put` says. */
struct put_order {
    char **files; /* the front of argv, moved together */
    int count;
    const char *target;
    const char *type; /* NULL: by the file's name */
    struct slice bucket;
    struct slice key;
    bool folder; /* the key is a bucket or ends with '/': each file keeps its own name */
};

static struct slice
base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slice_str(slash != NULL ? slash + 1 : path);
}

static enum cli_exit
send_file(struct cli *c, const struct put_order *order, const char *file, int fd, int64_t bytes)
{
    struct remote_response response = {0};
    struct buf path, why;
    buf_init(&path, 4096);
    buf_init(&why, CLI_WHY_MAX);
    buf_printf(&path, "s3://%.*s/", SLICE_FMT(order->bucket));
    buf_put_slice(&path, order->key);
    if (order->folder)
        buf_put_slice(&path, base_name(file));
    struct remote_request request = {.method = "PUT",
                                     .path = slice_skip(buf_slice(&path), strlen("s3:/")),
                                     .content_type =
                                         order->type != NULL ? order->type : cli_content_type(file),
                                     .body_fd = fd,
                                     .body_bytes = bytes};
    int err =
        path.err != ERR_NONE ? path.err : remote_http_send(c->http, &request, &response, &why);
    if (err == ERR_NONE && response.status != 200)
        err = remote_failure(&response, &why);
    remote_response_fini(&response);
    enum cli_exit code = cli_ended(c, path.err != ERR_NONE ? file : path.p, err, &why);
    buf_fini(&why);
    buf_fini(&path);
    return code;
}

static enum cli_exit
put_file(struct cli *c, const struct put_order *order, const char *file)
{
    struct stat st;
    enum cli_exit code = CLI_USAGE;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        cli_complain("%s: %s", file, fd < 0 ? strerror(errno) : "not a regular file");
    else
        code = send_file(c, order, file, fd, st.st_size);
    if (fd >= 0)
        close(fd);
    return code;
}

static enum cli_exit
read_order(const struct cli *c, int argc, char **argv, struct put_order *order)
{
    *order = (struct put_order){.files = argv,
                                .count = argc - 1,
                                .target = argv[argc - 1],
                                .type = cli_flag_str(c, "content-type")};
    cli_s3(order->target, &order->bucket, &order->key);
    order->folder = order->key.n == 0 || order->key.p[order->key.n - 1] == '/';
    if (order->count > 1 && !order->folder)
        return cli_usage(c, "%d files go into a folder, so end %s with '/'", order->count,
                         order->target);
    return CLI_DONE;
}

/* All files are tried; a server that is away ends it, and one failure is the exit code's. */
static enum cli_exit
put(struct cli *c, int argc, char **argv)
{
    struct put_order order;
    enum cli_exit code = read_order(c, argc, argv, &order);
    if (code == CLI_DONE)
        code = cli_connect(c);
    for (int i = 0; i < order.count && code != CLI_UNREACHABLE && code != CLI_USAGE; i++) {
        enum cli_exit one = put_file(c, &order, order.files[i]);
        if (one != CLI_DONE)
            code = order.count == 1 || one == CLI_UNREACHABLE ? one : CLI_SOME_FAILED;
    }
    return code;
}

static const struct cli_flag put_flags[] = {
    {"content-type", "TYPE", "default: by the file name's ending", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb put_verbs[] = {
    {.arguments = "FILE... s3://BUCKET[/KEY]",
     .summary = "store objects; behind a '/' each file keeps its own name",
     .flags = put_flags,
     .details = "Behind a target that is a bucket or ends with a slash each file keeps its own "
                "name; if some cannot be stored, the others are.",
     .example = "put *.jpg s3://photos/2024/",
     .run = put},
    {0},
};

const struct cli_command cli_command_put = {
    .name = "put", .summary = "store objects", .verbs = put_verbs};
