/*
 * Update expressions.
 *
 *     update := (SET path = value, ... | REMOVE path, ... | ADD path :v, ... | DELETE path :v,
 * ...)+ value  := operand (+ operand | - operand)? operand := ( value ) | if_not_exists(path,
 * operand) | list_append(operand, operand) | path | :v
 *
 * Every operand is read from the item as it was before. Actions run in the order of their paths,
 * removals last; a removed list element leaves a hole (type 0) until the end, so that all indexes
 * of one update mean the same list.
 */
#include "base/err.h"
#include "metadata/expr_lex.h"
#include "metadata/number.h"

#include <stdlib.h>

#define ACTIONS_ROOM 8

static const char wrong_operand[] =
    "An operand in the update expression has an incorrect data type";
static const char bad_path[] =
    "The document path provided in the update expression is invalid for update";

/* ---- parsing ---- */

static struct expr *parse_value(struct expr_parser *p);

static struct expr *
parse_function(struct expr_parser *p, struct slice name,
               struct expr *(*read)(struct expr_parser *p))
{
    enum expr_op op = slice_eqs(name, "list_append") ? OP_LIST_APPEND : OP_IF_NOT_EXISTS;
    if (op == OP_IF_NOT_EXISTS && !slice_eqs(name, "if_not_exists"))
        expr_fault(p, FAULT_FUNCTION_NAME, "Invalid function name; function: %.*s",
                   SLICE_FMT(name));
    struct expr *e = expr_read_call(p, op, read);
    if (e == NULL)
        return NULL;
    if (op == OP_IF_NOT_EXISTS && e->args[0]->op != OP_PATH)
        expr_fault(p, FAULT_OPERAND,
                   "Operator or function requires a document path; operator or function: %s",
                   expr_op_name(op));
    for (size_t i = 0; op == OP_LIST_APPEND && i < e->count; i++) {
        enum attr_type type = expr_literal_type(e->args[i]);
        if (type != 0 && type != ATTR_L)
            expr_operand_type_fault(p, op, type);
    }
    return e;
}

static struct expr *
parse_operand(struct expr_parser *p)
{
    if (expr_is_symbol(p, "(")) {
        expr_advance(p);
        if (!expr_enter(p))
            return NULL;
        struct expr *e = parse_value(p);
        expr_leave(p);
        return e != NULL && expr_expect(p, ")") ? e : NULL;
    }
    if (p->token.kind == TOKEN_WORD) {
        struct expr_parser ahead = *p;
        expr_advance(&ahead);
        if (expr_is_symbol(&ahead, "(")) {
            struct slice name = p->token.text;
            expr_advance(p);
            return parse_function(p, name, parse_operand);
        }
    }
    return expr_read_leaf(p);
}

static struct expr *
parse_value(struct expr_parser *p)
{
    struct expr *x = parse_operand(p);
    bool plus = expr_is_symbol(p, "+");
    if (x == NULL || (!plus && !expr_is_symbol(p, "-")))
        return x;
    p->operators++;
    expr_advance(p);
    struct expr *y = parse_operand(p);
    struct expr *e = expr_node(p, plus ? OP_PLUS : OP_MINUS, 2);
    if (e == NULL || y == NULL)
        return NULL;
    e->args[0] = x;
    e->args[1] = y;
    for (size_t i = 0; i < 2; i++) {
        enum attr_type type = expr_literal_type(e->args[i]);
        if (type != 0 && type != ATTR_N)
            expr_operand_type_fault(p, e->op, type);
    }
    return e;
}

static void
check_literal(struct expr_parser *p, enum update_verb verb, const struct expr *operand)
{
    static const char *const long_names[] = {"",        "STRING", "NUMBER", "BINARY",
                                             "BOOLEAN", "NULL",   "LIST",   "MAP"};
    enum attr_type type = expr_literal_type(operand);
    if (type == 0 || attr_type_is_set(type) || (verb == UPDATE_ADD && type == ATTR_N))
        return;
    expr_fault(p, FAULT_OPERAND,
               "Incorrect operand type for operator or function; operator: %s, operand type: %s",
               verb == UPDATE_ADD ? "ADD" : "DELETE", long_names[type]);
}

