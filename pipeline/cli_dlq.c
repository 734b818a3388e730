/*
 * dlq: the server does a page or a step per call and says where to go on; what dies while it is
 * worked on has a larger id than the last one of the beginning, and is left alone.
 */
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

#define QUERY_MAX 8192

/* ---- which ---- */

static const struct cli_flag list_flags[] = {
    {"function", "FUNCTION", "only events of this function", CLI_TEXT, 0, 0},
    {"reason", "error|timeout|memory|crashed|bad-answer|too-old", "only what died of this",
     CLI_WORD, 0, 0},
    {"prefix", "s3://BUCKET[/PREFIX]", "only objects below this", CLI_TEXT, 0, 0},
    {"older-than", "AGE", "only what has been dead for longer, like 90s, 2h, 7d", CLI_DURATION, 1,
     INT32_MAX},
    {0},
};

static const struct cli_flag change_flags[] = {
    {"all", NULL, "every dead letter", CLI_TEXT, 0, 0},
    {"function", "FUNCTION", "those of this function", CLI_TEXT, 0, 0},
    {"reason", "error|timeout|memory|crashed|bad-answer|too-old", "those that died of this",
     CLI_WORD, 0, 0},
    {"prefix", "s3://BUCKET[/PREFIX]", "those of objects below this", CLI_TEXT, 0, 0},
    {"older-than", "AGE", "those dead for longer, like 90s, 2h, 7d", CLI_DURATION, 1, INT32_MAX},
    {"dry-run", NULL, "count them, change nothing", CLI_TEXT, 0, 0},
    {0},
};

static bool
is_filtered(const struct cli *c)
{
    return cli_flag_on(c, "function") || cli_flag_on(c, "reason") || cli_flag_on(c, "prefix") ||
           cli_flag_on(c, "older-than");
}

static void
add_number(struct buf *query, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    remote_query_add(query, name, slice_str(text));
}

/* CLI_USAGE: complained. */
static enum cli_exit
add_filter(struct cli *c, struct buf *query)
{
    struct slice bucket, prefix;
    const char *below = cli_flag_str(c, "prefix");
    if (below != NULL && !cli_is_s3(below))
        return cli_usage(c, "--prefix needs s3://BUCKET[/PREFIX], not \"%s\"", below);
    if (below != NULL) {
        cli_s3(below, &bucket, &prefix);
        remote_query_add(query, "bucket", bucket);
        remote_query_add(query, "prefix", prefix);
    }
    if (cli_flag_on(c, "function"))
        remote_query_add(query, "function", slice_str(cli_flag_str(c, "function")));
    if (cli_flag_on(c, "reason"))
        remote_query_add(query, "reason", slice_str(cli_flag_str(c, "reason")));
    if (cli_flag_on(c, "older-than"))
        add_number(query, "older_than_s", cli_flag_duration(c, "older-than", 0) / 1000);
    return CLI_DONE;
}

/* ---- list, show ---- */

static void
print_row(const json_t *d)
{
    printf("%-10" PRId64 " %-10s %-10s %3" PRId64 "  s3://%s/", json_get_int(d, "id", 0),
           cli_str(d, "function"), cli_str(d, "class"), json_get_int(d, "attempts", 0),
           cli_str(d, "bucket"));
    cli_print_text(json_get_str(d, "key"));
    fputs("  ", stdout);
    cli_print_text(json_get_str(d, "reason"));
    putchar('\n');
}

static void
print_page(struct cli *c, const json_t *rows, bool first)
{
    size_t i;
    json_t *d;
    if (!c->json && first && json_array_size(rows) > 0)
        printf("%-10s %-10s %-10s %s  %s\n", "id", "function", "died of", "tries",
               "object and last error");
    json_array_foreach((json_t *)rows, i, d)
    {
        if (c->json)
            cli_print_json(d);
        else
            print_row(d);
    }
}

/* Pages of what the filter selects; counted, and shown when `shown`. */
static enum cli_exit
walk(struct cli *c, bool shown, int64_t *total)
{
    enum cli_exit code = CLI_DONE;
    int64_t next = 0, last = 0;
    *total = 0;
    do {
        struct buf query;
        buf_init(&query, QUERY_MAX);
        code = add_filter(c, &query);
        add_number(&query, "after", next);
        add_number(&query, "until", last);
        json_t *page =
            code == CLI_DONE ? cli_call(c, "GET", "/_/dlq", buf_slice(&query), NULL, &code) : NULL;
        buf_fini(&query);
        if (page == NULL)
            return code;
        const json_t *rows = json_object_get(page, "dead_letters");
        if (shown)
            print_page(c, rows, *total == 0);
        *total += (int64_t)json_array_size(rows);
        next = json_get_int(page, "next", 0);
        last = last == 0 ? json_get_int(page, "last", 0) : last;
        json_decref(page);
    } while (next != 0);
    return CLI_DONE;
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    int64_t total = 0;
    (void)argc, (void)argv;
    enum cli_exit code = walk(c, true, &total);
    if (code == CLI_DONE && !c->json && total == 0)
        puts(is_filtered(c) ? "no such dead letters" : "no dead letters");
    return code;
}

