/*
 * Inside the S3 face: one request (struct s3_request), the operation table's rows, and what the
 * handler files share. The life of a request is told at the top of s3_service.c.
 */
#ifndef DARKROOM_OBJECTSTORE_S3_PRIV_H
#define DARKROOM_OBJECTSTORE_S3_PRIV_H

#include "base/auth.h"
#include "base/payload.h"
#include "base/xml.h"
#include "objectstore/s3_access.h"
#include "objectstore/s3_reply.h"
#include "objectstore/s3_service.h"

#define S3_PARSE_MEMORY_MAX (16u << 20) /* tree of one XML body */
#define S3_DOC_SMALL (64u << 10)
#define S3_DOC_DELETE (2u << 20)
#define S3_DOC_LIFECYCLE (1u << 20)
#define S3_DOC_COMPLETE (4u << 20)
#define S3_DELETE_KEYS_MAX 1000
#define S3_EXTRAS_MAX 6

struct s3_service {
    uint32_t magic;
    struct store *store;
    struct db *db;
    const struct accounts *accounts;
    char *domain;
    char *region;
    int64_t day_ms;   /* of lifecycle rules */
    char host_id[64]; /* x-amz-id-2: this process */
    struct s3_hooks hooks;
};

enum s3_level { S3_SERVICE, S3_BUCKET, S3_OBJECT };

/* What follows the headers: nothing, a document of at most doc_max bytes, an object's bytes, or a
 * form with a file in it. */
enum s3_body { S3_BODY_NONE, S3_BODY_DOC, S3_BODY_OBJECT, S3_BODY_FORM };

#define S3_MUTATES 1u       /* gets an info line in the log */
#define S3_ADMITTED 2u      /* refused with SlowDown while hooks.accepting() says no */
#define S3_NEW_BUCKET 4u    /* the bucket need not exist */
#define S3_OWNER 8u         /* for the owner's account alone, whatever a policy grants */
#define S3_JUDGES 16u       /* the handler asks s3_may() itself */
#define S3_COPIES 32u       /* the row for requests with x-amz-copy-source */
#define S3_LISTS 64u        /* prefix and delimiter count in the policy's conditions */
#define S3_FREES 128u       /* may use the space reserve */
#define S3_OF_OBJECT 256u   /* about an object that exists: it is looked up and judged with */
#define S3_SUMS_OTHER 4096u /* x-amz-checksum-* headers are not about the body */

struct s3_request;
struct s3_post; /* s3_post.c */
typedef void (*s3_handler_fn)(struct s3_request *q);

struct s3_op {
    const char *name;
    enum http_method method;
    enum s3_level level;
    const char *sub; /* sub-resource; NULL: none */
    const char *action;
    enum s3_body body;
    size_t doc_max;
    unsigned flags;
    s3_handler_fn prepare; /* before the body; may answer; NULL: nothing to do */
    s3_handler_fn run;     /* the whole body is here and holds what it promised */
    const char *canned;    /* the whole answer, for rows that have one */
    enum s3_fault fault;   /* or, without one, the refusal */
};

struct s3_pair {
    const char *name;
    struct slice value;
};

/* On the writer thread; may run twice, so it keeps nothing from an earlier run. */
typedef int (*s3_apply_fn)(struct s3_request *q, struct db_conn *conn);
/* After the commit (err = 0) or instead of it; replies. Must not block. */
typedef void (*s3_answer_fn)(struct s3_request *q, int err);

struct s3_write {
    struct db_op op;
    struct s3_request *q;
    s3_apply_fn apply;
    s3_answer_fn answer;
    struct store_put *put;
    struct store_put_spec spec;
    struct store_put_result result;
    struct buf meta;
    char etag[2 * MD5_BYTES + 1];
    enum checksum sum;       /* wanted: of the body, or by s3_sum_and_commit(); NONE: any or none */
    bool sum_must_be_stated; /* of the body */
    char sum_base64[DIGEST_BASE64_MAX]; /* by s3_sum_and_commit() */
    const struct store_object *source;  /* of a copy; a reference */
    int64_t bytes;                      /* for the log */
    int64_t generation;
};

