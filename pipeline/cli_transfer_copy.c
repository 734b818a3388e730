/*
 * One object: is it there already, else its bytes in pieces.
 *
 *   open    the source's size, ETag and metadata (a small object comes whole at once)
 *   plan    one piece, or parts: an upload in parts of the source's own size has its ETag as well
 *   begin   the target
 *   for each piece: read, digest; behind the last one: judge; write
 *   commit  or abort
 *
 * Nothing is visible at the target before the bytes were judged.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/cli_transfer.h"

#include <stdlib.h>
#include <unistd.h>

#define READ_CHUNK (256u << 10)
#define OBJECT_TRIES 3 /* when it changed, or came damaged */

/* ---- what will be sent ---- */

static void
drop_header(struct remote_object *o, const char *name)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->header_count; i++) {
        if (strcmp(o->headers[i].name, name) != 0)
            o->headers[kept++] = o->headers[i];
    }
    o->header_count = kept;
}

/* The part size that the source's ETag was made with; 0: one MD5, or nobody says. */
static int64_t
etag_part_bytes(struct transfer_worker *w)
{
    const struct remote_object *o = &w->object;
    int parts = transfer_etag_parts(o->etag);
    int64_t first = o->first_part_bytes;
    w->trusted_parts = parts > 0 && first > 0 && (o->bytes + first - 1) / first == parts;
    if (parts == 0)
        return 0;
    return w->trusted_parts ? first : transfer_part_guess(o->bytes, parts, 0);
}

/* Unit and kind of the upload, and whether the source's ETag must be written down with it. */
static int
plan_pieces(struct transfer_worker *w)
{
    const struct transfer *t = w->t;
    struct remote_object *o = &w->object;
    int64_t part_bytes = etag_part_bytes(w);
    bool parts_ok = t->target.driver == REMOTE_CURL && t->target.ops->is_store;
    bool mirror = parts_ok && w->trusted_parts && !atomic_load(&t->no_mirror) &&
                  part_bytes <= TRANSFER_MIRROR_MAX &&
                  (part_bytes >= REMOTE_PART_BYTES_MIN || part_bytes == o->bytes);
    w->check = transfer_check_new(o->etag_opaque ? SLICE_NONE : o->etag, part_bytes);
    w->checksum = digester_new(0, o->checksum);
    w->parts_md5 = digester_new(DIGEST_MD5, CHECKSUM_NONE);
    CHK(w->checksum != NULL && w->parts_md5 != NULL);
    w->multipart = mirror || (parts_ok && o->bytes > TRANSFER_WHOLE_MAX);
    if (mirror)
        w->unit = part_bytes;
    else if (w->multipart)
        w->unit = transfer_part_bytes(o->bytes);
    else
        w->unit = t->target.ops->is_store ? o->bytes : TRANSFER_PART_BYTES;
    if (!w->multipart && t->target.ops->is_store && o->bytes > REMOTE_PUT_BYTES_MAX) {
        buf_puts(&w->why, "over 5 GiB, and this store takes no multipart upload through libs3");
        return ERR_UNSUPPORTED;
    }
    if (w->multipart)
        w->etags = chk_calloc((size_t)((o->bytes + w->unit - 1) / w->unit + 1), REMOTE_ETAG_MAX);
    drop_header(o, TRANSFER_SOURCE_ETAG);
    bool same_etag =
        !o->etag_opaque &&
        (mirror || (!w->multipart && part_bytes == 0 && transfer_etag_is_md5(o->etag)));
    if (same_etag || o->etag.n == 0 || !t->target.ops->is_store)
        return ERR_NONE;
    return remote_object_add(o, SLICE_LIT(TRANSFER_SOURCE_ETAG), o->etag);
}

/* ---- the bytes ---- */

/* What the piece must be when it arrives, and the object's digests so far. */
static int
digest_piece(struct transfer_worker *w)
{
    struct remote_body *piece = &w->piece;
    struct digester *d = digester_new(DIGEST_MD5 | DIGEST_SHA256, CHECKSUM_NONE);
    char *chunk = chk_malloc(READ_CHUNK);
    int err = ERR_NONE;
    CHK(d != NULL);
    for (int64_t at = 0; at < piece->bytes && err == ERR_NONE;) {
        int64_t left = piece->bytes - at;
        size_t n = left < (int64_t)READ_CHUNK ? (size_t)left : READ_CHUNK;
        err = fsio_pread_all(piece->fd, chunk, n, piece->offset + at);
        if (err == ERR_NONE) {
            digester_update(d, chunk, n);
            digester_update(w->checksum, chunk, n);
            transfer_check_update(w->check, chunk, n);
        }
        at += (int64_t)n;
    }
    digester_end(d);
    memcpy(piece->md5, digester_md5(d), MD5_BYTES);
    memcpy(piece->sha256, digester_sha256(d), SHA256_BYTES);
    digester_free(&d);
    free(chunk);
    if (err != ERR_NONE)
        buf_printf(&w->why, "its bytes cannot be read: %s", err_text(err));
    return err;
}

