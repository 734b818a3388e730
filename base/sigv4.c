/*
 * Canonical request -> string to sign -> signature, and the chain of chunk signatures.
 *
 * All texts go to a caller's struct buf, whose sticky error is looked at once. Signing keys hold
 * for a day, so each thread remembers the last few: a request then costs one HMAC instead of five.
 * The cache is found by the secret itself, never by the key id alone: two accounts with one id (two
 * servers in one process, a test) must not meet in it.
 */
#include "base/sigv4.h"
#include "base/chk.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_CACHE_SLOTS 4
#define KEY_CACHE_TEXT 256
#define CHAIN_TEXT_MAX 1024
#define SECRET_MAX (64u << 10)

/* ---- canonical query ---- */

struct pair {
    size_t at, name_n, value_n; /* in the text of encoded parameters */
    struct slice name, value;
};

static int
pair_cmp(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int c = slice_cmp(x->name, y->name);
    return c != 0 ? c : slice_cmp(x->value, y->value);
}

/* Encodes every kept parameter; the slices are set when the text no longer moves. */
static size_t
encode_params(const struct sigv4_canonical *c, struct buf *text, struct pair *pairs)
{
    size_t n = 0;
    for (size_t i = 0; i < c->param_count; i++) {
        if (c->skip_param != NULL && slice_eqs(c->params[i].name, c->skip_param))
            continue;
        struct pair *p = &pairs[n++];
        p->at = text->n;
        http_escape(text, c->params[i].name, false);
        p->name_n = text->n - p->at;
        http_escape(text, c->params[i].value, false);
        p->value_n = text->n - p->at - p->name_n;
    }
    /* "?=": a parameter, and no text at all. */
    const char *base = text->p == NULL ? "" : text->p;
    for (size_t i = 0; i < n && text->err == ERR_NONE; i++) {
        struct pair *p = &pairs[i];
        p->name = slice_of(base + p->at, p->name_n);
        p->value = slice_of(base + p->at + p->name_n, p->value_n);
    }
    return n;
}

static int
put_query(const struct sigv4_canonical *c, struct buf *out)
{
    struct pair pairs[HTTP_QUERY_MAX];
    struct buf text;
    if (c->param_count > HTTP_QUERY_MAX)
        return ERR_TOOBIG;
    if (c->param_count == 0)
        return ERR_NONE;
    buf_init(&text, out->max);
    size_t n = encode_params(c, &text, pairs);
    int err = text.err;
    if (err == ERR_NONE) {
        qsort(pairs, n, sizeof pairs[0], pair_cmp);
        for (size_t i = 0; i < n; i++) {
            if (i > 0)
                buf_putc(out, '&');
            buf_put_slice(out, pairs[i].name);
            buf_putc(out, '=');
            buf_put_slice(out, pairs[i].value);
        }
    }
    buf_fini(&text);
    return err;
}

/* ---- canonical headers ---- */

/* Trimmed, runs of blanks inside as one space. */
static void
put_value(struct slice value, struct buf *out)
{
    struct slice v = slice_trim(value);
    for (size_t i = 0; i < v.n; i++) {
        bool blank = v.p[i] == ' ' || v.p[i] == '\t';
        if (!blank)
            buf_putc(out, v.p[i]);
        else if (v.p[i - 1] != ' ' && v.p[i - 1] != '\t')
            buf_putc(out, ' ');
    }
}

static bool
name_is(struct slice name, struct slice lower)
{
    if (name.n != lower.n)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + ('a' - 'A'));
        if (c != lower.p[i])
            return false;
    }
    return true;
}

/* Every field of that name, in the order they were sent. */
static int
put_header(const struct sigv4_canonical *c, struct slice name, struct buf *out)
{
    size_t found = 0;
    buf_put_slice(out, name);
    buf_putc(out, ':');
    for (size_t i = 0; i < c->field_count; i++) {
        if (!name_is(c->fields[i].name, name))
            continue;
        if (found++ > 0)
            buf_putc(out, ',');
        put_value(c->fields[i].value, out);
    }
    buf_putc(out, '\n');
    return found > 0 ? ERR_NONE : ERR_NOTFOUND;
}

int
sigv4_canonical_request(const struct sigv4_canonical *c, struct buf *out)
{
    bool all_there = true;
    buf_put_slice(out, c->method);
    buf_putc(out, '\n');
    buf_put_slice(out, c->uri);
    buf_putc(out, '\n');
    int err = put_query(c, out);
    if (err != ERR_NONE)
        return err;
    buf_putc(out, '\n');
    struct slice rest = c->signed_headers;
    while (rest.p != NULL) {
        struct slice name = slice_cut(rest, ';', &rest);
        all_there &= put_header(c, name, out) == ERR_NONE;
    }
    buf_putc(out, '\n');
    buf_put_slice(out, c->signed_headers);
    buf_putc(out, '\n');
    buf_put_slice(out, c->payload_hash);
    if (out->err != ERR_NONE)
        return out->err;
    return all_there ? ERR_NONE : ERR_NOTFOUND;
}

/* ---- canonical URI ---- */

void
sigv4_uri_reencoded(struct slice path, struct buf *out)
{
    if (path.n == 0)
        buf_putc(out, '/');
    else
        http_escape(out, path, true);
}

