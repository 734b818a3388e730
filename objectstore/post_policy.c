/*
 * decode -> parse -> every condition's form -> expiration -> every condition -> every field covered
 *
 * The document is judged wholly before the form is held against it, so a broken one never says
 * AccessDenied. Names are compared without case, values byte by byte; a condition on a field that
 * is not there fails, whatever it wants. jansson is used because the document is JSON on the wire.
 */
#include "objectstore/post_policy.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

#include <strings.h>

#define POLICY_BYTES_MAX (20u << 10)
#define DENIED "Invalid according to Policy: "
#define INVALID "Invalid Policy: "

struct judge {
    const struct post_policy_form *form;
    struct post_policy_range *range;
    const json_t *conditions;
    int64_t expires_ms;
    struct buf *why;
};

static int
invalid(struct judge *j, const char *sentence)
{
    buf_puts(j->why, INVALID);
    buf_puts(j->why, sentence);
    return ERR_INVALID;
}

static struct slice
text_of(const json_t *string)
{
    return slice_of(json_string_value(string), json_string_length(string));
}

static struct slice
item_text(const json_t *array, size_t index)
{
    return text_of(json_array_get(array, index));
}

/* ---- the form of conditions ---- */

enum operation { OP_EQ, OP_STARTS_WITH, OP_RANGE, OP_COUNT };

static const char *const operations[OP_COUNT] = {
    [OP_EQ] = "eq",
    [OP_STARTS_WITH] = "starts-with",
    [OP_RANGE] = "content-length-range",
};

static enum operation
operation_of(const json_t *array)
{
    for (int i = 0; i < OP_COUNT; i++) {
        if (slice_ieqs(item_text(array, 0), operations[i]))
            return (enum operation)i;
    }
    return OP_COUNT;
}

static int
array_form(struct judge *j, const json_t *array)
{
    if (json_array_size(array) == 0)
        return invalid(j, "Invalid Condition: missing operation identifier.");
    if (!json_is_string(json_array_get(array, 0)))
        return invalid(j, "Invalid JSON.");
    enum operation op = operation_of(array);
    if (op == OP_COUNT) {
        buf_printf(j->why, INVALID "Invalid Condition: unknown operation '%.*s'.",
                   SLICE_FMT(item_text(array, 0)));
        return ERR_INVALID;
    }
    if (json_array_size(array) != 3) {
        buf_printf(j->why, INVALID "Invalid %s: wrong number of arguments.", operations[op]);
        return ERR_INVALID;
    }
    for (size_t i = 1; i < 3; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_string(value) && !(op == OP_RANGE && json_is_integer(value)))
            return invalid(j, "Invalid JSON.");
    }
    return ERR_NONE;
}

static int
object_form(struct judge *j, json_t *object)
{
    if (json_object_size(object) != 1)
        return invalid(j, "Invalid Simple-Condition: Simple-Conditions must have exactly one "
                          "property specified.");
    const json_t *value = json_object_iter_value(json_object_iter(object));
    if (json_is_null(value))
        return invalid(j, "Invalid JSON.");
    return json_is_string(value) ? ERR_NONE
                                 : invalid(j, "Invalid Simple-Condition: value must be a string.");
}

static int
conditions_form(struct judge *j, const json_t *list)
{
    if (list == NULL)
        return invalid(j, "Policy missing conditions.");
    if (!json_is_array(list))
        return invalid(j, "Invalid 'conditions' value: must be a List.");
    if (json_array_size(list) > POST_POLICY_CONDITIONS_MAX)
        return invalid(j, "Too many conditions.");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *one = json_array_get(list, i);
        int err = json_is_array(one)    ? array_form(j, one)
                  : json_is_object(one) ? object_form(j, one)
                                        : invalid(j, "Invalid condition test: must be a List or "
                                                     "Object.");
        if (err != ERR_NONE)
            return err;
    }
    j->conditions = list;
    return ERR_NONE;
}

