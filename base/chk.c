#include "base/chk.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void
chk_failed(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "assertion failed: %s (%s:%d %s)\n", cond, file, line, func);
    abort();
}

void *
chk_malloc(size_t n)
{
    void *p = malloc(n);
    CHK(p != NULL);
    return p;
}

void *
chk_calloc(size_t count, size_t n)
{
    void *p = calloc(count, n);
    CHK(p != NULL);
    return p;
}
