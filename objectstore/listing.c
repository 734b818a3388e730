/*
 * Listing: a range scan over (bucket, key) that answers each common prefix once and then seeks to
 * the first key behind it, so a folder of a million objects costs one step.
 *
 * `from` is always the least key that may still be answered. Behind a key k that is k and a zero
 * byte; behind a prefix p it is the least string greater than everything that starts with p: p cut
 * after its last byte that is not 0xff, that byte plus one. A prefix of 0xff alone has none: the
 * listing is over.
 *
 * Versions come from two tables merged by (key, rank); `from_rank` is the least rank of the key
 * `from` that may still be answered. Each key has at most one row in `object`, so both halves come
 * in that order from their primary keys and nothing is sorted.
 */
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/store_priv.h"

#include <stdio.h>

#define FROM_MAX (STORE_KEY_MAX + 1)

struct scan {
    struct db_conn *conn;
    int64_t bucket_id;
    const struct store_list_spec *spec;
    bool versions;
    char from[FROM_MAX];
    size_t from_n;
    int64_t from_rank;
    bool over;
    struct db_stmt *row; /* the present one; NULL: seek first */
};

/* A prefix or start longer than any key: nothing can follow from there but what sorts behind its
 * first STORE_KEY_MAX bytes. */
static void
from_set(struct scan *sc, struct slice key)
{
    sc->from_n = key.n < FROM_MAX ? key.n : FROM_MAX;
    if (sc->from_n > 0)
        memcpy(sc->from, key.p, sc->from_n);
    sc->from_rank = INT64_MIN;
}

static void
from_after_key(struct scan *sc, struct slice key)
{
    from_set(sc, key);
    if (sc->from_n < FROM_MAX)
        sc->from[sc->from_n++] = '\0';
}

static void
from_after_prefix(struct scan *sc, struct slice prefix)
{
    while (prefix.n > 0 && (uint8_t)prefix.p[prefix.n - 1] == 0xff)
        prefix.n--;
    sc->over = prefix.n == 0;
    from_set(sc, prefix);
    if (prefix.n > 0)
        sc->from[sc->from_n - 1]++;
}

/* The common prefix of a key that starts with the listing's prefix; n = 0: it has none. */
static struct slice
common_prefix(const struct store_list_spec *spec, struct slice key)
{
    if (spec->delimiter.n == 0)
        return SLICE_NONE;
    ptrdiff_t at = slice_find(slice_skip(key, spec->prefix.n), spec->delimiter);
    if (at < 0)
        return SLICE_NONE;
    return slice_of(key.p, spec->prefix.n + (size_t)at + spec->delimiter.n);
}

/* Behind a version of the key: the ones that are older. One that is not there any more is still a
 * place in the order, but for the null version, whose place only its row knows. */
static int
from_after_version(struct scan *sc, struct slice key, struct slice version_id)
{
    int64_t seq = 0;
    int err = version_id_parse(version_id, &seq);
    if (err != ERR_NONE)
        return err;
    if (seq == 0) {
        const struct store_object *o = NULL;
        err = version_read(sc->conn, sc->bucket_id, key, version_id, &o);
        if (err == ERR_NONE)
            seq = o->seq;
        store_object_unref(&o);
    }
    if (err == ERR_NOTFOUND) {
        from_after_key(sc, key);
        return ERR_NONE;
    }
    from_set(sc, key);
    sc->from_rank = -seq + 1;
    return err;
}

static int
scan_start(struct scan *sc)
{
    struct slice after = sc->spec->after, prefix = sc->spec->prefix;
    if (after.n > STORE_KEY_MAX)
        after.n = STORE_KEY_MAX; /* no key lies between the cut and the whole */
    if (prefix.n > STORE_KEY_MAX) {
        sc->over = true;
    } else if (after.n == 0 || slice_cmp(after, prefix) < 0) {
        from_set(sc, prefix);
    } else {
        /* `after` may lie inside a common prefix that was answered already. */
        struct slice common = SLICE_NONE;
        if (slice_starts(after, prefix))
            common = common_prefix(sc->spec, after);
        if (common.n > 0)
            from_after_prefix(sc, common);
        else if (sc->versions && sc->spec->after_version.n > 0)
            return from_after_version(sc, after, sc->spec->after_version);
        else
            from_after_key(sc, after);
    }
    return ERR_NONE;
}

static struct db_stmt *
scan_query(struct scan *sc)
{
    struct db_stmt *q;
    if (sc->versions)
        q = db_prepare(
            sc->conn,
            "SELECT key, -seq AS rank, generation, size, mtime_ms, etag, checksum, flags, owner,"
            " 0, retain_until_ms, tags FROM object"
            " WHERE bucket_id = ?1 AND key >= ?2 AND (key > ?2 OR -seq >= ?3) UNION ALL"
            " SELECT key, rank, generation, size, mtime_ms, etag, checksum, flags, owner,"
            " noncurrent_ms, retain_until_ms, tags FROM object_version"
            " WHERE bucket_id = ?1 AND (key, rank) >= (?2, ?3) ORDER BY key, rank");
    else
        q = db_prepare(sc->conn, "SELECT key, -seq, generation, size, mtime_ms, etag, checksum,"
                                 " flags, owner FROM object WHERE bucket_id = ?1 AND key >= ?2"
                                 " ORDER BY key");
    db_bind_int(q, 1, sc->bucket_id);
    db_bind_blob(q, 2, slice_of(sc->from, sc->from_n));
    if (sc->versions)
        db_bind_int(q, 3, sc->from_rank);
    return q;
}

