/*
 * Listings of multipart uploads: the parts of one, and the open ones of a bucket.
 */
#include "objectstore/s3_multipart.h"
#include "base/chk.h"
#include "base/err.h"

/* ---- ListParts ---- */

struct part_page {
    struct buf b;
    int last;
};

static int
part_entry(void *arg, const struct store_part *part)
{
    struct part_page *page = arg;
    page->last = part->number;
    xml_open(&page->b, "Part");
    xml_put_int(&page->b, "PartNumber", part->number);
    s3_time_xml(&page->b, "LastModified", part->mtime_ms);
    s3_etag_xml(&page->b, part->etag);
    xml_put_int(&page->b, "Size", part->size);
    s3_checksum_xml(&page->b, part->checksum, part->checksum_base64);
    xml_close(&page->b, "Part");
    return page->b.err;
}

/* Who began it: an account, or for an anonymous caller the owner. */
static void
initiator_xml(const struct s3_request *q, struct buf *b, const struct store_upload *u)
{
    const struct account *a =
        u->account_id.n == 0 ? NULL : accounts_by_id(q->s->accounts, u->account_id);
    s3_owner_xml(q, b, "Initiator", a == NULL ? u->owner : slice_str(a->canonical_id));
}

static void
algorithm_xml(struct buf *b, const struct store_upload *u)
{
    if (u->checksum == CHECKSUM_NONE)
        return;
    s3_algorithm_xml(b, u->checksum);
    s3_checksum_type_xml(b, u->checksum, u->checksum_composite);
}

static void
part_head(struct s3_request *q, struct buf *b, const struct store_upload *u, int after, int max)
{
    xml_head(b);
    xml_open(b, "ListPartsResult" S3_XMLNS);
    xml_put(b, "Bucket", q->bucket->name);
    xml_put(b, "Key", q->key);
    xml_put(b, "UploadId", u->upload_id);
    initiator_xml(q, b, u);
    s3_owner_xml(q, b, "Owner", u->owner);
    xml_puts(b, "StorageClass", store_class_name(u->storage_class));
    algorithm_xml(b, u);
    xml_put_int(b, "PartNumberMarker", after);
    xml_put_int(b, "MaxParts", max);
}

void
s3_run_list_parts(struct s3_request *q)
{
    struct part_page page = {.last = 0};
    int max, after;
    bool truncated = false;
    if (!s3_param_int(q, "max-parts", 0, STORE_LIST_MAX, true, STORE_LIST_MAX, &max) ||
        !s3_param_int(q, "part-number-marker", 0, STORE_PART_MAX, true, 0, &after))
        return;
    const struct store_upload *u = s3_upload_find(q);
    if (u == NULL)
        return;
    buf_init(&page.b, S3_REPLY_BYTES_MAX);
    part_head(q, &page.b, u, after, max);
    int err = store_part_list(q->s->store, q->bucket->name, q->key, u->upload_id, after, max,
                              part_entry, &page, &truncated);
    if (err != ERR_NONE) {
        buf_fini(&page.b);
        s3_fail_upload(q, err);
        return;
    }
    truncated = truncated && max > 0;
    if (truncated)
        xml_put_int(&page.b, "NextPartNumberMarker", page.last);
    xml_puts(&page.b, "IsTruncated", truncated ? "true" : "false");
    xml_close(&page.b, "ListPartsResult");
    s3_reply_xml(q, 200, &page.b);
}

/* ---- ListMultipartUploads ---- */

struct upload_page {
    struct s3_request *q;
    struct store_upload_list_spec spec;
    struct buf b;
    struct buf prefixes;
    bool url;
    char key[STORE_KEY_MAX]; /* of the last entry */
    size_t key_n;
    char upload[STORE_UPLOAD_ID_MAX]; /* "" when it was a common prefix */
};

