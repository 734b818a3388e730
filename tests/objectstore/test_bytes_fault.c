/*
 * Every system call on the road of a large PUT is made to fail, one after the other; fsio is
 * compiled in here with its fault points, so that the walk runs in every build.
 *
 * What must hold at each point: an error is reported; before and after closing and opening again
 * the key has its old content or, if the PUT was answered, the new one; no file stays behind; a
 * failed sync is ERR_SYNC whatever its errno was, and from then on nothing is accepted.
 */
#ifndef FSIO_FAULTS
#define FSIO_FAULTS
#endif
#include "base/fsio.c"

#include "tests/objectstore/fixture.h"

#define WALK_MAX 200

/* begin, write, seal, commit; the first error. */
static int
try_put(struct fix *f, struct slice bytes)
{
    struct fix_put p;
    fix_put_spec(&p, "photos", SLICE_LIT("k"), bytes);
    int err = store_put_begin(f->store, &p.put, -1);
    for (size_t at = 0; err == ERR_NONE && at < bytes.n; at += 50000) {
        size_t n = bytes.n - at < 50000 ? bytes.n - at : 50000;
        err = store_put_write(p.put, bytes.p + at, n);
    }
    if (p.put != NULL) {
        int sealed = fix_seal(p.put);
        assert_int_equal(err != ERR_NONE, err != ERR_NONE && sealed != ERR_NONE);
        err = sealed;
    }
    if (err == ERR_NONE)
        err = fix_run(f, fix_put_apply, &p);
    store_put_end(&p.put);
    return err;
}

static void
settle(struct fix *f)
{
    if (db_health(f->db) != ERR_SYNC) {
        fix_settle(f);
        assert_int_equal(fix_files(f), 1);
    }
}

/* False when the walk is over: the call to fail was never made. */
static bool
step(int nth, int errnum)
{
    struct fix *f = NULL;
    struct slice old = fix_bytes(1, 100000), new = fix_bytes(2, 1500000);
    fix_setup((void **)&f);
    assert_int_equal(try_put(f, old), ERR_NONE);
    fsio_fault_set(nth, errnum);
    int err = try_put(f, new);
    bool hit = fsio_fault_calls() >= nth;
    fsio_fault_set(0, 0);
    assert_int_equal(err != ERR_NONE, hit);
    assert_int_equal(err == ERR_SYNC, db_health(f->db) == ERR_SYNC);
    if (err == ERR_SYNC)
        assert_int_equal(try_put(f, new), ERR_SYNC);
    else if (hit)
        assert_int_equal(err, err_from_errno(errnum));
    settle(f);
    assert_int_equal(fix_same(f, "photos", "k", hit ? old : new), ERR_NONE);
    fix_reopen(f);
    assert_int_equal(fix_files(f), 1);
    assert_int_equal(fix_same(f, "photos", "k", hit ? old : new), ERR_NONE);
    assert_int_equal(try_put(f, new), ERR_NONE); /* after a restart all is well */
    fix_teardown((void **)&f);
    fix_free(&old);
    fix_free(&new);
    return hit;
}

static void
walk(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO};
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        int nth = 1;
        while (step(nth, errors[i]))
            assert_true(++nth < WALK_MAX);
        assert_true(nth > 20); /* make, 20-odd writes, sync, name, directory */
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(walk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
