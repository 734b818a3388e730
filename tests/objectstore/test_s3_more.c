/*
 * The S3 face over a real connection: listings, copies, many deletions, multipart uploads,
 * documents kept with a bucket, sub-resources we have and those we do not.
 */
#include "tests/objectstore/s3_fixture.h"

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static void
album(struct s3_fix *t, const char *const *keys, size_t count)
{
    char target[256];
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t i = 0; i < count; i++) {
        snprintf(target, sizeof target, "/album/%s", keys[i]);
        s3_send(t, ROOT, "PUT", target, NULL, keys[i], 200, NULL);
    }
}

/* ---- listings ---- */

static const char *const tree[] = {"a.txt", "b/1", "b/2", "b/3", "c%26d", "d/x/1", "e"};

/* All Key and Prefix texts of a page, in the order given, each followed by a blank. */
static void
names_of(const struct raw_answer *a, struct buf *out)
{
    struct slice rest = raw_body(a);
    ptrdiff_t key, prefix;
    bool head = true; /* the first Prefix is the one asked for */
    for (;;) {
        key = slice_find(rest, SLICE_LIT("<Key>"));
        prefix = slice_find(rest, SLICE_LIT("<Prefix>"));
        if (key < 0 && prefix < 0)
            return;
        bool is_key = prefix < 0 || (key >= 0 && key < prefix);
        rest = slice_skip(rest, (size_t)(is_key ? key + 5 : prefix + 8));
        struct slice after, name = slice_cut(rest, '<', &after);
        if (is_key || !head) {
            buf_put_slice(out, name);
            buf_putc(out, ' ');
        }
        head = head && is_key;
    }
}

static void
list_is(struct s3_fix *t, const char *target, const char *names, const char *part)
{
    struct raw_answer a;
    struct buf got;
    struct s3_call c = {.who = ROOT, .method = "GET", .target = target};
    buf_init(&got, 1 << 20);
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    names_of(&a, &got);
    if (strcmp(got.p == NULL ? "" : got.p, names) != 0 || (part != NULL && !s3_says(&a, part)))
        fail_msg("%s: wanted %s%s, got\n%s", target, names, part == NULL ? "" : part, a.all.p);
    buf_fini(&got);
    buf_fini(&a.all);
}

static void
listings(void **state)
{
    struct s3_fix *t = *state;
    album(t, tree, ARRAY_LEN(tree));
    list_is(t, "/album", "a.txt b/1 b/2 b/3 c&amp;d d/x/1 e ", "<Marker></Marker>");
    list_is(t, "/album?list-type=2", "a.txt b/1 b/2 b/3 c&amp;d d/x/1 e ",
            "<KeyCount>7</KeyCount>");
    list_is(t, "/album?list-type=2&delimiter=/", "a.txt c&amp;d e b/ d/ ",
            "<KeyCount>5</KeyCount>");
    list_is(t, "/album?list-type=2&delimiter=/&prefix=b/", "b/1 b/2 b/3 ", NULL);
    list_is(t, "/album?delimiter=x&prefix=d", "d/x ", "<Delimiter>x</Delimiter>");
    list_is(t, "/album?list-type=2&start-after=b/2", "b/3 c&amp;d d/x/1 e ",
            "<StartAfter>b/2</StartAfter>");
    list_is(t, "/album?list-type=2&encoding-type=url", "a.txt b/1 b/2 b/3 c%26d d/x/1 e ",
            "<EncodingType>url</EncodingType>");
    list_is(t, "/album?max-keys=0", "", "<IsTruncated>false</IsTruncated>");
    list_is(t, "/album?max-keys=5000", "a.txt b/1 b/2 b/3 c&amp;d d/x/1 e ",
            "<MaxKeys>1000</MaxKeys>");
    list_is(t, "/album?prefix=zz", "", "<IsTruncated>false</IsTruncated>");
    list_is(t, "/album?versions", "a.txt b/1 b/2 b/3 c&amp;d d/x/1 e ",
            "<VersionId>null</VersionId><IsLatest>true</IsLatest>");
    list_is(t, "/album?versions&key-marker=d/x/1", "e ", "<KeyMarker>d/x/1</KeyMarker>");
    list_is(t, "/album?list-type=2&prefix=e&fetch-owner=true", "e ",
            "<DisplayName>root</DisplayName>");
    s3_do(t, ROOT, "GET", "/album?max-keys=-1", 400, "<Code>InvalidArgument</Code>");
    s3_do(t, ROOT, "GET", "/album?max-keys=x", 400, "<ArgumentName>max-keys</ArgumentName>");
    s3_do(t, ROOT, "GET", "/album?encoding-type=hex", 400, "<Code>InvalidArgument</Code>");
    s3_do(t, ROOT, "GET", "/album?list-type=3", 400, "<Code>InvalidArgument</Code>");
    s3_do(t, ROOT, "GET", "/album?list-type=2&continuation-token=Zm9v", 400,
          "The continuation token provided is incorrect");
    s3_do(t, ROOT, "GET", "/album?versions&version-id-marker=null", 400,
          "<Code>InvalidArgument</Code>");
    s3_do(t, ANN, "GET", "/album", 403, NULL);
}

