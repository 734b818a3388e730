/*
 * A growable buffer with a ceiling. The first failure (memory, ceiling) sticks in `err` and every
 * later put is a no-op, so a writer checks once at the end. Always NUL-terminated behind n once
 * something was put. One owner, no lock.
 */
#ifndef DARKROOM_BASE_BUF_H
#define DARKROOM_BASE_BUF_H

#include "base/slice.h"

#include <stdarg.h>

struct buf {
    char *p;
    size_t n;
    size_t cap;
    size_t max; /* bytes, not counting the NUL */
    int err;    /* 0, ERR_NOMEM or ERR_TOOBIG; sticky */
};

void buf_init(struct buf *b, size_t max);
/* Frees the memory; the buffer may be used again with the same ceiling. */
void buf_fini(struct buf *b);
/* Empties it and clears err, keeps the memory. */
void buf_reset(struct buf *b);

void buf_put(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_put_slice(struct buf *b, struct slice s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Room for `n` bytes to be filled in by the caller, or NULL (err is set). They count at once. */
char *buf_extend(struct buf *b, size_t n);

static inline struct slice
buf_slice(const struct buf *b)
{
    return slice_of(b->p, b->n);
}

/* Gives the memory away (free() it); the buffer is empty afterwards. NULL when nothing was put. */
char *buf_take(struct buf *b, size_t *n);

#endif
