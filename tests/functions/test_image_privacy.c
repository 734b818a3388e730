/*
 * What a derived object must not tell. Sources carry secrets wherever their format has room for
 * them, mostly put there by hand; whatever is made of them is searched for each secret, and read
 * piece by piece: a piece of a kind that can hold words is one too many.
 *
 *   sources   JPEG, PNG, WebP, animated WebP, GIF, animated GIF, TIFF, AVIF
 *   presets   smaller than the source, larger than it, all four formats, animated, keep_copyright
 */
#include "functions/image.h"
#include "functions/image_exif.h"
#include "base/buf.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <vips/vips.h>

#include <cmocka.h>

#define SIDE 48
#define FRAMES 3
#define FILE_MAX (1u << 20)
#define COPYRIGHT "(C) Somebody"
#define ARTIST "Somebody Else"

static const struct image_limits limits = {50000000, 100000000};

/* A latitude's seconds, 0x5ec2e701/0x00c0ffee, in either order of bytes. */
static const struct slice position[] = {SLICE_LIT("\x5e\xc2\xe7\x01\x00\xc0\xff\xee"),
                                        SLICE_LIT("\x01\xe7\xc2\x5e\xee\xff\xc0\x00")};

/* ---- an EXIF block by hand ---- */

struct entry {
    uint16_t tag, type;
    struct slice value; /* of type 3 and 4: one number, 4 bytes */
};

static void
put16(struct buf *b, uint32_t v)
{
    buf_putc(b, (char)(v >> 8));
    buf_putc(b, (char)v);
}

static void
put32(struct buf *b, uint32_t v)
{
    put16(b, v >> 16);
    put16(b, v);
}

/* 4 bytes, lent until the next but seven. */
static struct slice
number(uint32_t v)
{
    static uint8_t kept[8][4];
    static int at;
    uint8_t *p = kept[at++ % 8];
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
    return slice_of(p, 4);
}

/* A directory, its values behind it; returns where it stands. */
static uint32_t
put_ifd(struct buf *b, const struct entry *entries, size_t count, uint32_t next)
{
    uint32_t start = (uint32_t)b->n, at = start + 2 + 12 * (uint32_t)count + 4;
    put16(b, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &entries[i];
        size_t one = e->type == 4 ? 4 : e->type == 3 ? 4 : e->type == 5 ? 8 : 1;
        put16(b, e->tag);
        put16(b, e->type);
        put32(b, (uint32_t)(e->value.n / one));
        if (e->value.n > 4) {
            put32(b, at);
            at += (uint32_t)e->value.n;
        } else {
            buf_put_slice(b, e->value);
            for (size_t k = e->value.n; k < 4; k++)
                buf_putc(b, '\0');
        }
    }
    put32(b, next);
    for (size_t i = 0; i < count; i++)
        if (entries[i].value.n > 4)
            buf_put_slice(b, entries[i].value);
    return start;
}

#define TEXT(s)        \
    {                  \
        (s), sizeof(s) \
    } /* with its NUL */

