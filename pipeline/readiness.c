/*
 * A preset's state, the first that holds:
 *
 *   ready            provenance: stored where it belongs, of this generation and this preset
 *   pending          its own pass waits or runs, or, for a follow-up, the pass before it
 *   skipped, failed  the item says so of this generation
 *   failed           its event lies with the dead letters
 *   none             else: nobody asked, or only for what was configured then
 *
 * The item is read only when some preset is neither ready nor pending.
 */
#include "pipeline/readiness.h"
#include "base/err.h"
#include "pipeline/derived.h"
#include "pipeline/native_item.h"
#include "pipeline/notice.h"
#include "pipeline/provenance.h"
#include "pipeline/queue.h"

#include <inttypes.h>
#include <stdio.h>

#define FRESH_ARENA_BYTES (64u << 10)

const char *
preset_state_name(enum preset_state s)
{
    static const char *const names[] = {
#define X(id, name) [PRESET_STATE_##id] = name,
        PRESET_STATE_LIST(X)
#undef X
    };
    return names[s];
}

struct look {
    struct registry *registry;
    struct db_conn *conn;
    struct arena *a;
    const struct store_object *source;
    struct slice bucket;
    struct readiness *out;
    bool waits[2]; /* [followup]: an event of that pass */
    bool dead[2];
    struct slice dead_reason[2];     /* p = NULL with `dead`: out of memory */
    const struct attr_value *states; /* of the item, of this generation; NULL: none */
};

/* ---- where it belongs, and what is there ---- */

static int
find_bucket(struct look *l)
{
    struct readiness *out = l->out;
    struct derived_place place;
    int err = derived_place_find(registry_store(l->registry), l->conn, l->a, out->thumbnail,
                                 l->bucket, &place);
    memcpy(out->derived_bucket, place.bucket, sizeof out->derived_bucket);
    out->derived_bucket_id = place.bucket_id;
    return err;
}

static int
find_key(struct look *l, struct preset_readiness *p)
{
    struct buf key;
    buf_init(&key, STORE_KEY_MAX);
    int err = native_derived_key(l->source->key, p->preset, &key);
    if (err == ERR_NONE) {
        p->derived_key = arena_dup(l->a, buf_slice(&key));
        err = p->derived_key.p == NULL ? ERR_NOMEM : ERR_NONE;
    }
    buf_fini(&key);
    return err == ERR_TOOBIG ? ERR_NONE : err;
}

static void
judge_stored(const struct look *l, struct preset_readiness *p, const struct provenance *rows)
{
    char hash[PRESET_HASH_TEXT];
    preset_hash(p->preset, hash);
    for (const struct provenance *row = rows; row != NULL; row = row->next) {
        if (row->derived_bucket_id != l->out->derived_bucket_id ||
            !slice_eq(row->derived_key, p->derived_key) ||
            !slice_eq(row->function, l->out->thumbnail->name))
            continue;
        p->stored_source_generation = row->source_generation;
        p->stored_generation = row->derived_generation;
        if (row->source_generation == l->source->generation && slice_eqs(row->config_hash, hash))
            p->state = PRESET_STATE_READY;
        return;
    }
}

static int
find_stored(struct look *l)
{
    struct readiness *out = l->out;
    const struct preset_list *presets = &out->thumbnail->native.presets;
    struct provenance *rows = NULL;
    int err = provenance_list(l->conn, l->a, l->source->bucket_id, l->source->key, &rows);
    for (size_t i = 0; i < presets->count && err == ERR_NONE; i++) {
        struct preset_readiness *p = &out->presets[out->count++];
        *p = (struct preset_readiness){.preset = &presets->presets[i]};
        err = find_key(l, p);
        if (err == ERR_NONE && out->derived_bucket_id != 0 && p->derived_key.n > 0)
            judge_stored(l, p, rows);
    }
    return err;
}

/* ---- why there is nothing ---- */

static bool
is_ours(const struct look *l, const struct queue_event *e)
{
    return e->generation == l->source->generation && slice_eq(e->function, l->out->thumbnail->name);
}

static int
see_event(void *arg, const struct queue_event *e)
{
    struct look *l = arg;
    if (is_ours(l, e))
        l->waits[e->followup] = true;
    return 0;
}

static int
see_dead(void *arg, const struct dead_letter *d)
{
    struct look *l = arg;
    int pass = d->event.followup;
    if (!is_ours(l, &d->event))
        return 0;
    l->dead[pass] = true;
    l->dead_reason[pass] = arena_dup(l->a, d->event.reason);
    return 0;
}

static int
find_item(struct look *l)
{
    struct item_place place;
    char generation[24];
    struct attr_value *item = arena_alloc(l->a, sizeof *item);
    if (item == NULL)
        return ERR_NOMEM;
    int err = native_item_place(l->conn, l->a, l->out->set, l->bucket, l->source->key, &place);
    if (err == ERR_NONE)
        err = table_get(l->conn, l->a, &place.table, &place.key, item);
    if (err != ERR_NONE)
        return err == ERR_NOPARENT || err == ERR_NOTFOUND ? ERR_NONE : err;
    snprintf(generation, sizeof generation, "%" PRId64, l->source->generation);
    const struct attr_value *of = attr_get(item, SLICE_LIT("generation"));
    const struct attr_value *states = attr_get(item, SLICE_LIT("state"));
    if (of != NULL && of->type == ATTR_N && slice_eqs(of->bytes, generation) && states != NULL &&
        states->type == ATTR_M)
        l->states = states;
    return ERR_NONE;
}

