/*
 * The parts of a browser's upload by themselves: the form's parser, the policy's judge, and the
 * signature against AWS's published example. Sentences are S3's, from its documentation and from
 * recordings of it. Whole uploads are in test_post_s3.c.
 */
#include "base/auth.h"
#include "base/err.h"
#include "objectstore/post_form.h"
#include "objectstore/post_policy.h"
#include "tests/lib/fakereq.h"
#include "tests/objectstore/fixture.h"

#define B "--xYz"
#define PART(name) B "\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n"
#define FILE_PART(filename)                                                     \
    B "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" filename \
      "\"\r\nContent-Type: image/png\r\n\r\n"
#define END B "--\r\n"

/* ---- the form ---- */

struct sunk {
    struct buf file;
    int begun;
    bool refuse_begin, refuse_bytes;
};

static bool
sunk_begin(void *arg)
{
    struct sunk *s = arg;
    s->begun++;
    return !s->refuse_begin;
}

static bool
sunk_bytes(void *arg, const void *p, size_t n)
{
    struct sunk *s = arg;
    assert_int_equal(s->begun, 1);
    assert_true(n > 0);
    buf_put(&s->file, p, n);
    return !s->refuse_bytes;
}

/* "name=value;...|filename|content" */
static void
form_shown(struct post_form *f, const struct sunk *s, struct buf *out)
{
    size_t count;
    const struct http_field *fields = post_form_fields(f, &count);
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%.*s=%.*s;", SLICE_FMT(fields[i].name), SLICE_FMT(fields[i].value));
    struct slice name = post_form_filename(f);
    buf_printf(out, "|%.*s|", SLICE_FMT(name.p == NULL ? SLICE_LIT("-") : name));
    buf_put(out, s->file.p, s->file.n);
}

static enum post_form_fault
form_parse(struct slice body, size_t step, struct sunk *s, struct buf *shown)
{
    struct arena *a = arena_new(1 << 20);
    const struct post_form_sink sink = {s, sunk_begin, sunk_bytes};
    struct post_form *f = post_form_new(a, SLICE_LIT("xYz"), &sink);
    enum post_form_fault fault = POST_FORM_OK;
    buf_init(&s->file, 1 << 20);
    s->begun = 0;
    for (size_t at = 0; at < body.n; at += step) {
        struct slice piece = slice_skip(body, at);
        /* Memory of its own, so that a look beyond it is seen. */
        size_t n = piece.n < step ? piece.n : step;
        char *copy = chk_calloc(1, n);
        memcpy(copy, piece.p, n);
        enum post_form_fault next = post_form_feed(f, copy, n);
        free(copy);
        assert_true(fault == POST_FORM_OK || next == fault);
        fault = next;
    }
    enum post_form_fault end = post_form_end(f);
    assert_true(fault == POST_FORM_OK || end == fault);
    if (shown != NULL)
        form_shown(f, s, shown);
    post_form_fini(&f);
    buf_fini(&s->file);
    arena_free(&a);
    return end;
}

static void
form_is(const char *body, enum post_form_fault fault, const char *expected)
{
    static const size_t steps[] = {1, 2, 3, 5, 8, 13, 1000};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct sunk s = {0};
        struct buf shown;
        buf_init(&shown, 1 << 16);
        enum post_form_fault got = form_parse(slice_str(body), steps[i], &s, &shown);
        if (got != fault || (expected != NULL && !slice_eqs(buf_slice(&shown), expected)))
            fail_msg("step %zu: %d \"%s\" of %s", steps[i], (int)got, shown.p, body);
        buf_fini(&shown);
    }
}

