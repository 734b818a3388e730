/*
 * What a file would cost before its first pixel, found by walking its container: libvips reads all
 * of a header at once, and some headers are made to be read for minutes.
 *
 *   JPEG   segments (read one by one into a list), scans, blocks that were to be coded
 *   PNG    compressed text, which is inflated whenever the file is opened
 *   WebP   frames: finding the n-th walks over all before it
 *   TIFF   directories, each read in full to count the pages
 *
 *   SVG    bytes: the whole of it becomes a tree
 *
 * GIF needs none: its decoder stops counting by itself. AVIF and HEIC have libheif's own limits.
 * Everything here is one pass over lengths; what is malformed is left to the decoder's verdict.
 */
#include "functions/image_priv.h"
#include "functions/image_jpeg.h"
#include "functions/image_webp.h"
#include "functions/tiff.h"
#include "base/err.h"

/* Encoders write about ten scans and, with the longest profiles and panoramas, some hundred
 * segments. */
#define JPEG_SCANS_MAX 100
#define JPEG_SEGMENTS_MAX 4096
#define PNG_TEXT_MAX \
    ((size_t)256 << 10) /* compressed; inflated it is up to a thousand times that */
#define PAGES_MAX 10000
#define SVG_BYTES_MAX ((size_t)4 << 20)

#define PNG_SIGNATURE_BYTES 8
#define PNG_CHUNK_BYTES 12 /* around the data: length, name, checksum */

static int
guard_jpeg(struct image *im, struct buf *why)
{
    struct jpeg_facts jpeg;
    int err = jpeg_read(im->bytes, JPEG_SEGMENTS_MAX, JPEG_SCANS_MAX, &jpeg);
    if (err == ERR_RANGE) {
        buf_printf(why, "too many segments: more than %d before the picture", JPEG_SEGMENTS_MAX);
        return err;
    }
    if (err != ERR_NONE)
        return ERR_NONE; /* the decoder will say why */
    im->coefficient_bytes = jpeg.coefficient_bytes;
    im->bytes_min = jpeg.arithmetic ? 0 : jpeg.blocks / 8; /* Huffman codes have a bit or more */
    if (jpeg.scans > JPEG_SCANS_MAX) {
        buf_printf(why, "too many scans: more than %d in a progressive JPEG", JPEG_SCANS_MAX);
        return ERR_RANGE;
    }
    return ERR_NONE;
}

static size_t
be32(const uint8_t *p)
{
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* Whether the data of this chunk is deflated text: "keyword\0" 0, or "keyword\0" 1 0 (PNG 1.2,
 * 4.2.3). */
static bool
is_compressed_text(const uint8_t *chunk, size_t n)
{
    if (memcmp(chunk + 4, "zTXt", 4) == 0)
        return true;
    const uint8_t *end = memcmp(chunk + 4, "iTXt", 4) == 0 ? memchr(chunk + 8, 0, n) : NULL;
    return end != NULL && end + 1 < chunk + 8 + n && end[1] != 0;
}

static int
guard_png(const struct image *im, struct buf *why)
{
    const uint8_t *p = (const uint8_t *)im->bytes.p;
    size_t at = PNG_SIGNATURE_BYTES, text = 0;
    while (at <= im->bytes.n && im->bytes.n - at >= PNG_CHUNK_BYTES) {
        size_t n = be32(p + at);
        if (n > im->bytes.n - at - PNG_CHUNK_BYTES)
            return ERR_NONE;
        text += is_compressed_text(p + at, n) ? n : 0;
        if (text > PNG_TEXT_MAX) {
            buf_printf(why, "too much text: more than %zu compressed bytes in a PNG", PNG_TEXT_MAX);
            return ERR_RANGE;
        }
        at += PNG_CHUNK_BYTES + n;
    }
    return ERR_NONE;
}

static int
too_many_pages(struct buf *why, const char *what)
{
    buf_printf(why, "too many %s: more than %d", what, PAGES_MAX);
    return ERR_RANGE;
}

int
image_guard(struct image *im, struct buf *why)
{
    switch (im->facts.format) {
    case SNIFF_JPEG:
        return guard_jpeg(im, why);
    case SNIFF_PNG:
        return guard_png(im, why);
    case SNIFF_WEBP:
        return webp_frames(im->bytes.p, im->bytes.n) > PAGES_MAX ? too_many_pages(why, "frames")
                                                                 : ERR_NONE;
    case SNIFF_TIFF:
        return tiff_pages(im->bytes, PAGES_MAX) > PAGES_MAX ? too_many_pages(why, "pages")
                                                            : ERR_NONE;
    case SNIFF_SVG:
        if (im->bytes.n <= SVG_BYTES_MAX)
            return ERR_NONE;
        buf_printf(why, "too large: more than %zu bytes of SVG", SVG_BYTES_MAX);
        return ERR_RANGE;
    default:
        return ERR_NONE;
    }
}
