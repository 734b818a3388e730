/*
 * explain: what there is, then the story of the object in the order it happened: who did what to
 * it, and what the workers made of that; then what waits or was given up, what was derived, its
 * item.
 */
#include "base/clock.h"
#include "base/err.h"
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

/* ---- what there is ---- */

static void
print_served(const char *label, const json_t *object, const json_t *story)
{
    if (json_is_string(json_object_get(object, "last_served")))
        printf("%s%s", label, cli_str(object, "last_served"));
    else
        printf("%snot since the server's start, %s", label, cli_str(story, "served_since"));
}

static void
print_object(const json_t *story)
{
    const json_t *o = json_object_get(story, "object");
    const json_t *source = json_object_get(story, "source");
    printf("s3://%s/", cli_str(story, "bucket"));
    cli_print_text(json_get_str(story, "key"));
    putchar('\n');
    if (!json_is_object(o)) {
        puts("  now         no object");
    } else {
        fputs("  now         ", stdout);
        cli_print_bytes(json_get_int(o, "size", 0));
        print_member("  ", o, "content_type");
        printf("  ETag %s  version %s  generation %" PRId64 "\n", cli_str(o, "etag"),
               cli_str(o, "version_id"), json_get_int(o, "generation", 0));
    }
    if (json_is_object(source)) {
        printf("  made of     s3://%s/", cli_str(source, "bucket"));
        cli_print_text(json_get_str(source, "key"));
        printf("  preset %s, by %s, of generation %" PRId64 "\n", cli_str(source, "preset"),
               cli_str(source, "function"), json_get_int(source, "generation", 0));
    }
    if (json_is_object(o)) {
        print_served("  last sent   ", story, story);
        putchar('\n');
    }
}

static void
print_derived(const json_t *list, const json_t *story)
{
    size_t i;
    json_t *d;
    json_array_foreach((json_t *)list, i, d)
    {
        printf("  derived     %-12s s3://%s/", cli_str(d, "preset"), cli_str(d, "bucket"));
        cli_print_text(json_get_str(d, "key"));
        printf("  of generation %" PRId64, json_get_int(d, "source_generation", 0));
        print_served("  last sent ", d, story);
        putchar('\n');
    }
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
        if (json_get_str(e, "request_id").n > 0)
            print_member("  request ", e, "request_id");
        if (json_get_int(e, "batch", 0) != 0)
            printf("  batch %" PRId64, json_get_int(e, "batch", 0));
        if (json_get_str(e, "class").n > 0)
            print_member("  ", e, "class");
        if (json_get_str(e, "reason").n > 0)
            print_member("  ", e, "reason");
        putchar('\n');
    }
}

/* ---- what happened: changes and attempts, in the order of time ---- */

static const char *
deed_of(const json_t *change)
{
    static const struct {
        const char *event, *deed;
    } deeds[] = {
        {"ObjectCreated:Put", "put"},
        {"ObjectCreated:Post", "posted"},
        {"ObjectCreated:Copy", "copied here"},
        {"ObjectCreated:CompleteMultipartUpload", "put in parts"},
        {"ObjectRemoved:Delete", "deleted"},
        {"ObjectRemoved:DeleteMarkerCreated", "deleted (marker)"},
        {"LifecycleExpiration:Delete", "expired"},
        {"LifecycleExpiration:DeleteMarkerCreated", "expired (marker)"},
    };
    const char *event = cli_str(change, "event");
    if (json_get_bool(change, "restored", false))
        return "current again";
    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
        if (strcmp(event, deeds[i].event) == 0)
            return deeds[i].deed;
    }
    return event;
}

static void
print_change(const json_t *e)
{
    printf("  %s  %s by ", cli_str(e, "time"), deed_of(e));
    cli_print_text(json_get_str(e, "who"));
    if (json_get_str(e, "source_ip").n > 0)
        print_member(" from ", e, "source_ip");
    if (json_get_int(e, "size", -1) >= 0) {
        fputs("  ", stdout);
        cli_print_bytes(json_get_int(e, "size", 0));
    }
    printf("  version %s  generation %" PRId64, cli_str(e, "version_id"),
           json_get_int(e, "seq", 0));
    if (json_get_str(e, "request_id").n > 0)
        print_member("  request ", e, "request_id");
    putchar('\n');
}

/* Each line by itself, behind a bar. */
static void
print_stderr(struct slice text)
{
    while (text.n > 0) {
        struct slice line = slice_cut(text, '\n', &text);
        fputs("      stderr | ", stdout);
        cli_print_text(line);
        putchar('\n');
    }
}

static int64_t
time_of(const json_t *object, const char *name)
{
    int64_t ms = 0;
    return clock_parse(cli_str(object, name), &ms) == ERR_NONE ? ms : 0;
}

static void
print_attempt(const json_t *t)
{
    printf("  %s  %s: %s in %.1f ms", cli_str(t, "started"), cli_str(t, "function"),
           cli_str(t, "outcome"), (double)json_get_int(t, "run_us", 0) / 1e3);
    if (time_of(t, "queued") != 0)
        printf(", %" PRId64 " ms after its event", time_of(t, "started") - time_of(t, "queued"));
    printf("  CPU %.1f ms  %.0f MB  worker %" PRId64 "  generation %" PRId64,
           (double)json_get_int(t, "cpu_us", 0) / 1e3,
           (double)json_get_int(t, "rss_bytes", 0) / 1e6, json_get_int(t, "pid", 0),
           json_get_int(t, "generation", 0));
    if (json_get_str(t, "reason").n > 0)
        print_member("\n      ", t, "reason");
    putchar('\n');
    print_stderr(json_get_str(t, "stderr"));
}

/* Both lists are newest first, and times are texts that sort. */
static void
print_story(const json_t *changes, const json_t *attempts)
{
    size_t i = json_array_size(changes), k = json_array_size(attempts);
    while (i > 0 || k > 0) {
        const json_t *change = i > 0 ? json_array_get(changes, i - 1) : NULL;
        const json_t *attempt = k > 0 ? json_array_get(attempts, k - 1) : NULL;
        if (attempt == NULL ||
            (change != NULL && strcmp(cli_str(change, "time"), cli_str(attempt, "started")) <= 0)) {
            print_change(change);
            i--;
        } else {
            print_attempt(attempt);
            k--;
        }
    }
}

/* ---- the item ---- */

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
        int pad = strlen(name) < 16 ? 17 - (int)strlen(name) : 1;
        fputs("  item        ", stdout);
        cli_print_text(slice_str(name)); /* whoever may update the item has chosen it */
        printf("%*s", pad, "");
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
           json_array_size(json_object_get(story, "changes")) == 0 &&
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
        print_story(json_object_get(story, "changes"), json_object_get(story, "attempts"));
        print_events(json_object_get(story, "events"), "waiting");
        print_events(json_object_get(story, "dead_letters"), "dead letter");
        print_derived(json_object_get(story, "derived"), story);
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
     .details = "Also of a deleted object, as far back as events.retention_days go, and of a "
                "thumbnail, which tells its source. When an object was last sent is known "
                "since the start of the server only.",
     .example = "explain s3://photos/cat.jpg",
     .run = explain},
    {0},
};

const struct cli_command cli_command_explain = {
    .name = "explain", .summary = "the whole story of one object", .verbs = verbs};