static void
forms(void **state)
{
    (void)state;
    form_is(PART("key") "a b\r\n" FILE_PART("x.png") "bytes\r\n" END, POST_FORM_OK,
            "key=a b;|x.png|bytes");
    form_is("a preamble\r\n" PART("key") "\r\n" FILE_PART("") "\r\n" B "--an epilogue\r\n" B,
            POST_FORM_OK, "key=;||");
    form_is(PART("file") "text\r\n" END, POST_FORM_OK, "|-|text");
    /* What comes near to a delimiter is content. */
    form_is(FILE_PART("f") "\r\r\n-\r\n--xY\r\n--xyz\r\n--\r\r\n\r\n" END, POST_FORM_OK,
            "|f|\r\r\n-\r\n--xY\r\n--xyz\r\n--\r\r\n");
    form_is(FILE_PART("f") "\r\n--xY" END "\r\n" END, POST_FORM_OK, "|f|\r\n--xY" END);
    /* Fields of one name, and fields behind the file. */
    form_is(PART("t") "Ninja\r\n" PART("T") "Stallman\r\n" FILE_PART("f") "\r\n" PART(
                "late") "x\r\n" END,
            POST_FORM_OK, "t=Ninja,Stallman;|f|");
    form_is(B " \t\r\ncontent-DISPOSITION:form-data ;  name=key\r\nX: y\r\n\r\nv\r\n" B
              "\r\nContent-Disposition: Form-Data; filename*=UTF-8''no; "
              "filename=\"C:\\dir\\a\\\"b;=.png\"; name=\"file\"\r\n\r\n1\r\n" END,
            POST_FORM_OK, "key=v;|a\"b;=.png|1");
    form_is(PART("key") "v\r\n" B "\r\nContent-Disposition: form-data; name=\"file\"; "
                        "filename=\"/home/me/x.png\"\r\n\r\n\r\n" END,
            POST_FORM_OK, "key=v;|x.png|");
    form_is(PART("key") "v\r\n" END, POST_FORM_OK, "key=v;|-|");
}

static void
forms_refused(void **state)
{
    (void)state;
    form_is("", POST_FORM_MALFORMED, NULL);
    form_is("key=value&file=x", POST_FORM_MALFORMED, NULL);
    form_is(PART("key") "v\r\n" FILE_PART("f") "bytes", POST_FORM_MALFORMED, NULL);
    form_is(PART("key") "v\r\n" FILE_PART("f") "bytes\r\n" B, POST_FORM_MALFORMED, NULL);
    form_is(PART("key") "v\r\n" FILE_PART("f") "bytes\r\n" B "-", POST_FORM_MALFORMED, NULL);
    form_is(PART("key") "v\n" FILE_PART("f") "bytes\n" END, POST_FORM_MALFORMED, NULL);
    form_is(FILE_PART("f") "bytes\r\n" B "x\r\n" END, POST_FORM_MALFORMED, NULL);
    form_is(FILE_PART("f") "bytes\r\n" B " --\r\n" END, POST_FORM_MALFORMED, NULL);
    form_is(B "\r\n\r\nno header\r\n" END, POST_FORM_MALFORMED, NULL);
    form_is(B "\r\nContent-Type: a\r\n\r\nv\r\n" END, POST_FORM_MALFORMED, NULL);
    form_is(B "\r\nno colon\r\n\r\nv\r\n" END, POST_FORM_MALFORMED, NULL);
    form_is(B "\r\nContent-Disposition: form-data\r\n\r\nv\r\n" END, POST_FORM_MALFORMED, NULL);
    form_is(B "\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nv\r\n" END, POST_FORM_MALFORMED,
            NULL);
    form_is(B "\r\nContent-Disposition: file; name=\"file\"\r\n\r\nv\r\n" END, POST_FORM_MALFORMED,
            NULL);
    form_is(B "\r\nContent-Disposition: form-data; name=\"a\"; name=\"file\"\r\n\r\nv\r\n" END,
            POST_FORM_MALFORMED, NULL);
    form_is(B "\r\nContent-Disposition: form-data; name=\"open\r\n\r\nv\r\n" END,
            POST_FORM_MALFORMED, NULL);
    form_is(B "\r\nContent-Disposition: form-data; name=\"a\" b\r\n\r\nv\r\n" END,
            POST_FORM_MALFORMED, NULL);
    form_is(PART("a") "v\r\n" B "\r\nContent-Disposition: form-data; name=\"b\"\r\n"
                      "Content-Disposition: form-data; name=\"file\"\r\n\r\nv\r\n" END,
            POST_FORM_MALFORMED, NULL);
    form_is(FILE_PART("f") "1\r\n" FILE_PART("g") "2\r\n" END, POST_FORM_TWO_FILES, "|f|1");
}

/* A form with that many bytes where they are wanted: in a field, in a header line, behind the end,
 * or spread over fields. */
static enum post_form_fault
form_sized(const char *before, size_t bytes, const char *after, size_t step)
{
    struct sunk s = {0};
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_puts(&body, before);
    for (size_t i = 0; i < bytes; i++)
        buf_putc(&body, 'v');
    buf_puts(&body, after);
    enum post_form_fault fault = form_parse(buf_slice(&body), step, &s, NULL);
    buf_fini(&body);
    return fault;
}

