#!/usr/bin/python3
"""Who may do what, with boto3 and several accounts: policies, ACLs, object ownership, public access
block, expected owners. Ann owns the buckets, Bob is another account, root administrates, anybody is
an unsigned request."""
import datetime
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, refused, true

ANN = {"id": "111111111111", "display_name": "ann", "email": "ann@example.org",
       "access_key_id": "ANNKEY", "secret_access_key": "ann-secret"}
BOB = {"id": "222222222222", "display_name": "bob", "email": "bob@example.org",
       "access_key_id": "BOBKEY", "secret_access_key": "bob-secret"}
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
EVERY_USER = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
names = iter("access-%03d" % i for i in range(1000))


def canonical(account):
    return hashlib.sha256(account["id"].encode()).hexdigest()


def client(s, account):
    return s.s3(key=account["access_key_id"], secret=account["secret_access_key"])


def ann(s):
    return client(s, ANN)


def bob(s):
    return client(s, BOB)


def made(s, **more):
    """A new bucket of Ann's with one object."""
    name = next(names)
    ann(s).create_bucket(Bucket=name, **more)
    return name


def put(s, bucket, key="k", body=b"data", who=ann, **more):
    return who(s).put_object(Bucket=bucket, Key=key, Body=body, **more)


def denied(call, **arguments):
    return refused("AccessDenied", 403, call, **arguments)


def anybody(s, method, target, body=None, **headers):
    return s.request(method, target, body, headers).status


def grants(reply):
    """As pairs of grantee and permission, in any order."""
    return sorted((g["Grantee"].get("URI") or g["Grantee"]["DisplayName"], g["Permission"])
                  for g in reply["Grants"])


def statement(bucket, action, effect="Allow", principal="*", **more):
    arn = "arn:aws:s3:::" + bucket
    return dict({"Effect": effect, "Principal": principal, "Action": action,
                 "Resource": [arn, arn + "/*"]}, **more)


def set_policy(s, bucket, *statements, who=ann):
    who(s).put_bucket_policy(Bucket=bucket, Policy=json.dumps(
        {"Version": "2012-10-17", "Statement": list(statements)}))


# ---- policies ----

def test_principals(s):
    b = made(s)
    put(s, b)
    denied(bob(s).get_object, Bucket=b, Key="k")
    for principal, allowed in (({"AWS": BOB["id"]}, True),
                               ({"AWS": "arn:aws:iam::%s:root" % BOB["id"]}, True),
                               ({"AWS": "arn:aws:iam::%s:user/bob" % BOB["id"]}, True),
                               ({"AWS": "arn:aws:iam::%s:user/eve" % BOB["id"]}, False),
                               ({"CanonicalUser": canonical(BOB)}, True),
                               ({"AWS": ["333333333333", BOB["id"]]}, True),
                               ({"AWS": "333333333333"}, False)):
        set_policy(s, b, statement(b, "s3:GetObject", principal=principal))
        if allowed:
            equal(bob(s).get_object(Bucket=b, Key="k")["Body"].read(), b"data", "for %s" % principal)
        else:
            denied(bob(s).get_object, Bucket=b, Key="k")
        equal(anybody(s, "GET", "/%s/k" % b), 403, "anybody, for %s" % principal)
    refused("MalformedPolicy", 400, set_policy, s, b, statement(b, "s3:GetObject", principal={"AWS": "nobody"}))
    refused("MalformedPolicy", 400, set_policy, s, b,
            statement(b, "s3:GetObject", principal={"CanonicalUser": "nobody"}))


def test_deny_binds_the_owner(s):
    b = made(s)
    put(s, b)
    set_policy(s, b, statement(b, "s3:*", effect="Deny"))
    denied(ann(s).get_object, Bucket=b, Key="k")
    denied(ann(s).list_objects_v2, Bucket=b)
    denied(s.s3().get_object, Bucket=b, Key="k")
    contains(ann(s).get_bucket_policy(Bucket=b)["Policy"], "Deny", "the policy")
    denied(bob(s).delete_bucket_policy, Bucket=b)
    ann(s).delete_bucket_policy(Bucket=b)
    ann(s).get_object(Bucket=b, Key="k")


def test_policy_of_others(s):
    """A grant of the policy's own actions helps no other account (405), only root."""
    b = made(s)
    set_policy(s, b, statement(b, "s3:*", principal={"AWS": BOB["id"]}))
    refused("MethodNotAllowed", 405, bob(s).get_bucket_policy, Bucket=b)
    refused("MethodNotAllowed", 405, bob(s).delete_bucket_policy, Bucket=b)
    s.s3().get_bucket_policy(Bucket=b)
    bob(s).get_bucket_location(Bucket=b)


def test_refused_policies(s):
    b = made(s)

    def message(document):
        text = document if isinstance(document, str) else json.dumps(document)
        reply = refused("MalformedPolicy", 400, ann(s).put_bucket_policy, Bucket=b, Policy=text)
        return reply["Error"]["Message"]
    good = statement(b, "s3:GetObject")
    equal(message("nothing"), "Policies must be valid JSON and the first byte must be '{'", "message")
    equal(message({"Version": "2012-10-17"}), "Missing required field Statement", "message")
    equal(message({"Statement": [dict(good, Resource="arn:aws:s3:::other/*")]}),
          "Policy has invalid resource", "message")
    equal(message({"Statement": [dict(good, Action="s3:Fetch")]}), "Policy has invalid action", "message")
    equal(message({"Statement": [dict(good, Resource="arn:aws:s3:::" + b)]}),
          "Action does not apply to any resource(s) in statement", "message")
    equal(message({"Statement": [dict(good, Sid="x" * 20480)]}),
          "Policy exceeds the maximum allowed document size.", "message")
    refused("NoSuchBucketPolicy", 404, ann(s).get_bucket_policy, Bucket=b)


