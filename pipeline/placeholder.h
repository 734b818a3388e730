/*
 * What a browser may show while the picture is made: the ThumbHash of the table item as a PNG.
 * Formats: ThumbHash (Evan Wallace, evanw.github.io/thumbhash), PNG (W3C PNG specification), zlib
 * (RFC 1950) with stored blocks (RFC 1951 section 3.2.4). Any thread.
 */
#ifndef DARKROOM_PIPELINE_PLACEHOLDER_H
#define DARKROOM_PIPELINE_PLACEHOLDER_H

#include "base/buf.h"

#define PLACEHOLDER_SIDE_MAX 32
#define PLACEHOLDER_PNG_MAX (8u << 10)

struct placeholder {
    int width, height; /* 1..PLACEHOLDER_SIDE_MAX */
    uint8_t rgba[4 * PLACEHOLDER_SIDE_MAX * PLACEHOLDER_SIDE_MAX];
};

/* ERR_INVALID: too short to be one. (Any bytes that are long enough make some picture.) */
int placeholder_decode(struct slice thumbhash, struct placeholder *out);
/* Appends a PNG with alpha, 8 bits a channel. */
void placeholder_png(const struct placeholder *p, struct buf *out);

#endif
