/*
 * Texts of policies with wildcards and variables.
 *
 * Compiled, a pattern is the text with its special places as bytes that no UTF-8 has, so that a '*'
 * which a request brings along (in a variable's value, or written ${*}) is just a star:
 *
 *   ff        any bytes
 *   fe        one character
 *   fd        a variable: key, length and bytes of its tail, then of its default (fc: none)
 *
 * To be matched, variables are filled in first, into a buffer of EXPANDED_MAX bytes. What does not
 * fit has more literal bytes than any text it is held against, so it matches nothing.
 *
 * Matching costs time linear in the text: the pieces between ff are sought from the left, each once
 * and never again (if the leftmost place of a piece fails the rest, a later one does too). Pieces
 * without fe are sought by memmem(), those with fe in one run over the text with a bit for each of
 * their bytes; so they have at most PIECE_FUZZY_MAX of them, and no variable.
 */
#include "objectstore/policy_priv.h"
#include "base/chk.h"
#include "base/err.h"

#include <ctype.h>
#include <strings.h>

#define ANY '\xff'
#define ONE '\xfe'
#define VARIABLE '\xfd'
#define NO_DEFAULT 0xfcu /* no length, and not ANY: cheap() looks at compiled bytes */
#define NAME_PART_MAX 250u
#define PIECE_FUZZY_MAX 64 /* bits of a word */
#define EXPANDED_MAX 4096
#define ARN_PARTS 6

/* ---- keys ---- */

static const char *const key_names[POLICY_KEY_COUNT] = {
#define X(id, name) name,
    POLICY_KEY_LIST(X)
#undef X
};

const char *
policy_key_name(enum policy_key key)
{
    CHK(key < POLICY_KEY_COUNT);
    return key_names[key];
}

int
policy_key_find(struct slice name, enum policy_key *key, struct slice *tail)
{
    for (size_t i = 0; i < POLICY_KEY_COUNT; i++) {
        size_t n = strlen(key_names[i]);
        bool has_tail = key_names[i][n - 1] == '/';
        if (has_tail ? name.n <= n : name.n != n)
            continue;
        if (strncasecmp(name.p, key_names[i], n) != 0)
            continue;
        *key = (enum policy_key)i;
        *tail = slice_skip(name, n);
        return ERR_NONE;
    }
    return ERR_NOTFOUND;
}

bool
policy_key_is_steady(enum policy_key key)
{
    return key != POLICY_KEY_EXISTING_TAG && key != POLICY_KEY_VERSION_ID;
}

size_t
policy_values(const struct policy_request *rq, enum policy_key key, struct slice tail,
              struct slice out[POLICY_VALUES_MAX], char scratch[POLICY_SCRATCH])
{
    return rq->values == NULL ? 0 : rq->values(rq->arg, key, tail, out, scratch);
}

/* ---- compiling ---- */

static bool
has_byte(struct slice s, char c)
{
    return s.n > 0 && memchr(s.p, c, s.n) != NULL;
}

/* "aws:username, 'guest'" as the bytes behind VARIABLE; how many, 0: unknown. */
static size_t
variable_compile(struct slice inner, char *out)
{
    enum policy_key key;
    struct slice tail, fallback;
    struct slice name = slice_trim(slice_cut(inner, ',', &fallback));
    size_t n = 0;
    if (policy_key_find(name, &key, &tail) != ERR_NONE || tail.n > NAME_PART_MAX)
        return 0;
    out[n++] = (char)key;
    out[n++] = (char)tail.n;
    memcpy(out + n, tail.p, tail.n);
    n += tail.n;
    if (fallback.p == NULL) {
        out[n++] = (char)NO_DEFAULT;
        return n;
    }
    fallback = slice_trim(fallback);
    if (fallback.n < 2 || fallback.n > NAME_PART_MAX || fallback.p[0] != '\'' ||
        fallback.p[fallback.n - 1] != '\'')
        return 0;
    fallback = slice_of(fallback.p + 1, fallback.n - 2);
    out[n++] = (char)fallback.n;
    memcpy(out + n, fallback.p, fallback.n);
    return n + fallback.n;
}