/* Pages of one or two, in every style, must give each name once. */
static void
pages(struct s3_fix *t, const char *first, const char *next_param, const char *next_element,
      const char *names, int page_count)
{
    struct raw_answer a;
    struct buf got, target;
    int count = 0;
    buf_init(&got, 1 << 20);
    buf_init(&target, 1 << 16);
    buf_puts(&target, first);
    for (bool more = true; more; count++) {
        assert_true(count < 20);
        struct s3_call c = {.who = ROOT, .method = "GET", .target = target.p};
        s3_call(t, &c, &a);
        assert_int_equal(a.status, 200);
        names_of(&a, &got);
        more = slice_eqs(s3_element(&a, "IsTruncated"), "true");
        struct slice next = s3_element(&a, next_element);
        assert_true(more == (next.n > 0));
        buf_reset(&target);
        buf_printf(&target, "%s&%s=", first, next_param);
        http_escape(&target, next, false);
        buf_fini(&a.all);
    }
    if (strcmp(got.p, names) != 0 || count != page_count)
        fail_msg("%s: %s in %d", first, got.p, count);
    buf_fini(&got);
    buf_fini(&target);
}

static void
paging(void **state)
{
    struct s3_fix *t = *state;
    static const char *const keys[] = {"a.txt", "b/1", "b/2", "b/3", "c", "d/x/1", "e"};
    album(t, keys, ARRAY_LEN(keys));
    pages(t, "/album?list-type=2&delimiter=/&max-keys=1", "continuation-token",
          "NextContinuationToken", "a.txt b/ c d/ e ", 5);
    pages(t, "/album?list-type=2&max-keys=3", "continuation-token", "NextContinuationToken",
          "a.txt b/1 b/2 b/3 c d/x/1 e ", 3);
    pages(t, "/album?delimiter=/&max-keys=1", "marker", "NextMarker", "a.txt b/ c d/ e ", 5);
    pages(t, "/album?versions&max-keys=2", "key-marker", "NextKeyMarker",
          "a.txt b/1 b/2 b/3 c d/x/1 e ", 4);
    pages(t, "/album?versions&delimiter=/&max-keys=1", "key-marker", "NextKeyMarker",
          "a.txt b/ c d/ e ", 5);
}

/* ---- copies ---- */

