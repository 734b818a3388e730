/*
 * Runs request bodies through base/payload.h, in several cuts, for tests that say what must come
 * out. Assertions are cmocka's.
 */
#ifndef DARKROOM_TESTS_UPLOADS_H
#define DARKROOM_TESTS_UPLOADS_H

#include "base/auth.h"
#include "base/payload.h"

#define UPLOAD_BYTES_MAX (INT64_C(1) << 40)
#define UPLOAD_SIGNED "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
#define UPLOAD_SIGNED_TRAILER "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
#define UPLOAD_UNSIGNED_TRAILER "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
#define UPLOAD_HASH_ZERO "0000000000000000000000000000000000000000000000000000000000000000"

/* Before and after everything else: the accounts. */
void uploads_begin(void);
void uploads_end(void);

/* A PUT that passed auth_check(). `fields` end with a newline each; `hash` NULL: not signed. */
struct http_request *upload_head(const char *head, const char *hash);
struct http_request *upload_new(const char *fields, const char *hash);

struct upload_outcome {
    enum payload_fault fault;
    struct buf plain; /* what the sink got; buf_fini() it */
    uint8_t md5[MD5_BYTES];
    enum checksum checksum;
    char base64[DIGEST_BASE64_MAX + 1];
};

/* A payload_sink_fn for struct upload_outcome. */
int upload_sink(void *arg, const void *p, size_t n);
/* Feeds `wire` in pieces of `step` bytes. */
void upload_run(struct http_request *r, struct slice wire, size_t step, int64_t bytes_max,
                struct upload_outcome *o);
enum payload_fault upload_fault(struct http_request *r, struct slice wire, size_t step);

/* In one piece and in small ones. */
void assert_upload_fault(struct http_request *r, struct slice wire, enum payload_fault expected);
void assert_upload_good(struct http_request *r, struct slice wire, struct slice plain);

struct upload_wire {
    const char *wire;
    enum payload_fault expected;
};

/* Each as a request of its own. */
void assert_upload_wires(const char *fields, const char *hash, const char *plain,
                         const struct upload_wire *cases, size_t n);

#endif
