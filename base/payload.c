/*
 * begin: what the headers announce (form, length, digests) -> feed: wire bytes -> end: verdicts.
 *
 *   plain          feed ----------------------------> take() -> digester, sink
 *   aws-chunked    feed -> aws_chunked.c (framing) -> take() -> digester, sink
 *
 * The first fault sticks and is what every later call returns. One pass: every digest sees the same
 * bytes the sink gets, and whatever was stated before (headers) or after them (trailer) is compared
 * in end() alone. Memory: the struct in the request's arena, digest contexts on the heap.
 */
#include "base/payload.h"
#include "base/auth.h"
#include "base/aws_chunked.h"
#include "base/chk.h"
#include "base/err.h"

#include <strings.h>

#define PAYLOAD_MAGIC 0x9a71dad1u
#define CHECKSUM_PREFIX "x-amz-checksum-"

struct payload {
    uint32_t magic;
    enum payload_fault fault;
    bool ended;
    bool framed; /* aws-chunked */
    bool unsummed;
    payload_sink_fn sink;
    void *sink_arg;
    int sink_error;
    int64_t announced; /* -1: unknown */
    int64_t bytes_max;
    int64_t received;
    struct digester *digester;
    bool has_md5, has_sha256;
    uint8_t md5[MD5_BYTES];
    uint8_t sha256[SHA256_BYTES];
    enum checksum checksum; /* stated in a header or announced as trailer, or else wanted */
    bool checksum_wanted;   /* there is no stated value */
    bool checksum_in_trailer;
    uint8_t checksum_stated[DIGEST_BYTES_MAX];
    struct buf checksum_text; /* base64 of what was computed */
    struct aws_chunked chunked;
};

static const struct refusal faults[] = {PAYLOAD_FAULT_LIST(REFUSAL_ROW)};

const struct refusal *
payload_refusal(enum payload_fault fault)
{
    CHK((size_t)fault < ARRAY_LEN(faults));
    return &faults[fault];
}

_Static_assert(PAYLOAD_BAD_SHA256 - PAYLOAD_BAD_CRC32 == CHECKSUM_SHA256 - CHECKSUM_CRC32 &&
                   PAYLOAD_NOT_SHA256 - PAYLOAD_NOT_CRC32 == CHECKSUM_SHA256 - CHECKSUM_CRC32,
               "payload.h lists the checksums' faults in their order");

/* ---- begin ---- */

static enum payload_fault
read_md5(struct payload *p, const struct http_request *r)
{
    struct slice text = http_field(r, "content-md5");
    p->has_md5 = text.p != NULL;
    if (p->has_md5 && base64_decode_exact(slice_trim(text), p->md5, sizeof p->md5) != ERR_NONE)
        return PAYLOAD_BAD_MD5_HEADER;
    return PAYLOAD_NONE;
}

/* What follows "x-amz-checksum-"; p = NULL for another name, and for the three of them that state
 * no value. */
static struct slice
checksum_suffix(struct slice name)
{
    size_t n = sizeof CHECKSUM_PREFIX - 1;
    if (name.n < n || strncasecmp(name.p, CHECKSUM_PREFIX, n) != 0)
        return SLICE_NONE;
    struct slice suffix = slice_skip(name, n);
    bool about =
        slice_ieqs(suffix, "algorithm") || slice_ieqs(suffix, "type") || slice_ieqs(suffix, "mode");
    return about ? SLICE_NONE : suffix;
}

static enum payload_fault
read_checksum_headers(struct payload *p, const struct http_request *r)
{
    struct slice value = SLICE_NONE;
    for (size_t i = 0; i < r->field_count; i++) {
        struct slice suffix = checksum_suffix(r->fields[i].name);
        if (suffix.p == NULL)
            continue;
        if (p->checksum != CHECKSUM_NONE)
            return PAYLOAD_TWO_CHECKSUMS;
        p->checksum = checksum_by_name(suffix);
        if (p->checksum == CHECKSUM_NONE)
            return PAYLOAD_BAD_CHECKSUM_HEADER;
        value = slice_trim(r->fields[i].value);
    }
    if (p->checksum != CHECKSUM_NONE &&
        base64_decode_exact(value, p->checksum_stated, checksum_bytes(p->checksum)) != ERR_NONE)
        return payload_fault_of(PAYLOAD_BAD_CRC32, p->checksum);
    return PAYLOAD_NONE;
}

/* x-amz-trailer names one checksum, and only where a trailer can come. */
static enum payload_fault
read_trailer_name(struct payload *p, const struct http_request *r)
{
    enum auth_payload form = r->auth->payload;
    struct slice text = http_field(r, "x-amz-trailer");
    if (text.p == NULL)
        return PAYLOAD_NONE;
    if (form != AUTH_PAYLOAD_UNSIGNED_TRAILER && form != AUTH_PAYLOAD_CHUNKED_TRAILER)
        return PAYLOAD_BAD_TRAILER;
    if (p->checksum != CHECKSUM_NONE || memchr(text.p, ',', text.n) != NULL)
        return PAYLOAD_TWO_CHECKSUMS;
    p->checksum = checksum_by_name(checksum_suffix(slice_trim(text)));
    p->checksum_in_trailer = true;
    return p->checksum == CHECKSUM_NONE ? PAYLOAD_BAD_TRAILER : PAYLOAD_NONE;
}

