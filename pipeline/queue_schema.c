/*
 * Tables of the pipeline, one script per schema version. A published script never changes; what is
 * new goes into the next version.
 *
 * event         waiting, delayed or running. not_before_ms = 0: ready. Two partial indexes keep the
 *               next ready one and the next delayed one a single seek away at any backlog.
 * queue_count   one row, changed with every event: counts are exact and cost no scan.
 * provenance    which derived object came from which source: the only proof that one is ours.
 * owned_attr    names of the item attributes a function wrote last, so that its next verdict takes
 *               back what it does not state again.
 *               `generation` and `revision`: what the verdict was about (0: before version 4).
 * unmade        what a verdict did not make, and why; unmade.h.
 * batch         a reprocessing and how far it is; batch.h.
 * batch_failure names of what failed in it.
 * notice        what became of an object, to be told further; notice.h.
 * webhook       who is told by POST: told_id is the newest notice that it has taken, or that was
 *               given up.
 * attempt       `queued_ms`: when its event was (0: not known); `stderr`: the end of what the
 * worker wrote to it meanwhile. dead_letter   `class`: of its reason, enum dead_class by name.
 * replay        of a batch with source = 1: which events of the log, and what became of those that
 *               were not queued; replay.h.
 * event_log     what happened to objects, event_log.c; removals alone have an index.
 * usage         what was used, per day, bucket, prefix, function and preset; usage.h. usage_day
 *               counts its rows.
 */
#include "pipeline/schema.h"

#define EVENT_COLUMNS                                                                         \
    "id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, function TEXT NOT NULL, "                 \
    "bucket_id INTEGER NOT NULL, bucket TEXT NOT NULL, key BLOB NOT NULL, "                   \
    "generation INTEGER NOT NULL, type INTEGER NOT NULL, followup INTEGER NOT NULL, "         \
    "batch_id INTEGER NOT NULL, batch_worst INTEGER NOT NULL, attempts INTEGER NOT NULL, "    \
    "not_before_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL, request_id TEXT NOT NULL, " \
    "reason TEXT NOT NULL"

#define STEP_4_EVENT_LOG                                                                        \
    "CREATE TABLE event_log (seq INTEGER PRIMARY KEY, n INTEGER NOT NULL, "                     \
    " old_seq INTEGER NOT NULL, time_ms INTEGER NOT NULL, type INTEGER NOT NULL, "              \
    " removed INTEGER NOT NULL, bucket_id INTEGER NOT NULL, bucket TEXT NOT NULL, "             \
    " key BLOB NOT NULL, version_id TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, " \
    " request_id TEXT NOT NULL, access_key_id TEXT NOT NULL, account_id TEXT NOT NULL, "        \
    " source_ip TEXT NOT NULL);"                                                                \
    "CREATE INDEX event_log_removed ON event_log (bucket_id, key) WHERE removed = 1;"

#define STEP_4_REPLAY                                                                      \
    "CREATE TABLE replay (batch_id INTEGER PRIMARY KEY, after_seq INTEGER NOT NULL, "      \
    " until_seq INTEGER NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL, "  \
    " bucket TEXT NOT NULL, prefix BLOB NOT NULL, force INTEGER NOT NULL, "                \
    " superseded INTEGER NOT NULL, unmatched INTEGER NOT NULL, waiting INTEGER NOT NULL, " \
    " made INTEGER NOT NULL);"

/* What an older dead letter died of is what its last attempt says. */
#define STEP_4_ATTEMPTS                                                                 \
    "ALTER TABLE attempt ADD COLUMN queued_ms INTEGER NOT NULL DEFAULT 0;"              \
    "ALTER TABLE attempt ADD COLUMN stderr TEXT NOT NULL DEFAULT '';"                   \
    "ALTER TABLE dead_letter ADD COLUMN class TEXT NOT NULL DEFAULT 'error';"           \
    "UPDATE dead_letter SET class = coalesce((SELECT a.outcome FROM attempt AS a WHERE" \
    " a.bucket_id = dead_letter.bucket_id AND a.key = dead_letter.key AND"              \
    " a.event_id = dead_letter.id AND a.outcome IN ('timeout', 'memory', 'crashed',"    \
    " 'bad answer') ORDER BY a.id DESC LIMIT 1), 'error');"

