#!/usr/bin/python3
"""Live uploads while low-lane events wait: as if these were not there.

A backlog is made of real uploads: taken by a server that has no worker, and moved to the batch lane
while it is stopped. Then photos are put one by one, and their thumbnails asked for until they are
there. Of the events that waited before them only those may be done meanwhile that run beside them or
were loaded already: in the short form as the table of attempts has it, of uploads that came while the
one worker was held at an event of the backlog, so that it does not matter how fast anybody is.

The run is void unless it catches a server that queues live uploads behind the backlog.

    BACKLOG_EVENTS=N  so many wait; with it the time to ready is judged against that of an empty queue
                      (`make soak-overload`)
"""
import contextlib
import http.client
import os
import sqlite3
import time

import loadlib
from loadlib import crashlib, darkroom

SOAK = "BACKLOG_EVENTS" in os.environ
EVENTS = int(os.environ.get("BACKLOG_EVENTS", "400"))
UPLOADS = 40 if SOAK else 4
READY_TIMES_MAX = 1.5
# A photo, whose time is judged, and a small picture.
LIVE = ("landscape-turned.jpg", "grey.jpg") if SOAK else ("grey.jpg",)
PUT_RATE = 1500
# Batch events that may end while one live upload is done: those that run or are loaded already; of
# a photo also those that the other workers do meanwhile.
WORKERS = 0 if SOAK else 1
PASSED_MAX = EVENTS // 8 if SOAK else 30
LANE_BATCH = 2


def start(s, worker):
    s.settings["workers"].update(program=worker, count=WORKERS)
    with open(s.config_path, "w") as f:
        crashlib.json.dump(s.settings, f)
    return s.start()


def to_batch_lane(s):
    """Of a stopped server's queue. How many."""
    with contextlib.closing(sqlite3.connect(os.path.join(s.data, "darkroom.db"))) as db, db:
        moved = db.execute("UPDATE event SET lane = ? WHERE lane = 0", (LANE_BATCH,)).rowcount
        db.execute("UPDATE queue_count SET batch = batch + ?, live = live - ? WHERE id = 1", (moved, moved))
        return db.execute("SELECT count(*) FROM event WHERE lane = ?", (LANE_BATCH,)).fetchone()[0]


def concurrency(s, n):
    with contextlib.closing(crashlib.Client(s)) as c:
        for name in ("thumbnail", "metadata"):
            c.must("PUT", "/_/functions", {"name": name}, b'{"reserved_concurrency": %d}' % n)


