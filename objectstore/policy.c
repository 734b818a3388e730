/*
 * Bucket policies, parsed once at PUT (or when the bucket's record is loaded) and then only read.
 *
 * policy_parse() turns the JSON into flat statements in one arena; every part we could not evaluate
 * later is refused there, with a sentence, so a stored policy never means less than it says.
 * policy_judge() walks the statements: the first matching Deny ends it, an Allow is remembered.
 *
 * Resources are kept as the pattern behind "arn:aws:s3:::BUCKET": it is matched against "" (the
 * bucket) or "/KEY". Actions are kept in lower case.
 *
 * A pattern costs time linear in the text: its pieces between '*' are sought from the left, each
 * once and never again (if the leftmost place of a piece fails the rest, a later one does too).
 * Pieces without '?' are sought by memmem(); a sought piece with '?' has at most PIECE_FUZZY_MAX
 * bytes.
 */
#include "objectstore/policy.h"
#include "base/arena.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#define POLICY_MAGIC 0x9011c700u
#define POLICY_MEMORY_MAX (1u << 20)
#define PIECE_FUZZY_MAX 64
#define TEXT_MAX 1100 /* "/" and the longest key, with room */
#define ACTION_MAX 64
#define CANONICAL_ID_HEX (2 * SHA256_BYTES)
#define RESOURCE_ARN SLICE_LIT("arn:aws:s3:::")

struct words {
    struct slice *v;
    size_t n;
};

struct net {
    uint8_t bytes[16];
    int family;
    unsigned bits;
};

enum condition_test {
    TEST_EQUALS,
    TEST_NOT_EQUALS,
    TEST_LIKE,
    TEST_NOT_LIKE,
    TEST_IP,
    TEST_NOT_IP,
    TEST_BOOL
};

enum condition_key { KEY_PREFIX, KEY_DELIMITER, KEY_SOURCE_IP, KEY_SECURE_TRANSPORT };

struct condition {
    enum condition_test test;
    enum condition_key key;
    struct words values;
    struct net *nets; /* values.n of them, for the address tests */
};

struct statement {
    bool allow;
    bool anybody;
    bool not_action;
    bool not_resource;
    struct words principals; /* account ids and canonical ids */
    struct words actions;
    struct words resources;
    struct condition *conditions;
    size_t condition_count;
};

struct policy {
    uint32_t magic;
    struct arena *arena;
    struct statement *statements;
    size_t count;
};

struct parse {
    struct policy *policy;
    struct slice bucket;
    struct buf *why;
};

static int
refuse(struct parse *ps, const char *sentence, const char *text)
{
    buf_reset(ps->why);
    buf_puts(ps->why, sentence);
    if (text != NULL)
        buf_printf(ps->why, ": %.200s", text);
    return ERR_INVALID;
}

/* ---- patterns ---- */

