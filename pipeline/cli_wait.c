/*
 * wait: until the objects are ready, then one block per picture.
 */
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#define POLL_MS 20
#define WAIT_MS_DEFAULT 60000
#define READY_MS_SHOWN 60000

/* Foreign text of an object's member. */
static void
print_member(const json_t *object, const char *name)
{
    fputs("  ", stdout);
    cli_print_text(json_get_str(object, name));
}

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
        int pad = strlen(preset) < 12 ? 13 - (int)strlen(preset) : 1;
        fputs("  ", stdout);
        cli_print_text(slice_str(preset));
        printf("%*s", pad, "");
        if (!json_is_object(t)) {
            cli_print_text(json_get_str(json_object_get(item, "state"), preset));
            putchar('\n');
            continue;
        }
        printf("%4" PRId64 " x %-4" PRId64 " %8" PRId64 " bytes  ", json_get_int(t, "width", 0),
               json_get_int(t, "height", 0), json_get_int(t, "size", 0));
        putchar('/');
        cli_print_text(json_get_str(t, "bucket"));
        putchar('/');
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
    if (json_get_int(item, "width", 0) > 0) {
        print_member(item, "format");
        printf(" %" PRId64 " x %" PRId64, json_get_int(item, "width", 0),
               json_get_int(item, "height", 0));
    }
    if (json_get_str(exif, "camera_model").n > 0)
        print_member(exif, "camera_model");
    if (json_get_str(item, "dominant_color").n > 0)
        print_member(item, "dominant_color");
    if (time_of(item, "ready_at") != 0 && ready_ms < READY_MS_SHOWN)
        printf("  ready %" PRId64 " ms after the PUT", ready_ms);
    else if (time_of(item, "ready_at") != 0) /* made again later */
        printf("  ready since %s", cli_str(item, "ready_at"));
    putchar('\n');
    print_presets(item);
}

/* Asks until there is a verdict or the time is up; -1 with a story: the time is up. */
static json_t *
wait_for(struct cli *c, const char *target, int64_t deadline_ms, int *state, enum cli_exit *code)
{
    struct slice bucket, key;
    json_t *story;
    cli_s3(target, &bucket, &key);
    *state = -1;
    while ((story = cli_story(c, bucket, key, code)) != NULL) {
        *state = verdict(story);
        if (*state >= 0 || clock_mono_ms() >= deadline_ms)
            break;
        json_decref(story);
        poll(NULL, 0, POLL_MS);
    }
    return story;
}

static void
tell(const struct cli *c, const char *target, const json_t *story, int state)
{
    bool is_stored = json_is_object(json_object_get(story, "object"));
    if (c->json)
        cli_print_json(story);
    else if (is_stored)
        print_picture(story);
    if (!is_stored)
        cli_complain("%s: no such object", target);
    else if (!json_is_object(json_object_get(story, "item")))
        cli_complain("%s: nothing is made of it (no rule for its bucket and name)", target);
    else if (state < 0)
        cli_complain("%s is not ready in time (--timeout); see darkroom explain %s", target,
                     target);
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    int64_t deadline_ms = clock_mono_ms() + cli_flag_duration(c, "timeout", WAIT_MS_DEFAULT);
    enum cli_exit code = CLI_DONE;
    int missing = 0;
    for (int i = 0; i < argc && code == CLI_DONE; i++) {
        int state = -1;
        json_t *story = wait_for(c, argv[i], deadline_ms, &state, &code);
        if (story != NULL)
            tell(c, argv[i], story, state);
        missing += state != 1;
        json_decref(story);
    }
    return code == CLI_DONE && missing > 0 ? CLI_SOME_FAILED : code;
}

static const struct cli_flag flags[] = {
    {"timeout", "TIME", "give up after so many seconds, or 5m, 1h (default 60)", CLI_DURATION, 0,
     86400},
    {0},
};

static const struct cli_verb verbs[] = {
    {.arguments = "s3://BUCKET/KEY...",
     .summary = "wait until all thumbnails of these objects are ready",
     .flags = flags,
     .details = "Ready is every preset in the first of its formats.",
     .example = "wait s3://photos/cat.jpg --timeout 2m",
     .run = run},
    {0},
};

const struct cli_command cli_command_wait = {
    .name = "wait", .summary = "wait until all thumbnails of objects are ready", .verbs = verbs};
