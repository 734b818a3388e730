/*
 * ICC.1 profile: a header of 128 bytes, a table of tags, and the tags' data anywhere behind. Every
 * offset is checked against the profile's real end.
 *
 * sRGB is recognised by numbers and not by name: profiles called sRGB are not always, and the
 * many tiny "c2", "sRGB built-in" and vendor profiles are. Compared are the three adapted primaries
 * and the tone curve at three points; an error of 1/255 stays invisible.
 */
#include "functions/image_icc.h"
#include "functions/text.h"
#include "base/chk.h"
#include "base/err.h"

#include <math.h>

#define ICC_HEADER 128
#define ICC_TAGS_MAX 128
#define ICC_XYZ_TOLERANCE 0.003
#define ICC_CURVE_TOLERANCE 0.006

static uint32_t
be32(struct slice s, size_t at)
{
    if (s.n < 4 || at > s.n - 4)
        return 0;
    const uint8_t *p = (const uint8_t *)s.p + at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t
be16(struct slice s, size_t at)
{
    if (s.n < 2 || at > s.n - 2)
        return 0;
    const uint8_t *p = (const uint8_t *)s.p + at;
    return (uint32_t)p[0] << 8 | p[1];
}

static double
s15f16(struct slice s, size_t at)
{
    return (int32_t)be32(s, at) / 65536.0;
}

/* The data of a tag; n = 0 when it is absent or lies outside. */
static struct slice
find_tag(struct slice profile, const char *name)
{
    uint32_t count = be32(profile, ICC_HEADER);
    count = count < ICC_TAGS_MAX ? count : ICC_TAGS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        size_t at = ICC_HEADER + 4 + (size_t)i * 12;
        if (at + 12 > profile.n)
            break;
        if (memcmp(profile.p + at, name, 4) != 0)
            continue;
        size_t offset = be32(profile, at + 4), n = be32(profile, at + 8);
        if (offset > profile.n || n > profile.n - offset)
            break;
        return slice_of(profile.p + offset, n);
    }
    return SLICE_NONE;
}

/* UTF-16BE to UTF-8; what is malformed is left out. */
static void
utf16_text(struct slice s, char *out, size_t out_size)
{
    size_t n = 0;
    for (size_t at = 0; at + 2 <= s.n && n + 5 < out_size; at += 2) {
        uint32_t c = be16(s, at);
        if (c >= 0xd800 && c < 0xdc00 && at + 4 <= s.n) {
            uint32_t low = be16(s, at += 2);
            c = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : 0;
        }
        if (c >= 0xd800 && c < 0xe000)
            continue;
        n += text_put_utf8(c, out + n);
    }
    out[n] = '\0';
}

static void
read_name(struct slice profile, char out[ICC_NAME_MAX])
{
    struct slice tag = find_tag(profile, "desc");
    char raw[ICC_NAME_MAX] = "";
    if (slice_starts(tag, SLICE_LIT("desc")) && tag.n > 12) {
        struct slice text = slice_skip(tag, 12);
        size_t n = be32(tag, 8);
        text.n = n < text.n ? n : text.n;
        text_clean(text, out, ICC_NAME_MAX);
        return;
    }
    if (slice_starts(tag, SLICE_LIT("mluc")) && be32(tag, 8) > 0) {
        size_t n = be32(tag, 20), offset = be32(tag, 24);
        if (offset <= tag.n && n <= tag.n - offset)
            utf16_text(slice_of(tag.p + offset, n), raw, sizeof(raw));
    }
    text_clean(slice_str(raw), out, ICC_NAME_MAX);
}

/* ---- is it sRGB? ---- */

static bool
xyz_is(struct slice profile, const char *tag_name, const double want[3])
{
    struct slice tag = find_tag(profile, tag_name);
    if (!slice_starts(tag, SLICE_LIT("XYZ ")) || tag.n < 20)
        return false;
    for (size_t i = 0; i < 3; i++)
        if (fabs(s15f16(tag, 8 + 4 * i) - want[i]) > ICC_XYZ_TOLERANCE)
            return false;
    return true;
}

