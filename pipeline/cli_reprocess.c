/*
 * Plans a batch, starts it in the server and watches it. The plan is added up here from pieces that
 * the server counts, so that neither keeps anything of it.
 */
#include "base/chk.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* ---- what is asked for, the same for plan and batch ---- */

struct spec {
    struct slice bucket, prefix;
    const char *function, *preset; /* "": any */
    char select[64];
    int64_t since_ms, rate;
};

static void
spec_read(const struct cli *c, const char *target, struct spec *s)
{
    static const char *const words[] = {"all", "stale", "missing", "failed"};
    const char *function = cli_flag_str(c, "function"), *preset = cli_flag_str(c, "preset");
    struct buf select;
    *s = (struct spec){.function = function != NULL ? function : "",
                       .preset = preset != NULL ? preset : "",
                       .since_ms = cli_flag_time(c, "since", 0),
                       .rate = cli_flag_int(c, "rate", 0)};
    cli_s3(target, &s->bucket, &s->prefix);
    if (s->prefix.p == NULL)
        s->prefix = SLICE_LIT("");
    buf_init(&select, sizeof s->select - 1);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (cli_flag_on(c, words[i]))
            buf_printf(&select, "%s%s", select.n > 0 ? "," : "", words[i]);
    }
    if (select.n == 0)
        buf_puts(&select, "stale,missing");
    snprintf(s->select, sizeof s->select, "%.*s", SLICE_FMT(buf_slice(&select)));
    buf_fini(&select);
}

/* ---- the plan ---- */

struct plan {
    int64_t seen, planned, object_us, samples, workers;
    int64_t stale, missing, failed, waiting, skipped, current, other;
};

static void
plan_add(struct plan *p, const json_t *page)
{
    p->seen += json_get_int(page, "seen", 0);
    p->planned += json_get_int(page, "planned", 0);
    p->stale += json_get_int(page, "stale", 0);
    p->missing += json_get_int(page, "missing", 0);
    p->failed += json_get_int(page, "failed", 0);
    p->waiting += json_get_int(page, "waiting", 0);
    p->skipped += json_get_int(page, "skipped", 0);
    p->current += json_get_int(page, "current", 0);
    p->other += json_get_int(page, "other", 0);
    p->object_us = json_get_int(page, "object_us", 0);
    p->samples = json_get_int(page, "samples", 0);
    p->workers = json_get_int(page, "workers", 0);
}

static enum cli_exit
plan_ask(struct cli *c, const struct spec *s, struct plan *p)
{
    enum cli_exit code = CLI_DONE;
    bool terminal = isatty(STDERR_FILENO) != 0, more = true;
    struct buf query, after;
    *p = (struct plan){0};
    buf_init(&query, 16u << 10);
    buf_init(&after, 4u << 10);
    while (more) {
        char since[24];
        snprintf(since, sizeof since, "%" PRId64, s->since_ms);
        buf_reset(&query);
        remote_query_add(&query, "bucket", s->bucket);
        remote_query_add(&query, "prefix", s->prefix);
        remote_query_add(&query, "function", slice_str(s->function));
        remote_query_add(&query, "preset", slice_str(s->preset));
        remote_query_add(&query, "select", slice_str(s->select));
        remote_query_add(&query, "since_ms", slice_str(since));
        if (after.n > 0)
            remote_query_add(&query, "after", buf_slice(&after));
        json_t *page = cli_call(c, "GET", "/_/reprocess/plan", buf_slice(&query), NULL, &code);
        plan_add(p, page);
        buf_reset(&after);
        buf_put_slice(&after, json_get_str(page, "after"));
        more = page != NULL && after.n > 0;
        json_decref(page);
        if (terminal)
            fprintf(stderr, "\rplanning: %" PRId64 " objects", p->seen);
    }
    if (terminal)
        fputs("\r\033[K", stderr);
    buf_fini(&after);
    buf_fini(&query);
    return code;
}

