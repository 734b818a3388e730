/*
 *   decode   by the smallest of libjpeg-turbo's scales that is no smaller than the target
 *   resize   lanczos3, first across, then down, in float
 *   encode   4:2:0, baseline
 */
#include "tests/bench/floor_jpeg.h"
#include "base/chk.h"

#include <math.h>
#include <stdlib.h>
#include <turbojpeg.h>

#define CHANNELS 3
#define LOBES 3

struct picture {
    int width, height;
    unsigned char *pixels;
};

/* The weights of one output position over `count` inputs from `first`. */
struct taps {
    int first, count;
    float *weights;
};

/* ---- decode ---- */

static tjscalingfactor
smallest_scale(int width, int height, int to_width, int to_height)
{
    int n = 0;
    tjscalingfactor best = {1, 1};
    const tjscalingfactor *all = tjGetScalingFactors(&n);
    for (int i = 0; i < n; i++) {
        if (TJSCALED(width, all[i]) >= to_width && TJSCALED(height, all[i]) >= to_height &&
            all[i].num * best.denom < best.num * all[i].denom)
            best = all[i];
    }
    return best;
}

static bool
decode(struct slice source, int side, struct picture *p, int *to_width, int *to_height)
{
    int width, height, sampling, space;
    tjhandle tj = tjInitDecompress();
    const unsigned char *bytes = (const unsigned char *)source.p;
    CHK(tj != NULL);
    bool good = tjDecompressHeader3(tj, bytes, source.n, &width, &height, &sampling, &space) == 0;
    if (good) {
        double shrink = fmax(1, fmax(width, height) / (double)side);
        *to_width = (int)fmax(1, round(width / shrink));
        *to_height = (int)fmax(1, round(height / shrink));
        tjscalingfactor scale = smallest_scale(width, height, *to_width, *to_height);
        p->width = TJSCALED(width, scale);
        p->height = TJSCALED(height, scale);
        p->pixels = chk_malloc((size_t)p->width * (size_t)p->height * CHANNELS);
        good =
            tjDecompress2(tj, bytes, source.n, p->pixels, p->width, 0, p->height, TJPF_RGB, 0) == 0;
    }
    tjDestroy(tj);
    return good;
}

/* ---- resize ---- */

static double
sinc(double x)
{
    return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x);
}

static struct taps *
taps_new(int from, int to)
{
    double step = (double)from / to;
    double reach = LOBES * fmax(1, step);
    struct taps *all = chk_malloc((size_t)to * sizeof *all);
    for (int i = 0; i < to; i++) {
        double centre = (i + 0.5) * step, sum = 0;
        int first = (int)fmax(0, floor(centre - reach));
        int end = (int)fmin(from, ceil(centre + reach));
        float *w = chk_malloc((size_t)(end - first) * sizeof *w);
        for (int k = first; k < end; k++) {
            double x = (k + 0.5 - centre) / fmax(1, step);
            double v = fabs(x) < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
            w[k - first] = (float)v;
            sum += v;
        }
        for (int k = 0; k < end - first; k++)
            w[k] = (float)(w[k] / sum);
        all[i] = (struct taps){first, end - first, w};
    }
    return all;
}

static void
taps_free(struct taps *all, int to)
{
    for (int i = 0; i < to; i++)
        free(all[i].weights);
    free(all);
}

static void
row_across(const unsigned char *from, float *to, const struct taps *taps, int to_width)
{
    for (int x = 0; x < to_width; x++) {
        float r = 0, g = 0, b = 0;
        const unsigned char *p = from + taps[x].first * CHANNELS;
        for (int k = 0; k < taps[x].count; k++, p += CHANNELS) {
            float w = taps[x].weights[k];
            r += w * p[0];
            g += w * p[1];
            b += w * p[2];
        }
        to[x * CHANNELS] = r;
        to[x * CHANNELS + 1] = g;
        to[x * CHANNELS + 2] = b;
    }
}

static void
row_down(const float *rows, size_t row_n, const struct taps *t, float *sum, unsigned char *to)
{
    memset(sum, 0, row_n * sizeof *sum);
    for (int k = 0; k < t->count; k++) {
        const float *row = rows + (size_t)(t->first + k) * row_n;
        for (size_t x = 0; x < row_n; x++)
            sum[x] += t->weights[k] * row[x];
    }
    for (size_t x = 0; x < row_n; x++)
        to[x] = (unsigned char)(fminf(fmaxf(sum[x], 0), 255) + 0.5f);
}

static void
resize(const struct picture *from, struct picture *to)
{
    size_t row_n = (size_t)to->width * CHANNELS;
    struct taps *across = taps_new(from->width, to->width);
    struct taps *down = taps_new(from->height, to->height);
    float *rows = chk_malloc((size_t)from->height * row_n * sizeof *rows);
    float *sum = chk_malloc(row_n * sizeof *sum);
    to->pixels = chk_malloc((size_t)to->height * row_n);
    for (int y = 0; y < from->height; y++)
        row_across(from->pixels + (size_t)y * (size_t)from->width * CHANNELS,
                   rows + (size_t)y * row_n, across, to->width);
    for (int y = 0; y < to->height; y++)
        row_down(rows, row_n, &down[y], sum, to->pixels + (size_t)y * row_n);
    free(sum);
    free(rows);
    taps_free(down, to->height);
    taps_free(across, to->width);
}

/* ---- encode ---- */

static size_t
encode(const struct picture *p, int quality)
{
    unsigned long bytes = 0;
    unsigned char *out = NULL;
    tjhandle tj = tjInitCompress();
    CHK(tj != NULL);
    if (tjCompress2(tj, p->pixels, p->width, 0, p->height, TJPF_RGB, &out, &bytes, TJSAMP_420,
                    quality, 0) != 0)
        bytes = 0;
    tjFree(out);
    tjDestroy(tj);
    return bytes;
}

size_t
floor_jpeg(struct slice source, int side, int quality)
{
    struct picture whole = {0}, small = {0};
    size_t n = 0;
    if (decode(source, side, &whole, &small.width, &small.height)) {
        resize(&whole, &small);
        n = encode(&small, quality);
    }
    free(small.pixels);
    free(whole.pixels);
    return n;
}
