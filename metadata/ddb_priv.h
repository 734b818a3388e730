/*
 * One DynamoDB request inside the service, and what the operations share.
 *
 * An operation is two functions. read() takes the parameters apart on the HTTP thread. run() does
 * the work and appends the answer's JSON to q->reply: for a reading operation on the HTTP thread
 * with a snapshot, for a writing one inside apply() on the writer thread, where it may be called
 * again: reply, fault and scratch are fresh each time, and it keeps nothing else.
 */
#ifndef DARKROOM_METADATA_DDB_PRIV_H
#define DARKROOM_METADATA_DDB_PRIV_H

#include "base/http.h"
#include "metadata/ddb_json.h"
#include "metadata/ddb_service.h"
#include "metadata/expr.h"
#include "metadata/item_priv.h"

#define DDB_BODY_MAX (4u << 20)
#define DDB_BATCH_BODY_MAX (16u << 20)
#define DDB_JSON_NODES_MAX 300000 /* brackets and commas of a body */
#define DDB_REQUEST_MEMORY_MAX (64u << 20)
#define DDB_REPLY_MAX (16u << 20)
#define DDB_PAGE_BYTES (1u << 20)     /* of items read by one query or scan */
#define DDB_PAGE_JSON_MAX (4u << 20)  /* of answer text, after which a page ends early */
#define DDB_PAGE_SKIP_MAX (16u << 20) /* bytes of other segments a scan passes over */
#define DDB_EXPRESSION_ENTRIES_MAX 2000

/* name, type as the client sees it, HTTP status */
#define DDB_ERROR_LIST(X)                                                                        \
    X(VALIDATION, "com.amazon.coral.validate#ValidationException", 400)                          \
    X(SERIALIZATION, "com.amazon.coral.service#SerializationException", 400)                     \
    X(TOO_LARGE, "com.amazon.coral.service#SerializationException", 413)                         \
    X(UNKNOWN_OPERATION, "com.amazon.coral.service#UnknownOperationException", 400)              \
    X(MISSING_TOKEN, "com.amazon.coral.service#MissingAuthenticationTokenException", 400)        \
    X(INCOMPLETE_SIGNATURE, "com.amazon.coral.service#IncompleteSignatureException", 400)        \
    X(UNRECOGNIZED_CLIENT, "com.amazon.coral.service#UnrecognizedClientException", 400)          \
    X(INVALID_SIGNATURE, "com.amazon.coral.service#InvalidSignatureException", 400)              \
    X(ACCESS_DENIED, "com.amazon.coral.service#AccessDeniedException", 400)                      \
    X(RESOURCE_NOT_FOUND, "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", 400)     \
    X(RESOURCE_IN_USE, "com.amazonaws.dynamodb.v20120810#ResourceInUseException", 400)           \
    X(CONDITION_FAILED, "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", 400) \
    X(LIMIT_EXCEEDED, "com.amazonaws.dynamodb.v20120810#LimitExceededException", 400)            \
    X(INTERNAL, "com.amazonaws.dynamodb.v20120810#InternalServerError", 500)                     \
    X(UNAVAILABLE, "com.amazon.coral.availability#ServiceUnavailableException", 503)

enum ddb_error {
    DDB_NO_ERROR,
#define X(name, type, status) DDB_##name,
    DDB_ERROR_LIST(X)
#undef X
};

struct ddb_operation;

struct ddb_request {
    struct db_op op;
    struct ddb_service *service;
    struct http_request *http;
    const struct ddb_operation *operation;
    json_t *body;
    struct arena *arena;   /* what read() makes */
    struct arena *scratch; /* what run() makes */
    void *plan;            /* read()'s, for run() */
    struct buf reply;
    enum ddb_error error;
    struct buf message;
    struct buf extra; /* further members of an error's JSON: ,"Item":{...} */
    bool sweep;       /* a table was deleted: remove its items afterwards */
};

struct ddb_operation {
    const char *name;
    int (*read)(struct ddb_request *q);
    int (*run)(struct ddb_request *q, struct db_conn *conn);
    bool writes;
    bool urgent; /* gives space back */
    size_t body_max;
};

