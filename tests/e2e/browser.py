#!/usr/bin/env python3
"""What a browser does with a bucket: preflights, cross-origin reads, form uploads signed by boto3;
and tags, which forms and SDKs bring along."""
import base64
import datetime
import hashlib
import hmac
import json
import os
import re
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import darkroom as d  # noqa: E402

ORIGIN = "https://app.example.org"
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"


# ---- helpers ----

def bucket(s, name):
    s.s3().create_bucket(Bucket=name)
    return name


def form(fields, content, filename="photo.png", boundary=BOUNDARY):
    """The body a browser makes of a form; fields is a dict or a list of pairs."""
    pairs = fields.items() if isinstance(fields, dict) else fields
    body = b""
    for name, value in pairs:
        body += ("--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n"
                 % (boundary, name, value)).encode()
    body += ("--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\n"
             "Content-Type: image/png\r\n\r\n" % (boundary, filename)).encode()
    return body + content + ("\r\n--%s--\r\n" % boundary).encode()


def post(s, target, fields, content, filename="photo.png", **headers):
    head = {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY}
    head.update({k.replace("_", "-"): v for k, v in headers.items()})
    return s.request("POST", target, form(fields, content, filename), head)


def code(reply):
    found = re.search(rb"<Code>(.*?)</Code>", reply.body)
    return found.group(1).decode() if found else None


def message(reply):
    return re.search(rb"<Message>(.*?)</Message>", reply.body).group(1).decode()


def refused(reply, status, error, part=""):
    d.equal((reply.status, code(reply)), (status, error), "the refusal")
    d.contains(message(reply), part, "its message")


def preflight(s, target, origin=ORIGIN, method="PUT", headers=None):
    head = {}
    if origin:
        head["Origin"] = origin
    if method:
        head["Access-Control-Request-Method"] = method
    if headers:
        head["Access-Control-Request-Headers"] = headers
    return s.request("OPTIONS", target, headers=head)


RULES = {"CORSRules": [
    {"ID": "app", "AllowedOrigins": ["https://*.example.org"], "AllowedMethods": ["GET", "PUT", "POST"],
     "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag", "x-amz-request-id"], "MaxAgeSeconds": 600},
    {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]}]}


# ---- cross-origin ----

