#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/cli.h"

#include <errno.h>
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
get(struct cli *c, const char *name)
{
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

struct number_option {
    const char *option;
    const char *member;
};

static const struct number_option numbers[] = {
    {"--memory", "memory_mb"},
    {"--timeout", "timeout_s"},
    {"--concurrency", "reserved_concurrency"},
    {"--retries", "maximum_retry_attempts"},
    {"--max-age", "maximum_event_age_s"},
};

static enum cli_exit
set_number(json_t *patch, const struct number_option *o, const char *text)
{
    char *end = NULL;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno != 0)
        return cli_usage("functions", "%s needs a whole number, not \"%s\"", o->option, text);
    json_object_set_new(patch, o->member, json_integer(v));
    return CLI_DONE;
}

/* The environment as it is now: one variable is changed, the others stay. */
static json_t *
environment_now(struct cli *c, const char *name, enum cli_exit *code)
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
set_presets(json_t *environment, const char *path)
{
    struct buf text, compact, why;
    enum cli_exit code = CLI_DONE;
    buf_init(&text, PRESETS_FILE_MAX);
    buf_init(&compact, PRESETS_FILE_MAX);
    buf_init(&why, CLI_WHY_MAX);
    int err = fsio_read_file(path, &text);
    json_t *presets = err == ERR_NONE ? json_read(buf_slice(&text), &why) : NULL;
    if (presets == NULL) {
        cli_complain("cannot read %s: %s", path,
                     err == ERR_NOTFOUND ? "no such file"
                     : err != ERR_NONE   ? err_text(err)
                                         : why.p);
        code = CLI_USAGE;
    } else {
        json_write(&compact, presets, false);
        json_object_set_new(environment, "PRESETS", json_string(compact.p));
    }
    json_decref(presets);
    buf_fini(&text);
    buf_fini(&compact);
    buf_fini(&why);
    return code;
}

static enum cli_exit
set_variable(json_t *environment, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return cli_usage("functions", "--env needs NAME=VALUE");
    char *name = strndup(text, (size_t)(equals - text));
    CHK(name != NULL);
    if (equals[1] == '\0')
        json_object_del(environment, name);
    else
        json_object_set_new(environment, name, json_string(equals + 1));
    free(name);
    return CLI_DONE;
}

/* One option of `set NAME` at argv[*at]. */
static enum cli_exit
take_option(json_t *patch, json_t *environment, const char *name, int argc, char **argv, int *at)
{
    bool bad = false;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const char *value = cli_option(argc, argv, at, numbers[i].option, &bad);
        if (value != NULL)
            return bad ? CLI_USAGE : set_number(patch, &numbers[i], value);
    }
    const char *path = cli_option(argc, argv, at, "--presets", &bad);
    const char *variable = path != NULL ? NULL : cli_option(argc, argv, at, "--env", &bad);
    if (bad)
        return CLI_USAGE;
    if (path == NULL && variable == NULL)
        return cli_usage("functions", "unknown argument %s", argv[*at]);
    if (path != NULL && strcmp(name, "thumbnail") != 0)
        return cli_usage("functions", "--presets are of thumbnail; %s has none", name);
    json_object_set(patch, "environment", environment);
    return path != NULL ? set_presets(environment, path) : set_variable(environment, variable);
}

static enum cli_exit
set(struct cli *c, const char *name, int argc, char **argv)
{
    struct buf query;
    enum cli_exit code = CLI_DONE;
    json_t *patch = json_object();
    json_t *answer = NULL;
    json_t *environment = environment_now(c, name, &code);
    buf_init(&query, 1024);
    for (int i = 0; i < argc && code == CLI_DONE; i++)
        code = take_option(patch, environment, name, argc, argv, &i);
    if (code == CLI_DONE && json_object_size(patch) == 0)
        code = cli_usage("functions", "set needs at least one option");
    remote_query_add(&query, "name", slice_str(name));
    if (code == CLI_DONE)
        answer = cli_call(c, "PUT", "/_/functions", buf_slice(&query), patch, &code);
    if (answer != NULL && c->json)
        cli_print_json(answer);
    else if (answer != NULL)
        print_function(answer);
    json_decref(answer);
    json_decref(environment);
    json_decref(patch);
    buf_fini(&query);
    return code;
}

enum cli_exit
cli_functions(struct cli *c, int argc, char **argv)
{
    bool is_get = argc >= 1 && argc <= 2 && strcmp(argv[0], "get") == 0;
    bool is_set = argc >= 2 && strcmp(argv[0], "set") == 0;
    if (!is_get && !is_set)
        return cli_usage("functions", "needs get [NAME] or set NAME [OPTIONS]");
    enum cli_exit code = cli_connect(c);
    if (code != CLI_DONE)
        return code;
    return is_get ? get(c, argc == 2 ? argv[1] : NULL) : set(c, argv[1], argc - 2, argv + 2);
}
