/*
 * How bytes are read again. A pass goes through the blobs in the order of their ids, which never
 * come twice:
 *
 *   page of rows (one short read): inline bytes are checked on the spot, up to the first file
 *        -> the file, block by block, outside of any read
 *        -> rest (the rate), now and then the cursor is saved
 *
 * What was met bad is read a second time, past the page cache, before it is called so. Then one
 * transaction decides: is the blob's row still there? Rows and files are immutable, and a file is
 * unlinked only after the commit that drops its row, so a file that was missing or bad while its
 * row is there afterwards is damage, whatever is overwritten or deleted meanwhile.
 *
 * Reads that fail for want of descriptors or memory are no damage: the pass is put off.
 *
 * Nothing here waits for live traffic but by the rate and the thread's priority: it takes no lock
 * that others hold for long, and the writer only for findings and the cursor.
 */
#include "objectstore/scrub.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "base/log.h"
#include "base/plant.h"
#include "base/stat.h"
#include "objectstore/scrub_priv.h"

#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE_ROWS 64
#define PAGE_BYTES (1 << 20) /* inline bytes of one read */
#define CRCS_BYTES_MAX (1u << 20)
#define SAVE_BYTES ((int64_t)256 << 20)
#define SAVE_MS 10000
#define TRACE_MS 60000 /* between two tracings, each of which reads all object rows */

struct file {   /* a blob that is a file */
    int64_t id; /* 0: none */
    int64_t bytes;
    struct buf crcs;
};

struct scrub {
    struct store *s;
    scrub_rest_fn rest;
    void *rest_arg;
    struct scrub_state at;
    struct file file;
    int64_t found, traced; /* findings; of those, seen by the last tracing within this pass */
    int64_t traced_ms;
    int64_t saved_bytes, saved_ms; /* when the cursor was saved */
    char *buffer;                  /* of a block */
};

/* ---- blocks ---- */

static int
damage_of(int err)
{
    switch (err) {
    case ERR_SHORT:
        return DAMAGE_SHORT;
    case ERR_NOTFOUND:
        return DAMAGE_GONE;
    case ERR_IO:
    case ERR_DENIED:
        return DAMAGE_UNREADABLE;
    default:
        return err;
    }
}

/* DAMAGE_NONE, a damage, or an error < 0. Reads from the disk: what the page cache has is given up
 * before, and after it has been read. */
static int
block_read(const struct scrub *w, const struct file *f, int fd, int64_t block)
{
    int64_t at = block * STORE_BLOCK_BYTES;
    int64_t left = f->bytes - at;
    size_t n = left < STORE_BLOCK_BYTES ? (size_t)left : STORE_BLOCK_BYTES;
    uint32_t crc;
    if (f->crcs.n < (size_t)(block + 1) * sizeof crc)
        return DAMAGE_SUM;
    (void)posix_fadvise(fd, at, (off_t)n, POSIX_FADV_DONTNEED);
    int err = fsio_pread_all(fd, w->buffer, n, at);
    (void)posix_fadvise(fd, at, (off_t)n, POSIX_FADV_DONTNEED);
    if (err != ERR_NONE)
        return damage_of(err);
    memcpy(&crc, f->crcs.p + (size_t)block * sizeof crc, sizeof crc);
    bool same = digest_crc32c(0, w->buffer, n) == le32toh(crc) || plant_no_check;
    STAT_ADD(scrub_bytes_total, (int64_t)n);
    return same ? DAMAGE_NONE : DAMAGE_SUM;
}

static int
block_check(const struct scrub *w, const struct file *f, int fd, int64_t block)
{
    int d = block_read(w, f, fd, block);
    return d > DAMAGE_NONE ? block_read(w, f, fd, block) : d;
}

static bool
inline_ok(struct slice crcs, int64_t bytes, struct slice data)
{
    uint32_t crc;
    STAT_ADD(scrub_bytes_total, (int64_t)data.n);
    if (crcs.n != sizeof crc || (int64_t)data.n != bytes)
        return false;
    memcpy(&crc, crcs.p, sizeof crc);
    return digest_crc32c(0, data.p, data.n) == le32toh(crc) || plant_no_check;
}

