/*
 * Where the server is: --endpoint-url, AWS_ENDPOINT_URL, DIR/endpoint. With which keys: the
 * environment, the shared credentials file, DIR/credentials. DIR is --data or ./darkroom-data.
 * Whom an https server must be vouched for by: --ca-file, AWS_CA_BUNDLE, the system's CAs.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/cli.h"
#include "pipeline/credentials.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define DATA_DIR_DEFAULT "./darkroom-data"
#define REGION_DEFAULT "us-east-1"
#define ENDPOINT_MAX 1024
#define BUSY_PAUSE_MS 1000 /* when a 503 does not say */
#define RETRY_AFTER_S_MAX 3600

static char *
copy_slice(struct slice s)
{
    char *text = strndup(s.p, s.n);
    CHK(text != NULL);
    return text;
}

static const char *
data_dir(const struct cli *c)
{
    const char *dir = cli_flag_str(c, "data");
    return dir != NULL ? dir : DATA_DIR_DEFAULT;
}

static enum cli_exit
find_endpoint(struct cli *c)
{
    const char *env = getenv("AWS_ENDPOINT_URL");
    const char *option = c->endpoint_is_remote ? NULL : cli_flag_str(c, "endpoint-url");
    char path[PATH_MAX];
    struct buf text;
    if (option != NULL || (env != NULL && env[0] != '\0' && !cli_flag_on(c, "data"))) {
        c->endpoint = copy_slice(slice_str(option != NULL ? option : env));
        return CLI_DONE;
    }
    snprintf(path, sizeof path, "%s/endpoint", data_dir(c));
    buf_init(&text, ENDPOINT_MAX);
    int err = fsio_read_file(path, &text);
    if (err == ERR_NONE && text.n > 0)
        c->endpoint = strndup(text.p, strcspn(text.p, "\r\n"));
    buf_fini(&text);
    if (c->endpoint != NULL)
        return CLI_DONE;
    cli_complain("no server found: %s does not exist, so no darkroomd runs on that data directory "
                 "(use --endpoint-url URL or --data DIR)",
                 path);
    return CLI_UNREACHABLE;
}

static bool
keys_from_file(struct cli *c, const char *path, const char *profile, const char *from)
{
    struct credentials keys;
    int err = credentials_read(&keys, path, profile);
    if (err == ERR_NONE) {
        c->access_key_id = copy_slice(keys.access_key_id);
        c->secret_access_key = copy_slice(keys.secret_access_key);
        c->keys_from = from;
    }
    credentials_fini(&keys);
    return err == ERR_NONE;
}

static enum cli_exit
find_keys(struct cli *c)
{
    const char *id = getenv("AWS_ACCESS_KEY_ID");
    const char *secret = getenv("AWS_SECRET_ACCESS_KEY");
    const char *file = getenv("AWS_SHARED_CREDENTIALS_FILE");
    const char *profile = getenv("AWS_PROFILE");
    const char *home = getenv("HOME");
    char path[PATH_MAX];
    if (id != NULL && secret != NULL && id[0] != '\0') {
        c->access_key_id = copy_slice(slice_str(id));
        c->secret_access_key = copy_slice(slice_str(secret));
        c->keys_from = "AWS_ACCESS_KEY_ID";
        return CLI_DONE;
    }
    if (file != NULL)
        snprintf(path, sizeof path, "%s", file);
    else
        snprintf(path, sizeof path, "%s/.aws/credentials", home == NULL ? "" : home);
    if (keys_from_file(c, path, profile == NULL ? "default" : profile,
                       "the shared credentials file"))
        return CLI_DONE;
    snprintf(path, sizeof path, "%s/credentials", data_dir(c));
    if (keys_from_file(c, path, "default", "the data directory"))
        return CLI_DONE;
    cli_complain(
        "no keys found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use --data DIR "
        "of the server");
    return CLI_USAGE;
}

static struct remote_options
options_of(const struct cli *c)
{
    return (struct remote_options){.endpoint = c->endpoint,
                                   .ca_file = c->ca_file,
                                   .region = REGION_DEFAULT,
                                   .timeout_ms = c->timeout_ms,
                                   .access_key_id = slice_str(c->access_key_id),
                                   .secret_access_key = slice_str(c->secret_access_key)};
}

