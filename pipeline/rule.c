/*
 * Rows are the truth the writer reads: one short look-up per change of an object, inside the
 * change's transaction, so there is no cache that a rolled back configuration could leave wrong.
 * Rows of a deleted bucket stay until somebody trips over them (rule_graph.c); bucket ids are never
 * used twice, so they match nothing.
 */
#include "pipeline/rule.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/xml.h"
#include "functions/fn.h"

#include <stdlib.h>

#define RULE_EVENTS_MAX 16

/* ---- the document ---- */

static int
refuse(struct buf *why, const char *sentence)
{
    buf_puts(why, sentence);
    return ERR_INVALID;
}

static int
parse_filter(const struct xml_node *filter, struct notification_rule *rule, struct buf *why)
{
    const struct xml_node *key = xml_child(filter, "S3Key");
    if (key == NULL)
        return refuse(why, "A filter needs an S3Key element.");
    for (const struct xml_node *n = key->child; n != NULL; n = n->next) {
        struct slice name = xml_text(n, "Name");
        struct slice value = xml_text(n, "Value");
        struct slice *to = NULL;
        if (!slice_eqs(n->name, "FilterRule"))
            continue;
        if (slice_ieqs(name, "prefix"))
            to = &rule->prefix;
        else if (slice_ieqs(name, "suffix"))
            to = &rule->suffix;
        else
            return refuse(why, "filter rule name must be either prefix or suffix");
        if (to->p != NULL)
            return refuse(why, "Cannot specify more than one prefix or suffix rule in a filter.");
        if (value.n > STORE_KEY_MAX)
            return refuse(why, "A filter value has at most 1024 bytes.");
        *to = value.p == NULL ? SLICE_LIT("") : value;
    }
    return ERR_NONE;
}

static int
parse_events(const struct xml_node *node, struct notification_rule *rule, struct buf *why)
{
    size_t count = 0;
    for (const struct xml_node *n = xml_child(node, "Event"); n != NULL; n = xml_next(n, "Event")) {
        unsigned mask = 0;
        int err = event_types_parse(slice_trim(n->text), &mask);
        if (err == ERR_UNSUPPORTED) {
            buf_printf(why, "The event %.*s is not raised by this server.",
                       SLICE_FMT(slice_trim(n->text)));
            return ERR_INVALID;
        }
        if (err != ERR_NONE)
            return refuse(why, "The event is not supported for notifications");
        rule->events |= mask;
        if (++count > RULE_EVENTS_MAX)
            return refuse(why, "Too many events in one configuration.");
    }
    return count > 0 ? ERR_NONE : refuse(why, "A configuration needs at least one Event.");
}

static int
parse_rule(struct arena *a, const struct xml_node *node, size_t index,
           struct notification_rule *rule, struct buf *why)
{
    struct slice arn = xml_text(node, "CloudFunction");
    if (arn.p == NULL)
        arn = xml_text(node, "LambdaFunctionArn");
    if (arn.p == NULL)
        arn = xml_text(node, "CloudFunctionArn");
    if (function_arn_parse(slice_trim(arn), &rule->function) != ERR_NONE)
        return refuse(why, "The ARN is not well formed");
    rule->id = xml_text(node, "Id");
    if (rule->id.n > RULE_ID_MAX)
        return refuse(why, "An Id has at most 255 characters.");
    if (rule->id.n == 0) {
        const char *made = arena_printf(a, "%.*s-%zu", SLICE_FMT(rule->function), index);
        if (made == NULL)
            return ERR_NOMEM;
        rule->id = slice_str(made);
    }
    int err = parse_events(node, rule, why);
    const struct xml_node *filter = xml_child(node, "Filter");
    if (err == ERR_NONE && filter != NULL && filter->child != NULL)
        err = parse_filter(filter, rule, why);
    return err;
}

static bool
slice_ends(struct slice a, struct slice suffix)
{
    return a.n >= suffix.n && slice_eq(slice_skip(a, a.n - suffix.n), suffix);
}

static bool
overlap(const struct notification_rule *a, const struct notification_rule *b)
{
    return slice_eq(a->function, b->function) && (a->events & b->events) != 0 &&
           (slice_starts(a->prefix, b->prefix) || slice_starts(b->prefix, a->prefix)) &&
           (slice_ends(a->suffix, b->suffix) || slice_ends(b->suffix, a->suffix));
}

