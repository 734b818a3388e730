/*
 * presets: the list in a function's environment, read with the server's own parser, so a file is
 * judged here as it is there. Both lists are compared picture by picture; a picture is a name and a
 * format (functions/preset.h), and has changed when its hash has.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "functions/preset.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

#define FILE_MAX (64u << 10)

/* ---- reading ---- */

/* A preset as its JSON object with "hash"; "name" is what people call it. */
static json_t *
picture_json(const struct preset *p)
{
    char hash[PRESET_HASH_TEXT];
    struct preset_list one = {.presets = {*p}, .count = 1};
    struct slice name = preset_base_name(p);
    struct buf text;
    buf_init(&text, FILE_MAX);
    preset_print(&one, &text);
    json_t *array = json_read(buf_slice(&text), NULL);
    json_t *picture = json_incref(json_array_get(array, 0));
    preset_hash(p, hash);
    json_object_set_new(picture, "name", json_stringn(name.p, name.n));
    json_object_set_new(picture, "hash", json_string(hash));
    json_decref(array);
    buf_fini(&text);
    return picture;
}

/* One object per picture. */
static json_t *
pictures_json(const struct preset_list *list)
{
    json_t *pictures = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(pictures, picture_json(&list->presets[i]));
    return pictures;
}

static const char *
function_name(const struct cli *c)
{
    const char *name = cli_flag_str(c, "function");
    return name != NULL ? name : "thumbnail";
}

static enum cli_exit
parse(struct cli *c, const char *where, struct slice text, json_t **pictures)
{
    struct preset_list list;
    struct buf why;
    enum cli_exit code = CLI_DONE;
    buf_init(&why, CLI_WHY_MAX);
    if (preset_parse(text, &list, &why) == ERR_NONE)
        *pictures = pictures_json(&list);
    else
        code = cli_usage(c, "%s: %s", where, why.p);
    buf_fini(&why);
    return code;
}

enum cli_exit
cli_presets_file(struct cli *c, const char *path, struct buf *text, json_t **pictures)
{
    int err = fsio_read_file(path, text);
    if (err != ERR_NONE)
        return cli_usage(c, "cannot read %s: %s", path,
                         err == ERR_NOTFOUND ? "no such file" : err_text(err));
    enum cli_exit code = parse(c, path, buf_slice(text), pictures);
    json_t *list = code == CLI_DONE ? json_read(buf_slice(text), NULL) : NULL;
    if (list != NULL) {
        buf_reset(text);
        json_write(text, list, false); /* an environment has little room */
    }
    json_decref(list);
    return code;
}

/* Of the server; the whole environment is kept for who wants to change it. */
static enum cli_exit
presets_now(struct cli *c, json_t **environment, json_t **pictures)
{
    struct preset_list defaults;
    enum cli_exit code = CLI_DONE;
    const char *name = function_name(c);
    *environment = cli_environment(c, name, &code);
    if (*environment == NULL)
        return code;
    struct slice text = json_get_str(*environment, "PRESETS");
    if (text.p != NULL)
        return parse(c, name, text, pictures);
    if (strcmp(name, "thumbnail") != 0) {
        cli_complain("the function %s has no presets", name);
        return CLI_SOME_FAILED;
    }
    preset_defaults(&defaults);
    *pictures = pictures_json(&defaults);
    return CLI_DONE;
}

/* ---- list ---- */

/* "quality" and what else is set, as "80 attention sharpen=1.5". */
static void
print_rest(const json_t *picture)
{
    static const char *const shown[] = {"name",   "width",   "height", "fit",
                                        "format", "quality", "hash",   NULL};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)picture, name, value)
    {
        size_t i = 0;
        while (shown[i] != NULL && strcmp(shown[i], name) != 0)
            i++;
        if (shown[i] != NULL || strcmp(cli_str(picture, name), "centre") == 0)
            continue;
        if (json_is_true(value))
            printf("  %s", name);
        else if (json_is_real(value))
            printf("  %s=%g", name, json_real_value(value));
        else
            printf("  %s=%s", name, cli_str(picture, name));
    }
}

