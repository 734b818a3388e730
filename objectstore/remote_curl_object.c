/*
 * Objects over remote_http: HeadObject, GetObject, PutObject, multipart uploads, tags.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html and its neighbours
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http.h"
#include "base/xml.h"
#include "objectstore/remote_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define XML_ARENA_MAX (1u << 20)

/* ---- what an answer says of the object ---- */

static bool
is_kept(struct slice name)
{
    static const char *const kept[] = {"content-type",        "cache-control",
                                       "content-disposition", "content-encoding",
                                       "content-language",    "expires"};
    if (name.n > strlen("x-amz-meta-") && strncasecmp(name.p, "x-amz-meta-", 11) == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        if (slice_ieqs(name, kept[i]))
            return true;
    }
    return false;
}

static int
keep_headers(const struct remote_response *response, struct remote_object *o)
{
    struct slice rest = buf_slice(&response->head);
    int err = ERR_NONE;
    while (rest.n > 0 && err == ERR_NONE) {
        struct slice value = SLICE_NONE;
        struct slice line = slice_cut(rest, '\n', &rest);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        struct slice name = slice_cut(line, ':', &value);
        if (is_kept(name))
            err = remote_object_add(o, name, slice_trim(value));
    }
    return err;
}

/* Of the whole object only: those of a multipart upload's parts ("...-3", COMPOSITE) are not. */
static void
keep_checksum(const struct remote_response *response, struct remote_object *o)
{
    for (enum checksum c = CHECKSUM_NONE + 1; c < CHECKSUM_COUNT; c++) {
        char name[64];
        snprintf(name, sizeof name, "x-amz-checksum-%s", checksum_name(c));
        struct slice text = remote_header(response, name);
        if (text.p == NULL ||
            slice_ieqs(remote_header(response, "x-amz-checksum-type"), "COMPOSITE"))
            continue;
        if (base64_decode_exact(text, o->checksum_value, checksum_bytes(c)) == ERR_NONE)
            o->checksum = c;
    }
}

/* The whole object's size: behind the slash of "bytes 0-9/100", else Content-Length. */
static int
whole_bytes(const struct remote_response *response, int64_t *bytes)
{
    uint64_t n = 0;
    struct slice total = SLICE_NONE;
    struct slice range = remote_header(response, "content-range");
    if (range.p != NULL)
        slice_cut(range, '/', &total);
    else
        total = remote_header(response, "content-length");
    if (slice_to_u64(total, &n) != ERR_NONE || n > REMOTE_OBJECT_SIZE_MAX)
        return ERR_INVALID;
    *bytes = (int64_t)n;
    return ERR_NONE;
}

static int
take_object(const struct remote_response *response, struct remote_object *o, struct buf *why)
{
    char date[CLOCK_TEXT_MAX] = "";
    uint64_t tags = 0;
    remote_object_init(o);
    struct slice when = remote_header(response, "last-modified");
    struct slice etag = remote_bare_etag(remote_header(response, "etag"));
    struct slice encryption = remote_header(response, "x-amz-server-side-encryption");
    o->etag = arena_dup(o->arena, etag.n < REMOTE_ETAG_MAX ? etag : SLICE_NONE);
    o->etag_opaque = slice_starts(encryption, SLICE_LIT("aws:kms")) ||
                     remote_header(response, "x-amz-server-side-encryption-customer-algorithm").p;
    if (when.n < sizeof date && when.n > 0)
        memcpy(date, when.p, when.n);
    if (clock_parse(date, &o->mtime_ms) != ERR_NONE)
        o->mtime_ms = 0;
    if (slice_to_u64(remote_header(response, "x-amz-tagging-count"), &tags) == ERR_NONE)
        o->tag_count = tags > 0;
    keep_checksum(response, o);
    int err = whole_bytes(response, &o->bytes);
    if (err == ERR_NONE)
        err = keep_headers(response, o);
    if (err != ERR_NONE && why->n == 0)
        buf_printf(why,
                   err == ERR_TOOBIG ? "its metadata is over %u bytes or %d headers"
                                     : "the server says no size that an object can have",
                   REMOTE_OBJECT_BYTES_MAX, REMOTE_HEADERS_MAX);
    return err;
}

/* ---- HEAD and GET ---- */

static int
head_once(struct remote *r, struct slice bucket, struct slice key, struct slice query,
          struct remote_response *response, struct buf *why)
{
    static const struct sign_header mode[] = {{"x-amz-checksum-mode", {"ENABLED", 7}}};
    struct remote_request request = {
        .method = "HEAD", .query = query, .headers = mode, .header_count = 1, .body_fd = -1};
    return remote_curl_send(r, bucket, key, &request, response, why);
}

