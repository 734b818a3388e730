#include "pipeline/cli.h"

#include <stdio.h>

static void
print_words(const char *title, const json_t *words)
{
    size_t i;
    json_t *w;
    printf("%-10s", title);
    json_array_foreach((json_t *)words, i, w)
    {
        putchar(' ');
        cli_print_text(slice_str(json_string_value(w)));
    }
    puts(json_array_size(words) == 0 ? " -" : "");
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    (void)argc, (void)argv;
    json_t *f = cli_call(c, "GET", "/_/formats", SLICE_NONE, NULL, &code);
    if (f == NULL)
        return code;
    if (c->json) {
        cli_print_json(f);
    } else {
        print_words("read", json_object_get(f, "read"));
        print_words("written", json_object_get(f, "written"));
        print_words("opt-in", json_object_get(f, "optional"));
        print_words("refused", json_object_get(f, "refused"));
    }
    json_decref(f);
    return CLI_DONE;
}

static const struct cli_verb verbs[] = {
    {.arguments = "",
     .summary = "which pictures are read, made, could be read, are refused",
     .details = "Opt-in formats are read when the server's setting image.formats names them.",
     .run = run},
    {0},
};

const struct cli_command cli_command_formats = {
    .name = "formats",
    .summary = "which pictures are read, made, could be read, are refused",
    .verbs = verbs};