static void
print_tries(const json_t *tries)
{
    for (size_t i = json_array_size(tries); i > 0; i--) {
        const json_t *t = json_array_get(tries, i - 1);
        struct slice text = json_get_str(t, "stderr");
        fputs("attempt      ", stdout);
        cli_print_time(json_get_int(t, "started_ms", 0));
        printf("  %s in %.1f ms  CPU %.1f ms  %.0f MB  worker %" PRId64 "\n             ",
               cli_str(t, "outcome"), (double)json_get_int(t, "run_us", 0) / 1e3,
               (double)json_get_int(t, "cpu_us", 0) / 1e3,
               (double)json_get_int(t, "rss_bytes", 0) / 1e6, json_get_int(t, "pid", 0));
        cli_print_text(json_get_str(t, "reason"));
        putchar('\n');
        while (text.n > 0) {
            fputs("    stderr | ", stdout);
            cli_print_text(slice_cut(text, '\n', &text));
            putchar('\n');
        }
    }
}

static void
print_letter(const json_t *d)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)d, name, value)
    {
        if (json_is_array(value))
            continue;
        printf("%-12s ", name);
        if (json_is_string(value))
            cli_print_text(json_get_str(d, name));
        else if (strstr(name, "_ms") != NULL)
            cli_print_time(json_integer_value(value));
        else
            printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        putchar('\n');
    }
    print_tries(json_object_get(d, "tries"));
}

static enum cli_exit
show(struct cli *c, int argc, char **argv)
{
    struct buf query;
    enum cli_exit code = CLI_DONE;
    (void)argc;
    buf_init(&query, 64);
    remote_query_add(&query, "id", slice_str(argv[0]));
    json_t *d = cli_call(c, "GET", "/_/dlq", buf_slice(&query), NULL, &code);
    buf_fini(&query);
    if (d == NULL)
        return code;
    if (c->json)
        cli_print_json(d);
    else
        print_letter(d);
    json_decref(d);
    return code;
}

/* ---- redrive, purge ---- */

static enum cli_exit
step(struct cli *c, const char *method, const char *id, int64_t last, int64_t *next, int64_t *total)
{
    enum cli_exit code = CLI_DONE;
    struct buf query;
    buf_init(&query, QUERY_MAX);
    if (strcmp(method, "POST") == 0)
        remote_query_add(&query, "action", SLICE_LIT("redrive"));
    if (id != NULL) {
        remote_query_add(&query, "id", slice_str(id));
    } else {
        code = add_filter(c, &query);
        add_number(&query, "after", *next);
        add_number(&query, "until", last);
    }
    json_t *answer =
        code == CLI_DONE ? cli_call(c, method, "/_/dlq", buf_slice(&query), NULL, &code) : NULL;
    buf_fini(&query);
    *total += json_get_int(answer, "count", 0);
    *next = json_get_int(answer, "next", 0);
    json_decref(answer);
    return code;
}

/* The id of the newest letter. */
static enum cli_exit
last_letter(struct cli *c, int64_t *last)
{
    enum cli_exit code = CLI_DONE;
    json_t *page =
        cli_call(c, "GET", "/_/dlq", SLICE_LIT("after=9223372036854775806"), NULL, &code);
    *last = json_get_int(page, "last", 0);
    json_decref(page);
    return code;
}

static enum cli_exit
change(struct cli *c, const char *method, const char *id, const char *done)
{
    enum cli_exit code = CLI_DONE;
    bool dry = cli_flag_on(c, "dry-run");
    int64_t total = 0, next = 0, last = 0;
    int ways = (id != NULL) + cli_flag_on(c, "all") + is_filtered(c);
    if (ways != 1)
        return cli_usage(c, "needs one of an ID, --all, or --function, --reason, --prefix, "
                            "--older-than");
    if (dry && id != NULL)
        return cli_usage(c, "--dry-run counts what several would be; of one see dlq show");
    if (dry)
        code = walk(c, false, &total);
    else if (id == NULL)
        code = last_letter(c, &last);
    while (!dry && code == CLI_DONE && (id != NULL || last != 0)) {
        code = step(c, method, id, last, &next, &total);
        if (next == 0)
            break;
    }
    if (code != CLI_DONE)
        return code;
    if (c->json)
        printf("{\"%s\":%" PRId64 "%s}\n", done, total, dry ? ",\"dry_run\":true" : "");
    else
        printf("%" PRId64 " %s%s\n", total, dry ? "would be " : "", done);
    return CLI_DONE;
}

static enum cli_exit
redrive(struct cli *c, int argc, char **argv)
{
    return change(c, "POST", argc > 0 ? argv[0] : NULL, "redriven");
}

static enum cli_exit
purge(struct cli *c, int argc, char **argv)
{
    return change(c, "DELETE", argc > 0 ? argv[0] : NULL, "purged");
}

static const struct cli_verb verbs[] = {
    {.name = "list",
     .arguments = "",
     .summary = "dead letters, oldest first, and what each died of",
     .flags = list_flags,
     .example = "dlq list --reason timeout --prefix s3://photos/2026/",
     .run = list},
    {.name = "show",
     .arguments = "ID",
     .summary = "all that is known of one, with each attempt and what its worker wrote",
     .run = show},
    {.name = "redrive",
     .arguments = "[ID]",
     .summary = "try again",
     .flags = change_flags,
     .details = "With live priority and fresh attempts; what meanwhile dies again is left.",
     .example = "dlq redrive --reason timeout",
     .run = redrive},
    {.name = "purge",
     .arguments = "[ID]",
     .summary = "drop for good",
     .flags = change_flags,
     .example = "dlq purge --older-than 30d --dry-run",
     .run = purge},
    {0},
};

const struct cli_command cli_command_dlq = {
    .name = "dlq", .summary = "events that failed for good: see, try again, drop", .verbs = verbs};
