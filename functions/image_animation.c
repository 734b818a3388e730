/*
 * Whole animations. libvips has one as a single tall picture, frame below frame. It is read as a
 * stream: one frame at a time is finished and shaped like any thumbnail, then put into the tall
 * picture of the result. All or an error: a frame too few is not a smaller animation.
 */
#include "functions/image_priv.h"
#include "base/chk.h"
#include "base/err.h"

#include <math.h>
#include <stdlib.h>

/* The decoder's canvas and the frames on their way. */
#define FRAMES_IN_FLIGHT 4
#define PIXEL_BYTES 4

bool
image_is_animated(const struct image *im, const struct preset *p)
{
    return p->animated && p->format == PRESET_WEBP && im->facts.pages > 1 &&
           (im->facts.format == SNIFF_GIF || im->facts.format == SNIFF_WEBP);
}

/* Pixels of one frame of the result, at most. */
static int64_t
frame_pixels(const struct image *im, const struct preset *p)
{
    double scale = image_fit_scale(im, p);
    double w = fmin(ceil(im->facts.width * scale), p->width);
    double h = fmin(ceil(im->facts.height * scale), p->height);
    return p->fit == PRESET_CONTAIN ? (int64_t)p->width * p->height : (int64_t)(w * h);
}

void
image_expect(struct image *im, const struct preset *p)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    if (!image_is_animated(im, p))
        return;
    int64_t canvas = (int64_t)im->stored_width * im->stored_height * FRAMES_IN_FLIGHT;
    int64_t bytes = (canvas + frame_pixels(im, p) * im->facts.pages) * PIXEL_BYTES;
    if (bytes > im->animation_bytes)
        im->animation_bytes = bytes;
}

/* Bytes of a colour table as its flags say. */
static size_t
color_table(uint8_t flags)
{
    return (flags & 0x80) == 0 ? 0 : (size_t)3 << ((flags & 7) + 1);
}

/* GIF89a: whether block after block leads to the trailer. The decoder is content with the frames
 * that are there. */
static bool
gif_is_whole(struct slice bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    size_t n = bytes.n, at = n < 13 ? n : 13 + color_table(p[10]);
    while (at < n && p[at] != 0x3b) {
        if (p[at] == 0x2c && n - at > 11) /* image: descriptor, table, code size */
            at += 11 + color_table(p[at + 9]);
        else if (p[at] == 0x21) /* extension: label */
            at += 2;
        else
            return false;
        while (at < n && p[at] != 0)
            at += (size_t)p[at] + 1;
        at++;
    }
    return at < n;
}

static int
load_all(const struct image *im, VipsImage **out)
{
    void *p = (void *)im->bytes.p;
    if (im->facts.format == SNIFF_GIF)
        return vips_gifload_buffer(p, im->bytes.n, out, "n", -1, "access", VIPS_ACCESS_SEQUENTIAL,
                                   "fail_on", VIPS_FAIL_ON_ERROR, NULL);
    return vips_webpload_buffer(p, im->bytes.n, out, "n", -1, "access", VIPS_ACCESS_SEQUENTIAL,
                                "fail_on", VIPS_FAIL_ON_ERROR, NULL);
}

/* Frame `i`, upright and shaped. Attention and entropy would look elsewhere in every frame and make
 * the picture jump: without a focal point animations are cropped at the centre. */
static int
make_frame(const struct image *im, VipsImage *all, int i, const struct preset *p, VipsImage **out)
{
    struct image frame = *im;
    struct preset still = *p;
    VipsImage *part = NULL;
    still.focus = PRESET_CENTRE;
    frame.base = frame.smaller = NULL;
    if (vips_extract_area(all, &part, 0, i * im->stored_height, im->stored_width, im->stored_height,
                          NULL) != 0 ||
        image_finish(im, &part, &frame.base) != 0)
        return -1;
    int rc = image_shape(&frame, &still, out);
    g_clear_object(&frame.smaller);
    g_clear_object(&frame.base);
    return rc;
}

/* Frame by frame into `*roll`, allocated with the first one; `*shape` is that one. */
static int
fill(const struct image *im, VipsImage *all, const struct preset *p, uint8_t **roll,
     VipsImage **shape)
{
    size_t each = 0;
    for (int i = 0; i < im->facts.pages; i++) {
        VipsImage *frame = NULL;
        size_t n = 0;
        void *pixels =
            make_frame(im, all, i, p, &frame) != 0 ? NULL : vips_image_write_to_memory(frame, &n);
        if (i == 0 && pixels != NULL) {
            each = n;
            *shape = g_object_ref(frame);
            *roll = g_try_malloc_n((size_t)im->facts.pages, n);
        }
        bool good = pixels != NULL && n == each && *roll != NULL;
        if (good)
            memcpy(*roll + (size_t)i * each, pixels, n);
        g_free(pixels);
        g_clear_object(&frame);
        if (!good)
            return -1;
    }
    return 0;
}

/* How long each frame stays and how often all repeat. */
static void
copy_timing(VipsImage *from, VipsImage *to)
{
    int *delays, n, loop;
    if (vips_image_get_typeof(from, "delay") != 0 &&
        vips_image_get_array_int(from, "delay", &delays, &n) == 0)
        vips_image_set_array_int(to, "delay", delays, n);
    if (vips_image_get_typeof(from, "loop") != 0 && vips_image_get_int(from, "loop", &loop) == 0)
        vips_image_set_int(to, "loop", loop);
}

static int
join(const uint8_t *roll, VipsImage *shape, int pages, VipsImage **out)
{
    int w = vips_image_get_width(shape), h = vips_image_get_height(shape);
    int bands = vips_image_get_bands(shape);
    size_t n = (size_t)w * (size_t)h * (size_t)bands * (size_t)pages;
    *out = vips_image_new_from_memory(roll, n, w, h * pages, bands, VIPS_FORMAT_UCHAR);
    if (*out == NULL)
        return -1;
    (*out)->Type = vips_image_get_interpretation(shape);
    vips_image_set_int(*out, VIPS_META_PAGE_HEIGHT, h);
    return 0;
}

int
image_animation(const struct image *im, const struct preset *p, VipsImage **out, uint8_t **roll,
                struct buf *why)
{
    VipsImage *all = NULL, *shape = NULL;
    int64_t total = frame_pixels(im, p) * im->facts.pages;
    int rc = -1;
    *roll = NULL;
    if (total > im->pixels_total_max || (int64_t)p->height * im->facts.pages > VIPS_MAX_COORD) {
        buf_printf(why, "pixel budget: %d frames of this preset are more than %lld pixels",
                   im->facts.pages, (long long)im->pixels_total_max);
        return ERR_RANGE;
    }
    if (im->damaged || (im->facts.format == SNIFF_GIF && !gif_is_whole(im->bytes))) {
        buf_puts(why, "the animation is damaged: frames are missing");
        return ERR_CORRUPT;
    }
    if (load_all(im, &all) == 0 && fill(im, all, p, roll, &shape) == 0)
        rc = join(*roll, shape, im->facts.pages, out);
    if (rc == 0)
        copy_timing(all, *out);
    g_clear_object(&shape);
    g_clear_object(&all);
    return rc == 0 ? ERR_NONE : image_vips_error(why, "cannot make the animation");
}
