#!/usr/bin/env python3
"""A data directory of schema 3, the first one released, opens with this build: every object, version,
tag and item is there, thumbnails are served, and an event that waited in it is done.

tests/data/schema-3.tar.xz was made by darkroomd of that time, with these root keys; expected.json in
it is what that server answered."""
import hashlib
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "lib"))
import darkroom  # noqa: E402
from darkroom import contains, equal, true  # noqa: E402

KEYS = {"DARKROOM_ACCESS_KEY_ID": "UPGRADETEST", "DARKROOM_SECRET_ACCESS_KEY": "upgrade-test-secret"}
ARCHIVE = os.path.join(darkroom.TOP, "tests/data/schema-3.tar.xz")
done = subprocess.run(["tar", "-xJf", ARCHIVE, "--no-same-owner"], capture_output=True, text=True)
EXPECTED = json.load(open("old/expected.json")) if done.returncode == 0 else {}


def test_is_upgraded_once(s):
    equal(done.returncode, 0, "tar: " + done.stderr)
    contains(s.log(), "schema_upgraded from=3 to=", "log")
    equal(s.restart().log().count("schema_upgraded"), 1, "upgrades in two starts")


def test_every_object(s):
    s3, found = s.s3(), {}
    equal(len(EXPECTED["objects"]), 13, "objects in the archive")
    for name in EXPECTED["objects"]:
        bucket, key = name.split("/", 1)
        o = s3.get_object(Bucket=bucket, Key=key)
        found[name] = [o["ETag"], hashlib.sha256(o["Body"].read()).hexdigest()]
    equal(found, EXPECTED["objects"], "objects")
    equal(s3.head_object(Bucket="plain", Key="small")["Metadata"], {"colour": "red"}, "metadata")
    equal(s3.get_object_tagging(Bucket="plain", Key="small")["TagSet"], [{"Key": "a", "Value": "b"}], "tags")


def test_every_version(s):
    s3 = s.s3()
    listed = s3.list_object_versions(Bucket="versions")
    bodies = sorted(s3.get_object(Bucket="versions", Key=v["Key"], VersionId=v["VersionId"])["Body"].read()
                    for v in listed["Versions"])
    equal(bodies, [b"one", b"two", b"was"], "bytes of the versions")
    equal({m["Key"] for m in listed["DeleteMarkers"]}, {"gone"}, "delete markers")


def test_items_and_waiting_events(s):
    for key, want in EXPECTED["items"].items():
        item = s.item(key)
        equal({n: item[n] for n in ("etag", "sha256")}, {n: want[n] for n in ("etag", "sha256")}, "item of " + key)
        equal(int(item["width"]), want["width"], "width of " + key)
    for name in ("thumbnail", "metadata"):
        equal(s.signed("PUT", "/_/functions?name=" + name, b'{"reserved_concurrency": -1}').status, 200, "going on")
    s.settled("waits.png")
    equal(s.signed("GET", "/photos-derived/waits.png/small.webp").status, 200, "thumbnail of the event that waited")


def test_goes_on_working(s):
    s.put_settled("new.png", darkroom.plain_png(300, 200, (1, 200, 1)))
    s.s3().delete_object(Bucket="photos", Key="one.png")
    s.idle()
    equal(s.signed("GET", "/photos-derived/one.png/small.webp").status, 404, "thumbnail of what is deleted")
    s.s3().put_object(Bucket="plain", Key="large", Body=b"other bytes")


if __name__ == "__main__":
    darkroom.run(globals(), data="old", env=KEYS)
