/*
 * Demands as tasks without an event: pictures on the fly, and trials, which end when the worker has
 * answered. They share workers, limits and steps with the events' tasks
 * and differ in this:
 *
 *   - nobody keeps them: what fails ends the demand, with a reason, and is not tried again
 *   - they do not take their key: a newer generation is the fence's business, when they load and
 *     when they commit
 *   - while nothing can be stored (dispatch_pause()) they are refused: an event waits, but a
 * request would cost a picture that nobody gets
 *   - one whose picture is there when it loads (made by an equal one that ended just before it was
 *     asked for) needs no worker
 *
 *   asked --> d->demands --lease--> LOADING -> LOADED -> RUNNING -> STORING -> COMMITTING
 *                |                     |          |          |          |           |
 *                +---------------------+----------+----------+----------+-----------+--> done()
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "pipeline/dispatch_priv.h"
#include "pipeline/provenance.h"

#include <stdio.h>

#define OP_BYTES 4096 /* rows that come with one operation, about */
#define STOPPING SLICE_LIT("shutting down")
#define NO_WORKER SLICE_LIT("no worker was free in time")
#define NO_STORAGE SLICE_LIT("nothing can be stored at the moment")

int
dispatch_demand(struct dispatch *d, struct dispatch_demand *dd)
{
    dd->next = NULL;
    lock_take(&d->lock);
    bool open = d->open && !d->stop_asked;
    if (open) {
        *d->asked_tail = dd;
        d->asked_tail = &dd->next;
        uv_async_send(&d->wake);
    }
    lock_release(&d->lock);
    return open ? ERR_NONE : ERR_CANCELED;
}

/* ---- the end ---- */

static void
finish(struct dispatch_demand *dd, enum demand_end end, struct slice reason)
{
    dd->end = end;
    demand_reason_copy(dd->reason, reason);
    dd->done(dd);
}

/* Ends the demand and frees the task. */
static void
end_task(struct task *t, enum demand_end end, struct slice reason)
{
    struct dispatch_demand *dd = t->demand;
    char kept[DEMAND_REASON_MAX]; /* it may lie in what goes with the task */
    demand_reason_copy(kept, reason);
    t->demand = NULL;
    t->d->demand_count--;
    t->d->dirty = true; /* perhaps a concurrency slot */
    task_free(t);
    finish(dd, end, slice_str(kept));
}

/* ---- waiting ---- */

void
demand_take(struct dispatch *d, struct dispatch_demand *list)
{
    for (struct dispatch_demand *dd = list, *next; dd != NULL; dd = next) {
        next = dd->next;
        dd->number = ++d->demand_number;
        dd->asked_ms = clock_mono_ms();
        dd->next = NULL;
        *d->demands_tail = dd;
        d->demands_tail = &dd->next;
    }
}

static struct dispatch_demand *
take_first(struct dispatch *d)
{
    struct dispatch_demand *dd = d->demands;
    d->demands = dd->next;
    if (d->demands == NULL)
        d->demands_tail = &d->demands;
    return dd;
}

bool
demand_room(const struct dispatch *d)
{
    int ahead = 0;
    if (d->demands == NULL || d->demand_count >= TASKS_PER_WORKER_MAX * d->load_max)
        return false;
    for (const struct task *t = d->tasks; t != NULL; t = t->next)
        ahead += t->demand != NULL && t->state <= TASK_LOADED;
    return ahead < d->load_max;
}

static void
lease_one(struct dispatch *d, struct function_set *set, const struct function *f)
{
    struct dispatch_demand *dd = take_first(d);
    const struct demand_spec *spec = &dd->spec;
    struct task *t = task_new(d);
    if (t == NULL) {
        finish(dd, DEMAND_ERROR, slice_str(err_text(ERR_NOMEM)));
        return;
    }
    t->demand = dd;
    t->lane = LANE_LIVE;
    t->set = set;
    __atomic_add_fetch(&set->refs, 1, __ATOMIC_RELAXED);
    t->functions[0] = f;
    t->calls[0] = (struct result_call){.revision = f->revision,
                                       .event = {.lane = LANE_LIVE,
                                                 .function = f->name,
                                                 .bucket_id = spec->bucket_id,
                                                 .bucket = spec->bucket,
                                                 .key = spec->key,
                                                 .request_id = spec->request_id,
                                                 .generation = spec->generation}};
    t->call_count = 1;
    d->demand_count++;
    d->demand_leased = true;
    task_load(t);
}

