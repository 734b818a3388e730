#!/usr/bin/python3
"""Conformance: additional checksums and object attributes. Five algorithms at PUT, in trailers, over
parts (COMPOSITE and FULL_OBJECT), told by GET, HEAD, GetObjectAttributes, listings and copies.
Source: "Checking object integrity in Amazon S3" of the User Guide, the operations it names."""
import base64
import hashlib
import os
import sys
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import api, bucket, element, etag, filled, wants
from darkroom import equal, true


def reflected(polynomial, width):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    ones = (1 << width) - 1

    def crc(data):
        value = ones
        for byte in data:
            value = value >> 8 ^ table[(value ^ byte) & 255]
        return (value ^ ones).to_bytes(width // 8, "big")
    return crc


SUMS = {"CRC32": lambda d: zlib.crc32(d).to_bytes(4, "big"), "CRC32C": reflected(0x82f63b78, 32), "CRC64NVME": reflected(0x9a6c9329ac4bc9b5, 64),
        "SHA1": lambda d: hashlib.sha1(d).digest(), "SHA256": lambda d: hashlib.sha256(d).digest()}
MIN = 5 << 20


def b64(raw):
    return base64.b64encode(raw).decode()


def header(name):
    return "x-amz-checksum-" + name.lower()


ENABLED = {"x-amz-checksum-mode": "ENABLED"}


def single(s, name):
    b = bucket(s)
    body = os.urandom(1000)
    right = b64(SUMS[name](body))
    a = api(s).ok("PUT", b + "/k", body, {header(name): right})
    equal((a.headers.get(header(name)), a.headers.get("x-amz-checksum-type")), (right, "FULL_OBJECT"), "PUT")
    for method in ("GET", "HEAD"):
        h = api(s).ok(method, b + "/k", b"", ENABLED).headers
        equal((h.get(header(name)), h.get("x-amz-checksum-type")), (right, "FULL_OBJECT"), method)
        true(header(name) not in api(s).ok(method, b + "/k").headers, "told unasked")
    equal(api(s).ok("GET", b).one("Contents/ChecksumAlgorithm"), name, "listed")
    a = api(s).ok("GET", b + "/k?attributes", b"", {"x-amz-object-attributes": "Checksum,ObjectSize,ETag,StorageClass"})
    equal((a.one("Checksum/Checksum" + name), a.one("ObjectSize"), a.one("ETag"), a.one("StorageClass")), (right, "1000", etag(body).strip('"'), "STANDARD"), "attributes")
    a = api(s).ok("PUT", b + "/copy", b"", {"x-amz-copy-source": b + "/k"})
    equal(a.one("Checksum" + name), right, "of a copy")
    wants(api(s)("PUT", b + "/k", body, {header(name): b64(SUMS[name](b"other"))}), "400 BadDigest")
    wants(api(s)("PUT", b + "/k", body, {header(name): "!!"}), "400 InvalidRequest")
    wants(api(s)("PUT", b + "/k", body, {header(name): b64(b"12")}), "400 InvalidRequest")
    true(api(s).ok("GET", b + "/k").body == body, "a refusal changed the object")


conformance.table(globals(), "single", [(n, n) for n in SUMS], single)


def test_algorithm_header(s):
    b = bucket(s)
    wants(api(s)("PUT", b + "/k", b"x", {"x-amz-sdk-checksum-algorithm": "MD4"}), "400 InvalidRequest")
    wants(api(s)("PUT", b + "/k", b"x", {"x-amz-sdk-checksum-algorithm": "SHA256", header("CRC32"): b64(SUMS["CRC32"](b"x"))}), "400 InvalidRequest|200")
    a = wants(api(s)("PUT", b + "/k", b"x", {header("CRC32"): b64(SUMS["CRC32"](b"x")), header("SHA1"): b64(SUMS["SHA1"](b"x"))}), "400 InvalidRequest")


def test_a_range_has_no_checksum(s):
    b = bucket(s)
    api(s).ok("PUT", b + "/k", b"hello", {header("CRC32"): b64(SUMS["CRC32"](b"hello"))})
    h = wants(api(s)("GET", b + "/k", b"", dict(ENABLED, Range="bytes=0-1")), "206").headers
    true(header("CRC32") not in h, "the whole object's checksum with a range")


def create(s, b, algorithm=None, kind=None, expected="200"):
    h = {}
    if algorithm:
        h["x-amz-checksum-algorithm"] = algorithm
    if kind:
        h["x-amz-checksum-type"] = kind
    return wants(api(s)("POST", b + "/k?uploads", b"", h), expected)


def parts_of(s, b, upload, name, bodies, tell=True):
    out = ""
    for n, body in enumerate(bodies, 1):
        right = b64(SUMS[name](body))
        a = api(s).ok("PUT", "%s/k?partNumber=%d&uploadId=%s" % (b, n, upload), body, {header(name): right})
        equal(a.headers.get(header(name)), right, "of part %d" % n)
        out += element("Part", element("PartNumber", str(n)), element("ETag", etag(body)), element("Checksum" + name, right) if tell else "")
    return element("CompleteMultipartUpload", out)


BODIES = [os.urandom(1 << 10) * (MIN >> 10), b"the last part"]


def combined(name, kind, bodies):
    if kind == "FULL_OBJECT":
        return b64(SUMS[name](b"".join(bodies)))
    return b64(SUMS[name](b"".join(SUMS[name](x) for x in bodies))) + "-%d" % len(bodies)


def multipart(s, name, kind):
    b = bucket(s)
    a = create(s, b, name, kind)
    equal((a.headers.get("x-amz-checksum-algorithm"), a.headers.get("x-amz-checksum-type")), (name, kind), "create")
    upload = a.one("UploadId")
    doc = parts_of(s, b, upload, name, BODIES)
    a = api(s).ok("GET", "%s/k?uploadId=%s" % (b, upload))
    equal((a.one("ChecksumAlgorithm"), a.one("ChecksumType"), a.all("Part/Checksum" + name)), (name, kind, [b64(SUMS[name](x)) for x in BODIES]), "ListParts")
    a = api(s).ok("GET", b + "?uploads")
    equal((a.one("Upload/ChecksumAlgorithm"), a.one("Upload/ChecksumType")), (name, kind), "ListMultipartUploads")
    want = combined(name, kind, BODIES)
    a = api(s).ok("POST", "%s/k?uploadId=%s" % (b, upload), doc)
    equal((a.one("Checksum" + name), a.one("ChecksumType")), (want, kind), "complete")
    h = api(s).ok("HEAD", b + "/k", b"", ENABLED).headers
    equal((h.get(header(name)), h.get("x-amz-checksum-type")), (want, kind), "HEAD")
    a = api(s).ok("GET", b + "/k?attributes", b"", {"x-amz-object-attributes": "Checksum,ObjectParts,ObjectSize,ETag"})
    equal((a.one("Checksum/Checksum" + name).partition("-")[0], a.one("Checksum/ChecksumType"), a.one("ObjectParts/TotalPartsCount") or a.one("ObjectParts/PartsCount")),
          (want.partition("-")[0], kind, "2"), "attributes")
    h = wants(api(s)("HEAD", b + "/k?partNumber=2", b"", ENABLED), "206").headers
    equal(h.get("x-amz-mp-parts-count"), "2", "parts count")


conformance.table(globals(), "multipart", [("%s %s" % (n, k), n, k) for n, k in (
    ("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("CRC32C", "COMPOSITE"), ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE"))], multipart)


def test_full_crcs_are_combined(s):
    """CRC32C and CRC64NVME of the whole from those of small parts, which S3 allows for the last only."""
    for name in ("CRC32C", "CRC64NVME"):
        b = bucket(s)
        upload = create(s, b, name, "FULL_OBJECT").one("UploadId")
        doc = parts_of(s, b, upload, name, [b"only part"])
        a = api(s).ok("POST", "%s/k?uploadId=%s" % (b, upload), doc, {header(name): combined(name, "FULL_OBJECT", [b"only part"]), "x-amz-checksum-type": "FULL_OBJECT"})
        equal(a.one("Checksum" + name), combined(name, "FULL_OBJECT", [b"only part"]), name)


conformance.table(globals(), "create refused", [
    ("unknown algorithm", "MD4", None), ("SHA1 of the whole", "SHA1", "FULL_OBJECT"), ("SHA256 of the whole", "SHA256", "FULL_OBJECT"),
    ("CRC64NVME of the parts", "CRC64NVME", "COMPOSITE"), ("unknown type", "CRC32", "HALF"), ("type alone", None, "COMPOSITE"),
], lambda s, algorithm, kind: create(s, bucket(s), algorithm, kind, "400 InvalidRequest"))


def test_wrong_sums_of_parts(s):
    b = bucket(s)
    upload = create(s, b, "SHA256", "COMPOSITE").one("UploadId")
    to = "%s/k?partNumber=1&uploadId=%s" % (b, upload)
    wants(api(s)("PUT", to, b"x", {header("SHA256"): b64(SUMS["SHA256"](b"y"))}), "400 BadDigest")
    wants(api(s)("PUT", to, b"x", {header("CRC32"): b64(SUMS["CRC32"](b"x"))}), "400 InvalidRequest", "another algorithm")
    doc = parts_of(s, b, upload, "SHA256", [b"x"]).replace(b64(SUMS["SHA256"](b"x")), b64(SUMS["SHA256"](b"y")))
    wants(api(s)("POST", "%s/k?uploadId=%s" % (b, upload), doc), "400 InvalidPart|400 BadDigest")
    wants(api(s)("HEAD", b + "/k"), "404")


def test_wrong_sum_of_the_whole(s):
    b = bucket(s)
    upload = create(s, b, "CRC32", "FULL_OBJECT").one("UploadId")
    doc = parts_of(s, b, upload, "CRC32", [b"x"])
    wants(api(s)("POST", "%s/k?uploadId=%s" % (b, upload), doc, {header("CRC32"): b64(SUMS["CRC32"](b"y"))}), "400 BadDigest")
    wants(api(s)("POST", "%s/k?uploadId=%s" % (b, upload), doc, {"x-amz-mp-object-size": "2"}), "400 InvalidRequest")
    wants(api(s)("POST", "%s/k?uploadId=%s" % (b, upload), doc, {"x-amz-mp-object-size": "1"}), "200")


# ---- attributes ----

def test_attributes(s):
    b = filled(s, "k")
    a = api(s).ok("GET", b + "/k?attributes", b"", {"x-amz-object-attributes": "ETag"})
    equal((a.xml.tag, [n.tag for n in a.xml]), ("GetObjectAttributesResponse" if a.xml.tag.endswith("Response") else "GetObjectAttributesOutput", ["ETag"]), "document")
    true("last-modified" in a.headers, "no Last-Modified")
    a = api(s).ok("GET", b + "/k?attributes", b"", {"x-amz-object-attributes": "ObjectParts,ObjectSize"})
    equal((a.one("ObjectParts"), a.one("ObjectSize")), (None, "1"), "parts of a plain object")
    wants(api(s)("GET", b + "/k?attributes"), "400 InvalidRequest|400 InvalidArgument", "nothing asked")
    wants(api(s)("GET", b + "/k?attributes", b"", {"x-amz-object-attributes": "Colour"}), "400 InvalidArgument|400 InvalidRequest")
    wants(api(s)("GET", b + "/missing?attributes", b"", {"x-amz-object-attributes": "ETag"}), "404 NoSuchKey")
    wants(conformance.other(s)("GET", b + "/k?attributes", b"", {"x-amz-object-attributes": "ETag"}), "403 AccessDenied")


def test_attributes_in_pages(s):
    b = bucket(s)
    upload = create(s, b, "SHA256", "COMPOSITE").one("UploadId")
    doc = parts_of(s, b, upload, "SHA256", [BODIES[0], BODIES[0], b"z"])
    api(s).ok("POST", "%s/k?uploadId=%s" % (b, upload), doc)
    ask = {"x-amz-object-attributes": "ObjectParts", "x-amz-max-parts": "2"}
    a = api(s).ok("GET", b + "/k?attributes", b"", ask)
    equal((a.all("ObjectParts/Part/PartNumber"), a.one("ObjectParts/IsTruncated"), a.one("ObjectParts/MaxParts"), a.one("ObjectParts/NextPartNumberMarker")),
          (["1", "2"], "true", "2", "2"), "first page")
    a = api(s).ok("GET", b + "/k?attributes", b"", dict(ask, **{"x-amz-part-number-marker": "2"}))
    equal((a.all("ObjectParts/Part/PartNumber"), a.all("ObjectParts/Part/Size"), a.one("ObjectParts/IsTruncated")), (["3"], ["1"], "false"), "second page")


conformance.run(globals())
