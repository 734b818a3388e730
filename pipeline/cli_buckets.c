#include "base/err.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

json_t *
cli_bucket(struct cli *c, struct slice name, enum cli_exit *code)
{
    struct buf query;
    buf_init(&query, 1024);
    remote_query_add(&query, "name", name);
    json_t *bucket = cli_call(c, "GET", "/_/buckets", buf_slice(&query), NULL, code);
    buf_fini(&query);
    return bucket;
}

/* ---- list ---- */

static void
print_row(const json_t *b)
{
    size_t i;
    json_t *rule;
    printf("%-24s ", cli_str(b, "bucket"));
    cli_print_time(json_get_int(b, "created_ms", 0));
    printf("  %-8.*s ", (int)strcspn(cli_str(b, "access"), ":"), cli_str(b, "access"));
    json_array_foreach(json_object_get(b, "rules"), i, rule)
        printf("%s%s", i == 0 ? "" : ", ", cli_str(rule, "function"));
    if (cli_str(b, "derived")[0] != '\0')
        printf(" -> %s", cli_str(b, "derived"));
    putchar('\n');
}

enum cli_exit
cli_each_bucket(struct cli *c, int (*fn)(void *arg, const json_t *bucket), void *arg)
{
    enum cli_exit code = CLI_DONE;
    char after[64] = "";
    size_t i, got;
    json_t *b;
    do {
        struct buf query;
        buf_init(&query, 256);
        remote_query_add(&query, "after", slice_str(after));
        json_t *page = cli_call(c, "GET", "/_/buckets", buf_slice(&query), NULL, &code);
        buf_fini(&query);
        got = json_array_size(json_object_get(page, "buckets"));
        json_array_foreach(json_object_get(page, "buckets"), i, b)
        {
            if (code == CLI_DONE)
                code = (enum cli_exit)fn(arg, b);
            snprintf(after, sizeof after, "%s", cli_str(b, "bucket"));
        }
        json_decref(page);
    } while (got > 0 && code == CLI_DONE);
    return code;
}

struct listing {
    const struct cli *c;
    int rows;
};

static int
list_row(void *arg, const json_t *b)
{
    struct listing *l = arg;
    if (l->c->json) {
        cli_print_json(b);
        return CLI_DONE;
    }
    if (l->rows++ == 0)
        printf("%-24s %-24s  %-8s %s\n", "bucket", "made", "access", "functions");
    print_row(b);
    return CLI_DONE;
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    struct listing l = {.c = c};
    (void)argc, (void)argv;
    enum cli_exit code = cli_each_bucket(c, list_row, &l);
    if (code == CLI_DONE && !c->json && l.rows == 0)
        puts("no buckets");
    return code;
}

/* ---- show ---- */

struct total {
    int64_t objects;
    int64_t bytes;
};

static int
add_entry(void *arg, const struct remote_entry *e)
{
    struct total *t = arg;
    t->objects++;
    t->bytes += e->size;
    return 0;
}

/* There is no counter: it is the listing that is counted. */
static enum cli_exit
count_objects(struct cli *c, const char *bucket, struct total *t)
{
    struct remote *r = NULL;
    struct buf why;
    enum cli_exit code = cli_open_remote(c, SLICE_NONE, &r);
    if (code != CLI_DONE)
        return code;
    buf_init(&why, CLI_WHY_MAX);
    int err = remote_list(r, slice_str(bucket), SLICE_NONE, SLICE_NONE, add_entry, t, &why);
    code = cli_ended(c, bucket, err, &why);
    buf_fini(&why);
    remote_close(&r);
    return code;
}

static void
print_bucket(const json_t *b)
{
    size_t i;
    json_t *rule;
    printf("bucket      %s\nmade        ", cli_str(b, "bucket"));
    cli_print_time(json_get_int(b, "created_ms", 0));
    printf("\naccess      %s\nversioning  %s%s\n", cli_str(b, "access"), cli_str(b, "versioning"),
           json_get_bool(b, "object_lock", false) ? ", object lock" : "");
    if (cli_str(b, "derived")[0] != '\0')
        printf("thumbnails  %s\n", cli_str(b, "derived"));
    json_array_foreach(json_object_get(b, "rules"), i, rule)
    {
        fputs("rule        ", stdout);
        cli_print_rule(rule);
    }
}

static enum cli_exit
show(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    struct total total = {0, 0};
    (void)argc;
    json_t *b = cli_bucket(c, slice_str(argv[0]), &code);
    bool counts = b != NULL && cli_flag_on(c, "count");
    if (counts)
        code = count_objects(c, argv[0], &total);
    if (counts && code == CLI_DONE) {
        json_object_set_new(b, "objects", json_integer(total.objects));
        json_object_set_new(b, "bytes", json_integer(total.bytes));
    }
    if (b != NULL && c->json)
        cli_print_json(b);
    else if (b != NULL)
        print_bucket(b);
    if (counts && code == CLI_DONE && !c->json) {
        printf("objects     %" PRId64 ", ", total.objects);
        cli_print_bytes(total.bytes);
        putchar('\n');
    }
    json_decref(b);
    return code;
}

/* ---- add, remove ---- */

static enum cli_exit
add(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    const char *name = argv[0];
    bool is_public = cli_flag_on(c, "public");
    (void)argc;
    json_t *body = json_pack("{ss sb}", "bucket", name, "public", is_public);
    if (body == NULL)
        return cli_usage(c, "the name is not UTF-8");
    json_t *answer = cli_call(c, "POST", "/_/buckets", SLICE_NONE, body, &code);
    if (answer != NULL && c->json)
        cli_print_json(answer);
    else if (answer != NULL)
        printf("bucket %s: uploads become thumbnails in %s-derived%s and items in the table\n",
               name, name, is_public ? " (public)" : "");
    json_decref(body);
    json_decref(answer);
    return code;
}

static enum cli_exit
remove_one(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    (void)argc;
    json_t *b = cli_bucket(c, slice_str(argv[0]), &code);
    if (b == NULL)
        return code;
    code = cli_s3_bucket(c, "DELETE", argv[0], "", SLICE_NONE);
    if (code == CLI_DONE && c->json)
        cli_print_json(b);
    else if (code == CLI_DONE)
        printf("bucket %s is removed%s%s\n", argv[0],
               cli_str(b, "derived")[0] != '\0' ? "; its thumbnails' bucket stays: " : "",
               cli_str(b, "derived"));
    json_decref(b);
    return code;
}

static const struct cli_flag add_flags[] = {
    {"public", NULL, "let anyone GET the thumbnails", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_flag show_flags[] = {
    {"count", NULL, "count objects and bytes as well, which lists them all", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "list",
     .arguments = "",
     .summary = "all buckets, who may read them and what becomes of uploads",
     .run = list},
    {.name = "show",
     .arguments = "BUCKET",
     .summary = "one bucket with its rules",
     .flags = show_flags,
     .example = "buckets show photos --count",
     .run = show},
    {.name = "add",
     .arguments = "NAME",
     .summary = "bucket, derived bucket, table and rules in one step",
     .flags = add_flags,
     .example = "buckets add --public holiday",
     .run = add},
    {.name = "remove",
     .arguments = "BUCKET",
     .summary = "remove a bucket that has no objects",
     .details = "The bucket of its thumbnails stays; it is a bucket of its own.",
     .run = remove_one},
    {0},
};

const struct cli_command cli_command_buckets = {
    .name = "buckets", .summary = "buckets and what becomes of uploads", .verbs = verbs};
