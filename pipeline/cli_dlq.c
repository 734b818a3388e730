#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

static void
print_row(const json_t *d)
{
    printf("%-10" PRId64 " %-10s %3" PRId64 "  s3://%s/", json_get_int(d, "id", 0),
           cli_str(d, "function"), json_get_int(d, "attempts", 0), cli_str(d, "bucket"));
    cli_print_text(json_get_str(d, "key"));
    fputs("  ", stdout);
    cli_print_text(json_get_str(d, "reason"));
    putchar('\n');
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    int64_t after = 0, total = 0;
    size_t got = 0;
    (void)argc, (void)argv;
    do {
        struct buf query;
        size_t i;
        json_t *d;
        buf_init(&query, 64);
        buf_printf(&query, "after=%" PRId64, after);
        json_t *page = cli_call(c, "GET", "/_/dlq", buf_slice(&query), NULL, &code);
        buf_fini(&query);
        if (page == NULL)
            return code;
        json_t *rows = json_object_get(page, "dead_letters");
        if (!c->json && total == 0 && json_array_size(rows) > 0)
            printf("%-10s %-10s %s  %s\n", "id", "function", "tries", "object and reason");
        json_array_foreach(rows, i, d)
        {
            if (c->json)
                cli_print_json(d);
            else
                print_row(d);
            after = json_get_int(d, "id", after);
        }
        got = json_array_size(rows);
        total += (int64_t)got;
        json_decref(page);
    } while (got > 0);
    if (!c->json && total == 0)
        puts("no dead letters");
    return code;
}

static enum cli_exit
show(struct cli *c, int argc, char **argv)
{
    struct buf query;
    enum cli_exit code = CLI_DONE;
    const char *name;
    json_t *value;
    (void)argc;
    buf_init(&query, 64);
    remote_query_add(&query, "id", slice_str(argv[0]));
    json_t *d = cli_call(c, "GET", "/_/dlq", buf_slice(&query), NULL, &code);
    buf_fini(&query);
    if (d == NULL)
        return code;
    if (c->json) {
        cli_print_json(d);
    } else {
        json_object_foreach(d, name, value)
        {
            printf("%-12s ", name);
            if (json_is_string(value))
                cli_print_text(json_get_str(d, name));
            else if (strstr(name, "_ms") != NULL)
                cli_print_time(json_integer_value(value));
            else
                printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
            putchar('\n');
        }
    }
    json_decref(d);
    return code;
}

/* One dead letter, or all: the server does a page per call, so it is asked until none is left. */
static enum cli_exit
change(struct cli *c, const char *method, const char *id, const char *done)
{
    struct buf query;
    enum cli_exit code = CLI_DONE;
    int64_t total = 0, count = 0;
    if ((id != NULL) == cli_flag_on(c, "all"))
        return cli_usage(c, "needs an ID or --all");
    buf_init(&query, 128);
    if (strcmp(method, "POST") == 0)
        remote_query_add(&query, "action", SLICE_LIT("redrive"));
    if (id != NULL)
        remote_query_add(&query, "id", slice_str(id));
    do {
        json_t *answer = cli_call(c, method, "/_/dlq", buf_slice(&query), NULL, &code);
        count = json_get_int(answer, "count", 0);
        total += count;
        json_decref(answer);
    } while (id == NULL && code == CLI_DONE && count > 0);
    buf_fini(&query);
    if (code != CLI_DONE)
        return code;
    if (c->json)
        printf("{\"%s\":%" PRId64 "}\n", done, total);
    else
        printf("%" PRId64 " %s\n", total, done);
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

static const struct cli_flag change_flags[] = {
    {"all", NULL, "every dead letter", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "list", .arguments = "", .summary = "all dead letters", .run = list},
    {.name = "show", .arguments = "ID", .summary = "all that is known of one", .run = show},
    {.name = "redrive",
     .arguments = "[ID]",
     .summary = "try again",
     .flags = change_flags,
     .example = "dlq redrive --all",
     .run = redrive},
    {.name = "purge",
     .arguments = "[ID]",
     .summary = "drop for good",
     .flags = change_flags,
     .run = purge},
    {0},
};

const struct cli_command cli_command_dlq = {
    .name = "dlq", .summary = "events that failed for good: see, try again, drop", .verbs = verbs};
