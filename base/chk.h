/*
 * Assertions that stay on in release: they guard what this program itself controls (state machine
 * moves, lock holders, lifetimes). Never assert on network bytes, file contents or worker answers.
 *
 * Long-lived structs start with `uint32_t magic`; CHK_MAGIC() on entry catches use after free and
 * a pointer of the wrong type, and x_free() wipes the number.
 */
#ifndef DARKROOM_BASE_CHK_H
#define DARKROOM_BASE_CHK_H

#include <stddef.h>
#include <stdint.h>

#define CHK(cond)                                            \
    do {                                                     \
        if (__builtin_expect(!(cond), 0))                    \
            chk_failed(#cond, __FILE__, __LINE__, __func__); \
    } while (0)

#define CHK_MAGIC(ptr, number) CHK((ptr) != NULL && (ptr)->magic == (number))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct that holds `member` at `ptr`. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Writes one line to standard error and aborts. */
_Noreturn void chk_failed(const char *cond, const char *file, int line, const char *func);

/* malloc/calloc/realloc that abort when memory is out: for start-up and small fixed structs only,
 * never for a size that came from outside. */
void *chk_malloc(size_t n);
void *chk_calloc(size_t count, size_t n);

#endif
