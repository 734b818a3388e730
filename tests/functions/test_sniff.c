/* What a file is by its first bytes; names and claims have no say. */
#include "functions/sniff.h"
#include "base/chk.h"
#include "tests/functions/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define T(text, format)         \
    {                           \
        SLICE_LIT(text), format \
    }

static const struct {
    struct slice head;
    enum sniff_format format;
} table[] = {
    T("", SNIFF_EMPTY),
    T("x", SNIFF_UNKNOWN),
    T("\xff\xd8", SNIFF_UNKNOWN),
    T("\xff\xd8\xff\xe0", SNIFF_JPEG),
    T("\x89PNG\r\n\x1a\n", SNIFF_PNG),
    T("\x89PNG\n\n\x1a\n", SNIFF_UNKNOWN),
    T("GIF87a", SNIFF_GIF),
    T("GIF88a", SNIFF_UNKNOWN),
    T("RIFF\1\2\3\4WEBPVP8 ", SNIFF_WEBP),
    T("RIFF\1\2\3\4WAVEfmt ", SNIFF_UNKNOWN),
    T("RIFF\1\2\3\4WEB", SNIFF_UNKNOWN),
    T("II*\0\10\0\0\0", SNIFF_TIFF),
    T("MM\0*\0\0\0\10", SNIFF_TIFF),
    T("II+\0\10\0\0\0", SNIFF_TIFF),
    T("II*\0\20\0\0\0CR\2\0", SNIFF_CR2),
    T("\0\0\0\x1c"
      "ftypavif\0\0\0\0mif1miaf",
      SNIFF_AVIF),
    T("\0\0\0\x1c"
      "ftypmif1\0\0\0\0mif1avif",
      SNIFF_AVIF),
    T("\0\0\0\x18"
      "ftypmif1\0\0\0\0mif1heic",
      SNIFF_HEIC),
    T("\0\0\0\x18"
      "ftypheic\0\0\0\0mif1heic",
      SNIFF_HEIC),
    T("\0\0\0\x14"
      "ftypmif1\0\0\0\0mif1heic",
      SNIFF_UNKNOWN), /* heic lies behind the box */
    T("\0\0\0\x18"
      "ftypmp42\0\0\0\0isomheic",
      SNIFF_UNKNOWN),
    T("\0\0\0\x18"
      "ftypqt  \0\0\0\0qt  ",
      SNIFF_UNKNOWN),
    T("\0\0\0\x18"
      "ftypcrx \0\0\0\1crx isom",
      SNIFF_CR3),
    T("\0\0\0\x18"
      "ftyp",
      SNIFF_UNKNOWN),
    T("%PDF-1.7", SNIFF_PDF),
    T("%!PS-Adobe-3.0", SNIFF_POSTSCRIPT),
    T("<svg xmlns=", SNIFF_SVG),
    T("\xef\xbb\xbf <?xml version='1.0'?>\n<!-- x -->\n<svg>", SNIFF_SVG),
    T("<?xml version='1.0'?><html>", SNIFF_UNKNOWN),
    T("see <svg>", SNIFF_UNKNOWN),
    T("\xff\x0a\x01", SNIFF_JXL),
    T("\0\0\0\x0cJXL \r\n\x87\n", SNIFF_JXL),
    T("\0\0\0\x0cjP  \r\n\x87\n", SNIFF_JP2),
    T("\0\0\1\0\1\0", SNIFF_ICO),
    T("BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", SNIFF_BMP),
    T("BMW is a car, this is a text about it", SNIFF_UNKNOWN),
    T("8BPS\0\1", SNIFF_PSD),
    T("v/1\x01", SNIFF_EXR),
    T("SIMPLE  =                    T", SNIFF_FITS),
    T("MATLAB 5.0 MAT-file, Platform", SNIFF_MAT),
    T("FUJIFILMCCD-RAW 0201", SNIFF_RAF),
    T("P6\n640 480\n255\n", SNIFF_PNM),
    T("P6 is a road", SNIFF_UNKNOWN),
    T("P12", SNIFF_UNKNOWN),
    T("qoif", SNIFF_QOI),
};

static void
test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        enum sniff_format f = sniff(table[i].head);
        if (f != table[i].format)
            fail_msg("row %zu: got %s, want %s", i, sniff_name(f), sniff_name(table[i].format));
    }
}

static void
test_real_files(void **state)
{
    (void)state;
#define IS(array, format) assert_int_equal(sniff(slice_of(array, sizeof(array))), format)
    IS(picture_jpeg, SNIFF_JPEG);
    IS(picture_png, SNIFF_PNG);
    IS(picture_webp, SNIFF_WEBP);
    IS(picture_gif, SNIFF_GIF);
    IS(picture_tiff, SNIFF_TIFF);
    IS(picture_avif, SNIFF_AVIF);
    IS(picture_heic, SNIFF_HEIC);
}

/* Every beginning of every row, in a buffer of exactly that size: nothing is read behind it. */
static void
test_short_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        for (size_t n = 0; n <= table[i].head.n; n++) {
            char *copy = malloc(n + (n == 0));
            memcpy(copy, table[i].head.p, n);
            enum sniff_format f = sniff(slice_of(copy, n));
            assert_true(f < SNIFF_COUNT);
            free(copy);
        }
    }
}

static void
test_names(void **state)
{
    (void)state;
    assert_string_equal(sniff_name(SNIFF_UNKNOWN), "");
    assert_string_equal(sniff_name(SNIFF_HEIC), "heic");
    assert_string_equal(sniff_content_type(SNIFF_AVIF), "image/avif");
    assert_string_equal(sniff_content_type(SNIFF_EMPTY), "");
    int supported = 0;
    for (int f = 0; f < SNIFF_COUNT; f++)
        supported += sniff_is_supported((enum sniff_format)f);
    assert_int_equal(supported, 7);
    assert_false(sniff_is_supported(SNIFF_PDF));
    assert_false(sniff_is_supported(SNIFF_SVG));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_real_files),
        cmocka_unit_test(test_short_reads),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
