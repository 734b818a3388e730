/*
 * What a task leaves behind for people and for accounts: lines in the log, statistics, usage.
 *
 * The line REPORT is Lambda's, one per invocation, with the same numbers: duration, billed duration
 * (up to the next ms), memory size (configured), max memory used. It is one write(2) of about 300
 * bytes, some 3 us; everything else about a task is logged at the level debug.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "pipeline/dispatch_priv.h"
#include "pipeline/reason.h"

#include <stdio.h>
#include <stdlib.h>

#define IDLE_WRITE_MS 1000
#define FUNCTIONS_TEXT_MAX (FN_PER_REQUEST_MAX * (FN_NAME_MAX + 1))

/* "metadata+thumbnail" */
static const char *
functions_of(const struct task *t, char out[FUNCTIONS_TEXT_MAX])
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < t->call_count && n < FUNCTIONS_TEXT_MAX; i++)
        n += (size_t)snprintf(out + n, FUNCTIONS_TEXT_MAX - n, "%s%.*s", i == 0 ? "" : "+",
                              SLICE_FMT(t->calls[i].event.function));
    return out;
}

static struct slice
request_id(const struct task *t)
{
    struct slice id = t->calls[0].event.request_id;
    return id.n == 0 ? SLICE_LIT("-") : id;
}

/* ---- begun ---- */

void
report_begun(const struct task *t)
{
    char functions[FUNCTIONS_TEXT_MAX], key[LOG_QUOTE_MAX];
    const struct queue_event *e = &t->calls[0].event;
    if (t->demand == NULL)
        stat_observe_us(HISTOGRAM_stage_queued, (t->inv.started_ms - e->created_ms) * 1000);
    if (log_enabled(LOG_DEBUG))
        log_line(LOG_DEBUG, "invoke",
                 "request_id=%.*s functions=%s bucket=%.*s key=%s generation=%lld event_id=%lld "
                 "attempt=%d lane=%s batch_id=%lld pid=%lld invocation=%lld",
                 SLICE_FMT(request_id(t)), functions_of(t, functions), SLICE_FMT(e->bucket),
                 log_quote(e->key, key), (long long)e->generation, (long long)e->id,
                 e->attempts + 1, t->demand != NULL ? "demand" : queue_lane_name(t->lane),
                 (long long)e->batch_id, (long long)t->inv.pid, (long long)t->inv.request.id);
}

/* ---- ended ---- */

/* The worker's word: within the time that the whole took, or not believed. */
static void
observe_stages(const struct task *t)
{
    const struct fn_result *res = &t->inv.result;
    if (res->decode.run_us <= t->inv.run_us && res->decode.run_us > 0)
        stat_observe_us(HISTOGRAM_stage_decode, res->decode.run_us);
    for (size_t i = 0; i < res->answer_count; i++) {
        for (size_t k = 0; k < res->answers[i].output_count; k++) {
            const struct fn_output *o = &res->answers[i].outputs[k];
            if (o->status == FN_OK && o->cost.run_us <= t->inv.run_us)
                stat_observe_us(HISTOGRAM_stage_encode, o->cost.run_us);
        }
    }
}

static void
log_report(const struct task *t)
{
    const struct invocation *inv = &t->inv;
    char functions[FUNCTIONS_TEXT_MAX], key[LOG_QUOTE_MAX];
    if (!log_enabled(LOG_INFO))
        return;
    log_line(LOG_INFO, "REPORT",
             "request_id=%.*s functions=%s bucket=%.*s key=%s duration_ms=%.2f "
             "billed_duration_ms=%lld memory_size_mb=%lld max_memory_used_mb=%lld cpu_ms=%.2f "
             "outcome=\"%s\" pid=%lld",
             SLICE_FMT(request_id(t)), functions_of(t, functions),
             SLICE_FMT(t->calls[0].event.bucket), log_quote(t->calls[0].event.key, key),
             (double)inv->run_us / 1e3, (long long)usage_billed_ms(inv->run_us),
             (long long)(inv->memory_bytes >> 20),
             (long long)((inv->rss_peak_bytes + (1 << 20) - 1) >> 20), (double)inv->cpu_us / 1e3,
             invoke_outcome_name(inv->outcome), (long long)inv->pid);
}

