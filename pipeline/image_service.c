/*
 * The life of a request to /_/img; image_look.c decides, image_reply.c answers.
 *
 *   begin()    parse (400) -> the URL's signature (403): nothing was looked up until here
 *   end()      look --> answered
 *   resumed()   ^  |--> changed under the look: again, IMAGE_AGAIN_MAX times
 *               |  \--> suspended, in the notifier's list or the desk's
 *               \------- news, an ended demand, the deadline: http_resume(), on the thread of
 *                        whoever tells
 *
 * Invariant: from http_suspend() on until resumed() the request belongs to who will resume it; all
 * that a look has taken (arena, references) was given back by then or is given back by its own
 * thread without touching the request. The structs that wait are in the request's arena.
 */
#include "base/auth.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/image_priv.h"

#include <stdlib.h>

#define SERVICE_MAGIC 0x1ea9e5e1u
#define REQUEST_MAGIC 0x1ea9e5e2u
#define WHY_MAX 512
/* One sentence for a signature that is missing, wrong or expired: nothing is told. */
#define UNSIGNED "this URL needs a signature (exp and sig) that is good and has not expired"

struct image_service *
image_service_new(const struct image_options *options)
{
    struct image_service *s = chk_calloc(1, sizeof *s);
    *s = (struct image_service){.magic = SERVICE_MAGIC, .options = *options};
    return s;
}

void
image_service_free(struct image_service **sp)
{
    struct image_service *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, SERVICE_MAGIC);
    s->magic = 0;
    free(s);
}

/* ---- permission that needs no look ---- */

static bool
signature_good(const struct image_request *iq)
{
    struct http_request *r = iq->r;
    struct buf text;
    if (iq->q.sig.p == NULL || iq->q.expires_s == 0 || clock_wall_ms() / 1000 >= iq->q.expires_s)
        return false;
    buf_init(&text, IMAGE_URL_TEXT_MAX);
    image_url_canonical(r->path, r->params, r->param_count, &text);
    bool good =
        text.err == ERR_NONE && image_url_verify(iq->s->options.keys, buf_slice(&text), iq->q.sig);
    buf_fini(&text);
    return good;
}

/* false: answered. A URL that is signed stands or falls with its signature. */
static bool
permitted(struct image_request *iq)
{
    const struct auth *a = iq->r->auth;
    if (iq->q.preset.n == 0 || iq->q.sig.p != NULL) {
        iq->granted = signature_good(iq);
        if (!iq->granted) {
            auth_count_refusal(a);
            image_refuse(iq, ERR_DENIED, UNSIGNED);
        }
        return iq->granted;
    }
    if (a->result == AUTH_OK || a->result == AUTH_ANONYMOUS)
        return true;
    auth_count_refusal(a);
    image_refuse(iq, auth_refusal(a->result)->status == 400 ? ERR_INVALID : ERR_DENIED,
                 a->result == AUTH_NEEDS_BODY ? NULL : auth_refusal(a->result)->message);
    return false;
}

/* ---- waiting ---- */

static void
news(struct notifier_wait *w, enum notifier_end end)
{
    struct image_request *iq = CONTAINER_OF(w, struct image_request, wait);
    if (end != NOTIFIER_NEWS)
        iq->deadline_ms = 0;
    http_resume(iq->r);
}

void
image_wait(struct image_request *iq, const struct image_view *v)
{
    iq->wait = (struct notifier_wait){.bucket_id = v->source->bucket_id,
                                      .key = iq->q.key,
                                      .since = v->ready.notice_id,
                                      .deadline_ms = iq->deadline_ms,
                                      .fn = news};
    http_suspend(iq->r);
    if (notifier_wait(iq->s->options.notifier, &iq->wait) != ERR_NONE)
        news(&iq->wait, NOTIFIER_STOPPED); /* then without waiting */
}

static void
ended(struct demand_wait *w)
{
    http_resume(CONTAINER_OF(w, struct image_request, demand)->r);
}

void
image_demand(struct image_request *iq, const struct image_view *v)
{
    struct demand_spec spec = {.bucket_id = v->source->bucket_id,
                               .bucket = iq->q.bucket,
                               .key = iq->q.key,
                               .request_id = slice_str(iq->r->id),
                               .generation = v->source->generation,
                               .preset = iq->q.free};
    iq->demand = (struct demand_wait){.fn = ended};
    iq->demanded = true;
    iq->join_err = ERR_NONE;
    http_suspend(iq->r);
    int err = demand_join(iq->s->options.desk, &spec, &iq->demand);
    if (err == ERR_NONE)
        return;
    iq->join_err = err;
    ended(&iq->demand);
}

/* ---- the service ---- */

/* false: answered. */
static bool
understood(struct image_request *iq)
{
    struct buf why;
    buf_init(&why, WHY_MAX);
    int err = image_query_parse(iq->r, &iq->q, &why);
    if (err == ERR_NONE && iq->r->has_body) {
        buf_puts(&why, "a request for a picture has no body");
        err = ERR_INVALID;
    }
    if (err != ERR_NONE)
        image_refuse(iq, err, why.p);
    buf_fini(&why);
    return err == ERR_NONE;
}

static void
begin(struct http_request *r)
{
    struct image_service *s = r->service_arg;
    CHK_MAGIC(s, SERVICE_MAGIC);
    struct image_request *iq = arena_alloc(r->arena, sizeof *iq);
    http_header(r, "x-amz-request-id", slice_str(r->id));
    if (iq == NULL) {
        http_reply(r, 503, SLICE_NONE);
        return;
    }
    *iq = (struct image_request){.magic = REQUEST_MAGIC, .r = r, .s = s};
    r->ctx = iq;
    if (r->method != HTTP_GET && r->method != HTTP_HEAD) {
        http_header(r, "Allow", SLICE_LIT("GET, HEAD"));
        http_header(r, "Cache-Control", SLICE_LIT("no-store"));
        http_reply(r, 405, SLICE_NONE);
        return;
    }
    if (!understood(iq))
        return;
    if (iq->q.any_format)
        http_header(r, "Vary", SLICE_LIT("Accept"));
    if (permitted(iq) && iq->q.wait_ms > 0)
        iq->deadline_ms = clock_mono_ms() + iq->q.wait_ms;
}

static void
go_on(struct http_request *r)
{
    struct image_request *iq = r->ctx;
    enum image_step step;
    CHK_MAGIC(iq, REQUEST_MAGIC);
    do
        step = image_look(iq);
    while (step == IMAGE_AGAIN && ++iq->again < IMAGE_AGAIN_MAX);
    if (step == IMAGE_AGAIN)
        image_refuse(iq, ERR_BUSY, "the object changes faster than it can be looked at");
}

const struct http_service image_http_service = {
    .name = "image", .begin = begin, .end = go_on, .resumed = go_on};