static int
upload_entry(void *arg, const struct store_upload *u)
{
    struct upload_page *page = arg;
    struct buf *b = &page->b;
    page->key_n = u->key.n;
    memcpy(page->key, u->key.p, u->key.n);
    CHK(u->upload_id.n < sizeof page->upload);
    if (u->upload_id.n > 0)
        memcpy(page->upload, u->upload_id.p, u->upload_id.n);
    page->upload[u->upload_id.n] = '\0';
    if (u->is_prefix) {
        xml_open(&page->prefixes, "CommonPrefixes");
        s3_name_xml(&page->prefixes, "Prefix", u->key, page->url);
        xml_close(&page->prefixes, "CommonPrefixes");
        return page->prefixes.err;
    }
    xml_open(b, "Upload");
    s3_name_xml(b, "Key", u->key, page->url);
    xml_put(b, "UploadId", u->upload_id);
    initiator_xml(page->q, b, u);
    s3_owner_xml(page->q, b, "Owner", u->owner);
    xml_puts(b, "StorageClass", store_class_name(u->storage_class));
    s3_time_xml(b, "Initiated", u->created_ms);
    algorithm_xml(b, u);
    xml_close(b, "Upload");
    return b->err;
}

static void
uploads_head(struct upload_page *page, int max)
{
    const struct http_request *r = page->q->r;
    struct buf *b = &page->b;
    xml_head(b);
    xml_open(b, "ListMultipartUploadsResult" S3_XMLNS);
    xml_put(b, "Bucket", page->q->bucket->name);
    s3_name_xml(b, "KeyMarker", http_param(r, "key-marker"), page->url);
    xml_put(b, "UploadIdMarker", http_param(r, "upload-id-marker"));
    s3_name_xml(b, "Prefix", page->spec.prefix, page->url);
    if (page->spec.delimiter.n > 0)
        s3_name_xml(b, "Delimiter", page->spec.delimiter, page->url);
    if (page->url)
        xml_puts(b, "EncodingType", "url");
    xml_put_int(b, "MaxUploads", max);
}

static void
uploads_foot(struct upload_page *page, bool truncated)
{
    struct buf *b = &page->b;
    buf_put_slice(b, buf_slice(&page->prefixes));
    if (page->prefixes.err != ERR_NONE)
        b->err = page->prefixes.err;
    xml_puts(b, "IsTruncated", truncated ? "true" : "false");
    if (truncated) {
        s3_name_xml(b, "NextKeyMarker", slice_of(page->key, page->key_n), page->url);
        xml_puts(b, "NextUploadIdMarker", page->upload);
    }
    xml_close(b, "ListMultipartUploadsResult");
}

void
s3_run_list_uploads(struct s3_request *q)
{
    const struct http_request *r = q->r;
    struct upload_page *page = arena_alloc(r->arena, sizeof *page);
    bool truncated = false;
    int max, err = ERR_NONE;
    if (page == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return;
    }
    if (!s3_param_int(q, "max-uploads", 0, STORE_LIST_MAX, true, STORE_LIST_MAX, &max))
        return;
    struct slice encoding = http_param(r, "encoding-type");
    if (encoding.n > 0 && !slice_eqs(encoding, "url")) {
        s3_extra(q, "ArgumentName", SLICE_LIT("encoding-type"));
        s3_extra(q, "ArgumentValue", encoding);
        s3_fail_why(q, S3_INVALID_ARGUMENT, "Invalid Encoding Method specified in Request");
        return;
    }
    page->q = q;
    page->spec = (struct store_upload_list_spec){.bucket = q->bucket->name,
                                                 .prefix = http_param(r, "prefix"),
                                                 .delimiter = http_param(r, "delimiter"),
                                                 .after = http_param(r, "key-marker"),
                                                 .max = max};
    if (page->spec.after.n > 0)
        page->spec.after_upload = http_param(r, "upload-id-marker");
    page->url = encoding.n > 0;
    buf_init(&page->b, S3_REPLY_BYTES_MAX);
    buf_init(&page->prefixes, S3_REPLY_BYTES_MAX);
    uploads_head(page, max);
    if (max > 0)
        err = store_upload_list(q->s->store, &page->spec, upload_entry, page, &truncated);
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
    } else {
        uploads_foot(page, truncated);
        s3_reply_xml(q, 200, &page->b);
    }
    buf_fini(&page->b);
    buf_fini(&page->prefixes);
}
