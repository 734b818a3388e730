/*
 * What there is, and what follows from it. One snapshot says how far the presets of the source are;
 * the source is looked up before and after it and must be the same version, so that version is what
 * the snapshot shows.
 *
 *   preset:     the formats asked for that the sender may have (the pool)
 *                 one is ready ............ that one; fm=auto: the best that Accept allows
 *                 one is pending, wait= ... suspend until there is news
 *                 an older one is there ... that one, not to be kept
 *                 pending ................. 202, or the placeholder
 *                 else .................... 404 and why
 *   free size:  stored of this version? that one. Else a demand, unless it is known that the source
 *               is no picture, or the demand has said so
 *
 * A source that is missing, or that nothing is made of, is told to who may list the derived bucket,
 * as S3 would of the derived object (API_GetObject).
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/image_accept.h"
#include "pipeline/image_priv.h"
#include "pipeline/native_item.h"
#include "pipeline/provenance.h"

#define NO_PLACE "nothing is derived from this bucket"

/* ---- the view ---- */

static int
find_source(const struct image_request *iq, const struct store_object **out)
{
    *out = NULL;
    int err = store_get(iq->s->options.store, iq->q.bucket, iq->q.key, out);
    return err == ERR_NOTFOUND || err == ERR_NOPARENT ? ERR_NONE : err;
}

static int64_t
generation_of(const struct store_object *o)
{
    return o == NULL ? 0 : o->generation;
}

