/*
 * Multipart uploads: their beginning, their parts, their end without an object. A part is bytes
 * with references of its own; the completion (multipart_complete.c) hands these over to the object,
 * so no byte and no count moves, and what the client did not list is let go.
 *
 *   none --create--> open --part*--> open --complete--> done (a day, for a client that asks again)
 *                      |                                 '--sweep--> none
 *                      +--abort--> none
 *
 * An upload id starts with the time, so that the uploads of a key list in the order they began; 128
 * random bits behind it make it unguessable.
 *
 * What the creation says of the object and has no column of its own is in the column `attributes`:
 * name and value pairs, as in `meta`.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/multipart_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define UPLOAD_RANDOM_BYTES 16

/* ---- uploads ---- */

static int
upload_exists(struct db_conn *conn, int64_t bucket_id, struct slice key, struct slice upload_id)
{
    struct db_stmt *q = db_prepare(
        conn, "SELECT 1 FROM upload WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?3");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_blob(q, 3, upload_id);
    int rc = db_step(q);
    if (rc == DB_ROW)
        db_reset(q);
    return rc == DB_ROW ? ERR_NONE : rc == DB_DONE ? ERR_NOTFOUND : rc;
}

/* ERR_NOPARENT bucket, ERR_NOTFOUND upload. */
static int
upload_find(struct db_conn *conn, struct slice bucket, struct slice key, struct slice upload_id,
            struct bucket_row *row)
{
    int err = bucket_row_find(conn, bucket, row);
    return err == ERR_NONE ? upload_exists(conn, row->id, key, upload_id) : err;
}

static void
attribute_number(struct buf *list, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    if (value != 0)
        store_meta_add(list, slice_str(name), slice_str(text));
}

static void
attributes_write(struct buf *list, const struct store_put_spec *spec)
{
    if (spec->account_id.n > 0)
        store_meta_add(list, SLICE_LIT("account"), spec->account_id);
    if (spec->tags.n > 0)
        store_meta_add(list, SLICE_LIT("tags"), spec->tags);
    if (spec->acl.n > 0)
        store_meta_add(list, SLICE_LIT("acl"), spec->acl);
    attribute_number(list, "class", spec->storage_class);
    attribute_number(list, "retention", spec->lock.retention);
    attribute_number(list, "until", spec->lock.retain_until_ms);
    attribute_number(list, "hold", spec->lock.legal_hold);
    attribute_number(list, "checksum", spec->checksum);
    attribute_number(list, "composite", spec->checksum_composite);
}

/* What attribute_number() wrote; 0 when it is not there, or not below `end`. */
static int64_t
attribute_get(struct slice list, const char *name, int64_t end)
{
    uint64_t value = 0;
    struct slice text = store_meta_find(list, name);
    if (text.n == 0 || slice_to_u64(text, &value) != ERR_NONE || value >= (uint64_t)end)
        return 0;
    return (int64_t)value;
}

void
upload_attributes_read(struct slice list, struct store_upload *u)
{
    u->account_id = store_meta_find(list, "account");
    u->storage_class = (enum store_class)attribute_get(list, "class", STORE_CLASS_COUNT);
    u->checksum = (enum checksum)attribute_get(list, "checksum", CHECKSUM_COUNT);
    u->checksum_composite = attribute_get(list, "composite", 2) != 0;
}

static void
attributes_describe(struct slice list, struct store_object *o)
{
    o->tags = store_meta_find(list, "tags");
    o->acl = store_meta_find(list, "acl");
    o->storage_class = (enum store_class)attribute_get(list, "class", STORE_CLASS_COUNT);
    o->lock.retention =
        (enum store_retention)attribute_get(list, "retention", STORE_RETENTION_COMPLIANCE + 1);
    o->lock.retain_until_ms = attribute_get(list, "until", INT64_MAX);
    o->lock.legal_hold = attribute_get(list, "hold", 2) != 0;
    o->lock.hold_stated = o->lock.legal_hold;
}

