/*
 * The command line against tables: what is taken, what is refused and in which words. The commands
 * here are the test's own; tests/e2e/cli_table.py goes through the real ones.
 */
#include "base/clock.h"
#include "pipeline/cli.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    return CLI_DONE;
}

static const struct cli_flag flags[] = {
    {"all", NULL, "", CLI_TEXT, 0, 0},
    {"name", "NAME", "", CLI_TEXT, 0, 0},
    {"file", "FILE", "", CLI_FILE, 0, 0},
    {"fit", "cover|contain", "", CLI_WORD, 0, 0},
    {"count", "N", "", CLI_INT, -1, 10},
    {"rate", "N/s", "", CLI_RATE, 1, 1000},
    {"timeout", "TIME", "", CLI_DURATION, 0, 3600},
    {"since", "TIME", "", CLI_TIME, 0, 0},
    {0},
};
static const struct cli_verb one_verbs[] = {
    {.arguments = "s3://BUCKET/KEY [FILE]", .flags = flags, .run = run}, {0}};
static const struct cli_verb many_verbs[] = {
    {.name = "add", .arguments = "FILE... s3://BUCKET[/KEY]", .flags = flags, .run = run},
    {.name = "show", .arguments = "ID", .run = run},
    {.name = "list", .arguments = "", .run = run},
    {.name = "words", .arguments = "[WORD...]", .run = run},
    {0},
};
static const struct cli_command one = {.name = "one", .verbs = one_verbs};
static const struct cli_command many = {.name = "many", .verbs = many_verbs};
const struct cli_command *const cli_commands[] = {&one, &many, NULL};

/* A command line cut at blanks; "_" stands for an empty word. */
static struct line {
    char text[512];
    char *argv[32];
    int argc;
    struct cli c;
    char why[CLI_WHY_MAX];
} line;