void
report_ended(struct task *t)
{
    t->answered_us = clock_mono_us();
    stat_observe_us(HISTOGRAM_invocation, t->inv.run_us);
    if (t->inv.outcome == INVOKE_ANSWERED)
        observe_stages(t);
    log_report(t);
}

/* ---- committed ---- */

static void
count_outcome(const char *outcome, const char *reason)
{
    if (outcome != NULL)
        stat_count(FAMILY_attempts, outcome, reason == NULL ? "" : reason, "");
}

static void
log_committed(const struct task *t, const struct queue_event *e, const char *outcome)
{
    char key[LOG_QUOTE_MAX];
    if (log_enabled(LOG_DEBUG))
        log_line(LOG_DEBUG, "result_committed",
                 "request_id=%.*s function=%.*s bucket=%.*s key=%s generation=%lld outcome=\"%s\"",
                 SLICE_FMT(request_id(t)), SLICE_FMT(e->function), SLICE_FMT(e->bucket),
                 log_quote(e->key, key), (long long)e->generation, outcome);
}

void
report_committed(const struct task *t)
{
    if (t->answered_us != 0)
        stat_observe_us(HISTOGRAM_stage_commit, clock_mono_us() - t->answered_us);
    if (t->demand != NULL) {
        const char *outcome = demand_result_outcome(&t->demand_result);
        count_outcome(outcome, reason_class(t->demand_result.reason));
        log_committed(t, &t->calls[0].event, outcome);
        return;
    }
    for (size_t i = 0; i < t->call_count; i++) {
        count_outcome(t->calls[i].ended, t->calls[i].reason_class);
        if (t->calls[i].ended != NULL)
            log_committed(t, &t->calls[i].event, t->calls[i].ended);
    }
}

/* ---- the account ---- */

void
report_usage(const struct task *t, struct usage_invocation *out)
{
    const struct queue_event *e = &t->calls[0].event;
    *out = (struct usage_invocation){.started_ms = t->inv.started_ms,
                                     .bucket = e->bucket,
                                     .key = e->key,
                                     .source_bytes = t->inv.request.source_bytes,
                                     .memory_mb = t->functions[0]->memory_mb,
                                     .run_us = t->inv.run_us,
                                     .cpu_us = t->inv.cpu_us,
                                     .decode = t->inv.result.decode,
                                     .call_count = t->call_count};
    for (size_t i = 0; i < t->call_count; i++)
        out->calls[i] = (struct usage_call){.function = t->functions[i]->name,
                                            .answer = t->calls[i].answer,
                                            .on_the_fly = t->demand != NULL};
}

struct idle_op {
    struct db_op op;
    int64_t day, cpu_us;
};

static int
idle_apply(struct db_op *op, struct db_conn *conn)
{
    struct idle_op *o = CONTAINER_OF(op, struct idle_op, op);
    return usage_apply_idle(conn, o->day, o->cpu_us);
}

static void
idle_done(struct db_op *op, int err)
{
    struct idle_op *o = CONTAINER_OF(op, struct idle_op, op);
    if (err != ERR_NONE)
        log_line(LOG_WARN, "usage_not_written", "cpu_us=%lld error=%s", (long long)o->cpu_us,
                 err_name(err));
    free(o);
}

bool
report_idle(struct dispatch *d, bool now)
{
    d->idle_cpu_us += runtime_take_idle_cpu_us(d->runtime);
    if (d->idle_cpu_us == 0)
        return false;
    if (!now && clock_mono_ms() - d->idle_written_ms < IDLE_WRITE_MS)
        return true;
    struct idle_op *o = malloc(sizeof *o);
    if (o == NULL)
        return true;
    *o = (struct idle_op){.op = {.apply = idle_apply, .done = idle_done, .urgent = true},
                          .day = usage_day(clock_wall_ms()),
                          .cpu_us = d->idle_cpu_us};
    if (db_submit(d->options.db, &o->op) != ERR_NONE) {
        free(o);
        return !now;
    }
    d->idle_cpu_us = 0;
    d->idle_written_ms = clock_mono_ms();
    return false;
}