static double
srgb_curve(double x)
{
    return x <= 0.04045 ? x / 12.92 : pow((x + 0.055) / 1.055, 2.4);
}

/* Value of a 'para' curve, function types 0..4; -1 when it is none of them. */
static double
parametric(struct slice tag, double x)
{
    static const uint8_t parameter_counts[] = {1, 3, 4, 5, 7};
    uint32_t type = be16(tag, 8);
    if (type >= ARRAY_LEN(parameter_counts) || tag.n < 12 + 4u * parameter_counts[type])
        return -1;
    double v[7] = {0};
    for (size_t i = 0; i < parameter_counts[type]; i++)
        v[i] = s15f16(tag, 12 + 4 * i);
    double g = v[0], a = v[1], b = v[2], c = v[3], d = v[4], e = v[5], f = v[6];
    switch (type) {
    case 0:
        return pow(x, g);
    case 1:
        return a * x + b >= 0 ? pow(a * x + b, g) : 0;
    case 2:
        return a * x + b >= 0 ? pow(a * x + b, g) + c : c;
    case 3:
        return x >= d ? pow(a * x + b, g) : c * x;
    default:
        return x >= d ? pow(a * x + b, g) + e : c * x + f;
    }
}

static double
sampled(struct slice tag, double x)
{
    uint32_t count = be32(tag, 8);
    if (count == 0)
        return x;
    if (count == 1)
        return pow(x, be16(tag, 12) / 256.0);
    if (count > (tag.n - 12) / 2)
        return -1;
    double at = x * (count - 1);
    uint32_t low = (uint32_t)at;
    uint32_t high = low + 1 < count ? low + 1 : low;
    double a = be16(tag, 12 + 2 * (size_t)low), b = be16(tag, 12 + 2 * (size_t)high);
    return (a + (b - a) * (at - low)) / 65535.0;
}

static bool
curve_is_srgb(struct slice profile, const char *tag_name)
{
    static const double points[] = {0.1, 0.25, 0.5, 0.75, 0.95};
    struct slice tag = find_tag(profile, tag_name);
    bool para = slice_starts(tag, SLICE_LIT("para"));
    if (tag.n < 12 || !(para || slice_starts(tag, SLICE_LIT("curv"))))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        double v = para ? parametric(tag, points[i]) : sampled(tag, points[i]);
        if (!(fabs(v - srgb_curve(points[i])) <= ICC_CURVE_TOLERANCE))
            return false;
    }
    return true;
}

static bool
looks_srgb(struct slice profile, const char *space)
{
    static const double red[] = {0.4361, 0.2225, 0.0139};
    static const double green[] = {0.3851, 0.7169, 0.0971};
    static const double blue[] = {0.1431, 0.0606, 0.7141};
    if (strcmp(space, "GRAY") == 0)
        return curve_is_srgb(profile, "kTRC");
    /* A profile with lookup tables as well is judged by what the transform would use: them. */
    if (strcmp(space, "RGB ") != 0 || find_tag(profile, "A2B0").n > 0)
        return false;
    return xyz_is(profile, "rXYZ", red) && xyz_is(profile, "gXYZ", green) &&
           xyz_is(profile, "bXYZ", blue) && curve_is_srgb(profile, "rTRC") &&
           curve_is_srgb(profile, "gTRC") && curve_is_srgb(profile, "bTRC");
}

int
icc_read(struct slice profile, struct icc_facts *out)
{
    *out = (struct icc_facts){0};
    if (profile.n < ICC_HEADER + 4 || memcmp(profile.p + 36, "acsp", 4) != 0)
        return ERR_INVALID;
    memcpy(out->space, profile.p + 16, 4);
    read_name(profile, out->name);
    out->is_srgb = looks_srgb(profile, out->space);
    return ERR_NONE;
}
