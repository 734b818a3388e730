#!/usr/bin/python3
"""Versions of objects through boto3: the life of a key, delete markers, copies of old versions, listings,
conditions, storage classes, what must not happen when things happen at once, emptying a bucket."""
import datetime
import os
import random
import socket
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, refused, true

RACERS = 100
RACE_KEYS = 10
THOUSAND = 1000
WRITERS = 4
READERS = 4
OVERWRITES = 25
SLOW_BYTES = 48 << 20  # more than the sockets between hold


def bucket(s, name, status="Enabled"):
    c = s.s3()
    c.create_bucket(Bucket=name)
    if status:
        c.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})
    return c


def body(c, b, key, **more):
    return c.get_object(Bucket=b, Key=key, **more)["Body"].read()


def versions(c, b, **more):
    """(kind, key, version id, is latest) of all pages, in the order of the listing."""
    got = []
    for page in c.get_paginator("list_object_versions").paginate(Bucket=b, **more):
        one = [("version", v["Key"], v["VersionId"], v["IsLatest"]) for v in page.get("Versions", [])] + \
              [("marker", v["Key"], v["VersionId"], v["IsLatest"]) for v in page.get("DeleteMarkers", [])]
        got += one
    return got


def empty(c, b):
    """Everything in the bucket through the API alone, then the bucket."""
    for upload in c.list_multipart_uploads(Bucket=b).get("Uploads", []):
        c.abort_multipart_upload(Bucket=b, Key=upload["Key"], UploadId=upload["UploadId"])
    left = [{"Key": k, "VersionId": v} for _, k, v, _ in versions(c, b)]
    for one in [o for o in left if any(ord(x) < 32 or ord(x) in (0xfffe, 0xffff) for x in o["Key"])]:
        c.delete_object(Bucket=b, **one)  # XML 1.0 has no place for these characters
        left.remove(one)
    for i in range(0, len(left), 1000):
        answer = c.delete_objects(Bucket=b, Delete={"Objects": left[i:i + 1000], "Quiet": True})
        equal(answer.get("Errors", []), [], "errors of the deletion")
    c.delete_bucket(Bucket=b)
    refused("404", 404, c.head_bucket, Bucket=b)


def test_setting(s):
    c = bucket(s, "setting", None)
    true("Status" not in c.get_bucket_versioning(Bucket="setting"), "a new bucket has a status")
    for status in ("Enabled", "Suspended", "Enabled"):
        c.put_bucket_versioning(Bucket="setting", VersioningConfiguration={"Status": status})
        equal(c.get_bucket_versioning(Bucket="setting")["Status"], status, "status")
    refused("MalformedXML", 400, c.put_bucket_versioning, Bucket="setting",
            VersioningConfiguration={"Status": "Off"})
    refused("IllegalVersioningConfigurationException", 400, c.put_bucket_versioning, Bucket="setting",
            VersioningConfiguration={})
    c.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    equal(c.get_bucket_versioning(Bucket="locked")["Status"], "Enabled", "status with object lock")
    refused("InvalidBucketState", 409, c.put_bucket_versioning, Bucket="locked",
            VersioningConfiguration={"Status": "Suspended"})


