/*
 * User metadata that is not ASCII: RFC 2047 both ways, then as headers of requests and answers, and
 * in the query of presigned ones. The first pair is the example of S3's user guide.
 */
#include "objectstore/encoded_word.h"
#include "tests/objectstore/s3_fixture.h"

#define EXAMPLE "\xc3\x84M\xc3\x84Z\xc3\x95\xc3\x91 S3"
#define EXAMPLE_ANSWER "=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?="

static void
decodes(const char *value, const char *expected)
{
    struct buf b;
    buf_init(&b, 1000);
    encoded_word_decode(slice_str(value), &b);
    if (!slice_eqs(buf_slice(&b), expected))
        fail_msg("%s: %s", value, b.p);
    buf_fini(&b);
}

static void
decoding(void **state)
{
    (void)state;
    decodes("", "");
    decodes("AMAZONS3", "AMAZONS3");
    decodes("Hello World\xe9", "Hello World\xc3\xa9");
    decodes("\xc3\xa9", "\xc3\x83\xc2\xa9"); /* bytes of a header are ISO 8859-1 */
    decodes("=?UTF-8?B?Y2Fmw6k=?=", "caf\xc3\xa9");
    decodes("=?utf-8?q?caf=C3=a9_au_lait?=", "caf\xc3\xa9 au lait");
    decodes("=?ISO-8859-1?Q?caf=E9?=", "caf\xc3\xa9");
    decodes("=?UTF-8?B?Y2Fm?= =?UTF-8?B?w6k=?=", "caf\xc3\xa9");
    decodes("=?UTF-8?Q?actually-ascii?=", "actually-ascii");
    /* What is none stays. */
    static const char *const texts[] = {
        "=?",
        "=?\?=",
        "=?UTF-8?B?\?=",
        "=?UTF-8?B?***?=",
        "=?UTF-8?X?abc?=",
        "=?UTF-8?Q?=4",
        "=?UTF-8?Q?=4?=",
        "=?UTF-8?Q?=ff?=",
        "=?KOI8-R?Q?abc?=",
        "=?UTF-8?Q?a?b?=",
        "x =?UTF-8?Q?a?=",
        "=?UTF-8?Q?a?= x",
        "=?UTF-8?B?YQ?=",
        "=?UTF-8?Q?a?==?UTF-8?Q?b?=",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        decodes(texts[i], texts[i]);
}

static void
encodes(struct slice text, const char *expected)
{
    struct buf b;
    buf_init(&b, 1000);
    assert_true(encoded_word_needed(text));
    encoded_word_encode(text, &b);
    if (!slice_eqs(buf_slice(&b), expected))
        fail_msg("%s: %s", expected, b.p);
    buf_fini(&b);
}

static void
encoding(void **state)
{
    (void)state;
    assert_false(encoded_word_needed(SLICE_LIT("plain =?_ text\t~")));
    encodes(SLICE_LIT(EXAMPLE), "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=");
    encodes(SLICE_LIT("\xc3\x83\xc2\xb6"), "=?UTF-8?B?w4PCtg==?=");
    encodes(SLICE_LIT("Mini\xc3\x83\xc2\xb6"), "=?UTF-8?Q?Mini=C3=83=C2=B6?=");
    encodes(SLICE_LIT("\0\1\2\3\4"), "=?UTF-8?B?AAECAwQ=?=");
    encodes(SLICE_LIT("a=b?c_d e\xc3\xa9"), "=?UTF-8?Q?a=3Db=3Fc=5Fd_e=C3=A9?=");
    encodes(SLICE_LIT("two\r\nlines"), "=?UTF-8?Q?two=0D=0Alines?=");
}

/* ---- over a connection ---- */

static void
metadata(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a",
            "x-amz-meta-raw: " EXAMPLE "\r\nx-amz-meta-word: =?UTF-8?B?Y2Fmw6k=?=\r\n"
            "x-amz-meta-fake: =?UTF-8?Q?actually-ascii?=\r\nx-amz-meta-empty: \r\n"
            "x-amz-meta-lines: =?UTF-8?Q?a=0D=0AX-Evil:_1?=\r\n",
            "", 200, NULL);
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-meta-raw: " EXAMPLE_ANSWER "\r\n");
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-meta-word: =?UTF-8?Q?caf=C3=A9?=\r\n");
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-meta-fake: actually-ascii\r\n");
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-meta-empty: ");
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-meta-lines: =?UTF-8?Q?a=0D=0AX-Evil:_1?=\r\n");
    /* A copy keeps the text, and what is answered can be sent again. */
    s3_send(t, ROOT, "PUT", "/album/b", "x-amz-copy-source: album/a\r\n", "", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/b", 200, "x-amz-meta-raw: " EXAMPLE_ANSWER "\r\n");
    s3_send(t, ROOT, "PUT", "/album/c", "x-amz-meta-raw: " EXAMPLE_ANSWER "\r\n", "", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/c", 200, "x-amz-meta-raw: " EXAMPLE_ANSWER "\r\n");
}

/* "x-amz-meta-" is not counted, the rest of the name and the text's UTF-8 are. */
static void
metadata_size(void **state)
{
    struct s3_fix *t = *state;
    char line[3000];
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    int n = snprintf(line, sizeof line, "x-amz-meta-name: ");
    memset(line + n, 'v', 2044);
    snprintf(line + n + 2044, sizeof line - (size_t)n - 2044, "\r\n");
    s3_send(t, ROOT, "PUT", "/album/a", line, "", 200, NULL);
    snprintf(line + n + 2044, sizeof line - (size_t)n - 2044, "v\r\n");
    s3_send(t, ROOT, "PUT", "/album/a", line, "", 400,
            "<Code>MetadataTooLarge</Code><Message>Your metadata headers exceed the maximum "
            "allowed metadata size</Message><Size>2049</Size>"
            "<MaxSizeAllowed>2048</MaxSizeAllowed>");
    memset(line + n, '\xe9', 1023);
    snprintf(line + n + 1023, sizeof line - (size_t)n - 1023, "\r\n");
    s3_send(t, ROOT, "PUT", "/album/a", line, "", 400, "<Size>2050</Size>");
}

static void
other_headers(void **state)
{
    struct s3_fix *t = *state;
    static const struct {
        const char *sent, *answered;
    } encodings[] = {
        {"gzip", "Content-Encoding: gzip\r\n"},
        {"deflate, gzip", "Content-Encoding: deflate, gzip\r\n"},
        {"deflate,gzip", "Content-Encoding: deflate,gzip\r\n"},
        {"gzip, aws-chunked", "Content-Encoding: gzip\r\n"},
        {"aws-chunked,gzip,br", "Content-Encoding: gzip, br\r\n"},
    };
    char line[200];
    struct raw_answer a;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        snprintf(line, sizeof line, "content-encoding: %s\r\n", encodings[i].sent);
        s3_send(t, ROOT, "PUT", "/album/a", line, "", 200, NULL);
        s3_do(t, ROOT, "HEAD", "/album/a", 200, encodings[i].answered);
    }
    s3_send(t, ROOT, "PUT", "/album/a", "content-encoding: AWS-chunked\r\n", "", 200, NULL);
    struct s3_call head = {.who = ROOT, .method = "HEAD", .target = "/album/a"};
    s3_call(t, &head, &a);
    assert_false(s3_says(&a, "Content-Encoding"));
    buf_fini(&a.all);
    /* Two fields of one name are one list. */
    s3_send(t, ROOT, "PUT", "/album/a",
            "x-amz-meta-k: 1\r\ncache-control: no-cache\r\ncache-control: max-age=1\r\n", "", 200,
            NULL);
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "Cache-Control: no-cache,max-age=1\r\n");
}

