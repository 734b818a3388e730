/*
 * POSTs of webhooks, by libcurl's multi interface.
 *
 * What a URL is, is for one parser to say: the host that the list was asked about is the host that
 * libcurl connects to, because the parsed URL itself is handed over, never its text a second time.
 *
 *   begin:  parse -> in the list? -> sign -> easy handle into the multi handle
 *   end:    out of the multi handle -> everything freed -> ended()
 *
 * A receiver may be slow, endless or hostile: one deadline over all, answers are counted and
 * dropped, and once its status is known it may say no more than WEBHOOK_ANSWER_BYTES_MAX.
 */
#include "pipeline/webhook_send.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define SENDER_MAGIC 0x3eb400c5u
#define PLACE_PORT_NONE 0
#define URL_MAX 4096
#define CONNECTIONS_KEPT 16
#define HEADER_MAX 512

/* ---- where to ---- */

/* Of a URL or of an entry of the list, as the parser normalized it. */
struct place {
    char *host;
    unsigned port; /* PLACE_PORT_NONE in an entry: the scheme's own */
};

struct webhook_hosts {
    size_t count;
    struct place places[WEBHOOK_HOSTS_MAX];
};

/* "" for a part that is not there. curl_free() it. */
static char *
url_part(CURLU *u, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    if (curl_url_get(u, part, &text, flags) != CURLUE_OK)
        return NULL;
    return text;
}

static bool
url_has(CURLU *u, CURLUPart part)
{
    char *text = url_part(u, part, 0);
    bool has = text != NULL;
    curl_free(text);
    return has;
}

/* The characters of RFC 3986, roughly: printable ASCII. What comes from elsewhere is to be
 * percent-encoded or, a host, in punycode. */
static bool
is_plain(struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] <= ' ' || text.p[i] > '~')
            return false;
    }
    return text.n > 0;
}

/* NULL, with the reason, when it is no URL for us. curl_url_cleanup() it. */
static CURLU *
url_parse(struct slice url, struct buf *why)
{
    char text[URL_MAX];
    if (url.n >= sizeof text || !is_plain(url)) {
        buf_printf(why, "a URL here has at most %d characters, all of them plain ASCII",
                   URL_MAX - 1);
        return NULL;
    }
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(url));
    CURLU *u = curl_url();
    CHK(u != NULL);
    CURLUcode rc = curl_url_set(u, CURLUPART_URL, text, CURLU_DISALLOW_USER);
    char *scheme = rc == CURLUE_OK ? url_part(u, CURLUPART_SCHEME, 0) : NULL;
    if (rc == CURLUE_USER_NOT_ALLOWED)
        buf_puts(why, "the URL must not hold a user name or password");
    else if (scheme == NULL || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        buf_puts(why, "the URL must be http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH");
    else if (strchr(text, '#') != NULL)
        buf_puts(why, "the URL must not have a fragment (#)");
    else if (url_has(u, CURLUPART_ZONEID))
        buf_puts(why, "the address in the URL must not have a zone");
    curl_free(scheme);
    if (why->n == 0)
        return u;
    curl_url_cleanup(u);
    return NULL;
}

/* `port` of an entry may be missing, of a URL it is then the scheme's. ERR_INVALID. */
static int
place_of(CURLU *u, bool is_entry, struct place *out)
{
    uint64_t port = PLACE_PORT_NONE;
    char *port_text = url_part(u, CURLUPART_PORT, is_entry ? 0 : CURLU_DEFAULT_PORT);
    char *host = url_part(u, CURLUPART_HOST, 0);
    bool good = host != NULL && host[0] != '\0' && (port_text != NULL || is_entry);
    if (good && port_text != NULL)
        good = slice_to_u64(slice_str(port_text), &port) == ERR_NONE && port > 0 && port <= 65535;
    curl_free(port_text);
    if (!good) {
        curl_free(host);
        return ERR_INVALID;
    }
    *out = (struct place){.host = host, .port = (unsigned)port};
    return ERR_NONE;
}

