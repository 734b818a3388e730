/*
 * CopyObject, and the source of UploadPartCopy. No byte moves: the copy refers to the same blobs.
 *
 * Permission and the source's existence are judged on the HTTP thread; its conditions and its
 * description are taken in apply(), from the version as that transaction sees it, so that what was
 * judged is what is copied. A version never changes its bytes, so one that was asked for by its id
 * is the same in both places, or gone.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/stat.h"

#define REDIRECT "x-amz-website-redirect-location"
#define VERSION_MARK SLICE_LIT("?versionId=")

struct slice
s3_copy_source_cut(struct slice text, struct slice *id)
{
    ptrdiff_t at = slice_find(text, VERSION_MARK);
    *id = at < 0 ? SLICE_NONE : slice_skip(text, (size_t)at + VERSION_MARK.n);
    return at < 0 ? text : slice_of(text.p, (size_t)at);
}

/* "/bucket/key?versionId=...", percent-encoded; false: answered. */
static bool
source_parse(struct s3_request *q, struct s3_copy *c)
{
    struct slice id;
    struct slice text = s3_copy_source_cut(http_field(q->r, "x-amz-copy-source"), &id);
    struct slice decoded = http_unescape(q->r->arena, text, false);
    if (id.p != NULL) {
        c->version_id = http_unescape(q->r->arena, id, false);
        if (c->version_id.p == NULL)
            c->version_id = SLICE_LIT("");
    }
    if (decoded.n > 0 && decoded.p[0] == '/')
        decoded = slice_skip(decoded, 1);
    c->bucket = slice_cut(decoded, '/', &c->key);
    if (c->key.n == 0 || c->key.n > STORE_KEY_MAX || !slice_is_utf8(c->key) ||
        !store_bucket_name_ok(c->bucket)) {
        s3_fail_why(q, S3_INVALID_ARGUMENT,
                    "Copy Source must mention the source bucket and key: "
                    "sourcebucket/sourcekey");
        return false;
    }
    if (c->version_id.p != NULL && c->version_id.n == 0) {
        s3_fail_version_id(q, "x-amz-copy-source", c->version_id);
        return false;
    }
    return true;
}

int
s3_copy_found(struct s3_request *q, const struct s3_copy *c, const struct store_object **out)
{
    return c->version_id.n > 0
               ? store_get_version(q->s->store, c->bucket, c->key, c->version_id, out)
               : store_get(q->s->store, c->bucket, c->key, out);
}

/* May the source's tags come along? */
static bool
tags_allowed(struct s3_request *q, const struct s3_copy *c, const struct store_bucket *bucket,
             const struct store_object *o)
{
    const char *action = c->version_id.n > 0 ? "s3:GetObjectVersionTagging" : "s3:GetObjectTagging";
    return s3_may_object(q, bucket, action, c->key, o) && s3_tags_allowed(q);
}

/* Looks at the source before the transaction: may it be read, and what can be answered early?
 * false: answered. */
static bool
source_look(struct s3_request *q, struct s3_copy *c, const struct store_bucket *bucket)
{
    const struct store_object *o = NULL;
    int err = s3_copy_found(q, c, &o);
    const char *action = c->version_id.n > 0 ? "s3:GetObjectVersion" : "s3:GetObject";
    if (!s3_may_object(q, bucket, action, c->key, o)) {
        s3_fail(q, S3_ACCESS_DENIED);
    } else if (err == ERR_NOTFOUND) {
        s3_fail_absent(q, bucket, c->key, c->version_id);
    } else if (err == ERR_INVALID) {
        s3_fail_version_id(q, "x-amz-copy-source", c->version_id);
    } else if (err != ERR_NONE) {
        s3_fail_err(q, err);
    } else if (o->is_marker) {
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "The source of a copy request may not specifically refer to a delete marker by "
                    "version id.");
    } else if (o->size > STORE_PUT_BYTES_MAX && !c->ranged) {
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "The specified copy source is larger than the maximum allowable size for a "
                    "copy source: 5368709120");
    } else {
        c->old_version = !o->is_latest;
        c->class = o->storage_class;
        c->tags_allowed = tags_allowed(q, c, bucket, o);
        q->object = o; /* the request's now */
        return true;
    }
    store_object_unref(&o);
    return false;
}

