/*
 * A database of schema 1, made with that step alone and rows as its release wrote them, opened by
 * today's store: what was there reads as before, is the null version of its key, and takes part in
 * all that came since.
 */
#include "tests/objectstore/fixture.h"

#include "objectstore/multipart_priv.h"

#include <endian.h>

enum { ABC = 10, DEFG, PART };

static const char *const texts[] = {[ABC] = "abc", [DEFG] = "defg", [PART] = "a part"};
#define JOINED SLICE_LIT("abcdefg")
#define JOINED_ETAG "00112233445566778899aabbccddeeff-2"
#define UPLOAD SLICE_LIT("000000000001aabb")

/* ---- rows of then ---- */

static void
old_blob(struct db_conn *conn, int id, int refs)
{
    struct slice text = slice_str(texts[id]);
    uint32_t crc = htole32(digest_crc32c(0, text.p, text.n));
    struct db_stmt *q = db_prepare(conn, "INSERT INTO blob (id, refs, bytes, crcs, data)"
                                         " VALUES (?1, ?2, ?3, ?4, ?5)");
    db_bind_int(q, 1, id);
    db_bind_int(q, 2, refs);
    db_bind_int(q, 3, (int64_t)text.n);
    db_bind_blob(q, 4, slice_of((const char *)&crc, sizeof crc));
    db_bind_blob(q, 5, text);
    assert_int_equal(db_run(q), ERR_NONE);
}

/* Whole blobs one after the other: id, offset and length, each one byte of LEB128. */
static struct slice
extents_of(const int *ids, size_t count, char out[8])
{
    for (size_t i = 0; i < count; i++) {
        out[3 * i] = (char)ids[i];
        out[3 * i + 1] = 0;
        out[3 * i + 2] = (char)strlen(texts[ids[i]]);
    }
    return slice_of(out, 3 * count);
}

static void
old_object(struct db_conn *conn, const char *key, const char *etag, const int *ids, size_t count)
{
    char extents[8];
    int64_t size = 0;
    struct db_stmt *q = db_prepare(
        conn, "INSERT INTO object (bucket_id, key, generation, size, mtime_ms, etag, checksum,"
              " checksum_value, part_count, flags, owner, version_id, content_type, meta, extents)"
              " VALUES (1, ?1, ?2, ?3, 1000, ?4, 0, '', ?5, 0, x'61', NULL, x'62', x'', ?6)");
    for (size_t i = 0; i < count; i++)
        size += (int64_t)strlen(texts[ids[i]]);
    db_bind_blob(q, 1, slice_str(key));
    db_bind_int(q, 2, db_next(conn));
    db_bind_int(q, 3, size);
    db_bind_text(q, 4, slice_str(etag));
    db_bind_int(q, 5, count > 1 ? (int64_t)count : 0);
    db_bind_blob(q, 6, extents_of(ids, count, extents));
    assert_int_equal(db_run(q), ERR_NONE);
}

static void
old_part(struct db_conn *conn, const char *etag)
{
    char extents[8];
    struct db_stmt *q =
        db_prepare(conn, "INSERT INTO part (upload_id, number, size, mtime_ms, etag, checksum,"
                         " checksum_value, extents) VALUES (?1, 1, ?2, 1000, ?3, 0, '', ?4)");
    db_bind_blob(q, 1, UPLOAD);
    db_bind_int(q, 2, (int64_t)strlen(texts[PART]));
    db_bind_text(q, 3, slice_str(etag));
    db_bind_blob(q, 4, extents_of((const int[]){PART}, 1, extents));
    assert_int_equal(db_run(q), ERR_NONE);
    q = db_prepare(conn, "INSERT INTO upload (bucket_id, key, upload_id, created_ms, owner,"
                         " content_type, meta) VALUES (1, x'6f', ?1, 1000, x'61', x'62', x'')");
    db_bind_blob(q, 1, UPLOAD);
    assert_int_equal(db_run(q), ERR_NONE);
}

static void
part_etag(char hex[2 * MD5_BYTES + 1])
{
    uint8_t md5[MD5_BYTES];
    digest_md5(texts[PART], strlen(texts[PART]), md5);
    hex_encode(md5, sizeof md5, hex);
}

static int
rows_apply(struct db_op *op, struct db_conn *conn)
{
    char etag[2 * MD5_BYTES + 1];
    (void)op;
    part_etag(etag);
    assert_int_equal(db_run(db_prepare(conn, "INSERT INTO bucket (id, name, owner, created_ms,"
                                             " region) VALUES (1, CAST('photos' AS BLOB), x'61',"
                                             " 1000, x'62')")),
                     ERR_NONE);
    old_blob(conn, ABC, 2);
    old_blob(conn, DEFG, 1);
    old_blob(conn, PART, 1);
    old_object(conn, "joined", JOINED_ETAG, (const int[]){ABC, DEFG}, 2);
    old_object(conn, "plain", "0011", (const int[]){ABC}, 1);
    old_part(conn, etag);
    return ERR_NONE;
}