/* Read by the same parser as URLs, so that both come out in the same normal form. */
static int
entry_read(struct slice entry, struct place *out, struct buf *why)
{
    struct buf url;
    buf_init(&url, URL_MAX);
    buf_printf(&url, "http://%.*s/", SLICE_FMT(entry));
    CURLU *u = url_parse(buf_slice(&url), why);
    char *path = u == NULL ? NULL : url_part(u, CURLUPART_PATH, 0);
    int err = ERR_INVALID;
    if (path != NULL && strcmp(path, "/") == 0 && !url_has(u, CURLUPART_QUERY) &&
        entry.p[entry.n - 1] != ':')
        err = place_of(u, true, out);
    curl_free(path);
    curl_url_cleanup(u);
    buf_fini(&url);
    if (err != ERR_NONE) {
        buf_reset(why);
        buf_printf(why, "webhook.hosts: \"%.*s\" is not HOST or HOST:PORT", SLICE_FMT(entry));
    }
    return err;
}

int
webhook_hosts_parse(struct webhook_hosts **out, struct slice text, struct buf *why)
{
    struct webhook_hosts *hosts = chk_calloc(1, sizeof *hosts);
    int err = ERR_NONE;
    while (err == ERR_NONE && text.n > 0) {
        struct slice entry = slice_trim(slice_cut(text, ',', &text));
        if (entry.n == 0)
            continue;
        if (hosts->count == WEBHOOK_HOSTS_MAX) {
            buf_printf(why, "webhook.hosts: more than %d hosts", WEBHOOK_HOSTS_MAX);
            err = ERR_TOOBIG;
        } else {
            err = entry_read(entry, &hosts->places[hosts->count], why);
        }
        if (err == ERR_NONE)
            hosts->count++;
    }
    if (err != ERR_NONE)
        webhook_hosts_free(&hosts);
    *out = hosts;
    return err;
}

void
webhook_hosts_free(struct webhook_hosts **hp)
{
    struct webhook_hosts *hosts = *hp;
    *hp = NULL;
    for (size_t i = 0; hosts != NULL && i < hosts->count; i++)
        curl_free(hosts->places[i].host);
    free(hosts);
}

static bool
hosts_allow(const struct webhook_hosts *hosts, const struct place *p, bool is_scheme_port)
{
    for (size_t i = 0; i < hosts->count; i++) {
        const struct place *entry = &hosts->places[i];
        bool port = entry->port == PLACE_PORT_NONE ? is_scheme_port : entry->port == p->port;
        if (port && slice_ieqs(slice_str(entry->host), p->host))
            return true;
    }
    return false;
}

/* NULL, *err and why, or the parsed URL whose host is in the list. */
static CURLU *
url_checked(const struct webhook_hosts *hosts, struct slice url, int *err, struct buf *why)
{
    struct place p = {0};
    CURLU *u = url_parse(url, why);
    *err = u == NULL ? ERR_INVALID : place_of(u, false, &p);
    if (u != NULL && *err != ERR_NONE)
        buf_puts(why, "the URL has no proper host and port");
    if (*err == ERR_NONE) {
        char *scheme = url_part(u, CURLUPART_SCHEME, 0);
        bool is_tls = scheme != NULL && strcmp(scheme, "https") == 0;
        curl_free(scheme);
        if (!hosts_allow(hosts, &p, p.port == (is_tls ? 443 : 80))) {
            *err = ERR_DENIED;
            buf_printf(why,
                       "%s:%u is not in the setting webhook.hosts of the server: start darkroomd "
                       "with it in its configuration file",
                       p.host, p.port);
        }
    }
    curl_free(p.host);
    if (*err == ERR_NONE)
        return u;
    curl_url_cleanup(u);
    return NULL;
}

int
webhook_hosts_check(const struct webhook_hosts *hosts, struct slice url, struct buf *why)
{
    int err;
    curl_url_cleanup(url_checked(hosts, url, &err, why));
    return err;
}

/* ---- how ---- */

void
webhook_sign(struct slice secret, int64_t timestamp_s, struct slice body,
             char out[WEBHOOK_SIGNATURE_MAX])
{
    uint8_t mac[SHA256_BYTES];
    struct buf text;
    buf_init(&text, body.n + 32);
    buf_printf(&text, "%" PRId64 ".", timestamp_s);
    buf_put_slice(&text, body);
    CHK(text.err == ERR_NONE);
    digest_hmac_sha256(secret, buf_slice(&text), mac);
    buf_fini(&text);
    snprintf(out, WEBHOOK_SIGNATURE_MAX, "v1=");
    hex_encode(mac, sizeof mac, out + 3);
}

