/*
 *            +--------------------- \n ---------------------+
 *            v                                              |
 *   (start) HEADER --size > 0--> DATA --all bytes--> DATA_CR --\r--> DATA_LF
 *            |
 *            +-----size 0--> TRAILER --what was announced is complete--> DONE
 *                             ^   |                                      ^  |
 *                             +---+ a line                               +--+ empty line
 *
 * Invariants: the sink has got every byte of the chunks, in order, before their signature is looked
 * at; a chunk whose signature is wrong is a fault before the first byte of the next one is read.
 * TRAILER is complete with its checksum (if announced), its signature (if signed), or, when neither
 * is due, with the empty line that ends every upload. A fault is the caller's to remember.
 */
#include "base/aws_chunked.h"
#include "base/chk.h"
#include "base/err.h"

#include <stdio.h>

/* Bytes that may take part in a trailer's signature: one lower-case line. */
#define TRAILER_TEXT_MAX (AWS_CHUNKED_LINE_MAX + 2)

static void
set_state(struct aws_chunked *c, enum aws_chunked_state next)
{
    static const unsigned allowed[] = {
        [AWS_CHUNKED_HEADER] = 1u << AWS_CHUNKED_DATA | 1u << AWS_CHUNKED_TRAILER,
        [AWS_CHUNKED_DATA] = 1u << AWS_CHUNKED_DATA_CR,
        [AWS_CHUNKED_DATA_CR] = 1u << AWS_CHUNKED_DATA_LF,
        [AWS_CHUNKED_DATA_LF] = 1u << AWS_CHUNKED_HEADER,
        [AWS_CHUNKED_TRAILER] = 1u << AWS_CHUNKED_DONE,
        [AWS_CHUNKED_DONE] = 0,
    };
    CHK((allowed[c->state] & 1u << next) != 0);
    c->state = next;
}

void
aws_chunked_init(struct aws_chunked *c, const struct auth *auth)
{
    c->state = AWS_CHUNKED_HEADER;
    c->chain.key = auth->signing_key;
    c->chain.timestamp = auth->timestamp;
    c->chain.scope = auth->scope;
    memcpy(c->chain.previous, auth->seed_signature, sizeof c->chain.previous);
    /* The digest of an empty trailer, for clients that sign one. */
    digest_sha256("", 0, c->trailer_sha256);
}

void
aws_chunked_fini(struct aws_chunked *c)
{
    digester_free(&c->digester);
}

/* ---- chunks ---- */

/* 1 to 16 hex digits, at most AWS_CHUNK_BYTES_MAX. */
static bool
parse_size(struct slice text, int64_t *size)
{
    int64_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        v = v * 16 + digit;
        if (v > AWS_CHUNK_BYTES_MAX)
            return false;
    }
    *size = v;
    return text.n >= 1 && text.n <= 16;
}

/* "SIZE" or "SIZE;chunk-signature=HEX", just as the form wants it. */
static bool
parse_header(struct aws_chunked *c, struct slice line, int64_t *size)
{
    struct slice extension, text = slice_cut(line, ';', &extension);
    if (!parse_size(text, size))
        return false;
    if (!c->is_signed)
        return extension.p == NULL;
    struct slice key = SLICE_LIT("chunk-signature=");
    if (extension.n != key.n + SIGV4_HEX || !slice_starts(extension, key))
        return false;
    memcpy(c->claimed, extension.p + key.n, SIGV4_HEX);
    return true;
}

/* The chunk's bytes are all here: is it the one that was signed? */
static enum payload_fault
check_chunk(struct aws_chunked *c)
{
    if (!c->is_signed)
        return PAYLOAD_NONE;
    digester_end(c->digester);
    int err = sigv4_chain_chunk(&c->chain, digester_sha256(c->digester));
    digester_free(&c->digester);
    if (err != ERR_NONE || !digest_equal(c->chain.previous, c->claimed, SIGV4_HEX))
        return PAYLOAD_CHUNK_SIGNATURE;
    return PAYLOAD_NONE;
}

static enum payload_fault
begin_chunk(struct aws_chunked *c, struct slice line)
{
    int64_t size;
    if (!parse_header(c, line, &size))
        return PAYLOAD_BAD_CHUNK;
    if (size > c->bytes_max - c->bytes)
        return c->over_fault;
    if (c->is_signed && size > 0 && c->bytes > 0 && c->chunk_bytes < AWS_CHUNK_BYTES_MIN)
        return PAYLOAD_CHUNK_TOO_SMALL;
    if (c->is_signed) {
        c->digester = digester_new(DIGEST_SHA256, CHECKSUM_NONE);
        if (c->digester == NULL)
            return PAYLOAD_NOMEM;
    }
    c->bytes += size;
    c->chunk_bytes = c->chunk_left = size;
    if (size > 0) {
        set_state(c, AWS_CHUNKED_DATA);
        return PAYLOAD_NONE;
    }
    set_state(c, AWS_CHUNKED_TRAILER);
    return check_chunk(c);
}

static enum payload_fault
take_data(struct aws_chunked *c, const char *p, size_t n)
{
    if (c->digester != NULL)
        digester_update(c->digester, p, n);
    enum payload_fault fault = c->sink(c->sink_arg, p, n);
    c->chunk_left -= (int64_t)n;
    if (fault != PAYLOAD_NONE || c->chunk_left > 0)
        return fault;
    set_state(c, AWS_CHUNKED_DATA_CR);
    return check_chunk(c);
}

