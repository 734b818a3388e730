/*
 * Rows and the one row of counts; see queue.h for the life of an event.
 *
 * Invariants: (1) every statement that adds or removes an event changes queue_count in the same
 * operation, so added = waiting + acked + superseded + died + dropped at every commit; a difference
 * would be a lost event and is exported as such. (2) Nothing here knows which events are leased: a
 * removal may hit a running one, whose result then finds its event gone and is dropped.
 */
#include "pipeline/queue.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/plant.h"

#define DROP_STEP_MAX 10000
#define COLUMNS                                                                          \
    "id, lane, function, bucket_id, bucket, key, generation, type, followup, batch_id, " \
    "batch_worst, attempts, not_before_ms, created_ms, request_id, reason"

#define DEAD_COLUMNS COLUMNS ", dead_ms, class"
#define DEAD_ARENA_BYTES (64u << 10)

static const char *const lane_names[LANE_COUNT] = {"live", "followup", "batch"};
static const char *const class_names[DEAD_CLASS_COUNT] = {
#define X(id, name) [DEAD_##id] = name,
    DEAD_CLASS_LIST(X)
#undef X
};

const char *
queue_lane_name(enum queue_lane lane)
{
    CHK(lane < LANE_COUNT);
    return lane_names[lane];
}

const char *
dead_class_name(enum dead_class c)
{
    CHK(c < DEAD_CLASS_COUNT);
    return class_names[c];
}

int
dead_class_parse(struct slice name, enum dead_class *out)
{
    for (int c = 0; c < DEAD_CLASS_COUNT; c++) {
        size_t i = 0, n = strlen(class_names[c]);
        while (i < n && name.n == n &&
               (name.p[i] == class_names[c][i] || (name.p[i] == '-' && class_names[c][i] == ' ')))
            i++;
        if (i == n && name.n == n) {
            *out = (enum dead_class)c;
            return ERR_NONE;
        }
    }
    return ERR_NOTFOUND;
}

/* ---- rows ---- */

static void
row_read(struct db_stmt *s, struct queue_event *e)
{
    int64_t lane = db_column_int(s, 1);
    int64_t type = db_column_int(s, 7);
    *e = (struct queue_event){
        .id = db_column_int(s, 0),
        .lane = lane >= 0 && lane < LANE_COUNT ? (enum queue_lane)lane : LANE_BATCH,
        .function = db_column_blob(s, 2),
        .bucket_id = db_column_int(s, 3),
        .bucket = db_column_blob(s, 4),
        .key = db_column_blob(s, 5),
        .generation = db_column_int(s, 6),
        .type = type >= 0 && type < EVENT_TYPE_COUNT ? (enum event_type)type : EVENT_CREATED_PUT,
        .followup = db_column_int(s, 8) != 0,
        .followup_of = db_column_int(s, 8),
        .batch_id = db_column_int(s, 9),
        .batch_worst = (int)db_column_int(s, 10),
        .attempts = (int)db_column_int(s, 11),
        .not_before_ms = db_column_int(s, 12),
        .created_ms = db_column_int(s, 13),
        .request_id = db_column_blob(s, 14),
        .reason = db_column_blob(s, 15),
    };
}

int
queue_event_copy(struct arena *a, const struct queue_event *from, struct queue_event *to)
{
    *to = *from;
    to->function = arena_dup(a, from->function);
    to->bucket = arena_dup(a, from->bucket);
    to->key = arena_dup(a, from->key);
    to->request_id = arena_dup(a, from->request_id);
    to->reason = arena_dup(a, from->reason);
    bool ok = to->function.p != NULL && to->bucket.p != NULL && to->key.p != NULL &&
              to->request_id.p != NULL && to->reason.p != NULL;
    return ok ? ERR_NONE : ERR_NOMEM;
}

static void
row_bind(struct db_stmt *s, const struct queue_event *e)
{
    CHK(e->followup == (e->followup_of != 0));
    db_bind_int(s, 1, e->id);
    db_bind_int(s, 2, e->lane);
    db_bind_text(s, 3, e->function);
    db_bind_int(s, 4, e->bucket_id);
    db_bind_text(s, 5, e->bucket);
    db_bind_blob(s, 6, e->key);
    db_bind_int(s, 7, e->generation);
    db_bind_int(s, 8, e->type);
    db_bind_int(s, 9, e->followup_of);
    db_bind_int(s, 10, e->batch_id);
    db_bind_int(s, 11, e->batch_worst);
    db_bind_int(s, 12, e->attempts);
    db_bind_int(s, 13, e->not_before_ms);
    db_bind_int(s, 14, e->created_ms);
    db_bind_text(s, 15, e->request_id);
    db_bind_text(s, 16, e->reason);
}

