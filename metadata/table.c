/*
 * Tables and items in two relations: tbl holds a row per table, item a row per item, clustered by
 * (table, partition key bytes, sort key bytes), so a query and a scan are range reads.
 *
 * Invariants: (1) tbl.item_count and tbl.bytes equal the count and the sum of `size` of the
 * table's items at every commit. (2) Table ids come from the database's counter and are never used
 * again, so the items of a deleted table are invisible at once; its id waits in tbl_dropped until
 * table_apply_sweep() has removed them in small bites. (3) Every stored item holds its own key
 * attributes; pk and sk are derived from them.
 */
#include "metadata/table_priv.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "metadata/item_priv.h"
#include "metadata/key.h"

#include <stdio.h>

static const char schema_1[] = "CREATE TABLE tbl("
                               " id INTEGER PRIMARY KEY,"
                               " name TEXT NOT NULL UNIQUE,"
                               " uuid TEXT NOT NULL,"
                               " account_id TEXT NOT NULL,"
                               " created_ms INTEGER NOT NULL,"
                               " pk_name TEXT NOT NULL, pk_type INTEGER NOT NULL,"
                               " sk_name TEXT NOT NULL, sk_type INTEGER NOT NULL,"
                               " item_count INTEGER NOT NULL, bytes INTEGER NOT NULL,"
                               " read_units INTEGER NOT NULL, write_units INTEGER NOT NULL);"
                               "CREATE TABLE tbl_dropped(id INTEGER PRIMARY KEY);"
                               "CREATE TABLE item("
                               " table_id INTEGER NOT NULL,"
                               " pk BLOB NOT NULL,"
                               " sk BLOB NOT NULL,"
                               " size INTEGER NOT NULL,"
                               " attrs BLOB NOT NULL,"
                               " PRIMARY KEY(table_id, pk, sk)) WITHOUT ROWID;";

const char *
table_schema(int version)
{
    return version == 1 ? schema_1 : NULL;
}

/* ---- tables ---- */

bool
table_name_ok(struct slice name)
{
    if (name.n < TABLE_NAME_MIN || name.n > TABLE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '.' || c == '-';
        if (!ok)
            return false;
    }
    return true;
}

/* Fills one string of the row; false when the arena is full. */
static bool
take_text(struct arena *a, struct db_stmt *s, int column, struct slice *out)
{
    *out = arena_dup(a, db_column_blob(s, column));
    return out->p != NULL;
}

int
table_find(struct db_conn *conn, struct arena *a, struct slice name, struct table *t)
{
    *t = (struct table){0};
    struct db_stmt *s = db_prepare(
        conn, "SELECT id, uuid, account_id, created_ms, pk_name, pk_type, sk_name, sk_type,"
              " item_count, bytes, read_units, write_units, name FROM tbl WHERE name = ?1");
    db_bind_text(s, 1, name);
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOPARENT : rc;
    bool ok = take_text(a, s, 1, &t->uuid) && take_text(a, s, 2, &t->account_id) &&
              take_text(a, s, 4, &t->partition.name) && take_text(a, s, 6, &t->sort.name) &&
              take_text(a, s, 12, &t->name);
    t->id = db_column_int(s, 0);
    t->created_ms = db_column_int(s, 3);
    t->partition.type = (enum attr_type)db_column_int(s, 5);
    t->sort.type = (enum attr_type)db_column_int(s, 7);
    t->item_count = db_column_int(s, 8);
    t->bytes = db_column_int(s, 9);
    t->read_units = db_column_int(s, 10);
    t->write_units = db_column_int(s, 11);
    db_reset(s);
    return ok ? ERR_NONE : ERR_NOMEM;
}

int
table_list(struct db_conn *conn, struct slice after, int max,
           int (*fn)(void *arg, struct slice name), void *arg)
{
    struct db_stmt *s =
        db_prepare(conn, "SELECT name FROM tbl WHERE name > ?1 ORDER BY name LIMIT ?2");
    db_bind_text(s, 1, after);
    db_bind_int(s, 2, max);
    int rc;
    while ((rc = db_step(s)) == DB_ROW) {
        int stop = fn(arg, db_column_blob(s, 0));
        if (stop != 0) {
            db_reset(s);
            return stop < 0 ? stop : ERR_NONE;
        }
    }
    return rc;
}

static bool
key_attr_ok(const struct table_key_attr *k)
{
    return k->name.n > 0 && k->name.n <= 255 &&
           (k->type == ATTR_S || k->type == ATTR_N || k->type == ATTR_B);
}

