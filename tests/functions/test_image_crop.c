/* Where crops lie: pictures whose pixels tell their own place, cropped, asked where they are from.
 */
#include "functions/image.h"
#include "base/chk.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <vips/vips.h>

#include <cmocka.h>

#define WIDE 240
#define HIGH 160

static const struct image_limits limits = {50000000, 100000000};

/* ---- pictures ---- */

/* Upright pixel (x, y) has red x and green y. */
static void
place_color(int x, int y, uint8_t rgb[3])
{
    rgb[0] = (uint8_t)x;
    rgb[1] = (uint8_t)y;
    rgb[2] = 128;
}

/* Where the stored pixel (x, y) of an upright WIDE x HIGH picture is seen. */
static void
upright_place(int orientation, int x, int y, int *ux, int *uy)
{
    bool turned = orientation >= 5;
    *ux = turned ? y : x;
    *uy = turned ? x : y;
    if (orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7)
        *ux = WIDE - 1 - *ux;
    if (orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8)
        *uy = HIGH - 1 - *uy;
}

static struct slice
save(VipsImage *im)
{
    void *p;
    size_t n;
    assert_int_equal(vips_tiffsave_buffer(im, &p, &n, NULL), 0);
    g_object_unref(im);
    return slice_of(p, n);
}

static VipsImage *
from_pixels(const uint8_t *px, int w, int h, int bands)
{
    VipsImage *im = vips_image_new_from_memory_copy(px, (size_t)(w * h * bands), w, h, bands,
                                                    VIPS_FORMAT_UCHAR);
    assert_non_null(im);
    im->Type = bands < 3 ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB;
    return im;
}

static struct slice
make_places(int orientation)
{
    static uint8_t px[WIDE * HIGH * 3];
    int w = orientation >= 5 ? HIGH : WIDE, h = orientation >= 5 ? WIDE : HIGH, ux, uy;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            upright_place(orientation, x, y, &ux, &uy);
            place_color(ux, uy, px + 3 * (y * w + x));
        }
    VipsImage *im = from_pixels(px, w, h, 3);
    vips_image_set_int(im, VIPS_META_ORIENTATION, orientation);
    return save(im);
}

/* Grey 120 give or take `noise`, and at (sx, sy) a spot of side x side. */
static struct slice
make_spot(int bands, int noise, int sx, int sy, int side)
{
    static uint8_t px[WIDE * HIGH * 4];
    uint32_t state = 7;
    for (int i = 0; i < WIDE * HIGH; i++) {
        int x = i % WIDE, y = i / WIDE;
        bool spot = x >= sx && x < sx + side && y >= sy && y < sy + side;
        for (int b = 0; b < bands; b++) {
            state = state * 1664525 + 1013904223;
            int wobble = noise == 0 ? 0 : (int)(state >> 16) % (2 * noise + 1) - noise;
            px[i * bands + b] = (uint8_t)(b == 3 ? 255 : spot ? (b == 0 ? 250 : 20) : 120 + wobble);
        }
    }
    return save(from_pixels(px, WIDE, HIGH, bands));
}

/* ---- crops ---- */

/* Cropped to w x h, nothing resized; x < 0: no focal point. */
static VipsImage *
cropped(struct slice bytes, int w, int h, enum preset_focus focus, double x, double y)
{
    struct preset p = {.name = "p", .width = w, .height = h, .fit = PRESET_COVER};
    p.format = PRESET_PNG;
    p.focus = focus;
    struct image *im = NULL;
    struct image_output out;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(image_open(&im, bytes, sniff(bytes), &limits, &why), ERR_NONE);
    assert_int_equal(image_decode(im, 1, &why), ERR_NONE);
    if (x >= 0)
        image_set_focal(im, x, y);
    assert_int_equal(image_render(im, &p, &out, &why), ERR_NONE);
    VipsImage *lazy = vips_image_new_from_buffer(out.bytes.p, out.bytes.n, "", NULL);
    VipsImage *seen = vips_image_copy_memory(lazy);
    assert_int_equal(vips_image_get_width(seen), w);
    assert_int_equal(vips_image_get_height(seen), h);
    g_object_unref(lazy);
    image_output_free(&out);
    image_free(&im);
    buf_fini(&why);
    return seen;
}

static void
pixel(VipsImage *im, int x, int y, double out[4])
{
    double *v;
    int n;
    assert_int_equal(vips_getpoint(im, &v, &n, x, y, NULL), 0);
    for (int i = 0; i < 4; i++)
        out[i] = i < n ? v[i] : -1;
    g_free(v);
}

/* The start of a crop of `length` out of `whole`, by the words of the rule: of all that hold the
 * point the one whose middle is nearest to it. */
static double
nearest_distance(int whole, int length, double point)
{
    double best = whole;
    for (int start = 0; start + length <= whole; start++) {
        double d = point * whole - (start + length / 2.0);
        d = d < 0 ? -d : d;
        bool inside = start <= point * whole && point * whole <= start + length;
        best = inside && d < best ? d : best;
    }
    return best;
}

