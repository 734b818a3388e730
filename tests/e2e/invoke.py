#!/usr/bin/env python3
"""functions invoke: a trial shows what a function makes of an object and stores nothing; --commit is
the ordinary event."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests/lib"))
import darkroom  # noqa: E402
from darkroom import contains, equal, true  # noqa: E402

with open(os.path.join(os.environ["DARKROOM_TOP"], "samples", "parrots.png"), "rb") as f:
    PARROTS = f.read()


def invoke(s, *args):
    out = s.cli("functions", "invoke", *args, "--json")
    return out.returncode, json.loads(out.stdout) if out.stdout else out.stderr


def traces(s, key):
    story = s.explain(key)
    return story["item"], story["derived"], story["attempts"], story["object"]["generation"]


def test_a_trial_stores_nothing(s):
    s.put_settled("t.png", PARROTS)
    before = traces(s, "t.png")
    code, told = invoke(s, "thumbnail", "s3://photos/t.png")
    equal((code, told["outcome"]), (0, "ok"), "outcome")
    made = {o["name"]: (o["status"], o["width"], o["height"]) for o in told["outputs"]}
    equal(made, {"small": ("ok", 160, 160), "medium": ("ok", 640, 427), "large": ("ok", 768, 512)}, "outputs")
    true(all(o["bytes"] > 100 for o in told["outputs"]), "bytes")
    true(told["run_us"] > 0 and told["cpu_us"] > 0 and told["rss_bytes"] > 1 << 20, "cost")
    equal(traces(s, "t.png"), before, "item, derived objects, attempts")


def test_facts(s):
    s.put_settled("f.png", PARROTS)
    code, told = invoke(s, "metadata", "s3://photos/f.png")
    equal((code, told["outcome"]), (0, "ok"), "outcome")
    equal((told["attributes"]["width"], told["attributes"]["height"]), ("768", "512"), "attributes")


def test_what_fails_says_why(s):
    s.put_settled("broken.jpg", b"\xff\xd8\xff\xe0" + b"x" * 400)
    code, told = invoke(s, "thumbnail", "s3://photos/broken.jpg")
    equal((code, told["outcome"]), (1, "failed"), "outcome")
    true(told["reason"] != "", "a reason")
    s.put_settled("words.txt", b"no picture at all")
    code, told = invoke(s, "thumbnail", "s3://photos/words.txt")
    equal((code, told["outcome"]), (0, "skipped"), "outcome")
    out = s.cli("functions", "invoke", "thumbnail", "s3://photos/words.txt")
    contains(out.stdout, "thumbnail of s3://photos/words.txt: skipped: ", "for people")


def test_new_configuration_before_it_is_used(s):
    """A trial runs what is configured now, whatever is stored."""
    s.put_settled("c.png", PARROTS)
    with open("one.json", "w") as f:
        f.write('[{"name": "tiny", "width": 32, "height": 32}]')
    equal(s.cli("presets", "set", "one.json").returncode, 0, "presets set")
    code, told = invoke(s, "thumbnail", "s3://photos/c.png")
    equal([o["name"] for o in told["outputs"]], ["tiny"], "outputs")
    true(s.thumbnail("c.png", "tiny").status != 200, "nothing is stored")
    equal(s.cli("functions", "set", "thumbnail", "--concurrency", "0").returncode, 0, "pause")
    code, told = invoke(s, "thumbnail", "s3://photos/c.png")
    equal(code, 1, "code while paused")
    contains(told, "paused", "why")
    equal(s.cli("functions", "set", "thumbnail", "--concurrency", "-1").returncode, 0, "go on")


def test_commit_is_the_ordinary_event(s):
    code, told = invoke(s, "thumbnail", "s3://photos/c.png", "--commit")
    equal(code, 0, "code")
    true(told["event_id"] > 0, "an event")
    darkroom.until(lambda: s.thumbnail("c.png", "tiny").status == 200, "the new thumbnail")
    darkroom.until(lambda: s.thumbnail("c.png", "small").status != 200, "the old one is gone")
    s.s3().create_bucket(Bucket="plain")
    s.s3().put_object(Bucket="plain", Key="p.png", Body=PARROTS)
    out = s.cli("functions", "invoke", "thumbnail", "s3://plain/p.png", "--commit")
    equal(out.returncode, 1, "code without a rule")
    contains(out.stderr, "darkroom rules add", "what to do")
    equal(invoke(s, "thumbnail", "s3://plain/p.png")[1]["outcome"], "ok", "a trial needs no rule")


def test_who_may(s):
    equal(s.request("POST", "/_/invoke", b"{}").status, 403, "unsigned")
    equal(s.signed("POST", "/_/invoke", b"[]").status, 400, "no object")
    equal(s.signed("POST", "/_/invoke", b"{}").status, 404, "of nothing")


if __name__ == "__main__":
    darkroom.run(globals())
