/* Magic bytes: an answer for anything, from the first SNIFF_BYTES alone; TIFF directories. */
#include "functions/sniff.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = fuzz_exact(slice_of(data, size));
    struct slice head = fuzz_exact(slice_of(data, size < SNIFF_BYTES ? size : SNIFF_BYTES));
    enum sniff_format f = sniff(head);
    CHK(f < SNIFF_COUNT && (f == SNIFF_EMPTY) == (size == 0));
    CHK(sniff(all) == f);
    CHK((sniff_name(f)[0] == '\0') == (f <= SNIFF_UNKNOWN));
    CHK((sniff_content_type(f)[0] == '\0') == (f <= SNIFF_UNKNOWN));
    CHK(!sniff_is_supported(f) || f > SNIFF_UNKNOWN);
    CHK(f != SNIFF_TIFF || sniff_name(sniff_tiff(all))[0] != '\0');
    free((void *)(uintptr_t)head.p);
    free((void *)(uintptr_t)all.p);
    return 0;
}
