/* What a preset's further members do to pixels made here. */
#include "functions/image.h"
#include "functions/image_exif.h"
#include "base/chk.h"
#include "base/err.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <vips/vips.h>

#include <cmocka.h>

#define SIDE 64

static const struct image_limits limits = {50000000, 100000000};

/* ---- making and looking ---- */

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
save(VipsImage *im)
{
    void *p;
    size_t n;
    assert_int_equal(vips_pngsave_buffer(im, &p, &n, NULL), 0);
    g_object_unref(im);
    return slice_of(p, n);
}

/* Left half `left`, right half `right`; with a second or fourth band the right half is as opaque
 * as `alpha` says. */
static struct slice
make_halves(int w, int h, int bands, uint8_t left, uint8_t right, uint8_t alpha)
{
    uint8_t *px = calloc((size_t)(w * h), (size_t)bands);
    assert_non_null(px);
    int colors = bands >= 3 ? 3 : 1;
    for (int i = 0; i < w * h; i++)
        for (int b = 0; b < bands; b++)
            px[i * bands + b] = b >= colors     ? (i % w < w / 2 ? 255 : alpha)
                                : i % w < w / 2 ? left
                                                : right;
    VipsImage *im = from_pixels(px, w, h, bands);
    free(px);
    return save(im);
}

static struct preset
preset_of(int w, int h, enum preset_fit fit, enum preset_format format)
{
    return (struct preset){
        .name = "p", .width = w, .height = h, .fit = fit, .format = format, .quality = 95};
}

/* Renders by the worker's road, and decodes that by libvips alone. */
static VipsImage *
rendered(struct slice bytes, const struct preset *p)
{
    struct image *im = NULL;
    struct image_output out;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(image_open(&im, bytes, sniff(bytes), &limits, &why), ERR_NONE);
    assert_int_equal(image_decode(im, image_preset_scale(im, p), &why), ERR_NONE);
    if (image_render(im, p, &out, &why) != ERR_NONE)
        fail_msg("%s", why.p);
    VipsImage *lazy = vips_image_new_from_buffer(out.bytes.p, out.bytes.n, "", NULL);
    VipsImage *seen = vips_image_copy_memory(lazy);
    assert_int_equal(vips_image_get_width(seen), out.width);
    assert_int_equal(vips_image_get_height(seen), out.height);
    g_object_unref(lazy);
    image_output_free(&out);
    image_free(&im);
    buf_fini(&why);
    return seen;
}

static double
band(VipsImage *im, int x, int y, int b)
{
    double *v;
    int n;
    assert_int_equal(vips_getpoint(im, &v, &n, x, y, NULL), 0);
    double got = b < n ? v[b] : -1;
    g_free(v);
    return got;
}

static void
assert_near(double got, double want, double tolerance, const char *what)
{
    if (fabs(got - want) > tolerance)
        fail_msg("%s: %.1f, want %.0f", what, got, want);
}

/* ---- enlarge ---- */

static void
test_enlarge_sizes(void **state)
{
    (void)state;
    static const struct {
        int w, h, pw, ph;
        enum preset_fit fit;
        int want_w, want_h;
    } cases[] = {
        {40, 30, 100, 100, PRESET_INSIDE, 100, 75},  {30, 40, 100, 100, PRESET_INSIDE, 75, 100},
        {40, 30, 100, 100, PRESET_COVER, 100, 100},  {40, 30, 20, 100, PRESET_COVER, 20, 100},
        {40, 30, 100, 20, PRESET_COVER, 100, 20},    {40, 30, 100, 100, PRESET_CONTAIN, 100, 100},
        {200, 100, 50, 50, PRESET_INSIDE, 50, 25},   {1, 1, 60, 40, PRESET_COVER, 60, 40},
        {1, 2000, 700, 700, PRESET_COVER, 700, 700}, {2000, 1, 700, 700, PRESET_COVER, 700, 700},
        {41, 29, 97, 13, PRESET_COVER, 97, 13},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct preset p = preset_of(cases[i].pw, cases[i].ph, cases[i].fit, PRESET_PNG);
        p.enlarge = true;
        struct slice b = make_halves(cases[i].w, cases[i].h, 3, 20, 220, 0);
        VipsImage *seen = rendered(b, &p);
        if (vips_image_get_width(seen) != cases[i].want_w ||
            vips_image_get_height(seen) != cases[i].want_h)
            fail_msg("case %zu: %dx%d", i, vips_image_get_width(seen), vips_image_get_height(seen));
        g_object_unref(seen);
        g_free((void *)b.p);
    }
}

