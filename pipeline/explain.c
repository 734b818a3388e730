/*
 * The story of one object as one JSON object: what was done to it and by whom, what is stored, what
 * waits, what was tried, what was made of it, what the table says, what has been given up, when it
 * was last sent. All of it comes from one snapshot, but for what is kept in memory: the sending.
 * Of a derived object it tells which source it was made of.
 */
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "objectstore/quarantine.h"
#include "pipeline/event_log.h"
#include "pipeline/history.h"
#include "pipeline/native_item.h"
#include "pipeline/provenance.h"
#include "pipeline/rule.h"

#define EXPLAIN_ATTEMPTS_MAX 50
#define EXPLAIN_CHANGES_MAX 50
#define EXPLAIN_ARENA_BYTES (4u << 20)

struct story {
    struct buf *out;
    bool first; /* no comma before the next element */
};

static void
comma(struct story *s)
{
    if (!s->first)
        buf_putc(s->out, ',');
    s->first = false;
}

static void
put_str(struct buf *out, const char *name, struct slice value)
{
    buf_printf(out, ",\"%s\":", name);
    json_quote(out, value);
}

static void
put_int(struct buf *out, const char *name, int64_t value)
{
    buf_printf(out, ",\"%s\":%lld", name, (long long)value);
}

static void
put_time(struct buf *out, const char *name, int64_t ms)
{
    char when[CLOCK_TEXT_MAX];
    clock_iso8601(ms, when);
    put_str(out, name, slice_str(when));
}

/* ---- table item as plain JSON ---- */

static void
put_value(struct buf *out, const struct attr_value *v)
{
    switch (v->type) {
    case ATTR_S:
        json_quote(out, v->bytes);
        return;
    case ATTR_N:
        buf_put_slice(out, v->bytes);
        return;
    case ATTR_B:
        buf_putc(out, '"');
        base64_encode(out, v->bytes.p, v->bytes.n);
        buf_putc(out, '"');
        return;
    case ATTR_BOOL:
        buf_puts(out, v->boolean ? "true" : "false");
        return;
    case ATTR_NULL:
        buf_puts(out, "null");
        return;
    case ATTR_M:
        buf_putc(out, '{');
        for (size_t i = 0; i < v->count; i++) {
            buf_puts(out, i == 0 ? "" : ",");
            json_quote(out, v->names[i]);
            buf_putc(out, ':');
            put_value(out, &v->elements[i]);
        }
        buf_putc(out, '}');
        return;
    case ATTR_L:
    case ATTR_SS:
    case ATTR_NS:
    case ATTR_BS:
        buf_putc(out, '[');
        for (size_t i = 0; i < v->count; i++) {
            buf_puts(out, i == 0 ? "" : ",");
            put_value(out, &v->elements[i]);
        }
        buf_putc(out, ']');
        return;
    }
}

/* ---- elements ---- */

static void
put_event(struct buf *out, const struct queue_event *e)
{
    buf_printf(out, "{\"id\":%lld", (long long)e->id);
    put_str(out, "function", e->function);
    put_str(out, "lane", slice_str(queue_lane_name(e->lane)));
    put_str(out, "event", slice_str(event_type_name(e->type)));
    put_int(out, "generation", e->generation);
    buf_printf(out, ",\"followup\":%s", e->followup ? "true" : "false");
    put_int(out, "attempts", e->attempts);
    put_time(out, "created", e->created_ms);
    if (e->not_before_ms > 0)
        put_time(out, "not_before", e->not_before_ms);
    put_str(out, "reason", e->reason);
    put_str(out, "request_id", e->request_id);
    if (e->batch_id != 0)
        put_int(out, "batch", e->batch_id);
}

static int
add_event(void *arg, const struct queue_event *e)
{
    struct story *s = arg;
    comma(s);
    put_event(s->out, e);
    buf_putc(s->out, '}');
    return 0;
}

static int
add_dead(void *arg, const struct dead_letter *d)
{
    struct story *s = arg;
    comma(s);
    put_event(s->out, &d->event);
    put_time(s->out, "dead", d->dead_ms);
    put_str(s->out, "class", slice_str(dead_class_name(d->class)));
    buf_putc(s->out, '}');
    return 0;
}

