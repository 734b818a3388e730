/*
 * Dead letters: see, try again, drop. One by ?id=, or those that match a filter, a page or a step
 * at a time: each answer says with `next` where to go on, 0 at the end.
 *
 *   function=  reason=CLASS  bucket=  prefix=  older_than_s=  after=ID  until=ID
 */
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/admin_priv.h"
#include "pipeline/history.h"

#define ATTEMPTS_SHOWN 20

/* False: answered. */
static bool
class_read(struct http_request *r, struct dead_filter *f)
{
    struct slice name = http_param(r, "reason");
    struct buf why;
    if (name.n == 0)
        return true;
    f->has_class = dead_class_parse(name, &f->class) == ERR_NONE;
    if (f->has_class)
        return true;
    buf_init(&why, ADMIN_WHY_MAX);
    buf_puts(&why, "reason must be one of");
    for (int c = 0; c < DEAD_CLASS_COUNT; c++)
        buf_printf(&why, "%s %s", c == 0 ? "" : ",", dead_class_name((enum dead_class)c));
    admin_reply_error(r, ERR_INVALID, buf_slice(&why));
    buf_fini(&why);
    return false;
}

/* False: answered. */
static bool
filter_read(struct http_request *r, struct dead_filter *f)
{
    uint64_t after = 0, until = 0, older_s = 0;
    *f = (struct dead_filter){.function = http_param(r, "function"),
                              .bucket = http_param(r, "bucket"),
                              .prefix = http_param(r, "prefix")};
    if (!class_read(r, f) || admin_param_u64(r, "after", 0, &after) != ERR_NONE ||
        admin_param_u64(r, "until", 0, &until) != ERR_NONE ||
        admin_param_u64(r, "older_than_s", 0, &older_s) != ERR_NONE)
        return false;
    f->after = (int64_t)after;
    f->until = (int64_t)until;
    int64_t now_ms = clock_wall_ms();
    if (older_s > 0 && (int64_t)older_s < now_ms / 1000)
        f->dead_before_ms = now_ms - (int64_t)older_s * 1000;
    else if (older_s > 0)
        f->dead_before_ms = 1; /* before there were clocks */
    return true;
}

/* ---- reading ---- */

static json_t *
dead_json(const struct dead_letter *d)
{
    const struct queue_event *e = &d->event;
    return json_pack("{sI so so so sI ss si ss so sI sI so}", "id", (json_int_t)d->id, "function",
                     admin_text(e->function), "bucket", admin_text(e->bucket), "key",
                     admin_text(e->key), "generation", (json_int_t)e->generation, "event",
                     event_type_name(e->type), "attempts", e->attempts, "class",
                     dead_class_name(d->class), "reason", admin_text(e->reason), "created_ms",
                     (json_int_t)e->created_ms, "dead_ms", (json_int_t)d->dead_ms, "request_id",
                     admin_text(e->request_id));
}

static int
dead_each(void *arg, const struct dead_letter *d)
{
    json_array_append_new(arg, dead_json(d));
    return 0;
}

struct shown {
    struct arena *a;
    json_t *letter;
    json_t *tries;
    int64_t id, bucket_id;
    struct slice key;
};

static int
show_letter(void *arg, const struct dead_letter *d)
{
    struct shown *shown = arg;
    shown->letter = dead_json(d);
    shown->bucket_id = d->event.bucket_id;
    shown->key = arena_dup(shown->a, d->event.key);
    return 0;
}

static int
show_attempt(void *arg, const struct history_attempt *t)
{
    struct shown *shown = arg;
    if (t->event_id != shown->id)
        return 0;
    return json_array_append_new(shown->tries,
                                 json_pack("{sI sI sI sI sI so so so}", "pid", (json_int_t)t->pid,
                                           "started_ms", (json_int_t)t->started_ms, "run_us",
                                           (json_int_t)t->run_us, "cpu_us", (json_int_t)t->cpu_us,
                                           "rss_bytes", (json_int_t)t->rss_bytes, "outcome",
                                           admin_text(t->outcome), "reason", admin_text(t->reason),
                                           "stderr", admin_text(t->stderr_tail)));
}

