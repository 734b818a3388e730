#!/usr/bin/env python3
"""What `get` and `export` write is durable and whole before they say so. Each sync, rename, write and
close of theirs fails in turn (strace makes the errors; SIGXFSZ's limit stands for a full disk): the
exit code says it, one line says what and where, and under the final name there is what was there
before or all of the object, never a piece. Nothing else is left in the folder."""
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "lib"))
import darkroom  # noqa: E402
from darkroom import contains, equal, true  # noqa: E402

BODY = os.urandom(300000)
OLD = b"what was there before"
WALK_MAX = 10
CLOSES = 12  # the file's is one of the last, behind those of libraries
strace = shutil.which("strace")


def run(s, folder, command, *wrap, limit=None):
    """`command` of the CLI in a fresh folder that has an older out/file in it."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "out"))
    with open(os.path.join(folder, "out", "file"), "wb") as f:
        f.write(OLD)

    def before():
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    env = darkroom.clean_env()
    if wrap:  # who is traced cannot be looked at for leaks
        env["ASAN_OPTIONS"] = "detect_leaks=0:" + env.get("ASAN_OPTIONS", "")
    return subprocess.run([*wrap, os.path.join(darkroom.PROGRAMS, "darkroom"), "--data", s.data, *command], cwd=folder,
                          capture_output=True, text=True, env=env, timeout=300, preexec_fn=before)


def found(folder):
    with open(os.path.join(folder, "out", "file"), "rb") as f:
        body = f.read()
    return os.listdir(os.path.join(folder, "out")), body


def judge(folder, done, what):
    names, body = found(folder)
    true(body in (OLD, BODY), "%s: a piece of %d bytes" % (what, len(body)))
    equal(names, ["file"], what + ": files")
    if done.returncode == 0:
        true(body == BODY, what + ": exit code 0, and it is the old one")
    else:  # 127: it was the dynamic linker's call
        true(done.returncode in (1, 3, 127), "%s: exit code %d: %s" % (what, done.returncode, done.stderr))
        contains(done.stderr, ":", what + ": the line")
    return done.returncode != 0


def traced(s, command, call, *inject):
    """What it did, and the lines of strace."""
    trace = os.path.abspath("trace")
    done = run(s, "place", command, strace, "-f", "-qq", "-o", trace, "-e", "trace=" + call, *inject)
    with open(trace) as f:
        return done, f.read().splitlines()


def walk(s, command, call, error, told, least, last=WALK_MAX):
    """Each of the last calls fails, one in each run. `least` times the command must have failed with
    a line that has `told` in it."""
    failed, count = [], len(traced(s, command, call)[1])
    for n in range(max(1, count - last + 1), count + 1):
        done, lines = traced(s, command, call, "-e", "inject=%s:error=%s:when=%d" % (call, error, n))
        if judge("place", done, "%s %s, number %d of %d" % (call, error, n, count)):
            true(any("INJECTED" in line for line in lines), "it failed by itself: " + done.stderr)
            failed.append(done.stderr)
    hits = [line for line in failed if re.search(told, line)]
    true(len(hits) >= least, "%s %s of %s: %d of %d told it: %r" % (call, error, command[0], len(hits), len(failed), failed))


def test_put(s):
    s.s3().put_object(Bucket="photos", Key="out/file", Body=BODY)


GET = ["get", "s3://photos/out/file", "out/file"]
EXPORT = ["export", "s3://photos/out/", "--to", "out", "--jobs", "1", "--retries", "0"]


def needs_strace():
    if strace is None:
        raise darkroom.Skipped("strace is not installed")


def test_without_faults(s):
    for command in (GET, EXPORT):
        done = run(s, "place", command)
        equal((done.returncode, judge("place", done, command[0])), (0, False), "exit code: " + done.stderr)


def test_get_syncs_and_names(s):
    needs_strace()
    walk(s, GET, "fsync", "EIO", "out/file: .*durable|out/file: .*power cut", 2)
    walk(s, GET, "fsync", "ENOSPC", "No space left", 2)
    walk(s, GET, "rename", "EIO", "out/file: ", 1)


def test_export_syncs_and_names(s):
    needs_strace()
    walk(s, EXPORT, "fsync", "EIO", "durable", 1)
    walk(s, EXPORT, "syncfs", "EIO", "out: .*durable", 1)
    walk(s, EXPORT, "renameat", "ENOSPC", "put in its place", 1)


def test_closes(s):
    needs_strace()
    walk(s, GET, "close", "EIO", "cannot be closed", 1, CLOSES)


def test_full_disk(s):
    """A file must not be longer than this: what a write past it says is EFBIG, a full disk's cousin."""
    for command, told in ((GET, "out/file: cannot be written"), (EXPORT, "cannot be")):
        for limit in (0, 1, 65536, len(BODY) - 1):
            done = run(s, "place", command, limit=limit)
            equal(judge("place", done, "%s, limit %d" % (command[0], limit)), True, "it failed")
            contains(done.stderr, told, "the line")
        done = run(s, "place", command, limit=len(BODY))
        equal(done.returncode, 0, "exit code where it just fits: " + done.stderr)


if __name__ == "__main__":
    darkroom.run(globals())
