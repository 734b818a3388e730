/*
 * What becomes of each call of an invocation, decided on the writer thread against the state of the
 * world at that moment:
 *
 *   event gone                         nothing: superseded, or its batch was canceled
 *   generation is not the current one  acknowledged as superseded, nothing written
 *   revision is not the current one    nothing written, the event stays, no attempt counted
 *   follow-up of other presets         acknowledged, and the first pass is made again
 *   failed (also: a bad answer)        attempt counted: delayed, or dead with a failed verdict
 *   ready, skipped, failed for good    verdict, acknowledgement, follow-up event: all at once
 *
 * Each outcome leaves a row in the history, and what it took goes to the account. The calls of one
 * invocation share the transaction but not their fate.
 */
#include "pipeline/result.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plant.h"
#include "base/stat.h"
#include "pipeline/batch.h"
#include "pipeline/verdict.h"
#include "pipeline/reason.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CALL_ARENA_BYTES (256u << 10)
#define LOAD_STEP (64u << 10)

/* ---- bytes of an output ---- */

static int
load_bytes(struct store_put *put, const struct fn_output *o, struct digester *digest)
{
    int err = ERR_NONE;
    char *step = malloc(LOAD_STEP);
    if (step == NULL)
        return ERR_NOMEM;
    for (int64_t at = 0; at < o->bytes && err == ERR_NONE;) {
        size_t want = o->bytes - at < (int64_t)LOAD_STEP ? (size_t)(o->bytes - at) : LOAD_STEP;
        ssize_t n = pread(o->fd, step, want, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err = n < 0 ? ERR_IO : ERR_SHORT;
            break;
        }
        digester_update(digest, step, (size_t)n);
        err = store_put_write(put, step, (size_t)n);
        at += n;
    }
    free(step);
    return err;
}

int
result_output_load(struct store *s, const struct fn_output *o, struct result_output *out)
{
    *out = (struct result_output){.output = o};
    if (o->status != FN_OK)
        return ERR_NONE;
    struct digester *digest = digester_new(DIGEST_MD5, CHECKSUM_NONE);
    if (digest == NULL)
        return ERR_NOMEM;
    int err = store_put_begin(s, &out->put, o->bytes);
    if (err == ERR_NONE)
        err = load_bytes(out->put, o, digest);
    if (err == ERR_NONE) {
        digester_end(digest);
        hex_encode(digester_md5(digest), MD5_BYTES, out->etag);
    } else {
        store_put_end(&out->put);
    }
    digester_free(&digest);
    return err;
}

/* ---- one call ---- */

struct judge {
    const struct result *r;
    struct result_call *call;
    struct db_conn *conn;
    struct arena *a;
    const struct function_set *set;
    const struct function *function;   /* NULL: no longer configured */
    const struct store_object *object; /* NULL: the key is gone */
    struct queue_event event;          /* as it is now */
};

static int
remember(const struct judge *j, const char *outcome, struct slice reason)
{
    const struct result *r = j->r;
    struct history_attempt attempt = {.event_id = j->call->event.id,
                                      .bucket_id = j->call->event.bucket_id,
                                      .key = j->call->event.key,
                                      .generation = j->call->event.generation,
                                      .function = j->call->event.function,
                                      .revision = j->call->revision,
                                      .pid = r->pid,
                                      .queued_ms = j->call->event.created_ms,
                                      .started_ms = r->started_ms,
                                      .run_us = r->run_us,
                                      .cpu_us = r->cpu_us,
                                      .rss_bytes = r->rss_bytes,
                                      .outcome = slice_str(outcome),
                                      .reason = reason,
                                      .stderr_tail = r->stderr_tail};
    j->call->ended = outcome;
    j->call->reason_class = reason_class(reason);
    return history_apply_add(j->conn, j->a, &attempt);
}

