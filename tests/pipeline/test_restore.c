/*
 * A backup may be somebody else's. Whatever its database holds besides what our own schema steps
 * make is refused by name before anything of it is run or a target is made; damaged bytes end in
 * one line, never in a crash or in a directory that a server would take for whole.
 */
#include "tests/pipeline/rig.h"

#include "base/fsdir.h"
#include "base/log.h"
#include "pipeline/backup_set.h"
#include "pipeline/datadir.h"
#include "pipeline/restore.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define SNAPSHOT "snapshot-20260101T000000.000Z"
#define OBJECTS 40
#define MUTATIONS 200 /* DARKROOM_MUTATIONS says otherwise */
#define EDITS_MAX 24
#define DB_BYTES_MAX (16u << 20)

struct fixture {
    struct rig rig;
    char set[512], snapshot[600], copy[700], target[512];
    struct backup_manifest manifest;
    struct buf report, why;
};

static int
setup_with(void **state, int objects)
{
    struct fixture *f = chk_calloc(1, sizeof *f);
    char key[32];
    buf_init(&f->report, 1024);
    buf_init(&f->why, 1024);
    rig_open(&f->rig, "/nowhere/darkroom-worker");
    rig_full_bucket(&f->rig, "photos");
    for (int i = 0; i < objects; i++) {
        snprintf(key, sizeof key, "%d.jpg", i);
        rig_put(&f->rig, "photos", key, slice_str(key), "image/jpeg");
    }
    snprintf(f->set, sizeof f->set, "%s/set", f->rig.dir);
    snprintf(f->snapshot, sizeof f->snapshot, "%s/" SNAPSHOT, f->set);
    snprintf(f->copy, sizeof f->copy, "%s/darkroom.db", f->snapshot);
    snprintf(f->target, sizeof f->target, "%s/target", f->rig.dir);
    *state = f;
    return 0;
}

static int
setup(void **state)
{
    return setup_with(state, OBJECTS);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    buf_fini(&f->report);
    buf_fini(&f->why);
    rig_close(&f->rig);
    free(f);
    return 0;
}

