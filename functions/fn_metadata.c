/*
 * The facts of a picture as attributes of its item. What can be said about any object (size, type,
 * digest) is said even when it is no picture. Position is told here and nowhere else.
 *
 * width and height are those of the upright picture, as people see it.
 */
#include "functions/fn_handler.h"
#include "functions/image_exif.h"
#include "functions/image_icc.h"
#include "functions/image_palette.h"
#include "functions/image_phash.h"
#include "functions/image_thumbhash.h"
#include "functions/text.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"

#include <stdio.h>

/* Longer objects get no digest: it would eat the whole deadline. */
#define DIGEST_SOURCE_MAX ((int64_t)4 << 30)
#define DIGEST_STEP (256u << 10)
#define CONTENT_TYPE_MAX 128

struct facts {
    struct arena *arena;
    struct fn_answer *answer; /* attrs has room for FN_ATTRS_MAX */
};

double
fn_metadata_scale(const struct fn_job *job, const struct fn_call *call)
{
    (void)call;
    return image_sample_scale(job->image);
}

/* ---- one attribute ---- */

static void
put(struct facts *f, const char *name, char type, struct slice value)
{
    struct slice copy = type == 'T' || type == 'F' ? SLICE_NONE : arena_dup(f->arena, value);
    bool empty = copy.n == 0 && type != 'T' && type != 'F';
    if (!empty && f->answer->attr_count < FN_ATTRS_MAX)
        f->answer->attrs[f->answer->attr_count++] =
            (struct fn_attr){.name = slice_str(name), .type = type, .value = copy};
}

static void
put_text(struct facts *f, const char *name, const char *text)
{
    put(f, name, 'S', slice_str(text));
}

static void
put_bool(struct facts *f, const char *name, bool value)
{
    put(f, name, value ? 'T' : 'F', SLICE_NONE);
}

static void
put_int(struct facts *f, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    put(f, name, 'N', slice_str(text));
}

/* At most so many decimals, none that say nothing. */
static void
put_real(struct facts *f, const char *name, double value, int decimals)
{
    char text[48];
    int n = snprintf(text, sizeof(text), "%.*f", decimals, value);
    while (n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0 && text[n - 1] == '.')
        n--;
    struct slice number = slice_of(text, (size_t)n);
    put(f, name, 'N', slice_eqs(number, "-0") ? slice_skip(number, 1) : number);
}

/* ---- groups of them ---- */

static void
put_digest(struct facts *f, const struct fn_job *job)
{
    static uint8_t step[DIGEST_STEP]; /* too much for a stack; one thread */
    char hex[2 * SHA256_BYTES + 1];
    int64_t at = 0, n = job->req->source_bytes;
    if (n > DIGEST_SOURCE_MAX)
        return;
    struct digester *d = digester_new(DIGEST_SHA256, CHECKSUM_NONE);
    while (d != NULL && at < n) {
        size_t take = n - at < DIGEST_STEP ? (size_t)(n - at) : DIGEST_STEP;
        if (fsio_pread_all(job->source_fd, step, take, at) != ERR_NONE)
            goto out;
        digester_update(d, step, take);
        at += (int64_t)take;
    }
    if (d == NULL)
        goto out;
    digester_end(d);
    hex_encode(digester_sha256(d), SHA256_BYTES, hex);
    put_text(f, "sha256", hex);
out:
    digester_free(&d);
}

/* True of every object. */
static void
put_object(struct facts *f, const struct fn_job *job)
{
    char type[CONTENT_TYPE_MAX];
    const char *sniffed = sniff_content_type(job->format);
    if (sniffed[0] == '\0')
        text_clean(job->req->source_type, type, sizeof(type));
    else
        snprintf(type, sizeof(type), "%s", sniffed);
    put_int(f, "size", job->req->source_bytes);
    put_text(f, "content_type", type);
    put_text(f, "format", sniff_name(job->format));
    put_digest(f, job);
}

static void
put_exif(struct facts *f, struct slice bytes)
{
    struct exif_facts e;
    exif_read(bytes, &e);
    put_text(f, "exif.camera_make", e.camera_make);
    put_text(f, "exif.camera_model", e.camera_model);
    put_text(f, "exif.lens", e.lens);
    put_text(f, "exif.taken_at", e.taken_at);
    put_text(f, "exif.exposure_time", e.exposure_time);
    if (e.f_number > 0)
        put_real(f, "exif.f_number", e.f_number, 2);
    if (e.iso > 0)
        put_int(f, "exif.iso", e.iso);
    if (e.focal_length_mm > 0)
        put_real(f, "exif.focal_length", e.focal_length_mm, 2);
    if (e.has_position) {
        put_real(f, "gps.latitude", e.latitude, 6);
        put_real(f, "gps.longitude", e.longitude, 6);
    }
    if (e.has_altitude)
        put_real(f, "gps.altitude", e.altitude_m, 1);
}

static void
put_header(struct facts *f, const struct image_facts *h)
{
    struct icc_facts icc;
    put_int(f, "width", h->width);
    put_int(f, "height", h->height);
    put_int(f, "pages", h->pages);
    put_bool(f, "alpha", h->alpha);
    put_int(f, "orientation", h->orientation);
    if (icc_read(h->icc, &icc) == ERR_NONE)
        put_text(f, "icc", icc.name);
    put_exif(f, h->exif);
}

static void
put_looks(struct facts *f, const struct image_sample *s)
{
    char text[PALETTE_COLORS * 8 + 1] = "", phash[17];
    struct palette palette;
    uint8_t hash[THUMBHASH_BYTES_MAX];
    palette_make(s->rgba, (size_t)s->width * (size_t)s->height, &palette);
    size_t n = 0;
    for (size_t i = 0; i < palette.count; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s#%02x%02x%02x", i == 0 ? "" : " ",
                              palette.colors[i][0], palette.colors[i][1], palette.colors[i][2]);
    put(f, "dominant_color", 'S', slice_of(text, n < 7 ? n : 7));
    put_text(f, "palette", text);
    snprintf(phash, sizeof(phash), "%016llx",
             (unsigned long long)phash_make(s->rgba, s->width, s->height));
    put_text(f, "phash", phash);
    put(f, "thumbhash", 'B', slice_of(hash, thumbhash_make(s->rgba, s->width, s->height, hash)));
}

void
fn_metadata_run(const struct fn_job *job, const struct fn_call *call, struct fn_answer *answer)
{
    (void)call;
    static struct image_sample sample; /* 40 KB: too much for a stack; one thread */
    struct facts f = {.arena = job->arena, .answer = answer};
    struct buf why;
    answer->status = job->status;
    answer->reason = job->reason;
    answer->attrs = arena_alloc(job->arena, FN_ATTRS_MAX * sizeof(*answer->attrs));
    if (answer->attrs == NULL) {
        answer->status = FN_ERROR;
        answer->reason = slice_str(err_text(ERR_NOMEM));
        return;
    }
    put_object(&f, job);
    if (job->image != NULL)
        put_header(&f, image_facts(job->image));
    if (job->status != FN_OK)
        return;
    put_bool(&f, "damaged", image_damaged(job->image));
    buf_init(&why, IMAGE_WHY_MAX);
    if (image_sample(job->image, &sample, &why) == ERR_NONE)
        put_looks(&f, &sample);
    buf_fini(&why);
}
