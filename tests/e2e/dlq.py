#!/usr/bin/python3
"""Dead letters by what they died of, whose they are and where they lie: list, show, redrive, purge,
with a worker that fails on purpose (tests/lib/badworker.c, told by each object's metadata)."""
import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
import proxy
from darkroom import contains, equal, true, until

BAD = os.path.join(darkroom.TOP, "build", "gcc", "tests", "lib", "badworker")
REAL = os.path.join(darkroom.PROGRAMS, "darkroom-worker")
MANY = 1200  # more than two steps of the server

# Key, what the worker does with it, the class that its letters get. Each object gives two letters,
# one per function.
DEATHS = (
    ("a/exits.jpg", "exits", "crashed"),
    ("a/closes.jpg", "closes", "crashed"),
    ("b/lies.jpg", "length-lies", "bad answer"),
    ("b/loops.jpg", "loop", "timeout"),
)


def link(to):
    """Turns the link that the server calls its worker by."""
    path = os.path.join(os.getcwd(), "badworker")
    os.symlink(to, path + ".new")
    os.rename(path + ".new", path)
    return path


def dlq(s, *words, code=0):
    done = s.cli("dlq", "--json", *words)
    equal(done.returncode, code, "exit code of dlq %s: %s" % (" ".join(words), done.stderr))
    return [json.loads(line) for line in done.stdout.splitlines()]


def letters(s, *flags):
    """As (key, function), sorted."""
    return sorted((d["key"], d["function"]) for d in dlq(s, "list", *flags))


def both(*keys):
    return sorted((key, function) for key in keys for function in ("metadata", "thumbnail"))


def kill_some(s):
    c = s.s3()
    for key, kind, _ in DEATHS:
        c.put_object(Bucket="photos", Key=key, Body=b"never read", Metadata={"bad": kind})
    until(lambda: s.signed("GET", "/_/status").json()["queue"]["dead"] == 2 * len(DEATHS), "the letters")


def test_list_tells_what_each_died_of(s):
    for function in ("thumbnail", "metadata"):
        equal(s.cli("functions", "set", function, "--retries", "0", "--timeout", "1").returncode, 0,
              "functions set")
    kill_some(s)
    got = {d["key"]: d["class"] for d in dlq(s, "list")}
    equal(got, {key: dead_of for key, _, dead_of in DEATHS}, "classes")
    text = s.cli("dlq", "list").stdout
    contains(text, "the colour table is on fire", "the list")
    contains(text, "bad answer", "the list")


def test_filters(s):
    everything = both(*(key for key, _, _ in DEATHS))
    equal(letters(s), everything, "without a filter")
    equal(letters(s, "--reason", "crashed"), both("a/exits.jpg", "a/closes.jpg"), "crashed")
    equal(letters(s, "--reason", "bad-answer"), both("b/lies.jpg"), "bad answer")
    equal(letters(s, "--reason", "too-old"), [], "too old")
    equal(letters(s, "--prefix", "s3://photos/b/"), both("b/lies.jpg", "b/loops.jpg"), "below b/")
    equal(letters(s, "--prefix", "s3://photos"), everything, "of the bucket")
    equal(letters(s, "--prefix", "s3://other/"), [], "of another bucket")
    equal(letters(s, "--function", "metadata", "--reason", "timeout"), [("b/loops.jpg", "metadata")],
          "of metadata, timeout")
    equal(letters(s, "--older-than", "1h"), [], "older than an hour")
    until(lambda: letters(s, "--older-than", "1s") == everything, "all are older than a second")
    for words, message in ((("--prefix", "photos/"), "s3://BUCKET"), (("--reason", "bad luck"), "too-old")):
        done = s.cli("dlq", "list", *words)
        equal(done.returncode, 2, "exit code of " + words[0])
        contains(done.stderr, message, "the complaint")
    equal(s.signed("GET", "/_/dlq?reason=nonsense").status, 400, "status of an unknown reason")


def test_show_has_the_worker_s_last_words(s):
    one = [d for d in dlq(s, "list") if (d["key"], d["function"]) == ("a/exits.jpg", "thumbnail")][0]
    told = dlq(s, "show", str(one["id"]))[0]
    equal([(t["outcome"], t["stderr"].strip()) for t in told["tries"]],
          [("crashed", "first words\nthe colour table is on fire")], "attempts")
    contains(s.cli("dlq", "show", str(one["id"])).stdout, "stderr | the colour table is on fire", "show")
    explained = s.cli("explain", "s3://photos/a/exits.jpg").stdout
    contains(explained, "stderr | the colour table is on fire", "explain")
    contains(explained, "dead letter", "explain")
    equal(s.cli("dlq", "show", "999999999").returncode, 1, "exit code for no such letter")


def test_the_words_of_an_attempt_are_its_own(s):
    """One worker: it writes a lot for one object, then dies without a word over another."""
    t = darkroom.Server(data=os.path.join(os.getcwd(), "own"), config={
        "workers": {"program": link(BAD), "count": 1}, "queue": {"retry_base_ms": 20}}).start()
    try:
        c = t.s3()
        for key, kind in (("noise.jpg", "noise"), ("aborts.jpg", "aborts")):
            c.put_object(Bucket="photos", Key=key, Body=b"never read", Metadata={"bad": kind})
            until(lambda: t.explain(key)["attempts"], "an attempt at " + key)
        noisy, silent = (t.explain(key)["attempts"][-1] for key in ("noise.jpg", "aborts.jpg"))
        equal(noisy["outcome"], "ready", "the noisy one")
        true(0 < len(noisy["stderr"]) <= 2048, "%d bytes of noise are kept" % len(noisy["stderr"]))
        equal((silent["outcome"], silent.get("stderr", "")), ("crashed", ""), "the silent one")
        equal(silent["pid"], noisy["pid"], "the worker")
    finally:
        t.kill()


