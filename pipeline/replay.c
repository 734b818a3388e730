/*
 * A step is judged on a read connection, where it holds nobody up, and then applied: what has moved
 * meanwhile is found by its generation, or by its waiting event, and falls out. Dying between the
 * two loses nothing, for the batch's cursor moves with what is queued.
 */
#include "pipeline/replay.h"
#include "base/chk.h"
#include "base/err.h"
#include "pipeline/derived_state.h"
#include "pipeline/native_item.h"

#define JUDGE_ARENA_BYTES (1u << 20)
#define EVENT_MASK_MAKING (EVENT_MASK_CREATED | EVENT_MASK(EVENT_RESTORED))

const char *
replay_class_name(enum replay_class c)
{
    static const char *const names[REPLAY_CLASS_COUNT] = {
#define X(id, name) [REPLAY_##id] = name,
        REPLAY_CLASS_LIST(X)
#undef X
    };
    CHK(c < REPLAY_CLASS_COUNT);
    return names[c];
}

/* ---- rows ---- */

/* Replays go with their batches. */
static int
row_insert(struct db_conn *conn, int64_t batch_id, const struct replay *p)
{
    struct db_stmt *s = db_prepare(
        conn, "DELETE FROM replay WHERE batch_id < (SELECT coalesce(min(id), 0) FROM batch)");
    int err = db_run(s);
    if (err != ERR_NONE)
        return err;
    s = db_prepare(conn, "INSERT INTO replay (batch_id, after_seq, until_seq, since_ms, until_ms, "
                         "bucket, prefix, force, superseded, unmatched, waiting, made) "
                         "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, 0, 0)");
    db_bind_int(s, 1, batch_id);
    db_bind_int(s, 2, p->filter.after);
    db_bind_int(s, 3, p->filter.until);
    db_bind_int(s, 4, p->filter.since_ms);
    db_bind_int(s, 5, p->filter.until_ms);
    db_bind_text(s, 6, p->filter.bucket);
    db_bind_blob(s, 7, p->filter.prefix);
    db_bind_int(s, 8, p->force);
    return db_run(s);
}

int
replay_get(struct db_conn *conn, int64_t batch_id, struct arena *a, struct replay *out)
{
    struct db_stmt *s =
        db_prepare(conn, "SELECT after_seq, until_seq, since_ms, until_ms, bucket, prefix, force, "
                         "superseded, unmatched, waiting, made FROM replay WHERE batch_id = ?1");
    db_bind_int(s, 1, batch_id);
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    *out = (struct replay){.filter = {.after = db_column_int(s, 0),
                                      .until = db_column_int(s, 1),
                                      .since_ms = db_column_int(s, 2),
                                      .until_ms = db_column_int(s, 3),
                                      .bucket = arena_dup(a, db_column_blob(s, 4)),
                                      .prefix = arena_dup(a, db_column_blob(s, 5))},
                           .force = db_column_int(s, 6) != 0,
                           .counts = {[REPLAY_SUPERSEDED] = db_column_int(s, 7),
                                      [REPLAY_UNMATCHED] = db_column_int(s, 8),
                                      [REPLAY_WAITING] = db_column_int(s, 9),
                                      [REPLAY_MADE] = db_column_int(s, 10)}};
    db_reset(s);
    return out->filter.bucket.p == NULL || out->filter.prefix.p == NULL ? ERR_NOMEM : ERR_NONE;
}

static int
counts_add(struct db_conn *conn, int64_t batch_id, const int64_t counts[REPLAY_CLASS_COUNT])
{
    struct db_stmt *s = db_prepare(
        conn, "UPDATE replay SET superseded = superseded + ?2, unmatched = unmatched + ?3, "
              "waiting = waiting + ?4, made = made + ?5 WHERE batch_id = ?1");
    db_bind_int(s, 1, batch_id);
    db_bind_int(s, 2, counts[REPLAY_SUPERSEDED]);
    db_bind_int(s, 3, counts[REPLAY_UNMATCHED]);
    db_bind_int(s, 4, counts[REPLAY_WAITING]);
    db_bind_int(s, 5, counts[REPLAY_MADE]);
    return db_run(s);
}

int
replay_apply_create(struct registry *r, struct db_conn *conn, struct replay *spec, struct buf *why,
                    int64_t *batch_id)
{
    struct batch batch = {.source = BATCH_SOURCE_EVENTS,
                          .bucket = spec->filter.bucket,
                          .prefix = spec->filter.prefix};
    int64_t oldest, newest;
    int err = event_log_ends(conn, &oldest, &newest);
    if (err == ERR_NONE && spec->filter.until > newest)
        spec->filter.until = newest;
    if (err == ERR_NONE)
        err = batch_apply_create(r, conn, &batch, why);
    if (err == ERR_NONE)
        err = row_insert(conn, batch.id, spec);
    *batch_id = batch.id;
    return err;
}

