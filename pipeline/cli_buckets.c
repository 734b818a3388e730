#include "pipeline/cli.h"

#include <stdio.h>

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

static const struct cli_flag add_flags[] = {
    {"public", NULL, "let anyone GET the thumbnails", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "add",
     .arguments = "NAME",
     .summary = "bucket, derived bucket, table and rules in one step",
     .flags = add_flags,
     .example = "buckets add --public holiday",
     .run = add},
    {0},
};

const struct cli_command cli_command_buckets = {
    .name = "buckets", .summary = "buckets whose uploads become thumbnails", .verbs = verbs};
