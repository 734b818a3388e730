/*
 * The scrubber over a real store: every kind of damage is found once, sound bytes never, also while
 * they are overwritten; quarantine ends with the bytes; a pass that was cut short goes on.
 */
#include "tests/objectstore/fixture.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "objectstore/scrub_priv.h"
#include "objectstore/scrub.h"

#include <fcntl.h>
#include <inttypes.h>

#define MIB ((size_t)1 << 20)
#define MANY 150

static const struct store_object *
get(struct fix *f, const char *key)
{
    const struct store_object *o = NULL;
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), slice_str(key), &o), ERR_NONE);
    return o;
}

static int64_t
blob_of(struct fix *f, const char *key)
{
    const struct store_object *o = get(f, key);
    int64_t blob = o->extents[0].blob;
    store_object_unref(&o);
    return blob;
}

static const char *
file_of(struct fix *f, const char *key)
{
    char name[64];
    int64_t blob = blob_of(f, key);
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

static void
put(struct fix *f, const char *key, uint64_t seed, size_t n)
{
    struct slice bytes = fix_bytes(seed, n);
    assert_int_equal(fix_put(f, "photos", key, bytes), ERR_NONE);
    fix_free(&bytes);
}

static int
spoil_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)f;
    struct db_stmt *q = db_prepare(conn, "UPDATE blob SET data = zeroblob(length(data)) "
                                         "WHERE id = ?1");
    db_bind_int(q, 1, *(int64_t *)arg);
    return db_run(q);
}

static void
spoil_inline(struct fix *f, const char *key)
{
    int64_t blob = blob_of(f, key);
    assert_int_equal(fix_run(f, spoil_apply, &blob), ERR_NONE);
}

static int64_t
pass(struct fix *f)
{
    int64_t found = -1;
    assert_int_equal(scrub_pass(f->store, NULL, NULL, &found), ERR_NONE);
    return found;
}

/* DAMAGE_NONE: not in quarantine. */
static enum damage
damage(struct fix *f, const char *key, int64_t *offset)
{
    struct db_conn *conn = NULL;
    struct quarantined q = {.reason = DAMAGE_NONE};
    const struct store_object *o = get(f, key);
    assert_int_equal(db_read_begin(f->db, &conn), ERR_NONE);
    int err = quarantine_of(conn, o, &q);
    db_read_end(f->db, &conn);
    store_object_unref(&o);
    assert_true(err == ERR_NONE || err == ERR_NOTFOUND);
    if (offset != NULL)
        *offset = q.offset;
    return err == ERR_NONE ? q.reason : DAMAGE_NONE;
}

#define ROWS "SELECT count(*) FROM quarantine"
#define REFS "SELECT count(*) FROM quarantine_ref"

/* ---- finding ---- */

static void
nothing_is_wrong(void **state)
{
    struct fix *f = *state;
    assert_int_equal(pass(f), 0); /* an empty store */
    put(f, "none", 1, 0);
    put(f, "small", 2, 10);
    put(f, "large", 3, 3 * MIB + 1);
    assert_int_equal(pass(f), 0);
    assert_int_equal(fix_count(f, ROWS), 0);
}

/* Small ones are read in pages of rows; the last one is as good as the first. */
static void
more_than_a_page(void **state)
{
    struct fix *f = *state;
    char key[16];
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "k%d", i);
        put(f, key, (uint64_t)i + 1, 10);
    }
    spoil_inline(f, "k0");
    spoil_inline(f, key);
    assert_int_equal(pass(f), 2);
    assert_int_equal(damage(f, key, NULL), DAMAGE_SUM);
}