def test_dry_run_changes_nothing(s):
    before = letters(s)
    equal(dlq(s, "purge", "--reason", "crashed", "--dry-run"), [{"purged": 4, "dry_run": True}], "purge")
    equal(dlq(s, "redrive", "--all", "--dry-run"), [{"redriven": len(before), "dry_run": True}], "redrive")
    equal(letters(s), before, "letters afterwards")


def test_purge_takes_what_matches_alone(s):
    equal(dlq(s, "purge", "--reason", "timeout", "--function", "metadata"), [{"purged": 1}], "purged")
    left = [pair for pair in both(*(key for key, _, _ in DEATHS)) if pair != ("b/loops.jpg", "metadata")]
    equal(letters(s), left, "what is left")
    for words in ((), ("--all", "--reason", "crashed"), ("17", "--all"), ("17", "--dry-run")):
        equal(s.cli("dlq", "purge", *words).returncode, 2, "exit code of purge " + " ".join(words))
    equal(letters(s), left, "what is left after refusals")


def test_changes_end_where_they_are_told_to(s):
    """By age, by id, and the command's own end: the newest letter at its beginning."""
    before, ids = letters(s), [d["id"] for d in dlq(s, "list")]
    for verb, done in (("purge", "purged"), ("redrive", "redriven")):
        equal(dlq(s, verb, "--older-than", "1h"), [{done: 0}], verb + " of what is older than an hour")
        asked = []
        with proxy.Proxy(s, lambda request, *_: asked.append((request.command, request.path))) as p:
            words = ["dlq", "--json", verb, "--prefix", "s3://other/", "--endpoint-url", p.url]
            equal(s.cli(*words).returncode, 0, "exit code of %s" % verb)
        changes = [path for method, path in asked if method != "GET"]
        equal(["until=%d" % max(ids) in path for path in changes], [True], "the end is named in %r" % changes)
    equal(letters(s), before, "letters afterwards")
    reply = s.signed("DELETE", "/_/dlq?until=%d" % (min(ids) - 1))
    equal((reply.status, reply.json()["count"]), (200, 0), "purge of what is older than all")
    reply = s.signed("POST", "/_/dlq?action=redrive&until=%d" % (min(ids) - 1))
    equal((reply.status, reply.json()["count"]), (200, 0), "redrive of what is older than all")
    equal(letters(s), before, "letters afterwards")


def test_redrive_of_poison_ends(s):
    """They die again, with new ids, and the command does not chase them."""
    before = [d["id"] for d in dlq(s, "list", "--reason", "crashed")]
    equal(dlq(s, "redrive", "--reason", "crashed"), [{"redriven": 4}], "redriven")
    s.idle()
    again = [d["id"] for d in dlq(s, "list", "--reason", "crashed")]
    equal(len(again), 4, "letters again")
    true(min(again) > max(before), "ids that were used before: %r" % again)


def test_redrive_when_the_cause_is_gone(s):
    link(REAL)
    s.restart()
    equal(dlq(s, "redrive", "--prefix", "s3://photos/a/"), [{"redriven": 4}], "redriven")
    s.idle()
    equal(letters(s, "--prefix", "s3://photos/a/"), [], "letters")
    contains(s.explain("a/exits.jpg")["item"]["metadata_state"], "skipped", "the verdict")
    equal([a["outcome"] for a in s.explain("a/exits.jpg")["attempts"]][:2], ["skipped"] * 2, "attempts")


def test_many_are_changed_in_steps(s):
    equal(s.stop(), 0, "exit code")
    db = sqlite3.connect(os.path.join(s.data, "darkroom.db"))
    columns = [row[1] for row in db.execute("PRAGMA table_info(dead_letter)")]
    row = dict(zip(columns, db.execute("SELECT * FROM dead_letter LIMIT 1").fetchone()))
    for i in range(MANY):
        row.update({"id": 10 ** 9 + i, "key": b"many/%04d" % i, "class": "memory" if i % 3 else "error"})
        db.execute("INSERT INTO dead_letter (%s) VALUES (%s)" % (
            ", ".join(columns), ", ".join("?" * len(columns))), [row[c] for c in columns])
    db.commit()
    db.close()
    s.start()  # counts them anew
    rest = letters(s, "--prefix", "s3://photos/b/")
    equal(len(letters(s, "--reason", "memory")), MANY * 2 // 3, "listed")
    equal(dlq(s, "purge", "--reason", "memory"), [{"purged": MANY * 2 // 3}], "purged")
    equal(dlq(s, "purge", "--prefix", "s3://photos/many/"), [{"purged": MANY // 3}], "the others")
    equal(letters(s), rest, "what is left")
    until(lambda: s.signed("GET", "/_/status").json()["queue"]["dead"] == len(rest), "the count")


if not os.path.exists(BAD):
    print("skip dlq.py: tests/lib/badworker is not built (make unit-programs)")
    sys.exit(0)
darkroom.run(globals(), config={"workers": {"program": link(BAD), "count": 2},
                                "queue": {"retry_base_ms": 20}})