static enum cli_exit
parse(const char *text)
{
    struct buf why;
    char *save = NULL;
    memset(&line, 0, sizeof line);
    snprintf(line.text, sizeof line.text, "%s", text);
    for (char *w = strtok_r(line.text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        line.argv[line.argc++] = strcmp(w, "_") == 0 ? w + 1 : w;
    buf_init(&why, CLI_WHY_MAX);
    enum cli_exit code = cli_parse(&line.c, &line.argc, line.argv, &why);
    snprintf(line.why, sizeof line.why, "%s", why.n > 0 ? why.p : "");
    buf_fini(&why);
    assert_int_equal(code == CLI_DONE, line.why[0] == '\0');
    return code;
}

static void
refused(const char *text, const char *words)
{
    assert_int_equal(parse(text), CLI_USAGE);
    if (strstr(line.why, words) == NULL)
        fail_msg("<%s> said <%s>, not <%s>", text, line.why, words);
}

static void
test_forms_of_a_flag(void **state)
{
    (void)state;
    assert_int_equal(parse("one --name x s3://b/k"), CLI_DONE);
    assert_string_equal(cli_flag_str(&line.c, "name"), "x");
    assert_int_equal(parse("one s3://b/k --name=x=y"), CLI_DONE);
    assert_string_equal(cli_flag_str(&line.c, "name"), "x=y");
    assert_int_equal(parse("one s3://b/k --name="), CLI_DONE);
    assert_string_equal(cli_flag_str(&line.c, "name"), "");
    assert_int_equal(parse("one s3://b/k --name --all"), CLI_DONE); /* a value may look so */
    assert_string_equal(cli_flag_str(&line.c, "name"), "--all");
    assert_false(cli_flag_on(&line.c, "all"));
    assert_int_equal(parse("one s3://b/k --name a --name b"), CLI_DONE);
    assert_string_equal(cli_flag_str(&line.c, "name"), "b");
    assert_string_equal(cli_flag_nth(&line.c, "name", 0), "a");
    assert_string_equal(cli_flag_nth(&line.c, "name", 1), "b");
    assert_null(cli_flag_nth(&line.c, "name", 2));
}

static void
test_global_flags_anywhere(void **state)
{
    (void)state;
    assert_int_equal(parse("--data d many --json list"), CLI_DONE);
    assert_string_equal(cli_flag_str(&line.c, "data"), "d");
    assert_true(line.c.json);
    assert_string_equal(line.c.verb->name, "list");
    assert_int_equal(parse("many list --data=d"), CLI_DONE);
    assert_string_equal(cli_flag_str(&line.c, "data"), "d");
    assert_int_equal(parse("--json"), CLI_DONE);
    assert_null(line.c.command);
}

static void
test_arguments(void **state)
{
    struct slice bucket, key;
    (void)state;
    assert_int_equal(parse("one s3://b/k/l --all file"), CLI_DONE);
    assert_int_equal(line.argc, 2);
    assert_string_equal(line.argv[1], "file");
    cli_s3(line.argv[0], &bucket, &key);
    assert_true(slice_eqs(bucket, "b") && slice_eqs(key, "k/l"));
    assert_int_equal(parse("many add -- --all -x s3://b"), CLI_DONE);
    assert_int_equal(line.argc, 3);
    assert_false(cli_flag_on(&line.c, "all"));
    cli_s3(line.argv[2], &bucket, &key);
    assert_true(slice_eqs(bucket, "b") && key.p == NULL);
    assert_int_equal(parse("one s3://b/k -"), CLI_DONE);
    assert_int_equal(parse("many show 17"), CLI_DONE);
    assert_int_equal(cli_id(line.argv[0]), 17);
    assert_int_equal(parse("many words _ a"), CLI_DONE);
    assert_int_equal(parse("many words"), CLI_DONE);
}

static void
test_refused_arguments(void **state)
{
    (void)state;
    refused("one", "needs s3://BUCKET/KEY [FILE]");
    refused("one s3://b/k f g", "unknown argument g");
    refused("one b/k", "\"b/k\" is no s3://BUCKET/KEY");
    refused("one s3://b/", "is no s3://BUCKET/KEY");
    refused("one s3:///k", "is no s3://");
    refused("one s3://b/\xff", "is no s3://");
    refused("one s3://b/k _", "\"\" is no FILE");
    refused("many add s3://b/k", "needs FILE");
    refused("many add f g b", "\"b\" is no s3://BUCKET[/KEY]");
    refused("many show 0", "is no ID");
    refused("many show x", "is no ID");
    refused("many show 99999999999999999999", "is no ID");
    refused("many list all", "unknown argument all; takes no argument");
}

static void
test_unknown_words(void **state)
{
    (void)state;
    refused("onne s3://b/k", "no command \"onne\"; did you mean one?");
    refused("elsewhere", "no command \"elsewhere\"");
    assert_null(strstr(line.why, "mean"));
    refused("many", "needs add, show, list or words");
    refused("many lsit", "did you mean list?");
    refused("many --all add", "in front of --all");
    refused("one s3://b/k --cuont 1", "unknown option --cuont; did you mean --count?");
    refused("one s3://b/k --time=1", "did you mean --timeout?");
    refused("one s3://b/k --jsno", "did you mean --json?");
    refused("one s3://b/k -x", "unknown option -x");
    refused("--all one s3://b/k", "in front of the command");
    refused("one s3://b/k --all=1", "--all takes no value");
    refused("one s3://b/k --name", "--name needs a value (NAME)");
}

static void
test_kinds(void **state)
{
    (void)state;
    assert_int_equal(parse("one s3://b/k --count -1 --rate 20/s --timeout 15m --fit contain"),
                     CLI_DONE);
    assert_int_equal(cli_flag_int(&line.c, "count", 5), -1);
    assert_int_equal(cli_flag_int(&line.c, "rate", 5), 20);
    assert_int_equal(cli_flag_duration(&line.c, "timeout", 5), 900000);
    assert_int_equal(parse("one s3://b/k --timeout 7 --rate 20"), CLI_DONE);
    assert_int_equal(cli_flag_int(&line.c, "count", 5), 5);
    assert_int_equal(cli_flag_duration(&line.c, "timeout", 5), 7000);
    assert_int_equal(cli_flag_time(&line.c, "since", 5), 5);
    refused("one s3://b/k --count 11", "--count needs a whole number (-1 to 10), not \"11\"");
    refused("one s3://b/k --count 1x", "a whole number");
    refused("one s3://b/k --count 99999999999999999999", "a whole number");
    refused("one s3://b/k --rate 0", "a number per second");
    refused("one s3://b/k --rate 5/m", "a number per second");
    refused("one s3://b/k --timeout 2h", "(0 to 3600 s)");
    refused("one s3://b/k --timeout 5w", "a number of seconds");
    refused("one s3://b/k --timeout 106751991167301d", "a number of seconds");
    refused("one s3://b/k --fit cov", "one of cover|contain");
    refused("one s3://b/k --fit cover|contain", "one of cover|contain");
    refused("one s3://b/k --name \xff", "UTF-8");
    assert_int_equal(parse("one s3://b/k --file \xff"), CLI_DONE);
}

static void
test_times(void **state)
{
    (void)state;
    assert_int_equal(parse("one s3://b/k --since 1970-01-02"), CLI_DONE);
    assert_int_equal(cli_flag_time(&line.c, "since", 0), 86400000);
    assert_int_equal(parse("one s3://b/k --since 1970-01-01T00:00:01Z"), CLI_DONE);
    assert_int_equal(cli_flag_time(&line.c, "since", 0), 1000);
    assert_int_equal(parse("one s3://b/k --since 2h"), CLI_DONE);
    int64_t ago_ms = clock_wall_ms() - cli_flag_time(&line.c, "since", 0);
    assert_in_range(ago_ms, 7200000, 7260000);
    refused("one s3://b/k --since yesterday", "a time as");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_of_a_flag), cmocka_unit_test(test_global_flags_anywhere),
        cmocka_unit_test(test_arguments),       cmocka_unit_test(test_refused_arguments),
        cmocka_unit_test(test_unknown_words),   cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
