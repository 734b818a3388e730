/*
 * Answers of the S3 face: refusals in S3's words, and the pieces other answers are made of. Called
 * by whoever holds the request (base/http.h), once per request for the s3_fail*() and s3_reply*().
 */
#ifndef DARKROOM_OBJECTSTORE_S3_REPLY_H
#define DARKROOM_OBJECTSTORE_S3_REPLY_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/refusal.h"
#include "base/slice.h"
#include "objectstore/s3_fault_list.h"

#define S3_REPLY_BYTES_MAX (8u << 20) /* of one XML answer */
#define S3_RETRY_AFTER_S 2
#define S3_XMLNS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

struct s3_request;

enum s3_fault {
#define X(id, code, status, message) S3_##id,
    S3_FAULT_LIST(X)
#undef X
        S3_FAULT_COUNT
};

/* ---- s3_error.c ---- */

const struct refusal *s3_refusal(enum s3_fault fault);
enum s3_fault s3_fault_of(int err);
/* An element for the error document that comes next; value lent until then. */
void s3_extra(struct s3_request *q, const char *name, struct slice value);
/* Error answers; HEAD gets no body. The message is S3's own unless given. */
void s3_fail(struct s3_request *q, enum s3_fault fault);
void s3_fail_why(struct s3_request *q, enum s3_fault fault, const char *message);
/* The same for a refusal of another table. */
void s3_refuse(struct s3_request *q, const struct refusal *refusal);
void s3_fail_err(struct s3_request *q, int err);
/* Answers with the document; takes b's memory. */
void s3_reply_xml(struct s3_request *q, int status, struct buf *b);
/* Neither body nor length but those of http_reply_empty(). */
void s3_reply_empty(struct s3_request *q, int status, int64_t bytes);
/* A stated checksum as headers, or as elements of a document. */
void s3_checksum_headers(struct s3_request *q, enum checksum checksum, const char *base64,
                         bool composite);
void s3_checksum_xml(struct buf *b, enum checksum checksum, const char *base64);
/* Without its type; or the type alone. */
void s3_checksum_header(struct s3_request *q, enum checksum checksum, const char *base64);
void s3_checksum_type_xml(struct buf *b, enum checksum checksum, bool composite);
/* An upload's algorithm, and its type with it. */
void s3_algorithm_headers(struct s3_request *q, enum checksum checksum, bool composite);
void s3_algorithm_xml(struct buf *b, enum checksum checksum);
void s3_owner_xml(const struct s3_request *q, struct buf *b, const char *name, struct slice id);
void s3_etag_header(struct s3_request *q, const char *etag);
/* The ETag element, quoted as in the header. */
void s3_etag_xml(struct buf *b, const char *etag);
void s3_time_xml(struct buf *b, const char *name, int64_t wall_ms);
/* `text` as an element, percent-encoded when the listing asked for encoding-type=url. */
void s3_name_xml(struct buf *b, const char *name, struct slice text, bool url);

#endif
