#!/usr/bin/python3
"""Lifecycle rules carried out by the server, and object lock, through boto3. A day of the rules is
one second here, and a pass begins a second after the last."""
import datetime
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, refused, true, until

FAR = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
FARTHER = datetime.datetime(2099, 6, 1, tzinfo=datetime.timezone.utc)


def rules(s, bucket, *given):
    s.s3().put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [dict(Status="Enabled", **r) for r in given]})


def bucket(s, name, versioned=False, **more):
    c = s.s3()
    c.create_bucket(Bucket=name, **more)
    if versioned:
        c.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return c


def keys(c, name):
    return [o["Key"] for o in c.list_objects_v2(Bucket=name).get("Contents", [])]


def versions(c, name):
    """(key, is a delete marker) of all versions."""
    got = c.list_object_versions(Bucket=name)
    return sorted([(v["Key"], False) for v in got.get("Versions", [])] +
                  [(v["Key"], True) for v in got.get("DeleteMarkers", [])])


def passes(s, count=2):
    """Waits until so many passes were made since: each expires one object of a bucket of its own."""
    c = s.s3()
    if "clockwork" not in [b["Name"] for b in c.list_buckets()["Buckets"]]:
        bucket(s, "clockwork")
        rules(s, "clockwork", {"Filter": {}, "Expiration": {"Days": 1}})
    for i in range(count):
        c.put_object(Bucket="clockwork", Key="tick%d" % i, Body=b"")
        until(lambda: not keys(c, "clockwork"), "a pass")


