/*
 * What a file is, by its first bytes alone: names and Content-Types are claims. Pure, any thread.
 */
#ifndef DARKROOM_FUNCTIONS_SNIFF_H
#define DARKROOM_FUNCTIONS_SNIFF_H

#include "base/slice.h"

#define SNIFF_BYTES 4096 /* of the beginning; SVG may have long comments first */

/* X(id, name, content type). Up to HEIC: decoded. JXL and SVG: where they are opted in. Below:
 * recognised, and refused by name. */
#define SNIFF_LIST(X)                                     \
    X(JPEG, "jpeg", "image/jpeg")                         \
    X(PNG, "png", "image/png")                            \
    X(WEBP, "webp", "image/webp")                         \
    X(GIF, "gif", "image/gif")                            \
    X(TIFF, "tiff", "image/tiff")                         \
    X(AVIF, "avif", "image/avif")                         \
    X(HEIC, "heic", "image/heic")                         \
    X(JXL, "jxl", "image/jxl")                            \
    X(SVG, "svg", "image/svg+xml")                        \
    X(PDF, "pdf", "application/pdf")                      \
    X(POSTSCRIPT, "postscript", "application/postscript") \
    X(ICO, "ico", "image/vnd.microsoft.icon")             \
    X(BMP, "bmp", "image/bmp")                            \
    X(PSD, "psd", "image/vnd.adobe.photoshop")            \
    X(EXR, "exr", "image/x-exr")                          \
    X(HDR, "hdr", "image/vnd.radiance")                   \
    X(FITS, "fits", "image/fits")                         \
    X(MAT, "mat", "application/x-matlab-data")            \
    X(JP2, "jp2", "image/jp2")                            \
    X(CR2, "cr2", "image/x-canon-cr2")                    \
    X(CR3, "cr3", "image/x-canon-cr3")                    \
    X(CRW, "crw", "image/x-canon-crw")                    \
    X(NEF, "nef", "image/x-nikon-nef")                    \
    X(DNG, "dng", "image/x-adobe-dng")                    \
    X(ARW, "arw", "image/x-sony-arw")                     \
    X(PEF, "pef", "image/x-pentax-pef")                   \
    X(SRW, "srw", "image/x-samsung-srw")                  \
    X(3FR, "3fr", "image/x-hasselblad-3fr")               \
    X(IIQ, "iiq", "image/x-phaseone-iiq")                 \
    X(MRW, "mrw", "image/x-minolta-mrw")                  \
    X(X3F, "x3f", "image/x-sigma-x3f")                    \
    X(RAW, "raw", "image/x-raw")                          \
    X(RAF, "raf", "image/x-fuji-raf")                     \
    X(RW2, "rw2", "image/x-panasonic-rw2")                \
    X(ORF, "orf", "image/x-olympus-orf")                  \
    X(NIFTI, "nifti", "image/x-nifti")                    \
    X(PNM, "pnm", "image/x-portable-anymap")              \
    X(QOI, "qoi", "image/qoi")                            \
    X(DDS, "dds", "image/vnd.ms-dds")                     \
    X(XCF, "xcf", "image/x-xcf")                          \
    X(DJVU, "djvu", "image/vnd.djvu")                     \
    X(HEIF, "heif", "image/heif")                         \
    X(JXR, "jxr", "image/jxr")                            \
    X(MNG, "mng", "video/x-mng")                          \
    X(JNG, "jng", "image/x-jng")                          \
    X(ANI, "ani", "application/x-navi-animation")         \
    X(EMF, "emf", "image/emf")                            \
    X(WMF, "wmf", "image/wmf")                            \
    X(WPG, "wpg", "application/vnd.wordperfect-graphics") \
    X(DPX, "dpx", "image/x-dpx")                          \
    X(CIN, "cin", "image/x-cineon")                       \
    X(SUN, "sun", "image/x-sun-raster")                   \
    X(DICOM, "dicom", "application/dicom")                \
    X(HDF5, "hdf5", "application/x-hdf5")                 \
    X(MIFF, "miff", "image/x-miff")                       \
    X(VIPS, "vips", "image/x-vips")                       \
    X(XPM, "xpm", "image/x-xpixmap")                      \
    X(PFM, "pfm", "image/x-portable-floatmap")            \
    X(BPG, "bpg", "image/bpg")                            \
    X(FLIF, "flif", "image/flif")                         \
    X(KTX, "ktx", "image/ktx")

enum sniff_format {
    SNIFF_EMPTY,
    SNIFF_UNKNOWN, /* not an image */
#define X(id, name, type) SNIFF_##id,
    SNIFF_LIST(X)
#undef X
        SNIFF_COUNT
};

/* `head`: the beginning of the file, SNIFF_BYTES of it or all. */
enum sniff_format sniff(struct slice head);
/* A second look at what sniff() took for a TIFF: a camera's raw file by its name, or SNIFF_TIFF. */
enum sniff_format sniff_tiff(struct slice file);
/* A format the worker decodes always; when it is opted in. */
bool sniff_is_supported(enum sniff_format f);
bool sniff_is_optional(enum sniff_format f);
const char *sniff_name(enum sniff_format f);         /* "jpeg"; "" for EMPTY and UNKNOWN */
const char *sniff_content_type(enum sniff_format f); /* "image/jpeg"; "" for EMPTY and UNKNOWN */

#endif