/* ---- judging ---- */

struct judge {
    struct registry *r;
    struct db_conn *conn;
    struct arena *a; /* of one event */
    const struct function_set *set;
    const struct event_log_row *row;
    uint64_t waiting; /* functions that have an event of this generation */
};

static uint64_t
bit_of(const struct judge *j, const struct function *f)
{
    return (uint64_t)1 << (f - j->set->functions);
}

static int
note_waiting(void *arg, const struct queue_event *e)
{
    struct judge *j = arg;
    const struct function *f = registry_find(j->set, e->function);
    if (f != NULL && e->generation == j->row->seq)
        j->waiting |= bit_of(j, f);
    return 0;
}

/* Those that today's rules give the event to. */
static uint64_t
wanted_of(const struct judge *j, const struct rule_list *rules)
{
    uint64_t wanted = 0;
    for (size_t i = 0; i < rules->count; i++) {
        const struct function *f = registry_find(j->set, rules->rules[i].function);
        if (f != NULL && rule_matches(&rules->rules[i], j->row->type, j->row->key))
            wanted |= bit_of(j, f);
    }
    return wanted;
}

/* Those whose parts are all there, or have their verdict. */
static int
made_of(const struct judge *j, const struct rule_list *rules, const struct store_object *o,
        uint64_t *made)
{
    struct derived_states states;
    uint64_t known = 0, lacking = 0;
    int err = derived_states_read(j->r, j->conn, j->a, o, j->row->bucket, rules, &states);
    for (size_t i = 0; err == ERR_NONE && i < states.count; i++) {
        const struct derived_part *part = &states.parts[i];
        const struct function *f = registry_find(j->set, part->function->name);
        if (f == NULL)
            continue;
        known |= bit_of(j, f);
        if (part->state == DERIVED_MISSING || part->state == DERIVED_STALE)
            lacking |= bit_of(j, f);
    }
    derived_states_fini(&states);
    *made = known & ~lacking;
    return err;
}

static int
judge_current(struct judge *j, const struct store_object *o, bool force, enum replay_class *class,
              uint64_t *functions)
{
    struct rule_list rules = {NULL, 0};
    uint64_t made = 0;
    int err = rule_load(j->conn, o->bucket_id, j->a, &rules);
    uint64_t wanted = wanted_of(j, &rules);
    if (err == ERR_NONE)
        err = queue_of_key(j->conn, o->bucket_id, o->key, note_waiting, j);
    if (err == ERR_NONE && wanted != 0 && !force)
        err = made_of(j, &rules, o, &made);
    *functions = wanted & ~j->waiting & ~made;
    *class = wanted == 0                  ? REPLAY_UNMATCHED
             : *functions != 0            ? REPLAY_PLANNED
             : (wanted & j->waiting) != 0 ? REPLAY_WAITING
                                          : REPLAY_MADE;
    return err;
}

/* The object the event is about, when it is current still; else NULL. */
static int
current_of(struct judge *j, const struct store_object **o)
{
    const struct event_log_row *row = j->row;
    int err = store_apply_get(registry_store(j->r), j->conn, row->bucket_id, row->key, o);
    if (err == ERR_NONE && (*o)->generation != row->seq)
        store_object_unref(o);
    return err == ERR_NOTFOUND || err == ERR_NOPARENT ? ERR_NONE : err;
}

static int
judge(struct judge *j, bool force, enum replay_class *class, uint64_t *functions)
{
    const struct store_object *o = NULL;
    *class = REPLAY_UNMATCHED;
    *functions = 0;
    if ((EVENT_MASK(j->row->type) & EVENT_MASK_MAKING) == 0)
        return ERR_NONE;
    int err = current_of(j, &o);
    if (err == ERR_NONE && o == NULL)
        *class = REPLAY_SUPERSEDED;
    else if (err == ERR_NONE)
        err = judge_current(j, o, force, class, functions);
    store_object_unref(&o);
    return err;
}

/* ---- a page ---- */

struct reading {
    struct registry *r;
    struct db_conn *conn;
    struct arena *a;
    bool force;
    struct replay_page *page;
    int err;
};

static int
row_copy(struct arena *a, const struct event_log_row *from, struct event_log_row *to)
{
    *to = (struct event_log_row){.seq = from->seq,
                                 .type = from->type,
                                 .bucket_id = from->bucket_id,
                                 .bucket = arena_dup(a, from->bucket),
                                 .key = arena_dup(a, from->key),
                                 .request_id = arena_dup(a, from->request_id)};
    return to->bucket.p == NULL || to->key.p == NULL || to->request_id.p == NULL ? ERR_NOMEM
                                                                                 : ERR_NONE;
}

