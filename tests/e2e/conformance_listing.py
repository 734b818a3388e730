#!/usr/bin/python3
"""Conformance: listings. ListObjects, ListObjectsV2 and ListObjectVersions against a model of what
the Amazon S3 API Reference says of prefix, delimiter, marker, start-after, max-keys and tokens; the
shape of the documents; parameters that are wrong."""
import datetime
import os
import random
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import MAIN, api, bucket, etag, filled, quoted, wants
from darkroom import contains, equal, true

PAGES_MAX = 60


# ---- the model ----

def entries(keys, prefix, delimiter):
    """What a listing shows, in order: keys, and each common prefix once."""
    seen = []
    for key in sorted(keys, key=str.encode):
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        name = (key[:at + len(delimiter)], True) if at >= 0 else (key, False)
        if name not in seen:
            seen.append(name)
    return seen


def after(keys, prefix, delimiter, marker):
    """What follows a marker: a common prefix stays as long as a key of it does, unless the marker is
    that prefix or lies within it."""
    left = []
    for name, is_prefix in entries(keys, prefix, delimiter):
        if name.encode() > marker.encode() and not (is_prefix and marker.startswith(name)):
            left.append((name, is_prefix))
    return left


def shown(a):
    """The entries of an answer in order, keys and prefixes merged."""
    found = [(k, False) for k in a.all("Contents/Key")] + [(p, True) for p in a.all("CommonPrefixes/Prefix")]
    return sorted(found, key=lambda e: e[0].encode())


def target(b, **params):
    return b + "?" + "&".join("%s=%s" % (n.replace("_", "-"), quoted(str(v))) for n, v in params.items() if v is not None)


def page_v1(s, b, prefix, delimiter, size, keys):
    got, marker = [], ""
    for _ in range(PAGES_MAX):
        a = api(s).ok("GET", target(b, prefix=prefix, delimiter=delimiter, max_keys=size, marker=marker))
        equal(a.one("MaxKeys"), str(size), "MaxKeys")
        equal(a.one("Marker"), marker, "Marker")
        part = shown(a)
        true(len(part) <= size, "a page of %d" % len(part))
        got += part
        if a.one("IsTruncated") == "false":
            equal(a.one("NextMarker"), None, "NextMarker of the last page")
            return got
        # NextMarker comes with a delimiter only; without one the last key serves.
        equal(a.one("NextMarker"), part[-1][0] if delimiter else None, "NextMarker")
        marker = part[-1][0]
    raise conformance.Failed("no end after %d pages" % PAGES_MAX)


def page_v2(s, b, prefix, delimiter, size, keys):
    got, token = [], None
    for _ in range(PAGES_MAX):
        a = api(s).ok("GET", target(b, list_type=2, prefix=prefix, delimiter=delimiter, max_keys=size,
                                    continuation_token=token))
        equal(a.one("ContinuationToken"), token, "ContinuationToken")
        part = shown(a)
        equal(a.one("KeyCount"), str(len(part)), "KeyCount")
        true(len(part) <= size, "a page of %d" % len(part))
        got += part
        token = a.one("NextContinuationToken")
        equal(a.one("IsTruncated"), "true" if token else "false", "IsTruncated")
        if not token:
            return got
    raise conformance.Failed("no end after %d pages" % PAGES_MAX)


TREES = {
    "plain": ["foo", "bar", "baz"],
    "slashes": ["foo/bar", "foo/bar/xyzzy", "quux/thud", "asdf"],
    "boo": ["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla"],
    "underscore": ["_obj1_", "_under1/bar", "_under1/baz/xyzzy", "_under2/thud", "_under2/bla"],
    "ends": ["asdf/", "asdf/x", "b"],
    "percent": ["b%ar", "b%az", "c%ab", "foo"],
    "blanks": ["b ar", "b az", "c ab", "foo"],
    "dots": ["b.ar", "b.az", "c.ab", "foo"],
    "slash first": ["/a", "//b", "/c/d", "e"],
    "around": ["a", "a-", "a-b", "a.b", "a/", "a/b", "a0", "a0/b", "b"],
    "UTF-8": ["\u00e4/1", "\u00e4/2", "\u65e5\u672c/x", "\U0001f600", "z"],
    "long delimiter": ["x--y--1", "x--y--2", "x-y", "x---y", "x"],
    "same letters": ["a" * i for i in range(1, 9)],
}
WAYS = [("", None), ("", "/"), ("b", None), ("boo/", "/"), ("foo/", "/"), ("a", "/"), ("_under1/", "/"), ("/", "/"),
        ("", "a"), ("", "%"), ("", " "), ("", "."), ("", "--"), ("x", "-"), ("nothing", "/"), ("asdf/", "/"),
        ("\u00e4", "/"), ("", "\u672c"), ("aa", "a"), ("", "aa")]


