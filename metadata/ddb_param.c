/*
 * Reading parameters out of a request's JSON, and the parts of answers that operations share. A
 * member of another JSON type than the model's is a SerializationException, a value out of bounds a
 * ValidationException in the words of the service.
 */
#include "base/err.h"
#include "metadata/ddb_priv.h"

#include <math.h>
#include <stdio.h>

/* Parameters in messages begin in lower case. */
static const char *
member_name(const char *name, char out[64])
{
    snprintf(out, 64, "%s", name);
    if (out[0] >= 'A' && out[0] <= 'Z')
        out[0] = (char)(out[0] + ('a' - 'A'));
    return out;
}

static const json_t *
member(const json_t *from, const char *name)
{
    const json_t *v = json_object_get(from, name);
    return json_is_null(v) ? NULL : v;
}

static int
wrong_type(struct ddb_request *q, const char *name, const char *wanted)
{
    return ddb_fail(q, DDB_SERIALIZATION, "%s can not be converted to an %s", name, wanted);
}

int
ddb_get_text(struct ddb_request *q, const json_t *from, const char *name, struct slice *out)
{
    const json_t *v = member(from, name);
    *out = SLICE_NONE;
    if (v == NULL)
        return ERR_NONE;
    if (!json_is_string(v))
        return wrong_type(q, name, "String");
    *out = slice_of(json_string_value(v), json_string_length(v));
    return ERR_NONE;
}

int
ddb_get_flag(struct ddb_request *q, const json_t *from, const char *name, bool fallback, bool *out)
{
    const json_t *v = member(from, name);
    *out = v == NULL ? fallback : json_is_true(v);
    return v == NULL || json_is_boolean(v) ? ERR_NONE : wrong_type(q, name, "Boolean");
}

int
ddb_get_count(struct ddb_request *q, const json_t *from, const char *name, int64_t min, int64_t max,
              int64_t *out)
{
    char lower[64];
    const json_t *v = member(from, name);
    *out = -1;
    if (v == NULL)
        return ERR_NONE;
    if (!json_is_integer(v))
        return wrong_type(q, name, "Integer");
    *out = json_integer_value(v);
    if (*out >= min && *out <= max)
        return ERR_NONE;
    return ddb_fail(q, DDB_VALIDATION,
                    "1 validation error detected: Value '%lld' at '%s' failed to satisfy"
                    " constraint: Member must have value %s than or equal to %lld",
                    (long long)*out, member_name(name, lower), *out < min ? "greater" : "less",
                    (long long)(*out < min ? min : max));
}

int
ddb_get_word(struct ddb_request *q, const json_t *from, const char *name, const char *const *words,
             int fallback, int *out)
{
    char lower[64];
    struct slice text;
    struct buf list;
    *out = fallback;
    int err = ddb_get_text(q, from, name, &text);
    if (err != ERR_NONE || text.p == NULL)
        return err;
    for (int i = 0; words[i] != NULL; i++) {
        if (slice_eqs(text, words[i])) {
            *out = i;
            return ERR_NONE;
        }
    }
    buf_init(&list, 1000);
    for (int i = 0; words[i] != NULL; i++)
        buf_printf(&list, "%s%s", i == 0 ? "" : ", ", words[i]);
    err = ddb_fail(q, DDB_VALIDATION,
                   "1 validation error detected: Value '%.*s' at '%s' failed to satisfy"
                   " constraint: Member must satisfy enum value set: [%s]",
                   (int)(text.n < 200 ? text.n : 200), text.p, member_name(name, lower),
                   list.err == ERR_NONE ? list.p : "");
    buf_fini(&list);
    return err;
}

int
ddb_check_table_name(struct ddb_request *q, struct slice name, struct slice *out)
{
    if (slice_starts(name, SLICE_LIT("arn:"))) {
        ptrdiff_t at = slice_find(name, SLICE_LIT(":table/"));
        name = at < 0 ? name : slice_skip(name, (size_t)at + sizeof ":table/" - 1);
    }
    *out = name;
    if (name.n < TABLE_NAME_MIN || name.n > TABLE_NAME_MAX)
        return ddb_fail(q, DDB_VALIDATION,
                        "TableName must be at least 3 characters long and at most 255 characters"
                        " long");
    if (!table_name_ok(name))
        return ddb_fail(q, DDB_VALIDATION,
                        "1 validation error detected: Value '%.*s' at 'tableName' failed to satisfy"
                        " constraint: Member must satisfy regular expression pattern:"
                        " [a-zA-Z0-9_.-]+",
                        SLICE_FMT(name));
    return ERR_NONE;
}

