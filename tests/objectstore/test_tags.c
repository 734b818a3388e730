/*
 * Tag sets: reading both outer forms, the kept one, then the operations over a connection.
 */
#include "objectstore/tags.h"
#include "base/err.h"
#include "tests/objectstore/s3_fixture.h"

#define TAGGING(tags) "<Tagging><TagSet>" tags "</TagSet></Tagging>"
#define TAG(key, value) "<Tag><Key>" key "</Key><Value>" value "</Value></Tag>"
#define TEN(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9)
#define NUMBERED(i) TAG("k" #i, "")

static enum tags_fault
read_xml(struct arena *a, const char *xml, enum tags_of of, struct tags *t, struct tags_error *e)
{
    const struct xml_node *root = NULL;
    int err = xml_parse(a, slice_str(xml), &root);
    if (err != ERR_NONE)
        fail_msg("%s: %s", xml, err_name(err));
    return tags_read_xml(root, of, t, e);
}

/* The kept form with '=' and '&' for its separators, which is readable. */
static struct slice
shown(const struct tags *t, struct buf *b)
{
    tags_encode(t, b);
    for (size_t i = 0; i < b->n; i++) {
        if (b->p[i] == '\t' || b->p[i] == '\n')
            b->p[i] = b->p[i] == '\t' ? '=' : '&';
    }
    return slice_of(b->p, b->n > 0 ? b->n - 1 : 0);
}

/* What a document becomes, or the fault. */
static void
xml_is(const char *xml, enum tags_of of, enum tags_fault fault, const char *kept)
{
    struct tags t;
    struct tags_error e;
    struct buf b;
    struct arena *a = arena_new(1 << 20);
    buf_init(&b, 64 << 10);
    enum tags_fault got = read_xml(a, xml, of, &t, &e);
    struct slice text = got == TAGS_OK ? shown(&t, &b) : SLICE_NONE;
    if (got != fault || e.fault != got || !slice_eqs(text, kept))
        fail_msg("%s: %d \"%s\"", xml, (int)got, b.n > 0 ? b.p : "");
    buf_fini(&b);
    arena_free(&a);
}

static void
header_is(const char *text, enum tags_fault fault, const char *kept)
{
    struct tags t;
    struct tags_error e;
    struct buf b;
    struct arena *a = arena_new(1 << 20);
    buf_init(&b, 64 << 10);
    enum tags_fault got = tags_read_header(a, slice_str(text), &t, &e);
    struct slice set = got == TAGS_OK ? shown(&t, &b) : SLICE_NONE;
    if (got != fault || e.fault != got || !slice_eqs(set, kept))
        fail_msg("%s: %d \"%s\"", text, (int)got, b.n > 0 ? b.p : "");
    buf_fini(&b);
    arena_free(&a);
}

