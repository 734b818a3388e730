/*
 * Text that is to be written out as UTF-8 whatever it holds: whole characters one by one, and the
 * mark for bytes that are none.
 */
#ifndef DARKROOM_BASE_UTF8_H
#define DARKROOM_BASE_UTF8_H

#include "base/slice.h"

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes of the well-formed character `s` begins with; 0 when it begins with none. */
static inline size_t
utf8_first(struct slice s)
{
    if (s.n == 0)
        return 0;
    unsigned char c = (unsigned char)s.p[0];
    if (c < 0x80)
        return 1;
    size_t len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return s.n >= len && slice_is_utf8(slice_of(s.p, len)) ? len : 0;
}

#endif
