/*
 * A perceptual hash: 64 bits that stay nearly the same when a picture is scaled, recompressed or
 * turned into another format, and differ in about half of the bits for another picture. Compare by
 * the number of bits that differ; up to 10 usually means the same picture.
 *
 * The method is the DCT hash of C. Zauner, "Implementation and Benchmarking of Perceptual Image
 * Hash Functions" (2010), section 3.2.1, in the form N. Krawetz describes ("Looks Like It", The
 * Hacker Factor Blog, 2011). Size, choice of terms and order of bits are those most tools call
 * "phash", so hashes of other programs are comparable within a few bits. Pure, any thread.
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_PHASH_H
#define DARKROOM_FUNCTIONS_IMAGE_PHASH_H

#include <stdint.h>

#define PHASH_SIDE_MAX 100

/* `rgba` is not premultiplied; what is transparent counts as white. Both sides 1..PHASH_SIDE_MAX.
 */
uint64_t phash_make(const uint8_t *rgba, int width, int height);

#endif
