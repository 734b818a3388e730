/*
 * The thumbnail verdict, one pass (primary formats, or follow-ups) at a time:
 *
 *   1. each preset of the pass: write its derived object and provenance, or note why there is none
 *   2. remove what the pass replaces: rows of presets no longer configured; rows of the pass's
 *      presets at another key; of other generations when there is no new object; everything of
 *      other generations when the source is no picture any more. Pictures on the fly (demand.h)
 *      that are of another generation go with the first pass, whatever its verdict
 *   3. what was not made is noted (unmade.h), what was is taken back from there
 *   4. item: state of every preset, thumbnails that exist, ready
 *   5. notice: what it came to, for whoever waits or listens
 *
 * Names, extensions, types and hashes come from the configuration, never from the worker.
 */
#include "pipeline/verdict.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/derived.h"
#include "pipeline/native_item.h"
#include "pipeline/notice.h"
#include "pipeline/provenance.h"
#include "pipeline/unmade.h"

#include <stdio.h>

#define STATE_TEXT_MAX 600
#define NOTICE_ARENA_BYTES (PRESETS_MAX * 2 * STATE_TEXT_MAX)

/* One preset of this pass and what came of it. */
struct part {
    const struct preset *preset;
    const struct result_output *output; /* NULL: no object */
    enum fn_status status;
    struct slice reason; /* of a part without an object */
    struct slice state;  /* "ready", "skipped: ...", "failed: ..." */
    struct slice key;    /* derived key, when there is an object */
};

struct work {
    const struct verdict *v;
    struct db_conn *conn;
    struct arena *a;
    struct derived_place place;
    struct part parts[PRESETS_MAX];
    size_t part_count;
    struct provenance *rows;
    struct verdict_outcome worst;
};

static const struct fn_output *
find_output(const struct fn_answer *answer, const char *preset, size_t *index)
{
    for (size_t i = 0; answer != NULL && i < answer->output_count; i++) {
        if (slice_eqs(answer->outputs[i].name, preset)) {
            *index = i;
            return &answer->outputs[i];
        }
    }
    return NULL;
}

int
verdict_check(const struct function *f, bool followup, const struct fn_answer *answer,
              struct buf *why)
{
    const struct preset_list *presets = &f->native.presets;
    size_t wanted = 0, index;
    if (f->native.kind != NATIVE_THUMBNAIL || answer->status != FN_OK)
        return ERR_NONE;
    for (size_t i = 0; i < presets->count; i++) {
        if (!native_in_pass(&f->native, &presets->presets[i], followup))
            continue;
        wanted++;
        if (find_output(answer, presets->presets[i].name, &index) == NULL) {
            buf_printf(why, "the answer lacks the preset %s", presets->presets[i].name);
            return ERR_INVALID;
        }
    }
    if (answer->output_count != wanted) {
        buf_puts(why, "the answer holds outputs that were not asked for");
        return ERR_INVALID;
    }
    for (size_t i = 0; i < answer->output_count; i++) {
        if (answer->outputs[i].status == FN_ERROR) {
            buf_printf(why, "%.*s: %.*s", SLICE_FMT(answer->outputs[i].name),
                       SLICE_FMT(answer->outputs[i].reason));
            return ERR_INVALID;
        }
    }
    return ERR_NONE;
}

/* "skipped: not an image" */
static struct slice
state_text(struct arena *a, enum fn_status status, struct slice reason)
{
    if (status == FN_OK)
        return SLICE_LIT("ready");
    if (!slice_is_utf8(reason))
        reason = SLICE_LIT("unreadable reason");
    const char *text =
        arena_printf(a, "%s: %.*s", status == FN_SKIPPED ? "skipped" : "failed",
                     (int)(reason.n < STATE_TEXT_MAX ? reason.n : STATE_TEXT_MAX), reason.p);
    struct slice out = slice_str(text);
    while (out.n > 0 && !slice_is_utf8(out))
        out.n--; /* cut inside a character */
    return out;
}

static void
worsen(struct work *w, enum fn_status status, struct slice reason)
{
    bool worse = status == FN_FAILED ? w->worst.status != FN_FAILED
                                     : status == FN_SKIPPED && w->worst.status == FN_OK;
    if (worse)
        w->worst = (struct verdict_outcome){status, reason};
}

