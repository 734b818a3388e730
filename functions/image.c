/*
 * From bytes to the base picture.
 *
 *   guard   what the container would cost to read (image_guard.c)
 *   open    header only, by the loader that sniffing chose (libvips never guesses), from memory
 *   judge   pixel budgets, before a pixel is decoded
 *   decode  shrink-on-load, resize to the base's size while streaming, then, small and in memory:
 *           colour to sRGB, orientation
 *
 * Colour and orientation come last because they then cost little; alpha is weighed for the resize.
 * The file is read strictly first. When that fails it is read once more taking what is there, and
 * the picture counts as damaged.
 *
 * All sizes outside load_geometry() are those of the upright picture.
 */
#include "functions/image_priv.h"
#include "functions/text.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/plant.h"

#include <math.h>
#include <stdlib.h>

#define DAMAGED_BITS_PER_PIXEL_MIN 0.02
/* Decoders may shrink while they load as long as so much is left for the good filter. Measured on
 * camera photos as distance from a full decode (butteraugli, below 1 nobody sees it): at worst 0.81
 * with 1.75, 1.00 with 1.6, 1.15 with 1.5. */
#define SHRINK_MARGIN 1.75
/* Nor may the picture move by more than this part of a pixel: 0.95 there, 1.2 at 0.12. */
#define DRIFT_MAX 0.09

/* The largest profile or EXIF block looked at. */
#define BLOB_MAX ((size_t)4 << 20)

/* ---- errors ---- */

/* One complaint per line, the innermost last; a line that begins with a blank belongs to the one
 * before it (libheif's numbers). */
static struct slice
last_complaint(struct slice said)
{
    struct slice line;
    do {
        while (said.n > 0 && said.p[said.n - 1] == '\n')
            said.n--;
        size_t at = said.n;
        while (at > 0 && said.p[at - 1] != '\n')
            at--;
        line = slice_skip(said, at);
        said.n = at;
    } while (said.n > 0 && line.p[0] == ' ');
    return line;
}

int
image_vips_error(struct buf *why, const char *what)
{
    char text[IMAGE_WHY_MAX / 2];
    struct slice said = slice_str(vips_error_buffer());
    bool memory = slice_find(said, SLICE_LIT("out of memory")) >= 0 ||
                  slice_find(said, SLICE_LIT("unable to allocate")) >= 0;
    said = last_complaint(said);
    text_clean(said.n > 0 ? said : slice_str(image_warning()), text, sizeof(text));
    buf_reset(why);
    buf_printf(why, "%s: %s", what, text[0] == '\0' ? "no further word" : text);
    vips_error_clear();
    return memory ? ERR_NOMEM : ERR_CORRUPT;
}

/* ---- header ---- */

/* `shrink` (JPEG) and `scale` (WebP, SVG) are shrink-on-load; 1 is none. */
static int
load(const struct image *im, int shrink, double scale, VipsFailOn fail_on, VipsImage **out)
{
    void *p = (void *)im->bytes.p;
    size_t n = im->bytes.n;
    VipsAccess seq = VIPS_ACCESS_SEQUENTIAL;
    switch (im->facts.format) {
    case SNIFF_JPEG:
        return vips_jpegload_buffer(p, n, out, "access", seq, "fail_on", fail_on, "shrink", shrink,
                                    NULL);
    case SNIFF_PNG:
        return vips_pngload_buffer(p, n, out, "access", seq, "fail_on", fail_on, NULL);
    case SNIFF_WEBP:
        return vips_webpload_buffer(p, n, out, "access", seq, "fail_on", fail_on, "scale", scale,
                                    NULL);
    case SNIFF_GIF:
        return vips_gifload_buffer(p, n, out, "access", seq, "fail_on", fail_on, NULL);
    case SNIFF_TIFF:
        return vips_tiffload_buffer(p, n, out, "access", seq, "fail_on", fail_on, NULL);
    case SNIFF_AVIF:
    case SNIFF_HEIC:
        return vips_heifload_buffer(p, n, out, "access", seq, "fail_on", fail_on, NULL);
    case SNIFF_JXL:
        return vips_jxlload_buffer(p, n, out, "access", seq, "fail_on", fail_on, NULL);
    case SNIFF_SVG: /* no base URI, so nothing outside of it; librsvg's own limits stay on */
        return vips_svgload_buffer(p, n, out, "access", seq, "scale", scale, NULL);
    default:
        CHK(!"a format that image_reads() does not let in");
        return -1;
    }
}

/* A copy: loaders replace the blobs of an open image when they start on its pixels. n = 0 when
 * there is none, or none worth its size. */
