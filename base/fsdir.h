/*
 * Folders of immutable files that are shared or copied: what backup and restore do with files.
 * All but fsdir_open_path() goes by a folder's descriptor and follows no symbolic link. Errors as
 * in err.h; a sync that failed is ERR_IO here: it is the copy's trouble, not the data directory's.
 * Any thread.
 */
#ifndef DARKROOM_BASE_FSDIR_H
#define DARKROOM_BASE_FSDIR_H

#include "base/slice.h"

/* Opens folder `name` in `dirfd`, made (0700) when missing and `make`. Returns the descriptor or an
 * error < 0; ERR_DENIED: it is no folder but a link or something else. */
int fsdir_open(int dirfd, const char *name, bool make);
int fsdir_open_path(const char *path);
/* Read-only descriptor of a regular file in it, or an error < 0. */
int fsdir_file(int dirfd, const char *name);

enum fsdir_how { FSDIR_LINKED, FSDIR_REUSED, FSDIR_COPIED };

/* Gives the file behind `from` the name `name` in `dirfd`: a hard link where the file system can;
 * else (reused) a link to the file of that name in `previous`, if it has the same size and time of
 * change (-1: there is no such folder); else a durable copy with its mode and times. The name is
 * durable after fsdir_sync(). */
int fsdir_share(int from, int previous, int dirfd, const char *name, enum fsdir_how *how);
/* Always a copy, of that mode. Shares blocks where the file system can (FICLONE). */
int fsdir_copy(int from, int dirfd, const char *name, unsigned mode);
int fsdir_sync(int dirfd);

/* Calls fn for every name but "." and "..", in no order. An error ends the walk. */
typedef int (*fsdir_fn)(void *arg, int dirfd, const char *name);
int fsdir_each(int dirfd, fsdir_fn fn, void *arg);
/* Removes the file or the folder with all in it, at most FSDIR_DEPTH_MAX folders deep. ERR_NONE
 * when there is none. */
#define FSDIR_DEPTH_MAX 8
int fsdir_remove(int dirfd, const char *name);

#endif
