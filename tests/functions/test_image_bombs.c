/*
 * Files that claim one thing and hold another, through the real worker: how long until its verdict
 * and how much memory over the idle worker that took.
 */
#include "base/digest.h"
#include "tests/functions/makers.h"
#include "tests/functions/worker_rig.h"

#include <time.h>

#define LARGE_W 3000
#define LARGE_H 2000
#define SLACK_BYTES (12 << 20)
#define REFUSED_KB_MAX (32 << 10)

static const char defaults[] = "small 160 160 cover webp 80 centre\n"
                               "large 1600 1600 inside webp 80 centre\n";

static struct fn_request
request_for(size_t bytes)
{
    struct fn_request req = worker_request(bytes, defaults);
    req.pixels_frame_max = 50000000;
    req.pixels_total_max = 100000000;
    req.memory_bytes_max = (int64_t)1 << 30;
    return req;
}

static void
put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Resident size, largest so far. */
static int64_t
peak_kb(pid_t pid)
{
    struct buf text;
    read_proc(pid, "status", &text);
    ptrdiff_t at = slice_find(buf_slice(&text), SLICE_LIT("VmHWM:"));
    int64_t kb = at < 0 ? 0 : strtoll(text.p + at + 6, NULL, 10);
    buf_fini(&text);
    return kb;
}

/* In a fresh worker. */
struct trial {
    enum fn_status status;
    char reason[512];
    int64_t admitted, over_kb;
};

static struct trial
attempt(struct slice bytes, const char *name)
{
    struct worker w;
    struct fn_result res;
    struct fn_request req = request_for(bytes.n);
    struct timespec from, to;
    worker_start(&w);
    int64_t idle = peak_kb(w.pid);
    clock_gettime(CLOCK_MONOTONIC, &from);
    invoke(&w, &req, bytes, &res);
    clock_gettime(CLOCK_MONOTONIC, &to);
    const struct fn_answer *a = answer_of(&res, "thumbnail");
    struct trial t = {
        .status = a->status, .admitted = w.admitted, .over_kb = peak_kb(w.pid) - idle};
    snprintf(t.reason, sizeof(t.reason), "%.*s", SLICE_FMT(a->reason));
    print_message(
        "  %-26s %8zu bytes %7.1f ms %6.1f MB over idle, asked for %6.1f  %s\n", name, bytes.n,
        (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6,
        (double)t.over_kb / 1024, (double)t.admitted / 1e6, t.reason);
    fn_result_close(&res);
    worker_stop(&w);
    return t;
}

/* ---- honest files: what is asked for is what is taken ---- */

static struct slice
saved(VipsImage *im, const char *suffix)
{
    void *p;
    size_t n;
    assert_int_equal(vips_image_write_to_buffer(im, suffix, &p, &n, NULL), 0);
    g_object_unref(im);
    return slice_of(p, n);
}

static struct slice
made_jpeg(bool progressive)
{
    uint8_t *px = rgb_pixels(LARGE_W, LARGE_H);
    struct jpeg_form form = {.progressive = progressive};
    struct slice s = jpeg_bytes(px, LARGE_W, LARGE_H, 3, false, &form);
    free(px);
    return s;
}

static struct slice
made_heif(enum heif_compression_format codec)
{
    uint8_t *px = rgb_pixels(LARGE_W, LARGE_H);
    struct slice s = heif_bytes(codec, px, LARGE_W, LARGE_H, 8, 1);
    free(px);
    return s;
}

/* The server lets invocations run together by what they ask for. A codec's own buffers and the
 * results are not counted to the byte. */
static void
test_asks_for_what_it_takes(void **state)
{
    (void)state;
    const struct {
        const char *name;
        struct slice bytes;
    } files[] = {
        {"jpeg", made_jpeg(false)},
        {"jpeg, progressive", made_jpeg(true)},
        {"png", saved(rgb_image(LARGE_W, LARGE_H), ".png")},
        {"png, 16 bit, interlaced", saved(rgb16_image(LARGE_W, LARGE_H), ".png[interlace]")},
        {"webp", saved(with_alpha(rgb_image(LARGE_W, LARGE_H)), ".webp[effort=0]")},
        {"gif", saved(rgb_image(LARGE_W, LARGE_H), ".gif[effort=1]")},
        {"tiff", saved(rgb_image(LARGE_W, LARGE_H), ".tif[compression=lzw]")},
        {"tiff, tiled", saved(rgb_image(LARGE_W, LARGE_H), ".tif[tile]")},
        {"heic", made_heif(heif_compression_HEVC)},
        {"avif", made_heif(heif_compression_AV1)},
    };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        if (files[i].bytes.n == 0)
            continue;
        struct trial t = attempt(files[i].bytes, files[i].name);
        assert_int_equal(t.status, FN_OK);
        if (plain_build && t.over_kb * 1024 > t.admitted + t.admitted / 8 + SLACK_BYTES)
            fail_msg("%s takes %lld KB", files[i].name, (long long)t.over_kb);
        g_free((void *)(uintptr_t)files[i].bytes.p);
    }
}

