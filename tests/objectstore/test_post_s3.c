/*
 * Whole uploads of a browser's form over a connection: what is stored, what is answered, and what
 * is refused in S3's words.
 */
#include "base/err.h"
#include "base/sigv4.h"
#include "tests/objectstore/s3_fixture.h"

#define B "--xYz"
#define TYPE "content-type: multipart/form-data; boundary=xYz\r\n"
#define END "\r\n" B "--\r\n"
#define HELLO_MD5 "5d41402abc4b2a76b9719d911017c592"

struct upload {
    const char *who;        /* NULL: nobody signs */
    const char *any;        /* names the policy allows with any value, a blank between them */
    const char *conditions; /* more of the policy, as JSON; NULL: none */
    const char *fields;     /* lines "name=value\n", before the signature's */
    const char *file;       /* its content; NULL: "hello" */
    const char *tail;       /* instead of the form's end */
    const char *target;     /* NULL: /album */
    const char *host;
    const char *filename; /* as a browser sends it; NULL: hello.txt with a path */
    bool no_file, no_filename, v2;
    int64_t ends_in_s; /* of the policy; 0: an hour */
};

/* ---- making a form ---- */

static void
put_field(struct buf *b, const char *name, struct slice value)
{
    buf_printf(b, B "\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%.*s\r\n", name,
               SLICE_FMT(value));
}

static void
put_fields(struct buf *b, struct slice lines)
{
    char name[100];
    while (lines.n > 0) {
        struct slice value, line = slice_cut(lines, '\n', &lines);
        struct slice left = slice_cut(line, '=', &value);
        snprintf(name, sizeof name, "%.*s", SLICE_FMT(left));
        put_field(b, name, value);
    }
}

static void
put_file(struct buf *b, const struct upload *u)
{
    if (u->no_file) {
        buf_puts(b, END);
        return;
    }
    buf_puts(b, B "\r\nContent-Disposition: form-data; name=\"file\"");
    if (!u->no_filename)
        buf_printf(b, "; filename=\"%s\"",
                   u->filename == NULL ? "C:\\dir\\hello.txt" : u->filename);
    buf_puts(b, "\r\nContent-Type: image/png\r\n\r\n");
    buf_puts(b, u->file == NULL ? "hello" : u->file);
    buf_puts(b, u->tail == NULL ? END : u->tail);
}

/* The policy's JSON, as base64. */
static void
put_policy(struct buf *policy, const struct upload *u, const char *credential, const char *date)
{
    char ends[CLOCK_TEXT_MAX];
    struct buf json;
    struct slice names = slice_str(u->any);
    buf_init(&json, 1 << 16);
    clock_iso8601(clock_wall_ms() + (u->ends_in_s == 0 ? 3600 : u->ends_in_s) * 1000, ends);
    buf_printf(&json, "{\"expiration\": \"%s\", \"conditions\": [{\"bucket\": \"album\"}", ends);
    if (!u->v2)
        buf_printf(&json,
                   ", {\"x-amz-algorithm\": \"" SIGV4_ALGORITHM "\"}, {\"x-amz-credential\": "
                   "\"%s\"}, {\"x-amz-date\": \"%s\"}",
                   credential, date);
    while (names.n > 0) {
        struct slice name = slice_cut(names, ' ', &names);
        buf_printf(&json, ", [\"starts-with\", \"$%.*s\", \"\"]", SLICE_FMT(name));
    }
    if (u->conditions != NULL)
        buf_printf(&json, ", %s", u->conditions);
    buf_puts(&json, "]}");
    base64_encode(policy, json.p, json.n);
    buf_fini(&json);
}

