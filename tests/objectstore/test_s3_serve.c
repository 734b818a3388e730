/*
 * Objects that another service gives out: s3_may_get() and s3_serve_object(), behind a service that
 * says what the first said, or does the second. ?generation= and ?cache= are what it asks for.
 */
#include "tests/objectstore/s3_fixture.h"

static struct slice
rest_of(const struct http_request *r, const char *prefix, struct slice *key)
{
    return slice_cut(slice_skip(r->path, strlen(prefix)), '/', key);
}

static void
other_end(struct http_request *r)
{
    struct s3_fix *t = r->service_arg;
    struct slice key, bucket = rest_of(r, "/_/may/", &key);
    uint64_t generation = 0;
    bool may_list;
    if (slice_starts(r->path, SLICE_LIT("/_/may/"))) {
        int err = s3_may_get(t->s3, r, bucket, key, &may_list);
        char *text = arena_printf(r->arena, "%s %s", err_name(err), may_list ? "lists" : "-");
        http_reply(r, 200, slice_str(text));
        return;
    }
    bucket = rest_of(r, "/_/get/", &key);
    (void)slice_to_u64(http_param(r, "generation"), &generation);
    struct s3_serve what = {.bucket = bucket,
                            .key = key,
                            .generation = (int64_t)generation,
                            .cache_control = http_param(r, "cache"),
                            .header = "x-served",
                            .header_value = SLICE_LIT("yes")};
    http_header(r, "x-before", SLICE_LIT("stays"));
    int err = s3_serve_object(t->s3, r, &what);
    assert_int_equal(err == ERR_NONE, http_replied(r));
    if (err != ERR_NONE)
        http_reply(r, 404, slice_str(err_name(err)));
}

static void
other_begin(struct http_request *r)
{
    (void)r;
}

static const struct http_service other = {.name = "other", .begin = other_begin, .end = other_end};

#define PUBLIC                                                                              \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\"," \
    "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::album/pub/*\"}]}"

static void
album(struct s3_fix *t)
{
    t->other = &other;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?policy", NULL, PUBLIC, 204, NULL);
    s3_send(t, ROOT, "PUT", "/album/pub/a", "content-type: image/webp\r\n", "0123456789", 200,
            NULL);
    s3_send(t, ROOT, "PUT", "/album/own/a", "x-amz-acl: public-read\r\n", "shown", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/own/b", NULL, "private", 200, NULL);
}

static void
permission(void **state)
{
    struct s3_fix *t = *state;
    album(t);
    s3_do(t, NOBODY, "GET", "/_/may/album/pub/a", 200, "NONE -");
    s3_do(t, NOBODY, "GET", "/_/may/album/pub/absent", 200, "NONE -");
    s3_do(t, NOBODY, "GET", "/_/may/album/own/a", 200, "NONE -"); /* by its ACL */
    s3_do(t, NOBODY, "GET", "/_/may/album/own/b", 200, "DENIED -");
    s3_do(t, NOBODY, "GET", "/_/may/album/own/absent", 200, "DENIED -");
    s3_do(t, NOBODY, "GET", "/_/may/nowhere/a", 200, "NOPARENT -");
    s3_do(t, ANN, "GET", "/_/may/album/own/b", 200, "DENIED -");
    s3_do(t, ROOT, "GET", "/_/may/album/own/b", 200, "NONE lists");
    s3_do(t, ROOT, "GET", "/_/may/album/own/absent", 200, "NONE lists");
    /* A signature that does not hold is nobody's, and not even nobody's permission. */
    struct s3_call c = {
        .who = ROOT, .method = "GET", .target = "/_/may/album/pub/a", .secret = "wrong"};
    s3_expect(t, &c, 200, "DENIED -");
}

static void
answers(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    album(t);
    struct s3_call c = {.method = "GET", .target = "/_/get/album/pub/a"};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    assert_true(raw_has(&a, "x-before: stays") && raw_has(&a, "x-served: yes"));
    assert_true(raw_has(&a, "Content-Type: image/webp"));
    assert_true(raw_has(&a, "X-Content-Type-Options: nosniff"));
    assert_true(slice_eqs(raw_body(&a), "0123456789"));
    buf_fini(&a.all);
    c.method = "HEAD";
    s3_expect(t, &c, 200, "Content-Length: 10\r\n");
    c.method = "GET";
    c.headers = "range: bytes=2-4\r\n";
    s3_expect(t, &c, 206, "\r\n\r\n234");
    c.headers = "range: bytes=20-\r\n";
    s3_expect(t, &c, 416, "InvalidRange");
    c.headers = "if-none-match: \"781e5e245d69b566979b86e28d23f2c7\"\r\n";
    s3_expect(t, &c, 304, "x-served: yes");
    c.headers = "if-match: \"no\"\r\n";
    s3_expect(t, &c, 412, "PreconditionFailed");
    c.headers = NULL;
    c.target = "/_/get/album/pub/a?cache=no-store";
    s3_expect(t, &c, 200, "Cache-Control: no-store\r\n");
    c.target = "/_/get/album/absent";
    s3_expect(t, &c, 404, "NOTFOUND");
    c.target = "/_/get/nowhere/absent";
    s3_expect(t, &c, 404, "NOTFOUND");
}

static void
generations(void **state)
{
    struct s3_fix *t = *state;
    const struct store_object *o = NULL;
    char target[128];
    album(t);
    assert_int_equal(store_get(t->f.store, SLICE_LIT("album"), SLICE_LIT("pub/a"), &o), ERR_NONE);
    snprintf(target, sizeof target, "/_/get/album/pub/a?generation=%lld", (long long)o->generation);
    store_object_unref(&o);
    s3_do(t, NOBODY, "GET", target, 200, "0123456789");
    s3_send(t, ROOT, "PUT", "/album/pub/a", NULL, "newer", 200, NULL);
    s3_do(t, NOBODY, "GET", target, 404, "STALE");
    s3_do(t, NOBODY, "HEAD", target, 404, NULL);
    s3_do(t, ROOT, "DELETE", "/album/pub/a", 204, NULL);
    s3_do(t, NOBODY, "GET", target, 404, "NOTFOUND");
}

static void
cross_origin(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    album(t);
    s3_send(t, ROOT, "PUT", "/album?cors", NULL,
            "<CORSConfiguration><CORSRule><AllowedOrigin>http://shop.example</AllowedOrigin>"
            "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
            200, NULL);
    struct s3_call c = {.method = "GET",
                        .target = "/_/get/album/pub/a",
                        .headers = "origin: http://shop.example\r\n"};
    s3_expect(t, &c, 200, "Access-Control-Allow-Origin: http://shop.example\r\n");
    c.headers = "origin: http://other.example\r\n";
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    assert_false(raw_has(&a, "Access-Control-Allow-Origin"));
    buf_fini(&a.all);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(permission),
        S3_TEST(answers),
        S3_TEST(generations),
        S3_TEST(cross_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