static void
refuse_all(struct dispatch *d, struct slice reason)
{
    while (d->demands != NULL)
        finish(take_first(d), DEMAND_ERROR, reason);
}

/* The function that a demand is for; NULL: it cannot be had, and why. A trial does not wait for its
 * function's turn: pictures that somebody waits for stand behind it. */
static const struct function *
function_of(const struct dispatch *d, const struct dispatch_demand *dd,
            const struct function_set *set, const char **why)
{
    bool is_trial = dd->trial.n > 0;
    const struct function *f = registry_find(set, is_trial ? dd->trial : NATIVE_THUMBNAIL_NAME);
    *why = NULL;
    if (f == NULL || (!is_trial && f->native.kind != NATIVE_THUMBNAIL))
        *why = "there is no such function";
    else if (f->reserved_concurrency == 0)
        *why = "the function is paused: its reserved concurrency is 0";
    else if (is_trial && dispatch_at_limit(d, f))
        *why = "the function is busy: its reserved concurrency is in use";
    return *why == NULL ? f : NULL;
}

void
demand_lease(struct dispatch *d, struct function_set *set)
{
    while (d->demands != NULL) {
        const char *why;
        const struct function *f = function_of(d, d->demands, set, &why);
        if (f == NULL)
            finish(take_first(d), DEMAND_ERROR, slice_str(why));
        else if (demand_room(d) && !dispatch_at_limit(d, f))
            lease_one(d, set, f);
        else
            return;
    }
}

/* Those that are LOADED and were asked for before that moment. */
static void
end_loaded(struct dispatch *d, int64_t asked_before_ms, struct slice reason)
{
    for (struct task *t = d->tasks, *next; t != NULL; t = next) {
        next = t->next;
        if (t->demand != NULL && t->state == TASK_LOADED && t->demand->asked_ms < asked_before_ms)
            end_task(t, DEMAND_ERROR, reason);
    }
}

void
demand_expire(struct dispatch *d)
{
    int64_t before_ms = clock_mono_ms() - conf_int(d->options.conf, CONF_DEMAND_WAIT);
    end_loaded(d, before_ms, NO_WORKER);
    while (d->demands != NULL && d->demands->asked_ms < before_ms)
        finish(take_first(d), DEMAND_ERROR, NO_WORKER);
}

static void
end_waiting(struct dispatch *d, struct slice reason)
{
    refuse_all(d, reason);
    end_loaded(d, INT64_MAX, reason);
}

void
demand_drop(struct dispatch *d)
{
    end_waiting(d, STOPPING);
}

void
demand_refuse(struct dispatch *d)
{
    end_waiting(d, NO_STORAGE);
}

/* ---- LOADING ---- */

/* The row of this very picture, made of this generation. */
static bool
row_of(const struct provenance *row, const struct demand_spec *spec)
{
    return row->source_generation == spec->generation && slice_eqs(row->preset, spec->preset.name);
}

bool
demand_at_hand(struct task *t)
{
    const struct demand_spec *spec = &t->demand->spec;
    const struct store_object *object = NULL;
    struct db_conn *conn = NULL;
    struct provenance *rows = NULL;
    bool there = false;
    if (t->demand->trial.n > 0 || db_read_begin(t->d->options.db, &conn) != ERR_NONE)
        return false;
    int err = provenance_list(conn, t->arena, spec->bucket_id, spec->key, &rows);
    db_read_end(t->d->options.db, &conn);
    if (err != ERR_NONE)
        return false;
    while (rows != NULL && !row_of(rows, spec))
        rows = rows->next;
    /* The row was durable before the demand that wrote it ended, and until then all joined that
     * one. A client may have removed or replaced the object since. */
    if (rows != NULL && store_get(registry_store(t->d->registry), rows->derived_bucket,
                                  rows->derived_key, &object) == ERR_NONE)
        there = object->generation == rows->derived_generation;
    store_object_unref(&object);
    return there;
}

static void
loaded(struct task *t)
{
    char reason[128];
    if (t->superseded) {
        end_task(t, DEMAND_STALE, SLICE_LIT("a newer generation exists"));
    } else if (t->err != ERR_NONE) {
        snprintf(reason, sizeof reason, "the source cannot be read: %s", err_text(t->err));
        end_task(t, DEMAND_ERROR, slice_str(reason));
    } else if (t->at_hand) {
        end_task(t, DEMAND_STORED, SLICE_NONE);
    } else {
        task_set(t, TASK_LOADED);
    }
}