#define UUID_TEXT 37

static void
uuid_make(char out[UUID_TEXT])
{
    uint8_t r[16];
    char hex[33];
    random_bytes(r, sizeof r);
    r[6] = (uint8_t)((r[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
    r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
    hex_encode(r, sizeof r, hex);
    snprintf(out, UUID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
}

static int
table_count(struct db_conn *conn, int64_t *count)
{
    struct db_stmt *s = db_prepare(conn, "SELECT count(*) FROM tbl");
    int rc = db_step(s);
    if (rc == DB_ROW) {
        *count = db_column_int(s, 0);
        db_reset(s);
    }
    return rc == DB_ROW ? ERR_NONE : rc == DB_DONE ? ERR_CORRUPT : rc;
}

int
table_apply_create(struct db_conn *conn, const struct table *t)
{
    char uuid[UUID_TEXT];
    int64_t count = 0;
    if (!table_name_ok(t->name) || !key_attr_ok(&t->partition) ||
        (t->sort.name.n > 0 &&
         (!key_attr_ok(&t->sort) || slice_eq(t->sort.name, t->partition.name))))
        return ERR_INVALID;
    int err = table_count(conn, &count);
    if (err != ERR_NONE)
        return err;
    if (count >= TABLES_MAX)
        return ERR_TOOBIG;
    uuid_make(uuid);
    struct db_stmt *s = db_prepare(
        conn, "INSERT INTO tbl(id, name, uuid, account_id, created_ms, pk_name, pk_type, sk_name,"
              " sk_type, item_count, bytes, read_units, write_units)"
              " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, ?10, ?11)");
    db_bind_int(s, 1, db_next(conn));
    db_bind_text(s, 2, t->name);
    db_bind_text(s, 3, t->uuid.n > 0 ? t->uuid : slice_str(uuid));
    db_bind_text(s, 4, t->account_id);
    db_bind_int(s, 5, t->created_ms > 0 ? t->created_ms : clock_wall_ms());
    db_bind_text(s, 6, t->partition.name);
    db_bind_int(s, 7, t->partition.type);
    db_bind_text(s, 8, t->sort.name);
    db_bind_int(s, 9, t->sort.name.n > 0 ? (int64_t)t->sort.type : 0);
    db_bind_int(s, 10, t->read_units);
    db_bind_int(s, 11, t->write_units);
    return db_run(s);
}

int
table_apply_delete(struct db_conn *conn, struct slice name)
{
    struct db_stmt *s =
        db_prepare(conn, "INSERT INTO tbl_dropped(id) SELECT id FROM tbl WHERE name = ?1");
    db_bind_text(s, 1, name);
    int err = db_run(s);
    if (err != ERR_NONE)
        return err;
    if (db_changes(conn) == 0)
        return ERR_NOPARENT;
    s = db_prepare(conn, "DELETE FROM tbl WHERE name = ?1");
    db_bind_text(s, 1, name);
    return db_run(s);
}

/* Key bytes of the row `rows_max` places into the table; DB_DONE when it has no more rows. */
static int
sweep_border(struct db_conn *conn, int64_t id, int64_t rows_max, struct buf *pk, struct buf *sk)
{
    struct db_stmt *s = db_prepare(
        conn, "SELECT pk, sk FROM item WHERE table_id = ?1 ORDER BY pk, sk LIMIT 1 OFFSET ?2");
    db_bind_int(s, 1, id);
    db_bind_int(s, 2, rows_max);
    int rc = db_step(s);
    if (rc == DB_ROW) {
        buf_put_slice(pk, db_column_blob(s, 0));
        buf_put_slice(sk, db_column_blob(s, 1));
        db_reset(s);
    }
    return rc;
}

int
table_apply_sweep(struct db_conn *conn, int64_t rows_max, bool *more)
{
    struct buf pk, sk;
    *more = false;
    struct db_stmt *s = db_prepare(conn, "SELECT id FROM tbl_dropped ORDER BY id LIMIT 1");
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc;
    int64_t id = db_column_int(s, 0);
    db_reset(s);
    buf_init(&pk, KEY_PARTITION_MAX);
    buf_init(&sk, KEY_SORT_MAX);
    rc = sweep_border(conn, id, rows_max, &pk, &sk);
    if (rc == DB_ROW) {
        s = db_prepare(conn, "DELETE FROM item WHERE table_id = ?1 AND (pk, sk) < (?2, ?3)");
        db_bind_int(s, 1, id);
        db_bind_blob(s, 2, buf_slice(&pk));
        db_bind_blob(s, 3, buf_slice(&sk));
        rc = db_run(s);
    } else if (rc == DB_DONE) {
        s = db_prepare(conn, "DELETE FROM item WHERE table_id = ?1");
        db_bind_int(s, 1, id);
        rc = db_run(s);
        s = db_prepare(conn, "DELETE FROM tbl_dropped WHERE id = ?1");
        db_bind_int(s, 1, id);
        rc = rc == ERR_NONE ? db_run(s) : rc;
    }
    buf_fini(&pk);
    buf_fini(&sk);
    *more = true; /* perhaps another table; the call that finds none says so */
    return rc;
}

/* ---- keys ---- */

#define BAD_PARAMETER "One or more parameter values were invalid: "

static int
key_attr_check(const struct table_key_attr *k, const struct attr_value *item, bool is_sort,
               struct buf *why)
{
    const struct attr_value *v = attr_get(item, k->name);
    size_t bytes_max = is_sort ? KEY_SORT_MAX : KEY_PARTITION_MAX;
    if (v != NULL && v->type == k->type && v->bytes.n > 0 &&
        (v->type == ATTR_N || v->bytes.n <= bytes_max))
        return ERR_NONE;
    if (why == NULL)
        return ERR_INVALID;
    if (v == NULL)
        buf_printf(why, BAD_PARAMETER "Missing the key %.*s in the item", SLICE_FMT(k->name));
    else if (v->type != k->type)
        buf_printf(why, BAD_PARAMETER "Type mismatch for key %.*s expected: %s actual: %s",
                   SLICE_FMT(k->name), attr_type_name(k->type), attr_type_name(v->type));
    else if (v->bytes.n == 0)
        buf_printf(why,
                   "One or more parameter values are not valid. The AttributeValue for a key"
                   " attribute cannot contain an empty %s value. Key: %.*s",
                   v->type == ATTR_B ? "binary" : "string", SLICE_FMT(k->name));
    else if (is_sort)
        buf_puts(why, BAD_PARAMETER "Aggregated size of all range keys has exceeded the size limit"
                                    " of 1024 bytes");
    else /* "of2048" is how the service words it */
        buf_puts(why, BAD_PARAMETER "Size of hashkey has exceeded the maximum size limit of2048"
                                    " bytes");
    return ERR_INVALID;
}

int
table_key_check(const struct table *t, const struct attr_value *item, struct buf *why)
{
    int err = key_attr_check(&t->partition, item, false, why);
    if (err == ERR_NONE && t->sort.name.n > 0)
        err = key_attr_check(&t->sort, item, true, why);
    return err;
}

struct keys {
    struct buf pk, sk;
};

static void
keys_fini(struct keys *k)
{
    buf_fini(&k->pk);
    buf_fini(&k->sk);
}

/* Always keys_fini() afterwards. */
static int
keys_make(const struct table *t, const struct attr_value *item, struct keys *k)
{
    buf_init(&k->pk, KEY_PARTITION_MAX + 1); /* the successor of the longest key fits */
    buf_init(&k->sk, KEY_SORT_MAX + 1);
    int err = table_key_check(t, item, NULL);
    if (err == ERR_NONE)
        err = key_encode(&k->pk, attr_get(item, t->partition.name));
    if (err == ERR_NONE && t->sort.name.n > 0)
        err = key_encode(&k->sk, attr_get(item, t->sort.name));
    return err;
}

/* ---- one item ---- */

/* The row at these keys: its size, and the item copied into the arena when `item` is not NULL. */
static int
row_get(struct db_conn *conn, struct arena *a, const struct table *t, const struct keys *k,
        struct attr_value *item, int64_t *size)
{
    struct db_stmt *s = db_prepare(
        conn, "SELECT size, attrs FROM item WHERE table_id = ?1 AND pk = ?2 AND sk = ?3");
    db_bind_int(s, 1, t->id);
    db_bind_blob(s, 2, buf_slice(&k->pk));
    db_bind_blob(s, 3, buf_slice(&k->sk));
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    int err = ERR_NONE;
    *size = db_column_int(s, 0);
    if (item != NULL) {
        struct slice bytes = arena_dup(a, db_column_blob(s, 1));
        err = bytes.p == NULL ? ERR_NOMEM : item_decode(a, bytes, item);
    }
    db_reset(s);
    return err;
}

int
table_get(struct db_conn *conn, struct arena *a, const struct table *t,
          const struct attr_value *key, struct attr_value *item)
{
    struct keys k;
    int64_t size;
    int err = keys_make(t, key, &k);
    if (err == ERR_NONE)
        err = row_get(conn, a, t, &k, item, &size);
    keys_fini(&k);
    return err;
}

static int
totals_add(struct db_conn *conn, const struct table *t, int64_t items, int64_t bytes)
{
    if (items == 0 && bytes == 0)
        return ERR_NONE;
    struct db_stmt *s = db_prepare(
        conn, "UPDATE tbl SET item_count = item_count + ?2, bytes = bytes + ?3 WHERE id = ?1");
    db_bind_int(s, 1, t->id);
    db_bind_int(s, 2, items);
    db_bind_int(s, 3, bytes);
    return db_run(s);
}

/* Writes the row; `old_size` < 0 when there was none. */
static int
row_put(struct db_conn *conn, const struct table *t, const struct keys *k,
        const struct attr_value *item, int64_t old_size)
{
    size_t size = item_bytes(item);
    if (size > ITEM_BYTES_MAX)
        return ERR_TOOBIG;
    if (attr_depth(item) > ITEM_DEPTH_MAX)
        return ERR_INVALID;
    struct buf row;
    buf_init(&row, ITEM_ENCODED_MAX);
    item_encode(&row, item);
    int err = row.err;
    if (err == ERR_NONE) {
        struct db_stmt *s = db_prepare(
            conn, "INSERT INTO item(table_id, pk, sk, size, attrs) VALUES(?1, ?2, ?3, ?4, ?5)"
                  " ON CONFLICT(table_id, pk, sk) DO UPDATE SET size = excluded.size,"
                  " attrs = excluded.attrs");
        db_bind_int(s, 1, t->id);
        db_bind_blob(s, 2, buf_slice(&k->pk));
        db_bind_blob(s, 3, buf_slice(&k->sk));
        db_bind_int(s, 4, (int64_t)size);
        db_bind_blob(s, 5, buf_slice(&row));
        err = db_run(s);
    }
    if (err == ERR_NONE)
        err = totals_add(conn, t, old_size < 0, (int64_t)size - (old_size < 0 ? 0 : old_size));
    buf_fini(&row);
    return err;
}

/* What a change replaces: *size = -1 and type 0 when there is nothing. */
static int
row_old(struct db_conn *conn, struct arena *a, const struct table *t, const struct keys *k,
        struct attr_value *old, int64_t *size)
{
    if (old != NULL)
        *old = (struct attr_value){0};
    *size = -1;
    int err = row_get(conn, a, t, k, old, size);
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}

int
table_apply_put(struct db_conn *conn, struct arena *a, const struct table *t,
                const struct attr_value *item, struct attr_value *old)
{
    struct keys k;
    int64_t old_size;
    int err = keys_make(t, item, &k);
    if (err == ERR_NONE)
        err = row_old(conn, a, t, &k, old, &old_size);
    if (err == ERR_NONE)
        err = row_put(conn, t, &k, item, old_size);
    keys_fini(&k);
    return err;
}

int
table_apply_delete_item(struct db_conn *conn, struct arena *a, const struct table *t,
                        const struct attr_value *key, struct attr_value *old)
{
    struct keys k;
    int64_t old_size;
    int err = keys_make(t, key, &k);
    if (err == ERR_NONE)
        err = row_old(conn, a, t, &k, old, &old_size);
    if (err == ERR_NONE && old_size >= 0) {
        struct db_stmt *s =
            db_prepare(conn, "DELETE FROM item WHERE table_id = ?1 AND pk = ?2 AND sk = ?3");
        db_bind_int(s, 1, t->id);
        db_bind_blob(s, 2, buf_slice(&k.pk));
        db_bind_blob(s, 3, buf_slice(&k.sk));
        err = db_run(s);
        if (err == ERR_NONE)
            err = totals_add(conn, t, -1, -old_size);
    }
    keys_fini(&k);
    return err;
}

/* ---- updates by functions ---- */

static bool
is_key_attr(const struct table *t, struct slice name)
{
    return slice_eq(name, t->partition.name) ||
           (t->sort.name.n > 0 && slice_eq(name, t->sort.name));
}

static int
update_set(struct arena *a, const struct table *t, struct attr_value *item, struct slice name,
           const struct attr_value *v)
{
    struct slice inner;
    struct slice outer = slice_cut(name, '.', &inner);
    if (is_key_attr(t, outer))
        return ERR_INVALID;
    if (inner.p == NULL)
        return attr_set(a, item, name, v);
    struct attr_value *map = attr_get(item, outer);
    if (map == NULL || map->type != ATTR_M) {
        struct attr_value fresh = attr_map_new();
        int err = attr_set(a, item, outer, &fresh);
        if (err != ERR_NONE)
            return err;
        map = attr_get(item, outer);
    }
    return attr_set(a, map, inner, v);
}

static int
update_remove(const struct table *t, struct attr_value *item, struct slice name)
{
    struct slice inner;
    struct slice outer = slice_cut(name, '.', &inner);
    if (is_key_attr(t, outer))
        return ERR_INVALID;
    struct attr_value *map = inner.p == NULL ? item : attr_get(item, outer);
    if (map != NULL)
        attr_remove(map, inner.p == NULL ? name : inner);
    return ERR_NONE;
}

/* The key attributes alone: a new item begins with them. */
static int
item_from_key(struct arena *a, const struct table *t, const struct attr_value *key,
              struct attr_value *item)
{
    *item = attr_map_new();
    int err = attr_set(a, item, t->partition.name, attr_get(key, t->partition.name));
    if (err == ERR_NONE && t->sort.name.n > 0)
        err = attr_set(a, item, t->sort.name, attr_get(key, t->sort.name));
    return err;
}

int
table_apply_update(struct db_conn *conn, struct arena *a, const struct table *t,
                   const struct attr_value *key, const struct attr_value *set,
                   const struct slice *remove, size_t remove_count, bool must_exist)
{
    struct keys k;
    struct attr_value item;
    int64_t old_size = -1;
    int err = keys_make(t, key, &k);
    if (err == ERR_NONE)
        err = row_old(conn, a, t, &k, &item, &old_size);
    if (err == ERR_NONE && old_size < 0)
        err = must_exist ? ERR_NOTFOUND : item_from_key(a, t, key, &item);
    for (size_t i = 0; i < remove_count && err == ERR_NONE; i++)
        err = update_remove(t, &item, remove[i]);
    for (size_t i = 0; set != NULL && i < set->count && err == ERR_NONE; i++)
        err = update_set(a, t, &item, set->names[i], &set->elements[i]);
    if (err == ERR_NONE)
        err = row_put(conn, t, &k, &item, old_size);
    keys_fini(&k);
    return err;
}

/* ---- ranges ---- */

/* Sort keys of a query: low <= sk < high. */
struct bounds {
    struct buf low, high;
    bool has_high;
};

/* The smallest byte string above every one that begins with `b`; false when there is none. */
static bool
prefix_end(struct buf *b)
{
    while (b->n > 0 && (uint8_t)b->p[b->n - 1] == 0xff)
        b->n--;
    if (b->n == 0)
        return false;
    b->p[b->n - 1] = (char)((uint8_t)b->p[b->n - 1] + 1);
    return true;
}

static int
bounds_by_op(const struct table_range *r, struct bounds *b)
{
    int err = ERR_NONE;
    bool low_above = r->op == SORT_GT; /* strictly above the key: from its successor on */
    bool low = low_above || r->op == SORT_GE || r->op == SORT_EQ || r->op == SORT_BETWEEN ||
               r->op == SORT_BEGINS;
    bool upto = r->op == SORT_LE || r->op == SORT_EQ || r->op == SORT_BETWEEN;
    if (low)
        err = key_encode(&b->low, r->low);
    if (low_above)
        buf_putc(&b->low, '\0');
    if (err == ERR_NONE && (upto || r->op == SORT_LT || r->op == SORT_BEGINS)) {
        b->has_high = true;
        err = key_encode(&b->high, r->op == SORT_BETWEEN ? r->high : r->low);
    }
    if (upto)
        buf_putc(&b->high, '\0');
    if (err == ERR_NONE && r->op == SORT_BEGINS)
        b->has_high = prefix_end(&b->high);
    return err != ERR_NONE ? err : b->low.err != ERR_NONE ? b->low.err : b->high.err;
}

/* Goes on behind the start key. */
static void
bounds_resume(const struct table_range *r, const struct keys *start, struct bounds *b)
{
    struct slice sk = buf_slice(&start->sk);
    if (r->backward) {
        if (!b->has_high || slice_cmp(sk, buf_slice(&b->high)) < 0) {
            buf_reset(&b->high);
            buf_put_slice(&b->high, sk);
            b->has_high = true;
        }
    } else if (slice_cmp(sk, buf_slice(&b->low)) >= 0) {
        buf_reset(&b->low);
        buf_put_slice(&b->low, sk);
        buf_putc(&b->low, '\0');
    }
}

static bool
range_types_ok(const struct table *t, const struct table_range *r)
{
    enum attr_type type = t->sort.type;
    if (r->partition->type != t->partition.type)
        return false;
    if (r->op == SORT_ALL)
        return true;
    return t->sort.name.n > 0 && r->low != NULL && r->low->type == type &&
           (r->op != SORT_BETWEEN || (r->high != NULL && r->high->type == type)) &&
           (r->op != SORT_BEGINS || type != ATTR_N);
}

#define ITEM_IN_PARTITION \
    "SELECT attrs, size FROM item WHERE table_id = ?1 AND pk = ?2 AND sk >= ?3"

static struct db_stmt *
query_stmt(struct db_conn *conn, bool has_high, bool backward)
{
    if (has_high)
        return backward ? db_prepare(conn, ITEM_IN_PARTITION " AND sk < ?4 ORDER BY sk DESC")
                        : db_prepare(conn, ITEM_IN_PARTITION " AND sk < ?4 ORDER BY sk");
    return backward ? db_prepare(conn, ITEM_IN_PARTITION " ORDER BY sk DESC")
                    : db_prepare(conn, ITEM_IN_PARTITION " ORDER BY sk");
}

static int
each_row(struct db_stmt *s, table_item_fn fn, void *arg)
{
    int rc, stop = 0;
    while (stop == 0 && (rc = db_step(s)) == DB_ROW) {
        struct attr_value item;
        struct arena *scratch = arena_new(ITEM_MEMORY_MAX);
        if (scratch == NULL) {
            stop = ERR_NOMEM;
            break;
        }
        stop = item_decode(scratch, db_column_blob(s, 0), &item);
        if (stop == ERR_NONE)
            stop = fn(arg, &item, (size_t)db_column_int(s, 1));
        arena_free(&scratch);
    }
    if (stop == 0)
        return rc;
    db_reset(s);
    return stop < 0 ? stop : ERR_NONE;
}

static int
range_query(struct db_conn *conn, const struct table *t, const struct table_range *range,
            const struct keys *start, table_item_fn fn, void *arg)
{
    struct buf pk;
    struct bounds b = {0};
    buf_init(&pk, KEY_PARTITION_MAX);
    buf_init(&b.low, KEY_SORT_MAX + 1);
    buf_init(&b.high, KEY_SORT_MAX + 1);
    int err = range_types_ok(t, range) ? key_encode(&pk, range->partition) : ERR_INVALID;
    if (err == ERR_NONE)
        err = bounds_by_op(range, &b);
    if (err == ERR_NONE && start != NULL)
        bounds_resume(range, start, &b);
    if (err == ERR_NONE) {
        struct db_stmt *s = query_stmt(conn, b.has_high, range->backward);
        db_bind_int(s, 1, t->id);
        db_bind_blob(s, 2, buf_slice(&pk));
        db_bind_blob(s, 3, buf_slice(&b.low));
        if (b.has_high)
            db_bind_blob(s, 4, buf_slice(&b.high));
        err = each_row(s, fn, arg);
    }
    buf_fini(&pk);
    buf_fini(&b.low);
    buf_fini(&b.high);
    return err;
}

static int
range_scan(struct db_conn *conn, const struct table *t, const struct keys *start, table_item_fn fn,
           void *arg)
{
    struct db_stmt *s =
        db_prepare(conn, "SELECT attrs, size FROM item WHERE table_id = ?1 AND (pk, sk) > (?2, ?3)"
                         " ORDER BY pk, sk");
    db_bind_int(s, 1, t->id);
    db_bind_blob(s, 2, start == NULL ? SLICE_NONE : buf_slice(&start->pk));
    db_bind_blob(s, 3, start == NULL ? SLICE_NONE : buf_slice(&start->sk));
    return each_row(s, fn, arg);
}

int
table_range(struct db_conn *conn, const struct table *t, const struct table_range *range,
            table_item_fn fn, void *arg)
{
    struct keys k = {0};
    const struct keys *start = range->start_after == NULL ? NULL : &k;
    int err = start == NULL ? ERR_NONE : keys_make(t, range->start_after, &k);
    if (err == ERR_NONE && range->partition == NULL)
        err = range->backward ? ERR_UNSUPPORTED : range_scan(conn, t, start, fn, arg);
    else if (err == ERR_NONE)
        err = range_query(conn, t, range, start, fn, arg);
    keys_fini(&k);
    return err;
}
