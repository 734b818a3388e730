/*
 * POST /_/verify: one page of the check (verify.h) per request, so that no request is long. The
 * page is made by a thread of its own, which may read the disk and wait for the writer; requests
 * wait in a short line for it, further ones are told to come again.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/lock.h"
#include "functions/fn.h"
#include "objectstore/pool.h"
#include "pipeline/admin_priv.h"
#include "pipeline/verify.h"

#include <stdio.h>
#include <stdlib.h>

#define DESK_MAGIC 0x0e21fde5u
#define JOBS_MAX 8 /* waiting */
#define PAGE_ARENA_BYTES (8u << 20)

struct verify_desk {
    uint32_t magic;
    struct pool *pool;
    struct db *db;
    struct registry *registry;
    struct lock lock; /* guards what follows */
    int jobs;
    bool stopping;
};

struct job {
    struct pool_job pool_job;
    struct verify_desk *desk;
    struct http_request *request;
    json_t *body;
};

/* ---- cursor ---- */

/* Ours, handed back: what is out of range is somebody's invention. */
static bool
cursor_read(const json_t *json, struct verify_cursor *c)
{
    *c = (struct verify_cursor){.phase = VERIFY_OBJECTS};
    if (json == NULL || json_is_null(json))
        return true;
    int64_t phase = json_get_int(json, "phase", -1);
    *c = (struct verify_cursor){.phase = phase >= 0 && phase < VERIFY_END ? (enum verify_phase)phase
                                                                          : VERIFY_END,
                                .bucket = json_get_str(json, "bucket"),
                                .key = json_get_str(json, "key"),
                                .more = json_get_str(json, "more"),
                                .id = json_get_int(json, "id", 0),
                                .id2 = json_get_int(json, "id2", 0),
                                .at = json_get_int(json, "at", 0)};
    return c->phase < VERIFY_END && c->key.n <= STORE_KEY_MAX && c->more.n <= STORE_KEY_MAX &&
           c->at >= 0 && c->at < STORE_OBJECT_BYTES_MAX;
}

static json_t *
cursor_json(const struct verify_cursor *c)
{
    if (c->phase == VERIFY_END)
        return json_null();
    return json_pack("{si so so so sI sI sI}", "phase", (int)c->phase, "bucket",
                     admin_text(c->bucket), "key", admin_text(c->key), "more", admin_text(c->more),
                     "id", (json_int_t)c->id, "id2", (json_int_t)c->id2, "at", (json_int_t)c->at);
}

/* ---- a page ---- */

static json_t *
finding_json(const struct verify_finding *f)
{
    return json_pack("{ss so so so so sb}", "kind", verify_kind_name(f->kind), "bucket",
                     admin_text(f->bucket), "key", admin_text(f->key), "what", admin_text(f->what),
                     "todo", admin_text(f->todo), "fixed", f->fixed);
}

static json_t *
page_json(const struct verify_page *page)
{
    json_t *list = json_array();
    for (const struct verify_finding *f = page->findings; f != NULL; f = f->next)
        json_array_append_new(list, finding_json(f));
    return json_pack("{so sI sI sI so}", "findings", list, "objects", (json_int_t)page->objects,
                     "rows", (json_int_t)page->rows, "bytes", (json_int_t)page->bytes, "cursor",
                     cursor_json(&page->next));
}

static void
page_reply(struct job *j, struct arena *a)
{
    struct verify_page page;
    struct verify_cursor from;
    char request_id[FN_REQUEST_ID_MAX];
    snprintf(request_id, sizeof request_id, "verify-%s", j->request->id);
    struct verify_spec spec = {.registry = j->desk->registry,
                               .db = j->desk->db,
                               .bucket = json_get_str(j->body, "bucket"),
                               .prefix = json_get_str(j->body, "prefix"),
                               .deep = json_get_bool(j->body, "deep", false),
                               .fix = json_get_bool(j->body, "fix", false),
                               .request_id = slice_str(request_id)};
    if (!cursor_read(json_object_get(j->body, "cursor"), &from) || spec.prefix.n > STORE_KEY_MAX ||
        (spec.prefix.n > 0 && spec.bucket.n == 0)) {
        admin_reply_error(j->request, ERR_INVALID, SLICE_LIT("the cursor or the prefix is none"));
        return;
    }
    int err = verify_page(&spec, &from, a, &page);
    if (err == ERR_NONE)
        admin_reply_json(j->request, 200, page_json(&page));
    else
        admin_reply_error(j->request, err,
                          err == ERR_NOPARENT ? SLICE_LIT("no such bucket") : SLICE_NONE);
}

/* Into the line, when there is room. */
static bool
enter(struct verify_desk *d, struct job *j)
{
    lock_take(&d->lock);
    bool room = d->jobs < JOBS_MAX && !d->stopping;
    d->jobs += room;
    if (room)
        pool_submit(d->pool, &j->pool_job);
    lock_release(&d->lock);
    return room;
}

static bool
leave(struct verify_desk *d)
{
    lock_take(&d->lock);
    d->jobs--;
    bool stopping = d->stopping;
    lock_release(&d->lock);
    return stopping;
}

static void
job_run(struct pool_job *job)
{
    struct job *j = CONTAINER_OF(job, struct job, pool_job);
    struct http_request *r = j->request;
    struct arena *a = arena_new(PAGE_ARENA_BYTES);
    if (leave(j->desk))
        admin_reply_error(r, ERR_CANCELED, SLICE_LIT("the server is stopping"));
    else if (a == NULL)
        admin_reply_error(r, ERR_NOMEM, SLICE_NONE);
    else
        page_reply(j, a);
    arena_free(&a);
    json_decref(j->body);
    free(j);
    http_resume(r);
}

void
admin_verify_post(struct admin_service *s, struct http_request *r)
{
    struct verify_desk *d = s->verify;
    json_t *body = admin_body(r);
    if (body == NULL)
        return;
    struct job *j = chk_calloc(1, sizeof *j);
    *j = (struct job){.pool_job = {.run = job_run}, .desk = d, .request = r, .body = body};
    http_suspend(r);
    if (enter(d, j))
        return;
    free(j);
    json_decref(body);
    admin_reply_error(r, ERR_BUSY, SLICE_LIT("too many checks run"));
    http_resume(r);
}

/* ---- the desk ---- */

static void
pool_leave(void *arg)
{
    struct verify_desk *d = arg;
    store_thread_end(registry_store(d->registry));
}

struct verify_desk *
admin_verify_new(struct db *db, struct registry *registry)
{
    struct verify_desk *d = chk_calloc(1, sizeof *d);
    d->magic = DESK_MAGIC;
    d->db = db;
    d->registry = registry;
    lock_init(&d->lock, LOCK_RANK_UPKEEP);
    d->pool = pool_new(1, pool_leave, d);
    return d;
}

void
admin_verify_stop(struct verify_desk *d)
{
    CHK_MAGIC(d, DESK_MAGIC);
    lock_take(&d->lock);
    d->stopping = true;
    lock_release(&d->lock);
    pool_free(&d->pool);
}

void
admin_verify_free(struct verify_desk **dp)
{
    struct verify_desk *d = *dp;
    *dp = NULL;
    admin_verify_stop(d);
    lock_fini(&d->lock);
    d->magic = 0;
    free(d);
}