static int
check_pairs(const struct rule_list *list, struct buf *why)
{
    for (size_t i = 0; i < list->count; i++) {
        for (size_t k = i + 1; k < list->count; k++) {
            if (slice_eq(list->rules[i].id, list->rules[k].id))
                return refuse(why, "Same ID used for multiple configurations. IDs must be unique");
            if (overlap(&list->rules[i], &list->rules[k]))
                return refuse(why, "Configurations overlap. Configurations on the same bucket "
                                   "cannot share a common event type for the same function.");
        }
    }
    return ERR_NONE;
}

int
rule_parse(struct arena *a, struct slice xml, struct rule_list *out, struct buf *why)
{
    const struct xml_node *root = NULL;
    *out = (struct rule_list){NULL, 0};
    int err = xml_parse(a, xml, &root);
    if (err == ERR_NOMEM)
        return err;
    if (err != ERR_NONE || !slice_eqs(root->name, "NotificationConfiguration"))
        return refuse(why, "The XML you provided was not well-formed or did not validate against "
                           "our published schema");
    out->rules = arena_alloc(a, RULES_PER_BUCKET_MAX * sizeof *out->rules);
    if (out->rules == NULL)
        return ERR_NOMEM;
    for (const struct xml_node *n = root->child; n != NULL && err == ERR_NONE; n = n->next) {
        if (!slice_eqs(n->name, "CloudFunctionConfiguration") &&
            !slice_eqs(n->name, "LambdaFunctionConfiguration"))
            return refuse(why, "Unable to validate the following destination configurations");
        if (out->count == RULES_PER_BUCKET_MAX)
            return refuse(why, "At most 100 notification configurations are allowed.");
        err = parse_rule(a, n, out->count, &out->rules[out->count], why);
        out->count++;
    }
    return err == ERR_NONE ? check_pairs(out, why) : err;
}

static void
print_event(void *arg, const char *name)
{
    xml_puts(arg, "Event", name);
}

static void
print_filter(struct buf *xml, const char *name, struct slice value)
{
    if (value.n == 0)
        return;
    xml_open(xml, "FilterRule");
    xml_puts(xml, "Name", name);
    xml_put(xml, "Value", value);
    xml_close(xml, "FilterRule");
}

