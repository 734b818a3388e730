#!/usr/bin/python3
"""Conformance: buckets. Names, re-creation, locations, deletion, the list of buckets, settings that
a bucket answers without being configured, what is not implemented. Sources: "Bucket naming rules"
of the Amazon S3 User Guide, CreateBucket, ListBuckets and GetBucket* of the API Reference."""
import datetime
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import MAIN, OTHER, NOBODY, anybody, api, bucket, element, filled, wants
from darkroom import contains, equal, true


# ---- names ----

def named(s, expected, name):
    wants(api(s)("PUT", "/" + name), expected)
    if expected == "200":
        equal(wants(api(s)("HEAD", "/" + name), "200").headers.get("x-amz-bucket-region"), "us-east-1", "region")
        wants(api(s)("DELETE", "/" + name), "204")


BAD = "400 InvalidBucketName"
conformance.table(globals(), "name", [(n if len(n) < 40 else "%d letters" % len(n), BAD, n) for n in (
    "a", "aa", "a" * 64, "a" * 255, "Upper", "mixedCase", "foo_bar", "_foo", "foo-", "-foo", "foo.", ".foo", "foo..bar",
    "192.168.5.123", "10.0.0.1", "foo%2Abar", "foo%21bar", "xn--foo", "sthree-foo", "sthree-configurator",
    "amzn-s3-demo-foo", "foo-s3alias", "foo--ol-s3", "foo.mrap", "foo--x-s3", "foo%00bar", "foo%0abar", "%C3%BCber")] + [
    (n if len(n) < 40 else "%d letters" % len(n), "200", n) for n in ("aaa", "a.b.c", "0foo", "foo.123", "aaa.111", "aaa-111", "1.2.3", "a" * 60, "a" * 61,
                            "a" * 62, "a" * 63, "a--b", "192.168.5", "300.1.1.1x")], named)
# The suites refuse a dash beside a dot; the User Guide does not.
conformance.table(globals(), "name", [(n, BAD, n) for n in ("foo.-bar", "foo-.bar")], named)


def test_a_wrong_name_in_other_requests(s):
    for method, to in (("GET", "/Ab"), ("GET", "/A/key"), ("DELETE", "/a_b")):
        a = api(s)(method, to)
        true((a.status, a.code) in ((400, "InvalidBucketName"), (404, "NoSuchBucket")), "%d %s" % (a.status, a.code))


# ---- creating ----

def test_create_answers_location(s):
    b = "/created-here"
    a = wants(api(s)("PUT", b), "200")
    equal(a.headers.get("location"), b, "Location")
    equal(a.body, b"", "body")


def test_create_again_is_idempotent(s):
    b = filled(s, "kept")
    wants(api(s)("PUT", b), "200|409 BucketAlreadyOwnedByYou")
    equal(api(s).ok("GET", b).all("Contents/Key"), ["kept"], "what is in it")


def test_create_elsewhere_again_is_refused(s):
    b = "/far-away-again"
    doc = element("CreateBucketConfiguration", element("LocationConstraint", "eu-west-1"))
    wants(api(s)("PUT", b, doc), "200")
    wants(api(s)("PUT", b, doc), "409 BucketAlreadyOwnedByYou")


def test_create_what_another_owns(s):
    b = bucket(s)
    wants(conformance.other(s)("PUT", b), "409 BucketAlreadyExists")
    wants(anybody(s)("PUT", b), "403 AccessDenied")


def located(s, expected, constraint, told, xmlns=""):
    b = "/located-%d" % next(conformance.numbers)
    doc = "<CreateBucketConfiguration%s>%s</CreateBucketConfiguration>" % (
        xmlns, "" if constraint is None else element("LocationConstraint", constraint))
    wants(api(s)("PUT", b, doc), expected)
    if expected == "200":
        a = wants(api(s)("GET", b + "?location"), "200")
        equal(a.xml.tag, "LocationConstraint", "root")
        equal(a.xml.text or "", told, "location")
        equal(api(s).ok("HEAD", b).headers["x-amz-bucket-region"], told or "us-east-1", "x-amz-bucket-region")


conformance.table(globals(), "location", [
    ("us-east-1", "200", "us-east-1", ""), ("none", "200", None, ""), ("empty", "200", "", ""),
    ("eu-central-1", "200", "eu-central-1", "eu-central-1"), ("EU", "200", "EU", "EU"),
    ("with namespace", "200", "eu-west-1", "eu-west-1", ' xmlns="%s"' % conformance.NAMESPACE),
    ("nonsense", "400 InvalidLocationConstraint", "not a region!", ""),
], located)
conformance.table(globals(), "location document", [
    ("cut", "400 MalformedXML", "<CreateBucketConfiguration>"),
    ("another root", "400 MalformedXML", "<Something/>"),
    ("no XML", "400 MalformedXML", "hello"),
], lambda s, expected, doc: wants(api(s)("PUT", "/never-made", doc), expected))



