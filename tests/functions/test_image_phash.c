/* The perceptual hash: of pictures made here, whose answer is known, and of the samples through the
 * worker's own road. */
#include "functions/image.h"
#include "functions/image_phash.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ALIKE_BITS 6    /* the same picture */
#define UNALIKE_BITS 16 /* another one */

static const struct image_limits limits = {50000000, 100000000};

static int
bits_between(uint64_t a, uint64_t b)
{
    return __builtin_popcountll(a ^ b);
}

/* ---- known answers ---- */

static uint8_t pixels[PHASH_SIDE_MAX * PHASH_SIDE_MAX * 4];

static void
fill(int w, int h, uint8_t (*grey)(double x, double y))
{
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            uint8_t *p = pixels + 4 * (y * w + x);
            p[0] = p[1] = p[2] = grey((x + 0.5) / w, (y + 0.5) / h);
            p[3] = 255;
        }
    }
}

static uint8_t
flat(double x, double y)
{
    (void)x;
    (void)y;
    return 77;
}

/* One term of the transform: three half waves across, two down; exact at 32x32, the mean is 128. */
static uint8_t
wave(double x, double y)
{
    return (uint8_t)(128.5 + 100 * cos(M_PI * 3 * x) * cos(M_PI * 2 * y));
}

static void
test_known(void **state)
{
    (void)state;
    fill(32, 32, flat); /* nothing but the constant */
    assert_int_equal(phash_make(pixels, 32, 32), 0x8000000000000000u);
    fill(100, 57, flat);
    assert_int_equal(phash_make(pixels, 100, 57), 0x8000000000000000u);
    fill(1, 1, flat);
    assert_int_equal(phash_make(pixels, 1, 1), 0x8000000000000000u);
    /* The wave's own bit, the 4th of the third row, is by far the largest besides the constant:
     * turning the picture's sign clears it. */
    fill(32, 32, wave);
    uint64_t bit = 1ull << (63 - (2 * 8 + 3));
    assert_true((phash_make(pixels, 32, 32) & bit) != 0);
    for (int i = 0; i < 32 * 32; i++)
        pixels[4 * i] = pixels[4 * i + 1] = pixels[4 * i + 2] = (uint8_t)(255 - pixels[4 * i]);
    assert_true((phash_make(pixels, 32, 32) & bit) == 0);
}

/* What shines through is white. */
static void
test_alpha(void **state)
{
    (void)state;
    fill(40, 30, wave);
    for (int i = 0; i < 40 * 15; i++)
        memset(pixels + 4 * i, 255, 4);
    uint64_t white = phash_make(pixels, 40, 30);
    for (int i = 0; i < 40 * 15; i++)
        memset(pixels + 4 * i, 0, 4);
    assert_int_equal(phash_make(pixels, 40, 30), white);
}

/* ---- real pictures ---- */

static uint64_t
hash_bytes(struct slice bytes, const struct preset *p, struct image_output *out)
{
    static struct image_sample sample;
    struct image *im = NULL;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    if (image_open(&im, bytes, sniff(bytes), &limits, &why) != ERR_NONE)
        fail_msg("%s", why.p);
    double scale = image_sample_scale(im);
    if (p != NULL && image_preset_scale(im, p) > scale)
        scale = image_preset_scale(im, p);
    assert_int_equal(image_decode(im, scale, &why), ERR_NONE);
    assert_int_equal(image_sample(im, &sample, &why), ERR_NONE);
    if (p != NULL)
        assert_int_equal(image_render(im, p, out, &why), ERR_NONE);
    image_free(&im);
    buf_fini(&why);
    return phash_make(sample.rgba, sample.width, sample.height);
}

static void
read_sample(const char *name, struct buf *bytes)
{
    char path[4096];
    const char *top = getenv("DARKROOM_TOP");
    snprintf(path, sizeof(path), "%s/samples/%s", top == NULL ? "." : top, name);
    assert_int_equal(fsio_read_file(path, bytes), ERR_NONE);
}

/* Small, in another format, badly compressed: still the same picture. */
static void
test_same_picture(void **state)
{
    (void)state;
    static const char *const names[] = {"parrots.png", "landscape-turned.jpg", "phone-gps.jpg",
                                        "motocross.heic", "grey.jpg"};
    static const struct preset presets[] = {
        {.name = "a",
         .width = 300,
         .height = 300,
         .fit = PRESET_INSIDE,
         .format = PRESET_JPEG,
         .quality = 30},
        {.name = "b",
         .width = 90,
         .height = 90,
         .fit = PRESET_INSIDE,
         .format = PRESET_WEBP,
         .quality = 60},
        {.name = "c",
         .width = 500,
         .height = 200,
         .fit = PRESET_INSIDE,
         .format = PRESET_AVIF,
         .quality = 40},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct buf bytes;
        buf_init(&bytes, 64u << 20);
        read_sample(names[i], &bytes);
        for (size_t k = 0; k < ARRAY_LEN(presets); k++) {
            struct image_output out;
            uint64_t whole = hash_bytes(buf_slice(&bytes), &presets[k], &out);
            uint64_t small = hash_bytes(out.bytes, NULL, NULL);
            if (bits_between(whole, small) > ALIKE_BITS)
                fail_msg("%s, preset %s: %d bits differ", names[i], presets[k].name,
                         bits_between(whole, small));
            image_output_free(&out);
        }
        buf_fini(&bytes);
    }
}

/* The same motif in two files is one picture; every other pair is two. */
static void
test_other_pictures(void **state)
{
    (void)state;
    static const char *const names[] = {"parrots.png",    "parrots.tif",    "parrots.gif",
                                        "motocross.avif", "motocross.heic", "landscape-turned.jpg",
                                        "phone-gps.jpg",  "grey.jpg"};
    uint64_t hashes[ARRAY_LEN(names)];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct buf bytes;
        buf_init(&bytes, 64u << 20);
        read_sample(names[i], &bytes);
        hashes[i] = hash_bytes(buf_slice(&bytes), NULL, NULL);
        buf_fini(&bytes);
        for (size_t k = 0; k < i; k++) {
            bool same = memcmp(names[i], names[k], 5) == 0;
            int bits = bits_between(hashes[i], hashes[k]);
            if (same ? bits > ALIKE_BITS : bits < UNALIKE_BITS)
                fail_msg("%s and %s: %d bits differ", names[i], names[k], bits);
        }
    }
}

static int
start(void **state)
{
    struct buf why;
    (void)state;
    buf_init(&why, IMAGE_WHY_MAX);
    int err = image_start(&why);
    if (err != ERR_NONE)
        printf("%s\n", why.p);
    buf_fini(&why);
    return err == ERR_NONE ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_alpha),
        cmocka_unit_test(test_same_picture),
        cmocka_unit_test(test_other_pictures),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
