/*
 * Buckets, objects, versions of bytes, multipart uploads: the whole public face of the store.
 *
 * Shape of a write. Bytes first, then one transaction:
 *
 *   store_put_begin -> store_put_write* -> store_put_seal        durable bytes that nobody sees
 *                                              |
 *                          a db_op whose apply() calls store_apply_put()     object + hook's rows
 *                                              |
 *                          done(), then store_put_end(&put)       answer; bytes without a row go
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
#include "objectstore/store_list.h"
#include "objectstore/store_object.h"
#include "objectstore/store_reader.h"
#include "objectstore/store_upload.h"

#define STORE_INLINE_MAX (64u << 10)
#define STORE_BLOCK_BYTES (1u << 20)
#define STORE_OBJECT_BYTES_MAX ((int64_t)5 << 40)
#define STORE_PUT_BYTES_MAX ((int64_t)5 << 30)
#define STORE_META_BYTES_MAX (16u << 10) /* all headers kept with an object */
#define STORE_CONTENT_TYPE_MAX 1024
#define STORE_USER_META_MAX (2u << 10) /* x-amz-meta-* names and values together */
#define STORE_BUCKETS_MAX 10000
#define STORE_CONFIG_BYTES_MAX (2u << 20) /* of one document; most have a smaller limit */

struct store;

/* ---- opening ---- */

/* SQL of the store's tables for schema version `version` (1...), NULL past the last. */
const char *store_schema(int version);

enum store_change_kind {
    STORE_CREATED_PUT,
    STORE_CREATED_POST,
    STORE_CREATED_COPY,
    STORE_CREATED_MULTIPART,
    STORE_REMOVED,         /* no version is current any more */
    STORE_REMOVED_MARKER,  /* the same, by a delete marker */
    STORE_RESTORED,        /* an older version became current again (internal event) */
    STORE_REMOVED_VERSION, /* a version that was not current, or a marker, is gone for good */
    STORE_TAGGED,          /* the tags of a version were set or removed; */
    STORE_UNTAGGED,        /*   its bytes, and what is current, stay */
    STORE_ACL_SET,         /* its ACL */
};

struct store_change {
    enum store_change_kind kind;
    int64_t bucket_id;
    struct slice bucket;
    struct slice key;
    int64_t generation;                /* the key's: a new one when another version became current;
                                          equals the object's when created */
    const struct store_object *object; /* the now current version; NULL when removed; for kinds that
                                          change no current version: the version they are about */
    const char *version_id;            /* of the version or marker made, removed or changed; "null"
                                          in a bucket without versioning */
    int64_t old_generation;            /* of the version that was current; 0 when there was none */
    struct slice account_id;           /* who did it; n = 0: the server itself or anonymous */
    struct slice access_key_id;        /* with which key */
    struct slice request_id;
    struct slice source_ip;
    bool by_function;  /* a result: written by store_apply_put() with by_function */
    bool by_lifecycle; /* a rule of the bucket did it, no client */
};

/* Does this kind change which version of the key is current? Then the generation is a new one. */
static inline bool
store_change_is_current(enum store_change_kind kind)
{
    return kind <= STORE_RESTORED;
}

struct store_hooks {
    void *arg;
    /* Writer thread, in the change's transaction. An error undoes the change. NULL: nobody. */
    int (*changed)(void *arg, struct db_conn *conn, const struct store_change *change);
    /* Writer thread: bytes of this current version were found damaged (objectstore/quarantine.h).
     * What can make them again does so. NULL: nobody. */
    int (*damaged)(void *arg, struct db_conn *conn, const struct store_object *object);
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

/* S3's rules: 3-63 of [a-z0-9.-], each label begins and ends with a letter or digit, no IP address,
 * none of the prefixes and suffixes that S3 keeps for itself
 * (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html). */
bool store_bucket_name_ok(struct slice name);
/* ERR_NOTFOUND. Give back with store_bucket_unref(). Any thread with db readers. */
int store_bucket_get(struct store *s, struct slice name, const struct store_bucket **out);
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
/* Once enabled it can only be suspended, and not even that with object lock: ERR_CONFLICT.
 * ERR_NOTFOUND bucket. */
int store_apply_bucket_versioning(struct store *s, struct db_conn *conn, struct slice bucket,
                                  enum store_versioning versioning);
/* For good; enables versioning as well. ERR_NOTFOUND bucket. */
int store_apply_bucket_object_lock(struct store *s, struct db_conn *conn, struct slice bucket);
/* Documents kept per bucket: "policy", "notification", "cors", "lifecycle"... An empty body
 * removes. A policy must have been checked with policy_parse() before. ERR_NOTFOUND bucket. */
int store_apply_bucket_config_set(struct store *s, struct db_conn *conn, struct slice bucket,
                                  const char *name, struct slice body);
/* ERR_NOPARENT bucket, ERR_NOTFOUND no such document. Copied into the arena. */
int store_bucket_config_get(struct store *s, struct slice bucket, const char *name, struct arena *a,
                            struct slice *body);
/* The same inside apply(). */
int store_apply_bucket_get(struct store *s, struct db_conn *conn, struct slice name, int64_t *id,
                           struct arena *a, struct slice *owner);

/* The name of the bucket with that id, in the arena; inside a read or apply(). ERR_NOTFOUND. */
int store_bucket_name(struct db_conn *conn, int64_t id, struct arena *a, struct slice *name);

/* ---- objects ---- */

/* Current version. ERR_NOPARENT bucket, ERR_NOTFOUND key, ERR_CORRUPT inline bytes. HTTP threads:
 * from the cache or one short read. */
int store_get(struct store *s, struct slice bucket, struct slice key,
              const struct store_object **out);
/* One version: `version_id` as clients give it, n = 0: the newest, whether it is an object or a
 * delete marker. Its inline_bytes are left out. ERR_NOPARENT; ERR_NOTFOUND; ERR_INVALID: no version
 * id of ours. HTTP threads; one short read, never from the cache. */
int store_get_version(struct store *s, struct slice bucket, struct slice key,
                      struct slice version_id, const struct store_object **out);
/* Current version as this transaction, or this read, sees it: ERR_NOTFOUND when none. Unref as
 * above. Its inline_bytes are left out (p = NULL): this is for judging, not for reading. */
int store_apply_get(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
                    const struct store_object **out);

/* A client was sent the object, or told that what it has is still right. HTTP threads. */
void store_served(struct store *s, int64_t bucket_id, struct slice key);
/* When that was last, in seconds since 1970; 0: not since *since_ms, as far as is known: see
 * objectstore/served.h. Any thread. */
int64_t store_served_at(struct store *s, int64_t bucket_id, struct slice key, int64_t *since_ms);

/* Of the current version alone, without its record: one seek. On any connection. ERR_NOTFOUND. */
int store_apply_generation(struct store *s, struct db_conn *conn, int64_t bucket_id,
                           struct slice key, int64_t *generation);

/* One version, the same way; see store_get_version(). */
int store_apply_get_version(struct store *s, struct db_conn *conn, int64_t bucket_id,
                            struct slice key, struct slice version_id,
                            const struct store_object **out);

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
    bool has_mtime, has_size; /* deletions alone: the version's as well, in whole seconds */
    int64_t mtime_ms;
    int64_t size;
};

