/*
 * Buckets, and the life of an object: put, get, overwrite, copy, delete, what a failed transaction
 * leaves behind (nothing), and that all of it is still there after closing and opening.
 */
#include "tests/objectstore/fixture.h"
#include "objectstore/policy.h"

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static const size_t sizes[] = {0, 1, 1000, 64 * KIB, 64 * KIB + 1, MIB, MIB + 1, 3 * MIB + 12345};

static void
bucket_names(void **state)
{
    (void)state;
    static const char *const good[] = {"abc", "a-b", "1ab", "my.bucket.1", "photos-derived"};
    static const char *const bad[] = {"",    "ab",          "Abc",  "a_b",   "-ab", "ab-",
                                      ".ab", "192.168.5.4", "a..b", "xn--x", "a b", "_"};
    char longest[65];
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(store_bucket_name_ok(slice_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(store_bucket_name_ok(slice_str(bad[i])));
    memset(longest, 'a', sizeof longest);
    assert_true(store_bucket_name_ok(slice_of(longest, 63)));
    assert_false(store_bucket_name_ok(slice_of(longest, 64)));
}

static int
collect_name(void *arg, const struct store_bucket *b)
{
    buf_printf(arg, "%.*s ", SLICE_FMT(b->name));
    return 0;
}

static void
bucket_life(void **state)
{
    struct fix *f = *state;
    const struct store_bucket *b = NULL;
    struct buf names;
    buf_init(&names, 1000);
    assert_int_equal(store_bucket_get(f->store, SLICE_LIT("second"), &b), ERR_NOTFOUND);
    assert_int_equal(fix_bucket(f, "second"), ERR_NONE);
    assert_int_equal(store_bucket_get(f->store, SLICE_LIT("second"), &b), ERR_NONE);
    assert_true(slice_eqs(b->owner, "owner") && slice_eqs(b->region, "us-east-1"));
    assert_true(slice_eqs(b->name, "second") && b->created_ms > 0 && b->policy == NULL);
    store_bucket_unref(&b);
    assert_int_equal(fix_bucket(f, "second"), ERR_EXISTS);
    assert_int_equal(fix_bucket(f, "Second"), ERR_INVALID);
    assert_int_equal(fix_bucket(f, "a-first"), ERR_NONE);
    assert_int_equal(
        store_bucket_list(f->store, SLICE_LIT("owner"), SLICE_NONE, collect_name, &names), 0);
    assert_string_equal(names.p, "a-first photos second ");
    buf_reset(&names);
    assert_int_equal(
        store_bucket_list(f->store, SLICE_NONE, SLICE_LIT("photos"), collect_name, &names), 0);
    assert_string_equal(names.p, "second ");
    buf_reset(&names);
    assert_int_equal(
        store_bucket_list(f->store, SLICE_LIT("other"), SLICE_NONE, collect_name, &names), 0);
    assert_int_equal(names.n, 0);
    assert_int_equal(fix_bucket_drop(f, "second"), ERR_NONE);
    assert_int_equal(fix_bucket_drop(f, "second"), ERR_NOTFOUND);
    assert_int_equal(store_bucket_get(f->store, SLICE_LIT("second"), &b), ERR_NOTFOUND);
    buf_fini(&names);
}

/* A bucket of the same name is another bucket: nothing of the old one shows through a cache. */
static void
bucket_again(void **state)
{
    struct fix *f = *state;
    const struct store_bucket *first = NULL, *second = NULL;
    assert_int_equal(store_bucket_get(f->store, SLICE_LIT("photos"), &first), ERR_NONE);
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("old")), ERR_NONE);
    assert_int_equal(fix_same(f, "photos", "k", SLICE_LIT("old")), ERR_NONE);
    assert_int_equal(fix_bucket_drop(f, "photos"), ERR_NOTEMPTY);
    assert_int_equal(fix_delete(f, "photos", "k"), ERR_NONE);
    assert_int_equal(fix_bucket_drop(f, "photos"), ERR_NONE);
    assert_int_equal(fix_same(f, "photos", "k", SLICE_LIT("old")), ERR_NOPARENT);
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("x")), ERR_NOPARENT);
    assert_int_equal(fix_bucket(f, "photos"), ERR_NONE);
    assert_int_equal(fix_same(f, "photos", "k", SLICE_LIT("old")), ERR_NOTFOUND);
    assert_int_equal(store_bucket_get(f->store, SLICE_LIT("photos"), &second), ERR_NONE);
    assert_true(second->id > first->id);
    store_bucket_unref(&first);
    store_bucket_unref(&second);
}