static void
documents(void **state)
{
    (void)state;
    xml_is(TAGGING(""), TAGS_OF_OBJECT, TAGS_OK, "");
    xml_is(TAGGING(TAG("b", "2") TAG("a", "")), TAGS_OF_OBJECT, TAGS_OK, "a=&b=2");
    xml_is(TAGGING(TAG("a b", "x=y&amp;z")), TAGS_OF_OBJECT, TAGS_VALUE, "");
    xml_is(TAGGING(TAG("a b+_.:/=@-", "\xc3\xa9 \xf0\x90\x90\x80")), TAGS_OF_OBJECT, TAGS_OK,
           "a b+_.:/=@-=\xc3\xa9 \xf0\x90\x90\x80");
    xml_is("<Tagging/>", TAGS_OF_OBJECT, TAGS_MALFORMED, "");
    xml_is("<Tagging><TagSet/><TagSet/></Tagging>", TAGS_OF_OBJECT, TAGS_MALFORMED, "");
    xml_is("<Tagging><Tags/></Tagging>", TAGS_OF_OBJECT, TAGS_MALFORMED, "");
    xml_is(TAGGING("<Tag><Key>a</Key></Tag>"), TAGS_OF_OBJECT, TAGS_MALFORMED, "");
    xml_is(TAGGING("<Tag><Value>a</Value></Tag>"), TAGS_OF_OBJECT, TAGS_MALFORMED, "");
    xml_is(TAGGING("<Tag><Key>a</Key><Value/><Value/></Tag>"), TAGS_OF_OBJECT, TAGS_MALFORMED, "");
    xml_is(TAGGING("<Tag><Key>a<b/></Key><Value/></Tag>"), TAGS_OF_OBJECT, TAGS_MALFORMED, "");
    xml_is(TAGGING("<Tug><Key>a</Key><Value/></Tug>"), TAGS_OF_OBJECT, TAGS_MALFORMED, "");
    xml_is(TAGGING(TAG("a", "1") TAG("b", "") TAG("a", "2")), TAGS_OF_OBJECT, TAGS_DUPLICATE, "");
    xml_is(TAGGING(TAG("", "x")), TAGS_OF_OBJECT, TAGS_KEY, "");
    xml_is(TAGGING(TAG("aws:x", "")), TAGS_OF_BUCKET, TAGS_SYSTEM, "");
    xml_is(TAGGING(TAG("AWS:x", "")), TAGS_OF_OBJECT, TAGS_SYSTEM, "");
    xml_is(TAGGING(TAG("some:aws:x", "")), TAGS_OF_OBJECT, TAGS_OK, "some:aws:x=");
    xml_is(TAGGING(TEN(NUMBERED)), TAGS_OF_OBJECT, TAGS_OK,
           "k0=&k1=&k2=&k3=&k4=&k5=&k6=&k7=&k8=&k9=");
    xml_is(TAGGING(TEN(NUMBERED) TAG("a", "")), TAGS_OF_OBJECT, TAGS_TOO_MANY, "");
    xml_is(TAGGING(TEN(NUMBERED) TAG("a", "")), TAGS_OF_BUCKET, TAGS_OK,
           "a=&k0=&k1=&k2=&k3=&k4=&k5=&k6=&k7=&k8=&k9=");
}

static void
headers(void **state)
{
    (void)state;
    header_is("", TAGS_OK, "");
    header_is("foo=bar&bar", TAGS_OK, "bar=&foo=bar");
    header_is("&a=1&&b=2&", TAGS_OK, "a=1&b=2");
    header_is("a+b=c%2Bd", TAGS_OK, "a b=c+d");
    header_is("a=1&a=2", TAGS_MALFORMED, "");
    header_is("TagSet=[{Key=string,Value=string}]", TAGS_MALFORMED, "");
    header_is("TagSet%3D%5B%7BKey%3Dstring%2CValue%3Dstring%7D%5D", TAGS_KEY, "");
    header_is("a=%zz", TAGS_MALFORMED, "");
    header_is("a=%4", TAGS_MALFORMED, "");
    header_is("a=%ff", TAGS_VALUE, "");
    header_is("a=%00", TAGS_VALUE, "");
    header_is("=x", TAGS_KEY, "");
    header_is("aws%3Ax=1", TAGS_SYSTEM, "");
    header_is("1&2&3&4&5&6&7&8&9&10", TAGS_OK, "1=&10=&2=&3=&4=&5=&6=&7=&8=&9=");
    header_is("1&2&3&4&5&6&7&8&9&10&11", TAGS_TOO_MANY, "");
}

/* A document of one tag with so many times these characters. */
static enum tags_fault
sized(const char *key, size_t keys, const char *value, size_t values)
{
    struct tags t;
    struct tags_error e;
    struct buf b;
    struct arena *a = arena_new(1 << 20);
    buf_init(&b, 64 << 10);
    buf_puts(&b, "<Tagging><TagSet><Tag><Key>");
    while (keys-- > 0)
        buf_puts(&b, key);
    buf_puts(&b, "</Key><Value>");
    while (values-- > 0)
        buf_puts(&b, value);
    buf_puts(&b, "</Value></Tag></TagSet></Tagging>");
    enum tags_fault fault = read_xml(a, b.p, TAGS_OF_OBJECT, &t, &e);
    buf_reset(&b);
    if (fault == TAGS_OK)
        tags_encode(&t, &b);
    assert_true(b.n <= TAGS_TEXT_MAX);
    buf_fini(&b);
    arena_free(&a);
    return fault;
}