static bool
parse_action(struct expr_parser *p, enum update_verb verb, struct update_action *out)
{
    *out = (struct update_action){.verb = verb};
    if (!expr_read_path(p, &out->path))
        return false;
    if (verb == UPDATE_SET) {
        if (!expr_expect(p, "="))
            return false;
        out->operand = parse_value(p);
    } else if (verb != UPDATE_REMOVE) {
        if (p->token.kind != TOKEN_VALUE)
            expr_syntax(p);
        out->operand = p->err == ERR_NONE ? expr_read_leaf(p) : NULL;
        if (out->operand != NULL)
            check_literal(p, verb, out->operand);
    }
    p->operators++;
    return p->err == ERR_NONE;
}

struct action_list {
    struct update_action *actions;
    size_t count, room;
};

static struct update_action *
list_next(struct expr_parser *p, struct action_list *list)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? ACTIONS_ROOM : 2 * list->room;
        struct update_action *larger = arena_alloc(p->arena, room * sizeof *larger);
        if (larger == NULL) {
            p->err = ERR_NOMEM;
            return NULL;
        }
        if (list->count > 0)
            memcpy(larger, list->actions, list->count * sizeof *larger);
        list->actions = larger;
        list->room = room;
    }
    return &list->actions[list->count];
}

static const char *const verbs[] = {"SET", "REMOVE", "ADD", "DELETE"};

static void
parse_sections(struct expr_parser *p, struct action_list *list)
{
    bool seen[4] = {false};
    while (p->err == ERR_NONE && p->token.kind != TOKEN_END) {
        int verb = 0;
        while (verb < 4 && !expr_is_word(p, verbs[verb]))
            verb++;
        if (verb == 4) {
            expr_syntax(p);
            return;
        }
        if (seen[verb])
            expr_fault(p, FAULT_SECTION,
                       "The \"%s\" section can only be used once in an update expression;",
                       verbs[verb]);
        seen[verb] = true;
        do {
            expr_advance(p);
            struct update_action *action = list_next(p, list);
            if (action == NULL || !parse_action(p, (enum update_verb)verb, action))
                return;
            list->count++;
        } while (expr_is_symbol(p, ","));
    }
}

static int
compare_actions(const void *a, const void *b)
{
    const struct update_action *x = a, *y = b;
    return expr_path_compare(&x->path, &y->path);
}

int
expr_parse_update(struct arena *a, struct expr_env *env, struct slice text,
                  const struct expr_update **out, struct buf *why)
{
    struct expr_parser p;
    struct action_list list = {0};
    expr_begin(&p, a, env, "UpdateExpression", text);
    parse_sections(&p, &list);
    struct expr_update *u = arena_alloc(a, sizeof *u);
    struct expr_path *paths = arena_alloc(a, list.count * sizeof *paths);
    if (u == NULL || paths == NULL)
        return ERR_NOMEM;
    if (list.count > 1)
        qsort(list.actions, list.count, sizeof *list.actions, compare_actions);
    for (size_t i = 0; i < list.count; i++)
        paths[i] = list.actions[i].path;
    *u = (struct expr_update){list.actions, list.count, {paths, list.count}};
    expr_sort_paths(&p, &u->paths);
    *out = u;
    return expr_finish(&p, why);
}

const struct expr_paths *
expr_update_paths(const struct expr_update *u)
{
    return &u->paths;
}

bool
expr_update_creates(const struct expr_update *u)
{
    for (size_t i = 0; i < u->count; i++)
        if (u->actions[i].verb == UPDATE_SET || u->actions[i].verb == UPDATE_ADD)
            return true;
    return false;
}

int
expr_update_check(const struct expr_update *u, const struct table *t, struct buf *why)
{
    for (size_t i = 0; i < u->count; i++) {
        struct slice name = u->actions[i].path.steps[0].name;
        if (!slice_eq(name, t->partition.name) &&
            (t->sort.name.n == 0 || !slice_eq(name, t->sort.name)))
            continue;
        buf_printf(why,
                   "One or more parameter values were invalid: Cannot update attribute %.*s. This"
                   " attribute is part of the key",
                   SLICE_FMT(name));
        return ERR_INVALID;
    }
    return ERR_NONE;
}