struct s3_request {
    uint32_t magic;
    struct http_request *r;
    const struct s3_service *s;
    const struct s3_op *op;
    struct slice bucket_name;          /* p = NULL: none */
    struct slice key;                  /* p = NULL: none */
    const struct store_bucket *bucket; /* a reference */
    const struct store_object *object; /* a reference, of S3_OF_OBJECT; see s3_object_find() */
    const struct account *account;     /* NULL: anonymous */
    const struct tags *tags;           /* of a document, while permission is asked with them */
    const struct store_lock *lock;     /* likewise */
    struct slice version_id;           /* that permission is asked about; p = NULL: none */
    uint8_t *policy_memo;              /* of q->bucket, see policy.h; NULL: none */
    struct slice source_ip;            /* made by s3_source_ip() */
    struct payload *payload;
    struct s3_post *post;         /* of S3_BODY_FORM: its bytes go there */
    enum payload_fault fault;     /* what was wrong with the body */
    int64_t dropped;              /* body bytes that no operation asked for */
    struct buf doc;               /* the body of S3_BODY_DOC */
    struct arena *tree;           /* its parse tree, apart from the request's small arena */
    struct s3_write *w;           /* operations that write */
    void *state;                  /* the operation's own, in an arena */
    const struct s3_serve *serve; /* s3_serve_object(): not a request to S3 at all; else NULL */
    struct s3_pair extra[S3_EXTRAS_MAX];
    size_t extra_count;
    int status; /* answered */
};

/* ---- s3_ops.c ---- */

/* The row for this request; NULL: answered (405, 501). */
const struct s3_op *s3_op_find(struct s3_request *q);
/* Rows for tests; NULL past the end. */
const struct s3_op *s3_op_at(size_t index);

/* ---- s3_get.c ---- */

/* What s3_may_get() and s3_serve_object() stand for; no row of the table. */
extern const struct s3_op s3_op_serve;

/* ---- s3_service.c ---- */

/* Makes q->w; false: answered. */
bool s3_write_begin(struct s3_request *q);
/* Begins q->w->put; ERR_BUSY also when http_body_room() says no. */
int s3_put_begin(struct s3_request *q, int64_t bytes_expected);
/* A payload_sink_fn into q->w->put; counts what is kept in memory. */
int s3_put_sink(void *arg, const void *p, size_t n);
/* Suspends and queues; `answer` replies, on the syncer thread. Afterwards q is not ours. */
void s3_commit(struct s3_request *q, s3_apply_fn apply, s3_answer_fn answer);
/* The same after q->w->put is durable. */
void s3_seal_and_commit(struct s3_request *q, s3_apply_fn apply, s3_answer_fn answer);
/* Answers what r->auth says, or what q->fault says of the body. */
void s3_fail_auth(struct s3_request *q);
void s3_fail_payload(struct s3_request *q);
/* The same after a checksum (q->w->sum) of stored bytes is known, in q->w->sum_base64; takes its
 * own reference on the object. */
void s3_sum_and_commit(struct s3_request *q, const struct store_object *o, int64_t offset,
                       int64_t bytes, s3_apply_fn apply, s3_answer_fn answer);
/* Root element of the body, so named; NULL: answered with MalformedXML. */
const struct xml_node *s3_doc_parse(struct s3_request *q, const char *root);
/* The same with another word for MalformedXML. */
const struct xml_node *s3_doc_parse_as(struct s3_request *q, const char *root,
                                       enum s3_fault malformed);

/* ---- s3_config.c: documents kept with a bucket ---- */

/* Keeps `body` (in q->doc or the arena; n = 0 takes the document away), checked already, under
 * `name` and answers `status`. */
void s3_config_put(struct s3_request *q, const char *name, struct slice body, int status);
/* The text to keep, from the document that was sent; an error and S3's sentence for it in `why`. */
typedef int (*s3_rewrite_fn)(struct slice document, struct buf *out, struct buf *why);
typedef void (*s3_refuse_fn)(struct s3_request *q, int err, const struct buf *why);
/* The same of the body as `rewrite` keeps it; `refuse` answers for what it does not. */
void s3_config_put_checked(struct s3_request *q, const char *name, s3_rewrite_fn rewrite,
                           s3_refuse_fn refuse);
