/*
 * Every form of every format through every kind of preset: the mean colour of each quadrant of the
 * thumbnail against the pixels that the file was made from. And orientation, in every format that
 * has one.
 */
#include "functions/image.h"
#include "base/chk.h"
#include "base/err.h"
#include "tests/functions/makers.h"

#include <math.h>
#include <unistd.h>

#define W 480
#define H 320

static const struct image_limits limits = {50000000, 100000000};

/* ---- the files ---- */

static struct slice
make_jpeg(int components, bool ycck, struct jpeg_form form)
{
    uint8_t *px = rgb_pixels(W, H);
    if (components == 1)
        for (int i = 0; i < W * H; i++)
            px[i] = px[3 * i];
    struct slice s = jpeg_bytes(px, W, H, components, ycck, &form);
    free(px);
    return s;
}

/* The quadrants in CMYK as the general profile has them; Adobe's files are inverted. */
static struct slice
make_cmyk(bool ycck)
{
    VipsImage *im = in_profile(rgb_image(W, H), "cmyk");
    size_t n;
    uint8_t *px = vips_image_write_to_memory(im, &n);
    for (size_t i = 0; i < n; i++)
        px[i] = (uint8_t)(255 - px[i]);
    struct slice s = jpeg_bytes(px, W, H, 4, ycck, &(struct jpeg_form){0});
    g_object_unref(im);
    g_free(px);
    return s;
}

static struct slice
save(int (*saver)(VipsImage *in, void **p, size_t *n), VipsImage *im)
{
    void *p;
    size_t n;
    if (saver(im, &p, &n) != 0)
        fail_msg("%s", vips_error_buffer());
    g_object_unref(im);
    return slice_of(p, n);
}

#define SAVER(name, call)                               \
    static int name(VipsImage *in, void **p, size_t *n) \
    {                                                   \
        return call;                                    \
    }
SAVER(to_jpeg, vips_jpegsave_buffer(in, p, n, "Q", 95, NULL))
SAVER(to_png, vips_pngsave_buffer(in, p, n, NULL))
SAVER(to_png_interlaced, vips_pngsave_buffer(in, p, n, "interlace", TRUE, NULL))
SAVER(to_png_palette, vips_pngsave_buffer(in, p, n, "palette", TRUE, "dither", 0.0, NULL))
SAVER(to_webp, vips_webpsave_buffer(in, p, n, "Q", 95, NULL))
SAVER(to_webp_lossless, vips_webpsave_buffer(in, p, n, "lossless", TRUE, NULL))
SAVER(to_jxl, vips_jxlsave_buffer(in, p, n, "distance", 0.5, NULL))
SAVER(to_gif, vips_gifsave_buffer(in, p, n, "dither", 0.0, NULL))
SAVER(to_tiff, vips_tiffsave_buffer(in, p, n, NULL))
SAVER(to_tiff_lzw, vips_tiffsave_buffer(in, p, n, "compression", VIPS_FOREIGN_TIFF_COMPRESSION_LZW,
                                        "predictor", VIPS_FOREIGN_TIFF_PREDICTOR_HORIZONTAL, NULL))
SAVER(to_tiff_deflate,
      vips_tiffsave_buffer(in, p, n, "compression", VIPS_FOREIGN_TIFF_COMPRESSION_DEFLATE, NULL))
SAVER(to_tiff_jpeg,
      vips_tiffsave_buffer(in, p, n, "compression", VIPS_FOREIGN_TIFF_COMPRESSION_JPEG, "tile",
                           TRUE, "Q", 95, NULL))
SAVER(to_tiff_tiled, vips_tiffsave_buffer(in, p, n, "tile", TRUE, "tile_width", 64, "tile_height",
                                          64, "bigtiff", TRUE, NULL))
SAVER(to_tiff_pyramid, vips_tiffsave_buffer(in, p, n, "tile", TRUE, "pyramid", TRUE, "tile_width",
                                            64, "tile_height", 64, NULL))

/* Two pages or frames, the second one black. */
static struct slice
save_pages(int (*saver)(VipsImage *in, void **p, size_t *n))
{
    VipsImage *pages[2] = {rgb_image(W, H), NULL}, *both = NULL, *copy = NULL;
    assert_int_equal(vips_linear1(pages[0], &copy, 0, 0, "uchar", TRUE, NULL), 0);
    pages[1] = copy;
    assert_int_equal(vips_arrayjoin(pages, &both, 2, "across", 1, NULL), 0);
    g_object_unref(pages[0]);
    g_object_unref(pages[1]);
    vips_image_set_int(both, VIPS_META_PAGE_HEIGHT, H);
    return save(saver, both);
}

