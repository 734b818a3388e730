/* S3's documents read and written; everything else refused. */
#include "base/err.h"
#include "base/xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARENA_BYTES (16u << 20)

static int
parse_in(size_t arena_bytes, struct slice text)
{
    struct arena *a = arena_new(arena_bytes);
    const struct xml_node *root;
    int rc = xml_parse(a, text, &root);
    assert_true((rc == ERR_NONE) == (root != NULL));
    arena_free(&a);
    return rc;
}

static int
parse(const char *text)
{
    return parse_in(ARENA_BYTES, slice_str(text));
}

static void
test_tree(void **state)
{
    struct arena *a = arena_new(ARENA_BYTES);
    const struct xml_node *root;
    (void)state;
    assert_int_equal(
        xml_parse(
            a,
            SLICE_LIT("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><?pi x?>"
                      "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n"
                      "  <Quiet>true</Quiet>\n"
                      "  <Object><Key> a&amp;b&lt;&#x41;&#66;\xc3\xa9 </Key></Object>\n"
                      "  <Object><Key>c<!-- in -->d<![CDATA[<e>]]></Key><VersionId/></Object>\n"
                      "</Delete>\n"),
            &root),
        ERR_NONE);
    assert_true(slice_eqs(root->name, "Delete"));
    assert_int_equal(root->text.n, 0);
    assert_non_null(root->text.p);
    assert_null(root->next);
    assert_true(slice_eqs(xml_text(root, "Quiet"), "true"));
    const struct xml_node *one = xml_child(root, "Object");
    assert_true(slice_eqs(xml_text(one, "Key"), " a&b<AB\xc3\xa9 "));
    assert_null(xml_text(one, "VersionId").p);
    assert_true(slice_eqs(xml_trim(SLICE_LIT("\r\n a b\t\n")), "a b"));
    assert_int_equal(xml_trim(SLICE_LIT(" \r\n")).n, 0);
    assert_null(xml_trim(SLICE_NONE).p);
    const struct xml_node *two = xml_next(one, "Object");
    assert_true(slice_eqs(xml_text(two, "Key"), "cd<e>"));
    assert_non_null(xml_text(two, "VersionId").p); /* there, and empty */
    assert_int_equal(xml_text(two, "VersionId").n, 0);
    assert_null(xml_next(two, "Object"));
    assert_null(xml_child(root, "object"));
    assert_null(xml_child(NULL, "x"));
    assert_null(xml_next(NULL, "x"));
    assert_null(xml_text(NULL, "x").p);
    arena_free(&a);
}

static void
test_white_space(void **state)
{
    struct arena *a = arena_new(ARENA_BYTES);
    const struct xml_node *root;
    (void)state;
    assert_int_equal(xml_parse(a, SLICE_LIT("<a>x<b>  </b>y<c>\n<d/>\t</c></a>"), &root), ERR_NONE);
    assert_true(slice_eqs(root->text, "xy"));
    assert_true(slice_eqs(xml_text(root, "b"), "  "));
    assert_int_equal(xml_child(root, "c")->text.n, 0);
    /* A line end is one LF in XML, a reference stays what it is. */
    assert_int_equal(xml_parse(a, SLICE_LIT("<a>1\r\n2\r3&#xD;4</a>"), &root), ERR_NONE);
    assert_true(slice_eqs(root->text, "1\n2\n3\r4"));
    arena_free(&a);
}

static void
test_namespaces(void **state)
{
    struct arena *a = arena_new(ARENA_BYTES);
    const struct xml_node *root;
    (void)state;
    assert_int_equal(
        xml_parse(a,
                  SLICE_LIT("<s3:Grants xmlns:s3=\"u\"><s3:Grantee "
                            "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" x=\"1\" "
                            "xsi:type=\"CanonicalUser\"><ID type=\"no\">7</ID></s3:Grantee>"
                            "</s3:Grants>"),
                  &root),
        ERR_NONE);
    assert_true(slice_eqs(root->name, "Grants"));
    const struct xml_node *grantee = xml_child(root, "Grantee");
    assert_true(slice_eqs(grantee->xsi_type, "CanonicalUser"));
    assert_true(slice_eqs(xml_text(grantee, "ID"), "7"));
    assert_int_equal(xml_child(grantee, "ID")->xsi_type.n, 0);
    arena_free(&a);
}

