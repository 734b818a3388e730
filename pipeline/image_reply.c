/*
 * Answers of /_/img. A picture goes out as S3 would send the derived object; every answer that is
 * not one says no-store: the next moment may bring it.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/stat.h"
#include "pipeline/image_accept.h"
#include "pipeline/image_priv.h"
#include "pipeline/native_item.h"
#include "pipeline/placeholder.h"
#include "pipeline/problem.h"

#include <inttypes.h>
#include <stdio.h>

#define REPLY_MAX (8u << 10)
#define STATE_TEXT_MAX 256
#define IMMUTABLE_S_MAX ((int64_t)365 * 24 * 3600)
#define STATE_HEADER "x-darkroom-state"

/* ---- no picture ---- */

static const struct {
    int err, status;
    const char *message; /* when nobody has a better one */
} refusals[] = {
    {ERR_INVALID, 400, "the request makes no sense"},
    {ERR_DENIED, 403, "this picture is not for who asks, or nobody may know that it is not there"},
    {ERR_NOTFOUND, 404, "there is no such object"},
};

void
image_refuse(struct image_request *iq, int err, const char *message)
{
    int status = 503;
    const char *usual = err_text(err);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (refusals[i].err == err) {
            status = refusals[i].status;
            usual = refusals[i].message;
        }
    }
    if (status == 503)
        http_header(iq->r, "Retry-After", SLICE_LIT("1"));
    if (err == ERR_BUSY)
        STAT_INC(slowdown_total);
    problem_reply(iq->r, status, "error", slice_str(err_name(err)),
                  slice_str(message != NULL ? message : usual));
}

void
image_refuse_types(struct image_request *iq, const enum preset_format *formats, size_t count)
{
    struct buf b;
    buf_init(&b, REPLY_MAX / 2);
    buf_puts(&b, "Accept allows none of what there is:");
    for (size_t i = 0; i < count; i++)
        buf_printf(&b, "%s %s", i == 0 ? "" : ",", preset_content_type(formats[i]));
    problem_reply(iq->r, 406, "error", SLICE_LIT("UNACCEPTABLE"), buf_slice(&b));
    buf_fini(&b);
}

/* Users write to the item that a reason comes from: what a header may not hold becomes '?'. */
static struct slice
state_text(struct image_request *iq, enum preset_state state, struct slice reason)
{
    struct buf b;
    buf_init(&b, STATE_TEXT_MAX);
    buf_puts(&b, preset_state_name(state));
    if (reason.n > 0)
        buf_puts(&b, ": ");
    for (size_t i = 0; i < reason.n && b.n < STATE_TEXT_MAX; i++)
        buf_putc(&b, reason.p[i] >= ' ' && reason.p[i] <= '~' ? reason.p[i] : '?');
    struct slice text = arena_dup(iq->r->arena, buf_slice(&b));
    buf_fini(&b);
    return text.p == NULL ? slice_str(preset_state_name(state)) : text;
}

void
image_reply_state(struct image_request *iq, enum preset_state state, struct slice reason)
{
    static const char *const messages[PRESET_STATE_COUNT] = {
        [PRESET_STATE_NONE] = "nothing has made this preset of this object: see darkroom reprocess",
        [PRESET_STATE_SKIPPED] = "there is no picture to be made of this object",
        [PRESET_STATE_FAILED] = "the picture could not be made: see darkroom explain",
    };
    struct slice text = state_text(iq, state, reason);
    http_header(iq->r, STATE_HEADER, text);
    problem_reply(iq->r, 404, "state", text,
                  slice_str(messages[state] != NULL ? messages[state] : "there is nothing"));
}

/* ---- not yet ---- */

static int
thumbhash_of(const struct attr_value *item, int64_t generation, struct slice *out)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, generation);
    const struct attr_value *of = attr_get(item, SLICE_LIT("generation"));
    const struct attr_value *state = attr_get(item, SLICE_LIT("metadata_state"));
    const struct attr_value *hash = attr_get(item, SLICE_LIT("thumbhash"));
    if (of == NULL || of->type != ATTR_N || !slice_eqs(of->bytes, text) || state == NULL ||
        state->type != ATTR_S || !slice_eqs(state->bytes, "ready") || hash == NULL ||
        hash->type != ATTR_B)
        return ERR_NOTFOUND;
    *out = hash->bytes;
    return ERR_NONE;
}

