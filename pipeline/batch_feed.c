/*
 * One step of the feeder, in three parts so that the writer is never held up:
 *
 *   1. choose    the oldest batch that feeds and is due, unless enough waits already
 *   2. survey    pages of its bucket until some object is selected, on a read connection; of a
 *                replay, a page of the event log
 *   3. feed      one operation: checks that nothing has moved, adds the events, sets the cursor
 *
 * The dispatcher repeats it while few batch events wait. Dying between the parts loses nothing: the
 * cursor moves only with its events.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/native_item.h"
#include "pipeline/replay.h"
#include "pipeline/rule.h"

#include <stdio.h>
#include <stdlib.h>

#define FEED_ARENA_BYTES (128u << 10) /* of the batch's own texts */
#define FEED_PAGES_MAX 20             /* looked at for one operation */
#define SECOND_US 1000000
#define BATCH_REQUEST_ID_MAX 32

struct feed {
    struct db_op op;
    struct registry *registry;
    struct arena *a, *page_arena;
    struct batch batch; /* id 0: nothing to do */
    int room;           /* objects that its rate allows */
    bool later;
    int err; /* of copying */
    struct survey page;
    struct replay_page *events; /* of a replay, instead of `page` */
    int64_t seen;               /* in all pages of the step */
    bool more;                  /* behind the cursor */
    struct slice cursor;
};

/* ---- 1. which batch ---- */

/* How many objects a rate allows now. A clock that was put back must not stop the batch. */
static int
room_of(const struct batch *b, int64_t now_us)
{
    int64_t waiting_max = b->rate > BATCH_RATE_WAITING ? b->rate : BATCH_RATE_WAITING;
    int64_t waiting = b->planned - b->done - b->skipped - b->failed;
    int64_t room = BATCH_STEP_OBJECTS;
    if (b->rate == 0)
        return (int)room;
    int64_t since_us = now_us - b->due_us;
    if (since_us < 0 && since_us >= -2 * (int64_t)SECOND_US)
        return 0;
    if (since_us < 0 || since_us > SECOND_US)
        since_us = SECOND_US; /* what was not used for longer is lost */
    int64_t rate_room = 1 + since_us * b->rate / SECOND_US;
    room = rate_room < room ? rate_room : room;
    room = waiting_max - waiting < room ? waiting_max - waiting : room;
    return room > 0 ? (int)room : 0;
}

/* The next moment at which one more may be fed, `count` from now. */
static int64_t
due_after(const struct batch *b, int64_t now_us, int64_t count)
{
    int64_t from = b->due_us;
    if (b->rate == 0)
        return 0;
    if (from < now_us - SECOND_US || from > now_us + 2 * (int64_t)SECOND_US)
        from = now_us - SECOND_US;
    return from + count * SECOND_US / b->rate;
}

static int
take_batch(void *arg, const struct batch *b)
{
    struct feed *f = arg;
    f->room = room_of(b, clock_wall_ms() * 1000);
    if (f->room == 0) {
        f->later = true;
        return 0;
    }
    f->batch = *b;
    f->batch.bucket = arena_dup(f->a, b->bucket);
    f->batch.prefix = arena_dup(f->a, b->prefix);
    f->batch.function = arena_dup(f->a, b->function);
    f->batch.preset = arena_dup(f->a, b->preset);
    f->batch.cursor = f->cursor = arena_dup(f->a, b->cursor);
    if (f->batch.bucket.p == NULL || f->batch.prefix.p == NULL || f->batch.function.p == NULL ||
        f->batch.preset.p == NULL || f->batch.cursor.p == NULL)
        f->err = ERR_NOMEM;
    return 0;
}

/* Ids of those that feed, behind `after`; only while there is room in the queue. 0: no more. */
static int
next_feeding(struct db_conn *conn, int64_t after, int64_t *id)
{
    struct db_stmt *s =
        db_prepare(conn, "SELECT MIN(b.id) FROM batch b, queue_count c WHERE b.state = ?1 AND "
                         "b.id > ?2 AND c.id = 1 AND c.batch < ?3");
    db_bind_int(s, 1, BATCH_FEEDING);
    db_bind_int(s, 2, after);
    db_bind_int(s, 3, BATCH_WAITING_MAX);
    int rc = db_step(s);
    *id = rc == DB_ROW && !db_column_is_null(s, 0) ? db_column_int(s, 0) : 0;
    db_reset(s);
    return rc < 0 ? rc : ERR_NONE;
}

/* A slow rate of an old batch holds no younger one up. */
static int
choose(struct feed *f, struct db_conn *conn)
{
    int64_t id = 0;
    int err = next_feeding(conn, 0, &id);
    while (err == ERR_NONE && id != 0 && f->batch.id == 0) {
        err = batch_get(conn, id, take_batch, f);
        if (err == ERR_NONE)
            err = f->err;
        if (err == ERR_NONE && f->batch.id == 0)
            err = next_feeding(conn, id, &id);
    }
    return err;
}

