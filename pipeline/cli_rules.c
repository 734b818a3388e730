/*
 * rules: the notification configuration of a bucket, one rule at a time. Read as JSON, written as
 * S3's own document (PutBucketNotificationConfiguration), so the server's checks, the one for
 * cycles included, are those of every S3 client.
 */
#include "base/err.h"
#include "base/xml.h"
#include "pipeline/cli.h"

#include <stdio.h>

#define DOCUMENT_MAX (512u << 10)
#define FUNCTION_ARN "arn:aws:lambda:us-east-1:000000000000:function:"

void
cli_print_rule(const json_t *rule)
{
    size_t i;
    json_t *event;
    cli_print_text(json_get_str(rule, "id"));
    fputs(": ", stdout);
    json_array_foreach(json_object_get(rule, "events"), i, event)
        printf("%s%s", i == 0 ? "" : ", ", json_string_value(event));
    if (json_get_str(rule, "prefix").n > 0) {
        fputs(" of ", stdout);
        cli_print_text(json_get_str(rule, "prefix"));
        putchar('*');
    }
    if (json_get_str(rule, "suffix").n > 0) {
        fputs(json_get_str(rule, "prefix").n > 0 ? "" : " of *", stdout);
        cli_print_text(json_get_str(rule, "suffix"));
    }
    printf(" -> %s\n", cli_str(rule, "function"));
}

/* ---- the document ---- */

static void
put_filter(struct buf *xml, const char *name, struct slice value)
{
    if (value.n == 0)
        return;
    xml_open(xml, "FilterRule");
    xml_puts(xml, "Name", name);
    xml_put(xml, "Value", value);
    xml_close(xml, "FilterRule");
}

static void
put_rule(struct buf *xml, const json_t *rule)
{
    size_t i;
    json_t *event;
    struct slice prefix = json_get_str(rule, "prefix"), suffix = json_get_str(rule, "suffix");
    xml_open(xml, "CloudFunctionConfiguration");
    xml_put(xml, "Id", json_get_str(rule, "id"));
    xml_open(xml, "CloudFunction");
    buf_puts(xml, FUNCTION_ARN);
    buf_puts(xml, cli_str(rule, "function")); /* no mark-up: checked by the caller */
    xml_close(xml, "CloudFunction");
    json_array_foreach(json_object_get(rule, "events"), i, event)
        xml_puts(xml, "Event", json_string_value(event));
    if (prefix.n + suffix.n > 0) {
        xml_open(xml, "Filter");
        xml_open(xml, "S3Key");
        put_filter(xml, "prefix", prefix);
        put_filter(xml, "suffix", suffix);
        xml_close(xml, "S3Key");
        xml_close(xml, "Filter");
    }
    xml_close(xml, "CloudFunctionConfiguration");
}

