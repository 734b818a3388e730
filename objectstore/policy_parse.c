/*
 * The JSON of a bucket policy, turned into flat statements in one arena. Whatever could not be
 * evaluated later is refused here with S3's sentence, so that a stored policy never means less than
 * it says.
 *
 * Resources are kept without "arn:aws:s3:::", actions in lower case, principals as account ids.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/json.h"
#include "objectstore/policy_action_list.h"
#include "objectstore/policy_priv.h"

#include <ctype.h>
#include <stdlib.h>

#define POLICY_MEMORY_MAX (1u << 20)
#define ACTION_PREFIX SLICE_LIT("s3:")
#define DETAIL_MAX 200

/* S3's sentences that have more than one place here. */
#define SYNTAX "Invalid policy syntax."
#define BAD_PRINCIPAL "Invalid principal in policy"
#define BAD_ACTION "Policy has invalid action"
#define BAD_RESOURCE "Policy has invalid resource"
#define MISMATCH "Action does not apply to any resource(s) in statement"

struct parse {
    struct policy *policy;
    struct slice bucket;
    struct buf *why;
    bool variables; /* ${...} means something: Version 2012-10-17 */
};

static int
refuse(struct parse *ps, const char *sentence, const char *detail)
{
    buf_reset(ps->why);
    buf_puts(ps->why, sentence);
    if (detail != NULL)
        buf_printf(ps->why, "\n%.*s", DETAIL_MAX, detail);
    return ERR_INVALID;
}

/* The sentence with a name in it. */
static int
refuse_named(struct parse *ps, const char *sentence, const char *name)
{
    buf_reset(ps->why);
    buf_printf(ps->why, "%s%.*s", sentence, DETAIL_MAX, name);
    return ERR_INVALID;
}

static void *
many(struct parse *ps, size_t n, size_t bytes)
{
    return arena_alloc(ps->policy->arena, (n == 0 ? 1 : n) * bytes);
}

/* ---- lists of strings ---- */

/* A string, or a list of them. */
static size_t
list_count(const json_t *value)
{
    return json_is_array(value) ? json_array_size(value) : 1;
}

static const json_t *
list_at(const json_t *value, size_t i)
{
    return json_is_array(value) ? json_array_get(value, i) : value;
}

static struct slice
text_of(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

/* ---- actions ---- */

enum { ON_BUCKET = 1, ON_OBJECT = 2 };

static const char *const object_actions[] = {
#define X(name) name,
    POLICY_OBJECT_ACTIONS(X)
#undef X
};

static const char *const bucket_actions[] = {
#define X(name) name,
    POLICY_BUCKET_ACTIONS(X)
#undef X
};

static bool
names_one(const struct pattern *p, const char *const *names, size_t count)
{
    static const struct policy_request none;
    for (size_t i = 0; i < count; i++) {
        if (pattern_match(p, slice_str(names[i]), &none))
            return true;
    }
    return false;
}

/* Which kinds of resource the actions so named act on; 0: S3 has no such action. */
static unsigned
action_kinds(struct slice name)
{
    struct pattern p;
    unsigned kinds = 0;
    struct arena *a = arena_new(4096);
    if (a == NULL || pattern_compile(a, name, PATTERN_WILD, &p) != ERR_NONE)
        goto out;
    if (names_one(&p, object_actions, sizeof object_actions / sizeof object_actions[0]))
        kinds |= ON_OBJECT;
    if (names_one(&p, bucket_actions, sizeof bucket_actions / sizeof bucket_actions[0]))
        kinds |= ON_BUCKET;
    if (names_one(&p, (const char *const[]){"listallmybuckets"}, 1))
        kinds |= ON_BUCKET | ON_OBJECT; /* of the account: S3 lets it pass anywhere */
out:
    arena_free(&a);
    return kinds;
}

static bool
action_characters_ok(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (!isalpha((unsigned char)name.p[i]) && name.p[i] != '*' && name.p[i] != '?')
            return false;
    }
    return name.n > 0;
}

