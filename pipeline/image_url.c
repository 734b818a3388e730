/*
 * Reading the query of /_/img, and its signature.
 *
 *   request --image_query_parse()--> what is asked for    400 when it makes no sense
 *       \----image_url_canonical()--> text --verify-----> may who holds this URL have it?
 *
 * Parsing is a table: each parameter once, with its reader. Strict on purpose: a parameter nobody
 * knows is a misspelt one, and it would be signed, cached and stored under as many names as there
 * are misspellings. What is signed is made of the decoded path and parameters, so it does not
 * matter how a client or a proxy spells them, nor in which order.
 */
#include "pipeline/image_url.h"
#include "base/auth.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "objectstore/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define QUALITY_DEFAULT 80
#define QUALITY_MAX 100
#define DPR_UNIT 100 /* dpr is kept in hundredths */
#define KEYS_FILE "url-keys"
#define KEYS_TEXT_MAX 1024

/* ---- keys ---- */

static int
keys_read(struct slice text, char separator, struct image_url_keys *out)
{
    out->count = 0;
    while (text.p != NULL) {
        struct slice key = slice_cut(text, separator, &text);
        if (key.n > 0 && key.p[key.n - 1] == '\r')
            key.n--;
        key = slice_trim(key);
        if (key.n == 0)
            continue;
        if (out->count == IMAGE_URL_KEYS_MAX ||
            hex_decode(key, out->keys[out->count], IMAGE_URL_KEY_BYTES) != ERR_NONE)
            return ERR_INVALID;
        out->count++;
    }
    return out->count > 0 ? ERR_NONE : ERR_INVALID;
}

static int
keys_make(const char *path)
{
    uint8_t key[IMAGE_URL_KEY_BYTES];
    char line[2 * IMAGE_URL_KEY_BYTES + 2];
    random_bytes(key, sizeof key);
    hex_encode(key, sizeof key, line);
    line[2 * IMAGE_URL_KEY_BYTES] = '\n';
    int err = fsio_write_file(path, 0600, slice_of(line, sizeof line - 1));
    explicit_bzero(key, sizeof key);
    explicit_bzero(line, sizeof line);
    return err;
}

