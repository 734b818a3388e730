#!/usr/bin/python3
"""Multipart uploads and checksums end to end: boto3 as it comes for what it can say, and requests signed
here for the rest. What is expected is Amazon S3's documentation, or what its public conformance suites saw."""
import base64
import hashlib
import json
import os
import re
import sys
import threading
import urllib.parse
import xml.etree.ElementTree
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, refused, true

B = "parts"
MIB = 1 << 20
PART = 5 * MIB
SOAK_BYTES = int(os.environ.get("MULTIPART_SOAK_BYTES", str(96 * MIB)))
RSS_GROWTH_MAX = 32 * MIB
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def crc_of(width, poly):
    """A bitwise CRC, reflected, from all ones to all ones: the definition, for short texts."""
    def crc(data):
        v = ones = (1 << width) - 1
        for byte in data:
            v ^= byte
            for _ in range(8):
                v = v >> 1 ^ (poly if v & 1 else 0)
        return (v ^ ones).to_bytes(width // 8, "big")
    return crc


SUMS = {"CRC32": lambda d: zlib.crc32(d).to_bytes(4, "big"), "CRC32C": crc_of(32, 0x82f63b78),
        "CRC64NVME": crc_of(64, 0x9a6c9329ac4bc9b5), "SHA1": lambda d: hashlib.sha1(d).digest(),
        "SHA256": lambda d: hashlib.sha256(d).digest()}
OTHER = {"CRC32": "SHA1", "CRC32C": "CRC32", "CRC64NVME": "CRC32", "SHA1": "SHA256", "SHA256": "CRC32C"}


def b64(raw):
    return base64.b64encode(raw).decode()


def summed(algorithm, data):
    return b64(SUMS[algorithm](data))


def header(algorithm):
    return "x-amz-checksum-" + algorithm.lower()


# ---- requests signed here ----

class Answer:
    def __init__(self, reply):
        self.status, self.headers, self.body = reply.status, reply.headers, reply.body
        self.root = xml.etree.ElementTree.fromstring(reply.body) if reply.body[:1] == b"<" else None

    def text(self, name):
        for node in [] if self.root is None else self.root.iter():
            if node.tag.rpartition("}")[2] == name:
                return node.text or ""
        return None

    def all(self, name):
        return [n for n in self.root.iter() if n.tag.rpartition("}")[2] == name]


def call(s, method, target, body=b"", **headers):
    return Answer(s.signed(method, "/%s/%s" % (B, target), body,
                           {k.replace("_", "-"): v for k, v in headers.items()}))


def fails(answer, status, code, message=None):
    equal((answer.status, answer.text("Code")), (status, code), "the refusal")
    if message is not None:
        contains(answer.text("Message"), message, "message")
    return answer


def good(answer, status=200):
    true(answer.status == status, "%d: %s" % (answer.status, answer.body[:400]))
    return answer


def begin(s, key, **headers):
    return good(call(s, "POST", key + "?uploads", **headers)).text("UploadId")


def send(s, key, upload, number, data, **headers):
    return call(s, "PUT", "%s?partNumber=%s&uploadId=%s" % (key, number, upload), data, **headers)


def listed(number, etag, **sums):
    return "<Part><PartNumber>%s</PartNumber><ETag>%s</ETag>%s</Part>" % (
        number, etag, "".join("<Checksum%s>%s</Checksum%s>" % (k, v, k) for k, v in sums.items()))


def finish(s, key, upload, parts, **headers):
    body = "<CompleteMultipartUpload xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>%s" \
           "</CompleteMultipartUpload>" % "".join(parts)
    return call(s, "POST", "%s?uploadId=%s" % (key, upload), body.encode(), **headers)


def test_bucket(s):
    s.s3().create_bucket(Bucket=B)


# ---- checksums of one PUT ----

def test_put_checksums(s):
    data = b"the bytes of a picture"
    for a in SUMS:
        h = {header(a): summed(a, data)}
        put = good(call(s, "PUT", "one", data, **h))
        equal((put.headers[header(a)], put.headers["x-amz-checksum-type"]), (h[header(a)], "FULL_OBJECT"), a)
        for method in "GET", "HEAD":
            got = good(call(s, method, "one", x_amz_checksum_mode="ENABLED"))
            equal((got.headers[header(a)], got.headers["x-amz-checksum-type"]), (h[header(a)], "FULL_OBJECT"), a)
            true(header(a) not in good(call(s, method, "one")).headers, a + " without being asked for")
        whole = good(call(s, "GET", "one", x_amz_checksum_mode="ENABLED", Range="bytes=0-21"), 206)
        equal(whole.headers.get(header(a)), h[header(a)], "a range that is all of it")
        some = good(call(s, "GET", "one", x_amz_checksum_mode="ENABLED", Range="bytes=0-20"), 206)
        true(header(a) not in some.headers, "a range with the checksum of the whole")
    fails(call(s, "GET", "one", x_amz_checksum_mode="SOMETIMES"), 400, "InvalidRequest",
          "Value for x-amz-checksum-mode header is invalid.")


def test_put_checksum_refusals(s):
    data = b"x"
    for a in SUMS:
        fails(call(s, "PUT", "bad", data, **{header(a): summed(a, b"y")}), 400, "BadDigest",
              "The %s you specified did not match the calculated checksum." % a)
        for value in "", "short===", "AAAA", "!" * len(summed(a, data)), summed(a, data) + "AAAA":
            fails(call(s, "PUT", "bad", data, **{header(a): value}), 400, "InvalidRequest",
                  "Value for %s header is invalid." % header(a))
        fails(call(s, "PUT", "bad", data, **{header(a): summed(a, data),
                                             header(OTHER[a]): summed(OTHER[a], data)}),
              400, "InvalidRequest", "Expecting a single x-amz-checksum- header")
        fails(call(s, "PUT", "bad", data, **{header(a): summed(a, data), "x-amz-sdk-checksum-algorithm": OTHER[a]}),
              400, "InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
        fails(call(s, "PUT", "bad", data, **{"x-amz-sdk-checksum-algorithm": a}),
              400, "InvalidRequest", "no corresponding x-amz-checksum-")
    fails(call(s, "PUT", "bad", data, x_amz_checksum_crc33="AAAA"), 400, "InvalidRequest")
    fails(call(s, "GET", "bad"), 404, "NoSuchKey")


# ---- an upload's algorithm ----

def test_create(s):
    for a, default in (("CRC32", "COMPOSITE"), ("CRC32C", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT"),
                       ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE")):
        made = good(call(s, "POST", "c?uploads", x_amz_checksum_algorithm=a))
        equal((made.headers["x-amz-checksum-algorithm"], made.headers["x-amz-checksum-type"]), (a, default), a)
        parts = good(call(s, "GET", "c?uploadId=" + made.text("UploadId")))
        equal((parts.text("ChecksumAlgorithm"), parts.text("ChecksumType")), (a, default), "ListParts of " + a)
        for kind in "COMPOSITE", "FULL_OBJECT":
            allowed = kind == default or a in ("CRC32", "CRC32C")
            answer = call(s, "POST", "c?uploads", x_amz_checksum_algorithm=a, x_amz_checksum_type=kind)
            if allowed:
                equal(good(answer).headers["x-amz-checksum-type"], kind, a)
            else:
                fails(answer, 400, "InvalidRequest", "The %s checksum type cannot be used with the %s checksum "
                      "algorithm." % (kind, a.lower()))
    fails(call(s, "POST", "c?uploads", x_amz_checksum_type="COMPOSITE"), 400, "InvalidRequest",
          "can only be used with the x-amz-checksum-algorithm header")
    fails(call(s, "POST", "c?uploads", x_amz_checksum_algorithm="MD4"), 400, "InvalidRequest",
          "Checksum algorithm provided is unsupported")
    fails(call(s, "POST", "c?uploads", x_amz_checksum_algorithm="CRC32", x_amz_checksum_type="HALF"), 400,
          "InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    uploads = good(call(s, "GET", "?uploads")).all("Upload")
    equal(len([u for u in uploads if u.findtext(NS + "ChecksumType") in ("COMPOSITE", "FULL_OBJECT")]),
          len(uploads), "uploads with a type in the listing")
    for u in uploads:
        good(call(s, "DELETE", "c?uploadId=" + u.findtext(NS + "UploadId")), 204)


def check_upload(s, a, kind):
    """Two parts; everything that can be said wrongly about them, then rightly."""
    key, short = "sum-%s-%s" % (a, kind), b"the last part"
    first = big_part(a)
    data = first[0] + short
    upload = begin(s, key, x_amz_checksum_algorithm=a, x_amz_checksum_type=kind)
    sums = [first[1], summed(a, short)]
    fails(send(s, key, upload, 1, short, **{header(OTHER[a]): summed(OTHER[a], short)}), 400, "InvalidRequest",
          "expected checksum Type: %s, actual checksum Type: %s" % (a.lower(), OTHER[a].lower()))
    fails(send(s, key, upload, 1, short, **{header(a): sums[0]}), 400, "BadDigest", "The " + a)
    one = good(send(s, key, upload, 1, first[0], **{header(a): sums[0]}))
    equal(one.headers[header(a)], sums[0], "answer to the part")
    bare = send(s, key, upload, 3, short)
    if kind == "COMPOSITE":
        fails(bare, 400, "InvalidRequest", "expected checksum Type: %s, actual checksum Type: null" % a.lower())
        bare = good(send(s, key, upload, 3, short, **{header(a): sums[1]}))
    equal(good(bare).headers[header(a)], sums[1], "answer to the last part")
    got = good(call(s, "GET", "%s?uploadId=%s" % (key, upload)))
    equal([p.findtext(NS + "Checksum" + a) for p in got.all("Part")], sums, "checksums in ListParts")
    parts = [listed(1, one.headers["etag"], **{a: sums[0]}), listed(3, bare.headers["etag"], **{a: sums[1]})]
    whole = b64(SUMS[a](b"".join(base64.b64decode(x) for x in sums))) + "-2" if kind == "COMPOSITE" \
        else full_sum(a, data)
    if kind == "COMPOSITE":
        fails(finish(s, key, upload, [parts[0], listed(3, bare.headers["etag"])]), 400, "InvalidRequest",
              "It was missing for part 3 in the request.")
    wrong = fails(finish(s, key, upload, [parts[0], listed(3, bare.headers["etag"], **{a: sums[0]})]), 400,
                  "InvalidPart")
    equal((wrong.text("PartNumber"), wrong.text("UploadId")), ("3", upload), "details of InvalidPart")
    fails(finish(s, key, upload, [parts[0], listed(3, bare.headers["etag"], **{a: "?"})]), 400, "InvalidArgument",
          "Invalid Base64 or multiple checksums present in request")
    fails(finish(s, key, upload, parts, **{header(a): sums[0]}), 400, "BadDigest",
          "The %s you specified did not match" % a.lower())
    fails(finish(s, key, upload, parts, **{header(a): "-"}), 400, "InvalidRequest",
          "Value for %s header is invalid." % header(a))
    other = "FULL_OBJECT" if kind == "COMPOSITE" else "COMPOSITE"
    fails(finish(s, key, upload, parts, x_amz_checksum_type=other), 400, "InvalidRequest",
          "created using the %s checksum mode" % kind)
    fails(finish(s, key, upload, parts, x_amz_mp_object_size=str(len(data) - 1)), 400, "InvalidRequest",
          "does not match what was computed: %d" % len(data))
    fails(finish(s, key, upload, parts, x_amz_mp_object_size="many"), 400, "InvalidRequest", "is invalid: 'many'")
    right = {header(a): whole, "x-amz-checksum-type": kind, "x-amz-mp-object-size": str(len(data))}
    for _ in "once", "again":
        done = good(finish(s, key, upload, parts, **right))
        equal((done.text("Checksum" + a), done.text("ChecksumType")), (whole, kind), "the completion's answer")
    head = good(call(s, "HEAD", key, x_amz_checksum_mode="ENABLED"))
    equal((head.headers[header(a)], head.headers["x-amz-checksum-type"]), (whole, kind), "HEAD")
    for number, want in ((1, sums[0]), (3, sums[1])):
        part = good(call(s, "GET", "%s?partNumber=%d" % (key, number), x_amz_checksum_mode="ENABLED"), 206)
        equal((part.headers[header(a)], part.headers["x-amz-mp-parts-count"]), (want, "2"), "GET of a part")
        equal(part.body, first[0] if number == 1 else short, "bytes of part %d" % number)
    equal(part.headers["content-range"], "bytes %d-%d/%d" % (PART, len(data) - 1, len(data)), "Content-Range")
    fails(call(s, "GET", key + "?partNumber=2"), 416, "InvalidPartNumber")
    about = good(call(s, "GET", key + "?attributes", x_amz_object_attributes="Checksum,ObjectParts"))
    equal(about.text("Checksum" + a), whole.partition("-")[0], "checksum in GetObjectAttributes")
    equal([p.findtext(NS + "Checksum" + a) for p in about.all("Part")], sums, "parts in GetObjectAttributes")


zeros = {}


def big_part(a):
    """5 MiB whose checksum is told without a library: of zeros, by squaring where it is a CRC."""
    if a not in zeros:
        data = bytes(PART)
        zeros[a] = data, b64(SUMS[a](data)) if a.startswith("SHA") or a == "CRC32" else fast_crc(a, data)
    return zeros[a]


def fast_crc(a, data):
    return b64(table_crc(*{"CRC32C": (32, 0x82f63b78), "CRC64NVME": (64, 0x9a6c9329ac4bc9b5)}[a], data))


def table_crc(width, poly, data):
    table = []
    for i in range(256):
        v = i
        for _ in range(8):
            v = v >> 1 ^ (poly if v & 1 else 0)
        table.append(v)
    v = ones = (1 << width) - 1
    for byte in data:
        v = table[(v ^ byte) & 255] ^ v >> 8
    return (v ^ ones).to_bytes(width // 8, "big")


def full_sum(a, data):
    return summed(a, data) if a == "CRC32" else fast_crc(a, data)


def test_upload_crc32_composite(s):
    check_upload(s, "CRC32", "COMPOSITE")


def test_upload_crc32_full(s):
    check_upload(s, "CRC32", "FULL_OBJECT")


def test_upload_crc32c_composite(s):
    check_upload(s, "CRC32C", "COMPOSITE")


def test_upload_crc32c_full(s):
    check_upload(s, "CRC32C", "FULL_OBJECT")


def test_upload_crc64nvme(s):
    check_upload(s, "CRC64NVME", "FULL_OBJECT")


def test_upload_sha1(s):
    check_upload(s, "SHA1", "COMPOSITE")


def test_upload_sha256(s):
    check_upload(s, "SHA256", "COMPOSITE")


# ---- copies ----

def test_copy_checksums(s):
    data = os.urandom(100000)
    good(call(s, "PUT", "plain", data))
    good(call(s, "PUT", "with-crc32", data, x_amz_checksum_crc32=summed("CRC32", data)))
    for source in "plain", "with-crc32":
        for a in "CRC32", "SHA1", "SHA256":
            done = good(call(s, "PUT", "copy", x_amz_copy_source="%s/%s" % (B, source), x_amz_checksum_algorithm=a))
            equal(done.text("Checksum" + a), summed(a, data), "%s of a copy of %s" % (a, source))
            head = good(call(s, "HEAD", "copy", x_amz_checksum_mode="ENABLED"))
            equal((head.headers[header(a)], head.headers["x-amz-checksum-type"]),
                  (summed(a, data), "FULL_OBJECT"), "HEAD of the copy")
            equal(good(call(s, "GET", "copy")).body, data, "bytes of the copy")
    fails(call(s, "PUT", "copy", x_amz_copy_source=B + "/plain", x_amz_checksum_algorithm="MD4"), 400,
          "InvalidRequest")
    copied = good(call(s, "PUT", "copy", x_amz_copy_source=B + "/with-crc32"))
    equal(copied.text("ChecksumCRC32"), summed("CRC32", data), "checksum that came along")


def test_part_copy(s):
    data = os.urandom(PART + 1000)
    good(call(s, "PUT", "source", data))
    upload = begin(s, "pieces", x_amz_checksum_algorithm="SHA256")
    target = "pieces?partNumber=%d&uploadId=" + upload
    source = {"x-amz-copy-source": B + "/source"}
    one = good(call(s, "PUT", target % 1, **source, x_amz_copy_source_range="bytes=0-%d" % (PART - 1)))
    two = good(call(s, "PUT", target % 2, **source))
    equal((one.text("ChecksumSHA256"), two.text("ChecksumSHA256")),
          (summed("SHA256", data[:PART]), summed("SHA256", data)), "checksums of copied parts")
    for bad in "bytes=0-", "bytes=-5", "0-5", "bytes=5-4", "bytes=0-1,3-4", "bytes=a-b", "":
        if bad:
            fails(call(s, "PUT", target % 3, **source, x_amz_copy_source_range=bad), 400, "InvalidArgument",
                  "must be of the form bytes=first-last")
    fails(call(s, "PUT", target % 3, **source, x_amz_copy_source_range="bytes=0-%d" % len(data)), 400,
          "InvalidArgument", "Range specified is not valid for source object of size: %d" % len(data))
    fails(call(s, "PUT", target % 3, x_amz_copy_source=B + "/nothing"), 404, "NoSuchKey")
    fails(call(s, "PUT", "pieces?partNumber=3&uploadId=none", **source), 404, "NoSuchUpload")
    good(finish(s, "pieces", upload, [
        listed(1, one.text("ETag"), SHA256=one.text("ChecksumSHA256")),
        listed(2, two.text("ETag"), SHA256=two.text("ChecksumSHA256"))]))
    equal(darkroom.sha256(good(call(s, "GET", "pieces")).body), darkroom.sha256(data[:PART] + data), "the object")


# ---- parts ----

def test_part_numbers(s):
    upload = begin(s, "n")
    for number in "0", "10001", "-1", "x", "", "1.5", "99999999999999999999":
        fails(send(s, "n", upload, number, b"x"), 400, "InvalidArgument",
              "Part number must be an integer between 1 and 10000, inclusive")
    fails(send(s, "n", "no-such-upload", 1, b"x"), 404, "NoSuchUpload")
    fails(send(s, "other", upload, 1, b"x"), 404, "NoSuchUpload")
    big = good(send(s, "n", upload, 1, bytes(PART))).headers["etag"]
    small = good(send(s, "n", upload, 2, b"small")).headers["etag"]
    last = good(send(s, "n", upload, 10000, b"last")).headers["etag"]
    too_small = fails(finish(s, "n", upload, [listed(1, big), listed(2, small), listed(10000, last)]), 400,
                      "EntityTooSmall", "smaller than the minimum allowed size")
    equal([too_small.text(x) for x in ("PartNumber", "ETag", "MinSizeAllowed", "ProposedSize")],
          ["2", small.strip('"'), "5242880", "5"], "details of EntityTooSmall")
    for parts in ([], [listed("", big)], [listed("x", big)], ["<Part/>"], ["<Part><PartNumber>1</PartNumber></Part>"]):
        fails(finish(s, "n", upload, parts), 400, "MalformedXML")
    fails(finish(s, "n", upload, [listed(10000, last), listed(1, big)]), 400, "InvalidPartOrder")
    fails(finish(s, "n", upload, [listed(1, big), listed(1, big)]), 400, "InvalidPartOrder")
    fails(finish(s, "n", upload, [listed(1, big), listed(5, last)]), 400, "InvalidPart")
    fails(finish(s, "n", upload, [listed(1, last)]), 400, "InvalidPart")
    fails(finish(s, "n", upload, [listed(1, "x" * 500)]), 400, "InvalidPart")
    plain = "\n  <PartNumber> 10000\n</PartNumber><ETag>\t%s \n</ETag>" % last.strip('"')
    good(finish(s, "n", upload, ["\n" + listed(1, "&quot;%s&quot;" % big.strip('"')),
                                 "<Part>%s</Part>\n" % plain]))
    equal(len(good(call(s, "GET", "n")).body), PART + 4, "size; the part that was not listed")
    fails(finish(s, "n", upload, [listed(1, big)]), 404, "NoSuchUpload")
    fails(call(s, "DELETE", "n?uploadId=" + upload), 404, "NoSuchUpload")
    fails(call(s, "GET", "n?uploadId=" + upload), 404, "NoSuchUpload")


def test_part_number_reads(s):
    good(call(s, "PUT", "single", b"all of it"))
    got = good(call(s, "GET", "single?partNumber=1"), 206)
    equal((got.body, got.headers["content-range"]), (b"all of it", "bytes 0-8/9"), "part 1 of a plain object")
    true("x-amz-mp-parts-count" not in got.headers, "a plain object has parts")
    fails(call(s, "GET", "single?partNumber=2"), 416, "InvalidPartNumber")
    equal(call(s, "HEAD", "single?partNumber=2").status, 416, "HEAD")
    for number in "0", "10001", "x":
        fails(call(s, "GET", "single?partNumber=" + number), 400, "InvalidArgument")
    fails(call(s, "GET", "single?partNumber=1", Range="bytes=0-1"), 400, "InvalidRequest",
          "Cannot specify both Range header and partNumber query parameter")


def test_conditions(s):
    def complete(**headers):
        upload = begin(s, "guarded")
        etag = good(send(s, "guarded", upload, 1, b"x")).headers["etag"]
        answer = finish(s, "guarded", upload, [listed(1, etag)], **headers)
        if answer.status != 200:
            good(call(s, "DELETE", "guarded?uploadId=" + upload), 204)
        return answer
    fails(complete(If_Match='"x"'), 404, "NoSuchKey")
    etag = good(complete(If_None_Match="*")).text("ETag")
    fails(complete(If_None_Match="*"), 412, "PreconditionFailed")
    fails(complete(If_Match='"x"'), 412, "PreconditionFailed")
    good(complete(If_Match=etag))


def test_versioned(s):
    c = s.s3()
    c.create_bucket(Bucket="versioned-parts")
    c.put_bucket_versioning(Bucket="versioned-parts", VersioningConfiguration={"Status": "Enabled"})
    who = {"Bucket": "versioned-parts", "Key": "k"}
    upload = c.create_multipart_upload(**who, Metadata={"a": "b"}, Tagging="x=y", StorageClass="STANDARD_IA",
                                       ContentType="image/x")["UploadId"]
    shown = c.list_parts(**who, UploadId=upload)
    equal(shown["StorageClass"], "STANDARD_IA", "storage class in ListParts")
    etags = [c.upload_part(**who, UploadId=upload, PartNumber=n, Body=d)["ETag"] for n, d in
             ((1, bytes(PART)), (2, b"tail"))]
    parts = {"Parts": [{"PartNumber": i + 1, "ETag": e} for i, e in enumerate(etags)]}
    first = c.complete_multipart_upload(**who, UploadId=upload, MultipartUpload=parts)
    again = c.complete_multipart_upload(**who, UploadId=upload, MultipartUpload=parts)
    equal((again["VersionId"], again["ETag"]), (first["VersionId"], first["ETag"]), "the completion repeated")
    c.put_object(**who, Body=b"newer")
    head = c.head_object(**who, VersionId=first["VersionId"], PartNumber=2)
    equal((head["ContentLength"], head["PartsCount"], head["Metadata"], head["StorageClass"], head["ContentType"]),
          (4, 2, {"a": "b"}, "STANDARD_IA", "image/x"), "part 2 of the older version")
    equal(c.get_object_tagging(**who, VersionId=first["VersionId"])["TagSet"], [{"Key": "x", "Value": "y"}], "tags")
    got = c.get_object(**who, VersionId=first["VersionId"])["Body"].read()
    equal(got, bytes(PART) + b"tail", "bytes of the older version")
    about = c.get_object_attributes(**who, VersionId=first["VersionId"],
                                    ObjectAttributes=["ETag", "ObjectParts", "StorageClass", "ObjectSize"])
    equal((about["ETag"], about["ObjectSize"], about["StorageClass"], about["ObjectParts"]["TotalPartsCount"],
           about["VersionId"]),
          (first["ETag"].strip('"'), PART + 4, "STANDARD_IA", 2, first["VersionId"]), "attributes of the version")
    c.delete_object(**who)
    refused("NoSuchKey", 404, c.get_object_attributes, **who, ObjectAttributes=["ETag"])
    upload = c.create_multipart_upload(Bucket="versioned-parts", Key="from-old")["UploadId"]
    copied = c.upload_part_copy(Bucket="versioned-parts", Key="from-old", UploadId=upload, PartNumber=1,
                                CopySource=dict(who, VersionId=first["VersionId"]))
    equal(copied["CopySourceVersionId"], first["VersionId"], "version of the source")
    c.abort_multipart_upload(Bucket="versioned-parts", Key="from-old", UploadId=upload)


def test_attributes(s):
    fails(call(s, "GET", "single?attributes"), 400, "InvalidRequest", "either missing or empty")
    fails(call(s, "GET", "single?attributes", x_amz_object_attributes="Colour"), 400, "InvalidArgument",
          "Invalid attribute name specified.")
    fails(call(s, "GET", "nothing?attributes", x_amz_object_attributes="ETag"), 404, "NoSuchKey")
    plain = good(call(s, "GET", "single?attributes",
                      x_amz_object_attributes="ETag, Checksum,ObjectParts ,StorageClass,ObjectSize"))
    equal((plain.text("ETag"), plain.text("StorageClass"), plain.text("ObjectSize")),
          (hashlib.md5(b"all of it").hexdigest(), "STANDARD", "9"), "attributes of a plain object")
    equal((plain.text("ObjectParts"), plain.text("Checksum")), (None, None), "what a plain object has not")
    c = s.s3()
    upload = begin(s, "paged")
    source = {"x-amz-copy-source": B + "/source", "x-amz-copy-source-range": "bytes=0-%d" % (PART - 1)}
    etags = {n: good(call(s, "PUT", "paged?partNumber=%d&uploadId=%s" % (n, upload), **source)).text("ETag")
             for n in (2, 4, 6, 8, 10)}
    good(finish(s, "paged", upload, [listed(n, e) for n, e in etags.items()]))
    seen, marker = [], 0
    while True:
        page = c.get_object_attributes(Bucket=B, Key="paged", ObjectAttributes=["ObjectParts"], MaxParts=2,
                                       PartNumberMarker=marker)["ObjectParts"]
        seen += [p["PartNumber"] for p in page["Parts"]]
        equal((page["MaxParts"], page["TotalPartsCount"], page["PartNumberMarker"]), (2, 5, marker), "page")
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    equal(seen, [2, 4, 6, 8, 10], "numbers over all pages")
    fails(call(s, "GET", "paged?attributes", x_amz_object_attributes="ObjectParts", x_amz_max_parts="x"), 400,
          "InvalidArgument")


def test_attributes_need_two_actions(s):
    def ask():
        return s.request("GET", "/%s/single?attributes" % B, headers={"x-amz-object-attributes": "ETag"})

    def allow(*actions):
        s.s3().put_bucket_policy(Bucket=B, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": list(actions),
             "Resource": "arn:aws:s3:::%s/*" % B}]}))
    for actions in ["s3:GetObject"], ["s3:GetObjectAttributes"]:
        allow(*actions)
        equal(ask().status, 403, "with %s alone" % actions)
    allow("s3:GetObject", "s3:GetObjectAttributes")
    equal(ask().status, 200, "with both")
    s.s3().delete_bucket_policy(Bucket=B)


# ---- listings ----

def test_list_parts(s):
    c, who = s.s3(), {"Bucket": B, "Key": "l"}
    upload = c.create_multipart_upload(**who)["UploadId"]
    for n in (9, 3, 7, 1):
        c.upload_part(**who, UploadId=upload, PartNumber=n, Body=b"x" * n)
    seen, marker = [], 0
    while True:
        page = c.list_parts(**who, UploadId=upload, MaxParts=3, PartNumberMarker=marker)
        seen += [(p["PartNumber"], p["Size"]) for p in page["Parts"]]
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    equal(seen, [(1, 1), (3, 3), (7, 7), (9, 9)], "parts over two pages")
    owner = c.list_buckets()["Owner"]["ID"]
    equal((page["Owner"]["ID"], page["Initiator"]["ID"]), (owner, owner), "owner and initiator")
    nothing = c.list_parts(**who, UploadId=upload, MaxParts=0)
    equal((nothing.get("Parts", []), nothing["IsTruncated"], nothing["MaxParts"]), ([], False, 0), "max-parts 0")
    equal(c.list_parts(**who, UploadId=upload, MaxParts=5000)["MaxParts"], 1000, "max-parts above 1000")
    fails(call(s, "GET", "l?max-parts=x&uploadId=" + upload), 400, "InvalidArgument")
    c.abort_multipart_upload(**who, UploadId=upload)


def test_list_uploads(s):
    c = s.s3()
    c.create_bucket(Bucket="open-uploads")
    keys = ["a b/1", "a b/2", "m", "z/x/1", "z/y/2"]
    ids = {k: [c.create_multipart_upload(Bucket="open-uploads", Key=k)["UploadId"] for _ in "ab"] for k in keys}

    def pages(**more):
        got, marks = [], {}
        while True:
            page = c.list_multipart_uploads(Bucket="open-uploads", **more, **marks)
            here = [(u["Key"], u["UploadId"]) for u in page.get("Uploads", [])] + \
                   [p["Prefix"] for p in page.get("CommonPrefixes", [])]
            got += here
            if not page["IsTruncated"]:
                return got
            equal(len(here), more["MaxUploads"], "entries of a full page")
            marks = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}
    everything = [(k, u) for k in keys for u in ids[k]]
    for size in 1, 2, 3, 1000:
        equal(pages(MaxUploads=size), everything, "all uploads in pages of %d" % size)
        folded = pages(MaxUploads=size, Delimiter="/")
        equal(sorted(map(str, folded)), sorted(map(str, ["a b/", "z/"] + [("m", u) for u in ids["m"]])),
              "folded in pages of %d" % size)
    equal(pages(Prefix="z/", Delimiter="/", MaxUploads=1), ["z/x/", "z/y/"], "folded below a prefix")
    raw = good(Answer(s.signed("GET", "/open-uploads?uploads&encoding-type=url&prefix=a%20")))
    equal([k.text for k in raw.all("Key")][0], "a%20b/1", "encoded key")
    fails(Answer(s.signed("GET", "/open-uploads?uploads&encoding-type=rot13")), 400, "InvalidArgument")
    after = good(Answer(s.signed("GET", "/open-uploads?uploads&key-marker=m")))
    equal([k.text for k in after.all("Key")], ["z/x/1", "z/x/1", "z/y/2", "z/y/2"], "behind all of a key")
    refused("BucketNotEmpty", 409, c.delete_bucket, Bucket="open-uploads")
    for k in keys:
        for u in ids[k]:
            c.abort_multipart_upload(Bucket="open-uploads", Key=k, UploadId=u)
    c.delete_bucket(Bucket="open-uploads")


# ---- many, and at once ----

def test_ten_thousand_parts(s):
    """All numbers there are, sent from the last to the first; copies, because all but the last part
    are at least 5 MiB."""
    upload = begin(s, "many")
    source = {"x-amz-copy-source": B + "/source", "x-amz-copy-source-range": "bytes=0-%d" % (PART - 1)}
    etags = {}

    def some(i):
        for n in range(10000 - i, 0, -4):
            etags[n] = good(call(s, "PUT", "many?partNumber=%d&uploadId=%s" % (n, upload), **source)).text("ETag")
    darkroom.at_once(4, some)
    equal(len(etags), 10000, "parts")
    done = good(finish(s, "many", upload, [listed(n, etags[n]) for n in range(1, 10001)]))
    true(done.text("ETag").strip('"').endswith("-10000"), "ETag")
    head = good(call(s, "HEAD", "many?partNumber=9999"), 206)
    equal((head.headers["x-amz-mp-parts-count"], head.headers["content-range"]),
          ("10000", "bytes %d-%d/%d" % (9998 * PART, 9999 * PART - 1, 10000 * PART)), "the part before the last")
    piece = good(call(s, "GET", "many", Range="bytes=%d-%d" % (7777 * PART - 3, 7777 * PART + 2)), 206).body
    want = good(call(s, "GET", "source", Range="bytes=0-%d" % (PART - 1)), 206).body
    equal(piece, want[-3:] + want[:3], "bytes across a border of parts")
    good(call(s, "DELETE", "many"), 204)


def test_abort_while_parts_arrive(s):
    upload = begin(s, "race")
    stopped = threading.Event()
    answers = []

    def feed(n):
        while not stopped.is_set() or n == 1 and not answers:
            got = send(s, "race", upload, n, os.urandom(70000))
            answers.append((got.status, got.text("Code")))
            if got.status != 200:
                return
    threads = [threading.Thread(target=feed, args=(n,)) for n in (1, 2, 3)]
    for t in threads:
        t.start()
    darkroom.until(lambda: len(answers) > 10, "some parts")
    good(call(s, "DELETE", "race?uploadId=" + upload), 204)
    for t in threads:
        t.join()
    stopped.set()
    true(set(answers) <= {(200, None), (404, "NoSuchUpload")} and (404, "NoSuchUpload") in answers, str(set(answers)))
    fails(call(s, "DELETE", "race?uploadId=" + upload), 404, "NoSuchUpload")
    fails(call(s, "GET", "race"), 404, "NoSuchKey")


def test_one_event(s):
    """A completion, asked for several times at once: one event, seen as one set of thumbnails."""
    c = s.s3()
    picture = darkroom.sample("parrots.png")
    upload = c.create_multipart_upload(Bucket="photos", Key="joined.png", ContentType="image/png")["UploadId"]
    etag = c.upload_part(Bucket="photos", Key="joined.png", UploadId=upload, PartNumber=1, Body=picture)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}

    def complete(_):
        s.s3().complete_multipart_upload(Bucket="photos", Key="joined.png", UploadId=upload, MultipartUpload=parts)
    darkroom.at_once(4, complete)
    s.settled("joined.png")
    s.idle()
    told = s.explain("joined.png")
    events = {(a["function"], a["event"]) for a in told["attempts"]}
    equal(sorted(f for f, _ in events), ["metadata", "thumbnail"], "functions with an event")
    equal({a["generation"] for a in told["attempts"]}, {told["object"]["generation"]}, "generations")


