/*
 * Judging with a policy: the first matching Deny ends it, an Allow is remembered.
 *
 * A statement matches when its action, resource, principal and every condition do, asked in that
 * order: cheap and selective first, so a condition's values are fetched only when the statement
 * hangs on them.
 */
#include "objectstore/policy.h"
#include "base/arena.h"
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/policy_priv.h"

#include <ctype.h>
#include <stdlib.h>

#define RESOURCE_MAX 1100 /* a bucket's name, "/", the longest key */
#define ACTION_MAX 64

void
policy_free(struct policy **pp)
{
    struct policy *p = *pp;
    *pp = NULL;
    if (p == NULL)
        return;
    CHK_MAGIC(p, POLICY_MAGIC);
    arena_free(&p->arena);
    p->magic = 0;
    free(p);
}

/* What a statement is matched against, made once per judgement. */
struct question {
    const struct policy_request *request;
    char action_text[ACTION_MAX];
    char resource_text[RESOURCE_MAX];
    struct slice action;
    struct slice resource;
};

static void
question_make(struct question *q, const struct policy_request *rq)
{
    size_t n = strlen(rq->action);
    CHK(n < sizeof q->action_text);
    for (size_t i = 0; i < n; i++)
        q->action_text[i] = (char)tolower((unsigned char)rq->action[i]);
    q->action = slice_of(q->action_text, n);
    q->request = rq;
    CHK(rq->bucket.n + 1 + rq->key.n <= sizeof q->resource_text);
    memcpy(q->resource_text, rq->bucket.p, rq->bucket.n);
    q->resource = slice_of(q->resource_text, rq->bucket.n);
    if (rq->key.p != NULL) {
        q->resource_text[rq->bucket.n] = '/';
        memcpy(q->resource_text + rq->bucket.n + 1, rq->key.p, rq->key.n);
        q->resource.n += 1 + rq->key.n;
    }
}

static bool
any_match(const struct pattern *patterns, size_t count, struct slice text,
          const struct policy_request *rq)
{
    for (size_t i = 0; i < count; i++) {
        if (pattern_match(&patterns[i], text, rq))
            return true;
    }
    return false;
}

static bool
principal_is(const struct principal *p, const struct account *a)
{
    if (p->is_canonical)
        return slice_eqs(p->id, a->canonical_id);
    return slice_eqs(p->id, a->id) && (p->user.n == 0 || slice_eqs(p->user, a->display_name));
}

static bool
principal_matches(const struct statement *st, const struct account *a)
{
    bool hit = st->anybody;
    for (size_t i = 0; a != NULL && !hit && i < st->principal_count; i++)
        hit = principal_is(&st->principals[i], a);
    return hit != st->not_principal;
}

enum memo { MEMO_UNKNOWN, MEMO_HOLDS, MEMO_FAILS };

static bool
condition_met(const struct condition *c, const struct policy_request *rq)
{
    uint8_t *memo = c->steady && rq->memo != NULL ? &rq->memo[c->index] : NULL;
    if (memo == NULL)
        return condition_holds(c, rq);
    if (*memo == MEMO_UNKNOWN)
        *memo = condition_holds(c, rq) ? MEMO_HOLDS : MEMO_FAILS;
    return *memo == MEMO_HOLDS;
}

static bool
statement_matches(const struct statement *st, const struct question *q)
{
    const struct policy_request *rq = q->request;
    if (any_match(st->actions, st->action_count, q->action, rq) == st->not_action)
        return false;
    if (any_match(st->resources, st->resource_count, q->resource, rq) == st->not_resource)
        return false;
    if (!principal_matches(st, rq->account))
        return false;
    for (size_t i = 0; i < st->condition_count; i++) {
        if (!condition_met(&st->conditions[i], rq))
            return false;
    }
    return true;
}

enum policy_verdict
policy_judge(const struct policy *p, const struct policy_request *request)
{
    enum policy_verdict verdict = POLICY_NONE;
    struct question q;
    if (p == NULL)
        return POLICY_NONE;
    CHK_MAGIC(p, POLICY_MAGIC);
    question_make(&q, request);
    for (size_t i = 0; i < p->count; i++) {
        if (!statement_matches(&p->statements[i], &q))
            continue;
        if (!p->statements[i].allow)
            return POLICY_DENY;
        verdict = POLICY_ALLOW;
    }
    return verdict;
}

/* ---- what can be said without a request ---- */

size_t
policy_memo_bytes(const struct policy *p)
{
    return p == NULL ? 1 : p->condition_count + 1;
}

bool
policy_is_public(const struct policy *p)
{
    if (p == NULL)
        return false;
    CHK_MAGIC(p, POLICY_MAGIC);
    for (size_t i = 0; i < p->count; i++) {
        const struct statement *st = &p->statements[i];
        bool fenced = false;
        for (size_t k = 0; k < st->condition_count; k++)
            fenced |= condition_fences(&st->conditions[k]);
        /* "All but ..." is everybody else. */
        if (st->allow && (st->anybody || st->not_principal) && !fenced)
            return true;
    }
    return false;
}

static bool
twelve_digits(struct slice id)
{
    uint64_t n;
    return id.n == 12 && slice_to_u64(id, &n) == ERR_NONE;
}

bool
policy_names_known(const struct policy *p, const struct accounts *accounts)
{
    CHK_MAGIC(p, POLICY_MAGIC);
    for (size_t i = 0; i < p->count; i++) {
        const struct statement *st = &p->statements[i];
        for (size_t k = 0; k < st->principal_count; k++) {
            const struct principal *one = &st->principals[k];
            bool known = one->is_canonical
                             ? accounts_by_canonical_id(accounts, one->id) != NULL
                             : twelve_digits(one->id) || accounts_by_id(accounts, one->id) != NULL;
            if (!known)
                return false;
        }
    }
    return true;
}
