/*
 * Decided on the writer thread against the world as it is then:
 *
 *   the source has another generation or is gone   STALE
 *   no derived bucket, or another account's        FAILED
 *   derived key too long                           SKIPPED
 *   else                                           object and provenance are written, and when the
 *                                                  source has more than DEMAND_VARIANTS_MAX of
 *                                                  them now, the oldest goes: STORED
 *
 * Every invocation leaves a line in the history and is in the account (usage.h), also one that made
 * no picture.
 */
#include "pipeline/demand_result.h"
#include "base/err.h"
#include "base/stat.h"
#include "pipeline/derived.h"
#include "pipeline/provenance.h"
#include "pipeline/reason.h"

#include <stdio.h>

/* A source's provenance: presets and variants, each with a key of STORE_KEY_MAX or less. */
#define APPLY_ARENA_BYTES (1u << 20)

void
demand_reason_copy(char out[DEMAND_REASON_MAX], struct slice reason)
{
    if (!slice_is_utf8(reason))
        reason = SLICE_LIT("unreadable reason");
    size_t n = reason.n < DEMAND_REASON_MAX - 1 ? reason.n : DEMAND_REASON_MAX - 1;
    while (n > 0 && !slice_is_utf8(slice_of(reason.p, n)))
        n--; /* cut inside a character */
    if (n > 0)
        memcpy(out, reason.p, n);
    out[n] = '\0';
}

/* ---- what the answer came to ---- */

static void
judged(struct demand_result *r, enum demand_end end, const char *outcome, struct slice reason)
{
    r->end = end;
    r->outcome = outcome;
    r->reason = reason;
}

static void
judge_status(struct demand_result *r, enum fn_status status, struct slice reason)
{
    switch (status) {
    case FN_OK:
        judged(r, DEMAND_STORED, NULL, SLICE_NONE);
        return;
    case FN_SKIPPED:
        judged(r, DEMAND_SKIPPED, "skipped", reason);
        return;
    case FN_FAILED:
        judged(r, DEMAND_FAILED, "failed", reason);
        return;
    case FN_ERROR:
        judged(r, DEMAND_ERROR, "error", reason);
        return;
    }
}

void
demand_result_judge(struct demand_result *r, const struct fn_answer *answer,
                    const struct fn_output **output)
{
    *output = NULL;
    judge_status(r, answer->status, answer->reason);
    if (answer->status != FN_OK)
        return;
    if (answer->output_count != 1 || !slice_eqs(answer->outputs[0].name, r->spec->preset.name)) {
        judged(r, DEMAND_ERROR, "error", SLICE_LIT("the answer is not what was asked for"));
        return;
    }
    judge_status(r, answer->outputs[0].status, answer->outputs[0].reason);
    if (r->end == DEMAND_STORED)
        *output = &answer->outputs[0];
}

/* ---- the transaction ---- */

struct storing {
    struct demand_result *r;
    struct db_conn *conn;
    struct arena *a;
    const struct function *function;
    const struct store_object *source;
};

static void
ended(struct demand_result *r, enum demand_end end, struct slice why)
{
    r->ended = end;
    demand_reason_copy(r->why, why);
}

/* The oldest variants of a source go until DEMAND_VARIANTS_MAX are left. */
static int
keep_ceiling(const struct storing *w)
{
    const struct demand_spec *spec = w->r->spec;
    struct store *s = registry_store(w->r->registry);
    struct provenance *rows = NULL;
    int err = provenance_list(w->conn, w->a, spec->bucket_id, spec->key, &rows);
    while (err == ERR_NONE) {
        struct provenance *oldest = NULL;
        int count = 0;
        for (struct provenance *row = rows; row != NULL; row = row->next) {
            if (row->gone || !preset_name_is_variant(row->preset))
                continue;
            count++;
            if (oldest == NULL || row->derived_generation < oldest->derived_generation)
                oldest = row;
        }
        if (count <= DEMAND_VARIANTS_MAX)
            break;
        oldest->gone = true;
        err = provenance_apply_remove(s, w->conn, oldest);
    }
    return err;
}