int
image_url_keys_load(const char *dir, struct image_url_keys *out, struct buf *why)
{
    struct slice env = slice_str(getenv("DARKROOM_URL_KEYS"));
    struct buf text;
    char path[4096];
    if (env.n > 0) {
        int err = keys_read(env, ',', out);
        if (err != ERR_NONE)
            buf_printf(why,
                       "DARKROOM_URL_KEYS must be one or two keys of %d hex digits, with a "
                       "comma between them",
                       2 * IMAGE_URL_KEY_BYTES);
        return err;
    }
    int n = snprintf(path, sizeof path, "%s/" KEYS_FILE, dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return ERR_TOOBIG;
    int err = access(path, F_OK) == 0 ? ERR_NONE : keys_make(path);
    buf_init(&text, KEYS_TEXT_MAX);
    if (err == ERR_NONE)
        err = fsio_read_file(path, &text);
    if (err != ERR_NONE) {
        buf_printf(why, "%s: %s", path, err_text(err));
    } else if ((err = keys_read(buf_slice(&text), '\n', out)) != ERR_NONE) {
        buf_printf(why, "%s must hold one or two lines of %d hex digits", path,
                   2 * IMAGE_URL_KEY_BYTES);
    }
    if (text.p != NULL)
        explicit_bzero(text.p, text.cap);
    buf_fini(&text);
    return err;
}

/* ---- the parameters ---- */

struct reading {
    struct image_query *q;
    struct buf *why;
    int dpr;     /* in hundredths */
    bool sized;  /* w or h */
    bool styled; /* fit, q, dpr or focus */
};

static const char *const fit_words[] = {"cover", "contain", "inside", NULL};
static const char *const format_words[] = {"webp", "jpeg", "png", "avif", NULL};
static const char *const focus_words[] = {"centre", "attention", "entropy", NULL};

/* Index of `word`, -1 when it is none of them. */
static int
choice(const char *const words[], struct slice word)
{
    for (int i = 0; words[i] != NULL; i++) {
        if (slice_eqs(word, words[i]))
            return i;
    }
    return -1;
}

static int
number(struct slice text, int64_t min, int64_t max, int64_t *out)
{
    uint64_t v;
    if (text.n > 18 || slice_to_u64(text, &v) != ERR_NONE || (int64_t)v < min || (int64_t)v > max)
        return ERR_INVALID;
    *out = (int64_t)v;
    return ERR_NONE;
}

static int
read_side(struct reading *rd, struct slice value, int *side)
{
    int64_t v;
    rd->sized = true;
    int err = number(value, 1, IMAGE_URL_SIDE_MAX, &v);
    if (err == ERR_NONE)
        *side = (int)v;
    return err;
}

static int
read_w(struct reading *rd, struct slice value)
{
    return read_side(rd, value, &rd->q->free.width);
}

static int
read_h(struct reading *rd, struct slice value)
{
    return read_side(rd, value, &rd->q->free.height);
}

static int
read_fit(struct reading *rd, struct slice value)
{
    int i = choice(fit_words, value);
    rd->styled = true;
    rd->q->free.fit = (enum preset_fit)i;
    return i < 0 ? ERR_INVALID : ERR_NONE;
}

static int
read_focus(struct reading *rd, struct slice value)
{
    int i = choice(focus_words, value);
    rd->styled = true;
    rd->q->free.focus = (enum preset_focus)i;
    return i < 0 ? ERR_INVALID : ERR_NONE;
}

static int
read_fm(struct reading *rd, struct slice value)
{
    int i = choice(format_words, value);
    rd->q->any_format = slice_eqs(value, "auto");
    rd->q->has_format = i >= 0;
    if (i >= 0)
        rd->q->format = (enum preset_format)i;
    return i >= 0 || rd->q->any_format ? ERR_NONE : ERR_INVALID;
}

static int
read_q(struct reading *rd, struct slice value)
{
    int64_t v;
    rd->styled = true;
    int err = number(value, 1, QUALITY_MAX, &v);
    if (err == ERR_NONE)
        rd->q->free.quality = (int)v;
    return err;
}

/* "2", "1.5", "1.25": at most two decimals. */
static int
read_dpr(struct reading *rd, struct slice value)
{
    int64_t whole, part = 0;
    struct slice decimals, before = slice_cut(value, '.', &decimals);
    rd->styled = true;
    if (number(before, 1, IMAGE_URL_DPR_MAX, &whole) != ERR_NONE)
        return ERR_INVALID;
    if (decimals.p != NULL &&
        (decimals.n > 2 || number(decimals, 0, DPR_UNIT - 1, &part) != ERR_NONE))
        return ERR_INVALID;
    if (decimals.n == 1)
        part *= 10;
    rd->dpr = (int)(whole * DPR_UNIT + part);
    return rd->dpr <= IMAGE_URL_DPR_MAX * DPR_UNIT ? ERR_NONE : ERR_INVALID;
}

static int
read_preset(struct reading *rd, struct slice value)
{
    rd->q->preset = value;
    return value.n > 0 && value.n <= PRESET_IDENTITY_MAX ? ERR_NONE : ERR_INVALID;
}

static int
read_exp(struct reading *rd, struct slice value)
{
    return number(value, 1, IMAGE_URL_EXPIRES_S_MAX, &rd->q->expires_s);
}

static int
read_sig(struct reading *rd, struct slice value)
{
    rd->q->sig = value;
    return ERR_NONE; /* a wrong one is no malformed one: nothing is told */
}

static int
read_v(struct reading *rd, struct slice value)
{
    (void)value;
    rd->q->has_version = true;
    return ERR_NONE;
}

static int
read_wait(struct reading *rd, struct slice value)
{
    int err = number(value, 0, INT64_MAX, &rd->q->wait_ms);
    if (rd->q->wait_ms > IMAGE_URL_WAIT_MS_MAX)
        rd->q->wait_ms = IMAGE_URL_WAIT_MS_MAX;
    return err;
}

static int
read_placeholder(struct reading *rd, struct slice value)
{
    rd->q->placeholder = slice_eqs(value, "1");
    return rd->q->placeholder || slice_eqs(value, "0") ? ERR_NONE : ERR_INVALID;
}

static const struct parameter {
    const char *name;
    int (*read)(struct reading *rd, struct slice value);
    const char *allowed;
} parameters[] = {
    {"preset", read_preset, "a preset's name"},
    {"w", read_w, "pixels, 1 to 4096"},
    {"h", read_h, "pixels, 1 to 4096"},
    {"fit", read_fit, "cover, contain or inside"},
    {"fm", read_fm, "webp, jpeg, png, avif or auto"},
    {"q", read_q, "1 to 100"},
    {"dpr", read_dpr, "1 to 4, with at most two decimals"},
    {"focus", read_focus, "centre, attention or entropy"},
    {"exp", read_exp, "seconds since 1970"},
    {"sig", read_sig, ""},
    {"v", read_v, ""},
    {"wait", read_wait, "milliseconds"},
    {"placeholder", read_placeholder, "0 or 1"},
};

/* Part of a signature that the router has judged. */
static bool
is_of_signature(const struct http_request *r, struct slice name)
{
    return r->auth != NULL && r->auth->presigned &&
           (slice_starts(name, SLICE_LIT("X-Amz-")) || slice_eqs(name, "AWSAccessKeyId") ||
            slice_eqs(name, "Expires") || slice_eqs(name, "Signature"));
}

static const struct parameter *
parameter_find(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        if (slice_eqs(name, parameters[i].name))
            return &parameters[i];
    }
    return NULL;
}