static int
add_attempt(void *arg, const struct history_attempt *t)
{
    struct story *s = arg;
    comma(s);
    buf_printf(s->out, "{\"event\":%lld", (long long)t->event_id);
    put_str(s->out, "function", t->function);
    put_int(s->out, "generation", t->generation);
    put_int(s->out, "revision", t->revision);
    put_int(s->out, "pid", t->pid);
    if (t->queued_ms != 0)
        put_time(s->out, "queued", t->queued_ms);
    put_time(s->out, "started", t->started_ms);
    put_int(s->out, "run_us", t->run_us);
    put_int(s->out, "cpu_us", t->cpu_us);
    put_int(s->out, "rss_bytes", t->rss_bytes);
    put_str(s->out, "outcome", t->outcome);
    put_str(s->out, "reason", t->reason);
    if (t->stderr_tail.n > 0)
        put_str(s->out, "stderr", t->stderr_tail);
    buf_putc(s->out, '}');
    return 0;
}

static int
add_change(void *arg, const struct event_log_row *row)
{
    struct story *s = arg;
    comma(s);
    event_log_json(row, s->out);
    return 0;
}

/* ,"last_served":"2026-..." or null. */
static void
put_served(struct buf *out, struct store *s, int64_t bucket_id, struct slice key)
{
    int64_t since_ms;
    int64_t at_s = store_served_at(s, bucket_id, key, &since_ms);
    if (at_s != 0)
        put_time(out, "last_served", at_s * 1000);
    else
        buf_puts(out, ",\"last_served\":null");
}

static void
put_object(struct buf *out, const struct store_object *o)
{
    buf_puts(out, ",\"object\":");
    if (o == NULL) {
        buf_puts(out, "null");
        return;
    }
    buf_printf(out, "{\"generation\":%lld", (long long)o->generation);
    put_int(out, "size", o->size);
    put_str(out, "content_type", o->content_type);
    put_str(out, "etag", slice_str(o->etag));
    put_str(out, "version_id", slice_str(o->version_id));
    put_time(out, "modified", o->mtime_ms);
    buf_printf(out, ",\"by_function\":%s}", o->by_function ? "true" : "false");
}

/* What the scrubber or a reader knows of the object's bytes. */
static int
put_damage(struct buf *out, struct db_conn *conn, const struct store_object *o)
{
    struct quarantined q;
    int err = o == NULL ? ERR_NOTFOUND : quarantine_of(conn, o, &q);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NONE : err;
    buf_printf(out, ",\"damaged\":{\"offset\":%lld", (long long)q.offset);
    put_str(out, "reason", slice_str(damage_text(q.reason)));
    put_time(out, "found", q.found_ms);
    buf_putc(out, '}');
    return ERR_NONE;
}

static void
put_derived(struct buf *out, struct store *s, const struct provenance *p)
{
    for (const struct provenance *row = p; row != NULL; row = row->next) {
        buf_puts(out, row == p ? "" : ",");
        buf_printf(out, "{\"generation\":%lld", (long long)row->derived_generation);
        put_str(out, "bucket", row->derived_bucket);
        put_str(out, "key", row->derived_key);
        put_str(out, "preset", row->preset);
        put_str(out, "preset_hash", row->config_hash);
        put_int(out, "source_generation", row->source_generation);
        put_str(out, "function", row->function);
        put_served(out, s, row->derived_bucket_id, row->derived_key);
        buf_putc(out, '}');
    }
}

/* ,"source":{...}: what the object, as it is now, was made of; nothing when no function made it. */
static int
put_source(struct buf *out, struct db_conn *conn, struct arena *a, const struct store_object *o)
{
    struct provenance row;
    struct slice bucket;
    if (o == NULL)
        return ERR_NONE;
    int err = provenance_of_derived(conn, a, o->bucket_id, o->key, &row);
    if (err == ERR_NOTFOUND || (err == ERR_NONE && row.derived_generation != o->generation))
        return ERR_NONE;
    if (err == ERR_NONE)
        err = store_bucket_name(conn, row.source_bucket_id, a, &bucket);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NONE : err;
    buf_printf(out, ",\"source\":{\"generation\":%lld", (long long)row.source_generation);
    put_str(out, "bucket", bucket);
    put_str(out, "key", row.source_key);
    put_str(out, "preset", row.preset);
    put_str(out, "preset_hash", row.config_hash);
    put_str(out, "function", row.function);
    buf_putc(out, '}');
    return ERR_NONE;
}

