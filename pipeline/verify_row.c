/*
 * Rows that have outlived what they are about: provenance, items, events, counts. Each phase reads
 * a page in one snapshot and looks every row's object up in it.
 */
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/derived_state.h"
#include "pipeline/native_item.h"
#include "pipeline/queue.h"
#include "pipeline/verify_priv.h"

#define PAGE_ROWS 200

static bool
in_scope(const struct verify *v, struct slice bucket, struct slice key)
{
    return v->spec->bucket.n == 0 ||
           (slice_eq(bucket, v->spec->bucket) && slice_starts(key, v->spec->prefix));
}

static bool
is_late(const struct verify *v)
{
    return v->page->count >= VERIFY_PAGE_FINDINGS || clock_mono_ms() >= v->until_ms;
}

/* Is there a current version? */
static int
exists(struct verify *v, int64_t bucket_id, struct slice key, bool *there)
{
    const struct store_object *o = NULL;
    int err = store_apply_get(v->store, v->conn, bucket_id, key, &o);
    *there = err == ERR_NONE;
    store_object_unref(&o);
    return err == ERR_NOTFOUND || err == ERR_NOPARENT ? ERR_NONE : err;
}

/* ---- provenance ---- */

/* Its object is not the one that was made. Is that said of its source already (derived_state.h)? */
static int
is_asked_for(struct registry *r, struct db_conn *conn, struct arena *a,
             const struct provenance *row, const struct store_object *source, bool *asked)
{
    struct slice bucket;
    struct rule_list rules;
    struct derived_states states;
    *asked = false;
    int err = store_bucket_name(conn, row->source_bucket_id, a, &bucket);
    if (err == ERR_NONE)
        err = rule_load(conn, row->source_bucket_id, a, &rules);
    if (err != ERR_NONE)
        return err;
    err = derived_states_read(r, conn, a, source, bucket, &rules, &states);
    for (size_t i = 0; err == ERR_NONE && i < states.count; i++)
        *asked = *asked || (states.parts[i].preset != NULL &&
                            slice_eq(states.parts[i].derived_key, row->derived_key));
    derived_states_fini(&states);
    return err;
}

int
verify_row_trouble(struct registry *r, struct db_conn *conn, struct arena *a,
                   const struct provenance *row, const char **trouble)
{
    const struct store_object *source = NULL, *derived = NULL;
    bool asked = false;
    *trouble = NULL;
    int err =
        store_apply_get(registry_store(r), conn, row->source_bucket_id, row->source_key, &source);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT) {
        *trouble = "its source is gone";
        return ERR_NONE;
    }
    if (err == ERR_NONE)
        err = store_apply_get(registry_store(r), conn, row->derived_bucket_id, row->derived_key,
                              &derived);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT) {
        err = is_asked_for(r, conn, a, row, source, &asked);
        *trouble = asked ? NULL : "its provenance names an object that is gone";
    }
    store_object_unref(&derived);
    store_object_unref(&source);
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}

static int
judge_row(struct verify *v, const struct provenance *row)
{
    const char *trouble;
    int err = verify_row_trouble(v->spec->registry, v->conn, v->scratch, row, &trouble);
    v->page->rows++;
    if (err != ERR_NONE || trouble == NULL)
        return err;
    struct verify_finding *f =
        verify_add(v, VERIFY_ORPHANED, row->derived_bucket, row->derived_key, trouble,
                   "--fix removes what was derived, and its row", VERIFY_FIX_PROVENANCE);
    if (f == NULL)
        return ERR_NOMEM;
    f->bucket_id = row->derived_bucket_id;
    return ERR_NONE;
}

/* The scope is that of the sources; a bucket that is gone is in the scope of everything alone. */
static int
row_in_scope(struct verify *v, const struct provenance *row, bool *in)
{
    struct slice bucket = SLICE_NONE;
    *in = v->spec->bucket.n == 0;
    if (*in)
        return ERR_NONE;
    int err = store_bucket_name(v->conn, row->source_bucket_id, v->scratch, &bucket);
    *in = err == ERR_NONE && in_scope(v, bucket, row->source_key);
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}

int
verify_provenance(struct verify *v, struct verify_cursor *at, bool *end)
{
    struct provenance after = {.source_bucket_id = at->id,
                               .source_key = at->key,
                               .derived_bucket_id = at->id2,
                               .derived_key = at->more};
    struct provenance *rows = NULL;
    int count = 0;
    int err = provenance_page(v->conn, v->page->a, &after, PAGE_ROWS, &rows);
    for (; err == ERR_NONE && rows != NULL && !is_late(v); rows = rows->next, count++) {
        bool in = false;
        err = row_in_scope(v, rows, &in);
        if (err == ERR_NONE && in)
            err = judge_row(v, rows);
        at->id = rows->source_bucket_id;
        at->key = rows->source_key;
        at->id2 = rows->derived_bucket_id;
        at->more = rows->derived_key;
    }
    *end = rows == NULL && count < PAGE_ROWS;
    return err;
}

/* ---- items ---- */

struct items {
    struct verify *v;
    struct verify_cursor *at;
    int err;
    int count;
    bool stopped;
};

static struct slice
text_of(const struct attr_value *item, const char *name)
{
    const struct attr_value *v = attr_get(item, slice_str(name));
    return v != NULL && v->type == ATTR_S ? v->bytes : SLICE_NONE;
}

/* A user may keep items of his own beside ours; ours have a generation and an ETag. */
static bool
is_ours(const struct attr_value *item)
{
    const struct attr_value *generation = attr_get(item, SLICE_LIT("generation"));
    return generation != NULL && generation->type == ATTR_N && text_of(item, "etag").n > 0;
}

