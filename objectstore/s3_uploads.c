/*
 * Listings of multipart uploads: the parts of one, and the open ones of a bucket.
 */
#include "objectstore/s3_priv.h"
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

static void
part_head(struct s3_request *q, struct buf *b, int after, int max)
{
    struct slice owner = q->bucket->owner;
    xml_head(b);
    xml_open(b, "ListPartsResult" S3_XMLNS);
    xml_put(b, "Bucket", q->bucket->name);
    xml_put(b, "Key", q->key);
    xml_put(b, "UploadId", http_param(q->r, "uploadId"));
    s3_owner_xml(q, b, "Initiator", owner);
    s3_owner_xml(q, b, "Owner", owner);
    xml_puts(b, "StorageClass", "STANDARD");
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
    buf_init(&page.b, S3_REPLY_BYTES_MAX);
    part_head(q, &page.b, after, max);
    int err = store_part_list(q->s->store, q->bucket->name, q->key, http_param(q->r, "uploadId"),
                              after, max, part_entry, &page, &truncated);
    if (err != ERR_NONE) {
        buf_fini(&page.b);
        s3_extra(q, "UploadId", http_param(q->r, "uploadId"));
        s3_fail(q, err == ERR_NOTFOUND ? S3_NO_SUCH_UPLOAD : s3_fault_of(err));
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
    struct buf b;
    struct buf prefixes;
    struct slice prefix;
    struct slice delimiter;
    bool url;
    size_t group_n; /* the common prefix last seen is the first group_n bytes of `key` */
    char key[STORE_KEY_MAX];
    size_t key_n;
    char upload[STORE_UPLOAD_ID_MAX];
};

/* Folds keys that share what stands before the delimiter; true: said already. */
static bool
upload_folded(struct upload_page *page, struct slice key)
{
    struct slice tail = slice_skip(key, page->prefix.n);
    ptrdiff_t at = page->delimiter.n == 0 ? -1 : slice_find(tail, page->delimiter);
    if (at < 0)
        return false;
    struct slice group = slice_of(key.p, page->prefix.n + (size_t)at + page->delimiter.n);
    if (group.n == page->group_n && memcmp(page->key, group.p, group.n) == 0)
        return true;
    page->group_n = group.n;
    xml_open(&page->prefixes, "CommonPrefixes");
    s3_name_xml(&page->prefixes, "Prefix", group, page->url);
    xml_close(&page->prefixes, "CommonPrefixes");
    return true;
}

static int
upload_entry(void *arg, const struct store_upload *u)
{
    struct upload_page *page = arg;
    struct buf *b = &page->b;
    bool folded = upload_folded(page, u->key);
    page->key_n = u->key.n;
    memcpy(page->key, u->key.p, u->key.n);
    memcpy(page->upload, u->upload_id.p, u->upload_id.n);
    page->upload[u->upload_id.n] = '\0';
    if (folded)
        return page->prefixes.err;
    xml_open(b, "Upload");
    s3_name_xml(b, "Key", u->key, page->url);
    xml_put(b, "UploadId", u->upload_id);
    s3_owner_xml(page->q, b, "Initiator", u->owner);
    s3_owner_xml(page->q, b, "Owner", u->owner);
    xml_puts(b, "StorageClass", "STANDARD");
    s3_time_xml(b, "Initiated", u->created_ms);
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
    s3_name_xml(b, "Prefix", page->prefix, page->url);
    if (page->delimiter.n > 0)
        s3_name_xml(b, "Delimiter", page->delimiter, page->url);
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
    page->q = q;
    page->prefix = http_param(r, "prefix");
    page->delimiter = http_param(r, "delimiter");
    page->url = slice_eqs(http_param(r, "encoding-type"), "url");
    buf_init(&page->b, S3_REPLY_BYTES_MAX);
    buf_init(&page->prefixes, S3_REPLY_BYTES_MAX);
    uploads_head(page, max);
    if (max > 0)
        err = store_upload_list(q->s->store, q->bucket->name, page->prefix,
                                http_param(r, "key-marker"), http_param(r, "upload-id-marker"), max,
                                upload_entry, page, &truncated);
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
    } else {
        uploads_foot(page, truncated);
        s3_reply_xml(q, 200, &page->b);
    }
    buf_fini(&page->b);
    buf_fini(&page->prefixes);
}