/* ---- operands ---- */

static int
refuse(struct buf *why, const char *text)
{
    buf_puts(why, text);
    return ERR_INVALID;
}

static int
add_numbers(struct arena *a, struct slice x, struct slice y, bool minus, struct attr_value *out,
            struct buf *why)
{
    struct number m, n, sum;
    char text[NUMBER_TEXT_MAX];
    if (number_parse(x, &m) != ERR_NONE || number_parse(y, &n) != ERR_NONE)
        return ERR_CORRUPT;
    n.negative = n.n > 0 && n.negative != minus;
    int err = number_add(&m, &n, &sum);
    if (err == ERR_TOOBIG)
        return refuse(why, "Attempting to store more than 38 significant digits in a Number");
    if (err == ERR_RANGE)
        return refuse(why, sum.exp > 0 ? "Number overflow. Attempting to store a number with"
                                         " magnitude larger than supported range"
                                       : "Number underflow. Attempting to store a number with"
                                         " magnitude smaller than supported range");
    *out = (struct attr_value){.type = ATTR_N,
                               .bytes = arena_dup(a, slice_of(text, number_text(&sum, text)))};
    return out->bytes.p == NULL ? ERR_NOMEM : ERR_NONE;
}

static int
append_lists(struct arena *a, const struct attr_value *x, const struct attr_value *y,
             struct attr_value *out)
{
    *out = (struct attr_value){.type = ATTR_L};
    int err = attr_list_room(a, out, x->count + y->count);
    if (err != ERR_NONE)
        return err;
    for (size_t i = 0; i < out->count; i++)
        out->elements[i] = i < x->count ? x->elements[i] : y->elements[i - x->count];
    return ERR_NONE;
}

static int
operand_value(struct arena *a, const struct expr *e, const struct attr_value *before,
              struct attr_value *out, struct buf *why)
{
    if (e->op == OP_VALUE) {
        *out = *e->value;
        return ERR_NONE;
    }
    if (e->op == OP_PATH || e->op == OP_IF_NOT_EXISTS) {
        const struct expr *path = e->op == OP_PATH ? e : e->args[0];
        const struct attr_value *v = expr_path_find(&path->path, before);
        if (v == NULL && e->op == OP_IF_NOT_EXISTS)
            return operand_value(a, e->args[1], before, out, why);
        if (v == NULL)
            return refuse(why, "The provided expression refers to an attribute that does not exist"
                               " in the item");
        *out = *v;
        return ERR_NONE;
    }
    struct attr_value x, y;
    int err = operand_value(a, e->args[0], before, &x, why);
    if (err == ERR_NONE)
        err = operand_value(a, e->args[1], before, &y, why);
    if (err != ERR_NONE)
        return err;
    enum attr_type want = e->op == OP_LIST_APPEND ? ATTR_L : ATTR_N;
    if (x.type != want || y.type != want)
        return refuse(why, wrong_operand);
    return want == ATTR_L ? append_lists(a, &x, &y, out)
                          : add_numbers(a, x.bytes, y.bytes, e->op == OP_MINUS, out, why);
}

/* ---- places ---- */

/* Changes are made in `item`; a value written there may be shared with `before` or with the
 * request, but the paths of one update never overlap, so nothing is changed inside of it. */
static struct attr_value *
find_parent(const struct update_action *action, struct attr_value *item)
{
    struct expr_path head = {action->path.steps, action->path.count - 1};
    const struct expr_step *last = &action->path.steps[head.count];
    struct attr_value *parent = (struct attr_value *)expr_path_find(&head, item);
    if (parent == NULL || parent->type != (last->is_index ? ATTR_L : ATTR_M))
        return NULL;
    return parent;
}

static struct attr_value *
find_child(struct attr_value *parent, const struct expr_step *step)
{
    if (!step->is_index)
        return attr_get(parent, step->name);
    return (uint64_t)step->index < parent->count ? &parent->elements[step->index] : NULL;
}

