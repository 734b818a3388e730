/*
 * Where pixels come to lie. The picture is made of two sine waves, so what any size of it should
 * look like is known without another resize: the wave at the place the pixel has come from.
 */
#include "functions/image.h"
#include "base/chk.h"
#include "base/err.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <vips/vips.h>

#include <cmocka.h>

#define AMPLITUDE 60
#define EDGE 3 /* the filter knows nothing beyond it */
/* Of one wave. Where it is steepest, a tenth of a pixel both ways are 4 levels of 255. */
#define WAVE_PIXELS 20.0
#define TOLERANCE 5.5

static const struct image_limits limits = {50000000, 100000000};

/* Value of the upright picture with so many waves across and down. */
static double
wave(double x, double y, double w, double h, double waves)
{
    return 128 + AMPLITUDE * sin(2 * M_PI * waves * (x + 0.5) / w) +
           AMPLITUDE * sin(2 * M_PI * waves * (y + 0.5) / h);
}

static VipsImage *
make(int w, int h, double waves)
{
    uint8_t *p = malloc((size_t)w * (size_t)h * 3);
    CHK(p != NULL);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            memset(p + 3 * ((size_t)y * (size_t)w + (size_t)x), (int)lrint(wave(x, y, w, h, waves)),
                   3);
    VipsImage *im =
        vips_image_new_from_memory_copy(p, (size_t)w * (size_t)h * 3, w, h, 3, VIPS_FORMAT_UCHAR);
    assert_non_null(im);
    im->Type = VIPS_INTERPRETATION_sRGB;
    free(p);
    return im;
}

/* The file of such a picture; JPEG or PNG. */
static struct slice
save(VipsImage *im, bool jpeg)
{
    void *p = NULL;
    size_t n = 0;
    int rc = jpeg ? vips_jpegsave_buffer(im, &p, &n, "Q", 95, NULL)
                  : vips_pngsave_buffer(im, &p, &n, "compression", 1, NULL);
    assert_int_equal(rc, 0);
    g_object_unref(im);
    return slice_of(p, n);
}

static struct preset
box(int side)
{
    return (struct preset){.name = "p",
                           .width = side,
                           .height = side,
                           .fit = PRESET_INSIDE,
                           .format = PRESET_PNG,
                           .quality = 90};
}

/* The largest distance of any pixel from what it should be. */
static double
worst(const struct image_output *out, double waves)
{
    VipsImage *im = vips_image_new_from_buffer(out->bytes.p, out->bytes.n, "", NULL);
    size_t n;
    assert_non_null(im);
    uint8_t *p = vips_image_write_to_memory(im, &n);
    assert_int_equal(n, (size_t)out->width * (size_t)out->height * 3);
    double largest = 0;
    for (int y = EDGE; y < out->height - EDGE; y++)
        for (int x = EDGE; x < out->width - EDGE; x++) {
            double want = wave(x, y, out->width, out->height, waves);
            double got = p[3 * (y * out->width + x) + 1];
            largest = fmax(largest, fabs(got - want));
        }
    g_free(p);
    g_object_unref(im);
    return largest;
}

/* Opens the file and decodes it for the first side, then renders all of them in this order. */
static void
check(struct slice bytes, const int *sides, size_t count, double waves)
{
    struct image *im = NULL;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(image_open(&im, bytes, sniff(bytes), &limits, &why), ERR_NONE);
    struct preset first = box(sides[0]);
    assert_int_equal(image_decode(im, image_preset_scale(im, &first), &why), ERR_NONE);
    for (size_t i = 0; i < count; i++) {
        struct preset p = box(sides[i]);
        struct image_output out;
        assert_int_equal(image_render(im, &p, &out, &why), ERR_NONE);
        double off = worst(&out, waves);
        if (off > TOLERANCE)
            fail_msg("side %d of %dx%d: %.1f away", sides[i], image_facts(im)->width,
                     image_facts(im)->height, off);
        image_output_free(&out);
    }
    image_free(&im);
    buf_fini(&why);
    g_free((void *)bytes.p);
}

static void
check_one(int w, int h, bool jpeg, int side)
{
    double waves = side / WAVE_PIXELS;
    check(save(make(w, h, waves), jpeg), &side, 1, waves);
}

/* A decoder that shrinks leaves out up to 7 pixels at the right and at the bottom. The picture must
 * not become wider for it, nor move. */
static void
test_partial_pixels(void **state)
{
    (void)state;
    static const int sides[] = {60, 100, 128, 142, 160, 256, 284, 480, 568};
    for (size_t i = 0; i < ARRAY_LEN(sides); i++)
        for (int more = 0; more < 8; more++)
            check_one(1992 + more, 1496 + 7 - more, true, sides[i]);
}

/* One step shrinks by 8 at most: here one, two and three of them, and sides just at the limits. */
static void
test_steps(void **state)
{
    (void)state;
    static const int sides[] = {20, 31, 32, 100, 124, 125, 126, 249, 250, 251, 700, 1998};
    for (size_t i = 0; i < ARRAY_LEN(sides); i++)
        check_one(2000, 1400, false, sides[i]);
}

/* Smaller ones are made of larger ones: however long the chain and in whatever order. */
static void
test_chain(void **state)
{
    (void)state;
    static const int falling[] = {800, 640, 400, 320, 200, 199, 100, 64};
    static const int mixed[] = {800, 64, 640, 100, 200, 199, 400, 800};
    check(save(make(1600, 1200, 4), false), falling, ARRAY_LEN(falling), 4);
    check(save(make(1601, 1203, 4), true), mixed, ARRAY_LEN(mixed), 4);
}

int
main(void)
{
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    CHK(image_start(&why) == ERR_NONE && image_warm_up(&why) == ERR_NONE);
    buf_fini(&why);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partial_pixels),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