# ---- large, in flat memory ----

def rss(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) * 1024


def reset_peak(pid):
    with open("/proc/%d/clear_refs" % pid, "w") as f:
        f.write("5")


class Pattern:
    """Bytes that are made as they are asked for: the same place gives the same bytes."""
    block = hashlib.sha512(b"pattern").digest() * (MIB // 64)

    @classmethod
    def part(cls, number, size):
        head = number.to_bytes(64, "big")
        return head + (cls.block * (size // MIB + 1))[:size - 64]


def test_large_in_flat_memory(s):
    """MULTIPART_SOAK_BYTES up as parts and down as a stream; the server's peak stays where it was."""
    size = 16 * MIB if SOAK_BYTES < (5 << 30) else 64 * MIB
    count = SOAK_BYTES // size
    room = os.statvfs(s.data)
    if room.f_bavail * room.f_frsize < count * size + (1 << 30):
        raise darkroom.Skipped("%d MB of disk are needed" % ((count * size >> 20) + 1024))
    c, who = s.s3(), {"Bucket": B, "Key": "large"}
    c.put_object(**who, Body=b"the first request on this road")
    reset_peak(s.process.pid)
    before = rss(s.process.pid)
    upload = c.create_multipart_upload(**who)["UploadId"]
    parts = [{"PartNumber": n, "ETag": c.upload_part(**who, UploadId=upload, PartNumber=n,
                                                     Body=Pattern.part(n, size))["ETag"]}
             for n in range(1, count + 1)]
    c.complete_multipart_upload(**who, UploadId=upload, MultipartUpload={"Parts": parts})
    got = c.get_object(**who)
    equal(got["ContentLength"], count * size, "size")
    for n in range(1, count + 1):
        want, piece = Pattern.part(n, size), b""
        for at in range(0, size, MIB):
            piece = got["Body"].read(MIB)
            if piece != want[at:at + MIB]:
                raise darkroom.Failed("part %d differs at %d" % (n, at))
    equal(got["Body"].read(1), b"", "what comes behind the end")
    grown = rss(s.process.pid) - before
    print("# %d MB up and down, peak memory of the server %d -> +%d MB" %
          (count * size >> 20, before >> 20, grown >> 20))
    true(grown < RSS_GROWTH_MAX, "memory grew by %d MB" % (grown >> 20))
    c.delete_object(**who)


if __name__ == "__main__":
    darkroom.run(globals())
