/*
 * Bytes on their way out. No byte of a block leaves before the block's CRC32C was found right in
 * this process: a block met for the first time is read through once (64 KiB at a time, so a slow
 * client holds no megabyte), then read again from the page cache for the caller.
 *
 * What keeps the bytes there while a reader is open:
 *   - one file: its descriptor, open from the start; an unlinked file lives on in it
 *   - one inline blob: a copy
 *   - several extents: a pin, which keeps their files named and their checksums in `doomed`
 *     (blob.c), and copies of the inline ones, whose rows would go at once; the copies are taken,
 *     with the pin in place, in a snapshot in which the version is there
 */
#include "objectstore/reader_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "base/log.h"
#include "base/plant.h"
#include "base/stat.h"
#include "objectstore/store_priv.h"

#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define READER_MAGIC 0x4ead0001u
#define VERIFY_CHUNK (64u << 10)
#define AHEAD_BYTES_MAX (4 << 20) /* inline pieces copied when a reader is opened */
#define SOURCE_MEMFD_MAX ((int64_t)64 << 20)

/* ---- blobs ---- */

static void
corrupt(struct store *s, int64_t blob, int64_t block)
{
    STAT_INC(blocks_corrupt_total);
    suspicion_add(&s->suspicions, blob, block);
    log_line(LOG_ERROR, "block_corrupt", "blob=%" PRId64 " block=%" PRId64, blob, block);
}

static int
small_add(struct store_reader *r, int64_t id, struct slice crcs, struct slice data)
{
    uint32_t crc;
    if (crcs.n != sizeof crc)
        return ERR_CORRUPT;
    memcpy(&crc, crcs.p, sizeof crc);
    if (digest_crc32c(0, data.p, data.n) != le32toh(crc) && !plant_no_check) {
        corrupt(r->store, id, 0);
        return ERR_CORRUPT;
    }
    struct reader_small *small = malloc(sizeof *small + data.n - plant_short_copy);
    if (small == NULL)
        return ERR_NOMEM;
    small->next = r->smalls;
    small->blob = id;
    small->bytes = (int64_t)data.n;
    memcpy(small->p, data.p, data.n);
    r->smalls = small;
    return ERR_NONE;
}

static const struct reader_small *
small_find(const struct store_reader *r, int64_t id)
{
    const struct reader_small *small = r->smalls;
    while (small != NULL && small->blob != id)
        small = small->next;
    return small;
}

/* A file whose last reference went while this reader has it pinned. */
static int
doomed_load(struct store_reader *r, struct db_conn *conn, int64_t id, struct verified_blob **known)
{
    struct db_stmt *q = db_prepare(conn, "SELECT bytes, crcs FROM doomed WHERE blob = ?1");
    db_bind_int(q, 1, id);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_STALE : rc;
    *known = verified_add(r->store->verified, id, db_column_int(q, 0), db_column_blob(q, 1));
    db_reset(q);
    return *known == NULL ? ERR_CORRUPT : ERR_NONE;
}

/* Reads the blob's row: an inline one is copied to r->smalls, of a file the checksums are kept. */
static int
blob_load(struct store_reader *r, struct db_conn *conn, int64_t id, struct verified_blob **known)
{
    struct db_stmt *q = db_prepare(conn, "SELECT bytes, crcs, data FROM blob WHERE id = ?1");
    db_bind_int(q, 1, id);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? doomed_load(r, conn, id, known) : rc;
    struct slice crcs = db_column_blob(q, 1);
    if (db_column_is_null(q, 2)) {
        *known = verified_add(r->store->verified, id, db_column_int(q, 0), crcs);
        rc = *known == NULL ? ERR_CORRUPT : ERR_NONE;
    } else {
        rc = small_add(r, id, crcs, db_column_blob(q, 2));
    }
    db_reset(q);
    return rc;
}