/* The size of part 1, where the store tells parts apart (and its ETag says as many). */
static void
ask_first_part(struct remote *r, struct slice bucket, struct slice key, struct remote_object *o)
{
    struct remote_response response = {0};
    struct slice count = SLICE_NONE;
    uint64_t bytes = 0;
    struct buf why;
    buf_init(&why, REMOTE_QUERY_MAX);
    slice_cut(o->etag, '-', &count);
    if (head_once(r, bucket, key, SLICE_LIT("partNumber=1"), &response, &why) == ERR_NONE &&
        count.n > 0 && slice_eq(remote_header(&response, "x-amz-mp-parts-count"), count) &&
        slice_to_u64(remote_header(&response, "content-length"), &bytes) == ERR_NONE &&
        bytes <= (uint64_t)o->bytes)
        o->first_part_bytes = (int64_t)bytes;
    remote_response_fini(&response);
    buf_fini(&why);
}

int
remote_curl_head(struct remote *r, struct slice bucket, struct slice key, bool parts,
                 struct remote_object *o, struct buf *why)
{
    struct remote_response response = {0};
    remote_object_fini(o);
    int err = head_once(r, bucket, key, SLICE_NONE, &response, why);
    if (err == ERR_NONE)
        err = take_object(&response, o, why);
    remote_response_fini(&response);
    if (err == ERR_NONE && parts)
        ask_first_part(r, bucket, key, o);
    return err;
}

int
remote_curl_fetch(struct remote *r, struct slice bucket, struct slice key,
                  const struct remote_range *range, remote_sink_fn sink, void *arg,
                  struct remote_object *o, struct buf *why)
{
    struct sign_header headers[3];
    struct remote_response response = {0};
    char bytes[64], etag[REMOTE_ETAG_MAX + 2];
    size_t n = 0;
    headers[n++] = (struct sign_header){"x-amz-checksum-mode", SLICE_LIT("ENABLED")};
    if (range->bytes >= 0) {
        snprintf(bytes, sizeof bytes, "bytes=%lld-%lld", (long long)range->offset,
                 (long long)(range->offset + range->bytes - 1));
        headers[n++] = (struct sign_header){"range", slice_str(bytes)};
    }
    if (range->etag.n > 0) {
        snprintf(etag, sizeof etag, "\"%.*s\"", SLICE_FMT(range->etag));
        headers[n++] = (struct sign_header){"if-match", slice_str(etag)};
    }
    struct remote_request request = {.method = "GET",
                                     .headers = headers,
                                     .header_count = n,
                                     .body_fd = -1,
                                     .sink = sink,
                                     .sink_arg = arg};
    int err = remote_curl_send(r, bucket, key, &request, &response, why);
    if (err == ERR_NONE && (response.status == 206) != (range->bytes >= 0)) {
        buf_printf(why, "the server answered %d to a GET %s a range", response.status,
                   range->bytes >= 0 ? "of" : "without");
        err = ERR_INVALID;
    }
    if (err == ERR_NONE && o != NULL)
        err = take_object(&response, o, why);
    remote_response_fini(&response);
    return err;
}

/* ---- tags ---- */

/* <TagSet><Tag><Key/><Value/></Tag>... as the query string that x-amz-tagging is. */
static int
tags_of(struct slice text, struct buf *out)
{
    const struct xml_node *root = NULL;
    struct arena *a = arena_new(XML_ARENA_MAX);
    CHK(a != NULL);
    int err = xml_parse(a, text, &root);
    const struct xml_node *set = err == ERR_NONE ? xml_child(root, "TagSet") : NULL;
    const struct xml_node *tag = set != NULL ? xml_child(set, "Tag") : NULL;
    for (; tag != NULL && err == ERR_NONE; tag = xml_next(tag, "Tag")) {
        if (out->n > 0)
            buf_putc(out, '&');
        http_escape(out, xml_text(tag, "Key"), false);
        buf_putc(out, '=');
        http_escape(out, xml_text(tag, "Value"), false);
        err = out->err;
    }
    arena_free(&a);
    return err;
}

int
remote_tags(struct remote *r, struct slice bucket, struct slice key, struct remote_object *o,
            struct buf *why)
{
    struct remote_response response = {0};
    struct buf tags;
    if (r->driver != REMOTE_CURL || o->tag_count == 0)
        return ERR_NONE;
    buf_init(&tags, REMOTE_QUERY_MAX);
    struct remote_request request = {
        .method = "GET", .query = SLICE_LIT("tagging"), .body_fd = -1, .reply_max = XML_ARENA_MAX};
    int err = remote_curl_send(r, bucket, key, &request, &response, why);
    if (err == ERR_NONE && (err = tags_of(buf_slice(&response.body), &tags)) != ERR_NONE)
        buf_puts(why, "its tags cannot be read");
    if (err == ERR_NONE && tags.n > 0)
        err = remote_object_add(o, SLICE_LIT("x-amz-tagging"), buf_slice(&tags));
    remote_response_fini(&response);
    buf_fini(&tags);
    return err;
}

/* ---- PUT ---- */

static int
send_body(struct remote *r, struct slice bucket, struct slice key, struct remote_request *request,
          const struct remote_body *body, char etag[REMOTE_ETAG_MAX], struct buf *why)
{
    struct remote_response response = {0};
    char hash[2 * SHA256_BYTES + 1];
    hex_encode(body->sha256, SHA256_BYTES, hash);
    request->method = "PUT";
    request->body_fd = body->fd;
    request->body_offset = body->offset;
    request->body_bytes = body->bytes;
    request->body_sha256 = hash;
    int err = remote_curl_send(r, bucket, key, request, &response, why);
    remote_etag_text(remote_header(&response, "etag"), etag);
    remote_response_fini(&response);
    return err;
}

