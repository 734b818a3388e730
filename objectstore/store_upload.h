/*
 * Multipart uploads: parts are bytes with references of their own; the completion hands them to the
 * object, so no byte moves. store_apply_*() run on the writer thread inside a db_op, the others on
 * any thread with db readers.
 *
 * An upload may have a checksum algorithm. Its parts then carry that checksum each, and the object
 * gets one of it: COMPOSITE, the checksum of the parts' checksums with "-N" behind it, or, of CRCs,
 * FULL_OBJECT, the checksum of all bytes, which is told from the parts' without reading them.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
 */
#ifndef DARKROOM_OBJECTSTORE_STORE_UPLOAD_H
#define DARKROOM_OBJECTSTORE_STORE_UPLOAD_H

#include "base/arena.h"
#include "base/db.h"
#include "objectstore/store_object.h"

#define STORE_PART_MAX 10000
#define STORE_PART_BYTES_MIN ((int64_t)5 << 20)
#define STORE_UPLOAD_ID_MAX 64

struct store;
struct store_put;
struct store_put_spec;
struct store_put_result;

/* ---- uploads ---- */

struct store_upload {
    bool is_prefix;          /* in a listing: `key` is a common prefix, and nothing of the below */
    struct slice key;        /* in a listing: lent during the call */
    struct slice upload_id;  /* likewise */
    struct slice owner;      /* canonical id */
    struct slice account_id; /* who began it; n = 0: anonymous */
    int64_t created_ms;
    enum store_class storage_class;
    enum checksum checksum;
    bool checksum_composite;
};

/* Everything the spec says of the object is kept for the completion; its checksum is the algorithm
 * (no value), with checksum_composite its type. ERR_NOPARENT. */
int store_apply_upload_create(struct store *s, struct db_conn *conn,
                              const struct store_put_spec *spec,
                              char upload_id[STORE_UPLOAD_ID_MAX]);
/* ERR_NOPARENT bucket, ERR_NOTFOUND upload. Texts are copied into the arena. */
int store_upload_get(struct store *s, struct slice bucket, struct slice key, struct slice upload_id,
                     struct arena *a, struct store_upload *out);
/* Parts that are still arriving then find no upload. ERR_NOPARENT, ERR_NOTFOUND. */
int store_apply_upload_abort(struct store *s, struct db_conn *conn, struct slice bucket,
                             struct slice key, struct slice upload_id);

struct store_upload_list_spec {
    struct slice bucket;
    struct slice prefix;
    struct slice delimiter;    /* n = 0: none */
    struct slice after;        /* keys up to and including it, or its common prefix, are left out */
    struct slice after_upload; /* but of the key `after` those behind this upload; n = 0: none */
    int max;                   /* uploads and common prefixes together */
};
/* Non-zero ends the listing. */
typedef int (*store_upload_fn)(void *arg, const struct store_upload *upload);
/* In the order of keys, of one key in that of their beginnings. The cost grows with what is
 * returned. ERR_NOPARENT. */
int store_upload_list(struct store *s, const struct store_upload_list_spec *spec,
                      store_upload_fn fn, void *arg, bool *truncated);

/* ---- parts ---- */

struct store_part {
    int number;
    int64_t size;
    int64_t mtime_ms;
    char etag[STORE_ETAG_MAX]; /* not known of the parts of a version */
    enum checksum checksum;
    char checksum_base64[DIGEST_BASE64_MAX];
};
/* Replaces an earlier part of that number. ERR_NOTFOUND upload, ERR_RANGE number. */
int store_apply_part(struct store *s, struct db_conn *conn, struct slice bucket, struct slice key,
                     struct slice upload_id, const struct store_part *part, struct store_put *put);
/* A part out of a range of a version that the caller found in this transaction, by reference.
 * Without a checksum it takes the source's when it is all of it. */
int store_apply_part_copy(struct store *s, struct db_conn *conn, struct slice bucket,
                          struct slice key, struct slice upload_id, struct store_part *part,
                          const struct store_object *source, int64_t offset, int64_t bytes);

/* Non-zero ends the listing. */
typedef int (*store_part_fn)(void *arg, const struct store_part *part);
/* Numbers above `after`. ERR_NOPARENT, ERR_NOTFOUND. */
int store_part_list(struct store *s, struct slice bucket, struct slice key, struct slice upload_id,
                    int after, int max, store_part_fn fn, void *arg, bool *truncated);
/* The parts a version was made of (part_count > 0), in order. ERR_NOTFOUND: not known, as of some
 * made before this was kept; ERR_CORRUPT. */
int store_version_parts(struct store *s, const struct store_object *o, store_part_fn fn, void *arg);

/* ---- completion ---- */

enum store_complete_fault {
    STORE_COMPLETE_OK,
    STORE_COMPLETE_ORDER,     /* part numbers do not rise */
    STORE_COMPLETE_PART,      /* `part` is not there, or another */
    STORE_COMPLETE_SMALL,     /* `part` is below the minimum and not the last */
    STORE_COMPLETE_UNSUMMED,  /* COMPOSITE, and `part` was listed without its checksum */
    STORE_COMPLETE_ALGORITHM, /* the stated checksum is not of the upload's algorithm */
    STORE_COMPLETE_TYPE,      /* nor of its type */
    STORE_COMPLETE_SUM,       /* or of other bytes */
    STORE_COMPLETE_SIZE,      /* the object's is `size` */
    STORE_COMPLETE_NO_KEY     /* If-Match, and there is no object */
};

struct store_completion { /* what the client says */
    struct slice upload_id;
    const struct store_part *parts; /* number, etag without quotes, perhaps checksum */
    size_t count;
    enum checksum checksum;       /* of the whole object; NONE: not stated */
    struct slice checksum_base64; /* perhaps with "-N" */
    bool type_stated;
    bool checksum_composite;
    int64_t size; /* -1: not stated */
};

struct store_completed {
    enum store_complete_fault fault;
    struct store_part part; /* that is at fault; SMALL: as it is stored, else as it was listed */
    int64_t size;
    enum checksum algorithm; /* the upload's */
    bool composite;
    enum checksum checksum; /* the object's */
    char checksum_base64[STORE_CHECKSUM_MAX];
};

/* `spec` says where, who and on what condition; the rest was kept at the creation. ERR_NOTFOUND
 * upload (without a fault); ERR_INVALID with a fault; ERR_PRECONDITION, ERR_TOOBIG. A completion
 * repeated within a day with the same parts gives the same result without a new event. */
int store_apply_complete(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                         const struct store_completion *c, struct store_completed *done,
                         struct store_put_result *result);

#endif