int64_t
cli_stale_objects(struct cli *c, struct slice bucket, const char *function, enum cli_exit *code)
{
    struct spec s = {.bucket = bucket,
                     .prefix = SLICE_LIT(""),
                     .function = function,
                     .preset = "",
                     .select = "stale,missing"};
    struct plan p;
    *code = plan_ask(c, &s, &p);
    return p.planned;
}

/* Seconds that the workers need, or the rate allows; negative: nobody can tell. */
static int64_t
estimate(const struct spec *s, const struct plan *p)
{
    int64_t by_rate = s->rate > 0 ? p->planned / s->rate : 0;
    if (p->planned == 0)
        return 0;
    if (p->samples == 0 || p->workers == 0)
        return s->rate > 0 ? by_rate : -1;
    int64_t by_work = (int64_t)((double)p->planned * (double)p->object_us / 1e6) / p->workers;
    return by_work > by_rate ? by_work : by_rate;
}

static void
print_count(const char *what, int64_t count, const char *meaning)
{
    if (count > 0)
        printf("  %9" PRId64 " %-8s %s\n", count, what, meaning);
}

static void
print_plan(const struct spec *s, const struct plan *p)
{
    int64_t seconds = estimate(s, p);
    printf("%" PRId64 " objects below s3://%.*s/", p->seen, SLICE_FMT(s->bucket));
    cli_print_text(s->prefix);
    putchar('\n');
    print_count("stale", p->stale, "made of another version or with another configuration");
    print_count("missing", p->missing, "not there");
    print_count("failed", p->failed, "could not be made (--failed tries them again)");
    print_count("waiting", p->waiting, "in the queue already");
    print_count("skipped", p->skipped, "there is nothing to make");
    print_count("current", p->current, "as they should be");
    print_count("other", p->other, "no rule asks for them, or they are older");
    printf("%" PRId64 " to be made", p->planned);
    if (p->planned > 0 && seconds >= 0) {
        fputs(", about ", stdout);
        cli_write_span(stdout, seconds);
        if (p->samples > 0)
            printf(" (%" PRId64 " ms each as measured over %" PRId64 " objects, %" PRId64
                   " workers, nothing else to do)",
                   p->object_us / 1000, p->samples, p->workers);
    } else if (p->planned > 0) {
        fputs("; how long that takes is not known: nothing was measured yet", stdout);
    }
    putchar('\n');
    fflush(stdout);
}

static void
print_plan_json(const struct spec *s, const struct plan *p)
{
    json_t *line = json_pack("{s{sI sI sI sI sI sI sI sI sI}}", "plan", "seen", (json_int_t)p->seen,
                             "planned", (json_int_t)p->planned, "stale", (json_int_t)p->stale,
                             "missing", (json_int_t)p->missing, "failed", (json_int_t)p->failed,
                             "waiting", (json_int_t)p->waiting, "skipped", (json_int_t)p->skipped,
                             "current", (json_int_t)p->current, "other", (json_int_t)p->other);
    int64_t seconds = estimate(s, p);
    json_object_set_new(json_object_get(line, "plan"), "estimated_seconds",
                        seconds >= 0 ? json_integer(seconds) : json_null());
    cli_print_json(line);
    json_decref(line);
}

/* ---- the batch ---- */

static int64_t
start_batch(struct cli *c, const struct spec *s, int64_t expected, enum cli_exit *code)
{
    json_t *body =
        json_pack("{ss# ss# ss ss ss sI sI sI}", "bucket", s->bucket.p, (int)s->bucket.n, "prefix",
                  s->prefix.p, (int)s->prefix.n, "function", s->function, "preset", s->preset,
                  "select", s->select, "since_ms", (json_int_t)s->since_ms, "rate",
                  (json_int_t)s->rate, "expected", (json_int_t)expected);
    json_t *answer = cli_call(c, "POST", "/_/reprocess", SLICE_NONE, body, code);
    int64_t id = json_get_int(answer, "id", 0);
    json_decref(body);
    json_decref(answer);
    return id;
}

