/*
 * Multipart uploads: the object is its parts in order, by reference; what S3 refuses is refused;
 * a completion repeated answers the same; nothing is left of what was aborted or not listed.
 */
#include "tests/objectstore/fixture.h"
#include "base/clock.h"

#define MIB ((size_t)1 << 20)
#define PART ((size_t)5 << 20)

struct call {
    struct fix_put p; /* spec and result */
    char id[STORE_UPLOAD_ID_MAX];
    struct store_part part;
    struct store_put *put;
    const struct store_part *parts;
    size_t count;
    enum store_complete_fault fault;
    const struct store_object *source;
    int64_t offset, bytes;
};

static int created; /* multipart events told by the hook */

static int
count_created(void *arg, struct db_conn *conn, const struct store_change *change)
{
    (void)arg;
    (void)conn;
    created += change->kind == STORE_CREATED_MULTIPART;
    return ERR_NONE;
}

static int
setup(void **state)
{
    fix_setup(state);
    struct fix *f = *state;
    fix_close(f);
    f->hooks.changed = count_created;
    fix_open(f);
    created = 0;
    return 0;
}

static int
create_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct call *c = arg;
    return store_apply_upload_create(f->store, conn, &c->p.spec, c->id);
}

static void
create(struct fix *f, struct call *c, const char *key)
{
    *c = (struct call){.count = 0};
    fix_put_spec(&c->p, "photos", slice_str(key), SLICE_NONE);
    assert_int_equal(fix_run(f, create_apply, c), ERR_NONE);
    assert_int_equal(strlen(c->id), 44);
}

static int
part_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct call *c = arg;
    return store_apply_part(f->store, conn, c->p.spec.bucket, c->p.spec.key, slice_str(c->id),
                            &c->part, c->put);
}

static int
part(struct fix *f, struct call *c, int number, struct slice bytes, struct store_part *out)
{
    uint8_t md5[MD5_BYTES], crc[4];
    struct buf text;
    digest_md5(bytes.p, bytes.n, md5);
    c->part = (struct store_part){.number = number, .checksum = CHECKSUM_CRC32};
    hex_encode(md5, sizeof md5, c->part.etag);
    uint32_t v = digest_crc32(0, bytes.p, bytes.n);
    for (int i = 0; i < 4; i++)
        crc[i] = (uint8_t)(v >> (24 - 8 * i));
    buf_init(&text, 40);
    base64_encode(&text, crc, sizeof crc);
    snprintf(c->part.checksum_base64, sizeof c->part.checksum_base64, "%s", text.p);
    buf_fini(&text);
    c->put = fix_sealed_put(f, bytes, -1);
    int err = fix_run(f, part_apply, c);
    store_put_end(&c->put);
    if (out != NULL)
        *out = c->part;
    return err;
}

static int
complete_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct call *c = arg;
    return store_apply_complete(f->store, conn, &c->p.spec, slice_str(c->id), c->parts, c->count,
                                &c->fault, &c->p.result);
}

static int
complete(struct fix *f, struct call *c, const struct store_part *parts, size_t count)
{
    c->parts = parts;
    c->count = count;
    return fix_run(f, complete_apply, c);
}

static int
abort_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct call *c = arg;
    return store_apply_upload_abort(f->store, conn, c->p.spec.bucket, c->p.spec.key,
                                    slice_str(c->id));
}

static struct slice
joined(const struct slice *pieces, size_t count)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        n += pieces[i].n;
    char *p = chk_malloc(n + 1);
    for (size_t i = 0; i < count; i++) {
        memcpy(p + at, pieces[i].p, pieces[i].n);
        at += pieces[i].n;
    }
    return slice_of(p, n);
}