static enum batch_outcome
batch_outcome_of(enum fn_status status)
{
    return status == FN_OK        ? BATCH_OUTCOME_DONE
           : status == FN_SKIPPED ? BATCH_OUTCOME_SKIPPED
                                  : BATCH_OUTCOME_FAILED;
}

static int
batch_ended(const struct judge *j, enum batch_outcome outcome, struct slice reason)
{
    return j->event.batch_id == 0 ? ERR_NONE
                                  : batch_apply_ended(j->conn, &j->event, outcome, reason);
}

static int
superseded(const struct judge *j)
{
    int err = queue_apply_ack(j->conn, &j->event, QUEUE_SUPERSEDED);
    if (err == ERR_NONE)
        err = batch_ended(j, BATCH_OUTCOME_DONE, SLICE_NONE);
    if (err != ERR_NONE || j->r->pid == 0) /* it never ran */
        return err;
    STAT_INC(results_fenced_total);
    return remember(j, "superseded", SLICE_LIT("a newer generation exists"));
}

static struct verdict
verdict_of(const struct judge *j, enum fn_status status, struct slice reason)
{
    return (struct verdict){.registry = j->r->registry,
                            .set = j->set,
                            .function = j->function,
                            .event = &j->event,
                            .object = j->object,
                            .status = status,
                            .reason = reason,
                            .outputs = j->call->outputs};
}

/* The verdict of a dead event. An item or a derived object that cannot be changed must not keep the
 * event from its dead letter: then it would be tried for ever. */
static int
bury(const struct judge *j, struct slice reason)
{
    struct verdict_outcome worst;
    struct verdict v = verdict_of(j, FN_FAILED, reason);
    int err = db_part_begin(j->conn);
    if (err != ERR_NONE)
        return err;
    int verdict = verdict_apply(&v, j->conn, &worst);
    if (err_is_storage(verdict))
        return verdict;
    err = db_part_end(j->conn, verdict == ERR_NONE);
    if (verdict == ERR_NONE || err != ERR_NONE)
        return err;
    log_line(LOG_WARN, "verdict_not_written", "event_id=%lld error=%s", (long long)j->event.id,
             err_name(verdict));
    return verdict_apply_notice(&v, j->conn);
}

static int
failed(const struct judge *j, const char *outcome, struct slice reason)
{
    bool dead = false;
    struct queue_retry retry = {.retries_max = j->function->retries_max,
                                .event_age_max_s = j->function->event_age_max_s,
                                .base_ms = j->r->retry_base_ms};
    if (!slice_is_utf8(reason))
        reason = SLICE_LIT("unreadable reason");
    int err = remember(j, outcome, reason);
    if (err == ERR_NONE)
        err = queue_apply_fail(j->conn, &j->event, slice_str(outcome), reason, &retry, &dead);
    if (err == ERR_NONE && dead)
        err = bury(j, reason);
    if (err == ERR_NONE && dead)
        err = batch_ended(j, BATCH_OUTCOME_FAILED, reason);
    return err;
}

/* Secondary formats come later, in the lane of what they follow. */
static int
add_followup(const struct judge *j)
{
    struct queue_event e = j->event;
    if (j->event.followup || !native_wants_followup(&j->function->native))
        return ERR_NONE;
    e.lane = j->event.lane == LANE_BATCH ? LANE_BATCH : LANE_FOLLOWUP;
    e.followup = true;
    e.followup_of = native_presets_mark(&j->function->native);
    e.batch_id = e.batch_worst = e.attempts = 0;
    e.created_ms = e.not_before_ms = 0;
    e.reason = SLICE_NONE;
    return queue_apply_add(j->conn, &e);
}

/* The presets have changed between the passes: those of the first pass are not the ones that this
 * one would keep, so both are made of the new ones. */