/* The letter with each of its attempts, newest first. */
static void
show(struct admin_service *s, struct http_request *r, int64_t id)
{
    struct shown shown = {.a = r->arena, .id = id};
    struct db_conn *conn = NULL;
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = queue_dead_get(conn, id, show_letter, &shown);
        shown.tries = json_array();
        if (err == ERR_NONE)
            err = history_of_key(conn, shown.bucket_id, shown.key, ATTEMPTS_SHOWN, show_attempt,
                                 &shown);
        db_read_end(s->options.db, &conn);
    }
    if (err == ERR_NONE) {
        json_object_set(shown.letter, "tries", shown.tries);
        admin_reply_json(r, 200, json_incref(shown.letter));
    } else {
        admin_reply_error(r, err,
                          err == ERR_NOTFOUND ? SLICE_LIT("no such dead letter") : SLICE_NONE);
    }
    json_decref(shown.letter);
    json_decref(shown.tries);
}

void
admin_dlq_get(struct admin_service *s, struct http_request *r)
{
    struct dead_filter filter;
    struct db_conn *conn = NULL;
    uint64_t id = 0;
    int64_t next = 0, last = 0;
    if (admin_param_u64(r, "id", 0, &id) != ERR_NONE || !filter_read(r, &filter))
        return;
    if (id != 0) {
        show(s, r, (int64_t)id);
        return;
    }
    json_t *list = json_array();
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = queue_dead_list(conn, &filter, ADMIN_PAGE_MAX, dead_each, list, &next);
        if (err == ERR_NONE)
            err = queue_dead_last(conn, &last);
        db_read_end(s->options.db, &conn);
    }
    if (err == ERR_NONE)
        admin_reply_json(r, 200,
                         json_pack("{sO sI sI}", "dead_letters", list, "next", (json_int_t)next,
                                   "last", (json_int_t)last));
    else
        admin_reply_error(r, err, SLICE_NONE);
    json_decref(list);
}

/* ---- changing ---- */

static int
apply_action(struct admin_write *w, struct db_conn *conn, enum dead_action action)
{
    struct dead_filter filter;
    int count = 1;
    int64_t next = 0;
    int err = ERR_INVALID;
    if (w->id != 0)
        err = queue_apply_dead(conn, (int64_t)w->id, action);
    else if (filter_read(w->request, &filter)) /* was read before: it answers nothing here */
        err = queue_apply_dead_each(conn, &filter, action, &count, &next);
    if (err == ERR_NOTFOUND)
        buf_puts(&w->why, "no such dead letter");
    if (err == ERR_NONE)
        w->reply = json_pack("{si sI}", "count", count, "next", (json_int_t)next);
    return err;
}

static int
apply_redrive(struct admin_write *w, struct db_conn *conn)
{
    return apply_action(w, conn, DEAD_REDRIVE);
}

static int
apply_purge(struct admin_write *w, struct db_conn *conn)
{
    return apply_action(w, conn, DEAD_PURGE);
}

static void
change(struct admin_service *s, struct http_request *r, admin_apply_fn apply)
{
    struct dead_filter filter;
    uint64_t id = 0;
    if (admin_param_u64(r, "id", 0, &id) == ERR_NONE && filter_read(r, &filter))
        admin_submit(s, r, apply, NULL, id);
}

void
admin_dlq_post(struct admin_service *s, struct http_request *r)
{
    if (slice_eqs(http_param(r, "action"), "redrive"))
        change(s, r, apply_redrive);
    else
        admin_reply_error(r, ERR_INVALID, SLICE_LIT("action must be redrive"));
}

void
admin_dlq_delete(struct admin_service *s, struct http_request *r)
{
    change(s, r, apply_purge);
}
