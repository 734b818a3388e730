#!/usr/bin/python3
"""Conformance: tag sets of buckets and objects. Sources: Put/Get/Delete{Bucket,Object}Tagging of the
Amazon S3 API Reference; "Object tagging": ten tags, keys of 128 and values of 256 characters."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import MAIN, api, bucket, element, filled, md5, wants
from darkroom import equal, true


def doc(tags):
    text = "".join(element("Tag", element("Key", k), element("Value", v)) for k, v in tags)
    return '<Tagging xmlns="%s">%s</Tagging>' % (conformance.NAMESPACE, element("TagSet", text))


def put(s, to, tags, expected="200", text=None):
    body = (doc(tags) if text is None else text).encode()
    return wants(api(s)("PUT", to + "?tagging", body, {"Content-MD5": md5(body)}), expected)


def tags_of(s, to):
    a = api(s).ok("GET", to + "?tagging")
    equal(a.xml.tag, "Tagging", "root")
    return list(zip(a.all("TagSet/Tag/Key"), a.all("TagSet/Tag/Value")))


def numbered(n):
    return [(str(i), str(i)) for i in range(n)]


CASES = [
    ("one", "200", [("Hello", "World")]), ("ten", "200", numbered(10)), ("empty value", "200", [("bar", "")]),
    ("longest", "200", [("k" * 128, "v" * 256)]), ("UTF-8", "200", [("\u00e4\u65e5", "\u00fc")]),
    ("punctuation", "200", [("a b+c-d=e._:/@", "a b+c-d=e._:/@")]),
    ("key too long", "400 InvalidTag", [("k" * 129, "v")]), ("value too long", "400 InvalidTag", [("k", "v" * 257)]),
    ("empty key", "400 InvalidTag", [("", "v")]), ("key twice", "400 InvalidTag", [("k", "1"), ("k", "2")]),
    ("aws: key", "400 InvalidTag", [("aws:k", "v")]),
]
XML = [("no XML", "400 MalformedXML", "hello"), ("another root", "400 MalformedXML", "<Tags/>"),
       ("no TagSet", "400 MalformedXML", "<Tagging/>"), ("tag without key", "400 MalformedXML|400 InvalidTag",
                                                       "<Tagging><TagSet><Tag><Value>v</Value></Tag></TagSet></Tagging>"),
       ("cut", "400 MalformedXML", "<Tagging><TagSet>"), ("empty body", "400 MissingRequestBodyError|400 MalformedXML", "")]


def object_tags(s, expected, tags, text=None):
    b = filled(s, "k")
    put(s, b + "/k", tags, expected, text)
    equal(tags_of(s, b + "/k"), tags if expected == "200" else [], "tags afterwards")
    count = api(s).ok("HEAD", b + "/k").headers.get("x-amz-tagging-count")
    equal(count, str(len(tags)) if expected == "200" else None, "x-amz-tagging-count")


def bucket_tags(s, expected, tags, text=None):
    b = bucket(s)
    put(s, b, tags, "204|200" if expected == "200" else expected, text)
    if expected == "200":
        equal(tags_of(s, b), tags, "tags afterwards")
    else:
        wants(api(s)("GET", b + "?tagging"), "404 NoSuchTagSet")


MORE = [("eleven", "400 BadRequest|400 InvalidTag", numbered(11))]
conformance.table(globals(), "object", CASES + MORE, object_tags)
conformance.table(globals(), "bucket", CASES + [("fifty", "200", [("%02d" % i, "v") for i in range(50)])], bucket_tags)
conformance.table(globals(), "object document", [(n, e, [], t) for n, e, t in XML], object_tags)
conformance.table(globals(), "bucket document", [(n, e, [], t) for n, e, t in XML], bucket_tags)


def test_object_tags_come_and_go(s):
    b = filled(s, "k")
    equal(tags_of(s, b + "/k"), [], "tags at first")
    put(s, b + "/k", numbered(2))
    put(s, b + "/k", [("other", "set")])
    equal(tags_of(s, b + "/k"), [("other", "set")], "a set replaces the one before")
    put(s, b + "/k", [])
    equal(tags_of(s, b + "/k"), [], "an empty set")
    put(s, b + "/k", numbered(3))
    wants(api(s)("DELETE", b + "/k?tagging"), "204")
    equal(tags_of(s, b + "/k"), [], "after DELETE")
    put(s, b + "/k", numbered(3))
    api(s).ok("PUT", b + "/k", b"anew")
    equal(tags_of(s, b + "/k"), [], "after a PUT of the object")


def test_tags_of_nothing(s):
    b = bucket(s)
    for method in ("GET", "DELETE"):
        wants(api(s)(method, b + "/missing?tagging"), "404 NoSuchKey")
    put(s, b + "/missing", numbered(1), "404 NoSuchKey")


def test_bucket_tags_come_and_go(s):
    b = bucket(s)
    wants(api(s)("GET", b + "?tagging"), "404 NoSuchTagSet")
    put(s, b, numbered(2), "204|200")
    wants(api(s)("DELETE", b + "?tagging"), "204")
    wants(api(s)("GET", b + "?tagging"), "404 NoSuchTagSet")
    wants(api(s)("DELETE", b + "?tagging"), "204", "again")


def by_header(s, expected, header, tags):
    b = bucket(s)
    wants(api(s)("PUT", b + "/k", b"x", {"x-amz-tagging": header}), expected)
    if expected == "200":
        equal(tags_of(s, b + "/k"), tags, "tags")
    else:
        wants(api(s)("HEAD", b + "/k"), "404", "the object")


HEADERS = [
    ("two", "200", "bar=1&foo=bar", [("bar", "1"), ("foo", "bar")]), ("without value", "200", "bar&foo=bar", [("bar", ""), ("foo", "bar")]),
    ("order", "200", "foo=bar&bar", [("bar", ""), ("foo", "bar")]), ("encoded", "200", "a%20b=c%3Dd", [("a b", "c=d")]),
    ("plus", "200", "a=b+c", [("a", "b c")]), ("ten", "200", "&".join("%d=%d" % (i, i) for i in range(10)), numbered(10)),
    ("eleven", "400 BadRequest|400 InvalidTag", "&".join("%d=%d" % (i, i) for i in range(11)), None),
    ("twice", "400 InvalidTag|400 InvalidArgument", "a=1&a=2", None), ("key too long", "400 InvalidTag|400 InvalidArgument", "k" * 129 + "=1", None),
    ("value too long", "400 InvalidTag|400 InvalidArgument", "k=" + "v" * 257, None),
]
conformance.table(globals(), "header", HEADERS, by_header)


def test_tags_by_header_of_a_multipart_upload(s):
    b = bucket(s)
    upload = api(s).ok("POST", b + "/k?uploads", b"", {"x-amz-tagging": "a=b"}).one("UploadId")
    tag = api(s).ok("PUT", "%s/k?partNumber=1&uploadId=%s" % (b, upload), b"x").headers["etag"]
    api(s).ok("POST", "%s/k?uploadId=%s" % (b, upload), element("CompleteMultipartUpload", element(
        "Part", element("PartNumber", "1"), element("ETag", tag))))
    equal(tags_of(s, b + "/k"), [("a", "b")], "tags")


def copied(s, headers, expected, tags):
    b = bucket(s)
    api(s).ok("PUT", b + "/k", b"x", {"x-amz-tagging": "a=b"})
    h = {"x-amz-copy-source": b + "/k"}
    h.update(headers)
    wants(api(s)("PUT", b + "/copy", b"", h), expected)
    if expected == "200":
        equal(tags_of(s, b + "/copy"), tags, "tags")


conformance.table(globals(), "copy", [
    ("as they are", {}, "200", [("a", "b")]), ("COPY", {"x-amz-tagging-directive": "COPY"}, "200", [("a", "b")]),
    ("REPLACE", {"x-amz-tagging-directive": "REPLACE", "x-amz-tagging": "c=d"}, "200", [("c", "d")]),
    ("REPLACE by none", {"x-amz-tagging-directive": "REPLACE"}, "200", []),
    ("nonsense", {"x-amz-tagging-directive": "KEEP"}, "400 InvalidArgument", None),
], copied)


def test_tags_of_another(s):
    b = filled(s, "k")
    for method, to in (("GET", b + "?tagging"), ("DELETE", b + "?tagging"), ("GET", b + "/k?tagging"), ("DELETE", b + "/k?tagging"),
                       ("PUT", b + "/k?tagging")):
        wants(conformance.other(s)(method, to, doc([("a", "b")]) if method == "PUT" else b""), "403 AccessDenied", to)


conformance.run(globals())