/* What a buffer holds as a text in the request's arena; the buffer is given back in any case.
 * false: answered. */
bool s3_keep(struct s3_request *q, struct buf *b, struct slice *out);
/* Answers with an XML document as it was kept, or with `absent`. */
void s3_config_reply(struct s3_request *q, const char *name, enum s3_fault absent);

/* ---- s3_presign.c ---- */

/* Adds the headers that a presigned request has in its query to r->fields; false: answered. */
bool s3_hoisted_headers(struct s3_request *q);

/* ---- s3_cors.c ---- */

/* Answers OPTIONS, whoever sends it. */
void s3_preflight(struct s3_request *q);
/* Before the answer to a request with Origin: the headers that let its page read the answer, when
 * the bucket's rules allow. Finds q->bucket when there is one. */
void s3_cors_headers(struct s3_request *q);

/* ---- s3_lock.c ---- */

/* The caller asked to bypass governance, and may. */
bool s3_bypasses_governance(struct s3_request *q, struct slice key);
/* The lock of the version that this upload makes: what its headers ask for, else the bucket's
 * default. A body that is to be locked must come with its digest. false: answered. */
bool s3_lock_of_headers(struct s3_request *q, struct store_lock *lock);
/* The headers that tell of it, as far as the caller may know. */
void s3_lock_headers(struct s3_request *q, const struct store_object *o);

/* ---- s3_lifecycle.c ---- */

/* x-amz-expiration, when a rule of the bucket will remove such a current version. `tags` as kept
 * with objects. */
void s3_expiration_header(struct s3_request *q, int64_t size, struct slice tags, int64_t mtime_ms);

/* ---- s3_cond.c ---- */

struct s3_conditions {
    struct slice if_match;
    struct slice if_none_match;
    struct slice if_modified_since;
    struct slice if_unmodified_since;
};

enum s3_verdict { S3_GO, S3_NOT_MODIFIED, S3_FAILED };

/* copy: the x-amz-copy-source- forms. */
void s3_conditions_read(const struct http_request *r, bool copy, struct s3_conditions *out);
/* RFC 9110 section 13.2.2. */
enum s3_verdict s3_conditions_judge(const struct s3_conditions *c, const char *etag,
                                    int64_t mtime_ms);
/* `strong` after If-Match: a weak tag never matches. List of tags, quoted or not, or "*". */
bool s3_etag_matches(struct slice list, const char *etag, bool strong);
bool s3_if_range_holds(struct slice value, const char *etag, int64_t mtime_ms);
/* "bytes=..." against a size. ERR_NONE; ERR_UNSUPPORTED: ignore it; ERR_RANGE: 416. */
int s3_range(struct slice text, int64_t size, int64_t *offset, int64_t *bytes);
/* A date of a condition, in whole seconds. ERR_INVALID: none. */
int s3_date_seconds(struct slice text, int64_t *out);
/* If-Match and If-None-Match of an operation that makes a version; false: answered. */
bool s3_condition_read(struct s3_request *q, struct store_condition *out);

/* ---- s3_object.c, shared with multipart and copy ---- */

/* q->w->spec from the headers; false: answered. `describe`: content type and metadata as well. */
bool s3_spec_fill(struct s3_request *q, enum store_change_kind kind, bool describe);
/* The body's ETag and checksum into q->w->spec, once it has arrived. */
void s3_spec_seal(struct s3_request *q);
/* The writer's part of PUT and POST of an object: q->w->spec and q->w->put. */
int s3_apply_put(struct s3_request *q, struct db_conn *conn);
/* After it: counts, and says in headers what was made. false: answered. */
bool s3_put_made(struct s3_request *q, int err);
/* Decimal query parameter in min..max (more is max when `clip`); false: answered. */
bool s3_param_int(struct s3_request *q, const char *name, int min, int max, bool clip, int fallback,
                  int *out);

/* ---- s3_tagging.c ---- */

/* May the caller give tags to an object that this request makes? */
bool s3_tags_allowed(struct s3_request *q);
/* x-amz-tagging into q->w->spec.tags; false: answered. HTTP thread. */
bool s3_tags_fill(struct s3_request *q);
/* A form's field `tagging`, a document, as that header's text; false: answered. */
bool s3_tags_of_form(struct s3_request *q, struct slice xml, struct slice *header);
/* x-amz-tagging-count, to those who may read the tags. HTTP thread. */
void s3_tags_count_header(struct s3_request *q, const struct store_object *o);

