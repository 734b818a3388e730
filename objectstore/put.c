/*
 * Bytes on their way in. A put owns its bytes until a committed row refers to them.
 *
 *   WRITING --seal--> SEALING --durable--> SEALED --apply, commit--> end: row found, bytes stay
 *      |                 |                   |                   \-> end: no row, file removed
 *      |                 +--error--> FAILED  +--end: file removed
 *      +--end: memory freed, the unnamed file vanishes with its descriptor
 *
 * Small puts live in memory all the way and never touch a lock. A put with a file is listed as in
 * flight from the moment it has an id until its fate is settled, so the sweep leaves it alone.
 *
 * Sealing on the pool: sync the content, give it a name, then put it on the `named` list. The
 * thread that finds nobody syncing names becomes the one who does, for all that wait, until none
 * do; the others go on with the next file meanwhile. So one directory sync covers many uploads.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "base/log.h"
#include "objectstore/store_priv.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define PUT_MAGIC 0x9070b17eu
#define PUT_BUF_MIN 4096
#define NAMES_PER_SYNC 256

enum put_state { PUT_WRITING, PUT_SEALING, PUT_SEALED, PUT_FAILED };

struct store_put {
    uint32_t magic;
    enum put_state state;
    struct store *store;
    int err; /* first failure of a write; sticky */
    int64_t id;
    int64_t bytes;
    char *buf; /* small: everything; file: what is not written yet */
    size_t buf_n, buf_cap;

    int fd; /* -1: small, or closed after it was named */
    bool is_file;
    bool has_name;
    bool applied; /* a transaction may have made a row for it */
    uint32_t *crcs;
    size_t crc_n, crc_cap;
    uint32_t crc; /* of the block being filled */
    size_t crc_fill;

    struct store_put *prev, *next; /* in flight, under the store's lock */
    struct store_put *named_next;
    struct pool_job job;
    store_sealed_fn done;
    void *arg;
};

static void
state_set(struct store_put *put, enum put_state to)
{
    static const unsigned allowed[] = {
        [PUT_WRITING] = 1u << PUT_SEALING,
        [PUT_SEALING] = 1u << PUT_SEALED | 1u << PUT_FAILED,
        [PUT_SEALED] = 0,
        [PUT_FAILED] = 0,
    };
    CHK(allowed[put->state] & 1u << to);
    put->state = to;
}

/* ---- in flight ---- */

/* Id and listing in one step: whoever reads `next_id` under the lock and finds no put below it
 * knows that none will come. */
static int
flight_enter(struct store_put *put)
{
    struct store *s = put->store;
    int err = ERR_NONE;
    lock_take(&s->lock);
    if (s->put_files >= STORE_PUT_FILES_MAX) {
        err = ERR_BUSY;
    } else {
        s->put_files++;
        put->id = store_new_id(s);
        put->prev = s->puts_last;
        *(s->puts_last == NULL ? &s->puts_first : &s->puts_last->next) = put;
        s->puts_last = put;
    }
    lock_release(&s->lock);
    return err;
}

static void
flight_leave(struct store_put *put)
{
    struct store *s = put->store;
    lock_take(&s->lock);
    *(put->prev == NULL ? &s->puts_first : &put->prev->next) = put->next;
    *(put->next == NULL ? &s->puts_last : &put->next->prev) = put->prev;
    s->put_files--;
    lock_release(&s->lock);
}

int64_t
put_oldest(struct store *s)
{
    lock_take(&s->lock);
    int64_t id = s->puts_first != NULL ? s->puts_first->id : atomic_load(&s->next_id);
    lock_release(&s->lock);
    return id;
}

/* ---- writing ---- */

static void
put_free(struct store_put *put)
{
    if (put->fd >= 0)
        close(put->fd);
    if (put->is_file)
        flight_leave(put);
    free(put->buf);
    free(put->crcs);
    put->magic = 0;
    free(put);
}

static int
file_begin(struct store_put *put)
{
    int fd = bytes_make(put->store->bytes);
    if (fd < 0)
        return fd;
    put->fd = fd;
    int err = flight_enter(put);
    put->is_file = err == ERR_NONE;
    return err;
}

static int
buf_room(struct store_put *put, size_t n)
{
    if (put->buf_cap >= n)
        return ERR_NONE;
    size_t cap = put->buf_cap < PUT_BUF_MIN ? PUT_BUF_MIN : put->buf_cap;
    while (cap < n)
        cap *= 2;
    char *grown = realloc(put->buf, cap);
    if (grown == NULL)
        return ERR_NOMEM;
    put->buf = grown;
    put->buf_cap = cap;
    return ERR_NONE;
}

