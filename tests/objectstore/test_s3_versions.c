/*
 * The S3 face of versions: which one a request means, delete markers, copies of old versions,
 * conditional deletions, listings of versions, storage classes.
 */
#include "tests/objectstore/s3_fixture.h"

#define ENABLE "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
#define SUSPEND "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
#define ID_MAX 32

static void
versioned(struct s3_fix *t)
{
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?versioning", NULL, ENABLE, 200, NULL);
}

/* A header of the answer as text; "" without one. */
static void
header_of(const struct raw_answer *a, const char *name, char out[ID_MAX])
{
    char line[64];
    struct slice rest;
    snprintf(line, sizeof line, "\r\n%s: ", name);
    ptrdiff_t at = slice_find(buf_slice(&a->all), slice_str(line));
    out[0] = '\0';
    if (at < 0)
        return;
    struct slice value =
        slice_cut(slice_skip(buf_slice(&a->all), (size_t)at + strlen(line)), '\r', &rest);
    snprintf(out, ID_MAX, "%.*s", SLICE_FMT(value));
}

/* The version id an operation answers with. */
static void
version_of(struct s3_fix *t, const char *method, const char *target, const char *headers,
           const char *body, int status, char id[ID_MAX])
{
    struct raw_answer a;
    struct s3_call c = {.who = ROOT,
                        .method = method,
                        .target = target,
                        .headers = headers,
                        .body = slice_str(body)};
    s3_call(t, &c, &a);
    if (a.status != status)
        fail_msg("%s %s: %s", method, target, a.all.p);
    header_of(&a, "x-amz-version-id", id);
    buf_fini(&a.all);
}

static const char *
target_of(const char *key, const char *id, char out[128])
{
    snprintf(out, 128, "/album/%s?versionId=%s", key, id);
    return out;
}

/* ---- the bucket ---- */

static void
setting(void **state)
{
    struct s3_fix *t = *state;
    static const struct {
        const char *body;
        int status;
        const char *code;
    } rows[] = {
        {"<VersioningConfiguration></VersioningConfiguration>", 400,
         "<Code>IllegalVersioningConfigurationException</Code>"},
        {"<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", 400,
         "<Code>MalformedXML</Code>"},
        {"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"
         "</VersioningConfiguration>",
         501, "<Code>NotImplemented</Code>"},
        {"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Maybe</MfaDelete>"
         "</VersioningConfiguration>",
         400, "<Code>MalformedXML</Code>"},
        {"<Versioning/>", 400, "<Code>MalformedXML</Code>"},
        {"", 400, "<Code>MissingRequestBodyError</Code>"},
    };
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ROOT, "GET", "/album?versioning", 200,
          "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
          "</VersioningConfiguration>");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        s3_send(t, ROOT, "PUT", "/album?versioning", NULL, rows[i].body, rows[i].status,
                rows[i].code);
    s3_send(t, ROOT, "PUT", "/album?versioning", NULL, ENABLE, 200, NULL);
    s3_do(t, ROOT, "GET", "/album?versioning", 200, "<Status>Enabled</Status>");
    s3_send(t, ROOT, "PUT", "/album?versioning", NULL, SUSPEND, 200, NULL);
    s3_do(t, ROOT, "GET", "/album?versioning", 200, "<Status>Suspended</Status>");
    s3_send(t, ANN, "PUT", "/album?versioning", NULL, ENABLE, 403, "<Code>AccessDenied</Code>");
    s3_send(t, ROOT, "PUT", "/nowhere?versioning", NULL, ENABLE, 404, "<Code>NoSuchBucket</Code>");
    /* With object lock there is no way back. */
    s3_send(t, ROOT, "PUT", "/locked", "x-amz-bucket-object-lock-enabled: True\r\n", "", 200, NULL);
    s3_do(t, ROOT, "GET", "/locked?versioning", 200, "<Status>Enabled</Status>");
    s3_send(t, ROOT, "PUT", "/locked?versioning", NULL, SUSPEND, 409,
            "<Code>InvalidBucketState</Code>");
    s3_send(t, ROOT, "PUT", "/odd", "x-amz-bucket-object-lock-enabled: yes\r\n", "", 400,
            "<Code>InvalidArgument</Code>");
}

