/*
 * import and export: objects from one side to the other, where a side is a store or a folder.
 *
 *     planner thread                              --jobs worker threads
 *     both sides' lists, joined   -- queue -->    same()? else  open, begin,
 *     (transfer_join.h)          (bounded)                      read -> digests -> write, commit
 *                                                 each request tried again with growing pauses
 *     main thread: progress, Ctrl-C, the report
 *
 * There is no state file: what has arrived is seen by size and ETag, so a second run of anything,
 * also of one that was killed, moves only what is missing or differs. An object's bytes are judged
 * (ETag, checksum, size) before the target's last step makes them visible. Memory is the queue, a
 * page of each listing and per job a buffer; bytes wait in an unnamed file per job.
 */
#ifndef DARKROOM_PIPELINE_CLI_TRANSFER_H
#define DARKROOM_PIPELINE_CLI_TRANSFER_H

#include "base/lock.h"
#include "objectstore/remote_cursor.h"
#include "pipeline/cli.h"
#include "pipeline/transfer_etag.h"
#include "pipeline/transfer_join.h"
#include "pipeline/transfer_path.h"

#define TRANSFER_JOBS_DEFAULT 8
#define TRANSFER_JOBS_MAX 64
#define TRANSFER_QUEUE_MAX 1024
#define TRANSFER_WHOLE_MAX ((int64_t)64 << 20)   /* larger objects go in parts */
#define TRANSFER_MIRROR_MAX ((int64_t)256 << 20) /* parts up to this size are kept as they are */
#define TRANSFER_RETRIES_DEFAULT 5               /* of one request: pauses of some 5 s in all */
#define TRANSFER_DEPTH_MAX 256                   /* folders in folders */
/* On an object whose ETag cannot be the source's: that one. Never carried further. */
#define TRANSFER_SOURCE_ETAG "x-amz-meta-darkroom-source-etag"

struct transfer;
struct transfer_worker;

/* An object on its way; one allocation. */
struct transfer_item {
    struct transfer_item *next;
    int64_t bytes;
    int64_t mtime_ms;
    char etag[REMOTE_ETAG_MAX];        /* "" of a file */
    bool look;                         /* the target may have it already: ask same() */
    char target_etag[REMOTE_ETAG_MAX]; /* as listed; "" when not seen */
    size_t name_n;
    char name[]; /* relative to both sides' base */
};

struct transfer_side {
    const struct transfer_side_ops *ops;
    const char *said; /* on the command line */
    /* a store */
    struct remote_options options;
    enum remote_driver driver;
    bool ours; /* the Darkroom of --data */
    const char *keys_from;
    struct slice bucket;
    struct slice base; /* in front of every name; "" or ends with '/' */
    struct buf prefix; /* what is listed: base and the beginning of the names */
    struct remote *lister;
    struct remote_cursor *cursor;
    /* a folder */
    int dirfd;
    struct transfer_walk *walk;
    struct buf entry_name; /* of the walk's current file */
};

/* A source answers open and read, a target same, begin, write, commit and abort; all return an
 * error and put one sentence into w->why. Worker threads, each with its own w. */
struct transfer_side_ops {
    bool is_store;
    /* Planner. 1: an entry, lent until the next call; 0: no more; an error. */
    int (*next)(struct transfer *t, struct transfer_side *s, struct transfer_entry *e,
                struct buf *why);
    int (*open)(struct transfer_worker *w);                                /* fills w->object */
    int (*read)(struct transfer_worker *w, int64_t offset, int64_t bytes); /* sets w->piece */
    int (*same)(struct transfer_worker *w, bool *same);
    int (*begin)(struct transfer_worker *w);
    int (*write)(struct transfer_worker *w); /* w->piece, the next one in order */
    int (*commit)(struct transfer_worker *w);
    void (*abort)(struct transfer_worker *w); /* behind begin(), instead of commit() */
    /* A target's, NULL where there is nothing to do: behind the last commit(), all is durable. */
    int (*end)(struct transfer_side *s, struct buf *why);
};

