/*
 * Magic bytes. Order matters only where one signature is the beginning of another (CR2 is a TIFF
 * with a mark): the longer ones come first in the table.
 *
 * Camera formats that are plain TIFF from the outside (NEF, DNG, ARW) are TIFF here: sniff_tiff.c.
 */
#include "functions/sniff.h"
#include "base/chk.h"

#define NUL "\0"

struct magic {
    enum sniff_format format;
    struct slice bytes;
    size_t at2; /* a second mark; bytes2.n = 0: none */
    struct slice bytes2;
};

#define M(format, bytes)                     \
    {                                        \
        SNIFF_##format, SLICE_LIT(bytes), 0, \
        {                                    \
            NULL, 0                          \
        }                                    \
    }
#define M2(format, bytes, at2, bytes2)                           \
    {                                                            \
        SNIFF_##format, SLICE_LIT(bytes), at2, SLICE_LIT(bytes2) \
    }

static const struct magic magics[] = {
    M(JPEG, "\xff\xd8\xff"),
    M(PNG, "\x89PNG\r\n\x1a\n"),
    M2(WEBP, "RIFF", 8, "WEBP"),
    M(GIF, "GIF87a"),
    M(GIF, "GIF89a"),
    M2(CR2, "II*" NUL, 8, "CR"),
    M2(IIQ, "II*" NUL, 8, "IIII"),
    M2(IIQ, "MM" NUL "*", 8, "MMMM"),
    M(TIFF, "II*" NUL),
    M(TIFF, "MM" NUL "*"),
    M(TIFF, "II+" NUL), /* BigTIFF */
    M(TIFF, "MM" NUL "+"),
    M(PDF, "%PDF"),
    M(POSTSCRIPT, "%!PS"),
    M(POSTSCRIPT, "\xc5\xd0\xd3\xc6"), /* EPS with a preview */
    M(JXL, "\xff\x0a"),
    M(JXL, NUL NUL NUL "\x0cJXL \r\n\x87\n"),
    M(JP2, NUL NUL NUL "\x0cjP  \r\n\x87\n"),
    M(JP2, "\xff\x4f\xff\x51"), /* bare codestream */
    M(ICO, NUL NUL "\x01" NUL),
    M(ICO, NUL NUL "\x02" NUL), /* cursor */
    M(PSD, "8BPS"),
    M(EXR, "v/1\x01"),
    M(HDR, "#?RADIANCE"),
    M(HDR, "#?RGBE"),
    M(FITS, "SIMPLE  ="),
    M(MAT, "MATLAB 5.0 MAT-file"),
    M(MAT, "MATLAB 7.3 MAT-file"),
    M(RAF, "FUJIFILMCCD-RAW"),
    M(RW2, "IIU" NUL),
    M(ORF, "IIRO"),
    M(ORF, "IIRS"),
    M(ORF, "MMOR"),
    M(QOI, "qoif"),
    M(DDS, "DDS "),
    M(XCF, "gimp xcf"),
    M(DJVU, "AT&TFORM"),
    M2(CRW, "II", 6, "HEAPCCDR"),
    M(MRW, NUL "MRM"),
    M(X3F, "FOVb"),
    M(JXR, "II\xbc\x01"),
    M(MNG, "\x8aMNG\r\n\x1a\n"),
    M(JNG, "\x8bJNG\r\n\x1a\n"),
    M2(ANI, "RIFF", 8, "ACON"),
    M2(EMF, "\x01" NUL NUL NUL, 40, " EMF"),
    M(WMF, "\xd7\xcd\xc6\x9a"),
    M(WPG, "\xffWPC"),
    M(DPX, "SDPX"),
    M(DPX, "XPDS"),
    M(CIN, "\x80\x2a\x5f\xd7"),
    M(SUN, "\x59\xa6\x6a\x95"),
    M2(DICOM, "", 128, "DICM"),
    M(HDF5, "\x89HDF\r\n\x1a\n"),
    M(MIFF, "id=ImageMagick"),
    M(VIPS, "\xb6\xa6\xf2\x08"),
    M(VIPS, "\x08\xf2\xa6\xb6"),
    M(XPM, "/* XPM */"),
    M(PFM, "PF\n"),
    M(PFM, "Pf\n"),
    M(BPG, "BPG\xfb"),
    M(FLIF, "FLIF"),
    M(KTX, "\xabKTX "),
};

static bool
has(struct slice head, size_t at, struct slice bytes)
{
    return head.n >= at && slice_starts(slice_skip(head, at), bytes);
}

