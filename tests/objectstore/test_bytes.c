/*
 * Bytes: ranges against a model, damage is found and never sent, files go when and only when their
 * last reference and last reader are gone, many uploads at once share directory syncs.
 */
#include "tests/objectstore/fixture.h"
#include "base/fsio.h"
#include "base/stat.h"
#include "objectstore/bytes.h"
#include "objectstore/reader_priv.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MIB ((size_t)1 << 20)

static const struct store_object *
get(struct fix *f, const char *key)
{
    const struct store_object *o = NULL;
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), slice_str(key), &o), ERR_NONE);
    return o;
}

static const char *
file_of(struct fix *f, int64_t blob)
{
    char name[64];
    snprintf(name, sizeof name, "blobs/%" PRId64 "/%" PRId64, blob / BYTES_FOLDER_IDS, blob);
    return testdir_path(f->dir, name);
}

static void
flip(const char *path, int64_t at)
{
    char c;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fsio_pread_all(fd, &c, 1, at), ERR_NONE);
    c ^= 1;
    assert_int_equal(fsio_pwrite_all(fd, &c, 1, at), ERR_NONE);
    close(fd);
}

/* Blob files are made in the store's own pace of ids; the test's extents come from real puts. */
static void
ranges(void **state)
{
    struct fix *f = *state;
    uint64_t seed = 7;
    static const size_t sizes[] = {5, 64 << 10, (64 << 10) + 1, 3 * MIB + 17};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct slice bytes = fix_bytes(i, sizes[i]);
        int64_t n = (int64_t)sizes[i];
        char *got = NULL;
        assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
        const struct store_object *o = get(f, "k");
        for (int turn = 0; turn < 60; turn++) {
            int64_t from = (int64_t)(fix_random(&seed) % (uint64_t)(n + 1));
            int64_t count = (int64_t)(fix_random(&seed) % (uint64_t)(n - from + 1));
            assert_int_equal(fix_read(f, o, from, count, &got), ERR_NONE);
            assert_memory_equal(got, bytes.p + from, (size_t)count);
            free(got);
        }
        assert_int_equal(fix_read(f, o, 0, n + 1, &got), ERR_RANGE);
        assert_int_equal(fix_read(f, o, n + 1, 0, &got), ERR_RANGE);
        assert_int_equal(fix_read(f, o, -1, 1, &got), ERR_RANGE);
        store_object_unref(&o);
        fix_free(&bytes);
    }
}

static void
expected_sizes(void **state)
{
    struct fix *f = *state;
    /* What the client announces decides where the bytes wait, never what is stored. */
    static const int64_t expected[] = {-1, 0, 10, 64 << 10, 65 << 10, 10 << 20};
    static const size_t sizes[] = {0, 10, 64 << 10, 66 << 10, 2 * MIB};
    for (size_t e = 0; e < ARRAY_LEN(expected); e++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct slice bytes = fix_bytes(i + e * 100, sizes[i]);
            struct fix_put p;
            fix_put_spec(&p, "photos", SLICE_LIT("k"), bytes);
            p.put = fix_sealed_put(f, bytes, expected[e]);
            assert_non_null(p.put);
            assert_int_equal(store_put_bytes(p.put), sizes[i]);
            assert_int_equal(fix_run(f, fix_put_apply, &p), ERR_NONE);
            store_put_end(&p.put);
            assert_int_equal(fix_same(f, "photos", "k", bytes), ERR_NONE);
            fix_free(&bytes);
        }
    }
}

/* ---- damage ---- */

