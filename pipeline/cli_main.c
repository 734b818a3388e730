/*
 * darkroom: global options, the command table, help. Global options may stand before or after the
 * command; what is left goes to the command.
 */
#include "base/chk.h"
#include "pipeline/cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define ARGUMENTS_MAX 256

static const struct cli_command commands[] = {
    {"status", "", "lanes, workers, what runs now", cli_status, ""},
    {"formats", "", "which pictures are read, made, could be read, are refused", cli_formats,
     "  opt-in formats are read when the server's setting image.formats names them\n"},
    {"explain", "s3://BUCKET/KEY", "the whole story of one object", cli_explain, ""},
    {"wait", "s3://BUCKET/KEY...", "wait until all thumbnails of these objects are ready", cli_wait,
     "  --timeout S        give up after S seconds (default 60)\n"},
    {"reprocess", "s3://BUCKET[/PREFIX]", "make thumbnails and items again, at batch priority",
     cli_reprocess,
     "  --function NAME    only this function\n"
     "  --no-wait          return when the batch is accepted\n"
     "  --attach ID        watch a batch started before\n"},
    {"dlq", "list | show ID | redrive ID|--all | purge ID|--all",
     "events that failed for good: see, try again, drop", cli_dlq,
     "  --all              every dead letter\n"},
    {"buckets", "add NAME", "bucket, derived bucket, table and rules in one step", cli_buckets,
     "  --public           let anyone GET the thumbnails\n"},
    {"functions", "get [NAME] | set NAME [OPTIONS]", "read and change the functions", cli_functions,
     "  --memory MB        128 to 10240\n"
     "  --timeout S        1 to 900\n"
     "  --concurrency N    reserved concurrency; -1: none, 0: pause\n"
     "  --retries N        maximum retry attempts, 0 to 2\n"
     "  --max-age S        maximum event age, 60 to 21600\n"
     "  --presets FILE     replace all thumbnail presets by the JSON list in FILE; stored objects\n"
     "                     keep their thumbnails until: darkroom reprocess s3://BUCKET/\n"
     "                     its members (fit, focus, several formats, animated...): man darkroom\n"
     "  --env NAME=VALUE   one variable of the environment; NAME= removes it\n"},
    {"webhooks", "add s3://BUCKET[/PREFIX] URL | list | remove ID",
     "tell a URL by signed POSTs what becomes of objects", cli_webhooks,
     "  --secret-file FILE the secret that signs, 16 to 128 characters; else one is made and "
     "shown\n"
     "                     the URL's host must be in the server's setting webhook.hosts\n"},
    {"ls", "s3://BUCKET[/PREFIX]", "list objects", cli_ls,
     "  --recursive        do not stop at '/'\n"},
    {"get", "s3://BUCKET/KEY [FILE]", "fetch an object (standard output without FILE)", cli_get,
     ""},
    {"put", "FILE s3://BUCKET/KEY | FILE... s3://BUCKET/[PREFIX/]",
     "store an object; behind a '/' each file keeps its own name", cli_put,
     "  --content-type T   default: by the file name's ending\n"},
    {"sign-url", "s3://BUCKET/KEY --preset NAME | --width PX | --height PX",
     "a URL that shows a picture to anybody who has it", cli_sign_url,
     "  --preset NAME      a configured preset; or a size of its own:\n"
     "  --width, --height  pixels, 1 to 4096; one may be left out with --fit inside\n"
     "  --fit F            cover, contain or inside (default)\n"
     "  --format F         webp (default), jpeg, png, or auto: what the browser accepts; of a\n"
     "                     preset one of its own, avif too\n"
     "  --quality Q        1 to 100 (default 80)\n"
     "  --dpr D            pixels per pixel of the page, 1 to 4\n"
     "  --focus F          centre (default), attention or entropy\n"
     "  --expires S        seconds from now (default 3600)\n"},
};

