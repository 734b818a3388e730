/*
 * A store as a side. Each request is tried again by itself; what is asked of one object later is
 * bound to the ETag that was seen first.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/cli_transfer.h"

#include <stdio.h>
#include <unistd.h>

/* ---- listing ---- */

int
transfer_store_start(struct transfer_side *s, struct buf *why)
{
    int err = remote_open(&s->lister, s->driver, &s->options, why);
    if (err == ERR_NONE)
        remote_cursor_open(&s->cursor, s->lister, s->bucket, buf_slice(&s->prefix));
    return err;
}

static int
store_next(struct transfer *t, struct transfer_side *s, struct transfer_entry *e, struct buf *why)
{
    struct remote_entry entry = {0};
    int tries = 0, got;
    do
        got = remote_cursor_next(s->cursor, &entry, why);
    while (got < 0 && transfer_again(t, s->lister, got, &tries, why));
    if (got < 0 && why->n > 0) {
        struct buf told;
        buf_init(&told, CLI_WHY_MAX);
        buf_printf(&told, "%s: %s", s->said, why->p);
        buf_reset(why);
        buf_put_slice(why, buf_slice(&told));
        buf_fini(&told);
    }
    if (got == 1)
        *e = (struct transfer_entry){.name = slice_skip(entry.name, s->base.n),
                                     .bytes = entry.size,
                                     .mtime_ms = entry.mtime_ms,
                                     .etag = entry.etag};
    return got;
}

/* w->key becomes the key of w->item on that side. */
static struct slice
key_on(struct transfer_worker *w, const struct transfer_side *s)
{
    buf_reset(&w->key);
    buf_put_slice(&w->key, s->base);
    buf_put(&w->key, w->item->name, w->item->name_n);
    return buf_slice(&w->key);
}

/* ---- as a source ---- */

struct spool {
    int fd;
    int64_t at;
    int64_t max;
    int err; /* of a write */
};

static int
spool_sink(void *arg, const void *p, size_t n)
{
    struct spool *s = arg;
    if ((int64_t)n > s->max - s->at)
        return ERR_STALE;
    s->err = fsio_pwrite_all(s->fd, p, n, s->at);
    s->at += (int64_t)n;
    return s->err;
}

/* A range, or all (bytes < 0), into the spool; `got` is how much came. */
static int
fetch(struct transfer_worker *w, const struct remote_range *range, int64_t max,
      struct remote_object *o, int64_t *got)
{
    struct transfer *t = w->t;
    struct slice key = key_on(w, &t->source);
    struct spool s;
    int tries = 0, err;
    do {
        s = (struct spool){.fd = w->spool, .max = max};
        err = ftruncate(w->spool, 0) != 0 ? ERR_IO : ERR_NONE;
        if (err == ERR_NONE)
            err = remote_fetch(w->source, t->source.bucket, key, range, spool_sink, &s, o, &w->why);
        *got = s.at;
    } while (transfer_again(t, w->source, err, &tries, &w->why));
    if (err == ERR_STALE && w->why.n == 0)
        buf_puts(&w->why, "more bytes came than were announced");
    if (s.err != ERR_NONE) {
        buf_reset(&w->why);
        buf_printf(&w->why, "its bytes cannot be kept for now in TMPDIR (or /tmp): %s",
                   err_text(s.err));
    }
    return err;
}

/* All at once: one request for a small object. */
static int
open_whole(struct transfer_worker *w)
{
    static const struct remote_range all = {.bytes = -1};
    int64_t got = 0;
    int err = fetch(w, &all, TRANSFER_WHOLE_MAX, &w->object, &got);
    const struct remote_object *o = &w->object;
    if (err == ERR_NONE &&
        (got != o->bytes || (slice_eqs(o->etag, w->item->etag) && got != w->item->bytes))) {
        buf_printf(&w->why, "%lld bytes came, its listing says %lld, its header %lld",
                   (long long)got, (long long)w->item->bytes, (long long)o->bytes);
        err = ERR_DIGEST;
    }
    w->spooled = err == ERR_NONE;
    return err;
}

