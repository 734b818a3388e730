/*
 * Readiness tells what the rows say of each preset. To that comes here: is the object that
 * provenance names really there, and of what nothing is known, was it never made (missing) or made
 * of something else (stale)?
 *
 *   readiness      object at the derived key           state
 *   ready          the version that was ours           OK
 *   ready          none                                MISSING; PENDING while an event waits
 *   ready          another                             FOREIGN
 *   pending, skipped, failed                           the same
 *   none           provenance of another generation
 *                  or of another hash                  STALE
 *   none           no provenance                       MISSING
 *
 * Facts are judged by the item: of this generation, and its metadata_state.
 */
#include "pipeline/derived_state.h"
#include "base/err.h"
#include "pipeline/native_item.h"
#include "pipeline/queue.h"

#include <inttypes.h>
#include <stdio.h>

struct look {
    struct registry *registry;
    struct db_conn *conn;
    struct arena *a;
    const struct store_object *source;
    struct slice bucket;
    struct derived_states *out;
};

const char *
derived_state_name(enum derived_state s)
{
    static const char *const names[] = {
#define X(id, name) [DERIVED_##id] = name,
        DERIVED_STATE_LIST(X)
#undef X
    };
    return names[s];
}

/* ---- events ---- */

struct mine { /* an event or dead letter of that function and generation */
    const struct look *l;
    struct slice function;
    bool found;
    struct slice reason;
};

static int
see_event(void *arg, const struct queue_event *e)
{
    struct mine *m = arg;
    m->found = e->generation == m->l->source->generation && slice_eq(e->function, m->function);
    return m->found;
}

static int
see_dead(void *arg, const struct dead_letter *d)
{
    struct mine *m = arg;
    if (see_event(m, &d->event))
        m->reason = arena_dup(m->l->a, d->event.reason);
    return m->found;
}

/* Does an event of that function wait for this version? */
static int
is_waiting(const struct look *l, const struct function *f, bool *waits)
{
    struct mine m = {.l = l, .function = f->name};
    int err = queue_of_key(l->conn, l->source->bucket_id, l->source->key, see_event, &m);
    *waits = m.found;
    return err;
}

/* ---- presets ---- */

static int
judge_stored(struct look *l, const struct preset_readiness *p, struct derived_part *part)
{
    const struct store_object *o = NULL;
    int err = store_apply_get(registry_store(l->registry), l->conn,
                              l->out->readiness.derived_bucket_id, p->derived_key, &o);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT) {
        bool waits = false;
        err = is_waiting(l, part->function, &waits);
        part->state = waits ? DERIVED_PENDING : DERIVED_MISSING;
        part->reason = waits ? SLICE_NONE : SLICE_LIT("the derived object is gone");
        return err;
    }
    if (err != ERR_NONE)
        return err;
    bool ours = o->generation == p->stored_generation;
    part->state = ours ? DERIVED_OK : DERIVED_FOREIGN;
    if (!ours)
        part->reason = SLICE_LIT("a client has put another object at the derived key");
    store_object_unref(&o);
    return ERR_NONE;
}

static void
judge_unknown(const struct look *l, const struct preset_readiness *p, struct derived_part *part)
{
    bool stored = p->stored_source_generation != 0;
    part->state = stored ? DERIVED_STALE : DERIVED_MISSING;
    if (!stored)
        part->reason = SLICE_LIT("never made, and no event waits");
    else if (p->stored_source_generation != l->source->generation)
        part->reason = SLICE_LIT("made of another version of the source");
    else
        part->reason = SLICE_LIT("made with another configuration of the preset");
}

static int
judge_preset(struct look *l, const struct preset_readiness *p)
{
    struct derived_part *part = &l->out->parts[l->out->count++];
    *part = (struct derived_part){.function = l->out->readiness.thumbnail,
                                  .preset = p->preset,
                                  .derived_key = p->derived_key};
    switch (p->state) {
    case PRESET_STATE_READY:
        return judge_stored(l, p, part);
    case PRESET_STATE_PENDING:
        part->state = DERIVED_PENDING;
        return ERR_NONE;
    case PRESET_STATE_SKIPPED:
    case PRESET_STATE_FAILED:
        part->state = p->state == PRESET_STATE_SKIPPED ? DERIVED_SKIPPED : DERIVED_FAILED;
        part->reason = p->reason.n > 0 ? p->reason : SLICE_LIT("no reason is known");
        return ERR_NONE;
    default:
        judge_unknown(l, p, part);
        return ERR_NONE;
    }
}

static int
judge_presets(struct look *l)
{
    struct readiness *r = &l->out->readiness;
    int err = readiness_read(l->registry, l->conn, l->a, l->source, l->bucket, r);
    for (size_t i = 0; err == ERR_NONE && i < r->count; i++)
        err = judge_preset(l, &r->presets[i]);
    return err;
}

