/*
 * darkroomd: arguments, signals and the supervisor, nothing else. SIGTERM and SIGINT stop it;
 * SIGHUP makes it open the log file anew and read the TLS certificate again.
 *
 * Exit codes: 0 after SIGTERM or SIGINT, 1 could not start or serve, 2 wrong arguments or settings.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "base/supervisor.h"
#include "pipeline/restore.h"
#include "pipeline/server.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define EXIT_START 1
#define EXIT_USAGE 2
#define WHY_MAX 1024
#define PRINT_MAX (64u << 10)

static const char usage[] =
    "usage: darkroomd [--config FILE] [--data DIR] [--listen HOST:PORT] [--bare]\n"
    "                 [--sandbox require|auto] [--public-thumbnails] [--log-level LEVEL]\n"
    "                 [--print-config] [--version] [--help]\n"
    "       darkroomd --restore BACKUP --data NEWDIR\n"
    "\n"
    "Serves an S3-compatible endpoint whose uploads become thumbnails and table items.\n"
    "\n"
    "  --config FILE        JSON settings; the options below override it\n"
    "  --data DIR           data directory (default ./darkroom-data)\n"
    "  --listen HOST:PORT   address to listen on (default 127.0.0.1:9000; port 0: any free one)\n"
    "  --bare               do not make the default buckets, table and rules at the first start\n"
    "  --sandbox MODE       require: no worker without the whole sandbox; auto: as the kernel can\n"
    "  --public-thumbnails  let anyone GET photos-derived although the listener is not loopback\n"
    "  --log-level LEVEL    debug, info, warn or error (default info)\n"
    "  --print-config       print every setting with its value, default, unit and help, and exit\n"
    "  --restore BACKUP     make the data directory (empty or new) out of a backup, and exit\n";

struct option_desc {
    const char *name;
    enum conf_id setting;
    bool takes_value;
};

static const struct option_desc options[] = {
    {"--data", CONF_DATA, true},
    {"--listen", CONF_LISTEN, true},
    {"--bare", CONF_BARE, false},
    {"--sandbox", CONF_SANDBOX, true},
    {"--public-thumbnails", CONF_PUBLIC_THUMBNAILS, false},
    {"--log-level", CONF_LOG_LEVEL, true},
};

struct arguments {
    const char *config;
    const char *restore; /* from this backup */
    bool print_config;
};

/* "--name value" and "--name=value". Moves *at behind the value; NULL when it is missing. */
static const char *
option_value(int argc, char **argv, int *at, const char *name)
{
    const char *equals = argv[*at] + strlen(name);
    if (*equals == '=')
        return equals + 1;
    return *at + 1 < argc ? argv[++*at] : NULL;
}

static bool
option_is(const char *arg, const char *name)
{
    size_t n = strlen(name);
    return strncmp(arg, name, n) == 0 && (arg[n] == '\0' || arg[n] == '=');
}

static int
set_option(struct conf *conf, int argc, char **argv, int *at, struct buf *why)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (!option_is(argv[*at], options[i].name))
            continue;
        const char *value =
            options[i].takes_value ? option_value(argc, argv, at, options[i].name) : "true";
        if (value != NULL)
            return conf_set(conf, options[i].setting, value, why);
        buf_printf(why, "%s needs a value", options[i].name);
        return ERR_INVALID;
    }
    buf_printf(why, "unknown argument %s (try --help)", argv[*at]);
    return ERR_INVALID;
}

/* Those of the command line alone: 1 taken, 0 not one, or an error. */
static int
take_own(struct arguments *a, int argc, char **argv, int *at, struct buf *why)
{
    if (strcmp(argv[*at], "--print-config") == 0) {
        a->print_config = true;
    } else if (option_is(argv[*at], "--config")) {
        option_value(argc, argv, at, "--config");
    } else if (option_is(argv[*at], "--restore")) {
        a->restore = option_value(argc, argv, at, "--restore");
        if (a->restore == NULL) {
            buf_puts(why, "--restore needs a value");
            return ERR_INVALID;
        }
    } else {
        return 0;
    }
    return 1;
}

/* Twice over the arguments: first for --config, then the options that go before the file. */
static int
read_arguments(int argc, char **argv, struct arguments *a, struct conf *conf,
               struct accounts *accounts, struct buf *why)
{
    int err = ERR_NONE;
    for (int i = 1; i < argc; i++) {
        if (option_is(argv[i], "--config") &&
            (a->config = option_value(argc, argv, &i, "--config")) == NULL) {
            buf_puts(why, "--config needs a value");
            return ERR_INVALID;
        }
    }
    if (a->config != NULL)
        err = conf_load(conf, a->config, accounts, why);
    for (int i = 1; i < argc && err == ERR_NONE; i++) {
        err = take_own(a, argc, argv, &i, why);
        if (err == 0)
            err = set_option(conf, argc, argv, &i, why);
        err = err > 0 ? ERR_NONE : err;
    }
    return err;
}

