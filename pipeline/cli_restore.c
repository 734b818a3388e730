/*
 * Offline, and by darkroomd itself: it alone opens databases and knows what a data directory is.
 */
#include "pipeline/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The one beside us, else the one of the PATH. */
static const char *
server_program(char out[PATH_MAX])
{
    char self[PATH_MAX - 16];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        snprintf(out, PATH_MAX, "%s/darkroomd", dirname(self));
        if (access(out, X_OK) == 0)
            return out;
    }
    return "darkroomd";
}

static enum cli_exit
run_server(struct cli *c, char **argv)
{
    char path[PATH_MAX];
    pid_t pid;
    int status = 0;
    const char *program = server_program(path);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (c->json) /* its line is for people */
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int failed = posix_spawnp(&pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        cli_complain("darkroomd cannot be run: %s (it belongs beside darkroom, or in the PATH)",
                     strerror(failed));
        return CLI_SOME_FAILED;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return CLI_SOME_FAILED;
    return CLI_DONE;
}

static enum cli_exit
restore(struct cli *c, int argc, char **argv)
{
    const char *target = cli_flag_str(c, "data");
    (void)argc;
    if (target == NULL)
        return cli_usage(c, "--data must name the new data directory");
    char *command[] = {"darkroomd", "--restore", argv[0], "--data", (char *)target, NULL};
    enum cli_exit code = run_server(c, command);
    if (code == CLI_DONE && c->json) {
        json_t *line = json_pack("{ss ss}", "backup", argv[0], "data", target);
        cli_print_json(line);
        json_decref(line);
    }
    return code;
}

static const struct cli_verb verbs[] = {
    {.arguments = "DIR",
     .summary = "make a new data directory out of a backup",
     .details = "DIR is one backup, or a folder of them: then the newest. It is checked"
                " first: manifest, checksum and integrity of the database. --data names the new"
                " data directory, which must be empty or not there; large files are linked where"
                " that is possible. Then start: darkroomd --data NEWDIR. Run it as the user that"
                " darkroomd runs as.",
     .example = "restore /srv/backup/darkroom --data /var/lib/darkroom",
     .run = restore},
    {0},
};

const struct cli_command cli_command_restore = {
    .name = "restore", .summary = "make a new data directory out of a backup", .verbs = verbs};