struct config {
    const char *name;
    struct slice body;
};

static int
config_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct config *c = arg;
    return store_apply_bucket_config_set(f->store, conn, SLICE_LIT("photos"), c->name, c->body);
}

static void
bucket_config(void **state)
{
    struct fix *f = *state;
    struct arena *a = arena_new(100000);
    struct slice body;
    const struct store_bucket *b = NULL;
    static const char policy[] =
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\","
        "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::photos/*\"}]}";
    struct config c = {"notification", SLICE_LIT("<x/>")};
    assert_int_equal(store_bucket_config_get(f->store, SLICE_LIT("nobody"), "policy", a, &body),
                     ERR_NOPARENT);
    assert_int_equal(
        store_bucket_config_get(f->store, SLICE_LIT("photos"), "notification", a, &body),
        ERR_NOTFOUND);
    assert_int_equal(fix_run(f, config_apply, &c), ERR_NONE);
    c.body = SLICE_LIT("<y/>");
    assert_int_equal(fix_run(f, config_apply, &c), ERR_NONE);
    assert_int_equal(
        store_bucket_config_get(f->store, SLICE_LIT("photos"), "notification", a, &body), ERR_NONE);
    assert_true(slice_eqs(body, "<y/>"));
    c.body = SLICE_NONE;
    assert_int_equal(fix_run(f, config_apply, &c), ERR_NONE);
    assert_int_equal(
        store_bucket_config_get(f->store, SLICE_LIT("photos"), "notification", a, &body),
        ERR_NOTFOUND);

    assert_int_equal(store_bucket_get(f->store, SLICE_LIT("photos"), &b), ERR_NONE);
    assert_null(b->policy);
    store_bucket_unref(&b);
    c = (struct config){"policy", slice_str(policy)};
    assert_int_equal(fix_run(f, config_apply, &c), ERR_NONE);
    assert_int_equal(store_bucket_get(f->store, SLICE_LIT("photos"), &b), ERR_NONE);
    assert_non_null(b->policy);
    assert_true(policy_is_public(b->policy));
    store_bucket_unref(&b);
    arena_free(&a);
}

static void
round_trips(void **state)
{
    struct fix *f = *state;
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            /* Each size overwrites another one: inline by file, file by inline, file by file. */
            struct slice bytes = fix_bytes(i * 10 + (uint64_t)turn, sizes[i]);
            assert_int_equal(fix_put(f, "photos", "the key", bytes), ERR_NONE);
            assert_int_equal(fix_same(f, "photos", "the key", bytes), ERR_NONE);
            fix_settle(f);
            assert_int_equal(fix_count(f, FIX_BLOBS), sizes[i] > 0);
            assert_int_equal(fix_files(f), sizes[i] > STORE_INLINE_MAX);
            assert_int_equal(fix_same(f, "photos", "the key", bytes), ERR_NONE);
            fix_free(&bytes);
        }
    }
    assert_int_equal(fix_delete(f, "photos", "the key"), ERR_NONE);
    fix_settle(f);
    assert_int_equal(fix_same(f, "photos", "the key", SLICE_NONE), ERR_NOTFOUND);
    assert_int_equal(fix_count(f, FIX_BLOBS), 0);
    assert_int_equal(fix_count(f, FIX_DOOMED), 0);
    assert_int_equal(fix_files(f), 0);
    assert_int_equal(fix_delete(f, "photos", "the key"), ERR_NONE);
    assert_int_equal(fix_delete(f, "nobody", "the key"), ERR_NOPARENT);
}

