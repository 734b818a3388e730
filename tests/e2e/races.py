#!/usr/bin/python3
"""What must not happen when things happen at once: an old version's results win, a deleted picture
comes back, a result of old presets survives."""
import json
import os
import random
import sys
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, true

WRITERS = 100
DELETED = 60
HELD = 8
READY = 5
CHANGED = 60


def colour_of(n):
    return (n * 37 % 256, n * 101 % 256, n * 173 % 256)


def put(s, key, body):
    reply = s.signed("PUT", "/photos/" + key, body)
    equal(reply.status, 200, "PUT " + key)
    return reply.headers["etag"]


def delete(s, key):
    equal(s.signed("DELETE", "/photos/" + key).status, 204, "DELETE " + key)


def derived(s, prefix):
    """Keys in the derived bucket, all pages."""
    got = s.s3().get_paginator("list_objects_v2").paginate(Bucket="photos-derived", Prefix=prefix)
    return [o["Key"] for page in got for o in page.get("Contents", [])]


def near(got, want, room, what):
    true(all(abs(a - b) <= room for a, b in zip(got, want)), "%s is %s, not %s" % (what, got, want))


def fits_the_object(s, key):
    """Item and thumbnails are those of the object as it is now, or all are gone."""
    reply = s.signed("GET", "/photos/" + key)
    item = s.item(key)
    if reply.status == 404:
        equal(item, None, "item of the deleted " + key)
        equal(derived(s, key + "/"), [], "derived objects of the deleted " + key)
        return None
    equal(reply.status, 200, "GET " + key)
    true(item and darkroom.is_settled(item), "%s is not settled: %s" % (key, item))
    equal(item["sha256"], darkroom.sha256(reply.body), "sha256 of " + key)
    equal('"%s"' % item["etag"], reply.headers["etag"], "ETag of " + key)
    equal(item["size"], len(reply.body), "size of " + key)
    equal(sorted(derived(s, key + "/")), sorted(t["key"] for t in item["thumbnails"].values()), "derived")
    return item


def test_a_hundred_writers_on_one_key(s):
    for turn in range(2):
        bodies = [darkroom.plain_png(64, 64, colour_of(n + turn * WRITERS)) for n in range(WRITERS)]
        darkroom.at_once(WRITERS, lambda n: put(s, "one.png", bodies[n]))
        s.idle()
        item = fits_the_object(s, "one.png")
        equal(item["state"], {p: "ready" for p in ("small", "medium", "large")}, "state")
        winner = next(n for n in range(WRITERS) if darkroom.sha256(bodies[n]) == item["sha256"])
        colour = colour_of(winner + turn * WRITERS)
        told = [int(item["dominant_color"][i:i + 2], 16) for i in (1, 3, 5)]
        near(told, colour, 12, "dominant colour")
        for preset in item["state"]:
            image = darkroom.picture(s.thumbnail("one.png", preset).body).convert("RGB")
            near(image.getpixel((20, 20)), colour, 12, "colour of %s" % preset)


def test_deletes_against_running_invocations(s):
    """Waits for the n-th invocation to start and deletes its picture at that moment."""
    body = darkroom.sample("landscape-turned.jpg")
    started = s.metric("invocations_total")
    keys = ["gone/%02d.jpg" % n for n in range(DELETED)]
    for key in keys:
        put(s, key, body)
    for n, key in enumerate(keys):
        darkroom.until(lambda: s.metric("invocations_total") > started + n or s.item(key) is None or
                       s.item(key).get("ready"), "invocation of " + key)
        delete(s, key)
    s.idle()
    equal(derived(s, "gone/"), [], "derived objects")
    equal([k for k in keys if s.item(k) is not None], [], "items")
    equal(s.metric("queue_dead"), 0, "dead letters")


def test_deletes_in_the_middle_of_invocations(s):
    fenced = s.metric("results_fenced_total")
    for n in range(HELD):
        key = "held/%d.jpg" % n
        with s.held():
            put(s, key, darkroom.sample("landscape-turned.jpg"))
            darkroom.until(lambda: key in s.runs(), "invocation of " + key)
            delete(s, key)
        s.idle()
        equal(s.item(key), None, "item of the deleted " + key)
    true(s.metric("results_fenced_total") - fenced >= HELD, "a result that came too late was not fenced")
    equal(derived(s, "held/"), [], "derived objects")


