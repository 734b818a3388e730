/*
 * The parts a multipart object was made of, kept for GET by part number and for
 * GetObjectAttributes: one row per version, written by the completion, gone with the version's
 * bytes (version_bytes_drop()).
 *
 * A row is a list of parts, each: number, size (LEB128), algorithm (1 byte), checksum (its bytes).
 *
 * Objects completed under schema 1 have no row. A part that was uploaded is one blob there, so
 * where there are as many extents as parts, these are the parts.
 */
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/multipart_priv.h"

#include <stdio.h>

void
version_parts_add(struct buf *parts, const struct store_part *part)
{
    uint8_t raw[DIGEST_BYTES_MAX];
    size_t n = checksum_bytes(part->checksum);
    number_put(parts, part->number);
    number_put(parts, part->size);
    if (n == 0 || base64_decode_exact(slice_str(part->checksum_base64), raw, n) != ERR_NONE) {
        buf_putc(parts, CHECKSUM_NONE);
        return;
    }
    buf_putc(parts, (char)part->checksum);
    buf_put(parts, raw, n);
}

int
version_parts_write(struct db_conn *conn, int64_t seq, struct slice parts)
{
    struct db_stmt *q = db_prepare(conn, "INSERT INTO version_parts (seq, parts) VALUES (?1, ?2)");
    db_bind_int(q, 1, seq);
    db_bind_blob(q, 2, parts);
    return db_run(q);
}

static int
part_next(struct slice *in, struct store_part *part)
{
    struct buf text;
    int64_t number = 0;
    *part = (struct store_part){.number = 0};
    if (number_get(in, &number) != ERR_NONE || number_get(in, &part->size) != ERR_NONE ||
        in->n == 0 || number < 1 || number > STORE_PART_MAX)
        return ERR_CORRUPT;
    part->number = (int)number;
    uint8_t algorithm = (uint8_t)in->p[0];
    *in = slice_skip(*in, 1);
    if (algorithm == CHECKSUM_NONE)
        return ERR_NONE;
    if (algorithm >= CHECKSUM_COUNT || in->n < checksum_bytes((enum checksum)algorithm))
        return ERR_CORRUPT;
    part->checksum = (enum checksum)algorithm;
    buf_init(&text, sizeof part->checksum_base64 - 1);
    base64_encode(&text, in->p, checksum_bytes(part->checksum));
    int err = text.err;
    if (err == ERR_NONE)
        memcpy(part->checksum_base64, text.p, text.n + 1);
    buf_fini(&text);
    *in = slice_skip(*in, checksum_bytes(part->checksum));
    return err;
}

static int
parts_give(struct slice parts, store_part_fn fn, void *arg)
{
    struct store_part part;
    while (parts.n > 0) {
        int err = part_next(&parts, &part);
        if (err != ERR_NONE)
            return err;
        if (fn(arg, &part) != 0)
            break;
    }
    return ERR_NONE;
}

static int
extents_give(const struct store_object *o, store_part_fn fn, void *arg)
{
    if (o->extent_count != (size_t)o->part_count)
        return ERR_NOTFOUND; /* empty parts, or copied ones */
    for (size_t i = 0; i < o->extent_count; i++) {
        struct store_part part = {.number = (int)i + 1, .size = o->extents[i].bytes};
        if (fn(arg, &part) != 0)
            break;
    }
    return ERR_NONE;
}

int
store_version_parts(struct store *s, const struct store_object *o, store_part_fn fn, void *arg)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct db_conn *conn = NULL;
    int err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    struct db_stmt *q = db_prepare(conn, "SELECT parts FROM version_parts WHERE seq = ?1");
    db_bind_int(q, 1, o->seq);
    int rc = db_step(q);
    if (rc == DB_ROW) {
        err = parts_give(db_column_blob(q, 0), fn, arg);
        db_reset(q);
    } else {
        err = rc == DB_DONE ? extents_give(o, fn, arg) : rc;
    }
    db_read_end(s->db, &conn);
    return err;
}
