/*
 * OpenSSL's digests behind our own names, and the texts (hex, base64) digests travel in.
 *
 * The three algorithms are fetched once per process: a fetch costs more than hashing a small
 * object. A digester holds one context per digest asked for; SHA-256 asked for twice (as digest
 * and as checksum) is computed once. Life of a digester: new, update any number of times, end,
 * read. OpenSSL can refuse memory only while a context is made, so an update cannot fail, and
 * that is asserted.
 */
#include "base/digest.h"
#include "base/chk.h"
#include "base/err.h"

#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define DIGESTER_MAGIC 0xd16e57e1u
#define HMAC_BLOCK 64 /* of SHA-1 and of SHA-256 */

static EVP_MD *md5_md, *sha1_md, *sha256_md;
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;

static void
fetch_all(void)
{
    md5_md = EVP_MD_fetch(NULL, "MD5", NULL);
    sha1_md = EVP_MD_fetch(NULL, "SHA1", NULL);
    sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
    CHK(md5_md != NULL && sha1_md != NULL && sha256_md != NULL);
}

static void
need_algorithms(void)
{
    pthread_once(&fetch_once, fetch_all);
}

/* ---- checksum names ---- */

static const struct {
    const char *name;
    size_t bytes;
} checksums[CHECKSUM_COUNT] = {[CHECKSUM_NONE] = {"", 0},
#define X(id, name, bytes) [CHECKSUM_##id] = {name, bytes},
                               CHECKSUM_LIST(X)
#undef X
};

enum checksum
checksum_by_name(struct slice name)
{
    for (size_t i = CHECKSUM_NONE + 1; i < CHECKSUM_COUNT; i++) {
        if (slice_ieqs(name, checksums[i].name))
            return (enum checksum)i;
    }
    return CHECKSUM_NONE;
}

const char *
checksum_name(enum checksum c)
{
    CHK(c < CHECKSUM_COUNT);
    return checksums[c].name;
}

size_t
checksum_bytes(enum checksum c)
{
    CHK(c < CHECKSUM_COUNT);
    return checksums[c].bytes;
}

/* ---- digester ---- */

struct digester {
    uint32_t magic;
    bool ended;
    enum checksum checksum;
    EVP_MD_CTX *md5_ctx;    /* NULL when not asked for */
    EVP_MD_CTX *sha1_ctx;   /* as checksum only */
    EVP_MD_CTX *sha256_ctx; /* as digest, checksum or both */
    uint64_t crc;
    uint8_t md5[MD5_BYTES];
    uint8_t sha1[SHA1_BYTES];
    uint8_t sha256[SHA256_BYTES];
    uint8_t crc_bytes[8];
};

static int
start(EVP_MD_CTX **ctx, const EVP_MD *md)
{
    *ctx = EVP_MD_CTX_new();
    return *ctx != NULL && EVP_DigestInit_ex2(*ctx, md, NULL) == 1 ? ERR_NONE : ERR_NOMEM;
}

struct digester *
digester_new(unsigned digests, enum checksum checksum)
{
    CHK(checksum < CHECKSUM_COUNT);
    need_algorithms();
    struct digester *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->magic = DIGESTER_MAGIC;
    d->checksum = checksum;
    int rc = ERR_NONE;
    if ((digests & DIGEST_MD5) != 0)
        rc = start(&d->md5_ctx, md5_md);
    if (rc == ERR_NONE && checksum == CHECKSUM_SHA1)
        rc = start(&d->sha1_ctx, sha1_md);
    if (rc == ERR_NONE && ((digests & DIGEST_SHA256) != 0 || checksum == CHECKSUM_SHA256))
        rc = start(&d->sha256_ctx, sha256_md);
    if (rc != ERR_NONE)
        digester_free(&d);
    return d;
}