static int
judge_item(struct verify *v, struct slice bucket, struct slice key)
{
    int64_t bucket_id = 0;
    struct slice owner;
    bool there = false;
    int err = store_apply_bucket_get(v->store, v->conn, bucket, &bucket_id, v->scratch, &owner);
    if (err == ERR_NONE)
        err = exists(v, bucket_id, key, &there);
    if ((err != ERR_NONE && err != ERR_NOTFOUND && err != ERR_NOPARENT) || there)
        return err;
    struct verify_finding *f =
        verify_add(v, VERIFY_ORPHANED, bucket, key, "the table has an item, and the object is gone",
                   "--fix removes the item", VERIFY_FIX_ITEM);
    if (f == NULL)
        return ERR_NOMEM;
    f->bucket_id = bucket_id;
    return ERR_NONE;
}

static int
see_item(void *arg, const struct attr_value *item, size_t bytes)
{
    struct items *s = arg;
    struct verify *v = s->v;
    struct slice bucket = text_of(item, "bucket"), key = text_of(item, "key");
    (void)bytes;
    if (s->count == PAGE_ROWS || is_late(v)) {
        s->stopped = true;
        return 1;
    }
    s->count++;
    v->page->rows++;
    if (is_ours(item) && in_scope(v, bucket, key))
        s->err = judge_item(v, bucket, key);
    s->at->bucket = arena_dup(v->page->a, bucket);
    s->at->key = arena_dup(v->page->a, key);
    if (s->at->key.p == NULL || s->at->bucket.p == NULL)
        s->err = ERR_NOMEM;
    return s->err != ERR_NONE;
}

static int
start_key(struct verify *v, const struct verify_cursor *at, struct attr_value *out)
{
    struct attr_value bucket = attr_s(at->bucket), key = attr_s(at->key);
    *out = attr_map_new();
    int err = attr_set(v->scratch, out, SLICE_LIT("bucket"), &bucket);
    return err == ERR_NONE ? attr_set(v->scratch, out, SLICE_LIT("key"), &key) : err;
}

int
verify_items(struct verify *v, struct verify_cursor *at, bool *end)
{
    struct function_set *set = NULL;
    struct item_place place;
    struct items s = {.v = v, .at = at};
    struct attr_value start, partition = attr_s(v->spec->bucket);
    struct table_range range = {.partition = v->spec->bucket.n > 0 ? &partition : NULL};
    int err = registry_get(v->spec->registry, v->conn, &set);
    if (err != ERR_NONE)
        return err;
    err = native_item_place(v->conn, v->scratch, set, SLICE_LIT("x"), SLICE_LIT("x"), &place);
    registry_unref(&set);
    if (err == ERR_NONE && at->key.n > 0) {
        err = start_key(v, at, &start);
        range.start_after = &start;
    }
    if (err == ERR_NONE)
        err = table_range(v->conn, &place.table, &range, see_item, &s);
    *end = !s.stopped;
    if (err == ERR_NONE)
        err = s.err;
    return err == ERR_NOPARENT ? ERR_NONE : err;
}

/* ---- events ---- */

struct events {
    struct verify *v;
    struct verify_cursor *at;
    const struct function_set *set;
    int err;
    int count;
    bool stopped;
};

static int
judge_event(struct events *s, const struct queue_event *e)
{
    struct verify *v = s->v;
    const struct store_object *o = NULL;
    const char *trouble = NULL;
    int err = store_apply_get(v->store, v->conn, e->bucket_id, e->key, &o);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT)
        trouble = "an event waits for an object that is gone";
    else if (err == ERR_NONE && o->generation != e->generation)
        trouble = "an event waits for a version that is not current";
    else if (err == ERR_NONE && registry_find(s->set, e->function) == NULL)
        trouble = "an event waits for a function that does not exist";
    store_object_unref(&o);
    if (trouble == NULL)
        return err;
    struct verify_finding *f = verify_add(v, VERIFY_STUCK, e->bucket, e->key, trouble,
                                          "--fix removes the event", VERIFY_FIX_EVENT);
    if (f == NULL)
        return ERR_NOMEM;
    f->bucket_id = e->bucket_id;
    f->id = e->id;
    return ERR_NONE;
}

static int
see_event(void *arg, const struct queue_event *e)
{
    struct events *s = arg;
    if (is_late(s->v)) {
        s->stopped = true;
        return 1;
    }
    s->count++;
    s->v->page->rows++;
    s->at->id = e->id;
    if (in_scope(s->v, e->bucket, e->key))
        s->err = judge_event(s, e);
    return s->err != ERR_NONE;
}

int
verify_events(struct verify *v, struct verify_cursor *at, bool *end)
{
    struct function_set *set = NULL;
    struct events s = {.v = v, .at = at};
    int err = registry_get(v->spec->registry, v->conn, &set);
    s.set = set;
    if (err == ERR_NONE)
        err = queue_page(v->conn, at->id, PAGE_ROWS, see_event, &s);
    *end = !s.stopped && s.count < PAGE_ROWS;
    registry_unref(&set);
    return err == ERR_NONE ? s.err : err;
}

int
verify_counts(struct verify *v)
{
    bool agree = true;
    int err = queue_counts_agree(v->conn, &agree);
    if (err != ERR_NONE || agree)
        return err;
    return verify_add(v, VERIFY_STUCK, SLICE_NONE, SLICE_NONE,
                      "the queue's counts differ from its events", "--fix counts again",
                      VERIFY_FIX_COUNTS) == NULL
               ? ERR_NOMEM
               : ERR_NONE;
}