static void
print_picture(const json_t *p)
{
    char size[32];
    snprintf(size, sizeof size, "%" PRId64 "x%" PRId64, json_get_int(p, "width", 0),
             json_get_int(p, "height", 0));
    printf("%-12s %-6s %-10s %-8s %7" PRId64 "  %s", cli_str(p, "name"), cli_str(p, "format"), size,
           cli_str(p, "fit"), json_get_int(p, "quality", 0), cli_str(p, "hash"));
    print_rest(p);
    putchar('\n');
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    json_t *environment = NULL, *pictures = NULL;
    size_t i;
    json_t *p;
    (void)argc, (void)argv;
    enum cli_exit code = presets_now(c, &environment, &pictures);
    if (code == CLI_DONE && !c->json)
        printf("%-12s %-6s %-10s %-8s %7s  %s\n", "name", "format", "size", "fit", "quality",
               "hash");
    json_array_foreach(pictures, i, p)
    {
        if (c->json)
            cli_print_json(p);
        else
            print_picture(p);
    }
    json_decref(pictures);
    json_decref(environment);
    return code;
}

/* ---- diff ---- */

static const json_t *
find_picture(const json_t *pictures, const json_t *like)
{
    size_t i;
    json_t *p;
    json_array_foreach((json_t *)pictures, i, p)
    {
        if (strcmp(cli_str(p, "name"), cli_str(like, "name")) == 0 &&
            strcmp(cli_str(p, "format"), cli_str(like, "format")) == 0)
            return p;
    }
    return NULL;
}

static void
print_value(const json_t *value)
{
    if (value == NULL)
        fputs("none", stdout);
    else if (json_is_string(value))
        fputs(json_string_value(value), stdout);
    else if (json_is_integer(value))
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        printf("%g", json_real_value(value));
    else
        fputs(json_is_true(value) ? "true" : "false", stdout);
}

/* "quality 80 -> 70, focus centre -> attention" */
static void
print_changes(const json_t *from, const json_t *to)
{
    const char *name, *comma = "";
    json_t *value, *all = json_object();
    json_object_update(all, (json_t *)from);
    json_object_update(all, (json_t *)to);
    json_object_del(all, "hash");
    json_object_foreach(all, name, value)
    {
        const json_t *before = json_object_get(from, name), *after = json_object_get(to, name);
        if (before != NULL && after != NULL && json_equal(before, after))
            continue;
        printf("%s%s ", comma, name);
        print_value(before);
        fputs(" -> ", stdout);
        print_value(after);
        comma = ", ";
    }
    json_decref(all);
}

/* `from` or `to` is NULL for one that is added or removed. */
static void
print_change(const struct cli *c, const json_t *from, const json_t *to)
{
    const json_t *p = to != NULL ? to : from;
    if (c->json) {
        json_t *line = json_pack("{ss ss ss sO? sO?}", "change",
                                 from == NULL ? "added"
                                 : to == NULL ? "removed"
                                              : "changed",
                                 "name", cli_str(p, "name"), "format", cli_str(p, "format"), "from",
                                 from, "to", to);
        cli_print_json(line);
        json_decref(line);
        return;
    }
    printf("%s %-12s %-6s ",
           from == NULL ? "+"
           : to == NULL ? "-"
                        : "~",
           cli_str(p, "name"), cli_str(p, "format"));
    if (from != NULL && to != NULL)
        print_changes(from, to);
    else
        printf("%" PRId64 "x%" PRId64 " %s quality %" PRId64, json_get_int(p, "width", 0),
               json_get_int(p, "height", 0), cli_str(p, "fit"), json_get_int(p, "quality", 0));
    putchar('\n');
}

/* What differs, in the order of the new list and then what is gone. */
static int
print_diff(const struct cli *c, const json_t *from, const json_t *to)
{
    int changes = 0;
    size_t i;
    json_t *p;
    json_array_foreach((json_t *)to, i, p)
    {
        const json_t *old = find_picture(from, p);
        if (old != NULL && strcmp(cli_str(old, "hash"), cli_str(p, "hash")) == 0)
            continue;
        print_change(c, old, p);
        changes++;
    }
    json_array_foreach((json_t *)from, i, p)
    {
        if (find_picture(to, p) != NULL)
            continue;
        print_change(c, p, NULL);
        changes++;
    }
    return changes;
}

static enum cli_exit
diff(struct cli *c, int argc, char **argv)
{
    json_t *environment = NULL, *from = NULL, *to = NULL;
    struct buf text;
    (void)argc;
    buf_init(&text, FILE_MAX);
    enum cli_exit code = cli_presets_file(c, argv[0], &text, &to);
    if (code == CLI_DONE)
        code = presets_now(c, &environment, &from);
    if (code == CLI_DONE && print_diff(c, from, to) > 0)
        code = CLI_SOME_FAILED;
    json_decref(from);
    json_decref(to);
    json_decref(environment);
    buf_fini(&text);
    return code;
}