static int
store_open(struct transfer_worker *w)
{
    struct transfer *t = w->t;
    bool parts = transfer_etag_parts(slice_str(w->item->etag)) > 0;
    int tries = 0, err;
    if (!parts && !w->by_head && w->item->bytes <= TRANSFER_WHOLE_MAX) {
        err = open_whole(w);
    } else {
        struct slice key = key_on(w, &t->source);
        do
            err = remote_head(w->source, t->source.bucket, key, parts, &w->object, &w->why);
        while (transfer_again(t, w->source, err, &tries, &w->why));
    }
    if (err == ERR_NOTFOUND && w->why.n == 0)
        buf_puts(&w->why, "it was deleted meanwhile");
    if (err != ERR_NONE || w->object.tag_count == 0)
        return err;
    tries = 0;
    do
        err = remote_tags(w->source, t->source.bucket, key_on(w, &t->source), &w->object, &w->why);
    while (transfer_again(t, w->source, err, &tries, &w->why));
    return err;
}

static int
store_read(struct transfer_worker *w, int64_t offset, int64_t bytes)
{
    int64_t got = bytes;
    int err = ERR_NONE;
    w->piece =
        (struct remote_body){.fd = w->spool, .offset = w->spooled ? offset : 0, .bytes = bytes};
    if (w->spooled || bytes == 0)
        return ERR_NONE;
    bool all = offset == 0 && bytes == w->object.bytes;
    struct remote_range range = {
        .offset = offset, .bytes = all ? -1 : bytes, .etag = w->object.etag};
    err = fetch(w, &range, bytes, NULL, &got);
    if (err == ERR_NONE && got != bytes) {
        buf_printf(&w->why, "%lld bytes came instead of %lld", (long long)got, (long long)bytes);
        err = ERR_DIGEST;
    }
    if (err == ERR_PRECONDITION) {
        buf_reset(&w->why);
        buf_puts(&w->why, "it changes faster than it can be copied");
    }
    return err;
}

/* ---- as a target ---- */

static int
head_target(struct transfer_worker *w, struct remote_object *o)
{
    struct transfer *t = w->t;
    struct slice key = key_on(w, &t->target);
    int tries = 0, err;
    do
        err = remote_head(w->target, t->target.bucket, key, false, o, &w->why);
    while (transfer_again(t, w->target, err, &tries, &w->why));
    return err;
}

/* A file against the ETag at the target. */
static int
same_file(struct transfer_worker *w, const char *etag, bool *same)
{
    enum transfer_verdict verdict = TRANSFER_DIFFERS;
    int err = w->t->source.ops->open(w);
    if (err == ERR_NONE && w->object.bytes == w->item->bytes)
        err = transfer_file_check(w->source_fd, w->object.bytes, slice_str(etag), &verdict);
    *same = err == ERR_NONE && verdict == TRANSFER_SAME;
    return err;
}

static int
store_same(struct transfer_worker *w, bool *same)
{
    struct remote_object there = {0};
    char etag[REMOTE_ETAG_MAX];
    bool from_file = !w->t->source.ops->is_store;
    *same = false;
    if (from_file && w->item->target_etag[0] != '\0')
        return same_file(w, w->item->target_etag, same);
    int err = head_target(w, &there);
    if (err == ERR_NOTFOUND) {
        buf_reset(&w->why);
        return ERR_NONE;
    }
    if (err == ERR_NONE && there.bytes == w->item->bytes) {
        struct slice source = remote_object_header(&there, TRANSFER_SOURCE_ETAG);
        remote_etag_text(there.etag, etag);
        if (from_file)
            err = same_file(w, etag, same);
        else
            *same = w->item->etag[0] != '\0' &&
                    (slice_eqs(there.etag, w->item->etag) || slice_eqs(source, w->item->etag));
    }
    remote_object_fini(&there);
    return err;
}

static int
store_begin(struct transfer_worker *w)
{
    struct transfer *t = w->t;
    int tries = 0, err = ERR_NONE;
    if (!w->multipart)
        return ERR_NONE;
    struct slice key = key_on(w, &t->target);
    do {
        buf_reset(&w->upload_id);
        err = remote_upload_begin(w->target, t->target.bucket, key, &w->object, &w->upload_id,
                                  &w->why);
    } while (transfer_again(t, w->target, err, &tries, &w->why));
    return err;
}

