#!/usr/bin/python3
"""Conformance: objects. Bodies and digests, metadata headers, conditions, ranges, deletion, keys.
Sources: PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects of the Amazon S3 API
Reference; "Working with object metadata"; RFC 9110 sections 13 and 14."""
import base64
import email.utils
import hashlib
import os
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import EMPTY, MAIN, anybody, api, bucket, element, etag, filled, md5, quoted, wants
from darkroom import contains, equal, true

BODY = bytes(range(256)) * 4


# ---- PUT and what it says of the body ----

def put(s, expected, headers=None, body=b"bar", unsigned=None, **how):
    b = bucket(s)
    a = wants(api(s)("PUT", b + "/foo", body, headers, unsigned, **how), expected)
    wants(api(s)("HEAD", b + "/foo"), "200" if expected == "200" else "404", "what is stored afterwards")
    if expected == "200":
        equal(a.headers.get("etag"), etag(body), "ETag")
        equal(api(s).ok("GET", b + "/foo").body, body, "body")


conformance.table(globals(), "put", [
    ("plain", "200", {}),
    ("right MD5", "200", {"Content-MD5": md5(b"bar")}),
    ("MD5 of other bytes", "400 BadDigest", {"Content-MD5": "rL0Y20xC+Fzt72VPzMSk2A=="}),
    ("short MD5", "400 InvalidDigest", {"Content-MD5": "YWJyYWNhZGFicmE="}),
    ("empty MD5", "400 InvalidDigest", {"Content-MD5": ""}),
    ("garbage MD5", "400 InvalidDigest", {"Content-MD5": "AWS HAHAHA"}),
    ("hex MD5", "400 InvalidDigest", {"Content-MD5": hashlib.md5(b"bar").hexdigest()}),
    ("Content-Type", "200", {"Content-Type": "text/plain"}),
    ("empty Content-Type", "200", {"Content-Type": ""}),
    ("strange Content-Type", "200", {"Content-Type": "yodog"}),
    ("empty Expect", "200", {"Expect": ""}),
    ("no User-Agent", "200", {"User-Agent": ""}),
    ("unknown x-amz header", "200", {"x-amz-foo": "bar"}),
    ("If-None-Match *", "200", {"If-None-Match": "*"}),
    ("bad canned ACL", "400 InvalidArgument|400 AccessControlListNotSupported", {"x-amz-acl": "public-ready"}),
    ("bad storage class", "400 InvalidStorageClass", {"x-amz-storage-class": "SHELF"}),
    ("storage class STANDARD", "200", {"x-amz-storage-class": "STANDARD"}),
    ("bad redirect", "400 InvalidRedirectLocation", {"x-amz-website-redirect-location": "nowhere"}),
    ("bad encryption", "400 InvalidArgument|400 InvalidEncryptionAlgorithmError|501 NotImplemented",
     {"x-amz-server-side-encryption": "aes:kms"}),
    ("SSE-KMS", "501 NotImplemented|400 InvalidArgument", {"x-amz-server-side-encryption": "aws:kms"}),
    ("SSE-C", "501 NotImplemented|400 InvalidArgument|400 InvalidRequest",
     {"x-amz-server-side-encryption-customer-algorithm": "AES256"}),
    ("both checksums", "400 InvalidRequest", {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "x"}),
], lambda s, expected, headers: put(s, expected, headers))


def lengths(s, expected, told, body=b"bar", more=None):
    """Length headers by hand; the answer may come from the HTTP layer."""
    b = bucket(s)
    h = {"Host": "%s:%d" % (s.host, s.port)}
    conformance.sign(MAIN, "PUT", b + "/foo", h, hashlib.sha256(body).hexdigest())
    h.update({"Content-Length": told} if told is not None else {})
    h.update(more or {})
    a = conformance.exchange(s, "PUT", b + "/foo", body, h)
    true(("%d %s" % (a.status, a.code)).strip() in expected.split("|") or str(a.status) in expected.split("|"),
         "%d %s" % (a.status, a.code))
    wants(api(s)("HEAD", b + "/foo"), "404", "what is stored afterwards")


