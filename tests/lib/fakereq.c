#include "tests/lib/fakereq.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/http_priv.h"
#include "base/sign.h"
#include "base/sigv4.h"

#include <ctype.h>

static struct slice
keep(struct http_request *r, struct slice s)
{
    struct slice copy = arena_dup(r->arena, s);
    CHK(copy.p != NULL);
    return copy;
}

static void
derive(struct http_request *r)
{
    uint64_t length;
    struct slice text = http_field(r, "content-length"), rest;
    r->host = slice_cut(http_field(r, "host"), ':', &rest);
    r->chunked = slice_ieqs(http_field(r, "transfer-encoding"), "chunked");
    r->content_length = -1;
    if (text.p != NULL && !r->chunked) {
        CHK(slice_to_u64(text, &length) == ERR_NONE);
        r->content_length = (int64_t)length;
    }
    r->has_body = r->chunked || r->content_length > 0;
}

void
fakereq_method(struct http_request *r, const char *method)
{
    static const char *const names[] = {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"};
    r->method_name = keep(r, slice_str(method));
    r->method = HTTP_OTHER;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_eqs(r->method_name, names[i]))
            r->method = (enum http_method)i;
    }
}

void
fakereq_target(struct http_request *r, const char *raw_target)
{
    r->raw_target = keep(r, slice_str(raw_target));
    r->raw_path = slice_cut(r->raw_target, '?', &r->raw_query);
    r->path = http_unescape(r->arena, r->raw_path, false);
    CHK(r->path.p != NULL);
    r->params = NULL;
    r->param_count = 0;
    CHK(http_parse_query(r) == ERR_NONE);
}

void
fakereq_field_add(struct http_request *r, const char *name, const char *value)
{
    CHK(r->field_count < HTTP_HEADERS_MAX);
    r->fields[r->field_count++] =
        (struct http_field){keep(r, slice_str(name)), keep(r, slice_trim(slice_str(value)))};
    derive(r);
}

void
fakereq_field(struct http_request *r, const char *name, const char *value)
{
    for (size_t i = 0; i < r->field_count; i++) {
        if (slice_ieqs(r->fields[i].name, name)) {
            r->fields[i].value = keep(r, slice_str(value));
            derive(r);
            return;
        }
    }
    fakereq_field_add(r, name, value);
}

void
fakereq_field_drop(struct http_request *r, const char *name)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->field_count; i++) {
        if (!slice_ieqs(r->fields[i].name, name))
            r->fields[kept++] = r->fields[i];
    }
    r->field_count = kept;
    derive(r);
}

