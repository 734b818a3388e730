#!/usr/bin/python3
"""Conformance: versions. Configuration, version ids, delete markers, the null version, listings with
their markers, copies and multi-object deletes of versions. Source: "Using versioning in S3 buckets"
of the User Guide and the operations it names."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import MAIN, anybody, api, bucket, element, etag, filled, md5, quoted, wants
from darkroom import equal, true


def versioning(s, b, status, expected="200"):
    doc = '<VersioningConfiguration xmlns="%s">%s</VersioningConfiguration>' % (
        conformance.NAMESPACE, element("Status", status) if status else "")
    return wants(api(s)("PUT", b + "?versioning", doc), expected)


def versioned(s, *bodies, key="k"):
    """A bucket with versioning and one version of the key for each body: bucket and version ids."""
    b = bucket(s)
    versioning(s, b, "Enabled")
    return b, [put(s, b, body, key) for body in bodies]


def put(s, b, body, key="k", headers=None):
    return api(s).ok("PUT", b + "/" + key, body, headers).headers.get("x-amz-version-id")


def history(s, b, query=""):
    """(key, id, what) newest first, as listed; what is + for the latest, D for a marker."""
    a = api(s).ok("GET", b + "?versions" + query)
    equal(a.xml.tag, "ListVersionsResult", "root")
    out = []
    for node in a.xml:
        if node.tag in ("Version", "DeleteMarker"):
            what = ("D" if node.tag == "DeleteMarker" else "") + ("+" if node.findtext("IsLatest") == "true" else "")
            out.append((node.findtext("Key"), node.findtext("VersionId"), what))
    return out


def get(s, b, version=None, key="k"):
    return api(s)("GET", b + "/" + key + ("?versionId=" + version if version else ""))


# ---- configuration ----

def test_status(s):
    b = bucket(s)
    equal(api(s).ok("GET", b + "?versioning").one("Status"), None, "Status at first")
    for status in ("Enabled", "Suspended", "Enabled", "Enabled", "Suspended"):
        versioning(s, b, status)
        equal(api(s).ok("GET", b + "?versioning").one("Status"), status, "Status")


conformance.table(globals(), "configuration", [
    ("unknown status", "400 MalformedXML|400 IllegalVersioningConfigurationException", "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>"),
    ("small letters", "400 MalformedXML|400 IllegalVersioningConfigurationException", "<VersioningConfiguration><Status>enabled</Status></VersioningConfiguration>"),
    ("no status", "400 MalformedXML|400 IllegalVersioningConfigurationException|200", "<VersioningConfiguration/>"),
    ("no XML", "400 MalformedXML", "Enabled"), ("another root", "400 MalformedXML", "<Versioning/>"),
    ("empty", "400 MissingRequestBodyError|400 MalformedXML", ""),
    ("MFA delete", "501 NotImplemented|400 InvalidArgument|403 AccessDenied|400 InvalidRequest",
     "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>"),
], lambda s, expected, doc: wants(api(s)("PUT", bucket(s) + "?versioning", doc), expected))


# ---- puts and gets ----

def test_versions_are_kept(s):
    b, ids = versioned(s, b"one", b"two", b"three")
    equal(len(set(ids)), 3, "different ids")
    true(all(ids) and "null" not in ids, "ids %r" % ids)
    a = get(s, b)
    equal((a.body, a.headers["x-amz-version-id"]), (b"three", ids[2]), "the latest")
    for body, version in zip((b"one", b"two", b"three"), ids):
        a = wants(get(s, b, version), "200")
        equal((a.body, a.headers["x-amz-version-id"], a.headers["etag"]), (body, version, etag(body)), "by id")
        equal(wants(api(s)("HEAD", b + "/k?versionId=" + version), "200").headers["x-amz-version-id"], version, "HEAD")
    equal(history(s, b), [("k", ids[2], "+"), ("k", ids[1], ""), ("k", ids[0], "")], "history")
    equal(api(s).ok("GET", b).all("Contents/Key"), ["k"], "plain listing")
    wants(api(s)("DELETE", b), "409 BucketNotEmpty")


def test_unversioned_says_no_ids(s):
    b = filled(s, "k")
    for a in (api(s)("PUT", b + "/k", b"x"), get(s, b), api(s)("HEAD", b + "/k"), api(s)("DELETE", b + "/k")):
        true("x-amz-version-id" not in a.headers, "a version id")
    equal(put(s, b, b"x"), None, "id of a PUT")
    a = wants(get(s, b, "null"), "200")
    equal(a.body, b"x", "the null version")


def missing(s, method, version, expected):
    b, ids = versioned(s, b"one")
    wants(api(s)(method, "%s/k?versionId=%s" % (b, version)), expected)
    wants(get(s, b), "200")


OTHER_ID = "0123456789abcdef0123456789abcdef"
conformance.table(globals(), "no such version", [
    ("%s %s" % (m, n), m, v, e) for m, bad in (("GET", "404 NoSuchVersion|400 InvalidArgument"), ("HEAD", "404|400"),
                                               ("DELETE", "204|404 NoSuchVersion|400 InvalidArgument"))
    for n, v, e in (("unknown", OTHER_ID, bad), ("nonsense", "x", bad), ("null that is not there", "null", bad))] + [
    ("GET empty", "GET", "", "400 InvalidArgument|200")], missing)


# ---- deletes ----

def test_delete_makes_a_marker(s):
    b, ids = versioned(s, b"one", b"two")
    a = wants(api(s)("DELETE", b + "/k"), "204")
    marker = a.headers["x-amz-version-id"]
    equal(a.headers.get("x-amz-delete-marker"), "true", "x-amz-delete-marker")
    a = wants(get(s, b), "404 NoSuchKey")
    equal((a.headers.get("x-amz-delete-marker"), a.headers.get("x-amz-version-id")), ("true", marker), "GET of a marked key")
    wants(api(s)("HEAD", b + "/k"), "404")
    for method in ("GET", "HEAD"):
        a = wants(api(s)(method, "%s/k?versionId=%s" % (b, marker)), "405" if method == "HEAD" else "405 MethodNotAllowed")
        equal(a.headers.get("x-amz-delete-marker"), "true", "GET of the marker")
        true("last-modified" in a.headers, "a marker without Last-Modified")
    equal(history(s, b), [("k", marker, "D+"), ("k", ids[1], ""), ("k", ids[0], "")], "history")
    equal(api(s).ok("GET", b).all("Contents/Key"), [], "plain listing")
    equal(get(s, b, ids[0]).body, b"one", "an old version")
    a = wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, marker)), "204")
    equal((a.headers.get("x-amz-delete-marker"), a.headers.get("x-amz-version-id")), ("true", marker), "DELETE of the marker")
    equal(get(s, b).body, b"two", "what comes back")


def test_delete_versions_until_none(s):
    b, ids = versioned(s, b"0", b"1", b"2", b"3")
    for i in (3, 1, 2, 0):
        a = wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, ids[i])), "204")
        equal((a.headers.get("x-amz-version-id"), a.headers.get("x-amz-delete-marker")), (ids[i], None), "answer")
        left = [v for _, v, _ in history(s, b)]
        latest = get(s, b)
        if left:
            equal(latest.headers["x-amz-version-id"], left[0], "the latest")
        else:
            wants(latest, "404 NoSuchKey")
    wants(api(s)("DELETE", b), "204")


def test_delete_of_nothing_makes_a_marker(s):
    b, _ = versioned(s)
    a = wants(api(s)("DELETE", b + "/never"), "204")
    equal(history(s, b), [("never", a.headers["x-amz-version-id"], "D+")], "history")
    a = wants(api(s)("DELETE", b + "/never"), "204")
    equal(len(history(s, b)), 2, "markers")


def test_put_over_a_marker(s):
    b, ids = versioned(s, b"one")
    api(s).ok("DELETE", b + "/k")
    new = put(s, b, b"two")
    equal([(v, w) for _, v, w in history(s, b)][0], (new, "+"), "the latest")
    equal(get(s, b).body, b"two", "body")


# ---- the null version ----

def test_from_unversioned_to_versioned(s):
    b = filled(s, "k")
    versioning(s, b, "Enabled")
    equal(history(s, b), [("k", "null", "+")], "history")
    equal(get(s, b).headers.get("x-amz-version-id"), "null", "id of the old object")
    new = put(s, b, b"new")
    equal(history(s, b), [("k", new, "+"), ("k", "null", "")], "history")
    equal(get(s, b, "null").body, b"k", "the null version")
    wants(api(s)("DELETE", b + "/k?versionId=null"), "204")
    equal(history(s, b), [("k", new, "+")], "history")


def test_suspended(s):
    b, ids = versioned(s, b"one", b"two")
    versioning(s, b, "Suspended")
    true(put(s, b, b"three") in (None, "null"), "an id while suspended")
    true(put(s, b, b"four") in (None, "null"), "an id while suspended")
    equal(history(s, b), [("k", "null", "+"), ("k", ids[1], ""), ("k", ids[0], "")], "one null version")
    equal((get(s, b).body, get(s, b, "null").body), (b"four", b"four"), "body")
    a = wants(api(s)("DELETE", b + "/k"), "204")
    equal((a.headers.get("x-amz-delete-marker"), a.headers.get("x-amz-version-id")), ("true", "null"), "a null marker")
    equal(history(s, b), [("k", "null", "D+"), ("k", ids[1], ""), ("k", ids[0], "")], "the marker takes the null version's place")
    put(s, b, b"five")
    equal(history(s, b), [("k", "null", "+"), ("k", ids[1], ""), ("k", ids[0], "")], "and gives it back")
    wants(api(s)("DELETE", b + "/k?versionId=null"), "204")
    equal(get(s, b).body, b"two", "an enabled version comes back")
    versioning(s, b, "Enabled")
    new = put(s, b, b"six")
    equal([v for _, v, _ in history(s, b)], [new, ids[1], ids[0]], "enabled again")


def test_suspended_delete_keeps_versions(s):
    b, ids = versioned(s, b"one")
    versioning(s, b, "Suspended")
    api(s).ok("DELETE", b + "/k")
    equal(history(s, b), [("k", "null", "D+"), ("k", ids[0], "")], "history")
    wants(api(s)("DELETE", b + "/k?versionId=null"), "204")
    equal(get(s, b).body, b"one", "body")


# ---- listings ----

def test_version_document(s):
    b, ids = versioned(s, b"one")
    api(s).ok("DELETE", b + "/gone")
    a = api(s).ok("GET", b + "?versions")
    me = conformance.canonical_id(s, MAIN)
    equal([a.one("Version/" + n) for n in ("Key", "VersionId", "IsLatest", "ETag", "Size", "StorageClass", "Owner/ID")],
          ["k", ids[0], "true", etag(b"one"), "3", "STANDARD", me], "a version")
    equal([a.one("DeleteMarker/" + n) for n in ("Key", "IsLatest", "Owner/ID", "Size", "ETag")], ["gone", "true", me, None, None], "a marker")
    true(a.one("DeleteMarker/LastModified") and a.one("Version/LastModified"), "LastModified")
    equal([a.one(n) for n in ("Name", "Prefix", "KeyMarker", "VersionIdMarker", "MaxKeys", "IsTruncated")],
          [b[1:], "", "", "", "1000", "false"], "asked")


def test_versions_in_pages(s):
    b, _ = versioned(s)
    for key in ("a", "b", "c/1", "c/2", "d"):
        for i in range(3):
            put(s, b, b"%d" % i, key)
    api(s).ok("DELETE", b + "/b")
    whole = history(s, b)
    equal(len(whole), 16, "entries")
    for size in (1, 2, 5, 7):
        seen, more = [], ""
        for _ in range(20):
            a = api(s).ok("GET", "%s?versions&max-keys=%d%s" % (b, size, more))
            seen += history(s, b, "&max-keys=%d%s" % (size, more))
            if a.one("IsTruncated") == "false":
                break
            more = "&key-marker=%s&version-id-marker=%s" % (quoted(a.one("NextKeyMarker")), quoted(a.one("NextVersionIdMarker")))
        equal(seen, whole, "pages of %d" % size)
    equal(history(s, b, "&prefix=c/"), [e for e in whole if e[0].startswith("c/")], "prefix")
    equal(history(s, b, "&key-marker=b"), [e for e in whole if e[0] > "b"], "key-marker alone skips the key")
    second = [e for e in whole if e[0] == "b"][1][1]
    equal(history(s, b, "&key-marker=b&version-id-marker=" + second), whole[whole.index([e for e in whole if e[0] == "b"][2]):],
          "version-id-marker")
    a = api(s).ok("GET", b + "?versions&delimiter=/")
    equal(a.all("CommonPrefixes/Prefix"), ["c/"], "prefixes")
    wants(api(s)("GET", b + "?versions&version-id-marker=" + second), "400 InvalidArgument")


# ---- other operations and versions ----

def test_multi_delete_of_versions(s):
    b, ids = versioned(s, b"one", b"two")
    doc = element("Delete", *[element("Object", element("Key", "k"), element("VersionId", v)) for v in ids])
    a = api(s).ok("POST", b + "?delete", doc, {"Content-MD5": md5(doc.encode())})
    equal(sorted(a.all("Deleted/VersionId")), sorted(ids), "deleted")
    equal(history(s, b), [], "history")
    put(s, b, b"three")
    doc = element("Delete", element("Object", element("Key", "k")))
    a = api(s).ok("POST", b + "?delete", doc, {"Content-MD5": md5(doc.encode())})
    equal(a.one("Deleted/DeleteMarker"), "true", "DeleteMarker")
    marker = a.one("Deleted/DeleteMarkerVersionId")
    equal(history(s, b)[0], ("k", marker, "D+"), "the marker")
    doc = element("Delete", element("Object", element("Key", "k"), element("VersionId", marker)))
    a = api(s).ok("POST", b + "?delete", doc, {"Content-MD5": md5(doc.encode())})
    equal((a.one("Deleted/DeleteMarker"), a.one("Deleted/DeleteMarkerVersionId"), a.one("Deleted/VersionId")),
          ("true", marker, marker), "a marker deleted")
    equal(get(s, b).body, b"three", "what comes back")


def test_copy_of_a_version(s):
    b, ids = versioned(s, b"one", b"two")
    a = wants(api(s)("PUT", b + "/copy", b"", {"x-amz-copy-source": "%s/k?versionId=%s" % (b, ids[0])}), "200")
    equal(a.headers.get("x-amz-copy-source-version-id"), ids[0], "x-amz-copy-source-version-id")
    true(a.headers.get("x-amz-version-id"), "no id of the copy")
    equal(api(s).ok("GET", b + "/copy").body, b"one", "body")
    # A copy of an old version onto its own key brings it back.
    wants(api(s)("PUT", b + "/k", b"", {"x-amz-copy-source": "%s/k?versionId=%s" % (b, ids[0])}), "200")
    equal((get(s, b).body, len(history(s, b, "&prefix=k"))), (b"one", 3), "restored")
    api(s).ok("DELETE", b + "/k")
    wants(api(s)("PUT", b + "/copy", b"", {"x-amz-copy-source": b + "/k"}), "404 NoSuchKey")
    marker = history(s, b, "&prefix=k")[0][1]
    wants(api(s)("PUT", b + "/copy", b"", {"x-amz-copy-source": "%s/k?versionId=%s" % (b, marker)}), "400 InvalidRequest|404 NoSuchKey|405 MethodNotAllowed")


def test_tags_and_acl_of_versions(s):
    b, ids = versioned(s, b"one", b"two")
    doc = element("Tagging", element("TagSet", element("Tag", element("Key", "old"), element("Value", "1"))))
    a = api(s).ok("PUT", "%s/k?tagging&versionId=%s" % (b, ids[0]), doc)
    equal(a.headers.get("x-amz-version-id"), ids[0], "id of PUT ?tagging")
    equal(api(s).ok("GET", "%s/k?tagging&versionId=%s" % (b, ids[0])).all("TagSet/Tag/Key"), ["old"], "tags of the old one")
    equal(api(s).ok("GET", b + "/k?tagging").all("TagSet/Tag/Key"), [], "tags of the latest")
    wants(api(s)("GET", "%s/k?tagging&versionId=%s" % (b, OTHER_ID)), "404 NoSuchVersion|400 InvalidArgument")
    a = wants(api(s)("GET", "%s/k?acl&versionId=%s" % (b, ids[0])), "200")
    api(s).ok("DELETE", "%s/k?tagging&versionId=%s" % (b, ids[0]))
    equal(api(s).ok("GET", "%s/k?tagging&versionId=%s" % (b, ids[0])).all("TagSet/Tag/Key"), [], "tags after DELETE")


def test_multipart_makes_versions(s):
    b, _ = versioned(s)
    ids = []
    for body in (b"one", b"two"):
        upload = api(s).ok("POST", b + "/k?uploads").one("UploadId")
        tag = api(s).ok("PUT", "%s/k?partNumber=1&uploadId=%s" % (b, upload), body).headers["etag"]
        a = api(s).ok("POST", "%s/k?uploadId=%s" % (b, upload), element("CompleteMultipartUpload", element(
            "Part", element("PartNumber", "1"), element("ETag", tag))))
        ids.append(a.headers["x-amz-version-id"])
    equal([v for _, v, _ in history(s, b)], ids[::-1], "history")
    equal(get(s, b, ids[0]).body, b"one", "the first")


def test_ranges_and_conditions_of_versions(s):
    b, ids = versioned(s, b"0123456789", b"other")
    a = api(s)("GET", "%s/k?versionId=%s" % (b, ids[0]), b"", {"Range": "bytes=2-4"})
    equal((a.status, a.body), (206, b"234"), "range")
    wants(api(s)("GET", "%s/k?versionId=%s" % (b, ids[0]), b"", {"If-Match": etag(b"other")}), "412 PreconditionFailed")
    wants(api(s)("GET", "%s/k?versionId=%s" % (b, ids[0]), b"", {"If-None-Match": etag(b"0123456789")}), "304")


def test_conditional_put_and_markers(s):
    b, ids = versioned(s, b"one")
    wants(api(s)("PUT", b + "/k", b"x", {"If-None-Match": "*"}), "412 PreconditionFailed")
    api(s).ok("DELETE", b + "/k")
    wants(api(s)("PUT", b + "/k", b"x", {"If-None-Match": "*"}), "200", "over a marker")


def conditional_delete(s, headers, expected):
    b = filled(s, "k")
    wants(api(s)("DELETE", b + "/k", b"", headers), expected)
    wants(api(s)("HEAD", b + "/k"), "404" if expected == "204" else "200", "afterwards")


conformance.table(globals(), "delete", [
    ("If-Match right", {"If-Match": etag(b"k")}, "204"), ("If-Match wrong", {"If-Match": etag(b"x")}, "412 PreconditionFailed"),
    ("If-Match *", {"If-Match": "*"}, "204"),
], conditional_delete)


def test_delete_if_match_of_nothing(s):
    wants(api(s)("DELETE", bucket(s) + "/k", b"", {"If-Match": "*"}), "404 NoSuchKey|412 PreconditionFailed|204")


def test_versions_are_private(s):
    b, ids = versioned(s, b"one")
    for who in (anybody(s), conformance.other(s)):
        wants(who("GET", b + "?versions"), "403 AccessDenied")
        wants(who("GET", "%s/k?versionId=%s" % (b, ids[0])), "403 AccessDenied")
        wants(who("DELETE", "%s/k?versionId=%s" % (b, ids[0])), "403 AccessDenied")
        wants(who("PUT", b + "?versioning", element("VersioningConfiguration", element("Status", "Suspended"))), "403 AccessDenied")


def test_many_versions(s):
    b, ids = versioned(s, *[b"%d" % i for i in range(30)])
    equal([v for _, v, _ in history(s, b)], ids[::-1], "history")
    for version in ids[::2]:
        api(s).ok("DELETE", "%s/k?versionId=%s" % (b, version))
    equal([v for _, v, _ in history(s, b)], ids[1::2][::-1], "history")
    equal(get(s, b).body, b"29", "the latest")


conformance.run(globals())
