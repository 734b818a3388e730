/*
 * One object, everything about it in one snapshot:
 *
 *   quarantine     damaged
 *   derived state  missing, stale; stuck when the item still says pending; mismatch when a client's
 *                  own object lies where ours belongs
 *   item           missing, stale (of another version), mismatch: what it says of source and
 *                  thumbnails against what is there
 *   provenance     a by-function object without any row is orphaned
 *
 * An item is compared once nothing of its object is pending. Attributes that a user may own are not
 * looked at.
 */
#include "base/err.h"
#include "objectstore/quarantine.h"
#include "pipeline/derived_state.h"
#include "pipeline/native_item.h"
#include "pipeline/verify_priv.h"

#include <inttypes.h>
#include <stdio.h>

#define WHAT_MAX 512
#define REPROCESS "its events are queued again by --fix, or by darkroom reprocess"

struct view {
    struct verify *v;
    struct slice bucket;
    const struct store_object *o;
    struct derived_states states;
    struct attr_value *item; /* NULL: there is none; of this generation otherwise */
    bool has_item;           /* there is one, perhaps of another generation */
    bool has_table;
    struct buf what;
};

static int
report(struct view *w, enum verify_kind kind, const char *todo, enum verify_fix fix)
{
    char what[WHAT_MAX];
    snprintf(what, sizeof what, "%.*s", SLICE_FMT(buf_slice(&w->what)));
    buf_reset(&w->what);
    struct verify_finding *f = verify_add(w->v, kind, w->bucket, w->o->key, what, todo, fix);
    if (f == NULL)
        return ERR_NOMEM;
    f->bucket_id = w->o->bucket_id;
    f->id = w->o->generation;
    return ERR_NONE;
}

static int
judge_bytes(struct view *w)
{
    struct quarantined q;
    int err = quarantine_of(w->v->conn, w->o, &q);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NONE : err;
    w->v->damaged = true;
    buf_printf(&w->what, "%s (at byte %" PRId64 ")", damage_text(q.reason), q.offset);
    return report(w, VERIFY_DAMAGED,
                  w->o->by_function ? "it is made again of its source"
                                    : "upload it again, or restore it from a backup",
                  w->o->by_function ? VERIFY_FIX_REQUEUE : VERIFY_FIX_NONE);
}

/* ---- derived state ---- */

static const char *
part_name(const struct derived_part *p)
{
    return p->preset != NULL ? p->preset->name : "metadata";
}

/* What the item says of a part; n = 0: nothing. */
static struct slice
item_state(const struct view *w, const struct derived_part *p)
{
    const struct attr_value *at = w->item;
    if (at != NULL && p->preset != NULL)
        at = attr_get(at, SLICE_LIT("state"));
    if (at != NULL && at->type == ATTR_M)
        at = attr_get(at,
                      p->preset != NULL ? slice_str(p->preset->name) : SLICE_LIT("metadata_state"));
    return at != NULL && at->type == ATTR_S ? at->bytes : SLICE_NONE;
}

/* VERIFY_KIND_COUNT: nothing to report. */
static enum verify_kind
part_kind(const struct view *w, const struct derived_part *p)
{
    switch (p->state) {
    case DERIVED_MISSING:
        return slice_eqs(item_state(w, p), "pending") ? VERIFY_STUCK : VERIFY_MISSING;
    case DERIVED_STALE:
        return VERIFY_STALE;
    case DERIVED_FOREIGN:
        return VERIFY_MISMATCH;
    default:
        return VERIFY_KIND_COUNT;
    }
}

/* One finding per kind: "small, medium: the derived object is gone". */
static int
judge_kind(struct view *w, enum verify_kind kind)
{
    const struct derived_part *last = NULL;
    bool foreign = kind == VERIFY_MISMATCH;
    for (size_t i = 0; i < w->states.count; i++) {
        const struct derived_part *p = &w->states.parts[i];
        if (part_kind(w, p) != kind)
            continue;
        buf_printf(&w->what, "%s%s", last == NULL ? "" : ", ", part_name(p));
        last = p;
    }
    if (last == NULL)
        return ERR_NONE;
    buf_printf(&w->what, ": %.*s%s", SLICE_FMT(last->reason),
               kind == VERIFY_STUCK ? "; the item says pending" : "");
    return report(w, kind, foreign ? "delete that object, then reprocess this one" : REPROCESS,
                  foreign ? VERIFY_FIX_NONE : VERIFY_FIX_REQUEUE);
}