/* ---- reading ---- */

static void
reads(void **state)
{
    struct s3_fix *t = *state;
    char v1[ID_MAX], v2[ID_MAX], marker[ID_MAX], line[96], target[128];
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    version_of(t, "PUT", "/album/a", NULL, "zero", 200, v1);
    assert_string_equal(v1, "");
    version_of(t, "GET", "/album/a", NULL, "", 200, v1);
    assert_string_equal(v1, "");
    s3_send(t, ROOT, "PUT", "/album?versioning", NULL, ENABLE, 200, NULL);
    version_of(t, "GET", "/album/a", NULL, "", 200, v1);
    assert_string_equal(v1, "null");
    version_of(t, "PUT", "/album/a", NULL, "one", 200, v1);
    version_of(t, "PUT", "/album/a", NULL, "two", 200, v2);
    assert_string_not_equal(v1, v2);
    s3_do(t, ROOT, "GET", "/album/a", 200, "\r\n\r\ntwo");
    s3_do(t, ROOT, "GET", target_of("a", v1, target), 200, "\r\n\r\none");
    s3_do(t, ROOT, "GET", target_of("a", "null", target), 200, "\r\n\r\nzero");
    snprintf(line, sizeof line, "x-amz-version-id: %s\r\n", v1);
    s3_do(t, ROOT, "HEAD", target_of("a", v1, target), 200, line);
    s3_send(t, ROOT, "GET", target_of("a", v1, target), "range: bytes=1-\r\n", "", 206,
            "\r\n\r\nne");
    s3_send(t, ROOT, "GET", target_of("a", v1, target), "if-none-match: *\r\n", "", 304, line);

    version_of(t, "DELETE", "/album/a", NULL, "", 204, marker);
    snprintf(line, sizeof line, "x-amz-version-id: %s\r\n", marker);
    s3_do(t, ROOT, "GET", "/album/a", 404, "<Code>NoSuchKey</Code>");
    s3_do(t, ROOT, "GET", "/album/a", 404, "x-amz-delete-marker: true\r\n");
    s3_do(t, ROOT, "HEAD", "/album/a", 404, line);
    s3_do(t, ROOT, "GET", target_of("a", marker, target), 405, "<Code>MethodNotAllowed</Code>");
    s3_do(t, ROOT, "GET", target, 405, "<ResourceType>DeleteMarker</ResourceType>");
    s3_do(t, ROOT, "GET", target, 405, "Allow: DELETE\r\n");
    s3_do(t, ROOT, "HEAD", target, 405, "Last-Modified: ");
    s3_do(t, ROOT, "HEAD", target, 405, "x-amz-delete-marker: true\r\n");
    s3_do(t, ROOT, "GET", "/album/a?versionId=00000000000fffff", 404,
          "<VersionId>00000000000fffff</VersionId>");
    s3_do(t, ROOT, "GET", "/album/none?versionId=null", 404, "<Code>NoSuchVersion</Code>");
    s3_do(t, ROOT, "GET", "/album/a?versionId=NULL", 400, "Invalid version id specified");
    s3_do(t, ROOT, "HEAD", "/album/a?versionId=", 400, NULL);
    /* Whoever may not list learns nothing of it. */
    s3_do(t, NOBODY, "GET", "/album/a", 403, NULL);
    s3_do(t, ANN, "GET", target, 403, NULL);
    s3_send(t, ROOT, "PUT", "/album/a?versionId=null", NULL, "x", 400,
            "This operation does not accept a version-id.");
}

/* Reading is granted, listing is not: what is gone is denied, with a marker or without. */
static void
reads_of_strangers(void **state)
{
    struct s3_fix *t = *state;
    char id[ID_MAX];
    versioned(t);
    s3_send(t, ROOT, "PUT", "/album?policy", NULL,
            "{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\","
            "\"Resource\":\"arn:aws:s3:::album/*\"}]}",
            204, NULL);
    version_of(t, "PUT", "/album/a", NULL, "x", 200, id);
    s3_do(t, NOBODY, "GET", "/album/a", 200, "\r\n\r\nx");
    s3_do(t, NOBODY, "GET", "/album/none", 403, "<Code>AccessDenied</Code>");
    s3_do(t, ROOT, "DELETE", "/album/a", 204, NULL);
    struct raw_answer a;
    struct s3_call c = {.method = "GET", .target = "/album/a"};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 403);
    assert_false(s3_says(&a, "delete-marker"));
    buf_fini(&a.all);
}

