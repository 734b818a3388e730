/*
 * A borrowed run of bytes: pointer and length. Never owns, may hold NUL, is not NUL-terminated
 * unless the lender says so. Valid as long as what it was taken from.
 */
#ifndef DARKROOM_BASE_SLICE_H
#define DARKROOM_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *p;
    size_t n;
};

#define SLICE_NONE ((struct slice){NULL, 0})
#define SLICE_LIT(s) ((struct slice){(s), sizeof(s) - 1})
/* For "%.*s". */
#define SLICE_FMT(s) (int)(s).n, (s).p == NULL ? "" : (s).p

static inline struct slice
slice_of(const void *p, size_t n)
{
    return (struct slice){p, n};
}

/* NULL gives the empty slice. */
static inline struct slice
slice_str(const char *s)
{
    return (struct slice){s, s == NULL ? 0 : strlen(s)};
}

static inline bool
slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
slice_eqs(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

/* Bytewise order, shorter first on a tie: the order of keys in a listing. */
static inline int
slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

static inline bool
slice_starts(struct slice a, struct slice prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

static inline struct slice
slice_skip(struct slice a, size_t n)
{
    n = n < a.n ? n : a.n;
    return n == 0 ? a : (struct slice){a.p + n, a.n - n}; /* nothing is added to a NULL */
}

/* ASCII case ignored. */
bool slice_ieqs(struct slice a, const char *s);

/* Without blanks and tabs at both ends. */
struct slice slice_trim(struct slice a);

/* The part before the first `sep`; `*rest` becomes what follows it (n = 0, p = NULL when none). */
struct slice slice_cut(struct slice a, char sep, struct slice *rest);

/* Decimal digits only, the whole slice, no sign, no overflow: ERR_INVALID otherwise. */
int slice_to_u64(struct slice a, uint64_t *out);

/* First occurrence of needle, or -1. */
ptrdiff_t slice_find(struct slice hay, struct slice needle);

/* Well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates). */
bool slice_is_utf8(struct slice a);

#endif