/* A presigned PUT with this query (sorted), for five minutes. */
static void
presigned_put(struct s3_fix *t, const char *path, const char *query)
{
    struct buf target;
    const struct sign_header host = {"host", slice_str(http_address(t->http))};
    const struct sign_request req = {
        .method = "PUT",
        .raw_path = slice_str(path),
        .raw_query = slice_str(query),
        .headers = &host,
        .header_count = 1,
        .payload_hash = "UNSIGNED-PAYLOAD",
        .region = "eu-x",
        .service = "s3",
        .access_key_id = slice_str(ROOT),
        .secret_access_key = slice_str(s3_secret(ROOT)),
        .now_ms = clock_wall_ms(),
    };
    buf_init(&target, 1 << 16);
    buf_printf(&target, "%s?", path);
    assert_int_equal(sign_v4_query(&req, 300, &target), ERR_NONE);
    struct s3_call c = {.method = "PUT", .target = target.p, .body = SLICE_LIT("bytes")};
    s3_expect(t, &c, 200, NULL);
    buf_fini(&target);
}

/* Headers that a presigning client moved into the query. */
static void
presigned(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    presigned_put(t, "/album/p",
                  "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-meta-Name=caf%C3%A9&"
                  "x-amz-sdk-checksum-algorithm=CRC32&x-amz-storage-class=STANDARD_IA&"
                  "x-amz-tagging=a%3Db%26c%3Dd");
    struct s3_call c = {.who = ROOT, .method = "GET", .target = "/album/p"};
    s3_call(t, &c, &a);
    assert_true(raw_has(&a, "x-amz-meta-name: =?UTF-8?"));
    assert_true(raw_has(&a, "x-amz-storage-class: STANDARD_IA\r\n"));
    assert_true(raw_has(&a, "x-amz-tagging-count: 2\r\n"));
    assert_true(slice_eqs(raw_body(&a), "bytes"));
    buf_fini(&a.all);
    /* In the query of a request whose header is signed they are no headers. */
    s3_do(t, ROOT, "PUT", "/album/q?x-amz-meta-a=1&x-amz-tagging=a%3Db", 200, NULL);
    c.target = "/album/q";
    s3_call(t, &c, &a);
    assert_false(s3_says(&a, "x-amz-meta-a") || s3_says(&a, "tagging-count"));
    buf_fini(&a.all);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding), cmocka_unit_test(encoding), S3_TEST(metadata),
        S3_TEST(metadata_size),     S3_TEST(other_headers),     S3_TEST(presigned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
