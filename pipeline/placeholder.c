/*
 * ThumbHash: luminance (L), yellow-blue (P), red-green (Q) and perhaps alpha, each as the low
 * corner of its cosine transform; functions/image_thumbhash.c has the layout. Decoding puts the
 * cosines together again, at 32 pixels on the longer side.
 *
 * The hash comes out of a table that users write to, so every bit pattern has to do: sides and
 * terms are clamped, colours too.
 */
#include "pipeline/placeholder.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"

#include <math.h>

#define TERMS_MAX 7
#define AC_MAX (TERMS_MAX * TERMS_MAX)
#define HEAD_BYTES 5
#define HEAD_ALPHA_BYTES 6
/* P and Q are kept smaller than they are; the decoder makes up for it. */
#define SATURATION 1.25

struct channel {
    int nx, ny;
    double dc;
    double ac[AC_MAX];
};

struct hash {
    struct channel l, p, q, a;
    bool has_alpha;
    int width, height;
};

/* Reads terms of four bits, low half of a byte first. */
struct nibbles {
    struct slice bytes;
    size_t at;
};

static unsigned
byte_of(struct slice s, size_t i)
{
    return (unsigned char)s.p[i];
}

static int
read_terms(struct nibbles *in, struct channel *ch, double scale)
{
    int count = 0;
    for (int cy = 0; cy < ch->ny; cy++) {
        for (int cx = cy > 0 ? 0 : 1; cx * ch->ny < ch->nx * (ch->ny - cy); cx++) {
            if (in->at / 2 >= in->bytes.n)
                return ERR_INVALID;
            unsigned half = byte_of(in->bytes, in->at / 2) >> (in->at % 2 * 4) & 15;
            CHK(count < AC_MAX);
            ch->ac[count++] = (half / 7.5 - 1) * scale;
            in->at++;
        }
    }
    return ERR_NONE;
}

static int
at_least(int v, int min)
{
    return v > min ? v : min;
}

/* `lx` by `ly` terms stand for the picture's shape. */
static void
set_size(struct hash *h, int lx, int ly)
{
    double ratio = (double)at_least(lx, 1) / at_least(ly, 1);
    double w = ratio > 1 ? PLACEHOLDER_SIDE_MAX : PLACEHOLDER_SIDE_MAX * ratio;
    double y = ratio > 1 ? PLACEHOLDER_SIDE_MAX / ratio : PLACEHOLDER_SIDE_MAX;
    h->width = at_least((int)floor(w + 0.5), 1);
    h->height = at_least((int)floor(y + 0.5), 1);
}

static int
read_hash(struct slice s, struct hash *h)
{
    if (s.n < HEAD_BYTES)
        return ERR_INVALID;
    unsigned head = byte_of(s, 0) | byte_of(s, 1) << 8 | byte_of(s, 2) << 16;
    unsigned tail = byte_of(s, 3) | byte_of(s, 4) << 8;
    bool landscape = tail >> 15;
    h->has_alpha = head >> 23;
    if (h->has_alpha && s.n < HEAD_ALPHA_BYTES)
        return ERR_INVALID;
    int longer = h->has_alpha ? 5 : 7, shorter = (int)(tail & 7);
    int lx = landscape ? longer : shorter, ly = landscape ? shorter : longer;
    set_size(h, lx, ly);
    h->l = (struct channel){.nx = at_least(lx, 3), .ny = at_least(ly, 3)};
    h->p = h->q = (struct channel){.nx = 3, .ny = 3};
    h->a = (struct channel){.nx = 5, .ny = 5, .dc = 1};
    h->l.dc = (head & 63) / 63.0;
    h->p.dc = (head >> 6 & 63) / 31.5 - 1;
    h->q.dc = (head >> 12 & 63) / 31.5 - 1;
    struct nibbles in = {s, 2 * (h->has_alpha ? HEAD_ALPHA_BYTES : HEAD_BYTES)};
    int err = read_terms(&in, &h->l, (head >> 18 & 31) / 31.0);
    if (err == ERR_NONE)
        err = read_terms(&in, &h->p, (tail >> 3 & 63) / 63.0 * SATURATION);
    if (err == ERR_NONE)
        err = read_terms(&in, &h->q, (tail >> 9 & 63) / 63.0 * SATURATION);
    if (err != ERR_NONE || !h->has_alpha)
        return err;
    h->a.dc = (byte_of(s, 5) & 15) / 15.0;
    return read_terms(&in, &h->a, (byte_of(s, 5) >> 4) / 15.0);
}

