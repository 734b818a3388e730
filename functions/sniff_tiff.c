/*
 * A camera's raw file is a TIFF from the outside, and a TIFF reader opens it: it shows the preview,
 * or the sensor's mosaic as if it were a picture. What a file holds is told by its directories:
 *
 *   DNGVersion                                     a DNG (Adobe DNG 1.7, chapter 4)
 *   a mosaic: PhotometricInterpretation of a
 *   colour filter array or linear raw (TIFF/EP,
 *   DNG), or a compression only raw files have     the raw format of this Make
 *   IFD0 is but a preview, the camera's Make is
 *   one that writes raws, and there are SubIFDs    the same
 *
 * A plain TIFF that such a camera or its maker's editor wrote has none of these and is read.
 * Looked at: IFD0, four directories that follow it, eight SubIFDs of IFD0.
 */
#include "functions/sniff.h"
#include "functions/tiff.h"
#include "base/chk.h"

#define SUB_IFDS_MAX 8
#define CHAIN_MAX 4

enum {
    TAG_SUBFILE_TYPE = 254,
    TAG_COMPRESSION = 259,
    TAG_PHOTOMETRIC = 262,
    TAG_MAKE = 271,
    TAG_SUB_IFDS = 330,
    TAG_DNG_VERSION = 50706,
    SUBFILE_IS_PREVIEW = 1,
    PHOTOMETRIC_CFA = 32803,
    PHOTOMETRIC_LINEAR_RAW = 34892,
};

static uint32_t
number(const struct tiff *t, size_t ifd, uint32_t tag)
{
    struct tiff_value v;
    return tiff_find(t, ifd, tag, &v) ? tiff_number(t, &v, 0) : 0;
}

/* Sony's, Kodak's, Samsung's, Nikon's and Pentax's ways of packing a mosaic. */
static bool
is_raw_compression(uint32_t c)
{
    return c == 32767 || c == 32770 || c == 34713 || c == 65000 || c == 65535;
}

static bool
has_mosaic(const struct tiff *t, size_t ifd)
{
    uint32_t photometric = number(t, ifd, TAG_PHOTOMETRIC);
    return photometric == PHOTOMETRIC_CFA || photometric == PHOTOMETRIC_LINEAR_RAW ||
           is_raw_compression(number(t, ifd, TAG_COMPRESSION));
}

/* SNIFF_RAW for a maker whose raw files have no name here. */
static enum sniff_format
maker_format(const struct tiff *t, size_t ifd0)
{
    static const struct {
        struct slice make;
        enum sniff_format format;
    } makers[] = {
        {SLICE_LIT("NIKON"), SNIFF_NEF},      {SLICE_LIT("SONY"), SNIFF_ARW},
        {SLICE_LIT("Canon"), SNIFF_CR2},      {SLICE_LIT("PENTAX"), SNIFF_PEF},
        {SLICE_LIT("RICOH"), SNIFF_PEF},      {SLICE_LIT("SAMSUNG"), SNIFF_SRW},
        {SLICE_LIT("OLYMPUS"), SNIFF_ORF},    {SLICE_LIT("Panasonic"), SNIFF_RW2},
        {SLICE_LIT("Hasselblad"), SNIFF_3FR}, {SLICE_LIT("Phase One"), SNIFF_IIQ},
    };
    struct tiff_value v;
    if (!tiff_find(t, ifd0, TAG_MAKE, &v) || v.type != TIFF_ASCII)
        return SNIFF_RAW;
    struct slice make = slice_of(t->p + v.at, v.count);
    for (size_t i = 0; i < ARRAY_LEN(makers); i++)
        if (slice_starts(make, makers[i].make))
            return makers[i].format;
    return SNIFF_RAW;
}

enum sniff_format
sniff_tiff(struct slice file)
{
    struct tiff t;
    struct tiff_value subs = {.count = 0};
    size_t ifd0;
    if (!tiff_open(file, &t, &ifd0))
        return SNIFF_TIFF; /* 64-bit offsets: no camera writes them */
    if (tiff_find(&t, ifd0, TAG_DNG_VERSION, &subs))
        return SNIFF_DNG;
    enum sniff_format maker = maker_format(&t, ifd0);
    bool nested = tiff_find(&t, ifd0, TAG_SUB_IFDS, &subs);
    if (nested && maker != SNIFF_RAW && number(&t, ifd0, TAG_SUBFILE_TYPE) == SUBFILE_IS_PREVIEW)
        return maker;
    size_t ifd = ifd0;
    for (int i = 0; i <= CHAIN_MAX && ifd != 0; i++, ifd = tiff_next(&t, ifd))
        if (has_mosaic(&t, ifd))
            return maker;
    for (uint32_t i = 0; nested && i < subs.count && i < SUB_IFDS_MAX; i++)
        if (has_mosaic(&t, tiff_number(&t, &subs, i)))
            return maker;
    return SNIFF_TIFF;
}