static void
damaged_file(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(3, 3 * MIB + 100);
    struct store_reader *r = NULL;
    char *got = NULL, small[16];
    assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
    const struct store_object *o = get(f, "k");
    flip(file_of(f, o->extents[0].blob), (int64_t)MIB + 5);
    int64_t before = stat_get(STAT_blocks_corrupt_total);

    assert_int_equal(store_verify_first(f->store, o, 0), ERR_NONE);
    assert_int_equal(store_verify_first(f->store, o, (int64_t)MIB), ERR_CORRUPT);
    assert_int_equal(fix_read(f, o, 0, (int64_t)MIB, &got), ERR_NONE);
    assert_memory_equal(got, bytes.p, MIB);
    free(got);
    /* Not one byte of the bad block, wherever in it the range lies. */
    assert_int_equal(store_reader_open(f->store, o, 2 * (int64_t)MIB - 10, 20, &r), ERR_NONE);
    assert_int_equal(store_reader_read(r, small, sizeof small), ERR_CORRUPT);
    store_reader_close(&r);
    assert_int_equal(store_reader_open(f->store, o, 2 * (int64_t)MIB, 100, &r), ERR_NONE);
    assert_int_equal(store_reader_read(r, small, sizeof small), sizeof small);
    assert_memory_equal(small, bytes.p + 2 * MIB, sizeof small);
    store_reader_close(&r);
    int fd = -1;
    assert_int_equal(store_source_fd(f->store, o, &fd), ERR_CORRUPT);
    assert_int_equal(fd, -1);
    assert_true(stat_get(STAT_blocks_corrupt_total) > before);
    store_object_unref(&o);
    fix_free(&bytes);
}

static void
short_file(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(4, 2 * MIB);
    char *got = NULL;
    assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
    const struct store_object *o = get(f, "k");
    assert_int_equal(truncate(file_of(f, o->extents[0].blob), (off_t)MIB + 1), 0);
    assert_int_equal(fix_read(f, o, (int64_t)MIB, 10, &got), ERR_CORRUPT);
    assert_int_equal(fix_read(f, o, 0, 10, &got), ERR_NONE);
    free(got);
    store_object_unref(&o);
    fix_free(&bytes);
}

static int
spoil_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)f;
    struct db_stmt *q = db_prepare(conn, "UPDATE blob SET data = ?1");
    db_bind_blob(q, 1, *(struct slice *)arg);
    return db_run(q);
}

static void
damaged_inline(void **state)
{
    struct fix *f = *state;
    struct slice wrong = SLICE_LIT("hellp");
    const struct store_object *o = NULL;
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("hello")), ERR_NONE);
    assert_int_equal(fix_run(f, spoil_apply, &wrong), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), &o), ERR_CORRUPT);
    assert_null(o);
    wrong = SLICE_LIT("hel");
    assert_int_equal(fix_run(f, spoil_apply, &wrong), ERR_NONE);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), &o), ERR_CORRUPT);
}

/* ---- descriptors ---- */

static void
sends_only_verified(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(5, 3 * MIB);
    char *got = NULL, part[100];
    int fd = -1;
    int64_t at = 0;
    assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
    fix_reopen(f);
    const struct store_object *o = get(f, "k");
    assert_int_equal(store_sendfile(f->store, o, 0, 100, &fd, &at), ERR_UNSUPPORTED);
    assert_int_equal(fix_read(f, o, (int64_t)MIB, (int64_t)MIB, &got), ERR_NONE);
    free(got);
    assert_int_equal(store_sendfile(f->store, o, 0, 100, &fd, &at), ERR_UNSUPPORTED);
    assert_int_equal(store_sendfile(f->store, o, (int64_t)MIB - 1, 2, &fd, &at), ERR_UNSUPPORTED);
    assert_int_equal(store_sendfile(f->store, o, 2 * (int64_t)MIB - 1, 2, &fd, &at),
                     ERR_UNSUPPORTED);
    assert_int_equal(store_sendfile(f->store, o, (int64_t)MIB + 7, 100, &fd, &at), ERR_NONE);
    assert_int_equal(fsio_pread_all(fd, part, sizeof part, at), ERR_NONE);
    assert_memory_equal(part, bytes.p + MIB + 7, sizeof part);
    close(fd);
    assert_int_equal(store_sendfile(f->store, o, 0, 3 * (int64_t)MIB + 1, &fd, &at), ERR_RANGE);
    store_object_unref(&o);
    fix_free(&bytes);
}

