#!/usr/bin/python3
"""The main job: PUT a picture, get its thumbnails and its row. Good pictures, bad ones, none."""
import os
import random
import re
import struct
import sys
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, true, contains

# name: format, upright size, longest side of "medium" and "large"
PICTURES = {
    "parrots.png": ("png", 768, 512),
    "landscape-turned.jpg": ("jpeg", 1800, 1200),
    "grey.jpg": ("jpeg", 400, 267),
    "animation.webp": ("webp", 80, 80),
    "parrots.tif": ("tiff", 384, 256),
    "parrots.gif": ("gif", 384, 256),
    "phone-gps.jpg": ("jpeg", 1600, 1200),
    "motocross.avif": ("avif", None, None),
    "motocross.heic": ("heic", None, None),
}
PRESETS = {"small": (160, 160, "cover"), "medium": (640, 640, "inside"), "large": (1600, 1600, "inside")}


def inside(width, height, box):
    """The size of a picture that fits a square box and is never enlarged."""
    scale = min(1, box / width, box / height)
    return round(width * scale), round(height * scale)


def near(got, want, what):
    true(all(abs(a - b) <= 1 for a, b in zip(got, want)), "%s is %s, not %s" % (what, got, want))


def test_every_sample_becomes_ready(s):
    for name in PICTURES:
        s.s3().put_object(Bucket="photos", Key=name, Body=darkroom.sample(name))
    for name in PICTURES:
        item = s.settled(name)
        equal(item["state"], {p: "ready" for p in PRESETS}, "state of " + name)
        true(item["ready"] is True, "%s is not ready" % name)
        equal(item["metadata_state"], "ready", "metadata_state of " + name)


def test_facts_in_the_item(s):
    for name, (form, width, height) in PICTURES.items():
        data, item = darkroom.sample(name), s.item(name)
        equal(item["format"], form, "format of " + name)
        equal(item["size"], len(data), "size of " + name)
        equal(item["sha256"], darkroom.sha256(data), "sha256 of " + name)
        if width:
            equal((item["width"], item["height"]), (width, height), "upright size of " + name)
        true(item["width"] > 0 and item["height"] > 0, "no size of " + name)
        true(0 < len(bytes(item["thumbhash"])) <= 25, "thumbhash of " + name)
        true(re.fullmatch("[0-9a-f]{16}", item["phash"]), "phash %s of %s" % (item["phash"], name))
        colours = item["palette"].split()
        true(colours and all(len(c) == 7 and c[0] == "#" for c in colours), "palette " + item["palette"])
        equal(item["dominant_color"], colours[0], "dominant colour of " + name)
        equal(sorted(item["thumbnails"]), sorted(PRESETS), "thumbnails of " + name)


def test_camera_and_place(s):
    item = s.item("phone-gps.jpg")
    true(item["exif"]["camera_make"] and item["exif"]["camera_model"], "no camera in %s" % item["exif"])
    true(-90 <= item["gps"]["latitude"] <= 90 and -180 <= item["gps"]["longitude"] <= 180, "no place")
    equal(s.item("landscape-turned.jpg")["orientation"], 6, "orientation")


def test_thumbnails_have_the_promised_size(s):
    for name, (_, width, height) in PICTURES.items():
        item = s.item(name)
        width, height = width or int(item["width"]), height or int(item["height"])
        for preset, (w, h, fit) in PRESETS.items():
            reply = s.thumbnail(name, preset)
            equal(reply.status, 200, "GET %s of %s" % (preset, name))
            entry = item["thumbnails"][preset]
            equal(len(reply.body), entry["size"], "size of %s in the item" % preset)
            equal(reply.headers["etag"], '"%s"' % entry["etag"], "ETag of %s" % preset)
            image = darkroom.picture(reply.body)
            equal(image.format, "WEBP", "format of %s" % preset)
            equal(image.size, (entry["width"], entry["height"]), "size of %s in the item" % preset)
            want = inside(width, height, w)
            if fit == "cover":  # fills the box, unless the picture is smaller
                want = (min(w, width), min(h, height)) if min(width, height) < w else (w, h)
            near(image.size, want, "%s of %s" % (preset, name))


def test_orientation_is_applied(s):
    """Against the sample itself, turned upright by another library."""
    from PIL import ImageOps
    upright = ImageOps.exif_transpose(darkroom.picture(darkroom.sample("landscape-turned.jpg")))
    made = darkroom.picture(s.thumbnail("landscape-turned.jpg", "medium").body).convert("RGB")
    want = upright.convert("RGB").resize(made.size)
    points = [(x, y) for x in range(0, made.width, 16) for y in range(0, made.height, 16)]
    off = [sum(abs(a - b) for a, b in zip(made.getpixel(p), want.getpixel(p))) for p in points]
    true(sum(off) / len(off) < 45, "colours are %.0f off on average" % (sum(off) / len(off)))


