/*
 * Multipart uploads: parts are bytes with references of their own; the completion hands them to the
 * object, so no byte moves. store_apply_*() run on the writer thread inside a db_op.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
 */
#ifndef DARKROOM_OBJECTSTORE_STORE_UPLOAD_H
#define DARKROOM_OBJECTSTORE_STORE_UPLOAD_H

#include "base/db.h"
#include "objectstore/store_object.h"

#define STORE_PART_MAX 10000
#define STORE_PART_BYTES_MIN ((int64_t)5 << 20)

struct store;
struct store_put;
struct store_put_spec;
struct store_put_result;

#define STORE_UPLOAD_ID_MAX 64

/* The spec's key, owner, content type and meta are kept for the completion. */
int store_apply_upload_create(struct store *s, struct db_conn *conn,
                              const struct store_put_spec *spec,
                              char upload_id[STORE_UPLOAD_ID_MAX]);

struct store_part {
    int number;
    int64_t size;
    int64_t mtime_ms;
    char etag[STORE_ETAG_MAX];
    enum checksum checksum;
    char checksum_base64[DIGEST_BASE64_MAX];
};
/* Replaces an earlier part of that number. ERR_NOTFOUND upload. */
int store_apply_part(struct store *s, struct db_conn *conn, struct slice bucket, struct slice key,
                     struct slice upload_id, const struct store_part *part, struct store_put *put);
/* A part out of a range of a version that the caller found in this transaction, by reference. */
int store_apply_part_copy(struct store *s, struct db_conn *conn, struct slice bucket,
                          struct slice key, struct slice upload_id, struct store_part *part,
                          const struct store_object *source, int64_t offset, int64_t bytes);

enum store_complete_fault {
    STORE_COMPLETE_OK,
    STORE_COMPLETE_ORDER,
    STORE_COMPLETE_PART,
    STORE_COMPLETE_SMALL
};
/* Parts as the client lists them (etag without quotes). ERR_NOTFOUND upload; ERR_INVALID with
 * `*fault`. A repeated completion with the same parts gives the same result without a new event. */
int store_apply_complete(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                         struct slice upload_id, const struct store_part *parts, size_t count,
                         enum store_complete_fault *fault, struct store_put_result *result);

int store_apply_upload_abort(struct store *s, struct db_conn *conn, struct slice bucket,
                             struct slice key, struct slice upload_id);
typedef int (*store_part_fn)(void *arg, const struct store_part *part);
int store_part_list(struct store *s, struct slice bucket, struct slice key, struct slice upload_id,
                    int after, int max, store_part_fn fn, void *arg, bool *truncated);

struct store_upload {
    struct slice key;
    struct slice upload_id;
    struct slice owner;
    int64_t created_ms;
};
typedef int (*store_upload_fn)(void *arg, const struct store_upload *upload);
int store_upload_list(struct store *s, struct slice bucket, struct slice prefix,
                      struct slice after_key, struct slice after_upload, int max,
                      store_upload_fn fn, void *arg, bool *truncated);

#endif
