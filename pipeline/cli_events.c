/*
 * events: the log of what happened to objects.
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

static const struct cli_flag list_flags[] = {
    {"since", "T", "only since then: a date, a time, or 2h: so long ago", CLI_TIME, 0, 0},
    {"until", "T", "only until then", CLI_TIME, 0, 0},
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
    {0},
};

const struct cli_command cli_command_events = {
    .name = "events", .summary = "the log of what happened to objects", .verbs = verbs};