/* ---- s3_post.c ---- */

void s3_post_body(struct s3_request *q, const void *p, size_t n);
/* The whole form is here; false: answered. */
bool s3_post_end(struct s3_request *q);
void s3_post_fini(struct s3_request *q);

/* ---- s3_versioning.c ---- */

/* ?versionId; p = NULL without one. false: answered (it is empty). */
bool s3_version_param(struct s3_request *q, struct slice *id);
/* For operations that make versions: ?versionId is refused. false: answered. */
bool s3_version_absent(struct s3_request *q);
/* The version that ?versionId names, else the current one; a reference. NULL: answered, delete
 * markers as S3 does. HTTP thread. */
const struct store_object *s3_version_find(struct s3_request *q);
/* `id` was found in `argument` and is no version id of ours. */
void s3_fail_version_id(struct s3_request *q, const char *argument, struct slice id);
/* The key, or with `id` (n > 0) that version of it, is not there; told only to those who may list.
 * HTTP thread. */
void s3_fail_absent(struct s3_request *q, const struct store_bucket *bucket, struct slice key,
                    struct slice id);
/* x-amz-version-id of a version that was read, where the bucket has or had versioning. */
void s3_version_header(struct s3_request *q, const struct store_bucket *bucket,
                       const struct store_object *o);
/* The same of a version just made, as store_put_result has it. */
void s3_version_made(struct s3_request *q, const char *version_id);

struct s3_attribute_change {
    struct store_attribute_spec spec;
    char version_id[STORE_VERSION_ID_MAX]; /* whose it was; "" in a bucket without versioning */
    bool names_version;                    /* in the answer */
};

/* A change of the version that s3_version_find() gave and permission was judged by, and of no
 * other: overtaken by a newer one it is OperationAborted. The caller adds the value. NULL:
 * answered. HTTP thread. */
struct s3_attribute_change *s3_attribute_begin(struct s3_request *q, const struct store_object *o,
                                               enum store_attribute attribute);
/* Queues it; answers 200, or 204 to a DELETE. */
void s3_attribute_commit(struct s3_request *q);

/* ---- s3_attributes.c ---- */

struct s3_part { /* of an object */
    int64_t offset, bytes;
    enum checksum checksum;
    char checksum_base64[STORE_CHECKSUM_MAX];
};

/* The part that ?partNumber names, 1 being all of an object that was put at once; false: answered.
 * HTTP thread. */
bool s3_part_chosen(struct s3_request *q, const struct store_object *o, struct s3_part *out);

/* ---- s3_sums.c ---- */

/* x-amz-checksum-algorithm; NONE: not asked for; false: answered. */
bool s3_sum_algorithm(struct s3_request *q, enum checksum *checksum);
/* Another algorithm than it has to be; NONE: none. */
void s3_fail_sum_type(struct s3_request *q, enum checksum expected, enum checksum actual);

/* ---- s3_copy.c, shared with multipart ---- */

struct s3_copy {
    struct slice bucket;
    struct slice key;
    struct slice version_id; /* n = 0: the current one */
    int64_t bucket_id;
    struct s3_conditions conditions;
    bool replace;           /* metadata from this request */
    bool replace_tags;      /* likewise */
    bool tags_allowed;      /* may read the source's tags and set them */
    bool ranged;            /* a part by copy, of a stretch of the source */
    bool versioned;         /* the source's bucket has or had versioning */
    bool old_version;       /* of the source, by its id, as it was found before the transaction */
    enum store_class class; /* the source's, likewise */
    int64_t summed_seq;     /* the version whose bytes were summed; 0: none was */
};

/* The text of x-amz-copy-source without the "?versionId=..." at its end, both still encoded; any
 * other '?' is part of the key. *id with p = NULL: there is none. */