static int
count(struct db_conn *conn, const struct queue_counts *d)
{
    struct db_stmt *s = db_prepare(
        conn, "UPDATE queue_count SET live = live + ?1, followup = followup + ?2, "
              "batch = batch + ?3, dead = dead + ?4, added = added + ?5, acked = acked + ?6, "
              "superseded = superseded + ?7, retried = retried + ?8, died = died + ?9, "
              "dropped = dropped + ?10 WHERE id = 1");
    db_bind_int(s, 1, d->waiting[LANE_LIVE]);
    db_bind_int(s, 2, d->waiting[LANE_FOLLOWUP]);
    db_bind_int(s, 3, d->waiting[LANE_BATCH]);
    db_bind_int(s, 4, d->dead);
    db_bind_int(s, 5, d->added);
    db_bind_int(s, 6, d->acked);
    db_bind_int(s, 7, d->superseded);
    db_bind_int(s, 8, d->retried);
    db_bind_int(s, 9, d->died);
    db_bind_int(s, 10, d->dropped);
    return db_run(s);
}

/* ---- changing ---- */

static bool
planted_loss(struct db_conn *conn, const struct queue_event *e)
{
    if (!plant_drop_event || e->lane != LANE_LIVE)
        return false;
    struct db_stmt *s = db_prepare(conn, "SELECT live FROM queue_count WHERE id = 1");
    bool full = db_step(s) == DB_ROW && db_column_int(s, 0) >= plant_full_events;
    db_reset(s);
    return full;
}

int
queue_apply_add(struct db_conn *conn, struct queue_event *e)
{
    CHK(e->lane < LANE_COUNT && e->function.n > 0 && e->generation > 0);
    struct queue_counts d = {.added = 1};
    e->id = db_next(conn);
    if (planted_loss(conn, e))
        return ERR_NONE;
    if (e->created_ms == 0)
        e->created_ms = clock_wall_ms();
    struct db_stmt *s = db_prepare(conn, "INSERT INTO event (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, "
                                         "?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)");
    row_bind(s, e);
    int err = db_run(s);
    d.waiting[e->lane] = 1;
    return err == ERR_NONE ? count(conn, &d) : err;
}

int
queue_get(struct db_conn *conn, int64_t id, struct arena *a, struct queue_event *out)
{
    struct queue_event lent;
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM event WHERE id = ?1");
    db_bind_int(s, 1, id);
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    row_read(s, &lent);
    rc = queue_event_copy(a, &lent, out);
    db_reset(s);
    return rc;
}

static int
row_remove(struct db_conn *conn, int64_t id)
{
    struct db_stmt *s = db_prepare(conn, "DELETE FROM event WHERE id = ?1");
    db_bind_int(s, 1, id);
    int err = db_run(s);
    return err == ERR_NONE && db_changes(conn) == 0 ? ERR_NOTFOUND : err;
}

int
queue_apply_ack(struct db_conn *conn, const struct queue_event *e, enum queue_end how)
{
    struct queue_counts d = {.acked = how == QUEUE_ACKED, .superseded = how == QUEUE_SUPERSEDED};
    int err = row_remove(conn, e->id);
    d.waiting[e->lane] = -1;
    return err == ERR_NONE ? count(conn, &d) : err;
}

static struct slice
reason_cut(struct slice reason)
{
    if (reason.n <= QUEUE_REASON_MAX)
        return reason;
    reason.n = QUEUE_REASON_MAX;
    while (reason.n > 0 && !slice_is_utf8(reason))
        reason.n--; /* not in the middle of a character */
    return reason;
}