static void
upload_id_make(int64_t now_ms, char upload_id[STORE_UPLOAD_ID_MAX])
{
    uint8_t random[UPLOAD_RANDOM_BYTES];
    char hex[2 * UPLOAD_RANDOM_BYTES + 1];
    random_bytes(random, sizeof random);
    hex_encode(random, sizeof random, hex);
    snprintf(upload_id, STORE_UPLOAD_ID_MAX, "%012" PRIx64 "%s", (uint64_t)now_ms, hex);
}

static int
upload_insert(struct db_conn *conn, int64_t bucket_id, struct slice upload_id, int64_t now_ms,
              const struct store_put_spec *spec, struct slice attributes)
{
    struct db_stmt *q =
        db_prepare(conn, "INSERT INTO upload (bucket_id, key, upload_id, created_ms,"
                         " owner, content_type, meta, attributes)"
                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, spec->key);
    db_bind_blob(q, 3, upload_id);
    db_bind_int(q, 4, now_ms);
    db_bind_blob(q, 5, spec->owner);
    db_bind_blob(q, 6, spec->content_type);
    db_bind_blob(q, 7, spec->meta);
    db_bind_blob(q, 8, attributes);
    return db_run(q);
}

int
store_apply_upload_create(struct store *s, struct db_conn *conn, const struct store_put_spec *spec,
                          char upload_id[STORE_UPLOAD_ID_MAX])
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct bucket_row bucket_row = {.id = 0};
    struct buf attributes;
    if (spec->key.n == 0)
        return ERR_INVALID;
    if (spec->key.n > STORE_KEY_MAX || spec->meta.n > STORE_META_BYTES_MAX ||
        spec->tags.n > STORE_TAGS_BYTES_MAX || spec->acl.n > STORE_ACL_BYTES_MAX)
        return ERR_TOOBIG;
    int err = bucket_row_find(conn, spec->bucket, &bucket_row);
    if (err != ERR_NONE)
        return err;
    int64_t now = clock_wall_ms();
    upload_id_make(now, upload_id);
    buf_init(&attributes, UPLOAD_TEXTS_MAX);
    attributes_write(&attributes, spec);
    err = attributes.err;
    if (err == ERR_NONE)
        err = upload_insert(conn, bucket_row.id, slice_str(upload_id), now, spec,
                            buf_slice(&attributes));
    buf_fini(&attributes);
    return err;
}

static void
upload_from_row(struct store_upload *u, struct db_stmt *q)
{
    *u = (struct store_upload){.owner = db_column_blob(q, 0), .created_ms = db_column_int(q, 1)};
    upload_attributes_read(db_column_blob(q, 2), u);
}

static int
upload_read(struct db_conn *conn, int64_t bucket_id, struct slice key, struct slice upload_id,
            struct arena *a, struct store_upload *u)
{
    struct db_stmt *q = db_prepare(conn, "SELECT owner, created_ms, attributes FROM upload"
                                         " WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?3");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_blob(q, 3, upload_id);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    upload_from_row(u, q);
    u->owner = arena_dup(a, u->owner);
    u->account_id = arena_dup(a, u->account_id);
    u->key = key;
    u->upload_id = upload_id;
    db_reset(q);
    return u->owner.p == NULL ? ERR_NOMEM : ERR_NONE;
}

int
store_upload_get(struct store *s, struct slice bucket, struct slice key, struct slice upload_id,
                 struct arena *a, struct store_upload *out)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct db_conn *conn = NULL;
    struct bucket_row bucket_row = {.id = 0};
    int err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = bucket_row_find(conn, bucket, &bucket_row);
    if (err == ERR_NONE)
        err = upload_read(conn, bucket_row.id, key, upload_id, a, out);
    db_read_end(s->db, &conn);
    return err;
}

