/*
 * Cross-origin rules: the document and its judgement by themselves, then preflights and actual
 * requests over a connection. Expected answers are S3's, as its documentation and recordings of
 * it have them.
 */
#include "objectstore/cors.h"
#include "base/err.h"
#include "tests/objectstore/s3_fixture.h"

#define DOCUMENT(rules) "<CORSConfiguration>" rules "</CORSConfiguration>"
#define RULE(inner) "<CORSRule>" inner "</CORSRule>"
#define ORIGIN(text) "<AllowedOrigin>" text "</AllowedOrigin>"
#define METHOD(text) "<AllowedMethod>" text "</AllowedMethod>"
#define HEADER(text) "<AllowedHeader>" text "</AllowedHeader>"
#define EXPOSE(text) "<ExposeHeader>" text "</ExposeHeader>"
#define LEAST ORIGIN("*") METHOD("GET")

static struct cors *
rules(const char *xml)
{
    struct cors *c = NULL;
    struct buf why;
    buf_init(&why, 1024);
    int err = cors_parse(slice_str(xml), &c, &why);
    if (err != ERR_NONE)
        fail_msg("%s: %s %s", xml, err_name(err), why.n > 0 ? why.p : "");
    buf_fini(&why);
    return c;
}

/* ---- the document ---- */

static void
documents_refused(void **state)
{
    static const struct {
        const char *xml;
        const char *why; /* "": MalformedXML */
    } cases[] = {
        {"", ""},
        {"<CORSConfiguration>", ""},
        {"<CORSConfiguration/>", ""},
        {"<Other>" RULE(LEAST) "</Other>", ""},
        {DOCUMENT("<Rule>" LEAST "</Rule>"), ""},
        {DOCUMENT(RULE("")), ""},
        {DOCUMENT(RULE(ORIGIN("*"))), ""},
        {DOCUMENT(RULE(METHOD("GET"))), ""},
        {DOCUMENT(RULE(LEAST "<Unknown>1</Unknown>")), ""},
        {DOCUMENT(RULE(LEAST "<ID>a</ID><ID>b</ID>")), ""},
        {DOCUMENT(RULE(LEAST "<MaxAgeSeconds>soon</MaxAgeSeconds>")), ""},
        {DOCUMENT(RULE(LEAST "<MaxAgeSeconds>-1</MaxAgeSeconds>")), ""},
        {DOCUMENT(RULE(LEAST "<MaxAgeSeconds>2147483648</MaxAgeSeconds>")), ""},
        {DOCUMENT(RULE(LEAST "<MaxAgeSeconds>1</MaxAgeSeconds><MaxAgeSeconds>1</MaxAgeSeconds>")),
         ""},
        {DOCUMENT(RULE(LEAST EXPOSE("a&#13;&#10;Set-Cookie: x=y"))), ""},
        {DOCUMENT(RULE(ORIGIN("<b>x</b>") METHOD("GET"))), ""},
        {DOCUMENT(RULE(ORIGIN("*") METHOD("OPTIONS"))),
         "Found unsupported HTTP method in CORS config. Unsupported method is OPTIONS"},
        {DOCUMENT(RULE(ORIGIN("*") METHOD("get"))),
         "Found unsupported HTTP method in CORS config. Unsupported method is get"},
        {DOCUMENT(RULE(ORIGIN("*") METHOD(""))),
         "Found unsupported HTTP method in CORS config. Unsupported method is "},
        {DOCUMENT(RULE(ORIGIN("*example*.com") METHOD("GET"))),
         "AllowedOrigin \"*example*.com\" can not have more than one wildcard."},
        {DOCUMENT(RULE(LEAST HEADER("x-*-*"))),
         "AllowedHeader \"x-*-*\" can not have more than one wildcard."},
        {DOCUMENT(RULE(LEAST EXPOSE("x-amz-*"))),
         "ExposeHeader \"x-amz-*\" contains wildcard. We currently do not support wildcard for "
         "ExposeHeader."},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cors *c = NULL;
        struct buf why;
        buf_init(&why, 1024);
        int err = cors_parse(slice_str(cases[i].xml), &c, &why);
        if (err != ERR_INVALID || c != NULL || !slice_eqs(buf_slice(&why), cases[i].why))
            fail_msg("%s: %s \"%s\"", cases[i].xml, err_name(err), why.n > 0 ? why.p : "");
        buf_fini(&why);
    }
}

