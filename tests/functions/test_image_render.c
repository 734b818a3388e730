/* Pictures made here with known pixels, through the worker's own road, looked at again. */
#include "functions/image.h"
#include "functions/image_exif.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "tests/functions/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <vips/vips.h>

#include <cmocka.h>

static const struct image_limits limits = {50000000, 100000000};

/* ---- making and looking ---- */

struct bytes {
    void *p;
    size_t n;
};

static struct slice
view(struct bytes b)
{
    return slice_of(b.p, b.n);
}

static const uint8_t quadrants[4][3] = {
    {220, 30, 30}, {30, 200, 40}, {40, 50, 210}, {240, 230, 60}};

/* Colour of the upright test picture of w x h at (x, y). */
static const uint8_t *
upright_color(int w, int h, int x, int y)
{
    return quadrants[(y >= h / 2) * 2 + (x >= w / 2)];
}

static VipsImage *
from_pixels(const void *p, int w, int h, int bands, VipsInterpretation space)
{
    VipsImage *im = vips_image_new_from_memory_copy(p, (size_t)w * (size_t)h * (size_t)bands, w, h,
                                                    bands, VIPS_FORMAT_UCHAR);
    assert_non_null(im);
    im->Type = space;
    return im;
}

/* Stored pixel of an upright w x h picture kept with this orientation. */
static const uint8_t *
stored_color(int orientation, int w, int h, int x, int y)
{
    switch (orientation) {
    case 2:
        return upright_color(w, h, w - 1 - x, y);
    case 3:
        return upright_color(w, h, w - 1 - x, h - 1 - y);
    case 4:
        return upright_color(w, h, x, h - 1 - y);
    case 5:
        return upright_color(w, h, y, x);
    case 6: /* turned a quarter clockwise to be seen */
        return upright_color(w, h, w - 1 - y, x);
    case 7:
        return upright_color(w, h, w - 1 - y, h - 1 - x);
    case 8:
        return upright_color(w, h, y, h - 1 - x);
    default:
        return upright_color(w, h, x, y);
    }
}

static VipsImage *
make_quadrants(int orientation, int w, int h)
{
    int sw = orientation >= 5 ? h : w, sh = orientation >= 5 ? w : h;
    uint8_t *p = malloc((size_t)w * (size_t)h * 3);
    for (int y = 0; y < sh; y++)
        for (int x = 0; x < sw; x++)
            memcpy(p + 3 * (y * sw + x), stored_color(orientation, w, h, x, y), 3);
    VipsImage *im = from_pixels(p, sw, sh, 3, VIPS_INTERPRETATION_sRGB);
    vips_image_set_int(im, VIPS_META_ORIENTATION, orientation);
    free(p);
    return im;
}

static struct bytes
save_jpeg(VipsImage *im, bool progressive)
{
    struct bytes b;
    assert_int_equal(vips_jpegsave_buffer(im, &b.p, &b.n, "Q", 95, "interlace", progressive,
                                          "subsample_mode", VIPS_FOREIGN_SUBSAMPLE_OFF, NULL),
                     0);
    g_object_unref(im);
    return b;
}

static struct bytes
save_png(VipsImage *im)
{
    struct bytes b;
    assert_int_equal(vips_pngsave_buffer(im, &b.p, &b.n, NULL), 0);
    g_object_unref(im);
    return b;
}

static struct preset
preset_of(int w, int h, enum preset_fit fit, enum preset_format format)
{
    return (struct preset){
        .name = "p", .width = w, .height = h, .fit = fit, .format = format, .quality = 90};
}

/* Opens, decodes and renders; the open image in `*im_out` if wanted. */
static int
render(struct slice bytes, const struct preset *p, struct image_output *out, struct image **im_out)
{
    struct image *im = NULL;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    *out = (struct image_output){0};
    int err = image_open(&im, bytes, sniff(bytes), &limits, &why);
    if (err == ERR_NONE)
        err = image_decode(im, image_preset_scale(im, p), &why);
    if (err == ERR_NONE)
        err = image_render(im, p, out, &why);
    if (im_out != NULL)
        *im_out = im;
    else
        image_free(&im);
    buf_fini(&why);
    return err;
}

