/*
 * The image work of functions/ in this very process, unconfined, and the reference its pixels are
 * compared with. Everything here ends the process with a message when it fails. One thread.
 */
#ifndef DARKROOM_TESTS_BENCH_IMAGES_PLAIN_H
#define DARKROOM_TESTS_BENCH_IMAGES_PLAIN_H

#include "functions/image.h"

/* Starts libvips as a worker does, and warms it up. */
void plain_start(void);

struct plain_file {
    struct slice bytes;
};
/* Maps the file as a worker does. */
void plain_open(struct plain_file *f, const char *path);
void plain_close(struct plain_file *f);

/* made[i] of preset i, largest first and from one decode as the thumbnail function makes them. */
void plain_thumbnails(const char *path, const struct preset_list *list, struct image_output *made);
/* The same pixels the long way, as PNG: every pixel decoded, one lanczos3 to the size. Covers are
 * cut at the centre. */
void plain_reference(const char *path, const struct preset *p, struct image_output *made);

#endif