static void
form_limits(void **state)
{
    static const size_t steps[] = {1, 100, 1 << 20};
    const char *value = PART("key"), *rest = "\r\n" FILE_PART("f") "12345\r\n" END;
    const char *line = B "\r\nX: ", *next = "\r\n\r\n\r\n" END;
    size_t most = POST_FORM_BYTES_MAX - strlen(PART("key")) - strlen(rest) + 5 - 2;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        assert_int_equal(form_sized(value, most, rest, steps[i]), POST_FORM_OK);
        assert_int_equal(form_sized(value, most + 1, rest, steps[i]), POST_FORM_TOO_LARGE);
        assert_int_equal(form_sized(line, 5000, next, steps[i]), POST_FORM_MALFORMED);
        assert_int_equal(form_sized(line, 50000, next, steps[i]), POST_FORM_MALFORMED);
        assert_int_equal(form_sized(END, 50000, "", steps[i]), POST_FORM_TOO_LARGE);
        /* The file itself has no limit here. */
        assert_int_equal(form_sized(FILE_PART("f"), 100000, "\r\n" END, steps[i]), POST_FORM_OK);
    }
    struct buf many;
    buf_init(&many, 1 << 20);
    for (int i = 0; i <= POST_FORM_FIELDS_MAX; i++)
        buf_printf(&many, B "\r\nContent-Disposition: form-data; name=\"k%d\"\r\n\r\n\r\n", i);
    buf_puts(&many, END);
    assert_int_equal(form_sized(many.p, 0, "", 1000), POST_FORM_TOO_LARGE);
    buf_fini(&many);
}

static void
form_stopped(void **state)
{
    struct sunk begin = {.refuse_begin = true}, bytes = {.refuse_bytes = true};
    struct slice body = SLICE_LIT(FILE_PART("f") "12\r345\r\n" END);
    (void)state;
    assert_int_equal(form_parse(body, 1, &begin, NULL), POST_FORM_STOPPED);
    assert_int_equal(form_parse(body, 1000, &bytes, NULL), POST_FORM_STOPPED);
}

static void
boundary_is(const char *type, bool is_form, const char *boundary)
{
    bool got;
    struct arena *a = arena_new(1 << 16);
    struct slice b = post_form_boundary(a, slice_str(type), &got);
    if (got != is_form || !slice_eqs(b, boundary))
        fail_msg("%s: %d \"%.*s\"", type, got, SLICE_FMT(b));
    arena_free(&a);
}

static void
boundaries(void **state)
{
    (void)state;
    boundary_is("multipart/form-data; boundary=abc", true, "abc");
    boundary_is(" Multipart/Form-Data;charset=utf-8 ; BOUNDARY=\"a b:?\"", true, "a b:?");
    boundary_is("multipart/form-data", true, "");
    boundary_is("multipart/form-data; boundary=", true, "");
    boundary_is("multipart/form-data; boundary=\"abc", true, "");
    boundary_is("multipart/form-data; charset=x", true, "");
    boundary_is("multipart/form-data; boundary="
                "1234567890123456789012345678901234567890123456789012345678901234567890",
                true, "1234567890123456789012345678901234567890123456789012345678901234567890");
    boundary_is("multipart/form-data; boundary="
                "12345678901234567890123456789012345678901234567890123456789012345678901",
                true, "");
    boundary_is("multipart/mixed; boundary=abc", false, "");
    boundary_is("application/x-www-form-urlencoded", false, "");
    boundary_is("", false, "");
}

/* ---- the policy ---- */

#define FUTURE "\"expiration\": \"2033-01-01T00:00:00Z\""
#define KEEPS "{\"bucket\": \"album\"}, {\"Key\": \"user/a\"}, {\"x-amz-meta-a\": \"Q\"}"
#define POLICY(conditions) "{" FUTURE ", \"conditions\": [" conditions "]}"

static const struct http_field policy_fields[] = {
    {SLICE_LIT("kEy"), SLICE_LIT("user/a")},
    {SLICE_LIT("x-amz-meta-A"), SLICE_LIT("Q")},
    {SLICE_LIT("POLICY"), SLICE_LIT("...")},
    {SLICE_LIT("X-Amz-Signature"), SLICE_LIT("...")},
    {SLICE_LIT("awsaccesskeyid"), SLICE_LIT("...")},
    {SLICE_LIT("signature"), SLICE_LIT("...")},
    {SLICE_LIT("x-ignore-me"), SLICE_LIT("...")},
    {SLICE_LIT("Content-Type"), SLICE_LIT("image/png,image/gif")},
};