extern const struct ddb_operation ddb_table_operations[]; /* each ends with name = NULL */
extern const struct ddb_operation ddb_item_operations[];
extern const struct ddb_operation ddb_query_operations[];
extern const struct ddb_operation ddb_batch_operations[];

const struct ddb_options *ddb_options_of(const struct ddb_request *q);

/* ---- errors (ddb_error.c) ---- */

int ddb_error_status(enum ddb_error error);
/* Records the failure; returns ERR_INVALID. */
int ddb_fail(struct ddb_request *q, enum ddb_error error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* For a result whose sentence is in q->message already: ERR_INVALID -> ValidationException,
 * ERR_UNSUPPORTED -> SerializationException; others are returned as they are. */
int ddb_fail_said(struct ddb_request *q, int err);
/* Names an error that nobody has named yet. */
void ddb_fail_err(struct ddb_request *q, int err);
/* {"__type": ..., "message": ...} */
void ddb_error_body(struct buf *out, enum ddb_error error, struct slice message,
                    struct slice extra);

/* ---- parameters (ddb_param.c): 0 or a recorded failure ---- */

enum ddb_return {
    RETURN_NONE,
    RETURN_ALL_OLD,
    RETURN_UPDATED_OLD,
    RETURN_ALL_NEW,
    RETURN_UPDATED_NEW
};
enum ddb_capacity { CAPACITY_NONE, CAPACITY_TOTAL, CAPACITY_INDEXES };

/* p = NULL when absent. */
int ddb_get_text(struct ddb_request *q, const json_t *from, const char *name, struct slice *out);
int ddb_get_flag(struct ddb_request *q, const json_t *from, const char *name, bool fallback,
                 bool *out);
/* -1 when absent. */
int ddb_get_count(struct ddb_request *q, const json_t *from, const char *name, int64_t min,
                  int64_t max, int64_t *out);
/* Index into `words` (ended by NULL); `fallback` when absent. */
int ddb_get_word(struct ddb_request *q, const json_t *from, const char *name,
                 const char *const *words, int fallback, int *out);
/* TableName, or the table part of its ARN. */
int ddb_get_table(struct ddb_request *q, const json_t *from, struct slice *out);
int ddb_check_table_name(struct ddb_request *q, struct slice name, struct slice *out);
int ddb_get_map(struct ddb_request *q, const json_t *from, const char *name,
                struct attr_value *out); /* type 0 when absent */
int ddb_get_capacity(struct ddb_request *q, const json_t *from, enum ddb_capacity *out);
/* ExpressionAttributeNames and ExpressionAttributeValues. */
int ddb_get_env(struct ddb_request *q, const json_t *from, struct expr_env *env);
/* Names and values without any expression, and those nobody used. */
int ddb_check_env(struct ddb_request *q, const struct expr_env *env, bool has_expression);
int ddb_get_condition(struct ddb_request *q, const json_t *from, const char *name,
                      struct expr_env *env, enum expr_use use, const struct expr **out);
int ddb_get_projection(struct ddb_request *q, const json_t *from, struct expr_env *env,
                       const struct expr_paths **out);
/* Parameters of this list (ended by NULL) are refused by name. */
int ddb_refuse_parameters(struct ddb_request *q, const json_t *from, const char *const *names);
/* Exactly the key attributes, of their types, not empty. */
int ddb_check_key(struct ddb_request *q, const struct table *t, const struct attr_value *key);

/* ---- answers (ddb_param.c) ---- */

int ddb_find_table(struct ddb_request *q, struct db_conn *conn, struct slice name, struct table *t);
double ddb_read_units(size_t bytes, bool consistent);
double ddb_write_units(size_t bytes);
/* "ConsumedCapacity" without a name: {"TableName": ...} */
void ddb_put_capacity(struct buf *out, enum ddb_capacity capacity, struct slice table,
                      double units);
/* Key attributes of an item. */
int ddb_key_of(struct arena *a, const struct table *t, const struct attr_value *item,
               struct attr_value *key);

#endif