static void
test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "x",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>x",
        "<a b=1/>",
        "<a b='1' b='2'/>",
        "<a>&nbsp;</a>",
        "<a>&#0;</a>",
        "<a>&#x1;</a>",
        "<a>\x01</a>",
        "<a>\xff</a>",
        "<a>\xc0\xaf</a>",
        "<a>\xed\xa0\x80</a>",
        "<a><![CDATA[x</a>",
        "\xff\xfe<\0a\0/\0>\0",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
        "<!DOCTYPE a [<!ENTITY % x \"y\"> %x;]><a/>",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(bad[i]) != ERR_INVALID)
            fail_msg("%d for: %s", parse(bad[i]), bad[i]);
    }
    assert_int_equal(parse_in(ARENA_BYTES, slice_of("<a>\0</a>", 8)), ERR_INVALID);
    assert_int_equal(parse_in(ARENA_BYTES, SLICE_NONE), ERR_INVALID);
    /* Bytes that are UTF-8 only in what the document claims to be. */
    assert_int_equal(parse("<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>"), ERR_INVALID);
}

static void
nest(struct buf *b, int depth)
{
    buf_init(b, 1 << 20);
    for (int i = 0; i < depth; i++)
        buf_puts(b, "<a>");
    for (int i = 0; i < depth; i++)
        buf_puts(b, "</a>");
}

static void
test_depth(void **state)
{
    struct buf b;
    (void)state;
    nest(&b, XML_DEPTH_MAX);
    assert_int_equal(parse_in(ARENA_BYTES, buf_slice(&b)), ERR_NONE);
    buf_fini(&b);
    nest(&b, XML_DEPTH_MAX + 1);
    assert_int_equal(parse_in(ARENA_BYTES, buf_slice(&b)), ERR_TOOBIG);
    buf_fini(&b);
    nest(&b, 100000);
    assert_int_equal(parse_in(ARENA_BYTES, buf_slice(&b)), ERR_TOOBIG);
    buf_fini(&b);
}

static void
test_count(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    buf_puts(&b, "<a>");
    for (int i = 0; i < XML_NODES_MAX - 1; i++)
        buf_puts(&b, "<b/>");
    size_t n = b.n;
    buf_puts(&b, "</a>");
    assert_int_equal(parse_in(ARENA_BYTES, buf_slice(&b)), ERR_NONE);
    b.n = n;
    buf_puts(&b, "<b/></a>");
    assert_int_equal(parse_in(ARENA_BYTES, buf_slice(&b)), ERR_TOOBIG);
    buf_fini(&b);
}

static void
test_sizes(void **state)
{
    enum { N = 20 << 20 };
    char *big = malloc(N);
    (void)state;
    memset(big, 'x', N);
    memcpy(big, "<a>", 3);
    memcpy(big + 3 + (64 << 10), "</a>", 4);
    assert_int_equal(parse_in(ARENA_BYTES, slice_of(big, 3 + (64 << 10) + 4)), ERR_NONE);
    assert_int_equal(parse_in(64 << 10, slice_of(big, 3 + (64 << 10) + 4)), ERR_NOMEM);
    memset(big + 3, 'x', (64 << 10) + 1);
    memcpy(big + 3 + (64 << 10) + 1, "</a>", 4);
    assert_int_equal(parse_in(ARENA_BYTES, slice_of(big, 3 + (64 << 10) + 5)), ERR_TOOBIG);
    assert_int_equal(parse_in(ARENA_BYTES, slice_of(big, N)), ERR_TOOBIG);
    free(big);
    assert_int_equal(parse_in(40, SLICE_LIT("<a/>")), ERR_NOMEM);
    assert_int_equal(parse_in(80, SLICE_LIT("<a x:y='1' xsi:type='t'/>")), ERR_NOMEM);
}