static struct slice
next_line(struct slice *rest)
{
    struct slice line = slice_cut(*rest, '\n', rest);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static const char *
text_of(struct http_request *r, struct slice s)
{
    return keep(r, s).p;
}

struct http_request *
fakereq_new(const char *head)
{
    struct arena *arena = arena_new(HTTP_REQUEST_MEMORY_MAX);
    CHK(arena != NULL);
    struct http_request *r = arena_alloc(arena, sizeof *r);
    CHK(r != NULL);
    r->arena = arena;
    r->fields = arena_alloc(arena, HTTP_HEADERS_MAX * sizeof r->fields[0]);
    CHK(r->fields != NULL);
    struct slice rest = slice_str(head), after, value;
    struct slice line = next_line(&rest);
    struct slice method = slice_cut(line, ' ', &after);
    struct slice target = slice_cut(after, ' ', &after);
    CHK(target.n > 0 && slice_eqs(after, "HTTP/1.1"));
    fakereq_method(r, text_of(r, method));
    fakereq_target(r, text_of(r, target));
    derive(r);
    while (rest.p != NULL) {
        line = next_line(&rest);
        if (line.n == 0)
            break;
        struct slice name = slice_cut(line, ':', &value);
        CHK(value.p != NULL);
        fakereq_field_add(r, text_of(r, name), text_of(r, value));
    }
    return r;
}

void
fakereq_free(struct http_request **r)
{
    if (*r == NULL)
        return;
    struct arena *arena = (*r)->arena;
    *r = NULL;
    arena_free(&arena);
}

static const char *
lower(struct http_request *r, struct slice name)
{
    char *copy = arena_printf(r->arena, "%.*s", SLICE_FMT(name));
    CHK(copy != NULL);
    for (char *p = copy; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    return copy;
}

static struct sign_request
prepare(struct http_request *r, const struct fakereq_signer *who, bool presign)
{
    struct sign_header *headers = arena_alloc(r->arena, SIGN_HEADERS_MAX * sizeof *headers);
    size_t n = 0;
    CHK(headers != NULL);
    for (size_t i = 0; i < r->field_count; i++) {
        const char *name = lower(r, r->fields[i].name);
        if (presign && strcmp(name, "host") != 0 && strncmp(name, "x-amz-", 6) != 0)
            continue;
        CHK(n < SIGN_HEADERS_MAX);
        headers[n++] = (struct sign_header){name, r->fields[i].value};
    }
    return (struct sign_request){
        .method = keep(r, r->method_name).p,
        .raw_path = r->raw_path,
        .raw_query = r->raw_query,
        .headers = headers,
        .header_count = n,
        .region = who->region,
        .service = who->service,
        .access_key_id = slice_str(who->access_key_id),
        .secret_access_key = slice_str(who->secret_access_key),
        .now_ms = who->now_ms,
    };
}

void
fakereq_sign(struct http_request *r, const struct fakereq_signer *who, const char *payload_hash)
{
    char date[CLOCK_TEXT_MAX];
    struct buf text;
    const char *hash = payload_hash == NULL ? SIGV4_EMPTY_SHA256 : payload_hash;
    clock_basic(who->now_ms, date);
    fakereq_field_drop(r, "authorization");
    fakereq_field(r, "x-amz-date", date);
    if (strcmp(who->service, "s3") == 0)
        fakereq_field(r, "x-amz-content-sha256", hash);
    struct sign_request req = prepare(r, who, false);
    req.payload_hash = hash;
    buf_init(&text, 64u << 10);
    CHK(sign_v4_header(&req, &text) == ERR_NONE);
    fakereq_field_add(r, "Authorization", text.p);
    buf_fini(&text);
}

void
fakereq_presign(struct http_request *r, const struct fakereq_signer *who, int64_t expires_seconds)
{
    struct buf text;
    struct sign_request req = prepare(r, who, true);
    req.payload_hash = SIGV4_UNSIGNED_PAYLOAD;
    buf_init(&text, 64u << 10);
    buf_put_slice(&text, r->raw_path);
    buf_putc(&text, '?');
    CHK(sign_v4_query(&req, expires_seconds, &text) == ERR_NONE);
    fakereq_target(r, text.p);
    buf_fini(&text);
}

const struct fakereq_signer fakereq_root = {
    .access_key_id = "AKIAIOSFODNN7EXAMPLE",
    .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    .region = "us-east-1",
    .service = "s3",
    .now_ms = INT64_C(1369353600000),
};

struct accounts *
fakereq_accounts(void)
{
    const struct account both[] = {
        {.id = "000000000001",
         .display_name = "one",
         .email = "one@example.com",
         .access_key_id = fakereq_root.access_key_id,
         .secret_access_key = fakereq_root.secret_access_key,
         .is_root = true},
        {.id = "000000000002",
         .display_name = "two",
         .email = "two@example.com",
         .access_key_id = "AK/with/slashes",
         .secret_access_key = "second secret"},
    };
    struct accounts *a = accounts_new();
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        CHK(accounts_add(a, &both[i]) == ERR_NONE);
    return a;
}

/* The same text with the first `from` in it as `to`. */
static const char *
replaced(struct http_request *r, struct slice text, const char *from, const char *to)
{
    ptrdiff_t at = slice_find(text, slice_str(from));
    CHK(at >= 0);
    struct slice rest = slice_skip(text, (size_t)at + strlen(from));
    const char *out = arena_printf(r->arena, "%.*s%s%.*s", (int)at, text.p, to, SLICE_FMT(rest));
    CHK(out != NULL);
    return out;
}

void
fakereq_tamper(struct http_request *r, const struct fakereq_change *c)
{
    switch (c->part) {
    case FAKEREQ_METHOD:
        fakereq_method(r, c->what);
        break;
    case FAKEREQ_TARGET:
        fakereq_target(r, c->what);
        break;
    case FAKEREQ_TARGET_PART:
        fakereq_target(r, replaced(r, r->raw_target, c->what, c->value));
        break;
    case FAKEREQ_SET:
        fakereq_field(r, c->what, c->value);
        break;
    case FAKEREQ_ADD:
        fakereq_field_add(r, c->what, c->value);
        break;
    case FAKEREQ_DROP:
        fakereq_field_drop(r, c->what);
        break;
    case FAKEREQ_AUTHORIZATION:
        fakereq_field(r, "authorization",
                      replaced(r, http_field(r, "authorization"), c->what, c->value));
        break;
    }
}
