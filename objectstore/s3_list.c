/*
 * Listings of a bucket: ListObjects (v1), ListObjectsV2, ListObjectVersions. One page builder,
 * three ways to name where it starts and ends.
 *
 * A continuation token is TOKEN_MARK and the last name of the page before, in base64.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html, API_ListObjectsV2.html and
 * API_ListObjectVersions.html
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"

#include <stdio.h>

#define TOKEN_MARK '1'
#define TOKEN_BYTES_MAX (STORE_KEY_MAX + 1)

enum style { V1, V2, VERSIONS };

struct page {
    struct s3_request *q;
    enum style style;
    struct store_list_spec spec;
    bool url;
    bool with_owner;
    struct buf b;
    struct buf prefixes;
    int count;
    char last[STORE_KEY_MAX + 1]; /* name of the last entry */
    size_t last_n;
    char last_place[STORE_VERSION_ID_MAX]; /* of its version; "" after a common prefix */
    struct buf token;                      /* decoded */
};

static void
prefix_entry(struct page *page, struct slice name)
{
    xml_open(&page->prefixes, "CommonPrefixes");
    s3_name_xml(&page->prefixes, "Prefix", name, page->url);
    xml_close(&page->prefixes, "CommonPrefixes");
}

/* What a delete marker does not have. */
static void
bytes_xml(struct buf *b, const struct store_list_entry *e)
{
    s3_etag_xml(b, e->etag);
    if (e->checksum != CHECKSUM_NONE) {
        s3_algorithm_xml(b, e->checksum);
        xml_puts(b, "ChecksumType", e->checksum_composite ? "COMPOSITE" : "FULL_OBJECT");
    }
    xml_put_int(b, "Size", e->size);
}

static int
page_entry(void *arg, const struct store_list_entry *e)
{
    struct page *page = arg;
    struct buf *b = &page->b;
    page->count++;
    page->last_n = e->name.n < sizeof page->last ? e->name.n : sizeof page->last;
    memcpy(page->last, e->name.p, page->last_n);
    snprintf(page->last_place, sizeof page->last_place, "%s", e->is_prefix ? "" : e->place);
    if (e->is_prefix) {
        prefix_entry(page, e->name);
        return page->prefixes.err;
    }
    const char *element = page->style != VERSIONS ? "Contents"
                          : e->is_marker          ? "DeleteMarker"
                                                  : "Version";
    xml_open(b, element);
    s3_name_xml(b, "Key", e->name, page->url);
    if (page->style == VERSIONS) {
        xml_puts(b, "VersionId", e->version_id);
        xml_puts(b, "IsLatest", e->is_latest ? "true" : "false");
    }
    s3_time_xml(b, "LastModified", e->mtime_ms);
    if (!e->is_marker)
        bytes_xml(b, e);
    if (page->with_owner)
        s3_owner_xml(page->q, b, "Owner", e->owner);
    if (!e->is_marker)
        xml_puts(b, "StorageClass", store_class_name(e->storage_class));
    xml_close(b, element);
    return b->err;
}

/* ---- what was asked ---- */

static int
token_read(struct page *page)
{
    struct slice text = http_param(page->q->r, "continuation-token");
    if (text.p == NULL)
        return ERR_NONE;
    int err = base64_decode(&page->token, text);
    if (err != ERR_NONE || page->token.n < 2 || page->token.p[0] != TOKEN_MARK)
        return ERR_INVALID;
    page->spec.after = slice_skip(buf_slice(&page->token), 1);
    return ERR_NONE;
}

/* false: answered. */
static bool
version_marker_read(struct page *page)
{
    struct s3_request *q = page->q;
    bool given = http_has_param(q->r, "version-id-marker");
    page->spec.after = http_param(q->r, "key-marker");
    page->spec.after_version = http_param(q->r, "version-id-marker");
    if (!given || (page->spec.after_version.n > 0 && page->spec.after.n > 0))
        return true;
    s3_extra(q, "ArgumentName", SLICE_LIT("version-id-marker"));
    s3_extra(q, "ArgumentValue", page->spec.after_version);
    s3_fail_why(q, S3_INVALID_ARGUMENT,
                page->spec.after_version.n == 0
                    ? "A version-id marker cannot be empty."
                    : "A version-id marker cannot be specified without a key marker.");
    return false;
}

