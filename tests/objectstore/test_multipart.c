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
    struct store_completion c;
    struct store_completed done;
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
create_summed(struct fix *f, struct call *c, const char *key, enum checksum checksum,
              bool composite)
{
    *c = (struct call){.c = {.size = -1}};
    fix_put_spec(&c->p, "photos", slice_str(key), SLICE_NONE);
    c->p.spec.checksum = checksum;
    c->p.spec.checksum_composite = composite;
    assert_int_equal(fix_run(f, create_apply, c), ERR_NONE);
    assert_int_equal(strlen(c->id), 44);
    c->c.upload_id = slice_str(c->id);
}

static void
create(struct fix *f, struct call *c, const char *key)
{
    create_summed(f, c, key, CHECKSUM_NONE, false);
}

static int
part_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct call *c = arg;
    return store_apply_part(f->store, conn, c->p.spec.bucket, c->p.spec.key, slice_str(c->id),
                            &c->part, c->put);
}

static void
sum(enum checksum checksum, struct slice bytes, char *base64, size_t size)
{
    struct digester *d = digester_new(0, checksum);
    struct buf text;
    digester_update(d, bytes.p, bytes.n);
    digester_end(d);
    buf_init(&text, DIGEST_BASE64_MAX);
    base64_encode(&text, digester_checksum(d), checksum_bytes(checksum));
    snprintf(base64, size, "%s", text.p);
    buf_fini(&text);
    digester_free(&d);
}

/* With the upload's checksum, CRC32 when it has none. */
static int
part(struct fix *f, struct call *c, int number, struct slice bytes, struct store_part *out)
{
    uint8_t md5[MD5_BYTES];
    enum checksum checksum =
        c->p.spec.checksum != CHECKSUM_NONE ? c->p.spec.checksum : CHECKSUM_CRC32;
    digest_md5(bytes.p, bytes.n, md5);
    c->part = (struct store_part){.number = number, .checksum = checksum};
    hex_encode(md5, sizeof md5, c->part.etag);
    sum(checksum, bytes, c->part.checksum_base64, sizeof c->part.checksum_base64);
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
    return store_apply_complete(f->store, conn, &c->p.spec, &c->c, &c->done, &c->p.result);
}

static int
complete(struct fix *f, struct call *c, const struct store_part *parts, size_t count)
{
    c->c.parts = parts;
    c->c.count = count;
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

    /* ETag: MD5 of the MD5s; checksum: the CRC32 of all bytes. */
    char crc[DIGEST_BASE64_MAX];
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
    sum(CHECKSUM_CRC32, all, crc, sizeof crc);
    assert_true(o->checksum == CHECKSUM_CRC32 && !o->checksum_composite);
    assert_string_equal(o->checksum_base64, crc);
    assert_string_equal(c.done.checksum_base64, crc);
    assert_true(slice_eqs(o->owner, "owner") && slice_eqs(o->content_type, "text/plain"));

    /* Once more: the same answer, no second event; with another list it is gone. */
    int64_t generation = c.p.result.generation;
    assert_int_equal(complete(f, &c, parts, 3), ERR_NONE);
    assert_int_equal(c.p.result.generation, generation);
    assert_string_equal(c.p.result.etag, etag);
    assert_string_equal(c.done.checksum_base64, crc);
    assert_int_equal(complete(f, &c, parts, 2), ERR_NOTFOUND);
    assert_int_equal(c.done.fault, STORE_COMPLETE_OK);
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
    assert_int_equal(c.done.fault, STORE_COMPLETE_SMALL);
    assert_int_equal(c.done.part.number, 2);
    assert_int_equal(c.done.part.size, PART - 1);
    assert_int_equal(complete(f, &c, parts, 0), ERR_INVALID);
    bad[0] = parts[2];
    bad[1] = parts[0];
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_ORDER);
    bad[0] = bad[1] = parts[0];
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_ORDER);
    bad[1] = parts[1];
    bad[1].number = 9; /* never uploaded */
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_PART);
    bad[1] = parts[2];
    bad[1].etag[0] ^= 1;
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_PART);
    bad[1] = parts[2];
    bad[1].checksum_base64[0] ^= 1;
    assert_int_equal(complete(f, &c, bad, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_PART);
    bad[0] = parts[0];
    bad[1] = parts[2];
    c.p.spec.condition.if_match = SLICE_LIT("*");
    assert_int_equal(complete(f, &c, bad, 2), ERR_NOTFOUND);
    assert_int_equal(c.done.fault, STORE_COMPLETE_NO_KEY);
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
    CHK(u->is_prefix ||
        (u->upload_id.n == 44 && slice_eqs(u->owner, "owner") && u->created_ms > 0));
    buf_printf(arg, "%.*s%s ", SLICE_FMT(u->key), u->is_prefix ? "*" : "");
    return 0;
}

