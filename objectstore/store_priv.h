/*
 * What the modules of the store share among themselves. Outside the store's own files and its tests
 * nobody includes this.
 */
#ifndef DARKROOM_OBJECTSTORE_STORE_PRIV_H
#define DARKROOM_OBJECTSTORE_STORE_PRIV_H

#include "base/lock.h"
#include "objectstore/bytes.h"
#include "objectstore/cache.h"
#include "objectstore/object_row.h"
#include "objectstore/pool.h"
#include "objectstore/quarantine_priv.h"
#include "objectstore/verified.h"

#include <stdatomic.h>

#define STORE_MAGIC 0x57042e01u
#define STORE_POOL_THREADS 3
#define STORE_SUMS_MAX 256       /* checksums of stored bytes waiting to be computed */
#define STORE_PUT_FILES_MAX 4096 /* uploads with a file at once: each has a descriptor */
#define STORE_CHANGES_MAX 4096   /* remembered one by one between two commits */
#define STORE_UPLOAD_DONE_MS ((int64_t)24 * 3600 * 1000)
#define STORE_EPOCH_SHIFT 40 /* blob id: number of this opening, then a counter */
#define STORE_DRAIN_ROWS 256

/* What the transaction being built changes. Writer thread only. Raising a stamp for an operation
 * that was rolled back costs a miss, so nothing is ever taken out again. */
struct store_changes {
    uint64_t hashes[STORE_CHANGES_MAX];
    size_t count;
    bool all;
    bool buckets;
    bool doomed;
};

struct store {
    uint32_t magic;
    struct db *db;
    struct store_hooks hooks;
    struct bytes *bytes;
    struct caches *caches;
    struct verified *verified;
    struct served *served;
    struct pool *pool;
    struct pool *sum_pool; /* one thread: reads as much as an object holds */
    _Atomic int sums;      /* its jobs */
    struct store_changes changes;
    _Atomic int64_t next_id;
    struct suspicions suspicions;

    struct lock lock;                         /* guards from here to the blank line */
    struct store_put *puts_first, *puts_last; /* with a file, oldest (least id) first */
    int put_files;
    struct store_reader *pins; /* readers whose files must stay */
    bool pin_met;              /* a file was kept because of a pin */
    int holds;                 /* while > 0 no file goes; store_backup.h */

    struct lock sync_lock;   /* guards from here to the end */
    struct store_put *named; /* published, waiting for the directory sync */
    bool naming;             /* a thread is syncing */
    struct pool_job drain_job;
    bool drain_wanted, drain_running;
};

/* ---- store.c ---- */

/* Writer thread: the record of this key is not to be served from caches after the commit. */
void store_changed(struct store *s, int64_t bucket_id, struct slice key);
int64_t store_new_id(struct store *s);

/* ---- bucket.c ---- */

/* What a change must know of its bucket. */
struct bucket_row {
    int64_t id;
    enum store_versioning versioning;
};

/* From this thread's cache or a short read. ERR_NOPARENT. */
int bucket_id_get(struct store *s, struct slice name, int64_t *id);
/* The first bucket behind `after` that has such a document. ERR_NOTFOUND. */
int bucket_next_with(struct store *s, const char *config, struct slice after, struct buf *name);
/* Inside apply() or a read. ERR_NOPARENT. */
int bucket_row_find(struct db_conn *conn, struct slice name, struct bucket_row *row);

/* ---- blob.c ---- */

/* One row, one reference. `data.p` NULL: its bytes are a file. */
int blob_insert(struct db_conn *conn, int64_t id, int64_t bytes, struct slice data,
                struct slice crcs);
/* One more, one less reference for every extent of the list. */
int blob_ref_all(struct db_conn *conn, struct slice extents);
int blob_unref_all(struct store *s, struct db_conn *conn, struct slice extents);
/* Removes the file unless an open reader needs it or files are held (then false). Its row must be
 * gone in a snapshot that the caller saw. */
bool blob_remove_file(struct store *s, int64_t id);
/* Finishes the unlinks of committed transactions. Any thread but the writer's. */
int blob_drain(struct store *s);
/* Has it drained by the pool, soon. */
void blob_drain_soon(struct store *s);
/* Is there a row? 1, 0, or an error. Any thread with readers. */
int blob_exists(struct store *s, int64_t id);

/* ---- put.c ---- */

/* Inserts the sealed bytes' row and appends their extent. */
int put_apply(struct store_put *put, struct db_conn *conn, struct buf *extents);
/* Ids below it belong to no put that may still be published. */
int64_t put_oldest(struct store *s);

/* ---- object.c ---- */

struct object_old { /* the current version before a change */
    bool exists;
    bool is_null;
    int64_t generation;
    int64_t seq;
    int64_t size;
    int64_t mtime_ms;
    int part_count;
    struct store_lock lock;
    char etag[STORE_ETAG_MAX];
    struct buf extents;
};

/* Reads the current version; object_old_fini() in any case. */
int object_old_read(struct db_conn *conn, int64_t bucket_id, struct slice key,
                    struct object_old *old);
/* Checks key and meta, finds the bucket, reads the current version, judges the condition.
 * object_old_fini() in any case. */
int object_begin(struct db_conn *conn, const struct store_put_spec *spec, struct bucket_row *bucket,
                 struct object_old *old);
void object_old_fini(struct object_old *old);
/* Makes `o` (no generation yet) with these extents the current version: row, old references or old
 * version, hook. The new extents' references must exist. */
int object_replace(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                   const struct bucket_row *bucket, struct store_object *o, struct slice extents,
                   const struct object_old *old, struct store_put_result *result);
/* store_get_version(), in apply() or a read. */
int version_read(struct db_conn *conn, int64_t bucket_id, struct slice key, struct slice version_id,
                 const struct store_object **out);
/* The extents of a version the caller holds the record of. ERR_STALE: it is gone. */
int object_source(struct db_conn *conn, const struct store_object *source, struct buf *extents);
int object_row_delete(struct db_conn *conn, int64_t bucket_id, struct slice key);

/* ---- version.c ---- */

/* The bytes of a version that is gone. */
int version_bytes_drop(struct store *s, struct db_conn *conn, int64_t seq, int part_count,
                       struct slice extents);
/* Before another version becomes the newest, in a bucket with versioning: the current one becomes
 * noncurrent unless it is replaced (*replaced: its bytes are the caller's to drop), as does a
 * marker; `null_version`: the new one is, so that an old null version goes. */
int version_make_room(struct store *s, struct db_conn *conn, int64_t bucket_id, struct slice key,
                      const struct object_old *old, bool null_version, bool *replaced);
/* DB_ROW: found among the noncurrent versions and markers, lent by *row until db_reset(). `seq` 0:
 * the null version; -1: the newest. */
int version_row_find(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t seq,
                     struct store_object *o, struct slice *extents, struct db_stmt **row);
/* Noncurrent versions and markers of the key that are newer than that version, at most `max`. */
int version_newer_count(struct db_conn *conn, int64_t bucket_id, struct slice key, int64_t seq,
                        int max, int *count);

/* ---- multipart.c ---- */

int upload_sweep(struct store *s);

#endif
