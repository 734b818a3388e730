/* Adding, refusing and finding accounts. */
#include "base/account.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct account
sample(const char *id, const char *access_key_id)
{
    return (struct account){.id = id,
                            .display_name = "name",
                            .email = "a@example.com",
                            .access_key_id = access_key_id,
                            .secret_access_key = "secret"};
}

static void
test_add_and_find(void **state)
{
    struct accounts *a = accounts_new();
    char id[] = "000000000000", key[] = "AKROOT";
    (void)state;
    assert_null(accounts_root(a));
    assert_null(accounts_by_id(a, SLICE_LIT("000000000000")));
    struct account one = sample(id, key);
    one.is_root = true;
    assert_int_equal(accounts_add(a, &one), ERR_NONE);
    memset(id, 'x', sizeof id - 1); /* every string was copied */
    memset(key, 'x', sizeof key - 1);
    one = sample("111111111111", "AKONE");
    one.canonical_id = "what the caller says does not count";
    assert_int_equal(accounts_add(a, &one), ERR_NONE);
    const struct account *root = accounts_root(a);
    assert_string_equal(root->id, "000000000000");
    assert_string_equal(root->access_key_id, "AKROOT");
    assert_string_equal(root->secret_access_key, "secret");
    assert_string_equal(root->display_name, "name");
    assert_string_equal(root->email, "a@example.com");
    assert_true(root->is_root);
    assert_ptr_equal(accounts_by_access_key(a, SLICE_LIT("AKROOT")), root);
    assert_ptr_equal(accounts_by_id(a, SLICE_LIT("000000000000")), root);
    /* printf 111111111111 | sha256sum */
    const struct account *other = accounts_by_canonical_id(
        a, SLICE_LIT("a18ac4e6fbd3fc024a07a21dafbac37d828ca8a04a0e34f368f1ec54e0d4fffb"));
    assert_non_null(other);
    assert_string_equal(other->access_key_id, "AKONE");
    assert_int_equal(strlen(other->canonical_id), 64);
    assert_false(other->is_root);
    assert_null(accounts_by_access_key(a, SLICE_LIT("AKON")));
    assert_null(accounts_by_access_key(a, SLICE_LIT("AKONE1")));
    assert_null(accounts_by_access_key(a, SLICE_LIT("akone")));
    assert_null(accounts_by_access_key(a, slice_of("AKONE\0", 6)));
    assert_null(accounts_by_access_key(a, SLICE_NONE));
    accounts_free(&a);
    assert_null(a);
    accounts_free(&a);
}

static void
test_refused(void **state)
{
    struct accounts *a = accounts_new();
    struct account one = sample("1", "K1");
    (void)state;
    assert_int_equal(accounts_add(a, &one), ERR_NONE);
    one = sample("1", "K2");
    assert_int_equal(accounts_add(a, &one), ERR_EXISTS);
    one = sample("2", "K1");
    assert_int_equal(accounts_add(a, &one), ERR_EXISTS);
    assert_null(accounts_by_id(a, SLICE_LIT("2")));
    assert_null(accounts_by_access_key(a, SLICE_LIT("K2")));
    for (int field = 0; field < 5; field++) {
        for (int null = 0; null < 2; null++) {
            const char *empty = null ? NULL : "";
            one = sample("3", "K3");
            const char **fields[] = {&one.id, &one.display_name, &one.email, &one.access_key_id,
                                     &one.secret_access_key};
            *fields[field] = empty;
            assert_int_equal(accounts_add(a, &one), ERR_INVALID);
        }
    }
    one = sample("3", "K3");
    assert_int_equal(accounts_add(a, &one), ERR_NONE);
    accounts_free(&a);
}

static void
test_full(void **state)
{
    struct accounts *a = accounts_new();
    const struct account *lent[ACCOUNTS_MAX];
    char id[16], key[16];
    (void)state;
    for (int i = 0; i < ACCOUNTS_MAX; i++) {
        /* Neither ascending nor descending: 617 and 1,000 have no common divisor. */
        snprintf(id, sizeof id, "%d", i * 617 % ACCOUNTS_MAX);
        snprintf(key, sizeof key, "K%d", i * 383 % ACCOUNTS_MAX);
        struct account one = sample(id, key);
        assert_int_equal(accounts_add(a, &one), ERR_NONE);
        lent[i] = accounts_by_id(a, slice_str(id));
    }
    struct account more = sample("more", "Kmore");
    assert_int_equal(accounts_add(a, &more), ERR_TOOBIG);
    for (int i = 0; i < ACCOUNTS_MAX; i++) {
        snprintf(id, sizeof id, "%d", i * 617 % ACCOUNTS_MAX);
        snprintf(key, sizeof key, "K%d", i * 383 % ACCOUNTS_MAX);
        assert_ptr_equal(accounts_by_id(a, slice_str(id)), lent[i]);
        assert_ptr_equal(accounts_by_access_key(a, slice_str(key)), lent[i]);
        assert_ptr_equal(accounts_by_canonical_id(a, slice_str(lent[i]->canonical_id)), lent[i]);
    }
    accounts_free(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_find),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