def test_writers_and_deleters_on_few_keys(s):
    bodies = [darkroom.sample("grey.jpg") + bytes([n]) for n in range(8)]
    dice = random.Random(7)
    plan = [[(dice.randrange(4), dice.random() < 0.4, dice.randrange(8)) for _ in range(8)]
            for _ in range(16)]

    def one(n):
        for key, is_delete, body in plan[n]:
            if is_delete:
                delete(s, "few/%d.jpg" % key)
            else:
                put(s, "few/%d.jpg" % key, bodies[body])
    darkroom.at_once(16, one)
    s.idle()
    for key in range(4):
        fits_the_object(s, "few/%d.jpg" % key)


def set_presets(s, presets):
    with open("presets.json", "w") as f:
        json.dump(presets, f)
    done = s.cli("functions", "set", "thumbnail", "--presets", "presets.json")
    equal((done.returncode, done.stderr), (0, ""), "darkroom functions set")


def preset(name, side, form):
    return {"name": name, "width": side, "height": side, "fit": "inside", "format": form, "quality": 70}


def made_by(s, key, presets):
    """Every derived object of the key is one of these presets, at their size, and none is missing."""
    extension = {"jpeg": "jpg", "webp": "webp", "png": "png"}
    want = {p["name"]: "%s/%s.%s" % (key, p["name"], extension[p["format"]]) for p in presets}
    equal(sorted(derived(s, key + "/")), sorted(want.values()), "derived objects of " + key)
    item = s.item(key)
    equal(item["state"], {name: "ready" for name in want}, "state of " + key)
    for p in presets:
        entry = item["thumbnails"][p["name"]]
        equal(entry["key"], want[p["name"]], "key of %s" % p["name"])
        equal(max(entry["width"], entry["height"]), p["width"], "size of %s of %s" % (p["name"], key))


def change_presets_under_way(s, folder, old, new):
    """What was not ready when the presets changed must be made by the new ones alone."""
    set_presets(s, old)
    body, fenced = darkroom.sample("parrots.png"), s.metric("results_fenced_total")
    keys = ["%s/%02d.png" % (folder, n) for n in range(CHANGED)]
    for key in keys[:READY]:
        put(s, key, body)
    s.idle()
    with s.held():
        for key in keys[READY:3 * READY]:
            put(s, key, body)
        darkroom.until(lambda: set(s.runs()) & set(keys), "running invocations")
        set_presets(s, new)
    s.idle()
    true(s.metric("results_fenced_total") > fenced, "a running invocation did not meet the change")
    for key in keys[:3 * READY]:
        made_by(s, key, old if key in keys[:READY] else new)
    # The other way round, with nobody held.
    for key in keys:
        put(s, key, body)
    darkroom.until(lambda: s.item(keys[2])["ready"], "the first ones")
    set_presets(s, old)
    # Those that became ready by now may be new; the others may not.
    ready = [k for k in keys if s.item(k)["ready"]]
    s.idle()
    for key in keys:
        if key not in ready:
            made_by(s, key, old)
    set_presets(s, new)
    done = s.cli("reprocess", "s3://photos/%s/" % folder)
    equal(done.returncode, 0, "exit code of reprocess (%s)" % done.stderr)
    for key in keys:
        made_by(s, key, new)


def test_presets_changed_while_events_run(s):
    change_presets_under_way(s, "names", [preset("small", 100, "webp"), preset("big", 500, "webp")],
                             [preset("small", 120, "jpeg"), preset("wide", 300, "png")])


def test_same_presets_with_other_sizes(s):
    change_presets_under_way(s, "sizes", [preset("small", 100, "webp"), preset("big", 500, "webp")],
                             [preset("small", 120, "webp"), preset("big", 400, "webp")])


def test_listing_is_sane_after_all(s):
    body = s.signed("GET", "/photos-derived?list-type=2").body
    xml.etree.ElementTree.fromstring(body)
    equal(s.get("/_/health").json()["status"], "ok", "health")


darkroom.run(globals())