/* ---- the item ---- */

static void
differs(struct view *w, const char *name)
{
    buf_printf(&w->what, "%s%s", w->what.n == 0 ? "the item is wrong about " : ", ", name);
}

static bool
is_text(const struct attr_value *map, const char *name, struct slice want)
{
    const struct attr_value *v = attr_get(map, slice_str(name));
    return v != NULL && v->type == ATTR_S && slice_eq(v->bytes, want);
}

static bool
is_number(const struct attr_value *map, const char *name, int64_t want)
{
    char text[24];
    const struct attr_value *v = attr_get(map, slice_str(name));
    snprintf(text, sizeof text, "%" PRId64, want);
    return v != NULL && v->type == ATTR_N && slice_eqs(v->bytes, text);
}

static void
compare_source(struct view *w)
{
    const struct store_object *o = w->o;
    struct slice type = slice_is_utf8(o->content_type) ? o->content_type : SLICE_NONE;
    if (!is_number(w->item, "size", o->size))
        differs(w, "size");
    if (!is_text(w->item, "etag", slice_str(o->etag)))
        differs(w, "etag");
    if (!is_text(w->item, "version", slice_str(o->version_id)))
        differs(w, "version");
    if (!is_text(w->item, "content_type", type))
        differs(w, "content_type");
}

/* The entry of a preset against its object, which is there. */
static int
compare_entry(struct view *w, const struct derived_part *p, const struct attr_value *entry)
{
    const struct readiness *r = &w->states.readiness;
    const struct store_object *o = NULL;
    char name[PRESET_IDENTITY_MAX + 32];
    int err = store_apply_get(w->v->store, w->v->conn, r->derived_bucket_id, p->derived_key, &o);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NONE : err;
    snprintf(name, sizeof name, "thumbnails.%s", p->preset->name);
    if (entry == NULL || entry->type != ATTR_M ||
        !is_text(entry, "bucket", slice_str(r->derived_bucket)) ||
        !is_text(entry, "key", p->derived_key) || !is_text(entry, "etag", slice_str(o->etag)) ||
        !is_number(entry, "size", o->size))
        differs(w, name);
    store_object_unref(&o);
    return ERR_NONE;
}

static bool
state_fits(enum derived_state state, struct slice said)
{
    struct slice rest;
    struct slice word = slice_cut(said, ':', &rest);
    switch (state) {
    case DERIVED_OK:
        return slice_eqs(said, "ready");
    case DERIVED_SKIPPED:
        return slice_eqs(word, "skipped");
    case DERIVED_FAILED:
        return slice_eqs(word, "failed");
    default:
        return true; /* reported as what it is */
    }
}

static int
compare_part(struct view *w, const struct derived_part *p, const struct attr_value *thumbs)
{
    char name[PRESET_IDENTITY_MAX + 32];
    if (!state_fits(p->state, item_state(w, p))) {
        snprintf(name, sizeof name, "the state of %s", part_name(p));
        differs(w, name);
    }
    if (p->preset == NULL || p->state != DERIVED_OK)
        return ERR_NONE;
    const struct attr_value *entry = NULL;
    if (thumbs != NULL && thumbs->type == ATTR_M)
        entry = attr_get(thumbs, slice_str(p->preset->name));
    return compare_entry(w, p, entry);
}

static void
compare_ready(struct view *w)
{
    const struct attr_value *v = attr_get(w->item, SLICE_LIT("ready"));
    bool final = true;
    for (size_t i = 0; i < w->states.count; i++) {
        enum derived_state s = w->states.parts[i].state;
        final = final && (s == DERIVED_OK || s == DERIVED_SKIPPED || s == DERIVED_FAILED);
    }
    if (final && w->states.readiness.count > 0 &&
        (v == NULL || v->type != ATTR_BOOL || v->boolean != w->states.readiness.ready))
        differs(w, "ready");
}

