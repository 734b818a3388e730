#!/usr/bin/python3
"""What a signature covers cannot be changed, replayed late, or lent to another request.

Every row takes a sound upload of a picture into `photos`, signed by the root keys, spoils one thing
after the signature was made, and wants S3's own code and status. Then nothing may have happened:
no object, no item in the table, no event, no PUT counted. The sound forms are checked first, or
all of it would prove nothing. tests/e2e/conformance_auth.py asks what is accepted and refused in
general; this is about tampering.

Sources: "Authenticating Requests (AWS Signature Version 4)", "Signature Calculations ... Transferring
Payload in Multiple Chunks" and "Error Responses" of the Amazon S3 API Reference.
"""
import base64
import email.utils
import hashlib
import hmac
import json
import os
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
import darkroom
from conformance import EMPTY, MAIN, amz_date, exchange, presign, quoted, signature, wants
from darkroom import equal, true

numbers = iter(range(1, 1 << 30))
names = globals()
stored = []  # keys of the sound uploads
PICTURE = darkroom.sample("grey.jpg")
MISMATCH, MALFORMED = "403 SignatureDoesNotMatch", "400 AuthorizationHeaderMalformed"
DENIED, QUERY = "403 AccessDenied", "400 AuthorizationQueryParametersError"
OTHER_BODY = "400 XAmzContentSHA256Mismatch"


def root(s):
    return {"access_key_id": s.key, "secret_access_key": s.secret}


class Upload:
    """A sound PUT of a picture; everything in it can be spoilt before it is sent."""

    def __init__(self, s):
        self.s, self.method, self.body = s, "PUT", PICTURE
        self.key = "neg/%d.jpg" % next(numbers)
        self.path, self.query = "/photos/" + self.key, "x-id=PutObject"
        self.headers = {"Host": "%s:%d" % (s.host, s.port), "Content-Type": "image/jpeg", "Cache-Control": "no-cache",
                        "Content-MD5": conformance.md5(self.body), "x-amz-meta-a": "b  c", "x-amz-tagging": "a=b",
                        "x-amz-storage-class": "STANDARD"}

    @property
    def target(self):
        return self.path + ("?" + self.query if self.query else "")

    def sign(self, account=None, payload=None, **how):
        conformance.sign(account or root(self.s), self.method, self.target, self.headers,
                         payload or hashlib.sha256(self.body).hexdigest(), **how)
        return self

    def auth(self, old, new):
        """Replaces a part of the Authorization header, which must be there."""
        text = self.headers["Authorization"]
        true(text.count(old) >= 1, "%r is not in %s" % (old, text))
        self.headers["Authorization"] = text.replace(old, new, 1)

    def send(self):
        headers = {n: v for n, v in self.headers.items() if v is not None}
        headers.setdefault("Content-Length", str(len(self.body)))
        lines = []
        for n, v in headers.items():  # a list is sent as several fields
            lines += [(n, one) for one in (v if isinstance(v, list) else [v])]
        return conformance.judge(self.method, exchange(self.s, self.method, self.target, self.body, Fields(lines)))


class Fields(list):
    def items(self):
        return iter(self)


def counts(s):
    return {n: s.metric(n) for n in ("events_total", "objects_put_total", "objects_deleted_total")}


def nothing_happened(s, before, key):
    equal(counts(s), before, "what was counted")
    equal(s.signed("HEAD", "/photos/" + quoted(key, "/")).status, 404, "HEAD of the object")
    equal(s.item(key), None, "its item")


def something_happened(s, before, u):
    """The proof that nothing_happened() looks at the right places; then all is quiet again."""
    s.settled(u.key)
    s.idle()
    equal(counts(s)["objects_put_total"], before["objects_put_total"] + 1, "objects_put_total")
    darkroom.until(lambda: counts(s)["events_total"] > before["events_total"], "an event that is counted")
    stored.append(u.key)


def spoilt(s, expected, spoil, early=None):
    before = counts(s)
    u = Upload(s)
    if early:
        early(u)
    u.sign()
    key = u.key
    spoil(u)
    wants(u.send(), expected)
    nothing_happened(s, before, key)


def test_sound_requests_are_taken(s):
    before = counts(s)
    u = Upload(s).sign()
    equal(u.send().status, 200, "the sound upload")
    something_happened(s, before, u)
    equal(u.send().status, 200, "the same once more, within the window: S3 keeps no record of signatures")
    s.settled(u.key)
    s.idle()
    darkroom.until(lambda: counts(s)["events_total"] >= before["events_total"] + 4, "all events counted")


# ---- the request line ----

def change(**values):
    def spoil(u):
        for name, value in values.items():
            setattr(u, name, value(getattr(u, name)) if callable(value) else value)
    return spoil


