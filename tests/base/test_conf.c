/* Defaults, texts, files; every fault names its setting in one line. */
#include "base/conf.h"
#include "base/err.h"
#include "base/fsio.h"
#include "tests/lib/testdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char *dir;
    char home[4096];
    struct conf *conf;
    struct accounts *accounts;
    struct buf why;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->dir = testdir_make();
    f->conf = conf_new();
    f->accounts = accounts_new();
    buf_init(&f->why, 10000);
    /* The file is named by its bare name, so messages can be compared as a whole. */
    if (getcwd(f->home, sizeof f->home) == NULL || chdir(f->dir) != 0)
        return -1;
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    if (chdir(f->home) != 0)
        return -1;
    conf_free(&f->conf);
    accounts_free(&f->accounts);
    buf_fini(&f->why);
    testdir_remove(&f->dir);
    free(f);
    return 0;
}

static int
load(struct fixture *f, const char *text)
{
    buf_fini(&f->why);
    assert_int_equal(fsio_write_file("darkroom.json", 0600, slice_str(text)), ERR_NONE);
    return conf_load(f->conf, "darkroom.json", f->accounts, &f->why);
}

static void
expect_fault(struct fixture *f, const char *text, const char *line)
{
    int rc = load(f, text);
    assert_int_equal(rc, ERR_INVALID);
    assert_string_equal(f->why.p, line);
    assert_null(strchr(f->why.p, '\n'));
}

static void
test_defaults(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(conf_str(f->conf, CONF_DATA), "./darkroom-data");
    assert_string_equal(conf_str(f->conf, CONF_LISTEN), "127.0.0.1:9000");
    assert_string_equal(conf_str(f->conf, CONF_METRICS_TOKEN), "");
    assert_false(conf_bool(f->conf, CONF_BARE));
    assert_int_equal(conf_int(f->conf, CONF_SHUTDOWN), 10000);
    assert_int_equal(conf_int(f->conf, CONF_RESERVE), 67108864);
}

