#include "base/slice.h"
#include "base/err.h"

#include <strings.h>

bool
slice_ieqs(struct slice a, const char *s)
{
    size_t n = strlen(s);
    return a.n == n && strncasecmp(a.p, s, n) == 0;
}

struct slice
slice_trim(struct slice a)
{
    while (a.n > 0 && (a.p[0] == ' ' || a.p[0] == '\t'))
        a = slice_skip(a, 1);
    while (a.n > 0 && (a.p[a.n - 1] == ' ' || a.p[a.n - 1] == '\t'))
        a.n--;
    return a;
}

struct slice
slice_cut(struct slice a, char sep, struct slice *rest)
{
    const char *hit = a.n == 0 ? NULL : memchr(a.p, sep, a.n);
    if (hit == NULL) {
        *rest = SLICE_NONE;
        return a;
    }
    size_t head = (size_t)(hit - a.p);
    *rest = slice_of(hit + 1, a.n - head - 1);
    return slice_of(a.p, head);
}

int
slice_to_u64(struct slice a, uint64_t *out)
{
    uint64_t v = 0;
    if (a.n == 0)
        return ERR_INVALID;
    for (size_t i = 0; i < a.n; i++) {
        if (a.p[i] < '0' || a.p[i] > '9')
            return ERR_INVALID;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(a.p[i] - '0'), &v))
            return ERR_INVALID;
    }
    *out = v;
    return ERR_NONE;
}

ptrdiff_t
slice_find(struct slice hay, struct slice needle)
{
    if (needle.n == 0)
        return 0;
    if (hay.n < needle.n)
        return -1;
    const char *hit = memmem(hay.p, hay.n, needle.p, needle.n);
    return hit == NULL ? -1 : hit - hay.p;
}

/* Length of the sequence that starts with byte `c`, 0 when no sequence may start so. */
static size_t
utf8_len(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if ((c & 0xf0) == 0xe0)
        return 3;
    return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

bool
slice_is_utf8(struct slice a)
{
    const unsigned char *p = (const unsigned char *)a.p;
    for (size_t i = 0; i < a.n;) {
        size_t len = utf8_len(p[i]);
        if (len == 0 || len > a.n - i)
            return false;
        for (size_t k = 1; k < len; k++) {
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        }
        if (len == 3 && ((p[i] == 0xe0 && p[i + 1] < 0xa0) || (p[i] == 0xed && p[i + 1] > 0x9f)))
            return false;
        if (len == 4 && ((p[i] == 0xf0 && p[i + 1] < 0x90) || (p[i] == 0xf4 && p[i + 1] > 0x8f)))
            return false;
        i += len;
    }
    return true;
}