def test_conditions(s):
    b = made(s)
    put(s, b, "public/a", b"a")
    put(s, b, "private/a", b"p")
    their = next(names)
    bob(s).create_bucket(Bucket=their)
    set_policy(s, b, statement(b, "s3:ListBucket", Condition={
        "StringEquals": {"s3:prefix": "public/"}, "NumericLessThanEquals": {"s3:max-keys": "10"}}))
    equal(anybody(s, "GET", "/%s?prefix=public/&max-keys=10" % b), 200, "list as allowed")
    equal(anybody(s, "GET", "/%s?prefix=public/&max-keys=11" % b), 403, "more keys")
    equal(anybody(s, "GET", "/%s?prefix=public/" % b), 403, "no max-keys")
    equal(anybody(s, "GET", "/%s?prefix=private/&max-keys=1" % b), 403, "another prefix")

    set_policy(s, b, statement(b, "s3:GetObject"), statement(b, "s3:PutObject", Condition={
        "StringLike": {"s3:x-amz-copy-source": b + "/public/*"}}))
    bob(s).copy_object(Bucket=b, Key="c1", CopySource={"Bucket": b, "Key": "public/a"})
    denied(bob(s).copy_object, Bucket=b, Key="c2", CopySource={"Bucket": b, "Key": "private/a"})
    denied(bob(s).put_object, Bucket=b, Key="c3", Body=b"")

    set_policy(s, b, statement(b, "s3:PutObject"), statement(b, "s3:PutObject", effect="Deny", Condition={
        "StringLike": {"s3:x-amz-acl": "public*"}}))
    put(s, b, "x", who=bob)
    denied(bob(s).put_object, Bucket=b, Key="y", Body=b"", ACL="public-read")

    for condition, status in (({"StringEquals": {"aws:Referer": "http://me/"}}, 403),
                              ({"StringLike": {"aws:UserAgent": "tester/*"}}, 200),
                              ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, 200),
                              ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, 403),
                              ({"Bool": {"aws:SecureTransport": "true"}}, 403),
                              ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, 200),
                              ({"DateGreaterThan": {"aws:EpochTime": "4102444800"}}, 403),
                              ({"StringEquals": {"aws:PrincipalType": "Anonymous"}}, 200),
                              ({"Null": {"s3:authType": "true"}}, 200)):
        set_policy(s, b, statement(b, "s3:GetObject", Condition=condition))
        equal(anybody(s, "GET", "/%s/public/a" % b, **{"User-Agent": "tester/1"}), status, str(condition))
    set_policy(s, b, statement(b, "s3:GetObject", Condition={"StringEquals": {
        "s3:authType": "REST-HEADER", "s3:signatureversion": "AWS4-HMAC-SHA256",
        "aws:PrincipalAccount": BOB["id"], "aws:PrincipalArn": "arn:aws:iam::%s:root" % BOB["id"]}}))
    bob(s).get_object(Bucket=b, Key="public/a")
    url = bob(s).generate_presigned_url("get_object", {"Bucket": b, "Key": "public/a"})
    equal(s.get(url[len(s.url):]).status, 403, "presigned")


def test_variables(s):
    b = made(s)
    set_policy(s, b, {"Effect": "Allow", "Principal": "*", "Action": ["s3:PutObject", "s3:GetObject"],
                      "Resource": "arn:aws:s3:::%s/home/${aws:username}/*" % b})
    put(s, b, "home/bob/a", who=bob)
    denied(bob(s).put_object, Bucket=b, Key="home/eve/a", Body=b"")
    denied(bob(s).put_object, Bucket=b, Key="home/${aws:username}/a", Body=b"")
    equal(anybody(s, "PUT", "/%s/home//a" % b, b""), 403, "anybody, who has no name")


def test_conditions_on_a_lock(s):
    """What the document wants counts, and a header that says something else does not."""
    b = made(s, ObjectLockEnabledForBucket=True)
    put(s, b)
    now = datetime.datetime.now(datetime.timezone.utc)

    def retain(days, mode, header=None):
        def tell(request, **_):
            request.headers["x-amz-object-lock-mode"] = header
        c = bob(s)
        if header:
            c.meta.events.register("before-sign.s3.PutObjectRetention", tell)
        return lambda: c.put_object_retention(Bucket=b, Key="k", Retention={
            "Mode": mode, "RetainUntilDate": now + datetime.timedelta(days=days)})
    allow = statement(b, ["s3:PutObjectRetention", "s3:PutObjectLegalHold"], principal={"AWS": BOB["id"]})
    set_policy(s, b, allow, statement(b, "s3:PutObjectRetention", effect="Deny", Condition={
        "NumericGreaterThan": {"s3:object-lock-remaining-retention-days": "10"}}),
        statement(b, "s3:PutObjectLegalHold", effect="Deny", Condition={
            "StringEquals": {"s3:object-lock-legal-hold": "ON"}}))
    denied(retain(20, "GOVERNANCE"))
    denied(bob(s).put_object_legal_hold, Bucket=b, Key="k", LegalHold={"Status": "ON"})
    bob(s).put_object_legal_hold(Bucket=b, Key="k", LegalHold={"Status": "OFF"})
    set_policy(s, b, dict(allow, Condition={"StringEquals": {"s3:object-lock-mode": "GOVERNANCE"}}))
    denied(retain(5, "COMPLIANCE"))
    denied(retain(5, "COMPLIANCE", "GOVERNANCE"))
    retain(5, "GOVERNANCE", "COMPLIANCE")()
    kept = ann(s).get_object_retention(Bucket=b, Key="k")["Retention"]["Mode"]
    equal(kept, "GOVERNANCE", "the mode")