/* Twice as large: the halves still meet in the middle, and contain touches the box. */
static void
test_enlarge_pixels(void **state)
{
    (void)state;
    for (int fit = PRESET_COVER; fit <= PRESET_INSIDE; fit++) {
        struct preset p = preset_of(200, 100, (enum preset_fit)fit, PRESET_PNG);
        struct slice b = make_halves(100, 50, 3, 20, 220, 0);
        p.enlarge = true;
        VipsImage *seen = rendered(b, &p);
        assert_int_equal(vips_image_get_bands(seen), 3);
        assert_near(band(seen, 2, 2, 0), 20, 1, "left");
        assert_near(band(seen, 94, 50, 0), 20, 1, "left of the middle");
        assert_near(band(seen, 105, 50, 0), 220, 1, "right of the middle");
        assert_near(band(seen, 197, 97, 0), 220, 1, "right");
        g_object_unref(seen);
        g_free((void *)b.p);
    }
}

/* ---- sharpen ---- */

static void
test_sharpen(void **state)
{
    (void)state;
    static const int band_counts[] = {1, 2, 3, 4};
    for (size_t i = 0; i < ARRAY_LEN(band_counts); i++) {
        int bands = band_counts[i];
        struct preset p = preset_of(SIDE, SIDE, PRESET_INSIDE, PRESET_PNG);
        struct slice b = make_halves(SIDE, SIDE, bands, 90, 160, 200);
        VipsImage *plain = rendered(b, &p);
        p.sharpen = 100;
        VipsImage *sharp = rendered(b, &p);
        assert_int_equal(vips_image_get_bands(sharp), bands);
        assert_near(band(plain, SIDE / 2 - 1, 9, 0), 90, 0, "plain");
        assert_true(band(sharp, SIDE / 2 - 1, 9, 0) < 87); /* darker and lighter at the edge */
        assert_true(band(sharp, SIDE / 2, 9, 0) > 163);
        assert_near(band(sharp, 5, 9, 0), 90, 1, "flat, left");
        assert_near(band(sharp, SIDE - 5, 9, 0), 160, 1, "flat, right");
        if (bands % 2 == 0)
            for (int x = 0; x < SIDE; x++)
                assert_near(band(sharp, x, 9, bands - 1), x < SIDE / 2 ? 255 : 200, 0, "alpha");
        g_object_unref(plain);
        g_object_unref(sharp);
        g_free((void *)b.p);
    }
}

static void
test_sharpen_bounds(void **state)
{
    (void)state;
    struct slice b = make_halves(SIDE, SIDE, 3, 90, 160, 0);
    for (int sharpen = 1; sharpen <= PRESET_SHARPEN_MAX; sharpen += 333) {
        struct preset p = preset_of(9, 30, PRESET_COVER, PRESET_PNG);
        p.sharpen = sharpen;
        VipsImage *seen = rendered(b, &p);
        assert_int_equal(vips_image_get_width(seen), 9);
        g_object_unref(seen);
    }
    g_free((void *)b.p);
}

/* ---- background ---- */

static void
assert_color(VipsImage *im, int x, int y, uint32_t rgb, double tolerance, const char *what)
{
    for (int i = 0; i < 3; i++)
        assert_near(band(im, x, y, vips_image_get_bands(im) < 3 ? 0 : i), rgb >> (16 - 8 * i) & 255,
                    tolerance, what);
}

/* Transparent parts of a JPEG, for grey and coloured pictures on grey and coloured grounds. */
static void
test_background_flatten(void **state)
{
    (void)state;
    static const uint32_t colors[] = {0, 0x808080, 0xffffff, 0x2060c0};
    for (size_t i = 0; i < ARRAY_LEN(colors); i++)
        for (int bands = 2; bands <= 4; bands += 2) {
            struct preset p = preset_of(SIDE, SIDE, PRESET_INSIDE, PRESET_JPEG);
            struct slice b = make_halves(SIDE, SIDE, bands, 90, 160, 0);
            p.has_background = true;
            p.background = colors[i];
            VipsImage *seen = rendered(b, &p);
            assert_color(seen, 50, 30, colors[i], 4, "ground");
            assert_color(seen, 10, 30, 0x5a5a5a, 4, "picture");
            g_object_unref(seen);
            g_free((void *)b.p);
        }
}