static void
record_fields(void **state)
{
    struct fix *f = *state;
    const struct store_object *o = NULL;
    struct fix_put p;
    struct buf meta;
    buf_init(&meta, STORE_META_BYTES_MAX);
    store_meta_add(&meta, SLICE_LIT("cache-control"), SLICE_LIT("no-cache"));
    store_meta_add(&meta, SLICE_LIT("x-amz-meta-a"), SLICE_LIT(""));
    fix_put_spec(&p, "photos", SLICE_LIT("a\0b"), SLICE_LIT("hello"));
    p.spec.meta = buf_slice(&meta);
    p.spec.checksum = CHECKSUM_CRC32C;
    p.spec.checksum_base64 = SLICE_LIT("mnG7TA==");
    p.spec.by_function = true;
    assert_int_equal(fix_put_run(f, &p, SLICE_LIT("hello")), ERR_NONE);
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("a\0b"), &o), 0);
        assert_true(slice_eq(o->key, SLICE_LIT("a\0b")));
        assert_int_equal(o->generation, p.result.generation);
        assert_int_equal(o->mtime_ms, p.result.mtime_ms);
        assert_int_equal(o->size, 5);
        assert_string_equal(o->etag, "5d41402abc4b2a76b9719d911017c592");
        assert_string_equal(o->checksum_base64, "mnG7TA==");
        assert_int_equal(o->checksum, CHECKSUM_CRC32C);
        assert_true(slice_eqs(o->content_type, "text/plain"));
        assert_true(slice_eqs(o->owner, "owner") && strcmp(o->version_id, "null") == 0);
        assert_true(o->by_function && !o->checksum_composite && o->part_count == 0);
        assert_true(slice_eqs(store_meta_find(o->meta, "Cache-Control"), "no-cache"));
        assert_non_null(store_meta_find(o->meta, "x-amz-meta-a").p);
        assert_null(store_meta_find(o->meta, "x-amz-meta-b").p);
        assert_true(slice_eqs(o->inline_bytes, "hello"));
        store_object_unref(&o);
        fix_reopen(f); /* the same from the disk */
    }
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("a"), &o), ERR_NOTFOUND);
    buf_fini(&meta);
}

static void
limits(void **state)
{
    struct fix *f = *state;
    char key[STORE_KEY_MAX + 1];
    struct fix_put p;
    struct store_put *put = NULL;
    memset(key, 'k', sizeof key);
    fix_put_spec(&p, "photos", slice_of(key, sizeof key), SLICE_LIT("x"));
    assert_int_equal(fix_put_run(f, &p, SLICE_LIT("x")), ERR_TOOBIG);
    fix_put_spec(&p, "photos", slice_of(key, STORE_KEY_MAX), SLICE_LIT("x"));
    assert_int_equal(fix_put_run(f, &p, SLICE_LIT("x")), ERR_NONE);
    fix_put_spec(&p, "photos", SLICE_NONE, SLICE_LIT("x"));
    assert_int_equal(fix_put_run(f, &p, SLICE_LIT("x")), ERR_INVALID);
    assert_int_equal(store_put_begin(f->store, &put, STORE_PUT_BYTES_MAX + 1), ERR_TOOBIG);
    db_set_reserve(f->db, INT64_MAX / 2);
    assert_int_equal(store_put_begin(f->store, &put, 10), ERR_FULL);
    db_set_reserve(f->db, 0);
    db_fail_sync(f->db, "test");
    assert_int_equal(store_put_begin(f->store, &put, 10), ERR_SYNC);
    assert_null(put);
}

/* ---- conditions ---- */

static int
put_if(struct fix *f, const char *key, const char *match, const char *none_match)
{
    struct fix_put p;
    fix_put_spec(&p, "photos", slice_str(key), SLICE_LIT("hello"));
    p.spec.condition.if_match = slice_str(match);
    p.spec.condition.if_none_match = slice_str(none_match);
    return fix_put_run(f, &p, SLICE_LIT("hello"));
}

static int
delete_if(struct fix *f, const char *match, int64_t generation, bool *existed)
{
    struct fix_delete d = {.spec = {.bucket = SLICE_LIT("photos"),
                                    .key = SLICE_LIT("k"),
                                    .condition = {.if_match = slice_str(match)},
                                    .only_generation = generation}};
    int err = fix_run(f, fix_delete_apply, &d);
    *existed = d.result.existed;
    return err;
}

#define HELLO "\"5d41402abc4b2a76b9719d911017c592\""