int
upload_describe(struct db_conn *conn, struct slice upload_id, struct store_object *o,
                struct store_upload *u, struct buf *texts)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT owner, created_ms, attributes, content_type, meta FROM upload"
                         " WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?3");
    db_bind_int(q, 1, o->bucket_id);
    db_bind_blob(q, 2, o->key);
    db_bind_blob(q, 3, upload_id);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    static const int columns[] = {0, 2, 3, 4};
    size_t n[ARRAY_LEN(columns)];
    upload_from_row(u, q);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        n[i] = db_column_blob(q, columns[i]).n;
        buf_put_slice(texts, db_column_blob(q, columns[i]));
    }
    db_reset(q);
    u->owner = u->account_id = SLICE_NONE; /* went with the row */
    if (texts->err == ERR_NONE && texts->p != NULL) {
        o->owner = slice_of(texts->p, n[0]);
        attributes_describe(slice_of(texts->p + n[0], n[1]), o);
        o->content_type = slice_of(texts->p + n[0] + n[1], n[2]);
        o->meta = slice_of(texts->p + n[0] + n[1] + n[2], n[3]);
    }
    return texts->err;
}

int
upload_rows_delete(struct db_conn *conn, int64_t bucket_id, struct slice key,
                   struct slice upload_id)
{
    struct db_stmt *q = db_prepare(conn, "DELETE FROM part WHERE upload_id = ?1");
    db_bind_blob(q, 1, upload_id);
    int err = db_run(q);
    if (err != ERR_NONE)
        return err;
    q = db_prepare(conn, "DELETE FROM upload WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?3");
    db_bind_int(q, 1, bucket_id);
    db_bind_blob(q, 2, key);
    db_bind_blob(q, 3, upload_id);
    return db_run(q);
}

/* ---- parts ---- */

/* The extents of the part of that number, none when there is no such part. */
static int
part_extents(struct db_conn *conn, struct slice upload_id, int number, struct buf *extents)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT extents FROM part WHERE upload_id = ?1 AND number = ?2");
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, number);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    buf_put_slice(extents, db_column_blob(q, 0));
    db_reset(q);
    return extents->err;
}

/* Writes the row; the bytes of an earlier part of that number lose their references. */
static int
part_replace(struct store *s, struct db_conn *conn, struct slice upload_id,
             const struct store_part *part, struct slice extents)
{
    struct buf old;
    buf_init(&old, STORE_EXTENTS_BYTES_MAX);
    int err = part_extents(conn, upload_id, part->number, &old);
    if (err == ERR_NONE) {
        struct db_stmt *q = db_prepare(
            conn,
            "INSERT INTO part (upload_id, number, size, mtime_ms, etag, checksum, checksum_value,"
            " extents) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
            " ON CONFLICT (upload_id, number) DO UPDATE SET size = excluded.size,"
            " mtime_ms = excluded.mtime_ms, etag = excluded.etag, checksum = excluded.checksum,"
            " checksum_value = excluded.checksum_value, extents = excluded.extents");
        db_bind_blob(q, 1, upload_id);
        db_bind_int(q, 2, part->number);
        db_bind_int(q, 3, part->size);
        db_bind_int(q, 4, part->mtime_ms);
        db_bind_text(q, 5, slice_str(part->etag));
        db_bind_int(q, 6, part->checksum);
        db_bind_text(q, 7, slice_str(part->checksum_base64));
        db_bind_blob(q, 8, extents);
        err = db_run(q);
    }
    if (err == ERR_NONE)
        err = blob_unref_all(s, conn, buf_slice(&old));
    buf_fini(&old);
    return err;
}

