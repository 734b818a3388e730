/*
 * Tables and items. Everything works on a db connection: inside apply() it sees and changes the
 * transaction, on a read connection it reads a snapshot; the mutating ones are only for apply().
 * Functions change items through table_apply_update(): attributes of others survive.
 */
#ifndef DARKROOM_METADATA_TABLE_H
#define DARKROOM_METADATA_TABLE_H

#include "base/db.h"
#include "metadata/item.h"

#define TABLE_NAME_MIN 3
#define TABLE_NAME_MAX 255
#define TABLES_MAX 2500

const char *table_schema(int version); /* SQL; as store_schema() */

struct table_key_attr {
    struct slice name;
    enum attr_type type; /* ATTR_S, ATTR_N, ATTR_B */
};

struct table {
    int64_t id;
    struct slice name;
    struct table_key_attr partition;
    struct table_key_attr sort; /* name.n = 0: none */
    int64_t created_ms;
    struct slice account_id;
    struct slice uuid;  /* TableId */
    int64_t item_count; /* exact */
    int64_t bytes;
    int64_t read_units; /* provisioned throughput as asked for; 0: pay per request */
    int64_t write_units;
};

bool table_name_ok(struct slice name); /* [a-zA-Z0-9_.-]{3,255} */
/* Strings copied into the arena. ERR_NOPARENT: no such table. */
int table_find(struct db_conn *conn, struct arena *a, struct slice name, struct table *out);
/* In name order after `after`. */
int table_list(struct db_conn *conn, struct slice after, int max,
               int (*fn)(void *arg, struct slice name), void *arg);
int table_apply_create(struct db_conn *conn, const struct table *t); /* ERR_EXISTS, ERR_INVALID */
int table_apply_delete(struct db_conn *conn, struct slice name);     /* ERR_NOPARENT */

/* The key attributes of an item, checked: ERR_INVALID when missing, of another type, empty or too
 * long, one sentence in `why` (may be NULL). */
int table_key_check(const struct table *t, const struct attr_value *item, struct buf *why);

/* ERR_NOTFOUND. The item and its bytes are in the arena. */
int table_get(struct db_conn *conn, struct arena *a, const struct table *t,
              const struct attr_value *key, struct attr_value *item);
/* Replaces. `old` (may be NULL) gets the replaced item, type 0 when there was none. ERR_TOOBIG. */
int table_apply_put(struct db_conn *conn, struct arena *a, const struct table *t,
                    const struct attr_value *item, struct attr_value *old);
int table_apply_delete_item(struct db_conn *conn, struct arena *a, const struct table *t,
                            const struct attr_value *key, struct attr_value *old);
/* SETs the attributes of `set` (top level, or inside one top-level map when the name holds a dot:
 * "thumbnails.small" - the map is made when missing) and removes those named in `remove`. With
 * `must_exist` an item that is gone stays gone: ERR_NOTFOUND. */
int table_apply_update(struct db_conn *conn, struct arena *a, const struct table *t,
                       const struct attr_value *key, const struct attr_value *set,
                       const struct slice *remove, size_t remove_count, bool must_exist);

enum table_sort_op {
    SORT_ALL,
    SORT_EQ,
    SORT_LT,
    SORT_LE,
    SORT_GT,
    SORT_GE,
    SORT_BETWEEN,
    SORT_BEGINS
};
struct table_range {
    const struct attr_value *partition; /* NULL: scan the whole table */
    enum table_sort_op op;
    const struct attr_value *low, *high; /* high for BETWEEN */
    bool backward;
    const struct attr_value *start_after; /* key item (ExclusiveStartKey), or NULL */
};
/* fn gets each item (decoded into a scratch arena, lent during the call); non-zero stops. */
typedef int (*table_item_fn)(void *arg, const struct attr_value *item, size_t stored_bytes);
int table_range(struct db_conn *conn, const struct table *t, const struct table_range *range,
                table_item_fn fn, void *arg);

#endif
