/*
 * Bytes on their way out: readers, descriptors for sendfile, sources for workers.
 */
#ifndef DARKROOM_OBJECTSTORE_STORE_READER_H
#define DARKROOM_OBJECTSTORE_STORE_READER_H

#include "objectstore/store_object.h"

#include <stddef.h>

struct store;
struct store_reader;

/* Keeps a reference on the object. ERR_RANGE. ERR_STALE: the bytes went away since store_get(), so
 * call that again; once open, they stay readable. The same holds for the three functions below.
 * Any thread with db readers. */
int store_reader_open(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
                      struct store_reader **out);
/* Verified bytes; > 0, 0 at the end, or ERR_CORRUPT / ERR_IO. */
ptrdiff_t store_reader_read(struct store_reader *r, char *p, size_t n);
void store_reader_close(struct store_reader **r);
/* When the range is one stretch of one file whose blocks were all verified in this process: a
 * descriptor (the caller's) and its offset, for sendfile. ERR_UNSUPPORTED otherwise. */
int store_sendfile(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
                   int *fd, int64_t *fd_offset);
/* Verifies the first block that a reader of this range would send: so that damage is a 500 before
 * the first byte. */
int store_verify_first(struct store *s, const struct store_object *o, int64_t offset);
/* The whole object, verified, as one read-only descriptor at offset 0: a sealed memfd or the file
 * itself. Reads the disk; not on HTTP threads. */
int store_source_fd(struct store *s, const struct store_object *o, int *fd);

/* The checksum of stored bytes, in base64: read through by a thread of the store's own, one after
 * another, so it may take seconds. Keeps a reference on the object. ERR_BUSY: too many wait, and
 * done() is never called; else done() is told ERR_NONE, or ERR_STALE, ERR_CORRUPT, ERR_IO. */
typedef void (*store_summed_fn)(void *arg, int err, const char *base64);
int store_sum(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
              enum checksum checksum, store_summed_fn done, void *arg);

#endif