static void
check_uploads(struct fix *f, struct store_upload_list_spec spec, const char *expected,
              bool expected_truncated)
{
    struct buf out;
    bool truncated;
    spec.bucket = SLICE_LIT("photos");
    buf_init(&out, 1000);
    buf_puts(&out, "");
    assert_int_equal(store_upload_list(f->store, &spec, collect_upload, &out, &truncated), 0);
    assert_string_equal(out.n == 0 ? "" : out.p, expected);
    assert_int_equal(truncated, expected_truncated);
    buf_fini(&out);
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
    buf_fini(&out);
    clock_shift_wall(-5);
}

#define LIST(most, ...) ((struct store_upload_list_spec){.max = (most), __VA_ARGS__})
#define SLASH .delimiter = SLICE_LIT("/")

static void
upload_lists(void **state)
{
    struct fix *f = *state;
    struct call c, d, e;
    bool truncated;
    create(f, &d, "a/1");
    clock_shift_wall(5);
    create(f, &c, "a/1");
    create(f, &e, "b");
    create(f, &e, "a/2");
    create(f, &e, "c/x/1");
    struct slice key = SLICE_LIT("a/1");
    check_uploads(f, LIST(100, .prefix = SLICE_NONE), "a/1 a/1 a/2 b c/x/1 ", false);
    check_uploads(f, LIST(2, .prefix = SLICE_LIT("a/")), "a/1 a/1 ", true);
    check_uploads(f, LIST(100, .after = key, .after_upload = slice_str(d.id)), "a/1 a/2 b c/x/1 ",
                  false);
    check_uploads(f, LIST(100, .after = key, .prefix = SLICE_LIT("a")), "a/2 ", false);
    /* Common prefixes: each once, counted, and a place to go on from. */
    check_uploads(f, LIST(100, SLASH), "a/* b c/* ", false);
    check_uploads(f, LIST(1, SLASH), "a/* ", true);
    check_uploads(f, LIST(1, SLASH, .after = SLICE_LIT("a/")), "b ", true);
    check_uploads(f, LIST(100, SLASH, .after = SLICE_LIT("b")), "c/* ", false);
    check_uploads(f, LIST(100, SLASH, .after = key, .after_upload = slice_str(d.id)), "b c/* ",
                  false);
    check_uploads(f, LIST(100, SLASH, .prefix = SLICE_LIT("c/")), "c/x/* ", false);
    check_uploads(f, LIST(100, SLASH, .prefix = SLICE_LIT("z")), "", false);
    check_uploads(f, LIST(0, .prefix = SLICE_NONE), "", false);
    struct store_upload_list_spec nobody = {.bucket = SLICE_LIT("nobody"), .max = 1};
    assert_int_equal(store_upload_list(f->store, &nobody, collect_upload, NULL, &truncated),
                     ERR_NOPARENT);
    clock_shift_wall(-5);
}

/* ---- checksums of the whole ---- */

