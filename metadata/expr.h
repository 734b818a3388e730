/*
 * DynamoDB's expressions: condition, filter, key condition, projection and update.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html
 *
 * Parsing happens once per request on the HTTP thread; judging and applying is read-only on what
 * was parsed, so it may happen later on the writer thread. Everything lives in the caller's arena.
 * A parser returns ERR_INVALID with DynamoDB's sentence in `why`, or ERR_NOMEM.
 */
#ifndef DARKROOM_METADATA_EXPR_H
#define DARKROOM_METADATA_EXPR_H

#include "metadata/table.h"

#define EXPR_BYTES_MAX 4096
#define EXPR_OPERATORS_MAX 300
#define EXPR_DEPTH_MAX 64 /* parentheses, NOT and functions inside each other */
#define EXPR_PATH_MAX ITEM_DEPTH_MAX
#define EXPR_IN_MAX 100

/* ExpressionAttributeNames and ExpressionAttributeValues; `name` includes '#' or ':'. */
struct expr_name {
    struct slice name;
    struct slice value;
    bool used;
};
struct expr_value {
    struct slice name;
    struct attr_value value;
    bool used;
};
struct expr_env {
    struct expr_name *names;
    size_t name_count;
    struct expr_value *values;
    size_t value_count;
};

enum expr_use { EXPR_CONDITION, EXPR_FILTER, EXPR_KEY_CONDITION };

struct expr;       /* a condition */
struct expr_paths; /* a projection */
struct expr_update;

int expr_parse_condition(struct arena *a, struct expr_env *env, enum expr_use use,
                         struct slice text, const struct expr **out, struct buf *why);
int expr_parse_projection(struct arena *a, struct expr_env *env, struct slice text,
                          const struct expr_paths **out, struct buf *why);
int expr_parse_update(struct arena *a, struct expr_env *env, struct slice text,
                      const struct expr_update **out, struct buf *why);
/* After all expressions of a request: names and values nobody used are an error. */
int expr_check_unused(const struct expr_env *env, struct buf *why);

bool expr_matches(const struct expr *e, const struct attr_value *item);
/* True when some document path begins with this attribute. */
bool expr_mentions(const struct expr *e, struct slice name);
/* A key condition as a range of the table: fills partition, op, low, high. */
int expr_key_range(const struct expr *e, const struct table *t, struct table_range *range,
                   struct buf *why);

/* The projected part of an item; shares its bytes. ERR_NOMEM. */
int expr_project(struct arena *a, const struct expr_paths *paths, const struct attr_value *item,
                 struct attr_value *out);

/* Refuses updates of key attributes. */
int expr_update_check(const struct expr_update *u, const struct table *t, struct buf *why);
/* Changes `item`, reading operands from `before` (type ATTR_M, maybe without attributes); the two
 * must not share maps or lists. ERR_INVALID with the sentence in `why`, ERR_NOMEM. */
int expr_update_apply(struct arena *a, const struct expr_update *u, const struct attr_value *before,
                      struct attr_value *item, struct buf *why);
/* False when it only takes away: then it does not make an item that is missing. */
bool expr_update_creates(const struct expr_update *u);
/* Every path the update names: UPDATED_OLD and UPDATED_NEW. */
const struct expr_paths *expr_update_paths(const struct expr_update *u);

#endif