def test_cors_configuration(s):
    s3, name = s.s3(), bucket(s, "cors-config")
    d.refused("NoSuchCORSConfiguration", 404, s3.get_bucket_cors, Bucket=name)
    s3.put_bucket_cors(Bucket=name, CORSConfiguration=RULES)
    got = s3.get_bucket_cors(Bucket=name)["CORSRules"]
    d.equal(got, RULES["CORSRules"], "the rules")
    d.refused("MalformedXML", 400, s3.put_bucket_cors, Bucket=name, CORSConfiguration={"CORSRules": []})
    answer = d.refused("InvalidRequest", 400, s3.put_bucket_cors, Bucket=name, CORSConfiguration={
        "CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["OPTIONS"]}]})
    d.equal(answer["Error"]["Message"],
            "Found unsupported HTTP method in CORS config. Unsupported method is OPTIONS", "message")
    many = [{"AllowedOrigins": ["https://%d.org" % i], "AllowedMethods": ["GET"]} for i in range(101)]
    d.refused("InvalidRequest", 400, s3.put_bucket_cors, Bucket=name, CORSConfiguration={"CORSRules": many})
    s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": many[:100]})
    d.equal(preflight(s, "/" + name, "https://99.org", "GET").status, 200, "the hundredth rule")
    s3.delete_bucket_cors(Bucket=name)
    d.refused("NoSuchCORSConfiguration", 404, s3.get_bucket_cors, Bucket=name)


def test_preflights(s):
    s3, name = s.s3(), bucket(s, "preflights")
    refused(preflight(s, "/%s/k" % name, origin=None), 400, "BadRequest", "Origin request header needed")
    refused(preflight(s, "/no-such-bucket/k"), 403, "AccessForbidden", "CORSResponse: Bucket not found")
    refused(preflight(s, "/%s/k" % name), 403, "AccessForbidden", "CORS is not enabled for this bucket.")
    s3.put_bucket_cors(Bucket=name, CORSConfiguration=RULES)
    r = preflight(s, "/%s/some/key" % name, headers="Content-Type,x-amz-date")
    d.equal((r.status, r.body), (200, b""), "the preflight")
    d.equal(r.headers["access-control-allow-origin"], ORIGIN, "origin")
    d.equal(r.headers["access-control-allow-methods"], "GET, PUT, POST", "methods")
    d.equal(r.headers["access-control-allow-headers"], "content-type, x-amz-date", "headers")
    d.equal(r.headers["access-control-expose-headers"], "ETag, x-amz-request-id", "exposed")
    d.equal(r.headers["access-control-max-age"], "600", "age")
    d.equal(r.headers["access-control-allow-credentials"], "true", "credentials")
    d.contains(r.headers["vary"], "Origin", "Vary")
    refused(preflight(s, "/%s/k" % name, method="DELETE"), 403, "AccessForbidden", "not allowed")
    refused(preflight(s, "/%s/k" % name, origin="http://app.example.org"), 403, "AccessForbidden")
    refused(preflight(s, "/%s/k" % name, method=None), 400, "BadRequest")
    r = preflight(s, "/%s/k" % name, "null", "HEAD")
    d.equal(r.headers["access-control-allow-origin"], "*", "any origin")
    d.true("access-control-allow-credentials" not in r.headers, "credentials with any origin")
    # By the Host header, and to a presigned URL.
    r = s.request("OPTIONS", "/k", headers={"Host": "%s.localhost:%d" % (name, s.port), "Origin": ORIGIN,
                                            "Access-Control-Request-Method": "GET"})
    d.equal(r.status, 200, "the preflight by host")
    url = s3.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "k"})
    r = preflight(s, url[len(s.url):])
    d.equal(r.status, 200, "the preflight of a presigned PUT")


def test_cross_origin_answers(s):
    s3, name = s.s3(), bucket(s, "cross-origin")
    s3.put_object(Bucket=name, Key="k", Body=b"bytes")
    s3.put_bucket_cors(Bucket=name, CORSConfiguration=RULES)

    def fetch(method, key, origin):
        url = s3.generate_presigned_url(method, Params={"Bucket": name, "Key": key})
        verb = {"get_object": "GET", "put_object": "PUT", "delete_object": "DELETE"}[method]
        return s.request(verb, url[len(s.url):], b"new" if verb == "PUT" else None, {"Origin": origin})

    r = fetch("get_object", "k", ORIGIN)
    d.equal((r.status, r.headers.get("access-control-allow-origin")), (200, ORIGIN), "GET")
    r = fetch("put_object", "k", ORIGIN)
    d.equal((r.status, r.headers.get("access-control-expose-headers")), (200, "ETag, x-amz-request-id"), "PUT")
    r = fetch("get_object", "none", ORIGIN)
    d.equal((r.status, r.headers.get("access-control-allow-origin")), (404, ORIGIN), "GET of a missing key")
    r = s.get("/%s/k" % name, Origin=ORIGIN)
    d.equal((r.status, r.headers.get("access-control-allow-origin")), (403, ORIGIN), "a denied GET")
    r = fetch("get_object", "k", "https://example.com")
    d.equal((r.status, r.headers.get("access-control-allow-origin")), (200, None), "a stranger's GET")
    d.true("vary" not in r.headers, "Vary without a rule")
    r = fetch("delete_object", "k", ORIGIN)
    d.equal((r.status, r.headers.get("access-control-allow-origin")), (204, None), "DELETE")


# ---- form uploads ----

def presigned(s, name, key, fields=None, conditions=None, signature_version="s3v4", **more):
    made = s.s3(signature_version=signature_version).generate_presigned_post(name, key, Fields=fields, Conditions=conditions, **more)
    return urllib.parse.urlsplit(made["url"]).path, made["fields"]


