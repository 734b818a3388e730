#!/usr/bin/python3
"""The S3 endpoint through boto3 with its default settings: objects, listings, conditions, checksums,
refusals, multipart, several accounts."""
import base64
import datetime
import io
import os
import sys
import threading
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, refused, true

B = "shelf"
OTHER = {"id": "111122223333", "display_name": "other", "email": "other@example.org",
         "access_key_id": "OTHERKEY", "secret_access_key": "other-secret"}


def put(s, key, body=b"x", **more):
    return s.s3().put_object(Bucket=B, Key=key, Body=body, **more)


def keys(listing):
    return [o["Key"] for o in listing.get("Contents", [])]


def test_buckets(s):
    c = s.s3()
    c.create_bucket(Bucket=B)
    true(B in [b["Name"] for b in c.list_buckets()["Buckets"]], "the new bucket is not listed")
    c.head_bucket(Bucket=B)
    equal(c.get_bucket_location(Bucket=B)["LocationConstraint"], None, "location")
    refused("InvalidBucketName", 400, s.s3(parameter_validation=False).create_bucket, Bucket="Ab")
    refused("NoSuchBucket", 404, c.list_objects_v2, Bucket="no-such-bucket")
    refused("404", 404, c.head_bucket, Bucket="no-such-bucket")
    c.put_object(Bucket=B, Key="full", Body=b"")
    refused("BucketNotEmpty", 409, c.delete_bucket, Bucket=B)
    c.delete_object(Bucket=B, Key="full")


def test_put_get_head_delete(s):
    c = s.s3()
    for key, body in (("small", b"hello"), ("empty", b""), ("inline-max", os.urandom(65536)),
                      ("file", os.urandom(65537)), ("large", os.urandom(3 << 20))):
        answer = put(s, key, body, ContentType="text/x-" + key, CacheControl="max-age=7",
                     ContentDisposition="attachment", ContentLanguage="de")
        got = c.get_object(Bucket=B, Key=key)
        equal(got["Body"].read(), body, "body of " + key)
        equal(got["ETag"], answer["ETag"], "ETag of " + key)
        head = c.head_object(Bucket=B, Key=key)
        equal((head["ContentLength"], head["ContentType"], head["CacheControl"],
               head["ContentDisposition"], head["ContentLanguage"]),
              (len(body), "text/x-" + key, "max-age=7", "attachment", "de"), "head of " + key)
        age = datetime.datetime.now(datetime.timezone.utc) - head["LastModified"]
        true(abs(age.total_seconds()) < 60, "LastModified is %s off" % age)
        c.delete_object(Bucket=B, Key=key)
        refused("NoSuchKey", 404, c.get_object, Bucket=B, Key=key)
        refused("404", 404, c.head_object, Bucket=B, Key=key)
    equal(c.delete_object(Bucket=B, Key="small")["ResponseMetadata"]["HTTPStatusCode"], 204, "again")


def test_awkward_keys(s):
    c = s.s3()
    wanted = ["a b", "a+b", "a%20b", "a%2Fb", "ü/ä", "q?x=1&y#z", "'\"<>&", "dir/", "dir//x", "./x", "../x",
              "x\\y", "\N{GRINNING FACE}", "tab\there", "~!$*()[]{}|^`@,;:="]
    for key in wanted:
        c.put_object(Bucket=B, Key="awk/" + key, Body=key.encode())
    for key in wanted:
        equal(c.get_object(Bucket=B, Key="awk/" + key)["Body"].read(), key.encode(), "body of " + key)
    listing = c.list_objects_v2(Bucket=B, Prefix="awk/")
    equal(keys(listing), sorted(("awk/" + k for k in wanted), key=str.encode), "listing")
    answer = c.delete_objects(Bucket=B, Delete={"Objects": [{"Key": "awk/" + k} for k in wanted]})
    equal(len(answer.get("Deleted", [])), len(wanted), "deleted")
    equal(c.list_objects_v2(Bucket=B, Prefix="awk/")["KeyCount"], 0, "left")