#define STEP_4_USAGE                                                                         \
    "CREATE TABLE usage (day INTEGER NOT NULL, bucket TEXT NOT NULL, prefix BLOB NOT NULL, " \
    " function TEXT NOT NULL, preset TEXT NOT NULL, invocations INTEGER NOT NULL, "          \
    " pictures INTEGER NOT NULL, cpu_us INTEGER NOT NULL, mb_ms INTEGER NOT NULL, "          \
    " bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL, "                               \
    " PRIMARY KEY (day, bucket, prefix, function, preset)) WITHOUT ROWID;"                   \
    "CREATE TABLE usage_day (day INTEGER PRIMARY KEY, rows INTEGER NOT NULL);"

#define STEP_4_NOTICE "ALTER TABLE notice ADD COLUMN request_id TEXT NOT NULL DEFAULT '';"

/* What a verdict was about, so that what needs to be made again can be told by rows alone. */
#define STEP_4_VERDICTS                                                                    \
    "ALTER TABLE owned_attr ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;"             \
    "ALTER TABLE owned_attr ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;"               \
    "CREATE TABLE unmade (source_bucket_id INTEGER NOT NULL, source_key BLOB NOT NULL, "   \
    " function TEXT NOT NULL, preset TEXT NOT NULL, config_hash TEXT NOT NULL, "           \
    " source_generation INTEGER NOT NULL, failed INTEGER NOT NULL, reason TEXT NOT NULL, " \
    " PRIMARY KEY (source_bucket_id, source_key, function, preset)) WITHOUT ROWID;"

/* A batch selects (8: everything, as it was), may have a rate, and names what failed. */
#define STEP_4_BATCHES                                                           \
    "ALTER TABLE batch ADD COLUMN source INTEGER NOT NULL DEFAULT 0;"            \
    "ALTER TABLE batch ADD COLUMN preset TEXT NOT NULL DEFAULT '';"              \
    "ALTER TABLE batch ADD COLUMN selection INTEGER NOT NULL DEFAULT 8;"         \
    "ALTER TABLE batch ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;"          \
    "ALTER TABLE batch ADD COLUMN rate INTEGER NOT NULL DEFAULT 0;"              \
    "ALTER TABLE batch ADD COLUMN due_us INTEGER NOT NULL DEFAULT 0;"            \
    "ALTER TABLE batch ADD COLUMN expected INTEGER NOT NULL DEFAULT 0;"          \
    "CREATE INDEX batch_state ON batch (state);"                                 \
    "CREATE TABLE batch_failure (batch_id INTEGER NOT NULL, key BLOB NOT NULL, " \
    " function TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (batch_id, key)) WITHOUT ROWID;"

