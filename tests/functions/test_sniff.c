/* What a file is by its first bytes; names and claims have no say. */
#include "functions/sniff.h"
#include "functions/tiff.h"
#include "base/chk.h"
#include "tests/functions/pictures.h"
#include "tests/functions/tiffs.h"

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
      SNIFF_HEIF), /* heic lies behind the box */
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
    T("<svg", SNIFF_SVG),
    T("<s:svg xmlns:s='http://www.w3.org/2000/svg'>", SNIFF_SVG),
    T("<?xml version='1.0'?>\n<!DOCTYPE svg [<!ENTITY a 'x'>", SNIFF_SVG),
    T("<!-- <svg> --><html><svg>", SNIFF_UNKNOWN),
    T("<!DOCTYPE html><html><body><svg></svg>", SNIFF_UNKNOWN),
    T("<svgs>", SNIFF_UNKNOWN),
    T("<!-- never closed <svg>", SNIFF_UNKNOWN),
    T("%PDF", SNIFF_PDF),
    T("\xc5\xd0\xd3\xc6\x20\0\0\0", SNIFF_POSTSCRIPT),
    T("\0\0\2\0\1\0", SNIFF_ICO),
    T("MATLAB 7.3 MAT-file, Platform", SNIFF_MAT),
    T("\xff\x4f\xff\x51\0\x2f", SNIFF_JP2),
    T("IIU\0\x18\0\0\0", SNIFF_RW2),
    T("IIRO\x08\0\0\0", SNIFF_ORF),
    T("MMOR\0\0\0\x08", SNIFF_ORF),
    T("II*\0\x10\0\0\0IIII", SNIFF_IIQ),
    T("II\x1a\0\0\0HEAPCCDR", SNIFF_CRW),
    T("\0MRM\0\0", SNIFF_MRW),
    T("FOVb\0\0\2\0", SNIFF_X3F),
    T("II\xbc\x01\x20\0\0\0", SNIFF_JXR),
    T("RIFF\1\2\3\4ACON", SNIFF_ANI),
    T("\x01\0\0\0\x6c\0\0\0-bounds--bounds--frame---frame-- EMF", SNIFF_EMF),
    T("\0\0\0\x14"
      "ftypmif1\0\0\0\0miaf",
      SNIFF_HEIF),
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

/* Raw files that a TIFF reader would open, and TIFFs that the same cameras and editors write. */
static const struct {
    struct tiffs file;
    enum sniff_format format;
} tiffs[] = {
    {{.make = NULL}, SNIFF_TIFF},
    {{.make = "NIKON CORPORATION"}, SNIFF_TIFF},
    {{.make = "NIKON CORPORATION", .big = true}, SNIFF_TIFF},
    {{.make = "Canon", .subfile_type = 1}, SNIFF_TIFF},
    /* A pyramid: IFD0 is the picture, its smaller versions are inside. */
    {{.make = "SONY", .sub_compression = 7, .sub_photometric = 6}, SNIFF_TIFF},
    {{.make = "NIKON CORPORATION", .next_photometric = 2}, SNIFF_TIFF},
    {{.make = "NIKON CORPORATION", .compression = 34713}, SNIFF_NEF},
    {{.make = "NIKON CORPORATION", .subfile_type = 1, .sub_compression = 7}, SNIFF_NEF},
    {{.make = "NIKON", .big = true, .sub_compression = 34713}, SNIFF_NEF},
    {{.make = "NIKON", .big = true, .sub_photometric = 32803}, SNIFF_NEF},
    {{.make = "SONY", .sub_compression = 32767, .sub_photometric = 32803}, SNIFF_ARW},
    {{.make = "PENTAX Corporation", .photometric = 32803}, SNIFF_PEF},
    {{.make = "Canon", .next_photometric = 32803}, SNIFF_CR2},
    {{.make = "SAMSUNG", .sub_compression = 32770}, SNIFF_SRW},
    {{.make = "Hasselblad", .sub_photometric = 32803}, SNIFF_3FR},
    {{.make = "Pinhole", .sub_photometric = 32803}, SNIFF_RAW},
    {{.make = NULL, .sub_photometric = 34892}, SNIFF_RAW},
    {{.make = "Pinhole", .dng = true}, SNIFF_DNG},
    {{.make = "NIKON", .big = true, .dng = true, .sub_photometric = 32803}, SNIFF_DNG},
    {{.make = "SONY", .loop = true}, SNIFF_TIFF},
};

static void
test_raw(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tiffs); i++) {
        struct slice file = tiffs_make(&tiffs[i].file);
        enum sniff_format f = sniff_tiff(file);
        assert_int_equal(sniff(file), SNIFF_TIFF);
        if (f != tiffs[i].format)
            fail_msg("row %zu: got %s, want %s", i, sniff_name(f), sniff_name(tiffs[i].format));
        /* Every beginning of it, and every byte of it turned over: nothing is read outside. */
        for (size_t n = 0; n < file.n; n++) {
            char *cut = malloc(n + (n == 0));
            memcpy(cut, file.p, n);
            assert_true(sniff_tiff(slice_of(cut, n)) < SNIFF_COUNT);
            free(cut);
            ((uint8_t *)(uintptr_t)file.p)[n] ^= 0xff;
            assert_true(sniff_tiff(file) < SNIFF_COUNT);
            ((uint8_t *)(uintptr_t)file.p)[n] ^= 0xff;
        }
        free((void *)(uintptr_t)file.p);
    }
    assert_int_equal(sniff_tiff(SLICE_LIT("II+\0\x08\0\0\0")), SNIFF_TIFF);
    assert_int_equal(sniff_tiff(slice_of(picture_tiff, sizeof(picture_tiff))), SNIFF_TIFF);
}

static void
test_pages(void **state)
{
    (void)state;
    static const struct tiffs one = {.make = NULL}, two = {.next_photometric = 2},
                              loop = {.big = true, .loop = true};
    static const struct {
        const struct tiffs *file;
        int pages;
    } counts[] = {{&one, 1}, {&two, 2}, {&loop, 10}};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct slice file = tiffs_make(counts[i].file);
        assert_int_equal(tiff_pages(file, 9), counts[i].pages);
        for (size_t n = 0; n < file.n; n++)
            assert_true(tiff_pages(slice_of(file.p, n), 9) <= 10);
        free((void *)(uintptr_t)file.p);
    }
    /* 64-bit offsets: two empty directories; then the second leads to the first. */
    char big[16 + 2 * 16] = "II+\0\x08\0\0\0\x10";
    big[24] = 32;
    assert_int_equal(tiff_pages(slice_of(big, sizeof(big)), 9), 2);
    big[40] = 16;
    assert_int_equal(tiff_pages(slice_of(big, sizeof(big)), 9), 10);
    memset(big + 16, 0xff, 8); /* more entries than there are bytes in the world */
    assert_int_equal(tiff_pages(slice_of(big, sizeof(big)), 9), 1);
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
        cmocka_unit_test(test_table),       cmocka_unit_test(test_real_files),
        cmocka_unit_test(test_short_reads), cmocka_unit_test(test_raw),
        cmocka_unit_test(test_pages),       cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
