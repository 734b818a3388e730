/*
 * A struct http_request from raw text, without a server: for tests of what reads requests. The
 * request owns its arena. Everything aborts on a text that is no request.
 */
#ifndef DARKROOM_TESTS_FAKEREQ_H
#define DARKROOM_TESTS_FAKEREQ_H

#include "base/account.h"
#include "base/http.h"

/* "GET /a?b=c HTTP/1.1\nHost: h\n": lines end with \n or \r\n. Content-Length and Transfer-Encoding
 * are acted on. */
struct http_request *fakereq_new(const char *head);
void fakereq_free(struct http_request **r);

void fakereq_method(struct http_request *r, const char *method);
void fakereq_target(struct http_request *r, const char *raw_target);
/* Replaces the first field of that name, or adds one. */
void fakereq_field(struct http_request *r, const char *name, const char *value);
void fakereq_field_add(struct http_request *r, const char *name, const char *value);
/* All of that name. */
void fakereq_field_drop(struct http_request *r, const char *name);

/* Who signs a fake request, and for what. */
struct fakereq_signer {
    const char *access_key_id;
    const char *secret_access_key;
    const char *region;
    const char *service;
    int64_t now_ms;
};

/* The account AWS's documentation signs its examples with, for s3 in us-east-1 at the time of these
 * examples (20130524T000000Z). */
extern const struct fakereq_signer fakereq_root;
/* That account (root, id 000000000001) and another: id 000000000002, "AK/with/slashes", "second
 * secret". accounts_free() it. */
struct accounts *fakereq_accounts(void);

/* Adds x-amz-date and Authorization over all fields present. `payload_hash` goes into
 * x-amz-content-sha256 when the service is s3; NULL: the digest of nothing. */
void fakereq_sign(struct http_request *r, const struct fakereq_signer *who,
                  const char *payload_hash);
/* Makes the target a presigned one; of the fields, Host and x-amz-* are signed. */
void fakereq_presign(struct http_request *r, const struct fakereq_signer *who,
                     int64_t expires_seconds);

/* One change to a finished request. */
enum fakereq_part {
    FAKEREQ_METHOD,       /* becomes `what` */
    FAKEREQ_TARGET,       /* becomes `what` */
    FAKEREQ_TARGET_PART,  /* `what` in it becomes `value` */
    FAKEREQ_SET,          /* field `what` becomes `value` */
    FAKEREQ_ADD,          /* one more field `what` */
    FAKEREQ_DROP,         /* no field `what` */
    FAKEREQ_AUTHORIZATION /* `what` in that field becomes `value` */
};

struct fakereq_change {
    enum fakereq_part part;
    const char *what;
    const char *value;
};

void fakereq_tamper(struct http_request *r, const struct fakereq_change *change);

#endif
