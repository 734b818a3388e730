/*
 * Inside policies: the parsed form, patterns, conditions. Made by policy_parse.c, read by policy.c.
 */
#ifndef DARKROOM_OBJECTSTORE_POLICY_PRIV_H
#define DARKROOM_OBJECTSTORE_POLICY_PRIV_H

#include "base/arena.h"
#include "objectstore/policy.h"

/* ---- policy_pattern.c ---- */

struct pattern {
    struct slice text;  /* compiled: see policy_pattern.c */
    bool has_variables; /* to be filled from the request before it is matched */
    bool is_fixed;      /* neither wildcards nor variables: one text only */
    bool is_steady;     /* no variable but of steady keys */
};

#define PATTERN_WILD 1u      /* '*' and '?' are wildcards */
#define PATTERN_VARIABLES 2u /* ${aws:username}, ${s3:prefix, 'default'}, ${*} ${?} ${$} */

/* ERR_INVALID: an unknown variable, or wildcards too costly to seek. ERR_NOMEM. */
int pattern_compile(struct arena *a, struct slice text, unsigned flags, struct pattern *out);
/* Linear in the text. A variable without a value matches nothing. `text` with p = NULL: false. */
bool pattern_match(const struct pattern *p, struct slice text, const struct policy_request *rq);
bool pattern_equal(const struct pattern *p, struct slice text, const struct policy_request *rq,
                   bool ignore_case);
/* Each of the six parts of an ARN by itself: a wildcard does not pass a colon, but in the last. */
bool pattern_match_arn(const struct pattern *p, struct slice text, const struct policy_request *rq);
/* 0: absent. */
size_t policy_values(const struct policy_request *rq, enum policy_key key, struct slice tail,
                     struct slice out[POLICY_VALUES_MAX], char scratch[POLICY_SCRATCH]);
/* Has the same values for every object and version one request is about. */
bool policy_key_is_steady(enum policy_key key);
/* "s3:ExistingObjectTag/a" into key and tail; case ignored, but in the tail. ERR_NOTFOUND. */
int policy_key_find(struct slice name, enum policy_key *key, struct slice *tail);

/* ---- policy_cond.c ---- */

/* In this order the numeric and date tests compare: the request's value with the policy's. */
enum compare { COMPARE_EQ, COMPARE_LT, COMPARE_LE, COMPARE_GT, COMPARE_GE };

enum test_kind {
    TEST_STRING,
    TEST_STRING_NO_CASE,
    TEST_STRING_LIKE,
    TEST_ARN,
    TEST_NUMBER,
    TEST_DATE,
    TEST_BOOL,
    TEST_ADDRESS,
    TEST_NULL
};

enum condition_set { SET_NONE, SET_ANY, SET_ALL };

struct net {
    uint8_t bytes[16];
    int family;
    unsigned bits;
};

struct condition_value {
    struct pattern pattern; /* texts and ARNs */
    union {
        double number;
        int64_t ms;
        bool yes;
        struct net net;
    };
};

struct condition {
    enum test_kind kind;
    enum compare compare;
    enum condition_set set;
    bool negated;
    bool if_exists;
    enum policy_key key;
    struct slice tail;
    struct condition_value *values;
    size_t count;
    bool steady; /* the same for all that one request asks: memo[index] remembers it */
    size_t index;
};

/* "ForAnyValue:StringLikeIfExists" into the first five fields. ERR_NOTFOUND. */
int condition_operator(struct slice name, struct condition *c);
/* One value of the policy for c, with variables in it or not. ERR_INVALID: not of that kind;
 * ERR_NOMEM. */
int condition_value_parse(struct arena *a, const struct condition *c, struct slice text,
                          bool variables, struct condition_value *v);
bool condition_holds(const struct condition *c, const struct policy_request *rq);
/* Ties the statement to a fixed set in the sense of "The meaning of public". */
bool condition_fences(const struct condition *c);

/* ---- the parsed form ---- */

struct principal {
    bool is_canonical;
    struct slice id;   /* account id or canonical id */
    struct slice user; /* of arn:...:user/NAME: without path; n = 0: anyone of the account */
};

struct statement {
    bool allow;
    bool anybody; /* "*" is among the principals */
    bool not_principal;
    bool not_action;
    bool not_resource;
    struct principal *principals;
    size_t principal_count;
    struct pattern *actions; /* in lower case */
    size_t action_count;
    struct pattern *resources; /* behind "arn:aws:s3:::" */
    size_t resource_count;
    struct condition *conditions;
    size_t condition_count;
};

#define POLICY_MAGIC 0x9011c700u

struct policy {
    uint32_t magic;
    struct arena *arena;
    struct statement *statements;
    size_t count;
    size_t condition_count; /* of all statements */
};

#endif