/* cosines[i][k] of the k-th term at the i-th of `side` points. */
static void
cosine_table(double cosines[PLACEHOLDER_SIDE_MAX][TERMS_MAX], int side)
{
    for (int i = 0; i < side; i++) {
        for (int k = 0; k < TERMS_MAX; k++)
            cosines[i][k] = cos(M_PI / side * (i + 0.5) * k);
    }
}

static double
value_at(const struct channel *ch, const double fx[TERMS_MAX], const double fy[TERMS_MAX])
{
    double v = ch->dc;
    int j = 0;
    for (int cy = 0; cy < ch->ny; cy++) {
        for (int cx = cy > 0 ? 0 : 1; cx * ch->ny < ch->nx * (ch->ny - cy); cx++)
            v += ch->ac[j++] * fx[cx] * fy[cy] * 2;
    }
    return v;
}

static uint8_t
level(double v)
{
    return v <= 0 ? 0 : v >= 1 ? 255 : (uint8_t)(255 * v);
}

static void
make_pixel(const struct hash *h, const double fx[TERMS_MAX], const double fy[TERMS_MAX],
           uint8_t pixel[4])
{
    double l = value_at(&h->l, fx, fy), p = value_at(&h->p, fx, fy), q = value_at(&h->q, fx, fy);
    double blue = l - 2.0 / 3 * p;
    double red = (3 * l - blue + q) / 2;
    pixel[0] = level(red);
    pixel[1] = level(red - q);
    pixel[2] = level(blue);
    pixel[3] = h->has_alpha ? level(value_at(&h->a, fx, fy)) : 255;
}

int
placeholder_decode(struct slice thumbhash, struct placeholder *out)
{
    struct hash h;
    double fx[PLACEHOLDER_SIDE_MAX][TERMS_MAX], fy[PLACEHOLDER_SIDE_MAX][TERMS_MAX];
    int err = read_hash(thumbhash, &h);
    if (err != ERR_NONE)
        return err;
    *out = (struct placeholder){.width = h.width, .height = h.height};
    cosine_table(fx, h.width);
    cosine_table(fy, h.height);
    for (int y = 0; y < h.height; y++) {
        for (int x = 0; x < h.width; x++)
            make_pixel(&h, fx[x], fy[y], out->rgba + 4 * (y * h.width + x));
    }
    return ERR_NONE;
}

/* ---- PNG ---- */

static void
put_u32(struct buf *out, uint32_t v)
{
    char bytes[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    buf_put(out, bytes, sizeof bytes);
}

/* Length, type, data, and the CRC of the last two. */
static void
put_chunk(struct buf *out, const char type[4], struct slice data)
{
    put_u32(out, (uint32_t)data.n);
    buf_put(out, type, 4);
    buf_put_slice(out, data);
    put_u32(out, digest_crc32(digest_crc32(0, type, 4), data.p, data.n));
}

static uint32_t
adler32(struct slice s)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < s.n; i++) {
        a = (a + byte_of(s, i)) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

/* One stored block: such a picture is shorter than the 65,535 bytes it may have. */
static void
put_zlib(struct buf *out, struct slice raw)
{
    uint16_t n = (uint16_t)raw.n, not_n = (uint16_t)~n;
    CHK(raw.n <= UINT16_MAX);
    char head[7] = {
        0x78, 0x01, 0x01, (char)(n & 255), (char)(n >> 8), (char)(not_n & 255), (char)(not_n >> 8)};
    buf_put(out, head, sizeof head);
    buf_put_slice(out, raw);
    put_u32(out, adler32(raw));
}

void
placeholder_png(const struct placeholder *p, struct buf *out)
{
    static const char kind[5] = {8, 6, 0, 0, 0}; /* bits; RGBA; deflate, filters, no interlace */
    struct buf raw, data;
    size_t row = 4 * (size_t)p->width;
    buf_init(&raw, PLACEHOLDER_PNG_MAX);
    buf_init(&data, PLACEHOLDER_PNG_MAX);
    buf_puts(out, "\x89PNG\r\n\x1a\n");
    put_u32(&data, (uint32_t)p->width);
    put_u32(&data, (uint32_t)p->height);
    buf_put(&data, kind, sizeof kind);
    put_chunk(out, "IHDR", buf_slice(&data));
    for (int y = 0; y < p->height; y++) {
        buf_putc(&raw, 0); /* filter: none */
        buf_put(&raw, p->rgba + (size_t)y * row, row);
    }
    buf_reset(&data);
    put_zlib(&data, buf_slice(&raw));
    put_chunk(out, "IDAT", buf_slice(&data));
    put_chunk(out, "IEND", SLICE_LIT(""));
    if (data.err != ERR_NONE)
        out->err = data.err;
    buf_fini(&data);
    buf_fini(&raw);
}