static struct slice
make_svg(void)
{
    GString *s = g_string_new(NULL);
    g_string_printf(s, "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d'>", W, H);
    for (int q = 0; q < 4; q++)
        g_string_append_printf(
            s, "<rect x='%d' y='%d' width='%d' height='%d' fill='rgb(%d,%d,%d)'/>", q % 2 * W / 2,
            q / 2 * H / 2, W / 2, H / 2, quadrants[q][0], quadrants[q][1], quadrants[q][2]);
    g_string_append(s, "</svg>");
    size_t n = s->len;
    return slice_of(g_string_free(s, FALSE), n);
}

static struct slice
make_heif(enum heif_compression_format codec, int bits)
{
    uint8_t *px = rgb_pixels(W, H);
    struct slice s = heif_bytes(codec, px, W, H, bits, 1);
    free(px);
    return s;
}

enum form {
    JPEG_BASELINE,
    JPEG_420,
    JPEG_PROGRESSIVE,
    JPEG_ARITHMETIC,
    JPEG_ARITHMETIC_PROGRESSIVE,
    JPEG_GREY,
    JPEG_CMYK,
    JPEG_YCCK,
    JPEG_CMYK_PROFILE,
    JPEG_P3,
    PNG_8,
    PNG_16,
    PNG_PALETTE,
    PNG_ALPHA,
    PNG_ALPHA_16,
    PNG_INTERLACED,
    PNG_GREY,
    PNG_GREY_16,
    PNG_GREY_ALPHA,
    WEBP_LOSSY,
    WEBP_LOSSLESS,
    WEBP_ALPHA,
    WEBP_ANIMATED,
    GIF_STILL,
    GIF_ANIMATED,
    TIFF_PLAIN,
    TIFF_LZW,
    TIFF_DEFLATE,
    TIFF_JPEG,
    TIFF_TILED_BIG,
    TIFF_PYRAMID,
    TIFF_16,
    TIFF_GREY,
    TIFF_CMYK,
    TIFF_ALPHA,
    TIFF_PAGES,
    AVIF_8,
    AVIF_10,
    AVIF_12,
    HEIC_8,
    HEIC_10,
    HEIC_12,
    JXL_LOSSY,
    SVG_DRAWN,
    FORM_COUNT
};