/* What the SDK says it computed must be what it sent. */
static enum payload_fault
read_sdk_algorithm(const struct payload *p, const struct http_request *r)
{
    struct slice text = slice_trim(http_field(r, "x-amz-sdk-checksum-algorithm"));
    if (text.n == 0)
        return PAYLOAD_NONE;
    enum checksum c = checksum_by_name(text);
    if (c != CHECKSUM_NONE && p->checksum == CHECKSUM_NONE)
        return PAYLOAD_SDK_NO_VALUE;
    return c == p->checksum && c != CHECKSUM_NONE ? PAYLOAD_NONE : PAYLOAD_SDK_ALGORITHM;
}

static enum payload_fault
read_checksum(struct payload *p, const struct http_request *r)
{
    enum payload_fault fault = read_checksum_headers(p, r);
    if (fault == PAYLOAD_NONE)
        fault = read_trailer_name(p, r);
    return fault == PAYLOAD_NONE ? read_sdk_algorithm(p, r) : fault;
}

static enum payload_fault
read_length(struct payload *p, const struct http_request *r)
{
    uint64_t decoded;
    p->announced = -1;
    if (!p->framed) {
        if (r->content_length < 0 && !r->chunked)
            return PAYLOAD_NO_LENGTH;
        p->announced = r->chunked ? -1 : r->content_length;
    } else {
        struct slice text = http_field(r, "x-amz-decoded-content-length");
        if (text.p != NULL) {
            if (slice_to_u64(slice_trim(text), &decoded) != ERR_NONE)
                return PAYLOAD_NO_DECODED_LENGTH;
            p->announced = decoded > INT64_MAX ? INT64_MAX : (int64_t)decoded;
        } else if (!r->chunked) {
            return PAYLOAD_NO_DECODED_LENGTH;
        }
    }
    return p->announced > p->bytes_max ? PAYLOAD_TOO_LARGE : PAYLOAD_NONE;
}

static enum payload_fault take(void *arg, const void *bytes, size_t n);

static void
begin_framing(struct payload *p, const struct auth *auth)
{
    p->chunked.is_signed = auth->payload != AUTH_PAYLOAD_UNSIGNED_TRAILER;
    p->chunked.has_trailer_signature = auth->payload == AUTH_PAYLOAD_CHUNKED_TRAILER;
    p->chunked.trailer = p->checksum_in_trailer ? p->checksum : CHECKSUM_NONE;
    p->chunked.bytes_max = p->announced >= 0 ? p->announced : p->bytes_max;
    p->chunked.over_fault = p->announced >= 0 ? PAYLOAD_LENGTH : PAYLOAD_TOO_LARGE;
    p->chunked.sink = take;
    p->chunked.sink_arg = p;
    aws_chunked_init(&p->chunked, auth);
}

static enum payload_fault
make_digester(struct payload *p)
{
    p->digester = digester_new(DIGEST_MD5 | (p->has_sha256 ? DIGEST_SHA256 : 0), p->checksum);
    return p->digester == NULL ? PAYLOAD_NOMEM : PAYLOAD_NONE;
}

static enum payload_fault
begin(struct payload *p, const struct http_request *r)
{
    const struct auth *auth = r->auth;
    p->framed = auth->payload == AUTH_PAYLOAD_CHUNKED ||
                auth->payload == AUTH_PAYLOAD_CHUNKED_TRAILER ||
                auth->payload == AUTH_PAYLOAD_UNSIGNED_TRAILER;
    p->has_sha256 = auth->payload == AUTH_PAYLOAD_SHA256;
    memcpy(p->sha256, auth->payload_sha256, sizeof p->sha256);
    enum payload_fault fault = read_length(p, r);
    if (fault == PAYLOAD_NONE)
        fault = read_md5(p, r);
    if (fault == PAYLOAD_NONE)
        fault = p->unsummed ? read_trailer_name(p, r) : read_checksum(p, r);
    if (fault == PAYLOAD_NONE)
        fault = make_digester(p);
    if (fault != PAYLOAD_NONE)
        return fault;
    if (p->framed)
        begin_framing(p, auth);
    return PAYLOAD_NONE;
}

static enum payload_fault
payload_new(struct payload **out, struct http_request *r, int64_t bytes_max, bool unsummed,
            payload_sink_fn sink, void *sink_arg)
{
    CHK(r->auth != NULL && sink != NULL && bytes_max >= 0);
    CHK(r->auth->result == AUTH_OK || r->auth->result == AUTH_ANONYMOUS);
    *out = NULL;
    struct payload *p = arena_alloc(r->arena, sizeof *p);
    if (p == NULL)
        return PAYLOAD_NOMEM;
    p->magic = PAYLOAD_MAGIC;
    p->unsummed = unsummed;
    p->sink = sink;
    p->sink_arg = sink_arg;
    p->bytes_max = bytes_max;
    buf_init(&p->checksum_text, DIGEST_BASE64_MAX);
    enum payload_fault fault = begin(p, r);
    if (fault == PAYLOAD_NONE)
        *out = p;
    else
        payload_fini(&p);
    return fault;
}