conformance.table(globals(), "length", [
    ("none", "411 MissingContentLength", None, b""),
    ("empty", "400", "", b""),
    ("negative", "400", "-1", b""),
    ("not a number", "400", "three", b""),
    ("too short", "400 XAmzContentSHA256Mismatch|400 BadDigest", "2"),
    ("over 5 GiB", "400 EntityTooLarge", str((5 << 30) + 1), b""),
    ("beyond 64 bits", "400|413", "99999999999999999999", b""),
], lengths)


def test_put_replaces(s):
    b = bucket(s)
    for body in (b"bar", b"soup", b"", b"x" * 200000, b"small"):
        api(s).ok("PUT", b + "/foo", body)
        a = api(s).ok("GET", b + "/foo")
        equal((a.body, a.headers["etag"], a.headers["content-length"]), (body, etag(body), str(len(body))), "GET")
        h = api(s).ok("HEAD", b + "/foo")
        equal(h.headers["content-length"], str(len(body)), "HEAD")
    wants(api(s)("DELETE", b + "/foo"), "204")


def test_defaults(s):
    b = filled(s, "foo")
    h = api(s).ok("HEAD", b + "/foo").headers
    equal(h.get("content-type"), "binary/octet-stream", "Content-Type")
    equal(h.get("accept-ranges"), "bytes", "Accept-Ranges")
    true("x-amz-storage-class" not in h, "the storage class is told though it is STANDARD")
    true("x-amz-version-id" not in h, "a version id without versioning")
    true(abs(email.utils.parsedate_to_datetime(h["last-modified"]).timestamp() - time.time()) < 100, "Last-Modified")


# ---- metadata ----

def kept(s, name, value, back=None):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", b"bar", {name: value})
    for method in ("GET", "HEAD"):
        equal(api(s).ok(method, b + "/foo").headers.get(name.lower()), value if back is None else back, name)
    api(s).ok("PUT", b + "/foo", b"bar")
    got = api(s).ok("GET", b + "/foo").headers.get(name.lower())
    true(got != value or name == "Content-Type", "%s outlives a PUT without it" % name)


conformance.table(globals(), "metadata", [
    ("Cache-Control", "Cache-Control", "public, max-age=14400"),
    ("Content-Disposition", "Content-Disposition", 'attachment; filename="a b.jpg"'),
    ("Content-Encoding", "Content-Encoding", "gzip"),
    ("Content-Language", "Content-Language", "en-GB, de"),
    ("Content-Type", "Content-Type", "text/bla; charset=x"),
    ("Expires", "Expires", "Wed, 21 Oct 2037 07:28:00 GMT"),
    ("Expires that is no date", "Expires", "soon"),
    ("redirect", "x-amz-website-redirect-location", "/elsewhere"),
    ("storage class", "x-amz-storage-class", "STANDARD_IA"),
    ("meta", "x-amz-meta-Meta1", "mymeta"),
    ("meta empty", "x-amz-meta-meta1", ""),
    ("meta with dashes", "x-amz-meta-a-b_c.d", "v"),
    ("meta with punctuation", "x-amz-meta-p", "a=b; c,d: \"e\" (f) \\ ~"),
    ("meta with blanks around", "x-amz-meta-s", "inner  blanks", "inner  blanks"),
    # The user guide's example: bytes are read as ISO 8859-1 and answered as an RFC 2047 encoded-word.
    ("meta with UTF-8", "x-amz-meta-u", "\xc3\x84M\xc3\x84Z\xc3\x95\xc3\x91 S3",
     "=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?="),
    ("meta encoded", "x-amz-meta-e", "=?UTF-8?Q?caf=C3=A9_au_lait?="),
], lambda s, name, value, back=None: kept(s, name, value, back))
conformance.table(globals(), "metadata control", [
    ("%s %s" % (what, where), value) for what, c in (("BEL", "\x07"), ("EOT", "\x04"), ("DEL", "\x7f"))
    for where, value in (("first", c + "w"), ("last", "w" + c), ("amid", "h" + c + "w"))],
    lambda s, value: bare(s, {"x-amz-meta-meta1": value}))


