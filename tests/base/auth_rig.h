/* What test_auth and test_sigv2 share: the accounts of fakereq_accounts(), and a judgement. */
#ifndef DARKROOM_TESTS_BASE_AUTH_RIG_H
#define DARKROOM_TESTS_BASE_AUTH_RIG_H

#include "base/auth.h"
#include "base/err.h"
#include "tests/lib/fakereq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct accounts *auth_rig_accounts;

static inline int
auth_rig_setup(void **state)
{
    (void)state;
    auth_rig_accounts = fakereq_accounts();
    return 0;
}

static inline int
auth_rig_teardown(void **state)
{
    (void)state;
    accounts_free(&auth_rig_accounts);
    return 0;
}

static inline struct auth_options
options_at(int64_t now_ms)
{
    return (struct auth_options){
        .accounts = auth_rig_accounts, .v2_allowed = true, .now_ms = now_ms};
}

static inline enum auth_result
check_at(struct http_request *r, int64_t now_ms)
{
    struct auth_options o = options_at(now_ms);
    assert_int_equal(auth_check(r, &o), ERR_NONE);
    assert_int_equal(r->auth->result == AUTH_OK, r->auth->account != NULL);
    return r->auth->result;
}

#endif
