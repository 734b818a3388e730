/*
 * A page goes through three steps:
 *
 *   1. list       keys and generations of the page
 *   2. merge      rows about these keys, each scan in key order: they set the states of the parts
 *   3. judge      per object: its class, and which passes of which functions it needs
 *
 * States only get better while rows are merged, from missing to stale to a verdict to ok, so that
 * the order of the scans does not matter. Listing and rows are two snapshots: an object that
 * changed between them may look stale; whoever acts on it compares the generation.
 */
#include "pipeline/survey.h"
#include "base/chk.h"
#include "base/err.h"
#include "pipeline/derived.h"
#include "pipeline/native_item.h"
#include "pipeline/provenance.h"
#include "pipeline/queue.h"
#include "pipeline/rule.h"
#include "pipeline/unmade.h"

enum part { PART_MISSING, PART_STALE, PART_SKIPPED, PART_FAILED, PART_OK };

struct surveyed {
    struct slice key;
    int64_t generation;
    int64_t mtime_ms;
    uint8_t presets[PRESETS_MAX]; /* enum part */
    uint8_t facts;
};

struct page {
    struct registry *registry;
    struct db_conn *conn;
    struct arena *a;
    const struct survey_spec *spec;
    struct survey *out;
    int64_t bucket_id;
    struct rule_list rules;
    const struct function *thumbnail, *metadata; /* NULL: not configured */
    bool has_items;
    struct derived_place place;
    char hashes[PRESETS_MAX][PRESET_HASH_TEXT];
    struct surveyed *objects;
    size_t count;
    size_t at; /* of the merge */
    int err;   /* of the callbacks */
};

const char *
survey_class_name(enum survey_class c)
{
    static const char *const names[] = {
#define X(id, name) [SURVEY_##id] = name,
        SURVEY_CLASS_LIST(X)
#undef X
    };
    CHK(c < SURVEY_CLASS_COUNT);
    return names[c];
}

/* ---- 1. the listing ---- */

static int
list_one(void *arg, const struct store_list_entry *e)
{
    struct page *p = arg;
    struct slice key = arena_dup(p->a, e->name);
    if (key.p == NULL) {
        p->err = ERR_NOMEM;
        return 1;
    }
    CHK(p->count < SURVEY_PAGE_MAX);
    p->objects[p->count++] =
        (struct surveyed){.key = key, .generation = e->generation, .mtime_ms = e->mtime_ms};
    return 0;
}

static int
list(struct page *p)
{
    const struct survey_spec *spec = p->spec;
    int max = spec->objects_max < SURVEY_PAGE_MAX ? spec->objects_max : SURVEY_PAGE_MAX;
    struct store_list_spec listing = {
        .bucket = spec->bucket, .prefix = spec->prefix, .after = spec->after, .max = max};
    p->objects = arena_alloc(p->a, (size_t)max * sizeof *p->objects);
    if (p->objects == NULL)
        return ERR_NOMEM;
    int err = store_list(registry_store(p->registry), &listing, list_one, p, &p->out->more);
    return err == ERR_NONE ? p->err : err;
}

/* ---- 2. the rows about it ---- */

/* The object that a row is about; NULL: none that was listed. */
static struct surveyed *
advance(struct page *p, struct slice key)
{
    int order = -1;
    while (p->at < p->count && (order = slice_cmp(p->objects[p->at].key, key)) < 0)
        p->at++;
    return order == 0 ? &p->objects[p->at] : NULL;
}

static int
find_preset(const struct page *p, struct slice identity)
{
    for (size_t i = 0; i < p->thumbnail->native.presets.count; i++) {
        if (slice_eqs(identity, p->thumbnail->native.presets.presets[i].name))
            return (int)i;
    }
    return -1;
}

static void
better(uint8_t *state, enum part now)
{
    if (now > *state)
        *state = (uint8_t)now;
}

/* What provenance names may have been deleted. Another object in its place is a client's own: not
 * ours to replace, so nothing is missing. */
static int
merge_provenance(void *arg, const struct provenance *row)
{
    struct page *p = arg;
    int64_t generation;
    struct surveyed *o = advance(p, row->source_key);
    int i = o == NULL ? -1 : find_preset(p, row->preset);
    if (i < 0 || !slice_eq(row->function, p->thumbnail->name))
        return 0;
    if (row->derived_bucket_id != p->place.bucket_id || row->source_generation != o->generation ||
        !slice_eqs(row->config_hash, p->hashes[i])) {
        better(&o->presets[i], PART_STALE);
        return 0;
    }
    int err = store_apply_generation(registry_store(p->registry), p->conn, row->derived_bucket_id,
                                     row->derived_key, &generation);
    if (err == ERR_NONE)
        better(&o->presets[i], PART_OK);
    else if (err != ERR_NOTFOUND)
        p->err = err;
    return p->err != ERR_NONE;
}