static void
put_signature_v4(struct buf *b, const struct upload *u)
{
    char date[CLOCK_TEXT_MAX], credential[100], hex[SIGV4_HEX + 1];
    uint8_t key[SHA256_BYTES];
    struct buf policy;
    buf_init(&policy, 1 << 16);
    clock_basic(clock_wall_ms(), date);
    snprintf(credential, sizeof credential, "%s/%.8s/eu-x/s3/aws4_request", u->who, date);
    put_policy(&policy, u, credential, date);
    assert_int_equal(sigv4_signing_key(slice_str(s3_secret(u->who)), slice_of(date, 8),
                                       SLICE_LIT("eu-x"), SLICE_LIT("s3"), key),
                     ERR_NONE);
    sigv4_sign(key, buf_slice(&policy), hex);
    put_field(b, "x-amz-algorithm", SLICE_LIT(SIGV4_ALGORITHM));
    put_field(b, "X-Amz-Credential", slice_str(credential));
    put_field(b, "x-amz-date", slice_str(date));
    put_field(b, "Policy", buf_slice(&policy));
    put_field(b, "x-amz-signature", slice_str(hex));
    buf_fini(&policy);
}

static void
put_signature_v2(struct buf *b, const struct upload *u)
{
    uint8_t mac[SHA1_BYTES];
    struct buf policy, text;
    buf_init(&policy, 1 << 16);
    buf_init(&text, 100);
    put_policy(&policy, u, "", "");
    digest_hmac_sha1(slice_str(s3_secret(u->who)), buf_slice(&policy), mac);
    base64_encode(&text, mac, sizeof mac);
    put_field(b, "AWSAccessKeyId", slice_str(u->who));
    put_field(b, "policy", buf_slice(&policy));
    put_field(b, "signature", buf_slice(&text));
    buf_fini(&policy);
    buf_fini(&text);
}

static void
upload_call(struct s3_fix *t, const struct upload *u, struct raw_answer *a)
{
    struct buf body;
    buf_init(&body, 8 << 20);
    put_fields(&body, slice_str(u->fields));
    if (u->who != NULL)
        (u->v2 ? put_signature_v2 : put_signature_v4)(&body, u);
    put_file(&body, u);
    assert_int_equal(body.err, ERR_NONE);
    struct s3_call c = {.method = "POST",
                        .target = u->target == NULL ? "/album" : u->target,
                        .host = u->host,
                        .headers = TYPE,
                        .body = buf_slice(&body)};
    s3_call(t, &c, a);
    buf_fini(&body);
}

static void
upload(struct s3_fix *t, const struct upload *u, int status, const char *part)
{
    struct raw_answer a;
    upload_call(t, u, &a);
    if (a.status != status || (part != NULL && !s3_says(&a, part)))
        fail_msg("%s %s %s: wanted %d %s, got\n%s", u->fields, u->any, u->conditions, status, part,
                 a.all.p == NULL ? "nothing" : a.all.p);
    buf_fini(&a.all);
}

/* By root, who may name any key and these fields. */
static void
upload_any(struct s3_fix *t, const char *any, const char *fields, int status, const char *part)
{
    struct upload u = {.who = ROOT, .any = any, .fields = fields};
    upload(t, &u, status, part);
}

/* ---- what is stored and answered ---- */

static void
uploads(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct upload u = {.who = ROOT, .any = "key", .fields = "key=a/hello 1\n"};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload_call(t, &u, &a);
    assert_int_equal(a.status, 204);
    assert_true(raw_has(&a, "ETag: \"" HELLO_MD5 "\"\r\n"));
    assert_true(raw_has(&a, "/album/a%2Fhello%201\r\n"));
    assert_int_equal(a.all.n, a.head);
    buf_fini(&a.all);
    s3_do(t, ROOT, "GET", "/album/a/hello%201", 200, "\r\n\r\nhello");
    s3_do(t, ROOT, "HEAD", "/album/a/hello%201", 200, "Content-Type: binary/octet-stream\r\n");

    struct upload named = {.who = ROOT,
                           .any = "key success_action_status",
                           .fields = "key=in/${filename}\nsuccess_action_status=201\n",
                           .target = "/",
                           .host = "album.localhost"};
    upload_call(t, &named, &a);
    assert_int_equal(a.status, 201);
    assert_true(s3_says(&a, "<PostResponse><Location>http://album.localhost/in%2Fhello.txt"
                            "</Location><Bucket>album</Bucket><Key>in/hello.txt</Key>"
                            "<ETag>&quot;" HELLO_MD5 "&quot;</ETag></PostResponse>"));
    assert_true(raw_has(&a, "Location: http://album.localhost/in%2Fhello.txt\r\n"));
    buf_fini(&a.all);
    s3_do(t, ROOT, "GET", "/album/in/hello.txt", 200, "\r\n\r\nhello");

    named.fields = "key=plain\nsuccess_action_status=200\n";
    upload(t, &named, 200, "Content-Length: 0\r\n");
    named.fields = "key=plain\nsuccess_action_status=404\n";
    upload(t, &named, 204, NULL);
    u.fields = "key=x-${filename}\n"; /* a file without a name leaves it as it stands */
    u.no_filename = true;
    upload(t, &u, 204, "x-%24%7Bfilename%7D\r\n");
}

