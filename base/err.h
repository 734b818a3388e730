/*
 * One list of failures for the whole program.
 *
 * Every function that can fail returns 0 (ERR_NONE) or one of these negative codes. A caller tells
 * at most three of them apart; the words a client sees (S3 codes, DynamoDB types, HTTP status) are
 * made in one table at the edge: objectstore/s3_error.c, metadata/ddb_error.c.
 */
#ifndef DARKROOM_BASE_ERR_H
#define DARKROOM_BASE_ERR_H

#include <stdbool.h>

#define ERR_LIST(X)                                                               \
    X(NONE, 0, "no error")                                                        \
    X(NOMEM, -1, "out of memory, or a memory ceiling was reached")                \
    X(INVALID, -2, "malformed input")                                             \
    X(TOOBIG, -3, "larger than its stated maximum")                               \
    X(NOTFOUND, -4, "no such thing")                                              \
    X(NOPARENT, -5, "the container (bucket, table) does not exist")               \
    X(EXISTS, -6, "already exists")                                               \
    X(NOTEMPTY, -7, "container is not empty")                                     \
    X(CONFLICT, -8, "in the way of another operation")                            \
    X(PRECONDITION, -9, "a condition set by the caller does not hold")            \
    X(DENIED, -10, "not allowed")                                                 \
    X(BUSY, -11, "a limit is reached; try again later")                           \
    X(FULL, -12, "no space left, or below the reserve")                           \
    X(IO, -13, "input/output error")                                              \
    X(SYNC, -14, "a sync failed; no further write is acknowledged until restart") \
    X(CORRUPT, -15, "stored bytes do not match their checksum or format")         \
    X(TIMEOUT, -16, "deadline passed")                                            \
    X(CANCELED, -17, "canceled by the caller or by shutdown")                     \
    X(RANGE, -18, "outside the valid range")                                      \
    X(UNSUPPORTED, -19, "not supported")                                          \
    X(DIGEST, -20, "digest or checksum differs from what the client stated")      \
    X(SHORT, -21, "fewer bytes than announced")                                   \
    X(STALE, -22, "overtaken by a newer generation or revision")                  \
    X(CLOSED, -23, "the peer is gone")                                            \
    X(LOOP, -24, "would close a cycle")                                           \
    X(INUSE, -25, "address already in use")

enum err {
#define X(name, value, text) ERR_##name = (value),
    ERR_LIST(X)
#undef X
};

/* "NOTFOUND", "INVALID"...; "UNKNOWN" for a value not in the list. Static, any thread. */
const char *err_name(int err);

/* One lower-case sentence without a full stop. Static, any thread. */
const char *err_text(int err);

/* The storage's state, not the operation: trying again later may help, blaming the caller does not.
 */
bool err_is_storage(int err);

/* The code for an errno value: ENOSPC/EDQUOT -> FULL, ENOMEM -> NOMEM, ENOENT -> NOTFOUND ... */
int err_from_errno(int errnum);

#endif
