#!/usr/bin/python3
"""Conformance: multipart uploads. Create, parts, copied parts, lists, complete, abort, GET by part
number, checksums. Sources: the multipart operations of the Amazon S3 API Reference and "Checking
object integrity" of the User Guide."""
import base64
import hashlib
import os
import struct
import sys
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import ALL_USERS, MAIN, OTHER, api, bucket, element, etag, filled, quoted, wants
from darkroom import contains, equal, true

MIN = 5 << 20
BIG = os.urandom(1 << 16) * (MIN >> 16)
SMALL = b"the last part"


def create(s, b, key="k", headers=None, **how):
    a = api(s).ok("POST", b + "/" + key + "?uploads", b"", headers, **how)
    equal(a.xml.tag, "InitiateMultipartUploadResult", "root")
    equal((a.one("Bucket"), a.one("Key")), (b[1:], conformance.urllib.parse.unquote(key)), "bucket and key")
    return a.one("UploadId")


def part(s, b, upload, number, body, key="k", headers=None):
    a = api(s).ok("PUT", "%s/%s?partNumber=%d&uploadId=%s" % (b, key, number, upload), body, headers)
    equal(a.headers.get("etag"), etag(body), "ETag of part %d" % number)
    return a


def parts_doc(parts, xmlns=True):
    return "<CompleteMultipartUpload%s>%s</CompleteMultipartUpload>" % (
        ' xmlns="%s"' % conformance.NAMESPACE if xmlns else "",
        "".join(element("Part", element("PartNumber", str(n)), element("ETag", tag)) for n, tag in parts))


def complete(s, b, upload, parts, expected="200", key="k", headers=None, doc=None):
    return wants(api(s)("POST", "%s/%s?uploadId=%s" % (b, key, upload), parts_doc(parts) if doc is None else doc, headers),
                 expected)


def whole_etag(bodies):
    return '"%s-%d"' % (hashlib.md5(b"".join(hashlib.md5(x).digest() for x in bodies)).hexdigest(), len(bodies))


def uploaded(s, bodies, headers=None, b=None, numbers=None):
    """A complete upload of these parts: the bucket."""
    b = b or bucket(s)
    upload = create(s, b, headers=headers)
    numbers = numbers or range(1, len(bodies) + 1)
    for n, body in zip(numbers, bodies):
        part(s, b, upload, n, body)
    complete(s, b, upload, [(n, etag(x)) for n, x in zip(numbers, bodies)])
    return b


def gone(s, b, upload):
    wants(api(s)("GET", "%s/k?uploadId=%s" % (b, upload)), "404 NoSuchUpload", "the upload afterwards")


# ---- the whole way ----

def whole(s, bodies, numbers=None):
    headers = {"Content-Type": "text/bla", "x-amz-meta-foo": "bar", "Cache-Control": "no-cache"}
    b = uploaded(s, bodies, headers, numbers=numbers)
    a = api(s).ok("GET", b + "/k")
    true(a.body == b"".join(bodies), "other bytes came back")
    equal(a.headers["etag"], whole_etag(bodies), "ETag")
    equal((a.headers["content-type"], a.headers["x-amz-meta-foo"], a.headers["cache-control"]),
          ("text/bla", "bar", "no-cache"), "metadata")
    equal(api(s).ok("GET", b + "?uploads").all("Upload"), [], "uploads left")
    equal(api(s).ok("GET", b).all("Contents/ETag"), [whole_etag(bodies)], "listed ETag")
    all_bytes = b"".join(bodies)
    for start in range(0, len(all_bytes), 3000000):
        got = wants(api(s)("GET", b + "/k", b"", {"Range": "bytes=%d-%d" % (start, start + 99999)}), "206").body
        true(got == all_bytes[start:start + 100000], "other bytes at %d" % start)


conformance.table(globals(), "upload of", [
    ("one byte", [b"x"]), ("one empty part", [b""]), ("one part of 5 MiB", [BIG]),
    ("two parts", [BIG, SMALL]), ("three parts", [BIG, BIG[::-1], SMALL]),
    ("parts with gaps", [BIG, SMALL], [3, 10000]),
], whole)