static int
put_rules(struct buf *out, struct db_conn *conn, struct arena *a, int64_t bucket_id,
          struct slice key)
{
    struct rule_list rules;
    struct story list = {out, true};
    int err = rule_load(conn, bucket_id, a, &rules);
    buf_puts(out, ",\"rules\":[");
    for (size_t i = 0; err == ERR_NONE && i < rules.count; i++) {
        if (!rule_matches(&rules.rules[i], EVENT_RESTORED, key))
            continue;
        comma(&list);
        buf_puts(out, "{\"function\":");
        json_quote(out, rules.rules[i].function);
        put_str(out, "id", rules.rules[i].id);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    return err;
}

static int
put_item(struct buf *out, struct registry *r, struct db_conn *conn, struct arena *a,
         struct slice bucket, struct slice key)
{
    struct function_set *set = NULL;
    struct item_place place;
    struct attr_value item;
    int err = registry_get(r, conn, &set);
    if (err != ERR_NONE)
        return err;
    err = native_item_place(conn, a, set, bucket, key, &place);
    if (err == ERR_NONE)
        err = table_get(conn, a, &place.table, &place.key, &item);
    buf_puts(out, ",\"item\":");
    if (err == ERR_NONE)
        put_value(out, &item);
    else
        buf_puts(out, "null");
    registry_unref(&set);
    return err == ERR_NOPARENT || err == ERR_NOTFOUND ? ERR_NONE : err;
}

/* What was done to the object, and what it is now. */
static int
put_changes(struct buf *json, struct registry *r, struct db_conn *conn, struct arena *a,
            int64_t bucket_id, struct slice key)
{
    int64_t since_ms;
    struct story list = {json, true};
    const struct store_object *o = NULL;
    int err = store_apply_get(registry_store(r), conn, bucket_id, key, &o);
    if (err == ERR_NOTFOUND)
        err = ERR_NONE;
    put_object(json, o);
    if (err == ERR_NONE)
        err = put_damage(json, conn, o);
    if (err == ERR_NONE)
        err = put_source(json, conn, a, o);
    put_served(json, registry_store(r), bucket_id, key);
    store_served_at(registry_store(r), bucket_id, key, &since_ms);
    put_time(json, "served_since", since_ms);
    buf_puts(json, ",\"changes\":[");
    if (err == ERR_NONE)
        err = event_log_of_key(conn, bucket_id, key, o == NULL ? 0 : o->generation,
                               EXPLAIN_CHANGES_MAX, add_change, &list);
    buf_putc(json, ']');
    store_object_unref(&o);
    return err;
}

/* Everything that comes from one snapshot of the database. */
static int
tell(struct registry *r, struct db_conn *conn, struct arena *a, const struct store_bucket *bucket,
     struct slice key, struct buf *json)
{
    struct provenance *derived = NULL;
    struct story list = {json, true};
    int err = put_changes(json, r, conn, a, bucket->id, key);
    if (err == ERR_NONE)
        err = put_rules(json, conn, a, bucket->id, key);
    buf_puts(json, ",\"events\":[");
    if (err == ERR_NONE)
        err = queue_of_key(conn, bucket->id, key, add_event, &list);
    buf_puts(json, "],\"attempts\":[");
    list.first = true;
    if (err == ERR_NONE)
        err = history_of_key(conn, bucket->id, key, EXPLAIN_ATTEMPTS_MAX, add_attempt, &list);
    buf_puts(json, "],\"dead_letters\":[");
    list.first = true;
    if (err == ERR_NONE)
        err = queue_dead_of_key(conn, bucket->id, key, add_dead, &list);
    buf_puts(json, "],\"derived\":[");
    if (err == ERR_NONE)
        err = provenance_list(conn, a, bucket->id, key, &derived);
    put_derived(json, registry_store(r), derived);
    buf_putc(json, ']');
    return err == ERR_NONE ? put_item(json, r, conn, a, bucket->name, key) : err;
}

int
history_explain(struct registry *r, struct db *db, struct slice bucket_name, struct slice key,
                struct buf *json)
{
    const struct store_bucket *bucket = NULL;
    struct db_conn *conn = NULL;
    struct arena *a = NULL;
    int err = store_bucket_get(registry_store(r), bucket_name, &bucket);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NOPARENT : err;
    a = arena_new(EXPLAIN_ARENA_BYTES);
    err = a == NULL ? ERR_NOMEM : db_read_begin(db, &conn);
    if (err != ERR_NONE)
        goto out;
    buf_puts(json, "{\"bucket\":");
    json_quote(json, bucket_name);
    put_str(json, "key", key);
    err = tell(r, conn, a, bucket, key, json);
    db_read_end(db, &conn);
    buf_putc(json, '}');
    if (err == ERR_NONE)
        err = json->err;
out:
    arena_free(&a);
    store_bucket_unref(&bucket);
    return err;
}