static struct slice
copy_blob(VipsImage *in, const char *name)
{
    const void *p;
    size_t n;
    if (vips_image_get_typeof(in, name) == 0 || vips_image_get_blob(in, name, &p, &n) != 0 ||
        n == 0 || n > BLOB_MAX)
        return SLICE_NONE;
    void *copy = malloc(n - plant_short_copy);
    return copy == NULL ? SLICE_NONE : slice_of(memcpy(copy, p, n), n);
}

static void
read_facts(struct image *im)
{
    struct image_facts *f = &im->facts;
    VipsImage *h = im->header;
    im->stored_width = vips_image_get_width(h);
    im->stored_height = vips_image_get_height(h);
    f->orientation = vips_image_get_orientation(h);
    bool turned = f->orientation >= 5;
    f->width = turned ? im->stored_height : im->stored_width;
    f->height = turned ? im->stored_width : im->stored_height;
    f->pages = vips_image_get_n_pages(h);
    f->alpha = vips_image_hasalpha(h);
    im->icc = f->icc = copy_blob(h, VIPS_META_ICC_NAME);
    im->exif = f->exif = copy_blob(h, VIPS_META_EXIF_NAME);
    /* A TIFF keeps its EXIF in its own directories. */
    if (f->format == SNIFF_TIFF)
        f->exif = im->bytes;
}

static int
nothing_there(const struct image *im, struct buf *why)
{
    buf_printf(why, "truncated: %zu bytes hold nothing of %d x %d pixels", im->bytes.n,
               im->facts.width, im->facts.height);
    return ERR_CORRUPT;
}

/* A damaged file that breaks off before any of its picture: the decoder would give grey for it. The
 * least that a codec needs for a picture of one colour is well above this. */
static bool
too_little(const struct image *im)
{
    double bits = (double)im->bytes.n * 8;
    return im->damaged &&
           bits < DAMAGED_BITS_PER_PIXEL_MIN * im->facts.width * (double)im->facts.height;
}

static int
judge(const struct image *im, const struct image_limits *limits, struct buf *why)
{
    const struct image_facts *f = &im->facts;
    int64_t frame = plant_narrow ? im->stored_width * im->stored_height
                                 : (int64_t)im->stored_width * im->stored_height;
    if (frame > limits->pixels_frame_max) {
        buf_printf(why, "pixel budget: %dx%d is more than %lld pixels", f->width, f->height,
                   (long long)limits->pixels_frame_max);
        return ERR_RANGE;
    }
    if (f->pages > limits->pixels_total_max / frame) {
        buf_printf(why, "pixel budget: %d pages of %dx%d are more than %lld pixels", f->pages,
                   f->width, f->height, (long long)limits->pixels_total_max);
        return ERR_RANGE;
    }
    if (im->bytes_min > (int64_t)im->bytes.n)
        return nothing_there(im, why);
    return ERR_NONE;
}

int
image_open(struct image **out, struct slice bytes, enum sniff_format format,
           const struct image_limits *limits, struct buf *why)
{
    int err;
    struct image *im = calloc(1, sizeof(*im));
    *out = NULL;
    if (im == NULL)
        return ERR_NOMEM;
    im->magic = IMAGE_MAGIC;
    im->bytes = bytes;
    im->pixels_total_max = limits->pixels_total_max;
    im->facts.format = format;
    if ((err = image_guard(im, why)) != ERR_NONE)
        goto fail;
    if (load(im, 1, 1, VIPS_FAIL_ON_ERROR, &im->header) != 0) {
        vips_error_clear();
        im->damaged = true;
        if (load(im, 1, 1, VIPS_FAIL_ON_NONE, &im->header) != 0) {
            err = image_vips_error(why, "unreadable");
            goto fail;
        }
    }
    read_facts(im);
    if ((err = judge(im, limits, why)) != ERR_NONE)
        goto fail;
    *out = im;
    return ERR_NONE;
fail:
    image_free(&im);
    return err;
}

void
image_free(struct image **im)
{
    if (*im == NULL)
        return;
    CHK_MAGIC(*im, IMAGE_MAGIC);
    g_clear_object(&(*im)->header);
    g_clear_object(&(*im)->smaller);
    g_clear_object(&(*im)->base);
    free((void *)(*im)->icc.p);
    free((void *)(*im)->exif.p);
    (*im)->magic = 0;
    free(*im);
    *im = NULL;
}

const struct image_facts *
image_facts(const struct image *im)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    return &im->facts;
}

bool
image_damaged(const struct image *im)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    return im->damaged;
}

void
image_set_focal(struct image *im, double x, double y)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    CHK(x >= 0 && x <= 1 && y >= 0 && y <= 1);
    im->focal.given = true;
    im->focal.x = x;
    im->focal.y = y;
}