static void
description(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct upload u = {.who = ANN,
                       .any = "key Content-Type Cache-Control content-disposition Content-Encoding "
                              "expires x-amz-meta-Colour acl x-amz-checksum-crc32 content-md5 "
                              "x-amz-storage-class",
                       .fields = "key=a\n"
                                 "content-type=image/x-test\n"
                                 "Cache-Control=max-age=9\n"
                                 "Content-Disposition=inline; filename=${filename}\n"
                                 "Content-Encoding=gzip\n"
                                 "Expires=never\n"
                                 "x-amz-meta-Colour=blue\n"
                                 "x-amz-meta-colour=red\n"
                                 "acl=private\n"
                                 "x-amz-checksum-crc32=NhCmhg==\n"
                                 "Content-MD5=XUFAKrxLKna5cZ2REBfFkg==\n"
                                 "x-amz-storage-class=STANDARD_IA\n"
                                 "x-ignore-it=1\n"};
    s3_do(t, ANN, "PUT", "/album", 200, NULL);
    upload(t, &u, 204, "x-amz-checksum-crc32: NhCmhg==\r\n");
    struct s3_call c = {.who = ANN, .method = "GET", .target = "/album/a"};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    assert_true(raw_has(&a, "Content-Type: image/x-test\r\n"));
    assert_true(raw_has(&a, "Cache-Control: max-age=9\r\n"));
    assert_true(raw_has(&a, "Content-Disposition: inline; filename=hello.txt\r\n"));
    assert_true(raw_has(&a, "Content-Encoding: gzip\r\n"));
    assert_true(raw_has(&a, "Expires: never\r\n"));
    assert_true(raw_has(&a, "x-amz-meta-colour: blue,red\r\n"));
    assert_true(raw_has(&a, "x-amz-storage-class: STANDARD_IA\r\n"));
    buf_fini(&a.all);
}

static void
description_refused(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload_any(t, "key x-amz-checksum-crc32", "key=b\nx-amz-checksum-crc32=AAAAAA==\n", 400,
               "<Code>BadDigest</Code>");
    upload_any(t, "key x-amz-checksum-crc32", "key=b\nx-amz-checksum-crc32=nonsense\n", 400,
               "<Code>InvalidRequest</Code>");
    upload_any(t, "key content-md5", "key=b\nContent-MD5=AAAAAAAAAAAAAAAAAAAAAA==\n", 400,
               "<Code>BadDigest</Code>");
    upload_any(t, "key x-amz-storage-class", "key=b\nx-amz-storage-class=FAST\n", 400,
               "<StorageClassRequested>FAST</StorageClassRequested>");
    s3_do(t, ROOT, "GET", "/album/b", 404, "<Code>NoSuchKey</Code>");
}

static void
tagging(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload_any(t, "key tagging",
               "key=a\ntagging=<Tagging><TagSet><Tag><Key>k</Key><Value>v w&amp;</Value></Tag>"
               "</TagSet></Tagging>\n",
               400, "<Code>InvalidTag</Code>");
    upload_any(t, "key tagging", "key=a\ntagging=not-xml\n", 400, "<Code>MalformedXML</Code>");
    upload_any(t, "key tagging",
               "key=a\ntagging=<Tagging><TagSet><Tag><Key>k</Key><Value>v=w</Value></Tag>"
               "</TagSet></Tagging>\n",
               204, NULL);
    s3_do(t, ROOT, "GET", "/album/a?tagging", 200, "<Key>k</Key><Value>v=w</Value>");
}

