/*
 * Buckets, objects, versions of bytes, multipart uploads: the whole public face of the store.
 *
 * Shape of a write. Bytes first, then one transaction:
 *
 *   store_put_begin -> store_put_write* -> store_put_seal        bytes are durable, nobody sees
 * them
 *                                              |
 *                          a db_op whose apply() calls store_apply_put()     object + hook's rows
 *                                              |
 *                          done(): store_put_end(&put)            answer, or drop the bytes
 *
 * All store_apply_*() run on the writer thread inside a db_op; their pointers (spec, slices) must
 * live until that op's done(). Every change of which version of a key is current calls
 * hooks.changed() in the same transaction, so whatever the hook writes (events, provenance, items)
 * exists exactly when the change does.
 *
 * Bytes are extents of immutable, reference-counted blobs: <= STORE_INLINE_MAX in the database,
 * larger ones one file each, DIR/blobs/<id / 4096>/<id>, never named after a key. Each 1 MiB block
 * has a CRC32C, checked when read.
 *
 * Reading never takes a lock: each thread has its own cache of object and bucket records, valid as
 * long as a stamp that the writer raises after COMMIT (before the answer) has not moved.
 */
#ifndef DARKROOM_OBJECTSTORE_STORE_H
#define DARKROOM_OBJECTSTORE_STORE_H

#include "base/arena.h"
#include "base/db.h"
#include "base/digest.h"
#include "base/slice.h"

#define STORE_INLINE_MAX (64u << 10)
#define STORE_BLOCK_BYTES (1u << 20)
#define STORE_KEY_MAX 1024
#define STORE_OBJECT_BYTES_MAX ((int64_t)5 << 40)
#define STORE_PUT_BYTES_MAX ((int64_t)5 << 30)
#define STORE_META_BYTES_MAX (16u << 10) /* all headers kept with an object */
#define STORE_CONTENT_TYPE_MAX 1024
#define STORE_USER_META_MAX (2u << 10) /* x-amz-meta-* names and values together */
#define STORE_PART_MAX 10000
#define STORE_PART_BYTES_MIN ((int64_t)5 << 20)
#define STORE_ETAG_MAX 48
#define STORE_CHECKSUM_MAX (DIGEST_BASE64_MAX + 8) /* base64, and "-N" when composite */
#define STORE_BUCKETS_MAX 10000
#define STORE_LIST_MAX 1000
#define STORE_CONFIG_BYTES_MAX (64u << 10)

struct store;
struct policy;
struct cors;

/* ---- opening ---- */

/* SQL of the store's tables for schema version `version` (1...), NULL past the last. */
const char *store_schema(int version);

enum store_change_kind {
    STORE_CREATED_PUT,
    STORE_CREATED_POST,
    STORE_CREATED_COPY,
    STORE_CREATED_MULTIPART,
    STORE_REMOVED, /* no version is current any more */
    STORE_REMOVED_MARKER,
    STORE_RESTORED /* an older version became current again (internal event) */
};

struct store_change {
    enum store_change_kind kind;
    int64_t bucket_id;
    struct slice bucket;
    struct slice key;
    int64_t generation;                /* the key's new one: equals the object's when created */
    const struct store_object *object; /* the now current version; NULL when removed */
    int64_t old_generation;            /* of the version that was current; 0 when there was none */
    struct slice account_id;           /* who did it; n = 0: the server itself or anonymous */
    struct slice request_id;
    struct slice source_ip;
    bool by_function; /* a result: written by store_apply_put() with by_function */
};

struct store_hooks {
    void *arg;
    /* Writer thread, in the change's transaction. An error undoes the change. NULL: nobody. */
    int (*changed)(void *arg, struct db_conn *conn, const struct store_change *change);
};

struct store_options {
    struct db *db;
    const char *dir;     /* the data directory; blobs/ is made in it */
    int64_t cache_bytes; /* in all threads together */
    struct store_hooks hooks;
};

/* Recovers: finishes unlinks, sweeps files no row refers to. */
int store_open(struct store **out, const struct store_options *options);
/* Every put has ended, every reader is closed, and nobody submits to the database any more. */
void store_close(struct store **s);
/* Each thread that read through the store calls it before it ends (also db_thread_end()). */
void store_thread_end(struct store *s);

/* ---- buckets ---- */

struct store_bucket { /* shared, immutable; refs counted */
    int64_t id;
    struct slice name;
    struct slice owner; /* canonical id */
    int64_t created_ms;
    struct slice region;
    struct policy *policy; /* parsed (objectstore/policy.h); NULL without one */
    struct cors *cors;     /* likewise (objectstore/cors.h) */
    int refs;
};

/* S3's rules: 3-63 of [a-z0-9.-], no IP address, no "xn--", no "..", begins and ends with letter or
 * digit (userguide/bucketnamingrules.html). */