/* Where the page starts; false: answered. */
static bool
start_read(struct page *page)
{
    struct s3_request *q = page->q;
    switch (page->style) {
    case V1:
        page->spec.after = http_param(q->r, "marker");
        return true;
    case V2:
        page->spec.after = http_param(q->r, "start-after");
        if (token_read(page) == ERR_NONE)
            return true;
        s3_extra(q, "ArgumentName", SLICE_LIT("continuation-token"));
        s3_fail_why(q, S3_INVALID_ARGUMENT, "The continuation token provided is incorrect");
        return false;
    case VERSIONS:
        return version_marker_read(page);
    }
    return false;
}

/* Keys are UTF-8, so whatever is not can neither be found nor be said in the answer. false:
 * answered. */
static bool
texts_ok(struct s3_request *q)
{
    static const char *const names[] = {"prefix", "delimiter", "marker", "start-after",
                                        "key-marker"};
    for (size_t i = 0; q->r->param_count > 0 && i < ARRAY_LEN(names); i++) {
        if (!slice_is_utf8(http_param(q->r, names[i]))) {
            s3_fail(q, S3_INVALID_URI);
            return false;
        }
    }
    return true;
}

/* false: answered. */
static bool
page_read(struct page *page)
{
    struct s3_request *q = page->q;
    struct slice encoding = http_param(q->r, "encoding-type");
    if (encoding.n > 0 && !slice_eqs(encoding, "url")) {
        s3_fail_why(q, S3_INVALID_ARGUMENT, "Invalid Encoding Method specified in Request");
        return false;
    }
    if (!texts_ok(q))
        return false;
    page->url = encoding.n > 0;
    page->with_owner = page->style != V2 || slice_ieqs(http_param(q->r, "fetch-owner"), "true");
    page->spec.bucket = q->bucket->name;
    page->spec.prefix = http_param(q->r, "prefix");
    page->spec.delimiter = http_param(q->r, "delimiter");
    return s3_param_int(q, "max-keys", 0, STORE_LIST_MAX, true, STORE_LIST_MAX, &page->spec.max) &&
           start_read(page);
}

/* ---- the answer ---- */

static void
put_param(struct page *page, const char *element, const char *param, bool name)
{
    struct slice value = http_param(page->q->r, param);
    if (value.p != NULL)
        s3_name_xml(&page->b, element, value, name && page->url);
}

/* Of the first listing's own Prefix some clients (botocore) take the text as it stands, others
 * decode it. Where decoding changes nothing it is left alone, which suits both. */
static bool
prefix_stays(const struct page *page)
{
    return page->style == V1 && slice_find(page->spec.prefix, SLICE_LIT("%")) < 0 &&
           slice_find(page->spec.prefix, SLICE_LIT("+")) < 0;
}

static void
page_head(struct page *page, const char *root)
{
    struct buf *b = &page->b;
    xml_head(b);
    xml_open(b, root);
    xml_put(b, "Name", page->spec.bucket);
    s3_name_xml(b, "Prefix", page->spec.prefix, page->url && !prefix_stays(page));
    if (page->style == V1) {
        s3_name_xml(b, "Marker", page->spec.after, page->url);
    } else if (page->style == V2) {
        put_param(page, "ContinuationToken", "continuation-token", false);
        put_param(page, "StartAfter", "start-after", true);
    } else {
        s3_name_xml(b, "KeyMarker", page->spec.after, page->url);
        xml_put(b, "VersionIdMarker", http_param(page->q->r, "version-id-marker"));
    }
    xml_put_int(b, "MaxKeys", page->spec.max);
    if (page->spec.delimiter.n > 0)
        s3_name_xml(b, "Delimiter", page->spec.delimiter, page->url);
    if (page->url)
        xml_puts(b, "EncodingType", "url");
}