/* ---- RUNNING ---- */

void
demand_config(const struct task *t, struct buf *out)
{
    struct preset_list list = {.presets = {t->demand->spec.preset}, .count = 1};
    if (t->demand->trial.n > 0) {
        native_call_config(&t->functions[0]->native, false, out);
        return;
    }
    list.fail_damaged = t->functions[0]->native.presets.fail_damaged;
    preset_config_write(&list, preset_is_followup(&list.presets[0]), out);
}

void
demand_begun(struct task *t, int err)
{
    if (err == ERR_NONE)
        t->demand->begun(t->demand);
    else
        end_task(t, DEMAND_ERROR, SLICE_LIT("the request could not be made"));
}

/* ---- COMMITTING ---- */

static int
commit_apply(struct db_op *op, struct db_conn *conn)
{
    return demand_result_apply(&CONTAINER_OF(op, struct task, op)->demand_result, conn);
}

static void
commit(struct task *t)
{
    struct demand_result *r = &t->demand_result;
    size_t bytes = OP_BYTES;
    if (r->end == DEMAND_STORED) {
        CHK(r->output.output != NULL);
        if (r->output.output->bytes <= STORE_INLINE_MAX)
            bytes += (size_t)r->output.output->bytes;
    }
    r->revision = t->calls[0].revision;
    r->pid = t->inv.pid;
    r->started_ms = t->inv.started_ms;
    r->run_us = t->inv.run_us;
    r->cpu_us = t->inv.cpu_us;
    r->rss_bytes = t->inv.rss_peak_bytes;
    report_usage(t, &r->usage);
    task_commit(t, commit_apply, bytes);
}

/* When all that was lost is a line of the history, the demand ends as it would have. */
void
demand_not_committed(struct task *t, int err)
{
    const struct demand_result *r = &t->demand_result;
    char reason[128];
    log_line(LOG_WARN, "demand_not_committed", "error=%s", err_name(err));
    if (err_is_storage(err))
        dispatch_pause(t->d);
    if (r->end != DEMAND_STORED) {
        end_task(t, r->end, r->reason);
        return;
    }
    snprintf(reason, sizeof reason, "the picture cannot be stored: %s", err_text(err));
    end_task(t, DEMAND_ERROR, slice_str(reason));
}

static void
committed(struct task *t)
{
    if (t->err != ERR_NONE) {
        demand_not_committed(t, t->err);
        return;
    }
    report_committed(t);
    end_task(t, t->demand_result.ended, slice_str(t->demand_result.why));
}

/* ---- STORING ---- */

void
demand_answered(struct invocation *inv)
{
    struct task *t = CONTAINER_OF(inv, struct task, inv);
    struct demand_result *r = &t->demand_result;
    const struct fn_output *output = NULL;
    t->d->dirty = true; /* a place to load ahead, perhaps a concurrency slot */
    report_ended(t);
    if (inv->outcome == INVOKE_CANCELED || t->demand->trial.n > 0)
        t->d->idle_cpu_us += inv->cpu_us; /* it has no commit that could take it */
    if (inv->outcome == INVOKE_CANCELED) {
        end_task(t, DEMAND_ERROR, STOPPING);
        return;
    }
    if (t->demand->trial.n > 0) {
        t->demand->tried(t->demand, inv);
        end_task(t, DEMAND_TRIED, SLICE_NONE);
        return;
    }
    *r = (struct demand_result){.registry = t->d->registry, .spec = &t->demand->spec};
    if (inv->outcome == INVOKE_ANSWERED) {
        demand_result_judge(r, &inv->result.answers[0], &output);
    } else {
        r->end = DEMAND_ERROR;
        r->outcome = invoke_outcome_name(inv->outcome);
        r->reason = slice_str(inv->reason);
    }
    if (output == NULL) {
        commit(t);
        return;
    }
    t->calls[0].answer = &inv->result.answers[0];
    task_store(t);
}

static void
stored(struct task *t)
{
    if (t->err != ERR_NONE) {
        dispatch_pause(t->d); /* the bytes could not be kept */
        demand_not_committed(t, t->err);
        return;
    }
    t->demand_result.output = t->calls[0].outputs[0];
    commit(t);
}

const struct task_road demand_road = {loaded, stored, committed};