/* ---- set ---- */

static enum cli_exit
put_presets(struct cli *c, json_t *environment, struct slice text)
{
    struct buf query;
    enum cli_exit code = CLI_DONE;
    buf_init(&query, 1024);
    json_object_set_new(environment, "PRESETS", json_stringn(text.p, text.n));
    json_t *patch = json_pack("{sO}", "environment", environment);
    remote_query_add(&query, "name", slice_str(function_name(c)));
    json_t *answer = cli_call(c, "PUT", "/_/functions", buf_slice(&query), patch, &code);
    json_decref(answer);
    json_decref(patch);
    buf_fini(&query);
    return code;
}

static bool
has_rule_for(const json_t *bucket, const char *function)
{
    size_t i;
    json_t *rule;
    json_array_foreach(json_object_get(bucket, "rules"), i, rule)
    {
        if (strcmp(cli_str(rule, "function"), function) == 0)
            return true;
    }
    return false;
}

static int
print_stale(void *arg, const json_t *bucket)
{
    struct cli *c = arg;
    const char *name = cli_str(bucket, "bucket"), *function = function_name(c);
    enum cli_exit code = CLI_DONE;
    if (!has_rule_for(bucket, function))
        return CLI_DONE;
    int64_t count = cli_stale_objects(c, slice_str(name), function, &code);
    if (code != CLI_DONE)
        return (int)code;
    if (c->json)
        printf("{\"bucket\":\"%s\",\"stale\":%" PRId64 "}\n", name, count);
    else if (count > 0)
        printf("to be made again of %s: %" PRId64 " (darkroom reprocess s3://%s --function %s)\n",
               name, count, name, function);
    return CLI_DONE;
}

static enum cli_exit
set(struct cli *c, int argc, char **argv)
{
    json_t *environment = NULL, *from = NULL, *to = NULL;
    struct buf text;
    (void)argc;
    buf_init(&text, FILE_MAX);
    enum cli_exit code = cli_presets_file(c, argv[0], &text, &to);
    if (code == CLI_DONE)
        code = presets_now(c, &environment, &from);
    if (code == CLI_DONE)
        code = put_presets(c, environment, buf_slice(&text));
    if (code == CLI_DONE && print_diff(c, from, to) == 0 && !c->json)
        puts("no change");
    if (code == CLI_DONE && !cli_flag_on(c, "no-count"))
        code = cli_each_bucket(c, print_stale, c);
    json_decref(from);
    json_decref(to);
    json_decref(environment);
    buf_fini(&text);
    return code;
}

#define FUNCTION_FLAG                                                               \
    {                                                                               \
        "function", "FUNCTION", "whose presets (default thumbnail)", CLI_TEXT, 0, 0 \
    }

static const struct cli_flag flags[] = {FUNCTION_FLAG, {0}};
static const struct cli_flag set_flags[] = {
    FUNCTION_FLAG,
    {"no-count", NULL, "do not count what is to be made again", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "list",
     .arguments = "",
     .summary = "what is made of each upload",
     .flags = flags,
     .run = list},
    {.name = "diff",
     .arguments = "FILE",
     .summary = "what a file would change; exit code 0: nothing, 1: something",
     .flags = flags,
     .details = "Changes nothing. Pictures are told apart by name and format: + is new, - goes, ~ "
                "is made otherwise.",
     .example = "presets diff presets.json",
     .run = diff},
    {.name = "set",
     .arguments = "FILE",
     .summary = "replace the whole list by that in a file, and count what becomes stale",
     .flags = set_flags,
     .details =
         "FILE is a JSON array of objects: name, width, height; fit (cover, contain, inside), "
         "format (webp, jpeg, png, avif), quality, focus (centre, attention, entropy); enlarge, "
         "animated (webp), keep_copyright (not png): true or false; sharpen: 0 to 10; background: "
         "\"#rrggbb\". A format may be a list of them, or \"auto\" for [\"webp\", \"avif\", "
         "\"jpeg\"], and quality then a table: {\"webp\": 80, \"avif\": 50}. The first format goes "
         "by the preset's name and is made at once; the others, and AVIF always, are made when no "
         "upload waits, as KEY/small.avif beside KEY/small.webp, and are not part of \"ready\". 32 "
         "pictures in all. What is stored stays until it is reprocessed.",
     .example = "presets set --function thumbnail presets.json",
     .run = set},
    {0},
};

const struct cli_command cli_command_presets = {
    .name = "presets", .summary = "the sizes and formats that are made", .verbs = verbs};
