/*
 * Replies. A reply is built where the service calls http_reply_*() - on the HTTP thread, or on any
 * thread that holds a suspended request - and queued by the HTTP thread at the one point where the
 * library takes it (http_mhd.c).
 *
 * The library gets every body as borrowed memory in one buffer, so that header and body leave in
 * one sendmsg(2). It reads a body no more once it has reported the request as completed, so one
 * place, http_reply_release(), called from there, ends every loan: copies, borrowed bodies and
 * stream arguments, each exactly once, whether the reply was sent, cut or never queued.
 */
#include "base/chk.h"
#include "base/http_mhd_priv.h"
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define SMALL_BODY 1024          /* copied into the arena */
#define STREAM_BLOCK (64u << 10) /* asked of a stream at once */
#define RETRY_AFTER "Retry-After"

static struct http_conn *
conn_of(const struct http_request *r)
{
    CHK_MAGIC(r->conn, HTTP_CONN_MAGIC);
    return r->conn;
}

bool
http_replied(const struct http_request *r)
{
    const struct http_conn *c = conn_of(r);
    return c->replied || c->cut;
}

/* ---- headers ---- */

static bool
is_clean(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        if ((ch < 0x20 && ch != '\t') || ch == 0x7f)
            return false;
    }
    return true;
}

void
http_header(struct http_request *r, const char *name, struct slice value)
{
    struct http_conn *c = conn_of(r);
    struct slice name_slice = slice_str(name);
    char quoted[LOG_QUOTE_MAX];

    if (!is_clean(name_slice) || !is_clean(value) || name_slice.n == 0) {
        log_line(LOG_DEBUG, "http_header_dropped", "request_id=%s name=%s", r->id,
                 log_quote(name_slice, quoted));
        return;
    }
    /* The library refuses an empty value; a blank is taken off by every reader. */
    if (value.n == 0)
        value = SLICE_LIT(" ");
    struct http_reply_header *h = arena_alloc(r->arena, sizeof *h);
    struct slice name_copy = arena_dup(r->arena, name_slice);
    struct slice value_copy = arena_dup(r->arena, value);
    if (h == NULL || name_copy.p == NULL || value_copy.p == NULL ||
        c->header_count == HTTP_REPLY_HEADERS_MAX) {
        c->header_lost = true;
        return;
    }
    for (char *tab = (char *)(uintptr_t)value_copy.p; (tab = strchr(tab, '\t')) != NULL;)
        *tab = ' '; /* the library refuses what RFC 9110 section 5.5 allows */
    h->name = name_copy.p;
    h->value = value_copy.p;
    *c->headers_tail = h;
    c->headers_tail = &h->next;
    c->header_count++;
}

void
http_headerf(struct http_request *r, const char *name, const char *fmt, ...)
{
    struct buf text;
    va_list ap;
    buf_init(&text, HTTP_HEADER_BYTES_MAX);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (text.err != 0)
        conn_of(r)->header_lost = true;
    else
        http_header(r, name, buf_slice(&text));
    buf_fini(&text);
}

static void
add_headers(struct http_conn *c)
{
    MHD_add_response_header(c->response, "Server", "Darkroom");
    if (c->close || atomic_load_explicit(&c->server->quiesced, memory_order_relaxed))
        MHD_add_response_header(c->response, "Connection", "close");
    bool says_when = c->status != 503;
    for (struct http_reply_header *h = c->headers; h != NULL; h = h->next) {
        says_when = says_when || strcasecmp(h->name, RETRY_AFTER) == 0;
        if (MHD_add_response_header(c->response, h->name, h->value) != MHD_YES)
            log_line(LOG_WARN, "http_header_dropped", "request_id=%s name=%s", c->request.id,
                     h->name);
    }
    if (!says_when)
        MHD_add_response_header(c->response, RETRY_AFTER, "1");
}

/* ---- the reply itself ---- */

/* True when the caller may go on; the reply is taken either way. */
static bool
reply_start(struct http_conn *c, int status)
{
    CHK(!c->replied && status >= 200 && status <= 599);
    CHK(c->state != HTTP_SENT && c->state != HTTP_DRAIN);
    if (c->cut)
        return false;
    c->replied = true;
    c->status = status;
    if (c->header_lost) {
        c->headers = NULL;
        c->status = 503;
        c->close = true;
        c->response =
            MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
        log_line(LOG_WARN, "http_reply_lost", "request_id=%s why=headers", c->request.id);
        return false;
    }
    return true;
}

static void
reply_finish(struct http_conn *c)
{
    if (c->response == NULL)
        c->cut = true;
    else
        add_headers(c);
}

static void
reply_memory(struct http_conn *c, struct slice body)
{
    const char *p = body.n == 0 ? "" : body.p;
    c->response =
        MHD_create_response_from_buffer(body.n, (void *)(uintptr_t)p, MHD_RESPMEM_PERSISTENT);
}

void
http_reply(struct http_request *r, int status, struct slice body)
{
    struct http_conn *c = conn_of(r);
    if (!reply_start(c, status)) {
        reply_finish(c);
        return;
    }
    struct slice copy = SLICE_NONE;
    if (body.n <= SMALL_BODY)
        copy = arena_dup(r->arena, body);
    if (copy.p == NULL) {
        char *p = malloc(body.n + 1);
        if (p != NULL && body.n > 0)
            memcpy(p, body.p, body.n);
        copy = slice_of(p, body.n);
        c->free_fn = free;
        c->free_arg = p;
    }
    if (copy.p != NULL)
        reply_memory(c, copy);
    reply_finish(c);
}