/* ---- findings ---- */

struct finding_op {
    struct db_op op;
    struct store *s;
    struct quarantined q; /* reason DAMAGE_NONE: the blob is whole again */
    bool fresh;
};

static int
finding_apply(struct db_op *op, struct db_conn *conn)
{
    struct finding_op *f = CONTAINER_OF(op, struct finding_op, op);
    if (f->q.reason == DAMAGE_NONE)
        return quarantine_apply_forget(conn, f->q.blob);
    return quarantine_apply_add(&f->s->suspicions, conn, &f->q, &f->fresh);
}

static int
quarantine(struct scrub *w, int64_t blob, int64_t block, enum damage reason)
{
    struct finding_op f = {.op = {.apply = finding_apply, .urgent = true},
                           .s = w->s,
                           .q = {.blob = blob,
                                 .offset = block * STORE_BLOCK_BYTES,
                                 .reason = reason,
                                 .found_ms = clock_wall_ms()}};
    verified_forget(w->s->verified, blob);
    int err = db_call(w->s->db, &f.op);
    if (err != ERR_NONE || !f.fresh)
        return err;
    w->found++;
    STAT_INC(scrub_found_total);
    log_line(LOG_ERROR, "blob_quarantined", "blob=%" PRId64 " offset=%" PRId64 " reason=\"%s\"",
             blob, f.q.offset, damage_text(reason));
    return ERR_NONE;
}

