/*
 * Listing the open uploads of a bucket, by key and id: a range scan that answers each common prefix
 * once and then seeks behind it, as listing.c does for objects.
 *
 * (from, from_upload) is the place behind which the next row is looked for. Behind all uploads of a
 * key k is (k and a zero byte, ""): no key lies between; behind a common prefix p it is the least
 * string greater than everything that starts with p.
 */
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/multipart_priv.h"

struct walk {
    struct db_conn *conn;
    int64_t bucket_id;
    const struct store_upload_list_spec *spec;
    char from[STORE_KEY_MAX + 1];
    size_t from_n;
    struct slice from_upload;
    bool over;
    struct db_stmt *row; /* the present one; NULL: seek first */
};

static void
from_set(struct walk *w, struct slice key)
{
    w->from_n = key.n;
    if (key.n > 0)
        memcpy(w->from, key.p, key.n);
    w->from_upload = SLICE_NONE;
}

static void
from_after_key(struct walk *w, struct slice key)
{
    from_set(w, key);
    w->from[w->from_n++] = '\0';
}

static void
from_after_prefix(struct walk *w, struct slice prefix)
{
    while (prefix.n > 0 && (uint8_t)prefix.p[prefix.n - 1] == 0xff)
        prefix.n--;
    w->over = prefix.n == 0;
    from_set(w, prefix);
    if (prefix.n > 0)
        w->from[w->from_n - 1]++;
}

/* n = 0: the key has none. */
static struct slice
common_prefix(const struct store_upload_list_spec *spec, struct slice key)
{
    if (spec->delimiter.n == 0 || !slice_starts(key, spec->prefix))
        return SLICE_NONE;
    ptrdiff_t at = slice_find(slice_skip(key, spec->prefix.n), spec->delimiter);
    return at < 0 ? SLICE_NONE : slice_of(key.p, spec->prefix.n + (size_t)at + spec->delimiter.n);
}

static void
walk_start(struct walk *w)
{
    const struct store_upload_list_spec *spec = w->spec;
    struct slice after = spec->after;
    if (after.n > STORE_KEY_MAX)
        after.n = STORE_KEY_MAX; /* no key lies between the cut and the whole */
    struct slice common = common_prefix(spec, after);
    if (spec->prefix.n > STORE_KEY_MAX) {
        w->over = true;
    } else if (after.n == 0 || slice_cmp(after, spec->prefix) < 0) {
        from_set(w, spec->prefix);
    } else if (common.n > 0) {
        from_after_prefix(w, common);
    } else if (spec->after_upload.n > 0) {
        from_set(w, after);
        w->from_upload = spec->after_upload;
    } else {
        from_after_key(w, after);
    }
}

static int
walk_next(struct walk *w, struct store_upload *u)
{
    if (w->over)
        return DB_DONE;
    if (w->row == NULL) {
        w->row = db_prepare(w->conn, "SELECT key, upload_id, owner, created_ms, attributes"
                                     " FROM upload WHERE bucket_id = ?1"
                                     " AND (key, upload_id) > (?2, ?3) ORDER BY key, upload_id");
        db_bind_int(w->row, 1, w->bucket_id);
        db_bind_blob(w->row, 2, slice_of(w->from, w->from_n));
        db_bind_blob(w->row, 3, w->from_upload);
    }
    int rc = db_step(w->row);
    if (rc != DB_ROW) {
        w->row = NULL;
        return rc;
    }
    *u = (struct store_upload){.key = db_column_blob(w->row, 0),
                               .upload_id = db_column_blob(w->row, 1),
                               .owner = db_column_blob(w->row, 2),
                               .created_ms = db_column_int(w->row, 3)};
    upload_attributes_read(db_column_blob(w->row, 4), u);
    return slice_starts(u->key, w->spec->prefix) ? DB_ROW : DB_DONE;
}

/* Answers the common prefix and moves behind it. */
static int
give_prefix(struct walk *w, struct slice prefix, store_upload_fn fn, void *arg)
{
    struct store_upload u = {.is_prefix = true, .key = prefix};
    int stop = fn(arg, &u);
    from_after_prefix(w, prefix);
    db_reset(w->row);
    w->row = NULL;
    return stop;
}

static int
walk_run(struct walk *w, store_upload_fn fn, void *arg, bool *truncated)
{
    int max = w->spec->max < STORE_LIST_MAX ? w->spec->max : STORE_LIST_MAX;
    struct store_upload u;
    int rc = DB_DONE;
    for (int given = 0; max > 0 && (rc = walk_next(w, &u)) == DB_ROW; given++) {
        *truncated = given == max;
        if (*truncated)
            break;
        struct slice common = common_prefix(w->spec, u.key);
        int stop = common.n > 0 ? give_prefix(w, common, fn, arg) : fn(arg, &u);
        if (stop != 0) {
            *truncated = true;
            break;
        }
    }
    if (w->row != NULL)
        db_reset(w->row);
    return rc < 0 ? rc : ERR_NONE;
}

int
store_upload_list(struct store *s, const struct store_upload_list_spec *spec, store_upload_fn fn,
                  void *arg, bool *truncated)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct walk w = {.spec = spec};
    struct bucket_row bucket = {.id = 0};
    *truncated = false;
    int err = db_read_begin(s->db, &w.conn);
    if (err != ERR_NONE)
        return err;
    err = bucket_row_find(w.conn, spec->bucket, &bucket);
    w.bucket_id = bucket.id;
    if (err == ERR_NONE) {
        walk_start(&w);
        err = walk_run(&w, fn, arg, truncated);
    }
    db_read_end(s->db, &w.conn);
    return err;
}