static int
blob_know(struct store_reader *r, int64_t id)
{
    struct db_conn *conn = NULL;
    r->small = small_find(r, id);
    if (r->small == NULL)
        r->known = verified_find(r->store->verified, id);
    if (r->small != NULL || r->known != NULL)
        return ERR_NONE;
    int err = db_read_begin(r->store->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = blob_load(r, conn, id, &r->known);
    db_read_end(r->store->db, &conn);
    r->small = small_find(r, id);
    return err;
}

/* ---- extents ---- */

static void
extent_close(struct store_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->small = NULL;
    verified_unref(r->store->verified, &r->known);
}

static int
extent_open(struct store_reader *r)
{
    if (r->extent >= r->object->extent_count)
        return ERR_CORRUPT;
    int64_t id = r->object->extents[r->extent].blob;
    int err = blob_know(r, id);
    if (err == ERR_NONE && r->small == NULL) {
        r->fd = bytes_fd(r->store->bytes, id);
        if (r->fd < 0) {
            suspicion_add(&r->store->suspicions, id, 0); /* deleted meanwhile, as a rule */
            err = r->fd == ERR_NOTFOUND ? ERR_STALE : r->fd;
        }
    }
    if (err != ERR_NONE)
        extent_close(r);
    return err;
}

/* The extent that holds `offset`, and where it starts in the object. */
static size_t
extent_of(const struct store_object *o, int64_t offset, int64_t *start)
{
    size_t i = 0;
    *start = 0;
    while (i < o->extent_count && offset - *start >= o->extents[i].bytes)
        *start += o->extents[i++].bytes;
    return i;
}

/* ---- pins ---- */

static void
pin(struct store_reader *r)
{
    struct store *s = r->store;
    lock_take(&s->lock);
    r->pinned = true;
    r->pin_next = s->pins;
    if (s->pins != NULL)
        s->pins->pin_prev = r;
    s->pins = r;
    lock_release(&s->lock);
}

static void
unpin(struct store_reader *r)
{
    struct store *s = r->store;
    lock_take(&s->lock);
    *(r->pin_prev == NULL ? &s->pins : &r->pin_prev->pin_next) = r->pin_next;
    if (r->pin_next != NULL)
        r->pin_next->pin_prev = r->pin_prev;
    bool met = s->pin_met;
    s->pin_met = false;
    lock_release(&s->lock);
    if (met)
        blob_drain_soon(s);
}

static int
row_seq_is(struct db_stmt *q, int64_t seq)
{
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_STALE : rc;
    bool same = db_column_int(q, 0) == seq;
    db_reset(q);
    return same ? ERR_NONE : ERR_STALE;
}

/* The version, as the current one or among the others. */
static int
still_there(struct db_conn *conn, const struct store_object *o)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT seq FROM object WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(q, 1, o->bucket_id);
    db_bind_blob(q, 2, o->key);
    int err = row_seq_is(q, o->seq);
    if (err != ERR_STALE)
        return err;
    q = db_prepare(conn, "SELECT -rank FROM object_version WHERE bucket_id = ?1 AND key = ?2"
                         " AND rank = ?3");
    db_bind_int(q, 1, o->bucket_id);
    db_bind_blob(q, 2, o->key);
    db_bind_int(q, 3, -o->seq);
    return row_seq_is(q, o->seq);
}