static void
next_token(struct page *page)
{
    struct buf plain, token;
    buf_init(&plain, TOKEN_BYTES_MAX);
    buf_init(&token, 2 * TOKEN_BYTES_MAX);
    buf_putc(&plain, TOKEN_MARK);
    buf_put(&plain, page->last, page->last_n);
    base64_encode(&token, plain.p, plain.n);
    xml_put(&page->b, "NextContinuationToken", buf_slice(&token));
    if (plain.err != ERR_NONE || token.err != ERR_NONE)
        page->b.err = ERR_NOMEM;
    buf_fini(&plain);
    buf_fini(&token);
}

static void
page_foot(struct page *page, bool truncated)
{
    struct buf *b = &page->b;
    struct slice last = slice_of(page->last, page->last_n);
    buf_put_slice(b, buf_slice(&page->prefixes));
    if (page->prefixes.err != ERR_NONE)
        b->err = page->prefixes.err;
    xml_puts(b, "IsTruncated", truncated ? "true" : "false");
    if (page->style == V2)
        xml_put_int(b, "KeyCount", page->count);
    if (!truncated)
        return;
    if (page->style == V2) {
        next_token(page);
    } else if (page->style == VERSIONS) {
        s3_name_xml(b, "NextKeyMarker", last, page->url);
        /* Whoever deletes page after page goes on behind what is gone by then. */
        if (page->last_place[0] != '\0')
            xml_puts(b, "NextVersionIdMarker",
                     page->q->bucket->versioning == STORE_VERSIONING_OFF ? "null"
                                                                         : page->last_place);
    } else if (page->spec.delimiter.n > 0) {
        /* Without a delimiter the last key says it. */
        s3_name_xml(b, "NextMarker", last, page->url);
    }
}

static void
list(struct s3_request *q, enum style style, const char *root)
{
    struct page *page = arena_alloc(q->r->arena, sizeof *page);
    bool truncated = false;
    int err = ERR_NONE;
    if (page == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return;
    }
    page->q = q;
    page->style = style;
    buf_init(&page->b, S3_REPLY_BYTES_MAX);
    buf_init(&page->prefixes, S3_REPLY_BYTES_MAX);
    buf_init(&page->token, TOKEN_BYTES_MAX);
    if (!page_read(page))
        goto out;
    page_head(page, root);
    if (page->spec.max > 0)
        err = style == VERSIONS
                  ? store_list_versions(q->s->store, &page->spec, page_entry, page, &truncated)
                  : store_list(q->s->store, &page->spec, page_entry, page, &truncated);
    if (err != ERR_NONE) {
        if (err == ERR_INVALID && page->spec.after_version.n > 0)
            s3_fail_version_id(q, "version-id-marker", page->spec.after_version);
        else
            s3_fail_err(q, err);
        goto out;
    }
    page_foot(page, truncated);
    xml_close(&page->b, style == VERSIONS ? "ListVersionsResult" : "ListBucketResult");
    s3_reply_xml(q, 200, &page->b);
out:
    buf_fini(&page->b);
    buf_fini(&page->prefixes);
    buf_fini(&page->token);
}

void
s3_run_list_objects(struct s3_request *q)
{
    struct slice type = http_param(q->r, "list-type");
    if (type.n > 0 && !slice_eqs(type, "2"))
        s3_fail_why(q, S3_INVALID_ARGUMENT, "Unknown list-type");
    else
        list(q, type.n > 0 ? V2 : V1, "ListBucketResult" S3_XMLNS);
}

void
s3_run_list_versions(struct s3_request *q)
{
    list(q, VERSIONS, "ListVersionsResult" S3_XMLNS);
}
