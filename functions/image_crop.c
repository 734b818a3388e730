/*
 * Which part of a picture a crop keeps. First word has the point that somebody named; then the
 * preset's focus; and where that finds nothing to look at, the centre.
 */
#include "functions/image_priv.h"

#include <math.h>

/* Of 255: noise, and what JPEG makes of one plain colour, stay below. */
#define PLAIN_RANGE 8

/* Start of `length` out of `whole` with the point as near to its middle as the edges allow. A point
 * inside the whole is then inside the part as well. */
static int
place(int whole, int length, double point)
{
    long start = lrint(point * whole - length / 2.0);
    long last = whole - length;
    return (int)(start < 0 ? 0 : start > last ? last : start);
}

/* Whether no band of the picture has anything to tell its parts apart. */
static int
is_plain(VipsImage *in, bool *plain)
{
    VipsImage *stats = NULL;
    if (vips_stats(in, &stats, NULL) != 0)
        return -1;
    *plain = true;
    /* Row 0 is of all bands together; the first two columns are minimum and maximum. */
    for (int band = 1; band < vips_image_get_height(stats); band++)
        if (*VIPS_MATRIX(stats, 1, band) - *VIPS_MATRIX(stats, 0, band) > PLAIN_RANGE)
            *plain = false;
    g_object_unref(stats);
    return 0;
}

int
image_crop(const struct image *im, VipsImage *in, int width, int height, enum preset_focus focus,
           VipsImage **out)
{
    static const VipsInteresting interest[] = {VIPS_INTERESTING_CENTRE, VIPS_INTERESTING_ATTENTION,
                                               VIPS_INTERESTING_ENTROPY};
    int w = vips_image_get_width(in), h = vips_image_get_height(in);
    width = width < w ? width : w;
    height = height < h ? height : h;
    if (width == w && height == h) {
        *out = g_object_ref(in);
        return 0;
    }
    if (im->focal.given)
        return vips_extract_area(in, out, place(w, width, im->focal.x),
                                 place(h, height, im->focal.y), width, height, NULL);
    bool plain = true;
    if (focus != PRESET_CENTRE && is_plain(in, &plain) != 0)
        return -1;
    if (plain)
        return vips_extract_area(in, out, (w - width) / 2, (h - height) / 2, width, height, NULL);
    return vips_smartcrop(in, out, width, height, "interesting", interest[focus], NULL);
}