bool store_bucket_name_ok(struct slice name);
/* ERR_NOTFOUND. Give back with store_bucket_unref(). Any thread with db readers. */
int store_bucket_get(struct store *s, struct slice name, const struct store_bucket **out);
void store_bucket_unref(const struct store_bucket **b);
typedef int (*store_bucket_fn)(void *arg, const struct store_bucket *b);
/* In name order, of that owner (n = 0: all), names after `after`; stops when fn returns non-zero.
 */
int store_bucket_list(struct store *s, struct slice owner, struct slice after, store_bucket_fn fn,
                      void *arg);

/* ERR_EXISTS (*owner_is_same tells whose), ERR_INVALID name, ERR_TOOBIG past STORE_BUCKETS_MAX. */
int store_apply_bucket_create(struct store *s, struct db_conn *conn, struct slice name,
                              struct slice owner, struct slice region, bool *owner_is_same);
/* ERR_NOTFOUND, ERR_NOTEMPTY (objects or uploads). */
int store_apply_bucket_delete(struct store *s, struct db_conn *conn, struct slice name);
/* Documents kept per bucket: "policy", "notification", later "cors", "lifecycle"... An empty body
 * removes. A policy must have been checked with policy_parse() before. ERR_NOTFOUND bucket. */
int store_apply_bucket_config_set(struct store *s, struct db_conn *conn, struct slice bucket,
                                  const char *name, struct slice body);
/* ERR_NOPARENT bucket, ERR_NOTFOUND no such document. Copied into the arena. */
int store_bucket_config_get(struct store *s, struct slice bucket, const char *name, struct arena *a,
                            struct slice *body);
/* The same inside apply(). */
int store_apply_bucket_get(struct store *s, struct db_conn *conn, struct slice name, int64_t *id,
                           struct arena *a, struct slice *owner);

/* ---- objects ---- */

struct store_extent {
    int64_t blob;
    int64_t offset;
    int64_t bytes;
};

struct store_object { /* shared, immutable; refs counted (atomic) */
    int64_t bucket_id;
    struct slice key;
    int64_t generation;
    int64_t size;
    int64_t mtime_ms;
    char etag[STORE_ETAG_MAX]; /* without quotes: MD5 in hex, or MD5-N */
    struct slice version_id;   /* "null" in a bucket without versioning */
    struct slice content_type;
    struct slice owner; /* canonical id */
    struct slice meta;  /* header list, see store_meta_*() */
    enum checksum checksum;
    char checksum_base64[STORE_CHECKSUM_MAX];
    bool checksum_composite; /* of a multipart upload's part checksums; ends with "-N" */
    int part_count;          /* 0: not multipart */
    bool by_function;
    struct store_extent *extents;
    size_t extent_count;
    struct slice inline_bytes; /* the whole object when size <= STORE_INLINE_MAX and it is one
                                  inline extent, already verified; else p = NULL */
    int refs;
};

/* Current version. ERR_NOPARENT bucket, ERR_NOTFOUND key, ERR_CORRUPT inline bytes. HTTP threads:
 * from the cache or one short read. */
int store_get(struct store *s, struct slice bucket, struct slice key,
              const struct store_object **out);
void store_object_unref(const struct store_object **o);
const struct store_object *store_object_ref(const struct store_object *o);
/* Current version as this transaction sees it: ERR_NOTFOUND when none. Unref as above. Its
 * inline_bytes are left out (p = NULL): this is for judging, not for reading. */
int store_apply_get(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
                    const struct store_object **out);

/* Header lists: name and value pairs in one slice, as kept in `meta`. */
void store_meta_add(struct buf *list, struct slice name, struct slice value);
/* Iterates: start with *at = 0; false at the end (or at damage). */
bool store_meta_next(struct slice list, size_t *at, struct slice *name, struct slice *value);
struct slice store_meta_find(struct slice list, const char *name);

/* ---- bytes on their way in ---- */

struct store_put;

/* Any one thread at a time owns a put. `bytes_expected` < 0: unknown. ERR_FULL below the reserve,
 * ERR_BUSY, ERR_SYNC, ERR_IO. */
int store_put_begin(struct store *s, struct store_put **out, int64_t bytes_expected);
int store_put_write(struct store_put *put, const void *p, size_t n);
int64_t store_put_bytes(const struct store_put *put);
/* Makes the bytes durable on a pool thread (small ones: nothing to do, done() is called at once by
 * this thread). ERR_SYNC, ERR_FULL, ERR_IO go to done(). The put stays the caller's. */
typedef void (*store_sealed_fn)(void *arg, int err);
void store_put_seal(struct store_put *put, store_sealed_fn done, void *arg);
/* After the transaction, or instead of it: bytes that no committed row refers to are removed. NULL
 * is allowed. Any thread. */
void store_put_end(struct store_put **put);

/* ---- changing objects (inside apply()) ---- */

