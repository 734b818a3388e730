/*
 * GET /_/events: notices as Server-Sent Events, for as long as the client listens.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html
 *
 *   GET /_/events?bucket=photos&prefix=2026/    both optional
 *   Last-Event-ID: 17                           or ?last_event_id=17: what came after that one, as
 *                                               far as it is kept; without: what comes from now on
 *
 *   id: 18
 *   event: ready | skipped | failed | added | deleted
 *   data: {notice_json()}
 *
 *   id: 90
 *   event: reset                                some are missing before what follows: the client
 *   data: {}                                    was away for too long, or another server
 *                                               gave it its last id
 *
 * Every EVENT_STREAM_BEAT_MS without an event comes a comment and an id by itself, which no client
 * shows, but remembers. Nobody is told an id twice in one stream, nor one that is not durable.
 *
 * Who may: a Version 4 signature, in the header or in the query (EventSource cannot set headers).
 * The root account is told of every bucket, another one of those it owns; anonymous gets 403. Above
 * EVENT_STREAMS_MAX, or an account's EVENT_STREAMS_PER_ACCOUNT_MAX: 503 and Retry-After.
 */
#ifndef DARKROOM_PIPELINE_EVENT_STREAM_H
#define DARKROOM_PIPELINE_EVENT_STREAM_H

#include "base/db.h"
#include "base/http.h"
#include "objectstore/store.h"
#include "pipeline/notifier.h"

#define EVENT_STREAM_PATH "/_/events"
#define EVENT_STREAMS_MAX 256
#define EVENT_STREAMS_PER_ACCOUNT_MAX 64 /* root's apart: one account must not take all places */
#define EVENT_STREAM_BEAT_MS 15000
#define EVENT_STREAM_ROWS 64     /* read in one turn of a stream */
#define EVENT_STREAM_STOP_MS 500 /* for the last bytes of what ends at shutdown */

struct event_streams;

struct event_streams_options {
    struct db *db;
    struct store *store;
    struct notifier *notifier; /* not started yet */
};

struct event_streams *event_streams_new(const struct event_streams_options *options);
/* New streams are refused; open ones end, those whose client does not read are cut. */
void event_streams_stop(struct event_streams *s);
/* After http_stop() and notifier_stop(). */
void event_streams_free(struct event_streams **s);

/* The router sets r->service to this and r->service_arg to the struct event_streams. */
extern const struct http_service event_stream_http_service;

#endif
