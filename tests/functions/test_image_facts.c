/* What is read out of foreign bytes without a codec: EXIF, ICC, the shape of a JPEG; and what is
 * computed from pixels: ThumbHash, palette. */
#include "functions/image_exif.h"
#include "functions/image_icc.h"
#include "functions/image_jpeg.h"
#include "functions/image_palette.h"
#include "functions/image_thumbhash.h"
#include "functions/image_webp.h"
#include "functions/text.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "tests/functions/pictures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* The EXIF block of picture_jpeg: behind SOI and the APP1 marker. */
static struct slice
exif_block(void)
{
    size_t n = (size_t)picture_jpeg[4] << 8 | picture_jpeg[5];
    return slice_of(picture_jpeg + 6, n - 2);
}

static void
test_exif(void **state)
{
    (void)state;
    struct exif_facts e;
    exif_read(exif_block(), &e);
    assert_string_equal(e.camera_make, "Pinhole");
    assert_string_equal(e.camera_model, "");
    assert_string_equal(e.exposure_time, "1/250");
    assert_string_equal(e.taken_at, "2016-05-01T12:34:56");
    assert_int_equal(e.iso, 200);
    assert_true(e.has_position && !e.has_altitude);
    assert_true(e.latitude > -33.856001 && e.latitude < -33.855999);
    assert_true(e.longitude > 151.209999 && e.longitude < 151.210001);
    /* The same without the six bytes before it. */
    struct exif_facts bare;
    exif_read(slice_skip(exif_block(), 6), &bare);
    assert_memory_equal(&e, &bare, sizeof(e));
}

/* A maker's name of 60,000 bytes is cut; what stands beside it is still found. */
static void
test_exif_of_hostile_size(void **state)
{
    (void)state;
    static const char head[] = "MM\0*\0\0\0\x08\0\2"
                               "\x01\x0f\0\2\0\0\xea\x60\0\0\0\x26"
                               "\x01\x10\0\2\0\0\0\4Box\0\0\0\0\0";
    size_t n = 0x26 + 60000;
    char *bytes = chk_calloc(1, n);
    memset(bytes, 'm', n);
    memcpy(bytes, head, sizeof(head) - 1);
    struct exif_facts e;
    exif_read(slice_of(bytes, n), &e);
    assert_int_equal(strlen(e.camera_make), EXIF_TEXT_MAX - 1);
    assert_string_equal(e.camera_model, "Box");
    free(bytes);
}

/* Runs `read` over every beginning of `bytes`, and over it with every byte set to a few values, in
 * buffers of exactly the size: sanitizers see a step outside. */
static void
torture(struct slice bytes, void (*read)(struct slice))
{
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    for (size_t n = 0; n <= bytes.n; n++) {
        char *copy = malloc(n + (n == 0));
        memcpy(copy, bytes.p, n);
        read(slice_of(copy, n));
        free(copy);
    }
    char *copy = malloc(bytes.n);
    memcpy(copy, bytes.p, bytes.n);
    for (size_t i = 0; i < bytes.n; i++) {
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            copy[i] = (char)values[v];
            read(slice_of(copy, bytes.n));
        }
        copy[i] = bytes.p[i];
    }
    free(copy);
}

static void
read_exif(struct slice s)
{
    struct exif_facts e;
    exif_read(s, &e);
    assert_true(slice_is_utf8(slice_str(e.camera_make)));
    assert_true(!e.has_position || (e.latitude >= -90 && e.latitude <= 90));
}

static void
read_icc(struct slice s)
{
    struct icc_facts f;
    if (icc_read(s, &f) == ERR_NONE)
        assert_true(slice_is_utf8(slice_str(f.name)));
}

static void
read_jpeg(struct slice s)
{
    struct jpeg_facts f;
    if (jpeg_read(s, 99, 10, &f) == ERR_NONE)
        assert_true(f.scans <= 11 && f.coefficient_bytes >= 0);
}

/* ---- a profile made by hand ---- */

static void
put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static uint32_t
fixed(double v)
{
    return (uint32_t)(int32_t)(v * 65536 + (v < 0 ? -0.5 : 0.5));
}

#define PROFILE_BYTES 420