/* The manifest says what the database is. */
static void
vouch(struct fixture *f)
{
    struct backup_set set = {.dirfd = -1, .lock_fd = -1};
    struct backup_manifest *m = &f->manifest;
    snprintf(set.path, sizeof set.path, "%s", f->set);
    int fd = open(f->snapshot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    *m = (struct backup_manifest){
        .name = SNAPSHOT, .schema = pipeline_schema()->count, .time_ms = INT64_C(1767225600000)};
    assert_int_equal(backup_hash_file(fd, "darkroom.db", m->db_sha256, &m->db_bytes), ERR_NONE);
    close(fd);
    assert_int_equal(backup_manifest_write(&set, m, NULL), ERR_NONE);
}

static void
backup_make(struct fixture *f)
{
    char path[700];
    struct db_backup_progress progress = {0};
    assert_int_equal(mkdir(f->set, 0700), 0);
    assert_int_equal(mkdir(f->snapshot, 0700), 0);
    snprintf(path, sizeof path, "%s/blobs", f->snapshot);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(db_backup(f->rig.db, f->copy, &progress), ERR_NONE);
    vouch(f);
}

static int
restore(struct fixture *f)
{
    buf_reset(&f->report);
    buf_reset(&f->why);
    return restore_run(f->snapshot, f->target, &f->report, &f->why);
}

/* ---- what does not belong ---- */

static const char *foreign_sql;

static int
foreign_apply(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    (void)arg;
    return db_run(db_prepare(conn, foreign_sql));
}

static const struct foreign {
    const char *sql[2];
    int err;
    const char *why;
} foreign[] = {
    {{"CREATE TRIGGER evil AFTER INSERT ON object BEGIN DELETE FROM bucket; END"},
     ERR_CORRUPT,
     "trigger \"evil\" does not belong in a database of schema"},
    {{"CREATE VIEW evil AS SELECT * FROM object"}, ERR_CORRUPT, "view \"evil\" does not belong"},
    {{"CREATE TABLE evil (x)"}, ERR_CORRUPT, "table \"evil\" does not belong"},
    {{"CREATE INDEX evil ON object (abs(size))"}, ERR_CORRUPT, "index \"evil\" does not belong"},
    {{"CREATE TABLE \"a\nb\" (x)"}, ERR_CORRUPT, "table \"a\\x0ab\" does not belong"},
    {{"DROP TABLE usage"}, ERR_CORRUPT, "table \"usage\" is missing"},
    {{"DROP TABLE usage", "CREATE VIEW usage AS SELECT 1 AS day"},
     ERR_CORRUPT,
     "table \"usage\" is missing"},
    {{"DROP INDEX event_key"}, ERR_CORRUPT, "index \"event_key\" is missing"},
    {{"DROP INDEX event_key", "CREATE INDEX event_key ON event (bucket_id, abs(id))"},
     ERR_CORRUPT,
     "index \"event_key\" is not that of schema"},
    {{"ALTER TABLE object ADD COLUMN evil INTEGER DEFAULT 1"},
     ERR_CORRUPT,
     "table \"object\" is not that of schema"},
    {{"ALTER TABLE object DROP COLUMN acl"}, ERR_CORRUPT, "table \"object\" is not that of schema"},
    {{"PRAGMA user_version = 99"}, ERR_UNSUPPORTED, "a newer one is needed"},
    {{"PRAGMA user_version = 3"}, ERR_CORRUPT, "in a database of schema 3"},
    {{"PRAGMA user_version = 0"}, ERR_CORRUPT, "in a database of schema 0"},
    {{"PRAGMA user_version = -1"}, ERR_CORRUPT, "no database of darkroomd"},
};

/* What a server's start says to the same file, which stays as it is. */
static void
start_refuses(struct fixture *f, const struct foreign *one)
{
    struct db *db = NULL;
    char path[700];
    struct buf before, after;
    buf_init(&before, DB_BYTES_MAX);
    buf_init(&after, DB_BYTES_MAX);
    snprintf(path, sizeof path, "%s/start.db", f->rig.dir);
    assert_int_equal(fsio_read_file(f->copy, &before), ERR_NONE);
    assert_int_equal(fsio_write_file(path, 0600, buf_slice(&before)), ERR_NONE);
    buf_reset(&f->why);
    struct db_options options = {.path = path, .schema = *pipeline_schema(), .why = &f->why};
    assert_int_equal(db_open(&db, &options), one->err);
    assert_non_null(strstr(f->why.p, one->why));
    assert_int_equal(fsio_read_file(path, &after), ERR_NONE);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    buf_fini(&before);
    buf_fini(&after);
}

static void
refuses(struct fixture *f, const struct foreign *one)
{
    for (size_t i = 0; i < ARRAY_LEN(one->sql) && one->sql[i] != NULL; i++) {
        foreign_sql = one->sql[i];
        assert_int_equal(rig_call(&f->rig, foreign_apply, NULL), ERR_NONE);
    }
    backup_make(f);
    assert_int_equal(restore(f), one->err);
    if (strstr(f->why.p, one->why) == NULL || strchr(f->why.p, '\n') != NULL)
        fail_msg("%s: told \"%s\"", one->sql[0], f->why.p);
    assert_int_equal(access(f->target, F_OK), -1);
    start_refuses(f, one);
}

static void
what_no_step_of_ours_made_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        void *own = NULL;
        assert_int_equal(setup_with(&own, 1), 0);
        refuses(own, &foreign[i]);
        teardown(&own);
    }
}

/* ---- the same, written otherwise ---- */