/* TIFF structure with a thumbnail, a position, serial numbers, words; and who made the picture. */
static void
put_exif(struct buf *b)
{
    static const char thumbnail[] = "\xff\xd8SECRET-thumbnail\xff\xd9";
    static const char latitude[] = "\0\0\0\x21\0\0\0\1\0\0\0\x33\0\0\0\1"
                                   "\x5e\xc2\xe7\x01\x00\xc0\xff\xee";
    const struct entry exif[] = {{0x927c, 7, TEXT("SECRET-maker-note")},
                                 {0x9286, 7, TEXT("ASCII\0\0\0SECRET-user-comment")},
                                 {0xa430, 2, TEXT("SECRET-owner")},
                                 {0xa431, 2, TEXT("SECRET-body-serial")},
                                 {0xa435, 2, TEXT("SECRET-lens-serial")}};
    const struct entry gps[] = {{1, 2, TEXT("S")},
                                {2, 5, {latitude, 24}},
                                {3, 2, TEXT("E")},
                                {4, 5, {latitude, 24}},
                                {0x12, 2, TEXT("SECRET-gps-datum")}};
    buf_put_slice(b, SLICE_LIT("MM\0*\0\0\0\0"));
    uint32_t picture = (uint32_t)b->n;
    buf_put(b, thumbnail, sizeof(thumbnail));
    const struct entry ifd1[] = {{0x103, 3, SLICE_LIT("\0\6\0\0")},
                                 {0x201, 4, number(picture)},
                                 {0x202, 4, number(sizeof(thumbnail) - 1)}};
    uint32_t exif_at = put_ifd(b, exif, ARRAY_LEN(exif), 0);
    uint32_t gps_at = put_ifd(b, gps, ARRAY_LEN(gps), 0);
    uint32_t ifd1_at = put_ifd(b, ifd1, ARRAY_LEN(ifd1), 0);
    const struct entry ifd0[] = {{0x10e, 2, TEXT("SECRET-description")},
                                 {0x10f, 2, TEXT("SECRET-make")},
                                 {0x13b, 2, TEXT(ARTIST)},
                                 {0x8298, 2, TEXT(COPYRIGHT)},
                                 {0x8769, 4, number(exif_at)},
                                 {0x8825, 4, number(gps_at)}};
    uint32_t ifd0_at = put_ifd(b, ifd0, ARRAY_LEN(ifd0), ifd1_at);
    memcpy(b->p + 4, number(ifd0_at).p, 4);
}

#define XMP "<x:xmpmeta xmlns:x='adobe:ns:meta/'>SECRET-xmp</x:xmpmeta>"

/* ---- sources ---- */

static void *
take(void *p, size_t n, struct buf *out)
{
    buf_put(out, p, n);
    g_free(p);
    return NULL;
}

/* So many frames of noise above each other. */
static VipsImage *
pixels(int frames)
{
    static uint8_t px[SIDE * SIDE * FRAMES * 3];
    int delays[FRAMES] = {100, 100, 100};
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof(px); i++)
        px[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16 & 0xc0);
    VipsImage *im = vips_image_new_from_memory_copy(px, (size_t)(SIDE * SIDE * frames * 3), SIDE,
                                                    SIDE * frames, 3, VIPS_FORMAT_UCHAR);
    assert_non_null(im);
    im->Type = VIPS_INTERPRETATION_sRGB;
    if (frames > 1) {
        vips_image_set_int(im, VIPS_META_PAGE_HEIGHT, SIDE);
        vips_image_set_array_int(im, "delay", delays, frames);
    }
    return im;
}

static void
jpeg_segment(struct buf *out, int marker, struct slice head, struct slice body)
{
    buf_putc(out, (char)0xff);
    buf_putc(out, (char)marker);
    put16(out, (uint32_t)(head.n + body.n + 2));
    buf_put_slice(out, head);
    buf_put_slice(out, body);
}

static void
make_jpeg(struct slice exif, struct buf *out)
{
    void *p;
    size_t n;
    VipsImage *im = pixels(1);
    assert_int_equal(vips_jpegsave_buffer(im, &p, &n, "strip", TRUE, NULL), 0);
    g_object_unref(im);
    buf_put(out, p, 2);
    jpeg_segment(out, 0xe1, SLICE_LIT("Exif\0\0"), exif);
    jpeg_segment(out, 0xe1, SLICE_LIT("http://ns.adobe.com/xap/1.0/\0"), SLICE_LIT(XMP));
    jpeg_segment(out, 0xed, SLICE_LIT("Photoshop 3.0\0"),
                 SLICE_LIT("8BIM\4\4\0\0\0\0\0\x10\x1c\2\x78\0\x0bSECRET-iptc"));
    jpeg_segment(out, 0xfe, SLICE_NONE, SLICE_LIT("SECRET-comment"));
    jpeg_segment(out, 0xe7, SLICE_NONE, SLICE_LIT("SECRET-app7"));
    buf_put(out, (char *)p + 2, n - 2);
    buf_put_slice(out, SLICE_LIT("SECRET-behind-the-end"));
    g_free(p);
}