/* The "${...}" at the start of `text`: appended to out[]; its bytes in the text, 0: malformed. */
static size_t
escape_compile(struct slice text, char *out, size_t *n, struct pattern *p)
{
    struct slice rest;
    struct slice inner = slice_cut(slice_skip(text, 2), '}', &rest);
    if (rest.p == NULL)
        return 0;
    if (inner.n == 1 && strchr("*?$", inner.p[0]) != NULL) {
        out[(*n)++] = inner.p[0];
    } else {
        out[(*n)++] = VARIABLE;
        size_t bytes = variable_compile(inner, out + *n);
        if (bytes == 0)
            return 0;
        p->is_steady &= policy_key_is_steady((enum policy_key)(unsigned char)out[*n]);
        *n += bytes;
        p->has_variables = true;
    }
    return inner.n + 3;
}

/* Can every sought piece be sought in good time? */
static bool
cheap(struct slice compiled)
{
    struct slice rest;
    slice_cut(compiled, ANY, &rest); /* the first piece is anchored, and so is the last */
    while (has_byte(rest, ANY)) {
        struct slice piece = slice_cut(rest, ANY, &rest);
        if (has_byte(piece, ONE) && (piece.n > PIECE_FUZZY_MAX || has_byte(piece, VARIABLE)))
            return false;
    }
    return true;
}

int
pattern_compile(struct arena *a, struct slice text, unsigned flags, struct pattern *p)
{
    char *out = arena_alloc(a, text.n + 1);
    size_t n = 0;
    if (out == NULL)
        return ERR_NOMEM;
    *p = (struct pattern){.is_fixed = true, .is_steady = true};
    for (size_t i = 0; i < text.n;) {
        bool wild = (flags & PATTERN_WILD) && (text.p[i] == '*' || text.p[i] == '?');
        if ((flags & PATTERN_VARIABLES) && slice_starts(slice_skip(text, i), SLICE_LIT("${"))) {
            size_t used = escape_compile(slice_skip(text, i), out, &n, p);
            if (used == 0)
                return ERR_INVALID;
            i += used;
            continue;
        }
        out[n++] = !wild ? text.p[i] : text.p[i] == '*' ? ANY : ONE;
        p->is_fixed &= !wild;
        i++;
    }
    p->is_fixed &= !p->has_variables;
    p->text = slice_of(out, n);
    return !(flags & PATTERN_WILD) || cheap(p->text) ? ERR_NONE : ERR_INVALID;
}

/* ---- filling in ---- */

struct expansion {
    char text[EXPANDED_MAX];
    size_t n;
};

static bool
put(struct expansion *e, struct slice s)
{
    if (s.n > sizeof e->text - e->n)
        return false;
    if (s.n > 0)
        memcpy(e->text + e->n, s.p, s.n);
    e->n += s.n;
    return true;
}

/* The variable at p[at], which becomes what follows it. False: it has no value. */
static bool
put_variable(struct expansion *e, struct slice p, size_t *at, const struct policy_request *rq)
{
    struct slice values[POLICY_VALUES_MAX];
    char scratch[POLICY_SCRATCH];
    const unsigned char *b = (const unsigned char *)p.p + *at;
    struct slice tail = slice_of(b + 2, b[1]);
    b += 2 + tail.n;
    struct slice fallback = b[0] == NO_DEFAULT ? SLICE_NONE : slice_of(b + 1, b[0]);
    *at = (size_t)((const char *)b - p.p) + 1 + fallback.n;
    size_t n = policy_values(rq, (enum policy_key)(unsigned char)tail.p[-2], tail, values, scratch);
    /* A value that is no UTF-8 could look like a wildcard. */
    if (n == 1 && slice_is_utf8(values[0]))
        return put(e, values[0]);
    return fallback.p != NULL && put(e, fallback);
}

/* The pattern's text for this request, in e when it has variables; p = NULL: it has none. */
static struct slice
expand(const struct pattern *p, const struct policy_request *rq, struct expansion *e)
{
    if (!p->has_variables)
        return p->text;
    e->n = 0;
    for (size_t i = 0; i < p->text.n;) {
        bool variable = p->text.p[i] == VARIABLE;
        i++;
        if (variable ? !put_variable(e, p->text, &i, rq) : !put(e, slice_of(p->text.p + i - 1, 1)))
            return SLICE_NONE;
    }
    return slice_of(e->text, e->n);
}