/* Of one length, put into the file in the place of each other. */
static const struct otherwise {
    const char *ours, *theirs;
    int err;
} otherwise[] = {
    {"TABLE \"object\" (", "TABLE object   (", ERR_NONE},
    {"TABLE \"object\" (", "TABLE \"object\"(\t", ERR_NONE},
    {"TABLE dead_letter (", "TABLE dead_letter\n(", ERR_NONE},
    {"0, object_lock", "0 ,object_lock", ERR_NONE},
    {"0, object_lock", "0,\nobject_lock", ERR_NONE},
    {"object_lock INTEGER", "object_lock\fINTEGER", ERR_NONE},
    {"object_version (bucket_id, key)", "object_version (bucket_id,key )", ERR_NONE},
    {"object_version (bucket_id, key)", "object_version (bucket_id, gey)", ERR_CORRUPT},
    {"object_lock INTEGER", "object_lock_INTEGER", ERR_CORRUPT},
    {"INTEGER NOT NULL", "\"INTEGER\"NOTNULL", ERR_CORRUPT},
    {"INTEGER NOT NULL DEFAULT 0", "INTEGER NOT NULL DEFAULT 1", ERR_CORRUPT},
    {"INTEGER NOT NULL DEFAULT 0", "INTEGER          DEFAULT 0", ERR_CORRUPT},
    {"INTEGER PRIMARY KEY, ", "INTEGER PRIMARYKEY , ", ERR_CORRUPT},
    {"DEFAULT 'error'", "DEFAULT ' rror'", ERR_CORRUPT},
    {"DEFAULT 'error'", "DEFAULT \"error\"", ERR_CORRUPT},
    {"DEFAULT x''", "DEFAULT 'x'", ERR_CORRUPT},
    {") WITHOUT ROWID", ")/*      ROWID*", ERR_CORRUPT},
    {"TABLE \"object\" (", "TABLE [object] (", ERR_CORRUPT},
};

/* false: it is not there. */
static bool
put_otherwise(struct fixture *f, const struct otherwise *one)
{
    struct buf b;
    size_t n = strlen(one->ours);
    buf_init(&b, DB_BYTES_MAX);
    assert_int_equal(fsio_read_file(f->copy, &b), ERR_NONE);
    char *at = memmem(b.p, b.n, one->ours, n);
    assert_int_equal(strlen(one->theirs), n);
    if (at != NULL) {
        memcpy(at, one->theirs, n);
        assert_int_equal(fsio_write_file(f->copy, 0600, buf_slice(&b)), ERR_NONE);
        vouch(f);
    }
    buf_fini(&b);
    return at != NULL;
}

/* ALTER TABLE of another version of SQLite may set blanks and quotes elsewhere. */
static void
blanks_and_quotes_of_a_name_count_for_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(otherwise); i++) {
        void *own = NULL;
        assert_int_equal(setup_with(&own, 1), 0);
        struct fixture *f = own;
        backup_make(f);
        if (!put_otherwise(f, &otherwise[i]))
            fail_msg("%s is nowhere", otherwise[i].ours);
        int err = restore(f);
        if (err != otherwise[i].err)
            fail_msg("%s: %s, \"%s\"", otherwise[i].theirs, err_name(err), f->why.p);
        teardown(&own);
    }
}

/* ---- damage ---- */

static uint64_t seed;

static size_t
draw(size_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed >> 11) % below;
}

/* Headers of the file and of its pages are small, and tell how the rest is read: half of the edits
 * are in them. */
static void
mutate(uint8_t *p, size_t n)
{
    static const uint8_t telling[] = {0, 1, 2, 5, 10, 13, 0x7f, 0x80, 0xff};
    size_t edits = 1 + draw(EDITS_MAX);
    for (size_t i = 0; i < edits; i++) {
        size_t page = draw(3) == 0 ? 0 : draw(n / 8192) * 8192;
        size_t at = draw(2) == 0 ? page + draw(128) : page + draw(8192);
        switch (draw(5)) {
        case 0:
            p[at] ^= (uint8_t)(1u << draw(8));
            break;
        case 1:
        case 2:
            p[at] = telling[draw(ARRAY_LEN(telling))];
            break;
        case 3:
            memset(p + at, telling[draw(ARRAY_LEN(telling))], draw(n - at < 64 ? n - at : 64));
            break;
        default: /* a page in place of another */
            memmove(p + page, p + draw(n / 8192) * 8192, 8192);
        }
    }
}

