/*
 * Conditions (condition, filter and key condition expressions), by recursive descent:
 *
 *     or         := and (OR and)*
 *     and        := not (AND not)*
 *     not        := NOT not | comparison
 *     comparison := operand (< operand | BETWEEN operand AND operand | IN (operand, ...))?
 *     operand    := ( or ) | function ( operand, ... ) | path | :value
 *
 * A parenthesis may hold a condition or an operand; what came out is checked where it is used.
 */
#include "base/err.h"
#include "metadata/expr_lex.h"

static struct expr *parse_or(struct expr_parser *p);

static bool
is_operand(const struct expr *e)
{
    return e->op == OP_PATH || e->op == OP_VALUE || e->op == OP_SIZE;
}

static bool
is_function(const struct expr *e)
{
    return e->op == OP_SIZE || (e->op >= OP_EXISTS && e->op <= OP_LIST_APPEND);
}

static void
misused(struct expr_parser *p, const struct expr *e)
{
    expr_fault(p, FAULT_MISUSED,
               "The function is not allowed to be used this way in an expression; function: %s",
               expr_op_name(e->op));
}

/* NULL when what was read is no condition. */
static struct expr *
as_condition(struct expr_parser *p, struct expr *e)
{
    if (e == NULL || p->err != ERR_NONE)
        return NULL;
    if (e->op == OP_SIZE)
        misused(p, e);
    else if (is_operand(e))
        expr_syntax(p);
    return p->err == ERR_NONE ? e : NULL;
}

static struct expr *
as_operand(struct expr_parser *p, struct expr *e)
{
    if (e == NULL || p->err != ERR_NONE)
        return NULL;
    if (!is_operand(e) && is_function(e))
        misused(p, e);
    else if (!is_operand(e))
        expr_syntax(p);
    return p->err == ERR_NONE ? e : NULL;
}

/* ---- checks ---- */

static void
check_distinct(struct expr_parser *p, const struct expr *e)
{
    if (e->count != 2 || e->args[0]->op != OP_PATH || e->args[1]->op != OP_PATH ||
        expr_path_compare(&e->args[0]->path, &e->args[1]->path) != 0)
        return;
    struct buf path;
    buf_init(&path, 2 * EXPR_BYTES_MAX);
    expr_path_print(&path, &e->args[0]->path);
    expr_fault(p, FAULT_DISTINCT,
               "The first operand must be distinct from the remaining operands for this operator or"
               " function; operator: %s, first operand: %s",
               expr_op_name(e->op), path.err == ERR_NONE ? path.p : "");
    buf_fini(&path);
}

static void
check_type_name(struct expr_parser *p, const struct expr *name)
{
    enum attr_type type = expr_literal_type(name);
    if (name->op == OP_VALUE && name->value == NULL)
        return; /* undefined: told already */
    if (type != ATTR_S)
        expr_fault(p, FAULT_OPERAND,
                   "Incorrect operand type for operator or function; operator or function:"
                   " attribute_type, operand type: %s",
                   type == 0 ? "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}" : attr_type_name(type));
    else if (attr_type_by_name(name->value->bytes) == 0)
        expr_fault(p, FAULT_OPERAND,
                   "Invalid attribute type name found; type: %.*s, valid types:"
                   " {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
                   SLICE_FMT(name->value->bytes));
}

static void
check_call(struct expr_parser *p, const struct expr *e)
{
    for (size_t i = 0; i < e->count; i++)
        if (e->args[i]->op != OP_SIZE && is_function(e->args[i]))
            misused(p, e->args[i]);
    check_distinct(p, e);
    enum attr_type type = expr_literal_type(e->args[0]);
    switch (e->op) {
    case OP_EXISTS:
    case OP_NOT_EXISTS:
        if (e->args[0]->op != OP_PATH)
            expr_fault(p, FAULT_OPERAND,
                       "Operator or function requires a document path; operator or function: %s",
                       expr_op_name(e->op));
        break;
    case OP_TYPE:
        check_type_name(p, e->args[1]);
        break;
    case OP_SIZE:
        if (type == ATTR_N || type == ATTR_BOOL || type == ATTR_NULL)
            expr_operand_type_fault(p, e->op, type);
        break;
    case OP_BEGINS:
        for (size_t i = 0; i < e->count; i++) {
            type = e->args[i]->op == OP_SIZE ? ATTR_N : expr_literal_type(e->args[i]);
            if (type != 0 && type != ATTR_S && type != ATTR_B)
                expr_operand_type_fault(p, e->op, type);
        }
        break;
    default:
        break;
    }
}

