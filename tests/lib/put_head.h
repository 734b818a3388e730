/*
 * The head of a signed PUT, for programs that make load: HTTP/1.1, SigV4 in headers with
 * UNSIGNED-PAYLOAD, so that the load's own time goes into sending.
 */
#ifndef DARKROOM_TESTS_PUT_HEAD_H
#define DARKROOM_TESTS_PUT_HEAD_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct put_head {
    const char *host; /* "127.0.0.1:9000" */
    const char *path; /* as it stands in the request line */
    const char *key_id;
    const char *secret;
    size_t body_bytes;
    int64_t now_ms;
    bool expect; /* Expect: 100-continue */
};

/* Appends it; aborts when it cannot be signed. */
void put_head_write(const struct put_head *h, struct buf *out);

#endif
