/*
 * Finds out which mechanism a request uses and lets that one judge:
 *
 *   Authorization: AWS4-HMAC-SHA256 ...    --> sigv4_check_header()
 *   Authorization: AWS ...                 --> sigv2_check_header()   if allowed
 *   ?X-Amz-Algorithm, -Credential, -Signature --> sigv4_check_query()
 *   ?AWSAccessKeyId, ?Signature            --> sigv2_check_query()    if allowed
 *   none of them                           --> anonymous
 *
 * More than one is refused: which of them counts would otherwise be anyone's guess. Outside these
 * files `account` is seen only next to AUTH_OK: conclude() sees to that.
 */
#include "base/auth_priv.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/stat.h"

#include <strings.h>

static const struct refusal results[] = {AUTH_RESULT_LIST(REFUSAL_ROW)};

const struct refusal *
auth_refusal(enum auth_result result)
{
    CHK((size_t)result < ARRAY_LEN(results));
    return &results[result];
}

/* ---- shared with both versions ---- */

enum auth_result
auth_payload_word(struct auth *a, struct slice word, bool may_chunk)
{
    static const struct {
        const char *word;
        enum auth_payload payload;
        bool chunked;
    } words[] = {
        {SIGV4_UNSIGNED_PAYLOAD, AUTH_PAYLOAD_UNSIGNED, false},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", AUTH_PAYLOAD_UNSIGNED_TRAILER, false},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", AUTH_PAYLOAD_CHUNKED, true},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", AUTH_PAYLOAD_CHUNKED_TRAILER, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!slice_eqs(word, words[i].word))
            continue;
        if (words[i].chunked && !may_chunk)
            return AUTH_BAD_PAYLOAD_HASH;
        a->payload = words[i].payload;
        return AUTH_OK;
    }
    if (hex_decode(word, a->payload_sha256, SHA256_BYTES) != ERR_NONE)
        return AUTH_BAD_PAYLOAD_HASH;
    a->payload = AUTH_PAYLOAD_SHA256;
    return AUTH_OK;
}

int
auth_parse_date(struct slice text, int64_t *wall_ms)
{
    char copy[CLOCK_TEXT_MAX];
    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, '\0', text.n) != NULL)
        return ERR_INVALID;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    int err = clock_parse(copy, wall_ms);
    return err == ERR_NONE && *wall_ms < 0 ? ERR_INVALID : err;
}

struct slice
auth_single_param(const struct http_request *r, const char *name)
{
    struct slice found = SLICE_NONE;
    for (size_t i = 0; i < r->param_count; i++) {
        if (!slice_eqs(r->params[i].name, name))
            continue;
        if (found.p != NULL)
            return SLICE_NONE;
        found = r->params[i].value;
    }
    return found;
}

bool
auth_within_skew(const struct auth_context *c, int64_t time_ms)
{
    int64_t off = c->o->now_ms - time_ms;
    return off <= AUTH_SKEW_MS && off >= -AUTH_SKEW_MS;
}

/* ---- dispatch ---- */

static size_t
count_authorization(const struct http_request *r, struct slice *value)
{
    size_t n = 0;
    for (size_t i = 0; i < r->field_count; i++) {
        if (slice_ieqs(r->fields[i].name, "authorization")) {
            *value = slice_trim(r->fields[i].value);
            n += value->n > 0; /* an empty one is nobody's */
        }
    }
    return n;
}

static enum auth_result
check_header(struct auth_context *c, struct slice authorization)
{
    struct slice rest, scheme = slice_cut(authorization, ' ', &rest);
    if (slice_eqs(scheme, SIGV4_ALGORITHM))
        return sigv4_check_header(c, slice_trim(rest));
    if (!slice_eqs(scheme, "AWS"))
        return AUTH_UNSUPPORTED;
    return c->o->v2_allowed ? sigv2_check_header(c, slice_trim(rest)) : AUTH_V2_REFUSED;
}

/* Nobody signed, but the body may still be framed or carry its digest. */
static enum auth_result
check_anonymous(struct auth_context *c)
{
    struct slice word = http_field(c->r, "x-amz-content-sha256");
    enum auth_result result = AUTH_OK;
    if (word.p != NULL)
        result = auth_payload_word(c->a, slice_trim(word), false);
    return result == AUTH_OK ? AUTH_ANONYMOUS : result;
}

