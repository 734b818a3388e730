/*
 * Files: whole reads and writes, and publishing a file so that it survives a power cut.
 * Interrupted and short calls are continued. Descriptors are close-on-exec. Any thread.
 *
 * Fault points: with FSIO_FAULTS compiled in (base/fsio_fault.h), fsio_fault_set() makes the n-th
 * call of this module fail with a chosen errno; the suite walks n.
 */
#ifndef DARKROOM_BASE_FSIO_H
#define DARKROOM_BASE_FSIO_H

#include "base/buf.h"
#include "base/slice.h"

#include <sys/types.h>

int fsio_write_all(int fd, const void *p, size_t n);
int fsio_pwrite_all(int fd, const void *p, size_t n, int64_t offset);
/* ERR_SHORT when the file ends before n bytes. */
int fsio_pread_all(int fd, void *p, size_t n, int64_t offset);
/* The whole file into `out`; ERR_TOOBIG past its ceiling. */
int fsio_read_file(const char *path, struct buf *out);
/* Temporary file beside it (`path`.new: only one may write it), write, fdatasync, rename, directory
 * sync. A kill leaves at most that one, for the next to replace. */
int fsio_write_file(const char *path, mode_t mode, struct slice content);

/* Makes it (0700) when missing, parents not. */
int fsio_mkdir(const char *path);
/* An unnamed file (O_TMPFILE) in directory `dirfd`; returns the descriptor or an error < 0. */
int fsio_tmpfile(int dirfd);
/* fdatasync. ERR_SYNC for every failure, ENOSPC included: fail-stop. */
int fsio_sync(int fd);
/* Gives the unnamed file a name in dirfd. ERR_EXISTS when taken. */
int fsio_link(int fd, int dirfd, const char *name);
int fsio_sync_dir(int dirfd);
/* Free bytes for unprivileged use on the file system of `path`; -1 when unknown. */
int64_t fsio_free_bytes(const char *path);
/* A sealed, read-only-by-seal memfd with these bytes (F_SEAL_WRITE|GROW|SHRINK|SEAL). */
int fsio_memfd(const char *name, struct slice content);

#endif
