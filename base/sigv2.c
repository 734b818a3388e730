/*
 * Signature Version 2, HMAC-SHA1 over a short text: method, Content-MD5, Content-Type, date,
 * x-amz-* headers, and a resource that is "/bucket/key" as it was sent (not decoded) with those
 * query parameters that name a subresource. For libs3 2.0 and old tools; S3 only.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html
 *
 * The resource names the bucket also when it stands in the Host; see auth_options.domain for how
 * that is found.
 */
#include "base/auth_priv.h"
#include "base/chk.h"
#include "base/err.h"

#include <stdlib.h>
#include <strings.h>

#define AMZ_PREFIX "x-amz-"
#define HOST_PARTS_MAX 8 /* leading parts of a Host that are tried as a bucket */

/* Parameters that belong to the resource, in the order they are signed. */
static const char *const subresources[] = {
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "delete",
    "encryption",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "retention",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
};

/* ---- the text that is signed ---- */

struct amz_field {
    struct slice name, value;
    size_t index;
};

static int
amz_cmp(const void *a, const void *b)
{
    const struct amz_field *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = strncasecmp(x->name.p, y->name.p, n);
    if (c == 0)
        c = (x->name.n > y->name.n) - (x->name.n < y->name.n);
    return c != 0 ? c : (x->index > y->index) - (x->index < y->index);
}

static void
put_lower(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        buf_putc(out, c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c);
    }
}

static bool
same_name(struct slice a, struct slice b)
{
    return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

/* "name:value,value\n" for each x-amz-* name, sorted. */
static void
put_amz_fields(const struct http_request *r, struct buf *out)
{
    struct amz_field list[HTTP_HEADERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->field_count; i++) {
        struct slice name = r->fields[i].name;
        if (name.n < sizeof AMZ_PREFIX - 1 ||
            strncasecmp(name.p, AMZ_PREFIX, sizeof AMZ_PREFIX - 1) != 0)
            continue;
        if (n == ARRAY_LEN(list)) {
            out->err = ERR_TOOBIG;
            return;
        }
        list[n++] = (struct amz_field){name, slice_trim(r->fields[i].value), i};
    }
    qsort(list, n, sizeof list[0], amz_cmp);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && same_name(list[i].name, list[i - 1].name)) {
            buf_putc(out, ',');
        } else {
            if (i > 0)
                buf_putc(out, '\n');
            put_lower(list[i].name, out);
            buf_putc(out, ':');
        }
        buf_put_slice(out, list[i].value);
    }
    if (n > 0)
        buf_putc(out, '\n');
}

static void
put_resource(const struct http_request *r, struct slice bucket, struct buf *out)
{
    char separator = '?';
    if (bucket.n > 0) {
        /* As sent: what Host spells in capitals names no bucket, and must not sign for one. */
        buf_putc(out, '/');
        buf_put_slice(out, bucket);
    }
    buf_put_slice(out, r->raw_path.n > 0 ? r->raw_path : SLICE_LIT("/"));
    for (size_t i = 0; i < ARRAY_LEN(subresources); i++) {
        if (!http_has_param(r, subresources[i]))
            continue;
        struct slice value = http_param(r, subresources[i]);
        buf_putc(out, separator);
        separator = '&';
        buf_puts(out, subresources[i]);
        if (value.n > 0) {
            buf_putc(out, '=');
            buf_put_slice(out, value);
        }
    }
}

static void
put_string_to_sign(const struct http_request *r, struct slice date, struct slice bucket,
                   struct buf *out)
{
    const struct slice lines[] = {r->method_name, slice_trim(http_field(r, "content-md5")),
                                  slice_trim(http_field(r, "content-type")), date};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        buf_put_slice(out, lines[i]);
        buf_putc(out, '\n');
    }
    put_amz_fields(r, out);
    put_resource(r, bucket, out);
}

/* ---- verifying ---- */

struct claim {
    struct slice access_key_id;
    struct slice date; /* as it stands in the text: Date, nothing (x-amz-date) or Expires */
    uint8_t signature[SHA1_BYTES];
};

static bool
verify_with(struct auth_context *c, const struct claim *claim, const struct account *account,
            struct slice bucket)
{
    uint8_t mac[SHA1_BYTES];
    struct buf text;
    bool good = false;
    buf_init(&text, SIGV4_TEXT_MAX);
    put_string_to_sign(c->r, claim->date, bucket, &text);
    if (text.err != ERR_NONE) {
        c->err = ERR_NOMEM;
    } else {
        digest_hmac_sha1(slice_str(account->secret_access_key), buf_slice(&text), mac);
        good = digest_equal(mac, claim->signature, sizeof mac);
        if (!good && c->a->string_to_sign.p == NULL)
            c->a->string_to_sign = arena_dup(c->r->arena, buf_slice(&text));
    }
    buf_fini(&text);
    return good;
}

