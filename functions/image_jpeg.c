/*
 * ITU T.81 annex B as far as needed: markers and segment lengths. Behind a start of scan lies
 * entropy-coded data, where 0xff is always followed by 0x00, a restart marker or the next marker.
 */
#include "functions/image_jpeg.h"
#include "base/err.h"

#define M_SOI 0xd8
#define M_EOI 0xd9
#define M_SOS 0xda
#define M_TEM 0x01
#define JPEG_COMPONENTS_MAX 4

struct walk {
    const uint8_t *p;
    size_t n, at;
    int components; /* of the frame; 0 before its header */
};

static uint32_t
be16(const struct walk *w, size_t at)
{
    return (uint32_t)w->p[at] << 8 | w->p[at + 1];
}

static bool
is_frame(int marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* SOF2, SOF6, SOF10, SOF14. */
static bool
is_progressive(int marker)
{
    return (marker & 3) == 2;
}

/* Moves behind the next marker that is neither stuffing nor a restart; -1 at the end. */
static int
next_marker(struct walk *w)
{
    while (w->at < w->n) {
        const uint8_t *ff = memchr(w->p + w->at, 0xff, w->n - w->at);
        if (ff == NULL)
            break;
        w->at = (size_t)(ff - w->p) + 1;
        while (w->at < w->n && w->p[w->at] == 0xff)
            w->at++;
        if (w->at == w->n)
            break;
        int marker = w->p[w->at++];
        if (marker != 0 && marker != M_TEM && !(marker >= 0xd0 && marker <= 0xd7))
            return marker;
    }
    w->at = w->n;
    return -1;
}

/* Blocks of all components, padded to whole MCUs. */
static int64_t
frame_blocks(const struct walk *w, size_t body)
{
    int64_t height = be16(w, body + 1), width = be16(w, body + 3), blocks = 0;
    int hmax = 1, vmax = 1;
    for (int i = 0; i < w->components; i++) {
        uint8_t sampling = w->p[body + 6 + 3 * (size_t)i + 1];
        hmax = (sampling >> 4) > hmax ? sampling >> 4 : hmax;
        vmax = (sampling & 15) > vmax ? sampling & 15 : vmax;
    }
    int64_t mcus = ((width + 8 * hmax - 1) / (8 * hmax)) * ((height + 8 * vmax - 1) / (8 * vmax));
    for (int i = 0; i < w->components; i++) {
        uint8_t sampling = w->p[body + 6 + 3 * (size_t)i + 1];
        blocks += mcus * (sampling >> 4) * (sampling & 15);
    }
    return blocks;
}

/* Steps over the segment behind a marker. `body` becomes the offset of what follows its length;
 * returns that many bytes, -1 when the segment does not fit. */
static int64_t
skip_segment(struct walk *w, size_t *body)
{
    size_t length = w->n - w->at >= 2 ? be16(w, w->at) : 0;
    if (length < 2 || length > w->n - w->at)
        return -1;
    *body = w->at + 2;
    w->at += length;
    return (int64_t)length - 2;
}

static void
count_scans(struct walk *w, int scans_max, struct jpeg_facts *out)
{
    size_t body;
    out->scans = 1;
    while (out->scans <= scans_max) {
        int marker = next_marker(w);
        if (marker < 0 || marker == M_EOI || (marker != M_SOI && skip_segment(w, &body) < 0))
            return;
        out->scans += marker == M_SOS;
    }
}

/* SOF9 and behind. */
static bool
is_arithmetic(int marker)
{
    return marker >= 0xc9;
}

/* `length` bytes of a frame header. */
static int
read_frame(struct walk *w, int marker, size_t body, int64_t length, struct jpeg_facts *out)
{
    if (length < 6 || w->p[body + 5] > JPEG_COMPONENTS_MAX ||
        length < 6 + 3 * (int64_t)w->p[body + 5])
        return ERR_INVALID;
    w->components = w->p[body + 5];
    out->arithmetic = is_arithmetic(marker);
    out->buffered = is_progressive(marker);
    out->blocks = frame_blocks(w, body);
    return ERR_NONE;
}

int
jpeg_read(struct slice bytes, int segments_max, int scans_max, struct jpeg_facts *out)
{
    struct walk w = {.p = (const uint8_t *)bytes.p, .n = bytes.n};
    *out = (struct jpeg_facts){0};
    for (int segments = 0;; segments++) {
        int marker = next_marker(&w);
        if (segments > segments_max)
            return ERR_RANGE;
        if (marker < 0 || marker == M_EOI)
            return ERR_INVALID;
        if (marker == M_SOI)
            continue;
        size_t body;
        int64_t length = skip_segment(&w, &body);
        if (length < 0)
            return ERR_INVALID;
        if (is_frame(marker) && w.components == 0) {
            if (read_frame(&w, marker, body, length, out) != ERR_NONE)
                return ERR_INVALID;
        } else if (marker == M_SOS) {
            if (w.components == 0 || length < 1)
                return ERR_INVALID;
            out->buffered = out->buffered || w.p[body] < w.components;
            break;
        }
    }
    if (out->buffered) {
        out->coefficient_bytes = out->blocks * 64 * 2;
        count_scans(&w, scans_max, out);
    }
    return ERR_NONE;
}