/* One action, copied in lower case; *kinds is what it acts on. */
static int
action_parse(struct parse *ps, const json_t *value, struct pattern *out, unsigned *kinds)
{
    if (!json_is_string(value))
        return refuse(ps, SYNTAX, "Action");
    struct slice name = arena_dup(ps->policy->arena, text_of(value));
    if (name.p == NULL)
        return ERR_NOMEM;
    char *p = (char *)(uintptr_t)name.p; /* our own copy */
    for (size_t i = 0; i < name.n; i++)
        p[i] = (char)tolower((unsigned char)p[i]);
    *kinds = ON_BUCKET | ON_OBJECT;
    if (!slice_eqs(name, "*")) {
        struct slice verb = slice_skip(name, ACTION_PREFIX.n);
        if (!slice_starts(name, ACTION_PREFIX) || !action_characters_ok(verb))
            return refuse(ps, BAD_ACTION, json_string_value(value));
        *kinds = action_kinds(verb);
        if (*kinds == 0)
            return refuse(ps, BAD_ACTION, json_string_value(value));
    }
    int err = pattern_compile(ps->policy->arena, name, PATTERN_WILD, out);
    return err == ERR_INVALID ? refuse(ps, BAD_ACTION, json_string_value(value)) : err;
}

/* Counts in kinds[] what they act on. */
static int
actions_parse(struct parse *ps, const json_t *value, struct statement *st, unsigned kinds[])
{
    size_t n = list_count(value);
    if (st->actions != NULL)
        return refuse(ps, "Statement/policy already has instance of Action", NULL);
    if (n == 0)
        return refuse(ps, "Missing required field Action cannot be empty!", NULL);
    st->actions = many(ps, n, sizeof *st->actions);
    int err = st->actions == NULL ? ERR_NOMEM : ERR_NONE;
    for (size_t i = 0; err == ERR_NONE && i < n; i++) {
        unsigned one = 0;
        err = action_parse(ps, list_at(value, i), &st->actions[st->action_count++], &one);
        kinds[one]++;
    }
    return err;
}

/* ---- resources ---- */

/* "arn:aws:s3:::", also of the other partitions; bytes, 0: something else. */
static size_t
resource_prefix(struct slice name)
{
    static const struct slice prefixes[] = {SLICE_LIT("arn:aws:s3:::"),
                                            SLICE_LIT("arn:aws-cn:s3:::"),
                                            SLICE_LIT("arn:aws-us-gov:s3:::")};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (slice_starts(name, prefixes[i]))
            return prefixes[i].n;
    }
    return 0;
}

/* What precedes the first '/' must be this bucket's name, or wildcards that it matches. */
static int
resource_parse(struct parse *ps, const json_t *value, struct pattern *out, unsigned *kinds)
{
    static const struct policy_request none;
    struct arena *a = ps->policy->arena;
    struct slice name = text_of(value), key;
    struct pattern of_bucket;
    if (!json_is_string(value))
        return refuse(ps, SYNTAX, "Resource");
    size_t prefix = resource_prefix(name);
    if (prefix == 0)
        return refuse(ps, BAD_RESOURCE, json_string_value(value));
    name = slice_skip(name, prefix);
    struct slice bucket = slice_cut(name, '/', &key);
    int err = pattern_compile(a, bucket, PATTERN_WILD, &of_bucket);
    if (err == ERR_NONE)
        err = pattern_compile(a, name, PATTERN_WILD | (ps->variables ? PATTERN_VARIABLES : 0), out);
    if (err == ERR_NOMEM)
        return err;
    if (err != ERR_NONE || !pattern_match(&of_bucket, ps->bucket, &none))
        return refuse(ps, BAD_RESOURCE, json_string_value(value));
    if (key.p != NULL)
        *kinds |= ON_OBJECT;
    else
        *kinds |= of_bucket.is_fixed ? ON_BUCKET : ON_BUCKET | ON_OBJECT;
    return ERR_NONE;
}

static int
resources_parse(struct parse *ps, const json_t *value, struct statement *st, unsigned *kinds)
{
    size_t n = list_count(value);
    if (st->resources != NULL)
        return refuse(ps, "Statement/policy already has instance of Resource", NULL);
    if (n == 0)
        return refuse(ps, "Missing required field Resource cannot be empty!", NULL);
    st->resources = many(ps, n, sizeof *st->resources);
    int err = st->resources == NULL ? ERR_NOMEM : ERR_NONE;
    for (size_t i = 0; err == ERR_NONE && i < n; i++)
        err = resource_parse(ps, list_at(value, i), &st->resources[st->resource_count++], kinds);
    return err;
}

/* ---- principals ---- */

static bool
account_id_ok(struct slice id)
{
    for (size_t i = 0; i < id.n; i++) {
        if (!isalnum((unsigned char)id.p[i]) && strchr("-_.@", id.p[i]) == NULL)
            return false;
    }
    return id.n > 0;
}

