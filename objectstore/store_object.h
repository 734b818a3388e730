/*
 * What the store knows: buckets and versions of objects, as records that threads share and only
 * count. A record never changes once it is made.
 *
 * A key has versions, each with a `seq` that rises with its creation and names its version id. At
 * most one of them is current; a delete marker is a version without bytes that makes none current.
 * The `generation` belongs to the key: it rises whenever another version becomes current.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html
 */
#ifndef DARKROOM_OBJECTSTORE_STORE_OBJECT_H
#define DARKROOM_OBJECTSTORE_STORE_OBJECT_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/slice.h"

#define STORE_KEY_MAX 1024
#define STORE_ETAG_MAX 48
#define STORE_CHECKSUM_MAX (DIGEST_BASE64_MAX + 8) /* base64, and "-N" when composite */
#define STORE_VERSION_ID_MAX 20                    /* 16 hex digits, or "null" */
#define STORE_TAGS_BYTES_MAX (16u << 10)           /* encoded: 10 tags of 128 + 256 characters */
#define STORE_ACL_BYTES_MAX (16u << 10)            /* encoded: 100 grants */

struct policy;
struct cors;
struct lifecycle;

/* ---- object lock: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html ---- */

enum store_retention {
    STORE_RETENTION_NONE,
    STORE_RETENTION_GOVERNANCE,
    STORE_RETENTION_COMPLIANCE
};

struct store_lock {
    enum store_retention retention;
    int64_t retain_until_ms;
    bool legal_hold;
    bool hold_stated; /* somebody said ON or OFF */
};

/* What versions get that come without a retention of their own. */
struct store_lock_default {
    enum store_retention retention; /* NONE: nothing */
    int days;                       /* one of them is 0 */
    int years;
};

/* ---- buckets ---- */

enum store_versioning {
    STORE_VERSIONING_OFF,
    STORE_VERSIONING_ENABLED,
    STORE_VERSIONING_SUSPENDED
};

/* Documents of a bucket that requests need parsed or at hand; all others are read when asked for
 * (store_bucket_config_get). n = 0: there is none. */
struct store_bucket { /* shared, immutable; refs counted */
    int64_t id;
    struct slice name;
    struct slice owner; /* canonical id */
    int64_t created_ms;
    struct slice region;
    enum store_versioning versioning;
    bool object_lock; /* enabled for good; versioning cannot be suspended then */
    struct store_lock_default lock_default;
    struct policy *policy;       /* parsed (objectstore/policy.h); NULL without one */
    struct cors *cors;           /* likewise (objectstore/cors.h) */
    struct lifecycle *lifecycle; /* likewise (objectstore/lifecycle.h) */
    struct slice acl;            /* documents as they were set */
    struct slice ownership;
    struct slice access_block;
    bool has_notification; /* there is a notification document, read by others than the store */
    int refs;
};

void store_bucket_unref(const struct store_bucket **b);

/* ---- objects ---- */

/* In the order of their numbers in the database: add at the end only. */
#define STORE_CLASS_LIST(X) \
    X(STANDARD)             \
    X(REDUCED_REDUNDANCY)   \
    X(STANDARD_IA)          \
    X(ONEZONE_IA)           \
    X(INTELLIGENT_TIERING)  \
    X(GLACIER)              \
    X(DEEP_ARCHIVE)         \
    X(GLACIER_IR)

enum store_class {
#define X(name) STORE_CLASS_##name,
    STORE_CLASS_LIST(X)
#undef X
        STORE_CLASS_COUNT
};

const char *store_class_name(enum store_class c);
/* ERR_INVALID: none of S3's. */
int store_class_parse(struct slice name, enum store_class *c);

struct store_extent {
    int64_t blob;
    int64_t offset;
    int64_t bytes;
};

struct store_object { /* shared, immutable; refs counted (atomic) */
    int64_t bucket_id;
    struct slice key;
    int64_t generation; /* the key's, when this version became current */
    int64_t seq;
    char version_id[STORE_VERSION_ID_MAX]; /* "null": put while the bucket had no versioning */
    bool is_latest;                        /* the newest version; current unless it is a marker */
    bool is_marker;                        /* a delete marker: nothing of the below */
    int64_t size;
    int64_t mtime_ms;
    char etag[STORE_ETAG_MAX]; /* without quotes: MD5 in hex, or MD5-N */
    struct slice content_type;
    struct slice owner; /* canonical id */
    struct slice meta;  /* header list, see store_meta_*() */
    struct slice tags;  /* encoded by objectstore/tags.h; n = 0: none */
    struct slice acl;   /* encoded by objectstore/acl.h; n = 0: the owner's alone */
    enum store_class storage_class;
    struct store_lock lock;
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

void store_object_unref(const struct store_object **o);
const struct store_object *store_object_ref(const struct store_object *o);

/* Header lists: name and value pairs in one slice, as kept in `meta`. */
void store_meta_add(struct buf *list, struct slice name, struct slice value);
/* Iterates: start with *at = 0; false at the end (or at damage). */
bool store_meta_next(struct slice list, size_t *at, struct slice *name, struct slice *value);
struct slice store_meta_find(struct slice list, const char *name);

#endif
