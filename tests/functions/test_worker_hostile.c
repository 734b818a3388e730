/* What a worker does with files that mean it ill, or that it is not meant to read. */
#include "tests/functions/pictures.h"
#include "tests/functions/tiffs.h"
#include "tests/functions/worker_rig.h"

static const char defaults[] = "small 16 16 cover webp 80 centre\n";

static struct fn_request
request_for(size_t bytes)
{
    return worker_request(bytes, defaults);
}

/* One byte sequence each for what other libraries would read: refused by name, whatever the object
 * was called, and no such library is entered. */
static void
test_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        struct slice bytes;
        const char *name;
    } sources[] = {
        {SLICE_LIT("%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj"), "pdf"},
        {SLICE_LIT("%!PS-Adobe-3.0 EPSF-3.0\n"), "postscript"},
        {SLICE_LIT("\xc5\xd0\xd3\xc6\x20\0\0\0"), "postscript"},
        {SLICE_LIT("II*\0\x10\0\0\0CR\2\0"), "cr2"},
        {SLICE_LIT("\0\0\0\x18"
                   "ftypcrx \0\0\0\1crx isom"),
         "cr3"},
        {SLICE_LIT("IIRO\x08\0\0\0"), "orf"},
        {SLICE_LIT("IIU\0\x18\0\0\0"), "rw2"},
        {SLICE_LIT("FUJIFILMCCD-RAW 0201FF129502"), "raf"},
        {SLICE_LIT("MATLAB 5.0 MAT-file, Platform: GLNXA64"), "mat"},
        {SLICE_LIT("SIMPLE  =                    T"), "fits"},
        {SLICE_LIT("v/1\x01\2\0\0\0"), "exr"},
        {SLICE_LIT("\0\0\0\x0cjP  \r\n\x87\n"), "jp2"},
        {SLICE_LIT("\xff\x4f\xff\x51\0\x2f"), "jp2"},
        {SLICE_LIT("\0\0\1\0\1\0\x10\x10"), "ico"},
        {SLICE_LIT("\0\0\2\0\1\0\x10\x10"), "ico"},
        {SLICE_LIT("8BPS\0\1\0\0\0\0\0\0"), "psd"},
        {SLICE_LIT("BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"), "bmp"},
        {SLICE_LIT("P6\n2 2\n255\nabcdefghijkl"), "pnm"},
        {SLICE_LIT("#?RADIANCE\n"), "hdr"},
        {SLICE_LIT("<svg xmlns='http://www.w3.org/2000/svg'/>"), "svg"},
        {SLICE_LIT("\xff\x0a\xfa\x7f"), "jxl"},
    };
    struct worker w;
    struct buf maps;
    worker_start(&w);
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        struct fn_result res;
        struct fn_request req = request_for(sources[i].bytes.n);
        char want[64];
        req.source_type = SLICE_LIT("image/jpeg");
        snprintf(want, sizeof(want), "unsupported format: %s", sources[i].name);
        invoke(&w, &req, sources[i].bytes, &res);
        const struct fn_answer *t = answer_of(&res, "thumbnail");
        if (t->status != FN_SKIPPED || !slice_eqs(t->reason, want))
            fail_msg("%s: %.*s", want, SLICE_FMT(t->reason));
        assert_attr(answer_of(&res, "metadata"), "format", sources[i].name);
        fn_result_close(&res);
    }
    read_proc(w.pid, "maps", &maps);
    assert_true(maps.n > 0 || geteuid() != 0);
    assert_nothing_foreign(buf_slice(&maps));
    buf_fini(&maps);
    worker_stop(&w);
}

/* A raw file is refused under its name; a TIFF of the same camera is read. */
static void
test_raw_and_tiff(void **state)
{
    (void)state;
    struct tiffs raw = {.make = "NIKON CORPORATION", .subfile_type = 1, .sub_compression = 34713};
    struct tiffs plain = {.make = "NIKON CORPORATION"};
    struct slice files[2] = {tiffs_make(&raw), tiffs_make(&plain)};
    struct worker w;
    struct fn_result res;
    worker_start(&w);
    struct fn_request req = request_for(files[0].n);
    invoke(&w, &req, files[0], &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_SKIPPED);
    assert_true(slice_eqs(answer_of(&res, "thumbnail")->reason, "unsupported format: nef"));
    assert_attr(answer_of(&res, "metadata"), "content_type", "image/x-nikon-nef");
    fn_result_close(&res);
    req = request_for(files[1].n);
    invoke(&w, &req, files[1], &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_OK);
    assert_attr(answer_of(&res, "metadata"), "format", "tiff");
    assert_attr(answer_of(&res, "metadata"), "exif.camera_make", "NIKON CORPORATION");
    assert_attr(answer_of(&res, "metadata"), "dominant_color", "#c83c14");
    fn_result_close(&res);
    worker_stop(&w);
    free((void *)(uintptr_t)files[0].p);
    free((void *)(uintptr_t)files[1].p);
}

/* A JPEG that breaks off: what is there is taken and marked, or it fails where that is wanted. The
 * facts of it are told in both cases. */
static void
test_damaged(void **state)
{
    (void)state;
    static const char strict[] = "fail_damaged\nsmall 16 16 cover webp 80 centre\n";
    struct worker w;
    struct fn_result res;
    struct slice cut = slice_of(picture_jpeg, sizeof(picture_jpeg) - 20);
    worker_start(&w);
    struct fn_request req = request_for(cut.n);
    invoke(&w, &req, cut, &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_OK);
    assert_int_equal(answer_of(&res, "thumbnail")->outputs[0].status, FN_OK);
    assert_attr(answer_of(&res, "metadata"), "damaged", "T");
    fn_result_close(&res);

    req = request_for(cut.n);
    req.calls[0].config = SLICE_LIT(strict);
    invoke(&w, &req, cut, &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_FAILED);
    assert_true(slice_starts(answer_of(&res, "thumbnail")->reason, SLICE_LIT("damaged: ")));
    assert_int_equal(answer_of(&res, "thumbnail")->output_count, 0);
    assert_int_equal(answer_of(&res, "metadata")->status, FN_OK);
    assert_attr(answer_of(&res, "metadata"), "damaged", "T");
    fn_result_close(&res);

    req = request_for(sizeof(picture_jpeg));
    req.calls[0].config = SLICE_LIT(strict);
    invoke(&w, &req, PICTURE(picture_jpeg), &res);
    assert_int_equal(answer_of(&res, "thumbnail")->outputs[0].status, FN_OK);
    assert_attr(answer_of(&res, "metadata"), "damaged", "F");
    fn_result_close(&res);
    worker_stop(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_by_name),
        cmocka_unit_test(test_raw_and_tiff),
        cmocka_unit_test(test_damaged),
    };
    if (!find_program()) {
        fprintf(stderr, "no darkroom-worker above this program: build it first\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
