#!/usr/bin/env python3
"""presets list|diff|set: pictures told apart by name and format, what a change makes stale."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests/lib"))
import darkroom  # noqa: E402
from darkroom import contains, equal, true  # noqa: E402

with open(os.path.join(os.environ["DARKROOM_TOP"], "samples", "grey.jpg"), "rb") as f:
    GREY = f.read()
KEYS = ["p/%d.jpg" % n for n in range(5)]


def write(presets, name="new.json"):
    with open(name, "w") as f:
        f.write(presets if isinstance(presets, str) else json.dumps(presets))
    return name


def lines(out):
    return [json.loads(line) for line in out.stdout.splitlines()]


def default(**other):
    """The presets of a first start, some members of "medium" changed."""
    return [{"name": "small", "width": 160, "height": 160, "fit": "cover"},
            dict({"name": "medium", "width": 640, "height": 640, "fit": "inside"}, **other),
            {"name": "large", "width": 1600, "height": 1600, "fit": "inside"}]


def test_list(s):
    for key in KEYS:
        s.put_settled(key, GREY)
    rows = lines(s.cli("presets", "list", "--json"))
    equal([(p["name"], p["format"], p["width"], p["fit"]) for p in rows],
          [("small", "webp", 160, "cover"), ("medium", "webp", 640, "inside"),
           ("large", "webp", 1600, "inside")], "presets")
    true(all(len(p["hash"]) == 16 for p in rows), "hashes")
    contains(s.cli("presets", "list").stdout, "640x640", "for people")


def test_diff_of_the_same(s):
    out = s.cli("presets", "diff", write(default()))
    equal((out.returncode, out.stdout), (0, ""), "the same, in other words")


def test_diff(s):
    new = default(quality=70, format=["webp", "avif"])[:2] + [
        {"name": "card", "width": 300, "height": 200}]
    out = s.cli("presets", "diff", write(new), "--json")
    equal(out.returncode, 1, "code")
    equal(sorted((c["change"], c["name"], c["format"]) for c in lines(out)),
          [("added", "card", "webp"), ("added", "medium", "avif"), ("changed", "medium", "webp"),
           ("removed", "large", "webp")], "changes")
    people = s.cli("presets", "diff", "new.json").stdout
    contains(people, "quality 80 -> 70", "the changed field")
    contains(people, "- large", "what goes")
    equal(lines(s.cli("presets", "list", "--json"))[1]["quality"], 80, "nothing was changed")


def test_bad_files(s):
    for text, what in (("[{]", "bad.json"), ("[]", "1 to 32"), ('[{"name": "Not Good"}]', "name"),
                       ('[{"name": "a", "width": 9, "height": 9, "fit": "x"}]', "fit")):
        for verb in ("diff", "set"):
            out = s.cli("presets", verb, write(text, "bad.json"))
            equal((out.returncode, out.stdout), (2, ""), "%s of %s" % (verb, text))
            contains(out.stderr, what, "why")
    equal(s.cli("presets", "set", "nowhere.json").returncode, 2, "no file")


def test_set_counts_what_becomes_stale(s):
    out = s.cli("presets", "set", write(default(quality=70)), "--json")
    equal(out.returncode, 0, "code (%s)" % out.stderr)
    told = lines(out)
    equal([(c["name"], c["from"]["quality"], c["to"]["quality"]) for c in told if "change" in c],
          [("medium", 80, 70)], "changes")
    equal([c for c in told if "stale" in c], [{"bucket": "photos", "stale": len(KEYS)}], "stale")
    out = s.cli("presets", "set", "new.json")
    contains(out.stdout, "no change", "the second time")
    contains(out.stdout, "darkroom reprocess s3://photos --function thumbnail", "what to do")
    equal(s.cli("reprocess", "s3://photos", "--function", "thumbnail").returncode, 0, "doing so")
    equal(lines(s.cli("presets", "set", "new.json", "--json")), [{"bucket": "photos", "stale": 0}], "then")
    equal(s.cli("presets", "set", "new.json", "--json", "--no-count").stdout, "", "not counted")


if __name__ == "__main__":
    darkroom.run(globals())
