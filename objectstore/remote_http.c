#include "objectstore/remote_http.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "base/http.h"
#include "base/sign.h"

#include <curl/curl.h>
#include <stdlib.h>

#define REMOTE_MAGIC 0x4e307e01u
#define URL_MAX (16u << 10)
#define HASH_CHUNK (256u << 10)

struct remote_http {
    uint32_t magic;
    CURL *curl;
    char *endpoint; /* without a slash at its end */
    char *host;     /* as in the Host header */
    char *region;
    int64_t timeout_ms;
    char *ca_file; /* "": the system's */
    char *access_key_id;
    char *secret_access_key;
    long stall_s;
    const atomic_bool *cancel;
};

/* One request under way. */
struct transfer {
    const struct remote_request *request;
    struct remote_response *response;
    CURL *curl;
    int64_t sent;
    int sink_err;
};

static char *
copy_text(struct slice s)
{
    char *text = chk_malloc(s.n + 1);
    if (s.n > 0)
        memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return text;
}

int
remote_http_open(struct remote_http **out, const struct remote_options *options, struct buf *why)
{
    struct slice endpoint = slice_str(options->endpoint);
    struct slice host = endpoint;
    while (endpoint.n > 0 && endpoint.p[endpoint.n - 1] == '/')
        endpoint.n--;
    if (slice_starts(endpoint, SLICE_LIT("http://")))
        host = slice_skip(endpoint, 7);
    else if (slice_starts(endpoint, SLICE_LIT("https://")))
        host = slice_skip(endpoint, 8);
    else
        host.n = 0;
    if (host.n == 0 || memchr(host.p, '/', host.n) != NULL) {
        buf_printf(why, "endpoint \"%s\" is not http[s]://HOST[:PORT]", options->endpoint);
        return ERR_INVALID;
    }
    struct remote_http *h = chk_calloc(1, sizeof *h);
    *h = (struct remote_http){.magic = REMOTE_MAGIC,
                              .curl = curl_easy_init(),
                              .endpoint = copy_text(endpoint),
                              .host = copy_text(host),
                              .region = copy_text(slice_str(options->region)),
                              .timeout_ms = options->timeout_ms,
                              .ca_file = copy_text(slice_str(options->ca_file)),
                              .access_key_id = copy_text(options->access_key_id),
                              .secret_access_key = copy_text(options->secret_access_key),
                              .stall_s =
                                  options->stall_s > 0 ? options->stall_s : REMOTE_STALL_S_MAX,
                              .cancel = options->cancel};
    CHK(h->curl != NULL);
    *out = h;
    return ERR_NONE;
}

void
remote_http_close(struct remote_http **hp)
{
    struct remote_http *h = *hp;
    *hp = NULL;
    if (h == NULL)
        return;
    CHK_MAGIC(h, REMOTE_MAGIC);
    curl_easy_cleanup(h->curl);
    explicit_bzero(h->secret_access_key, strlen(h->secret_access_key));
    free(h->endpoint);
    free(h->host);
    free(h->region);
    free(h->ca_file);
    free(h->access_key_id);
    free(h->secret_access_key);
    h->magic = 0;
    free(h);
}

void
remote_query_add(struct buf *query, const char *name, struct slice value)
{
    if (query->n > 0)
        buf_putc(query, '&');
    http_escape(query, slice_str(name), false);
    buf_putc(query, '=');
    http_escape(query, value, false);
}

/* ---- callbacks of libcurl ---- */

static size_t
on_bytes(char *p, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t n = size * count;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (t->request->sink != NULL && status / 100 == 2) {
        t->sink_err = t->request->sink(t->request->sink_arg, p, n);
        return t->sink_err == ERR_NONE ? n : 0;
    }
    buf_put(&t->response->body, p, n);
    t->sink_err = t->response->body.err;
    return t->sink_err == ERR_NONE ? n : 0;
}

static size_t
on_read(char *p, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    int64_t left = t->request->body_bytes - t->sent;
    size_t n = size * count;
    if ((int64_t)n > left)
        n = (size_t)left;
    if (n > 0 &&
        fsio_pread_all(t->request->body_fd, p, n, t->request->body_offset + t->sent) != ERR_NONE)
        return CURL_READFUNC_ABORT;
    t->sent += (int64_t)n;
    return n;
}

/* Line by line; the status line of each answer (a 100 comes before the real one) starts anew. */
static size_t
on_head(char *p, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    struct buf *head = &t->response->head;
    size_t n = size * count;
    if (slice_starts(slice_of(p, n), SLICE_LIT("HTTP/")))
        buf_reset(head);
    else
        buf_put(head, p, n);
    t->sink_err = head->err;
    return t->sink_err == ERR_NONE ? n : 0;
}