def test_life_of_a_key(s):
    b = "life"
    c = bucket(s, b)
    bodies = {0: b"first", 1: os.urandom(200000), 2: b"", 3: b"last"}
    ids = [c.put_object(Bucket=b, Key="k", Body=bodies[i])["VersionId"] for i in range(4)]
    equal(len(set(ids)), 4, "different version ids")
    for i in (2, 0, 3, 1):
        got = c.get_object(Bucket=b, Key="k", VersionId=ids[i])
        equal((got["Body"].read(), got["VersionId"]), (bodies[i], ids[i]), "version %d" % i)
        equal(c.head_object(Bucket=b, Key="k", VersionId=ids[i])["ContentLength"], len(bodies[i]), "size")
    marker = c.delete_object(Bucket=b, Key="k")
    true(marker["DeleteMarker"], "the deletion made no marker")
    answer = refused("NoSuchKey", 404, c.get_object, Bucket=b, Key="k")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    equal((headers["x-amz-delete-marker"], headers["x-amz-version-id"]), ("true", marker["VersionId"]), "headers")
    answer = refused("MethodNotAllowed", 405, c.get_object, Bucket=b, Key="k", VersionId=marker["VersionId"])
    equal(answer["ResponseMetadata"]["HTTPHeaders"]["allow"], "DELETE", "Allow")
    equal(c.list_objects_v2(Bucket=b)["KeyCount"], 0, "listed below a marker")
    equal(body(c, b, "k", VersionId=ids[0]), bodies[0], "a version below the marker")
    equal(c.delete_object(Bucket=b, Key="k", VersionId=marker["VersionId"])["DeleteMarker"], True, "marker gone")
    equal(body(c, b, "k"), b"last", "after the marker")
    for i in (3, 1, 2):
        c.delete_object(Bucket=b, Key="k", VersionId=ids[i])
    equal(body(c, b, "k"), b"first", "the oldest")
    refused("NoSuchVersion", 404, c.get_object, Bucket=b, Key="k", VersionId=ids[3])
    refused("InvalidArgument", 400, c.get_object, Bucket=b, Key="k", VersionId="nonsense")
    empty(c, b)


def test_before_and_after_versioning(s):
    b = "eras"
    c = bucket(s, b, None)
    true("VersionId" not in c.put_object(Bucket=b, Key="k", Body=b"plain"), "a version id without versioning")
    c.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    equal(c.get_object(Bucket=b, Key="k")["VersionId"], "null", "id of the old object")
    named = c.put_object(Bucket=b, Key="k", Body=b"named")["VersionId"]
    c.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Suspended"})
    true("VersionId" not in c.put_object(Bucket=b, Key="k", Body=b"again"), "a version id while suspended")
    equal(body(c, b, "k", VersionId="null"), b"again", "the null version")
    equal([(v, latest) for _, _, v, latest in versions(c, b)], [("null", True), (named, False)], "versions")
    gone = c.delete_object(Bucket=b, Key="k")
    equal((gone["DeleteMarker"], gone["VersionId"]), (True, "null"), "the null marker")
    equal([(kind, v) for kind, _, v, _ in versions(c, b)], [("version", named), ("marker", "null")], "versions")
    c.delete_object(Bucket=b, Key="k", VersionId="null")
    equal(body(c, b, "k"), b"named", "what the null marker covered")
    empty(c, b)


