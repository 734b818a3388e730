/* The query of /_/img: what is understood, what is refused, and what a signature holds together. */
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/image_url.h"
#include "tests/lib/fakereq.h"
#include "tests/lib/testdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct http_request *
request_of(const char *target)
{
    char head[4096];
    snprintf(head, sizeof head, "GET %s HTTP/1.1\nHost: h\n", target);
    return fakereq_new(head);
}

/* ERR_NONE and the query, or the error and its sentence. The request stays. */
static int
parse(struct http_request *r, struct image_query *q, char why[256])
{
    struct buf b;
    buf_init(&b, 255);
    int err = image_query_parse(r, q, &b);
    assert_int_equal(b.err, 0);
    snprintf(why, 256, "%s", b.p == NULL ? "" : b.p);
    assert_int_equal(err != ERR_NONE, why[0] != '\0');
    buf_fini(&b);
    return err;
}

static void
refused(const char *query, const char *part)
{
    char target[512], why[256];
    struct image_query q;
    snprintf(target, sizeof target, "/_/img/photos/a.jpg%s%s", query[0] == '\0' ? "" : "?", query);
    struct http_request *r = request_of(target);
    int err = parse(r, &q, why);
    if (err != ERR_INVALID || strstr(why, part) == NULL)
        fail_msg("%s: %d \"%s\"", query, err, why);
    fakereq_free(&r);
}

/* The request is leaked on purpose to the caller: the query points into it. */
static struct http_request *
good(const char *query, struct image_query *q)
{
    char target[512], why[256];
    snprintf(target, sizeof target, "/_/img/photos/a.jpg?%s", query);
    struct http_request *r = request_of(target);
    if (parse(r, q, why) != ERR_NONE)
        fail_msg("%s: %s", query, why);
    return r;
}

static void
test_presets(void **state)
{
    struct image_query q;
    (void)state;
    struct http_request *r = good("preset=small", &q);
    assert_true(slice_eqs(q.bucket, "photos") && slice_eqs(q.key, "a.jpg"));
    assert_true(slice_eqs(q.preset, "small"));
    assert_false(q.any_format || q.has_format || q.has_version || q.placeholder);
    assert_true(q.wait_ms == 0 && q.expires_s == 0 && q.sig.p == NULL);
    fakereq_free(&r);
    r = good("fm=auto&v=3&wait=1500&placeholder=1&preset=small.avif", &q);
    assert_true(q.any_format && q.has_version && q.placeholder && q.wait_ms == 1500);
    assert_true(slice_eqs(q.preset, "small.avif"));
    fakereq_free(&r);
    r = good("preset=small&fm=avif&wait=999999999", &q);
    assert_true(q.has_format && q.format == PRESET_AVIF);
    assert_int_equal(q.wait_ms, IMAGE_URL_WAIT_MS_MAX);
    fakereq_free(&r);
    refused("", "preset or w or h");
    refused("preset=", "preset must be");
    refused("preset=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "preset");
    refused("preset=small&w=10", "its own size");
    refused("preset=small&q=10", "its own size");
    refused("preset=small&dpr=2", "its own size");
    refused("preset=small&preset=small", "given twice");
    refused("preset=small&wait=-1", "wait must be");
    refused("preset=small&wait=1e3", "wait must be");
    refused("preset=small&placeholder=yes", "placeholder must be");
    refused("preset=small&placholder=1", "none of");
    refused("preset=small&Preset=small", "none of");
    refused("preset=small&X-Amz-Date=1", "none of");
}

static void
test_free_sizes(void **state)
{
    struct image_query q;
    (void)state;
    struct http_request *r = good("w=300", &q);
    assert_int_equal(q.preset.n, 0);
    assert_int_equal(q.free.width, 300);
    assert_int_equal(q.free.height, IMAGE_URL_SIDE_MAX);
    assert_int_equal(q.free.fit, PRESET_INSIDE);
    assert_int_equal(q.free.format, PRESET_WEBP);
    assert_int_equal(q.free.quality, 80);
    assert_int_equal(q.free.name[0], '_');
    assert_int_equal(strlen(q.free.name), PRESET_HASH_TEXT);
    fakereq_free(&r);
    r = good("w=101&h=50&fit=cover&fm=jpeg&q=33&dpr=1.5&focus=entropy&exp=1700000000&sig=zz", &q);
    assert_int_equal(q.free.width, 152); /* 151.5, rounded */
    assert_int_equal(q.free.height, 75);
    assert_int_equal(q.free.fit, PRESET_COVER);
    assert_int_equal(q.free.format, PRESET_JPEG);
    assert_int_equal(q.free.quality, 33);
    assert_int_equal(q.free.focus, PRESET_ENTROPY);
    assert_true(q.expires_s == 1700000000 && slice_eqs(q.sig, "zz"));
    fakereq_free(&r);
    r = good("h=40&dpr=1.25&fm=auto", &q);
    assert_true(q.any_format && q.free.height == 50 && q.free.name[0] == '\0');
    image_query_set_format(&q, PRESET_PNG);
    assert_true(q.free.format == PRESET_PNG && q.free.name[0] == '_');
    fakereq_free(&r);
}

/* Equal pictures have equal names, others others: it is what joins requests. */
static void
test_names(void **state)
{
    struct image_query a, b;
    (void)state;
    static const char *const others[] = {"w=301", "w=300&h=9", "w=300&fm=png", "w=300&q=81",
                                         "w=300&h=300&fit=cover"};
    struct http_request *r = good("w=300", &a);
    struct http_request *s = good("fm=webp&q=80&dpr=3&w=100&fit=inside&v=1", &b);
    assert_string_equal(a.free.name, b.free.name);
    fakereq_free(&s);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        s = good(others[i], &b);
        assert_string_not_equal(a.free.name, b.free.name);
        fakereq_free(&s);
    }
    fakereq_free(&r);
}