static void
conditions(void **state)
{
    struct fix *f = *state;
    const struct store_object *o = NULL;
    bool existed;
    assert_int_equal(put_if(f, "k", HELLO, NULL), ERR_NOTFOUND);
    assert_int_equal(put_if(f, "k", "*", NULL), ERR_NOTFOUND);
    assert_int_equal(put_if(f, "k", NULL, "*"), ERR_NONE);
    assert_int_equal(put_if(f, "k", NULL, "*"), ERR_PRECONDITION);
    assert_int_equal(put_if(f, "k", NULL, "\"x\", " HELLO), ERR_PRECONDITION);
    assert_int_equal(put_if(f, "k", NULL, "W/" HELLO), ERR_PRECONDITION);
    assert_int_equal(put_if(f, "k", NULL, "\"x\""), ERR_NONE);
    assert_int_equal(put_if(f, "k", "\"x\"", NULL), ERR_PRECONDITION);
    assert_int_equal(put_if(f, "k", "W/" HELLO, NULL), ERR_PRECONDITION);
    assert_int_equal(put_if(f, "k", "\"x\" ,\t" HELLO, NULL), ERR_NONE);
    assert_int_equal(put_if(f, "k", "5d41402abc4b2a76b9719d911017c592", NULL), ERR_NONE);
    assert_int_equal(put_if(f, "k", "*", NULL), ERR_NONE);

    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), SLICE_LIT("k"), &o), ERR_NONE);
    assert_int_equal(delete_if(f, "\"x\"", 0, &existed), ERR_PRECONDITION);
    assert_int_equal(delete_if(f, NULL, o->generation - 1, &existed), ERR_STALE);
    assert_false(existed);
    assert_int_equal(delete_if(f, HELLO, o->generation, &existed), ERR_NONE);
    assert_true(existed);
    assert_int_equal(delete_if(f, NULL, o->generation, &existed), ERR_NONE);
    assert_false(existed);
    assert_int_equal(delete_if(f, HELLO, 0, &existed), ERR_PRECONDITION);
    store_object_unref(&o);
}

/* ---- the hook ---- */

struct told {
    int calls;
    int answer;
    struct store_change last;
    char object_etag[STORE_ETAG_MAX];
    bool in_transaction;
};

static int
told_changed(void *arg, struct db_conn *conn, const struct store_change *change)
{
    struct told *t = arg;
    t->calls++;
    t->last = *change;
    t->object_etag[0] = '\0';
    if (change->object != NULL) {
        snprintf(t->object_etag, sizeof t->object_etag, "%s", change->object->etag);
        CHK(change->object->generation == change->generation);
    }
    struct db_stmt *q = db_prepare(conn, "SELECT generation FROM object WHERE bucket_id = ?1 AND"
                                         " key = ?2");
    db_bind_int(q, 1, change->bucket_id);
    db_bind_blob(q, 2, change->key);
    int rc = db_step(q);
    t->in_transaction = change->object == NULL
                            ? rc == DB_DONE
                            : rc == DB_ROW && db_column_int(q, 0) == change->generation;
    return t->answer;
}

static void
hook_reopen(struct fix *f, struct told *t)
{
    fix_close(f);
    f->hooks = (struct store_hooks){.arg = t, .changed = told_changed};
    fix_open(f);
}

static void
hook_is_told(void **state)
{
    struct fix *f = *state;
    struct told t = {.calls = 0};
    hook_reopen(f, &t);
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("hello")), ERR_NONE);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.last.kind, STORE_CREATED_PUT);
    assert_int_equal(t.last.old_generation, 0);
    assert_string_equal(t.object_etag, "5d41402abc4b2a76b9719d911017c592");
    assert_true(t.in_transaction);
    int64_t first = t.last.generation;
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("x")), ERR_NONE);
    assert_true(t.last.generation > first);
    assert_int_equal(t.last.old_generation, first);
    int64_t second = t.last.generation;
    assert_int_equal(fix_delete(f, "photos", "k"), ERR_NONE);
    assert_int_equal(t.last.kind, STORE_REMOVED);
    assert_int_equal(t.last.old_generation, second);
    assert_true(t.last.generation > second && t.in_transaction && t.last.object == NULL);
    assert_int_equal(fix_delete(f, "photos", "k"), ERR_NONE);
    assert_int_equal(t.calls, 3);
}

/* A hook that refuses undoes the change: bytes, rows, references, files. */
static void
rollback(void **state)
{
    struct fix *f = *state;
    struct told t = {.calls = 0};
    struct slice big = fix_bytes(1, 2 * MIB), other = fix_bytes(2, 2 * MIB);
    hook_reopen(f, &t);
    assert_int_equal(fix_put(f, "photos", "big", big), ERR_NONE);
    assert_int_equal(fix_put(f, "photos", "small", SLICE_LIT("small")), ERR_NONE);
    t.answer = ERR_BUSY;
    assert_int_equal(fix_put(f, "photos", "big", other), ERR_BUSY);
    assert_int_equal(fix_put(f, "photos", "big", SLICE_LIT("tiny")), ERR_BUSY);
    assert_int_equal(fix_put(f, "photos", "small", other), ERR_BUSY);
    assert_int_equal(fix_put(f, "photos", "new", other), ERR_BUSY);
    assert_int_equal(fix_put(f, "photos", "new", SLICE_LIT("tiny")), ERR_BUSY);
    assert_int_equal(fix_delete(f, "photos", "big"), ERR_BUSY);
    assert_int_equal(fix_delete(f, "photos", "small"), ERR_BUSY);
    for (int turn = 0; turn < 2; turn++) {
        fix_settle(f);
        assert_int_equal(fix_count(f, FIX_BLOBS), 2);
        assert_int_equal(fix_count(f, FIX_DOOMED), 0);
        assert_int_equal(fix_files(f), 1);
        assert_int_equal(fix_same(f, "photos", "big", big), ERR_NONE);
        assert_int_equal(fix_same(f, "photos", "small", SLICE_LIT("small")), ERR_NONE);
        assert_int_equal(fix_same(f, "photos", "new", other), ERR_NOTFOUND);
        fix_reopen(f);
    }
    fix_free(&big);
    fix_free(&other);
}

