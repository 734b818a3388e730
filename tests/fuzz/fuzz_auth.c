/*
 * Who signed this? The first byte says how the request in the rest is used:
 *   1  SigV2 is allowed      2  a domain is set        4  sign it ourselves, by header
 *   8  ... by query          16 for another service than s3
 *   32, 64  which part is changed behind the signature
 * What is signed passes, what was changed afterwards never does, and the verdict on bytes as they
 * stand is a verdict: an account is named with AUTH_OK alone.
 */
#include "base/auth.h"
#include "tests/fuzz/head.h"
#include "tests/lib/fakereq.h"

#include <ctype.h>
#include <stdio.h>

enum { USE_V2 = 1, USE_DOMAIN = 2, SIGN_HEADER = 4, SIGN_QUERY = 8, SIGN_OTHER = 16 };

static struct accounts *accounts;

static enum auth_result
judge(struct http_request *r, unsigned use, struct slice body)
{
    struct auth_options o = {.accounts = accounts,
                             .v2_allowed = (use & USE_V2) != 0,
                             .now_ms = fakereq_root.now_ms,
                             .domain = (use & USE_DOMAIN) != 0 ? "example.com" : NULL};
    if (auth_check(r, &o) != ERR_NONE)
        return AUTH_MISMATCH;
    const struct auth *a = r->auth;
    CHK((a->result == AUTH_OK) == (a->account != NULL));
    if (auth_check_body(r, &o, body) != ERR_NONE)
        return AUTH_MISMATCH;
    CHK(a->result != AUTH_NEEDS_BODY);
    CHK((a->result == AUTH_OK) == (a->account != NULL));
    CHK(auth_refusal(a->result)->status >= 200);
    return a->result;
}

/* What fakereq_sign() would refuse to sign, or what carries a signature of its own. */
static bool
can_be_signed(const struct http_request *r)
{
    if (r->param_count > 20 || r->field_count > 20 || r->raw_target.n > 4096)
        return false;
    for (size_t i = 0; i < r->param_count; i++) {
        struct slice name = r->params[i].name;
        if (slice_starts(name, SLICE_LIT("X-Amz-")) || slice_eqs(name, "AWSAccessKeyId") ||
            slice_eqs(name, "Signature"))
            return false;
    }
    for (size_t i = 0; i < r->field_count; i++) {
        struct slice name = r->fields[i].name;
        if (slice_ieqs(name, "authorization") || slice_ieqs(name, "x-amz-date") ||
            slice_ieqs(name, "x-amz-content-sha256"))
            return false;
    }
    return http_field(r, "host").n > 0;
}

/* One change behind the signature, of something the signature covers. */
static void
change(struct http_request *r, unsigned use)
{
    switch (use >> 5 & 3) {
    case 0:
        fakereq_method(r, slice_eqs(r->method_name, "GET") ? "PUT" : "GET");
        break;
    case 1:
        r->raw_path =
            slice_of(arena_printf(r->arena, "%.*sx", SLICE_FMT(r->raw_path)), r->raw_path.n + 1);
        r->path = http_unescape(r->arena, r->raw_path, false);
        break;
    case 2:
        fakereq_field_add(r, "x-amz-meta-more", "1");
        break;
    case 3:
        fakereq_field(r, "host", "elsewhere");
        break;
    default:
        break;
    }
}

/* ---- the canonical query, a second time ---- */

struct param {
    char text[2][256]; /* encoded name and value */
};

static void
encode(struct slice raw, char out[256])
{
    struct buf decoded;
    size_t n = 0;
    buf_init(&decoded, 256);
    CHK(fuzz_decode(raw, true, &decoded) && decoded.err == ERR_NONE);
    for (size_t i = 0; i < decoded.n; i++) {
        unsigned char c = (unsigned char)decoded.p[i];
        bool plain = c < 0x80 && (isalnum(c) || strchr("-._~", c) != NULL) && c != '\0';
        n += (size_t)snprintf(out + n, 256 - n, plain ? "%c" : "%%%02X", c);
    }
    out[n] = '\0';
    buf_fini(&decoded);
}

static int
by_name(const void *a, const void *b)
{
    const struct param *x = a, *y = b;
    int c = strcmp(x->text[0], y->text[0]);
    return c != 0 ? c : strcmp(x->text[1], y->text[1]);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, task 1. */
static void
check_canonical_query(const struct http_request *r)
{
    struct slice line, value, raw = r->raw_query, canonical = r->auth->canonical_request;
    struct param params[20];
    struct buf expected;
    size_t n = 0;
    if (canonical.p == NULL || raw.n > 80)
        return;
    while (raw.n > 0) {
        struct slice pair = slice_cut(raw, '&', &raw);
        if (pair.n == 0)
            continue;
        encode(slice_cut(pair, '=', &value), params[n].text[0]);
        encode(value, params[n++].text[1]);
    }
    qsort(params, n, sizeof params[0], by_name);
    buf_init(&expected, 1u << 16);
    for (size_t i = 0; i < n; i++)
        buf_printf(&expected, "%s%s=%s", i == 0 ? "" : "&", params[i].text[0], params[i].text[1]);
    slice_cut(canonical, '\n', &canonical);
    slice_cut(canonical, '\n', &canonical);
    line = slice_cut(canonical, '\n', &canonical);
    CHK(slice_eq(line, buf_slice(&expected)));
    buf_fini(&expected);
}

static void
check_signed(struct http_request *r, unsigned use)
{
    struct fakereq_signer who = fakereq_root;
    bool by_query = (use & SIGN_QUERY) != 0;
    who.service = (use & SIGN_OTHER) != 0 && !by_query ? "dynamodb" : "s3";
    if (by_query)
        fakereq_presign(r, &who, 60);
    else
        fakereq_sign(r, &who, NULL);
    bool was_host = slice_eqs(http_field(r, "host"), "elsewhere");
    CHK(judge(r, use, SLICE_NONE) == AUTH_OK);
    change(r, use);
    enum auth_result result = judge(r, use, SLICE_NONE);
    CHK(result != AUTH_OK || (was_host && (use >> 5 & 3) == 3));
    if (!by_query)
        check_canonical_query(r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    unsigned use = fuzz_byte(&in);
    struct fuzz_head h;
    struct arena *a = fuzz_arena();
    struct http_request r = {.arena = a};
    bool expects = false;
    if (accounts == NULL)
        accounts = fakereq_accounts();
    bool cut = fuzz_head_cut(&h, in);
    h.head.in_place = false; /* seeds may end their lines as they like */
    if (cut && http_strict(&h.head, &r, &expects).status == 0) {
        struct slice body = slice_skip(in, h.head.bytes);
        enum auth_result result = judge(&r, use, body);
        CHK(judge(&r, use, body) == result);
        if ((use & (SIGN_HEADER | SIGN_QUERY)) != 0 && can_be_signed(&r)) {
            r.has_body = false;
            check_signed(&r, use);
        }
    }
    fuzz_head_release(&h);
    arena_free(&a);
    return 0;
}
