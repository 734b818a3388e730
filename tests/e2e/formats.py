#!/usr/bin/python3
"""Which pictures are read: what the workers say, formats that are opted in, damaged files by choice,
and SVG that reaches for what is outside of it."""
import json
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import bombs
import darkroom
from darkroom import contains, equal, picture, true, until

USUAL = ["jpeg", "png", "webp", "gif", "tiff", "avif", "heic"]
RED = '<rect width="20" height="40" fill="rgb(250,20,20)"/>'


def svg(inside, width=40, height=40):
    return ('<?xml version="1.0"?><!-- drawn by hand --><svg xmlns="http://www.w3.org/2000/svg" '
            'xmlns:xlink="http://www.w3.org/1999/xlink" width="%d" height="%d">%s</svg>'
            % (width, height, inside)).encode()


def formats(s):
    until(lambda: s.get("/_/formats").status == 200, "a worker has told its formats")
    return s.get("/_/formats").json()


def other(name, image):
    """A second server with these settings of pictures."""
    return darkroom.Server(config={"image": image}, data=os.path.join(os.getcwd(), name))


def with_server(name, image, job):
    t = other(name, image).start()
    try:
        job(t)
    finally:
        equal(t.stop(), 0, "exit code of " + name)


def test_what_the_workers_say(s):
    said = formats(s)
    equal(said["read"], USUAL, "read")
    equal(sorted(said["optional"]), ["jxl", "svg"], "optional")
    equal(said["written"], ["webp", "jpeg", "png", "avif"], "written")
    for name in ("pdf", "postscript", "nef", "dng", "mat", "fits", "exr", "jp2", "ico", "psd", "bmp"):
        true(name in said["refused"], name + " is not refused by name")
    equal(json.loads(s.cli("formats", "--json").stdout), said, "darkroom formats --json")
    lines = dict(line.split(None, 1) for line in s.cli("formats").stdout.splitlines())
    equal(lines["read"].split(), USUAL, "the line of what is read")
    equal(sorted(lines["opt-in"].split()), ["jxl", "svg"], "the line of what could be read")


def test_svg_is_refused_unless_opted_in(s):
    item = s.put_settled("drawing.png", svg(RED))
    equal(set(item["state"].values()), {"skipped: unsupported format: svg"}, "states")


def test_unknown_formats_are_a_configuration_error(s):
    t = other("unknown", {"formats": "jxl,bmp"})
    run = subprocess.run(t.command(), env=t.env, capture_output=True, text=True, timeout=300)
    equal(run.returncode, 2, "exit code")
    contains(run.stderr, "image.formats", "the complaint")


def test_opted_in(s):
    def job(t):
        said = formats(t)
        equal(said["read"], USUAL + ["jxl", "svg"], "read")
        equal(said["optional"], [], "optional")
        item = t.put_settled("drawing.png", svg(RED))
        equal(set(item["state"].values()), {"ready"}, "states")
        seen = picture(t.thumbnail("drawing.png", "small").body).convert("RGBA")
        equal(seen.size, (40, 40), "size")
        true(seen.getpixel((8, 20))[0] > 230 and seen.getpixel((8, 20))[3] > 250, "the red half")
        true(seen.getpixel((32, 20))[3] < 5, "the transparent half")
        reach_outside(t)
        laugh(t)
    with_server("opted-in", {"formats": "jxl, svg"}, job)


def reach_outside(t):
    """A picture in a file, and one behind a port: neither is drawn, nobody knocks."""
    canary = os.path.join(os.getcwd(), "canary.png")
    with open(canary, "wb") as f:
        f.write(darkroom.plain_png(40, 40, (250, 20, 20)))
    os.chmod(os.getcwd(), 0o755)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        for i, target in enumerate(("file://" + canary, canary, "http://127.0.0.1:%d/x.png" % port)):
            image = '<image %s="%s" width="40" height="40"/>'
            for name in ("href", "xlink:href"):
                key = "outside-%d-%s" % (i, name[:5])
                t.put_settled(key, svg(image % (name, target)))
                seen = picture(t.thumbnail(key, "small").body).convert("RGBA")
                equal(seen.getextrema()[3], (0, 0), "alpha of %s" % target)
        try:
            listener.accept()
            raise darkroom.Failed("somebody knocked at the canary's port")
        except BlockingIOError:
            pass


def laugh(t):
    crashed = t.metric("workers_crashed_total")
    for name, body in (("laughs", bombs.svg_laughs()), ("deep", bombs.svg_deep()),
                       ("long", svg("<!-- %s -->" % ("x" * (5 << 20))))):
        item = t.put_settled("svg-" + name, body)
        for state in item["state"].values():
            true(state.startswith("failed: "), "%s: %s" % (name, state))
    equal(t.metric("workers_crashed_total"), crashed, "workers_crashed_total")


def test_damaged_files_by_choice(s):
    cut = darkroom.sample("grey.jpg")
    cut = cut[:len(cut) * 2 // 3]
    item = s.put_settled("cut.jpg", cut)
    equal(set(item["state"].values()), {"ready"}, "states by default")
    equal(item["damaged"], True, "damaged")
    refused = s.cli("functions", "set", "thumbnail", "--env", "DAMAGED=perhaps")
    equal(refused.returncode, 2, "exit code for an unknown word")
    contains(refused.stderr, "DAMAGED", "its complaint")
    equal(s.cli("functions", "set", "thumbnail", "--env", "DAMAGED=fail").returncode, 0, "exit code")
    item = s.put_settled("cut.jpg", cut)
    true(all(v.startswith("failed: damaged") for v in item["state"].values()),
         "states are %s" % item["state"])
    equal(item["damaged"], True, "damaged, still told")
    equal(s.thumbnail("cut.jpg", "small").status, 403, "the thumbnail it had")
    equal(set(s.put_settled("whole.jpg", darkroom.sample("grey.jpg"))["state"].values()), {"ready"},
          "states of a whole file")
    equal(s.cli("functions", "set", "thumbnail", "--env", "DAMAGED=").returncode, 0, "exit code")


def test_a_bad_cmyk_profile_is_told_by_health(s):
    path = os.path.join(os.getcwd(), "bad.icc")
    with open(path, "w") as f:
        f.write("no profile")

    def told(t):
        health = t.get("/_/health").json()
        return health["status"] == "degraded" and \
            "image.cmyk_profile" in health["workers"]["problem"]
    with_server("cmyk", {"cmyk_profile": path},
                lambda t: until(lambda: told(t), "health tells of the profile"))


darkroom.run(globals())