def bare(s, headers):
    """A header value that HTTP does not allow: 400 from whichever layer sees it."""
    b = bucket(s)
    h = {"Host": "%s:%d" % (s.host, s.port), "Content-Length": "3"}
    h.update(headers)
    conformance.sign(MAIN, "PUT", b + "/bar", h, hashlib.sha256(b"bar").hexdigest())
    a = conformance.exchange(s, "PUT", b + "/bar", b"bar", h)
    true(a.status in (400, 403), "%d" % a.status)
    wants(api(s)("HEAD", b + "/bar"), "404", "what is stored afterwards")


def meta_size(s, expected, headers):
    put(s, expected, headers)


conformance.table(globals(), "metadata size", [
    ("2 KiB exactly", "200", {"x-amz-meta-ab": "x" * (2048 - 2)}),
    ("2 KiB and one", "400 MetadataTooLarge", {"x-amz-meta-ab": "x" * (2048 - 1)}),
    ("many small", "200", {"x-amz-meta-%03d" % i: "12345" for i in range(60)}),
    ("many too many", "400 MetadataTooLarge", {"x-amz-meta-%03d" % i: "x" * 40 for i in range(60)}),
], meta_size)


def test_metadata_replaced_on_put(s):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", b"bar", {"x-amz-meta-meta1": "bar"})
    api(s).ok("PUT", b + "/foo", b"bar", {"x-amz-meta-meta2": "baz"})
    h = api(s).ok("GET", b + "/foo").headers
    equal([(n, v) for n, v in h.items() if n.startswith("x-amz-meta")], [("x-amz-meta-meta2", "baz")], "metadata")


# ---- conditions ----

PAST, FUTURE = "Sat, 29 Oct 1994 19:43:31 GMT", "Sat, 29 Oct 2100 19:43:31 GMT"
GOOD, WRONG = etag(BODY), '"ABCORZ"'
READS = [
    ("If-Match right", {"If-Match": GOOD}, 200), ("If-Match bare", {"If-Match": GOOD.strip('"')}, 200),
    ("If-Match *", {"If-Match": "*"}, 200), ("If-Match wrong", {"If-Match": WRONG}, 412),
    ("If-Match list", {"If-Match": WRONG + ", " + GOOD}, 200),
    ("If-None-Match right", {"If-None-Match": GOOD}, 304), ("If-None-Match *", {"If-None-Match": "*"}, 304),
    ("If-None-Match weak", {"If-None-Match": "W/" + GOOD}, 304),
    ("If-None-Match wrong", {"If-None-Match": WRONG}, 200), ("If-None-Match bare wrong", {"If-None-Match": "ABCORZ"}, 200),
    ("If-None-Match list", {"If-None-Match": WRONG + "," + GOOD}, 304),
    ("If-Modified-Since past", {"If-Modified-Since": PAST}, 200),
    ("If-Modified-Since future", {"If-Modified-Since": FUTURE}, 304),
    ("If-Modified-Since nonsense", {"If-Modified-Since": "noon"}, 200),
    ("If-Unmodified-Since past", {"If-Unmodified-Since": PAST}, 412),
    ("If-Unmodified-Since future", {"If-Unmodified-Since": FUTURE}, 200),
    ("If-Unmodified-Since nonsense", {"If-Unmodified-Since": "noon"}, 200),
    ("match beats unmodified", {"If-Match": GOOD, "If-Unmodified-Since": PAST}, 200),
    ("none-match beats modified", {"If-None-Match": GOOD, "If-Modified-Since": PAST}, 304),
    ("both hold", {"If-Match": GOOD, "If-None-Match": WRONG}, 200),
    ("match wins, none-match fails", {"If-Match": GOOD, "If-None-Match": GOOD}, 304),
    ("match fails first", {"If-Match": WRONG, "If-None-Match": GOOD}, 412),
]