static uint32_t
be32(struct slice s, size_t at)
{
    const uint8_t *p = (const uint8_t *)s.p + at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* One brand of an ISO base media file. */
static enum sniff_format
brand_format(struct slice brand)
{
    static const struct {
        char brand[5];
        enum sniff_format format;
    } brands[] = {
        {"avif", SNIFF_AVIF}, {"avis", SNIFF_AVIF}, {"heic", SNIFF_HEIC},
        {"heix", SNIFF_HEIC}, {"heim", SNIFF_HEIC}, {"heis", SNIFF_HEIC},
        {"hevc", SNIFF_HEIC}, {"hevx", SNIFF_HEIC}, {"crx ", SNIFF_CR3},
    };
    for (size_t i = 0; i < ARRAY_LEN(brands); i++)
        if (slice_eqs(brand, brands[i].brand))
            return brands[i].format;
    return SNIFF_UNKNOWN;
}

/* "ftyp" box: the major brand decides; a neutral one (mif1, msf1, miaf) leaves it to the list of
 * compatible brands, and is HEIF of an unknown codec without one. Films have brands of their own
 * and are no images. */
static enum sniff_format
sniff_iso_media(struct slice head)
{
    if (!has(head, 4, SLICE_LIT("ftyp")) || head.n < 16)
        return SNIFF_UNKNOWN;
    size_t end = be32(head, 0);
    end = end < head.n ? end : head.n;
    struct slice major = slice_of(head.p + 8, 4);
    enum sniff_format f = brand_format(major);
    if (f != SNIFF_UNKNOWN ||
        !(slice_eqs(major, "mif1") || slice_eqs(major, "msf1") || slice_eqs(major, "miaf")))
        return f;
    for (size_t at = 16; at + 4 <= end && f == SNIFF_UNKNOWN; at += 4)
        f = brand_format(slice_of(head.p + at, 4));
    return f == SNIFF_UNKNOWN ? SNIFF_HEIF : f;
}

/* Behind the end of a piece of markup; nothing when it does not end in sight. */
static struct slice
behind(struct slice h, struct slice end)
{
    ptrdiff_t at = slice_find(h, end);
    return at < 0 ? SLICE_NONE : slice_skip(h, (size_t)at + end.n);
}

static struct slice
skip_space(struct slice h)
{
    while (h.n > 0 && (h.p[0] == ' ' || (h.p[0] >= '\t' && h.p[0] <= '\r')))
        h = slice_skip(h, 1);
    return h;
}

/* Behind "<": the name of an element without its prefix is "svg". */
static bool
is_svg_name(struct slice h)
{
    size_t n = 0;
    while (n < h.n && h.p[n] > ' ' && h.p[n] != '>' && h.p[n] != '/') {
        if (h.p[n++] == ':') {
            h = slice_skip(h, n);
            n = 0;
        }
    }
    return slice_eqs(slice_of(h.p, n), "svg");
}

/* XML whose document type or root element is svg, behind declarations and comments. An <svg> within
 * HTML is none. */
static bool
is_svg(struct slice h)
{
    if (has(h, 0, SLICE_LIT("\xef\xbb\xbf")))
        h = slice_skip(h, 3);
    for (;;) {
        h = skip_space(h);
        if (slice_starts(h, SLICE_LIT("<?")))
            h = behind(h, SLICE_LIT("?>"));
        else if (slice_starts(h, SLICE_LIT("<!--")))
            h = behind(h, SLICE_LIT("-->"));
        else
            break;
    }
    if (slice_starts(h, SLICE_LIT("<!DOCTYPE")))
        return is_svg_name(skip_space(slice_skip(h, 9)));
    return h.n > 0 && h.p[0] == '<' && is_svg_name(slice_skip(h, 1));
}

/* "P6" and white space, then a number or a comment. */
static bool
is_pnm(struct slice h)
{
    return h.n >= 4 && h.p[0] == 'P' && h.p[1] >= '1' && h.p[1] <= '7' &&
           (h.p[2] == '\n' || h.p[2] == ' ') &&
           ((h.p[3] >= '0' && h.p[3] <= '9') || h.p[3] == '#' || h.p[1] == '7');
}

/* "BM", and a header size that Windows or OS/2 has used. "BM" alone begins many a text. */
static bool
is_bmp(struct slice h)
{
    if (h.n < 18 || !has(h, 0, SLICE_LIT("BM")))
        return false;
    uint8_t size = (uint8_t)h.p[14];
    bool known = size == 12 || size == 16 || size == 40 || size == 52 || size == 56 || size == 64 ||
                 size == 108 || size == 124;
    return known && h.p[15] == 0 && h.p[16] == 0 && h.p[17] == 0;
}

enum sniff_format
sniff(struct slice head)
{
    if (head.n == 0)
        return SNIFF_EMPTY;
    head.n = head.n < SNIFF_BYTES ? head.n : SNIFF_BYTES;
    for (size_t i = 0; i < ARRAY_LEN(magics); i++) {
        const struct magic *m = &magics[i];
        if (has(head, 0, m->bytes) && has(head, m->at2, m->bytes2))
            return m->format;
    }
    enum sniff_format f = sniff_iso_media(head);
    if (f != SNIFF_UNKNOWN)
        return f;
    if (is_svg(head))
        return SNIFF_SVG;
    if (is_bmp(head))
        return SNIFF_BMP;
    if (is_pnm(head))
        return SNIFF_PNM;
    if (has(head, 344, SLICE_LIT("n+1" NUL)) || has(head, 344, SLICE_LIT("ni1" NUL)))
        return SNIFF_NIFTI;
    return SNIFF_UNKNOWN;
}

bool
sniff_is_supported(enum sniff_format f)
{
    return f >= SNIFF_JPEG && f <= SNIFF_HEIC;
}

bool
sniff_is_optional(enum sniff_format f)
{
    return f == SNIFF_JXL || f == SNIFF_SVG;
}

const char *
sniff_name(enum sniff_format f)
{
    static const char *const names[SNIFF_COUNT] = {
#define X(id, name, type) [SNIFF_##id] = (name),
        SNIFF_LIST(X)
#undef X
    };
    return names[f] == NULL ? "" : names[f];
}

const char *
sniff_content_type(enum sniff_format f)
{
    static const char *const types[SNIFF_COUNT] = {
#define X(id, name, type) [SNIFF_##id] = (type),
        SNIFF_LIST(X)
#undef X
    };
    return types[f] == NULL ? "" : types[f];
}
