/*
 * Completion for bash and zsh. Both shells ask the program itself: `darkroom complete -- WORDS...`
 * prints what may stand in the place of the last word, so it is never older than the program. Names
 * of buckets, keys and functions come from the server that the line is about, which has ASK_MS to
 * answer; one that is away offers nothing.
 *
 * A candidate is a line; one that ends with '/' or '=' goes on, so no blank is set behind it. The
 * line ":files" asks the shell for names of files.
 */
#include "base/err.h"
#include "pipeline/cli.h"

#include <stdio.h>

#define ASK_MS 500
#define KEYS_MAX 50

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

/* ---- names that the server knows ---- */

struct asking {
    const struct cli *about;
    struct slice typed;
    const char *before, *after; /* of each name */
    struct slice bucket;        /* of keys */
    int count;
};

static int
offer_bucket(void *arg, const json_t *b)
{
    const struct asking *a = arg;
    char name[128];
    snprintf(name, sizeof name, "%s%s", cli_str(b, "bucket"), a->after);
    offer(a->typed, a->before, slice_str(name));
    return CLI_DONE;
}

static int
offer_key(void *arg, const struct remote_entry *e)
{
    struct asking *a = arg;
    char before[128];
    snprintf(before, sizeof before, "s3://%.*s/", SLICE_FMT(a->bucket));
    if (memchr(e->name.p, '\n', e->name.n) == NULL)
        offer(a->typed, before, e->name);
    return ++a->count == KEYS_MAX;
}

static void
offer_keys(struct cli *about, struct asking *a)
{
    struct remote *r = NULL;
    struct slice prefix;
    struct buf why;
    a->bucket = slice_cut(slice_skip(a->typed, strlen("s3://")), '/', &prefix);
    if (cli_open_remote(about, SLICE_LIT(" "), &r) != CLI_DONE) /* with a time-out: not libs3 */
        return;
    buf_init(&why, CLI_WHY_MAX);
    remote_list(r, a->bucket, prefix, SLICE_LIT("/"), offer_key, a, &why);
    buf_fini(&why);
    remote_close(&r);
}

static void
offer_functions(struct cli *about, struct slice typed)
{
    enum cli_exit code;
    size_t i;
    json_t *f;
    json_t *answer = cli_call(about, "GET", "/_/functions", SLICE_NONE, NULL, &code);
    json_array_foreach(json_object_get(answer, "functions"), i, f)
        offer(typed, "", json_get_str(f, "name"));
    json_decref(answer);
}

/* ---- by what the tables say ---- */

/* What `arguments` or the value of a flag is made of. */
static void
offer_kind(struct cli *about, const char *words, struct slice typed)
{
    struct asking a = {.about = about, .typed = typed, .before = "", .after = ""};
    bool is_path = strstr(words, "FILE") != NULL || strstr(words, "DIR") != NULL;
    if (is_path && !slice_starts(typed, SLICE_LIT("s3:")))
        puts(":files");
    if (strstr(words, "FUNCTION") != NULL)
        offer_functions(about, typed);
    if (strstr(words, "s3://") != NULL) {
        if (slice_starts(typed, SLICE_LIT("s3://")) &&
            memchr(typed.p + 5, '/', typed.n - 5) != NULL) {
            offer_keys(about, &a);
            return;
        }
        a.before = "s3://";
        a.after = "/";
        cli_each_bucket(about, offer_bucket, &a);
    } else if (strstr(words, "BUCKET") != NULL) {
        cli_each_bucket(about, offer_bucket, &a);
    }
    if (strstr(words, "COMMAND") != NULL)
        offer_commands(typed);
}

static void
offer_value(struct cli *about, const struct cli_flag *f, struct slice typed)
{
    if (f->kind == CLI_FILE)
        puts(":files");
    else if (f->kind == CLI_WORD)
        offer_words(slice_str(f->value), typed);
    else
        offer_kind(about, f->value, typed);
}

static void
keep_value(struct cli *about, const struct cli_flag *f, const char *text)
{
    if (about->value_count < CLI_VALUES_MAX)
        about->values[about->value_count++] = (struct cli_value){f, text};
}

/* A word that is no value of the flag before it. Returns the flag that waits for one. */
static const struct cli_flag *
read_word(struct cli *about, const char *word)
{
    struct slice value = SLICE_NONE;
    if (strncmp(word, "--", 2) == 0) {
        struct slice name = slice_cut(slice_str(word + 2), '=', &value);
        const struct cli_flag *f = cli_find_flag(about->verb, name);
        if (f == NULL || f->value == NULL)
            return NULL;
        if (value.p == NULL)
            return f;
        keep_value(about, f, value.p);
    } else if (about->command == NULL) {
        about->command = cli_find_command(word);
        if (about->command != NULL && about->command->verbs[0].name == NULL)
            about->verb = about->command->verbs;
    } else if (about->verb == NULL) {
        about->verb = cli_find_verb(about->command, word);
    }
    return NULL;
}

/* Command, verb and options of the words in front of the last one; the flag that waits for its
 * value. */
static const struct cli_flag *
read_words(struct cli *about, int count, char **words)
{
    const struct cli_flag *open = NULL;
    for (int i = 0; i < count; i++) {
        if (open == NULL) {
            open = read_word(about, words[i]);
        } else {
            keep_value(about, open, words[i]);
            open = NULL;
        }
    }
    return open;
}

/* ---- the command ---- */

static enum cli_exit
complete(struct cli *c, int argc, char **argv)
{
    struct cli about = {.timeout_ms = ASK_MS};
    (void)c;
    struct slice typed = argc > 0 ? slice_str(argv[argc - 1]) : SLICE_LIT("");
    const struct cli_flag *open = argc > 0 ? read_words(&about, argc - 1, argv) : NULL;
    if (open != NULL) {
        offer_value(&about, open, typed);
    } else if (slice_starts(typed, SLICE_LIT("-"))) {
        offer_flags(about.verb != NULL ? about.verb->flags : NULL, typed);
        offer_flags(cli_globals, typed);
    } else if (about.command == NULL) {
        offer_commands(typed);
    } else if (about.verb == NULL) {
        offer_verbs(about.command, typed);
    } else {
        offer_kind(&about, about.verb->arguments, typed);
    }
    cli_disconnect(&about);
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