/* A three-part upload of that algorithm and type; its checksum in the end. */
static void
check_summed(struct fix *f, enum checksum checksum, bool composite)
{
    struct call c;
    struct store_part parts[2], bare[2];
    struct slice b[2] = {fix_bytes(1, PART), fix_bytes(2, 4711)};
    struct slice all = joined(b, 2);
    char expected[STORE_CHECKSUM_MAX];
    const struct store_object *o = NULL;
    create_summed(f, &c, "summed", checksum, composite);
    for (int i = 0; i < 2; i++)
        assert_int_equal(part(f, &c, i + 1, b[i], &parts[i]), ERR_NONE);
    if (composite) {
        uint8_t raw[2 * DIGEST_BYTES_MAX];
        size_t n = checksum_bytes(checksum);
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(
                base64_decode_exact(slice_str(parts[i].checksum_base64), raw + i * n, n), 0);
        sum(checksum, slice_of((char *)raw, 2 * n), expected, sizeof expected);
        memcpy(bare, parts, sizeof bare);
        bare[1].checksum = CHECKSUM_NONE;
        assert_int_equal(complete(f, &c, bare, 2), ERR_INVALID);
        assert_int_equal(c.done.fault, STORE_COMPLETE_UNSUMMED);
        assert_int_equal(c.done.part.number, 2);
    } else {
        sum(checksum, all, expected, sizeof expected);
    }
    c.c.type_stated = true;
    c.c.checksum_composite = !composite;
    assert_int_equal(complete(f, &c, parts, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_TYPE);
    c.c.checksum_composite = composite;
    c.c.size = (int64_t)all.n + 1;
    assert_int_equal(complete(f, &c, parts, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_SIZE);
    assert_int_equal(c.done.size, all.n);
    c.c.size = (int64_t)all.n;
    c.c.checksum = checksum == CHECKSUM_SHA1 ? CHECKSUM_CRC32 : CHECKSUM_SHA1;
    c.c.checksum_base64 = slice_str(expected);
    assert_int_equal(complete(f, &c, parts, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_ALGORITHM);
    c.c.checksum = checksum;
    c.c.checksum_base64 = slice_str(parts[0].checksum_base64);
    assert_int_equal(complete(f, &c, parts, 2), ERR_INVALID);
    assert_int_equal(c.done.fault, STORE_COMPLETE_SUM);
    c.c.checksum_base64 = slice_str(expected);
    assert_int_equal(complete(f, &c, parts, 2), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("summed"), &o), ERR_NONE);
    if (composite)
        memcpy(expected + strlen(expected), "-2", 3);
    assert_string_equal(o->checksum_base64, expected);
    assert_int_equal(o->checksum, checksum);
    assert_int_equal(o->checksum_composite, composite);
    store_object_unref(&o);
    fix_free(&all);
    fix_free(&b[0]);
    fix_free(&b[1]);
}

static void
summed(void **state)
{
    struct fix *f = *state;
    check_summed(f, CHECKSUM_CRC32, true);
    check_summed(f, CHECKSUM_CRC32, false);
    check_summed(f, CHECKSUM_CRC32C, true);
    check_summed(f, CHECKSUM_CRC32C, false);
    check_summed(f, CHECKSUM_CRC64NVME, false);
    check_summed(f, CHECKSUM_SHA1, true);
    check_summed(f, CHECKSUM_SHA256, true);
}

/* ---- what the creation said ---- */

static void
described(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part p;
    struct store_upload u;
    struct buf meta;
    const struct store_object *o = NULL;
    struct arena *a = arena_new(1 << 16);
    buf_init(&meta, 1000);
    store_meta_add(&meta, SLICE_LIT("x-amz-meta-a"), SLICE_LIT("b"));
    c = (struct call){.c = {.size = -1}};
    fix_put_spec(&c.p, "photos", SLICE_LIT("k"), SLICE_NONE);
    c.p.spec.meta = buf_slice(&meta);
    c.p.spec.tags = SLICE_LIT("some tags");
    c.p.spec.acl = SLICE_LIT("an acl");
    c.p.spec.account_id = SLICE_LIT("123456789012");
    c.p.spec.storage_class = STORE_CLASS_STANDARD_IA;
    c.p.spec.lock = (struct store_lock){STORE_RETENTION_GOVERNANCE, 1234567890123, true, true};
    c.p.spec.checksum = CHECKSUM_CRC64NVME;
    assert_int_equal(fix_run(f, create_apply, &c), ERR_NONE);
    c.c.upload_id = slice_str(c.id);
    assert_int_equal(
        store_upload_get(f->store, c.p.spec.bucket, c.p.spec.key, c.c.upload_id, a, &u), ERR_NONE);
    assert_true(slice_eqs(u.owner, "owner") && slice_eqs(u.account_id, "123456789012"));
    assert_int_equal(u.storage_class, STORE_CLASS_STANDARD_IA);
    assert_int_equal(u.checksum, CHECKSUM_CRC64NVME);
    assert_false(u.checksum_composite);
    assert_int_equal(
        store_upload_get(f->store, c.p.spec.bucket, SLICE_LIT("other"), c.c.upload_id, a, &u),
        ERR_NOTFOUND);
    assert_int_equal(part(f, &c, 1, SLICE_LIT("abc"), &p), ERR_NONE);
    /* The completion's own request says nothing of it. */
    fix_put_spec(&c.p, "photos", SLICE_LIT("k"), SLICE_NONE);
    assert_int_equal(complete(f, &c, &p, 1), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), &o), ERR_NONE);
    assert_true(slice_eqs(o->tags, "some tags") && slice_eqs(o->acl, "an acl"));
    assert_true(slice_eq(o->meta, buf_slice(&meta)));
    assert_int_equal(o->storage_class, STORE_CLASS_STANDARD_IA);
    assert_int_equal(o->lock.retention, STORE_RETENTION_GOVERNANCE);
    assert_int_equal(o->lock.retain_until_ms, 1234567890123);
    assert_true(o->lock.legal_hold);
    store_object_unref(&o);
    buf_fini(&meta);
    arena_free(&a);
}