/* Matrix profile with these primaries' X of red, one parametric curve, an 'mluc' name. */
static void
make_profile(uint8_t p[PROFILE_BYTES], double red_x, double gamma)
{
    static const char tags[][5] = {"rXYZ", "gXYZ", "bXYZ", "rTRC", "gTRC", "bTRC", "desc"};
    const double xyz[3][3] = {
        {red_x, 0.2225, 0.0139}, {0.3851, 0.7169, 0.0971}, {0.1431, 0.0606, 0.7141}};
    const double curve[5] = {gamma, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045};
    memset(p, 0, PROFILE_BYTES);
    memcpy(p + 12, "mntrRGB XYZ ", 12);
    memcpy(p + 36, "acsp", 4);
    put32(p + 128, ARRAY_LEN(tags));
    size_t at = 132 + 12 * ARRAY_LEN(tags);
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        uint8_t *tag = p + 132 + 12 * i;
        size_t n = i < 3 ? 20 : i < 6 ? 32 : 28 + 12;
        memcpy(tag, tags[i], 4);
        put32(tag + 4, (uint32_t)(i > 3 && i < 6 ? at - 32 : at));
        put32(tag + 8, (uint32_t)n);
        if (i > 3 && i < 6)
            continue; /* the three curves are one */
        memcpy(p + at, i < 3 ? "XYZ " : i < 6 ? "para" : "mluc", 4);
        for (size_t k = 0; i < 3 && k < 3; k++)
            put32(p + at + 8 + 4 * k, fixed(xyz[i][k]));
        if (i == 3) {
            p[at + 9] = 3;
            for (size_t k = 0; k < 5; k++)
                put32(p + at + 12 + 4 * k, fixed(curve[k]));
        }
        if (i == 6) {
            put32(p + at + 8, 1);
            put32(p + at + 12, 12);
            put32(p + at + 20, 12);
            put32(p + at + 24, 28);
            memcpy(p + at + 28, "\0T\0e\0s\0t\0 \0\xe9", 12);
        }
        at += n;
    }
    put32(p, (uint32_t)at);
    assert_true(at <= PROFILE_BYTES);
}

static void
test_icc(void **state)
{
    (void)state;
    uint8_t p[PROFILE_BYTES];
    struct icc_facts f;
    make_profile(p, 0.4361, 2.4);
    assert_int_equal(icc_read(slice_of(p, sizeof(p)), &f), ERR_NONE);
    assert_string_equal(f.space, "RGB ");
    assert_string_equal(f.name, "Test \xc3\xa9");
    assert_true(f.is_srgb);
    make_profile(p, 0.5151, 2.4); /* Display P3's red */
    assert_int_equal(icc_read(slice_of(p, sizeof(p)), &f), ERR_NONE);
    assert_false(f.is_srgb);
    make_profile(p, 0.4361, 1.8); /* right primaries, wrong curve */
    assert_int_equal(icc_read(slice_of(p, sizeof(p)), &f), ERR_NONE);
    assert_false(f.is_srgb);
    assert_int_equal(icc_read(SLICE_LIT("no profile"), &f), ERR_INVALID);
}

/* ---- JPEG ---- */

#define SOF(type) \
    "\xff\xd8\xff" type "\x00\x11\x08\x00\x20\x00\x30\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
#define SOS "\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x12\x34\xff\x00\x56\xff\xd1\x78"
#define SOS3 "\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00\x12"
#define EOI "\xff\xd9"

