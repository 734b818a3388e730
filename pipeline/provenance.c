#include "pipeline/provenance.h"
#include "base/err.h"

#define COLUMNS                                                                                \
    "derived_bucket_id, derived_bucket, derived_key, preset, config_hash, source_generation, " \
    "derived_generation, function, source_bucket_id, source_key"

static struct provenance
row_lend(struct db_stmt *s)
{
    return (struct provenance){.derived_bucket_id = db_column_int(s, 0),
                               .derived_bucket = db_column_blob(s, 1),
                               .derived_key = db_column_blob(s, 2),
                               .preset = db_column_blob(s, 3),
                               .config_hash = db_column_blob(s, 4),
                               .source_generation = db_column_int(s, 5),
                               .derived_generation = db_column_int(s, 6),
                               .function = db_column_blob(s, 7),
                               .source_bucket_id = db_column_int(s, 8),
                               .source_key = db_column_blob(s, 9)};
}

static int
row_read(struct db_stmt *s, struct arena *a, struct provenance *p)
{
    *p = row_lend(s);
    p->derived_bucket = arena_dup(a, p->derived_bucket);
    p->derived_key = arena_dup(a, p->derived_key);
    p->preset = arena_dup(a, p->preset);
    p->config_hash = arena_dup(a, p->config_hash);
    p->function = arena_dup(a, p->function);
    p->source_key = arena_dup(a, p->source_key);
    bool whole = p->derived_bucket.p != NULL && p->derived_key.p != NULL && p->preset.p != NULL &&
                 p->config_hash.p != NULL && p->function.p != NULL && p->source_key.p != NULL;
    return whole ? ERR_NONE : ERR_NOMEM;
}

int
provenance_list(struct db_conn *conn, struct arena *a, int64_t bucket_id, struct slice key,
                struct provenance **out)
{
    int rc;
    *out = NULL;
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM provenance "
                                         "WHERE source_bucket_id = ?1 AND source_key = ?2");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    while ((rc = db_step(s)) == DB_ROW) {
        struct provenance *p = arena_alloc(a, sizeof *p);
        rc = p == NULL ? ERR_NOMEM : row_read(s, a, p);
        if (rc != ERR_NONE) {
            db_reset(s);
            return rc;
        }
        p->next = *out;
        *out = p;
    }
    return rc;
}

int
provenance_range(struct db_conn *conn, int64_t bucket_id, struct slice first, struct slice last,
                 provenance_fn fn, void *arg)
{
    int rc;
    struct db_stmt *s =
        db_prepare(conn, "SELECT " COLUMNS " FROM provenance WHERE source_bucket_id = ?1 AND "
                         "source_key >= ?2 AND source_key <= ?3 ORDER BY source_key");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, first);
    db_bind_blob(s, 3, last);
    while ((rc = db_step(s)) == DB_ROW) {
        struct provenance p = row_lend(s);
        if (fn(arg, &p) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}

int
provenance_of_derived(struct db_conn *conn, struct arena *a, int64_t derived_bucket_id,
                      struct slice derived_key, struct provenance *out)
{
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM provenance "
                                         "WHERE derived_bucket_id = ?1 AND derived_key = ?2");
    db_bind_int(s, 1, derived_bucket_id);
    db_bind_blob(s, 2, derived_key);
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    rc = row_read(s, a, out);
    db_reset(s);
    return rc;
}

int
provenance_page(struct db_conn *conn, struct arena *a, const struct provenance *after, int max,
                struct provenance **out)
{
    int rc;
    struct provenance **last = out;
    struct db_stmt *s = db_prepare(
        conn, "SELECT " COLUMNS " FROM provenance WHERE (source_bucket_id, source_key, "
              "derived_bucket_id, derived_key) > (?1, ?2, ?3, ?4) ORDER BY source_bucket_id, "
              "source_key, derived_bucket_id, derived_key LIMIT ?5");
    db_bind_int(s, 1, after == NULL ? 0 : after->source_bucket_id);
    db_bind_blob(s, 2, after == NULL ? SLICE_NONE : after->source_key);
    db_bind_int(s, 3, after == NULL ? 0 : after->derived_bucket_id);
    db_bind_blob(s, 4, after == NULL ? SLICE_NONE : after->derived_key);
    db_bind_int(s, 5, max);
    *out = NULL;
    while ((rc = db_step(s)) == DB_ROW) {
        struct provenance *p = arena_alloc(a, sizeof *p);
        rc = p == NULL ? ERR_NOMEM : row_read(s, a, p);
        if (rc != ERR_NONE) {
            db_reset(s);
            return rc;
        }
        *last = p;
        last = &p->next;
    }
    return rc;
}

/* Two buckets may share a derived one. What they had at this key is overwritten, so their rows
 * prove nothing any more. */
static int
forget_others(struct db_conn *conn, const struct provenance *p)
{
    struct db_stmt *s =
        db_prepare(conn, "DELETE FROM provenance WHERE derived_bucket_id = ?1 AND derived_key = ?2 "
                         "AND (source_bucket_id <> ?3 OR source_key <> ?4)");
    db_bind_int(s, 1, p->derived_bucket_id);
    db_bind_blob(s, 2, p->derived_key);
    db_bind_int(s, 3, p->source_bucket_id);
    db_bind_blob(s, 4, p->source_key);
    return db_run(s);
}

int
provenance_apply_put(struct db_conn *conn, const struct provenance *p)
{
    int err = forget_others(conn, p);
    if (err != ERR_NONE)
        return err;
    struct db_stmt *s = db_prepare(
        conn, "INSERT INTO provenance (source_bucket_id, source_key, derived_bucket_id, "
              "derived_bucket, derived_key, preset, config_hash, source_generation, "
              "derived_generation, function) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) "
              "ON CONFLICT (source_bucket_id, source_key, derived_bucket_id, derived_key) "
              "DO UPDATE SET derived_bucket = ?4, preset = ?6, config_hash = ?7, "
              "source_generation = ?8, derived_generation = ?9, function = ?10");
    db_bind_int(s, 1, p->source_bucket_id);
    db_bind_blob(s, 2, p->source_key);
    db_bind_int(s, 3, p->derived_bucket_id);
    db_bind_text(s, 4, p->derived_bucket);
    db_bind_blob(s, 5, p->derived_key);
    db_bind_text(s, 6, p->preset);
    db_bind_text(s, 7, p->config_hash);
    db_bind_int(s, 8, p->source_generation);
    db_bind_int(s, 9, p->derived_generation);
    db_bind_text(s, 10, p->function);
    return db_run(s);
}

int
provenance_apply_remove(struct store *store, struct db_conn *conn, const struct provenance *p)
{
    struct store_delete_spec spec = {.bucket = p->derived_bucket,
                                     .key = p->derived_key,
                                     .by_function = true,
                                     .only_generation = p->derived_generation};
    struct store_delete_result result;
    struct db_stmt *s =
        db_prepare(conn, "DELETE FROM provenance WHERE source_bucket_id = ?1 AND source_key = ?2 "
                         "AND derived_bucket_id = ?3 AND derived_key = ?4");
    db_bind_int(s, 1, p->source_bucket_id);
    db_bind_blob(s, 2, p->source_key);
    db_bind_int(s, 3, p->derived_bucket_id);
    db_bind_blob(s, 4, p->derived_key);
    int err = db_run(s);
    if (err == ERR_NONE)
        err = store_apply_delete(store, conn, &spec, &result);
    /* STALE: a client has put something of its own there. NOPARENT: the bucket is gone. */
    return err == ERR_STALE || err == ERR_NOPARENT || err == ERR_NOTFOUND ? ERR_NONE : err;
}
