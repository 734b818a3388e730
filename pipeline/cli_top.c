/*
 * Rates are differences of two answers of /_/status, over the server's own time between them; so a
 * frame needs two answers, and the first comes an interval after the start.
 */
#include "base/clock.h"
#include "pipeline/cli.h"
#include "pipeline/cli_screen.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#define INTERVAL_MS 1000

struct top {
    json_t *before, *now;
    double seconds; /* between them */
};

/* ---- numbers ---- */

static double
rate(const struct top *t, const char *name)
{
    const json_t *old = json_object_get(t->before, "totals");
    const json_t *new = json_object_get(t->now, "totals");
    double moved = (double)(json_get_int(new, name, 0) - json_get_int(old, name, 0));
    return moved < 0 || t->seconds <= 0 ? 0 : moved / t->seconds; /* a restart begins at 0 */
}

static int64_t
level(const struct top *t, const char *name)
{
    return json_get_int(json_object_get(t->now, "totals"), name, 0);
}

/* "12.3 MB" */
static void
put_bytes(struct buf *out, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    for (; bytes >= 1000 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        bytes /= 1000;
    buf_printf(out, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

/* "0.4 s", "12 min", "3.5 h" */
static void
put_age(struct buf *out, int64_t ms)
{
    char text[32];
    double s = (double)ms / 1000;
    if (s < 90)
        snprintf(text, sizeof text, "%.1f s", s);
    else if (s < 5400)
        snprintf(text, sizeof text, "%.0f min", s / 60);
    else
        snprintf(text, sizeof text, "%.1f h", s / 3600);
    buf_printf(out, "%10s", text);
}

/* ---- a frame ---- */

static void
put_head(struct buf *out, const struct cli *c, const struct top *t)
{
    char now[CLOCK_TEXT_MAX];
    const json_t *pool = json_object_get(t->now, "pool");
    clock_iso8601(json_get_int(t->now, "time_ms", 0), now);
    buf_printf(out, "darkroom top  %s  storage: %s  %.19sZ\n", c->endpoint,
               cli_str(t->now, "storage"), now);
    if (cli_str(pool, "problem")[0] != '\0') {
        buf_puts(out, "problem: ");
        cli_put_text(out, json_get_str(pool, "problem"));
        buf_putc(out, '\n');
    }
    double hits = rate(t, "cache_hits"), reads = hits + rate(t, "cache_misses");
    buf_printf(out, "\nrequests  %9.1f/s   PUT %.1f/s   in ", rate(t, "requests"), rate(t, "puts"));
    put_bytes(out, rate(t, "bytes_in"));
    buf_puts(out, "/s   out ");
    put_bytes(out, rate(t, "bytes_out"));
    buf_printf(out, "/s   connections %" PRId64, level(t, "connections"));
    if (reads > 0)
        buf_printf(out, "   cache %.0f %%", 100 * hits / reads);
    if (rate(t, "slowdowns") > 0)
        buf_printf(out, "   SlowDown %.1f/s", rate(t, "slowdowns"));
    buf_printf(out, "\nfunctions %9.1f/s   failed %.1f/s   processors %.2f   memory ",
               rate(t, "invocations"), rate(t, "invocations_failed"),
               rate(t, "worker_cpu_us") / 1e6);
    put_bytes(out, (double)level(t, "memory_granted_bytes"));
    buf_puts(out, " of ");
    put_bytes(out, (double)level(t, "memory_budget_bytes"));
    buf_putc(out, '\n');
}

static void
put_lanes(struct buf *out, const struct top *t)
{
    static const char *const lanes[] = {"live", "followup", "batch"};
    const json_t *queue = json_object_get(t->now, "queue");
    const json_t *ages = json_object_get(t->now, "oldest_age_ms");
    const json_t *old = json_object_get(t->before, "events");
    const json_t *new = json_object_get(t->now, "events");
    buf_printf(out, "\n%-10s %10s %10s\n", "lane", "events", "oldest");
    for (size_t i = 0; i < sizeof lanes / sizeof lanes[0]; i++) {
        buf_printf(out, "%-10s %10" PRId64 " ", lanes[i], json_get_int(queue, lanes[i], 0));
        put_age(out, json_get_int(ages, lanes[i], 0));
        buf_putc(out, '\n');
    }
    double added = (double)(json_get_int(new, "added", 0) - json_get_int(old, "added", 0));
    double acked = (double)(json_get_int(new, "acked", 0) - json_get_int(old, "acked", 0));
    buf_printf(out, "%-10s %10" PRId64 "      events in %.1f/s, done %.1f/s\n", "dead",
               json_get_int(queue, "dead", 0), added / t->seconds, acked / t->seconds);
}

static const json_t *
run_of(const struct top *t, int64_t pid)
{
    size_t i;
    json_t *run;
    json_array_foreach(json_object_get(t->now, "running"), i, run)
    {
        if (json_get_int(run, "pid", 0) == pid)
            return run;
    }
    return NULL;
}

static void
put_workers(struct buf *out, const struct top *t)
{
    size_t i;
    json_t *w;
    buf_printf(out, "\n%-8s %-10s %10s %11s %10s  %s\n", "worker", "state", "memory", "invocations",
               "since", "what");
    json_array_foreach(json_object_get(t->now, "workers"), i, w)
    {
        const json_t *run = run_of(t, json_get_int(w, "pid", -1));
        buf_printf(out, "%-8" PRId64 " %-10s %7.1f MB %11" PRId64 " ", json_get_int(w, "pid", 0),
                   cli_str(w, "state"), (double)json_get_int(w, "rss_bytes", 0) / 1e6,
                   json_get_int(w, "invocations", 0));
        if (run != NULL) {
            int64_t ms = json_get_int(t->now, "time_ms", 0) - json_get_int(run, "started_ms", 0);
            put_age(out, ms < 0 ? 0 : ms);
            buf_printf(out, "  %s %s s3://%s/", cli_str(run, "lane"), cli_str(run, "functions"),
                       cli_str(run, "bucket"));
            cli_put_text(out, json_get_str(run, "key"));
        }
        buf_putc(out, '\n');
    }
}

static void
frame(const struct cli *c, const struct top *t, struct buf *out)
{
    put_head(out, c, t);
    put_lanes(out, t);
    put_workers(out, t);
}

/* The answer with its rates: one line. */
static void
print_line(const struct top *t)
{
    static const char *const names[] = {
        "requests",     "puts",        "bytes_in",           "bytes_out", "cache_hits",
        "cache_misses", "invocations", "invocations_failed", "slowdowns"};
    json_t *rates = json_object();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        json_object_set_new(rates, names[i], json_real(rate(t, names[i])));
    json_object_set_new(rates, "processors", json_real(rate(t, "worker_cpu_us") / 1e6));
    json_object_set_new(t->now, "per_second", rates);
    cli_print_json(t->now);
    fflush(stdout);
}

/* ---- the loop ---- */

static void
shift(struct top *t, json_t *now)
{
    json_decref(t->before);
    t->before = t->now;
    t->now = now;
    t->seconds =
        (double)(json_get_int(now, "time_ms", 0) - json_get_int(t->before, "time_ms", 0)) / 1000;
    if (t->seconds <= 0)
        t->seconds = (double)INTERVAL_MS / 1000;
}

static void
pause_plain(void)
{
    poll(NULL, 0, INTERVAL_MS);
}

/* Lines or one frame, on whatever standard output is. */
static enum cli_exit
plain(struct cli *c, struct top *t, bool once)
{
    enum cli_exit code = CLI_DONE;
    do {
        pause_plain();
        json_t *now = cli_call(c, "GET", "/_/status", SLICE_NONE, NULL, &code);
        if (now == NULL)
            break;
        shift(t, now);
        if (c->json) {
            print_line(t);
        } else {
            struct buf text;
            buf_init(&text, CLI_SCREEN_BYTES_MAX);
            frame(c, t, &text);
            fwrite(text.p, 1, text.n, stdout);
            buf_fini(&text);
        }
    } while (!once && ferror(stdout) == 0);
    return code;
}

static void
draw(const struct cli *c, const struct top *t, int status)
{
    struct buf text;
    buf_init(&text, CLI_SCREEN_BYTES_MAX);
    if (status == 0)
        buf_printf(&text, "cannot reach %s; asking again (q ends)\n", c->endpoint);
    else if (status != 200)
        buf_printf(&text, "the server answered %d; asking again (q ends)\n", status);
    else
        frame(c, t, &text);
    cli_screen_draw(buf_slice(&text));
    buf_fini(&text);
}

static enum cli_exit
live(struct cli *c, struct top *t)
{
    int64_t next_ms = clock_mono_ms() + INTERVAL_MS;
    int status = 200;
    cli_screen_begin();
    cli_screen_draw(SLICE_LIT("darkroom top: measuring for a second (q ends)\n"));
    for (;;) {
        int64_t left = next_ms - clock_mono_ms();
        if (left > 0) {
            if (!cli_screen_wait(left))
                break;
            if (clock_mono_ms() < next_ms && t->before != NULL)
                draw(c, t, status); /* the window has changed */
            continue;
        }
        next_ms = clock_mono_ms() + INTERVAL_MS;
        json_t *now = cli_try(c, "GET", "/_/status", SLICE_NONE, &status);
        if (now != NULL && status == 200)
            shift(t, now);
        else
            json_decref(now);
        draw(c, t, status);
    }
    cli_screen_end();
    return CLI_DONE;
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    (void)argc, (void)argv;
    struct top t = {.now = cli_call(c, "GET", "/_/status", SLICE_NONE, NULL, &code)};
    if (t.now == NULL)
        return code;
    bool once = cli_flag_on(c, "once") || (!c->json && !cli_screen_possible());
    code = once || c->json ? plain(c, &t, once) : live(c, &t);
    json_decref(t.before);
    json_decref(t.now);
    return code;
}

static const struct cli_flag flags[] = {
    {.name = "once", .help = "one frame, then end; also when the output is no terminal"},
    {0},
};

static const struct cli_verb verbs[] = {
    {.arguments = "",
     .summary = "lanes, workers and rates, live",
     .flags = flags,
     .details = "Redrawn every second; q or Ctrl-C ends it. With --json one object a second: what "
                "status says, and per_second.",
     .run = run},
    {0},
};

const struct cli_command cli_command_top = {
    .name = "top", .summary = "lanes, workers and rates, live", .verbs = verbs};
