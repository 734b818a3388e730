/*
 * A batch is one row; see batch.h for its states. Its events carry its id. An object with several
 * functions has several events and counts once, when the last one ends, with the worst of their
 * outcomes, which wait in the siblings' rows (batch_worst).
 *
 * Pausing stops the feeder; the few events that already wait run out.
 */
#include "pipeline/batch.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/rule.h"

#define UNFINISHED_MAX 100
#define TRIM_ROWS 100
#define DROP_STEP 1000
#define COLUMNS                                                                              \
    "id, bucket_id, bucket, prefix, function, cursor, state, seen, planned, done, skipped, " \
    "failed, created_ms, finished_ms"

static const char *const state_names[] = {
#define X(id, name) name,
    BATCH_STATE_LIST(X)
#undef X
};

static const unsigned allowed[BATCH_STATE_COUNT] = {
    [BATCH_FEEDING] = 1u << BATCH_DRAINING | 1u << BATCH_PAUSED_FEEDING | 1u << BATCH_CANCELED,
    [BATCH_DRAINING] = 1u << BATCH_DONE | 1u << BATCH_PAUSED_DRAINING | 1u << BATCH_CANCELED,
    [BATCH_PAUSED_FEEDING] = 1u << BATCH_FEEDING | 1u << BATCH_CANCELED,
    [BATCH_PAUSED_DRAINING] = 1u << BATCH_DRAINING | 1u << BATCH_CANCELED,
};

const char *
batch_state_name(enum batch_state s)
{
    CHK(s < BATCH_STATE_COUNT);
    return state_names[s];
}

static void
row_read(struct db_stmt *s, struct batch *b)
{
    int64_t state = db_column_int(s, 6);
    *b = (struct batch){.id = db_column_int(s, 0),
                        .bucket_id = db_column_int(s, 1),
                        .bucket = db_column_blob(s, 2),
                        .prefix = db_column_blob(s, 3),
                        .function = db_column_blob(s, 4),
                        .cursor = db_column_blob(s, 5),
                        .state = state >= 0 && state < BATCH_STATE_COUNT ? (enum batch_state)state
                                                                         : BATCH_CANCELED,
                        .seen = db_column_int(s, 7),
                        .planned = db_column_int(s, 8),
                        .done = db_column_int(s, 9),
                        .skipped = db_column_int(s, 10),
                        .failed = db_column_int(s, 11),
                        .created_ms = db_column_int(s, 12),
                        .finished_ms = db_column_int(s, 13)};
}

int
batch_get(struct db_conn *conn, int64_t id, batch_fn fn, void *arg)
{
    struct batch b;
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM batch WHERE id = ?1");
    db_bind_int(s, 1, id);
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    row_read(s, &b);
    fn(arg, &b);
    db_reset(s);
    return ERR_NONE;
}

