#!/usr/bin/python3
"""Conformance: CopyObject. Sources and how they are written, metadata directives, conditions, copies
onto themselves, between accounts. Source: CopyObject of the Amazon S3 API Reference."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import MAIN, OTHER, api, bucket, etag, filled, quoted, wants
from darkroom import equal, true

SOURCE = "x-amz-copy-source"
PAST, FUTURE = "Sat, 29 Oct 1994 19:43:31 GMT", "Sat, 29 Oct 2100 19:43:31 GMT"


def copy(s, b, source, key="copy", expected="200", headers=None, account=MAIN):
    h = {SOURCE: source}
    h.update(headers or {})
    a = wants(api(s, account)("PUT", b + "/" + key, b"", h), expected)
    if a.status == 200:
        equal(a.xml.tag, "CopyObjectResult", "root")
        true(a.one("ETag") and a.one("LastModified"), "ETag or LastModified is missing")
    return a


def from_source(s, expected, spelled):
    """The source as it may be spelled; {B} stands for the bucket's name."""
    b = filled(s, "foo", "a b", "a+b", "a%b", "\u00e4", "d/e", "q?versionId=1", "x&y")
    copy(s, b, spelled.replace("{B}", b[1:]), "copy", expected)
    wants(api(s)("HEAD", b + "/copy"), "200" if expected == "200" else "404", "the copy")


conformance.table(globals(), "source", [
    ("with slash", "200", "/{B}/foo"), ("without slash", "200", "{B}/foo"), ("all encoded", "200", "%2F{B}%2Ffoo"),
    ("blank as %20", "200", "{B}/a%20b"), ("plus as %2B", "200", "{B}/a%2Bb"), ("percent", "200", "{B}/a%25b"),
    ("UTF-8", "200", "{B}/%C3%A4"), ("slash in the key", "200", "{B}/d/e"), ("slash encoded", "200", "{B}/d%2Fe"),
    ("question mark", "200", "{B}/q%3FversionId%3D1"), ("ampersand", "200", "{B}/x%26y"), ("ampersand plain", "200", "{B}/x&y"),
    ("null version", "200", "{B}/foo?versionId=null"),
    ("no such key", "404 NoSuchKey", "{B}/missing"), ("no such bucket", "404 NoSuchBucket", "was-never-made/foo"),
    ("only a bucket", "400 InvalidArgument", "{B}"), ("bucket and slash", "400 InvalidArgument", "/{B}/"),
    ("empty", "400 InvalidArgument", ""), ("a slash", "400 InvalidArgument", "/"),
    ("bad bucket name", "400 InvalidBucketName|404 NoSuchBucket|400 InvalidArgument", "x/foo"),
    ("no such version", "404 NoSuchVersion|400 InvalidArgument", "{B}/foo?versionId=0123456789abcdef"),
], from_source)


def sized(s, size):
    b = bucket(s)
    body = os.urandom(size)
    api(s).ok("PUT", b + "/foo", body, {"Content-Type": "audio/ogg", "x-amz-meta-key1": "value1", "Cache-Control": "no-cache"})
    a = copy(s, b, b + "/foo")
    equal(a.one("ETag"), etag(body), "ETag")
    for key in ("copy", "foo"):
        got = api(s).ok("GET", b + "/" + key)
        true(got.body == body, "other bytes")
        equal((got.headers["content-type"], got.headers["x-amz-meta-key1"], got.headers["cache-control"]),
              ("audio/ogg", "value1", "no-cache"), "metadata")
    wants(api(s)("DELETE", b + "/foo"), "204")
    true(api(s).ok("GET", b + "/copy").body == body, "other bytes once the source is gone")


conformance.table(globals(), "size", [("%d" % n, n) for n in (0, 1, 65536, 65537, 1 << 20)], sized)


def directed(s, directive, expected, want):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", b"foo", {"Content-Type": "audio/ogg", "x-amz-meta-key1": "value1", "x-amz-meta-key2": "value2"})
    headers = {"Content-Type": "audio/mpeg", "x-amz-meta-key3": "value3", "x-amz-metadata-directive": directive}
    copy(s, b, b + "/foo", "copy", expected, headers)
    if expected == "200":
        h = api(s).ok("HEAD", b + "/copy").headers
        equal((h["content-type"], sorted(n[11:] for n in h if n.startswith("x-amz-meta-"))), want, "metadata")


