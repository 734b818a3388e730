#!/usr/bin/python3
"""Conformance: who may do what. Canned ACLs, ACL documents and grant headers, object ownership,
public access block, bucket policies with their conditions, between two accounts and nobody.
Sources: "Access control list overview", "Bucket policies", "Blocking public access" of the User
Guide; the operations of the API Reference."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
from conformance import ALL_USERS, AUTHENTICATED, MAIN, OTHER, anybody, api, bucket, element, filled, wants
from darkroom import equal, true

XSI = "http://www.w3.org/2001/XMLSchema-instance"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
BODY = b"foocontent"


def other(s):
    return conformance.other(s)


# ---- ACL documents ----

def grants(s, to, who=None):
    """Sorted (grantee, permission)."""
    a = (who or api(s)).ok("GET", to + "?acl")
    equal(a.xml.tag, "AccessControlPolicy", "root")
    out = []
    for g in a.xml.findall("AccessControlList/Grant"):
        e = g.find("Grantee")
        kind = e.get("{%s}type" % XSI)
        equal(kind, "Group" if e.find("URI") is not None else "CanonicalUser", "type of a grantee")
        out.append((e.findtext("URI") or e.findtext("ID"), g.findtext("Permission")))
    return sorted(out)


def grant(who, permission, kind=None):
    kind = kind or ("Group" if who.startswith("http") else "CanonicalUser")
    name = {"Group": "URI", "CanonicalUser": "ID", "AmazonCustomerByEmail": "EmailAddress"}[kind]
    return '<Grant><Grantee xmlns:xsi="%s" xsi:type="%s">%s</Grantee><Permission>%s</Permission></Grant>' % (
        XSI, kind, element(name, who), permission)


def acl(owner, *list_):
    return '<AccessControlPolicy xmlns="%s">%s%s</AccessControlPolicy>' % (
        conformance.NAMESPACE, element("Owner", element("ID", owner)), element("AccessControlList", *list_))


def ids(s):
    return conformance.canonical_id(s, MAIN), conformance.canonical_id(s, OTHER)


CANNED = {"private": [], "public-read": [(ALL_USERS, "READ")], "public-read-write": [(ALL_USERS, "READ"), (ALL_USERS, "WRITE")],
          "authenticated-read": [(AUTHENTICATED, "READ")]}


def canned(s, name, more):
    me = ids(s)[0]
    want = sorted(more + [(me, "FULL_CONTROL")])
    b = bucket(s, {"x-amz-acl": name})
    equal(grants(s, b), want, "bucket's at creation")
    b = bucket(s)
    api(s).ok("PUT", b + "?acl", b"", {"x-amz-acl": name})
    equal(grants(s, b), want, "bucket's")
    api(s).ok("PUT", b + "?acl", b"", {"x-amz-acl": "private"})
    equal(grants(s, b), [(me, "FULL_CONTROL")], "bucket's, private again")
    api(s).ok("PUT", b + "/k", BODY, {"x-amz-acl": name})
    equal(grants(s, b + "/k"), want, "object's at creation")
    api(s).ok("PUT", b + "/k", BODY)
    equal(grants(s, b + "/k"), [(me, "FULL_CONTROL")], "object's by default")
    api(s).ok("PUT", b + "/k?acl", b"", {"x-amz-acl": name})
    equal(grants(s, b + "/k"), want, "object's")


conformance.table(globals(), "canned", list((n, n, m) for n, m in CANNED.items()), canned)


def test_acl_document(s):
    b = filled(s, "k")
    for to in (b, b + "/k"):
        a = api(s).ok("GET", to + "?acl")
        equal((a.one("Owner/ID"), a.one("Owner/DisplayName")), (ids(s)[0], "main"), "Owner")
        equal(a.one("AccessControlList/Grant/Grantee/DisplayName"), "main", "DisplayName")


def test_log_delivery(s):
    b = bucket(s)
    api(s).ok("PUT", b + "?acl", b"", {"x-amz-acl": "log-delivery-write"})
    true((LOG_DELIVERY, "WRITE") in grants(s, b), "no grant for log delivery")


def owners(s, name, permission):
    """An object of another account in our bucket, with a canned ACL for the bucket's owner."""
    me, them = ids(s)
    b = bucket(s, {"x-amz-acl": "public-read-write"})
    other(s).ok("PUT", b + "/k", BODY, {"x-amz-acl": name})
    equal(grants(s, b + "/k", other(s)), sorted([(them, "FULL_CONTROL"), (me, permission)]), "grants")
    equal(api(s).ok("GET", b + "/k").body, BODY, "read by the bucket's owner")