/* A target that was begun and not ended is nobody's; one that was ended may be served. */
static void
target_is_whole_or_marked(struct fixture *f, int err)
{
    struct datadir dir = {.lock_fd = -1};
    struct db *db = NULL;
    struct store *store = NULL;
    char path[PATH_MAX];
    if (access(f->target, F_OK) != 0) {
        assert_int_not_equal(err, ERR_NONE);
        return;
    }
    assert_int_equal(datadir_open(&dir, f->target, &f->why), ERR_NONE);
    assert_int_equal(datadir_check_whole(&dir, &f->why), err == ERR_NONE ? ERR_NONE : ERR_CONFLICT);
    datadir_path(&dir, "darkroom.db", path);
    struct db_options options = {.path = path, .schema = *pipeline_schema()};
    if (err == ERR_NONE && db_open(&db, &options) == ERR_NONE) {
        struct store_options s = {.db = db, .dir = f->target, .cache_bytes = 1 << 20};
        if (store_open(&store, &s) == ERR_NONE) {
            store_thread_end(store);
            store_close(&store);
        }
        db_close(&db);
    }
    datadir_close(&dir);
}

static int
target_remove(struct fixture *f)
{
    int dir = fsdir_open_path(f->rig.dir);
    int err = fsdir_remove(dir, "target");
    close(dir);
    return err;
}

/* Without a sync: hundreds of them would take their time. */
static void
overwrite(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fsio_write_all(fd, p, n), ERR_NONE);
    close(fd);
}

/* Of the same size; the manifest says its sum. */
static void
copy_replace(struct fixture *f, const uint8_t *bytes, size_t n)
{
    char path[700], hex[2 * SHA256_BYTES + 1];
    struct buf text;
    int64_t size;
    overwrite(f->copy, bytes, n);
    int fd = open(f->snapshot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(backup_hash_file(fd, "darkroom.db", hex, &size), ERR_NONE);
    close(fd);
    buf_init(&text, 1 << 16);
    snprintf(path, sizeof path, "%s/" BACKUP_MANIFEST, f->snapshot);
    assert_int_equal(fsio_read_file(path, &text), ERR_NONE);
    char *at = strstr(text.p, f->manifest.db_sha256);
    assert_non_null(at);
    memcpy(at, hex, sizeof hex - 1);
    memcpy(f->manifest.db_sha256, hex, sizeof hex);
    overwrite(path, text.p, text.n);
    buf_fini(&text);
}

static void
damaged_bytes_end_in_one_line(void **state)
{
    struct fixture *f = *state;
    const char *count = getenv("DARKROOM_MUTATIONS");
    long mutations = count != NULL ? strtol(count, NULL, 10) : MUTATIONS;
    struct buf whole;
    long restored = 0;
    buf_init(&whole, DB_BYTES_MAX);
    backup_make(f);
    assert_int_equal(restore(f), ERR_NONE);
    target_is_whole_or_marked(f, ERR_NONE);
    assert_int_equal(target_remove(f), ERR_NONE);
    assert_int_equal(fsio_read_file(f->copy, &whole), ERR_NONE);
    uint8_t *bytes = chk_malloc(whole.n);
    for (long i = 0; i < mutations; i++) {
        seed = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
        memcpy(bytes, whole.p, whole.n);
        mutate(bytes, whole.n);
        copy_replace(f, bytes, whole.n);
        int err = restore(f);
        restored += err == ERR_NONE;
        if (err != ERR_NONE && (f->why.n == 0 || strchr(f->why.p, '\n') != NULL))
            fail_msg("mutation %ld: %s, told \"%s\"", i, err_name(err),
                     f->why.n > 0 ? f->why.p : "");
        target_is_whole_or_marked(f, err);
        assert_int_equal(target_remove(f), ERR_NONE);
    }
    assert_in_range(restored, 1, mutations - 1); /* both ways were gone */
    free(bytes);
    buf_fini(&whole);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blanks_and_quotes_of_a_name_count_for_nothing),
        cmocka_unit_test(what_no_step_of_ours_made_is_refused_by_name),
        TEST(damaged_bytes_end_in_one_line),
    };
    log_to_file("/dev/null");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
