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
    char *ca_file; /* "": the system's */
    char *access_key_id;
    char *secret_access_key;
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
                              .ca_file = copy_text(slice_str(options->ca_file)),
                              .access_key_id = copy_text(options->access_key_id),
                              .secret_access_key = copy_text(options->secret_access_key)};
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
    if (n > 0 && fsio_pread_all(t->request->body_fd, p, n, t->sent) != ERR_NONE)
        return CURL_READFUNC_ABORT;
    t->sent += (int64_t)n;
    return n;
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
        err = fsio_pread_all(request->body_fd, chunk, n, at);
        digester_update(d, chunk, n);
        at += (int64_t)n;
    }
    digester_end(d);
    hex_encode(digester_sha256(d), SHA256_BYTES, hex);
    free(chunk);
    digester_free(&d);
    return err;
}

static struct curl_slist *
add_header(struct curl_slist *list, const char *name, const char *value)
{
    struct buf line;
    buf_init(&line, URL_MAX);
    buf_printf(&line, "%s: %s", name, value);
    struct curl_slist *longer = line.err == ERR_NONE ? curl_slist_append(list, line.p) : NULL;
    CHK(longer != NULL);
    buf_fini(&line);
    return longer;
}

/* The signature's three headers and Authorization. */
static int
sign(struct remote_http *h, const struct remote_request *request, struct slice raw_path,
     struct curl_slist **headers)
{
    char hash[2 * SHA256_BYTES + 1];
    char date[CLOCK_TEXT_MAX];
    int64_t now_ms = clock_wall_ms();
    struct buf authorization;
    int err = hash_body(request, hash);
    if (err != ERR_NONE)
        return err;
    clock_basic(now_ms, date);
    const struct sign_header signed_headers[] = {
        {"host", slice_str(h->host)},
        {"x-amz-content-sha256", slice_str(hash)},
        {"x-amz-date", slice_str(date)},
    };
    const struct sign_request sr = {.method = request->method,
                                    .raw_path = raw_path,
                                    .raw_query = request->query,
                                    .headers = signed_headers,
                                    .header_count = ARRAY_LEN(signed_headers),
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
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_bytes);
    } else if (request->body.n > 0 || strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.n);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, request->body.n > 0 ? request->body.p : "");
    } else if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, request->method);
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
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)REMOTE_CONNECT_MS_MAX);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)REMOTE_STALL_S_MAX);
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
    return ERR_CLOSED;
}

int
remote_http_send(struct remote_http *h, const struct remote_request *request,
                 struct remote_response *response, struct buf *why)
{
    CHK_MAGIC(h, REMOTE_MAGIC);
    struct transfer t = {.request = request, .response = response, .curl = h->curl};
    struct curl_slist *headers = NULL;
    struct buf url;
    response->status = 0;
    buf_init(&response->body, REMOTE_REPLY_MAX);
    buf_init(&url, URL_MAX);
    buf_puts(&url, h->endpoint);
    size_t path_at = url.n;
    http_escape(&url, request->path, true);
    size_t path_end = url.n;
    if (request->query.n > 0) {
        buf_putc(&url, '?');
        buf_put_slice(&url, request->query);
    }
    int err = url.err;
    /* No Expect: the body is small, or the server is local and answers at once anyway. */
    headers = add_header(headers, "Expect", "");
    if (request->content_type != NULL)
        headers = add_header(headers, "Content-Type", request->content_type);
    if (err == ERR_NONE && h->access_key_id[0] != '\0')
        err = sign(h, request, slice_of(url.p + path_at, path_end - path_at), &headers);
    if (err == ERR_NONE)
        err = perform(h, &t, url.p, headers, why);
    else
        buf_printf(why, "the request cannot be made: %s", err_text(err));
    curl_slist_free_all(headers);
    buf_fini(&url);
    return err;
}

void
remote_response_fini(struct remote_response *response)
{
    buf_fini(&response->body);
}