def read_if(s, headers, status):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", BODY)
    for method in ("GET", "HEAD"):
        a = wants(api(s)(method, b + "/foo", b"", headers),
                  {200: "200", 304: "304", 412: "412 PreconditionFailed" if method == "GET" else "412"}[status], method)
        if status == 304:
            equal(a.headers.get("etag"), GOOD, "ETag of a 304")
            true("last-modified" in a.headers, "a 304 without Last-Modified")
        if status == 200 and method == "GET":
            equal(a.body, BODY, "body")


conformance.table(globals(), "read", READS, read_if)


def test_read_if_modified_since_itself(s):
    b = filled(s, "foo")
    when = api(s).ok("HEAD", b + "/foo").headers["last-modified"]
    wants(api(s)("GET", b + "/foo", b"", {"If-Modified-Since": when}), "304")
    wants(api(s)("GET", b + "/foo", b"", {"If-Unmodified-Since": when}), "200")


WRITES = [
    ("If-Match right", True, {"If-Match": GOOD}, "200"), ("If-Match bare", True, {"If-Match": GOOD.strip('"')}, "200"),
    ("If-Match wrong", True, {"If-Match": WRONG}, "412 PreconditionFailed"),
    ("If-Match, none there", False, {"If-Match": GOOD}, "404 NoSuchKey|412 PreconditionFailed"),
    ("If-None-Match *", True, {"If-None-Match": "*"}, "412 PreconditionFailed"),
    ("If-None-Match *, none there", False, {"If-None-Match": "*"}, "200"),
]


def write_if(s, there, headers, expected):
    b = bucket(s)
    if there:
        api(s).ok("PUT", b + "/foo", BODY)
    wants(api(s)("PUT", b + "/foo", b"zar", headers), expected)
    a = api(s)("GET", b + "/foo")
    equal(a.body if a.status == 200 else None, b"zar" if expected == "200" else BODY if there else None, "body afterwards")


conformance.table(globals(), "write", WRITES, write_if)


# ---- ranges ----

LEN = len(BODY)
RANGES = [("first byte", "bytes=0-0", 0, 1), ("middle", "bytes=4-7", 4, 8), ("to the end", "bytes=4-", 4, LEN),
          ("last seven", "bytes=-7", LEN - 7, LEN), ("last byte", "bytes=%d-%d" % (LEN - 1, LEN - 1), LEN - 1, LEN),
          ("past the end", "bytes=1000-99999", 1000, LEN), ("suffix too long", "bytes=-99999", 0, LEN),
          ("all", "bytes=0-%d" % (LEN - 1), 0, LEN), ("huge end", "bytes=0-%d" % (1 << 62), 0, LEN)]


def ranged(s, text, start, end):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", BODY)
    for method in ("GET", "HEAD"):
        a = wants(api(s)(method, b + "/foo", b"", {"Range": text}), "206")
        equal(a.headers["content-range"], "bytes %d-%d/%d" % (start, end - 1, LEN), "Content-Range")
        equal(a.headers["content-length"], str(end - start), "Content-Length")
        if method == "GET":
            equal(a.body, BODY[start:end], "bytes")


conformance.table(globals(), "range", RANGES, ranged)
conformance.table(globals(), "range not satisfiable", [
    ("starts after the end", "bytes=%d-" % LEN, LEN), ("far away", "bytes=99999-100000", LEN), ("suffix 0", "bytes=-0", LEN),
    ("of nothing", "bytes=40-50", 0), ("suffix of nothing", "bytes=-5", 0), ("first of nothing", "bytes=0-", 0),
], lambda s, text, size: unsatisfiable(s, text, size))


def unsatisfiable(s, text, size):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", BODY[:size])
    a = wants(api(s)("GET", b + "/foo", b"", {"Range": text}), "416 InvalidRange")
    equal(a.one("ActualObjectSize", str(size)), str(size), "ActualObjectSize")


conformance.table(globals(), "range ignored", [
    ("another unit", "lines=1-2"), ("nonsense", "bytes=hello"), ("backwards", "bytes=7-4"), ("empty", "bytes="),
    ("several", "bytes=0-1,4-5"), ("no unit", "0-4"), ("negative", "bytes=--1"),
], lambda s, text: ignored_range(s, text))