int
store_apply_part(struct store *s, struct db_conn *conn, struct slice bucket, struct slice key,
                 struct slice upload_id, const struct store_part *part, struct store_put *put)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct store_part row = *part;
    struct buf extents;
    struct bucket_row bucket_row = {.id = 0};
    if (part->number < 1 || part->number > STORE_PART_MAX)
        return ERR_RANGE;
    int err = upload_find(conn, bucket, key, upload_id, &bucket_row);
    if (err != ERR_NONE)
        return err;
    buf_init(&extents, STORE_EXTENT_ENCODED_MAX);
    row.size = store_put_bytes(put);
    row.mtime_ms = clock_wall_ms();
    err = put_apply(put, conn, &extents);
    if (err == ERR_NONE)
        err = part_replace(s, conn, upload_id, &row, buf_slice(&extents));
    buf_fini(&extents);
    return err;
}

/* Nobody read the bytes, so their MD5 is only known when they are a whole plain object. Else: a
 * text that differs for different bytes, which is all an ETag promises. */
static void
part_copy_etag(struct store_part *part, const struct store_object *source, int64_t offset,
               int64_t bytes)
{
    uint8_t md5[MD5_BYTES];
    char text[128];
    if (offset == 0 && bytes == source->size && strlen(source->etag) == 2 * MD5_BYTES) {
        memcpy(part->etag, source->etag, sizeof part->etag);
        return;
    }
    int n =
        snprintf(text, sizeof text, "%" PRId64 " %" PRId64 " %" PRId64, source->seq, offset, bytes);
    digest_md5(text, (size_t)n, md5);
    hex_encode(md5, sizeof md5, part->etag);
}

/* All of the source: what is known of it holds. */
static void
part_copy_checksum(struct store_part *part, const struct store_object *source, int64_t offset,
                   int64_t bytes)
{
    if (offset != 0 || bytes != source->size || source->checksum_composite ||
        source->checksum == CHECKSUM_NONE)
        return;
    part->checksum = source->checksum;
    snprintf(part->checksum_base64, sizeof part->checksum_base64, "%.*s",
             (int)sizeof part->checksum_base64 - 1, source->checksum_base64);
}

int
store_apply_part_copy(struct store *s, struct db_conn *conn, struct slice bucket, struct slice key,
                      struct slice upload_id, struct store_part *part,
                      const struct store_object *source, int64_t offset, int64_t bytes)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct buf all, extents;
    struct bucket_row bucket_row = {.id = 0};
    if (part->number < 1 || part->number > STORE_PART_MAX || offset < 0 || bytes < 0)
        return ERR_RANGE;
    buf_init(&all, STORE_EXTENTS_BYTES_MAX);
    buf_init(&extents, STORE_EXTENTS_BYTES_MAX);
    int err = upload_find(conn, bucket, key, upload_id, &bucket_row);
    if (err == ERR_NONE)
        err = object_source(conn, source, &all);
    if (err == ERR_NONE)
        err = extent_cut(&extents, buf_slice(&all), offset, bytes);
    if (err == ERR_NONE)
        err = blob_ref_all(conn, buf_slice(&extents));
    if (err == ERR_NONE) {
        part->size = bytes;
        part->mtime_ms = clock_wall_ms();
        if (part->etag[0] == '\0')
            part_copy_etag(part, source, offset, bytes);
        if (part->checksum == CHECKSUM_NONE)
            part_copy_checksum(part, source, offset, bytes);
        err = part_replace(s, conn, upload_id, part, buf_slice(&extents));
    }
    buf_fini(&extents);
    buf_fini(&all);
    return err;
}

/* The first part of a number above `after`: DB_ROW and its extents. */
static int
part_after(struct db_conn *conn, struct slice upload_id, int64_t after, int64_t *number,
           struct buf *extents)
{
    struct db_stmt *q = db_prepare(conn, "SELECT number, extents FROM part WHERE upload_id = ?1"
                                         " AND number > ?2 ORDER BY number LIMIT 1");
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, after);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc;
    *number = db_column_int(q, 0);
    buf_put_slice(extents, db_column_blob(q, 1));
    db_reset(q);
    return extents->err == ERR_NONE ? DB_ROW : extents->err;
}