/* ---- deleting ---- */

static void
deletions(void **state)
{
    struct s3_fix *t = *state;
    char v1[ID_MAX], v2[ID_MAX], marker[ID_MAX], gone[ID_MAX], target[128];
    versioned(t);
    version_of(t, "PUT", "/album/a", NULL, "one", 200, v1);
    version_of(t, "PUT", "/album/a", NULL, "two", 200, v2);
    version_of(t, "DELETE", "/album/a", NULL, "", 204, marker);
    s3_do(t, ROOT, "DELETE", "/album", 409, "You must delete all versions in the bucket.");
    s3_do(t, ROOT, "DELETE", target_of("a", marker, target), 204, "x-amz-delete-marker: true\r\n");
    s3_do(t, ROOT, "GET", "/album/a", 200, "\r\n\r\ntwo");
    version_of(t, "DELETE", target_of("a", v2, target), NULL, "", 204, gone);
    assert_string_equal(gone, v2);
    s3_do(t, ROOT, "GET", "/album/a", 200, "\r\n\r\none");
    s3_do(t, ROOT, "DELETE", target, 204, NULL); /* again: nothing to do */
    s3_do(t, ROOT, "DELETE", "/album/a?versionId=x", 400, "Invalid version id specified");
    s3_do(t, ROOT, "DELETE", "/album/a?versionId=", 400, "cannot be the empty string");
    s3_send(t, ROOT, "PUT", "/album?versioning", NULL, SUSPEND, 200, NULL);
    version_of(t, "PUT", "/album/a", NULL, "null one", 200, gone);
    assert_string_equal(gone, "");
    version_of(t, "GET", "/album/a", NULL, "", 200, gone);
    assert_string_equal(gone, "null");
    version_of(t, "DELETE", "/album/a", NULL, "", 204, gone);
    assert_string_equal(gone, "null");
    s3_do(t, ROOT, "GET", "/album/a?versionId=null", 405, NULL);
    s3_do(t, ROOT, "DELETE", "/album/a?versionId=null", 204, "x-amz-delete-marker: true\r\n");
    s3_do(t, ROOT, "GET", "/album/a", 200, "\r\n\r\none");
    s3_do(t, ROOT, "DELETE", target_of("a", v1, target), 204, NULL);
    s3_do(t, ROOT, "DELETE", "/album", 204, NULL);
}