static void
test_set(void **state)
{
    struct fixture *f = *state;
    struct conf *c = f->conf;
    static const struct {
        enum conf_id id;
        const char *text;
        int rc;
        const char *line;
    } bad[] = {
        {CONF_HTTP_THREADS, "65", ERR_RANGE, "http.threads: 65 is not in the range 0 to 64"},
        {CONF_HTTP_THREADS, "-1", ERR_RANGE, "http.threads: -1 is not in the range 0 to 64"},
        {CONF_HTTP_THREADS, "", ERR_INVALID,
         "http.threads: \"\" is not a whole number from 0 to 64"},
        {CONF_HTTP_THREADS, "1x", ERR_INVALID,
         "http.threads: \"1x\" is not a whole number from 0 to 64"},
        {CONF_HTTP_THREADS, " 1", ERR_INVALID,
         "http.threads: \" 1\" is not a whole number from 0 to 64"},
        {CONF_HTTP_THREADS, "-", ERR_INVALID,
         "http.threads: \"-\" is not a whole number from 0 to 64"},
        {CONF_HTTP_THREADS, "99999999999999999999", ERR_INVALID,
         "http.threads: \"99999999999999999999\" is not a whole number from 0 to 64"},
        {CONF_BARE, "yes", ERR_INVALID, "bare: \"yes\" is neither true nor false"},
        {CONF_AUTH_SIGV2, "of", ERR_INVALID, "auth.sigv2: \"of\" is none of off|loopback|on"},
        {CONF_AUTH_SIGV2, "", ERR_INVALID, "auth.sigv2: \"\" is none of off|loopback|on"},
        {CONF_AUTH_SIGV2, "off|loopback", ERR_INVALID,
         "auth.sigv2: \"off|loopback\" is none of off|loopback|on"},
        {CONF_FORMATS, "jxl,bmp", ERR_INVALID, "image.formats: \"jxl,bmp\" is not any of jxl,svg"},
        {CONF_FORMATS, ",", ERR_INVALID, "image.formats: \",\" is not any of jxl,svg"},
        {CONF_DATA, "a\nb", ERR_INVALID, "data: must be UTF-8 text without control characters"},
        {CONF_DATA, "a\xff", ERR_INVALID, "data: must be UTF-8 text without control characters"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_reset(&f->why);
        assert_int_equal(conf_set(c, bad[i].id, bad[i].text, &f->why), bad[i].rc);
        assert_string_equal(f->why.p, bad[i].line);
    }
    assert_int_equal(conf_int(c, CONF_HTTP_THREADS), 0);
    assert_string_equal(conf_str(c, CONF_AUTH_SIGV2), "loopback");
    buf_reset(&f->why);
    assert_int_equal(conf_set(c, CONF_HTTP_THREADS, "64", &f->why), ERR_NONE);
    assert_int_equal(conf_set(c, CONF_BARE, "true", &f->why), ERR_NONE);
    assert_int_equal(conf_set(c, CONF_AUTH_SIGV2, "on", &f->why), ERR_NONE);
    assert_int_equal(conf_set(c, CONF_FORMATS, "svg, jxl", &f->why), ERR_NONE);
    assert_int_equal(conf_set(c, CONF_FORMATS, "", &f->why), ERR_NONE);
    assert_int_equal(conf_set(c, CONF_WEBHOOK_HOSTS, "a.example,b:81", &f->why), ERR_NONE);
    assert_int_equal(conf_set(c, CONF_DATA, "/srv/d", NULL), ERR_NONE);
    assert_int_equal(f->why.n, 0);
    assert_int_equal(conf_int(c, CONF_HTTP_THREADS), 64);
    assert_true(conf_bool(c, CONF_BARE));
    assert_string_equal(conf_str(c, CONF_AUTH_SIGV2), "on");
    assert_string_equal(conf_str(c, CONF_DATA), "/srv/d");
}

static void
test_long_text(void **state)
{
    struct fixture *f = *state;
    char text[4098];
    memset(text, 'x', sizeof text);
    text[4097] = '\0';
    assert_int_equal(conf_set(f->conf, CONF_DATA, text, &f->why), ERR_RANGE);
    assert_string_equal(f->why.p, "data: longer than 4096 bytes");
    text[4096] = '\0';
    assert_int_equal(conf_set(f->conf, CONF_DATA, text, NULL), ERR_NONE);
    assert_string_equal(conf_str(f->conf, CONF_DATA), text);
}

static void
test_load(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "{}"), ERR_NONE);
    assert_int_equal(
        load(
            f,
            "{\"data\": \"/d\", \"bare\": true, \"auth\": {\"sigv2\": \"off\"},\n"
            " \"http\": {\"threads\": 3, \"idle_timeout_ms\": 2000},\n"
            " \"accounts\": [\n"
            "  {\"id\": \"111122223333\", \"display_name\": \"Ann \xc3\x84\", \"email\": \"a@x\",\n"
            "   \"access_key_id\": \"AKANN\", \"secret_access_key\": \"s/+=\"},\n"
            "  {\"id\": \"bob\", \"display_name\": \"Bob\", \"email\": \"b@x\",\n"
            "   \"access_key_id\": \"AKBOB\", \"secret_access_key\": \"t\"}]}"),
        ERR_NONE);
    assert_int_equal(f->why.n, 0);
    assert_string_equal(conf_str(f->conf, CONF_DATA), "/d");
    assert_true(conf_bool(f->conf, CONF_BARE));
    assert_string_equal(conf_str(f->conf, CONF_AUTH_SIGV2), "off");
    assert_int_equal(conf_int(f->conf, CONF_HTTP_THREADS), 3);
    assert_int_equal(conf_int(f->conf, CONF_HTTP_IDLE), 2000);
    assert_int_equal(conf_int(f->conf, CONF_WORKERS), 0);
    const struct account *ann = accounts_by_access_key(f->accounts, SLICE_LIT("AKANN"));
    assert_string_equal(ann->id, "111122223333");
    assert_string_equal(ann->display_name, "Ann \xc3\x84");
    assert_string_equal(ann->email, "a@x");
    assert_string_equal(ann->secret_access_key, "s/+=");
    assert_false(ann->is_root);
    assert_string_equal(accounts_by_id(f->accounts, SLICE_LIT("bob"))->email, "b@x");
}

static void
test_load_faults(void **state)
{
    struct fixture *f = *state;
    expect_fault(f, "{\"auth\": {\"sigv3\": \"on\"}}",
                 "darkroom.json: auth.sigv3: no such setting");
    expect_fault(f, "{\"aut\": {\"sigv2\": \"on\"}}", "darkroom.json: aut: no such setting");
    expect_fault(f, "{\"auth.sigv2\": \"on\"}", "darkroom.json: auth.sigv2: no such setting");
    expect_fault(f, "{\"auth\": {\"\": 1}}", "darkroom.json: auth.: no such setting");
    expect_fault(f, "{\"\": 1}", "darkroom.json: : no such setting");
    expect_fault(f, "{\"a\\nb\": 1}", "darkroom.json: \"a\\x0ab\": no such setting");
    expect_fault(f, "{\"auth\": \"on\"}", "darkroom.json: auth: must be an object, not a string");
    expect_fault(f, "{\"data\": {\"x\": 1}}",
                 "darkroom.json: data: must be a string, not an object");
    expect_fault(f, "{\"data\": 7}", "darkroom.json: data: must be a string, not a whole number");
    expect_fault(f, "{\"data\": null}", "darkroom.json: data: must be a string, not null");
    expect_fault(f, "{\"data\": \"a\\u0000b\"}",
                 "darkroom.json: data: must be UTF-8 text without control characters");
    expect_fault(f, "{\"http\": {\"threads\": \"3\"}}",
                 "darkroom.json: http.threads: must be a whole number, not a string");
    expect_fault(
        f, "{\"http\": {\"threads\": 3.0}}",
        "darkroom.json: http.threads: must be a whole number, not a number with a fraction");
    expect_fault(f, "{\"http\": {\"threads\": 65}}",
                 "darkroom.json: http.threads: 65 is not in the range 0 to 64");
    expect_fault(f, "{\"bare\": \"true\"}",
                 "darkroom.json: bare: must be true or false, not a string");
    expect_fault(f, "{\"bare\": []}", "darkroom.json: bare: must be true or false, not a list");
    expect_fault(f, "{\"auth\": {\"sigv2\": \"maybe\"}}",
                 "darkroom.json: auth.sigv2: \"maybe\" is none of off|loopback|on");
    expect_fault(f, "[]", "darkroom.json: must be one JSON object");
    expect_fault(f, "{\"data\": \"a\", \"data\": \"b\"}",
                 "darkroom.json: line 1: duplicate object key");
    assert_int_equal(conf_load(f->conf, "none.json", f->accounts, NULL), ERR_NOTFOUND);
    buf_reset(&f->why);
    assert_int_equal(conf_load(f->conf, "none.json", f->accounts, &f->why), ERR_NOTFOUND);
    assert_string_equal(f->why.p, "none.json: cannot be read: there is no such file");
}

