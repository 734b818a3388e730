/*
 * Luma -> 32x32, each cell the mean of what it covers -> two-dimensional cosine transform, of which
 * the 8x8 lowest terms -> one bit per term, by rows, the first the highest: is it above the median?
 *
 * Terms are rounded before they are compared: the last digits of a sum of floating point numbers
 * must not decide about a flat picture, whose terms are all alike.
 */
#include "functions/image_phash.h"
#include "base/chk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 32
#define TERMS 8

/* BT.601, as grey pictures are made of colour ones everywhere. */
static double
luma(const uint8_t *p)
{
    double grey = 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
    return 255 + (grey - 255) * p[3] / 255;
}

/* The mean of `n` values over the i-th of SIDE equal parts, `step` apart. */
static double
part_mean(const double *values, int n, int step, int i)
{
    double from = (double)i * n / SIDE, to = (double)(i + 1) * n / SIDE, sum = 0;
    for (int k = (int)from; k < n && k < to; k++)
        sum += values[(size_t)k * (size_t)step] * (fmin(k + 1, to) - fmax(k, from));
    return sum / (to - from);
}

static void
shrink(const uint8_t *rgba, int width, int height, double out[SIDE][SIDE])
{
    double rows[PHASH_SIDE_MAX * SIDE], line[PHASH_SIDE_MAX];
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++)
            line[x] = luma(rgba + 4 * ((size_t)y * (size_t)width + (size_t)x));
        for (int x = 0; x < SIDE; x++)
            rows[y * SIDE + x] = part_mean(line, width, 1, x);
    }
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            out[y][x] = part_mean(rows + x, height, SIDE, y);
}

static int
compare(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

/* The lowest terms of the transform, vertical frequency by row. */
static void
transform(double grey[SIDE][SIDE], long terms[TERMS * TERMS])
{
    double cosine[TERMS][SIDE], half[TERMS][SIDE] = {{0}};
    for (int k = 0; k < TERMS; k++)
        for (int i = 0; i < SIDE; i++)
            cosine[k][i] = cos(M_PI * k * (2 * i + 1) / (2 * SIDE));
    for (int k = 0; k < TERMS; k++)
        for (int x = 0; x < SIDE; x++)
            for (int y = 0; y < SIDE; y++)
                half[k][x] += cosine[k][y] * grey[y][x];
    for (int v = 0; v < TERMS; v++) {
        for (int u = 0; u < TERMS; u++) {
            double sum = 0;
            for (int x = 0; x < SIDE; x++)
                sum += cosine[u][x] * half[v][x];
            terms[v * TERMS + u] = lround(sum);
        }
    }
}

uint64_t
phash_make(const uint8_t *rgba, int width, int height)
{
    double grey[SIDE][SIDE];
    long terms[TERMS * TERMS], sorted[TERMS * TERMS];
    uint64_t hash = 0;
    CHK(width > 0 && width <= PHASH_SIDE_MAX && height > 0 && height <= PHASH_SIDE_MAX);
    shrink(rgba, width, height, grey);
    transform(grey, terms);
    memcpy(sorted, terms, sizeof(terms));
    qsort(sorted, TERMS * TERMS, sizeof(*sorted), compare);
    long twice_median = sorted[TERMS * TERMS / 2 - 1] + sorted[TERMS * TERMS / 2];
    for (int i = 0; i < TERMS * TERMS; i++)
        hash = hash << 1 | (2 * terms[i] > twice_median);
    return hash;
}
