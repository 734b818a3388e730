/*
 * RIFF: chunks of a four-letter name, a little-endian length and the bytes, padded to even length.
 * The first chunk of an extended file, VP8X, has flags for what else is there; when only the plain
 * picture remains it goes as well.
 *
 * Needed because webpsave of libvips 8.14.1 makes an EXIF block whatever it is told: two hundred
 * bytes in every small thumbnail.
 */
#include "functions/image_webp.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define RIFF_HEADER 12
#define CHUNK_HEADER 8
#define VP8X_BYTES 10
#define FLAG_ALPHA 0x10
#define FLAG_ANIMATION 0x02

static size_t
le32(const uint8_t *p)
{
    return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

static bool
is(const uint8_t *chunk, const char *name)
{
    return memcmp(chunk, name, 4) == 0;
}

/* Bytes of the chunk at `at` with header and padding; 0 when it does not fit. */
static size_t
chunk_bytes(const uint8_t *p, size_t n, size_t at)
{
    if (n - at < CHUNK_HEADER)
        return 0;
    size_t body = le32(p + at + 4);
    body += body & 1;
    return body > n - at - CHUNK_HEADER ? 0 : CHUNK_HEADER + body;
}

size_t
webp_strip(void *file, size_t n)
{
    uint8_t *p = file;
    bool extended = false;
    if (n < RIFF_HEADER || !is(p, "RIFF") || !is(p + 8, "WEBP"))
        return n;
    for (size_t at = RIFF_HEADER, size; at < n; at += size) {
        size = chunk_bytes(p, n, at);
        if (size == 0)
            return n;
        if (is(p + at, "VP8X"))
            extended = at == RIFF_HEADER && size == CHUNK_HEADER + VP8X_BYTES;
    }
    if (!extended)
        return n;

    uint8_t flags = p[RIFF_HEADER + CHUNK_HEADER] & (FLAG_ALPHA | FLAG_ANIMATION);
    size_t to = RIFF_HEADER;
    for (size_t at = RIFF_HEADER, size; at < n; at += size) {
        size = chunk_bytes(p, n, at);
        if (is(p + at, "VP8 ") || is(p + at, "VP8L") || is(p + at, "ALPH") || is(p + at, "ANIM") ||
            is(p + at, "ANMF") || (is(p + at, "VP8X") && flags != 0)) {
            memmove(p + to, p + at, size);
            to += size;
        }
    }
    if (flags != 0)
        p[RIFF_HEADER + CHUNK_HEADER] = flags;
    size_t body = to - CHUNK_HEADER;
    for (int i = 0; i < 4; i++)
        p[4 + i] = (uint8_t)(body >> (8 * i));
    return to;
}

size_t
webp_frames(const void *file, size_t n)
{
    const uint8_t *p = file;
    size_t frames = 0;
    if (n < RIFF_HEADER || !is(p, "RIFF") || !is(p + 8, "WEBP"))
        return 0;
    for (size_t at = RIFF_HEADER, size; at < n; at += size) {
        size = chunk_bytes(p, n, at);
        if (size == 0)
            break;
        frames += is(p + at, "ANMF");
    }
    return frames;
}
