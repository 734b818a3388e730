/*
 * Tokens and document paths. One token of look-ahead; after a syntax error the current token
 * becomes the end, so every caller's loop ends by itself.
 */
#include "metadata/expr_lex.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define INDEX_DIGITS_MAX 9
#define CALL_ARGS_MAX 4 /* kept; no function takes more than two */

/* ---- tokens ---- */

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_word_char(char c)
{
    return is_letter(c) || is_digit(c) || c == '_';
}

/* The token from `at` on; returns the offset behind it. */
static size_t
lex(struct slice text, size_t at, struct expr_token *out)
{
    const char *p = text.p;
    while (at < text.n && (p[at] == ' ' || p[at] == '\t' || p[at] == '\r' || p[at] == '\n'))
        at++;
    size_t start = at;
    if (at == text.n) {
        *out = (struct expr_token){TOKEN_END, SLICE_LIT("<EOF>")};
        return at;
    }
    char c = p[at++];
    if (is_letter(c) || c == '#' || c == ':') {
        while (at < text.n && is_word_char(p[at]))
            at++;
        out->kind = c == '#' ? TOKEN_NAME : c == ':' ? TOKEN_VALUE : TOKEN_WORD;
        if (!is_letter(c) && at == start + 1)
            out->kind = TOKEN_BAD;
    } else if (is_digit(c)) {
        while (at < text.n && is_digit(p[at]))
            at++;
        out->kind = TOKEN_NUMBER;
    } else if (c == '<' || c == '>') {
        if (at < text.n && (p[at] == '=' || (c == '<' && p[at] == '>')))
            at++;
        out->kind = TOKEN_SYMBOL;
    } else {
        out->kind = c != '\0' && strchr("=(),.[]+-", c) != NULL ? TOKEN_SYMBOL : TOKEN_BAD;
    }
    out->text = slice_of(p + start, at - start);
    return at;
}

void
expr_advance(struct expr_parser *p)
{
    p->previous = p->token;
    p->at = lex(p->text, p->at, &p->token);
}

bool
expr_is_symbol(const struct expr_parser *p, const char *symbol)
{
    return p->err == ERR_NONE && p->token.kind == TOKEN_SYMBOL && slice_eqs(p->token.text, symbol);
}

bool
expr_is_word(const struct expr_parser *p, const char *word)
{
    return p->err == ERR_NONE && p->token.kind == TOKEN_WORD && slice_ieqs(p->token.text, word);
}

bool
expr_expect(struct expr_parser *p, const char *symbol)
{
    if (!expr_is_symbol(p, symbol)) {
        expr_syntax(p);
        return false;
    }
    expr_advance(p);
    return true;
}

/* ---- faults ---- */

static void
stop(struct expr_parser *p, int err)
{
    if (p->err == ERR_NONE)
        p->err = err;
    p->token = (struct expr_token){TOKEN_END, SLICE_LIT("<EOF>")};
}

void
expr_syntax(struct expr_parser *p)
{
    if (p->err != ERR_NONE)
        return;
    struct expr_token next = {TOKEN_END, SLICE_NONE};
    if (p->token.kind != TOKEN_END)
        lex(p->text, p->at, &next);
    const char *start = p->previous.text.n > 0       ? p->previous.text.p
                        : p->token.kind == TOKEN_END ? p->text.p
                                                     : p->token.text.p;
    const char *end = next.kind != TOKEN_END       ? next.text.p + next.text.n
                      : p->token.kind == TOKEN_END ? p->text.p + p->text.n
                                                   : p->token.text.p + p->token.text.n;
    p->syntax = arena_printf(p->arena, "Syntax error; token: \"%.*s\", near: \"%.*s\"",
                             SLICE_FMT(p->token.text), (int)(end - start), start);
    stop(p, p->syntax == NULL ? ERR_NOMEM : ERR_INVALID);
}

void
expr_fault(struct expr_parser *p, enum expr_fault kind, const char *fmt, ...)
{
    if (p->err != ERR_NONE || p->faults[kind] != NULL)
        return;
    va_list ap;
    struct buf text;
    buf_init(&text, 16u << 10);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    p->faults[kind] = text.err == ERR_NONE ? arena_dup(p->arena, buf_slice(&text)).p : NULL;
    buf_fini(&text);
    if (p->faults[kind] == NULL)
        stop(p, ERR_NOMEM);
}