/* ---- matching ---- */

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
        if (at >= text.n || (piece.p[i] != ONE && piece.p[i] != text.p[at]))
            return -1;
        at++;
        while (piece.p[i] == ONE && at < text.n && utf8_tail(text.p[at]))
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
        if (at == 0 || (c != ONE && c != text.p[at - 1]))
            return false;
        at--;
        while (c == ONE && at > 0 && utf8_tail(text.p[at]))
            at--;
    }
    return true;
}

/* The same of a piece with ONE in it, all its beginnings followed at once: bit i of `here` says
 * that its first i + 1 elements end at this byte. ONE goes on over the tail of its character. */
static struct slice
piece_seek_fuzzy(struct slice piece, struct slice text)
{
    uint64_t places[256] = {0}, ones = 0, here = 0;
    CHK(piece.n <= PIECE_FUZZY_MAX);
    uint64_t last = UINT64_C(1) << (piece.n - 1);
    for (size_t i = 0; i < piece.n; i++) {
        uint64_t bit = UINT64_C(1) << i;
        if (piece.p[i] == ONE)
            ones |= bit;
        else
            places[(unsigned char)piece.p[i]] |= bit;
    }
    for (size_t i = 0; i < text.n; i++) {
        uint64_t fit = places[(unsigned char)text.p[i]] | ones;
        if (utf8_tail(text.p[i]))
            here = (here & ones) | ((here & ~ones) << 1 & fit);
        else
            here = (here << 1 | 1) & fit;
        if (!(here & last))
            continue;
        i++;
        while ((ones & last) && i < text.n && utf8_tail(text.p[i]))
            i++;
        return slice_skip(text, i);
    }
    return SLICE_NONE;
}

/* What follows the leftmost place of the piece; p = NULL when it is nowhere. */
static struct slice
piece_seek(struct slice piece, struct slice text)
{
    if (has_byte(piece, ONE))
        return piece_seek_fuzzy(piece, text);
    ptrdiff_t at = slice_find(text, piece);
    return at < 0 ? SLICE_NONE : slice_skip(text, (size_t)at + piece.n);
}

/* Neither slice may have p = NULL. */
static bool
match(struct slice pattern, struct slice text)
{
    struct slice rest;
    struct slice piece = slice_cut(pattern, ANY, &rest);
    ptrdiff_t covered = piece_at(piece, text);
    if (covered < 0)
        return false;
    if (rest.p == NULL)
        return (size_t)covered == text.n;
    text = slice_skip(text, (size_t)covered);
    while (has_byte(rest, ANY)) {
        piece = slice_cut(rest, ANY, &rest);
        text = piece_seek(piece, text);
        if (text.p == NULL)
            return false;
    }
    return piece_ends(rest, text);
}

bool
pattern_match(const struct pattern *p, struct slice text, const struct policy_request *rq)
{
    struct expansion e;
    struct slice pattern = expand(p, rq, &e);
    return text.p != NULL && pattern.p != NULL && match(pattern, text);
}

static bool
same_without_case(struct slice a, struct slice b)
{
    for (size_t i = 0; i < a.n; i++) {
        if (tolower((unsigned char)a.p[i]) != tolower((unsigned char)b.p[i]))
            return false;
    }
    return true;
}

bool
pattern_equal(const struct pattern *p, struct slice text, const struct policy_request *rq,
              bool ignore_case)
{
    struct expansion e;
    struct slice pattern = expand(p, rq, &e);
    if (text.p == NULL || pattern.p == NULL || pattern.n != text.n)
        return false;
    return ignore_case ? same_without_case(pattern, text) : slice_eq(pattern, text);
}

bool
pattern_match_arn(const struct pattern *p, struct slice text, const struct policy_request *rq)
{
    struct expansion e;
    struct slice pattern = expand(p, rq, &e);
    if (pattern.p == NULL || text.p == NULL)
        return false;
    for (int i = 0; i < ARN_PARTS - 1; i++) {
        struct slice want = slice_cut(pattern, ':', &pattern);
        struct slice have = slice_cut(text, ':', &text);
        if (pattern.p == NULL || text.p == NULL || !match(want, have))
            return false;
    }
    return match(pattern, text);
}