static int
merge_unmade(void *arg, const struct unmade *row)
{
    struct page *p = arg;
    const char *hash = "";
    uint8_t *state = NULL;
    struct surveyed *o = advance(p, row->source_key);
    if (o == NULL)
        return 0;
    if (p->metadata != NULL && slice_eq(row->function, p->metadata->name)) {
        if (o->facts == PART_OK && row->source_generation == o->generation)
            o->facts = row->failed ? PART_FAILED : PART_SKIPPED;
        return 0;
    }
    int i = p->thumbnail == NULL ? -1 : find_preset(p, row->preset);
    if (i < 0 || !slice_eq(row->function, p->thumbnail->name))
        return 0;
    state = &o->presets[i];
    hash = p->hashes[i];
    bool current = row->source_generation == o->generation && slice_eqs(row->config_hash, hash);
    better(state, !current ? PART_STALE : row->failed ? PART_FAILED : PART_SKIPPED);
    return 0;
}

/* Facts are stated with every verdict, also with one that there are none: unmade takes that back
 * afterwards. */
static int
merge_facts(void *arg, const struct native_facts *row)
{
    struct page *p = arg;
    struct surveyed *o = advance(p, row->key);
    if (o != NULL && slice_eq(row->function, p->metadata->name))
        o->facts = row->generation == o->generation && row->revision == NATIVE_FACTS_REVISION
                       ? PART_OK
                       : PART_STALE;
    return 0;
}

static int
merge(struct page *p)
{
    struct slice first = p->objects[0].key, last = p->objects[p->count - 1].key;
    int err = ERR_NONE;
    if (p->thumbnail != NULL)
        err = provenance_range(p->conn, p->bucket_id, first, last, merge_provenance, p);
    p->at = 0;
    if (err == ERR_NONE && p->metadata != NULL)
        err = native_facts_range(p->conn, p->bucket_id, first, last, merge_facts, p);
    p->at = 0;
    if (err == ERR_NONE)
        err = unmade_range(p->conn, p->bucket_id, first, last, merge_unmade, p);
    return err == ERR_NONE ? p->err : err;
}

/* ---- 3. the judgement ---- */

static const unsigned selected_by[] = {[PART_MISSING] = SELECT_MISSING,
                                       [PART_STALE] = SELECT_STALE,
                                       [PART_SKIPPED] = 0,
                                       [PART_FAILED] = SELECT_FAILED,
                                       [PART_OK] = 0};
static const enum survey_class class_of[] = {[PART_MISSING] = SURVEY_MISSING,
                                             [PART_STALE] = SURVEY_STALE,
                                             [PART_SKIPPED] = SURVEY_SKIPPED,
                                             [PART_FAILED] = SURVEY_FAILED,
                                             [PART_OK] = SURVEY_CURRENT};

struct judgement {
    enum survey_class class;
    uint64_t functions, followups;
};

static uint64_t
bit_of(const struct page *p, const struct function *f)
{
    return (uint64_t)1 << (f - p->out->set->functions);
}

/* True: this part is to be made. */
static bool
judge_part(const struct page *p, enum part state, struct judgement *j)
{
    if (class_of[state] < j->class)
        j->class = class_of[state];
    return (p->spec->select & SELECT_ALL) != 0 || (p->spec->select & selected_by[state]) != 0;
}

static void
judge_presets(const struct page *p, const struct surveyed *o, struct judgement *j)
{
    const struct native_config *c = &p->thumbnail->native;
    struct slice wanted = p->spec->preset;
    bool first = false, second = false;
    for (size_t i = 0; i < c->presets.count; i++) {
        const struct preset *preset = &c->presets.presets[i];
        if (wanted.n > 0 && !slice_eqs(wanted, preset->name) &&
            !slice_eq(wanted, preset_base_name(preset)))
            continue;
        if (!judge_part(p, (enum part)o->presets[i], j))
            continue;
        if (native_in_pass(c, preset, false))
            first = true;
        else
            second = true;
    }
    if (first)
        j->functions |= bit_of(p, p->thumbnail); /* its follow-ups come by themselves */
    else if (second)
        j->followups |= bit_of(p, p->thumbnail);
}

static void
judge_function(const struct page *p, const struct surveyed *o, const struct function *f,
               struct judgement *j)
{
    if (j->class == SURVEY_OTHER)
        j->class = SURVEY_CURRENT;
    if (f == p->thumbnail) {
        judge_presets(p, o, j);
        return;
    }
    if (p->spec->preset.n > 0)
        return;
    /* Without a table there is no place for facts; of other functions nothing is known. */
    bool known = f == p->metadata && p->has_items;
    if (judge_part(p, known ? (enum part)o->facts : PART_OK, j))
        j->functions |= bit_of(p, f);
}