def test_overwrites_an_object(s):
    b = filled(s, "k")
    uploaded(s, [BIG, SMALL], b=b)
    true(api(s).ok("GET", b + "/k").body == BIG + SMALL, "other bytes")


def test_the_object_stays_until_completion(s):
    b = filled(s, "k")
    upload = create(s, b)
    part(s, b, upload, 1, b"new")
    equal(api(s).ok("GET", b + "/k").body, b"k", "body before completion")
    wants(api(s)("DELETE", "%s/k?uploadId=%s" % (b, upload)), "204")
    equal(api(s).ok("GET", b + "/k").body, b"k", "body after the abort")


def test_parts_resent_and_out_of_order(s):
    b = bucket(s)
    upload = create(s, b)
    part(s, b, upload, 2, SMALL)
    part(s, b, upload, 1, BIG[::-1])
    part(s, b, upload, 1, BIG)
    part(s, b, upload, 3, b"not used")
    complete(s, b, upload, [(1, etag(BIG)), (2, etag(SMALL))])
    true(api(s).ok("GET", b + "/k").body == BIG + SMALL, "other bytes")


def test_complete_again(s):
    b = bucket(s)
    upload = create(s, b)
    part(s, b, upload, 1, b"x")
    for _ in range(3):
        a = complete(s, b, upload, [(1, etag(b"x"))])
        equal(a.xml.tag, "CompleteMultipartUploadResult", "root")
        equal((a.one("Bucket"), a.one("Key"), a.one("ETag")), (b[1:], "k", whole_etag([b"x"])), "answer")
        contains(a.one("Location"), b + "/k", "Location")


def test_complete_without_namespace_or_quotes(s):
    b = bucket(s)
    upload = create(s, b)
    part(s, b, upload, 1, b"x")
    complete(s, b, upload, [], doc=parts_doc([(1, etag(b"x").strip('"'))], xmlns=False))


def test_create_keeps_headers_with_part_requests_clean(s):
    """x-amz-meta of a part is not the object's."""
    b = bucket(s)
    upload = create(s, b, headers={"x-amz-meta-a": "1"})
    part(s, b, upload, 1, b"x", headers={"Content-Type": "image/png"})
    complete(s, b, upload, [(1, etag(b"x"))])
    h = api(s).ok("HEAD", b + "/k").headers
    equal((h["content-type"], h.get("x-amz-meta-a")), ("binary/octet-stream", "1"), "metadata")


# ---- completion refused ----

def not_complete(s, expected, sent, told=None, doc=None):
    b = bucket(s)
    upload = create(s, b)
    for n, body in sent:
        part(s, b, upload, n, body)
    complete(s, b, upload, told, expected, doc=doc)
    wants(api(s)("HEAD", b + "/k"), "404", "the object afterwards")
    wants(api(s)("GET", "%s/k?uploadId=%s" % (b, upload)), "200", "the upload afterwards")
    wants(api(s)("DELETE", "%s/k?uploadId=%s" % (b, upload)), "204")


