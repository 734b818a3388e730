/* Files of every format the worker reads, made from pixels that the test knows: four quadrants,
 * each of one colour. By the codecs themselves where libvips cannot write a form (arithmetic JPEG,
 * YCCK, turned HEIC). Results are heap, g_free() them. */
#ifndef DARKROOM_TESTS_FUNCTIONS_MAKERS_H
#define DARKROOM_TESTS_FUNCTIONS_MAKERS_H

#include "base/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <vips/vips.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <libheif/heif.h>

/* No colour that CMYK lacks, so that one reference serves all. */
static const uint8_t quadrants[4][3] = {
    {190, 70, 60}, {90, 150, 90}, {80, 100, 160}, {220, 205, 120}};

/* ---- pixels ---- */

/* The stored form of an upright w x h picture kept with this orientation: n bytes a pixel. */
static inline uint8_t *
turn(const uint8_t *upright, int w, int h, int n, int orientation)
{
    int sw = orientation >= 5 ? h : w, sh = orientation >= 5 ? w : h;
    uint8_t *stored = malloc((size_t)w * (size_t)h * (size_t)n);
    for (int y = 0; y < sh; y++)
        for (int x = 0; x < sw; x++) {
            int ux = x, uy = y;
            switch (orientation) {
            case 2:
                ux = w - 1 - x;
                break;
            case 3:
                ux = w - 1 - x;
                uy = h - 1 - y;
                break;
            case 4:
                uy = h - 1 - y;
                break;
            case 5:
                ux = y;
                uy = x;
                break;
            case 6:
                ux = w - 1 - y;
                uy = x;
                break;
            case 7:
                ux = w - 1 - y;
                uy = h - 1 - x;
                break;
            case 8:
                ux = y;
                uy = h - 1 - x;
                break;
            default:
                break;
            }
            memcpy(stored + (size_t)(y * sw + x) * (size_t)n,
                   upright + (size_t)(uy * w + ux) * (size_t)n, (size_t)n);
        }
    return stored;
}

/* RGB of the four quadrants. */
static inline uint8_t *
rgb_pixels(int w, int h)
{
    uint8_t *p = malloc((size_t)w * (size_t)h * 3);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            memcpy(p + 3 * (y * w + x), quadrants[(y >= h / 2) * 2 + (x >= w / 2)], 3);
    return p;
}

static inline VipsImage *
vips_of(const void *p, int w, int h, int bands, VipsBandFormat format, VipsInterpretation space)
{
    size_t n = (size_t)w * (size_t)h * (size_t)bands * vips_format_sizeof(format);
    VipsImage *im = vips_image_new_from_memory_copy(p, n, w, h, bands, format);
    assert_non_null(im);
    im->Type = space;
    return im;
}

static inline VipsImage *
rgb_image(int w, int h)
{
    uint8_t *p = rgb_pixels(w, h);
    VipsImage *im = vips_of(p, w, h, 3, VIPS_FORMAT_UCHAR, VIPS_INTERPRETATION_sRGB);
    free(p);
    return im;
}

/* Every channel times 257. */
static inline VipsImage *
rgb16_image(int w, int h)
{
    uint8_t *p = rgb_pixels(w, h);
    uint16_t *wide = malloc((size_t)w * (size_t)h * 6);
    for (int i = 0; i < w * h * 3; i++)
        wide[i] = (uint16_t)(p[i] * 257);
    VipsImage *im = vips_of(wide, w, h, 3, VIPS_FORMAT_USHORT, VIPS_INTERPRETATION_RGB16);
    free(wide);
    free(p);
    return im;
}

/* Grey of the red channel; `bytes` 1 or 2. */
static inline VipsImage *
grey_image(int w, int h, int bytes)
{
    uint8_t *p = rgb_pixels(w, h);
    uint16_t *wide = malloc((size_t)w * (size_t)h * 2);
    uint8_t *narrow = (uint8_t *)wide;
    for (int i = 0; i < w * h; i++) {
        if (bytes == 2)
            wide[i] = (uint16_t)(p[3 * i] * 257);
        else
            narrow[i] = p[3 * i];
    }
    VipsImage *im = vips_of(wide, w, h, 1, bytes == 2 ? VIPS_FORMAT_USHORT : VIPS_FORMAT_UCHAR,
                            bytes == 2 ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_B_W);
    free(wide);
    free(p);
    return im;
}

/* An opaque alpha channel. */
static inline VipsImage *
with_alpha(VipsImage *in)
{
    VipsImage *out = NULL;
    assert_int_equal(vips_addalpha(in, &out, NULL), 0);
    g_object_unref(in);
    return out;
}

