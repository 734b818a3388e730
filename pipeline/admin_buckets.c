/*
 * Buckets as the operator sees them: the record, who may read it in one sentence, the rules, and
 * where thumbnails go.
 */
#include "base/err.h"
#include "objectstore/policy.h"
#include "pipeline/admin_priv.h"
#include "pipeline/rule.h"

/* Names of a page, before anything is read about each. */
static int
take_name(void *arg, const struct store_bucket *b)
{
    json_t *names = arg;
    json_array_append_new(names, admin_text(b->name));
    return json_array_size(names) == ADMIN_PAGE_MAX;
}

static void
add_event(void *arg, const char *name)
{
    json_array_append_new(arg, json_string(name));
}

static json_t *
rule_json(const struct notification_rule *rule)
{
    json_t *events = json_array();
    event_types_each(rule->events, add_event, events);
    return json_pack("{so so so so so}", "id", admin_text(rule->id), "function",
                     admin_text(rule->function), "events", events, "prefix",
                     admin_text(rule->prefix), "suffix", admin_text(rule->suffix));
}

static const char *
access_words(const struct store_bucket *b)
{
    if (b->policy == NULL)
        return "private: the owner and root";
    return policy_is_public(b->policy) ? "public: the policy lets anybody in"
                                       : "shared: the policy names who else";
}

static const char *
versioning_words(const struct store_bucket *b)
{
    return b->versioning == STORE_VERSIONING_ENABLED     ? "enabled"
           : b->versioning == STORE_VERSIONING_SUSPENDED ? "suspended"
                                                         : "off";
}

/* The bucket's thumbnails go to "" unless a rule asks for some. */
static void
derived_of(const struct function_set *set, const struct rule_list *rules, struct slice bucket,
           char out[NATIVE_BUCKET_MAX + 1])
{
    out[0] = '\0';
    for (size_t i = 0; i < rules->count && out[0] == '\0'; i++) {
        const struct function *f = registry_find(set, rules->rules[i].function);
        if (f == NULL || native_derived_bucket(&f->native, bucket, out) != ERR_NONE)
            out[0] = '\0';
    }
}

/* NULL: gone meanwhile, or an error of the database in *err. */
static json_t *
bucket_json(struct admin_service *s, struct slice name, int *err)
{
    const struct store_bucket *b = NULL;
    struct registry *registry = pipeline_registry(s->options.pipeline);
    struct rule_list rules = {NULL, 0};
    struct function_set *set = NULL;
    struct db_conn *conn = NULL;
    char derived[NATIVE_BUCKET_MAX + 1];
    json_t *list = json_array();
    json_t *body = NULL;
    struct arena *a = arena_new(RULE_ARENA_BYTES);
    *err = a == NULL ? ERR_NOMEM : store_bucket_get(registry_store(registry), name, &b);
    if (*err == ERR_NONE)
        *err = db_read_begin(s->options.db, &conn);
    if (*err == ERR_NONE) {
        *err = rule_load(conn, b->id, a, &rules);
        if (*err == ERR_NONE)
            *err = registry_get(registry, conn, &set);
        db_read_end(s->options.db, &conn);
    }
    if (*err == ERR_NONE) {
        derived_of(set, &rules, name, derived);
        for (size_t i = 0; i < rules.count; i++)
            json_array_append_new(list, rule_json(&rules.rules[i]));
        body =
            json_pack("{so sI so so ss sb ss ss sO}", "bucket", admin_text(b->name), "created_ms",
                      (json_int_t)b->created_ms, "owner", admin_text(b->owner), "region",
                      admin_text(b->region), "versioning", versioning_words(b), "object_lock",
                      b->object_lock, "access", access_words(b), "derived", derived, "rules", list);
    }
    json_decref(list);
    registry_unref(&set);
    store_bucket_unref(&b);
    arena_free(&a);
    return body;
}

static void
reply_one(struct admin_service *s, struct http_request *r, struct slice name)
{
    int err;
    json_t *body = bucket_json(s, name, &err);
    if (err != ERR_NONE)
        admin_reply_error(r, err, err == ERR_NOTFOUND ? SLICE_LIT("no such bucket") : SLICE_NONE);
    else
        admin_reply_json(r, 200, body);
}

void
admin_buckets_get(struct admin_service *s, struct http_request *r)
{
    struct slice name = http_param(r, "name");
    size_t i;
    json_t *value;
    if (name.p != NULL) {
        reply_one(s, r, name);
        return;
    }
    json_t *names = json_array();
    json_t *list = json_array();
    int err = store_bucket_list(registry_store(pipeline_registry(s->options.pipeline)), SLICE_NONE,
                                http_param(r, "after"), take_name, names);
    json_array_foreach(names, i, value)
    {
        json_t *one =
            err != ERR_NONE ? NULL : bucket_json(s, slice_str(json_string_value(value)), &err);
        if (one != NULL)
            json_array_append_new(list, one);
        else if (err == ERR_NOTFOUND) /* gone meanwhile */
            err = ERR_NONE;
    }
    json_decref(names);
    if (err == ERR_NONE) {
        admin_reply_json(r, 200, json_pack("{so}", "buckets", list));
        return;
    }
    json_decref(list);
    admin_reply_error(r, err, SLICE_NONE);
}
