/*
 * CRC-32, CRC-32C and CRC-64/NVME: all three are reflected, start at all ones and end inverted, so
 * a running value handed out and taken in again is the finished CRC of what came before.
 *
 * Tables of eight 256-entry slices per polynomial are made at first use: slice k holds the effect
 * of a byte that has k zero bytes behind it, so eight bytes are folded in with eight look-ups that
 * do not wait for each other. CRC-32C uses the SSE4.2 instruction where the machine has it, three
 * streams abreast, because the instruction takes three cycles but starts every cycle; the streams
 * are joined by moving a CRC over a fixed number of zero bytes, which is linear and so a table too.
 */
#include "base/crc_priv.h"
#include "base/digest.h"

#include <endian.h>
#include <pthread.h>

#define SLICES 8

/* Bytes of one of the three streams; a multiple of 8. */
#define STREAM_BYTES 1024

static uint32_t crc32_table[SLICES][256];
static uint32_t crc32c_table[SLICES][256];
static uint64_t crc64_table[SLICES][256];

/* What STREAM_BYTES zero bytes do to each byte of a CRC-32C. */
static uint32_t zeros_table[4][256];

static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void
make_table32(uint32_t table[SLICES][256], uint32_t poly)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t v = i;
        for (int bit = 0; bit < 8; bit++)
            v = (v >> 1) ^ ((v & 1) != 0 ? poly : 0);
        table[0][i] = v;
    }
    for (size_t k = 1; k < SLICES; k++) {
        for (size_t i = 0; i < 256; i++)
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
    }
}

static void
make_table64(uint64_t table[SLICES][256], uint64_t poly)
{
    for (uint64_t i = 0; i < 256; i++) {
        uint64_t v = i;
        for (int bit = 0; bit < 8; bit++)
            v = (v >> 1) ^ ((v & 1) != 0 ? poly : 0);
        table[0][i] = v;
    }
    for (size_t k = 1; k < SLICES; k++) {
        for (size_t i = 0; i < 256; i++)
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
    }
}

static void
make_zeros_table(void)
{
    for (size_t byte = 0; byte < 4; byte++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t v = i << (8 * byte);
            for (size_t k = 0; k < STREAM_BYTES; k++)
                v = (v >> 8) ^ crc32c_table[0][v & 0xff];
            zeros_table[byte][i] = v;
        }
    }
}

static void
make_tables(void)
{
    make_table32(crc32_table, CRC32_POLY);
    make_table32(crc32c_table, CRC32C_POLY);
    make_table64(crc64_table, CRC64NVME_POLY);
    make_zeros_table();
}

static void
need_tables(void)
{
    pthread_once(&tables_once, make_tables);
}

static inline uint64_t
load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static uint32_t
crc_sliced32(uint32_t table[SLICES][256], uint32_t crc, const unsigned char *p, size_t n)
{
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v = load64(p) ^ crc;
        crc = table[7][v & 0xff] ^ table[6][v >> 8 & 0xff] ^ table[5][v >> 16 & 0xff] ^
              table[4][v >> 24 & 0xff] ^ table[3][v >> 32 & 0xff] ^ table[2][v >> 40 & 0xff] ^
              table[1][v >> 48 & 0xff] ^ table[0][v >> 56];
    }
    for (; n > 0; n--, p++)
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

uint32_t
crc32c_software(uint32_t crc, const void *p, size_t n)
{
    need_tables();
    return crc_sliced32(crc32c_table, crc, p, n);
}

#if defined(__x86_64__)

static inline uint32_t
over_zeros(uint32_t crc)
{
    return zeros_table[0][crc & 0xff] ^ zeros_table[1][crc >> 8 & 0xff] ^
           zeros_table[2][crc >> 16 & 0xff] ^ zeros_table[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t
crc32c_hardware(uint32_t crc, const unsigned char *p, size_t n)
{
    uint64_t a = ~crc;
    for (; n >= 3 * (size_t)STREAM_BYTES; n -= 3 * STREAM_BYTES, p += 3 * STREAM_BYTES) {
        uint64_t b = 0, c = 0;
        for (size_t i = 0; i < STREAM_BYTES; i += 8) {
            a = __builtin_ia32_crc32di(a, load64(p + i));
            b = __builtin_ia32_crc32di(b, load64(p + STREAM_BYTES + i));
            c = __builtin_ia32_crc32di(c, load64(p + 2 * STREAM_BYTES + i));
        }
        a = over_zeros(over_zeros((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
    }
    for (; n >= 8; n -= 8, p += 8)
        a = __builtin_ia32_crc32di(a, load64(p));
    uint32_t v = (uint32_t)a;
    for (; n > 0; n--, p++)
        v = __builtin_ia32_crc32qi(v, *p);
    return ~v;
}

bool
crc32c_is_hardware(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}

uint32_t
digest_crc32c(uint32_t crc, const void *p, size_t n)
{
    if (!crc32c_is_hardware())
        return crc32c_software(crc, p, n);
    need_tables();
    return crc32c_hardware(crc, p, n);
}

#else

bool
crc32c_is_hardware(void)
{
    return false;
}

uint32_t
digest_crc32c(uint32_t crc, const void *p, size_t n)
{
    return crc32c_software(crc, p, n);
}

#endif

uint32_t
digest_crc32(uint32_t crc, const void *p, size_t n)
{
    need_tables();
    return crc_sliced32(crc32_table, crc, p, n);
}

uint64_t
digest_crc64nvme(uint64_t crc, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    need_tables();
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v = load64(p) ^ crc;
        crc = crc64_table[7][v & 0xff] ^ crc64_table[6][v >> 8 & 0xff] ^
              crc64_table[5][v >> 16 & 0xff] ^ crc64_table[4][v >> 24 & 0xff] ^
              crc64_table[3][v >> 32 & 0xff] ^ crc64_table[2][v >> 40 & 0xff] ^
              crc64_table[1][v >> 48 & 0xff] ^ crc64_table[0][v >> 56];
    }
    for (; n > 0; n--, p++)
        crc = (crc >> 8) ^ crc64_table[0][(crc ^ *p) & 0xff];
    return ~crc;
}
