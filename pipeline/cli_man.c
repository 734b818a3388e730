/*
 * darkroom.1 out of the tables, in man(7) macros. `make man` writes man/darkroom.1, which is
 * checked in; a structural test compares the two.
 */
#include "pipeline/cli.h"

#include <stdio.h>

/* Plain text: no backslash, no dash that a reader could not copy, no macro at a line's start. */
static void
put(const char *text)
{
    if (text[0] == '.' || text[0] == '\'')
        fputs("\\&", stdout);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

/* A phrase of the tables as a sentence on its own line. */
static void
put_sentence(const char *text)
{
    char first[2] = {text[0], '\0'};
    if (first[0] >= 'a' && first[0] <= 'z' && strncmp(text, "s3:", 3) != 0)
        first[0] = (char)(first[0] - 'a' + 'A');
    put(first);
    put(text + 1);
    puts(text[strlen(text) - 1] == '.' ? "" : ".");
}

/* Words in capitals are what the user fills in. */
static void
put_usage(const char *text)
{
    bool italic = false;
    for (; *text != '\0'; text++) {
        bool capital = *text >= 'A' && *text <= 'Z';
        if (capital != italic)
            fputs(capital ? "\\fI" : "\\fR", stdout);
        italic = capital;
        put((char[2]){*text, '\0'});
    }
    if (italic)
        fputs("\\fR", stdout);
}

static void
put_flags(const struct cli_flag *flags)
{
    for (; flags != NULL && flags->name != NULL; flags++) {
        fputs(".TP\n\\fB\\-\\-", stdout);
        put(flags->name);
        fputs("\\fR", stdout);
        if (flags->value != NULL) {
            putchar(' ');
            put_usage(flags->value);
        }
        putchar('\n');
        put_sentence(flags->help);
    }
}

static void
put_verb(const struct cli_command *command, const struct cli_verb *v)
{
    fputs(".SS \"", stdout);
    put(command->name);
    if (v->name != NULL) {
        putchar(' ');
        put(v->name);
    }
    if (v->arguments[0] != '\0') {
        putchar(' ');
        put_usage(v->arguments);
    }
    puts("\"");
    put_sentence(v->summary);
    if (v->details != NULL) {
        put(v->details);
        putchar('\n');
    }
    put_flags(v->flags);
    if (v->example != NULL) {
        fputs(".PP\nExample: ", stdout);
        put("darkroom ");
        put(v->example);
        putchar('\n');
    }
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    puts(".\\\" Made by: make man\n"
         ".TH DARKROOM 1 \"\" \"Darkroom\" \"User Commands\"\n"
         ".SH NAME\ndarkroom \\- operate a Darkroom server\n.nh\n"
         ".SH SYNOPSIS\n.B darkroom\n"
         "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]\n"
         ".SH OPTIONS\nBefore or after the command. Behind \\-\\- all are arguments.");
    put_flags(cli_globals);
    puts(".SH COMMANDS");
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        const struct cli_verb *v = cli_commands[i]->verbs;
        for (; !cli_commands[i]->hidden && v->run != NULL; v++)
            put_verb(cli_commands[i], v);
    }
    puts(".SH ENVIRONMENT\n"
         "Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the shared credentials "
         "file\n(AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE), else \\fIDIR\\fR/credentials.\n"
         ".SH EXIT STATUS\n"
         "0 done, 1 some failed, 2 usage, 3 cannot reach the server.\n"
         ".SH SEE ALSO\n.BR darkroomd (8)");
    return CLI_DONE;
}

static const struct cli_verb verbs[] = {
    {.arguments = "", .summary = "the man page", .run = run},
    {0},
};

const struct cli_command cli_command_man = {
    .name = "man-page", .summary = "the man page", .verbs = verbs, .hidden = true};
