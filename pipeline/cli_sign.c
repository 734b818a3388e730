#include "base/chk.h"
#include "base/err.h"
#include "pipeline/cli.h"

#include <stdio.h>

static const struct {
    const char *option, *param;
} options[] = {
    {"--preset", "preset"}, {"--width", "w"},   {"--height", "h"}, {"--fit", "fit"},
    {"--format", "fm"},     {"--quality", "q"}, {"--dpr", "dpr"},  {"--focus", "focus"},
};

/* Takes the option at argv[*at] into `params` or *expires; false: it is none, or was complained of.
 */
static bool
take(int argc, char **argv, int *at, json_t *params, const char **expires)
{
    bool bad = false;
    const char *value = cli_option(argc, argv, at, "--expires", &bad);
    if (value != NULL)
        *expires = value;
    for (size_t i = 0; value == NULL && i < ARRAY_LEN(options); i++) {
        value = cli_option(argc, argv, at, options[i].option, &bad);
        if (value != NULL && json_object_set_new(params, options[i].param, json_string(value)) != 0)
            return false;
    }
    return value != NULL && !bad;
}

/* The request to the server; NULL: complained of. Takes `params`. */
static json_t *
request(const char *target, json_t *params, const char *expires)
{
    struct slice bucket = SLICE_NONE, key = SLICE_NONE;
    uint64_t seconds = 0;
    json_t *body = NULL;
    if (target == NULL || cli_parse_s3(target, &bucket, &key) != ERR_NONE || key.n == 0)
        cli_usage("sign-url", "needs s3://BUCKET/KEY");
    else if (expires != NULL &&
             (slice_to_u64(slice_str(expires), &seconds) != ERR_NONE || seconds > INT32_MAX))
        cli_usage("sign-url", "--expires must be a number of seconds");
    else if (json_object_get(params, "preset") == NULL && json_object_get(params, "w") == NULL &&
             json_object_get(params, "h") == NULL)
        cli_usage("sign-url", "needs --preset NAME, or --width PX or --height PX or both");
    else if (!slice_is_utf8(bucket) || !slice_is_utf8(key))
        cli_usage("sign-url", "the name is not UTF-8");
    else
        body = json_pack("{ss# ss# sO}", "bucket", bucket.p, (int)bucket.n, "key", key.p,
                         (int)key.n, "params", params);
    if (body != NULL && expires != NULL)
        json_object_set_new(body, "expires_s", json_integer((json_int_t)seconds));
    json_decref(params);
    return body;
}

/* "http://127.0.0.1:9000", whether or not the endpoint was given with a slash behind it. */
static void
print_url(const struct cli *c, const json_t *answer)
{
    struct slice endpoint = slice_str(c->endpoint);
    while (endpoint.n > 0 && endpoint.p[endpoint.n - 1] == '/')
        endpoint.n--;
    if (c->json) {
        json_t *line =
            json_pack("{ss#+}", "url", endpoint.p, (int)endpoint.n, cli_str(answer, "url"));
        cli_print_json(line);
        json_decref(line);
        return;
    }
    printf("%.*s%s\n", SLICE_FMT(endpoint), cli_str(answer, "url"));
}

enum cli_exit
cli_sign_url(struct cli *c, int argc, char **argv)
{
    const char *target = NULL, *expires = NULL;
    json_t *params = json_object();
    for (int i = 0; i < argc; i++) {
        if (target == NULL && argv[i][0] != '-') {
            target = argv[i];
        } else if (!take(argc, argv, &i, params, &expires)) {
            json_decref(params);
            return cli_usage("sign-url", "unknown argument %s", argv[i]);
        }
    }
    json_t *body = request(target, params, expires);
    if (body == NULL)
        return CLI_USAGE;
    enum cli_exit code = cli_connect(c);
    json_t *answer =
        code == CLI_DONE ? cli_call(c, "POST", "/_/sign-url", SLICE_NONE, body, &code) : NULL;
    if (answer != NULL)
        print_url(c, answer);
    json_decref(answer);
    json_decref(body);
    return code;
}