/* The bucket that Host names; n = 0 for the domain itself or a stranger. */
static struct slice
bucket_of_host(struct slice host, const char *domain)
{
    size_t n = strlen(domain);
    if (n == 0 || host.n < n + 2 || host.p[host.n - n - 1] != '.' ||
        !slice_ieqs(slice_skip(host, host.n - n), domain))
        return SLICE_NONE;
    return slice_of(host.p, host.n - n - 1);
}

static bool
verify(struct auth_context *c, const struct claim *claim, const struct account *account)
{
    struct slice host = c->r->host;
    if (c->o->domain != NULL)
        return verify_with(c, claim, account, bucket_of_host(host, c->o->domain));
    bool good = verify_with(c, claim, account, SLICE_NONE);
    size_t parts = 0;
    for (size_t i = 1; i <= host.n && !good && c->err == ERR_NONE && parts < HOST_PARTS_MAX; i++) {
        if (i == host.n || host.p[i] == '.') {
            good = verify_with(c, claim, account, slice_of(host.p, i));
            parts++;
        }
    }
    return good;
}

static enum auth_result
judge(struct auth_context *c, const struct claim *claim, enum auth_result time_verdict)
{
    struct auth *a = c->a;
    struct slice word = http_field(c->r, "x-amz-content-sha256");
    const struct account *account = accounts_by_access_key(c->o->accounts, claim->access_key_id);
    enum auth_result result = account == NULL ? AUTH_UNKNOWN_KEY : time_verdict;
    if (result == AUTH_OK && word.p != NULL)
        result = auth_payload_word(a, slice_trim(word), false);
    if (result == AUTH_OK && !verify(c, claim, account))
        result = AUTH_MISMATCH;
    a->account = result == AUTH_OK ? account : NULL;
    return result;
}

static void
introduce(struct auth_context *c, struct slice access_key_id, struct slice signature)
{
    c->a->service = SLICE_LIT("s3");
    c->a->access_key_id = access_key_id;
    c->a->signature = signature;
}

/* What is no signature at all matches none: zeros, which no HMAC is. */
static void
read_signature(struct claim *claim, struct slice text)
{
    if (base64_decode_exact(text, claim->signature, sizeof claim->signature) != ERR_NONE)
        memset(claim->signature, 0, sizeof claim->signature);
}

/* "AK:base64" */
enum auth_result
sigv2_check_header(struct auth_context *c, struct slice authorization)
{
    struct claim claim;
    int64_t time_ms;
    struct slice signature;
    claim.access_key_id = slice_cut(authorization, ':', &signature);
    if (claim.access_key_id.n == 0 || signature.p == NULL)
        return AUTH_V2_MALFORMED;
    read_signature(&claim, signature);
    introduce(c, claim.access_key_id, signature);
    struct slice amz_date = http_field(c->r, "x-amz-date");
    struct slice date = slice_trim(amz_date.p != NULL ? amz_date : http_field(c->r, "date"));
    if (auth_parse_date(date, &time_ms) != ERR_NONE)
        return AUTH_NO_DATE;
    /* x-amz-date is signed among its like, and Date is then left empty. */
    claim.date = amz_date.p != NULL ? SLICE_NONE : date;
    return judge(c, &claim, auth_within_skew(c, time_ms) ? AUTH_OK : AUTH_SKEWED);
}

enum auth_result
sigv2_check_query(struct auth_context *c)
{
    struct claim claim;
    uint64_t expires_s;
    struct slice signature = auth_single_param(c->r, "Signature");
    claim.access_key_id = auth_single_param(c->r, "AWSAccessKeyId");
    claim.date = auth_single_param(c->r, "Expires");
    introduce(c, claim.access_key_id, signature);
    c->a->presigned = true;
    if (claim.access_key_id.n == 0 || signature.p == NULL || claim.date.p == NULL)
        return AUTH_QUERY_MALFORMED;
    if (slice_to_u64(claim.date, &expires_s) != ERR_NONE || expires_s > INT64_MAX / 1000)
        return AUTH_V2_EXPIRES;
    read_signature(&claim, signature);
    bool expired = c->o->now_ms > (int64_t)expires_s * 1000;
    return judge(c, &claim, expired ? AUTH_EXPIRED : AUTH_OK);
}

/* A form's policy text is the string to sign itself. */
enum auth_result
sigv2_check_form(struct auth_context *c, const struct auth_form *form)
{
    uint8_t mac[SHA1_BYTES], claimed[SHA1_BYTES];
    introduce(c, form->v2_access_key_id, form->v2_signature);
    const struct account *account = accounts_by_access_key(c->o->accounts, form->v2_access_key_id);
    if (account == NULL)
        return AUTH_UNKNOWN_KEY;
    c->a->string_to_sign = form->policy;
    digest_hmac_sha1(slice_str(account->secret_access_key), form->policy, mac);
    if (base64_decode_exact(form->v2_signature, claimed, sizeof claimed) != ERR_NONE ||
        !digest_equal(mac, claimed, sizeof mac))
        return AUTH_MISMATCH;
    c->a->account = account;
    return AUTH_OK;
}