void
rule_print(const struct rule_list *list, struct buf *xml)
{
    char arn[FUNCTION_ARN_MAX];
    xml_head(xml);
    xml_open(xml, "NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"");
    for (size_t i = 0; i < list->count; i++) {
        const struct notification_rule *r = &list->rules[i];
        xml_open(xml, "CloudFunctionConfiguration");
        xml_put(xml, "Id", r->id);
        function_arn(r->function, arn);
        xml_puts(xml, "CloudFunction", arn);
        event_types_each(r->events, print_event, xml);
        if (r->prefix.n > 0 || r->suffix.n > 0) {
            xml_open(xml, "Filter");
            xml_open(xml, "S3Key");
            print_filter(xml, "prefix", r->prefix);
            print_filter(xml, "suffix", r->suffix);
            xml_close(xml, "S3Key");
            xml_close(xml, "Filter");
        }
        xml_close(xml, "CloudFunctionConfiguration");
    }
    xml_close(xml, "NotificationConfiguration");
}

bool
rule_matches(const struct notification_rule *rule, enum event_type type, struct slice key)
{
    unsigned wanted = type == EVENT_RESTORED ? EVENT_MASK_CREATED : EVENT_MASK(type);
    return (rule->events & wanted) != 0 && slice_starts(key, rule->prefix) &&
           slice_ends(key, rule->suffix);
}

/* ---- rows ---- */

int
rule_load(struct db_conn *conn, int64_t bucket_id, struct arena *a, struct rule_list *out)
{
    int rc;
    *out = (struct rule_list){NULL, 0};
    struct db_stmt *s = db_prepare(conn, "SELECT id, function, events, prefix, suffix FROM rule "
                                         "WHERE bucket_id = ?1 ORDER BY seq");
    db_bind_int(s, 1, bucket_id);
    while ((rc = db_step(s)) == DB_ROW) {
        if (out->rules == NULL)
            out->rules = arena_alloc(a, RULES_PER_BUCKET_MAX * sizeof *out->rules);
        if (out->rules == NULL || out->count == RULES_PER_BUCKET_MAX) {
            db_reset(s);
            return ERR_NOMEM;
        }
        struct notification_rule *r = &out->rules[out->count++];
        r->id = arena_dup(a, db_column_blob(s, 0));
        r->function = arena_dup(a, db_column_blob(s, 1));
        r->events = (unsigned)db_column_int(s, 2);
        r->prefix = arena_dup(a, db_column_blob(s, 3));
        r->suffix = arena_dup(a, db_column_blob(s, 4));
        if (r->id.p == NULL || r->function.p == NULL || r->prefix.p == NULL ||
            r->suffix.p == NULL) {
            db_reset(s);
            return ERR_NOMEM;
        }
    }
    return rc;
}

int
rule_gives(struct db_conn *conn, struct arena *a, const struct function_set *set, int64_t bucket_id,
           struct slice key, enum native_kind kind, bool *gives)
{
    struct rule_list rules;
    int err = rule_load(conn, bucket_id, a, &rules);
    *gives = false;
    for (size_t i = 0; err == ERR_NONE && i < rules.count && !*gives; i++) {
        const struct function *f = registry_find(set, rules.rules[i].function);
        *gives = f != NULL && f->native.kind != NATIVE_NONE &&
                 (kind == NATIVE_NONE || f->native.kind == kind) &&
                 rule_matches(&rules.rules[i], EVENT_RESTORED, key);
    }
    return err;
}

static int
rows_replace(struct db_conn *conn, const struct store_bucket *bucket, const struct rule_list *list)
{
    struct db_stmt *s = db_prepare(conn, "DELETE FROM rule WHERE bucket_id = ?1");
    db_bind_int(s, 1, bucket->id);
    int err = db_run(s);
    for (size_t i = 0; i < list->count && err == ERR_NONE; i++) {
        const struct notification_rule *r = &list->rules[i];
        s = db_prepare(conn, "INSERT INTO rule (bucket_id, seq, bucket, id, function, events, "
                             "prefix, suffix) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
        db_bind_int(s, 1, bucket->id);
        db_bind_int(s, 2, (int64_t)i);
        db_bind_text(s, 3, bucket->name);
        db_bind_text(s, 4, r->id);
        db_bind_text(s, 5, r->function);
        db_bind_int(s, 6, r->events);
        db_bind_blob(s, 7, r->prefix);
        db_bind_blob(s, 8, r->suffix);
        err = db_run(s);
    }
    return err;
}

/* ---- setting ---- */

static int
check_functions(const struct rule_list *list, const struct function_set *set, struct buf *why)
{
    for (size_t i = 0; i < list->count; i++) {
        if (registry_find(set, list->rules[i].function) != NULL)
            continue;
        buf_printf(why,
                   "Unable to validate the following destination configurations: there is no "
                   "function %.*s",
                   SLICE_FMT(list->rules[i].function));
        return ERR_INVALID;
    }
    return ERR_NONE;
}

int
rule_notification_set(void *arg, struct db_conn *conn, const struct store_bucket *bucket,
                      struct slice xml, struct buf *why)
{
    struct registry *r = arg;
    struct function_set *set = NULL;
    struct rule_list list = {NULL, 0};
    buf_reset(why);
    struct arena *a = arena_new(RULE_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err = xml.n == 0 ? ERR_NONE : rule_parse(a, xml, &list, why);
    if (err == ERR_NONE)
        err = registry_get(r, conn, &set);
    if (err == ERR_NONE)
        err = check_functions(&list, set, why);
    if (err == ERR_NONE)
        err = rows_replace(conn, bucket, &list);
    if (err == ERR_NONE && list.count > 0)
        err = rule_graph_check(r, conn, set, why);
    if (err == ERR_NONE && list.count > 0)
        err = rule_apply_targets_of(r, conn, set, bucket->id, why);
    registry_unref(&set);
    arena_free(&a);
    return err;
}

int
rule_apply_natives(struct registry *r, struct db_conn *conn, struct slice name, struct buf *why)
{
    struct notification_rule rules[FN_PER_REQUEST_MAX] = {0};
    struct rule_list list = {rules, 0};
    struct store_bucket bucket = {.name = name};
    struct buf xml;
    buf_init(&xml, STORE_CONFIG_BYTES_MAX);
    struct arena *a = arena_new(RULE_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < fn_native_count && i < ARRAY_LEN(rules); i++)
        rules[list.count++] = (struct notification_rule){.id = slice_str(fn_natives[i].name),
                                                         .function = slice_str(fn_natives[i].name),
                                                         .events = EVENT_MASK_CREATED};
    rule_print(&list, &xml);
    int err = xml.err;
    if (err == ERR_NONE)
        err = store_apply_bucket_get(registry_store(r), conn, name, &bucket.id, a, &bucket.owner);
    if (err == ERR_NONE)
        err = rule_notification_set(r, conn, &bucket, buf_slice(&xml), why);
    if (err == ERR_NONE)
        err = store_apply_bucket_config_set(registry_store(r), conn, name, "notification",
                                            buf_slice(&xml));
    buf_fini(&xml);
    arena_free(&a);
    return err;
}
