/*
 * Directories of a TIFF structure (TIFF 6.0, section 2): a TIFF file, an EXIF block. Reads foreign
 * bytes: every offset is checked against the end, a value that does not fit its type is as good as
 * absent, and no call looks at more than one directory, so loops of offsets cannot hold anybody.
 * Pure, any thread.
 */
#ifndef DARKROOM_FUNCTIONS_TIFF_H
#define DARKROOM_FUNCTIONS_TIFF_H

#include "base/slice.h"

#define TIFF_ENTRIES_MAX 512 /* of one directory; what is behind is not seen */

enum tiff_type {
    TIFF_BYTE = 1,
    TIFF_ASCII = 2,
    TIFF_SHORT = 3,
    TIFF_LONG = 4,
    TIFF_RATIONAL = 5,
    TIFF_SRATIONAL = 10,
    TIFF_IFD = 13, /* a LONG that points at a directory (TIFF Technical Note 1) */
};

struct tiff {
    const uint8_t *p; /* lent */
    size_t n;
    bool little;
};

struct tiff_value {
    int type;
    uint32_t count;
    size_t at; /* all of its bytes are inside */
};

/* False when it does not begin as a TIFF of 32-bit offsets does. `*ifd0` is not checked yet. */
bool tiff_open(struct slice bytes, struct tiff *t, size_t *ifd0);
/* The first entry of the directory at `ifd` with this tag. */
bool tiff_find(const struct tiff *t, size_t ifd, uint32_t tag, struct tiff_value *v);
/* The i-th number of a SHORT, LONG or IFD value; 0 where there is none. */
uint32_t tiff_number(const struct tiff *t, const struct tiff_value *v, uint32_t i);
/* Pages of a TIFF file, also one of 64-bit offsets: directories that lead from one to the next,
 * counted no further than `max` + 1, which a loop reaches as well. */
int tiff_pages(struct slice bytes, int max);
/* The directory behind this one; 0 when it is the last. */
size_t tiff_next(const struct tiff *t, size_t ifd);
/* At an offset whose four bytes are inside. */
uint32_t tiff_u32(const struct tiff *t, size_t at);

#endif