int
store_put_begin(struct store *s, struct store_put **out, int64_t bytes_expected)
{
    CHK_MAGIC(s, STORE_MAGIC);
    *out = NULL;
    int err = db_health(s->db);
    if (err == ERR_NONE && db_is_full(s->db))
        err = ERR_BUSY;
    if (err != ERR_NONE)
        return err;
    if (bytes_expected > STORE_PUT_BYTES_MAX)
        return ERR_TOOBIG;
    struct store_put *put = calloc(1, sizeof *put);
    if (put == NULL)
        return ERR_NOMEM;
    *put = (struct store_put){.magic = PUT_MAGIC, .store = s, .fd = -1};
    if (bytes_expected > STORE_INLINE_MAX)
        err = file_begin(put);
    else if (bytes_expected > 0)
        err = buf_room(put, (size_t)bytes_expected);
    if (err != ERR_NONE) {
        put_free(put);
        return err;
    }
    *out = put;
    return ERR_NONE;
}

static int
crc_push(struct store_put *put)
{
    if (put->crc_n == put->crc_cap) {
        size_t cap = put->crc_cap == 0 ? 8 : put->crc_cap * 2;
        uint32_t *grown = realloc(put->crcs, cap * sizeof grown[0]);
        if (grown == NULL)
            return ERR_NOMEM;
        put->crcs = grown;
        put->crc_cap = cap;
    }
    put->crcs[put->crc_n++] = htole32(put->crc);
    put->crc = 0;
    put->crc_fill = 0;
    return ERR_NONE;
}

