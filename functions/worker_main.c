/*
 * darkroom-worker: one sandboxed image process. Started by the server with one end of a socket
 * pair; reads a request, runs its functions, answers, and so on until the server closes the pair.
 *
 *   prepare   descriptors, privileges                     (sandbox.c)
 *   start     libvips, without foreign modules            (image_start.c)
 *   close     user, parent, files: nothing can be opened  (sandbox.c)
 *   warm up   every codec once, on pictures of our own    (image_start.c)
 *   seal      limits, system calls                        (sandbox.c)
 *   hello     what it can do, what confines it
 *   serve     the first foreign byte is read here
 *
 * A worker that cannot work says so in its hello and ends. Deadlines are the server's: it kills.
 */
#include "functions/invoke.h"
#include "functions/sandbox.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"

#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ARENA_BYTES (2u << 20)
#define MEMORY_MB_DEFAULT 1024
#define MEMORY_MB_MAX (1u << 20)
#define UID_DEFAULT 65534 /* nobody */
#define SOCK_MAX 65535
#define EXIT_USAGE 2
/* Larger blocks go back to the system when freed, not into a heap that only grows. */
#define MMAP_THRESHOLD (128 << 10)

static const struct fn_handler handlers[] = {
    {"thumbnail", fn_thumbnail_scale, fn_thumbnail_run},
    {"metadata", fn_metadata_scale, fn_metadata_run},
};

struct options {
    int sock;
    bool require;
    int64_t memory_mb;
    uid_t uid;
    struct slice formats; /* opted in, comma separated */
    const char *cmyk_profile;
};

/* ---- command line ---- */

static bool
number(const char *text, uint64_t max, uint64_t *out)
{
    return slice_to_u64(slice_str(text), out) == ERR_NONE && *out <= max;
}

static bool
read_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {{"fd", required_argument, NULL, 'f'},
                                          {"sandbox", required_argument, NULL, 's'},
                                          {"memory-mb", required_argument, NULL, 'm'},
                                          {"uid", required_argument, NULL, 'u'},
                                          {"formats", required_argument, NULL, 'o'},
                                          {"cmyk-profile", required_argument, NULL, 'c'},
                                          {NULL, 0, NULL, 0}};
    uint64_t v = 0;
    int c;
    *o = (struct options){.sock = -1, .memory_mb = MEMORY_MB_DEFAULT, .uid = UID_DEFAULT};
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        bool good = true;
        if (c == 'f' && (good = number(optarg, SOCK_MAX, &v) && v > STDERR_FILENO))
            o->sock = (int)v;
        else if (c == 's')
            good = (o->require = strcmp(optarg, "require") == 0) || strcmp(optarg, "auto") == 0;
        else if (c == 'm' && (good = number(optarg, MEMORY_MB_MAX, &v) && v > 0))
            o->memory_mb = (int64_t)v;
        else if (c == 'u' && (good = number(optarg, INT32_MAX, &v) && v > 0))
            o->uid = (uid_t)v;
        else if (c == 'o')
            o->formats = slice_str(optarg);
        else if (c == 'c')
            o->cmyk_profile = optarg;
        if (!good || c == '?')
            return false;
    }
    return optind == argc && o->sock >= 0;
}

/* ---- start ---- */

/* What libraries would read from their surroundings is decided here. */
static void
set_environment(void)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = tmp == NULL ? NULL : strdup(tmp);
    clearenv();
    if (dir != NULL)
        setenv("TMPDIR", dir, 1);
    setenv("VIPS_CONCURRENCY", "1", 1);
    setenv("VIPS_DISC_THRESHOLD", "1000g", 1); /* decode into memory, files are out of reach */
    setenv("OMP_NUM_THREADS", "1", 1);
    free(dir);
}

/* The optional formats in the list; others are the server's to refuse. */
static void
allow_formats(struct slice list)
{
    while (list.n > 0) {
        struct slice name = slice_trim(slice_cut(list, ',', &list));
        for (int f = 0; f < SNIFF_COUNT; f++)
            if (sniff_is_optional((enum sniff_format)f) &&
                slice_eqs(name, sniff_name((enum sniff_format)f)))
                image_allow((enum sniff_format)f);
    }
}

