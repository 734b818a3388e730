#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PRESETS_FILE_MAX (64u << 10)

static void
print_function(const json_t *f)
{
    const char *name;
    json_t *value;
    printf("%s  (%s, revision %" PRId64 ")\n", cli_str(f, "name"), cli_str(f, "arn"),
           json_get_int(f, "revision", 0));
    printf("  memory %" PRId64 " MB, timeout %" PRId64 " s, retries %" PRId64
           ", maximum age %" PRId64 " s, reserved concurrency ",
           json_get_int(f, "memory_mb", 0), json_get_int(f, "timeout_s", 0),
           json_get_int(f, "maximum_retry_attempts", 0), json_get_int(f, "maximum_event_age_s", 0));
    if (json_get_int(f, "reserved_concurrency", -1) < 0)
        puts("none");
    else
        printf("%" PRId64 "\n", json_get_int(f, "reserved_concurrency", -1));
    json_object_foreach(json_object_get(f, "environment"), name, value)
        printf("  %s=%s\n", name, json_is_string(value) ? json_string_value(value) : "");
}

static enum cli_exit
get(struct cli *c, int argc, char **argv)
{
    const char *name = argc > 0 ? argv[0] : NULL;
    struct buf query;
    enum cli_exit code = CLI_DONE;
    size_t i;
    json_t *f;
    buf_init(&query, 1024);
    if (name != NULL)
        remote_query_add(&query, "name", slice_str(name));
    json_t *answer = cli_call(c, "GET", "/_/functions", buf_slice(&query), NULL, &code);
    buf_fini(&query);
    if (answer == NULL)
        return code;
    if (c->json) {
        cli_print_json(answer);
    } else if (name != NULL) {
        print_function(answer);
    } else {
        json_array_foreach(json_object_get(answer, "functions"), i, f) print_function(f);
    }
    json_decref(answer);
    return code;
}

/* ---- set ---- */

static const struct {
    const char *flag, *member;
} numbers[] = {
    {"memory", "memory_mb"},
    {"concurrency", "reserved_concurrency"},
    {"retries", "maximum_retry_attempts"},
};

static const struct {
    const char *flag, *member;
} durations[] = {
    {"timeout", "timeout_s"},
    {"max-age", "maximum_event_age_s"},
};

json_t *
cli_environment(struct cli *c, const char *name, enum cli_exit *code)
{
    struct buf query;
    buf_init(&query, 1024);
    remote_query_add(&query, "name", slice_str(name));
    json_t *f = cli_call(c, "GET", "/_/functions", buf_slice(&query), NULL, code);
    json_t *environment = json_deep_copy(json_object_get(f, "environment"));
    json_decref(f);
    buf_fini(&query);
    return environment;
}

static enum cli_exit
set_presets(struct cli *c, json_t *environment, const char *path)
{
    struct buf text;
    json_t *pictures = NULL;
    buf_init(&text, PRESETS_FILE_MAX);
    enum cli_exit code = cli_presets_file(c, path, &text, &pictures);
    if (code == CLI_DONE)
        json_object_set_new(environment, "PRESETS", json_stringn(text.p, text.n));
    json_decref(pictures);
    buf_fini(&text);
    return code;
}

static enum cli_exit
set_variable(const struct cli *c, json_t *environment, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return cli_usage(c, "--env needs NAME=VALUE, not \"%s\"", text);
    char *name = strndup(text, (size_t)(equals - text));
    CHK(name != NULL);
    if (equals[1] == '\0')
        json_object_del(environment, name);
    else
        json_object_set_new(environment, name, json_string(equals + 1));
    free(name);
    return CLI_DONE;
}