struct transfer_worker {
    struct transfer *t;
    pthread_t thread;
    struct remote *source, *target; /* NULL: a folder */
    int spool;                      /* bytes between two stores, or store and folder */
    struct buf why;
    struct transfer_item *item;
    /* the object under way */
    struct remote_object object;
    struct buf key;     /* of the side being talked to */
    bool by_head;       /* it grew since it was listed: do not fetch it whole */
    bool spooled;       /* all of it is in the spool */
    int source_fd;      /* a file's; -1 */
    int64_t unit;       /* bytes of a piece, but for the last */
    bool multipart;     /* pieces are parts of an upload */
    bool trusted_parts; /* the part size of its ETag is known, not guessed */
    struct transfer_check *check;
    struct digester *checksum;
    struct remote_body piece;
    struct buf upload_id;
    char (*etags)[REMOTE_ETAG_MAX]; /* of the parts sent */
    struct digester *parts_md5;     /* over theirs */
    int part_count;
    int target_dir, target_fd; /* a file being written; -1 */
    char part_name[64];
};

struct transfer_counts {
    int64_t planned, done, skipped, failed, bytes;
    int64_t planned_bytes;          /* of what was planned so far */
    int64_t ended_bytes;            /* of what is done, skipped or failed */
    int64_t to_copy, to_copy_bytes; /* --dry-run */
    int64_t unverified;             /* done, but its ETag is no digest */
};

struct transfer {
    struct cli *c;
    struct transfer_side source, target;
    int jobs;
    int retries;
    bool dry_run;
    struct lock lock; /* what follows */
    pthread_cond_t changed;
    struct transfer_item *first, *last;
    int queued;
    bool planned_all; /* the planner has ended */
    int working;      /* workers that have not ended */
    int closed_in_a_row;
    bool away; /* a side cannot be reached any more */
    int plan_err;
    struct transfer_counts counts;
    atomic_bool cancel;    /* set under the lock, read anywhere */
    atomic_bool no_mirror; /* the target's multipart ETags are not those of their parts */
};

/* ---- cli_transfer.c ---- */

/* Behind transfer_open(). The exit code. */
enum cli_exit transfer_run(struct transfer *t);
/* What became of one name. Any thread of the transfer. */
enum transfer_fate { TRANSFER_DONE, TRANSFER_SKIPPED, TRANSFER_FAILED, TRANSFER_WOULD_COPY };
void transfer_tell(struct transfer *t, enum transfer_fate fate, struct slice name, int64_t bytes,
                   const char *why);
void transfer_moved(struct transfer *t, int64_t bytes);
/* After a request to `r` (NULL: none) ended with err: pauses and is true when it is worth another
 * try; *tries counts. Empties `why` then. */
bool transfer_again(struct transfer *t, struct remote *r, int err, int *tries, struct buf *why);

/* ---- cli_transfer_copy.c ---- */

/* w->item, to its end, told. */
void transfer_item_run(struct transfer_worker *w);

/* ---- cli_transfer_store.c, cli_transfer_folder.c ---- */

extern const struct transfer_side_ops transfer_store_ops, transfer_folder_ops;

/* Opens what listing needs: the planner's remote and cursor, or the walk. */
int transfer_store_start(struct transfer_side *s, struct buf *why);
void transfer_folder_start(struct transfer_side *s);
void transfer_side_stop(struct transfer_side *s);

/* ---- cli_transfer_open.c ---- */

/* Reads the flags that import and export share, and opens both sides. `from` and `to` are as on the
 * command line; what begins with s3:// is a store, everything else a folder; `ours` says which of
 * them is in our server. CLI_DONE: run it; otherwise it was told why not. */
enum cli_exit transfer_open(struct transfer *t, struct cli *c, const char *from, const char *to,
                            bool import);
void transfer_close(struct transfer *t);

#endif
