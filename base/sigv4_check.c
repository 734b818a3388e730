/*
 * The server's judgement of a Version 4 signature, header and query form.
 *
 *   read the claim  -> names, scope, date, signature: form errors
 *   judge the claim -> account, clock, which headers are covered, payload hash
 *   verify          -> canonical request, signature
 *
 * Cheap refusals come before the HMACs. The payload hash is the one thing that may not be known
 * yet (services other than S3): the claim is then kept in the request's arena and verified when the
 * body is here. What the signature covers is taken from the decoded parameters, the same ones the
 * services act on, so no second reading of the query can disagree with the first.
 */
#include "base/auth_priv.h"
#include "base/clock.h"
#include "base/err.h"

#include <strings.h>

#define SCOPE_WORD_MAX 64
#define ACCESS_KEY_MAX 128

/* ---- reading the claim ---- */

static bool
is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Region or service: any word, but one that is safe in a log line and in a cache text. */
static bool
is_scope_word(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
            return false;
    }
    return s.n > 0 && s.n <= SCOPE_WORD_MAX;
}

static bool
is_digits(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    }
    return s.n > 0;
}

/* The part behind the last '/', cut off. */
static struct slice
cut_last(struct slice *s)
{
    size_t at = s->n;
    while (at > 0 && s->p[at - 1] != '/')
        at--;
    struct slice last = slice_of(s->p + at, s->n - at);
    s->n = at > 0 ? at - 1 : 0;
    return last;
}

/* AK/date/region/service/aws4_request, read from its end: an access key may hold a '/'. */
static bool
read_credential(struct sigv4_claim *claim, struct slice text)
{
    struct slice rest = text;
    if (text.n == 0)
        return false;
    struct slice terminator = cut_last(&rest);
    claim->service = cut_last(&rest);
    claim->region = cut_last(&rest);
    claim->date = cut_last(&rest);
    claim->access_key_id = rest;
    if (!slice_eqs(terminator, SIGV4_TERMINATOR) || !is_scope_word(claim->service) ||
        !is_scope_word(claim->region) || claim->date.n != 8 || !is_digits(claim->date) ||
        rest.n == 0 || rest.n > ACCESS_KEY_MAX)
        return false;
    claim->scope = slice_skip(text, rest.n + 1);
    return true;
}

static bool
is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Lower-case field names between single semicolons. */
static bool
read_signed_headers(struct sigv4_claim *claim, struct slice text)
{
    struct slice rest = text;
    size_t count = 0;
    while (rest.p != NULL) {
        struct slice name = slice_cut(rest, ';', &rest);
        if (name.n == 0 || ++count > HTTP_HEADERS_MAX)
            return false;
        for (size_t i = 0; i < name.n; i++) {
            if (!is_name_char(name.p[i]))
                return false;
        }
    }
    claim->signed_headers = text;
    return count > 0;
}

static bool
read_signature(struct sigv4_claim *claim, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (!(text.p[i] >= '0' && text.p[i] <= '9') && !(text.p[i] >= 'a' && text.p[i] <= 'f'))
            return false;
    }
    claim->signature = text;
    return text.n == SIGV4_HEX;
}

/* YYYYMMDDTHHMMSSZ and nothing else. */
static bool
read_timestamp(struct sigv4_claim *claim, struct slice text)
{
    if (text.n != SIGV4_TIMESTAMP || !is_digits(slice_of(text.p, 8)) || text.p[8] != 'T' ||
        !is_digits(slice_of(text.p + 9, 6)) || text.p[15] != 'Z')
        return false;
    memcpy(claim->timestamp, text.p, text.n);
    claim->timestamp[text.n] = '\0';
    return clock_parse(claim->timestamp, &claim->time_ms) == ERR_NONE;
}

/* x-amz-date, else Date. */
static bool
read_date_header(struct sigv4_claim *claim, const struct http_request *r)
{
    char text[CLOCK_TEXT_MAX];
    struct slice date = http_field(r, "x-amz-date");
    if (date.p != NULL)
        return read_timestamp(claim, slice_trim(date));
    date = http_field(r, "date");
    if (date.p == NULL || auth_parse_date(slice_trim(date), &claim->time_ms) != ERR_NONE)
        return false;
    clock_basic(claim->time_ms, text);
    return read_timestamp(claim, slice_str(text));
}