static void
part_without(struct work *w, struct part *part, enum fn_status status, struct slice reason)
{
    part->output = NULL;
    part->status = status;
    part->reason = reason;
    part->state = state_text(w->a, status, reason);
    worsen(w, status, reason);
}

/* ---- 1. derived objects ---- */

static int
put_object(struct work *w, const struct part *part)
{
    const struct verdict *v = w->v;
    struct derived_spec spec = {.place = &w->place,
                                .function = v->function,
                                .preset = part->preset,
                                .output = part->output,
                                .key = part->key,
                                .source_key = v->event->key,
                                .source = v->object,
                                .request_id = v->event->request_id};
    return derived_apply_put(registry_store(v->registry), w->conn, &spec);
}

static int
derive_one(struct work *w, const struct preset *p)
{
    const struct verdict *v = w->v;
    struct part *part = &w->parts[w->part_count++];
    struct buf key;
    size_t index = 0;
    *part = (struct part){.preset = p};
    const struct fn_output *o = v->status == FN_OK ? find_output(v->answer, p->name, &index) : NULL;
    if (o == NULL || o->status != FN_OK) {
        part_without(w, part, o == NULL ? v->status : o->status, o == NULL ? v->reason : o->reason);
        return ERR_NONE;
    }
    buf_init(&key, STORE_KEY_MAX);
    int err = native_derived_key(v->event->key, p, &key);
    part->key = err == ERR_NONE ? arena_dup(w->a, buf_slice(&key)) : SLICE_NONE;
    buf_fini(&key);
    if (err == ERR_TOOBIG) {
        part_without(w, part, FN_SKIPPED, SLICE_LIT("derived key too long"));
        return ERR_NONE;
    }
    if (err != ERR_NONE || part->key.p == NULL)
        return ERR_NOMEM;
    if (w->place.bucket_id == 0) {
        part_without(w, part, FN_FAILED, slice_str(w->place.trouble));
        return ERR_NONE;
    }
    part->output = &v->outputs[index];
    part->status = FN_OK;
    part->state = SLICE_LIT("ready");
    return put_object(w, part);
}

/* ---- 2. what goes ---- */

/* This pass has written that very object, whatever preset it was of: "small.jpg" is the key of the
 * secondary format of a WebP preset, and of a JPEG preset. */
static bool
written(const struct work *w, const struct provenance *row)
{
    for (size_t i = 0; i < w->part_count; i++)
        if (w->parts[i].output != NULL && row->derived_bucket_id == w->place.bucket_id &&
            slice_eq(row->derived_key, w->parts[i].key))
            return true;
    return false;
}

static bool
superfluous(const struct work *w, const struct provenance *row)
{
    const struct preset_list *presets = &w->v->function->native.presets;
    bool other_generation = row->source_generation != w->v->event->generation;
    bool configured = false;
    if (written(w, row))
        return false;
    if (preset_name_is_variant(row->preset)) /* made again when somebody asks for it */
        return other_generation && !w->v->event->followup;
    for (size_t i = 0; i < presets->count; i++)
        configured = configured || slice_eqs(row->preset, presets->presets[i].name);
    if (!configured)
        return true;
    for (size_t i = 0; i < w->part_count; i++) {
        const struct part *part = &w->parts[i];
        if (!slice_eqs(row->preset, part->preset->name))
            continue;
        return part->output != NULL || other_generation; /* at another key; of another version */
    }
    /* A preset of the other pass: its own verdict replaces it, unless there will be none. */
    return w->v->status != FN_OK && !w->v->event->followup && other_generation;
}

static int
remove_old(struct work *w)
{
    int err = ERR_NONE;
    for (struct provenance *row = w->rows; row != NULL && err == ERR_NONE; row = row->next) {
        row->gone = slice_eq(row->function, w->v->function->name) && superfluous(w, row);
        if (row->gone)
            err = provenance_apply_remove(registry_store(w->v->registry), w->conn, row);
    }
    return err;
}

/* ---- 3. what was not made ---- */

static const struct part *
find_part(const struct work *w, const struct preset *p)
{
    for (size_t i = 0; i < w->part_count; i++) {
        if (w->parts[i].preset == p)
            return &w->parts[i];
    }
    return NULL;
}