/* ---- 2. what it selects ---- */

static int
survey(struct feed *f, struct db *db)
{
    const struct batch *b = &f->batch;
    struct survey_spec spec = {.bucket = b->bucket,
                               .prefix = b->prefix,
                               .after = b->cursor,
                               .function = b->function,
                               .preset = b->preset,
                               .select = b->select,
                               .since_ms = b->since_ms,
                               .objects_max = SURVEY_PAGE_MAX,
                               .tasks_max = f->room};
    int err = ERR_NONE;
    if ((b->select & SELECT_ALL) != 0)
        spec.objects_max = f->room; /* nearly all will be taken */
    for (int i = 0; i < FEED_PAGES_MAX && err == ERR_NONE; i++) {
        survey_fini(&f->page);
        arena_free(&f->page_arena);
        f->page_arena = arena_new(SURVEY_ARENA_BYTES);
        if (f->page_arena == NULL)
            return ERR_NOMEM;
        err = survey_page(f->registry, db, f->page_arena, &spec, &f->page);
        f->seen += f->page.seen;
        f->more = f->page.more;
        if (err != ERR_NONE || f->page.last.n == 0)
            break;
        /* The page's arena goes with the next page, the cursor stays. */
        f->cursor = spec.after = arena_dup(f->a, f->page.last);
        if (spec.after.p == NULL)
            return ERR_NOMEM;
        if (f->page.task_count > 0 || !f->page.more)
            break;
    }
    return err == ERR_NOPARENT ? ERR_NONE : err; /* the bucket is gone: nothing is left to list */
}

static int
read_events(struct feed *f, struct db_conn *conn)
{
    struct replay replay;
    uint64_t after = 0;
    int err = replay_get(conn, f->batch.id, f->a, &replay);
    if (err == ERR_NONE && f->batch.cursor.n > 0 &&
        slice_to_u64(f->batch.cursor, &after) == ERR_NONE)
        replay.filter.after = (int64_t)after;
    if (err == ERR_NONE)
        err = replay_page_read(f->registry, conn, f->page_arena, &replay, f->events);
    return err;
}

static int
survey_events(struct feed *f, struct db *db)
{
    struct db_conn *conn = NULL;
    f->page_arena = arena_new(REPLAY_ARENA_BYTES);
    f->events = calloc(1, sizeof *f->events);
    if (f->page_arena == NULL || f->events == NULL)
        return ERR_NOMEM;
    int err = db_read_begin(db, &conn);
    if (err != ERR_NONE)
        return err;
    err = read_events(f, conn);
    db_read_end(db, &conn);
    f->seen = f->events->seen;
    f->more = f->events->next != 0;
    if (err == ERR_NONE && f->more) {
        f->cursor = slice_str(arena_printf(f->a, "%lld", (long long)f->events->next));
        err = f->cursor.p == NULL ? ERR_NOMEM : ERR_NONE;
    }
    return err;
}

/* ---- 3. the operation ---- */

/* Nobody's request of S3 is behind what a batch makes: the batch stands for it in the log and in
 * notices, also of follow-ups, which are no part of it. */
static int
add_event(struct feed *f, struct db_conn *conn, const struct function *fn,
          const struct store_object *o, bool followup)
{
    char request_id[BATCH_REQUEST_ID_MAX];
    snprintf(request_id, sizeof request_id, "batch-%lld", (long long)f->batch.id);
    struct queue_event e = {.lane = LANE_BATCH,
                            .function = fn->name,
                            .bucket_id = f->batch.bucket_id,
                            .bucket = f->batch.bucket,
                            .key = o->key,
                            .generation = o->generation,
                            .type = EVENT_CREATED_PUT,
                            .followup = followup,
                            .followup_of = followup ? native_presets_mark(&fn->native) : 0,
                            .batch_id = f->batch.id,
                            .request_id = slice_str(request_id)};
    return queue_apply_add(conn, &e);
}

static int
item_pending(struct feed *f, struct db_conn *conn, const struct store_object *o,
             const struct function *thumbnail, bool metadata)
{
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err = native_item_pending(conn, a, f->page.set, f->batch.bucket, o, thumbnail, metadata);
    arena_free(&a);
    return err;
}

/* The item becomes pending with a first pass; a follow-up alone leaves what the first one said. */
static int
add_object(struct feed *f, struct db_conn *conn, const struct survey_task *task,
           const struct store_object *o)
{
    const struct function_set *set = f->page.set;
    const struct function *thumbnail = NULL;
    bool metadata = false;
    int err = ERR_NONE;
    for (size_t i = 0; i < set->count && err == ERR_NONE; i++) {
        const struct function *fn = &set->functions[i];
        uint64_t bit = (uint64_t)1 << i;
        if (((task->functions | task->followups) & bit) == 0)
            continue;
        bool followup = (task->functions & bit) == 0;
        err = add_event(f, conn, fn, o, followup);
        if (fn->native.kind == NATIVE_THUMBNAIL && !followup)
            thumbnail = fn;
        metadata = metadata || fn->native.kind == NATIVE_METADATA;
    }
    if (err != ERR_NONE || o->by_function || (thumbnail == NULL && !metadata))
        return err;
    return item_pending(f, conn, o, thumbnail, metadata);
}