static enum cli_exit
nothing_to_do(const struct cli *c)
{
    if (c->json)
        puts("{\"planned\":0,\"done\":0,\"skipped\":0,\"failed\":0,\"seconds\":0.0,"
             "\"state\":\"done\"}");
    return CLI_DONE;
}

static enum cli_exit
reprocess(struct cli *c, const char *target)
{
    struct spec spec;
    struct plan plan;
    spec_read(c, target, &spec);
    enum cli_exit code = plan_ask(c, &spec, &plan);
    if (code != CLI_DONE)
        return code;
    if (c->json)
        print_plan_json(&spec, &plan);
    else
        print_plan(&spec, &plan);
    if (cli_flag_on(c, "dry-run"))
        return CLI_DONE;
    if (plan.planned == 0)
        return nothing_to_do(c);
    int64_t id = start_batch(c, &spec, plan.planned, &code);
    if (code != CLI_DONE)
        return code;
    if (!cli_flag_on(c, "no-wait"))
        return cli_watch_batch(c, id);
    printf(c->json ? "{\"id\":%" PRId64 "}\n" : "batch %" PRId64 " accepted\n", id);
    return CLI_DONE;
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    if ((argc > 0) == cli_flag_on(c, "attach"))
        return cli_usage(c, "needs s3://BUCKET[/PREFIX] or --attach ID");
    if (cli_flag_on(c, "wait") && cli_flag_on(c, "no-wait"))
        return cli_usage(c, "--wait and --no-wait exclude each other");
    if (argc > 0)
        return reprocess(c, argv[0]);
    enum cli_exit code = cli_connect(c);
    return code == CLI_DONE ? cli_watch_batch(c, cli_flag_int(c, "attach", 0)) : code;
}

static const struct cli_flag flags[] = {
    {"function", "FUNCTION", "this function only", CLI_TEXT, 0, 0},
    {"preset", "NAME", "what this preset lacks only; \"small\" or one format, \"small.avif\"",
     CLI_TEXT, 0, 0},
    {"stale", NULL, "made of another version, preset or code; default, with --missing", CLI_TEXT, 0,
     0},
    {"missing", NULL, "not there, and nothing on its way", CLI_TEXT, 0, 0},
    {"failed", NULL, "what could not be made", CLI_TEXT, 0, 0},
    {"all", NULL, "everything, current or not", CLI_TEXT, 0, 0},
    {"since", "TIME", "objects stored since then", CLI_TIME, 0, 0},
    {"rate", "N/s", "not more objects than that, also over a restart", CLI_RATE, 1, 100000},
    {"dry-run", NULL, "show the plan, change nothing", CLI_TEXT, 0, 0},
    {"wait", NULL, "return when the batch has ended (default)", CLI_TEXT, 0, 0},
    {"no-wait", NULL, "return when the batch is accepted", CLI_TEXT, 0, 0},
    {"attach", "ID", "watch a batch that was started before", CLI_INT, 1, INT64_MAX},
    {0},
};

static const struct cli_verb verbs[] = {
    {.arguments = "[s3://BUCKET[/PREFIX]]",
     .summary = "make thumbnails and items again, at batch priority",
     .flags = flags,
     .details =
         "First comes the plan: what the objects below the prefix are, how many would be "
         "made, and how long that takes by what was measured. Without a selection that is "
         "what is stale or missing, so a second run has nothing to do. Current thumbnails "
         "are served until the new ones replace them, in one step. One decode makes all "
         "presets of a pass, so with --preset the objects are chosen by that preset, and the "
         "pass it belongs to is made: the first formats together, or the later ones alone. "
         "The batch is the server's: it survives a restart, and watching it goes on over "
         "one. Exit code 1: some failed, or it was canceled.",
     .example = "reprocess s3://photos/2024/ --preset small --rate 50/s",
     .run = run},
    {0},
};

const struct cli_command cli_command_reprocess = {
    .name = "reprocess", .summary = "make thumbnails and items again", .verbs = verbs};
