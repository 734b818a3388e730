/*
 * The command line against the tables. The first words choose command and verb; a flag is looked up
 * among the verb's and the global ones, so in front of the verb only global flags are known. "--"
 * ends the flags. Everything is checked here that can be checked without asking anybody: a run
 * function meets no flag or argument that is malformed.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define WORDS_MAX 8     /* of one verb's `arguments` */
#define GUESS_MAX 2     /* wrong letters up to which a known word is offered */
#define GUESS_LENGTH 32 /* longer words are not guessed */
#define SECOND_MS INT64_C(1000)

const struct cli_flag cli_globals[] = {
    {"endpoint-url", "URL",
     "the server; else AWS_ENDPOINT_URL (unless --data is given), else DIR/endpoint", CLI_TEXT, 0,
     0},
    {"data", "DIR", "the server's data directory (default ./darkroom-data)", CLI_FILE, 0, 0},
    {"ca-file", "FILE",
     "trust the CAs in this PEM file instead of the system's; else AWS_CA_BUNDLE; not with "
     "--signature v2",
     CLI_FILE, 0, 0},
    {"signature", "auto|v2|v4",
     "for ls, get, import and export: v2 goes through libs3, which refuses names with a space, and "
     "https, whose certificates it would not check; "
     "auto (default) takes it, for ls and get, on loopback where it can",
     CLI_WORD, 0, 0},
    {"json", NULL, "one JSON object per line instead of tables", CLI_TEXT, 0, 0},
    {"help", NULL, "this help; of one command: darkroom COMMAND --help", CLI_TEXT, 0, 0},
    {"version", NULL, "the version", CLI_TEXT, 0, 0},
    {0},
};

/* ---- looking names up ---- */

const struct cli_command *
cli_find_command(const char *name)
{
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    }
    return NULL;
}

const struct cli_verb *
cli_find_verb(const struct cli_command *command, const char *name)
{
    for (const struct cli_verb *v = command->verbs; v->run != NULL; v++) {
        if (v->name != NULL && strcmp(v->name, name) == 0)
            return v;
    }
    return NULL;
}

static const struct cli_flag *
find_in(const struct cli_flag *flags, struct slice name)
{
    for (; flags != NULL && flags->name != NULL; flags++) {
        if (slice_eqs(name, flags->name))
            return flags;
    }
    return NULL;
}

const struct cli_flag *
cli_find_flag(const struct cli_verb *verb, struct slice name)
{
    const struct cli_flag *own = verb != NULL ? find_in(verb->flags, name) : NULL;
    return own != NULL ? own : find_in(cli_globals, name);
}

/* ---- "did you mean" ---- */

/* Letters to change, add, drop or swap with a neighbour (optimal string alignment). */
static size_t
distance(struct slice a, struct slice b)
{
    size_t rows[3][GUESS_LENGTH + 1];
    if (a.n > GUESS_LENGTH || b.n > GUESS_LENGTH)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *over = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = above[j - 1] + (a.p[i - 1] != b.p[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] &&
                over[j - 2] + 1 < best)
                best = over[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[a.n % 3][b.n];
}

struct guess {
    struct slice said;
    const char *best;
    size_t best_distance;
};

static void
guess_try(struct guess *g, const char *known)
{
    size_t d = distance(g->said, slice_str(known));
    if (g->said.n > 1 && slice_starts(slice_str(known), g->said))
        d = 1;
    if (d <= GUESS_MAX && d < g->said.n && (g->best == NULL || d < g->best_distance)) {
        g->best = known;
        g->best_distance = d;
    }
}

static void
guess_tell(const struct guess *g, const char *dashes, struct buf *why)
{
    if (g->best != NULL)
        buf_printf(why, "; did you mean %s%s?", dashes, g->best);
}

static enum cli_exit
unknown_command(const char *said, struct buf *why)
{
    struct guess g = {.said = slice_str(said)};
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        if (!cli_commands[i]->hidden)
            guess_try(&g, cli_commands[i]->name);
    }
    buf_printf(why, "no command \"%.*s\"", SLICE_FMT(g.said));
    guess_tell(&g, "", why);
    return CLI_USAGE;
}

