#include "pipeline/listener.h"
#include "base/err.h"
#include "base/http_tls.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define WHY_MAX 1024
#define FDS_RESERVED 512 /* descriptors for storage and workers */

/* ---- settings that need reading ---- */

/* "127.0.0.1:9000", "[::1]:0", "0.0.0.0:80". */
static int
listen_parse(struct listener *l, struct buf *why)
{
    const char *text = conf_str(l->conf, CONF_LISTEN);
    const char *colon = strrchr(text, ':');
    struct in_addr v4;
    uint64_t port = 0;
    struct slice host = slice_of(text, colon == NULL ? 0 : (size_t)(colon - text));
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = slice_of(host.p + 1, host.n - 2);
    if (host.n == 0 || host.n >= sizeof l->host ||
        slice_to_u64(slice_str(colon + 1), &port) != ERR_NONE || port > 65535) {
        buf_printf(why, "listen: \"%s\" is not HOST:PORT", text);
        return ERR_INVALID;
    }
    snprintf(l->host, sizeof l->host, "%.*s", SLICE_FMT(host));
    l->port = (int)port;
    /* By number, not by look: "127.example.com" is somebody's name. */
    if (inet_pton(AF_INET, l->host, &v4) == 1)
        l->loopback = ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    else
        l->loopback = slice_eqs(host, "::1") || slice_eqs(host, "localhost");
    return ERR_NONE;
}

static int
open_tls(struct listener *l, struct buf *why)
{
    const char *certificate = conf_str(l->conf, CONF_TLS_CERTIFICATE);
    const char *key = conf_str(l->conf, CONF_TLS_KEY);
    if (certificate[0] == '\0' && key[0] == '\0')
        return ERR_NONE;
    if (certificate[0] != '\0' && key[0] != '\0')
        return http_tls_new(&l->tls, certificate, key, why);
    buf_printf(why, "%s is missing: it belongs to %s",
               key[0] == '\0' ? "tls.key" : "tls.certificate",
               key[0] == '\0' ? "tls.certificate" : "tls.key");
    return ERR_INVALID;
}

/* Who may connect to the socket is told by the socket. */
static void
passed_look(struct listener *l)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    if (getsockname(l->passed_fd, (struct sockaddr *)&address, &n) == 0)
        l->loopback = http_addr_is_loopback((struct sockaddr *)&address);
}

int
listener_open(struct listener *l, const struct conf *conf, int passed_fd, struct buf *why)
{
    *l = (struct listener){.conf = conf, .passed_fd = passed_fd};
    int err = ERR_NONE;
    if (passed_fd >= 0)
        passed_look(l);
    else
        err = listen_parse(l, why);
    return err == ERR_NONE ? open_tls(l, why) : err;
}

/* ---- serving ---- */

/* As many connections as descriptors allow, the storage's and the workers' share left alone. */
static int
connections_max(const struct conf *c)
{
    struct rlimit limit;
    int64_t wanted = conf_int(c, CONF_HTTP_CONNECTIONS);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return (int)wanted;
    int64_t all = (int64_t)limit.rlim_cur;
    int64_t most = all - (all / 2 < FDS_RESERVED ? all / 2 : FDS_RESERVED);
    if (most >= wanted)
        return (int)wanted;
    log_line(LOG_WARN, "http_connections_lowered", "wanted=%lld now=%lld open_files=%lld",
             (long long)wanted, (long long)most, (long long)all);
    return (int)most;
}

/* 0.0.0.0 is no address to connect to. */
static void
make_url(struct listener *l, const struct http_server *http)
{
    const char *address = http_address(http);
    const char *port = strrchr(address, ':');
    const char *scheme = l->tls != NULL ? "https" : "http";
    snprintf(l->bound, sizeof l->bound, "%s://%s", scheme, address);
    if (strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0)
        snprintf(l->url, sizeof l->url, "%s://127.0.0.1%s", scheme, port);
    else
        snprintf(l->url, sizeof l->url, "%s://%s", scheme, address);
}

int
listener_start(struct listener *l, struct http_options *o, struct http_server **http,
               struct buf *why)
{
    const struct conf *c = l->conf;
    o->host = l->host;
    o->port = l->port;
    o->passed_fd = l->passed_fd < 0 ? 0 : l->passed_fd;
    l->passed_fd = -1; /* http_start() takes it, whatever comes of it */
    o->threads = (int)conf_int(c, CONF_HTTP_THREADS);
    o->tls = l->tls;
    o->connections_max = connections_max(c);
    o->connections_per_address_max = (int)conf_int(c, CONF_HTTP_CONNECTIONS_PER_ADDRESS);
    o->header_deadline_ms = (int)conf_int(c, CONF_HTTP_HEADER_DEADLINE);
    o->idle_timeout_ms = (int)conf_int(c, CONF_HTTP_IDLE);
    o->body_rate_min = conf_int(c, CONF_HTTP_BODY_RATE);
    o->reply_rate_min = conf_int(c, CONF_HTTP_REPLY_RATE);
    o->rate_window_ms = (int)conf_int(c, CONF_HTTP_RATE_WINDOW);
    o->bodies_memory_max = conf_int(c, CONF_HTTP_BODIES_MEMORY);
    int err = http_start(http, o);
    if (err != ERR_NONE) {
        buf_printf(why, "cannot listen on %s: %s%s", conf_str(c, CONF_LISTEN), err_text(err),
                   err == ERR_INUSE ? " (another server? --listen HOST:0 takes a free port)" : "");
        return err;
    }
    make_url(l, *http);
    return ERR_NONE;
}

void
listener_reload(struct listener *l)
{
    struct buf why;
    char quoted[LOG_QUOTE_MAX];
    if (l->tls == NULL)
        return;
    buf_init(&why, WHY_MAX);
    if (http_tls_reload(l->tls, &why) == ERR_NONE)
        log_line(LOG_INFO, "reload", "what=tls");
    else
        log_line(LOG_ERROR, "tls_reload_failed", "serving=old why=%s",
                 log_quote(buf_slice(&why), quoted));
    buf_fini(&why);
}

void
listener_close(struct listener *l)
{
    if (l->passed_fd >= 0)
        close(l->passed_fd);
    l->passed_fd = -1;
    http_tls_free(&l->tls);
}