static void
test_completion_of_10000_parts(void **state)
{
    struct buf b;
    struct arena *a = arena_new(ARENA_BYTES);
    const struct xml_node *root;
    int count = 0;
    (void)state;
    buf_init(&b, 4 << 20);
    buf_puts(&b, "<CompleteMultipartUpload>");
    for (int i = 1; i <= 10000; i++)
        buf_printf(&b,
                   "<Part><PartNumber>%d</PartNumber>"
                   "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
                   "<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>",
                   i);
    buf_puts(&b, "</CompleteMultipartUpload>");
    assert_int_equal(xml_parse(a, buf_slice(&b), &root), ERR_NONE);
    for (const struct xml_node *p = xml_child(root, "Part"); p != NULL; p = xml_next(p, "Part")) {
        uint64_t number;
        assert_int_equal(slice_to_u64(xml_text(p, "PartNumber"), &number), ERR_NONE);
        assert_int_equal(number, ++count);
    }
    assert_int_equal(count, 10000);
    assert_true(arena_used(a) < 8u << 20); /* what a caller's arena has to hold */
    arena_free(&a);
    buf_fini(&b);
}

static void
assert_escaped(struct slice text, const char *want)
{
    struct buf b;
    buf_init(&b, 1000);
    xml_escape(&b, text);
    if (!slice_eqs(buf_slice(&b), want))
        fail_msg("%.*s is not %s", SLICE_FMT(buf_slice(&b)), want);
    buf_fini(&b);
}

static void
test_escape(void **state)
{
    (void)state;
    assert_escaped(SLICE_LIT("plain"), "plain");
    assert_escaped(SLICE_NONE, "");
    assert_escaped(SLICE_LIT("&<>\"'"), "&amp;&lt;&gt;&quot;'");
    assert_escaped(SLICE_LIT("a\r\n\tb"), "a&#xD;&#xA;&#x9;b");
    assert_escaped(slice_of("\0\x1f\x7f", 3), "&#x0;&#x1F;&#x7F;");
    assert_escaped(SLICE_LIT("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
                   "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_escaped(SLICE_LIT("a\xff"
                             "b\xc3"),
                   "a\xef\xbf\xbd"
                   "b\xef\xbf\xbd");
    assert_escaped(SLICE_LIT("\xc3&\xe2\x82<"), "\xef\xbf\xbd&amp;\xef\xbf\xbd\xef\xbf\xbd&lt;");
    assert_escaped(SLICE_LIT("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

static void
test_write_and_read_back(void **state)
{
    struct buf b;
    struct arena *a = arena_new(ARENA_BYTES);
    const struct xml_node *root;
    const char *key = " <&>\"\r\n\t'\xc3\xa9 ";
    (void)state;
    buf_init(&b, 1000);
    xml_head(&b);
    xml_open(&b, "R xmlns=\"u\"");
    xml_puts(&b, "Key", key);
    xml_put_int(&b, "Size", INT64_MIN);
    xml_put(&b, "None", SLICE_NONE);
    xml_close(&b, "R");
    assert_string_equal(b.p, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"u\">"
                             "<Key> &lt;&amp;&gt;&quot;&#xD;&#xA;&#x9;'\xc3\xa9 </Key>"
                             "<Size>-9223372036854775808</Size><None></None></R>");
    assert_int_equal(xml_parse(a, buf_slice(&b), &root), ERR_NONE);
    assert_true(slice_eqs(xml_text(root, "Key"), key));
    arena_free(&a);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),       cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_namespaces), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth),      cmocka_unit_test(test_count),
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_completion_of_10000_parts),
        cmocka_unit_test(test_escape),     cmocka_unit_test(test_write_and_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