/* ---- trailer ---- */

static bool
trailer_complete(const struct aws_chunked *c)
{
    return (c->trailer == CHECKSUM_NONE || c->trailer_seen) &&
           (!c->has_trailer_signature || c->trailer_signature_seen);
}

static enum payload_fault
take_signature(struct aws_chunked *c, struct slice value)
{
    if (!c->has_trailer_signature || c->trailer_signature_seen ||
        (c->trailer != CHECKSUM_NONE && !c->trailer_seen) || value.n != SIGV4_HEX)
        return PAYLOAD_BAD_TRAILER;
    c->trailer_signature_seen = true;
    if (sigv4_chain_trailer(&c->chain, c->trailer_sha256) != ERR_NONE ||
        !digest_equal(c->chain.previous, value.p, SIGV4_HEX))
        return PAYLOAD_CHUNK_SIGNATURE;
    return PAYLOAD_NONE;
}

static enum payload_fault
take_checksum(struct aws_chunked *c, struct slice name, struct slice value)
{
    char text[TRAILER_TEXT_MAX];
    char expected[32];
    snprintf(expected, sizeof expected, "x-amz-checksum-%s", checksum_name(c->trailer));
    if (c->trailer == CHECKSUM_NONE || c->trailer_seen || !slice_ieqs(name, expected))
        return PAYLOAD_BAD_TRAILER;
    if (base64_decode_exact(value, c->trailer_value, checksum_bytes(c->trailer)) != ERR_NONE)
        return payload_fault_of(PAYLOAD_BAD_CRC32, c->trailer);
    c->trailer_seen = true;
    int n = snprintf(text, sizeof text, "%s:%.*s\n", expected, SLICE_FMT(value));
    CHK(n > 0 && (size_t)n < sizeof text);
    digest_sha256(text, (size_t)n, c->trailer_sha256);
    return PAYLOAD_NONE;
}

static enum payload_fault
take_trailer_line(struct aws_chunked *c, struct slice line)
{
    enum payload_fault fault;
    if (line.n == 0) {
        if (++c->blanks > AWS_CHUNKED_BLANKS_MAX)
            return PAYLOAD_BAD_TRAILER;
        if (c->state == AWS_CHUNKED_TRAILER && trailer_complete(c))
            set_state(c, AWS_CHUNKED_DONE);
        return PAYLOAD_NONE;
    }
    if (c->state == AWS_CHUNKED_DONE)
        return PAYLOAD_BAD_TRAILER;
    struct slice value, name = slice_cut(line, ':', &value);
    if (slice_ieqs(name, "x-amz-trailer-signature"))
        fault = take_signature(c, slice_trim(value));
    else
        fault = take_checksum(c, name, slice_trim(value));
    if (fault == PAYLOAD_NONE && trailer_complete(c))
        set_state(c, AWS_CHUNKED_DONE);
    return fault;
}

/* ---- the wire ---- */

/* One more byte of the line under way. */
static enum payload_fault
take_line_byte(struct aws_chunked *c, char byte)
{
    bool header = c->state == AWS_CHUNKED_HEADER;
    if (byte != '\n') {
        if (c->line_n == sizeof c->line)
            return header ? PAYLOAD_BAD_CHUNK : PAYLOAD_BAD_TRAILER;
        c->line[c->line_n++] = byte;
        return PAYLOAD_NONE;
    }
    struct slice line = slice_of(c->line, c->line_n);
    bool cr = line.n > 0 && line.p[line.n - 1] == '\r';
    c->line_n = 0;
    if (cr)
        line.n--;
    if (!header)
        return take_trailer_line(c, line);
    return cr ? begin_chunk(c, line) : PAYLOAD_BAD_CHUNK;
}

static enum payload_fault
take_end_of_data(struct aws_chunked *c, char byte)
{
    bool cr = c->state == AWS_CHUNKED_DATA_CR;
    if (byte != (cr ? '\r' : '\n'))
        return PAYLOAD_BAD_CHUNK;
    set_state(c, cr ? AWS_CHUNKED_DATA_LF : AWS_CHUNKED_HEADER);
    return PAYLOAD_NONE;
}

enum payload_fault
aws_chunked_feed(struct aws_chunked *c, const char *p, size_t n)
{
    enum payload_fault fault = PAYLOAD_NONE;
    while (n > 0 && fault == PAYLOAD_NONE) {
        size_t used = 1;
        switch (c->state) {
        case AWS_CHUNKED_DATA:
            used = (uint64_t)c->chunk_left < n ? (size_t)c->chunk_left : n;
            fault = take_data(c, p, used);
            break;
        case AWS_CHUNKED_DATA_CR:
        case AWS_CHUNKED_DATA_LF:
            fault = take_end_of_data(c, *p);
            break;
        case AWS_CHUNKED_HEADER:
        case AWS_CHUNKED_TRAILER:
        case AWS_CHUNKED_DONE:
            fault = take_line_byte(c, *p);
            break;
        }
        p += used;
        n -= used;
    }
    return fault;
}

enum payload_fault
aws_chunked_end(struct aws_chunked *c)
{
    if (c->state == AWS_CHUNKED_DONE && c->line_n == 0)
        return PAYLOAD_NONE;
    return c->state >= AWS_CHUNKED_TRAILER ? PAYLOAD_BAD_TRAILER : PAYLOAD_BAD_CHUNK;
}