def test_form_upload(s):
    s3, name = s.s3(), bucket(s, "forms")
    content = bytes(range(256)) * 5 + b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n--"
    target, fields = presigned(s, name, "in/${filename}")
    r = post(s, target, fields, content, "C:\\Users\\me\\picture 1.png")
    d.equal((r.status, r.body), (204, b""), "the upload")
    got = s3.get_object(Bucket=name, Key="in/picture 1.png")
    d.equal(got["Body"].read(), content, "the object")
    d.equal(r.headers["etag"], got["ETag"], "ETag")
    d.equal(r.headers["location"], "http://%s:%d/%s/in%%2Fpicture%%201.png" % (s.host, s.port, name), "Location")
    # The bucket in the Host, as most pages name it.
    r = post(s, "/", fields, b"again", "x.png", Host="%s.localhost:%d" % (name, s.port))
    d.equal(r.status, 204, "the upload by host")
    d.equal(s3.get_object(Bucket=name, Key="in/x.png")["Body"].read(), b"again", "the object")


def test_form_fields(s):
    s3, name = s.s3(), bucket(s, "form-fields")
    content = b"some bytes"
    tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b c</Value></Tag></TagSet></Tagging>"
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    fields = {"Content-Type": "image/jpeg", "Cache-Control": "max-age=5", "x-amz-meta-Who": "me",
              "acl": "private", "tagging": tags, "x-amz-storage-class": "STANDARD_IA",
              "success_action_status": "201", "x-amz-checksum-sha256": digest}
    conditions = [{k: v} for k, v in fields.items() if k != "Content-Type"]
    conditions += [["starts-with", "$Content-Type", "image/"], ["content-length-range", 10, 10]]
    target, signed = presigned(s, name, "k", fields, conditions)
    r = post(s, target, signed, content)
    d.equal(r.status, 201, "status")
    d.contains(r.body.decode(), "<PostResponse><Location>", "the document")
    d.contains(r.body.decode(), "<Bucket>%s</Bucket><Key>k</Key><ETag>" % name, "the document")
    d.equal(r.headers["x-amz-checksum-sha256"], digest, "checksum")
    got = s3.head_object(Bucket=name, Key="k", ChecksumMode="ENABLED")
    d.equal((got["ContentType"], got["CacheControl"], got["Metadata"], got["StorageClass"],
             got["ChecksumSHA256"]), ("image/jpeg", "max-age=5", {"who": "me"}, "STANDARD_IA", digest), "the object")
    d.equal(s3.get_object_tagging(Bucket=name, Key="k")["TagSet"], [{"Key": "a", "Value": "b c"}], "tags")
    refused(post(s, target, signed, content + b"!"), 400, "EntityTooLarge")
    refused(post(s, target, signed, content[:-1]), 400, "EntityTooSmall")
    refused(post(s, target, signed, content[::-1]), 400, "BadDigest")
    d.equal(s3.get_object(Bucket=name, Key="k")["Body"].read(), content, "the object after refusals")


def test_form_unicode(s):
    """A form is UTF-8 by itself; its metadata comes back as RFC 2047 has it."""
    s3, name = s.s3(), bucket(s, "form-unicode")
    fields = {"x-amz-meta-a": "\u00c4M\u00c4Z\u00d5\u00d1 S3", "x-amz-meta-b": "=?UTF-8?Q?as-is?=",
              "success_action_status": "201"}
    target, signed = presigned(s, name, "${filename}", fields, [{k: v} for k, v in fields.items()])
    r = post(s, target, signed, b"x", "caf\u00e9 \u2014.pdf")
    d.equal(r.status, 201, "status")
    d.contains(r.body.decode(), "<Key>caf\u00e9 \u2014.pdf</Key>", "the document")
    d.contains(r.headers["location"], "/caf%C3%A9%20%E2%80%94.pdf", "Location")
    got = s3.head_object(Bucket=name, Key="caf\u00e9 \u2014.pdf")["Metadata"]
    d.equal(got, {"a": "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=", "b": "=?UTF-8?Q?as-is?="}, "metadata")


