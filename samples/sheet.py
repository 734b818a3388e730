#!/usr/bin/python3
"""A contact sheet: each sample beside what the running product makes of it.

    samples/sheet.py [PICTURE]...        (make samples-sheet; without arguments: samples/)

Starts a server, uploads with the CLI, fetches every thumbnail, and writes build/samples-sheet/:
index.html with the thumbnails as they are, and sheet.png with all of them on a checked ground, so
that what is transparent shows. The first column is not ours: the source as other programs open it.
"""
import html
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("DARKROOM_TOP", TOP)
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import darkroom  # noqa: E402
from PIL import Image, ImageDraw, ImageOps  # noqa: E402

OUT = os.path.join(TOP, "build", "samples-sheet")
ENDINGS = (".jpg", ".png", ".webp", ".gif", ".tif", ".avif", ".heic")
CELL_W, CELL_H, LABEL_H, CHECK = 250, 200, 16, 10
FOCAL = "0.15,0.2"


def box(name, width, height, fit, **more):
    return dict({"name": name, "width": width, "height": height, "fit": fit, "format": "webp"}, **more)


PRESETS = [
    box("small", 160, 160, "cover"),
    box("medium", 640, 640, "inside"),
    box("large", 1600, 1600, "inside"),
    box("cover-centre", 120, 180, "cover"),
    box("cover-attention", 120, 180, "cover", focus="attention"),
    box("cover-entropy", 120, 180, "cover", focus="entropy"),
    box("contain", 240, 180, "contain"),
    box("contain-blue-jpeg", 240, 180, "contain", format="jpeg", background="#3060c0"),
    box("inside-jpeg", 240, 180, "inside", format="jpeg"),
]
FOCAL_COLUMN = "cover-focal"  # preset cover-centre of the same picture with a focal point
COLUMNS = ["source"] + [p["name"] for p in PRESETS] + [FOCAL_COLUMN]
EXTENSION = {"webp": "webp", "jpeg": "jpg"}


# ---- the product ----

def upload(s, path, key):
    done = s.cli("put", path, "s3://photos/" + key)
    darkroom.equal(done.returncode, 0, "exit code of put (%s)" % done.stderr.strip())
    with open(path, "rb") as f:
        body = f.read()
    target = "/photos/focal/" + key
    headers = s.signed_headers("PUT", target, body, {"x-amz-meta-focal": FOCAL})
    darkroom.equal(s.request("PUT", target, body, headers).status, 200, "status of PUT")


def fetch(s, key, preset):
    got = s.thumbnail(key, preset["name"], EXTENSION[preset["format"]])
    return got.body if got.status == 200 else None


def made_by_us(s, paths):
    """{(file name, column): bytes or None}"""
    table = json.dumps(PRESETS)
    done = s.cli("functions", "set", "thumbnail", "--env", "PRESETS=" + table)
    darkroom.equal(done.returncode, 0, "exit code of functions set (%s)" % done.stderr.strip())
    names = [os.path.basename(path) for path in paths]
    for path, name in zip(paths, names):
        upload(s, path, name)
    found = {}
    for name in names:
        s.settled(name)
        s.settled("focal/" + name)
        for preset in PRESETS:
            found[name, preset["name"]] = fetch(s, name, preset)
        found[name, FOCAL_COLUMN] = fetch(s, "focal/" + name, PRESETS[3])
    return found


# ---- what others see ----

def source(path):
    """A small PNG of the source made by PIL, else by vipsthumbnail, else None."""
    try:
        with Image.open(path) as im:
            im = ImageOps.exif_transpose(im)
            im = im.convert("RGBA" if "A" in im.getbands() or "transparency" in im.info else "RGB")
            im.thumbnail((CELL_W, CELL_H))
            out = io.BytesIO()
            im.save(out, "PNG")
            return out.getvalue()
    except Exception:  # whatever PIL cannot read
        pass
    if not shutil.which("vipsthumbnail"):
        return None
    out = os.path.abspath("source.png")
    subprocess.run(["vipsthumbnail", path, "--size", "%dx%d" % (CELL_W, CELL_H), "-o", out],
                   check=True)
    with open(out, "rb") as f:
        return f.read()


# ---- the sheet ----

def draw(names, cells):
    sheet = Image.new("RGB", (CELL_W * len(COLUMNS), (CELL_H + LABEL_H) * len(names)), "white")
    pen = ImageDraw.Draw(sheet)
    for y in range(0, sheet.height, CHECK):
        for x in range(0, sheet.width, 2 * CHECK):
            left = x + (y // CHECK % 2) * CHECK
            pen.rectangle((left, y, left + CHECK - 1, y + CHECK - 1), fill=(225, 225, 225))
    for row, name in enumerate(names):
        for column, what in enumerate(COLUMNS):
            at = (column * CELL_W, row * (CELL_H + LABEL_H))
            place(sheet, pen, at, name if what == "source" else what, cells[name, what])
    sheet.save(os.path.join(OUT, "sheet.png"))


def place(sheet, pen, at, label, data):
    pen.rectangle((at[0], at[1], at[0] + CELL_W, at[1] + LABEL_H), fill="white")
    if data is None:
        pen.text((at[0] + 4, at[1] + 3), label + ": none", fill="red")
        return
    with Image.open(io.BytesIO(data)) as im:
        pen.text((at[0] + 4, at[1] + 3), "%s %dx%d" % ((label,) + im.size), fill="black")
        im = im.convert("RGBA")
        im.thumbnail((CELL_W - 6, CELL_H - 6))
        sheet.paste(im, (at[0] + 3, at[1] + LABEL_H + 3), im)


def write(names, cells):
    rows = []
    for name in names:
        row = "<tr><th>%s</th>" % html.escape(name)
        for column in COLUMNS:
            data = cells[name, column]
            if data is None:
                row += "<td>none</td>"
                continue
            kind = "png" if column == "source" else "jpg" if column.endswith("jpeg") else "webp"
            file = "%s-%s.%s" % (name, column, kind)
            with open(os.path.join(OUT, file), "wb") as f:
                f.write(data)
            row += '<td><img src="%s" alt="%s"></td>' % (html.escape(file), column)
        rows.append(row + "</tr>")
    head = "".join("<th>%s</th>" % column for column in COLUMNS)
    with open(os.path.join(OUT, "index.html"), "w") as f:
        f.write("<!doctype html><meta charset=utf-8><title>Samples and their presets</title><style>"
                "body{font:13px sans-serif}td{background:repeating-conic-gradient(#ddd 0 25%%,#fff 0 50%%)"
                " 0 0/20px 20px;padding:4px}img{max-width:320px}</style><table><tr><th></th>%s</tr>%s"
                "</table>\n" % (head, "\n".join(rows)))


def main():
    folder = os.path.join(TOP, "samples")
    paths = [os.path.abspath(p) for p in sys.argv[1:]] or [
        os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(ENDINGS)]
    names = [os.path.basename(path) for path in paths]
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        s = darkroom.Server().start()
        try:
            cells = made_by_us(s, paths)
        finally:
            s.stop()
        cells.update({(os.path.basename(path), "source"): source(path) for path in paths})
        draw(names, cells)
        write(names, cells)
        os.chdir(TOP)
    missing = ["%s of %s" % (column, name) for (name, column), data in cells.items()
               if data is None and column != "source"]
    print("%d pictures; %s" % (len(names), "missing: " + ", ".join(missing) if missing else
                               "every preset is there"))
    print("build/samples-sheet/index.html, build/samples-sheet/sheet.png")
    return 1 if missing else 0


sys.exit(main())