static void
redirects(void **state)
{
    struct s3_fix *t = *state;
    const char *any = "key success_action_redirect";
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload_any(t, any, "key=a/b c\nsuccess_action_redirect=https://example.org/done\n", 303,
               "Location: https://example.org/done?bucket=album&key=a%2Fb+c&etag=%22" HELLO_MD5
               "%22\r\n");
    upload_any(t, any, "key=a\nsuccess_action_redirect=http://example.org/?x=1\n", 303,
               "Location: http://example.org/?x=1&bucket=album&key=a&etag=");
    upload_any(t, any, "key=a\nsuccess_action_redirect=/relative\n", 204, NULL);
    upload_any(t, any, "key=a\nsuccess_action_redirect=http://x/\rSet-Cookie: a=b\n", 204, NULL);
    upload_any(t, "key redirect", "key=a\nredirect=http://example.org\n", 303,
               "Location: http://example.org?bucket=album");
}

/* ---- what is refused ---- */

static void
policy_refused(void **state)
{
    static const struct {
        struct upload u;
        int status;
        const char *part;
    } cases[] = {
        {{.conditions = "{\"key\": \"b\"}"},
         403,
         "Invalid according to Policy: Policy Condition failed: [&quot;eq&quot;, &quot;$key&quot;"},
        {{.any = NULL}, 403, "Invalid according to Policy: Extra input fields: key"},
        {{.any = "key", .ends_in_s = -5},
         403,
         "<Message>Invalid according to Policy: Policy expired.</Message>"},
        {{.any = "key", .conditions = "[]"}, 400, "<Code>InvalidPolicyDocument</Code>"},
        {{.any = "key", .conditions = "[\"content-length-range\", 0, 4]"},
         400,
         "<Code>EntityTooLarge</Code>"},
        {{.any = "key", .conditions = "[\"content-length-range\", 6, 9]"},
         400,
         "<ProposedSize>5</ProposedSize><MinSizeAllowed>6</MinSizeAllowed>"},
        {{.any = "key", .conditions = "[\"content-length-range\", -2, -1]", .file = ""},
         400,
         "<Code>EntityTooLarge</Code>"},
    };
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct upload u = cases[i].u;
        u.who = ROOT;
        u.fields = "key=a\n";
        upload(t, &u, cases[i].status, cases[i].part);
    }
    struct upload fits = {.who = ROOT,
                          .any = "key",
                          .fields = "key=a\n",
                          .conditions = "[\"content-length-range\", 5, 5]"};
    upload(t, &fits, 204, NULL);
}

static void
signer_refused(void **state)
{
    static const struct {
        const char *who, *fields;
        int status;
        const char *part;
    } cases[] = {
        {ROOT, "ky=a\n", 400,
         "<Code>InvalidArgument</Code><Message>Bucket POST must contain a field named 'key'.  If"},
        {ANN, "key=a\n", 403, "<Code>AccessDenied</Code>"},
        {NOBODY, "key=a\n", 403, "<Code>AccessDenied</Code><Message>Access Denied</Message>"},
        {NOBODY, "key=a\nPolicy=e30=\n", 403, "<Code>AccessDenied</Code>"},
        {NOBODY, "key=a\nx-amz-signature=0\n", 400,
         "field named 'Policy'.  If it is specified, please check the order"},
        {NOBODY, "key=a\npolicy=e30=\nx-amz-signature=0\n", 400,
         "<ArgumentName>X-Amz-Algorithm</ArgumentName><ArgumentValue></ArgumentValue>"},
        {NOBODY, "key=a\npolicy=e30=\nAWSAccessKeyId=" ROOT "\n", 400,
         "<ArgumentName>Signature</ArgumentName>"},
        {NOBODY,
         "key=a\npolicy=e30=\nAWSAccessKeyId=" ROOT "\nsignature=AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
         400, "Please use AWS4-HMAC-SHA256."},
        {NOBODY,
         "key=a\npolicy=e30=\nx-amz-algorithm=AWS4-HMAC-SHA256\nx-amz-date=20260101T000000Z\n"
         "x-amz-credential=a/b\nx-amz-signature=0\n",
         400, "<ArgumentName>X-Amz-Credential</ArgumentName>"},
        {NOBODY,
         "key=a\npolicy=e30=\nx-amz-algorithm=AWS4-HMAC-SHA256\nx-amz-date=yesterday\n"
         "x-amz-credential=" ROOT "/20260101/x/s3/aws4_request\nx-amz-signature=0\n",
         400, "<ArgumentName>X-Amz-Date</ArgumentName>"},
        {NOBODY,
         "key=a\npolicy=e30=\nx-amz-algorithm=AWS4\nx-amz-date=20260101T000000Z\n"
         "x-amz-credential=" ROOT "/20260101/x/s3/aws4_request\nx-amz-signature=0\n",
         400, "<ArgumentName>X-Amz-Algorithm</ArgumentName>"},
        {NOBODY,
         "key=a\npolicy=e30=\nx-amz-algorithm=AWS4-HMAC-SHA256\nx-amz-date=20260101T000000Z\n"
         "x-amz-credential=nobody/20260101/x/s3/aws4_request\nx-amz-signature=0\n",
         403, "<Code>InvalidAccessKeyId</Code>"},
        {ROOT, "key=\xff\n", 400, "<Code>InvalidURI</Code>"},
    };
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct upload u = {.who = cases[i].who, .any = "key", .fields = cases[i].fields};
        upload(t, &u, cases[i].status, cases[i].part);
    }
    s3_do(t, ROOT, "GET", "/album?list-type=2", 200, "<KeyCount>0</KeyCount>");
}

