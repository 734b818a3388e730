/*
 * A bucket's lifecycle rules: the document, and what it says of one version, delete marker or
 * upload. Nothing here acts; objectstore/lifecycle_run.h does.
 *
 * The document: https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html
 * When a rule takes effect: https://docs.aws.amazon.com/AmazonS3/latest/userguide/
 * intro-lifecycle-rules.html ("adding the number of days ... and rounding the resulting time to the
 * next day midnight UTC").
 *
 * Transitions are refused: there is no other class to move anything to, and a rule that will never
 * be carried out must not look as if it were kept.
 */
#ifndef DARKROOM_OBJECTSTORE_LIFECYCLE_H
#define DARKROOM_OBJECTSTORE_LIFECYCLE_H

#include "base/buf.h"
#include "base/slice.h"

#define LIFECYCLE_RULES_MAX 1000
#define LIFECYCLE_ID_MAX 255
#define LIFECYCLE_KEEP_MAX 100 /* NewerNoncurrentVersions */
#define LIFECYCLE_BYTES_MAX (1u << 20)
#define LIFECYCLE_DAY_MS ((int64_t)24 * 3600 * 1000)
#define LIFECYCLE_NEVER INT64_MAX

struct lifecycle;

/* Gives rules without an ID one. ERR_INVALID: not a document of that kind (S3: MalformedXML); with
 * one sentence in `why`: ERR_RANGE a value that cannot be (S3: InvalidArgument), ERR_CONFLICT what
 * does not go together (S3: InvalidRequest), ERR_UNSUPPORTED. ERR_NOMEM. */
int lifecycle_parse(struct slice xml, struct lifecycle **out, struct buf *why);
void lifecycle_free(struct lifecycle **l);
/* The document again, with nothing in it but what was understood. */
void lifecycle_write(const struct lifecycle *l, struct buf *out);

/* Where the enabled rules look: keys with this prefix, and whether any is about versions or
 * uploads. */
struct lifecycle_scope {
    struct slice prefix;
    bool versions;
    bool uploads;
};

struct lifecycle_scope lifecycle_scope(const struct lifecycle *l);

enum lifecycle_kind {
    LIFECYCLE_CURRENT,
    LIFECYCLE_NONCURRENT,  /* a version or a marker */
    LIFECYCLE_LONE_MARKER, /* the only version of its key */
    LIFECYCLE_UPLOAD
};

struct lifecycle_subject {
    enum lifecycle_kind kind;
    bool is_marker;
    struct slice key;
    int64_t size;
    struct slice tags; /* as they are kept (objectstore/tags.h) */
    int64_t since_ms;  /* created; a noncurrent version: succeeded by another */
    int newer;         /* noncurrent versions of the key that are newer */
};

/* The earliest time at which an enabled rule takes it away, and whose that is; LIFECYCLE_NEVER.
 * `day_ms`: the length of a day. Any thread: a struct lifecycle is immutable. */
int64_t lifecycle_due(const struct lifecycle *l, const struct lifecycle_subject *subject,
                      int64_t day_ms, struct slice *rule_id);

#endif