/* ---- how large ---- */

double
image_fit_scale(const struct image *im, const struct preset *p)
{
    double x = (double)p->width / im->facts.width, y = (double)p->height / im->facts.height;
    double scale = p->fit == PRESET_COVER ? fmax(x, y) : fmin(x, y);
    return p->enlarge ? scale : fmin(scale, 1);
}

double
image_preset_scale(const struct image *im, const struct preset *p)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    return fmin(image_fit_scale(im, p), 1);
}

double
image_sample_scale(const struct image *im)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    int longer = im->facts.width > im->facts.height ? im->facts.width : im->facts.height;
    return fmin((double)IMAGE_SAMPLE_SIDE / longer, 1);
}

/* How to load for a base of this scale, in stored (not upright) coordinates. */
struct geometry {
    int width, height;         /* of the base */
    int shrink;                /* jpeg */
    double load_scale;         /* webp */
    struct image_extent loads; /* what the loader then delivers, but for a part of a pixel */
};

/* How far the picture moves, in pixels of the base, when a side of `n` pixels is shrunk while it is
 * loaded: what fills no whole pixel is left out, and the rest is put in the middle. */
static double
drift(int n, int shrink, double scale)
{
    return (n % shrink) * scale / 2;
}

/* The largest that leaves enough to the good filter and the picture where it is. */
static int
jpeg_shrink(const struct image *im, double scale, double spare)
{
    int shrink = 8;
    while (shrink > 1 && (shrink > spare || drift(im->stored_width, shrink, scale) > DRIFT_MAX ||
                          drift(im->stored_height, shrink, scale) > DRIFT_MAX))
        shrink /= 2;
    return shrink;
}

static struct geometry
load_geometry(const struct image *im, double scale)
{
    struct geometry g = {.shrink = 1, .load_scale = 1};
    g.width = (int)fmax(1, lrint(im->stored_width * scale));
    g.height = (int)fmax(1, lrint(im->stored_height * scale));
    /* A very flat picture must not be shrunk to nothing: libvips aborts at a side of 0. */
    int shorter = im->stored_width < im->stored_height ? im->stored_width : im->stored_height;
    double spare = fmin(1 / (scale * SHRINK_MARGIN), shorter);
    if (im->facts.format == SNIFF_JPEG)
        g.shrink = jpeg_shrink(im, scale, spare);
    if (im->facts.format == SNIFF_WEBP && spare > 1)
        g.load_scale = 1 / spare;
    if (im->facts.format == SNIFF_SVG)
        g.load_scale = scale; /* drawn at the very size */
    g.loads.width = im->stored_width * g.load_scale / g.shrink;
    g.loads.height = im->stored_height * g.load_scale / g.shrink;
    return g;
}

int64_t
image_decode_bytes(const struct image *im, double scale)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    struct geometry g = load_geometry(im, scale);
    int64_t pixel = (int64_t)VIPS_IMAGE_SIZEOF_PEL(im->header);
    int64_t loaded = (int64_t)(ceil(g.loads.width) * ceil(g.loads.height)) * pixel;
    /* These decoders keep planes of their own beside what they deliver, AV1's several of them. */
    if (im->facts.format == SNIFF_HEIC || im->facts.format == SNIFF_WEBP)
        loaded *= 2;
    if (im->facts.format == SNIFF_AVIF)
        loaded *= 4;
    if (im->facts.format == SNIFF_JXL)
        loaded *= 8;
    int64_t base = (int64_t)g.width * g.height * pixel;
    return loaded + im->coefficient_bytes + 3 * base + im->animation_bytes;
}

/* ---- pixels ---- */

/* Before the resize: what is not 8 or 16 bits per channel becomes so. */
static int
to_integers(VipsImage *in, VipsImage **out)
{
    VipsBandFormat format = vips_image_get_format(in);
    if (vips_image_get_coding(in) == VIPS_CODING_NONE &&
        (format == VIPS_FORMAT_UCHAR || format == VIPS_FORMAT_USHORT))
        return vips_copy(in, out, NULL);
    VipsImage *srgb = NULL;
    int rc = vips_colourspace(in, &srgb, VIPS_INTERPRETATION_sRGB, NULL);
    if (rc == 0)
        rc = vips_cast(srgb, out, VIPS_FORMAT_UCHAR, NULL);
    g_clear_object(&srgb);
    return rc;
}

/* To the base's size. Only what shrinking a JPEG left out is known to be missing; libwebp scales
 * the whole picture to the size it delivers. */
static int
resize(VipsImage *in, const struct geometry *g, VipsImage **out)
{
    if (g->shrink == 1)
        return image_resize(in, g->width, g->height, out);
    return image_resize_part(in, g->loads, g->width, g->height, out);
}