def test_form_redirect(s):
    name = bucket(s, "form-redirect")
    url = "https://example.org/done?a=1"
    target, fields = presigned(s, name, "dir/a b", {"success_action_redirect": url},
                               [{"success_action_redirect": url}])
    r = post(s, target, fields, b"x")
    d.equal(r.status, 303, "status")
    d.equal(r.headers["location"], url + "&bucket=%s&key=dir%%2Fa+b&etag=%%22%s%%22" %
            (name, hashlib.md5(b"x").hexdigest()), "Location")


def test_form_refusals(s):
    s3, name = s.s3(), bucket(s, "form-refusals")
    target, fields = presigned(s, name, "k", conditions=[["content-length-range", 1, 100]])
    refused(post(s, target, dict(fields, key="other"), b"x"), 403, "AccessDenied",
            "Invalid according to Policy: Policy Condition failed: [&quot;eq&quot;, &quot;$key&quot;, &quot;k&quot;]")
    refused(post(s, target, dict(fields, **{"x-amz-meta-a": "1"}), b"x"), 403, "AccessDenied",
            "Invalid according to Policy: Extra input fields: x-amz-meta-a")
    d.equal(post(s, target, dict(fields, **{"x-ignore-a": "1"}), b"x").status, 204, "an ignored field")
    refused(post(s, target, dict(fields, policy=fields["policy"][:-4]), b"x"), 403, "SignatureDoesNotMatch")
    missing = {k: v for k, v in fields.items() if k != "x-amz-signature"}
    refused(post(s, target, missing, b"x"), 400, "InvalidArgument", "a field named 'X-Amz-Signature'.")
    refused(post(s, target, {"key": "k"}, b"x"), 403, "AccessDenied", "Access Denied")
    expired, old = presigned(s, name, "k", ExpiresIn=-10)
    refused(post(s, expired, old, b"x"), 403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    other = bucket(s, "form-refusals-2")
    refused(post(s, "/" + other, fields, b"x"), 403, "AccessDenied", "$bucket")
    r = s.request("POST", target, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"})
    refused(r, 412, "PreconditionFailed")
    whole = form(fields, b"x")
    head = {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY}
    for cut in range(3, 60, 7):
        refused(s.request("POST", target, whole[:-cut], head), 400, "MalformedPOSTRequest")
    d.equal(s3.list_objects_v2(Bucket=name)["KeyCount"], 1, "objects (one was allowed)")


def test_form_version_2(s):
    """Old pages sign with HMAC-SHA1; the default setting allows it on a loopback listener."""
    s3, name = s.s3(), bucket(s, "form-v2")
    target, signed = presigned(s, name, "by-boto3", signature_version="s3")
    d.true("AWSAccessKeyId" in signed, "boto3 signs with %s" % sorted(signed))
    d.equal(post(s, target, signed, b"bar").status, 204, "status")
    expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    policy = base64.b64encode(json.dumps({
        "expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [{"bUcKeT": name}, ["StArTs-WiTh", "$KeY", "foo"], {"AcL": "private"},
                       ["StArTs-WiTh", "$CoNtEnT-TyPe", "text/plain"], ["content-length-range", 0, 1024]],
    }).encode()).decode()
    mac = hmac.new(s.secret.encode(), policy.encode(), hashlib.sha1).digest()
    fields = [("kEy", "foo.txt"), ("AWSAccessKeyId", s.key), ("aCl", "private"),
              ("signature", base64.b64encode(mac).decode()), ("pOLICy", policy), ("Content-Type", "text/plain")]
    d.equal(post(s, "/" + name, fields, b"bar").status, 204, "status")
    d.equal(s3.get_object(Bucket=name, Key="foo.txt")["Body"].read(), b"bar", "the object")
    fields[3] = ("signature", base64.b64encode(mac[::-1]).decode())
    refused(post(s, "/" + name, fields, b"bar"), 403, "SignatureDoesNotMatch")


def test_form_anonymous(s):
    """Into a bucket that anybody may write to, without a policy and with tags."""
    s3, name = s.s3(), "form-anonymous"
    s3.create_bucket(Bucket=name, ACL="public-read-write", ObjectOwnership="ObjectWriter")
    tags = "<Tagging><TagSet><Tag><Key>0</Key><Value>0</Value></Tag></TagSet></Tagging>"
    fields = {"key": "foo.txt", "acl": "public-read", "Content-Type": "text/plain", "tagging": tags}
    d.equal(post(s, "/" + name, fields, b"bar").status, 204, "status")
    got = s.get("/%s/foo.txt" % name)
    d.equal((got.status, got.body, got.headers["content-type"]), (200, b"bar", "text/plain"), "the object")
    d.equal(s3.get_object_tagging(Bucket=name, Key="foo.txt")["TagSet"], [{"Key": "0", "Value": "0"}], "tags")
    fields = {"key": "a", "success_action_status": "404"}
    d.equal(post(s, "/" + name, fields, b"bar").status, 204, "status of an unknown wish")
    refused(post(s, "/" + name, dict(fields, AWSAccessKeyId="foo", signature="AAAA", policy="e30="), b"bar"),
            403, "InvalidAccessKeyId")


def test_form_makes_thumbnails(s):
    """A form upload is an event like any other."""
    target, fields = presigned(s, "photos", "forms/${filename}")
    d.equal(post(s, target, fields, d.plain_png(300, 200, (200, 30, 30)), "red.png").status, 204, "status")
    item = s.settled("forms/red.png")
    d.equal((item["width"], item["height"]), (300, 200), "size")


def test_form_large(s):
    """64 MiB through a form, in memory that does not grow with it."""
    s3, name = s.s3(), bucket(s, "form-large")
    content = os.urandom(1 << 20) * 64
    target, fields = presigned(s, name, "big")
    d.equal(post(s, target, fields, b"warm").status, 204, "a small one")

    def rss():
        with open("/proc/%d/status" % s.process.pid) as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))
    before = rss()
    d.equal(post(s, target, fields, content).status, 204, "the upload")
    d.true(rss() - before < 32 << 10, "peak memory grew by %d KiB" % (rss() - before))
    d.equal(s3.head_object(Bucket=name, Key="big")["ETag"].strip('"'), hashlib.md5(content).hexdigest(), "ETag")


