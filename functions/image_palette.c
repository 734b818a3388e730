/*
 * A histogram of 16 levels per channel; the colour of a bin is the average of what fell into it.
 * The fullest bin opens the palette. Each further colour is the bin with the most pixels, weighted
 * by its distance to the colours already there, so that a small red roof wins over a second grey.
 */
#include "functions/image_palette.h"
#include "base/chk.h"

#include <string.h>

#define LEVELS 16
#define BINS (LEVELS * LEVELS * LEVELS)
#define OPAQUE_MIN 128
/* Squared distance below which two colours look alike. */
#define ALIKE (40 * 40)

struct bin {
    uint32_t count;
    uint32_t sum[3];
};

static void
fill(struct bin bins[BINS], const uint8_t *rgba, size_t pixels)
{
    memset(bins, 0, BINS * sizeof(*bins));
    for (size_t i = 0; i < pixels; i++, rgba += 4) {
        if (rgba[3] < OPAQUE_MIN)
            continue;
        struct bin *b =
            &bins[(rgba[0] >> 4) * LEVELS * LEVELS + (rgba[1] >> 4) * LEVELS + (rgba[2] >> 4)];
        b->count++;
        for (int c = 0; c < 3; c++)
            b->sum[c] += rgba[c];
    }
}

static void
bin_color(const struct bin *b, uint8_t color[3])
{
    for (int c = 0; c < 3; c++)
        color[c] = (uint8_t)((b->sum[c] + b->count / 2) / b->count);
}

/* Squared distance to the nearest colour of the palette; the largest possible when it is empty. */
static uint32_t
distance(const struct palette *p, const uint8_t color[3])
{
    uint32_t nearest = 3 * 255 * 255;
    for (size_t i = 0; i < p->count; i++) {
        uint32_t d = 0;
        for (int c = 0; c < 3; c++) {
            int diff = p->colors[i][c] - color[c];
            d += (uint32_t)(diff * diff);
        }
        nearest = d < nearest ? d : nearest;
    }
    return nearest;
}

void
palette_make(const uint8_t *rgba, size_t pixels, struct palette *out)
{
    static struct bin bins[BINS]; /* 64 KB: too much for a stack; one thread */
    CHK(pixels < UINT32_MAX / 255);
    *out = (struct palette){0};
    fill(bins, rgba, pixels);
    while (out->count < PALETTE_COLORS) {
        uint64_t best = 0;
        uint8_t color[3], best_color[3] = {0};
        for (size_t i = 0; i < BINS; i++) {
            if (bins[i].count == 0)
                continue;
            bin_color(&bins[i], color);
            uint32_t d = distance(out, color);
            if (d >= ALIKE && (uint64_t)bins[i].count * d > best) {
                best = (uint64_t)bins[i].count * d;
                memcpy(best_color, color, 3);
            }
        }
        if (best == 0)
            return;
        memcpy(out->colors[out->count++], best_color, 3);
    }
}