int
ddb_get_table(struct ddb_request *q, const json_t *from, struct slice *out)
{
    int err = ddb_get_text(q, from, "TableName", out);
    if (err == ERR_NONE && out->p == NULL)
        return ddb_fail(q, DDB_VALIDATION,
                        "1 validation error detected: Value null at 'tableName' failed to satisfy"
                        " constraint: Member must not be null");
    return err != ERR_NONE ? err : ddb_check_table_name(q, *out, out);
}

int
ddb_get_map(struct ddb_request *q, const json_t *from, const char *name, struct attr_value *out)
{
    const json_t *v = member(from, name);
    *out = (struct attr_value){0};
    if (v == NULL)
        return ERR_NONE;
    return ddb_fail_said(q, ddb_read_map(q->arena, v, out, &q->message));
}

int
ddb_get_capacity(struct ddb_request *q, const json_t *from, enum ddb_capacity *out)
{
    static const char *const words[] = {"NONE", "TOTAL", "INDEXES", NULL};
    int word;
    int err = ddb_get_word(q, from, "ReturnConsumedCapacity", words, CAPACITY_NONE, &word);
    *out = (enum ddb_capacity)word;
    return err;
}

int
ddb_refuse_parameters(struct ddb_request *q, const json_t *from, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++)
        if (member(from, names[i]) != NULL)
            return ddb_fail(q, DDB_VALIDATION, "The parameter %s is not supported", names[i]);
    return ERR_NONE;
}

/* ---- expressions ---- */

/* "#name" or ":name" with at least one more letter, digit or underscore. */
static bool
placeholder_ok(struct slice s, char first)
{
    if (s.n < 2 || s.n > 255 || s.p[0] != first)
        return false;
    for (size_t i = 1; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_'))
            return false;
    }
    return true;
}

static int
get_names(struct ddb_request *q, const json_t *names, struct expr_env *env)
{
    const char *key;
    json_t *value;
    size_t n = 0, count = json_object_size(names);
    if (!json_is_object(names))
        return wrong_type(q, "ExpressionAttributeNames", "Map");
    if (count == 0)
        return ddb_fail(q, DDB_VALIDATION, "ExpressionAttributeNames must not be empty");
    if (count > DDB_EXPRESSION_ENTRIES_MAX)
        return ddb_fail(q, DDB_VALIDATION, "ExpressionAttributeNames has too many entries");
    env->names = arena_alloc(q->arena, count * sizeof *env->names);
    if (env->names == NULL)
        return ERR_NOMEM;
    json_object_foreach((json_t *)names, key, value)
    {
        if (!placeholder_ok(slice_str(key), '#'))
            return ddb_fail(q, DDB_VALIDATION,
                            "ExpressionAttributeNames contains invalid key: Syntax error; key:"
                            " \"%.255s\"",
                            key);
        if (!json_is_string(value))
            return wrong_type(q, "ExpressionAttributeNames", "String");
        struct slice text = slice_of(json_string_value(value), json_string_length(value));
        if (text.n == 0 || text.n > UINT16_MAX)
            return ddb_fail(q, DDB_VALIDATION,
                            "ExpressionAttributeNames contains invalid value: Empty attribute name"
                            " for key %s",
                            key);
        env->names[n++] = (struct expr_name){.name = slice_str(key), .value = text};
    }
    env->name_count = n;
    return ERR_NONE;
}

static int
get_values(struct ddb_request *q, const json_t *values, struct expr_env *env)
{
    const char *key;
    json_t *value;
    size_t n = 0, count = json_object_size(values);
    if (!json_is_object(values))
        return wrong_type(q, "ExpressionAttributeValues", "Map");
    if (count == 0)
        return ddb_fail(q, DDB_VALIDATION, "ExpressionAttributeValues must not be empty");
    if (count > DDB_EXPRESSION_ENTRIES_MAX)
        return ddb_fail(q, DDB_VALIDATION, "ExpressionAttributeValues has too many entries");
    env->values = arena_alloc(q->arena, count * sizeof *env->values);
    if (env->values == NULL)
        return ERR_NOMEM;
    json_object_foreach((json_t *)values, key, value)
    {
        if (!placeholder_ok(slice_str(key), ':'))
            return ddb_fail(q, DDB_VALIDATION,
                            "ExpressionAttributeValues contains invalid key: Syntax error; key:"
                            " \"%.255s\"",
                            key);
        struct buf why;
        buf_init(&why, 8u << 10);
        int err = ddb_read_value(q->arena, value, &env->values[n].value, &why);
        if (err == ERR_INVALID)
            ddb_fail(q, DDB_VALIDATION,
                     "ExpressionAttributeValues contains invalid value: %.*s for key %s",
                     SLICE_FMT(buf_slice(&why)), key);
        else if (err == ERR_UNSUPPORTED)
            ddb_fail(q, DDB_SERIALIZATION, "%.*s", SLICE_FMT(buf_slice(&why)));
        buf_fini(&why);
        if (err != ERR_NONE)
            return err;
        env->values[n++].name = slice_str(key);
    }
    env->value_count = n;
    return ERR_NONE;
}