def test_copies_of_versions(s):
    b = "copies"
    c = bucket(s, b)
    large = os.urandom(6 << 20)
    one = c.put_object(Bucket=b, Key="a?b c", Body=b"one", Metadata={"m": "1"}, ContentType="a/one")["VersionId"]
    two = c.put_object(Bucket=b, Key="a?b c", Body=large, Metadata={"m": "2"})["VersionId"]
    source = {"Bucket": b, "Key": "a?b c", "VersionId": one}
    answer = c.copy_object(Bucket=b, Key="copy", CopySource=source)
    equal(answer["CopySourceVersionId"], one, "id of the source")
    got = c.get_object(Bucket=b, Key="copy")
    equal((got["Body"].read(), got["Metadata"], got["ContentType"]), (b"one", {"m": "1"}, "a/one"), "the copy")
    equal(got["VersionId"], answer["VersionId"], "id of the copy")
    back = c.copy_object(Bucket=b, Key="a?b c", CopySource=source)["VersionId"]
    equal(body(c, b, "a?b c"), b"one", "restored")
    equal([v for _, k, v, _ in versions(c, b) if k == "a?b c"], [back, two, one], "versions")
    refused("InvalidRequest", 400, c.copy_object, Bucket=b, Key="a?b c", CopySource={"Bucket": b, "Key": "a?b c"})
    c.copy_object(Bucket=b, Key="a?b c", CopySource={"Bucket": b, "Key": "a?b c"}, StorageClass="STANDARD_IA")
    equal(c.head_object(Bucket=b, Key="a?b c")["StorageClass"], "STANDARD_IA", "storage class")
    upload = c.create_multipart_upload(Bucket=b, Key="joined")["UploadId"]
    parts = []
    for number, (version, cut) in enumerate(((two, "bytes=0-5242879"), (one, None)), 1):
        more = {"CopySourceRange": cut} if cut else {}
        answer = c.upload_part_copy(Bucket=b, Key="joined", UploadId=upload, PartNumber=number,
                                    CopySource=dict(source, VersionId=version), **more)
        equal(answer["CopySourceVersionId"], version, "id of the part's source")
        parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    done = c.complete_multipart_upload(Bucket=b, Key="joined", UploadId=upload, MultipartUpload={"Parts": parts})
    equal(body(c, b, "joined", VersionId=done["VersionId"]), large[:5 << 20] + b"one", "joined parts")
    marker = c.delete_object(Bucket=b, Key="copy")["VersionId"]
    refused("NoSuchKey", 404, c.copy_object, Bucket=b, Key="x", CopySource={"Bucket": b, "Key": "copy"})
    refused("InvalidRequest", 400, c.copy_object, Bucket=b, Key="x",
            CopySource={"Bucket": b, "Key": "copy", "VersionId": marker})
    refused("PreconditionFailed", 412, c.copy_object, Bucket=b, Key="x", CopySource=source,
            CopySourceIfMatch='"0"')
    empty(c, b)


def test_many_deletions(s):
    b = "many"
    c = bucket(s, b)
    ids = [c.put_object(Bucket=b, Key="k%d" % i, Body=b"x")["VersionId"] for i in range(5)]
    answer = c.delete_objects(Bucket=b, Delete={"Objects": [
        {"Key": "k0"}, {"Key": "k1", "VersionId": ids[1]}, {"Key": "k1", "VersionId": ids[1]},
        {"Key": "k2", "VersionId": "nonsense"}, {"Key": "never"}]})
    got = {d["Key"]: d for d in answer["Deleted"]}
    equal(sorted(got), ["k0", "k1", "never"], "deleted")
    equal(got["k1"].get("VersionId"), ids[1], "id of the version that is gone")
    for key in ("k0", "never"):
        true(got[key]["DeleteMarker"] and got[key]["DeleteMarkerVersionId"], "no marker for " + key)
    equal(sorted((e["Key"], e["Code"]) for e in answer["Errors"]),
          [("k2", "NoSuchVersion")], "errors")
    answer = c.delete_objects(Bucket=b, Delete={"Objects": [
        {"Key": "k0", "VersionId": got["k0"]["DeleteMarkerVersionId"]}]})
    equal((answer["Deleted"][0]["DeleteMarker"], answer["Deleted"][0]["DeleteMarkerVersionId"]),
          (True, got["k0"]["DeleteMarkerVersionId"]), "a marker removed")
    equal(body(c, b, "k0"), b"x", "k0 is back")
    refused("MalformedXML", 400, c.delete_objects, Bucket=b,
            Delete={"Objects": [{"Key": "k"}] * 1001})
    empty(c, b)


