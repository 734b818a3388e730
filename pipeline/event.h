/*
 * What happened to an object, in S3's words: event types, and the event record (JSON, version 2.1).
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
 */
#ifndef DARKROOM_PIPELINE_EVENT_H
#define DARKROOM_PIPELINE_EVENT_H

#include "base/buf.h"
#include "base/slice.h"
#include "objectstore/store.h"

/* name, eventName in records, made from. In the order of their numbers in the database: add at the
 * end only. An internal event (an older version became current again) counts as created; records
 * call it a copy, since S3 has no name for it. The native functions act on created events alone:
 * what a removal takes away goes in the removal's own transaction, and tags, ACLs and expired
 * noncurrent versions do not change a picture. Rules for them are kept for functions that care. */
#define EVENT_TYPE_LIST(X)                                                                 \
    X(CREATED_PUT, "ObjectCreated:Put", STORE_CREATED_PUT)                                 \
    X(CREATED_POST, "ObjectCreated:Post", STORE_CREATED_POST)                              \
    X(CREATED_COPY, "ObjectCreated:Copy", STORE_CREATED_COPY)                              \
    X(CREATED_MULTIPART, "ObjectCreated:CompleteMultipartUpload", STORE_CREATED_MULTIPART) \
    X(REMOVED, "ObjectRemoved:Delete", STORE_REMOVED)                                      \
    X(REMOVED_MARKER, "ObjectRemoved:DeleteMarkerCreated", STORE_REMOVED_MARKER)           \
    X(RESTORED, "ObjectCreated:Copy", STORE_RESTORED)                                      \
    X(TAGGED, "ObjectTagging:Put", STORE_TAGGED)                                           \
    X(UNTAGGED, "ObjectTagging:Delete", STORE_UNTAGGED)                                    \
    X(ACL_SET, "ObjectAcl:Put", STORE_ACL_SET)                                             \
    X(EXPIRED, "LifecycleExpiration:Delete", STORE_REMOVED)                                \
    X(EXPIRED_MARKER, "LifecycleExpiration:DeleteMarkerCreated", STORE_REMOVED_MARKER)

enum event_type {
#define X(id, name, kind) EVENT_##id,
    EVENT_TYPE_LIST(X)
#undef X
        EVENT_TYPE_COUNT
};

#define EVENT_MASK(type) (1u << (type))
#define EVENT_MASK_CREATED                                            \
    (EVENT_MASK(EVENT_CREATED_PUT) | EVENT_MASK(EVENT_CREATED_POST) | \
     EVENT_MASK(EVENT_CREATED_COPY) | EVENT_MASK(EVENT_CREATED_MULTIPART))
#define EVENT_MASK_REMOVED (EVENT_MASK(EVENT_REMOVED) | EVENT_MASK(EVENT_REMOVED_MARKER))
#define EVENT_MASK_TAGGING (EVENT_MASK(EVENT_TAGGED) | EVENT_MASK(EVENT_UNTAGGED))
#define EVENT_MASK_EXPIRED (EVENT_MASK(EVENT_EXPIRED) | EVENT_MASK(EVENT_EXPIRED_MARKER))

const char *event_type_name(enum event_type type); /* "ObjectCreated:Put" */
enum event_type event_type_of(enum store_change_kind kind);
/* "s3:ObjectCreated:*" to a mask of types. ERR_INVALID: no event of S3. ERR_UNSUPPORTED: one that
 * this server never raises (ObjectRestore, Replication ...). */
int event_types_parse(struct slice name, unsigned *mask);
/* The fewest names that make up the mask, in a fixed order: "s3:ObjectCreated:*" ... */
void event_types_each(unsigned mask, void (*fn)(void *arg, const char *name), void *arg);

struct event_record {
    enum event_type type;
    struct slice region;
    int64_t time_ms;
    struct slice principal; /* who did it; account id */
    struct slice source_ip;
    struct slice request_id;
    struct slice rule_id;
    struct slice bucket;
    struct slice bucket_owner;
    struct slice key;
    int64_t size; /* left out for removals */
    struct slice etag;
    struct slice version_id; /* n = 0 or "null": left out */
    int64_t generation;      /* the sequencer */
};

/* Appends {"Records":[...]}. The key is URL-encoded ('+' for a space, '/' kept). */
void event_record_write(const struct event_record *record, struct buf *json);
/* The sequencer: 16 upper-case hex digits, so text order is the order of changes of a key. */
#define EVENT_SEQUENCER_TEXT 17
void event_sequencer(int64_t generation, char out[EVENT_SEQUENCER_TEXT]);
void event_key_encode(struct slice key, struct buf *out);

#endif
