/*
 * darkroom, the operator's CLI: an ordinary client over HTTP. One file per command, one thread.
 *
 * What a command takes is data: verbs, arguments, flags with their kinds and bounds. From these
 * tables come parsing and its complaints (cli_args.c), --help (cli_help.c), the man page
 * (cli_man.c: make man) and the shells' completion (cli_complete.c), so they cannot disagree.
 *
 * A new command `NAME`:
 *   1. pipeline/cli_NAME.c: static flags, verbs and run functions, and at its end
 *          const struct cli_command cli_command_NAME = {.name = "NAME", ...};
 *      cli_buckets.c is a short one to copy from.
 *   2. a line COMMAND(NAME) in cli_list.h.
 *   3. make man; tests/e2e/cli_table.py goes through every command and verb by itself.
 *
 * run() gets only arguments that fit `arguments` and flags that fit their kinds; it checks what one
 * cannot say about the other (cli_usage()), then asks the server (cli_call() connects by itself).
 * Results go to standard output: a table for people, with c->json one object per line and nothing
 * else. Complaints go to standard error and say what, where, and what to do.
 */
#ifndef DARKROOM_PIPELINE_CLI_H
#define DARKROOM_PIPELINE_CLI_H

#include "base/json.h"
#include "objectstore/remote.h"

#include <stdio.h>

enum cli_exit { CLI_DONE = 0, CLI_SOME_FAILED = 1, CLI_USAGE = 2, CLI_UNREACHABLE = 3 };

#define CLI_WHY_MAX 2048
#define CLI_ARGUMENTS_MAX 4096
#define CLI_VALUES_MAX 64 /* flags on one command line */

/* ---- what a command is ---- */

enum cli_kind {
    CLI_TEXT,     /* UTF-8 */
    CLI_FILE,     /* a path, any bytes; completed as one */
    CLI_WORD,     /* one of the words of `value`, "cover|contain|inside" */
    CLI_INT,      /* least to most */
    CLI_RATE,     /* "200" or "200/s": per second; least to most; cli_flag_int() */
    CLI_DURATION, /* "90", "90s", "15m", "2h", "7d"; least to most in seconds; cli_flag_duration()
                   */
    CLI_TIME,     /* "2026-01-31", "2026-01-31T12:00:00Z", or "2h": so long ago; cli_flag_time() */
};

struct cli_flag {
    const char *name;  /* without the dashes */
    const char *value; /* what stands for it in the help: "N/s"; NULL: a switch */
    const char *help;  /* a phrase without a full stop; says the default */
    enum cli_kind kind;
    int64_t least, most; /* both 0: any */
};

struct cli;

/*
 * `arguments` is help and rule at once, words with a space between: [WORD] may be left out, WORD...
 * may be several, a word that begins with s3://BUCKET/KEY must be an object's name, one that begins
 * with s3:// a bucket's with or without more, ID a number above 0; WORD may be empty, other words
 * not. FILE and DIR are paths.
 */
struct cli_verb {
    const char *name; /* "list"; NULL: the command has no verbs, this is all of it */
    const char *arguments;
    const char *summary;          /* a phrase, lower case, without a full stop */
    const struct cli_flag *flags; /* NULL: none; ended by {0} */
    const char *details;          /* sentences for COMMAND --help and the man page; or NULL */
    const char *example;          /* a command line without "darkroom "; or NULL */
    enum cli_exit (*run)(struct cli *c, int argc, char **argv); /* argv: the arguments alone */
};

struct cli_command {
    const char *name;
    const char *summary;
    const struct cli_verb *verbs; /* ended by {0} */
    bool hidden;                  /* not in the help */
};

#define COMMAND(name) extern const struct cli_command cli_command_##name;
#include "pipeline/cli_list.h"
#undef COMMAND

/* In the order of cli_list.h; ended by NULL. */
extern const struct cli_command *const cli_commands[];
/* What every command takes: --endpoint-url ... --version. */
extern const struct cli_flag cli_globals[];

/* ---- one run of the program ---- */

struct cli {
    /* cli_args.c: what was asked for; NULL: not said */
    const struct cli_command *command;
    const struct cli_verb *verb;
    struct cli_value {
        const struct cli_flag *flag;
        const char *text; /* "" of a switch */
    } values[CLI_VALUES_MAX];
    int value_count;
    bool json;
    bool endpoint_is_remote; /* import, export: --endpoint-url is not our server's */
    int64_t timeout_ms;      /* of each request of cli_call(); 0: none */
    int64_t patience_ms;     /* how long cli_call() comes again when the answer is 503; 0: not */
    /* found by cli_connect() */
    char *endpoint;
    char *access_key_id;
    char *secret_access_key;
    const char *ca_file;   /* --ca-file, else AWS_CA_BUNDLE, else NULL */
    const char *keys_from; /* for a hint when the server does not know them */
    struct remote_http *http;
};

/* ---- cli_args.c: the command line ---- */

/* Sets command, verb and values, moves the arguments to the front of argv and counts them in *argc.
 * CLI_USAGE: `why` is one sentence; what was understood until then is set. "help ..." and --help
 * are the caller's. */
enum cli_exit cli_parse(struct cli *c, int *argc, char **argv, struct buf *why);
const struct cli_command *cli_find_command(const char *name);
const struct cli_verb *cli_find_verb(const struct cli_command *command, const char *name);
/* Of the verb (may be NULL), else a global one; NULL. */
const struct cli_flag *cli_find_flag(const struct cli_verb *verb, struct slice name);