conformance.table(globals(), "canned for the owner", [
    ("bucket-owner-read", "bucket-owner-read", "READ"), ("bucket-owner-full-control", "bucket-owner-full-control", "FULL_CONTROL")], owners)


def refused_acl(s, expected, doc, headers=None):
    b = filled(s, "k")
    me, them = ids(s)
    doc = doc.replace("{me}", me).replace("{them}", them)
    for to in (b, b + "/k"):
        wants(api(s)("PUT", to + "?acl", doc, headers), expected, to)
        equal(grants(s, to), [(me, "FULL_CONTROL")], "grants afterwards")


conformance.table(globals(), "ACL refused", [
    ("unknown id", "400 InvalidArgument", acl("{me}", grant("_foo", "READ"))),
    ("unknown e-mail", "400 UnresolvableGrantByEmailAddress", acl("{me}", grant("nobody@nowhere", "READ", "AmazonCustomerByEmail"))),
    ("unknown group", "400 InvalidArgument|400 MalformedACLError", acl("{me}", grant("http://acs.amazonaws.com/groups/global/Friends", "READ"))),
    ("unknown permission", "400 MalformedACLError|400 MalformedXML|400 InvalidArgument", acl("{me}", grant("{them}", "LOOK"))),
    ("no XML", "400 MalformedACLError|400 MalformedXML", "hello"),
    ("another root", "400 MalformedACLError|400 MalformedXML", "<Acl/>"),
    ("no grants element", "400 MalformedACLError|400 MalformedXML", "<AccessControlPolicy><Owner><ID>{me}</ID></Owner></AccessControlPolicy>"),
    ("another owner", "403 AccessDenied|400 InvalidArgument|400 MalformedACLError", acl("{them}", grant("{them}", "READ"))),
    ("too many", "400 MalformedACLError|400 InvalidArgument|400 MalformedXML|400 InvalidRequest", acl("{me}", *[grant("{them}", "READ")] * 101)),
    ("canned and document", "400 InvalidRequest|400 UnexpectedContent|400 InvalidArgument", acl("{me}", grant("{them}", "READ")), {"x-amz-acl": "private"}),
    ("canned and header", "400 InvalidRequest", "", {"x-amz-acl": "private", "x-amz-grant-read": 'uri="%s"' % ALL_USERS}),
    ("bad canned", "400 InvalidArgument", "", {"x-amz-acl": "public-ready"}),
    ("bad grant header", "400 InvalidArgument", "", {"x-amz-grant-read": "nonsense"}),
    ("grant header to nobody", "400 InvalidArgument", "", {"x-amz-grant-read": "id=_foo"}),
    ("nothing at all", "400 MissingSecurityHeader|400 MalformedACLError|400 MalformedXML|400 MissingRequestBodyError", ""),
], lambda s, expected, doc, headers=None: refused_acl(s, expected, doc, headers))


