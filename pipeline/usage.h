/*
 * What was used, for whom: processor time, memory x time, invocations, bytes. Kept per UTC day,
 * bucket, first component of the key, function and preset, in the transaction of the result it
 * belongs to; so the account survives whatever the result survives, and counts nothing twice.
 *
 * One invocation is divided into rows:
 *
 *   (decode)     reading the header and decoding: once for all functions called, in equal parts
 *   small ...    each preset: shaping and encoding it
 *   (function)   what the function does besides, and what is left: messages, copying, clean-up
 *
 * The processor time of the whole is measured by the server (runtime.h); what the worker says of
 * its parts only divides it. What workers use outside invocations is the row "(start)" of the
 * function "(worker)", of no bucket. So the sum over all rows is what the processes have used,
 * less what is not yet written: at most a second's idle work, and what a failing disk refused.
 *
 * Memory x time is billed as Lambda does: the memory that the function is configured with (not what
 * it used) times the duration, rounded up to 1 ms. Functions that share an invocation share one
 * worker and so that product; it is divided like the processor time. Attempts that failed count.
 */
#ifndef DARKROOM_PIPELINE_USAGE_H
#define DARKROOM_PIPELINE_USAGE_H

#include "base/db.h"
#include "functions/fn.h"

#define USAGE_DECODE "(decode)"
#define USAGE_FUNCTION "(function)"
#define USAGE_ON_THE_FLY "(on the fly)" /* all presets of pictures on the fly */
#define USAGE_WORKER "(worker)"
#define USAGE_START "(start)"
#define USAGE_OTHER "(other)"

#define USAGE_DAYS_MAX 400 /* kept; then the oldest goes */
/* Rows of one day: above the first, keys without a row yet count for the prefix "(other)" of their
 * bucket; above the second, for the bucket "(other)". */
#define USAGE_PREFIX_ROWS_MAX 1000
#define USAGE_ROWS_MAX 2000
#define USAGE_PREFIX_BYTES_MAX 256 /* a longer first component is "(other)" */

struct usage_sums {
    int64_t invocations;
    int64_t pictures; /* made, stored or not */
    int64_t cpu_us;
    int64_t mb_ms;     /* memory x billed duration */
    int64_t bytes_in;  /* of sources, per function that read them */
    int64_t bytes_out; /* of pictures */
};

struct usage_call {
    struct slice function;
    const struct fn_answer *answer; /* NULL: it failed as a whole */
    bool on_the_fly;
};

struct usage_invocation {
    int64_t started_ms;
    struct slice bucket;
    struct slice key;
    int64_t source_bytes;
    int memory_mb;
    int64_t run_us;
    int64_t cpu_us;
    struct fn_cost decode; /* as the worker says */
    struct usage_call calls[FN_PER_REQUEST_MAX];
    size_t call_count;
};

/* A row without its place. */
struct usage_part {
    struct slice function;
    struct slice preset;
    struct usage_sums sums;
};
#define USAGE_PARTS_MAX (FN_PER_REQUEST_MAX * (2 + FN_OUTPUTS_MAX))
/* The rows of an invocation; their sums are exactly its own. Parts say at most FN_COST_US_MAX each.
 * Returns their number. */
size_t usage_divide(const struct usage_invocation *inv, struct usage_part parts[USAGE_PARTS_MAX]);

int64_t usage_billed_ms(int64_t run_us);

/* Inside apply(). */
int usage_apply_invocation(struct db_conn *conn, const struct usage_invocation *inv);
int usage_apply_idle(struct db_conn *conn, int64_t day, int64_t cpu_us);
/* UTC, days since 1970-01-01. */
int64_t usage_day(int64_t wall_ms);

/* ---- reading ---- */

#define USAGE_BY_LIST(X)    \
    X(PRESET, "preset")     \
    X(PREFIX, "prefix")     \
    X(DAY, "day")           \
    X(FUNCTION, "function") \
    X(BUCKET, "bucket")
enum usage_by {
#define X(id, name) USAGE_BY_##id,
    USAGE_BY_LIST(X)
#undef X
        USAGE_BY_COUNT
};
/* ERR_INVALID for another word. */
int usage_by_parse(struct slice word, enum usage_by *by);
const char *usage_by_name(enum usage_by by);

/* The first day >= `day` with rows: ERR_NOTFOUND when there is none. */
int usage_next_day(struct db_conn *conn, int64_t day, int64_t *found);
/* The rows of one day, joined by what is asked for. `bucket` is empty unless by prefix or bucket;
 * `name` is empty when by day. Lent. */
typedef int (*usage_fn)(void *arg, struct slice bucket, struct slice name,
                        const struct usage_sums *sums);
int usage_of_day(struct db_conn *conn, int64_t day, enum usage_by by, usage_fn fn, void *arg);

#endif
