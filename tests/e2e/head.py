#!/usr/bin/python3
"""HEAD of a source says how far its presets are."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, true, contains

FORMATS = '[{"name":"small","width":160,"height":160,"fit":"cover","format":["webp","avif"]}]'


def told(s, key, bucket="photos", **more):
    """The x-darkroom-... headers, without that prefix."""
    got = s.s3().head_object(Bucket=bucket, Key=key, **more)["ResponseMetadata"]["HTTPHeaders"]
    return {name[11:]: value for name, value in got.items() if name.startswith("x-darkroom-")}


def put(s, key, body, bucket="photos"):
    s.s3().put_object(Bucket=bucket, Key=key, Body=body)


def test_a_good_picture(s):
    item = s.put_settled("good.jpg", darkroom.sample("grey.jpg"))
    equal(told(s, "good.jpg"), {"ready": "true", "generation": str(item["generation"]),
                                "preset-small": "ready", "preset-medium": "ready",
                                "preset-large": "ready"}, "headers")


def test_no_picture(s):
    s.put_settled("text", b"no picture\n" * 10)
    headers = told(s, "text")
    equal(headers["ready"], "false", "ready")
    contains(headers["preset-small"], "skipped: ", "preset-small")


def test_a_broken_picture(s):
    s.put_settled("broken.png", darkroom.sample("parrots.png")[:40])
    contains(told(s, "broken.png")["preset-large"], "failed: ", "preset-large")


def test_nothing_where_nothing_is_promised(s):
    equal(told(s, "good.jpg/small.webp", "photos-derived"), {}, "headers of a thumbnail")
    s.s3().create_bucket(Bucket="plain")
    put(s, "x.jpg", darkroom.sample("grey.jpg"), "plain")
    equal(told(s, "x.jpg", "plain"), {}, "headers in a bucket without rules")
    got = s.signed("GET", "/photos/good.jpg").headers
    true(not [h for h in got if h.startswith("x-darkroom")], "GET says it, too: %s" % got)


def test_only_where_the_rule_applies(s):
    s.s3().create_bucket(Bucket="partly")
    s.s3().put_bucket_notification_configuration(Bucket="partly", NotificationConfiguration={
        "LambdaFunctionConfigurations": [{
            "LambdaFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:thumbnail",
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}}}]})
    put(s, "out.jpg", darkroom.sample("grey.jpg"), "partly")
    put(s, "in/a.jpg", darkroom.sample("grey.jpg"), "partly")
    equal(told(s, "out.jpg", "partly"), {}, "headers of a key without the prefix")
    darkroom.until(lambda: told(s, "in/a.jpg", "partly")["ready"] == "true", "in/a.jpg ready")


def test_an_older_version_says_nothing(s):
    s.s3().put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    old = s.s3().put_object(Bucket="photos", Key="v.jpg", Body=darkroom.sample("grey.jpg"))["VersionId"]
    s.put_settled("v.jpg", darkroom.sample("parrots.png"))
    equal(told(s, "v.jpg")["ready"], "true", "the newest version's")
    equal(told(s, "v.jpg", VersionId=old), {}, "headers of the older version")


def test_secondary_formats(s):
    equal(s.signed("PUT", "/_/functions?name=thumbnail",
                   ('{"environment":{"PRESETS":%s}}' % json.dumps(FORMATS)).encode()).status,
          200, "PUT of the environment")
    equal(told(s, "good.jpg")["preset-small"], "ready", "made before, unchanged")
    equal(told(s, "good.jpg")["preset-small.avif"], "none", "never asked for")
    put(s, "new.jpg", darkroom.sample("grey.jpg"))
    darkroom.until(lambda: told(s, "new.jpg")["preset-small.avif"] == "ready", "new.jpg's AVIF")


darkroom.run(globals())