# ---- tags ----

def tag_set(**tags):
    return {"TagSet": [{"Key": k, "Value": v} for k, v in sorted(tags.items())]}


def test_bucket_tags(s):
    s3, name = s.s3(), bucket(s, "bucket-tags")
    d.refused("NoSuchTagSet", 404, s3.get_bucket_tagging, Bucket=name)
    s3.put_bucket_tagging(Bucket=name, Tagging=tag_set(team="images", cost="a+b"))
    d.equal(s3.get_bucket_tagging(Bucket=name)["TagSet"], tag_set(team="images", cost="a+b")["TagSet"], "tags")
    many = tag_set(**{"k%02d" % i: "" for i in range(51)})
    d.refused("BadRequest", 400, s3.put_bucket_tagging, Bucket=name, Tagging=many)
    d.refused("InvalidTag", 400, s3.put_bucket_tagging, Bucket=name, Tagging=tag_set(**{"aws:x": "1"}))
    many["TagSet"].pop()
    s3.put_bucket_tagging(Bucket=name, Tagging=many)
    d.equal(len(s3.get_bucket_tagging(Bucket=name)["TagSet"]), 50, "number of tags")
    s3.delete_bucket_tagging(Bucket=name)
    d.refused("NoSuchTagSet", 404, s3.get_bucket_tagging, Bucket=name)


