/*
 * Files of blobs: the five things done with them (make, publish, open, remove, list), so that bytes
 * may one day live elsewhere. A blob's file is DIR/blobs/<id / 4096>/<id>, immutable once it has
 * that name. No rows here: who may be removed is the store's to know.
 */
#ifndef DARKROOM_OBJECTSTORE_BYTES_H
#define DARKROOM_OBJECTSTORE_BYTES_H

#include "base/slice.h"

#define BYTES_FOLDER_IDS 4096

struct bytes;

/* Makes DIR/blobs when missing. */
int bytes_open(struct bytes **out, const char *dir);
void bytes_close(struct bytes **b);

/* An unnamed file: a descriptor, or an error < 0. ERR_BUSY: the last eighth of the descriptors the
 * process may have is for connections, workers and the database. Any thread. */
int bytes_make(struct bytes *b);
/* fdatasync() and a name; not durable until bytes_sync_names(). Any thread. */
int bytes_publish(struct bytes *b, int fd, int64_t id);
/* Makes the names of these ids durable: each folder is synced once. One thread at a time. */
int bytes_sync_names(struct bytes *b, const int64_t *ids, size_t count);
/* Read-only descriptor, or an error < 0: ERR_NOTFOUND, ERR_BUSY likewise. Any thread. */
int bytes_fd(struct bytes *b, int64_t id);
/* ERR_NONE when there is none. Any thread. */
int bytes_remove(struct bytes *b, int64_t id);

/* Called for every folder that holds ids below `below`, with those ids in rising order. An error
 * ends the walk. */
typedef int (*bytes_list_fn)(void *arg, int64_t folder, const int64_t *ids, size_t count);
int bytes_list(struct bytes *b, int64_t below, bytes_list_fn fn, void *arg);
/* Removes the folder if it is empty. Nobody may be publishing in it. */
void bytes_remove_folder(struct bytes *b, int64_t folder);

#endif
