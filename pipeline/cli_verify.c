/*
 * verify: asks for one page of the check after the other until there is no further one. The server
 * keeps nothing between them, so it may be interrupted at any time, and begun anew.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define REDRAW_MS 200
#define PATIENCE_MS 60000 /* of each page, with a server that is busy */
#define KIND_COUNT 6

static const char *const kinds[KIND_COUNT] = {"missing",  "stale",   "orphaned",
                                              "mismatch", "damaged", "stuck"};

struct tally {
    int64_t kinds[KIND_COUNT];
    int64_t findings, fixed;
    int64_t objects, rows, bytes;
    int64_t started_ms, drawn_ms;
    bool terminal, drawn;
};

/* ---- output ---- */

static void
draw(struct tally *t)
{
    int64_t now = clock_mono_ms();
    if (!t->terminal || (t->drawn && now - t->drawn_ms < REDRAW_MS))
        return;
    double seconds = (double)(now - t->started_ms) / 1000;
    fprintf(stderr, "\r%" PRId64 " objects, %" PRId64 " rows  %.0f/s  %" PRId64 " findings   ",
            t->objects, t->rows, seconds > 0 ? (double)(t->objects + t->rows) / seconds : 0,
            t->findings);
    t->drawn = true;
    t->drawn_ms = now;
}

static void
wipe(struct tally *t)
{
    if (t->drawn)
        fprintf(stderr, "\r\033[K");
    t->drawn = false;
}

static void
print_finding(const struct cli *c, const json_t *f)
{
    if (c->json) {
        cli_print_json(f);
        return;
    }
    printf("%-9s ", cli_str(f, "kind"));
    if (cli_str(f, "bucket")[0] != '\0') {
        printf("s3://%s/", cli_str(f, "bucket"));
        cli_print_text(json_get_str(f, "key"));
        printf("  ");
    }
    cli_print_text(json_get_str(f, "what"));
    printf("; %s%s\n", json_get_bool(f, "fixed", false) ? "fixed: " : "", cli_str(f, "todo"));
}

static void
print_totals(const struct cli *c, const struct tally *t)
{
    double seconds = (double)(clock_mono_ms() - t->started_ms) / 1000;
    if (c->json) {
        json_t *out =
            json_pack("{sI sI sI sI sI sf}", "objects", (json_int_t)t->objects, "rows",
                      (json_int_t)t->rows, "bytes", (json_int_t)t->bytes, "findings",
                      (json_int_t)t->findings, "fixed", (json_int_t)t->fixed, "seconds", seconds);
        for (size_t i = 0; i < KIND_COUNT; i++)
            json_object_set_new(out, kinds[i], json_integer(t->kinds[i]));
        cli_print_json(out);
        json_decref(out);
        return;
    }
    printf("%" PRId64 " objects and %" PRId64 " rows in %.1f s", t->objects, t->rows, seconds);
    if (t->bytes > 0) {
        printf(", ");
        cli_print_bytes(t->bytes);
        printf(" read");
    }
    printf(": %s", t->findings == 0 ? "all is well" : "");
    for (size_t i = 0, shown = 0; i < KIND_COUNT; i++) {
        if (t->kinds[i] > 0)
            printf("%s%" PRId64 " %s", shown++ > 0 ? ", " : "", t->kinds[i], kinds[i]);
    }
    if (t->fixed > 0)
        printf("; %" PRId64 " fixed", t->fixed);
    putchar('\n');
}

/* ---- asking ---- */

static void
take_page(const struct cli *c, struct tally *t, const json_t *page)
{
    size_t i;
    json_t *f;
    const json_t *findings = json_object_get(page, "findings");
    t->objects += json_get_int(page, "objects", 0);
    t->rows += json_get_int(page, "rows", 0);
    t->bytes += json_get_int(page, "bytes", 0);
    if (json_array_size(findings) > 0)
        wipe(t);
    json_array_foreach((json_t *)findings, i, f)
    {
        t->findings++;
        t->fixed += json_get_bool(f, "fixed", false);
        for (size_t k = 0; k < KIND_COUNT; k++)
            t->kinds[k] += slice_eqs(json_get_str(f, "kind"), kinds[k]);
        print_finding(c, f);
    }
    draw(t);
}

static json_t *
question(const struct cli *c, int argc, char **argv)
{
    struct slice bucket = SLICE_LIT(""), prefix = SLICE_NONE;
    json_t *body = json_object();
    if (argc > 0)
        cli_s3(argv[0], &bucket, &prefix);
    json_object_set_new(body, "bucket", json_stringn(bucket.p, bucket.n));
    if (prefix.n > 0)
        json_object_set_new(body, "prefix", json_stringn(prefix.p, prefix.n));
    json_object_set_new(body, "deep", json_boolean(cli_flag_on(c, "deep")));
    json_object_set_new(body, "fix", json_boolean(cli_flag_on(c, "fix")));
    return body;
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    struct tally t = {.started_ms = clock_mono_ms(), .terminal = isatty(STDERR_FILENO)};
    json_t *body = question(c, argc, argv);
    c->patience_ms = PATIENCE_MS;
    for (bool more = true; more && code == CLI_DONE;) {
        json_t *page = cli_call(c, "POST", "/_/verify", SLICE_NONE, body, &code);
        if (page == NULL) {
            wipe(&t);
            break;
        }
        take_page(c, &t, page);
        more = json_is_object(json_object_get(page, "cursor"));
        if (more)
            json_object_set(body, "cursor", json_object_get(page, "cursor"));
        json_decref(page);
    }
    json_decref(body);
    if (code != CLI_DONE)
        return code;
    wipe(&t);
    print_totals(c, &t);
    return t.findings > t.fixed ? CLI_SOME_FAILED : CLI_DONE;
}

static const struct cli_flag flags[] = {
    {"deep", NULL, "read all bytes of the objects as well", 0, 0, 0},
    {"fix", NULL, "repair what can be, and say what was done", 0, 0, 0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.arguments = "[s3://BUCKET[/PREFIX]]",
     .summary = "check that objects, thumbnails, items and events hang together",
     .flags = flags,
     .details =
         "Finds what is missing (a rule asks for it, nothing brings it), stale (of another version "
         "of the source, or another preset), orphaned (its source is gone), a mismatch (the item "
         "says other things than the objects), damaged (bytes; with --deep all are read, else "
         "what is known is told), stuck (an event, or a pending item, without end). One line for "
         "each; exit code 1 while findings remain. Safe at any time: uploads meanwhile make no "
         "finding, and a busy server is waited for. --fix queues the work again at batch priority "
         "and removes orphans; what only a client can bring back it leaves alone.",
     .example = "verify s3://photos/2024/ --deep",
     .run = run},
    {0},
};

const struct cli_command cli_command_verify = {
    .name = "verify", .summary = "check that everything hangs together", .verbs = verbs};
