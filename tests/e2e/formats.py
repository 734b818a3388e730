#!/usr/bin/python3
"""Presets with several formats: the first is part of "ready", the others follow, each an object of its own."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, true, contains

PRESETS = [{"name": "small", "width": 160, "height": 160, "fit": "cover", "format": ["webp", "avif", "jpeg"],
            "quality": {"webp": 80, "avif": 50, "jpeg": 82}},
           {"name": "card", "width": 320, "height": 200, "format": "auto"},
           {"name": "plain", "width": 64, "height": 64, "format": "png"}]
# identity: ending, content type, how the bytes begin and where
MADE = {"small": ("small.webp", "image/webp", b"WEBP", 8),
        "small.avif": ("small.avif", "image/avif", b"ftypavif", 4),
        "small.jpg": ("small.jpg", "image/jpeg", b"\xff\xd8\xff", 0),
        "card": ("card.webp", "image/webp", b"WEBP", 8),
        "card.avif": ("card.avif", "image/avif", b"ftypavif", 4),
        "card.jpg": ("card.jpg", "image/jpeg", b"\xff\xd8\xff", 0),
        "plain": ("plain.png", "image/png", b"PNG", 1)}


def set_presets(s, presets):
    with open("presets.json", "w") as f:
        json.dump(presets, f)
    return s.cli("functions", "set", "thumbnail", "--presets", "presets.json")


def derived(s, key):
    got = s.s3().list_objects_v2(Bucket="photos-derived", Prefix=key + "/").get("Contents", [])
    return sorted(o["Key"][len(key) + 1:] for o in got)


def test_every_format_appears(s):
    equal(set_presets(s, PRESETS).returncode, 0, "exit code of functions set")
    item = s.put_settled("a.jpg", darkroom.sample("landscape-turned.jpg"))
    equal(item["state"], {name: "ready" for name in MADE}, "state")
    equal(derived(s, "a.jpg"), sorted(m[0] for m in MADE.values()), "derived objects")
    etags = set()
    for identity, (name, kind, magic, at) in MADE.items():
        reply, entry = s.get("/photos-derived/a.jpg/" + name), item["thumbnails"][identity]
        equal((reply.status, reply.headers["content-type"]), (200, kind), "GET " + name)
        equal(reply.body[at:at + len(magic)], magic, "first bytes of " + name)
        equal(entry["key"], "a.jpg/" + name, "key of " + identity)
        equal((entry["size"], entry["content_type"]), (len(reply.body), kind), "entry of " + identity)
        equal(reply.headers["etag"], '"%s"' % entry["etag"], "ETag of " + name)
        equal(reply.headers["x-amz-meta-preset"], identity, "preset of " + name)
        etags.add(reply.headers["etag"])
        not_modified = s.get("/photos-derived/a.jpg/" + name, **{"If-None-Match": reply.headers["etag"]})
        equal(not_modified.status, 304, "GET of %s with its ETag" % name)
    equal(len(etags), len(MADE), "different ETags")
    for name in ("small.webp", "small.jpg"):
        equal(darkroom.picture(s.get("/photos-derived/a.jpg/" + name).body).size, (160, 160), name)


def test_ready_comes_before_the_followups(s):
    item, attempts = s.item("a.jpg"), s.explain("a.jpg")["attempts"]
    mine = sorted(a["started"] for a in attempts if a["function"] == "thumbnail")
    equal(len(mine), 2, "attempts of thumbnail")
    true(item["ready"] and item["ready_at"] <= mine[1],
         "ready at %s, the follow-up started at %s" % (item["ready_at"], mine[1]))


def test_no_followup_for_what_is_no_picture(s):
    item = s.put_settled("b.jpg", b"not a picture at all")
    equal(derived(s, "b.jpg"), [], "derived objects of a text")
    true(all(v.startswith("skipped") for v in item["state"].values()), "state %s" % item["state"])


def test_formats_go_with_their_configuration(s):
    fewer = [dict(PRESETS[0], format=["jpeg", "webp"])]
    equal(set_presets(s, fewer).returncode, 0, "exit code of functions set")
    equal(s.cli("reprocess", "s3://photos/a.jpg").returncode, 0, "exit code of reprocess")
    s.idle()
    equal(derived(s, "a.jpg"), ["small.jpg", "small.webp"], "derived objects")
    equal(s.item("a.jpg")["state"], {"small": "ready", "small.webp": "ready"}, "state")
    equal(s.item("a.jpg")["thumbnails"]["small"]["key"], "a.jpg/small.jpg", "primary format")


def test_formats_go_with_the_source(s):
    equal(s.signed("DELETE", "/photos/a.jpg").status, 204, "DELETE")
    equal(derived(s, "a.jpg"), [], "derived objects")


def test_bad_lists_are_refused(s):
    for form, word in ((["webp", "webp"], "different"), ([], "format"), (["webp", "tiff"], "format"),
                       ({"webp": 1}, "format")):
        done = set_presets(s, [dict(PRESETS[0], format=form)])
        true(done.returncode != 0, "%s is accepted" % form)
        contains(done.stderr, word, "complaint about %s" % form)
    done = set_presets(s, [dict(PRESETS[0], name="small.avif")])
    contains(done.stderr, "name", "complaint about a dot")
    done = set_presets(s, [dict(PRESETS[0], name="_0123456789abcdef")])
    contains(done.stderr, "name", "complaint about an underscore")


darkroom.run(globals())
