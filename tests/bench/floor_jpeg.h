/*
 * The least work a JPEG thumbnail can be: libjpeg-turbo's own scaled decode, a plain resize, its
 * encoder. No colour management, no orientation, no metadata, no sandbox. One thread.
 */
#ifndef DARKROOM_TESTS_BENCH_FLOOR_JPEG_H
#define DARKROOM_TESTS_BENCH_FLOOR_JPEG_H

#include "base/slice.h"

/* Fits the picture into side x side and encodes it; bytes written, or 0 when it cannot be read. */
size_t floor_jpeg(struct slice source, int side, int quality);

#endif
