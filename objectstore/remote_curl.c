/*
 * ListObjectsV2 over remote_http, and what an answer means. Names come back percent-encoded
 * (encoding-type=url), so every key survives XML.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http.h"
#include "base/xml.h"
#include "objectstore/remote_priv.h"

#define FAILURE_ARENA_MAX (1u << 20)
#define RETRY_AFTER_S_MAX 60

/* What a status and a Code mean to a caller; by code first. */
static int
meaning(struct slice code, int status)
{
    static const struct {
        const char *code;
        int err;
    } codes[] = {
        {"NoSuchBucket", ERR_NOPARENT},
        {"BadDigest", ERR_DIGEST},
        {"InvalidDigest", ERR_DIGEST},
        {"XAmzContentSHA256Mismatch", ERR_DIGEST},
        {"XAmzContentChecksumMismatch", ERR_DIGEST},
        {"RequestTimeout", ERR_BUSY},
        {"SlowDown", ERR_BUSY},
        {"InternalError", ERR_BUSY},
        {"NotImplemented", ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (slice_eqs(code, codes[i].code))
            return codes[i].err;
    }
    switch (status) {
    case 404:
        return ERR_NOTFOUND;
    case 401:
    case 403:
        return ERR_DENIED;
    case 412:
        return ERR_PRECONDITION;
    case 408:
    case 429:
        return ERR_BUSY;
    case 501:
        return ERR_UNSUPPORTED;
    default:
        return status >= 500 ? ERR_BUSY : ERR_INVALID;
    }
}

int
remote_failure(const struct remote_response *response, struct buf *why)
{
    const struct xml_node *root = NULL;
    struct slice code = SLICE_NONE, message = SLICE_NONE;
    struct arena *a = arena_new(FAILURE_ARENA_MAX);
    if (a != NULL && response->body.n > 0 &&
        xml_parse(a, buf_slice(&response->body), &root) == ERR_NONE) {
        code = xml_text(root, "Code");
        message = xml_text(root, "Message");
    }
    if (message.n > 0)
        buf_printf(why, "%.*s (%d %.*s)", SLICE_FMT(message), response->status, SLICE_FMT(code));
    else if (code.n > 0)
        buf_printf(why, "the server answered %d %.*s", response->status, SLICE_FMT(code));
    else
        buf_printf(why, "the server answered %d", response->status);
    int err = meaning(code, response->status);
    arena_free(&a);
    return err;
}

int
remote_curl_send(struct remote *r, struct slice bucket, struct slice key,
                 struct remote_request *request, struct remote_response *response, struct buf *why)
{
    struct buf path;
    uint64_t seconds = 0;
    buf_init(&path, REMOTE_QUERY_MAX);
    buf_putc(&path, '/');
    buf_put_slice(&path, bucket);
    buf_putc(&path, '/');
    buf_put_slice(&path, key);
    request->path = buf_slice(&path);
    *response = (struct remote_response){0};
    int err = path.err != ERR_NONE ? path.err : remote_http_send(r->http, request, response, why);
    if (err == ERR_NONE && response->status / 100 != 2)
        err = remote_failure(response, why);
    if (slice_to_u64(remote_header(response, "retry-after"), &seconds) != ERR_NONE)
        seconds = 0;
    r->status = response->status;
    r->retry_after_s = seconds < RETRY_AFTER_S_MAX ? (int)seconds : RETRY_AFTER_S_MAX;
    buf_fini(&path);
    return err;
}

/* Some stores do not know encoding-type and answer the names as they are. */
static int
entry_of(struct arena *a, const struct xml_node *node, bool encoded, struct remote_entry *e)
{
    char date[CLOCK_TEXT_MAX];
    uint64_t size = 0;
    bool is_prefix = slice_eqs(node->name, "CommonPrefixes");
    struct slice when = xml_text(node, "LastModified");
    *e = (struct remote_entry){.is_prefix = is_prefix};
    e->name = xml_text(node, is_prefix ? "Prefix" : "Key");
    if (encoded)
        e->name = http_unescape(a, e->name, true);
    if (e->name.p == NULL)
        return ERR_INVALID;
    if (is_prefix)
        return ERR_NONE;
    if (when.n >= sizeof date || slice_to_u64(xml_text(node, "Size"), &size) != ERR_NONE ||
        size > REMOTE_OBJECT_SIZE_MAX)
        return ERR_INVALID;
    memcpy(date, when.p, when.n);
    date[when.n] = '\0';
    e->size = (int64_t)size;
    e->etag = remote_bare_etag(xml_text(node, "ETag"));
    return clock_parse(date, &e->mtime_ms);
}

/* Hands a page on; `token` becomes the next page's, empty at the end. */
static int
take_page(const struct remote_response *response, remote_entry_fn fn, void *arg, struct buf *token)
{
    const struct xml_node *root = NULL;
    bool stopped = false, encoded = false;
    struct arena *a = arena_new(REMOTE_XML_MEMORY_MAX);
    CHK(a != NULL);
    int err = xml_parse(a, buf_slice(&response->body), &root);
    if (err == ERR_NONE && !slice_eqs(root->name, "ListBucketResult"))
        err = ERR_INVALID;
    if (err == ERR_NONE)
        encoded = slice_eqs(xml_text(root, "EncodingType"), "url");
    const struct xml_node *node = err == ERR_NONE ? root->child : NULL;
    for (; node != NULL && err == ERR_NONE && !stopped; node = node->next) {
        struct remote_entry e;
        if (!slice_eqs(node->name, "Contents") && !slice_eqs(node->name, "CommonPrefixes"))
            continue;
        err = entry_of(a, node, encoded, &e);
        if (err == ERR_NONE)
            stopped = fn(arg, &e) != 0;
    }
    if (err == ERR_NONE) {
        buf_reset(token);
        buf_put_slice(token, xml_text(root, "NextContinuationToken"));
        err = token->err;
        if (token->n == 0 && slice_eqs(xml_text(root, "IsTruncated"), "true"))
            err = ERR_INVALID; /* there is more, and no word to ask for it with */
    }
    arena_free(&a);
    return err;
}

static int
curl_page(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
          struct buf *token, remote_entry_fn fn, void *arg, struct buf *why)
{
    struct remote_response response = {0};
    struct buf query;
    buf_init(&query, 2 * REMOTE_QUERY_MAX);
    remote_query_add(&query, "list-type", SLICE_LIT("2"));
    remote_query_add(&query, "encoding-type", SLICE_LIT("url"));
    remote_query_add(&query, "prefix", prefix);
    if (delimiter.n > 0)
        remote_query_add(&query, "delimiter", delimiter);
    if (token->n > 0)
        remote_query_add(&query, "continuation-token", buf_slice(token));
    struct remote_request request = {.method = "GET",
                                     .query = buf_slice(&query),
                                     .body_fd = -1,
                                     .reply_max = REMOTE_PAGE_BYTES_MAX};
    int err = query.err;
    if (err == ERR_NONE)
        err = remote_curl_send(r, bucket, SLICE_NONE, &request, &response, why);
    if (err == ERR_TOOBIG)
        buf_printf(why, "a page of its listing is over %u bytes", REMOTE_PAGE_BYTES_MAX);
    else if (err == ERR_NONE && (err = take_page(&response, fn, arg, token)) != ERR_NONE)
        buf_puts(why, "the server's listing cannot be read");
    remote_response_fini(&response);
    buf_fini(&query);
    return err;
}

static void
curl_close(struct remote *r)
{
    remote_http_close(&r->http);
}

int
remote_curl_open(struct remote *r, const struct remote_options *options, struct buf *why)
{
    static const struct remote_ops ops = {
        .page = curl_page,
        .head = remote_curl_head,
        .fetch = remote_curl_fetch,
        .put = remote_curl_put,
        .close = curl_close,
    };
    r->ops = &ops;
    return remote_http_open(&r->http, options, why);
}
