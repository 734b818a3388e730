/*
 * Digests, checksums and their texts. MD5, SHA-1, SHA-256 and HMAC are OpenSSL's; the CRCs are
 * table driven, CRC32C with the SSE4.2 instruction where the machine has it. Any thread.
 */
#ifndef DARKROOM_BASE_DIGEST_H
#define DARKROOM_BASE_DIGEST_H

#include "base/buf.h"
#include "base/slice.h"

#define MD5_BYTES 16
#define SHA1_BYTES 20
#define SHA256_BYTES 32
#define DIGEST_BYTES_MAX 32
#define DIGEST_BASE64_MAX 48

/* The checksums of S3's x-amz-checksum-* headers: name as in the header, name as in XML. */
#define CHECKSUM_LIST(X)         \
    X(CRC32, "crc32", 4)         \
    X(CRC32C, "crc32c", 4)       \
    X(CRC64NVME, "crc64nvme", 8) \
    X(SHA1, "sha1", SHA1_BYTES)  \
    X(SHA256, "sha256", SHA256_BYTES)

enum checksum {
    CHECKSUM_NONE,
#define X(id, name, bytes) CHECKSUM_##id,
    CHECKSUM_LIST(X)
#undef X
        CHECKSUM_COUNT
};

/* CHECKSUM_NONE for an unknown name; case ignored ("CRC32C", "crc32c"). */
enum checksum checksum_by_name(struct slice name);
const char *checksum_name(enum checksum c); /* lower case; "" for NONE */
size_t checksum_bytes(enum checksum c);

/* ---- one pass over bytes, any number of digests ---- */

#define DIGEST_MD5 1u
#define DIGEST_SHA256 2u

struct digester; /* heap; MD5 and SHA-256 as asked, plus one checksum */

/* NULL when memory is out. */
struct digester *digester_new(unsigned digests, enum checksum checksum);
void digester_free(struct digester **d);
void digester_update(struct digester *d, const void *p, size_t n);
/* Ends it: results may be read, no further update. */
void digester_end(struct digester *d);
const uint8_t *digester_md5(const struct digester *d);
const uint8_t *digester_sha256(const struct digester *d);
/* Big-endian bytes of the checksum, checksum_bytes() of them. */
const uint8_t *digester_checksum(const struct digester *d);

/* ---- one-shot ---- */

void digest_md5(const void *p, size_t n, uint8_t out[MD5_BYTES]);
void digest_sha256(const void *p, size_t n, uint8_t out[SHA256_BYTES]);
void digest_hmac_sha256(struct slice key, struct slice data, uint8_t out[SHA256_BYTES]);
void digest_hmac_sha1(struct slice key, struct slice data, uint8_t out[SHA1_BYTES]);
/* Castagnoli, RFC 3720 B.4; start with crc = 0 and chain. */
uint32_t digest_crc32c(uint32_t crc, const void *p, size_t n);
uint32_t digest_crc32(uint32_t crc, const void *p, size_t n);
uint64_t digest_crc64nvme(uint64_t crc, const void *p, size_t n);

/* Can the checksum of two stretches be told from theirs? The CRCs' alone. */
bool checksum_joins(enum checksum c);
/* `a`, big-endian, of the bytes in front, becomes that of these and the `b_bytes` behind them whose
 * checksum is `b`. Reads no byte of either; some microseconds. */
void checksum_join(enum checksum c, uint8_t *a, const uint8_t *b, int64_t b_bytes);

/* Time does not depend on where they differ. */
bool digest_equal(const void *a, const void *b, size_t n);

/* ---- texts ---- */

/* Lower case; `out` has 2 * n + 1 bytes. */
void hex_encode(const void *p, size_t n, char *out);
/* Exactly 2 * n digits, either case: ERR_INVALID otherwise. */
int hex_decode(struct slice text, void *out, size_t n);
void base64_encode(struct buf *out, const void *p, size_t n);
/* Strict RFC 4648 section 4, padding required; appends. ERR_INVALID, ERR_TOOBIG. */
int base64_decode(struct buf *out, struct slice text);
/* base64 of exactly n bytes. */
int base64_decode_exact(struct slice text, void *out, size_t n);

/* Unpredictable bytes from the kernel. */
void random_bytes(void *p, size_t n);

#endif
