/*
 * --help out of the tables: of the program, of a command with verbs, of a verb.
 */
#include "base/chk.h"
#include "pipeline/cli.h"

#include <stdio.h>

#define WIDTH 90
#define FLAG_COLUMN 22 /* where the help of a flag begins */

/* Words of `text`, broken before WIDTH; the first line goes on at `column`. */
static void
print_wrapped(const char *text, int column, int indent)
{
    struct slice rest = slice_str(text);
    bool first = true;
    while (rest.n > 0) {
        struct slice word = slice_cut(rest, ' ', &rest);
        if (!first && column + 1 + (int)word.n > WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            putchar(' ');
            column++;
        }
        printf("%.*s", SLICE_FMT(word));
        column += (int)word.n;
        first = false;
    }
    putchar('\n');
}

static void
print_flags(const struct cli_flag *flags)
{
    for (; flags != NULL && flags->name != NULL; flags++) {
        int column = printf("  --%s%s%s", flags->name, flags->value != NULL ? " " : "",
                            flags->value != NULL ? flags->value : "");
        if (column + 2 > FLAG_COLUMN) {
            putchar('\n');
            column = 0;
        }
        printf("%*s", FLAG_COLUMN - column, "");
        print_wrapped(flags->help, FLAG_COLUMN, FLAG_COLUMN);
    }
}

static void
print_usage(const struct cli_command *command, const struct cli_verb *verb)
{
    printf("darkroom %s", command->name);
    if (verb->name != NULL)
        printf(" %s", verb->name);
    if (verb->arguments[0] != '\0')
        printf(" %s", verb->arguments);
    puts(verb->flags != NULL ? " [OPTIONS]" : "");
}

static void
help_verb(const struct cli_command *command, const struct cli_verb *verb)
{
    fputs("usage: ", stdout);
    print_usage(command, verb);
    putchar('\n');
    print_wrapped(verb->summary, 0, 0);
    if (verb->flags != NULL) {
        putchar('\n');
        print_flags(verb->flags);
    }
    if (verb->details != NULL) {
        putchar('\n');
        print_wrapped(verb->details, 0, 0);
    }
    if (verb->example != NULL)
        printf("\nexample:\n  darkroom %s\n", verb->example);
    puts("\nOptions of every command (--endpoint-url, --data, --json ...): darkroom --help");
}

static void
help_command(const struct cli_command *command)
{
    printf("usage: darkroom %s ...\n\n", command->name);
    print_wrapped(command->summary, 0, 0);
    putchar('\n');
    for (const struct cli_verb *v = command->verbs; v->run != NULL; v++) {
        fputs("  ", stdout);
        print_usage(command, v);
        fputs("      ", stdout);
        print_wrapped(v->summary, 6, 6);
    }
    printf("\nThe options of one: darkroom %s %s --help\n", command->name, command->verbs->name);
}

static void
help_program(void)
{
    puts("usage: darkroom [OPTIONS] COMMAND [ARGUMENTS]\n\ncommands:");
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        if (cli_commands[i]->hidden)
            continue;
        printf("  %-12s ", cli_commands[i]->name);
        print_wrapped(cli_commands[i]->summary, 15, 15);
    }
    puts("\noptions, before or after the command:");
    print_flags(cli_globals);
    puts("\nkeys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the shared credentials file, "
         "else\nDIR/credentials. Exit codes: 0 done, 1 some failed, 2 usage, 3 cannot reach the "
         "server.\nMore of one command: darkroom help COMMAND. All of it: man darkroom.");
}

void
cli_help(const struct cli *c)
{
    if (c->verb != NULL)
        help_verb(c->command, c->verb);
    else if (c->command != NULL)
        help_command(c->command);
    else
        help_program();
}

/* ---- darkroom help ---- */

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    struct cli about = {0};
    if (argc > 0)
        about.command = cli_find_command(argv[0]);
    if (argc > 0 && about.command == NULL)
        return cli_usage(c, "no command \"%s\"", argv[0]);
    if (argc > 0 && about.command->verbs[0].name == NULL)
        about.verb = about.command->verbs;
    else if (argc > 1)
        about.verb = cli_find_verb(about.command, argv[1]);
    if (argc > 1 && about.verb == NULL)
        return cli_usage(c, "%s has no \"%s\"", argv[0], argv[1]);
    cli_help(&about);
    return CLI_DONE;
}

static const struct cli_verb verbs[] = {
    {.arguments = "[COMMAND] [VERB]", .summary = "what a command does and takes", .run = run},
    {0},
};

const struct cli_command cli_command_help = {
    .name = "help", .summary = "what a command does and takes", .verbs = verbs};