/* ---- the parts of versions ---- */

static int
versioning_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)arg;
    return store_apply_bucket_versioning(f->store, conn, SLICE_LIT("photos"),
                                         STORE_VERSIONING_ENABLED);
}

static int
collect_sum(void *arg, const struct store_part *p)
{
    buf_printf(arg, "%d:%d:%s ", p->number, (int)p->size, p->checksum_base64);
    return 0;
}

static void
version_parts(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part parts[2];
    struct slice big = fix_bytes(1, PART);
    const struct store_object *o = NULL;
    struct buf out, expected;
    buf_init(&out, 1000);
    buf_init(&expected, 1000);
    assert_int_equal(fix_run(f, versioning_apply, NULL), ERR_NONE);
    create_summed(f, &c, "k", CHECKSUM_SHA256, true);
    assert_int_equal(part(f, &c, 3, big, &parts[0]), ERR_NONE);
    assert_int_equal(part(f, &c, 700, SLICE_LIT("tail"), &parts[1]), ERR_NONE);
    assert_int_equal(complete(f, &c, parts, 2), ERR_NONE);
    char version[STORE_VERSION_ID_MAX];
    memcpy(version, c.p.result.version_id, sizeof version);
    assert_int_equal(strlen(version), 16);
    assert_int_equal(complete(f, &c, parts, 2), ERR_NONE);
    assert_string_equal(c.p.result.version_id, version);
    /* Another version on top: the parts stay with theirs. */
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("plain")), ERR_NONE);
    assert_int_equal(
        store_get_version(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), slice_str(version), &o),
        ERR_NONE);
    buf_printf(&expected, "3:%d:%s 700:4:%s ", (int)PART, parts[0].checksum_base64,
               parts[1].checksum_base64);
    assert_int_equal(store_version_parts(f->store, o, collect_sum, &out), ERR_NONE);
    assert_string_equal(out.p, expected.p);
    store_object_unref(&o);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), &o), ERR_NONE);
    assert_int_equal(store_version_parts(f->store, o, collect_sum, &out), ERR_NOTFOUND);
    store_object_unref(&o);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM version_parts"), 1);
    struct fix_delete del = {.spec = {.bucket = SLICE_LIT("photos"),
                                      .key = SLICE_LIT("k"),
                                      .version_id = slice_str(version)}};
    assert_int_equal(fix_run(f, fix_delete_apply, &del), ERR_NONE);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM version_parts"), 0);
    buf_fini(&out);
    buf_fini(&expected);
    fix_free(&big);
}

