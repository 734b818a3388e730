/*
 * A bare HTTP client for tests: sends exactly the bytes it is given, hears exactly what comes.
 * Failures are cmocka assertions; use it from the test's own thread.
 */
#ifndef DARKROOM_TESTS_RAWHTTP_H
#define DARKROOM_TESTS_RAWHTTP_H

#include "base/buf.h"

#define RAW_WAIT_MS 120000 /* longest wait for anything */

struct raw_answer {
    int status;     /* 0: closed before a whole head came */
    struct buf all; /* head and body; buf_fini() it */
    size_t head;    /* bytes of the head, empty line included */
    int64_t length; /* Content-Length; -1 none */
    bool close;
    bool chunked;
};

/* "127.0.0.1:PORT" */
int raw_dial(const char *address);
/* False when the server closed. */
bool raw_put(int fd, const void *p, size_t n);
void raw_say(int fd, const char *text);
/* Reads one answer and nothing of the next one. A body needs a Content-Length. */
void raw_hear(int fd, struct raw_answer *a, bool head_only);
bool raw_has(const struct raw_answer *a, const char *text);
struct slice raw_body(const struct raw_answer *a);
/* Hears an answer and compares; body NULL: any. */
void raw_expect(int fd, int status, const char *body);
/* All that comes until the server closes; closes `fd`. */
struct buf raw_drain(int fd);
/* The same, and nothing may come. */
void raw_expect_closed(int fd);

#endif