static void
conditional_deletions(void **state)
{
    struct s3_fix *t = *state;
    static const struct {
        const char *headers;
        int status;
        const char *part;
    } rows[] = {
        {"if-match: \"0\"\r\n", 412, "<Code>PreconditionFailed</Code>"},
        {"x-amz-if-match-size: 4\r\n", 412, NULL},
        {"x-amz-if-match-size: -3\r\n", 400, "<Code>InvalidArgument</Code>"},
        {"x-amz-if-match-last-modified-time: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 412, NULL},
        {"x-amz-if-match-last-modified-time: soon\r\n", 400, "<Code>InvalidArgument</Code>"},
        {"if-match: *\r\nx-amz-if-match-size: 3\r\n", 204, NULL},
        {"if-match: *\r\n", 404, "<Code>NoSuchKey</Code>"},
        {"x-amz-if-match-size: 3\r\n", 204, NULL}, /* nothing there has any size */
    };
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "one", 200, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        s3_send(t, ROOT, "DELETE", "/album/a", rows[i].headers, "", rows[i].status, rows[i].part);
    s3_send(t, ROOT, "PUT", "/album?versioning", NULL, ENABLE, 200, NULL);
    s3_do(t, ROOT, "DELETE", "/album/a", 204, NULL);
    s3_send(t, ROOT, "DELETE", "/album/a", "if-match: *\r\n", "", 412, NULL); /* a marker */
}

static void
many_deletions(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    struct buf body;
    char v1[ID_MAX], v2[ID_MAX], part[256];
    versioned(t);
    version_of(t, "PUT", "/album/a", NULL, "one", 200, v1);
    version_of(t, "PUT", "/album/b", NULL, "two", 200, v2);
    buf_init(&body, 1 << 16);
    buf_printf(&body,
               "<Delete><Object><Key>a</Key><VersionId>%s</VersionId><Size>3</Size></Object>"
               "<Object><Key>a</Key><VersionId>%s</VersionId></Object>"
               "<Object><Key>b</Key><Size>9</Size></Object><Object><Key>b</Key></Object>"
               "<Object><Key>b</Key><VersionId>none</VersionId></Object></Delete>",
               v1, v1);
    struct s3_call c = {
        .who = ROOT, .method = "POST", .target = "/album?delete", .body = buf_slice(&body)};
    s3_call(t, &c, &a);
    assert_int_equal(a.status, 200);
    snprintf(part, sizeof part,
             "<Deleted><Key>a</Key><VersionId>%s</VersionId></Deleted>"
             "<Deleted><Key>a</Key><VersionId>%s</VersionId></Deleted>",
             v1, v1);
    assert_true(s3_says(&a, part));
    assert_true(s3_says(&a, "<Error><Key>b</Key><Code>PreconditionFailed</Code>"));
    assert_true(s3_says(&a, "<Deleted><Key>b</Key><DeleteMarker>true</DeleteMarker>"
                            "<DeleteMarkerVersionId>"));
    assert_true(s3_says(&a, "<Error><Key>b</Key><VersionId>none</VersionId>"
                            "<Code>NoSuchVersion</Code>"));
    char marker[ID_MAX];
    snprintf(marker, sizeof marker, "%.*s", SLICE_FMT(s3_element(&a, "DeleteMarkerVersionId")));
    buf_fini(&a.all);
    buf_reset(&body);
    buf_printf(&body, "<Delete><Object><Key>b</Key><VersionId>%s</VersionId></Object></Delete>",
               marker);
    c.body = buf_slice(&body);
    snprintf(part, sizeof part,
             "<VersionId>%s</VersionId><DeleteMarker>true</DeleteMarker>"
             "<DeleteMarkerVersionId>%s</DeleteMarkerVersionId>",
             marker, marker);
    s3_expect(t, &c, 200, part);
    s3_do(t, ROOT, "GET", "/album/b", 200, "\r\n\r\ntwo");
    c.body = SLICE_LIT("<Delete><Object><Key>b</Key><Size>x</Size></Object></Delete>");
    s3_expect(t, &c, 400, "<Code>MalformedXML</Code>");
    buf_fini(&body);
}

/* ---- copying ---- */

static void
copies(void **state)
{
    struct s3_fix *t = *state;
    char v1[ID_MAX], v2[ID_MAX], marker[ID_MAX], made[ID_MAX], line[160], part[160];
    versioned(t);
    s3_do(t, ROOT, "PUT", "/plain", 200, NULL);
    version_of(t, "PUT", "/album/a%3Fb", "x-amz-meta-m: 1\r\n", "one", 200, v1);
    version_of(t, "PUT", "/album/a%3Fb", "x-amz-meta-m: 2\r\n", "two", 200, v2);
    snprintf(line, sizeof line, "x-amz-copy-source: album/a%%3Fb?versionId=%s\r\n", v1);
    snprintf(part, sizeof part, "x-amz-copy-source-version-id: %s\r\n", v1);
    s3_send(t, ROOT, "PUT", "/plain/c", line, "", 200, part);
    s3_do(t, ROOT, "GET", "/plain/c", 200, "x-amz-meta-m: 1\r\n");
    s3_do(t, ROOT, "GET", "/plain/c", 200, "\r\n\r\none");
    /* An older version onto its own key: it is back, as a new version. */
    version_of(t, "PUT", "/album/a%3Fb", line, "", 200, made);
    assert_string_not_equal(made, v1);
    s3_do(t, ROOT, "GET", "/album/a%3Fb", 200, "\r\n\r\none");
    snprintf(line, sizeof line, "x-amz-copy-source: album/a%%3Fb?versionId=%s\r\n", made);
    s3_send(t, ROOT, "PUT", "/album/a%3Fb", line, "", 400, "<Code>InvalidRequest</Code>");
    snprintf(part, sizeof part, "x-amz-copy-source-version-id: %s\r\n", made);
    s3_send(t, ROOT, "PUT", "/plain/d", "x-amz-copy-source: album/a%3Fb\r\n", "", 200, part);
    version_of(t, "PUT", "/plain/d", "x-amz-copy-source: plain/c\r\n", "", 200, made);
    assert_string_equal(made, "");

    version_of(t, "DELETE", "/album/a%3Fb", NULL, "", 204, marker);
    s3_send(t, ROOT, "PUT", "/plain/d", "x-amz-copy-source: album/a%3Fb\r\n", "", 404,
            "<Key>a?b</Key>");
    s3_send(t, ROOT, "PUT", "/plain/d", "x-amz-copy-source: album/a%3Fb\r\n", "", 404,
            "x-amz-delete-marker: true\r\n");
    snprintf(line, sizeof line, "x-amz-copy-source: album/a%%3Fb?versionId=%s\r\n", marker);
    s3_send(t, ROOT, "PUT", "/plain/d", line, "", 400, "refer to a delete marker");
    s3_send(t, ROOT, "PUT", "/plain/d", "x-amz-copy-source: album/a%3Fb?versionId=\r\n", "", 400,
            "<ArgumentName>x-amz-copy-source</ArgumentName>");
    s3_send(t, ROOT, "PUT", "/plain/d", "x-amz-copy-source: album/a%3Fb?versionId=zz\r\n", "", 400,
            "Invalid version id specified");
    s3_send(t, ROOT, "PUT", "/plain/d",
            "x-amz-copy-source: album/a%3Fb?versionId=0000000000000001\r\n", "", 404,
            "<Code>NoSuchVersion</Code>");
}

static void
copies_onto_themselves(void **state)
{
    struct s3_fix *t = *state;
#define ONTO "x-amz-copy-source: album/a\r\n"
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a",
            "x-amz-meta-m: 1\r\nx-amz-website-redirect-location: /x\r\n"
            "x-amz-storage-class: STANDARD_IA\r\n",
            "one", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", ONTO, "", 400, "<Code>InvalidRequest</Code>");
    s3_send(t, ROOT, "PUT", "/album/a", ONTO "x-amz-storage-class: STANDARD_IA\r\n", "", 400, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", ONTO "x-amz-storage-class: GLACIER\r\n", "", 200, NULL);
    s3_do(t, ROOT, "GET", "/album/a", 200, "x-amz-storage-class: GLACIER\r\n");
    s3_do(t, ROOT, "GET", "/album/a", 200, "x-amz-meta-m: 1\r\n");
    s3_do(t, ROOT, "GET", "/album/a", 200, "\r\n\r\none");
    s3_do(t, ROOT, "GET", "/album", 200, "<StorageClass>GLACIER</StorageClass>");
    struct raw_answer a;
    struct s3_call c = {.who = ROOT, .method = "HEAD", .target = "/album/a"};
    s3_call(t, &c, &a);
    assert_false(s3_says(&a, "redirect")); /* never copied */
    buf_fini(&a.all);
    s3_send(t, ROOT, "PUT", "/album/a", ONTO "x-amz-website-redirect-location: /y\r\n", "", 200,
            NULL);
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-website-redirect-location: /y\r\n");
    s3_do(t, ROOT, "HEAD", "/album/a", 200, "x-amz-meta-m: 1\r\n");
    s3_send(t, ROOT, "PUT", "/album/a", ONTO "x-amz-metadata-directive: REPLACE\r\n", "", 200,
            NULL);
    s3_call(t, &c, &a);
    assert_false(s3_says(&a, "x-amz-meta-m"));
    assert_false(s3_says(&a, "x-amz-storage-class"));
    buf_fini(&a.all);
#undef ONTO
}

/* ---- listing ---- */

static void
listing(void **state)
{
    struct s3_fix *t = *state;
    char id[ID_MAX], marker[ID_MAX], target[128], part[512];
    versioned(t);
    version_of(t, "PUT", "/album/a", "x-amz-storage-class: ONEZONE_IA\r\n", "one", 200, id);
    version_of(t, "DELETE", "/album/a", NULL, "", 204, marker);
    snprintf(part, sizeof part,
             "<DeleteMarker><Key>a</Key><VersionId>%s</VersionId><IsLatest>true</IsLatest>",
             marker);
    s3_do(t, ROOT, "GET", "/album?versions", 200, part);
    snprintf(part, sizeof part,
             "<Version><Key>a</Key><VersionId>%s</VersionId><IsLatest>false</IsLatest>", id);
    s3_do(t, ROOT, "GET", "/album?versions", 200, part);
    s3_do(t, ROOT, "GET", "/album?versions", 200, "<StorageClass>ONEZONE_IA</StorageClass>");
    snprintf(part, sizeof part,
             "<IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker>"
             "<NextVersionIdMarker>%s</NextVersionIdMarker>",
             marker);
    s3_do(t, ROOT, "GET", "/album?versions&max-keys=1", 200, part);
    snprintf(target, sizeof target, "/album?versions&key-marker=a&version-id-marker=%s", marker);
    struct raw_answer a;
    struct s3_call c = {.who = ROOT, .method = "GET", .target = target};
    s3_call(t, &c, &a);
    assert_true(s3_says(&a, id));
    assert_false(s3_says(&a, "<DeleteMarker>"));
    buf_fini(&a.all);
    s3_do(t, ROOT, "GET", "/album?versions&key-marker=a&version-id-marker=", 400,
          "A version-id marker cannot be empty.");
    s3_do(t, ROOT, "GET", "/album?versions&key-marker=a&version-id-marker=q", 400,
          "Invalid version id specified");
    s3_do(t, ROOT, "GET", "/album?versions&version-id-marker=null", 400,
          "cannot be specified without a key marker");
    s3_do(t, ROOT, "GET", "/album", 200, "<IsTruncated>false</IsTruncated>");
    s3_do(t, ROOT, "GET", "/album?versions&max-keys=0", 200, "<IsTruncated>false</IsTruncated>");
    s3_do(t, ROOT, "GET", "/album?prefix=%FF", 400, "<Code>InvalidURI</Code>");
    s3_do(t, ROOT, "GET", "/album?max-keys=2147483648", 400,
          "Argument max-keys must be an integer between 0 and 2147483647");
    s3_do(t, ROOT, "GET", "/album?list-type=2&continuation-token=", 400,
          "<ArgumentName>continuation-token</ArgumentName>");
}

/* Pages that are deleted one by one go on behind what is gone, a null version too. */
static void
listing_of_what_goes(void **state)
{
    struct s3_fix *t = *state;
    char old[ID_MAX], id[ID_MAX], target[128];
    struct raw_answer a;
    struct s3_call c = {.who = ROOT, .method = "GET", .target = "/album?versions&max-keys=2"};
    versioned(t);
    version_of(t, "PUT", "/album/a", NULL, "one", 200, old);
    s3_send(t, ROOT, "PUT", "/album?versioning", NULL, SUSPEND, 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "null", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?versioning", NULL, ENABLE, 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a", NULL, "three", 200, NULL);
    s3_call(t, &c, &a);
    assert_true(s3_says(&a, "<VersionId>null</VersionId>"));
    assert_false(s3_says(&a, old));
    snprintf(id, sizeof id, "%.*s", SLICE_FMT(s3_element(&a, "NextVersionIdMarker")));
    buf_fini(&a.all);
    s3_do(t, ROOT, "DELETE", "/album/a?versionId=null", 204, NULL);
    snprintf(target, sizeof target, "/album?versions&key-marker=a&version-id-marker=%s", id);
    s3_do(t, ROOT, "GET", target, 200, old);
}

/* Keys, prefixes and delimiters of any character, with and without encoding. */
static void
unreadable(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/a%01%0Ab", NULL, "x", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album/%20p%25%7F", NULL, "x", 200, NULL);
    s3_do(t, ROOT, "GET", "/album", 200, "<Key>a&#x1;&#xA;b</Key>");
    s3_do(t, ROOT, "GET", "/album?encoding-type=url", 200, "<Key>a%01%0Ab</Key>");
    s3_do(t, ROOT, "GET", "/album?encoding-type=url", 200, "<Key>%20p%25%7F</Key>");
    s3_do(t, ROOT, "GET", "/album?prefix=a%01", 200, "<Prefix>a&#x1;</Prefix>");
    s3_do(t, ROOT, "GET", "/album?delimiter=%0A&encoding-type=url", 200,
          "<CommonPrefixes><Prefix>a%01%0A</Prefix></CommonPrefixes>");
    s3_do(t, ROOT, "GET", "/album?delimiter=%0A&encoding-type=url", 200,
          "<Delimiter>%0A</Delimiter>");
    s3_do(t, ROOT, "GET", "/album?delimiter=%25", 200, "<Delimiter>%</Delimiter>");
    s3_do(t, ROOT, "GET", "/album?delimiter=%20p", 200,
          "<CommonPrefixes><Prefix> p</Prefix></CommonPrefixes>");
    s3_do(t, ROOT, "GET", "/album?marker=%0A", 200, "<Marker>&#xA;</Marker>");
}

/* ---- buckets ---- */

static void
bucket_names(void **state)
{
    struct s3_fix *t = *state;
    static const char *const bad[] = {
        "/xn--a",    "/sthree-a", "/amzn-s3-demo-a", "/a-s3alias", "/a--ol-s3",
        "/abc.mrap", "/a--x-s3",  "/a--table-s3",    "/a..b",      "/a.-b",
        "/a-.b",     "/A-b",      "/192.168.5.4",    "/ab",        "/-ab",
        "/ab-",      "/a_b",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        s3_do(t, ROOT, "PUT", bad[i], 400, "<Code>InvalidBucketName</Code>");
    s3_do(t, ROOT, "PUT", "/a.b-c.d", 200, "Location: /a.b-c.d\r\n");
}

static void
bucket_pages(void **state)
{
    struct s3_fix *t = *state;
    s3_do(t, ROOT, "PUT", "/box-a", 200, NULL);
    s3_send(t, ROOT, "PUT", "/box-b", NULL,
            "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint>"
            "</CreateBucketConfiguration>",
            200, NULL);
    s3_do(t, ANN, "PUT", "/box-c", 200, NULL);
    s3_do(t, ROOT, "PUT", "/cup", 200, NULL);
    s3_do(t, ROOT, "GET", "/?max-buckets=1", 200, "<ContinuationToken>box-a</ContinuationToken>");
    s3_do(t, ROOT, "GET", "/?max-buckets=1&continuation-token=box-a", 200,
          "<BucketRegion>eu-north-1</BucketRegion>");
    s3_do(t, ROOT, "GET", "/?max-buckets=1&bucket-region=eu-north-1", 200, "<Name>box-b</Name>");
    s3_do(t, ROOT, "GET", "/?prefix=cu", 200, "<Prefix>cu</Prefix>");
    s3_do(t, ROOT, "GET", "/?max-buckets=0", 400, "<Code>InvalidArgument</Code>");
    s3_do(t, ROOT, "GET", "/?max-buckets=10001", 400, "<Code>InvalidArgument</Code>");
    s3_do(t, ROOT, "GET", "/?continuation-token=%20", 400, "<Code>InvalidArgument</Code>");
    s3_do(t, ANN, "PUT", "/box-a", 409, "<Code>BucketAlreadyExists</Code>");
    s3_do(t, ROOT, "PUT", "/box-a", 200, NULL);
    s3_send(t, ROOT, "PUT", "/box-b", NULL,
            "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint>"
            "</CreateBucketConfiguration>",
            409, "<Code>BucketAlreadyOwnedByYou</Code>");
    s3_send(t, ROOT, "PUT", "/box-d", NULL, "<CreateBucketConfiguration", 400,
            "<Code>MalformedXML</Code>");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(setting),
        S3_TEST(reads),
        S3_TEST(reads_of_strangers),
        S3_TEST(deletions),
        S3_TEST(conditional_deletions),
        S3_TEST(many_deletions),
        S3_TEST(copies),
        S3_TEST(copies_onto_themselves),
        S3_TEST(listing),
        S3_TEST(listing_of_what_goes),
        S3_TEST(unreadable),
        S3_TEST(bucket_names),
        S3_TEST(bucket_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