/* The Content-Type only counts with `fields` = 8. */
static int
policy_judged(const char *json, size_t fields, struct post_policy_range *range, struct buf *why)
{
    const struct post_policy_form form = {policy_fields, fields, SLICE_LIT("album"),
                                          INT64_C(1900000000000)};
    struct buf text;
    buf_init(&text, 1 << 16);
    base64_encode(&text, json, strlen(json));
    int err = post_policy_check(buf_slice(&text), &form, range, why);
    buf_fini(&text);
    return err;
}

static void
policy_is(const char *json, size_t fields, int err, const char *sentence)
{
    struct post_policy_range range;
    struct buf why;
    buf_init(&why, 4096);
    int got = policy_judged(json, fields, &range, &why);
    if (got != err || !slice_eqs(buf_slice(&why), sentence))
        fail_msg("%s: %s \"%s\"", json, err_name(got), why.n > 0 ? why.p : "");
    buf_fini(&why);
}

static void
policies(void **state)
{
    (void)state;
    policy_is(POLICY(KEEPS), 7, ERR_NONE, "");
    policy_is(POLICY("[\"eq\", \"$bucket\", \"album\"], [\"StArTs-With\", \"$KEY\", \"user/\"],"
                     "[\"starts-with\", \"$x-amz-meta-a\", \"\"]"),
              7, ERR_NONE, "");
    policy_is(POLICY(KEEPS ", [\"starts-with\", \"$Content-Type\", \"image/\"]"), 8, ERR_NONE, "");
    policy_is(POLICY(KEEPS ", [\"starts-with\", \"$Content-Type\", \"image/p\"]"), 8, ERR_DENIED,
              "Invalid according to Policy: Policy Condition failed: "
              "[\"starts-with\", \"$Content-Type\", \"image/p\"]");
    policy_is(POLICY(KEEPS), 8, ERR_DENIED,
              "Invalid according to Policy: Extra input fields: Content-Type");
    policy_is(POLICY("{\"key\": \"user/a\"}, {\"x-amz-meta-a\": \"Q\"}"), 7, ERR_DENIED,
              "Invalid according to Policy: Extra input fields: bucket");
    policy_is(POLICY("{\"bucket\": \"other\"}," KEEPS), 7, ERR_DENIED,
              "Invalid according to Policy: Policy Condition failed: "
              "[\"eq\", \"$bucket\", \"other\"]");
    policy_is(POLICY(KEEPS ", [\"eq\", \"$KEY\", \"User/a\"]"), 7, ERR_DENIED,
              "Invalid according to Policy: Policy Condition failed: "
              "[\"eq\", \"$KEY\", \"User/a\"]");
    policy_is(POLICY(KEEPS ", [\"eq\", \"key\", \"user/a\"]"), 7, ERR_DENIED,
              "Invalid according to Policy: Policy Condition failed: "
              "[\"eq\", \"key\", \"user/a\"]");
    policy_is(POLICY(KEEPS ", [\"starts-with\", \"$acl\", \"\"]"), 7, ERR_DENIED,
              "Invalid according to Policy: Policy Condition failed: "
              "[\"starts-with\", \"$acl\", \"\"]");
    policy_is(POLICY("{\"x-amz-meta-a\": \"say \\\"q\\\"\"}," KEEPS), 7, ERR_DENIED,
              "Invalid according to Policy: Policy Condition failed: "
              "[\"eq\", \"$x-amz-meta-a\", \"say \\\"q\\\"\"]");
    policy_is("{\"expiration\": \"2013-08-01T12:00:00.000Z\", \"conditions\": [{\"acl\": \"x\"}]}",
              7, ERR_DENIED, "Invalid according to Policy: Policy expired.");
}

