/*
 * Answers of `thumbnail` made by hand and committed as the dispatcher would, without any worker:
 * for a waiting event of a key in "photos", one output per preset of its pass.
 */
#ifndef DARKROOM_TESTS_PIPELINE_ANSWER_H
#define DARKROOM_TESTS_PIPELINE_ANSWER_H

#include "pipeline/result.h"
#include "tests/pipeline/rig.h"

struct answer {
    struct arena *a;
    struct function_set *set;
    struct queue_event event;
    struct fn_output outputs[PRESETS_MAX];
    struct fn_answer answer;
    struct result_output loaded[PRESETS_MAX];
    struct result_call call;
    struct result result;
};

static RIG_UNUSED int64_t
rig_bucket_id(struct rig *r, const char *name)
{
    const struct store_bucket *b = NULL;
    CHK(store_bucket_get(r->store, slice_str(name), &b) == ERR_NONE);
    int64_t id = b->id;
    store_bucket_unref(&b);
    return id;
}

struct answer_event {
    struct arena *a;
    struct queue_event *event;
    const char *function;
    bool any;
};

static int
answer_event_fn(void *arg, const struct queue_event *e)
{
    struct answer_event *f = arg;
    if (!slice_eqs(e->function, f->function))
        return 0;
    f->any = true;
    CHK(queue_event_copy(f->a, e, f->event) == ERR_NONE);
    return 1;
}

/* The first waiting event of a key for that function, in the arena. */
static RIG_UNUSED bool
answer_event(struct rig *r, struct arena *a, const char *key, const char *function,
             struct queue_event *out)
{
    struct answer_event f = {.a = a, .function = function, .event = out};
    struct db_conn *conn = NULL;
    int64_t id = rig_bucket_id(r, "photos");
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(queue_of_key(conn, id, slice_str(key), answer_event_fn, &f) == ERR_NONE);
    db_read_end(r->db, &conn);
    return f.any;
}

static RIG_UNUSED void
answer_sealed(void *arg, int err)
{
    (void)arg;
    CHK(err == ERR_NONE);
}

static RIG_UNUSED void
answer_output(struct rig *r, struct answer *m, const struct preset *p)
{
    size_t i = m->answer.output_count++;
    m->outputs[i] = (struct fn_output){.name = slice_str(p->name),
                                       .status = FN_OK,
                                       .bytes = 5,
                                       .width = 1,
                                       .height = 1,
                                       .fd = fsio_memfd("out", SLICE_LIT("bytes"))};
    CHK(result_output_load(r->store, &m->outputs[i], &m->loaded[i]) == ERR_NONE);
    store_put_seal(m->loaded[i].put, answer_sealed, NULL); /* small: done at once */
}

static RIG_UNUSED void
answer_make(struct rig *r, struct answer *m, const char *key, enum fn_status status)
{
    struct db_conn *conn = NULL;
    *m = (struct answer){.a = arena_new(1 << 20)};
    CHK(answer_event(r, m->a, key, "thumbnail", &m->event));
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(registry_get(pipeline_registry(r->pipeline), conn, &m->set) == ERR_NONE);
    db_read_end(r->db, &conn);
    const struct function *f = registry_find(m->set, SLICE_LIT("thumbnail"));
    m->answer = (struct fn_answer){
        .name = f->name, .status = status, .reason = SLICE_LIT("a reason"), .outputs = m->outputs};
    for (size_t i = 0; i < f->native.presets.count && status == FN_OK; i++) {
        if (native_in_pass(&f->native, &f->native.presets.presets[i], m->event.followup))
            answer_output(r, m, &f->native.presets.presets[i]);
    }
    m->call = (struct result_call){
        .event = m->event, .revision = f->revision, .answer = &m->answer, .outputs = m->loaded};
    m->result = (struct result){.registry = pipeline_registry(r->pipeline),
                                .retry_base_ms = 1,
                                .calls = &m->call,
                                .call_count = 1,
                                .pid = 1,
                                .usage = {.bucket = m->event.bucket,
                                          .key = m->event.key,
                                          .calls = {{.function = f->name}},
                                          .call_count = 1}};
}

static RIG_UNUSED int
answer_commit_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return result_apply(&((struct answer *)arg)->result, conn);
}

static RIG_UNUSED void
answer_commit(struct rig *r, struct answer *m)
{
    CHK(rig_call(r, answer_commit_fn, m) == ERR_NONE);
    for (size_t i = 0; i < m->answer.output_count; i++) {
        if (m->loaded[i].put != NULL)
            store_put_end(&m->loaded[i].put);
        if (m->outputs[i].fd >= 0)
            close(m->outputs[i].fd);
    }
    registry_unref(&m->set);
    arena_free(&m->a);
}

static RIG_UNUSED void
answer_done(struct rig *r, const char *key, enum fn_status status)
{
    struct answer m;
    answer_make(r, &m, key, status);
    answer_commit(r, &m);
}

#endif