static void
every_damage_is_found(void **state)
{
    struct fix *f = *state;
    int64_t offset = -1;
    put(f, "sound", 1, 5000);
    put(f, "inline", 2, 5000);
    put(f, "flipped", 3, 3 * MIB);
    put(f, "short", 4, 3 * MIB);
    put(f, "gone", 5, MIB);
    put(f, "large", 6, 2 * MIB);
    put(f, "tail", 7, 2 * MIB + 100);
    put(f, "part", 8, 100000);
    spoil_inline(f, "inline");
    flip(file_of(f, "flipped"), (int64_t)(2 * MIB + 7));
    flip(file_of(f, "tail"), (int64_t)(2 * MIB + 99)); /* a block need not be full */
    flip(file_of(f, "part"), 99999);
    assert_int_equal(truncate(file_of(f, "short"), (off_t)(MIB + 5)), 0);
    assert_int_equal(unlink(file_of(f, "gone")), 0);

    assert_int_equal(pass(f), 6);
    assert_int_equal(damage(f, "inline", NULL), DAMAGE_SUM);
    assert_int_equal(damage(f, "flipped", &offset), DAMAGE_SUM);
    assert_int_equal(offset, 2 * MIB);
    assert_int_equal(damage(f, "short", &offset), DAMAGE_SHORT);
    assert_int_equal(offset, MIB);
    assert_int_equal(damage(f, "gone", NULL), DAMAGE_GONE);
    assert_int_equal(damage(f, "tail", &offset), DAMAGE_SUM);
    assert_int_equal(offset, 2 * MIB);
    assert_int_equal(damage(f, "part", &offset), DAMAGE_SUM);
    assert_int_equal(offset, 0);
    assert_int_equal(damage(f, "sound", NULL), DAMAGE_NONE);
    assert_int_equal(damage(f, "large", NULL), DAMAGE_NONE);
    assert_int_equal(fix_count(f, REFS), 6);

    /* Known is known; nothing is swept that may be of use. */
    assert_int_equal(pass(f), 0);
    int64_t files = fix_files(f), swept = 0;
    assert_int_equal(store_sweep(f->store, &swept), ERR_NONE);
    assert_int_equal(fix_files(f), files);
    fix_reopen(f);
    assert_int_equal(fix_count(f, ROWS), 6);
    assert_int_equal(pass(f), 0);
}

/* What a reader has found sound before does not count, neither here nor for readers afterwards. */
static void
verified_is_forgotten(void **state)
{
    struct fix *f = *state;
    char *got = NULL;
    int fd = -1;
    int64_t at;
    put(f, "k", 1, 2 * MIB);
    const struct store_object *o = get(f, "k");
    assert_int_equal(fix_read(f, o, 0, o->size, &got), ERR_NONE);
    free(got);
    assert_int_equal(store_sendfile(f->store, o, 0, o->size, &fd, &at), ERR_NONE);
    close(fd);
    flip(file_of(f, "k"), (int64_t)MIB + 1);
    assert_int_equal(pass(f), 1);
    assert_int_equal(store_sendfile(f->store, o, 0, o->size, &fd, &at), ERR_UNSUPPORTED);
    assert_int_equal(store_verify_first(f->store, o, (int64_t)MIB), ERR_CORRUPT);
    assert_int_equal(fix_read(f, o, 0, (int64_t)MIB, &got), ERR_NONE);
    free(got);
    store_object_unref(&o);
}

/* A reader's word is not enough: the block is read again. */
static void
suspicions(void **state)
{
    struct fix *f = *state;
    char *got = NULL;
    put(f, "k", 1, 2 * MIB);
    put(f, "sound", 2, 2 * MIB);
    flip(file_of(f, "k"), 5);
    const struct store_object *o = get(f, "k");
    assert_int_equal(fix_read(f, o, 0, 10, &got), ERR_CORRUPT);
    store_object_unref(&o);
    suspicion_add(&f->store->suspicions, blob_of(f, "sound"), 1);
    suspicion_add(&f->store->suspicions, 4711, 0);
    assert_int_equal(fix_count(f, ROWS), 0);
    assert_int_equal(scrub_suspicions(f->store), ERR_NONE);
    assert_int_equal(damage(f, "k", NULL), DAMAGE_SUM);
    assert_int_equal(fix_count(f, ROWS), 1);
    assert_int_equal(fix_count(f, REFS), 1);
    assert_false(suspicion_waits(&f->store->suspicions));
}

/* ---- the end of quarantine ---- */

static void
it_ends_with_the_bytes(void **state)
{
    struct fix *f = *state;
    put(f, "inline", 1, 100);
    put(f, "file", 2, MIB);
    put(f, "back", 3, MIB);
    spoil_inline(f, "inline");
    flip(file_of(f, "file"), 0);
    flip(file_of(f, "back"), 0);
    assert_int_equal(pass(f), 3);
    put(f, "inline", 4, 100); /* overwritten */
    assert_int_equal(fix_count(f, ROWS), 2);
    assert_int_equal(fix_delete(f, "photos", "file"), ERR_NONE);
    assert_int_equal(fix_count(f, ROWS), 1);
    assert_int_equal(fix_count(f, REFS), 1);
    fix_settle(f);
    assert_int_equal(fix_files(f), 1);
    flip(file_of(f, "back"), 0); /* somebody has put it right */
    assert_int_equal(pass(f), 0);
    assert_int_equal(fix_count(f, ROWS), 0);
    assert_int_equal(fix_count(f, REFS), 0);
}

