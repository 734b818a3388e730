/*
 * Checksum headers that speak of something else than the request's body: what an upload shall have,
 * and what the whole object of a completion has. Codes and messages are S3's, which its
 * documentation has in part only; the rest was seen there by several conformance suites.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
 */
#include "objectstore/s3_multipart.h"
#include "base/err.h"

#include <stdio.h>
#include <strings.h>

#define PREFIX SLICE_LIT("x-amz-checksum-")
#define WHY_MAX 200

static void
bad_header(struct s3_request *q, const char *name)
{
    char why[WHY_MAX];
    snprintf(why, sizeof why, "Value for %s header is invalid.", name);
    s3_fail_why(q, S3_INVALID_REQUEST, why);
}

/* false: answered. */
static bool
type_read(struct s3_request *q, bool *stated, bool *composite)
{
    struct slice type = slice_trim(http_field(q->r, "x-amz-checksum-type"));
    *stated = type.n > 0;
    *composite = slice_eqs(type, "COMPOSITE");
    if (!*stated || *composite || slice_eqs(type, "FULL_OBJECT"))
        return true;
    bad_header(q, "x-amz-checksum-type");
    return false;
}

bool
s3_sum_algorithm(struct s3_request *q, enum checksum *checksum)
{
    struct slice algorithm = slice_trim(http_field(q->r, "x-amz-checksum-algorithm"));
    *checksum = checksum_by_name(algorithm);
    if (algorithm.n == 0 || *checksum != CHECKSUM_NONE)
        return true;
    s3_fail_why(q, S3_INVALID_REQUEST,
                "Checksum algorithm provided is unsupported. Please try again with any of the "
                "valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
    return false;
}

bool
s3_sum_asked(struct s3_request *q, enum checksum *checksum, bool *composite)
{
    char why[WHY_MAX];
    bool stated;
    if (!s3_sum_algorithm(q, checksum) || !type_read(q, &stated, composite))
        return false;
    if (stated && *checksum == CHECKSUM_NONE) {
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "The x-amz-checksum-type header can only be used with the "
                    "x-amz-checksum-algorithm header.");
        return false;
    }
    if (!stated)
        *composite = *checksum != CHECKSUM_CRC64NVME && *checksum != CHECKSUM_NONE;
    if (*checksum == CHECKSUM_NONE ||
        (*composite ? *checksum != CHECKSUM_CRC64NVME : checksum_joins(*checksum)))
        return true;
    snprintf(why, sizeof why, "The %s checksum type cannot be used with the %s checksum algorithm.",
             *composite ? "COMPOSITE" : "FULL_OBJECT", checksum_name(*checksum));
    s3_fail_why(q, S3_INVALID_REQUEST, why);
    return false;
}

void
s3_fail_sum_type(struct s3_request *q, enum checksum expected, enum checksum actual)
{
    char why[WHY_MAX];
    snprintf(
        why, sizeof why,
        "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
        expected == CHECKSUM_NONE ? "null" : checksum_name(expected),
        actual == CHECKSUM_NONE ? "null" : checksum_name(actual));
    s3_fail_why(q, S3_INVALID_REQUEST, why);
}

void
s3_fail_sum(struct s3_request *q, enum checksum checksum)
{
    char why[WHY_MAX];
    snprintf(why, sizeof why, "The %s you specified did not match the calculated checksum.",
             checksum_name(checksum));
    s3_fail_why(q, S3_BAD_DIGEST, why);
}

/* A checksum, or one with the number of its parts behind it. */
static bool
value_ok(enum checksum checksum, struct slice text)
{
    uint8_t raw[DIGEST_BYTES_MAX];
    struct slice count;
    uint64_t n;
    struct slice base64 = slice_cut(text, '-', &count);
    return base64_decode_exact(base64, raw, checksum_bytes(checksum)) == ERR_NONE &&
           (count.p == NULL || slice_to_u64(count, &n) == ERR_NONE);
}

/* The one x-amz-checksum-ALGORITHM; false: answered. */
static bool
value_read(struct s3_request *q, struct store_completion *c)
{
    for (size_t i = 0; i < q->r->field_count; i++) {
        const struct http_field *f = &q->r->fields[i];
        if (f->name.n <= PREFIX.n || strncasecmp(f->name.p, PREFIX.p, PREFIX.n) != 0)
            continue;
        enum checksum checksum = checksum_by_name(slice_skip(f->name, PREFIX.n));
        if (checksum == CHECKSUM_NONE)
            continue;
        if (c->checksum != CHECKSUM_NONE) {
            s3_refuse(q, payload_refusal(PAYLOAD_TWO_CHECKSUMS));
            return false;
        }
        c->checksum = checksum;
        c->checksum_base64 = slice_trim(f->value);
    }
    if (c->checksum == CHECKSUM_NONE || value_ok(c->checksum, c->checksum_base64))
        return true;
    char name[64];
    snprintf(name, sizeof name, "x-amz-checksum-%s", checksum_name(c->checksum));
    bad_header(q, name);
    return false;
}

/* false: answered. */
static bool
size_read(struct s3_request *q, struct store_completion *c)
{
    struct slice text = slice_trim(http_field(q->r, "x-amz-mp-object-size"));
    uint64_t size = 0;
    char why[WHY_MAX];
    c->size = -1;
    if (text.p == NULL)
        return true;
    if (slice_to_u64(text, &size) == ERR_NONE && size <= INT64_MAX) {
        c->size = (int64_t)size;
        return true;
    }
    snprintf(why, sizeof why, "Value for x-amz-mp-object-size header is invalid: '%.*s'",
             (int)(text.n < 64 ? text.n : 64), text.p);
    s3_fail_why(q, S3_INVALID_REQUEST, why);
    return false;
}

bool
s3_sum_completion(struct s3_request *q, struct store_completion *c)
{
    return type_read(q, &c->type_stated, &c->checksum_composite) && value_read(q, c) &&
           size_read(q, c);
}