static void
whole(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part parts[3];
    struct slice b[3] = {fix_bytes(1, PART), fix_bytes(2, PART + 77), fix_bytes(3, 1000)};
    struct slice all = joined(b, 3);
    const struct store_object *o = NULL;
    create(f, &c, "big");
    /* In any order, one of them twice; another that is not listed in the end. */
    assert_int_equal(part(f, &c, 7, b[2], &parts[2]), ERR_NONE);
    assert_int_equal(part(f, &c, 2, b[2], &parts[0]), ERR_NONE);
    assert_int_equal(part(f, &c, 2, b[0], &parts[0]), ERR_NONE);
    assert_int_equal(part(f, &c, 5, b[1], &parts[1]), ERR_NONE);
    assert_int_equal(part(f, &c, 6, b[1], NULL), ERR_NONE);
    assert_int_equal(part(f, &c, 10000, b[2], NULL), ERR_NONE);
    assert_int_equal(part(f, &c, 0, b[2], NULL), ERR_RANGE);
    assert_int_equal(part(f, &c, 10001, b[2], NULL), ERR_RANGE);
    assert_int_equal(fix_same(f, "photos", "big", all), ERR_NOTFOUND);
    assert_int_equal(complete(f, &c, parts, 3), ERR_NONE);
    assert_int_equal(created, 1);
    assert_int_equal(fix_same(f, "photos", "big", all), ERR_NONE);
    fix_settle(f);
    assert_int_equal(fix_count(f, FIX_BLOBS), 3);
    assert_int_equal(fix_files(f), 2);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM part"), 0);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM upload"), 0);

    /* ETag: MD5 of the MD5s; checksum: CRC32 of the CRC32s. */
    uint8_t md5s[3 * MD5_BYTES], md5[MD5_BYTES];
    char hex[40], etag[STORE_ETAG_MAX];
    for (int i = 0; i < 3; i++)
        assert_int_equal(hex_decode(slice_of(parts[i].etag, 32), md5s + i * MD5_BYTES, MD5_BYTES),
                         0);
    digest_md5(md5s, sizeof md5s, md5);
    hex_encode(md5, sizeof md5, hex);
    snprintf(etag, sizeof etag, "%s-3", hex);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("big"), &o), ERR_NONE);
    assert_string_equal(o->etag, etag);
    assert_string_equal(c.p.result.etag, etag);
    assert_int_equal(o->part_count, 3);
    assert_true(o->checksum == CHECKSUM_CRC32 && o->checksum_composite);
    assert_int_equal(strlen(o->checksum_base64), 10);
    assert_string_equal(o->checksum_base64 + 8, "-3");
    assert_true(slice_eqs(o->owner, "owner") && slice_eqs(o->content_type, "text/plain"));

    /* Once more: the same answer, no second event; with another list it is gone. */
    int64_t generation = c.p.result.generation;
    assert_int_equal(complete(f, &c, parts, 3), ERR_NONE);
    assert_int_equal(c.p.result.generation, generation);
    assert_string_equal(c.p.result.etag, etag);
    assert_int_equal(complete(f, &c, parts, 2), ERR_NOTFOUND);
    assert_int_equal(created, 1);
    clock_shift_wall(25 * 3600 * 1000);
    int64_t removed;
    assert_int_equal(store_sweep(f->store, &removed), ERR_NONE);
    assert_int_equal(complete(f, &c, parts, 3), ERR_NOTFOUND);
    clock_shift_wall(-25 * 3600 * 1000);

    assert_int_equal(fix_delete(f, "photos", "big"), ERR_NONE);
    fix_settle(f);
    assert_int_equal(fix_count(f, FIX_BLOBS), 0);
    assert_int_equal(fix_files(f), 0);
    store_object_unref(&o);
    for (int i = 0; i < 3; i++)
        fix_free(&b[i]);
    fix_free(&all);
}