/* ---- facts ---- */

/* No verdict of this generation stands in the item: why? */
static int
judge_absent(struct look *l, struct derived_part *part, bool of_another)
{
    bool waits = false;
    struct mine m = {.l = l, .function = part->function->name};
    int err = is_waiting(l, part->function, &waits);
    if (err != ERR_NONE || waits) {
        part->state = DERIVED_PENDING;
        return err;
    }
    err = queue_dead_of_key(l->conn, l->source->bucket_id, l->source->key, see_dead, &m);
    if (err == ERR_NONE && m.found) {
        part->state = DERIVED_FAILED;
        part->reason = m.reason.n > 0 ? m.reason : SLICE_LIT("no reason is known");
        return m.reason.p == NULL ? ERR_NOMEM : ERR_NONE;
    }
    part->state = of_another ? DERIVED_STALE : DERIVED_MISSING;
    part->reason = of_another ? SLICE_LIT("the item is of another version of the source")
                              : SLICE_LIT("no facts are in the table, and no event waits");
    return err;
}

/* "ready", "skipped: not an image" */
static int
judge_state(struct look *l, struct derived_part *part, const struct attr_value *v)
{
    struct slice reason;
    if (v == NULL || v->type != ATTR_S)
        return judge_absent(l, part, false);
    struct slice word = slice_cut(v->bytes, ':', &reason);
    if (slice_eqs(word, "ready")) {
        part->state = DERIVED_OK;
        return ERR_NONE;
    }
    if (!slice_eqs(word, "skipped") && !slice_eqs(word, "failed"))
        return judge_absent(l, part, false);
    part->state = slice_eqs(word, "skipped") ? DERIVED_SKIPPED : DERIVED_FAILED;
    part->reason = reason.n > 1 ? slice_skip(reason, 1) : SLICE_LIT("no reason is known");
    return ERR_NONE;
}

static int
judge_facts(struct look *l, const struct function *metadata)
{
    struct item_place place;
    char generation[24];
    struct attr_value *item = arena_alloc(l->a, sizeof *item);
    if (item == NULL)
        return ERR_NOMEM;
    int err =
        native_item_place(l->conn, l->a, l->out->readiness.set, l->bucket, l->source->key, &place);
    if (err == ERR_NOPARENT)
        return ERR_NONE; /* no table: no items */
    struct derived_part *part = &l->out->parts[l->out->count++];
    *part = (struct derived_part){.function = metadata};
    if (err == ERR_NONE)
        err = table_get(l->conn, l->a, &place.table, &place.key, item);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? judge_absent(l, part, false) : err;
    snprintf(generation, sizeof generation, "%" PRId64, l->source->generation);
    const struct attr_value *of = attr_get(item, SLICE_LIT("generation"));
    if (of == NULL || of->type != ATTR_N || !slice_eqs(of->bytes, generation))
        return judge_absent(l, part, true);
    return judge_state(l, part, attr_get(item, SLICE_LIT("metadata_state")));
}

/* ---- the whole ---- */

/* The function of that kind that a rule gives the object to; NULL: none. */
static const struct function *
given_to(const struct look *l, const struct rule_list *rules, enum native_kind kind)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct function *f = registry_find(l->out->readiness.set, rules->rules[i].function);
        if (f != NULL && f->native.kind == kind &&
            rule_matches(&rules->rules[i], EVENT_RESTORED, l->source->key))
            return f;
    }
    return NULL;
}

int
derived_states_read(struct registry *r, struct db_conn *conn, struct arena *a,
                    const struct store_object *source, struct slice bucket,
                    const struct rule_list *rules, struct derived_states *out)
{
    struct look l = {
        .registry = r, .conn = conn, .a = a, .source = source, .bucket = bucket, .out = out};
    struct function_set *set = NULL;
    out->count = 0;
    out->readiness = (struct readiness){.set = NULL};
    int err = registry_get(r, conn, &set);
    if (err != ERR_NONE)
        return err;
    out->readiness.set = set;
    if (given_to(&l, rules, NATIVE_THUMBNAIL) != NULL) {
        registry_unref(&out->readiness.set); /* readiness_read() takes one of its own */
        err = judge_presets(&l);
    }
    if (err != ERR_NONE || source->by_function) /* what a function has derived has no item */
        return err;
    const struct function *metadata = given_to(&l, rules, NATIVE_METADATA);
    return metadata == NULL ? ERR_NONE : judge_facts(&l, metadata);
}

void
derived_states_fini(struct derived_states *out)
{
    readiness_fini(&out->readiness);
    out->count = 0;
}

bool
derived_states_any(const struct derived_states *s, enum derived_state state)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->parts[i].state == state)
            return true;
    }
    return false;
}
