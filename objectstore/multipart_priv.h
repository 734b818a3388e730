/*
 * What the files about multipart uploads share: the upload's row and what it keeps for the
 * completion. Inside apply() or a read.
 */
#ifndef DARKROOM_OBJECTSTORE_MULTIPART_PRIV_H
#define DARKROOM_OBJECTSTORE_MULTIPART_PRIV_H

#include "objectstore/store_priv.h"

/* Of one upload's row: owner, content type, header list, attributes. */
#define UPLOAD_TEXTS_MAX \
    (2 * STORE_META_BYTES_MAX + STORE_TAGS_BYTES_MAX + STORE_ACL_BYTES_MAX + (4u << 10))

/* What the column `attributes` says. */
void upload_attributes_read(struct slice attributes, struct store_upload *u);
/* What the creation said of the object, into `o`; its texts are copied to `texts`, for the row may
 * go. ERR_NOTFOUND. */
int upload_describe(struct db_conn *conn, struct slice upload_id, struct store_object *o,
                    struct store_upload *u, struct buf *texts);
/* The rows of the upload and its parts. */
int upload_rows_delete(struct db_conn *conn, int64_t bucket_id, struct slice key,
                       struct slice upload_id);
/* Drops the references of all parts but those in `keep` (rising numbers). The rows stay. */
int upload_parts_let_go(struct store *s, struct db_conn *conn, struct slice upload_id,
                        const struct store_part *keep, size_t count);

/* ---- version_parts.c ---- */

/* Of one version: number, size, algorithm and checksum of each part. */
#define VERSION_PARTS_BYTES_MAX (STORE_PART_MAX * (3 + 6 + 1 + DIGEST_BYTES_MAX))

/* Appends one part; its checksum text must be one. */
void version_parts_add(struct buf *parts, const struct store_part *part);
int version_parts_write(struct db_conn *conn, int64_t seq, struct slice parts);

#endif
