#!/usr/bin/python3
"""Conformance: object lock and lifecycle configurations. What is accepted, what is refused, what a
lock keeps from happening. Sources: "Locking objects with Object Lock", "Lifecycle configuration
elements" of the User Guide and the operations of the API Reference."""
import datetime
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import MAIN, api, bucket, element, filled, md5, wants
from darkroom import equal, true


def day(days):
    return (datetime.datetime.utcnow() + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(text):
    return datetime.datetime.strptime(text[:19] + "Z", "%Y-%m-%dT%H:%M:%SZ")


def send(s, to, doc, expected="200", headers=None):
    h = {"Content-MD5": md5(doc.encode())}
    h.update(headers or {})
    return wants(api(s)("PUT", to, doc, h), expected)


def locking(s):
    return bucket(s, {"x-amz-bucket-object-lock-enabled": "true"})


def config(mode=None, days=None, years=None, enabled="Enabled"):
    rule = "" if mode is None else element("Rule", element("DefaultRetention", element("Mode", mode), *(
        ([element("Days", str(days))] if days is not None else []) + ([element("Years", str(years))] if years is not None else []))))
    return element("ObjectLockConfiguration", element("ObjectLockEnabled", enabled), rule)


# ---- the bucket's configuration ----

def test_a_locking_bucket(s):
    b = locking(s)
    equal(api(s).ok("GET", b + "?versioning").one("Status"), "Enabled", "versioning")
    a = api(s).ok("GET", b + "?object-lock")
    equal((a.one("ObjectLockEnabled"), a.one("Rule")), ("Enabled", None), "configuration")
    wants(api(s)("PUT", b + "?versioning", element("VersioningConfiguration", element("Status", "Suspended"))), "409 InvalidBucketState")


def configured(s, expected, doc):
    b = locking(s)
    send(s, b + "?object-lock", doc, expected)
    a = api(s).ok("GET", b + "?object-lock")
    if expected != "200":
        equal(a.one("Rule"), None, "rule afterwards")


conformance.table(globals(), "configuration", [
    ("governance, days", "200", config("GOVERNANCE", 1)), ("compliance, years", "200", config("COMPLIANCE", None, 1)), ("no rule", "200", config()),
    ("days and years", "400 MalformedXML", config("GOVERNANCE", 1, 1)), ("neither", "400 MalformedXML", config("GOVERNANCE")),
    ("zero days", "400 InvalidRetentionPeriod|400 InvalidArgument", config("GOVERNANCE", 0)), ("negative", "400 InvalidRetentionPeriod|400 InvalidArgument", config("GOVERNANCE", -1)),
    ("zero years", "400 InvalidRetentionPeriod|400 InvalidArgument", config("COMPLIANCE", None, 0)), ("bad mode", "400 MalformedXML", config("governance", 1)),
    ("another bad mode", "400 MalformedXML", config("abc", 1)), ("bad status", "400 MalformedXML", config("GOVERNANCE", 1, None, "Disabled")),
    ("no XML", "400 MalformedXML", "hello"), ("another root", "400 MalformedXML", "<Lock/>"),
], configured)


def test_configuration_of_a_plain_bucket(s):
    b = filled(s, "k")
    send(s, b + "?object-lock", config("GOVERNANCE", 1), "409 InvalidBucketState")
    wants(api(s)("GET", b + "?object-lock"), "404 ObjectLockConfigurationNotFoundError")
    for what, doc in (("retention", retention("GOVERNANCE", 1)), ("legal-hold", hold("ON"))):
        send(s, b + "/k?" + what, doc, "400 InvalidRequest")
        wants(api(s)("GET", b + "/k?" + what), "400 InvalidRequest")
    wants(api(s)("PUT", b + "/l", b"x", {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": day(1),
                                         "Content-MD5": md5(b"x")}), "400 InvalidRequest")


def test_lock_a_versioned_bucket_later(s):
    b = bucket(s)
    api(s).ok("PUT", b + "?versioning", element("VersioningConfiguration", element("Status", "Enabled")))
    send(s, b + "?object-lock", config("GOVERNANCE", 1))
    equal(api(s).ok("GET", b + "?object-lock").one("Rule/DefaultRetention/Days"), "1", "Days")


def test_default_retention(s):
    b = locking(s)
    send(s, b + "?object-lock", config("GOVERNANCE", 1))
    api(s).ok("PUT", b + "/k", b"x", {"Content-MD5": md5(b"x")})
    h = api(s).ok("HEAD", b + "/k").headers
    equal(h.get("x-amz-object-lock-mode"), "GOVERNANCE", "mode")
    left = instant(h["x-amz-object-lock-retain-until-date"]) - datetime.datetime.utcnow()
    true(abs(left.total_seconds() - 86400) < 120, "until %s" % left)
    version = h["x-amz-version-id"]
    wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, version)), "403 AccessDenied")
    wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, version), b"", {"x-amz-bypass-governance-retention": "true"}), "204")


