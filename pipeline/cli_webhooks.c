#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

#define SECRET_FILE_MAX 256

static void
print_row(const json_t *h)
{
    int64_t since_ms = json_get_int(h, "failing_since_ms", 0);
    printf("%-8" PRId64 " %-8s %8" PRId64 " %8" PRId64 "  s3://%s/", json_get_int(h, "id", 0),
           cli_str(h, "state"), json_get_int(h, "told", 0), json_get_int(h, "given_up", 0),
           cli_str(h, "bucket"));
    cli_print_text(json_get_str(h, "prefix"));
    fputs("  ", stdout);
    cli_print_text(json_get_str(h, "url"));
    putchar('\n');
    if (since_ms == 0)
        return;
    fputs("         failing since ", stdout);
    cli_print_time(since_ms);
    fputs(": ", stdout);
    cli_print_text(json_get_str(h, "last_error"));
    putchar('\n');
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    size_t i;
    json_t *h;
    (void)argc, (void)argv;
    json_t *answer = cli_call(c, "GET", "/_/webhooks", SLICE_NONE, NULL, &code);
    if (answer == NULL)
        return code;
    json_t *rows = json_object_get(answer, "webhooks");
    if (!c->json && json_array_size(rows) == 0)
        puts("no webhooks");
    else if (!c->json)
        printf("%-8s %-8s %8s %8s  %s\n", "id", "state", "told", "given up", "objects and URL");
    json_array_foreach(rows, i, h)
    {
        if (c->json)
            cli_print_json(h);
        else
            print_row(h);
    }
    json_decref(answer);
    return code;
}

/* From a file, as a command line can be seen by everybody on the machine. */
static enum cli_exit
read_secret(const char *path, json_t *body)
{
    struct buf text;
    buf_init(&text, SECRET_FILE_MAX);
    int err = fsio_read_file(path, &text);
    struct slice secret = buf_slice(&text);
    while (secret.n > 0 && (secret.p[secret.n - 1] == '\n' || secret.p[secret.n - 1] == '\r'))
        secret.n--;
    json_t *value = err == ERR_NONE ? json_stringn(secret.n > 0 ? secret.p : "", secret.n) : NULL;
    if (value == NULL)
        cli_complain("cannot read a secret from %s: %s", path,
                     err == ERR_NOTFOUND ? "no such file"
                     : err != ERR_NONE   ? err_text(err)
                                         : "it is not UTF-8");
    else
        json_object_set_new(body, "secret", value);
    buf_fini(&text);
    return value == NULL ? CLI_USAGE : CLI_DONE;
}

static enum cli_exit
add(struct cli *c, int argc, char **argv)
{
    struct slice bucket, prefix;
    const char *secret_file = cli_flag_str(c, "secret-file");
    (void)argc;
    cli_s3(argv[0], &bucket, &prefix);
    json_t *body = json_pack("{ss# ss# ss}", "bucket", bucket.p, (int)bucket.n, "prefix",
                             prefix.n > 0 ? prefix.p : "", (int)prefix.n, "url", argv[1]);
    if (body == NULL)
        return cli_usage(c, "the URL is not UTF-8");
    enum cli_exit code = secret_file == NULL ? CLI_DONE : read_secret(secret_file, body);
    json_t *answer =
        code != CLI_DONE ? NULL : cli_call(c, "POST", "/_/webhooks", SLICE_NONE, body, &code);
    if (answer != NULL && c->json)
        cli_print_json(answer);
    else if (answer != NULL)
        printf("webhook %" PRId64 " tells %s what becomes of objects from now on\n"
               "secret: %s\n"
               "Keep it for the receiver: it is not shown again.\n",
               json_get_int(answer, "id", 0), argv[1], cli_str(answer, "secret"));
    json_decref(answer);
    json_decref(body);
    return code;
}

static enum cli_exit
remove_one(struct cli *c, int argc, char **argv)
{
    struct buf query;
    enum cli_exit code = CLI_DONE;
    (void)argc;
    buf_init(&query, 64);
    remote_query_add(&query, "id", slice_str(argv[0]));
    json_t *answer = cli_call(c, "DELETE", "/_/webhooks", buf_slice(&query), NULL, &code);
    buf_fini(&query);
    if (answer != NULL && c->json)
        cli_print_json(answer);
    else if (answer != NULL)
        printf("webhook %s is removed\n", argv[0]);
    json_decref(answer);
    return code;
}

static const struct cli_flag add_flags[] = {
    {"secret-file", "FILE",
     "the secret that signs, 16 to 128 characters; else one is made and shown once", CLI_FILE, 0,
     0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "list", .arguments = "", .summary = "all webhooks and how they do", .run = list},
    {.name = "add",
     .arguments = "s3://BUCKET[/PREFIX] URL",
     .summary = "tell a URL by signed POSTs what becomes of objects",
     .flags = add_flags,
     .details =
         "Each notice (ready, skipped, failed, added, deleted) is a POST of JSON, in order, until "
         "a 2xx answer; at least once, so drop ids that came before. X-Darkroom-Signature is v1= "
         "and the hex HMAC-SHA256, under the secret, of X-Darkroom-Timestamp, a dot and the body. "
         "The URL's host must be in the server's setting webhook.hosts. What fails for 24 hours is "
         "given up; list shows how many.",
     .example = "webhooks add s3://photos https://shop.example/hook --secret-file secret",
     .run = add},
    {.name = "remove", .arguments = "ID", .summary = "tell nothing any more", .run = remove_one},
    {0},
};

const struct cli_command cli_command_webhooks = {
    .name = "webhooks",
    .summary = "tell a URL by signed POSTs what becomes of objects",
    .verbs = verbs};