/* "2026-01-31T12:00:00Z", a fraction allowed; no other form, no other zone. */
static int
expiration_form(struct judge *j, const json_t *value)
{
    if (value == NULL)
        return invalid(j, "Policy missing expiration.");
    const char *text = json_string_value(value);
    size_t n = json_string_length(value);
    if (text != NULL && n >= 20 && strlen(text) == n && text[4] == '-' && text[10] == 'T' &&
        text[n - 1] == 'Z' && clock_parse(text, &j->expires_ms) == ERR_NONE)
        return ERR_NONE;
    buf_printf(j->why, INVALID "Invalid 'expiration' value: '%.*s'", SLICE_FMT(text_of(value)));
    return ERR_INVALID;
}

static int
document_form(struct judge *j, json_t *root)
{
    const char *name;
    json_t *value;
    if (!json_is_object(root))
        return invalid(j, "Invalid JSON.");
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "expiration") != 0 && strcmp(name, "conditions") != 0) {
            buf_printf(j->why, INVALID "Unexpected: '%s'", name);
            return ERR_INVALID;
        }
    }
    int err = expiration_form(j, json_object_get(root, "expiration"));
    return err != ERR_NONE ? err : conditions_form(j, json_object_get(root, "conditions"));
}

/* ---- the form held against them ---- */

/* The field's value; p = NULL: there is none. */
static struct slice
field_value(const struct post_policy_form *form, struct slice name)
{
    if (slice_ieqs(name, "bucket"))
        return form->bucket;
    for (size_t i = 0; i < form->field_count; i++) {
        const struct http_field *f = &form->fields[i];
        if (f->name.n == name.n && strncasecmp(f->name.p, name.p, name.n) == 0)
            return f->value;
    }
    return SLICE_NONE;
}

/* A Content-Type may be a list, and then each of it must start so. */
static bool
starts(struct slice name, struct slice value, struct slice prefix)
{
    if (!slice_ieqs(name, "content-type"))
        return slice_starts(value, prefix);
    while (value.p != NULL) {
        if (!slice_starts(slice_trim(slice_cut(value, ',', &value)), prefix))
            return false;
    }
    return true;
}

static bool
bound_read(const json_t *value, int64_t *out)
{
    uint64_t number;
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    if (slice_to_u64(text_of(value), &number) != ERR_NONE || number > INT64_MAX)
        return false;
    *out = (int64_t)number;
    return true;
}

/* Several ranges count together. */
static bool
range_narrow(struct judge *j, const json_t *array)
{
    int64_t min, max;
    if (!bound_read(json_array_get(array, 1), &min) || !bound_read(json_array_get(array, 2), &max))
        return false;
    j->range->min = min > j->range->min ? min : j->range->min;
    j->range->max = max < j->range->max ? max : j->range->max;
    return true;
}

static bool
array_holds(struct judge *j, const json_t *array)
{
    struct slice name = item_text(array, 1), wanted = item_text(array, 2);
    enum operation op = operation_of(array);
    if (op == OP_RANGE)
        return range_narrow(j, array);
    if (name.n == 0 || name.p[0] != '$')
        return false;
    struct slice value = field_value(j->form, slice_skip(name, 1));
    if (value.p == NULL)
        return false;
    return op == OP_EQ ? slice_eq(value, wanted) : starts(slice_skip(name, 1), value, wanted);
}

static int
condition_failed(struct judge *j, const json_t *array)
{
    buf_puts(j->why, DENIED "Policy Condition failed: [");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *value = json_array_get(array, i);
        if (i > 0)
            buf_puts(j->why, ", ");
        if (json_is_integer(value))
            buf_printf(j->why, "%lld", (long long)json_integer_value(value));
        else
            json_quote(j->why, text_of(value));
    }
    buf_putc(j->why, ']');
    return ERR_DENIED;
}

