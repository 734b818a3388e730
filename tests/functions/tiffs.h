/* TIFF files made directory by directory: what cameras write, and plain ones of the same cameras.
 */
#ifndef DARKROOM_TESTS_FUNCTIONS_TIFFS_H
#define DARKROOM_TESTS_FUNCTIONS_TIFFS_H

#include "base/slice.h"

#include <stdlib.h>

#define TIFFS_SIDE 8
#define TIFFS_MAKE_AT 16 /* the camera's name, at most 31 letters */
#define TIFFS_SUBS_AT 48 /* offsets of two directories inside one */
#define TIFFS_IFD0_AT 64
#define TIFFS_SUB_AT 320
#define TIFFS_NEXT_AT 448
#define TIFFS_PIXELS_AT 576
#define TIFFS_BYTES (TIFFS_PIXELS_AT + 3 * TIFFS_SIDE * TIFFS_SIDE)

struct tiffs {
    bool big;                             /* byte order */
    const char *make;                     /* NULL: none */
    int subfile_type;                     /* of IFD0 */
    int compression, photometric;         /* of IFD0; 0: 1 (none), 2 (RGB) */
    int sub_compression, sub_photometric; /* of the second SubIFD; both 0: there is none */
    int next_photometric;                 /* of the directory behind IFD0; 0: none */
    bool dng;
    bool loop; /* every directory leads back to IFD0 */
};

static inline void
tiffs_put(uint8_t *p, bool big, uint32_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[big ? n - 1 - i : i] = (uint8_t)(v >> (8 * i));
}

/* An entry whose value, or its offset, fits into four bytes. */
static inline uint8_t *
tiffs_entry(uint8_t *p, bool big, int tag, int type, uint32_t count, uint32_t value)
{
    tiffs_put(p, big, (uint32_t)tag, 2);
    tiffs_put(p + 2, big, (uint32_t)type, 2);
    tiffs_put(p + 4, big, count, 4);
    tiffs_put(p + 8, big, value, type == 3 && count == 1 ? 2 : 4);
    return p + 12;
}

/* A directory of a picture of TIFFS_SIDE x TIFFS_SIDE. */
static inline void
tiffs_directory(uint8_t *file, size_t at, const struct tiffs *t, int compression, int photometric,
                bool first)
{
    bool big = t->big, subs = first && (t->sub_compression != 0 || t->sub_photometric != 0);
    uint8_t *start = file + at, *p = start + 2;
    int samples = photometric == 32803 ? 1 : 3;
    p = tiffs_entry(p, big, 254, 4, 1, first ? (uint32_t)t->subfile_type : 0);
    p = tiffs_entry(p, big, 256, 3, 1, TIFFS_SIDE);
    p = tiffs_entry(p, big, 257, 3, 1, TIFFS_SIDE);
    p = tiffs_entry(p, big, 258, 3, 1, 8);
    p = tiffs_entry(p, big, 259, 3, 1, (uint32_t)compression);
    p = tiffs_entry(p, big, 262, 3, 1, (uint32_t)photometric);
    if (first && t->make != NULL)
        p = tiffs_entry(p, big, 271, 2, (uint32_t)strlen(t->make) + 1, TIFFS_MAKE_AT);
    p = tiffs_entry(p, big, 273, 4, 1, TIFFS_PIXELS_AT);
    p = tiffs_entry(p, big, 277, 3, 1, (uint32_t)samples);
    p = tiffs_entry(p, big, 278, 3, 1, TIFFS_SIDE);
    p = tiffs_entry(p, big, 279, 4, 1, (uint32_t)(samples * TIFFS_SIDE * TIFFS_SIDE));
    if (subs)
        p = tiffs_entry(p, big, 330, 4, 2, TIFFS_SUBS_AT);
    if (first && t->dng)
        p = tiffs_entry(p, big, 50706, 1, 4, 0x01040000);
    tiffs_put(start, big, (uint32_t)((p - start - 2) / 12), 2);
    uint32_t next = first && t->next_photometric != 0 ? TIFFS_NEXT_AT : 0;
    tiffs_put(p, big, t->loop ? TIFFS_IFD0_AT : next, 4);
}

/* TIFFS_BYTES of heap; all pixels are (200, 60, 20). */
static inline struct slice
tiffs_make(const struct tiffs *t)
{
    uint8_t *file = calloc(1, TIFFS_BYTES);
    int compression = t->compression == 0 ? 1 : t->compression;
    memcpy(file, t->big ? "MM\0*" : "II*\0", 4);
    tiffs_put(file + 4, t->big, TIFFS_IFD0_AT, 4);
    if (t->make != NULL)
        memcpy(file + TIFFS_MAKE_AT, t->make, strlen(t->make));
    tiffs_put(file + TIFFS_SUBS_AT, t->big, TIFFS_NEXT_AT, 4);
    tiffs_put(file + TIFFS_SUBS_AT + 4, t->big, TIFFS_SUB_AT, 4);
    tiffs_directory(file, TIFFS_IFD0_AT, t, compression, t->photometric == 0 ? 2 : t->photometric,
                    true);
    tiffs_directory(file, TIFFS_SUB_AT, t, t->sub_compression == 0 ? 1 : t->sub_compression,
                    t->sub_photometric == 0 ? 2 : t->sub_photometric, false);
    tiffs_directory(file, TIFFS_NEXT_AT, t, 1, t->next_photometric == 0 ? 2 : t->next_photometric,
                    false);
    for (size_t i = TIFFS_PIXELS_AT; i < TIFFS_BYTES; i += 3)
        memcpy(file + i, "\xc8\x3c\x14", 3);
    return slice_of(file, TIFFS_BYTES);
}

#endif