static const char *const steps[] = {
    "CREATE TABLE function (name TEXT PRIMARY KEY, handler TEXT NOT NULL, "
    " memory_mb INTEGER NOT NULL, timeout_s INTEGER NOT NULL, environment TEXT NOT NULL, "
    " reserved_concurrency INTEGER NOT NULL, retries_max INTEGER NOT NULL, "
    " event_age_max_s INTEGER NOT NULL, on_failure TEXT NOT NULL, revision INTEGER NOT NULL, "
    " changed_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE function_version (id INTEGER PRIMARY KEY, version INTEGER NOT NULL);"

    "CREATE TABLE rule (bucket_id INTEGER NOT NULL, seq INTEGER NOT NULL, bucket TEXT NOT NULL, "
    " id TEXT NOT NULL, function TEXT NOT NULL, events INTEGER NOT NULL, prefix BLOB NOT NULL, "
    " suffix BLOB NOT NULL, PRIMARY KEY (bucket_id, seq)) WITHOUT ROWID;"

    "CREATE TABLE event (" EVENT_COLUMNS ");"
    "CREATE INDEX event_ready ON event (lane, function, id) WHERE not_before_ms = 0;"
    "CREATE INDEX event_delayed ON event (not_before_ms) WHERE not_before_ms > 0;"
    "CREATE INDEX event_key ON event (bucket_id, key);"
    "CREATE INDEX event_batch ON event (batch_id) WHERE batch_id > 0;"

    "CREATE TABLE dead_letter (" EVENT_COLUMNS ", dead_ms INTEGER NOT NULL);"
    "CREATE INDEX dead_letter_key ON dead_letter (bucket_id, key);"

    "CREATE TABLE queue_count (id INTEGER PRIMARY KEY, live INTEGER NOT NULL, "
    " followup INTEGER NOT NULL, batch INTEGER NOT NULL, dead INTEGER NOT NULL, "
    " added INTEGER NOT NULL, acked INTEGER NOT NULL, superseded INTEGER NOT NULL, "
    " retried INTEGER NOT NULL, died INTEGER NOT NULL, dropped INTEGER NOT NULL);"
    "INSERT INTO queue_count VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);"

    "CREATE TABLE provenance (source_bucket_id INTEGER NOT NULL, source_key BLOB NOT NULL, "
    " derived_bucket_id INTEGER NOT NULL, derived_key BLOB NOT NULL, derived_bucket TEXT NOT NULL, "
    " preset TEXT NOT NULL, config_hash TEXT NOT NULL, source_generation INTEGER NOT NULL, "
    " derived_generation INTEGER NOT NULL, function TEXT NOT NULL, "
    " PRIMARY KEY (source_bucket_id, source_key, derived_bucket_id, derived_key)) WITHOUT ROWID;"
    "CREATE INDEX provenance_derived ON provenance (derived_bucket_id, derived_key);"

    "CREATE TABLE owned_attr (bucket_id INTEGER NOT NULL, key BLOB NOT NULL, "
    " function TEXT NOT NULL, names TEXT NOT NULL, "
    " PRIMARY KEY (bucket_id, key, function)) WITHOUT ROWID;"

    "CREATE TABLE attempt (id INTEGER PRIMARY KEY, event_id INTEGER NOT NULL, "
    " bucket_id INTEGER NOT NULL, key BLOB NOT NULL, generation INTEGER NOT NULL, "
    " function TEXT NOT NULL, revision INTEGER NOT NULL, pid INTEGER NOT NULL, "
    " started_ms INTEGER NOT NULL, run_us INTEGER NOT NULL, cpu_us INTEGER NOT NULL, "
    " rss_bytes INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL);"
    "CREATE INDEX attempt_key ON attempt (bucket_id, key);"

    "CREATE TABLE batch (id INTEGER PRIMARY KEY, bucket_id INTEGER NOT NULL, bucket TEXT NOT NULL, "
    " prefix BLOB NOT NULL, function TEXT NOT NULL, cursor BLOB NOT NULL, state INTEGER NOT NULL, "
    " seen INTEGER NOT NULL, planned INTEGER NOT NULL, done INTEGER NOT NULL, "
    " skipped INTEGER NOT NULL, failed INTEGER NOT NULL, created_ms INTEGER NOT NULL, "
    " finished_ms INTEGER NOT NULL);",

    NULL, /* version 2: nothing new here */

    "CREATE TABLE notice (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, "
    " bucket_id INTEGER NOT NULL, bucket TEXT NOT NULL, key BLOB NOT NULL, "
    " generation INTEGER NOT NULL, version_id TEXT NOT NULL, time_ms INTEGER NOT NULL, "
    " detail TEXT NOT NULL);"
    "CREATE TABLE webhook (id INTEGER PRIMARY KEY, bucket TEXT NOT NULL, prefix BLOB NOT NULL, "
    " url TEXT NOT NULL, secret TEXT NOT NULL, created_ms INTEGER NOT NULL, "
    " told_id INTEGER NOT NULL, attempts INTEGER NOT NULL, not_before_ms INTEGER NOT NULL, "
    " failing_since_ms INTEGER NOT NULL, told INTEGER NOT NULL, given_up INTEGER NOT NULL, "
    " last_error TEXT NOT NULL);",

    STEP_4_EVENT_LOG STEP_4_REPLAY STEP_4_ATTEMPTS STEP_4_USAGE STEP_4_NOTICE STEP_4_VERDICTS
        STEP_4_BATCHES,
};

const char *
queue_schema(int version)
{
    if (version < 1 || (size_t)version > sizeof steps / sizeof steps[0])
        return NULL;
    return steps[version - 1];
}