static int
compare(struct view *w)
{
    const struct attr_value *thumbs = attr_get(w->item, SLICE_LIT("thumbnails"));
    int err = ERR_NONE;
    compare_source(w);
    for (size_t i = 0; i < w->states.count && err == ERR_NONE; i++)
        err = compare_part(w, &w->states.parts[i], thumbs);
    compare_ready(w);
    if (err != ERR_NONE || w->what.n == 0)
        return err;
    return report(w, VERIFY_MISMATCH, REPROCESS, VERIFY_FIX_REQUEUE);
}

static int
item_find(struct view *w)
{
    struct verify *v = w->v;
    struct item_place place;
    struct attr_value *item = arena_alloc(v->scratch, sizeof *item);
    if (item == NULL)
        return ERR_NOMEM;
    int err = native_item_place(v->conn, v->scratch, w->states.readiness.set, w->bucket, w->o->key,
                                &place);
    w->has_table = err != ERR_NOPARENT;
    if (err == ERR_NONE)
        err = table_get(v->conn, v->scratch, &place.table, &place.key, item);
    w->has_item = err == ERR_NONE;
    if (w->has_item && is_number(item, "generation", w->o->generation))
        w->item = item;
    return err == ERR_NOPARENT || err == ERR_NOTFOUND ? ERR_NONE : err;
}

/* Facts of metadata have said already what is wrong with an item that is not there, or is of
 * another version; without that function somebody must. */
static int
judge_item(struct view *w)
{
    bool told = derived_states_any(&w->states, DERIVED_MISSING) ||
                derived_states_any(&w->states, DERIVED_STALE);
    if (!w->has_table || derived_states_any(&w->states, DERIVED_PENDING))
        return ERR_NONE;
    if (w->item != NULL)
        return compare(w);
    if (told)
        return ERR_NONE;
    buf_puts(&w->what, w->has_item ? "the item is of another version of the source"
                                   : "the table has no item");
    return report(w, w->has_item ? VERIFY_STALE : VERIFY_MISSING, REPROCESS, VERIFY_FIX_REQUEUE);
}

/* ---- provenance ---- */

/* Nothing says of what it was made: no source's deletion will ever take it along. */
static int
judge_provenance(struct view *w)
{
    struct provenance row;
    int err = provenance_of_derived(w->v->conn, w->v->scratch, w->o->bucket_id, w->o->key, &row);
    if (err != ERR_NOTFOUND)
        return err;
    buf_puts(&w->what, "a function made it, and nothing says of what");
    return report(w, VERIFY_ORPHANED, "delete it, or let --fix do so", VERIFY_FIX_OBJECT);
}

/* ---- the whole ---- */

static int
judge_derived(struct view *w)
{
    static const enum verify_kind kinds[] = {VERIFY_MISSING, VERIFY_STALE, VERIFY_STUCK,
                                             VERIFY_MISMATCH};
    struct rule_list rules;
    struct verify *v = w->v;
    int err = rule_load(v->conn, w->o->bucket_id, v->scratch, &rules);
    if (err != ERR_NONE || rules.count == 0)
        return err;
    err = derived_states_read(v->spec->registry, v->conn, v->scratch, w->o, w->bucket, &rules,
                              &w->states);
    if (err == ERR_NONE && w->states.count > 0 && !w->o->by_function)
        err = item_find(w);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && err == ERR_NONE; i++)
        err = judge_kind(w, kinds[i]);
    if (err == ERR_NONE && w->states.count > 0 && !w->o->by_function)
        err = judge_item(w);
    derived_states_fini(&w->states);
    return err;
}

int
verify_object(struct verify *v, struct slice bucket, const struct store_object *o)
{
    struct view *w = arena_alloc(v->scratch, sizeof *w);
    if (w == NULL)
        return ERR_NOMEM;
    *w = (struct view){.v = v, .bucket = bucket, .o = o};
    buf_init(&w->what, WHAT_MAX * 16);
    int err = judge_bytes(w);
    if (err == ERR_NONE && o->by_function)
        err = judge_provenance(w);
    if (err == ERR_NONE)
        err = judge_derived(w);
    buf_fini(&w->what);
    return err;
}