static int
on_progress(void *arg, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    const struct remote_http *h = arg;
    (void)down_all, (void)down, (void)up_all, (void)up;
    return h->cancel != NULL && atomic_load(h->cancel);
}

/* libcurl resends a body by itself, when a kept connection turns out to be closed. */
static int
on_seek(void *arg, curl_off_t offset, int origin)
{
    struct transfer *t = arg;
    if (origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    t->sent = offset;
    return CURL_SEEKFUNC_OK;
}

/* ---- one request ---- */

static int
hash_body(const struct remote_request *request, char hex[2 * SHA256_BYTES + 1])
{
    uint8_t digest[SHA256_BYTES];
    if (request->body_fd < 0) {
        digest_sha256(request->body.p, request->body.n, digest);
        hex_encode(digest, sizeof digest, hex);
        return ERR_NONE;
    }
    struct digester *d = digester_new(DIGEST_SHA256, CHECKSUM_NONE);
    char *chunk = chk_malloc(HASH_CHUNK);
    int err = ERR_NONE;
    for (int64_t at = 0; at < request->body_bytes && err == ERR_NONE;) {
        int64_t left = request->body_bytes - at;
        size_t n = left < (int64_t)HASH_CHUNK ? (size_t)left : HASH_CHUNK;
        err = fsio_pread_all(request->body_fd, chunk, n, request->body_offset + at);
        digester_update(d, chunk, n);
        at += (int64_t)n;
    }
    digester_end(d);
    hex_encode(digester_sha256(d), SHA256_BYTES, hex);
    free(chunk);
    digester_free(&d);
    return err;
}

/* Without a value: "Name;", which libcurl sends as an empty one ("Name:" would keep it away). */
static struct curl_slist *
add_header(struct curl_slist *list, const char *name, const char *value)
{
    struct buf line;
    buf_init(&line, 2 * URL_MAX);
    buf_printf(&line, value[0] != '\0' ? "%s: %s" : "%s;", name, value);
    struct curl_slist *longer = line.err == ERR_NONE ? curl_slist_append(list, line.p) : NULL;
    CHK(longer != NULL);
    buf_fini(&line);
    return longer;
}

static bool
header_ok(const struct sign_header *header)
{
    static const char token[] = "!#$%&'*+-.^_`|~"; /* RFC 9110 section 5.6.2, beside these: */
    const char *n = header->name;
    bool ok = *n != '\0';
    for (; *n != '\0' && ok; n++)
        ok = (*n >= 'a' && *n <= 'z') || (*n >= '0' && *n <= '9') || strchr(token, *n) != NULL;
    for (size_t i = 0; i < header->value.n && ok; i++) {
        unsigned char c = (unsigned char)header->value.p[i];
        ok = (c >= 0x20 && c != 0x7f) || c == '\t';
    }
    return ok;
}

static int
add_headers(const struct remote_request *request, struct curl_slist **headers, struct buf *why)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const struct sign_header *header = &request->headers[i];
        struct buf value;
        if (!header_ok(header)) {
            buf_printf(why, "its header \"%s\" cannot be sent", header->name);
            return ERR_INVALID;
        }
        buf_init(&value, URL_MAX);
        buf_put_slice(&value, header->value);
        if (value.err == ERR_NONE)
            *headers = add_header(*headers, header->name, value.n > 0 ? value.p : "");
        int err = value.err;
        buf_fini(&value);
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE;
}

/* The caller's headers, the signature's three and Authorization. */
static int
sign(struct remote_http *h, const struct remote_request *request, struct slice raw_path,
     struct curl_slist **headers)
{
    struct sign_header all[SIGN_HEADERS_MAX];
    char hash[2 * SHA256_BYTES + 1];
    char date[CLOCK_TEXT_MAX];
    int64_t now_ms = clock_wall_ms();
    struct buf authorization;
    int err = ERR_NONE;
    if (request->header_count > SIGN_HEADERS_MAX - 3)
        return ERR_TOOBIG;
    if (request->body_sha256 != NULL)
        snprintf(hash, sizeof hash, "%s", request->body_sha256);
    else
        err = hash_body(request, hash);
    if (err != ERR_NONE)
        return err;
    clock_basic(now_ms, date);
    if (request->header_count > 0)
        memcpy(all, request->headers, request->header_count * sizeof all[0]);
    size_t n = request->header_count;
    all[n++] = (struct sign_header){"host", slice_str(h->host)};
    all[n++] = (struct sign_header){"x-amz-content-sha256", slice_str(hash)};
    all[n++] = (struct sign_header){"x-amz-date", slice_str(date)};
    const struct sign_request sr = {.method = request->method,
                                    .raw_path = raw_path,
                                    .raw_query = request->query,
                                    .headers = all,
                                    .header_count = n,
                                    .payload_hash = hash,
                                    .region = h->region,
                                    .service = "s3",
                                    .access_key_id = slice_str(h->access_key_id),
                                    .secret_access_key = slice_str(h->secret_access_key),
                                    .now_ms = now_ms};
    buf_init(&authorization, URL_MAX);
    err = sign_v4_header(&sr, &authorization);
    if (err == ERR_NONE) {
        *headers = add_header(*headers, "x-amz-content-sha256", hash);
        *headers = add_header(*headers, "x-amz-date", date);
        *headers = add_header(*headers, "Authorization", authorization.p);
    }
    buf_fini(&authorization);
    return err;
}