X, Y = (1, b"x"), (2, b"y")
conformance.table(globals(), "complete refused", [
    ("small part before the last", "400 EntityTooSmall", [X, Y], [(1, etag(b"x")), (2, etag(b"y"))]),
    ("5 MiB less one", "400 EntityTooSmall", [(1, BIG[1:]), Y], [(1, etag(BIG[1:])), (2, etag(b"y"))]),
    ("missing part", "400 InvalidPart", [X], [(9999, etag(b"x"))]),
    ("wrong ETag", "400 InvalidPart", [X], [(1, "f" * 32)]),
    ("ETag that is none", "400 InvalidPart", [X], [(1, "zz")]),
    ("wrong order", "400 InvalidPartOrder", [(1, BIG), Y], [(2, etag(b"y")), (1, etag(BIG))]),
    ("part twice", "400 InvalidPartOrder", [X], [(1, etag(b"x")), (1, etag(b"x"))]),
    ("no parts", "400 MalformedXML", [X], []),
    ("no body", "400 MalformedXML|400 MissingRequestBodyError|400 InvalidRequest", [X], None, ""),
    ("no XML", "400 MalformedXML", [X], None, "hello"),
    ("another root", "400 MalformedXML", [X], None, "<Complete/>"),
    ("part without number", "400 MalformedXML", [X], None, "<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>"),
    ("part without ETag", "400 MalformedXML|400 InvalidPart", [X], None,
     "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"),
    ("part number 0", "400 InvalidArgument|400 InvalidPart|400 MalformedXML|400 InvalidPartNumber", [X], [(0, etag(b"x"))]),
    ("part number 10001", "400 InvalidArgument|400 InvalidPart|400 MalformedXML", [X], [(10001, etag(b"x"))]),
    ("cut XML", "400 MalformedXML", [X], None, "<CompleteMultipartUpload><Part>"),
], not_complete)


# ---- uploads that are not there ----

NONE = [("PUT", "?partNumber=1&uploadId=%s", b"x"), ("GET", "?uploadId=%s", b""), ("DELETE", "?uploadId=%s", b""),
        ("POST", "?uploadId=%s", parts_doc([(1, etag(b"x"))]).encode())]


def no_upload(s, method, query, body):
    b = filled(s, "k")
    for upload in ("56788", "no/such+id", "x" * 200, "%00"):
        wants(api(s)(method, b + "/k" + query % quoted(upload), body), "404 NoSuchUpload", upload)
    upload = create(s, b)
    wants(api(s)(method, b + "/another" + query % upload, body), "404 NoSuchUpload", "another key")
    wants(api(s)(method, bucket(s) + "/k" + query % upload, body), "404 NoSuchUpload", "another bucket")


conformance.table(globals(), "no such upload", [("%s %s" % n[:2],) + n for n in NONE], no_upload)


def test_abort_twice(s):
    b = bucket(s)
    upload = create(s, b)
    part(s, b, upload, 1, b"x")
    wants(api(s)("DELETE", "%s/k?uploadId=%s" % (b, upload)), "204")
    wants(api(s)("DELETE", "%s/k?uploadId=%s" % (b, upload)), "404 NoSuchUpload|204")
    gone(s, b, upload)
    equal(api(s).ok("GET", b + "?uploads").all("Upload"), [], "uploads left")


def test_a_bucket_with_uploads(s):
    """S3 deletes a bucket whose uploads are unfinished only after they are aborted."""
    b = bucket(s)
    upload = create(s, b)
    a = api(s)("DELETE", b)
    true((a.status, a.code) in ((409, "BucketNotEmpty"), (204, "")), "%d %s" % (a.status, a.code))
    if a.status == 409:
        wants(api(s)("DELETE", "%s/k?uploadId=%s" % (b, upload)), "204")
        wants(api(s)("DELETE", b), "204")


def numbered(s, expected, number, body=b"x"):
    b = bucket(s)
    upload = create(s, b)
    wants(api(s)("PUT", "%s/k?partNumber=%s&uploadId=%s" % (b, number, upload), body), expected)


conformance.table(globals(), "part number", [
    ("1", "200", "1"), ("10000", "200", "10000"), ("0", "400 InvalidArgument", "0"), ("10001", "400 InvalidArgument", "10001"),
    ("negative", "400 InvalidArgument", "-1"), ("a word", "400 InvalidArgument", "one"), ("empty", "400 InvalidArgument", ""),
    ("huge", "400 InvalidArgument", "99999999999999999999"),
], numbered)


def test_part_without_number_or_upload(s):
    b = bucket(s)
    upload = create(s, b)
    wants(api(s)("PUT", "%s/k?uploadId=%s" % (b, upload), b"x"), "400 InvalidArgument|400 InvalidRequest")
    wants(api(s)("PUT", b + "/k?partNumber=1", b"x"), "400 InvalidArgument|200")


