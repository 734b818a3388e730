/*
 * The EXIF facts we keep, out of the TIFF structure that cameras write. Reads foreign bytes; pure,
 * any thread.
 */
#ifndef DARKROOM_FUNCTIONS_IMAGE_EXIF_H
#define DARKROOM_FUNCTIONS_IMAGE_EXIF_H

#include "base/slice.h"

#define EXIF_TEXT_MAX 128

struct exif_facts { /* texts are clean UTF-8, "" when absent */
    char camera_make[EXIF_TEXT_MAX];
    char camera_model[EXIF_TEXT_MAX];
    char lens[EXIF_TEXT_MAX];
    char copyright[EXIF_TEXT_MAX]; /* the photographer's, where an editor has one too */
    char artist[EXIF_TEXT_MAX];
    char taken_at[48];      /* "2016-05-01T12:34:56", with "+02:00" where the camera knew it */
    char exposure_time[32]; /* seconds: "1/250", "2.5" */
    double f_number;        /* this and the next two: 0 when absent */
    int64_t iso;
    double focal_length_mm;
    bool has_position, has_altitude;
    double latitude, longitude, altitude_m;
};

/* `bytes` is a TIFF structure, with or without "Exif\0\0" before it. What is malformed is left
 * out; there is no failure. */
void exif_read(struct slice bytes, struct exif_facts *out);

#endif