static void
test_background_padding(void **state)
{
    (void)state;
    static const uint32_t colors[] = {0xeeeeee, 0xc04020};
    for (size_t i = 0; i < ARRAY_LEN(colors); i++)
        for (int format = PRESET_WEBP; format <= PRESET_AVIF; format++)
            for (int bands = 1; bands <= 4; bands++) {
                struct preset p = preset_of(SIDE, SIDE, PRESET_CONTAIN, (enum preset_format)format);
                struct slice b = make_halves(SIDE, SIDE / 2, bands, 90, 160, 0);
                bool alpha = bands % 2 == 0 && format != PRESET_JPEG;
                p.has_background = true;
                p.background = colors[i];
                VipsImage *seen = rendered(b, &p);
                int last = vips_image_get_bands(seen) - 1;
                assert_int_equal(vips_image_hasalpha(seen), alpha);
                assert_color(seen, 30, 4, colors[i], 12, "padding above");
                assert_color(seen, 30, SIDE - 4, colors[i], 12, "padding below");
                assert_color(seen, 10, 32, 0x5a5a5a, 12, "picture");
                if (alpha) { /* the padding is opaque, the picture's own holes stay */
                    assert_near(band(seen, 30, 4, last), 255, 0, "padding");
                    assert_near(band(seen, 50, 32, last), 0, 3, "hole");
                }
                g_object_unref(seen);
                g_free((void *)b.p);
            }
}

/* ---- keep_copyright ---- */

/* The two signs in front are patched to a UTF-8 copyright sign in the file. */
static const char copyright[] = "@@ 2016 Ann (all rights, and more, of hers, reserved)";
static const char copyright_kept[] = "(C) 2016 Ann (all rights, and more, of hers, reserved)";

/* Everything that EXIF could give away, and who made the picture. */
static struct slice
make_signed(bool webp, bool with_words)
{
    static const struct {
        const char *field, *value;
    } fields[] = {
        {"exif-ifd0-Make", "SECRET-make (SECRET-make, ASCII, 12 components, 12 bytes)"},
        {"exif-ifd0-ImageDescription", "SECRET-text (SECRET-text, ASCII, 12 components, 12 bytes)"},
        {"exif-ifd2-UserComment", "SECRET-said (SECRET-said, ASCII, 12 components, 12 bytes)"},
        {"exif-ifd2-BodySerialNumber", "SECRET-0815 (SECRET-0815, ASCII, 12 components, 12 bytes)"},
        {"exif-ifd3-GPSLatitude",
         "33/1 51/1 216/10 (33, 51, 21.6, Rational, 3 components, 24 bytes)"},
        {"exif-ifd3-GPSLatitudeRef", "S (S, ASCII, 2 components, 2 bytes)"},
        {"exif-ifd3-GPSLongitude",
         "151/1 12/1 36/1 (151, 12, 36, Rational, 3 components, 24 bytes)"},
        {"exif-ifd3-GPSLongitudeRef", "E (E, ASCII, 2 components, 2 bytes)"},
    };
    uint8_t px[SIDE * SIDE * 3];
    memset(px, 99, sizeof(px));
    VipsImage *im = from_pixels(px, SIDE, SIDE, 3);
    char text[256];
    void *p;
    size_t n;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        vips_image_set_string(im, fields[i].field, fields[i].value);
    snprintf(text, sizeof(text), "%s (x, ASCII, 1 components, 1 bytes)", copyright);
    if (with_words) {
        vips_image_set_string(im, "exif-ifd0-Copyright", text);
        vips_image_set_string(im, "exif-ifd0-Artist", "Ann (Ann, ASCII, 4 components, 4 bytes)");
    }
    vips_image_set_blob_copy(im, VIPS_META_XMP_NAME, "<x>SECRET-xmp</x>", 17);
    assert_int_equal(
        webp ? vips_webpsave_buffer(im, &p, &n, NULL) : vips_jpegsave_buffer(im, &p, &n, NULL), 0);
    g_object_unref(im);
    ptrdiff_t at = slice_find(slice_of(p, n), SLICE_LIT("@@ 2016"));
    assert_int_equal(at > 0, with_words);
    if (with_words)
        memcpy((char *)p + at, "\xc2\xa9", 2);
    return slice_of(p, n);
}