static enum cli_exit
put_rules(struct cli *c, const char *bucket, const json_t *rules)
{
    struct buf xml;
    size_t i;
    json_t *rule;
    buf_init(&xml, DOCUMENT_MAX);
    xml_head(&xml);
    xml_open(&xml, "NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"");
    json_array_foreach((json_t *)rules, i, rule) put_rule(&xml, rule);
    xml_close(&xml, "NotificationConfiguration");
    enum cli_exit code = xml.err != ERR_NONE
                             ? cli_usage(c, "the rules do not fit into one document")
                             : cli_s3_bucket(c, "PUT", bucket, "notification", buf_slice(&xml));
    buf_fini(&xml);
    return code;
}

/* ---- verbs ---- */

/* The bucket's record; NULL: complained of. */
static json_t *
bucket_of(struct cli *c, const char *target, enum cli_exit *code)
{
    struct slice bucket, rest;
    cli_s3(target, &bucket, &rest);
    if (rest.n > 0) {
        *code = cli_usage(c, "rules are of a whole bucket; s3://%.*s with --prefix %.*s",
                          SLICE_FMT(bucket), SLICE_FMT(rest));
        return NULL;
    }
    return cli_bucket(c, bucket, code);
}

static void
print_rules(const struct cli *c, const json_t *rules)
{
    size_t i;
    json_t *rule;
    json_array_foreach((json_t *)rules, i, rule)
    {
        if (c->json)
            cli_print_json(rule);
        else
            cli_print_rule(rule);
    }
    if (!c->json && json_array_size(rules) == 0)
        puts("no rules");
}

static enum cli_exit
list(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    (void)argc;
    json_t *b = bucket_of(c, argv[0], &code);
    if (b != NULL)
        print_rules(c, json_object_get(b, "rules"));
    json_decref(b);
    return code;
}

/* "thumbnail", or "thumbnail-2" ...: what the bucket has not yet. */
static void
free_id(const json_t *rules, const char *function, char *id, size_t bytes)
{
    size_t i;
    json_t *rule;
    bool taken = true;
    for (int n = 1; taken && n <= 1000; n++) {
        snprintf(id, bytes, n == 1 ? "%s" : "%s-%d", function, n);
        taken = false;
        json_array_foreach((json_t *)rules, i, rule) taken |= strcmp(cli_str(rule, "id"), id) == 0;
    }
}

static json_t *
new_rule(const struct cli *c, const json_t *rules)
{
    char made[160];
    const char *function = cli_flag_str(c, "function"), *id = cli_flag_str(c, "id");
    const char *prefix = cli_flag_str(c, "prefix"), *suffix = cli_flag_str(c, "suffix");
    const char *event;
    json_t *events = json_array();
    for (int n = 0; (event = cli_flag_nth(c, "event", n)) != NULL; n++)
        json_array_append_new(events, json_string(event));
    if (json_array_size(events) == 0)
        json_array_append_new(events, json_string("s3:ObjectCreated:*"));
    free_id(rules, function, made, sizeof made);
    return json_pack("{ss ss so ss ss}", "id", id != NULL ? id : made, "function", function,
                     "events", events, "prefix", prefix != NULL ? prefix : "", "suffix",
                     suffix != NULL ? suffix : "");
}

static enum cli_exit
add(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    const char *function = cli_flag_str(c, "function");
    (void)argc;
    if (function == NULL)
        return cli_usage(c, "needs --function NAME (see darkroom functions list)");
    if (function[0] == '\0' || strpbrk(function, "<>&:\"") != NULL || strlen(function) > 64)
        return cli_usage(c, "\"%s\" is no name of a function", function);
    json_t *b = bucket_of(c, argv[0], &code);
    if (b == NULL)
        return code;
    json_t *rules = json_object_get(b, "rules");
    json_t *rule = new_rule(c, rules);
    json_array_append(rules, rule);
    code = put_rules(c, cli_str(b, "bucket"), rules);
    if (code == CLI_DONE && c->json)
        cli_print_json(rule);
    else if (code == CLI_DONE)
        cli_print_rule(rule);
    json_decref(rule);
    json_decref(b);
    return code;
}

static enum cli_exit
remove_one(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    bool all = cli_flag_on(c, "all");
    if ((argc == 2) == all)
        return cli_usage(c, "needs the rule's name or --all");
    json_t *b = bucket_of(c, argv[0], &code);
    json_t *rules = json_object_get(b, "rules");
    json_t *gone = json_array();
    for (size_t i = json_array_size(rules); i-- > 0;) {
        json_t *rule = json_array_get(rules, i);
        if (!all && strcmp(cli_str(rule, "id"), argv[1]) != 0)
            continue;
        json_array_insert(gone, 0, rule);
        json_array_remove(rules, i);
    }
    if (b != NULL && !all && json_array_size(gone) == 0) {
        cli_complain("s3://%s has no rule \"%s\" (see darkroom rules list s3://%s)",
                     cli_str(b, "bucket"), argv[1], cli_str(b, "bucket"));
        code = CLI_SOME_FAILED;
    }
    if (code == CLI_DONE)
        code = put_rules(c, cli_str(b, "bucket"), rules);
    if (code == CLI_DONE && !c->json)
        printf("%zu removed\n", json_array_size(gone));
    else if (code == CLI_DONE)
        print_rules(c, gone);
    json_decref(gone);
    json_decref(b);
    return code;
}

static const struct cli_flag add_flags[] = {
    {"function", "FUNCTION", "who is called; see darkroom functions list", CLI_TEXT, 0, 0},
    {"event", "TYPE", "s3:ObjectCreated:* (default), s3:ObjectRemoved:* ...; may be repeated",
     CLI_TEXT, 0, 0},
    {"prefix", "TEXT", "of keys that begin so only", CLI_TEXT, 0, 0},
    {"suffix", "TEXT", "of keys that end so only, as .jpg", CLI_TEXT, 0, 0},
    {"id", "NAME", "the rule's name (default: the function's)", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_flag remove_flags[] = {
    {"all", NULL, "every rule of the bucket", CLI_TEXT, 0, 0},
    {0},
};

static const struct cli_verb verbs[] = {
    {.name = "list",
     .arguments = "s3://BUCKET",
     .summary = "which events of which keys go to which function",
     .run = list},
    {.name = "add",
     .arguments = "s3://BUCKET",
     .summary = "give events of a bucket to a function",
     .flags = add_flags,
     .details = "A rule that would close a cycle of buckets and functions is refused, and the "
                "cycle named; so is a second one for the same function whose events and keys "
                "overlap. Objects that are there already: darkroom reprocess.",
     .example = "rules add s3://photos --function thumbnail --suffix .jpg",
     .run = add},
    {.name = "remove",
     .arguments = "s3://BUCKET [RULE]",
     .summary = "take a rule away by its name",
     .flags = remove_flags,
     .example = "rules remove s3://photos thumbnail",
     .run = remove_one},
    {0},
};

const struct cli_command cli_command_rules = {
    .name = "rules", .summary = "which events of a bucket go to which function", .verbs = verbs};