static int
store_picture(const struct storing *w, struct slice key)
{
    struct demand_result *r = w->r;
    struct store *s = registry_store(r->registry);
    struct derived_place place;
    int err = derived_place_find(s, w->conn, w->a, w->function, r->spec->bucket, &place);
    if (err != ERR_NONE)
        return err;
    if (place.bucket_id == 0) {
        ended(r, DEMAND_FAILED, slice_str(place.trouble));
        return ERR_NONE;
    }
    struct derived_spec spec = {.place = &place,
                                .function = w->function,
                                .preset = &r->spec->preset,
                                .output = &r->output,
                                .key = key,
                                .source_key = r->spec->key,
                                .source = w->source};
    err = derived_apply_put(s, w->conn, &spec);
    if (err == ERR_NONE)
        err = keep_ceiling(w);
    ended(r, DEMAND_STORED, SLICE_NONE);
    return err;
}

static int
place_picture(const struct storing *w)
{
    struct buf key;
    buf_init(&key, STORE_KEY_MAX);
    int err = native_derived_key(w->r->spec->key, &w->r->spec->preset, &key);
    if (err == ERR_TOOBIG) {
        ended(w->r, DEMAND_SKIPPED, SLICE_LIT("derived key too long"));
        err = ERR_NONE;
    } else if (err == ERR_NONE) {
        err = store_picture(w, buf_slice(&key));
    }
    buf_fini(&key);
    return err;
}

static int
fence(struct demand_result *r, struct db_conn *conn, struct arena *a)
{
    const struct demand_spec *spec = r->spec;
    struct storing w = {.r = r, .conn = conn, .a = a};
    struct function_set *set = NULL;
    int err =
        store_apply_get(registry_store(r->registry), conn, spec->bucket_id, spec->key, &w.source);
    bool stale = err == ERR_NOTFOUND || err == ERR_NOPARENT ||
                 (err == ERR_NONE && w.source->generation != spec->generation);
    if (stale) {
        STAT_INC(results_fenced_total);
        ended(r, DEMAND_STALE, SLICE_LIT("a newer generation exists"));
        err = ERR_NONE;
    } else if (err == ERR_NONE) {
        err = registry_get(r->registry, conn, &set);
        w.function = err == ERR_NONE ? registry_find(set, NATIVE_THUMBNAIL_NAME) : NULL;
        if (err == ERR_NONE && w.function == NULL)
            ended(r, DEMAND_ERROR, SLICE_LIT("there is no function thumbnail"));
        else if (err == ERR_NONE)
            err = place_picture(&w);
    }
    registry_unref(&set);
    store_object_unref(&w.source);
    return err;
}

const char *
demand_result_outcome(const struct demand_result *r)
{
    static const char *const texts[] = {[DEMAND_STORED] = "on the fly",
                                        [DEMAND_STALE] = "superseded",
                                        [DEMAND_SKIPPED] = "skipped",
                                        [DEMAND_FAILED] = "failed",
                                        [DEMAND_ERROR] = "error"};
    return r->end == DEMAND_STORED ? texts[r->ended] : r->outcome;
}

static int
remember(const struct demand_result *r, struct db_conn *conn)
{
    const struct demand_spec *spec = r->spec;
    char reason[DEMAND_REASON_MAX + 64];
    snprintf(reason, sizeof reason, "%s.%s%s%s", spec->preset.name,
             preset_extension(spec->preset.format), r->why[0] == '\0' ? "" : ": ", r->why);
    struct history_attempt attempt = {.bucket_id = spec->bucket_id,
                                      .key = spec->key,
                                      .generation = spec->generation,
                                      .function = NATIVE_THUMBNAIL_NAME,
                                      .revision = r->revision,
                                      .pid = r->pid,
                                      .started_ms = r->started_ms,
                                      .run_us = r->run_us,
                                      .cpu_us = r->cpu_us,
                                      .rss_bytes = r->rss_bytes,
                                      .outcome = slice_str(demand_result_outcome(r)),
                                      .reason = slice_str(reason)};
    return history_apply_add(conn, NULL, &attempt);
}

int
demand_result_apply(struct demand_result *r, struct db_conn *conn)
{
    int err = ERR_NONE;
    ended(r, r->end, r->reason);
    if (r->end == DEMAND_STORED) {
        struct arena *a = arena_new(APPLY_ARENA_BYTES);
        err = a == NULL ? ERR_NOMEM : fence(r, conn, a);
        arena_free(&a);
    }
    if (err == ERR_NONE)
        err = remember(r, conn);
    return err == ERR_NONE ? usage_apply_invocation(conn, &r->usage) : err;
}
