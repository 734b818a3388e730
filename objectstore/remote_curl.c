/*
 * ListObjectsV2 and GetObject over remote_http. Names come back percent-encoded
 * (encoding-type=url), so every key survives XML.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http.h"
#include "base/xml.h"
#include "objectstore/remote.h"

#define PAGE_ARENA_MAX (16u << 20)
#define QUERY_MAX (16u << 10)

/* "/bucket/key" */
static void
path_of(struct buf *path, struct slice bucket, struct slice key)
{
    buf_putc(path, '/');
    buf_put_slice(path, bucket);
    buf_putc(path, '/');
    buf_put_slice(path, key);
}

int
remote_failure(const struct remote_response *response, struct buf *why)
{
    const struct xml_node *root = NULL;
    struct slice code = SLICE_NONE, message = SLICE_NONE;
    struct arena *a = arena_new(PAGE_ARENA_MAX);
    if (a != NULL && xml_parse(a, buf_slice(&response->body), &root) == ERR_NONE) {
        code = xml_text(root, "Code");
        message = xml_text(root, "Message");
    }
    if (message.n > 0)
        buf_printf(why, "%.*s (%d %.*s)", SLICE_FMT(message), response->status, SLICE_FMT(code));
    else
        buf_printf(why, "the server answered %d", response->status);
    int err = ERR_INVALID;
    if (slice_eqs(code, "NoSuchBucket"))
        err = ERR_NOPARENT;
    else if (response->status == 404)
        err = ERR_NOTFOUND;
    else if (response->status == 403)
        err = ERR_DENIED;
    else if (response->status == 503)
        err = ERR_BUSY;
    arena_free(&a);
    return err;
}

static int
entry_of(struct arena *a, const struct xml_node *node, struct remote_entry *e)
{
    char date[CLOCK_TEXT_MAX];
    uint64_t size = 0;
    bool is_prefix = slice_eqs(node->name, "CommonPrefixes");
    struct slice when = xml_text(node, "LastModified");
    struct slice etag = xml_text(node, "ETag");
    *e = (struct remote_entry){.is_prefix = is_prefix};
    e->name = http_unescape(a, xml_text(node, is_prefix ? "Prefix" : "Key"), true);
    if (e->name.p == NULL)
        return ERR_INVALID;
    if (is_prefix)
        return ERR_NONE;
    if (when.n >= sizeof date || slice_to_u64(xml_text(node, "Size"), &size) != ERR_NONE)
        return ERR_INVALID;
    memcpy(date, when.p, when.n);
    date[when.n] = '\0';
    if (etag.n >= 2 && etag.p[0] == '"')
        etag = slice_of(etag.p + 1, etag.n - 2);
    e->size = (int64_t)size;
    e->etag = etag;
    return clock_parse(date, &e->mtime_ms);
}

/* Hands a page on; `token` becomes the next page's, empty at the end. */
static int
take_page(const struct remote_response *response, remote_entry_fn fn, void *arg, struct buf *token,
          bool *stopped)
{
    const struct xml_node *root = NULL;
    struct arena *a = arena_new(PAGE_ARENA_MAX);
    CHK(a != NULL);
    int err = xml_parse(a, buf_slice(&response->body), &root);
    const struct xml_node *node = err == ERR_NONE ? root->child : NULL;
    for (; node != NULL && err == ERR_NONE && !*stopped; node = node->next) {
        struct remote_entry e;
        if (!slice_eqs(node->name, "Contents") && !slice_eqs(node->name, "CommonPrefixes"))
            continue;
        err = entry_of(a, node, &e);
        if (err == ERR_NONE)
            *stopped = fn(arg, &e) != 0;
    }
    buf_reset(token);
    if (err == ERR_NONE)
        buf_put_slice(token, xml_text(root, "NextContinuationToken"));
    arena_free(&a);
    return err;
}

static int
curl_list(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
          remote_entry_fn fn, void *arg, struct buf *why)
{
    struct buf path, query, token;
    bool stopped = false;
    int err = ERR_NONE;
    buf_init(&path, QUERY_MAX);
    buf_init(&query, QUERY_MAX);
    buf_init(&token, QUERY_MAX);
    path_of(&path, bucket, SLICE_NONE);
    do {
        struct remote_response response;
        buf_reset(&query);
        remote_query_add(&query, "list-type", SLICE_LIT("2"));
        remote_query_add(&query, "encoding-type", SLICE_LIT("url"));
        remote_query_add(&query, "prefix", prefix);
        if (delimiter.n > 0)
            remote_query_add(&query, "delimiter", delimiter);
        if (token.n > 0)
            remote_query_add(&query, "continuation-token", buf_slice(&token));
        struct remote_request request = {
            .method = "GET", .path = buf_slice(&path), .query = buf_slice(&query), .body_fd = -1};
        err =
            query.err != ERR_NONE ? query.err : remote_http_send(r->http, &request, &response, why);
        if (err == ERR_NONE && response.status != 200)
            err = remote_failure(&response, why);
        else if (err == ERR_NONE && (err = take_page(&response, fn, arg, &token, &stopped)) != 0)
            buf_puts(why, "the server's listing cannot be read");
        remote_response_fini(&response);
    } while (err == ERR_NONE && token.n > 0 && !stopped);
    buf_fini(&path);
    buf_fini(&query);
    buf_fini(&token);
    return err;
}

static int
curl_get(struct remote *r, struct slice bucket, struct slice key, remote_sink_fn sink, void *arg,
         struct buf *why)
{
    struct remote_response response;
    struct buf path;
    buf_init(&path, QUERY_MAX);
    path_of(&path, bucket, key);
    struct remote_request request = {
        .method = "GET", .path = buf_slice(&path), .body_fd = -1, .sink = sink, .sink_arg = arg};
    int err = remote_http_send(r->http, &request, &response, why);
    if (err == ERR_NONE && response.status != 200)
        err = remote_failure(&response, why);
    remote_response_fini(&response);
    buf_fini(&path);
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
    static const struct remote_ops ops = {curl_list, curl_get, curl_close};
    r->ops = &ops;
    return remote_http_open(&r->http, options, why);
}