struct webhook_sender {
    uint32_t magic;
    struct webhook_sender_options options;
    CURLM *multi;
};

/* One post under way. */
struct webhook_transfer {
    struct webhook_post *post;
    CURL *easy;
    CURLU *url;
    struct curl_slist *headers;
    size_t header_bytes, body_bytes; /* of the answer, dropped */
    char error[CURL_ERROR_SIZE];
};

struct webhook_sender *
webhook_sender_new(const struct webhook_sender_options *options)
{
    struct webhook_sender *s = chk_calloc(1, sizeof *s);
    CHK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    *s = (struct webhook_sender){
        .magic = SENDER_MAGIC, .options = *options, .multi = curl_multi_init()};
    CHK(s->multi != NULL);
    curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
    return s;
}

void
webhook_sender_free(struct webhook_sender **sp)
{
    struct webhook_sender *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHK_MAGIC(s, SENDER_MAGIC);
    CHK(curl_multi_cleanup(s->multi) == CURLM_OK);
    curl_global_cleanup();
    s->magic = 0;
    free(s);
}

void
webhook_sender_wake(struct webhook_sender *s)
{
    CHK_MAGIC(s, SENDER_MAGIC);
    curl_multi_wakeup(s->multi);
}

/* ---- callbacks of libcurl ---- */

static size_t
drop(size_t *count, size_t n)
{
    *count += n;
    return *count > WEBHOOK_ANSWER_BYTES_MAX ? 0 : n;
}

static size_t
on_body(char *p, size_t size, size_t count, void *arg)
{
    struct webhook_transfer *t = arg;
    (void)p;
    return drop(&t->body_bytes, size * count);
}

static size_t
on_header(char *p, size_t size, size_t count, void *arg)
{
    struct webhook_transfer *t = arg;
    (void)p;
    return drop(&t->header_bytes, size * count);
}

/* Workers are forked at any time and get no socket of ours. */
static curl_socket_t
on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)arg;
    (void)purpose;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- one post ---- */