/* ERR_STALE: the source changed meanwhile. */
static int
view_read(const struct image_request *iq, struct image_view *v)
{
    const struct image_options *o = &iq->s->options;
    /* Stands for a source that is missing: there is nothing of it, but it is known where that would
     * be. */
    const struct store_object nothing = {.key = iq->q.key};
    const struct store_object *after = NULL;
    struct db_conn *conn = NULL;
    v->a = arena_new(ITEM_ARENA_BYTES);
    int err = v->a == NULL ? ERR_NOMEM : find_source(iq, &v->source);
    if (err == ERR_NONE)
        err = db_read_begin(o->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = readiness_read(o->registry, conn, v->a, v->source != NULL ? v->source : &nothing,
                         iq->q.bucket, &v->ready);
    if (err == ERR_NONE && v->source != NULL && iq->q.preset.n == 0)
        err = provenance_list(conn, v->a, v->source->bucket_id, iq->q.key, &v->rows);
    db_read_end(o->db, &conn);
    if (err == ERR_NONE)
        err = find_source(iq, &after);
    if (err == ERR_NONE && generation_of(after) != generation_of(v->source))
        err = ERR_STALE;
    store_object_unref(&after);
    return err;
}

static void
view_fini(struct image_view *v)
{
    readiness_fini(&v->ready);
    store_object_unref(&v->source);
    arena_free(&v->a);
}

/* ---- presets ---- */

struct pool {
    const struct preset_readiness *of[PRESETS_MAX];
    size_t count;
    bool may_list;
    int err; /* why the last one is not in it */
};

static bool
is_asked_for(const struct image_query *q, const struct preset_readiness *p)
{
    if (p->derived_key.n == 0)
        return false;
    if (slice_eqs(q->preset, p->preset->name) && !q->has_format)
        return true;
    return (q->any_format || (q->has_format && q->format == p->preset->format)) &&
           slice_eq(q->preset, preset_base_name(p->preset));
}

static int
permission(struct image_request *iq, const struct image_view *v, struct slice key, bool *may_list)
{
    *may_list = true;
    if (iq->granted)
        return ERR_NONE;
    return s3_may_get(iq->s->options.s3, iq->r, slice_str(v->ready.derived_bucket), key, may_list);
}

static void
pool_fill(struct image_request *iq, const struct image_view *v, struct pool *pool)
{
    *pool = (struct pool){.err = ERR_NOTFOUND};
    for (size_t i = 0; i < v->ready.count; i++) {
        const struct preset_readiness *p = &v->ready.presets[i];
        if (!is_asked_for(&iq->q, p))
            continue;
        pool->err = permission(iq, v, p->derived_key, &pool->may_list);
        if (pool->err == ERR_NONE)
            pool->of[pool->count++] = p;
    }
}

static bool
is_ready(const struct preset_readiness *p)
{
    return p->state == PRESET_STATE_READY;
}

/* Made of an older version, or as an older configuration had it; removed with its verdict when what
 * takes its place is no picture. */
static bool
is_outdated(const struct preset_readiness *p)
{
    return p->stored_generation != 0 &&
           (p->state == PRESET_STATE_PENDING || p->state == PRESET_STATE_NONE);
}

static bool
is_pending(const struct preset_readiness *p)
{
    return p->state == PRESET_STATE_PENDING;
}

static bool
pool_has(const struct pool *pool, bool (*is)(const struct preset_readiness *p))
{
    for (size_t i = 0; i < pool->count; i++) {
        if (is(pool->of[i]))
            return true;
    }
    return false;
}

/* Serves the best of those. */
static enum image_step
serve_of(struct image_request *iq, const struct image_view *v, const struct pool *pool,
         bool (*is)(const struct preset_readiness *p))
{
    const struct preset_readiness *these[PRESETS_MAX];
    enum preset_format formats[PRESETS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < pool->count; i++) {
        if (!is(pool->of[i]))
            continue;
        formats[count] = pool->of[i]->preset->format;
        these[count++] = pool->of[i];
    }
    CHK(count > 0);
    int best = iq->q.any_format ? image_accept_choose(iq->r, formats, count) : 0;
    if (best < 0) {
        image_refuse_types(iq, formats, count);
        return IMAGE_ANSWERED;
    }
    struct image_stored what = {.key = these[best]->derived_key,
                                .generation = these[best]->stored_generation,
                                .fresh = is_ready(these[best]),
                                .pending = is_pending(these[best])};
    enum image_step step = image_serve(iq, v, &what);
    if (step != IMAGE_GONE)
        return step;
    image_reply_state(iq, PRESET_STATE_NONE, SLICE_NONE);
    return IMAGE_ANSWERED;
}

static enum image_step
answer_empty_pool(struct image_request *iq, const struct pool *pool)
{
    if (pool->err == ERR_NOPARENT)
        image_refuse(iq, ERR_NOTFOUND, NO_PLACE);
    else if (pool->err == ERR_NOTFOUND)
        image_refuse(iq, ERR_NOTFOUND, "no such preset, or it has no such format");
    else
        image_refuse(iq, pool->err, NULL);
    return IMAGE_ANSWERED;
}

static enum image_step
look_preset(struct image_request *iq, const struct image_view *v)
{
    struct pool pool;
    if (v->ready.derived_bucket_id == 0) { /* and nobody is told of the source by it */
        image_refuse(iq, ERR_NOTFOUND, NO_PLACE);
        return IMAGE_ANSWERED;
    }
    pool_fill(iq, v, &pool);
    if (pool.count == 0)
        return answer_empty_pool(iq, &pool);
    if (v->source == NULL) {
        image_refuse(iq, pool.may_list ? ERR_NOTFOUND : ERR_DENIED, NULL);
        return IMAGE_ANSWERED;
    }
    if (pool_has(&pool, is_ready))
        return serve_of(iq, v, &pool, is_ready);
    bool pending = pool_has(&pool, is_pending);
    if (pending && clock_mono_ms() < iq->deadline_ms) {
        image_wait(iq, v);
        return IMAGE_SUSPENDED;
    }
    if (pool_has(&pool, is_outdated))
        return serve_of(iq, v, &pool, is_outdated);
    if (pending)
        image_reply_pending(iq, v);
    else if (pool.of[0]->state == PRESET_STATE_NONE && !pool.may_list)
        image_refuse(iq, ERR_DENIED, NULL); /* as if there were no source */
    else
        image_reply_state(iq, pool.of[0]->state, pool.of[0]->reason);
    return IMAGE_ANSWERED;
}

/* ---- free sizes ---- */

/* What every preset of this source has come to, when that is nothing. */
static const struct preset_readiness *
hopeless(const struct readiness *ready)
{
    for (size_t i = 0; i < ready->count; i++) {
        enum preset_state s = ready->presets[i].state;
        if (s != PRESET_STATE_SKIPPED && s != PRESET_STATE_FAILED)
            return NULL;
    }
    return ready->count == 0 ? NULL : &ready->presets[0];
}

static const struct provenance *
find_variant(const struct image_request *iq, const struct image_view *v, struct slice key)
{
    const struct provenance *p = v->rows;
    while (p != NULL && (p->derived_bucket_id != v->ready.derived_bucket_id ||
                         p->source_generation != v->source->generation ||
                         !slice_eqs(p->preset, iq->q.free.name) || !slice_eq(p->derived_key, key)))
        p = p->next;
    return p;
}

/* PNG is for who accepts nothing else, however it is weighed: browsers that prefer it to an
 * unnamed image do not mean photographs. false: answered. */
static bool
format_chosen(struct image_request *iq)
{
    static const enum preset_format formats[] = {PRESET_WEBP, PRESET_JPEG, PRESET_PNG};
    if (!iq->q.any_format)
        return true;
    int best = image_accept_choose(iq->r, formats, ARRAY_LEN(formats) - 1);
    if (best < 0)
        best = image_accept_choose(iq->r, formats, ARRAY_LEN(formats));
    if (best < 0)
        image_refuse_types(iq, formats, ARRAY_LEN(formats));
    else
        image_query_set_format(&iq->q, formats[best]);
    return best >= 0;
}

/* What the demand of before has come to; false: answered. */
static bool
demand_goes_on(struct image_request *iq)
{
    if (!iq->demanded)
        return true;
    struct slice reason = slice_str(iq->demand.reason);
    iq->demanded = false;
    if (iq->join_err != ERR_NONE)
        image_refuse(iq, iq->join_err, "too much is being made; try again");
    else if (iq->demand.end == DEMAND_SKIPPED || iq->demand.end == DEMAND_FAILED)
        image_reply_state(
            iq, iq->demand.end == DEMAND_SKIPPED ? PRESET_STATE_SKIPPED : PRESET_STATE_FAILED,
            reason);
    else if (iq->demand.end == DEMAND_ERROR)
        image_refuse(iq, ERR_BUSY, iq->demand.reason);
    else
        return ++iq->again < IMAGE_AGAIN_MAX;
    return false;
}

static enum image_step
look_variant(struct image_request *iq, const struct image_view *v, struct slice key)
{
    const struct provenance *row = find_variant(iq, v, key);
    const struct preset_readiness *bad = hopeless(&v->ready);
    if (row != NULL) {
        struct image_stored what = {
            .key = key, .generation = row->derived_generation, .fresh = true};
        enum image_step step = image_serve(iq, v, &what);
        if (step != IMAGE_GONE)
            return step;
    }
    if (bad != NULL) {
        image_reply_state(iq, bad->state, bad->reason);
        return IMAGE_ANSWERED;
    }
    image_demand(iq, v);
    return IMAGE_SUSPENDED;
}

static enum image_step
look_free(struct image_request *iq, const struct image_view *v)
{
    struct buf key;
    enum image_step step = IMAGE_ANSWERED;
    buf_init(&key, STORE_KEY_MAX);
    if (v->source == NULL)
        image_refuse(iq, ERR_NOTFOUND, NULL);
    else if (v->ready.derived_bucket_id == 0)
        image_refuse(iq, ERR_NOTFOUND, NO_PLACE);
    else if (native_derived_key(iq->q.key, &iq->q.free, &key) != ERR_NONE)
        image_refuse(iq, ERR_NOTFOUND, "the key is too long to derive another from it");
    else
        step = look_variant(iq, v, buf_slice(&key));
    buf_fini(&key);
    return step;
}

/* ---- one look ---- */

enum image_step
image_look(struct image_request *iq)
{
    struct image_view v = {.a = NULL};
    enum image_step step = IMAGE_ANSWERED;
    if (iq->q.preset.n == 0 && (!demand_goes_on(iq) || !format_chosen(iq)))
        return http_replied(iq->r) ? IMAGE_ANSWERED : IMAGE_AGAIN;
    int err = view_read(iq, &v);
    if (err == ERR_STALE)
        step = IMAGE_AGAIN;
    else if (err != ERR_NONE)
        image_refuse(iq, err, NULL);
    else
        step = iq->q.preset.n > 0 ? look_preset(iq, &v) : look_free(iq, &v);
    view_fini(&v);
    return step;
}