static void
lengths(void **state)
{
    (void)state;
    assert_int_equal(sized("k", TAG_KEY_MAX, "v", TAG_VALUE_MAX), TAGS_OK);
    assert_int_equal(sized("k", TAG_KEY_MAX + 1, "v", 1), TAGS_KEY);
    assert_int_equal(sized("k", 1, "v", TAG_VALUE_MAX + 1), TAGS_VALUE);
    /* Three bytes each but one unit; four bytes are two units. */
    assert_int_equal(sized("\xe6\x97\xa5", TAG_KEY_MAX, "\xe6\x97\xa5", TAG_VALUE_MAX), TAGS_OK);
    assert_int_equal(sized("\xf0\x90\x90\x80", TAG_KEY_MAX / 2, "", 0), TAGS_OK);
    assert_int_equal(sized("\xf0\x90\x90\x80", TAG_KEY_MAX / 2 + 1, "", 0), TAGS_KEY);
}

static void
characters(void **state)
{
    static const char *const bad[] = {",",
                                      ";",
                                      "?",
                                      "!",
                                      "*",
                                      "#",
                                      "%",
                                      "(",
                                      "[",
                                      "{",
                                      "\"",
                                      "'",
                                      "\\",
                                      "\t",
                                      "~",
                                      "|",
                                      "\x7f",
                                      "\xc2\x80",
                                      "\xc2\xa7",
                                      "\xcd\x85",
                                      "\xe2\x80\x94",
                                      "\xe2\x82\xac",
                                      "\xe2\x98\x83",
                                      "\xef\xbf\xbd",
                                      "\xf0\x9f\x98\x80"};
    static const char *const good[] = {" ",
                                       "+",
                                       "-",
                                       "=",
                                       ".",
                                       "_",
                                       ":",
                                       "/",
                                       "@",
                                       "0",
                                       "z",
                                       "\xc2\xa0",
                                       "\xc3\x9f",
                                       "\xce\xa9",
                                       "\xd0\xb6",
                                       "\xd7\x90",
                                       "\xe0\xa4\x95",
                                       "\xe3\x81\x82",
                                       "\xed\x95\x9c",
                                       "\xf0\xa0\x80\x80"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(sized("k", 1, bad[i], 1), TAGS_VALUE);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(sized(good[i], 1, good[i], 1), TAGS_OK);
}

static void
kept_form(void **state)
{
    struct tags t, again;
    struct tags_error e;
    struct buf b;
    struct arena *a = arena_new(1 << 20);
    (void)state;
    buf_init(&b, 64 << 10);
    assert_int_equal(tags_read_header(a, SLICE_LIT("b=%C3%A9%3D&a+x"), &t, &e), TAGS_OK);
    tags_encode(&t, &b);
    assert_int_equal(tags_count(buf_slice(&b)), 2);
    assert_int_equal(tags_count(SLICE_NONE), 0);
    assert_int_equal(tags_decode(buf_slice(&b), &again), ERR_NONE);
    assert_int_equal(again.count, 2);
    assert_true(slice_eqs(again.list[0].key, "a x") && again.list[0].value.n == 0);
    assert_true(slice_eqs(again.list[1].value, "\xc3\xa9="));
    assert_int_equal(tags_decode(SLICE_LIT("a\t1\nb\t"), &again), ERR_CORRUPT);
    buf_reset(&b);
    tags_write(&t, &b);
    assert_non_null(strstr(b.p, "<TagSet>" TAG("a x", "") TAG("b", "\xc3\xa9=") "</TagSet>"));
    buf_fini(&b);
    arena_free(&a);
}

/* ---- over a connection ---- */

static void
of_buckets(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ROOT, "GET", "/album?tagging", 404, "<Code>NoSuchTagSet</Code>");
    s3_send(t, ROOT, "PUT", "/album?tagging", NULL, TAGGING(TAG("team", "b&amp;w")), 400,
            "<Code>InvalidTag</Code><Message>The TagValue you have provided is invalid</Message>"
            "<TagKey>team</TagKey><TagValue>b&amp;w</TagValue>");
    s3_send(t, ROOT, "PUT", "/album?tagging", NULL,
            TAGGING(TAG("team", "b+w") TAG("a", "") TEN(NUMBERED)), 204, NULL);
    s3_do(t, ROOT, "GET", "/album?tagging", 200, TAG("k9", "") TAG("team", "b+w") "</TagSet>");
    s3_send(t, ROOT, "PUT", "/album?tagging", NULL, TAGGING(TAG("aws:x", "")), 400,
            "System tags cannot be added/updated by requester");
    s3_send(t, ROOT, "PUT", "/album?tagging", NULL, "<Tagging/>", 400, "<Code>MalformedXML</Code>");
    s3_send(t, ANN, "PUT", "/album?tagging", NULL, TAGGING(""), 403, "<Code>AccessDenied</Code>");
    s3_do(t, ANN, "DELETE", "/album?tagging", 403, "<Code>AccessDenied</Code>");
    s3_do(t, ROOT, "GET", "/album?tagging", 200, "team");
    s3_send(t, ROOT, "PUT", "/album?tagging", NULL, TAGGING(""), 204, NULL);
    s3_do(t, ROOT, "GET", "/album?tagging", 404, "<Code>NoSuchTagSet</Code>");
    s3_send(t, ROOT, "PUT", "/album?tagging", NULL, TAGGING(TAG("a", "")), 204, NULL);
    s3_do(t, ROOT, "DELETE", "/album?tagging", 204, NULL);
    s3_do(t, ROOT, "GET", "/album?tagging", 404, "<Code>NoSuchTagSet</Code>");
    s3_do(t, ROOT, "DELETE", "/album?tagging", 204, NULL);
}