def raw_header(s, expected, name, value):
    """A refusal before S3 (by the HTTP layer) needs no Error document."""
    b = "/header-%d" % next(conformance.numbers)
    h = {"Host": "%s:%d" % (s.host, s.port)}
    conformance.sign(MAIN, "PUT", b, h, conformance.EMPTY)
    if name != "Content-Length":
        h["Content-Length"] = "0"
    if value is not None:
        h[name] = value
    a = conformance.exchange(s, "PUT", b, b"", h)
    true(str(a.status) in expected.split("|"), "%d" % a.status)


conformance.table(globals(), "create with", [
    ("Expect 200", "200|417", "Expect", "200"), ("empty Expect", "200", "Expect", ""),
    ("negative length", "400", "Content-Length", "-1"), ("empty length", "400", "Content-Length", ""),
    ("no length", "200", "Content-Length", None), ("empty User-Agent", "200", "User-Agent", ""),
    ("empty Content-Type", "200", "Content-Type", ""),
], raw_header)


# ---- deleting ----

def test_delete(s):
    b = filled(s, "k")
    wants(api(s)("DELETE", b), "409 BucketNotEmpty")
    wants(conformance.other(s)("DELETE", b), "403 AccessDenied")
    wants(api(s)("DELETE", b + "/k"), "204")
    wants(api(s)("DELETE", b), "204")
    wants(api(s)("DELETE", b), "404 NoSuchBucket")
    wants(api(s)("PUT", b), "200", "made anew")


GONE = [("GET", ""), ("HEAD", ""), ("DELETE", ""), ("GET", "/k"), ("HEAD", "/k"), ("PUT", "/k"), ("DELETE", "/k"),
        ("POST", "/k?uploads"), ("GET", "?list-type=2"), ("GET", "?versions"), ("GET", "?uploads"),
        ("GET", "?location"), ("GET", "?acl"), ("GET", "?policy"), ("GET", "?cors"), ("GET", "?tagging"),
        ("GET", "?lifecycle"), ("GET", "?versioning"), ("GET", "?notification"), ("GET", "?object-lock"),
        ("GET", "?website"), ("GET", "?encryption"), ("GET", "?publicAccessBlock"), ("GET", "?ownershipControls"),
        ("GET", "?logging"), ("GET", "?policyStatus"), ("DELETE", "?policy"), ("DELETE", "?cors")]
conformance.table(globals(), "missing bucket", [
    ("%s %s" % g, "404" if g[0] == "HEAD" else "404 NoSuchBucket", g[0], g[1]) for g in GONE],
    lambda s, expected, method, target: wants(api(s)(method, "/was-never-made" + target), expected))


# ---- the list ----

def test_list_buckets(s):
    names = sorted(bucket(s, account=OTHER)[1:] for _ in range(5))
    a = conformance.other(s).ok("GET", "/")
    equal(a.xml.tag, "ListAllMyBucketsResult", "root")
    contains(a.body.decode(), 'xmlns="%s"' % conformance.NAMESPACE, "namespace")
    equal([n for n in a.all("Buckets/Bucket/Name") if n in names], names, "names")
    true(a.one("Owner/ID"), "no Owner")
    equal(a.one("Owner/DisplayName"), "other", "DisplayName")
    for text in a.all("Buckets/Bucket/CreationDate"):
        made = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
        true(abs((datetime.datetime.utcnow() - made).total_seconds()) < 3600, "made " + text)
    true(not set(names) & set(api(s).ok("GET", "/").all("Buckets/Bucket/Name")), "another's buckets are listed")


def test_list_buckets_in_pages(s):
    o = conformance.other(s)
    for i in range(4):
        o.ok("PUT", "/page-%d" % i)
    seen, token, pages = [], "", 0
    while pages == 0 or token:
        a = o.ok("GET", "/?max-buckets=3&prefix=page-" +
                 ("&continuation-token=" + conformance.quoted(token) if token else ""))
        seen += a.all("Buckets/Bucket/Name")
        token, pages = a.one("ContinuationToken", ""), pages + 1
    equal((seen, pages), (["page-%d" % i for i in range(4)], 2), "names and pages")
    for wrong in ("0", "-1", "10001", "many"):
        wants(o("GET", "/?max-buckets=" + wrong), "400 InvalidArgument", wrong)


