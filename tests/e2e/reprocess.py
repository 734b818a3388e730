#!/usr/bin/python3
"""The owner of old pictures and a changed preset: what is planned is done, once, whatever happens,
and nobody who looks sees a gap."""
import hashlib
import json
import os
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, true, until

MANY = 40
KILLED = int(os.environ.get("OBJECTS", "200"))
RATE = 20
RATED = 40
BROKEN = 25
WORKERS = 2
# Tasks that one server has at most: those that run, and those whose results are on their way to the
# disk (TASKS_PER_WORKER_MAX of pipeline/dispatch_priv.h, for the workers and one more).
TASKS_MAX = 6 * (WORKERS + 1)


def presets(s, *sizes):
    """Presets "a", "b" ... of these widths; a name may be given with its format."""
    made = [dict({"name": "abc"[i], "height": 100, "fit": "inside", "format": "webp"},
                 **(size if isinstance(size, dict) else {"width": size}))
            for i, size in enumerate(sizes)]
    reply = s.signed("PUT", "/_/functions?name=thumbnail",
                     json.dumps({"environment": {"PRESETS": json.dumps(made)}}).encode())
    equal(reply.status, 200, "presets")


def fill(s, prefix, count, body=None):
    def put(first):
        for n in range(first, count, 8):
            data = body or darkroom.plain_png(40, 30, (n % 256, n // 256, 7))
            equal(s.signed("PUT", "/photos/%s%04d.png" % (prefix, n), data).status, 200, "PUT")
    darkroom.at_once(8, put)
    s.idle()


def lines(done, code=0):
    equal(done.returncode, code, "exit code (%s)" % done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def reprocess(s, target, *options, code=0):
    """The last line of --json."""
    return lines(s.cli("reprocess", "--json", "s3://photos/" + target, *options, timeout=600), code)[-1]


def plan(s, target, *options):
    return lines(s.cli("reprocess", "--json", "--dry-run", "s3://photos/" + target, *options))[0]["plan"]


def batch(s, number):
    return lines(s.cli("batch", "show", str(number), "--json"))[-1]


def counts(result):
    return {k: result[k] for k in ("planned", "done", "skipped", "failed")}


def all_of(n):
    return {"planned": n, "done": n, "skipped": 0, "failed": 0}


def derived(s, prefix):
    pages = s.s3().get_paginator("list_objects_v2").paginate(Bucket="photos-derived", Prefix=prefix)
    return {o["Key"]: o["ETag"] for page in pages for o in page.get("Contents", [])}


def test_the_plan_is_what_is_done_and_once_is_enough(s):
    presets(s, 30)
    fill(s, "once/", 20)
    equal(plan(s, "once/")["planned"], 0, "planned of what is current")
    presets(s, 31)
    events, batches, before = s.metric("events_total"), s.cli("batch", "list").stdout, derived(s, "once/")
    told = plan(s, "once/")
    equal((told["seen"], told["stale"], told["planned"]), (20, 20, 20), "seen, stale, planned")
    true(told["estimated_seconds"] is not None, "an estimate, after 20 pictures")
    equal(s.metric("events_total"), events, "events of a dry run")
    equal(s.cli("batch", "list").stdout, batches, "batches after a dry run")
    equal(derived(s, "once/"), before, "what there is after a dry run")
    equal(counts(reprocess(s, "once/")), all_of(20), "the run")
    true(all(derived(s, "once/")[k] != before[k] for k in before), "not all were made anew")
    s.idle()  # counts are some 100 ms behind
    added = s.metric("events_total")
    equal(counts(reprocess(s, "once/")), all_of(0), "the second run")
    equal(s.metric("events_total"), added, "events of the second run")


def test_selections(s):
    presets(s, 30, {"width": 20, "format": ["webp", "png"]})
    fill(s, "some/", 6)
    fill(s, "some/text", 2, b"no picture")
    for key in ("some/0000.png/a.webp", "some/0001.png/a.webp", "some/0001.png/b.webp", "some/0002.png/b.png"):
        equal(s.signed("DELETE", "/photos-derived/" + key).status, 204, "DELETE " + key)
    told = plan(s, "some/")
    equal((told["missing"], told["current"], told["skipped"], told["planned"]), (3, 3, 2, 3), "the plan")
    equal(plan(s, "some/", "--stale")["planned"], 0, "planned of --stale")
    equal(plan(s, "some/", "--all")["planned"], 8, "planned of --all")
    equal(plan(s, "some/", "--preset", "a")["planned"], 2, "planned of --preset a")
    equal(plan(s, "some/", "--preset", "b")["planned"], 2, "planned of --preset b")
    equal(plan(s, "some/", "--preset", "b.png")["planned"], 1, "planned of --preset b.png")
    equal(plan(s, "some/", "--function", "metadata")["planned"], 0, "planned of the facts")
    equal(plan(s, "some/", "--function", "metadata", "--all")["planned"], 8, "all facts")
    equal(plan(s, "some/", "--all", "--since", "2100-01-01")["planned"], 0, "of the future")
    equal(plan(s, "some/", "--all", "--since", "1h")["planned"], 8, "of the last hour")
    # A later format alone: the first pass does not run.
    ran = s.metric("invocations_total")
    equal(counts(reprocess(s, "some/", "--preset", "b.png")), all_of(1), "a later format")
    equal(s.metric("invocations_total") - ran, 1, "invocations")
    true("some/0002.png/b.png" in derived(s, "some/"), "it is back")
    equal(s.item("some/0002.png")["ready"], True, "ready")
    equal(counts(reprocess(s, "some/")), all_of(2), "the rest")
    s.idle()
    equal(plan(s, "some/")["planned"], 0, "planned afterwards")


class Readers:
    """Read thumbnails again and again: each answer is whole, none is missing."""

    def __init__(self, s, etags):
        self.s, self.etags, self.stop, self.reads, self.wrong = s, etags, threading.Event(), 0, []
        self.threads = [threading.Thread(target=self.read, args=(keys,))
                        for keys in (sorted(etags), sorted(etags, reverse=True))]
        for t in self.threads:
            t.start()

    def read(self, keys):
        c = self.s.connection()
        while not self.stop.is_set():
            for key in keys:
                c.request("GET", "/photos-derived/" + key)
                reply = c.getresponse()
                body = reply.read()
                self.reads += 1
                if reply.status != 200 or '"%s"' % hashlib.md5(body).hexdigest() != self.etags[key]:
                    self.wrong.append((key, reply.status, len(body)))
        c.close()

    def more(self):
        """Waits until all have been read since now."""
        enough = self.reads + 2 * len(self.etags) + 2
        until(lambda: self.reads >= enough or self.wrong, "reads")

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()
        equal(self.wrong, [], "wrong answers of %d" % self.reads)


def test_a_forced_rerun_makes_the_same_bytes_and_no_gap(s):
    presets(s, 30, {"width": 20, "format": ["webp", "jpeg"]})
    fill(s, "same/", MANY)
    before = derived(s, "same/")
    equal(len(before), 3 * MANY, "derived objects")
    readers = Readers(s, before)
    try:
        acked = s.metric("events_acked_total")
        readers.more()
        equal(counts(reprocess(s, "same/", "--all")), all_of(MANY), "the run")
        s.idle()
        readers.more()
        until(lambda: s.metric("events_acked_total") - acked >= 3 * MANY, "all made anew")
    finally:
        readers.end()
    equal(derived(s, "same/"), before, "ETags")


def test_what_failed_is_named(s):
    presets(s, 30)
    fill(s, "bad/", BROKEN, darkroom.plain_png(40, 30, (1, 2, 3))[:40])
    told = plan(s, "bad/")
    equal((told["failed"], told["planned"]), (BROKEN, 0), "failed, planned")
    done = s.cli("reprocess", "s3://photos/bad/", "--failed")
    equal(done.returncode, 1, "exit code")
    equal(done.stdout.count("failed: s3://photos/bad/"), 20, "names")
    contains(done.stdout, "... and %d more: darkroom batch show" % (BROKEN - 20), "output")
    number = done.stdout.rsplit("darkroom batch show ")[1].split()[0]
    equal(s.cli("batch", "show", number).stdout.count("failed: s3://photos/bad/"), BROKEN, "all names")
    equal(reprocess(s, "bad/", "--failed", code=1)["failed"], BROKEN, "failed again")


def test_pause_resume_cancel(s):
    presets(s, 30)
    fill(s, "held/", MANY)
    number = reprocess(s, "held/", "--all", "--no-wait", "--rate", "1/s")["id"]
    until(lambda: batch(s, number)["done"] > 0, "the first")
    equal(s.cli("batch", "pause", str(number)).returncode, 0, "pause")
    s.idle()
    held = batch(s, number)
    equal(held["state"], "paused", "state")
    true(held["done"] == held["planned"] < MANY, "it went on: %s" % held)
    equal(s.cli("batch", "pause", str(number)).returncode, 1, "a second pause")
    equal(batch(s, number)["planned"], held["planned"], "planned while paused")
    equal(s.cli("batch", "resume", str(number)).returncode, 0, "resume")
    until(lambda: batch(s, number)["done"] > held["done"], "more")
    equal(s.cli("batch", "cancel", str(number)).returncode, 0, "cancel")
    s.idle()
    ended = batch(s, number)
    equal(ended["state"], "canceled", "state")
    true(ended["done"] < MANY, "all were done")
    equal(s.cli("reprocess", "--attach", str(number)).returncode, 1, "exit code for a canceled one")
    equal(s.cli("batch", "resume", str(number)).returncode, 1, "resume of a canceled one")
    contains(s.cli("batch", "list").stdout, "canceled", "the list")


def test_a_rate_is_kept_over_a_restart(s):
    """No promise is measured that a slow machine could break: only that it is never faster."""
    presets(s, 30)
    fill(s, "rate/", RATED)
    number = reprocess(s, "rate/", "--all", "--no-wait", "--rate", "%d/s" % RATE)["id"]
    began = batch(s, number)["created_ms"] / 1000
    restarted = False
    while True:
        now = batch(s, number)
        most = 1 + RATE * (time.time() - began)
        true(now["planned"] <= most, "%d planned after %.2f s" % (now["planned"], time.time() - began))
        if now["state"] == "done":
            break
        if now["done"] > 5 and not restarted:
            restarted = True
            s.kill()
            s.start()
    equal(counts(now), all_of(RATED), "the batch")
    equal(now["rate"], RATE, "rate")
    true(now["finished_ms"] - now["created_ms"] >= (RATED - 2) * 1000 // RATE, "too fast")


def begun(s, prefix):
    """Invocations ever begun for objects below a prefix, also those that a kill has ended."""
    return sum(" invoke " in line and ' key="' + prefix in line for line in s.log().splitlines())


def test_kill_9_redoes_next_to_nothing(s):
    """What ran at a kill, or was about to be committed, is done again, and nothing else."""
    presets(s, 30)
    fill(s, "kill/", KILLED)
    since, ran = time.time() * 1000, begun(s, "kill/")
    number = reprocess(s, "kill/", "--all", "--no-wait")["id"]
    for part in (1, 2, 3):
        until(lambda: batch(s, number)["done"] >= part * KILLED // 5, "part %d" % part)
        s.kill()
        s.start()
    until(lambda: batch(s, number)["state"] == "done", "the batch")
    equal(counts(batch(s, number)), all_of(KILLED), "the batch")
    redone = begun(s, "kill/") - ran - KILLED
    print("# %d of %d objects were begun again after 3 kills" % (redone, KILLED))
    true(0 <= redone <= 3 * TASKS_MAX, "%d invocations too many for %d objects" % (redone, KILLED))
    s.stop()
    with sqlite3.connect(database(s)) as db:
        again = db.execute("SELECT key, COUNT(*) FROM attempt WHERE function = 'thumbnail' AND "
                           "started_ms >= ? GROUP BY key HAVING COUNT(*) > 1", (since,)).fetchall()
    s.start()
    equal(again, [], "objects whose results came twice")


def database(s):
    return next(os.path.join(s.data, name) for name in sorted(os.listdir(s.data)) if name.endswith(".db"))


def test_wrong_words(s):
    refused = [((), 2), (("s3://photos/", "--attach", "1"), 2), (("s3://photos/", "--rate", "fast"), 2),
               (("s3://photos/", "--since", "soon"), 2), (("s3://photos/", "--wait", "--no-wait"), 2),
               (("s3://photos/", "--preset", "huge"), 1), (("s3://photos/", "--function", "none"), 1),
               (("s3://nowhere/",), 1), (("s3://photos-derived/",), 1)]
    for options, code in refused:
        done = s.cli("reprocess", *options)
        equal(done.returncode, code, "exit code of %s" % (options,))
        true(done.stderr and not done.stdout, "output of %s" % (options,))
    equal(s.cli("batch", "show", "999999").returncode, 1, "a batch that is not there")
    equal(s.cli("batch", "show", "none").returncode, 2, "no number")
    body = json.dumps({"bucket": "photos", "select": "everything"}).encode()
    equal(s.signed("POST", "/_/reprocess", body).status, 400, "an unknown selection")
    equal(s.signed("GET", "/_/reprocess/plan?bucket=photos&select=x").status, 400, "of a plan")
    equal(s.cli("--endpoint-url", "http://127.0.0.1:9", "reprocess", "s3://photos/").returncode, 3,
          "exit code without a server")


darkroom.run(globals(), config={"workers": {"count": WORKERS}, "log": {"level": "debug"}})
