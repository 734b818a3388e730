/*
 * Starts a batch in the server and watches it. The batch is the server's, durable: when the server
 * restarts the watching goes on, and when the watching ends the batch goes on.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define POLL_MS 200
#define AWAY_MS_MAX 60000 /* a server that is away longer does not just restart */
#define BAR_CELLS 30

struct watch {
    struct cli *c;
    int64_t id;
    bool terminal;
    int64_t started_ms;
    int64_t last_seen_ms;
};

static int64_t
ended(const json_t *b)
{
    return json_get_int(b, "done", 0) + json_get_int(b, "skipped", 0) +
           json_get_int(b, "failed", 0);
}

static bool
is_over(const json_t *b)
{
    const char *state = cli_str(b, "state");
    return strcmp(state, "done") == 0 || strcmp(state, "canceled") == 0;
}

/* Standard error, so that the output stays clean. */
static void
draw_bar(const struct watch *w, const json_t *b)
{
    int64_t planned = json_get_int(b, "planned", 0);
    int64_t now = ended(b);
    double seconds = (double)(clock_mono_ms() - w->started_ms) / 1000;
    int full = planned > 0 ? (int)(now * BAR_CELLS / planned) : 0;
    char bar[BAR_CELLS + 1];
    memset(bar, '-', BAR_CELLS);
    memset(bar, '#', (size_t)(full > BAR_CELLS ? BAR_CELLS : full));
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r[%s] %" PRId64 "/%" PRId64 "%s  %.0f/s  %" PRId64 " failed  %s   ", bar, now,
            planned, strcmp(cli_str(b, "state"), "feeding") == 0 ? "+" : "",
            seconds > 0 ? (double)now / seconds : 0, json_get_int(b, "failed", 0),
            cli_str(b, "state"));
}

/* The batch once it is over; NULL: the server did not come back, or knows no such batch. */
static json_t *
watch_batch(struct watch *w, enum cli_exit *code)
{
    struct buf query;
    buf_init(&query, 64);
    buf_printf(&query, "id=%" PRId64, w->id);
    json_t *b = NULL;
    *code = CLI_DONE;
    w->last_seen_ms = clock_mono_ms();
    for (;;) {
        int status = 0;
        b = cli_try(w->c, "GET", "/_/reprocess", buf_slice(&query), &status);
        if (status == 200 && b != NULL) {
            w->last_seen_ms = clock_mono_ms();
            if (w->terminal)
                draw_bar(w, b);
            if (is_over(b))
                break;
        } else if (status != 0 && status != 503) {
            cli_complain("batch %" PRId64 ": %s (the server answered %d)", w->id,
                         cli_str(b, "message"), status);
            *code = CLI_SOME_FAILED;
        } else if (clock_mono_ms() - w->last_seen_ms > AWAY_MS_MAX) {
            cli_complain("the server is away; batch %" PRId64 " goes on when it is back "
                         "(darkroom reprocess --attach %" PRId64 ")",
                         w->id, w->id);
            *code = CLI_UNREACHABLE;
        }
        json_decref(b);
        b = NULL;
        if (*code != CLI_DONE)
            break;
        poll(NULL, 0, POLL_MS);
    }
    if (w->terminal)
        fputc('\n', stderr);
    buf_fini(&query);
    return b;
}

static enum cli_exit
report(const struct watch *w, const json_t *b)
{
    double seconds = (double)(clock_mono_ms() - w->started_ms) / 1000;
    int64_t failed = json_get_int(b, "failed", 0);
    if (w->c->json) {
        json_t *line = json_pack("{sI sI sI sI sI sf ss}", "id", (json_int_t)w->id, "planned",
                                 json_get_int(b, "planned", 0), "done", json_get_int(b, "done", 0),
                                 "skipped", json_get_int(b, "skipped", 0), "failed", failed,
                                 "seconds", seconds, "state", cli_str(b, "state"));
        cli_print_json(line);
        json_decref(line);
    } else {
        printf("batch %" PRId64 " %s: %" PRId64 " planned, %" PRId64 " done, %" PRId64
               " skipped, %" PRId64 " failed, %.1f s\n",
               w->id, cli_str(b, "state"), json_get_int(b, "planned", 0),
               json_get_int(b, "done", 0), json_get_int(b, "skipped", 0), failed, seconds);
    }
    return failed == 0 && strcmp(cli_str(b, "state"), "done") == 0 ? CLI_DONE : CLI_SOME_FAILED;
}

static int64_t
start_batch(struct cli *c, const char *target, enum cli_exit *code)
{
    struct slice bucket, prefix;
    const char *function = cli_flag_str(c, "function");
    cli_s3(target, &bucket, &prefix);
    json_t *body = json_pack("{ss# ss# ss}", "bucket", bucket.p, (int)bucket.n, "prefix",
                             prefix.p == NULL ? "" : prefix.p, (int)prefix.n, "function",
                             function != NULL ? function : "");
    json_t *answer = cli_call(c, "POST", "/_/reprocess", SLICE_NONE, body, code);
    int64_t id = json_get_int(answer, "id", 0);
    json_decref(body);
    json_decref(answer);
    return id;
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    struct watch w = {
        .c = c, .started_ms = clock_mono_ms(), .terminal = isatty(STDERR_FILENO) != 0};
    if ((argc > 0) == cli_flag_on(c, "attach"))
        return cli_usage(c, "needs s3://BUCKET[/PREFIX] or --attach ID");
    w.id = cli_flag_int(c, "attach", 0);
    code = argc > 0 ? CLI_DONE : cli_connect(c);
    if (argc > 0)
        w.id = start_batch(c, argv[0], &code);
    if (code != CLI_DONE)
        return code;
    if (cli_flag_on(c, "no-wait")) {
        printf(c->json ? "{\"id\":%" PRId64 "}\n" : "batch %" PRId64 " accepted\n", w.id);
        return CLI_DONE;
    }
    json_t *b = watch_batch(&w, &code);
    if (b != NULL)
        code = report(&w, b);
    json_decref(b);
    return code;
}

static const struct cli_flag flags[] = {
    {"function", "NAME", "this function only", CLI_TEXT, 0, 0},
    {"no-wait", NULL, "return when the batch is accepted", CLI_TEXT, 0, 0},
    {"attach", "ID", "watch a batch that was started before", CLI_INT, 1, INT64_MAX},
    {0},
};

static const struct cli_verb verbs[] = {
    {.arguments = "[s3://BUCKET[/PREFIX]]",
     .summary = "make thumbnails and items again, at batch priority",
     .flags = flags,
     .details = "The batch is the server's: it survives a restart, and watching it goes on over "
                "one.",
     .example = "reprocess s3://photos/2024/ --function thumbnail",
     .run = run},
    {0},
};

const struct cli_command cli_command_reprocess = {
    .name = "reprocess", .summary = "make thumbnails and items again", .verbs = verbs};