/* With the pin in place: the version is there, and its small pieces are copied. */
static int
hold_all(struct store_reader *r)
{
    const struct store_object *o = r->object;
    struct db_conn *conn = NULL;
    int64_t start = r->extent_start, ahead = 0;
    int err = db_read_begin(r->store->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = still_there(conn, o);
    for (size_t i = r->extent; err == ERR_NONE && i < o->extent_count && start < r->end; i++) {
        const struct store_extent *e = &o->extents[i];
        if (e->bytes <= STORE_INLINE_MAX && ahead < AHEAD_BYTES_MAX &&
            small_find(r, e->blob) == NULL) {
            struct verified_blob *known = NULL;
            err = blob_load(r, conn, e->blob, &known);
            verified_unref(r->store->verified, &known);
            ahead += STORE_INLINE_MAX;
        }
        start += e->bytes;
    }
    db_read_end(r->store->db, &conn);
    return err;
}

/* ---- the reader ---- */

static bool
range_ok(const struct store_object *o, int64_t offset, int64_t bytes)
{
    return offset >= 0 && bytes >= 0 && offset <= o->size && bytes <= o->size - offset;
}

static int
reader_start(struct store_reader *r)
{
    const struct store_object *o = r->object;
    if (r->at == r->end || o->inline_bytes.p != NULL)
        return ERR_NONE;
    r->extent = extent_of(o, r->at, &r->extent_start);
    if (r->extent >= o->extent_count)
        return ERR_CORRUPT;
    int err = ERR_NONE;
    if (r->extent_start + o->extents[r->extent].bytes < r->end) {
        pin(r);
        err = hold_all(r);
    }
    return err == ERR_NONE ? extent_open(r) : err;
}

int
store_reader_open(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
                  struct store_reader **out)
{
    CHK_MAGIC(s, STORE_MAGIC);
    *out = NULL;
    if (!range_ok(o, offset, bytes))
        return ERR_RANGE;
    struct store_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERR_NOMEM;
    *r = (struct store_reader){.magic = READER_MAGIC,
                               .store = s,
                               .object = store_object_ref(o),
                               .at = offset,
                               .end = offset + bytes,
                               .fd = -1};
    int err = reader_start(r);
    if (err != ERR_NONE)
        store_reader_close(&r);
    *out = r;
    return err;
}

void
store_reader_close(struct store_reader **rp)
{
    struct store_reader *r = *rp;
    *rp = NULL;
    if (r == NULL)
        return;
    CHK_MAGIC(r, READER_MAGIC);
    extent_close(r);
    while (r->smalls != NULL) {
        struct reader_small *small = r->smalls;
        r->smalls = small->next;
        free(small);
    }
    if (r->pinned)
        unpin(r);
    store_object_unref(&r->object);
    r->magic = 0;
    free(r);
}

/* Reads the block through and marks it sound. */
static int
block_verify(struct store_reader *r, int64_t block)
{
    char chunk[VERIFY_CHUNK];
    int64_t at = block * STORE_BLOCK_BYTES;
    int64_t end = at + STORE_BLOCK_BYTES;
    uint32_t crc = 0;
    if (verified_is(r->known, block))
        return ERR_NONE;
    if (end > verified_bytes(r->known))
        end = verified_bytes(r->known);
    while (at < end) {
        size_t n = (uint64_t)(end - at) < sizeof chunk ? (size_t)(end - at) : sizeof chunk;
        int err = fsio_pread_all(r->fd, chunk, n, at);
        if (err != ERR_NONE) {
            corrupt(r->store, r->object->extents[r->extent].blob, block);
            return err == ERR_SHORT ? ERR_CORRUPT : err;
        }
        crc = digest_crc32c(crc, chunk, n);
        at += (int64_t)n;
    }
    if (crc != verified_crc(r->known, block) && !plant_no_check) {
        corrupt(r->store, r->object->extents[r->extent].blob, block);
        return ERR_CORRUPT;
    }
    verified_set(r->known, block);
    return ERR_NONE;
}

static ptrdiff_t
file_read(struct store_reader *r, char *p, size_t n, int64_t at)
{
    if (at + (int64_t)n > verified_bytes(r->known))
        return ERR_CORRUPT;
    int64_t block = at / STORE_BLOCK_BYTES;
    size_t room = (size_t)(STORE_BLOCK_BYTES - at % STORE_BLOCK_BYTES);
    n = n < room ? n : room;
    int err = block_verify(r, block);
    if (err == ERR_NONE)
        err = fsio_pread_all(r->fd, p, n, at);
    return err == ERR_NONE ? (ptrdiff_t)n : err == ERR_SHORT ? ERR_CORRUPT : err;
}

static ptrdiff_t
extent_read(struct store_reader *r, char *p, size_t n)
{
    int err = r->fd < 0 && r->small == NULL ? extent_open(r) : ERR_NONE;
    if (err != ERR_NONE)
        return err == ERR_STALE ? ERR_IO : err;
    const struct store_extent *e = &r->object->extents[r->extent];
    int64_t skip = r->at - r->extent_start;
    if ((int64_t)n > e->bytes - skip)
        n = (size_t)(e->bytes - skip);
    if (r->small == NULL)
        return file_read(r, p, n, e->offset + skip);
    if (e->offset + skip + (int64_t)n > r->small->bytes)
        return ERR_CORRUPT;
    memcpy(p, r->small->p + e->offset + skip, n);
    return (ptrdiff_t)n;
}

ptrdiff_t
store_reader_read(struct store_reader *r, char *p, size_t n)
{
    CHK_MAGIC(r, READER_MAGIC);
    if ((uint64_t)(r->end - r->at) < n)
        n = (size_t)(r->end - r->at);
    if (n == 0)
        return 0;
    if (r->object->inline_bytes.p != NULL) {
        memcpy(p, r->object->inline_bytes.p + r->at, n);
        r->at += (int64_t)n;
        return (ptrdiff_t)n;
    }
    ptrdiff_t got = extent_read(r, p, n);
    if (got < 0)
        return got;
    r->at += got;
    if (r->at - r->extent_start == r->object->extents[r->extent].bytes) {
        extent_close(r);
        r->extent_start = r->at;
        r->extent++;
    }
    return got;
}

/* ---- short cuts ---- */

static bool
blocks_verified(const struct verified_blob *b, int64_t at, int64_t bytes)
{
    if (bytes == 0 || at + bytes > verified_bytes(b))
        return false;
    for (int64_t i = at / STORE_BLOCK_BYTES; i <= (at + bytes - 1) / STORE_BLOCK_BYTES; i++) {
        if (!verified_is(b, i))
            return false;
    }
    return true;
}

/* Is the range one stretch of one file, all verified? Then its blob and the place in it. */
static bool
stretch_verified(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
                 int64_t *blob, int64_t *at)
{
    int64_t start;
    size_t i = extent_of(o, offset, &start);
    if (i >= o->extent_count || o->inline_bytes.p != NULL)
        return false;
    const struct store_extent *e = &o->extents[i];
    struct verified_blob *known = verified_find(s->verified, e->blob);
    *blob = e->blob;
    *at = e->offset + offset - start;
    bool ok =
        known != NULL && offset - start + bytes <= e->bytes && blocks_verified(known, *at, bytes);
    verified_unref(s->verified, &known);
    return ok;
}

int
store_sendfile(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
               int *fd, int64_t *fd_offset)
{
    CHK_MAGIC(s, STORE_MAGIC);
    int64_t blob;
    if (!range_ok(o, offset, bytes))
        return ERR_RANGE;
    if (!stretch_verified(s, o, offset, bytes, &blob, fd_offset))
        return ERR_UNSUPPORTED;
    *fd = bytes_fd(s->bytes, blob);
    if (*fd >= 0)
        return ERR_NONE;
    suspicion_add(&s->suspicions, blob, 0);
    return *fd == ERR_NOTFOUND ? ERR_STALE : *fd;
}

int
store_verify_first(struct store *s, const struct store_object *o, int64_t offset)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct store_reader *r = NULL;
    int64_t blob, at;
    char c;
    if (!range_ok(o, offset, 0))
        return ERR_RANGE;
    if (o->inline_bytes.p != NULL || offset == o->size ||
        stretch_verified(s, o, offset, 1, &blob, &at))
        return ERR_NONE;
    int err = store_reader_open(s, o, offset, 1, &r);
    if (err != ERR_NONE)
        return err;
    ptrdiff_t n = store_reader_read(r, &c, 1);
    store_reader_close(&r);
    return n < 0 ? (int)n : ERR_NONE;
}