static void
refused(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part parts[3], bad[3];
    struct slice big = fix_bytes(1, PART), small = fix_bytes(2, PART - 1);
    create(f, &c, "k");
    assert_int_equal(part(f, &c, 1, big, &parts[0]), ERR_NONE);
    assert_int_equal(part(f, &c, 2, small, &parts[1]), ERR_NONE);
    assert_int_equal(part(f, &c, 3, big, &parts[2]), ERR_NONE);
    assert_int_equal(complete(f, &c, parts, 3), ERR_INVALID);
    assert_int_equal(c.fault, STORE_COMPLETE_SMALL);
    assert_int_equal(complete(f, &c, parts, 0), ERR_INVALID);
    bad[0] = parts[2];
    bad[1] = parts[0];
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.fault, STORE_COMPLETE_ORDER);
    bad[0] = bad[1] = parts[0];
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.fault, STORE_COMPLETE_ORDER);
    bad[1] = parts[1];
    bad[1].number = 9; /* never uploaded */
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.fault, STORE_COMPLETE_PART);
    bad[1] = parts[2];
    bad[1].etag[0] ^= 1;
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.fault, STORE_COMPLETE_PART);
    bad[1] = parts[2];
    bad[1].checksum_base64[0] ^= 1;
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.fault, STORE_COMPLETE_PART);
    bad[0] = parts[0];
    bad[1] = parts[2];
    c.p.spec.condition.if_match = SLICE_LIT("*");
    assert_int_equal(complete(f, &c, bad, 2), ERR_NOTFOUND);
    c.p.spec.condition.if_match = SLICE_NONE;
    assert_int_equal(fix_same(f, "photos", "k", big), ERR_NOTFOUND);
    assert_int_equal(fix_count(f, FIX_BLOBS), 3);
    assert_int_equal(created, 0);
    /* All of this left the upload whole; the small one may be the last. */
    assert_int_equal(complete(f, &c, parts, 2), ERR_NONE);
    assert_int_equal(part(f, &c, 1, small, NULL), ERR_NOTFOUND);
    fix_free(&big);
    fix_free(&small);
}

static void
aborted(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct slice big = fix_bytes(1, MIB), small = fix_bytes(2, 10);
    create(f, &c, "k");
    assert_int_equal(part(f, &c, 1, big, NULL), ERR_NONE);
    assert_int_equal(part(f, &c, 2, small, NULL), ERR_NONE);
    assert_int_equal(fix_bucket_drop(f, "photos"), ERR_NOTEMPTY);
    assert_int_equal(fix_run(f, abort_apply, &c), ERR_NONE);
    assert_int_equal(fix_run(f, abort_apply, &c), ERR_NOTFOUND);
    assert_int_equal(part(f, &c, 1, big, NULL), ERR_NOTFOUND);
    fix_settle(f);
    assert_int_equal(fix_count(f, FIX_BLOBS), 0);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM part"), 0);
    assert_int_equal(fix_files(f), 0);
    assert_int_equal(fix_bucket_drop(f, "photos"), ERR_NONE);
    fix_free(&big);
    fix_free(&small);
}

/* ---- parts by reference ---- */

static int
part_copy_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct call *c = arg;
    return store_apply_part_copy(f->store, conn, c->p.spec.bucket, c->p.spec.key, slice_str(c->id),
                                 &c->part, c->source, c->offset, c->bytes);
}

static int
part_copy(struct fix *f, struct call *c, int number, const struct store_object *o, int64_t offset,
          int64_t bytes, struct store_part *out)
{
    c->part = (struct store_part){.number = number};
    c->source = o;
    c->offset = offset;
    c->bytes = bytes;
    int err = fix_run(f, part_copy_apply, c);
    *out = c->part;
    return err;
}

