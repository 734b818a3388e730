/*
 * The request side that needs no library: looking fields and parameters up, percent-coding, and
 * cutting the query. Everything is done once, on the bytes as they were sent: the path is decoded
 * exactly one time, so "%2561" stays "%61", and "%00" and "%2F" are ordinary bytes of a key.
 */
#include "base/http_priv.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <netinet/in.h>

struct slice
http_field(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->field_count; i++) {
        if (slice_ieqs(r->fields[i].name, name))
            return r->fields[i].value;
    }
    return SLICE_NONE;
}

static const struct http_param *
param_find(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->param_count; i++) {
        if (slice_eqs(r->params[i].name, name))
            return &r->params[i];
    }
    return NULL;
}

struct slice
http_param(const struct http_request *r, const char *name)
{
    const struct http_param *p = param_find(r, name);
    return p == NULL ? SLICE_NONE : p->value;
}

bool
http_has_param(const struct http_request *r, const char *name)
{
    return param_find(r, name) != NULL;
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

struct slice
http_unescape(struct arena *a, struct slice s, bool plus_is_space)
{
    if (s.n == 0)
        return SLICE_LIT("");
    char *out = arena_alloc(a, s.n + 1);
    if (out == NULL)
        return SLICE_NONE;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            if (s.n - i < 3)
                return SLICE_NONE;
            int high = hex_value(s.p[i + 1]);
            int low = hex_value(s.p[i + 2]);
            if (high < 0 || low < 0)
                return SLICE_NONE;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out[n++] = c;
    }
    return slice_of(out, n);
}

static bool
is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void
http_escape(struct buf *out, struct slice s, bool keep_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (is_unreserved(s.p[i]) || (c == '/' && keep_slash)) {
            buf_putc(out, s.p[i]);
        } else {
            char code[3] = {'%', digits[c >> 4], digits[c & 15]};
            buf_put(out, code, sizeof code);
        }
    }
}

int
http_parse_query(struct http_request *r)
{
    size_t count = 0;
    struct slice rest = r->raw_query;
    while (rest.n > 0) {
        struct slice pair = slice_cut(rest, '&', &rest);
        count += pair.n > 0;
    }
    if (count > HTTP_QUERY_MAX)
        return ERR_INVALID;
    if (count == 0)
        return ERR_NONE;
    r->params = arena_alloc(r->arena, count * sizeof *r->params);
    if (r->params == NULL)
        return ERR_NOMEM;
    rest = r->raw_query;
    while (rest.n > 0) {
        struct slice pair = slice_cut(rest, '&', &rest);
        if (pair.n == 0)
            continue;
        struct slice value;
        struct slice name = slice_cut(pair, '=', &value);
        struct http_param *p = &r->params[r->param_count];
        p->name = http_unescape(r->arena, name, true);
        p->value = http_unescape(r->arena, value, true);
        if (p->name.p == NULL || p->value.p == NULL)
            return ERR_INVALID;
        r->param_count++;
    }
    return ERR_NONE;
}

bool
http_addr_is_loopback(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (addr->sa_family != AF_INET6)
        return false;
    const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
}
