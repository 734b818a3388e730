#include "tests/bench/images_plain.h"
#include "functions/image_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "tests/bench/bench_worker.h"

#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIXELS_MAX 100000000
#define MMAP_THRESHOLD (128 << 10) /* the worker's */

void
plain_start(void)
{
    struct buf why;
    buf_init(&why, IMAGE_WHY_MAX);
    setenv("VIPS_CONCURRENCY", "1", 1);
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    mallopt(M_ARENA_MAX, 1);
    if (image_start(&why) != ERR_NONE || image_warm_up(&why) != ERR_NONE)
        bench_die("libvips", why.p);
    buf_fini(&why);
}

void
plain_open(struct plain_file *f, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0)
        bench_die("cannot open", path);
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        bench_die("cannot map", path);
    f->bytes = slice_of(p, (size_t)st.st_size);
}

void
plain_close(struct plain_file *f)
{
    munmap((void *)f->bytes.p, f->bytes.n);
}

static struct image *
open_image(struct slice bytes, struct buf *why)
{
    struct image *im;
    struct image_limits limits = {PIXELS_MAX, PIXELS_MAX};
    if (image_open(&im, bytes, sniff(bytes), &limits, why) != ERR_NONE)
        bench_die("cannot open", why->p);
    return im;
}

void
plain_thumbnails(const char *path, const struct preset_list *list, struct image_output *made)
{
    struct buf why;
    struct plain_file f;
    double scale = 0;
    plain_open(&f, path);
    buf_init(&why, IMAGE_WHY_MAX);
    struct image *im = open_image(f.bytes, &why);
    for (size_t i = 0; i < list->count; i++)
        scale = fmax(scale, image_preset_scale(im, &list->presets[i]));
    if (image_decode(im, scale, &why) != ERR_NONE)
        bench_die(path, why.p);
    for (size_t i = 0; i < list->count; i++)
        if (image_render(im, &list->presets[i], &made[i], &why) != ERR_NONE)
            bench_die(path, why.p);
    image_free(&im);
    buf_fini(&why);
    plain_close(&f);
}

/* Every pixel in memory and in floating point: libvips rounds the weights of its integer filters so
 * far that a large shrink of its own is no reference. */
static VipsImage *
full_float(const struct image *im)
{
    VipsImage *real = NULL, *whole = vips_image_copy_memory(im->header);
    if (whole == NULL || vips_cast(whole, &real, VIPS_FORMAT_FLOAT, NULL) != 0)
        bench_die("no reference", vips_error_buffer());
    g_object_unref(whole);
    return real;
}

/* Upright and in sRGB by the same road as every picture, after the one resize. */
static VipsImage *
full_resize(const struct image *im, const struct preset *p)
{
    VipsImage *sized = NULL, *rounded = NULL, *bytes = NULL, *done = NULL, *real = full_float(im);
    double scale = image_fit_scale(im, p);
    double width = fmax(1, rint(im->stored_width * scale));
    double height = fmax(1, rint(im->stored_height * scale));
    if (vips_resize(real, &sized, width / im->stored_width, "vscale", height / im->stored_height,
                    "kernel", VIPS_KERNEL_LANCZOS3, "gap", 0.0, NULL) != 0 ||
        vips_rint(sized, &rounded, NULL) != 0 ||
        vips_cast(rounded, &bytes, VIPS_FORMAT_UCHAR, NULL) != 0 ||
        image_finish(im, &bytes, &done) != 0)
        bench_die("no reference", vips_error_buffer());
    g_object_unref(rounded);
    g_object_unref(sized);
    g_object_unref(real);
    return done;
}

void
plain_reference(const char *path, const struct preset *p, struct image_output *made)
{
    struct buf why;
    struct plain_file f;
    void *bytes = NULL;
    VipsImage *cut = NULL;
    plain_open(&f, path);
    buf_init(&why, IMAGE_WHY_MAX);
    struct image *im = open_image(f.bytes, &why);
    VipsImage *whole = full_resize(im, p);
    int w = vips_image_get_width(whole), h = vips_image_get_height(whole);
    int cut_w = p->fit == PRESET_COVER && p->width < w ? p->width : w;
    int cut_h = p->fit == PRESET_COVER && p->height < h ? p->height : h;
    *made = (struct image_output){.width = cut_w, .height = cut_h};
    if (vips_extract_area(whole, &cut, (w - cut_w) / 2, (h - cut_h) / 2, cut_w, cut_h, NULL) != 0 ||
        vips_pngsave_buffer(cut, &bytes, &made->bytes.n, "strip", TRUE, NULL) != 0)
        bench_die(path, vips_error_buffer());
    made->bytes.p = bytes;
    g_object_unref(cut);
    g_object_unref(whole);
    image_free(&im);
    buf_fini(&why);
    plain_close(&f);
}