/* ---- sizes nobody uploads ---- */

static int
inflate_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)f;
    struct db_stmt *q = db_prepare(conn, "UPDATE part SET size = ?1");
    db_bind_int(q, 1, *(int64_t *)arg);
    return db_run(q);
}

/* 1,024 parts of 5 GiB are 5 TiB, the most an object may have; the CRC is joined over all of it. */
static void
five_tebibytes(void **state)
{
    struct fix *f = *state;
    struct call c;
    static struct store_part parts[1025];
    const struct store_object *o = NULL;
    int64_t each = (int64_t)5 << 30;
    uint8_t crc[8] = {0}, one[8];
    create_summed(f, &c, "huge", CHECKSUM_CRC64NVME, false);
    for (int i = 0; i < 1025; i++)
        assert_int_equal(part(f, &c, i + 1, SLICE_LIT("5 GiB"), &parts[i]), ERR_NONE);
    assert_int_equal(fix_run(f, inflate_apply, &each), ERR_NONE);
    assert_int_equal(complete(f, &c, parts, 1025), ERR_TOOBIG);
    c.c.size = (int64_t)5 << 40;
    assert_int_equal(complete(f, &c, parts, 1024), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("huge"), &o), ERR_NONE);
    assert_int_equal(o->size, (int64_t)5 << 40);
    assert_int_equal(base64_decode_exact(slice_str(parts[0].checksum_base64), one, 8), 0);
    for (int i = 0; i < 1024; i++)
        checksum_join(CHECKSUM_CRC64NVME, crc, one, each);
    assert_int_equal(base64_decode_exact(slice_str(o->checksum_base64), one, 8), 0);
    assert_memory_equal(crc, one, 8);
    store_object_unref(&o);
}

/* ---- checksums of stored bytes ---- */

struct summing {
    struct fix_seal wait;
    char base64[DIGEST_BASE64_MAX];
};

static void
sum_done(void *arg, int err, const char *base64)
{
    struct summing *w = arg;
    snprintf(w->base64, sizeof w->base64, "%s", base64);
    fix_sealed(&w->wait, err);
}

static int
stored_sum(struct fix *f, const struct store_object *o, int64_t offset, int64_t bytes,
           enum checksum checksum, char *base64)
{
    struct summing w = {
        .wait = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER}};
    int err = store_sum(f->store, o, offset, bytes, checksum, sum_done, &w);
    if (err != ERR_NONE)
        return err;
    pthread_mutex_lock(&w.wait.mutex);
    while (!w.wait.has_ended)
        pthread_cond_wait(&w.wait.ended, &w.wait.mutex);
    pthread_mutex_unlock(&w.wait.mutex);
    memcpy(base64, w.base64, sizeof w.base64);
    return w.wait.err;
}

/* Of an object of several blobs, whole and in part, also when it is not the current version any
 * more; not when it is gone. */