/* Streams the file into memory at the base's size. */
static int
stream(const struct image *im, const struct geometry *g, VipsFailOn fail_on, VipsImage **out)
{
    VipsImage *loaded = NULL, *integers = NULL, *resized = NULL;
    bool as_opened = g->shrink == 1 && g->load_scale >= 1 && fail_on != VIPS_FAIL_ON_NONE;
    int rc = -1;
    if (as_opened)
        loaded = g_object_ref(im->header);
    else if (load(im, g->shrink, g->load_scale, fail_on, &loaded) != 0)
        goto out;
    if (to_integers(loaded, &integers) != 0 || resize(integers, g, &resized) != 0)
        goto out;
    *out = vips_image_copy_memory(resized);
    rc = *out == NULL ? -1 : 0;
out:
    g_clear_object(&resized);
    g_clear_object(&integers);
    g_clear_object(&loaded);
    return rc;
}

/* Everything the file said beside its pixels: EXIF, XMP, IPTC, profile, comments, page layout. Not
 * left to the savers: webpsave of libvips 8.14.1 writes EXIF although told to strip it. */
static int
without_metadata(VipsImage *in, VipsImage **out)
{
    if (vips_copy(in, out, NULL) != 0)
        return -1;
    gchar **fields = vips_image_get_fields(*out);
    for (size_t i = 0; fields != NULL && fields[i] != NULL; i++)
        vips_image_remove(*out, fields[i]);
    g_strfreev(fields);
    return 0;
}

int
image_finish(const struct image *im, VipsImage **in, VipsImage **out)
{
    VipsImage *srgb = NULL, *upright = NULL, *bare = NULL;
    int rc = -1;
    if (image_to_srgb(*in, im->facts.icc, &srgb) != 0)
        goto out;
    if (im->facts.orientation == 1)
        upright = g_object_ref(srgb);
    else if (vips_autorot(srgb, &upright, NULL) != 0)
        goto out;
    if (without_metadata(upright, &bare) != 0)
        goto out;
    *out = vips_image_copy_memory(bare);
    rc = *out == NULL ? -1 : 0;
out:
    g_clear_object(&bare);
    g_clear_object(&upright);
    g_clear_object(&srgb);
    g_clear_object(in);
    return rc;
}

int
image_decode(struct image *im, double scale, struct buf *why)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    CHK(im->base == NULL && scale > 0 && scale <= 1);
    struct geometry g = load_geometry(im, scale);
    VipsImage *small = NULL;
    VipsFailOn strict = im->damaged ? VIPS_FAIL_ON_NONE : VIPS_FAIL_ON_ERROR;
    int rc = stream(im, &g, strict, &small);
    if (rc != 0 && !im->damaged && im->facts.format != SNIFF_SVG) { /* XML is whole or nothing */
        vips_error_clear();
        im->damaged = true;
        rc = stream(im, &g, VIPS_FAIL_ON_NONE, &small);
    }
    if (rc == 0 && too_little(im)) {
        g_clear_object(&small);
        return nothing_there(im, why);
    }
    if (rc != 0 || image_finish(im, &small, &im->base) != 0)
        return image_vips_error(why, "unreadable");
    return ERR_NONE;
}

/* ---- the picture very small ---- */

int
image_sample(struct image *im, struct image_sample *out, struct buf *why)
{
    CHK_MAGIC(im, IMAGE_MAGIC);
    CHK(im->base != NULL);
    double scale = image_sample_scale(im);
    VipsImage *small = NULL, *srgb = NULL, *rgba = NULL;
    size_t n = 0;
    void *p = NULL;
    out->width = (int)fmax(1, lrint(im->facts.width * scale));
    out->height = (int)fmax(1, lrint(im->facts.height * scale));
    if (image_scaled(im, out->width, out->height, &small) == 0 &&
        vips_colourspace(small, &srgb, VIPS_INTERPRETATION_sRGB, NULL) == 0) {
        if (vips_image_hasalpha(srgb))
            rgba = g_object_ref(srgb);
        else if (vips_addalpha(srgb, &rgba, NULL) != 0)
            rgba = NULL;
    }
    if (rgba != NULL)
        p = vips_image_write_to_memory(rgba, &n);
    int err = ERR_NONE;
    if (p == NULL)
        err = image_vips_error(why, "sample");
    else
        CHK(n == (size_t)out->width * (size_t)out->height * 4);
    if (p != NULL)
        memcpy(out->rgba, p, n);
    g_free(p);
    g_clear_object(&rgba);
    g_clear_object(&srgb);
    g_clear_object(&small);
    return err;
}