static void
test_jpeg(void **state)
{
    (void)state;
    struct jpeg_facts f;
    /* Baseline, all components in one scan: streams by. */
    assert_int_equal(jpeg_read(SLICE_LIT(SOF("\xc0") SOS3 EOI), 99, 9, &f), ERR_NONE);
    assert_false(f.buffered);
    assert_int_equal(f.coefficient_bytes, 0);
    assert_int_equal(f.blocks, 3 * 2 * 6);
    assert_false(f.arithmetic);
    /* Segments are read one by one before anything else: there is a limit. */
    assert_int_equal(jpeg_read(SLICE_LIT(SOF("\xc9") SOS3 EOI), 2, 9, &f), ERR_NONE);
    assert_true(f.arithmetic);
    assert_int_equal(jpeg_read(SLICE_LIT("\xff\xe1\0\2" SOF("\xc9") SOS3 EOI), 2, 9, &f),
                     ERR_RANGE);
    /* Baseline, a scan per component. 48x32 at 4:2:0: 3x2 MCUs of 6 blocks of 64 x 2 bytes. */
    assert_int_equal(jpeg_read(SLICE_LIT(SOF("\xc0") SOS SOS SOS EOI), 99, 9, &f), ERR_NONE);
    assert_true(f.buffered);
    assert_int_equal(f.scans, 3);
    assert_int_equal(f.coefficient_bytes, 3 * 2 * 6 * 128);
    /* Progressive; a marker inside a segment counts for nothing, nor what follows the end. */
    assert_int_equal(
        jpeg_read(SLICE_LIT(SOF("\xc2") SOS3 "\xff\xfe\x00\x06\xff\xda\xff\xda" SOS EOI SOS), 99, 9,
                  &f),
        ERR_NONE);
    assert_int_equal(f.scans, 2);
    /* Counting stops behind the maximum. */
    assert_int_equal(jpeg_read(SLICE_LIT(SOF("\xc2") SOS SOS SOS SOS SOS), 99, 3, &f), ERR_NONE);
    assert_int_equal(f.scans, 4);
    assert_int_equal(jpeg_read(SLICE_LIT("\xff\xd8" SOS), 99, 3, &f), ERR_INVALID);
    assert_int_equal(jpeg_read(SLICE_LIT("\xff\xd8"), 99, 3, &f), ERR_INVALID);
}

/* ---- WebP ---- */

#define CHUNK(name, length, body) name length "\0\0\0" body
#define RIFF(length, chunks) "RIFF" length "\0\0\0WEBP" chunks

static void
test_webp(void **state)
{
    (void)state;
    static const char plain[] = RIFF("\x0f", CHUNK("VP8 ", "\3", "abc"));
    char odd[] =
        RIFF("\x3a", CHUNK("VP8X", "\x0a", "\x08\0\0\0\1\0\0\1\0\0") CHUNK("ICCP", "\2", "zz")
                         CHUNK("VP8 ", "\3", "abc\0") CHUNK("EXIF", "\4", "Exif"));
    size_t n = webp_strip(odd, sizeof(odd) - 1);
    assert_int_equal(n, 12 + 8 + 4);
    assert_int_equal(odd[4], 4 + 8 + 4);
    assert_memory_equal(odd + 12, plain + 12, 11);

    /* With alpha the first chunk stays, its other flags do not. */
    char alpha[] =
        RIFF("\x3a", CHUNK("VP8X", "\x0a", "\x38\0\0\0\1\0\0\1\0\0") CHUNK("ALPH", "\2", "zz")
                         CHUNK("VP8 ", "\4", "abcd") CHUNK("XMP ", "\4", "Exif"));
    assert_int_equal(webp_strip(alpha, sizeof(alpha) - 1), sizeof(alpha) - 1 - 12);
    assert_int_equal(alpha[20], 0x10);
    assert_memory_equal(alpha + 30, "ALPH", 4);

    char copy[sizeof(alpha)];
    for (size_t cut = 0; cut < sizeof(plain); cut++) {
        memcpy(copy, plain, cut);
        assert_int_equal(webp_strip(copy, cut), cut);
    }
}

static void
read_webp(struct slice s)
{
    char *copy = malloc(s.n + (s.n == 0));
    memcpy(copy, s.p, s.n);
    assert_true(webp_strip(copy, s.n) <= s.n);
    free(copy);
}

static void
test_torture(void **state)
{
    (void)state;
    uint8_t p[PROFILE_BYTES];
    make_profile(p, 0.4361, 2.4);
    torture(exif_block(), read_exif);
    torture(slice_of(p, sizeof(p)), read_icc);
    torture(slice_of(picture_jpeg, sizeof(picture_jpeg)), read_jpeg);
    static const char webp[] = RIFF("\x2e", CHUNK("VP8X", "\x0a", "\x08\0\0\0\1\0\0\1\0\0") CHUNK(
                                                "VP8 ", "\4", "abcd") CHUNK("EXIF", "\4", "Exif"));
    torture(slice_of(webp, sizeof(webp) - 1), read_webp);
    torture(slice_of(picture_tiff, sizeof(picture_tiff)), read_exif);
}

/* ---- pixels ---- */

