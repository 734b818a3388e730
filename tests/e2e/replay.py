#!/usr/bin/python3
"""Events of the log, given to the rules of today once more: what is current is made, once; what has
been overtaken, is made or waits already is not; a crash in the middle loses nothing."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, true, until

MANY = 60
FUNCTIONS = ("thumbnail", "metadata")


def sample(name):
    with open(os.path.join(darkroom.SAMPLES, name), "rb") as f:
        return f.read()


def replay(s, *words, code=0):
    """The last line, as numbers by name."""
    done = s.cli("events", "replay", "--json", *words)
    equal(done.returncode, code, "exit code of replay %s: %s" % (" ".join(words), done.stderr))
    return json.loads(done.stdout.splitlines()[-1])


def counts(line):
    return {name: line[name] for name in ("planned", "superseded", "unmatched", "waiting", "made")}


def wanted(**some):
    return dict({"planned": 0, "superseded": 0, "unmatched": 0, "waiting": 0, "made": 0}, **some)


def batch(s, number):
    return s.signed("GET", "/_/reprocess?id=%d" % number).json()


def concurrency(s, value):
    for function in FUNCTIONS:
        equal(s.cli("functions", "set", function, "--concurrency", str(value)).returncode, 0, "functions set")


def attempts(s, key, bucket):
    return len(s.explain(key, bucket)["attempts"])


def test_a_rule_that_came_later(s):
    c = s.s3()
    c.create_bucket(Bucket="late")
    c.put_object(Bucket="late", Key="a/new.jpg", Body=sample("grey.jpg"))
    c.put_object(Bucket="late", Key="a/twice.png", Body=b"no picture yet")
    c.put_object(Bucket="late", Key="a/twice.png", Body=sample("parrots.png"))
    c.put_object(Bucket="late", Key="b/gone.jpg", Body=sample("grey.jpg"))
    c.delete_object(Bucket="late", Key="b/gone.jpg")
    c.put_object(Bucket="late", Key="b/poison.jpg", Body=b"\xff\xd8\xff" + b"poison" * 100)
    nothing = replay(s, "--prefix", "s3://late/")
    equal(counts(nothing), wanted(superseded=2, unmatched=4), "without rules")
    equal(s.cli("buckets", "add", "late").returncode, 0, "buckets add")
    plan = replay(s, "--prefix", "s3://late/", "--dry-run")
    equal((counts(plan), plan["seen"]), (wanted(planned=3, superseded=2, unmatched=1), 6), "the plan")
    equal(s.explain("a/new.jpg", "late")["attempts"], [], "attempts after a plan")
    made = replay(s, "--prefix", "s3://late/", code=1)
    equal(counts(made), counts(plan), "what was done and what was planned")
    equal((made["done"], made["skipped"], made["failed"], made["state"]), (2, 0, 1, "done"), "the end")
    true(made["seconds"] >= 0, "seconds")
    for key in ("a/new.jpg", "a/twice.png"):
        equal(len(s.explain(key, "late")["derived"]), 3, "thumbnails of " + key)
    equal(s.explain("b/gone.jpg", "late")["derived"], [], "thumbnails of what is gone")


def test_twice_is_once(s):
    before = [attempts(s, key, "late") for key in ("a/new.jpg", "a/twice.png", "b/poison.jpg")]
    again = replay(s, "--prefix", "s3://late/")
    equal(counts(again), wanted(superseded=2, unmatched=1, made=3), "the second replay")
    equal([attempts(s, key, "late") for key in ("a/new.jpg", "a/twice.png", "b/poison.jpg")], before,
          "attempts")
    contains(s.cli("events", "replay", "--prefix", "s3://late/").stdout, "3 made already", "for people")


def test_what_is_lost_is_made_again(s):
    s.s3().delete_object(Bucket="late-derived", Key="a/new.jpg/small.webp")
    line = replay(s, "--since", "1h", "--prefix", "s3://late/")
    equal(counts(line), wanted(planned=1, superseded=2, unmatched=1, made=2), "the replay")
    equal(s.s3().head_object(Bucket="late-derived", Key="a/new.jpg/small.webp")["ContentType"],
          "image/webp", "the thumbnail")


def test_force_and_numbers(s):
    one = s.explain("a/new.jpg", "late")
    number = str(one["changes"][0]["seq"])
    line = replay(s, "--seq", number, "--force")
    equal((counts(line), line["done"]), (wanted(planned=1), 1), "one event")
    equal(attempts(s, "a/new.jpg", "late"), len(one["attempts"]) + 2, "attempts")
    equal(counts(replay(s, "--seq", number + "-" + number)), wanted(made=1), "without --force")
    equal(counts(replay(s, "--since", "1h", "--until", "1h")), wanted(), "an empty span")
    for words in ((), ("--seq", "x-"), ("--prefix", "late/"), ("--since", "yesterday")):
        equal(s.cli("events", "replay", *words).returncode, 2, "exit code of %r" % (words,))
    equal(s.cli("events", "replay", "--prefix", "s3://none/").returncode, 1, "exit code: no such bucket")


def test_what_fails_is_named_with_its_bucket(s):
    """A replay over all buckets; the same key twice is two objects."""
    c = s.s3()
    for bucket in ("left", "right"):
        c.create_bucket(Bucket=bucket)
        c.put_object(Bucket=bucket, Key="a/poison.jpg", Body=b"\xff\xd8\xff" + b"poison" * 100)
        equal(s.cli("buckets", "add", bucket).returncode, 0, "buckets add")
    numbers = "%d-" % s.explain("a/poison.jpg", "left")["changes"][0]["seq"]
    names = ["s3://left/a/poison.jpg", "s3://right/a/poison.jpg"]
    done = s.cli("events", "replay", "--seq", numbers)
    equal(done.returncode, 1, "exit code")
    equal([line.split()[1] for line in done.stdout.splitlines() if "failed: " in line], names, "names")
    done = s.cli("events", "replay", "--seq", numbers, "--force", "--json")
    failed = [(x["bucket"], x["key"]) for x in map(json.loads, done.stdout.splitlines()) if "reason" in x]
    equal(failed, [("left", "a/poison.jpg"), ("right", "a/poison.jpg")], "names as JSON")
    number = json.loads(done.stdout.splitlines()[-1])["id"]
    told = s.cli("batch", "show", str(number)).stdout
    contains(told, "below     events of all buckets\n", "batch show")
    equal([line.split()[1] for line in told.splitlines() if "failed: " in line], names, "names in batch show")
    contains(s.cli("batch", "list").stdout, "events of all buckets", "batch list")
    second = s.signed("GET", "/_/reprocess/failures?id=%d&after=left%%2Fa%%2Fpoison.jpg" % number).json()["failures"]
    equal([x["bucket"] for x in second], ["right"], "the next page")


def test_what_waits_is_not_doubled_and_order_is_kept(s):
    concurrency(s, 0)
    try:
        first = replay(s, "--prefix", "s3://late/", "--force", "--no-wait")["id"]
        until(lambda: batch(s, first)["state"] == "draining", "the first has fed")
        second = replay(s, "--prefix", "s3://late/", "--force", "--no-wait")["id"]
        until(lambda: batch(s, second)["state"] != "feeding", "the second has fed")
        equal((batch(s, second)["planned"], batch(s, second)["state"]), (0, "done"), "the second")
        got = s.signed("GET", "/_/replay?id=%d" % second).json()
        equal((got["superseded"], got["unmatched"], got["waiting"]), (2, 1, 3), "what it left alone")
        equal(s.waiting(), 6, "events that wait")
        newest = s.s3().put_object(Bucket="late", Key="a/new.jpg", Body=sample("parrots.png"))
    finally:
        concurrency(s, -1)
    until(lambda: batch(s, first)["state"] == "done", "the first ends")
    s.idle()
    told = s.explain("a/new.jpg", "late")
    equal(told["object"]["etag"], newest["ETag"].strip('"'), "what is current")
    equal({d["source_generation"] for d in told["derived"]}, {told["object"]["generation"]}, "thumbnails of")
    equal(told["item"]["generation"], told["object"]["generation"], "the item's generation")


def test_a_crash_in_the_middle(s):
    c = s.s3()
    c.create_bucket(Bucket="many")
    c.put_object(Bucket="many", Key="000.jpg", Body=sample("grey.jpg"))
    for i in range(1, MANY):
        c.copy_object(Bucket="many", Key="%03d.jpg" % i, CopySource="many/000.jpg")
    equal(s.cli("buckets", "add", "many").returncode, 0, "buckets add")
    number = replay(s, "--prefix", "s3://many/", "--no-wait")["id"]
    until(lambda: batch(s, number)["done"] >= 5, "some are done")
    s.kill()
    s.start()
    end = until(lambda: [b for b in [batch(s, number)] if b["state"] == "done"], "it ends after the crash")[0]
    equal((end["planned"], end["done"], end["failed"]), (MANY, MANY, 0), "planned, done, failed")
    tried = sum(attempts(s, "%03d.jpg" % i, "many") for i in range(MANY))
    true(tried <= 2 * (MANY + 8), "%d attempts for %d pictures: work was repeated" % (tried, MANY))
    names = [o["Key"] for o in s.s3().list_objects_v2(Bucket="many-derived")["Contents"]]
    equal(len(names), 3 * MANY, "thumbnails")
    equal(counts(replay(s, "--prefix", "s3://many/")), wanted(made=MANY), "a replay afterwards")


def test_a_replay_can_be_canceled(s):
    concurrency(s, 0)
    number = replay(s, "--prefix", "s3://many/", "--force", "--no-wait")["id"]
    until(lambda: batch(s, number)["planned"] == MANY, "all are queued")
    equal(s.cli("batch", "cancel", str(number)).returncode, 0, "exit code of cancel")
    equal(s.waiting(), 0, "what waits")
    until(lambda: s.signed("GET", "/_/status").json()["queue"]["batch"] == 0, "the count of what waits")
    concurrency(s, -1)
    equal(s.signed("GET", "/_/replay?id=999999999").status, 404, "status of no replay")


darkroom.run(globals())