struct slice s3_copy_source_cut(struct slice text, struct slice *id);
/* Reads x-amz-copy-source, checks permission; NULL: answered. */
struct s3_copy *s3_copy_begin(struct s3_request *q);
/* The source before the transaction, a reference; what store_get() says. HTTP thread. */
int s3_copy_found(struct s3_request *q, const struct s3_copy *c, const struct store_object **out);
/* In apply(): the source as it is now, into q->w->source, judged. */
int s3_copy_source(struct s3_request *q, const struct s3_copy *c, struct db_conn *conn);
/* x-amz-copy-source-version-id, after the transaction. */
void s3_copy_source_header(struct s3_request *q, const struct s3_copy *c);

/* ---- handlers ---- */

void s3_prepare_put_object(struct s3_request *q);
void s3_run_put_object(struct s3_request *q);
void s3_run_get_object(struct s3_request *q);
void s3_run_delete_object(struct s3_request *q);
void s3_run_copy_object(struct s3_request *q);
void s3_prepare_delete_objects(struct s3_request *q);
void s3_run_delete_objects(struct s3_request *q);
void s3_run_get_object_tagging(struct s3_request *q);
void s3_run_put_object_tagging(struct s3_request *q);
void s3_run_delete_object_tagging(struct s3_request *q);
void s3_run_get_versioning(struct s3_request *q);
void s3_run_put_versioning(struct s3_request *q);
void s3_run_list_buckets(struct s3_request *q);
void s3_prepare_create_bucket(struct s3_request *q);
void s3_run_create_bucket(struct s3_request *q);
void s3_run_head_bucket(struct s3_request *q);
void s3_run_delete_bucket(struct s3_request *q);
void s3_run_get_location(struct s3_request *q);
void s3_run_get_bucket_acl(struct s3_request *q);
void s3_run_put_bucket_acl(struct s3_request *q);
void s3_run_get_object_acl(struct s3_request *q);
void s3_run_put_object_acl(struct s3_request *q);
void s3_run_get_ownership(struct s3_request *q);
void s3_run_put_ownership(struct s3_request *q);
void s3_run_delete_ownership(struct s3_request *q);
void s3_run_get_access_block(struct s3_request *q);
void s3_run_put_access_block(struct s3_request *q);
void s3_run_delete_access_block(struct s3_request *q);
void s3_run_get_notification(struct s3_request *q);
void s3_run_put_notification(struct s3_request *q);
void s3_run_put_fixed(struct s3_request *q);
void s3_run_get_policy(struct s3_request *q);
void s3_run_put_policy(struct s3_request *q);
void s3_run_delete_policy(struct s3_request *q);
void s3_run_policy_status(struct s3_request *q);
void s3_prepare_post_object(struct s3_request *q);
void s3_run_post_object(struct s3_request *q);
void s3_run_get_bucket_tagging(struct s3_request *q);
void s3_run_put_bucket_tagging(struct s3_request *q);
void s3_run_delete_bucket_tagging(struct s3_request *q);
void s3_run_get_cors(struct s3_request *q);
void s3_run_put_cors(struct s3_request *q);
void s3_run_delete_cors(struct s3_request *q);
void s3_run_object_attributes(struct s3_request *q);
void s3_run_get_lifecycle(struct s3_request *q);
void s3_run_put_lifecycle(struct s3_request *q);
void s3_run_delete_lifecycle(struct s3_request *q);
void s3_run_get_lock_config(struct s3_request *q);
void s3_run_put_lock_config(struct s3_request *q);
void s3_run_get_retention(struct s3_request *q);
void s3_run_put_retention(struct s3_request *q);
void s3_run_get_legal_hold(struct s3_request *q);
void s3_run_put_legal_hold(struct s3_request *q);
void s3_run_list_objects(struct s3_request *q);
void s3_run_list_versions(struct s3_request *q);
void s3_prepare_create_upload(struct s3_request *q);
void s3_run_create_upload(struct s3_request *q);
void s3_prepare_upload_part(struct s3_request *q);
void s3_run_upload_part(struct s3_request *q);
void s3_run_upload_part_copy(struct s3_request *q);
void s3_run_complete_upload(struct s3_request *q);
void s3_run_abort_upload(struct s3_request *q);
void s3_run_list_parts(struct s3_request *q);
void s3_run_list_uploads(struct s3_request *q);

#endif
