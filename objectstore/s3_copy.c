/*
 * CopyObject, and the source of UploadPartCopy. No byte moves: the copy refers to the same blobs.
 *
 * Permission and the source's existence are judged on the HTTP thread; its conditions and its
 * description are taken in apply(), from the version that is current in that transaction, so that
 * what was judged is what is copied.
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/stat.h"

/* "/bucket/key?versionId=null", percent-encoded; false: answered. */
static bool
source_parse(struct s3_request *q, struct s3_copy *c)
{
    struct slice version;
    struct slice text = slice_cut(http_field(q->r, "x-amz-copy-source"), '?', &version);
    struct slice decoded = http_unescape(q->r->arena, text, false);
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
    if (version.p != NULL && !slice_eqs(version, "versionId=null")) {
        s3_fail(q, S3_NO_SUCH_VERSION);
        return false;
    }
    return true;
}

/* Finds the source and asks whether it may be read; false: answered. */
static bool
source_permitted(struct s3_request *q, struct s3_copy *c)
{
    const struct store_bucket *bucket = NULL;
    const struct store_object *o = NULL;
    int err = store_bucket_get(q->s->store, c->bucket, &bucket);
    if (err != ERR_NONE) {
        s3_fail_err(q, err == ERR_NOTFOUND ? ERR_NOPARENT : err);
        return false;
    }
    bool ok = false;
    struct slice owner_id = http_field(q->r, "x-amz-source-expected-bucket-owner");
    const struct account *owner = accounts_by_canonical_id(q->s->accounts, bucket->owner);
    if (!s3_may(q, bucket, "s3:GetObject", c->key) ||
        (owner_id.p != NULL && (owner == NULL || !slice_eqs(owner_id, owner->id)))) {
        s3_fail(q, S3_ACCESS_DENIED);
    } else if ((err = store_get(q->s->store, c->bucket, c->key, &o)) != ERR_NONE) {
        bool hide = err == ERR_NOTFOUND && !s3_may(q, bucket, "s3:ListBucket", SLICE_NONE);
        s3_fail_err(q, hide ? ERR_DENIED : err);
    } else if (o->size > STORE_PUT_BYTES_MAX && !c->ranged) {
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "The specified copy source is larger than the maximum allowable size for a "
                    "copy source: 5368709120");
    } else {
        c->bucket_id = bucket->id;
        ok = true;
    }
    store_object_unref(&o);
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
    if (!source_parse(q, c) || !source_permitted(q, c))
        return NULL;
    return c;
}

int
s3_copy_source(struct s3_request *q, const struct s3_copy *c, struct db_conn *conn)
{
    struct s3_write *w = q->w;
    store_object_unref(&w->source);
    int err = store_apply_get(q->s->store, conn, c->bucket_id, c->key, &w->source);
    if (err != ERR_NONE)
        return err;
    if (s3_conditions_judge(&c->conditions, w->source->etag, w->source->mtime_ms) != S3_GO)
        return ERR_PRECONDITION;
    return !c->ranged && w->source->size > STORE_PUT_BYTES_MAX ? ERR_TOOBIG : ERR_NONE;
}

/* ---- CopyObject ---- */

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
        w->spec.meta = w->source->meta;
    }
    if (!c->replace_tags)
        w->spec.tags = w->source->tags;
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
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "CopyObjectResult" S3_XMLNS);
    s3_time_xml(&b, "LastModified", w->result.mtime_ms);
    s3_etag_xml(&b, w->result.etag);
    s3_checksum_xml(&b, w->source->checksum, w->source->checksum_base64);
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

void
s3_run_copy_object(struct s3_request *q)
{
    bool replace, replace_tags;
    if (!directive(q, "x-amz-metadata-directive", "Unknown metadata directive.", &replace) ||
        !directive(q, "x-amz-tagging-directive", "Unknown tagging directive.", &replace_tags))
        return;
    struct s3_copy *c = s3_copy_begin(q);
    if (c == NULL || !s3_write_begin(q) || !s3_spec_fill(q, STORE_CREATED_COPY, replace))
        return;
    if (!replace && slice_eq(c->bucket, q->bucket->name) && slice_eq(c->key, q->key)) {
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "This copy request is illegal because it is trying to copy an object to itself "
                    "without changing the object's metadata, storage class, website redirect "
                    "location or encryption attributes.");
        return;
    }
    if (replace_tags && !s3_tags_fill(q))
        return;
    c->replace = replace;
    c->replace_tags = replace_tags;
    q->state = c;
    s3_commit(q, apply_copy, answer_copy);
}