struct store_put_spec {
    enum store_change_kind kind;
    struct slice bucket;
    struct slice key;
    struct slice owner; /* canonical id */
    struct slice account_id;
    struct slice access_key_id;
    struct slice request_id;
    struct slice source_ip;
    struct slice content_type; /* n = 0: binary/octet-stream */
    struct slice meta;
    const char *etag; /* hex MD5 of the bytes */
    enum checksum checksum;
    struct slice checksum_base64;
    bool checksum_composite; /* of an upload to create: the type of its checksum */
    struct slice tags;       /* encoded */
    struct slice acl;        /* encoded */
    enum store_class storage_class;
    struct store_lock lock;
    struct store_condition condition;
    bool by_function;
};

struct store_put_result {
    int64_t generation;
    char version_id[STORE_VERSION_ID_MAX]; /* "" in a bucket without versioning */
    int64_t mtime_ms;
    char etag[STORE_ETAG_MAX];
    bool replaced; /* there was a current version before */
};

/* The sealed bytes become the current version. ERR_NOPARENT, ERR_PRECONDITION, ERR_NOTFOUND
 * (If-Match on a missing key), or what the hook said. */
int store_apply_put(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                    struct store_put *put, struct store_put_result *result);
/* Refers to the blobs of `source`, any version that the caller found in this transaction: no byte
 * moves. ERR_STALE when there is no such version any more. Checks `condition` on the destination;
 * spec->etag is taken from the source, as is the checksum unless the spec has one. */
int store_apply_copy(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                     const struct store_object *source, struct store_put_result *result);

struct store_delete_spec {
    struct slice bucket;
    struct slice key;
    struct slice version_id; /* n = 0: what S3 does without: a marker where there is versioning,
                                else the object goes */
    struct slice account_id;
    struct slice access_key_id;
    struct slice request_id;
    struct slice source_ip;
    struct store_condition condition; /* no if_none_match */
    bool bypass_governance;           /* the caller asked for it and may */
    bool by_function;
    bool by_lifecycle;
    int64_t only_generation; /* != 0: delete only if it is the current one, else ERR_STALE */
};

struct store_delete_result {
    bool existed;                          /* a version or marker is gone, or was current and is
                                              covered by a marker now */
    bool marker;                           /* made, or, with a version id, removed */
    char version_id[STORE_VERSION_ID_MAX]; /* of the version or marker made or removed; "" in a
                                              bucket without versioning */
};

/* ERR_NOPARENT bucket, ERR_PRECONDITION, ERR_DENIED: locked, ERR_INVALID: no version id of ours. A
 * key or version that is not there: ERR_NONE. When the newest version goes, the one before becomes
 * current again (STORE_RESTORED). */
int store_apply_delete(struct store *s, struct db_conn *conn, const struct store_delete_spec *spec,
                       struct store_delete_result *result);

enum store_attribute { STORE_ATTR_TAGS, STORE_ATTR_ACL, STORE_ATTR_RETENTION, STORE_ATTR_HOLD };

struct store_attribute_spec {
    enum store_attribute attribute;
    struct slice bucket;
    struct slice key;
    struct slice version_id; /* n = 0: the newest */
    int64_t only_seq;        /* != 0: only if that is the version, else ERR_STALE */
    struct slice value;      /* tags, ACL: encoded */
    struct store_lock lock;  /* RETENTION: retention and date; HOLD: legal_hold */
    bool bypass_governance;
    struct slice account_id;
    struct slice request_id;
    struct slice source_ip;
};

/* Changes what may change of a version while its bytes stay. ERR_NOPARENT, ERR_NOTFOUND,
 * ERR_INVALID: no version id of ours, ERR_UNSUPPORTED: a delete marker, ERR_DENIED: would weaken a
 * lock. `version_id`: whose, "" in a bucket without versioning. */
int store_apply_attribute(struct store *s, struct db_conn *conn,
                          const struct store_attribute_spec *spec,
                          char version_id[STORE_VERSION_ID_MAX]);

/* ---- upkeep ---- */

/* Removes files and inline blobs no row refers to, older than every put in flight. Any thread but
 * the writer's. `removed` counts. */
int store_sweep(struct store *s, int64_t *removed);

#endif