/* `said` NULL: there was none. */
static enum cli_exit
unknown_verb(const struct cli_command *command, const char *said, struct buf *why)
{
    struct guess g = {.said = slice_str(said)};
    if (said != NULL)
        buf_printf(why, "no \"%s\" here; ", said);
    buf_puts(why, "needs");
    for (const struct cli_verb *v = command->verbs; v->run != NULL; v++) {
        guess_try(&g, v->name);
        buf_printf(why, "%s %s",
                   v == command->verbs ? ""
                   : v[1].run == NULL  ? " or"
                                       : ",",
                   v->name);
    }
    guess_tell(&g, "", why);
    return CLI_USAGE;
}

static enum cli_exit
unknown_flag(const struct cli *c, const char *said, struct buf *why)
{
    struct guess g = {.said = slice_skip(slice_str(said), 2)};
    g.said = slice_cut(g.said, '=', &(struct slice){0});
    const struct cli_flag *own = c->verb != NULL ? c->verb->flags : NULL;
    for (const struct cli_flag *f = own; f != NULL && f->name != NULL; f++)
        guess_try(&g, f->name);
    for (const struct cli_flag *f = cli_globals; f->name != NULL; f++)
        guess_try(&g, f->name);
    buf_printf(why, "unknown option %s", said);
    guess_tell(&g, "--", why);
    if (g.best == NULL && c->verb == NULL)
        buf_puts(why, " in front of the command");
    else if (g.best == NULL)
        buf_printf(why, " (an argument of that name goes behind --)");
    return CLI_USAGE;
}

/* ---- values of flags ---- */

/* The number in front of a unit; `rest` is the unit. */
static bool
read_int(const char *text, int64_t *out, const char **rest)
{
    char *end = NULL;
    errno = 0;
    *out = strtoll(text, &end, 10);
    *rest = end;
    return end != text && errno == 0 && text[0] != ' ' && text[0] != '+';
}

/* "90", "90s", "15m", "2h", "7d" in ms. */
static bool
read_duration(const char *text, int64_t *ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"", SECOND_MS},
                 {"s", SECOND_MS},
                 {"m", 60 * SECOND_MS},
                 {"h", 3600 * SECOND_MS},
                 {"d", 86400 * SECOND_MS}};
    const char *rest;
    int64_t n;
    if (!read_int(text, &n, &rest) || n < 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(rest, units[i].unit) == 0)
            return !__builtin_mul_overflow(n, units[i].ms, ms);
    }
    return false;
}

/* A day, a moment, or how long ago. */
static bool
read_time(const char *text, int64_t *wall_ms)
{
    int64_t ago_ms;
    if (clock_parse_iso(text, strlen(text), wall_ms) == ERR_NONE)
        return true;
    if (!read_duration(text, &ago_ms) || ago_ms > clock_wall_ms())
        return false;
    *wall_ms = clock_wall_ms() - ago_ms;
    return true;
}

static bool
is_word_of(struct slice words, const char *text)
{
    while (words.n > 0) {
        struct slice rest = SLICE_NONE;
        if (slice_eqs(slice_cut(words, '|', &rest), text))
            return true;
        words = rest;
    }
    return false;
}

static bool
in_bounds(const struct cli_flag *f, int64_t n)
{
    return (f->least == 0 && f->most == 0) || (n >= f->least && n <= f->most);
}

static bool
value_ok(const struct cli_flag *f, const char *text)
{
    const char *rest = "";
    int64_t n = 0;
    switch (f->kind) {
    case CLI_FILE:
        return text[0] != '\0';
    case CLI_WORD:
        return is_word_of(slice_str(f->value), text);
    case CLI_INT:
        return read_int(text, &n, &rest) && *rest == '\0' && in_bounds(f, n);
    case CLI_RATE:
        return read_int(text, &n, &rest) && (*rest == '\0' || strcmp(rest, "/s") == 0) && n > 0 &&
               in_bounds(f, n);
    case CLI_DURATION:
        return read_duration(text, &n) && in_bounds(f, n / SECOND_MS);
    case CLI_TIME:
        return read_time(text, &n);
    case CLI_TEXT:
        break;
    }
    return slice_is_utf8(slice_str(text));
}

static void
say_kind(const struct cli_flag *f, struct buf *why)
{
    static const char *const kinds[] = {
        [CLI_TEXT] = "text in UTF-8",
        [CLI_FILE] = "a path",
        [CLI_INT] = "a whole number",
        [CLI_RATE] = "a number per second",
        [CLI_DURATION] = "a number of seconds, or 15m, 2h, 7d",
        [CLI_TIME] = "a time as 2026-01-31T12:00:00Z, or how long ago as 15m, 2h, 7d",
    };
    if (f->kind == CLI_WORD)
        buf_printf(why, "one of %s", f->value);
    else
        buf_puts(why, kinds[f->kind]);
    if (f->least != 0 || f->most != 0)
        buf_printf(why, " (%" PRId64 " to %" PRId64 "%s)", f->least, f->most,
                   f->kind == CLI_DURATION ? " s" : "");
}