/* `count` rules, the last with an ID of `id_bytes`; ERR_NONE or how it was refused. */
static int
parse_many(size_t count, size_t id_bytes)
{
    struct cors *c = NULL;
    struct buf xml, why;
    buf_init(&xml, 1 << 20);
    buf_init(&why, 1024);
    buf_puts(&xml, "<CORSConfiguration>");
    for (size_t i = 0; i < count; i++)
        buf_puts(&xml, i + 1 < count ? RULE(LEAST) : "<CORSRule>" LEAST "<ID>");
    for (size_t i = 0; i < id_bytes; i++)
        buf_putc(&xml, 'i');
    buf_puts(&xml, "</ID></CORSRule></CORSConfiguration>");
    int err = cors_parse(buf_slice(&xml), &c, &why);
    cors_free(&c);
    buf_fini(&xml);
    buf_fini(&why);
    return err;
}

static void
limits(void **state)
{
    (void)state;
    assert_int_equal(parse_many(CORS_RULES_MAX, CORS_ID_MAX), ERR_NONE);
    assert_int_equal(parse_many(CORS_RULES_MAX + 1, 1), ERR_INVALID);
    assert_int_equal(parse_many(1, CORS_ID_MAX + 1), ERR_INVALID);
}

static void
written_again(void **state)
{
    const char *xml = DOCUMENT(RULE(ORIGIN("a&amp;b") ORIGIN("") METHOD("GET") METHOD("PUT") HEADER(
        "X-*") EXPOSE("ETag") "<MaxAgeSeconds> 3000 </MaxAgeSeconds><ID>one</ID>") RULE(LEAST));
    struct buf first, second;
    (void)state;
    buf_init(&first, 64 << 10);
    buf_init(&second, 64 << 10);
    struct cors *c = rules(xml);
    cors_write(c, &first);
    cors_free(&c);
    c = rules(first.p);
    cors_write(c, &second);
    cors_free(&c);
    assert_true(slice_eq(buf_slice(&first), buf_slice(&second)));
    assert_non_null(strstr(first.p, "<ID>one</ID>" HEADER("X-*") METHOD("GET") METHOD("PUT")
                                        ORIGIN("a&amp;b") ORIGIN("") EXPOSE("ETag")));
    buf_fini(&first);
    buf_fini(&second);
}

/* ---- matching ---- */

static bool
asks(const struct cors *c, const char *origin, const char *method, const char *headers,
     struct cors_answer *a)
{
    const struct cors_request rq = {slice_str(origin), slice_str(method), slice_str(headers)};
    return cors_match(c, &rq, a);
}

