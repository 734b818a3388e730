#include "pipeline/cli.h"

#include <stdio.h>

enum cli_exit
cli_buckets(struct cli *c, int argc, char **argv)
{
    const char *name = NULL;
    bool is_public = false;
    if (argc < 1 || strcmp(argv[0], "add") != 0)
        return cli_usage("buckets", "needs add NAME");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--public") == 0)
            is_public = true;
        else if (name == NULL && argv[i][0] != '-')
            name = argv[i];
        else
            return cli_usage("buckets", "unknown argument %s", argv[i]);
    }
    if (name == NULL)
        return cli_usage("buckets", "needs a name");
    enum cli_exit code = cli_connect(c);
    if (code != CLI_DONE)
        return code;
    json_t *body = json_pack("{ss sb}", "bucket", name, "public", is_public);
    if (body == NULL)
        return cli_usage("buckets", "the name is not UTF-8");
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