def part_body(s, expected, headers):
    b = bucket(s)
    upload = create(s, b)
    wants(api(s)("PUT", "%s/k?partNumber=1&uploadId=%s" % (b, upload), b"x", headers), expected)
    left = api(s).ok("GET", "%s/k?uploadId=%s" % (b, upload)).all("Part")
    equal(len(left), 1 if expected == "200" else 0, "parts")


conformance.table(globals(), "part body", [
    ("right MD5", "200", {"Content-MD5": conformance.md5(b"x")}), ("wrong MD5", "400 BadDigest", {"Content-MD5": conformance.md5(b"y")}),
    ("bad MD5", "400 InvalidDigest", {"Content-MD5": "zzz"}),
], part_body)


# ---- lists ----

def test_list_parts(s):
    b = bucket(s)
    upload = create(s, b, headers={"x-amz-storage-class": "STANDARD_IA"})
    for n in (1, 2, 3, 7, 10):
        part(s, b, upload, n, b"x" * n)
    to = "%s/k?uploadId=%s" % (b, upload)
    a = api(s).ok("GET", to)
    equal(a.xml.tag, "ListPartsResult", "root")
    equal((a.one("Bucket"), a.one("Key"), a.one("UploadId"), a.one("MaxParts"), a.one("IsTruncated"), a.one("StorageClass")),
          (b[1:], "k", upload, "1000", "false", "STANDARD_IA"), "asked")
    equal((a.all("Part/PartNumber"), a.all("Part/Size")), (["1", "2", "3", "7", "10"], ["1", "2", "3", "7", "10"]), "parts")
    equal(a.all("Part/ETag"), [etag(b"x" * n) for n in (1, 2, 3, 7, 10)], "ETags")
    me = conformance.canonical_id(s, MAIN)
    equal((a.one("Owner/ID"), a.one("Initiator/ID")), (me, me), "owner and initiator")
    seen, marker = [], ""
    for _ in range(9):
        a = api(s).ok("GET", to + "&max-parts=2" + ("&part-number-marker=" + marker if marker else ""))
        seen += a.all("Part/PartNumber")
        equal(a.one("MaxParts"), "2", "MaxParts")
        if a.one("IsTruncated") == "false":
            break
        marker = a.one("NextPartNumberMarker")
    equal(seen, ["1", "2", "3", "7", "10"], "in pages")
    for wrong in ("max-parts=-1", "max-parts=x", "part-number-marker=x"):
        wants(api(s)("GET", to + "&" + wrong), "400 InvalidArgument", wrong)


def test_list_uploads(s):
    b = bucket(s)
    keys = ["a", "a", "b/1", "b/2", "c&d"]
    made = [(k, create(s, b, quoted(k, "/"))) for k in keys]
    a = api(s).ok("GET", b + "?uploads")
    equal(a.xml.tag, "ListMultipartUploadsResult", "root")
    equal((a.one("Bucket"), a.one("KeyMarker"), a.one("UploadIdMarker"), a.one("MaxUploads"), a.one("IsTruncated")),
          (b[1:], "", "", "1000", "false"), "asked")
    got = list(zip(a.all("Upload/Key"), a.all("Upload/UploadId")))
    equal((sorted(got), [k for k, _ in got]), (sorted(made), keys), "uploads")
    me = conformance.canonical_id(s, MAIN)
    equal((a.one("Upload/Owner/ID"), a.one("Upload/Initiator/ID"), a.one("Upload/StorageClass")), (me, me, "STANDARD"), "an upload")
    true(a.one("Upload/Initiated"), "no Initiated")
    a = api(s).ok("GET", b + "?uploads&delimiter=/")
    equal((a.all("Upload/Key"), a.all("CommonPrefixes/Prefix")), (["a", "a", "c&d"], ["b/"]), "with a delimiter")
    equal(api(s).ok("GET", b + "?uploads&prefix=b/").all("Upload/Key"), ["b/1", "b/2"], "with a prefix")
    equal(api(s).ok("GET", b + "?uploads&encoding-type=url").all("Upload/Key"), ["a", "a", "b/1", "b/2", "c%26d"], "encoded")
    seen, more = [], ""
    for _ in range(9):
        a = api(s).ok("GET", b + "?uploads&max-uploads=2" + more)
        seen += list(zip(a.all("Upload/Key"), a.all("Upload/UploadId")))
        if a.one("IsTruncated") == "false":
            break
        more = "&key-marker=%s&upload-id-marker=%s" % (quoted(a.one("NextKeyMarker")), quoted(a.one("NextUploadIdMarker")))
    equal(seen, got, "in pages")
    wants(api(s)("GET", b + "?uploads&max-uploads=x"), "400 InvalidArgument")