def test_conditional_deletions(s):
    """Older clients know no conditions on deletions, so these are bare requests."""
    b = "conditions"
    c = bucket(s, b, None)
    etag = c.put_object(Bucket=b, Key="k", Body=b"one")["ETag"]
    modified = s.signed("HEAD", "/%s/k" % b).headers["last-modified"]
    size, time = "x-amz-if-match-size", "x-amz-if-match-last-modified-time"
    for headers, status in (({"If-Match": '"0"'}, 412), ({"If-Match": etag, size: "4"}, 412),
                            ({time: modified.replace("20", "19")}, 412), ({size: "three"}, 400),
                            ({"If-Match": etag, size: "3", time: modified}, 204), ({"If-Match": etag}, 404)):
        reply = s.signed("DELETE", "/%s/k" % b, headers=headers)
        equal(reply.status, status, "DELETE with %s" % headers)
    for key in "abc":
        c.put_object(Bucket=b, Key=key, Body=b"one")
    entry = "<Object><Key>%s</Key>%s</Object>"
    document = "<Delete>%s</Delete>" % "".join((
        entry % ("a", "<ETag>&quot;0&quot;</ETag>"), entry % ("b", "<Size>4</Size>"),
        entry % ("c", "<ETag>%s</ETag><Size>3</Size><LastModifiedTime>%s</LastModifiedTime>" %
                 (etag, s.signed("HEAD", "/%s/c" % b).headers["last-modified"]))))
    answer = s.signed("POST", "/%s?delete" % b, document.encode()).body.decode()
    equal(answer.count("<Code>PreconditionFailed</Code>"), 2, "conditions that did not hold")
    contains(answer, "<Deleted><Key>c</Key></Deleted>", "the answer")
    refused("NoSuchKey", 404, s.s3().get_object, Bucket=b, Key="c")
    equal(s.signed("PUT", "/%s/k" % b, b"x", {"If-Match": etag}).status, 404, "If-Match on nothing")
    equal(s.signed("PUT", "/%s/k" % b, b"x", {"If-None-Match": etag}).status, 501, "If-None-Match with an ETag")
    empty(c, b)


def test_listing_of_versions(s):
    b = "history"
    c = bucket(s, b)
    wanted = []
    for key in ("a", "d/1", "d/2", "e"):
        made = []
        for i in range(3):
            made.insert(0, ("version", key, c.put_object(Bucket=b, Key=key, Body=b"%d" % i)["VersionId"]))
        if key != "a":
            made.insert(0, ("marker", key, c.delete_object(Bucket=b, Key=key)["VersionId"]))
        wanted += made
    wanted = [w + (i == 0 or wanted[i - 1][1] != w[1],) for i, w in enumerate(wanted)]
    equal(sorted(versions(c, b)), sorted(wanted), "all at once")
    order = {w[2]: i for i, w in enumerate(wanted)}
    for size in (1, 2, 3, 7, 1000):
        got = versions(c, b, PaginationConfig={"PageSize": size})
        equal(sorted(got, key=lambda v: order[v[2]]), wanted, "pages of %d" % size)
        equal(len(got), len(wanted), "entries in pages of %d" % size)
    page = c.list_object_versions(Bucket=b, Delimiter="/", MaxKeys=4)
    equal((len(page["Versions"]), [p["Prefix"] for p in page["CommonPrefixes"]]), (3, ["d/"]), "first page")
    equal((page["IsTruncated"], page["NextKeyMarker"]), (True, "d/"), "its end")
    page = c.list_object_versions(Bucket=b, Delimiter="/", KeyMarker="d/")
    equal((len(page["Versions"]), len(page["DeleteMarkers"]), page["IsTruncated"]), (3, 1, False), "second page")
    page = c.list_object_versions(Bucket=b, Prefix="d/", MaxKeys=0)
    equal((page.get("Versions"), page["IsTruncated"]), (None, False), "page of nothing")
    version = c.list_object_versions(Bucket=b, Prefix="a")["Versions"][0]
    equal((version["Size"], version["StorageClass"], version["Owner"]["ID"] != ""), (1, "STANDARD", True), "entry")
    refused("InvalidArgument", 400, c.list_object_versions, Bucket=b, KeyMarker="a", VersionIdMarker="nonsense")
    empty(c, b)


