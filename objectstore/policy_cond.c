/*
 * Conditions: operators, the values a policy gives them, and how a request is held against both.
 * (IAM user guide, "IAM JSON policy elements: Condition operators")
 *
 * An operator is a kind of test with four modifiers, all read from its name:
 *
 *   [ForAnyValue: | ForAllValues:] [Not]Kind[Comparison] [IfExists]
 *
 * The request's values for the key are tested one by one, each against all of the policy's:
 *
 *              key absent                     key present
 *   plain      false (negated: true)          some value passes
 *   ...IfExists   true                        the same
 *   ForAnyValue   false                       some value passes
 *   ForAllValues  true                        every value passes
 *
 * where a value passes when it meets one of the policy's, or with a negated operator none of them.
 * A value that is not of the operator's kind (no number, no address) meets none.
 */
#include "objectstore/policy_priv.h"
#include "base/clock.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>

#define NUMBER_MAX 64

static const struct {
    const char *name;
    enum test_kind kind;
    enum compare compare;
    bool negated;
} operators[] = {
    {"StringEquals", TEST_STRING, 0, false},
    {"StringNotEquals", TEST_STRING, 0, true},
    {"StringEqualsIgnoreCase", TEST_STRING_NO_CASE, 0, false},
    {"StringNotEqualsIgnoreCase", TEST_STRING_NO_CASE, 0, true},
    {"StringLike", TEST_STRING_LIKE, 0, false},
    {"StringNotLike", TEST_STRING_LIKE, 0, true},
    {"NumericEquals", TEST_NUMBER, COMPARE_EQ, false},
    {"NumericNotEquals", TEST_NUMBER, COMPARE_EQ, true},
    {"NumericLessThan", TEST_NUMBER, COMPARE_LT, false},
    {"NumericLessThanEquals", TEST_NUMBER, COMPARE_LE, false},
    {"NumericGreaterThan", TEST_NUMBER, COMPARE_GT, false},
    {"NumericGreaterThanEquals", TEST_NUMBER, COMPARE_GE, false},
    {"DateEquals", TEST_DATE, COMPARE_EQ, false},
    {"DateNotEquals", TEST_DATE, COMPARE_EQ, true},
    {"DateLessThan", TEST_DATE, COMPARE_LT, false},
    {"DateLessThanEquals", TEST_DATE, COMPARE_LE, false},
    {"DateGreaterThan", TEST_DATE, COMPARE_GT, false},
    {"DateGreaterThanEquals", TEST_DATE, COMPARE_GE, false},
    {"Bool", TEST_BOOL, 0, false},
    {"BinaryEquals", TEST_STRING, 0, false},
    {"IpAddress", TEST_ADDRESS, 0, false},
    {"NotIpAddress", TEST_ADDRESS, 0, true},
    {"ArnEquals", TEST_ARN, 0, false},
    {"ArnLike", TEST_ARN, 0, false},
    {"ArnNotEquals", TEST_ARN, 0, true},
    {"ArnNotLike", TEST_ARN, 0, true},
    {"Null", TEST_NULL, 0, false},
};

int
condition_operator(struct slice name, struct condition *c)
{
    static const struct slice any = SLICE_LIT("ForAnyValue:"), all = SLICE_LIT("ForAllValues:");
    static const struct slice suffix = SLICE_LIT("IfExists");
    if (slice_starts(name, any)) {
        c->set = SET_ANY;
        name = slice_skip(name, any.n);
    } else if (slice_starts(name, all)) {
        c->set = SET_ALL;
        name = slice_skip(name, all.n);
    }
    if (name.n > suffix.n && slice_eq(slice_skip(name, name.n - suffix.n), suffix)) {
        c->if_exists = true;
        name.n -= suffix.n;
    }
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (!slice_eqs(name, operators[i].name))
            continue;
        c->kind = operators[i].kind;
        c->compare = operators[i].compare;
        c->negated = operators[i].negated;
        return c->kind == TEST_NULL && c->if_exists ? ERR_NOTFOUND : ERR_NONE;
    }
    return ERR_NOTFOUND;
}

/* ---- addresses ---- */

/* "192.0.2.1", "2001:db8::1"; an IPv4-mapped IPv6 address counts as IPv4. */
static int
net_address(struct slice text, struct net *out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char z[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof z)
        return ERR_INVALID;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, z, out->bytes) == 1) {
        out->family = AF_INET;
        out->bits = 32;
        return ERR_NONE;
    }
    if (inet_pton(AF_INET6, z, out->bytes) != 1)
        return ERR_INVALID;
    out->family = AF_INET6;
    out->bits = 128;
    if (memcmp(out->bytes, mapped, sizeof mapped) == 0) {
        memmove(out->bytes, out->bytes + 12, 4);
        memset(out->bytes + 4, 0, 12);
        out->family = AF_INET;
        out->bits = 32;
    }
    return ERR_NONE;
}