static enum auth_result
check(struct auth_context *c)
{
    const struct http_request *r = c->r;
    struct slice authorization = SLICE_NONE;
    size_t headers = count_authorization(r, &authorization);
    bool v4_query = http_has_param(r, "X-Amz-Algorithm") || http_has_param(r, "X-Amz-Signature") ||
                    http_has_param(r, "X-Amz-Credential");
    bool v2_query = http_has_param(r, "AWSAccessKeyId") || http_has_param(r, "Signature");
    if (headers + v4_query + v2_query > 1)
        return AUTH_TWO_MECHANISMS;
    if (headers == 1)
        return check_header(c, authorization);
    if (v4_query)
        return sigv4_check_query(c);
    if (v2_query)
        return c->o->v2_allowed ? sigv2_check_query(c) : AUTH_V2_REFUSED;
    return check_anonymous(c);
}

/* A wrong signature, or a key that there is none of: the same short answer for both once an address
 * has had its share of the long ones. */
static enum auth_result
limit(struct auth_context *c, enum auth_result result)
{
    struct auth *a = c->a;
    bool counts = result == AUTH_MISMATCH || result == AUTH_UNKNOWN_KEY;
    if (!counts || a->limit == NULL || !auth_limit_failed(a->limit, &c->r->peer, clock_mono_ms()))
        return result;
    STAT_INC(auth_limited_total);
    return AUTH_LIMITED;
}

static bool
is_failure(enum auth_result result)
{
    return result != AUTH_OK && result != AUTH_ANONYMOUS && result != AUTH_NEEDS_BODY;
}

void
auth_count_refusal(const struct auth *a)
{
    if (!is_failure(a->result))
        STAT_INC(auth_failures_total);
}

static int
conclude(struct auth_context *c, enum auth_result result, const struct account *account)
{
    bool failed = is_failure(result);
    c->a->result = failed ? limit(c, result) : result;
    c->a->account = result == AUTH_OK ? account : NULL;
    if (failed)
        STAT_INC(auth_failures_total);
    CHK((result == AUTH_OK) == (c->a->account != NULL));
    return ERR_NONE;
}

int
auth_check(struct http_request *r, const struct auth_options *options)
{
    struct auth *a = arena_alloc(r->arena, sizeof *a);
    if (a == NULL)
        return ERR_NOMEM;
    /* Until the verdict stands it is a failure. */
    a->result = AUTH_MISMATCH;
    a->v2_allowed = options->v2_allowed;
    a->limit = options->limit;
    r->auth = a;
    struct auth_context c = {.r = r, .a = a, .o = options};
    enum auth_result result = check(&c);
    if (c.err != ERR_NONE) {
        a->result = AUTH_MISMATCH;
        a->account = NULL;
        return c.err;
    }
    return conclude(&c, result, a->account);
}

int
auth_check_body(struct http_request *r, const struct auth_options *options, struct slice body)
{
    struct auth *a = r->auth;
    CHK(a != NULL);
    struct auth_context c = {.r = r, .a = a, .o = options};
    if (a->result != AUTH_NEEDS_BODY && a->result != AUTH_OK && a->result != AUTH_ANONYMOUS)
        return ERR_NONE;
    if (a->payload == AUTH_PAYLOAD_SHA256) {
        uint8_t sha256[SHA256_BYTES];
        digest_sha256(body.p, body.n, sha256);
        if (!digest_equal(sha256, a->payload_sha256, sizeof sha256))
            return conclude(&c, AUTH_BODY_HASH, NULL);
    }
    if (a->result != AUTH_NEEDS_BODY)
        return ERR_NONE;
    enum auth_result result = sigv4_check_body(&c, body);
    return c.err != ERR_NONE ? c.err : conclude(&c, result, a->pending->account);
}

static enum auth_result
check_form(struct auth_context *c, const struct auth_form *f)
{
    if (f->algorithm.p != NULL || f->credential.p != NULL || f->signature.p != NULL)
        return sigv4_check_form(c, f);
    if (f->v2_access_key_id.p == NULL && f->v2_signature.p == NULL)
        return AUTH_ANONYMOUS;
    return c->o->v2_allowed ? sigv2_check_form(c, f) : AUTH_V2_REFUSED;
}

int
auth_check_form(struct http_request *r, const struct accounts *accounts, int64_t now_ms,
                const struct auth_form *form)
{
    struct auth *a = r->auth;
    CHK(a != NULL);
    const struct auth_options o = {
        .accounts = accounts, .v2_allowed = a->v2_allowed, .now_ms = now_ms};
    struct auth_context c = {.r = r, .a = a, .o = &o};
    *a = (struct auth){.result = AUTH_MISMATCH, .v2_allowed = a->v2_allowed, .limit = a->limit};
    enum auth_result result = check_form(&c, form);
    return c.err != ERR_NONE ? c.err : conclude(&c, result, a->account);
}
