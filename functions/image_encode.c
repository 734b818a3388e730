/*
 * From the base picture to one thumbnail: size, crop or padding, encoding. The base has no
 * metadata any more; what leaves is sRGB without a profile. The one thing a preset may keep of a
 * file's words, who made the picture, is written anew and not copied: a source's EXIF block never
 * gets as far as here.
 */
#include "functions/image_priv.h"
#include "functions/image_exif.h"
#include "functions/image_webp.h"
#include "base/chk.h"
#include "base/err.h"

#include <math.h>
#include <stdio.h>

/* Effort 4 costs 2.5 times as much for 2 % of the bytes. */
#define WEBP_EFFORT 2
#define AVIF_EFFORT 2
/* Progressive JPEG pays by its bytes only when large. */
#define JPEG_PROGRESSIVE_SIDE 640

/* ---- shape ---- */

/* The picture at the preset's scale, before crop and padding. What a crop would take away from an
 * enlarged picture is taken away first: 1 x 8000 pixels for a box of 8000 x 8000 are not made wide.
 */
static int
scaled(struct image *im, const struct preset *p, VipsImage **out)
{
    double scale = image_fit_scale(im, p);
    if (scale <= 1 || p->fit != PRESET_COVER)
        return image_scaled(im, (int)fmax(1, lrint(im->facts.width * scale)),
                            (int)fmax(1, lrint(im->facts.height * scale)), out);
    VipsImage *part = NULL;
    int rc = image_crop(im, im->base, (int)fmax(1, lrint(p->width / scale)),
                        (int)fmax(1, lrint(p->height / scale)), p->focus, &part);
    if (rc == 0)
        rc = image_resize(part, p->width, p->height, out);
    g_clear_object(&part);
    return rc;
}

/* Lightness only; alpha is no lightness. */
static int
sharpen(VipsImage *in, const struct preset *p, VipsImage **out)
{
    VipsImage *t[3] = {NULL};
    int bands = vips_image_get_bands(in), rc = -1;
    if (p->sharpen == 0) {
        *out = g_object_ref(in);
        return 0;
    }
    if (!vips_image_hasalpha(in))
        return vips_sharpen(in, out, "sigma", p->sharpen / 100.0, NULL);
    if (vips_extract_band(in, &t[0], 0, "n", bands - 1, NULL) == 0 &&
        vips_extract_band(in, &t[1], bands - 1, NULL) == 0 &&
        vips_sharpen(t[0], &t[2], "sigma", p->sharpen / 100.0, NULL) == 0)
        rc = vips_bandjoin2(t[2], t[1], out, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(t); i++)
        g_clear_object(&t[i]);
    return rc;
}

/* ---- background ---- */

/* A grey picture becomes a coloured one where it has to stand on a colour. */
static int
ready_for_background(VipsImage *in, const struct preset *p, VipsImage **out)
{
    uint32_t red = p->background >> 16, green = p->background >> 8 & 255,
             blue = p->background & 255;
    bool shown = p->has_background && (p->format == PRESET_JPEG || p->fit == PRESET_CONTAIN);
    if (shown && vips_image_get_bands(in) < 3 && (red != green || green != blue))
        return vips_colourspace(in, out, VIPS_INTERPRETATION_sRGB, NULL);
    *out = g_object_ref(in);
    return 0;
}

/* The preset's colour, white by default, in so many bands; a fourth or second one is opaque. */
static VipsArrayDouble *
background(const struct preset *p, int bands)
{
    uint32_t rgb = p->has_background ? p->background : 0xffffff;
    double v[4];
    int colors = bands >= 3 ? 3 : 1;
    for (int i = 0; i < bands; i++)
        v[i] = i < colors ? rgb >> (16 - 8 * i) & 255 : 255;
    return vips_array_double_new(v, bands);
}

static int
flatten(VipsImage *in, const struct preset *p, VipsImage **out)
{
    if (p->format != PRESET_JPEG || !vips_image_hasalpha(in)) {
        *out = g_object_ref(in);
        return 0;
    }
    VipsArrayDouble *color = background(p, vips_image_get_bands(in) - 1);
    int rc = vips_flatten(in, out, "background", color, NULL);
    vips_area_unref(VIPS_AREA(color));
    return rc;
}

/* Centred in the whole box: on the preset's colour, else on white for JPEG and on nothing for the
 * others. */
static int
pad(VipsImage *in, const struct preset *p, VipsImage **out)
{
    int w = vips_image_get_width(in), h = vips_image_get_height(in);
    if (p->fit != PRESET_CONTAIN || (w == p->width && h == p->height)) {
        *out = g_object_ref(in);
        return 0;
    }
    bool filled = p->has_background || p->format == PRESET_JPEG;
    VipsImage *ready = NULL;
    if (filled || vips_image_hasalpha(in))
        ready = g_object_ref(in);
    else if (vips_addalpha(in, &ready, NULL) != 0)
        return -1;
    VipsArrayDouble *color =
        filled ? background(p, vips_image_get_bands(ready)) : vips_array_double_newv(1, 0.0);
    int rc = vips_embed(ready, out, (p->width - w) / 2, (p->height - h) / 2, p->width, p->height,
                        "extend", VIPS_EXTEND_BACKGROUND, "background", color, NULL);
    vips_area_unref(VIPS_AREA(color));
    g_clear_object(&ready);
    return rc;
}