/* What the flags change of the function, which stays as it is for the rest. */
static enum cli_exit
read_patch(struct cli *c, const char *name, json_t *patch)
{
    const char *text, *path = cli_flag_str(c, "presets");
    enum cli_exit code = CLI_DONE;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (cli_flag_on(c, numbers[i].flag))
            json_object_set_new(patch, numbers[i].member,
                                json_integer(cli_flag_int(c, numbers[i].flag, 0)));
    }
    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        if (cli_flag_on(c, durations[i].flag))
            json_object_set_new(patch, durations[i].member,
                                json_integer(cli_flag_duration(c, durations[i].flag, 0) / 1000));
    }
    if (path == NULL && !cli_flag_on(c, "env"))
        return json_object_size(patch) > 0 ? CLI_DONE : cli_usage(c, "needs at least one option");
    if (path != NULL && strcmp(name, "thumbnail") != 0)
        return cli_usage(c, "--presets are of thumbnail; %s has none", name);
    json_t *environment = cli_environment(c, name, &code);
    if (code == CLI_DONE && path != NULL)
        code = set_presets(c, environment, path);
    for (int n = 0; code == CLI_DONE && (text = cli_flag_nth(c, "env", n)) != NULL; n++)
        code = set_variable(c, environment, text);
    json_object_set_new(patch, "environment", environment);
    return code;
}

static enum cli_exit
set(struct cli *c, int argc, char **argv)
{
    struct buf query;
    json_t *patch = json_object();
    json_t *answer = NULL;
    enum cli_exit code = read_patch(c, argv[0], patch);
    (void)argc;
    buf_init(&query, 1024);
    remote_query_add(&query, "name", slice_str(argv[0]));
    if (code == CLI_DONE)
        answer = cli_call(c, "PUT", "/_/functions", buf_slice(&query), patch, &code);
    if (answer != NULL && c->json)
        cli_print_json(answer);
    else if (answer != NULL)
        print_function(answer);
    json_decref(answer);
    json_decref(patch);
    buf_fini(&query);
    return code;
}

/* ---- list ---- */

static void
print_row(const json_t *f)
{
    printf("%-16s %5" PRId64 " MB %5" PRId64 " s %8" PRId64 " %9" PRId64 " s  ", cli_str(f, "name"),
           json_get_int(f, "memory_mb", 0), json_get_int(f, "timeout_s", 0),
           json_get_int(f, "maximum_retry_attempts", 0), json_get_int(f, "maximum_event_age_s", 0));
    if (json_get_int(f, "reserved_concurrency", -1) < 0)
        puts("-");
    else
        printf("%" PRId64 "\n", json_get_int(f, "reserved_concurrency", -1));
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    size_t i;
    json_t *f;
    (void)argc, (void)argv;
    json_t *answer = cli_call(c, "GET", "/_/functions", SLICE_NONE, NULL, &code);
    if (answer == NULL)
        return code;
    if (!c->json)
        printf("%-16s %8s %7s %8s %11s  %s\n", "name", "memory", "timeout", "retries",
               "maximum age", "concurrency");
    json_array_foreach(json_object_get(answer, "functions"), i, f)
    {
        if (c->json)
            cli_print_json(f);
        else
            print_row(f);
    }
    json_decref(answer);
    return code;
}

/* ---- invoke ---- */

static void
print_outputs(const json_t *outputs)
{
    size_t i;
    json_t *o;
    json_array_foreach((json_t *)outputs, i, o)
    {
        printf("  output      %-12s %s", cli_str(o, "name"), cli_str(o, "status"));
        if (json_get_int(o, "width", 0) > 0)
            printf("  %s  %" PRId64 " x %" PRId64 "  %" PRId64 " bytes", cli_str(o, "content_type"),
                   json_get_int(o, "width", 0), json_get_int(o, "height", 0),
                   json_get_int(o, "bytes", 0));
        if (cli_str(o, "reason")[0] != '\0')
            fputs("  ", stdout);
        cli_print_text(json_get_str(o, "reason"));
        putchar('\n');
    }
}

static void
print_attributes(const json_t *attributes)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)attributes, name, value)
    {
        fputs("  attribute   ", stdout);
        cli_print_text(slice_str(name));
        fputs("  ", stdout);
        cli_print_text(json_is_string(value)
                           ? slice_of(json_string_value(value), json_string_length(value))
                           : slice_str(json_is_true(value) ? "true" : "false"));
        putchar('\n');
    }
}

