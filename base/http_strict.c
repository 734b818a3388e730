/*
 * The strictness that libmicrohttpd lacks (RFC 9112 sections 2.2, 3.2, 5, 6.1, 6.3). Every check
 * serves one end: a request has exactly one reading, so that no proxy in front of us can see other
 * message borders, another host or other fields than we do.
 *
 * What the library does not report it still betrays by where it leaves things. It parses in place
 * and overwrites separators with NULs, so the parts of a sound head lie shoulder to shoulder:
 *
 *     PUT.  /key.  HTTP/1.1..  Name. value..  Name. value..  ..      (. = NUL)
 *
 * A NUL sent inside the target or a value ends the string early and leaves a gap; a bare LF leaves
 * one byte less; a folded line (obs-fold) is moved to fresh memory; a second blank in the request
 * line shifts the target. http_strict() demands that nothing but NULs is between the parts, as many
 * as the separator has bytes, and that the last part ends where the library says the head ends.
 * Reading the raw bytes is thus not needed.
 *
 * Two things stay beyond reach. NUL LF looks like CR LF once both are overwritten, and NUL CR LF LF
 * (or NUL NUL LF LF) like the end of the head; they are read as the line ends that most take a bare
 * LF for. And a Content-Length that is no number is refused by the library before we are asked:
 * base/http_mhd_front.c writes that answer.
 */
#include "base/http_priv.h"
#include "base/chk.h"
#include "base/err.h"

#include <string.h>

#define SOUND ((struct http_verdict){0, NULL})

static struct http_verdict
bad(const char *reason)
{
    return (struct http_verdict){400, reason};
}

/* ---- the bytes between the parts ---- */

/* Shoulder to shoulder, and the separator's place is all NULs: a byte that is left there was hidden
 * behind a NUL. */
static bool
follows(const char *part, const char *previous, size_t previous_n, size_t gap)
{
    static const char separator[4];
    CHK(gap <= sizeof separator);
    return (uintptr_t)part == (uintptr_t)previous + previous_n + gap &&
           memcmp(previous + previous_n, separator, gap) == 0;
}

static struct http_verdict
check_layout(const struct http_head *h)
{
    size_t version_n = strlen(h->version);
    if (!follows(h->target_at, h->method, strlen(h->method), 1) ||
        !follows(h->version, h->target_at, h->target.n, 1))
        return bad("request line is not three words with one space between them");
    const char *end = h->version;
    size_t end_n = version_n;
    for (size_t i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];
        if (!follows(f->name.p, end, end_n, 2))
            return bad("line end is not CR LF, or NUL or a folded line before a field");
        if ((uintptr_t)f->value.p < (uintptr_t)f->name.p + f->name.n + 1)
            return bad("folded field");
        end = f->value.p;
        end_n = f->value.n;
    }
    if (!follows(h->method + h->bytes, end, end_n, 4))
        return bad("line end is not CR LF, or NUL or a folded line in the last field");
    return SOUND;
}

/* ---- fields ---- */

static bool
is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return s.n > 0;
}