/* "Credential=..., SignedHeaders=..., Signature=...", each once, in any order. */
static bool
read_authorization(struct sigv4_claim *claim, struct slice text)
{
    struct slice rest = text;
    unsigned seen = 0;
    while (rest.p != NULL) {
        struct slice value, item = slice_trim(slice_cut(rest, ',', &rest));
        struct slice name = slice_cut(item, '=', &value);
        unsigned bit;
        bool good;
        if (slice_eqs(name, "Credential")) {
            bit = 1;
            good = read_credential(claim, value);
        } else if (slice_eqs(name, "SignedHeaders")) {
            bit = 2;
            good = read_signed_headers(claim, value);
        } else if (slice_eqs(name, "Signature")) {
            bit = 4;
            good = read_signature(claim, value);
        } else {
            return false;
        }
        if (!good || (seen & bit) != 0)
            return false;
        seen |= bit;
    }
    return seen == 7;
}

/* ---- judging the claim ---- */

static bool
is_signed(const struct sigv4_claim *claim, struct slice field_name)
{
    struct slice rest = claim->signed_headers;
    while (rest.p != NULL) {
        struct slice name = slice_cut(rest, ';', &rest);
        if (name.n == field_name.n && strncasecmp(name.p, field_name.p, name.n) == 0)
            return true;
    }
    return false;
}

/* What changes the meaning of a request must be covered: Host and all of x-amz-*. */
static bool
covers_headers(const struct sigv4_claim *claim, const struct http_request *r)
{
    static const char prefix[] = "x-amz-";
    for (size_t i = 0; i < r->field_count; i++) {
        struct slice name = r->fields[i].name;
        if (name.n >= sizeof prefix - 1 && strncasecmp(name.p, prefix, sizeof prefix - 1) == 0 &&
            !is_signed(claim, name))
            return false;
    }
    return is_signed(claim, SLICE_LIT("host"));
}

static enum auth_result
judge_time(const struct auth_context *c, const struct sigv4_claim *claim)
{
    int64_t now = c->o->now_ms;
    if (!claim->presigned)
        return auth_within_skew(c, claim->time_ms) ? AUTH_OK : AUTH_SKEWED;
    if (claim->time_ms > now + AUTH_SKEW_MS)
        return AUTH_NOT_YET;
    return now > claim->time_ms + claim->expires_s * 1000 ? AUTH_EXPIRED : AUTH_OK;
}

/* The word that stands in the canonical request's last line. */
static enum auth_result
judge_payload(struct auth_context *c, struct sigv4_claim *claim)
{
    struct slice word = SLICE_NONE;
    bool s3 = slice_eqs(claim->service, "s3");
    if (claim->presigned)
        word = http_param(c->r, "X-Amz-Content-Sha256");
    if (word.p == NULL)
        word = http_field(c->r, "x-amz-content-sha256");
    if (word.p != NULL) {
        claim->payload_hash = slice_trim(word);
        enum auth_result result = auth_payload_word(c->a, claim->payload_hash, s3);
        bool plain = c->a->payload == AUTH_PAYLOAD_SHA256;
        return result == AUTH_OK && !s3 && !plain ? AUTH_BAD_PAYLOAD_HASH : result;
    }
    /* S3 demands the header of every request. Without a body the digest it would hold is known, and
     * the signature covers it: curl before 8 reads and deletes like that. */
    if (s3 && !claim->presigned && c->r->has_body)
        return AUTH_NO_PAYLOAD_HASH;
    if (s3 && claim->presigned) {
        claim->payload_hash = SLICE_LIT(SIGV4_UNSIGNED_PAYLOAD);
        c->a->payload = AUTH_PAYLOAD_UNSIGNED;
    } else if (!c->r->has_body) {
        claim->payload_hash = SLICE_LIT(SIGV4_EMPTY_SHA256);
    }
    return AUTH_OK;
}

static enum auth_result
judge(struct auth_context *c, struct sigv4_claim *claim)
{
    claim->account = accounts_by_access_key(c->o->accounts, claim->access_key_id);
    if (claim->account == NULL)
        return AUTH_UNKNOWN_KEY;
    enum auth_result result = judge_time(c, claim);
    if (result == AUTH_OK && !covers_headers(claim, c->r))
        result = AUTH_UNSIGNED_HEADER;
    return result == AUTH_OK ? judge_payload(c, claim) : result;
}

/* ---- verifying ---- */