static void
test_refusals(void **state)
{
    (void)state;
    refused("w=0", "w must be");
    refused("w=4097", "w must be");
    refused("w=+3", "w must be");
    refused("w=", "w must be");
    refused("w=99999999999999999999999", "w must be");
    refused("h=3%00", "h must be");
    refused("w=2000&dpr=3", "at most 4096");
    refused("w=1&dpr=0.5", "dpr must be");
    refused("w=1&dpr=4.01", "dpr must be");
    refused("w=1&dpr=1.005", "dpr must be");
    refused("w=1&dpr=nan", "dpr must be");
    refused("w=1&q=0", "q must be");
    refused("w=1&q=101", "q must be");
    refused("w=1&fit=fill", "fit must be");
    refused("w=1&fit=cover", "both w and h");
    refused("h=1&fit=contain", "both w and h");
    refused("w=1&fm=gif", "fm must be");
    refused("w=1&fm=avif", "fm=avif");
    refused("w=1&focus=north", "focus must be");
    refused("w=1&exp=soon", "exp must be");
    refused("w=1&exp=1700000000000", "exp must be"); /* milliseconds */
    refused("w=1&wait=1", "for presets");
    refused("w=1&placeholder=1", "for presets");
    refused("w=1&w=1", "given twice");
    refused("w=1&sig=a&sig=b", "given twice");
}

static void
test_paths(void **state)
{
    static const struct {
        const char *target;
        const char *bucket;
        struct slice key;
    } all[] = {
        {"/_/img/photos/a/b/c?w=1", "photos", {"a/b/c", 5}},
        {"/_/img/photos//?w=1", "photos", {"/", 1}},
        {"/_/img/photos/a%00b?w=1", "photos", {"a\0b", 3}},
        {"/_/img/photos/a+b%2Bc?w=1", "photos", {"a+b+c", 5}},
        {"/_/img/photos/%2561?w=1", "photos", {"%61", 3}},
        {"/_/img/photos/../x?w=1", "photos", {"../x", 4}},
        {"/_/img/photos/?w=1", NULL, {NULL, 0}},
        {"/_/img/photos?w=1", NULL, {NULL, 0}},
        {"/_/img/?w=1", NULL, {NULL, 0}},
        {"/_/img/No_Bucket/a?w=1", NULL, {NULL, 0}},
        {"/_/img/photos/%ff?w=1", NULL, {NULL, 0}},
    };
    char why[256];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct image_query q;
        struct http_request *r = request_of(all[i].target);
        int err = parse(r, &q, why);
        assert_int_equal(err, all[i].bucket == NULL ? ERR_INVALID : ERR_NONE);
        if (err == ERR_NONE)
            assert_true(slice_eqs(q.bucket, all[i].bucket) && slice_eq(q.key, all[i].key));
        fakereq_free(&r);
    }
}