# ---- copied parts ----

def copied(s, expected, source, headers=None, body=None):
    b = filled(s, " ", "_", "__", "?versionId", "a+b")
    api(s).ok("PUT", b + "/src", b"0123456789")
    upload = create(s, b)
    h = {"x-amz-copy-source": b + "/" + source if source[:1] != "!" else source[1:]}
    h.update(headers or {})
    a = wants(api(s)("PUT", "%s/k?partNumber=1&uploadId=%s" % (b, upload), b"", h), expected)
    if a.status == 200:
        equal(a.xml.tag, "CopyPartResult", "root")
        true(a.one("LastModified"), "no LastModified")
        complete(s, b, upload, [(1, a.one("ETag"))])
        equal(api(s).ok("GET", b + "/k").body, body, "body")


RANGE = "x-amz-copy-source-range"
conformance.table(globals(), "copy part", [
    ("whole", "200", "src", {}, b"0123456789"),
    ("one byte", "200", "src", {RANGE: "bytes=0-0"}, b"0"),
    ("middle", "200", "src", {RANGE: "bytes=2-5"}, b"2345"),
    ("of a blank", "200", quoted(" "), {}, b" "), ("of _", "200", "_", {}, b"_"),
    ("of ?versionId", "200", quoted("?versionId"), {}, b"?versionId"),
    ("of a+b", "200", quoted("a+b"), {}, b"a+b"),
    ("past the end", "416 InvalidRange|400 InvalidRange|400 InvalidArgument", "src", {RANGE: "bytes=0-21"}),
    ("after the end", "416 InvalidRange|400 InvalidRange|400 InvalidArgument", "src", {RANGE: "bytes=10-12"}),
    ("no unit", "400 InvalidArgument", "src", {RANGE: "0-2"}), ("no end", "400 InvalidArgument", "src", {RANGE: "bytes=0"}),
    ("words", "400 InvalidArgument", "src", {RANGE: "bytes=hello-world"}),
    ("half a word", "400 InvalidArgument", "src", {RANGE: "bytes=0-bar"}),
    ("open", "400 InvalidArgument", "src", {RANGE: "bytes=hello-"}), ("two", "400 InvalidArgument", "src", {RANGE: "bytes=0-2,3-5"}),
    ("no such key", "404 NoSuchKey", "missing"), ("no such bucket", "404 NoSuchBucket", "!/was-never-made/src"),
    ("not a source", "400 InvalidArgument", "!nonsense"),
    ("if-match wrong", "412 PreconditionFailed", "src", {"x-amz-copy-source-if-match": '"no"'}),
    ("if-match right", "200", "src", {"x-amz-copy-source-if-match": etag(b"0123456789")}, b"0123456789"),
    ("if-none-match right", "412 PreconditionFailed", "src", {"x-amz-copy-source-if-none-match": etag(b"0123456789")}),
], copied)


