/* The share of wrong signatures of an address: its size, its growing back, whose it is. */
#include "base/auth_limit.h"
#include "base/chk.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sockaddr_storage
address(const char *text)
{
    struct sockaddr_storage s;
    memset(&s, 0, sizeof s);
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&s;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&s;
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        s.ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
        s.ss_family = AF_INET6;
    }
    return s;
}

static bool
fails(struct auth_limit *l, const char *text, int64_t now_ms)
{
    struct sockaddr_storage s = address(text);
    return auth_limit_failed(l, &s, now_ms);
}

static void
test_share(void **state)
{
    (void)state;
    struct auth_limit *l = auth_limit_new(10);
    for (int i = 0; i < 10; i++)
        assert_false(fails(l, "10.0.0.1", 1000000));
    for (int i = 0; i < 100; i++)
        assert_true(fails(l, "10.0.0.1", 1000000));
    assert_false(fails(l, "10.0.0.2", 1000000));
    /* One of ten is back after six seconds, whatever came in between. */
    assert_true(fails(l, "10.0.0.1", 1005999));
    assert_false(fails(l, "10.0.0.1", 1006000));
    assert_true(fails(l, "10.0.0.1", 1006000));
    for (int i = 0; i < 10; i++)
        assert_false(fails(l, "10.0.0.1", 1066000));
    assert_true(fails(l, "10.0.0.1", 1066000));
    /* A clock that stands still or goes back gives nothing away and breaks nothing. */
    assert_true(fails(l, "10.0.0.1", 1000));
    auth_limit_free(&l);
    assert_null(l);
    auth_limit_free(&l);
}

static void
test_whose(void **state)
{
    (void)state;
    struct auth_limit *l = auth_limit_new(1);
    assert_false(fails(l, "192.0.2.7", 5));
    assert_true(fails(l, "::ffff:192.0.2.7", 5));
    assert_false(fails(l, "::ffff:192.0.2.8", 5));
    assert_false(fails(l, "2001:db8:0:1::1", 5));
    assert_true(fails(l, "2001:db8:0:1:ffff:ffff:ffff:ffff", 5));
    assert_false(fails(l, "2001:db8:0:2::1", 5));
    struct sockaddr_storage none;
    memset(&none, 0, sizeof none);
    assert_false(auth_limit_failed(l, &none, 5));
    auth_limit_free(&l);
}

/* A table that is full forgets some, refuses nobody, and keeps whoever goes on failing. */
static void
test_full_table(void **state)
{
    (void)state;
    struct auth_limit *l = auth_limit_new(100);
    char text[40];
    for (int i = 0; i < 100; i++)
        assert_false(fails(l, "10.0.0.1", 7));
    int full = 0;
    for (int i = 0; i < 20 * AUTH_LIMIT_ADDRESSES; i++) {
        snprintf(text, sizeof text, "11.%d.%d.1", i >> 8 & 255, i & 255);
        if (i >> 16)
            snprintf(text, sizeof text, "12.%d.%d.1", i >> 8 & 255, i & 255);
        full += fails(l, text, 7);
    }
    assert_int_equal(full, 0);
    assert_true(fails(l, "10.0.0.1", 7));
    auth_limit_free(&l);
}

static atomic_int answered;

static void *
fail_often(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        if (!fails(arg, "10.0.0.1", 7))
            atomic_fetch_add(&answered, 1);
    }
    return NULL;
}

static void
test_threads(void **state)
{
    (void)state;
    struct auth_limit *l = auth_limit_new(5000);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_often, l), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&answered), 5000);
    auth_limit_free(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_whose),
        cmocka_unit_test(test_full_table),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
