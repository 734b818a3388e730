/*
 * What a backup needs of the store: files that stay while it runs, and the files of all blobs that
 * a copy of the database names, brought from one blobs/ folder into another.
 *
 *   store_hold_files -> db_backup (the moment) -> store_copy_files -> store_release_files
 *
 * Files are immutable and their ids are never used twice, so that a file of an older backup can
 * stand for the same id in a newer one; but only of the same store: two stores that come from one
 * backup give the same ids to different bytes. Hence the identity, a number that a restored store
 * gets anew.
 */
#ifndef DARKROOM_OBJECTSTORE_STORE_BACKUP_H
#define DARKROOM_OBJECTSTORE_STORE_BACKUP_H

#include "base/db.h"

struct store;

/* From here to the release no file of a blob is removed, whatever becomes of its rows. Nests; the
 * holder bounds it. Any thread. */
void store_hold_files(struct store *s);
void store_release_files(struct store *s);

/* Of a copy of the database (db_open_copy()). */
struct store_counts {
    int64_t identity; /* 0: older than identities */
    int64_t objects;  /* current versions */
    int64_t versions; /* noncurrent ones and delete markers */
    int64_t files;    /* blobs that are files, and their bytes */
    int64_t file_bytes;
};
int store_counts_read(struct db *copy, struct store_counts *out);

#define STORE_MISSING_MAX 100

/* Progress may be read by other threads meanwhile. */
struct store_copy {
    struct db *copy;         /* names the blobs */
    int from;                /* descriptors of folders blobs/ */
    int previous;            /* of an older backup of the same store; -1: none */
    int to;                  /* the new one, empty */
    bool foreign;            /* `from` is not ours: no link to what others can write */
    bool (*stop)(void *arg); /* asked before each file: ERR_CANCELED */
    void *arg;
    _Atomic int64_t files, bytes; /* done so far */
    int64_t linked, reused, copied, copied_bytes;
    int64_t missing;                        /* have a row and no file of its size, */
    int64_t missing_ids[STORE_MISSING_MAX]; /* the first of them */
};
/* Everything it has made is durable at ERR_NONE. A file that is not there, or not as long
 * as it must be, is counted, no error; the latter is brought as it is. */
int store_copy_files(struct store_copy *c);

int64_t store_new_identity(void);
/* Of a database or a copy of one; 0: older than identities. */
int store_identity_read(struct db *db, int64_t *identity);
/* Inside apply(). `replace` false: only a store that has none gets it. */
int store_apply_identity(struct db_conn *conn, int64_t identity, bool replace);

#endif