static struct slice
make_form(enum form f)
{
    switch (f) {
    case JPEG_BASELINE:
        return make_jpeg(3, false, (struct jpeg_form){0});
    case JPEG_420:
        return make_jpeg(3, false, (struct jpeg_form){.subsampled = true});
    case JPEG_PROGRESSIVE:
        return make_jpeg(3, false, (struct jpeg_form){.progressive = true});
    case JPEG_ARITHMETIC:
        return make_jpeg(3, false, (struct jpeg_form){.arithmetic = true});
    case JPEG_ARITHMETIC_PROGRESSIVE:
        return make_jpeg(3, false, (struct jpeg_form){.arithmetic = true, .progressive = true});
    case JPEG_GREY:
        return make_jpeg(1, false, (struct jpeg_form){0});
    case JPEG_CMYK:
        return make_cmyk(false);
    case JPEG_YCCK:
        return make_cmyk(true);
    case JPEG_CMYK_PROFILE:
        return save(to_jpeg, in_profile(rgb_image(W, H), "cmyk"));
    case JPEG_P3:
        return save(to_jpeg, in_profile(rgb_image(W, H), "p3"));
    case PNG_8:
        return save(to_png, rgb_image(W, H));
    case PNG_16:
        return save(to_png, rgb16_image(W, H));
    case PNG_PALETTE:
        return save(to_png_palette, rgb_image(W, H));
    case PNG_ALPHA:
        return save(to_png, with_alpha(rgb_image(W, H)));
    case PNG_ALPHA_16:
        return save(to_png, with_alpha(rgb16_image(W, H)));
    case PNG_INTERLACED:
        return save(to_png_interlaced, rgb_image(W, H));
    case PNG_GREY:
        return save(to_png, grey_image(W, H, 1));
    case PNG_GREY_16:
        return save(to_png, grey_image(W, H, 2));
    case PNG_GREY_ALPHA:
        return save(to_png, with_alpha(grey_image(W, H, 1)));
    case WEBP_LOSSY:
        return save(to_webp, rgb_image(W, H));
    case WEBP_LOSSLESS:
        return save(to_webp_lossless, rgb_image(W, H));
    case WEBP_ALPHA:
        return save(to_webp, with_alpha(rgb_image(W, H)));
    case WEBP_ANIMATED:
        return save_pages(to_webp);
    case GIF_STILL:
        return save(to_gif, rgb_image(W, H));
    case GIF_ANIMATED:
        return save_pages(to_gif);
    case TIFF_PLAIN:
        return save(to_tiff, rgb_image(W, H));
    case TIFF_LZW:
        return save(to_tiff_lzw, rgb_image(W, H));
    case TIFF_DEFLATE:
        return save(to_tiff_deflate, rgb_image(W, H));
    case TIFF_JPEG:
        return save(to_tiff_jpeg, rgb_image(W, H));
    case TIFF_TILED_BIG:
        return save(to_tiff_tiled, rgb_image(W, H));
    case TIFF_PYRAMID:
        return save(to_tiff_pyramid, rgb_image(W, H));
    case TIFF_16:
        return save(to_tiff, rgb16_image(W, H));
    case TIFF_GREY:
        return save(to_tiff, grey_image(W, H, 1));
    case TIFF_CMYK:
        return save(to_tiff, in_profile(rgb_image(W, H), "cmyk"));
    case TIFF_ALPHA:
        return save(to_tiff, with_alpha(rgb_image(W, H)));
    case TIFF_PAGES:
        return save_pages(to_tiff);
    case AVIF_8:
        return make_heif(heif_compression_AV1, 8);
    case AVIF_10:
        return make_heif(heif_compression_AV1, 10);
    case AVIF_12:
        return make_heif(heif_compression_AV1, 12);
    case HEIC_8:
        return make_heif(heif_compression_HEVC, 8);
    case HEIC_10:
        return make_heif(heif_compression_HEVC, 10);
    case HEIC_12:
        return make_heif(heif_compression_HEVC, 12);
    case JXL_LOSSY:
        return save(to_jxl, rgb_image(W, H));
    case SVG_DRAWN:
        return make_svg();
    case FORM_COUNT:
        break;
    }
    return SLICE_NONE;
}

static bool
is_grey_form(enum form f)
{
    return f == JPEG_GREY || f == PNG_GREY || f == PNG_GREY_16 || f == PNG_GREY_ALPHA ||
           f == TIFF_GREY;
}

/* ---- looking ---- */

/* Mean of each channel of the box, as three. */
static void
mean_of(VipsImage *im, int left, int top, int width, int height, double mean[3])
{
    VipsImage *part = NULL, *rgb = NULL, *box = NULL;
    assert_int_equal(vips_colourspace(im, &rgb, VIPS_INTERPRETATION_sRGB, NULL), 0);
    assert_int_equal(vips_extract_area(rgb, &part, left, top, width, height, NULL), 0);
    for (int band = 0; band < 3; band++) {
        assert_int_equal(vips_extract_band(part, &box, band, NULL), 0);
        assert_int_equal(vips_avg(box, &mean[band], NULL), 0);
        g_clear_object(&box);
    }
    g_object_unref(part);
    g_object_unref(rgb);
}

/* The picture lies in the middle of the thumbnail, `h` of its rows high; the middle half of each
 * quadrant is compared. */
static void
assert_quadrants(const struct image_output *out, int h, bool grey, double tolerance,
                 const char *what)
{
    VipsImage *im = vips_image_new_from_buffer(out->bytes.p, out->bytes.n, "", NULL);
    assert_non_null(im);
    assert_int_equal(vips_image_get_width(im), out->width);
    assert_int_equal(vips_image_get_height(im), out->height);
    int w = out->width, top = (out->height - h) / 2;
    for (int q = 0; q < 4; q++) {
        double got[3];
        mean_of(im, (q % 2) * w / 2 + w / 8, top + (q / 2) * h / 2 + h / 8, w / 4, h / 4, got);
        for (int c = 0; c < 3; c++) {
            double want = quadrants[q][grey ? 0 : c];
            if (fabs(got[c] - want) > tolerance)
                fail_msg("%s, quadrant %d: %.1f %.1f %.1f, channel %d should be %.0f", what, q,
                         got[0], got[1], got[2], c, want);
        }
    }
    g_object_unref(im);
}