static void
png_chunk(struct buf *out, const char *name, struct slice body)
{
    put32(out, (uint32_t)body.n);
    size_t at = out->n;
    buf_puts(out, name);
    buf_put_slice(out, body);
    put32(out, digest_crc32(0, out->p + at, out->n - at));
}

static void
make_png(struct slice exif, struct buf *out)
{
    void *p;
    size_t n;
    VipsImage *im = pixels(1);
    assert_int_equal(vips_pngsave_buffer(im, &p, &n, "strip", TRUE, NULL), 0);
    g_object_unref(im);
    buf_put(out, p, 33); /* signature and IHDR */
    png_chunk(out, "tEXt", SLICE_LIT("Comment\0SECRET-text"));
    png_chunk(out, "iTXt", SLICE_LIT("XML:com.adobe.xmp\0\0\0\0\0" XMP));
    png_chunk(out, "eXIf", exif);
    buf_put(out, (char *)p + 33, n - 33);
    buf_put_slice(out, SLICE_LIT("SECRET-behind-the-end"));
    g_free(p);
}

static void
webp_chunk(struct buf *out, const char *name, struct slice body)
{
    buf_puts(out, name);
    for (int shift = 0; shift < 32; shift += 8)
        buf_putc(out, (char)(body.n >> shift));
    buf_put_slice(out, body);
    if (body.n % 2 != 0)
        buf_putc(out, '\0');
}

/* Extended form: VP8X with the flags of what there is, the picture, EXIF and XMP last. */
static void
make_webp(int frames, struct slice exif, struct buf *out)
{
    void *p;
    size_t n;
    char head[10] = {0x0c, 0, 0, 0, SIDE - 1, 0, 0, SIDE - 1, 0, 0};
    VipsImage *im = pixels(frames);
    assert_int_equal(vips_webpsave_buffer(im, &p, &n, "lossless", TRUE, NULL), 0);
    g_object_unref(im);
    head[0] |= frames > 1 ? 2 : 0;
    buf_put(out, p, 12);
    webp_chunk(out, "VP8X", slice_of(head, sizeof(head)));
    for (size_t at = 12, size; at + 8 <= n; at += 8 + size + size % 2) {
        const uint8_t *chunk = (const uint8_t *)p + at;
        size = chunk[4] | (size_t)chunk[5] << 8 | (size_t)chunk[6] << 16 | (size_t)chunk[7] << 24;
        if (memcmp(chunk, "VP8L", 4) == 0 || memcmp(chunk, "AN", 2) == 0)
            buf_put(out, chunk, 8 + size + size % 2);
    }
    webp_chunk(out, "EXIF", exif);
    webp_chunk(out, "XMP ", SLICE_LIT(XMP));
    for (int i = 0; i < 4; i++)
        out->p[4 + i] = (char)((out->n - 8) >> 8 * i);
    g_free(p);
}

/* Comment and XMP extensions before the first picture. */
static void
make_gif(int frames, struct buf *out)
{
    void *p;
    size_t n;
    VipsImage *im = pixels(frames);
    assert_int_equal(vips_gifsave_buffer(im, &p, &n, NULL), 0);
    g_object_unref(im);
    const uint8_t *file = p;
    size_t head = 13 + ((file[10] & 0x80) ? (size_t)3 << ((file[10] & 7) + 1) : 0);
    buf_put(out, p, head);
    buf_put_slice(out, SLICE_LIT("\x21\xfe\x0eSECRET-comment\0"));
    buf_put_slice(out, SLICE_LIT("\x21\xff\x0bXMP DataXMP\x0aSECRET-xmp\0"));
    buf_put(out, file + head, n - head);
    g_free(p);
}