void
digester_free(struct digester **dp)
{
    struct digester *d = *dp;
    *dp = NULL;
    if (d == NULL)
        return;
    CHK_MAGIC(d, DIGESTER_MAGIC);
    EVP_MD_CTX_free(d->md5_ctx);
    EVP_MD_CTX_free(d->sha1_ctx);
    EVP_MD_CTX_free(d->sha256_ctx);
    d->magic = 0;
    free(d);
}

static void
update(EVP_MD_CTX *ctx, const void *p, size_t n)
{
    CHK(ctx == NULL || EVP_DigestUpdate(ctx, p, n) == 1);
}

void
digester_update(struct digester *d, const void *p, size_t n)
{
    CHK_MAGIC(d, DIGESTER_MAGIC);
    CHK(!d->ended);
    if (n == 0)
        return;
    update(d->md5_ctx, p, n);
    update(d->sha1_ctx, p, n);
    update(d->sha256_ctx, p, n);
    if (d->checksum == CHECKSUM_CRC32)
        d->crc = digest_crc32((uint32_t)d->crc, p, n);
    else if (d->checksum == CHECKSUM_CRC32C)
        d->crc = digest_crc32c((uint32_t)d->crc, p, n);
    else if (d->checksum == CHECKSUM_CRC64NVME)
        d->crc = digest_crc64nvme(d->crc, p, n);
}

static void
finish(EVP_MD_CTX *ctx, uint8_t *out)
{
    CHK(ctx == NULL || EVP_DigestFinal_ex(ctx, out, NULL) == 1);
}

void
digester_end(struct digester *d)
{
    CHK_MAGIC(d, DIGESTER_MAGIC);
    CHK(!d->ended);
    finish(d->md5_ctx, d->md5);
    finish(d->sha1_ctx, d->sha1);
    finish(d->sha256_ctx, d->sha256);
    uint64_t be = htobe64(d->crc);
    memcpy(d->crc_bytes, &be, sizeof be);
    d->ended = true;
}

const uint8_t *
digester_md5(const struct digester *d)
{
    CHK_MAGIC(d, DIGESTER_MAGIC);
    CHK(d->ended && d->md5_ctx != NULL);
    return d->md5;
}

const uint8_t *
digester_sha256(const struct digester *d)
{
    CHK_MAGIC(d, DIGESTER_MAGIC);
    CHK(d->ended && d->sha256_ctx != NULL);
    return d->sha256;
}

const uint8_t *
digester_checksum(const struct digester *d)
{
    CHK_MAGIC(d, DIGESTER_MAGIC);
    CHK(d->ended && d->checksum != CHECKSUM_NONE);
    if (d->checksum == CHECKSUM_SHA1)
        return d->sha1;
    if (d->checksum == CHECKSUM_SHA256)
        return d->sha256;
    return d->crc_bytes + sizeof d->crc_bytes - checksums[d->checksum].bytes;
}

/* ---- one-shot ---- */

void
digest_md5(const void *p, size_t n, uint8_t out[MD5_BYTES])
{
    need_algorithms();
    CHK(EVP_Digest(p, n, out, NULL, md5_md, NULL) == 1);
}

void
digest_sha256(const void *p, size_t n, uint8_t out[SHA256_BYTES])
{
    need_algorithms();
    CHK(EVP_Digest(p, n, out, NULL, sha256_md, NULL) == 1);
}

/* RFC 2104 from the digest itself: OpenSSL's own HMAC() fetches its algorithm at every call. */
static void
hmac(const EVP_MD *md, size_t md_bytes, struct slice key, struct slice data, uint8_t *out)
{
    uint8_t block[HMAC_BLOCK] = {0};
    uint8_t inner[DIGEST_BYTES_MAX];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CHK(ctx != NULL && md_bytes <= sizeof inner);
    if (key.n > sizeof block)
        CHK(EVP_Digest(key.p, key.n, block, NULL, md, NULL) == 1);
    else if (key.n > 0)
        memcpy(block, key.p, key.n);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    CHK(EVP_DigestInit_ex2(ctx, md, NULL) == 1);
    update(ctx, block, sizeof block);
    if (data.n > 0)
        update(ctx, data.p, data.n);
    finish(ctx, inner);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    CHK(EVP_DigestInit_ex2(ctx, md, NULL) == 1);
    update(ctx, block, sizeof block);
    update(ctx, inner, md_bytes);
    finish(ctx, out);
    EVP_MD_CTX_free(ctx);
    OPENSSL_cleanse(block, sizeof block);
    OPENSSL_cleanse(inner, sizeof inner);
}