static bool
utf8_tail(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Bytes of `text` that the whole piece covers from its start, or -1. */
static ptrdiff_t
piece_at(struct slice piece, struct slice text)
{
    size_t at = 0;
    for (size_t i = 0; i < piece.n; i++) {
        if (at >= text.n || (piece.p[i] != '?' && piece.p[i] != text.p[at]))
            return -1;
        at++;
        while (piece.p[i] == '?' && at < text.n && utf8_tail(text.p[at]))
            at++;
    }
    return (ptrdiff_t)at;
}

/* Does the text end with the piece? */
static bool
piece_ends(struct slice piece, struct slice text)
{
    size_t at = text.n;
    for (size_t i = piece.n; i > 0; i--) {
        char c = piece.p[i - 1];
        if (at == 0 || (c != '?' && c != text.p[at - 1]))
            return false;
        at--;
        while (c == '?' && at > 0 && utf8_tail(text.p[at]))
            at--;
    }
    return true;
}

static bool
has_byte(struct slice s, char c)
{
    return s.n > 0 && memchr(s.p, c, s.n) != NULL;
}

/* What follows the leftmost place of the piece; p = NULL when it is nowhere. */
static struct slice
piece_seek(struct slice piece, struct slice text)
{
    if (!has_byte(piece, '?')) {
        ptrdiff_t at = slice_find(text, piece);
        return at < 0 ? SLICE_NONE : slice_skip(text, (size_t)at + piece.n);
    }
    for (; text.n > 0; text = slice_skip(text, 1)) {
        ptrdiff_t covered = utf8_tail(text.p[0]) ? -1 : piece_at(piece, text);
        if (covered >= 0)
            return slice_skip(text, (size_t)covered);
    }
    return SLICE_NONE;
}

/* Neither slice may have p = NULL. */
static bool
pattern_match(struct slice pattern, struct slice text)
{
    struct slice rest;
    struct slice piece = slice_cut(pattern, '*', &rest);
    ptrdiff_t covered = piece_at(piece, text);
    if (covered < 0)
        return false;
    if (rest.p == NULL)
        return (size_t)covered == text.n;
    text = slice_skip(text, (size_t)covered);
    while (has_byte(rest, '*')) {
        piece = slice_cut(rest, '*', &rest);
        text = piece_seek(piece, text);
        if (text.p == NULL)
            return false;
    }
    return piece_ends(rest, text);
}

static bool
pattern_ok(struct slice pattern)
{
    struct slice rest;
    slice_cut(pattern, '*', &rest); /* the first piece is anchored */
    while (has_byte(rest, '*')) {
        struct slice piece = slice_cut(rest, '*', &rest);
        if (piece.n > PIECE_FUZZY_MAX && has_byte(piece, '?'))
            return false;
    }
    return slice_find(pattern, SLICE_LIT("${")) < 0;
}

static bool
any_match(const struct words *patterns, struct slice text)
{
    for (size_t i = 0; i < patterns->n; i++) {
        if (pattern_match(patterns->v[i], text))
            return true;
    }
    return false;
}

static bool
any_equal(const struct words *words, struct slice text)
{
    for (size_t i = 0; i < words->n; i++) {
        if (slice_eq(words->v[i], text))
            return true;
    }
    return false;
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

/* ---- parsing ---- */

/* Makes `out` from a string or a list of strings, each copied. */
static int
words_parse(struct parse *ps, const json_t *value, const char *what, struct words *out)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    if (n == 0)
        return refuse(ps, "Empty list in the policy", what);
    out->v = arena_alloc(ps->policy->arena, n * sizeof *out->v);
    if (out->v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        if (json_is_boolean(one)) {
            out->v[i] = json_is_true(one) ? SLICE_LIT("true") : SLICE_LIT("false");
            continue;
        }
        if (!json_is_string(one))
            return refuse(ps, "A string is needed in the policy", what);
        out->v[i] =
            arena_dup(ps->policy->arena, slice_of(json_string_value(one), json_string_length(one)));
        if (out->v[i].p == NULL)
            return ERR_NOMEM;
        if (!pattern_ok(out->v[i]))
            return refuse(ps, "Policy variables and wildcards so complex are not supported",
                          out->v[i].p);
    }
    out->n = n;
    return ERR_NONE;
}

static int
actions_parse(struct parse *ps, const json_t *value, struct words *out)
{
    int err = words_parse(ps, value, "Action", out);
    for (size_t i = 0; err == ERR_NONE && i < out->n; i++) {
        /* Our own copy, and NUL-terminated: arena_dup() made it. */
        char *p = (char *)(uintptr_t)out->v[i].p;
        for (size_t k = 0; k < out->v[i].n; k++)
            p[k] = (char)tolower((unsigned char)p[k]);
        if (!slice_eqs(out->v[i], "*") && !slice_starts(out->v[i], SLICE_LIT("s3:")))
            err = refuse(ps, "Policy has invalid action", p);
    }
    return err;
}

static int
resources_parse(struct parse *ps, const json_t *value, struct words *out)
{
    int err = words_parse(ps, value, "Resource", out);
    for (size_t i = 0; err == ERR_NONE && i < out->n; i++) {
        struct slice name = out->v[i];
        if (!slice_starts(name, RESOURCE_ARN))
            return refuse(ps, "Policy has invalid resource", name.p);
        struct slice tail = slice_skip(name, RESOURCE_ARN.n);
        if (!slice_starts(tail, ps->bucket))
            return refuse(ps, "Policy has invalid resource", name.p);
        tail = slice_skip(tail, ps->bucket.n);
        if (tail.n > 0 && tail.p[0] != '/' && tail.p[0] != '*')
            return refuse(ps, "Policy has invalid resource", name.p);
        out->v[i] = tail;
    }
    return err;
}

/* "123456789012", "arn:aws:iam::123456789012:root" or "*" becomes the account id (or anybody). */
static int
principal_aws(struct parse *ps, struct statement *st, struct slice *word)
{
    struct slice rest = *word;
    if (slice_eqs(*word, "*")) {
        st->anybody = true;
        return ERR_NONE;
    }
    if (!slice_starts(*word, SLICE_LIT("arn:")))
        return has_byte(*word, '*') ? refuse(ps, "Invalid principal in policy", word->p) : ERR_NONE;
    struct slice field[6] = {SLICE_NONE};
    for (int i = 0; i < 6; i++)
        field[i] = slice_cut(rest, ':', &rest);
    if (!slice_eqs(field[2], "iam") || field[4].n == 0 || !slice_eqs(field[5], "root") ||
        rest.p != NULL || has_byte(field[4], '*'))
        return refuse(ps, "Invalid principal in policy (arn:aws:iam::ACCOUNT:root is understood)",
                      word->p);
    *word = field[4];
    return ERR_NONE;
}

static int
principal_parse(struct parse *ps, const json_t *value, struct statement *st)
{
    const char *kind;
    json_t *names;
    if (json_is_string(value) && strcmp(json_string_value(value), "*") == 0) {
        st->anybody = true;
        return ERR_NONE;
    }
    if (!json_is_object(value) || json_object_size(value) != 1)
        return refuse(ps, "Invalid principal in policy", NULL);
    json_object_foreach((json_t *)(uintptr_t)value, kind, names)
    {
        if (strcmp(kind, "AWS") != 0 && strcmp(kind, "CanonicalUser") != 0)
            return refuse(ps, "Principals of this kind are not supported", kind);
        int err = words_parse(ps, names, "Principal", &st->principals);
        for (size_t i = 0; err == ERR_NONE && strcmp(kind, "AWS") == 0 && i < st->principals.n; i++)
            err = principal_aws(ps, st, &st->principals.v[i]);
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE;
}

static const struct {
    const char *name;
    enum condition_test test;
} test_names[] = {
    {"StringEquals", TEST_EQUALS}, {"StringNotEquals", TEST_NOT_EQUALS},
    {"StringLike", TEST_LIKE},     {"StringNotLike", TEST_NOT_LIKE},
    {"IpAddress", TEST_IP},        {"NotIpAddress", TEST_NOT_IP},
    {"Bool", TEST_BOOL},
};

static bool
fits_text(enum condition_test test)
{
    return test <= TEST_NOT_LIKE;
}

static bool
fits_address(enum condition_test test)
{
    return test == TEST_IP || test == TEST_NOT_IP;
}

static bool
fits_bool(enum condition_test test)
{
    return test == TEST_BOOL;
}

static const struct {
    const char *name;
    enum condition_key key;
    bool (*fits)(enum condition_test test);
} key_names[4] = {
    {"s3:prefix", KEY_PREFIX, fits_text},
    {"s3:delimiter", KEY_DELIMITER, fits_text},
    {"aws:SourceIp", KEY_SOURCE_IP, fits_address},
    {"aws:SecureTransport", KEY_SECURE_TRANSPORT, fits_bool},
};

static int
condition_values(struct parse *ps, struct condition *c)
{
    if (c->key == KEY_SECURE_TRANSPORT) {
        for (size_t i = 0; i < c->values.n; i++) {
            if (!slice_ieqs(c->values.v[i], "true") && !slice_ieqs(c->values.v[i], "false"))
                return refuse(ps, "Invalid Bool value in conditions", c->values.v[i].p);
        }
    }
    if (c->key != KEY_SOURCE_IP)
        return ERR_NONE;
    c->nets = arena_alloc(ps->policy->arena, c->values.n * sizeof *c->nets);
    if (c->nets == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->values.n; i++) {
        if (net_parse(c->values.v[i], &c->nets[i]) != ERR_NONE)
            return refuse(ps, "Invalid IP address in conditions", c->values.v[i].p);
    }
    return ERR_NONE;
}

static int
condition_parse(struct parse *ps, const char *test, const char *key, const json_t *value,
                struct condition *c)
{
    size_t t = 0, k = 0;
    while (t < ARRAY_LEN(test_names) && strcmp(test_names[t].name, test) != 0)
        t++;
    if (t == ARRAY_LEN(test_names))
        return refuse(ps, "Conditions of this kind are not supported", test);
    while (k < ARRAY_LEN(key_names) && strcasecmp(key_names[k].name, key) != 0)
        k++;
    if (k == ARRAY_LEN(key_names) || !key_names[k].fits(test_names[t].test))
        return refuse(ps, "Policy has an invalid condition key", key);
    c->test = test_names[t].test;
    c->key = key_names[k].key;
    int err = words_parse(ps, value, key, &c->values);
    return err != ERR_NONE ? err : condition_values(ps, c);
}

static int
conditions_parse(struct parse *ps, const json_t *value, struct statement *st)
{
    const char *test, *key;
    json_t *keys, *one;
    size_t n = 0;
    if (!json_is_object(value))
        return refuse(ps, "Condition must be an object", NULL);
    json_object_foreach((json_t *)(uintptr_t)value, test, keys)
    {
        if (!json_is_object(keys))
            return refuse(ps, "Condition must be an object of objects", test);
        n += json_object_size(keys);
    }
    st->conditions = arena_alloc(ps->policy->arena, n * sizeof *st->conditions);
    if (st->conditions == NULL)
        return ERR_NOMEM;
    json_object_foreach((json_t *)(uintptr_t)value, test, keys)
    {
        json_object_foreach(keys, key, one)
        {
            int err = condition_parse(ps, test, key, one, &st->conditions[st->condition_count]);
            if (err != ERR_NONE)
                return err;
            st->condition_count++;
        }
    }
    return ERR_NONE;
}

/* One member of a statement. */
static int
member_parse(struct parse *ps, const char *name, const json_t *value, struct statement *st)
{
    if (strcmp(name, "Sid") == 0)
        return json_is_string(value) ? ERR_NONE : refuse(ps, "Sid must be a string", NULL);
    if (strcmp(name, "Effect") == 0) {
        const char *effect = json_is_string(value) ? json_string_value(value) : "";
        st->allow = strcmp(effect, "Allow") == 0;
        return st->allow || strcmp(effect, "Deny") == 0 ? ERR_NONE
                                                        : refuse(ps, "Invalid effect", effect);
    }
    if (strcmp(name, "Principal") == 0)
        return principal_parse(ps, value, st);
    if (strcmp(name, "Action") == 0 || strcmp(name, "NotAction") == 0) {
        st->not_action = name[0] == 'N';
        return st->actions.n > 0 ? refuse(ps, "Action and NotAction exclude each other", NULL)
                                 : actions_parse(ps, value, &st->actions);
    }
    if (strcmp(name, "Resource") == 0 || strcmp(name, "NotResource") == 0) {
        st->not_resource = name[0] == 'N';
        return st->resources.n > 0 ? refuse(ps, "Resource and NotResource exclude each other", NULL)
                                   : resources_parse(ps, value, &st->resources);
    }
    if (strcmp(name, "Condition") == 0)
        return conditions_parse(ps, value, st);
    return refuse(ps, "Unsupported element in a statement", name);
}

static int
statement_parse(struct parse *ps, const json_t *value, struct statement *st)
{
    const char *name;
    json_t *member;
    if (!json_is_object(value))
        return refuse(ps, "A statement must be an object", NULL);
    if (json_object_get(value, "Effect") == NULL)
        return refuse(ps, "Missing required field Effect", NULL);
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        int err = member_parse(ps, name, member, st);
        if (err != ERR_NONE)
            return err;
    }
    if (!st->anybody && st->principals.n == 0)
        return refuse(ps, "Missing required field Principal", NULL);
    if (st->actions.n == 0)
        return refuse(ps, "Missing required field Action", NULL);
    if (st->resources.n == 0)
        return refuse(ps, "Missing required field Resource", NULL);
    return ERR_NONE;
}

static int
document_parse(struct parse *ps, const json_t *root)
{
    const char *name;
    json_t *member;
    if (!json_is_object(root))
        return refuse(ps, "The policy must be a JSON object", NULL);
    json_object_foreach((json_t *)(uintptr_t)root, name, member)
    {
        if (strcmp(name, "Version") == 0) {
            struct slice v = json_get_str(root, "Version");
            if (!slice_eqs(v, "2012-10-17") && !slice_eqs(v, "2008-10-17"))
                return refuse(ps, "The policy must contain a valid version string", NULL);
        } else if (strcmp(name, "Id") != 0 && strcmp(name, "Statement") != 0) {
            return refuse(ps, "Unsupported element in the policy", name);
        }
    }
    const json_t *list = json_object_get(root, "Statement");
    size_t n = json_is_array(list) ? json_array_size(list) : list != NULL;
    if (n == 0)
        return refuse(ps, "Missing required field Statement", NULL);
    if (n > POLICY_STATEMENTS_MAX)
        return refuse(ps, "Too many statements in the policy", NULL);
    ps->policy->statements = arena_alloc(ps->policy->arena, n * sizeof(struct statement));
    if (ps->policy->statements == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(list) ? json_array_get(list, i) : list;
        int err = statement_parse(ps, one, &ps->policy->statements[i]);
        if (err != ERR_NONE)
            return err;
    }
    ps->policy->count = n;
    return ERR_NONE;
}

int
policy_parse(struct slice json, struct slice bucket, struct policy **out, struct buf *why)
{
    struct policy *p = NULL;
    struct parse ps = {.bucket = bucket, .why = why};
    json_t *root = NULL;
    int err;
    *out = NULL;
    if (json.n > POLICY_BYTES_MAX)
        return refuse(&ps, "The policy is larger than 20 KB", NULL);
    root = json_read(json, why);
    if (root == NULL) {
        char *detail = buf_take(why, NULL);
        err = refuse(&ps, "This policy contains invalid Json", detail);
        free(detail);
        return err;
    }
    err = ERR_NOMEM;
    p = calloc(1, sizeof *p);
    if (p == NULL)
        goto out;
    p->magic = POLICY_MAGIC;
    p->arena = arena_new(POLICY_MEMORY_MAX);
    if (p->arena == NULL)
        goto out;
    ps.policy = p;
    err = document_parse(&ps, root);
    if (err == ERR_NONE) {
        *out = p;
        p = NULL;
    }
out:
    policy_free(&p);
    json_decref(root);
    return err;
}

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

/* ---- judging ---- */

/* What a statement is matched against, made once per judgement. */
struct question {
    const struct policy_request *request;
    char action_text[ACTION_MAX];
    char resource_text[TEXT_MAX];
    struct slice action;
    struct slice resource;
};

static bool
principal_matches(const struct statement *st, struct slice account_id)
{
    char canonical[CANONICAL_ID_HEX + 1];
    uint8_t digest[SHA256_BYTES];
    if (st->anybody)
        return true;
    if (account_id.n == 0)
        return false;
    if (any_equal(&st->principals, account_id))
        return true;
    digest_sha256(account_id.p, account_id.n, digest);
    hex_encode(digest, sizeof digest, canonical);
    return any_equal(&st->principals, slice_str(canonical));
}

static bool
address_matches(const struct condition *c, struct slice source_ip)
{
    struct net address;
    if (net_address(source_ip, &address) != ERR_NONE)
        return false;
    for (size_t i = 0; i < c->values.n; i++) {
        if (net_holds(&c->nets[i], &address))
            return true;
    }
    return false;
}

static bool
bool_matches(const struct condition *c, bool value)
{
    for (size_t i = 0; i < c->values.n; i++) {
        if (slice_ieqs(c->values.v[i], value ? "true" : "false"))
            return true;
    }
    return false;
}

/* A value that is absent fails every test but the negated ones. */
static bool
condition_holds(const struct condition *c, const struct policy_request *rq)
{
    struct slice text = c->key == KEY_PREFIX ? rq->prefix : rq->delimiter;
    switch (c->test) {
    case TEST_EQUALS:
        return text.p != NULL && any_equal(&c->values, text);
    case TEST_NOT_EQUALS:
        return text.p == NULL || !any_equal(&c->values, text);
    case TEST_LIKE:
        return text.p != NULL && any_match(&c->values, text);
    case TEST_NOT_LIKE:
        return text.p == NULL || !any_match(&c->values, text);
    case TEST_IP:
        return address_matches(c, rq->source_ip);
    case TEST_NOT_IP:
        return !address_matches(c, rq->source_ip);
    case TEST_BOOL:
        return bool_matches(c, rq->secure_transport);
    }
    return false;
}

static bool
statement_matches(const struct statement *st, const struct question *q)
{
    if (!principal_matches(st, q->request->account_id))
        return false;
    if (any_match(&st->actions, q->action) == st->not_action)
        return false;
    if (any_match(&st->resources, q->resource) == st->not_resource)
        return false;
    for (size_t i = 0; i < st->condition_count; i++) {
        if (!condition_holds(&st->conditions[i], q->request))
            return false;
    }
    return true;
}

static void
question_make(struct question *q, const struct policy_request *request)
{
    size_t n = strlen(request->action);
    CHK(n < sizeof q->action_text);
    for (size_t i = 0; i < n; i++)
        q->action_text[i] = (char)tolower((unsigned char)request->action[i]);
    q->action = slice_of(q->action_text, n);
    q->request = request;
    q->resource = slice_of(q->resource_text, 0);
    if (request->key.p != NULL) {
        CHK(request->key.n < sizeof q->resource_text);
        q->resource_text[0] = '/';
        memcpy(q->resource_text + 1, request->key.p, request->key.n);
        q->resource.n = request->key.n + 1;
    }
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

bool
policy_is_public(const struct policy *p)
{
    if (p == NULL)
        return false;
    CHK_MAGIC(p, POLICY_MAGIC);
    for (size_t i = 0; i < p->count; i++) {
        const struct statement *st = &p->statements[i];
        bool fenced = false; /* by address, which S3 takes as not public */
        for (size_t k = 0; k < st->condition_count; k++)
            fenced |= st->conditions[k].test == TEST_IP;
        if (st->allow && st->anybody && !fenced)
            return true;
    }
    return false;
}
