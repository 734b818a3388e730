/*
 * Judging conditions, and reading a key condition as a range. A comparison between different types
 * or with a missing attribute is false, except that "<>" is then true.
 */
#include "base/err.h"
#include "metadata/expr_priv.h"
#include "metadata/number.h"

/* A value an operand stands for; `made` holds what is computed. */
struct operand {
    const struct attr_value *value; /* NULL: no such attribute */
    struct attr_value made;
    char text[24];
};

static size_t
value_size(const struct attr_value *v)
{
    return v->type <= ATTR_B ? v->bytes.n : v->count;
}

static void
resolve(const struct expr *e, const struct attr_value *item, struct operand *o)
{
    o->value = e->op == OP_VALUE ? e->value : NULL;
    if (e->op == OP_PATH)
        o->value = expr_path_find(&e->path, item);
    if (e->op != OP_SIZE)
        return;
    struct operand inner;
    resolve(e->args[0], item, &inner);
    const struct attr_value *v = inner.value;
    if (v == NULL || v->type == ATTR_N || v->type == ATTR_BOOL || v->type == ATTR_NULL)
        return;
    size_t n = value_size(v), at = sizeof o->text;
    do {
        o->text[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    o->made =
        (struct attr_value){.type = ATTR_N, .bytes = slice_of(o->text + at, sizeof o->text - at)};
    o->value = &o->made;
}

static bool
compare(enum expr_op op, const struct attr_value *a, const struct attr_value *b)
{
    if (op == OP_EQ || op == OP_NE) {
        bool equal = a != NULL && b != NULL && attr_equal(a, b);
        return equal == (op == OP_EQ);
    }
    if (a == NULL || b == NULL || a->type != b->type || a->type > ATTR_B)
        return false;
    int c = attr_scalar_compare(a, b);
    switch (op) {
    case OP_LT:
        return c < 0;
    case OP_LE:
        return c <= 0;
    case OP_GT:
        return c > 0;
    default:
        return c >= 0;
    }
}

static bool
contains(const struct attr_value *whole, const struct attr_value *part)
{
    if (attr_type_is_set(whole->type))
        return attr_set_has(whole, part);
    if (whole->type == ATTR_L) {
        for (size_t i = 0; i < whole->count; i++)
            if (attr_equal(&whole->elements[i], part))
                return true;
        return false;
    }
    return (whole->type == ATTR_S || whole->type == ATTR_B) && part->type == whole->type &&
           (part->bytes.n == 0 || slice_find(whole->bytes, part->bytes) >= 0);
}

static bool
call_matches(const struct expr *e, const struct attr_value *item)
{
    struct operand x, y = {0};
    resolve(e->args[0], item, &x);
    if (e->op == OP_EXISTS)
        return x.value != NULL;
    if (e->op == OP_NOT_EXISTS)
        return x.value == NULL;
    resolve(e->args[1], item, &y);
    const struct attr_value *a = x.value, *b = y.value;
    if (a == NULL || b == NULL)
        return false;
    if (e->op == OP_TYPE)
        return b->type == ATTR_S && slice_eqs(b->bytes, attr_type_name(a->type));
    if (e->op == OP_CONTAINS)
        return contains(a, b);
    return a->type == b->type && (a->type == ATTR_S || a->type == ATTR_B) &&
           slice_starts(a->bytes, b->bytes);
}

static bool
in_matches(const struct expr *e, const struct attr_value *item)
{
    struct operand x, y;
    resolve(e->args[0], item, &x);
    for (size_t i = 1; i < e->count; i++) {
        resolve(e->args[i], item, &y);
        if (compare(OP_EQ, x.value, y.value))
            return true;
    }
    return false;
}

bool
expr_matches(const struct expr *e, const struct attr_value *item)
{
    struct operand x, y, z;
    switch (e->op) {
    case OP_AND:
        return expr_matches(e->args[0], item) && expr_matches(e->args[1], item);
    case OP_OR:
        return expr_matches(e->args[0], item) || expr_matches(e->args[1], item);
    case OP_NOT:
        return !expr_matches(e->args[0], item);
    case OP_BETWEEN:
        resolve(e->args[0], item, &x);
        resolve(e->args[1], item, &y);
        resolve(e->args[2], item, &z);
        return compare(OP_GE, x.value, y.value) && compare(OP_LE, x.value, z.value);
    case OP_IN:
        return in_matches(e, item);
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        resolve(e->args[0], item, &x);
        resolve(e->args[1], item, &y);
        return compare(e->op, x.value, y.value);
    default:
        return call_matches(e, item);
    }
}

bool
expr_mentions(const struct expr *e, struct slice name)
{
    if (e->op == OP_PATH)
        return slice_eq(e->path.steps[0].name, name);
    for (size_t i = 0; i < e->count; i++)
        if (expr_mentions(e->args[i], name))
            return true;
    return false;
}

/* ---- key conditions ---- */

static int
refuse(struct buf *why, const char *text)
{
    buf_puts(why, text);
    return ERR_INVALID;
}

static enum table_sort_op
sort_op(enum expr_op op, bool mirrored)
{
    switch (op) {
    case OP_EQ:
        return SORT_EQ;
    case OP_LT:
        return mirrored ? SORT_GT : SORT_LT;
    case OP_LE:
        return mirrored ? SORT_GE : SORT_LE;
    case OP_GT:
        return mirrored ? SORT_LT : SORT_GT;
    case OP_GE:
        return mirrored ? SORT_LE : SORT_GE;
    case OP_BETWEEN:
        return SORT_BETWEEN;
    case OP_BEGINS:
        return SORT_BEGINS;
    default:
        return SORT_ALL;
    }
}

/* One side of the AND: which attribute, how, and against what. */
struct key_term {
    struct slice name;
    enum table_sort_op op;
    const struct attr_value *low, *high;
};

static int
read_term(const struct expr *e, struct key_term *term, struct buf *why)
{
    bool mirrored = e->count > 0 && e->args[0]->op == OP_VALUE && e->op >= OP_EQ && e->op <= OP_GE;
    term->op = sort_op(e->op, mirrored);
    if (term->op == SORT_ALL) {
        buf_printf(why, "Invalid operator used in KeyConditionExpression: %s", expr_op_name(e->op));
        return ERR_INVALID;
    }
    const struct expr *path = e->args[mirrored ? 1 : 0];
    const struct expr *low = e->args[mirrored ? 0 : 1];
    const struct expr *high = e->op == OP_BETWEEN ? e->args[2] : NULL;
    if (path->op == OP_SIZE || low->op == OP_SIZE)
        return refuse(why, "KeyConditionExpressions cannot contain nested operations");
    if (path->op != OP_PATH || low->op != OP_VALUE || (high != NULL && high->op != OP_VALUE))
        return refuse(why, "Invalid condition in KeyConditionExpression: Multiple attribute names"
                           " used in one condition");
    if (path->path.count != 1)
        return refuse(why, "KeyConditionExpressions cannot have conditions on nested attributes");
    term->name = path->path.steps[0].name;
    term->low = low->value;
    term->high = high == NULL ? NULL : high->value;
    return ERR_NONE;
}

static int
check_term(const struct key_term *term, const struct table_key_attr *key, struct buf *why)
{
    if (term->op == SORT_BEGINS && key->type == ATTR_N)
        return refuse(why, "Invalid KeyConditionExpression: Incorrect operand type for operator or"
                           " function; operator or function: begins_with, operand type: N");
    if (term->low->type != key->type || (term->high != NULL && term->high->type != key->type))
        return refuse(why, "One or more parameter values were invalid: Condition parameter type"
                           " does not match schema type");
    if (term->low->bytes.n > 0 && (term->high == NULL || term->high->bytes.n > 0))
        return ERR_NONE;
    buf_printf(why,
               "One or more parameter values are not valid. The AttributeValue for a key attribute"
               " cannot contain an empty %s value. Key: %.*s",
               key->type == ATTR_B ? "binary" : "string", SLICE_FMT(key->name));
    return ERR_INVALID;
}

int
expr_key_range(const struct expr *e, const struct table *t, struct table_range *range,
               struct buf *why)
{
    struct key_term terms[2];
    const struct key_term *partition = NULL, *sort = NULL;
    size_t count = e->op == OP_AND ? 2 : 1;
    for (size_t i = 0; i < count; i++) {
        const struct expr *side = e->op == OP_AND ? e->args[i] : e;
        if (e->op == OP_AND && side->op == OP_AND)
            return refuse(why, "Conditions can be of length 1 or 2 only");
        int err = read_term(side, &terms[i], why);
        if (err != ERR_NONE)
            return err;
        const struct key_term **slot = slice_eq(terms[i].name, t->partition.name) ? &partition
                                       : t->sort.name.n > 0 && slice_eq(terms[i].name, t->sort.name)
                                           ? &sort
                                           : NULL;
        if (slot != NULL && *slot != NULL)
            return refuse(why, "KeyConditionExpressions must only contain one condition per key");
        if (slot != NULL)
            *slot = &terms[i];
    }
    if (partition == NULL || (count == 2 && sort == NULL)) {
        struct slice missing = partition == NULL ? t->partition.name : t->sort.name;
        if (missing.n == 0)
            return refuse(why, "Query key condition not supported");
        buf_printf(why, "Query condition missed key schema element: %.*s", SLICE_FMT(missing));
        return ERR_INVALID;
    }
    if (partition->op != SORT_EQ)
        return refuse(why, "Query key condition not supported");
    int err = check_term(partition, &t->partition, why);
    if (err == ERR_NONE && sort != NULL)
        err = check_term(sort, &t->sort, why);
    range->partition = partition->low;
    range->op = sort == NULL ? SORT_ALL : sort->op;
    range->low = sort == NULL ? NULL : sort->low;
    range->high = sort == NULL ? NULL : sort->high;
    return err;
}