# ---- retention ----

def retention(mode, days=None, text=None):
    return element("Retention", *([element("Mode", mode)] if mode else []), *([element("RetainUntilDate", text or day(days))] if text or days else []))


def hold(status):
    return element("LegalHold", element("Status", status))


def stored(s, headers=None):
    b = locking(s)
    h = {"Content-MD5": md5(b"x")}
    h.update(headers or {})
    return b, api(s).ok("PUT", b + "/k", b"x", h).headers["x-amz-version-id"]


BYPASS = {"x-amz-bypass-governance-retention": "true"}


def free(s, b, version):
    send(s, b + "/k?legal-hold", hold("OFF"))
    wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, version), b"", BYPASS), "204")


def retained(s, expected, doc):
    b, version = stored(s)
    send(s, b + "/k?retention", doc, expected)
    if expected == "200":
        a = api(s).ok("GET", b + "/k?retention")
        equal(a.xml.tag, "Retention", "root")
    else:
        wants(api(s)("GET", b + "/k?retention"), "404 NoSuchObjectLockConfiguration")


conformance.table(globals(), "retention", [
    ("governance", "200", retention("GOVERNANCE", 30)), ("compliance", "200", retention("COMPLIANCE", 30)),
    ("bad mode", "400 MalformedXML", retention("governance", 30)), ("another", "400 MalformedXML", retention("abc", 30)),
    ("in the past", "400 InvalidArgument|400 InvalidRequest", retention("GOVERNANCE", -30)), ("no date", "400 MalformedXML", retention("GOVERNANCE")),
    ("no mode", "400 MalformedXML", retention(None, 30)), ("not a date", "400 MalformedXML", retention("GOVERNANCE", text="tomorrow")),
    ("no XML", "400 MalformedXML", "hello"), ("year 2200", "200", retention("GOVERNANCE", text="2200-01-01T00:00:00Z")),
], retained)


def changed(s, first, second, expected, headers=None):
    b, version = stored(s)
    send(s, b + "/k?retention", first)
    send(s, b + "/k?retention", second, expected, headers)


G, C = "GOVERNANCE", "COMPLIANCE"
conformance.table(globals(), "retention changed", [
    ("governance longer", retention(G, 10), retention(G, 20), "200"), ("governance shorter", retention(G, 20), retention(G, 10), "403 AccessDenied"),
    ("governance shorter, bypassed", retention(G, 20), retention(G, 10), "200", BYPASS), ("compliance longer", retention(C, 10), retention(C, 20), "200"),
    ("compliance shorter", retention(C, 20), retention(C, 10), "403 AccessDenied"), ("compliance shorter, bypassed", retention(C, 20), retention(C, 10), "403 AccessDenied", BYPASS),
    ("governance to compliance", retention(G, 10), retention(C, 10), "200|403 AccessDenied"), ("compliance to governance", retention(C, 10), retention(G, 20), "403 AccessDenied"),
    ("compliance to governance, bypassed", retention(C, 10), retention(G, 20), "403 AccessDenied", BYPASS),
    ("governance removed", retention(G, 10), "<Retention/>", "403 AccessDenied|400 MalformedXML"),
], changed)


def test_a_locked_version(s):
    until = day(1)
    b, version = stored(s, {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until, "x-amz-object-lock-legal-hold": "ON"})
    for method in ("GET", "HEAD"):
        h = api(s).ok(method, b + "/k").headers
        equal((h.get("x-amz-object-lock-mode"), h.get("x-amz-object-lock-legal-hold")), ("GOVERNANCE", "ON"), method)
        equal(instant(h["x-amz-object-lock-retain-until-date"]), instant(until), "until")
    a = api(s).ok("GET", b + "/k?retention&versionId=" + version)
    equal((a.one("Mode"), instant(a.one("RetainUntilDate"))), ("GOVERNANCE", instant(until)), "retention")
    equal(api(s).ok("GET", b + "/k?legal-hold").one("Status"), "ON", "legal hold")
    wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, version), b"", BYPASS), "403 AccessDenied", "held")
    send(s, b + "/k?legal-hold", hold("OFF"))
    equal(api(s).ok("GET", b + "/k?legal-hold").one("Status"), "OFF", "legal hold")
    wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, version)), "403 AccessDenied", "retained")
    marker = wants(api(s)("DELETE", b + "/k"), "204", "a marker may be made").headers["x-amz-version-id"]
    wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, marker)), "204", "and deleted")
    doc = element("Delete", element("Object", element("Key", "k"), element("VersionId", version)))
    a = wants(api(s)("POST", b + "?delete", doc, {"Content-MD5": md5(doc.encode())}), "200")
    equal(a.all("Error/Code"), ["AccessDenied"], "multi-object delete")
    a = wants(api(s)("POST", b + "?delete", doc, dict(BYPASS, **{"Content-MD5": md5(doc.encode())})), "200")
    equal(a.all("Deleted/Key"), ["k"], "bypassed")
    wants(api(s)("DELETE", b), "204", "the bucket")