/* ---- references ---- */

struct told {
    int count;
    char key[64];
    int err;
};

static int
damaged_hook(void *arg, struct db_conn *conn, const struct store_object *o)
{
    struct told *t = arg;
    (void)conn;
    t->count++;
    snprintf(t->key, sizeof t->key, "%.*s", SLICE_FMT(o->key));
    return t->err;
}

static int
versioning_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)arg;
    return store_apply_bucket_versioning(f->store, conn, SLICE_LIT("photos"),
                                         STORE_VERSIONING_ENABLED);
}

static void
references_are_traced(void **state)
{
    struct fix *f = *state;
    struct told told = {.count = 0};
    f->hooks = (struct store_hooks){.arg = &told, .damaged = damaged_hook};
    fix_reopen(f);
    assert_int_equal(fix_run(f, versioning_apply, NULL), ERR_NONE);
    put(f, "old", 1, MIB);
    flip(file_of(f, "old"), 0);
    put(f, "old", 2, MIB); /* the damaged one is no longer current */
    put(f, "now", 3, MIB);
    flip(file_of(f, "now"), 0);
    assert_int_equal(pass(f), 2);
    assert_int_equal(fix_count(f, REFS), 2);
    assert_int_equal(told.count, 1);
    assert_string_equal(told.key, "now");
    assert_int_equal(pass(f), 0);
    assert_int_equal(told.count, 1);
    fix_close(f); /* the hook's memory ends with this test */
    f->hooks = (struct store_hooks){.arg = NULL};
    fix_open(f);
}

/* ---- one object ---- */

static void
one_object(void **state)
{
    struct fix *f = *state;
    enum damage d = DAMAGE_GONE;
    int64_t at = 0;
    int steps = 0;
    put(f, "k", 1, 5 * MIB);
    const struct store_object *o = get(f, "k");
    for (; at < o->size; steps++) {
        assert_int_equal(scrub_object(f->store, o, &at, 2 * (int64_t)MIB, &d), ERR_NONE);
        assert_int_equal(d, DAMAGE_NONE);
    }
    assert_int_equal(steps, 3);
    flip(file_of(f, "k"), (int64_t)(4 * MIB + 1));
    at = 0;
    do
        assert_int_equal(scrub_object(f->store, o, &at, 2 * (int64_t)MIB, &d), ERR_NONE);
    while (d == DAMAGE_NONE && at < o->size);
    assert_int_equal(d, DAMAGE_SUM);
    assert_int_equal(fix_count(f, ROWS), 1);
    assert_int_equal(fix_delete(f, "photos", "k"), ERR_NONE);
    at = 0;
    assert_int_equal(scrub_object(f->store, o, &at, 2 * (int64_t)MIB, &d), ERR_STALE);
    store_object_unref(&o);
}

/* ---- meanwhile ---- */

struct stop_after {
    int pieces;
};

static bool
stop_rest(void *arg, int64_t bytes)
{
    struct stop_after *s = arg;
    assert_true(bytes >= 0);
    return --s->pieces > 0;
}

/* A pass that is cut short after each block, with a restart in between, reads each block once. */
static void
the_cursor_is_kept(void **state)
{
    struct fix *f = *state;
    struct db_conn *conn = NULL;
    struct scrub_state st;
    int64_t found, all = 0;
    int turns = 0, err;
    put(f, "a", 1, 3 * MIB);
    put(f, "b", 2, 100);
    put(f, "c", 3, 3 * MIB);
    flip(file_of(f, "c"), (int64_t)(2 * MIB));
    do {
        struct stop_after stop = {1};
        err = scrub_pass(f->store, stop_rest, &stop, &found);
        assert_true(err == ERR_NONE || err == ERR_CANCELED);
        all += found;
        turns++;
        fix_reopen(f);
    } while (err == ERR_CANCELED);
    assert_int_equal(all, 1);
    assert_int_equal(turns, 3 + 1 + 2 + 1); /* the last block of c is bad */
    assert_int_equal(db_read_begin(f->db, &conn), ERR_NONE);
    assert_int_equal(scrub_state_read(conn, &st), ERR_NONE);
    db_read_end(f->db, &conn);
    assert_int_equal(st.blob, 0);
    assert_int_equal(st.blobs, 3);
    assert_true(st.ended_ms > 0);
}