static int
unmade_note(struct work *w, struct slice preset, struct slice hash, enum fn_status status,
            struct slice reason)
{
    const struct verdict *v = w->v;
    struct unmade row = {.source_bucket_id = v->event->bucket_id,
                         .source_key = v->event->key,
                         .function = v->function->name,
                         .preset = preset,
                         .config_hash = hash,
                         .source_generation = v->event->generation,
                         .failed = status != FN_SKIPPED,
                         .reason = reason};
    return unmade_apply_put(w->conn, &row);
}

/* A first pass takes back all; when it made nothing, the follow-ups will not come either. */
static int
unmade_preset(struct work *w, const struct preset *p)
{
    const struct verdict *v = w->v;
    const struct part *part = find_part(w, p);
    char hash[PRESET_HASH_TEXT];
    if (part == NULL && (v->status == FN_OK || v->event->followup))
        return ERR_NONE;
    if (part != NULL && part->output != NULL)
        return v->event->followup ? unmade_apply_remove(w->conn, v->event->bucket_id, v->event->key,
                                                        v->function->name, slice_str(p->name))
                                  : ERR_NONE;
    preset_hash(p, hash);
    return part != NULL
               ? unmade_note(w, slice_str(p->name), slice_str(hash), part->status, part->reason)
               : unmade_note(w, slice_str(p->name), slice_str(hash), v->status, v->reason);
}

static int
unmade_presets(struct work *w)
{
    const struct verdict *v = w->v;
    const struct preset_list *presets = &v->function->native.presets;
    int err = v->event->followup ? ERR_NONE
                                 : unmade_apply_remove(w->conn, v->event->bucket_id, v->event->key,
                                                       v->function->name, SLICE_NONE);
    for (size_t i = 0; i < presets->count && err == ERR_NONE; i++)
        err = unmade_preset(w, &presets->presets[i]);
    return err;
}

/* Of a function without presets. */
static int
unmade_whole(struct work *w)
{
    const struct verdict *v = w->v;
    if (v->status != FN_OK)
        return unmade_note(w, SLICE_NONE, SLICE_NONE, v->status, v->reason);
    return unmade_apply_remove(w->conn, v->event->bucket_id, v->event->key, v->function->name,
                               SLICE_NONE);
}

/* ---- 4. the item ---- */

static bool
row_remains(const struct work *w, const char *preset)
{
    for (const struct provenance *row = w->rows; row != NULL; row = row->next) {
        if (!row->gone && slice_eqs(row->preset, preset))
            return true;
    }
    return false;
}

static int
entry_make(struct work *w, const struct part *part, struct attr_value *entry)
{
    struct arena *a = w->a;
    const struct fn_output *o = part->output->output;
    const struct {
        const char *name;
        struct attr_value value;
    } members[] = {
        {"bucket", attr_s(slice_str(w->place.bucket))},
        {"content_type", attr_s(slice_str(preset_content_type(part->preset->format)))},
        {"etag", attr_s(slice_str(part->output->etag))},
        {"height", attr_int(a, o->height)},
        {"key", attr_s(part->key)},
        {"size", attr_int(a, o->bytes)},
        {"width", attr_int(a, o->width)},
    };
    int err = ERR_NONE;
    *entry = attr_map_new();
    for (size_t i = 0; i < sizeof members / sizeof members[0] && err == ERR_NONE; i++)
        err = attr_set(a, entry, slice_str(members[i].name), &members[i].value);
    return err;
}

static int
preset_attrs(struct work *w, const struct preset *p, const struct attr_value *old_state,
             const struct attr_value *old_thumbs, struct attr_value *state,
             struct attr_value *thumbs, bool *ready)
{
    const struct part *part = find_part(w, p);
    struct slice name = slice_str(p->name);
    struct attr_value now = attr_s(SLICE_LIT("pending"));
    const struct attr_value *old = old_state == NULL ? NULL : attr_get(old_state, name);
    if (part != NULL)
        now = attr_s(part->state);
    else if (w->v->status != FN_OK && !w->v->event->followup)
        now = attr_s(state_text(w->a, w->v->status, w->v->reason)); /* no follow-up will come */
    else if (old != NULL && old->type == ATTR_S && w->v->event->followup)
        now = *old;
    if (native_in_pass(&w->v->function->native, p, false))
        *ready = *ready && slice_eqs(now.bytes, "ready");
    int err = attr_set(w->a, state, name, &now);
    if (err != ERR_NONE)
        return err;
    if (part != NULL && part->output != NULL) {
        struct attr_value entry;
        err = entry_make(w, part, &entry);
        return err == ERR_NONE ? attr_set(w->a, thumbs, name, &entry) : err;
    }
    old = old_thumbs == NULL ? NULL : attr_get(old_thumbs, name);
    return old != NULL && row_remains(w, p->name) ? attr_set(w->a, thumbs, name, old) : ERR_NONE;
}

