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
    {.name = "get",
     .arguments = "[NAME]",
     .summary = "configuration and environment of one or all",
     .run = get},
    {.name = "set",
     .arguments = "NAME",
     .summary = "change a function; what is not named stays",
     .flags = set_flags,
     .details =
         "--presets FILE is what presets set does; see there. --env DAMAGED=fail: no thumbnails of "
         "files that break off; else (accept) of as much as is there, and the item is marked "
         "damaged.",
     .example = "functions set thumbnail --memory 2048 --presets presets.json",
     .run = set},
    {0},
};

const struct cli_command cli_command_functions = {
    .name = "functions", .summary = "read and change the functions", .verbs = verbs};
