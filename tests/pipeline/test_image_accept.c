/* What browsers accept, against what is stored. */
#include "base/chk.h"
#include "pipeline/image_accept.h"
#include "tests/lib/fakereq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* 'w' WebP, 'j' JPEG, 'p' PNG, 'a' AVIF; '-' none of them. */
static enum preset_format
format_of(char c)
{
    return c == 'w' ? PRESET_WEBP : c == 'j' ? PRESET_JPEG : c == 'p' ? PRESET_PNG : PRESET_AVIF;
}

static char
chosen(const char *stored, const char *accept)
{
    enum preset_format formats[PRESETS_MAX];
    size_t n = strlen(stored);
    struct http_request *r = fakereq_new("GET / HTTP/1.1\nHost: h\n");
    if (accept != NULL)
        fakereq_field_add(r, "Accept", accept);
    for (size_t i = 0; i < n; i++)
        formats[i] = format_of(stored[i]);
    int at = image_accept_choose(r, formats, n);
    assert_true(at >= -1 && at < (int)n);
    fakereq_free(&r);
    return at < 0 ? '-' : stored[at];
}

static void
is(const char *accept, const char *stored, char want)
{
    char got = chosen(stored, accept);
    if (got != want)
        fail_msg("%s of %s: %c, not %c", accept == NULL ? "(none)" : accept, stored, got, want);
}

#define CHROME "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
#define FIREFOX_OLD "image/webp,*/*"
#define SAFARI                                                                                \
    "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png," \
    "image/svg+xml,image/*;q=0.8,*/*;q=0.5"
#define SAFARI_OLD "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5"
#define EXPLORER "image/png, image/svg+xml, image/*;q=0.8, */*;q=0.5"

static void
test_browsers(void **state)
{
    static const struct {
        const char *accept;
        const char *best; /* of "wjpa", "wjp", "jp", "w", "a", "wa" */
    } all[] = {
        {CHROME, "awjwaa"},     {FIREFOX_OLD, "wwjwaw"}, {SAFARI, "awpwaa"},
        {SAFARI_OLD, "pppwaa"}, {EXPLORER, "pppwaa"},    {"*/*", "jjjwaa"},
        {NULL, "jjjwaa"},       {"text/html", "------"}, {"image/jpeg", "jjj---"},
    };
    static const char *const stored[] = {"wjpa", "wjp", "jp", "w", "a", "wa"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        for (size_t k = 0; k < ARRAY_LEN(stored); k++)
            is(all[i].accept, stored[k], all[i].best[k]);
    }
}

static void
test_weights(void **state)
{
    (void)state;
    is("image/webp;q=0.5,image/jpeg", "wj", 'j');
    is("image/webp;q=0.5,image/jpeg;q=0.499", "wj", 'w');
    is("image/webp;q=0", "w", '-');
    is("image/webp;q=0.000,*/*", "w", '-'); /* the specific one decides, */
    is("*/*,image/webp;q=0", "w", '-');     /* wherever it stands */
    is("image/webp;q=0,*/*", "wj", 'j');
    is("image/jpeg;q=0,*/*", "wj", 'w'); /* no plain one will do */
    is("image/*;q=0,*/*", "wjpa", '-');
    is("*/*;q=0,image/png", "wjpa", 'p');
    is("*/*;q=0", "wjpa", '-');
    is("IMAGE/WebP;Q=0.1", "wj", 'w');
    is(" image/webp ; q=0.3 , image/jpeg ; q=0.2 ", "wj", 'w');
}

static void
test_odd(void **state)
{
    (void)state;
    is("", "wj", 'j'); /* as if absent */
    is(",,;,", "wj", '-');
    is("image/webp;q=2", "w", '-');
    is("image/webp;q=1.001", "w", '-');
    is("image/webp;q=-1", "w", '-');
    is("image/webp;q=0.1234", "w", '-');
    is("image/webp;q=", "w", '-');
    is("image/webp;q=.5", "w", '-');
    is("image/webp;q=2,image/*;q=0.3", "w", 'w'); /* what cannot be read is not there */
    is("image/webp;level=1", "w", '-');
    is("image/webp;q=0.5;ext=1", "w", 'w');
    is("text/x;a=\",image/webp\"", "w", '-'); /* quoted */
    is("text/x;a=\"\\\",image/webp\",image/png", "wp", 'p');
    is("text/x;a=\"image/webp", "w", '-');
    is("image", "wj", '-');
    is("*", "wj", '-');
    is("image/webp", "", '-');
}

static void
test_several_fields(void **state)
{
    enum preset_format formats[] = {PRESET_WEBP, PRESET_JPEG};
    struct http_request *r = fakereq_new("GET / HTTP/1.1\nHost: h\nAccept: image/jpeg;q=0.3\n"
                                         "accept: image/webp\n");
    (void)state;
    assert_int_equal(image_accept_choose(r, formats, 2), 0);
    fakereq_free(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_browsers),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_odd),
        cmocka_unit_test(test_several_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