/* Puts the texts into the request, for the answer to a mismatch. */
static void
keep_texts(struct auth_context *c, const struct buf *canonical, const struct buf *to_sign)
{
    c->a->canonical_request = arena_dup(c->r->arena, buf_slice(canonical));
    c->a->string_to_sign = arena_dup(c->r->arena, buf_slice(to_sign));
}

static enum auth_result
verify_with(struct auth_context *c, const struct sigv4_claim *claim, struct slice uri)
{
    const struct sigv4_canonical canonical = {
        .method = c->r->method_name,
        .uri = uri,
        .params = c->r->params,
        .param_count = c->r->param_count,
        .skip_param = claim->presigned ? "X-Amz-Signature" : NULL,
        .fields = c->r->fields,
        .field_count = c->r->field_count,
        .signed_headers = claim->signed_headers,
        .payload_hash = claim->payload_hash,
    };
    char hex[SIGV4_HEX + 1];
    struct buf text, to_sign;
    buf_init(&text, SIGV4_TEXT_MAX);
    buf_init(&to_sign, SIGV4_TEXT_MAX);
    int found = sigv4_canonical_request(&canonical, &text);
    sigv4_string_to_sign(slice_str(claim->timestamp), claim->scope, buf_slice(&text), &to_sign);
    int err = text.err != ERR_NONE ? text.err : to_sign.err;
    enum auth_result result = AUTH_MISMATCH;
    if (err != ERR_NONE || (found != ERR_NONE && found != ERR_NOTFOUND)) {
        c->err = ERR_NOMEM;
    } else {
        sigv4_sign(c->a->signing_key, buf_slice(&to_sign), hex);
        /* A header that was signed but is not here was taken away on the road. */
        if (digest_equal(hex, claim->signature.p, SIGV4_HEX) && found == ERR_NONE)
            result = AUTH_OK;
        else if (c->a->canonical_request.p == NULL)
            keep_texts(c, &text, &to_sign);
    }
    buf_fini(&text);
    buf_fini(&to_sign);
    return result;
}

static enum auth_result
verify(struct auth_context *c, const struct sigv4_claim *claim)
{
    enum auth_result result = AUTH_MISMATCH;
    struct slice raw = c->r->raw_path.n == 0 ? SLICE_LIT("/") : c->r->raw_path;
    bool s3 = slice_eqs(claim->service, "s3");
    struct buf uri;
    buf_init(&uri, SIGV4_TEXT_MAX);
    c->err = sigv4_signing_key(slice_str(claim->account->secret_access_key), claim->date,
                               claim->region, claim->service, c->a->signing_key);
    if (c->err == ERR_NONE && s3)
        result = verify_with(c, claim, raw);
    if (c->err == ERR_NONE && result != AUTH_OK) {
        if (s3)
            sigv4_uri_reencoded(c->r->path, &uri);
        else
            sigv4_uri_normalized(raw, &uri);
        if (uri.err != ERR_NONE)
            c->err = ERR_NOMEM;
        else if (!s3 || !slice_eq(buf_slice(&uri), raw))
            result = verify_with(c, claim, buf_slice(&uri));
    }
    buf_fini(&uri);
    c->a->account = result == AUTH_OK ? claim->account : NULL;
    return result;
}

/* The names go into c->a before anything can fail: see base/auth.h. */
static void
introduce(struct auth_context *c, const struct sigv4_claim *claim)
{
    c->a->service = claim->service;
    c->a->region = claim->region;
    c->a->access_key_id = claim->access_key_id;
    c->a->signature = claim->signature;
    c->a->scope = claim->scope;
    c->a->presigned = claim->presigned;
    memcpy(c->a->timestamp, claim->timestamp, sizeof c->a->timestamp);
}

static enum auth_result
judge_and_verify(struct auth_context *c, struct sigv4_claim *claim)
{
    struct auth *a = c->a;
    enum auth_result result = judge(c, claim);
    if (result != AUTH_OK)
        return result;
    memcpy(a->seed_signature, claim->signature.p, SIGV4_HEX);
    if (claim->payload_hash.n > 0)
        result = verify(c, claim);
    if (result != AUTH_OK || slice_eqs(claim->service, "s3"))
        return result;
    if (!c->r->has_body) {
        bool empty = a->payload != AUTH_PAYLOAD_SHA256 ||
                     slice_ieqs(claim->payload_hash, SIGV4_EMPTY_SHA256);
        return empty ? AUTH_OK : AUTH_BODY_HASH;
    }
    struct sigv4_claim *kept = arena_alloc(c->r->arena, sizeof *kept);
    if (kept == NULL) {
        c->err = ERR_NOMEM;
        return AUTH_MISMATCH;
    }
    *kept = *claim;
    a->pending = kept;
    return AUTH_NEEDS_BODY;
}

