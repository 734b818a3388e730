/*
 * EXIF 2.32: IFD0 points at the Exif IFD and the GPS IFD. Three directories are read and no more.
 */
#include "functions/image_exif.h"
#include "functions/text.h"
#include "functions/tiff.h"

#include <math.h>
#include <stdio.h>

static void
get_text(const struct tiff *t, size_t ifd, uint32_t tag, char *out, size_t out_size)
{
    struct tiff_value v;
    out[0] = '\0';
    if (tiff_find(t, ifd, tag, &v) && v.type == TIFF_ASCII)
        text_clean(slice_of(t->p + v.at, v.count), out, out_size);
}

static int64_t
get_integer(const struct tiff *t, size_t ifd, uint32_t tag)
{
    struct tiff_value v;
    return tiff_find(t, ifd, tag, &v) ? tiff_number(t, &v, 0) : 0;
}

/* The i-th fraction of a value. */
static bool
get_fraction(const struct tiff *t, size_t ifd, uint32_t tag, uint32_t i, uint32_t *num,
             uint32_t *den)
{
    struct tiff_value v;
    if (!tiff_find(t, ifd, tag, &v) || v.type != TIFF_RATIONAL || i >= v.count)
        return false;
    *num = tiff_u32(t, v.at + 8 * (size_t)i);
    *den = tiff_u32(t, v.at + 8 * (size_t)i + 4);
    return *den != 0;
}

static double
get_real(const struct tiff *t, size_t ifd, uint32_t tag)
{
    uint32_t num, den;
    return get_fraction(t, ifd, tag, 0, &num, &den) ? (double)num / den : 0;
}

static void
read_exposure(const struct tiff *t, size_t ifd, struct exif_facts *out)
{
    uint32_t num, den;
    if (!get_fraction(t, ifd, 0x829a, 0, &num, &den) || num == 0)
        return;
    double seconds = (double)num / den;
    if (seconds < 0.3)
        snprintf(out->exposure_time, sizeof(out->exposure_time), "1/%.0f", 1 / seconds);
    else
        snprintf(out->exposure_time, sizeof(out->exposure_time), "%.4g", seconds);
}

/* "2016:05:01 12:34:56" and, if the camera knew it, "+02:00". */
static void
read_time(const struct tiff *t, size_t ifd, struct exif_facts *out)
{
    static const char form[] = "dddd:dd:dd dd:dd:dd", offset_form[] = "sdd:dd";
    char text[32], offset[16];
    get_text(t, ifd, 0x9003, text, sizeof(text));
    get_text(t, ifd, 0x9011, offset, sizeof(offset));
    if (strlen(text) != sizeof(form) - 1 || memcmp(text, "0000", 4) == 0)
        return;
    for (size_t i = 0; form[i] != '\0'; i++)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return;
    bool known =
        strlen(offset) == sizeof(offset_form) - 1 && (offset[0] == '+' || offset[0] == '-');
    for (size_t i = 1; known && offset_form[i] != '\0'; i++)
        known = offset_form[i] == 'd' ? offset[i] >= '0' && offset[i] <= '9' : offset[i] == ':';
    text[4] = text[7] = '-';
    text[10] = 'T';
    snprintf(out->taken_at, sizeof(out->taken_at), "%s%s", text, known ? offset : "");
}

/* Degrees, minutes, seconds and a letter for the sign. */
static bool
read_angle(const struct tiff *t, size_t gps, uint32_t tag, char negative, double max, double *out)
{
    double v = 0, unit = 1;
    uint32_t num, den;
    for (uint32_t i = 0; i < 3; i++, unit *= 60) {
        if (get_fraction(t, gps, tag, i, &num, &den))
            v += (double)num / den / unit;
        else if (i == 0)
            return false;
    }
    char sign[4];
    get_text(t, gps, tag - 1, sign, sizeof(sign));
    *out = sign[0] == negative ? -v : v;
    return v <= max && sign[0] != '\0';
}

static void
read_position(const struct tiff *t, size_t gps, struct exif_facts *out)
{
    struct tiff_value below;
    uint32_t num, den;
    out->has_position = read_angle(t, gps, 2, 'S', 90, &out->latitude) &&
                        read_angle(t, gps, 4, 'W', 180, &out->longitude);
    out->has_altitude = get_fraction(t, gps, 6, 0, &num, &den);
    if (!out->has_altitude)
        return;
    out->altitude_m = (double)num / den;
    if (tiff_find(t, gps, 5, &below) && below.type == TIFF_BYTE && t->p[below.at] == 1)
        out->altitude_m = -out->altitude_m;
}

void
exif_read(struct slice bytes, struct exif_facts *out)
{
    *out = (struct exif_facts){0};
    if (slice_starts(bytes, SLICE_LIT("Exif\0\0")))
        bytes = slice_skip(bytes, 6);
    struct tiff t;
    size_t ifd0;
    if (!tiff_open(bytes, &t, &ifd0))
        return;
    size_t exif = (size_t)get_integer(&t, ifd0, 0x8769),
           gps = (size_t)get_integer(&t, ifd0, 0x8825);
    get_text(&t, ifd0, 0x010f, out->camera_make, sizeof(out->camera_make));
    get_text(&t, ifd0, 0x0110, out->camera_model, sizeof(out->camera_model));
    get_text(&t, ifd0, 0x8298, out->copyright, sizeof(out->copyright));
    get_text(&t, ifd0, 0x013b, out->artist, sizeof(out->artist));
    get_text(&t, exif, 0xa434, out->lens, sizeof(out->lens));
    out->f_number = get_real(&t, exif, 0x829d);
    out->iso = get_integer(&t, exif, 0x8827);
    out->focal_length_mm = get_real(&t, exif, 0x920a);
    read_exposure(&t, exif, out);
    read_time(&t, exif, out);
    read_position(&t, gps, out);
}
