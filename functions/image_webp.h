/*
 * The container of a WebP file.
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_WEBP_H
#define DARKROOM_FUNCTIONS_IMAGE_WEBP_H

#include <stddef.h>

/* Takes everything but the picture and its alpha out of a still WebP file, in place; returns the
 * new length. What is not well-formed is left as it is. */
size_t webp_strip(void *file, size_t n);
/* Frames of an animation, 0 for a still picture; up to the first chunk that does not fit. */
size_t webp_frames(const void *file, size_t n);

#endif