/* Finds the source and asks whether it may be read; false: answered. */
static bool
source_permitted(struct s3_request *q, struct s3_copy *c)
{
    const struct store_bucket *bucket = NULL;
    int err = store_bucket_get(q->s->store, c->bucket, &bucket);
    if (err != ERR_NONE) {
        s3_fail_err(q, err == ERR_NOTFOUND ? ERR_NOPARENT : err);
        return false;
    }
    q->version_id = c->version_id;
    bool ok = s3_expected_owner(q, "x-amz-source-expected-bucket-owner", bucket) &&
              source_look(q, c, bucket);
    q->version_id = SLICE_NONE; /* what is made has none yet */
    c->bucket_id = bucket->id;
    c->versioned = bucket->versioning != STORE_VERSIONING_OFF;
    store_bucket_unref(&bucket);
    return ok;
}

struct s3_copy *
s3_copy_begin(struct s3_request *q)
{
    struct s3_copy *c = arena_alloc(q->r->arena, sizeof *c);
    if (c == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return NULL;
    }
    c->ranged = http_field(q->r, "x-amz-copy-source-range").p != NULL;
    s3_conditions_read(q->r, true, &c->conditions);
    if (!s3_version_absent(q) || !source_parse(q, c) || !source_permitted(q, c))
        return NULL;
    return c;
}

/* Permission was judged by q->object; does it hold for what is there now? */
static bool
same_permission(const struct store_object *judged, const struct store_object *now)
{
    return slice_eq(judged->owner, now->owner) && slice_eq(judged->acl, now->acl) &&
           slice_eq(judged->tags, now->tags);
}

int
s3_copy_source(struct s3_request *q, const struct s3_copy *c, struct db_conn *conn)
{
    struct s3_write *w = q->w;
    struct store *s = q->s->store;
    store_object_unref(&w->source);
    int err = c->version_id.n > 0 ? store_apply_get_version(s, conn, c->bucket_id, c->key,
                                                            c->version_id, &w->source)
                                  : store_apply_get(s, conn, c->bucket_id, c->key, &w->source);
    if (err != ERR_NONE)
        return err;
    if (!same_permission(q->object, w->source))
        return ERR_STALE;
    if (s3_conditions_judge(&c->conditions, w->source->etag, w->source->mtime_ms) != S3_GO)
        return ERR_PRECONDITION;
    return !c->ranged && w->source->size > STORE_PUT_BYTES_MAX ? ERR_TOOBIG : ERR_NONE;
}

void
s3_copy_source_header(struct s3_request *q, const struct s3_copy *c)
{
    if (c->versioned)
        http_header(q->r, "x-amz-copy-source-version-id", slice_str(q->w->source->version_id));
}

/* ---- CopyObject ---- */

/* The source's metadata but for the website redirect, which is never copied: it is this request's
 * or none. */
static int
metadata_copy(struct s3_request *q)
{
    struct s3_write *w = q->w;
    struct slice name, value, redirect = http_field(q->r, REDIRECT);
    size_t at = 0;
    buf_reset(&w->meta);
    while (store_meta_next(w->source->meta, &at, &name, &value)) {
        if (!slice_ieqs(name, REDIRECT))
            store_meta_add(&w->meta, name, value);
    }
    if (redirect.n > 0)
        store_meta_add(&w->meta, SLICE_LIT(REDIRECT), redirect);
    w->spec.meta = buf_slice(&w->meta);
    return w->meta.err;
}

static int
apply_copy(struct s3_request *q, struct db_conn *conn)
{
    struct s3_write *w = q->w;
    const struct s3_copy *c = q->state;
    int err = s3_copy_source(q, c, conn);
    if (err != ERR_NONE)
        return err;
    if (!c->replace) {
        w->spec.content_type = w->source->content_type;
        err = metadata_copy(q);
        if (err != ERR_NONE)
            return err;
    }
    if (!c->replace_tags && w->source->tags.n > 0 && !c->tags_allowed)
        return ERR_DENIED;
    if (!c->replace_tags)
        w->spec.tags = w->source->tags;
    if (c->summed_seq != 0) {
        if (c->summed_seq != w->source->seq)
            return ERR_STALE;
        w->spec.checksum = w->sum;
        w->spec.checksum_base64 = slice_str(w->sum_base64);
    }
    return store_apply_copy(q->s->store, conn, &w->spec, w->source, &w->result);
}

