#!/usr/bin/python3
"""Requests of any shape leave the server standing and every connection in a defined state.

A seeded generator makes requests out of methods, paths, sub-resources, headers, bodies, signatures
and faults of framing, and sends them over raw sockets: alone, pipelined, cut off. Every answer must
be HTTP, its XML must parse, its code must be S3's, and none may be a 500. The server is the
build with sanitizers when there is one (make SAN=address,undefined).

ROBUST_REQUESTS and ROBUST_SEED choose how many and which.
"""
import hashlib
import os
import random
import re
import select
import socket
import sys
import threading
import traceback
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
import darkroom
from conformance import MAIN, OTHER, element, quoted
from darkroom import Failed, equal, true

REQUESTS = int(os.environ.get("ROBUST_REQUESTS", "12000"))
SEED = int(os.environ.get("ROBUST_SEED", "1"))
THREADS = 24  # most of them wait for a torn connection to end
ANSWER_SECONDS = 120
SANITIZED = os.path.join(darkroom.TOP, "build", "gcc-address-undefined", "darkroomd")

SUBS = ["accelerate", "acl", "analytics", "attributes", "cors", "delete", "encryption", "intelligent-tiering", "inventory",
        "legal-hold", "lifecycle", "location", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy",
        "policyStatus", "publicAccessBlock", "replication", "requestPayment", "restore", "retention", "select", "session",
        "tagging", "torrent", "uploads", "versioning", "versions", "website", "list-type=2", "uploadId=x", "renameObject",
        "uploadId=%s", "partNumber=1&uploadId=%s", "versionId=null", "versionId=x", "partNumber=1", "x-id=GetObject"]
PARAMS = ["prefix", "delimiter", "marker", "max-keys", "start-after", "continuation-token", "encoding-type", "key-marker",
          "version-id-marker", "max-uploads", "upload-id-marker", "max-parts", "part-number-marker", "fetch-owner", "uploadId",
          "partNumber", "versionId", "response-content-type", "response-expires", "max-buckets", "X-Amz-Algorithm",
          "X-Amz-Expires", "AWSAccessKeyId", "Signature", "id", "select-type", "v"]
VALUES = ["", "0", "1", "-1", "2", "1000", "10001", "99999999999999999999", "a", "/", "%00", "%0a", "%ff", "%C3%A4", "url", "null",
          "true", "false", "*", "..", "a" * 300, "%", "%2", "+", "&&", "=", "k", "foo/bar", "x;y", "2026-01-01T00:00:00Z",
          "00000000000000000000000000000000"]
KEYS = ["k", "k", "k", "big", "mp", "a/b", "missing", "%00", "%ff", "%2e%2e/x", "..", "//", "a//b", "%C3%A4", "+", "%2B", "a b", "x" * 1024,
        "x" * 1025, "%", "%zz", "_/health", "?", "%3F", "%0d%0a", "k/small.webp", "\x80"]
