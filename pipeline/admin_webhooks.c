/*
 * Webhooks, as the operator sees them. The secret is in the answer that made it, and nowhere else:
 * lists show how it begins.
 */
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "objectstore/store.h"
#include "pipeline/admin_priv.h"
#include "pipeline/registry.h"
#include "pipeline/webhook.h"

#include <stdio.h>

#define SECRET_BYTES 32
#define SECRET_SHOWN 4

/* ---- list ---- */

static const char *
state_name(const struct webhook_progress *p)
{
    return p->attempts > 0 ? "failing" : "ok";
}

static int
list_one(void *arg, const struct webhook *h)
{
    const struct webhook_progress *p = &h->progress;
    char secret[SECRET_SHOWN + 4];
    snprintf(secret, sizeof secret, "%.*s...", SECRET_SHOWN, h->secret.p);
    json_array_append_new(
        arg,
        json_pack("{sI so so so ss sI ss sI sI sI sI sI so}", "id", (json_int_t)p->id, "bucket",
                  admin_text(h->bucket), "prefix", admin_text(h->prefix), "url", admin_text(h->url),
                  "secret", secret, "created_ms", (json_int_t)h->created_ms, "state", state_name(p),
                  "told", (json_int_t)p->told, "given_up", (json_int_t)h->given_up, "attempts",
                  (json_int_t)p->attempts, "failing_since_ms", (json_int_t)p->failing_since_ms,
                  "not_before_ms", (json_int_t)p->not_before_ms, "last_error",
                  admin_text(slice_str(p->last_error))));
    return 0;
}

void
admin_webhooks_get(struct admin_service *s, struct http_request *r)
{
    struct db_conn *conn = NULL;
    json_t *rows = json_array();
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = webhook_list(conn, list_one, rows);
        db_read_end(s->options.db, &conn);
    }
    if (err == ERR_NONE) {
        admin_reply_json(r, 200, json_pack("{so}", "webhooks", rows));
        return;
    }
    json_decref(rows);
    admin_reply_error(r, err, SLICE_NONE);
}

/* ---- add ---- */

static bool
secret_is_good(struct slice secret)
{
    for (size_t i = 0; i < secret.n; i++) {
        if (secret.p[i] <= ' ' || secret.p[i] > '~')
            return false;
    }
    return secret.n >= WEBHOOK_SECRET_MIN && secret.n <= WEBHOOK_SECRET_MAX;
}

/* Everything about the body that needs no database. */
static int
check_body(const struct admin_service *s, const json_t *body, struct buf *why)
{
    const json_t *secret = json_object_get(body, "secret");
    const json_t *prefix = json_object_get(body, "prefix");
    struct slice url = json_get_str(body, "url");
    if (!store_bucket_name_ok(json_get_str(body, "bucket"))) {
        buf_puts(why, "\"bucket\" must be the name of a bucket");
        return ERR_INVALID;
    }
    if ((prefix != NULL && !json_is_string(prefix)) ||
        json_get_str(body, "prefix").n > STORE_KEY_MAX) {
        buf_printf(why, "\"prefix\" must be a string of at most %d bytes", STORE_KEY_MAX);
        return ERR_INVALID;
    }
    if (url.n == 0 || url.n > WEBHOOK_URL_MAX) {
        buf_printf(why, "\"url\" must be an http or https URL of at most %d characters",
                   WEBHOOK_URL_MAX);
        return ERR_INVALID;
    }
    if (secret != NULL && !secret_is_good(json_get_str(body, "secret"))) {
        buf_printf(why, "a secret has %d to %d printable ASCII characters without blanks",
                   WEBHOOK_SECRET_MIN, WEBHOOK_SECRET_MAX);
        return ERR_INVALID;
    }
    return webhooks_check_url(s->options.webhooks, url, why);
}

static void
make_secret(json_t *body)
{
    uint8_t bytes[SECRET_BYTES];
    char text[2 * SECRET_BYTES + 1];
    random_bytes(bytes, sizeof bytes);
    hex_encode(bytes, sizeof bytes, text);
    json_object_set_new(body, "secret", json_string(text));
}

static void
webhooks_committed(struct admin_write *w)
{
    webhooks_changed(w->service->options.webhooks);
}

static int
check_bucket(struct admin_write *w, struct db_conn *conn, struct slice name)
{
    int64_t id;
    struct slice owner;
    struct arena *a = arena_new(1024);
    if (a == NULL)
        return ERR_NOMEM;
    struct store *store = registry_store(pipeline_registry(w->service->options.pipeline));
    int err = store_apply_bucket_get(store, conn, name, &id, a, &owner);
    arena_free(&a);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT)
        buf_printf(&w->why, "no bucket %.*s", SLICE_FMT(name));
    return err;
}

static int
apply_add(struct admin_write *w, struct db_conn *conn)
{
    struct webhook h = {.bucket = json_get_str(w->body, "bucket"),
                        .prefix = json_get_str(w->body, "prefix"),
                        .url = json_get_str(w->body, "url"),
                        .secret = json_get_str(w->body, "secret")};
    int err = check_bucket(w, conn, h.bucket);
    if (err == ERR_NONE)
        err = webhook_apply_add(conn, &h, &w->why);
    w->committed = webhooks_committed;
    if (err == ERR_NONE)
        w->reply =
            json_pack("{sI so}", "id", (json_int_t)h.progress.id, "secret", admin_text(h.secret));
    return err;
}

void
admin_webhooks_post(struct admin_service *s, struct http_request *r)
{
    struct buf why;
    json_t *body = admin_body(r);
    if (body == NULL)
        return;
    buf_init(&why, ADMIN_WHY_MAX);
    int err = check_body(s, body, &why);
    if (err == ERR_NONE) {
        if (json_object_get(body, "secret") == NULL)
            make_secret(body); /* here, for apply() may run twice */
        admin_submit(s, r, apply_add, body, 0);
    } else {
        admin_reply_error(r, err, buf_slice(&why));
        json_decref(body);
    }
    buf_fini(&why);
}

/* ---- remove ---- */

static int
apply_remove(struct admin_write *w, struct db_conn *conn)
{
    int err = webhook_apply_remove(conn, (int64_t)w->id);
    w->committed = webhooks_committed;
    if (err == ERR_NOTFOUND)
        buf_puts(&w->why, "no such webhook");
    if (err == ERR_NONE)
        w->reply = json_pack("{sI}", "id", (json_int_t)w->id);
    return err;
}

void
admin_webhooks_delete(struct admin_service *s, struct http_request *r)
{
    uint64_t id = 0;
    if (admin_param_u64(r, "id", 0, &id) == ERR_NONE)
        admin_submit(s, r, apply_remove, NULL, id);
}
