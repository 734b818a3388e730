#include "functions/text.h"
#include "base/chk.h"

/* Length of the well-formed character at the beginning, 0 when there is none. */
static size_t
character(struct slice s)
{
    for (size_t n = 1; n <= 4 && n <= s.n; n++)
        if (slice_is_utf8(slice_of(s.p, n)))
            return n;
    return 0;
}

size_t
text_clean(struct slice in, char *out, size_t out_size)
{
    CHK(out_size > 0);
    size_t n = 0;
    bool blank = false;
    while (in.n > 0 && in.p[0] != '\0') {
        size_t len = character(in);
        uint8_t first = (uint8_t)in.p[0];
        /* C1 controls are C2 80..9F in UTF-8. */
        bool control =
            first <= ' ' || first == 0x7f || (len == 2 && first == 0xc2 && (uint8_t)in.p[1] < 0xa0);
        if (len == 0 || control) {
            blank = true;
        } else {
            if (n + (blank && n > 0) + len >= out_size)
                break;
            if (blank && n > 0)
                out[n++] = ' ';
            blank = false;
            memcpy(out + n, in.p, len);
            n += len;
        }
        in = slice_skip(in, len == 0 ? 1 : len);
    }
    out[n] = '\0';
    return n;
}

size_t
text_put_utf8(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}