/* `ready`, and since when: an overwrite's verdict takes the old moment back. */
static int
set_ready(struct work *w, struct attr_value *set, bool ready)
{
    char now[CLOCK_TEXT_MAX];
    struct attr_value is_ready = attr_bool(ready);
    int err = attr_set(w->a, set, SLICE_LIT("ready"), &is_ready);
    if (err != ERR_NONE || !ready || w->v->event->followup)
        return err;
    clock_iso8601(clock_wall_ms(), now);
    struct slice text = arena_dup(w->a, slice_str(now));
    struct attr_value ready_at = attr_s(text);
    return text.p == NULL ? ERR_NOMEM : attr_set(w->a, set, SLICE_LIT("ready_at"), &ready_at);
}

/* A user has filled the item: at least the truth about `ready`, which takes no more room. */
static int
set_ready_alone(struct work *w, const struct item_place *place, bool ready)
{
    static const struct slice no_moment = SLICE_LIT("ready_at");
    struct attr_value set = attr_map_new(), is_ready = attr_bool(ready);
    struct arena *scratch = arena_new(ITEM_ARENA_BYTES);
    if (scratch == NULL)
        return ERR_NOMEM;
    int err = attr_set(scratch, &set, SLICE_LIT("ready"), &is_ready);
    if (err == ERR_NONE)
        err = table_apply_update(w->conn, scratch, &place->table, &place->key, &set, &no_moment,
                                 ready ? 0 : 1, true);
    arena_free(&scratch);
    return err;
}

static int
item_update(struct work *w)
{
    static const struct slice no_moment = SLICE_LIT("ready_at");
    const struct preset_list *presets = &w->v->function->native.presets;
    struct item_place place;
    struct attr_value item, set = attr_map_new();
    struct attr_value state = attr_map_new(), thumbs = attr_map_new();
    bool ready = presets->count > 0;
    int err =
        native_item_place(w->conn, w->a, w->v->set, w->v->event->bucket, w->v->event->key, &place);
    if (err == ERR_NONE)
        err = table_get(w->conn, w->a, &place.table, &place.key, &item);
    if (err != ERR_NONE) /* gone stays gone */
        return err == ERR_NOPARENT || err == ERR_NOTFOUND ? ERR_NONE : err;
    const struct attr_value *old_state = attr_get(&item, SLICE_LIT("state"));
    const struct attr_value *old_thumbs = attr_get(&item, SLICE_LIT("thumbnails"));
    if (old_state != NULL && old_state->type != ATTR_M)
        old_state = NULL;
    if (old_thumbs != NULL && old_thumbs->type != ATTR_M)
        old_thumbs = NULL;
    for (size_t i = 0; i < presets->count && err == ERR_NONE; i++)
        err = preset_attrs(w, &presets->presets[i], old_state, old_thumbs, &state, &thumbs, &ready);
    if (err == ERR_NONE)
        err = attr_set(w->a, &set, SLICE_LIT("state"), &state);
    if (err == ERR_NONE)
        err = attr_set(w->a, &set, SLICE_LIT("thumbnails"), &thumbs);
    if (err == ERR_NONE)
        err = set_ready(w, &set, ready);
    if (err == ERR_NONE)
        err = table_apply_update(w->conn, w->a, &place.table, &place.key, &set, &no_moment,
                                 ready ? 0 : 1, true);
    if (err == ERR_TOOBIG)
        err = set_ready_alone(w, &place, ready);
    return err == ERR_TOOBIG || err == ERR_NOTFOUND ? ERR_NONE : err;
}

/* ---- 5. the notice ---- */

static enum notice_kind
kind_of(const struct work *w)
{
    if (w->v->event->followup)
        return NOTICE_ADDED;
    return w->worst.status == FN_OK        ? NOTICE_READY
           : w->worst.status == FN_SKIPPED ? NOTICE_SKIPPED
                                           : NOTICE_FAILED;
}

