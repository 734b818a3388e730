#!/usr/bin/python3
"""Conformance: cross-origin requests and browser uploads. CORS documents, preflights and headers of
actual answers; POST forms with and without policies, V2 and V4 signatures, conditions, redirects.
Sources: "Using cross-origin resource sharing" of the User Guide, "Browser-Based Uploads Using POST"
and POST Object of the API Reference."""
import base64
import datetime
import hashlib
import hmac
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import MAIN, NOBODY, anybody, api, bucket, element, etag, filled, md5, wants
from darkroom import contains, equal, true


# ---- CORS documents ----

def rule(origins=("*",), methods=("GET",), headers=(), expose=(), age=None):
    return element("CORSRule", *[element("AllowedOrigin", o) for o in origins], *[element("AllowedMethod", m) for m in methods],
                   *[element("AllowedHeader", h) for h in headers], *[element("ExposeHeader", h) for h in expose],
                   *([element("MaxAgeSeconds", str(age))] if age is not None else []))


def configure(s, b, *rules, expected="200"):
    doc = element("CORSConfiguration", *rules)
    return wants(api(s)("PUT", b + "?cors", doc, {"Content-MD5": md5(doc.encode())}), expected)


def test_document(s):
    b = bucket(s)
    wants(api(s)("GET", b + "?cors"), "404 NoSuchCORSConfiguration")
    configure(s, b, rule(("*.get", "*.put"), ("GET", "PUT"), ("x-*",), ("ETag",), 30), rule())
    a = api(s).ok("GET", b + "?cors")
    equal((a.xml.tag, len(a.all("CORSRule"))), ("CORSConfiguration", 2), "document")
    equal((a.all("CORSRule/AllowedOrigin"), a.all("CORSRule/AllowedMethod"), a.one("CORSRule/MaxAgeSeconds")),
          (["*.get", "*.put", "*"], ["GET", "PUT", "GET"], "30"), "rules")
    wants(api(s)("DELETE", b + "?cors"), "204")
    wants(api(s)("GET", b + "?cors"), "404 NoSuchCORSConfiguration")


conformance.table(globals(), "CORS document", [
    ("unknown method", "400 InvalidRequest", rule(methods=("PATCH",))), ("two stars", "400 InvalidRequest", rule(origins=("*a*",))),
    ("no origin", "400 MalformedXML", rule(origins=())), ("no method", "400 MalformedXML", rule(methods=())), ("no rule", "400 MalformedXML"),
    ("101 rules", "400 InvalidRequest|400 MalformedXML", *[rule()] * 101), ("bad age", "400 MalformedXML", rule(age="soon")),
    ("two stars in a header", "400 InvalidRequest", rule(headers=("*-*",))), ("star exposed", "400 InvalidRequest", rule(expose=("*",))),
], lambda s, expected, *rules: configure(s, bucket(s), *rules, expected=expected))


# ---- CORS at work ----

def asked(s, b, method, key, headers, status, origin, methods):
    a = anybody(s)(method, b + key, b"", headers)
    equal((a.status, a.headers.get("access-control-allow-origin"), a.headers.get("access-control-allow-methods")), (status, origin, methods),
          "%s %s %r" % (method, key, headers))
    return a


