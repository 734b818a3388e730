/*
 * explain: the story of one object in the order it happened.
 */
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

#define QUERY_MAX 8192

json_t *
cli_story(struct cli *c, struct slice bucket, struct slice key, enum cli_exit *code)
{
    struct buf query;
    buf_init(&query, QUERY_MAX);
    remote_query_add(&query, "bucket", bucket);
    remote_query_add(&query, "key", key);
    json_t *story = cli_call(c, "GET", "/_/explain", buf_slice(&query), NULL, code);
    buf_fini(&query);
    return story;
}

/* Foreign text of an object member. */
static void
print_member(const char *label, const json_t *object, const char *name)
{
    printf("%s", label);
    cli_print_text(json_get_str(object, name));
}

static void
print_object(const json_t *story)
{
    const json_t *o = json_object_get(story, "object");
    printf("s3://%s/", cli_str(story, "bucket"));
    cli_print_text(json_get_str(story, "key"));
    putchar('\n');
    if (!json_is_object(o)) {
        puts("  stored      no current version");
        return;
    }
    printf("  stored      %s  ", cli_str(o, "modified"));
    cli_print_bytes(json_get_int(o, "size", 0));
    print_member("  ", o, "content_type");
    printf("  ETag %s  generation %" PRId64 "\n", cli_str(o, "etag"),
           json_get_int(o, "generation", 0));
}

static void
print_events(const json_t *list, const char *label)
{
    size_t i;
    json_t *e;
    json_array_foreach((json_t *)list, i, e)
    {
        printf("  %-11s %s  %s  %s  lane %s  attempts %" PRId64, label, cli_str(e, "created"),
               cli_str(e, "function"), cli_str(e, "event"), cli_str(e, "lane"),
               json_get_int(e, "attempts", 0));
        if (json_get_str(e, "reason").n > 0)
            print_member("  ", e, "reason");
        putchar('\n');
    }
}

/* The list is newest first. */
static void
print_attempts(const json_t *list)
{
    for (size_t i = json_array_size(list); i > 0; i--) {
        const json_t *t = json_array_get(list, i - 1);
        printf("  attempt     %s  %-10s worker %" PRId64 "  %.1f ms  CPU %.1f ms  %.0f MB  %s",
               cli_str(t, "started"), cli_str(t, "function"), json_get_int(t, "pid", 0),
               (double)json_get_int(t, "run_us", 0) / 1e3,
               (double)json_get_int(t, "cpu_us", 0) / 1e3,
               (double)json_get_int(t, "rss_bytes", 0) / 1e6, cli_str(t, "outcome"));
        if (json_get_str(t, "reason").n > 0)
            print_member(": ", t, "reason");
        putchar('\n');
    }
}

static void
print_derived(const json_t *list)
{
    size_t i;
    json_t *d;
    json_array_foreach((json_t *)list, i, d)
    {
        printf("  derived     %-12s s3://%s/", cli_str(d, "preset"), cli_str(d, "bucket"));
        cli_print_text(json_get_str(d, "key"));
        printf("  from generation %" PRId64 "\n", json_get_int(d, "source_generation", 0));
    }
}

static void
print_item(const json_t *item)
{
    const char *name;
    json_t *value;
    if (!json_is_object(item)) {
        puts("  item        none");
        return;
    }
    json_object_foreach((json_t *)item, name, value)
    {
        struct buf text;
        buf_init(&text, REMOTE_REPLY_MAX);
        if (json_is_string(value))
            buf_put(&text, json_string_value(value), json_string_length(value));
        else if (json_is_object(value) || json_is_array(value))
            json_write(&text, value, false);
        else if (json_is_integer(value))
            buf_printf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        else if (json_is_real(value))
            buf_printf(&text, "%g", json_real_value(value));
        else
            buf_puts(&text, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
        printf("  item        %-16s ", name);
        cli_print_text(buf_slice(&text));
        putchar('\n');
        buf_fini(&text);
    }
}

/* No object and no trace of one. */
static bool
is_unknown(const json_t *story)
{
    return !json_is_object(json_object_get(story, "object")) &&
           json_array_size(json_object_get(story, "events")) == 0 &&
           json_array_size(json_object_get(story, "attempts")) == 0 &&
           json_array_size(json_object_get(story, "dead_letters")) == 0;
}

static enum cli_exit
explain(struct cli *c, int argc, char **argv)
{
    struct slice bucket, key;
    enum cli_exit code = CLI_DONE;
    (void)argc;
    cli_s3(argv[0], &bucket, &key);
    json_t *story = cli_story(c, bucket, key, &code);
    if (story == NULL)
        return code;
    if (c->json) {
        cli_print_json(story);
    } else {
        print_object(story);
        print_events(json_object_get(story, "events"), "waiting");
        print_attempts(json_object_get(story, "attempts"));
        print_events(json_object_get(story, "dead_letters"), "dead letter");
        print_derived(json_object_get(story, "derived"));
        print_item(json_object_get(story, "item"));
    }
    if (is_unknown(story)) {
        cli_complain("%s: no such object, and no trace of one", argv[0]);
        code = CLI_SOME_FAILED;
    }
    json_decref(story);
    return code;
}

static const struct cli_verb verbs[] = {
    {.arguments = "s3://BUCKET/KEY",
     .summary = "the whole story of one object",
     .example = "explain s3://photos/cat.jpg",
     .run = explain},
    {0},
};

const struct cli_command cli_command_explain = {
    .name = "explain", .summary = "the whole story of one object", .verbs = verbs};