/* "arn:aws:iam::ACCOUNT:root", ":user/path/NAME", ":role/..." or STS's sessions of roles, which
 * nobody here is. */
static bool
principal_arn(struct slice arn, struct principal *out)
{
    struct slice field[6] = {SLICE_NONE};
    struct slice rest = arn;
    for (int i = 0; i < 5; i++)
        field[i] = slice_cut(rest, ':', &rest);
    field[5] = rest;
    bool iam = slice_eqs(field[2], "iam");
    if (!slice_eqs(field[0], "arn") || !slice_starts(field[1], SLICE_LIT("aws")) ||
        (!iam && !slice_eqs(field[2], "sts")) || field[3].n != 0 || !account_id_ok(field[4]) ||
        field[5].n == 0)
        return false;
    out->id = field[4];
    if (iam && slice_eqs(field[5], "root"))
        return true;
    if (iam && slice_starts(field[5], SLICE_LIT("user/"))) {
        for (rest = field[5]; rest.p != NULL;)
            out->user = slice_cut(rest, '/', &rest);
        return out->user.n > 0 && memchr(field[5].p, '*', field[5].n) == NULL;
    }
    out->user = field[5]; /* no account is called so: never matches */
    return true;
}

static int
principal_parse(struct parse *ps, const char *kind, const json_t *value, struct statement *st)
{
    struct principal *p = &st->principals[st->principal_count];
    if (!json_is_string(value))
        return refuse(ps, BAD_PRINCIPAL, kind);
    struct slice name = arena_dup(ps->policy->arena, text_of(value));
    if (name.p == NULL)
        return ERR_NOMEM;
    if (strcmp(kind, "Service") == 0 || strcmp(kind, "Federated") == 0)
        return ERR_NONE; /* no request of ours comes from one */
    if (strcmp(kind, "AWS") == 0 && slice_eqs(name, "*")) {
        st->anybody = true;
        return ERR_NONE;
    }
    *p = (struct principal){.id = name, .is_canonical = strcmp(kind, "CanonicalUser") == 0};
    bool ok = slice_starts(name, SLICE_LIT("arn:")) && !p->is_canonical ? principal_arn(name, p)
                                                                        : account_id_ok(name);
    if (!ok)
        return refuse(ps, BAD_PRINCIPAL, json_string_value(value));
    st->principal_count++;
    return ERR_NONE;
}

static bool
principal_kind_ok(const char *kind)
{
    return strcmp(kind, "AWS") == 0 || strcmp(kind, "CanonicalUser") == 0 ||
           strcmp(kind, "Service") == 0 || strcmp(kind, "Federated") == 0;
}

static int
principals_parse(struct parse *ps, const json_t *value, struct statement *st)
{
    const char *kind;
    json_t *names;
    size_t n = 0;
    if (json_is_string(value) && slice_eqs(text_of(value), "*")) {
        st->anybody = true;
        return ERR_NONE;
    }
    if (!json_is_object(value) || json_object_size(value) == 0)
        return refuse(ps, BAD_PRINCIPAL, NULL);
    json_object_foreach((json_t *)(uintptr_t)value, kind, names)
    {
        if (!principal_kind_ok(kind) || list_count(names) == 0)
            return refuse(ps, BAD_PRINCIPAL, kind);
        n += list_count(names);
    }
    st->principals = many(ps, n, sizeof *st->principals);
    if (st->principals == NULL)
        return ERR_NOMEM;
    json_object_foreach((json_t *)(uintptr_t)value, kind, names)
    {
        for (size_t i = 0; i < list_count(names); i++) {
            int err = principal_parse(ps, kind, list_at(names, i), st);
            if (err != ERR_NONE)
                return err;
        }
    }
    return ERR_NONE;
}

/* ---- conditions ---- */

/* A string, number or boolean, as the text a client would have written in quotes. */
static struct slice
scalar_text(struct parse *ps, const json_t *value)
{
    struct arena *a = ps->policy->arena;
    if (json_is_string(value))
        return arena_dup(a, text_of(value));
    if (json_is_boolean(value))
        return json_is_true(value) ? SLICE_LIT("true") : SLICE_LIT("false");
    if (json_is_integer(value))
        return slice_str(arena_printf(a, "%lld", (long long)json_integer_value(value)));
    if (json_is_real(value))
        return slice_str(arena_printf(a, "%.17g", json_real_value(value)));
    return SLICE_NONE;
}