def test_no_exif_in_thumbnails(s):
    for name in ("phone-gps.jpg", "landscape-turned.jpg"):
        for preset in PRESETS:
            body = s.thumbnail(name, preset).body
            for mark in (b"EXIF", b"Exif", b"XMP ", b"GPS"):
                true(mark not in body, "%s in %s of %s" % (mark, preset, name))


def test_browser_headers(s):
    reply = s.thumbnail("parrots.png", "small")
    equal(reply.headers["content-type"], "image/webp", "Content-Type")
    equal(reply.headers["cache-control"], "no-cache", "Cache-Control of a stable URL")
    equal(reply.headers.get("x-content-type-options"), "nosniff", "X-Content-Type-Options")
    etag, modified = reply.headers["etag"], reply.headers["last-modified"]
    target = "/photos-derived/parrots.png/small.webp"
    again = s.get(target, If_None_Match=etag)
    equal((again.status, again.body, again.headers["etag"]), (304, b"", etag), "answer to If-None-Match")
    equal(s.get(target, If_Modified_Since=modified).status, 304, "answer to If-Modified-Since")
    equal(s.get(target, If_Match='"other"').status, 412, "answer to If-Match")
    part = s.get(target, Range="bytes=10-19")
    equal((part.status, part.body), (206, reply.body[10:20]), "range")
    equal(part.headers["content-range"], "bytes 10-19/%d" % len(reply.body), "Content-Range")
    equal(s.get(target, Range="bytes=%d-" % len(reply.body)).status, 416, "range behind the end")
    contains(s.get(target + "?v=1").headers["cache-control"], "immutable", "Cache-Control with ?v=")


def test_only_thumbnails_are_public(s):
    missing = s.thumbnail("nobody.jpg", "small")
    equal((missing.status, missing.headers["cache-control"]), (403, "no-store"), "a miss")
    equal(s.get("/photos/parrots.png").status, 403, "anonymous GET of the original")
    equal(s.get("/photos-derived").status, 403, "anonymous listing")
    equal(s.request("PUT", "/photos-derived/x", b"x").status, 403, "anonymous PUT")
    equal(s.request("DELETE", "/photos-derived/parrots.png/small.webp").status, 403, "anonymous DELETE")


def test_derived_metadata(s):
    head = s.s3().head_object(Bucket="photos-derived", Key="parrots.png/small.webp")
    equal(head["Metadata"]["preset"], "small", "preset")
    equal(len(head["Metadata"]["preset-hash"]), 16, "length of the preset's hash")
    original = s.s3().head_object(Bucket="photos", Key="parrots.png")["ETag"]
    true(original.strip('"') not in str(head), "the original's ETag is told")


def test_awkward_key(s):
    key = "a b+c/%41ü&'\"é.jpg"
    item = s.put_settled(key, darkroom.sample("grey.jpg"))
    true(item["ready"], "not ready: %s" % item["state"])
    equal(s.thumbnail(key, "small").status, 200, "GET of its thumbnail")


def test_overwrite_replaces(s):
    s.put_settled("over.jpg", darkroom.sample("grey.jpg"))
    before = s.thumbnail("over.jpg", "medium")
    item = s.put_settled("over.jpg", darkroom.sample("parrots.png"))
    after = s.thumbnail("over.jpg", "medium")
    true(before.body != after.body, "the thumbnail is the old one")
    equal((item["format"], item["width"]), ("png", 768), "facts of the new picture")
    equal(item["sha256"], darkroom.sha256(darkroom.sample("parrots.png")), "sha256")


def test_users_attributes_survive(s):
    whole = s.ddb.get_item(TableName="images", Key={"bucket": {"S": "photos"},
                                                    "key": {"S": "over.jpg"}})["Item"]
    whole["title"] = {"S": "mine"}
    s.ddb.put_item(TableName="images", Item=whole)
    equal(s.put_settled("over.jpg", darkroom.sample("grey.jpg")).get("title"), "mine", "title")