def against_model(s, keys):
    b = filled(s, *keys)
    for prefix, delimiter in WAYS:
        want = entries(keys, prefix, delimiter or "")
        for size in (1, 2, 1000):
            for how in (page_v1, page_v2):
                got = how(s, b, prefix, delimiter, size, keys)
                equal(got, want, "%s, prefix %r, delimiter %r, pages of %d" % (how.__name__, prefix, delimiter, size))


conformance.table(globals(), "tree", list(TREES.items()), against_model)


def from_marker(s, keys):
    b = filled(s, *keys)
    marks = sorted(set(keys + [k[:-1] for k in keys if k[1:]] + [k + "0" for k in keys] + ["a/", "zzz", " "]))
    for prefix, delimiter in (("", None), ("", "/"), ("a", "/"), ("b", None)):
        for mark in marks:
            want = after(keys, prefix, delimiter or "", mark)
            for params in ({"marker": mark}, {"list_type": 2, "start_after": mark}):
                got = shown(api(s).ok("GET", target(b, prefix=prefix, delimiter=delimiter, **params)))
                equal(got, want, "%s, prefix %r, delimiter %r" % (params, prefix, delimiter))


conformance.table(globals(), "from a marker", [(n, TREES[n]) for n in ("plain", "boo", "around", "dots")], from_marker)


def test_random_trees(s):
    r = random.Random(7)
    for _ in range(4):
        keys = list({"".join(r.choice("ab/-") for _ in range(r.randint(1, 6))) for _ in range(30)})
        b = filled(s, *keys)
        for _ in range(12):
            prefix = "".join(r.choice("ab/-") for _ in range(r.randint(0, 2)))
            delimiter = r.choice([None, "/", "-", "a/", "b"])
            size = r.choice([1, 3, 7])
            for how in (page_v1, page_v2):
                equal(how(s, b, prefix, delimiter, size, keys), entries(keys, prefix, delimiter or ""),
                      "%s of %r, prefix %r, delimiter %r, pages of %d" % (how.__name__, keys, prefix, delimiter, size))


# ---- shapes ----

def test_v1_document(s):
    b = filled(s, "foo", "dir/x")
    a = api(s).ok("GET", target(b, prefix="", delimiter="/"))
    equal(a.xml.tag, "ListBucketResult", "root")
    contains(a.body.decode(), 'xmlns="%s"' % conformance.NAMESPACE, "namespace")
    equal((a.one("Name"), a.one("Prefix"), a.one("Marker"), a.one("Delimiter"), a.one("MaxKeys"), a.one("IsTruncated")),
          (b[1:], "", "", "/", "1000", "false"), "what was asked")
    equal((a.one("Contents/Size"), a.one("Contents/ETag"), a.one("Contents/StorageClass")),
          ("3", etag(b"foo"), "STANDARD"), "the entry")
    equal(a.one("Contents/Owner/ID"), conformance.canonical_id(s, MAIN), "Owner")
    equal(a.one("Contents/Owner/DisplayName"), "main", "DisplayName")
    datetime.datetime.strptime(a.one("Contents/LastModified"), "%Y-%m-%dT%H:%M:%S.%fZ")
    equal(a.one("KeyCount"), None, "KeyCount of v1")


def test_v2_document(s):
    b = filled(s, "foo", "bar")
    a = api(s).ok("GET", target(b, list_type=2, start_after="bar", max_keys=5))
    equal((a.one("Name"), a.one("Prefix"), a.one("StartAfter"), a.one("KeyCount"), a.one("MaxKeys"), a.one("Marker")),
          (b[1:], "", "bar", "1", "5", None), "what was asked")
    equal(a.one("Contents/Owner"), None, "Owner unasked")
    a = api(s).ok("GET", target(b, list_type=2, fetch_owner="true"))
    equal(a.one("Contents/Owner/DisplayName"), "main", "Owner asked for")
    equal(api(s).ok("GET", target(b, list_type=2, fetch_owner="false")).one("Contents/Owner"), None, "Owner declined")


def test_list_equals_head(s):
    b = filled(s, "bar", "baz", "foo")
    for how in ({}, {"list_type": 2}):
        a = api(s).ok("GET", target(b, **how))
        for key, tag, size, when in zip(*[a.all("Contents/" + n) for n in ("Key", "ETag", "Size", "LastModified")]):
            h = api(s).ok("HEAD", b + "/" + key).headers
            equal((h["etag"], h["content-length"]), (tag, size), "head of " + key)
            told = datetime.datetime.strptime(when, "%Y-%m-%dT%H:%M:%S.%fZ").strftime("%a, %d %b %Y %H:%M:%S GMT")
            equal(h["last-modified"], told, "Last-Modified of " + key)