def test_grant_headers(s):
    me, them = ids(s)
    headers = {"x-amz-grant-" + p: "id=" + them for p in ("read", "write", "read-acp", "write-acp", "full-control")}
    want = sorted((them, p) for p in ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"))
    b = filled(s, "plain")
    api(s).ok("PUT", b + "/k", BODY, headers)
    equal(grants(s, b + "/k", other(s)), want, "object's")
    c = bucket(s, headers)
    equal(grants(s, c, other(s)), want, "bucket's")
    other(s).ok("PUT", c + "/theirs", BODY)
    api(s).ok("PUT", b + "/two", BODY, {"x-amz-grant-read": 'id="%s", uri="%s"' % (them, ALL_USERS), "x-amz-grant-full-control": "id=" + me})
    equal(grants(s, b + "/two"), sorted([(them, "READ"), (ALL_USERS, "READ"), (me, "FULL_CONTROL")]), "several grantees")
    api(s).ok("PUT", b + "/mail", BODY, {"x-amz-grant-read": "emailAddress=" + OTHER["email"], "x-amz-grant-full-control": "id=" + me})
    true((them, "READ") in grants(s, b + "/mail"), "by e-mail")


def test_grant_by_email(s):
    me, them = ids(s)
    b = bucket(s)
    api(s).ok("PUT", b + "?acl", acl(me, grant(me, "FULL_CONTROL"), grant(OTHER["email"], "FULL_CONTROL", "AmazonCustomerByEmail")))
    true((them, "FULL_CONTROL") in grants(s, b), "no grant")
    other(s).ok("GET", b)


PERMISSIONS = {"FULL_CONTROL": "rRwW", "READ": "r", "READ_ACP": "R", "WRITE": "w", "WRITE_ACP": "W"}


def bucket_grant(s, permission, may):
    me, them = ids(s)
    b = filled(s, "k")
    api(s).ok("PUT", b + "?acl", acl(me, grant(me, "FULL_CONTROL"), grant(them, permission)))
    equal(grants(s, b), sorted([(me, "FULL_CONTROL"), (them, permission)]), "grants")
    for letter, method, to, body, headers in (("r", "HEAD", "", b"", {}), ("r", "GET", "", b"", {}), ("r", "GET", "?uploads", b"", {}),
                                              ("R", "GET", "?acl", b"", {}), ("w", "PUT", "/new", b"x", {}), ("w", "DELETE", "/new", b"", {}),
                                              ("-", "GET", "/k", b"", {}), ("-", "DELETE", "", b"", {}), ("-", "GET", "?policy", b"", {}),
                                              ("W", "PUT", "?acl", b"", {"x-amz-acl": "public-read"})):
        a = other(s)(method, b + to, body, headers)
        if letter in may:
            true(a.status < 300, "%s %s: %d" % (method, to, a.status))
        else:
            wants(a, "403" if method == "HEAD" else "403 AccessDenied", "%s %s" % (method, to))


def object_grant(s, permission, may):
    me, them = ids(s)
    b = filled(s, "k")
    api(s).ok("PUT", b + "/k?acl", acl(me, grant(me, "FULL_CONTROL"), grant(them, permission)))
    for letter, method, to, headers in (("r", "GET", "/k", {}), ("r", "HEAD", "/k", {}), ("R", "GET", "/k?acl", {}), ("-", "PUT", "/k", {}),
                                        ("-", "DELETE", "/k", {}), ("-", "GET", "", {}), ("W", "PUT", "/k?acl", {"x-amz-acl": "private"})):
        a = other(s)(method, b + to, b"", headers)
        if letter in may:
            true(a.status < 300, "%s %s: %d" % (method, to, a.status))
        else:
            wants(a, "403" if method == "HEAD" else "403 AccessDenied", "%s %s" % (method, to))
    if "W" in may:
        equal(api(s).ok("GET", b + "/k?acl").one("Owner/ID"), me, "Owner")


conformance.table(globals(), "bucket grant", [(p, p, m) for p, m in PERMISSIONS.items()], bucket_grant)
conformance.table(globals(), "object grant", [(p, p, m) for p, m in PERMISSIONS.items()], object_grant)


# What another account may do: list the bucket, read the object with the ACL, write.
def access(s, bucket_acl, object_acl, lists, reads, writes):
    for who in (other(s), anybody(s)):
        b = bucket(s, {"x-amz-acl": bucket_acl})
        api(s).ok("PUT", b + "/foo", BODY, {"x-amz-acl": object_acl})
        api(s).ok("PUT", b + "/bar", b"barcontent")
        for may, method, to, body in ((lists, "GET", "", b""), (reads, "GET", "/foo", b""), (False, "GET", "/bar", b""), (writes, "PUT", "/bar", b"over"),
                                      (writes, "PUT", "/foo", b"over"), (writes, "PUT", "/new", b"new"), (writes, "DELETE", "/foo", b"")):
            a = who(method, b + to, body)
            if may:
                true(a.status < 300, "%s %s: %d %s" % (method, to, a.status, a.code))
            else:
                wants(a, "403 AccessDenied", "%s %s" % (method, to))
        api(s).ok("GET", b)


conformance.table(globals(), "access", [
    ("%s/%s" % (b, o), b, o, "read" in b, "read" in o, "write" in b)
    for b in ("private", "public-read", "public-read-write") for o in ("private", "public-read", "public-read-write")], access)


def test_authenticated_read(s):
    b = bucket(s, {"x-amz-acl": "authenticated-read"})
    api(s).ok("PUT", b + "/k", BODY, {"x-amz-acl": "authenticated-read"})
    for to in (b, b + "/k"):
        wants(other(s)("GET", to), "200")
        wants(anybody(s)("GET", to), "403 AccessDenied")


def test_missing_key_with_and_without_listing(s):
    for name, expected in (("public-read", "404 NoSuchKey"), ("private", "403 AccessDenied")):
        b = bucket(s, {"x-amz-acl": name})
        for who in (other(s), anybody(s)):
            wants(who("GET", b + "/missing"), expected, name)


def test_gone_bucket_for_anybody(s):
    wants(anybody(s)("GET", "/was-never-made/k"), "404 NoSuchBucket")
    wants(anybody(s)("DELETE", "/was-never-made/k"), "404 NoSuchBucket")


def test_anonymous_upload(s):
    b = bucket(s, {"x-amz-acl": "public-read-write"})
    wants(anybody(s)("PUT", b + "/k", BODY), "200")
    wants(api(s)("DELETE", b + "/k"), "204")


def test_the_owner_may_mend_the_acl(s):
    me, _ = ids(s)
    b = filled(s, "k")
    api(s).ok("PUT", b + "?acl", acl(me))
    equal(grants(s, b), [], "grants")
    wants(api(s)("GET", b + "/k"), "200")
    api(s).ok("PUT", b + "?acl", b"", {"x-amz-acl": "private"})
    api(s).ok("PUT", b + "/again", BODY)


def test_uploads_of_two_accounts(s):
    me, them = ids(s)
    b = bucket(s, {"x-amz-acl": "public-read-write"})
    one = api(s).ok("POST", b + "/1?uploads").one("UploadId")
    two = other(s).ok("POST", b + "/2?uploads").one("UploadId")
    for who in (api(s), other(s)):
        a = who.ok("GET", b + "?uploads")
        equal(list(zip(a.all("Upload/UploadId"), a.all("Upload/Initiator/ID"), a.all("Upload/Owner/ID"))), [(one, me, me), (two, them, them)], "uploads")
    wants(other(s)("DELETE", "%s/2?uploadId=%s" % (b, two)), "204")


def test_copy_with_acl(s):
    b = filled(s, "k")
    api(s).ok("PUT", b + "/copy", b"", {"x-amz-copy-source": b + "/k", "x-amz-acl": "public-read"})
    equal(anybody(s).ok("GET", b + "/copy").body, b"k", "body")
    api(s).ok("PUT", b + "/again", b"", {"x-amz-copy-source": b + "/copy"})
    wants(anybody(s)("GET", b + "/again"), "403 AccessDenied", "an ACL is not copied")


# ---- ownership ----

def ownership(s, b, value, expected="200"):
    doc = element("OwnershipControls", element("Rule", element("ObjectOwnership", value)))
    return wants(api(s)("PUT", b + "?ownershipControls", doc), expected)


def owned(s, value):
    b = bucket(s, {"x-amz-object-ownership": value})
    equal(api(s).ok("GET", b + "?ownershipControls").one("Rule/ObjectOwnership"), value, "at creation")
    b = bucket(s)
    ownership(s, b, value)
    equal(api(s).ok("GET", b + "?ownershipControls").one("Rule/ObjectOwnership"), value, "set")
    wants(api(s)("DELETE", b + "?ownershipControls"), "204")
    wants(api(s)("GET", b + "?ownershipControls"), "404 OwnershipControlsNotFoundError")


conformance.table(globals(), "ownership", [(v, v) for v in ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")], owned)


def test_ownership_refused(s):
    b = bucket(s)
    ownership(s, b, "Mine", "400 MalformedXML|400 InvalidArgument")
    wants(api(s)("PUT", b + "?ownershipControls", "hello"), "400 MalformedXML")
    wants(api(s)("PUT", "/never-owned", b"", {"x-amz-object-ownership": "Mine"}), "400 InvalidArgument")


def test_enforced(s):
    b = bucket(s, {"x-amz-object-ownership": "BucketOwnerEnforced"})
    for to in ("?acl", "/k"):
        wants(api(s)("PUT", b + to, b"", {"x-amz-acl": "public-read"}), "400 AccessControlListNotSupported")
    api(s).ok("PUT", b + "/k", BODY, {"x-amz-acl": "bucket-owner-full-control"})
    wants(api(s)("PUT", b + "/k?acl", b"", {"x-amz-acl": "public-read"}), "400 AccessControlListNotSupported")
    equal(grants(s, b + "/k"), [(ids(s)[0], "FULL_CONTROL")], "grants")
    wants(api(s)("PUT", "/enforced-and-public", b"", {"x-amz-object-ownership": "BucketOwnerEnforced", "x-amz-acl": "public-read"}),
          "400 InvalidBucketAclWithObjectOwnership")


def test_enforcing_a_public_bucket(s):
    b = bucket(s, {"x-amz-acl": "public-read"})
    ownership(s, b, "BucketOwnerEnforced", "400 InvalidBucketAclWithObjectOwnership")


def written_by_another(s, value, acl_name, owner):
    me, them = ids(s)
    b = bucket(s, {"x-amz-object-ownership": value})
    allow(s, b, "s3:PutObject")
    a = other(s)("PUT", b + "/k", BODY, {"x-amz-acl": acl_name} if acl_name else {})
    wants(a, "200")
    mine = api(s)("GET", b + "/k")
    wants(mine, "200" if owner == "me" else "403 AccessDenied")


conformance.table(globals(), "written by another", [
    ("ObjectWriter", "ObjectWriter", None, "them"), ("Preferred", "BucketOwnerPreferred", None, "them"),
    ("Preferred, with control", "BucketOwnerPreferred", "bucket-owner-full-control", "me"), ("Enforced", "BucketOwnerEnforced", None, "me"),
], written_by_another)


# ---- public access block ----

BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def block(s, b, *names):
    doc = element("PublicAccessBlockConfiguration", *[element(n, "true" if n in names else "false") for n in BLOCKS])
    api(s).ok("PUT", b + "?publicAccessBlock", doc)


def test_access_block(s):
    b = bucket(s)
    block(s, b, "BlockPublicAcls", "BlockPublicPolicy")
    a = api(s).ok("GET", b + "?publicAccessBlock")
    equal([a.one(n) for n in BLOCKS], ["true", "false", "true", "false"], "what was set")
    api(s).ok("DELETE", b + "?publicAccessBlock")
    wants(api(s)("GET", b + "?publicAccessBlock"), "404 NoSuchPublicAccessBlockConfiguration")
    wants(api(s)("PUT", b + "?publicAccessBlock", "hello"), "400 MalformedXML")


def test_block_public_acls(s):
    b = bucket(s)
    block(s, b, "BlockPublicAcls")
    for name in ("public-read", "public-read-write", "authenticated-read"):
        for to in ("?acl", "/k"):
            wants(api(s)("PUT", b + to, b"", {"x-amz-acl": name}), "403 AccessDenied", name + to)
    api(s).ok("PUT", b + "/k", BODY)
    wants(api(s)("PUT", b + "/k?acl", b"", {"x-amz-acl": "public-read"}), "403 AccessDenied")


def test_ignore_public_acls(s):
    b = bucket(s, {"x-amz-acl": "public-read"})
    api(s).ok("PUT", b + "/k", BODY, {"x-amz-acl": "public-read"})
    wants(other(s)("GET", b + "/k"), "200")
    block(s, b, "IgnorePublicAcls")
    for who in (other(s), anybody(s)):
        wants(who("GET", b), "403 AccessDenied")
        wants(who("GET", b + "/k"), "403 AccessDenied")
    wants(api(s)("GET", b + "/k"), "200")


def test_block_public_policy(s):
    b = bucket(s)
    block(s, b, "BlockPublicPolicy")
    wants(api(s)("PUT", b + "?policy", policy(b, "s3:GetObject")), "403 AccessDenied")
    api(s).ok("PUT", b + "?policy", policy(b, "s3:GetObject", principal={"AWS": OTHER["id"]}))


def test_restrict_public_buckets(s):
    b = filled(s, "k")
    allow(s, b, "s3:GetObject")
    wants(anybody(s)("GET", b + "/k"), "200")
    block(s, b, "RestrictPublicBuckets")
    wants(anybody(s)("GET", b + "/k"), "403 AccessDenied")
    wants(api(s)("GET", b + "/k"), "200")


# ---- policies ----

def statement(b, action, effect="Allow", principal="*", condition=None, resource=None):
    out = {"Effect": effect, "Principal": principal, "Action": action,
           "Resource": resource or ["arn:aws:s3:::" + b[1:], "arn:aws:s3:::%s/*" % b[1:]]}
    if condition:
        out["Condition"] = condition
    return out


def policy(b, action, **more):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement(b, action, **more)]})