static int
net_parse(struct slice text, struct net *out)
{
    struct slice bits;
    uint64_t n = 0;
    if (net_address(slice_cut(text, '/', &bits), out) != ERR_NONE)
        return ERR_INVALID;
    if (bits.p == NULL)
        return ERR_NONE;
    if (slice_to_u64(bits, &n) != ERR_NONE || n > out->bits)
        return ERR_INVALID;
    out->bits = (unsigned)n;
    return ERR_NONE;
}

static bool
net_holds(const struct net *net, const struct net *address)
{
    unsigned whole = net->bits / 8, odd = net->bits % 8;
    if (net->family != address->family || memcmp(net->bytes, address->bytes, whole) != 0)
        return false;
    return odd == 0 || (net->bytes[whole] ^ address->bytes[whole]) >> (8 - odd) == 0;
}

/* ---- reading values ---- */

static int
number_parse(struct slice text, double *out)
{
    char z[NUMBER_MAX], *end;
    if (text.n == 0 || text.n >= sizeof z || memchr("+-.0123456789", text.p[0], 13) == NULL)
        return ERR_INVALID;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    *out = strtod(z, &end);
    return *end == '\0' && isfinite(*out) ? ERR_NONE : ERR_INVALID;
}

/* ISO 8601, also a day alone, or seconds since 1970. */
static int
date_parse(struct slice text, int64_t *out)
{
    static const char midnight[] = "T00:00:00Z";
    char z[NUMBER_MAX];
    uint64_t seconds;
    if (slice_to_u64(text, &seconds) == ERR_NONE) {
        *out = (int64_t)(seconds > INT64_MAX / 1000 ? INT64_MAX / 1000 : seconds) * 1000;
        return ERR_NONE;
    }
    if (text.n + sizeof midnight > sizeof z)
        return ERR_INVALID;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    if (text.n == 10)
        memcpy(z + text.n, midnight, sizeof midnight);
    return clock_parse(z, out);
}

static int
bool_parse(struct slice text, bool *out)
{
    *out = slice_ieqs(text, "true");
    return *out || slice_ieqs(text, "false") ? ERR_NONE : ERR_INVALID;
}

int
condition_value_parse(struct arena *a, const struct condition *c, struct slice text, bool variables,
                      struct condition_value *v)
{
    unsigned flags = variables ? PATTERN_VARIABLES : 0;
    switch (c->kind) {
    case TEST_STRING:
    case TEST_STRING_NO_CASE:
        return pattern_compile(a, text, flags, &v->pattern);
    case TEST_STRING_LIKE:
    case TEST_ARN:
        return pattern_compile(a, text, flags | PATTERN_WILD, &v->pattern);
    case TEST_NUMBER:
        return number_parse(text, &v->number);
    case TEST_DATE:
        return date_parse(text, &v->ms);
    case TEST_BOOL:
    case TEST_NULL:
        return bool_parse(text, &v->yes);
    case TEST_ADDRESS:
        return net_parse(text, &v->net);
    }
    return ERR_INVALID;
}

/* ---- testing ---- */

static bool
compares(enum compare how, double have, double want)
{
    switch (how) {
    case COMPARE_EQ:
        return have == want;
    case COMPARE_LT:
        return have < want;
    case COMPARE_LE:
        return have <= want;
    case COMPARE_GT:
        return have > want;
    case COMPARE_GE:
        return have >= want;
    }
    return false;
}

/* A request's value, read as what the operator compares. */
struct operand {
    struct slice text;
    double number;
    int64_t ms;
    bool yes;
    struct net net;
};

static bool
operand_read(enum test_kind kind, struct slice text, struct operand *o)
{
    o->text = text;
    switch (kind) {
    case TEST_NUMBER:
        return number_parse(text, &o->number) == ERR_NONE;
    case TEST_DATE:
        return date_parse(text, &o->ms) == ERR_NONE;
    case TEST_BOOL:
        return bool_parse(text, &o->yes) == ERR_NONE;
    case TEST_ADDRESS:
        return net_address(text, &o->net) == ERR_NONE;
    default:
        return true;
    }
}

