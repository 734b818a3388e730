/*
 * Somebody who is told by POST: an HTTP server of one thread on a port of 127.0.0.1, for tests. It
 * keeps what it gets and answers what the test said last; one request per connection. Failures
 * abort.
 */
#ifndef DARKROOM_TESTS_RECEIVER_H
#define DARKROOM_TESTS_RECEIVER_H

#include "base/buf.h"

#define RECEIVER_WAIT_MS 300000
#define RECEIVER_REQUESTS_MAX 4096

struct receiver;

struct receiver *receiver_start(void);
/* `path` begins with '/'. Lent. */
const char *receiver_url(struct receiver *r, const char *path);
const char *receiver_address(const struct receiver *r); /* "127.0.0.1:PORT" */
void receiver_stop(struct receiver **r);

#define RECEIVER_TAKES "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
/* The bytes that answer each request from now on, then the connection is closed. NULL: none, and
 * the connection stays open until the end. At first RECEIVER_TAKES. */
void receiver_answer(struct receiver *r, const char *bytes);
/* Behind `bytes` comes `more`, again and again until the connection is cut. */
void receiver_flood(struct receiver *r, const char *bytes, const char *more);

/* Until so many whole requests have come; false after RECEIVER_WAIT_MS. */
bool receiver_wait(struct receiver *r, size_t count);
size_t receiver_count(struct receiver *r);
/* The i-th request, head and body; valid until receiver_stop(). */
struct slice receiver_request(struct receiver *r, size_t i);
struct slice receiver_body(struct receiver *r, size_t i);
/* Of its head; p = NULL when it has none. */
struct slice receiver_header(struct receiver *r, size_t i, const char *name);

#endif