static int
crc_add(struct store_put *put, struct slice s)
{
    while (s.n > 0) {
        size_t room = STORE_BLOCK_BYTES - put->crc_fill;
        size_t n = s.n < room ? s.n : room;
        put->crc = digest_crc32c(put->crc, s.p, n);
        put->crc_fill += n;
        s = slice_skip(s, n);
        int err = put->crc_fill == STORE_BLOCK_BYTES ? crc_push(put) : ERR_NONE;
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE;
}

static int
file_write(struct store_put *put, struct slice s)
{
    int err = crc_add(put, s);
    return err == ERR_NONE && s.n > 0 ? fsio_write_all(put->fd, s.p, s.n) : err;
}

static int
file_flush(struct store_put *put)
{
    int err = file_write(put, slice_of(put->buf, put->buf_n));
    put->buf_n = 0;
    return err;
}

static int
put_add(struct store_put *put, struct slice s)
{
    int err = ERR_NONE;
    if (put->buf_n + s.n > STORE_INLINE_MAX) {
        if (!put->is_file)
            err = file_begin(put);
        if (err == ERR_NONE)
            err = file_flush(put);
        if (err == ERR_NONE && s.n >= STORE_INLINE_MAX / 2)
            return file_write(put, s);
    }
    if (err == ERR_NONE)
        err = buf_room(put, put->buf_n + s.n);
    if (err != ERR_NONE)
        return err;
    if (s.n > 0)
        memcpy(put->buf + put->buf_n, s.p, s.n);
    put->buf_n += s.n;
    return ERR_NONE;
}

int
store_put_write(struct store_put *put, const void *p, size_t n)
{
    CHK_MAGIC(put, PUT_MAGIC);
    CHK(put->state == PUT_WRITING);
    if (put->err == ERR_NONE && n > (uint64_t)(STORE_PUT_BYTES_MAX - put->bytes))
        put->err = ERR_TOOBIG;
    if (put->err == ERR_NONE)
        put->err = put_add(put, slice_of(p, n));
    if (put->err == ERR_NONE)
        put->bytes += (int64_t)n;
    return put->err;
}

int64_t
store_put_bytes(const struct store_put *put)
{
    return put->bytes;
}

/* ---- sealing ---- */

static void
seal_done(struct store_put *put, int err)
{
    if (err == ERR_SYNC)
        db_fail_sync(put->store->db, "blob");
    state_set(put, err == ERR_NONE ? PUT_SEALED : PUT_FAILED);
    put->done(put->arg, err);
}

/* Takes up to NAMES_PER_SYNC puts that wait; called with the lock held. */
static struct store_put *
named_take(struct store *s, int64_t ids[NAMES_PER_SYNC], size_t *count)
{
    struct store_put *first = s->named, **end = &s->named;
    for (*count = 0; *end != NULL && *count < NAMES_PER_SYNC; end = &(*end)->named_next)
        ids[(*count)++] = (*end)->id;
    struct store_put *rest = *end;
    *end = NULL;
    s->named = rest;
    return first;
}

static void
names_sync(struct store *s, struct store_put *put)
{
    int64_t ids[NAMES_PER_SYNC];
    size_t count;
    lock_take(&s->sync_lock);
    put->named_next = s->named;
    s->named = put;
    if (s->naming) {
        lock_release(&s->sync_lock);
        return;
    }
    s->naming = true;
    while (s->named != NULL) {
        struct store_put *list = named_take(s, ids, &count);
        lock_release(&s->sync_lock);
        int err = bytes_sync_names(s->bytes, ids, count);
        while (list != NULL) {
            struct store_put *one = list;
            list = one->named_next; /* done() may end the put */
            seal_done(one, err);
        }
        lock_take(&s->sync_lock);
    }
    s->naming = false;
    lock_release(&s->sync_lock);
}

static void
seal_run(struct pool_job *job)
{
    struct store_put *put = CONTAINER_OF(job, struct store_put, job);
    int err = file_flush(put);
    if (err == ERR_NONE && put->crc_fill > 0)
        err = crc_push(put);
    if (err == ERR_NONE)
        err = bytes_publish(put->store->bytes, put->fd, put->id);
    put->has_name = err == ERR_NONE;
    close(put->fd);
    put->fd = -1;
    if (err == ERR_NONE)
        names_sync(put->store, put);
    else
        seal_done(put, err);
}

void
store_put_seal(struct store_put *put, store_sealed_fn done, void *arg)
{
    CHK_MAGIC(put, PUT_MAGIC);
    state_set(put, PUT_SEALING);
    put->done = done;
    put->arg = arg;
    if (put->err == ERR_NONE && put->is_file) {
        put->job.run = seal_run;
        pool_submit(put->store->pool, &put->job);
        return;
    }
    if (put->err == ERR_NONE && put->bytes > 0) {
        put->id = store_new_id(put->store);
        put->err = crc_add(put, slice_of(put->buf, put->buf_n));
        if (put->err == ERR_NONE)
            put->err = crc_push(put);
    }
    seal_done(put, put->err);
}

int
put_apply(struct store_put *put, struct db_conn *conn, struct buf *extents)
{
    CHK_MAGIC(put, PUT_MAGIC);
    CHK(put->state == PUT_SEALED);
    put->applied = true;
    if (put->bytes == 0)
        return ERR_NONE;
    extent_put(extents, &(struct store_extent){put->id, 0, put->bytes});
    struct slice data = put->is_file ? SLICE_NONE : slice_of(put->buf, put->buf_n);
    struct slice crcs = slice_of(put->crcs, put->crc_n * sizeof put->crcs[0]);
    int err = blob_insert(conn, put->id, put->bytes, data, crcs);
    return err == ERR_NONE ? extents->err : err;
}

/* ---- the end ---- */

/* The transaction, if any, is over: a snapshot from now on shows whether the bytes are wanted. */
static void
end_run(struct pool_job *job)
{
    struct store_put *put = CONTAINER_OF(job, struct store_put, job);
    struct store *s = put->store;
    /* After a failed sync nobody knows what the disk will show after a restart: leave it then. */
    bool keep = db_health(s->db) == ERR_SYNC;
    if (!keep && put->applied) {
        int rc = blob_exists(s, put->id);
        keep = rc != DB_DONE;
        if (rc < 0)
            log_line(LOG_WARN, "blob_left_to_sweep", "blob=%" PRId64 " error=%s", put->id,
                     err_name(rc));
    }
    if (!keep && (!put->applied || db_settle(s->db) == ERR_NONE))
        blob_remove_file(s, put->id);
    put_free(put);
}

void
store_put_end(struct store_put **pp)
{
    struct store_put *put = *pp;
    *pp = NULL;
    if (put == NULL)
        return;
    CHK_MAGIC(put, PUT_MAGIC);
    CHK(put->state != PUT_SEALING);
    if (put->has_name) {
        put->job.run = end_run;
        pool_submit(put->store->pool, &put->job);
    } else {
        put_free(put);
    }
}