/* An object made of ranges of an object made of ranges, read in odd pieces, outlives its source. */
static void
parts_by_reference(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part parts[3];
    struct slice source = fix_bytes(1, 2 * PART), tail = fix_bytes(2, 5000);
    const struct store_object *o = NULL;
    char *got = NULL;
    assert_int_equal(fix_put(f, "photos", "source", source), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("source"), &o), ERR_NONE);
    create(f, &c, "first");
    assert_int_equal(part_copy(f, &c, 1, o, 12345, (int64_t)PART, &parts[0]), ERR_NONE);
    assert_int_equal(part_copy(f, &c, 2, o, 1, (int64_t)PART, &parts[1]), ERR_NONE);
    assert_int_equal(part_copy(f, &c, 3, o, (int64_t)PART, (int64_t)PART + 1, &parts[2]),
                     ERR_RANGE);
    assert_int_equal(part(f, &c, 3, tail, &parts[2]), ERR_NONE);
    assert_true(strcmp(parts[0].etag, parts[1].etag) != 0);
    assert_int_equal(complete(f, &c, parts, 3), ERR_NONE);
    struct slice pieces[3] = {slice_of(source.p + 12345, PART), slice_of(source.p + 1, PART), tail};
    struct slice first = joined(pieces, 3);
    assert_int_equal(fix_same(f, "photos", "first", first), ERR_NONE);

    assert_int_equal(fix_delete(f, "photos", "source"), ERR_NONE);
    create(f, &c, "second");
    assert_int_equal(part_copy(f, &c, 1, o, 0, 10, &parts[0]), ERR_STALE);
    store_object_unref(&o);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("first"), &o), ERR_NONE);
    int64_t from = (int64_t)PART - 3, n = (int64_t)PART + 1000; /* across all three extents */
    assert_int_equal(part_copy(f, &c, 1, o, from, n, &parts[0]), ERR_NONE);
    assert_int_equal(complete(f, &c, parts, 1), ERR_NONE);
    assert_int_equal(fix_delete(f, "photos", "first"), ERR_NONE);
    fix_settle(f);
    assert_int_equal(fix_same(f, "photos", "second", slice_of(first.p + from, (size_t)n)),
                     ERR_NONE);
    store_object_unref(&o);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("second"), &o), ERR_NONE);
    for (int64_t at = 0; at < n; at += 300007) {
        int64_t size = n - at < 1234 ? n - at : 1234;
        assert_int_equal(fix_read(f, o, at, size, &got), ERR_NONE);
        assert_memory_equal(got, first.p + from + at, (size_t)size);
        free(got);
    }
    int fd = -1;
    assert_int_equal(store_source_fd(f->store, o, &fd), ERR_NONE);
    got = chk_malloc((size_t)n);
    assert_int_equal(pread(fd, got, (size_t)n, 0), n);
    assert_memory_equal(got, first.p + from, (size_t)n);
    free(got);
    close(fd);
    store_object_unref(&o);
    assert_int_equal(fix_delete(f, "photos", "second"), ERR_NONE);
    fix_settle(f);
    assert_int_equal(fix_count(f, FIX_BLOBS), 0);
    assert_int_equal(fix_files(f), 0);
    fix_free(&source);
    fix_free(&tail);
    fix_free(&first);
}

/* Too large for a memfd: the descriptor is an unnamed file, and still read-only. */
static void
large_source(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part parts[5];
    struct slice piece = fix_bytes(1, 3 * PART);
    const struct store_object *o = NULL;
    char *got = chk_malloc(piece.n);
    int fd = -1;
    assert_int_equal(fix_put(f, "photos", "piece", piece), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("piece"), &o), ERR_NONE);
    create(f, &c, "large");
    for (int i = 0; i < 5; i++)
        assert_int_equal(part_copy(f, &c, i + 1, o, 0, o->size, &parts[i]), ERR_NONE);
    assert_string_equal(parts[0].etag, o->etag); /* a whole plain object: its MD5 is known */
    assert_int_equal(complete(f, &c, parts, 5), ERR_NONE);
    store_object_unref(&o);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("large"), &o), ERR_NONE);
    assert_int_equal(store_source_fd(f->store, o, &fd), ERR_NONE);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pread(fd, got, piece.n, (off_t)piece.n * i), piece.n);
        assert_memory_equal(got, piece.p, piece.n);
    }
    assert_int_equal(write(fd, "x", 1), -1);
    close(fd);
    store_object_unref(&o);
    fix_free(&piece);
    free(got);
}

/* A reader over several blobs keeps all of them, inline ones too, until it is closed. */
static void
reader_keeps_all_parts(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part parts[3];
    struct slice b[3] = {fix_bytes(1, PART), fix_bytes(2, PART), fix_bytes(3, 1000)};
    struct slice all = joined(b, 3);
    const struct store_object *o = NULL;
    struct store_reader *r = NULL;
    char *got = chk_malloc(all.n);
    size_t at = 0;
    ptrdiff_t n;
    create(f, &c, "k");
    for (int i = 0; i < 3; i++)
        assert_int_equal(part(f, &c, i + 1, b[i], &parts[i]), ERR_NONE);
    assert_int_equal(complete(f, &c, parts, 3), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), &o), ERR_NONE);
    assert_int_equal(store_reader_open(f->store, o, 0, o->size, &r), ERR_NONE);
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("new")), ERR_NONE);
    int64_t removed;
    fix_settle(f);
    assert_int_equal(store_sweep(f->store, &removed), ERR_NONE);
    while ((n = store_reader_read(r, got + at, MIB)) > 0)
        at += (size_t)n;
    assert_int_equal(n, 0);
    assert_int_equal(at, all.n);
    assert_memory_equal(got, all.p, all.n);
    assert_int_equal(fix_files(f), 2);
    store_reader_close(&r);
    fix_settle(f);
    assert_int_equal(fix_files(f), 0);
    assert_int_equal(store_reader_open(f->store, o, 0, o->size, &r), ERR_STALE);
    store_object_unref(&o);
    for (int i = 0; i < 3; i++)
        fix_free(&b[i]);
    fix_free(&all);
    free(got);
}

