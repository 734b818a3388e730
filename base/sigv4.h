/*
 * The arithmetic of Signature Version 4, for both sides: the server's check (sigv4_check.c,
 * aws_chunked.c) and the client's signer (sign.c). Nothing here judges a request.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 *
 * Any thread: the cache of signing keys is each thread's own.
 */
#ifndef DARKROOM_BASE_SIGV4_H
#define DARKROOM_BASE_SIGV4_H

#include "base/digest.h"
#include "base/http.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"
#define SIGV4_TERMINATOR "aws4_request"
#define SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define SIGV4_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGV4_HEX 64                /* digits of a signature or of a SHA-256 */
#define SIGV4_TIMESTAMP 16          /* YYYYMMDDTHHMMSSZ */
#define SIGV4_TEXT_MAX (256u << 10) /* canonical request: the header escaped at worst, and more */

struct sigv4_canonical {
    struct slice method;
    struct slice uri;                /* canonical already */
    const struct http_param *params; /* decoded */
    size_t param_count;
    const char *skip_param; /* NULL, or the one that is left out: "X-Amz-Signature" */
    const struct http_field *fields;
    size_t field_count;
    struct slice signed_headers; /* "host;x-amz-date", lower case */
    struct slice payload_hash;
};

/* Appends. ERR_NOTFOUND when a header of the list is not among the fields, ERR_TOOBIG for more than
 * HTTP_QUERY_MAX parameters or a text past out->max, ERR_NOMEM. */
int sigv4_canonical_request(const struct sigv4_canonical *c, struct buf *out);

/* The two forms of the canonical URI. S3's: the decoded path encoded again, segment by segment. */
void sigv4_uri_reencoded(struct slice path, struct buf *out);
/* Everybody else's: the raw path without dot segments and doubled slashes, encoded once more. */
void sigv4_uri_normalized(struct slice raw_path, struct buf *out);

void sigv4_string_to_sign(struct slice timestamp, struct slice scope, struct slice canonical,
                          struct buf *out);
/* kSigning of the documentation; costs four HMACs unless this thread used the same key lately.
 * ERR_NOMEM or ERR_TOOBIG: `key` is not to be used. */
int sigv4_signing_key(struct slice secret, struct slice date, struct slice region,
                      struct slice service, uint8_t key[SHA256_BYTES]);
void sigv4_sign(const uint8_t key[SHA256_BYTES], struct slice string_to_sign,
                char hex[SIGV4_HEX + 1]);

/* What ties the chunks of a streamed body to its request and to each other. */
struct sigv4_chain {
    const uint8_t *key; /* SHA256_BYTES */
    const char *timestamp;
    struct slice scope;
    char previous[SIGV4_HEX + 1]; /* seed signature at first */
};

/* Signature of the next chunk, or of the trailer, from the SHA-256 of its bytes; it becomes
 * chain->previous. ERR_TOOBIG when the scope is absurdly long. */
int sigv4_chain_chunk(struct sigv4_chain *chain, const uint8_t sha256[SHA256_BYTES]);
int sigv4_chain_trailer(struct sigv4_chain *chain, const uint8_t sha256[SHA256_BYTES]);

#endif