static const char globals[] =
    "options, before or after the command:\n"
    "  --endpoint-url URL   the server; else AWS_ENDPOINT_URL (unless --data is given), else\n"
    "                       DIR/endpoint\n"
    "  --data DIR           the server's data directory (default ./darkroom-data)\n"
    "  --ca-file FILE       https: trust the CAs in this PEM file instead of the system's; else\n"
    "                       AWS_CA_BUNDLE\n"
    "  --signature MODE     ls, get: v2 (libs3; refuses names with a space), v4, or auto (v2 on\n"
    "                       loopback where it can)\n"
    "  --json               one JSON object per line instead of tables\n"
    "  --help, --version\n"
    "\n"
    "keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the shared credentials file, else\n"
    "DIR/credentials. Exit codes: 0 done, 1 some failed, 2 usage, 3 cannot reach the server.\n";

static void
print_help(void)
{
    puts("usage: darkroom [OPTIONS] COMMAND [ARGUMENTS]\n\ncommands:");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %s%s%s\n             %s\n", commands[i].name,
               commands[i].arguments[0] != '\0' ? " " : "", commands[i].arguments,
               commands[i].summary);
    printf("\n%s", globals);
}

static void
print_command_help(const struct cli_command *command)
{
    printf("usage: darkroom %s%s%s\n\n%s\n", command->name,
           command->arguments[0] != '\0' ? " " : "", command->arguments, command->summary);
    if (command->details[0] != '\0')
        printf("\n%s", command->details);
    printf("\n%s", globals);
}

static const struct cli_command *
command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* Takes one global option at argv[*at]: 1 taken, 0 not one, -1 wrong. */
static int
take_global(struct cli *c, int argc, char **argv, int *at)
{
    const struct {
        const char *name;
        const char **value;
    } texts[] = {
        {"--endpoint-url", &c->endpoint_option},
        {"--data", &c->data_dir},
        {"--ca-file", &c->ca_file},
        {"--signature", &c->signature},
    };
    bool bad = false;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *value = cli_option(argc, argv, at, texts[i].name, &bad);
        if (value == NULL)
            continue;
        *texts[i].value = value;
        return bad ? -1 : 1;
    }
    if (strcmp(argv[*at], "--json") == 0)
        c->json = true;
    else if (strcmp(argv[*at], "--help") == 0 || strcmp(argv[*at], "-h") == 0)
        c->verbose_help = true;
    else
        return 0;
    return 1;
}

static bool
signature_ok(const char *s)
{
    return strcmp(s, "auto") == 0 || strcmp(s, "v2") == 0 || strcmp(s, "v4") == 0;
}

int
main(int argc, char **argv)
{
    struct cli c = {.signature = "auto"};
    char *rest[ARGUMENTS_MAX];
    int count = 0;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++) {
        int taken = take_global(&c, argc, argv, &i);
        if (taken < 0)
            return CLI_USAGE;
        if (taken > 0)
            continue;
        if (strcmp(argv[i], "--version") == 0)
            return puts("darkroom " DARKROOM_VERSION) < 0;
        if (count == ARGUMENTS_MAX) {
            cli_complain("too many arguments");
            return CLI_USAGE;
        }
        rest[count++] = argv[i];
    }
    char **argument = rest;
    if (count > 0 && strcmp(rest[0], "help") == 0) { /* "help COMMAND" is "COMMAND --help" */
        c.verbose_help = true;
        argument++;
        count--;
    }
    if (count == 0) {
        print_help();
        return c.verbose_help ? CLI_DONE : CLI_USAGE;
    }
    const struct cli_command *command = command_find(argument[0]);
    if (command == NULL) {
        cli_complain("no command \"%s\" (see darkroom --help)", argument[0]);
        return CLI_USAGE;
    }
    if (c.verbose_help) {
        print_command_help(command);
        return CLI_DONE;
    }
    if (!signature_ok(c.signature))
        return cli_usage(command->name, "--signature must be auto, v2 or v4");
    enum cli_exit code = command->run(&c, count - 1, argument + 1);
    cli_disconnect(&c);
    if (fflush(stdout) != 0) {
        cli_complain("cannot write the output");
        return CLI_SOME_FAILED;
    }
    return (int)code;
}