def test_conditions_on_a_version(s):
    """s3:VersionId is the id of each version a request is about, wherever the request has it from."""
    b = made(s)
    ann(s).put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    free, kept = [put(s, b, body=body)["VersionId"] for body in (b"free", b"kept")]
    of_free = {"StringEquals": {"s3:VersionId": free}}
    set_policy(s, b, statement(b, "s3:DeleteObjectVersion", principal={"AWS": BOB["id"]}, Condition=of_free),
               statement(b, "s3:GetObjectVersion", principal={"AWS": BOB["id"]}, Condition=of_free),
               statement(b, ["s3:PutObject", "s3:ListBucketVersions"], principal={"AWS": BOB["id"]}))

    def remove(version):
        c = bob(s)

        def tell(request, **_):
            request.url += "&versionId=" + free
        c.meta.events.register("before-sign.s3.DeleteObjects", tell)
        reply = c.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "k", "VersionId": version}]})
        return [e["Code"] for e in reply.get("Errors", [])]
    equal(remove(kept), ["AccessDenied"], "with another version in the query")

    def copy(version):
        return bob(s).copy_object(Bucket=b, Key="copy", CopySource={
            "Bucket": b, "Key": "k", "VersionId": version})
    denied(copy, version=kept)
    copy(free)
    equal(remove(free), [], "the one that may go")


def test_conditions_on_a_copy(s):
    """A '?' is part of the source's key; tags that do not come from the request do not count as its own."""
    b = made(s)
    for key in ("open", "open?secret"):
        put(s, b, key)
    allow = statement(b, ["s3:PutObject", "s3:PutObjectTagging", "s3:GetObject", "s3:GetObjectTagging"],
                      principal={"AWS": BOB["id"]})
    bar = dict(statement(b, "s3:PutObject", effect="Deny"), Principal={"AWS": BOB["id"]})
    set_policy(s, b, allow, dict(bar, Condition={
        "StringNotEquals": {"s3:x-amz-copy-source": b + "/open"}}))

    def copy(source, **more):
        target = "/%s/copy" % b
        headers = {"x-amz-copy-source": source}
        headers.update(more)
        s.key, root = BOB["access_key_id"], (s.key, s.secret)
        s.secret = BOB["secret_access_key"]
        try:
            return s.signed("PUT", target, b"", headers).status
        finally:
            s.key, s.secret = root
    equal(copy("/%s/open" % b), 200, "the source allowed")
    equal(copy("/%s/open?secret" % b), 403, "another source")
    set_policy(s, b, allow, dict(bar, Condition={"StringNotEquals": {"s3:RequestObjectTag/project": "x"}}))
    tagged = {"x-amz-tagging": "project=x"}
    equal(copy("/%s/open" % b, **tagged), 403, "a header that is not used")
    equal(copy("/%s/open" % b, **dict(tagged, **{"x-amz-tagging-directive": "REPLACE"})), 200, "its own")


def test_lists_need_a_permission(s):
    """PutObject with another list than the owner's alone needs s3:PutObjectAcl (API_PutObject)."""
    b = made(s)
    public = {"x-amz-acl": "public-read"}
    set_policy(s, b, statement(b, "s3:PutObject"))
    equal(anybody(s, "PUT", "/%s/drop" % b, b""), 200, "what anybody drops")
    equal(anybody(s, "PUT", "/%s/drop" % b, b"", **public), 403, "and would have published by the owner")
    put(s, b, "bob", who=bob, ACL="public-read")
    set_policy(s, b, statement(b, ["s3:PutObject", "s3:PutObjectAcl"]))
    equal(anybody(s, "PUT", "/%s/drop" % b, b"", **public), 200, "with the permission")
    set_policy(s, b, statement(b, "s3:PutObject"), statement(b, "s3:PutObjectAcl", effect="Deny"))
    for who in (ann, bob):
        denied(who(s).put_object, Bucket=b, Key="k", Body=b"", ACL="public-read")
        denied(who(s).create_multipart_upload, Bucket=b, Key="k", ACL="public-read")
        put(s, b, who=who, ACL="private")


def test_status(s):
    def status(b):
        return ann(s).get_bucket_policy_status(Bucket=b)["PolicyStatus"]["IsPublic"]
    b = made(s)
    equal(status(b), False, "a new bucket")
    for acl in ("public-read", "authenticated-read"):
        ann(s).put_bucket_acl(Bucket=b, ACL=acl)
        equal(status(b), True, acl)
    ann(s).put_bucket_acl(Bucket=b, ACL="private")
    set_policy(s, b, statement(b, "s3:ListBucket"))
    equal(status(b), True, "a policy for all")
    set_policy(s, b, statement(b, "s3:ListBucket", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}}))
    equal(status(b), False, "a policy for one address")
    one = statement(b, "s3:ListBucket")
    one["NotPrincipal"] = {"AWS": ANN["id"]}
    del one["Principal"]
    set_policy(s, b, one)
    equal(status(b), True, "a policy for all but one")
    denied(bob(s).get_bucket_policy_status, Bucket=b)


