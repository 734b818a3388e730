#!/usr/bin/python3
# Runs alone: it measures how soon the server answers.
"""Workers that misbehave on purpose, do not start, or are held while the server stops: the server
lives, each failed attempt is told with its reason, everybody else's pictures are made.

The worker program is tests/lib/badworker.c: what it does with an object is in the object's metadata
("bad"), how it starts is in the name it is called by, a link that a test may turn to another program.
"""
import os
import signal
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, true, until

BAD = os.path.join(darkroom.TOP, "build", "gcc", "tests", "lib", "badworker")
REAL = os.path.join(darkroom.PROGRAMS, "darkroom-worker")
SOURCE = b"a source that the test worker never reads"

# kind, outcome of the attempt, part of its reason
KINDS = (
    ("loop", "timeout", "timeout after 1 s"),
    ("stubborn", "timeout", "timeout after 1 s"),
    ("stops", "timeout", "timeout after 1 s"),
    ("forks", "timeout", "timeout after 1 s"),
    ("memory", "memory", "memory limit:"),
    ("exits", "crashed", "worker ended with status 3: \"the colour table is on fire\""),
    ("aborts", "crashed", "worker ended by signal 6"),
    ("closes", "crashed", "worker closed its connection"),
    ("leaves-children", "crashed", "worker ended with status 4"),
    ("leaves-a-writer", "crashed", "worker ended with status 5"),
    ("other-id", "bad answer", "malformed result"),
    ("hello-again", "bad answer", "out of turn"),
    ("admit-huge", "bad answer", "asked for memory out of turn"),
    ("length-lies", "bad answer", "malformed result"),
    ("bytes-lie", "bad answer", "malformed result"),
    ("part", "bad answer", "malformed packet"),
    ("giant", "bad answer", "malformed packet"),
    ("many-outputs", "bad answer", "malformed result"),
    ("fd-pipe", "bad answer", "malformed result"),
    ("fd-unsealed", "bad answer", "malformed result"),
    ("fd-flood", "bad answer", "malformed packet"),
)


def link(name, to):
    """Turns (or makes) the link that a server calls its worker by."""
    path = os.path.join(os.getcwd(), name)
    os.symlink(to, path + ".new")
    os.rename(path + ".new", path)
    return path


def server(name, program, **config):
    workers = dict({"program": program, "count": 1}, **config.pop("workers", {}))
    config = dict({"workers": workers, "queue": {"retry_base_ms": 20}}, **config)
    return darkroom.Server(config=config, data=os.path.join(os.getcwd(), name))


def set_functions(s, *args):
    for function in ("thumbnail", "metadata"):
        done = s.cli("functions", "set", function, *args)
        equal(done.returncode, 0, "functions set: " + done.stderr)


def put(s, key, kind=None):
    return s.s3().put_object(Bucket="photos", Key=key, Body=SOURCE,
                             Metadata={} if kind is None else {"bad": kind})["ETag"]


def attempts(s, key):
    """Of `thumbnail`, oldest first."""
    return [a for a in s.explain(key)["attempts"] if a["function"] == "thumbnail"][::-1]


def pool(s):
    return s.signed("GET", "/_/status").json()["pool"]


def health(s):
    return s.get("/_/health").json()