/* The flag must be in the table of the running verb or a global one. The last one counts. */
bool cli_flag_on(const struct cli *c, const char *name);                /* was it given? */
const char *cli_flag_str(const struct cli *c, const char *name);        /* NULL: not given */
const char *cli_flag_nth(const struct cli *c, const char *name, int n); /* NULL: not so many */
int64_t cli_flag_int(const struct cli *c, const char *name, int64_t fallback);
int64_t cli_flag_duration(const struct cli *c, const char *name, int64_t fallback_ms); /* ms */
int64_t cli_flag_time(const struct cli *c, const char *name, int64_t fallback_ms);     /* wall ms */

bool cli_is_s3(const char *text);
/* An argument "s3://BUCKET[/KEY]" that was checked; `key.p` is NULL without a slash. */
void cli_s3(const char *argument, struct slice *bucket, struct slice *key);
int64_t cli_id(const char *argument); /* an ID that was checked */

/* ---- cli_help.c ---- */

/* Of the verb, the command, or the program, as far as c->verb and c->command are set. */
void cli_help(const struct cli *c);

/* ---- cli_connect.c: where the server is and with which keys ---- */

/* Finds endpoint and keys, opens c->http; nothing when that is done. Prints and returns CLI_USAGE
 * or CLI_UNREACHABLE. */
enum cli_exit cli_connect(struct cli *c);
void cli_disconnect(struct cli *c);
/* For listing and fetching: libs3 (Signature V2) where the store takes V2 and `name` (key or
 * prefix) can be said in it, else libcurl (V4); --signature chooses. remote_close(). */
enum cli_exit cli_open_remote(struct cli *c, struct slice name, struct remote **r);

/* One administration request, repeated while the server is busy as Retry-After says, and within
 * c->patience_ms: only for what may be asked twice. The answer's JSON (json_decref() it) when the
 * status is 2xx; else NULL: the error was printed and *code says how to exit. `body` may be NULL;
 * it is not taken. */
json_t *cli_call(struct cli *c, const char *method, const char *path, struct slice query,
                 const json_t *body, enum cli_exit *code);
/* The same without printing, behind cli_connect(): *status is 0 when the server could not be
 * reached. */
json_t *cli_try(struct cli *c, const char *method, const char *path, struct slice query,
                int *status);

/* How a request about `what` (the user's own word for it) ended: complains unless ERR_NONE. */
enum cli_exit cli_ended(const struct cli *c, const char *what, int err, const struct buf *why);
/* A request of S3 about a whole bucket; complains when it fails. `query` as "notification". */
enum cli_exit cli_s3_bucket(struct cli *c, const char *method, const char *bucket,
                            const char *query, struct slice body);

/* ---- cli_buckets.c ---- */

/* GET /_/buckets?name=: the record with its rules; as cli_call(). */
json_t *cli_bucket(struct cli *c, struct slice name, enum cli_exit *code);
/* That of every bucket, by name, page by page; an exit code of fn() other than CLI_DONE ends it. */
enum cli_exit cli_each_bucket(struct cli *c, int (*fn)(void *arg, const json_t *bucket), void *arg);

/* ---- cli_rules.c ---- */

/* One rule of that record on a line. */
void cli_print_rule(const json_t *rule);

/* ---- cli_functions.c ---- */

/* The environment of a function as it is now: who changes one variable gives all back. As
 * cli_call(). */
json_t *cli_environment(struct cli *c, const char *function, enum cli_exit *code);

/* ---- cli_reprocess.c ---- */

/* How many objects of a bucket are stale or miss something of that function, as reprocess plans it;
 * as cli_call(). */
int64_t cli_stale_objects(struct cli *c, struct slice bucket, const char *function,
                          enum cli_exit *code);

/* ---- cli_presets.c ---- */

/* Reads and checks a file of presets: its text, made compact, and an object for each picture.
 * Complains. */
enum cli_exit cli_presets_file(struct cli *c, const char *path, struct buf *text,
                               json_t **pictures);

/* ---- cli_explain.c ---- */

/* What the server knows of one object (GET /_/explain); as cli_call(). */
json_t *cli_story(struct cli *c, struct slice bucket, struct slice key, enum cli_exit *code);

/* ---- cli_watch.c ---- */

/* Watches a batch of the server until it has ended, tells what failed and what it came to. Behind
 * cli_connect(). CLI_SOME_FAILED also when it was canceled or is not known. */
enum cli_exit cli_watch_batch(struct cli *c, int64_t id);
/* What failed in a batch (the server's JSON of it), by name: at most `most`, then how many more. */
enum cli_exit cli_batch_failures(struct cli *c, const json_t *batch, int64_t most);

/* ---- cli_objects.c ---- */

/* By the ending of a file's name. */
const char *cli_content_type(const char *path);

/* ---- cli_text.c: words on the terminal ---- */

/* "darkroom: ..." on standard error. */
/* One line on standard error; what others sent in it is made safe for a terminal. */
void cli_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Complains in the name of the verb and points to its help. */
enum cli_exit cli_usage(const struct cli *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void cli_print_json(const json_t *value); /* one line */
/* Foreign text, safe for a terminal: control characters as \xNN, \u00NN. */
void cli_print_text(struct slice text);
void cli_write_text(FILE *to, struct slice text);
void cli_put_text(struct buf *out, struct slice text);
const char *cli_str(const json_t *object, const char *name); /* "" when absent */
void cli_print_time(int64_t wall_ms);                        /* "2026-01-31T12:00:00.000Z" */
void cli_print_bytes(int64_t bytes);                         /* "1.2 MiB" */
void cli_write_span(FILE *to, int64_t seconds);              /* "45 s", "12 min", "3.5 h" */

#endif