bool
expr_enter(struct expr_parser *p)
{
    if (p->err != ERR_NONE)
        return false;
    if (++p->depth <= EXPR_DEPTH_MAX)
        return true;
    p->depth--;
    expr_fault(p, FAULT_LIMIT, "The expression nests too deep; levels allowed: %d", EXPR_DEPTH_MAX);
    stop(p, ERR_INVALID);
    return false;
}

void
expr_leave(struct expr_parser *p)
{
    p->depth--;
}

void
expr_begin(struct expr_parser *p, struct arena *a, struct expr_env *env, const char *label,
           struct slice text)
{
    *p = (struct expr_parser){.arena = a, .env = env, .label = label, .text = text};
    if (slice_trim(text).n == 0)
        expr_fault(p, FAULT_PARENS, "The expression can not be empty;");
    else if (text.n > EXPR_BYTES_MAX)
        expr_fault(p, FAULT_PARENS,
                   "Expression size has exceeded the maximum allowed size; expression size: %zu",
                   text.n);
    if (p->faults[FAULT_PARENS] != NULL)
        stop(p, ERR_INVALID);
    else
        p->at = lex(text, 0, &p->token);
}

int
expr_finish(struct expr_parser *p, struct buf *why)
{
    if (p->err == ERR_NONE && p->token.kind != TOKEN_END)
        expr_syntax(p);
    if (p->err == ERR_NONE && p->operators > EXPR_OPERATORS_MAX)
        expr_fault(p, FAULT_LIMIT, "The expression contains too many operators; operator count: %d",
                   p->operators);
    if (p->err == ERR_NOMEM)
        return ERR_NOMEM;
    const char *text = p->syntax;
    for (int i = 0; i < FAULT_KINDS && text == NULL; i++)
        text = p->faults[i];
    if (text == NULL)
        return p->err;
    buf_printf(why, "Invalid %s: %s", p->label, text);
    return ERR_INVALID;
}

/* ---- names and values ---- */

static struct slice
resolve_name(struct expr_parser *p, struct slice name)
{
    for (size_t i = 0; i < p->env->name_count; i++) {
        if (slice_eq(p->env->names[i].name, name)) {
            p->env->names[i].used = true;
            return p->env->names[i].value;
        }
    }
    expr_fault(p, FAULT_UNDEFINED,
               "An expression attribute name used in the document path is not defined; attribute"
               " name: %.*s",
               SLICE_FMT(name));
    return name;
}

/* NULL when it is not defined. */
static const struct attr_value *
resolve_value(struct expr_parser *p, struct slice name)
{
    for (size_t i = 0; i < p->env->value_count; i++) {
        if (slice_eq(p->env->values[i].name, name)) {
            p->env->values[i].used = true;
            return &p->env->values[i].value;
        }
    }
    expr_fault(p, FAULT_UNDEFINED,
               "An expression attribute value used in expression is not defined; attribute value:"
               " %.*s",
               SLICE_FMT(name));
    return NULL;
}