static void
tampered(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct buf body;
    struct upload u = {.who = ROOT, .any = "key", .fields = "key=a\n"};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    buf_init(&body, 1 << 16);
    put_fields(&body, slice_str(u.fields));
    put_signature_v4(&body, &u);
    put_file(&body, &u);
    char *policy = strstr(body.p, "eyJ");
    policy[20] = policy[20] == 'A' ? 'B' : 'A';
    struct s3_call c = {
        .method = "POST", .target = "/album", .headers = TYPE, .body = buf_slice(&body)};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 403);
    assert_true(s3_says(&a, "<Code>SignatureDoesNotMatch</Code>"));
    assert_true(s3_says(&a, "<StringToSign>eyJ"));
    buf_fini(&a.all);
    buf_fini(&body);
}

static void
forms_refused(void **state)
{
    static const char second[] =
        "\r\n" B "\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n2" END;
    struct s3_fix *t = *state;
    struct s3_call c = {.method = "POST", .target = "/album", .body = SLICE_LIT("a=b")};
    struct upload u = {.who = ROOT, .any = "key", .fields = "key=a\n", .tail = second};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload(t, &u, 400, "<ArgumentName>file</ArgumentName><ArgumentValue>2</ArgumentValue>");
    u.tail = "\r\n" B;
    upload(t, &u, 400, "<Code>MalformedPOSTRequest</Code>");
    u.tail = NULL;
    u.no_file = true;
    upload(t, &u, 400, "POST requires exactly one file upload per request.");
    u.no_file = false;
    u.target = "/none";
    upload(t, &u, 404, "<Code>NoSuchBucket</Code>");

    s3_expect(t, &c, 412, "<Condition>Bucket POST must be of the enclosure-type");
    c.headers = "content-type: multipart/form-data\r\n";
    s3_expect(t, &c, 400, "<Code>MalformedPOSTRequest</Code>");
    c.headers = TYPE;
    s3_expect(t, &c, 400, "<Code>MalformedPOSTRequest</Code>");
    c.who = ROOT;
    s3_expect(t, &c, 400, "Only one auth mechanism allowed");
    c.who = NOBODY;
    c.no_length = true;
    c.body = SLICE_NONE;
    s3_expect(t, &c, 411, "<Code>MissingContentLength</Code>");
    s3_do(t, ROOT, "GET", "/album?list-type=2", 200, "<KeyCount>0</KeyCount>");
}