struct store_condition { /* n = 0: absent; texts as in the headers, may be lists or "*" */
    struct slice if_match;
    struct slice if_none_match;
};

struct store_put_spec {
    enum store_change_kind kind;
    struct slice bucket;
    struct slice key;
    struct slice owner; /* canonical id */
    struct slice account_id;
    struct slice request_id;
    struct slice source_ip;
    struct slice content_type; /* n = 0: binary/octet-stream */
    struct slice meta;
    const char *etag; /* hex MD5 of the bytes */
    enum checksum checksum;
    struct slice checksum_base64;
    struct store_condition condition;
    bool by_function;
};

struct store_put_result {
    int64_t generation;
    int64_t mtime_ms;
    char etag[STORE_ETAG_MAX];
    bool replaced; /* there was a current version before */
};

/* The sealed bytes become the current version. ERR_NOPARENT, ERR_PRECONDITION, ERR_NOTFOUND
 * (If-Match on a missing key), or what the hook said. */
int store_apply_put(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                    struct store_put *put, struct store_put_result *result);
/* Refers to the source's blobs: no byte moves. ERR_STALE when that generation of the source is no
 * longer current: find it again. Checks `condition` on the destination;
 * spec->etag and checksum are taken from the source. The source is found by the caller. */
int store_apply_copy(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                     int64_t source_bucket_id, struct slice source_key, int64_t source_generation,
                     struct store_put_result *result);

struct store_delete_spec {
    struct slice bucket;
    struct slice key;
    struct slice account_id;
    struct slice request_id;
    struct slice source_ip;
    struct store_condition condition; /* if_match only */
    bool by_function;
    int64_t only_generation; /* != 0: delete only if it is the current one, else ERR_STALE */
};

/* ERR_NOPARENT bucket, ERR_PRECONDITION. A key that is not there: ERR_NONE, *existed = false. */
int store_apply_delete(struct store *s, struct db_conn *conn, const struct store_delete_spec *spec,
                       bool *existed);

/* ---- listing: cost grows with what is returned, a common prefix is sought past ---- */

struct store_list_spec {
    struct slice bucket;
    struct slice prefix;
    struct slice delimiter; /* n = 0: none; any length */
    struct slice after;     /* names up to and including it are left out; a common prefix that
                               starts before or equals it too */
    int max;                /* entries, keys and common prefixes together */
};

struct store_list_entry {
    bool is_prefix;
    struct slice name; /* key or common prefix; lent during the call */
    int64_t size;
    int64_t mtime_ms;
    const char *etag;
    struct slice owner;
    struct slice version_id;
    enum checksum checksum;
    int64_t generation;
};

/* Non-zero ends the listing there (*truncated = true). In a read of the database: the callbacks of
 * this and the other lists must not call the store. */
typedef int (*store_list_fn)(void *arg, const struct store_list_entry *e);
/* ERR_NOPARENT. `*truncated`: more follow; the last entry's name is then the next `after`. */
int store_list(struct store *s, const struct store_list_spec *spec, store_list_fn fn, void *arg,
               bool *truncated);

/* ---- multipart uploads ---- */

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
/* A part out of a range of an existing object, by reference. */
int store_apply_part_copy(struct store *s, struct db_conn *conn, struct slice bucket,
                          struct slice key, struct slice upload_id, struct store_part *part,
                          int64_t source_bucket_id, struct slice source_key,
                          int64_t source_generation, int64_t offset, int64_t bytes);
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

/* ---- bytes on their way out ---- */

struct store_reader;

/* Keeps a reference on the object. ERR_RANGE. ERR_STALE: the bytes went away since store_get(), so
 * call that again; once open, they stay readable. The same holds for the three functions below.
 * Any thread with db readers. */
int store_reader_open(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
                      struct store_reader **out);
/* Verified bytes; > 0, 0 at the end, or ERR_CORRUPT / ERR_IO. */
ptrdiff_t store_reader_read(struct store_reader *r, char *p, size_t n);
void store_reader_close(struct store_reader **r);
/* When the range is one stretch of one file whose blocks were all verified in this process: a
 * descriptor (the caller's) and its offset, for sendfile. ERR_UNSUPPORTED otherwise. */
int store_sendfile(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
                   int *fd, int64_t *fd_offset);
/* Verifies the first block that a reader of this range would send: so that damage is a 500 before
 * the first byte. */
int store_verify_first(struct store *s, const struct store_object *o, int64_t offset);
/* The whole object, verified, as one read-only descriptor at offset 0: a sealed memfd or the file
 * itself. Reads the disk; not on HTTP threads. */
int store_source_fd(struct store *s, const struct store_object *o, int *fd);

/* ---- upkeep ---- */

/* Removes files and inline blobs no row refers to, older than every put in flight. Any thread but
 * the writer's. `removed` counts. */
int store_sweep(struct store *s, int64_t *removed);

#endif