static void
origins(void **state)
{
    struct cors_answer a;
    (void)state;
    struct cors *c = rules(DOCUMENT(
        RULE(ORIGIN("*suffix") METHOD("GET")) RULE(ORIGIN("start*end") METHOD("GET"))
            RULE(ORIGIN("prefix*") METHOD("GET")) RULE(ORIGIN("*.put") METHOD("PUT"))
                RULE(ORIGIN("https://A.org") METHOD("HEAD")) RULE(ORIGIN("ab*ba") METHOD("POST"))));
    static const char *const good[] = {"foo.suffix", "suffix", "startend",     "start1end",
                                       "start12end", "prefix", "prefix.suffix"};
    static const char *const bad[] = {"foo.bar",    "foo.suffix.get", "0start12end",
                                      "bla.prefix", "staend",         "starten",
                                      "",           "foo.put",        "foo.Suffix"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(asks(c, good[i], "GET", NULL, &a) && !a.any_origin);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(asks(c, bad[i], "GET", NULL, &a));
    assert_true(asks(c, "foo.put", "PUT", NULL, &a) && slice_eqs(a.methods, "PUT"));
    assert_false(asks(c, "https://a.org", "HEAD", NULL, &a));
    assert_true(asks(c, "https://A.org", "HEAD", NULL, &a) && a.max_age_s == -1);
    assert_false(asks(c, "https://A.org", "head", NULL, &a));
    assert_true(asks(c, "abba", "POST", NULL, &a));
    assert_false(asks(c, "aba", "POST", NULL, &a)); /* no byte counts twice */
    cors_free(&c);
}

static void
asked_headers(void **state)
{
    struct cors_answer a;
    (void)state;
    struct cors *c = rules(DOCUMENT(RULE(ORIGIN("x") METHOD("GET")) RULE(
        ORIGIN("x") METHOD("PUT") HEADER("x-AMZ-*") HEADER("Content-Type") EXPOSE("a") EXPOSE(
            "b") "<MaxAgeSeconds>7</MaxAgeSeconds>") RULE(ORIGIN("*") METHOD("PUT") HEADER("*"))));
    assert_true(asks(c, "x", "GET", NULL, &a));
    assert_true(asks(c, "x", "GET", " , ", &a));
    assert_false(asks(c, "x", "GET", "range", &a));
    assert_true(asks(c, "x", "PUT", "content-type,X-amz-Date, x-amz-", &a));
    assert_true(slice_eqs(a.exposed, "a, b") && a.max_age_s == 7 && !a.any_origin);
    /* One name too many for it: the next rule that fits decides. */
    assert_true(asks(c, "x", "PUT", "content-type,x-amz", &a));
    assert_true(a.exposed.n == 0 && a.max_age_s == -1 && a.any_origin);
    cors_free(&c);
}

/* ---- over a connection ---- */

#define ALLOWING                                                                                \
    DOCUMENT(RULE(ORIGIN("https://*.example.org") METHOD("GET") METHOD("PUT") HEADER("x-amz-*") \
                      EXPOSE("ETag") "<MaxAgeSeconds>60</MaxAgeSeconds>")                       \
                 RULE(ORIGIN("*") METHOD("HEAD")))
#define PAGE "origin: https://www.example.org\r\n"
#define ASKS(method) "access-control-request-method: " method "\r\n"

static void
configuration(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "GET", "/album?cors", 404, "<Code>NoSuchBucket</Code>");
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ROOT, "GET", "/album?cors", 404, "<Code>NoSuchCORSConfiguration</Code>");
    s3_do(t, ROOT, "DELETE", "/album?cors", 204, NULL);
    s3_send(t, ROOT, "PUT", "/album?cors", NULL, ALLOWING, 200, NULL);
    s3_do(t, ROOT, "GET", "/album?cors", 200, "<MaxAgeSeconds>60</MaxAgeSeconds></CORSRule>");
    s3_send(t, ROOT, "PUT", "/album?cors", NULL, DOCUMENT(""), 400, "<Code>MalformedXML</Code>");
    s3_send(t, ROOT, "PUT", "/album?cors", NULL, DOCUMENT(RULE(ORIGIN("*") METHOD("PATCH"))), 400,
            "<Code>InvalidRequest</Code><Message>Found unsupported HTTP method in CORS config. "
            "Unsupported method is PATCH</Message>");
    s3_send(t, ROOT, "PUT", "/album?cors", NULL, "", 400, "<Code>MissingRequestBodyError</Code>");
    s3_do(t, ANN, "GET", "/album?cors", 403, "<Code>AccessDenied</Code>");
    s3_send(t, ANN, "PUT", "/album?cors", NULL, ALLOWING, 403, "<Code>AccessDenied</Code>");
    s3_do(t, ANN, "DELETE", "/album?cors", 403, "<Code>AccessDenied</Code>");
    s3_do(t, ROOT, "GET", "/album?cors", 200, "<ExposeHeader>ETag</ExposeHeader>");
    s3_do(t, ROOT, "DELETE", "/album?cors", 204, NULL);
    s3_do(t, ROOT, "GET", "/album?cors", 404, "<Code>NoSuchCORSConfiguration</Code>");
}

static void
preflight(struct s3_fix *t, const char *target, const char *headers, int status, const char *part)
{
    struct s3_call c = {.method = "OPTIONS", .target = target, .headers = headers};
    s3_expect(t, &c, status, part);
}

static void
preflights(void **state)
{
    struct s3_fix *t = *state;
    preflight(t, "/album/a", NULL, 400, "Insufficient information. Origin request header needed.");
    preflight(t, "/album/a", PAGE, 403, "CORSResponse: Bucket not found");
    preflight(t, "/", PAGE ASKS("GET"), 403, "CORSResponse: Bucket not found");
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    preflight(t, "/album/a", PAGE ASKS("PUT"), 403,
              "<Message>CORSResponse: CORS is not enabled for this bucket.</Message>"
              "<Method>PUT</Method><ResourceType>BUCKET</ResourceType>");
    s3_send(t, ROOT, "PUT", "/album?cors", NULL, ALLOWING, 200, NULL);
    preflight(t, "/album", NULL, 400, "<Code>BadRequest</Code>");
    preflight(t, "/album", PAGE, 400, "Invalid Access-Control-Request-Method: null");
    preflight(t, "/album", PAGE ASKS("DELETE"), 403,
              "<Method>DELETE</Method><ResourceType>BUCKET</ResourceType>");
    preflight(t, "/album/a", PAGE ASKS("PATCH"), 403, "<ResourceType>OBJECT</ResourceType>");
    preflight(t, "/album/a", "origin: http://www.example.org\r\n" ASKS("GET"), 403,
              "CORSResponse: This CORS request is not allowed.");
    preflight(t, "/album/a", PAGE ASKS("GET") "access-control-request-headers: range\r\n", 403,
              "<Code>AccessForbidden</Code>");
}