static void
assert_placed(int whole, int length, double point, int start)
{
    double d = point * whole - (start + length / 2.0);
    d = d < 0 ? -d : d;
    if (start < 0 || start + length > whole || d > nearest_distance(whole, length, point) + 0.001 ||
        start > point * whole || point * whole > start + length)
        fail_msg("%d of %d for %.3f: at %d", length, whole, point, start);
}

/* All orientations, both ways of cropping. HIGH is the side that decides: 160x160 leaves the crop
 * free across, 240x60 leaves it free down. */
static void
test_focal(void **state)
{
    (void)state;
    static const double points[] = {0, 0.1, 0.33, 0.5, 0.77, 0.9, 1};
    for (int o = 1; o <= 8; o++) {
        struct slice bytes = make_places(o);
        for (size_t i = 0; i < ARRAY_LEN(points); i++) {
            double at = points[i], across[4], down[4];
            VipsImage *seen = cropped(bytes, HIGH, HIGH, PRESET_ATTENTION, at, 1 - at);
            pixel(seen, 0, 0, across);
            assert_true(across[1] == 0);
            assert_placed(WIDE, HIGH, at, (int)across[0]);
            g_object_unref(seen);
            seen = cropped(bytes, WIDE, 60, PRESET_CENTRE, 1 - at, at);
            pixel(seen, 0, 0, down);
            assert_true(down[0] == 0);
            assert_placed(HIGH, 60, at, (int)down[1]);
            g_object_unref(seen);
        }
        g_free((void *)bytes.p);
    }
}

/* What the picture itself finds most interesting does not matter then. */
static void
test_focal_beats_focus(void **state)
{
    (void)state;
    struct slice bytes = make_spot(3, 0, 200, 70, 20);
    for (int focus = PRESET_CENTRE; focus <= PRESET_ENTROPY; focus++) {
        double max;
        VipsImage *seen = cropped(bytes, 100, HIGH, (enum preset_focus)focus, 0, 0);
        assert_int_equal(vips_max(seen, &max, NULL), 0);
        assert_true(max == 120);
        g_object_unref(seen);
    }
    g_free((void *)bytes.p);
}

/* Of a plain picture with a faint mark in its middle column: the centre crop has it in its own. */
static struct slice
make_plain(int bands, int noise)
{
    static uint8_t px[WIDE * HIGH * 3];
    uint32_t state = 3;
    for (int i = 0; i < WIDE * HIGH * bands; i++) {
        state = state * 1664525 + 1013904223;
        int wobble = noise == 0 ? 0 : (int)(state >> 16) % (2 * noise + 1) - noise;
        px[i] = (uint8_t)(i / bands % WIDE == WIDE / 2 ? 205 : 200 + wobble);
    }
    return save(from_pixels(px, WIDE, HIGH, bands));
}

static void
test_plain(void **state)
{
    (void)state;
    for (int noise = 0; noise <= 3; noise++)
        for (int bands = 1; bands <= 3; bands += 2)
            for (int focus = PRESET_CENTRE; focus <= PRESET_ENTROPY; focus++) {
                struct slice bytes = make_plain(bands, noise);
                VipsImage *seen = cropped(bytes, 80, HIGH, (enum preset_focus)focus, -1, -1);
                double got[4];
                for (int y = 0; y < HIGH; y += 20) {
                    pixel(seen, 40, y, got);
                    if (got[0] != 205)
                        fail_msg("focus %d, noise %d: not the centre", focus, noise);
                }
                g_object_unref(seen);
                g_free((void *)bytes.p);
            }
}

/* A small subject anywhere is in the crop, whole. */
static void
test_subject(void **state)
{
    (void)state;
    static const int places[] = {4, 30, 90, 110, 150, 200, 224};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        for (int bands = 3; bands <= 4; bands++)
            for (int focus = PRESET_ATTENTION; focus <= PRESET_ENTROPY; focus++) {
                struct slice bytes = make_spot(bands, 2, places[i], 60, 12);
                VipsImage *seen = cropped(bytes, 80, HIGH, (enum preset_focus)focus, -1, -1);
                int count = 0;
                for (int x = 0; x < 80; x++) {
                    double got[4];
                    pixel(seen, x, 66, got);
                    count += got[0] == 250;
                }
                if (count != 12)
                    fail_msg("at %d, focus %d, %d bands: %d of 12 columns", places[i], focus, bands,
                             count);
                g_object_unref(seen);
                g_free((void *)bytes.p);
            }
}

static int
setup(void **state)
{
    (void)state;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    int err = image_start(&why);
    if (err != ERR_NONE)
        fprintf(stderr, "%s\n", why.n == 0 ? err_name(err) : why.p);
    buf_fini(&why);
    return err;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_focal),
        cmocka_unit_test(test_focal_beats_focus),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_subject),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
