/*
 * The store's tables, by schema version. A step, once released, never changes: later ones alter.
 *
 * `object` holds the current version of each key and nothing else, so that reading and listing
 * current objects never meets the others. `object_version` holds the noncurrent versions and all
 * delete markers; a key without a row in `object` whose newest version is a marker has none
 * current. A version moves between the two with its row; its bytes stay where they are.
 *
 * `quarantine` has a row for each blob whose bytes are known to be damaged, `quarantine_ref` the
 * versions that referred to it when that was traced (quarantine.c).
 */
#include "objectstore/store.h"

#include <stddef.h>

static const char schema_1[] =
    "CREATE TABLE store_state ("
    "  name TEXT PRIMARY KEY,"
    "  value INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE TABLE bucket ("
    "  id INTEGER PRIMARY KEY,"
    "  name BLOB NOT NULL UNIQUE,"
    "  owner BLOB NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  region BLOB NOT NULL"
    ");"
    "CREATE TABLE bucket_config ("
    "  bucket_id INTEGER NOT NULL,"
    "  name BLOB NOT NULL,"
    "  body BLOB NOT NULL,"
    "  PRIMARY KEY (bucket_id, name)"
    ") WITHOUT ROWID;"
    /* Listings read up to version_id; what is long comes behind. */
    "CREATE TABLE object ("
    "  bucket_id INTEGER NOT NULL,"
    "  key BLOB NOT NULL,"
    "  generation INTEGER NOT NULL,"
    "  size INTEGER NOT NULL,"
    "  mtime_ms INTEGER NOT NULL,"
    "  etag TEXT NOT NULL,"
    "  checksum INTEGER NOT NULL,"
    "  checksum_value TEXT NOT NULL,"
    "  part_count INTEGER NOT NULL,"
    "  flags INTEGER NOT NULL,"
    "  owner BLOB NOT NULL,"
    "  version_id BLOB,"
    "  content_type BLOB NOT NULL,"
    "  meta BLOB NOT NULL,"
    "  extents BLOB NOT NULL,"
    "  PRIMARY KEY (bucket_id, key)"
    ") WITHOUT ROWID;"
    /* data NULL: the bytes are the file blobs/<id / 4096>/<id>. */
    "CREATE TABLE blob ("
    "  id INTEGER PRIMARY KEY,"
    "  refs INTEGER NOT NULL,"
    "  bytes INTEGER NOT NULL,"
    "  crcs BLOB NOT NULL,"
    "  data BLOB"
    ");"
    /* Files to unlink after the commit; a reader that pinned one still needs the checksums. */
    "CREATE TABLE doomed (blob INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, crcs BLOB NOT NULL);"
    "CREATE TABLE upload ("
    "  bucket_id INTEGER NOT NULL,"
    "  key BLOB NOT NULL,"
    "  upload_id BLOB NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  owner BLOB NOT NULL,"
    "  content_type BLOB NOT NULL,"
    "  meta BLOB NOT NULL,"
    "  PRIMARY KEY (bucket_id, key, upload_id)"
    ") WITHOUT ROWID;"
    /* What a completion answered, kept a day for the client that did not hear it. */
    "CREATE TABLE upload_done ("
    "  upload_id BLOB PRIMARY KEY,"
    "  bucket_id INTEGER NOT NULL,"
    "  key BLOB NOT NULL,"
    "  generation INTEGER NOT NULL,"
    "  etag TEXT NOT NULL,"
    "  done_ms INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE INDEX upload_done_by_time ON upload_done (done_ms);"
    "CREATE TABLE part ("
    "  upload_id BLOB NOT NULL,"
    "  number INTEGER NOT NULL,"
    "  size INTEGER NOT NULL,"
    "  mtime_ms INTEGER NOT NULL,"
    "  etag TEXT NOT NULL,"
    "  checksum INTEGER NOT NULL,"
    "  checksum_value TEXT NOT NULL,"
    "  extents BLOB NOT NULL,"
    "  PRIMARY KEY (upload_id, number)"
    ") WITHOUT ROWID;";