static void
set_blobs(VipsImage *im, struct slice exif)
{
    struct buf with;
    buf_init(&with, FILE_MAX);
    buf_put_slice(&with, SLICE_LIT("Exif\0\0"));
    buf_put_slice(&with, exif);
    vips_image_set_blob_copy(im, VIPS_META_EXIF_NAME, with.p, with.n);
    vips_image_set_blob_copy(im, VIPS_META_XMP_NAME, XMP, sizeof(XMP) - 1);
    vips_image_set_blob_copy(im, VIPS_META_IPTC_NAME, "SECRET-iptc", 11);
    vips_image_set_string(im, VIPS_META_IMAGEDESCRIPTION, "SECRET-description");
    buf_fini(&with);
}

static void
make_tiff(struct slice exif, struct buf *out)
{
    void *p;
    size_t n;
    VipsImage *im = pixels(1);
    set_blobs(im, exif);
    assert_int_equal(vips_tiffsave_buffer(im, &p, &n, NULL), 0);
    g_object_unref(im);
    take(p, n, out);
}

static void
make_avif(struct slice exif, struct buf *out)
{
    void *p;
    size_t n;
    VipsImage *im = pixels(1);
    set_blobs(im, exif);
    assert_int_equal(vips_heifsave_buffer(im, &p, &n, "effort", 0, "compression",
                                          VIPS_FOREIGN_HEIF_COMPRESSION_AV1, NULL),
                     0);
    g_object_unref(im);
    take(p, n, out);
}

struct source {
    const char *name;
    int frames;
    bool exif, xmp;
    void (*make)(struct slice exif, struct buf *out);
};

static void
make_still_webp(struct slice exif, struct buf *out)
{
    make_webp(1, exif, out);
}

static void
make_moving_webp(struct slice exif, struct buf *out)
{
    make_webp(FRAMES, exif, out);
}

static void
make_still_gif(struct slice exif, struct buf *out)
{
    (void)exif;
    make_gif(1, out);
}

static void
make_moving_gif(struct slice exif, struct buf *out)
{
    (void)exif;
    make_gif(FRAMES, out);
}

static const struct source sources[] = {
    {"jpeg", 1, true, true, make_jpeg},
    {"png", 1, true, true, make_png},
    {"webp", 1, true, true, make_still_webp},
    {"animated webp", FRAMES, true, true, make_moving_webp},
    {"gif", 1, false, true, make_still_gif},
    {"animated gif", FRAMES, false, true, make_moving_gif},
    {"tiff", 1, false, true, make_tiff},
    {"avif", 1, true, true, make_avif},
};

/* ---- what was made, piece by piece ---- */

/* What the walks below complain about. */
static char trouble[256];

static bool
complain(const char *kind, struct slice name)
{
    snprintf(trouble, sizeof(trouble), "%s \"%.*s\"", kind, SLICE_FMT(name));
    return false;
}

static bool
one_of(struct slice name, const char *list)
{
    return slice_find(slice_str(list), name) >= 0;
}