/* {"name": "value"} says what ["eq", "$name", "value"] says. */
static int
object_judge(struct judge *j, json_t *object)
{
    void *member = json_object_iter(object);
    const char *name = json_object_iter_key(member);
    struct slice wanted = text_of(json_object_iter_value(member));
    struct slice value = field_value(j->form, slice_str(name));
    if (value.p != NULL && slice_eq(value, wanted))
        return ERR_NONE;
    buf_printf(j->why, DENIED "Policy Condition failed: [\"eq\", \"$%s\", ", name);
    json_quote(j->why, wanted);
    buf_putc(j->why, ']');
    return ERR_DENIED;
}

static int
conditions_judge(struct judge *j)
{
    for (size_t i = 0; i < json_array_size(j->conditions); i++) {
        json_t *one = json_array_get(j->conditions, i);
        int err = json_is_object(one)   ? object_judge(j, one)
                  : array_holds(j, one) ? ERR_NONE
                                        : condition_failed(j, one);
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE;
}

/* ---- coverage ---- */

static bool
may_stand_alone(struct slice name)
{
    static const char *const alone[] = {"x-amz-signature", "signature", "AWSAccessKeyId", "policy",
                                        "file"};
    for (size_t i = 0; i < ARRAY_LEN(alone); i++) {
        if (slice_ieqs(name, alone[i]))
            return true;
    }
    return name.n >= 9 && strncasecmp(name.p, "x-ignore-", 9) == 0;
}

static bool
names(const json_t *condition, struct slice field)
{
    struct slice name;
    if (json_is_object(condition)) {
        json_t *object = (json_t *)(uintptr_t)condition;
        name = slice_str(json_object_iter_key(json_object_iter(object)));
    } else {
        name = slice_skip(item_text(condition, 1), 1);
    }
    return name.n == field.n && strncasecmp(name.p, field.p, name.n) == 0;
}

static bool
field_covered(struct judge *j, struct slice field)
{
    bool covered = may_stand_alone(field);
    for (size_t k = 0; !covered && k < json_array_size(j->conditions); k++)
        covered = names(json_array_get(j->conditions, k), field);
    if (!covered)
        buf_printf(j->why, DENIED "Extra input fields: %.*s", SLICE_FMT(field));
    return covered;
}

/* The bucket counts as a field: a policy that names none would do for every bucket of its signer.
 */
static int
fields_covered(struct judge *j)
{
    for (size_t i = 0; i < j->form->field_count; i++) {
        if (!field_covered(j, j->form->fields[i].name))
            return ERR_DENIED;
    }
    return field_covered(j, SLICE_LIT("bucket")) ? ERR_NONE : ERR_DENIED;
}

/* ---- all of it ---- */

static int
judge_document(struct judge *j, json_t *root)
{
    int err = root == NULL ? invalid(j, "Invalid JSON.") : document_form(j, root);
    if (err != ERR_NONE)
        return err;
    if (j->form->now_ms > j->expires_ms) {
        buf_puts(j->why, DENIED "Policy expired.");
        return ERR_DENIED;
    }
    err = conditions_judge(j);
    return err != ERR_NONE ? err : fields_covered(j);
}

int
post_policy_check(struct slice base64, const struct post_policy_form *form,
                  struct post_policy_range *range, struct buf *why)
{
    struct judge j = {.form = form, .range = range, .why = why};
    struct buf text;
    *range = (struct post_policy_range){0, INT64_MAX};
    buf_init(&text, POLICY_BYTES_MAX);
    int err = base64_decode(&text, base64);
    if (err == ERR_INVALID || err == ERR_TOOBIG)
        err = invalid(&j, "Invalid Base64 encoding.");
    if (err == ERR_NONE) {
        json_t *root = json_read(buf_slice(&text), NULL);
        err = judge_document(&j, root);
        json_decref(root);
    }
    buf_fini(&text);
    return err;
}
