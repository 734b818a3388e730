/*
 * The query of /_/img: what it asks for, and the signature that lets anybody who holds the URL have
 * it until it expires.
 *
 *    sig = hex(HMAC-SHA256(key, path "?" query))
 *      path   "/_/img/" bucket "/" key, percent-encoded as RFC 3986 wants it ('/' kept)
 *      query  every parameter but sig, "name=value", both percent-encoded likewise ('/' not kept),
 *             sorted by name, joined by '&'
 *
 * Any of the live keys will do: the first signs, the second is the one before it, so that a key can
 * be changed without breaking the URLs that are out.
 */
#ifndef DARKROOM_PIPELINE_IMAGE_URL_H
#define DARKROOM_PIPELINE_IMAGE_URL_H

#include "base/http.h"
#include "functions/preset.h"

#define IMAGE_URL_PATH "/_/img/"
#define IMAGE_URL_KEYS_MAX 2
#define IMAGE_URL_KEY_BYTES 32
#define IMAGE_URL_SIG_TEXT 65
#define IMAGE_URL_SIDE_MAX 4096 /* pixels, after dpr */
#define IMAGE_URL_DPR_MAX 4
#define IMAGE_URL_WAIT_MS_MAX 30000    /* a longer wait= is this one */
#define IMAGE_URL_TEXT_MAX (16u << 10) /* of what is signed */
/* 2100-01-01: more is a mistake, milliseconds mostly. */
#define IMAGE_URL_EXPIRES_S_MAX 4102444800

struct image_url_keys {
    uint8_t keys[IMAGE_URL_KEYS_MAX][IMAGE_URL_KEY_BYTES];
    size_t count;
};

/* DARKROOM_URL_KEYS ("hex[,hex]") when set, else DIR/url-keys (0600, one key a line, the signing
 * one first), made at the first start. ERR_INVALID or a file's error, with one sentence in `why`.
 */
int image_url_keys_load(const char *dir, struct image_url_keys *out, struct buf *why);

struct image_query {
    struct slice bucket, key; /* of the source */
    struct slice preset;      /* n = 0: a free size */
    /* Of a free size: as demand_spec wants it, once image_query_set_format() was called, which
     * the parser does unless `any_format`. */
    struct preset free;
    bool any_format;           /* fm=auto */
    bool has_format;           /* fm= names one; of a preset, which of its stored formats */
    enum preset_format format; /* that one */
    bool has_version;          /* v= */
    int64_t wait_ms;           /* 0: none */
    bool placeholder;
    int64_t expires_s; /* exp=; 0: none */
    struct slice sig;  /* as sent; p = NULL: none */
};

/* Parameters are known, given once, in bounds, and not of both kinds; else ERR_INVALID with one
 * sentence in `why`. Those of an S3 signature in the query (r->auth) are let pass. HTTP thread. */
int image_query_parse(const struct http_request *r, struct image_query *out, struct buf *why);
/* Of a free size: sets the format, and the name that goes with it. */
void image_query_set_format(struct image_query *q, enum preset_format format);

/* What is signed, of a path decoded once and parameters; reorders `params`. */
void image_url_canonical(struct slice path, struct http_param *params, size_t count,
                         struct buf *out);
void image_url_sign(const struct image_url_keys *keys, struct slice canonical,
                    char sig[IMAGE_URL_SIG_TEXT]);
/* Compares with every live key in constant time. */
bool image_url_verify(const struct image_url_keys *keys, struct slice canonical, struct slice sig);

#endif