conformance.table(names, "changed", [
    ("method to POST", MISMATCH, change(method="POST")),
    ("method to DELETE", MISMATCH, change(method="DELETE")),
    ("method to a lower-case one", MISMATCH, change(method="put")),
    ("key", MISMATCH, change(path="/photos/neg/other.jpg")),
    ("key's case", MISMATCH, change(path=lambda p: p.replace("neg", "Neg"))),
    ("key, a slash more", MISMATCH, change(path=lambda p: p.replace("neg/", "neg//"))),
    ("key, a dot segment", MISMATCH, change(path=lambda p: p.replace("neg/", "neg/./"))),
    ("key, twice encoded", MISMATCH, change(path=lambda p: p.replace("neg", "%256eeg"))),
    ("bucket", MISMATCH, change(path=lambda p: p.replace("photos", "photos-derived"))),
    ("query value", MISMATCH, change(query="x-id=Putobject")),
    ("query name", MISMATCH, change(query="X-id=PutObject")),
    ("query gone", MISMATCH, change(query="")),
    ("query with more", MISMATCH, change(query="x-id=PutObject&versionId=null")),
    ("query to a sub-resource", MISMATCH, change(query="acl")),
    ("query twice", MISMATCH, change(query="x-id=PutObject&x-id=PutObject")),
    ("body, with its MD5", "400 BadDigest|" + OTHER_BODY, change(body=PICTURE[:-1] + b"x")),
], lambda s, expected, spoil: spoilt(s, expected, spoil))

conformance.table(names, "changed body,", [
    ("same length", OTHER_BODY, change(body=PICTURE[:-1] + b"x")),
    ("shorter", OTHER_BODY, change(body=PICTURE[:-1])),
    ("longer", OTHER_BODY, change(body=PICTURE + b"x")),
    ("gone", OTHER_BODY, change(body=b"")),
], lambda s, expected, spoil: spoilt(s, expected, spoil, early=lambda u: u.headers.pop("Content-MD5")))


# ---- signed headers: another value, none, two ----

def header(name, value):
    def spoil(u):
        true(value is not None or name in u.headers, name + " is not there")
        u.headers[name] = value(u.headers[name]) if callable(value) else value
    return spoil


ANOTHER = {"Host": "localhost", "Content-Type": "text/plain", "Cache-Control": "No-Cache", "Content-MD5": conformance.md5(b"x"),
           "x-amz-meta-a": "b d", "x-amz-tagging": "a=c", "x-amz-storage-class": "GLACIER",
           "x-amz-content-sha256": hashlib.sha256(b"x").hexdigest()}