int
ddb_get_env(struct ddb_request *q, const json_t *from, struct expr_env *env)
{
    const json_t *names = member(from, "ExpressionAttributeNames");
    const json_t *values = member(from, "ExpressionAttributeValues");
    *env = (struct expr_env){0};
    int err = names == NULL ? ERR_NONE : get_names(q, names, env);
    if (err == ERR_NONE && values != NULL)
        err = get_values(q, values, env);
    return err;
}

int
ddb_check_env(struct ddb_request *q, const struct expr_env *env, bool has_expression)
{
    if (!has_expression && env->name_count + env->value_count > 0)
        return ddb_fail(q, DDB_VALIDATION, "%s can only be specified when using expressions",
                        env->name_count > 0 ? "ExpressionAttributeNames"
                                            : "ExpressionAttributeValues");
    return ddb_fail_said(q, expr_check_unused(env, &q->message));
}

int
ddb_get_condition(struct ddb_request *q, const json_t *from, const char *name, struct expr_env *env,
                  enum expr_use use, const struct expr **out)
{
    struct slice text;
    *out = NULL;
    int err = ddb_get_text(q, from, name, &text);
    if (err != ERR_NONE || text.p == NULL)
        return err;
    return ddb_fail_said(q, expr_parse_condition(q->arena, env, use, text, out, &q->message));
}

int
ddb_get_projection(struct ddb_request *q, const json_t *from, struct expr_env *env,
                   const struct expr_paths **out)
{
    struct slice text;
    *out = NULL;
    int err = ddb_get_text(q, from, "ProjectionExpression", &text);
    if (err != ERR_NONE || text.p == NULL)
        return err;
    return ddb_fail_said(q, expr_parse_projection(q->arena, env, text, out, &q->message));
}

/* ---- keys and tables ---- */

int
ddb_check_key(struct ddb_request *q, const struct table *t, const struct attr_value *key)
{
    const struct attr_value *pk = attr_get(key, t->partition.name);
    const struct attr_value *sk = t->sort.name.n == 0 ? NULL : attr_get(key, t->sort.name);
    bool fits = pk != NULL && pk->type == t->partition.type &&
                key->count == (t->sort.name.n == 0 ? 1u : 2u) &&
                (t->sort.name.n == 0 || (sk != NULL && sk->type == t->sort.type));
    if (!fits)
        return ddb_fail(q, DDB_VALIDATION, "The provided key element does not match the schema");
    return ddb_fail_said(q, table_key_check(t, key, &q->message));
}

int
ddb_find_table(struct ddb_request *q, struct db_conn *conn, struct slice name, struct table *t)
{
    int err = table_find(conn, q->scratch, name, t);
    if (err == ERR_NOPARENT)
        ddb_fail(q, DDB_RESOURCE_NOT_FOUND, "Requested resource not found: Table: %.*s not found",
                 SLICE_FMT(name));
    return err;
}

int
ddb_key_of(struct arena *a, const struct table *t, const struct attr_value *item,
           struct attr_value *key)
{
    *key = attr_map_new();
    int err = attr_set(a, key, t->partition.name, attr_get(item, t->partition.name));
    if (err == ERR_NONE && t->sort.name.n > 0)
        err = attr_set(a, key, t->sort.name, attr_get(item, t->sort.name));
    return err;
}

/* ---- capacity ---- */

double
ddb_read_units(size_t bytes, bool consistent)
{
    double units = ceil((double)bytes / 4096);
    return (units < 1 ? 1 : units) * (consistent ? 1 : 0.5);
}

double
ddb_write_units(size_t bytes)
{
    double units = ceil((double)bytes / 1024);
    return units < 1 ? 1 : units;
}

void
ddb_put_capacity(struct buf *out, enum ddb_capacity capacity, struct slice table, double units)
{
    buf_puts(out, "{\"TableName\":");
    json_quote(out, table);
    buf_printf(out, ",\"CapacityUnits\":%.1f", units);
    if (capacity == CAPACITY_INDEXES)
        buf_printf(out, ",\"Table\":{\"CapacityUnits\":%.1f}", units);
    buf_putc(out, '}');
}