def test_keys_of_all_characters(s):
    b = "characters"
    c = bucket(s, b, None)
    points = list(range(1, 0x250)) + [0x2028, 0xd7ff, 0xe000, 0xfffd, 0xfffe, 0xffff, 0x10000, 0x1f600, 0x10ffff]
    wanted = ["k" + chr(p) + "/x" for p in points if p != ord("/")]
    for key in wanted:
        path = "/%s/%s" % (b, urllib.parse.quote(key, safe=""))
        equal(s.signed("PUT", path, b"x").status, 200, "PUT " + path)
    wanted.sort(key=str.encode)
    for size in (100, 1000):
        pages = c.get_paginator("list_objects_v2").paginate(Bucket=b, PaginationConfig={"PageSize": size})
        equal([o["Key"] for page in pages for o in page["Contents"]], wanted, "v2, pages of %d" % size)
        pages = c.get_paginator("list_objects").paginate(Bucket=b, PaginationConfig={"PageSize": size})
        equal([o["Key"] for page in pages for o in page["Contents"]], wanted, "v1, pages of %d" % size)
        equal([k for _, k, _, _ in versions(c, b, PaginationConfig={"PageSize": size})], wanted, "versions")
    pages = c.get_paginator("list_objects").paginate(Bucket=b, Delimiter="/", PaginationConfig={"PageSize": 9})
    equal([p["Prefix"] for page in pages for p in page["CommonPrefixes"]], [k[:-1] for k in wanted], "prefixes")
    for delimiter in ("%", " ", "\n", "\x01", "\x7f", "x", "/x", "é", "\U0001f600"):
        got = c.list_objects_v2(Bucket=b, Delimiter=delimiter)
        equal(got["Delimiter"], delimiter, "delimiter")
        equal([p["Prefix"] for p in got["CommonPrefixes"]],
              [k[:k.index(delimiter) + len(delimiter)] for k in wanted if delimiter in k], "by %r" % delimiter)
    got = c.list_objects(Bucket=b, Prefix="k\n")
    equal((got["Prefix"], [o["Key"] for o in got["Contents"]]), ("k\n", ["k\n/x"]), "by an unreadable prefix")
    plain = s.signed("GET", "/%s?prefix=k%%01" % b).body.decode()
    contains(plain, "<Key>k&#x1;/x</Key>", "a listing without encoding")
    empty(c, b)


def test_storage_classes(s):
    b = "classes"
    c = bucket(s, b, None)
    for name in ("REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER",
                 "DEEP_ARCHIVE", "GLACIER_IR"):
        c.put_object(Bucket=b, Key=name, Body=b"x", StorageClass=name)
        equal(c.get_object(Bucket=b, Key=name)["StorageClass"], name, "of " + name)
        equal(body(c, b, name), b"x", "bytes of " + name)
    c.put_object(Bucket=b, Key="STANDARD", Body=b"x", StorageClass="STANDARD")
    true("StorageClass" not in c.head_object(Bucket=b, Key="STANDARD"), "STANDARD is said")
    for o in c.list_objects_v2(Bucket=b)["Contents"]:
        equal(o["StorageClass"], o["Key"], "class in the listing")
    refused("InvalidStorageClass", 400, c.put_object, Bucket=b, Key="k", Body=b"", StorageClass="PAPER")
    empty(c, b)


def test_presigned_versions(s):
    b = "presigned"
    c = bucket(s, b)
    one = c.put_object(Bucket=b, Key="k", Body=b"one")["VersionId"]
    c.put_object(Bucket=b, Key="k", Body=b"two")
    url = c.generate_presigned_url("get_object", Params={
        "Bucket": b, "Key": "k", "VersionId": one, "ResponseContentType": "a/b"})
    reply = s.get(url[len(s.url):])
    equal((reply.status, reply.body, reply.headers["content-type"]), (200, b"one", "a/b"), "presigned GET")
    equal(s.get("/%s/k?versionId=%s" % (b, one)).status, 403, "unsigned GET")
    empty(c, b)


