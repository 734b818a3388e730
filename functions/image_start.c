/*
 * libvips in this process: which of its parts exist, and in which state they are before the first
 * foreign byte.
 *
 * libvips loads every module of its module directory when it starts, poppler, ImageMagick and
 * openslide among them. The directory follows VIPSHOME, so for the time of the start there is a
 * private one that holds the HEIF module, and JPEG XL's when that is opted in, alone. All other
 * loaders are blocked by name besides.
 */
#include "functions/image_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEIF_MODULE "vips-heif.so"
#define JXL_MODULE "vips-jxl.so"
#define HOME_MAX 512
#define MAPS_MAX (4u << 20)
#define WARM_SIDE 64
#define IDLE_FREE_BYTES (4u << 20)

static bool allowed[SNIFF_COUNT];

void
image_allow(enum sniff_format f)
{
    CHK(sniff_is_optional(f));
    allowed[f] = true;
}

bool
image_reads(enum sniff_format f)
{
    return sniff_is_supported(f) || allowed[f];
}

/* ---- the private module directory ---- */

/* DIR/<libdir>/vips-modules-N.M/vips-heif.so, and vips-jxl.so where it is opted in: two directories
 * and a link, held open on the way. */
struct home {
    char dir[HOME_MAX];
    const char *leaf; /* "vips-modules-N.M" */
    int top, lib, modules;
};