int
upload_parts_let_go(struct store *s, struct db_conn *conn, struct slice upload_id,
                    const struct store_part *keep, size_t count)
{
    struct buf extents;
    int64_t number = 0;
    size_t kept = 0;
    int rc;
    buf_init(&extents, STORE_EXTENTS_BYTES_MAX);
    while ((rc = part_after(conn, upload_id, number, &number, &extents)) == DB_ROW) {
        while (kept < count && keep[kept].number < number)
            kept++;
        if (kept == count || keep[kept].number != number)
            rc = blob_unref_all(s, conn, buf_slice(&extents));
        if (rc < 0)
            break;
        buf_reset(&extents);
    }
    buf_fini(&extents);
    return rc < 0 ? rc : ERR_NONE;
}

int
store_apply_upload_abort(struct store *s, struct db_conn *conn, struct slice bucket,
                         struct slice key, struct slice upload_id)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct bucket_row bucket_row = {.id = 0};
    int err = upload_find(conn, bucket, key, upload_id, &bucket_row);
    if (err == ERR_NONE)
        err = upload_parts_let_go(s, conn, upload_id, NULL, 0);
    if (err == ERR_NONE)
        err = upload_rows_delete(conn, bucket_row.id, key, upload_id);
    return err;
}

/* ---- lists ---- */

static void
part_from_row(struct store_part *part, struct db_stmt *q)
{
    *part = (struct store_part){.number = (int)db_column_int(q, 0),
                                .size = db_column_int(q, 1),
                                .mtime_ms = db_column_int(q, 2),
                                .checksum = (enum checksum)db_column_int(q, 4)};
    snprintf(part->etag, sizeof part->etag, "%.*s", SLICE_FMT(db_column_blob(q, 3)));
    snprintf(part->checksum_base64, sizeof part->checksum_base64, "%.*s",
             SLICE_FMT(db_column_blob(q, 5)));
}

static int
parts_give(struct db_conn *conn, struct slice upload_id, int after, int max, store_part_fn fn,
           void *arg, bool *truncated)
{
    struct db_stmt *q =
        db_prepare(conn, "SELECT number, size, mtime_ms, etag, checksum, checksum_value FROM part"
                         " WHERE upload_id = ?1 AND number > ?2 ORDER BY number LIMIT ?3");
    int rc;
    db_bind_blob(q, 1, upload_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, (int64_t)max + 1);
    for (int given = 0; (rc = db_step(q)) == DB_ROW; given++) {
        struct store_part part;
        part_from_row(&part, q);
        *truncated = given == max;
        if (*truncated || fn(arg, &part) != 0)
            break;
    }
    return rc < 0 ? rc : ERR_NONE;
}

int
store_part_list(struct store *s, struct slice bucket, struct slice key, struct slice upload_id,
                int after, int max, store_part_fn fn, void *arg, bool *truncated)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct db_conn *conn = NULL;
    struct bucket_row bucket_row = {.id = 0};
    *truncated = false;
    int err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = upload_find(conn, bucket, key, upload_id, &bucket_row);
    if (err == ERR_NONE && max > 0)
        err = parts_give(conn, upload_id, after, max < STORE_LIST_MAX ? max : STORE_LIST_MAX, fn,
                         arg, truncated);
    db_read_end(s->db, &conn);
    return err;
}

/* ---- upkeep ---- */

static int
upload_sweep_apply(struct db_op *op, struct db_conn *conn)
{
    (void)op;
    struct db_stmt *q = db_prepare(conn, "DELETE FROM upload_done WHERE done_ms < ?1");
    db_bind_int(q, 1, clock_wall_ms() - STORE_UPLOAD_DONE_MS);
    return db_run(q);
}

int
upload_sweep(struct store *s)
{
    struct db_op op = {.apply = upload_sweep_apply, .urgent = true};
    return db_call(s->db, &op);
}