/* Threads inherit the mask, so only main() sees these signals. `stops` gets those that end us. */
static void
block_signals(sigset_t *stops)
{
    sigset_t all;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(stops);
    sigaddset(stops, SIGTERM);
    sigaddset(stops, SIGINT);
    all = *stops;
    sigaddset(&all, SIGHUP);
    CHK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
}

/* The next signal, or 0 when it is time to tell the watchdog. */
static int
wait_signal(const sigset_t *signals)
{
    int64_t half_ms = supervisor_watchdog_ms() / 2;
    struct timespec half = {.tv_sec = half_ms / 1000, .tv_nsec = half_ms % 1000 * 1000000};
    int got = half_ms > 0 ? sigtimedwait(signals, NULL, &half) : sigwaitinfo(signals, NULL);
    return got < 0 ? 0 : got;
}

static void
serve_until_stopped(struct server *server, const sigset_t *stops)
{
    sigset_t all = *stops;
    int got;
    sigaddset(&all, SIGHUP);
    supervisor_tell("READY=1");
    while ((got = wait_signal(&all)) == 0 || got == SIGHUP) {
        if (got == SIGHUP) {
            supervisor_tell_reloading();
            server_reload(server);
            supervisor_tell("READY=1");
        } else if (supervisor_watchdog_ms() > 0) {
            server_pulse(server);
            supervisor_tell("WATCHDOG=1");
        }
    }
    supervisor_tell("STOPPING=1");
    log_line(LOG_INFO, "stopping", "signal=%d", got);
}

/* A second signal while stopping: stop at once. */
static bool
signal_pending(void *arg)
{
    struct timespec none = {0};
    return sigtimedwait(arg, NULL, &none) > 0;
}

/* Connections, blobs on their way in and out, workers: as many descriptors as we may have. */
static void
raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int
serve(const struct conf *conf, struct accounts *accounts, struct buf *why)
{
    struct server *server = NULL;
    sigset_t signals;
    int passed_fd;
    block_signals(&signals);
    raise_file_limit();
    int err = supervisor_begin(&passed_fd, why);
    if (err == ERR_NONE)
        err = server_open(&server, conf, accounts, passed_fd, why);
    if (err != ERR_NONE)
        return err;
    err = server_start(server, why);
    if (err == ERR_NONE) {
        printf("listening on %s\n", server_url(server));
        fflush(stdout);
        serve_until_stopped(server, &signals);
    }
    server_stop(server, signal_pending, &signals);
    server_free(&server);
    return err;
}

static int
print_settings(const struct conf *conf)
{
    struct buf text;
    buf_init(&text, PRINT_MAX);
    conf_print(conf, &text);
    fwrite(text.p, 1, text.n, stdout);
    buf_fini(&text);
    return 0;
}

static int
restore(const struct conf *conf, const char *backup, struct buf *why)
{
    struct buf report;
    buf_init(&report, WHY_MAX);
    int err = restore_run(backup, conf_str(conf, CONF_DATA), &report, why);
    if (err == ERR_NONE)
        printf("%.*s\n", SLICE_FMT(buf_slice(&report)));
    buf_fini(&report);
    return err == ERR_NONE ? 0 : EXIT_START;
}

static int
run(int argc, char **argv, struct conf *conf, struct accounts *accounts, struct buf *why)
{
    struct arguments a = {0};
    enum log_level level = LOG_INFO;
    if (read_arguments(argc, argv, &a, conf, accounts, why) != ERR_NONE)
        return EXIT_USAGE;
    if (a.print_config)
        return print_settings(conf);
    CHK(log_level_parse(conf_str(conf, CONF_LOG_LEVEL), &level) == ERR_NONE);
    log_set_json(strcmp(conf_str(conf, CONF_LOG_FORMAT), "json") == 0);
    log_set_level(level);
    const char *log_file = conf_str(conf, CONF_LOG_FILE);
    int failed = log_file[0] != '\0' && a.restore == NULL ? log_to_file(log_file) : 0;
    if (failed != 0) {
        buf_printf(why, "log.file: %s: %s", log_file, strerror(failed));
        return EXIT_START;
    }
    if (a.restore != NULL)
        return restore(conf, a.restore, why);
    int err = serve(conf, accounts, why);
    if (err == ERR_NONE)
        return 0;
    return err == ERR_INVALID ? EXIT_USAGE : EXIT_START;
}

int
main(int argc, char **argv)
{
    struct buf why;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return fputs(usage, stdout) < 0;
        if (strcmp(argv[i], "--version") == 0)
            return puts("darkroomd " DARKROOM_VERSION) < 0;
    }
    struct conf *conf = conf_new();
    struct accounts *accounts = accounts_new();
    buf_init(&why, WHY_MAX);
    int code = run(argc, argv, conf, accounts, &why);
    if (code != 0)
        fprintf(stderr, "darkroomd: %s\n", why.n > 0 ? why.p : "cannot start");
    buf_fini(&why);
    accounts_free(&accounts);
    conf_free(&conf);
    return code;
}