static void
policies_invalid(void **state)
{
    static const struct {
        const char *json, *why;
    } cases[] = {
        {"", "Invalid JSON."},
        {"[]", "Invalid JSON."},
        {"{" FUTURE, "Invalid JSON."},
        {"{" FUTURE ", " FUTURE ", \"conditions\": []}", "Invalid JSON."},
        {"{\"conditions\": []}", "Policy missing expiration."},
        {"{" FUTURE "}", "Policy missing conditions."},
        {"{" FUTURE ", \"conditions\": {}}", "Invalid 'conditions' value: must be a List."},
        {"{" FUTURE ", \"CONDITIONS\": []}", "Unexpected: 'CONDITIONS'"},
        {"{\"expiration\": \"2033-01-01 00:00:00Z\", \"conditions\": []}",
         "Invalid 'expiration' value: '2033-01-01 00:00:00Z'"},
        {"{\"expiration\": \"2033-01-01T00:00:00+02:00\", \"conditions\": []}",
         "Invalid 'expiration' value: '2033-01-01T00:00:00+02:00'"},
        {"{\"expiration\": \"20330101T000000Z\", \"conditions\": []}",
         "Invalid 'expiration' value: '20330101T000000Z'"},
        {"{\"expiration\": 2033, \"conditions\": []}", "Invalid 'expiration' value: ''"},
        {POLICY("{}"), "Invalid Simple-Condition: Simple-Conditions must have exactly one property "
                       "specified."},
        {POLICY("{\"acl\": \"a\", \"key\": \"b\"}"),
         "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."},
        {POLICY("{\"acl\": 1}"), "Invalid Simple-Condition: value must be a string."},
        {POLICY("{\"acl\": null}"), "Invalid JSON."},
        {POLICY("[]"), "Invalid Condition: missing operation identifier."},
        {POLICY("[\"ne\", \"$key\", \"x\"]"), "Invalid Condition: unknown operation 'ne'."},
        {POLICY("[\"eq\", \"$key\"]"), "Invalid eq: wrong number of arguments."},
        {POLICY("[\"content-length-range\", 0]"),
         "Invalid content-length-range: wrong number of arguments."},
        {POLICY("[\"content-length-range\", 0, 1.5]"), "Invalid JSON."},
        {POLICY("[\"eq\", \"$key\", 3]"), "Invalid JSON."},
        {POLICY("7"), "Invalid condition test: must be a List or Object."},
        /* The document comes first, what it demands second. */
        {POLICY("{\"acl\": \"no\"}, []"), "Invalid Condition: missing operation identifier."},
    };
    char sentence[300];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(sentence, sizeof sentence, "Invalid Policy: %s", cases[i].why);
        policy_is(cases[i].json, 7, ERR_INVALID, sentence);
    }
    const struct post_policy_form form = {.now_ms = 0};
    struct post_policy_range range;
    struct buf why;
    buf_init(&why, 1000);
    assert_int_equal(post_policy_check(SLICE_LIT("e30"), &form, &range, &why), ERR_INVALID);
    buf_fini(&why);
}

static void
ranges(void **state)
{
    struct post_policy_range range;
    struct buf why;
    (void)state;
    buf_init(&why, 1000);
    assert_int_equal(policy_judged(POLICY(KEEPS), 7, &range, &why), ERR_NONE);
    assert_true(range.min == 0 && range.max == INT64_MAX);
    assert_int_equal(
        policy_judged(POLICY(KEEPS ", [\"content-length-range\", 5, \"10\"]"), 7, &range, &why),
        ERR_NONE);
    assert_true(range.min == 5 && range.max == 10);
    assert_int_equal(policy_judged(POLICY(KEEPS ", [\"content-length-range\", 1, 10],"
                                                "[\"content-length-range\", 5, 20]"),
                                   7, &range, &why),
                     ERR_NONE);
    assert_true(range.min == 5 && range.max == 10);
    buf_fini(&why);
    policy_is(POLICY(KEEPS ", [\"content-length-range\", \"test\", \"10\"]"), 7, ERR_DENIED,
              "Invalid according to Policy: Policy Condition failed: "
              "[\"content-length-range\", \"test\", \"10\"]");
}

/* ---- the signature ---- */

/* "Example: Browser-Based Upload using HTTP POST (Using AWS Signature Version 4)",
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html */
static const char example_policy[] =
    "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7"
    "ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91"
    "c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3Qi"
    "OiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwi"
    "fSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRh"
    "LXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVT"
    "MjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNy"
    "ZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9"
    "LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAi"
    "MjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";

static struct auth_form
example_form(void)
{
    return (struct auth_form){
        .policy = slice_str(example_policy),
        .algorithm = SLICE_LIT("AWS4-HMAC-SHA256"),
        .credential = SLICE_LIT("AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"),
        .date = SLICE_LIT("20151229T000000Z"),
        .signature = SLICE_LIT("8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"),
    };
}