static int
put_child(struct arena *a, struct attr_value *parent, const struct expr_step *step,
          const struct attr_value *v)
{
    struct attr_value *child = find_child(parent, step);
    if (child != NULL) {
        *child = *v;
        return ERR_NONE;
    }
    if (!step->is_index)
        return attr_set(a, parent, step->name, v);
    struct attr_value longer = {.type = ATTR_L};
    struct attr_value one = {.type = ATTR_L, .elements = (struct attr_value *)v, .count = 1};
    int err = append_lists(a, parent, &one, &longer);
    if (err == ERR_NONE)
        *parent = longer;
    return err;
}

static void
remove_child(struct attr_value *parent, const struct expr_step *step)
{
    struct attr_value *child = find_child(parent, step);
    if (child == NULL)
        return;
    if (step->is_index)
        *child = (struct attr_value){0}; /* a hole */
    else
        attr_remove(parent, step->name);
}

/* ADD puts the elements of `b` into the set, DELETE takes them out: both are sorted. */
static int
merge_sets(struct arena *a, const struct attr_value *x, const struct attr_value *b, bool add,
           struct attr_value *out)
{
    *out = (struct attr_value){.type = x->type};
    int err = attr_list_room(a, out, x->count + (add ? b->count : 0));
    size_t i = 0, j = 0, n = 0;
    while (err == ERR_NONE && (i < x->count || (add && j < b->count))) {
        int c = i == x->count   ? 1
                : j == b->count ? -1
                                : attr_scalar_compare(&x->elements[i], &b->elements[j]);
        if (c < 0 || (c == 0 && add))
            out->elements[n++] = x->elements[i];
        else if (c > 0 && add)
            out->elements[n++] = b->elements[j];
        i += c <= 0;
        j += c >= 0;
    }
    out->count = n;
    return err;
}

static int
apply_change(struct arena *a, const struct update_action *action, struct attr_value *parent,
             const struct attr_value *v, struct buf *why)
{
    const struct expr_step *last = &action->path.steps[action->path.count - 1];
    struct attr_value *child = find_child(parent, last);
    struct attr_value result = *v;
    int err = ERR_NONE;
    if (action->verb != UPDATE_SET && child != NULL) {
        /* The value was evaluated before. NOLINTNEXTLINE(clang-analyzer-core.*) */
        if (child->type != v->type)
            return refuse(why, wrong_operand);
        if (v->type == ATTR_N)
            err = add_numbers(a, child->bytes, v->bytes, false, &result, why);
        else
            err = merge_sets(a, child, v, action->verb == UPDATE_ADD, &result);
    } else if (action->verb == UPDATE_DELETE) {
        return ERR_NONE;
    }
    if (err != ERR_NONE)
        return err;
    if (action->verb == UPDATE_DELETE && result.count == 0) {
        remove_child(parent, last);
        return ERR_NONE;
    }
    return put_child(a, parent, last, &result);
}

static void
close_holes(struct attr_value *v)
{
    size_t kept = 0;
    if (v->type != ATTR_L && v->type != ATTR_M)
        return;
    for (size_t i = 0; i < v->count; i++) {
        if (v->elements[i].type == 0)
            continue;
        close_holes(&v->elements[i]);
        if (kept != i) {
            v->elements[kept] = v->elements[i];
            if (v->type == ATTR_M)
                v->names[kept] = v->names[i];
        }
        kept++;
    }
    v->count = kept;
}

int
expr_update_apply(struct arena *a, const struct expr_update *u, const struct attr_value *before,
                  struct attr_value *item, struct buf *why)
{
    for (int removing = 0; removing < 2; removing++) {
        for (size_t i = 0; i < u->count; i++) {
            const struct update_action *action = &u->actions[i];
            struct attr_value v;
            if ((action->verb == UPDATE_REMOVE) != (removing == 1))
                continue;
            int err = action->operand == NULL ? ERR_NONE
                                              : operand_value(a, action->operand, before, &v, why);
            if (err != ERR_NONE)
                return err;
            struct attr_value *parent = find_parent(action, item);
            if (parent == NULL)
                return refuse(why, bad_path);
            if (removing)
                remove_child(parent, &action->path.steps[action->path.count - 1]);
            else
                err = apply_change(a, action, parent, &v, why);
            if (err != ERR_NONE)
                return err;
        }
    }
    close_holes(item);
    return ERR_NONE;
}
