#include "pipeline/transfer_etag.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"

#include <stdlib.h>

#define MIB ((int64_t)1 << 20)
#define PARTS_MAX 10000
#define READ_CHUNK (256u << 10)
#define MD5_HEX ((size_t)2 * MD5_BYTES)

struct transfer_check {
    uint8_t want[MD5_BYTES];
    int parts; /* 0: one MD5 */
    bool silent;
    int64_t part_bytes;
    int64_t in_part;
    int parts_seen;
    struct digester *bytes; /* of the object, or of the current part */
    struct digester *over;  /* of the parts' MD5s */
};

bool
transfer_etag_is_md5(struct slice etag)
{
    uint8_t md5[MD5_BYTES];
    return etag.n == MD5_HEX && hex_decode(etag, md5, MD5_BYTES) == ERR_NONE;
}

int
transfer_etag_parts(struct slice etag)
{
    uint64_t n = 0;
    if (etag.n < MD5_HEX + 2 || etag.p[MD5_HEX] != '-' ||
        !transfer_etag_is_md5(slice_of(etag.p, MD5_HEX)) ||
        slice_to_u64(slice_skip(etag, MD5_HEX + 1), &n) != ERR_NONE || n > PARTS_MAX)
        return 0;
    return (int)n;
}

int64_t
transfer_part_bytes(int64_t bytes)
{
    int64_t least = (bytes + PARTS_MAX - 1) / PARTS_MAX;
    int64_t whole = (least + MIB - 1) / MIB * MIB;
    return whole > TRANSFER_PART_BYTES ? whole : TRANSFER_PART_BYTES;
}

static int64_t
parts_of(int64_t bytes, int64_t part_bytes)
{
    return bytes == 0 ? 1 : (bytes + part_bytes - 1) / part_bytes;
}

/* Defaults of the common clients, the commonest first. */
int64_t
transfer_part_guess(int64_t bytes, int parts, size_t nth)
{
    static const int64_t usual_mib[] = {8,  16, 5,   15,  10,  32,  64,  50,
                                        25, 20, 100, 128, 256, 512, 1024};
    for (size_t i = 0; i <= ARRAY_LEN(usual_mib); i++) {
        int64_t part_bytes =
            i < ARRAY_LEN(usual_mib) ? usual_mib[i] * MIB : transfer_part_bytes(bytes);
        if (parts_of(bytes, part_bytes) != parts)
            continue;
        if (i == ARRAY_LEN(usual_mib) && part_bytes == TRANSFER_PART_BYTES)
            continue; /* was among them */
        if (nth-- == 0)
            return part_bytes;
    }
    return 0;
}

struct transfer_check *
transfer_check_new(struct slice etag, int64_t part_bytes)
{
    struct transfer_check *c = chk_calloc(1, sizeof *c);
    c->parts = transfer_etag_parts(etag);
    c->part_bytes = part_bytes;
    c->silent = c->parts > 0 ? part_bytes <= 0 : !transfer_etag_is_md5(etag);
    if (c->silent)
        return c;
    CHK(hex_decode(slice_of(etag.p, MD5_HEX), c->want, MD5_BYTES) == ERR_NONE);
    c->bytes = digester_new(DIGEST_MD5, CHECKSUM_NONE);
    c->over = digester_new(DIGEST_MD5, CHECKSUM_NONE);
    CHK(c->bytes != NULL && c->over != NULL);
    return c;
}

void
transfer_check_free(struct transfer_check **cp)
{
    struct transfer_check *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    digester_free(&c->bytes);
    digester_free(&c->over);
    free(c);
}

static void
end_part(struct transfer_check *c)
{
    digester_end(c->bytes);
    digester_update(c->over, digester_md5(c->bytes), MD5_BYTES);
    digester_free(&c->bytes);
    c->bytes = digester_new(DIGEST_MD5, CHECKSUM_NONE);
    CHK(c->bytes != NULL);
    c->in_part = 0;
    c->parts_seen++;
}

void
transfer_check_update(struct transfer_check *c, const char *p, size_t n)
{
    while (n > 0 && !c->silent) {
        size_t take = n;
        if (c->parts > 0 && (int64_t)take > c->part_bytes - c->in_part)
            take = (size_t)(c->part_bytes - c->in_part);
        digester_update(c->bytes, p, take);
        c->in_part += (int64_t)take;
        p += take;
        n -= take;
        if (c->parts > 0 && c->in_part == c->part_bytes)
            end_part(c);
    }
}

enum transfer_verdict
transfer_check_end(struct transfer_check *c)
{
    if (c->silent)
        return TRANSFER_SILENT;
    if (c->parts > 0 && (c->in_part > 0 || c->parts_seen == 0))
        end_part(c);
    struct digester *last = c->parts > 0 ? c->over : c->bytes;
    digester_end(last);
    bool same = memcmp(digester_md5(last), c->want, MD5_BYTES) == 0 &&
                (c->parts == 0 || c->parts_seen == c->parts);
    return same ? TRANSFER_SAME : TRANSFER_DIFFERS;
}

/* With one part size. */
static int
check_once(int fd, int64_t bytes, struct slice etag, int64_t part_bytes,
           enum transfer_verdict *verdict)
{
    struct transfer_check *c = transfer_check_new(etag, part_bytes);
    char *chunk = chk_malloc(READ_CHUNK);
    int err = ERR_NONE;
    for (int64_t at = 0; at < bytes && err == ERR_NONE;) {
        size_t n = bytes - at < (int64_t)READ_CHUNK ? (size_t)(bytes - at) : READ_CHUNK;
        err = fsio_pread_all(fd, chunk, n, at);
        if (err == ERR_NONE)
            transfer_check_update(c, chunk, n);
        at += (int64_t)n;
    }
    if (err == ERR_NONE)
        *verdict = transfer_check_end(c);
    free(chunk);
    transfer_check_free(&c);
    return err;
}

int
transfer_file_check(int fd, int64_t bytes, struct slice etag, enum transfer_verdict *verdict)
{
    int parts = transfer_etag_parts(etag);
    int err = ERR_NONE;
    *verdict = TRANSFER_SILENT;
    if (parts == 0)
        return transfer_etag_is_md5(etag) ? check_once(fd, bytes, etag, 0, verdict) : ERR_NONE;
    for (size_t i = 0; err == ERR_NONE && *verdict != TRANSFER_SAME; i++) {
        int64_t part_bytes = transfer_part_guess(bytes, parts, i);
        if (part_bytes == 0)
            break;
        err = check_once(fd, bytes, etag, part_bytes, verdict);
    }
    /* A part size that nobody thought of is no proof of a difference. */
    if (*verdict == TRANSFER_DIFFERS)
        *verdict = TRANSFER_SILENT;
    return err;
}