void
sigv4_uri_normalized(struct slice raw_path, struct buf *out)
{
    struct buf plain;
    buf_init(&plain, out->max);
    buf_putc(&plain, '/');
    struct slice rest = raw_path;
    while (rest.p != NULL && plain.err == ERR_NONE) {
        struct slice segment = slice_cut(rest, '/', &rest);
        bool dot = slice_eqs(segment, "."), up = slice_eqs(segment, "..");
        if (up && plain.n > 1) {
            /* The text ends with '/' here: drop it and the segment before it. */
            do
                plain.n--;
            while (plain.p[plain.n - 1] != '/');
        }
        if (segment.n == 0 || dot || up)
            continue;
        buf_put_slice(&plain, segment);
        if (rest.p != NULL)
            buf_putc(&plain, '/');
    }
    if (plain.err != ERR_NONE)
        out->err = plain.err;
    else
        http_escape(out, buf_slice(&plain), true);
    buf_fini(&plain);
}

/* ---- signing ---- */

void
sigv4_string_to_sign(struct slice timestamp, struct slice scope, struct slice canonical,
                     struct buf *out)
{
    uint8_t sha256[SHA256_BYTES];
    char hex[SIGV4_HEX + 1];
    digest_sha256(canonical.p, canonical.n, sha256);
    hex_encode(sha256, sizeof sha256, hex);
    buf_puts(out, SIGV4_ALGORITHM "\n");
    buf_put_slice(out, timestamp);
    buf_putc(out, '\n');
    buf_put_slice(out, scope);
    buf_putc(out, '\n');
    buf_puts(out, hex);
}

static int
derive(struct slice secret, struct slice date, struct slice region, struct slice service,
       uint8_t key[SHA256_BYTES])
{
    const struct slice steps[] = {date, region, service, SLICE_LIT(SIGV4_TERMINATOR)};
    uint8_t next[SHA256_BYTES];
    struct buf first;
    buf_init(&first, SECRET_MAX);
    buf_puts(&first, "AWS4");
    buf_put_slice(&first, secret);
    int err = first.err; /* half a secret would be a key that others can guess */
    struct slice k = buf_slice(&first);
    for (size_t i = 0; err == ERR_NONE && i < ARRAY_LEN(steps); i++) {
        digest_hmac_sha256(k, steps[i], next);
        memcpy(key, next, sizeof next);
        k = slice_of(key, SHA256_BYTES);
    }
    buf_fini(&first);
    return err;
}

struct cached_key {
    size_t n; /* 0: empty slot */
    char text[KEY_CACHE_TEXT];
    uint8_t key[SHA256_BYTES];
};

static _Thread_local struct {
    struct cached_key slots[KEY_CACHE_SLOTS];
    unsigned next;
} keys;

/* "date/region/service\nsecret": the first three can hold no newline. 0 when it does not fit. */
static size_t
cache_text(struct slice secret, struct slice date, struct slice region, struct slice service,
           char text[KEY_CACHE_TEXT])
{
    if (secret.n + date.n + region.n + service.n + 4 > KEY_CACHE_TEXT)
        return 0;
    int n = snprintf(text, KEY_CACHE_TEXT, "%.*s/%.*s/%.*s\n%.*s", SLICE_FMT(date),
                     SLICE_FMT(region), SLICE_FMT(service), SLICE_FMT(secret));
    return n < 0 ? 0 : (size_t)n;
}

int
sigv4_signing_key(struct slice secret, struct slice date, struct slice region, struct slice service,
                  uint8_t key[SHA256_BYTES])
{
    char text[KEY_CACHE_TEXT];
    size_t n = cache_text(secret, date, region, service, text);
    for (size_t i = 0; n > 0 && i < KEY_CACHE_SLOTS; i++) {
        if (slice_eq(slice_of(text, n), slice_of(keys.slots[i].text, keys.slots[i].n))) {
            memcpy(key, keys.slots[i].key, SHA256_BYTES);
            return ERR_NONE;
        }
    }
    int err = derive(secret, date, region, service, key);
    if (err != ERR_NONE || n == 0)
        return err;
    struct cached_key *slot = &keys.slots[keys.next++ % KEY_CACHE_SLOTS];
    memcpy(slot->text, text, n);
    memcpy(slot->key, key, SHA256_BYTES);
    slot->n = n;
    return ERR_NONE;
}

void
sigv4_sign(const uint8_t key[SHA256_BYTES], struct slice string_to_sign, char hex[SIGV4_HEX + 1])
{
    uint8_t mac[SHA256_BYTES];
    digest_hmac_sha256(slice_of(key, SHA256_BYTES), string_to_sign, mac);
    hex_encode(mac, sizeof mac, hex);
}

/* ---- chunks ---- */

static int
chain_next(struct sigv4_chain *chain, const char *algorithm, const char *extra,
           const uint8_t sha256[SHA256_BYTES])
{
    char text[CHAIN_TEXT_MAX], hex[SIGV4_HEX + 1];
    hex_encode(sha256, SHA256_BYTES, hex);
    int n = snprintf(text, sizeof text, "%s\n%s\n%.*s\n%s\n%s%s", algorithm, chain->timestamp,
                     SLICE_FMT(chain->scope), chain->previous, extra, hex);
    if (n < 0 || (size_t)n >= sizeof text)
        return ERR_TOOBIG;
    sigv4_sign(chain->key, slice_of(text, (size_t)n), chain->previous);
    return ERR_NONE;
}

int
sigv4_chain_chunk(struct sigv4_chain *chain, const uint8_t sha256[SHA256_BYTES])
{
    /* The digest of "nothing" stands for chunk headers, of which there are none. */
    return chain_next(chain, "AWS4-HMAC-SHA256-PAYLOAD", SIGV4_EMPTY_SHA256 "\n", sha256);
}

int
sigv4_chain_trailer(struct sigv4_chain *chain, const uint8_t sha256[SHA256_BYTES])
{
    return chain_next(chain, "AWS4-HMAC-SHA256-TRAILER", "", sha256);
}