/* ---- tests ---- */

static const struct {
    struct preset preset;
    int width, height, picture_height;
} kinds[] = {
    {{.name = "small",
      .width = 160,
      .height = 160,
      .fit = PRESET_COVER,
      .format = PRESET_WEBP,
      .quality = 80},
     160,
     160,
     160},
    {{.name = "medium",
      .width = 640,
      .height = 640,
      .fit = PRESET_INSIDE,
      .format = PRESET_WEBP,
      .quality = 80},
     W,
     H,
     H},
    {{.name = "large",
      .width = 1600,
      .height = 1600,
      .fit = PRESET_INSIDE,
      .format = PRESET_WEBP,
      .quality = 80},
     W,
     H,
     H},
    {{.name = "contain",
      .width = 150,
      .height = 150,
      .fit = PRESET_CONTAIN,
      .format = PRESET_JPEG,
      .quality = 80},
     150,
     150,
     100},
    {{.name = "png",
      .width = 120,
      .height = 120,
      .fit = PRESET_INSIDE,
      .format = PRESET_PNG,
      .quality = 80},
     120,
     80,
     80},
    {{.name = "avif",
      .width = 120,
      .height = 120,
      .fit = PRESET_INSIDE,
      .format = PRESET_AVIF,
      .quality = 60},
     120,
     80,
     80},
};

static void
render_all(struct slice bytes, bool grey, double tolerance, int form)
{
    struct image *im = NULL;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    if (image_open(&im, bytes, sniff(bytes), &limits, &why) != ERR_NONE ||
        image_decode(im, 1, &why) != ERR_NONE)
        fail_msg("form %d: %s", form, why.p);
    assert_false(image_damaged(im));
    assert_int_equal(image_facts(im)->width, W);
    assert_int_equal(image_facts(im)->height, H);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct image_output out;
        char what[64];
        snprintf(what, sizeof(what), "form %d, preset %.32s", form, kinds[i].preset.name);
        if (image_render(im, &kinds[i].preset, &out, &why) != ERR_NONE)
            fail_msg("%s: %s", what, why.p);
        assert_int_equal(out.width, kinds[i].width);
        assert_int_equal(out.height, kinds[i].height);
        assert_quadrants(&out, kinds[i].picture_height, grey, tolerance, what);
        image_output_free(&out);
    }
    image_free(&im);
    buf_fini(&why);
}

/* Two lossy codecs in a row stay within this; CMYK's table is coarser. */
static void
test_all_formats_all_presets(void **state)
{
    (void)state;
    int absent = 0;
    for (int f = 0; f < FORM_COUNT; f++) {
        struct slice bytes = make_form((enum form)f);
        bool cmyk = f == JPEG_CMYK || f == JPEG_YCCK || f == JPEG_CMYK_PROFILE || f == TIFF_CMYK;
        if (bytes.n == 0) {
            assert_true(f >= AVIF_8 && f <= HEIC_12);
            print_message("form %d cannot be made here\n", f);
            absent++;
            continue;
        }
        render_all(bytes, is_grey_form((enum form)f), cmyk ? 8 : 5, f);
        g_free((void *)(uintptr_t)bytes.p);
    }
    assert_true(absent <= HEIC_12 - AVIF_8);
}

static struct slice
make_turned(enum form f, int o)
{
    uint8_t *upright = rgb_pixels(W, H), *px;
    struct slice s = SLICE_NONE;
    if (f == HEIC_8 || f == AVIF_8) {
        px = turn(upright, W, H, 3, o);
        s = heif_bytes(f == HEIC_8 ? heif_compression_HEVC : heif_compression_AV1, px,
                       o >= 5 ? H : W, o >= 5 ? W : H, 8, o);
    } else {
        px = turn(upright, W, H, 3, o);
        VipsImage *im = vips_of(px, o >= 5 ? H : W, o >= 5 ? W : H, 3, VIPS_FORMAT_UCHAR,
                                VIPS_INTERPRETATION_sRGB);
        vips_image_set_int(im, VIPS_META_ORIENTATION, o);
        s = save(f == JPEG_BASELINE   ? to_jpeg
                 : f == WEBP_LOSSLESS ? to_webp_lossless
                 : f == TIFF_PLAIN    ? to_tiff
                                      : to_png,
                 im);
    }
    free(px);
    free(upright);
    return s;
}

