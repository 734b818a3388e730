#include "base/chk.h"
#include "pipeline/cli.h"

#include <stdio.h>

static const struct cli_flag flags[] = {
    {"preset", "NAME", "a configured preset, in place of a size", CLI_TEXT, 0, 0},
    {"width", "PX", "1 to 4096", CLI_INT, 1, 4096},
    {"height", "PX", "1 to 4096; with --fit inside one side may be left out", CLI_INT, 1, 4096},
    {"fit", "cover|contain|inside", "how the picture fits the size (default inside)", CLI_WORD, 0,
     0},
    {"format", "webp|jpeg|png|avif|auto",
     "auto: what the browser accepts; avif: of a preset that has it (default webp)", CLI_WORD, 0,
     0},
    {"quality", "Q", "1 to 100 (default 80)", CLI_INT, 1, 100},
    {"dpr", "N", "pixels per pixel of the page, 1 to 4", CLI_TEXT, 0, 0},
    {"focus", "centre|attention|entropy", "what cover keeps (default centre)", CLI_WORD, 0, 0},
    {"expires", "TIME", "seconds from now, or 15m, 2h, 7d (default 3600)", CLI_DURATION, 1,
     INT32_MAX},
    {0},
};

/* The parameter of the URL for each of the flags that are one. */
static const struct {
    const char *flag, *param;
} params_of[] = {
    {"preset", "preset"}, {"width", "w"},   {"height", "h"}, {"fit", "fit"},
    {"format", "fm"},     {"quality", "q"}, {"dpr", "dpr"},  {"focus", "focus"},
};

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

static json_t *
request(const struct cli *c, const char *target)
{
    struct slice bucket, key;
    json_t *params = json_object();
    cli_s3(target, &bucket, &key);
    for (size_t i = 0; i < ARRAY_LEN(params_of); i++) {
        const char *value = cli_flag_str(c, params_of[i].flag);
        if (value != NULL)
            json_object_set_new(params, params_of[i].param, json_string(value));
    }
    json_t *body = json_pack("{ss# ss# so}", "bucket", bucket.p, (int)bucket.n, "key", key.p,
                             (int)key.n, "params", params);
    if (cli_flag_on(c, "expires"))
        json_object_set_new(body, "expires_s",
                            json_integer(cli_flag_duration(c, "expires", 0) / 1000));
    return body;
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    (void)argc;
    if (!cli_flag_on(c, "preset") && !cli_flag_on(c, "width") && !cli_flag_on(c, "height"))
        return cli_usage(c, "needs --preset NAME, or --width PX or --height PX or both");
    json_t *body = request(c, argv[0]);
    json_t *answer = cli_call(c, "POST", "/_/sign-url", SLICE_NONE, body, &code);
    if (answer != NULL)
        print_url(c, answer);
    json_decref(answer);
    json_decref(body);
    return code;
}

static const struct cli_verb verbs[] = {
    {.arguments = "s3://BUCKET/KEY",
     .summary = "a URL that shows a picture to anybody who has it",
     .flags = flags,
     .details = "Either a preset, or a size of its own. The server signs with the first key of "
                "DIR/url-keys, or of DARKROOM_URL_KEYS in its environment.",
     .example = "sign-url s3://photos/cat.jpg --width 300 --format auto --expires 7d",
     .run = run},
    {0},
};

const struct cli_command cli_command_sign_url = {
    .name = "sign-url",
    .summary = "a URL that shows a picture to anybody who has it",
    .verbs = verbs};
