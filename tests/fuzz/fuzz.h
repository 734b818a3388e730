/*
 * What the fuzz targets share. A target is one file fuzz_NAME.c: it takes bytes, feeds them to one
 * reader of foreign bytes, and checks with CHK() what must hold for every input. The sanitizers
 * see the rest. Seeds are in seeds/NAME/, words of the format in seeds/NAME.dict (if any).
 */
#ifndef DARKROOM_TESTS_FUZZ_H
#define DARKROOM_TESTS_FUZZ_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Consumes the first byte; 0 when there is none. */
static inline unsigned
fuzz_byte(struct slice *in)
{
    if (in->n == 0)
        return 0;
    unsigned char c = (unsigned char)in->p[0];
    *in = slice_skip(*in, 1);
    return c;
}

/* Up to the next line feed, which is consumed as well. */
static inline struct slice
fuzz_line(struct slice *in)
{
    struct slice line = slice_cut(*in, '\n', in);
    return line.p == NULL ? SLICE_LIT("") : line;
}

/* A copy that ends where its memory ends, so that the address sanitizer sees the first byte read
 * behind it. free() its p. */
static inline struct slice
fuzz_exact(struct slice s)
{
    char *copy = chk_malloc(s.n == 0 ? 1 : s.n);
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    return slice_of(copy, s.n);
}

static inline struct arena *
fuzz_arena(void)
{
    struct arena *a = arena_new(16u << 20);
    CHK(a != NULL);
    return a;
}

/* xorshift64: a sequence that depends on the seed alone. */
static inline uint32_t
fuzz_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static inline int
fuzz_digit(char c)
{
    const char *all = "0123456789abcdefABCDEF", *at = c == '\0' ? NULL : strchr(all, c);
    return at == NULL ? -1 : (int)(at - all) > 15 ? (int)(at - all) - 6 : (int)(at - all);
}

/* Percent decoding, by its definition (RFC 3986 section 2.1). False: malformed. */
static inline bool
fuzz_decode(struct slice s, bool plus, struct buf *out)
{
    while (s.n > 0) {
        size_t used = 1;
        char c = s.p[0];
        if (c == '%') {
            if (s.n < 3 || fuzz_digit(s.p[1]) < 0 || fuzz_digit(s.p[2]) < 0)
                return false;
            c = (char)(16 * fuzz_digit(s.p[1]) + fuzz_digit(s.p[2]));
            used = 3;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        buf_putc(out, c);
        s = slice_skip(s, used);
    }
    return true;
}

#endif