static void
stored_sums(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part parts[2];
    struct slice b[2] = {fix_bytes(1, PART + 3), fix_bytes(2, 1000)};
    struct slice all = joined(b, 2);
    const struct store_object *o = NULL;
    char got[DIGEST_BASE64_MAX], expected[DIGEST_BASE64_MAX];
    assert_int_equal(fix_run(f, versioning_apply, NULL), ERR_NONE);
    create(f, &c, "k");
    for (int i = 0; i < 2; i++)
        assert_int_equal(part(f, &c, i + 1, b[i], &parts[i]), ERR_NONE);
    assert_int_equal(complete(f, &c, parts, 2), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), &o), ERR_NONE);
    assert_int_equal(stored_sum(f, o, 0, o->size, CHECKSUM_SHA256, got), ERR_NONE);
    sum(CHECKSUM_SHA256, all, expected, sizeof expected);
    assert_string_equal(got, expected);
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("new")), ERR_NONE);
    assert_int_equal(stored_sum(f, o, PART, 500, CHECKSUM_CRC32C, got), ERR_NONE);
    sum(CHECKSUM_CRC32C, slice_of(all.p + PART, 500), expected, sizeof expected);
    assert_string_equal(got, expected);
    assert_int_equal(stored_sum(f, o, 1, o->size, CHECKSUM_CRC32C, got), ERR_RANGE);
    struct fix_delete del = {.spec = {.bucket = SLICE_LIT("photos"),
                                      .key = SLICE_LIT("k"),
                                      .version_id = slice_str(c.p.result.version_id)}};
    assert_int_equal(fix_run(f, fix_delete_apply, &del), ERR_NONE);
    fix_settle(f);
    assert_int_equal(stored_sum(f, o, PART, 500, CHECKSUM_CRC32C, got), ERR_STALE);
    store_object_unref(&o);
    fix_free(&all);
    fix_free(&b[0]);
    fix_free(&b[1]);
}

static int
spoil_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)f;
    (void)arg;
    return db_run(db_prepare(conn, "UPDATE blob SET data = zeroblob(bytes) WHERE data NOT NULL"));
}

/* A small last part lies in the database: checked there too, alone or behind another part. */
static void
damaged_small_part(void **state)
{
    struct fix *f = *state;
    struct call c;
    struct store_part parts[2];
    struct slice b[2] = {fix_bytes(61, PART), fix_bytes(62, 1000)};
    const struct store_object *o = NULL;
    char *got = NULL;
    create(f, &c, "k");
    for (int i = 0; i < 2; i++)
        assert_int_equal(part(f, &c, i + 1, b[i], &parts[i]), ERR_NONE);
    assert_int_equal(complete(f, &c, parts, 2), ERR_NONE);
    assert_int_equal(fix_run(f, spoil_apply, NULL), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), &o), ERR_NONE);
    assert_int_equal(fix_read(f, o, PART, 1000, &got), ERR_CORRUPT);
    assert_int_equal(fix_read(f, o, PART + 10, 1, &got), ERR_CORRUPT);
    assert_int_equal(fix_read(f, o, PART - 10, 11, &got), ERR_CORRUPT);
    assert_int_equal(fix_read(f, o, 0, o->size, &got), ERR_CORRUPT);
    assert_int_equal(fix_read(f, o, PART - 10, 10, &got), ERR_NONE);
    assert_memory_equal(got, b[0].p + PART - 10, 10);
    free(got);
    store_object_unref(&o);
    fix_free(&b[0]);
    fix_free(&b[1]);
}

#define MULTI_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fix_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        MULTI_TEST(whole),         MULTI_TEST(refused),
        MULTI_TEST(aborted),       MULTI_TEST(parts_by_reference),
        MULTI_TEST(large_source),  MULTI_TEST(reader_keeps_all_parts),
        MULTI_TEST(lists),         MULTI_TEST(upload_lists),
        MULTI_TEST(summed),        MULTI_TEST(described),
        MULTI_TEST(version_parts), MULTI_TEST(five_tebibytes),
        MULTI_TEST(stored_sums),   MULTI_TEST(damaged_small_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