def test_empty(s):
    b = bucket(s)
    for how in ({}, {"list_type": 2}, {"delimiter": "/"}, {"list_type": 2, "delimiter": "/", "prefix": "x"}):
        a = api(s).ok("GET", target(b, **how))
        equal((shown(a), a.one("IsTruncated")), ([], "false"), str(how))


# ---- max-keys and other parameters ----

def sized(s, expected, value, count):
    b = filled(s, "bar", "baz", "foo")
    for more in ({}, {"list_type": 2}):
        a = wants(api(s)("GET", target(b, max_keys=value, **more)), expected)
        if a.status == 200:
            equal(len(shown(a)), count, "entries")


conformance.table(globals(), "max-keys", [
    ("0", "200", "0", 0), ("1", "200", "1", 1), ("1000", "200", "1000", 3), ("2000", "200", "2000", 3),
    ("2147483647", "200", "2147483647", 3), ("empty", "200|400 InvalidArgument", "", 3),
    ("negative", "400 InvalidArgument", "-1", 0), ("not a number", "400 InvalidArgument", "blah", 0),
    ("beyond 32 bits", "400 InvalidArgument|200", "4294967296", 3),
], sized)


def test_max_keys_0_is_not_truncated(s):
    b = filled(s, "bar", "baz")
    for more in ({}, {"list_type": 2}):
        equal(api(s).ok("GET", target(b, max_keys=0, **more)).one("IsTruncated"), "false", "IsTruncated")


def test_max_keys_over_1000_is_told(s):
    b = bucket(s)
    equal(api(s).ok("GET", target(b, max_keys=5000)).one("MaxKeys"), "1000", "MaxKeys")


def asked(s, expected, query, path=None, value=None):
    b = filled(s, "bar", "baz", "cab", "foo")
    a = wants(api(s)("GET", b + "?" + query), expected)
    if path:
        equal(a.all(path), value, path)


ALL = ["bar", "baz", "cab", "foo"]
conformance.table(globals(), "parameter", [
    ("empty delimiter", "200", "delimiter=", "Contents/Key", ALL),
    ("delimiter unreadable", "200", "delimiter=%0a", "Contents/Key", ALL),
    ("delimiter told", "200", "delimiter=a", "Delimiter", ["a"]),
    ("delimiter never there", "200", "delimiter=d", "Contents/Key", ALL),
    ("no delimiter told", "200", "", "Delimiter", []),
    ("empty prefix", "200", "prefix=", "Contents/Key", ALL),
    ("prefix told", "200", "prefix=ba", "Prefix", ["ba"]),
    ("prefix unreadable", "200", "prefix=%0a", "Contents/Key", []),
    ("prefix never there", "200", "prefix=d&delimiter=/", "Contents/Key", []),
    ("empty marker", "200", "marker=", "Contents/Key", ALL),
    ("marker unreadable", "200", "marker=%0a", "Contents/Key", ALL),
    ("marker not there", "200", "marker=blah", "Contents/Key", ["cab", "foo"]),
    ("marker after all", "200", "marker=zzz", "Contents/Key", []),
    ("start-after unreadable", "200", "list-type=2&start-after=%0a", "Contents/Key", ALL),
    ("start-after not there", "200", "list-type=2&start-after=blah", "Contents/Key", ["cab", "foo"]),
    ("start-after after all", "200", "list-type=2&start-after=zzz", "Contents/Key", []),
    ("empty token", "400 InvalidArgument|200", "list-type=2&continuation-token="),
    ("wrong token", "400 InvalidArgument", "list-type=2&continuation-token=blah"),
    ("token beats start-after", "400 InvalidArgument", "list-type=2&start-after=bar&continuation-token=blah"),
    ("wrong encoding", "400 InvalidArgument", "encoding-type=base64"),
    ("encoding told", "200", "encoding-type=url", "EncodingType", ["url"]),
    ("list-type 1", "200|400 InvalidArgument", "list-type=1"),
    ("list-type 3", "200|400 InvalidArgument", "list-type=3"),
    ("allow-unordered ignored", "200", "allow-unordered=true", "Contents/Key", ALL),
    ("a parameter nobody knows", "200", "whatever=1", "Contents/Key", ALL),
    ("x-id", "200", "x-id=ListObjects", "Contents/Key", ALL),
], asked)