static int
setup(void **state)
{
    struct fix *f = chk_calloc(1, sizeof *f);
    const char *steps[] = {store_schema(1)};
    struct db_op op = {.apply = rows_apply};
    f->dir = testdir_make();
    struct db_options db = {.path = testdir_path(f->dir, "db"), .schema = {steps, 1}};
    assert_int_equal(db_open(&f->db, &db), ERR_NONE);
    assert_int_equal(db_call(f->db, &op), ERR_NONE);
    db_close(&f->db);
    fix_open(f);
    *state = f;
    return 0;
}

#define UPGRADE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fix_teardown)

/* ---- what is made of them ---- */

static const struct store_object *
null_version(struct fix *f, const char *key)
{
    const struct store_object *o = NULL;
    assert_int_equal(
        store_get_version(f->store, SLICE_LIT("photos"), slice_str(key), SLICE_LIT("null"), &o),
        ERR_NONE);
    return o;
}

static int
versioning_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)arg;
    return store_apply_bucket_versioning(f->store, conn, SLICE_LIT("photos"),
                                         STORE_VERSIONING_ENABLED);
}

static void
objects_read(void **state)
{
    struct fix *f = *state;
    assert_int_equal(fix_same(f, "photos", "plain", SLICE_LIT("abc")), ERR_NONE);
    assert_int_equal(fix_same(f, "photos", "joined", JOINED), ERR_NONE);
    const struct store_object *o = null_version(f, "joined");
    assert_true(o->is_latest && !o->is_marker && o->part_count == 2);
    assert_string_equal(o->etag, JOINED_ETAG);
    assert_true(o->tags.n == 0 && o->acl.n == 0 && !o->lock.legal_hold);
    assert_int_equal(o->lock.retention, STORE_RETENTION_NONE);
    store_object_unref(&o);
}

static int
each_part(void *arg, const struct store_part *part)
{
    int64_t *sum = arg;
    assert_true(part->number == 1 || part->number == 2);
    assert_int_equal(part->size, part->number == 1 ? 3 : 4);
    *sum += part->number;
    return 0;
}

static void
parts_known(void **state)
{
    struct fix *f = *state;
    int64_t sum = 0;
    const struct store_object *o = null_version(f, "joined");
    assert_int_equal(store_version_parts(f->store, o, each_part, &sum), ERR_NONE);
    assert_int_equal(sum, 3);
    store_object_unref(&o);
}

static void
versions_go_and_come_back(void **state)
{
    struct fix *f = *state;
    struct fix_put p;
    assert_int_equal(fix_run(f, versioning_apply, NULL), ERR_NONE);
    fix_put_spec(&p, "photos", SLICE_LIT("joined"), SLICE_LIT("new"));
    assert_int_equal(fix_put_run(f, &p, SLICE_LIT("new")), ERR_NONE);
    const struct store_object *o = null_version(f, "joined");
    assert_false(o->is_latest);
    store_object_unref(&o);
    struct fix_delete d = {.spec = {.bucket = SLICE_LIT("photos"),
                                    .key = SLICE_LIT("joined"),
                                    .version_id = slice_str(p.result.version_id)}};
    assert_int_equal(fix_run(f, fix_delete_apply, &d), ERR_NONE);
    assert_int_equal(fix_same(f, "photos", "joined", JOINED), ERR_NONE);
    d.spec.version_id = SLICE_LIT("null");
    assert_int_equal(fix_run(f, fix_delete_apply, &d), ERR_NONE);
    assert_int_equal(fix_same(f, "photos", "joined", JOINED), ERR_NOTFOUND);
    assert_int_equal(fix_same(f, "photos", "plain", SLICE_LIT("abc")), ERR_NONE);
    assert_int_equal(fix_count(f, FIX_BLOBS), 2);
}

struct completing {
    struct store_completion c;
    struct store_completed done;
    struct fix_put p;
};

static int
complete_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct completing *c = arg;
    return store_apply_complete(f->store, conn, &c->p.spec, &c->c, &c->done, &c->p.result);
}

static void
open_upload_completes(void **state)
{
    struct fix *f = *state;
    struct store_part part = {.number = 1};
    struct completing c = {.c = {.upload_id = UPLOAD, .parts = &part, .count = 1, .size = -1}};
    part_etag(part.etag);
    fix_put_spec(&c.p, "photos", SLICE_LIT("o"), SLICE_NONE);
    assert_int_equal(fix_run(f, complete_apply, &c), ERR_NONE);
    assert_int_equal(fix_same(f, "photos", "o", slice_str(texts[PART])), ERR_NONE);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM version_parts"), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        UPGRADE_TEST(objects_read),
        UPGRADE_TEST(parts_known),
        UPGRADE_TEST(versions_go_and_come_back),
        UPGRADE_TEST(open_upload_completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
