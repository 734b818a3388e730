/*
 * Every statistic, once. The Prometheus name is "darkroom_" plus the name given here.
 *
 *   STAT(name, kind, help)
 *   STAT_AS(id, name, labels, kind, help)     shown under another name or with labels, which are
 *                                             written as Prometheus wants them; those of one name
 *                                             stand together, and the first one's help counts
 *   HISTOGRAM(id, name, labels, help)         of durations, in seconds
 *   FAMILY(id, name, l1, l2, l3, help)        counters whose labels' values appear as they are
 *                                             counted; labels that are not there are ""
 *
 * Kinds: COUNTER only rises and resets with the process; GAUGE moves; SECONDS is a counter kept in
 * microseconds; AGE is a gauge that is set to a time of the wall clock in ms, 0 for none, and shown
 * as the seconds since.
 */
#ifndef STAT
#define STAT(name, kind, help)
#endif
#ifndef STAT_AS
#define STAT_AS(id, name, labels, kind, help)
#endif
#ifndef HISTOGRAM
#define HISTOGRAM(id, name, labels, help)
#endif
#ifndef FAMILY
#define FAMILY(id, name, label1, label2, label3, help)
#endif
STAT(http_bodies_bytes, GAUGE, "Bytes of request bodies kept in memory")
STAT(http_requests_total, COUNTER, "Requests received, any protocol")
STAT(http_connections, GAUGE, "Open client connections")
STAT(http_refused_total, COUNTER, "Requests refused by the strict HTTP checks")
STAT(http_limited_total, COUNTER, "Connections refused at a connection limit")
STAT(http_timeouts_total, COUNTER, "Connections cut: header overdue, body or reader of an answer too slow")
STAT(tls_handshakes_failed_total, COUNTER, "TLS handshakes that failed: no TLS, too old a protocol, an alert, a client gone")
STAT(event_streams, GAUGE, "Open event streams")
STAT(auth_failures_total, COUNTER, "Requests with a bad or missing signature")
STAT(auth_limited_total, COUNTER, "Of these, answered in short because their address had too many")
STAT(objects_put_total, COUNTER, "Objects committed by clients, copies and multipart included")
STAT(objects_deleted_total, COUNTER, "Objects deleted by clients")
STAT(object_bytes_in_total, COUNTER, "Object bytes received and committed")
STAT(object_bytes_out_total, COUNTER, "Object bytes sent")
STAT(lifecycle_removed_total, COUNTER, "Objects, versions and delete markers removed by lifecycle rules")
STAT(lifecycle_markers_total, COUNTER, "Delete markers made by lifecycle rules")
STAT(lifecycle_aborted_total, COUNTER, "Multipart uploads aborted by lifecycle rules")
STAT(cache_hits_total, COUNTER, "Object reads answered by the RAM cache")
STAT(cache_misses_total, COUNTER, "Object reads that went to the database")
STAT(blocks_corrupt_total, COUNTER, "Blocks whose checksum did not match when read")
STAT(scrub_bytes_total, COUNTER, "Stored bytes read again by the scrubber and by verify --deep")
STAT(scrub_passes_total, COUNTER, "Whole passes of the scrubber")
STAT(scrub_found_total, COUNTER, "Blobs newly put into quarantine")
STAT(quarantined_blobs, GAUGE, "Blobs in quarantine: their bytes are damaged")
STAT(db_commits_total, COUNTER, "Transactions committed")
STAT(db_ops_total, COUNTER, "Operations committed; ops / commits is the group commit factor")
STAT(db_batches_again_total, COUNTER, "Batches applied again, an op having failed after a change")
STAT(db_queue_ops, GAUGE, "Operations waiting for the writer")
STAT(db_sync_failed, GAUGE, "1 after a failed sync: no further write is acknowledged")
STAT(slow_reads_total, COUNTER, "Read transactions ended by the watchdog")
STAT(slowdown_total, COUNTER, "Requests answered 503 SlowDown before acceptance")
STAT(events_total, COUNTER, "Events committed to the queue")
STAT(events_acked_total, COUNTER, "Events acknowledged with their results")
STAT(events_superseded_total, COUNTER, "Events acknowledged because a newer generation exists")
STAT(events_retried_total, COUNTER, "Failed attempts that were queued again")
STAT(events_dead_total, COUNTER, "Events moved to the dead-letter queue")
STAT(results_fenced_total, COUNTER, "Results dropped by the generation or revision fence")
STAT(lost_events_total, COUNTER, "Events that could not be accounted for; must stay 0")
STAT_AS(queue_live, "queue_events", "lane=\"live\"", GAUGE, "Events waiting or running, by lane: live before follow-ups before batches")
STAT_AS(queue_followup, "queue_events", "lane=\"followup\"", GAUGE, "")
STAT_AS(queue_batch, "queue_events", "lane=\"batch\"", GAUGE, "")
STAT_AS(queue_oldest_live, "queue_oldest_age_seconds", "lane=\"live\"", AGE, "Age of the oldest event that is ready or running, by lane; 0 without one")
STAT_AS(queue_oldest_followup, "queue_oldest_age_seconds", "lane=\"followup\"", AGE, "")
STAT_AS(queue_oldest_batch, "queue_oldest_age_seconds", "lane=\"batch\"", AGE, "")
STAT(queue_dead, GAUGE, "Events in the dead-letter queue")
STAT(invocations_total, COUNTER, "Invocations started")
STAT(invocations_failed_total, COUNTER, "Invocations that failed, timed out or crashed")
STAT_AS(invocation_us, "invocation_seconds_total", "", SECONDS, "Time workers spent in invocations")
STAT_AS(worker_cpu_us, "worker_cpu_seconds_total", "", SECONDS, "Processor time of worker processes, ended ones to their end, live ones to their last invocation")
STAT(workers_configured, GAUGE, "Workers that there should be")
STAT(workers_ready, GAUGE, "Workers ready or running")
STAT(workers_busy, GAUGE, "Workers with an invocation")
STAT(memory_budget_bytes, GAUGE, "Decoded pixels that all running invocations together may hold")
STAT(memory_granted_bytes, GAUGE, "Of it, what running invocations were granted")
STAT(sandbox_kills_total, COUNTER, "Workers killed by the sandbox for a system call that it does not allow")
STAT(workers_started_total, COUNTER, "Worker processes started")
STAT(workers_killed_total, COUNTER, "Workers killed at a deadline or memory limit")
STAT(workers_crashed_total, COUNTER, "Workers that ended by themselves")
STAT(demands_total, COUNTER, "Pictures on the fly begun")
STAT(demands_joined_total, COUNTER, "Requests that joined an equal picture on the fly under way")
STAT(demands_refused_total, COUNTER, "Requests refused because too many pictures on the fly, or requests for them, wait")
STAT(demands_stored_total, COUNTER, "Pictures on the fly that ended stored")
STAT(demands_failed_total, COUNTER, "Pictures on the fly that ended with an error: time-out, crash, storage, shutdown")
STAT(demands_waiting, GAUGE, "Pictures on the fly that no worker has yet")
STAT(webhook_told_total, COUNTER, "Notices a webhook has taken")
STAT(webhook_failed_total, COUNTER, "Attempts of webhooks that were not answered 2xx")
STAT(webhook_given_up_total, COUNTER, "Notices a webhook will never get: failing for too long, or trimmed meanwhile")
HISTOGRAM(db_sync, "db_sync_seconds", "", "Time of one sync of the write-ahead log; every PUT waits for one")
HISTOGRAM(invocation, "invocation_duration_seconds", "", "Time of one invocation, from the request to the worker to its answer")
HISTOGRAM(stage_queued, "stage_duration_seconds", "stage=\"queued\"", "Time of the stages of an attempt: queued from the event to the worker, decode and encode (one picture) in the worker, commit from its answer until all is durable")
HISTOGRAM(stage_decode, "stage_duration_seconds", "stage=\"decode\"", "")
HISTOGRAM(stage_encode, "stage_duration_seconds", "stage=\"encode\"", "")
HISTOGRAM(stage_commit, "stage_duration_seconds", "stage=\"commit\"", "")
FAMILY(http_responses, "http_responses_total", "service", "operation", "code", "Requests answered, by service, operation and class of the status; none: cut off without an answer")
FAMILY(attempts, "attempts_total", "outcome", "reason", "", "Attempts whose outcome was committed, one per event, by outcome and class of its reason")
#undef STAT
#undef STAT_AS
#undef HISTOGRAM
#undef FAMILY
