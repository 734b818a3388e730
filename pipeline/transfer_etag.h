/*
 * ETags as what they are of bytes: the MD5 of an object stored in one piece, or "MD5-N", the MD5
 * over the MD5s of N parts. Anything else says nothing of the bytes, and neither does an ETag of
 * an object that its store encrypted (the caller knows).
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, ETag
 */
#ifndef DARKROOM_PIPELINE_TRANSFER_ETAG_H
#define DARKROOM_PIPELINE_TRANSFER_ETAG_H

#include "base/slice.h"

#define TRANSFER_PART_BYTES ((int64_t)16 << 20) /* of what we upload ourselves */

enum transfer_verdict { TRANSFER_SAME, TRANSFER_DIFFERS, TRANSFER_SILENT };

bool transfer_etag_is_md5(struct slice etag);
/* N of "MD5-N"; 0 when it is none. */
int transfer_etag_parts(struct slice etag);
/* The part size of an own upload of so many bytes: at most 10,000 parts. */
int64_t transfer_part_bytes(int64_t bytes);
/* The n-th (from 0) of the usual part sizes that make `parts` of so many bytes; 0: no more. */
int64_t transfer_part_guess(int64_t bytes, int parts, size_t nth);

/* Bytes, in order, digested as the ETag says. `part_bytes` of a multipart one, 0: not known
 * (silent). Heap. */
struct transfer_check;
struct transfer_check *transfer_check_new(struct slice etag, int64_t part_bytes);
void transfer_check_free(struct transfer_check **c);
void transfer_check_update(struct transfer_check *c, const char *p, size_t n);
/* Ends it; once. */
enum transfer_verdict transfer_check_end(struct transfer_check *c);

/* Whether the first `bytes` of the file have this ETag, for any usual part size. An error < 0 of
 * reading. */
int transfer_file_check(int fd, int64_t bytes, struct slice etag, enum transfer_verdict *verdict);

#endif