/* EXIF of what the preset makes of it, and whether there is a word too many anywhere. */
static void
render_exif(struct slice bytes, const struct preset *p, struct exif_facts *facts, bool *any)
{
    struct image *im = NULL, *again = NULL;
    struct image_output out;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(image_open(&im, bytes, sniff(bytes), &limits, &why), ERR_NONE);
    assert_int_equal(image_decode(im, 1, &why), ERR_NONE);
    assert_int_equal(image_render(im, p, &out, &why), ERR_NONE);
    if (slice_find(out.bytes, SLICE_LIT("SECRET")) >= 0)
        fail_msg("format %d gives a secret away", p->format);
    assert_int_equal(image_open(&again, out.bytes, sniff(out.bytes), &limits, &why), ERR_NONE);
    exif_read(image_facts(again)->exif, facts);
    *any = image_facts(again)->exif.n > 0;
    image_free(&again);
    image_output_free(&out);
    image_free(&im);
    buf_fini(&why);
}

static void
test_copyright(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * 2 * 2 * 4; i++) {
        bool webp = i & 1, words = i & 2, keep = i & 4;
        struct slice b = make_signed(webp, words);
        struct preset p =
            preset_of(i & 8 ? SIDE : 20, SIDE, PRESET_INSIDE, (enum preset_format)(i >> 3));
        struct exif_facts facts;
        bool any;
        assert_true(slice_find(b, SLICE_LIT("SECRET-make")) > 0);
        assert_true(slice_find(b, SLICE_LIT("SECRET-xmp")) > 0);
        p.keep_copyright = keep;
        render_exif(b, &p, &facts, &any);
        if (any != (keep && words && p.format != PRESET_PNG))
            fail_msg("format %d: EXIF or none", p.format);
        if (any) {
            assert_string_equal(facts.copyright, copyright_kept);
            assert_string_equal(facts.artist, "Ann");
        }
        assert_false(facts.has_position || facts.has_altitude || facts.camera_make[0] != '\0');
        g_free((void *)b.p);
    }
}

/* ---- animated ---- */

#define FRAMES 5
#define FRAME_W 60
#define FRAME_H 40

/* Frame i is i * 50 grey; 40 + 10 i ms each; three times. */
static struct slice
make_animation(bool webp)
{
    static uint8_t px[FRAMES * FRAME_W * FRAME_H * 3];
    int delays[FRAMES];
    void *p;
    size_t n;
    for (size_t i = 0; i < sizeof(px); i++)
        px[i] = (uint8_t)(i / (FRAME_W * FRAME_H * 3) * 50);
    for (int i = 0; i < FRAMES; i++)
        delays[i] = 40 + 10 * i;
    VipsImage *im = from_pixels(px, FRAME_W, FRAME_H * FRAMES, 3);
    vips_image_set_int(im, VIPS_META_PAGE_HEIGHT, FRAME_H);
    vips_image_set_array_int(im, "delay", delays, FRAMES);
    vips_image_set_int(im, "loop", 3);
    assert_int_equal(webp ? vips_webpsave_buffer(im, &p, &n, "lossless", TRUE, NULL)
                          : vips_gifsave_buffer(im, &p, &n, NULL),
                     0);
    g_object_unref(im);
    return slice_of(p, n);
}

static int
render_animation(struct slice bytes, const struct preset *p, int64_t pixels_total_max,
                 struct image_output *out, struct buf *why)
{
    struct image_limits tight = {50000000, pixels_total_max};
    struct image *im = NULL;
    int opened = image_open(&im, bytes, sniff(bytes), &tight, why);
    if (opened != ERR_NONE)
        return opened;
    int64_t before = image_decode_bytes(im, 1);
    image_expect(im, p);
    assert_int_equal(image_decode_bytes(im, 1) > before, p->animated);
    assert_int_equal(image_decode(im, 1, why), ERR_NONE);
    int err = image_render(im, p, out, why);
    image_free(&im);
    return err;
}