static void
sources(void **state)
{
    struct fix *f = *state;
    static const size_t sizes[] = {0, 100, 2 * MIB + 3};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct slice bytes = fix_bytes(i, sizes[i]);
        struct stat st;
        int fd = -1;
        char *got = chk_malloc(sizes[i] + 1);
        assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
        const struct store_object *o = get(f, "k");
        assert_int_equal(store_source_fd(f->store, o, &fd), ERR_NONE);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, sizes[i]);
        assert_int_equal(fsio_pread_all(fd, got, sizes[i], 0), ERR_NONE);
        assert_memory_equal(got, bytes.p, sizes[i]);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
        assert_int_equal(write(fd, "x", 1), -1); /* sealed, or open for reading only */
        close(fd);
        free(got);
        store_object_unref(&o);
        fix_free(&bytes);
    }
}

/* ---- who keeps a file alive ---- */

static void
reader_outlives_delete(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(6, 2 * MIB);
    struct store_reader *r = NULL;
    char *p = chk_malloc(2 * MIB);
    ptrdiff_t n;
    assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
    const struct store_object *o = get(f, "k");
    assert_int_equal(store_reader_open(f->store, o, 0, 2 * (int64_t)MIB, &r), ERR_NONE);
    assert_int_equal(fix_delete(f, "photos", "k"), ERR_NONE);
    fix_settle(f);
    assert_int_equal(fix_files(f), 0);
    size_t at = 0;
    while ((n = store_reader_read(r, p + at, MIB)) > 0)
        at += (size_t)n;
    assert_int_equal(n, 0);
    assert_memory_equal(p, bytes.p, 2 * MIB);
    store_reader_close(&r);
    /* One that comes too late is told to look again. */
    assert_int_equal(store_reader_open(f->store, o, 0, 1, &r), ERR_STALE);
    assert_int_equal(store_verify_first(f->store, o, 0), ERR_NONE); /* verified before */
    int fd;
    int64_t fd_at;
    assert_int_equal(store_sendfile(f->store, o, 0, 1, &fd, &fd_at), ERR_STALE);
    assert_int_equal(store_source_fd(f->store, o, &fd), ERR_STALE);
    store_object_unref(&o);
    free(p);
    fix_free(&bytes);
}

static void
end_without_commit(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(8, MIB), half = slice_of(bytes.p, 100000);
    struct store_put *put = fix_sealed_put(f, bytes, -1);
    assert_int_equal(fix_files(f), 1);
    store_put_end(&put);
    assert_null(put);
    store_put_end(&put);
    fix_settle(f);
    assert_int_equal(fix_files(f), 0);
    assert_int_equal(store_put_begin(f->store, &put, -1), ERR_NONE);
    assert_int_equal(store_put_write(put, half.p, half.n), ERR_NONE);
    store_put_end(&put); /* in mid-upload */
    assert_int_equal(store_put_begin(f->store, &put, 5), ERR_NONE);
    store_put_end(&put);
    fix_settle(f);
    assert_int_equal(fix_files(f), 0);
    fix_free(&bytes);
}

static void
orphan_make(struct fix *f, int64_t id)
{
    int fd = bytes_make(f->store->bytes);
    assert_true(fd >= 0);
    assert_int_equal(bytes_publish(f->store->bytes, fd, id), ERR_NONE);
    close(fd);
}

static void
sweeps(void **state)
{
    struct fix *f = *state;
    struct slice bytes = fix_bytes(9, MIB);
    int64_t removed = -1, id = store_new_id(f->store);
    assert_int_equal(fix_put(f, "photos", "kept", bytes), ERR_NONE);
    fix_settle(f);
    orphan_make(f, id); /* an upload of a dead process */
    orphan_make(f, 4096 * 7);
    struct store_put *flying = fix_sealed_put(f, bytes, -1);
    int64_t later = store_new_id(f->store);
    orphan_make(f, later); /* newer than an upload in flight: may be one itself */
    assert_int_equal(store_sweep(f->store, &removed), ERR_NONE);
    assert_int_equal(removed, 2);
    assert_int_equal(fix_files(f), 3);
    assert_int_equal(access(testdir_path(f->dir, "blobs/7"), F_OK), -1); /* the empty folder too */
    store_put_end(&flying);
    fix_settle(f);
    assert_int_equal(store_sweep(f->store, &removed), ERR_NONE);
    assert_int_equal(removed, 1);
    assert_int_equal(fix_files(f), 1);
    assert_int_equal(fix_same(f, "photos", "kept", bytes), ERR_NONE);
    orphan_make(f, store_new_id(f->store));
    fix_reopen(f); /* opening sweeps */
    assert_int_equal(fix_files(f), 1);
    assert_int_equal(fix_same(f, "photos", "kept", bytes), ERR_NONE);
    fix_free(&bytes);
}

