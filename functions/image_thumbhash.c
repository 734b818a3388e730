/*
 * The picture is split into luminance (L), yellow-blue (P), red-green (Q) and alpha, over its
 * average colour where it is transparent. Each channel becomes the low corner of its cosine
 * transform: a constant, a scale, and four bits for every further term. Longer side: 7 terms of L
 * (5 with alpha), the shorter in proportion; P and Q have 3x3, alpha 5x5. The terms kept are those
 * under the diagonal, in rows.
 *
 * Layout: 24 bits of constants, 16 bits of scales and shape, 8 bits for alpha if any, terms.
 */
#include "functions/image_thumbhash.h"
#include "base/chk.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define TERMS_MAX 7
#define AC_MAX (TERMS_MAX * TERMS_MAX)

struct channel {
    double dc, scale;
    int ac_count;
    double ac[AC_MAX];
};

struct planes {
    int width, height;
    double l[THUMBHASH_SIDE_MAX * THUMBHASH_SIDE_MAX];
    double p[THUMBHASH_SIDE_MAX * THUMBHASH_SIDE_MAX];
    double q[THUMBHASH_SIDE_MAX * THUMBHASH_SIDE_MAX];
    double a[THUMBHASH_SIDE_MAX * THUMBHASH_SIDE_MAX];
};

static int
round_half_up(double v)
{
    return (int)floor(v + 0.5);
}

/* Fills the planes; true when something shines through. */
static bool
split(const uint8_t *rgba, struct planes *pl)
{
    int count = pl->width * pl->height;
    double average[3] = {0}, opaque = 0;
    for (int i = 0; i < count; i++) {
        double alpha = rgba[4 * i + 3] / 255.0;
        for (int c = 0; c < 3; c++)
            average[c] += alpha / 255.0 * rgba[4 * i + c];
        opaque += alpha;
        pl->a[i] = alpha;
    }
    for (int c = 0; c < 3 && opaque > 0; c++)
        average[c] /= opaque;
    for (int i = 0; i < count; i++) {
        double rgb[3], alpha = pl->a[i];
        for (int c = 0; c < 3; c++)
            rgb[c] = average[c] * (1 - alpha) + alpha / 255.0 * rgba[4 * i + c];
        pl->l[i] = (rgb[0] + rgb[1] + rgb[2]) / 3;
        pl->p[i] = (rgb[0] + rgb[1]) / 2 - rgb[2];
        pl->q[i] = rgb[0] - rgb[1];
    }
    return opaque < count;
}

/* cosines[k][i] of the k-th term at the i-th of n points. */
static void
cosine_table(double cosines[TERMS_MAX][THUMBHASH_SIDE_MAX], int terms, int n)
{
    for (int k = 0; k < terms; k++)
        for (int i = 0; i < n; i++)
            cosines[k][i] = cos(M_PI / n * k * (i + 0.5));
}

static double
term(const struct planes *pl, const double *plane, const double *cx, const double *cy)
{
    /* In the order of the reference encoder: terms that cancel out round to a half then, and a
     * rounding error decides which way it goes. */
    double sum = 0;
    for (int y = 0; y < pl->height; y++)
        for (int x = 0; x < pl->width; x++)
            sum += plane[y * pl->width + x] * cx[x] * cy[y];
    return sum / (pl->width * pl->height);
}

static void
encode(const struct planes *pl, const double *plane, int nx, int ny, struct channel *ch)
{
    double fx[TERMS_MAX][THUMBHASH_SIDE_MAX], fy[TERMS_MAX][THUMBHASH_SIDE_MAX];
    cosine_table(fx, nx, pl->width);
    cosine_table(fy, ny, pl->height);
    *ch = (struct channel){0};
    for (int cy = 0; cy < ny; cy++) {
        for (int cx = 0; cx * ny < nx * (ny - cy); cx++) {
            double f = term(pl, plane, fx[cx], fy[cy]);
            if (cx == 0 && cy == 0) {
                ch->dc = f;
                continue;
            }
            ch->ac[ch->ac_count++] = f;
            ch->scale = fmax(ch->scale, fabs(f));
        }
    }
    for (int i = 0; ch->scale > 0 && i < ch->ac_count; i++)
        ch->ac[i] = 0.5 + 0.5 / ch->scale * ch->ac[i];
}

/* Four bits per term, low half of a byte first. */
static void
put_terms(const struct channel *ch, uint8_t *out, size_t *nibbles)
{
    for (int i = 0; i < ch->ac_count; i++, ++*nibbles)
        out[*nibbles / 2] |= (uint8_t)(round_half_up(15 * ch->ac[i]) << (*nibbles % 2 * 4));
}

static int
terms_of(int limit, int side, int longer)
{
    int n = round_half_up((double)(limit * side) / longer);
    return n > 1 ? n : 1;
}

size_t
thumbhash_make(const uint8_t *rgba, int width, int height, uint8_t out[THUMBHASH_BYTES_MAX])
{
    CHK(width >= 1 && width <= THUMBHASH_SIDE_MAX && height >= 1 && height <= THUMBHASH_SIDE_MAX);
    static struct planes pl; /* 320 KB: too much for a stack; one thread */
    struct channel l, p, q, a = {0};
    pl.width = width;
    pl.height = height;
    bool has_alpha = split(rgba, &pl), landscape = width > height;
    int limit = has_alpha ? 5 : 7, longer = landscape ? width : height;
    int lx = terms_of(limit, width, longer), ly = terms_of(limit, height, longer);
    encode(&pl, pl.l, lx > 3 ? lx : 3, ly > 3 ? ly : 3, &l);
    encode(&pl, pl.p, 3, 3, &p);
    encode(&pl, pl.q, 3, 3, &q);
    if (has_alpha)
        encode(&pl, pl.a, 5, 5, &a);

    int constants = round_half_up(63 * l.dc) | round_half_up(31.5 + 31.5 * p.dc) << 6 |
                    round_half_up(31.5 + 31.5 * q.dc) << 12 | round_half_up(31 * l.scale) << 18 |
                    has_alpha << 23;
    int shape = (landscape ? ly : lx) | round_half_up(63 * p.scale) << 3 |
                round_half_up(63 * q.scale) << 9 | landscape << 15;
    memset(out, 0, THUMBHASH_BYTES_MAX);
    out[0] = (uint8_t)constants;
    out[1] = (uint8_t)(constants >> 8);
    out[2] = (uint8_t)(constants >> 16);
    out[3] = (uint8_t)shape;
    out[4] = (uint8_t)(shape >> 8);
    size_t nibbles = 10;
    if (has_alpha) {
        out[5] = (uint8_t)(round_half_up(15 * a.dc) | round_half_up(15 * a.scale) << 4);
        nibbles = 12;
    }
    put_terms(&l, out, &nibbles);
    put_terms(&p, out, &nibbles);
    put_terms(&q, out, &nibbles);
    put_terms(&a, out, &nibbles);
    return (nibbles + 1) / 2;
}