static void
test_orientation(void **state)
{
    (void)state;
    static const enum form forms[] = {JPEG_BASELINE, WEBP_LOSSLESS, TIFF_PLAIN, HEIC_8, AVIF_8};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        for (int o = 1; o <= 8; o++) {
            struct slice bytes = make_turned(forms[i], o);
            if (bytes.n == 0)
                continue;
            render_all(bytes, false, 5, forms[i] * 100 + o);
            g_free((void *)(uintptr_t)bytes.p);
        }
    }
}

/* The looks of CMYK without a profile, of one byte for all four quadrants' worth of channels. */
static double
look_of_cmyk(void)
{
    static uint8_t px[32 * 32 * 4];
    memset(px, 100, sizeof(px));
    struct slice s = jpeg_bytes(px, 32, 32, 4, false, &(struct jpeg_form){0});
    struct preset p = {.width = 16, .height = 16, .fit = PRESET_INSIDE, .format = PRESET_PNG};
    struct image *im = NULL;
    struct image_output out;
    struct buf why;
    double mean[3];
    buf_init(&why, IMAGE_WHY_MAX);
    p.quality = 80;
    assert_int_equal(image_open(&im, s, SNIFF_JPEG, &limits, &why), ERR_NONE);
    assert_int_equal(image_decode(im, 1, &why), ERR_NONE);
    assert_int_equal(image_render(im, &p, &out, &why), ERR_NONE);
    VipsImage *seen = vips_image_new_from_buffer(out.bytes.p, out.bytes.n, "", NULL);
    mean_of(seen, 4, 4, 8, 8, mean);
    g_object_unref(seen);
    image_output_free(&out);
    image_free(&im);
    buf_fini(&why);
    g_free((void *)(uintptr_t)s.p);
    return mean[0];
}

/* Zeroes the second half of the table that leads from CMYK to a colour: all looks different. */
static void
spoil_profile(uint8_t *p)
{
    uint32_t count = GUINT32_FROM_BE(*(uint32_t *)(p + 128));
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *tag = p + 132 + 12 * i;
        size_t at = GUINT32_FROM_BE(*(const uint32_t *)(tag + 4));
        size_t n = GUINT32_FROM_BE(*(const uint32_t *)(tag + 8));
        if (memcmp(tag, "A2B", 3) == 0)
            for (size_t k = at + n / 4; k < at + n; k++)
                p[k] = 0xff;
    }
}

static void
test_cmyk_profile(void **state)
{
    (void)state;
    VipsBlob *built_in = NULL;
    char path[] = "/tmp/darkroom-cmyk-XXXXXX";
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(vips_profile_load("cmyk", &built_in, NULL), 0);
    size_t n;
    const void *bytes = vips_blob_get(built_in, &n);
    uint8_t *spoiled = g_memdup2(bytes, n);
    double general = look_of_cmyk();
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "not a profile", 13) == 13);
    assert_int_equal(image_set_cmyk_profile(path, &why), ERR_INVALID);
    assert_non_null(strstr(why.p, "image.cmyk_profile: "));
    assert_int_equal(image_set_cmyk_profile("/nowhere/a.icc", &why), ERR_NOTFOUND);
    assert_true(pwrite(fd, bytes, n, 0) == (ssize_t)n);
    assert_int_equal(image_set_cmyk_profile(path, &why), ERR_NONE);
    assert_true(fabs(look_of_cmyk() - general) < 1);
    spoil_profile(spoiled);
    assert_true(pwrite(fd, spoiled, n, 0) == (ssize_t)n);
    assert_int_equal(image_set_cmyk_profile(path, &why), ERR_NONE);
    assert_true(fabs(look_of_cmyk() - general) > 20);
    /* A profile of its own goes before. */
    struct slice own = make_form(JPEG_CMYK_PROFILE);
    render_all(own, false, 8, JPEG_CMYK_PROFILE);
    g_free((void *)(uintptr_t)own.p);
    close(fd);
    unlink(path);
    g_free(spoiled);
    vips_area_unref(VIPS_AREA(built_in));
    buf_fini(&why);
}

static int
setup(void **state)
{
    (void)state;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    image_allow(SNIFF_JXL);
    image_allow(SNIFF_SVG);
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
        cmocka_unit_test(test_all_formats_all_presets),
        cmocka_unit_test(test_orientation),
        cmocka_unit_test(test_cmyk_profile),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
