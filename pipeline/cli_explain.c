/*
 * explain: the story of one object in the order it happened. wait: until the objects are ready,
 * then one block per picture.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#define POLL_MS 20
#define WAIT_S_DEFAULT 60
#define WAIT_S_MAX 86400
#define READY_MS_SHOWN 60000
#define QUERY_MAX 8192

static json_t *
story_of(struct cli *c, struct slice bucket, struct slice key, enum cli_exit *code)
{
    struct buf query;
    buf_init(&query, QUERY_MAX);
    remote_query_add(&query, "bucket", bucket);
    remote_query_add(&query, "key", key);
    json_t *story = cli_call(c, "GET", "/_/explain", buf_slice(&query), NULL, code);
    buf_fini(&query);
    return story;
}

/* ---- explain ---- */

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

enum cli_exit
cli_explain(struct cli *c, int argc, char **argv)
{
    struct slice bucket = SLICE_NONE, key = SLICE_NONE;
    if (argc != 1 || cli_parse_s3(argv[0], &bucket, &key) != ERR_NONE || key.n == 0)
        return cli_usage("explain", "needs s3://BUCKET/KEY");
    enum cli_exit code = cli_connect(c);
    json_t *story = code == CLI_DONE ? story_of(c, bucket, key, &code) : NULL;
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
    code = is_unknown(story) ? CLI_SOME_FAILED : CLI_DONE;
    json_decref(story);
    return code;
}

/* ---- wait ---- */

/* -1 not yet, 0 ended otherwise (skipped, failed, nothing to wait for), 1 ready. */
static int
verdict(const json_t *story)
{
    const char *preset;
    json_t *state;
    const json_t *item = json_object_get(story, "item");
    if (!json_is_object(item) || json_array_size(json_object_get(story, "events")) > 0)
        return json_is_object(json_object_get(story, "object")) && json_is_object(item) ? -1 : 0;
    json_object_foreach(json_object_get(item, "state"), preset, state)
    {
        if (strcmp(json_string_value(state) == NULL ? "" : json_string_value(state), "ready") != 0)
            return 0;
    }
    return json_is_true(json_object_get(item, "ready"));
}

static int64_t
time_of(const json_t *object, const char *name)
{
    int64_t ms = 0;
    return clock_parse(cli_str(object, name), &ms) == ERR_NONE ? ms : 0;
}

static void
print_presets(const json_t *item)
{
    const char *preset;
    json_t *state;
    json_object_foreach(json_object_get(item, "state"), preset, state)
    {
        const json_t *t = json_object_get(json_object_get(item, "thumbnails"), preset);
        printf("  %-12s ", preset);
        if (!json_is_object(t)) {
            cli_print_text(json_get_str(json_object_get(item, "state"), preset));
            putchar('\n');
            continue;
        }
        printf("%4" PRId64 " x %-4" PRId64 " %8" PRId64 " bytes  ", json_get_int(t, "width", 0),
               json_get_int(t, "height", 0), json_get_int(t, "size", 0));
        printf("/%s/", cli_str(t, "bucket"));
        cli_print_text(json_get_str(t, "key"));
        putchar('\n');
    }
}

static void
print_picture(const json_t *story)
{
    const json_t *item = json_object_get(story, "item");
    const json_t *exif = json_object_get(item, "exif");
    int64_t ready_ms = time_of(item, "ready_at") - time_of(item, "uploaded_at");
    cli_print_text(json_get_str(story, "key"));
    if (json_get_int(item, "width", 0) > 0)
        printf("  %s %" PRId64 " x %" PRId64, cli_str(item, "format"),
               json_get_int(item, "width", 0), json_get_int(item, "height", 0));
    if (json_get_str(exif, "camera_model").n > 0)
        print_member("  ", exif, "camera_model");
    if (json_get_str(item, "dominant_color").n > 0)
        print_member("  ", item, "dominant_color");
    if (time_of(item, "ready_at") != 0 && ready_ms < READY_MS_SHOWN)
        printf("  ready %" PRId64 " ms after the PUT", ready_ms);
    else if (time_of(item, "ready_at") != 0) /* made again later */
        printf("  ready since %s", cli_str(item, "ready_at"));
    putchar('\n');
    print_presets(item);
}

enum cli_exit
cli_wait(struct cli *c, int argc, char **argv)
{
    int64_t seconds = WAIT_S_DEFAULT;
    int count = 0, missing = 0;
    bool bad = false;
    const char *value;
    for (int i = 0; i < argc; i++) {
        uint64_t v = 0;
        if ((value = cli_option(argc, argv, &i, "--timeout", &bad)) != NULL) {
            if (bad)
                return CLI_USAGE;
            if (slice_to_u64(slice_str(value), &v) != ERR_NONE || v > WAIT_S_MAX)
                return cli_usage("wait", "--timeout needs seconds, 0 to %d, not \"%s\"", WAIT_S_MAX,
                                 value);
            seconds = (int64_t)v;
        } else {
            argv[count++] = argv[i];
        }
    }
    if (count == 0)
        return cli_usage("wait", "needs s3://BUCKET/KEY...");
    enum cli_exit code = cli_connect(c);
    int64_t deadline_ms = clock_mono_ms() + seconds * 1000;
    for (int i = 0; i < count && code == CLI_DONE; i++) {
        struct slice bucket = SLICE_NONE, key = SLICE_NONE;
        json_t *story = NULL;
        int state = -1;
        if (cli_parse_s3(argv[i], &bucket, &key) != ERR_NONE || key.n == 0)
            return cli_usage("wait", "%s is no s3://BUCKET/KEY", argv[i]);
        while (state < 0 && (story = story_of(c, bucket, key, &code)) != NULL) {
            state = verdict(story);
            if (state >= 0 || clock_mono_ms() >= deadline_ms)
                break;
            json_decref(story);
            story = NULL;
            poll(NULL, 0, POLL_MS);
        }
        missing += state != 1;
        if (story != NULL && c->json)
            cli_print_json(story);
        else if (story != NULL && json_is_object(json_object_get(story, "object")))
            print_picture(story);
        if (story != NULL && !json_is_object(json_object_get(story, "object")))
            cli_complain("%s: no such object", argv[i]);
        else if (story != NULL && !json_is_object(json_object_get(story, "item")))
            cli_complain("%s: nothing is made of it (no rule for its bucket and name)", argv[i]);
        if (story != NULL && state < 0)
            cli_complain("%s is not ready after %" PRId64 " s", argv[i], seconds);
        json_decref(story);
    }
    if (code != CLI_DONE)
        return code;
    return missing == 0 ? CLI_DONE : CLI_SOME_FAILED;
}