enum payload_fault
payload_begin(struct payload **out, struct http_request *r, int64_t bytes_max, payload_sink_fn sink,
              void *sink_arg)
{
    return payload_new(out, r, bytes_max, false, sink, sink_arg);
}

enum payload_fault
payload_begin_unsummed(struct payload **out, struct http_request *r, int64_t bytes_max,
                       payload_sink_fn sink, void *sink_arg)
{
    return payload_new(out, r, bytes_max, true, sink, sink_arg);
}

int
payload_want(struct payload *p, enum checksum checksum)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    CHK(p->received == 0 && !p->ended);
    if (checksum == CHECKSUM_NONE || p->checksum != CHECKSUM_NONE)
        return ERR_NONE;
    digester_free(&p->digester);
    p->checksum = checksum;
    p->checksum_wanted = true;
    return make_digester(p) == PAYLOAD_NONE ? ERR_NONE : ERR_NOMEM;
}

void
payload_fini(struct payload **pp)
{
    struct payload *p = *pp;
    *pp = NULL;
    if (p == NULL)
        return;
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    digester_free(&p->digester);
    aws_chunked_fini(&p->chunked);
    buf_fini(&p->checksum_text);
    p->magic = 0;
}

/* ---- feed ---- */

/* Plain bytes, whatever form they came in. */
static enum payload_fault
take(void *arg, const void *bytes, size_t n)
{
    struct payload *p = arg;
    int64_t most = p->announced >= 0 ? p->announced : p->bytes_max;
    if ((uint64_t)n > (uint64_t)(most - p->received))
        return p->announced >= 0 ? PAYLOAD_LENGTH : PAYLOAD_TOO_LARGE;
    digester_update(p->digester, bytes, n);
    p->received += (int64_t)n;
    p->sink_error = p->sink(p->sink_arg, bytes, n);
    return p->sink_error == ERR_NONE ? PAYLOAD_NONE : PAYLOAD_SINK;
}

enum payload_fault
payload_feed(struct payload *p, const void *bytes, size_t n)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    CHK(!p->ended);
    if (p->fault != PAYLOAD_NONE || n == 0)
        return p->fault;
    p->fault = p->framed ? aws_chunked_feed(&p->chunked, bytes, n) : take(p, bytes, n);
    return p->fault;
}

/* ---- end ---- */

static enum payload_fault
compare(struct payload *p)
{
    const struct digester *d = p->digester;
    const uint8_t *stated = p->checksum_in_trailer ? p->chunked.trailer_value : p->checksum_stated;
    size_t n = checksum_bytes(p->checksum);
    if (p->has_md5 && !digest_equal(p->md5, digester_md5(d), MD5_BYTES))
        return PAYLOAD_MD5;
    if (p->has_sha256 && !digest_equal(p->sha256, digester_sha256(d), SHA256_BYTES))
        return PAYLOAD_SHA256;
    if (p->checksum == CHECKSUM_NONE)
        return PAYLOAD_NONE;
    if (!p->checksum_wanted && !digest_equal(stated, digester_checksum(d), n))
        return payload_fault_of(PAYLOAD_NOT_CRC32, p->checksum);
    base64_encode(&p->checksum_text, digester_checksum(d), n);
    return p->checksum_text.err == ERR_NONE ? PAYLOAD_NONE : PAYLOAD_NOMEM;
}

enum payload_fault
payload_end(struct payload *p)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    CHK(!p->ended);
    p->ended = true;
    if (p->fault == PAYLOAD_NONE && p->framed)
        p->fault = aws_chunked_end(&p->chunked);
    if (p->fault == PAYLOAD_NONE && p->announced >= 0 && p->received != p->announced)
        p->fault = PAYLOAD_LENGTH;
    digester_end(p->digester);
    if (p->fault == PAYLOAD_NONE)
        p->fault = compare(p);
    return p->fault;
}

/* ---- what came out ---- */

int64_t
payload_length(const struct payload *p)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    return p->announced;
}

int64_t
payload_received(const struct payload *p)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    return p->received;
}

int
payload_sink_error(const struct payload *p)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    return p->sink_error;
}

enum checksum
payload_stated(const struct payload *p)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    return p->checksum_wanted ? CHECKSUM_NONE : p->checksum;
}

const uint8_t *
payload_md5(const struct payload *p)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    CHK(p->ended);
    return digester_md5(p->digester);
}

enum checksum
payload_checksum(const struct payload *p, const char **base64)
{
    CHK_MAGIC(p, PAYLOAD_MAGIC);
    CHK(p->ended);
    bool known = p->fault == PAYLOAD_NONE && p->checksum != CHECKSUM_NONE;
    if (base64 != NULL)
        *base64 = known ? p->checksum_text.p : "";
    return known ? p->checksum : CHECKSUM_NONE;
}