static int
doom_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)f;
    struct db_stmt *q =
        db_prepare(conn, "INSERT INTO doomed (blob, bytes, crcs) VALUES (?1, 0, '')");
    db_bind_int(q, 1, *(int64_t *)arg);
    return db_run(q);
}

/* The process died between the commit and the unlink. */
static void
unlinks_are_finished(void **state)
{
    struct fix *f = *state;
    int64_t id = 4096 * 7 + 1;
    orphan_make(f, id);
    assert_int_equal(fix_run(f, doom_apply, &id), ERR_NONE);
    fix_reopen(f);
    assert_int_equal(fix_files(f), 0);
    assert_int_equal(fix_count(f, FIX_DOOMED), 0);
}

/* ---- many at once ---- */

#define THREADS 8
#define ROUNDS 12

struct crowd {
    struct fix *f;
    int number;
    int failures;
};

static void *
crowd_main(void *arg)
{
    struct crowd *c = arg;
    char key[32];
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t seed = (uint64_t)(c->number * 1000 + i);
        struct slice bytes = fix_bytes(seed, i % 3 == 0 ? 500 : (size_t)100000 + seed * 13);
        snprintf(key, sizeof key, "k%d", c->number);
        c->failures += fix_put(c->f, "photos", key, bytes) != ERR_NONE;
        c->failures += fix_same(c->f, "photos", key, bytes) != ERR_NONE;
        if (i % 4 == 3)
            c->failures += fix_delete(c->f, "photos", key) != ERR_NONE;
        fix_free(&bytes);
    }
    store_thread_end(c->f->store);
    return NULL;
}

static void
many_writers(void **state)
{
    struct fix *f = *state;
    struct crowd crowd[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){.f = f, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, &crowd[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(crowd[i].failures, 0);
    }
    fix_settle(f);
    assert_int_equal(fix_count(f, FIX_BLOBS), 0);
    assert_int_equal(fix_files(f), 0);
}

/* ---- descriptors ---- */

#define FILES 512

/* With few descriptors left files are not opened any more; whoever has one goes on. */
static void
leaves_descriptors(void **state)
{
    struct fix *f = *state;
    struct bytes *b = NULL;
    struct rlimit before, low = {.rlim_cur = FILES};
    int fds[FILES];
    size_t count = 0;
    struct slice bytes = fix_bytes(1, MIB);
    assert_int_equal(fix_put(f, "photos", "k", bytes), ERR_NONE);
    const struct store_object *o = get(f, "k");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(bytes_open(&b, f->dir), ERR_NONE);
    int fd = bytes_fd(b, o->extents[0].blob);
    assert_true(fd >= 0);
    while (count < FILES && (fds[count] = dup(fd)) >= 0)
        count++;
    for (int i = 0; i < FILES / 16; i++) /* a sixteenth is free */
        close(fds[--count]);
    assert_int_equal(bytes_fd(b, o->extents[0].blob), ERR_BUSY);
    assert_int_equal(bytes_make(b), ERR_BUSY);
    while (count > 0)
        close(fds[--count]);
    int again = bytes_make(b);
    assert_true(again >= 0);
    close(again);
    close(fd);
    bytes_close(&b);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    store_object_unref(&o);
    fix_free(&bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIX_TEST(ranges),
        FIX_TEST(expected_sizes),
        FIX_TEST(damaged_file),
        FIX_TEST(short_file),
        FIX_TEST(damaged_inline),
        FIX_TEST(sends_only_verified),
        FIX_TEST(sources),
        FIX_TEST(reader_outlives_delete),
        FIX_TEST(end_without_commit),
        FIX_TEST(sweeps),
        FIX_TEST(unlinks_are_finished),
        FIX_TEST(many_writers),
        FIX_TEST(leaves_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