# ---- ACLs ----

def test_canned_acls(s):
    full = ("ann", "FULL_CONTROL")
    for acl, more in (("private", []), ("public-read", [(ALL_USERS, "READ")]),
                      ("public-read-write", [(ALL_USERS, "READ"), (ALL_USERS, "WRITE")]),
                      ("authenticated-read", [(EVERY_USER, "READ")])):
        b = made(s, ACL=acl)
        reply = ann(s).get_bucket_acl(Bucket=b)
        equal(grants(reply), sorted(more + [full]), "bucket " + acl)
        equal(reply["Owner"]["ID"], canonical(ANN), "owner")
        put(s, b, acl, ACL=acl)
        equal(grants(ann(s).get_object_acl(Bucket=b, Key=acl)), sorted(more + [full]), "object " + acl)
        ann(s).put_object_acl(Bucket=b, Key=acl, ACL="private")
        equal(grants(ann(s).get_object_acl(Bucket=b, Key=acl)), [full], "private again")
    refused("InvalidArgument", 400, ann(s).put_bucket_acl, Bucket=b, ACL="open")
    refused("InvalidArgument", 400, put, s, b, "x", ACL="log-delivery-write")


def test_bucket_permissions(s):
    """What each permission on a bucket lets Bob do."""
    b = made(s)
    calls = (("READ", bob(s).head_bucket, {}), ("READ", bob(s).list_objects_v2, {}),
             ("WRITE", bob(s).put_object, {"Key": "new", "Body": b"x"}),
             ("WRITE", bob(s).delete_object, {"Key": "new"}),
             ("READ_ACP", bob(s).get_bucket_acl, {}), ("WRITE_ACP", None, {}))
    for permission in ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"):
        owner = {"Type": "CanonicalUser", "ID": canonical(ANN)}
        grant = {"Type": "CanonicalUser", "ID": canonical(BOB)}
        policy = {"Owner": {"ID": canonical(ANN)}, "Grants": [
            {"Grantee": owner, "Permission": "FULL_CONTROL"}, {"Grantee": grant, "Permission": permission}]}
        ann(s).put_bucket_acl(Bucket=b, AccessControlPolicy=policy)
        equal(grants(ann(s).get_bucket_acl(Bucket=b)),
              sorted([("ann", "FULL_CONTROL"), ("bob", permission)]), "the list")
        for needed, call, arguments in calls:
            call = call or (lambda Bucket: bob(s).put_bucket_acl(Bucket=Bucket, AccessControlPolicy=policy))
            if permission in (needed, "FULL_CONTROL"):
                call(Bucket=b, **arguments)
            else:
                code = "403" if call == calls[0][1] else "AccessDenied"
                refused(code, 403, call, Bucket=b, **arguments)
        denied(bob(s).get_bucket_versioning, Bucket=b)


