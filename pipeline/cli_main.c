/*
 * darkroom: the command line, help, one command, its exit code. The commands are in cli_list.h.
 */
#include "pipeline/cli.h"

#include <signal.h>
#include <stdio.h>

const struct cli_command *const cli_commands[] = {
#define COMMAND(name) &cli_command_##name,
#include "pipeline/cli_list.h"
#undef COMMAND
    NULL,
};

/* --help goes before every complaint about the rest of the line. */
static bool
wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    struct buf why;
    bool help = wants_help(argc, argv);
    buf_init(&why, CLI_WHY_MAX);
    enum cli_exit code = cli_parse(c, &argc, argv, &why);
    if (help || (code == CLI_DONE && c->command == NULL && !cli_flag_on(c, "version"))) {
        code = help ? CLI_DONE : CLI_USAGE;
        cli_help(c);
    } else if (code != CLI_DONE) {
        cli_usage(c, "%s", why.n > 0 ? why.p : "that is too long");
    } else if (cli_flag_on(c, "version")) {
        puts("darkroom " DARKROOM_VERSION);
    } else {
        code = c->verb->run(c, argc, argv);
    }
    buf_fini(&why);
    return code;
}

int
main(int argc, char **argv)
{
    struct cli c = {0};
    signal(SIGPIPE, SIG_IGN);
    if (argc > CLI_ARGUMENTS_MAX) {
        cli_complain("too many arguments");
        return CLI_USAGE;
    }
    enum cli_exit code = run(&c, argc - 1, argv + 1);
    cli_disconnect(&c);
    if (fflush(stdout) != 0) {
        cli_complain("cannot write the output");
        return CLI_SOME_FAILED;
    }
    return (int)code;
}