static void
judge_rules(const struct page *p, const struct surveyed *o, struct judgement *j)
{
    uint64_t done = 0;
    for (size_t i = 0; i < p->rules.count; i++) {
        const struct notification_rule *rule = &p->rules.rules[i];
        const struct function *f = registry_find(p->out->set, rule->function);
        if (f == NULL || (done & bit_of(p, f)) != 0 ||
            (p->spec->function.n > 0 && !slice_eq(p->spec->function, f->name)) ||
            !rule_matches(rule, EVENT_RESTORED, o->key))
            continue;
        done |= bit_of(p, f);
        judge_function(p, o, f, j);
    }
}

struct waiting {
    const struct page *p;
    int64_t generation;
    struct judgement *j;
};

/* What waits will be made without us. */
static int
take_back(void *arg, const struct queue_event *e)
{
    struct waiting *w = arg;
    const struct function *f = registry_find(w->p->out->set, e->function);
    if (f == NULL || e->generation != w->generation)
        return 0;
    if (!e->followup)
        w->j->functions &= ~bit_of(w->p, f);
    w->j->followups &= ~bit_of(w->p, f);
    return 0;
}

static int
judge_waiting(const struct page *p, const struct surveyed *o, struct judgement *j)
{
    struct waiting w = {p, o->generation, j};
    if ((p->spec->select & SELECT_ALL) != 0 || (j->functions | j->followups) == 0)
        return ERR_NONE;
    int err = queue_of_key(p->conn, p->bucket_id, o->key, take_back, &w);
    if ((j->functions | j->followups) == 0)
        j->class = SURVEY_WAITING;
    return err;
}

static int
judge(struct page *p)
{
    struct survey *out = p->out;
    int err = ERR_NONE;
    size_t i = 0;
    for (; i < p->count && err == ERR_NONE && out->task_count < (size_t)p->spec->tasks_max; i++) {
        const struct surveyed *o = &p->objects[i];
        struct judgement j = {.class = SURVEY_OTHER};
        if (o->mtime_ms >= p->spec->since_ms)
            judge_rules(p, o, &j);
        err = judge_waiting(p, o, &j);
        out->classes[j.class]++;
        if ((j.functions | j.followups) != 0)
            out->tasks[out->task_count++] =
                (struct survey_task){o->key, o->generation, j.functions, j.followups};
    }
    out->more = out->more || i < p->count;
    out->seen = (int64_t)i;
    if (i > 0)
        out->last = p->objects[i - 1].key;
    return err;
}

/* ---- the whole ---- */

/* What the rows are compared with. */
static int
configure(struct page *p)
{
    struct store *store = registry_store(p->registry);
    struct slice owner;
    struct item_place item;
    int err = store_apply_bucket_get(store, p->conn, p->spec->bucket, &p->bucket_id, p->a, &owner);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NOPARENT : err;
    err = rule_load(p->conn, p->bucket_id, p->a, &p->rules);
    if (err == ERR_NONE)
        err = registry_get(p->registry, p->conn, &p->out->set);
    if (err != ERR_NONE)
        return err;
    for (size_t i = 0; i < p->out->set->count; i++) {
        const struct function *f = &p->out->set->functions[i];
        p->thumbnail = f->native.kind == NATIVE_THUMBNAIL ? f : p->thumbnail;
        p->metadata = f->native.kind == NATIVE_METADATA ? f : p->metadata;
    }
    for (size_t i = 0; p->thumbnail != NULL && i < p->thumbnail->native.presets.count; i++)
        preset_hash(&p->thumbnail->native.presets.presets[i], p->hashes[i]);
    if (p->thumbnail != NULL)
        err = derived_place_find(store, p->conn, p->a, p->thumbnail, p->spec->bucket, &p->place);
    if (err != ERR_NONE)
        return err;
    err = native_item_place(p->conn, p->a, p->out->set, p->spec->bucket, SLICE_LIT("-"), &item);
    p->has_items = err == ERR_NONE;
    return err == ERR_NOPARENT ? ERR_NONE : err;
}

int
survey_page(struct registry *r, struct db *db, struct arena *a, const struct survey_spec *spec,
            struct survey *out)
{
    struct page p = {.registry = r, .a = a, .spec = spec, .out = out};
    out->seen = 0;
    out->last = SLICE_NONE;
    out->task_count = 0;
    out->set = NULL;
    out->more = false;
    memset(out->classes, 0, sizeof out->classes);
    int err = list(&p);
    if (err == ERR_NONE)
        err = db_read_begin(db, &p.conn);
    if (err != ERR_NONE)
        return err;
    err = configure(&p);
    if (err == ERR_NONE && p.count > 0)
        err = merge(&p);
    if (err == ERR_NONE)
        err = judge(&p);
    db_read_end(db, &p.conn);
    return err;
}

void
survey_fini(struct survey *s)
{
    registry_unref(&s->set);
}
