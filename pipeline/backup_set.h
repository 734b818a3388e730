/*
 * A folder of backups on disk.
 *
 *   SET/lock                                       flocked by who makes or removes one
 *   SET/snapshot-20260131T120000.000Z/darkroom.db  one moment of the database, to be read only
 *                                    /blobs/...    its large bytes; files shared with the data
 *                                                  directory or with older snapshots
 *                                    /credentials, url-keys, initialized    of the data directory
 *                                    /manifest.json
 *
 * The manifest comes last, by rename, when everything else is durable, and goes first: a snapshot
 * without one is a half, whose remains the next backup removes. Snapshots do not need each other:
 * each has a name of its own for every file, and the last name to go frees the bytes.
 *
 * Several servers may share a folder. Whose a snapshot is tells the store's identity in its
 * manifest (objectstore/store_backup.h): a server removes, and shares files with, its own only.
 *
 * One thread per struct.
 */
#ifndef DARKROOM_PIPELINE_BACKUP_SET_H
#define DARKROOM_PIPELINE_BACKUP_SET_H

#include "base/buf.h"
#include "base/digest.h"
#include "objectstore/store_backup.h"

#include <limits.h>

#define BACKUP_NAME_MAX 40
#define BACKUP_SNAPSHOTS_MAX 10000
#define BACKUP_MANIFEST "manifest.json"
#define BACKUP_MANIFEST_FORMAT 1

struct backup_set {
    char path[PATH_MAX];
    int dirfd;
    int lock_fd;
};

/* Opens `path` (absolute); it must be `root` or below, by names that do not begin with a dot, and
 * none of those may be a symbolic link. ERR_DENIED: it is not so. A root that is missing is made,
 * and what is below it when `make`; else ERR_NOTFOUND. One line in `why`. */
int backup_set_open(struct backup_set *set, const char *root, struct slice path, bool make,
                    struct buf *why);
/* ERR_BUSY: somebody else makes or removes a backup there. */
int backup_set_lock(struct backup_set *set);
void backup_set_close(struct backup_set *set);

struct backup_manifest {
    char name[BACKUP_NAME_MAX]; /* of the snapshot's folder */
    int64_t time_ms;
    int64_t schema;
    int64_t counter; /* no generation or event number in it is above */
    struct store_counts counts;
    int64_t db_bytes;
    char db_sha256[2 * SHA256_BYTES + 1];
    int64_t linked, reused, copied, copied_bytes, missing;
    int64_t took_ms;
};

void backup_name(int64_t time_ms, char out[BACKUP_NAME_MAX]);
/* `dirfd` is the snapshot's folder. ERR_NOTFOUND: a half. ERR_INVALID, ERR_UNSUPPORTED: no manifest
 * of ours, or of a newer darkroomd. */
int backup_manifest_read(int dirfd, struct backup_manifest *out);
/* `missing_ids` are those of the counts' first missing files. Durable. */
int backup_manifest_write(const struct backup_set *set, const struct backup_manifest *m,
                          const int64_t *missing_ids);
/* SHA-256 of file `name` in hex, and its size. */
int backup_hash_file(int dirfd, const char *name, char hex[2 * SHA256_BYTES + 1], int64_t *bytes);

/* Names of whole snapshots, oldest first; free() the list. */
int backup_set_list(struct backup_set *set, char (**names)[BACKUP_NAME_MAX], size_t *count);
/* The newest whole one of this identity; ERR_NOTFOUND. Identity 0: of the one store that the folder
 * has whole ones of; ERR_CONFLICT: of several. */
int backup_set_latest(struct backup_set *set, int64_t identity, struct backup_manifest *out);
/* Lock held: removes halves, whosever they were: nobody makes one meanwhile. */
int backup_set_remove_halves(struct backup_set *set);
/* Lock held: removes the whole ones of this store (not 0) but its newest `keep`. Whole ones of
 * other stores, and what cannot be read, stay: `others`. */
int backup_set_prune(struct backup_set *set, int64_t identity, size_t keep, int64_t *removed,
                     int64_t *others);

#endif