/* An object that has changed since it was judged has an event of its own. */
static int
add_task(struct feed *f, struct db_conn *conn, const struct survey_task *task, int64_t *planned)
{
    const struct store_object *o = NULL;
    int err = store_apply_get(registry_store(f->registry), conn, f->batch.bucket_id, task->key, &o);
    if (err == ERR_NONE && o->generation == task->generation) {
        err = add_object(f, conn, task, o);
        *planned += err == ERR_NONE;
    }
    store_object_unref(&o);
    return err == ERR_NOTFOUND || err == ERR_NOPARENT ? ERR_NONE : err;
}

static int
cursor_set(struct feed *f, struct db_conn *conn, int64_t planned)
{
    struct db_stmt *s = db_prepare(conn, "UPDATE batch SET cursor = ?2, seen = seen + ?3, "
                                         "planned = planned + ?4, due_us = ?5 WHERE id = ?1");
    db_bind_int(s, 1, f->batch.id);
    db_bind_blob(s, 2, f->cursor);
    db_bind_int(s, 3, f->seen);
    db_bind_int(s, 4, planned);
    db_bind_int(s, 5, due_after(&f->batch, clock_wall_ms() * 1000, planned));
    int err = db_run(s);
    return err == ERR_NONE && !f->more ? batch_apply_listed(conn, f->batch.id) : err;
}

struct now {
    enum batch_state state;
    bool same_cursor;
    struct slice cursor;
};

static int
look(void *arg, const struct batch *b)
{
    struct now *n = arg;
    n->state = b->state;
    n->same_cursor = slice_eq(b->cursor, n->cursor);
    return 0;
}

/* Paused, canceled or fed meanwhile; or the functions are not those that were asked about. */
static int
check_unmoved(struct feed *f, struct db_conn *conn)
{
    struct now now = {.cursor = f->batch.cursor};
    struct function_set *set = NULL;
    const struct function_set *asked = f->events != NULL ? f->events->set : f->page.set;
    int err = batch_get(conn, f->batch.id, look, &now);
    if (err == ERR_NONE && (now.state != BATCH_FEEDING || !now.same_cursor))
        err = ERR_CONFLICT;
    if (err == ERR_NONE && asked != NULL) {
        err = registry_get(f->registry, conn, &set);
        if (err == ERR_NONE && set->version != asked->version)
            err = ERR_CONFLICT;
        registry_unref(&set);
    }
    return err;
}

static int
feed_apply(struct db_op *op, struct db_conn *conn)
{
    struct feed *f = CONTAINER_OF(op, struct feed, op);
    int64_t planned = 0;
    int err = check_unmoved(f, conn);
    for (size_t i = 0; i < f->page.task_count && err == ERR_NONE; i++)
        err = add_task(f, conn, &f->page.tasks[i], &planned);
    if (err == ERR_NONE && f->events != NULL)
        err = replay_apply_page(f->registry, conn, f->batch.id, f->events, &planned);
    return err == ERR_NONE ? cursor_set(f, conn, planned) : err;
}

/* ---- the step ---- */

static int
step(struct feed *f, struct db *db, int *fed)
{
    struct db_conn *conn = NULL;
    int err = db_read_begin(db, &conn);
    if (err == ERR_NONE) {
        err = choose(f, conn);
        db_read_end(db, &conn);
    }
    if (err != ERR_NONE || f->batch.id == 0)
        return err;
    err = f->batch.source == BATCH_SOURCE_EVENTS ? survey_events(f, db) : survey(f, db);
    if (err == ERR_NONE)
        err = db_call(db, &f->op);
    if (err == ERR_NONE)
        *fed = f->seen > 0 ? (int)f->seen : 1;
    if (err != ERR_CONFLICT)
        return err;
    f->later = true; /* the commit that moved it may have woken the dispatcher before this */
    return ERR_NONE;
}

int
batch_feed(struct registry *r, struct db *db, int *fed, bool *later)
{
    struct feed *f = calloc(1, sizeof *f);
    *fed = 0;
    *later = false;
    if (f == NULL)
        return ERR_NOMEM;
    f->registry = r;
    f->op.apply = feed_apply;
    f->a = arena_new(FEED_ARENA_BYTES);
    int err = f->a == NULL ? ERR_NOMEM : step(f, db, fed);
    *later = f->later;
    survey_fini(&f->page);
    if (f->events != NULL)
        replay_page_fini(f->events);
    free(f->events);
    arena_free(&f->page_arena);
    arena_free(&f->a);
    free(f);
    return err;
}
