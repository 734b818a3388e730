/*
 * darkroom, the operator's CLI: an ordinary client over HTTP. One file per command; the table in
 * cli_main.c makes the dispatch and the help. One thread.
 */
#ifndef DARKROOM_PIPELINE_CLI_H
#define DARKROOM_PIPELINE_CLI_H

#include "base/json.h"
#include "objectstore/remote.h"

enum cli_exit { CLI_DONE = 0, CLI_SOME_FAILED = 1, CLI_USAGE = 2, CLI_UNREACHABLE = 3 };

#define CLI_WHY_MAX 2048

struct cli {
    /* global options */
    const char *endpoint_option;
    const char *data_dir;
    const char *ca_file;   /* --ca-file, else AWS_CA_BUNDLE, else NULL */
    const char *signature; /* "auto" | "v2" | "v4" */
    bool json;
    bool verbose_help;
    /* found by cli_connect() */
    char *endpoint;
    char *access_key_id;
    char *secret_access_key;
    const char *keys_from; /* for a hint when the server does not know them */
    struct remote_http *http;
};

struct cli_command {
    const char *name;
    const char *arguments;
    const char *summary;
    enum cli_exit (*run)(struct cli *c, int argc, char **argv); /* argv without the command */
    const char *details; /* options, one per line; "" without */
};

/* ---- cli_connect.c: where the server is and with which keys ---- */

/* Finds endpoint and keys, opens c->http. Prints and returns CLI_USAGE or CLI_UNREACHABLE. */
enum cli_exit cli_connect(struct cli *c);
void cli_disconnect(struct cli *c);

/* One administration request. The answer's JSON (json_decref() it) when the status is 2xx; else
 * NULL: the error was printed and *code says how to exit. `body` may be NULL; it is not taken. */
json_t *cli_call(struct cli *c, const char *method, const char *path, struct slice query,
                 const json_t *body, enum cli_exit *code);
/* The same without printing: *status is 0 when the server could not be reached. */
json_t *cli_try(struct cli *c, const char *method, const char *path, struct slice query,
                int *status);

/* ---- cli_text.c: words on the terminal ---- */

/* "darkroom: ..." on standard error. */
void cli_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Complains and points to the command's help. */
enum cli_exit cli_usage(const char *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void cli_print_json(const json_t *value); /* one line */
/* Foreign text, safe for a terminal: control bytes as \xNN. */
void cli_print_text(struct slice text);
const char *cli_str(const json_t *object, const char *name); /* "" when absent */
/* "3 s ago", "2026-01-31 12:00:00Z". */
void cli_print_time(int64_t wall_ms);
void cli_print_bytes(int64_t bytes); /* "1.2 MiB" */

/* "s3://bucket[/key]". `key.p` is NULL without a slash behind the bucket. */
int cli_parse_s3(const char *text, struct slice *bucket, struct slice *key);
/* The value of "--name VALUE" or "--name=VALUE" at argv[*at], moving *at; NULL when argv[*at] is
 * another argument; complains and returns "" when the value is missing (*bad is set). */
const char *cli_option(int argc, char **argv, int *at, const char *name, bool *bad);

/* ---- the commands ---- */

enum cli_exit cli_status(struct cli *c, int argc, char **argv);
enum cli_exit cli_formats(struct cli *c, int argc, char **argv);
enum cli_exit cli_explain(struct cli *c, int argc, char **argv);
enum cli_exit cli_wait(struct cli *c, int argc, char **argv);
enum cli_exit cli_reprocess(struct cli *c, int argc, char **argv);
enum cli_exit cli_dlq(struct cli *c, int argc, char **argv);
enum cli_exit cli_buckets(struct cli *c, int argc, char **argv);
enum cli_exit cli_functions(struct cli *c, int argc, char **argv);
enum cli_exit cli_webhooks(struct cli *c, int argc, char **argv);
enum cli_exit cli_ls(struct cli *c, int argc, char **argv);
enum cli_exit cli_get(struct cli *c, int argc, char **argv);
enum cli_exit cli_put(struct cli *c, int argc, char **argv);
enum cli_exit cli_sign_url(struct cli *c, int argc, char **argv);

#endif