def test_documents(s):
    c = bucket(s, "documents")
    refused("NoSuchLifecycleConfiguration", 404, c.get_bucket_lifecycle_configuration,
            Bucket="documents")
    given = [
        {"ID": "old", "Status": "Enabled", "Prefix": "old/", "Expiration": {"Days": 31}},
        {"ID": "new", "Status": "Disabled", "Expiration": {"Days": 2},
         "Filter": {"And": {"Prefix": "a&b/", "Tags": [{"Key": "k", "Value": "v"}],
                            "ObjectSizeGreaterThan": 5, "ObjectSizeLessThan": 9}}},
        {"ID": "all", "Status": "Enabled", "Filter": {},
         "Expiration": {"ExpiredObjectDeleteMarker": True},
         "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 2},
         "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        {"ID": "date", "Status": "Enabled", "Filter": {"Prefix": "never/"}, "Expiration": {"Date": FAR}},
    ]
    c.put_bucket_lifecycle_configuration(Bucket="documents", LifecycleConfiguration={"Rules": given})
    equal(c.get_bucket_lifecycle_configuration(Bucket="documents")["Rules"], given, "the rules")
    rules(s, "documents", {"Prefix": "a/", "Expiration": {"Days": 1}},
          {"Prefix": "b/", "Expiration": {"Days": 1}})
    ids = [r["ID"] for r in c.get_bucket_lifecycle_configuration(Bucket="documents")["Rules"]]
    true(all(ids) and ids[0] != ids[1], "IDs are %r" % ids)
    c.delete_bucket_lifecycle(Bucket="documents")
    refused("NoSuchLifecycleConfiguration", 404, c.get_bucket_lifecycle_configuration,
            Bucket="documents")


def test_refusals(s):
    bucket(s, "refusals")

    def no(code, status, **rule):
        refused(code, status, rules, s, "refusals", dict({"Prefix": "a/"}, **rule))
    no("InvalidArgument", 400, ID="a" * 256, Expiration={"Days": 1})
    no("InvalidArgument", 400, Expiration={"Days": 0})
    no("InvalidArgument", 400, Expiration={"Date": "20200101"})
    no("InvalidRequest", 400)
    no("MalformedXML", 400, Expiration={"Days": 1, "Date": FAR})
    no("MalformedXML", 400, Filter={}, Expiration={"Days": 1})
    no("NotImplemented", 501, Transitions=[{"Days": 1, "StorageClass": "GLACIER"}])
    refused("InvalidArgument", 400, rules, s, "refusals",
            {"ID": "x", "Prefix": "a", "Expiration": {"Days": 1}},
            {"ID": "x", "Prefix": "b", "Expiration": {"Days": 1}})
    for status in ("enabled", "disabled", "invalid"):
        refused("MalformedXML", 400, s.s3().put_bucket_lifecycle_configuration, Bucket="refusals",
                LifecycleConfiguration={"Rules": [{"Prefix": "a", "Status": status,
                                                   "Expiration": {"Days": 1}}]})


def test_objects_expire(s):
    c = bucket(s, "expiring")
    for key, size, tags in (("logs/1", 1, ""), ("logs/2", 70000, ""), ("tagged", 1, "keep=no"),
                            ("other-tag", 1, "keep=yes"), ("big", 5001, ""), ("small", 4999, "")):
        c.put_object(Bucket="expiring", Key=key, Body=b"x" * size, Tagging=tags)
    removed = s.metric("lifecycle_removed_total")
    rules(s, "expiring", {"ID": "logs", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 1}},
          {"ID": "tags", "Filter": {"Tag": {"Key": "keep", "Value": "no"}}, "Expiration": {"Days": 1}},
          {"ID": "sizes", "Filter": {"ObjectSizeGreaterThan": 5000}, "Expiration": {"Days": 1}},
          {"ID": "past", "Filter": {"Prefix": "sm"}, "Expiration": {"Date": FAR}})
    answer = c.put_object(Bucket="expiring", Key="logs/3", Body=b"x")
    contains(answer["Expiration"], 'rule-id="logs"', "Expiration of the PUT")
    contains(c.head_object(Bucket="expiring", Key="small")["Expiration"],
             'expiry-date="Thu, 01 Jan 2099 00:00:00 GMT", rule-id="past"', "Expiration of the HEAD")
    until(lambda: keys(c, "expiring") == ["other-tag", "small"], "expiration")
    passes(s)
    equal(keys(c, "expiring"), ["other-tag", "small"], "what stays")
    upload = c.create_multipart_upload(Bucket="expiring", Key="parts", Tagging="keep=no")["UploadId"]
    part = c.upload_part(Bucket="expiring", Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
    done = c.complete_multipart_upload(Bucket="expiring", Key="parts", UploadId=upload,
                                       MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    contains(done["Expiration"], 'rule-id="tags"', "Expiration of the completion")
    true("Expiration" not in c.head_object(Bucket="expiring", Key="other-tag"), "no rule, no header")
    true(s.metric("lifecycle_removed_total") >= removed + 5, "the metric counts them")
    contains(s.log(), " lifecycle_pass removed=", "the log")
    rules(s, "expiring", {"ID": "now", "Filter": {"Prefix": ""},
                          "Expiration": {"Date": datetime.datetime(2020, 1, 1)}})
    until(lambda: keys(c, "expiring") == [], "a date in the past")
    c.delete_bucket(Bucket="expiring")


def test_many(s):
    c = bucket(s, "many")
    darkroom.at_once(8, lambda t: [c.put_object(Bucket="many", Key="%d/%03d" % (t, i), Body=b"")
                                   for i in range(150)])
    rules(s, "many", {"Filter": {"Prefix": "1/"}, "Expiration": {"Days": 1}},
          {"Filter": {"Prefix": "3/"}, "Expiration": {"Days": 1}})
    until(lambda: len(c.list_objects_v2(Bucket="many")["Contents"]) == 900, "expiration of 300")
    true(not c.list_objects_v2(Bucket="many", Prefix="3/").get("Contents"), "one of 3/ is left")


def test_versions(s):
    c = bucket(s, "versions", versioned=True)
    for i in range(5):
        c.put_object(Bucket="versions", Key="kept", Body=b"%d" % i)
    c.put_object(Bucket="versions", Key="deleted", Body=b"x")
    c.delete_object(Bucket="versions", Key="deleted")
    rules(s, "versions", {"Filter": {}, "NoncurrentVersionExpiration":
                          {"NoncurrentDays": 1, "NewerNoncurrentVersions": 2}})
    until(lambda: len(versions(c, "versions")) == 5, "noncurrent versions")
    passes(s)
    equal(versions(c, "versions"), [("deleted", False), ("deleted", True)] + [("kept", False)] * 3,
          "what stays")
    equal(c.get_object(Bucket="versions", Key="kept")["Body"].read(), b"4", "the current version")
    rules(s, "versions", {"Filter": {"Prefix": "deleted"},
                          "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
                          "Expiration": {"ExpiredObjectDeleteMarker": True}})
    until(lambda: versions(c, "versions") == [("kept", False)] * 3, "the marker left alone")
    rules(s, "versions", {"Filter": {}, "Expiration": {"Days": 1},
                          "NoncurrentVersionExpiration": {"NoncurrentDays": 1}})
    until(lambda: versions(c, "versions") == [], "everything")
    true(s.metric("lifecycle_markers_total") > 0, "a marker was made on the way")
    c.delete_bucket(Bucket="versions")


def test_uploads(s):
    c = bucket(s, "uploads")
    for key in ("a/1", "a/2", "b/1"):
        upload = c.create_multipart_upload(Bucket="uploads", Key=key)["UploadId"]
        c.upload_part(Bucket="uploads", Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 70000)
    rules(s, "uploads", {"Filter": {"Prefix": "a/"},
                         "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}})

    def left():
        return [u["Key"] for u in c.list_multipart_uploads(Bucket="uploads").get("Uploads", [])]
    until(lambda: left() == ["b/1"], "abandoned uploads")
    true(s.metric("lifecycle_aborted_total") >= 2, "the metric counts them")


def test_derived_follow(s):
    c = s.s3()
    s.put_settled("short/lived.png", darkroom.plain_png(40, 30, (200, 10, 10)))
    s.put_settled("long/lived.png", darkroom.plain_png(40, 30, (10, 200, 10)))
    equal(s.signed("GET", "/photos-derived/short/lived.png/small.webp").status, 200, "thumbnail")
    rules(s, "photos", {"Filter": {"Prefix": "short/"}, "Expiration": {"Days": 1}})
    until(lambda: "short/lived.png" not in keys(c, "photos"), "expiration of a photo")
    derived = keys(c, "photos-derived")
    true(not [k for k in derived if k.startswith("short/")], "a thumbnail is left: %r" % derived)
    true([k for k in derived if k.startswith("long/")], "the other's thumbnails are gone")
    equal(s.item("short/lived.png"), None, "the item")
    c.delete_bucket_lifecycle(Bucket="photos")


def test_after_restart(s):
    c = bucket(s, "restarted")
    c.put_object(Bucket="restarted", Key="a", Body=b"x")
    rules(s, "restarted", {"Filter": {}, "Expiration": {"Days": 1}})
    s.restart()
    c = s.s3()
    until(lambda: keys(c, "restarted") == [], "expiration")


# ---- object lock ----

def test_lock_configuration(s):
    c = bucket(s, "plain")
    full = {"ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}

    def put(name, **change):
        c.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=dict(full, **change))
    refused("ObjectLockConfigurationNotFoundError", 404, c.get_object_lock_configuration, Bucket="plain")
    refused("InvalidBucketState", 409, put, "plain")
    c.put_bucket_versioning(Bucket="plain", VersioningConfiguration={"Status": "Suspended"})
    refused("InvalidBucketState", 409, put, "plain")
    c.put_bucket_versioning(Bucket="plain", VersioningConfiguration={"Status": "Enabled"})
    put("plain")
    equal(c.get_object_lock_configuration(Bucket="plain")["ObjectLockConfiguration"], full, "the document")
    refused("InvalidBucketState", 409, c.put_bucket_versioning, Bucket="plain",
            VersioningConfiguration={"Status": "Suspended"})
    c.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    equal(c.get_object_lock_configuration(Bucket="locked")["ObjectLockConfiguration"],
          {"ObjectLockEnabled": "Enabled"}, "of a bucket made with object lock")
    equal(c.get_bucket_versioning(Bucket="locked")["Status"], "Enabled", "versioning")
    for code, change in (("MalformedXML", {"ObjectLockEnabled": "Disabled"}),
                         ("MalformedXML", {"Mode": "abc", "Years": 1}),
                         ("MalformedXML", {"Mode": "GOVERNANCE", "Days": 1, "Years": 1}),
                         ("InvalidRetentionPeriod", {"Mode": "GOVERNANCE", "Days": 0}),
                         ("InvalidRetentionPeriod", {"Mode": "GOVERNANCE", "Years": -1})):
        if "Mode" in change:
            change = {"Rule": {"DefaultRetention": change}}
        refused(code, 400, put, "locked", **change)


def test_retention(s):
    c = s.s3()
    version = c.put_object(Bucket="locked", Key="r", Body=b"1")["VersionId"]

    def put(mode, date, **more):
        c.put_object_retention(Bucket="locked", Key="r",
                               Retention={"Mode": mode, "RetainUntilDate": date}, **more)
    refused("NoSuchObjectLockConfiguration", 404, c.get_object_retention, Bucket="locked", Key="r")
    put("GOVERNANCE", FARTHER)
    equal(c.get_object_retention(Bucket="locked", Key="r")["Retention"],
          {"Mode": "GOVERNANCE", "RetainUntilDate": FARTHER}, "retention")
    refused("AccessDenied", 403, put, "GOVERNANCE", FAR)
    refused("AccessDenied", 403, put, "COMPLIANCE", FARTHER)
    refused("InvalidArgument", 400, put, "GOVERNANCE", datetime.datetime(2001, 1, 1))
    put("GOVERNANCE", FAR, BypassGovernanceRetention=True)
    head = c.head_object(Bucket="locked", Key="r")
    equal((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]), ("GOVERNANCE", FAR), "of the HEAD")
    c.put_object(Bucket="locked", Key="r", Body=b"2")
    refused("NoSuchObjectLockConfiguration", 404, c.get_object_retention, Bucket="locked", Key="r")
    equal(c.get_object_retention(Bucket="locked", Key="r", VersionId=version)["Retention"]["Mode"],
          "GOVERNANCE", "of the older version")
    refused("AccessDenied", 403, c.delete_object, Bucket="locked", Key="r", VersionId=version)
    errors = c.delete_objects(Bucket="locked",
                              Delete={"Objects": [{"Key": "r", "VersionId": version}]})["Errors"]
    equal([e["Code"] for e in errors], ["AccessDenied"], "DeleteObjects")
    c.delete_object(Bucket="locked", Key="r", VersionId=version, BypassGovernanceRetention=True)
    held_until_the_date(lambda soon: compliance_holds(c, put, soon))


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def held_until_the_date(check):
    """check(date) as long as the date is ahead; with one that is further away when the machine was too
    slow for that."""
    for seconds in (3, 30, 300):
        soon = now() + datetime.timedelta(seconds=seconds)
        try:
            check(soon)
            return
        except Exception:
            if now() < soon:
                raise
    raise darkroom.Failed("not within %d s" % seconds)


def compliance_holds(c, put, soon):
    put("COMPLIANCE", soon)
    version = c.head_object(Bucket="locked", Key="r")["VersionId"]
    refused("AccessDenied", 403, put, "GOVERNANCE", FAR, BypassGovernanceRetention=True)
    refused("AccessDenied", 403, c.delete_object, Bucket="locked", Key="r", VersionId=version,
            BypassGovernanceRetention=True)
    true(now() < soon, "the date has come")
    until(lambda: now() > soon, "the date", 600)
    c.delete_object(Bucket="locked", Key="r", VersionId=version)


def test_legal_hold(s):
    c = s.s3()

    def put(status):
        c.put_object_legal_hold(Bucket="locked", Key="h", LegalHold={"Status": status})
    version = c.put_object(Bucket="locked", Key="h", Body=b"1")["VersionId"]
    refused("NoSuchObjectLockConfiguration", 404, c.get_object_legal_hold, Bucket="locked", Key="h")
    refused("MalformedXML", 400, put, "abc")
    put("ON")
    equal(c.get_object_legal_hold(Bucket="locked", Key="h")["LegalHold"]["Status"], "ON", "the hold")
    refused("AccessDenied", 403, c.delete_object, Bucket="locked", Key="h", VersionId=version,
            BypassGovernanceRetention=True)
    put("OFF")
    equal(c.head_object(Bucket="locked", Key="h")["ObjectLockLegalHoldStatus"], "OFF", "of the HEAD")
    c.delete_object(Bucket="locked", Key="h", VersionId=version)


def test_locked_uploads(s):
    c = s.s3()
    asked = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate":
             datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) +
             datetime.timedelta(hours=1), "ObjectLockLegalHoldStatus": "ON"}

    def check(key, what):
        head = c.head_object(Bucket="locked", Key=key)
        equal({k: head.get(k) for k in asked}, asked, what)
        refused("AccessDenied", 403, c.delete_object, Bucket="locked", Key=key,
                VersionId=head["VersionId"], BypassGovernanceRetention=True)
    c.put_object(Bucket="locked", Key="put", Body=b"x", **asked)
    check("put", "of PutObject")
    c.copy_object(Bucket="locked", Key="copy", CopySource="locked/put", **asked)
    check("copy", "of CopyObject")
    upload = c.create_multipart_upload(Bucket="locked", Key="parts", **asked)["UploadId"]
    part = c.upload_part(Bucket="locked", Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
    c.complete_multipart_upload(Bucket="locked", Key="parts", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    check("parts", "of CreateMultipartUpload")
    c.copy_object(Bucket="locked", Key="free", CopySource="locked/put")
    true("ObjectLockMode" not in c.head_object(Bucket="locked", Key="free"), "a copy is free")
    refused("InvalidArgument", 400, c.put_object, Bucket="locked", Key="half", Body=b"x",
            ObjectLockMode="GOVERNANCE")
    refused("InvalidRequest", 400, c.put_object, Bucket="documents", Key="none", Body=b"x",
            ObjectLockLegalHoldStatus="ON")


def test_default_retention(s):
    c = s.s3()
    head = None
    c.put_object(Bucket="plain", Key="d", Body=b"x")
    upload = c.create_multipart_upload(Bucket="plain", Key="m")["UploadId"]
    part = c.upload_part(Bucket="plain", Key="m", UploadId=upload, PartNumber=1, Body=b"x")
    c.complete_multipart_upload(Bucket="plain", Key="m", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    for key in ("d", "m"):
        head = c.head_object(Bucket="plain", Key=key)
        equal(head["ObjectLockMode"], "GOVERNANCE", "mode of " + key)
        left = head["ObjectLockRetainUntilDate"] - datetime.datetime.now(datetime.timezone.utc)
        true(86000 < left.total_seconds() <= 86400, "%s is left of %s's day" % (left, key))


def test_locks_hold_against_rules(s):
    held_until_the_date(lambda soon: rules_wait(s, "held-%d" % soon.timestamp(), soon))


def rules_wait(s, name, soon):
    c = bucket(s, name, ObjectLockEnabledForBucket=True)
    soon += datetime.timedelta(seconds=5)  # two passes
    c.put_object(Bucket=name, Key="a", Body=b"x", ObjectLockMode="COMPLIANCE",
                 ObjectLockRetainUntilDate=soon)
    c.put_object(Bucket=name, Key="h", Body=b"x", ObjectLockLegalHoldStatus="ON")
    c.put_object(Bucket=name, Key="z", Body=b"x")
    rules(s, name, {"Filter": {}, "Expiration": {"Days": 1},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 1}})
    # Markers cover them all; of the versions only the free one goes, and its marker behind it.
    held = [("a", False), ("a", True), ("h", False), ("h", True)]
    until(lambda: versions(c, name) == held or now() > soon, "the free version")
    true(now() < soon, "too slow to tell")
    until(lambda: versions(c, name) == held[2:], "the end of the retention", 600)


if __name__ == "__main__":
    darkroom.run(globals(), config={"lifecycle": {"interval_s": 1, "day_s": 1}})
