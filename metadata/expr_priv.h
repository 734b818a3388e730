/*
 * The parsed form of expressions, shared by expr_parse.c, expr_eval.c and expr_update.c.
 */
#ifndef DARKROOM_METADATA_EXPR_PRIV_H
#define DARKROOM_METADATA_EXPR_PRIV_H

#include "metadata/expr.h"
#include "metadata/item_priv.h"

struct expr_step {
    bool is_index;
    int64_t index;
    struct slice name;
};

struct expr_path {
    struct expr_step *steps;
    size_t count;
};

/* Sorted by steps: indexes before names, a path before the longer ones it begins. */
struct expr_paths {
    struct expr_path *paths;
    size_t count;
};

/* Operators as they appear in messages. */
#define EXPR_OP_LIST(X)                   \
    X(PATH, "")                           \
    X(VALUE, "")                          \
    X(SIZE, "size")                       \
    X(EQ, "=")                            \
    X(NE, "<>")                           \
    X(LT, "<")                            \
    X(LE, "<=")                           \
    X(GT, ">")                            \
    X(GE, ">=")                           \
    X(BETWEEN, "BETWEEN")                 \
    X(IN, "IN")                           \
    X(AND, "AND")                         \
    X(OR, "OR")                           \
    X(NOT, "NOT")                         \
    X(EXISTS, "attribute_exists")         \
    X(NOT_EXISTS, "attribute_not_exists") \
    X(TYPE, "attribute_type")             \
    X(BEGINS, "begins_with")              \
    X(CONTAINS, "contains")               \
    X(IF_NOT_EXISTS, "if_not_exists")     \
    X(LIST_APPEND, "list_append")         \
    X(PLUS, "+")                          \
    X(MINUS, "-")

enum expr_op {
#define X(id, name) OP_##id,
    EXPR_OP_LIST(X)
#undef X
};

struct expr {
    enum expr_op op;
    bool in_parens;
    struct expr_path path;          /* OP_PATH */
    const struct attr_value *value; /* OP_VALUE */
    struct slice value_name;        /* OP_VALUE: ":v" */
    struct expr **args;
    size_t count;
};

enum update_verb { UPDATE_SET, UPDATE_REMOVE, UPDATE_ADD, UPDATE_DELETE };

struct update_action {
    enum update_verb verb;
    struct expr_path path;
    const struct expr *operand; /* NULL for REMOVE */
};

struct expr_update {
    struct update_action *actions; /* sorted by path */
    size_t count;
    struct expr_paths paths;
};

const char *expr_op_name(enum expr_op op);
bool expr_word_reserved(struct slice word);

int expr_step_compare(const struct expr_step *a, const struct expr_step *b);
int expr_path_compare(const struct expr_path *a, const struct expr_path *b);
/* "[a, b, [0]]" */
void expr_path_print(struct buf *out, const struct expr_path *p);
/* The attribute at the path, or NULL. */
const struct attr_value *expr_path_find(const struct expr_path *p, const struct attr_value *item);

#endif