/* Decodes what was rendered, by libvips alone. */
static VipsImage *
look(const struct image_output *out)
{
    VipsImage *im = vips_image_new_from_buffer(out->bytes.p, out->bytes.n, "", NULL);
    assert_non_null(im);
    assert_int_equal(vips_image_get_width(im), out->width);
    assert_int_equal(vips_image_get_height(im), out->height);
    return im;
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

static void
assert_color(VipsImage *im, int x, int y, const uint8_t *want, double tolerance)
{
    double got[4];
    pixel(im, x, y, got);
    for (int i = 0; i < 3; i++)
        if (got[i] < want[i] - tolerance || got[i] > want[i] + tolerance)
            fail_msg("at %d,%d: %.0f %.0f %.0f, want %d %d %d", x, y, got[0], got[1], got[2],
                     want[0], want[1], want[2]);
}

/* ---- geometry ---- */

static void
test_orientation(void **state)
{
    (void)state;
    for (int o = 1; o <= 8; o++) {
        struct preset p = preset_of(60, 60, PRESET_INSIDE, PRESET_PNG);
        struct image_output out;
        struct image *im;
        struct bytes b = save_jpeg(make_quadrants(o, 480, 320), false);
        assert_int_equal(render(view(b), &p, &out, &im), ERR_NONE);
        assert_int_equal(image_facts(im)->orientation, o);
        assert_int_equal(image_facts(im)->width, 480);
        assert_int_equal(image_facts(im)->height, 320);
        assert_int_equal(out.width, 60);
        assert_int_equal(out.height, 40);
        VipsImage *seen = look(&out);
        for (int q = 0; q < 4; q++)
            assert_color(seen, 15 + 30 * (q % 2), 10 + 20 * (q / 2), quadrants[q], 4);
        g_object_unref(seen);
        image_output_free(&out);
        image_free(&im);
        g_free(b.p);
    }
}

static void
test_dimensions(void **state)
{
    (void)state;
    static const struct {
        int w, h, pw, ph;
        enum preset_fit fit;
        int want_w, want_h;
    } cases[] = {
        {400, 200, 100, 100, PRESET_INSIDE, 100, 50},
        {200, 400, 100, 100, PRESET_INSIDE, 50, 100},
        {400, 200, 100, 100, PRESET_COVER, 100, 100},
        {400, 200, 50, 100, PRESET_COVER, 50, 100},
        {400, 200, 100, 100, PRESET_CONTAIN, 100, 100},
        {333, 217, 100, 100, PRESET_INSIDE, 100, 65},
        {999, 3, 100, 100, PRESET_INSIDE, 100, 1},
        {1201, 799, 160, 160, PRESET_COVER, 160, 160},
        {1201, 799, 157, 91, PRESET_COVER, 157, 91},
        {801, 533, 267, 267, PRESET_INSIDE, 267, 178},
        /* Nothing is enlarged; only padding fills a box. */
        {40, 30, 100, 100, PRESET_INSIDE, 40, 30},
        {40, 30, 100, 100, PRESET_COVER, 40, 30},
        {40, 30, 20, 100, PRESET_COVER, 20, 30},
        {40, 30, 100, 100, PRESET_CONTAIN, 100, 100},
        {1, 1, 8, 8, PRESET_COVER, 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int jpeg = 0; jpeg < 2; jpeg++) {
            struct preset p = preset_of(cases[i].pw, cases[i].ph, cases[i].fit, PRESET_PNG);
            struct image_output out;
            VipsImage *made = make_quadrants(1, cases[i].w, cases[i].h);
            struct bytes b = jpeg ? save_jpeg(made, false) : save_png(made);
            assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
            if (out.width != cases[i].want_w || out.height != cases[i].want_h)
                fail_msg("case %zu: %dx%d", i, out.width, out.height);
            g_object_unref(look(&out));
            image_output_free(&out);
            g_free(b.p);
        }
    }
}

/* From one decode: the smaller presets out of the larger base have exact sizes too. */
static void
test_sizes_from_one_base(void **state)
{
    (void)state;
    struct bytes b = save_jpeg(make_quadrants(6, 1237, 811), true);
    struct image *im;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(image_open(&im, view(b), SNIFF_JPEG, &limits, &why), ERR_NONE);
    assert_true(image_decode_bytes(im, 0.5) > (int64_t)1237 * 811 * 6); /* the coefficients */
    assert_int_equal(image_decode(im, 1, &why), ERR_NONE);
    for (int side = 3; side < 812; side += 37) {
        struct preset p = preset_of(side, side, PRESET_COVER, PRESET_JPEG);
        struct image_output out;
        assert_int_equal(image_render(im, &p, &out, &why), ERR_NONE);
        assert_int_equal(out.width, side);
        assert_int_equal(out.height, side);
        image_output_free(&out);
    }
    image_free(&im);
    buf_fini(&why);
    g_free(b.p);
}

static void
test_centre(void **state)
{
    (void)state;
    struct bytes b = save_png(make_quadrants(1, 400, 100));
    struct preset p = preset_of(50, 50, PRESET_COVER, PRESET_PNG);
    struct image_output out;
    assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
    VipsImage *seen = look(&out);
    for (int q = 0; q < 4; q++)
        assert_color(seen, 12 + 25 * (q % 2), 12 + 25 * (q / 2), quadrants[q], 3);
    g_object_unref(seen);
    image_output_free(&out);
    g_free(b.p);
}

/* Centre crop shows the middle; the other two find the one coloured spot at the edge. */
static void
test_focus(void **state)
{
    (void)state;
    static uint8_t px[300 * 100 * 3];
    memset(px, 128, sizeof(px));
    for (int y = 20; y < 80; y++)
        for (int x = 220; x < 280; x++) {
            uint8_t *p = px + 3 * (y * 300 + x);
            p[0] = 250;
            p[1] = (uint8_t)(20 + (x * y) % 60);
            p[2] = 20;
        }
    struct bytes b = save_png(from_pixels(px, 300, 100, 3, VIPS_INTERPRETATION_sRGB));
    for (int focus = PRESET_CENTRE; focus <= PRESET_ENTROPY; focus++) {
        struct preset p = preset_of(100, 100, PRESET_COVER, PRESET_PNG);
        p.focus = (enum preset_focus)focus;
        struct image_output out;
        double mean = 0;
        assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
        VipsImage *seen = look(&out), *red = NULL;
        assert_int_equal(vips_extract_band(seen, &red, 0, NULL), 0);
        assert_int_equal(vips_avg(red, &mean, NULL), 0);
        if (focus == PRESET_CENTRE)
            assert_true(mean < 130);
        else
            assert_true(mean > 155);
        g_object_unref(red);
        g_object_unref(seen);
        image_output_free(&out);
    }
    g_free(b.p);
}

/* ---- colour ---- */

/* A picture in this built-in profile, embedded, that looks like `color` in sRGB. */
static struct bytes
save_with_profile(const char *profile, const uint8_t color[3])
{
    VipsImage *out = NULL;
    static uint8_t px[32 * 32 * 3];
    for (size_t i = 0; i < sizeof(px); i++)
        px[i] = color[i % 3];
    VipsImage *in = from_pixels(px, 32, 32, 3, VIPS_INTERPRETATION_sRGB);
    assert_int_equal(vips_icc_transform(in, &out, profile, "input_profile", "srgb", NULL), 0);
    g_object_unref(in);
    return save_png(out);
}

static void
test_profiles(void **state)
{
    (void)state;
    static const uint8_t color[3] = {30, 200, 60};
    for (int p3 = 0; p3 < 2; p3++) {
        struct bytes b = save_with_profile(p3 ? "p3" : "srgb", color);
        /* What is stored differs from what is meant only where a profile says so. */
        VipsImage *raw = vips_image_new_from_buffer(b.p, b.n, "", NULL);
        double got[4];
        pixel(raw, 9, 9, got);
        assert_true(p3 ? got[0] > 70 : got[0] < 32);
        g_object_unref(raw);

        struct preset p = preset_of(16, 16, PRESET_INSIDE, PRESET_PNG);
        struct image_output out;
        struct image *im;
        assert_int_equal(render(view(b), &p, &out, &im), ERR_NONE);
        assert_true(image_facts(im)->icc.n > 0);
        VipsImage *seen = look(&out);
        assert_color(seen, 8, 8, color, p3 ? 3 : 1);
        assert_int_equal(vips_image_get_typeof(seen, VIPS_META_ICC_NAME), 0);
        g_object_unref(seen);
        image_output_free(&out);
        image_free(&im);
        g_free(b.p);
    }
}

static void
test_cmyk(void **state)
{
    (void)state;
    static uint8_t px[64 * 64 * 4];
    for (size_t i = 0; i < sizeof(px); i += 4)
        px[i + 1] = px[i + 2] = 255; /* magenta and yellow: red */
    struct bytes b = save_jpeg(from_pixels(px, 64, 64, 4, VIPS_INTERPRETATION_CMYK), false);
    struct preset p = preset_of(16, 16, PRESET_INSIDE, PRESET_PNG);
    struct image_output out;
    assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
    VipsImage *seen = look(&out);
    double got[4];
    pixel(seen, 8, 8, got);
    assert_int_equal(vips_image_get_bands(seen), 3);
    assert_true(got[0] > 200 && got[1] < 80 && got[2] < 80);
    g_object_unref(seen);
    image_output_free(&out);
    g_free(b.p);
}

static void
test_grey_and_16_bit(void **state)
{
    (void)state;
    static uint8_t px[32 * 32];
    memset(px, 77, sizeof(px));
    struct preset p = preset_of(16, 16, PRESET_INSIDE, PRESET_JPEG);
    struct image_output out;
    struct bytes b = save_png(from_pixels(px, 32, 32, 1, VIPS_INTERPRETATION_B_W));
    assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
    VipsImage *seen = look(&out);
    double got[4];
    pixel(seen, 8, 8, got);
    assert_int_equal(vips_image_get_bands(seen), 1);
    assert_true(got[0] >= 76 && got[0] <= 78);
    g_object_unref(seen);
    image_output_free(&out);
    g_free(b.p);

    VipsImage *small = make_quadrants(1, 32, 32), *wide = NULL;
    assert_int_equal(vips_colourspace(small, &wide, VIPS_INTERPRETATION_RGB16, NULL), 0);
    g_object_unref(small);
    b = save_png(wide);
    p.format = PRESET_PNG;
    assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
    seen = look(&out);
    assert_int_equal(vips_image_get_format(seen), VIPS_FORMAT_UCHAR);
    assert_color(seen, 3, 3, quadrants[0], 2);
    assert_color(seen, 13, 13, quadrants[3], 2);
    g_object_unref(seen);
    image_output_free(&out);
    g_free(b.p);
}

/* Indexed colours are colours before anything is resized: no index is averaged. */
static void
test_palette_png(void **state)
{
    (void)state;
    struct preset p = preset_of(15, 15, PRESET_INSIDE, PRESET_PNG);
    struct image_output out;
    struct bytes b;
    VipsImage *im = make_quadrants(1, 64, 64);
    assert_int_equal(vips_pngsave_buffer(im, &b.p, &b.n, "palette", TRUE, "bitdepth", 2, NULL), 0);
    g_object_unref(im);
    assert_true(slice_find(view(b), SLICE_LIT("PLTE")) > 0);
    assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
    VipsImage *seen = look(&out);
    assert_int_equal(vips_image_get_bands(seen), 3);
    for (int q = 0; q < 4; q++)
        assert_color(seen, 3 + 8 * (q % 2), 3 + 8 * (q / 2), quadrants[q], 4);
    g_object_unref(seen);
    image_output_free(&out);
    g_free(b.p);
}

/* ---- alpha ---- */

/* Opaque red on the left, on the right nothing, kept as black. */
static struct bytes
save_half_red(void)
{
    static uint8_t px[64 * 64 * 4];
    memset(px, 0, sizeof(px));
    for (int i = 0; i < 64 * 64; i++)
        if (i % 64 < 32)
            memcpy(px + 4 * i, "\xff\0\0\xff", 4);
    return save_png(from_pixels(px, 64, 64, 4, VIPS_INTERPRETATION_sRGB));
}

static void
test_alpha(void **state)
{
    (void)state;
    struct bytes b = save_half_red();
    for (int format = PRESET_WEBP; format <= PRESET_AVIF; format++) {
        struct preset p = preset_of(15, 15, PRESET_INSIDE, (enum preset_format)format);
        struct image_output out;
        struct image *im;
        double got[4];
        assert_int_equal(render(view(b), &p, &out, &im), ERR_NONE);
        assert_true(image_facts(im)->alpha);
        VipsImage *seen = look(&out);
        if (format == PRESET_JPEG) {
            assert_int_equal(vips_image_get_bands(seen), 3);
            assert_color(seen, 13, 7, (const uint8_t[]){255, 255, 255}, 6);
        } else {
            assert_int_equal(vips_image_get_bands(seen), 4);
            pixel(seen, 13, 7, got);
            assert_true(got[3] < 10);
        }
        assert_color(seen, 2, 7, (const uint8_t[]){255, 0, 0}, 12);
        if (format == PRESET_PNG) {
            /* The seam is red and half there: no black bled in from the transparent side. */
            pixel(seen, 7, 7, got);
            assert_true(got[3] > 80 && got[3] < 180 && got[0] > 250);
        }
        g_object_unref(seen);
        image_output_free(&out);
        image_free(&im);
    }
    g_free(b.p);
}

static void
test_contain_padding(void **state)
{
    (void)state;
    for (int format = PRESET_WEBP; format <= PRESET_AVIF; format++) {
        struct preset p = preset_of(64, 64, PRESET_CONTAIN, (enum preset_format)format);
        struct bytes b = save_png(make_quadrants(1, 128, 64));
        struct image_output out;
        double got[4];
        assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
        VipsImage *seen = look(&out);
        pixel(seen, 32, 4, got);
        if (format == PRESET_JPEG)
            assert_true(got[0] > 245 && got[1] > 245 && got[2] > 245);
        else
            assert_true(got[3] < 10);
        assert_color(seen, 16, 24, quadrants[0], 20);
        g_object_unref(seen);
        image_output_free(&out);
        g_free(b.p);
    }
}

/* ---- metadata ---- */

static bool
contains(struct slice hay, const char *needle)
{
    return slice_find(hay, slice_str(needle)) >= 0;
}

static void
test_stripped(void **state)
{
    (void)state;
    struct slice jpeg = slice_of(picture_jpeg, sizeof(picture_jpeg));
    assert_true(contains(jpeg, "Exif") && contains(jpeg, "Pinhole"));
    for (int format = PRESET_WEBP; format <= PRESET_AVIF; format++) {
        for (int same = 0; same < 2; same++) { /* also when no pixel has to change */
            struct preset p = preset_of(same ? 48 : 10, same ? 48 : 10, PRESET_INSIDE,
                                        (enum preset_format)format);
            struct image_output out, again;
            struct image *im;
            assert_int_equal(render(jpeg, &p, &out, &im), ERR_NONE);
            assert_int_equal(image_facts(im)->orientation, 6);
            assert_int_equal(image_facts(im)->width, 32);
            image_free(&im);
            if (contains(out.bytes, "Exif") || contains(out.bytes, "EXIF") ||
                contains(out.bytes, "Pinhole") || contains(out.bytes, "2016:05"))
                fail_msg("format %d keeps EXIF", format);
            p.format = PRESET_PNG;
            assert_int_equal(render(out.bytes, &p, &again, &im), ERR_NONE);
            assert_int_equal(image_facts(im)->exif.n, 0);
            assert_int_equal(image_facts(im)->icc.n, 0);
            assert_int_equal(image_facts(im)->orientation, 1);
            image_output_free(&again);
            image_output_free(&out);
            image_free(&im);
        }
    }
}

static void
test_exif_is_found(void **state)
{
    (void)state;
    struct image *im;
    struct buf why;
    struct exif_facts e;
    buf_init(&why, IMAGE_WHY_MAX);
    struct slice jpeg = slice_of(picture_jpeg, sizeof(picture_jpeg));
    assert_int_equal(image_open(&im, jpeg, SNIFF_JPEG, &limits, &why), ERR_NONE);
    assert_int_equal(image_decode(im, 1, &why), ERR_NONE);
    exif_read(image_facts(im)->exif, &e); /* after the decode: the bytes are still there */
    assert_string_equal(e.camera_make, "Pinhole");
    assert_true(e.has_position);
    image_free(&im);
    buf_fini(&why);
}

static void
test_progressive_only_when_large(void **state)
{
    (void)state;
    for (int side = 640; side <= 641; side++) {
        struct bytes b = save_png(make_quadrants(1, 700, 20));
        struct preset p = preset_of(side, side, PRESET_INSIDE, PRESET_JPEG);
        struct image_output out;
        assert_int_equal(render(view(b), &p, &out, NULL), ERR_NONE);
        assert_int_equal(contains(out.bytes, "\xff\xc2"), side > 640);
        image_output_free(&out);
        g_free(b.p);
    }
}

/* ---- formats, pages ---- */

static void
test_formats(void **state)
{
    (void)state;
    static const struct {
        struct slice bytes;
        int w, h;
    } pictures[] = {
        {{(const char *)picture_jpeg, sizeof(picture_jpeg)}, 32, 48},
        {{(const char *)picture_png, sizeof(picture_png)}, 48, 32},
        {{(const char *)picture_webp, sizeof(picture_webp)}, 48, 32},
        {{(const char *)picture_gif, sizeof(picture_gif)}, 48, 32},
        {{(const char *)picture_tiff, sizeof(picture_tiff)}, 48, 32},
        {{(const char *)picture_avif, sizeof(picture_avif)}, 48, 32},
        {{(const char *)picture_heic, sizeof(picture_heic)}, 96, 64},
    };
    for (size_t i = 0; i < ARRAY_LEN(pictures); i++) {
        struct preset p = preset_of(200, 200, PRESET_INSIDE, PRESET_PNG);
        struct image_output out;
        assert_int_equal(render(pictures[i].bytes, &p, &out, NULL), ERR_NONE);
        assert_int_equal(out.width, pictures[i].w);
        assert_int_equal(out.height, pictures[i].h);
        VipsImage *seen = look(&out);
        /* Orientation 6 brings the bottom left quadrant to the top left. */
        assert_color(seen, out.width / 4, out.height / 4, quadrants[i == 0 ? 2 : 0], 25);
        g_object_unref(seen);
        image_output_free(&out);
    }
}

/* Two frames, the second upside down: a thumbnail shows the first. */
static struct bytes
save_pages(bool gif)
{
    VipsImage *pages[2] = {make_quadrants(1, 40, 20), make_quadrants(3, 40, 20)}, *both = NULL;
    struct bytes b;
    assert_int_equal(vips_arrayjoin(pages, &both, 2, "across", 1, NULL), 0);
    int rc = gif ? vips_gifsave_buffer(both, &b.p, &b.n, "page_height", 20, NULL)
                 : vips_tiffsave_buffer(both, &b.p, &b.n, "page_height", 20, NULL);
    assert_int_equal(rc, 0);
    g_object_unref(both);
    g_object_unref(pages[0]);
    g_object_unref(pages[1]);
    return b;
}

static void
test_pages(void **state)
{
    (void)state;
    for (int gif = 0; gif < 2; gif++) {
        struct bytes b = save_pages(gif);
        struct preset p = preset_of(100, 100, PRESET_INSIDE, PRESET_PNG);
        struct image_output out;
        struct image *im;
        assert_int_equal(render(view(b), &p, &out, &im), ERR_NONE);
        assert_int_equal(image_facts(im)->pages, 2);
        assert_int_equal(image_facts(im)->height, 20);
        VipsImage *seen = look(&out);
        assert_int_equal(out.height, 20);
        assert_color(seen, 10, 5, quadrants[0], 12);
        g_object_unref(seen);
        image_output_free(&out);
        image_free(&im);

        struct buf why;
        struct image_limits tight = {800, 1599};
        buf_init(&why, IMAGE_WHY_MAX);
        assert_int_equal(image_open(&im, view(b), sniff(view(b)), &tight, &why), ERR_RANGE);
        assert_true(contains(buf_slice(&why), "pixel budget: 2 pages"));
        tight.pixels_total_max = 1600;
        assert_int_equal(image_open(&im, view(b), sniff(view(b)), &tight, &why), ERR_NONE);
        image_free(&im);
        buf_fini(&why);
        g_free(b.p);
    }
}

static void
test_sample(void **state)
{
    (void)state;
    static struct image_sample s;
    struct image *im;
    struct buf why;
    struct bytes b = save_half_red();
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(image_open(&im, view(b), SNIFF_PNG, &limits, &why), ERR_NONE);
    assert_int_equal(image_decode(im, 1, &why), ERR_NONE);
    assert_int_equal(image_sample(im, &s, &why), ERR_NONE);
    assert_int_equal(s.width, 64);
    assert_memory_equal(s.rgba, "\xff\0\0\xff", 4);
    assert_int_equal(s.rgba[4 * 63 + 3], 0);
    image_free(&im);
    g_free(b.p);
    b = save_jpeg(make_quadrants(5, 300, 150), false);
    assert_int_equal(image_open(&im, view(b), SNIFF_JPEG, &limits, &why), ERR_NONE);
    assert_int_equal(image_decode(im, image_sample_scale(im), &why), ERR_NONE);
    assert_int_equal(image_sample(im, &s, &why), ERR_NONE);
    assert_int_equal(s.width, 100);
    assert_int_equal(s.height, 50);
    assert_true(s.rgba[0] > 200 && s.rgba[3] == 255);
    image_free(&im);
    g_free(b.p);
    buf_fini(&why);
}

/* ---- bad input ---- */

static void
test_damaged(void **state)
{
    (void)state;
    for (int progressive = 0; progressive < 2; progressive++) {
        struct bytes b = save_jpeg(make_quadrants(1, 480, 320), progressive);
        struct preset p = preset_of(120, 120, PRESET_INSIDE, PRESET_PNG);
        struct image_output out;
        struct image *im;
        assert_int_equal(render(view(b), &p, &out, &im), ERR_NONE);
        assert_false(image_damaged(im));
        image_output_free(&out);
        image_free(&im);
        assert_int_equal(render(slice_of(b.p, b.n * 2 / 3), &p, &out, &im), ERR_NONE);
        assert_true(image_damaged(im));
        assert_int_equal(out.height, 80);
        VipsImage *seen = look(&out);
        assert_color(seen, 30, 20, quadrants[0], 30); /* what came is there */
        g_object_unref(seen);
        image_output_free(&out);
        image_free(&im);
        g_free(b.p);
    }
}

/* Every beginning of every small picture: an answer, whatever it is. */
static void
test_cut_short(void **state)
{
    (void)state;
    static const struct slice pictures[] = {
        {(const char *)picture_jpeg, sizeof(picture_jpeg)},
        {(const char *)picture_png, sizeof(picture_png)},
        {(const char *)picture_webp, sizeof(picture_webp)},
        {(const char *)picture_gif, sizeof(picture_gif)},
        {(const char *)picture_tiff, sizeof(picture_tiff)},
        {(const char *)picture_avif, sizeof(picture_avif)},
        {(const char *)picture_heic, sizeof(picture_heic)},
    };
    struct preset p = preset_of(9, 9, PRESET_COVER, PRESET_PNG);
    for (size_t i = 0; i < ARRAY_LEN(pictures); i++) {
        for (size_t n = 0; n < pictures[i].n; n += 7) {
            struct slice cut = slice_of(pictures[i].p, n);
            struct image_output out;
            if (!sniff_is_supported(sniff(cut)))
                continue;
            int err = render(cut, &p, &out, NULL);
            assert_true(err == ERR_NONE || err == ERR_CORRUPT);
            image_output_free(&out);
        }
    }
}

/* Refused by the header; `says` is part of the reason. */
static void
assert_refused(struct slice bytes, enum sniff_format format, int want, const char *says)
{
    struct image *im = NULL;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(sniff(bytes), format);
    int err = image_open(&im, bytes, format, &limits, &why);
    if (err != want || why.n == 0 || strstr(why.p, says) == NULL)
        fail_msg("%s: %s", err_name(err), why.n == 0 ? "" : why.p);
    assert_null(im);
    buf_fini(&why);
}

static void
put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

/* picture_png with another size written into its header. */
static void
test_bomb_png(void **state)
{
    (void)state;
    uint8_t png[sizeof(picture_png)];
    memcpy(png, picture_png, sizeof(png));
    put32(png + 16, 65536);
    put32(png + 20, 65536);
    put32(png + 29, digest_crc32(0, png + 12, 17));
    assert_refused(slice_of(png, sizeof(png)), SNIFF_PNG, ERR_RANGE, "pixel budget: 65536x65536");
}

/* A progressive JPEG whose last scan comes 200 times. */
static void
test_bomb_scans(void **state)
{
    (void)state;
    struct bytes b = save_jpeg(make_quadrants(1, 64, 64), true);
    const char *p = b.p;
    size_t scan = b.n;
    while (!(p[scan - 2] == '\xff' && p[scan - 1] == '\xda'))
        scan--;
    scan -= 2;
    struct buf bomb;
    buf_init(&bomb, 1 << 20);
    buf_put(&bomb, p, scan);
    for (int i = 0; i < 200; i++)
        buf_put(&bomb, p + scan, b.n - 2 - scan);
    buf_put(&bomb, "\xff\xd9", 2);
    assert_refused(buf_slice(&bomb), SNIFF_JPEG, ERR_RANGE, "too many scans");
    buf_fini(&bomb);
    g_free(b.p);
}

static void
test_unreadable(void **state)
{
    (void)state;
    assert_refused(SLICE_LIT("GIF89a and then nothing of it"), SNIFF_GIF, ERR_CORRUPT,
                   "unreadable");
    assert_refused(SLICE_LIT("\xff\xd8\xff\xe0 junk"), SNIFF_JPEG, ERR_CORRUPT, "unreadable");
    assert_refused(SLICE_LIT("II*\0\xff\xff\xff\xff"), SNIFF_TIFF, ERR_CORRUPT, "unreadable");
}

/* libvips by its own guess reads none of what we do not: all other loaders are blocked. */
static void
test_blocked_loaders(void **state)
{
    (void)state;
    static const char svg[] = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>";
    VipsImage *im = vips_image_new_from_buffer(svg, sizeof(svg) - 1, "", NULL);
    assert_null(im);
    static const char ppm[] = "P5\n2 2\n255\nabcd";
    im = vips_image_new_from_buffer(ppm, sizeof(ppm) - 1, "", NULL);
    assert_null(im);
    vips_error_clear();
}

static int
setup(void **state)
{
    (void)state;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    int err = image_start(&why);
    if (err == ERR_NONE)
        err = image_warm_up(&why);
    if (err != ERR_NONE)
        fprintf(stderr, "%s\n", why.n == 0 ? err_name(err) : why.p);
    buf_fini(&why);
    return err;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocked_loaders), cmocka_unit_test(test_orientation),
        cmocka_unit_test(test_dimensions),      cmocka_unit_test(test_sizes_from_one_base),
        cmocka_unit_test(test_centre),          cmocka_unit_test(test_focus),
        cmocka_unit_test(test_profiles),        cmocka_unit_test(test_cmyk),
        cmocka_unit_test(test_grey_and_16_bit), cmocka_unit_test(test_alpha),
        cmocka_unit_test(test_contain_padding), cmocka_unit_test(test_stripped),
        cmocka_unit_test(test_exif_is_found),   cmocka_unit_test(test_progressive_only_when_large),
        cmocka_unit_test(test_formats),         cmocka_unit_test(test_pages),
        cmocka_unit_test(test_sample),          cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_cut_short),       cmocka_unit_test(test_bomb_png),
        cmocka_unit_test(test_palette_png),     cmocka_unit_test(test_bomb_scans),
        cmocka_unit_test(test_unreadable),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
