#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

#define ROW "%-8s %-9s %10s %10s %8s %8s  %s\n"

static void
print_words(const json_t *list)
{
    size_t i;
    json_t *word;
    json_array_foreach((json_t *)list, i, word)
    {
        printf("%s%s", i > 0 ? "," : "", json_string_value(word));
    }
}

static bool
is_replay(const json_t *b)
{
    return strcmp(cli_str(b, "source"), "events") == 0;
}

/* "s3://BUCKET/PREFIX"; of a replay "events of ...", which may be of all buckets. */
static void
print_below(const json_t *b)
{
    fputs(is_replay(b) ? "events of " : "", stdout);
    if (cli_str(b, "bucket")[0] == '\0') {
        puts("all buckets");
        return;
    }
    printf("s3://%s/", cli_str(b, "bucket"));
    cli_print_text(json_get_str(b, "prefix"));
    putchar('\n');
}

static void
print_row(const json_t *b)
{
    printf("%-8" PRId64 " %-9s %10" PRId64 " %10" PRId64 " %8" PRId64 " %8" PRId64 "  ",
           json_get_int(b, "id", 0), cli_str(b, "state"), json_get_int(b, "planned", 0),
           json_get_int(b, "done", 0), json_get_int(b, "skipped", 0), json_get_int(b, "failed", 0));
    print_below(b);
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    size_t i;
    json_t *b;
    (void)argc;
    (void)argv;
    json_t *page = cli_call(c, "GET", "/_/reprocess", SLICE_NONE, NULL, &code);
    json_t *rows = json_object_get(page, "batches");
    if (page != NULL && !c->json && json_array_size(rows) == 0)
        puts("no batches");
    else if (page != NULL && !c->json)
        printf(ROW, "id", "state", "planned", "done", "skipped", "failed", "below");
    json_array_foreach(rows, i, b)
    {
        if (c->json)
            cli_print_json(b);
        else
            print_row(b);
    }
    json_decref(page);
    return code;
}

static void
print_moment(const char *what, int64_t wall_ms)
{
    printf("%-9s ", what);
    if (wall_ms > 0)
        cli_print_time(wall_ms);
    else
        putchar('-');
    putchar('\n');
}

static void
print_selection(const json_t *b)
{
    printf("selects   ");
    print_words(json_object_get(b, "select"));
    if (cli_str(b, "function")[0] != '\0')
        printf(", function %s", cli_str(b, "function"));
    if (cli_str(b, "preset")[0] != '\0')
        printf(", preset %s", cli_str(b, "preset"));
    if (json_get_int(b, "rate", 0) > 0)
        printf(", at most %" PRId64 "/s", json_get_int(b, "rate", 0));
    putchar('\n');
}

static void
print_batch(const json_t *b)
{
    printf("batch     %" PRId64 ", %s\nbelow     ", json_get_int(b, "id", 0), cli_str(b, "state"));
    print_below(b);
    if (!is_replay(b))
        print_selection(b);
    if (json_get_int(b, "since_ms", 0) > 0)
        print_moment("since", json_get_int(b, "since_ms", 0));
    print_moment("created", json_get_int(b, "created_ms", 0));
    print_moment("finished", json_get_int(b, "finished_ms", 0));
    printf("%-9s %" PRId64 " looked at, %" PRId64 " planned%s, %" PRId64 " done, %" PRId64
           " skipped, %" PRId64 " failed\n",
           is_replay(b) ? "events" : "objects", json_get_int(b, "seen", 0),
           json_get_int(b, "planned", 0), json_get_bool(b, "feeding", false) ? " so far" : "",
           json_get_int(b, "done", 0), json_get_int(b, "skipped", 0), json_get_int(b, "failed", 0));
}

static json_t *
ask(struct cli *c, const char *method, const char *id, const char *action, enum cli_exit *code)
{
    struct buf query;
    buf_init(&query, 64);
    remote_query_add(&query, "id", slice_str(id));
    if (action != NULL)
        remote_query_add(&query, "action", slice_str(action));
    json_t *answer = cli_call(c, method, "/_/reprocess", buf_slice(&query), NULL, code);
    buf_fini(&query);
    return answer;
}

static enum cli_exit
show(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    (void)argc;
    json_t *b = ask(c, "GET", argv[0], NULL, &code);
    if (b == NULL)
        return code;
    if (!c->json)
        print_batch(b);
    code = cli_batch_failures(c, b, INT64_MAX);
    if (c->json)
        cli_print_json(b);
    json_decref(b);
    return code;
}

static enum cli_exit
change(struct cli *c, const char *id, const char *action, const char *done)
{
    enum cli_exit code = CLI_DONE;
    json_t *answer = ask(c, "POST", id, action, &code);
    if (answer != NULL && c->json)
        cli_print_json(answer);
    else if (answer != NULL)
        printf("batch %s %s\n", id, done);
    json_decref(answer);
    return code;
}

static enum cli_exit
pause_batch(struct cli *c, int argc, char **argv)
{
    (void)argc;
    return change(c, argv[0], "pause", "paused");
}

static enum cli_exit
resume_batch(struct cli *c, int argc, char **argv)
{
    (void)argc;
    return change(c, argv[0], "resume", "goes on");
}

static enum cli_exit
cancel_batch(struct cli *c, int argc, char **argv)
{
    (void)argc;
    return change(c, argv[0], "cancel", "canceled");
}

static const struct cli_verb verbs[] = {
    {.name = "list", .arguments = "", .summary = "batches, newest first", .run = list},
    {.name = "show",
     .arguments = "ID",
     .summary = "one batch, and what failed in it",
     .details = "The first thousand objects that failed are kept by name.",
     .run = show},
    {.name = "pause",
     .arguments = "ID",
     .summary = "feed no more objects for now",
     .details = "Objects that wait already, a thousand at most, are still made.",
     .run = pause_batch},
    {.name = "resume", .arguments = "ID", .summary = "go on", .run = resume_batch},
    {.name = "cancel",
     .arguments = "ID",
     .summary = "end it; what waits is dropped",
     .details = "What was made stays made; a new reprocess makes the rest.",
     .run = cancel_batch},
    {0},
};

const struct cli_command cli_command_batch = {
    .name = "batch", .summary = "reprocessings in the server: see, pause, end", .verbs = verbs};