def test_object_permissions(s):
    b = made(s)
    put(s, b)
    for permission in ("READ", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"):
        header = {"READ": "GrantRead", "READ_ACP": "GrantReadACP", "WRITE_ACP": "GrantWriteACP",
                  "FULL_CONTROL": "GrantFullControl"}[permission]
        ann(s).put_object_acl(Bucket=b, Key="k", **{header: "id=" + canonical(BOB)})
        equal(grants(ann(s).get_object_acl(Bucket=b, Key="k")), [("bob", permission)], "the list")
        for needed, call, more in (("READ", bob(s).get_object, {}), ("READ_ACP", bob(s).get_object_acl, {})):
            if permission in (needed, "FULL_CONTROL"):
                call(Bucket=b, Key="k", **more)
            else:
                denied(call, Bucket=b, Key="k", **more)
        # The list leaves Ann out: she keeps the list, not the data.
        denied(ann(s).get_object, Bucket=b, Key="k")
    bob(s).put_object_acl(Bucket=b, Key="k", ACL="public-read")
    reply = ann(s).get_object_acl(Bucket=b, Key="k")
    equal((reply["Owner"]["ID"], grants(reply)),
          (canonical(ANN), sorted([("ann", "FULL_CONTROL"), (ALL_USERS, "READ")])), "Bob's list")
    equal(anybody(s, "GET", "/%s/k" % b), 200, "anybody")
    before = ann(s).head_object(Bucket=b, Key="k")
    ann(s).put_object_acl(Bucket=b, Key="k", ACL="private")
    after = ann(s).head_object(Bucket=b, Key="k")
    equal((after["ETag"], after["LastModified"]), (before["ETag"], before["LastModified"]), "the object")
    equal(anybody(s, "GET", "/%s/k" % b), 403, "anybody afterwards")


def test_grantees(s):
    b = made(s)
    ann(s).put_bucket_acl(Bucket=b, GrantRead='uri="%s", emailAddress="bob@example.org"' % ALL_USERS,
                          GrantFullControl="id=" + canonical(ANN))
    equal(grants(ann(s).get_bucket_acl(Bucket=b)),
          sorted([("ann", "FULL_CONTROL"), ("bob", "READ"), (ALL_USERS, "READ")]), "the list")
    for value, code in (("id=_foo", "InvalidArgument"), ("uri=http://x", "InvalidArgument"), ("x", "InvalidArgument"),
                        ("emailAddress=nobody@example.org", "UnresolvableGrantByEmailAddress")):
        refused(code, 400, ann(s).put_bucket_acl, Bucket=b, GrantRead=value)
        refused(code, 400, put, s, b, "x", GrantRead=value)
    refused("InvalidRequest", 400, ann(s).put_bucket_acl, Bucket=b, ACL="private", GrantRead="id=" + canonical(BOB))
    owner = {"ID": canonical(ANN)}
    one = {"Grantee": {"Type": "CanonicalUser", "ID": canonical(BOB)}, "Permission": "READ"}
    refused("UnexpectedContent", 400, ann(s).put_bucket_acl, Bucket=b, ACL="private",
            AccessControlPolicy={"Owner": owner, "Grants": [one]})
    refused("MalformedACLError", 400, ann(s).put_bucket_acl, Bucket=b,
            AccessControlPolicy={"Owner": owner, "Grants": [one] * 101})
    refused("AccessDenied", 403, ann(s).put_bucket_acl, Bucket=b,
            AccessControlPolicy={"Owner": {"ID": canonical(BOB)}, "Grants": [one]})
    for body in (b"<x/>", b"<AccessControlPolicy>", b"<AccessControlPolicy/>"):
        reply = s.request("PUT", "/%s?acl" % b, body, s.signed_headers("PUT", "/%s?acl" % b, body))
        equal((reply.status, b"MalformedACLError" in reply.body), (400, True), str(body))
    refused("MissingSecurityHeader", 400, ann(s).put_bucket_acl, Bucket=b)
    ann(s).put_bucket_acl(Bucket=b, AccessControlPolicy={"Owner": owner, "Grants": [one] * 100})
    equal(len(ann(s).get_bucket_acl(Bucket=b)["Grants"]), 100, "grants")


def test_no_grants_at_all(s):
    b = made(s)
    put(s, b)
    ann(s).put_bucket_acl(Bucket=b, AccessControlPolicy={"Owner": {"ID": canonical(ANN)}, "Grants": []})
    equal(ann(s).get_bucket_acl(Bucket=b)["Grants"], [], "the list")
    ann(s).get_object(Bucket=b, Key="k")
    denied(ann(s).put_object, Bucket=b, Key="new", Body=b"")
    denied(ann(s).list_objects_v2, Bucket=b)
    ann(s).delete_object(Bucket=b, Key="k")
    ann(s).put_bucket_acl(Bucket=b, ACL="private")
    ann(s).list_objects_v2(Bucket=b)


def test_buckets_and_objects_together(s):
    """Bob against every pair of ACLs: the bucket's decides about writing, the object's about reading."""
    for bucket_acl in ("private", "public-read", "public-read-write"):
        for object_acl in ("private", "public-read", "public-read-write"):
            b = made(s, ACL=bucket_acl)
            put(s, b, ACL=object_acl)
            put(s, b, "other")
            what = "%s/%s" % (bucket_acl, object_acl)
            equal(anybody(s, "GET", "/%s/k" % b), 403 if object_acl == "private" else 200, what)
            equal(anybody(s, "HEAD", "/%s/other" % b), 403, what)
            equal(anybody(s, "GET", "/%s" % b), 403 if bucket_acl == "private" else 200, what + " list")
            # A missing key is told to those who may list (API_GetObject, Permissions).
            equal(anybody(s, "GET", "/%s/none" % b), 403 if bucket_acl == "private" else 404, what + " missing")
            writes = 200 if bucket_acl == "public-read-write" else 403
            equal(anybody(s, "PUT", "/%s/k" % b, b"theirs"), writes, what + " overwrite")
            equal(anybody(s, "PUT", "/%s/new" % b, b"new"), writes, what + " write")


def test_copies_and_uploads_have_their_own(s):
    b = made(s)
    put(s, b, ACL="public-read")
    ann(s).copy_object(Bucket=b, Key="copy", CopySource={"Bucket": b, "Key": "k"})
    equal(anybody(s, "GET", "/%s/copy" % b), 403, "a copy without ACL")
    ann(s).copy_object(Bucket=b, Key="copy", CopySource={"Bucket": b, "Key": "k"}, ACL="public-read")
    equal(anybody(s, "GET", "/%s/copy" % b), 200, "a copy with one")
    put(s, b, body=b"again")
    equal(anybody(s, "GET", "/%s/k" % b), 403, "an overwritten object")
    for acl, status in (("public-read", 200), ("private", 403)):
        upload = {"Bucket": b, "Key": "m-" + acl}
        upload["UploadId"] = ann(s).create_multipart_upload(ACL=acl, **upload)["UploadId"]
        part = ann(s).upload_part(PartNumber=1, Body=b"x", **upload)
        ann(s).complete_multipart_upload(MultipartUpload={"Parts": [
            {"PartNumber": 1, "ETag": part["ETag"]}]}, **upload)
        equal(anybody(s, "GET", "/%s/m-%s" % (b, acl)), status, "an upload begun " + acl)
    form = ann(s).generate_presigned_post(b, "form", Fields={"acl": "public-read"}, Conditions=[{"acl": "public-read"}])
    fields = "".join('--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % pair
                     for pair in form["fields"].items())
    body = fields + '--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nf\r\n--x--\r\n'
    equal(anybody(s, "POST", "/" + b, body.encode(), **{"Content-Type": "multipart/form-data; boundary=x"}), 204, "form")
    equal(anybody(s, "GET", "/%s/form" % b), 200, "a form's object")


def test_versions_have_their_own(s):
    b = made(s)
    ann(s).put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    first = put(s, b, body=b"first", ACL="public-read")["VersionId"]
    second = put(s, b, body=b"second")["VersionId"]
    equal(anybody(s, "GET", "/%s/k" % b), 403, "the newest")
    equal(anybody(s, "GET", "/%s/k?versionId=%s" % (b, first)), 200, "the first")
    ann(s).put_object_acl(Bucket=b, Key="k", VersionId=first, ACL="private")
    ann(s).put_object_acl(Bucket=b, Key="k", ACL="public-read")
    equal(anybody(s, "GET", "/%s/k?versionId=%s" % (b, first)), 403, "the first afterwards")
    equal(anybody(s, "GET", "/%s/k" % b), 200, "the newest afterwards")
    equal(grants(ann(s).get_object_acl(Bucket=b, Key="k", VersionId=first)), [("ann", "FULL_CONTROL")], "grants")
    other = put(s, b, "other")["VersionId"]
    refused("NoSuchVersion", 404, ann(s).put_object_acl, Bucket=b, Key="k", VersionId=other, ACL="private")

    # Each has its own action, with the version's id or without.
    ann(s).put_object_acl(Bucket=b, Key="k", ACL="private")
    set_policy(s, b, statement(b, ["s3:GetObject", "s3:DeleteObject"]))
    bob(s).get_object(Bucket=b, Key="k")
    denied(bob(s).get_object, Bucket=b, Key="k", VersionId=second)
    denied(bob(s).delete_object, Bucket=b, Key="k", VersionId=second)
    errors = bob(s).delete_objects(Bucket=b, Delete={"Objects": [{"Key": "k", "VersionId": second}]})["Errors"]
    equal([e["Code"] for e in errors], ["AccessDenied"], "DeleteObjects")
    set_policy(s, b, statement(b, ["s3:GetObjectVersion", "s3:DeleteObjectVersion"]))
    bob(s).get_object(Bucket=b, Key="k", VersionId=second)
    denied(bob(s).get_object, Bucket=b, Key="k")
    denied(bob(s).delete_object, Bucket=b, Key="k")
    bob(s).delete_object(Bucket=b, Key="k", VersionId=second)


def test_tags_in_policies(s):
    b = made(s)
    put(s, b, "open", Tagging="security=public&x=y")
    put(s, b, "shut", Tagging="security=private")
    put(s, b, "bare")
    condition = {"StringEquals": {"s3:ExistingObjectTag/security": "public"}}
    set_policy(s, b, statement(b, ["s3:GetObject", "s3:PutObjectTagging", "s3:GetObjectTagging"], Condition=condition))
    bob(s).get_object(Bucket=b, Key="open")
    bob(s).get_object_tagging(Bucket=b, Key="open")
    for key in ("shut", "bare", "none"):
        denied(bob(s).get_object, Bucket=b, Key=key)
        denied(bob(s).get_object_tagging, Bucket=b, Key=key)

    def tags(value):
        return {"TagSet": [{"Key": "security", "Value": value}]}
    denied(bob(s).put_object_tagging, Bucket=b, Key="shut", Tagging=tags("public"))
    bob(s).put_object_tagging(Bucket=b, Key="open", Tagging=tags("private"))
    denied(bob(s).put_object_tagging, Bucket=b, Key="open", Tagging=tags("public"))
    # What the request brings counts, in a document as in a header.
    set_policy(s, b, statement(b, ["s3:PutObject", "s3:PutObjectTagging"], Condition={
        "StringEquals": {"s3:RequestObjectTag/team": "a"},
        "ForAllValues:StringLike": {"s3:RequestObjectTagKeys": ["te*"]}}))
    team = {"TagSet": [{"Key": "team", "Value": "a"}]}
    bob(s).put_object_tagging(Bucket=b, Key="bare", Tagging=team)
    denied(bob(s).put_object_tagging, Bucket=b, Key="bare", Tagging={"TagSet": [{"Key": "team", "Value": "b"}]})
    denied(bob(s).put_object_tagging, Bucket=b, Key="bare", Tagging={
        "TagSet": team["TagSet"] + [{"Key": "odd", "Value": ""}]})
    denied(bob(s).put_object_tagging, Bucket=b, Key="bare", Tagging={"TagSet": []})
    put(s, b, "new", who=bob, Tagging="team=a")
    denied(bob(s).put_object, Bucket=b, Key="new2", Body=b"")
    denied(bob(s).put_object, Bucket=b, Key="new2", Body=b"", Tagging="team=b")


# ---- who owns what ----

def test_object_writer(s):
    b = made(s, ACL="public-read-write")
    put(s, b, "bobs", b"bob's", who=bob)
    equal(bob(s).get_object_acl(Bucket=b, Key="bobs")["Owner"]["ID"], canonical(BOB), "owner")
    denied(ann(s).get_object, Bucket=b, Key="bobs")
    denied(ann(s).get_object_acl, Bucket=b, Key="bobs")
    set_policy(s, b, statement(b, "s3:GetObject"))
    equal(anybody(s, "GET", "/%s/bobs" % b), 403, "by Ann's policy")
    bob(s).put_object_acl(Bucket=b, Key="bobs", ACL="bucket-owner-read")
    equal(ann(s).get_object(Bucket=b, Key="bobs")["Body"].read(), b"bob's", "for the bucket's owner")
    equal(grants(bob(s).get_object_acl(Bucket=b, Key="bobs")), [("ann", "READ"), ("bob", "FULL_CONTROL")], "grants")
    put(s, b, "bobs", b"given", who=bob, ACL="bucket-owner-full-control")
    ann(s).get_object_acl(Bucket=b, Key="bobs")
    listed = ann(s).list_objects_v2(Bucket=b, FetchOwner=True)["Contents"]
    equal([o["Owner"]["ID"] for o in listed], [canonical(BOB)], "owners in the listing")
    ann(s).delete_object(Bucket=b, Key="bobs")


def test_ownership_controls(s):
    b = made(s)
    refused("OwnershipControlsNotFoundError", 404, ann(s).get_bucket_ownership_controls, Bucket=b)

    def controls(word):
        return {"Rules": [{"ObjectOwnership": word}]}
    for word in ("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"):
        ann(s).put_bucket_ownership_controls(Bucket=b, OwnershipControls=controls(word))
        equal(ann(s).get_bucket_ownership_controls(Bucket=b)["OwnershipControls"], controls(word), "controls")
    refused("MalformedXML", 400, ann(s).put_bucket_ownership_controls, Bucket=b, OwnershipControls=controls("Me"))
    denied(bob(s).put_bucket_ownership_controls, Bucket=b, OwnershipControls=controls("ObjectWriter"))
    ann(s).delete_bucket_ownership_controls(Bucket=b)
    refused("OwnershipControlsNotFoundError", 404, ann(s).get_bucket_ownership_controls, Bucket=b)
    ann(s).put_bucket_acl(Bucket=b, ACL="public-read")
    refused("InvalidBucketAclWithObjectOwnership", 400, ann(s).put_bucket_ownership_controls, Bucket=b,
            OwnershipControls=controls("BucketOwnerEnforced"))
    refused("InvalidBucketAclWithObjectOwnership", 400, ann(s).create_bucket, Bucket=next(names),
            ACL="public-read", ObjectOwnership="BucketOwnerEnforced")
    refused("InvalidArgument", 400, ann(s).create_bucket, Bucket=next(names), ObjectOwnership="Me")


def test_owner_enforced(s):
    b = made(s, ObjectOwnership="BucketOwnerEnforced")
    equal(ann(s).get_bucket_ownership_controls(Bucket=b)["OwnershipControls"]["Rules"],
          [{"ObjectOwnership": "BucketOwnerEnforced"}], "controls")
    set_policy(s, b, statement(b, "s3:PutObject*", principal={"AWS": BOB["id"]}))
    put(s, b, "bobs", who=bob)
    put(s, b, "given", who=bob, ACL="bucket-owner-full-control")
    equal(ann(s).get_object_acl(Bucket=b, Key="bobs")["Owner"]["ID"], canonical(ANN), "owner")
    ann(s).get_object(Bucket=b, Key="bobs")
    refused("AccessControlListNotSupported", 400, put, s, b, "x", who=bob, ACL="public-read")
    refused("AccessControlListNotSupported", 400, ann(s).put_bucket_acl, Bucket=b, ACL="public-read")
    refused("AccessControlListNotSupported", 400, ann(s).put_object_acl, Bucket=b, Key="bobs", ACL="public-read")
    refused("AccessControlListNotSupported", 400, ann(s).create_multipart_upload, Bucket=b, Key="m",
            GrantRead="id=" + canonical(BOB))
    ann(s).put_bucket_acl(Bucket=b, ACL="private")
    denied(bob(s).get_object, Bucket=b, Key="bobs")


def test_owner_preferred(s):
    b = made(s, ACL="public-read-write", ObjectOwnership="BucketOwnerPreferred")
    put(s, b, "kept", who=bob)
    put(s, b, "given", who=bob, ACL="bucket-owner-full-control")
    equal(bob(s).get_object_acl(Bucket=b, Key="kept")["Owner"]["ID"], canonical(BOB), "owner of kept")
    equal(ann(s).get_object_acl(Bucket=b, Key="given")["Owner"]["ID"], canonical(ANN), "owner of given")


# ---- public access block ----

OPEN = {"BlockPublicAcls": False, "IgnorePublicAcls": False, "BlockPublicPolicy": False,
        "RestrictPublicBuckets": False}


def block(s, b, *names_of):
    ann(s).put_public_access_block(Bucket=b, PublicAccessBlockConfiguration=dict(
        OPEN, **{name: True for name in names_of}))


def test_access_block_document(s):
    b = made(s)
    refused("NoSuchPublicAccessBlockConfiguration", 404, ann(s).get_public_access_block, Bucket=b)
    for name in OPEN:
        block(s, b, name)
        equal(ann(s).get_public_access_block(Bucket=b)["PublicAccessBlockConfiguration"],
              dict(OPEN, **{name: True}), "the block")
    denied(bob(s).put_public_access_block, Bucket=b, PublicAccessBlockConfiguration=OPEN)
    ann(s).delete_public_access_block(Bucket=b)
    refused("NoSuchPublicAccessBlockConfiguration", 404, ann(s).get_public_access_block, Bucket=b)


def test_block_public_acls(s):
    b = made(s)
    put(s, b)
    block(s, b, "BlockPublicAcls")
    for acl in ("public-read", "public-read-write", "authenticated-read"):
        denied(ann(s).put_bucket_acl, Bucket=b, ACL=acl)
        denied(ann(s).put_object_acl, Bucket=b, Key="k", ACL=acl)
        denied(put, s=s, bucket=b, key="x", ACL=acl)
        denied(ann(s).create_multipart_upload, Bucket=b, Key="m", ACL=acl)
    denied(ann(s).put_object_acl, Bucket=b, Key="k", GrantRead='uri="%s"' % ALL_USERS)
    ann(s).put_object_acl(Bucket=b, Key="k", GrantRead="id=" + canonical(BOB))
    bob(s).get_object(Bucket=b, Key="k")


def test_ignore_public_acls(s):
    b = made(s, ACL="public-read")
    put(s, b, ACL="public-read")
    block(s, b, "IgnorePublicAcls")
    ann(s).put_bucket_acl(Bucket=b, ACL="public-read")
    denied(bob(s).list_objects_v2, Bucket=b)
    denied(bob(s).get_object, Bucket=b, Key="k")
    equal(ann(s).get_bucket_policy_status(Bucket=b)["PolicyStatus"]["IsPublic"], False, "public")
    block(s, b)
    bob(s).get_object(Bucket=b, Key="k")


def test_block_public_policy(s):
    b = made(s)
    block(s, b, "BlockPublicPolicy")
    refused("AccessDenied", 403, set_policy, s, b, statement(b, "s3:GetObject"))
    set_policy(s, b, statement(b, "s3:GetObject", principal={"AWS": BOB["id"]}))


def test_restrict_public_buckets(s):
    b = made(s)
    put(s, b, ACL="public-read")
    set_policy(s, b, statement(b, "s3:GetObject"))
    equal(anybody(s, "GET", "/%s/k" % b), 200, "before")
    block(s, b, "RestrictPublicBuckets")
    equal(anybody(s, "GET", "/%s/k" % b), 403, "anybody")
    denied(bob(s).get_object, Bucket=b, Key="k")
    ann(s).get_object(Bucket=b, Key="k")


# ---- expected owners, and what strangers learn ----

def test_expected_owner(s):
    b = made(s)
    put(s, b)
    for account, ok in ((ANN, True), (BOB, False)):
        for call, more in ((ann(s).get_object, {"Key": "k"}), (ann(s).list_objects_v2, {}),
                           (ann(s).get_bucket_location, {})):
            if ok:
                call(Bucket=b, ExpectedBucketOwner=account["id"], **more)
            else:
                denied(call, Bucket=b, ExpectedBucketOwner=account["id"], **more)
    denied(ann(s).get_object, Bucket=b, Key="k", ExpectedBucketOwner="999999999999")
    refused("InvalidBucketOwnerAWSAccountID", 400, ann(s).get_object, Bucket=b, Key="k", ExpectedBucketOwner="me")
    source = {"Bucket": b, "Key": "k"}
    ann(s).copy_object(Bucket=b, Key="c", CopySource=source, ExpectedSourceBucketOwner=ANN["id"])
    denied(ann(s).copy_object, Bucket=b, Key="c", CopySource=source, ExpectedSourceBucketOwner=BOB["id"])


def test_strangers_learn_nothing(s):
    b = made(s)
    put(s, b)
    for method, target in (("GET", "/%s/k"), ("GET", "/%s/none"), ("HEAD", "/%s/k"), ("HEAD", "/%s/none"),
                           ("GET", "/%s"), ("GET", "/%s?acl"), ("GET", "/%s/k?acl"), ("GET", "/%s/none?acl"),
                           ("GET", "/%s?policyStatus"), ("GET", "/%s?ownershipControls"),
                           ("GET", "/%s?publicAccessBlock"), ("GET", "/%s/k?tagging"), ("PUT", "/%s/k"),
                           ("DELETE", "/%s/k"), ("DELETE", "/%s"), ("PUT", "/%s?acl"), ("PUT", "/%s/k?acl")):
        equal(anybody(s, method, target % b, b"" if method == "PUT" else None), 403, method + " " + target)
    refused("NoSuchBucket", 404, bob(s).list_objects_v2, Bucket="no-such-bucket")
    set_policy(s, b, statement(b, "s3:GetObject"))
    denied(bob(s).get_object, Bucket=b, Key="none")
    set_policy(s, b, statement(b, ["s3:GetObject", "s3:ListBucket"]))
    refused("NoSuchKey", 404, bob(s).get_object, Bucket=b, Key="none")
    block(s, b, "BlockPublicAcls")
    refused("BucketAlreadyExists", 409, bob(s).create_bucket, Bucket=b, ACL="public-read")


def test_root_everywhere(s):
    b = made(s)
    put(s, b)
    root = s.s3()
    root.get_object(Bucket=b, Key="k")
    root.put_object(Bucket=b, Key="admin", Body=b"x")
    equal(ann(s).get_object_acl(Bucket=b, Key="admin")["Owner"]["ID"], canonical(ANN), "owner of root's work")
    root.put_bucket_acl(Bucket=b, ACL="private")


def test_settings_survive_a_restart(s):
    b = made(s, ACL="public-read")
    put(s, b, ACL="public-read")
    block(s, b, "RestrictPublicBuckets")
    set_policy(s, b, statement(b, "s3:GetObject", principal={"AWS": BOB["id"]}))
    s.restart()
    equal(anybody(s, "GET", "/%s/k" % b), 200, "by the object's ACL")
    equal(anybody(s, "GET", "/%s" % b), 200, "by the bucket's ACL")
    equal(ann(s).get_public_access_block(Bucket=b)["PublicAccessBlockConfiguration"]["RestrictPublicBuckets"],
          True, "the block")
    true("Allow" in ann(s).get_bucket_policy(Bucket=b)["Policy"], "the policy is gone")


darkroom.run(globals(), config={"accounts": [ANN, BOB]})