/* A quoted list "{a, b}" of what nobody used, or nothing. */
int
expr_check_unused(const struct expr_env *env, struct buf *why)
{
    const char *before =
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {";
    int err = ERR_NONE;
    for (size_t i = 0; i < env->name_count; i++) {
        if (env->names[i].used)
            continue;
        buf_printf(why, "%s%.*s", before, SLICE_FMT(env->names[i].name));
        before = ", ";
        err = ERR_INVALID;
    }
    if (err == ERR_NONE) {
        before = "Value provided in ExpressionAttributeValues unused in expressions: keys: {";
        for (size_t i = 0; i < env->value_count; i++) {
            if (env->values[i].used)
                continue;
            buf_printf(why, "%s%.*s", before, SLICE_FMT(env->values[i].name));
            before = ", ";
            err = ERR_INVALID;
        }
    }
    if (err != ERR_NONE)
        buf_putc(why, '}');
    return err;
}

/* ---- nodes ---- */

struct expr *
expr_node(struct expr_parser *p, enum expr_op op, size_t args)
{
    struct expr *e = p->err != ERR_NONE ? NULL : arena_alloc(p->arena, sizeof *e);
    if (e != NULL && args > 0) {
        e->args = arena_alloc(p->arena, args * sizeof *e->args);
        e->count = args;
    }
    if (e == NULL || (args > 0 && e->args == NULL)) {
        stop(p, ERR_NOMEM);
        return NULL;
    }
    e->op = op;
    return e;
}

static bool
read_name(struct expr_parser *p, struct expr_step *step)
{
    static const char *const keywords[] = {"AND", "OR", "NOT", "IN", "BETWEEN"};
    static const char *const sections[] = {"SET", "REMOVE", "ADD", "DELETE"};
    bool update = strcmp(p->label, "UpdateExpression") == 0;
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (expr_is_word(p, keywords[i]))
            expr_syntax(p);
    for (size_t i = 0; update && i < sizeof sections / sizeof sections[0]; i++)
        if (expr_is_word(p, sections[i]))
            expr_syntax(p);
    *step = (struct expr_step){.name = p->token.text};
    if (p->token.kind == TOKEN_NAME)
        step->name = resolve_name(p, p->token.text);
    else if (p->token.kind != TOKEN_WORD)
        expr_syntax(p);
    else if (expr_word_reserved(p->token.text))
        expr_fault(p, FAULT_RESERVED,
                   "Attribute name is a reserved keyword; reserved keyword: %.*s",
                   SLICE_FMT(p->token.text));
    if (p->err != ERR_NONE)
        return false;
    expr_advance(p);
    return true;
}

static bool
read_index(struct expr_parser *p, struct expr_step *step)
{
    uint64_t index = 0;
    if (p->token.kind != TOKEN_NUMBER) {
        expr_syntax(p);
        return false;
    }
    if (p->token.text.n > INDEX_DIGITS_MAX)
        expr_fault(p, FAULT_LIMIT, "List index is not within the allowable range; index: [%.*s]",
                   SLICE_FMT(p->token.text));
    else
        slice_to_u64(p->token.text, &index);
    *step = (struct expr_step){.is_index = true, .index = (int64_t)index};
    expr_advance(p);
    return expr_expect(p, "]");
}

bool
expr_read_path(struct expr_parser *p, struct expr_path *out)
{
    struct expr_step steps[EXPR_PATH_MAX];
    struct expr_step step;
    size_t n = 1;
    if (!read_name(p, &steps[0]))
        return false;
    while (expr_is_symbol(p, ".") || expr_is_symbol(p, "[")) {
        bool index = expr_is_symbol(p, "[");
        expr_advance(p);
        if (index ? !read_index(p, &step) : !read_name(p, &step))
            return false;
        if (n < EXPR_PATH_MAX)
            steps[n] = step;
        n++;
    }
    if (n > EXPR_PATH_MAX)
        expr_fault(p, FAULT_LIMIT,
                   "The document path has too many nesting elements; nesting levels: %zu", n);
    n = n < EXPR_PATH_MAX ? n : EXPR_PATH_MAX;
    out->steps = p->err != ERR_NONE ? NULL : arena_alloc(p->arena, n * sizeof steps[0]);
    out->count = n;
    if (out->steps == NULL) {
        stop(p, ERR_NOMEM);
        return false;
    }
    memcpy(out->steps, steps, n * sizeof steps[0]);
    return true;
}

struct expr *
expr_read_leaf(struct expr_parser *p)
{
    struct expr *e;
    if (p->token.kind == TOKEN_VALUE) {
        e = expr_node(p, OP_VALUE, 0);
        if (e != NULL) {
            e->value_name = p->token.text;
            e->value = resolve_value(p, p->token.text);
            expr_advance(p);
        }
        return e;
    }
    e = expr_node(p, OP_PATH, 0);
    return e != NULL && expr_read_path(p, &e->path) ? e : NULL;
}

struct expr *
expr_read_call(struct expr_parser *p, enum expr_op op, struct expr *(*read)(struct expr_parser *p))
{
    struct expr *args[CALL_ARGS_MAX] = {NULL};
    size_t n = 0;
    p->operators++;
    if (!expr_expect(p, "(") || !expr_enter(p))
        return NULL;
    do {
        struct expr *arg = read(p);
        if (arg == NULL)
            break;
        if (n < CALL_ARGS_MAX)
            args[n] = arg;
        n++;
    } while (expr_is_symbol(p, ",") && (expr_advance(p), true));
    expr_leave(p);
    if (!expr_expect(p, ")"))
        return NULL;
    size_t want = op == OP_EXISTS || op == OP_NOT_EXISTS || op == OP_SIZE ? 1 : 2;
    if (n != want)
        expr_fault(p, FAULT_COUNT,
                   "Incorrect number of operands for operator or function; operator or function:"
                   " %s, number of operands: %zu",
                   expr_op_name(op), n);
    struct expr *e = expr_node(p, op, want);
    for (size_t i = 0; e != NULL && i < want; i++)
        e->args[i] = args[i] != NULL ? args[i] : args[0];
    return e;
}

enum attr_type
expr_literal_type(const struct expr *e)
{
    return e->op == OP_VALUE && e->value != NULL ? e->value->type : (enum attr_type)0;
}

void
expr_operand_type_fault(struct expr_parser *p, enum expr_op op, enum attr_type type)
{
    expr_fault(p, FAULT_OPERAND,
               "Incorrect operand type for operator or function; operator or function: %s, operand"
               " type: %s",
               expr_op_name(op), attr_type_name(type));
}

const char *
expr_op_name(enum expr_op op)
{
    static const char *const names[] = {
#define X(id, name) name,
        EXPR_OP_LIST(X)
#undef X
    };
    return names[op];
}

/* ---- paths ---- */

int
expr_step_compare(const struct expr_step *a, const struct expr_step *b)
{
    if (a->is_index != b->is_index)
        return a->is_index ? -1 : 1;
    if (a->is_index)
        return (a->index > b->index) - (a->index < b->index);
    return slice_cmp(a->name, b->name);
}

int
expr_path_compare(const struct expr_path *a, const struct expr_path *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        int c = expr_step_compare(&a->steps[i], &b->steps[i]);
        if (c != 0)
            return c;
    }
    return (a->count > b->count) - (a->count < b->count);
}