/* The store's ETag of the whole, where it is a digest, must be that of what was sent. */
static int
check_etag(struct transfer_worker *w, const char *got, const char *want)
{
    struct remote_object there = {0};
    struct slice etag = slice_str(got);
    if (strcmp(got, want) == 0 || (!transfer_etag_is_md5(etag) && transfer_etag_parts(etag) == 0))
        return ERR_NONE;
    int err = head_target(w, &there);
    if (err == ERR_NONE && !there.etag_opaque) { /* an encrypting store's is no digest */
        buf_printf(&w->why, "it was stored with the ETag %s instead of %s", got, want);
        err = ERR_DIGEST;
    }
    remote_object_fini(&there);
    return err;
}

static int
put_whole(struct transfer_worker *w)
{
    struct transfer *t = w->t;
    struct slice key = key_on(w, &t->target);
    char etag[REMOTE_ETAG_MAX], want[2 * MD5_BYTES + 1];
    int tries = 0, err;
    do
        err = remote_put(w->target, t->target.bucket, key, &w->object, &w->piece, etag, &w->why);
    while (transfer_again(t, w->target, err, &tries, &w->why));
    hex_encode(w->piece.md5, MD5_BYTES, want);
    return err != ERR_NONE ? err : check_etag(w, etag, want);
}

static int
store_write(struct transfer_worker *w)
{
    struct transfer *t = w->t;
    int tries = 0, err;
    if (!w->multipart)
        return put_whole(w);
    struct slice key = key_on(w, &t->target);
    do
        err = remote_upload_part(w->target, t->target.bucket, key, buf_slice(&w->upload_id),
                                 w->part_count + 1, &w->piece, w->etags[w->part_count], &w->why);
    while (transfer_again(t, w->target, err, &tries, &w->why));
    if (err == ERR_NONE) {
        digester_update(w->parts_md5, w->piece.md5, MD5_BYTES);
        w->part_count++;
    }
    return err;
}

static int
store_commit(struct transfer_worker *w)
{
    struct transfer *t = w->t;
    char etag[REMOTE_ETAG_MAX], hex[2 * MD5_BYTES + 1], want[REMOTE_ETAG_MAX];
    int tries = 0, err;
    if (!w->multipart)
        return ERR_NONE;
    struct slice key = key_on(w, &t->target);
    do
        err = remote_upload_complete(w->target, t->target.bucket, key, buf_slice(&w->upload_id),
                                     w->etags, w->part_count, etag, &w->why);
    while (transfer_again(t, w->target, err, &tries, &w->why));
    if (err != ERR_NONE)
        return err;
    buf_reset(&w->upload_id); /* nothing is left to abort */
    /* A store that makes such ETags by a rule of its own: once more, with a note of the source's.
     */
    if (transfer_etag_parts(slice_str(etag)) == 0 && !atomic_exchange(&t->no_mirror, true))
        return ERR_STALE;
    digester_end(w->parts_md5);
    hex_encode(digester_md5(w->parts_md5), MD5_BYTES, hex);
    snprintf(want, sizeof want, "%s-%d", hex, w->part_count);
    return transfer_etag_parts(slice_str(etag)) == 0 ? ERR_NONE : check_etag(w, etag, want);
}

/* As well as can be: an upload that stays is the store's to expire. By a connection of its own,
 * for Ctrl-C has ended all requests of the others. */
static void
store_abort(struct transfer_worker *w)
{
    struct remote_options options = w->t->target.options;
    struct remote *r = NULL;
    struct buf why;
    if (!w->multipart || w->upload_id.n == 0)
        return;
    options.cancel = NULL;
    buf_init(&why, CLI_WHY_MAX);
    if (remote_open(&r, w->t->target.driver, &options, &why) == ERR_NONE)
        remote_upload_abort(r, w->t->target.bucket, key_on(w, &w->t->target),
                            buf_slice(&w->upload_id), &why);
    remote_close(&r);
    buf_fini(&why);
}

const struct transfer_side_ops transfer_store_ops = {
    .is_store = true,
    .next = store_next,
    .open = store_open,
    .read = store_read,
    .same = store_same,
    .begin = store_begin,
    .write = store_write,
    .commit = store_commit,
    .abort = store_abort,
};