conformance.table(names, "another value of", [
    (n, MISMATCH, header(n, (lambda h, v=v: v + ":" + h.split(":")[1]) if n == "Host" else v)) for n, v in ANOTHER.items()
] + [
    ("x-amz-date, a second later", MISMATCH, header("x-amz-date", lambda v: amz_date(-7) if v != amz_date(-7) else amz_date(-9))),
    ("x-amz-content-sha256, unsigned", MISMATCH, header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")),
    ("x-amz-content-sha256, streaming", MISMATCH, header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")),
], lambda s, expected, spoil: spoilt(s, expected, spoil))

conformance.table(names, "without", [
    (n, {"x-amz-content-sha256": "400 InvalidRequest", "x-amz-date": DENIED}.get(n, MISMATCH), header(n, None))
    for n in list(ANOTHER) + ["x-amz-date"] if n != "Host"
], lambda s, expected, spoil: spoilt(s, expected, spoil))


def test_an_empty_signed_header_cannot_be_taken_away(s):
    """The canonical text of an empty header is that of none."""
    empty = lambda u: u.headers.update({"x-amz-meta-e": ""})
    spoilt(s, MISMATCH, header("x-amz-meta-e", None), early=empty)
    before = counts(s)
    u = Upload(s)
    empty(u)
    equal(u.sign().send().status, 200, "with it")
    something_happened(s, before, u)


conformance.table(names, "twice", [
    (n, MISMATCH, header(n, lambda v: [v, v])) for n in ("Content-Type", "Cache-Control", "x-amz-meta-a", "x-amz-tagging")
] + [
    ("x-amz-meta-a, the other value first", MISMATCH, header("x-amz-meta-a", lambda v: ["evil", v])),
    ("Content-MD5", MISMATCH + "|400 InvalidDigest", header("Content-MD5", lambda v: [v, v])),
    ("x-amz-date", MISMATCH + "|" + DENIED, header("x-amz-date", lambda v: [v, v])),
    ("x-amz-content-sha256", MISMATCH + "|400 InvalidArgument", header("x-amz-content-sha256", lambda v: [v, v])),
    ("Authorization", "400 InvalidArgument", header("Authorization", lambda v: [v, v])),
], lambda s, expected, spoil: spoilt(s, expected, spoil))

conformance.table(names, "added, not signed:", [
    (n, DENIED, header(n, v)) for n, v in {
        "x-amz-meta-b": "c", "X-Amz-Meta-B": "c", "x-amz-acl": "public-read", "x-amz-grant-read": "id=1",
        "x-amz-copy-source": "/photos/x", "x-amz-website-redirect-location": "/evil", "x-amz-object-lock-legal-hold": "ON",
        "x-amz-security-token": "x", "x-amz-checksum-crc32": "AAAAAA==", "x-amz-expected-bucket-owner": "1",
        "x-amz-": "x"}.items()
], lambda s, expected, spoil: spoilt(s, expected, spoil))


# ---- the Authorization header ----

def auth(old, new):
    def spoil(u):
        day = u.headers["x-amz-date"][:8]
        u.auth(old.replace("{day}", day).replace("{key}", u.s.key), new.replace("{day}", day).replace("{key}", u.s.key))
    return spoil


def signature_as(change):
    def spoil(u):
        head, _, sig = u.headers["Authorization"].rpartition("=")
        u.headers["Authorization"] = head + "=" + change(sig)
    return spoil


def other_digit(c):
    return "0" if c != "0" else "1"


SIGNED = "cache-control;content-md5;content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-storage-class;x-amz-tagging"
conformance.table(names, "scope", [
    ("another account's key", MISMATCH, auth("{key}/", MAIN["access_key_id"] + "/")),
    ("an unknown key", "403 InvalidAccessKeyId", auth("{key}/", "NOBODYSKEY/")),
    ("no key", MALFORMED, auth("{key}/", "/")),
    ("yesterday", MALFORMED, auth("{day}", "20200101")),
    ("no date", MALFORMED, auth("/{day}/", "//")),
    ("another region", MISMATCH, auth("us-east-1", "us-east-2")),
    ("no region", MALFORMED, auth("us-east-1", "")),
    ("a region with a slash", MISMATCH + "|" + MALFORMED + "|403 InvalidAccessKeyId", auth("us-east-1", "us-east-1/x")),
    ("another service", MALFORMED, auth("/s3/", "/ec2/")),
    ("the service in capitals", MALFORMED, auth("/s3/", "/S3/")),
    ("another terminator", MALFORMED, auth("aws4_request", "aws5_request")),
    ("no terminator", MALFORMED, auth("/aws4_request", "")),
    ("more behind the terminator", MALFORMED, auth("aws4_request", "aws4_request/x")),
], lambda s, expected, spoil: spoilt(s, expected, spoil))

conformance.table(names, "signed headers", [
    ("one less", MISMATCH, auth("cache-control;", "")),
    ("an x-amz one less", DENIED, auth("x-amz-meta-a;", "")),
    ("host less", DENIED, auth("host;", "")),
    ("one more that is not there", MISMATCH, auth("SignedHeaders=", "SignedHeaders=accept;")),
    ("one more that is there", MISMATCH, auth("content-md5;", "content-length;content-md5;")),
    ("in another order", MISMATCH, auth("cache-control;content-md5", "content-md5;cache-control")),
    ("one twice", MISMATCH, auth("cache-control;", "cache-control;cache-control;")),
    ("in capitals", MALFORMED, auth("cache-control", "Cache-Control")),
    ("none", MALFORMED, auth(SIGNED, "")),
    ("an empty name", MALFORMED, auth("cache-control;", "cache-control;;")),
    ("a blank in a name", MALFORMED, auth("cache-control", "cache control")),
], lambda s, expected, spoil: spoilt(s, expected, spoil))

conformance.table(names, "signature", [
    ("first digit", MISMATCH, signature_as(lambda g: other_digit(g[0]) + g[1:])),
    ("last digit", MISMATCH, signature_as(lambda g: g[:-1] + other_digit(g[-1]))),
    ("of zeros", MISMATCH, signature_as(lambda g: "0" * 64)),
    ("reversed", MISMATCH, signature_as(lambda g: g[::-1])),
    ("a digit short", MALFORMED, signature_as(lambda g: g[:-1])),
    ("a digit long", MALFORMED, signature_as(lambda g: g + "0")),
    ("empty", MALFORMED, signature_as(lambda g: "")),
    ("no hex", MALFORMED, signature_as(lambda g: "g" * 64)),
    ("said twice", MALFORMED, signature_as(lambda g: g + ", Signature=" + g)),
    ("with a NUL escaped", MALFORMED, signature_as(lambda g: g[:-3] + "%00")),
    ("of the string to sign without its key", MISMATCH, signature_as(lambda g: hashlib.sha256(g.encode()).hexdigest())),
    ("algorithm of another hash", "400 InvalidArgument", auth("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512")),
    ("asymmetric algorithm", "400 InvalidArgument", auth("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")),
    ("algorithm in small letters", "400 InvalidArgument", auth("AWS4-HMAC-SHA256", "aws4-hmac-sha256")),
    ("an unknown part", MALFORMED, auth("SignedHeaders=", "Extra=1, SignedHeaders=")),
], lambda s, expected, spoil: spoilt(s, expected, spoil))


def resigned(s, expected, account=None, **how):
    before = counts(s)
    u = Upload(s).sign(account=account(s) if account else None, **how)
    wants(u.send(), expected)
    nothing_happened(s, before, u.key)


def swapped(s):
    return {"access_key_id": s.key, "secret_access_key": MAIN["secret_access_key"]}


conformance.table(names, "signed soundly, but", [
    ("16 minutes ago", "403 RequestTimeTooSkewed", {"when": -960}),
    ("16 minutes ahead", "403 RequestTimeTooSkewed", {"when": 960}),
    ("a day ago", "403 RequestTimeTooSkewed", {"when": -86400}),
    ("a year ago", "403 RequestTimeTooSkewed", {"when": -86400 * 365}),
    ("with the secret of another key", MISMATCH, {"account": swapped}),
    ("with an empty secret", MISMATCH, {"account": lambda s: {"access_key_id": s.key, "secret_access_key": ""}}),
    ("for another service", MALFORMED, {"service": "ec2"}),
    ("by an account that may not", DENIED, {"account": lambda s: MAIN}),
], lambda s, expected, how: resigned(s, expected, **how))


def test_a_signature_is_good_for_its_request_only(s):
    one, two = Upload(s).sign(), Upload(s).sign()
    two.headers = dict(one.headers)
    before = counts(s)
    wants(two.send(), MISMATCH)
    nothing_happened(s, before, two.key)


def test_a_get_does_not_become_a_delete(s):
    u = Upload(s).sign()
    before = counts(s)
    equal(u.send().status, 200, "PUT")
    something_happened(s, before, u)
    before = counts(s)
    g = Upload(s)
    g.key, g.path, g.method, g.query, g.body = u.key, u.path, "GET", "", b""
    g.headers = {"Host": g.headers["Host"]}
    g.sign()
    g.method = "DELETE"
    wants(g.send(), MISMATCH)
    equal(counts(s), before, "what was counted")
    equal(s.signed("HEAD", u.path).status, 200, "HEAD of the object")


# ---- presigned ----

def presigned(s, expected, spoil=lambda t: t, headers=None, body=PICTURE, method="PUT", account=None, **how):
    before = counts(s)
    key = "neg/p%d.jpg" % next(numbers)
    to = spoil(presign(s, account(s) if account else root(s), "PUT", "/photos/" + key, **how))
    send = {"Host": "%s:%d" % (s.host, s.port), "Content-Length": str(len(body))}
    send.update(headers or {})
    wants(conformance.judge(method, exchange(s, method, to, body, send)), expected)
    nothing_happened(s, before, key)


def swap(old, new):
    def spoil(target):
        true(old in target, "%r is not in %s" % (old, target))
        return target.replace(old, new, 1)
    return spoil


def last_digit(target):
    return target[:-1] + other_digit(target[-1])


conformance.table(names, "presigned", [
    ("beyond its expiry", DENIED, {"when": -120, "expires": 119}),
    ("for more than seven days", "403 AuthorizationQueryParametersError", {"expires": 604801}),
    ("seven days ago for seven days", DENIED, {"when": -604810, "expires": 604800}),
    ("in the future", DENIED, {"when": 1000}),
    ("another expiry", MISMATCH, {"spoil": swap("Expires=60", "Expires=61")}),
    ("two expiries", QUERY, {"spoil": swap("&X-Amz-Expires", "&X-Amz-Expires=99999&X-Amz-Expires")}),
    ("another date", MISMATCH, {"spoil": lambda t: t.replace("Z&X-Amz-Expires", "Z&X-Amz-Expires", 1).replace(
        "X-Amz-Date=" + t.split("X-Amz-Date=")[1][:16], "X-Amz-Date=" + amz_date(-30))}),
    ("another day", QUERY, {"spoil": lambda t: t.replace("X-Amz-Date=" + t.split("X-Amz-Date=")[1][:8], "X-Amz-Date=20200101")}),
    ("another region", MISMATCH, {"spoil": swap("us-east-1", "eu-west-1")}),
    ("another service", QUERY, {"spoil": swap("%2Fs3%2F", "%2Fec2%2F")}),
    ("another terminator", QUERY, {"spoil": swap("aws4_request", "aws4_reques")}),
    ("another key", MISMATCH, {"spoil": lambda t: t.replace("Credential=" + t.split("Credential=")[1].split("%2F")[0],
                                                            "Credential=" + MAIN["access_key_id"])}),
    ("the secret of another key", MISMATCH, {"account": swapped}),
    ("more signed headers", MISMATCH, {"spoil": swap("SignedHeaders=host", "SignedHeaders=host%3Bx-amz-acl"),
                                       "headers": {"x-amz-acl": "public-read"}}),
    ("no signed host", DENIED, {"spoil": swap("SignedHeaders=host", "SignedHeaders=date")}),
    ("a digit of the signature", MISMATCH, {"spoil": last_digit}),
    ("no signature", QUERY, {"spoil": lambda t: t.split("&X-Amz-Signature")[0]}),
    ("two signatures", QUERY, {"spoil": lambda t: t + "&X-Amz-Signature=" + "0" * 64}),
    ("its parameters in small letters", DENIED, {"spoil": lambda t: t.replace("X-Amz-", "x-amz-")}),
    ("one parameter more", MISMATCH, {"spoil": lambda t: t + "&x-amz-acl=public-read"}),
    ("a sub-resource more", MISMATCH, {"spoil": lambda t: t + "&tagging"}),
    ("an unsigned amz header", DENIED, {"headers": {"x-amz-meta-a": "b"}}),
    ("an unsigned grant", DENIED, {"headers": {"x-amz-grant-full-control": "id=1"}}),
    ("another host", MISMATCH, {"headers": {"Host": "localhost:1"}}),
    ("used for POST", MISMATCH, {"method": "POST"}),
    ("a digest of other bytes", "400 XAmzContentSHA256Mismatch",
     {"headers": {"x-amz-content-sha256": EMPTY}, "signed": {"x-amz-content-sha256": EMPTY}}),
], lambda s, expected, how: presigned(s, expected, **signed_too(how)))


def signed_too(how):
    """`signed` headers are in the signature: conformance.presign() hashes UNSIGNED-PAYLOAD, so a row
    with a digest of its own is signed here."""
    how = dict(how)
    if "signed" not in how:
        return how
    how.pop("signed")
    how["spoil"] = lambda t: t
    return dict(how, spoil=resign_with_digest)


def resign_with_digest(target):
    path, _, query = target.partition("?")
    params = [p for p in query.split("&") if not p.startswith("X-Amz-Signature")]
    params = ["X-Amz-SignedHeaders=host%3Bx-amz-content-sha256" if p.startswith("X-Amz-SignedHeaders") else p for p in params]
    query = "&".join(params)
    stamp = query.split("X-Amz-Date=")[1][:16]
    scope = "%s/us-east-1/s3/aws4_request" % stamp[:8]
    headers = {"host": HERE["host"], "x-amz-content-sha256": EMPTY}
    text = conformance.string_to_sign("PUT", path + "?" + query, headers, sorted(headers), EMPTY, stamp, scope)
    return path + "?" + query + "&X-Amz-Signature=" + signature(HERE["account"], scope, text)


HERE = {}


# ---- chunks and trailers ----

CUT = 8192
BODY = os.urandom(3 * CUT + 100)


class Stream(Upload):
    """A chunked upload: `pieces` are (data, size line, signature) until they are put together."""

    def __init__(self, s, trailer=False, signed=True):
        super().__init__(s)
        self.signed, self.body = signed, BODY
        self.kind = "STREAMING-" + ("AWS4-HMAC-SHA256-PAYLOAD" if signed else "UNSIGNED-PAYLOAD") + ("-TRAILER" if trailer else "")
        self.headers = {"Host": self.headers["Host"], "Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(BODY))}
        self.trailers = []
        if trailer:
            self.headers["x-amz-trailer"] = "x-amz-checksum-crc32"
            self.trailers = [("x-amz-checksum-crc32", crc32(BODY))]
        self.trailer_signature = None

    def build(self):
        self.sign(payload=self.kind)
        self.stamp = self.headers["x-amz-date"]
        self.scope = "%s/us-east-1/s3/aws4_request" % self.stamp[:8]
        self.chain(self.headers["Authorization"].rpartition("=")[2])
        return self

    def chain(self, last):
        self.pieces = []
        for data in [BODY[i:i + CUT] for i in range(0, len(BODY), CUT)] + [b""]:
            last = self.mac("PAYLOAD", last, data)
            self.pieces.append([data, len(data), last])
        if self.trailers:
            self.trailer_signature = self.mac("TRAILER", last, "".join("%s:%s\n" % t for t in self.trailers).encode())

    def mac(self, kind, before, data):
        text = "\n".join(["AWS4-HMAC-SHA256-" + kind, self.stamp, self.scope, before] +
                         ([EMPTY] if kind == "PAYLOAD" else []) + [hashlib.sha256(data).hexdigest()])
        return signature(root(self.s), self.scope, text)

    def put_together(self):
        out = b""
        for data, size, sig in self.pieces:
            out += b"%x" % size + (b";chunk-signature=" + sig.encode() if self.signed and sig is not None else b"") + b"\r\n"
            out += data + (b"\r\n" if data else b"")
        for name, value in self.trailers:
            out += ("%s:%s\r\n" % (name, value)).encode()
        if self.trailers and self.signed and self.trailer_signature is not None:
            out += b"x-amz-trailer-signature:" + self.trailer_signature.encode() + b"\r\n"
        self.body = out + b"\r\n"


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def streamed(s, expected, spoil, trailer=False, signed=True, early=None, late=None):
    before = counts(s)
    u = Stream(s, trailer, signed)
    if early:
        early(u)
    u.build()
    spoil(u)
    u.put_together()
    if late:
        u.body = late(u.body)
    wants(u.send(), expected)
    (something_happened if expected == "200" else nothing_happened)(s, before, u if expected == "200" else u.key)


for how in ({}, {"trailer": True}, {"trailer": True, "signed": False}):
    names["test_sound stream %s is taken" % how] = lambda s, how=how: streamed(s, "200", lambda u: None, **how)


def on_pieces(change):
    def spoil(u):
        change(u.pieces)
    return spoil


def exchange_pieces(p, i, j):
    p[i], p[j] = p[j], p[i]


def edit(i, field, value):
    def change(p):
        p[i][field] = value(p[i][field]) if callable(value) else value
    return on_pieces(change)


SHORT, BAD_TRAILER = "400 IncompleteBody", "400 MalformedTrailerError"
conformance.table(names, "chunks", [
    ("in another order", MISMATCH, on_pieces(lambda p: exchange_pieces(p, 0, 1))),
    ("the first one twice", MISMATCH, on_pieces(lambda p: p.insert(0, list(p[0])))),
    ("the second one twice", MISMATCH, on_pieces(lambda p: p.insert(1, list(p[1])))),
    ("the first one left out", MISMATCH, on_pieces(lambda p: p.pop(0))),
    ("one in the middle left out", MISMATCH, on_pieces(lambda p: p.pop(1))),
    ("the last one of data left out", MISMATCH, on_pieces(lambda p: p.pop(-2))),
    ("the final one left out", SHORT, on_pieces(lambda p: p.pop())),
    ("the final one early", MISMATCH, on_pieces(lambda p: p.insert(1, p.pop()))),
    ("data changed", MISMATCH, edit(1, 0, lambda d: b"x" + d[1:])),
    ("data exchanged, signatures kept", MISMATCH, on_pieces(lambda p: (p[0].__setitem__(0, BODY[CUT:2 * CUT]),
                                                                     p[1].__setitem__(0, BODY[:CUT])))),
    ("size one more", MISMATCH + "|" + SHORT, edit(0, 1, lambda n: n + 1)),
    ("size one less", MISMATCH + "|" + SHORT, edit(0, 1, lambda n: n - 1)),
    ("size of 2^63", MISMATCH + "|" + SHORT + "|400 EntityTooLarge", edit(0, 1, 1 << 63)),
    ("size of 2^64", MISMATCH + "|" + SHORT + "|400 EntityTooLarge", edit(0, 1, 1 << 64)),
    ("size 0 in the middle", MISMATCH + "|" + SHORT, edit(1, 1, 0)),
    ("no signature of the first", SHORT + "|" + MISMATCH, edit(0, 2, None)),
    ("no signature of the final one", SHORT + "|" + MISMATCH, edit(-1, 2, None)),
    ("signature of the final one", MISMATCH, edit(-1, 2, lambda g: g[::-1])),
    ("signature in capitals", MISMATCH + "|" + SHORT, edit(0, 2, lambda g: g.upper() + "")),
    ("signature a digit short", SHORT + "|" + MISMATCH, edit(0, 2, lambda g: g[:-1])),
    ("all chained from another request", MISMATCH, lambda u: u.chain(Stream(u.s).build().headers["Authorization"].rpartition("=")[2])),
    ("all chained from zeros", MISMATCH, lambda u: u.chain("0" * 64)),
    ("one of less than 8 KiB", "403 InvalidChunkSizeError|" + MISMATCH + "|" + SHORT, edit(0, 1, 100)),
], lambda s, expected, spoil: streamed(s, expected, spoil))

conformance.table(names, "stream", [
    ("bytes behind its end", SHORT + "|" + BAD_TRAILER, lambda b: b + b"x"),
    ("a chunk behind its end", SHORT + "|" + BAD_TRAILER, lambda b: b + b"1\r\nx\r\n0\r\n\r\n"),
    ("bytes before its first chunk", SHORT, lambda b: b"x" + b),
    ("cut in the middle of a chunk", SHORT, lambda b: b[:5000]),
    ("cut behind its first chunk", SHORT, lambda b: b[:CUT + 86 + 6]),
    ("without framing", SHORT, lambda b: BODY),
    ("empty", SHORT, lambda b: b""),
    ("another name for the signature", SHORT + "|" + MISMATCH, lambda b: b.replace(b"chunk-signature", b"chunk-signaturf", 1)),
], lambda s, expected, late: streamed(s, expected, lambda u: None, late=late))

conformance.table(names, "decoded length", [
    ("one more", SHORT, str(len(BODY) + 1)),
    ("one less", SHORT, str(len(BODY) - 1)),
    ("0", SHORT, "0"),
    ("negative", "400 InvalidArgument|411 MissingContentLength|" + SHORT, "-1"),
    ("no number", "400 InvalidArgument|411 MissingContentLength", "x"),
    ("beyond the largest object", "400 EntityTooLarge", str(6 << 40)),
    ("of 2^64", "400 EntityTooLarge|411 MissingContentLength|400 InvalidArgument", str(1 << 64)),
], lambda s, expected, value: streamed(s, expected, lambda u: None, early=header("x-amz-decoded-content-length", value)))


def trailers(value):
    def spoil(u):
        u.trailers = value(u.trailers) if callable(value) else value
    return spoil


def with_trailer_signature(value):
    def spoil(u):
        u.trailer_signature = value(u) if callable(value) else value
    return spoil


WRONG = ("x-amz-checksum-crc32", crc32(b"other"))
conformance.table(names, "trailer", [
    ("wrong, signature kept", MISMATCH, trailers([WRONG]), {}),
    ("wrong, signed so", "400 BadDigest", lambda u: None, {"early": trailers([WRONG])}),
    ("no checksum, signed so", "400 InvalidRequest|" + BAD_TRAILER, lambda u: None, {"early": trailers([("x-amz-checksum-crc32", "!")])}),
    ("another algorithm than announced", BAD_TRAILER, lambda u: None, {"early": trailers([("x-amz-checksum-sha1", "x")])}),
    ("one more, not signed", BAD_TRAILER + "|" + MISMATCH, trailers(lambda t: t + [("x-amz-meta-evil", "1")]), {}),
    ("one more, signed", BAD_TRAILER, lambda u: None, {"early": trailers(lambda t: t + [("x-amz-meta-evil", "1")])}),
    ("twice", BAD_TRAILER, lambda u: None, {"early": trailers(lambda t: t + t)}),
    ("none", BAD_TRAILER, trailers([]), {}),
    ("a signature reversed", MISMATCH, with_trailer_signature(lambda u: u.trailer_signature[::-1]), {}),
    ("no signature", BAD_TRAILER + "|" + MISMATCH, with_trailer_signature(None), {}),
    ("the last chunk's signature", MISMATCH, with_trailer_signature(lambda u: u.pieces[-1][2]), {}),
    ("chained from another chunk", MISMATCH, with_trailer_signature(
        lambda u: u.mac("TRAILER", u.pieces[0][2], ("%s:%s\n" % u.trailers[0]).encode())), {}),
    ("unsigned, wrong", "400 BadDigest", trailers([WRONG]), {"signed": False}),
    ("unsigned, none", BAD_TRAILER, trailers([]), {"signed": False}),
    ("unsigned, another than announced", BAD_TRAILER, trailers([("x-amz-checksum-sha1", "x")]), {"signed": False}),
    ("unsigned, twice", BAD_TRAILER, trailers(lambda t: t + t), {"signed": False}),
    ("unsigned, one more", BAD_TRAILER, trailers(lambda t: t + [("Content-Length", "1")]), {"signed": False}),
    ("unsigned, data changed", "400 BadDigest", edit(1, 0, lambda d: b"x" + d[1:]), {"signed": False}),
    ("unsigned, a chunk left out", SHORT + "|400 BadDigest", on_pieces(lambda p: p.pop(1)), {"signed": False}),
], lambda s, expected, spoil, how: streamed(s, expected, spoil, trailer=True, **how))


# ---- Version 2 ----

def v2_signature(account, method, path, headers, expires=None, sub=""):
    amz = "".join("%s:%s\n" % (n.lower(), v) for n, v in sorted(headers.items()) if n.lower().startswith("x-amz-"))
    text = "\n".join([method, headers.get("Content-MD5", ""), headers.get("Content-Type", ""),
                      expires or headers.get("Date", "")]) + "\n" + amz + path + sub
    return base64.b64encode(hmac.new(account["secret_access_key"].encode(), text.encode(), hashlib.sha1).digest()).decode()


def version2(s, expected, spoil, how=None):
    before = counts(s)
    u = Upload(s)
    u.query = ""
    u.headers["Date"] = email.utils.formatdate(time.time() + (how or {}).get("when", 0), usegmt=True)
    u.headers["x-amz-meta-a"] = "b"
    account = (how or {}).get("account", root)(s)
    u.headers["Authorization"] = "AWS %s:%s" % (account["access_key_id"], v2_signature(account, "PUT", u.path, u.headers))
    spoil(u)
    wants(u.send(), expected)
    (something_happened if expected == "200" else nothing_happened)(s, before, u if expected == "200" else u.key)


def v2_auth(change):
    def spoil(u):
        u.headers["Authorization"] = change(u.headers["Authorization"])
    return spoil


conformance.table(names, "version 2", [
    ("sound", "200", lambda u: None),
    ("method", MISMATCH, change(method="POST")),
    ("key", MISMATCH, change(path="/photos/neg/v2-other.jpg")),
    ("bucket", MISMATCH, change(path=lambda p: p.replace("photos", "photos-derived"))),
    ("sub-resource", MISMATCH, change(query="acl")),
    ("a response header", MISMATCH, change(query="response-content-type=text/html")),
    ("Content-Type", MISMATCH, header("Content-Type", "text/html")),
    ("Content-MD5", MISMATCH, header("Content-MD5", conformance.md5(b"x"))),
    ("body", "400 BadDigest", change(body=PICTURE[:-1] + b"x")),
    ("Date", MISMATCH, header("Date", email.utils.formatdate(time.time() - 100, usegmt=True))),
    ("x-amz-date added", MISMATCH, header("x-amz-date", email.utils.formatdate(usegmt=True))),
    ("x-amz-meta changed", MISMATCH, header("x-amz-meta-a", "c")),
    ("x-amz-meta added", MISMATCH, header("x-amz-meta-b", "c")),
    ("x-amz-acl added", MISMATCH, header("x-amz-acl", "public-read")),
    ("a character of the signature", MISMATCH, v2_auth(lambda a: a[:-3] + ("A" if a[-3] != "A" else "B") + a[-2:])),
    ("empty signature", MISMATCH, v2_auth(lambda a: a.partition(":")[0] + ":")),
    ("another key", MISMATCH, v2_auth(lambda a: "AWS %s:%s" % (MAIN["access_key_id"], a.rpartition(":")[2]))),
    ("16 minutes ago", "403 RequestTimeTooSkewed", lambda u: None, {"when": -960}),
    ("16 minutes ahead", "403 RequestTimeTooSkewed", lambda u: None, {"when": 960}),
    ("the secret of another key", MISMATCH, lambda u: None, {"account": swapped}),
    ("through a proxy", "400 InvalidRequest", header("X-Forwarded-For", "10.0.0.1")),
    ("beside Version 4", "400 InvalidArgument", change(query="X-Amz-Signature=x")),
], lambda s, expected, spoil, how=None: version2(s, expected, spoil, how))


# ---- the other faces ----

def test_administration_and_table_want_the_body_they_signed(s):
    before = counts(s)
    for target, service, body, other, header_name in (
            ("/_/buckets", "s3", b'{"bucket": "good"}', b'{"bucket": "evil"}', None),
            ("/", "dynamodb", b'{"TableName": "good"}', b'{"TableName": "evil"}', "DynamoDB_20120810.DescribeTable")):
        extra = {"X-Amz-Target": header_name, "Content-Type": "application/x-amz-json-1.0"} if header_name else {}
        h = s.signed_headers("POST", target, body, extra, service=service)
        a = s.request("POST", target, other, h)
        true(a.status in (400, 403) and b"evil" not in a.body, "%s: %d %r" % (target, a.status, a.body[:200]))
        true(b"ignature" in a.body or b"SHA256" in a.body or b"DENIED" in a.body, "%s says why: %r" % (target, a.body[:200]))
    buckets = [b["Name"] for b in s.s3().list_buckets()["Buckets"]]
    true("evil" not in buckets and "good" not in buckets, "buckets are %s" % buckets)
    equal(counts(s), before, "what was counted")


def test_only_the_sound_uploads_are_there(s):
    """An event may be counted late; here every object, item and event of the whole run is known."""
    before = counts(s)
    s.idle()
    equal(counts(s), before, "what was counted")
    listed = [o["Key"] for o in s.s3().list_objects_v2(Bucket="photos").get("Contents", [])]
    equal(sorted(listed), sorted(stored), "objects")
    items = s.dynamodb().scan(TableName="images")["Items"]
    equal(sorted(i["key"]["S"] for i in items), sorted(stored), "items")


class Server(darkroom.Server):
    def start(self):
        super().start()
        HERE.update(host="%s:%d" % (self.host, self.port), account=root(self))
        return self


darkroom.Server = Server
darkroom.run(names, config={"accounts": [MAIN]})