/* In the space of a profile, which stays attached. */
static inline VipsImage *
in_profile(VipsImage *in, const char *profile)
{
    VipsImage *out = NULL;
    assert_int_equal(vips_icc_transform(in, &out, profile, "input_profile", "srgb", NULL), 0);
    g_object_unref(in);
    return out;
}

/* ---- JPEG, by libjpeg ---- */

struct jpeg_form {
    bool arithmetic, progressive, subsampled;
};

/* `components`: 1, 3, or 4 (CMYK in, inverted as Adobe does; `ycck`: stored so). */
static inline struct slice
jpeg_bytes(const uint8_t *pixels, int w, int h, int components, bool ycck,
           const struct jpeg_form *form)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *out = NULL;
    unsigned long n = 0;
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &out, &n);
    c.image_width = (JDIMENSION)w;
    c.image_height = (JDIMENSION)h;
    c.input_components = components;
    c.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&c);
    if (ycck)
        jpeg_set_colorspace(&c, JCS_YCCK);
    jpeg_set_quality(&c, 95, TRUE);
    c.arith_code = form->arithmetic;
    c.comp_info[0].h_samp_factor = c.comp_info[0].v_samp_factor = form->subsampled ? 2 : 1;
    if (form->progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)c.next_scanline * (size_t)w *
                                                          (size_t)components);
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return slice_of(out, n);
}

/* ---- HEIC and AVIF, by libheif ---- */

static inline struct heif_error
heif_take(struct heif_context *c, const void *data, size_t n, void *arg)
{
    GByteArray *all = arg;
    (void)c;
    g_byte_array_append(all, data, (guint)n);
    return (struct heif_error){heif_error_Ok, heif_suberror_Unspecified, "ok"};
}

static inline struct heif_image *
heif_pixels(const uint8_t *rgb, int w, int h, int bits)
{
    struct heif_image *im = NULL;
    int stride, bytes = bits > 8 ? 2 : 1;
    assert_int_equal(heif_image_create(w, h, heif_colorspace_RGB,
                                       bits > 8 ? heif_chroma_interleaved_RRGGBB_LE
                                                : heif_chroma_interleaved_RGB,
                                       &im)
                         .code,
                     heif_error_Ok);
    assert_int_equal(heif_image_add_plane(im, heif_channel_interleaved, w, h, bits).code,
                     heif_error_Ok);
    uint8_t *plane = heif_image_get_plane(im, heif_channel_interleaved, &stride);
    for (int y = 0; y < h; y++)
        for (int i = 0; i < 3 * w; i++) {
            int v = rgb[3 * w * y + i] * ((1 << bits) - 1) / 255;
            plane[y * stride + i * bytes] = (uint8_t)v;
            if (bytes == 2)
                plane[y * stride + 2 * i + 1] = (uint8_t)(v >> 8);
        }
    return im;
}

/* What these libraries never free; the leak sanitizer asks for it. */
const char *__lsan_default_suppressions(void);
const char *
__lsan_default_suppressions(void)
{
    return "leak:libx265\nleak:libimagequant\nleak:libfontconfig\n";
}

/* {NULL, 0}: this machine's libheif has no encoder for that. */
static inline struct slice
heif_bytes(enum heif_compression_format codec, const uint8_t *rgb, int w, int h, int bits,
           int orientation)
{
    struct heif_context *c = heif_context_alloc();
    struct heif_encoder *e = NULL;
    struct slice made = SLICE_NONE;
    if (heif_context_get_encoder_for_format(c, codec, &e).code == heif_error_Ok) {
        struct heif_image *im = heif_pixels(rgb, w, h, bits);
        struct heif_encoding_options *o = heif_encoding_options_alloc();
        struct heif_writer writer = {.writer_api_version = 1, .write = heif_take};
        GByteArray *all = g_byte_array_new();
        heif_encoder_set_lossy_quality(e, 90);
        /* libheif 1.15 asks libaom for a profile that has 10 bits with 4:2:2 alone. */
        bool is_422 = codec == heif_compression_AV1 && bits == 10;
        heif_encoder_set_parameter_string(e, "chroma", is_422 ? "422" : "444");
        o->image_orientation = (enum heif_orientation)orientation;
        if (heif_context_encode_image(c, im, e, o, NULL).code == heif_error_Ok &&
            heif_context_write(c, &writer, all).code == heif_error_Ok)
            made = slice_of(g_memdup2(all->data, all->len), all->len);
        g_byte_array_free(all, TRUE);
        heif_encoding_options_free(o);
        heif_image_release(im);
        heif_encoder_release(e);
    }
    heif_context_free(c);
    return made;
}

#endif