static void
print_trial(const json_t *t, const char *target)
{
    printf("%s of %s: %s", cli_str(t, "function"), target, cli_str(t, "outcome"));
    if (cli_str(t, "reason")[0] != '\0')
        fputs(": ", stdout);
    cli_print_text(json_get_str(t, "reason"));
    printf("\n  run         %.1f ms, CPU %.1f ms, %.0f MB, worker %" PRId64 "; nothing is stored\n",
           (double)json_get_int(t, "run_us", 0) / 1e3, (double)json_get_int(t, "cpu_us", 0) / 1e3,
           (double)json_get_int(t, "rss_bytes", 0) / 1e6, json_get_int(t, "pid", 0));
    print_outputs(json_object_get(t, "outputs"));
    print_attributes(json_object_get(t, "attributes"));
    if (cli_str(t, "stderr")[0] == '\0')
        return;
    fputs("  stderr      ", stdout);
    cli_print_text(json_get_str(t, "stderr"));
    putchar('\n');
}

static enum cli_exit
invoke(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    struct slice bucket, key;
    bool commit = cli_flag_on(c, "commit");
    (void)argc;
    cli_s3(argv[1], &bucket, &key);
    json_t *body = json_pack("{ss ss# ss# sb}", "function", argv[0], "bucket", bucket.p,
                             (int)bucket.n, "key", key.p, (int)key.n, "commit", commit);
    if (body == NULL)
        return cli_usage(c, "the function's name is not UTF-8");
    json_t *t = cli_call(c, "POST", "/_/invoke", SLICE_NONE, body, &code);
    const char *outcome = cli_str(t, "outcome");
    if (t != NULL && !commit && strcmp(outcome, "ok") != 0 && strcmp(outcome, "skipped") != 0)
        code = CLI_SOME_FAILED;
    if (t != NULL && c->json)
        cli_print_json(t);
    else if (t != NULL && commit)
        printf("event %" PRId64 " is queued; see darkroom wait %s\n",
               json_get_int(t, "event_id", 0), argv[1]);
    else if (t != NULL)
        print_trial(t, argv[1]);
    json_decref(t);
    json_decref(body);
    return code;
}

static const struct cli_flag invoke_flags[] = {
    {"commit", NULL, "queue the object's event instead, as an upload would: results are stored",
     CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_flag set_flags[] = {
    {"memory", "MB", "128 to 10240", CLI_INT, 0, 0},
    {"timeout", "TIME", "of one attempt: seconds, or 1m; 1 to 900 s", CLI_DURATION, 0, 0},
    {"concurrency", "N", "reserved concurrency; -1: none, 0: pause", CLI_INT, 0, 0},
    {"retries", "N", "maximum retry attempts, 0 to 2", CLI_INT, 0, 0},
    {"max-age", "TIME", "maximum event age: seconds, or 30m, 6h; 60 to 21600 s", CLI_DURATION, 0,
     0},
    {"presets", "FILE", "replace all thumbnail presets by the JSON list in FILE", CLI_FILE, 0, 0},
    {"env", "NAME=VALUE", "one variable of the environment; NAME= removes it; may be repeated",
     CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "list", .arguments = "", .summary = "all functions and their limits", .run = list},
    {.name = "get",
     .arguments = "[FUNCTION]",
     .summary = "configuration and environment of one or all",
     .run = get},
    {.name = "set",
     .arguments = "FUNCTION",
     .summary = "change a function; what is not named stays",
     .flags = set_flags,
     .details =
         "--presets FILE is what presets set does; see there. --env DAMAGED=fail: no thumbnails of "
         "files that break off; else (accept) of as much as is there, and the item is marked "
         "damaged.",
     .example = "functions set thumbnail --memory 2048 --presets presets.json",
     .run = set},
    {.name = "invoke",
     .arguments = "FUNCTION s3://BUCKET/KEY",
     .summary = "run a function on one object now and show what comes of it",
     .flags = invoke_flags,
     .details = "A trial: same worker, sandbox and limits as for an event, but nothing is stored "
                "and nothing is told. Exit code 1 when it fails.",
     .example = "functions invoke thumbnail s3://photos/cat.jpg",
     .run = invoke},
    {0},
};

const struct cli_command cli_command_functions = {
    .name = "functions", .summary = "read and change the functions", .verbs = verbs};
