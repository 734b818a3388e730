/*
 * Backups of the running server: one at a time, each made by a thread of its own.
 *
 * What a backup holds: the database at one moment, the files of all its blobs, and the data
 * directory's credentials, url-keys and initialized (0600; without them the restored server would
 * have other keys). Not the configuration file: it is not in the data directory, and has a home
 * with the system's other configuration.
 *
 * A file is linked where the backup is on the data directory's file system, else linked to the one
 * in the newest older snapshot of the same store, else copied. So a backup on the same file system
 * takes next to no room, and guards against mistakes but not against the loss of the disk.
 *
 * Who may: the server writes at a place that a client has named, so only in `backup.dir` and below,
 * and only for the root account (pipeline/backup_set.h has the rule of paths).
 */
#ifndef DARKROOM_PIPELINE_BACKUP_H
#define DARKROOM_PIPELINE_BACKUP_H

#include "base/buf.h"
#include "base/conf.h"
#include "base/db.h"
#include "pipeline/backup_set.h"

struct backups;
struct store;

struct backups_options {
    struct db *db;
    struct store *store;
    const char *data_dir; /* absolute; borrowed */
    const struct conf *conf;
};

enum backup_phase {
    BACKUP_NONE, /* none since the start */
    BACKUP_DATABASE,
    BACKUP_FILES,
    BACKUP_CLOSING, /* checksum, manifest */
    BACKUP_PRUNING,
    BACKUP_DONE,
    BACKUP_FAILED
};

/* What runs, or what ran last. */
struct backup_state {
    int64_t id; /* counts up in one process */
    enum backup_phase phase;
    int64_t pages, pages_left; /* of the database */
    int64_t files, files_all;
    int64_t bytes; /* of the files done */
    int64_t step_us_max;
    int64_t removed; /* by pruning */
    int64_t others;  /* those of other stores, that it left */
    struct backup_manifest made;
    char error[512];
};

struct backups *backups_new(const struct backups_options *options);
/* Cancels what runs and waits for its end; nothing can be started afterwards. */
void backups_stop(struct backups *b);
void backups_free(struct backups **b);

/* The folder that backup.dir names; backups_folder() is for reading it. */
const char *backups_root(const struct backups *b);
/* Begins a backup into that folder (n = 0: backups_root()); `id` tells it in backup_state.
 * ERR_BUSY: one runs. ERR_DENIED. Any thread. */
int backups_start(struct backups *b, struct slice dir, int64_t *id, struct buf *why);
/* Begins to remove halves, and all but the newest `keep` whole ones of this store. */
int backups_prune(struct backups *b, struct slice dir, size_t keep, int64_t *id, struct buf *why);
void backups_state(struct backups *b, struct backup_state *out);

#endif
