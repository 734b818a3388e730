/*
 * The whole server as one thing: opens the data directory, wires the rooms together, owns the order
 * of start and stop. One per process; one thread calls it.
 *
 *   CLOSED --server_open--> OPEN --server_start--> SERVING --server_stop--> CLOSED
 */
#ifndef DARKROOM_PIPELINE_SERVER_H
#define DARKROOM_PIPELINE_SERVER_H

#include "base/account.h"
#include "base/conf.h"

struct server;

/* Locks and recovers the data directory, adds the root account to `accounts` (both are borrowed
 * until server_free()). `passed_fd`: a listening socket to serve on instead of the setting
 * `listen`, -1: none; taken. The reason of a failure goes to `why` as one line. */
int server_open(struct server **out, const struct conf *conf, struct accounts *accounts,
                int passed_fd, struct buf *why);
/* First-start defaults, workers, listener, DIR/endpoint. */
int server_start(struct server *s, struct buf *why);
/* Opens the log file anew; reads the certificate and its key again: what cannot be used leaves the
 * old ones, and is told in the log. Connections that exist keep theirs. */
void server_reload(struct server *s);
/* Returns when the writer has taken an operation and answered it: for a watchdog. */
void server_pulse(struct server *s);
/* "http://0.0.0.0:9000" or "https://...", as listened on; after server_start(). */
const char *server_url(const struct server *s);
/* Lets requests and running invocations finish for at most shutdown.grace_ms; `hurry` is asked
 * every few milliseconds and ends the waiting when true. Closes everything. */
void server_stop(struct server *s, bool (*hurry)(void *arg), void *arg);
void server_free(struct server **s);

#endif
