#include "base/buf.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_CAP 128

void
buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void
buf_fini(struct buf *b)
{
    free(b->p);
    buf_init(b, b->max);
}

void
buf_reset(struct buf *b)
{
    b->n = 0;
    b->err = ERR_NONE;
}

char *
buf_extend(struct buf *b, size_t n)
{
    if (b->err != ERR_NONE)
        return NULL;
    if (n > b->max - b->n) {
        b->err = ERR_TOOBIG;
        return NULL;
    }
    size_t need = b->n + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap == 0 ? BUF_FIRST_CAP : b->cap * 2;
        cap = cap < need ? need : cap;
        char *p = realloc(b->p, cap);
        if (p == NULL) {
            b->err = ERR_NOMEM;
            return NULL;
        }
        b->p = p;
        b->cap = cap;
    }
    char *room = b->p + b->n;
    b->n += n;
    b->p[b->n] = '\0';
    return room;
}

void
buf_put(struct buf *b, const void *p, size_t n)
{
    char *room = n == 0 ? NULL : buf_extend(b, n);
    if (room != NULL)
        memcpy(room, p, n);
}

void
buf_puts(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void
buf_put_slice(struct buf *b, struct slice s)
{
    buf_put(b, s.p, s.n);
}

void
buf_putc(struct buf *b, char c)
{
    buf_put(b, &c, 1);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list copy;
    va_copy(copy, ap);
    int n = vsnprintf(NULL, 0, fmt, copy);
    va_end(copy);
    if (n < 0) {
        b->err = b->err == ERR_NONE ? ERR_INVALID : b->err;
        return;
    }
    char *room = buf_extend(b, (size_t)n);
    if (room != NULL)
        vsnprintf(room, (size_t)n + 1, fmt, ap);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

char *
buf_take(struct buf *b, size_t *n)
{
    char *p = b->p;
    if (n != NULL)
        *n = b->n;
    buf_init(b, b->max);
    return p;
}