static bool
meets(const struct condition *c, const struct condition_value *v, const struct operand *o,
      const struct policy_request *rq)
{
    switch (c->kind) {
    case TEST_STRING:
        return pattern_equal(&v->pattern, o->text, rq, false);
    case TEST_STRING_NO_CASE:
        return pattern_equal(&v->pattern, o->text, rq, true);
    case TEST_STRING_LIKE:
        return pattern_match(&v->pattern, o->text, rq);
    case TEST_ARN:
        return pattern_match_arn(&v->pattern, o->text, rq);
    case TEST_NUMBER:
        return compares(c->compare, o->number, v->number);
    case TEST_DATE:
        return compares(c->compare, (double)o->ms, (double)v->ms);
    case TEST_BOOL:
        return o->yes == v->yes;
    case TEST_ADDRESS:
        return net_holds(&v->net, &o->net);
    case TEST_NULL:
        break;
    }
    return false;
}

static bool
passes(const struct condition *c, struct slice text, const struct policy_request *rq)
{
    struct operand o;
    bool hit = false;
    if (operand_read(c->kind, text, &o)) {
        for (size_t i = 0; i < c->count && !hit; i++)
            hit = meets(c, &c->values[i], &o, rq);
    }
    return hit != c->negated;
}

static bool
null_holds(const struct condition *c, bool absent)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->values[i].yes == absent)
            return true;
    }
    return false;
}

bool
condition_holds(const struct condition *c, const struct policy_request *rq)
{
    struct slice values[POLICY_VALUES_MAX];
    char scratch[POLICY_SCRATCH];
    size_t n = policy_values(rq, c->key, c->tail, values, scratch);
    if (c->kind == TEST_NULL)
        return null_holds(c, n == 0);
    if (n == 0)
        return c->if_exists || c->set == SET_ALL || (c->set == SET_NONE && c->negated);
    for (size_t i = 0; i < n; i++) {
        if (passes(c, values[i], rq) != (c->set == SET_ALL))
            return c->set != SET_ALL;
    }
    return c->set == SET_ALL;
}

/* ---- the meaning of public ---- */

/* Wider than /8 (IPv4) or /32 (IPv6) is as good as everybody, but for private ranges. */
static bool
net_is_narrow(const struct net *net)
{
    static const struct net private_nets[] = {
        {.bytes = {10}, .family = AF_INET, .bits = 8},
        {.bytes = {172, 16}, .family = AF_INET, .bits = 12},
        {.bytes = {192, 168}, .family = AF_INET, .bits = 16},
    };
    for (size_t i = 0; i < sizeof private_nets / sizeof private_nets[0]; i++) {
        if (net->bits >= private_nets[i].bits && net_holds(&private_nets[i], net))
            return true;
    }
    return net->bits >= (net->family == AF_INET ? 8 : 32);
}

static bool
key_fences(enum policy_key key)
{
    switch (key) {
    case POLICY_KEY_SOURCE_ARN:
    case POLICY_KEY_SOURCE_VPC:
    case POLICY_KEY_SOURCE_VPCE:
    case POLICY_KEY_SOURCE_OWNER:
    case POLICY_KEY_SOURCE_ACCOUNT:
    case POLICY_KEY_SOURCE_ORG_ID:
    case POLICY_KEY_SOURCE_ORG_PATHS:
    case POLICY_KEY_USERID:
    case POLICY_KEY_USERNAME:
    case POLICY_KEY_PRINCIPAL_ARN:
    case POLICY_KEY_PRINCIPAL_ACCOUNT:
    case POLICY_KEY_PRINCIPAL_ORG_ID:
    case POLICY_KEY_PRINCIPAL_ORG_PATHS:
    case POLICY_KEY_ENCRYPTION_KEY:
    case POLICY_KEY_ACCESS_POINT_ARN:
    case POLICY_KEY_ACCESS_POINT_ACCOUNT:
        return true;
    default:
        return false;
    }
}

bool
condition_fences(const struct condition *c)
{
    if (c->negated || c->if_exists || c->set == SET_ALL)
        return false;
    if (c->kind == TEST_ADDRESS && c->key == POLICY_KEY_SOURCE_IP) {
        for (size_t i = 0; i < c->count; i++) {
            if (!net_is_narrow(&c->values[i].net))
                return false;
        }
        return true;
    }
    if (c->kind > TEST_ARN || !key_fences(c->key))
        return false;
    for (size_t i = 0; i < c->count; i++) {
        if (!c->values[i].pattern.is_fixed)
            return false;
    }
    return true;
}