/* ---- signatures ---- */

static struct image_url_keys
two_keys(void)
{
    struct image_url_keys keys = {.count = 2};
    memset(keys.keys[0], 0x11, IMAGE_URL_KEY_BYTES);
    memset(keys.keys[1], 0x22, IMAGE_URL_KEY_BYTES);
    return keys;
}

static void
canonical(const char *target, struct buf *out)
{
    struct http_request *r = request_of(target);
    buf_init(out, IMAGE_URL_TEXT_MAX);
    image_url_canonical(r->path, r->params, r->param_count, out);
    assert_int_equal(out->err, 0);
    fakereq_free(&r);
}

static void
canonical_is(const char *target, const char *text)
{
    struct buf b;
    canonical(target, &b);
    assert_string_equal(b.p, text);
    buf_fini(&b);
}

static void
test_canonical(void **state)
{
    (void)state;
    canonical_is("/_/img/photos/a.jpg?w=5&h=4&exp=9", "/_/img/photos/a.jpg?exp=9&h=4&w=5");
    canonical_is("/_/img/photos/%61%2F%c3%a9+%20%7e?h=1", "/_/img/photos/a/%C3%A9%2B%20~?h=1");
    canonical_is("/_/img/photos/a%00?sig=abc&w=1", "/_/img/photos/a%00?w=1");
    canonical_is("/_/img/photos/a?v=a%2Fb+c%26d=e", "/_/img/photos/a?v=a%2Fb%20c%26d%3De");
    canonical_is("/_/img/photos/a?sig=1", "/_/img/photos/a?");
    canonical_is("/_/img/photos/a?v", "/_/img/photos/a?v=");
}

/* The MAC, by the definition of RFC 2104 over SHA-256, not by the function under test. */
static void
hmac_by_definition(const uint8_t key[IMAGE_URL_KEY_BYTES], struct slice text,
                   char hex[IMAGE_URL_SIG_TEXT])
{
    uint8_t block[64] = {0}, inner[SHA256_BYTES], outer[SHA256_BYTES];
    struct buf b;
    buf_init(&b, 1 << 16);
    memcpy(block, key, IMAGE_URL_KEY_BYTES);
    for (size_t i = 0; i < sizeof block; i++)
        buf_putc(&b, (char)(block[i] ^ 0x36));
    buf_put_slice(&b, text);
    digest_sha256(b.p, b.n, inner);
    buf_reset(&b);
    for (size_t i = 0; i < sizeof block; i++)
        buf_putc(&b, (char)(block[i] ^ 0x5c));
    buf_put(&b, inner, sizeof inner);
    digest_sha256(b.p, b.n, outer);
    hex_encode(outer, sizeof outer, hex);
    buf_fini(&b);
}

static void
test_signature(void **state)
{
    static const char target[] = "/_/img/photos/a.jpg?exp=1700000000&h=4&w=5";
    static const char *const tampered[] = {
        "/_/img/photos/b.jpg?exp=1700000000&h=4&w=5",
        "/_/img/photo/a.jpg?exp=1700000000&h=4&w=5",
        "/_/img/photos/a.jpg?exp=1700000001&h=4&w=5",
        "/_/img/photos/a.jpg?exp=1700000000&h=5&w=5",
        "/_/img/photos/a.jpg?exp=1700000000&h=4",
        "/_/img/photos/a.jpg?exp=1700000000&h=4&w=5&v=1",
        "/_/img/photos/a.jpg%00?exp=1700000000&h=4&w=5",
        "/_/img/photos/a.jpg?h=4&w=5",
    };
    struct image_url_keys keys = two_keys(), second = {.count = 1}, other = two_keys();
    char sig[IMAGE_URL_SIG_TEXT], wanted[IMAGE_URL_SIG_TEXT];
    struct buf b;
    (void)state;
    canonical(target, &b);
    image_url_sign(&keys, buf_slice(&b), sig);
    hmac_by_definition(keys.keys[0], buf_slice(&b), wanted);
    assert_string_equal(sig, wanted);
    assert_true(image_url_verify(&keys, buf_slice(&b), slice_str(sig)));
    /* The key before this one is still good, a third is not. */
    hmac_by_definition(keys.keys[1], buf_slice(&b), sig);
    assert_true(image_url_verify(&keys, buf_slice(&b), slice_str(sig)));
    memcpy(second.keys[0], keys.keys[0], IMAGE_URL_KEY_BYTES);
    assert_false(image_url_verify(&second, buf_slice(&b), slice_str(sig)));
    memset(other.keys, 0x33, sizeof other.keys);
    assert_false(image_url_verify(&other, buf_slice(&b), slice_str(wanted)));
    buf_fini(&b);
    for (size_t i = 0; i < ARRAY_LEN(tampered); i++) {
        canonical(tampered[i], &b);
        assert_false(image_url_verify(&keys, buf_slice(&b), slice_str(wanted)));
        buf_fini(&b);
    }
}