static int
read_params(struct reading *rd, const struct http_request *r)
{
    unsigned seen = 0;
    for (size_t i = 0; i < r->param_count; i++) {
        const struct parameter *p = parameter_find(r->params[i].name);
        if (p == NULL && is_of_signature(r, r->params[i].name))
            continue;
        if (p == NULL) {
            buf_puts(rd->why, "a parameter is none of preset, w, h, fit, fm, q, dpr, focus, exp, "
                              "sig, v, wait and placeholder");
            return ERR_INVALID;
        }
        unsigned bit = 1u << (p - parameters);
        if (seen & bit) {
            buf_printf(rd->why, "%s is given twice", p->name);
            return ERR_INVALID;
        }
        seen |= bit;
        if (p->read(rd, r->params[i].value) != ERR_NONE) {
            buf_printf(rd->why, "%s must be %s", p->name, p->allowed);
            return ERR_INVALID;
        }
    }
    return ERR_NONE;
}

/* ---- what they mean together ---- */

static int
read_path(const struct http_request *r, struct image_query *q)
{
    struct slice prefix = SLICE_LIT(IMAGE_URL_PATH);
    if (!slice_starts(r->path, prefix))
        return ERR_INVALID;
    q->bucket = slice_cut(slice_skip(r->path, prefix.n), '/', &q->key);
    return store_bucket_name_ok(q->bucket) && q->key.n > 0 && q->key.n <= STORE_KEY_MAX &&
                   slice_is_utf8(q->key)
               ? ERR_NONE
               : ERR_INVALID;
}

/* One sentence, or NULL. */
static const char *
contradiction(const struct reading *rd)
{
    const struct image_query *q = rd->q;
    const struct preset *p = &q->free;
    if (q->preset.n > 0)
        return rd->sized || rd->styled ? "preset has its own size, fit, quality and focus" : NULL;
    if (!rd->sized)
        return "either preset or w or h must be given";
    if (p->fit != PRESET_INSIDE && (p->width == 0 || p->height == 0))
        return "fit=cover and fit=contain need both w and h";
    if (q->has_format && q->format == PRESET_AVIF)
        return "fm=avif is for presets: it takes too long to be waited for";
    if (q->wait_ms > 0 || q->placeholder)
        return "wait and placeholder are for presets: a free size is made at once";
    return NULL;
}