/* ---- copies ---- */

struct copy {
    struct fix_put to;
    struct store_object source;
};

static int
copy_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct copy *c = arg;
    return store_apply_copy(f->store, conn, &c->to.spec, &c->source, &c->to.result);
}

static int
copy(struct fix *f, const char *from, const char *to, int64_t seq_off)
{
    const struct store_object *o = NULL;
    struct copy c = {.source = {.size = 0}};
    int err = store_get(f->store, SLICE_LIT("photos"), slice_str(from), &o);
    if (err != ERR_NONE)
        return err;
    fix_put_spec(&c.to, "photos", slice_str(to), SLICE_NONE);
    c.to.spec.kind = STORE_CREATED_COPY;
    c.source = *o;
    c.source.seq += seq_off;
    err = fix_run(f, copy_apply, &c);
    if (err == ERR_NONE)
        assert_string_equal(c.to.result.etag, o->etag);
    store_object_unref(&o);
    return err;
}

static void
copies(void **state)
{
    struct fix *f = *state;
    for (size_t i = 1; i < ARRAY_LEN(sizes); i++) {
        struct slice bytes = fix_bytes(i, sizes[i]);
        assert_int_equal(fix_put(f, "photos", "a", bytes), ERR_NONE);
        assert_int_equal(copy(f, "a", "b", 0), ERR_NONE);
        assert_int_equal(copy(f, "a", "b", 0), ERR_NONE);
        assert_int_equal(copy(f, "b", "c", 0), ERR_NONE);
        assert_int_equal(copy(f, "a", "a", 0), ERR_NONE); /* onto itself */
        assert_int_equal(copy(f, "a", "d", -1), ERR_STALE);
        assert_int_equal(fix_count(f, "SELECT sum(refs) FROM blob"), 3);
        assert_int_equal(fix_delete(f, "photos", "a"), ERR_NONE);
        assert_int_equal(fix_delete(f, "photos", "c"), ERR_NONE);
        fix_settle(f);
        assert_int_equal(fix_same(f, "photos", "b", bytes), ERR_NONE);
        assert_int_equal(fix_same(f, "photos", "a", bytes), ERR_NOTFOUND);
        assert_int_equal(fix_delete(f, "photos", "b"), ERR_NONE);
        fix_settle(f);
        assert_int_equal(fix_count(f, FIX_BLOBS), 0);
        assert_int_equal(fix_files(f), 0);
        fix_free(&bytes);
    }
}

static void
reopened(void **state)
{
    struct fix *f = *state;
    char key[16];
    const struct store_object *o = NULL;
    int64_t last = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct slice bytes = fix_bytes(i, sizes[i]);
        snprintf(key, sizeof key, "k%zu", i);
        assert_int_equal(fix_put(f, "photos", key, bytes), ERR_NONE);
        fix_free(&bytes);
        fix_reopen(f);
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct slice bytes = fix_bytes(i, sizes[i]);
        snprintf(key, sizeof key, "k%zu", i);
        assert_int_equal(fix_same(f, "photos", key, bytes), ERR_NONE);
        assert_int_equal(store_get(f->store, SLICE_LIT("photos"), slice_str(key), &o), ERR_NONE);
        assert_true(o->generation > last);
        last = o->generation;
        store_object_unref(&o);
        fix_free(&bytes);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket_names),
        FIX_TEST(bucket_life),
        FIX_TEST(bucket_again),
        FIX_TEST(bucket_config),
        FIX_TEST(round_trips),
        FIX_TEST(record_fields),
        FIX_TEST(limits),
        FIX_TEST(conditions),
        FIX_TEST(hook_is_told),
        FIX_TEST(rollback),
        FIX_TEST(copies),
        FIX_TEST(reopened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