/* All of it was read and is sound: if it was in quarantine, somebody has put it right. */
static int
lift(struct scrub *w, int64_t blob)
{
    struct db_conn *conn = NULL;
    struct finding_op f = {.op = {.apply = finding_apply, .urgent = true},
                           .s = w->s,
                           .q = {.blob = blob, .reason = DAMAGE_NONE}};
    bool has = false;
    if (!atomic_load(&w->s->suspicions.quarantined))
        return ERR_NONE;
    int err = db_read_begin(w->s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = quarantine_has(conn, blob, &has);
    db_read_end(w->s->db, &conn);
    if (err != ERR_NONE || !has)
        return err;
    err = db_call(w->s->db, &f.op);
    if (err == ERR_NONE) {
        suspicion_clear(&w->s->suspicions, blob);
        log_line(LOG_INFO, "quarantine_lifted", "blob=%" PRId64, blob);
    }
    return err;
}

/* ---- the cursor ---- */

static const char *const state_names[] = {"scrub_blob",     "scrub_block", "scrub_began_ms",
                                          "scrub_ended_ms", "scrub_blobs", "scrub_bytes"};

static int64_t *
state_member(struct scrub_state *st, size_t i)
{
    int64_t *const members[] = {&st->blob,     &st->block, &st->began_ms,
                                &st->ended_ms, &st->blobs, &st->bytes};
    return members[i];
}

int
scrub_state_read(struct db_conn *conn, struct scrub_state *out)
{
    *out = (struct scrub_state){.blob = 0};
    for (size_t i = 0; i < ARRAY_LEN(state_names); i++) {
        struct db_stmt *q = db_prepare(conn, "SELECT value FROM store_state WHERE name = ?1");
        db_bind_text(q, 1, slice_str(state_names[i]));
        int rc = db_step(q);
        if (rc < 0)
            return rc;
        if (rc == DB_ROW)
            *state_member(out, i) = db_column_int(q, 0);
        db_reset(q);
    }
    return ERR_NONE;
}

struct save_op {
    struct db_op op;
    struct scrub_state state;
};

static int
save_apply(struct db_op *op, struct db_conn *conn)
{
    struct save_op *s = CONTAINER_OF(op, struct save_op, op);
    int err = ERR_NONE;
    for (size_t i = 0; i < ARRAY_LEN(state_names) && err == ERR_NONE; i++) {
        struct db_stmt *q =
            db_prepare(conn, "INSERT INTO store_state (name, value) VALUES (?1, ?2) "
                             "ON CONFLICT (name) DO UPDATE SET value = ?2");
        db_bind_text(q, 1, slice_str(state_names[i]));
        db_bind_int(q, 2, *state_member(&s->state, i));
        err = db_run(q);
    }
    return err;
}

static int
save(struct scrub *w)
{
    struct save_op s = {.op = {.apply = save_apply, .urgent = true}, .state = w->at};
    w->saved_bytes = w->at.bytes;
    w->saved_ms = clock_mono_ms();
    return db_call(w->s->db, &s.op);
}

/* What a pass of days must not make wait for its end. */
static int
attend(struct scrub *w)
{
    int err = suspicion_waits(&w->s->suspicions) ? scrub_suspicions(w->s) : ERR_NONE;
    if (err != ERR_NONE || w->found == w->traced || clock_mono_ms() - w->traced_ms < TRACE_MS)
        return err;
    w->traced = w->found;
    w->traced_ms = clock_mono_ms();
    return scrub_trace(w->s);
}

/* Between two pieces: the cursor, then the rest that the rate asks for. */
static int
pause_after(struct scrub *w, int64_t bytes)
{
    int err = attend(w);
    if (err != ERR_NONE)
        return err;
    w->at.bytes += bytes;
    if (w->at.bytes - w->saved_bytes >= SAVE_BYTES || clock_mono_ms() - w->saved_ms >= SAVE_MS)
        err = save(w);
    if (err == ERR_NONE && w->rest != NULL && !w->rest(w->rest_arg, bytes))
        err = ERR_CANCELED;
    return err;
}

/* ---- a page of rows ---- */

struct page {
    int64_t bad[PAGE_ROWS]; /* inline blobs */
    size_t bad_count;
    int64_t good[PAGE_ROWS]; /* inline blobs to be lifted */
    size_t good_count;
    int64_t last; /* id of the last row that is done */
    int64_t rows, bytes;
    bool end;
};

static int
file_take(struct file *f, struct db_stmt *q)
{
    f->id = db_column_int(q, 0);
    f->bytes = db_column_int(q, 1);
    buf_reset(&f->crcs);
    buf_put_slice(&f->crcs, db_column_blob(q, 2));
    return f->crcs.err;
}

static int
page_read(struct scrub *w, struct db_conn *conn, struct page *page)
{
    int rc = DB_ROW, err = ERR_NONE;
    int count = 0;
    struct db_stmt *q = db_prepare(
        conn, "SELECT id, bytes, crcs, data FROM blob WHERE id > ?1 ORDER BY id LIMIT ?2");
    db_bind_int(q, 1, w->at.blob);
    db_bind_int(q, 2, PAGE_ROWS);
    *page = (struct page){.last = w->at.blob};
    w->file.id = 0;
    while (page->bytes < PAGE_BYTES && w->file.id == 0 && err == ERR_NONE &&
           (rc = db_step(q)) == DB_ROW) {
        count++;
        if (db_column_is_null(q, 3)) {
            err = file_take(&w->file, q);
            continue;
        }
        page->last = db_column_int(q, 0);
        page->rows++;
        page->bytes += db_column_int(q, 1);
        bool ok = inline_ok(db_column_blob(q, 2), db_column_int(q, 1), db_column_blob(q, 3));
        *(ok ? &page->good[page->good_count++] : &page->bad[page->bad_count++]) = page->last;
    }
    if (rc == DB_ROW)
        db_reset(q);
    page->end = rc == DB_DONE && count < PAGE_ROWS;
    return rc < 0 ? rc : err;
}

static int
page_run(struct scrub *w, bool *end)
{
    struct db_conn *conn = NULL;
    struct page page;
    int err = db_read_begin(w->s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = page_read(w, conn, &page);
    db_read_end(w->s->db, &conn);
    for (size_t i = 0; i < page.bad_count && err == ERR_NONE; i++)
        err = quarantine(w, page.bad[i], 0, DAMAGE_SUM);
    for (size_t i = 0; i < page.good_count && err == ERR_NONE; i++)
        err = lift(w, page.good[i]);
    if (err != ERR_NONE)
        return err;
    *end = page.end;
    if (page.rows == 0)
        return ERR_NONE;
    w->at.blob = page.last;
    w->at.block = 0;
    w->at.blobs += page.rows;
    return pause_after(w, page.bytes);
}

/* ---- a file ---- */

static int
file_end(struct scrub *w)
{
    w->at.blob = w->file.id;
    w->at.block = 0;
    w->at.blobs++;
    return ERR_NONE;
}

/* One bad block is enough: the rest of the file is not read. */
static int
file_run(struct scrub *w)
{
    struct file *f = &w->file;
    bool from_start = w->at.block == 0;
    int fd = bytes_fd(w->s->bytes, f->id);
    int d = fd < 0 ? damage_of(fd) : DAMAGE_NONE;
    int err = ERR_NONE;
    while (d == DAMAGE_NONE && err == ERR_NONE && w->at.block * STORE_BLOCK_BYTES < f->bytes) {
        int64_t left = f->bytes - w->at.block * STORE_BLOCK_BYTES;
        d = block_check(w, f, fd, w->at.block);
        if (d != DAMAGE_NONE)
            break;
        w->at.block++;
        err = pause_after(w, left < STORE_BLOCK_BYTES ? left : STORE_BLOCK_BYTES);
    }
    if (fd >= 0)
        close(fd);
    if (d < 0)
        return d;
    if (d > DAMAGE_NONE)
        err = quarantine(w, f->id, w->at.block, (enum damage)d);
    else if (err == ERR_NONE && from_start)
        err = lift(w, f->id);
    return err == ERR_NONE ? file_end(w) : err;
}

/* ---- the pass ---- */

static int
scrub_begin(struct scrub *w, struct store *s)
{
    *w = (struct scrub){.s = s, .saved_ms = clock_mono_ms(), .buffer = malloc(STORE_BLOCK_BYTES)};
    buf_init(&w->file.crcs, CRCS_BYTES_MAX);
    return w->buffer == NULL ? ERR_NOMEM : ERR_NONE;
}

static void
scrub_end(struct scrub *w)
{
    free(w->buffer);
    buf_fini(&w->file.crcs);
}

static int
state_load(struct scrub *w)
{
    struct db_conn *conn = NULL;
    int err = db_read_begin(w->s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = scrub_state_read(conn, &w->at);
    db_read_end(w->s->db, &conn);
    if (w->at.blob == 0 && w->at.block == 0) {
        w->at.began_ms = clock_wall_ms();
        w->at.blobs = w->at.bytes = 0;
    }
    w->saved_bytes = w->at.bytes;
    return err;
}

int
scrub_pass(struct store *s, scrub_rest_fn rest, void *arg, int64_t *found)
{
    struct scrub w;
    bool end = false;
    *found = 0;
    int err = scrub_begin(&w, s);
    w.rest = rest;
    w.rest_arg = arg;
    if (err == ERR_NONE)
        err = state_load(&w);
    while (err == ERR_NONE && !end) {
        err = page_run(&w, &end);
        if (err == ERR_NONE && w.file.id != 0)
            err = file_run(&w);
    }
    if (err == ERR_NONE) {
        w.at.blob = w.at.block = 0;
        w.at.ended_ms = clock_wall_ms();
        STAT_INC(scrub_passes_total);
    }
    int saved = err == ERR_NONE || err == ERR_CANCELED ? save(&w) : ERR_NONE;
    *found = w.found;
    scrub_end(&w);
    int traced = scrub_trace(s);
    return err != ERR_NONE ? err : saved != ERR_NONE ? saved : traced;
}

/* ---- single blobs ---- */

/* ERR_NOTFOUND: the blob is gone. *ok: for an inline one; else w->file is set. */
static int
blob_look(struct scrub *w, int64_t blob, bool *ok)
{
    struct db_conn *conn = NULL;
    int err = db_read_begin(w->s->db, &conn);
    if (err != ERR_NONE)
        return err;
    struct db_stmt *q = db_prepare(conn, "SELECT id, bytes, crcs, data FROM blob WHERE id = ?1");
    db_bind_int(q, 1, blob);
    int rc = db_step(q);
    w->file.id = 0;
    if (rc == DB_ROW && db_column_is_null(q, 3))
        err = file_take(&w->file, q);
    else if (rc == DB_ROW)
        *ok = inline_ok(db_column_blob(q, 2), db_column_int(q, 1), db_column_blob(q, 3));
    else
        err = rc == DB_DONE ? ERR_NOTFOUND : rc;
    db_read_end(w->s->db, &conn);
    return err;
}

/* Blocks first..last of one blob. *damage: the first that is met; *bad: its block. */
static int
blob_check(struct scrub *w, int64_t blob, int64_t first, int64_t last, enum damage *damage,
           int64_t *bad)
{
    bool ok = true;
    int err = blob_look(w, blob, &ok);
    *damage = DAMAGE_NONE;
    *bad = first;
    if (err != ERR_NONE)
        return err;
    if (w->file.id == 0) {
        *damage = ok ? DAMAGE_NONE : DAMAGE_SUM;
        *bad = 0;
        return ok ? ERR_NONE : quarantine(w, blob, 0, DAMAGE_SUM);
    }
    int fd = bytes_fd(w->s->bytes, blob);
    int d = fd < 0 ? damage_of(fd) : DAMAGE_NONE;
    for (; d == DAMAGE_NONE && *bad <= last && *bad * STORE_BLOCK_BYTES < w->file.bytes; ++*bad) {
        d = block_check(w, &w->file, fd, *bad);
        if (d != DAMAGE_NONE)
            break;
    }
    if (fd >= 0)
        close(fd);
    if (d < 0)
        return d;
    *damage = (enum damage)d;
    if (d == DAMAGE_NONE)
        return ERR_NONE;
    err = quarantine(w, blob, *bad, (enum damage)d);
    if (err != ERR_NONE)
        return err;
    err = blob_look(w, blob, &ok); /* deleted while it was read: no damage */
    if (err == ERR_NOTFOUND)
        *damage = DAMAGE_NONE;
    return err;
}

int
scrub_suspicions(struct store *s)
{
    struct scrub w;
    struct suspicion one;
    enum damage damage;
    int64_t bad;
    int err = scrub_begin(&w, s);
    while (err == ERR_NONE && suspicion_take(&s->suspicions, &one)) {
        err = blob_check(&w, one.blob, one.block, one.block, &damage, &bad);
        if (err == ERR_NOTFOUND)
            err = ERR_NONE;
    }
    scrub_end(&w);
    return err == ERR_NONE ? scrub_trace(s) : err;
}

/* ---- one object ---- */

int
scrub_object(struct store *s, const struct store_object *o, int64_t *at, int64_t bytes_max,
             enum damage *damage)
{
    struct scrub w;
    int64_t start = 0, end = *at + bytes_max, bad = 0;
    int err = scrub_begin(&w, s);
    *damage = DAMAGE_NONE;
    for (size_t i = 0; i < o->extent_count && err == ERR_NONE && *at < end; i++) {
        const struct store_extent *e = &o->extents[i];
        if (*at < start + e->bytes) {
            int64_t skip = *at - start;
            int64_t n = end - *at < e->bytes - skip ? end - *at : e->bytes - skip;
            err = blob_check(&w, e->blob, (e->offset + skip) / STORE_BLOCK_BYTES,
                             (e->offset + skip + n - 1) / STORE_BLOCK_BYTES, damage, &bad);
            if (err == ERR_NONE && *damage != DAMAGE_NONE)
                n = e->bytes - skip; /* of this blob enough is known */
            *at = err == ERR_NONE ? *at + n : *at;
            if (*damage != DAMAGE_NONE)
                break;
        }
        start += e->bytes;
    }
    scrub_end(&w);
    if (err == ERR_NONE && *damage != DAMAGE_NONE)
        err = scrub_trace(s);
    return err == ERR_NOTFOUND ? ERR_STALE : err;
}