HEADERS = [("Range", ["bytes=0-0", "bytes=-1", "bytes=5-", "bytes=99999999-", "bytes=a-b", "bytes=0-1,3-4", "bytes=18446744073709551615-"]),
           ("If-Match", ["*", '"x"', "", '"', ","]), ("If-None-Match", ["*", '"x"', "W/", ",,,"]),
           ("If-Modified-Since", ["Sat, 29 Oct 1994 19:43:31 GMT", "x"]), ("If-Unmodified-Since", ["Sat, 29 Oct 2100 19:43:31 GMT", "x"]),
           ("Content-MD5", ["x", "", "1B2M2Y8AsgTpgAmY7PhCfg=="]), ("Content-Type", ["text/plain", "", "multipart/form-data; boundary=B",
            "multipart/form-data", 'multipart/form-data; boundary=""', "application/xml"]),
           ("Content-Encoding", ["gzip", "aws-chunked", "aws-chunked,gzip"]), ("Cache-Control", ["x"]), ("Expires", ["x"]),
           ("Origin", ["http://a", "*", ""]), ("Access-Control-Request-Method", ["GET", "PUT", "x"]),
           ("Access-Control-Request-Headers", ["a,b", ",", "x-amz-meta-" + "a" * 200]), ("Expect", ["100-continue", "200"]),
           ("x-amz-acl", ["private", "public-read", "public-read-write", "authenticated-read", "x"]),
           ("x-amz-grant-read", ["id=x", 'uri="http://acs.amazonaws.com/groups/global/AllUsers"', "emailAddress=other@example.org", ",="]),
           ("x-amz-grant-full-control", ["id=x", ""]), ("x-amz-tagging", ["a=b", "a=b&a=c", "&&", "%"]),
           ("x-amz-tagging-directive", ["COPY", "REPLACE", "x"]), ("x-amz-metadata-directive", ["COPY", "REPLACE", "x"]),
           ("x-amz-copy-source", ["/rob-0/k", "rob-0/k?versionId=null", "/", "", "x", "rob-0/big", "rob-0/mp", "%ff/%00", "rob-0/missing"]),
           ("x-amz-copy-source-range", ["bytes=0-1", "x", "bytes=5-1"]), ("x-amz-copy-source-if-match", ["x", "*"]),
           ("x-amz-checksum-crc32", ["AAAAAA==", "x", ""]), ("x-amz-checksum-sha256", ["x"]), ("x-amz-checksum-crc64nvme", ["AAAAAAAAAAA="]),
           ("x-amz-checksum-algorithm", ["CRC32", "SHA256", "x"]), ("x-amz-sdk-checksum-algorithm", ["CRC32", "x"]),
           ("x-amz-checksum-type", ["FULL_OBJECT", "COMPOSITE", "x"]), ("x-amz-checksum-mode", ["ENABLED", "x"]),
           ("x-amz-object-attributes", ["ETag", "Checksum,ObjectParts,StorageClass,ObjectSize", "x", ""]),
           ("x-amz-max-parts", ["0", "1", "x"]), ("x-amz-part-number-marker", ["1", "x"]),
           ("x-amz-object-lock-mode", ["GOVERNANCE", "COMPLIANCE", "x"]),
           ("x-amz-object-lock-retain-until-date", ["2030-01-01T00:00:00Z", "x", "1990-01-01T00:00:00Z"]),
           ("x-amz-object-lock-legal-hold", ["ON", "OFF", "x"]), ("x-amz-bypass-governance-retention", ["true"]),
           ("x-amz-bucket-object-lock-enabled", ["true", "x"]), ("x-amz-object-ownership", ["BucketOwnerEnforced", "ObjectWriter", "x"]),
           ("x-amz-server-side-encryption", ["AES256", "aws:kms", "x"]), ("x-amz-storage-class", ["STANDARD", "GLACIER", "x"]),
           ("x-amz-expected-bucket-owner", ["111111111111", "x", ""]), ("x-amz-website-redirect-location", ["/x", "x"]),
           ("x-amz-meta-a", ["b", "", "\xc3\xa4", "=?UTF-8?B?w6Q=?=", "x" * 3000]), ("x-amz-mfa", ["x"]),
           ("x-amz-decoded-content-length", ["0", "5", "-1", "x", "99999999999"]), ("x-amz-trailer", ["x-amz-checksum-crc32", "x"]),
           ("x-amz-request-payer", ["requester"]), ("X-Forwarded-For", ["1.2.3.4"]), ("Cookie", ["a=b"]),
           ("X-Amz-Target", ["DynamoDB_20120810.ListTables", "x"]), ("Connection", ["close", "keep-alive", "Upgrade"])]
