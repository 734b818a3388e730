#!/usr/bin/python3
"""Thumbnails and item follow whichever version is current: overwritten, deleted, hidden, restored."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, true, until

RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)
PRESETS = ("small", "medium", "large")


def png(colour, side=300):
    return darkroom.plain_png(side, side, colour)


def put(s, key, colour, side=300):
    """The new version's id, once it has its verdict."""
    got = s.s3().put_object(Bucket="photos", Key=key, Body=png(colour, side))
    s.settled(key, etag=got["ETag"].strip('"'))
    return got["VersionId"]


def shows(s, key, colour):
    """All presets are of that colour, as the browser sees them."""
    for preset in PRESETS:
        answer = s.thumbnail(key, preset)
        if answer.status != 200:
            return False
        image = darkroom.picture(answer.body).convert("RGB")
        seen = image.getpixel((image.width // 2, image.height // 2))
        if any(abs(a - b) > 24 for a, b in zip(seen, colour)):
            return False
    return True


def becomes(s, key, colour, width):
    """Item and thumbnails tell the same version."""
    until(lambda: s.item(key) and s.item(key)["ready"] is True and s.item(key)["width"] == width,
          "item of %s with width %d" % (key, width))
    true(shows(s, key, colour), "thumbnails of %s are not %s" % (key, colour))


def gone(s, key):
    for preset in PRESETS:
        equal(s.thumbnail(key, preset).status, 403, "%s of %s" % (preset, key))  # may not list
    true(not s.item(key), "%s still has an item" % key)


def test_enable(s):
    s.s3().put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})


def test_the_newest_deleted_brings_the_older_back(s):
    put(s, "k", RED, 300)
    second = put(s, "k", GREEN, 310)
    becomes(s, "k", GREEN, 310)
    s.s3().delete_object(Bucket="photos", Key="k", VersionId=second)
    becomes(s, "k", RED, 300)


def test_a_noncurrent_version_deleted_changes_nothing(s):
    first = put(s, "n", RED, 300)
    put(s, "n", BLUE, 320)
    before = s.item("n")
    s.s3().delete_object(Bucket="photos", Key="n", VersionId=first)
    s.idle()
    equal(s.item("n"), before, "the item")
    becomes(s, "n", BLUE, 320)


def test_a_marker_hides_its_removal_restores(s):
    put(s, "m", BLUE, 300)
    marker = s.s3().delete_object(Bucket="photos", Key="m")
    true(marker["DeleteMarker"], "no delete marker")
    gone(s, "m")
    s.s3().delete_object(Bucket="photos", Key="m", VersionId=marker["VersionId"])
    becomes(s, "m", BLUE, 300)


def test_many_versions_removed_from_the_top(s):
    colours = [RED, GREEN, BLUE, RED, GREEN]
    ids = [s.s3().put_object(Bucket="photos", Key="t", Body=png(c, 300 + i))["VersionId"]
           for i, c in enumerate(colours)]
    for i in range(len(ids) - 1, 0, -1):
        s.s3().delete_object(Bucket="photos", Key="t", VersionId=ids[i])
    becomes(s, "t", RED, 300)
    s.s3().delete_object(Bucket="photos", Key="t", VersionId=ids[0])
    gone(s, "t")


def test_an_older_version_copied_over_the_newest(s):
    first = put(s, "c", RED, 300)
    put(s, "c", GREEN, 310)
    s.s3().copy_object(Bucket="photos", Key="c",
                       CopySource={"Bucket": "photos", "Key": "c", "VersionId": first})
    becomes(s, "c", RED, 300)


def test_suspended_null_versions(s):
    kept = put(s, "s", RED, 300)
    s.s3().put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Suspended"})
    etag = s.s3().put_object(Bucket="photos", Key="s", Body=png(GREEN, 310))["ETag"]
    s.settled("s", etag=etag.strip('"'))
    becomes(s, "s", GREEN, 310)
    s.s3().delete_object(Bucket="photos", Key="s")  # the null version goes, a null marker comes
    gone(s, "s")
    s.s3().delete_object(Bucket="photos", Key="s", VersionId="null")
    becomes(s, "s", RED, 300)
    s.s3().delete_object(Bucket="photos", Key="s", VersionId=kept)
    gone(s, "s")


def test_nothing_was_lost(s):
    s.idle()
    equal(s.metric("lost_events_total"), 0, "lost_events_total")


darkroom.run(globals())
