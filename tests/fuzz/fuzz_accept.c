/* Accept: whatever stands in it, what it refuses first is never given, and what it names first
 * always is, or something that it wants no less. */
#include "pipeline/image_accept.h"
#include "tests/fuzz/fuzz.h"

static const enum preset_format formats[] = {PRESET_WEBP, PRESET_JPEG, PRESET_PNG, PRESET_AVIF};

/* The choice with `before` in front of the text, in the same field or in one of its own. */
static int
choose(struct arena *a, const char *before, struct slice text, bool apart)
{
    struct buf b;
    buf_init(&b, 4u << 20);
    buf_puts(&b, before);
    if (!apart)
        buf_put_slice(&b, text);
    struct http_field fields[] = {{SLICE_LIT("Accept"), arena_dup(a, buf_slice(&b))},
                                  {SLICE_LIT("accept"), text}};
    struct http_request r = {.arena = a, .fields = fields, .field_count = apart ? 2 : 1};
    int best = image_accept_choose(&r, formats, ARRAY_LEN(formats));
    buf_fini(&b);
    CHK(best >= -1 && best < (int)ARRAY_LEN(formats));
    return best;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = fuzz_exact(slice_of(data, size));
    struct arena *a = fuzz_arena();
    choose(a, "", text, false);
    for (int apart = 0; apart < 2; apart++) {
        int best = choose(a, "image/avif;q=0,image/webp;q=0.000,", text, apart);
        CHK(best < 0 || formats[best] == PRESET_JPEG || formats[best] == PRESET_PNG);
        CHK(choose(a, "image/png;q=0.5,", text, apart) >= 0);
        best = choose(a, "image/*;q=0, image/jpeg;q=0 , image/png, image/webp;q=0,", text, apart);
        CHK(best >= 0 && (formats[best] == PRESET_PNG || formats[best] == PRESET_AVIF));
    }
    arena_free(&a);
    free((void *)(uintptr_t)text.p);
    return 0;
}
