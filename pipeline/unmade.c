#include "pipeline/unmade.h"
#include "base/err.h"

#define REASON_MAX 512

static struct slice
reason_cut(struct slice reason)
{
    if (reason.n > REASON_MAX)
        reason.n = REASON_MAX;
    while (reason.n > 0 && !slice_is_utf8(reason))
        reason.n--; /* cut inside a character */
    return reason;
}

int
unmade_apply_put(struct db_conn *conn, const struct unmade *u)
{
    struct db_stmt *s = db_prepare(
        conn, "INSERT INTO unmade (source_bucket_id, source_key, function, preset, config_hash, "
              "source_generation, failed, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "
              "ON CONFLICT (source_bucket_id, source_key, function, preset) DO UPDATE SET "
              "config_hash = ?5, source_generation = ?6, failed = ?7, reason = ?8");
    db_bind_int(s, 1, u->source_bucket_id);
    db_bind_blob(s, 2, u->source_key);
    db_bind_text(s, 3, u->function);
    db_bind_text(s, 4, u->preset);
    db_bind_text(s, 5, u->config_hash);
    db_bind_int(s, 6, u->source_generation);
    db_bind_int(s, 7, u->failed);
    db_bind_text(s, 8, reason_cut(u->reason));
    return db_run(s);
}

int
unmade_apply_remove(struct db_conn *conn, int64_t bucket_id, struct slice key,
                    struct slice function, struct slice preset)
{
    /* Two texts, so that each is a seek. */
    struct db_stmt *s = preset.n == 0
                            ? db_prepare(conn, "DELETE FROM unmade WHERE source_bucket_id = ?1 AND "
                                               "source_key = ?2 AND function = ?3")
                            : db_prepare(conn, "DELETE FROM unmade WHERE source_bucket_id = ?1 AND "
                                               "source_key = ?2 AND function = ?3 AND preset = ?4");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    db_bind_text(s, 3, function);
    if (preset.n > 0)
        db_bind_text(s, 4, preset);
    return db_run(s);
}

int
unmade_apply_forget(struct db_conn *conn, int64_t bucket_id, struct slice key)
{
    struct db_stmt *s =
        db_prepare(conn, "DELETE FROM unmade WHERE source_bucket_id = ?1 AND source_key = ?2");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    return db_run(s);
}

int
unmade_range(struct db_conn *conn, int64_t bucket_id, struct slice first, struct slice last,
             unmade_fn fn, void *arg)
{
    int rc;
    struct db_stmt *s = db_prepare(
        conn, "SELECT source_key, function, preset, config_hash, source_generation, failed, reason "
              "FROM unmade WHERE source_bucket_id = ?1 AND source_key >= ?2 AND source_key <= ?3 "
              "ORDER BY source_key");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, first);
    db_bind_blob(s, 3, last);
    while ((rc = db_step(s)) == DB_ROW) {
        struct unmade u = {.source_bucket_id = bucket_id,
                           .source_key = db_column_blob(s, 0),
                           .function = db_column_blob(s, 1),
                           .preset = db_column_blob(s, 2),
                           .config_hash = db_column_blob(s, 3),
                           .source_generation = db_column_int(s, 4),
                           .failed = db_column_int(s, 5) != 0,
                           .reason = db_column_blob(s, 6)};
        if (fn(arg, &u) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}