def test_token_with_start_after(s):
    b = filled(s, *ALL)
    a = api(s).ok("GET", target(b, list_type=2, start_after="bar", max_keys=1))
    equal(a.all("Contents/Key"), ["baz"], "first page")
    a = api(s).ok("GET", target(b, list_type=2, start_after="bar", max_keys=1,
                                continuation_token=a.one("NextContinuationToken")))
    equal((a.all("Contents/Key"), a.one("StartAfter")), (["cab"], "bar"), "second page")


def test_encoding_url(s):
    b = filled(s, "foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "asdf+b", "\u00e4", "p%q", "a&b")
    for how in ({}, {"list_type": 2}):
        a = api(s).ok("GET", target(b, delimiter="/", encoding_type="url", **how))
        equal(a.one("Delimiter"), "/", "Delimiter")
        equal([p.replace("+", "%20") for p in a.all("CommonPrefixes/Prefix")], ["foo%2B1/", "foo/", "quux%20ab/"], "prefixes")
        equal(a.all("Contents/Key"), ["a%26b", "asdf%2Bb", "p%25q", "%C3%A4"], "keys")
        a = api(s).ok("GET", target(b, prefix="foo+", encoding_type="url", **how))
        equal(a.one("Prefix"), "foo%2B", "Prefix")
    a = api(s).ok("GET", target(b, marker="a&b", encoding_type="url"))
    equal(a.one("Marker"), "a%26b", "Marker")


def test_control_characters(s):
    keys = ["c%02x%sx" % (i, chr(i)) for i in range(1, 32)]
    b = filled(s, *keys)
    for how in ({}, {"list_type": 2}):
        got = api(s).ok("GET", target(b, encoding_type="url", **how)).all("Contents/Key")
        equal([urllib.parse.unquote(k) for k in got], keys, "keys")


def test_printable_characters(s):
    keys = [chr(i) for i in range(32, 127) if chr(i) not in "/"]
    b = filled(s, *keys)
    for how in ({}, {"list_type": 2}):
        equal(api(s).ok("GET", target(b, **how)).all("Contents/Key"), keys, "keys")


def test_order_is_bytewise(s):
    keys = ["A", "Z", "a", "z", "\u00e4", "\uff5e", "\U00010000", "0", "~", "-", "A/b", "A0"]
    b = filled(s, *keys)
    equal(api(s).ok("GET", b).all("Contents/Key"), sorted(keys, key=str.encode), "order")


# ---- versions of a bucket that has none ----

def test_versions_unversioned(s):
    b = filled(s, "a", "b/1", "b/2", "c")
    a = api(s).ok("GET", b + "?versions")
    equal(a.xml.tag, "ListVersionsResult", "root")
    equal((a.all("Version/Key"), a.all("Version/VersionId"), a.all("Version/IsLatest")),
          (["a", "b/1", "b/2", "c"], ["null"] * 4, ["true"] * 4), "versions")
    equal((a.one("KeyMarker"), a.one("VersionIdMarker"), a.one("MaxKeys"), a.one("IsTruncated")), ("", "", "1000", "false"), "asked")
    a = api(s).ok("GET", b + "?versions&delimiter=/")
    equal((a.all("Version/Key"), a.all("CommonPrefixes/Prefix")), (["a", "c"], ["b/"]), "with a delimiter")
    seen, marker, version, n = [], "", "", 0
    while n < 10:
        a = api(s).ok("GET", target(b, max_keys=1, key_marker=marker) + "&versions" +
                      ("&version-id-marker=" + version if version else ""))
        seen += a.all("Version/Key")
        n += 1
        if a.one("IsTruncated") == "false":
            break
        marker, version = a.one("NextKeyMarker"), a.one("NextVersionIdMarker")
    equal(seen, ["a", "b/1", "b/2", "c"], "in pages of one")
    wants(api(s)("GET", b + "?versions&version-id-marker=null"), "400 InvalidArgument")
    wants(api(s)("GET", b + "?versions&max-keys=x"), "400 InvalidArgument")


def test_many_keys_in_pages_of_1000(s):
    b = bucket(s)
    count = 1205
    for i in range(count):
        api(s).ok("PUT", b + "/%05d" % i)
    a = api(s).ok("GET", b)
    equal((len(a.all("Contents/Key")), a.one("IsTruncated")), (1000, "true"), "first page")
    a = api(s).ok("GET", target(b, marker=a.all("Contents/Key")[-1]))
    equal((len(a.all("Contents/Key")), a.one("IsTruncated")), (205, "false"), "second page")
    a = api(s).ok("GET", target(b, list_type=2))
    a = api(s).ok("GET", target(b, list_type=2, continuation_token=a.one("NextContinuationToken")))
    equal((a.one("KeyCount"), a.one("IsTruncated")), ("205", "false"), "second page of v2")


conformance.run(globals())
