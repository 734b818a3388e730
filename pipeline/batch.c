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
#define TRIM_ROWS 4 /* with the names of what failed in them */
#define DROP_STEP 1000
#define FAILURE_NAME_MAX (NATIVE_BUCKET_MAX + 1 + STORE_KEY_MAX)
#define COLUMNS                                                                              \
    "id, bucket_id, bucket, prefix, function, cursor, state, seen, planned, done, skipped, " \
    "failed, created_ms, finished_ms, source, preset, selection, since_ms, rate, due_us, "   \
    "expected"

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
                        .finished_ms = db_column_int(s, 13),
                        .source = (enum batch_source)db_column_int(s, 14),
                        .preset = db_column_blob(s, 15),
                        .select = (unsigned)db_column_int(s, 16) & SELECT_MASK,
                        .since_ms = db_column_int(s, 17),
                        .rate = db_column_int(s, 18),
                        .due_us = db_column_int(s, 19),
                        .expected = db_column_int(s, 20)};
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
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM batch WHERE id < ?1 "
                                         "ORDER BY id DESC LIMIT ?2");
    db_bind_int(s, 1, before_id == 0 ? INT64_MAX : before_id);
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
    bool all_buckets; /* a replay without a bucket */
};

static int
brief_of(void *arg, const struct batch *b)
{
    struct brief *out = arg;
    *out = (struct brief){b->state, b->planned, b->done + b->skipped + b->failed, b->bucket.n == 0};
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
    /* One that feeds must not be taken for one that has been fed. */
    if (b.state != BATCH_PAUSED_FEEDING && b.state != BATCH_PAUSED_DRAINING)
        return ERR_CONFLICT;
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

/* ---- names of what failed ---- */

/* The first reason of an object is kept, and of a batch the first objects. A batch of all buckets
 * names them BUCKET/KEY: no bucket's name has a slash. */
static int
failure_insert(struct db_conn *conn, const struct queue_event *e, struct slice name,
               struct slice reason)
{
    struct db_stmt *s =
        db_prepare(conn, "INSERT INTO batch_failure (batch_id, key, function, reason) "
                         "SELECT id, ?2, ?3, ?4 FROM batch WHERE id = ?1 AND failed < ?5 "
                         "ON CONFLICT (batch_id, key) DO NOTHING");
    db_bind_int(s, 1, e->batch_id);
    db_bind_blob(s, 2, name);
    db_bind_text(s, 3, e->function);
    db_bind_text(s, 4, slice_is_utf8(reason) ? reason : SLICE_LIT("unreadable reason"));
    db_bind_int(s, 5, BATCH_FAILURES_MAX);
    return db_run(s);
}

static int
failure_keep(struct db_conn *conn, const struct queue_event *e, struct slice reason)
{
    struct brief b;
    struct buf name;
    int err = batch_get(conn, e->batch_id, brief_of, &b);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NONE : err; /* an old batch whose row was trimmed */
    if (!b.all_buckets)
        return failure_insert(conn, e, e->key, reason);
    buf_init(&name, FAILURE_NAME_MAX);
    buf_put_slice(&name, e->bucket);
    buf_putc(&name, '/');
    buf_put_slice(&name, e->key);
    err = name.err != ERR_NONE ? name.err : failure_insert(conn, e, buf_slice(&name), reason);
    buf_fini(&name);
    return err;
}

static struct batch_failure
failure_of(struct db_stmt *s)
{
    struct batch_failure f = {.name = db_column_blob(s, 0),
                              .key = db_column_blob(s, 0),
                              .function = db_column_blob(s, 1),
                              .reason = db_column_blob(s, 2),
                              .bucket = db_column_blob(s, 3)};
    if (f.bucket.n == 0)
        f.bucket = slice_cut(f.name, '/', &f.key);
    return f;
}

int
batch_failures(struct db_conn *conn, int64_t id, struct slice after, int max, batch_failure_fn fn,
               void *arg)
{
    int rc;
    struct db_stmt *s =
        db_prepare(conn, "SELECT f.key, f.function, f.reason, b.bucket FROM batch_failure AS f "
                         "JOIN batch AS b ON b.id = f.batch_id "
                         "WHERE f.batch_id = ?1 AND f.key > ?2 ORDER BY f.key LIMIT ?3");
    db_bind_int(s, 1, id);
    db_bind_blob(s, 2, after);
    db_bind_int(s, 3, max);
    while ((rc = db_step(s)) == DB_ROW) {
        struct batch_failure f = failure_of(s);
        if (fn(arg, &f) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}

/* ---- an event's end ---- */

/* Leaves the outcome with the events of the object that go on; false: there are none. */
static int
leave_to_siblings(struct db_conn *conn, const struct queue_event *e, int worst, bool *left)
{
    struct db_stmt *s = db_prepare(
        conn, "UPDATE event SET batch_worst = CASE WHEN batch_worst > ?4 THEN batch_worst ELSE ?4 "
              "END WHERE bucket_id = ?1 AND key = ?2 AND batch_id = ?3");
    db_bind_int(s, 1, e->bucket_id);
    db_bind_blob(s, 2, e->key);
    db_bind_int(s, 3, e->batch_id);
    db_bind_int(s, 4, worst);
    int err = db_run(s);
    *left = err == ERR_NONE && db_changes(conn) > 0;
    return err;
}

static int
count_object(struct db_conn *conn, int64_t id, int worst)
{
    struct db_stmt *s =
        db_prepare(conn, "UPDATE batch SET done = done + ?2, skipped = skipped + ?3, "
                         "failed = failed + ?4 WHERE id = ?1");
    db_bind_int(s, 1, id);
    db_bind_int(s, 2, worst == BATCH_OUTCOME_DONE);
    db_bind_int(s, 3, worst == BATCH_OUTCOME_SKIPPED);
    db_bind_int(s, 4, worst == BATCH_OUTCOME_FAILED);
    int err = db_run(s);
    if (err == ERR_NONE && db_changes(conn) == 0)
        return ERR_NONE; /* an old batch whose row was trimmed */
    return err == ERR_NONE ? finish_if_drained(conn, id) : err;
}

int
batch_apply_ended(struct db_conn *conn, const struct queue_event *e, enum batch_outcome outcome,
                  struct slice reason)
{
    bool left = false;
    int worst = e->batch_worst > (int)outcome ? e->batch_worst : (int)outcome;
    CHK(e->batch_id != 0);
    int err = outcome == BATCH_OUTCOME_FAILED ? failure_keep(conn, e, reason) : ERR_NONE;
    if (err == ERR_NONE)
        err = leave_to_siblings(conn, e, worst, &left);
    return err == ERR_NONE && !left ? count_object(conn, e->batch_id, worst) : err;
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

/* Two texts of one condition: the batches that are finished and many others are newer. */
#define OLD_BATCHES "(SELECT id FROM batch WHERE state >= ?1 ORDER BY id DESC LIMIT ?2 OFFSET ?3)"

static int
trim(struct db_conn *conn)
{
    int err = ERR_NONE;
    for (int i = 0; i < 2 && err == ERR_NONE; i++) {
        struct db_stmt *s =
            i == 0 ? db_prepare(conn, "DELETE FROM batch_failure WHERE batch_id IN " OLD_BATCHES)
                   : db_prepare(conn, "DELETE FROM batch WHERE id IN " OLD_BATCHES);
        db_bind_int(s, 1, BATCH_DONE);
        db_bind_int(s, 2, TRIM_ROWS);
        db_bind_int(s, 3, BATCHES_KEPT_MAX);
        err = db_run(s);
    }
    return err;
}

static int
row_insert(struct db_conn *conn, struct batch *b)
{
    b->id = db_next(conn);
    b->state = BATCH_FEEDING;
    b->created_ms = clock_wall_ms();
    struct db_stmt *s = db_prepare(conn, "INSERT INTO batch (" COLUMNS
                                         ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, 0, 0, "
                                         "?8, 0, ?9, ?10, ?11, ?12, ?13, ?14, ?15)");
    db_bind_int(s, 1, b->id);
    db_bind_int(s, 2, b->bucket_id);
    db_bind_text(s, 3, b->bucket);
    db_bind_blob(s, 4, b->prefix);
    db_bind_text(s, 5, b->function);
    db_bind_blob(s, 6, SLICE_NONE);
    db_bind_int(s, 7, b->state);
    db_bind_int(s, 8, b->created_ms);
    db_bind_int(s, 9, b->source);
    db_bind_text(s, 10, b->preset);
    db_bind_int(s, 11, b->select);
    db_bind_int(s, 12, b->since_ms);
    db_bind_int(s, 13, b->rate);
    db_bind_int(s, 14, b->created_ms * 1000);
    db_bind_int(s, 15, b->expected);
    return db_run(s);
}

/* Names it by its function, so that a preset of the thumbnails selects no facts. */
static int
check_preset(struct registry *r, struct db_conn *conn, struct batch *spec, struct buf *why)
{
    struct function_set *set = NULL;
    const struct function *f = NULL;
    bool found = false;
    if (spec->preset.n == 0)
        return ERR_NONE;
    if (spec->function.n == 0)
        spec->function = NATIVE_THUMBNAIL_NAME;
    int err = registry_get(r, conn, &set);
    if (err == ERR_NONE)
        f = registry_find(set, spec->function);
    for (size_t i = 0; f != NULL && i < f->native.presets.count; i++)
        found = found || slice_eqs(spec->preset, f->native.presets.presets[i].name) ||
                slice_eq(spec->preset, preset_base_name(&f->native.presets.presets[i]));
    registry_unref(&set);
    if (err != ERR_NONE || found)
        return err;
    buf_printf(why, "function %.*s has no preset %.*s", SLICE_FMT(spec->function),
               SLICE_FMT(spec->preset));
    return ERR_NOTFOUND;
}

/* A longer one matches no key, and would be more than the feeder has room for. */
static int
check_prefix(const struct batch *spec, struct buf *why)
{
    if (spec->prefix.n <= STORE_KEY_MAX)
        return ERR_NONE;
    buf_printf(why, "a prefix has at most %d bytes", STORE_KEY_MAX);
    return ERR_INVALID;
}

static int
check_rules(struct db_conn *conn, struct arena *a, const struct batch *spec, struct buf *why)
{
    struct rule_list rules = {NULL, 0};
    bool any = false;
    int err = rule_load(conn, spec->bucket_id, a, &rules);
    for (size_t i = 0; err == ERR_NONE && i < rules.count; i++)
        any = any || ((rules.rules[i].events & EVENT_MASK_CREATED) != 0 &&
                      (spec->function.n == 0 || slice_eq(spec->function, rules.rules[i].function)));
    if (err != ERR_NONE || any)
        return err;
    buf_printf(why, "no notification rule of bucket %.*s goes to %s%.*s", SLICE_FMT(spec->bucket),
               spec->function.n > 0 ? "function " : "any function", SLICE_FMT(spec->function));
    return ERR_NOTFOUND;
}

int
batch_check(struct registry *r, struct db_conn *conn, struct batch *spec, struct buf *why)
{
    struct slice owner;
    buf_reset(why);
    if (spec->select == 0 || (spec->select & ~SELECT_MASK) != 0 || spec->rate < 0 ||
        spec->rate > BATCH_RATE_MAX || spec->since_ms < 0 || spec->expected < 0) {
        buf_printf(why, "a rate is 1 to %d objects per second, a time is not negative",
                   BATCH_RATE_MAX);
        return ERR_INVALID;
    }
    int err = check_prefix(spec, why);
    if (err != ERR_NONE)
        return err;
    struct arena *a = arena_new(RULE_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    err =
        store_apply_bucket_get(registry_store(r), conn, spec->bucket, &spec->bucket_id, a, &owner);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT) {
        buf_printf(why, "no bucket %.*s", SLICE_FMT(spec->bucket));
        err = ERR_NOPARENT;
    }
    if (err == ERR_NONE)
        err = check_preset(r, conn, spec, why);
    if (err == ERR_NONE)
        err = check_rules(conn, a, spec, why);
    arena_free(&a);
    return err;
}

static int
check_bucket(struct registry *r, struct db_conn *conn, struct batch *spec, struct buf *why)
{
    int err = check_prefix(spec, why);
    if (err == ERR_NONE && spec->bucket.n > 0)
        err = store_apply_bucket_get(registry_store(r), conn, spec->bucket, &spec->bucket_id, NULL,
                                     NULL);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT) {
        buf_printf(why, "no bucket %.*s", SLICE_FMT(spec->bucket));
        err = ERR_NOPARENT;
    }
    return err;
}

int
batch_apply_create(struct registry *r, struct db_conn *conn, struct batch *spec, struct buf *why)
{
    int64_t count = 0;
    int err = spec->source == BATCH_SOURCE_OBJECTS ? batch_check(r, conn, spec, why)
                                                   : check_bucket(r, conn, spec, why);
    if (err == ERR_NONE)
        err = unfinished(conn, &count);
    if (err == ERR_NONE && count >= UNFINISHED_MAX) {
        buf_puts(why, "too many unfinished batches");
        err = ERR_BUSY;
    }
    if (err == ERR_NONE)
        err = trim(conn);
    return err == ERR_NONE ? row_insert(conn, spec) : err;
}