def ignored_range(s, text):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", BODY)
    equal(wants(api(s)("GET", b + "/foo", b"", {"Range": text}), "200").body, BODY, "body")


def test_range_with_conditions(s):
    b = bucket(s)
    api(s).ok("PUT", b + "/foo", BODY)
    wants(api(s)("GET", b + "/foo", b"", {"Range": "bytes=0-3", "If-Match": GOOD}), "206")
    wants(api(s)("GET", b + "/foo", b"", {"Range": "bytes=0-3", "If-Match": WRONG}), "412 PreconditionFailed")
    wants(api(s)("GET", b + "/foo", b"", {"Range": "bytes=0-3", "If-None-Match": GOOD}), "304")


# ---- keys ----

KEYS = [" ", '"', "$", "%", "&", "'", "<", ">", "_", "_ ", "_ _", "__", "a b", "a+b", "a%20b", "a%2Fb", "a=b", "?", "#",
        "a?b=c&d", "/lead", "//two", "trail/", "dir//x", ".", "..", "../up", "./here", "a/../b", "\\", "|", "^", "`", "{}",
        "[]", "~", "!", "*", "()", "@", ",", ";", ":", "\t", "\n", "\r\n", "\x01", "\x1f", "\x7f", "\u00e4", "e\u0301",
        "\u65e5\u672c", "\U0001f600", "\u202e", "\ufeffbom", "_/health", "k" * 1024, "\u65e5" * 341]


def keyed(s, key):
    b = bucket(s)
    to = b + "/" + quoted(key, "/")
    a = wants(api(s)("PUT", to, key.encode()), "200")
    equal(api(s).ok("GET", to).body, key.encode(), "body")
    wants(api(s)("HEAD", to), "200")
    listed = api(s).ok("GET", b + "?encoding-type=url").all("Contents/Key")
    equal([conformance.urllib.parse.unquote_plus(k) for k in listed], [key], "listed, decoded")
    if all(c >= " " for c in key):
        equal(api(s).ok("GET", b).all("Contents/Key"), [key], "listed")
    copy = api(s)("PUT", b + "/copy", b"", {"x-amz-copy-source": to})
    equal(wants(copy, "200").one("ETag"), a.headers["etag"], "ETag of a copy")
    wants(api(s)("GET", to + ("&" if "?" in to else "?") + "acl"), "200")
    wants(api(s)("DELETE", to), "204")
    wants(api(s)("GET", to), "404 NoSuchKey")


conformance.table(globals(), "key", [(repr(k) if len(k) < 20 else "%d letters" % len(k), k) for k in KEYS], keyed)
conformance.table(globals(), "key refused", [
    ("1025 bytes", "400 KeyTooLongError", "k" * 1025), ("broken UTF-8", "400 InvalidURI|400 InvalidArgument", "%ff%fe"),
    ("half an escape", "400 InvalidURI|400", "a%2"), ("no escape", "400 InvalidURI|400", "a%zz"),
], lambda s, expected, key: refused_key(s, expected, key))


def refused_key(s, expected, key):
    b = bucket(s)
    h = {"Host": "%s:%d" % (s.host, s.port), "Content-Length": "0"}
    conformance.sign(MAIN, "PUT", b + "/" + key, h, EMPTY)
    a = conformance.exchange(s, "PUT", b + "/" + key, b"", h)
    true(("%d %s" % (a.status, a.code)).strip() in expected.split("|") or "400" == str(a.status), "%d %s" % (a.status, a.code))
    equal(api(s).ok("GET", b).all("Contents"), [], "keys afterwards")


# ---- deleting ----

def test_delete(s):
    b = filled(s, "foo")
    wants(api(s)("DELETE", b + "/foo"), "204")
    wants(api(s)("DELETE", b + "/foo"), "204", "again")
    wants(api(s)("GET", b + "/foo"), "404 NoSuchKey")
    a = api(s)("GET", b + "/foo")
    equal((a.one("Key"), a.one("Resource")), ("foo", b + "/foo"), "what the error names")
    wants(api(s)("HEAD", b + "/foo"), "404")