static const char *
value_complaint(enum test_kind kind)
{
    return kind == TEST_ADDRESS ? "Invalid IP address in Conditions" : SYNTAX;
}

static int
condition_parse(struct parse *ps, const char *name, const char *key, const json_t *value,
                struct condition *c)
{
    if (condition_operator(slice_str(name), c) != ERR_NONE)
        return refuse_named(ps, "Invalid Condition type : ", name);
    if (policy_key_find(slice_str(key), &c->key, &c->tail) != ERR_NONE)
        return refuse(ps, "Policy has an invalid condition key", key);
    c->tail = arena_dup(ps->policy->arena, c->tail);
    c->index = ps->policy->condition_count++;
    c->steady = policy_key_is_steady(c->key);
    c->count = list_count(value);
    c->values = many(ps, c->count, sizeof *c->values);
    if (c->tail.p == NULL || c->values == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->count; i++) {
        const json_t *one = list_at(value, i);
        if (!json_is_string(one) && !json_is_boolean(one) && !json_is_number(one))
            return refuse(ps, SYNTAX, key);
        struct slice text = scalar_text(ps, one);
        if (text.p == NULL)
            return ERR_NOMEM;
        int err = condition_value_parse(ps->policy->arena, c, text, ps->variables, &c->values[i]);
        if (err == ERR_INVALID)
            return refuse(ps, value_complaint(c->kind), text.p);
        if (err != ERR_NONE)
            return err;
        c->steady &= !c->values[i].pattern.has_variables || c->values[i].pattern.is_steady;
    }
    return ERR_NONE;
}

static int
conditions_parse(struct parse *ps, const json_t *value, struct statement *st)
{
    const char *name, *key;
    json_t *keys, *one;
    size_t n = 0;
    if (!json_is_object(value))
        return refuse(ps, SYNTAX, "Condition");
    json_object_foreach((json_t *)(uintptr_t)value, name, keys)
    {
        if (!json_is_object(keys))
            return refuse(ps, SYNTAX, name);
        n += json_object_size(keys);
    }
    st->conditions = many(ps, n, sizeof *st->conditions);
    if (st->conditions == NULL)
        return ERR_NOMEM;
    json_object_foreach((json_t *)(uintptr_t)value, name, keys)
    {
        json_object_foreach(keys, key, one)
        {
            int err = condition_parse(ps, name, key, one, &st->conditions[st->condition_count++]);
            if (err != ERR_NONE)
                return err;
        }
    }
    return ERR_NONE;
}

/* ---- statements ---- */

/* What a statement's actions and resources are about, while it is read. */
struct kinds {
    unsigned actions[4]; /* how many act on: nothing, buckets, objects, both */
    unsigned resources;
};

static int
effect_parse(struct parse *ps, const json_t *value, struct statement *st)
{
    struct slice effect = json_is_string(value) ? text_of(value) : SLICE_NONE;
    st->allow = slice_eqs(effect, "Allow");
    if (st->allow || slice_eqs(effect, "Deny"))
        return ERR_NONE;
    return refuse_named(ps, "Invalid effect: ", effect.p == NULL ? "" : effect.p);
}

static int
member_parse(struct parse *ps, const char *name, const json_t *value, struct statement *st,
             struct kinds *kinds)
{
    bool negated = strncmp(name, "Not", 3) == 0;
    const char *what = negated ? name + 3 : name;
    if (strcmp(name, "Sid") == 0)
        return json_is_string(value) ? ERR_NONE : refuse(ps, SYNTAX, name);
    if (strcmp(name, "Effect") == 0)
        return effect_parse(ps, value, st);
    if (strcmp(name, "Condition") == 0)
        return conditions_parse(ps, value, st);
    if (strcmp(what, "Principal") == 0) {
        if (st->anybody || st->principals != NULL)
            return refuse(ps, "Statement/policy already has instance of Principal", NULL);
        st->not_principal = negated;
        return principals_parse(ps, value, st);
    }
    if (strcmp(what, "Action") == 0) {
        st->not_action = negated;
        return actions_parse(ps, value, st, kinds->actions);
    }
    if (strcmp(what, "Resource") == 0) {
        st->not_resource = negated;
        return resources_parse(ps, value, st, &kinds->resources);
    }
    return refuse_named(ps, "Unknown field ", name);
}