static int
start_over(const struct judge *j)
{
    struct queue_event e = j->event;
    e.followup = false;
    e.followup_of = 0;
    e.attempts = 0;
    e.created_ms = e.not_before_ms = 0;
    e.reason = SLICE_NONE;
    STAT_INC(results_fenced_total);
    int err = queue_apply_ack(j->conn, &j->event, QUEUE_SUPERSEDED);
    if (err == ERR_NONE)
        err = queue_apply_add(j->conn, &e);
    return err == ERR_NONE ? remember(j, "fenced", SLICE_LIT("the presets have changed")) : err;
}

static int
answered(const struct judge *j)
{
    const struct fn_answer *answer = j->call->answer;
    struct verdict_outcome worst;
    struct buf why;
    buf_init(&why, QUEUE_REASON_MAX);
    int err = verdict_check(j->function, j->event.followup, answer, &why);
    if (err == ERR_INVALID || why.err != 0) {
        err = failed(j, "error", buf_slice(&why));
        buf_fini(&why);
        return err;
    }
    buf_fini(&why);
    struct verdict v = verdict_of(j, answer->status, answer->reason);
    v.answer = answer;
    if (err == ERR_NONE)
        err = verdict_apply(&v, j->conn, &worst);
    if (err == ERR_NONE)
        err = queue_apply_ack(j->conn, &j->event, QUEUE_ACKED);
    if (err == ERR_NONE && answer->status == FN_OK)
        err = add_followup(j);
    if (err == ERR_NONE)
        err = batch_ended(j, batch_outcome_of(worst.status), worst.reason);
    if (err == ERR_NONE)
        err = remember(j,
                       worst.status == FN_OK        ? "ready"
                       : worst.status == FN_SKIPPED ? "skipped"
                                                    : "failed",
                       slice_is_utf8(answer->reason) ? answer->reason : SLICE_NONE);
    return err;
}

static int
judge(struct judge *j)
{
    struct result_call *call = j->call;
    call->ended = call->reason_class = NULL;
    int err = queue_get(j->conn, call->event.id, j->a, &j->event);
    if (err == ERR_NOTFOUND) {
        STAT_INC(results_fenced_total);
        return j->r->pid == 0 ? ERR_NONE : remember(j, "superseded", SLICE_NONE);
    }
    if (err != ERR_NONE)
        return err;
    if (j->object == NULL ||
        (j->object->generation != call->event.generation && !(plant_no_fence && j->r->pid != 0)))
        return superseded(j);
    j->function = registry_find(j->set, call->event.function);
    if (call->uncounted)
        return ERR_NONE;
    if (j->function == NULL)
        return queue_apply_ack(j->conn, &j->event, QUEUE_ACKED);
    if (j->function->revision != call->revision) {
        STAT_INC(results_fenced_total);
        return remember(j, "fenced", SLICE_LIT("the function's configuration has changed"));
    }
    if (j->event.followup && j->event.followup_of != native_presets_mark(&j->function->native))
        return start_over(j);
    if (call->answer == NULL)
        return failed(j, call->outcome, call->reason);
    if (call->answer->status == FN_ERROR)
        return failed(j, "error", call->answer->reason);
    return answered(j);
}

int
result_apply(const struct result *r, struct db_conn *conn)
{
    struct function_set *set = NULL;
    const struct store_object *object = NULL;
    CHK(r->call_count > 0);
    const struct queue_event *first = &r->calls[0].event;
    int err =
        store_apply_get(registry_store(r->registry), conn, first->bucket_id, first->key, &object);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT)
        err = ERR_NONE;
    if (err == ERR_NONE)
        err = registry_get(r->registry, conn, &set);
    for (size_t i = 0; i < r->call_count && err == ERR_NONE; i++) {
        struct judge j = {.r = r, .call = &r->calls[i], .conn = conn, .set = set, .object = object};
        j.a = arena_new(CALL_ARENA_BYTES);
        err = j.a == NULL ? ERR_NOMEM : judge(&j);
        arena_free(&j.a);
    }
    if (err == ERR_NONE && r->pid != 0)
        err = usage_apply_invocation(conn, &r->usage);
    registry_unref(&set);
    store_object_unref(&object);
    return err;
}