def test_copy_parts_of_a_multipart_object(s):
    b = uploaded(s, [BIG, SMALL])
    upload = create(s, b, "copy")
    size, tags = len(BIG + SMALL), []
    for n, (start, end) in enumerate([(0, MIN - 1), (MIN, size - 1)], 1):
        a = api(s).ok("PUT", "%s/copy?partNumber=%d&uploadId=%s" % (b, n, upload), b"",
                      {"x-amz-copy-source": b + "/k", RANGE: "bytes=%d-%d" % (start, end)})
        tags.append((n, a.one("ETag")))
    complete(s, b, upload, tags, key="copy")
    a = api(s).ok("GET", b + "/copy")
    true(a.body == BIG + SMALL, "other bytes")
    true(a.headers["etag"].endswith('-2"'), "ETag " + a.headers["etag"])


# ---- by part number ----

def test_get_by_part_number(s):
    bodies = [BIG, BIG[::-1], SMALL]
    b = uploaded(s, bodies)
    at = 0
    for n, body in enumerate(bodies, 1):
        for method in ("GET", "HEAD"):
            a = wants(api(s)(method, "%s/k?partNumber=%d" % (b, n)), "206")
            equal((a.headers["content-range"], a.headers["content-length"], a.headers["x-amz-mp-parts-count"], a.headers["etag"]),
                  ("bytes %d-%d/%d" % (at, at + len(body) - 1, 2 * MIN + len(SMALL)), str(len(body)), "3", whole_etag(bodies)), method)
            true(method == "HEAD" or a.body == body, "other bytes")
        at += len(body)
    for wrong, expected in (("4", "416 InvalidPartNumber|400 InvalidPart|416 InvalidRange"), ("0", "400 InvalidArgument|400 InvalidPartNumber"),
                            ("-1", "400 InvalidArgument"), ("x", "400 InvalidArgument"), ("10001", "400 InvalidArgument")):
        wants(api(s)("GET", "%s/k?partNumber=%s" % (b, wrong)), expected, wrong)
    wants(api(s)("GET", b + "/k?partNumber=1", b"", {"Range": "bytes=0-1"}), "400 InvalidRequest")


def test_part_1_of_a_plain_object(s):
    b = filled(s, "k")
    a = wants(api(s)("GET", b + "/k?partNumber=1"), "206|200")
    equal((a.body, a.headers.get("x-amz-mp-parts-count")), (b"k", None), "part 1")
    wants(api(s)("GET", b + "/k?partNumber=2"), "416 InvalidPartNumber|400 InvalidPart|416 InvalidRange")


# ---- conditions ----

def complete_if(s, there, headers, expected):
    b = filled(s, "k") if there else bucket(s)
    upload = create(s, b)
    part(s, b, upload, 1, b"new")
    complete(s, b, upload, [(1, etag(b"new"))], expected, headers=headers)
    if expected != "200":
        wants(api(s)("GET", "%s/k?uploadId=%s" % (b, upload)), "200", "the upload afterwards")


conformance.table(globals(), "complete", [
    ("If-None-Match *, there", True, {"If-None-Match": "*"}, "412 PreconditionFailed"),
    ("If-None-Match *, not there", False, {"If-None-Match": "*"}, "200"),
    ("If-Match right", True, {"If-Match": etag(b"k")}, "200"),
    ("If-Match wrong", True, {"If-Match": etag(b"x")}, "412 PreconditionFailed"),
    ("If-Match, not there", False, {"If-Match": etag(b"k")}, "404 NoSuchKey|412 PreconditionFailed"),
], complete_if)


# ---- accounts ----

def test_uploads_of_another_bucket_owner(s):
    b = bucket(s)
    upload = create(s, b)
    for method, to, body in (("POST", b + "/x?uploads", b""), ("PUT", "%s/k?partNumber=1&uploadId=%s" % (b, upload), b"x"),
                             ("GET", "%s/k?uploadId=%s" % (b, upload), b""), ("DELETE", "%s/k?uploadId=%s" % (b, upload), b""),
                             ("GET", b + "?uploads", b"")):
        wants(conformance.other(s)(method, to, body), "403 AccessDenied", to)


conformance.run(globals())