def test_origins(s):
    b = bucket(s, {"x-amz-acl": "public-read"})
    configure(s, b, rule(("*suffix",)), rule(("start*end",)), rule(("prefix*",)), rule(("*.put",), ("PUT",)))
    for origin, good in ((None, 0), ("foo.suffix", 1), ("foo.bar", 0), ("foo.suffix.get", 0), ("startend", 1), ("start1end", 1), ("start12end", 1),
                         ("0start12end", 0), ("prefix", 1), ("prefix.suffix", 1), ("bla.prefix", 0)):
        sent = {"Origin": origin} if origin else {}
        asked(s, b, "GET", "", sent, 200, origin if good else None, "GET" if good else None)
        if origin:
            asked(s, b, "OPTIONS", "", dict(sent, **{"Access-Control-Request-Method": "GET"}), 200 if good else 403, origin if good else None,
                  "GET" if good else None)
    asked(s, b, "GET", "/bar", {"Origin": "foo.suffix"}, 404, "foo.suffix", "GET")
    asked(s, b, "PUT", "/bar", {"Origin": "foo.suffix"}, 403, None, None)
    asked(s, b, "PUT", "/bar", {"Origin": "foo.put"}, 403, "foo.put", "PUT")
    asked(s, b, "OPTIONS", "", {}, 400, None, None)
    asked(s, b, "OPTIONS", "", {"Origin": "foo.suffix"}, 400, None, None)
    asked(s, b, "OPTIONS", "/bar", {"Origin": "foo.suffix", "Access-Control-Request-Method": "GET"}, 200, "foo.suffix", "GET")
    asked(s, b, "OPTIONS", "", {"Origin": "foo.put", "Access-Control-Request-Method": "GET"}, 403, None, None)
    asked(s, b, "OPTIONS", "", {"Origin": "foo.put", "Access-Control-Request-Method": "PUT"}, 200, "foo.put", "PUT")


def test_an_actual_request_may_name_its_method(s):
    """As the suites have it: Access-Control-Request-Method, when it is sent, chooses the rule."""
    b = bucket(s, {"x-amz-acl": "public-read"})
    configure(s, b, rule(("*suffix",)))
    asked(s, b, "PUT", "/bar", {"Origin": "foo.suffix", "Access-Control-Request-Method": "GET"}, 403, "foo.suffix", "GET")
    for method in ("PUT", "DELETE"):
        asked(s, b, "PUT", "/bar", {"Origin": "foo.suffix", "Access-Control-Request-Method": method}, 403, None, None)


def test_wildcard(s):
    b = bucket(s, {"x-amz-acl": "public-read"})
    configure(s, b, rule())
    a = asked(s, b, "GET", "", {"Origin": "example.origin"}, 200, "*", "GET")
    true("access-control-allow-credentials" not in a.headers, "credentials with a star")