#define EXAMPLE_DAY INT64_C(1451347200000) /* 2015-12-29 */

static void
signer_is(const struct auth_form *f, int64_t now_ms, bool v2, enum auth_result result)
{
    struct accounts *accounts = fakereq_accounts();
    struct http_request *r = fakereq_new("POST /b HTTP/1.1\nHost: h\n");
    const struct auth_options o = {.accounts = accounts, .v2_allowed = v2, .now_ms = now_ms};
    assert_int_equal(auth_check(r, &o), ERR_NONE);
    assert_int_equal(auth_check_form(r, accounts, now_ms, f), ERR_NONE);
    assert_int_equal(r->auth->result, result);
    assert_int_equal(r->auth->account != NULL, result == AUTH_OK);
    fakereq_free(&r);
    accounts_free(&accounts);
}

static void
signatures(void **state)
{
    struct auth_form f = example_form();
    char other[sizeof example_policy];
    (void)state;
    signer_is(&f, EXAMPLE_DAY, false, AUTH_OK);
    signer_is(&f, EXAMPLE_DAY + INT64_C(7) * 86400 * 1000, false, AUTH_OK);
    signer_is(&f, EXAMPLE_DAY + INT64_C(7) * 86400 * 1000 + 1, false, AUTH_EXPIRED);
    memcpy(other, example_policy, sizeof other);
    other[100] ^= 1;
    f.policy = slice_str(other);
    signer_is(&f, EXAMPLE_DAY, false, AUTH_MISMATCH);
    f = example_form();
    f.signature.n--;
    signer_is(&f, EXAMPLE_DAY, false, AUTH_MISMATCH);
    f = example_form();
    f.credential = SLICE_LIT("AKIAIOSFODNN8EXAMPLE/20151229/us-east-1/s3/aws4_request");
    signer_is(&f, EXAMPLE_DAY, false, AUTH_UNKNOWN_KEY);
    f.credential = SLICE_LIT("AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/dynamodb/aws4_request");
    signer_is(&f, EXAMPLE_DAY, false, AUTH_MALFORMED);
    f.credential = SLICE_LIT("AKIAIOSFODNN7EXAMPLE");
    signer_is(&f, EXAMPLE_DAY, false, AUTH_MALFORMED);
    f = example_form();
    f.date = SLICE_LIT("20151230T000000Z");
    signer_is(&f, EXAMPLE_DAY, false, AUTH_NO_DATE);
    f = example_form();
    f.algorithm = SLICE_LIT("AWS4-HMAC-SHA1");
    signer_is(&f, EXAMPLE_DAY, false, AUTH_UNSUPPORTED);
    f = (struct auth_form){.policy = slice_str(example_policy)};
    signer_is(&f, EXAMPLE_DAY, true, AUTH_ANONYMOUS);
}

static void
signatures_v2(void **state)
{
    struct auth_form f = {.policy = SLICE_LIT("eyJhIjoxfQ=="),
                          .v2_access_key_id = SLICE_LIT("AK/with/slashes")};
    uint8_t mac[SHA1_BYTES];
    struct buf text;
    (void)state;
    buf_init(&text, 100);
    digest_hmac_sha1(SLICE_LIT("second secret"), f.policy, mac);
    base64_encode(&text, mac, sizeof mac);
    f.v2_signature = buf_slice(&text);
    signer_is(&f, EXAMPLE_DAY, true, AUTH_OK);
    signer_is(&f, EXAMPLE_DAY, false, AUTH_V2_REFUSED);
    f.policy = SLICE_LIT("eyJhIjoyfQ==");
    signer_is(&f, EXAMPLE_DAY, true, AUTH_MISMATCH);
    f.v2_signature = SLICE_LIT("short");
    signer_is(&f, EXAMPLE_DAY, true, AUTH_MISMATCH);
    f.v2_access_key_id = SLICE_LIT("nobody");
    signer_is(&f, EXAMPLE_DAY, true, AUTH_UNKNOWN_KEY);
    buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),
        cmocka_unit_test(forms_refused),
        cmocka_unit_test(form_limits),
        cmocka_unit_test(form_stopped),
        cmocka_unit_test(boundaries),
        cmocka_unit_test(policies),
        cmocka_unit_test(policies_invalid),
        cmocka_unit_test(ranges),
        cmocka_unit_test(signatures),
        cmocka_unit_test(signatures_v2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