def test_object_tags(s):
    s3, name = s.s3(), bucket(s, "object-tags")

    def tags(key="k"):
        return {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket=name, Key=key)["TagSet"]}
    s3.put_object(Bucket=name, Key="k", Body=b"x", Tagging="a=1&b=two%20words&c")
    d.equal(tags(), {"a": "1", "b": "two words", "c": ""}, "tags of a PUT")
    d.equal(s3.head_object(Bucket=name, Key="k")["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"], "3",
            "count")
    s3.put_object_tagging(Bucket=name, Key="k", Tagging=tag_set(z="\u00e9", y=""))
    d.equal(tags(), {"z": "\u00e9", "y": ""}, "tags")
    s3.copy_object(Bucket=name, Key="copy", CopySource={"Bucket": name, "Key": "k"})
    d.equal(tags("copy"), tags(), "tags of a copy")
    s3.copy_object(Bucket=name, Key="copy", CopySource={"Bucket": name, "Key": "k"}, Tagging="n=1",
                   TaggingDirective="REPLACE")
    d.equal(tags("copy"), {"n": "1"}, "tags replaced by a copy")
    d.refused("BadRequest", 400, s3.put_object_tagging, Bucket=name, Key="k",
              Tagging=tag_set(**{"k%d" % i: "" for i in range(11)}))
    for key, value in (("k" * 129, ""), ("k", "v" * 257), ("k", "no;semicolon")):
        d.refused("InvalidTag", 400, s3.put_object_tagging, Bucket=name, Key="k", Tagging=tag_set(**{key: value}))
    s3.put_object_tagging(Bucket=name, Key="k", Tagging=tag_set(**{"k" * 128: "v" * 256}))
    s3.delete_object_tagging(Bucket=name, Key="k")
    d.equal(tags(), {}, "tags after deletion")
    d.refused("NoSuchKey", 404, s3.get_object_tagging, Bucket=name, Key="none")


def test_tags_of_versions(s):
    s3, name = s.s3(), bucket(s, "version-tags")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    ids = [s3.put_object(Bucket=name, Key="k", Body=b"x", Tagging="v=%d" % i)["VersionId"] for i in range(3)]

    def tags(version=None):
        more = {"VersionId": version} if version else {}
        got = s3.get_object_tagging(Bucket=name, Key="k", **more)
        d.equal(got["VersionId"], version or ids[2], "the version")
        return {t["Key"]: t["Value"] for t in got["TagSet"]}
    for i, version in enumerate(ids):
        d.equal(tags(version), {"v": str(i)}, "tags of version %d" % i)
    answer = s3.put_object_tagging(Bucket=name, Key="k", VersionId=ids[0], Tagging=tag_set(old="yes"))
    d.equal(answer["VersionId"], ids[0], "the version")
    d.equal((tags(ids[0]), tags()), ({"old": "yes"}, {"v": "2"}), "tags of the oldest and the newest")
    s3.delete_object_tagging(Bucket=name, Key="k", VersionId=ids[1])
    d.equal((tags(ids[1]), tags()), ({}, {"v": "2"}), "tags of the second and the newest")
    marker = s3.delete_object(Bucket=name, Key="k")["VersionId"]
    d.refused("NoSuchKey", 404, s3.get_object_tagging, Bucket=name, Key="k")
    d.refused("MethodNotAllowed", 405, s3.put_object_tagging, Bucket=name, Key="k", VersionId=marker,
              Tagging=tag_set(a="b"))
    d.equal(tags(ids[2]), {"v": "2"}, "tags below the marker")


def test_tags_of_uploads(s):
    s3, name = s.s3(), bucket(s, "upload-tags")
    upload = s3.create_multipart_upload(Bucket=name, Key="k", Tagging="a=1&b=")["UploadId"]
    part = s3.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    d.equal(s3.get_object_tagging(Bucket=name, Key="k")["TagSet"], tag_set(a="1", b="")["TagSet"], "tags")
    d.refused("InvalidTag", 400, s3.create_multipart_upload, Bucket=name, Key="k", Tagging="a=!")


d.run(globals())