static enum cli_exit
add_value(struct cli *c, const struct cli_flag *f, const char *text, struct buf *why)
{
    if (c->value_count == CLI_VALUES_MAX) {
        buf_puts(why, "too many options");
        return CLI_USAGE;
    }
    if (f->value != NULL && !value_ok(f, text)) {
        buf_printf(why, "--%s needs ", f->name);
        say_kind(f, why);
        buf_printf(why, ", not \"%s\"", text);
        return CLI_USAGE;
    }
    c->values[c->value_count++] = (struct cli_value){f, text};
    return CLI_DONE;
}

/* The flag at argv[*at], "--name", "--name=VALUE" or "--name VALUE"; moves *at to its last word. */
static enum cli_exit
take_flag(struct cli *c, int argc, char **argv, int *at, struct buf *why)
{
    const char *said = argv[*at];
    struct slice value = SLICE_NONE;
    struct slice name = slice_cut(slice_str(said + 2), '=', &value);
    const struct cli_flag *f = cli_find_flag(c->verb, name);
    if (strcmp(said, "-h") == 0)
        f = find_in(cli_globals, SLICE_LIT("help"));
    else if (said[1] != '-')
        f = NULL;
    if (f == NULL && c->command != NULL && c->verb == NULL) {
        unknown_verb(c->command, NULL, why);
        buf_printf(why, ", in front of %s", said);
        return CLI_USAGE;
    }
    if (f == NULL)
        return unknown_flag(c, said, why);
    if (f->value == NULL && value.p != NULL) {
        buf_printf(why, "--%s takes no value", f->name);
        return CLI_USAGE;
    }
    if (f->value == NULL || value.p != NULL)
        return add_value(c, f, f->value == NULL ? "" : value.p, why);
    if (*at + 1 == argc) {
        buf_printf(why, "--%s needs a value (%s)", f->name, f->value);
        return CLI_USAGE;
    }
    return add_value(c, f, argv[++*at], why);
}

/* ---- arguments ---- */

/* A word that is no flag: command, verb, or (false) an argument. */
static bool
take_name(struct cli *c, const char *word, struct buf *why)
{
    if (c->command == NULL) {
        c->command = cli_find_command(word);
        if (c->command == NULL)
            unknown_command(word, why);
        else if (c->command->verbs[0].name == NULL)
            c->verb = c->command->verbs;
        return true;
    }
    if (c->verb != NULL)
        return false;
    c->verb = cli_find_verb(c->command, word);
    if (c->verb == NULL)
        unknown_verb(c->command, word, why);
    return true;
}

/* "FILE... s3://BUCKET/KEY" taken apart. */
struct arguments {
    struct slice words[WORDS_MAX];
    int count;
    int required;
    int several; /* which word may be several; -1 */
};

static bool
ends_with(struct slice s, struct slice end)
{
    return s.n >= end.n && slice_eq(slice_skip(s, s.n - end.n), end);
}

static void
read_arguments(const struct cli_verb *verb, struct arguments *a)
{
    struct slice rest = slice_str(verb->arguments);
    *a = (struct arguments){.several = -1};
    while (rest.n > 0) {
        struct slice word = slice_cut(rest, ' ', &rest);
        CHK(a->count < WORDS_MAX);
        if (word.p[0] == '[')
            word = slice_of(word.p + 1, word.n - 2);
        else
            a->required++;
        if (ends_with(word, SLICE_LIT("..."))) {
            word.n -= 3;
            a->several = a->count;
        }
        a->words[a->count++] = word;
    }
}

/* The word that stands for argument `i` of `argc`. */
static struct slice
word_of(const struct arguments *a, int i, int argc)
{
    if (a->several >= 0 && i > a->several) {
        int from_end = a->count - (argc - i);
        i = from_end > a->several ? from_end : a->several;
    }
    return a->words[i];
}

static bool
parse_s3(const char *text, struct slice *bucket, struct slice *key)
{
    struct slice rest = slice_str(text);
    if (!slice_starts(rest, SLICE_LIT("s3://")) || !slice_is_utf8(rest))
        return false;
    *bucket = slice_cut(slice_skip(rest, 5), '/', key);
    return bucket->n > 0;
}