/* All of them have been digested. */
static int
judge(struct transfer_worker *w)
{
    const struct remote_object *o = &w->object;
    enum transfer_verdict verdict = transfer_check_end(w->check);
    if (verdict == TRANSFER_DIFFERS && transfer_etag_parts(o->etag) > 0 && !w->trusted_parts)
        verdict = TRANSFER_SILENT; /* a guess of the part size proves nothing */
    if (verdict == TRANSFER_DIFFERS) {
        buf_printf(&w->why, "the bytes that came do not have the MD5 that its ETag %.*s says",
                   SLICE_FMT(o->etag));
        return ERR_DIGEST;
    }
    digester_end(w->checksum);
    if (o->checksum != CHECKSUM_NONE && memcmp(digester_checksum(w->checksum), o->checksum_value,
                                               checksum_bytes(o->checksum)) != 0) {
        buf_printf(&w->why, "the bytes that came do not have its %s", checksum_name(o->checksum));
        return ERR_DIGEST;
    }
    if (verdict == TRANSFER_SILENT && o->checksum == CHECKSUM_NONE && w->t->source.ops->is_store) {
        lock_take(&w->t->lock);
        w->t->counts.unverified++;
        lock_release(&w->t->lock);
    }
    return ERR_NONE;
}

static int
move_pieces(struct transfer_worker *w)
{
    int64_t bytes = w->object.bytes, at = 0;
    int err = ERR_NONE;
    do {
        int64_t n = bytes - at < w->unit ? bytes - at : w->unit;
        if (atomic_load(&w->t->cancel))
            return ERR_CANCELED;
        err = w->t->source.ops->read(w, at, n);
        if (err == ERR_NONE)
            err = digest_piece(w);
        at += n;
        if (err == ERR_NONE && at == bytes)
            err = judge(w);
        if (err == ERR_NONE)
            err = w->t->target.ops->write(w);
        if (err == ERR_NONE)
            transfer_moved(w->t, n);
    } while (err == ERR_NONE && at < bytes);
    return err;
}

/* ---- the object ---- */

static void
forget(struct transfer_worker *w)
{
    transfer_check_free(&w->check);
    digester_free(&w->checksum);
    digester_free(&w->parts_md5);
    free(w->etags);
    w->etags = NULL;
    w->part_count = 0;
    w->spooled = false;
    buf_reset(&w->upload_id);
    remote_object_fini(&w->object);
    if (w->source_fd >= 0)
        close(w->source_fd);
    w->source_fd = -1;
}

static int
copy_once(struct transfer_worker *w)
{
    const struct transfer_side_ops *target = w->t->target.ops;
    int err = w->t->source.ops->open(w);
    if (err == ERR_NONE)
        err = plan_pieces(w);
    if (err == ERR_NONE)
        err = target->begin(w);
    if (err == ERR_NONE) {
        err = move_pieces(w);
        if (err == ERR_NONE)
            err = target->commit(w);
        if (err != ERR_NONE)
            target->abort(w);
    }
    return err;
}

static int
copy(struct transfer_worker *w)
{
    int err = ERR_NONE;
    for (int tries = 0; tries < OBJECT_TRIES; tries++) {
        buf_reset(&w->why);
        err = copy_once(w);
        forget(w);
        if (err != ERR_DIGEST && err != ERR_PRECONDITION && err != ERR_STALE)
            break;
        w->by_head = err == ERR_STALE;
    }
    w->by_head = false;
    return err;
}

void
transfer_item_run(struct transfer_worker *w)
{
    struct transfer *t = w->t;
    struct slice name = slice_of(w->item->name, w->item->name_n);
    bool same = false;
    int err = ERR_NONE;
    buf_reset(&w->why);
    if (w->item->look)
        err = t->target.ops->same(w, &same);
    forget(w);
    if (err == ERR_NONE && !same && !t->dry_run)
        err = copy(w);
    if (atomic_load(&t->cancel) && err != ERR_NONE)
        return; /* neither done nor failed: stopped */
    if (err == ERR_CLOSED) {
        lock_take(&t->lock);
        t->closed_in_a_row++;
        lock_release(&t->lock);
    }
    enum transfer_fate fate = err != ERR_NONE ? TRANSFER_FAILED
                              : same          ? TRANSFER_SKIPPED
                              : t->dry_run    ? TRANSFER_WOULD_COPY
                                              : TRANSFER_DONE;
    const char *why = err == ERR_NONE ? "" : w->why.n > 0 ? w->why.p : err_text(err);
    transfer_tell(t, fate, name, w->item->bytes, why);
}