static void
check_order_type(struct expr_parser *p, const struct expr *e)
{
    for (size_t i = 0; i < e->count; i++) {
        enum attr_type type = expr_literal_type(e->args[i]);
        if (type > ATTR_B)
            expr_operand_type_fault(p, e->op, type);
    }
}

static void
print_literal(struct buf *out, const struct attr_value *v)
{
    buf_printf(out, "AttributeValue: {%s:", attr_type_name(v->type));
    if (v->type == ATTR_B)
        buf_printf(out, "<%zu bytes>", v->bytes.n);
    else
        buf_put_slice(out, v->bytes);
    buf_putc(out, '}');
}

static void
check_between(struct expr_parser *p, const struct expr *e)
{
    enum attr_type low = expr_literal_type(e->args[1]), high = expr_literal_type(e->args[2]);
    check_order_type(p, e);
    if (low == 0 || high == 0 || low > ATTR_B || high > ATTR_B)
        return;
    const struct attr_value *a = e->args[1]->value, *b = e->args[2]->value;
    if (low == high && attr_scalar_compare(a, b) <= 0)
        return;
    struct buf text;
    buf_init(&text, 8u << 10);
    buf_puts(&text, "lower bound operand: ");
    print_literal(&text, a);
    buf_puts(&text, ", upper bound operand: ");
    print_literal(&text, b);
    expr_fault(p, FAULT_OPERAND, "The BETWEEN operator requires %s; %s",
               low != high ? "same data type for lower and upper bounds"
                           : "upper bound to be greater than or equal to lower bound",
               text.err == ERR_NONE ? text.p : "the bounds are too long to show");
    buf_fini(&text);
}

/* ---- grammar ---- */

static struct expr *
parse_call(struct expr_parser *p, struct slice name, struct expr *(*read)(struct expr_parser *p))
{
    static const enum expr_op functions[] = {OP_EXISTS, OP_NOT_EXISTS, OP_TYPE,
                                             OP_BEGINS, OP_CONTAINS,   OP_SIZE};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (!slice_eqs(name, expr_op_name(functions[i])))
            continue;
        struct expr *e = expr_read_call(p, functions[i], read);
        if (e != NULL)
            check_call(p, e);
        return e;
    }
    expr_fault(p, FAULT_FUNCTION_NAME, "Invalid function name; function: %.*s", SLICE_FMT(name));
    return expr_read_call(p, OP_CONTAINS, read); /* only to see whether the rest is well formed */
}

static struct expr *
parse_group(struct expr_parser *p)
{
    expr_advance(p);
    if (!expr_enter(p))
        return NULL;
    struct expr *e = parse_or(p);
    expr_leave(p);
    if (e == NULL || !expr_expect(p, ")"))
        return NULL;
    if (e->in_parens)
        expr_fault(p, FAULT_PARENS, "The expression has redundant parentheses;");
    e->in_parens = true;
    return e;
}

static struct expr *
parse_operand(struct expr_parser *p)
{
    if (expr_is_symbol(p, "("))
        return parse_group(p);
    if (p->token.kind == TOKEN_WORD && !expr_is_word(p, "IN") && !expr_is_word(p, "NOT") &&
        !expr_is_word(p, "AND") && !expr_is_word(p, "OR") && !expr_is_word(p, "BETWEEN")) {
        struct expr_parser ahead = *p;
        expr_advance(&ahead);
        if (expr_is_symbol(&ahead, "(")) {
            struct slice name = p->token.text;
            expr_advance(p);
            return parse_call(p, name, parse_operand);
        }
    }
    return expr_read_leaf(p);
}

static struct expr *
parse_between(struct expr_parser *p, struct expr *x)
{
    expr_advance(p);
    struct expr *low = as_operand(p, parse_operand(p));
    if (low == NULL || !expr_is_word(p, "AND")) {
        expr_syntax(p);
        return NULL;
    }
    expr_advance(p);
    struct expr *high = as_operand(p, parse_operand(p));
    struct expr *e = expr_node(p, OP_BETWEEN, 3);
    if (e == NULL || high == NULL)
        return NULL;
    e->args[0] = x;
    e->args[1] = low;
    e->args[2] = high;
    check_between(p, e);
    return e;
}