static bool
argument_ok(struct slice word, const char *text)
{
    struct slice bucket, key = SLICE_NONE;
    uint64_t id = 0;
    if (slice_starts(word, SLICE_LIT("s3://")))
        return parse_s3(text, &bucket, &key) &&
               (key.n > 0 || !slice_starts(word, SLICE_LIT("s3://BUCKET/KEY")));
    if (slice_starts(word, SLICE_LIT("ID")))
        return slice_to_u64(slice_str(text), &id) == ERR_NONE && id > 0 && id <= INT64_MAX;
    return text[0] != '\0' || slice_eqs(word, "WORD");
}

static enum cli_exit
check_arguments(const struct cli_verb *verb, int argc, char **argv, struct buf *why)
{
    struct arguments a;
    read_arguments(verb, &a);
    if (argc > a.count && a.several < 0)
        buf_printf(why, "unknown argument %s; ", argv[a.count]);
    if (argc < a.required || why->n > 0) {
        buf_printf(why, a.count > 0 ? "needs %s" : "takes no argument%s", verb->arguments);
        return CLI_USAGE;
    }
    for (int i = 0; i < argc; i++) {
        struct slice word = word_of(&a, i, argc);
        if (!argument_ok(word, argv[i])) {
            buf_printf(why, "\"%s\" is no %.*s", argv[i], SLICE_FMT(word));
            return CLI_USAGE;
        }
    }
    return CLI_DONE;
}

enum cli_exit
cli_parse(struct cli *c, int *argc, char **argv, struct buf *why)
{
    enum cli_exit code = CLI_DONE;
    bool flags = true;
    int count = 0;
    for (int i = 0; i < *argc && code == CLI_DONE; i++) {
        if (flags && strcmp(argv[i], "--") == 0)
            flags = false;
        else if (flags && argv[i][0] == '-' && argv[i][1] != '\0')
            code = take_flag(c, *argc, argv, &i, why);
        else if (!take_name(c, argv[i], why))
            argv[count++] = argv[i];
        if (why->n > 0)
            code = CLI_USAGE;
    }
    *argc = count;
    c->json = cli_flag_on(c, "json");
    if (code != CLI_DONE || c->command == NULL)
        return code;
    return c->verb == NULL ? unknown_verb(c->command, NULL, why)
                           : check_arguments(c->verb, count, argv, why);
}

/* ---- lookups ---- */

const char *
cli_flag_nth(const struct cli *c, const char *name, int n)
{
    const struct cli_flag *f = cli_find_flag(c->verb, slice_str(name));
    CHK(f != NULL);
    for (int i = 0; i < c->value_count; i++) {
        if (c->values[i].flag == f && n-- == 0)
            return c->values[i].text;
    }
    return NULL;
}

const char *
cli_flag_str(const struct cli *c, const char *name)
{
    const char *last = NULL, *text;
    for (int n = 0; (text = cli_flag_nth(c, name, n)) != NULL; n++)
        last = text;
    return last;
}

bool
cli_flag_on(const struct cli *c, const char *name)
{
    return cli_flag_nth(c, name, 0) != NULL;
}

int64_t
cli_flag_int(const struct cli *c, const char *name, int64_t fallback)
{
    const char *rest, *text = cli_flag_str(c, name);
    int64_t n = fallback;
    CHK(text == NULL || read_int(text, &n, &rest));
    return n;
}

int64_t
cli_flag_duration(const struct cli *c, const char *name, int64_t fallback_ms)
{
    const char *text = cli_flag_str(c, name);
    int64_t ms = fallback_ms;
    CHK(text == NULL || read_duration(text, &ms));
    return ms;
}

int64_t
cli_flag_time(const struct cli *c, const char *name, int64_t fallback_ms)
{
    const char *text = cli_flag_str(c, name);
    int64_t wall_ms = fallback_ms;
    CHK(text == NULL || read_time(text, &wall_ms));
    return wall_ms;
}

bool
cli_is_s3(const char *text)
{
    struct slice bucket, key;
    return parse_s3(text, &bucket, &key);
}

void
cli_s3(const char *argument, struct slice *bucket, struct slice *key)
{
    *bucket = *key = SLICE_NONE;
    CHK(parse_s3(argument, bucket, key));
}

int64_t
cli_id(const char *argument)
{
    uint64_t id = 0;
    CHK(slice_to_u64(slice_str(argument), &id) == ERR_NONE);
    return (int64_t)id;
}