static void
test_bad_signatures(void **state)
{
    struct image_url_keys keys = two_keys();
    struct slice text = SLICE_LIT("/_/img/photos/a?w=1");
    char sig[IMAGE_URL_SIG_TEXT];
    (void)state;
    image_url_sign(&keys, text, sig);
    for (size_t i = 0; i < IMAGE_URL_SIG_TEXT - 1; i++) {
        char bad[IMAGE_URL_SIG_TEXT];
        memcpy(bad, sig, sizeof bad);
        bad[i] = bad[i] == '0' ? '1' : '0';
        assert_false(image_url_verify(&keys, text, slice_str(bad)));
        bad[i] = 'g';
        assert_false(image_url_verify(&keys, text, slice_str(bad)));
        assert_false(image_url_verify(&keys, text, slice_of(sig, i)));
    }
    assert_false(image_url_verify(&keys, text, SLICE_NONE));
    keys.count = 0;
    assert_false(image_url_verify(&keys, text, slice_str(sig)));
}

/* ---- keys ---- */

static int
load(const char *dir, struct image_url_keys *keys)
{
    struct buf why;
    buf_init(&why, 1024);
    int err = image_url_keys_load(dir, keys, &why);
    assert_int_equal(err != ERR_NONE, why.n > 0);
    buf_fini(&why);
    return err;
}

static void
test_keys(void **state)
{
    static const char one[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct image_url_keys keys, again;
    char path[512], text[512], *dir = testdir_make();
    struct stat st;
    (void)state;
    unsetenv("DARKROOM_URL_KEYS");
    assert_int_equal(load(dir, &keys), ERR_NONE);
    assert_int_equal(keys.count, 1);
    snprintf(path, sizeof path, "%s/url-keys", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(load(dir, &again), ERR_NONE);
    assert_memory_equal(keys.keys[0], again.keys[0], IMAGE_URL_KEY_BYTES);
    /* A new key in front of it. */
    snprintf(text, sizeof text, "%s\r\n%.64s\n\n", one,
             "ffffffffffffffffffffffffffffffff"
             "ffffffffffffffffffffffffffffffff");
    assert_int_equal(fsio_write_file(path, 0600, slice_str(text)), ERR_NONE);
    assert_int_equal(load(dir, &keys), ERR_NONE);
    assert_true(keys.count == 2 && keys.keys[0][0] == 0x01 && keys.keys[1][0] == 0xff);
    assert_int_equal(fsio_write_file(path, 0600, SLICE_LIT("\n")), ERR_NONE);
    assert_int_equal(load(dir, &keys), ERR_INVALID);
    assert_int_equal(fsio_write_file(path, 0600, SLICE_LIT("abc\n")), ERR_NONE);
    assert_int_equal(load(dir, &keys), ERR_INVALID);
    snprintf(text, sizeof text, "%s,%s", one, one);
    setenv("DARKROOM_URL_KEYS", text, 1);
    assert_int_equal(load(dir, &keys), ERR_NONE);
    assert_int_equal(keys.count, 2);
    snprintf(text, sizeof text, "%s,%s,%s", one, one, one);
    setenv("DARKROOM_URL_KEYS", text, 1);
    assert_int_equal(load(dir, &keys), ERR_INVALID);
    unsetenv("DARKROOM_URL_KEYS");
    testdir_remove(&dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets),   cmocka_unit_test(test_free_sizes),
        cmocka_unit_test(test_names),     cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_paths),     cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_signature), cmocka_unit_test(test_bad_signatures),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
