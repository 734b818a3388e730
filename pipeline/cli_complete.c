/*
 * Completion for bash and zsh. Both shells ask the program itself: `darkroom complete -- WORDS...`
 * prints what may stand in the place of the last word, so it is never older than the program.
 *
 * A candidate is a line; one that ends with '/' or '=' goes on, so no blank is set behind it. The
 * line ":files" asks the shell for names of files.
 */
#include "pipeline/cli.h"

#include <stdio.h>
#include <stdlib.h>

static void
offer(struct slice typed, const char *before, struct slice name)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%s%.*s", before, SLICE_FMT(name));
    if (n > 0 && (size_t)n < sizeof text && slice_starts(slice_of(text, (size_t)n), typed))
        puts(text);
}

static void
offer_commands(struct slice typed)
{
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        if (!cli_commands[i]->hidden)
            offer(typed, "", slice_str(cli_commands[i]->name));
    }
}

static void
offer_verbs(const struct cli_command *command, struct slice typed)
{
    for (const struct cli_verb *v = command->verbs; v->run != NULL; v++)
        offer(typed, "", slice_str(v->name));
}

static void
offer_flags(const struct cli_flag *flags, struct slice typed)
{
    for (; flags != NULL && flags->name != NULL; flags++)
        offer(typed, "--", slice_str(flags->name));
}

static void
offer_words(struct slice words, struct slice typed)
{
    while (words.n > 0)
        offer(typed, "", slice_cut(words, '|', &words));
}

static void
offer_value(const struct cli_flag *f, struct slice typed)
{
    if (f->kind == CLI_FILE)
        puts(":files");
    else if (f->kind == CLI_WORD)
        offer_words(slice_str(f->value), typed);
}

static void
offer_argument(const struct cli_verb *verb, struct slice typed)
{
    if (strstr(verb->arguments, "COMMAND") != NULL)
        offer_commands(typed);
    else if (strstr(verb->arguments, "FILE") != NULL || strstr(verb->arguments, "DIR") != NULL)
        puts(":files");
}

/* Command and verb of the words in front of the last one; the flag that waits for its value. */
static const struct cli_flag *
read_words(struct cli *about, int count, char **words)
{
    const struct cli_flag *open = NULL;
    for (int i = 0; i < count; i++) {
        if (open != NULL) {
            open = NULL;
        } else if (strncmp(words[i], "--", 2) == 0) {
            open = strchr(words[i], '=') != NULL
                       ? NULL
                       : cli_find_flag(about->verb, slice_str(words[i] + 2));
            if (open != NULL && open->value == NULL)
                open = NULL;
        } else if (about->command == NULL) {
            about->command = cli_find_command(words[i]);
            if (about->command != NULL && about->command->verbs[0].name == NULL)
                about->verb = about->command->verbs;
        } else if (about->verb == NULL) {
            about->verb = cli_find_verb(about->command, words[i]);
        }
    }
    return open;
}

static enum cli_exit
complete(struct cli *c, int argc, char **argv)
{
    struct cli about = {0};
    (void)c;
    struct slice typed = argc > 0 ? slice_str(argv[argc - 1]) : SLICE_LIT("");
    const struct cli_flag *open = argc > 0 ? read_words(&about, argc - 1, argv) : NULL;
    if (open != NULL) {
        offer_value(open, typed);
    } else if (slice_starts(typed, SLICE_LIT("-"))) {
        offer_flags(about.verb != NULL ? about.verb->flags : NULL, typed);
        offer_flags(cli_globals, typed);
    } else if (about.command == NULL) {
        offer_commands(typed);
    } else if (about.verb == NULL) {
        offer_verbs(about.command, typed);
    } else {
        offer_argument(about.verb, typed);
    }
    return CLI_DONE;
}

static const struct cli_verb complete_verbs[] = {
    {.arguments = "[WORD...]", .summary = "what may stand for the last word", .run = complete},
    {0},
};

const struct cli_command cli_command_complete = {.name = "complete",
                                                 .summary = "what may stand for the last word",
                                                 .verbs = complete_verbs,
                                                 .hidden = true};

/* ---- the shells' side ---- */

/* bash cuts words at ':' and '=' too, so the line is cut again at blanks, and what stands in front
 * of the last such mark is taken off the candidates: bash only replaces what is behind it. */
static const char bash[] =
    "_darkroom() {\n"
    "    local line=${COMP_LINE:0:COMP_POINT} cur words=() i kept\n"
    "    read -ra words <<<\"$line\"\n"
    "    [[ $line == *[[:space:]] ]] && words+=('')\n"
    "    cur=${words[${#words[@]}-1]}\n"
    "    mapfile -t COMPREPLY < <(\"${words[0]}\" complete -- \"${words[@]:1}\" 2>/dev/null)\n"
    "    if [[ ${COMPREPLY[0]-} == :files ]]; then\n"
    "        compopt -o default\n"
    "        COMPREPLY=()\n"
    "        return\n"
    "    fi\n"
    "    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/=] ]] && compopt -o nospace\n"
    "    kept=${cur%\"${cur##*[:=]}\"}\n"
    "    for i in \"${!COMPREPLY[@]}\"; do COMPREPLY[i]=${COMPREPLY[i]#\"$kept\"}; done\n"
    "}\n"
    "complete -F _darkroom darkroom\n";

static const char zsh[] =
    "#compdef darkroom\n"
    "_darkroom() {\n"
    "    local -a found open\n"
    "    found=(${(f)\"$($words[1] complete -- ${words[2,CURRENT]} 2>/dev/null)\"})\n"
    "    if [[ ${found[1]-} == :files ]]; then _files; return; fi\n"
    "    open=(${(M)found:#*[/=]})\n"
    "    found=(${found:#*[/=]})\n"
    "    compadd -S '' -- $open\n"
    "    compadd -- $found\n"
    "}\n"
    "if [[ ${funcstack[1]-} == _darkroom ]]; then _darkroom; else compdef _darkroom darkroom; fi\n";

static enum cli_exit
print_bash(struct cli *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    fputs(bash, stdout);
    return CLI_DONE;
}

static enum cli_exit
print_zsh(struct cli *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    fputs(zsh, stdout);
    return CLI_DONE;
}

static const struct cli_verb completion_verbs[] = {
    {.name = "bash",
     .arguments = "",
     .summary = "for bash",
     .details = "make install puts it where bash-completion finds it.",
     .example = "completion bash >~/.local/share/bash-completion/completions/darkroom",
     .run = print_bash},
    {.name = "zsh",
     .arguments = "",
     .summary = "for zsh",
     .details = "make install puts it into site-functions.",
     .example = "completion zsh >~/.zfunc/_darkroom",
     .run = print_zsh},
    {0},
};

const struct cli_command cli_command_completion = {
    .name = "completion",
    .summary = "print the shell's completion of this program",
    .verbs = completion_verbs};