static struct expr *
parse_in(struct expr_parser *p, struct expr *x)
{
    struct expr *args[EXPR_IN_MAX];
    size_t n = 0;
    expr_advance(p);
    if (!expr_expect(p, "("))
        return NULL;
    do {
        struct expr *arg = as_operand(p, parse_operand(p));
        if (arg == NULL)
            return NULL;
        if (n < EXPR_IN_MAX)
            args[n] = arg;
        n++;
    } while (expr_is_symbol(p, ",") && (expr_advance(p), true));
    if (!expr_expect(p, ")"))
        return NULL;
    if (n > EXPR_IN_MAX)
        expr_fault(p, FAULT_COUNT,
                   "Incorrect number of operands for operator or function; operator or function:"
                   " IN, number of operands: %zu",
                   n);
    n = n < EXPR_IN_MAX ? n : EXPR_IN_MAX;
    struct expr *e = expr_node(p, OP_IN, n + 1);
    if (e == NULL)
        return NULL;
    e->args[0] = x;
    memcpy(&e->args[1], args, n * sizeof args[0]);
    return e;
}

static struct expr *
parse_comparison(struct expr_parser *p)
{
    static const enum expr_op comparators[] = {OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE};
    struct expr *x = parse_operand(p);
    if (x == NULL)
        return NULL;
    if (expr_is_word(p, "BETWEEN") || expr_is_word(p, "IN")) {
        p->operators++;
        if (as_operand(p, x) == NULL)
            return NULL;
        return expr_is_word(p, "IN") ? parse_in(p, x) : parse_between(p, x);
    }
    for (size_t i = 0; i < sizeof comparators / sizeof comparators[0]; i++) {
        if (!expr_is_symbol(p, expr_op_name(comparators[i])))
            continue;
        p->operators++;
        if (as_operand(p, x) == NULL)
            return NULL;
        expr_advance(p);
        struct expr *y = as_operand(p, parse_operand(p));
        struct expr *e = expr_node(p, comparators[i], 2);
        if (e == NULL || y == NULL)
            return NULL;
        e->args[0] = x;
        e->args[1] = y;
        check_distinct(p, e);
        if (e->op >= OP_LT)
            check_order_type(p, e);
        return e;
    }
    return x;
}

static struct expr *
parse_not(struct expr_parser *p)
{
    if (!expr_is_word(p, "NOT"))
        return parse_comparison(p);
    p->operators++;
    expr_advance(p);
    if (!expr_enter(p))
        return NULL;
    struct expr *x = as_condition(p, parse_not(p));
    expr_leave(p);
    struct expr *e = expr_node(p, OP_NOT, 1);
    if (e == NULL || x == NULL)
        return NULL;
    e->args[0] = x;
    return e;
}

/* Operands joined by AND or by OR, leaning left: at most EXPR_OPERATORS_MAX nodes deep. */
static struct expr *
parse_chain(struct expr_parser *p, enum expr_op op, struct expr *(*read)(struct expr_parser *p))
{
    struct expr *left = read(p);
    while (left != NULL && expr_is_word(p, expr_op_name(op))) {
        p->operators++;
        if (as_condition(p, left) == NULL)
            return NULL;
        expr_advance(p);
        struct expr *right = as_condition(p, read(p));
        struct expr *e = expr_node(p, op, 2);
        if (e == NULL || right == NULL)
            return NULL;
        e->args[0] = left;
        e->args[1] = right;
        left = e;
    }
    return left;
}

static struct expr *
parse_and(struct expr_parser *p)
{
    return parse_chain(p, OP_AND, parse_not);
}

static struct expr *
parse_or(struct expr_parser *p)
{
    return parse_chain(p, OP_OR, parse_and);
}

int
expr_parse_condition(struct arena *a, struct expr_env *env, enum expr_use use, struct slice text,
                     const struct expr **out, struct buf *why)
{
    struct expr_parser p;
    expr_begin(&p, a, env,
               use == EXPR_CONDITION ? "ConditionExpression"
               : use == EXPR_FILTER  ? "FilterExpression"
                                     : "KeyConditionExpression",
               text);
    *out = p.err == ERR_NONE ? as_condition(&p, parse_or(&p)) : NULL;
    return expr_finish(&p, why);
}
