/*
 * The CRC of two stretches of bytes from the CRCs of each: nothing is read.
 *
 * A CRC is the remainder of the bytes, taken as a polynomial over GF(2), modulo P. Bytes with n
 * more behind them weigh x^(8n) as much, so
 *
 *   crc(AB) = crc(A) * x^(8 |B|) + crc(B)   (mod P)
 *
 * The ones that all three CRCs start and end with cancel out. The polynomials are reflected: the
 * highest bit of the word is x^0. x^(8 2^k) is kept for every k, so a power costs one product per
 * one bit of the length. https://zlib.net/crc_v3.txt; N. Rocksoft's parameters of CRC-64/NVME.
 */
#include "base/chk.h"
#include "base/crc_priv.h"
#include "base/digest.h"

#include <pthread.h>

#define LENGTH_BITS 63

struct field {
    unsigned width;
    uint64_t poly;
    uint64_t powers[LENGTH_BITS]; /* x^(8 2^k) mod P */
};

static struct field fields[] = {
    [CHECKSUM_CRC32] = {.width = 32, .poly = CRC32_POLY},
    [CHECKSUM_CRC32C] = {.width = 32, .poly = CRC32C_POLY},
    [CHECKSUM_CRC64NVME] = {.width = 64, .poly = CRC64NVME_POLY},
};

static pthread_once_t powers_once = PTHREAD_ONCE_INIT;

static uint64_t
product(const struct field *f, uint64_t a, uint64_t b)
{
    uint64_t sum = 0;
    for (uint64_t bit = (uint64_t)1 << (f->width - 1); bit != 0; bit >>= 1) {
        if ((a & bit) != 0)
            sum ^= b;
        b = (b >> 1) ^ ((b & 1) != 0 ? f->poly : 0);
    }
    return sum;
}

static void
make_powers(void)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct field *f = &fields[i];
        if (f->width == 0)
            continue;
        f->powers[0] = (uint64_t)1 << (f->width - 1 - 8);
        for (size_t k = 1; k < LENGTH_BITS; k++)
            f->powers[k] = product(f, f->powers[k - 1], f->powers[k - 1]);
    }
}

bool
checksum_joins(enum checksum c)
{
    return c == CHECKSUM_CRC32 || c == CHECKSUM_CRC32C || c == CHECKSUM_CRC64NVME;
}

void
checksum_join(enum checksum c, uint8_t *a, const uint8_t *b, int64_t b_bytes)
{
    CHK(checksum_joins(c) && b_bytes >= 0);
    pthread_once(&powers_once, make_powers);
    const struct field *f = &fields[c];
    uint64_t crc = 0;
    size_t n = checksum_bytes(c);
    for (size_t i = 0; i < n; i++)
        crc = crc << 8 | a[i];
    for (size_t k = 0; b_bytes != 0; b_bytes >>= 1, k++) {
        if ((b_bytes & 1) != 0)
            crc = product(f, crc, f->powers[k]);
    }
    for (size_t i = 0; i < n; i++)
        a[i] = (uint8_t)(crc >> (8 * (n - 1 - i))) ^ b[i];
}