/* "skipped: not an image" */
static bool
judge_item(const struct look *l, struct preset_readiness *p)
{
    static const enum preset_state final[] = {PRESET_STATE_SKIPPED, PRESET_STATE_FAILED};
    const struct attr_value *v =
        l->states == NULL ? NULL : attr_get(l->states, slice_str(p->preset->name));
    struct slice reason;
    if (v == NULL || v->type != ATTR_S)
        return false;
    struct slice word = slice_cut(v->bytes, ':', &reason);
    for (size_t i = 0; i < sizeof final / sizeof final[0]; i++) {
        if (!slice_eqs(word, preset_state_name(final[i])))
            continue;
        p->state = final[i];
        p->reason = reason.n > 0 && reason.p[0] == ' ' ? slice_skip(reason, 1) : reason;
        return true;
    }
    return false;
}

static void
judge_missing(const struct look *l, struct preset_readiness *p)
{
    const struct native_config *c = &l->out->thumbnail->native;
    bool followup = !native_in_pass(c, p->preset, false);
    if (l->waits[false] || (followup && l->waits[true])) {
        p->state = PRESET_STATE_PENDING;
    } else if (!judge_item(l, p) && (l->dead[false] || l->dead[followup])) {
        p->state = PRESET_STATE_FAILED;
        p->reason = l->dead_reason[l->dead[false] ? false : followup];
    }
}

static int
find_reasons(struct look *l)
{
    struct readiness *out = l->out;
    size_t missing = 0;
    for (size_t i = 0; i < out->count; i++)
        missing += out->presets[i].state != PRESET_STATE_READY;
    if (missing == 0)
        return ERR_NONE;
    const struct store_object *o = l->source;
    int err = queue_of_key(l->conn, o->bucket_id, o->key, see_event, l);
    if (err == ERR_NONE && !l->waits[false]) {
        err = queue_dead_of_key(l->conn, o->bucket_id, o->key, see_dead, l);
        for (int pass = 0; pass < 2; pass++) {
            if (l->dead[pass] && l->dead_reason[pass].p == NULL)
                err = ERR_NOMEM;
        }
        if (err == ERR_NONE)
            err = find_item(l);
    }
    for (size_t i = 0; i < out->count && err == ERR_NONE; i++) {
        if (out->presets[i].state != PRESET_STATE_READY)
            judge_missing(l, &out->presets[i]);
    }
    return err;
}

/* ---- the whole ---- */

int
readiness_read(struct registry *r, struct db_conn *conn, struct arena *a,
               const struct store_object *source, struct slice bucket, struct readiness *out)
{
    struct look l = {
        .registry = r, .conn = conn, .a = a, .source = source, .bucket = bucket, .out = out};
    *out = (struct readiness){.set = NULL};
    int err = registry_get(r, conn, &out->set);
    if (err == ERR_NONE)
        err = notice_last(conn, &out->notice_id);
    if (err != ERR_NONE)
        goto out;
    out->thumbnail = registry_find(out->set, NATIVE_THUMBNAIL_NAME);
    if (out->thumbnail == NULL)
        return ERR_NONE;
    err = find_bucket(&l);
    if (err == ERR_NONE)
        err = find_stored(&l);
    if (err == ERR_NONE)
        err = find_reasons(&l);
    out->ready = out->count > 0;
    for (size_t i = 0; i < out->count; i++) {
        if (native_in_pass(&out->thumbnail->native, out->presets[i].preset, false))
            out->ready = out->ready && out->presets[i].state == PRESET_STATE_READY;
    }
out:
    if (err != ERR_NONE)
        readiness_fini(out);
    return err;
}

void
readiness_fini(struct readiness *out)
{
    registry_unref(&out->set);
    *out = (struct readiness){.set = NULL};
}

static bool
is_current(struct registry *r, struct db_conn *conn, struct arena *a,
           const struct store_object *derived)
{
    struct provenance row;
    const struct store_object *source = NULL;
    int err = provenance_of_derived(conn, a, derived->bucket_id, derived->key, &row);
    if (err == ERR_NOTFOUND || (err == ERR_NONE && row.derived_generation != derived->generation))
        return true; /* not ours */
    if (err == ERR_NONE)
        err =
            store_apply_get(registry_store(r), conn, row.source_bucket_id, row.source_key, &source);
    bool current = err == ERR_NONE && source->generation == row.source_generation;
    store_object_unref(&source);
    return current;
}

bool
readiness_is_fresh(struct registry *r, struct db *db, const struct store_object *derived)
{
    struct db_conn *conn = NULL;
    if (!derived->by_function)
        return true;
    struct arena *a = arena_new(FRESH_ARENA_BYTES);
    if (a == NULL || db_read_begin(db, &conn) != ERR_NONE) {
        arena_free(&a);
        return false;
    }
    bool fresh = is_current(r, conn, a, derived);
    db_read_end(db, &conn);
    arena_free(&a);
    return fresh;
}
