/*
 * The structure of a JPEG file, read without decoding it: what a decoder would have to keep in
 * memory, and how often it would have to pass over it. Reads foreign bytes; pure, any thread.
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_JPEG_H
#define DARKROOM_FUNCTIONS_IMAGE_JPEG_H

#include "base/slice.h"

struct jpeg_facts {
    bool buffered; /* progressive, or one scan per component: all coefficients are kept */
    bool arithmetic;
    int scans;                 /* counted only when buffered, and no further than `scans_max` + 1 */
    int64_t blocks;            /* of 8 x 8 coefficients, all components */
    int64_t coefficient_bytes; /* 0 unless buffered */
};

/* ERR_INVALID when no frame header is found. ERR_RANGE: more than `segments_max` before the first
 * scan. */
int jpeg_read(struct slice bytes, int segments_max, int scans_max, struct jpeg_facts *out);

#endif
