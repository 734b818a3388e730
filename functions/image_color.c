/*
 * Colour of pictures in memory or streaming by.
 */
#include "functions/image_priv.h"
#include "functions/image_icc.h"
#include "base/err.h"
#include "base/fsio.h"

#include <stdlib.h>

static bool
is_grey(const VipsImage *in)
{
    VipsInterpretation i = vips_image_guess_interpretation(in);
    return i == VIPS_INTERPRETATION_B_W || i == VIPS_INTERPRETATION_GREY16;
}

/* Whether the embedded profile fits the pixels and says something other than sRGB. */
static bool
profile_matters(VipsImage *in, struct slice icc)
{
    struct icc_facts facts;
    if (icc.n == 0 || icc_read(icc, &facts) != ERR_NONE || facts.is_srgb)
        return false;
    if (is_grey(in))
        return strcmp(facts.space, "GRAY") == 0;
    VipsInterpretation i = vips_image_guess_interpretation(in);
    return strcmp(facts.space, "RGB ") == 0 &&
           (i == VIPS_INTERPRETATION_sRGB || i == VIPS_INTERPRETATION_RGB16);
}

static struct slice cmyk_profile; /* of CMYK pictures without one; n = 0: a general one */

static int
transform(VipsImage *in, const char *otherwise, VipsImage **out)
{
    return vips_icc_transform(in, out, "srgb", "embedded", TRUE, "input_profile", otherwise,
                              "intent", VIPS_INTENT_RELATIVE, "depth", 8, NULL);
}

/* Through the profile embedded, else the configured one, which then is as if embedded, else a
 * general one. */
static int
transform_cmyk(VipsImage *in, VipsImage **out)
{
    VipsImage *with = NULL;
    if (cmyk_profile.n == 0 || vips_image_get_typeof(in, VIPS_META_ICC_NAME) != 0)
        return transform(in, "cmyk", out);
    if (vips_copy(in, &with, NULL) != 0)
        return -1;
    vips_image_set_blob_copy(with, VIPS_META_ICC_NAME, cmyk_profile.p, cmyk_profile.n);
    int rc = transform(with, "cmyk", out);
    g_object_unref(with);
    return rc;
}

/* ---- the profile of CMYK pictures without one ---- */

#define CMYK_PROFILE_MAX (16u << 20)

int
image_set_cmyk_profile(const char *path, struct buf *why)
{
    struct buf bytes;
    struct icc_facts facts;
    buf_init(&bytes, CMYK_PROFILE_MAX);
    int err = fsio_read_file(path, &bytes);
    if (err != ERR_NONE) {
        buf_printf(why, "image.cmyk_profile: %s: %s", path, err_text(err));
    } else if (icc_read(buf_slice(&bytes), &facts) != ERR_NONE ||
               strcmp(facts.space, "CMYK") != 0) {
        buf_printf(why, "image.cmyk_profile: %s is no ICC profile of CMYK", path);
        err = ERR_INVALID;
    } else {
        free((void *)(uintptr_t)cmyk_profile.p);
        cmyk_profile = slice_of(malloc(bytes.n), bytes.n);
        if (cmyk_profile.p == NULL)
            err = ERR_NOMEM;
        else
            memcpy((void *)(uintptr_t)cmyk_profile.p, bytes.p, bytes.n);
    }
    buf_fini(&bytes);
    return err;
}

/* One or two bands of grey, three or four of colour; anything further is no colour. */
static int
drop_extra_bands(VipsImage *in, VipsImage **out)
{
    int bands = vips_image_get_bands(in);
    if (bands <= 4) {
        *out = g_object_ref(in);
        return 0;
    }
    return vips_extract_band(in, out, 0, "n", 4, NULL);
}

int
image_to_srgb(VipsImage *in, struct slice icc, VipsImage **out)
{
    VipsImage *t[3] = {NULL};
    bool grey = is_grey(in);
    bool cmyk = vips_image_guess_interpretation(in) == VIPS_INTERPRETATION_CMYK;
    int rc = -1;
    if (cmyk || profile_matters(in, icc)) {
        /* A broken RGB or grey profile is ignored, as browsers do. */
        if ((cmyk ? transform_cmyk(in, &t[0]) : transform(in, "srgb", &t[0])) != 0) {
            if (cmyk)
                goto out;
            vips_error_clear();
        }
    }
    if (t[0] == NULL)
        t[0] = g_object_ref(in);
    VipsInterpretation space = grey ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB;
    if (vips_colourspace(t[0], &t[1], space, NULL) != 0 || drop_extra_bands(t[1], &t[2]) != 0)
        goto out;
    rc = vips_cast(t[2], out, VIPS_FORMAT_UCHAR, NULL);
out:
    for (size_t i = 0; i < G_N_ELEMENTS(t); i++)
        g_clear_object(&t[i]);
    return rc;
}