/* ---- the whole object as a descriptor ---- */

static int
verify_all(struct store *s, const struct store_object *o)
{
    struct store_reader *r = NULL;
    int err = store_reader_open(s, o, 0, o->size, &r);
    if (err != ERR_NONE)
        return err;
    for (int64_t i = 0; i * STORE_BLOCK_BYTES < o->size && err == ERR_NONE; i++)
        err = block_verify(r, i);
    store_reader_close(&r);
    return err;
}

/* One file, from its first byte to its last? */
static int
source_file(struct store *s, const struct store_object *o, int *fd)
{
    int64_t at;
    if (o->extent_count != 1 || o->extents[0].offset != 0 || o->inline_bytes.p != NULL)
        return ERR_UNSUPPORTED;
    struct store_reader *r = NULL;
    int err = store_reader_open(s, o, 0, o->size, &r);
    if (err != ERR_NONE)
        return err;
    bool whole = r->known != NULL && verified_bytes(r->known) == o->size;
    store_reader_close(&r);
    if (!whole)
        return ERR_UNSUPPORTED;
    err = verify_all(s, o);
    return err == ERR_NONE ? store_sendfile(s, o, 0, o->size, fd, &at) : err;
}

static int
copy_to(struct store *s, const struct store_object *o, int fd)
{
    struct store_reader *r = NULL;
    ptrdiff_t n = 0;
    int err = store_reader_open(s, o, 0, o->size, &r);
    if (err != ERR_NONE)
        return err;
    char *chunk = malloc(VERIFY_CHUNK);
    if (chunk == NULL)
        err = ERR_NOMEM;
    while (err == ERR_NONE && (n = store_reader_read(r, chunk, VERIFY_CHUNK)) > 0)
        err = fsio_write_all(fd, chunk, (size_t)n);
    free(chunk);
    store_reader_close(&r);
    return err == ERR_NONE && n < 0 ? (int)n : err;
}