void
expr_path_print(struct buf *out, const struct expr_path *path)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < path->count; i++) {
        if (i > 0)
            buf_puts(out, ", ");
        if (path->steps[i].is_index)
            buf_printf(out, "[%lld]", (long long)path->steps[i].index);
        else
            buf_put_slice(out, path->steps[i].name);
    }
    buf_putc(out, ']');
}

static int
compare_paths(const void *a, const void *b)
{
    return expr_path_compare(a, b);
}

/* Two sorted neighbours: one begins the other, or they take the same place for a list and a map. */
static void
check_neighbours(struct expr_parser *p, const struct expr_path *a, const struct expr_path *b)
{
    size_t same = 0;
    while (same < a->count && same < b->count &&
           expr_step_compare(&a->steps[same], &b->steps[same]) == 0)
        same++;
    bool overlap = same == a->count || same == b->count;
    if (!overlap && a->steps[same].is_index == b->steps[same].is_index)
        return;
    struct buf text;
    buf_init(&text, 4 * EXPR_BYTES_MAX);
    expr_path_print(&text, a);
    buf_puts(&text, ", path two: ");
    expr_path_print(&text, b);
    expr_fault(p, FAULT_OVERLAP,
               "Two document paths %s with each other; must remove or rewrite one of these paths;"
               " path one: %s",
               overlap ? "overlap" : "conflict", text.err == ERR_NONE ? text.p : "");
    buf_fini(&text);
}

void
expr_sort_paths(struct expr_parser *p, struct expr_paths *paths)
{
    if (p->err != ERR_NONE || paths->count < 2)
        return;
    qsort(paths->paths, paths->count, sizeof *paths->paths, compare_paths);
    /* All paths that begin alike are neighbours, so looking at neighbours finds every clash. */
    for (size_t i = 1; i < paths->count; i++)
        check_neighbours(p, &paths->paths[i - 1], &paths->paths[i]);
}

const struct attr_value *
expr_path_find(const struct expr_path *path, const struct attr_value *item)
{
    const struct attr_value *v = item;
    for (size_t i = 0; i < path->count && v != NULL; i++) {
        const struct expr_step *step = &path->steps[i];
        if (!step->is_index)
            v = attr_get(v, step->name);
        else if (v->type == ATTR_L && (uint64_t)step->index < v->count)
            v = &v->elements[step->index];
        else
            v = NULL;
    }
    return v;
}