/* Known answers of the published reference encoder for this pattern. */
static void
test_thumbhash(void **state)
{
    (void)state;
    static const struct {
        int w, h;
        bool alpha;
        const char *hash;
    } known[] = {
        {60, 40, false, "1cf8092598256987608787777868877729806bf187"},
        {40, 60, false, "1c280a1d146076737707777887784888c1a60077f8"},
        {50, 50, true, "6058860d0837744c735ba0a826646540f6e280878778787888"},
        {100, 7, false, "93d70a298a51707a72885888ba8f0da787"},
    };
    static uint8_t rgba[THUMBHASH_SIDE_MAX * THUMBHASH_SIDE_MAX * 4];
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        for (int y = 0; y < known[i].h; y++) {
            for (int x = 0; x < known[i].w; x++) {
                uint8_t *p = rgba + 4 * (y * known[i].w + x);
                p[0] = (uint8_t)(x * 5 + y);
                p[1] = (uint8_t)(y * 6);
                p[2] = (uint8_t)(x * y % 251);
                p[3] = known[i].alpha ? (uint8_t)(x * 5) : 255;
            }
        }
        uint8_t out[THUMBHASH_BYTES_MAX];
        char hex[2 * THUMBHASH_BYTES_MAX + 1];
        size_t n = thumbhash_make(rgba, known[i].w, known[i].h, out);
        hex_encode(out, n, hex);
        assert_string_equal(hex, known[i].hash);
    }
    uint8_t one[4] = {1, 2, 3, 0}, out[THUMBHASH_BYTES_MAX];
    assert_true(thumbhash_make(one, 1, 1, out) <= THUMBHASH_BYTES_MAX);
}

/* ---- a decoder of ThumbHash, from its public description ---- */

/* Sum of a channel's terms at a point in (0, 1); `*at` counts nibbles. */
static double
decode_terms(const uint8_t *hash, size_t *at, int nx, int ny, double scale, double x, double y)
{
    double sum = 0;
    for (int v = 0; v < ny; v++) {
        for (int u = v == 0 ? 1 : 0; u * ny < nx * (ny - v); u++, (*at)++) {
            int nibble = *at % 2 == 0 ? hash[*at / 2] & 15 : hash[*at / 2] >> 4;
            sum += (nibble / 7.5 - 1) * scale * 2 * cos(M_PI * u * x) * cos(M_PI * v * y);
        }
    }
    return sum;
}

