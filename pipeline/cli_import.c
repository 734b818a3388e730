/*
 * import and export: what the two commands take. The work is in cli_transfer*.c.
 */
#include "base/chk.h"
#include "pipeline/cli_transfer.h"

#define SHARED_FLAGS                                                                               \
    {"remote-url", "URL", "the other store; then --endpoint-url is our server's", CLI_TEXT, 0, 0}, \
        {"profile",                                                                                \
         "NAME",                                                                                   \
         "the other store's keys: this profile of the shared credentials file (default: "          \
         "DARKROOM_REMOTE_ACCESS_KEY_ID and DARKROOM_REMOTE_SECRET_ACCESS_KEY)",                   \
         CLI_TEXT,                                                                                 \
         0,                                                                                        \
         0},                                                                                       \
        {"anonymous", NULL, "ask the other store without keys", CLI_TEXT, 0, 0},                   \
        {"region", "REGION", "of the other store (default us-east-1)", CLI_TEXT, 0, 0},            \
        {"remote-ca-file",                                                                         \
         "FILE",                                                                                   \
         "https: trust the CAs in this PEM file for the other store instead of the system's",      \
         CLI_FILE,                                                                                 \
         0,                                                                                        \
         0},                                                                                       \
        {"jobs",  "N", "objects under way at once, 1 to 64 (default 8)",                           \
         CLI_INT, 1,   TRANSFER_JOBS_MAX},                                                         \
        {"stall",                                                                                  \
         "TIME",                                                                                   \
         "a request that moves no byte for so long is tried again, 1s to 1h (default 60s)",        \
         CLI_DURATION,                                                                             \
         1,                                                                                        \
         3600},                                                                                    \
        {"retries", "N", "times that a request is tried again, 0 to 20 (default 5)",               \
         CLI_INT,   0,   20},                                                                      \
        {"dry-run", NULL, "compare only, and name what would be copied", CLI_TEXT, 0, 0},          \
    {                                                                                              \
        0                                                                                          \
    }

static enum cli_exit
transfer(struct cli *c, const char *from, bool import)
{
    struct transfer t = {0};
    const char *to = cli_flag_str(c, "to");
    if (to == NULL || to[0] == '\0')
        return cli_usage(c, "needs --to %s",
                         import ? "s3://BUCKET[/PREFIX]" : "s3://BUCKET[/PREFIX] or --to DIR");
    if (import && strncmp(to, "s3://", 5) != 0)
        return cli_usage(c, "\"%s\" is no s3://BUCKET[/PREFIX]", to);
    enum cli_exit code = transfer_open(&t, c, from, to, import);
    if (code == CLI_DONE)
        code = transfer_run(&t);
    transfer_close(&t);
    return code;
}

static enum cli_exit
run_import(struct cli *c, int argc, char **argv)
{
    (void)argc;
    return transfer(c, argv[0], true);
}

static enum cli_exit
run_export(struct cli *c, int argc, char **argv)
{
    (void)argc;
    return transfer(c, argv[0], false);
}

static const struct cli_flag import_flags[] = {
    {"to", "s3://BUCKET[/PREFIX]", "where the objects go in our server", CLI_TEXT, 0, 0},
    SHARED_FLAGS,
};

static const struct cli_verb import_verbs[] = {
    {.arguments = "DIR|s3://BUCKET[/PREFIX]",
     .summary = "copy another store's bucket, or a folder, into ours",
     .flags = import_flags,
     .details =
         "--endpoint-url is here the other store's URL, and our server is found by --data, "
         "AWS_ENDPOINT_URL or ./darkroom-data; with --remote-url, or where the other side is a "
         "folder, it is our server's as everywhere. --signature is the other store's: v4 goes "
         "through libcurl, v2 through libs3, auto (default) asks by v4 first and says what was "
         "taken. libs3 refuses names with a space and keeps no more of an object's metadata than "
         "Content-Type and x-amz-meta-*. Names are kept from behind the prefix's last '/': "
         "s3://a/2024/ gives x.jpg, s3://a/2024 gives 2024/x.jpg. Metadata and tags go along. "
         "What is at the target already with the same size and ETag (or, of a file, MD5) is "
         "skipped, so the same command goes on after an interruption, and a second run moves no "
         "byte; nothing is deleted. Bytes are checked by ETag or checksum before they become "
         "visible; requests that fail for a while are tried again. Of a folder, files go with a "
         "content type by their ending and their time as x-amz-meta-mtime; symbolic links are "
         "named and not followed. With --json one line tells each object that was copied or "
         "failed, the last one has planned, done, skipped, failed, bytes, seconds.",
     .example = "import s3://old-photos --to s3://photos --endpoint-url https://s3.example.com",
     .run = run_import},
    {0},
};

const struct cli_command cli_command_import = {
    .name = "import", .summary = "copy objects or files into our server", .verbs = import_verbs};

static const struct cli_flag export_flags[] = {
    {"to", "DIR|s3://BUCKET[/PREFIX]", "a folder, or a bucket of the other store", CLI_FILE, 0, 0},
    SHARED_FLAGS,
};

static const struct cli_verb export_verbs[] = {
    {.arguments = "s3://BUCKET[/PREFIX]",
     .summary = "copy a bucket of ours, thumbnails too, to another store or a folder",
     .flags = export_flags,
     .details =
         "As import, the other way round, with the same options. Into a folder, keys become paths "
         "below it; what cannot be one (\"..\", an absolute path, "
         "an empty part, a NUL, a part over 255 bytes, a folder where a file is) fails by name. A "
         "file's time is the object's x-amz-meta-mtime, else when it was stored.",
     .example = "export s3://photos-derived --to ./thumbnails",
     .run = run_export},
    {0},
};

const struct cli_command cli_command_export = {
    .name = "export", .summary = "copy objects out of our server", .verbs = export_verbs};