static int
bury(struct db_conn *conn, const struct queue_event *e, enum dead_class class)
{
    struct queue_counts d = {.dead = 1, .died = 1};
    int err = row_remove(conn, e->id);
    if (err != ERR_NONE)
        return err;
    struct db_stmt *s =
        db_prepare(conn, "INSERT INTO dead_letter (" DEAD_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, "
                         "?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)");
    row_bind(s, e);
    db_bind_int(s, 17, clock_wall_ms());
    db_bind_text(s, 18, slice_str(class_names[class]));
    err = db_run(s);
    d.waiting[e->lane] = -1;
    return err == ERR_NONE ? count(conn, &d) : err;
}

/* Full jitter: anything between nothing and the exponential limit, so that many events that failed
 * together do not come back together. */
static int64_t
backoff_ms(int attempts, int64_t base_ms)
{
    uint64_t noise;
    int64_t limit = base_ms;
    for (int i = 1; i < attempts && limit < QUEUE_RETRY_DELAY_MS_MAX; i++)
        limit *= 2;
    if (limit > QUEUE_RETRY_DELAY_MS_MAX)
        limit = QUEUE_RETRY_DELAY_MS_MAX;
    random_bytes(&noise, sizeof noise);
    return (int64_t)(noise % (uint64_t)(limit + 1));
}

int
queue_apply_fail(struct db_conn *conn, const struct queue_event *e, struct slice outcome,
                 struct slice reason, const struct queue_retry *retry, bool *dead)
{
    enum dead_class class;
    struct queue_event failed = *e;
    struct queue_counts d = {.retried = 1};
    int64_t now = clock_wall_ms();
    failed.attempts++;
    failed.reason = reason_cut(reason);
    failed.not_before_ms = now + backoff_ms(failed.attempts, retry->base_ms);
    /* The age limits how long an event is retried; waiting behind a backlog does not kill it. */
    bool used_up = failed.attempts > retry->retries_max;
    *dead = used_up ||
            failed.not_before_ms - failed.created_ms > (int64_t)retry->event_age_max_s * 1000;
    if (!used_up)
        class = DEAD_TOO_OLD;
    else if (dead_class_parse(outcome, &class) != ERR_NONE)
        class = DEAD_ERROR;
    if (*dead)
        return bury(conn, &failed, class);
    struct db_stmt *s = db_prepare(conn, "UPDATE event SET attempts = ?2, not_before_ms = ?3, "
                                         "reason = ?4 WHERE id = ?1");
    db_bind_int(s, 1, failed.id);
    db_bind_int(s, 2, failed.attempts);
    db_bind_int(s, 3, failed.not_before_ms);
    db_bind_text(s, 4, failed.reason);
    int err = db_run(s);
    if (err == ERR_NONE && db_changes(conn) == 0)
        return ERR_NOTFOUND;
    return err == ERR_NONE ? count(conn, &d) : err;
}

struct event_list {
    struct queue_event event;
    struct event_list *next;
};

int
queue_apply_supersede(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t generation,
                      struct arena *a,
                      int (*fn)(void *arg, struct db_conn *conn, const struct queue_event *e),
                      void *arg)
{
    struct event_list *list = NULL;
    struct queue_event lent;
    int rc;
    if (plant_no_fence)
        return ERR_NONE; /* what runs would be acknowledged, and its result not even judged */
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM event WHERE bucket_id = ?1 AND "
                                         "key = ?2 AND (?3 = 0 OR generation < ?3)");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    db_bind_int(s, 3, generation);
    while ((rc = db_step(s)) == DB_ROW) {
        struct event_list *item = arena_alloc(a, sizeof *item);
        row_read(s, &lent);
        if (item == NULL || queue_event_copy(a, &lent, &item->event) != ERR_NONE) {
            db_reset(s);
            return ERR_NOMEM;
        }
        item->next = list;
        list = item;
    }
    for (; rc == ERR_NONE && list != NULL; list = list->next) {
        rc = queue_apply_ack(conn, &list->event, QUEUE_SUPERSEDED);
        if (rc == ERR_NONE && fn != NULL)
            rc = fn(arg, conn, &list->event);
    }
    return rc;
}

int
queue_apply_drop_batch(struct db_conn *conn, int64_t batch_id, int max, int *dropped)
{
    struct queue_counts d = {0};
    CHK(max <= DROP_STEP_MAX);
    struct db_stmt *s =
        db_prepare(conn, "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE batch_id = ?1 "
                         "AND batch_id > 0 LIMIT ?2)");
    db_bind_int(s, 1, batch_id);
    db_bind_int(s, 2, max);
    int err = db_run(s);
    *dropped = err == ERR_NONE ? (int)db_changes(conn) : 0;
    d.waiting[LANE_BATCH] = -*dropped; /* events of a batch are in no other lane */
    d.dropped = *dropped;
    return err == ERR_NONE ? count(conn, &d) : err;
}