/* Versioning, object lock, tags, ACLs. Until now every version was a null version (flag 4). */
static const char schema_2[] =
    "ALTER TABLE bucket ADD COLUMN versioning INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE bucket ADD COLUMN object_lock INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE object_2 ("
    "  bucket_id INTEGER NOT NULL,"
    "  key BLOB NOT NULL,"
    "  generation INTEGER NOT NULL,"
    "  seq INTEGER NOT NULL,"
    "  size INTEGER NOT NULL,"
    "  mtime_ms INTEGER NOT NULL,"
    "  etag TEXT NOT NULL,"
    "  checksum INTEGER NOT NULL,"
    "  checksum_value TEXT NOT NULL,"
    "  part_count INTEGER NOT NULL,"
    "  flags INTEGER NOT NULL,"
    "  owner BLOB NOT NULL,"
    "  retain_until_ms INTEGER NOT NULL,"
    "  content_type BLOB NOT NULL,"
    "  meta BLOB NOT NULL,"
    "  extents BLOB NOT NULL,"
    "  tags BLOB NOT NULL,"
    "  acl BLOB NOT NULL,"
    "  PRIMARY KEY (bucket_id, key)"
    ") WITHOUT ROWID;"
    "INSERT INTO object_2 SELECT bucket_id, key, generation, generation, size, mtime_ms, etag,"
    "  checksum, checksum_value, part_count, flags + 4, owner, 0, content_type, meta, extents,"
    "  x'', x'' FROM object;"
    "DROP TABLE object;"
    "ALTER TABLE object_2 RENAME TO object;"
    /* rank: minus the version's seq, so the newest comes first. noncurrent_ms 0: the newest of its
     * key, which can only be a marker. */
    "CREATE TABLE object_version ("
    "  bucket_id INTEGER NOT NULL,"
    "  key BLOB NOT NULL,"
    "  rank INTEGER NOT NULL,"
    "  generation INTEGER NOT NULL,"
    "  size INTEGER NOT NULL,"
    "  mtime_ms INTEGER NOT NULL,"
    "  etag TEXT NOT NULL,"
    "  checksum INTEGER NOT NULL,"
    "  checksum_value TEXT NOT NULL,"
    "  part_count INTEGER NOT NULL,"
    "  flags INTEGER NOT NULL,"
    "  owner BLOB NOT NULL,"
    "  retain_until_ms INTEGER NOT NULL,"
    "  content_type BLOB NOT NULL,"
    "  meta BLOB NOT NULL,"
    "  extents BLOB NOT NULL,"
    "  tags BLOB NOT NULL,"
    "  acl BLOB NOT NULL,"
    "  noncurrent_ms INTEGER NOT NULL,"
    "  PRIMARY KEY (bucket_id, key, rank)"
    ") WITHOUT ROWID;"
    "CREATE UNIQUE INDEX object_version_null ON object_version (bucket_id, key)"
    "  WHERE flags & 4 <> 0;"
    /* Sizes and checksums of a multipart object's parts, by the version's seq. */
    "CREATE TABLE version_parts (seq INTEGER PRIMARY KEY, parts BLOB NOT NULL);"
    /* What CreateMultipartUpload said beside what has a column: pairs, as in `meta`. */
    "ALTER TABLE upload ADD COLUMN attributes BLOB NOT NULL DEFAULT x'';"
    "ALTER TABLE upload_done ADD COLUMN version_id TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE upload_done ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE upload_done ADD COLUMN checksum_value TEXT NOT NULL DEFAULT '';";

/* offset: of the first bad block; reason: enum damage. */
#define QUARANTINE_TABLES                       \
    "CREATE TABLE quarantine ("                 \
    "  blob INTEGER PRIMARY KEY,"               \
    "  offset INTEGER NOT NULL,"                \
    "  reason INTEGER NOT NULL,"                \
    "  found_ms INTEGER NOT NULL,"              \
    "  traced INTEGER NOT NULL"                 \
    ");"                                        \
    "CREATE TABLE quarantine_ref ("             \
    "  blob INTEGER NOT NULL,"                  \
    "  bucket_id INTEGER NOT NULL,"             \
    "  key BLOB NOT NULL,"                      \
    "  seq INTEGER NOT NULL,"                   \
    "  PRIMARY KEY (blob, bucket_id, key, seq)" \
    ") WITHOUT ROWID;"

/* Quarantine. */
static const char schema_4[] = QUARANTINE_TABLES;

const char *
store_schema(int version)
{
    static const char *const steps[] = {schema_1, schema_2, "" /* 3: nothing new here */, schema_4};
    return version >= 1 && version <= 4 ? steps[version - 1] : NULL;
}
