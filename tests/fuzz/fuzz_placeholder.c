/* A ThumbHash of any bytes: refused, or a picture in bounds whose PNG has the size it says. */
#include "pipeline/placeholder.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = fuzz_exact(slice_of(data, size));
    struct placeholder p;
    struct buf png;
    buf_init(&png, PLACEHOLDER_PNG_MAX);
    if (placeholder_decode(text, &p) == ERR_NONE) {
        CHK(p.width >= 1 && p.width <= PLACEHOLDER_SIDE_MAX);
        CHK(p.height >= 1 && p.height <= PLACEHOLDER_SIDE_MAX);
        placeholder_png(&p, &png);
        /* Signature, three chunks of 12 bytes and their data: 13, zlib's 11 and the rows, none. */
        CHK(png.err == 0);
        CHK(png.n == 8 + 3 * 12 + 13 + 11 + (size_t)p.height * (1 + 4 * (size_t)p.width));
    }
    buf_fini(&png);
    free((void *)(uintptr_t)text.p);
    return 0;
}