WORDS = [conformance.EMPTY, "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
         "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "x", ""]
NS = ' xmlns="%s"' % conformance.NAMESPACE
DOCS = [
    "<CreateBucketConfiguration%s><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>" % NS,
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "<VersioningConfiguration><Status>Suspended</Status><MfaDelete>Disabled</MfaDelete></VersioningConfiguration>",
    "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "<Delete><Quiet>false</Quiet><Object><Key>gone</Key><VersionId>null</VersionId></Object><Object><Key>x</Key></Object></Delete>",
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag></Part></CompleteMultipartUpload>",
    "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><MaxAgeSeconds>5</MaxAgeSeconds>"
    "</CORSRule></CORSConfiguration>",
    "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter><And><Prefix>zz</Prefix><Tag><Key>a</Key><Value>b</Value></Tag>"
    "</And></Filter><Expiration><Days>1</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>"
    "</NoncurrentVersionExpiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>"
    "</AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>",
    '<AccessControlPolicy><Owner><ID>x</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:type="Group"><URI>%s</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>' % conformance.ALL_USERS,
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days>"
    "</DefaultRetention></Rule></ObjectLockConfiguration>",
    "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>",
    "<LegalHold><Status>OFF</Status></LegalHold>",
    "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>",
    "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>",
    "<NotificationConfiguration><CloudFunctionConfiguration><Id>a</Id><CloudFunction>arn:aws:lambda:us-east-1:000000000000:function:thumbnail"
    "</CloudFunction><Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration></NotificationConfiguration>",
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::rob-1/*",'
    '"Condition":{"StringLike":{"aws:Referer":["x*"]},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}]}',
    '--B\r\nContent-Disposition: form-data; name="key"\r\n\r\nform-${filename}\r\n--B\r\nContent-Disposition: form-data; name="file"; '
    'filename="f"\r\nContent-Type: text/plain\r\n\r\nbytes\r\n--B--\r\n',
    "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
    "5;chunk-signature=%s\r\nhello\r\n0;chunk-signature=%s\r\n\r\n" % (conformance.EMPTY, conformance.EMPTY),
    "{}", '{"TableName":"images"}', "<a/>", "hello", "",
]


# ---- the generator ----

class Maker:
    def __init__(self, seed, s, uploads):
        self.r = random.Random(seed)
        self.s, self.uploads = s, uploads

    def some(self, values):
        return self.r.choice(values)

    def maybe(self, chance):
        return self.r.random() < chance

    def path(self):
        bucket = self.some(["/rob-0", "/rob-0", "/rob-1", "/rob-2", "/rob-none", "/A", "/_", "/%00", "/_/health", "/_/img/rob-0", "/photos", ""])
        if bucket == "" or self.maybe(0.3):
            return self.some([bucket, bucket + "/", bucket]) or "/"
        return bucket + "/" + self.some(KEYS)

    def query(self):
        parts = []
        if self.maybe(0.6):
            sub = self.some(SUBS)
            parts.append(sub % self.some(self.uploads) if "%s" in sub else sub)
        while self.maybe(0.3):
            parts.append(self.some(PARAMS) + self.some(["=", "", "=="]) + self.some(VALUES))
        return "?" + "&".join(parts) if parts else ""

    def body(self):
        text = self.some(DOCS).encode("latin-1", "replace")
        for _ in range(self.some([0, 0, 0, 1, 2, 5])):
            text = self.mutated(text)
        return text

    def mutated(self, text):
        at = self.r.randrange(len(text) + 1)
        kind = self.r.randrange(6)
        if kind == 0:
            return text[:at]
        if kind == 1:
            return text[:at] + bytes([self.r.randrange(256)]) + text[at + 1:]
        if kind == 2:
            return text[:at] + text[at // 2:at] * self.some([1, 2, 50]) + text[at:]
        if kind == 3:
            return text[:at] + text[at + self.r.randrange(20):]
        if kind == 4:
            return re.sub(rb">([^<>]*)<", lambda m: b">" + (self.some(VALUES).encode() if self.maybe(0.3) else m.group(1)) + b"<", text)
        return text + self.some([b"\0", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<a>" * 300, os.urandom(1) * 70000])

    def request(self):
        """(method, bytes, sane): sane requests are well framed and must be answered."""
        method = self.some(["GET", "GET", "HEAD", "PUT", "PUT", "PUT", "POST", "POST", "DELETE", "OPTIONS", "PATCH", "FOO", "get"])
        target = self.path() + self.query()
        body = self.body() if method in ("PUT", "POST") or self.maybe(0.1) else b""
        headers = {"Host": self.some(["127.0.0.1", "localhost", "rob-0.localhost"]) + ":%d" % self.s.port}
        for name, values in self.r.sample(HEADERS, self.some([0, 0, 1, 2, 3, 8])):
            headers[name] = self.some(values)
        self.sign(method, target, headers, body)
        sane = self.frame(headers, body)
        head = "%s %s HTTP/1.1\r\n" % (method, target) + "".join("%s: %s\r\n" % h for h in headers.items()) + "\r\n"
        raw = head.encode("latin-1")
        strange = re.search(rb"[\x00-\x20\x7f-\xff]", target.encode("latin-1")) is not None
        return method, raw, body, sane and not strange

    def sign(self, method, target, headers, body):
        who = self.r.random()
        if who < 0.75:
            payload = hashlib.sha256(body).hexdigest() if self.maybe(0.8) else self.some(WORDS)
            conformance.sign(MAIN if who < 0.65 else OTHER, method, target, headers, payload)
        elif who < 0.8:
            headers["Authorization"] = self.some(["", "AWS", "AWS a:b", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e", "Basic x"])

    def frame(self, headers, body):
        kind = self.r.random()
        if kind < 0.85:
            if body or self.maybe(0.5):
                headers["Content-Length"] = str(len(body))
            return True
        headers["Content-Length"] = self.some([str(len(body) + 1), "0", "-1", "x", "", "99999999999999999999", "0x5", "5, 5", str(6 << 30)])
        if kind > 0.93:
            headers["Transfer-Encoding"] = self.some(["chunked", "gzip", "chunked, chunked", "identity"])
        return False


# ---- answers off a socket ----

KNOWN = {100, 200, 201, 204, 206, 303, 304, 307, 400, 403, 404, 405, 409, 411, 412, 413, 414, 415, 416, 417, 426, 429, 431, 501, 503, 505}


def header_of(reader):
    line = reader.readline(70000)
    if not line:
        return None, None
    m = re.match(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n$", line)
    true(m, "a status line %r" % line[:200])
    fields = {}
    while True:
        line = reader.readline(70000)
        if line == b"\r\n":
            return int(m.group(1)), fields
        true(line.endswith(b"\r\n") and b":" in line, "a header line %r" % line[:200])
        name, _, value = line.partition(b":")
        fields[name.lower().decode()] = value.strip().decode("latin-1")


def body_of(reader, method, status, fields):
    if method == "HEAD" or status in (204, 304):
        return b""
    if fields.get("transfer-encoding") == "chunked":
        out = b""
        while True:
            size = int(reader.readline(100), 16)
            out += reader.read(size)
            equal(reader.readline(10), b"\r\n", "end of a chunk")
            if size == 0:
                return out
    if "content-length" in fields:
        want = int(fields["content-length"])
        out = reader.read(want)
        equal(len(out), want, "bytes of the body")
        return out
    equal(fields.get("connection"), "close", "Connection of an answer without length")
    return reader.read()


def judge(method, status, fields, body, raw):
    true(status in KNOWN, "status %d to %r" % (status, raw[:300]))
    if "xml" in fields.get("content-type", "") and body and status >= 400:
        try:
            root = xml.etree.ElementTree.fromstring(body)
        except xml.etree.ElementTree.ParseError as e:
            raise Failed("XML that does not parse (%s) to %r: %r" % (e, raw[:300], body[:300]))
        true(root.tag == "Error" and re.match(r"^[A-Z0-9][A-Za-z0-9]+$", root.findtext("Code") or ""), "an error %r" % body[:300])
        true(root.findtext("Code") != "InternalError", "InternalError to %r" % raw[:400])


def converse(s, maker):
    """One connection: some requests in one write, perhaps cut off; all answers that come."""
    asked = [maker.request() for _ in range(maker.some([1, 1, 1, 2, 5]))]
    data = b""
    for method, raw, body, good in asked:
        data += raw + body
    cut = len(data) if maker.maybe(0.9) else maker.r.randrange(len(data) + 1)
    half = cut < len(data) or not all(good for _, _, _, good in asked)
    with socket.create_connection((s.host, s.port), timeout=ANSWER_SECONDS) as c:
        try:
            c.sendall(data[:cut])
            if maker.maybe(0.05):
                return len(asked)  # gone without a word
            if half or maker.maybe(0.5):
                c.shutdown(socket.SHUT_WR)  # what is not whole ends here; the rest awaits its answers
        except OSError:  # it hung up already
            pass
        reader = c.makefile("rb")
        try:
            for method, raw, body, good in asked:
                status, fields = header_of(reader)
                while status == 100:
                    status, fields = header_of(reader)
                if status is None:
                    true(half, "no answer to %r, asked on one connection with %r" % (
                        raw[:400], [r[:300] + b" BODY %d" % len(b) for _, r, b, _ in asked]))
                    break
                judge(method, status, fields, body_of(reader, method, status, fields), raw)
                if not good or fields.get("connection", "").lower() == "close":
                    break
        except ConnectionResetError:
            true(half or len(body) > 60000, "a reset instead of an answer to %r" % raw[:400])
        except socket.timeout:
            raise Failed("no end within %d s of %r" % (ANSWER_SECONDS, data[:400]))
    return len(asked)


# ---- the checks ----

def prepare(s):
    me = conformance.api(s)
    uploads = []
    for i in range(3):
        me.ok("PUT", "/rob-%d" % i)
        me.ok("PUT", "/rob-%d/k" % i, b"hello")
        me.ok("PUT", "/rob-%d/big" % i, b"x" * 200000)
        upload = me.ok("POST", "/rob-%d/k?uploads" % i).one("UploadId")
        me.ok("PUT", "/rob-%d/k?partNumber=1&uploadId=%s" % (i, upload), b"part")
        uploads.append(upload)
    return uploads


def alive(s):
    equal(s.process.poll(), None, "exit code while it should serve")
    equal(s.get("/_/health").status, 200, "health")


def test_any_request(s):
    uploads = prepare(s)
    count, failures, lock = [0], [], threading.Lock()

    def work(n):
        maker = Maker(SEED * 1000 + n, s, uploads)
        while count[0] < REQUESTS and not failures:
            try:
                asked = converse(s, maker)
                with lock:
                    count[0] += asked
            except Failed as e:
                failures.append(str(e))
            except Exception as e:
                failures.append("%r at %s" % (e, traceback.format_exc(limit=-2)))
    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    true(not failures, failures[0] if failures else "")
    alive(s)
    print("# %d requests, seed %d, %s" % (count[0], SEED, s.command()[0]))


def test_slow_and_torn_headers(s):
    """One byte at a time, or half a header and then nothing more."""
    text = b"GET /_/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection((s.host, s.port), timeout=ANSWER_SECONDS) as c:
        for i in range(len(text)):
            c.sendall(text[i:i + 1])
        true(c.recv(100).startswith(b"HTTP/1.1 200"), "a header byte by byte")
    for cut in range(0, len(text), 5):
        with socket.create_connection((s.host, s.port), timeout=ANSWER_SECONDS) as c:
            c.sendall(text[:cut])
            c.shutdown(socket.SHUT_WR)
            got = c.recv(100)
            true(got == b"" or got.startswith(b"HTTP/1.1 4"), "half a header: %r" % got)
    alive(s)


def test_keep_alive_after_refusals(s):
    """A refusal leaves the connection usable, or closes it and says so."""
    host = "Host: %s:%d\r\n" % (s.host, s.port)
    for first in ("GET /rob-none HTTP/1.1\r\n%s\r\n", "PUT /rob-0/k HTTP/1.1\r\n%sContent-Length: 5\r\n\r\nhello",
                  "PUT /rob-0/k HTTP/1.1\r\n%sContent-Length: 100000\r\n\r\n" + "x" * 100000, "POST /rob-0?delete HTTP/1.1\r\n%sContent-Length: 0\r\n\r\n",
                  "DELETE /rob-0/k HTTP/1.1\r\n%s\r\n", "HEAD /rob-0/k HTTP/1.1\r\n%s\r\n", "FOO / HTTP/1.1\r\n%s\r\n"):
        with socket.create_connection((s.host, s.port), timeout=ANSWER_SECONDS) as c:
            c.sendall((first % host + "GET /_/health HTTP/1.1\r\n%sConnection: close\r\n\r\n" % host).encode())
            reader = c.makefile("rb")
            status, fields = header_of(reader)
            true(400 <= status < 502, "status %d" % status)
            body_of(reader, first.split()[0], status, fields)
            if fields.get("connection", "").lower() != "close":
                equal(header_of(reader)[0], 200, "the next answer after %r" % first[:40])


class Server(darkroom.Server):
    def command(self):
        words = super().command()
        return [SANITIZED if os.path.exists(SANITIZED) else words[0]] + words[1:]


os.environ["ASAN_OPTIONS"] = "detect_stack_use_after_return=1:" + os.environ.get("ASAN_OPTIONS", "")
darkroom.Server = Server
conformance.run(globals())
