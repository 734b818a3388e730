/*
 * Takes the aws-chunked framing off an upload and checks the chunk signatures while the bytes pass
 * through; base/payload.c's helper. Nothing is buffered but one line.
 *
 *   SIZE[;chunk-signature=HEX]\r\n  bytes  \r\n      any number of chunks
 *   0[;chunk-signature=HEX]\r\n                      the last one
 *   name:value\n                                     trailer, when announced; \n or \r\n
 *   x-amz-trailer-signature:HEX\r\n                  in the signed form
 *   \r\n
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
 */
#ifndef DARKROOM_BASE_AWS_CHUNKED_H
#define DARKROOM_BASE_AWS_CHUNKED_H

#include "base/auth.h"
#include "base/payload.h"
#include "base/sigv4.h"

#define AWS_CHUNK_BYTES_MAX (INT64_C(5) << 30)
#define AWS_CHUNK_BYTES_MIN 8192 /* of a signed chunk that is not the last with bytes */
#define AWS_CHUNKED_LINE_MAX 256 /* chunk header or trailer line, end of line included */
#define AWS_CHUNKED_BLANKS_MAX 4 /* empty lines around the trailer: some clients send three */

enum aws_chunked_state {
    AWS_CHUNKED_HEADER,  /* in a chunk's header line */
    AWS_CHUNKED_DATA,    /* in its bytes */
    AWS_CHUNKED_DATA_CR, /* before the \r behind them */
    AWS_CHUNKED_DATA_LF, /* before the \n */
    AWS_CHUNKED_TRAILER, /* behind the last chunk's header, or between trailer lines */
    AWS_CHUNKED_DONE     /* everything that had to come is here; only empty lines may follow */
};

/* Gets the plain bytes. */
typedef enum payload_fault (*aws_chunked_sink_fn)(void *arg, const void *p, size_t n);

struct aws_chunked {
    /* set by the caller before aws_chunked_init(): */
    bool is_signed;
    bool has_trailer_signature;
    enum checksum trailer; /* announced by x-amz-trailer; CHECKSUM_NONE: none */
    int64_t bytes_max;     /* plain bytes that may come, and the fault when it would be more */
    enum payload_fault over_fault;
    aws_chunked_sink_fn sink;
    void *sink_arg;

    /* read by the caller at the end: */
    uint8_t trailer_value[DIGEST_BYTES_MAX];

    /* private */
    enum aws_chunked_state state;
    struct sigv4_chain chain;
    struct digester *digester; /* of the chunk under way; signed form only */
    char claimed[SIGV4_HEX];   /* its signature */
    int64_t chunk_left;
    int64_t chunk_bytes;
    int64_t bytes; /* of all chunk headers so far */
    bool trailer_seen, trailer_signature_seen;
    unsigned blanks;
    uint8_t trailer_sha256[SHA256_BYTES];
    size_t line_n;
    char line[AWS_CHUNKED_LINE_MAX];
};

/* `auth` lends key, scope and seed signature; it outlives `c`. */
void aws_chunked_init(struct aws_chunked *c, const struct auth *auth);
enum payload_fault aws_chunked_feed(struct aws_chunked *c, const char *p, size_t n);
/* PAYLOAD_BAD_CHUNK or PAYLOAD_BAD_TRAILER when something is still missing. */
enum payload_fault aws_chunked_end(struct aws_chunked *c);
void aws_chunked_fini(struct aws_chunked *c);

#endif
