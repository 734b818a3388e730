/*
 * events: the log of what happened to objects; replaying it is a batch of the server's.
 */
#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

#define QUERY_MAX 8192

/* ---- which ---- */

static void
add_number(struct buf *query, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    remote_query_add(query, name, slice_str(text));
}

/* "17-40", "17-", "-40" or "17". */
static bool
seq_parse(const char *text, uint64_t *first, uint64_t *last)
{
    struct slice rest, from = slice_cut(slice_str(text), '-', &rest);
    *first = 0;
    *last = INT64_MAX;
    if (from.n == 0 && rest.n == 0)
        return false;
    if ((from.n > 0 && slice_to_u64(from, first) != ERR_NONE) ||
        (rest.n > 0 && slice_to_u64(rest, last) != ERR_NONE))
        return false;
    if (rest.p == NULL)
        *last = *first;
    return *first <= *last && *last <= INT64_MAX;
}

struct range {
    int64_t first, last; /* numbers */
    int64_t since_ms, until_ms;
    struct slice bucket, prefix;
};

/* CLI_USAGE: complained. */
static enum cli_exit
range_read(struct cli *c, struct range *r)
{
    uint64_t first = 0, last = INT64_MAX;
    const char *below = cli_flag_str(c, "prefix"), *seq = cli_flag_str(c, "seq");
    *r = (struct range){.since_ms = cli_flag_time(c, "since", 0),
                        .until_ms = cli_flag_time(c, "until", INT64_MAX)};
    if (below != NULL && !cli_is_s3(below))
        return cli_usage(c, "--prefix needs s3://BUCKET[/PREFIX], not \"%s\"", below);
    if (seq != NULL && !seq_parse(seq, &first, &last))
        return cli_usage(c, "--seq needs A-B, A- or -B, numbers of events list, not \"%s\"", seq);
    if (below != NULL)
        cli_s3(below, &r->bucket, &r->prefix);
    r->first = (int64_t)first;
    r->last = (int64_t)last;
    return CLI_DONE;
}

/* ---- list ---- */

static void
print_row(const json_t *e)
{
    printf("%-10" PRId64 " %s  %-26s %-20s ", json_get_int(e, "seq", 0), cli_str(e, "time"),
           json_get_bool(e, "restored", false) ? "(an older version again)" : cli_str(e, "event"),
           cli_str(e, "who"));
    if (json_get_int(e, "size", -1) >= 0)
        cli_print_bytes(json_get_int(e, "size", 0));
    else
        putchar('-');
    printf("  s3://%s/", cli_str(e, "bucket"));
    cli_print_text(json_get_str(e, "key"));
    putchar('\n');
}

static void
query_page(const struct range *r, int64_t after, struct buf *query)
{
    if (r->bucket.n > 0)
        remote_query_add(query, "bucket", r->bucket);
    if (r->prefix.n > 0)
        remote_query_add(query, "prefix", r->prefix);
    add_number(query, "since_ms", r->since_ms);
    add_number(query, "until_ms", r->until_ms);
    add_number(query, "after", after);
    add_number(query, "until", r->last);
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    struct range range;
    enum cli_exit code = range_read(c, &range);
    int64_t next = range.first > 0 ? range.first - 1 : 0, total = 0;
    (void)argc, (void)argv;
    while (code == CLI_DONE) {
        struct buf query;
        size_t i;
        json_t *e;
        buf_init(&query, QUERY_MAX);
        query_page(&range, next, &query);
        json_t *page = cli_call(c, "GET", "/_/event-log", buf_slice(&query), NULL, &code);
        buf_fini(&query);
        if (page == NULL)
            return code;
        json_array_foreach(json_object_get(page, "events"), i, e)
        {
            if (!c->json && total++ == 0)
                printf("%-10s %-24s  %-26s %-20s %s\n", "seq", "time", "event", "who",
                       "size and object");
            if (c->json)
                cli_print_json(e);
            else
                print_row(e);
        }
        next = json_get_int(page, "next", 0);
        json_decref(page);
        if (next == 0)
            break;
    }
    if (code == CLI_DONE && !c->json && total == 0)
        puts("no such events");
    return code;
}

/* ---- replay ---- */