/* What copy_to() filled becomes read-only: a memfd by seals, a file by opening it anew. */
static int
copy_finish(int *fd, bool is_memfd)
{
    char path[64];
    if (is_memfd) {
        int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
        return fcntl(*fd, F_ADD_SEALS, seals) == 0 && lseek(*fd, 0, SEEK_SET) == 0 ? ERR_NONE
                                                                                   : ERR_IO;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
    int again = open(path, O_RDONLY | O_CLOEXEC);
    close(*fd);
    *fd = again;
    return again < 0 ? ERR_IO : ERR_NONE;
}

int
store_source_fd(struct store *s, const struct store_object *o, int *fd)
{
    CHK_MAGIC(s, STORE_MAGIC);
    *fd = -1;
    if (o->inline_bytes.p != NULL) {
        *fd = fsio_memfd("source", o->inline_bytes);
        return *fd < 0 ? *fd : ERR_NONE;
    }
    int err = source_file(s, o, fd);
    if (err != ERR_UNSUPPORTED)
        return err;
    bool in_memory = o->size <= SOURCE_MEMFD_MAX;
    *fd =
        in_memory ? memfd_create("source", MFD_CLOEXEC | MFD_ALLOW_SEALING) : bytes_make(s->bytes);
    if (*fd < 0)
        return in_memory ? ERR_NOMEM : *fd;
    err = copy_to(s, o, *fd);
    if (err == ERR_NONE)
        err = copy_finish(fd, in_memory);
    if (err != ERR_NONE && *fd >= 0)
        close(*fd);
    if (err != ERR_NONE)
        *fd = -1;
    return err;
}