static void
of_objects(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/a?tagging", 404, "<Code>NoSuchKey</Code>");
    s3_send(t, ROOT, "PUT", "/album/a?tagging", NULL, TAGGING(TAG("x", "y")), 404,
            "<Code>NoSuchKey</Code>");
    s3_do(t, ROOT, "DELETE", "/album/a?tagging", 404, "<Code>NoSuchKey</Code>");
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "bytes", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/a?tagging", 200, "<TagSet></TagSet>");
    s3_send(t, ROOT, "PUT", "/album/a?tagging", NULL, TAGGING(TAG("k2", "b") TAG("k1", "")), 200,
            "Content-Length: 0\r\n");
    s3_do(t, ROOT, "GET", "/album/a?tagging", 200, "<TagSet>" TAG("k1", "") TAG("k2", "b") "</Tag");
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-tagging-count: 2\r\n");
    s3_do(t, ROOT, "GET", "/album/a", 200, "\r\n\r\nbytes");
    /* Refused sets leave the old one. */
    s3_send(t, ROOT, "PUT", "/album/a?tagging", NULL, TAGGING(TEN(NUMBERED) TAG("a", "")), 400,
            "<Code>BadRequest</Code><Message>Object tags cannot be greater than 10</Message>");
    s3_send(t, ROOT, "PUT", "/album/a?tagging", NULL, TAGGING(TAG("aws:x", "")), 400,
            "<Message>Your TagKey cannot be prefixed with aws:</Message>");
    s3_send(t, ROOT, "PUT", "/album/a?tagging", NULL, TAGGING(TAG("a", "1") TAG("a", "2")), 400,
            "Cannot provide multiple Tags with the same key</Message><TagKey>a</TagKey>");
    s3_send(t, ROOT, "PUT", "/album/a?tagging", NULL, "<Tagging>", 400,
            "<Code>MalformedXML</Code>");
    s3_send(t, ANN, "PUT", "/album/a?tagging", NULL, TAGGING(""), 403, "<Code>AccessDenied</Code>");
    s3_do(t, ANN, "GET", "/album/a?tagging", 403, "<Code>AccessDenied</Code>");
    s3_do(t, ANN, "DELETE", "/album/a?tagging", 403, "<Code>AccessDenied</Code>");
    s3_do(t, ROOT, "GET", "/album/a?tagging&versionId=null", 200, TAG("k2", "b"));
    s3_do(t, ROOT, "GET", "/album/a?tagging&versionId=nothing", 400,
          "<ArgumentName>versionId</ArgumentName>");
    s3_do(t, ROOT, "DELETE", "/album/a?tagging", 204, NULL);
    s3_do(t, ROOT, "GET", "/album/a?tagging", 200, "<TagSet></TagSet>");
    s3_send(t, ROOT, "PUT", "/album/a?tagging", NULL, TAGGING(TAG("a", "1")), 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a?tagging", NULL, TAGGING(""), 200, NULL);
    s3_do(t, ROOT, "GET", "/album/a?tagging", 200, "<TagSet></TagSet>");
}

/* With the object: header, query, copies, uploads in parts; an overwrite has its own. */
static void
brought_along(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", "x-amz-tagging: k=v%20w&l\r\n", "1", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/a?tagging", 200, TAG("k", "v w") TAG("l", ""));
    s3_send(t, ROOT, "PUT", "/album/b", "x-amz-tagging: k=1&k=2\r\n", "1", 400,
            "<Code>InvalidArgument</Code><Message>The header 'x-amz-tagging' shall be encoded");
    s3_send(t, ROOT, "PUT", "/album/b", "x-amz-tagging: k=!\r\n", "1", 400,
            "<Code>InvalidTag</Code>");
    s3_do(t, ROOT, "HEAD", "/album/b", 404, NULL);

    s3_send(t, ROOT, "PUT", "/album/c", "x-amz-copy-source: album/a\r\nx-amz-tagging: no=1\r\n", "",
            200, NULL);
    s3_do(t, ROOT, "GET", "/album/c?tagging", 200, "<TagSet>" TAG("k", "v w") TAG("l", ""));
    s3_send(t, ROOT, "PUT", "/album/c",
            "x-amz-copy-source: album/a\r\nx-amz-tagging: new=1\r\n"
            "x-amz-tagging-directive: REPLACE\r\n",
            "", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/c?tagging", 200, "<TagSet>" TAG("new", "1") "</TagSet>");
    s3_send(t, ROOT, "PUT", "/album/c",
            "x-amz-copy-source: album/a\r\nx-amz-metadata-directive: REPLACE\r\n"
            "x-amz-tagging-directive: REPLACE\r\n",
            "", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/c?tagging", 200, "<TagSet></TagSet>");
    s3_send(t, ROOT, "PUT", "/album/c",
            "x-amz-copy-source: album/a\r\nx-amz-tagging-directive: KEEP\r\n", "", 400,
            "<ArgumentName>x-amz-tagging-directive</ArgumentName>");
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "2", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/a?tagging", 200, "<TagSet></TagSet>");
}

/* Who may put may not tag by that alone. */
static void
permission(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?policy", NULL,
            "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\","
            "\"Action\":[\"s3:PutObject\",\"s3:GetObject\"],"
            "\"Resource\":\"arn:aws:s3:::album/*\"}]}",
            204, NULL);
    s3_send(t, ANN, "PUT", "/album/a", "x-amz-tagging: k=v\r\n", "1", 403,
            "<Code>AccessDenied</Code>");
    s3_send(t, ROOT, "PUT", "/album/a", "x-amz-tagging: k=v\r\n", "1", 200, NULL);
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-tagging-count: 1\r\n");
    struct raw_answer a;
    struct s3_call get = {.who = ANN, .method = "GET", .target = "/album/a"};
    s3_call(t, &get, &a);
    assert_int_equal(a.status, 200);
    assert_false(s3_says(&a, "x-amz-tagging-count"));
    buf_fini(&a.all);
    /* A copy would carry them over. */
    s3_send(t, ANN, "PUT", "/album/b", "x-amz-copy-source: album/a\r\n", "", 403,
            "<Code>AccessDenied</Code>");
    s3_send(t, ANN, "PUT", "/album/b",
            "x-amz-copy-source: album/a\r\nx-amz-tagging-directive: REPLACE\r\n", "", 200, NULL);
    s3_send(t, ANN, "PUT", "/album/c", "x-amz-copy-source: album/b\r\n", "", 200, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents),  cmocka_unit_test(headers),   cmocka_unit_test(lengths),
        cmocka_unit_test(characters), cmocka_unit_test(kept_form), S3_TEST(of_buckets),
        S3_TEST(of_objects),          S3_TEST(brought_along),      S3_TEST(permission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
