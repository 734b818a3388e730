/*
 * Pieces that several answers have in common: headers and XML elements, each written once.
 */
#include "objectstore/s3_priv.h"
#include "base/clock.h"

#include <ctype.h>
#include <stdio.h>

static const char *
type_text(bool composite)
{
    return composite ? "COMPOSITE" : "FULL_OBJECT";
}

void
s3_checksum_header(struct s3_request *q, enum checksum checksum, const char *base64)
{
    char name[32];
    if (checksum == CHECKSUM_NONE || base64[0] == '\0')
        return;
    snprintf(name, sizeof name, "x-amz-checksum-%s", checksum_name(checksum));
    http_header(q->r, name, slice_str(base64));
}

void
s3_checksum_headers(struct s3_request *q, enum checksum checksum, const char *base64,
                    bool composite)
{
    if (checksum == CHECKSUM_NONE || base64[0] == '\0')
        return;
    s3_checksum_header(q, checksum, base64);
    http_header(q->r, "x-amz-checksum-type", slice_str(type_text(composite)));
}

/* As in XML: upper case. */
static void
algorithm_text(enum checksum checksum, char *out, size_t size)
{
    snprintf(out, size, "%s", checksum_name(checksum));
    for (; *out != '\0'; out++)
        *out = (char)toupper((unsigned char)*out);
}

void
s3_checksum_xml(struct buf *b, enum checksum checksum, const char *base64)
{
    char name[32] = "Checksum";
    if (checksum == CHECKSUM_NONE || base64[0] == '\0')
        return;
    algorithm_text(checksum, name + strlen(name), sizeof name - strlen(name));
    xml_puts(b, name, base64);
}

void
s3_checksum_type_xml(struct buf *b, enum checksum checksum, bool composite)
{
    if (checksum != CHECKSUM_NONE)
        xml_puts(b, "ChecksumType", type_text(composite));
}

void
s3_algorithm_headers(struct s3_request *q, enum checksum checksum, bool composite)
{
    char name[16];
    if (checksum == CHECKSUM_NONE)
        return;
    algorithm_text(checksum, name, sizeof name);
    http_header(q->r, "x-amz-checksum-algorithm", slice_str(name));
    http_header(q->r, "x-amz-checksum-type", slice_str(type_text(composite)));
}

void
s3_algorithm_xml(struct buf *b, enum checksum checksum)
{
    char name[16];
    algorithm_text(checksum, name, sizeof name);
    xml_puts(b, "ChecksumAlgorithm", name);
}

void
s3_owner_xml(const struct s3_request *q, struct buf *b, const char *name, struct slice id)
{
    const struct account *a = accounts_by_canonical_id(q->s->accounts, id);
    xml_open(b, name);
    xml_put(b, "ID", id);
    if (a != NULL)
        xml_puts(b, "DisplayName", a->display_name);
    xml_close(b, name);
}

/* With its quotes; returns the length. */
static size_t
quote(const char *etag, char out[STORE_ETAG_MAX + 2])
{
    size_t n = strnlen(etag, STORE_ETAG_MAX - 1);
    out[0] = '"';
    memcpy(out + 1, etag, n);
    out[n + 1] = '"';
    return n + 2;
}

void
s3_etag_header(struct s3_request *q, const char *etag)
{
    char text[STORE_ETAG_MAX + 2];
    http_header(q->r, "ETag", slice_of(text, quote(etag, text)));
}

void
s3_etag_xml(struct buf *b, const char *etag)
{
    char text[STORE_ETAG_MAX + 2];
    xml_put(b, "ETag", slice_of(text, quote(etag, text)));
}

void
s3_time_xml(struct buf *b, const char *name, int64_t wall_ms)
{
    char text[CLOCK_TEXT_MAX];
    clock_iso8601(wall_ms, text);
    xml_puts(b, name, text);
}

void
s3_name_xml(struct buf *b, const char *name, struct slice text, bool url)
{
    if (!url) {
        xml_put(b, name, text);
        return;
    }
    xml_open(b, name);
    http_escape(b, text, true);
    xml_close(b, name);
}