void
digest_hmac_sha256(struct slice key, struct slice data, uint8_t out[SHA256_BYTES])
{
    need_algorithms();
    hmac(sha256_md, SHA256_BYTES, key, data, out);
}

void
digest_hmac_sha1(struct slice key, struct slice data, uint8_t out[SHA1_BYTES])
{
    need_algorithms();
    hmac(sha1_md, SHA1_BYTES, key, data, out);
}

bool
digest_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

/* ---- texts ---- */

void
hex_encode(const void *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int
hex_decode(struct slice text, void *out, size_t n)
{
    uint8_t *p = out;
    if (text.n % 2 != 0 || text.n / 2 != n)
        return ERR_INVALID;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_value(text.p[2 * i]);
        int lo = hex_value(text.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return ERR_INVALID;
        p[i] = (uint8_t)(hi << 4 | lo);
    }
    return ERR_NONE;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_encode(struct buf *out, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    char *o = buf_extend(out, (n + 2) / 3 * 4);
    if (o == NULL)
        return;
    for (; n > 0; o += 4) {
        size_t take = n < 3 ? n : 3;
        uint32_t v = (uint32_t)p[0] << 16;
        v |= take > 1 ? (uint32_t)p[1] << 8 : 0;
        v |= take > 2 ? p[2] : 0;
        o[0] = base64_digits[v >> 18];
        o[1] = base64_digits[v >> 12 & 63];
        o[2] = take > 1 ? base64_digits[v >> 6 & 63] : '=';
        o[3] = take > 2 ? base64_digits[v & 63] : '=';
        p += take;
        n -= take;
    }
}

static int
base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* Splits off the padding: the digits that are left, and how many bytes they stand for. */
static int
base64_measure(struct slice *text, size_t *bytes)
{
    size_t pad = 0;
    if (text->n % 4 != 0)
        return ERR_INVALID;
    *bytes = text->n / 4 * 3;
    while (pad < 2 && text->n > 0 && text->p[text->n - 1] == '=') {
        text->n--;
        pad++;
    }
    *bytes -= pad;
    return ERR_NONE;
}

/* `text` has no padding any more. Bits behind the last byte must be zero, so that every value has
 * one text only. */
static int
base64_digits_decode(struct slice text, uint8_t *out)
{
    uint32_t v = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        int digit = base64_value(text.p[i]);
        if (digit < 0)
            return ERR_INVALID;
        v = v << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *out++ = (uint8_t)(v >> bits);
            v &= (1u << bits) - 1;
        }
    }
    return v == 0 ? ERR_NONE : ERR_INVALID;
}

int
base64_decode(struct buf *out, struct slice text)
{
    size_t bytes;
    size_t before = out->n;
    if (base64_measure(&text, &bytes) != ERR_NONE)
        return ERR_INVALID;
    char *room = buf_extend(out, bytes);
    if (room == NULL)
        return out->err;
    int rc = base64_digits_decode(text, (uint8_t *)room);
    if (rc != ERR_NONE) {
        out->n = before;
        out->p[before] = '\0';
    }
    return rc;
}

int
base64_decode_exact(struct slice text, void *out, size_t n)
{
    size_t bytes;
    if (base64_measure(&text, &bytes) != ERR_NONE || bytes != n)
        return ERR_INVALID;
    return base64_digits_decode(text, out);
}

/* ---- random ---- */

void
random_bytes(void *out, size_t n)
{
    char *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        CHK(got > 0 || (got < 0 && errno == EINTR));
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
}