def allow(s, b, action, **more):
    wants(api(s)("PUT", b + "?policy", policy(b, action, **more)), "204|200")


def test_policy_comes_and_goes(s):
    b = filled(s, "k")
    text = policy(b, "s3:GetObject")
    wants(api(s)("PUT", b + "?policy", text), "204")
    equal(json.loads(api(s).ok("GET", b + "?policy").body), json.loads(text), "policy")
    equal(api(s).ok("GET", b + "?policyStatus").one("IsPublic"), "true", "IsPublic")
    wants(anybody(s)("GET", b + "/k"), "200")
    wants(api(s)("DELETE", b + "?policy"), "204")
    wants(api(s)("GET", b + "?policy"), "404 NoSuchBucketPolicy")
    wants(anybody(s)("GET", b + "/k"), "403 AccessDenied")


def test_policy_status(s):
    b = bucket(s)
    wants(api(s)("GET", b + "?policyStatus"), "404 NoSuchBucketPolicy|200")
    for more, public in (({}, "true"), ({"principal": {"AWS": OTHER["id"]}}, "false"), ({"principal": {"AWS": "*"}}, "true"),
                         ({"condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}}}, "false"),
                         ({"condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}, "false")):
        allow(s, b, "s3:GetObject", **more)
        equal(api(s).ok("GET", b + "?policyStatus").one("IsPublic"), public, str(more))


def test_policy_beats_acl(s):
    b = filled(s, "k")
    allow(s, b, ["s3:ListBucket"])
    wants(other(s)("GET", b), "200")
    wants(other(s)("GET", b + "/k"), "403 AccessDenied")
    c = bucket(s, {"x-amz-acl": "public-read"})
    allow(s, c, "s3:ListBucket", effect="Deny")
    wants(other(s)("GET", c), "403 AccessDenied")
    wants(anybody(s)("GET", c), "403 AccessDenied")


def test_policy_denies_the_owner(s):
    b = filled(s, "k")
    allow(s, b, "s3:GetObject", effect="Deny")
    wants(api(s)("GET", b + "/k"), "403 AccessDenied")
    wants(api(s)("GET", b + "?policy"), "200")
    wants(api(s)("DELETE", b + "?policy"), "204", "the owner can always mend it")
    wants(api(s)("GET", b + "/k"), "200")


def malformed(s, text):
    b = bucket(s)
    text = text.replace("{b}", b[1:])
    wants(api(s)("PUT", b + "?policy", text), "400 MalformedPolicy|400 InvalidPolicyDocument|400 MissingRequestBodyError")
    wants(api(s)("GET", b + "?policy"), "404 NoSuchBucketPolicy")


def one(**more):
    base = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::{b}/*"}
    base.update(more)
    return json.dumps({"Version": "2012-10-17", "Statement": [{k: v for k, v in base.items() if v is not None}]})


conformance.table(globals(), "malformed policy", [
    ("no JSON", "hello"), ("empty", ""), ("a list", "[]"), ("no statement", '{"Version": "2012-10-17"}'), ("bad version", one().replace("2012-10-17", "2020-20-20")),
    ("no effect", one(Effect=None)), ("bad effect", one(Effect="Maybe")), ("no principal", one(Principal=None)), ("no action", one(Action=None)),
    ("no resource", one(Resource=None)), ("another bucket", one(Resource="arn:aws:s3:::another/*")), ("not an ARN", one(Resource="*x")),
    ("unknown action", one(Action="s3:Juggle")), ("another service", one(Action="ec2:Run")), ("bad condition", one(Condition={"Sometimes": {"a": "b"}})),
    ("unknown member", one(Colour="red")),
    ("object action on the bucket", one(Resource="arn:aws:s3:::{b}")), ("bad address", one(Condition={"IpAddress": {"aws:SourceIp": "300.1.1.1/8"}})),
    ("cut", one()[:-5]), ("twenty KiB and more", one(Sid="x" * 21000)),
], malformed)


def principal(s, expected, value):
    b = filled(s, "k")
    allow(s, b, "s3:GetObject", principal=value)
    wants(other(s)("GET", b + "/k"), expected)


conformance.table(globals(), "principal", [
    ("*", "200", "*"), ("AWS *", "200", {"AWS": "*"}), ("account id", "200", {"AWS": OTHER["id"]}),
    ("root ARN", "200", {"AWS": "arn:aws:iam::%s:root" % OTHER["id"]}), ("a list", "200", {"AWS": [MAIN["id"], OTHER["id"]]}),
    ("somebody else", "403 AccessDenied", {"AWS": MAIN["id"]}),
], principal)


def acted(s, expected, action, method, to, resource=None):
    b = filled(s, "k", "dir/x")
    allow(s, b, action, resource=["arn:aws:s3:::" + r.replace("{b}", b[1:]) for r in resource] if resource else None)
    a = other(s)(method, b + to, b"")
    wants(a, expected)


D = "403 AccessDenied"
conformance.table(globals(), "action", [
    ("GetObject", "200", "s3:GetObject", "GET", "/k"), ("HEAD", "200", "s3:GetObject", "HEAD", "/k"), ("not DELETE", D, "s3:GetObject", "DELETE", "/k"),
    ("PutObject", "200", "s3:PutObject", "PUT", "/new"), ("DeleteObject", "204", "s3:DeleteObject", "DELETE", "/k"), ("s3:*", "204", "s3:*", "DELETE", "/k"),
    ("*", "200", "*", "GET", "/k"), ("Get*", "200", "s3:Get*", "GET", "/k?acl"), ("case", "200", "s3:getobject", "GET", "/k"),
    ("ListBucket", "200", "s3:ListBucket", "GET", ""), ("v2", "200", "s3:ListBucket", "GET", "?list-type=2"), ("versions", "200", "s3:ListBucketVersions", "GET", "?versions"),
    ("versions not by ListBucket", D, "s3:ListBucket", "GET", "?versions"), ("location", "200", "s3:GetBucketLocation", "GET", "?location"),
    ("uploads", "200", "s3:ListBucketMultipartUploads", "GET", "?uploads"), ("tagging", "200", "s3:GetObjectTagging", "GET", "/k?tagging"),
    ("tags deleted", "204", "s3:DeleteObjectTagging", "DELETE", "/k?tagging"), ("acl", "200", "s3:GetObjectAcl", "GET", "/k?acl"),
    ("policy never to others", D, "s3:PutObject", "GET", "?policy"), ("multipart", "200", "s3:PutObject", "POST", "/k?uploads"),
    ("resource prefix", "200", "s3:GetObject", "GET", "/dir/x", ["{b}/dir/*"]), ("outside the prefix", D, "s3:GetObject", "GET", "/k", ["{b}/dir/*"]),
    ("question mark", "200", "s3:GetObject", "GET", "/k", ["{b}/?"]), ("exact", "200", "s3:GetObject", "GET", "/k", ["{b}/k"]),
], acted)


def conditioned(s, expected, condition, method="GET", to="/k", headers=None, action="s3:GetObject"):
    b = filled(s, "k", "dir/x")
    text = json.dumps(condition).replace("{b}", b[1:]).replace("{main}", ids(s)[0])
    allow(s, b, action, condition=json.loads(text))
    h = {n: v.replace("{b}", b[1:]).replace("{main}", ids(s)[0]) for n, v in (headers or {}).items()}
    wants(other(s)(method, b + to, b"", h), expected)


def LIKE(op, key, value):
    return {op: {key: value}}


conformance.table(globals(), "condition", [
    ("address", "200", LIKE("IpAddress", "aws:SourceIp", "127.0.0.0/8")), ("wrong address", D, LIKE("IpAddress", "aws:SourceIp", "10.0.0.0/8")),
    ("not address", D, LIKE("NotIpAddress", "aws:SourceIp", "127.0.0.1/32")), ("not wrong address", "200", LIKE("NotIpAddress", "aws:SourceIp", ["10.0.0.0/8", "11.1.1.1"])),
    ("insecure", D, LIKE("Bool", "aws:SecureTransport", "true")), ("not secure", "200", LIKE("Bool", "aws:SecureTransport", "false")),
    ("referer", "200", LIKE("StringLike", "aws:Referer", "http://*.example/*"), "GET", "/k", {"Referer": "http://a.example/x"}),
    ("wrong referer", D, LIKE("StringLike", "aws:Referer", "http://*.example/*"), "GET", "/k", {"Referer": "http://evil/"}),
    ("no referer", D, LIKE("StringLike", "aws:Referer", "*"), "GET", "/k"), ("no referer if exists", "200", LIKE("StringLikeIfExists", "aws:Referer", "x"), "GET", "/k"),
    ("user agent", "200", LIKE("StringEquals", "aws:UserAgent", "me"), "GET", "/k", {"User-Agent": "me"}),
    ("prefix", "200", LIKE("StringEquals", "s3:prefix", "dir/"), "GET", "?prefix=dir/", {}, "s3:ListBucket"), ("wrong prefix", D, LIKE("StringEquals", "s3:prefix", "dir/"), "GET", "?prefix=x", {}, "s3:ListBucket"),
    ("no prefix", D, LIKE("StringEquals", "s3:prefix", "dir/"), "GET", "", {}, "s3:ListBucket"), ("delimiter", "200", LIKE("StringEquals", "s3:delimiter", "/"), "GET", "?delimiter=/", {}, "s3:ListBucket"),
    ("max-keys", "200", LIKE("NumericLessThanEquals", "s3:max-keys", "10"), "GET", "?max-keys=5", {}, "s3:ListBucket"), ("max-keys too many", D, LIKE("NumericLessThanEquals", "s3:max-keys", "10"), "GET", "?max-keys=50", {}, "s3:ListBucket"),
    ("copy source", "200", LIKE("StringLike", "s3:x-amz-copy-source", "{b}/dir/*"), "PUT", "/c", {"x-amz-copy-source": "{b}/dir/x"}, ["s3:PutObject", "s3:GetObject"]),
    ("copy source wrong", D, LIKE("StringLike", "s3:x-amz-copy-source", "{b}/other/*"), "PUT", "/c", {"x-amz-copy-source": "{b}/dir/x"}, ["s3:PutObject"]),
    ("directive", "200", LIKE("StringEqualsIfExists", "s3:x-amz-metadata-directive", "COPY"), "PUT", "/c", {"x-amz-copy-source": "{b}/k", "x-amz-metadata-directive": "COPY"}, ["s3:PutObject", "s3:GetObject"]),
    ("acl", "200", LIKE("StringEquals", "s3:x-amz-acl", "private"), "PUT", "/n", {"x-amz-acl": "private"}, "s3:PutObject"), ("acl missing", D, LIKE("StringEquals", "s3:x-amz-acl", "private"), "PUT", "/n", {}, "s3:PutObject"),
    ("grant", "200", LIKE("StringEquals", "s3:x-amz-grant-full-control", "id={main}"), "PUT", "/n", {"x-amz-grant-full-control": "id={main}"}, "s3:PutObject"),
    ("tag asked", "200", LIKE("StringEquals", "s3:RequestObjectTag/a", "b"), "PUT", "/n", {"x-amz-tagging": "a=b"}, ["s3:PutObject", "s3:PutObjectTagging"]),
    ("tag asked wrong", D, LIKE("StringEquals", "s3:RequestObjectTag/a", "b"), "PUT", "/n", {"x-amz-tagging": "a=c"}, ["s3:PutObject", "s3:PutObjectTagging"]),
    ("null", "200", LIKE("Null", "s3:x-amz-acl", "true"), "PUT", "/n", {}, "s3:PutObject"), ("date", "200", LIKE("DateGreaterThan", "aws:CurrentTime", "2020-01-01T00:00:00Z")),
    ("date passed", D, LIKE("DateLessThan", "aws:CurrentTime", "2020-01-01T00:00:00Z")), ("two that hold", "200", {"IpAddress": {"aws:SourceIp": "127.0.0.1"}, "Bool": {"aws:SecureTransport": "false"}}),
    ("two, one holds", D, {"IpAddress": {"aws:SourceIp": "127.0.0.1"}, "Bool": {"aws:SecureTransport": "true"}}), ("case", "200", LIKE("StringEqualsIgnoreCase", "aws:UserAgent", "ME"), "GET", "/k", {"User-Agent": "me"}),
    ("not equals", D, LIKE("StringNotEquals", "aws:UserAgent", "me"), "GET", "/k", {"User-Agent": "me"}),
], conditioned)


def test_existing_object_tags(s):
    b = filled(s, "public", "secret", "untagged")
    for key, value in (("public", "public"), ("secret", "private")):
        api(s).ok("PUT", "%s/%s?tagging" % (b, key), element("Tagging", element("TagSet", element(
            "Tag", element("Key", "security"), element("Value", value)))))
    allow(s, b, ["s3:GetObject", "s3:GetObjectTagging"], condition={"StringEquals": {"s3:ExistingObjectTag/security": "public"}})
    for query in ("", "?tagging"):
        wants(other(s)("GET", b + "/public" + query), "200")
        wants(other(s)("GET", b + "/secret" + query), "403 AccessDenied")
        wants(other(s)("GET", b + "/untagged" + query), "403 AccessDenied")


def test_policy_of_another(s):
    b = bucket(s)
    wants(other(s)("PUT", b + "?policy", policy(b, "s3:*")), "403 AccessDenied")
    wants(other(s)("DELETE", b + "?policy"), "403 AccessDenied")


def test_multi_delete_under_a_policy(s):
    b = filled(s, "dir/x", "k")
    allow(s, b, "s3:DeleteObject", resource="arn:aws:s3:::%s/dir/*" % b[1:])
    doc = element("Delete", *[element("Object", element("Key", k)) for k in ("dir/x", "k")])
    a = wants(other(s)("POST", b + "?delete", doc, {"Content-MD5": conformance.md5(doc.encode())}), "200")
    equal((a.all("Deleted/Key"), a.all("Error/Key"), a.all("Error/Code")), (["dir/x"], ["k"], ["AccessDenied"]), "verdicts")


conformance.run(globals())
