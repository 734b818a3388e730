#include "base/err.h"
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
list(struct cli *c)
{
    enum cli_exit code = CLI_DONE;
    int64_t after = 0, total = 0;
    size_t got = 0;
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
show(struct cli *c, struct slice query)
{
    enum cli_exit code = CLI_DONE;
    const char *name;
    json_t *value;
    json_t *d = cli_call(c, "GET", "/_/dlq", query, NULL, &code);
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

/* The server does at most a page per call; with `all` it is asked until nothing is left. */
static enum cli_exit
change(struct cli *c, const char *method, struct slice query, bool all, const char *done)
{
    enum cli_exit code = CLI_DONE;
    int64_t total = 0, count = 0;
    do {
        json_t *answer = cli_call(c, method, "/_/dlq", query, NULL, &code);
        count = json_get_int(answer, "count", 0);
        total += count;
        json_decref(answer);
    } while (all && code == CLI_DONE && count > 0);
    if (code != CLI_DONE)
        return code;
    if (c->json)
        printf("{\"%s\":%" PRId64 "}\n", done, total);
    else
        printf("%" PRId64 " %s\n", total, done);
    return CLI_DONE;
}

enum cli_exit
cli_dlq(struct cli *c, int argc, char **argv)
{
    struct buf query;
    uint64_t id = 0;
    bool all = argc == 2 && strcmp(argv[1], "--all") == 0;
    bool one = argc == 2 && slice_to_u64(slice_str(argv[1]), &id) == ERR_NONE && id != 0;
    const char *what = argc > 0 ? argv[0] : "";
    bool is_list = strcmp(what, "list") == 0 && argc == 1;
    bool is_show = strcmp(what, "show") == 0 && one;
    bool is_redrive = strcmp(what, "redrive") == 0 && (one || all);
    bool is_purge = strcmp(what, "purge") == 0 && (one || all);
    if (!is_list && !is_show && !is_redrive && !is_purge)
        return cli_usage("dlq", "needs list, show ID, redrive ID|--all, or purge ID|--all");
    enum cli_exit code = cli_connect(c);
    if (code != CLI_DONE)
        return code;
    buf_init(&query, 128);
    if (is_redrive)
        remote_query_add(&query, "action", SLICE_LIT("redrive"));
    if (one)
        remote_query_add(&query, "id", slice_str(argv[1]));
    if (is_list)
        code = list(c);
    else if (is_show)
        code = show(c, buf_slice(&query));
    else if (is_redrive)
        code = change(c, "POST", buf_slice(&query), all, "redriven");
    else
        code = change(c, "DELETE", buf_slice(&query), all, "purged");
    buf_fini(&query);
    return code;
}
