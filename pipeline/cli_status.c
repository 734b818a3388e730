#include "base/chk.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

static void
print_lanes(const json_t *queue)
{
    static const char *const lanes[] = {"live", "followup", "batch", "dead"};
    printf("%-10s %s\n", "lane", "events");
    for (size_t i = 0; i < ARRAY_LEN(lanes); i++)
        printf("%-10s %" PRId64 "\n", lanes[i], json_get_int(queue, lanes[i], 0));
}

static void
print_workers(const json_t *pool, const json_t *workers)
{
    size_t i;
    json_t *w;
    printf("\n%-8s %-10s %11s %10s %8s\n", "worker", "state", "invocations", "memory", "restarts");
    json_array_foreach((json_t *)workers, i, w)
    {
        printf("%-8" PRId64 " %-10s %11" PRId64 " %7.1f MB %8" PRId64 "\n",
               json_get_int(w, "pid", 0), cli_str(w, "state"), json_get_int(w, "invocations", 0),
               (double)json_get_int(w, "rss_bytes", 0) / 1e6, json_get_int(w, "restarts", 0));
    }
    printf("formats: %s\n", cli_str(pool, "formats"));
    if (cli_str(pool, "sandbox_missing")[0] != '\0')
        printf("sandbox lacks: %s\n", cli_str(pool, "sandbox_missing"));
    if (cli_str(pool, "problem")[0] != '\0')
        printf("problem: %s\n", cli_str(pool, "problem"));
}

static void
print_damage(const json_t *scrub)
{
    size_t i;
    json_t *o;
    int64_t count = json_get_int(scrub, "quarantined", 0);
    if (count > 0)
        printf("\ndamaged: %" PRId64 " blobs in quarantine; upload these again, or restore them:\n",
               count);
    json_array_foreach(json_object_get(scrub, "damaged"), i, o)
    {
        printf("  s3://%s/", cli_str(o, "bucket"));
        cli_print_text(json_get_str(o, "key"));
        printf("  %s\n", cli_str(o, "reason"));
    }
}

static void
print_running(const json_t *running)
{
    size_t i;
    json_t *run;
    if (json_array_size(running) > 0)
        puts("\nrunning:");
    json_array_foreach((json_t *)running, i, run)
    {
        printf("  %-22s s3://%s/", cli_str(run, "functions"), cli_str(run, "bucket"));
        cli_print_text(json_get_str(run, "key"));
        printf("  (%s)\n", cli_str(run, "lane"));
    }
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    (void)argc, (void)argv;
    json_t *s = cli_call(c, "GET", "/_/status", SLICE_NONE, NULL, &code);
    if (s == NULL)
        return code;
    if (c->json) {
        cli_print_json(s);
    } else {
        printf("%s  storage: %s\n\n", c->endpoint, cli_str(s, "storage"));
        print_lanes(json_object_get(s, "queue"));
        print_workers(json_object_get(s, "pool"), json_object_get(s, "workers"));
        print_running(json_object_get(s, "running"));
        print_damage(json_object_get(s, "scrub"));
    }
    json_decref(s);
    return CLI_DONE;
}

static const struct cli_verb verbs[] = {
    {.arguments = "", .summary = "lanes, workers, what runs now", .run = run},
    {0},
};

const struct cli_command cli_command_status = {
    .name = "status", .summary = "lanes, workers, what runs now", .verbs = verbs};