static void
answer_copy(struct s3_request *q, int err)
{
    struct s3_write *w = q->w;
    struct buf b;
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
        return;
    }
    w->generation = w->result.generation;
    w->bytes = w->source->size;
    STAT_INC(objects_put_total);
    s3_copy_source_header(q, q->state);
    s3_version_made(q, w->result.version_id);
    s3_expiration_header(q, w->bytes, w->spec.tags, w->result.mtime_ms);
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "CopyObjectResult" S3_XMLNS);
    s3_time_xml(&b, "LastModified", w->result.mtime_ms);
    s3_etag_xml(&b, w->result.etag);
    if (w->spec.checksum != CHECKSUM_NONE) {
        s3_checksum_xml(&b, w->spec.checksum, w->sum_base64);
        s3_checksum_type_xml(&b, w->spec.checksum, false);
    } else {
        s3_checksum_xml(&b, w->source->checksum, w->source->checksum_base64);
        s3_checksum_type_xml(&b, w->source->checksum, w->source->checksum_composite);
    }
    xml_close(&b, "CopyObjectResult");
    s3_reply_xml(q, 200, &b);
}

/* COPY, which is the default, or REPLACE; false: answered. */
static bool
directive(struct s3_request *q, const char *header, const char *unknown, bool *replace)
{
    struct slice text = http_field(q->r, header);
    *replace = slice_eqs(text, "REPLACE");
    if (text.n == 0 || *replace || slice_eqs(text, "COPY"))
        return true;
    s3_extra(q, "ArgumentName", slice_str(header));
    s3_extra(q, "ArgumentValue", text);
    s3_fail_why(q, S3_INVALID_ARGUMENT, unknown);
    return false;
}

/* A copy onto itself must change something: metadata, storage class, redirect; or it brings an
 * older version back. */
static bool
changes_nothing(struct s3_request *q, const struct s3_copy *c)
{
    struct slice class = http_field(q->r, "x-amz-storage-class");
    return !c->replace && slice_eq(c->bucket, q->bucket->name) && slice_eq(c->key, q->key) &&
           !c->old_version && http_field(q->r, REDIRECT).n == 0 &&
           (class.n == 0 || slice_eqs(class, store_class_name(c->class)));
}

/* A checksum that the source has not is computed from its bytes, off the writer's thread; in the
 * transaction it has to be the same version. */
static void
copy_go(struct s3_request *q, struct s3_copy *c, enum checksum asked)
{
    const struct store_object *o = NULL;
    int err = asked == CHECKSUM_NONE ? ERR_NONE : s3_copy_found(q, c, &o);
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
    } else if (o == NULL || (o->checksum == asked && !o->checksum_composite)) {
        s3_commit(q, apply_copy, answer_copy);
    } else {
        c->summed_seq = o->seq;
        q->w->sum = asked;
        s3_sum_and_commit(q, o, 0, o->size, apply_copy, answer_copy);
    }
    store_object_unref(&o);
}

void
s3_run_copy_object(struct s3_request *q)
{
    enum checksum asked;
    bool replace, replace_tags;
    if (!directive(q, "x-amz-metadata-directive", "Unknown metadata directive.", &replace) ||
        !directive(q, "x-amz-tagging-directive", "Unknown tagging directive.", &replace_tags) ||
        !s3_sum_algorithm(q, &asked))
        return;
    struct s3_copy *c = s3_copy_begin(q);
    if (c == NULL || !s3_write_begin(q) || !s3_spec_fill(q, STORE_CREATED_COPY, replace))
        return;
    c->replace = replace;
    if (changes_nothing(q, c)) {
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "This copy request is illegal because it is trying to copy an object to itself "
                    "without changing the object's metadata, storage class, website redirect "
                    "location or encryption attributes.");
        return;
    }
    if (replace_tags && !s3_tags_fill(q))
        return;
    c->replace_tags = replace_tags;
    q->state = c;
    copy_go(q, c, asked);
}
