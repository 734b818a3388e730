/*
 * Backups are the server's work; this starts one and watches it. When the watching ends the backup
 * goes on.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define POLL_MS 100
#define AWAY_MS_MAX 30000

/* The server's folder when none is named; else absolute, by the directory we are in. */
static enum cli_exit
folder_of(struct cli *c, int argc, char **argv, char out[PATH_MAX])
{
    char here[PATH_MAX];
    int n = 0;
    out[0] = '\0';
    if (argc == 0)
        return CLI_DONE;
    if (argv[0][0] == '/')
        n = snprintf(out, PATH_MAX, "%s", argv[0]);
    else if (getcwd(here, sizeof here) != NULL)
        n = snprintf(out, PATH_MAX, "%s/%s", here, argv[0]);
    return n > 0 && n < PATH_MAX ? CLI_DONE : cli_usage(c, "the path is too long");
}

static void
query_of(struct buf *query, const char *dir, int64_t keep)
{
    buf_init(query, 3 * PATH_MAX + 64);
    if (keep >= 0)
        buf_printf(query, "keep=%" PRId64, keep);
    if (dir[0] != '\0') {
        buf_puts(query, keep >= 0 ? "&dir=" : "dir=");
        for (const char *p = dir; *p != '\0'; p++) {
            bool plain = strchr("/-._~", *p) != NULL || (*p >= '0' && *p <= '9') ||
                         (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z');
            buf_printf(query, plain ? "%c" : "%%%02X", (unsigned char)*p);
        }
    }
}

/* ---- watching ---- */

static void
draw(const json_t *job)
{
    int64_t pages = json_get_int(job, "pages", 0);
    int64_t left = json_get_int(job, "pages_left", 0);
    fprintf(stderr, "\r%s: database %" PRId64 " %%, %" PRId64 "/%" PRId64 " files   ",
            cli_str(job, "state"), pages > 0 ? (pages - left) * 100 / pages : 0,
            json_get_int(job, "files", 0), json_get_int(job, "files_all", 0));
}

static bool
is_over(const json_t *job, int64_t id)
{
    const char *state = cli_str(job, "state");
    return json_get_int(job, "id", 0) != id || strcmp(state, "done") == 0 ||
           strcmp(state, "failed") == 0;
}

/* The job once it is over; NULL: complained. */
static json_t *
watch(struct cli *c, int64_t id, enum cli_exit *code)
{
    bool terminal = isatty(STDERR_FILENO) != 0;
    int64_t seen_ms = clock_mono_ms();
    json_t *job = NULL;
    while (clock_mono_ms() - seen_ms < AWAY_MS_MAX) {
        int status = 0;
        json_t *answer = cli_try(c, "GET", "/_/backup", SLICE_NONE, &status);
        json_t *now = json_object_get(answer, "job");
        if (status == 200 && now != NULL) {
            seen_ms = clock_mono_ms();
            if (terminal)
                draw(now);
            if (is_over(now, id))
                job = json_incref(now);
        }
        json_decref(answer);
        if (job != NULL)
            break;
        poll(NULL, 0, POLL_MS);
    }
    if (terminal)
        fputc('\n', stderr);
    if (job == NULL) {
        cli_complain("the server is away; what it was doing cannot be told "
                     "(darkroom backup list shows what is whole)");
        *code = CLI_UNREACHABLE;
    } else if (json_get_int(job, "id", 0) != id) {
        cli_complain("the server was started anew; darkroom backup list shows what is whole");
        *code = CLI_SOME_FAILED;
    } else if (strcmp(cli_str(job, "state"), "failed") == 0) {
        cli_complain("the backup failed: %s (the server's log says more)", cli_str(job, "error"));
        *code = CLI_SOME_FAILED;
    }
    if (*code != CLI_DONE) {
        json_decref(job);
        job = NULL;
    }
    return job;
}

/* ---- verbs ---- */

static enum cli_exit
report(struct cli *c, const char *dir, const json_t *made)
{
    int64_t missing = json_get_int(made, "missing", 0);
    if (c->json) {
        cli_print_json(made);
    } else {
        printf("%s%s%s: %" PRId64 " objects, database ", dir, dir[0] != '\0' ? "/" : "",
               cli_str(made, "snapshot"), json_get_int(made, "objects", 0));
        cli_print_bytes(json_get_int(made, "db_bytes", 0));
        printf(", %" PRId64 " files (%" PRId64 " linked, %" PRId64 " as before, %" PRId64
               " copied), %.1f s\n",
               json_get_int(made, "files", 0), json_get_int(made, "linked", 0),
               json_get_int(made, "reused", 0), json_get_int(made, "copied", 0),
               (double)json_get_int(made, "took_ms", 0) / 1000);
    }
    if (missing > 0)
        cli_complain("%" PRId64 " files were not there: their objects are damaged in the server "
                     "too",
                     missing);
    return missing > 0 ? CLI_SOME_FAILED : CLI_DONE;
}

static enum cli_exit
create(struct cli *c, int argc, char **argv)
{
    char dir[PATH_MAX];
    enum cli_exit code = folder_of(c, argc, argv, dir);
    if (code != CLI_DONE)
        return code;
    json_t *body = json_pack("{ss}", "dir", dir);
    if (body == NULL)
        return cli_usage(c, "the path is not UTF-8");
    json_t *started = cli_call(c, "POST", "/_/backup", SLICE_NONE, body, &code);
    json_decref(body);
    if (started == NULL)
        return code;
    json_t *job = watch(c, json_get_int(started, "id", 0), &code);
    if (job != NULL)
        code = report(c, dir, json_object_get(job, "made"));
    json_decref(job);
    json_decref(started);
    return code;
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    char dir[PATH_MAX];
    struct buf query;
    size_t i;
    json_t *one;
    enum cli_exit code = folder_of(c, argc, argv, dir);
    if (code != CLI_DONE)
        return code;
    query_of(&query, dir, -1);
    json_t *answer = cli_call(c, "GET", "/_/backup", buf_slice(&query), NULL, &code);
    buf_fini(&query);
    if (answer != NULL && !c->json)
        printf("%s\n", cli_str(answer, "dir"));
    json_array_foreach(json_object_get(answer, "snapshots"), i, one)
    {
        if (c->json) {
            cli_print_json(one);
            continue;
        }
        printf("%-34s %10" PRId64 " objects  database ", cli_str(one, "snapshot"),
               json_get_int(one, "objects", 0));
        cli_print_bytes(json_get_int(one, "db_bytes", 0));
        printf("  %" PRId64 " files ", json_get_int(one, "files", 0));
        cli_print_bytes(json_get_int(one, "file_bytes", 0));
        puts(json_is_false(json_object_get(one, "own")) ? "  of another store" : "");
    }
    json_decref(answer);
    return code;
}

static void
pruned(const struct cli *c, int64_t removed, int64_t others)
{
    if (c->json) {
        printf("{\"removed\":%" PRId64 ",\"others\":%" PRId64 "}\n", removed, others);
        return;
    }
    printf("%" PRId64 " backups removed\n", removed);
    if (others > 0)
        printf("%" PRId64 " of other stores are left as they are\n", others);
}

static enum cli_exit
prune(struct cli *c, int argc, char **argv)
{
    char dir[PATH_MAX];
    struct buf query;
    int64_t keep = cli_flag_int(c, "keep", -1);
    if (keep < 0)
        return cli_usage(c, "--keep must say how many stay");
    enum cli_exit code = folder_of(c, argc, argv, dir);
    if (code != CLI_DONE)
        return code;
    query_of(&query, dir, keep);
    json_t *started = cli_call(c, "DELETE", "/_/backup", buf_slice(&query), NULL, &code);
    buf_fini(&query);
    if (started == NULL)
        return code;
    json_t *job = watch(c, json_get_int(started, "id", 0), &code);
    if (job != NULL)
        pruned(c, json_get_int(job, "removed", 0), json_get_int(job, "others", 0));
    json_decref(job);
    json_decref(started);
    return code;
}

static const struct cli_flag prune_flags[] = {
    {"keep", "N", "how many stay, the newest; 0: none", CLI_INT, 0, 10000},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "create",
     .arguments = "[DIR]",
     .summary = "a snapshot of all that the server holds, while it goes on",
     .details = "DIR is on the server's machine, and must be the folder that its setting backup.dir"
                " names (backups/ in the data directory unless set) or one below; without DIR it is"
                " that one. Each backup is a folder of its own, whole and independent of the"
                " others; large files that did not change take no room again. It holds the root"
                " keys: keep it as private as the data directory. On the disk of the data"
                " directory it guards against mistakes, not against the loss of the disk. The"
                " configuration file is not part of it.",
     .example = "backup create /srv/backup/darkroom",
     .run = create},
    {.name = "list",
     .arguments = "[DIR]",
     .summary = "whole backups, the newest first",
     .run = list},
    {.name = "prune",
     .arguments = "[DIR]",
     .summary = "remove all but the newest backups of this store, and halves",
     .flags = prune_flags,
     .details =
         "Backups of other stores in the same folder stay; a restored store is another one "
         "than the one it comes from. A backup that no server prunes is removed as a folder.",
     .example = "backup prune --keep 14",
     .run = prune},
    {0},
};

const struct cli_command cli_command_backup = {
    .name = "backup", .summary = "consistent copies of a running server", .verbs = verbs};
