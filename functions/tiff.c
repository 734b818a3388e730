#include "functions/tiff.h"

#define ENTRY_BYTES 12
#define BIG_ENTRY_BYTES 20 /* BigTIFF */
#define BIG_ENTRIES_MAX 65535

static uint32_t
u16(const struct tiff *t, size_t at)
{
    const uint8_t *p = t->p + at;
    return t->little ? (uint32_t)p[1] << 8 | p[0] : (uint32_t)p[0] << 8 | p[1];
}

uint32_t
tiff_u32(const struct tiff *t, size_t at)
{
    return t->little ? u16(t, at + 2) << 16 | u16(t, at) : u16(t, at) << 16 | u16(t, at + 2);
}

static size_t
type_bytes(int type)
{
    static const uint8_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};
    return type > 0 && type <= TIFF_IFD ? sizes[type] : 0;
}

bool
tiff_open(struct slice bytes, struct tiff *t, size_t *ifd0)
{
    bool little = slice_starts(bytes, SLICE_LIT("II*\0"));
    if (bytes.n < 8 || !(little || slice_starts(bytes, SLICE_LIT("MM\0*"))))
        return false;
    *t = (struct tiff){.p = (const uint8_t *)bytes.p, .n = bytes.n, .little = little};
    *ifd0 = tiff_u32(t, 4);
    return true;
}

static bool
is_directory(const struct tiff *t, size_t ifd)
{
    return ifd >= 8 && ifd <= t->n && t->n - ifd >= 2;
}

bool
tiff_find(const struct tiff *t, size_t ifd, uint32_t tag, struct tiff_value *v)
{
    if (!is_directory(t, ifd))
        return false;
    uint32_t count = u16(t, ifd);
    count = count < TIFF_ENTRIES_MAX ? count : TIFF_ENTRIES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        size_t at = ifd + 2 + (size_t)i * ENTRY_BYTES;
        if (at > t->n || t->n - at < ENTRY_BYTES)
            return false;
        if (u16(t, at) != tag)
            continue;
        v->type = (int)u16(t, at + 2);
        v->count = tiff_u32(t, at + 4);
        uint64_t n = (uint64_t)type_bytes(v->type) * v->count;
        v->at = n <= 4 ? at + 8 : tiff_u32(t, at + 8);
        return n > 0 && v->at <= t->n && n <= t->n - v->at;
    }
    return false;
}

uint32_t
tiff_number(const struct tiff *t, const struct tiff_value *v, uint32_t i)
{
    if (i >= v->count)
        return 0;
    if (v->type == TIFF_SHORT)
        return u16(t, v->at + 2 * (size_t)i);
    return v->type == TIFF_LONG || v->type == TIFF_IFD ? tiff_u32(t, v->at + 4 * (size_t)i) : 0;
}

size_t
tiff_next(const struct tiff *t, size_t ifd)
{
    if (!is_directory(t, ifd))
        return 0;
    size_t at = ifd + 2 + (size_t)u16(t, ifd) * ENTRY_BYTES;
    return at <= t->n && t->n - at >= 4 ? tiff_u32(t, at) : 0;
}

/* ---- pages ---- */

/* Offsets of 64 bits; what does not fit is as good as the end. */
static size_t
u64(const struct tiff *t, size_t at)
{
    size_t first = tiff_u32(t, at), second = tiff_u32(t, at + 4);
    return t->little ? second << 32 | first : first << 32 | second;
}

static size_t
big_next(const struct tiff *t, size_t ifd)
{
    if (ifd < 16 || ifd > t->n || t->n - ifd < 8)
        return 0;
    size_t count = u64(t, ifd);
    if (count > BIG_ENTRIES_MAX)
        return 0;
    size_t at = ifd + 8 + count * BIG_ENTRY_BYTES;
    return at <= t->n && t->n - at >= 8 ? u64(t, at) : 0;
}

int
tiff_pages(struct slice bytes, int max)
{
    struct tiff t;
    size_t ifd;
    int pages = 0;
    if (tiff_open(bytes, &t, &ifd)) {
        for (; ifd != 0 && pages <= max; pages++)
            ifd = tiff_next(&t, ifd);
        return pages;
    }
    bool little = slice_starts(bytes, SLICE_LIT("II+\0"));
    if (bytes.n < 16 || !(little || slice_starts(bytes, SLICE_LIT("MM\0+"))))
        return 0;
    t = (struct tiff){.p = (const uint8_t *)bytes.p, .n = bytes.n, .little = little};
    for (ifd = u64(&t, 8); ifd != 0 && pages <= max; pages++)
        ifd = big_next(&t, ifd);
    return pages;
}
