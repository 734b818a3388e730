/*
 * Notification rules of a bucket: which events of which keys go to which function. Kept as rows
 * beside the document; the document is what S3 clients read back.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html
 */
#ifndef DARKROOM_PIPELINE_RULE_H
#define DARKROOM_PIPELINE_RULE_H

#include "base/arena.h"
#include "pipeline/event.h"
#include "pipeline/registry.h"

#define RULES_PER_BUCKET_MAX 100
#define RULE_ID_MAX 255
#define RULE_ARENA_BYTES (1u << 20)

struct notification_rule {
    struct slice id;
    struct slice function;
    unsigned events; /* mask of event types */
    struct slice prefix;
    struct slice suffix;
};

struct rule_list {
    struct notification_rule *rules;
    size_t count;
};

/* ERR_INVALID with one sentence in `why`: malformed, unknown event or filter, a target that is no
 * function, the same function twice for overlapping events and keys. */
int rule_parse(struct arena *a, struct slice xml, struct rule_list *out, struct buf *why);
void rule_print(const struct rule_list *list, struct buf *xml);
bool rule_matches(const struct notification_rule *rule, enum event_type type, struct slice key);
/* The rules of a bucket as this connection sees them, in the order of the document. */
int rule_load(struct db_conn *conn, int64_t bucket_id, struct arena *a, struct rule_list *out);
/* Does a rule of the bucket give an object of that key to a native function of that kind?
 * NATIVE_NONE: of any. */
int rule_gives(struct db_conn *conn, struct arena *a, const struct function_set *set,
               int64_t bucket_id, struct slice key, enum native_kind kind, bool *gives);

/* struct s3_hooks.notification_set; `arg` is the struct registry. Checks the document (functions
 * exist, no cycle in the whole graph, derived names), replaces the bucket's rules, makes the
 * derived buckets (same owner) and the table they need. ERR_INVALID / ERR_LOOP with `why` (reset
 * first). */
int rule_notification_set(void *arg, struct db_conn *conn, const struct store_bucket *bucket,
                          struct slice xml, struct buf *why);
/* Both native functions on s3:ObjectCreated:* of a bucket, document included: the rules of a first
 * start and of `darkroom buckets add`. Replaces what was there. ERR_NOPARENT bucket. */
int rule_apply_natives(struct registry *r, struct db_conn *conn, struct slice bucket,
                       struct buf *why);

/* Of the whole graph as `conn` sees it: ERR_LOOP with "photos -> thumbnail -> photos" in `why`,
 * ERR_INVALID for a bad derived name or two sources on one derived bucket. */
int rule_graph_check(struct registry *r, struct db_conn *conn, const struct function_set *set,
                     struct buf *why);
/* The same, taking every row at its word: also of buckets that are gone. */
int rule_graph_judge(struct db_conn *conn, const struct function_set *set, struct buf *why);
/* Makes the derived buckets and the items' table that rules need: of all buckets, or of one. */
int rule_apply_targets(struct registry *r, struct db_conn *conn, const struct function_set *set,
                       struct buf *why);
int rule_apply_targets_of(struct registry *r, struct db_conn *conn, const struct function_set *set,
                          int64_t bucket_id, struct buf *why);

#endif