static void
transfer_free(struct webhook_sender *s, struct webhook_transfer *t)
{
    if (t->easy != NULL) {
        curl_multi_remove_handle(s->multi, t->easy);
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    curl_url_cleanup(t->url);
    t->post->transfer = NULL;
    free(t);
}

static void header_add(struct webhook_transfer *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void
header_add(struct webhook_transfer *t, const char *fmt, ...)
{
    char line[HEADER_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    CHK(n > 0 && (size_t)n < sizeof line);
    struct curl_slist *more = curl_slist_append(t->headers, line);
    CHK(more != NULL);
    t->headers = more;
}

static void
headers_make(struct webhook_transfer *t)
{
    const struct webhook_post *p = t->post;
    char signature[WEBHOOK_SIGNATURE_MAX];
    int64_t now_s = clock_wall_ms() / 1000;
    webhook_sign(p->secret, now_s, p->body, signature);
    header_add(t, "Content-Type: application/json");
    header_add(t, "X-Darkroom-Id: %" PRId64, p->id);
    header_add(t, "X-Darkroom-Timestamp: %" PRId64, now_s);
    header_add(t, "X-Darkroom-Signature: %s", signature);
    header_add(t, "Expect:"); /* no 100-continue: the body is small */
}

static void
options_set(struct webhook_transfer *t, const struct webhook_sender_options *o)
{
    CURL *e = t->easy;
    bool ok = true;
#define SET(option, value) ok = curl_easy_setopt(e, CURLOPT_##option, value) == CURLE_OK && ok
    /* where to, and nowhere else */
    SET(CURLU, t->url);
    SET(PROTOCOLS_STR, "http,https");
    SET(FOLLOWLOCATION, 0L);
    SET(PROXY, ""); /* the environment's neither */
    SET(NETRC, (long)CURL_NETRC_IGNORED);
    SET(SSL_VERIFYPEER, 1L);
    SET(SSL_VERIFYHOST, 2L);
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(OPENSOCKETFUNCTION, on_socket);
    /* what */
    SET(POST, 1L);
    SET(POSTFIELDS, t->post->body.p);
    SET(POSTFIELDSIZE_LARGE, (curl_off_t)t->post->body.n);
    SET(HTTPHEADER, t->headers);
    SET(USERAGENT, "darkroom/" DARKROOM_VERSION);
    /* for how long; a name server that hangs keeps its resolver thread, not us */
    SET(CONNECTTIMEOUT_MS, (long)o->connect_ms_max);
    SET(TIMEOUT_MS, (long)o->post_ms_max);
    SET(QUICK_EXIT, 1L);
    SET(NOSIGNAL, 1L);
    /* what comes back */
    SET(WRITEFUNCTION, on_body);
    SET(WRITEDATA, t);
    SET(HEADERFUNCTION, on_header);
    SET(HEADERDATA, t);
    SET(ERRORBUFFER, t->error);
    SET(PRIVATE, t);
#undef SET
    CHK(ok);
}

static void
refuse(struct webhook_post *p, const char *why)
{
    p->taken = false;
    snprintf(p->why, sizeof p->why, "%s", why);
    p->ended(p);
}

void
webhook_sender_post(struct webhook_sender *s, struct webhook_post *p)
{
    struct buf why;
    int err;
    CHK_MAGIC(s, SENDER_MAGIC);
    buf_init(&why, WEBHOOK_WHY_MAX);
    CURLU *url = url_checked(s->options.hosts, p->url, &err, &why);
    if (url == NULL) {
        refuse(p, why.n > 0 ? why.p : err_text(err));
        buf_fini(&why);
        return;
    }
    buf_fini(&why);
    struct webhook_transfer *t = chk_calloc(1, sizeof *t);
    *t = (struct webhook_transfer){.post = p, .easy = curl_easy_init(), .url = url};
    CHK(t->easy != NULL);
    p->transfer = t;
    headers_make(t);
    options_set(t, &s->options);
    CHK(curl_multi_add_handle(s->multi, t->easy) == CURLM_OK);
}

void
webhook_sender_abort(struct webhook_sender *s, struct webhook_post *p)
{
    CHK_MAGIC(s, SENDER_MAGIC);
    CHK(p->transfer != NULL);
    transfer_free(s, p->transfer);
}

/* What a receiver does after its status is its own affair, but to keep us waiting. */
static void
judge(struct webhook_transfer *t, CURLcode code)
{
    struct webhook_post *p = t->post;
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    bool whole =
        code == CURLE_OK || (code == CURLE_WRITE_ERROR && t->body_bytes > WEBHOOK_ANSWER_BYTES_MAX);
    p->taken = whole && status / 100 == 2;
    p->why[0] = '\0';
    if (!whole)
        snprintf(p->why, sizeof p->why, "%s",
                 t->error[0] != '\0' ? t->error : curl_easy_strerror(code));
    else if (!p->taken)
        snprintf(p->why, sizeof p->why, "answered %ld%s", status,
                 status / 100 == 3 ? ", and redirects are not followed" : "");
}

/* Sends and receives what can be without waiting; true when some post has ended. */
static bool
step(struct webhook_sender *s)
{
    int running, left;
    CURLMsg *m;
    bool any = false;
    CHK(curl_multi_perform(s->multi, &running) == CURLM_OK);
    while ((m = curl_multi_info_read(s->multi, &left)) != NULL) {
        struct webhook_transfer *t = NULL;
        CHK(m->msg == CURLMSG_DONE);
        CURLcode code = m->data.result; /* *m goes with the handle */
        CHK(curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK && t != NULL);
        struct webhook_post *p = t->post;
        judge(t, code);
        transfer_free(s, t);
        p->ended(p);
        any = true;
    }
    return any;
}

void
webhook_sender_run(struct webhook_sender *s, int timeout_ms)
{
    CHK_MAGIC(s, SENDER_MAGIC);
    if (step(s))
        return; /* the caller may have something to begin */
    CHK(curl_multi_poll(s->multi, NULL, 0, timeout_ms, NULL) == CURLM_OK);
    step(s);
}