struct overwrite {
    struct fix *f;
    int turn;
};

/* Between two pieces everything is overwritten or deleted, and its files are unlinked. */
static bool
overwrite_rest(void *arg, int64_t bytes)
{
    struct overwrite *o = arg;
    (void)bytes;
    if (o->turn++ > 40)
        return true;
    if (o->turn % 3 == 0)
        assert_int_equal(fix_delete(o->f, "photos", "k"), ERR_NONE);
    put(o->f, "k", (uint64_t)o->turn, o->turn % 2 == 0 ? 2 * MIB : 70 * 1024);
    put(o->f, "other", (uint64_t)o->turn + 100, 2 * MIB);
    fix_settle(o->f);
    return true;
}

static void
overwritten_meanwhile(void **state)
{
    struct fix *f = *state;
    struct overwrite o = {.f = f};
    int64_t found = -1;
    put(f, "other", 1, 3 * MIB);
    put(f, "k", 1, 3 * MIB);
    assert_int_equal(scrub_pass(f->store, overwrite_rest, &o, &found), ERR_NONE);
    assert_int_equal(found, 0);
    assert_true(o.turn > 40);
    assert_int_equal(fix_count(f, ROWS), 0);
}

/* ---- the thread ---- */

static void
the_thread(void **state)
{
    struct fix *f = *state;
    put(f, "k", 1, 2 * MIB);
    flip(file_of(f, "k"), 0);
    struct scrub_options o = {
        .store = f->store, .interval_ms = 3600000, .rate_bytes_s = 1000000000};
    struct scrubber *r = scrub_start(&o);
    while (fix_count(f, REFS) == 0)
        sched_yield();
    put(f, "late", 2, 2 * MIB); /* the pass is over: a reader finds this one */
    flip(file_of(f, "late"), 0);
    const struct store_object *late = get(f, "late");
    char *got = NULL;
    assert_int_equal(fix_read(f, late, 0, 10, &got), ERR_CORRUPT);
    store_object_unref(&late);
    while (fix_count(f, REFS) < 2)
        sched_yield();
    scrub_stop(&r);
    assert_null(r);
    scrub_stop(&r);
}

/* 3 MiB at 1 MB/s cannot be done in one second, and stopping does not wait for them. */
static void
the_rate(void **state)
{
    struct fix *f = *state;
    struct db_conn *conn = NULL;
    struct scrub_state st = {.blob = 0};
    put(f, "k", 1, 40 * MIB);
    struct scrub_options o = {.store = f->store, .interval_ms = 3600000, .rate_bytes_s = 10000000};
    int64_t began_ms = clock_mono_ms();
    struct scrubber *r = scrub_start(&o);
    while (fix_count(f, "SELECT count(*) FROM store_state WHERE name = 'scrub_block'") == 0 &&
           clock_mono_ms() - began_ms < 500)
        sched_yield();
    scrub_stop(&r);
    int64_t took_ms = clock_mono_ms() - began_ms;
    assert_int_equal(db_read_begin(f->db, &conn), ERR_NONE);
    assert_int_equal(scrub_state_read(conn, &st), ERR_NONE);
    db_read_end(f->db, &conn);
    /* One second's worth may be made up for, and one piece is under way. */
    assert_true(st.bytes <= (took_ms + 1000) * 10000 + 2 * (int64_t)MIB);
    assert_int_equal(st.ended_ms, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIX_TEST(nothing_is_wrong),
        FIX_TEST(more_than_a_page),
        FIX_TEST(every_damage_is_found),
        FIX_TEST(verified_is_forgotten),
        FIX_TEST(suspicions),
        FIX_TEST(it_ends_with_the_bytes),
        FIX_TEST(references_are_traced),
        FIX_TEST(one_object),
        FIX_TEST(the_cursor_is_kept),
        FIX_TEST(overwritten_meanwhile),
        FIX_TEST(the_thread),
        FIX_TEST(the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