static int
open_new_dir(int parent, const char *name)
{
    if (mkdirat(parent, name, 0700) != 0)
        return -1;
    return openat(parent, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int
home_make(struct home *h)
{
    const char *tmp = getenv("TMPDIR");
    h->lib = h->modules = h->top = -1;
    h->leaf = strrchr(VIPS_MODULE_DIR, '/') + 1;
    int n = snprintf(h->dir, sizeof(h->dir), "%s/darkroom-worker-XXXXXX", tmp ? tmp : "/tmp");
    if (n >= (int)sizeof(h->dir) || mkdtemp(h->dir) == NULL)
        return ERR_IO;
    h->top = open(h->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    h->lib = h->top < 0 ? -1 : open_new_dir(h->top, VIPS_LIBDIR_NAME);
    h->modules = h->lib < 0 ? -1 : open_new_dir(h->lib, h->leaf);
    if (h->modules < 0 ||
        symlinkat(VIPS_MODULE_DIR "/" HEIF_MODULE, h->modules, HEIF_MODULE) != 0 ||
        (image_reads(SNIFF_JXL) &&
         symlinkat(VIPS_MODULE_DIR "/" JXL_MODULE, h->modules, JXL_MODULE) != 0) ||
        setenv("VIPSHOME", h->dir, 1) != 0)
        return ERR_IO;
    return ERR_NONE;
}

static void
home_remove(struct home *h)
{
    if (h->modules >= 0) {
        unlinkat(h->modules, HEIF_MODULE, 0);
        unlinkat(h->modules, JXL_MODULE, 0);
        close(h->modules);
    }
    if (h->lib >= 0) {
        unlinkat(h->lib, h->leaf, AT_REMOVEDIR);
        close(h->lib);
    }
    if (h->top >= 0) {
        unlinkat(h->top, VIPS_LIBDIR_NAME, AT_REMOVEDIR);
        close(h->top);
        rmdir(h->dir);
    }
}

/* ---- checks ---- */

static int
check_operation(const char *name, struct buf *why)
{
    if (vips_type_find("VipsOperation", name) != 0)
        return ERR_NONE;
    buf_printf(why, "loader list is short: no %s", name);
    return ERR_UNSUPPORTED;
}

static int
check_operations(struct buf *why)
{
    static const char *const needed[] = {
        "jpegload_buffer", "pngload_buffer",  "webpload_buffer", "gifload_buffer",
        "tiffload_buffer", "heifload_buffer", "webpsave_buffer", "jpegsave_buffer",
        "pngsave_buffer",  "heifsave_buffer",
    };
    int err = ERR_NONE;
    for (size_t i = 0; err == ERR_NONE && i < ARRAY_LEN(needed); i++)
        err = check_operation(needed[i], why);
    if (err == ERR_NONE && image_reads(SNIFF_JXL))
        err = check_operation("jxlload_buffer", why);
    if (err == ERR_NONE && image_reads(SNIFF_SVG))
        err = check_operation("svgload_buffer", why);
    return err;
}

static int
check_maps(struct buf *why)
{
    static const char *const foreign[] = {"poppler", "Magick", "openslide", "sqlite"};
    struct buf maps;
    int err = ERR_NONE;
    buf_init(&maps, MAPS_MAX);
    if (fsio_read_file("/proc/self/maps", &maps) == ERR_NONE) {
        for (size_t i = 0; i < ARRAY_LEN(foreign) && err == ERR_NONE; i++) {
            if (slice_find(buf_slice(&maps), slice_str(foreign[i])) >= 0) {
                buf_printf(why, "a foreign library is loaded: %s", foreign[i]);
                err = ERR_UNSUPPORTED;
            }
        }
    }
    buf_fini(&maps);
    return err;
}

/* All loaders go, ours come back. */
static void
block_loaders(void)
{
    static const char *const ours[] = {"VipsForeignLoadJpeg", "VipsForeignLoadPng",
                                       "VipsForeignLoadWebp", "VipsForeignLoadNsgif",
                                       "VipsForeignLoadTiff", "VipsForeignLoadHeif"};
    vips_block_untrusted_set(TRUE);
    vips_operation_block_set("VipsForeignLoad", TRUE);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        vips_operation_block_set(ours[i], FALSE);
    if (image_reads(SNIFF_JXL)) {
        vips_operation_block_set("VipsForeignLoadJxl", FALSE);
        vips_operation_block_set("VipsForeignSaveJxl", FALSE); /* for the warm-up */
    }
    if (image_reads(SNIFF_SVG))
        vips_operation_block_set("VipsForeignLoadSvg", FALSE);
}

static char warning[IMAGE_WHY_MAX];

/* What libraries say about foreign files is foreign text: kept for image_vips_error(), for some
 * (libpng) say there what they do not say in their error. */
static void
keep_warning(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer arg)
{
    (void)domain, (void)arg;
    if ((level & (G_LOG_LEVEL_WARNING | G_LOG_LEVEL_CRITICAL)) != 0)
        snprintf(warning, sizeof(warning), "%s", message);
}

const char *
image_warning(void)
{
    return warning;
}

int
image_start(struct buf *why)
{
    struct home home;
    int err = home_make(&home);
    if (err != ERR_NONE)
        buf_printf(why, "cannot make the temporary directory %s", home.dir);
    g_log_set_default_handler(keep_warning, NULL);
    if (err == ERR_NONE && vips_init("darkroom-worker") != 0) {
        buf_puts(why, "libvips does not start");
        err = ERR_UNSUPPORTED;
    }
    home_remove(&home);
    if (err != ERR_NONE)
        return err;
    vips_concurrency_set(1);
    vips_cache_set_max(0);
    block_loaders();
    err = check_operations(why);
    return err == ERR_NONE ? check_maps(why) : err;
}

void
image_idle(void)
{
    vips_cache_set_max(0); /* trims; vips_cache_drop_all() would take the table away for good */
    vips_error_clear();
    warning[0] = '\0';
    /* Trimming costs a millisecond of page faults in the next invocation: only when it pays. */
    if (mallinfo2().fordblks > IDLE_FREE_BYTES)
        malloc_trim(0);
}

/* ---- warm-up ---- */

static const struct image_limits warm_limits = {.pixels_frame_max = WARM_SIDE * WARM_SIDE,
                                                .pixels_total_max = WARM_SIDE * WARM_SIDE};

/* Decodes `bytes` and renders them as `p`. */
static int
warm_trip(struct slice bytes, const struct preset *p, struct image_output *out, struct buf *why)
{
    struct image *im = NULL;
    int err = image_open(&im, bytes, sniff(bytes), &warm_limits, why);
    if (err == ERR_NONE)
        err = image_decode(im, 1, why);
    if (err == ERR_NONE)
        err = image_render(im, p, out, why);
    image_free(&im);
    return err;
}

/* A picture with some detail, as a TIFF. */
static int
warm_tiff(int bands, VipsInterpretation space, struct image_output *out)
{
    uint8_t pixels[WARM_SIDE * WARM_SIDE * 4];
    for (size_t i = 0; i < sizeof(pixels); i++)
        pixels[i] = (uint8_t)(i * 7 + i / 300);
    void *bytes = NULL;
    size_t n = 0;
    VipsImage *in = vips_image_new_from_memory_copy(pixels, (size_t)(WARM_SIDE * WARM_SIDE * bands),
                                                    WARM_SIDE, WARM_SIDE, bands, VIPS_FORMAT_UCHAR);
    if (in == NULL)
        return -1;
    in->Type = space;
    int rc = vips_tiffsave_buffer(in, &bytes, &n, NULL);
    g_object_unref(in);
    out->bytes = slice_of(bytes, n);
    return rc;
}

static int
warm_round(int bands, VipsInterpretation space, struct buf *why)
{
    struct preset p = {.width = WARM_SIDE / 2, .height = WARM_SIDE / 3, .quality = 80};
    struct image_output tiff = {0};
    int err = ERR_NONE;
    if (warm_tiff(bands, space, &tiff) != 0)
        err = image_vips_error(why, "warm-up");
    for (int format = PRESET_WEBP; err == ERR_NONE && format <= PRESET_AVIF; format++) {
        struct image_output made = {0}, again = {0};
        p.format = (enum preset_format)format;
        err = warm_trip(tiff.bytes, &p, &made, why);
        if (err == ERR_NONE)
            err = warm_trip(made.bytes, &p, &again, why);
        image_output_free(&again);
        image_output_free(&made);
    }
    image_output_free(&tiff);
    return err;
}

/* A JPEG XL has to be made for it. */
static int
warm_jxl(struct buf *why)
{
    struct preset p = {.width = WARM_SIDE / 2, .height = WARM_SIDE / 3, .quality = 80};
    struct image_output made = {0};
    void *bytes = NULL;
    size_t n = 0;
    VipsImage *in = NULL;
    int rc = vips_black(&in, WARM_SIDE, WARM_SIDE, "bands", 3, NULL);
    if (rc == 0)
        rc = vips_jxlsave_buffer(in, &bytes, &n, NULL);
    int err =
        rc == 0 ? warm_trip(slice_of(bytes, n), &p, &made, why) : image_vips_error(why, "warm-up");
    image_output_free(&made);
    g_free(bytes);
    g_clear_object(&in);
    return err;
}

/* With text: whatever looks for fonts does so, in vain, before system calls are judged. */
static int
warm_svg(struct buf *why)
{
    static const char svg[] =
        "<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'><rect width='9' height='9' "
        "fill='red'/><text x='5' y='50'>warm</text></svg>";
    struct preset p = {.width = WARM_SIDE / 2, .height = WARM_SIDE / 3, .quality = 80};
    struct image_output made = {0};
    int err = warm_trip(slice_of(svg, sizeof(svg) - 1), &p, &made, why);
    image_output_free(&made);
    return err;
}

int
image_warm_up(struct buf *why)
{
    static const char gif[] =
        "GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;";
    struct preset p = {.width = 1, .height = 1, .quality = 80};
    struct image_output made = {0};
    int err = warm_trip(slice_of(gif, sizeof(gif) - 1), &p, &made, why);
    image_output_free(&made);
    if (err == ERR_NONE)
        err = warm_round(3, VIPS_INTERPRETATION_sRGB, why);
    if (err == ERR_NONE)
        err = warm_round(4, VIPS_INTERPRETATION_CMYK, why);
    if (err == ERR_NONE && image_reads(SNIFF_JXL))
        err = warm_jxl(why);
    if (err == ERR_NONE && image_reads(SNIFF_SVG))
        err = warm_svg(why);
    image_idle();
    return err;
}