static void
assert_frames(const struct image_output *out)
{
    int *delays, n, loop;
    VipsImage *seen = vips_image_new_from_buffer(out->bytes.p, out->bytes.n, "n=-1", NULL);
    assert_non_null(seen);
    assert_int_equal(vips_image_get_page_height(seen), out->height);
    assert_int_equal(vips_image_get_height(seen), out->height * FRAMES);
    assert_int_equal(vips_image_get_array_int(seen, "delay", &delays, &n), 0);
    assert_int_equal(n, FRAMES);
    assert_int_equal(vips_image_get_int(seen, "loop", &loop), 0);
    assert_int_equal(loop, 3);
    for (int i = 0; i < FRAMES; i++) /* before the pixels: loaders then replace what they said */
        assert_int_equal(delays[i], 40 + 10 * i);
    for (int i = 0; i < FRAMES; i++) {
        for (int part = 1; part <= 5; part += 2) /* first, middle, last rows: no frame bleeds */
            assert_near(band(seen, 5, i * out->height + out->height * part / 6, 0), i * 50, 4,
                        "frame");
    }
    g_object_unref(seen);
}

static void
test_animated(void **state)
{
    (void)state;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    for (int webp = 0; webp < 2; webp++)
        for (int fit = PRESET_COVER; fit <= PRESET_INSIDE; fit++) {
            struct slice b = make_animation(webp);
            struct preset p = preset_of(30, 20, (enum preset_fit)fit, PRESET_WEBP);
            struct image_output out;
            p.focus = PRESET_ATTENTION;
            p.animated = true;
            assert_int_equal(render_animation(b, &p, 1 << 20, &out, &why), ERR_NONE);
            assert_int_equal(out.width, 30);
            assert_int_equal(out.height, 20);
            assert_frames(&out);
            assert_int_equal(slice_find(out.bytes, SLICE_LIT("EXIF")), -1);
            image_output_free(&out);

            p.animated = false; /* the first frame alone */
            assert_int_equal(render_animation(b, &p, 1 << 20, &out, &why), ERR_NONE);
            assert_int_equal(slice_find(out.bytes, SLICE_LIT("ANIM")), -1);
            image_output_free(&out);
            g_free((void *)b.p);
        }
    buf_fini(&why);
}

/* Enlarged frames over the budget are an error, and so is an animation that breaks off. */
static void
test_animated_refused(void **state)
{
    (void)state;
    struct buf why;
    struct image_output out;
    struct slice b = make_animation(false);
    struct preset p = preset_of(120, 80, PRESET_INSIDE, PRESET_WEBP);
    int64_t exact = (int64_t)120 * 80 * FRAMES;
    p.animated = p.enlarge = true;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(render_animation(b, &p, exact - 1, &out, &why), ERR_RANGE);
    assert_true(slice_find(buf_slice(&why), SLICE_LIT("pixel budget: 5 frames")) >= 0);
    assert_int_equal(render_animation(b, &p, exact, &out, &why), ERR_NONE);
    assert_frames(&out);
    image_output_free(&out);
    g_free((void *)b.p);
    for (int webp = 0; webp < 2; webp++) {
        b = make_animation(webp);
        for (size_t n = b.n / 2; n < b.n; n += b.n / 9) {
            buf_reset(&why);
            assert_int_equal(render_animation(slice_of(b.p, n), &p, exact, &out, &why),
                             ERR_CORRUPT);
        }
        g_free((void *)b.p);
    }
    buf_fini(&why);
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
        cmocka_unit_test(test_enlarge_sizes),
        cmocka_unit_test(test_enlarge_pixels),
        cmocka_unit_test(test_sharpen),
        cmocka_unit_test(test_sharpen_bounds),
        cmocka_unit_test(test_background_flatten),
        cmocka_unit_test(test_background_padding),
        cmocka_unit_test(test_copyright),
        cmocka_unit_test(test_animated),
        cmocka_unit_test(test_animated_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