static void
fields_too_large(void **state)
{
    struct s3_fix *t = *state;
    struct buf fields;
    buf_init(&fields, 1 << 20);
    buf_puts(&fields, "key=a\nx-amz-meta-a=");
    for (int i = 0; i < 21 * 1024; i++)
        buf_putc(&fields, 'v');
    upload_any(t, "key", fields.p, 404, "<Code>NoSuchBucket</Code>");
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload_any(t, "key", fields.p, 400,
               "<MaxPostPreDataLengthBytes>20480</MaxPostPreDataLengthBytes>");
    /* Variables may not make of a small form a large one. */
    buf_reset(&fields);
    buf_puts(&fields, "key=a\nx-amz-meta-a=");
    for (int i = 0; i < 1000; i++)
        buf_puts(&fields, "${filename}");
    buf_putc(&fields, '\n');
    struct upload u = {.who = ROOT,
                       .any = "key x-amz-meta-a",
                       .fields = fields.p,
                       .filename = "a name of twenty-six bytes"};
    upload(t, &u, 400, "<Code>MaxPostPreDataLengthExceeded</Code>");
    buf_fini(&fields);
}

/* ---- bytes, others, other origins ---- */

static void
large_file(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct slice bytes = fix_bytes(7, 3 << 20);
    char *text = chk_calloc(1, bytes.n + 1);
    for (size_t i = 0; i < bytes.n; i++) /* near to binary: no NUL, more CR */
        text[i] = bytes.p[i] == '\0' ? '\r' : bytes.p[i];
    struct upload u = {.who = ROOT, .any = "key", .fields = "key=${filename}\n", .file = text};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload(t, &u, 204, NULL);
    struct s3_call c = {.who = ROOT, .method = "GET", .target = "/album/hello.txt"};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    assert_true(slice_eq(raw_body(&a), slice_of(text, bytes.n)));
    buf_fini(&a.all);
    /* Over the limit in mid-file: nothing of it stays. */
    u.conditions = "[\"content-length-range\", 0, 2500000]";
    u.fields = "key=other\n";
    upload(t, &u, 400, "<MaxSizeAllowed>2500000</MaxSizeAllowed>");
    s3_do(t, ROOT, "GET", "/album/other", 404, NULL);
    free(text);
    fix_free(&bytes);
}

static void
other_signers(void **state)
{
    struct s3_fix *t = *state;
    struct upload v2 = {.who = ROOT, .any = "key", .fields = "key=by-v2\n", .v2 = true};
    struct upload anyone = {.fields = "key=in/box\n"};
    struct upload ann = {.who = ANN, .any = "key", .fields = "key=in/ann\n"};
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    upload(t, &v2, 400, "Please use AWS4-HMAC-SHA256.");
    t->sigv2 = true;
    upload(t, &v2, 204, NULL);
    s3_do(t, ROOT, "GET", "/album/by-v2", 200, NULL);

    s3_send(t, ROOT, "PUT", "/album?policy", NULL,
            "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\","
            "\"Action\":\"s3:PutObject\",\"Resource\":\"arn:aws:s3:::album/in/*\"}]}",
            204, NULL);
    upload(t, &anyone, 204, NULL);
    s3_do(t, ROOT, "GET", "/album/in/box", 200, "hello");
    upload(t, &ann, 204, NULL);
    anyone.fields = "key=out\n";
    upload(t, &anyone, 403, "<Code>AccessDenied</Code>");
}

/* A page of another origin reads the refusal. */
static void
cross_origin(void **state)
{
    struct s3_fix *t = *state;
    struct upload u = {.fields = "key=a\n"};
    struct buf body;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?cors", NULL,
            "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>"
            "<AllowedMethod>POST</AllowedMethod></CORSRule></CORSConfiguration>",
            200, NULL);
    buf_init(&body, 1 << 16);
    put_fields(&body, slice_str(u.fields));
    put_file(&body, &u);
    struct s3_call c = {.method = "POST",
                        .target = "/album",
                        .headers = TYPE "origin: https://example.org\r\n",
                        .body = buf_slice(&body)};
    s3_expect(t, &c, 403, "Access-Control-Allow-Origin: *\r\n");
    buf_fini(&body);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(uploads),        S3_TEST(description),   S3_TEST(description_refused),
        S3_TEST(tagging),        S3_TEST(redirects),     S3_TEST(policy_refused),
        S3_TEST(signer_refused), S3_TEST(tampered),      S3_TEST(forms_refused),
        S3_TEST(large_file),     S3_TEST(other_signers), S3_TEST(fields_too_large),
        S3_TEST(cross_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
