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
list(struct cli *c)
{
    enum cli_exit code = CLI_DONE;
    size_t i;
    json_t *h;
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
add(struct cli *c, json_t *body)
{
    enum cli_exit code = CLI_DONE;
    json_t *answer = cli_call(c, "POST", "/_/webhooks", SLICE_NONE, body, &code);
    if (answer == NULL)
        return code;
    if (c->json)
        cli_print_json(answer);
    else
        printf("webhook %" PRId64 " tells %s what becomes of objects from now on\n"
               "secret: %s\n"
               "Keep it for the receiver: it is not shown again.\n",
               json_get_int(answer, "id", 0), cli_str(body, "url"), cli_str(answer, "secret"));
    json_decref(answer);
    return code;
}

/* s3://BUCKET[/PREFIX] URL [--secret-file FILE] */
static enum cli_exit
parse_add(int argc, char **argv, json_t *body)
{
    const char *where = NULL, *url = NULL, *secret_file = NULL;
    struct slice bucket, prefix;
    bool bad = false;
    for (int i = 0; i < argc && !bad; i++) {
        const char *value = cli_option(argc, argv, &i, "--secret-file", &bad);
        if (value != NULL)
            secret_file = value;
        else if (argv[i][0] == '-' || url != NULL)
            return cli_usage("webhooks", "unknown argument %s", argv[i]);
        else
            *(where == NULL ? &where : &url) = argv[i];
    }
    if (bad)
        return CLI_USAGE;
    if (url == NULL || cli_parse_s3(where, &bucket, &prefix) != ERR_NONE)
        return cli_usage("webhooks", "add needs s3://BUCKET[/PREFIX] URL");
    if (json_object_set_new(body, "bucket", json_stringn(bucket.p, bucket.n)) != 0 ||
        json_object_set_new(body, "prefix", json_stringn(prefix.n > 0 ? prefix.p : "", prefix.n)) !=
            0 ||
        json_object_set_new(body, "url", json_string(url)) != 0)
        return cli_usage("webhooks", "bucket, prefix and URL must be UTF-8");
    return secret_file == NULL ? CLI_DONE : read_secret(secret_file, body);
}

static enum cli_exit
remove_one(struct cli *c, const char *id)
{
    struct buf query;
    enum cli_exit code = CLI_DONE;
    buf_init(&query, 64);
    remote_query_add(&query, "id", slice_str(id));
    json_t *answer = cli_call(c, "DELETE", "/_/webhooks", buf_slice(&query), NULL, &code);
    buf_fini(&query);
    if (answer != NULL && c->json)
        cli_print_json(answer);
    else if (answer != NULL)
        printf("webhook %s is removed\n", id);
    json_decref(answer);
    return code;
}

enum cli_exit
cli_webhooks(struct cli *c, int argc, char **argv)
{
    uint64_t id = 0;
    const char *what = argc > 0 ? argv[0] : "";
    bool is_list = strcmp(what, "list") == 0 && argc == 1;
    bool is_add = strcmp(what, "add") == 0;
    bool is_remove = strcmp(what, "remove") == 0 && argc == 2 &&
                     slice_to_u64(slice_str(argv[1]), &id) == ERR_NONE;
    if (!is_list && !is_add && !is_remove)
        return cli_usage("webhooks", "needs add s3://BUCKET[/PREFIX] URL, list, or remove ID");
    json_t *body = json_object();
    enum cli_exit code = is_add ? parse_add(argc - 1, argv + 1, body) : CLI_DONE;
    if (code == CLI_DONE)
        code = cli_connect(c);
    if (code == CLI_DONE)
        code = is_list ? list(c) : is_add ? add(c, body) : remove_one(c, argv[1]);
    json_decref(body);
    return code;
}
