/*
 * What the operator changes. Each is one operation of the writer: parsed here, applied in a
 * transaction, answered after its commit.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "objectstore/store.h"
#include "pipeline/admin_priv.h"

#include <stdlib.h>

/* ---- the common road ---- */

static int
write_apply(struct db_op *op, struct db_conn *conn)
{
    struct admin_write *w = CONTAINER_OF(op, struct admin_write, op);
    json_decref(w->reply);
    w->reply = NULL;
    w->committed = NULL;
    buf_reset(&w->why);
    return w->apply(w, conn);
}

static void
write_done(struct db_op *op, int err)
{
    struct admin_write *w = CONTAINER_OF(op, struct admin_write, op);
    struct http_request *r = w->request;
    if (err == ERR_NONE) {
        log_line(LOG_INFO, "admin_change", "request_id=%s method=%.*s path=%.*s", r->id,
                 SLICE_FMT(r->method_name), SLICE_FMT(r->path));
        if (w->committed != NULL)
            w->committed(w);
        admin_reply_json(r, 200, w->reply);
        w->reply = NULL;
    } else {
        admin_reply_error(r, err, buf_slice(&w->why));
    }
    json_decref(w->reply);
    json_decref(w->body);
    buf_fini(&w->why);
    free(w);
    http_resume(r);
}

void
admin_submit(struct admin_service *s, struct http_request *r, admin_apply_fn apply, json_t *body,
             uint64_t id)
{
    struct admin_write *w = chk_calloc(1, sizeof *w);
    *w = (struct admin_write){
        .op = {.apply = write_apply, .done = write_done, .bytes = ADMIN_BODY_MAX, .urgent = true},
        .service = s,
        .request = r,
        .apply = apply,
        .body = body,
        .id = id};
    buf_init(&w->why, ADMIN_WHY_MAX);
    http_suspend(r);
    int err = db_submit(s->options.db, &w->op);
    if (err != ERR_NONE)
        write_done(&w->op, err);
}

/* ---- functions ---- */

struct patch_member {
    const char *name;
    size_t flag, value; /* offsets in struct function_patch */
};

static const struct patch_member patch_ints[] = {
#define INT_MEMBER(text, field, flag)                                                       \
    {                                                                                       \
        text, offsetof(struct function_patch, flag), offsetof(struct function_patch, field) \
    }
    INT_MEMBER("memory_mb", memory_mb, has_memory),
    INT_MEMBER("timeout_s", timeout_s, has_timeout),
    INT_MEMBER("reserved_concurrency", reserved_concurrency, has_concurrency),
    INT_MEMBER("maximum_retry_attempts", retries_max, has_retries),
    INT_MEMBER("maximum_event_age_s", event_age_max_s, has_age),
#undef INT_MEMBER
};

static int
patch_int(struct function_patch *patch, const char *name, const json_t *value, struct buf *why)
{
    for (size_t i = 0; i < ARRAY_LEN(patch_ints); i++) {
        if (strcmp(patch_ints[i].name, name) != 0)
            continue;
        json_int_t v = json_integer_value(value);
        if (!json_is_integer(value) || v < INT32_MIN || v > INT32_MAX) {
            buf_printf(why, "%s must be a whole number", name);
            return ERR_INVALID;
        }
        *(bool *)((char *)patch + patch_ints[i].flag) = true;
        *(int *)(void *)((char *)patch + patch_ints[i].value) = (int)v;
        return ERR_NONE;
    }
    buf_printf(why, "%s is no setting of a function", name);
    return ERR_INVALID;
}

/* `environment` holds the text that patch->environment points to. */
static int
patch_read(const json_t *body, struct function_patch *patch, struct buf *environment,
           struct buf *why)
{
    const char *name;
    json_t *value;
    int err = ERR_NONE;
    json_object_foreach((json_t *)body, name, value)
    {
        if (strcmp(name, "environment") == 0 && json_is_object(value)) {
            json_write(environment, value, false);
            patch->has_environment = true;
            patch->environment = buf_slice(environment);
            err = environment->err;
        } else if (strcmp(name, "on_failure") == 0 && json_is_string(value)) {
            patch->has_on_failure = true;
            patch->on_failure = slice_str(json_string_value(value));
        } else {
            err = patch_int(patch, name, value, why);
        }
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE;
}

static int
apply_function(struct admin_write *w, struct db_conn *conn)
{
    struct registry *registry = pipeline_registry(w->service->options.pipeline);
    struct slice name = http_param(w->request, "name");
    struct function_patch patch = {0};
    struct function_set *set = NULL;
    struct buf environment;
    buf_init(&environment, ADMIN_BODY_MAX);
    int err = patch_read(w->body, &patch, &environment, &w->why);
    if (err == ERR_NONE)
        err = registry_apply_set(registry, conn, name, &patch, &w->why);
    if (err == ERR_NOTFOUND)
        buf_printf(&w->why, "no function %.*s", SLICE_FMT(name));
    if (err == ERR_NONE)
        err = registry_get(registry, conn, &set);
    if (err == ERR_NONE)
        w->reply = admin_function_json(registry_find(set, name));
    registry_unref(&set);
    buf_fini(&environment);
    return err;
}

void
admin_functions_put(struct admin_service *s, struct http_request *r)
{
    json_t *body = admin_body(r);
    if (body != NULL)
        admin_submit(s, r, apply_function, body, 0);
}

/* ---- buckets ---- */

static int
apply_bucket(struct admin_write *w, struct db_conn *conn)
{
    struct admin_options *o = &w->service->options;
    struct slice bucket = json_get_str(w->body, "bucket");
    struct slice owner = slice_str(w->request->auth->account->canonical_id);
    int err = ERR_INVALID;
    if (store_bucket_name_ok(bucket))
        err = pipeline_apply_bucket(o->pipeline, conn, bucket, owner,
                                    slice_str(conf_str(o->conf, CONF_REGION)),
                                    json_get_bool(w->body, "public", false), &w->why);
    else
        buf_puts(&w->why, "a bucket name has 3 to 63 of a-z, 0-9, dot and dash");
    if (err == ERR_NONE)
        w->reply = json_pack("{so}", "bucket", admin_text(bucket));
    return err;
}

void
admin_buckets_post(struct admin_service *s, struct http_request *r)
{
    json_t *body = admin_body(r);
    if (body != NULL)
        admin_submit(s, r, apply_bucket, body, 0);
}