def fill(s, worker):
    """The backlog; the load that made it."""
    darkroom.equal(s.stop(), 0, "exit code after SIGTERM")
    start(s, os.path.join(darkroom.TOP, "no-such-worker"))
    rate = min(PUT_RATE, EVENTS // 2)
    load = loadlib.Load(s, "/photos/old-", rate, max(1, -(-EVENTS // 2 // rate)), loadlib.pictures(8))
    with loadlib.loads(load):
        result = load.result()
    darkroom.equal(result["ok"], result["sent"], "uploads of the backlog answered 200")
    if not SOAK:
        concurrency(s, 0)
    darkroom.equal(s.stop(), 0, "exit code after SIGTERM")
    darkroom.equal(to_batch_lane(s), 2 * result["ok"], "events that wait")
    darkroom.true(result["ok"] > EVENTS // 4, "too few events wait")
    start(s, worker)
    darkroom.until(lambda: s.metric("workers_ready") > 0, "a worker")
    return load


def upload(s, name, key):
    """Milliseconds from the answer of the PUT until all thumbnails can be read."""
    with contextlib.closing(crashlib.Client(s)) as c:
        c.must("PUT", "/photos/" + key, body=darkroom.sample(name))
    answered = time.perf_counter()
    thumbnail_of(s, key)
    return (time.perf_counter() - answered) * 1000


def thumbnail_of(s, key):
    """Asks for it until it is there."""
    deadline = time.perf_counter() + loadlib.SETTLE_SECONDS
    viewer = http.client.HTTPConnection(s.host, s.port, timeout=darkroom.ANSWER_SECONDS)
    with contextlib.closing(viewer):
        while True:
            viewer.request("GET", "/%s/%s/large.webp" % (crashlib.DERIVED, key))
            reply = viewer.getresponse()
            reply.read()
            if reply.status == 200:
                return
            darkroom.true(time.perf_counter() < deadline, "no thumbnail of " + key)


def uploads(s, what, passed=None):
    """Sorted times of each kind of picture. `passed` gets the events of the backlog that ended during
    each."""
    took = {name: [] for name in LIVE}
    for i in range(UPLOADS):
        for name in LIVE:
            waiting = s.metric(loadlib.BATCH)
            took[name].append(upload(s, name, "%s-%d-%s" % (what, i, name)))
            if passed is None:
                s.idle()
            else:
                passed.append(waiting - s.metric(loadlib.BATCH))
    return {name: sorted(times) for name, times in took.items()}


def uploads_while_held(s):
    """The same, all of them behind one event of the backlog that runs."""
    took, names = {name: [] for name in LIVE}, []
    with s.held():
        concurrency(s, -1)
        darkroom.until(s.runs, "an event of the backlog that runs")
        waiting = s.waiting()
        with contextlib.closing(crashlib.Client(s)) as c:
            for name in LIVE * UPLOADS:
                names.append((name, "live-%d" % len(names)))
                c.must("PUT", "/photos/" + names[-1][1], body=darkroom.sample(name))
    begun = time.perf_counter()
    for name, key in names:
        thumbnail_of(s, key)
        took[name].append((time.perf_counter() - begun) * 1000)
    return {name: sorted(times) for name, times in took.items()}, waiting, [
        overtaken_by(s, key) for _, key in names]


def overtaken_by(s, key):
    """Attempts at events of the backlog that began when the key's waited already, and before its own."""
    live = "SELECT %s FROM attempt WHERE key = CAST(?1 AS BLOB)"
    with contextlib.closing(sqlite3.connect("file:%s/darkroom.db?mode=ro" % s.data, uri=True)) as db:
        return db.execute("SELECT count(*) FROM attempt WHERE key >= CAST('old-' AS BLOB) AND"
                          " key < CAST('old.' AS BLOB) AND started_ms >= (" + live % "min(queued_ms)" +
                          ") AND started_ms < (" + live % "min(started_ms)" + ")", (key,)).fetchone()[0]


class Backlog:
    def __init__(self, program=None):
        self.worker = os.path.join(darkroom.PROGRAMS, "darkroom-worker")
        self.s = loadlib.server({"queue": {"events_max": 2 * EVENTS}}, program)
        start(self.s, self.worker)

    def live_first(self):
        s, passed = self.s, []
        if SOAK:
            uploads(s, "warm")
        self.idle = uploads(s, "idle")
        self.load = fill(s, self.worker)
        if SOAK:  # the workers are new
            uploads(s, "again", [])
        if SOAK:
            self.busy = uploads(s, "live", passed)
            self.left = s.metric(loadlib.BATCH)
        else:
            self.busy, self.left, passed = uploads_while_held(s)
        self.passed = max(passed)
        darkroom.true(self.passed <= PASSED_MAX, "%d events that waited were done before a live one" %
                      self.passed)
        darkroom.true(self.left > (0 if SOAK else PASSED_MAX), "the backlog was done before the uploads")

    def figures(self):
        for name in LIVE:
            idle, busy = self.idle[name], self.busy[name]
            middle = len(idle) // 2
            loadlib.figure("live before backlog: %s ready in %.1f ms (p90 %.1f), with %d batch events "
                           "waiting %.1f ms (p90 %.1f): %.2f times; at most %d of them done during one",
                           name, idle[middle], idle[len(idle) * 9 // 10], self.left, busy[middle],
                           busy[len(busy) * 9 // 10], busy[middle] / idle[middle], self.passed)

    def as_fast(self):
        idle, busy = (times[LIVE[0]][UPLOADS // 2] for times in (self.idle, self.busy))
        darkroom.true(busy <= READY_TIMES_MAX * idle, "%.1f ms with a backlog, %.1f ms without" %
                      (busy, idle))

    def done(self):
        self.s.idle(loadlib.SETTLE_SECONDS)
        loadlib.processed(self.s, loadlib.kept(self.s, crashlib.PHOTOS, self.load))
        darkroom.equal(self.s.metric("lost_events_total"), 0, "lost_events_total")

    def end(self):
        self.s.kill()
        crashlib.shutil.rmtree(self.s.data)


def planted(program):
    b = Backlog(program)
    try:
        b.live_first()
    finally:
        b.end()


def main():
    crashlib.set_up()
    loadlib.openload()
    if not SOAK:
        darkroom.report("a backlog catches planted no_lanes",
                        lambda: loadlib.catches("no_lanes", planted, "done before a live one"))
    b = Backlog()
    try:
        if not darkroom.report("live uploads go before %d events that waited" % EVENTS, b.live_first):
            print(b.s.log_tail(15))
            return
        if SOAK:
            darkroom.report("live uploads are ready as fast as ever", b.as_fast)
        else:
            darkroom.report("the backlog is done afterwards", b.done)
        b.figures()
    finally:
        b.end()


main()