def test_a_text_file_takes_the_thumbnails_away(s):
    item = s.put_settled("over.jpg", b"no picture any more\n" * 10, ContentType="text/plain")
    for preset in PRESETS:
        contains(item["state"][preset], "skipped: ", "state of " + preset)
        equal(s.thumbnail("over.jpg", preset).status, 403, "GET of the old " + preset)
    equal(item["thumbnails"], {}, "thumbnails")
    true(item["ready"] is False, "it says ready")
    true("sha256" not in item or item["sha256"] == darkroom.sha256(b"no picture any more\n" * 10),
         "the old sha256 stays")
    true("width" not in item and "thumbhash" not in item, "facts of the old picture stay")
    equal(item.get("size"), 200, "size")
    equal(item.get("content_type"), "text/plain", "content_type")
    listed = s.s3().list_objects_v2(Bucket="photos-derived", Prefix="over.jpg/")
    equal(listed["KeyCount"], 0, "derived objects")


def test_delete_takes_all_away(s):
    s.s3().delete_object(Bucket="photos", Key="grey.jpg")
    equal(s.item("grey.jpg"), None, "item")
    for preset in PRESETS:
        equal(s.thumbnail("grey.jpg", preset).status, 403, "GET of " + preset)
    equal(s.s3().list_objects_v2(Bucket="photos-derived", Prefix="grey.jpg/")["KeyCount"], 0, "derived")


def test_what_a_client_put_there_stays(s):
    s.s3().put_object(Bucket="photos-derived", Key="own.jpg/note.txt", Body=b"mine")
    s.put_settled("own.jpg", darkroom.sample("grey.jpg"))
    s.s3().delete_object(Bucket="photos", Key="own.jpg")
    equal(s.s3().get_object(Bucket="photos-derived", Key="own.jpg/note.txt")["Body"].read(), b"mine", "note")


def bomb():
    """A small PNG whose header promises 60,000 x 60,000 pixels."""
    whole = darkroom.plain_png(10, 10, (1, 2, 3))
    header = b"IHDR" + struct.pack(">II", 60000, 60000) + whole[24:29]
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


BAD = {
    "empty.jpg": (lambda: b"", "skipped: ", "empty"),
    "truncated.jpg": (lambda: darkroom.sample("landscape-turned.jpg")[:600], "failed: ", ""),
    "lie.jpg": (lambda: b"This is no JPEG, whatever its name says.\n" * 50, "skipped: ", "not an image"),
    "paper.png": (lambda: b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", "skipped: ", "pdf"),
    "page.jpg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "skipped: ", ""),
    "bomb.png": (bomb, "failed: ", "pixel"),
    "noise.jpg": (lambda: b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(5000), "failed: ", ""),
}


def test_bad_uploads_say_why(s):
    for key, (make, _, _) in BAD.items():
        s.s3().put_object(Bucket="photos", Key="bad/" + key, Body=make(), ContentType="image/jpeg")
    for key, (make, verdict, reason) in BAD.items():
        item = s.settled("bad/" + key)
        for preset in PRESETS:
            state = item["state"][preset]
            true(state.startswith(verdict) and len(state) > len(verdict), "%s: %s" % (key, state))
            contains(state, reason, "state of " + key)
        true(item["ready"] is False, "%s is ready" % key)
        equal(s.s3().get_object(Bucket="photos", Key="bad/" + key)["ContentLength"],
              item["size"], "stored size of " + key)
        equal(s.thumbnail("bad/" + key, "small").status, 403, "thumbnail of " + key)


def test_half_a_picture_is_marked(s):
    for name in ("landscape-turned.jpg", "parrots.png"):
        data = darkroom.sample(name)
        item = s.put_settled("half-" + name, data[:len(data) // 2])
        states = set(item["state"].values())
        true(states == {"ready"} and item["damaged"] is True or
             all(state.startswith("failed: ") for state in states), "%s: %s" % (name, item))


def test_good_ones_still_work_afterwards(s):
    true(s.put_settled("after.jpg", darkroom.sample("grey.jpg"))["ready"], "not ready")
    equal(s.metric("workers_crashed_total"), 0, "crashed workers")
    equal(s.get("/_/health").json()["status"], "ok", "health")


def test_a_focal_point_moves_the_crop(s):
    red, green = (220, 30, 30), (30, 200, 40)
    wide = darkroom.plain_png(1600, 400, red, green)
    for focal, colour in (("0.1,0.5", red), ("0.9,0.5", green)):
        s.put_settled("focal.png", wide, Metadata={"focal": focal})
        image = darkroom.picture(s.thumbnail("focal.png", "small").body).convert("RGB")
        equal(image.size, (160, 160), "size of the crop")
        for x in (4, 80, 155):
            seen = image.getpixel((x, 80))
            true(all(abs(g - w) <= 24 for g, w in zip(seen, colour)), "%s: %s at %d" % (focal, seen, x))


darkroom.run(globals())