/* ---- lists ---- */

static int
collect_part(void *arg, const struct store_part *p)
{
    buf_printf(arg, "%d:%d ", p->number, (int)p->size);
    return 0;
}

static int
collect_upload(void *arg, const struct store_upload *u)
{
    CHK(u->upload_id.n == 44 && slice_eqs(u->owner, "owner") && u->created_ms > 0);
    buf_printf(arg, "%.*s ", SLICE_FMT(u->key));
    return 0;
}

static void
lists(void **state)
{
    struct fix *f = *state;
    struct call c, d;
    struct buf out;
    bool truncated;
    buf_init(&out, 1000);
    create(f, &d, "a/1");
    clock_shift_wall(5); /* ids of one key list in the order they began */
    create(f, &c, "a/1");
    for (int i = 1; i <= 4; i++)
        assert_int_equal(part(f, &c, i * 3, slice_of("xxxxxxxx", (size_t)i), NULL), ERR_NONE);
    struct slice bucket = SLICE_LIT("photos"), key = SLICE_LIT("a/1"), id = slice_str(c.id);
    assert_int_equal(
        store_part_list(f->store, bucket, key, id, 0, 100, collect_part, &out, &truncated), 0);
    assert_string_equal(out.p, "3:1 6:2 9:3 12:4 ");
    assert_false(truncated);
    buf_reset(&out);
    assert_int_equal(
        store_part_list(f->store, bucket, key, id, 3, 2, collect_part, &out, &truncated), 0);
    assert_string_equal(out.p, "6:2 9:3 ");
    assert_true(truncated);
    assert_int_equal(store_part_list(f->store, bucket, SLICE_LIT("b"), id, 0, 100, collect_part,
                                     &out, &truncated),
                     ERR_NOTFOUND);
    struct call e;
    create(f, &e, "b");
    create(f, &e, "a/2");
    struct slice none = SLICE_NONE;
    buf_reset(&out);
    assert_int_equal(store_upload_list(f->store, bucket, none, none, none, 100, collect_upload,
                                       &out, &truncated),
                     0);
    assert_string_equal(out.p, "a/1 a/1 a/2 b ");
    buf_reset(&out);
    assert_int_equal(store_upload_list(f->store, bucket, SLICE_LIT("a/"), none, none, 2,
                                       collect_upload, &out, &truncated),
                     0);
    assert_string_equal(out.p, "a/1 a/1 ");
    assert_true(truncated);
    buf_reset(&out);
    assert_int_equal(store_upload_list(f->store, bucket, none, key, slice_str(d.id), 100,
                                       collect_upload, &out, &truncated),
                     0);
    assert_string_equal(out.p, "a/1 a/2 b ");
    buf_reset(&out);
    assert_int_equal(store_upload_list(f->store, bucket, SLICE_LIT("a"), key, none, 100,
                                       collect_upload, &out, &truncated),
                     0);
    assert_string_equal(out.p, "a/2 ");
    assert_false(truncated);
    assert_int_equal(store_upload_list(f->store, SLICE_LIT("nobody"), none, none, none, 1,
                                       collect_upload, &out, &truncated),
                     ERR_NOPARENT);
    buf_fini(&out);
}

#define MULTI_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fix_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        MULTI_TEST(whole),        MULTI_TEST(refused),
        MULTI_TEST(aborted),      MULTI_TEST(parts_by_reference),
        MULTI_TEST(large_source), MULTI_TEST(reader_keeps_all_parts),
        MULTI_TEST(lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