def test_one_of_a_hundred_creates(s):
    """Exactly one of all writes that must not replace anything wins, and its bytes are there."""
    c = bucket(s, "race", None)
    won = [[] for _ in range(RACE_KEYS)]

    def one(i):
        for k in random.sample(range(RACE_KEYS), RACE_KEYS):
            said = b"writer %d" % i
            reply = s.signed("PUT", "/race/%d" % k, said, {"If-None-Match": "*"})
            true(reply.status in (200, 412), "status %d" % reply.status)
            if reply.status == 200:
                won[k].append(said)
    darkroom.at_once(RACERS, one)
    equal([len(w) for w in won], [1] * RACE_KEYS, "winners of each key")
    for k in range(RACE_KEYS):
        equal(body(c, "race", str(k)), won[k][0], "bytes of key %d" % k)


def test_one_of_a_thousand_creates(s):
    """A thousand connections hold back the last byte of the same write, then all let go."""
    bucket(s, "race-thousand", None)
    lines = "".join("%s: %s\r\n" % h for h in s.signed_headers(
        "PUT", "/race-thousand/k", b"x", {"If-None-Match": "*"}).items())
    head = ("PUT /race-thousand/k HTTP/1.1\r\n%sContent-Length: 1\r\nConnection: close\r\n\r\n" % lines).encode()
    waiting = [socket.create_connection((s.host, s.port), darkroom.ANSWER_SECONDS) for _ in range(THOUSAND)]
    for c in waiting:
        c.sendall(head)
    for c in waiting:
        c.sendall(b"x")
    said = {}
    for c in waiting:
        status = c.makefile("rb").readline().split()[1]
        said[status] = said.get(status, 0) + 1
        c.close()
    equal(said, {b"200": 1, b"412": THOUSAND - 1}, "answers")


def test_one_of_many_completes(s):
    """The same of multipart uploads; who comes second may complete without the condition."""
    c = bucket(s, "race-parts", None)

    def begin(i):
        upload = c.create_multipart_upload(Bucket="race-parts", Key="k")["UploadId"]
        etag = c.upload_part(Bucket="race-parts", Key="k", UploadId=upload, PartNumber=1, Body=b"%d" % i)["ETag"]
        return upload, ("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
                        "</CompleteMultipartUpload>" % etag).encode()
    uploads = [begin(i) for i in range(20)]
    said = {}

    def complete(i):
        upload, document = uploads[i]
        said[i] = s.signed("POST", "/race-parts/k?uploadId=" + upload, document, {"If-None-Match": "*"}).status
    darkroom.at_once(len(uploads), complete)
    equal(sorted(said.values()), [200] + [412] * (len(uploads) - 1), "answers")
    won = [i for i in said if said[i] == 200][0]
    equal(body(c, "race-parts", "k"), b"%d" % won, "the winner's bytes")
    other = (won + 1) % len(uploads)
    upload, document = uploads[other]
    reply = s.signed("POST", "/race-parts/k?uploadId=" + upload, document, {"If-Match": '"0"'})
    equal(reply.status, 412, "another completion, If-Match of another ETag")
    equal(s.signed("POST", "/race-parts/k?uploadId=" + upload, document).status, 200, "without a condition")
    equal(body(c, "race-parts", "k"), b"%d" % other, "the second's bytes")
    empty(c, "race-parts")


def test_one_of_many_deletes(s):
    c = bucket(s, "race-deletes")
    etag = c.put_object(Bucket="race-deletes", Key="k", Body=b"x")["ETag"]
    said = {}

    def one(i):
        said[i] = s.signed("DELETE", "/race-deletes/k", headers={"If-Match": etag}).status
    darkroom.at_once(20, one)
    equal(sorted(said.values()), [204] + [412] * 19, "answers")
    equal([kind for kind, _, _, _ in versions(c, "race-deletes")], ["version", "marker"], "versions")
    empty(c, "race-deletes")