enum auth_result
sigv4_check_header(struct auth_context *c, struct slice authorization)
{
    struct sigv4_claim claim = {0};
    bool good = read_authorization(&claim, authorization);
    if (!good)
        return AUTH_MALFORMED;
    bool dated = read_date_header(&claim, c->r);
    introduce(c, &claim);
    if (!dated)
        return AUTH_NO_DATE;
    if (!slice_starts(slice_str(claim.timestamp), claim.date))
        return AUTH_MALFORMED;
    return judge_and_verify(c, &claim);
}

enum auth_result
sigv4_check_query(struct auth_context *c)
{
    struct sigv4_claim claim = {.presigned = true};
    const struct http_request *r = c->r;
    uint64_t expires = 0;
    if (!read_credential(&claim, auth_single_param(r, "X-Amz-Credential")))
        return AUTH_QUERY_MALFORMED;
    introduce(c, &claim);
    if (!slice_eqs(auth_single_param(r, "X-Amz-Algorithm"), SIGV4_ALGORITHM) ||
        !read_timestamp(&claim, auth_single_param(r, "X-Amz-Date")) ||
        !slice_starts(slice_str(claim.timestamp), claim.date) ||
        auth_single_param(r, "X-Amz-Expires").p == NULL ||
        !read_signed_headers(&claim, auth_single_param(r, "X-Amz-SignedHeaders")) ||
        !read_signature(&claim, auth_single_param(r, "X-Amz-Signature")))
        return AUTH_QUERY_MALFORMED;
    if (slice_to_u64(auth_single_param(r, "X-Amz-Expires"), &expires) != ERR_NONE || expires < 1 ||
        expires > AUTH_PRESIGN_SECONDS_MAX)
        return AUTH_QUERY_EXPIRES;
    claim.expires_s = (int64_t)expires;
    introduce(c, &claim);
    return judge_and_verify(c, &claim);
}

/* A form's policy text is the string to sign itself. The signing key is good for seven days. */
enum auth_result
sigv4_check_form(struct auth_context *c, const struct auth_form *form)
{
    struct sigv4_claim claim = {0};
    char hex[SIGV4_HEX + 1];
    if (!slice_eqs(form->algorithm, SIGV4_ALGORITHM))
        return AUTH_UNSUPPORTED;
    if (!read_credential(&claim, form->credential) || !slice_eqs(claim.service, "s3"))
        return AUTH_MALFORMED;
    claim.signature = form->signature;
    introduce(c, &claim);
    if (form->date.p == NULL || !read_timestamp(&claim, form->date) ||
        !slice_starts(slice_str(claim.timestamp), claim.date))
        return AUTH_NO_DATE;
    claim.account = accounts_by_access_key(c->o->accounts, claim.access_key_id);
    if (claim.account == NULL)
        return AUTH_UNKNOWN_KEY;
    if (c->o->now_ms > claim.time_ms + AUTH_PRESIGN_SECONDS_MAX * INT64_C(1000))
        return AUTH_EXPIRED;
    c->err = sigv4_signing_key(slice_str(claim.account->secret_access_key), claim.date,
                               claim.region, claim.service, c->a->signing_key);
    if (c->err != ERR_NONE)
        return AUTH_MISMATCH;
    sigv4_sign(c->a->signing_key, form->policy, hex);
    c->a->string_to_sign = form->policy;
    if (form->signature.n != SIGV4_HEX || !digest_equal(hex, form->signature.p, SIGV4_HEX))
        return AUTH_MISMATCH;
    c->a->account = claim.account;
    return AUTH_OK;
}

enum auth_result
sigv4_check_body(struct auth_context *c, struct slice body)
{
    struct sigv4_claim claim = *c->a->pending;
    uint8_t sha256[SHA256_BYTES];
    char hex[SIGV4_HEX + 1];
    if (claim.payload_hash.n == 0) {
        digest_sha256(body.p, body.n, sha256);
        hex_encode(sha256, sizeof sha256, hex);
        claim.payload_hash = slice_of(hex, SIGV4_HEX);
    }
    return verify(c, &claim);
}