static double
unit(double v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

/* Red, green, blue and alpha in 0..1 at a point in (0, 1). */
static void
thumbhash_at(const uint8_t *hash, size_t n, double x, double y, double rgba[4])
{
    uint32_t head = hash[0] | (uint32_t)hash[1] << 8 | (uint32_t)hash[2] << 16;
    uint32_t shape = hash[3] | (uint32_t)hash[4] << 8;
    bool alpha = head >> 23, landscape = shape >> 15;
    int most = alpha ? 5 : 7, least = (int)(shape & 7);
    int lx = landscape ? most : least, ly = landscape ? least : most;
    size_t at = alpha ? 12 : 10;
    double l = (head & 63) / 63.0 + decode_terms(hash, &at, lx < 3 ? 3 : lx, ly < 3 ? 3 : ly,
                                                 (head >> 18 & 31) / 31.0, x, y);
    double p = (head >> 6 & 63) / 31.5 - 1 +
               decode_terms(hash, &at, 3, 3, (shape >> 3 & 63) / 63.0 * 1.25, x, y);
    double q = (head >> 12 & 63) / 31.5 - 1 +
               decode_terms(hash, &at, 3, 3, (shape >> 9 & 63) / 63.0 * 1.25, x, y);
    double a = 1;
    if (alpha)
        a = (hash[5] & 15) / 15.0 + decode_terms(hash, &at, 5, 5, (hash[5] >> 4) / 15.0, x, y);
    assert_int_equal((at + 1) / 2, n); /* consumed exactly */
    double b = l - 2.0 / 3 * p, r = (3 * l - b + q) / 2;
    rgba[0] = unit(r);
    rgba[1] = unit(r - q);
    rgba[2] = unit(b);
    rgba[3] = unit(a);
}

static const double corners[4][3] = {
    {0.80, 0.25, 0.20}, {0.30, 0.70, 0.35}, {0.25, 0.30, 0.75}, {0.85, 0.80, 0.30}};

/* Soft between the four corners' colours. */
static double
soft_color(double x, double y, int c)
{
    return (corners[0][c] * (1 - x) + corners[1][c] * x) * (1 - y) +
           (corners[2][c] * (1 - x) + corners[3][c] * x) * y;
}

/* What a browser shows while it waits has the picture's colours: on the whole, and where they are.
 * The constants are kept in 6 bits, P and Q over a range of 2: 0.03 of either is rounding. */
static void
test_thumbhash_decoded(void **state)
{
    (void)state;
    static const int sizes[][2] = {{100, 100}, {100, 40}, {31, 90}, {16, 16}};
    static uint8_t rgba[THUMBHASH_SIDE_MAX * THUMBHASH_SIDE_MAX * 4];
    for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
        int w = sizes[i / 2][0], h = sizes[i / 2][1];
        bool alpha = i % 2 == 1; /* the right half shines through */
        uint8_t hash[THUMBHASH_BYTES_MAX];
        double mean[3] = {0}, want[3] = {0}, at[4];
        for (int k = 0; k < w * h; k++) {
            double x = (k % w + 0.5) / w, y = ((double)(k / w) + 0.5) / h;
            for (int c = 0; c < 3; c++)
                rgba[4 * k + c] = (uint8_t)(255 * soft_color(x, y, c) + 0.5);
            rgba[4 * k + 3] = alpha && x > 0.5 ? 0 : 255;
        }
        size_t n = thumbhash_make(rgba, w, h, hash);
        assert_true(n <= THUMBHASH_BYTES_MAX && THUMBHASH_BYTES_MAX <= 40);
        for (int k = 0; k < 32 * 32; k++) {
            double x = (k % 32 + 0.5) / 32, y = ((double)(k / 32) + 0.5) / 32;
            thumbhash_at(hash, n, x, y, at);
            for (int c = 0; c < 3; c++) {
                mean[c] += at[c] / (32 * 32);
                want[c] += soft_color(alpha ? x / 2 : x, y, c) / (32 * 32); /* what is to be seen */
                if (!alpha && fabs(at[c] - soft_color(x, y, c)) > 0.2)
                    fail_msg("%dx%d at (%.2f, %.2f): channel %d is %.2f", w, h, x, y, c, at[c]);
            }
            if (alpha && fabs(x - 0.5) > 0.2)
                assert_int_equal(at[3] > 0.5, x < 0.5);
        }
        for (int c = 0; c < 3; c++)
            if (fabs(mean[c] - want[c]) > 0.04)
                fail_msg("%dx%d%s: channel %d is %.3f on the whole and not %.3f", w, h,
                         alpha ? " with alpha" : "", c, mean[c], want[c]);
    }
}

static void
test_palette(void **state)
{
    (void)state;
    uint8_t rgba[100 * 4];
    for (int i = 0; i < 100; i++) {
        static const uint8_t colors[][4] = {
            {10, 10, 10, 255}, {200, 0, 0, 255}, {14, 12, 11, 255}, {0, 0, 250, 10}};
        /* 60 dark, 25 red, 10 nearly as dark, 5 see-through blue */
        memcpy(rgba + 4 * i, colors[i < 60 ? 0 : i < 85 ? 1 : i < 95 ? 2 : 3], 4);
    }
    struct palette p;
    palette_make(rgba, 100, &p);
    assert_int_equal(p.count, 2);
    assert_int_equal(p.colors[0][0], 11); /* 60 x 10 and 10 x 14 */
    assert_int_equal(p.colors[1][0], 200);
    palette_make(rgba + 95 * 4, 5, &p);
    assert_int_equal(p.count, 0);
}

static void
test_text(void **state)
{
    (void)state;
    char out[16];
    assert_int_equal(text_clean(SLICE_LIT("  a\r\n\tb\x7f \0c"), out, sizeof(out)), 3);
    assert_string_equal(out, "a b");
    text_clean(SLICE_LIT("x\xff\xc3\xa9\xc2\x85y"), out, sizeof(out));
    assert_string_equal(out, "x \xc3\xa9 y");
    text_clean(SLICE_LIT("12345678901234\xc3\xa9"), out, sizeof(out));
    assert_string_equal(out, "12345678901234");
    assert_int_equal(text_clean(SLICE_NONE, out, 1), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exif),
        cmocka_unit_test(test_icc),
        cmocka_unit_test(test_torture),
        cmocka_unit_test(test_jpeg),
        cmocka_unit_test(test_thumbhash),
        cmocka_unit_test(test_palette),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_webp),
        cmocka_unit_test(test_thumbhash_decoded),
        cmocka_unit_test(test_exif_of_hostile_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