int
batch_list(struct db_conn *conn, int64_t before_id, int max, batch_fn fn, void *arg)
{
    struct batch b;
    int rc;
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM batch WHERE ?1 = 0 OR id < ?1 "
                                         "ORDER BY id DESC LIMIT ?2");
    db_bind_int(s, 1, before_id);
    db_bind_int(s, 2, max);
    while ((rc = db_step(s)) == DB_ROW) {
        row_read(s, &b);
        if (fn(arg, &b) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}

/* ---- states ---- */

struct brief { /* of a row, without its texts */
    enum batch_state state;
    int64_t planned, ended;
};

static int
brief_of(void *arg, const struct batch *b)
{
    struct brief *out = arg;
    *out = (struct brief){b->state, b->planned, b->done + b->skipped + b->failed};
    return 0;
}

/* The one setter. ERR_CONFLICT for a move that the drawing does not have. */
static int
state_set(struct db_conn *conn, int64_t id, enum batch_state from, enum batch_state to)
{
    if ((allowed[from] & 1u << to) == 0)
        return ERR_CONFLICT;
    bool finished = to == BATCH_DONE || to == BATCH_CANCELED;
    struct db_stmt *s =
        db_prepare(conn, "UPDATE batch SET state = ?2, finished_ms = ?3 WHERE id = ?1");
    db_bind_int(s, 1, id);
    db_bind_int(s, 2, to);
    db_bind_int(s, 3, finished ? clock_wall_ms() : 0);
    return db_run(s);
}

static int
finish_if_drained(struct db_conn *conn, int64_t id)
{
    struct brief b;
    int err = batch_get(conn, id, brief_of, &b);
    if (err != ERR_NONE || b.state != BATCH_DRAINING || b.ended < b.planned)
        return err;
    return state_set(conn, id, BATCH_DRAINING, BATCH_DONE);
}

int
batch_apply_listed(struct db_conn *conn, int64_t id)
{
    int err = state_set(conn, id, BATCH_FEEDING, BATCH_DRAINING);
    return err == ERR_NONE ? finish_if_drained(conn, id) : err;
}

int
batch_apply_pause(struct db_conn *conn, int64_t id)
{
    struct brief b;
    int err = batch_get(conn, id, brief_of, &b);
    if (err != ERR_NONE)
        return err;
    return state_set(conn, id, b.state,
                     b.state == BATCH_FEEDING ? BATCH_PAUSED_FEEDING : BATCH_PAUSED_DRAINING);
}

int
batch_apply_resume(struct db_conn *conn, int64_t id)
{
    struct brief b;
    int err = batch_get(conn, id, brief_of, &b);
    if (err != ERR_NONE)
        return err;
    err = state_set(conn, id, b.state,
                    b.state == BATCH_PAUSED_FEEDING ? BATCH_FEEDING : BATCH_DRAINING);
    return err == ERR_NONE ? finish_if_drained(conn, id) : err;
}

int
batch_apply_cancel(struct db_conn *conn, int64_t id)
{
    struct brief b;
    int dropped = 0;
    int err = batch_get(conn, id, brief_of, &b);
    if (err == ERR_NONE)
        err = state_set(conn, id, b.state, BATCH_CANCELED);
    do {
        if (err == ERR_NONE)
            err = queue_apply_drop_batch(conn, id, DROP_STEP, &dropped);
    } while (err == ERR_NONE && dropped == DROP_STEP);
    return err;
}

int
batch_apply_ended(struct db_conn *conn, const struct queue_event *e, enum batch_outcome outcome)
{
    CHK(e->batch_id != 0);
    struct db_stmt *s = db_prepare(
        conn, "UPDATE event SET batch_worst = CASE WHEN batch_worst > ?4 THEN batch_worst ELSE ?4 "
              "END WHERE bucket_id = ?1 AND key = ?2 AND batch_id = ?3");
    db_bind_int(s, 1, e->bucket_id);
    db_bind_blob(s, 2, e->key);
    db_bind_int(s, 3, e->batch_id);
    int worst = e->batch_worst > (int)outcome ? e->batch_worst : (int)outcome;
    db_bind_int(s, 4, worst);
    int err = db_run(s);
    if (err != ERR_NONE || db_changes(conn) > 0)
        return err;
    s = db_prepare(conn, "UPDATE batch SET done = done + ?2, skipped = skipped + ?3, "
                         "failed = failed + ?4 WHERE id = ?1");
    db_bind_int(s, 1, e->batch_id);
    db_bind_int(s, 2, worst == BATCH_OUTCOME_DONE);
    db_bind_int(s, 3, worst == BATCH_OUTCOME_SKIPPED);
    db_bind_int(s, 4, worst == BATCH_OUTCOME_FAILED);
    err = db_run(s);
    if (err == ERR_NONE && db_changes(conn) == 0)
        return ERR_NONE; /* an old batch whose row was trimmed */
    return err == ERR_NONE ? finish_if_drained(conn, e->batch_id) : err;
}

/* ---- creating ---- */

static int
unfinished(struct db_conn *conn, int64_t *count)
{
    struct db_stmt *s = db_prepare(conn, "SELECT COUNT(*) FROM batch WHERE state < ?1");
    db_bind_int(s, 1, BATCH_DONE);
    int rc = db_step(s);
    *count = rc == DB_ROW ? db_column_int(s, 0) : 0;
    db_reset(s);
    return rc < 0 ? rc : ERR_NONE;
}

static int
trim(struct db_conn *conn)
{
    struct db_stmt *s =
        db_prepare(conn, "DELETE FROM batch WHERE id IN (SELECT id FROM batch WHERE state >= ?1 "
                         "ORDER BY id DESC LIMIT ?2 OFFSET ?3)");
    db_bind_int(s, 1, BATCH_DONE);
    db_bind_int(s, 2, TRIM_ROWS);
    db_bind_int(s, 3, BATCHES_KEPT_MAX);
    return db_run(s);
}

static int
row_insert(struct db_conn *conn, struct batch *b)
{
    b->id = db_next(conn);
    b->state = BATCH_FEEDING;
    b->created_ms = clock_wall_ms();
    struct db_stmt *s = db_prepare(conn, "INSERT INTO batch (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, "
                                         "?5, ?6, ?7, 0, 0, 0, 0, 0, ?8, 0)");
    db_bind_int(s, 1, b->id);
    db_bind_int(s, 2, b->bucket_id);
    db_bind_text(s, 3, b->bucket);
    db_bind_blob(s, 4, b->prefix);
    db_bind_text(s, 5, b->function);
    db_bind_blob(s, 6, SLICE_NONE);
    db_bind_int(s, 7, b->state);
    db_bind_int(s, 8, b->created_ms);
    return db_run(s);
}

int
batch_apply_create(struct registry *r, struct db_conn *conn, struct batch *spec)
{
    struct slice owner;
    int64_t count = 0;
    bool any = false;
    struct rule_list rules = {NULL, 0};
    struct arena *a = arena_new(RULE_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err =
        store_apply_bucket_get(registry_store(r), conn, spec->bucket, &spec->bucket_id, a, &owner);
    if (err == ERR_NOTFOUND)
        err = ERR_NOPARENT;
    if (err == ERR_NONE)
        err = rule_load(conn, spec->bucket_id, a, &rules);
    for (size_t i = 0; err == ERR_NONE && i < rules.count; i++)
        any = any || ((rules.rules[i].events & EVENT_MASK_CREATED) != 0 &&
                      (spec->function.n == 0 || slice_eq(spec->function, rules.rules[i].function)));
    if (err == ERR_NONE && !any)
        err = ERR_NOTFOUND;
    if (err == ERR_NONE)
        err = unfinished(conn, &count);
    if (err == ERR_NONE && count >= UNFINISHED_MAX)
        err = ERR_BUSY;
    if (err == ERR_NONE)
        err = trim(conn);
    if (err == ERR_NONE)
        err = row_insert(conn, spec);
    arena_free(&a);
    return err;
}