def test_headers(s):
    b = bucket(s, {"x-amz-acl": "public-read"})
    configure(s, b, rule(expose=("x-amz-meta-header1",)), rule(("http://a",), ("PUT",), ("x-amz-*", "Content-Type"), ("ETag", "x-y"), 99))
    ask = {"Origin": "http://a", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type, X-Amz-Date"}
    a = asked(s, b, "OPTIONS", "/k", ask, 200, "http://a", "PUT")
    equal((a.headers["access-control-allow-headers"].lower().replace(" ", ""), a.headers["access-control-max-age"], a.headers["access-control-expose-headers"]),
          ("content-type,x-amz-date", "99", "ETag, x-y"), "headers")
    contains(a.headers["vary"], "Origin", "Vary")
    asked(s, b, "OPTIONS", "/k", dict(ask, **{"Access-Control-Request-Headers": "x-other"}), 403, None, None)
    asked(s, b, "OPTIONS", "/k", {"Origin": "http://b", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-amz-meta-header2"}, 403, None, None)
    wants(anybody(s)("OPTIONS", bucket(s) + "/k", b"", ask), "403 AccessForbidden", "no configuration")


# ---- POST forms ----

BOUNDARY = "----darkroom"


def form(fields, file=b"bar", filename="f.txt"):
    parts = []
    for name, value in fields:
        parts.append(('--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (BOUNDARY, name, value)).encode())
    if file is not None:
        parts.append(('--%s\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\nContent-Type: text/plain\r\n\r\n' % (
            BOUNDARY, filename)).encode() + file + b"\r\n")
    return b"".join(parts) + ("--%s--\r\n" % BOUNDARY).encode()


def post(s, b, fields, expected, file=b"bar", filename="f.txt"):
    return wants(anybody(s)("POST", b, form(fields, file, filename), {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY}), expected)


def later(seconds=6000):
    return (datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


DEFAULT = [["starts-with", "$key", "foo"], {"acl": "private"}, ["starts-with", "$Content-Type", "text/plain"], ["content-length-range", 0, 1024]]
FIELDS = [("key", "foo.txt"), ("acl", "private"), ("Content-Type", "text/plain")]


def document(b, conditions, expiration=None):
    return {"expiration": expiration or later(), "conditions": [{"bucket": b[1:]}] + conditions}


def sign2(policy, account=MAIN):
    text = base64.b64encode(policy if isinstance(policy, bytes) else json.dumps(policy).encode()).decode()
    digest = hmac.new(account["secret_access_key"].encode(), text.encode(), hashlib.sha1).digest()
    return [("AWSAccessKeyId", account["access_key_id"]), ("policy", text), ("signature", base64.b64encode(digest).decode())]


def upload(s, expected, conditions=None, fields=None, file=b"bar", filename="f.txt", key="foo.txt", policy=None, account=MAIN, drop=(), change=None, **how):
    """A form with a V2 signature into a private bucket; what is stored is checked."""
    b = bucket(s)
    doc = policy(b) if policy else document(b, DEFAULT if conditions is None else conditions, **how)
    signed = dict(sign2(doc, account))
    signed.update(change or {})
    all_fields = [f for f in (FIELDS if fields is None else fields)] + list(signed.items())
    a = post(s, b, [f for f in all_fields if f[0] not in drop], expected, file, filename)
    if a.status < 300:
        equal(api(s).ok("GET", b + "/" + conformance.quoted(key)).body, file, "body")
    else:
        equal(api(s).ok("GET", b).all("Contents"), [], "what is stored")
    return a


def cond(*more):
    return [c for c in DEFAULT if not (isinstance(c, list) and c[0] == "content-length-range")] + list(more)


DENIED = "403 AccessDenied"
BAD = "400 InvalidPolicyDocument|400 MalformedPOSTRequest|400 InvalidArgument"
conformance.table(globals(), "POST", [
    ("with policy", "204", {}), ("without Content-Type", "204", {"conditions": [DEFAULT[0], DEFAULT[1], DEFAULT[3]], "fields": FIELDS[:2]}),
    ("3 MiB", "204", {"conditions": cond(["content-length-range", 0, 5 << 20]), "file": b"foo" * (1 << 20)}),
    ("empty file", "204", {"file": b""}), ("unknown key", "403 InvalidAccessKeyId", {"account": dict(MAIN, access_key_id="foo")}),
    ("wrong signature", "403 SignatureDoesNotMatch", {"account": dict(MAIN, secret_access_key="wrong")}),
    ("signature backwards", "403 SignatureDoesNotMatch", {"change": {"signature": "=UMXIjLm0+Zdj2Ql7zp8WqVbWb2s"}}),
    ("no signature", "400 InvalidArgument|403 AccessDenied", {"drop": ("signature",)}), ("no key id", "400 InvalidArgument|403 AccessDenied", {"drop": ("AWSAccessKeyId",)}),
    ("no policy", "400 InvalidArgument|403 AccessDenied", {"drop": ("policy",)}),
    ("${filename}", "204", {"fields": [("key", "${filename}")] + FIELDS[1:], "filename": "foo.txt"}),
    ("${filename} in a folder", "204", {"fields": [("key", "foo/${filename}")] + FIELDS[1:], "filename": "a b.txt", "key": "foo/a b.txt"}),
    ("${filename} with a path", "204", {"fields": [("key", "foo/${filename}")] + FIELDS[1:], "filename": "c:/dir/x.txt", "key": "foo/x.txt"}),
    ("x-ignore", "204", {"fields": FIELDS + [("x-ignore-foo", "bar")]}),
    ("case of names", "204", {"policy": lambda b: {"expiration": later(), "conditions": [{"bUcKeT": b[1:]}, ["StArTs-WiTh", "$KeY", "foo"], {"AcL": "private"},
     ["StArTs-WiTh", "$CoNtEnT-TyPe", "text/plain"], ["content-length-range", 0, 1024]]}, "fields": [("kEy", "foo.txt"), ("aCl", "private"), ("Content-Type", "text/plain")]}),
    ("escaped dollar", "204", {"conditions": [["starts-with", "$key", "\\$foo"]] + DEFAULT[1:], "fields": [("key", "\\$foo.txt")] + FIELDS[1:], "key": "\\$foo.txt"}),
    ("eq", "204", {"conditions": [["eq", "$key", "foo.txt"]] + DEFAULT[1:]}), ("eq another", DENIED, {"conditions": [["eq", "$key", "foo"]] + DEFAULT[1:]}),
    ("starts with nothing", "204", {"conditions": [["starts-with", "$key", ""]] + DEFAULT[1:]}), ("starts otherwise", DENIED, {"conditions": [["starts-with", "$key", "bar"]] + DEFAULT[1:]}),
    ("field without condition", DENIED, {"fields": FIELDS + [("x-amz-meta-foo", "bar")]}), ("condition without field", DENIED, {"conditions": DEFAULT + [["eq", "$x-amz-meta-foo", "bar"]]}),
    ("another bucket", DENIED, {"policy": lambda b: {"expiration": later(), "conditions": [{"bucket": "another"}] + DEFAULT}}),
    ("no bucket condition", DENIED, {"policy": lambda b: {"expiration": later(), "conditions": DEFAULT}}),
    ("expired", DENIED, {"expiration": later(-6000)}), ("bad date", BAD, {"expiration": "2030-01-01 10:00:00"}), ("small t", "204|400 InvalidPolicyDocument", {"expiration": "2030-01-01t10:00:00z"}),
    ("no expiration", BAD, {"policy": lambda b: {"conditions": [{"bucket": b[1:]}] + DEFAULT}}), ("no conditions", BAD, {"policy": lambda b: {"expiration": later()}}),
    ("no JSON", BAD, {"policy": lambda b: b"hello"}), ("conditions not a list", BAD, {"policy": lambda b: {"expiration": later(), "conditions": {}}}),
    ("an empty condition", "400 InvalidPolicyDocument|403 AccessDenied|400 MalformedPOSTRequest", {"policy": lambda b: {"expiration": later(), "conditions": [{}]}}),
    ("too large", "400 EntityTooLarge", {"conditions": cond(["content-length-range", 0, 2])}), ("too small", "400 EntityTooSmall", {"conditions": cond(["content-length-range", 512, 1000])}),
    ("range without end", BAD, {"conditions": cond(["content-length-range", 0])}), ("range negative", BAD + "|400 EntityTooLarge", {"conditions": cond(["content-length-range", -1, 0])}),
    ("range twice as words", "204", {"conditions": cond(["content-length-range", "0", "1024"])}), ("unknown operator", BAD + "|403 AccessDenied", {"conditions": DEFAULT + [["ends-with", "$key", "x"]]}),
    ("no key", "400 InvalidArgument|400 UserKeyMustBeSpecified", {"fields": FIELDS[1:]}), ("no file", "400 InvalidArgument|400 POST|400 MalformedPOSTRequest", {"file": None}),
    ("metadata", "204", {"conditions": DEFAULT + [["starts-with", "$x-amz-meta-foo", "bar"]], "fields": FIELDS + [("x-amz-meta-foo", "barclamp")]}),
    ("Cache-Control", "204", {"conditions": DEFAULT + [{"Cache-Control": "no-cache"}], "fields": FIELDS + [("Cache-Control", "no-cache")]}),
    ("status 200", "200", {"conditions": DEFAULT + [{"success_action_status": "200"}], "fields": FIELDS + [("success_action_status", "200")]}),
    ("bad tagging", "400 MalformedXML", {"conditions": DEFAULT + [["starts-with", "$tagging", ""]], "fields": FIELDS + [("tagging", "a=b")]}),
    ("tagging", "204", {"conditions": DEFAULT + [["starts-with", "$tagging", ""]], "fields": FIELDS + [("tagging", element("Tagging", element("TagSet", element(
        "Tag", element("Key", "a"), element("Value", "b")))))]}),
], lambda s, expected, how: upload(s, expected, **how))


def test_post_details(s):
    b = bucket(s)
    conditions = DEFAULT + [["starts-with", "$x-amz-meta-foo", ""], {"success_action_status": "201"}]
    a = post(s, b, FIELDS + [("x-amz-meta-foo", "barclamp"), ("success_action_status", "201")] + sign2(document(b, conditions)), "201")
    equal((a.xml.tag, a.one("Bucket"), a.one("Key"), a.one("ETag")), ("PostResponse", b[1:], "foo.txt", etag(b"bar")), "document")
    contains(a.headers["location"], "foo.txt", "Location")
    h = api(s).ok("HEAD", b + "/foo.txt").headers
    equal((h["content-type"], h["x-amz-meta-foo"], h["etag"]), ("text/plain", "barclamp", etag(b"bar")), "metadata")


def test_post_redirect(s):
    b = bucket(s)
    to = "http://127.0.0.1:1/done"
    a = post(s, b, FIELDS + [("success_action_redirect", to)] + sign2(document(b, DEFAULT + [["eq", "$success_action_redirect", to]])), "303")
    equal(a.headers["location"], "%s?bucket=%s&key=foo.txt&etag=%%22%s%%22" % (to, b[1:], etag(b"bar").strip('"')), "Location")


def test_post_anonymous(s):
    b = bucket(s, {"x-amz-acl": "public-read-write"})
    post(s, b, [("key", "foo.txt"), ("acl", "public-read"), ("Content-Type", "text/plain")], "204")
    equal(anybody(s).ok("GET", b + "/foo.txt").body, b"bar", "body")
    a = post(s, b, [("key", "foo.txt"), ("success_action_status", "201")], "201")
    equal(a.one("Key"), "foo.txt", "Key")
    equal(post(s, b, [("key", "foo.txt"), ("success_action_status", "404")], "204").body, b"", "an unknown status counts as 204")
    post(s, bucket(s), [("key", "foo.txt")], DENIED)
    post(s, "/was-never-made", [("key", "foo.txt")], "404 NoSuchBucket")


def post4(s, expected, spoil=None):
    b = bucket(s)
    stamp = conformance.amz_date()
    scope = "%s/us-east-1/s3/aws4_request" % stamp[:8]
    extra = [("x-amz-algorithm", "AWS4-HMAC-SHA256"), ("x-amz-credential", "MAINKEY/" + scope), ("x-amz-date", stamp)]
    text = base64.b64encode(json.dumps(document(b, DEFAULT + [dict([f]) for f in extra])).encode()).decode()
    fields = dict(FIELDS + extra + [("policy", text), ("x-amz-signature", conformance.signature(MAIN, scope, text))])
    fields.update({n: v and v.replace("SCOPE", scope) for n, v in (spoil or {}).items()})
    post(s, b, [f for f in fields.items() if f[1] is not None], expected)


conformance.table(globals(), "POST V4", [
    ("right", "204"), ("wrong signature", "403 SignatureDoesNotMatch", {"x-amz-signature": "0" * 64}), ("no signature", "400 InvalidArgument|403 AccessDenied", {"x-amz-signature": None}),
    ("unknown key", "403 InvalidAccessKeyId", {"x-amz-credential": "NOKEY/SCOPE"}), ("bad credential", "400 InvalidArgument|400 AuthorizationQueryParametersError|403 AccessDenied", {"x-amz-credential": "x"}),
    ("no date", "400 InvalidArgument|403 AccessDenied", {"x-amz-date": None}), ("bad algorithm", "400 InvalidArgument|403 AccessDenied", {"x-amz-algorithm": "HMAC"}),
], post4)


def test_post_shapes(s):
    b = bucket(s, {"x-amz-acl": "public-read-write"})
    good = form([("key", "k")])
    kind = "multipart/form-data; boundary=" + BOUNDARY
    for what, body, content in (("not a form", b"hello", "text/plain"), ("no boundary", good, "multipart/form-data"), ("another boundary", good, "multipart/form-data; boundary=x"),
                                ("cut", good[:-20], kind), ("empty", b"", kind), ("no names", good.replace(b"name=", b"nome="), kind)):
        a = anybody(s)("POST", b, body, {"Content-Type": content})
        true(400 <= a.status < 500, "%s: %d %s" % (what, a.status, a.code))
        equal(api(s).ok("GET", b).all("Contents"), [], what)


conformance.run(globals())
