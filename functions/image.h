/*
 * Pictures: the only calls of libvips in the program are in image.c and image_*.c, and only the
 * worker links them. One thread. Every refusal leaves one short sentence in `why`.
 *
 * The road of one picture: image_open() reads the header and judges the budgets; the caller learns
 * what a decode would cost (image_decode_bytes); image_decode() makes ONE base picture, upright,
 * 8-bit sRGB or grey, at the largest scale anybody asked for; image_render() and image_sample()
 * make everything else from that base.
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_H
#define DARKROOM_FUNCTIONS_IMAGE_H

#include "base/buf.h"
#include "functions/preset.h"
#include "functions/sniff.h"

#define IMAGE_WHY_MAX 512
#define IMAGE_SAMPLE_SIDE 100
#define IMAGE_WRITTEN "webp jpeg png avif" /* image_start() checks that their savers exist */

/* ---- once per process, in this order ---- */

/* Before image_start(): this optional format is read too. */
void image_allow(enum sniff_format f);
/* Whether files of this format are decoded. */
bool image_reads(enum sniff_format f);
/* Starts libvips without its foreign modules and checks what it can do. ERR_UNSUPPORTED: a loader
 * or saver is missing, or something foreign got loaded. */
int image_start(struct buf *why);
/* After image_start(): the profile of CMYK pictures that have none, instead of a general one. The
 * file is read and tried now. */
int image_set_cmyk_profile(const char *path, struct buf *why);
/* Takes every codec once round, so that what they initialise late is there before confinement. */
int image_warm_up(struct buf *why);
/* Gives memory back between two invocations. */
void image_idle(void);

/* ---- one picture ---- */

struct image_limits {
    int64_t pixels_frame_max; /* width x height */
    int64_t pixels_total_max; /* width x height x pages */
};

struct image_facts {
    enum sniff_format format;
    int width, height; /* as displayed: orientation applied */
    int pages;
    bool alpha;
    int orientation;   /* 1..8 as in EXIF */
    struct slice icc;  /* the embedded profile, n = 0 without; lent by the image */
    struct slice exif; /* TIFF structure, with or without "Exif\0\0" before it; lent */
};

struct image;

/* Header only. `bytes` must outlive the image. ERR_CORRUPT: cannot be read. ERR_RANGE: over a
 * budget. ERR_NOMEM. */
int image_open(struct image **out, struct slice bytes, enum sniff_format format,
               const struct image_limits *limits, struct buf *why);
void image_free(struct image **im);
const struct image_facts *image_facts(const struct image *im);

/* The part of full size that the preset needs, in (0, 1]. */
double image_preset_scale(const struct image *im, const struct preset *p);
/* The same for image_sample(). */
double image_sample_scale(const struct image *im);
/* That the preset will be rendered: one that is animated takes memory of its own. */
void image_expect(struct image *im, const struct preset *p);
/* Memory that image_decode() of this scale, and what image_expect() told, take at most, about. */
int64_t image_decode_bytes(const struct image *im, double scale);
/* Makes the base. What an error in the file leaves readable is taken, and image_damaged() true. */
int image_decode(struct image *im, double scale, struct buf *why);
bool image_damaged(const struct image *im);

/* The point people look at, from (0,0) top left to (1,1) bottom right of the upright picture: every
 * crop is then placed around it, whatever the preset's focus. */
void image_set_focal(struct image *im, double x, double y);

struct image_output {
    struct slice bytes; /* owned */
    int width, height;  /* of one frame */
};

/* After image_decode(): one thumbnail, without any metadata but what keep_copyright keeps. */
int image_render(struct image *im, const struct preset *p, struct image_output *out,
                 struct buf *why);
void image_output_free(struct image_output *out);

struct image_sample {
    int width, height;                                       /* at most IMAGE_SAMPLE_SIDE */
    uint8_t rgba[IMAGE_SAMPLE_SIDE * IMAGE_SAMPLE_SIDE * 4]; /* not premultiplied */
};

/* After image_decode(): the picture very small. */
int image_sample(struct image *im, struct image_sample *out, struct buf *why);

#endif