/* Rounded to the nearest; a side that was not given bounds nothing. */
static int
scaled(int side, int dpr)
{
    return side == 0 ? IMAGE_URL_SIDE_MAX : (side * dpr + DPR_UNIT / 2) / DPR_UNIT;
}

void
image_query_set_format(struct image_query *q, enum preset_format format)
{
    q->free.format = format;
    q->free.name[0] = '_';
    preset_hash(&q->free, q->free.name + 1);
}

int
image_query_parse(const struct http_request *r, struct image_query *q, struct buf *why)
{
    struct reading rd = {.q = q, .why = why, .dpr = DPR_UNIT};
    *q = (struct image_query){
        .free = {.fit = PRESET_INSIDE, .quality = QUALITY_DEFAULT, .focus = PRESET_CENTRE}};
    if (read_path(r, q) != ERR_NONE) {
        buf_puts(why, "the path must be " IMAGE_URL_PATH "BUCKET/KEY");
        return ERR_INVALID;
    }
    int err = read_params(&rd, r);
    if (err != ERR_NONE)
        return err;
    const char *wrong = contradiction(&rd);
    if (wrong != NULL) {
        buf_puts(why, wrong);
        return ERR_INVALID;
    }
    if (q->preset.n > 0)
        return ERR_NONE;
    q->free.width = scaled(q->free.width, rd.dpr);
    q->free.height = scaled(q->free.height, rd.dpr);
    if (q->free.width > IMAGE_URL_SIDE_MAX || q->free.height > IMAGE_URL_SIDE_MAX) {
        buf_printf(why, "w and h times dpr must be at most %d", IMAGE_URL_SIDE_MAX);
        return ERR_INVALID;
    }
    if (!q->any_format)
        image_query_set_format(q, q->has_format ? q->format : PRESET_WEBP);
    return ERR_NONE;
}

/* ---- the signature ---- */

static int
by_name(const void *a, const void *b)
{
    const struct http_param *x = a, *y = b;
    int c = slice_cmp(x->name, y->name);
    return c != 0 ? c : slice_cmp(x->value, y->value);
}

void
image_url_canonical(struct slice path, struct http_param *params, size_t count, struct buf *out)
{
    char before = '?';
    if (count > 0)
        qsort(params, count, sizeof *params, by_name);
    http_escape(out, path, true);
    for (size_t i = 0; i < count; i++) {
        if (slice_eqs(params[i].name, "sig"))
            continue;
        buf_putc(out, before);
        http_escape(out, params[i].name, false);
        buf_putc(out, '=');
        http_escape(out, params[i].value, false);
        before = '&';
    }
    if (before == '?')
        buf_putc(out, '?');
}

void
image_url_sign(const struct image_url_keys *keys, struct slice canonical,
               char sig[IMAGE_URL_SIG_TEXT])
{
    uint8_t mac[SHA256_BYTES];
    CHK(keys->count > 0);
    digest_hmac_sha256(slice_of(keys->keys[0], IMAGE_URL_KEY_BYTES), canonical, mac);
    hex_encode(mac, sizeof mac, sig);
}

bool
image_url_verify(const struct image_url_keys *keys, struct slice canonical, struct slice sig)
{
    uint8_t sent[SHA256_BYTES], mac[SHA256_BYTES];
    bool good = false;
    if (hex_decode(sig, sent, sizeof sent) != ERR_NONE)
        return false;
    for (size_t i = 0; i < keys->count; i++) {
        digest_hmac_sha256(slice_of(keys->keys[i], IMAGE_URL_KEY_BYTES), canonical, mac);
        good |= digest_equal(mac, sent, sizeof mac);
    }
    return good;
}