static void
set_body(struct remote_http *h, struct transfer *t)
{
    const struct remote_request *request = t->request;
    CURL *c = h->curl;
    if (request->body_fd >= 0) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(c, CURLOPT_READDATA, t);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_bytes);
    } else if (request->body.n > 0 || strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.n);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, request->body.n > 0 ? request->body.p : "");
    } else if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, request->method);
}

static void
set_limits(struct remote_http *h)
{
    CURL *c = h->curl;
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)REMOTE_CONNECT_MS_MAX);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)h->timeout_ms);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, h->stall_s);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, h->cancel == NULL ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, h);
}

static int
curl_failure(CURL *c, CURLcode rc)
{
    curl_off_t connect_us = 0;
    switch (rc) {
    case CURLE_PARTIAL_FILE:
        return ERR_SHORT;
    case CURLE_OPERATION_TIMEDOUT:
        curl_easy_getinfo(c, CURLINFO_CONNECT_TIME_T, &connect_us);
        return connect_us > 0 ? ERR_TIMEOUT : ERR_CLOSED;
    case CURLE_ABORTED_BY_CALLBACK:
        return ERR_CANCELED;
    default:
        return ERR_CLOSED;
    }
}

static int
perform(struct remote_http *h, struct transfer *t, const char *url, struct curl_slist *headers,
        struct buf *why)
{
    CURL *c = h->curl;
    long status = 0;
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* "/../" is part of a key */
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    if (h->ca_file[0] != '\0')
        curl_easy_setopt(c, CURLOPT_CAINFO, h->ca_file);
    set_limits(h);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    set_body(h, t);
    CURLcode rc = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    t->response->status = (int)status;
    if (rc == CURLE_OK)
        return ERR_NONE;
    if (t->sink_err != ERR_NONE)
        return t->sink_err;
    buf_printf(why, "%s: %s", h->endpoint, curl_easy_strerror(rc));
    return curl_failure(c, rc);
}

/* "endpoint/path?query"; the path's stretch in it is what is signed. */
static int
put_url(const struct remote_http *h, const struct remote_request *request, struct buf *url,
        struct slice *raw_path)
{
    buf_puts(url, h->endpoint);
    size_t at = url->n;
    http_escape(url, request->path, true);
    size_t end = url->n;
    if (request->query.n > 0) {
        buf_putc(url, '?');
        buf_put_slice(url, request->query);
    }
    if (url->err == ERR_NONE)
        *raw_path = slice_of(url->p + at, end - at);
    return url->err;
}

int
remote_http_send(struct remote_http *h, const struct remote_request *request,
                 struct remote_response *response, struct buf *why)
{
    CHK_MAGIC(h, REMOTE_MAGIC);
    struct transfer t = {.request = request, .response = response, .curl = h->curl};
    struct slice raw_path = SLICE_NONE;
    struct buf url;
    response->status = 0;
    buf_init(&response->head, REMOTE_HEAD_MAX);
    buf_init(&response->body, request->reply_max > 0 ? request->reply_max : REMOTE_REPLY_MAX);
    buf_init(&url, URL_MAX);
    int err = put_url(h, request, &url, &raw_path);
    /* No Expect: the body is small, or the server is local and answers at once anyway. */
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    CHK(headers != NULL);
    if (request->content_type != NULL)
        headers = add_header(headers, "Content-Type", request->content_type);
    if (err == ERR_NONE)
        err = add_headers(request, &headers, why);
    if (err == ERR_NONE && h->access_key_id[0] != '\0')
        err = sign(h, request, raw_path, &headers);
    if (err == ERR_NONE)
        err = perform(h, &t, url.p, headers, why);
    else if (why->n == 0)
        buf_printf(why, "the request cannot be made: %s", err_text(err));
    curl_slist_free_all(headers);
    buf_fini(&url);
    return err;
}

struct slice
remote_header(const struct remote_response *response, const char *name)
{
    struct slice rest = buf_slice(&response->head);
    while (rest.n > 0) {
        struct slice value = SLICE_NONE;
        struct slice line = slice_cut(rest, '\n', &rest);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (slice_ieqs(slice_cut(line, ':', &value), name))
            return slice_trim(value);
    }
    return SLICE_NONE;
}

void
remote_response_fini(struct remote_response *response)
{
    buf_fini(&response->head);
    buf_fini(&response->body);
}