def select(s, sql):
    """What the server's database holds."""
    db = sqlite3.connect("file:%s/darkroom.db?mode=ro" % s.data, uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def descriptors(s):
    """What may come from workers: not the database's files, one set per thread that reads, and not
    connections of clients."""
    proc, count = "/proc/%d/" % s.process.pid, 0
    clients = set()
    for name in ("tcp", "tcp6"):
        with open(proc + "net/" + name) as f:
            clients |= {"socket:[%s]" % line.split()[9] for line in f.readlines()[1:]}
    for fd in os.listdir(proc + "fd"):
        try:
            to = os.readlink(proc + "fd/" + fd)
        except FileNotFoundError:
            continue
        count += not to.startswith(s.data) and to not in clients
    return count


def processes():
    """(pid, parent, state, command line)"""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                rest = f.read().rpartition(")")[2].split()
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                yield int(pid), int(rest[1]), rest[0], f.read()
        except (OSError, IndexError):
            continue


def left_behind(s, program):
    """Zombies of the server, and processes of its worker program that are no workers of it."""
    workers = {w["pid"] for w in s.workers()}
    return [p for p in processes()
            if (p[1] == s.process.pid and p[2] == "Z") or
            (p[3].startswith(program.encode() + b"\0") and p[0] not in workers)]


def ready(s, count):
    return until(lambda: pool(s)["ready"] == count, "%d workers" % count)


# ---- misbehaviour ----

def test_each_kind_costs_one_attempt(s):
    set_functions(s, "--timeout", "60", "--retries", "0", "--memory", "256")
    equal(s.settled("warm", put(s, "warm"))["ready"], True, "ready")
    ready(s, 2)
    before = descriptors(s)
    for kind, outcome, reason in KINDS:
        if outcome == "timeout":  # the others may take their time
            set_functions(s, "--timeout", "1")
        item = s.settled(kind, put(s, kind, kind))
        contains(item["state"]["small"], "failed: ", kind)
        contains(item["state"]["small"], reason, kind)
        contains(item["metadata_state"], reason, kind)
        told = attempts(s, kind)
        equal([a["outcome"] for a in told], [outcome], "outcomes of " + kind)
        contains(told[0]["reason"], reason, kind)
        if outcome == "timeout":
            true(told[0]["run_us"] >= 900000, "%s ended after %d us" % (kind, told[0]["run_us"]))
            set_functions(s, "--timeout", "60")
        equal(s.settled(kind + "-good", put(s, kind + "-good"))["ready"], True, "after " + kind)
    until(lambda: not left_behind(s, PROGRAM), "nothing left behind")
    ready(s, 2)
    until(lambda: descriptors(s) <= before, "no more than %d descriptors" % before)
    equal(s.metric("lost_events_total"), 0, "lost_events_total")


def test_an_overwrite_is_served_after_misbehaviour(s):
    put(s, "again", "giant")
    s.settled("again")
    item = s.settled("again", put(s, "again"))
    equal(item["ready"], True, "ready")
    equal(s.thumbnail("again", "small").body, b"bytes", "the thumbnail")


def test_noise_is_not_an_error(s):
    """100 MB of standard error."""
    set_functions(s, "--timeout", "60")
    equal(s.settled("noise", put(s, "noise", "noise"))["ready"], True, "ready")


def overlap(a, b):
    """Of two (start, end) in ms, by more than the clock's grain."""
    return min(a[1], b[1]) - max(a[0], b[0]) > 5


def test_poison_does_not_delay_others(s):
    """All wait before the first worker starts. While a picture waits for its first attempt, one of
    the two workers stays out of the reach of those that timed out before."""
    program = link("queue", "/nonexistent")
    t = server("poison", program, workers={"count": 2}, queue={"retry_base_ms": 1}).start()
    try:
        set_functions(t, "--timeout", "2", "--retries", "2")  # the good ones need milliseconds
        for i in range(24):
            put(t, "poison%02d" % i if i % 6 == 0 else "good%02d" % i, "loop" if i % 6 == 0 else None)
        link("queue", BAD)
        t.idle()
        rows = select(t, "SELECT CAST(key AS TEXT), outcome, started_ms, started_ms + run_us / 1000 "
                         "FROM attempt WHERE function = 'thumbnail' ORDER BY id")
        good = [r for r in rows if r[0].startswith("good")]
        equal([r[1] for r in good], ["ready"] * 20, "attempts at good ones")
        poison = [r for r in rows if r[0].startswith("poison")]
        equal([r[1] for r in poison], ["timeout"] * 12, "attempts at poisoned ones")
        last = max(r[2] for r in good)
        again = [r[2:] for i, r in enumerate(poison)
                 if r[0] in [p[0] for p in poison[:i]] and r[2] < last]
        true(not any(overlap(a, b) for i, a in enumerate(again) for b in again[:i]),
             "all workers were at second attempts while others waited: %s" % rows)
    finally:
        equal(t.stop(), 0, "exit code")


# ---- starts ----

def start_fails(name, program, problem):
    """Health and status tell the problem; what waits is done once the program is well."""
    t = server(name, program).start()
    try:
        until(lambda: problem in health(t)["workers"]["problem"], "health tells: " + problem)
        until(lambda: health(t)["status"] == "degraded", "health is degraded")
        put(t, "waits")
        contains(t.cli("status").stdout, problem, "darkroom status")
        until(lambda: t.workers()[0]["restarts"] >= 2, "restarts are counted")
        equal(attempts(t, "waits"), [], "attempts")
        link(os.path.basename(program), BAD)
        until(lambda: health(t)["status"] == "ok", "health is ok")
        until(lambda: health(t)["workers"]["problem"] == "", "no problem is told")
        equal(t.settled("waits")["ready"], True, "ready")
        equal(len(attempts(t, "waits")), 1, "attempts")
    finally:
        equal(t.stop(), 0, "exit code")


def test_a_program_that_is_missing(s):
    start_fails("missing", link("badworker-no", "/nonexistent/worker"), "no such file or directory")


def test_a_program_that_may_not_be_run(s):
    with open("plain", "w"):
        os.chmod("plain", 0o600)
    start_fails("plain-data", link("badworker-0600", os.path.abspath("plain")), "permission denied")


def test_a_program_that_lacks_a_library(s):
    start_fails("lacks", link("badworker-lacks", FAILS),
                "worker ended with status 127: \"libnothing.so.1: cannot open")


HELD = """#!/bin/sh
while [ -e held ]; do sleep 0.02; done
exec %s "$@"
"""


def test_a_worker_that_is_replaced_in_time_is_no_trouble(s):
    with open("badworker-held", "w") as f:
        f.write(HELD % BAD)
        os.chmod("badworker-held", 0o755)
    t = server("in-time", os.path.abspath("badworker-held"), workers={"recycle_invocations": 1}).start()
    try:
        until(lambda: health(t)["status"] == "ok", "health is ok")
        with open("held", "w"):
            put(t, "first")
        until(lambda: health(t)["workers"]["ready"] == 0, "the worker is replaced")
        equal((health(t)["status"], health(t)["workers"]["problem"]), ("ok", ""), "health meanwhile")
        os.unlink("held")
        until(lambda: health(t)["workers"]["ready"] == 1, "the next one is there")
    finally:
        equal(t.stop(), 0, "exit code")


def test_a_program_that_says_a_problem(s):
    t = server("says", link("badworker-problem", BAD)).start()
    try:
        until(lambda: "worker cannot work: no codec was willing" in health(t)["workers"]["problem"],
              "health tells it")
        until(lambda: health(t)["status"] == "degraded", "health is degraded")
    finally:
        equal(t.stop(), 0, "exit code")


# An older kernel: landlock_create_ruleset (444 everywhere) is ENOSYS for this process and all below.
WITHOUT_LANDLOCK = """
import ctypes, os, struct, sys
code = b"".join(struct.pack("HBBI", *i) for i in
                ((0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7fff0000)))
room = ctypes.create_string_buffer(code)
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(room)))
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, prog):
    sys.exit("no filter")
os.execv(sys.argv[1], sys.argv[1:])
"""


class OldKernel(darkroom.Server):
    def command(self):
        return [sys.executable, "-c", WITHOUT_LANDLOCK] + super().command()


def on_an_old_kernel(mode, check):
    t = OldKernel(config={"workers": {"count": 1, "sandbox": mode}},
                  data=os.path.join(os.getcwd(), "old-" + mode)).start()
    try:
        check(t)
    finally:
        equal(t.stop(), 0, "exit code")


def test_an_incomplete_sandbox_is_told(s):
    def check(t):
        equal(t.put_settled("a.jpg", darkroom.sample("grey.jpg"))["ready"], True, "ready")
        until(lambda: "landlock" in health(t)["workers"]["sandbox_missing"], "health tells it")
        until(lambda: health(t)["status"] == "ok", "health is ok all the same")
    on_an_old_kernel("auto", check)


def test_an_incomplete_sandbox_is_refused_where_it_is_required(s):
    def check(t):
        until(lambda: "the sandbox is incomplete: no landlock" in health(t)["workers"]["problem"],
              "health tells it")
        until(lambda: health(t)["status"] == "degraded", "health is degraded")
        t.s3().put_object(Bucket="photos", Key="waits.jpg", Body=darkroom.sample("grey.jpg"))
        equal(attempts(t, "waits.jpg"), [], "attempts")
    on_an_old_kernel("require", check)


# ---- the end ----

def held(name):
    """A server whose only worker is at one picture, stopped, with another picture behind it."""
    t = server(name, REAL, shutdown={"grace_ms": 600000}).start()
    equal(t.put_settled("warm.jpg", darkroom.sample("grey.jpg"))["ready"], True, "ready")
    t.idle()
    worker = t.workers()[0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    t.s3().put_object(Bucket="photos", Key="runs.jpg", Body=darkroom.sample("grey.jpg"))
    until(lambda: t.signed("GET", "/_/status").json()["running"], "it runs")
    t.s3().put_object(Bucket="photos", Key="waits.jpg", Body=darkroom.sample("grey.jpg"))
    return t, worker


def test_sigterm_lets_the_running_one_finish(s):
    t, worker = held("drain")
    true(os.getpgid(worker) != os.getpgid(t.process.pid), "a terminal's signals reach the worker")
    t.process.send_signal(signal.SIGTERM)
    os.kill(worker, signal.SIGTERM)  # as a service manager does to all
    until(lambda: " stopping " in t.log(), "it stops")
    os.kill(worker, signal.SIGCONT)
    equal(t.wait(), 0, "exit code")
    true("shutdown_kills_workers" not in t.log(), "workers were killed")
    waiting = {row[0] for row in select(t, "SELECT CAST(key AS TEXT) FROM event")}
    equal(waiting, {"waits.jpg"}, "what waits for the next start")
    t.start()
    try:
        item = t.item("runs.jpg")
        equal(item["ready"], True, "runs.jpg after the restart")
        equal([(a["outcome"], a["pid"]) for a in attempts(t, "runs.jpg")], [("ready", worker)],
              "its attempts")
        equal(t.settled("waits.jpg")["ready"], True, "waits.jpg")
        equal(t.metric("lost_events_total"), 0, "lost_events_total")
    finally:
        equal(t.stop(), 0, "exit code")


def test_a_second_sigterm_stops_at_once(s):
    t, worker = held("hurry")
    t.process.send_signal(signal.SIGTERM)
    until(lambda: " stopping " in t.log(), "it stops")
    equal(t.process.poll(), None, "exit code while it waits")
    t.process.send_signal(signal.SIGTERM)
    equal(t.wait(), 0, "exit code")  # the harness waits for less than the grace
    true(not os.path.exists("/proc/%d" % worker), "the worker lives")
    t.start()
    try:
        for key in ("runs.jpg", "waits.jpg"):
            equal(t.settled(key)["ready"], True, key)
            equal(attempts(t, key)[-1]["outcome"], "ready", key)
        events = t.signed("GET", "/_/status").json()["events"]
        equal((events["retried"], events["dead"]), (0, 0), "attempts that it cost")
    finally:
        equal(t.stop(), 0, "exit code")


def test_a_second_sigterm_cuts_requests_too(s):
    """It is told once, while an upload is waited for, and holds for the invocation that runs as well."""
    t, worker = held("cuts")
    headers = t.signed_headers("PUT", "/photos/half.jpg", headers={"Expect": "100-continue"}, payload="UNSIGNED-PAYLOAD")
    head = "".join("%s: %s\r\n" % field for field in headers.items())
    with t.socket() as upload:
        upload.sendall(("PUT /photos/half.jpg HTTP/1.1\r\n%sContent-Length: 1000\r\n\r\n" % head).encode())
        contains(upload.recv(100).decode(), "100 Continue", "the answer to the head")
        upload.sendall(b"x")
        t.process.send_signal(signal.SIGTERM)
        until(lambda: " stopping " in t.log(), "it stops")
        equal(t.process.poll(), None, "exit code while it waits")
        t.process.send_signal(signal.SIGTERM)
        equal(t.wait(), 0, "exit code")
    contains(t.log(), "requests_cut", "the log")
    equal(select(t, "SELECT max(attempts) FROM event")[0][0], 0, "attempts that it cost")
    true(not os.path.exists("/proc/%d" % worker), "the worker lives")


if not os.path.exists(BAD):
    print("skip runtime.py: tests/lib/badworker is not built (make unit-programs)")
    sys.exit(0)
PROGRAM = link("badworker", BAD)
with open("lacks-a-library", "w") as script:  # what a program linked to what is gone looks like
    script.write("#!/bin/sh\necho 'libnothing.so.1: cannot open shared object file' >&2\nexit 127\n")
os.chmod("lacks-a-library", 0o755)
FAILS = os.path.abspath("lacks-a-library")
darkroom.run(globals(), config={"workers": {"program": PROGRAM, "count": 2},
                                "queue": {"retry_base_ms": 20}})