static enum cli_exit
plan(struct cli *c, const struct range *range)
{
    static const char *const names[] = {"seen",      "planned", "superseded",
                                        "unmatched", "waiting", "made"};
    int64_t counts[sizeof names / sizeof names[0]] = {0};
    int64_t next = range->first > 0 ? range->first - 1 : 0;
    enum cli_exit code = CLI_DONE;
    do {
        struct buf query;
        buf_init(&query, QUERY_MAX);
        query_page(range, next, &query);
        if (cli_flag_on(c, "force"))
            remote_query_add(&query, "force", SLICE_LIT("1"));
        json_t *page = cli_call(c, "GET", "/_/replay/plan", buf_slice(&query), NULL, &code);
        buf_fini(&query);
        if (page == NULL)
            return code;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            counts[i] += json_get_int(page, names[i], 0);
        next = json_get_int(page, "next", 0);
        json_decref(page);
    } while (next != 0);
    json_t *line = json_pack("{sb}", "dry_run", 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        json_object_set_new(line, names[i], json_integer((json_int_t)counts[i]));
    if (c->json)
        cli_print_json(line);
    else
        printf("%" PRId64 " events: %" PRId64 " would be queued, %" PRId64 " superseded, %" PRId64
               " made already, %" PRId64 " waiting already, %" PRId64 " that no rule takes\n",
               counts[0], counts[1], counts[2], counts[5], counts[4], counts[3]);
    json_decref(line);
    return CLI_DONE;
}

static enum cli_exit
replay(struct cli *c, int argc, char **argv)
{
    struct range range;
    (void)argc, (void)argv;
    enum cli_exit code = range_read(c, &range);
    if (code != CLI_DONE)
        return code;
    if (!cli_flag_on(c, "since") && !cli_flag_on(c, "until") && !cli_flag_on(c, "prefix") &&
        !cli_flag_on(c, "seq"))
        return cli_usage(c, "needs --since, --until, --prefix or --seq");
    if (cli_flag_on(c, "dry-run"))
        return plan(c, &range);
    json_t *body = json_pack(
        "{sI sI sI sI ss# ss# sb}", "after", (json_int_t)(range.first > 0 ? range.first - 1 : 0),
        "until", (json_int_t)range.last, "since_ms", (json_int_t)range.since_ms, "until_ms",
        (json_int_t)range.until_ms, "bucket", range.bucket.p == NULL ? "" : range.bucket.p,
        (int)range.bucket.n, "prefix", range.prefix.p == NULL ? "" : range.prefix.p,
        (int)range.prefix.n, "force", cli_flag_on(c, "force"));
    json_t *answer = cli_call(c, "POST", "/_/replay", SLICE_NONE, body, &code);
    int64_t id = json_get_int(answer, "id", 0);
    if (answer != NULL && !cli_flag_on(c, "no-wait"))
        code = cli_watch_batch(c, id);
    else if (answer != NULL && c->json)
        cli_print_json(answer);
    else if (answer != NULL)
        printf("batch %" PRId64 " accepted (darkroom batch show %" PRId64 ")\n", id, id);
    json_decref(answer);
    json_decref(body);
    return code;
}

static const struct cli_flag replay_flags[] = {
    {"since", "TIME", "events since then: a date, a time, or 2h: so long ago", CLI_TIME, 0, 0},
    {"until", "TIME", "events until then", CLI_TIME, 0, 0},
    {"prefix", "s3://BUCKET[/PREFIX]", "events of objects below this", CLI_TEXT, 0, 0},
    {"seq", "A-B", "events with these numbers", CLI_TEXT, 0, 0},
    {"force", NULL, "also what is made already, by the functions of today", CLI_TEXT, 0, 0},
    {"dry-run", NULL, "count, queue nothing", CLI_TEXT, 0, 0},
    {"no-wait", NULL, "return when the server has accepted it", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_flag list_flags[] = {
    {"since", "TIME", "only since then: a date, a time, or 2h: so long ago", CLI_TIME, 0, 0},
    {"until", "TIME", "only until then", CLI_TIME, 0, 0},
    {"prefix", "s3://BUCKET[/PREFIX]", "only objects below this", CLI_TEXT, 0, 0},
    {"seq", "A-B", "only these numbers", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "list",
     .arguments = "",
     .summary = "what happened to objects, oldest first",
     .flags = list_flags,
     .details = "Every change by a client or a lifecycle rule, in every bucket, as far back as the "
                "settings events.retention_days and events.log_rows_max say.",
     .example = "events list --since 2h --prefix s3://photos/2026/",
     .run = list},
    {.name = "replay",
     .arguments = "",
     .summary = "give events to the rules of today once more, at batch priority",
     .flags = replay_flags,
     .details = "Only what an object is now is ever made: an event that a later one has overtaken "
                "counts as superseded, and what is made or waits already is not made twice. It is "
                "a batch, which outlives a restart of the server.",
     .example = "events replay --since 2026-01-31T08:00:00Z --prefix s3://photos/",
     .run = replay},
    {0},
};

const struct cli_command cli_command_events = {
    .name = "events", .summary = "the log of what happened to objects", .verbs = verbs};
