/*
 * The functions, as rows with a durable revision. Everybody reads immutable snapshots; a snapshot
 * belongs to what its connection sees, so the writer sees its own transaction and a reader its own
 * read snapshot.
 */
#ifndef DARKROOM_PIPELINE_REGISTRY_H
#define DARKROOM_PIPELINE_REGISTRY_H

#include "base/db.h"
#include "pipeline/native.h"

#define FUNCTIONS_MAX 64
#define FUNCTION_MEMORY_MB_MIN 128
#define FUNCTION_MEMORY_MB_MAX 10240
#define FUNCTION_TIMEOUT_S_MAX 900
#define FUNCTION_RETRIES_MAX 2
#define FUNCTION_EVENT_AGE_MIN_S 60
#define FUNCTION_EVENT_AGE_MAX_S 21600
#define FUNCTION_ENVIRONMENT_MAX (4u << 10) /* as Lambda's */
#define FUNCTION_CONCURRENCY_MAX 1000

struct store;
struct registry;

struct function {
    struct slice name;
    struct slice handler;
    int memory_mb;
    int timeout_s;
    struct slice environment; /* JSON object text */
    int reserved_concurrency; /* -1: none; 0: paused */
    int retries_max;          /* 2: three attempts */
    int event_age_max_s;
    struct slice on_failure; /* n = 0: the dead-letter queue alone */
    int64_t revision;        /* rises with every change, never reused */
    int64_t changed_ms;
    struct native_config native;
};

struct function_set { /* shared, immutable; refs counted */
    int64_t version;  /* rises with every change of any function */
    size_t count;
    struct function *functions; /* in name order */
    int refs;
    struct arena *arena;
};

/* Inserts native functions that are missing, with their defaults. One db_call(). */
int registry_open(struct registry **out, struct db *db);
/* Once the store is open, before anything is configured. */
void registry_bind(struct registry *r, struct store *store);
void registry_close(struct registry **r);

/* The functions as `conn` sees them (inside apply() or a read). One look-up when nothing changed.
 * Give back with registry_unref(). Any thread. */
int registry_get(struct registry *r, struct db_conn *conn, struct function_set **out);
void registry_unref(struct function_set **set);
const struct function *registry_find(const struct function_set *set, struct slice name);
/* The table that items of the native functions live in (TABLE of `metadata`); n = 0: none. */
struct slice registry_table(const struct function_set *set);

struct function_patch { /* a member is changed when its has_ flag is set */
    bool has_memory, has_timeout, has_environment, has_concurrency, has_retries, has_age,
        has_on_failure;
    int memory_mb, timeout_s, reserved_concurrency, retries_max, event_age_max_s;
    struct slice environment, on_failure;
};

/* Inside apply(). Checks the limits and the environment, raises the revision, makes what the new
 * environment needs (derived buckets, table). ERR_NOTFOUND function; ERR_INVALID / ERR_RANGE /
 * ERR_LOOP with one sentence in `why` (may be called again, so `why` is reset first). */
int registry_apply_set(struct registry *r, struct db_conn *conn, struct slice name,
                       const struct function_patch *patch, struct buf *why);
struct store *registry_store(struct registry *r);

#define FUNCTION_ARN_MAX 160
/* "arn:aws:lambda:us-east-1:000000000000:function:thumbnail"; any region and account is read. */
void function_arn(struct slice name, char out[FUNCTION_ARN_MAX]);
int function_arn_parse(struct slice arn, struct slice *name);

#endif