static uint32_t
get32(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* Markers to the end; after a scan's header its data, which hides FF behind FF00. */
static bool
jpeg_is_bare(struct slice s, bool signed_)
{
    size_t at = 2;
    while (at + 4 <= s.n) {
        uint8_t marker = (uint8_t)s.p[at + 1];
        bool fits = marker == 0xe0 || marker == 0xdb || marker == 0xc0 || marker == 0xc2 ||
                    marker == 0xc4 || marker == 0xda || marker == 0xdd || marker == 0xee;
        if ((uint8_t)s.p[at] != 0xff || !(fits || (marker == 0xe1 && signed_)))
            return complain("marker", slice_of(s.p + at, 2));
        at += 2 + ((size_t)(uint8_t)s.p[at + 2] << 8 | (uint8_t)s.p[at + 3]);
        while (marker == 0xda && at + 1 < s.n &&
               !((uint8_t)s.p[at] == 0xff && s.p[at + 1] != 0 && (s.p[at + 1] & 0xf8) != 0xd0))
            at++;
        if (marker == 0xda && at + 2 == s.n && (uint8_t)s.p[at + 1] == 0xd9)
            return true;
    }
    return complain("end", SLICE_LIT("not where it should be"));
}

static bool
png_is_bare(struct slice s)
{
    size_t at = 8;
    while (at + 12 <= s.n) {
        struct slice name = slice_of(s.p + at + 4, 4);
        if (!one_of(name, "IHDR PLTE tRNS pHYs IDAT IEND"))
            return complain("chunk", name);
        at += 12 + get32(s.p + at);
    }
    return at == s.n || complain("end", SLICE_LIT("not where it should be"));
}

static bool
webp_is_bare(struct slice s, bool signed_)
{
    size_t at = 12;
    while (at + 8 <= s.n) {
        struct slice name = slice_of(s.p + at, 4);
        const uint8_t *p = (const uint8_t *)s.p + at;
        size_t n = p[4] | (size_t)p[5] << 8 | (size_t)p[6] << 16 | (size_t)p[7] << 24;
        if (!one_of(name, signed_ ? "VP8X VP8L VP8  ALPH ANIM ANMF EXIF"
                                  : "VP8X VP8L VP8  ALPH ANIM ANMF"))
            return complain("chunk", name);
        if (slice_eqs(name, "VP8X") && (p[8] & (signed_ ? 0x24 : 0x2c)) != 0)
            return complain("flags of", name);
        at += 8 + n + n % 2;
    }
    return at == s.n || complain("end", SLICE_LIT("not where it should be"));
}

/* Items are declared in the boxes before the media data. */
static bool
avif_is_bare(struct slice s, bool signed_)
{
    ptrdiff_t media = slice_find(s, SLICE_LIT("mdat"));
    struct slice head = slice_of(s.p, media < 0 ? s.n : (size_t)media);
    if (slice_find(head, SLICE_LIT("mime")) >= 0 || slice_find(head, SLICE_LIT("uri ")) >= 0)
        return complain("item", SLICE_LIT("mime or uri"));
    return signed_ || slice_find(head, SLICE_LIT("Exif")) < 0 ||
           complain("item", SLICE_LIT("Exif"));
}

static bool
is_bare(struct slice s, enum preset_format format, bool signed_)
{
    switch (format) {
    case PRESET_JPEG:
        return jpeg_is_bare(s, signed_);
    case PRESET_PNG:
        return png_is_bare(s);
    case PRESET_WEBP:
        return webp_is_bare(s, signed_);
    case PRESET_AVIF:
        return avif_is_bare(s, signed_);
    }
    return false;
}

/* ---- tests ---- */

static struct image_output
render(const struct source *source, struct slice bytes, const struct preset *p)
{
    struct image *im = NULL;
    struct image_output out = {0};
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    int err = image_open(&im, bytes, sniff(bytes), &limits, &why);
    if (err == ERR_NONE) {
        image_expect(im, p);
        err = image_decode(im, image_preset_scale(im, p), &why);
    }
    if (err == ERR_NONE && image_damaged(im))
        fail_msg("%s: the source is damaged", source->name);
    if (err == ERR_NONE)
        err = image_render(im, p, &out, &why);
    if (err != ERR_NONE)
        fail_msg("%s to %d: %s", source->name, p->format, why.p);
    image_free(&im);
    buf_fini(&why);
    return out;
}

static struct exif_facts
facts_of(struct slice bytes, size_t *exif_bytes)
{
    struct image *im = NULL;
    struct exif_facts facts;
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    assert_int_equal(image_open(&im, bytes, sniff(bytes), &limits, &why), ERR_NONE);
    *exif_bytes = image_facts(im)->exif.n;
    exif_read(image_facts(im)->exif, &facts);
    image_free(&im);
    buf_fini(&why);
    return facts;
}

static void
check_output(const struct source *source, struct slice bytes, const struct preset *p)
{
    struct image_output out = render(source, bytes, p);
    bool signed_ = p->keep_copyright && source->exif && p->format != PRESET_PNG;
    char what[128];
    size_t exif_bytes;
    snprintf(what, sizeof(what), "%s to %s of %d, keep %d", source->name,
             preset_extension(p->format), p->width, p->keep_copyright);
    if (slice_find(out.bytes, SLICE_LIT("SECRET")) >= 0)
        fail_msg("%s: gives a secret away", what);
    for (size_t i = 0; i < ARRAY_LEN(position); i++)
        if (slice_find(out.bytes, position[i]) >= 0)
            fail_msg("%s: tells where it was taken", what);
    if (!is_bare(out.bytes, p->format, signed_))
        fail_msg("%s: %s", what, trouble);
    if (p->animated && slice_find(out.bytes, SLICE_LIT("ANMF")) < 0)
        fail_msg("%s: does not move", what);
    struct exif_facts facts = facts_of(out.bytes, &exif_bytes);
    if ((exif_bytes > 0) != signed_)
        fail_msg("%s: %zu bytes of EXIF", what, exif_bytes);
    assert_string_equal(facts.copyright, signed_ ? COPYRIGHT : "");
    assert_string_equal(facts.artist, signed_ ? ARTIST : "");
    assert_string_equal(facts.camera_make, "");
    assert_false(facts.has_position || facts.has_altitude);
    image_output_free(&out);
}

/* The source does carry what the outputs must not: else every test here would be idle. */
static void
check_source(const struct source *source, struct slice bytes)
{
    size_t exif_bytes;
    struct exif_facts facts = facts_of(bytes, &exif_bytes);
    if (slice_find(bytes, SLICE_LIT("SECRET-xmp")) < 0 && source->xmp)
        fail_msg("%s: no XMP in the source", source->name);
    if (!source->exif)
        return;
    if (slice_find(bytes, SLICE_LIT("SECRET-body-serial")) < 0 ||
        (slice_find(bytes, position[0]) < 0 && slice_find(bytes, position[1]) < 0) ||
        !facts.has_position || strcmp(facts.camera_make, "SECRET-make") != 0 ||
        strcmp(facts.copyright, COPYRIGHT) != 0)
        fail_msg("%s: no EXIF in the source", source->name);
}

static void
test_nothing_is_told(void **state)
{
    (void)state;
    struct buf exif, file;
    buf_init(&exif, FILE_MAX);
    buf_init(&file, FILE_MAX);
    put_exif(&exif);
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        buf_reset(&file);
        sources[i].make(buf_slice(&exif), &file);
        assert_int_equal(file.err, ERR_NONE);
        check_source(&sources[i], buf_slice(&file));
        for (int k = 0; k < 4 * 2 * 2 * 2; k++) {
            struct preset p = {.name = "p",
                               .fit = PRESET_INSIDE,
                               .quality = 80,
                               .format = (enum preset_format)(k & 3),
                               .keep_copyright = k & 4,
                               .animated = k & 8};
            p.width = p.height = k & 16 ? SIDE / 2 : 2 * SIDE;
            if (p.animated && (p.format != PRESET_WEBP || sources[i].frames == 1))
                continue;
            check_output(&sources[i], buf_slice(&file), &p);
        }
    }
    buf_fini(&file);
    buf_fini(&exif);
}

static int
start(void **state)
{
    struct buf why;
    (void)state;
    buf_init(&why, IMAGE_WHY_MAX);
    int err = image_start(&why);
    if (err != ERR_NONE)
        printf("%s\n", why.p);
    buf_fini(&why);
    return err == ERR_NONE ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_is_told)};
    return cmocka_run_group_tests(tests, start, NULL);
}