int
queue_apply_wake(struct db_conn *conn, int64_t now_ms, int max, int *woken)
{
    struct db_stmt *s =
        db_prepare(conn, "UPDATE event SET not_before_ms = 0 WHERE id IN (SELECT id FROM event "
                         "WHERE not_before_ms > 0 AND not_before_ms <= ?1 "
                         "ORDER BY not_before_ms LIMIT ?2)");
    db_bind_int(s, 1, now_ms);
    db_bind_int(s, 2, max);
    int err = db_run(s);
    *woken = err == ERR_NONE ? (int)db_changes(conn) : 0;
    return err;
}

/* ---- reading ---- */

static int
each(struct db_stmt *s, queue_event_fn fn, void *arg)
{
    struct queue_event e;
    int rc;
    while ((rc = db_step(s)) == DB_ROW) {
        row_read(s, &e);
        if (fn(arg, &e) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}

int
queue_next(struct db_conn *conn, enum queue_lane lane, struct slice function, int64_t after,
           int max, queue_event_fn fn, void *arg)
{
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM event WHERE not_before_ms = 0 "
                                         "AND lane = ?1 AND function = ?2 AND id > ?3 "
                                         "ORDER BY id LIMIT ?4");
    db_bind_int(s, 1, lane);
    db_bind_text(s, 2, function);
    db_bind_int(s, 3, after);
    db_bind_int(s, 4, max);
    return each(s, fn, arg);
}

int
queue_page(struct db_conn *conn, int64_t after, int max, queue_event_fn fn, void *arg)
{
    struct db_stmt *s =
        db_prepare(conn, "SELECT " COLUMNS " FROM event WHERE id > ?1 ORDER BY id LIMIT ?2");
    db_bind_int(s, 1, after);
    db_bind_int(s, 2, max);
    return each(s, fn, arg);
}

int
queue_of_key(struct db_conn *conn, int64_t bucket_id, struct slice key, queue_event_fn fn,
             void *arg)
{
    struct db_stmt *s = db_prepare(conn, "SELECT " COLUMNS " FROM event WHERE bucket_id = ?1 "
                                         "AND key = ?2 ORDER BY id");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    return each(s, fn, arg);
}

int
queue_next_delayed(struct db_conn *conn, int64_t *not_before_ms)
{
    *not_before_ms = 0;
    struct db_stmt *s = db_prepare(conn, "SELECT not_before_ms FROM event WHERE not_before_ms > 0 "
                                         "ORDER BY not_before_ms LIMIT 1");
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc;
    *not_before_ms = db_column_int(s, 0);
    db_reset(s);
    return ERR_NONE;
}

/* ---- dead letters ---- */

static bool
dead_matches(const struct dead_filter *f, const struct dead_letter *d)
{
    return (f->function.n == 0 || slice_eq(f->function, d->event.function)) &&
           (f->bucket.n == 0 || slice_eq(f->bucket, d->event.bucket)) &&
           slice_starts(d->event.key, f->prefix) && (!f->has_class || f->class == d->class) &&
           (f->dead_before_ms == 0 || d->dead_ms < f->dead_before_ms);
}

static int
each_dead(struct db_stmt *s, const struct dead_filter *f, int max, dead_letter_fn fn, void *arg,
          int64_t *next)
{
    struct dead_letter d;
    int rc, seen = 0, given = 0;
    *next = 0;
    while ((rc = db_step(s)) == DB_ROW) {
        row_read(s, &d.event);
        d.id = d.event.id;
        d.dead_ms = db_column_int(s, 16);
        if (dead_class_parse(db_column_blob(s, 17), &d.class) != ERR_NONE)
            d.class = DEAD_ERROR;
        *next = ++seen == DEAD_SCAN_MAX ? d.id : 0;
        if (f != NULL && !dead_matches(f, &d))
            continue;
        if (fn(arg, &d) == 0 && ++given < max)
            continue;
        *next = d.id;
        db_reset(s);
        return ERR_NONE;
    }
    return rc;
}

int
queue_dead_list(struct db_conn *conn, const struct dead_filter *f, int max, dead_letter_fn fn,
                void *arg, int64_t *next)
{
    struct db_stmt *s = db_prepare(conn, "SELECT " DEAD_COLUMNS " FROM dead_letter WHERE id > ?1 "
                                         "AND (?2 = 0 OR id <= ?2) ORDER BY id LIMIT ?3");
    db_bind_int(s, 1, f->after);
    db_bind_int(s, 2, f->until);
    db_bind_int(s, 3, DEAD_SCAN_MAX);
    return each_dead(s, f, max, fn, arg, next);
}

int
queue_dead_last(struct db_conn *conn, int64_t *id)
{
    struct db_stmt *s = db_prepare(conn, "SELECT max(id) FROM dead_letter");
    int rc = db_step(s);
    *id = rc == DB_ROW && !db_column_is_null(s, 0) ? db_column_int(s, 0) : 0;
    db_reset(s);
    return rc < 0 ? rc : ERR_NONE;
}

int
queue_dead_get(struct db_conn *conn, int64_t id, dead_letter_fn fn, void *arg)
{
    int64_t found;
    struct db_stmt *s = db_prepare(conn, "SELECT " DEAD_COLUMNS " FROM dead_letter WHERE id = ?1");
    db_bind_int(s, 1, id);
    int err = each_dead(s, NULL, 1, fn, arg, &found);
    return err == ERR_NONE && found == 0 ? ERR_NOTFOUND : err;
}

int
queue_dead_of_key(struct db_conn *conn, int64_t bucket_id, struct slice key, dead_letter_fn fn,
                  void *arg)
{
    int64_t next;
    struct db_stmt *s = db_prepare(conn, "SELECT " DEAD_COLUMNS " FROM dead_letter "
                                         "WHERE bucket_id = ?1 AND key = ?2 ORDER BY id LIMIT ?3");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    db_bind_int(s, 3, DEAD_SCAN_MAX);
    return each_dead(s, NULL, DEAD_SCAN_MAX, fn, arg, &next);
}

struct dead_copy {
    struct arena *a;
    struct queue_event event;
    int err;
};

static int
dead_copy(void *arg, const struct dead_letter *d)
{
    struct dead_copy *copy = arg;
    copy->err = queue_event_copy(copy->a, &d->event, &copy->event);
    return 1;
}

/* The letter goes; redriven it becomes an event again. The id of an event is never used twice, so
 * that gets a new one. */
int
queue_apply_dead(struct db_conn *conn, int64_t id, enum dead_action action)
{
    struct queue_counts d = {.dead = -1};
    struct dead_copy copy = {.a = arena_new(DEAD_ARENA_BYTES)};
    if (copy.a == NULL)
        return ERR_NOMEM;
    struct queue_event *e = &copy.event;
    int err = queue_dead_get(conn, id, dead_copy, &copy);
    if (err == ERR_NONE)
        err = copy.err;
    if (err == ERR_NONE) {
        struct db_stmt *s = db_prepare(conn, "DELETE FROM dead_letter WHERE id = ?1");
        db_bind_int(s, 1, id);
        err = db_run(s);
    }
    if (err == ERR_NONE)
        err = count(conn, &d);
    if (err == ERR_NONE && action == DEAD_REDRIVE) {
        e->lane = LANE_LIVE;
        e->batch_id = e->batch_worst = e->attempts = 0;
        e->not_before_ms = e->created_ms = 0;
        err = queue_apply_add(conn, e);
    }
    arena_free(&copy.a);
    return err;
}

struct dead_ids {
    int64_t ids[DEAD_STEP_MAX];
    int count;
};

static int
dead_id(void *arg, const struct dead_letter *d)
{
    struct dead_ids *list = arg;
    list->ids[list->count++] = d->id;
    return 0;
}

int
queue_apply_dead_each(struct db_conn *conn, const struct dead_filter *filter,
                      enum dead_action action, int *done, int64_t *next)
{
    struct dead_ids list = {.count = 0};
    int err = queue_dead_list(conn, filter, DEAD_STEP_MAX, dead_id, &list, next);
    *done = 0;
    for (int i = 0; i < list.count && err == ERR_NONE; i++) {
        err = queue_apply_dead(conn, list.ids[i], action);
        *done += err == ERR_NONE;
    }
    return err;
}