/* ---- others ---- */

static size_t
png_chunk(uint8_t *p, const char *kind, const void *data, size_t n)
{
    put32(p, (uint32_t)n);
    memcpy(p + 4, kind, 4);
    memcpy(p + 8, data, n);
    put32(p + 8 + n, digest_crc32(0, p + 4, n + 4));
    return n + 12;
}

/* 661 bytes that say 100000 x 100000. */
static void
test_claims_ten_gigapixels(void **state)
{
    (void)state;
    static const uint8_t header[13] = {0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0, 8, 2};
    static const uint8_t zlib_of_nothing[] = {0x78, 0x9c, 3, 0, 0, 0, 0, 1};
    static const uint8_t text[661 - 8 - 25 - 20 - 12 - 12] = {'k'};
    uint8_t png[661];
    size_t n = 8;
    memcpy(png, "\x89PNG\r\n\x1a\n", n);
    n += png_chunk(png + n, "IHDR", header, sizeof(header));
    n += png_chunk(png + n, "tEXt", text, sizeof(text));
    n += png_chunk(png + n, "IDAT", zlib_of_nothing, sizeof(zlib_of_nothing));
    n += png_chunk(png + n, "IEND", "", 0);
    assert_int_equal(n, sizeof(png));
    struct trial t = attempt(slice_of(png, n), "png, 100000 x 100000");
    assert_int_equal(t.status, FN_FAILED);
    assert_string_equal(t.reason, "pixel budget: 100000x100000 is more than 50000000 pixels");
    assert_int_equal(t.admitted, -1);
    assert_true(t.over_kb < REFUSED_KB_MAX);
}

/* A HEIC or AVIF whose property says another size than its stream: no thumbnail of anything. */
static void
test_hidden_size(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct slice s = made_heif(i == 0 ? heif_compression_HEVC : heif_compression_AV1);
        if (s.n == 0)
            continue;
        ptrdiff_t at = slice_find(s, SLICE_LIT("ispe"));
        assert_true(at > 0);
        put32((uint8_t *)(uintptr_t)s.p + at + 8, 64);
        put32((uint8_t *)(uintptr_t)s.p + at + 12, 64);
        struct trial t = attempt(s, i == 0 ? "heic, 64 x 64" : "avif, 64 x 64");
        assert_int_equal(t.status, FN_FAILED);
        g_free((void *)(uintptr_t)s.p);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims_ten_gigapixels),
        cmocka_unit_test(test_hidden_size),
        cmocka_unit_test(test_asks_for_what_it_takes),
    };
    if (!find_program()) {
        fprintf(stderr, "no darkroom-worker above this program: build it first\n");
        return 1;
    }
    return VIPS_INIT("test") == 0 ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