#define ACCOUNT(id, key, more)                                                                  \
    "{\"id\": \"" id "\", \"display_name\": \"n\", \"email\": \"e\", \"access_key_id\": \"" key \
    "\", \"secret_access_key\": \"hush\"" more "}"

static void
test_account_faults(void **state)
{
    struct fixture *f = *state;
    expect_fault(f, "{\"accounts\": {}}", "darkroom.json: accounts: must be a list of objects");
    expect_fault(f, "{\"accounts\": [7]}", "darkroom.json: accounts[0]: must be an object");
    expect_fault(f, "{\"accounts\": [" ACCOUNT("1", "K", ", \"x\": 1") "]}",
                 "darkroom.json: accounts[0]: no such member: \"x\"");
    expect_fault(f, "{\"accounts\": [{\"id\": \"1\"}]}",
                 "darkroom.json: accounts[0].display_name: missing");
    expect_fault(f, "{\"accounts\": [" ACCOUNT("", "K", "") "]}",
                 "darkroom.json: accounts[0].id: must be a string of 1 to 256 bytes");
    expect_fault(f, "{\"accounts\": [" ACCOUNT("a:b", "K", "") "]}",
                 "darkroom.json: accounts[0].id: has a character that is not allowed");
    expect_fault(f, "{\"accounts\": [" ACCOUNT("1", "K/2", "") "]}",
                 "darkroom.json: accounts[0].access_key_id: has a character that is not allowed");
    expect_fault(f, "{\"accounts\": [" ACCOUNT("1\\u0000", "K", "") "]}",
                 "darkroom.json: accounts[0].id: has a character that is not allowed");
    expect_fault(f, "{\"accounts\": [" ACCOUNT("1", "K1", "") ", " ACCOUNT("2", "K1", "") "]}",
                 "darkroom.json: accounts[1]: its id or access_key_id is already in use");
    /* No message shows a secret, neither its own nor the parser's. */
    assert_int_equal(load(f, "{\"accounts\": [{\"secret_access_key\": \"hush\n\"}]}"), ERR_INVALID);
    assert_null(strstr(f->why.p, "hush"));
    assert_true(slice_starts(buf_slice(&f->why), SLICE_LIT("darkroom.json: line 1: ")));
    assert_int_equal(load(f, "{\"accounts\": [{\"secret_access_key\" \"hush\"}]}"), ERR_INVALID);
    assert_null(strstr(f->why.p, "hush"));
}

static void
test_print(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    int lines = 0;
    ptrdiff_t column = -1;
    buf_init(&out, 1 << 20);
    assert_int_equal(conf_set(f->conf, CONF_METRICS_TOKEN, "hush", NULL), ERR_NONE);
    assert_int_equal(conf_set(f->conf, CONF_HTTP_THREADS, "12", NULL), ERR_NONE);
    conf_print(f->conf, &out);
    assert_int_equal(out.err, ERR_NONE);
    assert_null(strstr(out.p, "hush"));
    struct slice rest = buf_slice(&out);
    while (rest.n > 0) {
        struct slice line = slice_cut(rest, '\n', &rest);
        ptrdiff_t at = slice_find(line, SLICE_LIT("(default "));
        assert_true(at > 0 && (column < 0 || at == column));
        column = at;
        if (slice_starts(line, SLICE_LIT("metrics.token ")))
            assert_true(slice_find(line, SLICE_LIT(" (set) ")) > 0);
        if (slice_starts(line, SLICE_LIT("http.threads ")))
            assert_true(slice_find(line, SLICE_LIT(" 12 ")) > 0 &&
                        slice_find(line, SLICE_LIT("(default 0)")) > 0 &&
                        slice_find(line, SLICE_LIT(" threads ")) > 0 &&
                        slice_find(line, SLICE_LIT("one per core")) > 0);
        lines++;
    }
    assert_int_equal(lines, CONF_COUNT);
    buf_fini(&out);
}

#define WITH_CONF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CONF(test_defaults), WITH_CONF(test_set),         WITH_CONF(test_long_text),
        WITH_CONF(test_load),     WITH_CONF(test_load_faults), WITH_CONF(test_account_faults),
        WITH_CONF(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