int
remote_curl_put(struct remote *r, struct slice bucket, struct slice key,
                const struct remote_object *o, const struct remote_body *body,
                char etag[REMOTE_ETAG_MAX], struct buf *why)
{
    struct remote_request request = {.headers = o->headers, .header_count = o->header_count};
    return send_body(r, bucket, key, &request, body, etag, why);
}

/* ---- multipart upload ---- */

int
remote_upload_begin(struct remote *r, struct slice bucket, struct slice key,
                    const struct remote_object *o, struct buf *upload_id, struct buf *why)
{
    const struct xml_node *root = NULL;
    struct remote_response response = {0};
    struct remote_request request = {.method = "POST",
                                     .query = SLICE_LIT("uploads"),
                                     .headers = o->headers,
                                     .header_count = o->header_count,
                                     .body_fd = -1,
                                     .reply_max = XML_ARENA_MAX};
    struct arena *a = arena_new(XML_ARENA_MAX);
    CHK(a != NULL);
    int err = remote_curl_send(r, bucket, key, &request, &response, why);
    if (err == ERR_NONE && xml_parse(a, buf_slice(&response.body), &root) == ERR_NONE)
        buf_put_slice(upload_id, xml_text(root, "UploadId"));
    if (err == ERR_NONE && (upload_id->n == 0 || upload_id->err != ERR_NONE)) {
        buf_puts(why, "the server did not say the id of a multipart upload");
        err = ERR_INVALID;
    }
    arena_free(&a);
    remote_response_fini(&response);
    return err;
}

int
remote_upload_part(struct remote *r, struct slice bucket, struct slice key, struct slice upload_id,
                   int number, const struct remote_body *body, char etag[REMOTE_ETAG_MAX],
                   struct buf *why)
{
    struct buf query;
    buf_init(&query, REMOTE_QUERY_MAX);
    buf_printf(&query, "partNumber=%d", number);
    remote_query_add(&query, "uploadId", upload_id);
    struct remote_request request = {.query = buf_slice(&query)};
    int err = send_body(r, bucket, key, &request, body, etag, why);
    buf_fini(&query);
    return err;
}

/* 200 may still be followed by an error document: only the result's own name counts. */
static int
read_completion(const struct remote_response *response, char etag[REMOTE_ETAG_MAX], struct buf *why)
{
    const struct xml_node *root = NULL;
    int err = ERR_NONE;
    struct arena *a = arena_new(XML_ARENA_MAX);
    CHK(a != NULL);
    etag[0] = '\0';
    if (xml_parse(a, buf_slice(&response->body), &root) == ERR_NONE &&
        slice_eqs(root->name, "CompleteMultipartUploadResult"))
        remote_etag_text(xml_text(root, "ETag"), etag);
    else
        err = remote_failure(response, why);
    arena_free(&a);
    return err;
}

int
remote_upload_complete(struct remote *r, struct slice bucket, struct slice key,
                       struct slice upload_id, char (*etags)[REMOTE_ETAG_MAX], int n,
                       char etag[REMOTE_ETAG_MAX], struct buf *why)
{
    struct remote_response response = {0};
    struct buf query, body;
    buf_init(&query, REMOTE_QUERY_MAX);
    buf_init(&body, REMOTE_PAGE_BYTES_MAX);
    remote_query_add(&query, "uploadId", upload_id);
    xml_open(&body, "CompleteMultipartUpload");
    for (int i = 0; i < n; i++) {
        xml_open(&body, "Part");
        xml_put_int(&body, "PartNumber", i + 1);
        xml_puts(&body, "ETag", etags[i]);
        xml_close(&body, "Part");
    }
    xml_close(&body, "CompleteMultipartUpload");
    struct remote_request request = {.method = "POST",
                                     .query = buf_slice(&query),
                                     .content_type = "application/xml",
                                     .body = buf_slice(&body),
                                     .body_fd = -1,
                                     .reply_max = XML_ARENA_MAX};
    int err = body.err != ERR_NONE ? body.err : query.err;
    if (err == ERR_NONE)
        err = remote_curl_send(r, bucket, key, &request, &response, why);
    if (err == ERR_NONE)
        err = read_completion(&response, etag, why);
    remote_response_fini(&response);
    buf_fini(&query);
    buf_fini(&body);
    return err;
}

int
remote_upload_abort(struct remote *r, struct slice bucket, struct slice key, struct slice upload_id,
                    struct buf *why)
{
    struct remote_response response = {0};
    struct buf query;
    buf_init(&query, REMOTE_QUERY_MAX);
    remote_query_add(&query, "uploadId", upload_id);
    struct remote_request request = {.method = "DELETE", .query = buf_slice(&query), .body_fd = -1};
    int err = remote_curl_send(r, bucket, key, &request, &response, why);
    remote_response_fini(&response);
    buf_fini(&query);
    return err;
}