def test_listings(s):
    c = s.s3()
    wanted = ["l/%03d" % i for i in range(25)] + ["l/a/%d" % i for i in range(5)] + ["l/b/1", "l/c"]
    for key in wanted:
        put(s, key)
    wanted.sort()
    pages = list(c.get_paginator("list_objects_v2").paginate(
        Bucket=B, Prefix="l/", PaginationConfig={"PageSize": 7}))
    equal(sum((keys(p) for p in pages), []), wanted, "v2 in pages")
    equal([p["KeyCount"] for p in pages], [7, 7, 7, 7, 4], "sizes of pages")
    pages = list(c.get_paginator("list_objects").paginate(
        Bucket=B, Prefix="l/", PaginationConfig={"PageSize": 10}))
    equal(sum((keys(p) for p in pages), []), wanted, "v1 in pages")
    pages = list(c.get_paginator("list_objects_v2").paginate(
        Bucket=B, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": 2}))
    equal([p["Prefix"] for q in pages for p in q.get("CommonPrefixes", [])], ["l/a/", "l/b/"], "prefixes")
    equal(sum((keys(p) for p in pages), []), [k for k in wanted if k.count("/") == 1], "keys with delimiter")
    pages = list(c.get_paginator("list_objects").paginate(
        Bucket=B, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": 2}))
    equal([p["Prefix"] for q in pages for p in q.get("CommonPrefixes", [])], ["l/a/", "l/b/"], "v1 prefixes")
    got = c.list_objects_v2(Bucket=B, Prefix="l/", StartAfter="l/a/3", FetchOwner=True)
    equal(keys(got), ["l/a/4", "l/b/1", "l/c"], "start-after")
    true(got["Contents"][0]["Owner"]["ID"], "no owner")
    equal(keys(c.list_objects(Bucket=B, Prefix="l/", Marker="l/b/1")), ["l/c"], "marker")
    equal(c.list_objects_v2(Bucket=B, MaxKeys=0)["KeyCount"], 0, "MaxKeys 0")
    refused("InvalidArgument", 400, c.list_objects_v2, Bucket=B, ContinuationToken="nonsense")
    versions = c.list_object_versions(Bucket=B, Prefix="l/a/")["Versions"]
    equal([(v["Key"], v["VersionId"], v["IsLatest"]) for v in versions],
          [("l/a/%d" % i, "null", True) for i in range(5)], "versions")


def test_ranges(s):
    c, body = s.s3(), os.urandom(200000)
    put(s, "r", body)
    for text, part in (("bytes=0-0", body[:1]), ("bytes=100-199", body[100:200]), ("bytes=-5", body[-5:]),
                       ("bytes=199990-", body[199990:]), ("bytes=65000-70000", body[65000:70001]),
                       ("bytes=0-999999", body)):
        got = c.get_object(Bucket=B, Key="r", Range=text)
        equal((got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()), (206, part), text)
    refused("InvalidRange", 416, c.get_object, Bucket=B, Key="r", Range="bytes=200000-")


def test_conditions(s):
    c = s.s3()
    etag = put(s, "cond")["ETag"]
    now = c.head_object(Bucket=B, Key="cond")["LastModified"]
    past, future = now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=1)
    for call, missing in ((c.get_object, "PreconditionFailed"), (c.head_object, "412")):
        call(Bucket=B, Key="cond", IfMatch=etag)
        call(Bucket=B, Key="cond", IfNoneMatch='"other"')
        call(Bucket=B, Key="cond", IfModifiedSince=past)
        call(Bucket=B, Key="cond", IfUnmodifiedSince=future)
        refused(missing, 412, call, Bucket=B, Key="cond", IfMatch='"other"')
        refused(missing, 412, call, Bucket=B, Key="cond", IfUnmodifiedSince=past)
        refused("304", 304, call, Bucket=B, Key="cond", IfNoneMatch=etag)
        refused("304", 304, call, Bucket=B, Key="cond", IfModifiedSince=now)
        call(Bucket=B, Key="cond", IfMatch=etag, IfUnmodifiedSince=past)
        refused("304", 304, call, Bucket=B, Key="cond", IfNoneMatch=etag, IfModifiedSince=past)


def test_conditional_writes(s):
    """This boto3 has no parameter for them: signed by its own signer."""
    def conditional(key, **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        return s.signed("PUT", "/%s/%s" % (B, key), b"new", headers)
    first = conditional("cas", If_None_Match="*")
    equal(first.status, 200, "If-None-Match: * on nothing")
    equal(conditional("cas", If_None_Match="*").status, 412, "If-None-Match: * on something")
    equal(conditional("cas", If_Match='"other"').status, 412, "If-Match of another")
    equal(conditional("cas", If_Match=first.headers["etag"]).status, 200, "If-Match")
    equal(conditional("nothing", If_Match='"other"').status, 404, "If-Match on nothing")
    won = []
    racers = [threading.Thread(target=lambda: won.append(conditional("race", If_None_Match="*").status))
              for _ in range(12)]
    [t.start() for t in racers]
    [t.join() for t in racers]
    equal(sorted(won), [200] + [412] * 11, "twelve creators at once")


def test_copy(s):
    c = s.s3()
    put(s, "from ü", b"copy me", Metadata={"a": "1"}, ContentType="text/a")
    c.copy_object(Bucket=B, Key="to", CopySource={"Bucket": B, "Key": "from ü"})
    got = c.get_object(Bucket=B, Key="to")
    equal((got["Body"].read(), got["Metadata"], got["ContentType"]), (b"copy me", {"a": "1"}, "text/a"), "copy")
    c.copy_object(Bucket=B, Key="to", CopySource={"Bucket": B, "Key": "from ü"}, Metadata={"b": "2"},
                  ContentType="text/b", MetadataDirective="REPLACE")
    got = c.head_object(Bucket=B, Key="to")
    equal((got["Metadata"], got["ContentType"]), ({"b": "2"}, "text/b"), "replaced metadata")
    refused("InvalidRequest", 400, c.copy_object, Bucket=B, Key="to", CopySource={"Bucket": B, "Key": "to"})
    refused("NoSuchKey", 404, c.copy_object, Bucket=B, Key="to", CopySource={"Bucket": B, "Key": "none"})
    refused("PreconditionFailed", 412, c.copy_object, Bucket=B, Key="to",
            CopySource={"Bucket": B, "Key": "from ü"}, CopySourceIfMatch='"other"')


def test_user_metadata(s):
    meta = {"colour": "blue", "with-dash": "a b  c", "number": "1" * 500}
    put(s, "meta", Metadata=meta)
    equal(s.s3().head_object(Bucket=B, Key="meta")["Metadata"], meta, "metadata")
    refused("MetadataTooLarge", 400, put, s, "meta", Metadata={"big": "x" * 2100})
    equal(s.s3().head_object(Bucket=B, Key="meta")["Metadata"], meta, "metadata after the refusal")


def test_multipart(s):
    c, body = s.s3(), os.urandom(17 << 20)
    c.upload_fileobj(io.BytesIO(body), B, "multi", ExtraArgs={"Metadata": {"m": "1"}})
    head = c.head_object(Bucket=B, Key="multi")
    true(head["ETag"].endswith('-3"'), "ETag %s is of no three parts" % head["ETag"])
    equal((head["ContentLength"], head["Metadata"]), (len(body), {"m": "1"}), "head")
    back = io.BytesIO()
    c.download_fileobj(B, "multi", back)
    true(back.getvalue() == body, "the bytes differ")
    edge = c.get_object(Bucket=B, Key="multi", Range="bytes=8388600-8388620")["Body"].read()
    equal(edge, body[8388600:8388621], "range over the seam of two parts")


def test_multipart_refusals(s):
    c = s.s3()
    up = c.create_multipart_upload(Bucket=B, Key="mp")["UploadId"]
    call = dict(Bucket=B, Key="mp", UploadId=up)
    etags = [c.upload_part(PartNumber=n, Body=b"small", **call)["ETag"] for n in (1, 2)]
    equal([p["PartNumber"] for p in c.list_parts(**call)["Parts"]], [1, 2], "parts")
    true(up in [u["UploadId"] for u in c.list_multipart_uploads(Bucket=B)["Uploads"]], "upload not listed")

    def complete(*parts):
        c.complete_multipart_upload(MultipartUpload={"Parts": [
            {"PartNumber": n, "ETag": e} for n, e in parts]}, **call)
    refused("EntityTooSmall", 400, complete, (1, etags[0]), (2, etags[1]))
    refused("InvalidPart", 400, complete, (1, '"%s"' % ("0" * 32)))
    refused("InvalidPartOrder", 400, complete, (2, etags[1]), (1, etags[0]))
    refused("404", 404, c.head_object, Bucket=B, Key="mp")
    c.abort_multipart_upload(**call)
    refused("NoSuchUpload", 404, c.upload_part, PartNumber=3, Body=b"x", **call)


def nothing_happened(s, key):
    """Not stored in photos, no event, no item."""
    refused("404", 404, s.s3().head_object, Bucket="photos", Key=key)
    equal(s.item(key), None, "item of " + key)
    equal(s.metric("events_total"), 0, "events")


def test_wrong_checksums(s):
    c, body = s.s3(retries={"total_max_attempts": 1}), os.urandom(70000)  # it tries BadDigest again

    def bad(code, body=body, **more):
        refused(code, 400, c.put_object, Bucket="photos", Key="sum.jpg", Body=body, **more)
    bad("BadDigest", ContentMD5=darkroom.md5_base64(b"another"))
    bad("InvalidDigest", ContentMD5="nonsense")
    for name, size in (("CRC32", 4), ("SHA1", 20), ("SHA256", 32)):
        bad("BadDigest", **{"Checksum" + name: base64.b64encode(b"\1" * size).decode()})
        bad("InvalidRequest", **{"Checksum" + name: "AAAA"})
    wrong = s.signed_headers("PUT", "/photos/sum.jpg", b"signed")
    equal(s.request("PUT", "/photos/sum.jpg", b"others", wrong).status, 400, "another body than signed")
    nothing_happened(s, "sum.jpg")


def test_right_checksums(s):
    c, body = s.s3(), os.urandom(100000)
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    answer = put(s, "sum", body, ChecksumAlgorithm="CRC32")
    equal(answer["ChecksumCRC32"], crc, "CRC32 in the answer")
    equal(c.head_object(Bucket=B, Key="sum", ChecksumMode="ENABLED")["ChecksumCRC32"], crc, "CRC32 in HEAD")
    for name in ("SHA1", "SHA256"):
        true(put(s, "sum", body, ChecksumAlgorithm=name)["Checksum" + name], "no checksum " + name)
    put(s, "sum", body, ContentMD5=darkroom.md5_base64(body))


def test_wrong_signatures(s):
    c = s.s3(secret="wrong")
    refused("SignatureDoesNotMatch", 403, c.put_object, Bucket="photos", Key="sig.jpg", Body=b"x")
    refused("SignatureDoesNotMatch", 403, c.list_buckets)
    refused("InvalidAccessKeyId", 403, s.s3(key="NOBODY").list_buckets)
    put(s, "signed")
    url = s.s3(secret="wrong").generate_presigned_url("get_object", {"Bucket": B, "Key": "signed"})
    equal(s.get(url[len(s.url):]).status, 403, "presigned with another secret")
    nothing_happened(s, "sig.jpg")


def test_presigned(s):
    c = s.s3(signature_version="s3v4")
    url = c.generate_presigned_url("get_object", {"Bucket": B, "Key": "signed"})[len(s.url):]
    equal(s.get(url).body, b"x", "presigned GET")
    equal(s.get(url.replace("signed?", "other?")).status, 403, "for another key")
    url = s.s3().generate_presigned_url("get_object", {"Bucket": B, "Key": "signed"})  # Version 2
    equal(s.get(url[len(s.url):]).body, b"x", "presigned GET with default settings")
    url = c.generate_presigned_url("put_object", {"Bucket": B, "Key": "by url"})[len(s.url):]
    equal(s.request("PUT", url, b"by url").status, 200, "presigned PUT")
    equal(c.get_object(Bucket=B, Key="by url")["Body"].read(), b"by url", "what it stored")


def at_another_time(delta, make):
    """Signs as if it were `delta` later, with botocore's own signers written in Python."""
    import botocore.auth
    real = botocore.auth.datetime

    class Shifted:
        class datetime(datetime.datetime):
            @classmethod
            def utcnow(cls):
                return real.datetime.utcnow() + delta
    botocore.auth.datetime = Shifted
    try:
        return make()
    finally:
        botocore.auth.datetime = real


def presigned(s, target, seconds):
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    request = AWSRequest(method="GET", url=s.url + target)
    S3SigV4QueryAuth(Credentials(s.key, s.secret), "s3", "eu-north-7", expires=seconds).add_auth(request)
    return request.url[len(s.url):]


def test_clock(s):
    for minutes in (20, -20):
        delta = datetime.timedelta(minutes=minutes)
        headers = at_another_time(delta, lambda: s.signed_headers("PUT", "/photos/late.jpg", b"x"))
        reply = s.request("PUT", "/photos/late.jpg", b"x", headers)
        equal(reply.status, 403, "%d minutes off" % minutes)
        contains(reply.body, b"<Code>RequestTimeTooSkewed</Code>", "the refusal")
    hour, target = datetime.timedelta(hours=1), "/%s/signed" % B
    reply = s.get(at_another_time(-hour, lambda: presigned(s, target, 1800)))
    equal(reply.status, 403, "expired")
    contains(reply.body, b"Request has expired", "the refusal")
    equal(s.get(at_another_time(-hour, lambda: presigned(s, target, 7200))).status, 200, "old but valid")
    nothing_happened(s, "late.jpg")


def test_keys_and_buckets_that_cannot_be(s):
    put(s, "k" * 1024)
    equal(s.s3().get_object(Bucket=B, Key="k" * 1024)["Body"].read(), b"x", "1024 bytes")
    refused("KeyTooLongError", 400, s.s3().put_object, Bucket="photos", Key="k" * 1025, Body=b"x")
    refused("KeyTooLongError", 400, s.s3().put_object, Bucket="photos", Key="ü" * 513, Body=b"x")
    refused("NoSuchBucket", 404, s.s3().put_object, Bucket="no-such-bucket", Key="k", Body=b"x")
    refused("NoSuchBucket", 404, s.s3().get_object, Bucket="no-such-bucket", Key="k")
    equal(s.metric("events_total"), 0, "events")


def test_bad_xml(s):
    for target, body in (("?delete", b"<Delete><Object>"), ("?delete", b"not xml"),
                         ("?notification", b"<NotificationConfiguration><X>"),
                         ("?delete", b"<!DOCTYPE a [<!ENTITY b 'c'>]><Delete><Object><Key>&b;</Key></Object></Delete>")):
        reply = s.signed("PUT" if "not" in target else "POST", "/%s%s" % (B, target), body,
                         {"Content-MD5": darkroom.md5_base64(body)})
        equal(reply.status, 400, "%s %s" % (target, body))
        contains(reply.body, b"<Code>MalformedXML</Code>", "the refusal")
        contains(reply.body, b"<RequestId>", "the refusal")


def test_accounts_are_apart(s):
    mine, theirs = s.s3(), s.s3(key=OTHER["access_key_id"], secret=OTHER["secret_access_key"])
    theirs.create_bucket(Bucket="their-own")
    theirs.put_object(Bucket="their-own", Key="k", Body=b"theirs")
    equal([b["Name"] for b in theirs.list_buckets()["Buckets"]], ["their-own"], "their buckets")
    true(mine.list_buckets()["Owner"]["ID"] != theirs.list_buckets()["Owner"]["ID"], "one owner for both")
    for call, more in ((theirs.get_object, {"Key": "signed"}), (theirs.list_objects_v2, {}),
                       (theirs.put_object, {"Key": "x"}), (theirs.delete_object, {"Key": "signed"}),
                       (theirs.get_bucket_policy, {}), (theirs.delete_bucket, {}),
                       (theirs.create_multipart_upload, {"Key": "x"})):
        refused("AccessDenied", 403, call, Bucket=B, **more)
    refused("AccessDenied", 403, theirs.copy_object, Bucket="their-own", Key="c",
            CopySource={"Bucket": B, "Key": "signed"})
    refused("BucketAlreadyExists", 409, theirs.create_bucket, Bucket=B)
    equal(mine.get_object(Bucket=B, Key="signed")["Body"].read(), b"x", "mine")
    headers = {"Host": "%s:%d" % (s.host, s.port)}
    equal(s.get("/_/status", **headers).status, 403, "unsigned /_/status")


def test_policy_grants(s):
    import json
    mine, theirs = s.s3(), s.s3(key=OTHER["access_key_id"], secret=OTHER["secret_access_key"])
    put(s, "shared/a", b"a")
    put(s, "secret", b"s")

    def grant(principal, action, resource, **more):
        return dict({"Effect": "Allow", "Principal": principal, "Action": action, "Resource": resource}, **more)
    arn = "arn:aws:s3:::" + B
    document = {"Version": "2012-10-17", "Statement": [
        grant({"AWS": "arn:aws:iam::%s:root" % OTHER["id"]}, "s3:GetObject", arn + "/shared/*"),
        grant("*", "s3:GetObject", arn + "/shared/a"),
        grant("*", "s3:ListBucket", arn, Condition={"StringLike": {"s3:prefix": "shared/*"}})]}
    mine.put_bucket_policy(Bucket=B, Policy=json.dumps(document))
    equal(json.loads(mine.get_bucket_policy(Bucket=B)["Policy"]), document, "policy")
    equal(theirs.get_object(Bucket=B, Key="shared/a")["Body"].read(), b"a", "granted")
    refused("AccessDenied", 403, theirs.get_object, Bucket=B, Key="secret")
    refused("AccessDenied", 403, theirs.put_object, Bucket=B, Key="shared/b", Body=b"")
    equal(s.get("/%s/shared/a" % B).body, b"a", "anonymous GET")
    equal(s.get("/%s/secret" % B).status, 403, "anonymous GET of another")
    equal(s.get("/%s?list-type=2&prefix=shared/" % B).status, 200, "anonymous list of the prefix")
    equal(s.get("/%s?list-type=2" % B).status, 403, "anonymous list of all")
    refused("MalformedPolicy", 400, mine.put_bucket_policy, Bucket=B, Policy='{"Statement": 1}')
    mine.delete_bucket_policy(Bucket=B)
    refused("NoSuchBucketPolicy", 404, mine.get_bucket_policy, Bucket=B)
    refused("AccessDenied", 403, theirs.get_object, Bucket=B, Key="shared/a")


darkroom.run(globals(), config={"accounts": [OTHER]})
