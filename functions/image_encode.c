/*
 * From the base picture to one thumbnail: size, crop or padding, encoding. The base has no
 * metadata any more; what leaves is sRGB without a profile.
 */
#include "functions/image_priv.h"
#include "functions/image_webp.h"
#include "base/chk.h"
#include "base/err.h"

#include <math.h>

/* Effort 4 costs 2.5 times as much for 2 % of the bytes. */
#define WEBP_EFFORT 2
#define AVIF_EFFORT 2
/* Progressive JPEG pays by its bytes only when large. */
#define JPEG_PROGRESSIVE_SIDE 640

/* ---- shape ---- */

/* The picture's size before crop and padding. */
static void
scaled_size(const struct image *im, const struct preset *p, int *width, int *height)
{
    double scale = image_preset_scale(im, p);
    *width = (int)fmax(1, lrint(im->facts.width * scale));
    *height = (int)fmax(1, lrint(im->facts.height * scale));
}

static int
flatten(VipsImage *in, VipsImage **out)
{
    if (!vips_image_hasalpha(in)) {
        *out = g_object_ref(in);
        return 0;
    }
    VipsArrayDouble *white = vips_array_double_newv(1, 255.0);
    int rc = vips_flatten(in, out, "background", white, NULL);
    vips_area_unref(VIPS_AREA(white));
    return rc;
}

/* Centred in the whole box: on white for JPEG, else on nothing. */
static int
pad(VipsImage *in, const struct preset *p, VipsImage **out)
{
    int w = vips_image_get_width(in), h = vips_image_get_height(in);
    if (w == p->width && h == p->height) {
        *out = g_object_ref(in);
        return 0;
    }
    bool jpeg = p->format == PRESET_JPEG;
    VipsImage *ready = NULL;
    int rc = -1;
    if (jpeg || vips_image_hasalpha(in))
        ready = g_object_ref(in);
    else if (vips_addalpha(in, &ready, NULL) != 0)
        return -1;
    VipsArrayDouble *color = vips_array_double_newv(1, jpeg ? 255.0 : 0.0);
    rc = vips_embed(ready, out, (p->width - w) / 2, (p->height - h) / 2, p->width, p->height,
                    "extend", VIPS_EXTEND_BACKGROUND, "background", color, NULL);
    vips_area_unref(VIPS_AREA(color));
    g_clear_object(&ready);
    return rc;
}

/* ---- bytes ---- */

static int
encode(VipsImage *in, const struct preset *p, void **bytes, size_t *n)
{
    gboolean progressive = vips_image_get_width(in) > JPEG_PROGRESSIVE_SIDE ||
                           vips_image_get_height(in) > JPEG_PROGRESSIVE_SIDE;
    switch (p->format) {
    case PRESET_WEBP:
        return vips_webpsave_buffer(in, bytes, n, "Q", p->quality, "effort", WEBP_EFFORT, "strip",
                                    TRUE, NULL);
    case PRESET_JPEG:
        return vips_jpegsave_buffer(in, bytes, n, "Q", p->quality, "optimize_coding", TRUE,
                                    "interlace", progressive, "strip", TRUE, NULL);
    case PRESET_PNG:
        return vips_pngsave_buffer(in, bytes, n, "strip", TRUE, NULL);
    case PRESET_AVIF:
        return vips_heifsave_buffer(in, bytes, n, "Q", p->quality, "effort", AVIF_EFFORT,
                                    "compression", VIPS_FOREIGN_HEIF_COMPRESSION_AV1, "bitdepth", 8,
                                    "strip", TRUE, NULL);
    }
    CHK(!"a preset format without an encoder");
    return -1;
}

int
image_render(struct image *im, const struct preset *p, struct image_output *out, struct buf *why)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    CHK(im->base != NULL);
    VipsImage *t[3] = {NULL};
    void *bytes = NULL;
    size_t n = 0;
    int width, height, err = ERR_NONE;
    *out = (struct image_output){0};
    scaled_size(im, p, &width, &height);
    if (image_resize(im->base, width, height, &t[0]) != 0 ||
        (p->format == PRESET_JPEG ? flatten(t[0], &t[1]) : vips_copy(t[0], &t[1], NULL)) != 0 ||
        (p->fit == PRESET_COVER     ? image_crop(im, t[1], p->width, p->height, p->focus, &t[2])
         : p->fit == PRESET_CONTAIN ? pad(t[1], p, &t[2])
                                    : vips_copy(t[1], &t[2], NULL)) != 0 ||
        encode(t[2], p, &bytes, &n) != 0) {
        err = image_vips_error(why, "cannot make it");
        goto out;
    }
    if (p->format == PRESET_WEBP)
        n = webp_strip(bytes, n);
    out->bytes = slice_of(bytes, n);
    out->width = vips_image_get_width(t[2]);
    out->height = vips_image_get_height(t[2]);
out:
    for (size_t i = G_N_ELEMENTS(t); i-- > 0;)
        g_clear_object(&t[i]);
    return err;
}

void
image_output_free(struct image_output *out)
{
    g_free((void *)out->bytes.p);
    *out = (struct image_output){0};
}