enum cli_exit
cli_connect(struct cli *c)
{
    struct buf why;
    if (c->http != NULL)
        return CLI_DONE;
    enum cli_exit code = find_endpoint(c);
    if (code == CLI_DONE)
        code = find_keys(c);
    if (code != CLI_DONE) {
        cli_disconnect(c);
        return code;
    }
    const char *env = getenv("AWS_CA_BUNDLE");
    c->ca_file = cli_flag_str(c, "ca-file");
    if (c->ca_file == NULL && env != NULL && env[0] != '\0')
        c->ca_file = env;
    buf_init(&why, CLI_WHY_MAX);
    struct remote_options options = options_of(c);
    if (remote_http_open(&c->http, &options, &why) != ERR_NONE) {
        cli_complain("%s", why.p);
        code = CLI_USAGE;
    }
    buf_fini(&why);
    return code;
}

/* V2 is taken by a loopback Darkroom unless told otherwise; what libs3 would bend goes by V4. */
static enum remote_driver
pick_driver(const struct cli *c, struct slice name)
{
    const char *signature = cli_flag_str(c, "signature");
    bool is_auto = signature == NULL || strcmp(signature, "auto") == 0;
    if (!is_auto && strcmp(signature, "v2") == 0)
        return REMOTE_LIBS3;
    if (!is_auto || !remote_can_send(REMOTE_LIBS3, name))
        return REMOTE_CURL;
    struct slice url = slice_str(c->endpoint);
    bool loopback = slice_starts(url, SLICE_LIT("http://127.")) ||
                    slice_starts(url, SLICE_LIT("http://localhost"));
    return loopback ? REMOTE_LIBS3 : REMOTE_CURL;
}

enum cli_exit
cli_open_remote(struct cli *c, struct slice name, struct remote **r)
{
    struct buf why;
    enum cli_exit code = cli_connect(c);
    if (code != CLI_DONE)
        return code;
    struct remote_options options = options_of(c);
    buf_init(&why, CLI_WHY_MAX);
    if (remote_open(r, pick_driver(c, name), &options, &why) != ERR_NONE) {
        cli_complain("%s", why.p);
        code = CLI_USAGE;
    }
    buf_fini(&why);
    return code;
}

void
cli_disconnect(struct cli *c)
{
    remote_http_close(&c->http);
    if (c->secret_access_key != NULL)
        explicit_bzero(c->secret_access_key, strlen(c->secret_access_key));
    free(c->endpoint);
    free(c->access_key_id);
    free(c->secret_access_key);
    c->endpoint = c->access_key_id = c->secret_access_key = NULL;
}

struct answer {
    int status;
    json_t *json;           /* the parsed body; NULL: it is none */
    int64_t retry_after_ms; /* 0: not said */
    bool wants_keys;        /* others might do */
};

/* Seconds; the other form of the header, a date, is not sent by Darkroom (RFC 9110, 10.2.3). */
static int64_t
retry_after_ms(const struct remote_response *response)
{
    uint64_t seconds = 0;
    struct slice text = remote_header(response, "Retry-After");
    if (text.p == NULL || slice_to_u64(text, &seconds) != ERR_NONE)
        return 0;
    return seconds > RETRY_AFTER_S_MAX ? RETRY_AFTER_S_MAX * 1000 : (int64_t)seconds * 1000;
}

/* ERR_CLOSED from below, with `why`. */
static int
exchange(struct cli *c, const char *method, const char *path, struct slice query,
         const json_t *body, struct answer *answer, struct buf *why)
{
    struct remote_response response;
    struct buf text;
    buf_init(&text, REMOTE_REPLY_MAX);
    if (body != NULL)
        json_write(&text, body, false);
    struct remote_request request = {.method = method,
                                     .path = slice_str(path),
                                     .query = query,
                                     .content_type = body != NULL ? "application/json" : NULL,
                                     .body = buf_slice(&text),
                                     .body_fd = -1};
    int err = remote_http_send(c->http, &request, &response, why);
    *answer = (struct answer){.status = response.status};
    if (err == ERR_NONE) {
        answer->json = json_read(buf_slice(&response.body), NULL);
        answer->retry_after_ms = retry_after_ms(&response);
        answer->wants_keys = remote_header(&response, "WWW-Authenticate").p != NULL;
    }
    remote_response_fini(&response);
    buf_fini(&text);
    return err;
}

