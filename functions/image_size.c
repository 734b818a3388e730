/*
 * Size: lanczos3 from as large a picture as it takes and no larger.
 *
 *   far       a step shrinks by 8 at most, the picture between two steps is in memory
 *   many      what one call makes smaller is kept for the next; twice its size is as good as all
 *   partial   a decoder that shrinks leaves out what fills no whole pixel: factors come from the
 *             size that the picture would have with it, else it comes out too wide
 *   alpha     colours are weighed by it, or those of transparent pixels would bleed
 *
 * libvips itself would begin with a box filter when it has to shrink by more than 4. Of pictures in
 * memory that costs five times what the good filter does alone: "gap" 0 keeps it out. Without it
 * the integer filters of libvips are fast and right up to the factor of a step, beyond it neither.
 */
#include "functions/image_priv.h"

#define STEP_MAX 8

static struct image_extent
extent_of(const VipsImage *in)
{
    return (struct image_extent){vips_image_get_width(in), vips_image_get_height(in)};
}

static bool
is_far(const VipsImage *in, int width, int height)
{
    return vips_image_get_width(in) > STEP_MAX * width ||
           vips_image_get_height(in) > STEP_MAX * height;
}

/* From `n` pixels on the way to `target`: twice as many, unless that is too far for one step. */
static int
step(int n, int target)
{
    int nearest = (n + STEP_MAX - 1) / STEP_MAX, twice = 2 * target;
    return n < twice ? n : nearest > twice ? nearest : twice;
}

/* Both factors come from the wanted size, so that libvips cannot round elsewhere. */
static int
resize_once(VipsImage *in, struct image_extent whole, int width, int height, VipsImage **out)
{
    return vips_resize(in, out, width / whole.width, "vscale", height / whole.height, "kernel",
                       VIPS_KERNEL_LANCZOS3, "gap", 0.0, NULL);
}

/* In steps, each at least halves a side. */
static int
resize_plain(VipsImage *in, struct image_extent whole, int width, int height, VipsImage **out)
{
    if (!is_far(in, width, height))
        return resize_once(in, whole, width, height, out);
    VipsImage *lazy = NULL, *nearer = NULL;
    int rc = resize_once(in, whole, step(vips_image_get_width(in), width),
                         step(vips_image_get_height(in), height), &lazy);
    if (rc == 0 && (nearer = vips_image_copy_memory(lazy)) == NULL)
        rc = -1;
    if (rc == 0)
        rc = resize_plain(nearer, extent_of(nearer), width, height, out);
    g_clear_object(&nearer);
    g_clear_object(&lazy);
    return rc;
}

int
image_resize_part(VipsImage *in, struct image_extent whole, int width, int height, VipsImage **out)
{
    if (width == vips_image_get_width(in) && height == vips_image_get_height(in)) {
        *out = g_object_ref(in);
        return 0;
    }
    if (!vips_image_hasalpha(in))
        return resize_plain(in, whole, width, height, out);
    VipsBandFormat format = vips_image_get_format(in);
    VipsImage *t[4] = {NULL};
    int rc = -1;
    if (vips_premultiply(in, &t[0], NULL) == 0 && vips_cast(t[0], &t[1], format, NULL) == 0 &&
        resize_plain(t[1], whole, width, height, &t[2]) == 0 &&
        vips_unpremultiply(t[2], &t[3], NULL) == 0)
        rc = vips_cast(t[3], out, format, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(t); i++)
        g_clear_object(&t[i]);
    return rc;
}

int
image_resize(VipsImage *in, int width, int height, VipsImage **out)
{
    return image_resize_part(in, extent_of(in), width, height, out);
}

/* Whether a picture of this size loses nothing by being made of `from`. */
static bool
serves(const VipsImage *from, int width, int height)
{
    int w = vips_image_get_width(from), h = vips_image_get_height(from);
    return (w == width && h == height) || (w / 2 >= width && h / 2 >= height);
}

int
image_scaled(struct image *im, int width, int height, VipsImage **out)
{
    VipsImage *from = im->base, *lazy = NULL;
    if (im->smaller != NULL && serves(im->smaller, width, height))
        from = im->smaller;
    if (image_resize(from, width, height, &lazy) != 0)
        return -1;
    *out = vips_image_copy_memory(lazy);
    g_object_unref(lazy);
    if (*out == NULL)
        return -1;
    if (width < vips_image_get_width(im->base) && height < vips_image_get_height(im->base)) {
        g_clear_object(&im->smaller);
        im->smaller = g_object_ref(*out);
    }
    return 0;
}
