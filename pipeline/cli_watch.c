/*
 * Watches a batch until it has ended. The batch is the server's, durable: when the server restarts
 * the watching goes on, and when the watching ends the batch goes on.
 *
 * For people: a bar on standard error when that is a terminal, one line of result on standard
 * output, the names of what failed. With --json: a line whenever the counts have moved, the last
 * one the result.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define POLL_MS 200
#define AWAY_MS_MAX 60000 /* a server that is away longer does not just restart */
#define BAR_CELLS 30
#define FAILURES_SHOWN 20
#define SAMPLES 50 /* of the rate: the last ten seconds */

struct watch {
    struct cli *c;
    int64_t id;
    bool terminal;
    bool told_paused;
    int64_t last_seen_ms;
    int64_t last_ended; /* told as a JSON line */
    struct {
        int64_t at_ms, ended;
    } samples[SAMPLES];
    int64_t sample_count;
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

/* What it will come to: while it feeds, what the plan said, if that is more. */
static int64_t
total_of(const json_t *b)
{
    int64_t planned = json_get_int(b, "planned", 0), expected = json_get_int(b, "expected", 0);
    return json_get_bool(b, "feeding", false) && expected > planned ? expected : planned;
}

/* Objects per second over the samples; 0: not known yet. */
static double
rate_of(struct watch *w, int64_t now)
{
    int64_t at_ms = clock_mono_ms();
    w->samples[w->sample_count % SAMPLES].at_ms = at_ms;
    w->samples[w->sample_count % SAMPLES].ended = now;
    w->sample_count++;
    size_t oldest = w->sample_count > SAMPLES ? (size_t)(w->sample_count % SAMPLES) : 0;
    int64_t ms = at_ms - w->samples[oldest].at_ms;
    return ms > 0 ? (double)(now - w->samples[oldest].ended) * 1000 / (double)ms : 0;
}

static void
draw_bar(struct watch *w, const json_t *b)
{
    int64_t total = total_of(b), now = ended(b);
    double rate = rate_of(w, now);
    int full = total > 0 ? (int)(now * BAR_CELLS / total) : 0;
    char bar[BAR_CELLS + 1];
    memset(bar, '-', BAR_CELLS);
    memset(bar, '#', (size_t)(full > BAR_CELLS ? BAR_CELLS : full));
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r[%s] %" PRId64 "/%" PRId64 "  %.0f/s  ", bar, now, total, rate);
    if (rate > 0)
        cli_write_span(stderr, (int64_t)((double)(total - now) / rate));
    fprintf(stderr, "  %" PRId64 " failed  %s\033[K", json_get_int(b, "failed", 0),
            cli_str(b, "state"));
}

/* What goes on, while it does. */
static void
tell_progress(struct watch *w, const json_t *b)
{
    int64_t now = ended(b);
    bool paused = strcmp(cli_str(b, "state"), "paused") == 0;
    if (w->terminal)
        draw_bar(w, b);
    if (w->c->json && now != w->last_ended && !is_over(b))
        cli_print_json(b);
    w->last_ended = now;
    if (paused && !w->told_paused && !w->terminal)
        cli_complain("batch %" PRId64 " is paused (darkroom batch resume %" PRId64 ")", w->id,
                     w->id);
    w->told_paused = paused;
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
            tell_progress(w, b);
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

/* ---- the end ---- */

static void
print_failure(const json_t *f)
{
    printf("  failed: s3://%s/", cli_str(f, "bucket"));
    cli_print_text(json_get_str(f, "key"));
    printf("  %s: ", cli_str(f, "function"));
    cli_print_text(json_get_str(f, "reason"));
    putchar('\n');
}

enum cli_exit
cli_batch_failures(struct cli *c, const json_t *b, int64_t most)
{
    enum cli_exit code = CLI_DONE;
    int64_t id = json_get_int(b, "id", 0), failed = json_get_int(b, "failed", 0), shown = 0;
    struct buf query;
    json_t *page = NULL, *f;
    size_t i;
    if (failed == 0)
        return CLI_DONE;
    buf_init(&query, 64);
    buf_printf(&query, "id=%" PRId64, id);
    page = cli_call(c, "GET", "/_/reprocess/failures", buf_slice(&query), NULL, &code);
    json_array_foreach(json_object_get(page, "failures"), i, f)
    {
        if (shown++ >= most)
            break;
        if (c->json)
            cli_print_json(f);
        else
            print_failure(f);
    }
    if (page != NULL && !c->json && shown > most)
        printf("  ... and %" PRId64 " more: darkroom batch show %" PRId64 "\n", failed - most, id);
    json_decref(page);
    buf_fini(&query);
    return code;
}

/* Of a replay: what became of the events that it did not queue, into its JSON. */
static void
add_replay(struct cli *c, json_t *b)
{
    struct buf query;
    int status = 0;
    if (strcmp(cli_str(b, "source"), "events") != 0)
        return;
    buf_init(&query, 64);
    buf_printf(&query, "id=%" PRId64, json_get_int(b, "id", 0));
    json_t *replay = cli_try(c, "GET", "/_/replay", buf_slice(&query), &status);
    if (status == 200 && replay != NULL)
        json_object_set(b, "replay", replay);
    json_decref(replay);
    buf_fini(&query);
}

static void
print_result(const struct watch *w, const json_t *b)
{
    double seconds =
        (double)(json_get_int(b, "finished_ms", 0) - json_get_int(b, "created_ms", 0)) / 1000;
    if (w->c->json) {
        json_t *line =
            json_pack("{sI sI sI sI sI sf ss}", "id", (json_int_t)w->id, "planned",
                      json_get_int(b, "planned", 0), "done", json_get_int(b, "done", 0), "skipped",
                      json_get_int(b, "skipped", 0), "failed", json_get_int(b, "failed", 0),
                      "seconds", seconds, "state", cli_str(b, "state"));
        json_object_update_missing(line, json_object_get(b, "replay"));
        cli_print_json(line);
        json_decref(line);
        return;
    }
    printf("batch %" PRId64 " %s: %" PRId64 " planned, %" PRId64 " done, %" PRId64
           " skipped, %" PRId64 " failed, %.1f s\n",
           w->id, cli_str(b, "state"), json_get_int(b, "planned", 0), json_get_int(b, "done", 0),
           json_get_int(b, "skipped", 0), json_get_int(b, "failed", 0), seconds);
    const json_t *replay = json_object_get(b, "replay");
    if (replay != NULL)
        printf("not queued: %" PRId64 " superseded, %" PRId64 " made already, %" PRId64
               " waiting already, %" PRId64 " that no rule takes\n",
               json_get_int(replay, "superseded", 0), json_get_int(replay, "made", 0),
               json_get_int(replay, "waiting", 0), json_get_int(replay, "unmatched", 0));
}

enum cli_exit
cli_watch_batch(struct cli *c, int64_t id)
{
    enum cli_exit code = CLI_DONE, shown = CLI_DONE;
    struct watch w = {.c = c, .id = id, .terminal = isatty(STDERR_FILENO) != 0, .last_ended = -1};
    json_t *b = watch_batch(&w, &code);
    if (b == NULL)
        return code;
    add_replay(c, b);
    shown = cli_batch_failures(c, b, FAILURES_SHOWN);
    print_result(&w, b);
    if (json_get_int(b, "failed", 0) > 0 || strcmp(cli_str(b, "state"), "done") != 0)
        code = CLI_SOME_FAILED;
    json_decref(b);
    return code == CLI_DONE ? shown : code;
}
