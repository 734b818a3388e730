/*
 * The reader's struct, which blob.c looks at to keep files that an open reader still needs.
 */
#ifndef DARKROOM_OBJECTSTORE_READER_PRIV_H
#define DARKROOM_OBJECTSTORE_READER_PRIV_H

#include "objectstore/store.h"

struct verified_blob;

/* An inline blob's bytes, verified. */
struct reader_small {
    struct reader_small *next;
    int64_t blob;
    int64_t bytes;
    char p[];
};

struct store_reader {
    uint32_t magic;
    struct store *store;
    const struct store_object *object;
    int64_t at, end;      /* next byte, and the one behind the last, of the object */
    size_t extent;        /* that holds `at` */
    int64_t extent_start; /* its place in the object */

    struct reader_small *smalls;      /* that were read ahead, or the one in use */
    const struct reader_small *small; /* the present extent's; else: */
    int fd;                           /* its file and what is known about it; -1: not open */
    struct verified_blob *known;

    bool pinned;
    struct store_reader *pin_next, *pin_prev; /* under the store's lock */
};

#endif