conformance.table(globals(), "directive", [
    ("none", None, "200", ("audio/ogg", ["key1", "key2"])), ("COPY", "COPY", "200", ("audio/ogg", ["key1", "key2"])),
    ("REPLACE", "REPLACE", "200", ("audio/mpeg", ["key3"])), ("nonsense", "MOVE", "400 InvalidArgument", None),
    ("small letters", "replace", "400 InvalidArgument", None),
], directed)


def itself(s, expected, headers):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", b"foo", {"x-amz-meta-a": "1"})
    copy(s, b, b + "/foo", "foo", expected, headers)
    got = api(s).ok("GET", b + "/foo")
    equal(got.body, b"foo", "body")
    if "x-amz-meta-foo" in headers:
        equal((got.headers.get("x-amz-meta-foo"), got.headers.get("x-amz-meta-a")), ("bar", None), "metadata")


conformance.table(globals(), "onto itself", [
    ("unchanged", "400 InvalidRequest", {}), ("COPY", "400 InvalidRequest", {"x-amz-metadata-directive": "COPY"}),
    ("new metadata", "200", {"x-amz-metadata-directive": "REPLACE", "x-amz-meta-foo": "bar"}),
    ("REPLACE by nothing", "200", {"x-amz-metadata-directive": "REPLACE"}),
    ("new storage class", "200", {"x-amz-storage-class": "STANDARD_IA"}),
    ("new redirect", "200", {"x-amz-website-redirect-location": "/there"}),
], itself)


IF = "x-amz-copy-source-if-"
conformance.table(globals(), "condition", [
    ("match right", "200", {IF + "match": etag(b"foo")}), ("match bare", "200", {IF + "match": etag(b"foo").strip('"')}),
    ("match wrong", "412 PreconditionFailed", {IF + "match": "ABCORZ"}),
    ("none-match right", "412 PreconditionFailed", {IF + "none-match": etag(b"foo")}),
    ("none-match wrong", "200", {IF + "none-match": "ABCORZ"}),
    ("modified since past", "200", {IF + "modified-since": PAST}),
    ("modified since future", "412 PreconditionFailed|200", {IF + "modified-since": FUTURE}),
    ("unmodified since past", "412 PreconditionFailed", {IF + "unmodified-since": PAST}),
    ("unmodified since future", "200", {IF + "unmodified-since": FUTURE}),
    ("match beats unmodified", "200", {IF + "match": etag(b"foo"), IF + "unmodified-since": PAST}),
    ("none-match beats modified", "412 PreconditionFailed", {IF + "none-match": etag(b"foo"), IF + "modified-since": PAST}),
], lambda s, expected, headers: conditional(s, expected, headers))


def conditional(s, expected, headers):
    b = filled(s, "foo")
    copy(s, b, b + "/foo", "copy", expected, headers)


def test_target_conditions(s):
    b = filled(s, "foo", "there")
    copy(s, b, b + "/foo", "there", "412 PreconditionFailed", {"If-None-Match": "*"})
    copy(s, b, b + "/foo", "fresh", "200", {"If-None-Match": "*"})
    copy(s, b, b + "/foo", "there", "412 PreconditionFailed", {"If-Match": '"no"'})
    copy(s, b, b + "/foo", "there", "200", {"If-Match": etag(b"there")})


def test_to_another_bucket(s):
    b, c = filled(s, "foo"), bucket(s)
    copy(s, c, b + "/foo")
    equal(api(s).ok("GET", c + "/copy").body, b"foo", "body")
    copy(s, "/was-never-made", b + "/foo", expected="404 NoSuchBucket")


def test_between_accounts(s):
    b, c = filled(s, "foo"), bucket(s, account=OTHER)
    copy(s, c, b + "/foo", expected="403 AccessDenied", account=OTHER)
    copy(s, c, b + "/foo", expected="403 AccessDenied")
    copy(s, b, b + "/foo", expected="403 AccessDenied", account=OTHER)
    copy(s, c, b + "/missing", expected="403 AccessDenied", account=OTHER)


def test_source_owner(s):
    b = filled(s, "foo")
    copy(s, b, b + "/foo", headers={"x-amz-source-expected-bucket-owner": MAIN["id"]})
    copy(s, b, b + "/foo", expected="403 AccessDenied", headers={"x-amz-source-expected-bucket-owner": OTHER["id"]})


def test_a_copy_with_a_body(s):
    """The body of a copy is not read as the object's."""
    b = filled(s, "foo")
    api(s).ok("PUT", b + "/copy", b"something", {SOURCE: b + "/foo"})
    equal(api(s).ok("GET", b + "/copy").body, b"foo", "body")


conformance.run(globals())