/* The ThumbHash of this version of the source; ERR_NOTFOUND, or why it cannot be read. */
static int
read_thumbhash(const struct image_request *iq, const struct image_view *v, struct slice *out)
{
    struct item_place place;
    struct attr_value item;
    struct db_conn *conn = NULL;
    int err = db_read_begin(iq->s->options.db, &conn);
    if (err != ERR_NONE)
        return err;
    err = native_item_place(conn, v->a, v->ready.set, iq->q.bucket, iq->q.key, &place);
    if (err == ERR_NONE)
        err = table_get(conn, v->a, &place.table, &place.key, &item);
    if (err == ERR_NONE)
        err = thumbhash_of(&item, v->source->generation, out);
    db_read_end(iq->s->options.db, &conn);
    return err;
}

static bool
reply_placeholder(struct image_request *iq, const struct image_view *v)
{
    static const enum preset_format format = PRESET_PNG;
    struct placeholder p;
    struct slice hash;
    struct buf png;
    if (iq->q.any_format && image_accept_choose(iq->r, &format, 1) < 0)
        return false;
    if (read_thumbhash(iq, v, &hash) != ERR_NONE || placeholder_decode(hash, &p) != ERR_NONE)
        return false;
    buf_init(&png, PLACEHOLDER_PNG_MAX);
    placeholder_png(&p, &png);
    bool made = png.err == ERR_NONE;
    if (made) {
        http_header(iq->r, "Content-Type", SLICE_LIT("image/png"));
        http_header(iq->r, "X-Content-Type-Options", SLICE_LIT("nosniff"));
        http_header(iq->r, "Cache-Control", SLICE_LIT("no-store"));
        http_reply(iq->r, 200, buf_slice(&png));
    }
    buf_fini(&png);
    return made;
}

void
image_reply_pending(struct image_request *iq, const struct image_view *v)
{
    struct slice state = slice_str(preset_state_name(PRESET_STATE_PENDING));
    http_header(iq->r, STATE_HEADER, state);
    if (iq->q.placeholder && reply_placeholder(iq, v))
        return;
    http_header(iq->r, "Retry-After", SLICE_LIT("1"));
    problem_reply(iq->r, 202, "state", state, SLICE_LIT("the picture is being made"));
}

/* ---- a picture ---- */

/* n = 0: S3's own. An immutable answer is not to outlive the URL that gave it. */
static struct slice
cache_control(struct image_request *iq, const struct image_stored *what)
{
    int64_t left_s = iq->q.expires_s - clock_wall_ms() / 1000;
    if (!what->fresh)
        return SLICE_LIT("no-cache");
    if (!iq->granted || !iq->q.has_version)
        return SLICE_NONE;
    if (left_s < 1)
        return SLICE_LIT("no-cache");
    return slice_str(
        arena_printf(iq->r->arena, "public, max-age=%lld, immutable",
                     (long long)(left_s < IMMUTABLE_S_MAX ? left_s : IMMUTABLE_S_MAX)));
}

/* S3's refusal of what the request says beside the picture (a range, a condition), in our form. */
static void
refuse_as_page(struct http_request *r, const struct refusal *refusal)
{
    problem_reply(r, refusal->status, "error", slice_str(refusal->code),
                  slice_str(refusal->message));
}

/* What should be there was not, twice: not a newer one of ours, but somebody's doing. */
static enum image_step
serve_what_is(struct image_request *iq, struct s3_serve *serve, int err)
{
    if (err == ERR_STALE) {
        serve->generation = 0;
        serve->cache_control = SLICE_LIT("no-cache");
        err = s3_serve_object(iq->s->options.s3, iq->r, serve);
    }
    if (err == ERR_STALE) /* looked up again and again, and still without its bytes */
        image_refuse(iq, ERR_CORRUPT, NULL);
    return err == ERR_NOTFOUND ? IMAGE_GONE : IMAGE_ANSWERED;
}

enum image_step
image_serve(struct image_request *iq, const struct image_view *v, const struct image_stored *what)
{
    struct s3_serve serve = {.bucket = slice_str(v->ready.derived_bucket),
                             .key = what->key,
                             .generation = what->generation,
                             .cache_control = cache_control(iq, what),
                             .refuse = refuse_as_page};
    if (what->pending) {
        serve.header = STATE_HEADER;
        serve.header_value = slice_str(preset_state_name(PRESET_STATE_PENDING));
    }
    int err = s3_serve_object(iq->s->options.s3, iq->r, &serve);
    if (err == ERR_NONE)
        return IMAGE_ANSWERED;
    if (iq->missed == what->generation)
        return serve_what_is(iq, &serve, err);
    iq->missed = what->generation;
    return IMAGE_AGAIN;
}