def multi(s, b, doc, expected="200", headers=None, **how):
    h = {"Content-MD5": md5(doc.encode())}
    h.update(headers or {})
    return wants(api(s)("POST", b + "?delete", doc, h, **how), expected)


def keys_doc(keys, *more):
    return element("Delete", *(list(more) + [element("Object", element("Key", k)) for k in keys]))


def test_multi_delete(s):
    b = filled(s, "key0", "key1", "key2", "kept")
    doc = keys_doc(["key0", "key1", "key2", "never-there"])
    for _ in range(2):  # what is gone counts as deleted
        a = multi(s, b, doc)
        equal(a.xml.tag, "DeleteResult", "root")
        equal(sorted(a.all("Deleted/Key")), ["key0", "key1", "key2", "never-there"], "deleted")
        equal(a.all("Error"), [], "errors")
    equal(api(s).ok("GET", b).all("Contents/Key"), ["kept"], "left")


def test_multi_delete_quiet(s):
    b = filled(s, "a", "b")
    a = multi(s, b, keys_doc(["a", "b"], element("Quiet", "true")))
    equal((a.xml.tag, len(a.xml)), ("DeleteResult", 0), "answer")
    equal(api(s).ok("GET", b).all("Contents"), [], "left")


def test_multi_delete_awkward_keys(s):
    keys = ["a&b", "<c>", " lead", "\u65e5", "it's"]
    b = filled(s, *keys)
    doc = element("Delete", *[element("Object", element("Key", k.replace("&", "&amp;").replace("<", "&lt;"))) for k in keys])
    equal(sorted(multi(s, b, doc).all("Deleted/Key")), sorted(keys), "deleted")
    equal(api(s).ok("GET", b).all("Contents"), [], "left")


def test_multi_delete_of_another(s):
    b = filled(s, "a")
    doc = keys_doc(["a"])
    a = conformance.other(s)("POST", b + "?delete", doc, {"Content-MD5": md5(doc.encode())})
    if a.status == 200:
        equal(a.all("Error/Code"), ["AccessDenied"], "errors")
    else:
        wants(a, "403 AccessDenied")
    wants(api(s)("HEAD", b + "/a"), "200")


def multi_bad(s, expected, doc, headers=None):
    b = filled(s, "a")
    h = {"Content-MD5": md5(doc.encode())}
    h.update(headers or {})
    wants(api(s)("POST", b + "?delete", doc, {n: v for n, v in h.items() if v}), expected)
    wants(api(s)("HEAD", b + "/a"), "200", "what is stored afterwards")


conformance.table(globals(), "multi delete", [
    ("1001 keys", "400 MalformedXML", keys_doc(["key-%d" % i for i in range(1001)])),
    ("no keys", "400 MalformedXML", element("Delete")),
    ("no XML", "400 MalformedXML", "hello"),
    ("cut XML", "400 MalformedXML", "<Delete><Object><Key>a</Key>"),
    ("another root", "400 MalformedXML", "<Remove><Object><Key>a</Key></Object></Remove>"),
    ("object without key", "400 MalformedXML|400 UserKeyMustBeSpecified", element("Delete", element("Object"))),
    ("wrong MD5", "400 BadDigest", keys_doc(["a"]), {"Content-MD5": md5(b"other")}),
    ("entities", "400 MalformedXML", '<!DOCTYPE d [<!ENTITY e "a">]><Delete><Object><Key>&e;</Key></Object></Delete>'),
], lambda s, expected, doc, headers=None: multi_bad(s, expected, doc, headers))


# ---- answers ----

def test_request_ids_differ(s):
    b = filled(s, "foo")
    ids = [api(s).ok("GET", b + "/foo").headers["x-amz-request-id"] for _ in range(5)]
    equal(len(set(ids)), 5, "different ids")


def test_anonymous_reads_nothing(s):
    b = filled(s, "foo")
    wants(anybody(s)("GET", b + "/foo"), "403 AccessDenied")
    wants(anybody(s)("GET", b + "/missing"), "403 AccessDenied", "a missing key is not told")


conformance.run(globals())
