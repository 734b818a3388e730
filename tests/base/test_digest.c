/* Digests against published vectors, CRCs against a bitwise model, texts against RFC 4648. */
#include "base/buf.h"
#include "base/crc_priv.h"
#include "base/digest.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
assert_hex(const void *bytes, size_t n, const char *want)
{
    char hex[2 * DIGEST_BYTES_MAX + 1];
    assert_true(n <= DIGEST_BYTES_MAX);
    hex_encode(bytes, n, hex);
    assert_string_equal(hex, want);
}

static void
test_md5(void **state)
{
    /* RFC 1321, A.5 */
    static const char *const vectors[][2] = {
        {"", "d41d8cd98f00b204e9800998ecf8427e"},
        {"a", "0cc175b9c0f1b6a831c399e269772661"},
        {"abc", "900150983cd24fb0d6963f7d28e17f72"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
        {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
         "d174ab98d277d9f5a5611c2c9f419d9f"},
        {"1234567890123456789012345678901234567890123456789012345678901234567890"
         "1234567890",
         "57edf4a22be3c955ac49da2e2107b67a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint8_t out[MD5_BYTES];
        digest_md5(vectors[i][0], strlen(vectors[i][0]), out);
        assert_hex(out, sizeof out, vectors[i][1]);
    }
}

static const char *
sha1_of(const void *p, size_t n)
{
    static char hex[2 * SHA1_BYTES + 1];
    struct digester *d = digester_new(0, CHECKSUM_SHA1);
    digester_update(d, p, n);
    digester_end(d);
    hex_encode(digester_checksum(d), SHA1_BYTES, hex);
    digester_free(&d);
    assert_null(d);
    return hex;
}

static void
test_sha(void **state)
{
    /* FIPS 180-4 examples */
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    size_t million = 1000000;
    char *a = malloc(million);
    uint8_t out[SHA256_BYTES];
    (void)state;
    memset(a, 'a', million);
    assert_string_equal(sha1_of("abc", 3), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_string_equal(sha1_of(two, 56), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    assert_string_equal(sha1_of(a, million), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    digest_sha256("", 0, out);
    assert_hex(out, sizeof out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_sha256(NULL, 0, out);
    assert_hex(out, sizeof out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_sha256("abc", 3, out);
    assert_hex(out, sizeof out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_sha256(two, 56, out);
    assert_hex(out, sizeof out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    digest_sha256(a, million, out);
    assert_hex(out, sizeof out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(a);
}

static struct slice
filled(char *room, int byte, size_t n)
{
    memset(room, byte, n);
    return slice_of(room, n);
}

static void
test_hmac_sha256(void **state)
{
    /* RFC 4231, cases 1, 2, 3, 6, 7 */
    char k[131], d[152];
    uint8_t out[SHA256_BYTES];
    (void)state;
    digest_hmac_sha256(filled(k, 0x0b, 20), SLICE_LIT("Hi There"), out);
    assert_hex(out, sizeof out, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    digest_hmac_sha256(SLICE_LIT("Jefe"), SLICE_LIT("what do ya want for nothing?"), out);
    assert_hex(out, sizeof out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    digest_hmac_sha256(filled(k, 0xaa, 20), filled(d, 0xdd, 50), out);
    assert_hex(out, sizeof out, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    digest_hmac_sha256(filled(k, 0xaa, 131),
                       SLICE_LIT("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    assert_hex(out, sizeof out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    digest_hmac_sha256(filled(k, 0xaa, 131),
                       SLICE_LIT("This is a test using a larger than block-size key and a larger "
                                 "than block-size data. The key needs to be hashed before being "
                                 "used by the HMAC algorithm."),
                       out);
    assert_hex(out, sizeof out, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
    /* Nothing with nothing: no pointer at all is allowed. */
    digest_hmac_sha256(SLICE_NONE, SLICE_NONE, out);
    assert_hex(out, sizeof out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void
test_hmac_sha1(void **state)
{
    /* RFC 2202, cases 1, 2, 3, 6, 7 */
    char k[80], d[50];
    uint8_t out[SHA1_BYTES];
    (void)state;
    digest_hmac_sha1(filled(k, 0x0b, 20), SLICE_LIT("Hi There"), out);
    assert_hex(out, sizeof out, "b617318655057264e28bc0b6fb378c8ef146be00");
    digest_hmac_sha1(SLICE_LIT("Jefe"), SLICE_LIT("what do ya want for nothing?"), out);
    assert_hex(out, sizeof out, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    digest_hmac_sha1(filled(k, 0xaa, 20), filled(d, 0xdd, 50), out);
    assert_hex(out, sizeof out, "125d7342b9ac11cd91a39af48aa17b4f63f175d3");
    digest_hmac_sha1(filled(k, 0xaa, 80),
                     SLICE_LIT("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    assert_hex(out, sizeof out, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    digest_hmac_sha1(filled(k, 0xaa, 80),
                     SLICE_LIT("Test Using Larger Than Block-Size Key and Larger Than One "
                               "Block-Size Data"),
                     out);
    assert_hex(out, sizeof out, "e8e99d0f45237d786d6bbaa7965c7808bbff1a91");
}

static void
test_crc_known(void **state)
{
    uint8_t b[32];
    /* RFC 3720, B.4: a SCSI Read (10) command PDU */
    static const uint8_t pdu[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
    (void)state;
    assert_int_equal(digest_crc32(0, "123456789", 9), 0xcbf43926);
    assert_int_equal(digest_crc32c(0, "123456789", 9), 0xe3069283);
    assert_true(digest_crc64nvme(0, "123456789", 9) == 0xae8b14860a799888u);
    assert_int_equal(digest_crc32(0, NULL, 0), 0);
    assert_int_equal(digest_crc32c(0, NULL, 0), 0);
    assert_true(digest_crc64nvme(0, NULL, 0) == 0);
    memset(b, 0, sizeof b);
    assert_int_equal(digest_crc32c(0, b, sizeof b), 0x8a9136aa);
    memset(b, 0xff, sizeof b);
    assert_int_equal(digest_crc32c(0, b, sizeof b), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        b[i] = i;
    assert_int_equal(digest_crc32c(0, b, sizeof b), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++)
        b[i] = (uint8_t)(31 - i);
    assert_int_equal(digest_crc32c(0, b, sizeof b), 0x113fdb5c);
    assert_int_equal(digest_crc32c(0, pdu, sizeof pdu), 0xd9963a56);
    assert_int_equal(crc32c_software(0, pdu, sizeof pdu), 0xd9963a56);
}

/* A reflected CRC one bit at a time: what the tables and the instruction must agree with. */
static uint64_t
bitwise(uint64_t poly, unsigned width, const uint8_t *p, size_t n)
{
    uint64_t ones = width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
    uint64_t v = ones;
    for (size_t i = 0; i < n; i++) {
        v ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            v = (v >> 1) ^ ((v & 1) != 0 ? poly : 0);
    }
    return v ^ ones;
}

static void
check_crcs(const uint8_t *p, size_t n, size_t split)
{
    uint32_t c32 = (uint32_t)bitwise(0xedb88320u, 32, p, n);
    uint32_t c32c = (uint32_t)bitwise(0x82f63b78u, 32, p, n);
    uint64_t c64 = bitwise(0x9a6c9329ac4bc9b5u, 64, p, n);
    assert_int_equal(digest_crc32(digest_crc32(0, p, split), p + split, n - split), c32);
    assert_int_equal(digest_crc32c(digest_crc32c(0, p, split), p + split, n - split), c32c);
    assert_int_equal(crc32c_software(crc32c_software(0, p, split), p + split, n - split), c32c);
    assert_true(digest_crc64nvme(digest_crc64nvme(0, p, split), p + split, n - split) == c64);
}

static void
test_crc_model(void **state)
{
    /* Beyond three streams of the interleaved loop, twice over, and every alignment. */
    enum { MAX = 8000 };
    uint8_t *bytes = malloc(MAX + 16);
    uint16_t pick[3];
    (void)state;
    random_bytes(bytes, MAX + 16);
    for (size_t n = 0; n < 100; n++)
        check_crcs(bytes + n % 8, n, n / 3);
    for (int round = 0; round < 150; round++) {
        random_bytes(pick, sizeof pick);
        size_t n = pick[0] % (MAX + 1);
        check_crcs(bytes + pick[1] % 16, n, n == 0 ? 0 : pick[2] % n);
    }
    check_crcs(bytes, 3072, 0);
    check_crcs(bytes, 3071, 0);
    check_crcs(bytes, 6144, 3072);
    if (!crc32c_is_hardware())
        print_message("no SSE4.2 here: only the table form of CRC-32C was tested\n");
    free(bytes);
}

static void
sum(enum checksum c, const uint8_t *p, size_t n, uint8_t *out)
{
    struct digester *d = digester_new(0, c);
    digester_update(d, p, n);
    digester_end(d);
    memcpy(out, digester_checksum(d), checksum_bytes(c));
    digester_free(&d);
}

/* The join against the sum of all the bytes, for any split, also in three. */
static void
test_crc_join(void **state)
{
    (void)state;
    static uint8_t bytes[70000];
    static const size_t splits[] = {0, 1, 2, 7, 8, 255, 256, 4095, 65535, 65536, 69999, 70000};
    static const enum checksum joins[] = {CHECKSUM_CRC32, CHECKSUM_CRC32C, CHECKSUM_CRC64NVME};
    random_bytes(bytes, sizeof bytes);
    for (size_t k = 0; k < sizeof joins / sizeof joins[0]; k++) {
        enum checksum c = joins[k];
        uint8_t whole[DIGEST_BYTES_MAX], a[DIGEST_BYTES_MAX], b[DIGEST_BYTES_MAX];
        assert_true(checksum_joins(c));
        sum(c, bytes, sizeof bytes, whole);
        for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
            size_t n = splits[i], rest = sizeof bytes - n;
            sum(c, bytes, n, a);
            sum(c, bytes + n, rest / 2, b);
            checksum_join(c, a, b, (int64_t)(rest / 2));
            sum(c, bytes + n + rest / 2, rest - rest / 2, b);
            checksum_join(c, a, b, (int64_t)(rest - rest / 2));
            assert_memory_equal(a, whole, checksum_bytes(c));
        }
    }
    assert_false(checksum_joins(CHECKSUM_NONE) || checksum_joins(CHECKSUM_SHA1) ||
                 checksum_joins(CHECKSUM_SHA256));
}

/* Lengths that nobody computes directly: joining a stretch of zeros in two steps or in one is the
 * same, up to what an object may hold. */
static void
test_crc_join_long(void **state)
{
    (void)state;
    static const enum checksum joins[] = {CHECKSUM_CRC32, CHECKSUM_CRC32C, CHECKSUM_CRC64NVME};
    static const int64_t lengths[] = {1, (int64_t)5 << 30, ((int64_t)5 << 40) - 3};
    for (size_t k = 0; k < sizeof joins / sizeof joins[0]; k++) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            uint8_t once[8] = "abcdefg", twice[8] = "abcdefg", nothing[8] = "";
            checksum_join(joins[k], once, nothing, lengths[i] + 12345);
            checksum_join(joins[k], twice, nothing, 12345);
            assert_true(memcmp(once, twice, checksum_bytes(joins[k])) != 0);
            checksum_join(joins[k], twice, nothing, lengths[i]);
            assert_memory_equal(once, twice, checksum_bytes(joins[k]));
        }
    }
}

static void
test_checksum_names(void **state)
{
    (void)state;
    assert_int_equal(checksum_by_name(SLICE_LIT("crc32")), CHECKSUM_CRC32);
    assert_int_equal(checksum_by_name(SLICE_LIT("CRC32C")), CHECKSUM_CRC32C);
    assert_int_equal(checksum_by_name(SLICE_LIT("CRC64NVME")), CHECKSUM_CRC64NVME);
    assert_int_equal(checksum_by_name(SLICE_LIT("Sha1")), CHECKSUM_SHA1);
    assert_int_equal(checksum_by_name(SLICE_LIT("sha256")), CHECKSUM_SHA256);
    assert_int_equal(checksum_by_name(SLICE_LIT("sha25")), CHECKSUM_NONE);
    assert_int_equal(checksum_by_name(SLICE_LIT("sha2566")), CHECKSUM_NONE);
    assert_int_equal(checksum_by_name(SLICE_NONE), CHECKSUM_NONE);
    assert_string_equal(checksum_name(CHECKSUM_CRC64NVME), "crc64nvme");
    assert_string_equal(checksum_name(CHECKSUM_NONE), "");
    assert_int_equal(checksum_bytes(CHECKSUM_CRC32), 4);
    assert_int_equal(checksum_bytes(CHECKSUM_CRC64NVME), 8);
    assert_int_equal(checksum_bytes(CHECKSUM_SHA256), 32);
    assert_int_equal(checksum_bytes(CHECKSUM_NONE), 0);
}

static void
test_digester(void **state)
{
    static const char *const want[CHECKSUM_COUNT] = {
        [CHECKSUM_CRC32] = "cbf43926",
        [CHECKSUM_CRC32C] = "e3069283",
        [CHECKSUM_CRC64NVME] = "ae8b14860a799888",
        [CHECKSUM_SHA1] = "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
        [CHECKSUM_SHA256] = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    };
    (void)state;
    for (int c = CHECKSUM_NONE; c < CHECKSUM_COUNT; c++) {
        struct digester *d = digester_new(DIGEST_MD5 | DIGEST_SHA256, (enum checksum)c);
        digester_update(d, "12345", 5);
        digester_update(d, NULL, 0);
        digester_update(d, "6789", 4);
        digester_end(d);
        assert_hex(digester_md5(d), MD5_BYTES, "25f9e794323b453885f5181f1b624d0b");
        assert_hex(digester_sha256(d), SHA256_BYTES, want[CHECKSUM_SHA256]);
        if (c != CHECKSUM_NONE)
            assert_hex(digester_checksum(d), checksum_bytes((enum checksum)c), want[c]);
        digester_free(&d);
    }
    struct digester *none = NULL;
    digester_free(&none);
}

static void
test_hex(void **state)
{
    uint8_t out[3];
    char text[7];
    (void)state;
    hex_encode("\x00\xab\xff", 3, text);
    assert_string_equal(text, "00abff");
    assert_int_equal(hex_decode(SLICE_LIT("00aBFf"), out, 3), ERR_NONE);
    assert_memory_equal(out, "\x00\xab\xff", 3);
    assert_int_equal(hex_decode(SLICE_LIT("00abf"), out, 3), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE_LIT("00abfff"), out, 3), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE_LIT("00abff00"), out, 3), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE_LIT("00abfg"), out, 3), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE_LIT("00ab f"), out, 3), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE_LIT("00ab:f"), out, 3), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE_NONE, out, 0), ERR_NONE);
}

static void
test_base64(void **state)
{
    /* RFC 4648, section 10 */
    static const char *const vectors[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xfb\xff\xfe", "+//+"},
    };
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const char *plain = vectors[i][0], *text = vectors[i][1];
        char exact[8];
        buf_reset(&b);
        base64_encode(&b, plain, strlen(plain));
        assert_true(slice_eqs(buf_slice(&b), text));
        buf_reset(&b);
        buf_puts(&b, "x");
        assert_int_equal(base64_decode(&b, slice_str(text)), ERR_NONE);
        assert_true(slice_eqs(slice_skip(buf_slice(&b), 1), plain));
        assert_int_equal(base64_decode_exact(slice_str(text), exact, strlen(plain)), ERR_NONE);
        assert_memory_equal(exact, plain, strlen(plain));
        assert_int_equal(base64_decode_exact(slice_str(text), exact, strlen(plain) + 1),
                         ERR_INVALID);
    }
    buf_fini(&b);
}

static void
test_base64_strict(void **state)
{
    static const char *const bad[] = {
        "Z",        "Zg",       "Zg=",   "Zg==Zg==", "Z===",   "====",     "=",
        "Zm8=Zm9v", "Zh==",     "Zm9=",  "Zm 9",     "Zm9v\n", "\nZm9v",   "Zm-_",
        "Z=g=",     "Zm9vYg=a", "Zm8==", "Zg==\n",   " Zg=",   "Zm9vZ===",
    };
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    buf_puts(&b, "kept");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (base64_decode(&b, slice_str(bad[i])) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
        assert_string_equal(b.p, "kept");
        assert_int_equal(b.n, 4);
    }
    /* A NUL inside is a byte like any other bad one. */
    assert_int_equal(base64_decode(&b, slice_of("Zm\0v", 4)), ERR_INVALID);
    buf_fini(&b);
    buf_init(&b, 5);
    assert_int_equal(base64_decode(&b, SLICE_LIT("Zm9vYmFy")), ERR_TOOBIG);
    buf_fini(&b);
}

static void
test_equal_and_random(void **state)
{
    uint8_t a[64] = {0}, b[64] = {0};
    (void)state;
    assert_true(digest_equal("abcd", "abcd", 4));
    assert_false(digest_equal("abcd", "abce", 4));
    assert_false(digest_equal("abcd", "bbcd", 4));
    assert_true(digest_equal("abcd", "abce", 3));
    random_bytes(a, sizeof a);
    random_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_md5),
        cmocka_unit_test(test_sha),
        cmocka_unit_test(test_hmac_sha256),
        cmocka_unit_test(test_hmac_sha1),
        cmocka_unit_test(test_crc_known),
        cmocka_unit_test(test_crc_model),
        cmocka_unit_test(test_crc_join),
        cmocka_unit_test(test_crc_join_long),
        cmocka_unit_test(test_checksum_names),
        cmocka_unit_test(test_digester),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_base64_strict),
        cmocka_unit_test(test_equal_and_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