/* DB_ROW: *key is the next one with the prefix; DB_DONE: no more. */
static int
scan_next(struct scan *sc, struct slice *key)
{
    if (sc->over)
        return DB_DONE;
    if (sc->row == NULL)
        sc->row = scan_query(sc);
    int rc = db_step(sc->row);
    if (rc == DB_ROW) {
        *key = db_column_blob(sc->row, 0);
        if (slice_starts(*key, sc->spec->prefix))
            return DB_ROW;
        db_reset(sc->row);
        rc = DB_DONE;
    }
    sc->row = NULL;
    sc->over = true;
    return rc;
}

static int
give_key(struct scan *sc, struct slice key, store_list_fn fn, void *arg)
{
    struct store_object o = {.key = key};
    int64_t flags = db_column_int(sc->row, 7);
    int64_t checksum = db_column_int(sc->row, 6);
    char place[STORE_VERSION_ID_MAX];
    version_id_write(-db_column_int(sc->row, 1), (flags & OBJECT_NULL_VERSION) != 0, o.version_id);
    version_id_write(-db_column_int(sc->row, 1), false, place);
    snprintf(o.etag, sizeof o.etag, "%.*s", SLICE_FMT(db_column_blob(sc->row, 5)));
    struct store_list_entry e = {
        .name = key,
        .seq = -db_column_int(sc->row, 1),
        .version_id = o.version_id,
        .place = place,
        .generation = db_column_int(sc->row, 2),
        .size = db_column_int(sc->row, 3),
        .mtime_ms = db_column_int(sc->row, 4),
        .etag = o.etag,
        .checksum =
            checksum > 0 && checksum < CHECKSUM_COUNT ? (enum checksum)checksum : CHECKSUM_NONE,
        .checksum_composite = (flags & OBJECT_COMPOSITE) != 0,
        .is_marker = (flags & OBJECT_MARKER) != 0,
        .storage_class = object_class_of(flags),
        .owner = db_column_blob(sc->row, 8),
        .is_latest = true,
    };
    if (sc->versions) {
        e.noncurrent_ms = db_column_int(sc->row, 9);
        e.is_latest = e.noncurrent_ms == 0;
        e.lock = object_lock_of(flags, db_column_int(sc->row, 10));
        e.tags = db_column_blob(sc->row, 11);
    }
    return fn(arg, &e);
}

/* Answers the row's common prefix and moves behind it. */
static int
give_prefix(struct scan *sc, struct slice prefix, store_list_fn fn, void *arg)
{
    struct store_list_entry e = {.is_prefix = true, .name = prefix, .etag = ""};
    int rc = fn(arg, &e);
    from_after_prefix(sc, prefix);
    db_reset(sc->row);
    sc->row = NULL;
    return rc;
}

static int
scan_run(struct scan *sc, store_list_fn fn, void *arg, bool *truncated)
{
    int max = sc->spec->max < STORE_LIST_MAX ? sc->spec->max : STORE_LIST_MAX;
    struct slice key;
    int rc = DB_DONE;
    for (int given = 0; max > 0 && (rc = scan_next(sc, &key)) == DB_ROW; given++) {
        *truncated = given == max;
        if (*truncated)
            break;
        struct slice common = common_prefix(sc->spec, key);
        int stop = common.n > 0 ? give_prefix(sc, common, fn, arg) : give_key(sc, key, fn, arg);
        if (stop != 0) {
            *truncated = true;
            break;
        }
    }
    return rc < 0 ? rc : ERR_NONE;
}

static int
list(struct store *s, const struct store_list_spec *spec, bool versions, store_list_fn fn,
     void *arg, bool *truncated)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct scan sc = {.spec = spec, .versions = versions};
    *truncated = false;
    int err = bucket_id_get(s, spec->bucket, &sc.bucket_id);
    if (err == ERR_NONE)
        err = db_read_begin(s->db, &sc.conn);
    if (err != ERR_NONE)
        return err;
    err = scan_start(&sc);
    if (err == ERR_NONE)
        err = scan_run(&sc, fn, arg, truncated);
    db_read_end(s->db, &sc.conn);
    return err;
}

int
store_list(struct store *s, const struct store_list_spec *spec, store_list_fn fn, void *arg,
           bool *truncated)
{
    return list(s, spec, false, fn, arg, truncated);
}

int
store_list_versions(struct store *s, const struct store_list_spec *spec, store_list_fn fn,
                    void *arg, bool *truncated)
{
    return list(s, spec, true, fn, arg, truncated);
}
