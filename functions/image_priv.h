/*
 * Inside functions/image*.c.
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_PRIV_H
#define DARKROOM_FUNCTIONS_IMAGE_PRIV_H

#include "functions/image.h"

#include <vips/vips.h>

#define IMAGE_MAGIC 0x1ca9e001u

struct image {
    uint32_t magic;
    struct slice bytes;
    struct image_facts facts;
    int stored_width, stored_height; /* before orientation */
    int64_t coefficient_bytes;       /* a JPEG decoder keeps them all before the first row; or 0 */
    struct slice icc, exif;          /* owned */
    int64_t bytes_min;               /* no whole file of this size and format is smaller; or 0 */
    VipsImage *header;               /* opened, no pixel decoded yet */
    VipsImage *base;                 /* after image_decode() */
    VipsImage *smaller;              /* the last that image_scaled() made of it, or NULL */
    int64_t pixels_total_max;        /* image_limits */
    int64_t animation_bytes;         /* image_expect() */
    bool damaged;
    struct {
        bool given;
        double x, y;
    } focal; /* image_set_focal() */
};

/* Moves what libvips complained about into `why` as one line of plain text, "what: ...". Returns
 * ERR_NOMEM when memory was the cause, else ERR_CORRUPT. */
int image_vips_error(struct buf *why, const char *what);

/* The last warning of a library since image_idle(), foreign text; "" without. */
const char *image_warning(void);

/* Before libvips sees the file: ERR_RANGE for one made to be read for ever. Sets coefficient_bytes
 * and bytes_min. */
int image_guard(struct image *im, struct buf *why);

/* From the picture to the preset's size; above 1 only for presets that enlarge. */
double image_fit_scale(const struct image *im, const struct preset *p);

struct image_extent {
    double width, height;
};

/* Exactly width x height; alpha is weighed. */
int image_resize(VipsImage *in, int width, int height, VipsImage **out);

/* The same of a picture that was this large before the last pixels, less than one a side, went. */
int image_resize_part(VipsImage *in, struct image_extent whole, int width, int height,
                      VipsImage **out);

/* The whole base at this size. Of what is at hand, the base and the last one made, it is made of
 * the smaller that is still twice as large: ask for the largest first. */
int image_scaled(struct image *im, int width, int height, VipsImage **out);

/* A part of at most width x height: around the focal point, else by `focus`. A side that the
 * picture does not fill is left as it is. */
int image_crop(const struct image *im, VipsImage *in, int width, int height,
               enum preset_focus focus, VipsImage **out);

/* Colour, orientation, no metadata: what makes a base of pixels as loaded; consumes `*in`. */
int image_finish(const struct image *im, VipsImage **in, VipsImage **out);
/* All that a preset does to the pixels of a base, in order. */
int image_shape(struct image *im, const struct preset *p, VipsImage **out);

/* Whether this preset wants more than the first frame of this picture. */
bool image_is_animated(const struct image *im, const struct preset *p);
/* Every frame shaped, one below the other, with "page-height", "delay" and "loop". Its pixels are
 * in `*roll`, which the caller frees after `*out`, error or not. ERR_RANGE: over the budget. */
int image_animation(const struct image *im, const struct preset *p, VipsImage **out, uint8_t **roll,
                    struct buf *why);

/* 8-bit sRGB or grey, with or without alpha, as the embedded profile says. */
int image_to_srgb(VipsImage *in, struct slice icc, VipsImage **out);

#endif