void
http_reply_borrowed(struct http_request *r, int status, struct slice body, void (*free_fn)(void *),
                    void *free_arg)
{
    struct http_conn *c = conn_of(r);
    bool go = reply_start(c, status);
    c->free_fn = free_fn;
    c->free_arg = free_arg;
    if (go)
        reply_memory(c, body);
    reply_finish(c);
}

void
http_reply_fd(struct http_request *r, int status, int fd, int64_t offset, int64_t bytes)
{
    struct http_conn *c = conn_of(r);
    CHK(fd >= 0 && offset >= 0 && bytes >= 0);
    bool go = reply_start(c, status);
    if (go && bytes > 0)
        c->response =
            MHD_create_response_from_fd_at_offset64((uint64_t)bytes, fd, (uint64_t)offset);
    else if (go)
        reply_memory(c, SLICE_NONE);
    if (c->response == NULL || !go || bytes == 0)
        close(fd);
    reply_finish(c);
}

/* Suspends, unless a wake came since read_fn was asked. The library must have suspended before any
 * other thread can see WAITS and resume; so a wake that comes in between is undone here. */
static bool
stream_waits(struct http_conn *c)
{
    struct http_server *s = c->server;
    int runs = HTTP_STREAM_RUNS;
    if (atomic_exchange(&c->stream_state, HTTP_STREAM_RUNS) == HTTP_STREAM_WOKEN)
        return false;
    atomic_fetch_add(&s->resuming, 1);
    atomic_fetch_add(&s->lent, 1);
    MHD_suspend_connection(c->mhd);
    if (!atomic_compare_exchange_strong(&c->stream_state, &runs, HTTP_STREAM_WAITS)) {
        atomic_store(&c->stream_state, HTTP_STREAM_RUNS);
        atomic_fetch_sub(&s->lent, 1);
        MHD_resume_connection(c->mhd);
    }
    atomic_fetch_sub(&s->resuming, 1);
    return true;
}

static ssize_t
pull(void *arg, uint64_t offset, char *p, size_t n)
{
    struct http_conn *c = arg;
    for (;;) {
        ptrdiff_t got = c->read_fn(c->free_arg, (int64_t)offset, p, n);
        if (got > 0 && (size_t)got <= n)
            return got;
        if (got == HTTP_READ_LATER && !c->length_known) {
            if (stream_waits(c))
                return 0;
            continue;
        }
        if (got == HTTP_READ_END && !c->length_known)
            return MHD_CONTENT_READER_END_OF_STREAM;
        log_line(LOG_WARN, "http_stream_cut", "request_id=%s", c->request.id);
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
}

void
http_stream_wake(struct http_request *r)
{
    struct http_conn *c = conn_of(r);
    struct http_server *s = c->server;
    int seen = atomic_load(&c->stream_state);
    int to;
    CHK(c->read_fn != NULL);
    do {
        to = seen == HTTP_STREAM_WAITS ? HTTP_STREAM_RUNS : HTTP_STREAM_WOKEN;
    } while (!atomic_compare_exchange_weak(&c->stream_state, &seen, to));
    if (to == HTTP_STREAM_WOKEN)
        return;
    atomic_fetch_add(&s->resuming, 1);
    atomic_fetch_sub(&s->lent, 1);
    MHD_resume_connection(c->mhd);
    atomic_fetch_sub(&s->resuming, 1);
}

void
http_stream_sever(struct http_request *r)
{
    shutdown(conn_of(r)->guard->fd, SHUT_RDWR);
}

void
http_reply_stream(struct http_request *r, int status, int64_t bytes, http_read_fn read_fn,
                  void (*free_fn)(void *), void *arg)
{
    struct http_conn *c = conn_of(r);
    bool go = reply_start(c, status);
    c->free_fn = free_fn;
    c->free_arg = arg;
    c->read_fn = read_fn;
    c->length_known = bytes >= 0;
    if (go)
        c->response = MHD_create_response_from_callback(
            bytes >= 0 ? (uint64_t)bytes : MHD_SIZE_UNKNOWN, STREAM_BLOCK, pull, c, NULL);
    reply_finish(c);
}

/* Stands in for the body of a reply that has a length and no body. */
static ssize_t
never_pulled(void *arg, uint64_t offset, char *p, size_t n)
{
    (void)arg;
    (void)offset;
    (void)p;
    (void)n;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

void
http_reply_empty(struct http_request *r, int status, int64_t bytes)
{
    struct http_conn *c = conn_of(r);
    bool bodiless = r->method == HTTP_HEAD || status == 304;
    if (reply_start(c, status)) {
        CHK(bodiless || bytes <= 0);
        if (bodiless && bytes > 0)
            c->response =
                MHD_create_response_from_callback((uint64_t)bytes, 1, never_pulled, NULL, NULL);
        else
            reply_memory(c, SLICE_NONE);
    }
    reply_finish(c);
}

void
http_reply_text(struct http_request *r, int status, const char *text, bool close)
{
    struct http_conn *c = conn_of(r);
    c->close = c->close || close;
    http_header(r, "Content-Type", SLICE_LIT("text/plain"));
    char *line = arena_printf(r->arena, "%s\n", text);
    http_reply(r, status, slice_str(line));
}

void
http_cut(struct http_request *r)
{
    conn_of(r)->cut = true;
}

/* ---- for http_mhd.c ---- */

enum MHD_Result
http_reply_queue(struct http_conn *c)
{
    if (c->cut || c->response == NULL)
        return MHD_NO;
    return http_front_queue(c->mhd, c->status, c->response);
}

void
http_reply_release(struct http_conn *c)
{
    void (*free_fn)(void *) = c->free_fn;
    c->free_fn = NULL;
    if (free_fn != NULL)
        free_fn(c->free_arg);
    if (c->response != NULL)
        MHD_destroy_response(c->response);
    c->response = NULL;
}
