/*
 * POST /_/invoke: one function on one object, now.
 *
 *   as it is      a trial: workers, sandbox, limits and configuration of an ordinary event; what it
 *                 made is described and thrown away. At most TRIALS_MAX at a time.
 *   "commit"      the ordinary event, in the live lane, as the upload would raise it: a rule must
 *                 give the object to the function. Answered when the event is durable.
 *
 * A trial belongs to the HTTP thread until dispatch_demand() takes it, then to the dispatcher's
 * thread, which answers the request.
 */
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "pipeline/admin_priv.h"
#include "pipeline/dispatch.h"
#include "pipeline/native_item.h"
#include "pipeline/rule.h"

#include <stdatomic.h>
#include <stdlib.h>

#define TRIALS_MAX 8
#define STATUS_WORDS 5

static atomic_int trials;

struct trial {
    struct dispatch_demand demand;
    struct http_request *request;
    const struct store_object *object;
    json_t *body; /* holds the names */
    json_t *reply;
};

/* ---- what came of it ---- */

static const char *
status_word(enum fn_status s)
{
    static const char *const words[STATUS_WORDS] = {
        [FN_OK] = "ok", [FN_SKIPPED] = "skipped", [FN_FAILED] = "failed", [FN_ERROR] = "error"};
    return words[s];
}

static json_t *
output_json(const struct fn_output *o)
{
    return json_pack("{so ss so so sI si si}", "name", admin_text(o->name), "status",
                     status_word(o->status), "reason", admin_text(o->reason), "content_type",
                     admin_text(o->content_type), "bytes", (json_int_t)o->bytes, "width", o->width,
                     "height", o->height);
}

static json_t *
attr_json(const struct fn_attr *a)
{
    struct buf text;
    if (a->type == 'T' || a->type == 'F')
        return json_boolean(a->type == 'T');
    if (a->type != 'B')
        return admin_text(a->value);
    buf_init(&text, 2 * FN_TEXT_MAX);
    base64_encode(&text, a->value.p, a->value.n);
    json_t *value = admin_text(buf_slice(&text));
    buf_fini(&text);
    return value;
}

static void
put_answer(json_t *reply, const struct fn_answer *answer)
{
    json_t *outputs = json_array();
    json_t *attrs = json_object();
    for (size_t i = 0; i < answer->output_count; i++)
        json_array_append_new(outputs, output_json(&answer->outputs[i]));
    for (size_t i = 0; i < answer->attr_count; i++) {
        char name[FN_NAME_MAX + 1] = "";
        struct slice n = answer->attrs[i].name;
        memcpy(name, n.p, n.n < FN_NAME_MAX ? n.n : FN_NAME_MAX);
        json_object_set_new(attrs, name, attr_json(&answer->attrs[i]));
    }
    json_object_set_new(reply, "outcome", json_string(status_word(answer->status)));
    json_object_set_new(reply, "reason", admin_text(answer->reason));
    json_object_set_new(reply, "outputs", outputs);
    json_object_set_new(reply, "attributes", attrs);
}

static void
on_tried(struct dispatch_demand *dd, const struct invocation *inv)
{
    struct trial *t = CONTAINER_OF(dd, struct trial, demand);
    t->reply =
        json_pack("{so so so sI sI sI sI sI so ss ss}", "function", admin_text(dd->trial), "bucket",
                  admin_text(dd->spec.bucket), "key", admin_text(dd->spec.key), "generation",
                  (json_int_t)dd->spec.generation, "run_us", (json_int_t)inv->run_us, "cpu_us",
                  (json_int_t)inv->cpu_us, "rss_bytes", (json_int_t)inv->rss_peak_bytes, "pid",
                  (json_int_t)inv->pid, "stderr", admin_text(inv->stderr_tail), "outcome",
                  invoke_outcome_name(inv->outcome), "reason", inv->reason);
    if (t->reply != NULL && inv->outcome == INVOKE_ANSWERED)
        put_answer(t->reply, &inv->result.answers[0]);
}

static void
trial_free(struct trial *t)
{
    store_object_unref(&t->object);
    json_decref(t->reply);
    json_decref(t->body);
    free(t);
    atomic_fetch_sub(&trials, 1);
}

static void
on_begun(struct dispatch_demand *dd)
{
    (void)dd;
}

static void
on_done(struct dispatch_demand *dd)
{
    struct trial *t = CONTAINER_OF(dd, struct trial, demand);
    struct http_request *r = t->request;
    if (dd->end == DEMAND_TRIED)
        admin_reply_json(r, 200, json_incref(t->reply));
    else
        admin_reply_error(r, dd->end == DEMAND_STALE ? ERR_CONFLICT : ERR_BUSY,
                          slice_str(dd->reason));
    trial_free(t);
    http_resume(r);
}

/* ---- asked for ---- */