static void
copies(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ROOT, "PUT", "/second", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a%20%2Bb", "x-amz-meta-m: 1\r\ncontent-type: a/b\r\n", "bytes",
            200, NULL);
    s3_send(t, ROOT, "PUT", "/second/c", "x-amz-copy-source: /album/a%20%2Bb\r\n", "", 200,
            "<ETag>&quot;4b3a6218bb3e3a7303e8a171a60fcf92&quot;</ETag>");
    s3_do(t, ROOT, "GET", "/second/c", 200, "x-amz-meta-m: 1\r\n");
    s3_do(t, ROOT, "GET", "/second/c", 200, "Content-Type: a/b\r\n");
    s3_send(t, ROOT, "PUT", "/second/c",
            "x-amz-copy-source: second/c\r\nx-amz-metadata-directive: REPLACE\r\n"
            "x-amz-meta-n: 2\r\n",
            "", 200, NULL);
    s3_do(t, ROOT, "GET", "/second/c", 200, "x-amz-meta-n: 2\r\n");
    s3_do(t, ROOT, "GET", "/second/c", 200, "\r\n\r\nbytes");
    s3_send(t, ROOT, "PUT", "/second/c", "x-amz-copy-source: second/c\r\n", "", 400,
            "<Code>InvalidRequest</Code>");
    s3_send(t, ROOT, "PUT", "/second/d", "x-amz-copy-source: /album/none\r\n", "", 404,
            "<Code>NoSuchKey</Code>");
    s3_send(t, ROOT, "PUT", "/second/d", "x-amz-copy-source: /nowhere/none\r\n", "", 404,
            "<Code>NoSuchBucket</Code>");
    s3_send(t, ROOT, "PUT", "/second/d", "x-amz-copy-source: album\r\n", "", 400,
            "<Code>InvalidArgument</Code>");
    s3_send(t, ROOT, "PUT", "/second/d", "x-amz-copy-source: album/%zz\r\n", "", 400,
            "<Code>InvalidArgument</Code>");
    s3_send(t, ROOT, "PUT", "/second/d",
            "x-amz-copy-source: second/c\r\nx-amz-copy-source-if-none-match: "
            "\"4b3a6218bb3e3a7303e8a171a60fcf92\"\r\n",
            "", 412, "<Code>PreconditionFailed</Code>");
    s3_send(t, ROOT, "PUT", "/second/d",
            "x-amz-copy-source: second/c\r\nx-amz-metadata-directive: MOVE\r\n", "", 400, NULL);
    /* The reader of a source needs the right to read it. */
    s3_do(t, ANN, "PUT", "/ann-box", 200, NULL);
    s3_send(t, ANN, "PUT", "/ann-box/x", "x-amz-copy-source: /second/c\r\n", "", 403, NULL);
    s3_send(t, ANN, "PUT", "/ann-box/x", "x-amz-copy-source: /second/none\r\n", "", 403, NULL);
    /* A copy outlives its source. */
    s3_send(t, ROOT, "PUT", "/second/e", "x-amz-copy-source: /album/a%20%2Bb\r\n", "", 200, NULL);
    s3_do(t, ROOT, "DELETE", "/album/a%20%2Bb", 204, NULL);
    s3_do(t, ROOT, "GET", "/second/e", 200, "bytes");
}

/* ---- many deletions ---- */

static void
delete_many(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct s3_call c = {.who = ROOT, .method = "POST", .target = "/album?delete"};
    album(t, tree, ARRAY_LEN(tree));
    c.body = SLICE_LIT("<Delete><Object><Key>b/1</Key></Object><Object><Key>none</Key></Object>"
                       "<Object><Key>c&amp;d</Key><VersionId>null</VersionId></Object>"
                       "<Object><Key>e</Key><VersionId>7</VersionId></Object>"
                       "<Object><Key>b/2</Key><ETag>wrong</ETag></Object></Delete>");
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    assert_true(s3_says(&a, "<Deleted><Key>b/1</Key></Deleted><Deleted><Key>none</Key></Deleted>"
                            "<Deleted><Key>c&amp;d</Key><VersionId>null</VersionId></Deleted>"));
    assert_true(s3_says(&a, "<Error><Key>e</Key><VersionId>7</VersionId>"
                            "<Code>NoSuchVersion</Code>"));
    assert_true(s3_says(&a, "<Error><Key>b/2</Key><Code>PreconditionFailed</Code>"));
    buf_fini(&a.all);
    list_is(t, "/album", "a.txt b/2 b/3 d/x/1 e ", NULL);

    c.body = SLICE_LIT("<Delete><Quiet>true</Quiet><Object><Key>b/2</Key></Object></Delete>");
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    assert_false(s3_says(&a, "<Deleted>"));
    buf_fini(&a.all);
    list_is(t, "/album", "a.txt b/3 d/x/1 e ", NULL);

    c.who = ANN;
    c.body = SLICE_LIT("<Delete><Object><Key>e</Key></Object></Delete>");
    s3_expect(t, &c, 200, "<Error><Key>e</Key><Code>AccessDenied</Code>");
    list_is(t, "/album", "a.txt b/3 d/x/1 e ", NULL);
}