def test_list_buckets_wrong_keys(s):
    wants(api(s, dict(MAIN, access_key_id="NOSUCHKEY"))("GET", "/"), "403 InvalidAccessKeyId")
    wants(api(s, dict(MAIN, secret_access_key="wrong"))("GET", "/"), "403 SignatureDoesNotMatch")


# ---- settings nobody made ----

UNSET = [("policy", "404 NoSuchBucketPolicy"), ("cors", "404 NoSuchCORSConfiguration"), ("tagging", "404 NoSuchTagSet"),
         ("lifecycle", "404 NoSuchLifecycleConfiguration"), ("website", "404 NoSuchWebsiteConfiguration"),
         ("replication", "404 ReplicationConfigurationNotFoundError"),
         ("object-lock", "404 ObjectLockConfigurationNotFoundError"), ("versioning", "200"), ("logging", "200"),
         ("notification", "200"), ("requestPayment", "200"), ("accelerate", "200"), ("acl", "200"), ("location", "200"),
         ("uploads", "200"), ("versions", "200"),
         ("publicAccessBlock", "404 NoSuchPublicAccessBlockConfiguration|200"),
         ("ownershipControls", "404 OwnershipControlsNotFoundError|200"),
         ("encryption", "404 ServerSideEncryptionConfigurationNotFoundError|200")]
conformance.table(globals(), "unset", [(n, e, n) for n, e in UNSET],
                  lambda s, expected, name: wants(api(s)("GET", bucket(s) + "?" + name), expected))


def test_unset_documents(s):
    b = bucket(s)
    a = api(s).ok("GET", b + "?versioning")
    equal((a.xml.tag, len(a.xml)), ("VersioningConfiguration", 0), "versioning")
    equal(api(s).ok("GET", b + "?requestPayment").one("Payer"), "BucketOwner", "payer")
    equal(api(s).ok("GET", b + "?notification").xml.tag, "NotificationConfiguration", "notification")
    for name in ("policy", "cors", "tagging", "lifecycle", "website", "encryption", "ownershipControls",
                 "publicAccessBlock", "replication"):
        a = api(s)("DELETE", b + "?" + name)
        true(a.status in (204, 501), "DELETE ?%s: %d %s" % (name, a.status, a.code))


def test_settings_of_another(s):
    b = bucket(s)
    for name, _ in UNSET:
        wants(conformance.other(s)("GET", b + "?" + name), "403 AccessDenied", name)


# ---- not implemented, not allowed ----

NOT_IMPLEMENTED = [("PUT", "?website"), ("PUT", "?replication"), ("PUT", "?inventory&id=1"), ("PUT", "?analytics&id=1"),
                   ("PUT", "?metrics&id=1"), ("GET", "?inventory"), ("GET", "?analytics&id=1"),
                   ("PUT", "?intelligent-tiering&id=1"), ("POST", "/k?restore"),
                   ("POST", "/k?select&select-type=2"), ("GET", "/k?torrent")]
conformance.table(globals(), "not implemented", [("%s %s" % n, n[0], n[1]) for n in NOT_IMPLEMENTED],
                  lambda s, method, target: wants(api(s)(method, filled(s, "k") + target, b"<a/>" if method != "GET" else b""),
                                                  "501 NotImplemented"))


# What a bucket is already may be said; what it cannot become is refused.
FIXED = [("logging", b"<BucketLoggingStatus/>", "200"),
         ("logging", b"<BucketLoggingStatus><LoggingEnabled><TargetBucket>b</TargetBucket></LoggingEnabled></BucketLoggingStatus>",
          "501 NotImplemented"),
         ("logging", b"<a/>", "400 MalformedXML"),
         ("requestPayment", b"<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>", "200"),
         ("requestPayment", b"<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
          "501 NotImplemented"),
         ("accelerate", b"<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>", "200"),
         ("accelerate", b"<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>", "501 NotImplemented")]
conformance.table(globals(), "fixed", [("%s %s" % (f[0], f[2]), f[0], f[1], f[2]) for f in FIXED],
                  lambda s, sub, body, want: wants(api(s)("PUT", bucket(s) + "?" + sub, body), want))


def test_methods_nobody_has(s):
    b = filled(s, "k")
    for method, to in (("PATCH", b), ("PUT", "/"), ("DELETE", "/"), ("POST", "/"), ("PATCH", b + "/k"), ("TRACE", b),
                       ("POST", b + "/k"), ("FOO", b + "/k")):
        a = api(s)(method, to)
        true((a.status, a.code) in ((405, "MethodNotAllowed"), (501, "NotImplemented"), (400, "BadRequest")),
             "%s %s: %d %s" % (method, to, a.status, a.code))


conformance.run(globals())