static int
read_row(void *arg, const struct event_log_row *row)
{
    struct reading *g = arg;
    struct replay_page *page = g->page;
    enum replay_class class = REPLAY_UNMATCHED;
    struct replay_task *task = &page->tasks[page->task_count];
    struct judge j = {.r = g->r, .conn = g->conn, .set = page->set, .row = row};
    j.a = arena_new(JUDGE_ARENA_BYTES);
    g->err = j.a == NULL ? ERR_NOMEM : judge(&j, g->force, &class, &task->functions);
    arena_free(&j.a);
    if (g->err == ERR_NONE && class == REPLAY_PLANNED)
        g->err = row_copy(g->a, row, &task->row);
    if (g->err != ERR_NONE)
        return 1;
    page->seen++;
    page->counts[class]++;
    page->task_count += class == REPLAY_PLANNED;
    return page->task_count == REPLAY_STEP_TASKS;
}

int
replay_page_read(struct registry *r, struct db_conn *conn, struct arena *a,
                 const struct replay *replay, struct replay_page *page)
{
    struct reading g = {
        .r = r, .conn = conn, .a = a, .force = replay->force, .page = page, .err = ERR_NONE};
    *page = (struct replay_page){.set = NULL};
    int err = registry_get(r, conn, &page->set);
    if (err == ERR_NONE)
        err = event_log_list(conn, &replay->filter, REPLAY_STEP_EVENTS, read_row, &g, &page->next);
    return err == ERR_NONE ? g.err : err;
}

void
replay_page_fini(struct replay_page *page)
{
    registry_unref(&page->set);
}

/* ---- queueing ---- */

static int
queue_task(struct judge *j, int64_t batch_id, const struct store_object *o, uint64_t functions)
{
    const struct event_log_row *row = j->row;
    const struct function *thumbnail = NULL;
    bool metadata = false;
    int err = ERR_NONE;
    for (size_t i = 0; i < j->set->count && err == ERR_NONE; i++) {
        const struct function *f = &j->set->functions[i];
        if ((functions & bit_of(j, f)) == 0)
            continue;
        struct queue_event e = {.lane = LANE_BATCH,
                                .function = f->name,
                                .bucket_id = row->bucket_id,
                                .bucket = row->bucket,
                                .key = row->key,
                                .generation = row->seq,
                                .type = row->type,
                                .batch_id = batch_id,
                                .request_id = row->request_id};
        err = queue_apply_add(j->conn, &e);
        thumbnail = f->native.kind == NATIVE_THUMBNAIL ? f : thumbnail;
        metadata = metadata || f->native.kind == NATIVE_METADATA;
    }
    if (err == ERR_NONE && (thumbnail != NULL || metadata))
        err = native_item_pending(j->conn, j->a, j->set, row->bucket, o, thumbnail, metadata);
    return err;
}

static int
apply_task(struct judge *j, int64_t batch_id, const struct replay_task *task,
           enum replay_class *class)
{
    const struct store_object *o = NULL;
    *class = REPLAY_SUPERSEDED;
    int err = current_of(j, &o);
    if (err == ERR_NONE && o != NULL) {
        err = queue_of_key(j->conn, o->bucket_id, o->key, note_waiting, j);
        *class = (task->functions & ~j->waiting) != 0 ? REPLAY_PLANNED : REPLAY_WAITING;
        if (err == ERR_NONE && *class == REPLAY_PLANNED)
            err = queue_task(j, batch_id, o, task->functions & ~j->waiting);
    }
    store_object_unref(&o);
    return err;
}

int
replay_apply_page(struct registry *r, struct db_conn *conn, int64_t batch_id,
                  const struct replay_page *page, int64_t *planned)
{
    int64_t counts[REPLAY_CLASS_COUNT];
    int err = ERR_NONE;
    memcpy(counts, page->counts, sizeof counts);
    for (size_t i = 0; i < page->task_count && err == ERR_NONE; i++) {
        const struct replay_task *task = &page->tasks[i];
        enum replay_class class;
        struct judge j = {.r = r, .conn = conn, .set = page->set, .row = &task->row};
        j.a = arena_new(ITEM_ARENA_BYTES);
        err = j.a == NULL ? ERR_NOMEM : apply_task(&j, batch_id, task, &class);
        arena_free(&j.a);
        if (err == ERR_NONE) {
            counts[REPLAY_PLANNED]--;
            counts[class]++;
        }
    }
    *planned = counts[REPLAY_PLANNED];
    return err == ERR_NONE ? counts_add(conn, batch_id, counts) : err;
}
