/*
 * The caches: bounded, least recently used first, never a record older than the last answered
 * change. The last one is hammered with threads: it fails within a second when the writer forgets
 * to raise stamps, or a reader takes its stamp after its snapshot.
 */
#include "tests/objectstore/fixture.h"
#include "base/stat.h"

static struct caches *caches;

static const struct store_object *
record(int64_t bucket_id, const char *key, size_t inline_n)
{
    static char zeros[STORE_INLINE_MAX];
    struct store_object o = {.bucket_id = bucket_id,
                             .key = slice_str(key),
                             .size = (int64_t)inline_n,
                             .inline_bytes = slice_of(zeros, inline_n)};
    const struct store_object *copy = object_dup(&o, SLICE_NONE);
    CHK(copy != NULL);
    return copy;
}

static void
put(struct cache *c, int64_t bucket_id, const char *key, size_t n)
{
    const struct store_object *o = record(bucket_id, key, n);
    uint64_t hash = caches_hash(caches, bucket_id, o->key);
    cache_put(c, hash, caches_stamp(caches, hash), n, o);
    store_object_unref(&o);
}

static bool
has(struct cache *c, int64_t bucket_id, const char *key)
{
    uint64_t hash = caches_hash(caches, bucket_id, slice_str(key));
    uint64_t seen;
    const struct store_object *o =
        cache_find(c, bucket_id, slice_str(key), hash, caches_stamp(caches, hash), &seen);
    bool found = o != NULL;
    if (found)
        assert_int_equal(seen, o->size); /* as put() told it */
    store_object_unref(&o);
    return found;
}

static void
bounded(void **state)
{
    (void)state;
    char key[16];
    caches = caches_new(1 << 20);
    struct cache *c = cache_mine(caches);
    assert_ptr_equal(c, cache_mine(caches));
    put(c, 1, "hot", 10);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "%d", i);
        put(c, 1, key, (size_t)(i * 7 % 4000));
        assert_true(cache_used(c) <= 1 << 20);
        assert_true(has(c, 1, "hot")); /* looked at all the time, so it stays */
        assert_true(has(c, 1, key));
    }
    assert_false(has(c, 1, "0"));
    assert_true(has(c, 1, "4990"));
    assert_false(has(c, 2, "4990"));
    cache_drop_mine(caches);
    caches_free(&caches);

    caches = caches_new(100 << 10);
    c = cache_mine(caches);
    put(c, 1, "a", 60 << 10); /* more than its part of the room */
    assert_false(has(c, 1, "a"));
    assert_int_equal(cache_used(c), 0);
    put(c, 1, "a", 10);
    put(c, 1, "a", 1000);
    put(c, 1, "a", 60 << 10); /* replaced by one that is not kept: the old one must not stay */
    assert_false(has(c, 1, "a"));
    caches_free(&caches); /* with the thread's cache still there */
}

static void
stamps(void **state)
{
    (void)state;
    caches = caches_new(1 << 20);
    struct cache *c = cache_mine(caches);
    const struct store_bucket *b = NULL;
    uint64_t seen = 0;
    put(c, 1, "a", 10);
    put(c, 1, "b", 10);
    caches_raise(caches, caches_hash(caches, 1, SLICE_LIT("a")));
    assert_false(has(c, 1, "a"));
    assert_true(has(c, 1, "b"));
    caches_raise_all(caches);
    assert_false(has(c, 1, "b"));

    assert_false(cache_bucket_find(c, SLICE_LIT("x"), caches_bucket_stamp(caches), &b, &seen));
    cache_bucket_put(c, SLICE_LIT("x"), caches_bucket_stamp(caches), 7, NULL);
    assert_true(cache_bucket_find(c, SLICE_LIT("x"), caches_bucket_stamp(caches), &b, &seen));
    assert_null(b);
    assert_int_equal(seen, 7);
    caches_raise_buckets(caches);
    assert_false(cache_bucket_find(c, SLICE_LIT("x"), caches_bucket_stamp(caches), &b, &seen));
    cache_bucket_put(c, SLICE_NONE, caches_bucket_stamp(caches), 7, NULL); /* a name left out */
    cache_drop_mine(caches);
    caches_free(&caches);
}