def test_compliance_cannot_be_bypassed(s):
    b, version = stored(s, {"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": day(1)})
    wants(api(s)("DELETE", "%s/k?versionId=%s" % (b, version), b"", BYPASS), "403 AccessDenied")


def held(s, expected, doc):
    b, version = stored(s)
    send(s, b + "/k?legal-hold", doc, expected)


conformance.table(globals(), "legal hold", [
    ("ON", "200", hold("ON")), ("OFF", "200", hold("OFF")), ("bad", "400 MalformedXML", hold("abc")), ("small", "400 MalformedXML", hold("on")),
    ("no status", "400 MalformedXML", "<LegalHold/>"), ("no XML", "400 MalformedXML", "hello"),
], held)


def put_with(s, expected, headers):
    b = locking(s)
    h = {"Content-MD5": md5(b"x")}
    h.update(headers)
    wants(api(s)("PUT", b + "/k", b"x", h), expected)


M, U = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
conformance.table(globals(), "put with", [
    ("mode without date", "400 InvalidArgument|400 InvalidRequest", {M: "GOVERNANCE"}), ("date without mode", "400 InvalidArgument|400 InvalidRequest", {U: day(1)}),
    ("bad mode", "400 InvalidArgument|400 InvalidRequest", {M: "abc", U: day(1)}), ("past", "400 InvalidArgument|400 InvalidRequest", {M: "GOVERNANCE", U: day(-1)}),
    ("bad date", "400 InvalidArgument|400 InvalidRequest", {M: "GOVERNANCE", U: "soon"}), ("bad hold", "400 InvalidArgument|400 InvalidRequest", {"x-amz-object-lock-legal-hold": "abc"}),
    ("all well", "200", {M: "GOVERNANCE", U: day(1), "x-amz-object-lock-legal-hold": "ON"}),
], put_with)


def test_locks_of_nothing(s):
    b = locking(s)
    for what in ("retention", "legal-hold"):
        wants(api(s)("GET", b + "/missing?" + what), "404 NoSuchKey")
    send(s, b + "/missing?retention", retention("GOVERNANCE", 1), "404 NoSuchKey")
    b, version = stored(s)
    for what in ("retention", "legal-hold"):
        wants(api(s)("GET", b + "/k?" + what), "404 NoSuchObjectLockConfiguration")


# ---- lifecycle ----

def rule(*inner, name="rule1", status="Enabled", prefix="<Prefix>test1/</Prefix>"):
    return element("Rule", element("ID", name) if name is not None else "", prefix, element("Status", status), *inner)


DAYS = element("Expiration", element("Days", "1"))


def lifecycle(s, expected, *rules):
    b = bucket(s)
    doc = element("LifecycleConfiguration", *rules)
    send(s, b + "?lifecycle", doc, expected)
    if expected == "200":
        a = api(s).ok("GET", b + "?lifecycle")
        equal(len(a.all("Rule/Status")), len(rules), "rules")
        true(all(a.all("Rule/ID")), "a rule without ID")
        wants(api(s)("DELETE", b + "?lifecycle"), "204")
    wants(api(s)("GET", b + "?lifecycle"), "404 NoSuchLifecycleConfiguration")


def FILTER(inner):
    return element("Filter", inner)