/* The names are text of `body`, which is taken. */
static void
try_object(struct admin_service *s, struct http_request *r, const struct store_object *o,
           json_t *body)
{
    struct trial *t = chk_calloc(1, sizeof *t);
    *t = (struct trial){.demand = {.spec = {.bucket_id = o->bucket_id,
                                            .bucket = json_get_str(body, "bucket"),
                                            .key = json_get_str(body, "key"),
                                            .generation = o->generation},
                                   .begun = on_begun,
                                   .done = on_done,
                                   .trial = json_get_str(body, "function"),
                                   .tried = on_tried},
                        .request = r,
                        .object = o,
                        .body = body};
    if (atomic_fetch_add(&trials, 1) >= TRIALS_MAX) {
        admin_reply_error(r, ERR_BUSY, SLICE_LIT("too many functions are being tried"));
        trial_free(t);
        return;
    }
    http_suspend(r);
    int err = dispatch_demand(pipeline_dispatch(s->options.pipeline), &t->demand);
    if (err == ERR_NONE)
        return;
    admin_reply_error(r, err, SLICE_LIT("shutting down"));
    trial_free(t);
    http_resume(r);
}

/* ---- commit ---- */

/* Does a rule give this object to this function? */
static bool
has_rule(const struct rule_list *rules, struct slice function, struct slice key)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct notification_rule *rule = &rules->rules[i];
        if (slice_eq(rule->function, function) && rule_matches(rule, EVENT_RESTORED, key))
            return true;
    }
    return false;
}

static int
add_event(struct admin_write *w, struct db_conn *conn, struct arena *a,
          const struct store_object *o, const struct function_set *set, const struct function *f)
{
    struct rule_list rules;
    struct slice bucket = json_get_str(w->body, "bucket");
    int err = rule_load(conn, o->bucket_id, a, &rules);
    if (err != ERR_NONE)
        return err;
    if (!has_rule(&rules, f->name, o->key)) {
        buf_printf(&w->why, "no rule gives this object to %.*s: see darkroom rules add",
                   SLICE_FMT(f->name));
        return ERR_NOTFOUND;
    }
    struct queue_event e = {.lane = LANE_LIVE,
                            .function = f->name,
                            .bucket_id = o->bucket_id,
                            .bucket = bucket,
                            .key = o->key,
                            .generation = o->generation,
                            .type = EVENT_CREATED_PUT,
                            .request_id = slice_str(w->request->id)};
    err = queue_apply_add(conn, &e);
    bool is_thumbnail = f->native.kind == NATIVE_THUMBNAIL;
    bool is_metadata = f->native.kind == NATIVE_METADATA;
    if (err == ERR_NONE && !o->by_function && (is_thumbnail || is_metadata))
        err = native_item_pending(conn, a, set, bucket, o, is_thumbnail ? f : NULL, is_metadata);
    if (err == ERR_NONE)
        w->reply = json_pack("{sI sI}", "event_id", (json_int_t)e.id, "generation",
                             (json_int_t)o->generation);
    return err;
}

static int
apply_commit(struct admin_write *w, struct db_conn *conn)
{
    struct registry *registry = pipeline_registry(w->service->options.pipeline);
    struct store *store = registry_store(registry);
    const struct store_object *o = NULL;
    struct function_set *set = NULL;
    struct slice owner;
    int64_t bucket_id = 0;
    struct arena *a = arena_new(RULE_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err =
        store_apply_bucket_get(store, conn, json_get_str(w->body, "bucket"), &bucket_id, a, &owner);
    if (err == ERR_NONE)
        err = store_apply_get(store, conn, bucket_id, json_get_str(w->body, "key"), &o);
    if (err == ERR_NOTFOUND)
        buf_puts(&w->why, "no such object");
    if (err == ERR_NONE)
        err = registry_get(registry, conn, &set);
    const struct function *f =
        err == ERR_NONE ? registry_find(set, json_get_str(w->body, "function")) : NULL;
    if (err == ERR_NONE && f == NULL)
        err = ERR_NOTFOUND; /* gone since it was asked for */
    if (err == ERR_NONE)
        err = add_event(w, conn, a, o, set, f);
    registry_unref(&set);
    store_object_unref(&o);
    arena_free(&a);
    return err;
}

/* ---- the page ---- */

static int
check_function(struct admin_service *s, struct slice name, struct buf *why)
{
    struct function_set *set = NULL;
    struct db_conn *conn = NULL;
    int err = db_read_begin(s->options.db, &conn);
    if (err != ERR_NONE)
        return err;
    err = registry_get(pipeline_registry(s->options.pipeline), conn, &set);
    db_read_end(s->options.db, &conn);
    if (err == ERR_NONE && registry_find(set, name) == NULL) {
        buf_printf(why, "no such function: %.*s", SLICE_FMT(name));
        err = ERR_NOTFOUND;
    }
    registry_unref(&set);
    return err;
}

void
admin_invoke(struct admin_service *s, struct http_request *r)
{
    const struct store_object *o = NULL;
    struct buf why;
    json_t *body = admin_body(r);
    if (body == NULL)
        return;
    buf_init(&why, ADMIN_WHY_MAX);
    int err = check_function(s, json_get_str(body, "function"), &why);
    if (err == ERR_NONE) {
        err = store_get(registry_store(pipeline_registry(s->options.pipeline)),
                        json_get_str(body, "bucket"), json_get_str(body, "key"), &o);
        if (err == ERR_NOPARENT || err == ERR_NOTFOUND)
            buf_puts(&why, err == ERR_NOPARENT ? "no such bucket" : "no such object");
    }
    if (err != ERR_NONE) {
        admin_reply_error(r, err, buf_slice(&why));
        json_decref(body);
    } else if (json_get_bool(body, "commit", false)) {
        store_object_unref(&o);
        admin_submit(s, r, apply_commit, body, 0);
    } else {
        try_object(s, r, o, body);
    }
    buf_fini(&why);
}