static int
crop(const struct image *im, VipsImage *in, const struct preset *p, VipsImage **out)
{
    if (p->fit == PRESET_COVER)
        return image_crop(im, in, p->width, p->height, p->focus, out);
    *out = g_object_ref(in);
    return 0;
}

int
image_shape(struct image *im, const struct preset *p, VipsImage **out)
{
    VipsImage *t[5] = {NULL};
    int rc = -1;
    if (scaled(im, p, &t[0]) == 0 && ready_for_background(t[0], p, &t[1]) == 0 &&
        flatten(t[1], p, &t[2]) == 0 && crop(im, t[2], p, &t[3]) == 0 &&
        sharpen(t[3], p, &t[4]) == 0)
        rc = pad(t[4], p, out);
    for (size_t i = G_N_ELEMENTS(t); i-- > 0;)
        g_clear_object(&t[i]);
    return rc;
}

/* ---- bytes ---- */

/* libvips takes "text (what it was read as)" and drops the last parenthesis: give it one to drop.
 */
static void
set_exif_text(VipsImage *im, const char *field, const char *text)
{
    char value[EXIF_TEXT_MAX + 64];
    if (text[0] == '\0')
        return;
    snprintf(value, sizeof(value), "%s (, ASCII, %zu components, %zu bytes)", text,
             strlen(text) + 1, strlen(text) + 1);
    vips_image_set_string(im, field, value);
}

/* With the author's words if the preset keeps them and there are any: then `*words`, and nothing
 * may strip the EXIF block that the saver makes of them. */
static int
sign(const struct image *im, VipsImage *in, const struct preset *p, bool *words, VipsImage **out)
{
    struct exif_facts facts = {0};
    if (p->keep_copyright)
        exif_read(im->facts.exif, &facts);
    *words = facts.copyright[0] != '\0' || facts.artist[0] != '\0';
    if (vips_copy(in, out, NULL) != 0)
        return -1;
    set_exif_text(*out, "exif-ifd0-Copyright", facts.copyright);
    set_exif_text(*out, "exif-ifd0-Artist", facts.artist);
    return 0;
}

static int
encode(VipsImage *in, const struct preset *p, gboolean strip, void **bytes, size_t *n)
{
    gboolean progressive = vips_image_get_width(in) > JPEG_PROGRESSIVE_SIDE ||
                           vips_image_get_height(in) > JPEG_PROGRESSIVE_SIDE;
    switch (p->format) {
    case PRESET_WEBP:
        return vips_webpsave_buffer(in, bytes, n, "Q", p->quality, "effort", WEBP_EFFORT, "strip",
                                    strip, NULL);
    case PRESET_JPEG:
        return vips_jpegsave_buffer(in, bytes, n, "Q", p->quality, "optimize_coding", TRUE,
                                    "interlace", progressive, "strip", strip, NULL);
    case PRESET_PNG:
        return vips_pngsave_buffer(in, bytes, n, "strip", strip, NULL);
    case PRESET_AVIF:
        return vips_heifsave_buffer(in, bytes, n, "Q", p->quality, "effort", AVIF_EFFORT,
                                    "compression", VIPS_FOREIGN_HEIF_COMPRESSION_AV1, "bitdepth", 8,
                                    "strip", strip, NULL);
    }
    CHK(!"a preset format without an encoder");
    return -1;
}

int
image_render(struct image *im, const struct preset *p, struct image_output *out, struct buf *why)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    CHK(im->base != NULL);
    VipsImage *shaped = NULL, *ready = NULL;
    uint8_t *roll = NULL;
    bool words = false;
    void *bytes = NULL;
    size_t n = 0;
    int err = ERR_NONE;
    *out = (struct image_output){0};
    if (image_is_animated(im, p))
        err = image_animation(im, p, &shaped, &roll, why);
    else if (image_shape(im, p, &shaped) != 0)
        err = image_vips_error(why, "cannot make it");
    if (err != ERR_NONE)
        goto out;
    if (sign(im, shaped, p, &words, &ready) != 0 || encode(ready, p, !words, &bytes, &n) != 0) {
        err = image_vips_error(why, "cannot make it");
        goto out;
    }
    if (p->format == PRESET_WEBP && !words)
        n = webp_strip(bytes, n);
    out->bytes = slice_of(bytes, n);
    out->width = vips_image_get_width(shaped);
    out->height = vips_image_get_page_height(shaped);
out:
    g_clear_object(&ready);
    g_clear_object(&shaped);
    g_free(roll);
    return err;
}

void
image_output_free(struct image_output *out)
{
    g_free((void *)out->bytes.p);
    *out = (struct image_output){0};
}
