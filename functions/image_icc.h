/*
 * What an ICC profile says about itself: its space, its name, and whether it is sRGB under any
 * name, so that the costly transform can be skipped. Reads foreign bytes; pure, any thread.
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_ICC_H
#define DARKROOM_FUNCTIONS_IMAGE_ICC_H

#include "base/slice.h"

#define ICC_NAME_MAX 128

struct icc_facts {
    char space[5];           /* "RGB " "GRAY" "CMYK" ... */
    char name[ICC_NAME_MAX]; /* description, UTF-8, "" without */
    bool is_srgb;            /* primaries and curve are those of sRGB within rounding */
};

/* ERR_INVALID when it is no profile at all; a missing name is none. */
int icc_read(struct slice profile, struct icc_facts *out);

#endif