static void
delete_many_refusals(void **state)
{
    struct s3_fix *t = *state;
    struct buf b;
    album(t, tree, 1);
    static const char *const bodies[] = {
        "<Delete></Delete>", "<Delete><Object></Object></Delete>",        "<Remove/>",
        "<Delete",           "<Delete><Object><Key>a.txt</Key></Object>",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        s3_send(t, ROOT, "POST", "/album?delete", NULL, bodies[i], 400,
                "<Code>MalformedXML</Code>");
    s3_send(t, ROOT, "POST", "/album?delete", NULL, "", 400,
            "<Code>MissingRequestBodyError</Code>");
    buf_init(&b, 4 << 20);
    for (int count = 1000; count <= 1001; count++) {
        buf_reset(&b);
        buf_puts(&b, "<Delete><Quiet>true</Quiet>");
        for (int i = 0; i < count; i++)
            buf_printf(&b, "<Object><Key>key %d</Key></Object>", i);
        buf_puts(&b, "</Delete>");
        s3_send(t, ROOT, "POST", "/album?delete", NULL, b.p, count == 1000 ? 200 : 400, NULL);
    }
    buf_reset(&b);
    for (size_t i = 0; i < (2 << 20) + 1; i++)
        buf_putc(&b, ' ');
    s3_send(t, ROOT, "POST", "/album?delete", NULL, b.p, 400, "<Code>EntityTooLarge</Code>");
    /* Content-MD5 is optional, and checked when it is there. */
    s3_send(t, ROOT, "POST", "/album?delete", "content-md5: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            "<Delete><Object><Key>a.txt</Key></Object></Delete>", 400, "<Code>BadDigest</Code>");
    s3_do(t, ROOT, "HEAD", "/album/a.txt", 200, NULL);
    buf_fini(&b);
}

/* ---- multipart uploads ---- */

static void
upload_begin(struct s3_fix *t, const char *target, char *id, size_t size)
{
    struct raw_answer a;
    struct s3_call c = {.who = ROOT,
                        .method = "POST",
                        .target = target,
                        .headers = "content-type: image/x\r\nx-amz-meta-m: 1\r\n"};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    struct slice text = s3_element(&a, "UploadId");
    assert_true(text.n > 0 && text.n < size);
    memcpy(id, text.p, text.n);
    id[text.n] = '\0';
    buf_fini(&a.all);
}

/* The part's ETag as the answer gives it, without quotes. */
static void
part_put(struct s3_fix *t, const char *id, int number, struct slice bytes, char etag[33])
{
    char target[256];
    struct raw_answer a;
    snprintf(target, sizeof target, "/album/big?partNumber=%d&uploadId=%s", number, id);
    struct s3_call c = {.who = ROOT, .method = "PUT", .target = target, .body = bytes};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    const char *at = strstr(a.all.p, "ETag: \"");
    assert_non_null(at);
    memcpy(etag, at + 7, 32);
    etag[32] = '\0';
    buf_fini(&a.all);
}

static void
complete(struct s3_fix *t, const char *id, const int *numbers, const char (*etags)[33],
         size_t count, int status, const char *part)
{
    char target[256];
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_puts(&b, "<CompleteMultipartUpload>");
    for (size_t i = 0; i < count; i++)
        buf_printf(&b, "<Part><PartNumber>%d</PartNumber><ETag>&quot;%s&quot;</ETag></Part>",
                   numbers[i], etags[i]);
    buf_puts(&b, "</CompleteMultipartUpload>");
    snprintf(target, sizeof target, "/album/big?uploadId=%s", id);
    s3_send(t, ROOT, "POST", target, NULL, b.p, status, part);
    buf_fini(&b);
}

static void
multipart(void **state)
{
    struct s3_fix *t = *state;
    char id[80], target[256], etags[3][33];
    struct slice first = fix_bytes(1, 5 * MIB), last = SLICE_LIT("the rest");
    static const int rising[] = {1, 7, 9}, falling[] = {7, 1, 9};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload_begin(t, "/album/big?uploads", id, sizeof id);
    part_put(t, id, 1, first, etags[0]);
    part_put(t, id, 7, last, etags[1]);
    part_put(t, id, 9, last, etags[2]);
    snprintf(target, sizeof target, "/album/big?max-parts=2&uploadId=%s", id);
    s3_do(t, ROOT, "GET", target, 200, "<NextPartNumberMarker>7</NextPartNumberMarker>");
    snprintf(target, sizeof target, "/album/big?part-number-marker=7&uploadId=%s", id);
    s3_do(t, ROOT, "GET", target, 200, "<PartNumber>9</PartNumber>");
    s3_do(t, ROOT, "GET", "/album?uploads", 200, "<Key>big</Key>");
    s3_do(t, ROOT, "GET", "/album?uploads&delimiter=i", 200,
          "<CommonPrefixes><Prefix>bi</Prefix></CommonPrefixes>");
    s3_do(t, ROOT, "GET", "/album/big", 404, NULL);
    s3_do(t, ROOT, "DELETE", "/album", 409, "<Code>BucketNotEmpty</Code>");

    complete(t, id, falling, (const char(*)[33])etags, 2, 400, "<Code>InvalidPartOrder</Code>");
    complete(t, id, rising, (const char(*)[33])etags, 3, 400, "<Code>EntityTooSmall</Code>");
    complete(t, id, rising + 1, (const char(*)[33])etags, 1, 400, "<Code>InvalidPart</Code>");
    complete(t, id, rising, (const char(*)[33])etags, 2, 200, "-2&quot;</ETag>");
    complete(t, id, rising, (const char(*)[33])etags, 2, 200, "-2&quot;</ETag>"); /* asked again */
    s3_do(t, ROOT, "HEAD", "/album/big", 200, "Content-Type: image/x\r\n");
    s3_do(t, ROOT, "HEAD", "/album/big", 200, "x-amz-meta-m: 1\r\n");

    struct raw_answer a;
    struct s3_call get = {.who = ROOT,
                          .method = "GET",
                          .target = "/album/big",
                          .headers = "range: bytes=5242870-5242887\r\n"};
    s3_call(t, &get, &a);
    assert_int_equal(a.status, 206);
    assert_true(slice_eq(slice_of(raw_body(&a).p, 10), slice_of(first.p + 5 * MIB - 10, 10)));
    assert_true(slice_eq(slice_skip(raw_body(&a), 10), last));
    buf_fini(&a.all);
    s3_do(t, ROOT, "GET", "/album?uploads", 200, "<IsTruncated>false</IsTruncated>");
    fix_free(&first);
}

static void
multipart_refusals(void **state)
{
    struct s3_fix *t = *state;
    char id[80], target[256], etag[33];
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload_begin(t, "/album/big?uploads", id, sizeof id);
    part_put(t, id, 1, SLICE_LIT("x"), etag);
    static const char *const numbers[] = {"0", "10001", "x", "", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        snprintf(target, sizeof target, "/album/big?partNumber=%s&uploadId=%s", numbers[i], id);
        s3_send(t, ROOT, "PUT", target, NULL, "x", 400, "<Code>InvalidArgument</Code>");
    }
    s3_send(t, ROOT, "PUT", "/album/big?partNumber=1", NULL, "x", 400,
            "<Code>InvalidArgument</Code>");
    s3_send(t, ROOT, "PUT", "/album/big?partNumber=1&uploadId=none", NULL, "x", 404,
            "<Code>NoSuchUpload</Code>");
    snprintf(target, sizeof target, "/album/other?partNumber=1&uploadId=%s", id);
    s3_send(t, ROOT, "PUT", target, NULL, "x", 404, "<UploadId>");
    snprintf(target, sizeof target, "/album/big?uploadId=%s", id);
    s3_send(t, ROOT, "POST", target, NULL, "<CompleteMultipartUpload/>", 400,
            "<Code>MalformedXML</Code>");
    s3_send(t, ROOT, "POST", target, NULL,
            "<CompleteMultipartUpload><Part><PartNumber>0</PartNumber><ETag>a</ETag></Part>"
            "</CompleteMultipartUpload>",
            400, "<Code>MalformedXML</Code>");
    s3_send(t, ROOT, "POST", target, "x-amz-checksum-crc32: AAAAAA==-a\r\n",
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>"
            "</CompleteMultipartUpload>",
            400, "Value for x-amz-checksum-crc32 header is invalid.");
    s3_do(t, ANN, "GET", target, 403, NULL);
    s3_do(t, ANN, "DELETE", target, 403, NULL);
    s3_do(t, ROOT, "DELETE", target, 204, NULL);
    s3_do(t, ROOT, "DELETE", target, 404, "<Code>NoSuchUpload</Code>");
    s3_do(t, ROOT, "GET", target, 404, "<Code>NoSuchUpload</Code>");
    assert_int_equal(fix_count(&t->f, FIX_BLOBS), 0);
}

static void
parts_by_copy(void **state)
{
    struct s3_fix *t = *state;
    char id[80], target[256], etags[2][33];
    static const int numbers[] = {1, 2};
    struct slice bytes = fix_bytes(3, 6 * MIB);
    struct s3_call put = {.who = ROOT, .method = "PUT", .target = "/album/source", .body = bytes};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_expect(t, &put, 200, NULL);
    upload_begin(t, "/album/big?uploads", id, sizeof id);
    for (int i = 0; i < 2; i++) {
        struct raw_answer a;
        snprintf(target, sizeof target, "/album/big?partNumber=%d&uploadId=%s", i + 1, id);
        struct s3_call c = {.who = ROOT,
                            .method = "PUT",
                            .target = target,
                            .headers = i == 0 ? "x-amz-copy-source: album/source\r\n"
                                              : "x-amz-copy-source: album/source\r\n"
                                                "x-amz-copy-source-range: bytes=10-19\r\n"};
        s3_call(t, &c, &a);
        assert_int_equal(a.status, 200);
        struct slice etag = s3_element(&a, "ETag");
        assert_int_equal(etag.n, 32 + 12); /* with its two &quot; */
        memcpy(etags[i], etag.p + 6, 32);
        etags[i][32] = '\0';
        buf_fini(&a.all);
    }
    s3_send(t, ROOT, "PUT", target,
            "x-amz-copy-source: album/source\r\nx-amz-copy-source-range: bytes=99999999-\r\n", "",
            400, "must be of the form bytes=first-last");
    s3_send(t, ROOT, "PUT", target,
            "x-amz-copy-source: album/source\r\nx-amz-copy-source-range: bytes=9-6291456\r\n", "",
            400, "Range specified is not valid for source object of size: 6291456");
    s3_send(t, ROOT, "PUT", target,
            "x-amz-copy-source: album/source\r\nx-amz-copy-source-range: 1-2\r\n", "", 400,
            "<Code>InvalidArgument</Code>");
    complete(t, id, numbers, (const char(*)[33])etags, 2, 200, NULL);
    struct raw_answer a;
    struct s3_call get = {.who = ROOT, .method = "GET", .target = "/album/big"};
    s3_call(t, &get, &a);
    assert_int_equal(a.length, 6 * MIB + 10);
    assert_true(slice_eq(slice_of(raw_body(&a).p, 6 * MIB), bytes));
    assert_true(slice_eq(slice_skip(raw_body(&a), 6 * MIB), slice_of(bytes.p + 10, 10)));
    buf_fini(&a.all);
    fix_free(&bytes);
}

/* ---- bodies in chunks ---- */

static void
chunks_with_trailer(void **state)
{
    struct s3_fix *t = *state;
    struct s3_call c = {.who = ROOT,
                        .method = "PUT",
                        .target = "/album/a",
                        .hash = "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                        .headers = "content-encoding: aws-chunked\r\n"
                                   "x-amz-decoded-content-length: 5\r\n"
                                   "x-amz-trailer: x-amz-checksum-crc32\r\n"};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    c.body = SLICE_LIT("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n");
    s3_expect(t, &c, 200, "x-amz-checksum-crc32: NhCmhg==\r\n");
    struct raw_answer a;
    struct s3_call get = {.who = ROOT,
                          .method = "GET",
                          .target = "/album/a",
                          .headers = "x-amz-checksum-mode: ENABLED\r\n"};
    s3_call(t, &get, &a);
    assert_true(slice_eqs(raw_body(&a), "hello"));
    assert_true(raw_has(&a, "x-amz-checksum-crc32: NhCmhg==\r\n"));
    assert_true(raw_has(&a, "x-amz-checksum-type: FULL_OBJECT\r\n"));
    assert_false(raw_has(&a, "Content-Encoding"));
    buf_fini(&a.all);
    c.target = "/album/b";
    c.body = SLICE_LIT("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    s3_expect(t, &c, 400, "<Code>BadDigest</Code>");
    c.body = SLICE_LIT("5\r\nhellO");
    s3_expect(t, &c, 400, "<Code>IncompleteBody</Code>");
    s3_do(t, ROOT, "HEAD", "/album/b", 404, NULL);
}

/* ---- documents ---- */

#define RULES                                                                                    \
    "<NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"              \
    "<CloudFunctionConfiguration><CloudFunction>arn:aws:lambda:us-east-1:000000000000:function:" \
    "thumbnail</CloudFunction><Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration>"    \
    "</NotificationConfiguration>"

static void
notifications(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ROOT, "GET", "/album?notification", 200, "/\"></NotificationConfiguration>");
    s3_send(t, ROOT, "PUT", "/album?notification", NULL, RULES, 200, NULL);
    assert_int_equal(t->notifications, 1);
    s3_do(t, ROOT, "GET", "/album?notification", 200, "function:thumbnail</CloudFunction>");
    t->notification_err = ERR_LOOP;
    s3_send(t, ROOT, "PUT", "/album?notification", NULL, RULES, 400, "<Code>InvalidRequest</Code>");
    t->notification_err = ERR_INVALID;
    s3_send(t, ROOT, "PUT", "/album?notification", NULL, "<NotificationConfiguration/>", 400,
            "<Code>InvalidArgument</Code><Message>because of the test</Message>");
    t->notification_err = ERR_NONE;
    s3_do(t, ROOT, "GET", "/album?notification", 200, "function:thumbnail</CloudFunction>");
    s3_send(t, ROOT, "PUT", "/album?notification", NULL, "<Rules/>", 400, "MalformedXML");
    s3_send(t, ANN, "PUT", "/album?notification", NULL, RULES, 403, NULL);
    assert_int_equal(t->notifications, 3);
    s3_send(t, ROOT, "PUT", "/album?notification", NULL, "<NotificationConfiguration/>", 200, NULL);
    assert_int_equal(t->notifications, 4);
    s3_do(t, ROOT, "GET", "/album?notification", 200, "/\"></NotificationConfiguration>");
}

/* ---- what there is and what there is not ---- */

static void
sub_resources(void **state)
{
    struct s3_fix *t = *state;
    static const struct {
        const char *method, *target;
        int status;
        const char *part;
    } rows[] = {
        {"GET", "/album?versioning", 200, "<VersioningConfiguration"},
        {"GET", "/album?accelerate", 200, "<AccelerateConfiguration"},
        {"GET", "/album?logging", 200, "<BucketLoggingStatus"},
        {"GET", "/album?requestPayment", 200, "<Payer>BucketOwner</Payer>"},
        {"GET", "/album?acl", 200, "<Permission>FULL_CONTROL</Permission>"},
        {"GET", "/album/e?acl", 200, "xsi:type=\"CanonicalUser\""},
        {"GET", "/album/none?acl", 404, "NoSuchKey"},
        {"GET", "/album/e?tagging", 200, "<TagSet></TagSet>"},
        {"GET", "/album?tagging", 404, "NoSuchTagSet"},
        {"GET", "/album?object-lock", 404, "ObjectLockConfigurationNotFoundError"},
        {"GET", "/album?cors", 404, "NoSuchCORSConfiguration"},
        {"GET", "/album?lifecycle", 404, "NoSuchLifecycleConfiguration"},
        {"GET", "/album?website", 404, "NoSuchWebsiteConfiguration"},
        {"GET", "/album?publicAccessBlock", 404, "NoSuchPublicAccessBlockConfiguration"},
        {"GET", "/album?encryption", 404, "ServerSideEncryptionConfigurationNotFoundError"},
        {"GET", "/album?ownershipControls", 404, "OwnershipControlsNotFoundError"},
        {"GET", "/album?replication", 404, "ReplicationConfigurationNotFoundError"},
        {"GET", "/album?policyStatus", 200, "<IsPublic>false</IsPublic>"},
        {"PUT", "/album?acl", 400, "<MissingHeaderName>x-amz-acl</MissingHeaderName>"},
        {"PUT", "/album/e?tagging", 400, "MissingRequestBodyError"},
        {"PUT", "/album/e?restore", 405, "MethodNotAllowed"},
        {"POST", "/album/e?restore", 501, "NotImplemented"},
        {"POST", "/album/e?select&select-type=2", 501, "NotImplemented"},
        {"GET", "/album/e?torrent", 501, "NotImplemented"},
        {"GET", "/album/e?attributes", 400, "x-amz-object-attributes header"},
        {"GET", "/album?inventory", 501, "NotImplemented"},
        {"POST", "/album", 412, "<Condition>Bucket POST must be of the enclosure-type"},
        {"POST", "/album/e", 405, "Allow: GET, HEAD, PUT, DELETE\r\n"},
        {"POST", "/album?location", 405, "Allow: GET\r\n"},
        {"PATCH", "/album/e", 405, "<Method>PATCH</Method>"},
        {"DELETE", "/", 405, "MethodNotAllowed"},
        {"GET", "/album/e?x-id=GetObject&unknown", 200, "\r\n\r\ne"},
        {"GET", "/album/e?versions", 200, "\r\n\r\ne"},
    };
    album(t, tree, ARRAY_LEN(tree));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        s3_do(t, ROOT, rows[i].method, rows[i].target, rows[i].status, rows[i].part);
    s3_do(t, NOBODY, "OPTIONS", "/album/e", 400, "<Code>BadRequest</Code>");
    s3_do(t, NOBODY, "GET", "/album?cors", 403, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(listings),
        S3_TEST(paging),
        S3_TEST(copies),
        S3_TEST(delete_many),
        S3_TEST(delete_many_refusals),
        S3_TEST(multipart),
        S3_TEST(multipart_refusals),
        S3_TEST(parts_by_copy),
        S3_TEST(chunks_with_trailer),
        S3_TEST(notifications),
        S3_TEST(sub_resources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
