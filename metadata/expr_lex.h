/*
 * What the parsers of all expressions share: tokens, faults, document paths, operands.
 */
#ifndef DARKROOM_METADATA_EXPR_LEX_H
#define DARKROOM_METADATA_EXPR_LEX_H

#include "metadata/expr_priv.h"

enum expr_token_kind {
    TOKEN_END,
    TOKEN_WORD,
    TOKEN_NAME,
    TOKEN_VALUE,
    TOKEN_NUMBER,
    TOKEN_SYMBOL,
    TOKEN_BAD
};

struct expr_token {
    enum expr_token_kind kind;
    struct slice text;
};

/* A syntax error ends parsing. These are found on the way; the first of the lowest kind is told. */
enum expr_fault {
    FAULT_PARENS,
    FAULT_FUNCTION_NAME,
    FAULT_MISUSED,
    FAULT_RESERVED,
    FAULT_SECTION,
    FAULT_UNDEFINED,
    FAULT_LIMIT,
    FAULT_COUNT,
    FAULT_DISTINCT,
    FAULT_OVERLAP,
    FAULT_OPERAND,
    FAULT_KINDS
};

struct expr_parser {
    struct arena *arena;
    struct expr_env *env;
    const char *label; /* "FilterExpression" */
    struct slice text;
    size_t at; /* behind `token` */
    struct expr_token previous, token;
    int depth;
    int operators;
    int err; /* sticky: ERR_INVALID after a syntax error, ERR_NOMEM */
    const char *syntax;
    const char *faults[FAULT_KINDS];
};

/* Reads the first token. */
void expr_begin(struct expr_parser *p, struct arena *a, struct expr_env *env, const char *label,
                struct slice text);
/* The verdict, after everything was read: trailing tokens are a syntax error. */
int expr_finish(struct expr_parser *p, struct buf *why);

void expr_advance(struct expr_parser *p);
bool expr_is_symbol(const struct expr_parser *p, const char *symbol);
bool expr_is_word(const struct expr_parser *p, const char *word); /* case ignored */
/* Goes past the symbol, or is a syntax error. */
bool expr_expect(struct expr_parser *p, const char *symbol);
/* The current token does not belong here. */
void expr_syntax(struct expr_parser *p);
void expr_fault(struct expr_parser *p, enum expr_fault kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Around every recursive step; false past EXPR_DEPTH_MAX. */
bool expr_enter(struct expr_parser *p);
void expr_leave(struct expr_parser *p);

struct expr *expr_node(struct expr_parser *p, enum expr_op op, size_t args);
/* False after an error. */
bool expr_read_path(struct expr_parser *p, struct expr_path *out);
/* A document path or a :value; NULL after an error. */
struct expr *expr_read_leaf(struct expr_parser *p);
/* "(operand, ...)" after a function's name; operands by `read`. */
struct expr *expr_read_call(struct expr_parser *p, enum expr_op op,
                            struct expr *(*read)(struct expr_parser *p));

/* Sorts; overlapping or conflicting paths are a fault. */
void expr_sort_paths(struct expr_parser *p, struct expr_paths *paths);
/* Type of a literal value; 0 for a path and anything else known only later. */
enum attr_type expr_literal_type(const struct expr *e);
void expr_operand_type_fault(struct expr_parser *p, enum expr_op op, enum attr_type type);

#endif