static void
hits(void **state)
{
    struct fix *f = *state;
    assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("one")), ERR_NONE);
    int64_t misses = stat_get(STAT_cache_misses_total),
            hits_before = stat_get(STAT_cache_hits_total);
    for (int i = 0; i < 10; i++)
        assert_int_equal(fix_same(f, "photos", "k", SLICE_LIT("one")), ERR_NONE);
    assert_int_equal(stat_get(STAT_cache_misses_total) - misses, 1);
    assert_int_equal(stat_get(STAT_cache_hits_total) - hits_before, 9);
}

/* Two stores in one thread keep their caches apart. */
static void
two_stores(void **state)
{
    struct fix *f = *state;
    struct fix other = {.dir = testdir_make()};
    fix_open(&other);
    assert_int_equal(fix_bucket(&other, "photos"), ERR_NONE);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fix_put(f, "photos", "k", SLICE_LIT("here")), ERR_NONE);
        assert_int_equal(fix_put(&other, "photos", "k", SLICE_LIT("there")), ERR_NONE);
        assert_int_equal(fix_same(f, "photos", "k", SLICE_LIT("here")), ERR_NONE);
        assert_int_equal(fix_same(&other, "photos", "k", SLICE_LIT("there")), ERR_NONE);
    }
    fix_close(&other);
    testdir_remove(&other.dir);
}

/* ---- never older than the answer ---- */

#define KEYS 8
#define WRITERS 8
#define READERS 4
#define ROUNDS 150

static struct {
    struct fix *f;
    _Atomic int64_t answered[KEYS]; /* the newest generation whose PUT or DELETE was answered */
    _Atomic int64_t stale;
    _Atomic int64_t reads;
    _Atomic int writing;
} hammer;

static void
key_name(char key[8], int k)
{
    snprintf(key, 8, "k%d", k);
}

static void *
writer_main(void *arg)
{
    int k = (int)(intptr_t)arg; /* one writer per key: what it answered last is the newest */
    char key[8], text[32];
    key_name(key, k);
    for (int i = 0; i < ROUNDS; i++) {
        struct fix_put p;
        int n = snprintf(text, sizeof text, "%d", i);
        struct slice bytes = slice_of(text, (size_t)n);
        fix_put_spec(&p, "photos", slice_str(key), bytes);
        CHK(fix_put_run(hammer.f, &p, bytes) == ERR_NONE);
        atomic_store(&hammer.answered[k], p.result.generation);
        if (fix_same(hammer.f, "photos", key, bytes) != ERR_NONE)
            atomic_fetch_add(&hammer.stale, 1);
        if (i % 10 == 9) {
            CHK(fix_delete(hammer.f, "photos", key) == ERR_NONE);
            if (fix_same(hammer.f, "photos", key, bytes) != ERR_NOTFOUND)
                atomic_fetch_add(&hammer.stale, 1);
        }
    }
    atomic_fetch_sub(&hammer.writing, 1);
    store_thread_end(hammer.f->store);
    return NULL;
}

static void *
reader_main(void *arg)
{
    uint64_t seed = (uint64_t)(intptr_t)arg;
    char key[8];
    while (atomic_load(&hammer.writing) > 0) {
        const struct store_object *o = NULL;
        int k = (int)(fix_random(&seed) % KEYS);
        key_name(key, k);
        int64_t answered = atomic_load(&hammer.answered[k]);
        int err = store_get(hammer.f->store, SLICE_LIT("photos"), slice_str(key), &o);
        CHK(err == ERR_NONE || err == ERR_NOTFOUND);
        if (err == ERR_NONE && o->generation < answered)
            atomic_fetch_add(&hammer.stale, 1);
        store_object_unref(&o);
        atomic_fetch_add(&hammer.reads, 1);
    }
    store_thread_end(hammer.f->store);
    return NULL;
}

static void
never_stale(void **state)
{
    pthread_t threads[WRITERS + READERS];
    hammer.f = *state;
    atomic_store(&hammer.writing, WRITERS);
    for (intptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, (void *)i), 0);
    for (intptr_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[WRITERS + i], NULL, reader_main, (void *)i), 0);
    for (int i = 0; i < WRITERS + READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(atomic_load(&hammer.reads) > 0);
    assert_int_equal(atomic_load(&hammer.stale), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounded), cmocka_unit_test(stamps), FIX_TEST(hits),
        FIX_TEST(two_stores),      FIX_TEST(never_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
