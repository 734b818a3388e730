/*
 * ThumbHash: a picture of about 32 pixels in at most 25 bytes, to show while the real one loads.
 * The format is Evan Wallace's (public description and decoders at evanw.github.io/thumbhash).
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_THUMBHASH_H
#define DARKROOM_FUNCTIONS_IMAGE_THUMBHASH_H

#include <stddef.h>
#include <stdint.h>

#define THUMBHASH_BYTES_MAX 25
#define THUMBHASH_SIDE_MAX 100

/* `rgba` is not premultiplied; both sides 1..THUMBHASH_SIDE_MAX. Returns the bytes written. */
size_t thumbhash_make(const uint8_t *rgba, int width, int height, uint8_t out[THUMBHASH_BYTES_MAX]);

#endif