static bool
is_field_text(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* Names some software in front of us may take for the framing fields. */
static bool
is_framing_lookalike(struct slice name)
{
    return slice_ieqs(name, "Transfer_Encoding") || slice_ieqs(name, "Content_Length");
}

struct framing {
    struct slice length;
    struct slice coding;
    struct slice host;
    int lengths;
    int codings;
    int hosts;
};

static struct http_verdict
check_fields(const struct http_head *h, struct http_request *r, struct framing *framing)
{
    for (size_t i = 0; i < h->field_count; i++) {
        struct http_field *f = &h->fields[i];
        if (!is_token(f->name))
            return bad("field name is not a token");
        if (!is_field_text(f->value))
            return bad("control character in a field value");
        if (is_framing_lookalike(f->name))
            return bad("misspelt framing field");
        if (slice_ieqs(f->name, "Content-Length")) {
            framing->length = f->value;
            framing->lengths++;
        } else if (slice_ieqs(f->name, "Transfer-Encoding")) {
            framing->coding = f->value;
            framing->codings++;
        } else if (slice_ieqs(f->name, "Host")) {
            framing->host = slice_trim(f->value);
            framing->hosts++;
        }
        f->value = slice_trim(f->value);
    }
    r->fields = h->fields;
    r->field_count = h->field_count;
    return SOUND;
}

/* The library frames by the first Transfer-Encoding, else the first Content-Length, untrimmed:
 * only what it and everybody else reads alike passes. */
static struct http_verdict
check_framing(const struct framing *f, struct http_request *r, bool http10)
{
    r->content_length = -1;
    if (f->codings > 0 && f->lengths > 0)
        return bad("Content-Length with Transfer-Encoding");
    if (f->lengths > 1)
        return bad("more than one Content-Length");
    if (f->codings > 1)
        return bad("more than one Transfer-Encoding");
    if (f->codings == 1) {
        if (http10)
            return bad("Transfer-Encoding in an HTTP/1.0 request");
        if (!slice_ieqs(f->coding, "chunked"))
            return bad("Transfer-Encoding is not chunked");
        r->chunked = true;
    }
    if (f->lengths == 1) {
        uint64_t length;
        if (slice_to_u64(f->length, &length) != 0 || length > INT64_MAX)
            return bad("malformed Content-Length");
        r->content_length = (int64_t)length;
    }
    r->has_body = r->chunked || r->content_length > 0;
    return SOUND;
}

/* ---- host ---- */

static bool
is_port(struct slice s)
{
    uint64_t port;
    return s.n == 0 || (s.n <= 5 && slice_to_u64(s, &port) == 0 && port <= 65535);
}

/* uri-host [":" port] of RFC 9110 section 7.2; `host` becomes the part before the port. */
static bool
split_authority(struct slice s, struct slice *host)
{
    size_t n = 0;
    if (s.n > 0 && s.p[0] == '[') {
        n = 1;
        while (n < s.n && s.p[n] != '\0' && strchr("0123456789abcdefABCDEF:.", s.p[n]) != NULL)
            n++;
        if (n == 1 || n == s.n || s.p[n] != ']')
            return false;
        n++;
    } else {
        while (n < s.n && s.p[n] != ':') {
            unsigned char c = (unsigned char)s.p[n];
            if (c <= 0x20 || c >= 0x7f || strchr("/?#@[]\\\"<>^`{|}", c) != NULL)
                return false;
            n++;
        }
    }
    *host = slice_of(s.p, n);
    return n == s.n || (s.p[n] == ':' && is_port(slice_skip(s, n + 1)));
}

static bool
same_authority(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

/* ---- target ---- */

/* Leaves in `path` what follows the authority of an absolute-form target. */
static struct http_verdict
check_absolute(struct slice *path, struct slice host, bool secure)
{
    size_t scheme_n = secure ? strlen("https://") : strlen("http://");
    if (path->n < scheme_n || strncasecmp(path->p, secure ? "https://" : "http://", scheme_n) != 0)
        return bad("target is neither a path nor a URL of this scheme");
    struct slice rest = slice_skip(*path, scheme_n);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    if (n == 0 || !same_authority(slice_of(rest.p, n), host))
        return bad("host of the target differs from Host");
    *path = slice_skip(rest, n);
    return SOUND;
}

static struct http_verdict
check_target(struct http_request *r, struct slice host)
{
    struct slice s = r->raw_target;
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] <= 0x20 || s.p[i] == 0x7f)
            return bad("blank or control character in the target");
    }
    if (slice_eqs(s, "*")) {
        r->raw_path = r->path = s;
        return r->method == HTTP_OPTIONS ? SOUND : bad("asterisk target without OPTIONS");
    }
    if (s.n == 0 || s.p[0] != '/') {
        struct http_verdict v = check_absolute(&s, host, r->secure);
        if (v.status != 0)
            return v;
    }
    r->raw_path = slice_cut(s, '?', &r->raw_query);
    if (r->raw_path.n == 0)
        r->raw_path = SLICE_LIT("/");
    r->path = http_unescape(r->arena, r->raw_path, false);
    if (r->path.p == NULL)
        return bad("malformed percent escape in the path");
    if (http_parse_query(r) != 0)
        return bad("malformed query, or too many parameters");
    return SOUND;
}

static enum http_method
method_of(struct slice name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {{"GET", HTTP_GET},   {"HEAD", HTTP_HEAD},     {"PUT", HTTP_PUT},
                 {"POST", HTTP_POST}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (slice_eqs(name, known[i].name))
            return known[i].method;
    }
    return HTTP_OTHER;
}

struct http_verdict
http_strict(const struct http_head *h, struct http_request *r, bool *expects_continue)
{
    bool http10 = strcmp(h->version, "HTTP/1.0") == 0;
    struct framing framing = {.lengths = 0};
    r->method_name = slice_str(h->method);
    r->method = method_of(r->method_name);
    r->raw_target = h->target;

    if (h->bytes > HTTP_HEADER_BYTES_MAX)
        return (struct http_verdict){431, "request head too large"};
    if (h->fields_seen > HTTP_HEADERS_MAX)
        return (struct http_verdict){431, "too many fields"};
    if (!is_token(r->method_name))
        return bad("method is not a token");
    struct http_verdict v = h->in_place ? check_layout(h) : SOUND;
    if (v.status == 0)
        v = check_fields(h, r, &framing);
    if (v.status == 0)
        v = check_framing(&framing, r, http10);
    if (v.status != 0)
        return v;
    if (framing.hosts > 1 || (framing.hosts == 0 && !http10))
        return bad(framing.hosts > 1 ? "more than one Host" : "no Host");
    if (!split_authority(framing.host, &r->host))
        return bad("malformed Host");
    *expects_continue = !http10 && (r->has_body || r->content_length == 0) &&
                        slice_ieqs(http_field(r, "Expect"), "100-continue");
    return check_target(r, framing.host);
}
