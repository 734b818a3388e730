/*
 * The body of an upload, from the wire's form to plain bytes: removes aws-chunked framing, checks
 * chunk signatures, x-amz-content-sha256, Content-MD5, x-amz-checksum-* (header or trailer) and the
 * decoded length, and computes the digests the object record needs, in one pass.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
 *
 * Lives in one HTTP thread, allocated in the request's arena.
 */
#ifndef DARKROOM_BASE_PAYLOAD_H
#define DARKROOM_BASE_PAYLOAD_H

#include "base/digest.h"
#include "base/http.h"
#include "base/refusal.h"

/* Why a payload was refused: name, S3 code, HTTP status, message. The BAD_ and NOT_ ones of the
 * checksums are in the order of CHECKSUM_LIST. */
#define PAYLOAD_FAULT_LIST(X)                                                                      \
    X(NONE, "", 200, "")                                                                           \
    X(BAD_MD5_HEADER, "InvalidDigest", 400, "The Content-MD5 you specified is not valid.")         \
    X(MD5, "BadDigest", 400, "The Content-MD5 you specified did not match what we received.")      \
    X(SHA256, "XAmzContentSHA256Mismatch", 400,                                                    \
      "The provided 'x-amz-content-sha256' header does not match what was computed.")              \
    X(BAD_CHECKSUM_HEADER, "InvalidRequest", 400,                                                  \
      "The algorithm type you specified in x-amz-checksum- header is invalid.")                    \
    X(BAD_CRC32, "InvalidRequest", 400, "Value for x-amz-checksum-crc32 header is invalid.")       \
    X(BAD_CRC32C, "InvalidRequest", 400, "Value for x-amz-checksum-crc32c header is invalid.")     \
    X(BAD_CRC64NVME, "InvalidRequest", 400,                                                        \
      "Value for x-amz-checksum-crc64nvme header is invalid.")                                     \
    X(BAD_SHA1, "InvalidRequest", 400, "Value for x-amz-checksum-sha1 header is invalid.")         \
    X(BAD_SHA256, "InvalidRequest", 400, "Value for x-amz-checksum-sha256 header is invalid.")     \
    X(SDK_ALGORITHM, "InvalidRequest", 400,                                                        \
      "Value for x-amz-sdk-checksum-algorithm header is invalid.")                                 \
    X(SDK_NO_VALUE, "InvalidRequest", 400,                                                         \
      "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "          \
      "x-amz-trailer headers were found.")                                                         \
    X(TWO_CHECKSUMS, "InvalidRequest", 400,                                                        \
      "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")       \
    X(NOT_CRC32, "BadDigest", 400,                                                                 \
      "The CRC32 you specified did not match the calculated checksum.")                            \
    X(NOT_CRC32C, "BadDigest", 400,                                                                \
      "The CRC32C you specified did not match the calculated checksum.")                           \
    X(NOT_CRC64NVME, "BadDigest", 400,                                                             \
      "The CRC64NVME you specified did not match the calculated checksum.")                        \
    X(NOT_SHA1, "BadDigest", 400, "The SHA1 you specified did not match the calculated checksum.") \
    X(NOT_SHA256, "BadDigest", 400,                                                                \
      "The SHA256 you specified did not match the calculated checksum.")                           \
    X(NO_DECODED_LENGTH, "MissingContentLength", 411,                                              \
      "You must provide the x-amz-decoded-content-length header for this form of upload.")         \
    X(NO_LENGTH, "MissingContentLength", 411, "You must provide the Content-Length HTTP header.")  \
    X(BAD_CHUNK, "IncompleteBody", 400, "The chunked body is malformed or ends too early.")        \
    X(CHUNK_TOO_SMALL, "InvalidChunkSizeError", 403,                                               \
      "Only the last chunk is allowed to have a size less than 8192 bytes")                        \
    X(CHUNK_SIGNATURE, "SignatureDoesNotMatch", 403,                                               \
      "The chunk signature we calculated does not match the signature you provided.")              \
    X(BAD_TRAILER, "MalformedTrailerError", 400,                                                   \
      "The request contained trailing data that was not well-formed or did not conform to our "    \
      "published schema.")                                                                         \
    X(LENGTH, "IncompleteBody", 400,                                                               \
      "You did not provide the number of bytes specified by the Content-Length HTTP header.")      \
    X(TOO_LARGE, "EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")   \
    X(NOMEM, "SlowDown", 503, "Please reduce your request rate.")                                  \
    X(SINK, "InternalError", 500, "The bytes could not be stored.")

enum payload_fault {
#define X(name, code, status, message) PAYLOAD_##name,
    PAYLOAD_FAULT_LIST(X)
#undef X
};

/* That one of a checksum's faults, given the first of its kind: PAYLOAD_BAD_CRC32 (the value is no
 * checksum) or PAYLOAD_NOT_CRC32 (of other bytes). */
static inline enum payload_fault
payload_fault_of(enum payload_fault first, enum checksum checksum)
{
    return (enum payload_fault)((int)first + (int)checksum - (CHECKSUM_NONE + 1));
}

struct payload;

/* Takes the plain bytes; an error ends the payload with PAYLOAD_SINK (payload_sink_error()). */
typedef int (*payload_sink_fn)(void *arg, const void *p, size_t n);

/* Reads what the headers say (r->auth must be set and not be a failure). On a fault *out is NULL
 * and the request can be refused before its body. `bytes_max`: largest plain body. Neither
 * Content-Length nor chunked transfer coding: PAYLOAD_NO_LENGTH. The sink gets the bytes before
 * their signature or digest is known: it must not publish them until payload_end() said
 * PAYLOAD_NONE. */
enum payload_fault payload_begin(struct payload **out, struct http_request *r, int64_t bytes_max,
                                 payload_sink_fn sink, void *sink_arg);
/* The same for a body that the x-amz-checksum-* headers are not about (CompleteMultipartUpload's
 * speak of the whole object): they are not looked at. */
enum payload_fault payload_begin_unsummed(struct payload **out, struct http_request *r,
                                          int64_t bytes_max, payload_sink_fn sink, void *sink_arg);
/* Before the first byte: have this checksum computed if the client states none. ERR_NOMEM. */
int payload_want(struct payload *p, enum checksum checksum);
/* The checksum the headers state or announce; CHECKSUM_NONE. */
enum checksum payload_stated(const struct payload *p);
/* Wire bytes as they arrive. A fault sticks: later calls return it without looking at the bytes. */
enum payload_fault payload_feed(struct payload *p, const void *bytes, size_t n);
/* The whole body has arrived: the final checks. */
enum payload_fault payload_end(struct payload *p);
/* Frees digest contexts; the struct itself goes with the arena. Accepts NULL. */
void payload_fini(struct payload **p);

/* Plain bytes announced by the headers; -1 when unknown. */
int64_t payload_length(const struct payload *p);
int64_t payload_received(const struct payload *p);
int payload_sink_error(const struct payload *p);
/* After payload_end(): */
const uint8_t *payload_md5(const struct payload *p); /* 16 bytes */
/* The checksum the client stated, or announced as trailer, or else the one wanted by
 * payload_want(); CHECKSUM_NONE when there was none. `base64` is NUL-terminated. */
enum checksum payload_checksum(const struct payload *p, const char **base64);

const struct refusal *payload_refusal(enum payload_fault fault);

#endif