/* `problem` gets what keeps it from working, `missing` what the kernel lacks. */
static void
start(const struct options *o, struct buf *missing, struct buf *problem)
{
    struct sandbox sandbox = {.sock = o->sock,
                              .uid = o->uid,
                              .memory_bytes = o->memory_mb << 20,
                              .file_bytes = FN_OUTPUT_BYTES_MAX,
                              .parent = getppid(),
                              .missing = missing};
    set_environment();
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    mallopt(M_ARENA_MAX, 1);
    sandbox_prepare(&sandbox);
    allow_formats(o->formats);
    int err = image_start(problem);
    if (err == ERR_NONE && o->cmyk_profile != NULL && o->cmyk_profile[0] != '\0')
        err = image_set_cmyk_profile(o->cmyk_profile, problem);
    if (err == ERR_NONE)
        err = sandbox_close_files(&sandbox);
    if (err == ERR_NONE)
        err = image_warm_up(problem);
    if (err == ERR_CLOSED)
        _exit(EXIT_SUCCESS);
    sandbox_seal(&sandbox);
    if (err != ERR_NONE && problem->n == 0)
        buf_puts(problem, err_text(err));
    if (o->require && missing->n > 0 && problem->n == 0)
        buf_printf(problem, "the sandbox is incomplete: no %.*s", SLICE_FMT(buf_slice(missing)));
}

/* Names of the formats that are read, or that could be opted in, or that are refused. */
static void
list_formats(struct buf *out, bool read, bool optional)
{
    for (int i = 0; i < SNIFF_COUNT; i++) {
        enum sniff_format f = (enum sniff_format)i;
        bool reads = image_reads(f), could = !reads && sniff_is_optional(f);
        if (sniff_name(f)[0] != '\0' && reads == read && could == optional)
            buf_printf(out, "%s%s", out->n == 0 ? "" : " ", sniff_name(f));
    }
}

static int
say_hello(int sock, const struct buf *missing, const struct buf *problem)
{
    struct wire_msg m;
    struct buf formats, optional, refused;
    buf_init(&formats, FN_TEXT_MAX);
    buf_init(&optional, FN_TEXT_MAX);
    buf_init(&refused, FN_TEXT_MAX);
    list_formats(&formats, true, false);
    list_formats(&optional, false, true);
    list_formats(&refused, false, false);
    struct fn_hello hello = {.pid = getpid(),
                             .formats = buf_slice(&formats),
                             .optional = buf_slice(&optional),
                             .refused = buf_slice(&refused),
                             .written = SLICE_LIT(IMAGE_WRITTEN),
                             .missing = buf_slice(missing),
                             .problem = buf_slice(problem)};
    fn_hello_write(&m, &hello);
    int err = wire_send(sock, &m);
    wire_msg_fini(&m);
    buf_fini(&formats);
    buf_fini(&optional);
    buf_fini(&refused);
    return err;
}

/* ---- serve ---- */

static int
serve_one(int sock, struct wire_reader *reader)
{
    struct fn_request req;
    int source_fd = -1;
    int err = wire_recv(sock, reader);
    if (err != ERR_NONE)
        return err;
    struct arena *arena = arena_new(ARENA_BYTES);
    if (arena == NULL)
        return ERR_NOMEM;
    err = fn_request_read(reader, arena, &req, &source_fd);
    if (err == ERR_NONE) {
        struct invoke_env env = {.sock = sock,
                                 .handlers = handlers,
                                 .handler_count = ARRAY_LEN(handlers),
                                 .reader = reader,
                                 .arena = arena};
        sandbox_allow_cpu(req.deadline_ms);
        err = invoke(&env, &req, source_fd);
    }
    arena_free(&arena);
    image_idle();
    return err;
}

int
main(int argc, char **argv)
{
    struct options o;
    struct buf missing, problem;
    struct wire_reader reader;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: darkroom-worker --fd N [--sandbox require|auto] [--memory-mb N] "
                        "[--uid N] [--formats LIST] [--cmyk-profile FILE]\nThe server starts it; "
                        "it is of no use alone.\n");
        return EXIT_USAGE;
    }
    buf_init(&missing, FN_TEXT_MAX);
    buf_init(&problem, FN_TEXT_MAX);
    start(&o, &missing, &problem);
    int err = say_hello(o.sock, &missing, &problem);
    if (problem.n > 0)
        _exit(EXIT_FAILURE);
    if (err == ERR_NONE)
        err = wire_reader_init(&reader);
    while (err == ERR_NONE)
        err = serve_one(o.sock, &reader);
    if (err != ERR_CLOSED)
        log_line(LOG_ERROR, "worker_ends", "reason=%s", err_name(err));
    /* Not exit(): handlers of libraries would want files and calls that are gone. */
    _exit(err == ERR_CLOSED ? EXIT_SUCCESS : EXIT_FAILURE);
}