/* The same until the server has time, or more patience is asked for than there is. */
static int
exchange_patiently(struct cli *c, const char *method, const char *path, struct slice query,
                   const json_t *body, struct answer *answer, struct buf *why)
{
    int64_t give_up_ms = clock_mono_ms() + c->patience_ms;
    for (;;) {
        int err = exchange(c, method, path, query, body, answer, why);
        int64_t pause_ms = answer->retry_after_ms > 0 ? answer->retry_after_ms : BUSY_PAUSE_MS;
        if (err != ERR_NONE || answer->status != 503 || clock_mono_ms() + pause_ms > give_up_ms)
            return err;
        json_decref(answer->json);
        answer->json = NULL;
        poll(NULL, 0, (int)pause_ms);
    }
}

json_t *
cli_try(struct cli *c, const char *method, const char *path, struct slice query, int *status)
{
    struct answer answer;
    struct buf why;
    CHK(c->http != NULL);
    buf_init(&why, CLI_WHY_MAX);
    *status = exchange(c, method, path, query, NULL, &answer, &why) == ERR_NONE ? answer.status : 0;
    buf_fini(&why);
    return answer.json;
}

json_t *
cli_call(struct cli *c, const char *method, const char *path, struct slice query,
         const json_t *body, enum cli_exit *code)
{
    struct answer answer;
    struct buf why;
    *code = cli_connect(c);
    if (*code != CLI_DONE)
        return NULL;
    buf_init(&why, CLI_WHY_MAX);
    if (exchange_patiently(c, method, path, query, body, &answer, &why) != ERR_NONE) {
        cli_complain("cannot reach the server: %s", why.p);
        *code = CLI_UNREACHABLE;
    } else if (answer.status / 100 != 2 || answer.json == NULL) {
        const char *message = cli_str(answer.json, "message");
        cli_complain("%s (the server answered %d)", message[0] != '\0' ? message : "refused",
                     answer.status);
        if (answer.wants_keys)
            cli_complain("the keys came from %s", c->keys_from);
        *code = answer.status == 400 ? CLI_USAGE : CLI_SOME_FAILED;
        json_decref(answer.json);
        answer.json = NULL;
    }
    buf_fini(&why);
    return answer.json;
}

enum cli_exit
cli_ended(const struct cli *c, const char *what, int err, const struct buf *why)
{
    if (err == ERR_NONE)
        return CLI_DONE;
    cli_complain("%s: %s", err == ERR_CLOSED ? "cannot reach the server" : what,
                 why->n > 0 ? why->p : err_text(err));
    if (err == ERR_DENIED)
        cli_complain("the keys came from %s", c->keys_from);
    return err == ERR_CLOSED        ? CLI_UNREACHABLE
           : err == ERR_UNSUPPORTED ? CLI_USAGE
                                    : CLI_SOME_FAILED;
}

enum cli_exit
cli_s3_bucket(struct cli *c, const char *method, const char *bucket, const char *query,
              struct slice body)
{
    struct remote_response response = {0};
    struct buf path, why;
    enum cli_exit code = cli_connect(c);
    if (code != CLI_DONE)
        return code;
    buf_init(&path, ENDPOINT_MAX);
    buf_init(&why, CLI_WHY_MAX);
    buf_printf(&path, "/%s", bucket);
    struct remote_request request = {.method = method,
                                     .path = buf_slice(&path),
                                     .query = slice_str(query),
                                     .content_type = body.n > 0 ? "application/xml" : NULL,
                                     .body = body,
                                     .body_fd = -1};
    int err =
        path.err != ERR_NONE ? path.err : remote_http_send(c->http, &request, &response, &why);
    if (err == ERR_NONE && response.status / 100 != 2)
        err = remote_failure(&response, &why);
    remote_response_fini(&response);
    code = cli_ended(c, bucket, err, &why);
    buf_fini(&why);
    buf_fini(&path);
    return code;
}