static void
preflight_headers(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct s3_call c = {
        .method = "OPTIONS",
        .target = "/album/no/such?X-Amz-Signature=0&X-Amz-Credential=x",
        .headers = PAGE ASKS("PUT") "access-control-request-headers: X-Amz-Date,x-amz-acl\r\n"};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?cors", NULL, ALLOWING, 200, NULL);
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.length, 0);
    assert_true(raw_has(&a, "Access-Control-Allow-Origin: https://www.example.org\r\n"));
    assert_true(raw_has(&a, "Access-Control-Allow-Methods: GET, PUT\r\n"));
    assert_true(raw_has(&a, "Access-Control-Allow-Headers: x-amz-date, x-amz-acl\r\n"));
    assert_true(raw_has(&a, "Access-Control-Expose-Headers: ETag\r\n"));
    assert_true(raw_has(&a, "Access-Control-Max-Age: 60\r\n"));
    assert_true(raw_has(&a, "Access-Control-Allow-Credentials: true\r\n"));
    assert_true(raw_has(&a, "Vary: Origin, Access-Control-Request-Headers, "
                            "Access-Control-Request-Method\r\n"));
    buf_fini(&a.all);

    c.headers = "origin: null\r\n" ASKS("HEAD");
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    assert_true(raw_has(&a, "Access-Control-Allow-Origin: *\r\n"));
    assert_false(s3_says(&a, "Credentials"));
    assert_false(s3_says(&a, "Max-Age"));
    buf_fini(&a.all);
}

/* Which answers of actual requests carry the headers. */
static void
actual_requests(void **state)
{
    static const struct {
        const char *who, *method, *target, *headers;
        int status;
        bool allowed;
    } cases[] = {
        {ROOT, "PUT", "/album/a", PAGE, 200, true},
        {ROOT, "GET", "/album/a", PAGE, 200, true},
        {ROOT, "GET", "/album/a", "origin: http://www.example.org\r\n", 200, false},
        {ROOT, "GET", "/album/a", "referer: https://www.example.org\r\n", 200, false},
        {ROOT, "GET", "/album", PAGE, 200, true},
        {ROOT, "GET", "/album/none", PAGE, 404, true},
        {NOBODY, "GET", "/album/a", PAGE, 403, true},
        {NOBODY, "DELETE", "/album/a", PAGE, 403, false},
        {ROOT, "POST", "/album/a", PAGE, 405, false},
        /* The browser's word of what comes next decides also here, as on S3. */
        {ROOT, "GET", "/album/a", PAGE ASKS("DELETE"), 200, false},
        {ROOT, "DELETE", "/album/a", PAGE ASKS("GET"), 204, true},
        {ROOT, "GET", "/album?cors", PAGE, 200, true},
        {ROOT, "GET", "/none/a", PAGE, 404, false},
        {ROOT, "GET", "/", PAGE, 200, false},
    };
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?cors", NULL, ALLOWING, 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct raw_answer a;
        struct s3_call c = {.who = cases[i].who,
                            .method = cases[i].method,
                            .target = cases[i].target,
                            .headers = cases[i].headers};
        s3_call(t, &c, &a);
        bool has = s3_says(&a, "Access-Control-Allow-Origin: https://www.example.org\r\n");
        if (a.status != cases[i].status || has != cases[i].allowed ||
            has != s3_says(&a, "Vary: Origin"))
            fail_msg("%s %s: %d %s", c.method, c.target, a.status, a.all.p);
        buf_fini(&a.all);
    }
    /* Rules go as they came: at once. */
    s3_do(t, ROOT, "DELETE", "/album?cors", 204, NULL);
    preflight(t, "/album/a", PAGE ASKS("GET"), 403, "CORS is not enabled for this bucket.");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(written_again),
        cmocka_unit_test(origins),
        cmocka_unit_test(asked_headers),
        S3_TEST(configuration),
        S3_TEST(preflights),
        S3_TEST(preflight_headers),
        S3_TEST(actual_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