def mixing(s, b, size):
    """Writers overwrite one key with bodies of one byte each, while readers read it in all ways."""
    ids, failures, gate = [], [], threading.Event()
    path = "/%s/k%d" % (b, size)
    equal(s.signed("PUT", path, b"\0" * size).status, 200, "PUT")

    def write(i):
        for n in range(OVERWRITES):
            reply = s.signed("PUT", path, bytes([1 + i * OVERWRITES + n]) * size)
            equal(reply.status, 200, "PUT")
            if "x-amz-version-id" in reply.headers:
                ids.append((reply.headers["x-amz-version-id"], 1 + i * OVERWRITES + n))

    def read(i):
        while not gate.is_set():
            headers = {"Range": "bytes=%d-" % (size // 2)} if i % 2 else {}
            reply = s.signed("GET", path, headers=headers)
            true(reply.status in (200, 206), "status %d" % reply.status)
            equal(len(reply.body), size - (size // 2 if i % 2 else 0), "length")
            equal(reply.body.count(reply.body[:1]), len(reply.body), "bytes of one version in %s" % path)
            if not i % 2:
                equal(reply.headers["etag"].strip('"'), darkroom.hashlib.md5(reply.body).hexdigest(), "ETag")

    def guarded(i):
        try:
            read(i)
        except Exception as e:
            failures.append(e)
    readers = [threading.Thread(target=guarded, args=(i,)) for i in range(READERS)]
    for r in readers:
        r.start()
    try:
        darkroom.at_once(WRITERS, write)
    finally:
        gate.set()
        for r in readers:
            r.join()
    if failures:
        raise failures[0]
    for version, byte in random.sample(ids, min(20, len(ids))):
        reply = s.signed("GET", "%s?versionId=%s" % (path, version))
        equal((reply.status, reply.body == bytes([byte]) * size), (200, True), "version %s" % version)


def test_bytes_of_versions_never_mix(s):
    for b, status in (("mix-plain", None), ("mix-versions", "Enabled")):
        c = bucket(s, b, status)
        for size in (10, 60000, 300000, 3 << 20):
            mixing(s, b, size)
        empty(c, b)


def test_a_slow_reader_keeps_its_version(s):
    """Whoever began to read goes on with the same bytes, whatever becomes of the key meanwhile."""
    c = bucket(s, "slow", None)
    c.put_object(Bucket="slow", Key="k", Body=b"1" * SLOW_BYTES)
    for what in ("overwritten", "deleted"):
        wanted = body(c, "slow", "k")[:1]
        first = c.get_object(Bucket="slow", Key="k")["Body"]
        begun = first.read(10000)
        if what == "overwritten":
            for digit in (b"2", b"3"):
                c.put_object(Bucket="slow", Key="k", Body=digit * SLOW_BYTES)
            equal(set(body(c, "slow", "k")), set(b"3"), "bytes of a new reader")
        else:
            c.delete_object(Bucket="slow", Key="k")
            refused("NoSuchKey", 404, c.get_object, Bucket="slow", Key="k")
        equal((begun + first.read()).count(wanted), SLOW_BYTES, "bytes of the reader while %s" % what)
    empty(c, "slow")


def test_thumbnails_follow_the_current_version(s):
    c = s.s3()
    c.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    first = c.put_object(Bucket="photos", Key="v.png", Body=darkroom.plain_png(64, 48, (200, 0, 0)))
    s.settled("v.png", first["ETag"])
    second = c.put_object(Bucket="photos", Key="v.png", Body=darkroom.plain_png(32, 80, (0, 0, 200)))
    equal(s.settled("v.png", second["ETag"])["width"], 32, "width of the second")
    c.delete_object(Bucket="photos", Key="v.png", VersionId=second["VersionId"])
    equal(s.settled("v.png", first["ETag"])["width"], 64, "width after the second is gone")
    equal(s.thumbnail("v.png", "small").status, 200, "thumbnail of the first")
    marker = c.delete_object(Bucket="photos", Key="v.png")["VersionId"]
    darkroom.until(lambda: s.item("v.png") is None, "item below a marker gone")
    equal(s.thumbnail("v.png", "small").status, 403, "thumbnail below a marker")
    c.delete_object(Bucket="photos", Key="v.png", VersionId=marker)
    s.settled("v.png", first["ETag"])
    equal(s.thumbnail("v.png", "small").status, 200, "thumbnail after the marker")


def test_locked_versions(s):
    b = "kept"
    c = s.s3()
    c.create_bucket(Bucket=b, ObjectLockEnabledForBucket=True)
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    held = c.put_object(Bucket=b, Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")["VersionId"]
    ruled = c.put_object(Bucket=b, Key="k", Body=b"y", ObjectLockMode="GOVERNANCE",
                         ObjectLockRetainUntilDate=until)["VersionId"]
    marker = c.delete_object(Bucket=b, Key="k")["VersionId"]
    for version in (held, ruled):
        refused("AccessDenied", 403, c.delete_object, Bucket=b, Key="k", VersionId=version)
    refused("AccessDenied", 403, c.delete_object, Bucket=b, Key="k", VersionId=held, BypassGovernanceRetention=True)
    objects = [{"Key": "k", "VersionId": v} for v in (held, ruled, marker)]
    answer = c.delete_objects(Bucket=b, Delete={"Objects": objects})
    equal(sorted((e["Code"], e["VersionId"]) for e in answer["Errors"]),
          sorted(("AccessDenied", v) for v in (held, ruled)), "errors")
    equal([d["VersionId"] for d in answer["Deleted"]], [marker], "deleted")
    answer = c.delete_objects(Bucket=b, Delete={"Objects": objects[:2]}, BypassGovernanceRetention=True)
    equal([d["VersionId"] for d in answer["Deleted"]], [ruled], "deleted with the bypass")
    c.put_object_legal_hold(Bucket=b, Key="k", VersionId=held, LegalHold={"Status": "OFF"})
    empty(c, b)


def test_emptied_page_by_page(s):
    """Each page is deleted before the next is asked for, as clients that empty a bucket do."""
    b = "pages"
    for size in (1, 2, 3):
        c = bucket(s, b)
        for key in ("a", "b"):
            for status in ("Enabled", "Suspended", "Enabled", "Enabled"):
                c.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": status})
                c.put_object(Bucket=b, Key=key, Body=b"x")
            c.delete_object(Bucket=b, Key=key)
        for page in c.get_paginator("list_object_versions").paginate(Bucket=b, PaginationConfig={"PageSize": size}):
            c.delete_objects(Bucket=b, Delete={"Objects": [
                {"Key": o["Key"], "VersionId": o["VersionId"]}
                for o in page.get("Versions", []) + page.get("DeleteMarkers", [])]})
        equal(versions(c, b), [], "left by pages of %d" % size)
        c.delete_bucket(Bucket=b)


def test_everything_can_be_emptied(s):
    b = "rubbish"
    c = bucket(s, b)
    for key in ("a", "b\n", "c/d", "e?versionId=1", "\U0001f600"):
        c.put_object(Bucket=b, Key=key, Body=b"x")
        c.put_object(Bucket=b, Key=key, Body=os.urandom(100000))
        c.delete_object(Bucket=b, Key=key)
    c.delete_object(Bucket=b, Key="never")
    c.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Suspended"})
    c.put_object(Bucket=b, Key="a", Body=b"null")
    c.delete_object(Bucket=b, Key="b\n")
    c.create_multipart_upload(Bucket=b, Key="open")
    refused("BucketNotEmpty", 409, c.delete_bucket, Bucket=b)
    empty(c, b)


# Some of its clients hold back what they send, or do not read; no deadline of ours is its subject.
darkroom.run(globals(), config={"http": {"header_deadline_ms": 120000, "rate_window_ms": 300000}})