/* Conditions on a listing's parameters need an action that lists. */
static int
statement_check(struct parse *ps, const struct statement *st, const struct kinds *kinds)
{
    if (!st->anybody && st->principals == NULL)
        return refuse(ps, "Missing required field Principal", NULL);
    if (st->actions == NULL)
        return refuse(ps, "Missing required field Action", NULL);
    if (st->resources == NULL)
        return refuse(ps, "Missing required field Resource", NULL);
    if (st->not_action || st->not_resource)
        return ERR_NONE;
    bool on_bucket = kinds->resources & ON_BUCKET, on_object = kinds->resources & ON_OBJECT;
    if ((kinds->actions[ON_BUCKET] > 0 && !on_bucket) ||
        (kinds->actions[ON_OBJECT] > 0 && !on_object))
        return refuse(ps, MISMATCH, NULL);
    for (size_t i = 0; i < st->condition_count; i++) {
        enum policy_key key = st->conditions[i].key;
        bool lists =
            key == POLICY_KEY_PREFIX || key == POLICY_KEY_DELIMITER || key == POLICY_KEY_MAX_KEYS;
        if (lists && kinds->actions[ON_OBJECT] == st->action_count)
            return refuse(ps,
                          "Conditions do not apply to combination of actions and resources in "
                          "statement",
                          policy_key_name(key));
    }
    return ERR_NONE;
}

static int
statement_parse(struct parse *ps, const json_t *value, struct statement *st)
{
    const char *name;
    json_t *member;
    struct kinds kinds = {0};
    if (!json_is_object(value))
        return refuse(ps, SYNTAX, "Statement");
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        int err = member_parse(ps, name, member, st, &kinds);
        if (err != ERR_NONE)
            return err;
    }
    if (json_object_get(value, "Effect") == NULL)
        return refuse(ps, "Missing required field Effect", NULL);
    return statement_check(ps, st, &kinds);
}

/* ---- the document ---- */

static int
version_parse(struct parse *ps, const json_t *root)
{
    const json_t *version = json_object_get(root, "Version");
    if (version == NULL)
        return ERR_NONE;
    struct slice text = json_is_string(version) ? text_of(version) : SLICE_NONE;
    ps->variables = slice_eqs(text, "2012-10-17");
    if (ps->variables || slice_eqs(text, "2008-10-17"))
        return ERR_NONE;
    return refuse(ps, "The policy must contain a valid version string", NULL);
}

static int
document_parse(struct parse *ps, const json_t *root)
{
    const char *name;
    json_t *member;
    int err = version_parse(ps, root);
    if (err != ERR_NONE)
        return err;
    json_object_foreach((json_t *)(uintptr_t)root, name, member)
    {
        if (strcmp(name, "Id") == 0 && !json_is_string(member))
            return refuse(ps, SYNTAX, name);
        if (strcmp(name, "Id") != 0 && strcmp(name, "Version") != 0 &&
            strcmp(name, "Statement") != 0)
            return refuse_named(ps, "Unknown field ", name);
    }
    const json_t *list = json_object_get(root, "Statement");
    if (list == NULL)
        return refuse(ps, "Missing required field Statement", NULL);
    size_t n = list_count(list);
    if (n == 0)
        return refuse(ps, "Could not parse the policy: Statement is empty!", NULL);
    if (n > POLICY_STATEMENTS_MAX)
        return refuse(ps, "Policy has too many statements", NULL);
    ps->policy->statements = many(ps, n, sizeof(struct statement));
    if (ps->policy->statements == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; err == ERR_NONE && i < n; i++)
        err = statement_parse(ps, list_at(list, i), &ps->policy->statements[i]);
    ps->policy->count = n;
    return err;
}

int
policy_parse(struct slice json, struct slice bucket, struct policy **out, struct buf *why)
{
    struct policy *p = NULL;
    struct parse ps = {.bucket = bucket, .why = why};
    json_t *root = NULL;
    int err;
    *out = NULL;
    if (json.n > POLICY_BYTES_MAX)
        return refuse(&ps, "Policy exceeds the maximum allowed document size.", NULL);
    root = json_read(json, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return refuse(&ps, "Policies must be valid JSON and the first byte must be '{'", NULL);
    }
    err = ERR_NOMEM;
    p = calloc(1, sizeof *p);
    if (p == NULL)
        goto out;
    p->magic = POLICY_MAGIC;
    p->arena = arena_new(POLICY_MEMORY_MAX);
    if (p->arena == NULL)
        goto out;
    ps.policy = p;
    err = document_parse(&ps, root);
    if (err == ERR_NONE) {
        *out = p;
        p = NULL;
    }
out:
    policy_free(&p);
    json_decref(root);
    return err;
}