TAG = element("Tag", element("Key", "a"), element("Value", "b"))
BAD = "400 MalformedXML|400 InvalidArgument|400 InvalidRequest"
conformance.table(globals(), "lifecycle", [
    ("days", "200", rule(DAYS)), ("two rules", "200", rule(DAYS), rule(element("Expiration", element("Days", "2")), name="rule2", status="Disabled", prefix="<Prefix>test2/</Prefix>")),
    ("without ID", "200", rule(DAYS, name=None)), ("ID of 255", "200", rule(DAYS, name="a" * 255)), ("ID too long", "400 InvalidArgument", rule(DAYS, name="a" * 256)),
    ("ID twice", "400 InvalidArgument", rule(DAYS), rule(DAYS, prefix="<Prefix>test2/</Prefix>")), ("bad status", "400 MalformedXML", rule(DAYS, status="enabled")),
    ("status invalid", "400 MalformedXML", rule(DAYS, status="invalid")), ("date", "200", rule(element("Expiration", element("Date", "2017-09-27T00:00:00Z")))),
    ("date without time", "200", rule(element("Expiration", element("Date", "2017-09-27")))), ("bad date", BAD, rule(element("Expiration", element("Date", "20200101")))),
    ("date not midnight", "400 InvalidArgument", rule(element("Expiration", element("Date", "2017-09-27T05:00:00Z")))), ("zero days", "400 InvalidArgument", rule(element("Expiration", element("Days", "0")))),
    ("negative days", BAD, rule(element("Expiration", element("Days", "-1")))), ("no action", BAD, rule()), ("noncurrent", "200", rule(element("NoncurrentVersionExpiration", element("NoncurrentDays", "2")))),
    ("newer noncurrent", "200", rule(element("NoncurrentVersionExpiration", element("NoncurrentDays", "2"), element("NewerNoncurrentVersions", "3")), prefix=FILTER("<Prefix>x</Prefix>"))),
    ("delete marker", "200", rule(element("Expiration", element("ExpiredObjectDeleteMarker", "true")))), ("marker and days", BAD, rule(element("Expiration", element("Days", "1"), element("ExpiredObjectDeleteMarker", "true")))),
    ("abort", "200", rule(element("AbortIncompleteMultipartUpload", element("DaysAfterInitiation", "2")))), ("filter prefix", "200", rule(DAYS, prefix=FILTER("<Prefix>foo</Prefix>"))),
    ("empty filter", "200", rule(DAYS, prefix="<Filter/>")), ("filter tag", "200", rule(DAYS, prefix=FILTER(TAG))), ("filter and", "200", rule(DAYS, prefix=FILTER(element("And", "<Prefix>foo</Prefix>", TAG)))),
    ("sizes", "200", rule(DAYS, prefix=FILTER(element("And", "<ObjectSizeGreaterThan>500</ObjectSizeGreaterThan><ObjectSizeLessThan>64000</ObjectSizeLessThan>")))),
    ("size greater", "200", rule(DAYS, prefix=FILTER("<ObjectSizeGreaterThan>500</ObjectSizeGreaterThan>"))), ("sizes crossed", BAD, rule(DAYS, prefix=FILTER(element(
        "And", "<ObjectSizeGreaterThan>500</ObjectSizeGreaterThan><ObjectSizeLessThan>400</ObjectSizeLessThan>")))),
    ("tag filter and marker", BAD, rule(element("Expiration", element("ExpiredObjectDeleteMarker", "true")), prefix=FILTER(TAG))), ("filter and prefix", BAD, rule(DAYS, prefix="<Prefix>a</Prefix><Filter/>")),
    ("no rules", "400 MalformedXML"), ("1001 rules", "400 MalformedXML|400 InvalidArgument|400 InvalidRequest", *[rule(DAYS, name="r%d" % i, prefix="<Prefix>p%d/</Prefix>" % i) for i in range(1001)]),
    ("transition to nowhere", BAD, rule(element("Transition", element("Date", "20220927"), element("StorageClass", "GLACIER")))),
], lifecycle)


def test_expiry_is_told(s):
    b = bucket(s)
    doc = element("LifecycleConfiguration", rule(element("Expiration", element("Days", "8")), prefix="<Prefix>days1/</Prefix>"))
    send(s, b + "?lifecycle", doc)
    told = api(s).ok("PUT", b + "/days1/foo", b"bar").headers.get("x-amz-expiration", "")
    true('rule-id="rule1"' in told and 'expiry-date="' in told, "x-amz-expiration of PUT: %r" % told)
    for method in ("GET", "HEAD"):
        equal(api(s).ok(method, b + "/days1/foo").headers.get("x-amz-expiration"), told, method)
    equal(api(s).ok("PUT", b + "/other", b"x").headers.get("x-amz-expiration"), None, "of another key")


def test_lifecycle_of_another(s):
    b = bucket(s)
    doc = element("LifecycleConfiguration", rule(DAYS))
    wants(conformance.other(s)("PUT", b + "?lifecycle", doc, {"Content-MD5": md5(doc.encode())}), "403 AccessDenied")


conformance.run(globals())
