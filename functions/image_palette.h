/*
 * The colours of a picture: the dominant one and a small palette. Pure, one thread at a time.
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_PALETTE_H
#define DARKROOM_FUNCTIONS_IMAGE_PALETTE_H

#include <stddef.h>
#include <stdint.h>

#define PALETTE_COLORS 5

struct palette {
    size_t count;                      /* 0 for a picture without an opaque pixel */
    uint8_t colors[PALETTE_COLORS][3]; /* most frequent first: colors[0] is the dominant one */
};

void palette_make(const uint8_t *rgba, size_t pixels, struct palette *out);

#endif
