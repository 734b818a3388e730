/*
 * The data directory: its lock, the root keys, the endpoint file, and what only a first start does.
 *
 *   DIR/lock          flocked while a server runs
 *   DIR/credentials   0600, the ini form that AWS tools read; root keys, unless the environment has
 *                     them
 *   DIR/url-keys      0600, keys that sign URLs of pictures; pipeline/image_url.h
 *   DIR/endpoint      URL of the running server; removed on a clean exit
 *   DIR/initialized   written after the first start's defaults were committed
 *   DIR/restoring     while a restore fills the directory; pipeline/restore.h
 *   DIR/darkroom.db   the database; DIR/blobs/ the large bytes
 */
#ifndef DARKROOM_PIPELINE_DATADIR_H
#define DARKROOM_PIPELINE_DATADIR_H

#include "base/account.h"
#include "base/buf.h"

#include <limits.h>

struct datadir {
    char path[PATH_MAX]; /* absolute */
    int lock_fd;
};

/* Makes it (0700) when missing and takes the lock. Wider modes of it and of the files of secrets
 * are narrowed, with a warning in the log; where that is not possible it is an error. ERR_BUSY:
 * another server has it. One line in `why`. */
int datadir_open(struct datadir *d, const char *path, struct buf *why);
/* ERR_CONFLICT with the reason when a restore did not come to its end in it. */
int datadir_check_whole(const struct datadir *d, struct buf *why);
void datadir_close(struct datadir *d);
/* "DIR/name" into out. */
void datadir_path(const struct datadir *d, const char *name, char out[PATH_MAX]);

/* Adds the root account: keys from DARKROOM_ACCESS_KEY_ID / DARKROOM_SECRET_ACCESS_KEY, else from
 * DIR/credentials, else made and kept there. */
int datadir_root_account(const struct datadir *d, struct accounts *accounts, struct buf *why);

bool datadir_is_initialized(const struct datadir *d);
int datadir_set_initialized(const struct datadir *d);
int datadir_set_endpoint(const struct datadir *d, const char *url);
void datadir_remove_endpoint(const struct datadir *d);

#endif