static struct notice_preset
preset_told(struct work *w, const struct preset *p)
{
    const struct verdict *v = w->v;
    const struct part *part = find_part(w, p);
    struct notice_preset told = {.name = slice_str(p->name)};
    if (part == NULL) {
        told.state =
            v->status == FN_OK ? SLICE_LIT("pending") : state_text(w->a, v->status, v->reason);
        return told;
    }
    told.state = part->state;
    if (part->output == NULL)
        return told;
    told.bucket = slice_str(w->place.bucket);
    told.key = part->key;
    told.content_type = slice_str(preset_content_type(p->format));
    told.etag = slice_str(part->output->etag);
    told.size = part->output->output->bytes;
    told.width = part->output->output->width;
    told.height = part->output->output->height;
    return told;
}

static int
tell(struct work *w)
{
    const struct verdict *v = w->v;
    const struct native_config *c = &v->function->native;
    struct notice_preset told[PRESETS_MAX];
    size_t count = 0;
    struct buf detail;
    for (size_t i = 0; i < c->presets.count; i++) {
        const struct preset *p = &c->presets.presets[i];
        if (!v->event->followup || native_in_pass(c, p, true))
            told[count++] = preset_told(w, p);
    }
    buf_init(&detail, NOTICE_DETAIL_MAX);
    notice_detail(told, count, &detail);
    struct notice n = {.kind = kind_of(w),
                       .bucket_id = v->event->bucket_id,
                       .bucket = v->event->bucket,
                       .key = v->event->key,
                       .generation = v->event->generation,
                       .version_id = slice_str(v->object->version_id),
                       .request_id = v->event->request_id,
                       .detail = buf_slice(&detail)};
    int err = detail.err == ERR_NONE ? notice_apply_add(w->conn, &n) : detail.err;
    buf_fini(&detail);
    return err;
}

/* ---- the whole ---- */

static int
thumbnail(struct work *w)
{
    const struct verdict *v = w->v;
    const struct preset_list *presets = &v->function->native.presets;
    int err = derived_place_find(registry_store(v->registry), w->conn, w->a, v->function,
                                 v->event->bucket, &w->place);
    if (err == ERR_NONE)
        err = provenance_list(w->conn, w->a, v->event->bucket_id, v->event->key, &w->rows);
    for (size_t i = 0; i < presets->count && err == ERR_NONE; i++) {
        if (native_in_pass(&v->function->native, &presets->presets[i], v->event->followup))
            err = derive_one(w, &presets->presets[i]);
    }
    if (err == ERR_NONE)
        err = remove_old(w);
    if (err == ERR_NONE)
        err = unmade_presets(w);
    if (err == ERR_NONE)
        err = item_update(w);
    return err == ERR_NONE ? tell(w) : err;
}

int
verdict_apply(const struct verdict *v, struct db_conn *conn, struct verdict_outcome *out)
{
    struct work w = {.v = v, .conn = conn, .worst = {v->status, v->reason}};
    int err = ERR_NONE;
    w.a = arena_new(ITEM_ARENA_BYTES);
    if (w.a == NULL)
        return ERR_NOMEM;
    switch (v->function->native.kind) {
    case NATIVE_THUMBNAIL:
        err = thumbnail(&w);
        break;
    case NATIVE_METADATA:
        err = native_item_facts(
            conn, w.a, v->set, v->event->bucket_id, v->event->bucket, v->event->key,
            v->event->generation, v->function->name, v->answer != NULL ? v->answer->attrs : NULL,
            v->answer != NULL ? v->answer->attr_count : 0, state_text(w.a, v->status, v->reason));
        if (err == ERR_NONE)
            err = unmade_whole(&w);
        break;
    case NATIVE_NONE:
        break;
    }
    *out = w.worst;
    arena_free(&w.a);
    return err;
}

int
verdict_apply_notice(const struct verdict *v, struct db_conn *conn)
{
    struct work w = {.v = v, .conn = conn, .worst = {v->status, v->reason}};
    if (v->function->native.kind != NATIVE_THUMBNAIL)
        return ERR_NONE;
    CHK(v->status != FN_OK);
    w.a = arena_new(NOTICE_ARENA_BYTES);
    int err = w.a == NULL ? ERR_NOMEM : tell(&w);
    arena_free(&w.a);
    return err;
}
